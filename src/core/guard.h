/*
 * guard: the rules, one function for each verb.
 *
 * Each function takes the caller's call and returns what the program gets: the result and errno of
 * the call, made through `perform`; or -1 with EADDRINUSE if the call would, or might, take a
 * socket path from a live owner. It dereferences no pointer of the program before the kernel has
 * accepted that pointer. All are async-signal-safe. Signals and cancellation are blocked while a
 * mutex is held.
 */
#ifndef GUARD_H
#define GUARD_H

#include <sys/socket.h>

/* A call on one or two paths, and the function that makes it. */
struct call {
	const char *verb; /* for messages */
	int (*perform)(const struct call *call);
	int dirfd;
	const char *path;
	int newdir;
	const char *newpath; /* NULL: the call has only one path */
	unsigned int flags;
};

/* A bind(2), and the function that makes it. */
struct bind_call {
	int (*perform)(int fd, const struct sockaddr *address, socklen_t length);
	int fd;
	const struct sockaddr *address;
	socklen_t length;
};

int guard_bind(const struct bind_call *call);

/* unlink(2), unlinkat(2) without AT_REMOVEDIR, remove(3): removes path. */
int guard_unlink(const struct call *call);

/* rename(2), renameat(2), renameat2(2): removes path and replaces newpath. */
int guard_rename(const struct call *call);

/* link(2), linkat(2): makes newpath another name of the file at path. */
int guard_link(const struct call *call);

#endif
