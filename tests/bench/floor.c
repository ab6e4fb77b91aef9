/*
 * floor: the least that a guard of names can do: look at the name, then call libc. What a guard
 * costs beyond that is its own doing.
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

static void look(int dirfd, const char *path)
{
	struct stat found;

	(void)fstatat(dirfd, path, &found, AT_SYMLINK_NOFOLLOW);
}

int unlink(const char *path)
{
	look(AT_FDCWD, path);
	return libc_unlink(path);
}

int unlinkat(int dirfd, const char *path, int flags)
{
	if (flags == 0)
		look(dirfd, path);
	return libc_unlinkat(dirfd, path, flags);
}

int remove(const char *path)
{
	look(AT_FDCWD, path);
	return libc_remove(path);
}
