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
#include "shared.h"
#include "sockdiag.h"
#include "text.h"

enum { CLAIMS = 8, LINK = 512 };

/* Longer than a worker keeps a duplicate of another process's socket open while it searches. */
enum { COPY_NS = 10000000 };

static const struct target *target;
static int claims[CLAIMS]; /* acquired, not injected yet */
static size_t claim_count;

static void (*on_attempt)(void);

extern const struct caller proxy;

void proxy_act_for(const struct target *who, void (*between_attempts)(void))
{
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

/* Opens the list of the caller's descriptor numbers. */
static DIR *open_list(void)
{
	int copy = dup(target->descriptors);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);

	if (list)
		rewinddir(list);
	return list;
}

/*
 * Returns the first of the caller's descriptor numbers for which `matches` returns true, or -1.
 * It runs with the capabilities of inspect_begin, and so must only inspect.
 */
static int find_descriptor(bool (*matches)(int number, void *about), void *about)
{
	DIR *list = open_list();
	struct dirent *entry;
	int found = -1;

	if (!list)
		return -1;
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

/*
 * Identifies the lock file that has this number. Returns false if it is anything else. Checks the
 * link first: fstatat on any other file may block on an unresponsive file system.
 */
static bool identify_lockfile(int number, struct file_id *file)
{
	struct kernel_file found;
	char link[LINK];
	char name[16];

	if (!target_read_link(target, number, link, sizeof(link)) || !strstr(link, LOCKFILE_SUFFIX))
		return false;
	snprintf(name, sizeof(name), "%d", number);
	if (kernel_stat(target->descriptors, name, 0, &found) != 0)
		return false;
	*file = file_id_of(&found);
	return true;
}

static bool is_lockfile(int number, void *about)
{
	struct file_id file;

	return identify_lockfile(number, &file) && file_same(&file, about);
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

/*
 * Keeps the claims that it finds, and does not search for them again: copy_claim closes a
 * descriptor, and that would release the F_SETLK lock through which the rules exclude forks.
 */
static int find_claim(const struct file_id *file)
{
	static struct {
		struct file_id file;
		int fd;
	} known[CLAIMS];
	static size_t count;
	int fd;

	for (size_t i = 0; i < count; i++)
		if (file_same(&known[i].file, file))
			return known[i].fd;
	fd = copy_claim(file);
	if (fd >= 0 && count < CLAIMS) {
		known[count].file = *file;
		known[count++].fd = fd;
	}
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

/*
 * Parses a line of fdinfo such as "lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 0". Returns
 * true if it shows a lock of this kind that begins at this byte.
 */
static bool is_lock(const char *line, const char *kind, const char *type, uint64_t first)
{
	char found[3][16];
	uint64_t byte;
	const char *end;

	if (sscanf(line, "lock:\t%*s %15s %*s %15s %*s %*s %15s", found[0], found[1], found[2]) !=
			3 ||
		strcmp(found[0], kind) != 0 || strcmp(found[1], type) != 0)
		return false;
	end = text_read_number(found[2], &byte);
	return end && *end == '\0' && byte == first;
}

/*
 * Returns true if these locks are those of a process in which the library holds the mutex. If it
 * holds the mutex through its claim, it holds the F_SETLK lock that excludes its forks, too. fdinfo
 * shows that lock only for the process that holds it. Without it, a worker has locked the mutex
 * through the caller's claim, or another fork has: the open file, with its locks, is theirs as
 * well.
 */
static bool shows_held_mutex(char *fdinfo)
{
	bool mutex = false, claim = false, excludes_forks = false;
	char *rest = NULL;

	for (char *line = strtok_r(fdinfo, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		mutex = mutex || is_lock(line, "OFDLCK", "WRITE", LOCKFILE_MUTEX);
		claim = claim || is_lock(line, "OFDLCK", "READ", LOCKFILE_CLAIM);
		excludes_forks = excludes_forks || is_lock(line, "POSIX", "WRITE", LOCKFILE_FORKS);
	}
	return mutex && (!claim || excludes_forks);
}

/*
 * Only fdinfo shows which open file holds a lock. Two queries with F_OFD_GETLK do not: the holder
 * may change in between.
 */
static bool fdinfo_shows_held_mutex(int number)
{
	char text[1024] = ""; /* read(2) leaves the last byte 0 */
	char name[32];
	ssize_t length;
	int fd;

	snprintf(name, sizeof(name), "../fdinfo/%d", number);
	fd = openat(target->descriptors, name, O_RDONLY | O_CLOEXEC);
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	return length > 0 && shows_held_mutex(text);
}

static struct file_id held; /* the lock file whose mutex a descriptor of the caller holds */

static bool is_held(const struct kernel_file *found)
{
	struct file_id file = file_id_of(found);

	return file_same(&file, &held);
}

/*
 * Returns true if this descriptor holds the mutex of a lock file for the path of `about`, at the
 * plain or an alternate name. It is the descriptor that shows which file the library has locked:
 * in a shared directory, a rival of the same user may create and remove another at any time.
 */
static bool holds_mutex(int number, void *about)
{
	struct lockfile *lock = about;

	return identify_lockfile(number, &held) && fdinfo_shows_held_mutex(number) &&
	       shared_find(lock->dirfd, lock->path, lock->length, is_held, NULL) == SHARED_FOUND;
}

/* A caller that has changed its user may use a file that it claimed before. */
static bool may_use(const struct kernel_file *found)
{
	return lockfile_is_own(found) || owned_claims_as_other_user(found);
}

/* Returns true if the caller may use a lock file for the path other than `except`. */
static bool may_use_other(struct lockfile *lock, const struct file_id *except)
{
	return shared_find(lock->dirfd, lock->path, lock->length, may_use, except) != SHARED_NONE;
}

/*
 * Returns false if it is certain that the caller does not hold the mutex. Most callers have no
 * library, so this saves the search of their descriptors.
 */
static bool mutex_may_be_held(struct lockfile *lock)
{
	bool opened = lockfile_open_readonly(lock);
	bool shared = lock->directory == DIRECTORY_SHARED;
	bool may_be_held;
	struct kernel_file found;
	struct file_id file;

	if (!opened)
		return shared ? may_use_other(lock, NULL)
			      : inode_stat(lock->dirfd, lock->path, &found) == 0;
	may_be_held = kernel_lock(lock->fd, F_OFD_GETLK, F_WRLCK, LOCKFILE_MUTEX, 1) != F_UNLCK ||
		      kernel_fstat(lock->fd, &found) != 0;
	kernel_close(lock->fd);
	if (may_be_held || !shared)
		return may_be_held;
	file = file_id_of(&found);
	return may_use_other(lock, &file);
}

bool proxy_holds_mutex(int dirfd, const char *path)
{
	char socket[PATH_MAX];
	struct lockfile lock;

	/* The library also holds the mutex while it unlinks the lock file itself. */
	lockfile_init(&lock, dirfd,
		lockfile_socket_path(path, socket, sizeof(socket)) ? socket : path);
	return lock.path[0] != '\0' && mutex_may_be_held(&lock) &&
	       find_descriptor(holds_mutex, &lock) >= 0;
}

/* ---- injecting claims ---- */

static bool ends_in(const char *words, const char *end)
{
	size_t length = strlen(words);

	return length >= strlen(end) && strcmp(words + length - strlen(end), end) == 0;
}

/*
 * Returns how many numbers below this one are free in the caller; 0 if unknown. It lists the used
 * ones, in ascending order: to look each number up takes a hundred times as long.
 */
static int count_free_below(int number)
{
	DIR *list = open_list();
	struct dirent *entry;
	uint64_t used;
	int count = number;

	if (!list)
		return 0;
	while ((entry = readdir(list)))
		if (text_read_number(entry->d_name, &used)) {
			if (used >= (uint64_t)number)
				break;
			count--;
		}
	closedir(list);
	return count;
}

/*
 * Returns the number in the caller at which to inject a claim, or -1 if the kernel must choose it.
 * It is high, because programs use low numbers. The injection replaces the descriptor that has the
 * number by then. So a free number is chosen only if many lower ones are free: another thread of
 * the caller opens descriptors at the lowest free numbers. A descriptor of an unlinked lock file is
 * an obsolete claim, and may be replaced.
 */
static int choose_number(void)
{
	enum { MOST = 1024, MANY = 64 };
	int limit = target_descriptor_limit(target);
	int top = limit < MOST ? limit : MOST;
	int many = top / 4 < MANY ? top / 4 : MANY;
	bool dense = false;
	char link[LINK];

	for (int number = top - 1; number >= 0; number--) {
		if (target_read_link(target, number, link, sizeof(link))) {
			if (strstr(link, LOCKFILE_SUFFIX) && ends_in(link, " (deleted)"))
				return number;
		} else if (!dense) {
			if (number > top / 4 * 3 && count_free_below(number) >= many)
				return number;
			dense = true;
		}
	}
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
	if (notify_inject(notify_fd, id, claim, number) < 0)
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
