/*
 * scratch: memory where the stack may be a signal handler's of a few KiB and malloc is out of the
 * question. Whole pages of the kernel's; async-signal-safe; leaves errno alone.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stddef.h>

/* All zero, or NULL. The caller owes scratch_give_back of the same size, or keeps it for good. */
void *scratch_take(size_t size);
void scratch_give_back(void *memory, size_t size);

#endif
