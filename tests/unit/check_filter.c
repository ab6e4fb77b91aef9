#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "filter.h"
#include "kernel.h"
#include "suite.h"
#include "threads.h"

/* The system call that the filters of these tests forbid, and their result for it. */
#define TESTED_CALL SYS_getppid
#define REFUSED     (SECCOMP_RET_ERRNO | 77)

#define LOAD(field)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(action)      BPF_STMT(BPF_RET | BPF_K, action)
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)

#define LOW(argument)                                                                              \
	(offsetof(struct seccomp_data, args) + 8 * (unsigned int)(argument) +                      \
		(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))

static int install(struct sock_filter *code, size_t length)
{
	const struct sock_fprog program = {.len = (unsigned short)length, .filter = code};
	struct filter_installation attempt;
	int result;

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	attempt = KEEPS_ERRNO(filter_install_begin(false));
	result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	KEEPS_ERRNO_VOID(filter_install_end(attempt, result == 0, &program));
	return result;
}

static bool kernel_allows(const uint64_t *arguments)
{
	errno = 0;
	syscall(TESTED_CALL, arguments[0], arguments[1], arguments[2], 0, 0, 0);
	return errno == 0;
}

START_TEST(without_filters_every_call_is_allowed)
{
	ck_assert(!filter_is_known());
	ck_assert(KEEPS_ERRNO(filter_allows(TESTED_CALL, (const uint64_t[6]){0})));
}
END_TEST

