#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "inspect.h"
#include "kernel.h"
#include "starttime.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* since Linux 6.9 */
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438 /* missing before glibc 2.32 */
#endif

enum { PAGE = 4096 };

/* ---- memory ---- */

/* Reads in two pieces: if the second page cannot be read, the first still can, in the same call. */
static size_t read_some(pid_t tid, uint64_t address, void *bytes, size_t size)
{
	size_t first = PAGE - address % PAGE;
	struct iovec here = {.iov_base = bytes, .iov_len = size};
	struct iovec there[2] = {
		{.iov_base = (void *)(uintptr_t)address, .iov_len = size < first ? size : first},
		{.iov_base = (void *)(uintptr_t)(address + first),
			.iov_len = size < first ? 0 : size - first},
	};
	ssize_t length = process_vm_readv(tid, &here, 1, there, size < first ? 1 : 2, 0);

	return length < 0 ? 0 : (size_t)length;
}

bool target_read(pid_t tid, uint64_t address, void *bytes, size_t size)
{
	size_t got = read_some(tid, address, bytes, size);

	if (got > 0 && got < size)
		errno = EFAULT;
	return got == size;
}

/* Reads 256 bytes first, because most paths are short. */
bool target_read_string(pid_t tid, uint64_t address, char *string, size_t size)
{
	size_t read = 0;
	size_t piece = 256;

	while (read < size) {
		size_t wanted = size - read < piece ? size - read : piece;
		size_t got = read_some(tid, address + read, string + read, wanted);

		if (got == 0)
			return false;
		if (memchr(string + read, '\0', got))
			return true;
		read += got;
		piece = PAGE;
	}
	errno = ENAMETOOLONG;
	return false;
}

/* ---- /proc ---- */

const char *target_path(pid_t tid, const char *entry, char path[TARGET_PATH])
{
	snprintf(path, TARGET_PATH, "/proc/%d/%s", (int)tid, entry);
	return path;
}

static bool same_root(const struct kernel_mount *a, const struct kernel_mount *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->id == b->id;
}

/* Compares mount IDs too, which are unique across mount namespaces. */
bool target_shares_root(pid_t tid)
{
	static struct kernel_mount ours; /* cached, because the watcher never changes its root */
	struct kernel_mount theirs;
	char name[TARGET_PATH];

	if (ours.ino == 0 && kernel_statx_mount(AT_FDCWD, "/", 0, &ours) != 0)
		return false;
	return kernel_statx_mount(AT_FDCWD, target_path(tid, "root", name), AT_STATX_DONT_SYNC,
		       &theirs) == 0 &&
	       same_root(&ours, &theirs);
}

static bool read_status(struct target *target, const char *status)
{
	uint64_t process, umask = 022;
	uint64_t inner[32];
	size_t levels;

	if (!procstatus_number(status, "Tgid", 10, &process) ||
		!procstatus_credentials(status, &target->credentials) ||
		!procstatus_number(status, "Umask", 8, &umask)) {
		errno = EOVERFLOW;
		return false;
	}
	levels = procstatus_numbers(status, "NStgid", 10, inner, 32);
	target->process = (pid_t)process;
	target->inner = levels > 0 ? (pid_t)inner[levels - 1] : target->process;
	target->umask = (mode_t)umask;
	procstatus_text(status, "Name", target->comm, sizeof(target->comm));
	return true;
}

static int open_status(pid_t tid)
{
	char name[TARGET_PATH];

	return open(target_path(tid, "status", name), O_RDONLY | O_CLOEXEC);
}

static bool read_credentials(struct target *target)
{
	char status[PROCSTATUS_SIZE];

	return procstatus_read(open_status(target->tid), status) && read_status(target, status);
}

/*
 * As read_credentials, but keeps the file open, because one thread often makes many calls. The file
 * of a thread that has ended cannot be read, even if another thread has the same ID now.
 */
static bool read_credentials_again(struct target *target)
{
	static struct {
		pid_t tid;
		int fd;
	} last = {.fd = -1};
	char status[PROCSTATUS_SIZE];
	bool known = last.tid == target->tid && procstatus_reread(last.fd, status);

	if (!known) {
		if (last.fd >= 0)
			close(last.fd);
		last.tid = target->tid;
		last.fd = target_move_high(open_status(target->tid));
		known = procstatus_reread(last.fd, status);
	}
	return known && read_status(target, status);
}

pid_t target_find_process(pid_t tid, uint64_t *started)
{
	struct target target = {.tid = tid};

	*started = 0;
	if (!read_credentials(&target))
		return tid;
	*started = starttime_of(target.process);
	return target.process;
}

/*
 * Counts signals sent to the thread, and those sent to the process if this thread will handle them:
 * it is the only thread, or the main thread, which the kernel prefers.
 */
static bool has_signals(const struct target *target, const char *status)
{
	uint64_t own, shared, blocked, threads;

	return procstatus_number(status, "SigPnd", 16, &own) &&
	       procstatus_number(status, "ShdPnd", 16, &shared) &&
	       procstatus_number(status, "SigBlk", 16, &blocked) &&
	       procstatus_number(status, "Threads", 10, &threads) &&
	       ((own & ~blocked) != 0 || ((shared & ~blocked) != 0 &&
						 (threads == 1 || target->tid == target->process)));
}

static bool reread_status(const struct target *target, char status[PROCSTATUS_SIZE])
{
	bool known;

	inspect_begin();
	known = procstatus_read(openat(target->descriptors, "../status", O_RDONLY | O_CLOEXEC),
		status);
	inspect_end();
	return known;
}

