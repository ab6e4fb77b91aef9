/*
 * interpose: every libc function that this library exports, and nothing else.
 *
 * A call goes to its rule in guard.c, or straight to libc if the guard is disabled.
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
#include "direct.h"
#include "filter.h"
#include "guard.h"
#include "held.h"
#include "libc.h"
#include "owned.h"
#include "report.h"
#include "self.h"

/* Since Linux 5.0. */
#ifndef SECCOMP_FILTER_FLAG_NEW_LISTENER
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1UL << 3)
#endif

#ifndef SECCOMP_FILTER_FLAG_TSYNC /* since Linux 3.17 */
#define SECCOMP_FILTER_FLAG_TSYNC (1UL << 0)
#endif

#define EXPORT __attribute__((visibility("default")))

static atomic_bool loaded;

static void load(void)
{
	libc_resolve();
	report_remember_stderr();
	config_load(report_bad_setting);
	if (!config.disabled)
		owned_adopt_inherited();
	atomic_store_explicit(&loaded, true, memory_order_release);
}

/*
 * Loads the settings first if necessary: constructors of libraries that are initialized before ours
 * may make guarded calls. Constructors run one after the other, so this needs no lock.
 */
static bool is_enabled(void)
{
	if (!atomic_load_explicit(&loaded, memory_order_acquire))
		load();
	return !config.disabled;
}

static void after_fork_in_child(void)
{
	filter_after_fork_in_child();
	held_after_fork_in_child();
	self_after_fork_in_child();
}

static __attribute__((constructor)) void on_load(void)
{
	if (is_enabled())
		pthread_atfork(held_before_fork, held_after_fork_in_parent, after_fork_in_child);
}

static int perform_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	return libc.bind(fd, address, length);
}

EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	const struct bind_call call = {perform_bind, fd, address, length};

	return is_enabled() ? guard_bind(&call) : perform_bind(fd, address, length);
}

/*
 * The rules make a call with the program's own arguments, or with paths relative to directories
 * that they have opened. The latter needs the libc function that takes a directory.
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

	return is_enabled() ? guard_unlink(&call) : perform_unlink(&call);
}

static int perform_unlinkat(const struct call *call)
{
	return libc.unlinkat(call->dirfd, call->path, (int)call->flags);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
	struct call call = {
		"unlinkat", perform_unlinkat, dirfd, path, 0, NULL, (unsigned int)flags};

	/* AT_REMOVEDIR removes only directories; libc rejects other flags. */
	return is_enabled() && flags == 0 ? guard_unlink(&call) : perform_unlinkat(&call);
}

static int perform_remove(const struct call *call)
{
	return call->dirfd == AT_FDCWD ? libc.remove(call->path)
				       : libc.unlinkat(call->dirfd, call->path, 0);
}

EXPORT int remove(const char *path)
{
	struct call call = {"remove", perform_remove, AT_FDCWD, path, 0, NULL, 0};

	return is_enabled() ? guard_unlink(&call) : perform_remove(&call);
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

	return is_enabled() ? guard_rename(&call) : perform_rename(&call);
}

static int perform_renameat(const struct call *call)
{
	return libc.renameat(call->dirfd, call->path, call->newdir, call->newpath);
}

EXPORT int renameat(int dirfd, const char *path, int newdir, const char *newpath)
{
	struct call call = {"renameat", perform_renameat, dirfd, path, newdir, newpath, 0};

	return is_enabled() ? guard_rename(&call) : perform_renameat(&call);
}

#ifdef HAVE_RENAMEAT2
/* libc rejects flags that are unknown to us, or that exclude each other. */
static bool flags_are_known(unsigned int flags)
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

	return is_enabled() && flags_are_known(flags) ? guard_rename(&call)
						      : perform_renameat2(&call);
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

	return is_enabled() ? guard_link(&call) : perform_link(&call);
}

static int perform_linkat(const struct call *call)
{
	return libc.linkat(call->dirfd, call->path, call->newdir, call->newpath, (int)call->flags);
}

