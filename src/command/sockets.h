/*
 * sockets: every Unix socket of this network namespace that is bound to a path, as sock_diag(7)
 * tells them. Other network namespaces are not seen.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inode.h"

struct bound {
	uint32_t number; /* st_ino of its descriptors */
	uint32_t ino;    /* of the inode it is bound to, */
	uint32_t dev;    /* as the kernel encodes it */
	int type;        /* SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM */
	bool listens;
	bool accepted; /* it has a peer, and its path most likely from the listener it came from */
	char *name;    /* as it was bound: relative where its owner bound it so */
};

struct sockets {
	struct bound *list; /* by number */
	size_t count;
	bool told; /* false: the kernel gave no answer */
};

/* sockets_free is owed. */
void sockets_load(struct sockets *sockets);
void sockets_free(struct sockets *sockets);

/* Returns the socket bound to a pinned inode, and not one it accepted if it can be told; or NULL.
 */
const struct bound *sockets_at(const struct sockets *sockets, const struct pin *pin);

/* Returns the socket of that number, or NULL. */
const struct bound *sockets_find(const struct sockets *sockets, uint32_t number);

/* Is that socket bound to the pinned inode? */
bool sockets_match(const struct bound *bound, const struct pin *pin);

/* Does it wait for others to come: does it listen, or is it bound and of datagrams? */
bool sockets_serves(const struct bound *bound);

#endif
