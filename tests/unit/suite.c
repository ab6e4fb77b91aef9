#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "filesystem.h"
#include "kernel.h"
#include "libc.h"

#define TIMEOUT 600 /* seconds after which Check kills a case that hangs; machines may stall */

static char base[] = "/tmp/sockguard-check-XXXXXX";

/* ---- main ---- */

static int remove_entry(const char *path, const struct stat *found, int type, struct FTW *where)
{
	(void)found, (void)type, (void)where;
	remove(path);
	return 0;
}

static void remove_tree(const char *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* The environment in which the tests run may contain settings of the guard. */
static void clear_settings(void)
{
	unsetenv("SOCKGUARD_DISABLE");
	unsetenv("SOCKGUARD_DEBUG");
	unsetenv("SOCKGUARD_REUSE");
	unsetenv("SOCKGUARD_LOG");
	unsetenv("SOCKGUARD_ONLY");
	unsetenv("SOCKGUARD_IGNORE");
}

/* Some cases use up all descriptors. The limit of some systems is a billion. */
static void limit_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 1024) {
		limit.rlim_cur = 1024;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(void)
{
	SRunner *runner;
	int failed;

	clear_settings();
	limit_descriptors();
	/* With full buffering, text in the buffer at a fork would be printed twice. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!mkdtemp(base) || chmod(base, 0755) != 0) {
		printf("Bail out! cannot create a scratch directory: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	runner = srunner_create(suite_of_module());
	srunner_set_fork_status(runner, CK_FORK);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	remove_tree(base);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

bool suite_is_root(const char *test)
{
	if (geteuid() == 0)
		return true;
	printf("# SKIP %s: needs root\n", test);
	return false;
}

bool suite_has_named_devices(const char *cases)
{
	struct superblock superblock;
	struct kernel_file found;
	struct pin pin = {.fd = open(base, O_PATH | O_CLOEXEC)};
	bool named = pin.fd >= 0 && kernel_fstat(pin.fd, &found) == 0;

	pin.inode.file = file_id_of(&found);
	superblock = filesystem_superblock(&pin, AT_FDCWD, base);
	named = named && filesystem_device_matches(&superblock, found.dev);
	close(pin.fd);
	if (!named)
		printf("# SKIP %s: the file system has no device that names its files\n", cases);
	return named;
}

bool suite_can_unshare(int kinds, const char *cases)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(unshare(kinds) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		return true;
#ifdef __SANITIZE_THREAD__
	/* A process with threads creates no user namespace, and the sanitizer's runtime has one. */
	if (kinds & CLONE_NEWUSER) {
		printf("# Not under ThreadSanitizer: %s\n", cases);
		return false;
	}
#endif
	printf("# SKIP %s: unshare(2) fails\n", cases);
	return false;
}

/* If the kernel has process_vm_readv(2), a process may always read its own memory. */
bool suite_can_read_memory(void)
{
	char byte = 0, copy;
	struct iovec from = {&byte, 1}, to = {&copy, 1};

	if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1)
		return true;
	printf("# SKIP the whole program: the memory of processes cannot be read\n");
	return false;
}

void suite_expect_sentinel(int line)
{
	int found = errno;

	ck_assert_msg(found == ERRNO_SENTINEL, "line %d: errno was changed to %d", line, found);
}

/* ---- scratch directories ---- */

static void enter_scratch(void)
{
	char path[sizeof(base) + 32];

	libc_resolve();
	snprintf(path, sizeof(path), "%s/%ld", base, (long)getpid());
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_eq(chdir(path), 0);
	umask(022);
}

static void leave_scratch(void)
{
	char path[PATH_MAX];

	ck_assert_ptr_nonnull(getcwd(path, sizeof(path)));
	ck_assert_int_eq(chdir("/"), 0);
	if (strncmp(path, base, strlen(base)) == 0)
		remove_tree(path);
}

TCase *suite_cases(Suite *suite, const char *name)
{
	TCase *cases = tcase_create(name);

	tcase_add_checked_fixture(cases, enter_scratch, leave_scratch);
	tcase_set_timeout(cases, TIMEOUT);
	suite_add_tcase(suite, cases);
	return cases;
}

/* ---- files and descriptors ---- */

int use_up_descriptors(void)
{
	int last = -1;
	int fd;

	while ((fd = dup(STDIN_FILENO)) >= 0)
		last = fd;
	ck_assert_int_eq(errno, EMFILE);
	return last;
}

/* The offset of the low 32 bits of a system call's argument. */
#define LOW_WORD_OF(argument)                                                                      \
	(offsetof(struct seccomp_data, args) + 8 * (argument) +                                    \
		(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))

