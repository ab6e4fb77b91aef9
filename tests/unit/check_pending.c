/* Tests of pending: slots for calls in progress, and the lock, in memory that processes share. */
#include "pending.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "suite.h"

#define MS UINT64_C(1000000) /* nanoseconds */

static void init(void)
{
	ck_assert(pending_init());
}

static struct slot *post(int tid, uint64_t id, bool expect_full)
{
	const struct seccomp_notif call = {.pid = (uint32_t)tid, .id = id};
	bool full = !expect_full;
	struct slot *slot = pending_post(&call, &full);

	ck_assert_int_eq(full, expect_full);
	return slot;
}

/* Posts a call, and makes this process the worker of its slot. */
static struct slot *post_and_attach(int tid, uint64_t id)
{
	struct slot *slot = post(tid, id, false);

	ck_assert_ptr_nonnull(slot);
	ck_assert(pending_attach(slot, getpid()));
	return slot;
}

/* ---- posting ---- */

START_TEST(a_posted_call_reserves_a_slot)
{
	struct slot *slot;

	ck_assert(!pending_has_slot(10));
	slot = post(10, 100, false);
	ck_assert_ptr_nonnull(slot);
	ck_assert_int_eq(slot->worker, -getpid());
	ck_assert_int_eq(slot->tid, 10);
	ck_assert_uint_eq(slot->id, 100);
	ck_assert_uint_eq(slot->call.id, 100);
	ck_assert_uint_eq(slot->posted, 1);
	ck_assert_uint_eq(slot->tries, 0);
	ck_assert(pending_has_slot(10));
	ck_assert(!pending_has_slot(11));
	ck_assert(!pending_has_slot(0));
}
END_TEST

START_TEST(a_later_call_of_the_thread_goes_to_its_worker)
{
	struct slot *slot = post_and_attach(10, 100);

	slot->tries = 2;
	ck_assert_ptr_null(post(10, 101, false));
	ck_assert_uint_eq(slot->id, 101);
	ck_assert_uint_eq(slot->call.id, 101);
	ck_assert_uint_eq(slot->posted, 2);
	ck_assert_uint_eq(slot->tries, 0);
	ck_assert_int_eq(slot->worker, getpid());
}
END_TEST

START_TEST(a_call_that_was_posted_before_is_not_posted_again)
{
	struct slot *slot = post_and_attach(10, 100);

	slot->tries = 2;
	ck_assert_ptr_null(post(10, 100, false));
	ck_assert_uint_eq(slot->posted, 1);
	ck_assert_uint_eq(slot->tries, 2);
}
END_TEST

/* A watcher may have been killed between the reservation and the start of the worker. */
START_TEST(a_slot_whose_starter_ended_is_reserved_again)
{
	struct slot *slot = post(10, 100, false);

	slot->worker = -1;
	ck_assert_ptr_eq(post(10, 100, false), slot);
	ck_assert_int_eq(slot->worker, -getpid());
}
END_TEST

START_TEST(each_thread_has_its_own_slot)
{
	struct slot *first = post_and_attach(10, 100);
	struct slot *second = post(11, 101, false);

	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_ne(second, first);
	ck_assert_int_eq(first->tid, 10);
	ck_assert_uint_eq(first->id, 100);
	second->worker = 1; /* any PID */
	ck_assert_ptr_null(post(11, 102, false));
	ck_assert_uint_eq(second->id, 102);
}
END_TEST

START_TEST(a_slot_without_worker_and_effect_is_reused)
{
	struct slot *slot = post_and_attach(10, 100);

	pending_vacate(slot);
	ck_assert_int_eq(slot->worker, 0);
	ck_assert(!pending_has_slot(10));
	ck_assert_ptr_eq(post(11, 101, false), slot);
	ck_assert_int_eq(slot->tid, 11);
}
END_TEST

START_TEST(a_slot_with_an_effect_waits_for_its_thread)
{
	struct slot *slot = post_and_attach(10, 100);
	struct slot *other;

	slot->effect.key = 1;
	pending_vacate(slot);
	ck_assert(pending_has_slot(10));
	other = post(11, 101, false);
	ck_assert_ptr_nonnull(other);
	ck_assert_ptr_ne(other, slot);
	ck_assert_ptr_eq(post(10, 102, false), slot);
	ck_assert_uint_eq(slot->effect.key, 1);
}
END_TEST

