/* Tests of starttime: the start time in /proc/PID/stat. */
#include "starttime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "suite.h"

/* The fields 3 to 21 of a "stat" file, which precede the start time. */
#define BETWEEN "S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21"

START_TEST(the_22nd_field_is_the_start_time)
{
	ck_assert_uint_eq(starttime_in("1 (init) " BETWEEN " 4711 23 24"), 4711);
	ck_assert_uint_eq(starttime_in("1 (init) " BETWEEN " 4711"), 4711);
}
END_TEST

START_TEST(a_command_may_contain_parentheses_and_spaces)
{
	ck_assert_uint_eq(starttime_in("1 (a) b ( 1 2) " BETWEEN " 4711 23"), 4711);
	ck_assert_uint_eq(starttime_in("1 ()) " BETWEEN " 4711 23"), 4711);
}
END_TEST

START_TEST(a_text_without_the_field_has_none)
{
	ck_assert_uint_eq(starttime_in(""), 0);
	ck_assert_uint_eq(starttime_in("1 2 3"), 0);
	ck_assert_uint_eq(starttime_in("1 (init) " BETWEEN), 0);
	ck_assert_uint_eq(starttime_in("1 (init) " BETWEEN " "), 0);
	ck_assert_uint_eq(starttime_in("1 (init)"), 0);
}
END_TEST

static void do_nothing(const void *about)
{
	(void)about;
}

/* Reads the start time with fscanf, for comparison. */
static unsigned long long read_start(pid_t pid)
{
	char path[64], started[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file,
				 "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d "
				 "%*d %*d %*d %*d %*d %31s",
				 started),
		1);
	fclose(file);
	return strtoull(started, NULL, 10);
}

START_TEST(a_process_has_a_start_time_while_it_exists)
{
	pid_t child = start_child(do_nothing, NULL);
	int descriptors = count_descriptors();

	ck_assert_uint_gt(starttime_of(child), 0);
	ck_assert_uint_eq(KEEPS_ERRNO(starttime_of(child)), read_start(child));
	ck_assert_uint_eq(starttime_of(getpid()), read_start(getpid()));
	kill_child(child);
	ck_assert_uint_eq(KEEPS_ERRNO(starttime_of(child)), 0);
	ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

START_TEST(descriptor_0_is_closed_too)
{
	close(STDIN_FILENO);
	ck_assert_uint_gt(starttime_of(getpid()), 0);
	ck_assert_int_lt(dup2(STDIN_FILENO, 900), 0);
	ck_assert_uint_eq(starttime_of(getpid()), read_start(getpid()));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("starttime");
	TCase *cases = suite_cases(suite, "start times");

	tcase_add_test(cases, the_22nd_field_is_the_start_time);
	tcase_add_test(cases, a_command_may_contain_parentheses_and_spaces);
	tcase_add_test(cases, a_text_without_the_field_has_none);
	tcase_add_test(cases, a_process_has_a_start_time_while_it_exists);
	tcase_add_test(cases, descriptor_0_is_closed_too);
	return suite;
}
