#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"
#include "suite.h"

/* Compares with libc's stat(2), which uses another structure. */
static void assert_agrees_with_stat(const struct kernel_file *file, const struct stat *found)
{
	ck_assert_uint_eq(file->dev, found->st_dev);
	ck_assert_uint_eq(file->ino, found->st_ino);
	ck_assert_uint_eq(file->size, (uint64_t)found->st_size);
	ck_assert_uint_eq(file->mode, found->st_mode);
	ck_assert_uint_eq(file->nlink, found->st_nlink);
	ck_assert_uint_eq(file->uid, found->st_uid);
}

/* Creates a file whose attributes are all different numbers. */
static void make_file(struct stat *found)
{
	write_file("file", "seventeen bytes..");
	ck_assert_int_eq(link("file", "second name"), 0);
	ck_assert_int_eq(chmod("file", 0640), 0);
	ck_assert_int_eq(stat("file", found), 0);
}

START_TEST(stat_agrees_with_libc)
{
	struct stat found;
	struct kernel_file file;

	make_file(&found);
	ASSERT_SUCCEEDS(kernel_stat(AT_FDCWD, "file", 0, &file));
	assert_agrees_with_stat(&file, &found);
	ck_assert_int_eq(file.born_sec, 0);
}
END_TEST

START_TEST(stat_follows_a_symlink_or_not)
{
	struct stat found;
	struct kernel_file file;

	make_file(&found);
	ck_assert_int_eq(symlink("file", "link"), 0);
	ASSERT_SUCCEEDS(kernel_stat(AT_FDCWD, "link", 0, &file));
	assert_agrees_with_stat(&file, &found);
	ASSERT_SUCCEEDS(kernel_stat(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, &file));
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
	ASSERT_SUCCEEDS(kernel_stat(here, "file", 0, &file));
	assert_agrees_with_stat(&file, &found);
}
END_TEST

START_TEST(fstat_agrees_with_libc)
{
	struct stat found;
	struct kernel_file file;
	int fd;

	make_file(&found);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	ASSERT_SUCCEEDS(kernel_fstat(fd, &file));
	assert_agrees_with_stat(&file, &found);
}
END_TEST

START_TEST(statx_agrees_with_stat)
{
	struct stat found;
	struct kernel_file file;

	make_file(&found);
	ASSERT_SUCCEEDS(kernel_statx(AT_FDCWD, "file", 0, &file));
	assert_agrees_with_stat(&file, &found);
}
END_TEST

/* The type is unknown to the test, but libc's fstatfs(2) must return the same. */
START_TEST(fstatfs_agrees_with_libc)
{
	int here = open(".", O_PATH | O_CLOEXEC);
	struct statfs found;
	uint32_t type = 0;

	ck_assert_int_eq(fstatfs(here, &found), 0);
	ASSERT_SUCCEEDS(kernel_fstatfs(here, &type));
	ck_assert_uint_eq(type, (uint32_t)found.f_type);
}
END_TEST

START_TEST(statx_returns_the_mount)
{
	struct kernel_mount here, file, proc;
	struct stat found;

	write_file("file", "");
	ck_assert_int_eq(stat(".", &found), 0);
	if (kernel_statx_mount(AT_FDCWD, ".", 0, &here) != 0) {
		ck_assert_int_eq(errno, ENOSYS); /* before Linux 5.8 */
		return;
	}
	ASSERT_SUCCEEDS(kernel_statx_mount(AT_FDCWD, "file", 0, &file));
	ASSERT_SUCCEEDS(kernel_statx_mount(AT_FDCWD, "/proc", 0, &proc));
	ck_assert_uint_eq(here.id, file.id);
	ck_assert_uint_ne(here.id, proc.id);
	ck_assert_uint_eq(here.dev, found.st_dev);
	ck_assert_uint_eq(here.ino, found.st_ino);
	ASSERT_FAILS(kernel_statx_mount(AT_FDCWD, "nothing", 0, &file), ENOENT);
}
END_TEST

START_TEST(the_errno_is_the_kernels)
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

/* A lock belongs to the open file description: another description of the file conflicts with it.
 */
START_TEST(a_lock_covers_exactly_its_bytes)
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