START_TEST(a_filter_forbids_a_call_by_its_number)
{
	struct sock_filter code[] = {
		LOAD(nr), UNLESS(TESTED_CALL, 1), RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(code, 4), 0);
	ck_assert(filter_is_known());
	ck_assert(!KEEPS_ERRNO(filter_allows(TESTED_CALL, (const uint64_t[6]){0})));
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
	struct sock_filter code[] = {LOAD(nr), UNLESS(TESTED_CALL, 1), RETURN(actions[_i].action),
		RETURN(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(code, 4), 0);
	ck_assert_int_eq(filter_allows(TESTED_CALL, (const uint64_t[6]){0}), actions[_i].allows);
}
END_TEST

START_TEST(a_filter_may_return_a_computed_action)
{
	struct sock_filter code[] = {LOAD(nr), UNLESS(TESTED_CALL, 2),
		BPF_STMT(BPF_LD | BPF_IMM, REFUSED), BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_A, 0)};

	ck_assert_int_eq(install(code, 6), 0);
	ck_assert(!kernel_allows((const uint64_t[6]){0}));
	ck_assert(!filter_allows(TESTED_CALL, (const uint64_t[6]){0}));
	ck_assert(filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

static int make_tested_call(void *about)
{
	(void)about;
	_exit(kernel_allows((const uint64_t[6]){0}));
}

/* The kernel kills the thread, and the guard must not make the call. */
START_TEST(a_division_by_zero_forbids)
{
	struct sock_filter code[] = {LOAD(nr), UNLESS(TESTED_CALL, 2),
		BPF_STMT(BPF_LDX | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
		RETURN(SECCOMP_RET_ALLOW)};
	int status;

	ck_assert_int_eq(install(code, 5), 0);
	status = run_in_clone(0, make_tested_call, NULL);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	ck_assert(!filter_allows(TESTED_CALL, (const uint64_t[6]){0}));
	ck_assert(filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

static struct filter_installation begin_without_memory(void)
{
	struct filter_installation attempt;

	forbid_memory();
	attempt = KEEPS_ERRNO(filter_install_begin(false));
	ck_assert_ptr_null(attempt.memory);
	return attempt;
}

/* The filter is in force, but its copy is not available. */
START_TEST(a_filter_that_could_not_be_copied_allows_no_call)
{
	struct filter_installation attempt = begin_without_memory();

	KEEPS_ERRNO_VOID(filter_install_end(attempt, true, NULL));
	filter_after_fork_in_child();
	ck_assert(filter_is_known());
	ck_assert(!filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

START_TEST(without_memory_a_filter_that_the_kernel_rejected_does_not_count)
{
	struct filter_installation attempt = begin_without_memory();

	KEEPS_ERRNO_VOID(filter_install_end(attempt, false, NULL));
	ck_assert(!filter_is_known());
	ck_assert(filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

START_TEST(one_of_two_filters_suffices_to_forbid)
{
	struct sock_filter close[] = {
		LOAD(nr), UNLESS(SYS_close, 1), RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW)};
	struct sock_filter judged[] = {
		LOAD(nr), UNLESS(TESTED_CALL, 1), RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(close, 4), 0);
	ck_assert_int_eq(install(judged, 4), 0);
	ck_assert(!filter_allows(TESTED_CALL, (const uint64_t[6]){0}));
	ck_assert(!filter_allows(SYS_close, (const uint64_t[6]){0}));
	ck_assert(filter_allows(SYS_openat, (const uint64_t[6]){0}));
}
END_TEST

START_TEST(a_filter_that_the_kernel_rejected_does_not_count)
{
	struct sock_filter code[] = {LOAD(nr)}; /* which has no return */

	ck_assert_int_eq(install(code, 1), -1);
	ck_assert(!filter_is_known());
	ck_assert(filter_allows(TESTED_CALL, (const uint64_t[6]){0}));
}
END_TEST

/* The memory that was unmapped last, and how often memory was unmapped. */
static void *unmapped;
static int unmappings;

static long note_unmapping(long number, const long arguments[6])
{
	long result = make_call(number, arguments);

	if (number == SYS_munmap) {
		unmapped = (void *)arguments[0];
		unmappings++;
	}
	return result;
}

START_TEST(only_the_memory_of_a_rejected_filter_is_unmapped)
{
	struct filter_installation attempt = filter_install_begin(false);

	ck_assert_ptr_nonnull(attempt.memory);
	replace_system_calls(note_unmapping);
	filter_install_end(attempt, false, NULL);
	ck_assert_ptr_eq(unmapped, attempt.memory);
	ck_assert_int_eq(unmappings, 1);
	filter_install_end(filter_install_begin(false), true, NULL);
	ck_assert_int_eq(unmappings, 1);
}
END_TEST

START_TEST(without_memory_nothing_is_unmapped)
{
	struct filter_installation attempt = begin_without_memory();

	replace_system_calls(note_unmapping);
	filter_install_end(attempt, false, NULL);
	ck_assert_int_eq(unmappings, 0);
}
END_TEST

/* The guard then cannot unmap the memory, and errno is that of the program's own call. */
START_TEST(errno_is_kept_if_the_memory_cannot_be_unmapped)
{
	struct sock_filter code[] = {
		LOAD(nr), UNLESS(SYS_munmap, 1), RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW)};
	struct filter_installation attempt;

	ck_assert_int_eq(install(code, 4), 0);
	attempt = filter_install_begin(false);
	KEEPS_ERRNO_VOID(filter_install_end(attempt, false, NULL));
}
END_TEST

START_TEST(while_a_filter_is_being_installed_no_call_is_allowed)
{
	struct filter_installation attempt = filter_install_begin(false);

	ck_assert(filter_is_known());
	ck_assert(!filter_allows(SYS_close, (const uint64_t[6]){0}));
	filter_install_end(attempt, false, NULL);
	ck_assert(filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

/* ---- forks ---- */

static bool is_allowed(void)
{
	return KEEPS_ERRNO(filter_allows(SYS_close, (const uint64_t[6]){0}));
}

/* An installation that another thread has begun, and has not ended. */
static struct filter_installation elsewhere;

static void *begin(void *for_all)
{
	elsewhere = filter_install_begin(for_all != NULL);
	return NULL;
}

static void begin_elsewhere(bool for_all)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, begin, for_all ? &elsewhere : NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(!is_allowed());
}

static int knows_no_filter(const void *about)
{
	(void)about;
	KEEPS_ERRNO_VOID(filter_after_fork_in_child());
	return is_allowed() && !filter_is_known();
}

START_TEST(a_forked_child_has_no_filter_that_another_thread_was_installing)
{
	begin_elsewhere(false);
	begin_elsewhere(false);
	ck_assert_int_eq(run_in_child(knows_no_filter, NULL), 1);
	ck_assert(!is_allowed()); /* in the parent */
}
END_TEST

/* The kernel may have applied it to the thread that forked. */
START_TEST(a_forked_child_may_have_a_filter_for_all_threads)
{
	begin_elsewhere(true);
	ck_assert_int_eq(run_in_child(knows_no_filter, NULL), 0);
	filter_install_end(elsewhere, false, NULL);
	ck_assert(is_allowed());
	ck_assert(!filter_is_known());
}
END_TEST

/* It continues where the signal handler that forked interrupted the thread. */
static int continues_installation(const void *attempt)
{
	KEEPS_ERRNO_VOID(filter_after_fork_in_child());
	if (is_allowed() || !filter_is_known())
		return 1;
	filter_install_end(*(const struct filter_installation *)attempt, false, NULL);
	return is_allowed() && !filter_is_known() ? 0 : 2;
}

START_TEST(a_forked_child_continues_the_installation_of_its_thread)
{
	struct filter_installation attempt = filter_install_begin(_i == 1);

	begin_elsewhere(false);
	ck_assert_int_eq(run_in_child(continues_installation, &attempt), 0);
}
END_TEST

START_TEST(a_forked_child_has_the_filters_of_its_parent)
{
	struct sock_filter code[] = {
		LOAD(nr), UNLESS(TESTED_CALL, 1), RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(code, 4), 0);
	begin_elsewhere(false);
	filter_after_fork_in_child();
	ck_assert(is_allowed());
	ck_assert(!filter_allows(TESTED_CALL, (const uint64_t[6]){0}));
	ck_assert(filter_is_known());
}
END_TEST

START_TEST(more_threads_may_install_filters_than_are_listed)
{
	struct filter_installation attempts[THREADS_ROOM + 1];

	for (int i = 0; i <= THREADS_ROOM; i++)
		attempts[i] = filter_install_begin(false);
	for (int i = 0; i <= THREADS_ROOM; i++) {
		ck_assert(!is_allowed());
		filter_install_end(attempts[i], false, NULL);
	}
	ck_assert(is_allowed());
	ck_assert(!filter_is_known());
}
END_TEST

START_TEST(strict_mode_allows_no_call)
{
	filter_install_end(filter_install_begin(false), true, NULL);
	ck_assert(!filter_allows(SYS_close, (const uint64_t[6]){0}));
}
END_TEST

/* Otherwise errno would be the filter's errno. */
START_TEST(a_forbidden_call_is_not_made)
{
	struct sock_filter code[] = {
		LOAD(nr), UNLESS(SYS_openat, 1), RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW)};

	ck_assert_int_eq(install(code, 4), 0);
	ASSERT_FAILS(kernel_open(AT_FDCWD, ".", O_RDONLY, 0), ENOSYS);
}
END_TEST

/* ---- random programs: the kernel and the library must evaluate them alike ---- */

static uint32_t state;

/* xorshift32 */
static uint32_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state >> 1;
}

static uint32_t random_operand(void)
{
	static const uint32_t boundaries[] = {
		0, 1, 2, 31, 0xff, 0xffff, 0x7fffffff, 0x80000000, ~0U};

	return next_random() % 2 ? boundaries[next_random() % 9] : next_random() << 1;
}

/* A random valid instruction. It may jump over the `following` instructions. */
static struct sock_filter random_instruction(int following)
{
	static const uint16_t operations[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_AND, BPF_OR, BPF_XOR};
	static const uint16_t jumps[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};
	const uint16_t source = next_random() % 2 ? BPF_X : BPF_K;
	uint32_t k = random_operand();

	switch (next_random() % 12) {
	case 0:
		return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			(uint32_t)LOW(next_random() % 3));
	case 1:
		return (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, k);
	case 2:
		return (struct sock_filter)BPF_STMT(BPF_LDX | BPF_IMM, k);
	case 3:
		return (struct sock_filter)BPF_STMT((next_random() % 2 ? BPF_LD : BPF_LDX) |
							    BPF_MEM,
			(uint32_t)(next_random() % 4));
	case 4:
		return (struct sock_filter)BPF_STMT(next_random() % 2 ? BPF_ST : BPF_STX,
			(uint32_t)(next_random() % 4));
	case 5:
		return (struct sock_filter)BPF_STMT(BPF_MISC |
							    (next_random() % 2 ? BPF_TAX : BPF_TXA),
			0);
	case 6:
		return (struct sock_filter)
			BPF_STMT(BPF_ALU | (next_random() % 2 ? BPF_LSH : BPF_RSH) | source,
				k % 32);
	case 7:
		return (struct sock_filter)BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, k | 1);
	case 8:
		return (struct sock_filter)BPF_STMT((next_random() % 2 ? BPF_LD | BPF_W | BPF_LEN
								       : BPF_ALU | BPF_NEG),
			0);
	case 9:
		return (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA,
			(uint32_t)(next_random() % (uint32_t)following));
	case 10:
		return (struct sock_filter)
			BPF_STMT((uint16_t)(BPF_ALU | operations[next_random() % 6] | source), k);
	default:
		return (struct sock_filter)BPF_JUMP((uint16_t)(BPF_JMP | jumps[next_random() % 4] |
							       source),
			k, (uint8_t)(next_random() % (uint32_t)following),
			(uint8_t)(next_random() % (uint32_t)following));
	}
}

enum { PROLOGUE = 10, BODY = 24, EPILOGUE = 3, WHOLE = PROLOGUE + BODY + EPILOGUE };

/* Allows any other call. For the tested call, the lowest bit of the random result decides. */
static void random_program(struct sock_filter *code)
{
	const struct sock_filter begin[PROLOGUE] = {LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TESTED_CALL, 1, 0), RETURN(SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_ST, 1), BPF_STMT(BPF_ST, 2), BPF_STMT(BPF_ST, 3),
		BPF_STMT(BPF_LDX | BPF_IMM, 7), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(0)),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1)};
	const struct sock_filter end[EPILOGUE] = {BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1),
		RETURN(REFUSED), RETURN(SECCOMP_RET_ALLOW)};

	memcpy(code, begin, sizeof(begin));
	for (int i = 0; i < BODY; i++)
		code[PROLOGUE + i] = random_instruction(BODY - i);
	memcpy(code + PROLOGUE + BODY, end, sizeof(end));
}

