#include <stdint.h>

#include "scratch.h"
#include "suite.h"

START_TEST(memory_is_zero_and_errno_is_unchanged)
{
	char *memory = KEEPS_ERRNO(scratch_allocate(100000));

	ck_assert_ptr_nonnull(memory);
	for (size_t i = 0; i < 100000; i++)
		ck_assert_int_eq(memory[i], 0);
	KEEPS_ERRNO_VOID(scratch_free(memory, 100000));
}
END_TEST

/* mmap(2) fails with ENOMEM and EINVAL. */
START_TEST(errno_is_unchanged_if_there_is_no_memory)
{
	ck_assert_ptr_null(KEEPS_ERRNO(scratch_allocate(SIZE_MAX / 2)));
	KEEPS_ERRNO_VOID(scratch_free(NULL, 0));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("scratch");
	TCase *cases = suite_cases(suite, "memory");

	tcase_add_test(cases, memory_is_zero_and_errno_is_unchanged);
	tcase_add_test(cases, errno_is_unchanged_if_there_is_no_memory);
	return suite;
}
