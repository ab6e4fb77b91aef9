#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "filter.h"
#include "kernel.h"
#include "suite.h"

/* The call that the filters of these tests judge by its arguments, and what they answer. */
#define JUDGED  SYS_getppid
#define REFUSED (SECCOMP_RET_ERRNO | 77)

#define LOAD(field)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(action)      BPF_STMT(BPF_RET | BPF_K, action)
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)

#define LOW(argument)                                                                              \
	(offsetof(struct seccomp_data, args) + 8 * (unsigned int)(argument) +                      \
		(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))

static int install(struct sock_filter *code, size_t length)
{
	const struct sock_fprog program = {.len = (unsigned short)length, .filter = code};
	struct filter_attempt attempt;
	int result;

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	attempt = KEEPS_ERRNO(filter_begin());
	result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	KEEPS_ERRNO_VOID(filter_end(attempt, result == 0, &program));
	return result;
}

static bool kernel_lets_pass(const uint64_t *arguments)
{
	errno = 0;
	syscall(JUDGED, arguments[0], arguments[1], arguments[2], 0, 0, 0);
	return errno == 0;
}

START_TEST(without_filters_all_is_allowed)
{
	ck_assert(!filter_any());
	ck_assert(KEEPS_ERRNO(filter_allows(JUDGED, (const uint64_t[6]){0})));
}
END_TEST

