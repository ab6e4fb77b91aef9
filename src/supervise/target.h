/*
 * target: the thread that made a stopped call, and its process. Reads their memory, credentials and
 * descriptors.
 */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "procstatus.h"

#define TARGET_COMM 16
#define TARGET_PATH 64 /* the longest path in /proc/TID that we use */

/* The supervisor's descriptors have this number or a higher one, if its limit permits. */
#define TARGET_HIGH 512

struct target {
	pid_t tid;
	pid_t process;          /* its thread group */
	pid_t inner;            /* the thread group ID in the target's own PID namespace */
	uint64_t pid_namespace; /* the inode number of that namespace; 0: unknown */
	int pidfd;              /* -1: not open */
	int descriptors;        /* /proc/PID/fd; -1: not open */
	struct credentials credentials;
	mode_t umask;
	char comm[TARGET_COMM];
};

/*
 * Moves our own descriptor to TARGET_HIGH or above, close-on-exec: the numbers below are reserved
 * for target_mirror_descriptor. Returns the new number, or fd itself if that fails.
 */
int target_move_high(int fd);

/* Returns true if this errno means that the supervisor lacks descriptors or memory. */
bool target_lacks_resources(int error);

/*
 * Copies memory of the thread. Returns false if not all of it could be read; errno is EFAULT if it
 * is not mapped, ESRCH if the thread has ended, and otherwise says why we cannot read it.
 */
bool target_read(pid_t tid, uint64_t address, void *bytes, size_t size);

/*
 * The same for a string of at most size bytes, including the NUL. If it is longer, errno is
 * ENAMETOOLONG.
 */
bool target_read_string(pid_t tid, uint64_t address, char *string, size_t size);

/* Writes the path of a file in /proc/TID, and returns it. */
const char *target_path(pid_t tid, const char *entry, char path[TARGET_PATH]);

/* Returns true if an absolute path leads the thread to the same file as us. */
bool target_shares_root(pid_t tid);

/* Returns true if the thread is in our namespace of a kind, such as "ns/net". */
bool target_shares_namespace(pid_t tid, const char *kind);

/* The same for the user namespace. Must not be called after this process has entered another. */
bool target_shares_user_namespace(pid_t tid);

/* Returns true if the thread has our credentials, capabilities and user namespace. */
bool target_has_our_credentials(pid_t tid);

/*
 * Returns the process of the thread, and stores when it started, in clock ticks since boot. If
 * /proc hides the thread, returns its ID, and stores 0.
 */
pid_t target_find_process(pid_t tid, uint64_t *started);

/*
 * Reads the thread's credentials and opens its pidfd and, if permitted, /proc/PID/fd. Returns false
 * with errno if the thread is gone, we are not permitted, or resources are missing.
 */
bool target_open(struct target *target, pid_t tid);

/*
 * Opens /proc/PID/fd, which is at this path, unless it is open already. Returns false with errno if
 * it is not open afterwards.
 */
bool target_open_descriptors(struct target *target, int dirfd, const char *path);

/* Returns true if we may duplicate the descriptors of the process and read its status. */
bool target_permits_inspection(const struct target *target);

/* Duplicates a descriptor of the process, close-on-exec. Returns -1 with errno on failure. */
int target_get_descriptor(const struct target *target, int number);

/*
 * If the path leads through a descriptor of the caller (/proc/self/fd/N), duplicates that
 * descriptor to the same number here. Returns false with errno if this is not possible.
 */
bool target_mirror_descriptor(const struct target *target, const char *path);

/*
 * Reads the link /proc/PID/fd/NUMBER. Returns false if there is none. Call it between
 * inspect_begin and inspect_end.
 */
bool target_read_link(const struct target *target, int number, char *link, size_t size);

/* Returns true if the process has not begun to exit. */
bool target_is_alive(const struct target *target);

/*
 * Returns true only if a signal is certainly pending for the thread. Then TIF_SIGPENDING is set,
 * and notify_restart is safe.
 */
bool target_has_signals(const struct target *target);

/* Returns the soft limit RLIMIT_NOFILE of the process; 1024 if it cannot be read. */
int target_descriptor_limit(const struct target *target);

#endif
