/*
 * caller: the process whose call is judged. With the library that is the process itself, see
 * owned.c; a supervisor judges the calls of others, see src/supervise/proxy.c.
 *
 * What the rules want to know of it beyond its call: which names it owns, which descriptors it
 * holds, and who it is. Its directories, namespaces and credentials are those of the process that
 * runs this code: a supervisor takes its caller's place first.
 */
#ifndef CALLER_H
#define CALLER_H

#include <stdbool.h>
#include <sys/types.h>

#include "inode.h"
#include "lockfile.h"
#include "owned.h"

struct caller {
	pid_t (*pid)(void); /* in its own PID namespace */

	/* As owned_any and the others in owned.h. */
	bool (*any)(void);
	enum owned (*is_mine)(const struct inode *inode, const struct lockfile *lock);
	int (*claim_on)(const struct file_id *file);
	void (*note)(const struct inode *inode, const struct file_id *lockfile, int claim,
		uint64_t cookie, bool foreign);
	void (*forget)(const struct inode *inode, const struct file_id *lockfile);

	/*
	 * Calls back for each descriptor of its sockets, and perhaps others, until that says true.
	 * The number is good in this process, and stays so after a true.
	 */
	bool (*each_descriptor)(bool (*found)(int fd, void *about), void *about);
};

/* Set once, before the first call is judged. */
extern const struct caller *caller;

#endif
