#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "caller.h"
#include "config.h"
#include "filter.h"
#include "held.h"
#include "kernel.h"
#include "owned.h"
#include "scratch.h"
#include "text.h"

/*
 * How long to wait for the mutex of a file that is not trusted. Its user may hold the mutex on
 * purpose: if root's rm waited three seconds for each of 1,200 files, that would take an hour.
 */
#define UNTRUSTED_TIMEOUT_NS INT64_C(10000000)
#define FIRST_PAUSE_NS       20000U
#define LONGEST_PAUSE_NS     2000000U

/*
 * Blocks all signals but SIGSYS, and cancellation. A seccomp filter raises SIGSYS for a call of
 * this thread, and a sandbox's handler then makes the call in its place. If the signal were
 * blocked, the kernel would kill the process.
 */
static void block_interruptions(struct step *step, sigset_t *signals)
{
	int saved = errno;
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	step->not_blocked = kernel_sigmask(SIG_SETMASK, &all, signals) != 0; /* of this thread */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &step->cancel);
	errno = saved;
}

static void restore_interruptions(const struct step *step)
{
	pthread_setcancelstate(step->cancel, NULL);
	if (!step->not_blocked)
		kernel_sigmask(SIG_SETMASK, &step->signals, NULL);
}

void step_begin(struct step *step)
{
	for (int i = 0; i < PATHS; i++) {
		step->guarded[i] = false;
		step->skip_mutex[i] = false;
		step->location[i] = location_of(AT_FDCWD, "");
		lockfile_init(&step->lock[i], AT_FDCWD, "");
	}
	block_interruptions(step, &step->signals);
}

static void close_directories(struct step *step)
{
	for (int i = 0; i < PATHS; i++) {
		struct location *location = &step->location[i];

		if (location->parent != location->dirfd)
			kernel_close(location->parent);
		location->parent = location->dirfd;
		location->name = location->path;
	}
}

void step_end(struct step *step)
{
	int saved = errno;

	close_directories(step);
	restore_interruptions(step);
	errno = saved;
}

/* Opens the directory of a path whose last component begins at `end`. */
static __attribute__((noinline)) int open_directory(int dirfd, const char *path, size_t end)
{
	char small[256]; /* longer paths are rare, and a signal handler's stack may be small */
	char *space = end + 2 <= sizeof(small) ? small : scratch_allocate(end + 2);
	struct text text;
	int fd;

	if (!space)
		return -1;
	text = text_start(space, end + 2);
	text_add_n(&text, path, end);
	if (end == 0)
		text_add(&text, ".");
	fd = kernel_open(dirfd, space, O_PATH | O_DIRECTORY, 0);
	if (space != small)
		scratch_free(space, end + 2);
	return fd;
}

/*
 * Opens the path's directory. Does nothing if the process has a filter: it may compare the address
 * of the path, so every call must pass the program's own pointer.
 */
static void open_parent(struct location *location)
{
	size_t end = inode_directory_length(location->path);
	int fd;

	if (filter_is_known() || location->path[end] == '\0')
		return;
	fd = open_directory(location->dirfd, location->path, end);
	if (fd < 0)
		return;
	location->parent = fd;
	location->name = location->path + end;
}

void step_add_path(struct step *step, int which, int dirfd, const char *path)
{
	step->location[which] = location_of(dirfd, path);
	step->guarded[which] = !config_ignores(dirfd, path);
}

static void open_directories(struct step *step)
{
	for (int i = 0; i < PATHS; i++) {
		bool will_claim = step->lock[i].will_claim;

		if (!step->guarded[i] || step->location[i].parent != step->location[i].dirfd)
			continue;
		open_parent(&step->location[i]);
		lockfile_init(&step->lock[i], step->location[i].parent, step->location[i].name);
		step->lock[i].will_claim = will_claim;
	}
}

/*
 * Locks the mutex through our claim's descriptor: for a process that has no descriptor left, or
 * that has changed its user and may not open the file any more. BUSY, too, if the file was renamed
 * or unlinked after we looked it up.
 */
