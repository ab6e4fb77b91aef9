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
#include "shared.h"
#include "text.h"

enum { MUTEX = 0, CLAIM = 1 }; /* the bytes locked */

/* A file that is removed under our hands each time we open it; then others are busy with it. */
#define TRIES 64

/* A user without a mapping in our user namespace, /proc/sys/kernel/overflowuid: it may be anybody.
 */
#define UNMAPPED 65534U

static void forget_state(struct lockfile *lock)
{
	lock->fd = -1;
	lock->file = (struct file_id){0};
	lock->named = false;
	lock->removed = false;
	lock->borrowed = false;
	lock->claimed = false;
	lock->unclaimed = false;
	lock->recorded = false;
	lock->distrusted = false;
}

void lockfile_name(struct lockfile *lock, int dirfd, const char *path)
{
	struct text text = text_in(lock->path, sizeof(lock->path));
	size_t directory = inode_directory(path);
	size_t length = strlen(path);

	forget_state(lock);
	lock->dirfd = dirfd;
	lock->to_claim = false;
	lock->directory = DIRECTORY_NOT_SEEN;
	lock->length = 0;
	if (length == directory || length + LOCKFILE_LONGER + SHARED_LONGER >= sizeof(lock->path))
		return;
	text_add_n(&text, path, directory);
	text_add(&text, LOCKFILE_PREFIX);
	text_add(&text, path + directory);
	text_add(&text, LOCKFILE_SUFFIX);
	lock->length = text.used;
}

/* Without what shared.c may have put behind it; 0: no lock file's name. */
static size_t plain_length(const char *path)
{
	size_t length = strlen(path);
	size_t suffix = strlen(LOCKFILE_SUFFIX);

	if (length > SHARED_LONGER && shared_is_alternate(path + length - SHARED_LONGER))
		length -= SHARED_LONGER;
	return length > suffix && memcmp(path + length - suffix, LOCKFILE_SUFFIX, suffix) == 0
		       ? length
		       : 0;
}

bool lockfile_socket(const char *path, char *socket, size_t size)
{
	struct text text = text_in(socket, size);
	size_t directory = inode_directory(path);
	size_t length = plain_length(path);

	if (length <= directory + LOCKFILE_LONGER || length - LOCKFILE_LONGER >= size ||
		path[directory] != LOCKFILE_PREFIX[0])
		return false;
	text_add_n(&text, path, directory);
	text_add_n(&text, path + directory + strlen(LOCKFILE_PREFIX),
		length - directory - LOCKFILE_LONGER);
	return true;
}

/* ---- whom to believe ---- */

/*
 * Where strangers may create names, a file at the lock file's name counts if it is ours, and
 * nobody else's: they would hold its mutex for ever, or write what they like into its record.
 */
static bool is_shared(struct lockfile *lock)
{
	struct kernel_file found;
	size_t end;
	char first;

	if (lock->directory != DIRECTORY_NOT_SEEN)
		return lock->directory == DIRECTORY_SHARED;
	end = inode_directory(lock->path);
	first = lock->path[end];
	lock->path[end] = '\0'; /* what is left names the directory, for as long as we look */
	lock->directory = inode_look(lock->dirfd, end == 0 ? "." : lock->path, &found) == 0 &&
					  (found.mode & S_ISVTX) &&
					  (found.mode & (S_IWGRP | S_IWOTH))
				  ? DIRECTORY_SHARED
				  : DIRECTORY_PRIVATE;
	lock->path[end] = first;
	return lock->directory == DIRECTORY_SHARED;
}

bool lockfile_counts(const struct kernel_file *found)
{
	return S_ISREG(found->mode) && found->nlink == 1 && found->uid == kernel_euid() &&
	       found->uid != UNMAPPED;
}

/* Our own files and root's are believed without reserve. */
static bool is_trusted(const struct kernel_file *found)
{
	return found->uid != UNMAPPED && (found->uid == kernel_euid() || found->uid == 0);
}

