/*
 * referee: decides which events of the storm are thefts and which are false alarms.
 *
 * It shares no code with the library. Its sources are the kernel's dump of Unix sockets (sock_diag,
 * which also reports the inode that each is bound to), connect(2), lstat(2), and the notes that the
 * processes of the storm make in a board of shared memory before and after each of their calls.
 *
 * It counts a theft only if it is certain: a note says that a socket is at a path; a lookup finds
 * another inode there, or none; and after that lookup the socket and its note still exist. No note
 * is cleared too late for this, because a process that releases a path clears its note before the
 * call.
 *
 * A false alarm is equally certain: no socket was bound to the path when the call began, none that
 * is being closed could still be reached there, and no successful bind, rename or link on that path
 * overlapped with the call. If a process was killed during such a call, or its supervisor gave up
 * on it, its outcome is unknown, and the refusal counts as unclear. So does a refusal after a long
 * wait for the file system, every refusal in a directory that the neighbour moves, and every
 * refusal of a bind, rename or link to an absent path in the neighbour's own directory, where it
 * can put the lock file of a live server, with its claim, beside any path.
 */
#ifndef REFEREE_H
#define REFEREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ground.h"
#include "hang.h"
#include "latency.h"
#include "supervisors.h"

#define MAX_PATHS 16

/* Counted by all processes of the storm, printed at the end. */
struct counts {
	atomic_ulong calls; /* guarded calls made */
	atomic_ulong tries; /* attempts to start a server */
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
	atomic_ulong crashes;   /* deaths by a signal other than SIGKILL */
	atomic_ulong surprises; /* calls with an errno that they never set without the guard */
	atomic_ulong exposed;   /* thefts in directories where the neighbour may unlink the path */
	atomic_ulong acts;      /* actions of a hostile neighbour */
	atomic_ulong starts_of[POPULATIONS];
	atomic_ulong supervisors; /* supervisors' processes that were killed, */
	atomic_ulong stopped;     /* and that were stopped */
	atomic_ulong abandoned; /* populations that lost their supervisor and were started again */
	atomic_ulong not_started; /* the same, but the supervisor was killed during the start */
	atomic_bool alone[POPULATIONS]; /* the population has no supervisor now */
	atomic_bool ending;             /* the nurseries kill no more servers */
	struct hang_calls calls_in_progress;
	struct latency guarded; /* the guarded calls, without the referee's work around them */
	struct latency control; /* the same calls by an unguarded process, at the same time */
};

/* A call under observation. */
struct watch {
	const char *path;
	const char *verb;
	int number; /* of the path; -1: a path that no other living process binds */
	uint64_t began;
	uint64_t called; /* when the call itself began */
	uint64_t ticket;
	bool live;          /* a socket was bound to the path when the call began */
	bool existed;       /* the path existed then, */
	uint32_t inode;     /* and led to this inode, */
	uint64_t changed;   /* which was last changed at this time, in nanoseconds */
	bool places_socket; /* if the call succeeds, a socket is at the path */
	int attempt;
	unsigned int note; /* of the call, in the list that is printed after a failure */
};

/* The board is shared memory: a descriptor, which survives exec, and a mapping in each process. */
int referee_make_board(void);
void referee_map_board(int board, const char *directory, int paths);
struct counts *referee_counts(void);

/*
 * Call this if there are supervisors. A supervisor may still execute a call a moment after the
 * caller was killed. Until then the outcome of that call is unknown.
 */
void referee_allow_delay(void);

/* Path number n; valid until the program ends. */
const char *referee_path(int number);

/* Call this before a call on a path. places_socket: a bind, or a rename or link to that path. */
void referee_watch(struct watch *watch, const char *verb, int number, const char *path,
	bool places_socket);

/*
 * Call this after the call. A refusal is EADDRINUSE. plain_bind: a bind without SO_REUSEADDR. Such
 * a bind fails with EADDRINUSE without the guard, too, if the path exists, so its refusal is judged
 * only if the path did not exist.
 */
void referee_judge(struct watch *watch, bool done, int error, bool plain_bind);

/*
 * Notes that the socket is at path number `number` from now on. Returns the number of the note.
 * Call referee_release before the owner removes the path or closes the socket, not after.
 */
int referee_record_owner(int fd, int number);
void referee_release(int hold);

/* The time on CLOCK_MONOTONIC in nanoseconds. */
uint64_t referee_now(void);

/*
 * The control calls these before and after it writes to the file system.
 *
 * A process that holds a mutex may wait so long for the file system that the guard refuses the
 * calls that wait for the mutex. A refused call is excused if it took as long as the guard waits,
 * and the control waited for over a second meanwhile.
 */
void referee_begin_control(void);
void referee_end_control(void);
bool referee_is_excused(uint64_t began, uint64_t ended);

/* Returns whether the path still leads to the socket of this note. */
bool referee_path_is_held(int hold);

/* Looks for thefts. Each process calls it after each of its steps. */
void referee_check(const char *step);

/* Clears the notes of sockets that are closed. */
void referee_clear_closed(void);

/* Prints a line about a failure, with the time and the process ID. */
void referee_report(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
