/*
 * suite: what the unit tests stand on: a main that speaks TAP, a scratch directory a case, sockets
 * in every state, and the processes that hold them.
 *
 * Check runs each case in a process of its own and kills what that leaves behind, so a case that
 * fails need not clean up. The working directory of a case is its scratch directory: names are
 * short and relative.
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

/* Each program has one, and suite.c has the main. */
Suite *suite_of_room(void);

/* Cases in a scratch directory of their own, with the real functions of libc resolved. */
TCase *suite_cases(Suite *suite, const char *name);

/* A case that must change its user. Left out, and said so, where we are not root. */
#define ADD_ROOT_TEST(cases, test)                                                                 \
	do {                                                                                       \
		if (suite_is_root(#test))                                                          \
			tcase_add_test(cases, test);                                               \
	} while (0)
bool suite_is_root(const char *test);

/* Nobody in particular, to whom nothing in a scratch directory belongs. */
#define STRANGER 54321

/* ---- errno ---- */

#define MARK 4711 /* no error there is */

/* The value of a call that promises to leave errno alone. */
#define KEEPS_ERRNO(call)                                                                          \
	({                                                                                         \
		errno = MARK;                                                                      \
		__typeof__(call) kept_ = (call);                                                   \
		suite_expect_mark(__LINE__);                                                       \
		kept_;                                                                             \
	})

/* The same for a call without a value. */
#define KEEPS_ERRNO_VOID(call)                                                                     \
	do {                                                                                       \
		errno = MARK;                                                                      \
		call;                                                                              \
		suite_expect_mark(__LINE__);                                                       \
	} while (0)

/* A function, for the macros' text not to end up in the messages of others. */
void suite_expect_mark(int line);

#define ASSERT_FAILS(call, error)                                                                  \
	do {                                                                                       \
		errno = MARK;                                                                      \
		int failed_ = (call);                                                              \
		int errno_ = errno;                                                                \
		ck_assert_int_eq(failed_, -1);                                                     \
		ck_assert_int_eq(errno_, error);                                                   \
	} while (0)

/* Succeeds, and leaves errno alone. */
#define ASSERT_WORKS(call)                                                                         \
	do {                                                                                       \
		errno = MARK;                                                                      \
		int worked_ = (call);                                                              \
		int errno_ = errno;                                                                \
		ck_assert_int_eq(worked_, 0);                                                      \
		ck_assert_int_eq(errno_, MARK);                                                    \
	} while (0)

/* ---- files and descriptors ---- */

bool exists(const char *path); /* of the name itself, symlink or not */

/* A file with these bytes. */
void write_file(const char *path, const char *content);

/* The name as it is from the root. In a static buffer, good until the next call. */
const char *absolute(const char *path);

int open_descriptors(void);

/* Leaves none to be had. Returns one that may be closed again. */
int use_up_descriptors(void);

/*
 * From now on this system call fails so in this process, as by a seccomp filter of others. Not
 * under qemu-user, which knows no filters: cases that need one are in test cases "forbidden".
 */
void forbid_with(int call, int error);
void forbid(int call); /* with EPERM */

/* The calls of kernel_stat, kernel_fstat, kernel_fstatfs and kernel_lock, and mmap. */
#if defined(SYS_newfstatat)
#define CALL_LOOK SYS_newfstatat
#define CALL_STAT SYS_fstat
#elif defined(SYS_fstatat64)
#define CALL_LOOK SYS_fstatat64
#define CALL_STAT SYS_fstat64
#endif
#ifdef SYS_mmap2
#define CALL_MAP SYS_mmap2
#else
#define CALL_MAP SYS_mmap
#endif
#ifdef SYS_fstatfs64
#define CALL_STATFS    SYS_fstatfs64
#define CALL_STATFS_AT 2 /* the argument that is filled */
#else
#define CALL_STATFS    SYS_fstatfs
#define CALL_STATFS_AT 1
#endif
#ifdef SYS_fcntl64
#define CALL_LOCK SYS_fcntl64
#else
#define CALL_LOCK SYS_fcntl
#endif

/*
 * What the kernel says to kernel.c from now on in this process, in place of the truth. Fields of
 * zero leave that.
 */
struct pretence {
	uint32_t filesystem; /* that every file is on: the type that fstatfs(2) reports, */
	uint32_t minor;      /* the anonymous device that statx(2) does, */
	uint64_t mount;      /* and the mount of all that is no directory */
	bool refuses;        /* connect(2) fails with ECONNREFUSED */
	bool unprivileged;   /* SIOCUNIXFILE fails with EPERM */
};
void pretend(const struct pretence *pretence);

#define EXT4_TYPE      0xef53
#define XFS_TYPE       0x58465342
#define BTRFS_TYPE     0x9123683e
#define OVERLAYFS_TYPE 0x794c7630
#define NFS_TYPE       0x6969

/* ---- sockets; type is SOCK_STREAM, SOCK_SEQPACKET or SOCK_DGRAM ---- */

int bound(const char *path, int type);

/* Bound and, if that is not SOCK_DGRAM, listening. */
int listening(const char *path, int type);

/* A client connected to a listening socket. */
int connected(const char *path, int type);

/* The name of a socket that is no more. */
void make_stale(const char *path);

/* ---- processes ---- */

/* A child that has done what it is to do when this returns, and then waits to be ended. */
pid_t start(void (*act)(const void *about), const void *about);

/* A child that has bound a socket to a name, and listens. */
pid_t start_owner(const char *path, int type);

/* Ends it as a crash would, and returns when all it held is released. */
void end(pid_t pid);

/* What act returns in a child of its own, 0 to 255. */
int in_child(int (*act)(const void *about), const void *about);

/* The same under another user. */
int as_stranger(int (*act)(const void *about), const void *about);

#endif
