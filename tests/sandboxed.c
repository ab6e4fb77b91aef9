/*
 * Programs that restrict themselves by seccomp: sandboxed SERIES METHOD ACTION VERB makes one of
 * the guarded calls on each kind of object in turn, in a process of its own that has just installed
 * a filter, and prints a line on each, in fields separated by tabs:
 *
 *   object, denied, result, errno, SIGSYS seen, signal it ended by, directory, lock files left
 * alone
 *
 * SERIES says what the filter allows:
 *
 *   exact    what the program itself calls for the verb, and nothing else
 *   without  all but one system call of the guard, each of src/core/calls.h in turn
 *   values   all but one of the guard's calls with one value of one argument, each in turn
 *   open     all
 *
 * ACTION is what it does to the rest; METHOD how it comes into the process. Without the guard all
 * lines are the same but for its lock files. Plain libc, as the actor.
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
#define EXIT_RAW 3 /* a status that nothing else has */

/* musl has none before 1.2.6. */
extern int renameat2(int, const char *, int, const char *, unsigned) __attribute__((weak));

static void need(bool done, const char *what)
{
	if (done)
		return;
	perror(what);
	exit(2);
}

/* ---- the filter ---- */

static struct sock_filter code[512];
static size_t length;

static void step(int operation, uint8_t when, uint8_t otherwise, uint32_t value)
{
	need(length < sizeof(code) / sizeof(code[0]), "a longer filter");
	code[length++] = (struct sock_filter){(uint16_t)operation, when, otherwise, value};
}

static void load(size_t offset)
{
	step(BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static size_t argument(int number, bool high)
{
	bool big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

	return offsetof(struct seccomp_data, args[number]) + (big != high ? 4 : 0);
}

static void begin_filter(void)
{
	length = 0;
#ifdef __x86_64__ /* as every filter should, seccomp(2) */
	load(offsetof(struct seccomp_data, arch));
	step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	step(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
#endif
	load(offsetof(struct seccomp_data, nr));
}

static void end_filter(uint32_t action)
{
	step(BPF_RET | BPF_K, 0, 0, action);
}

static void when_called(long number, uint32_t action)
{
	step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)number);
	step(BPF_RET | BPF_K, 0, 0, action);
}

/* Allows the call with this pointer alone, as tor's filters do. */
static void allow_pointer(long number, int which, const void *pointer)
{
	uint64_t value = (uintptr_t)pointer;

	step(BPF_JMP | BPF_JEQ | BPF_K, 0, 6, (uint32_t)number);
	load(argument(which, false));
	step(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, (uint32_t)value);
	load(argument(which, true));
	step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)(value >> 32));
	step(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
	load(offsetof(struct seccomp_data, nr));
}

/* ---- what may be forbidden ---- */

struct denied {
	const char *name;
	long number;
	int argument; /* -1: whatever the arguments are */
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
	{"no how", SYS_rt_sigprocmask, 0, ALL, ALL},
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void deny(const struct denied *denied, uint32_t action)
{
	if (denied->argument < 0) {
		when_called(denied->number, action);
		return;
	}
	step(BPF_JMP | BPF_JEQ | BPF_K, 0, 5, (uint32_t)denied->number);
	load(argument(denied->argument, false));
	step(BPF_ALU | BPF_AND | BPF_K, 0, 0, denied->mask);
	step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, denied->value);
	step(BPF_RET | BPF_K, 0, 0, action);
	load(offsetof(struct seccomp_data, nr));
}

/* ---- the verbs ---- */

static char object[] = "app", other[] = "new";
static int spare, inside; /* sockets that are not bound yet */
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int act_bind(void)
{
	return bind(spare, (const struct sockaddr *)&address, sizeof(address));
}

static int act_unlink(void)
{
	return unlink(object);
}

static int act_unlinkat(void)
{
	return unlinkat(AT_FDCWD, object, 0);
}

static int act_remove(void)
{
	return remove(object);
}

static int act_rename(void)
{
	return rename(object, other);
}

static int act_renameat(void)
{
	return renameat(AT_FDCWD, object, AT_FDCWD, other);
}

static int act_renameat2(void)
{
	return renameat2(AT_FDCWD, object, AT_FDCWD, other, 0);
}

static int act_exchange(void)
{
	return renameat2(AT_FDCWD, object, AT_FDCWD, other, RENAME_EXCHANGE);
}

static int act_over(void)
{
	return rename(other, object);
}

static int act_link(void)
{
	return link(object, other);
}

static int act_linkat(void)
{
	return linkat(AT_FDCWD, object, AT_FDCWD, other, 0);
}

/* What libc calls on this machine, and which arguments are the verb's own pointers. */
struct own {
	long number;
	int first, second; /* -1: none */
};

