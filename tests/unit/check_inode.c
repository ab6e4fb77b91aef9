#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inode.h"
#include "suite.h"

/* ---- comparisons ---- */

START_TEST(files_are_compared_by_device_and_number)
{
	const struct file_id a = {.dev = 1, .ino = 2};
	const struct file_id same = {.dev = 1, .ino = 2};
	const struct file_id other_dev = {.dev = 3, .ino = 2};
	const struct file_id other_ino = {.dev = 1, .ino = 3};

	ck_assert(file_same(&a, &same));
	ck_assert(!file_same(&a, &other_dev));
	ck_assert(!file_same(&a, &other_ino));
}
END_TEST

/* Numbers with the same lower 32 bits differ. */
START_TEST(all_bits_of_a_number_are_compared)
{
	const struct file_id a = {.dev = 1, .ino = 2};
	const struct file_id b = {.dev = 1, .ino = (ino_t)(UINT64_C(1) << 32 | 2)};

	ck_assert(!file_same(&a, &b));
}
END_TEST

START_TEST(inodes_with_different_birth_times_differ)
{
	const struct inode a = {.file = {1, 2}, .born_sec = 3, .born_nsec = 4};
	struct inode b = a;

	ck_assert(inode_same(&a, &b));
	b.born_sec++;
	ck_assert(!inode_same(&a, &b));
	b = a;
	b.born_nsec++;
	ck_assert(!inode_same(&a, &b));
	b = a;
	b.file.ino++;
	ck_assert(!inode_same(&a, &b));
	b = a;
	b.file.dev++;
	ck_assert(!inode_same(&a, &b));
}
END_TEST

/* The first second of 1970 is a valid time; an unknown time must not be compared. */
START_TEST(an_unknown_birth_time_is_not_compared)
{
	const struct inode first = {.file = {1, 2}, .born_nsec = 4};
	const struct inode second = {.file = {1, 2}, .born_nsec = 5};
	const struct inode unknown = {.file = {1, 2}};

	ck_assert(!inode_same(&first, &second));
	ck_assert(inode_same(&first, &unknown));
	ck_assert(inode_same(&unknown, &first));
}
END_TEST

/* Without birth times, a reused number has another handle. */
START_TEST(known_handles_are_compared)
{
	const struct inode first = {.file = {1, 2}, .handle = 4};
	const struct inode same = {.file = {1, 2}, .handle = 4};
	const struct inode second = {.file = {1, 2}, .handle = 5};
	const struct inode unknown = {.file = {1, 2}};

	ck_assert(inode_same(&first, &same));
	ck_assert(!inode_same(&first, &second));
	ck_assert(inode_same(&first, &unknown));
	ck_assert(inode_same(&unknown, &first));
}
END_TEST

START_TEST(a_file_has_the_identity_that_stat_reports)
{
	struct stat found;
	struct kernel_file reported;
	struct file_id file;

	ck_assert_int_eq(stat(".", &found), 0);
	ck_assert_int_eq(inode_stat(AT_FDCWD, ".", &reported), 0);
	file = file_id_of(&reported);
	ck_assert_uint_eq(file.dev, found.st_dev);
	ck_assert_uint_eq(file.ino, found.st_ino);
}
END_TEST

/* ---- lookups ---- */

START_TEST(inode_stat_does_not_follow_symlinks)
{
	struct kernel_file found;

	ck_assert_int_eq(symlink("nowhere", "link"), 0);
	ck_assert_int_eq(inode_stat(AT_FDCWD, "link", &found), 0);
	ck_assert(S_ISLNK(found.mode));
}
END_TEST

START_TEST(inode_stat_fails_as_fstatat_does)
{
	struct kernel_file found;

	ASSERT_FAILS(inode_stat(AT_FDCWD, "absent", &found), ENOENT);
	ASSERT_FAILS(inode_stat(AT_FDCWD, "", &found), ENOENT);
	ASSERT_FAILS(inode_stat(-1, "absent", &found), EBADF);
	ASSERT_FAILS(inode_stat(AT_FDCWD, (const char *)1, &found), EFAULT);
	write_file("file", "");
	ASSERT_FAILS(inode_stat(AT_FDCWD, "file/s", &found), ENOTDIR);
}
END_TEST