static void install_filter(struct sock_filter *steps, size_t length)
{
	const struct sock_fprog filter = {(unsigned short)length, steps};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

void forbid_with(int call, int error)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	install_filter(steps, sizeof(steps) / sizeof(*steps));
}

void forbid(int call)
{
	forbid_with(call, EPERM);
}

void forbid_memory(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALL_MMAP, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW_WORD_OF(3)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAP_PRIVATE | MAP_ANONYMOUS, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	install_filter(steps, sizeof(steps) / sizeof(*steps));
}

bool exists(const char *path)
{
	struct stat found;

	return lstat(path, &found) == 0;
}

void write_file(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	close(fd);
}

const char *absolute_path(const char *path)
{
	static char buffer[2 * PATH_MAX];
	char here[PATH_MAX];

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	snprintf(buffer, sizeof(buffer), "%s/%s", here, path);
	return buffer;
}

int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- results of system calls that are replaced ---- */

static struct fake_results faked;

/* The type is the first field of each structure: an int or a long, depending on the architecture.
 */
static void fake_type(void *found)
{
	if (faked.filesystem != 0)
		((struct statfs *)found)->f_type =
			(__typeof__(((struct statfs *)0)->f_type))faked.filesystem;
}

/* Writes to struct statx at offsets, because old headers do not define it. */
static void fake_identity(char *found)
{
	const uint32_t device[2] = {0, faked.minor};
	uint16_t mode;

	memcpy(&mode, found + 0x1c, sizeof(mode));
	if (faked.minor != 0)
		memcpy(found + 0x88, device, sizeof(device));
	if (faked.mount != 0 && !S_ISDIR(mode))
		memcpy(found + 0x90, &faked.mount, sizeof(faked.mount));
}

static long fails_with(int error)
{
	errno = error;
	return -1;
}

static long (*replacement_of_calls)(long number, const long arguments[6]);

static long replaced_syscall(long number, ...)
{
	long arguments[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	return replacement_of_calls(number, arguments);
}

void replace_system_calls(long (*replacement)(long number, const long arguments[6]))
{
	replacement_of_calls = replacement;
	kernel_syscall = replaced_syscall;
}

long make_call(long number, const long arguments[6])
{
	return syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
		arguments[5]);
}

static long fake_result(long number, const long arguments[6])
{
	long result;

	if (number == SYS_connect && faked.refuses)
		return fails_with(ECONNREFUSED);
	if (number == SYS_ioctl && faked.unprivileged)
		return fails_with(EPERM);
	result = make_call(number, arguments);
	if (result == 0 && number == CALL_STATFS)
		fake_type((void *)arguments[CALL_STATFS_AT]);
#ifdef SYS_statx
	if (result == 0 && number == SYS_statx)
		fake_identity((char *)arguments[4]);
#endif
	return result;
}

void fake_kernel(const struct fake_results *results)
{
	faked = *results;
	replace_system_calls(fake_result);
}

/* ---- sockets ---- */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	return address;
}

int bound_socket(const char *path, int type)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

int listening_socket(const char *path, int type)
{
	int fd = bound_socket(path, type);

	if (type != SOCK_DGRAM)
		ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

int connected_socket(const char *path, int type)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void make_stale(const char *path)
{
	close(bound_socket(path, SOCK_STREAM));
}

/* ---- processes ---- */

static pid_t fork_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t start_child(void (*act)(const void *about), const void *about)
{
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork_child();
	if (pid == 0) {
		close(ready[0]);
		act(about);
		if (write(ready[1], "", 1) != 1)
			_exit(EXIT_FAILURE);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_msg(read(ready[0], &byte, 1) == 1, "the child ended before it was ready");
	close(ready[0]);
	return pid;
}

struct owner {
	const char *path;
	int type;
};

static void own(const void *about)
{
	const struct owner *owner = about;

	listening_socket(owner->path, owner->type);
}

pid_t start_owner(const char *path, int type)
{
	struct owner owner = {path, type};

	return start_child(own, &owner);
}

void kill_child(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

static int status_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "signal %d killed the child", WTERMSIG(status));
	return WEXITSTATUS(status);
}

int run_in_child(int (*act)(const void *about), const void *about)
{
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(act(about));
	return status_of(pid);
}

int run_in_clone(int flags, int (*act)(void *about), const void *about)
{
	static _Alignas(16) char stack[65536];
	pid_t pid = clone(act, stack + sizeof(stack), flags | SIGCHLD, (void *)about);
	int status;

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

int run_as_stranger(int (*act)(const void *about), const void *about)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		ck_assert_int_eq(setresgid(STRANGER, STRANGER, STRANGER), 0);
		ck_assert_int_eq(setresuid(STRANGER, STRANGER, STRANGER), 0);
		_exit(act(about));
	}
	return status_of(pid);
}
