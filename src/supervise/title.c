#include "title.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t size_of(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t size = 0;
	char bytes[4096];
	ssize_t length;

	while ((length = read(fd, bytes, sizeof(bytes))) > 0)
		size += (size_t)length;
	if (fd >= 0)
		close(fd);
	return size;
}

/*
 * The kernel shows the memory in which the arguments were passed. If its last byte is no longer
 * NUL, the command line extends into the environment, which follows in memory, up to the first NUL.
 */
void title_set(pid_t program)
{
	size_t arguments = size_of("/proc/self/cmdline");
	size_t available = arguments + size_of("/proc/self/environ");
	char title[64];

	if (arguments == 0)
		return;
	clearenv();
	snprintf(title, sizeof(title), "sockguard: supervisor of %d", (int)program);
	memset(program_invocation_name, '\0', arguments);
	snprintf(program_invocation_name, available, "%s", title);
}
