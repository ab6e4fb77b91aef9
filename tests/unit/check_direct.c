/* Tests of direct: system calls without libc. */
#include "direct.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "suite.h"

static long result;

#if (defined(__x86_64__) || defined(__aarch64__)) && defined(__LP64__)
START_TEST(a_result_is_returned_and_errno_is_left_alone)
{
	const long none[6] = {0};
	const long lowest[6] = {STDIN_FILENO, 700, 0};

	ck_assert(KEEPS_ERRNO(direct_syscall(SYS_getpid, none, &result)));
	ck_assert_int_eq(result, getpid());
	ck_assert(KEEPS_ERRNO(direct_syscall(SYS_dup3, lowest, &result)));
	ck_assert_int_eq(result, 700);
}
END_TEST

START_TEST(a_failed_call_sets_errno)
{
	const long closed[6] = {-1};
	const long unknown[6] = {0};

	errno = 0;
	ck_assert(direct_syscall(SYS_close, closed, &result));
	ck_assert_int_eq(result, -1);
	ck_assert_int_eq(errno, EBADF);
	ck_assert(direct_syscall(4000, unknown, &result));
	ck_assert_int_eq(result, -1);
	ck_assert_int_eq(errno, ENOSYS);
}
END_TEST

/* mmap(2) has six arguments. This call maps the second page of the file. */
START_TEST(all_six_arguments_are_passed)
{
	long page = sysconf(_SC_PAGESIZE);
	long words[6] = {0, page, PROT_READ, MAP_PRIVATE, 0, page};
	int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	words[4] = fd;
	ck_assert_int_eq(pwrite(fd, "second", 7, page), 7);
	ck_assert(KEEPS_ERRNO(direct_syscall(SYS_mmap, words, &result)));
	ck_assert_str_eq((const char *)result, "second");
}
END_TEST

/* lseek(2) on /proc/self/mem accepts and returns any number, because offsets are addresses. */
START_TEST(a_negative_result_need_not_be_an_error)
{
	long words[6] = {open("/proc/self/mem", O_RDONLY | O_CLOEXEC), 0, SEEK_SET};
	static const long offsets[] = {LONG_MIN, -10000, -4096};

	for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		words[1] = offsets[i];
		ck_assert(KEEPS_ERRNO(direct_syscall(SYS_lseek, words, &result)));
		ck_assert_int_eq(result, offsets[i]);
	}
	words[1] = -4095; /* the lowest number that is an error */
	ck_assert(direct_syscall(SYS_lseek, words, &result));
	ck_assert_int_eq(result, -1);
	ck_assert_int_eq(errno, 4095);
}
END_TEST

static void add_tests(TCase *cases)
{
	tcase_add_test(cases, a_result_is_returned_and_errno_is_left_alone);
	tcase_add_test(cases, a_failed_call_sets_errno);
	tcase_add_test(cases, all_six_arguments_are_passed);
	tcase_add_test(cases, a_negative_result_need_not_be_an_error);
}
#else
START_TEST(on_this_architecture_no_call_is_made)
{
	const long closed[6] = {STDIN_FILENO};

	ck_assert(!KEEPS_ERRNO(direct_syscall(SYS_close, closed, &result)));
	ck_assert_int_ge(fcntl(STDIN_FILENO, F_GETFD), 0);
}
END_TEST

static void add_tests(TCase *cases)
{
	tcase_add_test(cases, on_this_architecture_no_call_is_made);
}
#endif

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("direct");

	add_tests(suite_cases(suite, "direct calls"));
	return suite;
}
