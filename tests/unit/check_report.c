#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "config.h"
#include "report.h"
#include "suite.h"

#define LONGEST 4096

static const struct record sample = {.uid = 33, .comm = "gunicorn"};

/* While this is not negative it is the time. Stands in for libc's, the rooms' calls included. */
static time_t pretended = -1;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (clock == CLOCK_REALTIME && pretended >= 0) {
		*now = (struct timespec){.tv_sec = pretended};
		return 0;
	}
	return (int)syscall(SYS_clock_gettime, clock, now);
}

/* The other end of what is descriptor 2 by now. */
static int stderr_end;

/* Before each case: a pipe is descriptor 2, as it was at load time. */
static void redirect_stderr(void)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	stderr_end = ends[0];
	prctl(PR_SET_NAME, "app");
	KEEPS_ERRNO_VOID(report_load());
}

/* All that came out so far, which may be nothing. */
static const char *said(void)
{
	static char text[16 * LONGEST];
	struct pollfd ready = {.fd = stderr_end, .events = POLLIN};
	size_t used = 0;

	while (poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN)) {
		ssize_t length = read(stderr_end, text + used, sizeof(text) - 1 - used);

		if (length <= 0)
			break;
		used += (size_t)length;
	}
	text[used] = '\0';
	return text;
}

static struct record living(void)
{
	struct record record = sample;

	record.pid = (uint64_t)getpid();
	return record;
}

static void refuse(const char *path)
{
	struct record record = living();

	KEEPS_ERRNO_VOID(report_refusal("unlink", path, RIVAL_KNOWN, &record));
}

/* ---- what it says ---- */

START_TEST(a_refusal_says_what_where_and_by_whom)
{
	char expected[LONGEST];

	refuse("/run/app.sock");
	snprintf(expected, sizeof(expected),
		"sockguard: app[%ld]: unlink(\"/run/app.sock\") refused with EADDRINUSE: "
		"in use by gunicorn (pid %ld, uid 33)\n",
		(long)getpid(), (long)getpid());
	ck_assert_str_eq(said(), expected);
}
END_TEST

static pid_t ended_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return pid;
}

START_TEST(an_owner_that_has_ended_is_told_to_have)
{
	struct record record = sample;
	const char *text;

	record.pid = (uint64_t)ended_process();
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", RIVAL_KNOWN, &record));
	text = said();
	ck_assert_ptr_nonnull(strstr(text, "what is left of gunicorn (pid "));
	ck_assert_ptr_nonnull(strstr(text, "ended"));
}
END_TEST

/* Its pid is another process's by now: ours, which is younger than the record. */
START_TEST(an_owner_whose_pid_was_reused_is_told_to_have_ended)
{
	static const enum rival rivals[] = {RIVAL_KNOWN, RIVAL_ABSENT};
	struct record record = living();

	KEEPS_ERRNO_VOID(report_refusal("bind", "s", rivals[_i], &record));
	ck_assert(!strstr(said(), "ended"));
	record.uptime = 1;
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", rivals[_i], &record));
	ck_assert_ptr_nonnull(strstr(said(), "gunicorn (pid "));
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", rivals[_i], &record));
	ck_assert_ptr_nonnull(strstr(said(), "), which has ended or is in another PID namespace"));
}
END_TEST

