/*
 * hang: notices calls and processes of the storm that hang, and describes them.
 *
 * Each process records its guarded call in shared memory while the call is in progress. During the
 * storm, random kills soon end most processes that hang. So at its end, the storm stops killing,
 * and waits until the calls have ended.
 */
#ifndef HANG_H
#define HANG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define HANG_SECONDS  60 /* how long the storm waits before it reports a hang */
#define HANG_MAX_PIDS 1024

/*
 * Indexed by process ID. Each entry holds a process ID and the time at which its call began, or 0
 * if no call is in progress. If two processes have the same index, the later call replaces the
 * earlier one, and the storm does not wait for the earlier one.
 */
struct hang_calls {
	atomic_ulong in_progress[4096];
};

/* Record that this process begins or ends a guarded call. */
void hang_begin_call(struct hang_calls *calls);
void hang_end_call(struct hang_calls *calls);

/*
 * Waits until each call that has begun has ended, or its caller has. Returns false if a call hangs.
 */
bool hang_await_calls(struct hang_calls *calls);

/* Waits for a child, and kills it if it hangs. Returns its wait status. */
int hang_await_child(pid_t pid);

/* Appends the children of a process to `pids`, which has `count` entries. Returns the new count. */
int hang_list_children(pid_t parent, pid_t pids[HANG_MAX_PIDS], int count);

/* Reports what each descendant of this process waits for. */
void hang_describe_processes(void);

/* Kills all descendants of this process, which must be their subreaper. */
void hang_kill_processes(void);

#endif
