#include "entries.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static void add(struct entries *entries, const struct dirent *entry)
{
	entries->list = command_grow(entries->list, entries->count, sizeof(*entries->list));
	entries->list[entries->count++] = (struct directory_entry){
		.ino = entry->d_ino,
		.type = entry->d_type,
		.name = command_copy(entry->d_name),
	};
}

bool entries_read(struct entries *entries, int dirfd)
{
	int copy = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int error;

	*entries = (struct entries){0};
	if (!directory) {
		if (copy >= 0)
			close(copy);
		return false;
	}
	while ((errno = 0, entry = readdir(directory)))
		add(entries, entry);
	error = errno;
	closedir(directory);
	errno = error;
	return error == 0;
}

static int by_name(const void *a, const void *b)
{
	const struct directory_entry *left = a, *right = b;

	return strcmp(left->name, right->name);
}

void entries_sort(struct entries *entries)
{
	if (entries->count > 0)
		qsort(entries->list, entries->count, sizeof(*entries->list), by_name);
}

void entries_free(struct entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		free(entries->list[i].name);
	free(entries->list);
	*entries = (struct entries){0};
}

/* ---- directories ---- */

struct directory {
	char *path;
	struct entries entries; /* sorted by inode number */
};

static int by_path(const void *a, const void *b)
{
	const struct directory *left = a, *right = b;

	return strcmp(left->path, right->path);
}

/* Compares the low 32 bits, which is what sock_diag(7) reports. */
static int by_ino(const void *a, const void *b)
{
	uint32_t left = (uint32_t)((const struct directory_entry *)a)->ino;
	uint32_t right = (uint32_t)((const struct directory_entry *)b)->ino;

	return (left > right) - (left < right);
}

static void keep_sockets(struct entries *entries)
{
	size_t kept = 0;

	for (size_t i = 0; i < entries->count; i++) {
		if (entries->list[i].type == DT_SOCK || entries->list[i].type == DT_UNKNOWN)
			entries->list[kept++] = entries->list[i];
		else
			free(entries->list[i].name);
	}
	entries->count = kept;
	if (kept > 0)
		qsort(entries->list, kept, sizeof(*entries->list), by_ino);
}

static struct directory *read_directory(const char *path)
{
	struct directory *directory = command_allocate(sizeof(*directory));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	directory->path = command_copy(path);
	if (fd < 0)
		return directory;
	entries_read(&directory->entries, fd);
	close(fd);
	keep_sockets(&directory->entries);
	return directory;
}

static const struct entries *entries_of(struct directories *directories, const char *path)
{
	const struct directory wanted = {.path = (char *)path};
	struct directory **found = tfind(&wanted, &directories->tree, by_path);

	if (!found)
		found = tsearch(read_directory(path), &directories->tree, by_path);
	if (!found)
		command_die(EXIT_FAILED, "out of memory");
	return &(*found)->entries;
}

const struct directory_entry *directories_find(struct directories *directories, const char *path,
	uint32_t ino, size_t *count)
{
	const struct entries *entries = entries_of(directories, path);
	size_t low = 0, high = entries->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if ((uint32_t)entries->list[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	*count = 0;
	while (low + *count < entries->count && (uint32_t)entries->list[low + *count].ino == ino)
		++*count;
	return entries->list + low;
}

static void free_directory(void *node)
{
	struct directory *directory = node;

	entries_free(&directory->entries);
	free(directory->path);
	free(directory);
}

void directories_free(struct directories *directories)
{
	tdestroy(directories->tree, free_directory);
}
