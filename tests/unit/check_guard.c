#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "guard.h"
#include "libc.h"
#include "lockfile.h"
#include "owned.h"
#include "suite.h"

#define FILE_OF(path) LOCKFILE_PREFIX path LOCKFILE_SUFFIX

/* ---- guarded calls, made as interpose.c makes them ---- */

static int performed; /* how often a call went through to libc */

static int perform_unlink(const struct call *call)
{
	performed++;
	return libc.unlinkat(call->dirfd, call->path, 0);
}

static int g_unlinkat(int dirfd, const char *path)
{
	struct call call = {"unlink", perform_unlink, dirfd, path, 0, NULL, 0};

	return guard_unlink(&call);
}

static int g_unlink(const char *path)
{
	return g_unlinkat(AT_FDCWD, path);
}

static int perform_rename(const struct call *call)
{
	performed++;
	if (call->flags == 0)
		return libc.renameat(call->dirfd, call->path, call->newdir, call->newpath);
	return libc.renameat2(call->dirfd, call->path, call->newdir, call->newpath, call->flags);
}

static int g_rename_with(const char *path, const char *newpath, unsigned int flags)
{
	struct call call = {"rename", perform_rename, AT_FDCWD, path, AT_FDCWD, newpath, flags};

	return guard_rename(&call);
}

static int g_rename(const char *path, const char *newpath)
{
	return g_rename_with(path, newpath, 0);
}

static int perform_link(const struct call *call)
{
	performed++;
	return libc.linkat(call->dirfd, call->path, call->newdir, call->newpath, (int)call->flags);
}

static int g_link_with(const char *path, const char *newpath, int flags)
{
	struct call call = {
		"link", perform_link, AT_FDCWD, path, AT_FDCWD, newpath, (unsigned int)flags};

	return guard_link(&call);
}

static int g_link(const char *path, const char *newpath)
{
	return g_link_with(path, newpath, 0);
}

static int guarded_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	const struct bind_call call = {libc.bind, fd, address, length};

	return guard_bind(&call);
}

static int g_bind_fd(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, path);
	return guarded_bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

static int new_socket(bool reuse)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = reuse;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	return fd;
}

