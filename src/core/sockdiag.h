/*
 * sockdiag: asks the kernel about its Unix sockets by netlink, see sock_diag(7).
 *
 * Needs no permission on the socket's file, but sees only the sockets of the process's own network
 * namespace. All of it is async-signal-safe, leaves errno alone, and blocks for nothing.
 */
#ifndef SOCKDIAG_H
#define SOCKDIAG_H

#include <stdbool.h>
#include <stdint.h>

#include "inode.h"

enum sockdiag {
	SOCKDIAG_YES,
	SOCKDIAG_NO,     /* not in this network namespace */
	SOCKDIAG_SILENT, /* the kernel lacks unix_diag, or we descriptors or memory */
};

/* Is any socket bound to this pinned inode? Walks all sockets: the last resort. */
enum sockdiag sockdiag_bound(const struct pin *pin);

/*
 * Is the socket with this number (st_ino of its descriptor) bound to this pinned inode? A socket
 * accept(2) made says yes too, for the listener it came from.
 */
enum sockdiag sockdiag_bound_by(const struct pin *pin, ino_t socket);

/* Is there still a socket of this number with this cookie (SO_COOKIE)? */
enum sockdiag sockdiag_exists(ino_t socket, uint64_t cookie);

#endif
