#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "self.h"
#include "suite.h"

static int shares(void *about)
{
	(void)about;
	_exit(self_shares_memory());
}

/* The answer of a child that is made with these flags. */
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

START_TEST(memory_is_ours)
{
	ck_assert(!KEEPS_ERRNO(self_shares_memory()));
}
END_TEST

START_TEST(a_fork_has_its_own)
{
	int status;
	pid_t child;

	ck_assert(!self_shares_memory());
	child = fork();
	if (child == 0) {
		KEEPS_ERRNO_VOID(self_forked());
		_exit(self_shares_memory());
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* Whether the parent has asked before it or not. */
START_TEST(a_child_in_our_memory_shares_it)
{
	if (_i == 1)
		ck_assert(!self_shares_memory());
	ck_assert(child_shares(CLONE_VM | CLONE_VFORK));
	ck_assert(!self_shares_memory());
}
END_TEST

START_TEST(a_child_cloned_past_libc_has_its_own)
{
	if (_i == 1)
		ck_assert(!self_shares_memory());
	ck_assert(!child_shares(0));
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("self");
	TCase *cases = suite_cases(suite, "memory");

	tcase_add_test(cases, memory_is_ours);
	tcase_add_test(cases, a_fork_has_its_own);
	tcase_add_loop_test(cases, a_child_in_our_memory_shares_it, 0, 2);
	tcase_add_loop_test(cases, a_child_cloned_past_libc_has_its_own, 0, 2);
	return suite;
}
