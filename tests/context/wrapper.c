/*
 * neighbour: another preloaded library that wraps calls the guard wraps, and hands them on to the
 * next library, as fakeroot or a tracer does.
 *
 * NEIGHBOUR_EARLY=P: its constructor unlinks P, and tells errno. NEIGHBOUR_BACK=P: its unlink and
 * bind, on their way to the next, call back in at the front door: they unlink P, and bind a socket
 * to it. NEIGHBOUR_CLEARS=1: its bind unlinks the path first, at the front door. NEIGHBOUR_WAITS=P:
 * its unlink or unlinkat opens the FIFO P.in, where somebody waits for it to get there, and then
 * P.out, which somebody opens to let it go on: whatever the guard holds around the call is held
 * meanwhile.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))
#define NEXT(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

/* Not again from within, or it would come back for ever. NOLINTNEXTLINE(misc-no-recursion) */
static void call_back(void)
{
	static bool within;
	const char *path = getenv("NEIGHBOUR_BACK");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int saved = errno;

	if (!path || within)
		return;
	within = true;
	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (unlink(path) != 0 && errno != ENOENT)
		fprintf(stderr, "neighbour: unlink: %s\n", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		fprintf(stderr, "neighbour: bind: %s\n", strerror(errno));
	close(fd);
	within = false;
	errno = saved;
}

static void meet(const char *path, const char *suffix, int flags)
{
	char name[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 8];
	int fd;

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	fd = open(name, flags | O_CLOEXEC);
	if (flags == O_WRONLY && write(fd, "!", 1) != 1)
		fprintf(stderr, "neighbour: %s: %s\n", name, strerror(errno));
	close(fd);
}

/* Not in the guard's own removal of a lock file. */
static void wait_in_between(const char *name)
{
	const char *path = getenv("NEIGHBOUR_WAITS");
	int saved = errno;

	if (path && !strstr(name, ".sockguard")) {
		meet(path, ".in", O_WRONLY);
		meet(path, ".out", O_RDONLY);
	}
	errno = saved;
}

static __attribute__((constructor)) void on_load(void)
{
	const char *path = getenv("NEIGHBOUR_EARLY");

	if (path && unlink(path) != 0)
		fprintf(stderr, "neighbour: %d\n", errno);
}

/* NOLINTNEXTLINE(misc-no-recursion) */
EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	call_back();
	if (getenv("NEIGHBOUR_CLEARS") && address->sa_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)(const void *)address)->sun_path);
	return NEXT(bind)(fd, address, length);
}

/* NOLINTNEXTLINE(misc-no-recursion) */
EXPORT int unlink(const char *path)
{
	call_back();
	wait_in_between(path);
	return NEXT(unlink)(path);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
	wait_in_between(path);
	return NEXT(unlinkat)(dirfd, path, flags);
}

EXPORT int rename(const char *path, const char *newpath)
{
	return NEXT(rename)(path, newpath);
}

EXPORT int link(const char *path, const char *newpath)
{
	return NEXT(link)(path, newpath);
}
