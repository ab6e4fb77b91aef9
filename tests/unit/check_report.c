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
#include "self.h"
#include "suite.h"

#define LONGEST 4096

static const struct record sample = {.uid = 33, .comm = "gunicorn"};

/* The time that this replacement of clock_gettime(2) returns, also to the library. -1: the real
 * one. */
static time_t fake_time = -1;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (clock == CLOCK_REALTIME && fake_time >= 0) {
		*now = (struct timespec){.tv_sec = fake_time};
		return 0;
	}
	return (int)syscall(SYS_clock_gettime, clock, now);
}

/* The other end of the pipe at descriptor 2. */
static int stderr_end;

/* Before each case: replaces descriptor 2 with a pipe, as if it had been one at load time. */
static void redirect_stderr(void)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	stderr_end = ends[0];
	prctl(PR_SET_NAME, "app");
	KEEPS_ERRNO_VOID(report_remember_stderr());
}

/* The output so far, which may be empty. */
static const char *output_so_far(void)
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

static struct record record_of_self(void)
{
	struct record record = sample;

	record.pid = (uint64_t)getpid();
	return record;
}

static void report_refused_unlink(const char *path)
{
	struct record record = record_of_self();

	KEEPS_ERRNO_VOID(report_refusal("unlink", path, REASON_OWNER_RECORDED, &record));
}

/* ---- messages ---- */

START_TEST(a_refusal_names_the_call_the_path_and_the_owner)
{
	char expected[LONGEST];

	report_refused_unlink("/run/app.sock");
	snprintf(expected, sizeof(expected),
		"sockguard: app[%ld]: unlink(\"/run/app.sock\") refused with EADDRINUSE: "
		"in use by gunicorn (pid %ld, uid 33)\n",
		(long)getpid(), (long)getpid());
	ck_assert_str_eq(output_so_far(), expected);
}
END_TEST

static pid_t pid_of_ended_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return pid;
}

START_TEST(an_owner_that_has_ended_is_reported_as_ended)
{
	struct record record = sample;
	const char *text;

	record.pid = (uint64_t)pid_of_ended_process();
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", REASON_OWNER_RECORDED, &record));
	text = output_so_far();
	ck_assert_ptr_nonnull(strstr(text, "in use by another process; gunicorn (pid "));
	ck_assert_ptr_nonnull(strstr(text, "ended"));
}
END_TEST

/* This process, which is younger than the record, has the owner's PID. */
START_TEST(an_owner_whose_pid_was_reused_is_reported_as_ended)
{
	static const enum reason reasons[] = {REASON_OWNER_RECORDED, REASON_ABSENT_CLAIMED};
	struct record record = record_of_self();

	KEEPS_ERRNO_VOID(report_refusal("bind", "s", reasons[_i], &record));
	ck_assert(!strstr(output_so_far(), "ended"));
	record.uptime = 1;
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", reasons[_i], &record));
	ck_assert_ptr_nonnull(strstr(output_so_far(), "gunicorn (pid "));
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", reasons[_i], &record));
	ck_assert_ptr_nonnull(strstr(output_so_far(), "has ended or is in another PID namespace"));
}
END_TEST

/* A PID of another PID namespace is not looked up here, where another process may have it. */
START_TEST(a_pid_of_another_namespace_is_reported_as_foreign)
{
	static const enum reason reasons[] = {REASON_OWNER_RECORDED, REASON_ABSENT_CLAIMED};
	struct record record = record_of_self();
	const char *text;

	record.pid = (uint64_t)pid_of_ended_process();
	record.pidns = self_pid_namespace(getpid()) + 1;
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", reasons[_i], &record));
	text = output_so_far();
	ck_assert_ptr_nonnull(strstr(text, " of another PID namespace, uid 33)"));
	ck_assert(!strstr(text, "ended"));
}
END_TEST

