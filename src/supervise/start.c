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
#include "notify.h"
#include "report.h"
#include "request.h"
#include "supervisor.h"
#include "target.h"
#include "trap.h"

/* A child whose end sends no signal: the program that comes after us is to have none pending. */
static pid_t fork_quietly(void)
{
#ifdef __s390__
	return (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
#else
	return (pid_t)syscall(SYS_clone, 0UL, 0, 0, 0, 0);
#endif
}

/* ---- handing the listener over ---- */

/* By a call that the filter lets pass. */
static bool send_listener(int over, int listener)
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
	memcpy(CMSG_DATA(&control.header), &listener, sizeof(listener));
	return sendmsg(over, &message, MSG_NOSIGNAL) == 1;
}

static int receive_listener(int over)
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
	int listener;

	if (recvmsg(over, &message, MSG_CMSG_CLOEXEC) != 1 ||
		message.msg_controllen < sizeof(control))
		return -1;
	memcpy(&listener, CMSG_DATA(&control.header), sizeof(listener));
	return listener;
}

static bool say(int over, char word)
{
	return send(over, &word, 1, MSG_NOSIGNAL) == 1;
}

static bool hear(int over, char *word)
{
	ssize_t length;

	do
		length = recv(over, word, 1, 0);
	while (length < 0 && errno == EINTR);
	return length == 1;
}

/* ---- the supervisor's side ---- */

/* Answers the one call of the trial, by the means that all others are answered by. */
static bool pass_trial(int listener)
{
	static struct target target;
	union notice notice;
	int copy;

	if (notify_receive(listener, &notice) != 0)
		return false;
	if (!request_is_knock(&notice.call) || !target_open(&target, (pid_t)notice.call.pid)) {
		notify_continue(listener, notice.call.id);
		return false;
	}
	copy = target_descriptor(&target, STDIN_FILENO);
	if (copy < 0 && errno != EBADF) {
		notify_continue(listener, notice.call.id);
		return false;
	}
	if (copy >= 0)
		close(copy);
	close(target.pidfd);
	close(target.descriptors);
	return notify_answer(listener, notice.call.id, 0, 0) == 0;
}

static _Noreturn void be_supervisor(int over)
{
	int trial, listener;

	config_load(report_setting); /* as the library does when it loads */
	over = supervisor_detach(over);
	request_load();
	trial = over < 0 ? -1 : receive_listener(over);
	if (trial < 0 || !pass_trial(trial))
		_exit(1);
	close(trial);
	listener = receive_listener(over);
	if (listener < 0 || !say(over, 'R'))
		_exit(1);
	close(over);
	supervisor_run(listener);
	_exit(0);
}

/* ---- the program's side ---- */

static enum start why_not(int error)
{
	return error == EBUSY ? START_TAKEN : error == ENOSYS ? START_TOO_OLD : START_FAILED;
}

/* In a process between the program and the supervisor, which has neither for a parent then. */
static _Noreturn void try_out(const struct trap *trap, int ours, int theirs)
{
	int listener;
	pid_t pid;

	pid = fork_quietly();
	if (pid == 0) {
		close(ours);
		be_supervisor(theirs);
	}
	if (pid < 0)
		_exit(START_FAILED);
	close(theirs);
	listener = trap_set(trap);
	if (listener < 0)
		_exit((int)why_not(errno));
	if (!send_listener(ours, listener))
		_exit(START_FAILED);
	close(listener);
	_exit(request_knock() == 0 ? START_DONE : START_FORBIDDEN);
}

static enum start wait_for_trial(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return START_FAILED;
	return WIFEXITED(status) ? (enum start)WEXITSTATUS(status) : START_FAILED;
}

static enum start hand_over(const struct trap *trap, int over)
{
	int listener = trap_set(trap);
	bool ready;
	char word;

	if (listener < 0)
		return why_not(errno);
	ready = send_listener(over, listener) && hear(over, &word);
	close(listener);
	return ready ? START_DONE : START_FAILED;
}

static enum start start_with(const struct trap *trap, const int ends[2])
{
	pid_t pid = fork_quietly();
	enum start start;

	if (pid == 0)
		try_out(trap, ends[0], ends[1]);
	if (pid < 0)
		return START_FAILED;
	close(ends[1]);
	start = wait_for_trial(pid);
	return start == START_DONE ? hand_over(trap, ends[0]) : start;
}

enum start start_supervisor(bool allows_rings)
{
	struct trap trap = {.allows_rings = allows_rings};
	enum start start;
	int ends[2];

	if (request_knock() == 0)
		return START_ALREADY;
	if (!notify_fits() || !trap_write(&trap))
		return START_TOO_OLD;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return START_FAILED;
	report_load(); /* the supervisor writes to what is now descriptor 2 */
	start = start_with(&trap, ends);
	close(ends[0]);
	free(trap.program.filter);
	return start;
}
