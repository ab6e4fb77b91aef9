#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "caller.h"
#include "config.h"
#include "inode.h"
#include "kernel.h"
#include "text.h"

/* A write of up to PIPE_BUF bytes to a pipe is atomic: 512 in POSIX, 4096 on Linux. */
#define LINE 1024

static struct {
	bool open;
	struct file_id file;
} stderr_at_load;

void report_remember_stderr(void)
{
	int saved = errno;
	struct kernel_file found;

	stderr_at_load.open = kernel_fstat(STDERR_FILENO, &found) == 0;
	if (stderr_at_load.open)
		stderr_at_load.file = file_id_of(&found);
	errno = saved;
}

bool report_is_remembered_stderr(int fd)
{
	struct kernel_file found;
	struct file_id now;

	if (!stderr_at_load.open || kernel_fstat(fd, &found) != 0)
		return false;
	now = file_id_of(&found);
	return file_same(&now, &stderr_at_load.file);
}

/*
 * Writes a line unless the write would block. A pipe without readers raises SIGPIPE: it is blocked
 * during the write, and consumed afterwards unless it was pending before. Returns whether the line
 * was written.
 */
static bool write_quietly(int fd, const struct text *line)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	sigset_t ours, old, pending, raised;
	ssize_t written;

	if (kernel_poll(&ready) != 1 || !(ready.revents & POLLOUT))
		return false;
	sigemptyset(&ours);
	sigaddset(&ours, SIGPIPE);
	sigaddset(&ours, SIGXFSZ);
	sigaddset(&ours, SIGTTOU); /* if blocked, it does not stop a background job */
	sigemptyset(&pending);
	kernel_sigpending(&pending);
	if (kernel_sigmask(SIG_BLOCK, &ours, &old) != 0 && (ready.revents & POLLERR))
		return false; /* a filter forbids blocking, and the pipe has no readers */
	sigemptyset(&raised);
	written = kernel_write(fd, line->start, line->used);
	if (written < 0 && (errno == EPIPE || errno == EFBIG)) {
		int number = errno == EPIPE ? SIGPIPE : SIGXFSZ;

		sigaddset(&raised, number);
		if (!sigismember(&pending, number))
			kernel_consume_signal(&raised);
	}
	kernel_sigmask(SIG_SETMASK, &old, NULL);
	return written > 0;
}

/* The Gregorian date of a day since 1970-01-01. gmtime_r(3) may acquire a lock. */
static void add_date(struct text *text, uint64_t day)
{
	uint64_t shifted = day + 719468; /* days since 0000-03-01: leap days come last */
	uint64_t era = shifted / 146097;
	uint64_t of_era = shifted % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t month = (5 * of_year + 2) / 153;

	text_add_number(text, era * 400 + year + (month >= 10));
	text_add(text, "-");
	text_add_padded(text, month < 10 ? month + 3 : month - 9, 2);
	text_add(text, "-");
	text_add_padded(text, of_year - (153 * month + 2) / 5 + 1, 2);
}

static void add_time(struct text *text)
{
	uint64_t now = kernel_seconds();
	uint64_t second = now % 86400;

	add_date(text, now / 86400);
	text_add(text, "T");
	text_add_padded(text, second / 3600, 2);
	text_add(text, ":");
	text_add_padded(text, second / 60 % 60, 2);
	text_add(text, ":");
	text_add_padded(text, second % 60, 2);
	text_add(text, "Z ");
}

/* syslog(3) locks and allocates memory. This is the socket that it would write to. */
static bool send_to_syslog(const struct text *line)
{
	static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int fd = kernel_socket(AF_UNIX, SOCK_DGRAM, 0);
	ssize_t sent;

	if (fd < 0)
		return false;
	sent = kernel_sendto(fd, line->start, line->used - 1, MSG_DONTWAIT | MSG_NOSIGNAL, &address,
		sizeof(address));
	kernel_close(fd);
	return sent > 0;
}

static bool append_to_file(const struct text *line)
{
	int fd = kernel_open(AT_FDCWD, config.log_file,
		O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, 0600);
	bool written;

	if (fd < 0)
		return false;
	written = write_quietly(fd, line);
	kernel_close(fd);
	return written;
}

/* Returns whether the line was delivered. */
static bool send_line(struct text *line, enum log_to to)
{
	if (line->used + 1 >= line->size) /* truncated, but still a line */
		line->used = line->size - 2;
	text_add(line, "\n");
	switch (to) {
	case LOG_TO_STDERR:
		return report_is_remembered_stderr(STDERR_FILENO) &&
		       write_quietly(STDERR_FILENO, line);
	case LOG_TO_SYSLOG:
		return send_to_syslog(line);
	case LOG_TO_FILE:
		return append_to_file(line);
	case LOG_TO_NONE:
		break;
	}
	return true;
}

