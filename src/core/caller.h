/*
 * caller: the process whose call is judged. In the library it is the process itself, see owned.c. A
 * supervisor judges the calls of other processes, see src/supervise/proxy.c.
 *
 * This is the interface through which the rules learn what a call does not show: the caller's pid,
 * the socket paths it owns and the sockets it holds. The rules take the caller's directories,
 * namespaces and credentials from the process that runs them: a supervisor's worker assumes those
 * of its caller first. In the library, its functions are async-signal-safe; pid, pause,
 * await_release and each_descriptor may change errno.
 */
#ifndef CALLER_H
#define CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "inode.h"
#include "lockfile.h"
#include "owned.h"

struct caller {
	pid_t (*pid)(void); /* the caller's pid in its own PID namespace */
	/* The inode number of that PID namespace; 0: unknown. pid is what pid() returned. */
	uint64_t (*pid_namespace)(pid_t pid);

	/* The implementations of owned_has_any, owned_check, and so on: see owned.h. */
	bool (*has_any)(void);
	enum owned (*check)(const struct inode *inode, const struct lockfile *lock);
	int (*find_claim)(const struct file_id *file);
	bool (*add)(const struct inode *inode, const struct file_id *lockfile, int claim,
		uint64_t cookie, bool foreign);
	void (*remove)(const struct inode *inode, const struct file_id *lockfile);

	/*
	 * Sleeps between two attempts to acquire a mutex. Call it without any mutex held or
	 * descriptor open, because it may end in a longjmp(3).
	 */
	void (*pause)(uint32_t nanoseconds);

	/*
	 * Waits until the kernel has released a socket that the caller closed just before. It is
	 * called with the mutex held, so the wait must be short.
	 */
	void (*await_release)(void);

	/*
	 * Calls `found` for each of the caller's sockets, and possibly for other descriptors, until
	 * it returns true. Returns whether it did. fd is a descriptor of the process that runs the
	 * rules: in a supervisor's worker a duplicate, which is closed again unless `found`
	 * returned true.
	 */
	bool (*each_descriptor)(bool (*found)(int fd, void *about), void *about);
};

/* Set before the first call is judged, and constant from then on. */
extern const struct caller *caller;

#endif
