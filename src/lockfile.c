#include "lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "libc.h"

enum { MUTEX = 0, CLAIM = 1 }; /* the bytes locked */

/* A file that is removed under our hands each time we open it; then others are busy with it. */
#define TRIES 64

/*
 * Descriptors of mutexes held right now, plus one. A fork in another thread copies them, and its
 * child would hold the mutex on if we died before giving it back.
 */
static atomic_int held[16];

static void note_held(int fd)
{
	int none = 0;

	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++, none = 0)
		if (atomic_compare_exchange_strong(&held[i], &none, fd + 1))
			return;
}

/* Before fd is closed: its number may mean another file right after. */
static void note_given_back(int fd)
{
	int noted = fd + 1;

	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++, noted = fd + 1)
		if (atomic_compare_exchange_strong(&held[i], &noted, 0))
			return;
}

void lockfile_forked(void)
{
	int saved = errno;

	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
		int noted = atomic_exchange(&held[i], 0);
		if (noted > 0)
			close(noted - 1);
	}
	errno = saved;
}

static int lock_bytes(int fd, int command, short type, off_t first, off_t count)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count};

	if (fcntl(fd, command, &lock) != 0)
		return -1;
	return lock.l_type;
}

void lockfile_name(struct lockfile *lock, int dirfd, const char *path)
{
	size_t length = strlen(path);

	lock->dirfd = dirfd;
	lock->fd = -1;
	lock->file = (struct file_id){0};
	lock->named = false;
	lock->borrowed = false;
	lock->path[0] = '\0';
	if (length + sizeof(LOCKFILE_SUFFIX) > sizeof(lock->path))
		return;
	memcpy(lock->path, path, length);
	memcpy(lock->path + length, LOCKFILE_SUFFIX, sizeof(LOCKFILE_SUFFIX));
}

static int open_existing(const struct lockfile *lock)
{
	/* O_NONBLOCK for a FIFO somebody put there. */
	return openat(lock->dirfd, lock->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/*
 * Not with O_CREAT at once: in a sticky directory fs.protected_regular refuses that on a file of
 * somebody else's, proc_sys_fs(5).
 */
static int open_or_create(const struct lockfile *lock)
{
	int fd = open_existing(lock);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	fd = openat(lock->dirfd, lock->path,
		O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0 && errno == EEXIST)
		errno = EAGAIN;
	return fd;
}

/*
 * In a sticky directory anybody may put a file at any name, and hold its mutex for ever or tell
 * what he likes in its record: there a file counts only if it is ours or the directory's owner's,
 * as for fs.protected_regular, proc_sys_fs(5).
 */
static bool is_planted(struct lockfile *lock, const struct stat *found)
{
	struct stat directory;
	char *base = strrchr(lock->path, '/');
	char *end = base ? base + 1 : lock->path;
	char first = *end;
	bool planted;

	if (found->st_uid == geteuid())
		return false;
	*end = '\0'; /* what is left names the directory, for as long as we look */
	planted = inode_look(lock->dirfd, base ? lock->path : ".", &directory) == 0 &&
		  (directory.st_mode & S_ISVTX) && found->st_uid != directory.st_uid;
	*end = first;
	return planted;
}

/* A regular file of one name only: anything else was put there to have us write elsewhere. */
static bool adopt(struct lockfile *lock, int fd)
{
	struct stat found;

	if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode) || found.st_nlink > 1 ||
		is_planted(lock, &found)) {
		errno = EINVAL;
		return false;
	}
	if (found.st_nlink == 0) {
		errno = EAGAIN;
		return false;
	}
	/* Whatever the program's umask or the directory's default ACL made of a new one. */
	if ((found.st_mode & 07777) != 0600 && found.st_size == 0 && found.st_uid == geteuid())
		fchmod(fd, 0600);
	lock->file = file_of(&found);
	return true;
}

static bool name_leads_to(const struct lockfile *lock, const struct file_id *file)
{
	struct stat found;
	struct file_id there;

	if (inode_look(lock->dirfd, lock->path, &found) != 0)
		return false;
	there = file_of(&found);
	return file_same(&there, file);
}

static enum lockfile_state take_mutex(struct lockfile *lock, int fd)
{
	if (lock_bytes(fd, F_OFD_SETLK, F_WRLCK, MUTEX, 1) < 0)
		return errno == EAGAIN ? LOCKFILE_BUSY : LOCKFILE_NONE;
	if (!name_leads_to(lock, &lock->file)) {
		lock_bytes(fd, F_OFD_SETLK, F_UNLCK, MUTEX, 1);
		errno = EAGAIN;
		return LOCKFILE_NONE;
	}
	lock->fd = fd;
	lock->named = true;
	return LOCKFILE_HELD;
}

