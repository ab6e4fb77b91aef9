/*
 * interpose: the door. Every libc name this library exports, and nothing else.
 *
 * A call goes to its rule in guard.c, or straight to libc where the guard is disabled.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "filter.h"
#include "guard.h"
#include "held.h"
#include "libc.h"
#include "owned.h"
#include "report.h"
#include "self.h"

/* Of Linux 5.0. */
#ifndef SECCOMP_FILTER_FLAG_NEW_LISTENER
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1UL << 3)
#endif

#define EXPORT __attribute__((visibility("default")))

static atomic_bool loaded;

static void load(void)
{
	libc_resolve();
	report_load();
	config_load(report_setting);
	if (!config.disabled)
		owned_adopt_inherited();
	atomic_store_explicit(&loaded, true, memory_order_release);
}

/* Constructors of libraries loaded before us may call in earlier; they run one after the other. */
static bool guarding(void)
{
	if (!atomic_load_explicit(&loaded, memory_order_acquire))
		load();
	return !config.disabled;
}

static void after_fork_in_child(void)
{
	held_after_fork_in_child();
	self_forked();
}

static __attribute__((constructor)) void on_load(void)
{
	if (guarding())
		pthread_atfork(held_before_fork, held_after_fork_in_parent, after_fork_in_child);
}

static int perform_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	return libc.bind(fd, address, length);
}

EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	const struct bind_call call = {perform_bind, fd, address, length};

	return guarding() ? guard_bind(&call) : perform_bind(fd, address, length);
}

/*
 * The rules hand a call on as it came, or with its names in directories they have opened: then it
 * is made by the function that takes a directory.
 */
static bool in_working_directory(const struct call *call)
{
	return call->dirfd == AT_FDCWD && call->newdir == AT_FDCWD;
}

static int perform_unlink(const struct call *call)
{
	return call->dirfd == AT_FDCWD ? libc.unlink(call->path)
				       : libc.unlinkat(call->dirfd, call->path, 0);
}

EXPORT int unlink(const char *path)
{
	struct call call = {"unlink", perform_unlink, AT_FDCWD, path, 0, NULL, 0};

	return guarding() ? guard_unlink(&call) : perform_unlink(&call);
}

static int perform_unlinkat(const struct call *call)
{
	return libc.unlinkat(call->dirfd, call->path, (int)call->flags);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
	struct call call = {
		"unlinkat", perform_unlinkat, dirfd, path, 0, NULL, (unsigned int)flags};

	/* With AT_REMOVEDIR it takes directories only; other flags are for libc to refuse. */
	return guarding() && flags == 0 ? guard_unlink(&call) : perform_unlinkat(&call);
}

static int perform_remove(const struct call *call)
{
	return call->dirfd == AT_FDCWD ? libc.remove(call->path)
				       : libc.unlinkat(call->dirfd, call->path, 0);
}

EXPORT int remove(const char *path)
{
	struct call call = {"remove", perform_remove, AT_FDCWD, path, 0, NULL, 0};

	return guarding() ? guard_unlink(&call) : perform_remove(&call);
}

static int perform_rename(const struct call *call)
{
	return in_working_directory(call)
		       ? libc.rename(call->path, call->newpath)
		       : libc.renameat(call->dirfd, call->path, call->newdir, call->newpath);
}

EXPORT int rename(const char *path, const char *newpath)
{
	struct call call = {"rename", perform_rename, AT_FDCWD, path, AT_FDCWD, newpath, 0};

	return guarding() ? guard_rename(&call) : perform_rename(&call);
}

static int perform_renameat(const struct call *call)
{
	return libc.renameat(call->dirfd, call->path, call->newdir, call->newpath);
}

EXPORT int renameat(int dirfd, const char *path, int newdir, const char *newpath)
{
	struct call call = {"renameat", perform_renameat, dirfd, path, newdir, newpath, 0};

	return guarding() ? guard_rename(&call) : perform_renameat(&call);
}

#ifdef HAVE_RENAMEAT2
/* Flags that we do not know, or that exclude each other, are for libc to refuse. */
static bool are_known(unsigned int flags)
{
	const unsigned int known = RENAME_NOREPLACE | RENAME_WHITEOUT;

	return flags == RENAME_EXCHANGE || (flags & ~known) == 0;
}

static int perform_renameat2(const struct call *call)
{
	return libc.renameat2(call->dirfd, call->path, call->newdir, call->newpath, call->flags);
}