/* Binds a socket of this process through the guard, and listens. */
static int guarded_listener(const char *path)
{
	int fd = new_socket(false);

	ASSERT_SUCCEEDS(g_bind_fd(fd, path));
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

static void serve_guarded(const void *path)
{
	guarded_listener(path);
}

/* Whether a client can connect to the path. */
static bool is_served(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool served;

	strcpy(address.sun_path, path);
	served = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return served;
}

static bool is_claimed(const char *path)
{
	struct lockfile lock;
	bool claimed;

	lockfile_init(&lock, AT_FDCWD, path);
	claimed = lockfile_open_readonly(&lock) && lockfile_is_claimed(&lock);
	lockfile_release(&lock);
	return claimed;
}

/* Starts a process with a live socket, which is unguarded for even i and guarded for odd i. */
static pid_t start_rival(int i, const char *path)
{
	return i % 2 ? start_child(serve_guarded, path) : start_owner(path, SOCK_STREAM);
}
#define RIVALS 2

/* ---- unlink ---- */

START_TEST(a_live_path_is_not_unlinked)
{
	pid_t rival = start_rival(_i, "s");
	int before = count_descriptors();

	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ck_assert_int_eq(performed, 0);
	ck_assert(is_served("s"));
	ck_assert_int_eq(is_claimed("s"), _i % 2); /* as before the call */
	ck_assert_int_eq(exists(FILE_OF("s")), _i % 2);
	ck_assert_int_eq(count_descriptors(), before);
	kill_child(rival);
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(a_bound_path_is_not_unlinked_before_its_socket_listens)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	pid_t rival = start_owner("s", types[_i]);

	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ck_assert(exists("s"));
	kill_child(rival);
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

START_TEST(a_stale_path_is_unlinked)
{
	make_stale("s");
	write_file(FILE_OF("s"), "left by a crash");
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
	ck_assert_int_eq(performed, 1);
}
END_TEST

START_TEST(an_own_path_is_unlinked_with_its_lock_file)
{
	int before = count_descriptors();
	int fd = guarded_listener("s");

	ck_assert(is_claimed("s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
	close(fd);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* Many servers close their socket before the unlink, while their workers still hold it. */
START_TEST(an_own_path_is_unlinked_after_its_listener_is_closed)
{
	int fd = guarded_listener("s");
	pid_t worker = start_child(serve_guarded, "other"); /* a fork of ours */

	close(fd);
	ck_assert(is_served("s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	kill_child(worker);
}
END_TEST

static int unlinks(const void *path)
{
	errno = ERRNO_SENTINEL;
	return g_unlink(path) == 0 && errno == ERRNO_SENTINEL ? 0 : 1;
}

START_TEST(a_forked_child_may_unlink_its_parents_path)
{
	guarded_listener("s");
	ck_assert_int_eq(run_in_child(unlinks, "s"), 0);
	ck_assert(!exists("s"));
}
END_TEST

/* A process owns the path of a socket that it received through SCM_RIGHTS or exec. */
START_TEST(the_path_of_a_held_socket_is_unlinked)
{
	int fd = listening_socket("s", SOCK_STREAM); /* without the guard */

	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	close(fd);
}
END_TEST

START_TEST(unlink_of_an_absent_path_fails_with_enoent)
{
	ASSERT_FAILS(g_unlink("s"), ENOENT);
	ASSERT_FAILS(g_unlink("absent/s"), ENOENT);
	ASSERT_FAILS(g_unlink(""), ENOENT);
	ASSERT_FAILS(g_unlinkat(-1, "s"), EBADF);
	write_file("file", "");
	ASSERT_FAILS(g_unlink("file/s"), ENOTDIR);
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

/* This process binds the path after the check. The call must not unlink it without another check.
 */
static int bind_and_unlink(const struct call *call)
{
	if (performed++ == 0)
		bound_socket("s", SOCK_STREAM);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(a_path_that_appears_during_the_call_is_judged_again)
{
	struct call call = {"unlink", bind_and_unlink, AT_FDCWD, "s", 0, NULL, 0};

	ASSERT_SUCCEEDS(guard_unlink(&call));
	ck_assert_int_eq(performed, 2); /* the second time for a path of our own */
	ck_assert(!exists("s"));
}
END_TEST

static void listen_at_s(const void *about)
{
	(void)about;
	listening_socket("s", SOCK_STREAM);
}

static int rival_binds_and_unlink(const struct call *call)
{
	if (performed++ == 0)
		start_child(listen_at_s, NULL);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(a_rival_that_binds_during_the_call_keeps_its_path)
{
	struct call call = {"unlink", rival_binds_and_unlink, AT_FDCWD, "s", 0, NULL, 0};
	int result = guard_unlink(&call);

	ck_assert_int_eq(result, -1);
	ck_assert(is_served("s"));
}
END_TEST

/* Another preloaded library may translate paths: absent for the guard, present for libc. */
static int unlink_translated(const struct call *call)
{
	performed++;
	if (call->path[strlen(call->path) - 1] != '/')
		return 0;
	errno = ENOTDIR;
	return -1;
}

START_TEST(a_path_that_only_libc_sees_is_left_to_libc)
{
	struct call call = {"unlink", unlink_translated, AT_FDCWD, "s", 0, NULL, 0};

	ck_assert_int_eq(guard_unlink(&call), 0);
	ck_assert_int_gt(performed, 1);
}
END_TEST

static int unlinks_translated(const void *path)
{
	struct call call = {"unlink", unlink_translated, AT_FDCWD, path, 0, NULL, 0};

	return guard_unlink(&call) == -1 && errno == EACCES && performed == 1 ? 0 : 1;
}

START_TEST(a_failed_lookup_is_not_repeated)
{
	ck_assert_int_eq(mkdir("dir", 0700), 0);
	ck_assert_int_eq(run_as_stranger(unlinks_translated, "dir/s"), 0);
}
END_TEST

static int succeed(const struct call *call)
{
	(void)call;
	return 0;
}

START_TEST(a_call_that_succeeds_with_a_slash_appended_is_not_repeated)
{
	struct call call = {"rename", succeed, AT_FDCWD, "s", AT_FDCWD, "t", 0};

	ASSERT_SUCCEEDS(guard_rename(&call)); /* a directory that appeared meanwhile */
}
END_TEST

static int make_directory_and_unlink(const struct call *call)
{
	if (performed++ == 0)
		ck_assert_int_eq(mkdir("s", 0755), 0);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(a_directory_that_appears_during_the_call_is_left_to_libc)
{
	struct call call = {"unlink", make_directory_and_unlink, AT_FDCWD, "s", 0, NULL, 0};

	ASSERT_FAILS(guard_unlink(&call), EISDIR);
	ck_assert_int_eq(performed, 2);
	ck_assert(exists("s"));
}
END_TEST

/* Creates directories for a path of more than LOCKFILE_PATH bytes. */
static const char *long_path(const char *name)
{
	static char path[3 * LOCKFILE_PATH];
	size_t used = 0;

	while (used <= LOCKFILE_PATH) {
		memset(path + used, 'd', 200);
		path[used + 200] = '\0';
		ck_assert_int_eq(mkdir(path, 0755), 0);
		used += 200;
		path[used++] = '/';
	}
	strcpy(path + used, name);
	return path;
}

START_TEST(a_long_path_is_unlinked)
{
	const char *path = long_path("s");

	ASSERT_FAILS(g_unlink(path), ENOENT);
	write_file(path, "");
	ASSERT_SUCCEEDS(g_unlink(path));
	ck_assert(!exists(path));
}
END_TEST

/* The path is so long that no slash can be appended. */
START_TEST(the_longest_absent_path_fails_with_enoent)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 2 ? '/' : '.';
	path[sizeof(path) - 2] = 's';
	path[sizeof(path) - 1] = '\0';
	ASSERT_FAILS(g_unlink(path), ENOENT);
	write_file("s", "");
	ASSERT_SUCCEEDS(g_unlink(path));
}
END_TEST

static int unlinks_nothing_without_memory(const void *path)
{
	forbid_memory();
	errno = ERRNO_SENTINEL;
	return g_unlink(path) == -1 && errno == ENOENT && performed == 0 ? 0 : 1;
}

START_TEST(without_memory_an_absent_path_fails_with_enoent)
{
	ck_assert_int_eq(run_in_child(unlinks_nothing_without_memory, long_path("s")), 0);
}
END_TEST

START_TEST(a_lock_file_at_a_long_path_is_left_to_libc)
{
	const char *path = long_path(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX);

	write_file(path, "");
	ASSERT_SUCCEEDS(g_unlink(path));
	ck_assert(!exists(path));
	ASSERT_FAILS(g_unlink(path), ENOENT); /* with a shorter path, it would succeed */
}
END_TEST

static int fail_with_erofs(const struct call *call)
{
	(void)call;
	errno = EROFS;
	return -1;
}

START_TEST(an_own_path_is_still_owned_if_libc_fails_to_unlink_it)
{
	struct call call = {"unlink", fail_with_erofs, AT_FDCWD, "s", 0, NULL, 0};

	guarded_listener("s");
	ASSERT_FAILS(guard_unlink(&call), EROFS);
	ck_assert(is_served("s") && is_claimed("s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(other_files_are_left_to_libc)
{
	write_file("file", "");
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(symlink("s", "link"), 0);
	ASSERT_SUCCEEDS(g_unlink("file"));
	ASSERT_SUCCEEDS(g_unlink("fifo"));
	ASSERT_SUCCEEDS(g_unlink("link"));
	ASSERT_FAILS(g_unlink("dir"), EISDIR);
	ck_assert(exists("s"));
	ck_assert_int_eq(performed, 4);
}
END_TEST

START_TEST(a_slash_after_a_socket_fails_with_enotdir)
{
	start_owner("s", SOCK_STREAM);
	ASSERT_FAILS(g_unlink("s/"), ENOTDIR);
	ASSERT_FAILS(g_unlink("s/."), ENOTDIR);
	ck_assert_int_eq(performed, 2); /* once each */
	ck_assert(is_served("s"));
}
END_TEST

START_TEST(no_path_to_a_live_socket_is_unlinked)
{
	int dir;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ck_assert_int_eq(symlink("dir", "link"), 0);
	start_owner("dir/s", SOCK_STREAM);
	dir = open("dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_FAILS(g_unlink("./dir//s"), EADDRINUSE);
	ASSERT_FAILS(g_unlink("link/s"), EADDRINUSE);
	ASSERT_FAILS(g_unlink("dir/../dir/s"), EADDRINUSE);
	ASSERT_FAILS(g_unlink(absolute_path("dir/s")), EADDRINUSE);
	ASSERT_FAILS(g_unlinkat(dir, "s"), EADDRINUSE);
	ck_assert(is_served("dir/s"));
}
END_TEST

/* A page that precedes an unreadable one. */
static char *last_readable_page(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages =
		mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(pages, MAP_FAILED);
	ck_assert_int_eq(munmap(pages + page, page), 0);
	return memset(pages, 'x', page);
}

/* A filter keeps the guard from checking the path. */
START_TEST(a_path_is_read_no_further_than_its_end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *path = last_readable_page() + page - 10;

	forbid(CALL_FSTATAT);
	ASSERT_FAILS(g_unlink(path), EFAULT);
	path[9] = '\0';
	ASSERT_FAILS(g_unlink(path), ENOENT);
}
END_TEST

/* A filter forbids one lookup only. */
static long forbid_first_lookup(long number, const long arguments[6])
{
	static bool forbidden;

	if (number != CALL_FSTATAT || forbidden)
		return make_call(number, arguments);
	forbidden = true;
	errno = EPERM;
	return -1;
}

START_TEST(a_forbidden_lookup_does_not_remove_a_live_path)
{
	char *crossing =
		mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const char *path = crossing + 4096 - 300;

	ck_assert_ptr_ne(crossing, MAP_FAILED);
	for (int i = 0; i < 600; i += 2)
		memcpy(crossing + 4096 - 300 + i, "./", 2);
	strcpy(crossing + 4096 - 300 + 600, "s");
	start_rival(0, "s");
	replace_system_calls(forbid_first_lookup);
	ASSERT_FAILS(g_unlink(path), EPERM);
	ck_assert(is_served("s"));
}
END_TEST

/* In the second round, a filter keeps the guard from checking the path. */
START_TEST(an_unreadable_path_fails_with_efault)
{
	const char *volatile null = NULL;

	if (_i == 1)
		forbid(CALL_FSTATAT);
	ASSERT_FAILS(g_unlink(null), EFAULT);
	ASSERT_FAILS(g_unlink((const char *)1), EFAULT);
	ASSERT_FAILS(g_rename(null, "t"), EFAULT);
	make_stale("s");
	ASSERT_FAILS(g_rename("s", null), EFAULT);
	ASSERT_FAILS(g_link(null, "t"), EFAULT);
	ASSERT_FAILS(g_link("s", null), EFAULT);
	ASSERT_FAILS(guarded_bind(new_socket(false), (const struct sockaddr *)null, 110), EFAULT);
	ck_assert_int_eq(libc.unlink("s"), 0); /* nothing has removed it */
}
END_TEST

START_TEST(an_ignored_path_is_left_to_libc)
{
	start_owner("s", SOCK_STREAM);
	config.ignore = "*/s";
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static int unlinks_as_stranger(const void *path)
{
	ASSERT_FAILS(g_unlink(path), EADDRINUSE);
	return 0;
}

/* With umask 022, the stranger may write to the directory, but not to the socket. */
START_TEST(without_connect_permission_a_live_path_is_refused)
{
	start_rival(_i, "s");
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(chmod(".", 0777), 0);
	ck_assert_int_eq(run_as_stranger(unlinks_as_stranger, "s"), 0);
	ck_assert(is_served("s"));
}
END_TEST

START_TEST(without_connect_permission_a_stale_path_is_unlinked)
{
	pid_t rival = start_rival(_i, "s");

	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(chmod(".", 0777), 0);
	kill_child(rival);
	ck_assert_int_eq(run_as_stranger(unlinks, "s"), 0);
	ck_assert(!exists("s"));
}
END_TEST

START_TEST(without_a_lock_file_the_kernel_decides)
{
	start_owner("s", SOCK_STREAM);
	ck_assert_int_eq(mkdir(FILE_OF("s"), 0700), 0); /* where the lock file would be */
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	make_stale("t");
	ck_assert_int_eq(mkdir(FILE_OF("t"), 0700), 0);
	ASSERT_SUCCEEDS(g_unlink("t"));
}
END_TEST

/* Uses up all descriptors but this many. */
static void leave_descriptors(int count)
{
	int last = use_up_descriptors();

	while (count-- > 0)
		close(last--);
}
#define FEW 8 /* more than any call uses at a time */

START_TEST(with_few_descriptors_no_live_path_is_unlinked)
{
	start_rival(_i, "s");
	leave_descriptors(_i / RIVALS);
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ASSERT_FAILS(g_rename("s", "t"), EADDRINUSE);
	ck_assert(exists("s"));
}
END_TEST

static int lack;

/* No descriptor is left for a lock file, but then another thread closes some. */
static long lock_files_lack_descriptors(long number, const long arguments[6])
{
	if (number != SYS_openat || !lockfile_has_suffix((const char *)arguments[1]))
		return make_call(number, arguments);
	errno = lack;
	return -1;
}

/* A rival may hold the mutex, and bind the path at any moment. */
START_TEST(a_stale_path_without_a_descriptor_for_its_mutex_is_not_unlinked)
{
	static const int errors[] = {EMFILE, ENFILE};

	make_stale("s");
	write_file("other", "");
	lack = errors[_i % 2];
	if (_i >= 2) /* also where the lock file may have another name */
		ck_assert_int_eq(chmod(".", 01777), 0);
	replace_system_calls(lock_files_lack_descriptors);
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ASSERT_FAILS(g_rename("other", "s"), EADDRINUSE);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(exists("s"));
}
END_TEST

START_TEST(an_own_path_without_a_descriptor_for_its_mutex_is_unlinked)
{
	lack = EMFILE;
	replace_system_calls(lock_files_lack_descriptors);
	guarded_listener("s"); /* has no lock file */
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
}
END_TEST

START_TEST(with_few_descriptors_an_own_path_is_unlinked)
{
	guarded_listener("s");
	leave_descriptors(_i);
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static void hold_mutex(const void *path)
{
	struct lockfile *lock = malloc(sizeof(*lock));

	lockfile_init(lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try_lock(lock), LOCKFILE_HELD);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

START_TEST(the_wait_for_a_mutex_ends)
{
	pid_t holder;
	double start_time = now();

	make_stale("s");
	holder = start_child(hold_mutex, "s");
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ck_assert(now() - start_time > 0.5);
	ck_assert(exists("s"));
	kill_child(holder);
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

static void start_log(void)
{
	config.log_to = LOG_TO_FILE;
	config.log_file = "log";
	unlink("log");
}

/* What was logged since start_log(), which must not be empty. */
static const char *logged(void)
{
	static char line[512];
	int fd = open("log", O_RDONLY | O_CLOEXEC);

	memset(line, 0, sizeof(line));
	ck_assert_int_gt(read(fd, line, sizeof(line) - 1), 0);
	close(fd);
	return line;
}

/* Makes an unlink that is refused, and returns the logged line. */
static const char *refused_unlink(const char *path)
{
	int before = count_descriptors();

	start_log();
	ASSERT_FAILS(g_unlink(path), EADDRINUSE);
	ck_assert_int_eq(count_descriptors(), before);
	return logged();
}

/* The message shows that the call did not wait: after a wait, it says that the file stayed locked.
 */
START_TEST(a_live_path_is_refused_without_its_mutex)
{
	pid_t rival = start_rival(_i, "s");
	pid_t holder = start_child(hold_mutex, "s");

	ck_assert_ptr_nonnull(strstr(refused_unlink("s"), "in use by"));
	ck_assert(is_served("s"));
	kill_child(rival);
	kill_child(holder);
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

/* Another of its threads may bind the path and close the socket between the guard's two checks. */
START_TEST(a_process_that_owns_paths_waits_for_the_mutex_of_a_live_path)
{
	pid_t rival = start_rival(_i, "s");
	pid_t holder = start_child(hold_mutex, "s");

	guarded_listener("other");
	ck_assert_ptr_nonnull(strstr(refused_unlink("s"), "stopped process"));
	kill_child(rival);
	kill_child(holder);
}
END_TEST

/* In a sticky directory, any user may create the lock file, with any content. */
START_TEST(a_planted_lock_file_names_no_owner)
{
	pid_t rival = start_child(serve_guarded, "s");

	ck_assert_int_eq(chmod(".", 01777), 0);
	ck_assert_int_eq(chown(FILE_OF("s"), 12345, 12345), 0);
	ck_assert_ptr_nonnull(strstr(refused_unlink("s"), "a process that no record names"));
	kill_child(rival);
}
END_TEST

START_TEST(the_unlink_of_an_own_path_is_logged_as_allowed)
{
	guarded_listener("s");
	config.debug = true;
	start_log();
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert_ptr_nonnull(strstr(logged(), "owns the socket"));
	config.debug = false;
}
END_TEST

static int bind_s(void)
{
	return g_bind_fd(new_socket(false), "s");
}

static int link_t_to_s(void)
{
	return g_link("t", "s");
}

static int rename_t_to_s(void)
{
	return g_rename("t", "s");
}

static int unlink_lockfile_of_s(void)
{
	return g_unlink(FILE_OF("s"));
}

/* The calls run at the same time, because each waits three seconds. */
START_TEST(every_call_waits_for_a_bounded_time)
{
	static int (*const calls[])(void) = {
		bind_s, link_t_to_s, rename_t_to_s, unlink_lockfile_of_s};
	enum { CALLS = sizeof(calls) / sizeof(calls[0]) };
	pid_t pids[CALLS];
	int status;

	make_stale("t");
	start_child(hold_mutex, "s");
	for (int i = 0; i < CALLS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(calls[i]() == -1 && errno == EADDRINUSE && performed == 0 ? 0 : 1);
	}
	for (int i = 0; i < CALLS; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "act %d", i);
	}
	ck_assert(exists("t") && !exists("s") && exists(FILE_OF("s")));
}
END_TEST

/* A thread that holds the mutex. It is another thread, because a thread does not wait for a mutex
 * that it holds itself. */
struct holder {
	const char *path;
	void (*act)(void); /* what happens while the mutex is held; may be NULL */
	pthread_barrier_t taken;
	pthread_t thread;
};

static void *hold_for_a_moment(void *about)
{
	struct holder *holder = about;
	struct lockfile lock;

	lockfile_init(&lock, AT_FDCWD, holder->path);
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	pthread_barrier_wait(&holder->taken);
	usleep(200000);
	if (holder->act) {
		holder->act();
		usleep(200000); /* an attempt that opened the directory before the act finds it busy
				 */
	}
	lockfile_release(&lock);
	return NULL;
}

static pthread_t start_holder(const char *path, void (*act)(void))
{
	static struct holder holder;

	holder = (struct holder){.path = path, .act = act};
	pthread_barrier_init(&holder.taken, NULL, 2);
	ck_assert_int_eq(pthread_create(&holder.thread, NULL, hold_for_a_moment, &holder), 0);
	pthread_barrier_wait(&holder.taken);
	return holder.thread;
}

static void remove_s(void)
{
	ck_assert_int_eq(unlink("s"), 0);
}

static void replace_s_by_a_file(void)
{
	remove_s();
	write_file("s", "");
}

static void replace_directory_by_a_file(void)
{
	write_file("gone", "");
	ck_assert_int_eq(syscall(SYS_renameat2, AT_FDCWD, "dir", AT_FDCWD, "gone", RENAME_EXCHANGE),
		0);
}

/* A call repeats its checks after it has acquired the mutex. */
START_TEST(a_socket_replaced_by_a_file_is_left_to_libc)
{
	pthread_t thread;

	make_stale("s");
	thread = start_holder("s", replace_s_by_a_file);
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(a_path_that_becomes_inaccessible_is_not_unlinked)
{
	pthread_t thread;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	make_stale("dir/s");
	thread = start_holder("dir/s", replace_directory_by_a_file);
	if (_i == 0)
		ASSERT_FAILS(g_unlink("dir/s"), ENOTDIR);
	else
		ASSERT_FAILS(g_rename("dir/s", "t"), ENOTDIR);
	ck_assert(exists("gone/s") && !exists("t"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(a_path_removed_during_the_call_is_not_renamed)
{
	pthread_t thread;

	make_stale("s");
	make_stale("t");
	thread = start_holder("s", remove_s);
	ASSERT_FAILS(g_rename("s", "t"), ENOENT);
	ck_assert(exists("t"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(a_file_is_renamed_to_a_path_freed_during_the_call)
{
	pthread_t thread;

	make_stale("s");
	write_file("file", "");
	thread = start_holder("s", remove_s);
	ASSERT_SUCCEEDS(g_rename("file", "s"));
	ck_assert(exists("s") && !exists("file"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static void unlink_while_held(const char *path)
{
	pthread_t thread = start_holder(path, NULL);

	ASSERT_SUCCEEDS(g_unlink(path));
	ck_assert(!exists(path));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

START_TEST(unlink_waits_for_a_mutex_held_for_a_moment)
{
	make_stale("s");
	unlink_while_held("s");
}
END_TEST

START_TEST(a_held_socket_is_not_refused_without_its_mutex)
{
	int fd = listening_socket("s",
		SOCK_STREAM); /* without the guard, so it is not in the table */

	unlink_while_held("s");
	close(fd);
}
END_TEST

START_TEST(the_unlink_of_an_own_path_waits_for_its_mutex)
{
	guarded_listener("s");
	unlink_while_held("s");
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

/* A program that removes every entry of a directory unlinks lock files, too, but not while another
 * process holds the mutex. */
START_TEST(a_lock_file_is_removed_under_its_own_mutex)
{
	double start_time = now();
	pthread_t thread = start_holder("s", NULL);

	ASSERT_SUCCEEDS(g_unlink(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX));
	ck_assert(now() - start_time > 0.1);
	ck_assert(!exists(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

static void do_nothing(const void *about)
{
	(void)about;
}

static int fork_and_fail(const struct call *call)
{
	start_child(do_nothing, NULL);
	return fail_with_erofs(call);
}

/* close(2) alone does not release it, because a child has a copy of the descriptor. */
START_TEST(the_mutex_of_a_remaining_lock_file_is_released)
{
	struct call call = {"unlink", fork_and_fail, AT_FDCWD, FILE_OF("s"), 0, NULL, 0};
	struct lockfile lock;

	guarded_listener("s");
	ASSERT_FAILS(guard_unlink(&call), EROFS);
	lockfile_init(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	lockfile_release(&lock);
}
END_TEST

static struct lockfile outer;

static int unlink_while_we_hold(const struct call *call)
{
	lockfile_init(&outer, AT_FDCWD, call->path);
	ck_assert_int_eq(lockfile_try_lock(&outer), LOCKFILE_HELD);
	return g_unlink(call->path);
}

/* Another preloaded library may make calls within a call. */
START_TEST(a_nested_call_does_not_wait_for_its_own_mutex)
{
	const struct call call = {.perform = unlink_while_we_hold, .dirfd = AT_FDCWD, .path = "s"};

	make_stale("s");
	ASSERT_SUCCEEDS(call.perform(&call)); /* after a wait, it would be refused */
	ck_assert(!exists("s"));
	lockfile_release(&outer);
	ck_assert(!exists(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX));
}
END_TEST

/* The lock file of the socket path has another name then. */
START_TEST(the_unlink_of_a_planted_lock_file_leaves_no_other)
{
	ck_assert_int_eq(mkdir("sticky", 0755), 0);
	ck_assert_int_eq(chmod("sticky", 01777), 0);
	write_file("sticky/" FILE_OF("s"), "");
	ck_assert_int_eq(chown("sticky/" FILE_OF("s"), STRANGER, STRANGER), 0);
	ASSERT_SUCCEEDS(g_unlink("sticky/" FILE_OF("s")));
	ck_assert_int_eq(rmdir("sticky"), 0);
}
END_TEST

/* A crash left it, and a process that empties the directory finds it. */
START_TEST(unlink_of_an_alternate_lock_file_without_a_socket_succeeds)
{
	ck_assert_int_eq(chmod(".", 01777), 0);
	write_file(FILE_OF("s") ".0123456789ab", "");
	ASSERT_SUCCEEDS(g_unlink(FILE_OF("s") ".0123456789ab"));
	ck_assert(!exists(FILE_OF("s")));
	ck_assert(!exists(FILE_OF("s") ".0123456789ab"));
}
END_TEST

START_TEST(unlink_of_a_lock_file_that_is_already_gone_succeeds)
{
	ASSERT_SUCCEEDS(g_unlink(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX));
	ASSERT_FAILS(g_unlink("absent/" LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX), ENOENT);
	ASSERT_FAILS(g_unlink("s"), ENOENT);
}
END_TEST

static void *unlink_with_cancellation_pending(void *refused)
{
	static int worked;
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
	worked = g_unlink(refused) + 1; /* 1: it has worked; 0: it was refused */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return &worked;
}

/* unlink is no cancellation point in glibc or musl. It must not become one because the guard closes
 * a claim or logs a refusal. */
START_TEST(no_call_becomes_a_cancellation_point)
{
	static char *const names[] = {"ours", "theirs"};
	pthread_t thread;
	void *worked;

	guarded_listener("ours");
	start_owner("theirs", SOCK_STREAM);
	ck_assert_int_eq(pthread_create(&thread, NULL, unlink_with_cancellation_pending, names[_i]),
		0);
	ck_assert_int_eq(pthread_join(thread, &worked), 0);
	ck_assert_ptr_ne(worked, PTHREAD_CANCELED);
	ck_assert_int_eq(*(int *)worked, _i == 0);
}
END_TEST

/* No signal handler may run while the mutex is held. Afterwards, the mask is restored. */
static sigset_t mask_during_call;
static int cancel_state_during_call;

static int record_mask_and_unlink(const struct call *call)
{
	sigprocmask(SIG_BLOCK, NULL, &mask_during_call);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state_during_call);
	pthread_setcancelstate(cancel_state_during_call, NULL);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(signals_and_cancellation_are_blocked_during_the_call)
{
	struct call call = {"unlink", record_mask_and_unlink, AT_FDCWD, "s", 0, NULL, 0};
	sigset_t before, after;
	int cancel;

	make_stale("s");
	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	ck_assert_int_eq(sigprocmask(SIG_SETMASK, &before, NULL), 0);
	ASSERT_SUCCEEDS(guard_unlink(&call));
	ck_assert(sigismember(&mask_during_call, SIGTERM) &&
		  sigismember(&mask_during_call, SIGUSR1));
	ck_assert_int_eq(cancel_state_during_call, PTHREAD_CANCEL_DISABLE);
	ck_assert_int_eq(sigprocmask(SIG_BLOCK, NULL, &after), 0);
	for (int i = 1; i < SIGRTMAX; i++)
		ck_assert_int_eq(sigismember(&before, i), sigismember(&after, i));
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel);
	ck_assert_int_eq(cancel, PTHREAD_CANCEL_ENABLE);
}
END_TEST

/* ---- bind ---- */

START_TEST(a_bind_claims_the_path)
{
	int fd = guarded_listener("s");

	ck_assert(exists("s"));
	ck_assert(is_claimed("s"));
	ck_assert(is_served("s"));
	close(fd);
}
END_TEST

static void close_and_stay_alive(const void *path)
{
	close(guarded_listener(path));
}

START_TEST(bind_to_a_bound_path_fails)
{
	start_rival(_i, "s");
	ASSERT_FAILS(g_bind_fd(new_socket(false), "s"), EADDRINUSE);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	config.reuse = REUSE_ALWAYS;
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(is_served("s"));
}
END_TEST

START_TEST(bind_to_an_own_bound_path_fails)
{
	guarded_listener("s");
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(is_served("s"));
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(bind_to_a_stale_path_fails_as_without_the_guard)
{
	make_stale("s");
	ASSERT_FAILS(g_bind_fd(new_socket(false), "s"), EADDRINUSE);
	config.reuse = REUSE_NEVER;
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(so_reuseaddr_replaces_a_stale_path)
{
	int fd = new_socket(true);

	make_stale("s");
	ASSERT_SUCCEEDS(g_bind_fd(fd, "s"));
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert(is_served("s"));
	ck_assert(is_claimed("s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

START_TEST(a_stale_path_that_cannot_be_removed_is_in_use_as_without_the_guard)
{
	int fd = new_socket(true);

	make_stale("s");
	config.debug = true;
	start_log();
	forbid_with(SYS_unlinkat, EACCES);
	ASSERT_FAILS(g_bind_fd(fd, "s"), EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(logged(), "failed as without the guard: the path exists"));
	ck_assert_ptr_null(strstr(logged(), "refused"));
}
END_TEST

/* Another thread reuses each number at once that the guard closes. */
static bool recycled[1024];
static int misuses;

static long reuse_closed(long number, const long arguments[6])
{
	int fd = (int)arguments[0];
	long result;

	if ((number == SYS_close || number == CALL_LOCK) && fd >= 0 && fd < 1024)
		misuses += recycled[fd];
	result = make_call(number, arguments);
	if (number == SYS_close && result == 0 && fd < 1024)
		recycled[fd] = dup2(STDIN_FILENO, fd) == fd;
	return result;
}

/* Fills the table of owned paths with paths that all have the same claim. */
static void fill_table(void)
{
	struct kernel_file found;
	int claim = open("claim", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq(inode_stat(AT_FDCWD, "claim", &found), 0);
	for (ino_t i = 1; i <= 3 * 4096; i++) {
		struct inode inode = {.file = {.dev = 1, .ino = i}};
		struct file_id file = file_id_of(&found);

		owned_add(&inode, &file, claim, 0, false);
	}
}

START_TEST(a_claim_that_does_not_fit_in_the_table_is_closed_once)
{
	int fd = new_socket(false);

	fill_table();
	replace_system_calls(reuse_closed);
	ASSERT_SUCCEEDS(g_bind_fd(fd, "s"));
	ASSERT_SUCCEEDS(g_link("s", "t"));
	ck_assert_int_eq(misuses, 0);
	ck_assert(!exists(FILE_OF("s")));
	ck_assert(!exists(FILE_OF("t")));
	ASSERT_SUCCEEDS(g_unlink("s")); /* it still holds the socket */
	ck_assert_int_eq(misuses, 0);
}
END_TEST

static int replaces_own_stale_path(const void *path)
{
	replace_system_calls(reuse_closed);
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(true), path));
	return misuses;
}

/* Its mutex is locked through the claim, because another user may not open the lock file. */
START_TEST(a_claim_is_not_used_after_its_path_was_replaced)
{
	ck_assert_int_eq(chmod(".", 0777), 0);
	close(guarded_listener("s"));
	ck_assert_int_eq(run_as_stranger(replaces_own_stale_path, "s"), 0);
}
END_TEST

/* An unguarded process unlinks s once, just before the guard makes this system call. */
static long unlinked_before;

static long unlink_before(long number, const long arguments[6])
{
	if (number == unlinked_before && unlink("s") == 0)
		unlinked_before = -1;
	return make_call(number, arguments);
}

START_TEST(a_stale_path_that_is_removed_during_the_check_may_be_bound)
{
	static const long calls[] = {SYS_connect, SYS_unlinkat};

	make_stale("s");
	unlinked_before = calls[_i];
	replace_system_calls(unlink_before);
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(true), "s"));
	ck_assert_int_eq(unlinked_before, -1);
}
END_TEST

START_TEST(reuse_always_replaces_a_stale_path)
{
	make_stale("s");
	config.reuse = REUSE_ALWAYS;
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(false), "s"));
}
END_TEST

/* A child of a crashed server may still hold the claim. The kernel's answer takes precedence. */
START_TEST(a_leftover_claim_does_not_protect_a_stale_path)
{
	pid_t helper = start_child(close_and_stay_alive, "s");

	ck_assert(is_claimed("s"));
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(true), "s"));
	ck_assert(is_claimed("s"));
	kill_child(helper);
	ck_assert(is_claimed("s")); /* by us, through a new lock file */
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static void claim_for_unknown_socket(const void *path)
{
	struct record record;
	struct lockfile lock;

	record_describe_caller(&record, -1);
	lockfile_init(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_release(&lock);
}

/* The kernel's answer, that the socket is stale, takes precedence over any claim. */
START_TEST(a_claim_for_an_unknown_socket_does_not_protect_a_stale_path)
{
	make_stale("s");
	start_child(claim_for_unknown_socket, "s");
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(true), "s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(own_stale_paths_are_replaced)
{
	int before = count_descriptors();

	for (int i = 0; i < 5; i++) {
		int fd = new_socket(true);

		ASSERT_SUCCEEDS(g_bind_fd(fd, "s"));
		ck_assert(is_claimed("s"));
		close(fd);
	}
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(so_reuseaddr_replaces_no_other_files)
{
	write_file("s", "content");
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	make_stale("stale");
	ck_assert_int_eq(symlink("stale", "link"), 0);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "link"), EADDRINUSE);
	ck_assert(exists("s") && exists("link") && exists("stale"));
}
END_TEST

/* An unguarded process unlinked the path. Its owner is alive, and holds the claim. */
START_TEST(bind_to_a_claimed_absent_path_fails)
{
	pid_t rival = start_child(serve_guarded, "s");

	ck_assert_int_eq(unlink("s"), 0);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(!exists("s"));
	ck_assert(is_claimed("s"));
	kill_child(rival);
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(false), "s"));
}
END_TEST

START_TEST(the_refusal_of_an_absent_path_is_reported)
{
	int fd;

	start_child(serve_guarded, "s");
	ck_assert_int_eq(unlink("s"), 0);
	fd = new_socket(false);
	start_log();
	ASSERT_FAILS(g_bind_fd(fd, "s"), EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(logged(), "refused"));
}
END_TEST

START_TEST(an_absent_path_whose_owner_closed_the_socket_is_free)
{
	pid_t rival = start_child(close_and_stay_alive, "s");

	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(is_claimed("s"));
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(false), "s"));
	kill_child(rival);
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(an_absent_own_path_is_bound_again)
{
	guarded_listener("s");
	ck_assert_int_eq(unlink("s"), 0); /* without the guard */
	guarded_listener("s");
	ck_assert(is_claimed("s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

/* In an NFS directory, the local kernel does not know the sockets of other hosts. */
START_TEST(a_claim_of_another_host_reserves_the_path)
{
	struct record record;
	struct lockfile lock;
	int claim;

	fake_kernel(&(struct fake_results){.filesystem = NFS_TYPE});
	make_stale("s");
	record_describe_caller(&record, -1);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	lockfile_init(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	claim = lockfile_claim(&lock, &record);
	lockfile_release(&lock);
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ASSERT_FAILS(g_rename("s", "t"), EADDRINUSE);
	ck_assert(exists("s"));
	lockfile_release_claim(claim);
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

START_TEST(a_bind_that_fails_leaves_no_file)
{
	int fd = guarded_listener("s");
	int before;

	write_file("file", "");
	before = count_descriptors();
	ASSERT_FAILS(g_bind_fd(fd, "t"), EINVAL); /* bound already */
	ck_assert_int_eq(count_descriptors(), before);
	fd = new_socket(false);
	ASSERT_FAILS(g_bind_fd(fd, "absent/t"), ENOENT);
	ASSERT_FAILS(g_bind_fd(fd, "file/t"), ENOTDIR);
	ASSERT_FAILS(g_bind_fd(-1, "t"), EBADF);
	ck_assert(!exists("t") && !exists(FILE_OF("t")));
	ck_assert_int_eq(count_descriptors(), before + 1);
}
END_TEST

/* Even if a bind to this path would be refused. */
START_TEST(other_descriptors_are_left_to_libc)
{
	pid_t rival = start_child(serve_guarded, "claimed");
	int internet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *const paths[] = {"s", "claimed"};

	ck_assert_int_eq(unlink("claimed"), 0);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		ASSERT_FAILS(g_bind_fd(internet, paths[i]), EAFNOSUPPORT);
		ASSERT_FAILS(g_bind_fd(STDIN_FILENO, paths[i]), ENOTSOCK);
		ASSERT_FAILS(g_bind_fd(-1, paths[i]), EBADF);
	}
	ck_assert(!exists("s") && !exists(FILE_OF("s")));
	ASSERT_FAILS(g_bind_fd(new_socket(false), "claimed"), EADDRINUSE);
	kill_child(rival);
	start_child(hold_mutex, "s");
	ASSERT_FAILS(g_bind_fd(internet, "s"), EAFNOSUPPORT);
}
END_TEST

START_TEST(other_addresses_are_left_to_libc)
{
	struct sockaddr_un abstract = {.sun_family = AF_UNIX};
	struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "s"};
	const struct sockaddr *address = (const struct sockaddr *)&path;

	strcpy(abstract.sun_path + 1, absolute_path("s")); /* a name that no other test uses */
	ASSERT_SUCCEEDS(guarded_bind(new_socket(false), (const struct sockaddr *)&abstract,
		sizeof(abstract)));
	ASSERT_SUCCEEDS(guarded_bind(new_socket(false), address,
		sizeof(sa_family_t))); /* autobind */
	ASSERT_FAILS(guarded_bind(new_socket(false), address, 1), EINVAL);
	ASSERT_FAILS(guarded_bind(new_socket(false), address, sizeof(path) + 1), EINVAL);
	path.sun_family = AF_INET;
	ASSERT_FAILS(guarded_bind(new_socket(false), address, sizeof(path)), EINVAL);
	ASSERT_FAILS(guarded_bind(0, address, sizeof(path)), ENOTSOCK);
	ck_assert(!exists("s") && !exists(FILE_OF("s")));
}
END_TEST

/* The path ends with the address, even without a NUL. */
START_TEST(a_path_ends_with_the_length_of_the_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[sizeof(address.sun_path) + 1] = {0};

	memset(name, 'n', sizeof(address.sun_path));
	memcpy(address.sun_path, name, sizeof(address.sun_path));
	ASSERT_SUCCEEDS(guarded_bind(new_socket(false), (const struct sockaddr *)&address,
		sizeof(address)));
	ck_assert(exists(name));
	ck_assert(is_claimed(name));
	ASSERT_SUCCEEDS(guarded_bind(new_socket(false), (const struct sockaddr *)&address,
		offsetof(struct sockaddr_un, sun_path) + 3));
	ck_assert(exists("nnn"));
	ck_assert(is_claimed("nnn"));
}
END_TEST

/* The address is at the end of a page, and the next page is not mapped. */
START_TEST(nothing_after_an_address_is_read)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages =
		mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1;
	char *at;

	ck_assert_ptr_ne(pages, MAP_FAILED);
	at = pages + page - length;
	memcpy(at, &address, length);
	ck_assert_int_eq(mprotect(pages + page, page, PROT_NONE), 0);
	ASSERT_SUCCEEDS(guarded_bind(new_socket(false), (const struct sockaddr *)(void *)at,
		length));
	ck_assert(exists("s"));
	ASSERT_FAILS(guarded_bind(new_socket(false), (const struct sockaddr *)(void *)at,
			     sizeof(address)),
		EFAULT);
}
END_TEST

static int binds_without_files(const void *about)
{
	const struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
	int fd = new_socket(false);

	(void)about;
	/* From here on Check cannot write its notes either: no assertions. */
	if (setrlimit(RLIMIT_FSIZE, &none) != 0)
		return 1;
	errno = ERRNO_SENTINEL;
	return g_bind_fd(fd, "s") == 0 && errno == ERRNO_SENTINEL ? 0 : 2;
}

/* Writing the record must not raise SIGXFSZ, which would kill a service with a file size limit of
 * 0. */
START_TEST(bind_works_without_disk_space_for_a_record)
{
	ck_assert_int_eq(run_in_child(binds_without_files, NULL), 0);
	ck_assert(exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(a_bind_without_a_lock_file_works)
{
	ck_assert_int_eq(mkdir(FILE_OF("s"), 0700), 0);
	guarded_listener("s");
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(exists(FILE_OF("s")));
}
END_TEST

START_TEST(a_bind_works_with_few_descriptors)
{
	int fd = new_socket(false);

	leave_descriptors(_i);
	ASSERT_SUCCEEDS(g_bind_fd(fd, "s"));
	ck_assert(exists("s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

/* ---- failures of libc's bind ---- */

static int (*real_bind)(int, const struct sockaddr *, socklen_t);
static int error_of_bind;

static int failing_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	(void)fd, (void)address, (void)length;
	performed++;
	errno = error_of_bind;
	return -1;
}

/* The lock file may have used the last disk space. Then bind is tried again without it. */
START_TEST(bind_without_disk_space_is_tried_without_a_lock_file)
{
	static const int errors[] = {ENOSPC, EDQUOT};

	libc.bind = failing_bind;
	error_of_bind = errors[_i % 2];
	if (_i >= 2)
		ck_assert_int_eq(mkdir(FILE_OF("s"), 0700), 0); /* so there is no lock file */
	ASSERT_FAILS(g_bind_fd(new_socket(false), "s"), error_of_bind);
	ck_assert_int_eq(performed, _i >= 2 ? 1 : 2);
	ck_assert_int_eq(exists(FILE_OF("s")), _i >= 2);
}
END_TEST

/* A rival binds the path and dies before each attempt. */
static int bind_after_a_rival(int fd, const struct sockaddr *address, socklen_t length)
{
	if (!exists("s"))
		make_stale("s");
	performed++;
	return real_bind(fd, address, length);
}

START_TEST(a_bind_that_always_loses_fails_with_eaddrinuse)
{
	real_bind = libc.bind;
	libc.bind = bind_after_a_rival;
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert_int_gt(performed, 1);
	ck_assert_int_lt(performed, 100);
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static int bind_and_lose_path(int fd, const struct sockaddr *address, socklen_t length)
{
	int result = real_bind(fd, address, length);

	remove_s();
	return result;
}

START_TEST(a_path_removed_right_after_bind_is_not_claimed)
{
	real_bind = libc.bind;
	libc.bind = bind_and_lose_path;
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(false), "s"));
	ck_assert(!exists("s") && !exists(FILE_OF("s")));
}
END_TEST

START_TEST(an_ignored_bind_leaves_no_file)
{
	config.only = "/nowhere/*";
	ASSERT_SUCCEEDS(g_bind_fd(new_socket(false), "s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

/* ---- rename ---- */

START_TEST(a_live_path_is_not_renamed_over)
{
	start_rival(_i, "s");
	write_file("file", "");
	guarded_listener("mine");
	ASSERT_FAILS(g_rename("file", "s"), EADDRINUSE);
	ASSERT_FAILS(g_rename("mine", "s"), EADDRINUSE);
	ASSERT_FAILS(g_rename_with("mine", "s", RENAME_EXCHANGE), EADDRINUSE);
	ASSERT_FAILS(g_rename_with("file", "s", RENAME_EXCHANGE), EADDRINUSE);
	ck_assert_int_eq(performed, 0);
	ck_assert(is_served("s") && is_served("mine") && exists("file"));
	ck_assert(is_claimed("mine"));
	ck_assert_int_eq(is_claimed("s"), _i % 2);
}
END_TEST

START_TEST(a_live_path_is_not_renamed_away)
{
	start_rival(_i, "s");
	write_file("file", "");
	ASSERT_FAILS(g_rename("s", "t"), EADDRINUSE);
	ASSERT_FAILS(g_rename("s", "file"), EADDRINUSE);
	ASSERT_FAILS(g_rename_with("s", "file", RENAME_EXCHANGE), EADDRINUSE);
	ASSERT_FAILS(g_rename_with("s", "t", RENAME_NOREPLACE), EADDRINUSE);
	ck_assert_int_eq(performed, 0);
	ck_assert(is_served("s"));
	ck_assert(!exists("t") && !exists(FILE_OF("t")));
}
END_TEST

/* The kernel lets it fail with EEXIST and replaces nothing, so the guard does not refuse it. */
START_TEST(libc_refuses_a_rename_noreplace)
{
	start_rival(_i, "s");
	guarded_listener("mine");
	ASSERT_FAILS(g_rename_with("mine", "s", RENAME_NOREPLACE), EEXIST);
	ck_assert(is_served("s") && is_served("mine"));
	ck_assert(is_claimed("mine"));
}
END_TEST

START_TEST(the_rename_of_an_own_path_moves_its_claim)
{
	guarded_listener("s");
	ASSERT_SUCCEEDS(g_rename("s", "t"));
	ck_assert(is_served("t") && !exists("s"));
	ck_assert(is_claimed("t") && !exists(FILE_OF("s")));
	ASSERT_SUCCEEDS(g_unlink("t"));
	ck_assert(!exists("t") && !exists(FILE_OF("t")));
}
END_TEST

START_TEST(an_own_path_replaces_a_stale_one)
{
	pid_t rival = start_rival(_i, "t");

	kill_child(rival);
	guarded_listener("s");
	ASSERT_SUCCEEDS(g_rename("s", "t"));
	ck_assert(is_served("t") && !exists("s"));
	ck_assert(is_claimed("t") && !exists(FILE_OF("s")));
	ASSERT_SUCCEEDS(g_unlink("t"));
	ck_assert(!exists(FILE_OF("t")));
}
END_TEST

START_TEST(an_own_path_replaces_another_own_path)
{
	int before = count_descriptors();
	int a = guarded_listener("a");
	int b = guarded_listener("b");

	ASSERT_SUCCEEDS(g_rename("a", "b"));
	ck_assert(is_served("b") && !exists("a"));
	ck_assert(is_claimed("b") && !exists(FILE_OF("a")));
	close(b);
	ck_assert(is_served("b"));
	ASSERT_SUCCEEDS(g_unlink("b"));
	close(a);
	ck_assert(!exists(FILE_OF("b")));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(exchanged_own_paths_are_still_owned)
{
	guarded_listener("a");
	make_stale("b");
	ASSERT_SUCCEEDS(g_rename_with("a", "b", RENAME_EXCHANGE));
	ck_assert(is_served("b") && !is_served("a"));
	ck_assert(is_claimed("b") && !is_claimed("a"));
	ASSERT_SUCCEEDS(g_unlink("b"));
	ASSERT_SUCCEEDS(g_unlink("a"));
	ck_assert(!exists(FILE_OF("a")) && !exists(FILE_OF("b")));
}
END_TEST

/* Otherwise the claim would remain beside a file that we do not own. */
START_TEST(a_claim_that_cannot_be_exchanged_is_released)
{
	char name[NAME_MAX] = "";

	memset(name, 'n', sizeof(name) - 1);
	guarded_listener("s");
	write_file(name, "");
	ASSERT_SUCCEEDS(g_rename_with(_i ? name : "s", _i ? "s" : name, RENAME_EXCHANGE));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(a_file_replaces_an_own_path)
{
	guarded_listener("s");
	write_file("file", "");
	ASSERT_SUCCEEDS(g_rename("file", "s"));
	ck_assert(!exists("file") && !exists(FILE_OF("s")) && !exists(FILE_OF("file")));
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

START_TEST(a_stale_path_is_renamed)
{
	make_stale("s");
	ASSERT_SUCCEEDS(g_rename("s", "t"));
	ck_assert(exists("t") && !exists("s"));
	ck_assert(!exists(FILE_OF("s")) && !exists(FILE_OF("t")));
}
END_TEST

START_TEST(a_path_is_not_renamed_to_a_claimed_absent_path)
{
	pid_t rival = start_child(serve_guarded, "t");

	ck_assert_int_eq(unlink("t"), 0);
	guarded_listener("s");
	ASSERT_FAILS(g_rename("s", "t"), EADDRINUSE);
	ck_assert(is_served("s") && !exists("t"));
	ck_assert(is_claimed("s") && is_claimed("t"));
	write_file("file", "");
	ASSERT_SUCCEEDS(g_rename("file", "t")); /* no socket, no owner */
	ASSERT_SUCCEEDS(g_unlink("t"));
	kill_child(rival);
	ASSERT_SUCCEEDS(g_rename("s", "t"));
}
END_TEST

START_TEST(the_rename_of_one_link_to_another_changes_nothing)
{
	start_owner("s", SOCK_STREAM);
	ck_assert_int_eq(link("s", "t"), 0);
	ASSERT_SUCCEEDS(g_rename("s", "t"));
	ck_assert(exists("s") && exists("t"));
}
END_TEST

/* Both paths have the same lock file. The call must not wait for the mutex that it holds itself. */
START_TEST(a_path_is_renamed_to_itself)
{
	guarded_listener("s");
	make_stale("stale");
	ASSERT_SUCCEEDS(g_rename("s", "s"));
	ASSERT_SUCCEEDS(g_rename("s", "./s"));
	ASSERT_SUCCEEDS(g_rename_with("s", "s", RENAME_EXCHANGE));
	ck_assert(is_served("s") && is_claimed("s"));
	ASSERT_SUCCEEDS(g_rename("stale", "stale"));
	start_owner("theirs", SOCK_STREAM);
	ASSERT_SUCCEEDS(g_rename("theirs", "theirs"));
	ck_assert(is_served("theirs"));
}
END_TEST

START_TEST(renaming_an_absent_path_fails_as_without_the_guard)
{
	start_owner("s", SOCK_STREAM);
	ASSERT_FAILS(g_rename("absent", "s"), ENOENT);
	ASSERT_FAILS(g_rename("absent", "t"), ENOENT);
	ASSERT_FAILS(g_rename("", "t"), ENOENT);
	ck_assert(is_served("s"));
}
END_TEST

START_TEST(a_failed_rename_keeps_the_claim)
{
	guarded_listener("s");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ASSERT_FAILS(g_rename("s", "dir"), EISDIR);
	ASSERT_FAILS(g_rename("s", "absent/t"), ENOENT);
	ASSERT_FAILS(g_rename_with("s", "dir", 0x80), EINVAL);
	ck_assert(is_served("s") && is_claimed("s"));
	ASSERT_SUCCEEDS(g_unlink("s"));
}
END_TEST

/* Whether the record says that the owner is removing the path: see lockfile_mark_leaving. */
static bool record_says_left(const char *path)
{
	struct lockfile lock;
	struct record record = {0};

	lockfile_init(&lock, AT_FDCWD, path);
	ck_assert(lockfile_open_readonly(&lock));
	ck_assert(lockfile_read_record(&lock, &record));
	lockfile_release(&lock);
	return record.leaving;
}

static int unlink_and_exit(const struct call *call)
{
	libc.unlinkat(call->dirfd, call->path, 0);
	_exit(0);
}

static int exits_during_unlink(const void *path)
{
	struct call call = {"unlink", unlink_and_exit, AT_FDCWD, path, 0, NULL, 0};

	return guard_unlink(&call);
}

START_TEST(an_owner_killed_during_the_unlink_leaves_the_path_free)
{
	start_child(serve_guarded, "s");
	guarded_listener("t");
	ck_assert_int_eq(run_in_child(exits_during_unlink, "t"), 0);
	ck_assert(!exists("t") && is_claimed("t"));
	ck_assert(record_says_left("t"));
	ck_assert(!record_says_left("s"));
}
END_TEST

static int expect_both_left(const struct call *call)
{
	ck_assert(record_says_left("s"));
	ck_assert(record_says_left("t"));
	return perform_rename(call);
}

static int expect_none_left_at_s(const struct call *call)
{
	ck_assert(!record_says_left("s"));
	return perform_rename(call);
}

START_TEST(the_record_of_a_path_that_a_rename_cannot_replace_says_held)
{
	struct call call = {
		"renameat2", expect_none_left_at_s, AT_FDCWD, "t", AT_FDCWD, "s", RENAME_NOREPLACE};

	start_child(serve_guarded, "s");
	guarded_listener("t");
	ASSERT_FAILS(guard_rename(&call), EEXIST);
	ck_assert_int_eq(performed, 1);
	ck_assert(!record_says_left("s") && !record_says_left("t"));
}
END_TEST

/* If the process is killed right after the rename, both paths are free: one is absent, and the
 * other leads to a new socket. */
START_TEST(both_records_say_left_during_a_replacing_rename)
{
	struct call call = {"rename", expect_both_left, AT_FDCWD, "s", AT_FDCWD, "t", 0};

	guarded_listener("s");
	guarded_listener("t");
	ck_assert_int_eq(guard_rename(&call), 0);
	ck_assert(!record_says_left("t"));
}
END_TEST

START_TEST(an_own_path_replaces_a_file)
{
	guarded_listener("s");
	write_file("file", "");
	ASSERT_SUCCEEDS(g_rename("s", "file"));
	ck_assert(is_served("file") && is_claimed("file"));
	ck_assert(!exists(FILE_OF("s")));
	ASSERT_SUCCEEDS(g_unlink("file"));
}
END_TEST

START_TEST(the_claim_on_a_replaced_path_is_released)
{
	int before = count_descriptors();
	int fd;

	make_stale("s");
	fd = guarded_listener("t");
	ASSERT_SUCCEEDS(g_rename("s", "t"));
	close(fd);
	ck_assert(!exists(FILE_OF("t")));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(the_record_of_a_path_that_remains_does_not_say_left)
{
	guarded_listener("s");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ASSERT_FAILS(g_rename("s", "dir"), EISDIR);
	ck_assert(!record_says_left("s"));
	ASSERT_SUCCEEDS(g_rename("s", "t"));
	ck_assert(!record_says_left("t"));
	make_stale("u");
	ASSERT_SUCCEEDS(g_rename_with("t", "u", RENAME_EXCHANGE));
	ck_assert(!record_says_left("u"));
}
END_TEST

START_TEST(renames_of_files_and_directories_are_left_to_libc)
{
	write_file("a", "");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ASSERT_SUCCEEDS(g_rename("a", "b"));
	ASSERT_SUCCEEDS(g_rename("dir", "rid"));
	ASSERT_SUCCEEDS(g_rename_with("b", "rid", RENAME_EXCHANGE));
	ASSERT_FAILS(g_rename("b", "rid"), ENOTDIR);
	ck_assert(!exists(FILE_OF("a")) && !exists(FILE_OF("b")));
}
END_TEST

/* ---- link ---- */

START_TEST(a_process_owns_its_link_to_its_socket)
{
	guarded_listener("p.1");
	ASSERT_SUCCEEDS(g_link("p.1", "p"));
	ck_assert(is_claimed("p") && is_claimed("p.1"));
	ASSERT_SUCCEEDS(g_unlink("p.1"));
	ck_assert(!exists(FILE_OF("p.1")));
	ck_assert(is_served("p") && is_claimed("p"));
	ASSERT_SUCCEEDS(g_unlink("p"));
	ck_assert(!exists("p") && !exists(FILE_OF("p")));
}
END_TEST

START_TEST(a_process_may_unlink_its_link_to_a_foreign_socket)
{
	start_rival(_i, "p");
	ASSERT_SUCCEEDS(g_link("p", "p.bak"));
	ASSERT_FAILS(g_unlink("p"), EADDRINUSE);
	ck_assert(is_served("p"));
	ASSERT_SUCCEEDS(g_unlink("p.bak"));
	ck_assert(!exists("p.bak") && !exists(FILE_OF("p.bak")));
	ck_assert(is_served("p"));
	ck_assert_int_eq(is_claimed("p"), _i % 2);
}
END_TEST

/* Without a lock file, no claim shows that this process made the link, and it does not own the
 * socket. */
START_TEST(without_a_claim_a_link_to_a_foreign_socket_is_not_owned)
{
	start_rival(_i, "p");
	ck_assert_int_eq(mkdir(FILE_OF("p.bak"), 0700), 0);
	ASSERT_SUCCEEDS(g_link("p", "p.bak"));
	ASSERT_FAILS(g_unlink("p.bak"), EADDRINUSE);
	ck_assert(is_served("p.bak"));
}
END_TEST

START_TEST(an_ignored_link_leaves_no_file)
{
	guarded_listener("p");
	config.ignore = "*/p.bak";
	ASSERT_SUCCEEDS(g_link("p", "p.bak"));
	ck_assert(is_served("p.bak") && !exists(FILE_OF("p.bak")));
	ck_assert(is_claimed("p"));
}
END_TEST

START_TEST(an_ignored_rename_leaves_no_file)
{
	static const char *const ignored[] = {"*/p.bak", "*/p", "*/p:*/p.bak"};

	make_stale("p");
	config.ignore = ignored[_i];
	config.debug = true;
	start_log();
	ASSERT_SUCCEEDS(g_rename("p", "p.bak"));
	ck_assert(!exists("p") && exists("p.bak"));
	ck_assert(!exists(FILE_OF("p")) && !exists(FILE_OF("p.bak")));
	ck_assert_int_eq(strstr(logged(), "a setting excludes the path") != NULL, _i == 2);
}
END_TEST

START_TEST(a_rename_and_a_link_are_logged_as_allowed)
{
	guarded_listener("s");
	config.debug = true;
	start_log();
	ASSERT_SUCCEEDS(g_link("s", "t"));
	ck_assert_ptr_nonnull(strstr(logged(), "no live owner claims the path"));
	ck_assert_ptr_null(strstr(logged(), "no live owner loses a path"));
	ASSERT_SUCCEEDS(g_rename("s", "u"));
	ck_assert_ptr_nonnull(strstr(logged(), "no live owner loses a path"));
}
END_TEST

static int link_and_lose_path(const struct call *call)
{
	int result = perform_link(call);

	ck_assert_int_eq(unlink(call->newpath), 0);
	return result;
}

START_TEST(a_link_removed_at_once_is_not_claimed)
{
	struct call call = {"link", link_and_lose_path, AT_FDCWD, "p", AT_FDCWD, "p.bak", 0};

	guarded_listener("p");
	ck_assert_int_eq(guard_link(&call), 0);
	ck_assert(!exists(FILE_OF("p.bak")));
	ck_assert(is_claimed("p"));
}
END_TEST

START_TEST(a_link_made_by_another_process_is_not_owned)
{
	start_owner("p", SOCK_STREAM);
	ck_assert_int_eq(link("p", "p.bak"), 0); /* without the guard */
	ASSERT_FAILS(g_unlink("p.bak"), EADDRINUSE);
}
END_TEST

START_TEST(a_claimed_absent_path_is_not_linked)
{
	start_child(serve_guarded, "p");
	ck_assert_int_eq(unlink("p"), 0);
	guarded_listener("p.1");
	ASSERT_FAILS(g_link("p.1", "p"), EADDRINUSE);
	ck_assert(!exists("p"));
	ck_assert(is_claimed("p"));
}
END_TEST

static int gate[2];

static void close_and_bind_again_later(const void *path)
{
	char byte;
	bool bound;

	close(guarded_listener(path));
	if (fork() != 0)
		return;
	ck_assert_int_eq(read(gate[0], &byte, 1), 1);
	ck_assert_int_eq(unlink(path), 0); /* without the guard */
	bound = g_bind_fd(new_socket(false), path) == 0;
	ck_assert_int_eq(write(gate[0], &bound, 1), 1);
	_exit(0);
}

/* When its process binds the path again, it is a rival. */
START_TEST(a_link_voids_the_claim_of_an_owner_that_closed_its_socket)
{
	char bound = 2;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, gate), 0);
	start_child(close_and_bind_again_later, "p");
	ck_assert_int_eq(unlink("p"), 0);
	guarded_listener("p.1");
	ck_assert(is_claimed("p"));
	ASSERT_SUCCEEDS(g_link("p.1", "p"));
	ck_assert(is_claimed("p"));
	ck_assert_int_eq(write(gate[1], "", 1), 1);
	ck_assert_int_eq(read(gate[1], &bound, 1), 1);
	ck_assert_int_eq(bound, 0);
}
END_TEST

/* An unguarded process may remove the path just before the link. */
START_TEST(a_link_to_an_existing_claimed_path_is_not_tried)
{
	start_child(serve_guarded, "p");
	guarded_listener("p.1");
	performed = 0;
	ASSERT_FAILS(g_link("p.1", "p"), EEXIST);
	ck_assert_int_eq(performed, 0);
}
END_TEST

/* Each time, another process leaves a claim on the absent path. */
static long link_always_loses(long number, const long arguments[6])
{
	if (number == SYS_unlinkat) {
		errno = EPERM;
		return -1;
	}
	return make_call(number, arguments);
}

START_TEST(a_link_that_always_loses_fails_with_eexist)
{
	start_child(close_and_stay_alive, "p");
	ck_assert_int_eq(unlink("p"), 0);
	guarded_listener("p.1");
	replace_system_calls(link_always_loses);
	performed = 0;
	ASSERT_FAILS(g_link("p.1", "p"), EEXIST);
	ck_assert_int_eq(performed, 0);
}
END_TEST

START_TEST(a_link_that_fails_leaves_no_file)
{
	guarded_listener("s");
	write_file("file", "");
	ASSERT_FAILS(g_link("s", "file"), EEXIST);
	ASSERT_FAILS(g_link("s", "s"), EEXIST);
	ASSERT_FAILS(g_link("s", "absent/t"), ENOENT);
	ASSERT_FAILS(g_link("absent", "t"), ENOENT);
	ASSERT_SUCCEEDS(g_link("file", "other"));
	ck_assert(!exists(FILE_OF("file")) && !exists(FILE_OF("t")) && !exists(FILE_OF("other")));
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(a_symlink_to_a_socket_is_followed_only_on_request)
{
	guarded_listener("s");
	ck_assert_int_eq(symlink("s", "link"), 0);
	ASSERT_SUCCEEDS(g_link_with("link", "a", 0)); /* a second symlink */
	ck_assert(!exists(FILE_OF("a")));
	ASSERT_SUCCEEDS(g_link_with("link", "b", AT_SYMLINK_FOLLOW));
	ck_assert(is_claimed("b"));
	ASSERT_SUCCEEDS(g_unlink("b"));
	ASSERT_SUCCEEDS(g_unlink("a"));
	ck_assert(is_served("s") && is_claimed("s"));
}
END_TEST

static bool record_of(const char *path, struct record *record)
{
	struct lockfile lock;
	bool found;

	lockfile_init(&lock, AT_FDCWD, path);
	found = lockfile_open_readonly(&lock) && lockfile_read_record(&lock, record);
	lockfile_release(&lock);
	return found;
}

/* Otherwise the guard could not check whether the socket of a claim still exists. */
START_TEST(the_record_of_a_link_names_the_socket)
{
	struct record record, linked;

	guarded_listener("p");
	ASSERT_SUCCEEDS(g_link("p", "p.bak"));
	ck_assert(record_of("p", &record));
	ck_assert(record_of("p.bak", &linked));
	ck_assert_uint_ne(linked.socket, 0);
	ck_assert_uint_eq(linked.socket, record.socket);
	ck_assert_uint_eq(linked.cookie, record.cookie);
}
END_TEST

static int link_without_a_lock_file(const struct call *call)
{
	ck_assert(exists(FILE_OF("a")));
	ck_assert(!exists(FILE_OF("link")));
	return perform_link(call);
}

/* The lock file belongs to the path that the symlink leads to, which the guard does not search for.
 */
START_TEST(no_lock_file_is_created_beside_a_followed_symlink)
{
	struct call call = {"linkat", link_without_a_lock_file, AT_FDCWD, "link", AT_FDCWD, "a",
		AT_SYMLINK_FOLLOW};

	guarded_listener("s");
	ck_assert_int_eq(symlink("s", "link"), 0);
	ck_assert_int_eq(guard_link(&call), 0);
	ck_assert(is_claimed("a"));
}
END_TEST

/* Programs rely on getting the lowest free descriptor. */
START_TEST(claims_have_high_descriptors)
{
	int fd = new_socket(false);
	int low[8];

	for (int i = 0; i < 8; i++)
		low[i] = dup(fd);
	for (int i = 0; i < 8; i++)
		close(low[i]);
	ASSERT_SUCCEEDS(g_bind_fd(fd, "s"));
	ASSERT_SUCCEEDS(g_link("s", "t"));
	ck_assert(is_claimed("s") && is_claimed("t"));
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(dup(fd), low[i]);
}
END_TEST

/* ---- with standard input closed ---- */

/* The next descriptor that the guard opens is 0, which must work like any other. */
START_TEST(descriptor_0_works_like_any_other)
{
	int fd = new_socket(false);
	int reused = new_socket(true);
	pid_t rival = start_rival(_i, "r");

	make_stale("old");
	make_stale("older");
	ck_assert_int_eq(chmod(".", _i / RIVALS ? 01777 : 0755), 0);
	close(STDIN_FILENO);
	ASSERT_SUCCEEDS(g_bind_fd(fd, "s"));
	ck_assert(is_claimed("s"));
	ASSERT_FAILS(g_unlink("r"), EADDRINUSE);
	ASSERT_FAILS(g_rename("s", "r"), EADDRINUSE);
	ASSERT_SUCCEEDS(g_rename("s", "t"));
	ck_assert(is_claimed("t"));
	ASSERT_SUCCEEDS(g_link("t", "s"));
	ck_assert(is_claimed("s"));
	ASSERT_SUCCEEDS(g_unlink("old"));
	ASSERT_SUCCEEDS(g_bind_fd(reused, "older"));
	ck_assert(is_claimed("older"));
	ASSERT_SUCCEEDS(g_rename_with("older", "t", RENAME_EXCHANGE));
	ck_assert(is_claimed("older"));
	ASSERT_SUCCEEDS(g_unlink("older"));
	ASSERT_SUCCEEDS(g_unlink("t"));
	ASSERT_SUCCEEDS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")) && !exists(FILE_OF("t")) && !exists(FILE_OF("older")));
	ASSERT_FAILS(fcntl(STDIN_FILENO, F_GETFD), EBADF);
	kill_child(rival);
}
END_TEST

/* ---- simultaneous starts ---- */

/* Starts like a server: unlink, bind, listen. Returns whether the path leads to its socket. */
static int start_like_a_server(const void *path)
{
	int fd = new_socket(false);

	if (g_unlink(path) != 0 && errno != ENOENT)
		return 1;
	if (g_bind_fd(fd, path) != 0)
		return 1;
	ck_assert_int_eq(listen(fd, 8), 0);
	usleep(20000); /* while the others try to take the path */
	if (!is_served(path))
		return 2; /* stolen */
	return 0;
}

static int compete(const void *path)
{
	pid_t pids[4];
	int winners = 0;
	int status;

	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(start_like_a_server(path));
	}
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert(WIFEXITED(status));
		if (WEXITSTATUS(status) == 2)
			return 2;
		winners += WEXITSTATUS(status) == 0;
	}
	return winners > 0 ? 0 : 1;
}

START_TEST(no_path_is_stolen_when_many_servers_start_at_once)
{
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(run_in_child(compete, "s"), 0);
}
END_TEST

static void add_unlink(TCase *cases)
{
	tcase_add_loop_test(cases, a_live_path_is_not_unlinked, 0, RIVALS);
	tcase_add_loop_test(cases, a_bound_path_is_not_unlinked_before_its_socket_listens, 0, 3);
	tcase_add_test(cases, a_stale_path_is_unlinked);
	tcase_add_test(cases, an_own_path_is_unlinked_with_its_lock_file);
	tcase_add_test(cases, an_own_path_is_unlinked_after_its_listener_is_closed);
	tcase_add_test(cases, a_forked_child_may_unlink_its_parents_path);
	tcase_add_test(cases, the_path_of_a_held_socket_is_unlinked);
	tcase_add_test(cases, unlink_of_an_absent_path_fails_with_enoent);
	tcase_add_test(cases, a_path_that_appears_during_the_call_is_judged_again);
	tcase_add_test(cases, a_rival_that_binds_during_the_call_keeps_its_path);
	tcase_add_test(cases, a_path_that_only_libc_sees_is_left_to_libc);
	ADD_ROOT_TEST(cases, a_failed_lookup_is_not_repeated);
	tcase_add_test(cases, a_call_that_succeeds_with_a_slash_appended_is_not_repeated);
	tcase_add_test(cases, a_directory_that_appears_during_the_call_is_left_to_libc);
	tcase_add_test(cases, a_long_path_is_unlinked);
	tcase_add_test(cases, a_lock_file_at_a_long_path_is_left_to_libc);
	tcase_add_test(cases, the_longest_absent_path_fails_with_enoent);
	tcase_add_test(cases, an_own_path_is_still_owned_if_libc_fails_to_unlink_it);
	tcase_add_test(cases, other_files_are_left_to_libc);
	tcase_add_test(cases, a_slash_after_a_socket_fails_with_enotdir);
	tcase_add_test(cases, no_path_to_a_live_socket_is_unlinked);
	tcase_add_loop_test(cases, an_unreadable_path_fails_with_efault, 0, 2);
	tcase_add_test(cases, a_path_is_read_no_further_than_its_end);
	tcase_add_test(cases, a_forbidden_lookup_does_not_remove_a_live_path);
	tcase_add_test(cases, an_ignored_path_is_left_to_libc);
	if (suite_is_root("without_connect_permission_a_live_path_is_refused"))
		tcase_add_loop_test(cases, without_connect_permission_a_live_path_is_refused, 0,
			RIVALS);
	if (suite_is_root("without_connect_permission_a_stale_path_is_unlinked"))
		tcase_add_loop_test(cases, without_connect_permission_a_stale_path_is_unlinked, 0,
			RIVALS);
	tcase_add_test(cases, without_a_lock_file_the_kernel_decides);
	tcase_add_loop_test(cases, with_few_descriptors_no_live_path_is_unlinked, 0, RIVALS * FEW);
	tcase_add_loop_test(cases, a_stale_path_without_a_descriptor_for_its_mutex_is_not_unlinked,
		0, 4);
	tcase_add_test(cases, an_own_path_without_a_descriptor_for_its_mutex_is_unlinked);
	tcase_add_loop_test(cases, with_few_descriptors_an_own_path_is_unlinked, 0, FEW);
	tcase_add_test(cases, the_wait_for_a_mutex_ends);
	tcase_add_test(cases, every_call_waits_for_a_bounded_time);
	tcase_add_loop_test(cases, a_live_path_is_refused_without_its_mutex, 0, RIVALS);
	tcase_add_loop_test(cases, a_process_that_owns_paths_waits_for_the_mutex_of_a_live_path, 0,
		RIVALS);
	tcase_add_test(cases, a_held_socket_is_not_refused_without_its_mutex);
	ADD_ROOT_TEST(cases, a_planted_lock_file_names_no_owner);
	tcase_add_test(cases, unlink_waits_for_a_mutex_held_for_a_moment);
	tcase_add_test(cases, the_unlink_of_an_own_path_waits_for_its_mutex);
	tcase_add_test(cases, a_socket_replaced_by_a_file_is_left_to_libc);
	tcase_add_loop_test(cases, a_path_that_becomes_inaccessible_is_not_unlinked, 0, 2);
	tcase_add_test(cases, a_lock_file_is_removed_under_its_own_mutex);
	tcase_add_test(cases, the_mutex_of_a_remaining_lock_file_is_released);
	tcase_add_test(cases, the_unlink_of_an_own_path_is_logged_as_allowed);
	tcase_add_test(cases, a_nested_call_does_not_wait_for_its_own_mutex);
	tcase_add_test(cases, unlink_of_an_alternate_lock_file_without_a_socket_succeeds);
	tcase_add_test(cases, unlink_of_a_lock_file_that_is_already_gone_succeeds);
	ADD_ROOT_TEST(cases, the_unlink_of_a_planted_lock_file_leaves_no_other);
	tcase_add_loop_test(cases, no_call_becomes_a_cancellation_point, 0, 2);
	tcase_add_test(cases, signals_and_cancellation_are_blocked_during_the_call);
}

static void add_bind(TCase *cases)
{
	tcase_add_test(cases, a_bind_claims_the_path);
	tcase_add_test(cases, claims_have_high_descriptors);
	tcase_add_loop_test(cases, bind_to_a_bound_path_fails, 0, RIVALS);
	tcase_add_test(cases, bind_to_an_own_bound_path_fails);
	tcase_add_test(cases, bind_to_a_stale_path_fails_as_without_the_guard);
	tcase_add_test(cases, so_reuseaddr_replaces_a_stale_path);
	tcase_add_test(cases, a_claim_that_does_not_fit_in_the_table_is_closed_once);
	ADD_ROOT_TEST(cases, a_claim_is_not_used_after_its_path_was_replaced);
	tcase_add_loop_test(cases, a_stale_path_that_is_removed_during_the_check_may_be_bound, 0,
		2);
	tcase_add_test(cases, reuse_always_replaces_a_stale_path);
	tcase_add_test(cases, a_leftover_claim_does_not_protect_a_stale_path);
	tcase_add_test(cases, a_claim_for_an_unknown_socket_does_not_protect_a_stale_path);
	tcase_add_test(cases, own_stale_paths_are_replaced);
	tcase_add_test(cases, so_reuseaddr_replaces_no_other_files);
	tcase_add_test(cases, bind_to_a_claimed_absent_path_fails);
	tcase_add_test(cases, the_refusal_of_an_absent_path_is_reported);
	tcase_add_test(cases, an_absent_path_whose_owner_closed_the_socket_is_free);
	tcase_add_test(cases, an_absent_own_path_is_bound_again);
	tcase_add_test(cases, a_claim_of_another_host_reserves_the_path);
	tcase_add_test(cases, a_bind_that_fails_leaves_no_file);
	tcase_add_test(cases, other_descriptors_are_left_to_libc);
	tcase_add_test(cases, other_addresses_are_left_to_libc);
	tcase_add_test(cases, a_path_ends_with_the_length_of_the_address);
	tcase_add_test(cases, nothing_after_an_address_is_read);
	tcase_add_test(cases, bind_works_without_disk_space_for_a_record);
	tcase_add_test(cases, a_bind_without_a_lock_file_works);
	tcase_add_loop_test(cases, a_bind_works_with_few_descriptors, 0, FEW);
	tcase_add_test(cases, an_ignored_bind_leaves_no_file);
	tcase_add_loop_test(cases, bind_without_disk_space_is_tried_without_a_lock_file, 0, 4);
	tcase_add_test(cases, a_bind_that_always_loses_fails_with_eaddrinuse);
	tcase_add_test(cases, a_path_removed_right_after_bind_is_not_claimed);
}

static void add_rename(TCase *cases)
{
	tcase_add_loop_test(cases, a_live_path_is_not_renamed_over, 0, RIVALS);
	tcase_add_loop_test(cases, a_live_path_is_not_renamed_away, 0, RIVALS);
	tcase_add_loop_test(cases, libc_refuses_a_rename_noreplace, 0, RIVALS);
	tcase_add_test(cases, the_rename_of_an_own_path_moves_its_claim);
	tcase_add_loop_test(cases, an_own_path_replaces_a_stale_one, 0, RIVALS);
	tcase_add_test(cases, an_own_path_replaces_another_own_path);
	tcase_add_test(cases, exchanged_own_paths_are_still_owned);
	tcase_add_test(cases, a_file_replaces_an_own_path);
	tcase_add_test(cases, a_stale_path_is_renamed);
	tcase_add_test(cases, a_path_is_not_renamed_to_a_claimed_absent_path);
	tcase_add_test(cases, the_rename_of_one_link_to_another_changes_nothing);
	tcase_add_test(cases, a_path_is_renamed_to_itself);
	tcase_add_test(cases, renaming_an_absent_path_fails_as_without_the_guard);
	tcase_add_test(cases, a_failed_rename_keeps_the_claim);
	tcase_add_test(cases, a_path_removed_during_the_call_is_not_renamed);
	tcase_add_test(cases, a_file_is_renamed_to_a_path_freed_during_the_call);
	tcase_add_test(cases, an_owner_killed_during_the_unlink_leaves_the_path_free);
	tcase_add_test(cases, the_record_of_a_path_that_remains_does_not_say_left);
	tcase_add_test(cases, both_records_say_left_during_a_replacing_rename);
	tcase_add_test(cases, the_record_of_a_path_that_a_rename_cannot_replace_says_held);
	tcase_add_test(cases, an_own_path_replaces_a_file);
	tcase_add_loop_test(cases, a_claim_that_cannot_be_exchanged_is_released, 0, 2);
	tcase_add_test(cases, the_claim_on_a_replaced_path_is_released);
	tcase_add_test(cases, renames_of_files_and_directories_are_left_to_libc);
}

static void add_link(TCase *cases)
{
	tcase_add_test(cases, a_process_owns_its_link_to_its_socket);
	tcase_add_loop_test(cases, a_process_may_unlink_its_link_to_a_foreign_socket, 0, RIVALS);
	tcase_add_loop_test(cases, without_a_claim_a_link_to_a_foreign_socket_is_not_owned, 0,
		RIVALS);
	tcase_add_test(cases, an_ignored_link_leaves_no_file);
	tcase_add_loop_test(cases, an_ignored_rename_leaves_no_file, 0, 3);
	tcase_add_test(cases, a_rename_and_a_link_are_logged_as_allowed);
	tcase_add_test(cases, a_link_removed_at_once_is_not_claimed);
	tcase_add_test(cases, a_link_made_by_another_process_is_not_owned);
	tcase_add_test(cases, a_claimed_absent_path_is_not_linked);
	tcase_add_test(cases, a_link_voids_the_claim_of_an_owner_that_closed_its_socket);
	tcase_add_test(cases, a_link_to_an_existing_claimed_path_is_not_tried);
	tcase_add_test(cases, a_link_that_always_loses_fails_with_eexist);
	tcase_add_test(cases, a_link_that_fails_leaves_no_file);
	tcase_add_test(cases, a_symlink_to_a_socket_is_followed_only_on_request);
	tcase_add_test(cases, the_record_of_a_link_names_the_socket);
	tcase_add_test(cases, no_lock_file_is_created_beside_a_followed_symlink);
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("guard");
	TCase *forbidden = suite_cases(suite, "forbidden");

	add_unlink(suite_cases(suite, "unlink"));
	add_bind(suite_cases(suite, "bind"));
	add_rename(suite_cases(suite, "rename"));
	add_link(suite_cases(suite, "link"));
	tcase_add_test(forbidden, without_memory_an_absent_path_fails_with_enoent);
	tcase_add_test(forbidden,
		a_stale_path_that_cannot_be_removed_is_in_use_as_without_the_guard);
	tcase_add_loop_test(suite_cases(suite, "descriptor 0"), descriptor_0_works_like_any_other,
		0, 2 * RIVALS);
	tcase_add_test(suite_cases(suite, "together"),
		no_path_is_stolen_when_many_servers_start_at_once);
	return suite;
}
