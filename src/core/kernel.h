/*
 * kernel: every system call that the guard adds to a program's own. Nothing else in this library
 * enters the kernel, but for the program's own calls, which guard.c performs.
 *
 * The calls are made by number, past libc, for three reasons. Another preloaded library must not
 * answer in the kernel's place (fakeroot, torsocks). libc's function may be newer than the oldest
 * libc we run with (fstat: glibc 2.33), or lay its structures out in its own way. And a process
 * that has restricted itself by seccomp must not be ended by a call it never made: a call that its
 * filters do not allow is not made, and fails with ENOSYS, see filter.h.
 *
 * All of it is async-signal-safe, is no cancellation point, and fails with -1 and errno as the
 * system call does.
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

/* A libc without renameat2 has no words for its flags; the values are the kernel's (linux/fs.h). */
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#define RENAME_WHITEOUT  4
#endif

/* libc's syscall(2), or the one behind ours where the library exports that name itself. */
extern long (*kernel_syscall)(long number, ...);

/*
 * Did the call fail because a seccomp filter forbids it? ENOSYS is what kernel.c says of a filter
 * it knows. A filter that was there before exec answers with an errno of its own choice: EPERM as a
 * rule, which fstatat(2), getsockopt(2) and socket(2) never give otherwise.
 */
bool kernel_is_forbidden(int error);

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

/* statx(2): the device and the id of the mount a file was found in. ENOSYS before Linux 5.8. */
struct kernel_mount {
	uint64_t dev; /* as stat(2) encodes it */
	uint64_t id;
};
int kernel_statx_mount(int dirfd, const char *path, int flags, struct kernel_mount *mount);

/* fstatfs(2): the type of the file system alone, in the 32 bits of linux/magic.h. */
int kernel_fstatfs(int fd, uint32_t *type);

/*
 * A digest of the file handle, name_to_handle_at(2): the same for the same file alone, even if its
 * number is used again. 0 where the file system has none or it is not permitted.
 */
uint64_t kernel_handle(int dirfd, const char *path, int flags);

/* Files. The flags are libc's, which are the kernel's; descriptors are always close-on-exec. */
int kernel_open(int dirfd, const char *path, int flags, unsigned int mode);
void kernel_close(int fd); /* leaves errno alone: nobody could do anything about a failure */
ssize_t kernel_read(int fd, void *bytes, size_t size);
ssize_t kernel_write(int fd, const void *bytes, size_t size);
ssize_t kernel_pread(int fd, void *bytes, size_t size, uint32_t at);
ssize_t kernel_pwrite(int fd, const void *bytes, size_t size, uint32_t at);
int kernel_fchmod(int fd, unsigned int mode);
ssize_t kernel_getdents(int fd, void *entries, size_t size);
ssize_t kernel_readlink(const char *path, char *target, size_t size);

/* The length with the NUL, as the system call counts it. */
ssize_t kernel_getcwd(char *path, size_t size);

/* unlinkat(2) without flags; or unlink(2) where only that is allowed and means the same. */
int kernel_unlink(int dirfd, const char *path);

/* renameat2(2); by renameat(2) without flags, where the kernel has that alone. */
int kernel_rename(int olddir, const char *oldpath, int newdir, const char *newpath,
	unsigned int flags);

/*
 * F_OFD_SETLK and F_OFD_GETLK of some bytes, fcntl(2). Returns the type of lock that is there now,
 * or -1.
 */
int kernel_lock(int fd, int command, short type, uint32_t first, uint32_t count);

/* Would a filter let lock files be looked at, locked and removed? Asked before one is created. */
bool kernel_permits_locks(void);

/*
 * Would a filter let this process find out which of its descriptors is a certain socket? Without
 * that, it cannot show that a socket is its own.
 */
bool kernel_permits_proofs(void);

/* F_DUPFD_CLOEXEC and F_GETFD, fcntl(2). */
int kernel_duplicate(int fd, int lowest);
int kernel_descriptor_flags(int fd);

/* Sockets, always close-on-exec. */
int kernel_socket(int domain, int type, int protocol);
int kernel_connect(int fd, const void *address, socklen_t length);
int kernel_getsockopt(int fd, int option, void *value, socklen_t *size); /* of SOL_SOCKET */
int kernel_getsockname(int fd, void *address, socklen_t *length);
int kernel_getpeername(int fd, void *address, socklen_t *length);
ssize_t kernel_sendto(int fd, const void *bytes, size_t size, int flags, const void *address,
	socklen_t length);
ssize_t kernel_recv(int fd, void *bytes, size_t size, int flags);
int kernel_ioctl(int fd, unsigned long request);

/* poll(2) and select(2) of one descriptor, without waiting. */
int kernel_poll(struct pollfd *one);
int kernel_select_readable(int count, void *set);

/* Signals of the calling thread. */
int kernel_sigmask(int how, const sigset_t *set, sigset_t *old);
int kernel_sigpending(sigset_t *set);
int kernel_take_signal(const sigset_t *set); /* sigtimedwait(2), without waiting */

/* Can these 8 bytes be read? False with EFAULT where not; with ENOSYS where that is not told. */
bool kernel_can_read(uintptr_t bytes);

void kernel_sleep(uint32_t nanoseconds);
uint64_t kernel_seconds(void);          /* since the epoch; 0: not told */
uint64_t kernel_uptime(void);           /* seconds since boot, suspended ones too; 0: not told */
uint64_t kernel_descriptor_limit(void); /* soft RLIMIT_NOFILE; UINT64_MAX: not told */

/* Fills 16 bytes with the thread's name; empty where that is not told. */
void kernel_comm(char *name);

/* Fresh memory from mmap(2), or NULL; and back. */
void *kernel_map(size_t size);
void kernel_unmap(void *memory, size_t size);

uid_t kernel_euid(void);
/* getpid(2) and getppid(2). 0: not told, or no parent in this namespace. */
pid_t kernel_pid(void);
pid_t kernel_parent(void);

/* Is there a process of this number in our namespace, by kill(2)? True if that is not told. */
bool kernel_process_exists(pid_t pid);

/* Is this live process another one with the same memory, as of vfork(2)? kcmp(2). */
enum kernel_same { KERNEL_SAME, KERNEL_DIFFERENT, KERNEL_NOT_TOLD };
enum kernel_same kernel_same_memory(pid_t a, pid_t b);

#endif
