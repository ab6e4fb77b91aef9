/*
 * self: whether this process runs in another process's memory, and its PID namespace.
 *
 * A child of vfork(2), or of clone(2) with CLONE_VM, runs in its parent's memory, but has
 * descriptors and filters of its own. Whatever it recorded in our tables would count for the
 * parent.
 *
 * All functions are async-signal-safe and leave errno alone.
 */
#ifndef SELF_H
#define SELF_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* For the child of a fork: its memory is a copy, and so its own. Makes no system call. */
void self_after_fork_in_child(void);

/*
 * Whether this process runs in another process's memory. Asks the kernel with kcmp(2), once in each
 * process. If the kernel does not answer, the memory counts as our own, unless another process
 * is known to own it.
 */
bool self_shares_memory(void);

/*
 * The inode number of the PID namespace of this process; 0 if /proc does not show it. Looked up
 * once for each process, since a process never changes its PID namespace. `pid` must be this
 * process's, freshly read from the kernel: a fork recognises by it that the stored number is its
 * parent's.
 */
uint64_t self_pid_namespace(pid_t pid);

#endif