#define AT_ONE                                                                                     \
	{                                                                                          \
		SYS_unlinkat, 1, -1                                                                \
	}
#ifdef SYS_renameat
#define AT_BOTH                                                                                    \
	{                                                                                          \
		SYS_renameat, 1, 3                                                                 \
	}
#else
#define AT_BOTH                                                                                    \
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
#define UNLINK AT_ONE
#define RMDIR  AT_ONE
#endif
#ifdef SYS_rename
#define RENAME                                                                                     \
	{                                                                                          \
		SYS_rename, 0, 1                                                                   \
	}
#else
#define RENAME AT_BOTH
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
	bool reuses; /* the new socket has SO_REUSEADDR */
	bool second; /* it has a socket of its own at the other name */
	struct own own[2];
} verbs[] = {
	{"bind", act_bind, false, false, {{SYS_bind, 1, -1}}},
	{"rebind", act_bind, true, false, {{SYS_bind, 1, -1}}},
	{"unlink", act_unlink, false, false, {UNLINK}},
	{"unlinkat", act_unlinkat, false, false, {AT_ONE}},
	{"remove", act_remove, false, false, {UNLINK, RMDIR}},
	{"rename", act_rename, false, false, {RENAME}},
	{"over", act_over, false, true, {RENAME}},
	{"renameat", act_renameat, false, false, {AT_BOTH}},
	{"renameat2", act_renameat2, false, false, {{SYS_renameat2, 1, 3}, AT_BOTH}},
	{"exchange", act_exchange, false, true, {{SYS_renameat2, 1, 3}}},
	{"link", act_link, false, false, {LINK}},
	{"linkat", act_linkat, false, false, {{SYS_linkat, 1, 3}}},
};

/* ---- what was asked for ---- */

static const struct action {
	const char *name;
	uint32_t action;
	bool handled; /* the program catches SIGSYS */
} actions[] = {
	{"kill", SECCOMP_RET_KILL_PROCESS, false}, {"thread", SECCOMP_RET_KILL, false},
	{"trap", SECCOMP_RET_TRAP, false}, {"handled", SECCOMP_RET_TRAP, true},
	{"errno", SECCOMP_RET_ERRNO | EPERM, false},
	{"lie", SECCOMP_RET_ERRNO | 0, false}, /* says that the call was made, and does nothing */
	{"trace", SECCOMP_RET_TRACE, false},   /* ENOSYS: there is no tracer */
};

enum series { EXACT, WITHOUT, VALUES, OPEN };
static const char *const series_names[] = {"exact", "without", "values", "open"};

enum object { OWN, INSIDE, HELD, STALE, ABSENT, REGULAR, LIVE, OBJECTS };
static const char *const object_names[] = {
	"own", "inside", "held", "stale", "absent", "regular", "live"};

static enum series series;
static const struct action *action;
static const struct verb *verb;
static enum object kind;
static const struct denied *denied; /* NULL: see the series */

/* What a trial tells, in memory that its processes share. */
static struct report {
	bool told;
	int result, error, signals, ended;
} * report;

/* ---- the filter's way into the process ---- */

static void allow_own(bool pointers)
{
	const char *first = verb->act == act_over ? other : object;
	const char *second = first == object ? other : object;
	const void *start = verb->act == act_bind ? (const void *)&address : first;

	for (size_t i = 0; i < COUNT(verb->own); i++) {
		const struct own *own = &verb->own[i];

		if (own->number == 0 && own->first == 0 && own->second == 0)
			continue;
		if (pointers)
			allow_pointer(own->number, own->first, start);
		if (pointers && own->second >= 0)
			allow_pointer(own->number, own->second, second);
		if (!pointers)
			when_called(own->number, SECCOMP_RET_ALLOW);
	}
}

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
	allow_own(pointers);
	if (kind == INSIDE)
		when_called(SYS_bind, SECCOMP_RET_ALLOW);
	when_called(SYS_exit_group, SECCOMP_RET_ALLOW);
	when_called(SYS_rt_sigreturn, SECCOMP_RET_ALLOW);
	end_filter(action->action);
}

static void compose_open(void)
{
	begin_filter();
	end_filter(SECCOMP_RET_ALLOW);
}

static void by_prctl(void)
{
	struct sock_fprog program = {(unsigned short)length, code};

	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0, "PR_SET_SECCOMP");
}

static void by_syscall(unsigned int flags)
{
	struct sock_fprog program = {(unsigned short)length, code};

	need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0, "seccomp");
}

static void confine(void)
{
	compose(false);
	by_prctl();
}

/* What it says is in the report by now, and a filter that allows little allows this. */
static void perform(void)
{
	if (kind == INSIDE && bind(inside, (const struct sockaddr *)&address, sizeof(address)))
		_exit(EXIT_RAW);
	errno = 0;
	report->result = verb->act();
	report->error = errno;
	report->told = true;
}

