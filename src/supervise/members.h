/*
 * members: what a supervisor publishes about itself: the program it was started for, the threads
 * whose calls it has received, and its settings.
 *
 * The kernel does not report which filter a process has. `sockguard check` and `sockguard status`
 * therefore read this memory through /proc/PID/fd of the supervisor, where it is a memfd. A process
 * is supervised if it or an ancestor is recorded here.
 */
#ifndef MEMBERS_H
#define MEMBERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"

#define MEMBERS_NAME  "sockguard-members"
#define MEMBERS_SLOTS 4096

/*
 * A thread ID in the supervisor's PID namespace, and a time at which the thread existed, in
 * hundredths of a second since boot. A thread with this ID that started later is another thread.
 */
typedef uint64_t member;

#define MEMBER(tid, when) ((member)(when) << 22 | (member)(tid)) /* PID_MAX_LIMIT is 1 << 22 */
#define MEMBER_TID(m)     ((pid_t)((m)&0x3fffff))
#define MEMBER_WHEN(m)    ((uint64_t)((m) >> 22))

/* Initially zero: a page that is never written uses no memory. */
struct members {
	_Atomic member program;
	/*
	 * Indexed by ID modulo MEMBERS_SLOTS; a later thread overwrites an earlier one. Processes
	 * whose calls concern sockets are few, and have their own array so that they stay longer.
	 */
	_Atomic member caller[MEMBERS_SLOTS];
	_Atomic member binder[MEMBERS_SLOTS];
	char only[CONFIG_TEXT];   /* empty: every path */
	char ignore[CONFIG_TEXT]; /* empty: none */
};

/*
 * Creates the memory, which forks share, and records the program and the settings. If this fails,
 * the supervisor works without it, and other processes cannot determine what it supervises.
 */
void members_create(pid_t program);

/* Records a thread that made a call. */
void members_record_caller(pid_t tid);

/* Records a process for whose call a worker was started. */
void members_record_binder(pid_t pid);

#endif
