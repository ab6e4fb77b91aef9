/*
 * entry: what is known of one socket path: its state, its socket, and its lock file.
 */
#ifndef SOCKETPATH_H
#define SOCKETPATH_H

#include <stdbool.h>
#include <time.h>

#include "holders.h"
#include "entries.h"
#include "record.h"
#include "sockets.h"

struct bound_name {
	char *name; /* absolute, if that is known */
	const struct bound *bound;
};

/* All sockets of this network namespace that others can come to, and who holds them. */
struct scene {
	struct sockets sockets;
	struct holders holders;
	struct directories directories;
	struct bound_name *names; /* by name */
	size_t count;
};

enum state {
	STATE_LIVE,
	STATE_STALE,
	STATE_ABSENT,
	STATE_CLAIMED, /* absent, and kept for an owner that lives */
	STATE_LOST, /* a socket was bound at this name, and listens; the name is not its any more */
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

/* Asks the kernel. scene_free is owed. */
void scene_load(struct scene *scene);
void scene_free(struct scene *scene);

/* Looks at a path. entry_free is owed. */
void entry_look(struct entry *entry, const char *path, struct scene *scene);

/* Looks at a socket: at the name it was bound at, as its holders see that. entry_free is owed. */
void entry_look_bound(struct entry *entry, const struct bound *bound, struct scene *scene);

/*
 * The sockets that were bound at an entry's path and have lost it to the one it leads to now: looks
 * at the next one. Start with 0 for next. Returns false when there is none left; entry_free is
 * owed otherwise.
 */
bool entry_look_robbed(struct entry *robbed, const struct entry *entry, struct scene *scene,
	size_t *next);

void entry_free(struct entry *entry);

#endif
