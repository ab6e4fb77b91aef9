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
	SOCKDIAG_NO,        /* not in this network namespace */
	SOCKDIAG_AMBIGUOUS, /* one to an inode of this number, which may be another inode */
	SOCKDIAG_SILENT,    /* the kernel lacks unix_diag, or we descriptors or memory */
};

/*
 * The kernel reports the low 32 bits of an inode number and the device of the superblock. That is
 * ambiguous where a file system has numbers of more than 32 bits (xfs), and where stat(2) does not
 * show that device (btrfs), see filesystem.h. dirfd and path name the pinned inode, or another file
 * beside it.
 */

/*
 * Is any socket bound to this pinned inode? Walks all sockets: the last resort. A socket whose name
 * leads to another inode that explains the answer is passed over; if one is left for which that is
 * not so, the answer stays ambiguous.
 */
enum sockdiag sockdiag_bound(const struct pin *pin, int dirfd, const char *path);

/*
 * Is the socket with this number (st_ino of its descriptor) bound to this pinned inode? Silent too
 * for one of another network namespace.
 */
enum sockdiag sockdiag_bound_by(const struct pin *pin, int dirfd, const char *path, ino_t socket);

/* Is there still a socket of this number with this cookie (SO_COOKIE)? */
enum sockdiag sockdiag_exists(ino_t socket, uint64_t cookie);

/*
 * Is the socket of this number and cookie bound to an inode that this pinned one is a view of, or
 * the reverse? A stacked file system (bindfs and others by FUSE, NFS of this host) shows the files
 * of another under the same numbers and a device of its own, and connect(2) does not get from one
 * to a socket that is bound to the other.
 */
bool sockdiag_bound_through_view(const struct pin *pin, int dirfd, const char *path, ino_t socket,
	uint64_t cookie);

/*
 * Does a socket with an inode have that by bind(2)? So it is with datagram sockets, and with
 * listeners and those that are not yet. A connection has it from the listener that accepted it; a
 * client that was bound before it connected cannot be told from one, and nobody can connect to it.
 */
bool sockdiag_is_binder(uint8_t type, uint8_t state);

#endif
