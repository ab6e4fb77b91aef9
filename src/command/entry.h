/*
 * entry: what is known of one socket path: its state, its socket, and its lock file.
 */
#ifndef ENTRY_H
#define ENTRY_H

#include <stdbool.h>
#include <time.h>

#include "holders.h"
#include "record.h"
#include "sockets.h"

enum state {
	STATE_LIVE,
	STATE_STALE,
	STATE_ABSENT,
	STATE_CLAIMED, /* absent, and kept for an owner that lives */
	STATE_LOST, /* a socket was bound by this name, and listens; the name is not its any more */
	STATE_NO_SOCKET, /* something else */
	STATE_UNKNOWN,
};

enum lock { LOCK_NONE, LOCK_IDLE, LOCK_CLAIMED, LOCK_UNKNOWN };

struct entry {
	char *path;
	enum state state;
	const struct bound *bound; /* NULL: not known */
	enum lock lock;
	bool recorded; /* then record is of the owner */
	struct record record;
};

/* Looks at a path. entry_free is owed. */
void entry_look(struct entry *entry, const char *path, const struct sockets *sockets);

/* Looks at a socket: at the name it was bound to, as its holders see that. */
void entry_look_bound(struct entry *entry, const struct bound *bound,
	const struct holders *holders);

void entry_free(struct entry *entry);

#endif
