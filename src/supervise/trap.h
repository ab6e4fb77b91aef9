/*
 * trap: the seccomp filter that stops a process at the eight system calls the guard judges, until
 * its supervisor has answered.
 *
 * libseccomp generates it, for the native ABI and all others that the kernel may have: on x86-64
 * i386, where bind may also be a socketcall(2), and x32.
 */
#ifndef TRAP_H
#define TRAP_H

#include <linux/filter.h>
#include <stdbool.h>

struct trap {
	struct sock_fprog program;
	/* Allows io_uring_setup(2). The filter does not see the operations of a ring. */
	bool allows_rings;
};

/*
 * Generates the filter; the caller must free program.filter. Returns false with ENOSYS if
 * libseccomp cannot generate it.
 */
bool trap_generate(struct trap *trap);

/*
 * Installs the filter for the calling thread and its future descendants. Sets no_new_privs if the
 * kernel requires it. Returns the notification descriptor, close-on-exec, or -1 with errno: EBUSY
 * if another filter of this process has a notification descriptor already, ENOSYS if the kernel
 * does not support it.
 */
int trap_install(const struct trap *trap);

/*
 * Returns true if, under a filter that trap_install installs, only a fatal signal interrupts a call
 * that the supervisor has received.
 */
bool trap_ignores_signals(void);

#endif
