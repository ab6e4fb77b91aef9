/* Tests of classify: which calls the watcher handles alone, and which need a worker. */
#include "classify.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "notify.h"
#include "suite.h"

#define NO_PROCESS 0x3fffff /* no thread has this ID: it is PID_MAX_LIMIT - 1 */

/* Whether the caller still waits for its call. */
static bool waits = true;
/* Unless NULL, another process makes this directory before the watcher makes the call. */
static const char *appears;

/* Replaces notify.c. */
bool notify_is_valid(int notify_fd, uint64_t id)
{
	ck_assert_int_eq(notify_fd, 17);
	ck_assert_uint_eq(id, 4711);
	if (appears)
		ck_assert_int_eq(mkdir(appears, 0755), 0);
	return waits;
}

static struct request request;
static int error;

static enum classification classify_request(void)
{
	request.id = 4711;
	request.tid = request.tid ? request.tid : getpid();
	error = 0;
	return classify(17, &request, &error);
}

static void expect_unlink(enum classification expected, int dirfd, const char *path)
{
	request.verb = REQUEST_UNLINK;
	request.dirfd = dirfd;
	strcpy(request.path, path);
	ck_assert_msg(classify_request() == expected, "unlink of %s", path);
}

static void expect_two(enum verb verb, enum classification expected, const char *path,
	const char *newpath)
{
	request.verb = verb;
	request.dirfd = request.newdir = AT_FDCWD;
	strcpy(request.path, path);
	strcpy(request.newpath, newpath);
	ck_assert_msg(classify_request() == expected, "%s, %s", path, newpath);
}

static void expect_rename(enum classification expected, const char *path, const char *newpath)
{
	expect_two(REQUEST_RENAME, expected, path, newpath);
}

static void expect_link(enum classification expected, const char *path, const char *newpath)
{
	expect_two(REQUEST_LINK, expected, path, newpath);
}

static const char *longest(void)
{
	static char name[300];

	memset(name, 'x', sizeof(name) - 1);
	return name;
}

static void make_files(void)
{
	write_file("file", "");
	write_file(".a.sockguard", "");
	make_stale("socket");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ck_assert_int_eq(mkdir(".d.sockguard", 0755), 0);
	ck_assert_int_eq(symlink("socket", "link"), 0);
	ck_assert_int_eq(symlink("loop", "loop"), 0);
}

/* ---- unlink ---- */

