/*
 * This file includes the kernel's own headers, whose struct stat has the layout that the system
 * call writes. libc's fcntl.h and sys/stat.h define structures of the same names, so it cannot
 * include them as well.
 */
#include "kernel.h"

#include <asm/stat.h>
#include <asm/statfs.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/kcmp.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filter.h"

/* 32-bit kernels have a 64-bit call and structure beside the old ones. */
#if defined(SYS_newfstatat)
typedef struct stat stat_result;
#define SYS_STAT_AT SYS_newfstatat
#define SYS_STAT_FD SYS_fstat
#elif defined(SYS_fstatat64)
typedef struct stat64 stat_result;
#define SYS_STAT_AT SYS_fstatat64
#define SYS_STAT_FD SYS_fstat64
#else /* the newest architectures have only statx */
#define SYS_STAT_FD SYS_statx
#endif

#ifdef SYS_fstatfs64
#define SYS_STATFS_FD SYS_fstatfs64
#else
#define SYS_STATFS_FD SYS_fstatfs
#endif

#ifdef SYS_fcntl64
typedef struct flock64 lock_argument;
#define SYS_FCNTL SYS_fcntl64
#else
typedef struct flock lock_argument;
#define SYS_FCNTL SYS_fcntl
#endif

#ifdef SYS_geteuid32
#define SYS_EUID SYS_geteuid32
#else
#define SYS_EUID SYS_geteuid
#endif

#ifdef SYS_mmap2
#define SYS_MAP SYS_mmap2
#else
#define SYS_MAP SYS_mmap
#endif

/* The timeout is always zero: 16 zero bytes in both layouts of struct timespec. */
#ifdef SYS_ppoll
#define SYS_POLL           SYS_ppoll
#define SYS_SELECT         SYS_pselect6
#define SYS_CONSUME_SIGNAL SYS_rt_sigtimedwait
#else /* the newest 32-bit architectures */
#define SYS_POLL           SYS_ppoll_time64
#define SYS_SELECT         SYS_pselect6_time64
#define SYS_CONSUME_SIGNAL SYS_rt_sigtimedwait_time64
#endif

/* libc adds this flag in 32-bit programs, and so must we. */
#ifdef __LP64__
#define LARGE 0
#else
#define LARGE O_LARGEFILE
#endif

#define KERNEL_SIGSET (_NSIG / 8)

long (*kernel_syscall)(long number, ...) = syscall;

bool kernel_is_forbidden(int error)
{
	return error == ENOSYS || error == EPERM;
}

static bool allowed(long number, const uint64_t *arguments)
{
	if (!filter_is_known() || filter_allows(number, arguments))
		return true;
	errno = ENOSYS;
	return false;
}

static long call(long number, const uint64_t *arguments)
{
	if (!allowed(number, arguments))
		return -1;
	return kernel_syscall(number, (long)arguments[0], (long)arguments[1], (long)arguments[2],
		(long)arguments[3], (long)arguments[4], (long)arguments[5]);
}

/* Arguments as compiled code passes them: the upper bits of an int are zero. */
#define INT(value)        ((uint64_t)(unsigned int)(value))
#define POINTER(value)    ((uint64_t)(uintptr_t)(value))
#define CALL(number, ...) call(number, (const uint64_t[6]){__VA_ARGS__})

#ifdef SYS_STAT_AT
static int copy_stat(long result, const stat_result *found, struct kernel_file *file)
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
	stat_result found;

	return copy_stat(CALL(SYS_STAT_AT, INT(dirfd), POINTER(path), POINTER(&found), INT(flags)),
		&found, file);
}

int kernel_fstat(int fd, struct kernel_file *file)
{
	stat_result found;

	return copy_stat(CALL(SYS_STAT_FD, INT(fd), POINTER(&found)), &found, file);
}
#else
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
/* In the encoding of stat(2): new_encode_dev in the kernel's include/linux/kdev_t.h. */
static uint64_t device(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (uint64_t)major << 8 | (uint64_t)(minor & ~0xffU) << 12;
}

