#include "self.h"

#include <errno.h>
#include <stdatomic.h>

#include "kernel.h"

static atomic_int owner; /* of this memory; 0: not known yet */

void self_forked(void)
{
	atomic_store_explicit(&owner, 0, memory_order_relaxed);
}

/* A child in its parent's memory may be the first to ask, and finds the owner to be its parent. */
static bool shares(pid_t pid)
{
	int known = atomic_load_explicit(&owner, memory_order_relaxed);
	pid_t other = known != 0 ? known : kernel_parent();
	enum kernel_same same;

	if (pid == known)
		return false;
	same = kernel_same_memory(pid, other);
	if (same == KERNEL_NOT_TOLD)
		return known != 0;
	atomic_store_explicit(&owner, same == KERNEL_SAME ? other : pid, memory_order_relaxed);
	return same == KERNEL_SAME;
}

bool self_shares_memory(void)
{
	int saved = errno;
	pid_t pid = kernel_pid();
	bool answer = pid != 0 && shares(pid);

	errno = saved;
	return answer;
}