bool lockfile_find_claimed(struct lockfile *lock, bool (*claimed)(const struct kernel_file *))
{
	int saved = errno;
	struct kernel_file found;
	bool is_found =
		lock->path[0] != '\0' && is_shared(lock) &&
		inode_look(lock->dirfd, lock->path, &found) == 0 && !lockfile_counts(&found) &&
		shared_find(lock->dirfd, lock->path, lock->length, claimed, NULL) == SHARED_FOUND;

	errno = saved;
	return is_found;
}

/* A regular file of one name only: anything else was put there to have us write elsewhere. */
static bool validate(struct lockfile *lock, int fd)
{
	struct kernel_file found;

	if (kernel_fstat(fd, &found) != 0 || !S_ISREG(found.mode) || found.nlink > 1 ||
		(is_shared(lock) && !lock->borrowed && found.nlink > 0 &&
			!lockfile_counts(&found))) {
		errno = EINVAL;
		return false;
	}
	if (found.nlink == 0) {
		errno = EAGAIN;
		return false;
	}
	lock->file = file_of(&found);
	lock->distrusted = !is_trusted(&found);
	return true;
}

/* Opening says so of a file that somebody has a lease on, fcntl(2): only its owner can. */
static void note_lease(struct lockfile *lock)
{
	int saved = errno;
	struct kernel_file found;

	if (errno == EWOULDBLOCK && inode_look(lock->dirfd, lock->path, &found) == 0)
		lock->distrusted = !is_trusted(&found);
	errno = saved;
}

/* ---- opening ---- */

