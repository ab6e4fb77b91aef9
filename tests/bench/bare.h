/*
 * bare: the system calls that strace shows when the guard binds a socket and unlinks its path,
 * made one by one without the guard. If the guard's calls change, change these too. The results
 * are checked only so that a failed call is not counted as a fast one.
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

/* Sets the arguments of the following calls. Both strings must stay valid. */
void bare_begin(int fd, const struct sockaddr_un *address, const char *lockfile);

#endif
