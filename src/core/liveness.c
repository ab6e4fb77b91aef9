#include "liveness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sockdiag.h"
#include "text.h"

static int connect_to(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);

	if (length >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, length);
	return kernel_connect(fd, &address, sizeof(address));
}

/* Whether the path leads to the pinned inode after the connect. */
static bool leads_to_pinned(const struct pin *pin, const char *path)
{
	int saved = errno;
	struct inode there;
	bool same = inode_identify(AT_FDCWD, path, &there) == 0 && inode_same(&there, &pin->inode);

	errno = saved;
	return same;
}

/*
 * Connects to the socket path itself, if it fits in sun_path and is not relative to a descriptor.
 * The answer counts if the path still leads to the pinned inode afterwards. ECONNREFUSED (stale)
 * does not: the path may have led to another, stale socket during the connect, and back again.
 *
 * Otherwise connects to /proc/thread-self/fd/N, where N is the pinned descriptor. We try
 * the path first because the kernel creates a process's /proc directory on first use, which takes
 * longer than the connect. "thread-self", because "self" is the main thread, which may have ended.
 */
static int connect_to_pinned(int fd, const struct pin *pin, int dirfd, const char *path)
{
	char name[64];
	struct text text = text_start(name, sizeof(name));
	int path_error = ENAMETOOLONG; /* of the connect to the path; 0: it succeeded */

	if (dirfd == AT_FDCWD || path[0] == '/')
		path_error = connect_to(fd, path) == 0 ? 0 : errno;
	if (path_error != ENAMETOOLONG && path_error != ECONNREFUSED &&
		leads_to_pinned(pin, path)) {
		errno = path_error;
		return path_error == 0 ? 0 : -1;
	}
	if (pin->fd >= 0) {
		text_add(&text, "/proc/thread-self/fd/");
		text_add_number(&text, (uint64_t)pin->fd);
		if (connect_to(fd, name) == 0)
			return 0;
		if (errno != ENOENT && errno != ENOTDIR)
			return -1;
	}
	/* Without /proc the answer for the path decides. */
	errno = path_error == ECONNREFUSED && leads_to_pinned(pin, path) ? path_error : ENOENT;
	return -1;
}

/*
 * EPERM from the kernel means that the socket at the path is a datagram socket that is connected to
 * another peer: it is live. EPERM from a seccomp filter means nothing. A filter that forbids
 * connect also forbids this one, which dissolves a connection and which the kernel always permits.
 */
static bool filter_forbids_connect(int fd)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	return kernel_connect(fd, &nobody, sizeof(nobody)) != 0;
}

static enum liveness probe(const struct pin *pin, int dirfd, const char *path)
{
	enum liveness answer = LIVENESS_UNKNOWN;
	int fd = kernel_socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return LIVENESS_UNKNOWN;
	if (connect_to_pinned(fd, pin, dirfd, path) == 0 || errno == EPROTOTYPE ||
		(errno == EPERM && !filter_forbids_connect(fd) &&
			(connect_to_pinned(fd, pin, dirfd, path) == 0 || errno == EPERM)))
		answer = LIVENESS_LIVE;
	else if (errno == ECONNREFUSED)
		answer = LIVENESS_STALE;
	kernel_close(fd);
	return answer;
}

enum liveness liveness_of(const struct pin *pin, int dirfd, const char *path)
{
	int saved = errno;
	enum liveness answer = probe(pin, dirfd, path);

	/* EACCES: connect(2) requires write permission on the file, and sock_diag does not. */
	if (answer == LIVENESS_UNKNOWN) {
		switch (sockdiag_any_bound_to(pin, dirfd, path)) {
		case SOCKDIAG_YES:
		case SOCKDIAG_AMBIGUOUS:
			answer = LIVENESS_LIVE;
			break;
		case SOCKDIAG_NO:
			answer = LIVENESS_STALE_HERE;
			break;
		case SOCKDIAG_UNKNOWN:
			break;
		}
	}
	errno = saved;
	return answer;
}
