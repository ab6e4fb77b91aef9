/*
 * Programs that restrict themselves through seccomp: sandboxed SERIES METHOD ACTION VERB makes one
 * of the guarded calls on each kind of object in turn. Each trial has a process of its own, which
 * installs a filter just before the call. Prints a line for each trial, with these fields separated
 * by tabs:
 *
 *   the object; the denied call; result; errno; how often SIGSYS was caught; the signal that ended
 *   the process, or 0; the files that remain; the lock files that remain without a socket
 *
 * SERIES is what the filter allows:
 *
 *   exact    only the program's own calls for the verb
 *   without  everything except one of the guard's calls, each call in src/core/calls.h in turn
 *   values   everything except one of these calls with one value of one argument, each in turn
 *   open     everything
 *
 * ACTION is the filter's action for all other calls; METHOD is how the filter is installed. Except
 * for lock files, the output must be the same with the guard and without. The program uses only
 * libc, like the actor.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif
#define EXIT_NOT_BOUND 3 /* the object could not be bound under the filter */

/* musl before 1.2.6 lacks it. */
extern int renameat2(int, const char *, int, const char *, unsigned) __attribute__((weak));

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(2);
}

/* ---- the filter ---- */

static struct sock_filter code[512];
static size_t length; /* in instructions */

static void emit(int operation, uint8_t if_true, uint8_t if_false, uint32_t value)
{
	check(length < sizeof(code) / sizeof(code[0]), "the filter is too long");
	code[length++] = (struct sock_filter){(uint16_t)operation, if_true, if_false, value};
}

static void load(size_t offset)
{
	emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* The offset of one half of an argument: the 32 high bits, or the 32 low ones. */
static size_t argument_half(int number, bool high)
{
	bool big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

	return offsetof(struct seccomp_data, args[number]) + (big != high ? 4 : 0);
}

static void begin_filter(void)
{
	length = 0;
#ifdef __x86_64__ /* as every filter should, seccomp(2) */
	load(offsetof(struct seccomp_data, arch));
	emit(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
#endif
	load(offsetof(struct seccomp_data, nr));
}

static void end_filter(uint32_t action)
{
	emit(BPF_RET | BPF_K, 0, 0, action);
}

/* Adds the action for one system call, whatever its arguments. */
static void decide_call(long number, uint32_t action)
{
	emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)number);
	emit(BPF_RET | BPF_K, 0, 0, action);
}

/* Allows the call only with this pointer, as tor's filters do. */
static void allow_pointer(long number, int which, const void *pointer)
{
	uint64_t value = (uintptr_t)pointer;

	emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 6, (uint32_t)number);
	load(argument_half(which, false));
	emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, (uint32_t)value);
	load(argument_half(which, true));
	emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)(value >> 32));
	emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
	load(offsetof(struct seccomp_data, nr));
}

/* ---- calls to deny ---- */

struct denied {
	const char *name;
	long number;
	int argument; /* -1: any arguments */
	uint32_t mask, value;
};

static const struct denied each_call[] = {
#define CALL(name) {#name, SYS_##name, -1, 0, 0},
	CALLS(CALL)
#undef CALL
};

#ifdef SYS_fcntl64
#define FCNTL SYS_fcntl64
#else
#define FCNTL SYS_fcntl
#endif
#define ALL UINT32_MAX

