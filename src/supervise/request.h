/*
 * request: the decoded arguments of a stopped call, of any ABI.
 *
 * Paths and addresses are copied from the caller's memory once. Other threads of the caller may
 * change that memory at any time, and the arguments that are judged must be those executed.
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
	struct seccomp_data data; /* the undecoded call */
	enum verb verb;
	const char *name; /* of the system call */
	int dirfd;        /* for bind, the socket */
	int newdir;
	unsigned int flags;
	socklen_t length; /* of the address */
	union {
		struct sockaddr any;
		struct sockaddr_storage space;
	} address;
	char path[PATH_MAX]; /* for bind, the path in the address */
	char newpath[PATH_MAX];
};

/* Determines the numbers of the system calls. Call it before any other function of this module. */
void request_init(void);

enum request_reading {
	REQUEST_COMPLETE,
	REQUEST_HARMLESS,   /* not a Unix socket path, or the kernel will reject the arguments */
	REQUEST_UNREADABLE, /* we cannot read the caller's memory, see errno; `path` may be empty */
};

/*
 * Decodes a call and copies its arguments. They are certainly those of the call only if
 * notify_is_valid returns true afterwards: another thread may reuse the ID of a caller that is
 * gone.
 */
enum request_reading request_read(struct request *request, const struct seccomp_notif *call);

/* Returns a hash of the thread and the arguments, to recognise a repeated call. Never 0. */
uint64_t request_key(const struct request *request);

/*
 * Makes a call that no program makes, to determine whether a supervisor answers. A supervisor
 * returns 0. Without one, the kernel fails the call with EINVAL.
 */
int request_make_test_call(void);

/* Returns true if the stopped call is such a test call. */
bool request_is_test_call(const struct seccomp_notif *call);

#endif
