/*
 * owned: the socket paths that the calling process may remove, because it, or a process it was
 * forked from, bound or linked them.
 *
 * A process owns a path if the path's inode is in the table and the process's claim is on the lock
 * file beside it. The inode alone does not suffice: file systems reuse inode numbers, even within
 * one tick of the clock. The inode decides alone only if there is no claim to compare: the program
 * closed its descriptor, or there never was a lock file.
 *
 * The table has a fixed size and uses only atomics. Any thread and any signal handler may use it,
 * and a fork at any instant leaves a usable copy in the child. If the table is full, a path is not
 * recorded; the process then owns it only as long as it has a descriptor of the socket. All
 * functions are async-signal-safe and leave errno alone.
 *
 * A supervisor uses the claims and descriptors of its caller instead of the table, see caller.h.
 */
#ifndef OWNED_H
#define OWNED_H

#include <stdbool.h>

#include "inode.h"
#include "lockfile.h"

/* False only if neither this process nor one it was forked from has ever owned a path. */
bool owned_has_any(void);

/*
 * What we own of the socket with this inode. lock is the lock file beside the path, open or not.
 * OWNED_PATH: a path that we linked to another process's socket. We may remove that path, but a
 * path that we link from it does not become ours.
 */
enum owned { OWNED_NOT = 0, OWNED_PATH, OWNED_SOCKET };
enum owned owned_check(const struct inode *inode, const struct lockfile *lock);

/* The descriptor of our claim on this file, or -1. The table continues to own it. */
int owned_find_claim(const struct file_id *file);

/* Whether we have a claim on this lock file. */
bool owned_claims(const struct kernel_file *found);

/*
 * Whether we have a claim on this lock file, but it does not belong to our user, because we have
 * changed our user since. A file of our user can be opened, and must be: processes that share a
 * claim share every lock through it.
 */
bool owned_claims_as_other_user(const struct kernel_file *found);

/*
 * Adds a path. `claim` is the descriptor of its claim; -1 if there is none. `cookie` is the
 * socket's, as in the record; 0 if unknown. `foreign`: the socket is another process's. Then only
 * the claim proves that the path is ours, never the inode.
 *
 * If it returns true, the table owns the claim. If the table is full, returns false and leaves the
 * claim alone: it may be the descriptor of a mutex, which only lockfile_release may close.
 */
bool owned_add(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign);

/* Whether the socket that this record names by its cookie is ours: bound by us, or open here. */
bool owned_has_recorded_socket(struct record *record);

/* Removes a path that no longer exists, and releases the claims on its lock file. */
void owned_remove(const struct inode *inode, const struct file_id *lockfile);

/*
 * Adopts the sockets that came with exec, at the paths that they were bound to. Accepted
 * connections do not count. Creates no lock files: a socket that an unguarded process bound stays
 * without one.
 */
void owned_adopt_inherited(void);

/*
 * Whether one of our descriptors is the socket bound to this pinned inode. A process may receive
 * one at any time (SCM_RIGHTS), so this checks all of them.
 */
bool owned_holds_socket(const struct pin *pin, const struct lockfile *lock);

/*
 * The same; and if so, adds the path to the table, and joins the claim if the record in the lock
 * file names this socket.
 */
bool owned_adopt_held(const struct pin *pin, struct lockfile *lock);

#endif
