/*
 * floor: the minimum that any guard of paths must do: check the path, then call libc.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int (*libc_unlink)(const char *path);
static int (*libc_unlinkat)(int dirfd, const char *path, int flags);
static int (*libc_remove)(const char *path);

static __attribute__((constructor)) void on_load(void)
{
	*(void **)&libc_unlink = dlsym(RTLD_NEXT, "unlink");
	*(void **)&libc_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
	*(void **)&libc_remove = dlsym(RTLD_NEXT, "remove");
}

static void check_path(int dirfd, const char *path)
{
	struct stat found;

	(void)fstatat(dirfd, path, &found, AT_SYMLINK_NOFOLLOW);
}

int unlink(const char *path)
{
	check_path(AT_FDCWD, path);
	return libc_unlink(path);
}

int unlinkat(int dirfd, const char *path, int flags)
{
	if (flags == 0)
		check_path(dirfd, path);
	return libc_unlinkat(dirfd, path, flags);
}

int remove(const char *path)
{
	check_path(AT_FDCWD, path);
	return libc_remove(path);
}
