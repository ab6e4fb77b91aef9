#include "members.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "target.h"

static struct members *members; /* NULL: it could not be created */

static member now(pid_t tid)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return MEMBER(tid, (uint64_t)time.tv_sec * 100 + (uint64_t)time.tv_nsec / 10000000);
}

void members_create(pid_t program)
{
	/* The descriptor stays open, because other processes read the memory through it. */
	int file = target_move_high(memfd_create(MEMBERS_NAME, MFD_CLOEXEC));
	void *memory = MAP_FAILED;

	if (file >= 0 && ftruncate(file, sizeof(*members)) == 0)
		memory = mmap(NULL, sizeof(*members), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		return;
	members = memory;
	if (config.only)
		snprintf(members->only, sizeof(members->only), "%s", config.only);
	if (config.ignore)
		snprintf(members->ignore, sizeof(members->ignore), "%s", config.ignore);
	atomic_store(&members->program, now(program));
}

static void record(_Atomic member *list, pid_t tid)
{
	if (tid > 0) /* it is 0 for a thread outside the supervisor's PID namespace */
		atomic_store_explicit(&list[tid % MEMBERS_SLOTS], now(tid), memory_order_relaxed);
}

void members_record_caller(pid_t tid)
{
	if (members)
		record(members->caller, tid);
}

void members_record_binder(pid_t pid)
{
	if (members)
		record(members->binder, pid);
}
