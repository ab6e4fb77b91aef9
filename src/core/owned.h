/*
 * owned: which names this process may take away, because it or the process it was forked from gave
 * them to sockets.
 *
 * A name is ours if its inode is in the table and our claim lies on the lock file beside it. The
 * inode alone would not do: file systems reuse numbers, even within one tick of the clock. Only
 * where the claim is lost (the program closed it, or there never was a lock file) does it decide.
 *
 * The table is of a fixed size and works by atomics alone: it may be used from any thread and from
 * signal handlers, and a fork at any instant leaves a usable copy. What finds no room is forgotten;
 * then the descriptors the process holds speak for it. Everything here leaves errno alone.
 */
#ifndef OWNED_H
#define OWNED_H

#include <stdbool.h>

#include "inode.h"
#include "lockfile.h"

/* Was any name ever noted, by this process or one it was forked from? */
bool owned_any(void);

/*
 * Is the name with this inode, and this lock file beside it, ours? The lock file may be missing. A
 * name that we gave to a socket of others is ours to remove, but the socket is not: another name
 * made from that one is no more than a name again.
 */
enum owned { OWNED_NOT = 0, OWNED_NAME, OWNED_SOCKET };
enum owned owned_is_mine(const struct inode *inode, const struct lockfile *lock);

/* Do we hold a claim on this very file? Returns its descriptor, or -1. It stays the table's. */
int owned_claim_on(const struct file_id *file);

/*
 * Notes a name of ours, and takes over its claim on the lock file (-1: there is none). The cookie
 * is its socket's, as the record has it; 0: not known. Of a foreign socket we own the name and not
 * the inode: then only the claim counts.
 */
void owned_note(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign);

/* Is the socket that this record names one of ours, bound by us or among our descriptors? */
bool owned_is_recorded(struct record *record);

/* The name is gone: gives up the claims on it. */
void owned_forget(const struct inode *inode, const struct file_id *lockfile);

/*
 * Adopts the listeners and datagram sockets that came with exec, on the names they were bound at.
 * Creates no lock files: an owner that was never guarded is to stay without a trace.
 */
void owned_adopt_inherited(void);

/* Is the socket bound to this pinned inode among our descriptors, received by SCM_RIGHTS, say? */
bool owned_holds(const struct pin *pin, const struct lockfile *lock);

/* If so, notes the name, with a claim where the lock file tells of this socket. */
bool owned_adopt_held(const struct pin *pin, struct lockfile *lock);

#endif
