#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "command.h"

char *proc_read_to_end(int fd, size_t *length)
{
	size_t size = 4096;
	char *content = command_allocate(size);
	ssize_t more;

	*length = 0;
	while ((more = read(fd, content + *length, size - 1 - *length)) > 0) {
		*length += (size_t)more;
		if (*length + 1 == size)
			content = command_resize(content, size *= 2);
	}
	content[*length] = '\0';
	if (more == 0)
		return content;
	free(content);
	return NULL;
}

char *proc_read(const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *content;
	int saved;

	*length = 0;
	if (fd < 0)
		return NULL;
	content = proc_read_to_end(fd, length);
	saved = errno;
	close(fd);
	errno = saved;
	return content;
}

char *proc_read_file(pid_t pid, const char *name, size_t *length)
{
	char *path = command_format("/proc/%d/%s", (int)pid, name);
	char *content = proc_read(path, length);
	int saved = errno;

	free(path);
	errno = saved;
	return content;
}