int kernel_statx(int dirfd, const char *path, int flags, struct kernel_file *file)
{
	struct statx found;

	if (CALL(SYS_statx, INT(dirfd), POINTER(path), INT(flags),
		    INT(STATX_BASIC_STATS | STATX_BTIME), POINTER(&found)) != 0)
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

/* Since Linux 5.8. Older headers do not name the field stx_mnt_id, which is at this offset. */
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000
#endif
enum { STX_MNT_ID = 0x90 };

int kernel_statx_mount(int dirfd, const char *path, int flags, struct kernel_mount *mount)
{
	struct statx found;

	if (CALL(SYS_statx, INT(dirfd), POINTER(path), INT(flags), INT(STATX_INO | STATX_MNT_ID),
		    POINTER(&found)) != 0)
		return -1;
	*mount = (struct kernel_mount){
		.dev = device(found.stx_dev_major, found.stx_dev_minor), .ino = found.stx_ino};
	memcpy(&mount->id, (const char *)&found + STX_MNT_ID, sizeof(mount->id));
	errno = found.stx_mask & STATX_MNT_ID ? errno : ENOSYS;
	return found.stx_mask & STATX_MNT_ID ? 0 : -1;
}
#else /* the headers are older than Linux 4.11 */
int kernel_statx(int dirfd, const char *path, int flags, struct kernel_file *file)
{
	(void)dirfd, (void)path, (void)flags, (void)file;
	errno = ENOSYS;
	return -1;
}

int kernel_statx_mount(int dirfd, const char *path, int flags, struct kernel_mount *mount)
{
	(void)dirfd, (void)path, (void)flags, (void)mount;
	errno = ENOSYS;
	return -1;
}
#endif

int kernel_fstatfs(int fd, uint32_t *type)
{
#ifdef SYS_fstatfs64
	struct statfs64 found;
	int result = (int)CALL(SYS_STATFS_FD, INT(fd), sizeof(found), POINTER(&found));
#else
	struct statfs found;
	int result = (int)CALL(SYS_STATFS_FD, INT(fd), POINTER(&found));
#endif

	if (result == 0)
		*type = (uint32_t)found.f_type;
	return result;
}

uint64_t kernel_handle(int dirfd, const char *path, int flags)
{
	struct {
		uint32_t size;
		int32_t type;
		unsigned char bytes[128]; /* MAX_HANDLE_SZ */
	} handle = {.size = sizeof(handle.bytes)};
	int mount;
	uint64_t digest = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	if (CALL(SYS_name_to_handle_at, INT(dirfd), POINTER(path), POINTER(&handle),
		    POINTER(&mount), INT(flags & (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW))) != 0)
		return 0;
	for (uint32_t i = 0; i < handle.size; i++)
		digest = (digest ^ handle.bytes[i]) * UINT64_C(0x100000001b3);
	return digest;
}

/* ---- files ---- */

int kernel_open(int dirfd, const char *path, int flags, unsigned int mode)
{
	return (int)CALL(SYS_openat, INT(dirfd), POINTER(path), INT(flags | O_CLOEXEC | LARGE),
		mode);
}

void kernel_close(int fd)
{
	int saved = errno;

	CALL(SYS_close, INT(fd));
	errno = saved;
}

ssize_t kernel_read(int fd, void *bytes, size_t size)
{
	return CALL(SYS_read, INT(fd), POINTER(bytes), size);
}

ssize_t kernel_write(int fd, const void *bytes, size_t size)
{
	return CALL(SYS_write, INT(fd), POINTER(bytes), size);
}

/* Through libc: each 32-bit architecture passes the halves of an offset differently. */
ssize_t kernel_pread(int fd, void *bytes, size_t size, uint32_t at)
{
	const uint64_t arguments[6] = {INT(fd), POINTER(bytes), size, at};

	return allowed(SYS_pread64, arguments) ? pread(fd, bytes, size, at) : -1;
}

ssize_t kernel_pwrite(int fd, const void *bytes, size_t size, uint32_t at)
{
	const uint64_t arguments[6] = {INT(fd), POINTER(bytes), size, at};

	return allowed(SYS_pwrite64, arguments) ? pwrite(fd, bytes, size, at) : -1;
}

int kernel_fchmod(int fd, unsigned int mode)
{
	return (int)CALL(SYS_fchmod, INT(fd), mode);
}

int kernel_chmod(const char *path, unsigned int mode)
{
	return (int)CALL(SYS_fchmodat, INT(AT_FDCWD), POINTER(path), mode);
}

ssize_t kernel_getdents(int fd, void *entries, size_t size)
{
	return CALL(SYS_getdents64, INT(fd), POINTER(entries), size);
}

ssize_t kernel_readlink(const char *path, char *target, size_t size)
{
	return CALL(SYS_readlinkat, INT(AT_FDCWD), POINTER(path), POINTER(target), size);
}

ssize_t kernel_getcwd(char *path, size_t size)
{
	return CALL(SYS_getcwd, POINTER(path), size);
}

int kernel_unlink(int dirfd, const char *path)
{
	const uint64_t arguments[6] = {INT(dirfd), POINTER(path)};

#ifdef SYS_unlink
	if (!allowed(SYS_unlinkat, arguments) && (dirfd == AT_FDCWD || path[0] == '/'))
		return (int)CALL(SYS_unlink, POINTER(path));
#endif
	return (int)call(SYS_unlinkat, arguments);
}

int kernel_rename(int olddir, const char *oldpath, int newdir, const char *newpath,
	unsigned int flags)
{
#ifdef SYS_renameat
	if (flags == 0)
		return (int)CALL(SYS_renameat, INT(olddir), POINTER(oldpath), INT(newdir),
			POINTER(newpath));
#endif
	return (int)CALL(SYS_renameat2, INT(olddir), POINTER(oldpath), INT(newdir),
		POINTER(newpath), flags);
}

int kernel_lock(int fd, int command, short type, uint32_t first, uint32_t count)
{
	lock_argument lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count};

	return CALL(SYS_FCNTL, INT(fd), INT(command), POINTER(&lock)) == 0 ? lock.l_type : -1;
}

