/*
 * process: what /proc tells of a process: who it is, since when, and whether it is guarded.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "config.h"
#include "library.h"

enum guarded { GUARDED, NOT_GUARDED, GUARDED_UNTOLD };

struct process {
	pid_t pid;
	char *command; /* its comm, may hold anything; NULL: not known */
	char *user; /* its effective user's name, or number where that has no name; NULL: not known
		     */
	uid_t uid;
	time_t started; /* 0: not known */
	enum guarded guarded;
	const char *why;       /* it is not, or not known to be; constant */
	bool filtered;         /* a seccomp filter restricts it */
	bool outdated;         /* guarded, by a library file that was removed since */
	struct config *config; /* its settings, as it was started; NULL: none */
};

/* Looks at a process. Returns false where there is none (any more). library may be NULL. */
bool process_look(struct process *process, pid_t pid, const struct library *library);

/* The same, once for each process, however often it is asked for. */
const struct process *process_known(pid_t pid);

/* Is this path guarded in it, as its settings are? The path is absolute. */
enum guarded process_guards(const struct process *process, const char *path, const char **why);

#endif
