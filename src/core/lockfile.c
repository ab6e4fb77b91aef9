#include "lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "filesystem.h"
#include "filter.h"
#include "held.h"
#include "kernel.h"
#include "locktable.h"
#include "shared.h"
#include "text.h"

/* The limit on starting over, which happens only if another process made or unlinked the file. */
#define MAX_TRIES 64

/* Every user without a mapping in our user namespace, /proc/sys/kernel/overflowuid. */
#define UNMAPPED 65534U

static void reset_state(struct lockfile *lock)
{
	lock->fd = -1;
	lock->file = (struct file_id){0};
	lock->linked = false;
	lock->unlinked = false;
	lock->borrowed = false;
	lock->claimed_by_us = false;
	lock->known_unclaimed = false;
	lock->has_content = false;
	lock->untrusted = false;
	lock->fork_hangs = false;
	lock->lacks_descriptor = false;
}

void lockfile_init(struct lockfile *lock, int dirfd, const char *path)
{
	struct text text = text_start(lock->path, sizeof(lock->path));
	size_t directory = inode_directory_length(path);
	size_t length = strlen(path);

	reset_state(lock);
	lock->dirfd = dirfd;
	lock->will_claim = false;
	lock->directory = DIRECTORY_UNKNOWN;
	lock->length = 0;
	if (length == directory || length + LOCKFILE_EXTRA + SHARED_EXTRA >= sizeof(lock->path))
		return;
	text_add_n(&text, path, directory);
	text_add(&text, LOCKFILE_PREFIX);
	text_add(&text, path + directory);
	text_add(&text, LOCKFILE_SUFFIX);
	lock->length = text.used;
}

/* The length without the suffix of an alternate name; 0: not a lock file's name. */
static size_t plain_length(const char *path)
{
	size_t length = strlen(path);
	size_t suffix = strlen(LOCKFILE_SUFFIX);

	if (length > SHARED_EXTRA && shared_is_alternate_suffix(path + length - SHARED_EXTRA))
		length -= SHARED_EXTRA;
	return length > suffix && memcmp(path + length - suffix, LOCKFILE_SUFFIX, suffix) == 0
		       ? length
		       : 0;
}

bool lockfile_has_suffix(const char *path)
{
	return plain_length(path) > 0;
}

bool lockfile_socket_path(const char *path, char *socket, size_t size)
{
	struct text text = text_start(socket, size);
	size_t directory = inode_directory_length(path);
	size_t length = plain_length(path);

	if (length <= directory + LOCKFILE_EXTRA || length - LOCKFILE_EXTRA >= size ||
		path[directory] != LOCKFILE_PREFIX[0])
		return false;
	text_add_n(&text, path, directory);
	text_add_n(&text, path + directory + strlen(LOCKFILE_PREFIX),
		length - directory - LOCKFILE_EXTRA);
	return true;
}

/* ---- which files are trusted ---- */

/*
 * In a directory where other users may create names, the guard uses only the files of its own user.
 * The user to whom another file belongs could hold its mutex for ever, or write any record.
 */
static bool in_shared_directory(struct lockfile *lock)
{
	struct kernel_file found;
	size_t end;
	char first;

	if (lock->directory != DIRECTORY_UNKNOWN)
		return lock->directory == DIRECTORY_SHARED;
	end = inode_directory_length(lock->path);
	first = lock->path[end];
	lock->path[end] = '\0'; /* temporarily cut to the directory's path */
	lock->directory = inode_stat(lock->dirfd, end == 0 ? "." : lock->path, &found) == 0 &&
					  (found.mode & S_ISVTX) &&
					  (found.mode & (S_IWGRP | S_IWOTH))
				  ? DIRECTORY_SHARED
				  : DIRECTORY_PRIVATE;
	lock->path[end] = first;
	return lock->directory == DIRECTORY_SHARED;
}

bool lockfile_is_own(const struct kernel_file *found)
{
	return S_ISREG(found->mode) && found->nlink == 1 && found->uid == kernel_euid() &&
	       found->uid != UNMAPPED;
}

