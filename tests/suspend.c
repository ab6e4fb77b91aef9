/*
 * suspend: a library that is preloaded into a supervisor. It suspends one of the supervisor's
 * processes outside the kernel, just before or just after an ioctl(2), where neither strace nor
 * SIGSTOP can suspend a process.
 *
 * SUSPEND_FILE names a file that contains a struct choice. The test maps the file, too. It sets
 * `when` last. The process then stores its PID in `suspended`, and continues when the test sets it
 * to 0. It handles signals in the meantime.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))
#define NEXT(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

enum { BEFORE = 1, AFTER = 2 };

static struct choice {
	int pid; /* 0: any process */
	unsigned int request;
	atomic_int when; /* BEFORE or AFTER; 0: never */
	atomic_int suspended;
} * choice;

static __attribute__((constructor)) void map_choice(void)
{
	const char *path = getenv("SUSPEND_FILE");
	int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *memory = MAP_FAILED;

	if (file >= 0)
		memory = mmap(NULL, sizeof(*choice), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory != MAP_FAILED)
		choice = memory;
	close(file);
}

static void suspend_if_chosen(unsigned int request, int when)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	int saved = errno;

	if (!choice || choice->request != request || (choice->pid != 0 && choice->pid != getpid()))
		return;
	if (!atomic_compare_exchange_strong(&choice->when, &when, 0))
		return;
	atomic_store(&choice->suspended, getpid());
	while (atomic_load(&choice->suspended) == getpid())
		nanosleep(&pause, NULL);
	errno = saved;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	void *argument;
	int result;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	suspend_if_chosen((unsigned int)request, BEFORE);
	result = NEXT(ioctl)(fd, request, argument);
	suspend_if_chosen((unsigned int)request, AFTER);
	return result;
}
