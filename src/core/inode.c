#include "inode.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_same(const struct file_id *a, const struct file_id *b)
{
	return a->ino == b->ino && a->dev == b->dev;
}

bool inode_same(const struct inode *a, const struct inode *b)
{
	bool handles_known = a->handle != 0 && b->handle != 0;
	bool births_known = (a->born_sec || a->born_nsec) && (b->born_sec || b->born_nsec);

	return file_same(&a->file, &b->file) && (!handles_known || a->handle == b->handle) &&
	       (!births_known || (a->born_sec == b->born_sec && a->born_nsec == b->born_nsec));
}

struct file_id file_id_of(const struct kernel_file *found)
{
	return (struct file_id){.dev = found->dev, .ino = found->ino};
}

int inode_stat(int dirfd, const char *path, struct kernel_file *found)
{
	return kernel_stat(dirfd, path, AT_SYMLINK_NOFOLLOW, found);
}

/*
 * Uses fstatat, without the birth time, if there is no statx (before Linux 4.11), or if a seccomp
 * filter forbids it with any errno.
 */
static int identify(int dirfd, const char *path, int flags, struct inode *inode)
{
	int saved = errno;
	struct kernel_file file;

	if (kernel_statx(dirfd, path, flags, &file) != 0 &&
		(errno == ENOENT || kernel_stat(dirfd, path, flags, &file) != 0))
		return -1;
	inode->file = file_id_of(&file);
	inode->born_sec = file.born_sec;
	inode->born_nsec = file.born_nsec;
	inode->handle = 0;
	if (S_ISSOCK(file.mode) && file.born_sec == 0 && file.born_nsec == 0)
		inode->handle = kernel_handle(dirfd, path, flags);
	errno = S_ISSOCK(file.mode) ? saved : ENOTSOCK;
	return S_ISSOCK(file.mode) ? 0 : -1;
}

int inode_identify(int dirfd, const char *path, struct inode *inode)
{
	*inode = (struct inode){0};
	return identify(dirfd, path, AT_SYMLINK_NOFOLLOW, inode);
}

int inode_of_descriptor(int fd, struct inode *inode)
{
	*inode = (struct inode){0};
	return identify(fd, "", AT_EMPTY_PATH, inode);
}

int inode_pin(int dirfd, const char *path, struct pin *pin)
{
	int fd = kernel_open(dirfd, path, O_PATH | O_NOFOLLOW, 0);

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
		kernel_close(pin->fd);
	pin->fd = -1;
	errno = saved;
}

size_t inode_directory_length(const char *path)
{
	size_t length = strlen(path);

	while (length > 0 && path[length - 1] != '/')
		length--;
	return length;
}

int inode_list_directory(int directory, bool (*found)(const char *entry, void *about), void *about)
{
	struct entry { /* linux_dirent64, getdents(2) */
		uint64_t ino;
		int64_t offset;
		unsigned short length;
		unsigned char type;
		char name[];
	};
	_Alignas(struct entry) char list[512];
	ssize_t filled;

	while ((filled = kernel_getdents(directory, list, sizeof(list))) > 0) {
		for (ssize_t at = 0; at < filled;) {
			const struct entry *entry = (const struct entry *)(const void *)(list + at);

			at += entry->length;
			if (found(entry->name, about))
				return 1;
		}
	}
	return filled < 0 ? -1 : 0;
}
