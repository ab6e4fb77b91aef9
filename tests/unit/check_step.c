#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "config.h"
#include "step.h"
#include "suite.h"

static struct step step_on(const char *from, const char *to)
{
	struct step step;

	step_begin(&step);
	if (from)
		step_add(&step, FROM, AT_FDCWD, from);
	if (to)
		step_add(&step, TO, AT_FDCWD, to);
	return step;
}

static int try_for(const void *path)
{
	struct lockfile lock;
	enum lockfile_state state;

	lockfile_name(&lock, AT_FDCWD, path);
	state = lockfile_try(&lock);
	if (state == LOCKFILE_HELD)
		lockfile_leave(&lock);
	return (int)state;
}

static void take_in_child(const void *path)
{
	struct lockfile lock;

	lockfile_name(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
}

static sigset_t mask(void)
{
	sigset_t now;

	ck_assert_int_eq(sigprocmask(SIG_BLOCK, NULL, &now), 0);
	return now;
}

static bool cancellation_is_on(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_setcancelstate(state, NULL);
	return state == PTHREAD_CANCEL_ENABLE;
}

/* As a program has it: some signals blocked, some not. */
static void assert_let_through(void)
{
	sigset_t now = mask();

	ck_assert(sigismember(&now, SIGUSR2));
	ck_assert(!sigismember(&now, SIGUSR1));
	ck_assert(!sigismember(&now, SIGTERM));
	ck_assert(cancellation_is_on());
}

static void block_usr2(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	ck_assert_int_eq(sigprocmask(SIG_SETMASK, &set, NULL), 0);
}

START_TEST(a_step_holds_the_mutexes_of_its_names)
{
	int before = open_descriptors();
	struct step step = step_on("a", "b");

	ck_assert(KEEPS_ERRNO(step_enter(&step)));
	ck_assert_int_eq(in_child(try_for, "a"), LOCKFILE_BUSY);
	ck_assert_int_eq(in_child(try_for, "b"), LOCKFILE_BUSY);
	ck_assert_int_eq(in_child(try_for, "c"), LOCKFILE_HELD);
	KEEPS_ERRNO_VOID(step_leave(&step));
	KEEPS_ERRNO_VOID(step_end(&step));
	ck_assert_int_eq(in_child(try_for, "a"), LOCKFILE_HELD);
	ck_assert_int_eq(in_child(try_for, "b"), LOCKFILE_HELD);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_step_on_one_name_concerns_no_other)
{
	struct step step = step_on(NULL, "b");

	ck_assert(!step.guarded[FROM]);
	ck_assert(step_enter(&step));
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	step_leave(&step);
	step_end(&step);
}
END_TEST

START_TEST(an_ignored_name_has_no_part_in_a_step)
{
	struct step step;

	config.ignore = "*/a";
	step = step_on("a", "b");
	ck_assert(!step.guarded[FROM]);
	ck_assert(step.guarded[TO]);
	ck_assert(step_enter(&step));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
	step_leave(&step);
	step_end(&step);
}
END_TEST

START_TEST(signals_and_cancellation_are_held_off)
{
	struct step step;
	sigset_t within;

	block_usr2();
	step = step_on("a", NULL);
	ck_assert(step_enter(&step));
	within = mask();
	ck_assert(sigismember(&within, SIGUSR1));
	ck_assert(sigismember(&within, SIGUSR2));
	ck_assert(sigismember(&within, SIGTERM));
	ck_assert(!cancellation_is_on());
	step_leave(&step);
	step_end(&step);
	assert_let_through();
}
END_TEST

START_TEST(a_name_without_a_lock_file_goes_without)
{
	struct step step = step_on("absent/a", "b");

	ck_assert(KEEPS_ERRNO(step_enter(&step)));
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	KEEPS_ERRNO_VOID(step_leave(&step));
	KEEPS_ERRNO_VOID(step_end(&step));
}
END_TEST

START_TEST(a_name_too_long_for_a_lock_file_goes_without)
{
	char path[2 * LOCKFILE_PATH];
	struct step step;

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	step = step_on(path, "b");
	ck_assert(KEEPS_ERRNO(step_enter(&step)));
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	step_leave(&step);
	step_end(&step);
}
END_TEST

/* All or none, and not for ever. */
START_TEST(a_mutex_that_cannot_be_had_ends_the_step)
{
	static const char *const held[] = {"a", "b"};
	pid_t holder = start(take_in_child, held[_i]);
	int before = open_descriptors();
	struct step step;
	time_t start_time = time(NULL);

	block_usr2();
	step = step_on("a", "b");
	ck_assert(!KEEPS_ERRNO(step_enter(&step)));
	ck_assert_int_ge(time(NULL) - start_time, 1);
	ck_assert_int_eq(in_child(try_for, held[1 - _i]), LOCKFILE_HELD);
	ck_assert_int_eq(open_descriptors(), before);
	end(holder);
	ck_assert(step_enter(&step));
	step_leave(&step);
	step_end(&step);
	assert_let_through();
}
END_TEST

static pthread_t main_thread;
static volatile sig_atomic_t handled;

static void handle(int number)
{
	(void)number;
	handled++;
}

static void *signal_and_let_go(void *about)
{
	const pid_t *holder = about;

	usleep(100000);
	kill(getpid(), SIGUSR1);
	usleep(100000);
	kill(*holder, SIGKILL);
	return NULL;
}

/* Who waits for long must be able to be told to end. */
START_TEST(signals_arrive_while_it_waits)
{
	struct sigaction action = {.sa_handler = handle};
	pid_t holder = start(take_in_child, "a");
	struct step step = step_on("a", NULL);
	pthread_t thread;

	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, signal_and_let_go, &holder), 0);
	ck_assert(KEEPS_ERRNO(step_enter(&step)));
	ck_assert_int_eq(handled, 1);
	step_leave(&step);
	step_end(&step);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