START_TEST(a_null_pointer_cannot_be_read)
{
	const char *volatile null = NULL; /* volatile: unknown to the compiler */
	struct kernel_file found;

	ASSERT_FAILS(inode_stat(AT_FDCWD, null, &found), EFAULT);
}
END_TEST

/* ---- identifying and pinning ---- */

/* Identifying and pinning must fail with the same errno. */
static void assert_both_fail(int dirfd, const char *path, int error)
{
	int before = count_descriptors();
	struct inode inode;
	struct pin pin;

	ASSERT_FAILS(inode_identify(dirfd, path, &inode), error);
	ASSERT_FAILS(inode_pin(dirfd, path, &pin), error);
	ck_assert_int_eq(count_descriptors(), before);
}

START_TEST(a_socket_is_identified_and_pinned)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	struct inode inode;
	struct stat found;
	struct pin pin;

	bound_socket("s", types[_i]);
	ck_assert_int_eq(lstat("s", &found), 0);
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", &inode));
	ASSERT_SUCCEEDS(inode_pin(AT_FDCWD, "s", &pin));
	ck_assert(inode_same(&inode, &pin.inode));
	ck_assert_uint_eq(inode.file.dev, found.st_dev);
	ck_assert_uint_eq(inode.file.ino, found.st_ino);
	KEEPS_ERRNO_VOID(inode_unpin(&pin));
}
END_TEST

START_TEST(a_stale_path_is_pinned)
{
	struct pin pin;

	make_stale("s");
	ASSERT_SUCCEEDS(inode_pin(AT_FDCWD, "s", &pin));
	inode_unpin(&pin);
}
END_TEST

START_TEST(an_absent_path_has_no_inode)
{
	assert_both_fail(AT_FDCWD, "absent", ENOENT);
	assert_both_fail(AT_FDCWD, "absent/s", ENOENT);
	assert_both_fail(AT_FDCWD, "", ENOENT);
}
END_TEST

START_TEST(other_files_are_not_pinned)
{
	write_file("file", "content");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ck_assert_int_eq(mkfifo("fifo", 0644), 0);
	assert_both_fail(AT_FDCWD, "file", ENOTSOCK);
	assert_both_fail(AT_FDCWD, "dir", ENOTSOCK);
	assert_both_fail(AT_FDCWD, "fifo", ENOTSOCK);
	assert_both_fail(AT_FDCWD, "/dev/null", ENOTSOCK);
}
END_TEST

START_TEST(a_symlink_to_a_socket_is_not_a_socket)
{
	bound_socket("s", SOCK_STREAM);
	ck_assert_int_eq(symlink("s", "link"), 0);
	assert_both_fail(AT_FDCWD, "link", ENOTSOCK);
}
END_TEST

START_TEST(the_errno_of_a_failed_lookup_is_returned)
{
	int file;

	write_file("file", "");
	assert_both_fail(AT_FDCWD, "file/s", ENOTDIR);
	assert_both_fail(-1, "s", EBADF);
	file = open("file", O_RDONLY | O_CLOEXEC);
	assert_both_fail(file, "s", ENOTDIR);
	ck_assert_int_eq(symlink("loop", "loop"), 0);
	assert_both_fail(AT_FDCWD, "loop/s", ELOOP);
}
END_TEST

START_TEST(a_path_is_relative_to_its_directory)
{
	struct inode here, there;
	int dir;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	bound_socket("s", SOCK_STREAM);
	bound_socket("dir/s", SOCK_STREAM);
	dir = open("dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "dir/s", &here));
	ASSERT_SUCCEEDS(inode_identify(dir, "s", &there));
	ck_assert(inode_same(&here, &there));
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", &here));
	ck_assert(!inode_same(&here, &there));
	ASSERT_SUCCEEDS(inode_identify(dir, absolute_path("s"), &there));
	ck_assert(inode_same(&here, &there));
}
END_TEST

START_TEST(two_links_to_a_socket_are_one_inode)
{
	struct inode a, b;

	bound_socket("a", SOCK_STREAM);
	ck_assert_int_eq(link("a", "b"), 0);
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "a", &a));
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "b", &b));
	ck_assert(inode_same(&a, &b));
}
END_TEST

