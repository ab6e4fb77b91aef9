#include "inode.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

bool file_same(const struct file_id *a, const struct file_id *b)
{
	return a->ino == b->ino && a->dev == b->dev;
}

bool inode_same(const struct inode *a, const struct inode *b)
{
	bool told = (a->born_sec || a->born_nsec) && (b->born_sec || b->born_nsec);

	return file_same(&a->file, &b->file) &&
	       (!told || (a->born_sec == b->born_sec && a->born_nsec == b->born_nsec));
}

struct file_id file_of(const struct stat *found)
{
	return (struct file_id){.dev = found->st_dev, .ino = found->st_ino};
}

int inode_look(int dirfd, const char *path, struct stat *found)
{
	return fstatat(dirfd, path, found, AT_SYMLINK_NOFOLLOW);
}

/*
 * statx(2) by its number: the wrapper needs glibc 2.28. Where the kernel has none (before 4.11), or
 * a seccomp filter forbids it, fstatat does without the birth time.
 */
static int identify(int dirfd, const char *path, int flags, struct inode *inode)
{
	int saved = errno;
	struct statx found;
	struct stat plain;
	mode_t mode;

	if (syscall(SYS_statx, dirfd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &found) == 0) {
		mode = found.stx_mode;
		inode->file.dev = makedev(found.stx_dev_major, found.stx_dev_minor);
		inode->file.ino = (ino_t)found.stx_ino;
		if (found.stx_mask & STATX_BTIME) {
			inode->born_sec = found.stx_btime.tv_sec;
			inode->born_nsec = found.stx_btime.tv_nsec;
		}
	} else {
		if ((errno != ENOSYS && errno != EPERM) || fstatat(dirfd, path, &plain, flags) != 0)
			return -1;
		mode = plain.st_mode;
		inode->file = file_of(&plain);
	}
	errno = S_ISSOCK(mode) ? saved : ENOTSOCK;
	return S_ISSOCK(mode) ? 0 : -1;
}

int inode_identify(int dirfd, const char *path, struct inode *inode)
{
	*inode = (struct inode){0};
	return identify(dirfd, path, AT_SYMLINK_NOFOLLOW, inode);
}

int inode_pin(int dirfd, const char *path, struct pin *pin)
{
	int fd = openat(dirfd, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -1;
	*pin = (struct pin){.fd = fd};
	if (identify(fd, "", AT_EMPTY_PATH, &pin->inode) == 0)
		return 0;
	inode_unpin(pin);
	return -1;
}

void inode_unpin(struct pin *pin)
{
	int saved = errno;

	if (pin->fd >= 0)
		close(pin->fd);
	pin->fd = -1;
	errno = saved;
}
