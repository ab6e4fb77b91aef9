#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "record.h"
#include "self.h"
#include "suite.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

#define A_BOOT_ID "01234567-89ab-cdef-0123-456789abcdef"

static const struct record zero;

static struct record sample(void)
{
	struct record record = {
		.pid = 790,
		.uid = 33,
		.time = 1700000000,
		.uptime = 4711,
		.socket = 12345,
		.cookie = 678,
		.netns = 1,
		.pidns = 4026531836,
		.boot = A_BOOT_ID,
		.comm = "gunicorn",
	};

	return record;
}

static void assert_same(const struct record *a, const struct record *b)
{
	ck_assert_uint_eq(a->pid, b->pid);
	ck_assert_uint_eq(a->uid, b->uid);
	ck_assert_uint_eq(a->time, b->time);
	ck_assert_uint_eq(a->uptime, b->uptime);
	ck_assert_uint_eq(a->socket, b->socket);
	ck_assert_uint_eq(a->cookie, b->cookie);
	ck_assert_uint_eq(a->netns, b->netns);
	ck_assert_uint_eq(a->pidns, b->pidns);
	ck_assert_str_eq(a->boot, b->boot);
	ck_assert_str_eq(a->comm, b->comm);
	ck_assert_int_eq(a->leaving, b->leaving);
}

/* Formats and parses the record, and checks the bytes around the text. */
static void assert_round_trip(const struct record *record)
{
	char text[1 + RECORD_SIZE + 1];
	struct record read;

	memset(text, '#', sizeof(text));
	memset(&read, 0xff, sizeof(read));
	record_format(record, text + 1);
	ck_assert_int_eq(text[0], '#');
	ck_assert_int_eq(text[RECORD_SIZE + 1], '#');
	ck_assert(record_parse(&read, text + 1, RECORD_SIZE));
	assert_same(&read, record);
}

/* The parser must reject these bytes, and leave the record empty. */
static void assert_rejected(const char *text, size_t length)
{
	struct record read;

	memset(&read, 0xff, sizeof(read));
	ck_assert(!KEEPS_ERRNO(record_parse(&read, text, length)));
	ck_assert_mem_eq(&read, &zero, sizeof(read));
}

/* Makes a text of the right size that contains these lines. */
static void fill(char text[RECORD_SIZE], const char *lines)
{
	memset(text, ' ', RECORD_SIZE);
	memcpy(text, lines, strlen(lines));
	text[RECORD_SIZE - 1] = '\n';
}

static void assert_lines_rejected(const char *lines)
{
	char text[RECORD_SIZE];

	fill(text, lines);
	assert_rejected(text, sizeof(text));
}

/* ---- writing and reading ---- */

START_TEST(a_record_survives_format_and_parse)
{
	struct record record = sample();

	assert_round_trip(&record);
	assert_round_trip(&zero);
}
END_TEST

/* Fields have the kernel's widths: process IDs, user IDs and namespaces have 32 bits. */
START_TEST(every_field_at_its_widest_fits)
{
	struct record record = {
		.pid = UINT32_MAX,
		.uid = UINT32_MAX,
		.time = UINT64_MAX,
		.uptime = UINT64_MAX,
		.socket = UINT64_MAX,
		.cookie = UINT64_MAX,
		.netns = UINT64_MAX,
		.pidns = UINT32_MAX,
		.boot = A_BOOT_ID,
		.comm = "fifteen_letters",
	};

	ck_assert_uint_eq(strlen(record.comm), RECORD_COMM - 1);
	ck_assert_uint_eq(strlen(record.boot), RECORD_BOOT - 1);
	assert_round_trip(&record);
}
END_TEST

START_TEST(the_state_is_held_or_left)
{
	struct record record = sample();
	char text[RECORD_SIZE];

	record.leaving = true;
	assert_round_trip(&record);
	record_format(&record, text);
	ck_assert_mem_eq(text + RECORD_STATE_AT, RECORD_LEFT, strlen(RECORD_LEFT));
	record.leaving = false;
	assert_round_trip(&record);
	record_format(&record, text);
	ck_assert_mem_eq(text + RECORD_STATE_AT, RECORD_HELD, strlen(RECORD_HELD));
	ck_assert_uint_eq(strlen(RECORD_HELD), strlen(RECORD_LEFT));
}
END_TEST