static void start_line(struct text *text, enum log_to to)
{
	char comm[RECORD_COMM] = "";

	if (to == LOG_TO_SYSLOG)
		text_add(text, "<28>"); /* facility daemon, level warning: 3 * 8 + 4 */
	if (to == LOG_TO_FILE)
		add_time(text); /* no other program adds it to the lines of this file */
	kernel_comm(comm);
	text_add(text, "sockguard: ");
	text_add_escaped(text, comm);
	text_add(text, "[");
	text_add_number(text, (uint64_t)caller->pid());
	text_add(text, "]: ");
}

static void add_call(struct text *text, const char *verb, const char *path)
{
	text_add(text, verb);
	text_add(text, "(\"");
	text_add_escaped(text, path);
	text_add(text, "\") ");
}

static void add_binder(struct text *text, const struct record *record, enum record_binder binder)
{
	text_add_escaped(text, record->comm[0] != '\0' ? record->comm : "a process");
	text_add(text, " (pid ");
	text_add_number(text, record->pid);
	if (binder == BINDER_FOREIGN)
		text_add(text, " of another PID namespace");
	text_add(text, ", uid ");
	text_add_number(text, record->uid);
	text_add(text, ")");
}

#define ENDED "has ended or is in another PID namespace"

static void add_live_owner(struct text *text, const struct record *record)
{
	enum record_binder binder = record_find_binder(record);
	bool ended = binder == BINDER_ENDED;

	text_add(text, ended ? "in use by another process; " : "in use by ");
	add_binder(text, record, binder);
	if (ended)
		text_add(text, ", which bound the socket, " ENDED);
}

static void add_lost_path(struct text *text, const struct record *record)
{
	enum record_binder binder = record_find_binder(record);
	bool ended = binder == BINDER_ENDED;

	text_add(text, "the path was removed, but not by its owner ");
	add_binder(text, record, binder);
	text_add(text, ended ? ", which " ENDED "; another process still holds the socket"
			     : ", which still holds the socket");
}

static void add_reason(struct text *text, enum reason reason, const struct record *record)
{
	switch (reason) {
	case REASON_OWNER_RECORDED:
		add_live_owner(text, record);
		break;
	case REASON_OWNER_UNRECORDED:
		text_add(text, "in use by a process that no record names");
		break;
	case REASON_OWNER_ELSEWHERE:
		text_add(text, "in use by another user's process in another network namespace");
		break;
	case REASON_UNDETERMINED:
		text_add(text, "cannot determine whether it is in use: permission denied or out of "
			       "resources");
		break;
	case REASON_ABSENT_CLAIMED:
		add_lost_path(text, record);
		break;
	case REASON_OWNER_REMOTE:
		text_add(text, "in use on another host by ");
		add_binder(text, record, record_find_binder(record));
		break;
	case REASON_MUTEX_BUSY:
		text_add(text,
			"another process kept the lock file locked for 3 seconds; look for a "
			"stopped process");
		break;
	}
}

static __attribute__((noinline)) bool send_refusal(enum log_to to, const char *verb,
	const char *path, enum reason reason, const struct record *record)
{
	char buffer[LINE];
	struct text text = text_start(buffer, sizeof(buffer));

	start_line(&text, to);
	add_call(&text, verb, path);
	text_add(&text, "refused with EADDRINUSE: ");
	add_reason(&text, reason, record);
	return send_line(&text, to);
}

void report_refusal(const char *verb, const char *path, enum reason reason,
	const struct record *record)
{
	int saved = errno;

	if (!send_refusal(config.log_to, verb, path, reason, record) &&
		config.log_to != LOG_TO_SYSLOG)
		send_refusal(LOG_TO_SYSLOG, verb, path, reason, record);
	errno = saved;
}

void report_bad_setting(const char *variable, const char *expected)
{
	int saved = errno;
	char buffer[LINE];
	struct text text = text_start(buffer, sizeof(buffer));

	start_line(&text, config.log_to);
	text_add(&text, variable);
	text_add(&text, " has an invalid value: expected ");
	text_add(&text, expected);
	text_add(&text, "; using the default");
	send_line(&text, config.log_to);
	errno = saved;
}

void report_decision(const char *verb, const char *path, const char *decision)
{
	int saved = errno;
	char buffer[LINE];
	struct text text = text_start(buffer, sizeof(buffer));

	if (!config.debug)
		return;
	start_line(&text, config.log_to);
	add_call(&text, verb, path);
	text_add(&text, decision);
	send_line(&text, config.log_to);
	errno = saved;
}

static bool send_unguarded(enum log_to to, const char *verb, const char *path, const char *why)
{
	char buffer[LINE];
	struct text text = text_start(buffer, sizeof(buffer));

	start_line(&text, to);
	if (path[0] != '\0') {
		add_call(&text, verb, path);
	} else {
		text_add(&text, verb);
		text_add(&text, " ");
	}
	text_add(&text, "is not guarded: ");
	text_add(&text, why);
	return send_line(&text, to);
}

void report_unguarded(const char *verb, const char *path, const char *why)
{
	int saved = errno;

	if (!send_unguarded(config.log_to, verb, path, why) && config.log_to != LOG_TO_SYSLOG)
		send_unguarded(LOG_TO_SYSLOG, verb, path, why);
	errno = saved;
}
