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
	ck_assert_str_eq(a->boot, b->boot);
	ck_assert_str_eq(a->comm, b->comm);
	ck_assert_int_eq(a->left, b->left);
}

/* Writes and reads, with an eye on the bytes around the text. */
static void assert_round_trip(const struct record *record)
{
	char text[1 + RECORD_SIZE + 1];
	struct record read;

	memset(text, '#', sizeof(text));
	memset(&read, 0xff, sizeof(read));
	record_write(record, text + 1);
	ck_assert_int_eq(text[0], '#');
	ck_assert_int_eq(text[RECORD_SIZE + 1], '#');
	ck_assert(record_read(&read, text + 1, RECORD_SIZE));
	assert_same(&read, record);
}

/* Must say no to these bytes, and leave nothing behind. */
static void assert_refused(const char *text, size_t length)
{
	struct record read;

	memset(&read, 0xff, sizeof(read));
	ck_assert(!KEEPS_ERRNO(record_read(&read, text, length)));
	ck_assert_mem_eq(&read, &zero, sizeof(read));
}

/* A text of the right size with these lines in it. */
static void fill(char text[RECORD_SIZE], const char *lines)
{
	memset(text, ' ', RECORD_SIZE);
	memcpy(text, lines, strlen(lines));
	text[RECORD_SIZE - 1] = '\n';
}

static void assert_lines_refused(const char *lines)
{
	char text[RECORD_SIZE];

	fill(text, lines);
	assert_refused(text, sizeof(text));
}

/* ---- writing and reading ---- */

START_TEST(a_record_comes_back_as_it_was)
{
	struct record record = sample();

	assert_round_trip(&record);
	assert_round_trip(&zero);
}
END_TEST

START_TEST(every_field_at_its_widest_fits)
{
	struct record record = {
		.pid = UINT64_MAX,
		.uid = UINT64_MAX,
		.time = UINT64_MAX,
		.uptime = UINT64_MAX,
		.socket = UINT64_MAX,
		.cookie = UINT64_MAX,
		.netns = UINT64_MAX,
		.boot = A_BOOT_ID,
		.comm = "fifteen_letters",
	};

	ck_assert_uint_eq(strlen(record.comm), RECORD_COMM - 1);
	ck_assert_uint_eq(strlen(record.boot), RECORD_BOOT - 1);
	assert_round_trip(&record);
}
END_TEST

START_TEST(a_name_is_held_or_left)
{
	struct record record = sample();
	char text[RECORD_SIZE];

	record.left = true;
	assert_round_trip(&record);
	record_write(&record, text);
	ck_assert_mem_eq(text + RECORD_NAME_AT, RECORD_LEFT, strlen(RECORD_LEFT));
	record.left = false;
	assert_round_trip(&record);
	record_write(&record, text);
	ck_assert_mem_eq(text + RECORD_NAME_AT, RECORD_HELD, strlen(RECORD_HELD));
	ck_assert_uint_eq(strlen(RECORD_HELD), strlen(RECORD_LEFT));
}
END_TEST

/* One word over the other makes a record of the one a record of the other. */
START_TEST(a_name_is_left_by_a_word)
{
	struct record record = sample();
	struct record read;
	char text[RECORD_SIZE];

	record_write(&record, text);
	memcpy(text + RECORD_NAME_AT, RECORD_LEFT, strlen(RECORD_LEFT));
	ck_assert(record_read(&read, text, sizeof(text)));
	ck_assert(read.left);
	ck_assert_uint_eq(read.pid, record.pid);
	memcpy(text + RECORD_NAME_AT, RECORD_HELD, strlen(RECORD_HELD));
	ck_assert(record_read(&read, text, sizeof(text)));
	ck_assert(!read.left);
	assert_same(&read, &record);
}
END_TEST

START_TEST(each_field_goes_to_its_own_place)
{
	for (size_t at = 0; at < offsetof(struct record, boot); at += sizeof(uint64_t)) {
		struct record record = zero;
		uint64_t number = UINT64_MAX - at;

		memcpy((char *)&record + at, &number, sizeof(number));
		assert_round_trip(&record);
	}
}
END_TEST

