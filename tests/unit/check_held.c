#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "held.h"
#include "suite.h"

#define HELD 64 /* as many as can be noted, see held.c */

static int opened(const char *path, struct file_id *file)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct kernel_file found;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(inode_look(AT_FDCWD, path, &found), 0);
	*file = file_of(&found);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* ---- notes ---- */

START_TEST(what_is_noted_is_held_until_forgotten)
{
	struct file_id a, b;
	int fd = opened("a", &a);

	opened("b", &b);
	ck_assert(!KEEPS_ERRNO(held_here(&a)));
	ck_assert(KEEPS_ERRNO(held_note(fd)));
	ck_assert(KEEPS_ERRNO(held_here(&a)));
	ck_assert(!KEEPS_ERRNO(held_here(&b)));
	KEEPS_ERRNO_VOID(held_forget(fd));
	ck_assert(!KEEPS_ERRNO(held_here(&a)));
	ck_assert(is_open(fd)); /* it is the caller's to close */
}
END_TEST

START_TEST(forgetting_concerns_that_descriptor_alone)
{
	struct file_id a, b;
	int first = opened("a", &a);
	int second = opened("b", &b);

	ck_assert(held_note(first));
	ck_assert(held_note(second));
	held_forget(first);
	ck_assert(!held_here(&a));
	ck_assert(held_here(&b));
}
END_TEST

START_TEST(there_is_room_for_so_many_and_again_for_what_is_forgotten)
{
	struct file_id file;
	int fd = opened("a", &file);

	for (int i = 0; i < HELD; i++)
		ck_assert(held_note(1000 + i));
	ck_assert(!KEEPS_ERRNO(held_note(fd)));
	held_forget(1000);
	ck_assert(held_note(fd));
	ck_assert(held_here(&file));
}
END_TEST

static void *see_whether_held(void *about)
{
	return held_here(about) ? about : NULL;
}

START_TEST(what_one_thread_holds_no_other_does)
{
	struct file_id file;
	pthread_t thread;
	void *seen;

	ck_assert(held_note(opened("a", &file)));
	ck_assert_int_eq(pthread_create(&thread, NULL, see_whether_held, &file), 0);
	ck_assert_int_eq(pthread_join(thread, &seen), 0);
	ck_assert_ptr_null(seen);
	ck_assert(held_here(&file));
}
END_TEST

/* ---- the child of a fork ---- */

struct pair {
	int noted;
	int other;
	struct file_id file;
};

static int closes_what_is_noted(const void *about)
{
	const struct pair *pair = about;

	KEEPS_ERRNO_VOID(held_after_fork_in_child());
	return is_open(pair->noted) || !is_open(pair->other) || held_here(&pair->file);
}

START_TEST(the_child_of_a_fork_closes_what_is_noted)
{
	struct pair pair;
	struct file_id other;

	pair.noted = opened("a", &pair.file);
	pair.other = opened("b", &other);
	ck_assert(held_note(pair.noted));
	ck_assert(held_note(pair.other));
	held_forget(pair.other);
	ck_assert_int_eq(in_child(closes_what_is_noted, &pair), 0);
	ck_assert(is_open(pair.noted)); /* the parent's own stays */
	ck_assert(held_here(&pair.file));
}
END_TEST

/* What was under way in other threads of the parent is not under way in the child. */
static int waits_for_nobody(const void *about)
{
	(void)about;
	held_after_fork_in_child();
	held_before_fork();
	held_after_fork_in_parent();
	return held_end_opening(held_begin_opening()) ? 0 : 1;
}

START_TEST(the_child_of_a_fork_waits_for_nothing_of_its_parent_s)
{
	held_before_fork();
	ck_assert_int_eq(in_child(waits_for_nobody, NULL), 0);
	held_after_fork_in_parent();
	held_begin_opening();
	ck_assert_int_eq(in_child(waits_for_nobody, NULL), 0);
}
END_TEST

/* ---- openings and forks ---- */

static atomic_int progress;

static void *open_something(void *about)
{
	unsigned int begun = held_begin_opening();

	atomic_store(&progress, 1);
	return held_end_opening(begun) ? about : NULL;
}

