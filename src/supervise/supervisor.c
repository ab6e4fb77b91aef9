#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "classify.h"
#include "members.h"
#include "notify.h"
#include "pending.h"
#include "request.h"
#include "target.h"
#include "unguarded.h"
#include "worker.h"

#ifndef SYS_close_range
#define SYS_close_range 436 /* missing before glibc 2.34 */
#endif

enum {
	WATCHERS = 256,
	MAX_TRIES = 3,       /* workers or watchers for one call, before it fails with ENOMEM */
	TICK_NS = 10000000,  /* a watcher blocked on a call for one to two ticks is replaced */
	LONG_WAIT_MS = 1000, /* between the calls of check_processes */
	SHORT_WAIT_MS = 10,  /* the same, while workers of a killed keeper may exist */
	ORPHANS_MS = 4000,   /* how long after a takeover such workers may exist */
};

struct watcher {
	atomic_int pid;
	atomic_bool replaced; /* another watcher receives calls; this one exits after its call */
	uint64_t last_seen;   /* for the keeper: the call at the previous tick */
	int tries;            /* the number of watchers that were started for the call */
	union notification received; /* the call in progress; id 0 if none */
};

/* Shared memory: it survives the death of any process of the supervisor. */
static struct shared {
	atomic_int keeper;
	atomic_int current; /* the index of the watcher that receives calls */
	atomic_bool armed;  /* the timer is running */
	struct watcher watchers[WATCHERS];
} * shared;

static void block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

static struct watcher *current_watcher(void)
{
	return &shared->watchers[atomic_load(&shared->current)];
}

/* Inherited by all processes of the supervisor. */
static int notify_fd;
static int timer;
static int children; /* signalfd(2) of SIGCHLD */

/*
 * Starts the timer for the keeper's next tick, unless it is already running. So only the first
 * received call after a tick makes this system call.
 */
static void arm_timer(void)
{
	const struct itimerspec once = {.it_value = {.tv_nsec = TICK_NS}};

	if (!atomic_exchange(&shared->armed, true))
		timerfd_settime(timer, 0, &once, NULL);
}

/* ---- workers ---- */

/* Forks a child of the keeper, which waits for all workers and replaces those that are killed. */
static pid_t fork_for_keeper(void)
{
#ifdef __s390__
	return (pid_t)syscall(SYS_clone, 0, CLONE_PARENT | SIGCHLD, 0, 0, 0);
#else
	return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
#endif
}

static bool is_keeper(void)
{
	return atomic_load(&shared->keeper) == getpid();
}

/* Starts a worker for a slot that this process has reserved. The caller must hold the lock. */
static void start_worker(struct slot *slot)
{
	pid_t starter = getpid();
	pid_t pid;

	if (++slot->tries > MAX_TRIES) {
		pending_vacate(slot);
		notify_answer(notify_fd, slot->call.id, -1, ENOMEM);
		return;
	}
	pid = is_keeper() ? fork() : fork_for_keeper();
	if (pid == 0) {
		block_signals();
		worker_run(notify_fd, slot, starter);
	}
	if (pid > 0) {
		pending_assign(slot, pid);
		return;
	}
	pending_vacate(slot);
	notify_answer(notify_fd, slot->call.id, -1, ENOMEM);
}

/* ---- the watcher ---- */

/*
 * Continues the keeper if it is stopped. The posted call may depend on the keeper, which alone
 * notices that a worker has ended.
 */
static void continue_keeper(void)
{
	pid_t parent = getppid();

	if (parent == atomic_load(&shared->keeper))
		kill(parent, SIGCONT);
}

/* Passes a call to the worker of its thread. Returns false if no slot is free. */
static bool pass_to_worker(const struct seccomp_notif *call)
{
	struct slot *slot;
	bool full;

	pending_lock();
	slot = pending_post(call, &full);
	if (slot)
		start_worker(slot);
	pending_unlock();
	if (!slot)
		continue_keeper();
	return !full;
}

static enum classification read_and_classify(const struct seccomp_notif *call, int *error)
{
	static struct request request;

	switch (request_read(&request, call)) {
	case REQUEST_COMPLETE:
		return classify(notify_fd, &request, error);
	case REQUEST_HARMLESS:
		return CLASS_PASS;
	case REQUEST_UNREADABLE:
		break;
	}
	/* A worker logs that the process is not guarded. Then its calls need no worker any more. */
	return errno == EPERM && unguarded_is_reported((pid_t)call->pid) ? CLASS_PASS
									 : CLASS_WORKER;
}

