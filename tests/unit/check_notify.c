/* Tests of notify: the calls of a child that has a filter with notifications. */
#include "notify.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "suite.h"

#define STOPPED SYS_getppid /* the call that the filter stops */

/* Shared with the child. */
static struct {
	int notify_fd; /* a descriptor of both processes; -1: not created yet, -2: impossible */
	long result;
	int error;
	int flags; /* descriptor flags of number 700, after the call */
} * shared;

static int install_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, STOPPED, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof(code) / sizeof(*code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
		&program);
}

static int make_stopped_call(void *about)
{
	int notify_fd = install_filter();

	(void)about;
	__atomic_store_n(&shared->notify_fd, notify_fd < 0 ? -2 : notify_fd, __ATOMIC_SEQ_CST);
	if (notify_fd < 0)
		return 1;
	errno = 0;
	shared->result = syscall(STOPPED, 1, 2, 3);
	shared->error = errno;
	shared->flags = fcntl(700, F_GETFD);
	return 0;
}

static _Alignas(16) char stack[65536];

/* Starts the child, which shares our descriptors. Returns the notification descriptor, or -2. */
static int start_caller(pid_t *child)
{
	int notify_fd;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	if (shared == MAP_FAILED)
		return -2;
	shared->notify_fd = -1;
	*child = clone(make_stopped_call, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	if (*child < 0)
		return -2;
	while ((notify_fd = __atomic_load_n(&shared->notify_fd, __ATOMIC_SEQ_CST)) == -1)
		usleep(1000);
	return notify_fd;
}

static pid_t caller;
static int notify_fd;
static union notification received;

static void start(void)
{
	notify_fd = start_caller(&caller);
	ck_assert_int_ge(notify_fd, 0);
	memset(&received, 0x55, sizeof(received)); /* the kernel requires zeros */
	ck_assert_int_eq(notify_receive(notify_fd, &received), 0);
}

static void expect_end(void)
{
	int status;

	ck_assert_int_eq(waitpid(caller, &status, 0), caller);
	ck_assert_int_eq(status, 0);
}

START_TEST(our_structures_are_large_enough)
{
	ck_assert(notify_structures_fit());
}
END_TEST

START_TEST(a_stopped_call_is_received)
{
	ck_assert_int_eq(received.call.pid, caller);
	ck_assert_int_eq(received.call.data.nr, STOPPED);
	ck_assert_uint_eq(received.call.data.args[2], 3);
	ck_assert(notify_is_valid(notify_fd, received.call.id));
	ck_assert(!notify_is_valid(notify_fd, received.call.id + 1));
	ck_assert_int_eq(notify_answer(notify_fd, received.call.id, 0, 0), 0);
	expect_end();
}
END_TEST

START_TEST(the_call_returns_the_answer)
{
	ck_assert_int_eq(notify_answer(notify_fd, received.call.id, 0, EPERM), 0);
	expect_end();
	ck_assert_int_eq(shared->result, 0);
	ck_assert_int_eq(shared->error, 0);
	ck_assert_int_eq(shared->flags, -1);
}
END_TEST

START_TEST(the_call_fails_with_the_error)
{
	ck_assert_int_eq(notify_answer(notify_fd, received.call.id, -1, EADDRINUSE), 0);
	expect_end();
	ck_assert_int_eq(shared->result, -1);
	ck_assert_int_eq(shared->error, EADDRINUSE);
}
END_TEST

START_TEST(the_kernel_executes_the_call)
{
	ck_assert_int_eq(notify_continue(notify_fd, received.call.id), 0);
	expect_end();
	ck_assert_int_eq(shared->result, getpid());
}
END_TEST

START_TEST(a_descriptor_is_injected)
{
	ck_assert_int_eq(notify_inject(notify_fd, received.call.id, STDERR_FILENO, 700), 700);
	ck_assert_int_eq(notify_answer(notify_fd, received.call.id, 0, 0), 0);
	expect_end();
	ck_assert_int_eq(shared->flags, FD_CLOEXEC);
}
END_TEST

START_TEST(the_kernel_chooses_the_number_of_an_injected_descriptor)
{
	int lowest = dup(STDERR_FILENO); /* the caller shares our descriptors */

	close(lowest);
	ck_assert_int_eq(notify_inject(notify_fd, received.call.id, STDERR_FILENO, -1), lowest);
	ck_assert_int_eq(fcntl(lowest, F_GETFD), FD_CLOEXEC);
}
END_TEST

START_TEST(a_call_is_valid_until_it_is_answered)
{
	ck_assert_int_eq(notify_answer(notify_fd, received.call.id, 0, 0), 0);
	ck_assert(!notify_is_valid(notify_fd, received.call.id));
	expect_end();
	ASSERT_FAILS(notify_answer(notify_fd, received.call.id, 0, 0), ENOENT);
	ASSERT_FAILS(notify_continue(notify_fd, received.call.id), ENOENT);
	ASSERT_FAILS(notify_inject(notify_fd, received.call.id, STDERR_FILENO, 700), ENOENT);
}
END_TEST

START_TEST(a_filter_is_unused_after_the_end_of_the_last_process)
{
	ck_assert(!notify_filter_is_unused(notify_fd));
	kill(caller, SIGKILL);
	ck_assert_int_eq(waitpid(caller, NULL, 0), caller);
	ck_assert(!notify_is_valid(notify_fd, received.call.id));
	ck_assert(notify_filter_is_unused(notify_fd));
	ASSERT_FAILS(notify_receive(notify_fd, &received), ENOENT);
}
END_TEST

/* A sandbox or a supervisor may make notifications impossible. */
static bool has_notifications(void)
{
	pid_t child;

	if (start_caller(&child) >= 0) {
		kill(child, SIGKILL);
		return waitpid(child, NULL, 0) == child;
	}
	printf("# SKIP the whole program: a filter with notifications cannot be installed\n");
	return false;
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("notify");
	TCase *cases = suite_cases(suite, "calls");

	if (!has_notifications())
		return suite;
	tcase_add_checked_fixture(cases, start, NULL);
	tcase_add_test(cases, our_structures_are_large_enough);
	tcase_add_test(cases, a_stopped_call_is_received);
	tcase_add_test(cases, the_call_returns_the_answer);
	tcase_add_test(cases, the_call_fails_with_the_error);
	tcase_add_test(cases, the_kernel_executes_the_call);
	tcase_add_test(cases, a_descriptor_is_injected);
	tcase_add_test(cases, the_kernel_chooses_the_number_of_an_injected_descriptor);
	tcase_add_test(cases, a_call_is_valid_until_it_is_answered);
	tcase_add_test(cases, a_filter_is_unused_after_the_end_of_the_last_process);
	return suite;
}