/* Overwriting one word changes a record from one state to the other. */
START_TEST(one_word_changes_the_state)
{
	struct record record = sample();
	struct record read;
	char text[RECORD_SIZE];

	record_format(&record, text);
	memcpy(text + RECORD_STATE_AT, RECORD_LEFT, strlen(RECORD_LEFT));
	ck_assert(record_parse(&read, text, sizeof(text)));
	ck_assert(read.leaving);
	ck_assert_uint_eq(read.pid, record.pid);
	memcpy(text + RECORD_STATE_AT, RECORD_HELD, strlen(RECORD_HELD));
	ck_assert(record_parse(&read, text, sizeof(text)));
	ck_assert(!read.leaving);
	assert_same(&read, &record);
}
END_TEST

START_TEST(each_field_is_parsed_into_its_member)
{
	for (size_t at = 0; at < offsetof(struct record, boot); at += sizeof(uint64_t)) {
		struct record record = zero;
		uint64_t number = UINT64_MAX - at;

		memcpy((char *)&record + at, &number, sizeof(number));
		assert_round_trip(&record);
	}
}
END_TEST

/* It can be printed with cat(1): printable lines, padded, with a newline at the end. */
START_TEST(a_record_is_text)
{
	struct record record = sample();
	char text[RECORD_SIZE + 1] = {0};

	record_format(&record, text);
	ck_assert_uint_eq(strlen(text), RECORD_SIZE);
	ck_assert_int_eq(text[RECORD_SIZE - 1], '\n');
	ck_assert_int_eq(strncmp(text, "sockguard 1\n", 12), 0);
	ck_assert_ptr_nonnull(strstr(text, "\npid 790\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nuid 33\n"));
	ck_assert_ptr_nonnull(strstr(text, "\ncomm gunicorn\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nboot " A_BOOT_ID "\n"));
	for (size_t i = 0; i < RECORD_SIZE; i++)
		ck_assert(text[i] == '\n' || (text[i] >= ' ' && text[i] < 0x7f));
}
END_TEST

/* Otherwise a process with the name "x\npid 1" would look like another process. */
START_TEST(a_process_name_cannot_forge_a_field)
{
	struct record record = sample();
	struct record read;
	char text[RECORD_SIZE];

	strcpy(record.comm, "x\npid 1\n\033[\177\377");
	record_format(&record, text);
	for (size_t i = 0; i < RECORD_SIZE; i++)
		ck_assert(text[i] == '\n' || (text[i] >= ' ' && text[i] < 0x7f));
	ck_assert(record_parse(&read, text, sizeof(text)));
	ck_assert_uint_eq(read.pid, 790);
	ck_assert_uint_eq(strlen(read.comm), strlen(record.comm));
	ck_assert_int_eq(read.comm[0], 'x');
	ck_assert_ptr_null(strpbrk(read.comm, "\n\033\177\377"));
}
END_TEST

START_TEST(another_length_is_not_a_record)
{
	struct record record = sample();
	char text[2 * RECORD_SIZE] = {0};

	record_format(&record, text);
	assert_rejected(text, 0);
	assert_rejected(text, 1);
	assert_rejected(text, RECORD_SIZE - 1);
	assert_rejected(text, RECORD_SIZE + 1);
	assert_rejected(text, SIZE_MAX);
}
END_TEST

START_TEST(another_magic_is_not_a_record)
{
	assert_lines_rejected("");
	assert_lines_rejected("sockguard 2\npid 1\n");
	assert_lines_rejected("sockguard 10\npid 1\n");
	assert_lines_rejected("Sockguard 1\npid 1\n");
	assert_lines_rejected("\nsockguard 1\npid 1\n");
	assert_lines_rejected("1234\n"); /* a PID file */
}
END_TEST

