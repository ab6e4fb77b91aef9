#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "held.h"
#include "suite.h"
#include "threads.h"

#define MAX_HELD 64 /* as many as can be registered, see held.c */

static int open_file(const char *path, struct file_id *file)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct kernel_file found;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(inode_stat(AT_FDCWD, path, &found), 0);
	*file = file_id_of(&found);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* ---- registered descriptors ---- */

START_TEST(a_descriptor_is_held_until_it_is_unregistered)
{
	struct file_id a, b;
	int fd = open_file("a", &a);

	open_file("b", &b);
	ck_assert(!KEEPS_ERRNO(held_by_this_thread(&a)));
	ck_assert(KEEPS_ERRNO(held_register(fd)));
	ck_assert(KEEPS_ERRNO(held_by_this_thread(&a)));
	ck_assert(!KEEPS_ERRNO(held_by_this_thread(&b)));
	KEEPS_ERRNO_VOID(held_unregister(fd));
	ck_assert(!KEEPS_ERRNO(held_by_this_thread(&a)));
	ck_assert(is_open(fd)); /* it is the caller's to close */
}
END_TEST

START_TEST(unregistering_affects_only_that_descriptor)
{
	struct file_id a, b;
	int first = open_file("a", &a);
	int second = open_file("b", &b);

	ck_assert(held_register(first));
	ck_assert(held_register(second));
	held_unregister(first);
	ck_assert(!held_by_this_thread(&a));
	ck_assert(held_by_this_thread(&b));
}
END_TEST

START_TEST(the_table_is_bounded_and_slots_are_reused)
{
	struct file_id file;
	int fd = open_file("a", &file);

	for (int i = 0; i < MAX_HELD; i++)
		ck_assert(held_register(1000 + i));
	ck_assert(!KEEPS_ERRNO(held_register(fd)));
	held_unregister(1000);
	ck_assert(held_register(fd));
	ck_assert(held_by_this_thread(&file));
}
END_TEST

static void *check_held(void *about)
{
	return held_by_this_thread(about) ? about : NULL;
}

START_TEST(a_descriptor_belongs_to_one_thread)
{
	struct file_id file;
	pthread_t thread;
	void *seen;

	ck_assert(held_register(open_file("a", &file)));
	ck_assert_int_eq(pthread_create(&thread, NULL, check_held, &file), 0);
	ck_assert_int_eq(pthread_join(thread, &seen), 0);
	ck_assert_ptr_null(seen);
	ck_assert(held_by_this_thread(&file));
}
END_TEST

/* ---- the child of a fork ---- */

struct pair {
	int registered;
	int other;
	struct file_id file;
};

static int closes_registered_descriptors(const void *about)
{
	const struct pair *pair = about;

	KEEPS_ERRNO_VOID(held_after_fork_in_child());
	return is_open(pair->registered) || !is_open(pair->other) ||
	       held_by_this_thread(&pair->file);
}

START_TEST(a_forked_child_closes_registered_descriptors)
{
	struct pair pair;
	struct file_id other;

	pair.registered = open_file("a", &pair.file);
	pair.other = open_file("b", &other);
	ck_assert(held_register(pair.registered));
	ck_assert(held_register(pair.other));
	held_unregister(pair.other);
	ck_assert_int_eq(run_in_child(closes_registered_descriptors, &pair), 0);
	ck_assert(is_open(pair.registered)); /* in the parent */
	ck_assert(held_by_this_thread(&pair.file));
}
END_TEST

static bool opens_alone(void)
{
	unsigned int begun;

	return KEEPS_ERRNO(held_begin_opening(&begun)) && KEEPS_ERRNO(held_end_opening(begun));
}

/* Calls in other threads of the parent do not continue in the child. */
static int opens_without_waiting(const void *about)
{
	(void)about;
	held_after_fork_in_child();
	held_before_fork();
	held_after_fork_in_parent();
	return opens_alone() ? 0 : 1;
}

/* The program may have closed the descriptor. fork(2) must not change errno. */
START_TEST(the_child_handler_leaves_errno_alone)
{
	ck_assert(held_register(900));
	KEEPS_ERRNO_VOID(held_after_fork_in_child());
}
END_TEST

START_TEST(a_forked_child_does_not_wait_for_its_parents_openings)
{
	unsigned int begun;

	held_before_fork();
	ck_assert_int_eq(run_in_child(opens_without_waiting, NULL), 0);
	held_after_fork_in_parent();
	held_begin_opening(&begun);
	ck_assert_int_eq(run_in_child(opens_without_waiting, NULL), 0);
}
END_TEST

