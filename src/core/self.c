#include "self.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

#include "kernel.h"

static atomic_int memory_pid; /* of the process whose memory this is; 0: not determined yet */

void self_after_fork_in_child(void)
{
	atomic_store_explicit(&memory_pid, 0, memory_order_relaxed);
}

/* A vfork child may be the first to ask. Then the memory is its parent's. */
static bool shares(pid_t pid)
{
	int known = atomic_load_explicit(&memory_pid, memory_order_relaxed);
	pid_t other = known != 0 ? known : kernel_parent();
	enum kernel_same same;

	if (pid == known)
		return false;
	same = kernel_same_memory(pid, other);
	if (same == KERNEL_UNKNOWN)
		return known != 0;
	atomic_store_explicit(&memory_pid, same == KERNEL_SAME ? other : pid, memory_order_relaxed);
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

uint64_t self_pid_namespace(pid_t pid)
{
	static atomic_int known_for; /* the process whose namespace `known` is; 0: none */
	static atomic_uint known;
	int saved = errno;
	struct kernel_file found;

	if (pid == 0 || atomic_load_explicit(&known_for, memory_order_acquire) != pid) {
		if (kernel_stat(AT_FDCWD, "/proc/self/ns/pid", 0, &found) != 0)
			found.ino = 0;
		atomic_store_explicit(&known, (unsigned int)found.ino, memory_order_relaxed);
		atomic_store_explicit(&known_for, pid, memory_order_release);
	}
	errno = saved;
	return atomic_load_explicit(&known, memory_order_relaxed);
}