/* ---- all slots ---- */

/* Makes this process the worker of every slot. */
static void fill(struct slot **slots)
{
	for (int i = 0; i < PENDING_SLOTS; i++) {
		ck_assert(!pending_is_full());
		slots[i] = post_and_attach(1000 + i, 2000 + (uint64_t)i);
	}
	ck_assert(pending_is_full());
}

START_TEST(a_call_waits_while_every_slot_has_a_worker)
{
	struct slot *slots[PENDING_SLOTS];

	fill(slots);
	ck_assert_ptr_null(post(10, 100, true));
	ck_assert_ptr_null(post(1000, 100, false)); /* this thread has a slot already */
	ck_assert_uint_eq(slots[0]->id, 100);
	for (int i = 0; i < PENDING_SLOTS; i++) {
		pending_vacate(slots[i]);
		ck_assert(!pending_is_full());
		ck_assert_ptr_eq(post(10 + i, 101, false), slots[i]);
		ck_assert(pending_is_full());
	}
}
END_TEST

START_TEST(the_oldest_effect_is_forgotten_first)
{
	struct slot *slots[PENDING_SLOTS];

	fill(slots);
	for (int i = 0; i < PENDING_SLOTS; i++) {
		slots[i]->effect.key = 7;
		slots[i]->effect.since = (uint64_t)(i < 100 ? 500 - i : i);
		if (i > 0)
			pending_vacate(slots[i]);
	}
	slots[0]->effect.since = 1; /* the oldest, but this slot has a worker */
	ck_assert_ptr_eq(post(10, 100, false), slots[100]);
	ck_assert_uint_eq(slots[100]->effect.key, 0);
	ck_assert_int_eq(slots[100]->tid, 10);
	ck_assert(!pending_has_slot(1100));
	ck_assert(pending_has_slot(1101));
	slots[200]->effect.key = 0;
	ck_assert_ptr_eq(post(11, 101, false), slots[200]); /* it has no effect */
}
END_TEST

/* ---- workers ---- */

START_TEST(a_worker_is_found_by_its_pid)
{
	struct slot *first = post_and_attach(10, 100);
	struct slot *second = post(11, 101, false);

	ck_assert_ptr_eq(pending_slot_of_worker(getpid()), first);
	ck_assert_ptr_eq(pending_slot_of_worker(-getpid()), second);
	ck_assert_ptr_null(pending_slot_of_worker(1));
	second->worker = 1;
	ck_assert_ptr_eq(pending_slot_of_worker(1), second);
}
END_TEST

START_TEST(only_slots_with_workers_are_enumerated)
{
	struct slot *slots[5];

	ck_assert_ptr_null(pending_next_with_worker(NULL));
	for (int i = 0; i < 5; i++)
		slots[i] = post(10 + i, 100, false);
	ck_assert_ptr_null(pending_next_with_worker(NULL)); /* they are only reserved */
	slots[0]->worker = slots[2]->worker = 1;
	pending_vacate(slots[1]);
	slots[4]->worker = 5;
	ck_assert_ptr_eq(pending_next_with_worker(NULL), slots[0]);
	ck_assert_ptr_eq(pending_next_with_worker(slots[0]), slots[2]);
	ck_assert_ptr_eq(pending_next_with_worker(slots[1]), slots[2]);
	ck_assert_ptr_eq(pending_next_with_worker(slots[2]), slots[4]);
	ck_assert_ptr_null(pending_next_with_worker(slots[4]));
}
END_TEST

START_TEST(a_worker_attaches_only_to_what_its_starter_reserved)
{
	struct slot *slot = post(10, 100, false);

	ck_assert(!pending_attach(slot, 1));
	ck_assert_int_eq(slot->worker, -getpid());
	ck_assert(pending_attach(slot, getpid()));
	ck_assert_int_eq(slot->worker, getpid());
	ck_assert(pending_attach(slot, getpid())); /* as if the starter had assigned it first */
	slot->worker = getpid() + 1;
	ck_assert(!pending_attach(slot, getpid()));
	pending_reserve(slot);
	ck_assert_int_eq(slot->worker, -getpid());
}
END_TEST

