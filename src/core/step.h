/*
 * step: makes the check of one or two socket paths, and the call that follows, atomic with respect
 * to guarded processes, by holding the mutexes of the paths.
 *
 * Signals and cancellation are blocked from step_begin to step_end. A signal handler on this thread
 * could wait for ever for a mutex that the thread holds; a thread cancelled here would never
 * release it. And unlink(2) is no cancellation point: it must not become one because we close a
 * descriptor or write a message in it. This takes microseconds. While step_lock waits for a mutex,
 * signals are enabled and a handler may even leave by siglongjmp(3), because no mutex is held and
 * no descriptor open at that time. All functions are async-signal-safe and leave errno alone.
 */
#ifndef STEP_H
#define STEP_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "lockfile.h"

/* The total wait for a mutex of our own user or root. */
#define MUTEX_TIMEOUT_NS INT64_C(3000000000)

enum { FROM, TO, PATHS }; /* the call's path, its newpath (or bind's path), and their number */

struct step {
	/* Not open if the path has no part in the step, or can have no lock file. */
	struct lockfile lock[PATHS];
	struct location location[PATHS];
	bool guarded[PATHS];    /* false: not added, or ignored by a setting */
	bool skip_mutex[PATHS]; /* waited too long for another user's mutex: go on without it */
	bool not_blocked;       /* a filter forbids blocking signals: acquire no mutex */
	sigset_t signals;
	int cancel;
};

/* Starts a step without paths, and blocks signals and cancellation until step_end. */
void step_begin(struct step *step);
void step_end(struct step *step);

/*
 * Adds a path as FROM or TO, unless a setting ignores it. Keeps the pointer. Its location is valid
 * once the mutexes are held.
 */
void step_add_path(struct step *step, int which, int dirfd, const char *path);

/*
 * Tries to acquire the mutexes of all paths. Returns false, and holds none, if another process or
 * thread holds one of them. A path that can have no lock file takes part without a mutex.
 */
bool step_try_lock(struct step *step);

/*
 * The same, but waits. If another user's lock file stays locked for 10 ms, goes on without its
 * mutex; if one of our own user's or of root's stays locked for 3 s, returns false.
 */
bool step_lock(struct step *step);

/* Releases the mutexes. */
void step_unlock(struct step *step);

#endif