/* ---- openings and forks ---- */

static atomic_int progress;

static void *open_in_thread(void *about)
{
	unsigned int begun;
	bool may = held_begin_opening(&begun);

	atomic_store(&progress, 1);
	return may && held_end_opening(begun) ? about : NULL;
}

static void *fork_in_thread(void *about)
{
	held_before_fork();
	atomic_store(&progress, 1);
	held_after_fork_in_parent();
	return about;
}

/* Sleeps long enough for a thread that does not wait to end. */
static void let_threads_run(void)
{
	usleep(100000);
}

static void assert_ended(pthread_t thread, void *result)
{
	void *returned;

	ck_assert_int_eq(pthread_join(thread, &returned), 0);
	ck_assert_ptr_eq(returned, result);
	ck_assert_int_eq(atomic_load(&progress), 1);
}

/* A fork of another thread that remains under way, or an opening. */
static void run_in_thread(void *(*act)(void *about))
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, act, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void *stay_in_fork(void *about)
{
	held_before_fork();
	return about;
}

START_TEST(an_opening_waits_for_forks_under_way)
{
	pthread_t thread;

	KEEPS_ERRNO_VOID(held_before_fork());
	ck_assert_int_eq(pthread_create(&thread, NULL, open_in_thread, &progress), 0);
	let_threads_run();
	ck_assert_int_eq(atomic_load(&progress), 0);
	KEEPS_ERRNO_VOID(held_after_fork_in_parent());
	assert_ended(thread, &progress);
}
END_TEST

START_TEST(a_fork_waits_for_an_earlier_opening)
{
	unsigned int begun;
	pthread_t thread;

	ck_assert(KEEPS_ERRNO(held_begin_opening(&begun)));
	ck_assert_int_eq(pthread_create(&thread, NULL, fork_in_thread, &progress), 0);
	let_threads_run();
	ck_assert_int_eq(atomic_load(&progress), 0);
	/* Its result is not checked: the waiting fork may be checking at this moment whether to
	 * wait. */
	KEEPS_ERRNO(held_end_opening(begun));
	assert_ended(thread, &progress);
}
END_TEST

/* An opening must not wait for a fork that waits for another opening. */
START_TEST(an_opening_does_not_wait_for_a_fork_that_waits)
{
	unsigned int begun;
	pthread_t forker, opener;
	void *result;

	held_begin_opening(&begun);
	ck_assert_int_eq(pthread_create(&forker, NULL, fork_in_thread, &progress), 0);
	let_threads_run();
	ck_assert_int_eq(atomic_load(&progress), 0);
	ck_assert_int_eq(pthread_create(&opener, NULL, open_in_thread, &progress), 0);
	ck_assert_int_eq(pthread_join(opener, &result), 0); /* or the case times out */
	held_end_opening(0);
	assert_ended(forker, &progress);
}
END_TEST

START_TEST(a_fork_that_did_not_wait_is_detected)
{
	unsigned int begun;

	ck_assert(opens_alone());
	ck_assert(held_begin_opening(&begun));
	ck_assert(!held_end_opening(begun + 1)); /* a fork has begun since */
	run_in_thread(stay_in_fork);
	ck_assert(!held_end_opening(begun)); /* a fork is under way */
}
END_TEST

/* ---- calls inside fork ---- */

/*
 * In a signal handler that interrupts fork, or in another library's atfork handler. The other fork
 * may be waiting for ours, so these would be a deadlock.
 */
START_TEST(a_thread_that_forks_does_not_wait_to_open)
{
	held_before_fork();
	ck_assert(opens_alone());
	run_in_thread(stay_in_fork);
	ck_assert(opens_alone());
	held_after_fork_in_parent();
}
END_TEST

static int opens_before_the_handler(const void *about)
{
	(void)about;
	return opens_alone() ? 0 : 1;
}

START_TEST(a_forked_child_does_not_wait_before_its_handler_runs)
{
	run_in_thread(stay_in_fork);
	held_before_fork();
	ck_assert_int_eq(run_in_child(opens_before_the_handler, NULL), 0);
}
END_TEST

