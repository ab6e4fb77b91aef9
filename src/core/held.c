#include "held.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "kernel.h"

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
static atomic_uint forks_under_way;
static atomic_uint forks_begun;

static uintptr_t this_thread(void)
{
	return (uintptr_t)pthread_self();
}

bool held_register(int fd)
{
	int none = 0;

	for (size_t i = 0; i < HELD; i++, none = 0) {
		if (!atomic_compare_exchange_strong(&held[i].fd, &none, fd + 1))
			continue;
		atomic_store(&held[i].thread, this_thread());
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

		if (fd < 0 || atomic_load(&held[i].thread) != this_thread() ||
			kernel_fstat(fd, &found) != 0)
			continue;
		there = file_id_of(&found);
		here = file_same(&there, file);
	}
	errno = saved;
	return here;
}

unsigned int held_begin_opening(void)
{
	int saved = errno;

	atomic_fetch_add(&openings, 1);
	for (int64_t waited = 0; atomic_load(&forks_under_way) > 0 && waited < FORK_TIMEOUT_NS;
		waited += PAUSE_NS)
		kernel_sleep(PAUSE_NS);
	errno = saved;
	return atomic_load(&forks_begun);
}

bool held_end_opening(unsigned int begun)
{
	bool alone = atomic_load(&forks_under_way) == 0 && atomic_load(&forks_begun) == begun;

	atomic_fetch_sub(&openings, 1);
	return alone;
}

/*
 * A fork that finds an opening under way withdraws its own announcement before it waits, because
 * that opening may be waiting for it. After FORK_TIMEOUT_NS the fork goes on, and held_end_opening
 * detects it.
 */
void held_before_fork(void)
{
	int saved = errno;

	atomic_fetch_add(&forks_under_way, 1);
	for (int64_t waited = 0; atomic_load(&openings) > 0 && waited < FORK_TIMEOUT_NS;
		waited += PAUSE_NS) {
		atomic_fetch_sub(&forks_under_way, 1);
		kernel_sleep(PAUSE_NS);
		atomic_fetch_add(&forks_under_way, 1);
	}
	atomic_fetch_add(&forks_begun, 1);
	errno = saved;
}

void held_after_fork_in_parent(void)
{
	atomic_fetch_sub(&forks_under_way, 1);
}

void held_after_fork_in_child(void)
{
	int saved = errno;

	atomic_store(&openings, 0);
	atomic_store(&forks_under_way, 0);
	for (size_t i = 0; i < HELD; i++) {
		atomic_store(&held[i].thread, 0);
		int registered = atomic_exchange(&held[i].fd, 0);
		if (registered > 0)
			kernel_close(registered - 1);
	}
	errno = saved;
}
