#include "holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "text.h"

static void add(struct holders *holders, uint32_t socket, pid_t pid)
{
	holders->list = command_grow(holders->list, holders->count, sizeof(*holders->list));
	holders->list[holders->count++] = (struct holding){.socket = socket, .pid = pid};
}

/* The number in "socket:[4711]", the link of a socket's descriptor in /proc; 0: not a socket. */
static uint32_t socket_of(int directory, const char *name)
{
	static const char prefix[] = "socket:[";
	char link[64];
	ssize_t length = readlinkat(directory, name, link, sizeof(link) - 1);
	uint64_t number;

	if (length <= 0)
		return 0;
	link[length] = '\0';
	if (strncmp(link, prefix, sizeof(prefix) - 1) != 0 ||
		!text_read_number(link + sizeof(prefix) - 1, &number))
		return 0;
	return (uint32_t)number;
}

static void add_holdings_of_process(struct holders *holders, const struct sockets *sockets,
	int proc, const char *name)
{
	char *path = command_format("%s/fd", name);
	int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	free(path);
	if (!directory) {
		if (errno == EACCES || errno == EPERM)
			holders->complete = false;
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((errno = 0, entry = readdir(directory))) {
		uint32_t socket = socket_of(dirfd(directory), entry->d_name);

		if (socket != 0 && sockets_find_number(sockets, socket))
			add(holders, socket, (pid_t)strtol(name, NULL, 10));
	}
	/* The kernel may permit opening the directory, but not reading it. */
	if (errno == EACCES || errno == EPERM)
		holders->complete = false;
	closedir(directory);
}

static int by_socket(const void *a, const void *b)
{
	const struct holding *left = a, *right = b;

	if (left->socket != right->socket)
		return left->socket > right->socket ? 1 : -1;
	return (left->pid > right->pid) - (left->pid < right->pid);
}

/* Sorts, and removes duplicates: a process may have several descriptors of one socket. */
static void sort(struct holders *holders)
{
	size_t kept = 0;

	if (holders->count == 0)
		return;
	qsort(holders->list, holders->count, sizeof(*holders->list), by_socket);
	for (size_t i = 1; i < holders->count; i++)
		if (by_socket(&holders->list[kept], &holders->list[i]) != 0)
			holders->list[++kept] = holders->list[i];
	holders->count = kept + 1;
}

void holders_load(struct holders *holders, const struct sockets *sockets)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;

	*holders = (struct holders){.complete = proc != NULL};
	if (!proc)
		return;
	while ((entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			add_holdings_of_process(holders, sockets, dirfd(proc), entry->d_name);
	closedir(proc);
	sort(holders);
}

void holders_free(struct holders *holders)
{
	free(holders->list);
	*holders = (struct holders){0};
}

const struct holding *holders_of(const struct holders *holders, uint32_t socket, size_t *count)
{
	size_t low = 0, high = holders->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (holders->list[middle].socket < socket)
			low = middle + 1;
		else
			high = middle;
	}
	*count = 0;
	while (low + *count < holders->count && holders->list[low + *count].socket == socket)
		++*count;
	return holders->list + low;
}