static const struct denied each_value[] = {
	{"F_OFD_SETLK", FCNTL, 1, ALL, F_OFD_SETLK},
	{"F_OFD_GETLK", FCNTL, 1, ALL, F_OFD_GETLK},
	{"F_DUPFD_CLOEXEC", FCNTL, 1, ALL, F_DUPFD_CLOEXEC},
	{"F_GETFD", FCNTL, 1, ALL, F_GETFD},
	{"O_PATH", SYS_openat, 2, O_PATH, O_PATH},
	{"O_CREAT", SYS_openat, 2, O_CREAT, O_CREAT},
	{"O_RDWR", SYS_openat, 2, O_ACCMODE, O_RDWR},
	{"O_RDONLY", SYS_openat, 2, O_ACCMODE | O_PATH, O_RDONLY},
	{"AF_UNIX", SYS_socket, 0, ALL, AF_UNIX},
	{"AF_NETLINK", SYS_socket, 0, ALL, AF_NETLINK},
	{"SO_DOMAIN", SYS_getsockopt, 2, ALL, SO_DOMAIN},
	{"SO_TYPE", SYS_getsockopt, 2, ALL, SO_TYPE},
	{"SO_REUSEADDR", SYS_getsockopt, 2, ALL, SO_REUSEADDR},
	{"SO_COOKIE", SYS_getsockopt, 2, ALL, 57},
	{"SIOCUNIXFILE", SYS_ioctl, 1, ALL, 0x89e0},
	{"PR_GET_NAME", SYS_prctl, 0, ALL, PR_GET_NAME},
	{"AT_SYMLINK_NOFOLLOW", SYS_statx, 2, 0x100, 0x100},
	{"AT_EMPTY_PATH", SYS_statx, 2, 0x1000, 0x1000},
	{"SIG_BLOCK", SYS_rt_sigprocmask, 0, ALL, SIG_BLOCK},
	{"SIG_SETMASK", SYS_rt_sigprocmask, 0, ALL, SIG_SETMASK},
	{"invalid how", SYS_rt_sigprocmask, 0, ALL, ALL},
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void deny(const struct denied *denied, uint32_t action)
{
	if (denied->argument < 0) {
		decide_call(denied->number, action);
		return;
	}
	emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 5, (uint32_t)denied->number);
	load(argument_half(denied->argument, false));
	emit(BPF_ALU | BPF_AND | BPF_K, 0, 0, denied->mask);
	emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, denied->value);
	emit(BPF_RET | BPF_K, 0, 0, action);
	load(offsetof(struct seccomp_data, nr));
}

/* ---- the verbs ---- */

static char path[] = "app", newpath[] = "new";
static struct sockaddr_un address = {.sun_family = AF_UNIX}; /* of path */
static int new_fd;    /* the unbound socket that the verb "bind" binds */
static int object_fd; /* the unbound socket that a process binds under its filter, see INSIDE */

static int act_bind(void)
{
	return bind(new_fd, (const struct sockaddr *)&address, sizeof(address));
}

static int act_unlink(void)
{
	return unlink(path);
}

static int act_unlinkat(void)
{
	return unlinkat(AT_FDCWD, path, 0);
}

static int act_remove(void)
{
	return remove(path);
}

static int act_rename(void)
{
	return rename(path, newpath);
}

static int act_renameat(void)
{
	return renameat(AT_FDCWD, path, AT_FDCWD, newpath);
}

static int act_renameat2(void)
{
	return renameat2(AT_FDCWD, path, AT_FDCWD, newpath, 0);
}

static int act_exchange(void)
{
	return renameat2(AT_FDCWD, path, AT_FDCWD, newpath, RENAME_EXCHANGE);
}

static int act_rename_over(void)
{
	return rename(newpath, path);
}

static int act_link(void)
{
	return link(path, newpath);
}

static int act_linkat(void)
{
	return linkat(AT_FDCWD, path, AT_FDCWD, newpath, 0);
}

/* The system call that libc makes for a verb on this architecture. */
struct libc_call {
	long number;
	int first, second; /* which arguments are the verb's pointers; -1: none */
};

#define UNLINKAT                                                                                   \
	{                                                                                          \
		SYS_unlinkat, 1, -1                                                                \
	}
#ifdef SYS_renameat
#define RENAMEAT                                                                                   \
	{                                                                                          \
		SYS_renameat, 1, 3                                                                 \
	}
#else
#define RENAMEAT                                                                                   \
	{                                                                                          \
		SYS_renameat2, 1, 3                                                                \
	}
#endif
#ifdef SYS_unlink
#define UNLINK                                                                                     \
	{                                                                                          \
		SYS_unlink, 0, -1                                                                  \
	}
#define RMDIR                                                                                      \
	{                                                                                          \
		SYS_rmdir, 0, -1                                                                   \
	}
#else
#define UNLINK UNLINKAT
#define RMDIR  UNLINKAT
#endif
#ifdef SYS_rename
#define RENAME                                                                                     \
	{                                                                                          \
		SYS_rename, 0, 1                                                                   \
	}
#else
#define RENAME RENAMEAT
#endif
#ifdef SYS_link
#define LINK                                                                                       \
	{                                                                                          \
		SYS_link, 0, 1                                                                     \
	}
