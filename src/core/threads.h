/*
 * threads: which threads are inside an operation, such as fork(2).
 *
 * A thread may be inside several times: a signal handler may interrupt the operation and start
 * another one. The copy that a forked child has is usable whatever the other threads were doing.
 *
 * All functions are async-signal-safe and make no system call.
 */
#ifndef THREADS_H
#define THREADS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { THREADS_ROOM = 64 };

struct threads {
	atomic_uintptr_t inside[THREADS_ROOM]; /* 0: free */
};

/* The calling thread's number, which no other thread of the process has. Not 0. */
uintptr_t threads_this(void);

/* Adds the calling thread once more. False if THREADS_ROOM are inside. */
bool threads_enter(struct threads *threads);

/* Removes the calling thread once. False if it is not inside. */
bool threads_leave(struct threads *threads);

/* For the child of a fork: removes the threads that it does not have. Returns how many times. */
unsigned int threads_forget_others(struct threads *threads);

/* Whether the calling thread is inside; whether any other thread is; or any thread. */
bool threads_have_this(const struct threads *threads);
bool threads_have_others(const struct threads *threads);
bool threads_have_any(const struct threads *threads);

#endif