/* An opening of another thread waits for the outer fork. */
START_TEST(a_fork_inside_a_fork_does_not_wait)
{
	pthread_t thread;

	held_before_fork();
	ck_assert_int_eq(pthread_create(&thread, NULL, open_in_thread, &progress), 0);
	let_threads_run();
	KEEPS_ERRNO_VOID(held_before_fork()); /* or the case times out */
	held_after_fork_in_parent();
	let_threads_run();
	ck_assert_int_eq(atomic_load(&progress), 0);
	held_after_fork_in_parent();
	assert_ended(thread, &progress);
}
END_TEST

START_TEST(the_child_of_a_fork_inside_a_fork_continues_both)
{
	pthread_t thread;

	held_before_fork();
	held_before_fork();
	held_after_fork_in_child();
	ck_assert_int_eq(pthread_create(&thread, NULL, open_in_thread, &progress), 0);
	let_threads_run();
	ck_assert_int_eq(atomic_load(&progress), 0);
	held_after_fork_in_child();
	assert_ended(thread, &progress);
}
END_TEST

START_TEST(a_fork_waits_if_too_many_are_under_way)
{
	pthread_t forker;

	held_before_fork();
	for (int i = 1; i < THREADS_ROOM; i++)
		held_before_fork(); /* each inside the one before */
	ck_assert_int_eq(pthread_create(&forker, NULL, fork_in_thread, &progress), 0);
	let_threads_run();
	ck_assert_int_eq(atomic_load(&progress), 0);
	held_after_fork_in_parent();
	assert_ended(forker, &progress);
}
END_TEST

/* ---- threads ---- */

static void *register_and_unregister(void *about)
{
	intptr_t wrong = 0;
	struct file_id mine;
	char name[] = {(char)('a' + (intptr_t)about), '\0'};
	int fd = open_file(name, &mine);

	for (int i = 0; i < 2000; i++) {
		unsigned int begun;

		wrong += !held_begin_opening(&begun);
		wrong += !held_register(fd);
		held_end_opening(begun);
		wrong += !held_by_this_thread(&mine);
		held_unregister(fd);
		wrong += held_by_this_thread(&mine);
	}
	return (void *)wrong;
}

static void *fork_often(void *stop)
{
	while (!atomic_load((atomic_bool *)stop)) {
		held_before_fork();
		held_after_fork_in_parent();
		usleep(100);
	}
	return NULL;
}

START_TEST(threads_do_not_disturb_each_other)
{
	static atomic_bool stop;
	pthread_t threads[4], forker;
	void *wrong;

	ck_assert_int_eq(pthread_create(&forker, NULL, fork_often, &stop), 0);
	for (intptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, register_and_unregister,
					 (void *)i),
			0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
		ck_assert_ptr_null(wrong);
	}
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(forker, NULL), 0);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("held");
	TCase *registered_cases = suite_cases(suite, "notes");
	TCase *fork_cases = suite_cases(suite, "forks");
	TCase *inside_cases = suite_cases(suite, "inside");

	tcase_add_test(registered_cases, a_descriptor_is_held_until_it_is_unregistered);
	tcase_add_test(registered_cases, unregistering_affects_only_that_descriptor);
	tcase_add_test(registered_cases, the_table_is_bounded_and_slots_are_reused);
	tcase_add_test(registered_cases, a_descriptor_belongs_to_one_thread);
	tcase_add_test(registered_cases, threads_do_not_disturb_each_other);
	tcase_add_test(fork_cases, a_forked_child_closes_registered_descriptors);
	tcase_add_test(fork_cases, the_child_handler_leaves_errno_alone);
	tcase_add_test(fork_cases, a_forked_child_does_not_wait_for_its_parents_openings);
	tcase_add_test(fork_cases, an_opening_waits_for_forks_under_way);
	tcase_add_test(fork_cases, a_fork_waits_for_an_earlier_opening);
	tcase_add_test(fork_cases, an_opening_does_not_wait_for_a_fork_that_waits);
	tcase_add_test(fork_cases, a_fork_that_did_not_wait_is_detected);
	tcase_add_test(inside_cases, a_thread_that_forks_does_not_wait_to_open);
	tcase_add_test(inside_cases, a_forked_child_does_not_wait_before_its_handler_runs);
	tcase_add_test(inside_cases, a_fork_inside_a_fork_does_not_wait);
	tcase_add_test(inside_cases, the_child_of_a_fork_inside_a_fork_continues_both);
	tcase_add_test(inside_cases, a_fork_waits_if_too_many_are_under_way);
	return suite;
}