/* No call on a socket changes its birth time, unlike its other times. */
START_TEST(calls_on_a_socket_do_not_change_its_inode)
{
	struct inode before, after;
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2}};

	bound_socket("s", SOCK_STREAM);
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", &before));
	usleep(20000);
	ck_assert_int_eq(chmod("s", 0600), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert_int_eq(rename("s", "t"), 0);
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "t", &after));
	ck_assert(inode_same(&before, &after));
}
END_TEST

/* Binds a path, unlinks it and binds it again. */
static void bind_twice(struct inode *first, struct inode *second)
{
	close(bound_socket("s", SOCK_STREAM));
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", first));
	usleep(20000); /* a tick of the file system's clock */
	ck_assert_int_eq(unlink("s"), 0);
	close(bound_socket("s", SOCK_STREAM));
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", second));
	ck_assert_int_eq(unlink("s"), 0);
}

/*
 * ext4 reuses a freed number for the next file, which may be another process's. Only the birth time
 * differs.
 */
START_TEST(a_reused_number_is_another_inode)
{
	struct inode first, second;

	bind_twice(&first, &second);
	for (int i = 0; i < 20 && !file_same(&first.file, &second.file); i++)
		bind_twice(&first, &second);
	/* Without birth times, a file system that reuses numbers makes them look the same. */
	if (first.born_sec != 0 || !file_same(&first.file, &second.file))
		ck_assert(!inode_same(&first, &second));
}
END_TEST

START_TEST(a_pinned_number_is_not_reused)
{
	struct pin pin;
	struct inode other;

	close(bound_socket("s", SOCK_STREAM));
	ASSERT_SUCCEEDS(inode_pin(AT_FDCWD, "s", &pin));
	ck_assert_int_eq(unlink("s"), 0);
	for (int i = 0; i < 20; i++) {
		char name[] = {(char)('a' + i), '\0'};

		close(bound_socket(name, SOCK_STREAM));
		ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, name, &other));
		ck_assert(!file_same(&pin.inode.file, &other.file));
	}
	inode_unpin(&pin);
}
END_TEST