/* cat(1) shows it: lines of printable text, filled up, with a newline at the end. */
START_TEST(a_record_is_text)
{
	struct record record = sample();
	char text[RECORD_SIZE + 1] = {0};

	record_write(&record, text);
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

/* Or a process could call itself "x\npid 1" and be taken for another. */
START_TEST(a_name_cannot_forge_a_field)
{
	struct record record = sample();
	struct record read;
	char text[RECORD_SIZE];

	strcpy(record.comm, "x\npid 1\n\033[\177\377");
	record_write(&record, text);
	for (size_t i = 0; i < RECORD_SIZE; i++)
		ck_assert(text[i] == '\n' || (text[i] >= ' ' && text[i] < 0x7f));
	ck_assert(record_read(&read, text, sizeof(text)));
	ck_assert_uint_eq(read.pid, 790);
	ck_assert_uint_eq(strlen(read.comm), strlen(record.comm));
	ck_assert_int_eq(read.comm[0], 'x');
	ck_assert_ptr_null(strpbrk(read.comm, "\n\033\177\377"));
}
END_TEST

START_TEST(another_length_is_no_record)
{
	struct record record = sample();
	char text[2 * RECORD_SIZE] = {0};

	record_write(&record, text);
	assert_refused(text, 0);
	assert_refused(text, 1);
	assert_refused(text, RECORD_SIZE - 1);
	assert_refused(text, RECORD_SIZE + 1);
	assert_refused(text, SIZE_MAX);
}
END_TEST

START_TEST(another_magic_is_no_record)
{
	assert_lines_refused("");
	assert_lines_refused("sockguard 2\npid 1\n");
	assert_lines_refused("sockguard 10\npid 1\n");
	assert_lines_refused("Sockguard 1\npid 1\n");
	assert_lines_refused("\nsockguard 1\npid 1\n");
	assert_lines_refused("1234\n"); /* somebody's pid file */
}
END_TEST

/* What a file system shows of a file whose bytes never came to the disk. */
START_TEST(zeros_are_no_record)
{
	char text[RECORD_SIZE] = {0};

	assert_refused(text, sizeof(text));
	memset(text, 0xff, sizeof(text));
	assert_refused(text, sizeof(text));
	memset(text, 0, sizeof(text));
	strcpy(text, "sockguard 1\npid 790\n");
	assert_refused(text, sizeof(text));
}
END_TEST

START_TEST(a_number_that_is_none_spoils_the_record)
{
	static const char *const lines[] = {"sockguard 1\npid \n", "sockguard 1\npid x\n",
		"sockguard 1\npid 1x\n", "sockguard 1\npid -1\n", "sockguard 1\npid  1\n",
		"sockguard 1\npid 1 \n", "sockguard 1\npid 18446744073709551616\n",
		"sockguard 1\npid 790\nuid \n", "sockguard 1\npid 790\nnetns 0x1\n"};

	assert_lines_refused(lines[_i]);
}
END_TEST

START_TEST(a_word_too_long_for_its_field_spoils_the_record)
{
	assert_lines_refused("sockguard 1\npid 790\ncomm sixteen_letters_\n");
	assert_lines_refused("sockguard 1\npid 790\nboot " A_BOOT_ID "0\n");
	assert_lines_refused("sockguard 1\npid 790\ncomm "
			     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			     "aaaaaaaa\n");
}
END_TEST

/* A later version may have more to tell. */
START_TEST(unknown_lines_are_passed_over)
{
	char text[RECORD_SIZE];
	struct record read;

	fill(text, "sockguard 1\ncolour green\npid 790\npidx 5\npi 6\n\nuid 33\ncomm x\n");
	ck_assert(record_read(&read, text, sizeof(text)));
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
	ck_assert(record_read(&read, text, sizeof(text)));
	ck_assert_str_eq(read.comm, "x");
	ck_assert_int_eq(read.comm[2], '\0');
}
END_TEST

/* Whatever the bytes: no crash, words terminated, and zero where the answer is no. */
START_TEST(garbage_does_no_harm)
{
	struct record record = sample();
	char text[RECORD_SIZE];
	struct record read;

	srandom(1);
	for (int round = 0; round < 20000; round++) {
		record_write(&record, text);
		for (int hits = round % 8; hits >= 0; hits--)
			text[random() % RECORD_SIZE] = (char)(random() % 256);
		if (!record_read(&read, text, sizeof(text)))
			ck_assert_mem_eq(&read, &zero, sizeof(read));
		ck_assert_uint_lt(strnlen(read.comm, RECORD_COMM), RECORD_COMM);
		ck_assert_uint_lt(strnlen(read.boot, RECORD_BOOT), RECORD_BOOT);
	}
}
END_TEST

/* ---- this process ---- */

START_TEST(a_record_of_self_tells_of_this_process)
{
	struct record record;
	time_t before = time(NULL);

	memset(&record, 0xff, sizeof(record));
	prctl(PR_SET_NAME, "a name");
	KEEPS_ERRNO_VOID(record_of_self(&record, -1));
	ck_assert_uint_eq(record.pid, (uint64_t)getpid());
	ck_assert_uint_eq(record.uid, geteuid());
	ck_assert_uint_ge(record.time, (uint64_t)before);
	ck_assert_uint_le(record.time, (uint64_t)time(NULL));
	ck_assert_str_eq(record.comm, "a name");
	ck_assert_uint_eq(record.socket, 0);
	ck_assert_uint_eq(record.cookie, 0);
	ck_assert_uint_eq(record.netns, 0);
}
END_TEST

START_TEST(a_record_of_self_tells_of_the_socket)
{
	struct record record;
	struct stat found;
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);
	int fd = bound("s", SOCK_STREAM);

	KEEPS_ERRNO_VOID(record_of_self(&record, fd));
	ck_assert_int_eq(fstat(fd, &found), 0);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	ck_assert_uint_eq(record.socket, found.st_ino);
	ck_assert_uint_eq(record.cookie, cookie);
	ck_assert_uint_eq(record.netns, record_netns_of(fd));
}
END_TEST