/*
 * A watcher that becomes the keeper forks watchers, which may become the keeper. Each step of this
 * recursion is a new process.
 * NOLINTBEGIN(misc-no-recursion)
 */
static _Noreturn void run_keeper(bool first);

static volatile sig_atomic_t keeper_may_have_ended;

/*
 * If the keeper was killed, the current watcher becomes the keeper. Any other watcher exits after
 * its call.
 */
static void replace_dead_keeper(pid_t keeper, struct watcher *me)
{
	if (!keeper_may_have_ended || atomic_load(&me->replaced))
		return;
	keeper_may_have_ended = false;
	alarm(0);
	if (getppid() == keeper)
		return;
	if (me != current_watcher()) {
		atomic_store(&me->replaced, true);
		return;
	}
	if (!atomic_compare_exchange_strong(&shared->keeper, &keeper, getpid()))
		_exit(0); /* there is a new keeper, which has started another process as `me` */
	block_signals();
	atomic_store(&me->pid, 0);
	pending_unlock_of(keeper);
	run_keeper(false);
}

/*
 * A signal that arrives just before the watcher blocks does not interrupt the wait. So another
 * signal follows after a second, until replace_dead_keeper cancels it.
 */
static void on_keeper_death(int number)
{
	(void)number;
	keeper_may_have_ended = true;
	alarm(1);
}

/*
 * Makes the death of the keeper interrupt notify_receive with EINTR. The death signal is SIGCONT,
 * because the watcher may be stopped, and then no other process would continue it.
 */
static void interrupt_on_keeper_death(void)
{
	struct sigaction action = {.sa_handler = on_keeper_death};
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCONT);
	sigaddset(&signals, SIGALRM);
	sigaction(SIGCONT, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
	prctl(PR_SET_PDEATHSIG, SIGCONT, 0, 0, 0);
	keeper_may_have_ended = true; /* it may have ended before prctl */
}

/* Passes a call to a worker. While no slot is free, waits; only a keeper vacates slots. */
static void pass_to_worker_blocking(const struct seccomp_notif *call, pid_t keeper,
	struct watcher *me)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (notify_is_valid(notify_fd, call->id) && !pass_to_worker(call)) {
		nanosleep(&pause, NULL);
		replace_dead_keeper(keeper, me);
	}
}

static void handle(const struct seccomp_notif *call, pid_t keeper, struct watcher *me)
{
	enum classification class = CLASS_WORKER;
	int error = 0;

	if (request_is_test_call(call)) {
		notify_answer(notify_fd, call->id, 0, 0);
		return;
	}
	if (!pending_has_slot((pid_t)call->pid))
		class = read_and_classify(call, &error);
	/*
	 * If the caller is gone, read_and_classify may have read the arguments of a thread that
	 * reuses its ID. That is harmless: the kernel discards an answer to a call that is no
	 * longer stopped.
	 */
	if (class == CLASS_PASS)
		notify_continue(notify_fd, call->id);
	else if (class == CLASS_ANSWER)
		notify_answer(notify_fd, call->id, error == 0 ? 0 : -1, error);
	else
		pass_to_worker_blocking(call, keeper, me);
}

static _Noreturn void run_watcher(struct watcher *me, pid_t keeper)
{
	struct seccomp_notif *call = &me->received.call;

	interrupt_on_keeper_death();
	if (call->id != 0 && ++me->tries > MAX_TRIES)
		notify_answer(notify_fd, call->id, -1, ENOMEM);
	else if (call->id != 0) /* received by a watcher that was killed */
		handle(call, keeper, me);
	for (;;) {
		call->id = 0;
		me->tries = 0;
		replace_dead_keeper(keeper, me);
		if (atomic_load(&me->replaced))
			_exit(0);
		if (notify_receive(notify_fd, &me->received) == 0) {
			members_record_caller((pid_t)call->pid);
			arm_timer();
			handle(call, keeper, me);
		} else if (errno == ENOENT && notify_filter_is_unused(notify_fd)) {
			pause(); /* until the keeper kills it */
		}
	}
}

/* ---- the keeper ---- */