/* Only our own user's files and root's are trusted. */
static bool is_trusted(const struct kernel_file *found)
{
	return found->uid != UNMAPPED && (found->uid == kernel_euid() || found->uid == 0);
}

bool lockfile_find_claimed(struct lockfile *lock, bool (*claimed)(const struct kernel_file *))
{
	int saved = errno;
	struct kernel_file found;
	bool is_found =
		lock->path[0] != '\0' && in_shared_directory(lock) &&
		(inode_stat(lock->dirfd, lock->path, &found) != 0 || !lockfile_is_own(&found)) &&
		shared_find(lock->dirfd, lock->path, lock->length, claimed, NULL) == SHARED_FOUND;

	errno = saved;
	return is_found;
}

/*
 * Accepts a regular file with one name. Anything else was put there to make us write to another
 * file. EAGAIN: the file was unlinked since we opened it, or another file has replaced it since
 * shared_find found it.
 */
static bool validate(struct lockfile *lock, int fd)
{
	const bool only_own = !lock->borrowed && in_shared_directory(lock);
	struct kernel_file found;

	if (kernel_fstat(fd, &found) != 0) {
		errno = EINVAL;
		return false;
	}
	if (!S_ISREG(found.mode) || found.nlink > 1 ||
		(only_own && found.nlink > 0 && !lockfile_is_own(&found))) {
		errno = only_own ? EAGAIN : EINVAL;
		return false;
	}
	if (found.nlink == 0) {
		errno = EAGAIN;
		return false;
	}
	lock->file = file_id_of(&found);
	lock->untrusted = !is_trusted(&found);
	return true;
}

/*
 * open(2) fails with EWOULDBLOCK if a process has a lease on the file, fcntl(2). Only a process of
 * the user to whom the file belongs can: if we do not trust that user, we must not wait for long.
 */
static void distrust_lease(struct lockfile *lock)
{
	int saved = errno;
	struct kernel_file found;

	if (errno == EWOULDBLOCK && !in_shared_directory(lock) &&
		inode_stat(lock->dirfd, lock->path, &found) == 0)
		lock->untrusted = !is_trusted(&found);
	errno = saved;
}

/* ---- opening ---- */

/*
 * If the umask denies its user everything (umask(0777) around a bind is an idiom), a process that
 * is killed before it has set the mode leaves an empty file that our user cannot open. Sets the
 * mode of such a file. The file is pinned first: another user may replace what is at its name. The
 * link in /proc leads to the pinned file, whose mode fchmod(2) cannot set (O_PATH).
 */
static __attribute__((noinline)) bool restore_mode(const struct lockfile *lock)
{
	char name[64];
	struct text text = text_start(name, sizeof(name));
	struct kernel_file found;
	int pinned = kernel_open(lock->dirfd, lock->path, O_PATH | O_NOFOLLOW, 0);
	bool restored;

	if (pinned < 0)
		return false;
	text_add(&text, "/proc/thread-self/fd/");
	text_add_number(&text, (uint64_t)pinned);
	restored = kernel_fstat(pinned, &found) == 0 && lockfile_is_own(&found) &&
		   found.size == 0 && (found.mode & 0600) != 0600 && kernel_chmod(name, 0600) == 0;
	kernel_close(pinned);
	return restored;
}

static int open_existing(const struct lockfile *lock)
{
	/* O_NONBLOCK: it may be a FIFO, or have a lease. */
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK;
	int fd = kernel_open(lock->dirfd, lock->path, flags, 0);

	if (fd >= 0 || errno != EACCES)
		return fd;
	if (restore_mode(lock))
		return kernel_open(lock->dirfd, lock->path, flags, 0);
	errno = EACCES;
	return -1;
}

static int create(const struct lockfile *lock)
{
	if (filter_is_known() && !kernel_permits_lockfiles()) {
		errno = ENOSYS;
		return -1;
	}
	return kernel_open(lock->dirfd, lock->path,
		O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK, 0600);
}

/*
 * Duplicates a descriptor to a high number. Programs rely on getting the lowest numbers, and some
 * close or count the low ones. They use the top quarter of their descriptors last.
 */