static void *fork_something(void *about)
{
	held_before_fork();
	atomic_store(&progress, 1);
	held_after_fork_in_parent();
	return about;
}

/* Long enough for a thread that does not wait to get there. */
static void give_it_time(void)
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

START_TEST(an_opening_waits_for_the_forks_under_way)
{
	pthread_t thread;

	KEEPS_ERRNO_VOID(held_before_fork());
	ck_assert_int_eq(pthread_create(&thread, NULL, open_something, &progress), 0);
	give_it_time();
	ck_assert_int_eq(atomic_load(&progress), 0);
	KEEPS_ERRNO_VOID(held_after_fork_in_parent());
	assert_ended(thread, &progress);
}
END_TEST

START_TEST(a_fork_waits_for_the_opening_that_came_before)
{
	unsigned int begun = KEEPS_ERRNO(held_begin_opening());
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fork_something, &progress), 0);
	give_it_time();
	ck_assert_int_eq(atomic_load(&progress), 0);
	/* The fork that waits may just look whether it has to, and is seen then. */
	KEEPS_ERRNO(held_end_opening(begun));
	assert_ended(thread, &progress);
}
END_TEST

/* An opening must not wait for a fork that waits for another opening. */
START_TEST(an_opening_does_not_wait_for_a_fork_that_waits)
{
	pthread_t forker, opener;
	void *result;

	held_begin_opening();
	ck_assert_int_eq(pthread_create(&forker, NULL, fork_something, &progress), 0);
	give_it_time();
	ck_assert_int_eq(atomic_load(&progress), 0);
	ck_assert_int_eq(pthread_create(&opener, NULL, open_something, &progress), 0);
	ck_assert_int_eq(pthread_join(opener, &result), 0); /* or the case times out */
	held_end_opening(0);
	assert_ended(forker, &progress);
}
END_TEST

START_TEST(a_fork_that_did_not_wait_is_noticed)
{
	unsigned int begun = held_begin_opening();

	ck_assert(KEEPS_ERRNO(held_end_opening(begun)));
	begun = held_begin_opening();
	ck_assert(!held_end_opening(begun + 1)); /* one has begun since */
	held_before_fork();
	ck_assert(!held_end_opening(begun)); /* one is under way */
}
END_TEST

/* ---- threads ---- */

static void *note_and_forget(void *about)
{
	intptr_t wrong = 0;
	struct file_id mine;
	char name[] = {(char)('a' + (intptr_t)about), '\0'};
	int fd = opened(name, &mine);

	for (int i = 0; i < 2000; i++) {
		unsigned int begun = held_begin_opening();

		wrong += !held_note(fd);
		held_end_opening(begun);
		wrong += !held_here(&mine);
		held_forget(fd);
		wrong += held_here(&mine);
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
		ck_assert_int_eq(pthread_create(&threads[i], NULL, note_and_forget, (void *)i), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
		ck_assert_ptr_null(wrong);
	}
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(forker, NULL), 0);
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("held");
	TCase *notes = suite_cases(suite, "notes");
	TCase *forks = suite_cases(suite, "forks");

	tcase_add_test(notes, what_is_noted_is_held_until_forgotten);
	tcase_add_test(notes, forgetting_concerns_that_descriptor_alone);
	tcase_add_test(notes, there_is_room_for_so_many_and_again_for_what_is_forgotten);
	tcase_add_test(notes, what_one_thread_holds_no_other_does);
	tcase_add_test(notes, threads_do_not_disturb_each_other);
	tcase_add_test(forks, the_child_of_a_fork_closes_what_is_noted);
	tcase_add_test(forks, the_child_of_a_fork_waits_for_nothing_of_its_parent_s);
	tcase_add_test(forks, an_opening_waits_for_the_forks_under_way);
	tcase_add_test(forks, a_fork_waits_for_the_opening_that_came_before);
	tcase_add_test(forks, an_opening_does_not_wait_for_a_fork_that_waits);
	tcase_add_test(forks, a_fork_that_did_not_wait_is_noticed);
	return suite;
}
