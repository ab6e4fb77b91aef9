/*
 * scratch: memory from mmap(2), in whole pages. A signal handler's stack may have only a few KiB,
 * and malloc(3) is not async-signal-safe. These functions are, and leave errno alone.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stddef.h>

/* Returns zeroed memory, or NULL. The caller frees it with the same size, or never frees it. */
void *scratch_allocate(size_t size);
void scratch_free(void *memory, size_t size);

#endif
