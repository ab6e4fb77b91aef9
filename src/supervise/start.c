#include "start.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "members.h"
#include "notify.h"
#include "report.h"
#include "request.h"
#include "supervisor.h"
#include "target.h"
#include "title.h"
#include "trap.h"

/*
 * Forks a child that sends no SIGCHLD when it exits: the signal could still be pending when the
 * program is executed.
 */
static pid_t fork_without_signal(void)
{
#ifdef __s390__
	return (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
#else
	return (pid_t)syscall(SYS_clone, 0UL, 0, 0, 0, 0);
#endif
}

/* ---- sending the notification descriptor ---- */

/* The sender is already under the filter, which does not stop sendmsg(2). */
static bool send_notify_fd(int channel, int notify_fd)
{
	char word = 'L';
	struct iovec data = {.iov_base = &word, .iov_len = 1};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};

	memset(&control, 0, sizeof(control));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &notify_fd, sizeof(notify_fd));
	return sendmsg(channel, &message, MSG_NOSIGNAL) == 1;
}

static int receive_notify_fd(int channel)
{
	char word;
	struct iovec data = {.iov_base = &word, .iov_len = 1};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	int notify_fd;

	if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1 ||
		message.msg_controllen < sizeof(control))
		return -1;
	memcpy(&notify_fd, CMSG_DATA(&control.header), sizeof(notify_fd));
	return notify_fd;
}

static bool send_byte(int channel, char word)
{
	return send(channel, &word, 1, MSG_NOSIGNAL) == 1;
}

static bool receive_byte(int channel, char *word)
{
	ssize_t length;

	do
		length = recv(channel, word, 1, 0);
	while (length < 0 && errno == EINTR);
	return length == 1;
}

/* ---- the supervisor's side ---- */

/* Tries every operation that later calls will require, except the answer, on the stopped caller. */
static bool try_operations(int notify_fd, const struct seccomp_notif *call)
{
	static struct target target;
	bool done = false;
	int copy;

	if (!request_is_test_call(call) || !target_open(&target, (pid_t)call->pid) ||
		target.descriptors < 0)
		return false;
	copy = target_get_descriptor(&target, STDIN_FILENO);
	if (copy >= 0 || errno == EBADF)
		/* The caller exits after the trial, so any of its descriptors may be replaced. */
		done = notify_is_valid(notify_fd, call->id) &&
		       notify_inject(notify_fd, call->id, target.pidfd, STDIN_FILENO) >= 0;
	if (copy >= 0)
		close(copy);
	close(target.pidfd);
	close(target.descriptors);
	return done;
}

static bool answer_trial(int notify_fd)
{
	union notification notification;
	const struct seccomp_notif *call = &notification.call;

	if (!notify_wait(notify_fd) || notify_receive(notify_fd, &notification) != 0)
		return false;
	if (try_operations(notify_fd, call))
		return notify_answer(notify_fd, call->id, 0, 0) == 0;
	notify_continue(notify_fd, call->id);
	return false;
}

static _Noreturn void run_supervisor(int channel, pid_t program)
{
	int trial, notify_fd;

	config_load(report_bad_setting); /* the library does this in its constructor */
	title_set(program);
	channel = supervisor_detach(channel);
	members_create(program);
	request_init();
	trial = channel < 0 ? -1 : receive_notify_fd(channel);
	if (trial < 0 || !answer_trial(trial))
		_exit(1);
	close(trial);
	notify_fd = receive_notify_fd(channel);
	if (notify_fd < 0 || !send_byte(channel, 'R'))
		_exit(1);
	close(channel);
	supervisor_run(notify_fd);
	_exit(0);
}

/* ---- the program's side ---- */

static enum start status_of_error(int error)
{
	return error == EBUSY ? START_TAKEN : error == ENOSYS ? START_TOO_OLD : START_FAILED;
}

/*
 * Runs in a temporary process. It forks the supervisor and exits, so that neither the program nor
 * the supervisor is a child of the other.
 */
static _Noreturn void run_trial(const struct trap *trap, int ours, int theirs)
{
	pid_t program = getppid();
	int notify_fd;
	pid_t pid;

	pid = fork_without_signal();
	if (pid == 0) {
		close(ours);
		run_supervisor(theirs, program);
	}
	if (pid < 0)
		_exit(START_FAILED);
	close(theirs);
	notify_fd = trap_install(trap);
	if (notify_fd < 0)
		_exit((int)status_of_error(errno));
	if (!send_notify_fd(ours, notify_fd))
		_exit(START_FAILED);
	close(notify_fd);
	_exit(request_make_test_call() == 0 ? START_DONE : START_FORBIDDEN);
}

static enum start wait_for_trial(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return START_FAILED;
	return WIFEXITED(status) ? (enum start)WEXITSTATUS(status) : START_FAILED;
}

static enum start guard_ourselves(const struct trap *trap, int channel)
{
	int notify_fd = trap_install(trap);
	bool ready;
	char word;

	if (notify_fd < 0)
		return status_of_error(errno);
	ready = send_notify_fd(channel, notify_fd) && receive_byte(channel, &word);
	close(notify_fd);
	return ready ? START_DONE : START_LOST;
}

static enum start try_then_guard(const struct trap *trap, bool guards_us)
{
	enum start start = START_FAILED;
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return START_FAILED;
	pid = fork_without_signal();
	if (pid == 0)
		run_trial(trap, ends[0], ends[1]);
	close(ends[1]);
	if (pid > 0)
		start = wait_for_trial(pid);
	if (start == START_DONE && guards_us)
		start = guard_ourselves(trap, ends[0]);
	close(ends[0]);
	return start;
}

/* Runs the trial. If it succeeds and guards_us is true, puts this process under the supervisor. */
static enum start set_up(bool allows_rings, bool guards_us)
{
	struct trap trap = {.allows_rings = allows_rings};
	enum start start;

	if (request_make_test_call() == 0)
		return START_ALREADY;
	if (!notify_structures_fit() || !trap_generate(&trap))
		return START_TOO_OLD;
	report_remember_stderr(); /* workers recognise the caller's descriptor 2 by this file */
	start = try_then_guard(&trap, guards_us);
	free(trap.program.filter);
	return start;
}

enum start start_try(void)
{
	return set_up(true, false);
}

enum start start_supervisor(bool allows_rings)
{
	return set_up(allows_rings, true);
}
