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
#include "kernel.h"
#include "notify.h"
#include "sockdiag.h"
#include "text.h"

enum { MUTEX = 0, CLAIMS = 8, LINK = 512 };

static const struct target *target;
static int claims[CLAIMS]; /* to be handed over */
static size_t claims_taken;

void proxy_stand_for(const struct target *who)
{
	extern const struct caller proxy;

	target = who;
	caller = &proxy;
}

static pid_t inner_pid(void)
{
	return target->inner;
}

/* ---- descriptors ---- */

/* Until one of the caller's numbers is found to be it; returns that, or -1. For looks alone. */
static int search(bool (*is)(int number, void *about), void *about)
{
	int copy = dup(target->descriptors);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int found = -1;

	if (!list)
		return -1;
	rewinddir(list);
	target_look_begin();
	while (found < 0 && (entry = readdir(list))) {
		uint64_t number;

		if (text_read_number(entry->d_name, &number) && is((int)number, about))
			found = (int)number;
	}
	target_look_end();
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

	if (!target_leads_to(target, number, link, sizeof(link)) ||
		strncmp(link, "socket:", strlen("socket:")) != 0)
		return false;
	fd = target_descriptor(target, number);
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

	return search(is_sought_socket, &sought) >= 0;
}

/* ---- claims ---- */

/* By its name first: a file system that does not answer may be behind any other. */
static bool is_lockfile(int number, void *about)
{
	const struct file_id *file = about;
	struct stat found;
	char link[LINK];
	char name[16];

	if (!target_leads_to(target, number, link, sizeof(link)) || !strstr(link, LOCKFILE_SUFFIX))
		return false;
	snprintf(name, sizeof(name), "%d", number);
	return fstatat(target->descriptors, name, &found, 0) == 0 && found.st_ino == file->ino &&
	       found.st_dev == file->dev;
}

static int copy_of_claim(const struct file_id *file)
{
	int saved = errno;
	struct file_id sought = *file;
	int number = search(is_lockfile, &sought);
	int fd = number < 0 ? -1 : target_descriptor(target, number);

	errno = saved;
	return fd;
}

static bool claims_something(void)
{
	return true; /* nobody knows: so wait for a mutex rather than refuse without it */
}

static int claim_on(const struct file_id *file)
{
	static struct file_id known;
	static int fd = -1;

	if (fd >= 0 && file_same(&known, file))
		return fd;
	fd = copy_of_claim(file);
	known = *file;
	return fd;
}

/*
 * A claim speaks for the socket in the record; without one for the name alone. Of a socket the
 * kernel knows whether it is the one bound to this inode: the name may have been removed, and bound
 * by somebody else, past all guards.
 */
static enum owned is_mine(const struct inode *inode, const struct lockfile *lock)
{
	/* The lock file is on the file system of the socket, which is all that is asked of it. */
	const struct pin pin = {.fd = lock->fd, .inode = *inode};
	struct record record;

	if (lock->fd < 0 || claim_on(&lock->file) < 0)
		return OWNED_NOT;
	if (!lockfile_record(lock, &record) || record.socket == 0)
		return OWNED_NAME;
	switch (sockdiag_bound_by(&pin, lock->dirfd, lock->path, (ino_t)record.socket)) {
	case SOCKDIAG_YES:
	case SOCKDIAG_AMBIGUOUS:
		return OWNED_SOCKET;
	case SOCKDIAG_NO:
	case SOCKDIAG_SILENT:
		break;
	}
	return OWNED_NOT;
}

static void note(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign)
{
	(void)inode, (void)cookie, (void)foreign;
	if (claim < 0)
		return;
	if (claims_taken < CLAIMS && copy_of_claim(lockfile) < 0)
		claims[claims_taken++] = claim;
}

static void forget(const struct inode *inode, const struct file_id *lockfile)
{
	int fd = copy_of_claim(lockfile);

	(void)inode;
	if (fd >= 0)
		lockfile_unclaim(fd);
}

extern const struct caller proxy;
const struct caller proxy = {
	.pid = inner_pid,
	.any = claims_something,
	.is_mine = is_mine,
	.claim_on = claim_on,
	.note = note,
	.forget = forget,
	.each_descriptor = each_socket,
};

bool proxy_is_judging(int dirfd, const char *path)
{
	char socket[PATH_MAX];
	struct lockfile lock;
	struct kernel_file found;
	bool judging = false;

	/* A lock file is removed under its own mutex. */
	lockfile_name(&lock, dirfd, lockfile_socket(path, socket, sizeof(socket)) ? socket : path);
	if (!lockfile_peek(&lock))
		return false;
	if (kernel_fstat(lock.fd, &found) == 0 &&
		kernel_lock(lock.fd, F_OFD_GETLK, F_WRLCK, MUTEX, 1) != F_UNLCK) {
		struct file_id file = file_of(&found);
		int claim = copy_of_claim(&file);

		judging = claim >= 0 &&
			  kernel_lock(claim, F_OFD_GETLK, F_WRLCK, MUTEX, 1) == F_UNLCK &&
			  kernel_lock(lock.fd, F_OFD_GETLK, F_WRLCK, MUTEX, 1) != F_UNLCK;
		if (claim >= 0)
			close(claim);
	}
	kernel_close(lock.fd);
	return judging;
}

/* ---- handing over ---- */

static bool ends_in(const char *words, const char *end)
{
	size_t length = strlen(words);

	return length >= strlen(end) && strcmp(words + length - strlen(end), end) == 0;
}

/*
 * A number for a claim: out of the program's way, as the library's are, and from the top, where no
 * other thread comes at this moment. One of a file that was removed is a claim of old, and idle.
 */
static int number_for_claim(void)
{
	enum { MOST = 1024 };
	int limit = target_descriptor_limit(target);
	int top = limit < MOST ? limit : MOST;
	char link[LINK];

	for (int number = top - 1; number > top / 4 * 3; number--)
		if (!target_leads_to(target, number, link, sizeof(link)) ||
			(strstr(link, LOCKFILE_SUFFIX) && ends_in(link, " (deleted)")))
			return number;
	return -1;
}

void proxy_hand_over(int listener, uint64_t id)
{
	int saved = errno;

	for (size_t i = 0; i < claims_taken; i++) {
		int number;

		target_look_begin();
		number = number_for_claim();
		target_look_end();
		if (number >= 0)
			notify_inject(listener, id, claims[i], number);
		close(claims[i]);
	}
	claims_taken = 0;
	errno = saved;
}
