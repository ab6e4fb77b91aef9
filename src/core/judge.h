/*
 * judge: whose is a name? Ours, nobody's any more, or somebody else's.
 *
 * To be asked under the name's mutex, for the answer to last, but for judge_in_use.
 * Async-signal-safe; leaves errno alone.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include <stdbool.h>

#include "inode.h"
#include "lockfile.h"
#include "record.h"
#include "report.h"

enum whose {
	MINE,
	NOBODYS,  /* stale */
	THEIRS,   /* live, or nobody would tell */
	UNJUDGED, /* a socket, but this process's own seccomp filters keep the guard from asking */
	ABSENT,
	NO_SOCKET,
	UNSEEN, /* the look failed, see error */
};

/* A name as it was judged, for what follows from it. */
struct judgement {
	enum whose whose;
	int error;        /* why, when ABSENT or UNSEEN */
	enum rival rival; /* who stands in the way, for a refusal */
	struct record record;
	struct inode inode;      /* of a socket */
	struct file_id lockfile; /* beside it, then */
};

/* The lock file need not be open. */
void judge(const struct place *place, struct lockfile *lock, struct judgement *judgement);

/*
 * While the mutex is busy: is the socket at this name live, and certainly not ours? Who holds it
 * now held it when the name was looked at, and to refuse that takes no mutex. Anything else does,
 * and so does a process with names of its own: before it has its answer another of its threads may
 * have noted this one, and closed the socket. The lock file, closed before and after, tells who.
 */
bool judge_in_use(const struct place *place, struct lockfile *lock, struct judgement *judgement);

/* Judged to be MINE, NOBODYS, THEIRS or UNJUDGED. */
bool judge_is_socket(const struct judgement *judgement);

/* Of an absent name: does an owner claim it all the same? Then rival and record are filled in. */
bool judge_absent_claimed(const struct lockfile *lock, struct judgement *judgement);

/* Is the socket at this name gone? Our own keeps the name as well as anybody's. */
bool judge_stale(const struct place *place, struct lockfile *lock);

#endif
