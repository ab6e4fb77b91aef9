/*
 * sockets: every Unix socket of this network namespace that is bound to a path, from sock_diag(7).
 * That does not show other network namespaces.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inode.h"

struct bound {
	uint32_t number; /* st_ino of its descriptors */
	uint32_t ino;    /* of the inode it is bound to */
	uint32_t dev;    /* in the kernel's own encoding */
	int type;        /* SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM */
	bool listens;
	bool accepted; /* it has a peer, so its path is probably its listener's */
	char *name;    /* the path it was bound to, which may be relative */
};

struct sockets {
	struct bound *list; /* sorted by number */
	size_t count;
	bool answered; /* false: the kernel gave no answer */
};

/* The caller must call sockets_free. */
void sockets_load(struct sockets *sockets);
void sockets_free(struct sockets *sockets);

/* Returns the socket bound to a pinned inode, if possible not an accepted connection; or NULL. */
const struct bound *sockets_find_bound(const struct sockets *sockets, const struct pin *pin);

/* Returns the socket with this number, or NULL. */
const struct bound *sockets_find_number(const struct sockets *sockets, uint32_t number);

/* Whether this socket is bound to the pinned inode. */
bool sockets_is_bound_to(const struct bound *bound, const struct pin *pin);

/* Whether peers can reach this socket: it listens, or is a bound datagram socket. */
bool sockets_accepts_peers(const struct bound *bound);

#endif
