/*
 * step: makes a look at one or two names and the act after it one step among guarded processes.
 *
 * In between their mutexes are held. Signals and cancellation are held off from begin to end: a
 * handler on this thread could wait for a mutex in vain, a thread cancelled here would keep it, and
 * what is closed or told afterwards must not become a cancellation point, which unlink is not. That
 * is for microseconds; while a mutex is waited for, signals come through and may even leave by
 * siglongjmp(3), for nothing is held or open then. Async-signal-safe; leaves errno alone.
 */
#ifndef STEP_H
#define STEP_H

#include <signal.h>
#include <stdbool.h>

#include "lockfile.h"

enum { FROM, TO, NAMES }; /* a call's path and its newpath */

struct step {
	/* Not open where it has no part in the step, or cannot be had. */
	struct lockfile lock[NAMES];
	struct place place[NAMES];
	bool guarded[NAMES]; /* false: this name has no part in it */
	bool without[NAMES]; /* its mutex is not to be waited for */
	bool unblocked;      /* signals cannot be held off: then no mutex is taken */
	sigset_t signals;
	int cancel;
};

/* Starts with no name, and holds signals and cancellation off until step_end. */
void step_begin(struct step *step);
void step_end(struct step *step);

/* Adds a name, unless a setting says to ignore it. Its place may be looked at once it is entered.
 */
void step_add(struct step *step, int which, int dirfd, const char *path);

/*
 * Takes the mutexes, all of them or none. Returns false, owing nothing, where somebody else holds
 * one. A name whose lock file cannot be had goes without.
 */
bool step_try(struct step *step);

/*
 * The same, but waits for them: some milliseconds for that of another user, then goes without it;
 * a few seconds for one of our own user's or root's, then returns false.
 */
bool step_enter(struct step *step);

/* Gives the mutexes back. */
void step_leave(struct step *step);

#endif
