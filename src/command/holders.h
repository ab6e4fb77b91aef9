/*
 * holders: which processes hold which of the bound sockets, from one walk through /proc/PID/fd.
 */
#ifndef HOLDERS_H
#define HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sockets.h"

struct holding {
	uint32_t socket;
	pid_t pid;
};

struct holders {
	struct holding *list; /* by socket, then by pid */
	size_t count;
	bool complete; /* false: some processes could not be inspected */
};

/* The caller must call holders_free. */
void holders_load(struct holders *holders, const struct sockets *sockets);
void holders_free(struct holders *holders);

/* Returns the first holder of a socket, and sets *count to how many there are. */
const struct holding *holders_of(const struct holders *holders, uint32_t socket, size_t *count);

#endif
