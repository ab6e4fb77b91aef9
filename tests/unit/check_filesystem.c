#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "filesystem.h"
#include "suite.h"

static struct pin pin;

/* The device of the scratch directory, in the kernel's internal encoding. */
static uint32_t kernel_device_of_scratch(void)
{
	struct stat found;

	ck_assert_int_eq(stat(".", &found), 0);
	return major(found.st_dev) << 20 | minor(found.st_dev);
}

static struct superblock superblock_of_socket(uint32_t type, const char *beside)
{
	int before = count_descriptors();
	struct superblock superblock;

	fake_kernel(&(struct fake_results){.filesystem = type});
	superblock = KEEPS_ERRNO(filesystem_superblock(&pin, AT_FDCWD, beside));
	ck_assert_int_eq(count_descriptors(), before);
	return superblock;
}

static void make_socket(void)
{
	bound_socket("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	pin.inode.file.ino &= UINT32_MAX;
}

START_TEST(numbers_of_32_bits_are_exact)
{
	struct superblock superblock;

	make_socket();
	superblock = superblock_of_socket(EXT4_TYPE, "s");
	ck_assert(superblock.exact);
	ck_assert(superblock.dev_known);
	pin.inode.file.dev = makedev(0xabc, 0x12345);
	superblock = superblock_of_socket(EXT4_TYPE, "s");
	ck_assert_uint_eq(superblock.dev, 0xabc12345);
	pin.inode.file.ino = UINT32_MAX;
	ck_assert(superblock_of_socket(EXT4_TYPE, "s").exact);
	pin.inode.file.ino = UINT64_C(1) << 32;
	ck_assert(!superblock_of_socket(EXT4_TYPE, "s").exact);
}
END_TEST

/* overlayfs and btrfs report other devices for files than the superblock's. */
START_TEST(only_the_superblocks_own_device_is_its_device)
{
	struct superblock superblock;
	const dev_t dev = makedev(0xabc, 0x12345);

	make_socket();
	pin.inode.file.dev = dev;
	superblock = superblock_of_socket(XFS_TYPE, "s");
	ck_assert(KEEPS_ERRNO(filesystem_device_matches(&superblock, dev)));
	ck_assert(!filesystem_device_matches(&superblock, dev ^ 1));
	superblock = superblock_of_socket(BTRFS_TYPE, "s");
	ck_assert(!filesystem_device_matches(&superblock, dev));
}
END_TEST

START_TEST(longer_numbers_are_not_exact)
{
	struct superblock superblock;

	make_socket();
	superblock = superblock_of_socket(XFS_TYPE, "s");
	ck_assert(superblock.dev_known);
	ck_assert(!superblock.exact);
}
END_TEST

START_TEST(the_device_of_btrfs_is_unknown)
{
	struct superblock superblock;

	make_socket();
	superblock = superblock_of_socket(BTRFS_TYPE, "s");
	ck_assert(!superblock.dev_known);
	ck_assert(!superblock.exact);
}
END_TEST

/* The device that stat(2) reports for a file may be that of a layer. */
START_TEST(overlayfs_has_the_device_of_its_directories)
{
	static const char *const beside[] = {"s", "", "./s", "d/t"};
	struct superblock superblock;

	make_socket();
	ck_assert_int_eq(mkdir("d", 0755), 0);
	pin.inode.file.dev = makedev(0, 4711);
	superblock = superblock_of_socket(OVERLAYFS_TYPE, beside[_i]);
	ck_assert(filesystem_is_overlay(&superblock));
	ck_assert(superblock.dev_known);
	ck_assert_uint_eq(superblock.dev, kernel_device_of_scratch());
	ck_assert(!superblock.exact);
}
END_TEST

START_TEST(a_directory_of_another_mount_gives_no_device)
{
	make_socket();
	ck_assert(!superblock_of_socket(OVERLAYFS_TYPE, "/proc/self/s").dev_known);
	ck_assert(!superblock_of_socket(OVERLAYFS_TYPE, "nowhere/s").dev_known);
	fake_kernel(&(struct fake_results){.filesystem = OVERLAYFS_TYPE, .mount = UINT64_MAX});
	ck_assert(!filesystem_superblock(&pin, AT_FDCWD, "s").dev_known);
}
END_TEST

START_TEST(without_statx_the_device_of_overlayfs_is_unknown)
{
	make_socket();
	forbid(SYS_statx);
	ck_assert(!superblock_of_socket(OVERLAYFS_TYPE, "s").dev_known);
}
END_TEST

START_TEST(without_memory_the_device_of_overlayfs_is_unknown)
{
	make_socket();
	forbid_memory();
	ck_assert(!superblock_of_socket(OVERLAYFS_TYPE, "./s").dev_known);
	ck_assert(superblock_of_socket(OVERLAYFS_TYPE, "s").dev_known);
}
END_TEST

START_TEST(without_the_type_the_device_is_unknown)
{
	struct superblock superblock;

	make_socket();
	forbid(CALL_STATFS);
	superblock = superblock_of_socket(EXT4_TYPE, "s");
	ck_assert(!superblock.dev_known);
	ck_assert(!superblock.exact);
	ck_assert(filesystem_may_lock_remotely(pin.fd));
	ck_assert(!filesystem_same_type(pin.fd, pin.fd));
}
END_TEST

START_TEST(a_closed_descriptor_has_no_known_type)
{
	pin.fd = -1;
	ck_assert(!superblock_of_socket(EXT4_TYPE, "s").dev_known);
	ck_assert(KEEPS_ERRNO(filesystem_may_lock_remotely(-1)));
	ck_assert(!KEEPS_ERRNO(filesystem_same_type(-1, -1)));
}
END_TEST

START_TEST(only_network_file_systems_have_remote_locks)
{
	static const struct {
		uint32_t type;
		bool remotely;
	} types[] = {{EXT4_TYPE, false}, {XFS_TYPE, false}, {BTRFS_TYPE, false},
		{OVERLAYFS_TYPE, false}, {NFS_TYPE, true}, {0xfe534d42, true}, {0x65735546, true}};

	make_socket();
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		fake_kernel(&(struct fake_results){.filesystem = types[i].type});
		ck_assert_int_eq(KEEPS_ERRNO(filesystem_may_lock_remotely(pin.fd)),
			types[i].remotely);
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
	ck_assert(filesystem_is_anonymous_device(4711));
	ck_assert(!filesystem_is_anonymous_device(8 << 20 | 1));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("filesystem");
	TCase *cases = suite_cases(suite, "filesystem");
	TCase *forbidden = suite_cases(suite, "forbidden");

	tcase_add_test(cases, numbers_of_32_bits_are_exact);
	tcase_add_test(cases, only_the_superblocks_own_device_is_its_device);
	tcase_add_test(cases, longer_numbers_are_not_exact);
	tcase_add_test(cases, the_device_of_btrfs_is_unknown);
	tcase_add_loop_test(cases, overlayfs_has_the_device_of_its_directories, 0, 4);
	tcase_add_test(cases, a_directory_of_another_mount_gives_no_device);
	tcase_add_test(cases, a_closed_descriptor_has_no_known_type);
	tcase_add_test(cases, only_network_file_systems_have_remote_locks);
	tcase_add_test(cases, types_are_compared);
	tcase_add_test(cases, disks_have_a_major_number);
	tcase_add_test(forbidden, without_statx_the_device_of_overlayfs_is_unknown);
#if !defined(__SANITIZE_ADDRESS__) &&                                                              \
	!defined(__SANITIZE_THREAD__) /* they map memory of their own */
	tcase_add_test(forbidden, without_memory_the_device_of_overlayfs_is_unknown);
#else
	(void)without_memory_the_device_of_overlayfs_is_unknown;
#endif
	tcase_add_test(forbidden, without_the_type_the_device_is_unknown);
	return suite;
}