START_TEST(a_descriptor_that_is_none_is_no_socket)
{
	struct record record;

	KEEPS_ERRNO_VOID(record_of_self(&record, 1000));
	ck_assert_uint_eq(record.socket, 0);
	ck_assert_uint_eq(record.cookie, 0);
	ck_assert_uint_eq(KEEPS_ERRNO(record_netns_of(1000)), 0);
	ck_assert_uint_eq(KEEPS_ERRNO(record_netns_of(-1)), 0);
}
END_TEST

START_TEST(sockets_of_one_namespace_tell_the_same_one)
{
	int a = bound("a", SOCK_STREAM);
	int b = bound("b", SOCK_DGRAM);

	ck_assert_uint_eq(KEEPS_ERRNO(record_netns_of(a)), KEEPS_ERRNO(record_netns_of(b)));
}
END_TEST

static int tells_its_user(const void *about)
{
	struct record record;

	(void)about;
	record_of_self(&record, -1);
	return record.uid == STRANGER ? 0 : 1;
}

START_TEST(a_record_of_self_tells_the_user)
{
	ck_assert_int_eq(as_stranger(tells_its_user, NULL), 0);
}
END_TEST

START_TEST(a_record_of_self_tells_of_a_socket_on_descriptor_0)
{
	struct record record;
	int fd = listening("s", SOCK_STREAM);

	ck_assert_int_eq(dup2(fd, 0), 0);
	record_of_self(&record, 0);
	ck_assert_uint_ne(record.socket, 0);
	ck_assert(record_is_of(&record, fd));
}
END_TEST

static uint64_t uptime(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_BOOTTIME, &now), 0);
	return (uint64_t)now.tv_sec;
}

START_TEST(a_record_of_self_tells_the_uptime)
{
	struct record record;
	uint64_t before = uptime();

	record_of_self(&record, -1);
	ck_assert_uint_ge(record.uptime, before);
	ck_assert_uint_le(record.uptime, uptime());
}
END_TEST

