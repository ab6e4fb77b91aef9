#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "classify.h"
#include "notify.h"
#include "request.h"
#include "target.h"
#include "worker.h"

/* ---- calls under way ---- */

enum { FREE = 0, TAKEN = -1 };

/* Of each worker, so that its caller is answered should it be killed. */
struct work {
	atomic_int worker; /* its number, or FREE, or TAKEN */
	unsigned int tries;
	struct seccomp_notif call;
};

enum { WORKERS = 256, TRIES = 3 };

/* What outlives a watcher that is killed. */
static struct shared {
	struct commons commons;
	union notice received; /* id 0: none that nobody works at */
	struct work work[WORKERS];
} * shared;

static struct work *take_work(void)
{
	for (size_t i = 0; i < WORKERS; i++) {
		int free = FREE;

		if (atomic_compare_exchange_strong(&shared->work[i].worker, &free, TAKEN))
			return &shared->work[i];
	}
	return NULL;
}

static void start_worker(int listener, struct work *work, const struct request *request)
{
	pid_t pid = fork();

	if (pid == 0) {
		atomic_store(&work->worker, getpid()); /* our parent may be killed before it does */
		worker_run(listener, request, &shared->commons);
	}
	if (pid > 0) {
		atomic_store(&work->worker, pid);
		return;
	}
	atomic_store(&work->worker, FREE);
	notify_answer(listener, request->id, -1, ENOMEM);
}

static bool ended_well(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- one call ---- */

static void handle(int listener, const struct seccomp_notif *call, unsigned int tries)
{
	static struct request request;
	struct work *work;
	enum look look;
	int error = 0;

	if (request_is_knock(call)) {
		notify_answer(listener, call->id, 0, 0);
		return;
	}
	look = request_read(&request, call) ? look_at(&request, &error) : LOOK_PASS;
	/* What was read is the caller's only if it still waits. */
	if (!notify_valid(listener, call->id))
		return;
	if (look == LOOK_PASS)
		notify_continue(listener, call->id);
	else if (look == LOOK_ANSWER)
		notify_answer(listener, call->id, -1, error);
	if (look != LOOK_JUDGE)
		return;
	work = tries < TRIES ? take_work() : NULL;
	if (!work) {
		notify_answer(listener, call->id, -1, ENOMEM);
		return;
	}
	work->tries = tries + 1;
	work->call = *call;
	start_worker(listener, work, &request);
}

/* A child has changed its state. One that was stopped goes on, or its caller would wait for ever.
 */
static void see_to(int listener, pid_t pid, int status)
{
	if (WIFSTOPPED(status)) {
		kill(pid, SIGCONT);
		return;
	}
	for (size_t i = 0; i < WORKERS; i++) {
		struct work *work = &shared->work[i];
		struct seccomp_notif call = work->call;
		unsigned int tries = work->tries;

		if (atomic_load(&work->worker) != pid)
			continue;
		atomic_store(&work->worker, FREE);
		if (!ended_well(status) && notify_valid(listener, call.id))
			handle(listener, &call, tries);
	}
}

static void see_to_children(int listener)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0)
		see_to(listener, pid, status);
}

static void receive(int listener)
{
	if (notify_receive(listener, &shared->received) == 0)
		handle(listener, &shared->received.call, 0);
	shared->received.call.id = 0;
}

/* A call that a killed watcher had received, and had started no worker for. */
static void take_over(int listener)
{
	struct seccomp_notif *received = &shared->received.call;

	if (received->id != 0 && notify_valid(listener, received->id))
		handle(listener, received, 0);
	received->id = 0;
}

static bool has_room(void)
{
	for (size_t i = 0; i < WORKERS; i++)
		if (atomic_load(&shared->work[i].worker) == FREE)
			return true;
	return false;
}

static void watch(int listener)
{
	struct pollfd ready[2] = {{.fd = listener, .events = POLLIN}, {.events = POLLIN}};
	sigset_t children;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	ready[1].fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	take_over(listener);
	for (;;) {
		struct signalfd_siginfo info;

		/* More calls wait in the kernel until a worker has ended. */
		ready[0].fd = has_room() ? listener : -1;
		if (poll(ready, 2, -1) < 0)
			continue;
		if (ready[1].revents != 0) {
			while (read(ready[1].fd, &info, sizeof(info)) > 0)
				;
			see_to_children(listener);
		}
		if (ready[0].revents & POLLIN)
			receive(listener);
		else if (ready[0].revents & (POLLHUP | POLLERR))
			return;
	}
}

/* ---- both ---- */

static pid_t start_watcher(int listener)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	watch(listener);
	_exit(0);
}

void supervisor_run(int listener)
{
	pid_t watcher, pid;
	int status = 0;
	int high = fcntl(listener, F_DUPFD_CLOEXEC, TARGET_HIGH);

	if (high >= 0) {
		close(listener);
		listener = high;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	if (shared == MAP_FAILED)
		return;
	notify_wake_fast(listener);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* of a killed watcher's workers */
	watcher = start_watcher(listener);
	for (;;) {
		bool ended;

		pid = waitpid(-1, &status, WUNTRACED);
		ended = pid == watcher && !WIFSTOPPED(status);
		if (ended && ended_well(status))
			return;
		if (ended || (pid < 0 && errno == ECHILD)) /* or there was no memory for it */
			watcher = start_watcher(listener);
		else if (pid > 0)
			see_to(listener, pid, status);
	}
}

int supervisor_detach(int kept)
{
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); /* a service's stop reaches the whole group */
	setsid();
	if (chdir("/") != 0)
		return -1;
	for (int fd = 0; fd < 3; fd++)
		if (dup2(nowhere, fd) < 0)
			close(fd); /* no /dev/null here */
	dup2(kept, 3);
	syscall(SYS_close_range, 4, ~0U, 0);
	kept = fcntl(3, F_DUPFD_CLOEXEC, TARGET_HIGH);
	if (kept < 0)
		return 3;
	close(3);
	return kept;
}