/* Two that want the same mutexes the other way round. */
static int go_both_ways(const void *about)
{
	const char *const *names = about;

	for (int i = 0; i < 300; i++) {
		struct step step = step_on(names[0], names[1]);

		if (!step_enter(&step))
			return 1;
		step_leave(&step);
		step_end(&step);
	}
	return 0;
}

static void go_in_child(const void *about)
{
	if (fork() == 0)
		_exit(go_both_ways(about));
}

START_TEST(two_that_cross_do_not_wait_for_each_other_for_ever)
{
	static const char *const forth[] = {"a", "b"};
	static const char *const back[] = {"b", "a"};

	go_in_child(forth);
	go_in_child(forth);
	ck_assert_int_eq(in_child(go_both_ways, back), 0);
}
END_TEST

START_TEST(one_name_twice_is_one_mutex)
{
	struct step step = step_on("a", "./a");

	ck_assert(KEEPS_ERRNO(step_enter(&step)));
	ck_assert_int_eq(in_child(try_for, "a"), LOCKFILE_BUSY);
	step_leave(&step);
	step_end(&step);
	ck_assert_int_eq(in_child(try_for, "a"), LOCKFILE_HELD);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

/* ---- whose mutex is waited for ---- */

static void give_away(void)
{
	write_file(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX, "");
	ck_assert_int_eq(chown(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX, STRANGER, STRANGER), 0);
}

/* That of another user who holds it for ever, to keep root waiting. */
START_TEST(the_mutex_of_a_distrusted_file_is_passed_over)
{
	int before;
	struct step step;

	give_away();
	start(take_in_child, "a");
	before = open_descriptors();
	step = step_on("a", "b");
	ck_assert(KEEPS_ERRNO(step_enter(&step)));
	ck_assert(step.without[FROM]);
	ck_assert(!step.without[TO]);
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	step_leave(&step);
	step_end(&step);
	ck_assert(exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(the_mutex_of_a_distrusted_file_is_taken_where_it_is_free)
{
	struct step step;

	give_away();
	step = step_on("a", NULL);
	ck_assert(step_enter(&step));
	ck_assert(!step.without[FROM]);
	ck_assert_int_ge(step.lock[FROM].fd, 0);
	ck_assert_int_eq(in_child(try_for, "a"), LOCKFILE_BUSY);
	step_leave(&step);
	step_end(&step);
}
END_TEST

/* ---- while it waits ---- */

static atomic_int directories; /* open, as seen from another thread while the step waits */

/* In a handler: without opendir, which allocates. */
static int count_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void count_directories(int number)
{
	int saved = errno;

	(void)number;
	atomic_store(&directories, count_descriptors());
	errno = saved;
}

static void *interrupt_and_let_go(void *about)
{
	usleep(100000);
	pthread_kill(main_thread, SIGUSR1);
	usleep(100000);
	kill(*(const pid_t *)about, SIGKILL);
	return NULL;
}

/* A handler may leave by siglongjmp: then nobody would close them. */
START_TEST(nothing_is_open_while_it_waits)
{
	struct sigaction action = {.sa_handler = count_directories};
	pid_t holder;
	pthread_t thread;
	struct step step;
	int before;

	ck_assert_int_eq(mkdir("d", 0755), 0);
	holder = start(take_in_child, "d/a");
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	main_thread = pthread_self();
	before = count_descriptors();
	step = step_on("d/a", "d/b");
	ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_and_let_go, &holder), 0);
	ck_assert(step_enter(&step));
	ck_assert_int_eq(atomic_load(&directories), before);
	ck_assert_int_eq(count_descriptors(), before + 4); /* two directories, two lock files */
	step_leave(&step);
	step_end(&step);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* Of the asynchronous kind, for the sleep is the kernel's and no cancellation point. */
static void *cancelled_while_waiting(void *about)
{
	struct step step;

	/* NOLINTNEXTLINE(cert-pos47-c): nothing is held while it sleeps */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	step = step_on("a", NULL);
	step_enter(&step);
	step_end(&step);
	return about;
}

START_TEST(a_thread_may_be_cancelled_while_it_waits)
{
	int before;
	pthread_t thread;
	void *result;

	start(take_in_child, "a");
	before = open_descriptors();
	ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_while_waiting, NULL), 0);
	usleep(100000);
	ck_assert_int_eq(pthread_cancel(thread), 0);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_eq(result, PTHREAD_CANCELED);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("step");
	TCase *cases = suite_cases(suite, "step");

	tcase_add_test(cases, a_step_holds_the_mutexes_of_its_names);
	tcase_add_test(cases, a_step_on_one_name_concerns_no_other);
	tcase_add_test(cases, an_ignored_name_has_no_part_in_a_step);
	tcase_add_test(cases, signals_and_cancellation_are_held_off);
	tcase_add_test(cases, a_name_without_a_lock_file_goes_without);
	tcase_add_test(cases, a_name_too_long_for_a_lock_file_goes_without);
	tcase_add_loop_test(cases, a_mutex_that_cannot_be_had_ends_the_step, 0, 2);
	tcase_add_test(cases, signals_arrive_while_it_waits);
	tcase_add_test(cases, two_that_cross_do_not_wait_for_each_other_for_ever);
	tcase_add_test(cases, one_name_twice_is_one_mutex);
	ADD_ROOT_TEST(cases, the_mutex_of_a_distrusted_file_is_passed_over);
	ADD_ROOT_TEST(cases, the_mutex_of_a_distrusted_file_is_taken_where_it_is_free);
	tcase_add_test(cases, nothing_is_open_while_it_waits);
#ifndef __SANITIZE_ADDRESS__ /* its runtime does not survive the cancellation itself */
	tcase_add_test(cases, a_thread_may_be_cancelled_while_it_waits);
#else
	(void)a_thread_may_be_cancelled_while_it_waits;
#endif
	return suite;
}
