/*
 * socketpath: what the command reports about one socket path: its state, its socket, and its lock
 * file.
 */
#ifndef SOCKETPATH_H
#define SOCKETPATH_H

#include <stdbool.h>
#include <time.h>

#include "entries.h"
#include "holders.h"
#include "record.h"
#include "sockets.h"

struct bound_path {
	char *path; /* absolute, if the holder's directory is known */
	const struct bound *bound;
};

/*
 * The bound sockets of this network namespace, the processes that hold them, and the paths of the
 * sockets that peers can reach.
 */
struct snapshot {
	struct sockets sockets;
	struct holders holders;
	struct directories directories;
	struct bound_path *paths; /* sorted by path */
	size_t count;
};

enum state {
	STATE_LIVE,
	STATE_STALE,
	STATE_ABSENT,
	STATE_CLAIMED, /* absent, and claimed by a live owner */
	STATE_LOST,    /* a socket bound to this path listens, but the path no longer leads to it */
	STATE_NO_SOCKET, /* the path leads to another kind of file */
	STATE_UNKNOWN,
};

enum lock { LOCK_NONE, LOCK_IDLE, LOCK_CLAIMED, LOCK_UNKNOWN };

struct socketpath {
	char *path;
	enum state state;
	const struct bound *bound; /* NULL: unknown */
	enum lock lock;
	bool recorded; /* record is valid, and names the owner */
	struct record record;
};

/* Queries the kernel. The caller must call snapshot_free. */
void snapshot_load(struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);

/* Inspects a path. The caller must call socketpath_free. */
void socketpath_inspect(struct socketpath *socketpath, const char *path, struct snapshot *snapshot);

/*
 * Inspects a socket at the path it was bound to, as its holders see that path. The caller must call
 * socketpath_free.
 */
void socketpath_inspect_bound(struct socketpath *socketpath, const struct bound *bound,
	struct snapshot *snapshot);

/*
 * Inspects the next socket that was bound to an inspected path and has lost it (STATE_LOST).
 * Set *next to 0 before the first call. Returns false if there are no more; otherwise the caller
 * must call socketpath_free.
 */
bool socketpath_inspect_lost(struct socketpath *lost, const struct socketpath *socketpath,
	struct snapshot *snapshot, size_t *next);

void socketpath_free(struct socketpath *socketpath);

#endif
