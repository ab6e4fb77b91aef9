#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void die(const char *what, const char *path)
{
	dprintf(STDERR_FILENO, "%s %s%s%s\n", what, path, errno ? ": " : "",
		errno ? strerror(errno) : "");
	_exit(1);
}

int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("socket", "");
	return fd;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
	return address;
}

int bind_to(int fd, const char *path)
{
	struct sockaddr_un address = address_of(path);

	return bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

int connect_to(int fd, const char *path)
{
	struct sockaddr_un address = address_of(path);

	return connect(fd, (const struct sockaddr *)&address, sizeof(address));
}

const char *run_socket_life(const char *path, const char *away)
{
	int saved = errno;
	int fd = new_socket();
	const char *failed = NULL;

	if (bind_to(fd, path) != 0)
		failed = "bind";
	else if (rename(path, away) != 0)
		failed = "rename";
	else if (link(away, path) != 0)
		failed = "link";
	else if (unlink(path) != 0 || unlink(away) != 0)
		failed = "unlink";
	if (failed)
		saved = errno;
	close(fd);
	errno = saved;
	return failed;
}

bool is_supervised(void)
{
	return getenv("SUPERVISED") != NULL; /* NOLINT(concurrency-mt-unsafe): it never changes */
}

int rounds_of(int rounds)
{
	return is_supervised() && rounds >= 10 ? rounds / 10 : rounds;
}

/* Returns whether the descriptor is a claim on a lock file that has been unlinked. */
static bool is_unused_claim(int table, const char *number)
{
	static const char suffix[] = ".sockguard (deleted)";
	char target[PATH_SIZE + sizeof(suffix)];
	ssize_t length = readlinkat(table, number, target, sizeof(target));

	return length >= (ssize_t)sizeof(suffix) &&
	       memcmp(target + length - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1) == 0;
}

int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	int count = 0;

	if (!dir)
		die("opendir", "/proc/self/fd");
	while ((entry = readdir(dir))) // NOLINT(concurrency-mt-unsafe): a stream of its own
		if (!is_supervised() || !is_unused_claim(dirfd(dir), entry->d_name))
			count++;
	closedir(dir);
	return count;
}

void name_path(char path[PATH_SIZE], const char *directory, const char *word, int number)
{
	if (snprintf(path, PATH_SIZE, "%s/%s%d", directory, word, number) >= PATH_SIZE)
		die("too long", path);
}