/* LOCKFILE_NONE with EAGAIN: the file was removed meanwhile, look again. */
static enum lockfile_state try_once(struct lockfile *lock)
{
	enum lockfile_state state = LOCKFILE_NONE;
	int fd = open_or_create(lock);
	int saved;

	if (fd < 0)
		return LOCKFILE_NONE;
	note_held(fd); /* before it is */
	if (adopt(lock, fd))
		state = take_mutex(lock, fd);
	if (state != LOCKFILE_HELD) {
		saved = errno;
		note_given_back(fd);
		close(fd);
		errno = saved;
	}
	return state;
}

enum lockfile_state lockfile_try(struct lockfile *lock)
{
	int saved = errno;
	enum lockfile_state state = LOCKFILE_NONE;

	lock->borrowed = false;
	if (lock->path[0] == '\0')
		return LOCKFILE_NONE;
	for (int i = 0; i < TRIES; i++) {
		errno = 0;
		state = try_once(lock);
		if (state != LOCKFILE_NONE || errno != EAGAIN)
			break;
	}
	if (state == LOCKFILE_NONE && errno == EAGAIN)
		state = LOCKFILE_BUSY;
	errno = saved;
	return state;
}

bool lockfile_peek(struct lockfile *lock)
{
	int saved = errno;
	struct stat found;

	if (lock->path[0] != '\0')
		lock->fd = openat(lock->dirfd, lock->path,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (lock->fd >= 0 && (fstat(lock->fd, &found) != 0 || !S_ISREG(found.st_mode))) {
		close(lock->fd);
		lock->fd = -1;
	}
	errno = saved;
	return lock->fd >= 0;
}

enum lockfile_state lockfile_borrow(struct lockfile *lock, int claim)
{
	int saved = errno;
	enum lockfile_state state = LOCKFILE_NONE;

	lock->borrowed = true;
	if (lock->path[0] != '\0' && adopt(lock, claim))
		state = take_mutex(lock, claim);
	errno = saved;
	return state;
}

void lockfile_leave(struct lockfile *lock)
{
	int saved = errno;

	if (lock->fd < 0)
		return;
	if (lock->named && !lock->borrowed && lockfile_unclaimed(lock))
		lockfile_remove(lock);
	/* Not by close alone: a fork in another thread may hold a copy. */
	lock_bytes(lock->fd, F_OFD_SETLK, F_UNLCK, MUTEX, 1);
	if (!lock->borrowed) {
		note_given_back(lock->fd);
		close(lock->fd);
	}
	lock->fd = -1;
	errno = saved;
}

void lockfile_remove(struct lockfile *lock)
{
	int saved = errno;

	/* A borrowed mutex is shared with forks, and may have been given back by one of them. */
	if (lock->fd >= 0 && lock->named && (!lock->borrowed || name_leads_to(lock, &lock->file)))
		libc.unlinkat(lock->dirfd, lock->path, 0);
	lock->named = false;
	errno = saved;
}

/* The names stay where they are, and what they lead to changes sides. */
static void change_sides(struct lockfile *a, struct lockfile *b)
{
	int fd = a->fd;
	bool borrowed = a->borrowed;
	struct file_id file = a->file;

	a->fd = b->fd;
	a->borrowed = b->borrowed;
	a->file = b->file;
	b->fd = fd;
	b->borrowed = borrowed;
	b->file = file;
}

bool lockfile_exchange(struct lockfile *a, struct lockfile *b)
{
	int saved = errno;
	bool done = a->fd >= 0 && b->fd >= 0 &&
		    libc.renameat2(a->dirfd, a->path, b->dirfd, b->path, RENAME_EXCHANGE) == 0;

	if (done)
		change_sides(a, b);
	errno = saved;
	return done;
}

bool lockfile_move(struct lockfile *a, struct lockfile *b)
{
	int saved = errno;
	bool done = a->fd >= 0 && b->fd >= 0 &&
		    libc.renameat(a->dirfd, a->path, b->dirfd, b->path) == 0;

	if (done) {
		change_sides(a, b);
		a->named = false;
	}
	errno = saved;
	return done;
}

/* F_UNLCK, another type of lock that is in the way, or -1 where that cannot be told. */
static int claim_type(const struct lockfile *lock)
{
	int saved = errno;
	int type = lock->fd < 0 ? -1 : lock_bytes(lock->fd, F_OFD_GETLK, F_WRLCK, CLAIM, 1);

	errno = saved;
	return type;
}

bool lockfile_claimed(const struct lockfile *lock)
{
	int type = claim_type(lock);

	return type >= 0 && type != F_UNLCK;
}

bool lockfile_unclaimed(const struct lockfile *lock)
{
	return claim_type(lock) == F_UNLCK;
}

/*
 * Out of the program's way: programs count on the lowest numbers, and count their descriptors. The
 * top quarter of what they may open is the last they come to.
 */
static int out_of_the_way(int fd)
{
	struct rlimit limit;
	int high = -1;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		rlim_t most = limit.rlim_cur < 1024 ? limit.rlim_cur : 1024;
		high = fcntl(fd, F_DUPFD_CLOEXEC, (int)(most / 4 * 3));
	}
	if (high < 0)
		return fd;
	close(fd);
	return high;
}

