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

/* ---- comparing ---- */

START_TEST(a_file_is_device_and_number)
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

/* Numbers that share their lower 32 bits are not the same. */
START_TEST(all_of_a_number_counts)
{
	const struct file_id a = {.dev = 1, .ino = 2};
	const struct file_id b = {.dev = 1, .ino = (ino_t)(UINT64_C(1) << 32 | 2)};

	ck_assert(!file_same(&a, &b));
}
END_TEST

START_TEST(an_inode_is_born_once)
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

/* The first second of 1970 is a time like any; no time at all is not to be compared. */
START_TEST(a_birth_that_is_not_told_does_not_count)
{
	const struct inode first = {.file = {1, 2}, .born_nsec = 4};
	const struct inode second = {.file = {1, 2}, .born_nsec = 5};
	const struct inode untold = {.file = {1, 2}};

	ck_assert(!inode_same(&first, &second));
	ck_assert(inode_same(&first, &untold));
	ck_assert(inode_same(&untold, &first));
}
END_TEST

START_TEST(a_file_is_what_stat_says)
{
	struct stat found;
	struct kernel_file told;
	struct file_id file;

	ck_assert_int_eq(stat(".", &found), 0);
	ck_assert_int_eq(inode_look(AT_FDCWD, ".", &told), 0);
	file = file_of(&told);
	ck_assert_uint_eq(file.dev, found.st_dev);
	ck_assert_uint_eq(file.ino, found.st_ino);
}
END_TEST

/* ---- looking ---- */

START_TEST(a_look_is_at_the_name_itself)
{
	struct kernel_file found;

	ck_assert_int_eq(symlink("nowhere", "link"), 0);
	ck_assert_int_eq(inode_look(AT_FDCWD, "link", &found), 0);
	ck_assert(S_ISLNK(found.mode));
}
END_TEST

START_TEST(a_look_fails_as_fstatat_does)
{
	struct kernel_file found;

	ASSERT_FAILS(inode_look(AT_FDCWD, "absent", &found), ENOENT);
	ASSERT_FAILS(inode_look(AT_FDCWD, "", &found), ENOENT);
	ASSERT_FAILS(inode_look(-1, "absent", &found), EBADF);
	ASSERT_FAILS(inode_look(AT_FDCWD, (const char *)1, &found), EFAULT);
	write_file("file", "");
	ASSERT_FAILS(inode_look(AT_FDCWD, "file/s", &found), ENOTDIR);
}
END_TEST

START_TEST(a_null_pointer_cannot_be_read)
{
	const char *volatile null = NULL; /* the compiler need not know */
	struct kernel_file found;

	ASSERT_FAILS(inode_look(AT_FDCWD, null, &found), EFAULT);
}
END_TEST

/* ---- identifying and pinning ---- */

/* Both must say the same of a name. */
static void assert_neither(int dirfd, const char *path, int error)
{
	int before = open_descriptors();
	struct inode inode;
	struct pin pin;

	ASSERT_FAILS(inode_identify(dirfd, path, &inode), error);
	ASSERT_FAILS(inode_pin(dirfd, path, &pin), error);
	ck_assert_int_eq(open_descriptors(), before);
}

START_TEST(a_socket_is_identified_and_pinned)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	struct inode inode;
	struct stat found;
	struct pin pin;

	bound("s", types[_i]);
	ck_assert_int_eq(lstat("s", &found), 0);
	ASSERT_WORKS(inode_identify(AT_FDCWD, "s", &inode));
	ASSERT_WORKS(inode_pin(AT_FDCWD, "s", &pin));
	ck_assert(inode_same(&inode, &pin.inode));
	ck_assert_uint_eq(inode.file.dev, found.st_dev);
	ck_assert_uint_eq(inode.file.ino, found.st_ino);
	KEEPS_ERRNO_VOID(inode_unpin(&pin));
}
END_TEST

START_TEST(a_stale_name_is_pinned_like_any)
{
	struct pin pin;

	make_stale("s");
	ASSERT_WORKS(inode_pin(AT_FDCWD, "s", &pin));
	inode_unpin(&pin);
}
END_TEST

START_TEST(an_absent_name_has_no_inode)
{
	assert_neither(AT_FDCWD, "absent", ENOENT);
	assert_neither(AT_FDCWD, "absent/s", ENOENT);
	assert_neither(AT_FDCWD, "", ENOENT);
}
END_TEST

