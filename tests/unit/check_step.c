#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "config.h"
#include "held.h"
#include "owned.h"
#include "step.h"
#include "suite.h"

static struct step step_on(const char *from, const char *to)
{
	struct step step;

	step_begin(&step);
	if (from)
		step_add_path(&step, FROM, AT_FDCWD, from);
	if (to)
		step_add_path(&step, TO, AT_FDCWD, to);
	return step;
}

static int try_lock(const void *path)
{
	struct lockfile lock;
	enum lockfile_state state;

	lockfile_init(&lock, AT_FDCWD, path);
	state = lockfile_try_lock(&lock);
	if (state == LOCKFILE_HELD)
		lockfile_release(&lock);
	return (int)state;
}

static void hold_mutex(const void *path)
{
	struct lockfile lock;

	lockfile_init(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
}

static sigset_t mask(void)
{
	sigset_t now;

	ck_assert_int_eq(sigprocmask(SIG_BLOCK, NULL, &now), 0);
	return now;
}

static bool cancellation_is_enabled(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_setcancelstate(state, NULL);
	return state == PTHREAD_CANCEL_ENABLE;
}

/* Some signals are blocked and others are not, as before the step. */
static void assert_mask_restored(void)
{
	sigset_t now = mask();

	ck_assert(sigismember(&now, SIGUSR2));
	ck_assert(!sigismember(&now, SIGUSR1));
	ck_assert(!sigismember(&now, SIGTERM));
	ck_assert(cancellation_is_enabled());
}

static void block_usr2(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	ck_assert_int_eq(sigprocmask(SIG_SETMASK, &set, NULL), 0);
}

START_TEST(a_step_holds_the_mutexes_of_its_paths)
{
	int before = count_descriptors();
	struct step step = step_on("a", "b");

	ck_assert(KEEPS_ERRNO(step_lock(&step)));
	ck_assert_int_eq(run_in_child(try_lock, "a"), LOCKFILE_BUSY);
	ck_assert_int_eq(run_in_child(try_lock, "b"), LOCKFILE_BUSY);
	ck_assert_int_eq(run_in_child(try_lock, "c"), LOCKFILE_HELD);
	KEEPS_ERRNO_VOID(step_unlock(&step));
	KEEPS_ERRNO_VOID(step_end(&step));
	ck_assert_int_eq(run_in_child(try_lock, "a"), LOCKFILE_HELD);
	ck_assert_int_eq(run_in_child(try_lock, "b"), LOCKFILE_HELD);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(a_step_on_one_path_locks_no_other)
{
	struct step step = step_on(NULL, "b");

	ck_assert(!step.guarded[FROM]);
	ck_assert(step_lock(&step));
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	step_unlock(&step);
	step_end(&step);
}
END_TEST

START_TEST(an_ignored_path_is_not_part_of_a_step)
{
	struct step step;

	config.ignore = "*/a";
	step = step_on("a", "b");
	ck_assert(!step.guarded[FROM]);
	ck_assert(step.guarded[TO]);
	ck_assert(step_lock(&step));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
	step_unlock(&step);
	step_end(&step);
}
END_TEST

START_TEST(signals_and_cancellation_are_blocked)
{
	struct step step;
	sigset_t mask_in_step;

	block_usr2();
	step = step_on("a", NULL);
	ck_assert(step_lock(&step));
	mask_in_step = mask();
	ck_assert(sigismember(&mask_in_step, SIGUSR1));
	ck_assert(sigismember(&mask_in_step, SIGUSR2));
	ck_assert(sigismember(&mask_in_step, SIGTERM));
	ck_assert(!cancellation_is_enabled());
	step_unlock(&step);
	step_end(&step);
	assert_mask_restored();
}
END_TEST

START_TEST(a_path_without_a_lock_file_needs_no_mutex)
{
	struct step step = step_on("absent/a", "b");

	ck_assert(KEEPS_ERRNO(step_lock(&step)));
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	KEEPS_ERRNO_VOID(step_unlock(&step));
	KEEPS_ERRNO_VOID(step_end(&step));
}
END_TEST

START_TEST(a_name_too_long_for_a_lock_file_needs_no_mutex)
{
	char path[2 * LOCKFILE_PATH];
	struct step step;

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	step = step_on(path, "b");
	ck_assert(KEEPS_ERRNO(step_lock(&step)));
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	step_unlock(&step);
	step_end(&step);
}
END_TEST

/* The step acquires all mutexes or none, and does not wait for ever. */
START_TEST(a_mutex_that_stays_locked_ends_the_step)
{
	static const char *const held[] = {"a", "b"};
	pid_t holder = start_child(hold_mutex, held[_i]);
	int before = count_descriptors();
	struct timespec start, end;
	struct step step;

	block_usr2();
	step = step_on("a", "b");
	clock_gettime(CLOCK_MONOTONIC, &start);
	ck_assert(!KEEPS_ERRNO(step_lock(&step)));
	clock_gettime(CLOCK_MONOTONIC, &end);
	ck_assert_int_ge(end.tv_sec - start.tv_sec, 2);
	ck_assert_int_eq(run_in_child(try_lock, held[1 - _i]), LOCKFILE_HELD);
	ck_assert_int_eq(count_descriptors(), before);
	kill_child(holder);
	ck_assert(step_lock(&step));
	step_unlock(&step);
	step_end(&step);
	assert_mask_restored();
}
END_TEST

/* Acquires the mutexes of two paths, in this order, again and again. */
static int lock_repeatedly(const void *about)
{
	const char *const *names = about;

	for (int i = 0; i < 300; i++) {
		struct step step = step_on(names[0], names[1]);

		if (!step_lock(&step))
			return 1;
		step_unlock(&step);
		step_end(&step);
	}
	return 0;
}

static void fork_and_lock_repeatedly(const void *about)
{
	if (fork() == 0)
		_exit(lock_repeatedly(about));
}

START_TEST(two_renames_in_opposite_directions_do_not_deadlock)
{
	static const char *const forth[] = {"a", "b"};
	static const char *const back[] = {"b", "a"};

	fork_and_lock_repeatedly(forth);
	fork_and_lock_repeatedly(forth);
	ck_assert_int_eq(run_in_child(lock_repeatedly, back), 0);
}
END_TEST

START_TEST(the_same_path_twice_is_one_mutex)
{
	struct step step = step_on("a", "./a");

	ck_assert(KEEPS_ERRNO(step_lock(&step)));
	ck_assert_int_eq(run_in_child(try_lock, "a"), LOCKFILE_BUSY);
	step_unlock(&step);
	step_end(&step);
	ck_assert_int_eq(run_in_child(try_lock, "a"), LOCKFILE_HELD);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

/* A directory's path that is too long for the stack needs memory. */
START_TEST(without_memory_a_long_path_is_used_as_it_is)
{
	char path[300] = "";
	struct step step;

	for (int i = 0; i < 130; i++)
		strcat(path, "./");
	strcat(path, "a");
	forbid_memory();
	step = step_on(path, NULL);
	ck_assert(KEEPS_ERRNO(step_lock(&step)));
	ck_assert_int_eq(step.location[FROM].parent, AT_FDCWD);
	ck_assert_str_eq(step.location[FROM].name, path);
	ck_assert(exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	step_unlock(&step);
	step_end(&step);
}
END_TEST

/* ---- mutexes of other users ---- */

static void make_untrusted(void)
{
	write_file(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX, "");
	ck_assert_int_eq(chown(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX, STRANGER, STRANGER), 0);
}

/* Another user may hold the mutex for ever to make root wait. */
START_TEST(a_step_waits_briefly_for_the_mutex_of_an_untrusted_file)
{
	int before;
	struct step step;

	make_untrusted();
	start_child(hold_mutex, "a");
	before = count_descriptors();
	step = step_on("a", "b");
	ck_assert(KEEPS_ERRNO(step_lock(&step)));
	ck_assert(step.skip_mutex[FROM]);
	ck_assert(!step.skip_mutex[TO]);
	ck_assert_int_eq(step.lock[FROM].fd, -1);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	step_unlock(&step);
	step_end(&step);
	ck_assert(exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* While it waits for the mutex of the other path, which is trusted. */
START_TEST(the_mutex_of_an_untrusted_file_stays_skipped)
{
	struct step step;

	make_untrusted();
	start_child(hold_mutex, "a");
	start_child(hold_mutex, "b");
	step = step_on("a", "b");
	ck_assert(!KEEPS_ERRNO(step_lock(&step)));
	ck_assert(step.skip_mutex[FROM]);
	ck_assert(!step.skip_mutex[TO]);
	step_end(&step);
}
END_TEST

START_TEST(a_free_mutex_of_an_untrusted_file_is_acquired)
{
	struct step step;

	make_untrusted();
	step = step_on("a", NULL);
	ck_assert(step_lock(&step));
	ck_assert(!step.skip_mutex[FROM]);
	ck_assert_int_ge(step.lock[FROM].fd, 0);
	ck_assert_int_eq(run_in_child(try_lock, "a"), LOCKFILE_BUSY);
	step_unlock(&step);
	step_end(&step);
}
END_TEST

/* ---- while it waits ---- */

static pthread_t main_thread;
static atomic_bool waits, handled;
static atomic_int descriptors_during_wait; /* counted by the signal handler */

static long note_wait(long number, const long arguments[6])
{
	if (number == CALL_SLEEP)
		atomic_store(&waits, true);
	return make_call(number, arguments);
}

static void await(const atomic_bool *event)
{
	while (!atomic_load(event))
		usleep(1000);
}

/* For a signal handler, which must not allocate memory, as opendir(3) does. */
static int count_descriptors_async_safely(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void count_in_handler(int number)
{
	int saved = errno;

	(void)number;
	atomic_store(&descriptors_during_wait, count_descriptors_async_safely());
	atomic_store(&handled, true);
	errno = saved;
}

/* Signals the main thread while it waits. Kills the holder when the signal has been handled. */
static void *interrupt_then_release(void *about)
{
	await(&waits);
	pthread_kill(main_thread, SIGUSR1);
	await(&handled);
	kill(*(const pid_t *)about, SIGKILL);
	return NULL;
}

/* Binds and claims a path, and returns the claim, which its lock file is set to. */
static int claim_path(const char *path, struct lockfile *lock, struct inode *inode)
{
	const struct record record = {.pid = 1};
	int claim;

	bound_socket(path, SOCK_STREAM);
	ck_assert_int_eq(inode_identify(AT_FDCWD, path, inode), 0);
	lockfile_init(lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try_lock(lock), LOCKFILE_HELD);
	claim = lockfile_claim(lock, &record);
	lockfile_release(lock);
	return claim;
}

/* The program's limit may leave no other free number. */
START_TEST(a_claim_on_descriptor_0_is_borrowed)
{
	struct lockfile lock;
	struct inode inode;
	struct step step;
	int claim = claim_path("s", &lock, &inode);

	ck_assert_int_eq(dup2(claim, STDIN_FILENO), STDIN_FILENO);
	close(claim);
	owned_add(&inode, &lock.file, STDIN_FILENO, 0, false);
	use_up_descriptors();
	step = step_on("s", NULL);
	ck_assert(step_lock(&step));
	ck_assert(step.lock[FROM].borrowed);
	ck_assert_int_eq(step.lock[FROM].fd, STDIN_FILENO);
	step_unlock(&step);
	step_end(&step);
}
END_TEST

static int step_is_free(const void *path)
{
	struct step step;
	bool locked;

	held_after_fork_in_child(); /* as the library's pthread_atfork(3) handler does */
	step = step_on(path, NULL);
	locked = step_try_lock(&step);
	step_unlock(&step);
	step_end(&step);
	return locked;
}

/* Another user has created a file at the plain name, so the claimed file has an alternate one. */
static void claim_alternate(void)
{
	static const char plain[] = "sticky/" LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX;
	struct lockfile lock;
	struct inode inode;
	int claim;

	ck_assert_int_eq(mkdir("sticky", 0755), 0);
	ck_assert_int_eq(chmod("sticky", 01777), 0);
	write_file(plain, "");
	ck_assert_int_eq(chown(plain, STRANGER, STRANGER), 0);
	claim = claim_path("sticky/s", &lock, &inode);
	ck_assert_str_ne(lock.path, plain);
	owned_add(&inode, &lock.file, claim, 0, false);
}

/*
 * A forked process shares the claim's open file description, and so every lock through it. Both
 * processes would hold the mutex.
 */
START_TEST(a_forked_process_waits_for_the_mutex_of_an_alternate)
{
	struct step step;

	claim_alternate();
	step = step_on("sticky/s", NULL);
	ck_assert(step_lock(&step));
	ck_assert(!step.lock[FROM].borrowed);
	ck_assert_int_eq(run_in_child(step_is_free, "sticky/s"), 0);
	step_unlock(&step);
	step_end(&step);
	ck_assert_int_eq(run_in_child(step_is_free, "sticky/s"), 1);
}
END_TEST

static int borrows_as_other_user(const void *path)
{
	struct step step;
	bool borrowed;

	held_after_fork_in_child();
	ck_assert_int_eq(setresuid(STRANGER + 1, STRANGER + 1, STRANGER + 1), 0);
	step = step_on(path, NULL);
	ck_assert(step_try_lock(&step));
	borrowed = step.lock[FROM].borrowed;
	step_unlock(&step);
	step_end(&step);
	return borrowed;
}

/* Other processes of the user who bound the path use the mutex of the claimed file. */
START_TEST(after_a_change_of_the_user_the_claim_on_an_alternate_is_borrowed)
{
	claim_alternate();
	ck_assert_int_eq(run_in_child(borrows_as_other_user, "sticky/s"), 1);
}
END_TEST

static long writing_is_forbidden(long number, const long arguments[6])
{
	if (number != SYS_openat || (arguments[2] & O_ACCMODE) != O_RDWR)
		return make_call(number, arguments);
	errno = EPERM;
	return -1;
}

/* As by a seccomp filter, or by Landlock. */
START_TEST(the_claim_on_an_alternate_that_cannot_be_opened_is_borrowed)
{
	struct step step;

	claim_alternate();
	replace_system_calls(writing_is_forbidden);
	step = step_on("sticky/s", NULL);
	ck_assert(step_lock(&step));
	ck_assert(step.lock[FROM].borrowed);
	ck_assert_int_ge(step.lock[FROM].fd, 0);
	step_unlock(&step);
	step_end(&step);
}
END_TEST

/* A forked process renames the file after it was looked up, together with its socket. */
static long rename_before_lock(long number, const long arguments[6])
{
	static bool renamed;

	if (number == CALL_LOCK && arguments[1] == F_SETLK && !renamed) {
		ck_assert_int_eq(rename(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, "moved"), 0);
		renamed = true;
	}
	return make_call(number, arguments);
}

START_TEST(a_claimed_file_that_is_renamed_meanwhile_is_looked_up_again)
{
	struct lockfile lock;
	struct inode inode;
	int claim = claim_path("s", &lock, &inode);

	owned_add(&inode, &lock.file, claim, 0, false);
	use_up_descriptors();
	replace_system_calls(rename_before_lock);
	ck_assert(!step_is_free("s"));
	ck_assert(step_is_free("s")); /* there is no lock file any more */
}
END_TEST

/*
 * A signal can kill a process that waits for a mutex. If its handler left through siglongjmp(3), no
 * code would close the descriptors.
 */
START_TEST(signals_arrive_and_nothing_is_open_while_it_waits)
{
	struct sigaction action = {.sa_handler = count_in_handler};
	pid_t holder;
	pthread_t thread;
	struct step step;
	int before;

	ck_assert_int_eq(mkdir("d", 0755), 0);
	holder = start_child(hold_mutex, "d/a");
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	main_thread = pthread_self();
	replace_system_calls(note_wait);
	before = count_descriptors_async_safely();
	step = step_on("d/a", "d/b");
	ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_then_release, &holder), 0);
	ck_assert(KEEPS_ERRNO(step_lock(&step)));
	ck_assert_int_eq(atomic_load(&descriptors_during_wait), before);
	ck_assert_int_eq(count_descriptors_async_safely(),
		before + 4); /* two directories, two lock files */
	step_unlock(&step);
	step_end(&step);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(count_descriptors_async_safely(), before);
}
END_TEST

/* Cancellation is asynchronous, because the sleep is a bare system call, not a cancellation point.
 */
static void *cancelled_while_waiting(void *about)
{
	struct step step;

	/* NOLINTNEXTLINE(cert-pos47-c): nothing is held while it sleeps */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	step = step_on("a", NULL);
	step_lock(&step);
	step_end(&step);
	return about;
}

START_TEST(a_thread_may_be_cancelled_while_it_waits)
{
	int before;
	pthread_t thread;
	void *result;

	start_child(hold_mutex, "a");
	before = count_descriptors();
	replace_system_calls(note_wait);
	ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_while_waiting, NULL), 0);
	await(&waits);
	ck_assert_int_eq(pthread_cancel(thread), 0);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_eq(result, PTHREAD_CANCELED);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* ---- forks ---- */

/* As in a signal handler that interrupts fork. */
START_TEST(a_step_inside_fork_does_not_wait_for_it)
{
	struct step step;

	held_before_fork();
	step = step_on("a", "b");
	ck_assert(step_lock(&step)); /* or the case times out */
	ck_assert_int_ge(step.lock[FROM].fd, 0);
	ck_assert_int_ge(step.lock[TO].fd, 0);
	step_unlock(&step);
	step_end(&step);
	held_after_fork_in_parent();
}
END_TEST

static unsigned long sleeps;

static long do_not_sleep(long number, const long arguments[6])
{
#ifdef SYS_nanosleep
	bool sleep = number == SYS_nanosleep;
#else
	bool sleep = number == SYS_clock_nanosleep_time64;
#endif

	sleeps += sleep;
	return sleep ? 0 : make_call(number, arguments);
}

static void *stay_in_fork(void *about)
{
	held_before_fork();
	return about;
}

/* Its handler for pthread_atfork(3) waits for a lock that this thread has. */
START_TEST(a_fork_that_does_not_end_ends_the_step)
{
	pthread_t thread;
	struct step step;

	ck_assert_int_eq(pthread_create(&thread, NULL, stay_in_fork, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	replace_system_calls(do_not_sleep);
	step = step_on(NULL, "b");
	ck_assert(!KEEPS_ERRNO(step_lock(&step)));
	ck_assert_uint_eq(sleeps, 300000); /* 30 seconds, once */
	step_end(&step);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("step");
	TCase *cases = suite_cases(suite, "step");

	tcase_add_test(cases, a_step_holds_the_mutexes_of_its_paths);
	tcase_add_test(cases, a_step_on_one_path_locks_no_other);
	tcase_add_test(cases, an_ignored_path_is_not_part_of_a_step);
	tcase_add_test(cases, signals_and_cancellation_are_blocked);
	tcase_add_test(cases, a_path_without_a_lock_file_needs_no_mutex);
	tcase_add_test(cases, a_name_too_long_for_a_lock_file_needs_no_mutex);
	tcase_add_loop_test(cases, a_mutex_that_stays_locked_ends_the_step, 0, 2);
	tcase_add_test(cases, two_renames_in_opposite_directions_do_not_deadlock);
	tcase_add_test(cases, the_same_path_twice_is_one_mutex);
	ADD_ROOT_TEST(cases, a_step_waits_briefly_for_the_mutex_of_an_untrusted_file);
	ADD_ROOT_TEST(cases, the_mutex_of_an_untrusted_file_stays_skipped);
	ADD_ROOT_TEST(cases, a_free_mutex_of_an_untrusted_file_is_acquired);
	tcase_add_test(cases, signals_arrive_and_nothing_is_open_while_it_waits);
	tcase_add_test(cases, a_step_inside_fork_does_not_wait_for_it);
	tcase_add_test(cases, a_fork_that_does_not_end_ends_the_step);
	tcase_add_test(cases, a_claim_on_descriptor_0_is_borrowed);
	ADD_ROOT_TEST(cases, a_forked_process_waits_for_the_mutex_of_an_alternate);
	ADD_ROOT_TEST(cases, after_a_change_of_the_user_the_claim_on_an_alternate_is_borrowed);
	ADD_ROOT_TEST(cases, the_claim_on_an_alternate_that_cannot_be_opened_is_borrowed);
	tcase_add_test(cases, a_claimed_file_that_is_renamed_meanwhile_is_looked_up_again);
#ifndef __SANITIZE_ADDRESS__ /* its runtime does not survive the cancellation itself */
	tcase_add_test(cases, a_thread_may_be_cancelled_while_it_waits);
#else
	(void)a_thread_may_be_cancelled_while_it_waits;
#endif
	cases = suite_cases(suite, "forbidden");
	tcase_add_test(cases, without_memory_a_long_path_is_used_as_it_is);
	return suite;
}
