#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "filter.h"
#include "held.h"
#include "kernel.h"
#include "owned.h"
#include "scratch.h"
#include "text.h"

/*
 * How long to wait for a mutex, which is held for microseconds unless its holder was stopped. One
 * of another user may be held on purpose: by whoever wants root's rm to take an hour.
 */
#define PATIENCE_NS            INT64_C(3000000000)
#define PATIENCE_WITH_OTHER_NS INT64_C(10000000)
#define FIRST_PAUSE_NS         20000U
#define LONGEST_PAUSE_NS       2000000U

/*
 * SIGSYS comes from a call that the thread makes itself: blocked, it would kill where a sandbox's
 * handler makes the program's call in its place.
 */
static void hold_off(struct step *step, sigset_t *signals)
{
	int saved = errno;
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	step->unblocked = kernel_sigmask(SIG_SETMASK, &all, signals) != 0; /* of this thread */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &step->cancel);
	errno = saved;
}

static void let_through(const struct step *step)
{
	pthread_setcancelstate(step->cancel, NULL);
	if (!step->unblocked)
		kernel_sigmask(SIG_SETMASK, &step->signals, NULL);
}

void step_begin(struct step *step)
{
	for (int i = 0; i < NAMES; i++) {
		step->guarded[i] = false;
		step->without[i] = false;
		step->place[i] = place_of(AT_FDCWD, "");
		lockfile_name(&step->lock[i], AT_FDCWD, "");
	}
	hold_off(step, &step->signals);
}

static void close_directories(struct step *step)
{
	for (int i = 0; i < NAMES; i++) {
		struct place *place = &step->place[i];

		if (place->at != place->dirfd)
			kernel_close(place->at);
		place->at = place->dirfd;
		place->name = place->path;
	}
}

void step_end(struct step *step)
{
	int saved = errno;

	close_directories(step);
	let_through(step);
	errno = saved;
}

/* The directory of a path, whose last component begins at `end`. */
static __attribute__((noinline)) int open_directory(int dirfd, const char *path, size_t end)
{
	char small[256]; /* longer paths are rare, and a handler's stack may be small */
	char *space = end + 2 <= sizeof(small) ? small : scratch_take(end + 2);
	struct text text;
	int fd;

	if (!space)
		return -1;
	text = text_in(space, end + 2);
	text_add_n(&text, path, end);
	if (end == 0)
		text_add(&text, ".");
	fd = kernel_open(dirfd, space, O_PATH | O_DIRECTORY, 0);
	if (space != small)
		scratch_give_back(space, end + 2);
	return fd;
}

/* A filter may compare a path's address, so with one the program's own goes into every call. */
static void open_place(struct place *place)
{
	size_t end = inode_directory(place->path);
	int fd;

	if (filter_any() || place->path[end] == '\0')
		return;
	fd = open_directory(place->dirfd, place->path, end);
	if (fd < 0)
		return;
	place->at = fd;
	place->name = place->path + end;
}

void step_add(struct step *step, int which, int dirfd, const char *path)
{
	step->place[which] = place_of(dirfd, path);
	step->guarded[which] = !config_ignores(dirfd, path);
}

static void open_directories(struct step *step)
{
	for (int i = 0; i < NAMES; i++) {
		bool to_claim = step->lock[i].to_claim;

		if (!step->guarded[i] || step->place[i].at != step->place[i].dirfd)
			continue;
		open_place(&step->place[i]);
		lockfile_name(&step->lock[i], step->place[i].at, step->place[i].name);
		step->lock[i].to_claim = to_claim;
	}
}

/* Where no descriptor is to be had, or the file is no longer ours to open, our claim's will do. */
static enum lockfile_state borrow(struct lockfile *lock)
{
	struct kernel_file found;
	struct file_id file;
	int claim;

	if (lock->path[0] == '\0' || inode_look(lock->dirfd, lock->path, &found) != 0)
		return LOCKFILE_NONE;
	file = file_of(&found);
	claim = owned_claim_on(&file);
	return claim < 0 ? LOCKFILE_NONE : lockfile_borrow(lock, claim);
}

static bool is_claimed(const struct kernel_file *found)
{
	const struct file_id file = file_of(found);

	return S_ISREG(found->mode) && owned_claim_on(&file) >= 0;
}

static enum lockfile_state try_one(struct step *step, int i)
{
	struct lockfile *lock = &step->lock[i];
	enum lockfile_state state = LOCKFILE_NONE;

	if (!step->guarded[i])
		return LOCKFILE_NONE;
	if (owned_any() && lockfile_find_claimed(lock, is_claimed))
		state = borrow(lock); /* privileges dropped since the bind */
	if (state == LOCKFILE_NONE && !step->unblocked)
		state = lockfile_try(lock);
	if (state == LOCKFILE_NONE)
		state = borrow(lock);
	/*
	 * The mutex may be ours already: both names may be one, or another library behind us makes
	 * a call of its own within the one that we handed on. Then the kernel's answer has to do
	 * for this name.
	 */
	if (state == LOCKFILE_BUSY && (held_here(&lock->file) || step->without[i]))
		state = LOCKFILE_NONE;
	return state;
}

/* All mutexes or none: never wait for one while holding another. */
bool step_try(struct step *step)
{
	int saved = errno;

	open_directories(step);
	for (int i = 0; i < NAMES; i++) {
		if (try_one(step, i) != LOCKFILE_BUSY)
			continue;
		while (i-- > 0)
			lockfile_leave(&step->lock[i]);
		errno = saved;
		return false;
	}
	errno = saved;
	return true;
}

bool step_enter(struct step *step)
{
	int saved = errno;
	int64_t waited = 0; /* not by a clock, which libfaketime may have stopped */
	uint32_t pause = FIRST_PAUSE_NS;

	while (!step_try(step)) {
		close_directories(step);
		if (waited >= PATIENCE_NS) {
			errno = saved;
			return false;
		}
		let_through(step);
		kernel_sleep(pause);
		hold_off(step, NULL);
		waited += pause;
		if (pause < LONGEST_PAUSE_NS)
			pause *= 2;
		for (int i = 0; i < NAMES; i++)
			step->without[i] =
				step->without[i] ||
				(step->lock[i].distrusted && waited >= PATIENCE_WITH_OTHER_NS);
	}
	errno = saved;
	return true;
}

void step_leave(struct step *step)
{
	for (int i = NAMES; i-- > 0;)
		if (step->guarded[i])
			lockfile_leave(&step->lock[i]);
}
