#include "entries.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static void add(struct names *names, const struct dirent *entry)
{
	if ((names->count & (names->count - 1)) == 0) /* a power of two: the list is full */
		names->list = command_resize(names->list,
			(names->count > 0 ? 2 * names->count : 1) * sizeof(*names->list));
	names->list[names->count++] = (struct name){
		.ino = entry->d_ino,
		.type = entry->d_type,
		.name = command_copy(entry->d_name),
	};
}

bool names_read(struct names *names, int dirfd)
{
	int copy = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int error;

	*names = (struct names){0};
	if (!directory) {
		if (copy >= 0)
			close(copy);
		return false;
	}
	while ((errno = 0, entry = readdir(directory)))
		add(names, entry);
	error = errno;
	closedir(directory);
	errno = error;
	return error == 0;
}

static int by_name(const void *a, const void *b)
{
	const struct name *left = a, *right = b;

	return strcmp(left->name, right->name);
}

void names_sort(struct names *names)
{
	if (names->count > 0)
		qsort(names->list, names->count, sizeof(*names->list), by_name);
}

void names_free(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i].name);
	free(names->list);
	*names = (struct names){0};
}

/* ---- directories ---- */

struct directory {
	char *path;
	struct names names; /* by inode number */
};

static int by_path(const void *a, const void *b)
{
	const struct directory *left = a, *right = b;

	return strcmp(left->path, right->path);
}

/* sock_diag has 32 bits of it. */
static int by_ino(const void *a, const void *b)
{
	uint32_t left = (uint32_t)((const struct name *)a)->ino;
	uint32_t right = (uint32_t)((const struct name *)b)->ino;

	return (left > right) - (left < right);
}

static void keep_sockets(struct names *names)
{
	size_t kept = 0;

	for (size_t i = 0; i < names->count; i++) {
		if (names->list[i].type == DT_SOCK || names->list[i].type == DT_UNKNOWN)
			names->list[kept++] = names->list[i];
		else
			free(names->list[i].name);
	}
	names->count = kept;
	if (kept > 0)
		qsort(names->list, kept, sizeof(*names->list), by_ino);
}

static struct directory *read_directory(const char *path)
{
	struct directory *directory = command_allocate(sizeof(*directory));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	directory->path = command_copy(path);
	if (fd < 0)
		return directory;
	names_read(&directory->names, fd);
	close(fd);
	keep_sockets(&directory->names);
	return directory;
}

static const struct names *names_of(struct directories *directories, const char *path)
{
	const struct directory wanted = {.path = (char *)path};
	struct directory **found = tfind(&wanted, &directories->tree, by_path);

	if (!found)
		found = tsearch(read_directory(path), &directories->tree, by_path);
	if (!found)
		command_die(EXIT_FAILED, "out of memory");
	return &(*found)->names;
}

const struct name *directories_find(struct directories *directories, const char *path, uint32_t ino,
	size_t *count)
{
	const struct names *names = names_of(directories, path);
	size_t low = 0, high = names->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if ((uint32_t)names->list[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	*count = 0;
	while (low + *count < names->count && (uint32_t)names->list[low + *count].ino == ino)
		++*count;
	return names->list + low;
}

static void free_directory(void *node)
{
	struct directory *directory = node;

	names_free(&directory->names);
	free(directory->path);
	free(directory);
}

void directories_free(struct directories *directories)
{
	tdestroy(directories->tree, free_directory);
	directories->tree = NULL;
}