START_TEST(the_kernel_executes_an_unlink_of_another_file)
{
	static const char *const paths[] = {
		"file", "./file", "dir", "link", "dir/../file", ".d.sockguard"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		expect_unlink(CLASS_PASS, AT_FDCWD, paths[i]);
	expect_unlink(CLASS_PASS, AT_FDCWD, absolute_path("file"));
}
END_TEST

START_TEST(the_kernel_rejects_an_unusable_path)
{
	expect_unlink(CLASS_PASS, AT_FDCWD, "");
	expect_unlink(CLASS_PASS, AT_FDCWD, "file/a");
	expect_unlink(CLASS_PASS, AT_FDCWD, "loop/a");
	expect_unlink(CLASS_PASS, AT_FDCWD, longest());
}
END_TEST

START_TEST(a_worker_judges_an_unlink_of_a_socket_or_a_lock_file)
{
	expect_unlink(CLASS_WORKER, AT_FDCWD, "socket");
	expect_unlink(CLASS_WORKER, AT_FDCWD, absolute_path("socket"));
	expect_unlink(CLASS_WORKER, AT_FDCWD, ".a.sockguard");
	expect_unlink(CLASS_WORKER, AT_FDCWD, absolute_path(".a.sockguard"));
	expect_unlink(CLASS_WORKER, AT_FDCWD, ".absent.sockguard");
}
END_TEST

START_TEST(a_worker_resolves_paths_that_depend_on_the_caller)
{
	expect_unlink(CLASS_WORKER, AT_FDCWD, "/proc/self/cwd/file");
	expect_unlink(CLASS_WORKER, AT_FDCWD, "//proc/./thread-self/cwd/file");
	expect_unlink(CLASS_WORKER, AT_FDCWD, "/dev/fd/0");
	expect_rename(CLASS_WORKER, "/proc/self/cwd/file", "b");
	expect_rename(CLASS_WORKER, "file", "/proc/self/cwd/b");
	expect_link(CLASS_WORKER, "/proc/self/cwd/file", "b");
}
END_TEST

START_TEST(an_unlink_of_an_absent_path_is_answered)
{
	expect_unlink(CLASS_ANSWER, AT_FDCWD, "absent");
	ck_assert_int_eq(error, ENOENT);
	expect_unlink(CLASS_ANSWER, AT_FDCWD, absolute_path("absent"));
	ck_assert_int_eq(error, ENOENT);
	expect_unlink(CLASS_ANSWER, AT_FDCWD, "none/absent");
	expect_unlink(CLASS_ANSWER, AT_FDCWD, "/process"); /* not below /proc */
}
END_TEST

START_TEST(a_path_is_relative_to_its_descriptor)
{
	int dir = open("dir", O_PATH | O_CLOEXEC);

	make_stale("dir/socket");
	write_file("dir/mine", "");
	expect_unlink(CLASS_PASS, dir, "mine");
	expect_unlink(CLASS_WORKER, dir, "socket");
	expect_unlink(CLASS_WORKER, dir, "absent"); /* the caller may not have the descriptor */
	expect_unlink(CLASS_ANSWER, dir, absolute_path("absent"));
	expect_unlink(CLASS_PASS, dir, absolute_path("file"));
}
END_TEST

/* Returns an absolute path of this length. No file is there. */
static const char *long_path(size_t length)
{
	static char path[PATH_MAX + 1];

	for (size_t i = 0; i < length; i += 2)
		memcpy(path + i, "/.", 2);
	strcpy(path + length - strlen("/absent"), "/absent");
	return path;
}

START_TEST(a_path_too_long_for_the_supervisor_goes_to_a_worker)
{
	char relative[PATH_MAX + 2];

	expect_unlink(CLASS_ANSWER, AT_FDCWD, long_path(PATH_MAX - 2));
	expect_unlink(CLASS_WORKER, AT_FDCWD, long_path(PATH_MAX - 1));
	snprintf(relative, sizeof(relative), ".%s", long_path(PATH_MAX - 3));
	expect_unlink(CLASS_WORKER, AT_FDCWD, relative); /* too long after "/proc/PID/cwd/" */
	expect_rename(CLASS_WORKER, "absent", relative);
}
END_TEST

START_TEST(nothing_is_answered_to_a_caller_that_is_gone)
{
	waits = false;
	expect_unlink(CLASS_WORKER, AT_FDCWD, "absent");
	expect_rename(CLASS_WORKER, "absent", "b");
	expect_unlink(CLASS_PASS, AT_FDCWD, "file");
	waits = true;
	request.tid = NO_PROCESS;
	expect_unlink(CLASS_WORKER, AT_FDCWD, "absent");
	expect_unlink(CLASS_WORKER, AT_FDCWD, "./absent");
}
END_TEST

/* ---- rename ---- */

START_TEST(the_kernel_executes_a_rename_of_other_files)
{
	static const char *const others[] = {"file", ".a.sockguard", "dir", "link"};

	for (size_t i = 0; i < 4; i++) {
		expect_rename(CLASS_PASS, others[i], "absent");
		for (size_t j = 0; j < 4; j++)
			expect_rename(CLASS_PASS, others[i], others[j]);
	}
}
END_TEST

START_TEST(the_kernel_rejects_a_rename_of_an_unusable_path)
{
	expect_rename(CLASS_PASS, "", "socket");
	expect_rename(CLASS_PASS, "socket", "");
	expect_rename(CLASS_PASS, "file/a", "absent");
	expect_rename(CLASS_PASS, "absent", "file/a");
}
END_TEST

START_TEST(a_worker_judges_a_rename_of_a_socket)
{
	expect_rename(CLASS_WORKER, "socket", "absent");
	expect_rename(CLASS_WORKER, "socket", "file");
	expect_rename(CLASS_WORKER, "file", "socket");
	expect_rename(CLASS_WORKER, "absent", "socket");
	expect_rename(CLASS_WORKER, ".a.sockguard", "socket");
}
END_TEST

START_TEST(a_rename_of_an_absent_path_is_answered)
{
	int dir = open("dir", O_PATH | O_CLOEXEC);

	expect_rename(CLASS_ANSWER, "absent", "absent2");
	ck_assert_int_eq(error, ENOENT);
	expect_rename(CLASS_ANSWER, "absent", "file");
	expect_rename(CLASS_ANSWER, absolute_path("absent"), "none/file");
	expect_rename(CLASS_WORKER, ".absent.sockguard", "file");
	request.flags = 1u << 31; /* the kernel rejects the flag before it looks for the path */
	expect_rename(CLASS_WORKER, "absent", "absent2");
	request.flags = 0;
	request.dirfd = dir;
	ck_assert_int_eq(classify_request(), CLASS_WORKER);
	request.dirfd = AT_FDCWD;
	request.newdir = dir;
	ck_assert_int_eq(classify_request(), CLASS_WORKER);
	strcpy(request.newpath, absolute_path("absent2"));
	ck_assert_int_eq(classify_request(), CLASS_ANSWER);
	ck_assert_int_eq(request.newdir, dir);
}
END_TEST

START_TEST(a_rename_of_a_directory_that_appears_succeeds)
{
	appears = "absent";
	expect_rename(CLASS_ANSWER, "absent", "absent2");
	ck_assert_int_eq(error, 0);
	ck_assert(!exists("absent") && exists("absent2"));
}
END_TEST

START_TEST(an_unlink_of_a_directory_that_appears_goes_to_a_worker)
{
	appears = "absent";
	expect_unlink(CLASS_WORKER, AT_FDCWD, "absent");
	ck_assert(exists("absent"));
}
END_TEST

/* ---- link and bind ---- */

START_TEST(a_worker_judges_a_link_to_a_socket)
{
	expect_link(CLASS_WORKER, "socket", "absent");
	expect_link(CLASS_PASS, "file", "absent");
	expect_link(CLASS_PASS, ".a.sockguard", "absent");
	expect_link(CLASS_PASS, "link", "absent"); /* links the symbolic link */
	expect_link(CLASS_PASS, "absent", "absent2");
	expect_link(CLASS_PASS, "file/a", "absent");
	expect_link(CLASS_PASS, "file", "socket"); /* fails with EEXIST */
	request.flags = AT_SYMLINK_FOLLOW;
	expect_link(CLASS_WORKER, "link", "absent");
	request.flags = AT_EMPTY_PATH;
	expect_link(CLASS_WORKER, "", "absent");
}
END_TEST

START_TEST(a_worker_judges_every_bind)
{
	request.verb = REQUEST_BIND;
	strcpy(request.path, "absent");
	ck_assert_int_eq(classify_request(), CLASS_WORKER);
}
END_TEST

/* ---- callers that differ from the supervisor ---- */

static void change_root(const void *about)
{
	(void)about;
	ck_assert_int_eq(chroot("."), 0);
}

START_TEST(in_another_root_only_bare_names_are_resolved)
{
	request.tid = start_child(change_root, NULL);
	expect_unlink(CLASS_PASS, AT_FDCWD, "file");
	expect_unlink(CLASS_WORKER, AT_FDCWD, "./file");
	expect_unlink(CLASS_WORKER, AT_FDCWD, "/file");
	expect_rename(CLASS_PASS, "file", "absent");
	expect_rename(CLASS_WORKER, "./file", "absent");
	expect_rename(CLASS_WORKER, "file", "./absent");
	expect_link(CLASS_PASS, "file", "absent");
	expect_link(CLASS_WORKER, "./file", "absent");
	expect_link(CLASS_WORKER, "file", "./absent");
}
END_TEST

static void become_stranger(const void *about)
{
	(void)about;
	ck_assert_int_eq(setresuid(STRANGER, STRANGER, STRANGER), 0);
}

START_TEST(a_caller_with_other_credentials_may_get_another_error)
{
	request.tid = start_child(become_stranger, NULL);
	expect_unlink(CLASS_WORKER, AT_FDCWD, "absent");
	expect_unlink(CLASS_PASS, AT_FDCWD, "file");
}
END_TEST

static int classify_hidden(const void *about)
{
	(void)about;
	request.tid = getpid();
	expect_unlink(CLASS_WORKER, AT_FDCWD, "hidden/absent");
	expect_rename(CLASS_WORKER, "file", "hidden/absent");
	expect_rename(CLASS_WORKER, "hidden/absent", "absent");
	expect_link(CLASS_WORKER, "hidden/absent", "absent");
	return 0;
}

START_TEST(a_worker_resolves_paths_that_the_watcher_may_not_search)
{
	ck_assert_int_eq(mkdir("hidden", 0700), 0);
	ck_assert_int_eq(run_as_stranger(classify_hidden, NULL), 0);
}
END_TEST

static TCase *classify_cases(Suite *suite, const char *name)
{
	TCase *cases = suite_cases(suite, name);

	tcase_add_checked_fixture(cases, make_files, NULL);
	return cases;
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("classify");
	TCase *unlinks = classify_cases(suite, "unlinks");
	TCase *others = classify_cases(suite, "other calls");
	TCase *callers = classify_cases(suite, "callers");

	tcase_add_test(unlinks, the_kernel_executes_an_unlink_of_another_file);
	tcase_add_test(unlinks, the_kernel_rejects_an_unusable_path);
	tcase_add_test(unlinks, a_worker_judges_an_unlink_of_a_socket_or_a_lock_file);
	tcase_add_test(unlinks, a_worker_resolves_paths_that_depend_on_the_caller);
	tcase_add_test(unlinks, an_unlink_of_an_absent_path_is_answered);
	tcase_add_test(unlinks, an_unlink_of_a_directory_that_appears_goes_to_a_worker);
	tcase_add_test(unlinks, a_path_is_relative_to_its_descriptor);
	tcase_add_test(unlinks, a_path_too_long_for_the_supervisor_goes_to_a_worker);
	tcase_add_test(others, the_kernel_executes_a_rename_of_other_files);
	tcase_add_test(others, the_kernel_rejects_a_rename_of_an_unusable_path);
	tcase_add_test(others, a_worker_judges_a_rename_of_a_socket);
	tcase_add_test(others, a_rename_of_an_absent_path_is_answered);
	tcase_add_test(others, a_rename_of_a_directory_that_appears_succeeds);
	tcase_add_test(others, a_worker_judges_a_link_to_a_socket);
	tcase_add_test(others, a_worker_judges_every_bind);
	tcase_add_test(callers, nothing_is_answered_to_a_caller_that_is_gone);
	ADD_ROOT_TEST(callers, in_another_root_only_bare_names_are_resolved);
	ADD_ROOT_TEST(callers, a_caller_with_other_credentials_may_get_another_error);
	ADD_ROOT_TEST(callers, a_worker_resolves_paths_that_the_watcher_may_not_search);
	return suite;
}