static void note_end(pid_t pid)
{
	int status;

	need(waitpid(pid, &status, 0) == pid, "waitpid");
	report->ended = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* ---- methods: the process with the filter makes the call ---- */

static void prctl_method(void)
{
	confine();
	perform();
}

static void syscall_method(void)
{
	compose(false);
	by_syscall(0);
	perform();
}

static void pointers_method(void)
{
	compose(true);
	by_prctl();
	perform();
}

/* Under another, and over another: the filter that says no counts, whichever it is. */
static void stacked_method(void)
{
	compose_open();
	by_prctl();
	confine();
	if (series != EXACT) {
		compose_open();
		by_syscall(0);
	}
	perform();
}

/* Two filters, each of which forbids one of two neighbours of the list. */
static void split_method(void)
{
	const struct denied *last = &each_call[COUNT(each_call) - 1];

	compose(false);
	by_syscall(0);
	denied = denied == last ? &each_call[0] : denied + 1;
	compose(false);
	by_syscall(0);
	perform();
}

static void forked_method(void)
{
	pid_t pid;

	confine();
	pid = fork();
	if (pid == 0) {
		perform();
		_exit(0);
	}
	note_end(pid);
}

/* Past libc, which then calls nobody that wanted to hear of a fork. */
static void clone_method(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0) {
		confine();
		perform();
		_exit(0);
	}
	note_end(pid);
}

static void *confined_thread(void *about)
{
	(void)about;
	confine();
	perform();
	_exit(0);
}

static void thread_method(void)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, confined_thread, NULL) == 0, "pthread_create");
	pthread_join(thread, NULL);
}

static sem_t confined, done;

static void *waiting_thread(void *about)
{
	(void)about;
	sem_post(&done); /* started: libc makes no more calls for it */
	sem_wait(&confined);
	perform();
	_exit(0);
}

/* The filter comes to a thread that has not asked for it. */
static void tsync_method(void)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, waiting_thread, NULL) == 0, "pthread_create");
	sem_wait(&done);
	compose(false);
	by_syscall(SECCOMP_FILTER_FLAG_TSYNC);
	sem_post(&confined);
	pthread_join(thread, NULL);
}

/* The program's own raw write and exit alone. */
static void strict_method(void)
{
	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0) == 0, "SECCOMP_MODE_STRICT");
	if (kind != ABSENT)
		perform();
	report->told = true;
	syscall(SYS_exit, 0);
}

/* ---- methods: another than the process that makes the call has the filter ---- */

static void end_child(void)
{
	char *const argv[] = {(char *)"true", NULL};

	confine();
	execv("/bin/true", argv);
	_exit(0);
}

static void vfork_method(void)
{
	pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */

	if (pid == 0)
		end_child(); /* NOLINT(clang-analyzer-unix.Vfork): what is tried here */
	need(pid > 0 && waitpid(pid, NULL, 0) == pid, "vfork");
	perform();
}

static int end_clone(void *about)
{
	(void)about;
	end_child();
	return 0;
}

static void clone_vm_method(void)
{
	static _Alignas(64) char stack[65536];
	pid_t pid = clone(end_clone, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);

	need(pid > 0 && waitpid(pid, NULL, 0) == pid, "clone");
	perform();
}

static void fork_child_method(void)
{
	pid_t pid = fork();

	if (pid == 0)
		end_child();
	need(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
	perform();
}

static void *confined_bystander(void *about)
{
	(void)about;
	confine();
	sem_post(&confined);
	sem_wait(&done);
	return NULL;
}

/* Another thread, with a filter that lets it wait. */
static void bystander_method(void)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, confined_bystander, NULL) == 0, "pthread_create");
	sem_wait(&confined);
	perform();
}

/* Attempts that fail leave no filter. */
static void failed_method(void)
{
	struct sock_fprog program;

	compose(false);
	program = (struct sock_fprog){(unsigned short)length, code};
	code[length - 1].code = UINT16_MAX;
	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0, "EINVAL");
	program.len = 0;
	need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0, "EINVAL");
	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (uintptr_t)1, 0, 0) < 0, "EFAULT");
	need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (uintptr_t)1) < 0, "EFAULT");
	compose(false);
	program.len = (unsigned short)length;
	need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, UINT32_MAX, &program) < 0, "EINVAL");
	perform();
}

static void no_method(void)
{
	perform();
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

	need(fd >= 0, "socket");
	return fd;
}

static void bind_own(const char *name)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX};
	int fd = new_socket();

	strcpy(own.sun_path, name);
	need(bind(fd, (const struct sockaddr *)&own, sizeof(own)) == 0, name);
	need(listen(fd, 1) == 0, "listen");
}