static enum lockfile_state lock_through_claim(struct lockfile *lock)
{
	struct kernel_file found;
	struct file_id file, there;
	enum lockfile_state state;
	int claim;

	if (lock->path[0] == '\0' || inode_stat(lock->dirfd, lock->path, &found) != 0)
		return LOCKFILE_NONE;
	file = file_id_of(&found);
	claim = owned_find_claim(&file);
	if (claim < 0)
		return LOCKFILE_NONE;
	state = lockfile_try_lock_through(lock, claim);
	if (state != LOCKFILE_NONE)
		return state;
	if (inode_stat(lock->dirfd, lock->path, &found) != 0)
		return LOCKFILE_BUSY;
	there = file_id_of(&found);
	return file_same(&file, &there) ? LOCKFILE_NONE : LOCKFILE_BUSY;
}

/* As a last resort, also looks for a file at an alternate name that we claim but cannot open. */
static enum lockfile_state lock_any_claim(struct lockfile *lock)
{
	enum lockfile_state state = lock_through_claim(lock);

	if (state == LOCKFILE_NONE && owned_has_any() && lockfile_find_claimed(lock, owned_claims))
		state = lock_through_claim(lock);
	return state;
}

static enum lockfile_state try_lock_one(struct step *step, int i)
{
	struct lockfile *lock = &step->lock[i];
	enum lockfile_state state = LOCKFILE_NONE;

	if (!step->guarded[i])
		return LOCKFILE_NONE;
	if (owned_has_any() && lockfile_find_claimed(lock, owned_claims_as_other_user))
		state = lock_through_claim(lock); /* privileges dropped since the bind */
	if (state == LOCKFILE_NONE && !step->not_blocked)
		state = lockfile_try_lock(lock);
	if (state == LOCKFILE_NONE)
		state = lock_any_claim(lock);
	/*
	 * This thread may hold the mutex already: both paths are the same, or another preloaded
	 * library, called by the call that we make, makes a call of its own. Then the kernel's
	 * answer alone decides on this path.
	 */
	if (state == LOCKFILE_BUSY && (held_by_this_thread(&lock->file) || step->skip_mutex[i]))
		state = LOCKFILE_NONE;
	return state;
}

/* All mutexes or none: a thread never waits for one while it holds another. */
bool step_try_lock(struct step *step)
{
	int saved = errno;

	open_directories(step);
	for (int i = 0; i < PATHS; i++) {
		if (try_lock_one(step, i) != LOCKFILE_BUSY)
			continue;
		while (i-- > 0)
			lockfile_release(&step->lock[i]);
		errno = saved;
		return false;
	}
	errno = saved;
	return true;
}

/* Whether the last attempt has waited for longer than step_lock does. */
static bool has_waited(const struct step *step)
{
	return step->lock[FROM].fork_hangs || step->lock[TO].fork_hangs;
}

bool step_lock(struct step *step)
{
	int saved = errno;
	int64_t waited = 0; /* not measured with a clock, which libfaketime may have stopped */
	uint32_t pause = FIRST_PAUSE_NS;

	while (!step_try_lock(step)) {
		close_directories(step);
		if (waited >= MUTEX_TIMEOUT_NS || has_waited(step)) {
			errno = saved;
			return false;
		}
		restore_interruptions(step);
		caller->pause(pause);
		block_interruptions(step, NULL);
		waited += pause;
		if (pause < LONGEST_PAUSE_NS)
			pause *= 2;
		for (int i = 0; i < PATHS; i++)
			step->skip_mutex[i] =
				step->skip_mutex[i] ||
				(step->lock[i].untrusted && waited >= UNTRUSTED_TIMEOUT_NS);
	}
	errno = saved;
	return true;
}

void step_unlock(struct step *step)
{
	for (int i = PATHS; i-- > 0;)
		if (step->guarded[i])
			lockfile_release(&step->lock[i]);
}
