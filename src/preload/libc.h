/*
 * libc: the functions behind the ones we export, found with dlsym(RTLD_NEXT).
 *
 * The program's own calls go on through this table; a call by name would come back in here.
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

/* Complete once libc_resolve has returned; constant from then on. */
extern struct libc libc;

/*
 * Fills the table. dlsym is not async-signal-safe, so this belongs in a constructor. A function the
 * libc lacks is answered with ENOSYS. Leaves errno alone.
 */
void libc_resolve(void);

#endif