/* After a crash, a file system may return zeros for data that was not written. */
START_TEST(zeros_are_not_a_record)
{
	char text[RECORD_SIZE] = {0};

	assert_rejected(text, sizeof(text));
	memset(text, 0xff, sizeof(text));
	assert_rejected(text, sizeof(text));
	memset(text, 0, sizeof(text));
	strcpy(text, "sockguard 1\npid 790\n");
	assert_rejected(text, sizeof(text));
}
END_TEST

START_TEST(an_invalid_number_invalidates_the_record)
{
	static const char *const lines[] = {"sockguard 1\npid \n", "sockguard 1\npid x\n",
		"sockguard 1\npid 1x\n", "sockguard 1\npid -1\n", "sockguard 1\npid  1\n",
		"sockguard 1\npid 1 \n", "sockguard 1\npid 18446744073709551616\n",
		"sockguard 1\npid 790\nuid \n", "sockguard 1\npid 790\nnetns 0x1\n"};

	assert_lines_rejected(lines[_i]);
}
END_TEST

START_TEST(a_word_too_long_for_its_field_invalidates_the_record)
{
	assert_lines_rejected("sockguard 1\npid 790\ncomm sixteen_letters_\n");
	assert_lines_rejected("sockguard 1\npid 790\nboot " A_BOOT_ID "0\n");
	assert_lines_rejected("sockguard 1\npid 790\ncomm "
			      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			      "a"
			      "aaaaaaaa\n");
}
END_TEST

/* Later versions may add fields. */
START_TEST(unknown_lines_are_ignored)
{
	char text[RECORD_SIZE];
	struct record read;

	fill(text, "sockguard 1\ncolour green\npid 790\npidx 5\npi 6\n\nuid 33\ncomm x\n");
	ck_assert(record_parse(&read, text, sizeof(text)));
	ck_assert_uint_eq(read.pid, 790);
	ck_assert_uint_eq(read.uid, 33);
	ck_assert_str_eq(read.comm, "x");
	ck_assert_uint_eq(read.socket, 0);
	ck_assert_str_eq(read.boot, "");
}
END_TEST

START_TEST(a_field_read_twice_leaves_nothing_of_the_first)
{
	char text[RECORD_SIZE];
	struct record read;

	fill(text, "sockguard 1\npid 790\ncomm long_name\ncomm x\n");
	ck_assert(record_parse(&read, text, sizeof(text)));
	ck_assert_str_eq(read.comm, "x");
	ck_assert_int_eq(read.comm[2], '\0');
}
END_TEST

/* For any bytes: no crash, terminated strings, and an empty record if they are rejected. */
START_TEST(garbage_does_no_harm)
{
	struct record record = sample();
	char text[RECORD_SIZE];
	struct record read;

	srandom(1);
	for (int round = 0; round < 20000; round++) {
		record_format(&record, text);
		for (int hits = round % 8; hits >= 0; hits--)
			text[random() % RECORD_SIZE] = (char)(random() % 256);
		if (!record_parse(&read, text, sizeof(text)))
			ck_assert_mem_eq(&read, &zero, sizeof(read));
		ck_assert_uint_lt(strnlen(read.comm, RECORD_COMM), RECORD_COMM);
		ck_assert_uint_lt(strnlen(read.boot, RECORD_BOOT), RECORD_BOOT);
	}
}
END_TEST

/* ---- this process ---- */

START_TEST(a_record_of_self_names_this_process)
{
	struct record record;
	time_t before = time(NULL);

	memset(&record, 0xff, sizeof(record));
	prctl(PR_SET_NAME, "a name");
	KEEPS_ERRNO_VOID(record_describe_caller(&record, -1));
	ck_assert_uint_eq(record.pid, (uint64_t)getpid());
	ck_assert_uint_eq(record.pidns, self_pid_namespace(getpid()));
	ck_assert_uint_eq(record.uid, geteuid());
	ck_assert_uint_ge(record.time, (uint64_t)before);
	ck_assert_uint_le(record.time, (uint64_t)time(NULL) + 1); /* time(2) lags by a tick */
	ck_assert_str_eq(record.comm, "a name");
	ck_assert_uint_eq(record.socket, 0);
	ck_assert_uint_eq(record.cookie, 0);
	ck_assert_uint_eq(record.netns, 0);
}
END_TEST

