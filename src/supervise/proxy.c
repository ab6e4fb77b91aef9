#include "proxy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caller.h"
#include "config.h"
#include "inspect.h"
#include "kernel.h"
#include "notify.h"
#include "pending.h"
#include "sockdiag.h"
#include "text.h"

enum { MUTEX = 0, CLAIMS = 8, LINK = 512 };

/* Longer than a worker keeps a duplicate of another process's socket open while it searches. */
enum { COPY_NS = 10000000 };

static const struct target *target;
static int claims[CLAIMS]; /* acquired, not injected yet */
static size_t claim_count;

static void (*on_attempt)(void);

void proxy_act_for(const struct target *who, void (*between_attempts)(void))
{
	extern const struct caller proxy;

	target = who;
	on_attempt = between_attempts;
	caller = &proxy;
}

static pid_t inner_pid(void)
{
	return target->inner;
}

static uint64_t inner_pid_namespace(pid_t pid)
{
	(void)pid;
	return target->pid_namespace;
}

static void pause_between_attempts(uint32_t nanoseconds)
{
	kernel_sleep(nanoseconds);
	on_attempt();
}

/* ---- descriptors ---- */

/*
 * Returns the first of the caller's descriptor numbers for which `matches` returns true, or -1.
 * It runs with the capabilities of inspect_begin, and so must only inspect.
 */
static int find_descriptor(bool (*matches)(int number, void *about), void *about)
{
	int copy = dup(target->descriptors);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int found = -1;

	if (!list)
		return -1;
	rewinddir(list);
	inspect_begin();
	while (found < 0 && (entry = readdir(list))) {
		uint64_t number;

		if (text_read_number(entry->d_name, &number) && matches((int)number, about))
			found = (int)number;
	}
	inspect_end();
	closedir(list);
	return found;
}

struct sought {
	bool (*found)(int fd, void *about);
	void *about;
};

static bool is_sought_socket(int number, void *about)
{
	const struct sought *sought = about;
	char link[LINK];
	int fd;

	if (!target_read_link(target, number, link, sizeof(link)) ||
		strncmp(link, "socket:", strlen("socket:")) != 0)
		return false;
	fd = target_get_descriptor(target, number);
	if (fd < 0)
		return false;
	if (sought->found(fd, sought->about))
		return true;
	close(fd);
	return false;
}

static bool each_socket(bool (*found)(int fd, void *about), void *about)
{
	struct sought sought = {found, about};
	bool any = find_descriptor(is_sought_socket, &sought) >= 0;

	/*
	 * An ending process has lost its descriptors, so the rules may refuse its call on its own
	 * socket. The kernel discards the answer: log no refusal.
	 */
	if (!any && !target_is_alive(target))
		config.log_to = LOG_TO_NONE;
	return any;
}

/* Waits until another worker has closed a duplicate of the socket, which each_socket makes. */
static void await_release(void)
{
	kernel_sleep(COPY_NS);
}

/* ---- claims ---- */

/* Checks the link first: fstatat on any other file may block on an unresponsive file system. */
static bool is_lockfile(int number, void *about)
{
	const struct file_id *file = about;
	struct stat found;
	char link[LINK];
	char name[16];

	if (!target_read_link(target, number, link, sizeof(link)) || !strstr(link, LOCKFILE_SUFFIX))
		return false;
	snprintf(name, sizeof(name), "%d", number);
	return fstatat(target->descriptors, name, &found, 0) == 0 && found.st_ino == file->ino &&
	       found.st_dev == file->dev;
}

static int copy_claim(const struct file_id *file)
{
	int saved = errno;
	struct file_id sought = *file;
	int number = find_descriptor(is_lockfile, &sought);
	int fd = number < 0 ? -1 : target_get_descriptor(target, number);

	errno = saved;
	return fd;
}

static bool may_have_claims(void)
{
	return true; /* unknown without a search: wait for a mutex rather than refuse at once */
}

static int find_claim(const struct file_id *file)
{
	static struct file_id known;
	static int fd = -1;

	if (fd >= 0 && file_same(&known, file))
		return fd;
	fd = copy_claim(file);
	known = *file;
	return fd;
}

/*
 * Returns true if the record shows that the caller's process bound the socket. Its claim may be
 * missing: it is injected after the mutex is released, and the program may close it. The result is
 * false if the caller's PID is not the same in our namespace, where another process may have it.
 */
static bool record_names_caller(const struct record *record)
{
	return target->inner == target->process && !record->leaving &&
	       record->pid == (uint64_t)target->process &&
	       record_find_binder(record) == BINDER_EXISTS;
}

/*
 * A claim proves ownership of the socket in the record, and without a record only of the path. An
 * unguarded process may have removed the path and bound another socket there. So check_ownership
 * also requires that the socket in the record is bound to this inode.
 */
static enum owned check_ownership(const struct inode *inode, const struct lockfile *lock)
{
	/* The descriptor only has to be on the socket's file system, as the lock file is. */
	const struct pin pin = {.fd = lock->fd, .inode = *inode};
	struct record record;
	bool claimed, recorded;

	if (lock->fd < 0)
		return OWNED_NOT;
	claimed = find_claim(&lock->file) >= 0;
	recorded = lockfile_read_record(lock, &record);
	if (!claimed && (lock->untrusted || !recorded || !record_names_caller(&record)))
		return OWNED_NOT;
	if (!recorded || record.socket == 0)
		return OWNED_PATH;
	switch (sockdiag_is_bound_to(&pin, lock->dirfd, lock->path, (ino_t)record.socket)) {
	case SOCKDIAG_YES:
	case SOCKDIAG_AMBIGUOUS:
		return OWNED_SOCKET;
	case SOCKDIAG_NO:
	case SOCKDIAG_UNKNOWN:
		break;
	}
	return OWNED_NOT;
}

