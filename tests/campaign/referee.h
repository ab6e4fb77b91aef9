/*
 * referee: what is true in the storm, and what of it is a theft or a false alarm.
 *
 * It knows nothing of the library and shares no code with it. Its sources are the kernel's dump of
 * Unix sockets (sock_diag, which also tells the inode each is bound to), lstat(2), and what the
 * processes of the storm note on a board of shared memory before and after each of their calls.
 *
 * A theft is certain, never guessed: a socket noted as holder of a path, a look that finds another
 * inode there or none, and after that look the socket is still in the kernel and still noted. No
 * process clears a note after the fact: whoever gives a path up says so before its call.
 *
 * A false alarm is as certain: no socket was bound to the path when the call began, and no bind,
 * rename or link that ended well on that path overlaps with the call. Where a process was killed
 * within such a call, nobody knows how it ended: the refusal is counted as unclear. So is every
 * refusal where a neighbour moves the directory, and of a bind, rename or link to an absent name in
 * his own directory: there he may put a living server's lock file, claim and all, beside any name.
 */
#ifndef REFEREE_H
#define REFEREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ground.h"
#include "latency.h"

#define PATHS_MOST 16

/* Counted by everybody, told at the end. */
struct counts {
	atomic_ulong calls; /* guarded calls made */
	atomic_ulong tries; /* servers that tried to start */
	atomic_ulong starts;
	atomic_ulong stops;
	atomic_ulong forks;
	atomic_ulong execs;
	atomic_ulong kills;
	atomic_ulong refusals;
	atomic_ulong unclear;
	atomic_ulong checks;
	atomic_ulong thefts;
	atomic_ulong alarms;
	atomic_ulong crashes;   /* deaths by any other signal than SIGKILL */
	atomic_ulong surprises; /* an errno that no such call gives without the guard */
	atomic_ulong exposed;   /* thefts where a neighbour may take the name away himself */
	atomic_ulong acts;      /* of a hostile neighbour */
	struct latency guarded; /* the guarded calls, without what the referee does around them */
	struct latency control; /* the same calls by a process without guard, at the same time */
};

/* A call under observation. */
struct watch {
	const char *path;
	int number; /* of the path; -1: the caller's own, nobody else ever binds it */
	uint64_t began;
	uint64_t called; /* when the call itself began */
	uint64_t ticket;
	bool live;  /* a socket was bound to it when the call began */
	bool there; /* there was such a name then */
	bool arriving;
	int attempt;
};

/* The board: a descriptor to hand to an exec, and the same mapped in whoever has it. */
int referee_make_board(void);
void referee_open(int board, const char *directory, int paths);
struct counts *referee_counts(void);

/* Path number n, for as long as the program runs. */
const char *referee_path(int number);

/* Before a call on a path. An arriving call may leave a socket there: bind, rename to, link to. */
void referee_watch(struct watch *watch, int number, const char *path, bool arriving);

/*
 * After it. A refusal is EADDRINUSE; a plain bind gives that without the guard too, wherever there
 * is a name, so there it is judged only if there was none.
 */
void referee_judge(struct watch *watch, const char *verb, bool done, int error, bool plain);

/* Notes that the socket has the path from here on; and, before it gives it up, that it has not. */
int referee_holds(int fd, int number);
void referee_gives_up(int hold);

/* Is the path noted for this socket still its own? */
bool referee_has(int hold);

/* Looks for thefts: everybody does after each step. */
void referee_check(const char *step);

/* Notes of sockets that are gone are wiped away. */
void referee_tidy(void);

/* Says something about a failure, with the time and the process. */
void referee_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
