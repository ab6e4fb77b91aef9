#include "scratch.h"

#include "kernel.h"
#include <errno.h>

void *scratch_allocate(size_t size)
{
	int saved = errno;
	void *memory = kernel_map(size);

	errno = saved;
	return memory;
}

void scratch_free(void *memory, size_t size)
{
	int saved = errno;

	kernel_unmap(memory, size);
	errno = saved;
}
