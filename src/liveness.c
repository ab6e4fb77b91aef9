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
	return connect(fd, (const struct sockaddr *)&address, sizeof(address));
}

/*
 * The pinned inode has a name in /proc. It is thread-self because self is the main thread's, and
 * that may have ended. Without /proc the caller's own name has to do.
 */
static int connect_to_pinned(int fd, const struct pin *pin, int dirfd, const char *path)
{
	char name[64];
	struct text text = text_in(name, sizeof(name));

	if (pin->fd >= 0) {
		text_add(&text, "/proc/thread-self/fd/");
		text_add_number(&text, (uint64_t)pin->fd);
		if (connect_to(fd, name) == 0)
			return 0;
		if (errno != ENOENT && errno != ENOTDIR)
			return -1;
	}
	if (dirfd != AT_FDCWD && path[0] != '/') {
		errno = ENOENT;
		return -1;
	}
	return connect_to(fd, path);
}

/*
 * The kernel's EPERM means that the owner, a datagram socket, talks to one peer only; a seccomp
 * filter's means nothing. That one forbids the dissolving of a connection too.
 */
static bool forbids_all(int fd)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	return connect(fd, &nobody, sizeof(nobody)) != 0;
}

static enum liveness probe(const struct pin *pin, int dirfd, const char *path)
{
	enum liveness answer = UNKNOWN;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return UNKNOWN;
	if (connect_to_pinned(fd, pin, dirfd, path) == 0 || errno == EPROTOTYPE ||
		(errno == EPERM && !forbids_all(fd) &&
			(connect_to_pinned(fd, pin, dirfd, path) == 0 || errno == EPERM)))
		answer = LIVE;
	else if (errno == ECONNREFUSED)
		answer = DEAD;
	close(fd);
	return answer;
}

enum liveness liveness_of(const struct pin *pin, int dirfd, const char *path)
{
	int saved = errno;
	enum liveness answer = probe(pin, dirfd, path);

	/* EACCES: connect wants write permission on the file. sock_diag wants none. */
	if (answer == UNKNOWN) {
		switch (sockdiag_bound(pin)) {
		case SOCKDIAG_YES:
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