EXPORT int linkat(int dirfd, const char *path, int newdir, const char *newpath, int flags)
{
	struct call call = {
		"linkat", perform_linkat, dirfd, path, newdir, newpath, (unsigned int)flags};

	return is_enabled() ? guard_link(&call) : perform_linkat(&call);
}

/*
 * prctl and syscall are exported only to learn of seccomp filters. Like libc, both read as many
 * arguments as the system call has, even if the caller passed fewer. AddressSanitizer, with which
 * the unit tests are built, would report that.
 */

#define READS_ALL_ARGUMENTS __attribute__((no_sanitize_address))

#define ARGUMENTS(last, words, count)                                                              \
	do {                                                                                       \
		va_list list;                                                                      \
		va_start(list, last);                                                              \
		for (int i = 0; i < (count); i++)                                                  \
			(words)[i] = va_arg(list, long);                                           \
		va_end(list);                                                                      \
	} while (0)

/*
 * A malloc may make system calls while it initializes itself, under its lock, before our
 * constructor runs: jemalloc does. Loading would then deadlock, because dlsym allocates memory in
 * glibc before 2.34. So until we have loaded, this makes the call without libc. The call must not
 * install a filter. Returns false if it has not made the call.
 */
static bool make_if_not_loaded(long number, const long *words, long *result)
{
	return !atomic_load_explicit(&loaded, memory_order_acquire) &&
	       direct_syscall(number, words, result);
}

static bool sets_filter(int option, const long *words)
{
	return option == PR_SET_SECCOMP &&
	       (words[0] == SECCOMP_MODE_FILTER || words[0] == SECCOMP_MODE_STRICT);
}

/* The filter program at this address; NULL for strict mode, which has none. */
static const struct sock_fprog *program_at(bool strict, long word)
{
	return strict ? NULL : (const struct sock_fprog *)(uintptr_t)word;
}

EXPORT READS_ALL_ARGUMENTS int prctl(int option, ...)
{
	long words[6] = {option};
	struct filter_installation installation;
	long early;
	int result;

	ARGUMENTS(option, words + 1, 4);
	if (!sets_filter(option, words + 1) && make_if_not_loaded(SYS_prctl, words, &early))
		return (int)early;
	if (!is_enabled() || !sets_filter(option, words + 1))
		return libc.prctl(option, words[1], words[2], words[3], words[4]);
	installation = filter_install_begin(false);
	result = libc.prctl(option, words[1], words[2], words[3], words[4]);
	filter_install_end(installation, result == 0,
		program_at(words[1] == SECCOMP_MODE_STRICT, words[2]));
	return result;
}

#if defined(__GLIBC__) && __SIZEOF_POINTER__ == 4
/* The name of prctl in 32-bit programs that are compiled with 64-bit time_t. */
EXPORT int __prctl_time64(int option, ...) __attribute__((alias("prctl"), leaf, nothrow));
#endif

/* Whether a system call installs a filter. Sets *program to it, or to NULL, as for strict mode. */
static bool is_filter_call(long number, const long *words, const struct sock_fprog **program)
{
	*program = NULL; /* otherwise gcc 10 warns that it may be used uninitialized */
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

EXPORT READS_ALL_ARGUMENTS long syscall(long number, ...)
{
	const struct sock_fprog *program;
	struct filter_installation installation;
	bool sets;
	unsigned long flags;
	long words[6];
	long result;

	ARGUMENTS(number, words, 6);
	sets = is_filter_call(number, words, &program);
	if (!sets && make_if_not_loaded(number, words, &result))
		return result;
	if (!is_enabled() || !sets)
		return libc.syscall(number, words[0], words[1], words[2], words[3], words[4],
			words[5]);
	flags = number == SYS_prctl ? 0 : (unsigned long)words[1];
	installation = filter_install_begin((flags & SECCOMP_FILTER_FLAG_TSYNC) != 0);
	result = libc.syscall(number, words[0], words[1], words[2], words[3], words[4], words[5]);
	/* If positive: a notification descriptor, or a thread that TSYNC could not change. */
	filter_install_end(installation,
		result == 0 || (result > 0 && (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0),
		program);
	return result;
}
