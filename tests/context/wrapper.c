/*
 * wrapper: another preloaded library that wraps the calls that the guard wraps, and passes them
 * to the next library, as fakeroot or a tracer does.
 *
 * WRAPPER_EARLY=P: its constructor unlinks P, and prints errno if that fails. WRAPPER_BACK=P:
 * before they call the next library, its unlink and bind call the first library's wrappers to
 * unlink P and bind a socket to it. WRAPPER_CLEARS=1: its bind first unlinks the path, with the
 * first library's wrapper. WRAPPER_WAITS=P: its unlink and unlinkat open the FIFO P.in, on which
 * the test waits for this moment, and then the FIFO P.out, which the test opens to resume the call.
 * The guard holds its mutex in the meantime.
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

/* Does nothing in a nested call, to avoid endless recursion. NOLINTNEXTLINE(misc-no-recursion) */
static void call_back(void)
{
	static bool nested;
	const char *path = getenv("WRAPPER_BACK");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int saved = errno;

	if (!path || nested)
		return;
	nested = true;
	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (unlink(path) != 0 && errno != ENOENT)
		fprintf(stderr, "wrapper: unlink: %s\n", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		fprintf(stderr, "wrapper: bind: %s\n", strerror(errno));
	close(fd);
	nested = false;
	errno = saved;
}

static void open_fifo(const char *path, const char *suffix, int flags)
{
	char name[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 8];
	int fd;

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	fd = open(name, flags | O_CLOEXEC);
	if (flags == O_WRONLY && write(fd, "!", 1) != 1)
		fprintf(stderr, "wrapper: %s: %s\n", name, strerror(errno));
	close(fd);
}

/* Waits for the test, except when the guard removes a lock file. */
static void wait_for_test(const char *name)
{
	const char *path = getenv("WRAPPER_WAITS");
	int saved = errno;

	if (path && !strstr(name, ".sockguard")) {
		open_fifo(path, ".in", O_WRONLY);
		open_fifo(path, ".out", O_RDONLY);
	}
	errno = saved;
}

static __attribute__((constructor)) void on_load(void)
{
	const char *path = getenv("WRAPPER_EARLY");

	if (path && unlink(path) != 0)
		fprintf(stderr, "wrapper: %d\n", errno);
}

/* NOLINTNEXTLINE(misc-no-recursion) */
EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	call_back();
	if (getenv("WRAPPER_CLEARS") && address->sa_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)(const void *)address)->sun_path);
	return NEXT(bind)(fd, address, length);
}

/* NOLINTNEXTLINE(misc-no-recursion) */
EXPORT int unlink(const char *path)
{
	call_back();
	wait_for_test(path);
	return NEXT(unlink)(path);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
	wait_for_test(path);
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