/* ---- has the binder ended? ---- */

static bool has_ended(const struct record *record)
{
	return KEEPS_ERRNO(record_binder_has_ended(record));
}

START_TEST(a_process_that_runs_has_not_ended)
{
	struct record record;

	record_of_self(&record, -1);
	ck_assert(!has_ended(&record));
}
END_TEST

static int end_at_once(const void *about)
{
	*(pid_t *)(uintptr_t)about = getpid();
	return 0;
}

START_TEST(a_process_that_is_gone_has_ended)
{
	struct record record;
	pid_t *pid =
		mmap(NULL, sizeof(*pid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	record_of_self(&record, -1);
	ck_assert_int_eq(in_child(end_at_once, pid), 0);
	record.pid = (uint64_t)*pid;
	ck_assert(has_ended(&record));
	record.uptime = 0;
	ck_assert(has_ended(&record));
}
END_TEST

/* The pid is another process's by now, which was started after the record was written. */
START_TEST(a_process_younger_than_the_record_is_another)
{
	struct record record;

	record_of_self(&record, -1);
	record.uptime = 1;
	ck_assert(has_ended(&record));
	record.uptime = 0; /* not known */
	ck_assert(!has_ended(&record));
}
END_TEST

/* Its command in /proc/PID/stat is to mislead a reader who looks for blanks and parentheses. */
START_TEST(the_start_is_found_behind_any_command)
{
	struct record record;

	prctl(PR_SET_NAME, ") S 1 1 (x) 2");
	record_of_self(&record, -1);
	ck_assert(!has_ended(&record));
	record.uptime = 1;
	ck_assert(has_ended(&record));
}
END_TEST

START_TEST(what_runs_on_another_host_is_not_known)
{
	struct record record;

	record_of_self(&record, -1);
	record.uptime = 1;
	strcpy(record.boot, A_BOOT_ID);
	ck_assert(!has_ended(&record));
}
END_TEST

static const int reads[] = {SYS_openat, SYS_pread64};

/* As where /proc is not mounted, or hides what other users do. */
START_TEST(a_process_whose_start_is_not_told_has_not_ended)
{
	struct record record;

	record_of_self(&record, -1);
	record.uptime = 1;
	ck_assert(has_ended(&record));
	forbid(reads[_i]);
	ck_assert(!has_ended(&record));
}
END_TEST

START_TEST(numbers_that_are_no_pid)
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

START_TEST(a_record_of_self_tells_the_boot)
{
	struct record record;
	char boot[RECORD_BOOT];

	read_boot_id(boot);
	for (int i = 0; i < 3; i++) { /* it is remembered */
		record_of_self(&record, -1);
		ck_assert_str_eq(record.boot, boot);
		assert_round_trip(&record);
	}
}
END_TEST

START_TEST(a_record_of_self_is_from_here)
{
	struct record record;

	record_of_self(&record, -1);
	ck_assert(!KEEPS_ERRNO(record_from_elsewhere(&record)));
}
END_TEST

START_TEST(another_boot_id_is_from_elsewhere)
{
	struct record record;

	record_of_self(&record, -1);
	record.boot[35] = record.boot[35] == '0' ? '1' : '0';
	ck_assert(KEEPS_ERRNO(record_from_elsewhere(&record)));
	record = sample();
	ck_assert(KEEPS_ERRNO(record_from_elsewhere(&record)));
}
END_TEST

START_TEST(where_a_record_is_from_may_be_unknown)
{
	struct record record = sample();

	record.boot[0] = '\0';
	ck_assert(!KEEPS_ERRNO(record_from_elsewhere(&record)));
}
END_TEST

START_TEST(a_record_is_of_its_socket_alone)
{
	struct record record;
	int fd = bound("s", SOCK_STREAM);
	int other = bound("t", SOCK_STREAM);

	record_of_self(&record, fd);
	ck_assert(KEEPS_ERRNO(record_is_of(&record, fd)));
	ck_assert(!KEEPS_ERRNO(record_is_of(&record, other)));
	ck_assert(!KEEPS_ERRNO(record_is_of(&record, -1)));
	record.boot[0] = record.boot[0] == '0' ? '1' : '0'; /* a container's, by the cookie alone */
	ck_assert(KEEPS_ERRNO(record_is_of(&record, fd)));
	record_of_self(&record, -1);
	ck_assert(!KEEPS_ERRNO(record_is_of(&record, -1)));
}
END_TEST

START_TEST(no_descriptor_is_left_open)
{
	struct record record;
	int before = open_descriptors();

	record_of_self(&record, -1);
	record_from_elsewhere(&record);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* The boot id is not known where no descriptor is to be had, and found later. */
START_TEST(no_descriptor_to_be_had_is_no_error)
{
	struct record record;
	char boot[RECORD_BOOT];
	int spare = use_up_descriptors();

	KEEPS_ERRNO_VOID(record_of_self(&record, -1));
	ck_assert_str_eq(record.boot, "");
	ck_assert(!KEEPS_ERRNO(record_from_elsewhere(&record)));
	close(spare);
	read_boot_id(boot);
	record_of_self(&record, -1);
	ck_assert_str_eq(record.boot, boot);
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("record");
	TCase *text = suite_cases(suite, "text");
	TCase *self = suite_cases(suite, "self");
	TCase *forbidden = suite_cases(suite, "forbidden");

	ADD_ROOT_TEST(self, a_record_of_self_tells_the_user);
	tcase_add_test(self, a_record_of_self_tells_of_a_socket_on_descriptor_0);
	tcase_add_test(text, a_record_comes_back_as_it_was);
	tcase_add_test(text, every_field_at_its_widest_fits);
	tcase_add_test(text, a_name_is_held_or_left);
	tcase_add_test(text, a_name_is_left_by_a_word);
	tcase_add_test(text, each_field_goes_to_its_own_place);
	tcase_add_test(text, a_record_is_text);
	tcase_add_test(text, a_name_cannot_forge_a_field);
	tcase_add_test(text, another_length_is_no_record);
	tcase_add_test(text, another_magic_is_no_record);
	tcase_add_test(text, zeros_are_no_record);
	tcase_add_loop_test(text, a_number_that_is_none_spoils_the_record, 0, 9);
	tcase_add_test(text, a_word_too_long_for_its_field_spoils_the_record);
	tcase_add_test(text, unknown_lines_are_passed_over);
	tcase_add_test(text, a_field_read_twice_leaves_nothing_of_the_first);
	tcase_add_test(text, garbage_does_no_harm);
	tcase_add_test(self, a_record_of_self_tells_of_this_process);
	tcase_add_test(self, a_record_of_self_tells_of_the_socket);
	tcase_add_test(self, a_descriptor_that_is_none_is_no_socket);
	tcase_add_test(self, sockets_of_one_namespace_tell_the_same_one);
	tcase_add_test(self, a_record_of_self_tells_the_boot);
	tcase_add_test(self, a_record_of_self_tells_the_uptime);
	tcase_add_test(self, a_process_that_runs_has_not_ended);
	tcase_add_test(self, a_process_that_is_gone_has_ended);
	tcase_add_test(self, a_process_younger_than_the_record_is_another);
	tcase_add_test(self, the_start_is_found_behind_any_command);
	tcase_add_test(self, what_runs_on_another_host_is_not_known);
	tcase_add_test(self, numbers_that_are_no_pid);
	tcase_add_loop_test(forbidden, a_process_whose_start_is_not_told_has_not_ended, 0, 2);
	tcase_add_test(self, a_record_of_self_is_from_here);
	tcase_add_test(self, another_boot_id_is_from_elsewhere);
	tcase_add_test(self, where_a_record_is_from_may_be_unknown);
	tcase_add_test(self, a_record_is_of_its_socket_alone);
	tcase_add_test(self, no_descriptor_is_left_open);
	tcase_add_test(self, no_descriptor_to_be_had_is_no_error);
	return suite;
}