static bool add_claim(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign)
{
	int copy;

	(void)inode, (void)cookie, (void)foreign;
	if (claim < 0)
		return true;
	copy = copy_claim(lockfile);
	if (copy < 0) {
		if (claim_count == CLAIMS)
			return false;
		claims[claim_count++] = claim;
		return true;
	}
	/* The caller has a descriptor of the file, but may have released the claim on it. */
	lockfile_acquire_claim(copy);
	kernel_close(copy);
	return true;
}

static void remove_claim(const struct inode *inode, const struct file_id *lockfile)
{
	int fd = copy_claim(lockfile);

	(void)inode;
	if (fd >= 0)
		lockfile_release_claim(fd);
}

extern const struct caller proxy;
const struct caller proxy = {
	.pid = inner_pid,
	.pid_namespace = inner_pid_namespace,
	.has_any = may_have_claims,
	.check = check_ownership,
	.find_claim = find_claim,
	.add = add_claim,
	.remove = remove_claim,
	.pause = pause_between_attempts,
	.await_release = await_release,
	.each_descriptor = each_socket,
};

static bool ends_in(const char *words, const char *end)
{
	size_t length = strlen(words);

	return length >= strlen(end) && strcmp(words + length - strlen(end), end) == 0;
}

/*
 * Looks for a write lock on the first byte, as in
 * "lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 0".
 */
static bool has_mutex_line(char *fdinfo)
{
	char *rest = NULL;

	for (char *line = strtok_r(fdinfo, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (strncmp(line, "lock:", 5) == 0 && strstr(line, " OFDLCK ") &&
			strstr(line, " WRITE ") && ends_in(line, " 0 0"))
			return true;
	return false;
}

/*
 * Returns true if the open file of this descriptor holds the mutex. Only its fdinfo shows which
 * open file holds a lock. Two queries with F_OFD_GETLK do not: the holder may change in between.
 */
static bool holds_mutex(int number, void *about)
{
	char text[1024] = ""; /* read(2) leaves the last byte 0 */
	char name[32];
	ssize_t length;
	int fd;

	if (!is_lockfile(number, about))
		return false;
	snprintf(name, sizeof(name), "../fdinfo/%d", number);
	fd = openat(target->descriptors, name, O_RDONLY | O_CLOEXEC);
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	return length > 0 && has_mutex_line(text);
}

/*
 * Returns false if it is certain that no process holds the mutex. Most callers have no library, so
 * this saves the search of their descriptors. A caller that has changed its user may not open a
 * file that it claimed before.
 */
static bool mutex_may_be_held(struct lockfile *lock)
{
	bool held;

	if (lockfile_find_claimed(lock, owned_claims_as_other_user) ||
		!lockfile_open_readonly(lock))
		return true;
	held = kernel_lock(lock->fd, F_OFD_GETLK, F_WRLCK, MUTEX, 1) != F_UNLCK;
	kernel_close(lock->fd);
	return held;
}

bool proxy_holds_mutex(int dirfd, const char *path)
{
	char socket[PATH_MAX];
	struct lockfile lock;
	struct kernel_file found;
	struct file_id file;

	/* The library also holds the mutex while it unlinks the lock file itself. */
	lockfile_init(&lock, dirfd,
		lockfile_socket_path(path, socket, sizeof(socket)) ? socket : path);
	if (lock.path[0] == '\0' || !mutex_may_be_held(&lock) ||
		inode_stat(lock.dirfd, lock.path, &found) != 0)
		return false;
	file = file_id_of(&found);
	return find_descriptor(holds_mutex, &file) >= 0;
}

/* ---- injecting claims ---- */

/*
 * Returns a free descriptor number in the caller, or -1. It is high, because programs use low
 * numbers. It is searched from the top, because another thread of the caller opens descriptors at
 * the lowest free numbers. A descriptor of an unlinked lock file is an obsolete claim, so it can
 * be replaced.
 */
static int choose_number(void)
{
	enum { MOST = 1024 };
	int limit = target_descriptor_limit(target);
	int top = limit < MOST ? limit : MOST;
	char link[LINK];

	for (int number = top - 1; number > top / 4 * 3; number--)
		if (!target_read_link(target, number, link, sizeof(link)) ||
			(strstr(link, LOCKFILE_SUFFIX) && ends_in(link, " (deleted)")))
			return number;
	return -1;
}

/*
 * Injects one claim. Returns false if the caller does not wait any more. Only the holder of the
 * lock chooses a number and injects: otherwise the workers for two threads of a process could
 * choose the same number, and the second claim would replace the first.
 */
static bool inject_claim(int notify_fd, uint64_t id, int claim)
{
	bool waits = true;
	int number;

	pending_lock();
	inspect_begin();
	number = choose_number();
	inspect_end();
	if (number >= 0 && notify_inject(notify_fd, id, claim, number) < 0)
		waits = notify_is_valid(notify_fd, id);
	pending_unlock();
	return waits;
}

bool proxy_inject_claims(int notify_fd, uint64_t id)
{
	int saved = errno;

	for (; claim_count > 0; claim_count--) {
		if (!inject_claim(notify_fd, id, claims[claim_count - 1]))
			break;
		close(claims[claim_count - 1]);
	}
	errno = saved;
	return claim_count == 0;
}

int proxy_next_claim(int from)
{
	int next = INT_MAX;

	for (size_t i = 0; i < claim_count; i++)
		if (claims[i] >= from && claims[i] < next)
			next = claims[i];
	return next;
}
