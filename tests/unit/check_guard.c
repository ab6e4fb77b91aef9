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

#include "config.h"
#include "guard.h"
#include "libc.h"
#include "lockfile.h"
#include "owned.h"
#include "suite.h"

#define FILE_OF(path) LOCKFILE_PREFIX path LOCKFILE_SUFFIX

/* ---- the door, as interpose.c has it ---- */

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

/* A guarded listener of this process. */
static int guarded(const char *path)
{
	int fd = new_socket(false);

	ASSERT_WORKS(g_bind_fd(fd, path));
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

static void own_guarded(const void *path)
{
	guarded(path);
}

/* What a path leads to by now: can a client connect? */
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

	lockfile_name(&lock, AT_FDCWD, path);
	claimed = lockfile_peek(&lock) && lockfile_claimed(&lock);
	lockfile_leave(&lock);
	return claimed;
}

/* Somebody else's live socket: unguarded for even cases, guarded for odd ones. */
static pid_t start_rival(int i, const char *path)
{
	return i % 2 ? start(own_guarded, path) : start_owner(path, SOCK_STREAM);
}
#define RIVALS 2

/* ---- unlink ---- */

START_TEST(a_live_name_is_not_unlinked)
{
	pid_t rival = start_rival(_i, "s");
	int before = open_descriptors();

	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ck_assert_int_eq(performed, 0);
	ck_assert(is_served("s"));
	ck_assert_int_eq(is_claimed("s"), _i % 2); /* nothing came, nothing went */
	ck_assert_int_eq(exists(FILE_OF("s")), _i % 2);
	ck_assert_int_eq(open_descriptors(), before);
	end(rival);
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_bound_name_is_not_unlinked_before_it_listens)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	pid_t rival = start_owner("s", types[_i]);

	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ck_assert(exists("s"));
	end(rival);
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

START_TEST(a_stale_name_is_unlinked)
{
	make_stale("s");
	write_file(FILE_OF("s"), "left by a crash");
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
	ck_assert_int_eq(performed, 1);
}
END_TEST