static int duplicate_high(int fd)
{
	enum { MOST = 1024, HIGH = MOST / 4 * 3 };
	int high = kernel_duplicate(fd, HIGH);
	uint64_t limit = high < 0 ? kernel_descriptor_limit() : UINT64_MAX;

	if (limit < MOST)
		high = kernel_duplicate(fd, (int)(limit / 4 * 3));
	return high;
}

/* Moves a descriptor to a high number. Returns fd itself if that fails. */
static int move_high(int fd, bool registered)
{
	int high = duplicate_high(fd);

	if (high < 0)
		return fd;
	if (registered && !held_register(high)) {
		kernel_close(high);
		return fd;
	}
	if (registered)
		held_unregister(fd);
	kernel_close(fd);
	return high;
}

static bool path_leads_to(const struct lockfile *lock, const struct file_id *file,
	struct kernel_file *found)
{
	struct file_id there;

	if (inode_stat(lock->dirfd, lock->path, found) != 0)
		return false;
	there = file_id_of(found);
	return file_same(&there, file);
}

static bool try_mutex(int fd)
{
	return kernel_lock(fd, F_OFD_SETLK, F_WRLCK, LOCKFILE_MUTEX, 1) >= 0;
}

/* Unlocking fails with ENOLCK if the kernel is out of memory. */
static bool release_mutex(int fd)
{
	bool released = false;

	for (int i = 0; i < 2 && !released; i++)
		released = kernel_lock(fd, F_OFD_SETLK, F_UNLCK, LOCKFILE_MUTEX, 1) >= 0;
	return released;
}

/*
 * Releases the mutex after the lookup of the path failed with `error`, or found another file (0).
 * Sets errno to EAGAIN if the caller must start over.
 */
static enum lockfile_state release_to_retry(int fd, int error)
{
	release_mutex(fd);
	/* A filter will forbid the lookup the next time, too. */
	errno = kernel_is_forbidden(error) ? error : EAGAIN;
	return LOCKFILE_NONE;
}

static enum lockfile_state acquire_mutex(struct lockfile *lock, int fd)
{
	struct kernel_file found;

	if (!try_mutex(fd))
		return errno == EAGAIN ? LOCKFILE_BUSY : LOCKFILE_NONE;
	errno = 0;
	if (!path_leads_to(lock, &lock->file, &found))
		return release_to_retry(fd, errno);
	lock->fd = fd;
	lock->linked = true;
	lock->has_content = found.size > 0;
	return LOCKFILE_HELD;
}

/*
 * After a lock failed on a file that we created. If the kernel has no such locks (EINVAL, before
 * Linux 3.15) or a filter forbids them, no process would ever remove the file.
 */
static void unlink_unlockable(const struct lockfile *lock)
{
	int saved = errno;

	if (errno == EINVAL || errno == ENOSYS || errno == EPERM)
		kernel_unlink(lock->dirfd, lock->path);
	errno = saved;
}

/*
 * Acquires the mutex of a file that we created. Other processes may have locked and released it
 * before us. As long as it is empty no process has claimed it, so it was not renamed (see
 * lockfile_move): it still has the name at which we created it, or none.
 */
static enum lockfile_state acquire_new_mutex(struct lockfile *lock, int fd)
{
	struct kernel_file found;

	if (!try_mutex(fd)) {
		if (errno == EAGAIN)
			return LOCKFILE_BUSY;
		unlink_unlockable(lock);
		return LOCKFILE_NONE;
	}
	if (kernel_fstat(fd, &found) != 0) {
		unlink_unlockable(lock);
		return release_to_retry(fd, errno);
	}
	lock->file = file_id_of(&found);
	lock->has_content = found.size > 0;
	errno = 0;
	if (lock->has_content ? !path_leads_to(lock, &lock->file, &found) : found.nlink != 1)
		return release_to_retry(fd, errno);
	/* The program's umask, or a default ACL of the directory, may have changed the mode. */
	if ((found.mode & 07777) != 0600)
		kernel_fchmod(fd, 0600);
	lock->fd = fd;
	lock->linked = true;
	lock->known_unclaimed = !lock->has_content;
	return LOCKFILE_HELD;
}