START_TEST(each_rival_has_words_of_its_own)
{
	static const enum rival rivals[] = {
		RIVAL_KNOWN, RIVAL_UNKNOWN, RIVAL_ABSENT, RIVAL_REMOTE, RIVAL_BUSY};
	static const char *const words[] = {
		"in use by gunicorn", "in use by", "removed", "another host", "busy"};
	struct record record = living();
	const char *text;

	KEEPS_ERRNO_VOID(report_refusal("rename", "/run/s", rivals[_i], &record));
	text = said();
	ck_assert_ptr_nonnull(strstr(text, words[_i]));
	ck_assert(!strstr(text, "gunicorn") ==
		  (rivals[_i] == RIVAL_UNKNOWN || rivals[_i] == RIVAL_BUSY));
	ck_assert_ptr_nonnull(strstr(text, "rename(\"/run/s\")"));
	ck_assert_ptr_nonnull(strstr(text, "EADDRINUSE"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(a_record_without_a_name_is_a_process)
{
	struct record record = living();

	record.comm[0] = '\0';
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", RIVAL_KNOWN, &record));
	ck_assert_ptr_nonnull(strstr(said(), "in use by a process (pid "));
}
END_TEST

START_TEST(no_pid_there_is_does_no_harm)
{
	static const uint64_t pids[] = {0, INT32_MAX, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};
	struct record record = sample;

	record.pid = pids[_i];
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", RIVAL_KNOWN, &record));
	ck_assert_ptr_nonnull(strstr(said(), "gunicorn (pid "));
}
END_TEST

/* Paths, and the names of processes, are anybody's words. */
START_TEST(control_characters_are_escaped)
{
	struct record record = living();
	const char *text;

	prctl(PR_SET_NAME, "a\033[2J\n\"");
	strcpy(record.comm, "x\ny\033");
	KEEPS_ERRNO_VOID(report_refusal("bind", "/run/\n\033]0;\"\177\\", RIVAL_KNOWN, &record));
	text = said();
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	for (const char *at = text; at[1] != '\0'; at++)
		ck_assert(*at >= ' ' && *at < 0x7f);
	ck_assert_ptr_nonnull(strstr(text, "\"/run/\\x0a\\x1b]0;\\x22\\x7f\\x5c\""));
	ck_assert_ptr_nonnull(strstr(text, "x\\x0ay\\x1b (pid"));
	ck_assert_ptr_nonnull(strstr(text, "sockguard: a\\x1b[2J\\x0a\\x22["));
}
END_TEST

START_TEST(the_longest_path_is_one_line_all_the_same)
{
	char path[LONGEST];
	const char *text;

	memset(path, _i ? '\n' : 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	refuse(path);
	text = said();
	ck_assert_uint_gt(strlen(text), 1000);
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(a_setting_is_named_with_what_it_takes)
{
	const char *text;

	KEEPS_ERRNO_VOID(report_setting("SOCKGUARD_REUSE", "auto, always or never"));
	text = said();
	ck_assert_ptr_nonnull(strstr(text, "SOCKGUARD_REUSE"));
	ck_assert_ptr_nonnull(strstr(text, "auto, always or never"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(decisions_are_for_debugging)
{
	KEEPS_ERRNO_VOID(report_decision("unlink", "s", "allowed: why not"));
	ck_assert_str_eq(said(), "");
	config.debug = true;
	KEEPS_ERRNO_VOID(report_decision("unlink", "s", "allowed: why not"));
	ck_assert_ptr_nonnull(strstr(said(), "unlink(\"s\") allowed: why not\n"));
}
END_TEST

/* ---- where it goes, and where not ---- */

START_TEST(nothing_goes_nowhere)
{
	config.log_to = LOG_TO_NONE;
	refuse("s");
	ck_assert_str_eq(said(), "");
}
END_TEST

/* By now it is the program's database. */
START_TEST(another_file_at_descriptor_2_is_let_be)
{
	struct stat found;
	int fd = open("database", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	refuse("s");
	ck_assert_int_eq(stat("database", &found), 0);
	ck_assert_int_eq(found.st_size, 0);
	ck_assert_str_eq(said(), "");
}
END_TEST

/* The end to read from, of a pipe nobody writes to any more: it has something to tell, but no room.
 */
START_TEST(a_descriptor_2_that_is_not_for_writing_is_let_be)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(dup2(ends[0], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	KEEPS_ERRNO_VOID(report_load());
	refuse("s");
	ck_assert_str_eq(said(), "");
}
END_TEST

START_TEST(a_closed_descriptor_2_is_no_trouble)
{
	close(STDERR_FILENO);
	refuse("s");
	ck_assert_str_eq(said(), "");
}
END_TEST

START_TEST(what_was_closed_at_load_time_stays_unused)
{
	struct stat found;

	close(STDERR_FILENO);
	KEEPS_ERRNO_VOID(report_load());
	ck_assert_int_eq(open("database", O_RDWR | O_CREAT, 0600), STDERR_FILENO);
	refuse("s");
	ck_assert_int_eq(stat("database", &found), 0);
	ck_assert_int_eq(found.st_size, 0);
}
END_TEST

START_TEST(the_same_file_through_another_descriptor_will_do)
{
	int copy = dup(STDERR_FILENO);

	close(STDERR_FILENO);
	ck_assert_int_eq(dup2(copy, STDERR_FILENO), STDERR_FILENO);
	refuse("s");
	ck_assert_str_ne(said(), "");
}
END_TEST

static void fill_pipe(void)
{
	char page[LONGEST] = {0};
	int flags = fcntl(STDERR_FILENO, F_GETFL);

	ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK), 0);
	while (write(STDERR_FILENO, page, sizeof(page)) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
	while (write(STDERR_FILENO, page, 1) > 0)
		;
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, flags), 0);
}

/* Nobody reads: the program goes on, or this case runs into its timeout. */
START_TEST(a_full_pipe_is_not_waited_for)
{
	fill_pipe();
	alarm(20);
	refuse("s");
	alarm(0);
}
END_TEST

START_TEST(a_nearly_full_pipe_is_not_waited_for)
{
	char byte[100];

	fill_pipe();
	ck_assert_int_eq(read(stderr_end, byte, sizeof(byte)), (ssize_t)sizeof(byte));
	alarm(20);
	refuse("s");
	alarm(0);
}
END_TEST

static bool sigpipe_is_pending(void)
{
	sigset_t pending;

	ck_assert_int_eq(sigpending(&pending), 0);
	return sigismember(&pending, SIGPIPE);
}

static bool sigpipe_is_blocked(void)
{
	sigset_t mask;

	ck_assert_int_eq(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
	return sigismember(&mask, SIGPIPE);
}

START_TEST(a_pipe_nobody_reads_raises_no_signal)
{
	close(stderr_end);
	refuse("s");
	ck_assert(!sigpipe_is_pending());
	ck_assert(!sigpipe_is_blocked());
}
END_TEST

static void block_sigpipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	ck_assert_int_eq(sigprocmask(SIG_BLOCK, &set, NULL), 0);
}

START_TEST(a_blocked_sigpipe_does_not_become_pending)
{
	block_sigpipe();
	close(stderr_end);
	refuse("s");
	ck_assert(!sigpipe_is_pending());
	ck_assert(sigpipe_is_blocked());
}
END_TEST

START_TEST(a_pending_sigpipe_stays_pending)
{
	block_sigpipe();
	raise(SIGPIPE);
	close(stderr_end);
	refuse("s");
	ck_assert(sigpipe_is_pending());
}
END_TEST

START_TEST(a_full_socket_is_not_waited_for)
{
	char page[LONGEST] = {0};
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	report_load();
	while (send(STDERR_FILENO, page, sizeof(page), MSG_DONTWAIT) > 0)
		;
	alarm(20);
	refuse("s");
	alarm(0);
}
END_TEST

/* ---- a log file ---- */

static const char *content_of(const char *path)
{
	static char text[2 * LONGEST];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	ck_assert_int_ge(fd, 0);
	length = read(fd, text, sizeof(text) - 1);
	ck_assert_int_ge(length, 0);
	text[length] = '\0';
	close(fd);
	return text;
}

static void log_to_file(const char *path)
{
	config.log_to = LOG_TO_FILE;
	config.log_file = absolute(path);
}

START_TEST(a_log_file_s_lines_are_dated)
{
	int before = open_descriptors();
	time_t start = time(NULL);
	struct tm then = {0};
	struct stat found;
	const char *behind;

	log_to_file("log");
	refuse("s");
	ck_assert_int_eq(open_descriptors(), before);
	ck_assert_str_eq(said(), "");
	behind = strptime(content_of("log"), "%Y-%m-%dT%H:%M:%SZ ", &then);
	ck_assert_ptr_nonnull(behind);
	ck_assert_int_ge(timegm(&then), start);
	ck_assert_int_le(timegm(&then), time(NULL));
	ck_assert_int_eq(strncmp(behind, "sockguard: app[", 15), 0);
	ck_assert_int_eq(behind[strlen(behind) - 1], '\n');
	ck_assert_int_eq(stat("log", &found), 0);
	ck_assert_uint_eq(found.st_mode & 07777, 0600);
}
END_TEST

static void assert_dated(time_t second)
{
	char expected[64];
	struct tm then;

	ck_assert_int_eq(truncate("log", 0), 0);
	pretended = second;
	refuse("s");
	pretended = -1;
	ck_assert_ptr_nonnull(gmtime_r(&second, &then));
	ck_assert_uint_gt(strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ ", &then), 0);
	ck_assert_msg(strncmp(content_of("log"), expected, strlen(expected)) == 0,
		"%.25s is not %s", content_of("log"), expected);
}

START_TEST(dates_are_those_of_the_calendar)
{
	static const int64_t seconds[] = {0, 86399, 86400, 951782399, 951782400, 951868799,
		951868800, 1709164800, 1709251200, 1735689599, 1735689600, 4107542399, 4107542400,
		13574563200, 13574649600};

	write_file("log", "");
	log_to_file("log");
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		if ((time_t)seconds[i] == seconds[i]) /* 32 bits end in 2038 */
			assert_dated((time_t)seconds[i]);
	}
	for (int day = 0; day < 4 * 1461; day++) /* four leap years from 2018 on */
		assert_dated(1514764800 + day * (time_t)86400 + day);
}
END_TEST

START_TEST(a_log_file_is_added_to)
{
	write_file("log", "before\n");
	log_to_file("log");
	refuse("one");
	refuse("two");
	ck_assert_int_eq(strncmp(content_of("log"), "before\n", 7), 0);
	ck_assert_ptr_nonnull(strstr(content_of("log"), "\"one\""));
	ck_assert_ptr_nonnull(strstr(content_of("log"), "\"two\""));
}
END_TEST

START_TEST(the_longest_line_ends_in_a_log_file_too)
{
	char path[LONGEST];
	const char *text;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	log_to_file("log");
	refuse(path);
	text = content_of("log");
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(a_log_file_that_cannot_be_had_is_no_trouble)
{
	log_to_file("absent/log");
	refuse("s");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	log_to_file("dir");
	refuse("s");
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	log_to_file("fifo");
	alarm(20);
	refuse("s"); /* nobody reads it */
	alarm(0);
	ck_assert_str_eq(said(), "");
}
END_TEST

/* The limit's signal would end the program: our own trouble is not to be its. */
static int log_beyond_limit(const void *about)
{
	const struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
	struct record record = living();
	sigset_t pending;

	(void)about;
	/* From here on Check cannot write its notes either: no assertions. */
	if (setrlimit(RLIMIT_FSIZE, &none) != 0)
		return 1;
	report_refusal("unlink", "s", RIVAL_KNOWN, &record);
	sigpending(&pending);
	return sigismember(&pending, SIGXFSZ);
}

START_TEST(a_log_file_at_its_limit_ends_nobody)
{
	log_to_file("log");
	ck_assert_int_eq(in_child(log_beyond_limit, NULL), 0);
}
END_TEST

/* Whether there is a syslogd or not: the program does not notice. */
START_TEST(syslog_is_no_trouble)
{
	int before = open_descriptors();

	if (!exists("/dev/log")) { /* or somebody would read of it */
		config.log_to = LOG_TO_SYSLOG;
		refuse("s");
		ck_assert_int_eq(open_descriptors(), before);
		ck_assert_str_eq(said(), "");
	}
}
END_TEST

START_TEST(syslog_without_a_descriptor_is_no_trouble)
{
	config.log_to = LOG_TO_SYSLOG;
	use_up_descriptors();
	refuse("s");
	ck_assert_str_eq(said(), "");
}
END_TEST

static void add_words(TCase *cases)
{
	tcase_add_test(cases, a_refusal_says_what_where_and_by_whom);
	tcase_add_test(cases, an_owner_that_has_ended_is_told_to_have);
	tcase_add_loop_test(cases, an_owner_whose_pid_was_reused_is_told_to_have_ended, 0, 2);
	tcase_add_loop_test(cases, each_rival_has_words_of_its_own, 0, 5);
	tcase_add_test(cases, a_record_without_a_name_is_a_process);
	tcase_add_loop_test(cases, no_pid_there_is_does_no_harm, 0, 5);
	tcase_add_test(cases, control_characters_are_escaped);
	tcase_add_loop_test(cases, the_longest_path_is_one_line_all_the_same, 0, 2);
	tcase_add_test(cases, a_setting_is_named_with_what_it_takes);
	tcase_add_test(cases, decisions_are_for_debugging);
}

static void add_stderr(TCase *cases)
{
	tcase_add_test(cases, nothing_goes_nowhere);
	tcase_add_test(cases, another_file_at_descriptor_2_is_let_be);
	tcase_add_test(cases, a_descriptor_2_that_is_not_for_writing_is_let_be);
	tcase_add_test(cases, a_closed_descriptor_2_is_no_trouble);
	tcase_add_test(cases, what_was_closed_at_load_time_stays_unused);
	tcase_add_test(cases, the_same_file_through_another_descriptor_will_do);
	tcase_add_test(cases, a_full_pipe_is_not_waited_for);
	tcase_add_test(cases, a_nearly_full_pipe_is_not_waited_for);
	tcase_add_test(cases, a_pipe_nobody_reads_raises_no_signal);
	tcase_add_test(cases, a_blocked_sigpipe_does_not_become_pending);
	tcase_add_test(cases, a_pending_sigpipe_stays_pending);
	tcase_add_test(cases, a_full_socket_is_not_waited_for);
}

static void add_elsewhere(TCase *cases)
{
	tcase_add_test(cases, a_log_file_s_lines_are_dated);
	if (sizeof(time_t) == sizeof(long)) /* or clock_gettime goes by another name */
		tcase_add_test(cases, dates_are_those_of_the_calendar);
	tcase_add_test(cases, a_log_file_is_added_to);
	tcase_add_test(cases, the_longest_line_ends_in_a_log_file_too);
	tcase_add_test(cases, a_log_file_that_cannot_be_had_is_no_trouble);
	tcase_add_test(cases, a_log_file_at_its_limit_ends_nobody);
	tcase_add_test(cases, syslog_is_no_trouble);
	tcase_add_test(cases, syslog_without_a_descriptor_is_no_trouble);
}

static TCase *redirected(Suite *suite, const char *name)
{
	TCase *cases = suite_cases(suite, name);

	tcase_add_checked_fixture(cases, redirect_stderr, NULL);
	return cases;
}

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("report");

	add_words(redirected(suite, "words"));
	add_stderr(redirected(suite, "stderr"));
	add_elsewhere(redirected(suite, "elsewhere"));
	return suite;
}
