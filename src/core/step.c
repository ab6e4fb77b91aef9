#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>

#include "config.h"
#include "owned.h"

/* How long to wait for a mutex, which is held for microseconds unless its holder was stopped. */
#define PATIENCE_NS      INT64_C(3000000000)
#define FIRST_PAUSE_NS   20000U
#define LONGEST_PAUSE_NS 2000000U

void step_begin(struct step *step)
{
	sigset_t all;

	for (int i = 0; i < NAMES; i++) {
		step->guarded[i] = false;
		lockfile_name(&step->lock[i], AT_FDCWD, "");
	}
	sigfillset(&all);
	kernel_sigmask(SIG_SETMASK, &all, &step->signals); /* of this thread alone, on Linux */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &step->cancel);
}

void step_end(struct step *step)
{
	int saved = errno;

	pthread_setcancelstate(step->cancel, NULL);
	kernel_sigmask(SIG_SETMASK, &step->signals, NULL);
	errno = saved;
}

void step_add(struct step *step, int which, int dirfd, const char *path)
{
	step->guarded[which] = !config_ignores(dirfd, path);
	if (step->guarded[which])
		lockfile_name(&step->lock[which], dirfd, path);
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

/*
 * The mutex may be ours already: both names may be one, or another library behind us makes a call
 * of its own within the one that we handed on. Then the kernel's answer has to do for this name.
 */
static bool has_already(const struct step *step, int i)
{
	return lockfile_is_held_here(&step->lock[i]);
}

/* All mutexes or none: never wait for one while holding another. */
bool step_try(struct step *step)
{
	int saved = errno;

	for (int i = 0; i < NAMES; i++) {
		enum lockfile_state state = LOCKFILE_NONE;

		if (step->guarded[i])
			state = lockfile_try(&step->lock[i]);
		if (step->guarded[i] && state == LOCKFILE_NONE)
			state = borrow(&step->lock[i]);
		if (state != LOCKFILE_BUSY || has_already(step, i))
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
	sigset_t all;

	sigfillset(&all);
	while (!step_try(step)) {
		if (waited >= PATIENCE_NS) {
			errno = saved;
			return false;
		}
		kernel_sigmask(SIG_SETMASK, &step->signals, NULL);
		kernel_sleep(pause);
		kernel_sigmask(SIG_SETMASK, &all, NULL);
		waited += pause;
		if (pause < LONGEST_PAUSE_NS)
			pause *= 2;
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
