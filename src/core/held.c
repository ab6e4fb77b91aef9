#include "held.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>

#include "kernel.h"
#include "threads.h"

/* Each registered descriptor plus one (0: free slot), and the thread that registered it. */
static struct held {
	atomic_int fd;
	atomic_uintptr_t thread;
} held[64];

#define HELD (sizeof(held) / sizeof(held[0]))

/* Longer than any fork takes. After that, forks and openings stop waiting for each other. */
#define FORK_TIMEOUT_NS INT64_C(30000000000)
#define PAUSE_NS        100000U

static atomic_uint openings; /* openings that have begun; some may still wait for a fork to end */
static atomic_uint forks_begun;
static struct threads forking; /* the threads that are inside fork */

bool held_register(int fd)
{
	int none = 0;

	for (size_t i = 0; i < HELD; i++, none = 0) {
		if (!atomic_compare_exchange_strong(&held[i].fd, &none, fd + 1))
			continue;
		atomic_store(&held[i].thread, threads_this());
		return true;
	}
	return false;
}

void held_unregister(int fd)
{
	int registered = fd + 1;

	for (size_t i = 0; i < HELD; i++, registered = fd + 1) {
		if (atomic_load(&held[i].fd) != registered)
			continue;
		/*
		 * Clear the thread before the descriptor. Race: the next thread to use the slot
		 * sets fd first and then thread. In between, held_by_this_thread must not take that
		 * thread's descriptor for one of ours.
		 */
		atomic_store(&held[i].thread, 0);
		if (atomic_compare_exchange_strong(&held[i].fd, &registered, 0))
			return;
	}
}

bool held_by_this_thread(const struct file_id *file)
{
	int saved = errno;
	bool here = false;

	for (size_t i = 0; i < HELD && !here; i++) {
		int fd = atomic_load(&held[i].fd) - 1;
		struct kernel_file found;
		struct file_id there;

		if (fd < 0 || atomic_load(&held[i].thread) != threads_this() ||
			kernel_fstat(fd, &found) != 0)
			continue;
		there = file_id_of(&found);
		here = file_same(&there, file);
	}
	errno = saved;
	return here;
}

static bool may_open(void)
{
	return threads_have_this(&forking) || !threads_have_others(&forking);
}

bool held_begin_opening(unsigned int *begun)
{
	int saved = errno;
	bool may;

	atomic_fetch_add(&openings, 1);
	may = may_open();
	for (int64_t waited = 0; !may && waited < FORK_TIMEOUT_NS; waited += PAUSE_NS) {
		kernel_sleep(PAUSE_NS);
		may = may_open();
	}
	if (!may)
		atomic_fetch_sub(&openings, 1);
	*begun = atomic_load(&forks_begun);
	errno = saved;
	return may;
}

bool held_end_opening(unsigned int begun)
{
	bool alone = !threads_have_others(&forking) && atomic_load(&forks_begun) == begun;

	atomic_fetch_sub(&openings, 1);
	return alone || threads_have_this(&forking);
}

/*
 * A fork that finds an opening under way withdraws its own announcement before it waits, because
 * that opening may be waiting for it.
 */
static bool announce_fork(void)
{
	if (!threads_enter(&forking))
		return false;
	if (atomic_load(&openings) == 0)
		return true;
	threads_leave(&forking);
	return false;
}

/*
 * After FORK_TIMEOUT_NS the fork goes on, and held_end_opening detects it. A fork inside a fork
 * does not wait: an opening may be waiting for the outer one.
 */
void held_before_fork(void)
{
	int saved = errno;
	bool waits = !threads_have_this(&forking);
	bool announced = waits && announce_fork();

	for (int64_t waited = 0; waits && !announced && waited < FORK_TIMEOUT_NS;
		waited += PAUSE_NS) {
		kernel_sleep(PAUSE_NS);
		announced = announce_fork();
	}
	if (!announced)
		threads_enter(&forking);
	atomic_fetch_add(&forks_begun, 1);
	errno = saved;
}

void held_after_fork_in_parent(void)
{
	threads_leave(&forking);
}

/* If this fork was inside another one, the child continues that one, too. */
void held_after_fork_in_child(void)
{
	int saved = errno;

	atomic_store(&openings, 0);
	threads_forget_others(&forking);
	threads_leave(&forking);
	for (size_t i = 0; i < HELD; i++) {
		atomic_store(&held[i].thread, 0);
		int registered = atomic_exchange(&held[i].fd, 0);
		if (registered > 0)
			kernel_close(registered - 1);
	}
	errno = saved;
}
