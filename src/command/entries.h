/*
 * entries: the entries of directories. Each directory is read once, because it may have a million
 * entries, and many of the sockets that we inspect may have been bound there.
 */
#ifndef ENTRIES_H
#define ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct directory_entry {
	uint64_t ino;
	unsigned char type; /* d_type of readdir(3): DT_SOCK, DT_UNKNOWN, ... */
	char *name;
};

struct entries {
	struct directory_entry *list;
	size_t count;
};

/* Reads all entries of an open directory, unsorted. Returns false with errno on failure. */
bool entries_read(struct entries *entries, int dirfd);

/* Sorts by name. */
void entries_sort(struct entries *entries);
void entries_free(struct entries *entries);

/* The directories that have been read. Initialize tree with NULL. */
struct directories {
	void *tree;
};

/*
 * Finds the entries that may be sockets and whose inode numbers have these low 32 bits. Returns the
 * first of these adjacent entries, and sets *count to how many there are; 0 if the directory cannot
 * be read.
 */
const struct directory_entry *directories_find(struct directories *directories, const char *path,
	uint32_t ino, size_t *count);
void directories_free(struct directories *directories);

#endif
