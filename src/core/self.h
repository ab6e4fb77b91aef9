/*
 * self: whose memory is this? A child of vfork(2) or of clone(2) with CLONE_VM runs in its parent's
 * memory, with descriptors and filters of its own: what it notes there would be the parent's.
 *
 * Async-signal-safe; leaves errno alone.
 */
#ifndef SELF_H
#define SELF_H

#include <stdbool.h>

/* For a child just forked: the memory is a copy, whoever owned the original. No system call. */
void self_forked(void);

/*
 * Does this process run in the memory of another one? The kernel is asked by kcmp(2), once for each
 * process. Where it does not answer, memory that is not known to be another's counts as our own.
 */
bool self_shares_memory(void);

#endif