/* Returns false if the kernel is out of memory or process IDs. */
static bool start_watcher(struct watcher *watcher)
{
	pid_t keeper = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		atomic_store(&watcher->pid, getpid());
		if (getppid() == keeper || !atomic_load(&watcher->replaced))
			run_watcher(watcher, keeper);
		_exit(0);
	}
	if (pid > 0)
		atomic_store(&watcher->pid, pid);
	return pid > 0;
}

/*
 * Starts another watcher to receive calls, because this one is blocked on its call. Wherever the
 * keeper is killed here, exactly one of the two watchers is current, and becomes the keeper.
 */
static void replace_watcher(struct watcher *watcher)
{
	for (int i = 0; i < WATCHERS; i++) {
		struct watcher *other = &shared->watchers[i];

		if (atomic_load(&other->pid) != 0)
			continue;
		atomic_store(&other->replaced, false);
		other->received.call.id = 0;
		if (!start_watcher(other))
			return;
		atomic_store(&shared->current, i);
		atomic_store(&watcher->replaced, true);
		return;
	}
}

/*
 * Reads the call after it clears `armed`: a watcher that receives a call in the meantime either
 * starts the timer itself, or its call is read here. For this, the exchange must acquire what the
 * watcher wrote before its own exchange. If the watcher's fork failed, its structure is not in use:
 * starts the watcher instead of replacing it.
 */
static void on_timer(void)
{
	struct watcher *watcher = current_watcher();
	uint64_t expired, id;

	if (read(timer, &expired, sizeof(expired)) < 0)
		return;
	atomic_exchange(&shared->armed, false);
	id = watcher->received.call.id;
	if (atomic_load(&watcher->pid) == 0)
		start_watcher(watcher);
	else if (id != 0 && id == watcher->last_seen && !pending_is_full())
		replace_watcher(watcher);
	watcher->last_seen = id;
	if (id != 0)
		arm_timer();
}

/* Starts a worker for a slot that this process has reserved. Vacates it if its call is gone. */
static void start_worker_or_vacate(struct slot *slot)
{
	if (notify_is_valid(notify_fd, atomic_load(&slot->id)))
		start_worker(slot);
	else
		pending_vacate(slot);
}

/* Returns false if the process was not a worker. */
static bool on_worker_end(pid_t pid)
{
	struct slot *slot;

	pending_lock(); /* waits until the worker's starter has assigned the slot */
	slot = pending_slot_of_worker(pid);
	if (slot) {
		/* The worker was killed, or a call was posted after its last check. */
		pending_reserve(slot);
		start_worker_or_vacate(slot);
	}
	pending_unlock();
	return slot != NULL;
}

static void on_watcher_end(struct watcher *watcher)
{
	uint64_t id = watcher->received.call.id;

	atomic_store(&watcher->pid, 0);
	if (watcher == current_watcher())
		start_watcher(watcher);
	else if (notify_is_valid(notify_fd, id) && !start_watcher(watcher))
		notify_answer(notify_fd, id, -1, ENOMEM);
	atomic_store(&shared->armed, false); /* it may have set armed without starting the timer */
	arm_timer();
}

static void on_process_end(pid_t pid)
{
	pending_unlock_of(pid);
	if (on_worker_end(pid))
		return;
	for (int i = 0; i < WATCHERS; i++)
		if (atomic_load(&shared->watchers[i].pid) == pid)
			on_watcher_end(&shared->watchers[i]);
}

/* Starts workers for the slots whose starters were killed before they had assigned one. */
static void take_over_reserved(void)
{
	struct slot *slot;

	pending_lock();
	while ((slot = pending_take_over()))
		start_worker_or_vacate(slot);
	pending_unlock();
}

/* Handles ended children. Continues stopped ones, because callers wait for them. */
static void reap_children(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(children, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (WIFSTOPPED(status))
			kill(pid, SIGCONT);
		else
			on_process_end(pid);
	}
}

/*
 * Checks whether a worker or watcher has ended or stopped. If it is the child of a killed keeper,
 * not ours, no signal reports that. Kills it if its call is abandoned.
 */
static void check_process(pid_t pid, bool abandoned)
{
	if (pending_process_ended(pid))
		on_process_end(pid);
	else
		kill(pid, abandoned ? SIGKILL : SIGCONT);
}

