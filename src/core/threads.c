#include "threads.h"

#include <pthread.h>

uintptr_t threads_this(void)
{
	return (uintptr_t)pthread_self();
}

/* A signal handler may use the same slot in between, so each slot changes in one step. */
static bool replace_one(struct threads *threads, uintptr_t from, uintptr_t to)
{
	for (int i = 0; i < THREADS_ROOM; i++) {
		uintptr_t expected = from;

		if (atomic_compare_exchange_strong(&threads->inside[i], &expected, to))
			return true;
	}
	return false;
}

bool threads_enter(struct threads *threads)
{
	return replace_one(threads, 0, threads_this());
}

bool threads_leave(struct threads *threads)
{
	return replace_one(threads, threads_this(), 0);
}

unsigned int threads_forget_others(struct threads *threads)
{
	const uintptr_t self = threads_this();
	unsigned int forgotten = 0;

	for (int i = 0; i < THREADS_ROOM; i++) {
		uintptr_t thread = atomic_load(&threads->inside[i]);

		if (thread == 0 || thread == self)
			continue;
		atomic_store(&threads->inside[i], 0);
		forgotten++;
	}
	return forgotten;
}

bool threads_have_this(const struct threads *threads)
{
	const uintptr_t self = threads_this();

	for (int i = 0; i < THREADS_ROOM; i++)
		if (atomic_load(&threads->inside[i]) == self)
			return true;
	return false;
}

/* Whether any thread but this one is inside. */
static bool have_any_but(const struct threads *threads, uintptr_t except)
{
	for (int i = 0; i < THREADS_ROOM; i++) {
		uintptr_t thread = atomic_load(&threads->inside[i]);

		if (thread != 0 && thread != except)
			return true;
	}
	return false;
}

bool threads_have_others(const struct threads *threads)
{
	return have_any_but(threads, threads_this());
}

bool threads_have_any(const struct threads *threads)
{
	return have_any_but(threads, 0);
}
