/*
 * kernel: the system calls that are made by number, past libc. There are three reasons for it:
 * libc's function is newer than the oldest libc we run with (fstat is of glibc 2.33, the fcntl of
 * 32-bit programs with large files of 2.28), its structures differ from libc to libc, or another
 * preloaded library answers what the program is to believe and not what is so (fakeroot).
 *
 * All of it is async-signal-safe, and fails with -1 and errno as the system call does.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>
#include <sys/types.h>

/* What stat(2) tells of a file, as far as we want to know it. */
struct kernel_file {
	uint64_t dev; /* as stat(2) encodes it */
	uint64_t ino;
	uint64_t size;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid;
	uint32_t born_nsec; /* with born_sec zero where it is not told */
	int64_t born_sec;
};

/* fstatat(2), which tells no birth. */
int kernel_stat(int dirfd, const char *path, int flags, struct kernel_file *file);

/* fstat(2). */
int kernel_fstat(int fd, struct kernel_file *file);

/* statx(2), with the birth where the file system knows it. ENOSYS before Linux 4.11. */
int kernel_statx(int dirfd, const char *path, int flags, struct kernel_file *file);

/*
 * F_OFD_SETLK and F_OFD_GETLK of some bytes, fcntl(2). Returns the type of lock that is there now,
 * or -1.
 */
int kernel_lock(int fd, int command, short type, uint32_t first, uint32_t count);

/* F_DUPFD_CLOEXEC, fcntl(2). */
int kernel_duplicate(int fd, int lowest);

/* F_GETFD, fcntl(2). */
int kernel_descriptor_flags(int fd);

/* geteuid(2). */
uid_t kernel_euid(void);

#endif