START_TEST(a_starter_assigns_only_what_it_reserved)
{
	struct slot *slot = post(10, 100, false);

	pending_assign(slot, 4711);
	ck_assert_int_eq(slot->worker, 4711);
	pending_assign(slot, 4712);
	ck_assert_int_eq(slot->worker, 4711);
}
END_TEST

START_TEST(slots_of_a_dead_starter_are_taken_over)
{
	struct slot *slot = post(10, 100, false);

	pending_assign(slot, 4711);
	ck_assert_ptr_null(pending_take_over());
	slot->worker = -4712;
	ck_assert_ptr_eq(pending_take_over(), slot);
	ck_assert_int_eq(slot->worker, -getpid());
	pending_vacate(slot);
	ck_assert_ptr_null(pending_take_over());
}
END_TEST

/* ---- the call in the slot ---- */

static void sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

/* Starts a child that runs act, and does not wait for it. */
static pid_t start(void (*act)(void *about), void *about)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		act(about);
		_exit(EXIT_SUCCESS);
	}
	return pid;
}

static void expect_success(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static struct slot *incomplete;

static void finish_writing(int number)
{
	(void)number;
	incomplete->call.id = 101;
	incomplete->id = 101;
}

/* A signal handler takes the place of the watcher, which might be delayed for too long. */
START_TEST(a_call_is_read_when_it_is_complete)
{
	const struct sigaction action = {.sa_handler = finish_writing};
	const struct itimerval once = {.it_value = {.tv_usec = 20000}};
	struct slot *slot = post(10, 100, false);
	struct seccomp_notif call;

	ck_assert(pending_read(slot, &call));
	ck_assert_uint_eq(call.id, 100);
	ck_assert_uint_eq(call.pid, 10);
	slot->id = 0; /* a watcher is writing the next call */
	incomplete = slot;
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &once, NULL), 0);
	ck_assert(pending_read(slot, &call));
	ck_assert_uint_eq(call.id, 101);
}
END_TEST

START_TEST(a_call_that_a_killed_watcher_was_writing_is_not_awaited_for_ever)
{
	struct slot *slot = post(10, 100, false);
	struct seccomp_notif call;

	slot->id = 0;
	ck_assert(!pending_read(slot, &call));
}
END_TEST

static void post_next(void *about)
{
	(void)about;
	sleep_ms(50);
	if (post(10, 101, false))
		_exit(EXIT_FAILURE); /* the slot has a worker */
}

START_TEST(a_worker_waits_for_the_next_call)
{
	struct slot *slot = post_and_attach(10, 100);
	uint64_t before = pending_now();
	pid_t child;

	ck_assert(!pending_wait_for_next(slot, 100, 30));
	ck_assert_uint_ge(pending_now() - before, 30 * MS);
	ck_assert(pending_wait_for_next(slot, 99, 1000000)); /* the slot has call 100 already */
	child = start(post_next, NULL);
	ck_assert(pending_wait_for_next(slot, 100, 1000000));
	ck_assert_uint_eq(slot->id, 101);
	expect_success(child);
	ck_assert(pending_wait_for_next(slot, 100, 0));
	ck_assert(!pending_wait_for_next(slot, 101, 0));
}
END_TEST

START_TEST(the_time_is_that_of_the_monotonic_clock)
{
	struct timespec before, after;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &before);
	now = pending_now();
	clock_gettime(CLOCK_MONOTONIC, &after);
	ck_assert_uint_ge(now, (uint64_t)before.tv_sec * 1000 * MS + (uint64_t)before.tv_nsec);
	ck_assert_uint_le(now, (uint64_t)after.tv_sec * 1000 * MS + (uint64_t)after.tv_nsec);
}
END_TEST

/* ---- ended processes ---- */

static void end_at_once(void *about)
{
	(void)about;
}

static void do_nothing(const void *about)
{
	(void)about;
}