/* Opens the named file anew: mutex and claim live on descriptions of their own. */
static int open_claim(struct lockfile *lock)
{
	int fd = open_existing(lock);
	struct stat found;

	if (fd < 0)
		return -1;
	if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink == 1 &&
		lock_bytes(fd, F_OFD_SETLK, F_RDLCK, CLAIM, 1) >= 0) {
		lock->file = file_of(&found);
		return fd;
	}
	close(fd);
	return -1;
}

/* Beyond RLIMIT_FSIZE a write raises SIGXFSZ, which ends the program. */
static bool write_record(const struct lockfile *lock, const char *text, size_t size, off_t at)
{
	struct rlimit limit;

	return lock->fd >= 0 && lock->named && getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
	       limit.rlim_cur >= RECORD_SIZE && pwrite(lock->fd, text, size, at) == (ssize_t)size;
}

int lockfile_claim(struct lockfile *lock, const struct record *record)
{
	int saved = errno;
	int fd = -1;
	char text[RECORD_SIZE];

	record_write(record, text);
	if (write_record(lock, text, sizeof(text), 0))
		fd = open_claim(lock);
	if (fd >= 0)
		fd = out_of_the_way(fd);
	errno = saved;
	return fd;
}

int lockfile_join(struct lockfile *lock)
{
	int saved = errno;
	int fd = lock->path[0] == '\0' ? -1 : open_claim(lock);

	if (fd >= 0 && !name_leads_to(lock, &lock->file)) {
		lockfile_unclaim(fd);
		fd = -1;
	}
	if (fd >= 0)
		fd = out_of_the_way(fd);
	errno = saved;
	return fd;
}

static bool find_claim(int claim, const struct file_id *file, struct stat *found)
{
	int saved = errno;
	struct file_id there;
	bool is = false;

	if (claim >= 0 && fstat(claim, found) == 0) {
		there = file_of(found);
		is = file_same(&there, file);
	}
	errno = saved;
	return is;
}

bool lockfile_is(int claim, const struct file_id *file)
{
	struct stat found;

	return find_claim(claim, file, &found);
}

bool lockfile_is_lost(int claim, const struct file_id *file)
{
	int saved = errno;
	struct stat found;
	struct file_id there;
	bool lost = claim < 0;

	if (!lost && fstat(claim, &found) != 0) {
		lost = errno == EBADF;
	} else if (!lost) {
		there = file_of(&found);
		lost = !file_same(&there, file);
	}
	errno = saved;
	return lost;
}

bool lockfile_is_void(int claim, const struct file_id *file)
{
	struct stat found;

	return find_claim(claim, file, &found) && found.st_nlink == 0;
}

void lockfile_unclaim(int claim)
{
	int saved = errno;

	/* The mutex as well: it may have been borrowed. */
	lock_bytes(claim, F_OFD_SETLK, F_UNLCK, MUTEX, 2);
	close(claim);
	errno = saved;
}

void lockfile_note_left(const struct lockfile *lock, bool left)
{
	int saved = errno;
	const char *word = left ? RECORD_LEFT : RECORD_HELD;

	if (lockfile_claimed(lock))
		write_record(lock, word, sizeof(RECORD_LEFT) - 1, RECORD_NAME_AT);
	errno = saved;
}

bool lockfile_record(const struct lockfile *lock, struct record *record)
{
	int saved = errno;
	char text[RECORD_SIZE];
	ssize_t length = lock->fd < 0 ? -1 : pread(lock->fd, text, sizeof(text), 0);

	errno = saved;
	return record_read(record, text, length < 0 ? 0 : (size_t)length);
}
