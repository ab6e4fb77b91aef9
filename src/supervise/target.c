#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* of Linux 6.9 */
#endif

enum { PAGE = 4096, NAME = 64 };

/* ---- memory ---- */

/* Two pieces, so that the end of a page nobody may read beyond costs no second call. */
size_t target_read(pid_t tid, uint64_t address, void *bytes, size_t size)
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

/* Most paths are short. */
bool target_read_string(pid_t tid, uint64_t address, char *string, size_t size)
{
	size_t read = 0;
	size_t piece = 256;

	while (read < size) {
		size_t wanted = size - read < piece ? size - read : piece;
		size_t got = target_read(tid, address + read, string + read, wanted);

		if (got == 0)
			return false;
		if (memchr(string + read, '\0', got))
			return true;
		read += got;
		piece = PAGE;
	}
	return false;
}

/* ---- /proc ---- */

static const char *in_proc(pid_t tid, const char *entry, char name[NAME])
{
	snprintf(name, NAME, "/proc/%d/%s", (int)tid, entry);
	return name;
}

static bool same_root(const struct statx *a, const struct statx *b)
{
	return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
	       a->stx_dev_minor == b->stx_dev_minor && a->stx_mnt_id == b->stx_mnt_id;
}

/* No two mounts have one number, those of different namespaces included. */
bool target_shares_root(pid_t tid)
{
	static struct statx ours; /* of a process that never changes it */
	const unsigned int wanted = STATX_INO | STATX_MNT_ID;
	struct statx theirs;
	char name[NAME];

	if (ours.stx_mask == 0 && statx(AT_FDCWD, "/", 0, wanted, &ours) != 0)
		return false;
	return statx(AT_FDCWD, in_proc(tid, "root", name), AT_STATX_DONT_SYNC, wanted, &theirs) ==
		       0 &&
	       (theirs.stx_mask & STATX_MNT_ID) && same_root(&ours, &theirs);
}

/* The value of a line of /proc/PID/status; NULL where there is none. */
static const char *line_of(const char *status, const char *field)
{
	size_t length = strlen(field);

	for (const char *line = status; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			return line + length + 1 + strspn(line + length + 1, "\t ");
	}
	return NULL;
}

static void read_numbers(const char *value, int base, uint64_t *numbers, size_t count,
	size_t *found)
{
	*found = 0;
	while (value && *value != '\n' && *found < count) {
		char *end;
		uint64_t number = strtoull(value, &end, base);

		if (end == value)
			return;
		numbers[(*found)++] = number;
		value = end + strspn(end, "\t ");
	}
}

static bool read_ids(const char *value, unsigned int ids[4])
{
	uint64_t numbers[4];
	size_t found;

	read_numbers(value, 10, numbers, 4, &found);
	for (size_t i = 0; i < found; i++)
		ids[i] = (unsigned int)numbers[i];
	return found == 4;
}

static bool read_groups(struct target *target, const char *value)
{
	static uint64_t numbers[TARGET_GROUPS + 1];

	read_numbers(value, 10, numbers, TARGET_GROUPS + 1, &target->groups);
	if (target->groups > TARGET_GROUPS)
		return false;
	for (size_t i = 0; i < target->groups; i++)
		target->group[i] = (gid_t)numbers[i];
	return value != NULL;
}

static bool read_one(const char *value, int base, uint64_t *number)
{
	size_t found;

	read_numbers(value, base, number, 1, &found);
	return found == 1;
}

static void read_comm(struct target *target, const char *value)
{
	size_t length = value ? strcspn(value, "\n") : 0;

	if (length >= sizeof(target->comm))
		length = sizeof(target->comm) - 1;
	memcpy(target->comm, value ? value : "", length);
	target->comm[length] = '\0';
}

static bool read_status(struct target *target, const char *status)
{
	uint64_t process, umask = 022;
	uint64_t inner[32];
	size_t levels;

	if (!read_one(line_of(status, "Tgid"), 10, &process) ||
		!read_ids(line_of(status, "Uid"), target->uid) ||
		!read_ids(line_of(status, "Gid"), target->gid) ||
		!read_groups(target, line_of(status, "Groups")) ||
		!read_one(line_of(status, "CapEff"), 16, &target->effective) ||
		!read_one(line_of(status, "Umask"), 8, &umask))
		return false;
	read_numbers(line_of(status, "NStgid"), 10, inner, 32, &levels);
	target->process = (pid_t)process;
	target->inner = levels > 0 ? (pid_t)inner[levels - 1] : target->process;
	target->umask = (mode_t)umask;
	read_comm(target, line_of(status, "Name"));
	return true;
}

