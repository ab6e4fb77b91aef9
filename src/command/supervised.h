/*
 * supervised: whether a process is under a supervisor, and with which settings.
 *
 * The kernel shows that a process has a filter, but not which. Each supervisor keeps a list in
 * memory that processes with permission to examine it can read (members.h). A process is supervised
 * if the list contains the process, one of its threads or an ancestor, since filters are inherited.
 * If the ancestors have ended, as for a daemon, a claim is proof: a process without the library can
 * have a claim only from a supervisor.
 */
#ifndef SUPERVISED_H
#define SUPERVISED_H

#include <sys/types.h>

#include "members.h"

enum supervised {
	SUPERVISED,
	NOT_SUPERVISED,
	SUPERVISED_UNKNOWN,
	/* Its supervisor is not permitted to examine the process, and so does not guard it. */
	SUPERVISED_UNEXAMINED,
};

/*
 * Inspects a process that has a filter. Sets *settings to its supervisor's, which are never freed;
 * NULL unless it is SUPERVISED, or if several supervisors may be its own.
 */
enum supervised supervised_inspect(pid_t pid, const struct members **settings);

#endif
