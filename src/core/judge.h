/*
 * judge: decides whether the caller owns a socket path, another process does, or it is stale.
 *
 * The answer stays true only while the mutex of the path is held. judge_in_use_unlocked is the
 * exception, and says why. All functions are async-signal-safe and leave errno alone.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include <stdbool.h>

#include "inode.h"
#include "lockfile.h"
#include "record.h"
#include "report.h"

enum verdict {
	VERDICT_OWN,       /* the caller owns the path */
	VERDICT_STALE,     /* no socket is bound to the path's inode */
	VERDICT_IN_USE,    /* live, or unknown, and the caller does not own it */
	VERDICT_FORBIDDEN, /* a socket, but a seccomp filter of this process forbids the checks */
	VERDICT_ABSENT,
	VERDICT_NOT_SOCKET,
	VERDICT_FAILED, /* the lookup failed, see error */
};

/* The verdict on a socket path, and what is needed to act on it and to report it. */
struct judgement {
	enum verdict verdict;
	int error;          /* for VERDICT_ABSENT and VERDICT_FAILED: errno of the lookup */
	enum reason reason; /* for a refusal */
	struct record record;
	struct inode inode;      /* of the socket */
	struct file_id lockfile; /* the lock file beside it, copied from lock */
};

/* Judges a path. lock need not be open: without a lock file the kernel's answer decides alone. */
void judge(const struct location *location, struct lockfile *lock, struct judgement *judgement);

/*
 * For an unlink that finds the mutex busy: returns true if the socket is live and the caller
 * certainly does not own it, so that the call can be refused without the mutex.
 *
 * "Live" needs no mutex: some process held the socket at the moment of the check, and that suffices
 * to refuse the call. "Does not own it" is certain only if the caller has never owned a path.
 * Otherwise another of its threads may bind this path and close the socket between the two checks,
 * and the call must wait for the mutex. Opens lock for reading to fill in the record, and closes
 * it.
 */
bool judge_in_use_unlocked(const struct location *location, struct lockfile *lock,
	struct judgement *judgement);

/* Whether a socket was found: VERDICT_OWN, _STALE, _IN_USE or _FORBIDDEN. */
bool judge_is_socket(const struct judgement *judgement);

/* Whether a live owner claims this absent path. If so, fills in reason and record. */
bool judge_absent_is_claimed(const struct lockfile *lock, struct judgement *judgement);

/* Whether the socket at this path is stale. A live socket of our own is not. */
bool judge_is_stale(const struct location *location, struct lockfile *lock);

#endif
