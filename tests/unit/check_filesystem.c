#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "filesystem.h"
#include "suite.h"

static struct pin pin;

/* Of the scratch directory, by the kernel's own encoding. */
static uint32_t device_here(void)
{
	struct stat found;

	ck_assert_int_eq(stat(".", &found), 0);
	return major(found.st_dev) << 20 | minor(found.st_dev);
}

static struct superblock of_socket(uint32_t type, const char *beside)
{
	int before = open_descriptors();
	struct superblock superblock;

	pretend(&(struct pretence){.filesystem = type});
	superblock = KEEPS_ERRNO(filesystem_superblock(&pin, AT_FDCWD, beside));
	ck_assert_int_eq(open_descriptors(), before);
	return superblock;
}

static void make_socket(void)
{
	bound("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	pin.inode.file.ino &= UINT32_MAX;
}

START_TEST(numbers_of_32_bits_are_exact)
{
	struct superblock superblock;

	make_socket();
	superblock = of_socket(EXT4_TYPE, "s");
	ck_assert(superblock.exact);
	ck_assert(superblock.dev_known);
	pin.inode.file.dev = makedev(0xabc, 0x12345);
	superblock = of_socket(EXT4_TYPE, "s");
	ck_assert_uint_eq(superblock.dev, 0xabc12345);
	pin.inode.file.ino = UINT64_C(1) << 32;
	ck_assert(!of_socket(EXT4_TYPE, "s").exact);
}
END_TEST

START_TEST(longer_numbers_are_not)
{
	struct superblock superblock;

	make_socket();
	superblock = of_socket(XFS_TYPE, "s");
	ck_assert(superblock.dev_known);
	ck_assert(!superblock.exact);
}
END_TEST

START_TEST(the_device_of_btrfs_is_not_known)
{
	struct superblock superblock;

	make_socket();
	superblock = of_socket(BTRFS_TYPE, "s");
	ck_assert(!superblock.dev_known);
	ck_assert(!superblock.exact);
}
END_TEST

/* Whatever a file tells. */
START_TEST(overlayfs_has_the_device_of_its_directories)
{
	static const char *const beside[] = {"s", "", "./s", "d/t"};
	struct superblock superblock;

	make_socket();
	ck_assert_int_eq(mkdir("d", 0755), 0);
	pin.inode.file.dev = makedev(0, 4711);
	superblock = of_socket(OVERLAYFS_TYPE, beside[_i]);
	ck_assert(filesystem_is_overlay(&superblock));
	ck_assert(superblock.dev_known);
	ck_assert_uint_eq(superblock.dev, device_here());
	ck_assert(!superblock.exact);
}
END_TEST

START_TEST(a_directory_of_another_mount_tells_nothing)
{
	make_socket();
	ck_assert(!of_socket(OVERLAYFS_TYPE, "/proc/self/s").dev_known);
	ck_assert(!of_socket(OVERLAYFS_TYPE, "nowhere/s").dev_known);
	pretend(&(struct pretence){.filesystem = OVERLAYFS_TYPE, .mount = UINT64_MAX});
	ck_assert(!filesystem_superblock(&pin, AT_FDCWD, "s").dev_known);
}
END_TEST

START_TEST(without_statx_overlayfs_tells_nothing)
{
	make_socket();
	forbid(SYS_statx);
	ck_assert(!of_socket(OVERLAYFS_TYPE, "s").dev_known);
}
END_TEST

START_TEST(without_memory_for_the_path_overlayfs_tells_nothing)
{
	make_socket();
	forbid_with(CALL_MAP, ENOMEM);
	ck_assert(!of_socket(OVERLAYFS_TYPE, "./s").dev_known);
	ck_assert(of_socket(OVERLAYFS_TYPE, "s").dev_known);
}
END_TEST

START_TEST(without_its_type_nothing_is_known)
{
	struct superblock superblock;

	make_socket();
	forbid(CALL_STATFS);
	superblock = of_socket(EXT4_TYPE, "s");
	ck_assert(!superblock.dev_known);
	ck_assert(!superblock.exact);
	ck_assert(filesystem_locks_remotely(pin.fd));
	ck_assert(!filesystem_same_type(pin.fd, pin.fd));
}
END_TEST

START_TEST(what_is_not_open_is_not_known)
{
	pin.fd = -1;
	ck_assert(!of_socket(EXT4_TYPE, "s").dev_known);
	ck_assert(KEEPS_ERRNO(filesystem_locks_remotely(-1)));
	ck_assert(!KEEPS_ERRNO(filesystem_same_type(-1, -1)));
}
END_TEST

START_TEST(only_some_have_remote_locks)
{
	static const struct {
		uint32_t type;
		bool remotely;
	} types[] = {{EXT4_TYPE, false}, {XFS_TYPE, false}, {BTRFS_TYPE, false},
		{OVERLAYFS_TYPE, false}, {NFS_TYPE, true}, {0xfe534d42, true}, {0x65735546, true}};

	make_socket();
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		pretend(&(struct pretence){.filesystem = types[i].type});
		ck_assert_int_eq(KEEPS_ERRNO(filesystem_locks_remotely(pin.fd)), types[i].remotely);
	}
}
END_TEST

START_TEST(types_are_compared)
{
	int proc = open("/proc", O_PATH | O_CLOEXEC);

	make_socket();
	ck_assert(KEEPS_ERRNO(filesystem_same_type(pin.fd, pin.fd)));
	ck_assert(!KEEPS_ERRNO(filesystem_same_type(pin.fd, proc)));
}
END_TEST

START_TEST(disks_have_a_major_number)
{
	ck_assert(filesystem_is_anonymous(4711));
	ck_assert(!filesystem_is_anonymous(8 << 20 | 1));
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("filesystem");
	TCase *cases = suite_cases(suite, "filesystem");
	TCase *forbidden = suite_cases(suite, "forbidden");

	tcase_add_test(cases, numbers_of_32_bits_are_exact);
	tcase_add_test(cases, longer_numbers_are_not);
	tcase_add_test(cases, the_device_of_btrfs_is_not_known);
	tcase_add_loop_test(cases, overlayfs_has_the_device_of_its_directories, 0, 4);
	tcase_add_test(cases, a_directory_of_another_mount_tells_nothing);
	tcase_add_test(cases, what_is_not_open_is_not_known);
	tcase_add_test(cases, only_some_have_remote_locks);
	tcase_add_test(cases, types_are_compared);
	tcase_add_test(cases, disks_have_a_major_number);
	tcase_add_test(forbidden, without_statx_overlayfs_tells_nothing);
#if !defined(__SANITIZE_ADDRESS__) &&                                                              \
	!defined(__SANITIZE_THREAD__) /* they map memory of their own */
	tcase_add_test(forbidden, without_memory_for_the_path_overlayfs_tells_nothing);
#else
	(void)without_memory_for_the_path_overlayfs_tells_nothing;
#endif
	tcase_add_test(forbidden, without_its_type_nothing_is_known);
	return suite;
}
