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

/* Does the name lead to the pinned inode, still? Then that was connected to, in all likelihood. */
static bool leads_to_pinned(const struct pin *pin, const char *path)
{
	int saved = errno;
	struct inode there;
	bool same = inode_identify(AT_FDCWD, path, &there) == 0 && inode_same(&there, &pin->inode);

	errno = saved;
	return same;
}

/*
 * By its own name where connect(2) can be told that; else, and once more before it counts as
 * stale, by the one it has in /proc as long as it is pinned, for a name may have led elsewhere
 * and back in between. Not at once: a new process has no directory in /proc before somebody looks,
 * and the kernel takes long to make one. It is thread-self because self is the main thread's, and
 * that may have ended.
 */
static int connect_to_pinned(int fd, const struct pin *pin, int dirfd, const char *path)
{
	char name[64];
	struct text text = text_in(name, sizeof(name));
	int told = ENAMETOOLONG; /* by the path; 0: it was connected to */

	if (dirfd == AT_FDCWD || path[0] == '/')
		told = connect_to(fd, path) == 0 ? 0 : errno;
	if (told != ENAMETOOLONG && told != ECONNREFUSED && leads_to_pinned(pin, path)) {
		errno = told;
		return told == 0 ? 0 : -1;
	}
	if (pin->fd >= 0) {
		text_add(&text, "/proc/thread-self/fd/");
		text_add_number(&text, (uint64_t)pin->fd);
		if (connect_to(fd, name) == 0)
			return 0;
		if (errno != ENOENT && errno != ENOTDIR)
			return -1;
	}
	/* Without /proc the path's word has to do. */
	errno = told == ECONNREFUSED && leads_to_pinned(pin, path) ? told : ENOENT;
	return -1;
}

/*
 * The kernel's EPERM means that the owner, a datagram socket, talks to one peer only; a seccomp
 * filter's means nothing. That one forbids the dissolving of a connection too.
 */
static bool forbids_all(int fd)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	return kernel_connect(fd, &nobody, sizeof(nobody)) != 0;
}

static enum liveness probe(const struct pin *pin, int dirfd, const char *path)
{
	enum liveness answer = UNKNOWN;
	int fd = kernel_socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return UNKNOWN;
	if (connect_to_pinned(fd, pin, dirfd, path) == 0 || errno == EPROTOTYPE ||
		(errno == EPERM && !forbids_all(fd) &&
			(connect_to_pinned(fd, pin, dirfd, path) == 0 || errno == EPERM)))
		answer = LIVE;
	else if (errno == ECONNREFUSED)
		answer = DEAD;
	kernel_close(fd);
	return answer;
}

enum liveness liveness_of(const struct pin *pin, int dirfd, const char *path)
{
	int saved = errno;
	enum liveness answer = probe(pin, dirfd, path);

	/* EACCES: connect wants write permission on the file. sock_diag wants none. */
	if (answer == UNKNOWN) {
		switch (sockdiag_bound(pin, dirfd, path)) {
		case SOCKDIAG_YES:
		case SOCKDIAG_AMBIGUOUS:
			answer = LIVE;
			break;
		case SOCKDIAG_NO:
			answer = DEAD;
			break;
		case SOCKDIAG_SILENT:
			break;
		}
	}
	errno = saved;
	return answer;
}