static int open_existing(const struct lockfile *lock)
{
	/* O_NONBLOCK for a FIFO or a lease somebody put there. */
	return kernel_open(lock->dirfd, lock->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
}

static int create(const struct lockfile *lock)
{
	if (filter_any() && !kernel_permits_locks()) {
		errno = ENOSYS;
		return -1;
	}
	return kernel_open(lock->dirfd, lock->path,
		O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK, 0600);
}

/*
 * A copy out of the program's way: programs count on the lowest numbers, and count their
 * descriptors. The top quarter of what they may open is the last they come to.
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

/* The same descriptor where no other can be had. */
static int move_high(int fd, bool noted)
{
	int high = duplicate_high(fd);

	if (high < 0)
		return fd;
	if (noted && !held_note(high)) {
		kernel_close(high);
		return fd;
	}
	if (noted)
		held_forget(fd);
	kernel_close(fd);
	return high;
}

static bool name_leads_to(const struct lockfile *lock, const struct file_id *file,
	struct kernel_file *found)
{
	struct file_id there;

	if (inode_look(lock->dirfd, lock->path, found) != 0)
		return false;
	there = file_of(found);
	return file_same(&there, file);
}

static bool try_mutex(int fd)
{
	return kernel_lock(fd, F_OFD_SETLK, F_WRLCK, MUTEX, 1) >= 0;
}

/* The kernel may lack the memory even for that, ENOLCK. */
static bool release_mutex(int fd)
{
	bool released = false;

	for (int i = 0; i < 2 && !released; i++)
		released = kernel_lock(fd, F_OFD_SETLK, F_UNLCK, MUTEX, 1) >= 0;
	return released;
}

/* After a look that failed with this error, or found another file: 0. */
static enum lockfile_state give_back(int fd, int error)
{
	release_mutex(fd);
	errno = kernel_is_forbidden(error) ? error : EAGAIN; /* forbidden now, forbidden later */
	return LOCKFILE_NONE;
}

static enum lockfile_state take_mutex(struct lockfile *lock, int fd)
{
	struct kernel_file found;

	if (!try_mutex(fd))
		return errno == EAGAIN ? LOCKFILE_BUSY : LOCKFILE_NONE;
	errno = 0;
	if (!name_leads_to(lock, &lock->file, &found))
		return give_back(fd, errno);
	lock->fd = fd;
	lock->named = true;
	lock->recorded = found.size > 0;
	return LOCKFILE_HELD;
}

/*
 * A kernel that knows no such locks (EINVAL, before Linux 3.15), or a filter that forbids them: a
 * file made for them would lie there for ever.
 */
static void remove_useless(const struct lockfile *lock)
{
	int saved = errno;

	if (errno == EINVAL || errno == ENOSYS || errno == EPERM)
		kernel_unlink(lock->dirfd, lock->path);
	errno = saved;
}

/*
 * One that we created. Others may have come and gone before we got its mutex. While it is empty it
 * has had no claim, and still has the name it was made at, or none.
 */
static enum lockfile_state take_new_mutex(struct lockfile *lock, int fd)
{
	struct kernel_file found;

	if (!try_mutex(fd)) {
		if (errno == EAGAIN)
			return LOCKFILE_BUSY;
		remove_useless(lock);
		return LOCKFILE_NONE;
	}
	if (kernel_fstat(fd, &found) != 0) {
		remove_useless(lock);
		return give_back(fd, errno);
	}
	lock->file = file_of(&found);
	lock->recorded = found.size > 0;
	errno = 0;
	if (lock->recorded ? !name_leads_to(lock, &lock->file, &found) : found.nlink != 1)
		return give_back(fd, errno);
	/* Whatever the program's umask or the directory's default ACL made of it. */
	if ((found.mode & 07777) != 0600)
		kernel_fchmod(fd, 0600);
	lock->fd = fd;
	lock->named = true;
	lock->unclaimed = !lock->recorded;
	return LOCKFILE_HELD;
}

/*
 * Each by a call of its own: in a sticky directory fs.protected_regular refuses O_CREAT without
 * O_EXCL on a file of somebody else's, proc_sys_fs(5). A name about to be bound most often has no
 * lock file, one about to be taken away has one.
 */
static int open_or_create(struct lockfile *lock, bool *created)
{
	const bool first = lock->to_claim;
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

/*
 * Where strangers may create names: the file that counts, or a new one. At the plain name there may
 * be a stranger's, and he may come and go while we look; then ours is an alternate.
 */
static int open_or_create_shared(struct lockfile *lock, bool *created)
{
	enum shared found;
	int fd;

	if (kernel_euid() == UNMAPPED) {
		errno = EINVAL;
		return -1;
	}
	lock->path[lock->length] = '\0';
	*created = true;
	fd = create(lock);
	if (fd >= 0 || errno != EEXIST)
		return fd;
	found = shared_find(lock->dirfd, lock->path, lock->length, lockfile_counts, NULL);
	if (found == SHARED_UNREADABLE) { /* an alternate would not be found again */
		errno = EINVAL;
		return -1;
	}
	*created = found == SHARED_NONE;
	if (*created)
		shared_alternate(lock->path, lock->length);
	fd = *created ? create(lock) : open_existing(lock);
	if (fd < 0 && errno == (*created ? EEXIST : ENOENT))
		errno = EAGAIN;
	return fd;
}

/* One that was just found. */
static int open_found(struct lockfile *lock, bool *created)
{
	*created = false;
	return open_existing(lock);
}

/* Opens and notes it, before there is a mutex to be held. EBUSY: not now. */
static int open_noted(struct lockfile *lock, int (*open)(struct lockfile *, bool *), bool *created)
{
	unsigned int begun = held_begin_opening();
	int fd = open(lock, created);

	if (fd < 0)
		note_lease(lock);
	if (fd >= 0 && !held_note(fd)) {
		kernel_close(fd);
		fd = -1;
		errno = EBUSY;
	}
	if (fd >= 0 && lock->to_claim)
		fd = move_high(fd, true);
	if (held_end_opening(begun) || fd < 0)
		return fd;
	held_forget(fd);
	kernel_close(fd);
	errno = EBUSY;
	return -1;
}

static void close_noted(int fd)
{
	int saved = errno;

	held_forget(fd);
	kernel_close(fd);
	errno = saved;
}

/* LOCKFILE_NONE with EAGAIN: the file was removed meanwhile, look again. */
static enum lockfile_state open_and_lock(struct lockfile *lock)
{
	enum lockfile_state state = LOCKFILE_NONE;
	bool created = false;
	int fd = open_noted(lock, is_shared(lock) ? open_or_create_shared : open_or_create,
		&created);

	if (fd < 0)
		return errno == EBUSY ? LOCKFILE_BUSY : LOCKFILE_NONE;
	if (created)
		state = take_new_mutex(lock, fd);
	else if (validate(lock, fd))
		state = take_mutex(lock, fd);
	if (state != LOCKFILE_HELD)
		close_noted(fd);
	return state;
}

/* The name stays what it is, and leads to what the other's does. */
static void take_over(struct lockfile *to, const struct lockfile *from)
{
	to->fd = from->fd;
	to->file = from->file;
	to->borrowed = from->borrowed;
	to->claimed = from->claimed;
	to->unclaimed = from->unclaimed;
	to->recorded = from->recorded;
}

static void change_sides(struct lockfile *a, struct lockfile *b)
{
	struct lockfile was;

	take_over(&was, a);
	take_over(a, b);
	take_over(b, &was);
}

static void change_paths(struct lockfile *a, struct lockfile *b)
{
	for (size_t i = 0; i < sizeof(a->path); i++) {
		char byte = a->path[i];

		a->path[i] = b->path[i];
		b->path[i] = byte;
	}
}

/*
 * We hold a mutex, and there is another file that counts: left by a crash, or just made by somebody
 * who saw a stranger's file where we saw none. Only with the mutexes of all may anybody go on. Of
 * two, the one that is claimed remains. Returns false if the other is held: then nobody waits while
 * holding one.
 */
static bool settle_with(struct lockfile *lock, struct lockfile *other)
{
	enum lockfile_state state = LOCKFILE_NONE;
	bool created;
	int fd = open_noted(other, open_found, &created);

	if (fd < 0)
		return errno == ENOENT;
	if (validate(other, fd))
		state = take_mutex(other, fd);
	if (state != LOCKFILE_HELD) {
		close_noted(fd);
		return state == LOCKFILE_NONE;
	}
	if (lockfile_unclaimed(lock) && !lockfile_unclaimed(other)) {
		change_sides(lock, other);
		change_paths(lock, other);
	}
	lockfile_leave(other); /* and removes it, unless it is claimed */
	return true;
}

static bool settle(struct lockfile *lock)
{
	for (int i = 0; i < TRIES; i++) {
		struct lockfile other = *lock;

		forget_state(&other);
		if (shared_find(other.dirfd, other.path, other.length, lockfile_counts,
			    &lock->file) != SHARED_FOUND)
			return true;
		if (!settle_with(lock, &other))
			return false;
	}
	return false;
}

static enum lockfile_state try_once(struct lockfile *lock)
{
	enum lockfile_state state = open_and_lock(lock);

	if (state != LOCKFILE_HELD || !is_shared(lock) || settle(lock))
		return state;
	lockfile_leave(lock);
	return LOCKFILE_BUSY;
}

enum lockfile_state lockfile_try(struct lockfile *lock)
{
	int saved = errno;
	enum lockfile_state state = LOCKFILE_NONE;

	forget_state(lock);
	if (lock->path[0] == '\0')
		return LOCKFILE_NONE;
	for (int i = 0; i < TRIES; i++) {
		errno = 0;
		state = try_once(lock);
		if (state != LOCKFILE_NONE || errno != EAGAIN || lock->distrusted)
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
	struct kernel_file found;

	if (lock->path[0] != '\0' && is_shared(lock))
		shared_find(lock->dirfd, lock->path, lock->length, lockfile_counts, NULL);
	if (lock->path[0] != '\0')
		lock->fd =
			kernel_open(lock->dirfd, lock->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (lock->fd >= 0 && (kernel_fstat(lock->fd, &found) != 0 || !S_ISREG(found.mode))) {
		kernel_close(lock->fd);
		lock->fd = -1;
	}
	lock->recorded = lock->fd >= 0 && found.size > 0;
	errno = saved;
	return lock->fd >= 0;
}

bool lockfile_peek_accepted(struct lockfile *lock)
{
	int saved = errno;

	if (lockfile_peek(lock) && !validate(lock, lock->fd)) {
		kernel_close(lock->fd);
		lock->fd = -1;
	}
	errno = saved;
	return lock->fd >= 0;
}

enum lockfile_state lockfile_borrow(struct lockfile *lock, int claim)
{
	int saved = errno;
	enum lockfile_state state = LOCKFILE_NONE;
	struct kernel_file found;

	lock->borrowed = true;
	if (lock->path[0] != '\0' && validate(lock, claim))
		state = take_mutex(lock, claim);
	if (state == LOCKFILE_NONE && filter_any() && kernel_is_forbidden(errno) &&
		name_leads_to(lock, &lock->file, &found)) {
		/* The process must not lock. Then its claim proves the name, without the mutex. */
		lock->fd = claim;
		lock->named = true;
		lock->recorded = found.size > 0;
		state = LOCKFILE_HELD;
	}
	lock->claimed = state == LOCKFILE_HELD;
	errno = saved;
	return state;
}

void lockfile_leave(struct lockfile *lock)
{
	int saved = errno;
	bool released = true;

	if (lock->fd < 0)
		return;
	if (lock->named && lockfile_unclaimed(lock)) /* what is borrowed is a claim's */
		lockfile_remove(lock);
	/* Not by close alone: a fork in another thread may hold a copy. */
	if (!lock->removed) /* then nobody finds it any more */
		released = release_mutex(lock->fd);
	if (!lock->borrowed)
		held_forget(lock->fd);
	if (!lock->borrowed && (!lock->claimed || !released))
		kernel_close(lock->fd); /* rather no claim than a mutex held on */
	lock->fd = -1;
	errno = saved;
}

void lockfile_remove(struct lockfile *lock)
{
	int saved = errno;
	struct kernel_file found;

	/* A borrowed mutex is shared with forks, and may have been given back by one of them. */
	if (lock->fd >= 0 && lock->named &&
		(!lock->borrowed || name_leads_to(lock, &lock->file, &found)))
		lock->removed = kernel_unlink(lock->dirfd, lock->path) == 0;
	lock->named = false;
	errno = saved;
}

/* F_UNLCK, another type of lock that is in the way, or -1 where that cannot be told. */
static int claim_type(const struct lockfile *lock)
{
	int saved = errno;
	int type = -1;

	if (lock->unclaimed || lock->claimed)
		return lock->claimed ? F_RDLCK : F_UNLCK;
	if (lock->fd >= 0)
		type = kernel_lock(lock->fd, F_OFD_GETLK, F_WRLCK, CLAIM, 1);
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

bool lockfile_move(struct lockfile *a, struct lockfile *b)
{
	int saved = errno;
	bool done = a->fd >= 0 && b->fd >= 0 && !lockfile_unclaimed(a) &&
		    kernel_rename(a->dirfd, a->path, b->dirfd, b->path, 0) == 0;

	if (done) {
		change_sides(a, b);
		a->named = false;
	}
	errno = saved;
	return done;
}

bool lockfile_exchange(struct lockfile *a, struct lockfile *b)
{
	int saved = errno;
	bool done;

	if (lockfile_unclaimed(a))
		return lockfile_move(b, a);
	if (lockfile_unclaimed(b))
		return lockfile_move(a, b);
	done = a->fd >= 0 && b->fd >= 0 &&
	       kernel_rename(a->dirfd, a->path, b->dirfd, b->path, RENAME_EXCHANGE) == 0;
	if (done)
		change_sides(a, b);
	errno = saved;
	return done;
}

static bool take_claim(int fd)
{
	return kernel_lock(fd, F_OFD_SETLK, F_RDLCK, CLAIM, 1) >= 0;
}

/*
 * Beyond RLIMIT_FSIZE a write raises SIGXFSZ, which would end the program. It is blocked under a
 * mutex, and taken back.
 */
static bool write_record(const struct lockfile *lock, const char *text, size_t size, uint32_t at)
{
	sigset_t raised;
	ssize_t written;

	if (lock->fd < 0 || !lock->named)
		return false;
	written = kernel_pwrite(lock->fd, text, size, at);
	if (written < 0 && errno == EFBIG) {
		sigemptyset(&raised);
		sigaddset(&raised, SIGXFSZ);
		kernel_take_signal(&raised);
	}
	return written == (ssize_t)size;
}

int lockfile_claim(struct lockfile *lock, const struct record *record)
{
	int saved = errno;
	char text[RECORD_SIZE];
	bool written;

	record_write(record, text);
	written = write_record(lock, text, sizeof(text), 0);
	lock->unclaimed = lock->unclaimed && !written;
	if (written && !lock->borrowed)
		lock->claimed = take_claim(lock->fd);
	errno = saved;
	return lock->claimed && !lock->borrowed ? lock->fd : -1;
}

/* An empty file is somebody's who is about to bind, and takes it for unclaimed. */
int lockfile_join(struct lockfile *lock, struct file_id *file)
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
		 found.size > 0 && (!is_shared(lock) || lockfile_counts(&found)) && take_claim(fd);
	*file = file_of(&found);
	if (joined && name_leads_to(lock, file, &found)) {
		fd = move_high(fd, false);
	} else {
		lockfile_unclaim(fd);
		fd = -1;
	}
	errno = saved;
	return fd;
}

enum claim lockfile_claim_state(int claim, const struct file_id *file)
{
	int saved = errno;
	struct kernel_file found;
	struct file_id there;
	enum claim state = CLAIM_LOST;

	if (claim >= 0 && kernel_fstat(claim, &found) == 0) {
		there = file_of(&found);
		if (file_same(&there, file))
			state = found.nlink > 0 ? CLAIM_STANDS : CLAIM_VOID;
	} else if (claim >= 0 && errno != EBADF) {
		state = CLAIM_UNTOLD;
	}
	errno = saved;
	return state;
}

bool lockfile_is(int fd, const struct file_id *file)
{
	enum claim state = lockfile_claim_state(fd, file);

	return state == CLAIM_STANDS || state == CLAIM_VOID;
}

void lockfile_unclaim(int claim)
{
	int saved = errno;

	/* The mutex as well: it may have been borrowed. */
	kernel_lock(claim, F_OFD_SETLK, F_UNLCK, MUTEX, 2);
	kernel_close(claim);
	errno = saved;
}

void lockfile_note_left(const struct lockfile *lock, bool left)
{
	int saved = errno;
	const char *word = left ? RECORD_LEFT : RECORD_HELD;

	if (lock->recorded)
		write_record(lock, word, sizeof(RECORD_LEFT) - 1, RECORD_NAME_AT);
	errno = saved;
}

bool lockfile_record(const struct lockfile *lock, struct record *record)
{
	int saved = errno;
	char text[RECORD_SIZE];
	ssize_t length = lock->fd < 0 ? -1 : kernel_pread(lock->fd, text, sizeof(text), 0);

	errno = saved;
	return record_read(record, text, length < 0 ? 0 : (size_t)length);
}

bool lockfile_from_elsewhere(const struct lockfile *lock, const struct record *record)
{
	return record_from_elsewhere(record) &&
	       (filesystem_locks_remotely(lock->fd) || !lockfile_claimed(lock));
}
