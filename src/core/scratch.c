#include "scratch.h"

#include <errno.h>
#include <sys/mman.h>

void *scratch_take(size_t size)
{
	int saved = errno;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	errno = saved;
	return memory == MAP_FAILED ? NULL : memory;
}

void scratch_give_back(void *memory, size_t size)
{
	int saved = errno;

	munmap(memory, size);
	errno = saved;
}