/*
 * Opens and creates with two calls: in a sticky directory fs.protected_regular refuses O_CREAT
 * without O_EXCL on another user's file, proc_sys_fs(5). A bind tries to create first, because
 * there is usually no lock file yet; an unlink tries to open first.
 */
static int open_or_create(struct lockfile *lock, bool *created)
{
	const bool first = lock->will_claim;
	int fd = first ? create(lock) : open_existing(lock);

	*created = first;
	if (fd >= 0 || errno != (first ? EEXIST : ENOENT))
		return fd;
	*created = !first;
	fd = first ? open_existing(lock) : create(lock);
	if (fd < 0 && errno == (first ? ENOENT : EEXIST))
		errno = EAGAIN;
	return fd;
}

/* Whether open(2) can fail in this way on a regular file that exists. */
static bool is_error_of_file(int error)
{
	return error != ENOENT && error != ELOOP && error != ENXIO && error != EISDIR;
}

/*
 * Opens the file that shared_find has just found. EAGAIN: it is no longer there. Another user may
 * have put anything at its name since, so the failure says nothing about a lock file of ours,
 * unless the same file was there before and after.
 */
static int open_found(struct lockfile *lock, bool *created)
{
	struct kernel_file found;
	struct file_id file;
	int error, fd;

	*created = false;
	if (inode_stat(lock->dirfd, lock->path, &found) != 0) {
		errno = EAGAIN;
		return -1;
	}
	file = file_id_of(&found);
	fd = open_existing(lock);
	error = errno;
	if (fd < 0 && !(is_error_of_file(error) && path_leads_to(lock, &file, &found) &&
			      lockfile_is_own(&found)))
		error = EAGAIN;
	errno = error;
	return fd;
}

static int create_only(struct lockfile *lock, bool *created)
{
	*created = true;
	return create(lock);
}

static int open_candidate(struct lockfile *lock, bool *created)
{
	*created = false;
	return open_existing(lock);
}

/*
 * Opens the file and registers the descriptor before its mutex is locked, for a forked child to
 * close its copy. EBUSY: cannot be registered now, try again later.
 */
static int open_registered(struct lockfile *lock, int (*open)(struct lockfile *, bool *),
	bool *created)
{
	unsigned int begun;
	int fd;

	if (!held_begin_opening(&begun)) {
		lock->fork_hangs = true;
		errno = EBUSY;
		return -1;
	}
	fd = open(lock, created);
	if (fd < 0)
		distrust_lease(lock);
	if (fd >= 0 && !held_register(fd)) {
		kernel_close(fd);
		fd = -1;
		errno = EBUSY;
	}
	if (fd >= 0 && lock->will_claim)
		fd = move_high(fd, true);
	if (held_end_opening(begun) || fd < 0)
		return fd;
	held_unregister(fd);
	kernel_close(fd);
	errno = EBUSY;
	return -1;
}

/*
 * In a directory where other users may create names: opens our own file, or creates one. If another
 * user's file has the plain name, ours gets an alternate name. That user may create and remove the
 * file at any time; resolve_duplicates handles what follows from that.
 *
 * The directory is listed between two openings, because every fork(2) of this process waits for an
 * opening, and that user may fill the directory.
 */
static int open_or_create_shared(struct lockfile *lock, bool *created)
{
	enum shared found;
	int error;
	int fd;

	if (kernel_euid() == UNMAPPED) {
		errno = EINVAL;
		return -1;
	}
	lock->path[lock->length] = '\0';
	fd = open_registered(lock, create_only, created);
	error = errno;
	if (fd >= 0 || (error != EEXIST && error != ENOSPC && error != EDQUOT))
		return fd;
	found = shared_find(lock->dirfd, lock->path, lock->length, lockfile_is_own, NULL);
	if (found == SHARED_FOUND)
		return open_registered(lock, open_found, created);
	if (error != EEXIST || found == SHARED_UNREADABLE) {
		/* If it is unreadable, no process could find an alternate name later. */
		errno = error == EEXIST ? EINVAL : error;
		return -1;
	}
	shared_make_alternate(lock->path, lock->length);
	fd = open_registered(lock, create_only, created);
	if (fd < 0 && errno == EEXIST)
		errno = EAGAIN;
	return fd;
}

