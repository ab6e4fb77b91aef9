#include "address.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel.h"

static bool is_readable(uintptr_t bytes, size_t length)
{
	const uintptr_t page = 4096; /* or a multiple */
	size_t set = _NSIG / 8;

	/*
	 * Each check reads `set` bytes. If the range is shorter, one check that includes it
	 * suffices: of the bytes from its start, or of those up to its end. A longer range touches
	 * at most two pages, so its first and its last bytes suffice.
	 */
	if (length < set)
		return kernel_can_read(bytes) || kernel_can_read(bytes + length - set);
	return kernel_can_read(bytes) && (bytes / page == (bytes + length - 1) / page ||
						 kernel_can_read(bytes + length - set));
}

/* If a seccomp filter forbids the question, the family in the address decides. */
static bool may_be_unix(int fd)
{
	int domain = 0;
	socklen_t size = sizeof(domain);

	if (kernel_getsockopt(fd, SO_DOMAIN, &domain, &size) == 0)
		return domain == AF_UNIX;
	return kernel_is_forbidden(errno);
}

bool address_copy_path(int fd, const struct sockaddr *address, socklen_t length, char *path)
{
	struct sockaddr_un copy = {0};
	const size_t start = offsetof(struct sockaddr_un, sun_path);

	if (!may_be_unix(fd) || length <= start || length > sizeof(copy) ||
		!is_readable((uintptr_t)address, length))
		return false;
	memcpy(&copy, address, length);
	if (copy.sun_family != AF_UNIX)
		return false;
	/* sun_path may be full, without a NUL: unix_mkname_bsd in net/unix/af_unix.c. */
	memcpy(path, copy.sun_path, sizeof(copy.sun_path));
	path[sizeof(copy.sun_path)] = '\0';
	return path[0] != '\0' && path[strlen(path) - 1] != '/';
}
