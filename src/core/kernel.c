/*
 * The kernel's own headers, whose struct stat is laid out as the system call writes it. Next to
 * them libc's fcntl.h and sys/stat.h, which have structures of these names too, cannot be.
 */
#include "kernel.h"

#include <asm/stat.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 32-bit kernels have a call and a structure of 64 bits next to those of old. */
#if defined(SYS_newfstatat)
typedef struct stat stat_told;
#define SYS_STAT_AT SYS_newfstatat
#define SYS_STAT_FD SYS_fstat
#elif defined(SYS_fstatat64)
typedef struct stat64 stat_told;
#define SYS_STAT_AT SYS_fstatat64
#define SYS_STAT_FD SYS_fstat64
#endif

#ifdef SYS_fcntl64
typedef struct flock64 lock_told;
#define SYS_FCNTL SYS_fcntl64
#else
typedef struct flock lock_told;
#define SYS_FCNTL SYS_fcntl
#endif

#ifdef SYS_geteuid32
#define SYS_EUID SYS_geteuid32
#else
#define SYS_EUID SYS_geteuid
#endif

#ifdef SYS_STAT_AT
static int told(long result, const stat_told *found, struct kernel_file *file)
{
	if (result != 0)
		return -1;
	*file = (struct kernel_file){
		.dev = found->st_dev,
		.ino = found->st_ino,
		.size = (uint64_t)found->st_size,
		.mode = found->st_mode,
		.nlink = (uint32_t)found->st_nlink,
		.uid = found->st_uid,
		.born_nsec = 0,
		.born_sec = 0,
	};
	return 0;
}

int kernel_stat(int dirfd, const char *path, int flags, struct kernel_file *file)
{
	stat_told found;

	return told(syscall(SYS_STAT_AT, dirfd, path, &found, flags), &found, file);
}

int kernel_fstat(int fd, struct kernel_file *file)
{
	stat_told found;

	return told(syscall(SYS_STAT_FD, fd, &found), &found, file);
}
#else /* the youngest architectures have statx alone */
int kernel_stat(int dirfd, const char *path, int flags, struct kernel_file *file)
{
	return kernel_statx(dirfd, path, flags, file);
}

int kernel_fstat(int fd, struct kernel_file *file)
{
	return kernel_statx(fd, "", AT_EMPTY_PATH, file);
}
#endif

#if defined(SYS_statx) && defined(STATX_BTIME)
/* As stat(2) has it: new_encode_dev in the kernel's include/linux/kdev_t.h. */
static uint64_t device(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (uint64_t)major << 8 | (uint64_t)(minor & ~0xffU) << 12;
}

int kernel_statx(int dirfd, const char *path, int flags, struct kernel_file *file)
{
	struct statx found;

	if (syscall(SYS_statx, dirfd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &found) != 0)
		return -1;
	*file = (struct kernel_file){
		.dev = device(found.stx_dev_major, found.stx_dev_minor),
		.ino = found.stx_ino,
		.size = found.stx_size,
		.mode = found.stx_mode,
		.nlink = found.stx_nlink,
		.uid = found.stx_uid,
	};
	if (found.stx_mask & STATX_BTIME) {
		file->born_sec = found.stx_btime.tv_sec;
		file->born_nsec = found.stx_btime.tv_nsec;
	}
	return 0;
}
#else /* the headers are older than Linux 4.11 */
int kernel_statx(int dirfd, const char *path, int flags, struct kernel_file *file)
{
	(void)dirfd, (void)path, (void)flags, (void)file;
	errno = ENOSYS;
	return -1;
}
#endif

int kernel_lock(int fd, int command, short type, uint32_t first, uint32_t count)
{
	lock_told lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count};

	return syscall(SYS_FCNTL, fd, command, &lock) == 0 ? lock.l_type : -1;
}

int kernel_duplicate(int fd, int lowest)
{
	return (int)syscall(SYS_FCNTL, fd, F_DUPFD_CLOEXEC, lowest);
}

int kernel_descriptor_flags(int fd)
{
	return (int)syscall(SYS_FCNTL, fd, F_GETFD);
}

uid_t kernel_euid(void)
{
	return (uid_t)syscall(SYS_EUID);
}