START_TEST(what_is_no_socket_is_not_pinned)
{
	write_file("file", "content");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	ck_assert_int_eq(mkfifo("fifo", 0644), 0);
	assert_neither(AT_FDCWD, "file", ENOTSOCK);
	assert_neither(AT_FDCWD, "dir", ENOTSOCK);
	assert_neither(AT_FDCWD, "fifo", ENOTSOCK);
	assert_neither(AT_FDCWD, "/dev/null", ENOTSOCK);
}
END_TEST

START_TEST(a_symlink_to_a_socket_is_no_socket)
{
	bound("s", SOCK_STREAM);
	ck_assert_int_eq(symlink("s", "link"), 0);
	assert_neither(AT_FDCWD, "link", ENOTSOCK);
}
END_TEST

START_TEST(a_path_that_cannot_be_walked_says_why)
{
	int file;

	write_file("file", "");
	assert_neither(AT_FDCWD, "file/s", ENOTDIR);
	assert_neither(-1, "s", EBADF);
	file = open("file", O_RDONLY | O_CLOEXEC);
	assert_neither(file, "s", ENOTDIR);
	ck_assert_int_eq(symlink("loop", "loop"), 0);
	assert_neither(AT_FDCWD, "loop/s", ELOOP);
}
END_TEST

START_TEST(a_name_starts_from_its_directory)
{
	struct inode here, there;
	int dir;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	bound("s", SOCK_STREAM);
	bound("dir/s", SOCK_STREAM);
	dir = open("dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_WORKS(inode_identify(AT_FDCWD, "dir/s", &here));
	ASSERT_WORKS(inode_identify(dir, "s", &there));
	ck_assert(inode_same(&here, &there));
	ASSERT_WORKS(inode_identify(AT_FDCWD, "s", &here));
	ck_assert(!inode_same(&here, &there));
	ASSERT_WORKS(inode_identify(dir, absolute("s"), &there));
	ck_assert(inode_same(&here, &there));
}
END_TEST

START_TEST(two_names_of_a_socket_are_one_inode)
{
	struct inode a, b;

	bound("a", SOCK_STREAM);
	ck_assert_int_eq(link("a", "b"), 0);
	ASSERT_WORKS(inode_identify(AT_FDCWD, "a", &a));
	ASSERT_WORKS(inode_identify(AT_FDCWD, "b", &b));
	ck_assert(inode_same(&a, &b));
}
END_TEST

/* The birth time is no other of the times: none of what happens to a socket changes it. */
START_TEST(an_inode_stays_the_same_over_its_life)
{
	struct inode before, after;
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2}};

	bound("s", SOCK_STREAM);
	ASSERT_WORKS(inode_identify(AT_FDCWD, "s", &before));
	usleep(20000);
	ck_assert_int_eq(chmod("s", 0600), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert_int_eq(rename("s", "t"), 0);
	ASSERT_WORKS(inode_identify(AT_FDCWD, "t", &after));
	ck_assert(inode_same(&before, &after));
}
END_TEST

/* ext4 gives a freed number to the next file; the birth time tells them apart. */
START_TEST(a_number_used_again_is_another_inode)
{
	struct inode first, second;

	close(bound("s", SOCK_STREAM));
	ASSERT_WORKS(inode_identify(AT_FDCWD, "s", &first));
	ck_assert_int_eq(unlink("s"), 0);
	usleep(50000); /* a tick of the file system's clock */
	close(bound("s", SOCK_STREAM));
	ASSERT_WORKS(inode_identify(AT_FDCWD, "s", &second));
	/* A file system without birth times, and with numbers used again, cannot tell. */
	if (first.born_sec != 0 || !file_same(&first.file, &second.file))
		ck_assert(!inode_same(&first, &second));
}
END_TEST

START_TEST(a_pinned_number_is_not_used_again)
{
	struct pin pin;
	struct inode other;

	close(bound("s", SOCK_STREAM));
	ASSERT_WORKS(inode_pin(AT_FDCWD, "s", &pin));
	ck_assert_int_eq(unlink("s"), 0);
	for (int i = 0; i < 20; i++) {
		char name[] = {(char)('a' + i), '\0'};

		close(bound(name, SOCK_STREAM));
		ASSERT_WORKS(inode_identify(AT_FDCWD, name, &other));
		ck_assert(!file_same(&pin.inode.file, &other.file));
	}
	inode_unpin(&pin);
}
END_TEST