#else
#define LINK                                                                                       \
	{                                                                                          \
		SYS_linkat, 1, 3                                                                   \
	}
#endif

static const struct verb {
	const char *name;
	int (*act)(void);
	bool reuses;      /* the new socket has SO_REUSEADDR */
	bool has_newpath; /* the process has bound a socket at newpath */
	struct libc_call libc_calls[2];
} verbs[] = {
	{"bind", act_bind, false, false, {{SYS_bind, 1, -1}}},
	{"rebind", act_bind, true, false, {{SYS_bind, 1, -1}}},
	{"unlink", act_unlink, false, false, {UNLINK}},
	{"unlinkat", act_unlinkat, false, false, {UNLINKAT}},
	{"remove", act_remove, false, false, {UNLINK, RMDIR}},
	{"rename", act_rename, false, false, {RENAME}},
	{"over", act_rename_over, false, true, {RENAME}},
	{"renameat", act_renameat, false, false, {RENAMEAT}},
	{"renameat2", act_renameat2, false, false, {{SYS_renameat2, 1, 3}, RENAMEAT}},
	{"exchange", act_exchange, false, true, {{SYS_renameat2, 1, 3}}},
	{"link", act_link, false, false, {LINK}},
	{"linkat", act_linkat, false, false, {{SYS_linkat, 1, 3}}},
};

/* ---- parameters ---- */

static const struct action {
	const char *name;
	uint32_t action;
	bool handled; /* the program catches SIGSYS */
} actions[] = {
	{"kill", SECCOMP_RET_KILL_PROCESS, false}, {"thread", SECCOMP_RET_KILL, false},
	{"trap", SECCOMP_RET_TRAP, false}, {"handled", SECCOMP_RET_TRAP, true},
	{"errno", SECCOMP_RET_ERRNO | EPERM, false},
	{"lie", SECCOMP_RET_ERRNO | 0, false}, /* the call returns success and does nothing */
	{"trace", SECCOMP_RET_TRACE, false},   /* the call fails with ENOSYS: there is no tracer */
};

enum series { EXACT, WITHOUT, VALUES, OPEN };
static const char *const series_names[] = {"exact", "without", "values", "open"};

/* What exists at the path. */
enum object {
	OWN,    /* a socket that the process has bound */
	INSIDE, /* a socket that the process binds under its filter, just before the call */
	HELD,   /* a socket that the process has bound without libc, so the guard did not see it */
	STALE,
	ABSENT,
	REGULAR, /* a regular file */
	LIVE,    /* a socket of another process */
	OBJECTS
};
static const char *const object_names[] = {
	"own", "inside", "held", "stale", "absent", "regular", "live"};

static enum series series;
static const struct action *action;
static const struct verb *verb;
static enum object object;
static const struct denied *denied; /* NULL if the series denies no single call */

/* The outcome of a trial, in memory that its processes share. */
static struct outcome {
	bool complete; /* the call returned */
	int result, error;
	int sigsys_count;
	int ended_by; /* the signal that ended the child that made the call, or 0 */
} * outcome;

/* ---- installation of the filter ---- */

/* Allows the system calls that libc makes for the verb; with `pointers`, only with its pointers. */
static void allow_verb(bool pointers)
{
	const char *from = verb->act == act_rename_over ? newpath : path;
	const char *to = from == path ? newpath : path;
	const void *first = verb->act == act_bind ? (const void *)&address : from;

	for (size_t i = 0; i < COUNT(verb->libc_calls); i++) {
		const struct libc_call *call = &verb->libc_calls[i];

		if (call->number == 0 && call->first == 0 && call->second == 0)
			continue;
		if (pointers)
			allow_pointer(call->number, call->first, first);
		if (pointers && call->second >= 0)
			allow_pointer(call->number, call->second, to);
		if (!pointers)
			decide_call(call->number, SECCOMP_RET_ALLOW);
	}
}

