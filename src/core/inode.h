/*
 * inode: identifies the file that a path leads to, and pins it so that its inode number is not
 * reused while we ask the kernel about it.
 *
 * All functions are async-signal-safe. Unless noted otherwise they return 0, or -1 with errno. None
 * follows a symbolic link in the last component of a path.
 */
#ifndef INODE_H
#define INODE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel.h"

/* Device and inode number, which identify a file as long as it exists or is open somewhere. */
struct file_id {
	uint64_t dev;
	uint64_t ino;
};

/*
 * The identity of a socket's inode over time. ext4 gives a freed number to the next file at once,
 * so the birth time is part of it. It is zero if the file system, or a kernel before Linux 4.11,
 * does not report it.
 */
struct inode {
	struct file_id file;
	int64_t born_sec;
	uint32_t born_nsec;
	/*
	 * A digest of the file handle, name_to_handle_at(2), if no birth time is reported. FUSE
	 * reports none, and may reuse the number of a socket that still exists. 0: unknown.
	 */
	uint64_t handle;
};

/* A socket that a path led to when it was pinned. */
struct pin {
	int fd; /* O_PATH; keeps the inode, and so its number, from being reused; -1: not pinned */
	struct inode inode;
};

/*
 * A socket path, as the program gave it and as a name in its parent directory. The directory is
 * opened once. So the check, the lock file and the call itself happen in the same directory even if
 * another thread calls chdir(2), or a directory above is renamed, in between.
 */
struct location {
	int dirfd;
	const char *path;
	int parent;       /* O_PATH; or dirfd, if the directory could not be opened */
	const char *name; /* relative to parent: the last component, or path */
};

/* The location of a path whose directory is not opened. */
static inline struct location location_of(int dirfd, const char *path)
{
	return (struct location){.dirfd = dirfd, .path = path, .parent = dirfd, .name = path};
}

bool file_same(const struct file_id *a, const struct file_id *b);
bool inode_same(const struct inode *a, const struct inode *b);

/* The device and number in the kernel's answer. */
struct file_id file_id_of(const struct kernel_file *found);

/*
 * fstatat(2) with AT_SYMLINK_NOFOLLOW. Fails with EFAULT if the path cannot be read. So after a
 * success, or any other error that a lookup returns, the program's pointer may be dereferenced.
 */
int inode_stat(int dirfd, const char *path, struct kernel_file *found);

/*
 * Identifies the socket that a path leads to, without pinning it, which takes no descriptor. Fails
 * with ENOTSOCK if it is something else, otherwise as statx(2) does.
 */
int inode_identify(int dirfd, const char *path, struct inode *inode);

/*
 * Pins the socket that a path leads to. After a success the caller must call inode_unpin. Fails
 * with ENOTSOCK if it is something else, otherwise as openat(2) or statx(2) do.
 */
int inode_pin(int dirfd, const char *path, struct pin *pin);

/* Identifies the socket inode of an O_PATH descriptor, with the errors of inode_identify. */
int inode_of_descriptor(int fd, struct inode *inode);

/* Leaves errno alone. */
void inode_unpin(struct pin *pin);

/*
 * Calls `found` for each entry of an open directory until it returns true. Returns 1 if it did, 0
 * at the end of the list, or -1 with errno as getdents64(2) does. readdir(3) would allocate memory.
 */
int inode_list_directory(int directory, bool (*found)(const char *entry, void *about), void *about);

/* The length of a path's directory part, with its last slash; 0 if it has none. */
size_t inode_directory_length(const char *path);

#endif