/*
 * The keeper's periodic check. Kills workers and replaced watchers that are blocked on a call whose
 * caller is gone: a worker only at the second check with the same call, because it usually notices
 * and exits. Replaces workers of a killed keeper that have ended, and starts the current watcher if
 * its fork failed. Returns 0 if nothing is left for another check: there is a current watcher, and
 * no worker or replaced watcher.
 */
static int check_processes(void)
{
	int busy = 0;

	take_over_reserved();
	for (struct slot *slot = pending_next_with_worker(NULL); slot;
		slot = pending_next_with_worker(slot)) {
		pid_t pid = atomic_load(&slot->worker);
		uint64_t id = atomic_load(&slot->id);

		busy++;
		if (pid > 0)
			check_process(pid,
				id == slot->last_seen && !notify_is_valid(notify_fd, id));
		slot->last_seen = id;
	}
	for (int i = 0; i < WATCHERS; i++) {
		struct watcher *watcher = &shared->watchers[i];
		pid_t pid = atomic_load(&watcher->pid);

		if (pid == 0 && watcher == current_watcher())
			busy += !start_watcher(watcher); /* its fork failed before */
		if (pid <= 0 || watcher == current_watcher())
			continue;
		busy++;
		check_process(pid, !notify_is_valid(notify_fd, watcher->received.call.id));
	}
	return busy;
}

static void end_process(pid_t pid)
{
	if (pid > 0 && !pending_process_ended(pid))
		kill(pid, SIGKILL);
}

/* Kills all other processes of the supervisor, after the last guarded process has ended. */
static void end_all(void)
{
	int status;
	pid_t pid;

	for (int i = 0; i < WATCHERS; i++)
		end_process(atomic_load(&shared->watchers[i].pid));
	for (struct slot *slot = pending_next_with_worker(NULL); slot;
		slot = pending_next_with_worker(slot))
		end_process(atomic_load(&slot->worker));
	while ((pid = waitpid(-1, &status, WUNTRACED)) > 0 || errno == EINTR)
		if (pid > 0 && WIFSTOPPED(status))
			kill(pid, SIGKILL); /* it was not yet assigned to a slot */
}

static uint64_t after_milliseconds(unsigned int milliseconds)
{
	return pending_now() + milliseconds * UINT64_C(1000000);
}

static _Noreturn void run_keeper(bool first)
{
	struct pollfd ready[] = {
		{.fd = notify_fd}, /* POLLHUP only: no process has the filter any more */
		{.fd = timer, .events = POLLIN},
		{.fd = children, .events = POLLIN},
	};
	uint64_t orphans_until = first ? 0 : after_milliseconds(ORPHANS_MS);
	uint64_t next = 0; /* when to call check_processes */
	bool busy = true;

	start_watcher(current_watcher());
	atomic_store(&shared->armed, false); /* a killed keeper may have read the timer */
	arm_timer();
	while (ready[0].revents == 0) {
		int wait = pending_now() < orphans_until ? SHORT_WAIT_MS : LONG_WAIT_MS;

		poll(ready, 3, busy ? wait : -1);
		if (pending_now() >= next) {
			busy = check_processes() > 0 || pending_now() < orphans_until;
			next = after_milliseconds((unsigned int)wait);
		}
		if (ready[1].revents != 0) {
			on_timer();
			busy = true;
		}
		if (ready[2].revents != 0)
			reap_children();
	}
	end_all();
	_exit(0);
}

/* NOLINTEND(misc-no-recursion) */

void supervisor_run(int received)
{
	sigset_t signals;

	notify_fd = target_move_high(received);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	children = target_move_high(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
	timer = target_move_high(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	if (shared == MAP_FAILED || children < 0 || timer < 0 || !pending_init() ||
		!unguarded_init())
		return;
	atomic_store(&shared->keeper, getpid());
	notify_use_sync_wake_up(notify_fd);
	run_keeper(true);
}

/* The program's soft limit may be low. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int supervisor_detach(int kept)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	block_signals(); /* systemd sends SIGTERM to the whole control group */
	setsid();
	raise_descriptor_limit();
	if (chdir("/") != 0)
		return -1;
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			close(fd); /* /dev/null cannot be opened */
	dup2(kept, 3);
	syscall(SYS_close_range, 4, ~0U, 0);
	return target_move_high(3);
}
