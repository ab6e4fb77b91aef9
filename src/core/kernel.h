/*
 * kernel: every system call that the guard adds to the program's own. Nothing else in the library
 * enters the kernel, except for the program's own calls, which src/preload makes.
 *
 * The calls are made by number and not through libc; kernel.c gives the reason for each exception.
 * Another preloaded library must not answer in the kernel's place (fakeroot, torsocks). libc's
 * function may be newer than the oldest libc that we support (fstat: glibc 2.33), or use structures
 * of its own.
 *
 * A process that has restricted itself with seccomp must not be killed for a call of the guard. So
 * a call that the process's filters do not allow is not made, and fails with ENOSYS, see filter.h.
 *
 * All functions are async-signal-safe and are no cancellation points. Unless noted otherwise they
 * fail with -1 and errno as the system call does.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

/* A libc without renameat2 does not define its flags; these are the kernel's (linux/fs.h). */
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#define RENAME_WHITEOUT  4
#endif

/* libc's syscall(2). The library exports that name too, so it sets this to the next definition. */
extern long (*kernel_syscall)(long number, ...);

/*
 * Whether this errno means that a seccomp filter forbids the call. kernel.c returns ENOSYS for
 * filters that it knows. A filter from before exec returns an errno of its choice, usually EPERM,
 * which fstatat(2), getsockopt(2) and socket(2) never return otherwise.
 */
bool kernel_is_forbidden(int error);

/* The fields of stat(2) and statx(2) that we use. */
struct kernel_file {
	uint64_t dev; /* as stat(2) encodes it */
	uint64_t ino;
	uint64_t size;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid;
	uint32_t born_nsec; /* both zero if the birth time is unknown */
	int64_t born_sec;
};

/* fstatat(2). Reports no birth time. */
int kernel_stat(int dirfd, const char *path, int flags, struct kernel_file *file);

/* fstat(2). */
int kernel_fstat(int fd, struct kernel_file *file);

/* statx(2), with the birth time if the file system has one. ENOSYS before Linux 4.11. */
int kernel_statx(int dirfd, const char *path, int flags, struct kernel_file *file);

/* statx(2): the inode and the mount id of a file. ENOSYS before Linux 5.8. */
struct kernel_mount {
	uint64_t dev; /* as stat(2) encodes it */
	uint64_t ino;
	uint64_t id;
};
int kernel_statx_mount(int dirfd, const char *path, int flags, struct kernel_mount *mount);

/* fstatfs(2): only the type of the file system, one of linux/magic.h. */
int kernel_fstatfs(int fd, uint32_t *type);

/*
 * A digest of the file handle, name_to_handle_at(2). Two files have different handles even if the
 * second reuses the first one's inode number. 0 if the file system has none, or it is not
 * permitted. The flags are those of name_to_handle_at(2); others are ignored.
 */
uint64_t kernel_handle(int dirfd, const char *path, int flags);

/* Files. The flags are those of open(2); descriptors are always close-on-exec. */
int kernel_open(int dirfd, const char *path, int flags, unsigned int mode);
void kernel_close(int fd); /* leaves errno alone: no caller could handle a failure */
ssize_t kernel_read(int fd, void *bytes, size_t size);
ssize_t kernel_write(int fd, const void *bytes, size_t size);
ssize_t kernel_pread(int fd, void *bytes, size_t size, uint32_t at);
ssize_t kernel_pwrite(int fd, const void *bytes, size_t size, uint32_t at);
int kernel_fchmod(int fd, unsigned int mode);
int kernel_chmod(const char *path, unsigned int mode); /* fchmodat(2); follows symbolic links */
ssize_t kernel_getdents(int fd, void *entries, size_t size);
ssize_t kernel_readlink(const char *path, char *target, size_t size);

/* getcwd(2). The length includes the NUL, as in the system call. */
ssize_t kernel_getcwd(char *path, size_t size);

/* unlinkat(2) without flags; or unlink(2), if a filter allows only that and it means the same. */
int kernel_unlink(int dirfd, const char *path);

/* renameat2(2). Without flags renameat(2), since old kernels have only that. */
int kernel_rename(int olddir, const char *oldpath, int newdir, const char *newpath,
	unsigned int flags);

/*
 * fcntl(2) with F_OFD_SETLK, F_OFD_GETLK or F_SETLK, on `count` bytes from `first` on; count 0: on
 * all bytes from `first` on. Returns l_type as the kernel left it: for F_OFD_GETLK the type of a
 * conflicting lock, or F_UNLCK. -1 with errno on failure.
 */
int kernel_lock(int fd, int command, short type, uint32_t first, uint32_t count);

/* Whether the filters allow the guard to examine, lock and unlink a lock file. */
bool kernel_permits_lockfiles(void);

/*
 * Whether the filters allow the calls that find out which of the process's descriptors is a certain
 * socket. Without them a process cannot prove that a socket is its own.
 */
bool kernel_permits_socket_search(void);

/* F_DUPFD_CLOEXEC and F_GETFD, fcntl(2). */
int kernel_duplicate(int fd, int lowest);
int kernel_descriptor_flags(int fd);

/* Sockets, always close-on-exec. */
int kernel_socket(int domain, int type, int protocol);
int kernel_connect(int fd, const void *address, socklen_t length);
int kernel_getsockopt(int fd, int option, void *value, socklen_t *size); /* at level SOL_SOCKET */
int kernel_getsockname(int fd, void *address, socklen_t *length);
int kernel_getpeername(int fd, void *address, socklen_t *length);
ssize_t kernel_sendto(int fd, const void *bytes, size_t size, int flags, const void *address,
	socklen_t length);
ssize_t kernel_recv(int fd, void *bytes, size_t size, int flags);
int kernel_ioctl(int fd, unsigned long request);

/* poll(2) of one descriptor, and select(2) for reading. Neither waits. */
int kernel_poll(struct pollfd *one);
int kernel_select_readable(int count, void *set);

/* Signals of the calling thread. */
int kernel_sigmask(int how, const sigset_t *set, sigset_t *old);
int kernel_sigpending(sigset_t *set);
int kernel_consume_signal(const sigset_t *set); /* sigtimedwait(2), without waiting */

/*
 * Whether as many bytes as a signal set has (_NSIG / 8) can be read at this address. If false,
 * errno is EFAULT, or ENOSYS if unknown.
 */
bool kernel_can_read(uintptr_t bytes);

void kernel_sleep(uint32_t nanoseconds);
uint64_t kernel_seconds(void);          /* since the epoch; 0: unknown */
uint64_t kernel_uptime(void);           /* seconds since boot, with time suspended; 0: unknown */
uint64_t kernel_descriptor_limit(void); /* soft RLIMIT_NOFILE; UINT64_MAX: unknown */

/* Copies the thread's name to 16 bytes; empty if unknown. */
void kernel_comm(char *name);

/* mmap(2) of zeroed private memory, or NULL; and munmap(2). */
void *kernel_map(size_t size);
void kernel_unmap(void *memory, size_t size);

uid_t kernel_euid(void);
/* getpid(2) and getppid(2). 0: unknown, or no parent in this PID namespace. */
pid_t kernel_pid(void);
pid_t kernel_parent(void);

/* Whether a process with this pid exists in our PID namespace, by kill(2). True if unknown. */
bool kernel_process_exists(pid_t pid);

/* Whether two processes share their memory, as after vfork(2): kcmp(2). */
enum kernel_same { KERNEL_SAME, KERNEL_DIFFERENT, KERNEL_UNKNOWN };
enum kernel_same kernel_same_memory(pid_t a, pid_t b);

#endif