START_TEST(a_pin_is_close_on_exec_and_given_back)
{
	int before = open_descriptors();
	struct pin pin;

	close(bound("s", SOCK_STREAM));
	ASSERT_WORKS(inode_pin(AT_FDCWD, "s", &pin));
	ck_assert_int_eq(open_descriptors(), before + 1);
	ck_assert(fcntl(pin.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(pin.fd, F_GETFL) & O_PATH);
	KEEPS_ERRNO_VOID(inode_unpin(&pin));
	ck_assert_int_eq(pin.fd, -1);
	KEEPS_ERRNO_VOID(inode_unpin(&pin));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* ramfs keeps no time of birth. */
START_TEST(a_file_system_may_know_of_no_birth)
{
	struct inode inode;

	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("none", ".", "ramfs", 0, NULL), 0);
	ck_assert_int_eq(chdir(absolute(".")), 0); /* into what is mounted there now */
	bound("s", SOCK_STREAM);
	ASSERT_WORKS(inode_identify(AT_FDCWD, "s", &inode));
	ck_assert_int_eq(inode.born_sec, 0);
	ck_assert_uint_eq(inode.born_nsec, 0);
	ck_assert_int_eq(unlink("s"), 0);
}
END_TEST

START_TEST(identifying_needs_no_descriptor)
{
	struct inode inode;
	struct pin pin;

	bound("s", SOCK_STREAM);
	use_up_descriptors();
	ASSERT_WORKS(inode_identify(AT_FDCWD, "s", &inode));
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

START_TEST(a_directory_that_cannot_be_searched_says_so)
{
	ck_assert_int_eq(mkdir("closed", 0700), 0);
	bound("closed/s", SOCK_STREAM);
	ck_assert_int_eq(as_stranger(pins_in_closed_directory, NULL), 0);
}
END_TEST

static int pins_unreadable(const void *about)
{
	struct pin pin;

	(void)about;
	ASSERT_WORKS(inode_pin(AT_FDCWD, "s", &pin));
	return 0;
}

START_TEST(pinning_needs_no_permission_on_the_socket)
{
	bound("s", SOCK_STREAM);
	ck_assert_int_eq(chmod("s", 0), 0);
	ck_assert_int_eq(as_stranger(pins_unreadable, NULL), 0);
}
END_TEST

START_TEST(the_directory_of_a_path_ends_with_its_last_slash)
{
	ck_assert_uint_eq(inode_directory(""), 0);
	ck_assert_uint_eq(inode_directory("s"), 0);
	ck_assert_uint_eq(inode_directory("/"), 1);
	ck_assert_uint_eq(inode_directory("/s"), 1);
	ck_assert_uint_eq(inode_directory("a/b/s"), 4);
	ck_assert_uint_eq(inode_directory("a/"), 2);
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("inode");
	TCase *comparing = suite_cases(suite, "comparing");
	TCase *looking = suite_cases(suite, "looking");
	TCase *pinning = suite_cases(suite, "pinning");

	tcase_add_test(looking, the_directory_of_a_path_ends_with_its_last_slash);
	tcase_add_test(comparing, a_file_is_device_and_number);
	tcase_add_test(comparing, all_of_a_number_counts);
	tcase_add_test(comparing, an_inode_is_born_once);
	tcase_add_test(comparing, a_birth_that_is_not_told_does_not_count);
	tcase_add_test(comparing, a_file_is_what_stat_says);
	tcase_add_test(looking, a_look_is_at_the_name_itself);
	tcase_add_test(looking, a_look_fails_as_fstatat_does);
	tcase_add_test(looking, a_null_pointer_cannot_be_read);
	tcase_add_loop_test(pinning, a_socket_is_identified_and_pinned, 0, 3);
	tcase_add_test(pinning, a_stale_name_is_pinned_like_any);
	tcase_add_test(pinning, an_absent_name_has_no_inode);
	tcase_add_test(pinning, what_is_no_socket_is_not_pinned);
	tcase_add_test(pinning, a_symlink_to_a_socket_is_no_socket);
	tcase_add_test(pinning, a_path_that_cannot_be_walked_says_why);
	tcase_add_test(pinning, a_name_starts_from_its_directory);
	tcase_add_test(pinning, two_names_of_a_socket_are_one_inode);
	tcase_add_test(pinning, an_inode_stays_the_same_over_its_life);
	tcase_add_test(pinning, a_number_used_again_is_another_inode);
	tcase_add_test(pinning, a_pinned_number_is_not_used_again);
	tcase_add_test(pinning, a_pin_is_close_on_exec_and_given_back);
	tcase_add_test(pinning, identifying_needs_no_descriptor);
	ADD_ROOT_TEST(pinning, a_file_system_may_know_of_no_birth);
	ADD_ROOT_TEST(pinning, a_directory_that_cannot_be_searched_says_so);
	ADD_ROOT_TEST(pinning, pinning_needs_no_permission_on_the_socket);
	return suite;
}
