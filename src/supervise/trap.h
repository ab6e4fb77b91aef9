/*
 * trap: the seccomp filter that stops a process at the eight system calls the guard judges, until
 * its supervisor has answered.
 *
 * libseccomp writes it, for every ABI that the kernel has beside the native one: i386, where bind
 * is a socketcall(2) too, and x32 for x86-64.
 */
#ifndef TRAP_H
#define TRAP_H

#include <linux/filter.h>
#include <stdbool.h>

struct trap {
	struct sock_fprog program;
	bool allows_rings; /* io_uring_setup(2); the filter sees nothing of what a ring is told to
			      do */
};

/* Writes the filter. Returns false, with errno, where libseccomp cannot. */
bool trap_write(struct trap *trap);

/*
 * Stops the calling thread, and whatever it starts, at these calls from now on. Sets no_new_privs
 * where the kernel demands it. Returns the listener, close-on-exec; or -1 with errno: EBUSY where
 * another program listens already, ENOSYS where the kernel is older than Linux 5.9.
 */
int trap_set(const struct trap *trap);

#endif