START_TEST(a_process_has_ended_even_if_nobody_waited_for_it)
{
	pid_t alive = start_child(do_nothing, NULL);
	int descriptors = count_descriptors();
	pid_t ended = start(end_at_once, NULL);
	siginfo_t info;

	ck_assert_int_eq(waitid(P_PID, (id_t)ended, &info, WEXITED | WNOWAIT), 0);
	ck_assert(pending_process_ended(ended));
	expect_success(ended);
	ck_assert(pending_process_ended(ended));
	ck_assert(!pending_process_ended(alive));
	ck_assert_int_eq(count_descriptors(), descriptors);
	close(STDIN_FILENO);
	errno = ESRCH;
	ck_assert(!pending_process_ended(alive));
	ck_assert_int_lt(fcntl(STDIN_FILENO, F_GETFD), 0);
	ck_assert_int_eq(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
	use_up_descriptors();
	ck_assert(!pending_process_ended(alive)); /* unknown counts as alive */
}
END_TEST

static void leave_session(const void *about)
{
	(void)about;
	ck_assert_int_ge(setsid(), 0);
}

/* A process outside of the supervisor has the PID of one that has ended. */
START_TEST(a_process_outside_of_our_session_counts_as_ended)
{
	ck_assert(pending_process_ended(start_child(leave_session, NULL)));
	ck_assert(!pending_process_ended(getpid()));
}
END_TEST

/* Makes getsid(2) fail for all processes but this one, as a security module may. */
static void forbid_getsid_of_others(void)
{
	/* The low 32 bits of the first argument, which getsid(0) leaves 0. */
	const unsigned int pid = offsetof(struct seccomp_data, args) +
				 (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0);
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pid),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = {sizeof(steps) / sizeof(*steps), steps};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

START_TEST(a_process_whose_session_is_secret_counts_as_alive)
{
	pid_t alive = start_child(do_nothing, NULL);

	forbid_getsid_of_others();
	ASSERT_FAILS(getsid(alive), EACCES);
	ck_assert(!pending_process_ended(alive));
	kill_child(alive);
	ck_assert(pending_process_ended(alive));
}
END_TEST

/* ---- the lock ---- */

struct progress {
	int pipe[2]; /* each holder of the lock writes a byte */
	int stay;    /* whether the child keeps the lock, until it is killed */
};

static void lock_in_child(void *about)
{
	const struct progress *progress = about;

	pending_lock();
	if (write(progress->pipe[1], "", 1) != 1)
		_exit(EXIT_FAILURE);
	while (progress->stay)
		pause();
	pending_unlock();
}

static bool has_byte(int fd, int milliseconds)
{
	struct pollfd pipe = {.fd = fd, .events = POLLIN};

	return poll(&pipe, 1, milliseconds) == 1;
}

/* Waits until the child holds the lock. */
static void expect_locked(const struct progress *progress)
{
	char byte;

	ck_assert_int_eq(read(progress->pipe[0], &byte, 1), 1);
}

/* Starts a child that holds the lock until it is killed. */
static pid_t start_holder(struct progress *progress)
{
	pid_t child;

	progress->stay = 1;
	ck_assert_int_eq(pipe2(progress->pipe, O_CLOEXEC), 0);
	child = start(lock_in_child, progress);
	expect_locked(progress);
	return child;
}

START_TEST(the_lock_has_one_holder)
{
	struct progress progress = {0};
	pid_t child;

	ck_assert_int_eq(pipe2(progress.pipe, O_CLOEXEC), 0);
	pending_lock();
	pending_unlock_of(getppid()); /* no effect: the parent does not hold the lock */
	child = start(lock_in_child, &progress);
	ck_assert(!has_byte(progress.pipe[0], 100));
	pending_unlock();
	expect_locked(&progress);
	expect_success(child);
	pending_lock();
	pending_unlock();
	pending_unlock(); /* no effect: the lock has no holder */
	pending_lock();
}
END_TEST

/* This process has not waited for the killed child, which is therefore a zombie. */
START_TEST(the_lock_of_a_killed_holder_is_released)
{
	struct progress progress;
	pid_t child = start_holder(&progress);

	kill(child, SIGKILL);
	pending_lock();
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	progress.stay = 0;
	child = start(lock_in_child, &progress);
	ck_assert(!has_byte(progress.pipe[0], 100)); /* this process holds the lock now */
	pending_unlock();
	expect_success(child);
}
END_TEST

static void lock_and_leave_session(const void *about)
{
	pending_lock();
	leave_session(about);
}

/* The PID in the lock is that of a holder that was killed. Now another process has this PID. */
START_TEST(the_lock_of_a_holder_whose_pid_is_reused_is_released)
{
	pid_t child = start_child(lock_and_leave_session, NULL);

	pending_lock();
	pending_unlock_of(child); /* no effect: this process holds the lock now */
	ck_assert_int_eq(kill(child, 0), 0);
}
END_TEST

/* The killed holder had the PID of this process, which never acquires the lock twice. */
START_TEST(the_lock_of_a_killed_holder_with_our_pid_is_released)
{
	struct progress progress = {0};
	pid_t child;

	pending_lock();
	pending_lock();
	ck_assert_int_eq(pipe2(progress.pipe, O_CLOEXEC), 0);
	child = start(lock_in_child, &progress);
	ck_assert(!has_byte(progress.pipe[0], 100)); /* this process holds the lock */
	pending_unlock();
	expect_success(child);
}
END_TEST

/* As the keeper does for a child that has ended. */
START_TEST(the_lock_can_be_released_for_another_process)
{
	struct progress progress;
	pid_t child = start_holder(&progress);

	pending_unlock_of(child);
	pending_lock(); /* succeeds although the child is alive */
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

enum { PROCESSES = 4, ROUNDS = 3000 };

/* Without the lock, some increments would be lost. */
static void increment_often(void *about)
{
	volatile int *count = about;

	for (int i = 0; i < ROUNDS; i++) {
		pending_lock();
		*count = *count + 1;
		pending_unlock();
	}
}

START_TEST(processes_hold_the_lock_in_turn)
{
	int *count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	pid_t children[PROCESSES];

	ck_assert_ptr_ne(count, MAP_FAILED);
	for (int i = 0; i < PROCESSES; i++)
		children[i] = start(increment_often, count);
	for (int i = 0; i < PROCESSES; i++)
		expect_success(children[i]);
	ck_assert_int_eq(*count, PROCESSES * ROUNDS);
}
END_TEST

static TCase *pending_cases(Suite *suite, const char *name)
{
	TCase *cases = suite_cases(suite, name);

	tcase_add_checked_fixture(cases, init, NULL);
	return cases;
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("pending");
	TCase *posting = pending_cases(suite, "posting");
	TCase *workers = pending_cases(suite, "workers");
	TCase *lock = pending_cases(suite, "lock");
	TCase *forbidden = pending_cases(suite, "forbidden");

	tcase_add_test(posting, a_posted_call_reserves_a_slot);
	tcase_add_test(posting, a_later_call_of_the_thread_goes_to_its_worker);
	tcase_add_test(posting, a_call_that_was_posted_before_is_not_posted_again);
	tcase_add_test(posting, a_slot_whose_starter_ended_is_reserved_again);
	tcase_add_test(posting, each_thread_has_its_own_slot);
	tcase_add_test(posting, a_slot_without_worker_and_effect_is_reused);
	tcase_add_test(posting, a_slot_with_an_effect_waits_for_its_thread);
	tcase_add_test(posting, a_call_waits_while_every_slot_has_a_worker);
	tcase_add_test(posting, the_oldest_effect_is_forgotten_first);
	tcase_add_test(workers, a_worker_is_found_by_its_pid);
	tcase_add_test(workers, only_slots_with_workers_are_enumerated);
	tcase_add_test(workers, a_worker_attaches_only_to_what_its_starter_reserved);
	tcase_add_test(workers, a_starter_assigns_only_what_it_reserved);
	tcase_add_test(workers, slots_of_a_dead_starter_are_taken_over);
	tcase_add_test(workers, a_call_is_read_when_it_is_complete);
	tcase_add_test(workers, a_call_that_a_killed_watcher_was_writing_is_not_awaited_for_ever);
	tcase_add_test(workers, a_worker_waits_for_the_next_call);
	tcase_add_test(workers, the_time_is_that_of_the_monotonic_clock);
	tcase_add_test(workers, a_process_has_ended_even_if_nobody_waited_for_it);
	tcase_add_test(workers, a_process_outside_of_our_session_counts_as_ended);
	tcase_add_test(lock, the_lock_has_one_holder);
	tcase_add_test(lock, the_lock_of_a_killed_holder_is_released);
	tcase_add_test(lock, the_lock_of_a_holder_whose_pid_is_reused_is_released);
	tcase_add_test(lock, the_lock_of_a_killed_holder_with_our_pid_is_released);
	tcase_add_test(lock, the_lock_can_be_released_for_another_process);
	tcase_add_test(lock, processes_hold_the_lock_in_turn);
	tcase_add_test(forbidden, a_process_whose_session_is_secret_counts_as_alive);
	return suite;
}
