/* Tests of siphash. */
#include "siphash.h"

#include "suite.h"

/* The entry for 8 bytes in vectors.h of the reference implementation. */
START_TEST(the_reference_vector_is_reproduced)
{
	static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

	ck_assert_uint_eq(siphash(key, UINT64_C(0x0706050403020100)), UINT64_C(0x93f5f5799a932462));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("siphash");
	TCase *cases = suite_cases(suite, "siphash");

	tcase_add_test(cases, the_reference_vector_is_reproduced);
	return suite;
}
