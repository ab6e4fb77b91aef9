/*
 * filesystem: what a file's inode number, device and locks mean, by the type of its file system.
 *
 * All of it is async-signal-safe and leaves errno alone.
 */
#ifndef FILESYSTEM_H
#define FILESYSTEM_H

#include <stdbool.h>
#include <stdint.h>

#include "inode.h"

/* Can another host hold a lock on this open file? True also if that is not known. */
bool filesystem_locks_remotely(int fd);

/*
 * The superblock of a pinned socket. sock_diag(7) reports its device, which stat(2) may not, and
 * the low 32 bits of the inode number.
 */
struct superblock {
	uint32_t type; /* statfs(2)'s; 0: not known */
	uint32_t dev;  /* in the kernel's own encoding, */
	bool dev_known;
	bool exact; /* device and low bits are known to be this inode's alone */
};

/* dirfd and path name the socket, or any other file of its directory. */
struct superblock filesystem_superblock(const struct pin *pin, int dirfd, const char *path);

/* Is it one that shows the files of others as its own, with their numbers? */
bool filesystem_is_overlay(const struct superblock *superblock);

/* A device in the kernel's own encoding: is it one that only a number stands for, and no disk? */
bool filesystem_is_anonymous(uint32_t dev);

/* Are two open files on file systems of one type? */
bool filesystem_same_type(int a, int b);

#endif
