/*
 * inode: what a name leads to, pinned so that it stays what it was while we ask about it.
 *
 * All of it is async-signal-safe. Names are never followed when they are symlinks: a symlink is a
 * name of its own.
 */
#ifndef INODE_H
#define INODE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel.h"

/* A file as long as somebody keeps it open: device and number. */
struct file_id {
	uint64_t dev;
	uint64_t ino;
};

/*
 * A socket's inode over time. ext4 gives a freed number to the next file at once, so the birth time
 * is part of it (zero where the file system or the kernel, before 4.11, does not tell it).
 */
struct inode {
	struct file_id file;
	int64_t born_sec;
	uint32_t born_nsec;
	/*
	 * Where no birth time is told, as by FUSE, which may use the number of a socket again while
	 * that lives: a digest of the file handle, name_to_handle_at(2). 0: not known.
	 */
	uint64_t handle;
};

/* What a name leads to at this moment. */
struct pin {
	int fd; /* O_PATH; keeps the inode and so its number from being reused */
	struct inode inode;
};

/*
 * A socket path, as the program gave it and as a name in its directory. The directory is opened
 * once, so that look, lock file and act are in the same one whatever another thread's chdir(2) or
 * a rename above does meanwhile.
 */
struct place {
	int dirfd;
	const char *path;
	int at;           /* O_PATH, or dirfd where the directory could not be opened */
	const char *name; /* in `at`: the last component, or path */
};

/* A path that is to be looked at as it is given. */
static inline struct place place_of(int dirfd, const char *path)
{
	return (struct place){.dirfd = dirfd, .path = path, .at = dirfd, .name = path};
}

bool file_same(const struct file_id *a, const struct file_id *b);
bool inode_same(const struct inode *a, const struct inode *b);

/* The identity in the kernel's answer. */
struct file_id file_of(const struct kernel_file *found);

/*
 * fstatat(2) of the name itself. Returns 0 or -1 with errno as fstatat has it: EFAULT where the
 * path cannot be read, so that after a success it can.
 */
int inode_look(int dirfd, const char *path, struct kernel_file *found);

/*
 * Tells which socket a name leads to, without holding on to it: needs no descriptor. Returns 0; or
 * -1 with errno: ENOTSOCK where it leads to something else, otherwise as statx(2) has it.
 */
int inode_identify(int dirfd, const char *path, struct inode *inode);

/*
 * Pins the socket a name leads to. Returns 0, and the caller owes inode_unpin; or -1 with errno:
 * ENOTSOCK where it leads to something else, otherwise as openat(2) or statx(2) have it.
 */
int inode_pin(int dirfd, const char *path, struct pin *pin);

/* The same of an open descriptor. */
int inode_of_descriptor(int fd, struct inode *inode);

/* Leaves errno alone. */
void inode_unpin(struct pin *pin);

/*
 * Calls back for each entry of an open directory until that says true. Returns 1 if it did, 0 at
 * the end of the list, or -1 with errno as getdents64(2). Not readdir(3), which allocates.
 */
int inode_list(int directory, bool (*found)(const char *entry, void *about), void *about);

/* How many bytes of a path name the directory, the last slash included; 0: the current one. */
size_t inode_directory(const char *path);

#endif
