/*
 * start: puts the calling process and all its descendants under a supervisor.
 */
#ifndef START_H
#define START_H

#include <stdbool.h>

enum start {
	START_DONE,
	START_ALREADY,   /* a supervisor of sockguard already guards the process */
	START_TAKEN,     /* another program receives the notifications of the process (EBUSY) */
	START_TOO_OLD,   /* the kernel lacks notifications, or a filter forbids them */
	START_FORBIDDEN, /* the supervisor was not permitted to inspect or answer the trial */
	START_FAILED,    /* another error, see errno */
	/* The supervisor has ended, and the process keeps a filter with which its calls fail. */
	START_LOST,
};

/*
 * Starts a supervisor for the calling process, which must have a single thread. A temporary process
 * tries everything first, so that a failed trial leaves the calling process unchanged. The calling
 * process keeps no descriptor of the supervisor. Unless allows_rings is true, io_uring_setup(2)
 * fails with ENOSYS.
 */
enum start start_supervisor(bool allows_rings);

/* Only runs the trial, to determine whether start_supervisor would succeed. */
enum start start_try(void);

#endif
