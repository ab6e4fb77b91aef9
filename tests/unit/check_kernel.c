#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"
#include "suite.h"

/* Compared with libc's stat, which has the layout of another header. */
static void ck_assert_told(const struct kernel_file *file, const struct stat *found)
{
	ck_assert_uint_eq(file->dev, found->st_dev);
	ck_assert_uint_eq(file->ino, found->st_ino);
	ck_assert_uint_eq(file->size, (uint64_t)found->st_size);
	ck_assert_uint_eq(file->mode, found->st_mode);
	ck_assert_uint_eq(file->nlink, found->st_nlink);
	ck_assert_uint_eq(file->uid, found->st_uid);
}

/* A file whose every number is another one. */
static void make_file(struct stat *found)
{
	write_file("file", "seventeen bytes..");
	ck_assert_int_eq(link("file", "second name"), 0);
	ck_assert_int_eq(chmod("file", 0640), 0);
	ck_assert_int_eq(stat("file", found), 0);
}

START_TEST(stat_tells_what_libcs_does)
{
	struct stat found;
	struct kernel_file file;

	make_file(&found);
	ASSERT_WORKS(kernel_stat(AT_FDCWD, "file", 0, &file));
	ck_assert_told(&file, &found);
	ck_assert_int_eq(file.born_sec, 0);
}
END_TEST

START_TEST(stat_follows_a_symlink_or_not)
{
	struct stat found;
	struct kernel_file file;

	make_file(&found);
	ck_assert_int_eq(symlink("file", "link"), 0);
	ASSERT_WORKS(kernel_stat(AT_FDCWD, "link", 0, &file));
	ck_assert_told(&file, &found);
	ASSERT_WORKS(kernel_stat(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, &file));
	ck_assert(S_ISLNK(file.mode));
}
END_TEST

START_TEST(stat_is_relative_to_a_directory)
{
	struct stat found;
	struct kernel_file file;
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	make_file(&found);
	ck_assert_int_eq(chdir("/"), 0);
	ASSERT_WORKS(kernel_stat(here, "file", 0, &file));
	ck_assert_told(&file, &found);
}
END_TEST

START_TEST(fstat_tells_what_libcs_does)
{
	struct stat found;
	struct kernel_file file;
	int fd;

	make_file(&found);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ASSERT_WORKS(kernel_fstat(fd, &file));
	ck_assert_told(&file, &found);
}
END_TEST

START_TEST(statx_tells_what_stat_does)
{
	struct stat found;
	struct kernel_file file;

	make_file(&found);
	ASSERT_WORKS(kernel_statx(AT_FDCWD, "file", 0, &file));
	ck_assert_told(&file, &found);
}
END_TEST

/* Which one it is only the kernel knows; but libc asks it the same. */
START_TEST(fstatfs_tells_the_type_that_libcs_does)
{
	int here = open(".", O_PATH | O_CLOEXEC);
	struct statfs found;
	uint32_t type = 0;

	ck_assert_int_eq(fstatfs(here, &found), 0);
	ASSERT_WORKS(kernel_fstatfs(here, &type));
	ck_assert_uint_eq(type, (uint32_t)found.f_type);
}
END_TEST

START_TEST(statx_tells_the_mount)
{
	struct kernel_mount here, file, proc;
	struct stat found;

	write_file("file", "");
	ck_assert_int_eq(stat(".", &found), 0);
	if (kernel_statx_mount(AT_FDCWD, ".", 0, &here) != 0) {
		ck_assert_int_eq(errno, ENOSYS); /* before Linux 5.8 */
		return;
	}
	ASSERT_WORKS(kernel_statx_mount(AT_FDCWD, "file", 0, &file));
	ASSERT_WORKS(kernel_statx_mount(AT_FDCWD, "/proc", 0, &proc));
	ck_assert_uint_eq(here.id, file.id);
	ck_assert_uint_ne(here.id, proc.id);
	ck_assert_uint_eq(here.dev, found.st_dev);
	ASSERT_FAILS(kernel_statx_mount(AT_FDCWD, "nothing", 0, &file), ENOENT);
}
END_TEST

START_TEST(failures_are_the_kernels)
{
	struct kernel_file file;
	uint32_t type;
	const char *nowhere = (const char *)1;

	ASSERT_FAILS(kernel_stat(AT_FDCWD, "nothing", 0, &file), ENOENT);
	ASSERT_FAILS(kernel_stat(AT_FDCWD, nowhere, 0, &file), EFAULT);
	ASSERT_FAILS(kernel_stat(-1, "nothing", 0, &file), EBADF);
	ASSERT_FAILS(kernel_fstat(-1, &file), EBADF);
	ASSERT_FAILS(kernel_statx(AT_FDCWD, "nothing", 0, &file), ENOENT);
	ASSERT_FAILS(kernel_fstatfs(-1, &type), EBADF);
	ASSERT_FAILS(kernel_lock(-1, F_OFD_SETLK, F_WRLCK, 0, 1), EBADF);
	ASSERT_FAILS(kernel_duplicate(-1, 0), EBADF);
}
END_TEST

