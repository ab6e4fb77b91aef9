/* Tests of members: what other processes read of a supervisor. */
#include "members.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "suite.h"
#include "target.h"

/* Finds the shared memory through /proc/PID/fd, as other processes do. Returns -1 if absent. */
static int find_memory(void)
{
	char path[64], link[64];

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, link, sizeof(link) - 1);
		link[length > 0 ? length : 0] = '\0';
		if (strstr(link, "memfd:" MEMBERS_NAME))
			return fd;
	}
	return -1;
}

static const struct members *map_members(void)
{
	int fd = find_memory();
	struct stat found;
	void *memory;

	ck_assert_int_ge(fd, TARGET_HIGH);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &found), 0);
	ck_assert_int_eq(found.st_size, sizeof(struct members));
	memory = mmap(NULL, sizeof(struct members), PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

/* Returns the time since boot in hundredths of a second. */
static uint64_t read_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 100 + (uint64_t)now.tv_nsec / 10000000;
}

START_TEST(the_program_and_the_settings_are_recorded)
{
	const struct members *members;
	uint64_t before = read_clock();

	config.only = "/run/*";
	config.ignore = "/run/x:/run/y";
	members_create(4711);
	members = map_members();
	ck_assert_int_eq(MEMBER_TID(members->program), 4711);
	ck_assert_uint_ge(MEMBER_WHEN(members->program), before);
	ck_assert_uint_le(MEMBER_WHEN(members->program), read_clock());
	ck_assert_str_eq(members->only, "/run/*");
	ck_assert_str_eq(members->ignore, "/run/x:/run/y");
}
END_TEST

START_TEST(settings_that_are_not_set_are_empty)
{
	const struct members *members;

	members_create(1);
	members = map_members();
	ck_assert_str_eq(members->only, "");
	ck_assert_str_eq(members->ignore, "");
}
END_TEST

START_TEST(callers_and_binders_are_recorded_by_their_ids)
{
	const struct members *members;
	uint64_t before = read_clock();

	members_create(4711);
	members = map_members();
	members_record_caller(MEMBERS_SLOTS + 5);
	members_record_caller(1);
	members_record_binder(MEMBERS_SLOTS - 1);
	ck_assert_int_eq(MEMBER_TID(members->caller[5]), MEMBERS_SLOTS + 5);
	ck_assert_uint_ge(MEMBER_WHEN(members->caller[5]), before);
	ck_assert_int_eq(MEMBER_TID(members->caller[1]), 1);
	ck_assert_int_eq(MEMBER_TID(members->binder[MEMBERS_SLOTS - 1]), MEMBERS_SLOTS - 1);
	ck_assert_uint_eq(members->caller[MEMBERS_SLOTS - 1], 0);
	ck_assert_uint_eq(members->binder[5], 0);
	members_record_caller(5);
	ck_assert_int_eq(MEMBER_TID(members->caller[5]), 5);
}
END_TEST

static int record_in_child(const void *about)
{
	(void)about;
	members_record_binder(9);
	return 0;
}

START_TEST(the_memory_is_shared_with_forks)
{
	const struct members *members;

	members_create(4711);
	members = map_members();
	ck_assert_int_eq(run_in_child(record_in_child, NULL), 0);
	ck_assert_int_eq(MEMBER_TID(members->binder[9]), 9);
}
END_TEST

/* A thread outside the supervisor's PID namespace has ID 0 there. */
START_TEST(a_thread_without_id_is_not_recorded)
{
	const struct members *members;

	members_create(4711);
	members = map_members();
	members_record_caller(0);
	members_record_binder(0);
	ck_assert_uint_eq(members->caller[0], 0);
	ck_assert_uint_eq(members->binder[0], 0);
}
END_TEST

START_TEST(without_memory_nothing_is_recorded)
{
	int last = use_up_descriptors();

	members_create(4711);
	members_record_caller(5);
	members_record_binder(5);
	close(last);
	ck_assert_int_eq(find_memory(), -1);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("members");
	TCase *cases = suite_cases(suite, "members");

	tcase_add_test(cases, the_program_and_the_settings_are_recorded);
	tcase_add_test(cases, settings_that_are_not_set_are_empty);
	tcase_add_test(cases, callers_and_binders_are_recorded_by_their_ids);
	tcase_add_test(cases, the_memory_is_shared_with_forks);
	tcase_add_test(cases, a_thread_without_id_is_not_recorded);
	tcase_add_test(cases, without_memory_nothing_is_recorded);
	return suite;
}
