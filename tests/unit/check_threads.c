#include <pthread.h>

#include "suite.h"
#include "threads.h"

static struct threads threads;

static void *enter(void *about)
{
	return threads_enter(&threads) ? about : NULL;
}

static void *look(void *about)
{
	return threads_have_others(&threads) && !threads_have_this(&threads) ? about : NULL;
}

/* Whether act returns something in another thread, which then ends. */
static bool in_another_thread(void *(*act)(void *about))
{
	pthread_t thread;
	void *result;

	ck_assert_int_eq(pthread_create(&thread, NULL, act, &threads), 0);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	return result != NULL;
}

START_TEST(a_thread_is_inside_until_it_leaves)
{
	ck_assert(!threads_have_this(&threads));
	ck_assert(!threads_have_any(&threads));
	ck_assert(threads_enter(&threads));
	ck_assert(threads_have_this(&threads));
	ck_assert(threads_have_any(&threads));
	ck_assert(!threads_have_others(&threads));
	ck_assert(in_another_thread(look));
	ck_assert(threads_leave(&threads));
	ck_assert(!threads_have_this(&threads));
	ck_assert(!in_another_thread(look));
	ck_assert(!threads_leave(&threads));
}
END_TEST

START_TEST(a_thread_leaves_as_often_as_it_entered)
{
	ck_assert(threads_enter(&threads));
	ck_assert(threads_enter(&threads));
	ck_assert(threads_leave(&threads));
	ck_assert(threads_have_this(&threads));
	ck_assert(threads_leave(&threads));
	ck_assert(!threads_have_this(&threads));
}
END_TEST

START_TEST(a_thread_does_not_leave_for_another)
{
	ck_assert(in_another_thread(enter));
	ck_assert(!threads_leave(&threads));
	ck_assert(threads_have_others(&threads));
	ck_assert(threads_have_any(&threads));
}
END_TEST

START_TEST(there_is_room_for_some)
{
	for (int i = 0; i < THREADS_ROOM; i++)
		ck_assert(threads_enter(&threads));
	ck_assert(!threads_enter(&threads));
	ck_assert(!in_another_thread(enter));
	ck_assert(threads_leave(&threads));
	ck_assert(in_another_thread(enter));
	ck_assert(threads_have_others(&threads)); /* in the last slot, or any other */
}
END_TEST

START_TEST(a_child_forgets_other_threads)
{
	ck_assert(in_another_thread(enter));
	ck_assert(threads_enter(&threads));
	ck_assert(in_another_thread(enter));
	ck_assert_uint_eq(threads_forget_others(&threads), 2);
	ck_assert(!threads_have_others(&threads));
	ck_assert(threads_have_this(&threads));
	ck_assert_uint_eq(threads_forget_others(&threads), 0);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("threads");
	TCase *cases = suite_cases(suite, "threads");

	tcase_add_test(cases, a_thread_is_inside_until_it_leaves);
	tcase_add_test(cases, a_thread_leaves_as_often_as_it_entered);
	tcase_add_test(cases, a_thread_does_not_leave_for_another);
	tcase_add_test(cases, there_is_room_for_some);
	tcase_add_test(cases, a_child_forgets_other_threads);
	return suite;
}
