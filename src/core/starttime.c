#include "starttime.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "kernel.h"
#include "text.h"

/* The 22nd field. The second is the command in parentheses, which may contain any bytes. */
uint64_t starttime_in(const char *stat)
{
	const char *at = strrchr(stat, ')');
	uint64_t ticks = 0;

	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		text_read_number(at + 1, &ticks);
	return ticks;
}

uint64_t starttime_of(pid_t id)
{
	char stat[512]; /* the fields up to the 22nd take less */
	struct text path = text_start(stat, sizeof(stat));
	int saved = errno;
	ssize_t length = -1;
	int fd;

	text_add(&path, "/proc/");
	text_add_number(&path, (uint64_t)id);
	text_add(&path, "/stat");
	fd = kernel_open(AT_FDCWD, stat, O_RDONLY, 0);
	if (fd >= 0) {
		length = kernel_pread(fd, stat, sizeof(stat) - 1, 0);
		kernel_close(fd);
	}
	stat[length > 0 ? length : 0] = '\0';
	errno = saved;
	return starttime_in(stat);
}
