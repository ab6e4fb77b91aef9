#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "kernel.h"
#include "libc.h"

#define TIMEOUT 60 /* seconds until a case that hangs is ended: never a measurement */

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

/* Whoever runs the tests may be guarded himself. */
static void clear_settings(void)
{
	unsetenv("SOCKGUARD_DISABLE");
	unsetenv("SOCKGUARD_DEBUG");
	unsetenv("SOCKGUARD_REUSE");
	unsetenv("SOCKGUARD_LOG");
	unsetenv("SOCKGUARD_ONLY");
	unsetenv("SOCKGUARD_IGNORE");
}

/* Some cases use up all descriptors, and some systems allow for a billion. */
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
	/* What is left in a buffer when a case is forked off would come twice. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!mkdtemp(base) || chmod(base, 0755) != 0) {
		printf("Bail out! no scratch directory: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	runner = srunner_create(suite_of_room());
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

void suite_expect_mark(int line)
{
	int found = errno;

	ck_assert_msg(found == MARK, "line %d: errno was left at %d", line, found);
}

/* ---- a directory a case ---- */

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

void forbid_with(int call, int error)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(steps) / sizeof(*steps), steps};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

void forbid(int call)
{
	forbid_with(call, EPERM);
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

const char *absolute(const char *path)
{
	static char buffer[2 * PATH_MAX];
	char here[PATH_MAX];

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	snprintf(buffer, sizeof(buffer), "%s/%s", here, path);
	return buffer;
}

int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- a kernel that says something else ---- */

static struct pretence pretended;

/* The type comes first in each of the structures, an int or a long as the architecture has it. */
static void change_type(void *found)
{
	if (pretended.filesystem != 0)
		((struct statfs *)found)->f_type =
			(__typeof__(((struct statfs *)0)->f_type))pretended.filesystem;
}

/* The fields of struct statx by their places in it, for headers that lack the structure. */
static void change_identity(char *found)
{
	const uint32_t device[2] = {0, pretended.minor};
	uint16_t mode;

	memcpy(&mode, found + 0x1c, sizeof(mode));
	if (pretended.minor != 0)
		memcpy(found + 0x88, device, sizeof(device));
	if (pretended.mount != 0 && !S_ISDIR(mode))
		memcpy(found + 0x90, &pretended.mount, sizeof(pretended.mount));
}

static long fails_with(int error)
{
	errno = error;
	return -1;
}

static long pretending(long number, ...)
{
	long arguments[6], result;
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_connect && pretended.refuses)
		return fails_with(ECONNREFUSED);
	if (number == SYS_ioctl && pretended.unprivileged)
		return fails_with(EPERM);
	result = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
		arguments[4], arguments[5]);
	if (result == 0 && number == CALL_STATFS)
		change_type((void *)arguments[CALL_STATFS_AT]);
#ifdef SYS_statx
	if (result == 0 && number == SYS_statx)
		change_identity((char *)arguments[4]);
#endif
	return result;
}

void pretend(const struct pretence *pretence)
{
	pretended = *pretence;
	kernel_syscall = pretending;
}

/* ---- sockets ---- */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	return address;
}

int bound(const char *path, int type)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

int listening(const char *path, int type)
{
	int fd = bound(path, type);

	if (type != SOCK_DGRAM)
		ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

int connected(const char *path, int type)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void make_stale(const char *path)
{
	close(bound(path, SOCK_STREAM));
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

pid_t start(void (*act)(const void *about), const void *about)
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

	listening(owner->path, owner->type);
}

pid_t start_owner(const char *path, int type)
{
	struct owner owner = {path, type};

	return start(own, &owner);
}

void end(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

static int status_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "the child was ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

int in_child(int (*act)(const void *about), const void *about)
{
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(act(about));
	return status_of(pid);
}

int as_stranger(int (*act)(const void *about), const void *about)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		ck_assert_int_eq(setresgid(STRANGER, STRANGER, STRANGER), 0);
		ck_assert_int_eq(setresuid(STRANGER, STRANGER, STRANGER), 0);
		_exit(act(about));
	}
	return status_of(pid);
}