/* Composes the filter of the series and its parameters. */
static void compose(bool pointers)
{
	begin_filter();
	if (series == OPEN) {
		end_filter(SECCOMP_RET_ALLOW);
		return;
	}
	if (series != EXACT) {
		deny(denied, action->action);
		end_filter(SECCOMP_RET_ALLOW);
		return;
	}
	allow_verb(pointers);
	if (object == INSIDE)
		decide_call(SYS_bind, SECCOMP_RET_ALLOW);
	decide_call(SYS_exit_group, SECCOMP_RET_ALLOW);
	decide_call(SYS_rt_sigreturn, SECCOMP_RET_ALLOW);
	end_filter(action->action);
}

static void compose_permissive(void)
{
	begin_filter();
	end_filter(SECCOMP_RET_ALLOW);
}

static void install_by_prctl(void)
{
	struct sock_fprog program = {(unsigned short)length, code};

	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0, "PR_SET_SECCOMP");
}

static void install_by_syscall(unsigned int flags)
{
	struct sock_fprog program = {(unsigned short)length, code};

	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0, "seccomp");
}

static void compose_and_install(void)
{
	compose(false);
	install_by_prctl();
}

/* Makes the call and stores its result in shared memory, without another system call. */
static void make_call(void)
{
	if (object == INSIDE && bind(object_fd, (const struct sockaddr *)&address, sizeof(address)))
		_exit(EXIT_NOT_BOUND);
	errno = 0;
	outcome->result = verb->act();
	outcome->error = errno;
	outcome->complete = true;
}

static void wait_for_child(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid, "waitpid");
	outcome->ended_by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* ---- methods: the process with the filter makes the call ---- */

static void prctl_method(void)
{
	compose_and_install();
	make_call();
}

static void syscall_method(void)
{
	compose(false);
	install_by_syscall(0);
	make_call();
}

static void pointers_method(void)
{
	compose(true);
	install_by_prctl();
	make_call();
}

/* Between two filters that allow everything: the filter that denies a call prevails. */
static void stacked_method(void)
{
	compose_permissive();
	install_by_prctl();
	compose_and_install();
	if (series != EXACT) {
		compose_permissive();
		install_by_syscall(0);
	}
	make_call();
}

/* Two filters, each of which denies one of two adjacent calls of the list. */
static void split_method(void)
{
	const struct denied *last = &each_call[COUNT(each_call) - 1];

	compose(false);
	install_by_syscall(0);
	denied = denied == last ? &each_call[0] : denied + 1;
	compose(false);
	install_by_syscall(0);
	make_call();
}

static void forked_method(void)
{
	pid_t pid;

	compose_and_install();
	pid = fork();
	if (pid == 0) {
		make_call();
		_exit(0);
	}
	wait_for_child(pid);
}

/* Bypasses libc, which then calls no atfork handlers. */
static void clone_method(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0) {
		compose_and_install();
		make_call();
		_exit(0);
	}
	wait_for_child(pid);
}

static void *filtered_thread(void *unused)
{
	(void)unused;
	compose_and_install();
	make_call();
	_exit(0);
}

static void thread_method(void)
{
	pthread_t thread;

	check(pthread_create(&thread, NULL, filtered_thread, NULL) == 0, "pthread_create");
	pthread_join(thread, NULL);
}

static sem_t started, installed;

static void *waiting_thread(void *unused)
{
	(void)unused;
	sem_post(&started); /* libc makes no more calls to start the thread */
	sem_wait(&installed);
	make_call();
	_exit(0);
}

/* This thread installs the filter in the other one, which makes the call. */
static void tsync_method(void)
{
	pthread_t thread;

	check(pthread_create(&thread, NULL, waiting_thread, NULL) == 0, "pthread_create");
	sem_wait(&started);
	compose(false);
	install_by_syscall(SECCOMP_FILTER_FLAG_TSYNC);
	sem_post(&installed);
	pthread_join(thread, NULL);
}

/*
 * In strict mode, a process may only read, write and exit; any other call kills it. The trial on an
 * absent path makes no call, so that the process survives.
 */
static void strict_method(void)
{
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0) == 0, "SECCOMP_MODE_STRICT");
	if (object != ABSENT)
		make_call();
	outcome->complete = true;
	syscall(SYS_exit, 0);
}

/* ---- methods: a process other than the one that makes the call has the filter ---- */

static void run_filtered_true(void)
{
	char *const argv[] = {(char *)"true", NULL};

	compose_and_install();
	execv("/bin/true", argv);
	_exit(0);
}

