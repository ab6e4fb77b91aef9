/* Tests of unguarded: the processes that the supervisor has reported as unguarded. */
#include "unguarded.h"

#include <pthread.h>
#include <signal.h>

#include "suite.h"

static void init(void)
{
	ck_assert(unguarded_init());
}

static void do_nothing(const void *about)
{
	(void)about;
}

START_TEST(a_process_is_recorded_once)
{
	pid_t one = start_child(do_nothing, NULL);
	pid_t other = start_child(do_nothing, NULL);

	ck_assert(!unguarded_is_reported(one));
	ck_assert(unguarded_record(one));
	ck_assert(unguarded_is_reported(one));
	ck_assert(!unguarded_record(one));
	ck_assert(unguarded_is_reported(one));
	ck_assert(!unguarded_is_reported(other));
	ck_assert(unguarded_record(other));
	ck_assert(unguarded_is_reported(one));
}
END_TEST

static int record_parent(const void *about)
{
	(void)about;
	return unguarded_record(getppid()) ? 0 : 1;
}

START_TEST(forks_share_the_record)
{
	ck_assert_int_eq(run_in_child(record_parent, NULL), 0);
	ck_assert(unguarded_is_reported(getpid()));
	ck_assert_int_eq(run_in_child(record_parent, NULL), 1);
}
END_TEST

static void *record_from_thread(void *about)
{
	return unguarded_record((pid_t)syscall(SYS_gettid)) ? about : NULL;
}

START_TEST(a_thread_counts_as_its_process)
{
	static int recorded;
	pthread_t thread;
	void *result;

	ck_assert_int_eq(pthread_create(&thread, NULL, record_from_thread, &recorded), 0);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_eq(result, &recorded);
	ck_assert(unguarded_is_reported(getpid()));
}
END_TEST

/* The start time counts as well, and /proc does not show it for a process that has ended. */
START_TEST(a_pid_alone_does_not_identify_a_process)
{
	pid_t child = start_child(do_nothing, NULL);

	ck_assert(unguarded_record(child));
	kill_child(child);
	ck_assert(!unguarded_is_reported(child));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("unguarded");
	TCase *cases = suite_cases(suite, "unguarded");

	tcase_add_checked_fixture(cases, init, NULL);
	tcase_add_test(cases, a_process_is_recorded_once);
	tcase_add_test(cases, forks_share_the_record);
	tcase_add_test(cases, a_thread_counts_as_its_process);
	tcase_add_test(cases, a_pid_alone_does_not_identify_a_process);
	return suite;
}
