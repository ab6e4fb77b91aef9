/*
 * liveness: determines whether a socket is bound to an inode, without its owner noticing.
 *
 * The probe connects a datagram socket to the inode. The kernel compares the socket types before it
 * queues anything (unix_find_bsd in net/unix/af_unix.c), so a stream server sees no connection, and
 * a datagram server no datagram. The probe works before listen(2), with a full backlog, and across
 * network namespaces.
 */
#ifndef LIVENESS_H
#define LIVENESS_H

#include <stdbool.h>

#include "inode.h"

enum liveness {
	LIVENESS_STALE,      /* no socket is bound to the inode */
	LIVENESS_STALE_HERE, /* no socket of our network namespace is; one of another may be */
	LIVENESS_LIVE,       /* a socket is bound to it, in some network namespace */
	LIVENESS_UNKNOWN,    /* neither the probe nor sock_diag gave an answer: treat it as live */
};

/* LIVENESS_STALE_HERE is stale, too, unless a claim shows an owner in another namespace. */
static inline bool liveness_is_stale(enum liveness liveness)
{
	return liveness == LIVENESS_STALE || liveness == LIVENESS_STALE_HERE;
}

/*
 * The liveness of a pinned socket, to which dirfd and path led when it was pinned. Connects to the
 * path. If connect(2) cannot take the path, the path leads to another inode by now, or the answer
 * is "stale", connects to the pinned descriptor's link in /proc. Async-signal-safe; leaves errno
 * alone.
 */
enum liveness liveness_of(const struct pin *pin, int dirfd, const char *path);

#endif
