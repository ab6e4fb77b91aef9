/*
 * How the exported functions learn of seccomp filters. This program is linked with interpose.c, so
 * its calls of prctl and syscall go through the library's. The filters forbid one call that the
 * guard never makes, with an errno and not by a signal: nothing else changes.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "config.h"
#include "filter.h"
#include "held.h"
#include "libc.h"
#include "suite.h"

/* The call that the filters forbid, and its errno. */
#define FORBIDDEN SYS_getppid
#define ERROR     77

static struct sock_filter code[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)FORBIDDEN, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ERROR),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
static struct sock_fprog invalid = {1, code}; /* ends without a return */

/* Each way to install a filter. They return 0, or -1 with errno. */

static long by_prctl(const struct sock_fprog *program)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0);
}

static long by_prctl_number(const struct sock_fprog *program)
{
	return syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0);
}

static long by_seccomp_number(const struct sock_fprog *program)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program);
}

static long (*const ways[])(const struct sock_fprog *program) = {
	by_prctl, by_prctl_number, by_seccomp_number};
#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

static bool allows(long number)
{
	return filter_allows(number, (const uint64_t[6]){0});
}

/* Whether exactly the filter above is known. */
static bool is_known(void)
{
	return filter_is_known() && !allows(FORBIDDEN) && allows(SYS_close);
}

static bool is_in_force(void)
{
	errno = 0;
	return libc.syscall(FORBIDDEN) == -1 && errno == ERROR;
}

static void permit_filters(void)
{
	config.disabled = false; /* whatever the environment says */
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert(!filter_is_known());
}

START_TEST(a_filter_is_known_however_it_is_installed)
{
	permit_filters();
	ASSERT_SUCCEEDS((int)ways[_i](&filter));
	ck_assert(is_in_force());
	ck_assert(is_known());
}
END_TEST

START_TEST(a_filter_that_the_kernel_rejects_is_not_known)
{
	permit_filters();
	ASSERT_FAILS((int)ways[_i](&invalid), EINVAL);
	ck_assert(!filter_is_known());
	ASSERT_FAILS((int)ways[_i](NULL), EFAULT);
	ck_assert(!filter_is_known());
	ASSERT_FAILS((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			     SECCOMP_FILTER_FLAG_NEW_LISTENER, &invalid),
		EINVAL);
	ck_assert(!filter_is_known());
}
END_TEST

START_TEST(no_filter_is_known_if_the_guard_is_disabled)
{
	permit_filters();
	config.disabled = true;
	ASSERT_SUCCEEDS((int)ways[_i](&filter));
	ck_assert(is_in_force());
	ck_assert(!filter_is_known());
}
END_TEST

/* The result is the notification descriptor, which is 0 if the program has closed its stdin. */
START_TEST(a_filter_with_a_notification_descriptor_is_known)
{
	long notify_fd;

	permit_filters();
	if (_i)
		close(STDIN_FILENO);
	notify_fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
		&filter);
	ck_assert_int_ge(fcntl((int)notify_fd, F_GETFD), 0);
	ck_assert_int_eq(notify_fd == 0, _i);
	ck_assert(is_in_force());
	ck_assert(is_known());
}
END_TEST

static sem_t installed;

/* Makes the thread's filters differ from the process's, without the library's knowledge. */
static void *install_own(void *about)
{
	(void)about;
	libc.syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
	sem_post(&installed);
	pause();
	return NULL;
}

/* Then the kernel installs it in no thread, and returns the ID of one that has other filters. */
START_TEST(a_filter_that_not_all_threads_can_get_is_not_known)
{
	pthread_t thread;

	permit_filters();
	ck_assert_int_eq(sem_init(&installed, 0, 0), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, install_own, NULL), 0);
	ck_assert_int_eq(sem_wait(&installed), 0);
	ck_assert_int_gt(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
				 &filter),
		0);
	ck_assert(!is_in_force());
	ck_assert(!filter_is_known());
}
END_TEST

START_TEST(calls_that_install_no_filter_are_passed_on)
{
	unsigned int action = SECCOMP_RET_ALLOW;
	char name[16] = "", changed[16] = "";

	permit_filters();
	ASSERT_SUCCEEDS(prctl(PR_SET_NAME, "renamed"));
	ASSERT_SUCCEEDS(prctl(PR_GET_NAME, name));
	ck_assert_str_eq(name, "renamed");
	ASSERT_SUCCEEDS((int)syscall(SYS_prctl, PR_SET_NAME, "again"));
	ASSERT_SUCCEEDS((int)syscall(SYS_prctl, PR_GET_NAME, changed));
	ck_assert_str_eq(changed, "again");
	ASSERT_FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_DISABLED, &filter), EINVAL);
	ASSERT_FAILS((int)syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_DISABLED, &filter),
		EINVAL);
	ASSERT_SUCCEEDS((int)syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
	ck_assert_int_eq(syscall(FORBIDDEN), getppid());
	ck_assert(!filter_is_known());
}
END_TEST

/* The results of calls that are made before the constructor of interpose.c has run. */
static struct {
	int changed, failed, error;
	long pid, closed;
	char name[16];
} early;

