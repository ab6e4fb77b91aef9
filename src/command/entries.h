/*
 * names: what directories hold. A directory may have a million entries, and many of the sockets we
 * look at may have been bound there: so each is read once.
 */
#ifndef ENTRIES_H
#define ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name {
	uint64_t ino;
	unsigned char type; /* as readdir(3) has it: DT_SOCK, DT_UNKNOWN, ... */
	char *name;
};

struct names {
	struct name *list;
	size_t count;
};

/* Reads all entries of an open directory, in no order. False with errno if that fails midway. */
bool names_read(struct names *names, int dirfd);
void names_sort(struct names *names);
void names_free(struct names *names);

/* Directories that were read; starts with NULL. */
struct directories {
	void *tree;
};

/*
 * The entries of the directory that may be sockets and whose inode number ends in these 32 bits:
 * returns the first, and sets how many there are. None if the directory cannot be read.
 */
const struct name *directories_find(struct directories *directories, const char *path, uint32_t ino,
	size_t *count);
void directories_free(struct directories *directories);

#endif