START_TEST(a_pin_is_close_on_exec_and_is_closed)
{
	int before = count_descriptors();
	struct pin pin;

	close(bound_socket("s", SOCK_STREAM));
	ASSERT_SUCCEEDS(inode_pin(AT_FDCWD, "s", &pin));
	ck_assert_int_eq(count_descriptors(), before + 1);
	ck_assert(fcntl(pin.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(pin.fd, F_GETFL) & O_PATH);
	KEEPS_ERRNO_VOID(inode_unpin(&pin));
	ck_assert_int_eq(pin.fd, -1);
	KEEPS_ERRNO_VOID(inode_unpin(&pin));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* ramfs has no birth times. */
START_TEST(a_file_system_may_have_no_birth_times)
{
	struct inode inode;

	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("none", ".", "ramfs", 0, NULL), 0);
	ck_assert_int_eq(chdir(absolute_path(".")), 0); /* into what is mounted there now */
	bound_socket("s", SOCK_STREAM);
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", &inode));
	ck_assert_int_eq(inode.born_sec, 0);
	ck_assert_uint_eq(inode.born_nsec, 0);
	ck_assert_int_eq(unlink("s"), 0);
}
END_TEST

/* On ext4, for instance, it contains a generation number. Some file systems have no handles. */
START_TEST(without_a_birth_time_the_handle_identifies_a_socket)
{
	struct inode inode;

	bound_socket("s", SOCK_STREAM);
	write_file("f", "");
	forbid(SYS_statx);
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", &inode));
	ck_assert_int_eq(inode.born_sec, 0);
	ck_assert_uint_eq(inode.handle, kernel_handle(AT_FDCWD, "s", 0));
	ASSERT_FAILS(inode_identify(AT_FDCWD, "f", &inode), ENOTSOCK);
	ck_assert_uint_eq(inode.handle, 0);
}
END_TEST

START_TEST(identifying_needs_no_descriptor)
{
	struct inode inode;
	struct pin pin;

	bound_socket("s", SOCK_STREAM);
	use_up_descriptors();
	ASSERT_SUCCEEDS(inode_identify(AT_FDCWD, "s", &inode));
	ASSERT_FAILS(inode_pin(AT_FDCWD, "s", &pin), EMFILE);
}
END_TEST

static int pins_in_closed_directory(const void *about)
{
	struct inode inode;
	struct pin pin;

	(void)about;
	ASSERT_FAILS(inode_identify(AT_FDCWD, "closed/s", &inode), EACCES);
	ASSERT_FAILS(inode_pin(AT_FDCWD, "closed/s", &pin), EACCES);
	return 0;
}

START_TEST(a_directory_without_search_permission_fails_with_eacces)
{
	ck_assert_int_eq(mkdir("closed", 0700), 0);
	bound_socket("closed/s", SOCK_STREAM);
	ck_assert_int_eq(run_as_stranger(pins_in_closed_directory, NULL), 0);
}
END_TEST

static int pins_unreadable(const void *about)
{
	struct pin pin;

	(void)about;
	ASSERT_SUCCEEDS(inode_pin(AT_FDCWD, "s", &pin));
	return 0;
}

START_TEST(pinning_needs_no_permission_on_the_socket)
{
	bound_socket("s", SOCK_STREAM);
	ck_assert_int_eq(chmod("s", 0), 0);
	ck_assert_int_eq(run_as_stranger(pins_unreadable, NULL), 0);
}
END_TEST

START_TEST(the_directory_of_a_path_ends_with_its_last_slash)
{
	ck_assert_uint_eq(inode_directory_length(""), 0);
	ck_assert_uint_eq(inode_directory_length("s"), 0);
	ck_assert_uint_eq(inode_directory_length("/"), 1);
	ck_assert_uint_eq(inode_directory_length("/s"), 1);
	ck_assert_uint_eq(inode_directory_length("a/b/s"), 4);
	ck_assert_uint_eq(inode_directory_length("a/"), 2);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("inode");
	TCase *comparing = suite_cases(suite, "comparing");
	TCase *looking = suite_cases(suite, "looking");
	TCase *pinning = suite_cases(suite, "pinning");

	tcase_add_test(looking, the_directory_of_a_path_ends_with_its_last_slash);
	tcase_add_test(comparing, files_are_compared_by_device_and_number);
	tcase_add_test(comparing, all_bits_of_a_number_are_compared);
	tcase_add_test(comparing, inodes_with_different_birth_times_differ);
	tcase_add_test(comparing, an_unknown_birth_time_is_not_compared);
	tcase_add_test(comparing, known_handles_are_compared);
	tcase_add_test(comparing, a_file_has_the_identity_that_stat_reports);
	tcase_add_test(looking, inode_stat_does_not_follow_symlinks);
	tcase_add_test(looking, inode_stat_fails_as_fstatat_does);
	tcase_add_test(looking, a_null_pointer_cannot_be_read);
	tcase_add_loop_test(pinning, a_socket_is_identified_and_pinned, 0, 3);
	tcase_add_test(pinning, a_stale_path_is_pinned);
	tcase_add_test(pinning, an_absent_path_has_no_inode);
	tcase_add_test(pinning, other_files_are_not_pinned);
	tcase_add_test(pinning, a_symlink_to_a_socket_is_not_a_socket);
	tcase_add_test(pinning, the_errno_of_a_failed_lookup_is_returned);
	tcase_add_test(pinning, a_path_is_relative_to_its_directory);
	tcase_add_test(pinning, two_links_to_a_socket_are_one_inode);
	tcase_add_test(pinning, calls_on_a_socket_do_not_change_its_inode);
	tcase_add_test(pinning, a_reused_number_is_another_inode);
	tcase_add_test(pinning, a_pinned_number_is_not_reused);
	tcase_add_test(pinning, a_pin_is_close_on_exec_and_is_closed);
	tcase_add_test(pinning, identifying_needs_no_descriptor);
	tcase_add_test(suite_cases(suite, "forbidden"),
		without_a_birth_time_the_handle_identifies_a_socket);
	ADD_ROOT_TEST(pinning, a_file_system_may_have_no_birth_times);
	ADD_ROOT_TEST(pinning, a_directory_without_search_permission_fails_with_eacces);
	ADD_ROOT_TEST(pinning, pinning_needs_no_permission_on_the_socket);
	return suite;
}