/* Of one byte, and of the description: another one of the same file is in the way. */
START_TEST(a_lock_is_on_its_bytes)
{
	int fd;
	int other;

	write_file("file", "");
	fd = open("file", O_RDWR | O_CLOEXEC);
	other = open("file", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(kernel_lock(fd, F_OFD_SETLK, F_WRLCK, 3, 2), F_WRLCK);
	for (uint32_t byte = 0; byte < 8; byte++)
		ck_assert_int_eq(kernel_lock(other, F_OFD_GETLK, F_WRLCK, byte, 1),
			byte == 3 || byte == 4 ? F_WRLCK : F_UNLCK);
	ASSERT_FAILS(kernel_lock(other, F_OFD_SETLK, F_RDLCK, 4, 1), EAGAIN);
	ck_assert_int_eq(kernel_lock(fd, F_OFD_SETLK, F_UNLCK, 3, 2), F_UNLCK);
	ck_assert_int_eq(kernel_lock(other, F_OFD_GETLK, F_WRLCK, 3, 2), F_UNLCK);
}
END_TEST

START_TEST(a_duplicate_is_high_and_close_on_exec)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY);
	int high = kernel_duplicate(fd, 600);

	ck_assert_int_ge(high, 600);
	ck_assert_int_eq(fcntl(high, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(kernel_descriptor_flags(high), FD_CLOEXEC);
	ASSERT_FAILS(kernel_descriptor_flags(-1), EBADF);
}
END_TEST

START_TEST(the_user_is_the_effective_one)
{
	ck_assert_uint_eq(kernel_euid(), geteuid());
}
END_TEST

static int euid_of_stranger(const void *about)
{
	(void)about;
	return kernel_euid() == STRANGER ? 0 : 1;
}

START_TEST(the_user_may_change)
{
	ck_assert_int_eq(as_stranger(euid_of_stranger, NULL), 0);
}
END_TEST

START_TEST(a_process_exists_until_it_is_waited_for)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert(KEEPS_ERRNO(kernel_process_exists(getpid())));
	ck_assert(KEEPS_ERRNO(kernel_process_exists(pid)));
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert(!KEEPS_ERRNO(kernel_process_exists(pid)));
}
END_TEST

static int sees_another_users(const void *about)
{
	return kernel_process_exists(*(const pid_t *)about) ? 0 : 1;
}

/* Where the answer is that we may not signal it. */
START_TEST(another_users_process_exists)
{
	pid_t pid = getpid();

	ck_assert_int_eq(as_stranger(sees_another_users, &pid), 0);
}
END_TEST

/* The kernel's word for the number of a process that is not there is ESRCH, and no other. */
START_TEST(a_process_that_cannot_be_asked_for_exists)
{
	forbid(SYS_kill);
	ck_assert(KEEPS_ERRNO(kernel_process_exists(INT32_MAX)));
}
END_TEST

START_TEST(the_uptime_is_the_kernels)
{
	struct timespec before, after;
	uint64_t uptime;

	ck_assert_int_eq(clock_gettime(CLOCK_BOOTTIME, &before), 0);
	uptime = KEEPS_ERRNO(kernel_uptime());
	ck_assert_int_eq(clock_gettime(CLOCK_BOOTTIME, &after), 0);
	ck_assert_uint_ge(uptime, (uint64_t)before.tv_sec);
	ck_assert_uint_le(uptime, (uint64_t)after.tv_sec);
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("kernel");
	TCase *forbidden = suite_cases(suite, "forbidden");
	TCase *files = suite_cases(suite, "files");
	TCase *others = suite_cases(suite, "locks, descriptors and users");

	tcase_add_test(files, stat_tells_what_libcs_does);
	tcase_add_test(files, stat_follows_a_symlink_or_not);
	tcase_add_test(files, stat_is_relative_to_a_directory);
	tcase_add_test(files, fstat_tells_what_libcs_does);
	tcase_add_test(files, statx_tells_what_stat_does);
	tcase_add_test(files, fstatfs_tells_the_type_that_libcs_does);
	tcase_add_test(files, statx_tells_the_mount);
	tcase_add_test(files, failures_are_the_kernels);
	tcase_add_test(others, a_lock_is_on_its_bytes);
	tcase_add_test(others, a_duplicate_is_high_and_close_on_exec);
	tcase_add_test(others, the_user_is_the_effective_one);
	ADD_ROOT_TEST(others, the_user_may_change);
	tcase_add_test(others, a_process_exists_until_it_is_waited_for);
	ADD_ROOT_TEST(others, another_users_process_exists);
	tcase_add_test(others, the_uptime_is_the_kernels);
	tcase_add_test(forbidden, a_process_that_cannot_be_asked_for_exists);
	return suite;
}
