/*
 * request: a stopped call as its caller meant it, whichever ABI it came by.
 *
 * What its pointers lead to is copied: other threads of the caller may change it at any time, and
 * what was judged must be what is done.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <limits.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum verb { REQUEST_BIND, REQUEST_UNLINK, REQUEST_RENAME, REQUEST_LINK };

struct request {
	uint64_t id;
	pid_t tid;
	enum verb verb;
	const char *name; /* of the system call */
	int dirfd;        /* of bind the socket */
	int newdir;
	unsigned int flags;
	socklen_t length; /* of the address */
	union {
		struct sockaddr any;
		struct sockaddr_storage space;
	} address;
	char path[PATH_MAX]; /* of bind that in the address */
	char newpath[PATH_MAX];
};

/* Looks the system calls' numbers up. Before anything else here. */
void request_load(void);

/*
 * Copies what was called. False for a call that is none of the guard's business: of no Unix socket,
 * or with arguments that the kernel itself will refuse. It must still be valid afterwards.
 */
bool request_read(struct request *request, const struct seccomp_notif *call);

/*
 * A call that no program makes: by it `sockguard run` finds out whether a supervisor answers. The
 * kernel alone says EINVAL to it, a supervisor 0.
 */
int request_knock(void);
bool request_is_knock(const struct seccomp_notif *call);

#endif