bool kernel_permits_lockfiles(void)
{
	const uint64_t lock[6] = {0, INT(F_OFD_SETLK)};
	const uint64_t unlink[6] = {INT(AT_FDCWD)};
	const uint64_t look[6] = {0};
	int saved = errno;
	bool permits = allowed(SYS_FCNTL, lock) && allowed(SYS_unlinkat, unlink) &&
		       allowed(SYS_STAT_FD, look);

	errno = saved;
	return permits;
}

int kernel_duplicate(int fd, int lowest)
{
	return (int)CALL(SYS_FCNTL, INT(fd), INT(F_DUPFD_CLOEXEC), INT(lowest));
}

int kernel_descriptor_flags(int fd)
{
	return (int)CALL(SYS_FCNTL, INT(fd), INT(F_GETFD));
}

/* ---- sockets ---- */

/* Before Linux 4.3, 32-bit x86 and s390 kernels have only socketcall(2). */
static long socket_call(long number, int which, const uint64_t *arguments)
{
	long result = call(number, arguments);

	(void)which;
#ifdef SYS_socketcall
	if (result == -1 && errno == ENOSYS) {
		long words[6];

		for (int i = 0; i < 6; i++)
			words[i] = (long)arguments[i];
		result = CALL(SYS_socketcall, INT(which), POINTER(words));
	}
#endif
	return result;
}
#define SOCKET_CALL(number, which, ...) socket_call(number, which, (const uint64_t[6]){__VA_ARGS__})

int kernel_socket(int domain, int type, int protocol)
{
	return (int)SOCKET_CALL(SYS_socket, 1, INT(domain), INT(type | SOCK_CLOEXEC),
		INT(protocol));
}

int kernel_connect(int fd, const void *address, socklen_t length)
{
	return (int)SOCKET_CALL(SYS_connect, 3, INT(fd), POINTER(address), length);
}

int kernel_getsockopt(int fd, int option, void *value, socklen_t *size)
{
	return (int)SOCKET_CALL(SYS_getsockopt, 15, INT(fd), SOL_SOCKET, INT(option),
		POINTER(value), POINTER(size));
}

int kernel_getsockname(int fd, void *address, socklen_t *length)
{
	return (int)SOCKET_CALL(SYS_getsockname, 6, INT(fd), POINTER(address), POINTER(length));
}

int kernel_getpeername(int fd, void *address, socklen_t *length)
{
	return (int)SOCKET_CALL(SYS_getpeername, 7, INT(fd), POINTER(address), POINTER(length));
}

ssize_t kernel_sendto(int fd, const void *bytes, size_t size, int flags, const void *address,
	socklen_t length)
{
	return SOCKET_CALL(SYS_sendto, 11, INT(fd), POINTER(bytes), size, INT(flags),
		POINTER(address), length);
}

ssize_t kernel_recv(int fd, void *bytes, size_t size, int flags)
{
	return SOCKET_CALL(SYS_recvfrom, 12, INT(fd), POINTER(bytes), size, INT(flags));
}

bool kernel_permits_socket_search(void)
{
	const uint64_t none[6] = {0};
	const uint64_t type[6] = {0, SOL_SOCKET, SO_TYPE};
	const uint64_t netlink[6] = {AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 4 /* sock_diag */};
	int saved = errno;
	bool permits = allowed(SYS_getsockname, none) && allowed(SYS_getsockopt, type) &&
		       allowed(SYS_getpeername, none) && allowed(SYS_STAT_FD, none) &&
		       allowed(SYS_STATFS_FD, none) && allowed(SYS_socket, netlink) &&
		       allowed(SYS_sendto, none) && allowed(SYS_recvfrom, none);

	errno = saved;
	return permits;
}