START_TEST(an_own_name_is_unlinked_with_its_lock_file)
{
	int before = open_descriptors();
	int fd = guarded("s");

	ck_assert(is_claimed("s"));
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
	close(fd);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* Servers close the listener first, while their workers hold it. */
START_TEST(an_own_name_is_unlinked_after_its_listener_is_closed)
{
	int fd = guarded("s");
	pid_t worker = start(own_guarded, "other"); /* a fork of ours */

	close(fd);
	ck_assert(is_served("s"));
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	end(worker);
}
END_TEST

static int unlinks(const void *path)
{
	errno = MARK;
	return g_unlink(path) == 0 && errno == MARK ? 0 : 1;
}

START_TEST(a_fork_may_unlink_what_its_parent_bound)
{
	guarded("s");
	ck_assert_int_eq(in_child(unlinks, "s"), 0);
	ck_assert(!exists("s"));
}
END_TEST

/* A listener that came by SCM_RIGHTS or with exec is ours as well. */
START_TEST(a_held_socket_s_name_is_unlinked)
{
	int fd = listening("s", SOCK_STREAM); /* past the guard */

	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	close(fd);
}
END_TEST

START_TEST(an_absent_name_is_not_there)
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

/* Between a look and the call a rival may bind the name: the call must not take it then. */
static int bind_and_unlink(const struct call *call)
{
	if (performed++ == 0)
		bound("s", SOCK_STREAM);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(a_name_that_appears_meanwhile_is_not_unlinked)
{
	struct call call = {"unlink", bind_and_unlink, AT_FDCWD, "s", 0, NULL, 0};

	guard_unlink(&call);
	ck_assert_int_ge(performed, 1);
	if (!exists("s")) /* ours by descriptor, so it may go, but only by a look of its own */
		ck_assert_int_ge(performed, 2);
}
END_TEST

static void listen_at_s(const void *about)
{
	(void)about;
	listening("s", SOCK_STREAM);
}

static int rival_binds_and_unlink(const struct call *call)
{
	if (performed++ == 0)
		start(listen_at_s, NULL);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(a_rival_that_appears_meanwhile_keeps_its_name)
{
	struct call call = {"unlink", rival_binds_and_unlink, AT_FDCWD, "s", 0, NULL, 0};
	int result = guard_unlink(&call);

	ck_assert_int_eq(result, -1);
	ck_assert(is_served("s"));
}
END_TEST

/* As behind another library that translates paths: never there for us, always for libc. */
static int unlink_elsewhere(const struct call *call)
{
	performed++;
	if (call->path[strlen(call->path) - 1] != '/')
		return 0;
	errno = ENOTDIR;
	return -1;
}

START_TEST(a_name_that_only_libc_sees_is_libc_s)
{
	struct call call = {"unlink", unlink_elsewhere, AT_FDCWD, "s", 0, NULL, 0};

	ck_assert_int_eq(guard_unlink(&call), 0);
	ck_assert_int_gt(performed, 1);
}
END_TEST

static int unlinks_elsewhere(const void *path)
{
	struct call call = {"unlink", unlink_elsewhere, AT_FDCWD, path, 0, NULL, 0};

	return guard_unlink(&call) == -1 && errno == EACCES && performed == 1 ? 0 : 1;
}

START_TEST(a_name_that_may_not_be_looked_at_is_not_looked_at_again)
{
	ck_assert_int_eq(mkdir("dir", 0700), 0);
	ck_assert_int_eq(as_stranger(unlinks_elsewhere, "dir/s"), 0);
}
END_TEST

static int succeed(const struct call *call)
{
	(void)call;
	return 0;
}

START_TEST(what_libc_does_with_a_slash_behind_is_done)
{
	struct call call = {"rename", succeed, AT_FDCWD, "s", AT_FDCWD, "t", 0};

	ASSERT_WORKS(guard_rename(&call)); /* a directory that appeared meanwhile */
}
END_TEST

static int make_directory_and_unlink(const struct call *call)
{
	if (performed++ == 0)
		ck_assert_int_eq(mkdir("s", 0755), 0);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(a_directory_that_appears_meanwhile_is_libc_s)
{
	struct call call = {"unlink", make_directory_and_unlink, AT_FDCWD, "s", 0, NULL, 0};

	ASSERT_FAILS(guard_unlink(&call), EISDIR);
	ck_assert_int_eq(performed, 2);
	ck_assert(exists("s"));
}
END_TEST

/* A path of more than LOCKFILE_PATH bytes, in directories that are made. */
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

START_TEST(a_long_path_is_unlinked_as_any)
{
	const char *path = long_path("s");

	ASSERT_FAILS(g_unlink(path), ENOENT);
	write_file(path, "");
	ASSERT_WORKS(g_unlink(path));
	ck_assert(!exists(path));
}
END_TEST

/* So long that there is no room for a slash behind it. */
START_TEST(an_absent_name_at_the_longest_path_is_not_there)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 2 ? '/' : '.';
	path[sizeof(path) - 2] = 's';
	path[sizeof(path) - 1] = '\0';
	ASSERT_FAILS(g_unlink(path), ENOENT);
	write_file("s", "");
	ASSERT_WORKS(g_unlink(path));
}
END_TEST

static int unlinks_nothing_without_memory(const void *path)
{
	forbid_with(CALL_MAP, ENOMEM);
	errno = MARK;
	return g_unlink(path) == -1 && errno == ENOENT && performed == 0 ? 0 : 1;
}

START_TEST(without_memory_an_absent_name_is_not_there)
{
	ck_assert_int_eq(in_child(unlinks_nothing_without_memory, long_path("s")), 0);
}
END_TEST

START_TEST(a_lock_file_at_a_long_path_is_libc_s)
{
	const char *path = long_path(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX);

	write_file(path, "");
	ASSERT_WORKS(g_unlink(path));
	ck_assert(!exists(path));
	ASSERT_FAILS(g_unlink(path), ENOENT); /* and no claim to have removed it */
}
END_TEST

static int fail_with_erofs(const struct call *call)
{
	(void)call;
	errno = EROFS;
	return -1;
}

START_TEST(an_own_name_that_libc_does_not_unlink_stays_ours)
{
	struct call call = {"unlink", fail_with_erofs, AT_FDCWD, "s", 0, NULL, 0};

	guarded("s");
	ASSERT_FAILS(guard_unlink(&call), EROFS);
	ck_assert(is_served("s") && is_claimed("s"));
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(what_is_no_socket_is_libc_s)
{
	write_file("file", "");
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	listening("s", SOCK_STREAM);
	ck_assert_int_eq(symlink("s", "link"), 0);
	ASSERT_WORKS(g_unlink("file"));
	ASSERT_WORKS(g_unlink("fifo"));
	ASSERT_WORKS(g_unlink("link"));
	ASSERT_FAILS(g_unlink("dir"), EISDIR);
	ck_assert(exists("s"));
	ck_assert_int_eq(performed, 4);
}
END_TEST

START_TEST(a_slash_behind_a_socket_is_an_error)
{
	start_owner("s", SOCK_STREAM);
	ASSERT_FAILS(g_unlink("s/"), ENOTDIR);
	ASSERT_FAILS(g_unlink("s/."), ENOTDIR);
	ck_assert(is_served("s"));
}
END_TEST

START_TEST(no_spelling_of_a_live_name_is_unlinked)
{
	int dir;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ck_assert_int_eq(symlink("dir", "link"), 0);
	start_owner("dir/s", SOCK_STREAM);
	dir = open("dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_FAILS(g_unlink("./dir//s"), EADDRINUSE);
	ASSERT_FAILS(g_unlink("link/s"), EADDRINUSE);
	ASSERT_FAILS(g_unlink("dir/../dir/s"), EADDRINUSE);
	ASSERT_FAILS(g_unlink(absolute("dir/s")), EADDRINUSE);
	ASSERT_FAILS(g_unlinkat(dir, "s"), EADDRINUSE);
	ck_assert(is_served("dir/s"));
}
END_TEST

START_TEST(an_unreadable_path_is_a_fault)
{
	const char *volatile null = NULL;

	ASSERT_FAILS(g_unlink(null), EFAULT);
	ASSERT_FAILS(g_unlink((const char *)1), EFAULT);
	ASSERT_FAILS(g_rename(null, "t"), EFAULT);
	make_stale("s");
	ASSERT_FAILS(g_rename("s", null), EFAULT);
	ASSERT_FAILS(g_link(null, "t"), EFAULT);
	ASSERT_FAILS(g_link("s", null), EFAULT);
	ASSERT_FAILS(guarded_bind(new_socket(false), (const struct sockaddr *)null, 110), EFAULT);
	ck_assert(exists("s"));
}
END_TEST

START_TEST(an_ignored_path_is_libc_s)
{
	start_owner("s", SOCK_STREAM);
	config.ignore = "*/s";
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static int unlinks_as_stranger(const void *path)
{
	ASSERT_FAILS(g_unlink(path), EADDRINUSE);
	return 0;
}

/* The contender may write the directory and not the socket: umask 022 makes it so. */
START_TEST(who_may_not_connect_may_not_take_the_name)
{
	start_rival(_i, "s");
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(chmod(".", 0777), 0);
	ck_assert_int_eq(as_stranger(unlinks_as_stranger, "s"), 0);
	ck_assert(is_served("s"));
}
END_TEST

START_TEST(who_may_not_connect_may_take_a_stale_name)
{
	pid_t rival = start_rival(_i, "s");

	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(chmod(".", 0777), 0);
	end(rival);
	ck_assert_int_eq(as_stranger(unlinks, "s"), 0);
	ck_assert(!exists("s"));
}
END_TEST

START_TEST(without_a_directory_to_write_the_kernel_decides)
{
	start_owner("s", SOCK_STREAM);
	ck_assert_int_eq(mkdir(FILE_OF("s"), 0700), 0); /* in the lock file's way */
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	make_stale("t");
	ck_assert_int_eq(mkdir(FILE_OF("t"), 0700), 0);
	ASSERT_WORKS(g_unlink("t"));
}
END_TEST

/* Leaves so many descriptors to be had. */
static void leave_descriptors(int count)
{
	int last = use_up_descriptors();

	while (count-- > 0)
		close(last--);
}
#define FEW 8 /* more than any call uses at a time */

START_TEST(with_few_descriptors_no_live_name_is_taken)
{
	start_rival(_i, "s");
	leave_descriptors(_i / RIVALS);
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ASSERT_FAILS(g_rename("s", "t"), EADDRINUSE);
	ck_assert(exists("s"));
}
END_TEST

START_TEST(with_few_descriptors_an_own_name_is_taken)
{
	guarded("s");
	leave_descriptors(_i);
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static void hold_mutex(const void *path)
{
	struct lockfile *lock = malloc(sizeof(*lock));

	lockfile_name(lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try(lock), LOCKFILE_HELD);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

START_TEST(a_mutex_held_for_ever_is_waited_for_with_a_bound)
{
	pid_t holder;
	double start_time = now();

	make_stale("s");
	holder = start(hold_mutex, "s");
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ck_assert(now() - start_time > 0.5);
	ck_assert(exists("s"));
	end(holder);
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

static void log_anew(void)
{
	config.log_to = LOG_TO_FILE;
	config.log_file = "log";
	unlink("log");
}

/* What was logged since; there must be something. */
static const char *logged(void)
{
	static char line[512];
	int fd = open("log", O_RDONLY | O_CLOEXEC);

	memset(line, 0, sizeof(line));
	ck_assert_int_gt(read(fd, line, sizeof(line) - 1), 0);
	close(fd);
	return line;
}

/* The line of a refusal. */
static const char *refused_unlink(const char *path)
{
	int before = open_descriptors();

	log_anew();
	ASSERT_FAILS(g_unlink(path), EADDRINUSE);
	ck_assert_int_eq(open_descriptors(), before);
	return logged();
}

/* Who waits in vain for a mutex tells that the file was busy. */
START_TEST(a_live_name_is_refused_without_its_mutex)
{
	pid_t rival = start_rival(_i, "s");
	pid_t holder = start(hold_mutex, "s");

	ck_assert_ptr_nonnull(strstr(refused_unlink("s"), "in use by"));
	ck_assert(is_served("s"));
	end(rival);
	end(holder);
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

/* One that was received may be closed by another thread before there is an answer. */
START_TEST(who_has_names_waits_for_the_mutex_of_a_live_one)
{
	pid_t rival = start_rival(_i, "s");
	pid_t holder = start(hold_mutex, "s");

	guarded("other");
	ck_assert_ptr_nonnull(strstr(refused_unlink("s"), "busy"));
	end(rival);
	end(holder);
}
END_TEST

/* In a sticky directory anybody may put a file there, and tell what he likes in it. */
START_TEST(a_planted_lock_file_tells_nothing)
{
	pid_t rival = start(own_guarded, "s");

	ck_assert_int_eq(chmod(".", 01777), 0);
	ck_assert_int_eq(chown(FILE_OF("s"), 12345, 12345), 0);
	ck_assert_ptr_nonnull(strstr(refused_unlink("s"), "left no record"));
	end(rival);
}
END_TEST

START_TEST(the_unlink_of_an_own_name_is_told_as_such)
{
	guarded("s");
	config.debug = true;
	log_anew();
	ASSERT_WORKS(g_unlink("s"));
	ck_assert_ptr_nonnull(strstr(logged(), "its own socket"));
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

/* All at once, for each waits three seconds. */
START_TEST(every_call_waits_with_a_bound)
{
	static int (*const acts[])(void) = {
		bind_s, link_t_to_s, rename_t_to_s, unlink_lockfile_of_s};
	enum { ACTS = sizeof(acts) / sizeof(acts[0]) };
	pid_t pids[ACTS];
	int status;

	make_stale("t");
	start(hold_mutex, "s");
	for (int i = 0; i < ACTS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(acts[i]() == -1 && errno == EADDRINUSE && performed == 0 ? 0 : 1);
	}
	for (int i = 0; i < ACTS; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "act %d", i);
	}
	ck_assert(exists("t") && !exists("s") && exists(FILE_OF("s")));
}
END_TEST

/* Another thread, which is anybody else: its own mutexes a thread does not wait for. */
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

	lockfile_name(&lock, AT_FDCWD, holder->path);
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	pthread_barrier_wait(&holder->taken);
	usleep(200000);
	if (holder->act)
		holder->act();
	lockfile_leave(&lock);
	return NULL;
}

static pthread_t start_holder_that(const char *path, void (*act)(void))
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

/* What was seen before the mutex was had is looked at again. */
START_TEST(a_socket_that_is_a_file_by_then_is_libc_s)
{
	pthread_t thread;

	make_stale("s");
	thread = start_holder_that("s", replace_s_by_a_file);
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(a_name_that_cannot_be_seen_by_then_is_not_taken)
{
	pthread_t thread;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	make_stale("dir/s");
	thread = start_holder_that("dir/s", replace_directory_by_a_file);
	if (_i == 0)
		ASSERT_FAILS(g_unlink("dir/s"), ENOTDIR);
	else
		ASSERT_FAILS(g_rename("dir/s", "t"), ENOTDIR);
	ck_assert(exists("gone/s") && !exists("t"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(a_name_that_is_gone_by_then_is_not_renamed)
{
	pthread_t thread;

	make_stale("s");
	make_stale("t");
	thread = start_holder_that("s", remove_s);
	ASSERT_FAILS(g_rename("s", "t"), ENOENT);
	ck_assert(exists("t"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(a_file_is_renamed_to_a_name_that_is_free_by_then)
{
	pthread_t thread;

	make_stale("s");
	write_file("file", "");
	thread = start_holder_that("s", remove_s);
	ASSERT_WORKS(g_rename("file", "s"));
	ck_assert(exists("s") && !exists("file"));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static void unlink_while_held(const char *path)
{
	pthread_t thread = start_holder_that(path, NULL);

	ASSERT_WORKS(g_unlink(path));
	ck_assert(!exists(path));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

START_TEST(a_mutex_held_for_a_moment_is_waited_for)
{
	make_stale("s");
	unlink_while_held("s");
}
END_TEST

START_TEST(a_held_socket_is_not_refused_without_its_mutex)
{
	int fd = listening("s", SOCK_STREAM); /* past the guard: nothing is noted */

	unlink_while_held("s");
	close(fd);
}
END_TEST

START_TEST(an_own_name_waits_for_its_mutex_too)
{
	guarded("s");
	unlink_while_held("s");
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

/* A program that goes through a directory takes lock files as it finds them, but not from under us.
 */
START_TEST(a_lock_file_is_removed_under_its_own_mutex)
{
	double start_time = now();
	pthread_t thread = start_holder_that("s", NULL);

	ASSERT_WORKS(g_unlink(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX));
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
	start(do_nothing, NULL);
	return fail_with_erofs(call);
}

/* Not by close alone, for the child has a copy. */
START_TEST(a_lock_file_that_stays_has_its_mutex_given_back)
{
	struct call call = {"unlink", fork_and_fail, AT_FDCWD, FILE_OF("s"), 0, NULL, 0};
	struct lockfile lock;

	guarded("s");
	ASSERT_FAILS(guard_unlink(&call), EROFS);
	lockfile_name(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	lockfile_leave(&lock);
}
END_TEST

static struct lockfile outer;

static int unlink_within(const struct call *call)
{
	lockfile_name(&outer, AT_FDCWD, call->path);
	ck_assert_int_eq(lockfile_try(&outer), LOCKFILE_HELD);
	return g_unlink(call->path);
}

/* As another preloaded library does that has its own way to bind. */
START_TEST(a_call_within_a_call_waits_for_no_mutex_of_its_own)
{
	const struct call call = {.perform = unlink_within, .dirfd = AT_FDCWD, .path = "s"};
	double start_time = now();

	make_stale("s");
	ASSERT_WORKS(call.perform(&call));
	ck_assert(now() - start_time < 2);
	ck_assert(!exists("s"));
	lockfile_leave(&outer);
	ck_assert(!exists(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(a_lock_file_that_went_with_its_socket_is_removed_all_the_same)
{
	ASSERT_WORKS(g_unlink(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX));
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

/* unlink is none in glibc, nor in musl; closing a claim or telling a refusal must not make it one.
 */
START_TEST(no_call_becomes_a_cancellation_point)
{
	static char *const names[] = {"ours", "theirs"};
	pthread_t thread;
	void *worked;

	guarded("ours");
	start_owner("theirs", SOCK_STREAM);
	ck_assert_int_eq(pthread_create(&thread, NULL, unlink_with_cancellation_pending, names[_i]),
		0);
	ck_assert_int_eq(pthread_join(thread, &worked), 0);
	ck_assert_ptr_ne(worked, PTHREAD_CANCELED);
	ck_assert_int_eq(*(int *)worked, _i == 0);
}
END_TEST

/* While the mutex is held no handler may run, and afterwards all is as it was. */
static sigset_t mask_within;
static int cancel_within;

static int look_within(const struct call *call)
{
	sigprocmask(SIG_BLOCK, NULL, &mask_within);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_within);
	pthread_setcancelstate(cancel_within, NULL);
	return libc.unlinkat(call->dirfd, call->path, 0);
}

START_TEST(signals_and_cancellation_are_held_off_within)
{
	struct call call = {"unlink", look_within, AT_FDCWD, "s", 0, NULL, 0};
	sigset_t before, after;
	int cancel;

	make_stale("s");
	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	ck_assert_int_eq(sigprocmask(SIG_SETMASK, &before, NULL), 0);
	ASSERT_WORKS(guard_unlink(&call));
	ck_assert(sigismember(&mask_within, SIGTERM) && sigismember(&mask_within, SIGUSR1));
	ck_assert_int_eq(cancel_within, PTHREAD_CANCEL_DISABLE);
	ck_assert_int_eq(sigprocmask(SIG_BLOCK, NULL, &after), 0);
	for (int i = 1; i < SIGRTMAX; i++)
		ck_assert_int_eq(sigismember(&before, i), sigismember(&after, i));
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel);
	ck_assert_int_eq(cancel, PTHREAD_CANCEL_ENABLE);
}
END_TEST

/* ---- bind ---- */

START_TEST(a_bind_claims_the_name)
{
	int fd = guarded("s");

	ck_assert(exists("s"));
	ck_assert(is_claimed("s"));
	ck_assert(is_served("s"));
	close(fd);
}
END_TEST

static void close_and_live_on(const void *path)
{
	close(guarded(path));
}

START_TEST(a_bound_name_is_in_use)
{
	start_rival(_i, "s");
	ASSERT_FAILS(g_bind_fd(new_socket(false), "s"), EADDRINUSE);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	config.reuse = REUSE_ALWAYS;
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(is_served("s"));
}
END_TEST

START_TEST(an_own_bound_name_is_in_use_as_well)
{
	guarded("s");
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(is_served("s"));
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(a_stale_name_is_in_use_as_without_the_guard)
{
	make_stale("s");
	ASSERT_FAILS(g_bind_fd(new_socket(false), "s"), EADDRINUSE);
	config.reuse = REUSE_NEVER;
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(so_reuseaddr_replaces_a_stale_name)
{
	int fd = new_socket(true);

	make_stale("s");
	ASSERT_WORKS(g_bind_fd(fd, "s"));
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert(is_served("s"));
	ck_assert(is_claimed("s"));
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

START_TEST(a_setting_replaces_a_stale_name)
{
	make_stale("s");
	config.reuse = REUSE_ALWAYS;
	ASSERT_WORKS(g_bind_fd(new_socket(false), "s"));
}
END_TEST

/* A helper of a crashed server may hold the claim on: the kernel's answer beats it. */
START_TEST(a_leftover_claim_does_not_keep_a_stale_name)
{
	pid_t helper = start(close_and_live_on, "s");

	ck_assert(is_claimed("s"));
	ASSERT_WORKS(g_bind_fd(new_socket(true), "s"));
	ck_assert(is_claimed("s"));
	end(helper);
	ck_assert(is_claimed("s")); /* ours, on a file of our own */
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static void claim_of_no_known_socket(const void *path)
{
	struct record record;
	struct lockfile lock;

	record_of_self(&record, -1);
	lockfile_name(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_leave(&lock);
}

/* Whatever the claim says of itself: the socket that is there is dead. */
START_TEST(a_claim_of_no_known_socket_does_not_keep_a_stale_name)
{
	make_stale("s");
	start(claim_of_no_known_socket, "s");
	ASSERT_WORKS(g_bind_fd(new_socket(true), "s"));
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(own_stale_names_are_replaced_too)
{
	int before = open_descriptors();

	for (int i = 0; i < 5; i++) {
		int fd = new_socket(true);

		ASSERT_WORKS(g_bind_fd(fd, "s"));
		ck_assert(is_claimed("s"));
		close(fd);
	}
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
	ck_assert_int_eq(open_descriptors(), before);
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

/* Somebody unguarded removed the name; its owner lives, and claims it. */
START_TEST(an_absent_name_that_is_claimed_is_in_use)
{
	pid_t rival = start(own_guarded, "s");

	ck_assert_int_eq(unlink("s"), 0);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert(!exists("s"));
	ck_assert(is_claimed("s"));
	end(rival);
	ASSERT_WORKS(g_bind_fd(new_socket(false), "s"));
}
END_TEST

START_TEST(the_refusal_of_an_absent_name_is_told)
{
	int fd;

	start(own_guarded, "s");
	ck_assert_int_eq(unlink("s"), 0);
	fd = new_socket(false);
	log_anew();
	ASSERT_FAILS(g_bind_fd(fd, "s"), EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(logged(), "refused"));
}
END_TEST

START_TEST(an_absent_name_claimed_by_an_owner_without_socket_is_free)
{
	pid_t rival = start(close_and_live_on, "s");

	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(is_claimed("s"));
	ASSERT_WORKS(g_bind_fd(new_socket(false), "s"));
	end(rival);
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(an_absent_name_of_our_own_is_bound_anew)
{
	guarded("s");
	ck_assert_int_eq(unlink("s"), 0); /* past the guard */
	guarded("s");
	ck_assert(is_claimed("s"));
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

/* A home directory by NFS: the local kernel knows nothing of the other host's sockets. */
START_TEST(another_host_s_claim_keeps_the_name)
{
	struct record record;
	struct lockfile lock;
	int claim;

	pretend(&(struct pretence){.filesystem = NFS_TYPE});
	make_stale("s");
	record_of_self(&record, -1);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	lockfile_name(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	claim = lockfile_claim(&lock, &record);
	lockfile_leave(&lock);
	ASSERT_FAILS(g_unlink("s"), EADDRINUSE);
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ASSERT_FAILS(g_rename("s", "t"), EADDRINUSE);
	ck_assert(exists("s"));
	lockfile_unclaim(claim);
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

START_TEST(a_bind_that_fails_leaves_no_trace)
{
	int fd = guarded("s");
	int before;

	write_file("file", "");
	before = open_descriptors();
	ASSERT_FAILS(g_bind_fd(fd, "t"), EINVAL); /* bound already */
	ck_assert_int_eq(open_descriptors(), before);
	fd = new_socket(false);
	ASSERT_FAILS(g_bind_fd(fd, "absent/t"), ENOENT);
	ASSERT_FAILS(g_bind_fd(fd, "file/t"), ENOTDIR);
	ASSERT_FAILS(g_bind_fd(-1, "t"), EBADF);
	ck_assert(!exists("t") && !exists(FILE_OF("t")));
	ck_assert_int_eq(open_descriptors(), before + 1);
}
END_TEST

/* Even where a bind of this name would be refused. */
START_TEST(other_descriptors_are_libc_s)
{
	pid_t rival = start(own_guarded, "claimed");
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
	end(rival);
	start(hold_mutex, "s");
	ASSERT_FAILS(g_bind_fd(internet, "s"), EAFNOSUPPORT);
}
END_TEST

START_TEST(other_addresses_are_libc_s)
{
	struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0sockguard-check"};
	struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "s"};
	const struct sockaddr *address = (const struct sockaddr *)&path;

	ASSERT_WORKS(guarded_bind(new_socket(false), (const struct sockaddr *)&abstract,
		offsetof(struct sockaddr_un, sun_path) + 16));
	ASSERT_WORKS(guarded_bind(new_socket(false), address, sizeof(sa_family_t))); /* autobind */
	ASSERT_FAILS(guarded_bind(new_socket(false), address, 1), EINVAL);
	ASSERT_FAILS(guarded_bind(new_socket(false), address, sizeof(path) + 1), EINVAL);
	path.sun_family = AF_INET;
	ASSERT_FAILS(guarded_bind(new_socket(false), address, sizeof(path)), EINVAL);
	ASSERT_FAILS(guarded_bind(0, address, sizeof(path)), ENOTSOCK);
	ck_assert(!exists("s") && !exists(FILE_OF("s")));
}
END_TEST

/* The length counts, not a NUL. */
START_TEST(an_address_may_be_cut_short_or_filled)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[sizeof(address.sun_path) + 1] = {0};

	memset(name, 'n', sizeof(address.sun_path));
	memcpy(address.sun_path, name, sizeof(address.sun_path));
	ASSERT_WORKS(guarded_bind(new_socket(false), (const struct sockaddr *)&address,
		sizeof(address)));
	ck_assert(exists(name));
	ck_assert(is_claimed(name));
	ASSERT_WORKS(guarded_bind(new_socket(false), (const struct sockaddr *)&address,
		offsetof(struct sockaddr_un, sun_path) + 3));
	ck_assert(exists("nnn"));
	ck_assert(is_claimed("nnn"));
}
END_TEST

/* An address at the end of a page, and none behind it. */
START_TEST(nothing_behind_an_address_is_read)
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
	ASSERT_WORKS(guarded_bind(new_socket(false), (const struct sockaddr *)(void *)at, length));
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
	errno = MARK;
	return g_bind_fd(fd, "s") == 0 && errno == MARK ? 0 : 2;
}

/* A service that may write no files is not to be ended by the record's SIGXFSZ. */
START_TEST(a_bind_where_no_file_may_be_written_works)
{
	ck_assert_int_eq(in_child(binds_without_files, NULL), 0);
	ck_assert(exists("s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

START_TEST(a_bind_without_a_lock_file_works)
{
	ck_assert_int_eq(mkdir(FILE_OF("s"), 0700), 0);
	guarded("s");
	ASSERT_WORKS(g_unlink("s"));
	ck_assert(!exists("s"));
	ck_assert(exists(FILE_OF("s")));
}
END_TEST

START_TEST(a_bind_works_with_few_descriptors)
{
	int fd = new_socket(false);

	leave_descriptors(_i);
	ASSERT_WORKS(g_bind_fd(fd, "s"));
	ck_assert(exists("s"));
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

/* ---- what libc's bind may say ---- */

static int (*real_bind)(int, const struct sockaddr *, socklen_t);
static int error_of_bind;

static int failing_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	(void)fd, (void)address, (void)length;
	performed++;
	errno = error_of_bind;
	return -1;
}

/* The lock file may have taken the last room: once more without. */
START_TEST(a_bind_without_room_is_tried_without_a_lock_file)
{
	static const int errors[] = {ENOSPC, EDQUOT};

	libc.bind = failing_bind;
	error_of_bind = errors[_i % 2];
	if (_i >= 2)
		ck_assert_int_eq(mkdir(FILE_OF("s"), 0700), 0); /* there is none to blame */
	ASSERT_FAILS(g_bind_fd(new_socket(false), "s"), error_of_bind);
	ck_assert_int_eq(performed, _i >= 2 ? 1 : 2);
	ck_assert_int_eq(exists(FILE_OF("s")), _i >= 2);
}
END_TEST

/* As if a rival's socket came and died before each try. */
static int bind_after_a_rival(int fd, const struct sockaddr *address, socklen_t length)
{
	if (!exists("s"))
		make_stale("s");
	performed++;
	return real_bind(fd, address, length);
}

START_TEST(a_bind_before_which_rivals_always_are_ends_in_use)
{
	real_bind = libc.bind;
	libc.bind = bind_after_a_rival;
	ASSERT_FAILS(g_bind_fd(new_socket(true), "s"), EADDRINUSE);
	ck_assert_int_gt(performed, 1);
	ck_assert_int_lt(performed, 100);
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

static int bind_and_lose(int fd, const struct sockaddr *address, socklen_t length)
{
	int result = real_bind(fd, address, length);

	remove_s();
	return result;
}

START_TEST(a_name_that_is_gone_right_after_its_bind_is_not_claimed)
{
	real_bind = libc.bind;
	libc.bind = bind_and_lose;
	ASSERT_WORKS(g_bind_fd(new_socket(false), "s"));
	ck_assert(!exists("s") && !exists(FILE_OF("s")));
}
END_TEST

START_TEST(an_ignored_bind_leaves_no_trace)
{
	config.only = "/nowhere/*";
	ASSERT_WORKS(g_bind_fd(new_socket(false), "s"));
	ck_assert(!exists(FILE_OF("s")));
}
END_TEST

/* ---- rename ---- */

START_TEST(a_live_name_is_not_renamed_over)
{
	start_rival(_i, "s");
	write_file("file", "");
	guarded("mine");
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

START_TEST(a_live_name_is_not_renamed_away)
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

/* That would take nothing away, and says so itself. */
START_TEST(a_rename_that_replaces_nothing_is_libc_s_to_refuse)
{
	start_rival(_i, "s");
	guarded("mine");
	ASSERT_FAILS(g_rename_with("mine", "s", RENAME_NOREPLACE), EEXIST);
	ck_assert(is_served("s") && is_served("mine"));
	ck_assert(is_claimed("mine"));
}
END_TEST

START_TEST(an_own_name_moves_with_its_claim)
{
	guarded("s");
	ASSERT_WORKS(g_rename("s", "t"));
	ck_assert(is_served("t") && !exists("s"));
	ck_assert(is_claimed("t") && !exists(FILE_OF("s")));
	ASSERT_WORKS(g_unlink("t"));
	ck_assert(!exists("t") && !exists(FILE_OF("t")));
}
END_TEST

START_TEST(an_own_name_replaces_a_stale_one)
{
	pid_t rival = start_rival(_i, "t");

	end(rival);
	guarded("s");
	ASSERT_WORKS(g_rename("s", "t"));
	ck_assert(is_served("t") && !exists("s"));
	ck_assert(is_claimed("t") && !exists(FILE_OF("s")));
	ASSERT_WORKS(g_unlink("t"));
	ck_assert(!exists(FILE_OF("t")));
}
END_TEST

START_TEST(an_own_name_replaces_another_of_ours)
{
	int before = open_descriptors();
	int a = guarded("a");
	int b = guarded("b");

	ASSERT_WORKS(g_rename("a", "b"));
	ck_assert(is_served("b") && !exists("a"));
	ck_assert(is_claimed("b") && !exists(FILE_OF("a")));
	close(b);
	ck_assert(is_served("b"));
	ASSERT_WORKS(g_unlink("b"));
	close(a);
	ck_assert(!exists(FILE_OF("b")));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(exchanged_names_of_ours_stay_ours)
{
	guarded("a");
	make_stale("b");
	ASSERT_WORKS(g_rename_with("a", "b", RENAME_EXCHANGE));
	ck_assert(is_served("b") && !is_served("a"));
	ck_assert(is_claimed("b") && !is_claimed("a"));
	ASSERT_WORKS(g_unlink("b"));
	ASSERT_WORKS(g_unlink("a"));
	ck_assert(!exists(FILE_OF("a")) && !exists(FILE_OF("b")));
}
END_TEST

START_TEST(a_file_replaces_an_own_name)
{
	guarded("s");
	write_file("file", "");
	ASSERT_WORKS(g_rename("file", "s"));
	ck_assert(!exists("file") && !exists(FILE_OF("s")) && !exists(FILE_OF("file")));
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

START_TEST(a_stale_name_is_renamed)
{
	make_stale("s");
	ASSERT_WORKS(g_rename("s", "t"));
	ck_assert(exists("t") && !exists("s"));
	ck_assert(!exists(FILE_OF("s")) && !exists(FILE_OF("t")));
}
END_TEST

START_TEST(a_name_is_not_renamed_to_an_absent_one_that_is_claimed)
{
	pid_t rival = start(own_guarded, "t");

	ck_assert_int_eq(unlink("t"), 0);
	guarded("s");
	ASSERT_FAILS(g_rename("s", "t"), EADDRINUSE);
	ck_assert(is_served("s") && !exists("t"));
	ck_assert(is_claimed("s") && is_claimed("t"));
	write_file("file", "");
	ASSERT_WORKS(g_rename("file", "t")); /* no socket, no owner */
	ASSERT_WORKS(g_unlink("t"));
	end(rival);
	ASSERT_WORKS(g_rename("s", "t"));
}
END_TEST

START_TEST(two_names_of_one_socket_stay_when_renamed)
{
	start_owner("s", SOCK_STREAM);
	ck_assert_int_eq(link("s", "t"), 0);
	ASSERT_WORKS(g_rename("s", "t"));
	ck_assert(exists("s") && exists("t"));
}
END_TEST

/* It has one lock file, and must not wait for itself. */
START_TEST(a_name_is_renamed_to_itself)
{
	guarded("s");
	make_stale("stale");
	ASSERT_WORKS(g_rename("s", "s"));
	ASSERT_WORKS(g_rename("s", "./s"));
	ASSERT_WORKS(g_rename_with("s", "s", RENAME_EXCHANGE));
	ck_assert(is_served("s") && is_claimed("s"));
	ASSERT_WORKS(g_rename("stale", "stale"));
	start_owner("theirs", SOCK_STREAM);
	ASSERT_WORKS(g_rename("theirs", "theirs"));
	ck_assert(is_served("theirs"));
}
END_TEST

START_TEST(renaming_an_absent_name_fails_as_ever)
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
	guarded("s");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ASSERT_FAILS(g_rename("s", "dir"), EISDIR);
	ASSERT_FAILS(g_rename("s", "absent/t"), ENOENT);
	ASSERT_FAILS(g_rename_with("s", "dir", 0x80), EINVAL);
	ck_assert(is_served("s") && is_claimed("s"));
	ASSERT_WORKS(g_unlink("s"));
}
END_TEST

/* What a claim's record says of the name: see lockfile_note_left. */
static bool is_left(const char *path)
{
	struct lockfile lock;
	struct record record = {0};

	lockfile_name(&lock, AT_FDCWD, path);
	ck_assert(lockfile_peek(&lock));
	ck_assert(lockfile_record(&lock, &record));
	lockfile_leave(&lock);
	return record.left;
}

static int end_within(const struct call *call)
{
	libc.unlinkat(call->dirfd, call->path, 0);
	_exit(0);
}

static int ends_within(const void *path)
{
	struct call call = {"unlink", end_within, AT_FDCWD, path, 0, NULL, 0};

	return guard_unlink(&call);
}

START_TEST(who_ends_on_the_way_out_leaves_the_name_free)
{
	start(own_guarded, "s"); /* as a worker that holds the claim on */
	guarded("t");
	ck_assert_int_eq(in_child(ends_within, "t"), 0);
	ck_assert(!exists("t") && is_claimed("t"));
	ck_assert(is_left("t"));
	ck_assert(!is_left("s"));
}
END_TEST

static int see_both_left(const struct call *call)
{
	ck_assert(is_left("s"));
	ck_assert(is_left("t"));
	return perform_rename(call);
}

/* Whoever is killed right after leaves both free: the one is gone, the other another's. */
START_TEST(both_names_are_left_while_one_replaces_the_other)
{
	struct call call = {"rename", see_both_left, AT_FDCWD, "s", AT_FDCWD, "t", 0};

	guarded("s");
	guarded("t");
	ck_assert_int_eq(guard_rename(&call), 0);
	ck_assert(!is_left("t"));
}
END_TEST

START_TEST(an_own_name_replaces_a_file)
{
	guarded("s");
	write_file("file", "");
	ASSERT_WORKS(g_rename("s", "file"));
	ck_assert(is_served("file") && is_claimed("file"));
	ck_assert(!exists(FILE_OF("s")));
	ASSERT_WORKS(g_unlink("file"));
}
END_TEST

START_TEST(the_claim_on_a_replaced_name_is_given_up)
{
	int before = open_descriptors();
	int fd;

	make_stale("s");
	fd = guarded("t");
	ASSERT_WORKS(g_rename("s", "t"));
	close(fd);
	ck_assert(!exists(FILE_OF("t")));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_name_that_stays_is_not_left)
{
	guarded("s");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ASSERT_FAILS(g_rename("s", "dir"), EISDIR);
	ck_assert(!is_left("s"));
	ASSERT_WORKS(g_rename("s", "t"));
	ck_assert(!is_left("t"));
	make_stale("u");
	ASSERT_WORKS(g_rename_with("t", "u", RENAME_EXCHANGE));
	ck_assert(!is_left("u"));
}
END_TEST

START_TEST(files_and_directories_are_libc_s_to_rename)
{
	write_file("a", "");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ASSERT_WORKS(g_rename("a", "b"));
	ASSERT_WORKS(g_rename("dir", "rid"));
	ASSERT_WORKS(g_rename_with("b", "rid", RENAME_EXCHANGE));
	ASSERT_FAILS(g_rename("b", "rid"), ENOTDIR);
	ck_assert(!exists(FILE_OF("a")) && !exists(FILE_OF("b")));
}
END_TEST

/* ---- link ---- */

START_TEST(a_linked_name_is_as_ours_as_the_socket)
{
	guarded("p.1");
	ASSERT_WORKS(g_link("p.1", "p"));
	ck_assert(is_claimed("p") && is_claimed("p.1"));
	ASSERT_WORKS(g_unlink("p.1"));
	ck_assert(!exists(FILE_OF("p.1")));
	ck_assert(is_served("p") && is_claimed("p"));
	ASSERT_WORKS(g_unlink("p"));
	ck_assert(!exists("p") && !exists(FILE_OF("p")));
}
END_TEST

START_TEST(a_name_we_gave_a_foreign_socket_is_ours_to_remove)
{
	start_rival(_i, "p");
	ASSERT_WORKS(g_link("p", "p.bak"));
	ASSERT_FAILS(g_unlink("p"), EADDRINUSE);
	ck_assert(is_served("p"));
	ASSERT_WORKS(g_unlink("p.bak"));
	ck_assert(!exists("p.bak") && !exists(FILE_OF("p.bak")));
	ck_assert(is_served("p"));
	ck_assert_int_eq(is_claimed("p"), _i % 2);
}
END_TEST

/* There can be no lock file, and the inode is not ours. */
START_TEST(a_name_we_gave_a_foreign_socket_without_a_claim_is_not_ours)
{
	start_rival(_i, "p");
	ck_assert_int_eq(mkdir(FILE_OF("p.bak"), 0700), 0);
	ASSERT_WORKS(g_link("p", "p.bak"));
	ASSERT_FAILS(g_unlink("p.bak"), EADDRINUSE);
	ck_assert(is_served("p.bak"));
}
END_TEST

START_TEST(an_ignored_link_leaves_no_trace)
{
	guarded("p");
	config.ignore = "*/p.bak";
	ASSERT_WORKS(g_link("p", "p.bak"));
	ck_assert(is_served("p.bak") && !exists(FILE_OF("p.bak")));
	ck_assert(is_claimed("p"));
}
END_TEST

static int link_and_lose(const struct call *call)
{
	int result = perform_link(call);

	ck_assert_int_eq(unlink(call->newpath), 0);
	return result;
}

START_TEST(a_link_that_is_gone_at_once_is_not_claimed)
{
	struct call call = {"link", link_and_lose, AT_FDCWD, "p", AT_FDCWD, "p.bak", 0};

	guarded("p");
	ck_assert_int_eq(guard_link(&call), 0);
	ck_assert(!exists(FILE_OF("p.bak")));
	ck_assert(is_claimed("p"));
}
END_TEST

START_TEST(another_s_link_is_not_ours)
{
	start_owner("p", SOCK_STREAM);
	ck_assert_int_eq(link("p", "p.bak"), 0); /* past the guard */
	ASSERT_FAILS(g_unlink("p.bak"), EADDRINUSE);
}
END_TEST

START_TEST(an_absent_name_that_is_claimed_is_not_linked)
{
	start(own_guarded, "p");
	ck_assert_int_eq(unlink("p"), 0);
	guarded("p.1");
	ASSERT_FAILS(g_link("p.1", "p"), EADDRINUSE);
	ck_assert(!exists("p"));
	ck_assert(is_claimed("p"));
}
END_TEST

START_TEST(a_link_that_fails_leaves_no_trace)
{
	guarded("s");
	write_file("file", "");
	ASSERT_FAILS(g_link("s", "file"), EEXIST);
	ASSERT_FAILS(g_link("s", "s"), EEXIST);
	ASSERT_FAILS(g_link("s", "absent/t"), ENOENT);
	ASSERT_FAILS(g_link("absent", "t"), ENOENT);
	ASSERT_WORKS(g_link("file", "other"));
	ck_assert(!exists(FILE_OF("file")) && !exists(FILE_OF("t")) && !exists(FILE_OF("other")));
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(a_symlink_to_a_socket_is_linked_as_told)
{
	guarded("s");
	ck_assert_int_eq(symlink("s", "link"), 0);
	ASSERT_WORKS(g_link_with("link", "a", 0)); /* a second symlink */
	ck_assert(!exists(FILE_OF("a")));
	ASSERT_WORKS(g_link_with("link", "b", AT_SYMLINK_FOLLOW));
	ck_assert(is_claimed("b"));
	ASSERT_WORKS(g_unlink("b"));
	ASSERT_WORKS(g_unlink("a"));
	ck_assert(is_served("s") && is_claimed("s"));
}
END_TEST

static bool record_of(const char *path, struct record *record)
{
	struct lockfile lock;
	bool found;

	lockfile_name(&lock, AT_FDCWD, path);
	found = lockfile_peek(&lock) && lockfile_record(&lock, record);
	lockfile_leave(&lock);
	return found;
}

/* Or the claim on it could not be asked whether its socket is still there. */
START_TEST(a_linked_name_s_record_tells_of_the_socket)
{
	struct record record, linked;

	guarded("p");
	ASSERT_WORKS(g_link("p", "p.bak"));
	ck_assert(record_of("p", &record));
	ck_assert(record_of("p.bak", &linked));
	ck_assert_uint_ne(linked.socket, 0);
	ck_assert_uint_eq(linked.socket, record.socket);
	ck_assert_uint_eq(linked.cookie, record.cookie);
}
END_TEST

static int link_without_a_trace(const struct call *call)
{
	ck_assert(exists(FILE_OF("a")));
	ck_assert(!exists(FILE_OF("link")));
	return perform_link(call);
}

/* What has the lock file is the name that the symlink leads to, which is not looked for. */
START_TEST(no_lock_file_is_made_beside_a_symlink_that_is_followed)
{
	struct call call = {
		"linkat", link_without_a_trace, AT_FDCWD, "link", AT_FDCWD, "a", AT_SYMLINK_FOLLOW};

	guarded("s");
	ck_assert_int_eq(symlink("s", "link"), 0);
	ck_assert_int_eq(guard_link(&call), 0);
	ck_assert(is_claimed("a"));
}
END_TEST

/* ---- together ---- */

/* As a server starts: unlink, bind, serve. Says whether it came to own the name. */
static int start_up(const void *path)
{
	int fd = new_socket(false);

	if (g_unlink(path) != 0 && errno != ENOENT)
		return 1;
	if (g_bind_fd(fd, path) != 0)
		return 1;
	ck_assert_int_eq(listen(fd, 8), 0);
	usleep(20000); /* for the others to try it on */
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
			_exit(start_up(path));
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

START_TEST(of_many_that_start_at_once_none_is_robbed)
{
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(in_child(compete, "s"), 0);
}
END_TEST

static void add_unlink(TCase *cases)
{
	tcase_add_loop_test(cases, a_live_name_is_not_unlinked, 0, RIVALS);
	tcase_add_loop_test(cases, a_bound_name_is_not_unlinked_before_it_listens, 0, 3);
	tcase_add_test(cases, a_stale_name_is_unlinked);
	tcase_add_test(cases, an_own_name_is_unlinked_with_its_lock_file);
	tcase_add_test(cases, an_own_name_is_unlinked_after_its_listener_is_closed);
	tcase_add_test(cases, a_fork_may_unlink_what_its_parent_bound);
	tcase_add_test(cases, a_held_socket_s_name_is_unlinked);
	tcase_add_test(cases, an_absent_name_is_not_there);
	tcase_add_test(cases, a_name_that_appears_meanwhile_is_not_unlinked);
	tcase_add_test(cases, a_rival_that_appears_meanwhile_keeps_its_name);
	tcase_add_test(cases, a_name_that_only_libc_sees_is_libc_s);
	ADD_ROOT_TEST(cases, a_name_that_may_not_be_looked_at_is_not_looked_at_again);
	tcase_add_test(cases, what_libc_does_with_a_slash_behind_is_done);
	tcase_add_test(cases, a_directory_that_appears_meanwhile_is_libc_s);
	tcase_add_test(cases, a_long_path_is_unlinked_as_any);
	tcase_add_test(cases, a_lock_file_at_a_long_path_is_libc_s);
	tcase_add_test(cases, an_absent_name_at_the_longest_path_is_not_there);
	tcase_add_test(cases, an_own_name_that_libc_does_not_unlink_stays_ours);
	tcase_add_test(cases, what_is_no_socket_is_libc_s);
	tcase_add_test(cases, a_slash_behind_a_socket_is_an_error);
	tcase_add_test(cases, no_spelling_of_a_live_name_is_unlinked);
	tcase_add_test(cases, an_unreadable_path_is_a_fault);
	tcase_add_test(cases, an_ignored_path_is_libc_s);
	if (suite_is_root("who_may_not_connect_may_not_take_the_name"))
		tcase_add_loop_test(cases, who_may_not_connect_may_not_take_the_name, 0, RIVALS);
	if (suite_is_root("who_may_not_connect_may_take_a_stale_name"))
		tcase_add_loop_test(cases, who_may_not_connect_may_take_a_stale_name, 0, RIVALS);
	tcase_add_test(cases, without_a_directory_to_write_the_kernel_decides);
	tcase_add_loop_test(cases, with_few_descriptors_no_live_name_is_taken, 0, RIVALS * FEW);
	tcase_add_loop_test(cases, with_few_descriptors_an_own_name_is_taken, 0, FEW);
	tcase_add_test(cases, a_mutex_held_for_ever_is_waited_for_with_a_bound);
	tcase_add_test(cases, every_call_waits_with_a_bound);
	tcase_add_loop_test(cases, a_live_name_is_refused_without_its_mutex, 0, RIVALS);
	tcase_add_loop_test(cases, who_has_names_waits_for_the_mutex_of_a_live_one, 0, RIVALS);
	tcase_add_test(cases, a_held_socket_is_not_refused_without_its_mutex);
	ADD_ROOT_TEST(cases, a_planted_lock_file_tells_nothing);
	tcase_add_test(cases, a_mutex_held_for_a_moment_is_waited_for);
	tcase_add_test(cases, an_own_name_waits_for_its_mutex_too);
	tcase_add_test(cases, a_socket_that_is_a_file_by_then_is_libc_s);
	tcase_add_loop_test(cases, a_name_that_cannot_be_seen_by_then_is_not_taken, 0, 2);
	tcase_add_test(cases, a_lock_file_is_removed_under_its_own_mutex);
	tcase_add_test(cases, a_lock_file_that_stays_has_its_mutex_given_back);
	tcase_add_test(cases, the_unlink_of_an_own_name_is_told_as_such);
	tcase_add_test(cases, a_call_within_a_call_waits_for_no_mutex_of_its_own);
	tcase_add_test(cases, a_lock_file_that_went_with_its_socket_is_removed_all_the_same);
	tcase_add_loop_test(cases, no_call_becomes_a_cancellation_point, 0, 2);
	tcase_add_test(cases, signals_and_cancellation_are_held_off_within);
}

static void add_bind(TCase *cases)
{
	tcase_add_test(cases, a_bind_claims_the_name);
	tcase_add_loop_test(cases, a_bound_name_is_in_use, 0, RIVALS);
	tcase_add_test(cases, an_own_bound_name_is_in_use_as_well);
	tcase_add_test(cases, a_stale_name_is_in_use_as_without_the_guard);
	tcase_add_test(cases, so_reuseaddr_replaces_a_stale_name);
	tcase_add_test(cases, a_setting_replaces_a_stale_name);
	tcase_add_test(cases, a_leftover_claim_does_not_keep_a_stale_name);
	tcase_add_test(cases, a_claim_of_no_known_socket_does_not_keep_a_stale_name);
	tcase_add_test(cases, own_stale_names_are_replaced_too);
	tcase_add_test(cases, so_reuseaddr_replaces_no_other_files);
	tcase_add_test(cases, an_absent_name_that_is_claimed_is_in_use);
	tcase_add_test(cases, the_refusal_of_an_absent_name_is_told);
	tcase_add_test(cases, an_absent_name_claimed_by_an_owner_without_socket_is_free);
	tcase_add_test(cases, an_absent_name_of_our_own_is_bound_anew);
	tcase_add_test(cases, another_host_s_claim_keeps_the_name);
	tcase_add_test(cases, a_bind_that_fails_leaves_no_trace);
	tcase_add_test(cases, other_descriptors_are_libc_s);
	tcase_add_test(cases, other_addresses_are_libc_s);
	tcase_add_test(cases, an_address_may_be_cut_short_or_filled);
	tcase_add_test(cases, nothing_behind_an_address_is_read);
	tcase_add_test(cases, a_bind_where_no_file_may_be_written_works);
	tcase_add_test(cases, a_bind_without_a_lock_file_works);
	tcase_add_loop_test(cases, a_bind_works_with_few_descriptors, 0, FEW);
	tcase_add_test(cases, an_ignored_bind_leaves_no_trace);
	tcase_add_loop_test(cases, a_bind_without_room_is_tried_without_a_lock_file, 0, 4);
	tcase_add_test(cases, a_bind_before_which_rivals_always_are_ends_in_use);
	tcase_add_test(cases, a_name_that_is_gone_right_after_its_bind_is_not_claimed);
}

static void add_rename(TCase *cases)
{
	tcase_add_loop_test(cases, a_live_name_is_not_renamed_over, 0, RIVALS);
	tcase_add_loop_test(cases, a_live_name_is_not_renamed_away, 0, RIVALS);
	tcase_add_loop_test(cases, a_rename_that_replaces_nothing_is_libc_s_to_refuse, 0, RIVALS);
	tcase_add_test(cases, an_own_name_moves_with_its_claim);
	tcase_add_loop_test(cases, an_own_name_replaces_a_stale_one, 0, RIVALS);
	tcase_add_test(cases, an_own_name_replaces_another_of_ours);
	tcase_add_test(cases, exchanged_names_of_ours_stay_ours);
	tcase_add_test(cases, a_file_replaces_an_own_name);
	tcase_add_test(cases, a_stale_name_is_renamed);
	tcase_add_test(cases, a_name_is_not_renamed_to_an_absent_one_that_is_claimed);
	tcase_add_test(cases, two_names_of_one_socket_stay_when_renamed);
	tcase_add_test(cases, a_name_is_renamed_to_itself);
	tcase_add_test(cases, renaming_an_absent_name_fails_as_ever);
	tcase_add_test(cases, a_failed_rename_keeps_the_claim);
	tcase_add_test(cases, a_name_that_is_gone_by_then_is_not_renamed);
	tcase_add_test(cases, a_file_is_renamed_to_a_name_that_is_free_by_then);
	tcase_add_test(cases, who_ends_on_the_way_out_leaves_the_name_free);
	tcase_add_test(cases, a_name_that_stays_is_not_left);
	tcase_add_test(cases, both_names_are_left_while_one_replaces_the_other);
	tcase_add_test(cases, an_own_name_replaces_a_file);
	tcase_add_test(cases, the_claim_on_a_replaced_name_is_given_up);
	tcase_add_test(cases, files_and_directories_are_libc_s_to_rename);
}

static void add_link(TCase *cases)
{
	tcase_add_test(cases, a_linked_name_is_as_ours_as_the_socket);
	tcase_add_loop_test(cases, a_name_we_gave_a_foreign_socket_is_ours_to_remove, 0, RIVALS);
	tcase_add_loop_test(cases, a_name_we_gave_a_foreign_socket_without_a_claim_is_not_ours, 0,
		RIVALS);
	tcase_add_test(cases, an_ignored_link_leaves_no_trace);
	tcase_add_test(cases, a_link_that_is_gone_at_once_is_not_claimed);
	tcase_add_test(cases, another_s_link_is_not_ours);
	tcase_add_test(cases, an_absent_name_that_is_claimed_is_not_linked);
	tcase_add_test(cases, a_link_that_fails_leaves_no_trace);
	tcase_add_test(cases, a_symlink_to_a_socket_is_linked_as_told);
	tcase_add_test(cases, a_linked_name_s_record_tells_of_the_socket);
	tcase_add_test(cases, no_lock_file_is_made_beside_a_symlink_that_is_followed);
}

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("guard");

	add_unlink(suite_cases(suite, "unlink"));
	add_bind(suite_cases(suite, "bind"));
	add_rename(suite_cases(suite, "rename"));
	add_link(suite_cases(suite, "link"));
	tcase_add_test(suite_cases(suite, "forbidden"), without_memory_an_absent_name_is_not_there);
	tcase_add_test(suite_cases(suite, "together"), of_many_that_start_at_once_none_is_robbed);
	return suite;
}
