/*
 * calls: the names of all system calls that kernel.c makes on this architecture. If a service's
 * SystemCallFilter= forbids one of them, the kernel may kill the service. libsockguard(7) lists
 * them for administrators; sockguard unit and sockguard check compare them with a service's filter.
 */
#ifndef CALLS_H
#define CALLS_H

#include <sys/syscall.h>

/* CALL_OF_... expands to the call that this architecture has, or to nothing. */
#if defined(SYS_newfstatat)
#define CALL_OF_STAT(X) X(newfstatat) X(fstat)
#elif defined(SYS_fstatat64)
#define CALL_OF_STAT(X) X(fstatat64) X(fstat64)
#else
#define CALL_OF_STAT(X)
#endif

#ifdef SYS_fcntl64
#define CALL_OF_FCNTL(X) X(fcntl64)
#else
#define CALL_OF_FCNTL(X) X(fcntl)
#endif

#ifdef SYS_geteuid32
#define CALL_OF_EUID(X) X(geteuid32)
#else
#define CALL_OF_EUID(X) X(geteuid)
#endif

#ifdef SYS_mmap2
#define CALL_OF_MAP(X) X(mmap2)
#else
#define CALL_OF_MAP(X) X(mmap)
#endif

#ifdef SYS_ppoll
#define CALL_OF_WAITING(X) X(ppoll) X(pselect6) X(rt_sigtimedwait)
#else
#define CALL_OF_WAITING(X) X(ppoll_time64) X(pselect6_time64) X(rt_sigtimedwait_time64)
#endif

#ifdef SYS_fstatfs64
#define CALL_OF_STATFS(X) X(fstatfs64)
#else
#define CALL_OF_STATFS(X) X(fstatfs)
#endif

#ifdef SYS_nanosleep
#define CALL_OF_SLEEP(X) X(nanosleep)
#else
#define CALL_OF_SLEEP(X) X(clock_nanosleep_time64)
#endif

#ifdef SYS_clock_gettime
#define CALL_OF_CLOCK(X) X(clock_gettime)
#else
#define CALL_OF_CLOCK(X)
#endif

#ifdef SYS_unlink
#define CALL_OF_UNLINK(X) X(unlink)
#else
#define CALL_OF_UNLINK(X)
#endif

#ifdef SYS_renameat
#define CALL_OF_RENAME(X) X(renameat)
#else
#define CALL_OF_RENAME(X)
#endif

#ifdef SYS_socketcall
#define CALL_OF_SOCKET(X) X(socketcall)
#else
#define CALL_OF_SOCKET(X)
#endif

/* clang-format off */
#define CALLS(X) \
	CALL_OF_STAT(X) CALL_OF_FCNTL(X) CALL_OF_EUID(X) CALL_OF_MAP(X) CALL_OF_WAITING(X) \
	CALL_OF_STATFS(X) CALL_OF_SLEEP(X) CALL_OF_CLOCK(X) CALL_OF_UNLINK(X) \
	CALL_OF_RENAME(X) CALL_OF_SOCKET(X) X(close) X(connect) X(fchmod) X(fchmodat) \
	X(getcwd) X(getdents64) X(getpeername) X(getpid) X(getppid) X(getsockname) X(getsockopt) \
	X(ioctl) X(kcmp) X(kill) X(munmap) X(name_to_handle_at) X(openat) X(prctl) X(pread64) X(prlimit64) \
	X(pwrite64) X(read) X(readlinkat) X(recvfrom) X(renameat2) X(rt_sigpending) \
	X(rt_sigprocmask) X(sendto) X(socket) X(statx) X(unlinkat) X(write)
/* clang-format on */

#endif
