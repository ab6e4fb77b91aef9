#include "libc.h"

#include <dlfcn.h>
#include <errno.h>

#include "kernel.h"

struct libc libc;

static int no_renameat2(int olddir, const char *oldpath, int newdir, const char *newpath,
	unsigned int flags)
{
	(void)olddir, (void)oldpath, (void)newdir, (void)newpath, (void)flags;
	errno = ENOSYS;
	return -1;
}

/* dlsym returns functions as data pointers, which ISO C converts only through memory. */
#define RESOLVE(name) (*(void **)&libc.name = dlsym(RTLD_NEXT, #name))

void libc_resolve(void)
{
	int saved = errno;

	RESOLVE(bind);
	RESOLVE(unlink);
	RESOLVE(unlinkat);
	RESOLVE(remove);
	RESOLVE(rename);
	RESOLVE(renameat);
	RESOLVE(renameat2);
	RESOLVE(link);
	RESOLVE(linkat);
	RESOLVE(prctl);
	RESOLVE(syscall);
	if (libc.syscall)
		kernel_syscall = libc.syscall;
	if (!libc.renameat2)
		libc.renameat2 = no_renameat2;
	errno = saved;
}
