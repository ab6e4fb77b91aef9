/*
 * sockdiag: queries the kernel for its Unix sockets through netlink, see sock_diag(7).
 *
 * This requires no permission on the socket's file, but shows only the sockets of the process's own
 * network namespace. All functions are async-signal-safe, leave errno alone, and never block.
 */
#ifndef SOCKDIAG_H
#define SOCKDIAG_H

#include <stdbool.h>
#include <stdint.h>

#include "inode.h"

enum sockdiag {
	SOCKDIAG_YES,
	SOCKDIAG_NO,        /* no such socket in this network namespace */
	SOCKDIAG_AMBIGUOUS, /* one is bound to an inode with this number, perhaps another inode */
	SOCKDIAG_UNKNOWN,   /* no unix_diag in the kernel, no descriptor, or no memory */
};

/*
 * The kernel reports the low 32 bits of an inode number and the device of the superblock. This is
 * ambiguous on file systems whose inode numbers have more than 32 bits (xfs), and on those where
 * stat(2) does not report that device (btrfs), see filesystem.h. In all functions dirfd and path
 * lead to the pinned inode, or to another file in its directory.
 */

/*
 * Whether any socket is bound to this pinned inode. Reads the list of all sockets, so it is the
 * last resort. If the answer is ambiguous, checks the name of each candidate: a name that leads
 * to another inode with this number rules the candidate out. The answer stays SOCKDIAG_AMBIGUOUS if
 * a candidate remains.
 */
enum sockdiag sockdiag_any_bound_to(const struct pin *pin, int dirfd, const char *path);

/*
 * Whether the socket with this number (st_ino of its descriptor) is bound to this pinned inode.
 * SOCKDIAG_UNKNOWN also for a socket of another network namespace.
 */
enum sockdiag sockdiag_is_bound_to(const struct pin *pin, int dirfd, const char *path,
	ino_t socket);

/* Whether a socket with this number and cookie (SO_COOKIE) exists. */
enum sockdiag sockdiag_socket_exists(ino_t socket, uint64_t cookie);

/*
 * Whether the socket with this number and cookie is bound to the same file as the pinned inode,
 * seen through another mount. A stacked file system (bindfs and others on FUSE, NFS from this host)
 * shows the files of another file system with the same numbers and a device of its own. connect(2)
 * to one of the two inodes does not reach a socket that is bound to the other.
 */
bool sockdiag_is_bound_through_view(const struct pin *pin, int dirfd, const char *path,
	ino_t socket, uint64_t cookie);

/*
 * Whether a socket with an inode got it from bind(2). This holds for datagram sockets, and for
 * stream sockets that listen or are not connected. An accepted connection has its listener's inode.
 * A client that was bound before it connected looks the same, and counts as an accepted connection;
 * no process can connect to it.
 */
bool sockdiag_is_binder(uint8_t type, uint8_t state);

#endif
