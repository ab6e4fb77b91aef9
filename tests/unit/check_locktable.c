#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "locktable.h"
#include "suite.h"

static int fd;
static unsigned int dev;
static uint64_t ino;

static int make_file(const char *name)
{
	int made = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(made, 0);
	return made;
}

static void lock_bytes(int file, short type, uint32_t first, uint32_t count)
{
	ck_assert_int_ge(kernel_lock(file, F_OFD_SETLK, type, first, count), 0);
}

/* Asks repeatedly: while other processes of the machine release locks, an answer may be wrong. */
static bool has(uint64_t first, uint64_t excluded_end)
{
	for (int i = 0; i < 10; i++)
		if (KEEPS_ERRNO(locktable_has_shared_lock(dev, ino, first, excluded_end)))
			return true;
	return false;
}

/* Locks a file, and reads its device and number from fdinfo, as the kernel prints them. */
static void make_locked_file(void)
{
	char name[64], text[1024] = {0};
	char *at;
	int info;

	fd = make_file("locked");
	lock_bytes(fd, F_RDLCK, 3, 5);
	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	info = open(name, O_RDONLY | O_CLOEXEC);
	ck_assert_int_gt(read(info, text, sizeof(text) - 1), 0);
	close(info);
	at = strstr(text, "READ "); /* then: PID MAJOR:MINOR:INODE */
	ck_assert_ptr_nonnull(at);
	at = strchr(at + strlen("READ "), ' ');
	ck_assert_ptr_nonnull(at);
	dev = (unsigned int)strtoul(at, &at, 16) << 20;
	dev |= (unsigned int)strtoul(at + 1, &at, 16);
	ino = strtoull(at + 1, NULL, 10);
}

START_TEST(a_shared_lock_is_found_by_its_bytes)
{
	int before = count_descriptors();

	ck_assert(has(3, 0));
	ck_assert(has(3, 8));
	ck_assert(!has(3, 7));
	ck_assert(!has(2, 0));
	ck_assert(!has(4, 0));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(other_locks_are_not_found)
{
	const struct flock posix = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 5};

	lock_bytes(fd, F_WRLCK, 3, 5);
	ck_assert(!has(3, 0));
	lock_bytes(fd, F_UNLCK, 3, 5);
	lock_bytes(fd, F_RDLCK, 3, 1);
	ck_assert(!has(3, 0));
	lock_bytes(fd, F_RDLCK, 3, 0); /* to the end of the file, which the table shows as EOF */
	ck_assert(!has(3, 0));
	lock_bytes(fd, F_UNLCK, 0, 0);
	ck_assert_int_eq(fcntl(fd, F_SETLK, &posix), 0);
	ck_assert(!has(3, 0));
}
END_TEST

START_TEST(a_file_is_identified_by_device_and_number)
{
	dev ^= 1;
	ck_assert(!has(3, 0));
	dev ^= 1 ^ (1 << 20);
	ck_assert(!has(3, 0));
	dev ^= 1 << 20;
	ck_assert(has(3, 0));
	ino += 10;
	ck_assert(!has(3, 0));
	ino = (ino - 10) % 10; /* only the last digit */
	ck_assert(!has(3, 0));
}
END_TEST

/* Reading the table takes several calls, which cut some of its lines. */
START_TEST(one_among_many_locks_is_found)
{
	for (int i = 0; i < 400; i++) {
		char name[16];

		snprintf(name, sizeof(name), "other%d", i);
		lock_bytes(make_file(name), F_RDLCK, 3, 5);
		if (i == 200) { /* so that the lock is neither first nor last */
			lock_bytes(fd, F_UNLCK, 3, 5);
			lock_bytes(fd, F_RDLCK, 3, 5);
		}
	}
	ck_assert(has(3, 0));
	lock_bytes(fd, F_UNLCK, 3, 5);
	ck_assert(!has(3, 0));
}
END_TEST

/* The read(2) that returns the line of the lock ends within it. The next one returns the rest. */
static long read_in_two(long number, const long arguments[6])
{
	static char rest[4096];
	static size_t kept;
	char *text = (char *)arguments[1];
	char end[48], *cut;
	long result;

	if (number == SYS_read && kept > 0) {
		result = (long)kept;
		ck_assert_uint_le(kept, (size_t)arguments[2]);
		memcpy(text, rest, kept);
		kept = 0;
		return result;
	}
	result = make_call(number, arguments);
	if (number != SYS_read || result <= 0)
		return result;
	snprintf(end, sizeof(end), ":%llu 3 7\n", (unsigned long long)ino);
	cut = memmem(text, (size_t)result, end, strlen(end));
	if (!cut || cut == text)
		return result;
	kept = (size_t)(text + result - cut);
	memcpy(rest, cut, kept);
	return cut - text;
}

START_TEST(a_line_that_is_read_in_two_pieces_is_found)
{
	/* The latest lock comes first, so other lines precede that of our lock. */
	for (int i = 0; i < 20; i++) {
		char name[32];

		snprintf(name, sizeof(name), "other%d", i);
		lock_bytes(make_file(name), F_WRLCK, 0, 1);
	}
	replace_system_calls(read_in_two);
	ck_assert(has(3, 0));
	ck_assert(!has(3, 7));
	lock_bytes(fd, F_UNLCK, 3, 5);
	ck_assert(!has(3, 0));
}
END_TEST

START_TEST(without_descriptors_or_memory_a_lock_may_exist)
{
	lock_bytes(fd, F_UNLCK, 3, 5);
	ck_assert(!has(3, 0));
	if (_i == 0)
		use_up_descriptors();
	else if (_i == 1)
		forbid_memory();
	else
		forbid_with(SYS_read, ENOMEM);
	ck_assert(has(3, 0));
}
END_TEST

START_TEST(without_the_table_no_lock_is_found)
{
	forbid_with(_i == 0 ? SYS_openat : SYS_read, _i == 0 ? ENOENT : EACCES);
	ck_assert(!has(3, 0));
}
END_TEST

/* Acts as if the table had no end. */
static long endless_read(long number, const long arguments[6])
{
	if (number != SYS_read)
		return make_call(number, arguments);
	memset((char *)arguments[1], '\n', (size_t)arguments[2]);
	return arguments[2];
}

START_TEST(a_table_without_an_end_is_not_read_for_ever)
{
	replace_system_calls(endless_read);
	ck_assert(!has(3, 0));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("locktable");
	TCase *cases = suite_cases(suite, "locks");

	tcase_add_checked_fixture(cases, make_locked_file, NULL);
	tcase_add_test(cases, a_shared_lock_is_found_by_its_bytes);
	tcase_add_test(cases, other_locks_are_not_found);
	tcase_add_test(cases, a_file_is_identified_by_device_and_number);
	tcase_add_test(cases, one_among_many_locks_is_found);
	tcase_add_test(cases, a_line_that_is_read_in_two_pieces_is_found);
	tcase_add_test(cases, a_table_without_an_end_is_not_read_for_ever);
	cases = suite_cases(suite, "forbidden");
	tcase_add_checked_fixture(cases, make_locked_file, NULL);
	tcase_add_loop_test(cases, without_descriptors_or_memory_a_lock_may_exist, 0, 3);
	tcase_add_loop_test(cases, without_the_table_no_lock_is_found, 0, 2);
	return suite;
}
