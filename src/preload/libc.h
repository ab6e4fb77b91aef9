/*
 * libc: the next definitions of the functions that we export, from dlsym(RTLD_NEXT).
 *
 * The program's own calls are made through this table; a call by name would come back to us.
 */
#ifndef LIBC_H
#define LIBC_H

#include <stdio.h>
#include <sys/socket.h>

struct libc {
	int (*bind)(int, const struct sockaddr *, socklen_t);
	int (*unlink)(const char *);
	int (*unlinkat)(int, const char *, int);
	int (*remove)(const char *);
	int (*rename)(const char *, const char *);
	int (*renameat)(int, const char *, int, const char *);
	int (*renameat2)(int, const char *, int, const char *, unsigned int);
	int (*link)(const char *, const char *);
	int (*linkat)(int, const char *, int, const char *, int);
	int (*prctl)(int, ...);
	long (*syscall)(long, ...);
};

/* Constant after libc_resolve has returned. */
extern struct libc libc;

/*
 * Fills the table. Not async-signal-safe, since dlsym is not: call it from a constructor. If libc
 * lacks renameat2, the entry fails with ENOSYS. Leaves errno alone.
 */
void libc_resolve(void);

#endif