START_TEST(a_record_of_self_names_the_socket)
{
	struct record record;
	struct stat found;
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);
	int fd = bound_socket("s", SOCK_STREAM);

	KEEPS_ERRNO_VOID(record_describe_caller(&record, fd));
	ck_assert_int_eq(fstat(fd, &found), 0);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	ck_assert_uint_eq(record.socket, found.st_ino);
	ck_assert_uint_eq(record.cookie, cookie);
	ck_assert_uint_eq(record.netns, record_socket_netns(fd));
}
END_TEST

START_TEST(an_invalid_descriptor_is_not_a_socket)
{
	struct record record;

	KEEPS_ERRNO_VOID(record_describe_caller(&record, 1000));
	ck_assert_uint_eq(record.socket, 0);
	ck_assert_uint_eq(record.cookie, 0);
	ck_assert_uint_eq(KEEPS_ERRNO(record_socket_netns(1000)), 0);
	ck_assert_uint_eq(KEEPS_ERRNO(record_socket_netns(-1)), 0);
}
END_TEST

START_TEST(sockets_of_one_namespace_have_the_same_cookie)
{
	int a = bound_socket("a", SOCK_STREAM);
	int b = bound_socket("b", SOCK_DGRAM);

	ck_assert_uint_eq(KEEPS_ERRNO(record_socket_netns(a)), KEEPS_ERRNO(record_socket_netns(b)));
}
END_TEST

static int record_names_user(const void *about)
{
	struct record record;

	(void)about;
	record_describe_caller(&record, -1);
	return record.uid == STRANGER ? 0 : 1;
}

START_TEST(a_record_of_self_names_the_user)
{
	ck_assert_int_eq(run_as_stranger(record_names_user, NULL), 0);
}
END_TEST

START_TEST(a_record_of_self_names_a_socket_on_descriptor_0)
{
	struct record record;
	int fd = listening_socket("s", SOCK_STREAM);

	ck_assert_int_eq(dup2(fd, 0), 0);
	record_describe_caller(&record, 0);
	ck_assert_uint_ne(record.socket, 0);
	ck_assert(record_matches_socket(&record, fd));
}
END_TEST

static uint64_t uptime(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_BOOTTIME, &now), 0);
	return (uint64_t)now.tv_sec;
}

START_TEST(a_record_of_self_has_the_uptime)
{
	struct record record;
	uint64_t before = uptime();

	record_describe_caller(&record, -1);
	ck_assert_uint_ge(record.uptime, before);
	ck_assert_uint_le(record.uptime, uptime());
}
END_TEST

/* ---- has the binder ended? ---- */

static bool is_foreign(const struct record *record)
{
	return KEEPS_ERRNO(record_find_binder(record)) == BINDER_FOREIGN;
}

static bool has_ended(const struct record *record)
{
	return KEEPS_ERRNO(record_find_binder(record)) == BINDER_ENDED;
}

START_TEST(a_process_that_runs_has_not_ended)
{
	struct record record;

	record_describe_caller(&record, -1);
	ck_assert_int_eq(record_find_binder(&record), BINDER_EXISTS);
}
END_TEST

static int store_own_pid(const void *about)
{
	*(pid_t *)(uintptr_t)about = getpid();
	return 0;
}