START_TEST(each_kind_of_rival_has_its_own_message)
{
	static const enum reason reasons[] = {REASON_OWNER_RECORDED, REASON_ABSENT_CLAIMED,
		REASON_OWNER_REMOTE, REASON_OWNER_UNRECORDED, REASON_OWNER_ELSEWHERE,
		REASON_MUTEX_BUSY};
	static const char *const words[] = {"in use by gunicorn", "removed", "another host",
		"no record", "another network namespace", "stopped process"};
	struct record record = record_of_self();
	const char *text;

	KEEPS_ERRNO_VOID(report_refusal("rename", "/run/s", reasons[_i], &record));
	text = output_so_far();
	ck_assert_ptr_nonnull(strstr(text, words[_i]));
	ck_assert(!strstr(text, "gunicorn") == (_i >= 3));
	ck_assert_ptr_nonnull(strstr(text, "rename(\"/run/s\")"));
	ck_assert_ptr_nonnull(strstr(text, "EADDRINUSE"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(a_record_without_a_process_name_is_reported)
{
	struct record record = record_of_self();

	record.comm[0] = '\0';
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", REASON_OWNER_RECORDED, &record));
	ck_assert_ptr_nonnull(strstr(output_so_far(), "in use by a process (pid "));
}
END_TEST

START_TEST(a_pid_that_cannot_exist_does_no_harm)
{
	static const uint64_t pids[] = {0, INT32_MAX, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};
	struct record record = sample;

	record.pid = pids[_i];
	KEEPS_ERRNO_VOID(report_refusal("bind", "s", REASON_OWNER_RECORDED, &record));
	ck_assert_ptr_nonnull(strstr(output_so_far(), "gunicorn (pid "));
}
END_TEST

/* Any user may choose paths and process names. */
START_TEST(control_characters_are_escaped)
{
	struct record record = record_of_self();
	const char *text;

	prctl(PR_SET_NAME, "a\033[2J\n\"");
	strcpy(record.comm, "x\ny\033");
	KEEPS_ERRNO_VOID(report_refusal("bind", "/run/\n\033]0;\"\177\\", REASON_OWNER_RECORDED,
		&record));
	text = output_so_far();
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	for (const char *at = text; at[1] != '\0'; at++)
		ck_assert(*at >= ' ' && *at < 0x7f);
	ck_assert_ptr_nonnull(strstr(text, "\"/run/\\x0a\\x1b]0;\\x22\\x7f\\x5c\""));
	ck_assert_ptr_nonnull(strstr(text, "x\\x0ay\\x1b (pid"));
	ck_assert_ptr_nonnull(strstr(text, "sockguard: a\\x1b[2J\\x0a\\x22["));
}
END_TEST

START_TEST(the_longest_path_makes_one_line)
{
	char path[LONGEST];
	const char *text;

	memset(path, _i ? '\n' : 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	report_refused_unlink(path);
	text = output_so_far();
	ck_assert_uint_gt(strlen(text), 1000);
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(an_invalid_setting_is_reported_with_valid_values)
{
	const char *text;

	KEEPS_ERRNO_VOID(report_bad_setting("SOCKGUARD_REUSE", "auto, always or never"));
	text = output_so_far();
	ck_assert_ptr_nonnull(strstr(text, "SOCKGUARD_REUSE"));
	ck_assert_ptr_nonnull(strstr(text, "auto, always or never"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(decisions_are_debug_messages)
{
	KEEPS_ERRNO_VOID(report_decision("unlink", "s", "allowed: why not"));
	ck_assert_str_eq(output_so_far(), "");
	config.debug = true;
	KEEPS_ERRNO_VOID(report_decision("unlink", "s", "allowed: why not"));
	ck_assert_ptr_nonnull(strstr(output_so_far(), "unlink(\"s\") allowed: why not\n"));
}
END_TEST

START_TEST(an_unguarded_call_is_reported)
{
	KEEPS_ERRNO_VOID(report_unguarded("bind", "s", "its place cannot be taken"));
	ck_assert_ptr_nonnull(strstr(output_so_far(),
		"]: bind(\"s\") is not guarded: its place cannot be taken\n"));
	report_unguarded("bind", "", "its memory cannot be read");
	ck_assert_ptr_nonnull(strstr(output_so_far(),
		"]: bind is not guarded: its memory cannot be read\n"));
}
END_TEST

/* This message appears at most once, so it must not be lost with a closed descriptor 2. */
START_TEST(an_unguarded_call_is_otherwise_reported_to_syslog)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char message[256] = "";
	int syslog_socket;

	ck_assert_int_eq(mkdir("dev", 0755), 0);
	syslog_socket = bound_socket("dev/log", SOCK_DGRAM);
	close(STDERR_FILENO);
	ck_assert_int_eq(chroot("."), 0);
	KEEPS_ERRNO_VOID(report_unguarded("bind", "s", "its place cannot be taken"));
	ck_assert_int_gt(recv(syslog_socket, message, sizeof(message) - 1, MSG_DONTWAIT), 0);
	ck_assert_ptr_nonnull(strstr(message, "bind(\"s\") is not guarded"));
	ck_assert_int_eq(fchdir(root), 0);
	ck_assert_int_eq(chroot("."), 0);
}
END_TEST

/* ---- destinations ---- */

START_TEST(with_log_none_nothing_is_written)
{
	config.log_to = LOG_TO_NONE;
	report_refused_unlink("s");
	ck_assert_str_eq(output_so_far(), "");
}
END_TEST

/* The program may have opened its database at descriptor 2. */
START_TEST(another_file_at_descriptor_2_is_not_written)
{
	struct stat found;
	int fd = open("database", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	report_refused_unlink("s");
	ck_assert_int_eq(stat("database", &found), 0);
	ck_assert_int_eq(found.st_size, 0);
	ck_assert_str_eq(output_so_far(), "");
}
END_TEST

/* The read end of a pipe without writers: poll reports an event, but it is not writable. */
START_TEST(a_read_only_descriptor_2_is_not_written)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(dup2(ends[0], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	KEEPS_ERRNO_VOID(report_remember_stderr());
	report_refused_unlink("s");
	ck_assert_str_eq(output_so_far(), "");
}
END_TEST

START_TEST(a_closed_descriptor_2_does_no_harm)
{
	close(STDERR_FILENO);
	report_refused_unlink("s");
	ck_assert_str_eq(output_so_far(), "");
}
END_TEST

START_TEST(a_descriptor_closed_at_load_time_is_not_used_later)
{
	struct stat found;

	close(STDERR_FILENO);
	KEEPS_ERRNO_VOID(report_remember_stderr());
	ck_assert_int_eq(open("database", O_RDWR | O_CREAT, 0600), STDERR_FILENO);
	report_refused_unlink("s");
	ck_assert_int_eq(stat("database", &found), 0);
	ck_assert_int_eq(found.st_size, 0);
}
END_TEST

START_TEST(the_same_file_through_another_descriptor_is_accepted)
{
	int copy = dup(STDERR_FILENO);

	close(STDERR_FILENO);
	ck_assert_int_eq(dup2(copy, STDERR_FILENO), STDERR_FILENO);
	report_refused_unlink("s");
	ck_assert_str_ne(output_so_far(), "");
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

/* No process reads the pipe. If the guard blocked, the case would time out. */
START_TEST(a_full_pipe_is_not_waited_for)
{
	fill_pipe();
	alarm(20);
	report_refused_unlink("s");
	alarm(0);
}
END_TEST

START_TEST(a_nearly_full_pipe_is_not_waited_for)
{
	char byte[100];

	fill_pipe();
	ck_assert_int_eq(read(stderr_end, byte, sizeof(byte)), (ssize_t)sizeof(byte));
	alarm(20);
	report_refused_unlink("s");
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

START_TEST(a_pipe_without_readers_raises_no_signal)
{
	close(stderr_end);
	report_refused_unlink("s");
	ck_assert(!sigpipe_is_pending());
	ck_assert(!sigpipe_is_blocked());
}
END_TEST

START_TEST(a_pipe_without_readers_is_not_written_if_sigpipe_cannot_be_blocked)
{
	forbid(SYS_rt_sigprocmask);
	close(stderr_end);
	report_refused_unlink("s"); /* SIGPIPE would kill this process */
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
	report_refused_unlink("s");
	ck_assert(!sigpipe_is_pending());
	ck_assert(sigpipe_is_blocked());
}
END_TEST

START_TEST(a_pending_sigpipe_stays_pending)
{
	block_sigpipe();
	raise(SIGPIPE);
	close(stderr_end);
	report_refused_unlink("s");
	ck_assert(sigpipe_is_pending());
}
END_TEST

START_TEST(a_full_socket_is_not_waited_for)
{
	char page[LONGEST] = {0};
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	report_remember_stderr();
	while (send(STDERR_FILENO, page, sizeof(page), MSG_DONTWAIT) > 0)
		;
	alarm(20);
	report_refused_unlink("s");
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
	config.log_file = absolute_path(path);
}

START_TEST(the_lines_of_a_log_file_are_dated)
{
	int before = count_descriptors();
	time_t start = time(NULL);
	struct tm then = {0};
	struct stat found;
	const char *after_date;

	log_to_file("log");
	report_refused_unlink("s");
	ck_assert_int_eq(count_descriptors(), before);
	ck_assert_str_eq(output_so_far(), "");
	after_date = strptime(content_of("log"), "%Y-%m-%dT%H:%M:%SZ ", &then);
	ck_assert_ptr_nonnull(after_date);
	ck_assert_int_ge(timegm(&then), start);
	ck_assert_int_le(timegm(&then), time(NULL) + 1); /* time(2) lags behind by up to a tick */
	ck_assert_int_eq(strncmp(after_date, "sockguard: app[", 15), 0);
	ck_assert_int_eq(after_date[strlen(after_date) - 1], '\n');
	ck_assert_int_eq(stat("log", &found), 0);
	ck_assert_uint_eq(found.st_mode & 07777, 0600);
}
END_TEST

static void assert_dated(time_t second)
{
	char expected[64];
	struct tm then;

	unlink("log"); /* faster than a truncation, which ext4 writes to the disk */
	fake_time = second;
	report_refused_unlink("s");
	fake_time = -1;
	ck_assert_ptr_nonnull(gmtime_r(&second, &then));
	ck_assert_uint_gt(strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ ", &then), 0);
	ck_assert_msg(strncmp(content_of("log"), expected, strlen(expected)) == 0,
		"%.25s is not %s", content_of("log"), expected);
}

START_TEST(dates_are_correct)
{
	static const int64_t seconds[] = {0, 86399, 86400, 951782399, 951782400, 951868799,
		951868800, 1709164800, 1709251200, 1735689599, 1735689600, 4107542399, 4107542400,
		13574563200, 13574649600};

	log_to_file("log");
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		if ((time_t)seconds[i] == seconds[i]) /* 32 bits end in 2038 */
			assert_dated((time_t)seconds[i]);
	}
	for (int day = 0; day < 4 * 1461; day++) /* four leap years from 2018 on */
		assert_dated(1514764800 + day * (time_t)86400 + day);
}
END_TEST

START_TEST(a_log_file_is_appended_to)
{
	write_file("log", "before\n");
	log_to_file("log");
	report_refused_unlink("one");
	report_refused_unlink("two");
	ck_assert_int_eq(strncmp(content_of("log"), "before\n", 7), 0);
	ck_assert_ptr_nonnull(strstr(content_of("log"), "\"one\""));
	ck_assert_ptr_nonnull(strstr(content_of("log"), "\"two\""));
}
END_TEST

START_TEST(the_longest_line_in_a_log_file_ends_with_a_newline)
{
	char path[LONGEST];
	const char *text;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	log_to_file("log");
	report_refused_unlink(path);
	text = content_of("log");
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(a_log_file_that_cannot_be_opened_does_no_harm)
{
	log_to_file("absent/log");
	report_refused_unlink("s");
	ck_assert_int_eq(mkdir("dir", 0755), 0);
	log_to_file("dir");
	report_refused_unlink("s");
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	log_to_file("fifo");
	alarm(20);
	report_refused_unlink("s"); /* no process reads it */
	alarm(0);
	ck_assert_str_eq(output_so_far(), "");
}
END_TEST

/* Otherwise SIGXFSZ, because of the guard's message, would kill the program. */
static int log_beyond_limit(const void *about)
{
	const struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
	struct record record = record_of_self();
	sigset_t pending;

	(void)about;
	/* From here on Check cannot write its notes either: no assertions. */
	if (setrlimit(RLIMIT_FSIZE, &none) != 0)
		return 1;
	report_refusal("unlink", "s", REASON_OWNER_RECORDED, &record);
	sigpending(&pending);
	return sigismember(&pending, SIGXFSZ);
}

START_TEST(a_log_file_at_its_size_limit_kills_no_process)
{
	log_to_file("log");
	ck_assert_int_eq(run_in_child(log_beyond_limit, NULL), 0);
}
END_TEST

/* The message is lost without an effect on the program. A chroot has no /dev/log. */
START_TEST(a_missing_syslog_does_no_harm)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int before = count_descriptors();

	config.log_to = LOG_TO_SYSLOG;
	ck_assert_int_eq(chroot("."), 0);
	report_refused_unlink("s");
	ck_assert_int_eq(fchdir(root), 0);
	ck_assert_int_eq(chroot("."), 0);
	ck_assert_int_eq(count_descriptors(), before);
	ck_assert_str_eq(output_so_far(), "");
}
END_TEST

START_TEST(syslog_without_a_descriptor_does_no_harm)
{
	config.log_to = LOG_TO_SYSLOG;
	use_up_descriptors();
	report_refused_unlink("s");
	ck_assert_str_eq(output_so_far(), "");
}
END_TEST

static void add_messages(TCase *cases)
{
	tcase_add_test(cases, a_refusal_names_the_call_the_path_and_the_owner);
	tcase_add_test(cases, an_owner_that_has_ended_is_reported_as_ended);
	tcase_add_loop_test(cases, an_owner_whose_pid_was_reused_is_reported_as_ended, 0, 2);
	tcase_add_loop_test(cases, a_pid_of_another_namespace_is_reported_as_foreign, 0, 2);
	tcase_add_loop_test(cases, each_kind_of_rival_has_its_own_message, 0, 6);
	tcase_add_test(cases, a_record_without_a_process_name_is_reported);
	tcase_add_loop_test(cases, a_pid_that_cannot_exist_does_no_harm, 0, 5);
	tcase_add_test(cases, control_characters_are_escaped);
	tcase_add_loop_test(cases, the_longest_path_makes_one_line, 0, 2);
	tcase_add_test(cases, an_invalid_setting_is_reported_with_valid_values);
	tcase_add_test(cases, decisions_are_debug_messages);
	tcase_add_test(cases, an_unguarded_call_is_reported);
	ADD_ROOT_TEST(cases, an_unguarded_call_is_otherwise_reported_to_syslog);
}

static void add_stderr(TCase *cases)
{
	tcase_add_test(cases, with_log_none_nothing_is_written);
	tcase_add_test(cases, another_file_at_descriptor_2_is_not_written);
	tcase_add_test(cases, a_read_only_descriptor_2_is_not_written);
	tcase_add_test(cases, a_closed_descriptor_2_does_no_harm);
	tcase_add_test(cases, a_descriptor_closed_at_load_time_is_not_used_later);
	tcase_add_test(cases, the_same_file_through_another_descriptor_is_accepted);
	tcase_add_test(cases, a_full_pipe_is_not_waited_for);
	tcase_add_test(cases, a_nearly_full_pipe_is_not_waited_for);
	tcase_add_test(cases, a_pipe_without_readers_raises_no_signal);
	tcase_add_test(cases, a_pipe_without_readers_is_not_written_if_sigpipe_cannot_be_blocked);
	tcase_add_test(cases, a_blocked_sigpipe_does_not_become_pending);
	tcase_add_test(cases, a_pending_sigpipe_stays_pending);
	tcase_add_test(cases, a_full_socket_is_not_waited_for);
}

static void add_log_and_syslog(TCase *cases)
{
	tcase_add_test(cases, the_lines_of_a_log_file_are_dated);
	if (sizeof(time_t) == sizeof(long)) /* or clock_gettime goes by another name */
		tcase_add_test(cases, dates_are_correct);
	tcase_add_test(cases, a_log_file_is_appended_to);
	tcase_add_test(cases, the_longest_line_in_a_log_file_ends_with_a_newline);
	tcase_add_test(cases, a_log_file_that_cannot_be_opened_does_no_harm);
	tcase_add_test(cases, a_log_file_at_its_size_limit_kills_no_process);
	ADD_ROOT_TEST(cases, a_missing_syslog_does_no_harm);
	tcase_add_test(cases, syslog_without_a_descriptor_does_no_harm);
}

static TCase *redirected(Suite *suite, const char *name)
{
	TCase *cases = suite_cases(suite, name);

	tcase_add_checked_fixture(cases, redirect_stderr, NULL);
	return cases;
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("report");

	add_messages(redirected(suite, "words"));
	add_stderr(redirected(suite, "stderr"));
	add_log_and_syslog(redirected(suite, "elsewhere"));
	return suite;
}