START_TEST(a_filter_judges_by_number)
{
	struct sock_filter code[] = {
		LOAD(nr), UNLESS(JUDGED, 1), ANSWER(REFUSED), ANSWER(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(code, 4), 0);
	ck_assert(filter_any());
	ck_assert(!KEEPS_ERRNO(filter_allows(JUDGED, (const uint64_t[6]){0})));
	ck_assert(filter_allows(SYS_close, (const uint64_t[6]){0}));
	ck_assert_int_ne(kernel_pid(), 0);
}
END_TEST

START_TEST(every_action_but_allow_and_log_forbids)
{
	static const struct {
		unsigned int action;
		bool allows;
	} actions[] = {
		{SECCOMP_RET_ALLOW, true},
		{SECCOMP_RET_LOG, true},
		{SECCOMP_RET_ERRNO, false},
		{SECCOMP_RET_TRAP, false},
		{SECCOMP_RET_TRACE, false},
		{SECCOMP_RET_KILL_THREAD, false},
		{SECCOMP_RET_KILL_PROCESS, false},
	};
	struct sock_filter code[] = {
		LOAD(nr), UNLESS(JUDGED, 1), ANSWER(actions[_i].action), ANSWER(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(code, 4), 0);
	ck_assert_int_eq(filter_allows(JUDGED, (const uint64_t[6]){0}), actions[_i].allows);
}
END_TEST

START_TEST(one_of_two_filters_suffices_to_forbid)
{
	struct sock_filter close[] = {
		LOAD(nr), UNLESS(SYS_close, 1), ANSWER(REFUSED), ANSWER(SECCOMP_RET_ALLOW)};
	struct sock_filter judged[] = {
		LOAD(nr), UNLESS(JUDGED, 1), ANSWER(REFUSED), ANSWER(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(close, 4), 0);
	ck_assert_int_eq(install(judged, 4), 0);
	ck_assert(!filter_allows(JUDGED, (const uint64_t[6]){0}));
	ck_assert(!filter_allows(SYS_close, (const uint64_t[6]){0}));
	ck_assert(filter_allows(SYS_openat, (const uint64_t[6]){0}));
}
END_TEST

START_TEST(a_filter_that_was_refused_does_not_count)
{
	struct sock_filter code[] = {LOAD(nr)}; /* which has no return */

	ck_assert_int_eq(install(code, 1), -1);
	ck_assert(!filter_any());
	ck_assert(filter_allows(JUDGED, (const uint64_t[6]){0}));
}
END_TEST

START_TEST(while_one_is_installed_nothing_is_allowed)
{
	struct filter_attempt attempt = filter_begin();

	ck_assert(filter_any());
	ck_assert(!filter_allows(SYS_close, (const uint64_t[6]){0}));
	filter_end(attempt, false, NULL);
	ck_assert(filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

START_TEST(strict_mode_allows_nothing)
{
	filter_end(filter_begin(), true, NULL);
	ck_assert(!filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

/* Otherwise errno would be the filter's. */
START_TEST(a_forbidden_call_is_not_made)
{
	struct sock_filter code[] = {
		LOAD(nr), UNLESS(SYS_openat, 1), ANSWER(REFUSED), ANSWER(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(code, 4), 0);
	ASSERT_FAILS(kernel_open(AT_FDCWD, ".", O_RDONLY, 0), ENOSYS);
}
END_TEST

/* ---- random programs, judged by the kernel and by us ---- */

static uint32_t state;

/* xorshift32 */
static uint32_t next(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state >> 1;
}

static uint32_t any_number(void)
{
	static const uint32_t often[] = {0, 1, 2, 31, 0xff, 0xffff, 0x7fffffff, 0x80000000, ~0U};

	return next() % 2 ? often[next() % 9] : next() << 1;
}

/* An instruction that the kernel accepts, with so many behind it that may be jumped over. */
static struct sock_filter any_instruction(int behind)
{
	static const uint16_t operations[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_AND, BPF_OR, BPF_XOR};
	static const uint16_t jumps[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};
	const uint16_t source = next() % 2 ? BPF_X : BPF_K;
	uint32_t k = any_number();

	switch (next() % 12) {
	case 0:
		return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			(uint32_t)LOW(next() % 3));
	case 1:
		return (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, k);
	case 2:
		return (struct sock_filter)BPF_STMT(BPF_LDX | BPF_IMM, k);
	case 3:
		return (struct sock_filter)BPF_STMT((next() % 2 ? BPF_LD : BPF_LDX) | BPF_MEM,
			(uint32_t)(next() % 4));
	case 4:
		return (struct sock_filter)BPF_STMT(next() % 2 ? BPF_ST : BPF_STX,
			(uint32_t)(next() % 4));
	case 5:
		return (struct sock_filter)BPF_STMT(BPF_MISC | (next() % 2 ? BPF_TAX : BPF_TXA), 0);
	case 6:
		return (struct sock_filter)BPF_STMT(BPF_ALU | (next() % 2 ? BPF_LSH : BPF_RSH) |
							    source,
			k % 32);
	case 7:
		return (struct sock_filter)BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, k | 1);
	case 8:
		return (struct sock_filter)BPF_STMT((next() % 2 ? BPF_LD | BPF_W | BPF_LEN
								: BPF_ALU | BPF_NEG),
			0);
	case 9:
		return (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA,
			(uint32_t)(next() % (uint32_t)behind));
	case 10:
		return (struct sock_filter)
			BPF_STMT((uint16_t)(BPF_ALU | operations[next() % 6] | source), k);
	default:
		return (struct sock_filter)BPF_JUMP((uint16_t)(BPF_JMP | jumps[next() % 4] |
							       source),
			k, (uint8_t)(next() % (uint32_t)behind),
			(uint8_t)(next() % (uint32_t)behind));
	}
}

enum { PROLOGUE = 10, BODY = 24, EPILOGUE = 3, WHOLE = PROLOGUE + BODY + EPILOGUE };

/* Any other call passes; of this one the lowest bit of what comes out decides. */
static void any_program(struct sock_filter *code)
{
	const struct sock_filter begin[PROLOGUE] = {LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, JUDGED, 1, 0), ANSWER(SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_ST, 1), BPF_STMT(BPF_ST, 2), BPF_STMT(BPF_ST, 3),
		BPF_STMT(BPF_LDX | BPF_IMM, 7), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(0)),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1)};
	const struct sock_filter end[EPILOGUE] = {BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1),
		ANSWER(REFUSED), ANSWER(SECCOMP_RET_ALLOW)};

	memcpy(code, begin, sizeof(begin));
	for (int i = 0; i < BODY; i++)
		code[PROLOGUE + i] = any_instruction(BODY - i);
	memcpy(code + PROLOGUE + BODY, end, sizeof(end));
}

/* How many answers differ; or 100 where the kernel did not take the program. */
static int differences(unsigned int seed)
{
	struct sock_filter code[WHOLE];
	int differ = 0;

	state = seed * 2654435761U;
	any_program(code);
	if (install(code, WHOLE) != 0)
		return 100;
	for (int i = 0; i < 32; i++) {
		const uint64_t arguments[6] = {any_number(), any_number(), any_number()};

		differ += kernel_lets_pass(arguments) != filter_allows(JUDGED, arguments);
	}
	return differ;
}

START_TEST(the_kernel_judges_the_same)
{
	int taken = 0;

	for (unsigned int seed = 1; seed <= 300; seed++) {
		int status;
		pid_t child = fork();

		if (child == 0)
			_exit(differences(seed));
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(WIFEXITED(status), "seed %u", seed);
		ck_assert_msg(WEXITSTATUS(status) % 100 == 0, "seed %u", seed);
		taken += WEXITSTATUS(status) == 0;
	}
	ck_assert_int_gt(taken, 250);
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("filter");
	TCase *cases = suite_cases(suite, "filters");
	TCase *random = suite_cases(suite, "random filters");

	tcase_add_test(cases, without_filters_all_is_allowed);
	tcase_add_test(cases, a_filter_judges_by_number);
	tcase_add_loop_test(cases, every_action_but_allow_and_log_forbids, 0, 7);
	tcase_add_test(cases, one_of_two_filters_suffices_to_forbid);
	tcase_add_test(cases, a_filter_that_was_refused_does_not_count);
	tcase_add_test(cases, while_one_is_installed_nothing_is_allowed);
	tcase_add_test(cases, strict_mode_allows_nothing);
	tcase_add_test(cases, a_forbidden_call_is_not_made);
	tcase_add_test(random, the_kernel_judges_the_same);
	return suite;
}