START_TEST(a_process_that_is_gone_has_ended)
{
	struct record record;
	pid_t *pid =
		mmap(NULL, sizeof(*pid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	record_describe_caller(&record, -1);
	ck_assert_int_eq(run_in_child(store_own_pid, pid), 0);
	record.pid = (uint64_t)*pid;
	ck_assert(has_ended(&record));
	record.uptime = 0;
	ck_assert(has_ended(&record));
}
END_TEST

/* Another process, started after the record was written, has the PID. */
START_TEST(a_process_younger_than_the_record_is_another)
{
	struct record record;

	record_describe_caller(&record, -1);
	record.uptime = 1;
	ck_assert(has_ended(&record));
	record.uptime = 0; /* not known */
	ck_assert(!has_ended(&record));
}
END_TEST

/* The command in /proc/PID/stat may contain spaces and parentheses. */
START_TEST(the_start_time_is_found_after_any_command)
{
	struct record record;

	prctl(PR_SET_NAME, ") S 1 1 (x) 2");
	record_describe_caller(&record, -1);
	ck_assert(!has_ended(&record));
	record.uptime = 1;
	ck_assert(has_ended(&record));
}
END_TEST

START_TEST(a_process_on_another_host_is_unknown)
{
	struct record record;

	record_describe_caller(&record, -1);
	record.uptime = 1;
	strcpy(record.boot, A_BOOT_ID);
	ck_assert_int_eq(record_find_binder(&record), BINDER_UNKNOWN);
}
END_TEST

START_TEST(a_pid_of_another_namespace_is_foreign)
{
	struct record record;

	record_describe_caller(&record, -1);
	ck_assert(!is_foreign(&record));
	record.uptime = 1;
	ck_assert(has_ended(&record));
	record.pidns++;
	ck_assert(is_foreign(&record));
	ck_assert(!has_ended(&record));
	record.pidns = 0; /* not known */
	ck_assert(!is_foreign(&record));
	ck_assert(has_ended(&record));
}
END_TEST

static const int calls_that_read_proc[] = {SYS_openat, SYS_pread64};

/* /proc is not mounted, or hides the processes of other users. */
START_TEST(a_process_with_an_unknown_start_has_not_ended)
{
	struct record record;

	record_describe_caller(&record, -1);
	record.uptime = 1;
	ck_assert(has_ended(&record));
	forbid(calls_that_read_proc[_i]);
	ck_assert(!has_ended(&record));
}
END_TEST

START_TEST(invalid_pids_have_not_ended)
{
	struct record record = {.pid = 0};

	ck_assert(!has_ended(&record));
	record.pid = UINT64_C(1) << 32; /* not process 0, nor all of them */
	ck_assert(has_ended(&record));
	record.pid = UINT64_MAX;
	ck_assert(has_ended(&record));
}
END_TEST

static void read_boot_id(char boot[RECORD_BOOT])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, boot, RECORD_BOOT - 1), RECORD_BOOT - 1);
	boot[RECORD_BOOT - 1] = '\0';
	close(fd);
}

START_TEST(a_record_of_self_has_the_boot_id)
{
	struct record record;
	char boot[RECORD_BOOT];

	read_boot_id(boot);
	for (int i = 0; i < 3; i++) { /* it is remembered */
		record_describe_caller(&record, -1);
		ck_assert_str_eq(record.boot, boot);
		assert_round_trip(&record);
	}
}
END_TEST

START_TEST(a_record_of_self_is_not_of_another_boot)
{
	struct record record;

	record_describe_caller(&record, -1);
	ck_assert(!KEEPS_ERRNO(record_is_from_other_boot(&record)));
}
END_TEST

START_TEST(another_boot_id_is_detected)
{
	struct record record;

	record_describe_caller(&record, -1);
	record.boot[35] = record.boot[35] == '0' ? '1' : '0';
	ck_assert(KEEPS_ERRNO(record_is_from_other_boot(&record)));
	record = sample();
	ck_assert(KEEPS_ERRNO(record_is_from_other_boot(&record)));
}
END_TEST

START_TEST(the_origin_of_a_record_may_be_unknown)
{
	struct record record = sample();

	record.boot[0] = '\0';
	ck_assert(!KEEPS_ERRNO(record_is_from_other_boot(&record)));
}
END_TEST

START_TEST(a_record_matches_only_its_socket)
{
	struct record record;
	int fd = bound_socket("s", SOCK_STREAM);
	int other = bound_socket("t", SOCK_STREAM);

	record_describe_caller(&record, fd);
	ck_assert(KEEPS_ERRNO(record_matches_socket(&record, fd)));
	ck_assert(!KEEPS_ERRNO(record_matches_socket(&record, other)));
	ck_assert(!KEEPS_ERRNO(record_matches_socket(&record, -1)));
	record.boot[0] =
		record.boot[0] == '0' ? '1' : '0'; /* as in a container: the cookie alone decides */
	ck_assert(KEEPS_ERRNO(record_matches_socket(&record, fd)));
	record_describe_caller(&record, -1);
	ck_assert(!KEEPS_ERRNO(record_matches_socket(&record, -1)));
}
END_TEST

