/*
 * start: puts the calling process, and whatever it starts, under a supervisor.
 */
#ifndef START_H
#define START_H

#include <stdbool.h>

enum start {
	START_DONE,
	START_ALREADY,   /* one of ours is there: the process is guarded as it is */
	START_TAKEN,     /* another program listens */
	START_TOO_OLD,   /* the kernel has no notification, or some filter forbids it */
	START_FORBIDDEN, /* the supervisor could not look into a process or answer it */
	START_FAILED,    /* see errno */
};

/*
 * Tries with a process of its own first: until START_DONE nothing has happened to the calling one.
 * That has a single thread, and no supervisor's descriptor afterwards.
 */
enum start start_supervisor(bool allows_rings);

#endif
