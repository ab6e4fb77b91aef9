/*
 * liveness: asks the kernel whether a socket is bound to an inode, without its owner noticing.
 *
 * A datagram socket is connected to the inode. The kernel compares the types before anything is
 * queued, so a stream server sees no connection, and a datagram server no datagram (unix_find_bsd
 * in net/unix/af_unix.c). That works before listen, with a full backlog and across network
 * namespaces.
 */
#ifndef LIVENESS_H
#define LIVENESS_H

#include "inode.h"

enum liveness {
	DEAD,    /* no socket is bound to the inode: the name is stale */
	LIVE,    /* one is, somewhere */
	UNKNOWN, /* nobody would tell: to be treated as live */
};

/*
 * Asks about a pinned socket, by the name it was pinned by or, where that is no name for connect(2)
 * or leads elsewhere by now, through /proc. Leaves errno alone; async-signal-safe.
 */
enum liveness liveness_of(const struct pin *pin, int dirfd, const char *path);

#endif