int kernel_ioctl(int fd, unsigned long request)
{
	return (int)CALL(SYS_ioctl, INT(fd), request);
}

int kernel_poll(struct pollfd *one)
{
	const uint64_t at_once[2] = {0};

	return (int)CALL(SYS_POLL, POINTER(one), 1, POINTER(at_once));
}

int kernel_select_readable(int count, void *set)
{
	const uint64_t at_once[2] = {0};

	return (int)CALL(SYS_SELECT, INT(count), POINTER(set), 0, 0, POINTER(at_once));
}

/* ---- signals ---- */

/* Through libc, which never blocks the signals that it uses itself. */
int kernel_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	const uint64_t arguments[6] = {INT(how), POINTER(set), POINTER(old), KERNEL_SIGSET};

	return allowed(SYS_rt_sigprocmask, arguments) ? sigprocmask(how, set, old) : -1;
}

int kernel_sigpending(sigset_t *set)
{
	return (int)CALL(SYS_rt_sigpending, POINTER(set), KERNEL_SIGSET);
}

int kernel_consume_signal(const sigset_t *set)
{
	const uint64_t at_once[2] = {0};

	return (int)CALL(SYS_CONSUME_SIGNAL, POINTER(set), 0, POINTER(at_once), KERNEL_SIGSET);
}

/*
 * rt_sigprocmask copies the signal set before it checks `how` (kernel/signal.c). So with an invalid
 * `how` it fails with EFAULT if the set cannot be read, and with EINVAL if it can.
 */
bool kernel_can_read(uintptr_t bytes)
{
	return CALL(SYS_rt_sigprocmask, INT(-1), bytes, 0, KERNEL_SIGSET) != 0 && errno == EINVAL;
}

/* ---- time, limits, memory, identity ---- */

void kernel_sleep(uint32_t nanoseconds)
{
#ifdef SYS_nanosleep
	const long time[2] = {0, (long)nanoseconds};

	CALL(SYS_nanosleep, POINTER(time));
#else
	const int64_t time[2] = {0, nanoseconds};

	CALL(SYS_clock_nanosleep_time64, CLOCK_MONOTONIC, 0, POINTER(time));
#endif
}

/* Through libc, which usually reads the clock in the vDSO, without a system call. */
static uint64_t seconds_of(clockid_t clock)
{
	struct timespec now = {0};
#ifdef SYS_clock_gettime
	const uint64_t arguments[6] = {INT(clock), POINTER(&now)};

	if (!allowed(SYS_clock_gettime, arguments))
		return 0;
#endif
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec;
}

uint64_t kernel_seconds(void)
{
	return seconds_of(CLOCK_REALTIME);
}

uint64_t kernel_uptime(void)
{
	return seconds_of(CLOCK_BOOTTIME);
}

uint64_t kernel_descriptor_limit(void)
{
	uint64_t limits[2] = {UINT64_MAX, UINT64_MAX};

	return CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, POINTER(limits)) == 0 ? limits[0]
									      : UINT64_MAX;
}

void kernel_comm(char *name)
{
	memset(name, 0, 16);
	CALL(SYS_prctl, PR_GET_NAME, POINTER(name));
	name[15] = '\0';
}

/* Through libc: on s390, the system call takes its arguments from memory. */
void *kernel_map(size_t size)
{
	const uint64_t arguments[6] = {
		0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, INT(-1), 0};
	void *memory = MAP_FAILED;

	if (allowed(SYS_MAP, arguments))
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
	return memory == MAP_FAILED ? NULL : memory;
}

void kernel_unmap(void *memory, size_t size)
{
	CALL(SYS_munmap, POINTER(memory), size);
}

uid_t kernel_euid(void)
{
	return (uid_t)CALL(SYS_EUID, 0);
}

pid_t kernel_pid(void)
{
	long pid = CALL(SYS_getpid, 0);

	return pid < 0 ? 0 : (pid_t)pid;
}

pid_t kernel_parent(void)
{
	long pid = CALL(SYS_getppid, 0);

	return pid < 0 ? 0 : (pid_t)pid;
}

enum kernel_same kernel_same_memory(pid_t a, pid_t b)
{
	long order = CALL(SYS_kcmp, INT(a), INT(b), KCMP_VM);

	if (order < 0 && errno != ESRCH) /* ESRCH: a process that has ended shares no memory */
		return KERNEL_UNKNOWN;
	return order == 0 ? KERNEL_SAME : KERNEL_DIFFERENT;
}

bool kernel_process_exists(pid_t pid)
{
	int saved = errno;
	bool exists = CALL(SYS_kill, INT(pid), 0) == 0 || errno != ESRCH;

	errno = saved;
	return exists;
}