static bool look(struct target *target)
{
	char status[16384];
	char name[NAME];
	int fd = open(in_proc(target->tid, "status", name), O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return false;
	status[length] = '\0';
	return read_status(target, status);
}

/* Out of the way of the target's own numbers, which may be put where they are there. */
static int move_high(int fd)
{
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, TARGET_HIGH);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

static int open_pidfd(const struct target *target)
{
	int fd = (int)syscall(SYS_pidfd_open, target->tid, PIDFD_THREAD);

	return fd >= 0 ? fd : (int)syscall(SYS_pidfd_open, target->process, 0);
}

bool target_open(struct target *target, pid_t tid)
{
	char name[NAME];

	*target = (struct target){.tid = tid, .pidfd = -1, .descriptors = -1};
	if (!look(target))
		return false;
	target->pidfd = move_high(open_pidfd(target));
	target->descriptors =
		move_high(open(in_proc(tid, "fd", name), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	return target->pidfd >= 0 && target->descriptors >= 0;
}

/* ---- its place ---- */

/* Goes into a namespace of the thread's, unless we are in it. */
static bool enter(const struct target *target, const char *kind, int type)
{
	struct stat ours, theirs;
	char name[NAME];
	char own[NAME];
	int fd;
	bool entered;

	snprintf(own, sizeof(own), "/proc/self/%s", kind);
	if (stat(own, &ours) != 0 || stat(in_proc(target->tid, kind, name), &theirs) != 0)
		return false;
	if (ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev)
		return true;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	entered = fd >= 0 && setns(fd, type) == 0;
	if (fd >= 0)
		close(fd);
	return entered;
}

static int open_place(const struct target *target, const char *which)
{
	char name[NAME];

	return open(in_proc(target->tid, which, name), O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static bool take_directories(const struct target *target)
{
	bool shared = target_shares_root(target->tid);
	int root = shared ? -1 : open_place(target, "root");
	int directory = open_place(target, "cwd");

	if (directory < 0 || !enter(target, "ns/net", CLONE_NEWNET))
		return false;
	if (!shared && (root < 0 || !enter(target, "ns/mnt", CLONE_NEWNS) || fchdir(root) != 0 ||
			       chroot(".") != 0))
		return false;
	umask(target->umask);
	return fchdir(directory) == 0;
}

static bool has_credentials(const struct target *target, const struct target *us)
{
	return memcmp(us->uid, target->uid, sizeof(us->uid)) == 0 &&
	       memcmp(us->gid, target->gid, sizeof(us->gid)) == 0 && us->groups == target->groups &&
	       us->effective == target->effective &&
	       memcmp(us->group, target->group, us->groups * sizeof(us->group[0])) == 0;
}

/* ---- capabilities ---- */

/* What it takes to look into any process, one that changed its user included. */
static const uint64_t looking = UINT64_C(1) << CAP_SYS_PTRACE | UINT64_C(1) << CAP_DAC_READ_SEARCH;

static uint64_t permitted(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	syscall(SYS_capget, &header, data);
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static bool set_capabilities(uint64_t effective, uint64_t allowed)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(effective >> 32 * i);
		data[i].permitted = (uint32_t)(allowed >> 32 * i);
	}
	return syscall(SYS_capset, &header, data) == 0;
}

/* Of a process that took another's place; otherwise it has what it needs all the time. */
static struct {
	bool taken;
	int looks; /* begun and not ended */
	uint64_t effective;
	uint64_t permitted;
} place;

void target_look_begin(void)
{
	int saved = errno;

	if (place.looks++ == 0 && place.taken)
		set_capabilities(place.effective | (looking & place.permitted), place.permitted);
	errno = saved;
}

void target_look_end(void)
{
	int saved = errno;

	if (--place.looks == 0 && place.taken)
		set_capabilities(place.effective, place.permitted);
	errno = saved;
}

static bool take_capabilities(const struct target *target)
{
	place.effective = target->effective;
	place.permitted = target->effective | (looking & permitted());
	place.taken = set_capabilities(place.effective, place.permitted);
	return place.taken;
}

/* A user namespace of its own gives numbers another meaning, and is entered by nobody yet. */
static bool shares_users(const struct target *target)
{
	struct stat ours, theirs;
	char name[NAME];

	return stat("/proc/self/ns/user", &ours) == 0 &&
	       stat(in_proc(target->tid, "ns/user", name), &theirs) == 0 &&
	       ours.st_ino == theirs.st_ino;
}

bool target_is_like_us(pid_t tid)
{
	static struct target us, them;

	them.tid = tid;
	us.tid = us.tid == 0 ? getpid() : us.tid;
	return (us.process != 0 || look(&us)) && look(&them) && shares_users(&them) &&
	       has_credentials(&them, &us);
}

/* By number: this process has one thread, and libc's would look for others. */
static bool take_credentials(const struct target *target)
{
	static struct target us;

	us.tid = getpid();
	if (!look(&us))
		return false;
	if (has_credentials(target, &us))
		return true;
	prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (syscall(SYS_setgroups, target->groups, target->group) != 0 ||
		syscall(SYS_setresgid, target->gid[0], target->gid[1], target->gid[2]) != 0 ||
		syscall(SYS_setresuid, target->uid[0], target->uid[1], target->uid[2]) != 0)
		return false;
	setfsgid(target->gid[3]);
	setfsuid(target->uid[3]);
	return take_capabilities(target);
}

bool target_become(const struct target *target)
{
	return shares_users(target) && take_directories(target) && take_credentials(target);
}

/* ---- its descriptors ---- */

static int get_descriptor(const struct target *target, int number)
{
	int fd;

	target_look_begin();
	fd = (int)syscall(SYS_pidfd_getfd, target->pidfd, number, 0);
	target_look_end();
	return fd;
}

int target_descriptor(const struct target *target, int number)
{
	return move_high(get_descriptor(target, number));
}

/* The number in a path through one's own descriptors, or -1. */
static int number_in(const char *path)
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

bool target_mirror(const struct target *target, const char *path)
{
	int number = number_in(path);
	int fd;

	if (number < 0)
		return true;
	if (number >= TARGET_HIGH)
		return false;
	fd = get_descriptor(target, number);
	if (fd < 0)
		close(number);
	else if (fd != number && (dup2(fd, number) < 0 || close(fd) != 0))
		return false;
	return true;
}

bool target_leads_to(const struct target *target, int number, char *link, size_t size)
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

	/* That of a process with another user takes CAP_SYS_RESOURCE. */
	if (prlimit(target->process, RLIMIT_NOFILE, NULL, &limit) != 0)
		return 1024;
	return limit.rlim_cur < 1 << 20 ? (int)limit.rlim_cur : 1 << 20;
}