START_TEST(no_descriptor_is_left_open)
{
	struct record record;
	int before = count_descriptors();

	record_describe_caller(&record, -1);
	record_is_from_other_boot(&record);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* Without a free descriptor the boot id is unknown; later it is found. */
START_TEST(running_out_of_descriptors_is_not_an_error)
{
	struct record record;
	char boot[RECORD_BOOT];
	int spare = use_up_descriptors();

	KEEPS_ERRNO_VOID(record_describe_caller(&record, -1));
	ck_assert_str_eq(record.boot, "");
	ck_assert(!KEEPS_ERRNO(record_is_from_other_boot(&record)));
	close(spare);
	read_boot_id(boot);
	record_describe_caller(&record, -1);
	ck_assert_str_eq(record.boot, boot);
	use_up_descriptors();
	record_describe_caller(&record, -1);
	ck_assert_str_eq(record.boot, boot); /* read once in a process */
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("record");
	TCase *text = suite_cases(suite, "text");
	TCase *self = suite_cases(suite, "self");
	TCase *forbidden = suite_cases(suite, "forbidden");

	ADD_ROOT_TEST(self, a_record_of_self_names_the_user);
	tcase_add_test(self, a_record_of_self_names_a_socket_on_descriptor_0);
	tcase_add_test(text, a_record_survives_format_and_parse);
	tcase_add_test(text, every_field_at_its_widest_fits);
	tcase_add_test(text, the_state_is_held_or_left);
	tcase_add_test(text, one_word_changes_the_state);
	tcase_add_test(text, each_field_is_parsed_into_its_member);
	tcase_add_test(text, a_record_is_text);
	tcase_add_test(text, a_process_name_cannot_forge_a_field);
	tcase_add_test(text, another_length_is_not_a_record);
	tcase_add_test(text, another_magic_is_not_a_record);
	tcase_add_test(text, zeros_are_not_a_record);
	tcase_add_loop_test(text, an_invalid_number_invalidates_the_record, 0, 9);
	tcase_add_test(text, a_word_too_long_for_its_field_invalidates_the_record);
	tcase_add_test(text, unknown_lines_are_ignored);
	tcase_add_test(text, a_field_read_twice_leaves_nothing_of_the_first);
	tcase_add_test(text, garbage_does_no_harm);
	tcase_add_test(self, a_record_of_self_names_this_process);
	tcase_add_test(self, a_record_of_self_names_the_socket);
	tcase_add_test(self, an_invalid_descriptor_is_not_a_socket);
	tcase_add_test(self, sockets_of_one_namespace_have_the_same_cookie);
	tcase_add_test(self, a_record_of_self_has_the_boot_id);
	tcase_add_test(self, a_record_of_self_has_the_uptime);
	tcase_add_test(self, a_process_that_runs_has_not_ended);
	tcase_add_test(self, a_process_that_is_gone_has_ended);
	tcase_add_test(self, a_process_younger_than_the_record_is_another);
	tcase_add_test(self, the_start_time_is_found_after_any_command);
	tcase_add_test(self, a_process_on_another_host_is_unknown);
	tcase_add_test(self, a_pid_of_another_namespace_is_foreign);
	tcase_add_test(self, invalid_pids_have_not_ended);
	tcase_add_loop_test(forbidden, a_process_with_an_unknown_start_has_not_ended, 0, 2);
	tcase_add_test(self, a_record_of_self_is_not_of_another_boot);
	tcase_add_test(self, another_boot_id_is_detected);
	tcase_add_test(self, the_origin_of_a_record_may_be_unknown);
	tcase_add_test(self, a_record_matches_only_its_socket);
	tcase_add_test(self, no_descriptor_is_left_open);
	tcase_add_test(self, running_out_of_descriptors_is_not_an_error);
	return suite;
}