static void vfork_method(void)
{
	pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */

	if (pid == 0)
		run_filtered_true(); /* NOLINT(clang-analyzer-unix.Vfork): this is the test */
	check(pid > 0 && waitpid(pid, NULL, 0) == pid, "vfork");
	make_call();
}

static int clone_main(void *unused)
{
	(void)unused;
	run_filtered_true();
	return 0;
}

static void clone_vm_method(void)
{
	static _Alignas(64) char stack[65536];
	pid_t pid =
		clone(clone_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);

	check(pid > 0 && waitpid(pid, NULL, 0) == pid, "clone");
	make_call();
}

static void fork_child_method(void)
{
	pid_t pid = fork();

	if (pid == 0)
		run_filtered_true();
	check(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
	make_call();
}

static void *bystander(void *unused)
{
	(void)unused;
	compose_and_install();
	sem_post(&installed);
	sem_wait(&started); /* for ever: no thread posts it */
	return NULL;
}

/* Another thread has the filter, which must allow that thread to wait. */
static void bystander_method(void)
{
	pthread_t thread;

	check(pthread_create(&thread, NULL, bystander, NULL) == 0, "pthread_create");
	sem_wait(&installed);
	make_call();
}

/* Attempts to install a filter that fail leave none. */
static void failed_method(void)
{
	struct sock_fprog program;

	compose(false);
	program = (struct sock_fprog){(unsigned short)length, code};
	code[length - 1].code = UINT16_MAX;
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0, "EINVAL");
	program.len = 0;
	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0, "EINVAL");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (uintptr_t)1, 0, 0) < 0, "EFAULT");
	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (uintptr_t)1) < 0, "EFAULT");
	compose(false);
	program.len = (unsigned short)length;
	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, UINT32_MAX, &program) < 0, "EINVAL");
	make_call();
}

static void no_method(void)
{
	make_call();
}

static const struct method {
	const char *name;
	void (*run)(void);
} methods[] = {
	{"prctl", prctl_method},
	{"syscall", syscall_method},
	{"pointers", pointers_method},
	{"stacked", stacked_method},
	{"split", split_method},
	{"forked", forked_method},
	{"clone", clone_method},
	{"thread", thread_method},
	{"tsync", tsync_method},
	{"strict", strict_method},
	{"vfork", vfork_method},
	{"clone-vm", clone_vm_method},
	{"fork-child", fork_child_method},
	{"bystander", bystander_method},
	{"failed", failed_method},
	{"none", no_method},
};
static const struct method *method;

/* ---- a trial ---- */

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check(fd >= 0, "socket");
	return fd;
}

static void bind_and_listen(const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = new_socket();

	strcpy(at.sun_path, name);
	check(bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0, name);
	check(listen(fd, 1) == 0, "listen");
}

/* Binds as an unguarded process does. */
static int bind_without_libc(void)
{
	int fd = new_socket();

	check(syscall(SYS_bind, fd, &address, sizeof(address)) == 0, "bind");
	return fd;
}

static void make_object(void)
{
	switch (object) {
	case OWN:
		bind_and_listen(path);
		break;
	case INSIDE:
		object_fd = new_socket();
		break;
	case HELD:
		check(listen(bind_without_libc(), 1) == 0, "listen");
		break;
	case STALE:
		close(bind_without_libc());
		break;
	case REGULAR:
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		break;
	default: /* absent, or already bound by the rival */
		break;
	}
}

static void on_sigsys(int number)
{
	(void)number;
	outcome->sigsys_count++;
}

static _Noreturn void run_trial(void)
{
	const struct rlimit none = {0};
	int on = 1;

	setrlimit(RLIMIT_CORE, &none);
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
	signal(SIGSYS, action->handled ? on_sigsys : SIG_DFL);
	make_object();
	if (verb->has_newpath)
		bind_and_listen(newpath);
	new_fd = new_socket();
	check(!verb->reuses || setsockopt(new_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0,
		"SO_REUSEADDR");
	method->run();
	_exit(0);
}

/* Starts the process that owns the live object. It is guarded if this process is. */
static pid_t start_rival(void)
{
	int fds[2];
	char ready;
	pid_t pid;

	check(pipe(fds) == 0, "pipe");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bind_and_listen(path);
		check(write(fds[1], "", 1) == 1, "write");
		pause();
		_exit(0);
	}
	check(pid > 0 && read(fds[0], &ready, 1) == 1, "the rival");
	close(fds[0]);
	close(fds[1]);
	return pid;
}

