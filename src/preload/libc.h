/*
 * libc: the functions behind the ones we export, found with dlsym(RTLD_NEXT).
 *
 * Everything in this library that takes, gives or removes a name goes through this table; a call by
 * name would come back in at our own door.
 */
#ifndef LIBC_H
#define LIBC_H

#include <stdio.h>
#include <sys/socket.h>

/* A libc without renameat2 has no words for its flags; the values are the kernel's (linux/fs.h). */
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#define RENAME_WHITEOUT  4
#endif

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
};

/* Complete once libc_resolve has returned; constant from then on. */
extern struct libc libc;

/*
 * Fills the table. dlsym is not async-signal-safe, so this belongs in a constructor. A function the
 * libc lacks is answered with ENOSYS. Leaves errno alone.
 */
void libc_resolve(void);

#endif