bool target_has_signals(const struct target *target)
{
	char status[PROCSTATUS_SIZE];

	return reread_status(target, status) && has_signals(target, status);
}

/* An exiting process releases its memory, and with it VmSize, before its descriptors. */
bool target_is_alive(const struct target *target)
{
	char status[PROCSTATUS_SIZE];

	return reread_status(target, status) && procstatus_has(status, "VmSize");
}

int target_move_high(int fd)
{
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, TARGET_HIGH);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

bool target_lacks_resources(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM;
}

static int open_pidfd(const struct target *target)
{
	int fd = (int)syscall(SYS_pidfd_open, target->tid, PIDFD_THREAD);

	return fd >= 0 ? fd : (int)syscall(SYS_pidfd_open, target->process, 0);
}

bool target_open_descriptors(struct target *target, int dirfd, const char *path)
{
	if (target->descriptors < 0)
		target->descriptors =
			target_move_high(openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	return target->descriptors >= 0;
}

bool target_open(struct target *target, pid_t tid)
{
	struct stat found;
	char name[TARGET_PATH];

	*target = (struct target){.tid = tid, .inner = tid, .pidfd = -1, .descriptors = -1};
	if (!read_credentials(target))
		return false;
	if (stat(target_path(tid, "ns/pid", name), &found) == 0)
		target->pid_namespace = found.st_ino;
	target->pidfd = target_move_high(open_pidfd(target));
	return target->pidfd >= 0 &&
	       (target_open_descriptors(target, AT_FDCWD, target_path(tid, "fd", name)) ||
		       errno == EACCES);
}

/* A link such as user:[4026531837] identifies a namespace; stat(2) of it takes twice as long. */
static bool read_link(const char *path, char link[TARGET_PATH])
{
	ssize_t length = readlink(path, link, TARGET_PATH - 1);

	link[length > 0 ? length : 0] = '\0';
	return length > 0;
}

static bool is_in_namespace(pid_t tid, const char *kind, const char *ours)
{
	char theirs[TARGET_PATH];
	char path[TARGET_PATH];

	return read_link(target_path(tid, kind, path), theirs) && strcmp(ours, theirs) == 0;
}

bool target_shares_namespace(pid_t tid, const char *kind)
{
	char ours[TARGET_PATH];
	char path[TARGET_PATH];

	snprintf(path, sizeof(path), "/proc/self/%s", kind);
	return read_link(path, ours) && is_in_namespace(tid, kind, ours);
}

bool target_shares_user_namespace(pid_t tid)
{
	static char ours[TARGET_PATH]; /* cached: see target.h */

	return (ours[0] != '\0' || read_link("/proc/self/ns/user", ours)) &&
	       is_in_namespace(tid, "ns/user", ours);
}

bool target_has_our_credentials(pid_t tid)
{
	static struct target us, them;

	them.tid = tid;
	us.tid = us.tid == 0 ? getpid() : us.tid;
	return (us.process != 0 || read_credentials(&us)) && read_credentials_again(&them) &&
	       target_shares_user_namespace(tid) &&
	       procstatus_same_ids(&them.credentials, &us.credentials) &&
	       them.credentials.effective == us.credentials.effective;
}

/* ---- descriptors ---- */

static int get_descriptor(const struct target *target, int number)
{
	int fd;

	inspect_begin();
	fd = (int)syscall(SYS_pidfd_getfd, target->pidfd, number, 0);
	inspect_end();
	return fd;
}

/* The kernel checks the permission before the number, so EBADF shows that we have permission. */
bool target_permits_inspection(const struct target *target)
{
	return get_descriptor(target, -1) < 0 && errno == EBADF && target_is_alive(target);
}

int target_get_descriptor(const struct target *target, int number)
{
	return target_move_high(get_descriptor(target, number));
}

/* Returns the descriptor number in a path such as /proc/self/fd/N, or -1. */
static int descriptor_in_path(const char *path)
{
	static const char *const starts[] = {"/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/"};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		size_t length = strlen(starts[i]);
		char *end;
		unsigned long number;

		if (strncmp(path, starts[i], length) != 0 || path[length] < '0' ||
			path[length] > '9')
			continue;
		number = strtoul(path + length, &end, 10);
		return number < INT_MAX && (*end == '\0' || *end == '/') ? (int)number : -1;
	}
	return -1;
}

bool target_mirror_descriptor(const struct target *target, const char *path)
{
	static int mirrored = -1; /* the number that the call's other path mirrored */
	int number = descriptor_in_path(path);
	int fd;

	if (number < 0 || number == mirrored)
		return true;
	if (number > STDERR_FILENO && fcntl(number, F_GETFD) >= 0) {
		errno = EBUSY; /* it is a descriptor of our own */
		return false;
	}
	fd = get_descriptor(target, number);
	if (fd < 0 && errno != EBADF)
		return false;
	mirrored = number;
	if (fd < 0)
		close(number);
	else if (fd != number && (dup2(fd, number) < 0 || close(fd) != 0))
		return false;
	return true;
}

bool target_read_link(const struct target *target, int number, char *link, size_t size)
{
	char name[16];
	ssize_t length;

	snprintf(name, sizeof(name), "%d", number);
	length = readlinkat(target->descriptors, name, link, size - 1);
	link[length > 0 ? length : 0] = '\0';
	return length >= 0;
}

int target_descriptor_limit(const struct target *target)
{
	struct rlimit limit;

	/* This fails for a process of another user without CAP_SYS_RESOURCE. */
	if (prlimit(target->process, RLIMIT_NOFILE, NULL, &limit) != 0)
		return 1024;
	return limit.rlim_cur < 1 << 20 ? (int)limit.rlim_cur : 1 << 20;
}