/* ---- remaining files ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_lock_file(const char *name)
{
	const char *end = strstr(name, ".sockguard");

	return end && end[strlen(".sockguard")] == '\0';
}

/* The name may be "app.sockguard" or ".app.sockguard". */
static bool socket_exists(const char *lock)
{
	char name[NAME_MAX + 1];
	struct stat found;

	snprintf(name, sizeof(name), "%s", lock[0] == '.' ? lock + 1 : lock);
	*strstr(name, ".sockguard") = '\0';
	return lstat(name, &found) == 0 && S_ISSOCK(found.st_mode);
}

/* Prints the last two fields of the line, and removes all files. */
static void print_and_remove_files(void)
{
	struct dirent **names;
	char locks[1024] = "";
	int count = scandir(".", &names, NULL, by_name);

	check(count >= 0, "scandir");
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		unsigned char type = names[i]->d_type;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (!is_lock_file(name))
			printf("%s%c ", name, type == DT_SOCK ? '=' : type == DT_REG ? '-' : '?');
		else if (!socket_exists(name))
			strcat(strcat(locks, name), " ");
	}
	printf("\t%s\n", locks);
	for (int i = 0; i < count; i++) {
		syscall(SYS_unlinkat, AT_FDCWD, names[i]->d_name, 0);
		free(names[i]); // NOLINT(clang-analyzer-unix.Malloc)
	}
	free(names);
}

static void run_and_print_trial(void)
{
	pid_t rival = object == LIVE ? start_rival() : -1;
	pid_t pid;

	memset(outcome, 0, sizeof(*outcome));
	fflush(stdout);
	pid = fork();
	check(pid >= 0, "fork");
	if (pid == 0)
		run_trial();
	int status;
	check(waitpid(pid, &status, 0) == pid, "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		exit(2); /* it has printed the reason */
	int ended_by = WIFSIGNALED(status) ? WTERMSIG(status) : outcome->ended_by;

	printf("%s\t%s\t", object_names[object], denied ? denied->name : "-");
	if (outcome->complete)
		printf("%d\t%d", outcome->result, outcome->error);
	else
		printf("-\t-");
	printf("\t%d\t%d\t", outcome->sigsys_count, ended_by);
	print_and_remove_files();
	if (rival < 0)
		return;
	kill(rival, SIGKILL);
	waitpid(rival, NULL, 0);
}

static void run_trials(void)
{
	const struct denied *list = series == VALUES ? each_value : each_call;
	size_t count = series == VALUES ? COUNT(each_value) : COUNT(each_call);

	if (series != WITHOUT && series != VALUES)
		list = NULL, count = 1;
	for (size_t i = 0; i < count; i++) {
		for (object = OWN; object < OBJECTS; object++) {
			denied = list ? &list[i] : NULL;
			run_and_print_trial();
		}
	}
}

/* ---- the command line ---- */

#define FIND(found, list, word)                                                                    \
	for (size_t i = 0; i < COUNT(list); i++)                                                   \
		if (strcmp((list)[i].name, (word)) == 0)                                           \
	(found) = &(list)[i]

static void usage(void)
{
	fputs("usage: sandboxed SERIES METHOD ACTION VERB\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	char directory[] = "trials-XXXXXX"; /* in the working directory */

	if (argc != 5)
		usage();
	for (series = EXACT; series <= OPEN; series++)
		if (strcmp(series_names[series], argv[1]) == 0)
			break;
	FIND(method, methods, argv[2]);
	FIND(action, actions, argv[3]);
	FIND(verb, verbs, argv[4]);
	if (series > OPEN || !method || !action || !verb)
		usage();
	strcpy(address.sun_path, path);
	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	check(outcome != MAP_FAILED, "mmap");
	check(sem_init(&started, 0, 0) == 0 && sem_init(&installed, 0, 0) == 0, "sem_init");
	check(mkdtemp(directory) && chdir(directory) == 0, directory);
	run_trials();
	check(chdir("..") == 0 && rmdir(directory) == 0, directory);
	return 0;
}
