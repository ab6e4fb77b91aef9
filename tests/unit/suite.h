/*
 * suite: helpers for unit tests: a main() that prints TAP, a scratch directory for each case,
 * sockets in every state, and processes that hold them.
 *
 * Check runs each case in a new process, and kills the children that it leaves behind, so a case
 * that fails need not clean up. The working directory of a case is its scratch directory, so paths
 * are short and relative.
 */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* Each test program defines this function. suite.c defines main(). */
Suite *suite_of_module(void);

/* Creates test cases that each run in a scratch directory, with libc's functions resolved. */
TCase *suite_cases(Suite *suite, const char *name);

/* Adds a case that needs root. For another user, prints that it is skipped. */
#define ADD_ROOT_TEST(cases, test)                                                                 \
	do {                                                                                       \
		if (suite_is_root(#test))                                                          \
			tcase_add_test(cases, test);                                               \
	} while (0)
bool suite_is_root(const char *test);

/*
 * Whether this process may create namespaces of these kinds (CLONE_NEW...). If not, prints that the
 * cases that need them are skipped.
 */
bool suite_can_unshare(int kinds, const char *cases);

/* Whether process_vm_readv(2) works. If not, prints that the whole program is skipped. */
bool suite_can_read_memory(void);

/*
 * Whether stat(2) reports the device by which /proc/locks names the files of a scratch directory.
 * On btrfs and some overlays it does not, and this prints that the cases are skipped.
 */
bool suite_has_named_devices(const char *cases);

/* The ID of a user that owns no file in a scratch directory. */
#define STRANGER 54321

/* ---- errno ---- */

#define ERRNO_SENTINEL 4711 /* not a valid errno */

/* Evaluates to the call's value. The call must leave errno unchanged. */
#define KEEPS_ERRNO(call)                                                                          \
	({                                                                                         \
		errno = ERRNO_SENTINEL;                                                            \
		__typeof__(call) kept_ = (call);                                                   \
		suite_expect_sentinel(__LINE__);                                                   \
		kept_;                                                                             \
	})

/* The same for a call that returns no value. */
#define KEEPS_ERRNO_VOID(call)                                                                     \
	do {                                                                                       \
		errno = ERRNO_SENTINEL;                                                            \
		call;                                                                              \
		suite_expect_sentinel(__LINE__);                                                   \
	} while (0)

/* A function, because a failed check prints the expansion of the macros in its arguments. */
void suite_expect_sentinel(int line);

#define ASSERT_FAILS(call, error)                                                                  \
	do {                                                                                       \
		errno = ERRNO_SENTINEL;                                                            \
		int failed_ = (call);                                                              \
		int errno_ = errno;                                                                \
		ck_assert_int_eq(failed_, -1);                                                     \
		ck_assert_int_eq(errno_, error);                                                   \
	} while (0)

/* The call must succeed and leave errno unchanged. */
#define ASSERT_SUCCEEDS(call)                                                                      \
	do {                                                                                       \
		errno = ERRNO_SENTINEL;                                                            \
		int worked_ = (call);                                                              \
		int errno_ = errno;                                                                \
		ck_assert_int_eq(worked_, 0);                                                      \
		ck_assert_int_eq(errno_, ERRNO_SENTINEL);                                          \
	} while (0)

/* ---- files and descriptors ---- */

bool exists(const char *path); /* does not follow a symlink */

/* Creates or truncates a file and writes a string to it. */
void write_file(const char *path, const char *content);

/* Makes a relative path absolute, in a static buffer that the next call overwrites. */
const char *absolute_path(const char *path);

/* The number of open descriptors, plus a constant: compare it with an earlier result. */
int count_descriptors(void);

/* Opens descriptors up to the limit. Returns one of them, which the caller may close. */
int use_up_descriptors(void);

/*
 * Installs a seccomp filter that makes this system call fail with that error in this process.
 * qemu-user does not support filters, so cases that use them are in test cases named "forbidden".
 */
void forbid_with(int call, int error);
void forbid(int call); /* with EPERM */

/*
 * The library gets no more memory: mmap(2) with the flags that it uses fails with ENOMEM. The
 * runtime of a sanitizer maps most of its memory with other flags.
 */
void forbid_memory(void);

/*
 * From now on, each system call of kernel.c goes to this function, which returns the result, and
 * sets errno if that is -1. It may make the call itself, with make_call.
 */
void replace_system_calls(long (*replacement)(long number, const long arguments[6]));
long make_call(long number, const long arguments[6]);

/* The numbers of the system calls that kernel.c makes, which depend on the architecture. */
#if defined(SYS_newfstatat)
#define CALL_FSTATAT SYS_newfstatat
#define CALL_FSTAT   SYS_fstat
#elif defined(SYS_fstatat64)
#define CALL_FSTATAT SYS_fstatat64
#define CALL_FSTAT   SYS_fstat64
#endif
#ifdef SYS_mmap2
#define CALL_MMAP SYS_mmap2
#else
#define CALL_MMAP SYS_mmap
#endif
#ifdef SYS_fstatfs64
#define CALL_STATFS    SYS_fstatfs64
#define CALL_STATFS_AT 2 /* index of the result argument */
#else
#define CALL_STATFS    SYS_fstatfs
#define CALL_STATFS_AT 1
#endif
#ifdef SYS_fcntl64
#define CALL_LOCK SYS_fcntl64
#else
#define CALL_LOCK SYS_fcntl
#endif
#ifdef SYS_nanosleep
#define CALL_SLEEP SYS_nanosleep
#else
#define CALL_SLEEP SYS_clock_nanosleep_time64
#endif

/*
 * Replaces results of the system calls that kernel.c makes, in this process. Where a field is zero,
 * the kernel's own result remains.
 */
struct fake_results {
	uint32_t filesystem; /* type of the file system that fstatfs(2) reports for every file */
	uint32_t minor;      /* minor number of the device, 0:MINOR, that statx(2) reports */
	uint64_t mount;      /* mount ID that statx(2) reports for anything but a directory */
	bool refuses;        /* connect(2) fails with ECONNREFUSED */
	bool unprivileged;   /* SIOCUNIXFILE fails with EPERM */
};
void fake_kernel(const struct fake_results *results);

#define EXT4_TYPE      0xef53
#define XFS_TYPE       0x58465342
#define BTRFS_TYPE     0x9123683e
#define OVERLAYFS_TYPE 0x794c7630
#define NFS_TYPE       0x6969

/* ---- sockets; type is SOCK_STREAM, SOCK_SEQPACKET or SOCK_DGRAM ---- */

/* These return the descriptor. */

int bound_socket(const char *path, int type);

/* Binds a socket and, unless the type is SOCK_DGRAM, listens. */
int listening_socket(const char *path, int type);

/* Connects a new socket to the path. */
int connected_socket(const char *path, int type);

/* Creates a stale path: binds a socket to it and closes the socket. */
void make_stale(const char *path);

/* ---- processes ---- */

/* Starts a child and returns when act has returned in it. The child waits for kill_child(). */
pid_t start_child(void (*act)(const void *about), const void *about);

/* Starts a child that binds a socket to the path and, unless it is SOCK_DGRAM, listens. */
pid_t start_owner(const char *path, int type);

/* Kills the child with SIGKILL, and returns when its descriptors are closed. */
void kill_child(pid_t pid);

/* Runs act in a child and returns what act returned, 0 to 255. */
int run_in_child(int (*act)(const void *about), const void *about);

/*
 * Runs act in a child that clone(2) creates with these flags, and returns the child's wait status.
 * The child has one thread: ThreadSanitizer's runtime adds one to each child of fork(2).
 */
int run_in_clone(int flags, int (*act)(void *about), const void *about);

/* The same as run_in_child(), as the user STRANGER. */
int run_as_stranger(int (*act)(const void *about), const void *about);

#endif
