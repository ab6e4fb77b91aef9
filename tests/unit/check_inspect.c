/* Tests of inspect: the capabilities of a worker. Only a worker of root has any. */
#include "inspect.h"

#include <linux/capability.h>
#include <stdio.h>

#include "suite.h"

#define CAP(name) (UINT64_C(1) << CAP_##name)

#define INSPECTION (CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH))
#define HIGH       (UINT64_C(1) << 35) /* CAP_WAKE_ALARM, in the second word */

struct capabilities {
	uint64_t effective;
	uint64_t permitted;
};

static struct capabilities read_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	syscall(SYS_capget, &header, data);
	return (struct capabilities){
		.effective = data[0].effective | (uint64_t)data[1].effective << 32,
		.permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
	};
}

static void expect(uint64_t effective, uint64_t permitted)
{
	struct capabilities found = read_capabilities();

	ck_assert_uint_eq(found.effective, effective);
	ck_assert_uint_eq(found.permitted, permitted);
}

START_TEST(before_it_is_confined_a_process_keeps_its_capabilities)
{
	struct capabilities ours = read_capabilities();

	KEEPS_ERRNO_VOID(inspect_begin());
	expect(ours.effective, ours.permitted);
	KEEPS_ERRNO_VOID(inspect_end());
	expect(ours.effective, ours.permitted);
}
END_TEST

START_TEST(a_confined_process_inspects_between_the_two_calls)
{
	const uint64_t mine = CAP(CHOWN) | HIGH;

	ck_assert(inspect_confine(mine));
	for (int i = 0; i < 2; i++) {
		expect(mine, mine | INSPECTION);
		KEEPS_ERRNO_VOID(inspect_begin());
		expect(mine | INSPECTION, mine | INSPECTION);
		KEEPS_ERRNO_VOID(inspect_begin());
		expect(mine | INSPECTION, mine | INSPECTION);
		KEEPS_ERRNO_VOID(inspect_end());
		expect(mine | INSPECTION, mine | INSPECTION);
		KEEPS_ERRNO_VOID(inspect_end());
	}
	expect(mine, mine | INSPECTION);
}
END_TEST

START_TEST(a_capability_that_is_missing_cannot_be_kept)
{
	ck_assert(inspect_confine(HIGH));
	ck_assert(!inspect_confine(CAP(CHOWN)));
	expect(HIGH, HIGH | INSPECTION);
	inspect_begin(); /* changes nothing, because the worker is not confined any more */
	expect(HIGH, HIGH | INSPECTION);
	inspect_end();
}
END_TEST

START_TEST(permitted_capabilities_are_made_effective)
{
	ck_assert(inspect_confine(HIGH));
	inspect_raise_permitted();
	expect(HIGH | INSPECTION, HIGH | INSPECTION);
}
END_TEST

/* A worker of an ordinary user has no capabilities, and gains none. */
static int confine(const void *about)
{
	(void)about;
	if (!inspect_confine(0) || inspect_confine(CAP(CHOWN)))
		return 1;
	inspect_begin();
	expect(0, 0);
	inspect_end();
	return 0;
}

START_TEST(a_user_without_capabilities_inspects_without_them)
{
	ck_assert_int_eq(run_as_stranger(confine, NULL), 0);
}
END_TEST

/* Root in a container may lack some of these. */
static bool has_needed_capabilities(void)
{
	const uint64_t needed = INSPECTION | CAP(CHOWN) | HIGH;

	if ((read_capabilities().effective & needed) == needed)
		return true;
	printf("# SKIP the other cases: capabilities are missing\n");
	return false;
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("inspect");
	TCase *cases = suite_cases(suite, "capabilities");

	tcase_add_test(cases, before_it_is_confined_a_process_keeps_its_capabilities);
	if (!suite_is_root("the other cases") || !has_needed_capabilities())
		return suite;
	tcase_add_test(cases, a_confined_process_inspects_between_the_two_calls);
	tcase_add_test(cases, a_capability_that_is_missing_cannot_be_kept);
	tcase_add_test(cases, permitted_capabilities_are_made_effective);
	tcase_add_test(cases, a_user_without_capabilities_inspects_without_them);
	return suite;
}
