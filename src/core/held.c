#include "held.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "kernel.h"

/* Each descriptor plus one, and the thread that holds it. */
static struct held {
	atomic_int fd;
	atomic_uintptr_t thread;
} held[64];

#define HELD (sizeof(held) / sizeof(held[0]))

/* Longer than any fork takes: beyond that something is stuck, and two waiters must not stay so. */
#define PATIENCE_NS INT64_C(30000000000)
#define PAUSE_NS    100000U

static atomic_uint openings; /* under way, or waiting for forks to end */
static atomic_uint forks_under_way;
static atomic_uint forks_begun;

static uintptr_t this_thread(void)
{
	return (uintptr_t)pthread_self();
}

bool held_note(int fd)
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

void held_forget(int fd)
{
	int noted = fd + 1;

	for (size_t i = 0; i < HELD; i++, noted = fd + 1) {
		if (atomic_load(&held[i].fd) != noted)
			continue;
		/*
		 * The thread first: the next to note a descriptor here does so in two steps, and in
		 * between its descriptor must not appear to be ours.
		 */
		atomic_store(&held[i].thread, 0);
		if (atomic_compare_exchange_strong(&held[i].fd, &noted, 0))
			return;
	}
}

bool held_here(const struct file_id *file)
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
		there = file_of(&found);
		here = file_same(&there, file);
	}
	errno = saved;
	return here;
}

unsigned int held_begin_opening(void)
{
	int saved = errno;

	atomic_fetch_add(&openings, 1);
	for (int64_t waited = 0; atomic_load(&forks_under_way) > 0 && waited < PATIENCE_NS;
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
 * A fork that finds an opening steps back before it waits: that may be waiting for it. Should it
 * wait in vain it goes on, and held_end_opening notices.
 */
void held_before_fork(void)
{
	int saved = errno;

	atomic_fetch_add(&forks_under_way, 1);
	for (int64_t waited = 0; atomic_load(&openings) > 0 && waited < PATIENCE_NS;
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
		int noted = atomic_exchange(&held[i].fd, 0);
		if (noted > 0)
			kernel_close(noted - 1);
	}
	errno = saved;
}
