/*
 * filter: the seccomp filters this process put on itself, kept so that they can be evaluated.
 *
 * A filter is a small program that passes through prctl(2) or syscall(2) of libc on its way into
 * the kernel. Before the guard makes a call of its own, it lets the kept filters judge it as the
 * kernel would (seccomp(2), kernel/seccomp.c): number, architecture and arguments included. What
 * they do not allow is never made.
 *
 * Filters of a thread count for the whole process: they are inherited by what it starts, and a call
 * left out costs less than a process killed. Filters that came with exec, or went into the kernel
 * by other ways, are not known here.
 *
 * Async-signal-safe; leaves errno alone.
 */
#ifndef FILTER_H
#define FILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sock_fprog;

/* Whether there is any filter to be asked: one load. */
extern atomic_uint filters_known;

static inline bool filter_any(void)
{
	return atomic_load_explicit(&filters_known, memory_order_relaxed) != 0;
}

/* Do all filters let this call pass? */
bool filter_allows(long number, const uint64_t arguments[6]);

/* An installation under way; until it ends no call is allowed, for the filter may be in force. */
struct filter_attempt {
	void *room;
	bool ours; /* false: of a child that shares our memory and does not count for us */
};
struct filter_attempt filter_begin(void);

/*
 * It ended. Where it was installed the program's memory could be read by the kernel, and is copied.
 * NULL stands for strict mode, which allows nothing.
 */
void filter_end(struct filter_attempt attempt, bool installed, const struct sock_fprog *program);

#endif
