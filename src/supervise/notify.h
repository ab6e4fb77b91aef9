/*
 * notify: the system calls and ioctls of seccomp_unotify(2).
 *
 * notify_fd is the notification descriptor of a filter, which the manual page calls the listener.
 * Unless noted otherwise, functions of type int return 0, or -1 with errno: ENOENT if the caller no
 * longer waits for the call.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/* A stopped call. The space allows for a later kernel with a larger structure. */
union notification {
	struct seccomp_notif call;
	uint64_t space[64];
};

/* Returns true if the kernel has notifications, and its structures fit into ours. */
bool notify_structures_fit(void);

/*
 * Waits for a stopped call. Returns 0, or -1 with errno. ENOENT means that there is no call to
 * answer: its caller was killed or interrupted in the meantime, or no process has the filter.
 */
int notify_receive(int notify_fd, union notification *notification);

/*
 * Waits for a stopped call without receiving it. Returns false if no process has the filter any
 * more. On older kernels, notify_receive would then wait for ever.
 */
bool notify_wait(int notify_fd);

/* Returns true if the last process that had the filter has ended. */
bool notify_filter_is_unused(int notify_fd);

/*
 * Returns true if the call with this id is still stopped. If it is not, whatever was read through
 * the caller's thread ID may be that of another thread, which reuses the ID.
 */
bool notify_is_valid(int notify_fd, uint64_t id);

/* Lets the kernel execute the call with the arguments that are in the caller's memory now. */
int notify_continue(int notify_fd, uint64_t id);

/* Makes the call return 0, or -1 with errno `error`. */
int notify_answer(int notify_fd, uint64_t id, int result, int error);

/*
 * Makes the kernel run the caller's signal handler and then repeat the call, with or without
 * SA_RESTART. A signal must be pending for the caller (target_has_signals): otherwise the program
 * would receive the kernel's internal error number.
 */
int notify_restart(int notify_fd, uint64_t id);

/*
 * Duplicates our descriptor into the stopped process, close-on-exec, and returns its number there,
 * or -1 with errno. Replaces the descriptor that has this number, as dup2(2) does. If `number` is
 * -1, the kernel chooses the lowest free number.
 */
int notify_inject(int notify_fd, uint64_t id, int fd, int number);

/* Lets caller and supervisor wake each other on the same CPU, if the kernel supports it. */
void notify_use_sync_wake_up(int notify_fd);

#endif
