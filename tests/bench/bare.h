/*
 * bare: the system calls that the guard makes for a bind and for an unlink of that socket, one by
 * one and without it, as strace shows them. When the guard's change, so do these. What they come to
 * is looked at only so far that a call which could not be made does not pass for a fast one.
 */
#ifndef BARE_H
#define BARE_H

#include <sys/un.h>

struct bare_call {
	const char *name;
	void (*make)(void);
};

extern const struct bare_call bare_calls[];
extern const int bare_count;

/* What the calls from now on are about; the caller keeps both. */
void bare_begin(int fd, const struct sockaddr_un *address, const char *lockfile);

#endif
