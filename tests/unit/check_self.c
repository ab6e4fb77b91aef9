#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "self.h"
#include "suite.h"

static int shares(void *about)
{
	(void)about;
	_exit(self_shares_memory());
}

/* The result in a child that is created with these flags. */
static bool child_shares(int flags)
{
	static _Alignas(16) char stack[65536];
	int status;
	pid_t child = clone(shares, stack + sizeof(stack), flags | SIGCHLD, NULL);

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status) != 0;
}

START_TEST(a_process_has_its_own_memory)
{
	ck_assert(!KEEPS_ERRNO(self_shares_memory()));
}
END_TEST

static int shares_after_fork(const void *about)
{
	(void)about;
	KEEPS_ERRNO_VOID(self_after_fork_in_child());
	return self_shares_memory();
}

START_TEST(a_forked_child_has_its_own_memory)
{
	ck_assert(!self_shares_memory());
	ck_assert_int_eq(run_in_child(shares_after_fork, NULL), 0);
}
END_TEST

static int shares_after_fork_without_kcmp(const void *about)
{
	(void)about;
	self_after_fork_in_child();
	forbid(SYS_kcmp);
	return KEEPS_ERRNO(self_shares_memory());
}

/* The fork handler makes the child forget the parent's PID, so it does not need kcmp(2). */
START_TEST(a_forked_child_has_its_own_memory_without_kcmp)
{
	ck_assert(!self_shares_memory());
	ck_assert_int_eq(run_in_child(shares_after_fork_without_kcmp, NULL), 0);
}
END_TEST

/* Whether or not the parent has made the check before. */
START_TEST(a_child_that_shares_memory_is_detected)
{
	if (_i == 1)
		ck_assert(!self_shares_memory());
	ck_assert(child_shares(CLONE_VM | CLONE_VFORK));
	ck_assert(!self_shares_memory());
}
END_TEST

START_TEST(a_child_cloned_without_libc_has_its_own_memory)
{
	if (_i == 1)
		ck_assert(!self_shares_memory());
	ck_assert(!child_shares(0));
}
END_TEST

/* ---- the PID namespace ---- */

static uint64_t namespace_of(const char *link)
{
	struct stat found;

	ck_assert_int_eq(stat(link, &found), 0);
	return found.st_ino;
}

START_TEST(the_namespace_is_the_kernels)
{
	for (int i = 0; i < 2; i++) /* the second answer is cached */
		ck_assert_uint_eq(KEEPS_ERRNO(self_pid_namespace(getpid())),
			namespace_of("/proc/self/ns/pid"));
}
END_TEST

/* The child must not use the namespace that the parent has cached. Its /proc is the parent's. */
static int namespace_is_looked_up_again(void *about)
{
	_exit(self_pid_namespace(getpid()) == *(uint64_t *)about);
}

START_TEST(a_child_in_another_namespace_does_not_use_the_cached_one)
{
	static _Alignas(16) char stack[65536];
	uint64_t ours = self_pid_namespace(getpid());
	int status;
	pid_t child = clone(namespace_is_looked_up_again, stack + sizeof(stack),
		CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, &ours);

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_namespace_that_proc_does_not_show_is_unknown)
{
	forbid(CALL_FSTATAT);
	ck_assert_uint_eq(KEEPS_ERRNO(self_pid_namespace(getpid())), 0);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("self");
	TCase *cases = suite_cases(suite, "memory");

	tcase_add_test(cases, a_process_has_its_own_memory);
	tcase_add_test(cases, a_forked_child_has_its_own_memory);
	tcase_add_loop_test(cases, a_child_that_shares_memory_is_detected, 0, 2);
	tcase_add_loop_test(cases, a_child_cloned_without_libc_has_its_own_memory, 0, 2);
	cases = suite_cases(suite, "PID namespace");
	tcase_add_test(cases, the_namespace_is_the_kernels);
	if (suite_can_unshare(CLONE_NEWUSER | CLONE_NEWPID, "a child in another PID namespace"))
		tcase_add_test(cases, a_child_in_another_namespace_does_not_use_the_cached_one);
	cases = suite_cases(suite, "forbidden");
	tcase_add_test(cases, a_namespace_that_proc_does_not_show_is_unknown);
	tcase_add_test(cases, a_forked_child_has_its_own_memory_without_kcmp);
	return suite;
}