static void close_registered(int fd)
{
	int saved = errno;

	held_unregister(fd);
	kernel_close(fd);
	errno = saved;
}

/* LOCKFILE_NONE with EAGAIN: the file was unlinked after we opened it. */
static enum lockfile_state open_and_lock(struct lockfile *lock)
{
	enum lockfile_state state = LOCKFILE_NONE;
	bool created = false;
	int fd = in_shared_directory(lock) ? open_or_create_shared(lock, &created)
					   : open_registered(lock, open_or_create, &created);

	if (fd < 0)
		return errno == EBUSY ? LOCKFILE_BUSY : LOCKFILE_NONE;
	if (created)
		state = acquire_new_mutex(lock, fd);
	else if (validate(lock, fd))
		state = acquire_mutex(lock, fd);
	if (state != LOCKFILE_HELD)
		close_registered(fd);
	return state;
}

/* Makes `to` refer to the open file of `from`. Changes neither's path. */
static void refer_to_file_of(struct lockfile *to, const struct lockfile *from)
{
	to->fd = from->fd;
	to->file = from->file;
	to->borrowed = from->borrowed;
	to->claimed_by_us = from->claimed_by_us;
	to->known_unclaimed = from->known_unclaimed;
	to->has_content = from->has_content;
}

static void swap_files(struct lockfile *a, struct lockfile *b)
{
	struct lockfile was;

	refer_to_file_of(&was, a);
	refer_to_file_of(a, b);
	refer_to_file_of(b, &was);
}

static void swap_paths(struct lockfile *a, struct lockfile *b)
{
	for (size_t i = 0; i < sizeof(a->path); i++) {
		char byte = a->path[i];

		a->path[i] = b->path[i];
		b->path[i] = byte;
	}
}

/*
 * We hold the mutex of one lock file, and `other` is a second one for the same socket path. A crash
 * left it, or a process of our user created it because it saw another user's file at the plain name
 * where we saw none. Two files would mean two mutexes, so a process goes on only after it has
 * locked both. The claimed one remains, the other is unlinked. Returns false if another process
 * holds the mutex of `other`: then we must release ours, since no call may wait for one mutex while
 * holding another.
 */
static bool resolve_duplicate(struct lockfile *lock, struct lockfile *other)
{
	enum lockfile_state state = LOCKFILE_NONE;
	bool created;
	int fd = open_registered(other, open_candidate, &created);

	if (fd < 0)
		return errno == ENOENT;
	if (validate(other, fd))
		state = acquire_mutex(other, fd);
	if (state != LOCKFILE_HELD) {
		close_registered(fd);
		return state == LOCKFILE_NONE;
	}
	if (lockfile_is_unclaimed(lock) && !lockfile_is_unclaimed(other)) {
		swap_files(lock, other);
		swap_paths(lock, other);
	}
	lockfile_release(other); /* unlinks it, unless it is claimed */
	return true;
}

static bool resolve_duplicates(struct lockfile *lock)
{
	for (int i = 0; i < MAX_TRIES; i++) {
		struct lockfile other = *lock;

		reset_state(&other);
		if (shared_find(other.dirfd, other.path, other.length, lockfile_is_own,
			    &lock->file) != SHARED_FOUND)
			return true;
		if (!resolve_duplicate(lock, &other))
			return false;
	}
	return false;
}

static enum lockfile_state try_once(struct lockfile *lock)
{
	enum lockfile_state state = open_and_lock(lock);

	if (state != LOCKFILE_HELD || !in_shared_directory(lock) || resolve_duplicates(lock))
		return state;
	lockfile_release(lock);
	return LOCKFILE_BUSY;
}

enum lockfile_state lockfile_try_lock(struct lockfile *lock)
{
	int saved = errno;
	enum lockfile_state state = LOCKFILE_NONE;

