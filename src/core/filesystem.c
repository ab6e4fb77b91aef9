#include "filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include "scratch.h"

/* Part of the kernel's ABI; the oldest headers' linux/magic.h lacks some of these values. */
#define BTRFS_MAGIC     0x9123683e
#define OVERLAYFS_MAGIC 0x794c7630

/*
 * The types whose inode numbers have 32 bits, so that no two inodes of one superblock agree in the
 * low 32 bits: ext2 to ext4, f2fs, and tmpfs until it has had 2^32 files.
 */
static const uint32_t narrow_types[] = {0xef53, 0xf2f52010, 0x01021994};
#define NARROW (sizeof(narrow_types) / sizeof(narrow_types[0]))

/* The types on which a process on another host may hold a lock. */
static const uint32_t remote_types[] = {
	0x00006969, /* NFS */
	0x0000517b, /* SMB 1 */
	0xfe534d42, /* SMB 2 and 3 */
	0xff534d42, /* CIFS */
	0x65735546, /* FUSE, virtiofs */
	0x01021997, /* 9P */
	0x00c36400, /* Ceph */
	0x5346414f, /* OpenAFS */
	0x6b414653, /* AFS of the kernel */
	0x73757245, /* Coda */
	0x0bd00bd0, /* Lustre */
	0x01161970, /* GFS2 */
	0x7461636f, /* OCFS2 */
	0x47504653, /* GPFS */
	0x19830326, /* BeeGFS */
	0x20030528, /* OrangeFS */
	0xaad7aaea, /* PanFS */
	0xbeefdead, /* SNFS */
	0xa501fcf5, /* VxFS */
	0x61636673, /* ACFS */
};
#define REMOTE (sizeof(remote_types) / sizeof(remote_types[0]))

static bool is_among(uint32_t type, const uint32_t *types, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (types[i] == type)
			return true;
	return false;
}

/* 0: unknown. */
static uint32_t type_of(int fd)
{
	uint32_t type;

	return kernel_fstatfs(fd, &type) == 0 ? type : 0;
}

bool filesystem_may_lock_remotely(int fd)
{
	int saved = errno;
	uint32_t type = type_of(fd);

	errno = saved;
	return type == 0 || is_among(type, remote_types, REMOTE);
}

bool filesystem_same_type(int a, int b)
{
	int saved = errno;
	uint32_t type = type_of(a);
	bool same = type != 0 && type == type_of(b);

	errno = saved;
	return same;
}

/* From stat(2)'s encoding, new_encode_dev, to the kernel's own: include/linux/kdev_t.h. */
static uint32_t decode_device(uint64_t dev)
{
	uint32_t major = (uint32_t)(dev >> 8) & 0xfff;
	uint32_t minor = ((uint32_t)dev & 0xff) | ((uint32_t)(dev >> 12) & 0xfff00);

	return major << 20 | minor;
}

bool filesystem_device_matches(const struct superblock *superblock, uint64_t dev)
{
	return superblock->dev_known && superblock->dev == decode_device(dev);
}

bool filesystem_is_anonymous_device(uint32_t dev)
{
	return dev >> 20 == 0;
}

bool filesystem_is_overlay(const struct superblock *superblock)
{
	return superblock->type == OVERLAYFS_MAGIC;
}

static int stat_directory(int dirfd, const char *path, struct kernel_mount *found)
{
	size_t length = inode_directory_length(path);
	char *directory;
	int result;

	if (length == 0)
		return kernel_statx_mount(dirfd, "", AT_EMPTY_PATH, found);
	directory = scratch_allocate(length + 1);
	if (!directory)
		return -1;
	memcpy(directory, path, length);
	result = kernel_statx_mount(dirfd, directory, 0, found);
	scratch_free(directory, length + 1);
	return result;
}

/*
 * overlayfs may report a layer's device for a file, but always reports its own superblock's device
 * for a directory (Documentation/filesystems/overlayfs.rst, "Inode properties"). The directory must
 * be in the same mount as the socket, whose path may itself be a mount point.
 */
static bool device_of_overlay(const struct pin *pin, int dirfd, const char *path, uint32_t *dev)
{
	struct kernel_mount file, directory;

	if (kernel_statx_mount(pin->fd, "", AT_EMPTY_PATH, &file) != 0 ||
		stat_directory(dirfd, path, &directory) != 0 || directory.id != file.id)
		return false;
	*dev = decode_device(directory.dev);
	return true;
}

/* btrfs reports a device for each subvolume, and its superblock's device nowhere. */
struct superblock filesystem_superblock(const struct pin *pin, int dirfd, const char *path)
{
	int saved = errno;
	struct superblock superblock = {
		.type = type_of(pin->fd), .dev = decode_device(pin->inode.file.dev)};

	if (filesystem_is_overlay(&superblock))
		superblock.dev_known = device_of_overlay(pin, dirfd, path, &superblock.dev);
	else
		superblock.dev_known = superblock.type != 0 && superblock.type != BTRFS_MAGIC;
	superblock.exact = superblock.dev_known &&
			   is_among(superblock.type, narrow_types, NARROW) &&
			   pin->inode.file.ino <= UINT32_MAX;
	errno = saved;
	return superblock;
}