/* Bound as by an unguarded process. */
static int bind_past_libc(void)
{
	int fd = new_socket();

	need(syscall(SYS_bind, fd, &address, sizeof(address)) == 0, "bind");
	return fd;
}

static void make_object(void)
{
	switch (kind) {
	case OWN:
		bind_own(object);
		break;
	case INSIDE:
		inside = new_socket();
		break;
	case HELD:
		need(listen(bind_past_libc(), 1) == 0, "listen");
		break;
	case STALE:
		close(bind_past_libc());
		break;
	case REGULAR:
		close(open(object, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		break;
	default: /* nothing, or somebody else's by now */
		break;
	}
}

static void on_sigsys(int number)
{
	(void)number;
	report->signals++;
}

static _Noreturn void run_trial(void)
{
	const struct rlimit none = {0};
	int on = 1;

	setrlimit(RLIMIT_CORE, &none);
	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
	signal(SIGSYS, action->handled ? on_sigsys : SIG_DFL);
	make_object();
	if (verb->second)
		bind_own(other);
	spare = new_socket();
	need(!verb->reuses || setsockopt(spare, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0,
		"SO_REUSEADDR");
	method->run();
	_exit(0);
}

/* The other process whose live socket the object is; it has a guard if we have. */
static pid_t start_rival(void)
{
	int ends[2];
	char ready;
	pid_t pid;

	need(pipe(ends) == 0, "pipe");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bind_own(object);
		write(ends[1], "", 1);
		pause();
		_exit(0);
	}
	need(pid > 0 && read(ends[0], &ready, 1) == 1, "the rival");
	close(ends[0]);
	close(ends[1]);
	return pid;
}

/* ---- what is left ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_lock(const char *name)
{
	const char *end = strstr(name, ".sockguard");

	return end && end[strlen(".sockguard")] == '\0';
}

/* Of either style, "app.sockguard" and ".app.sockguard". */
static bool has_socket(const char *lock)
{
	char name[NAME_MAX + 1];
	struct stat found;

	snprintf(name, sizeof(name), "%s", lock[0] == '.' ? lock + 1 : lock);
	*strstr(name, ".sockguard") = '\0';
	return lstat(name, &found) == 0 && S_ISSOCK(found.st_mode);
}

static void list_and_clear(void)
{
	struct dirent **names;
	char locks[1024] = "";
	int count = scandir(".", &names, NULL, by_name);

	need(count >= 0, "scandir");
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		unsigned char type = names[i]->d_type;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (!is_lock(name))
			printf("%s%c ", name, type == DT_SOCK ? '=' : type == DT_REG ? '-' : '?');
		else if (!has_socket(name))
			strcat(strcat(locks, name), " ");
	}
	printf("\t%s\n", locks);
	for (int i = 0; i < count; i++) {
		syscall(SYS_unlinkat, AT_FDCWD, names[i]->d_name, 0);
		free(names[i]); // NOLINT(clang-analyzer-unix.Malloc)
	}
	free(names);
}

static void try_it(void)
{
	pid_t rival = kind == LIVE ? start_rival() : -1;
	pid_t pid;

	memset(report, 0, sizeof(*report));
	fflush(stdout);
	pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0)
		run_trial();
	int status;
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		exit(2); /* it said why */
	int ended = WIFSIGNALED(status) ? WTERMSIG(status) : report->ended;

	printf("%s\t%s\t", object_names[kind], denied ? denied->name : "-");
	if (report->told)
		printf("%d\t%d", report->result, report->error);
	else
		printf("-\t-");
	printf("\t%d\t%d\t", report->signals, ended);
	list_and_clear();
	if (rival < 0)
		return;
	kill(rival, SIGKILL);
	waitpid(rival, NULL, 0);
}

static void try_all(void)
{
	const struct denied *list = series == VALUES ? each_value : each_call;
	size_t count = series == VALUES ? COUNT(each_value) : COUNT(each_call);

	if (series != WITHOUT && series != VALUES)
		list = NULL, count = 1;
	for (size_t i = 0; i < count; i++) {
		for (kind = OWN; kind < OBJECTS; kind++) {
			denied = list ? &list[i] : NULL;
			try_it();
		}
	}
}

/* ---- the words ---- */

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
	char directory[] = "trials-XXXXXX"; /* of the working directory */

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
	strcpy(address.sun_path, object);
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	need(report != MAP_FAILED, "mmap");
	need(sem_init(&confined, 0, 0) == 0 && sem_init(&done, 0, 0) == 0, "sem_init");
	need(mkdtemp(directory) && chdir(directory) == 0, directory);
	try_all();
	need(chdir("..") == 0 && rmdir(directory) == 0, directory);
	return 0;
}