/* Another thread may fork and execute a program at any time, which must inherit no descriptor. */
START_TEST(every_descriptor_is_close_on_exec)
{
	const int fds[] = {
		kernel_open(AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0),
		kernel_open(AT_FDCWD, "file", O_RDWR | O_CREAT | O_EXCL, 0600),
		kernel_socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0),
	};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
}
END_TEST

static uint64_t handle_of(int dirfd, const char *path, int flags)
{
	return KEEPS_ERRNO(kernel_handle(dirfd, path, flags));
}

START_TEST(a_close_that_fails_leaves_errno_alone)
{
	KEEPS_ERRNO_VOID(kernel_close(-1));
}
END_TEST

/* tmpfs has file handles, and ramfs has none. */
START_TEST(a_handle_identifies_a_file)
{
	int fd;

	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("none", ".", "tmpfs", 0, NULL), 0);
	ck_assert_int_eq(chdir(absolute_path(".")), 0); /* into what is mounted there now */
	write_file("a", "");
	write_file("b", "");
	ck_assert_int_eq(link("a", "c"), 0);
	ck_assert_int_eq(symlink("a", "d"), 0);
	fd = open("a", O_PATH | O_CLOEXEC);
	ck_assert_uint_ne(handle_of(AT_FDCWD, "a", AT_SYMLINK_NOFOLLOW), 0);
	ck_assert_uint_eq(handle_of(AT_FDCWD, "a", 0), handle_of(AT_FDCWD, "c", 0));
	ck_assert_uint_eq(handle_of(AT_FDCWD, "a", 0), handle_of(fd, "", AT_EMPTY_PATH));
	ck_assert_uint_ne(handle_of(AT_FDCWD, "a", 0), handle_of(AT_FDCWD, "b", 0));
	ck_assert_uint_ne(handle_of(AT_FDCWD, "a", 0), handle_of(AT_FDCWD, "d", 0));
	ck_assert_uint_eq(kernel_handle(AT_FDCWD, "none", 0), 0);
	ck_assert_int_eq(mount("none", ".", "ramfs", 0, NULL), 0);
	ck_assert_int_eq(chdir(absolute_path(".")), 0);
	write_file("a", "");
	ck_assert_uint_eq(kernel_handle(AT_FDCWD, "a", 0), 0);
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
	ck_assert_int_eq(run_as_stranger(euid_of_stranger, NULL), 0);
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

static int sees_process(const void *about)
{
	return kernel_process_exists(*(const pid_t *)about) ? 0 : 1;
}

/* kill(2) fails with EPERM. */
START_TEST(another_users_process_exists)
{
	pid_t pid = getpid();

	ck_assert_int_eq(run_as_stranger(sees_process, &pid), 0);
}
END_TEST

/* Only ESRCH means that there is no such process. */
START_TEST(a_process_counts_as_existing_if_kill_is_forbidden)
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

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("kernel");
	TCase *forbidden = suite_cases(suite, "forbidden");
	TCase *files = suite_cases(suite, "files");
	TCase *others = suite_cases(suite, "locks, descriptors and users");

	tcase_add_test(files, stat_agrees_with_libc);
	tcase_add_test(files, stat_follows_a_symlink_or_not);
	tcase_add_test(files, stat_is_relative_to_a_directory);
	tcase_add_test(files, fstat_agrees_with_libc);
	tcase_add_test(files, every_descriptor_is_close_on_exec);
	tcase_add_test(files, a_close_that_fails_leaves_errno_alone);
	ADD_ROOT_TEST(files, a_handle_identifies_a_file);
	tcase_add_test(files, statx_agrees_with_stat);
	tcase_add_test(files, fstatfs_agrees_with_libc);
	tcase_add_test(files, statx_returns_the_mount);
	tcase_add_test(files, the_errno_is_the_kernels);
	tcase_add_test(others, a_lock_covers_exactly_its_bytes);
	tcase_add_test(others, a_duplicate_is_high_and_close_on_exec);
	tcase_add_test(others, the_user_is_the_effective_one);
	ADD_ROOT_TEST(others, the_user_may_change);
	tcase_add_test(others, a_process_exists_until_it_is_waited_for);
	ADD_ROOT_TEST(others, another_users_process_exists);
	tcase_add_test(others, the_uptime_is_the_kernels);
	tcase_add_test(forbidden, a_process_counts_as_existing_if_kill_is_forbidden);
	return suite;
}
