/*
 * guard: the rules, one function a verb.
 *
 * Each takes the program's call as it came and returns what the program is to see: libc's own
 * result and errno, or -1 with EADDRINUSE where a name of a live owner would be taken. No pointer
 * of the program's is read before the kernel has accepted it. Async-signal-safe as the calls
 * themselves are; signals and cancellation are held off while a mutex is.
 */
#ifndef GUARD_H
#define GUARD_H

#include <sys/socket.h>

/* A call on one name or two, and how to make it through libc. */
struct call {
	const char *verb; /* for messages */
	int (*perform)(const struct call *call);
	int dirfd;
	const char *path;
	int newdir;
	const char *newpath;
	unsigned int flags;
};

/* bind(2), and how to make it. */
struct bind_call {
	int (*perform)(int fd, const struct sockaddr *address, socklen_t length);
	int fd;
	const struct sockaddr *address;
	socklen_t length;
};

int guard_bind(const struct bind_call *call);

/* unlink(2), unlinkat(2) without AT_REMOVEDIR, remove(3): path is taken away. */
int guard_unlink(const struct call *call);

/* rename(2), renameat(2), renameat2(2): path is taken away, and newpath replaced. */
int guard_rename(const struct call *call);

/* link(2), linkat(2): newpath is given to what path leads to. */
int guard_link(const struct call *call);

#endif
