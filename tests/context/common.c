#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
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

const char *live(const char *path, const char *away)
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

int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	if (!dir)
		die("opendir", "/proc/self/fd");
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

void name_path(char path[PATH_SIZE], const char *directory, const char *word, int number)
{
	if (snprintf(path, PATH_SIZE, "%s/%s%d", directory, word, number) >= PATH_SIZE)
		die("too long", path);
}