EXPORT int renameat2(int dirfd, const char *path, int newdir, const char *newpath,
	unsigned int flags)
{
	struct call call = {"renameat2", perform_renameat2, dirfd, path, newdir, newpath, flags};

	return guarding() && are_known(flags) ? guard_rename(&call) : perform_renameat2(&call);
}
#endif

static int perform_link(const struct call *call)
{
	return in_working_directory(call)
		       ? libc.link(call->path, call->newpath)
		       : libc.linkat(call->dirfd, call->path, call->newdir, call->newpath, 0);
}

EXPORT int link(const char *path, const char *newpath)
{
	struct call call = {"link", perform_link, AT_FDCWD, path, AT_FDCWD, newpath, 0};

	return guarding() ? guard_link(&call) : perform_link(&call);
}

static int perform_linkat(const struct call *call)
{
	return libc.linkat(call->dirfd, call->path, call->newdir, call->newpath, (int)call->flags);
}

EXPORT int linkat(int dirfd, const char *path, int newdir, const char *newpath, int flags)
{
	struct call call = {
		"linkat", perform_linkat, dirfd, path, newdir, newpath, (unsigned int)flags};

	return guarding() ? guard_link(&call) : perform_linkat(&call);
}

/*
 * Two more, of which only the seccomp filters that pass through are of interest. Both take as many
 * arguments as the system call does, and hand on what the caller may not have given, as libc does.
 */

#define ARGUMENTS(last, words, count)                                                              \
	do {                                                                                       \
		va_list list;                                                                      \
		va_start(list, last);                                                              \
		for (int i = 0; i < (count); i++)                                                  \
			(words)[i] = va_arg(list, long);                                           \
		va_end(list);                                                                      \
	} while (0)

static bool sets_filter(int option, const long *words)
{
	return option == PR_SET_SECCOMP &&
	       (words[0] == SECCOMP_MODE_FILTER || words[0] == SECCOMP_MODE_STRICT);
}

/* The program of a filter; NULL for strict mode, which has none. */
static const struct sock_fprog *program_at(bool strict, long word)
{
	return strict ? NULL : (const struct sock_fprog *)(uintptr_t)word;
}

EXPORT int prctl(int option, ...)
{
	long words[4];
	struct filter_attempt attempt;
	int result;

	ARGUMENTS(option, words, 4);
	if (!guarding() || !sets_filter(option, words))
		return libc.prctl(option, words[0], words[1], words[2], words[3]);
	attempt = filter_begin();
	result = libc.prctl(option, words[0], words[1], words[2], words[3]);
	filter_end(attempt, result == 0, program_at(words[0] == SECCOMP_MODE_STRICT, words[1]));
	return result;
}

#if defined(__GLIBC__) && __SIZEOF_POINTER__ == 4
/* What prctl is for 32-bit programs that are compiled with 64 bits of time. */
EXPORT int __prctl_time64(int option, ...) __attribute__((alias("prctl"), leaf, nothrow));
#endif

/* The filter that a call by number installs: NULL for none, or strict mode. */
static bool is_filter_call(long number, const long *words, const struct sock_fprog **program)
{
	if (number == SYS_prctl && sets_filter((int)words[0], words + 1)) {
		*program = program_at(words[1] == SECCOMP_MODE_STRICT, words[2]);
		return true;
	}
#ifdef SYS_seccomp
	if (number == SYS_seccomp && (unsigned int)words[0] <= SECCOMP_SET_MODE_FILTER) {
		*program = program_at((unsigned int)words[0] == SECCOMP_SET_MODE_STRICT, words[2]);
		return true;
	}
#endif
	return false;
}

EXPORT long syscall(long number, ...)
{
	const struct sock_fprog *program;
	struct filter_attempt attempt;
	bool new_listener;
	long words[6];
	long result;

	ARGUMENTS(number, words, 6);
	if (!guarding() || !is_filter_call(number, words, &program))
		return libc.syscall(number, words[0], words[1], words[2], words[3], words[4],
			words[5]);
	new_listener = number != SYS_prctl &&
		       ((unsigned long)words[1] & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
	attempt = filter_begin();
	result = libc.syscall(number, words[0], words[1], words[2], words[3], words[4], words[5]);
	/* More than 0 is a listener's descriptor, or the thread that TSYNC could not reach. */
	filter_end(attempt, result == 0 || (new_listener && result > 0), program);
	return result;
}
