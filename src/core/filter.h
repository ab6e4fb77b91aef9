/*
 * filter: copies of the seccomp filters that this process installed, and their evaluation.
 *
 * A process installs a filter with prctl(2) or syscall(2) of libc, where we copy it. Before the
 * guard makes a system call of its own, it evaluates the copies as the kernel would (seccomp(2),
 * kernel/seccomp.c), with the call's number, architecture and arguments. A call that they do not
 * allow is not made.
 *
 * A filter that one thread installs counts for all threads: threads it starts inherit the filter,
 * and to omit a call does less harm than to have the process killed. Filters that were inherited
 * through exec, or installed without libc, are unknown here.
 *
 * All functions are async-signal-safe and leave errno alone.
 */
#ifndef FILTER_H
#define FILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sock_fprog;

/* The number of known filters and of installations under way. */
extern atomic_uint filters_known;

static inline bool filter_is_known(void)
{
	return atomic_load_explicit(&filters_known, memory_order_relaxed) != 0;
}

/* Whether all known filters allow this call. False while an installation is under way. */
bool filter_allows(long number, const uint64_t arguments[6]);

/*
 * An installation under way. Until it ends filter_allows allows nothing, because the filter may be
 * in force already.
 */
struct filter_installation {
	void *memory; /* for the copy; NULL: there was none */
	bool ours;    /* false: a vfork child, in our memory, installs the filter for itself */
	bool listed;  /* as this thread's own */
};
/* for_all: the kernel will apply the filter to all threads (SECCOMP_FILTER_FLAG_TSYNC). */
struct filter_installation filter_install_begin(bool for_all);

/*
 * Ends an installation. If the kernel installed the filter, copies it; the kernel has read the
 * program's memory, so we can. program is NULL for strict mode, which allows nothing.
 */
void filter_install_end(struct filter_installation installation, bool installed,
	const struct sock_fprog *program);

/*
 * For the child of a fork. Other threads' installations were under way in the parent and never end
 * here: the child has no filter of theirs. But if one was for all threads, the child may have its
 * filter, which is unknown, so nothing is ever allowed here.
 *
 * Call it before any function that makes a system call.
 */
void filter_after_fork_in_child(void);

#endif