	reset_state(lock);
	if (lock->path[0] == '\0')
		return LOCKFILE_NONE;
	for (int i = 0; i < MAX_TRIES; i++) {
		errno = 0;
		state = try_once(lock);
		if (state != LOCKFILE_NONE || errno != EAGAIN || lock->untrusted)
			break;
	}
	if (state == LOCKFILE_NONE && errno == EAGAIN)
		state = LOCKFILE_BUSY;
	lock->lacks_descriptor = state == LOCKFILE_NONE && (errno == EMFILE || errno == ENFILE);
	errno = saved;
	return state;
}

bool lockfile_open_readonly(struct lockfile *lock)
{
	int saved = errno;
	struct kernel_file found;

	reset_state(lock);
	if (lock->path[0] != '\0' && in_shared_directory(lock))
		shared_find(lock->dirfd, lock->path, lock->length, lockfile_is_own, NULL);
	if (lock->path[0] != '\0')
		lock->fd =
			kernel_open(lock->dirfd, lock->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (lock->fd >= 0 && (kernel_fstat(lock->fd, &found) != 0 || !S_ISREG(found.mode))) {
		kernel_close(lock->fd);
		lock->fd = -1;
	}
	lock->has_content = lock->fd >= 0 && found.size > 0;
	errno = saved;
	return lock->fd >= 0;
}

bool lockfile_open_readonly_valid(struct lockfile *lock)
{
	int saved = errno;

	if (lockfile_open_readonly(lock) && !validate(lock, lock->fd)) {
		kernel_close(lock->fd);
		lock->fd = -1;
	}
	errno = saved;
	return lock->fd >= 0;
}

/*
 * Processes that share a claim's open file description share every lock through it. So a process
 * that borrows the claim first acquires a lock that excludes the others: F_SETLK locks belong to
 * the process. Returns false if another process holds it; true, too, if there are no such locks or
 * a security module forbids them.
 */
static bool exclude_forks(int claim)
{
	return kernel_lock(claim, F_SETLK, F_WRLCK, LOCKFILE_FORKS, 1) >= 0 || errno != EAGAIN;
}

static void admit_forks(int claim)
{
	kernel_lock(claim, F_SETLK, F_UNLCK, LOCKFILE_FORKS, 1);
}

/* A descriptor that is not a lock file's is not locked. */
static enum lockfile_state acquire_through(struct lockfile *lock, int claim)
{
	enum lockfile_state state;

	if (lock->path[0] == '\0' || !validate(lock, claim))
		return LOCKFILE_NONE;
	if (!exclude_forks(claim))
		return LOCKFILE_BUSY;
	state = acquire_mutex(lock, claim);
	if (state != LOCKFILE_HELD) {
		int error = errno;

		admit_forks(claim);
		errno = error;
	}
	return state;
}

enum lockfile_state lockfile_try_lock_through(struct lockfile *lock, int claim)
{
	int saved = errno;
	enum lockfile_state state;
	struct kernel_file found;

	lock->borrowed = true;
	state = acquire_through(lock, claim);
	if (state == LOCKFILE_NONE && filter_is_known() && kernel_is_forbidden(errno) &&
		path_leads_to(lock, &lock->file, &found)) {
		/* A filter forbids locks. The claim proves the name without the mutex. */
		lock->fd = claim;
		lock->linked = true;
		lock->has_content = found.size > 0;
		state = LOCKFILE_HELD;
	}
	lock->claimed_by_us = state == LOCKFILE_HELD;
	errno = saved;
	return state;
}

void lockfile_release(struct lockfile *lock)
{
	int saved = errno;
	bool released = true;

	if (lock->fd < 0)
		return;
	if (lock->linked &&
		lockfile_is_unclaimed(lock)) /* a borrowed descriptor is a claim: not unlinked */
		lockfile_unlink(lock);
	/* close alone would not do: a process forked by another thread may have a copy. */
	if (!lock->unlinked) /* no process can open an unlinked file again */
		released = release_mutex(lock->fd);
	if (lock->borrowed)
		admit_forks(lock->fd);
	else
		held_unregister(lock->fd);
	if (!lock->borrowed && (!lock->claimed_by_us || !released))
		kernel_close(lock->fd); /* losing the claim is better than keeping the mutex */
	lock->fd = -1;
	errno = saved;
}

void lockfile_unlink(struct lockfile *lock)
{
	int saved = errno;
	struct kernel_file found;

	/* Another thread shares a borrowed mutex, and may have released it. */
	if (lock->fd >= 0 && lock->linked &&
		(!lock->borrowed || path_leads_to(lock, &lock->file, &found)))
		lock->unlinked = kernel_unlink(lock->dirfd, lock->path) == 0;
	lock->linked = false;
	errno = saved;
}

/* F_RDLCK if some process has a claim on the file, F_UNLCK if none has; -1 if unknown. */
static int type_of_claim_lock(const struct lockfile *lock)
{
	int saved = errno;
	int type = -1;

	if (lock->known_unclaimed || lock->claimed_by_us)
		return lock->claimed_by_us ? F_RDLCK : F_UNLCK;
	if (lock->fd >= 0)
		type = kernel_lock(lock->fd, F_OFD_GETLK, F_WRLCK, LOCKFILE_CLAIM, 1);
	errno = saved;
	return type;
}

bool lockfile_is_claimed(const struct lockfile *lock)
{
	int type = type_of_claim_lock(lock);

	return type >= 0 && type != F_UNLCK;
}

bool lockfile_is_unclaimed(const struct lockfile *lock)
{
	return type_of_claim_lock(lock) == F_UNLCK;
}

bool lockfile_move(struct lockfile *a, struct lockfile *b)
{
	int saved = errno;
	bool done = a->fd >= 0 && b->fd >= 0 && !lockfile_is_unclaimed(a) &&
		    kernel_rename(a->dirfd, a->path, b->dirfd, b->path, 0) == 0;

	if (done) {
		swap_files(a, b);
		a->linked = false;
	}
	errno = saved;
	return done;
}

bool lockfile_exchange(struct lockfile *a, struct lockfile *b)
{
	int saved = errno;
	bool done;

	if (lockfile_is_unclaimed(a))
		return lockfile_move(b, a);
	if (lockfile_is_unclaimed(b))
		return lockfile_move(a, b);
	done = a->fd >= 0 && b->fd >= 0 &&
	       kernel_rename(a->dirfd, a->path, b->dirfd, b->path, RENAME_EXCHANGE) == 0;
	if (done)
		swap_files(a, b);
	errno = saved;
	return done;
}

/*
 * The length of a claim encodes the number of the socket's network namespace, because /proc/locks
 * shows the length even to users who may not open the file. Numbers that differ by a multiple of
 * 2^30 give the same length. The kernel numbers network namespaces from 1; 0 means unknown.
 */
static uint32_t claim_size(uint64_t netns)
{
	return 1 + (uint32_t)(netns & 0x3fffffff);
}

static bool acquire_claim(int fd, const struct record *record)
{
	return kernel_lock(fd, F_OFD_SETLK, F_RDLCK, LOCKFILE_CLAIM, claim_size(record->netns)) >=
	       0;
}

static bool read_record(int fd, struct record *record)
{
	int saved = errno;
	char text[RECORD_SIZE];
	ssize_t length = fd < 0 ? -1 : kernel_pread(fd, text, sizeof(text), 0);

	errno = saved;
	return record_parse(record, text, length < 0 ? 0 : (size_t)length);
}

bool lockfile_acquire_claim(int fd)
{
	struct record record;

	read_record(fd, &record);
	return acquire_claim(fd, &record);
}

bool lockfile_is_claimed_elsewhere(struct lockfile *lock, const struct superblock *superblock,
	uint64_t netns)
{
	int saved = errno;
	struct kernel_file found;
	bool claimed = lock->path[0] != '\0' && !in_shared_directory(lock) &&
		       inode_stat(lock->dirfd, lock->path, &found) == 0 && S_ISREG(found.mode) &&
		       found.nlink == 1 && filesystem_device_matches(superblock, found.dev) &&
		       locktable_has_shared_lock(superblock->dev, found.ino, LOCKFILE_CLAIM,
			       LOCKFILE_CLAIM + claim_size(netns) - 1);

	errno = saved;
	return claimed;
}

/*
 * A write beyond RLIMIT_FSIZE raises SIGXFSZ, which would kill the program. The signal is blocked
 * while a mutex is held, and consumed here.
 */
static bool write_in_record(const struct lockfile *lock, const char *text, size_t size, uint32_t at)
{
	sigset_t raised;
	ssize_t written;

	if (lock->fd < 0 || !lock->linked)
		return false;
	written = kernel_pwrite(lock->fd, text, size, at);
	if (written < 0 && errno == EFBIG) {
		sigemptyset(&raised);
		sigaddset(&raised, SIGXFSZ);
		kernel_consume_signal(&raised);
	}
	return written == (ssize_t)size;
}

int lockfile_claim(struct lockfile *lock, const struct record *record)
{
	int saved = errno;
	char text[RECORD_SIZE];
	bool written;

	record_format(record, text);
	written = write_in_record(lock, text, sizeof(text), 0);
	lock->known_unclaimed = lock->known_unclaimed && !written;
	if (written && !lock->borrowed)
		lock->claimed_by_us = acquire_claim(lock->fd, record);
	errno = saved;
	return lock->claimed_by_us && !lock->borrowed ? lock->fd : -1;
}

/*
 * An empty file is not joined: a process may just have created it in order to bind. Once that
 * process has the mutex, it takes an empty file to be unclaimed, without asking the kernel.
 */
int lockfile_join_claim(struct lockfile *lock, struct file_id *file)
{
	int saved = errno;
	int fd = lock->path[0] == '\0' ? -1 : open_existing(lock);
	struct kernel_file found = {0};
	bool joined;

	if (fd < 0) {
		errno = saved;
		return -1;
	}
	joined = kernel_fstat(fd, &found) == 0 && S_ISREG(found.mode) && found.nlink == 1 &&
		 found.size > 0 && (!in_shared_directory(lock) || lockfile_is_own(&found)) &&
		 lockfile_acquire_claim(fd);
	*file = file_id_of(&found);
	if (joined && path_leads_to(lock, file, &found)) {
		fd = move_high(fd, false);
	} else {
		lockfile_release_claim(fd);
		fd = -1;
	}
	errno = saved;
	return fd;
}

enum claim_state lockfile_claim_state(int claim, const struct file_id *file)
{
	int saved = errno;
	struct kernel_file found;
	struct file_id there;
	enum claim_state state = CLAIM_LOST;

	if (claim >= 0 && kernel_fstat(claim, &found) == 0) {
		there = file_id_of(&found);
		if (file_same(&there, file))
			state = found.nlink > 0 ? CLAIM_VALID : CLAIM_VOID;
	} else if (claim >= 0 && errno != EBADF) {
		state = CLAIM_UNKNOWN;
	}
	errno = saved;
	return state;
}

bool lockfile_fd_is(int fd, const struct file_id *file)
{
	enum claim_state state = lockfile_claim_state(fd, file);

	return state == CLAIM_VALID || state == CLAIM_VOID;
}

void lockfile_release_claim(int claim)
{
	int saved = errno;

	/* All bytes: the mutex may have been locked through this descriptor. */
	kernel_lock(claim, F_OFD_SETLK, F_UNLCK, LOCKFILE_MUTEX, 0);
	kernel_close(claim);
	errno = saved;
}

void lockfile_mark_leaving(const struct lockfile *lock, bool leaving)
{
	int saved = errno;
	const char *word = leaving ? RECORD_LEFT : RECORD_HELD;

	if (lock->has_content)
		write_in_record(lock, word, sizeof(RECORD_LEFT) - 1, RECORD_STATE_AT);
	errno = saved;
}

bool lockfile_read_record(const struct lockfile *lock, struct record *record)
{
	return read_record(lock->fd, record);
}

bool lockfile_record_is_remote(const struct lockfile *lock, const struct record *record)
{
	return record_is_from_other_boot(record) &&
	       (filesystem_may_lock_remotely(lock->fd) || !lockfile_is_claimed(lock));
}