__attribute__((constructor(101))) static void call_before_loading(void)
{
	early.changed = prctl(PR_SET_NAME, "early", 0, 0, 0);
	prctl(PR_GET_NAME, early.name, 0, 0, 0);
	early.failed = prctl(-1, 0, 0, 0, 0);
	early.pid = syscall(SYS_getpid);
	early.closed = syscall(SYS_close, -1);
	early.error = errno;
}

START_TEST(calls_before_the_library_is_loaded_are_made)
{
	ck_assert_int_eq(early.changed, 0);
	ck_assert_str_eq(early.name, "early");
	ck_assert_int_eq(early.failed, -1);
	ck_assert_int_eq(early.pid, getppid()); /* each case runs in a child */
	ck_assert_int_eq(early.closed, -1);
	ck_assert_int_eq(early.error, EBADF);
}
END_TEST

static int enter_strict_mode(void *about)
{
	int way = *(const int *)about;

	if (way == 0)
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	else if (way == 1)
		syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	else
		syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL);
	/* Strict mode allows no other call that ends the process. */
	libc.syscall(SYS_exit, filter_is_known() && !allows(SYS_close) && !allows(SYS_write));
	return 0;
}

START_TEST(strict_mode_is_known_however_it_is_entered)
{
	int status;

	config.disabled = false;
	status = run_in_clone(0, enter_strict_mode, &_i);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 1);
}
END_TEST

/* It runs in this process's memory, but has filters of its own. */
static int install_in_vfork_child(void *about)
{
	const int *way = about;
	bool done = ways[*way](&filter) == 0 && is_in_force() && !filter_is_known();

	_exit(done ? 0 : 1);
}

START_TEST(a_filter_of_a_vfork_child_is_not_known)
{
	permit_filters();
	ck_assert_int_eq(run_in_clone(CLONE_VM | CLONE_VFORK, install_in_vfork_child, &_i), 0);
	ck_assert(!is_in_force());
	ck_assert(!filter_is_known());
}
END_TEST

/* ---- forks while another thread installs a filter ---- */

static sem_t installing, forked;

static int wait_for_fork(void)
{
	sem_post(&installing);
	sem_wait(&forked);
	errno = EINVAL;
	return -1;
}

/* In place of libc's functions. */

static int prctl_during_fork(int option, ...)
{
	return option == PR_SET_SECCOMP ? wait_for_fork() : 0; /* not the child's own prctl */
}

static long syscall_during_fork(long number, ...)
{
	(void)number;
	return wait_for_fork();
}

static long for_all_threads(const struct sock_fprog *program)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, program);
}

static void *install(void *way)
{
	long (*const *install_by)(const struct sock_fprog *) = way;

	(*install_by)(&filter);
	return NULL;
}

/* The guard can close the descriptor of a mutex only if it may make system calls. */
static int knows_filter(const void *mutex)
{
	bool closed = fcntl(*(const int *)mutex, F_GETFD) < 0;

	return closed == !filter_is_known() ? filter_is_known() : 2;
}

/* What a child knows that is forked while another thread installs a filter. */
static bool child_knows_filter(long (*way)(const struct sock_fprog *program))
{
	int mutex = open(".", O_RDONLY | O_CLOEXEC);
	pthread_t thread;
	int known;

	ck_assert(held_register(mutex));
	permit_filters();
	libc.prctl = prctl_during_fork;
	libc.syscall = syscall_during_fork;
	ck_assert_int_eq(sem_init(&installing, 0, 0), 0);
	ck_assert_int_eq(sem_init(&forked, 0, 0), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, install, &way), 0);
	sem_wait(&installing);
	known = run_in_child(knows_filter, &mutex);
	ck_assert_int_ne(known, 2);
	sem_post(&forked);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(!filter_is_known());
	return known;
}

START_TEST(a_filter_that_another_thread_was_installing_is_not_known_in_the_child)
{
	ck_assert(!child_knows_filter(ways[_i]));
}
END_TEST

START_TEST(a_filter_for_all_threads_may_be_in_force_in_the_child)
{
	ck_assert(child_knows_filter(for_all_threads));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("interpose");
	TCase *cases = suite_cases(suite, "forbidden");

	tcase_add_loop_test(cases, a_filter_is_known_however_it_is_installed, 0, WAYS);
	tcase_add_loop_test(cases, a_filter_that_the_kernel_rejects_is_not_known, 0, WAYS);
	tcase_add_loop_test(cases, no_filter_is_known_if_the_guard_is_disabled, 0, WAYS);
	tcase_add_loop_test(cases, a_filter_with_a_notification_descriptor_is_known, 0, 2);
	tcase_add_test(cases, a_filter_that_not_all_threads_can_get_is_not_known);
	tcase_add_test(cases, calls_that_install_no_filter_are_passed_on);
	tcase_add_test(cases, calls_before_the_library_is_loaded_are_made);
	tcase_add_loop_test(cases, strict_mode_is_known_however_it_is_entered, 0, WAYS);
	tcase_add_loop_test(cases, a_filter_of_a_vfork_child_is_not_known, 0, WAYS);
	tcase_add_loop_test(cases,
		a_filter_that_another_thread_was_installing_is_not_known_in_the_child, 0, WAYS);
	tcase_add_test(cases, a_filter_for_all_threads_may_be_in_force_in_the_child);
	return suite;
}
