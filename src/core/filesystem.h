/*
 * filesystem: what inode numbers, devices and locks mean on each type of file system.
 *
 * All functions are async-signal-safe and leave errno alone.
 */
#ifndef FILESYSTEM_H
#define FILESYSTEM_H

#include <stdbool.h>
#include <stdint.h>

#include "inode.h"

/* Whether another host may hold a lock on this open file. True if unknown. */
bool filesystem_may_lock_remotely(int fd);

/*
 * The superblock of a pinned socket. sock_diag(7) reports its device, which may differ from the one
 * that stat(2) reports, and only the low 32 bits of the inode number.
 */
struct superblock {
	uint32_t type; /* f_type of statfs(2); 0: unknown */
	uint32_t dev;  /* in the kernel's own encoding; valid if dev_known */
	bool dev_known;
	bool exact; /* no other inode has this device and these low 32 bits */
};

/* Describes a socket's superblock. dirfd and path lead to the socket, or to a file beside it. */
struct superblock filesystem_superblock(const struct pin *pin, int dirfd, const char *path);

/*
 * Whether `dev`, the device that stat(2) reports for a file, is known to be the superblock's. If
 * so, no other inode of the superblock has the file's number. False for every file on btrfs, and
 * for files of an overlay that reports its layers' devices and inode numbers.
 */
bool filesystem_device_matches(const struct superblock *superblock, uint64_t dev);

/* Whether this is overlayfs, whose files may have the numbers of files in a lower layer. */
bool filesystem_is_overlay(const struct superblock *superblock);

/* Whether a device, in the kernel's own encoding, is anonymous: a number without a disk. */
bool filesystem_is_anonymous_device(uint32_t dev);

/* Whether two open files are on file systems of the same type. */
bool filesystem_same_type(int a, int b);

#endif