/* Returns the number of results that differ, or 100 if the kernel rejected the program. */
static int differences(unsigned int seed)
{
	struct sock_filter code[WHOLE];
	int differ = 0;

	state = seed * 2654435761U;
	random_program(code);
	if (install(code, WHOLE) != 0)
		return 100;
	for (int i = 0; i < 32; i++) {
		const uint64_t arguments[6] = {
			random_operand(), random_operand(), random_operand()};

		differ += kernel_allows(arguments) != filter_allows(TESTED_CALL, arguments);
	}
	return differ;
}

START_TEST(results_are_the_same_as_the_kernels)
{
	int accepted = 0;

	for (unsigned int seed = 1; seed <= 300; seed++) {
		int status;
		pid_t child = fork();

		if (child == 0)
			_exit(differences(seed));
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(WIFEXITED(status), "seed %u", seed);
		ck_assert_msg(WEXITSTATUS(status) % 100 == 0, "seed %u", seed);
		accepted += WEXITSTATUS(status) == 0;
	}
	ck_assert_int_gt(accepted, 250);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("filter");
	TCase *cases = suite_cases(suite, "filters");
	TCase *random = suite_cases(suite, "random filters");

	tcase_add_test(cases, without_filters_every_call_is_allowed);
	tcase_add_test(cases, a_filter_forbids_a_call_by_its_number);
	tcase_add_loop_test(cases, every_action_but_allow_and_log_forbids, 0, 7);
	tcase_add_test(cases, a_filter_may_return_a_computed_action);
	tcase_add_test(cases, a_division_by_zero_forbids);
	tcase_add_test(cases, a_filter_that_could_not_be_copied_allows_no_call);
	tcase_add_test(cases, without_memory_a_filter_that_the_kernel_rejected_does_not_count);
	tcase_add_test(cases, one_of_two_filters_suffices_to_forbid);
	tcase_add_test(cases, a_filter_that_the_kernel_rejected_does_not_count);
	tcase_add_test(cases, only_the_memory_of_a_rejected_filter_is_unmapped);
	tcase_add_test(cases, without_memory_nothing_is_unmapped);
	tcase_add_test(cases, errno_is_kept_if_the_memory_cannot_be_unmapped);
	tcase_add_test(cases, while_a_filter_is_being_installed_no_call_is_allowed);
	tcase_add_test(cases, a_forked_child_has_no_filter_that_another_thread_was_installing);
	tcase_add_test(cases, a_forked_child_may_have_a_filter_for_all_threads);
	tcase_add_loop_test(cases, a_forked_child_continues_the_installation_of_its_thread, 0, 2);
	tcase_add_test(cases, a_forked_child_has_the_filters_of_its_parent);
	tcase_add_test(cases, more_threads_may_install_filters_than_are_listed);
	tcase_add_test(cases, strict_mode_allows_no_call);
	tcase_add_test(cases, a_forbidden_call_is_not_made);
	tcase_add_test(random, results_are_the_same_as_the_kernels);
	return suite;
}
