/*
 * process: what /proc shows about a process: its name, user and start, and whether it is guarded.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "config.h"
#include "library.h"
#include "way.h"

enum guarded { GUARDED, NOT_GUARDED, GUARDED_UNKNOWN };

struct process {
	pid_t pid;
	char *command; /* its comm, which may contain any bytes; NULL: unknown */
	char *user;    /* name or number of its effective user; NULL: unknown */
	uid_t uid;
	time_t started; /* 0: unknown */
	enum guarded guarded;
	enum way by;           /* how it is guarded; WAY_NONE: not guarded, or unknown */
	const char *why;       /* why it is not guarded, or unknown; constant */
	bool filtered;         /* a seccomp filter restricts it */
	bool outdated;         /* guarded by a library file that was removed after its start */
	struct config *config; /* its settings at its start, or its supervisor's; NULL: none */
};

/*
 * Inspects a process. Returns false if it does not exist. library may be NULL, as for
 * program_inspect. The caller frees command, user and config.
 */
bool process_inspect(struct process *process, pid_t pid, const struct library *library);

/* The same, but inspects each process once. The result is never freed. */
const struct process *process_cached(pid_t pid);

/*
 * Whether the process is guarded and its settings include this absolute path. Sets *why to the
 * reason if not, otherwise to NULL.
 */
enum guarded process_guards(const struct process *process, const char *path, const char **why);

#endif
