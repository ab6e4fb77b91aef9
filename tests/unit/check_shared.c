#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lockfile.h"
#include "shared.h"
#include "suite.h"

#define PLAIN     LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX
#define ALTERNATE PLAIN ".0123456789ab"
#define ANOTHER   PLAIN ".ba9876543210"

static char path[LOCKFILE_PATH];

static bool finds_beside(const char *plain, const struct file_id *except)
{
	strcpy(path, plain);
	return KEEPS_ERRNO(shared_find(AT_FDCWD, path, strlen(plain), lockfile_counts, except) ==
			   SHARED_FOUND);
}

static bool finds(void)
{
	return finds_beside(PLAIN, NULL);
}

static struct file_id id_of(const char *name)
{
	struct kernel_file found;

	ck_assert_int_eq(inode_look(AT_FDCWD, name, &found), 0);
	return file_of(&found);
}

static void give_to(const char *name, uid_t owner)
{
	write_file(name, "");
	ck_assert_int_eq(chown(name, owner, owner), 0);
}

/* ---- names ---- */

START_TEST(an_alternate_has_a_dot_and_twelve_digits)
{
	ck_assert(shared_is_alternate(".0123456789ab"));
	ck_assert(shared_is_alternate(".cdefcdefcdef"));
	ck_assert(!shared_is_alternate(""));
	ck_assert(!shared_is_alternate(".0123456789a"));
	ck_assert(!shared_is_alternate(".0123456789abc"));
	ck_assert(!shared_is_alternate(".0123456789aB"));
	ck_assert(!shared_is_alternate(".0123456789ag"));
	ck_assert(!shared_is_alternate("-0123456789ab"));
	ck_assert(!shared_is_alternate(".0123456789ab.0123456789ab"));
}
END_TEST

START_TEST(an_alternate_is_of_its_plain_name)
{
	strcpy(path, PLAIN);
	KEEPS_ERRNO_VOID(shared_alternate(path, strlen(PLAIN)));
	ck_assert_mem_eq(path, PLAIN, strlen(PLAIN));
	ck_assert(shared_is_alternate(path + strlen(PLAIN)));
	ck_assert_uint_eq(strlen(path), strlen(PLAIN) + SHARED_LONGER);
}
END_TEST

START_TEST(no_two_alternates_are_alike)
{
	char made[100][SHARED_LONGER + 1];

	for (int i = 0; i < 100; i++) {
		shared_alternate(made[i], 0);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(made[i], made[j]);
	}
}
END_TEST

static int makes(const void *other)
{
	char own[SHARED_LONGER + 1];

	shared_alternate(own, 0);
	return strcmp(own, other) == 0;
}

/* Its random bytes and its count of names are the parent's. */
START_TEST(a_fork_makes_others_than_its_parent)
{
	char name[SHARED_LONGER + 1] = "";

	for (int i = 0; i < 2; i++) {
		int ready[2];
		char theirs[SHARED_LONGER + 1];

		ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
		if (fork() == 0) {
			shared_alternate(theirs, 0);
			_exit(write(ready[1], theirs, sizeof(theirs)) != sizeof(theirs));
		}
		ck_assert_int_eq(read(ready[0], theirs, sizeof(theirs)), sizeof(theirs));
		ck_assert_str_ne(theirs, name);
		ck_assert_int_eq(in_child(makes, theirs), 0);
		strcpy(name, theirs);
	}
}
END_TEST

/* ---- the listing ---- */

START_TEST(nothing_is_found_where_nothing_is)
{
	ck_assert(!finds());
	ck_assert_str_eq(path, PLAIN);
}
END_TEST

START_TEST(the_plain_name_comes_first)
{
	write_file(ALTERNATE, "");
	write_file(PLAIN, "");
	ck_assert(finds());
	ck_assert_str_eq(path, PLAIN);
}
END_TEST

START_TEST(an_alternate_is_found)
{
	write_file(ALTERNATE, "");
	ck_assert(finds());
	ck_assert_str_eq(path, ALTERNATE);
}
END_TEST

START_TEST(the_path_may_be_an_alternate_already)
{
	write_file(ALTERNATE, "");
	strcpy(path, ANOTHER);
	ck_assert(shared_find(AT_FDCWD, path, strlen(PLAIN), lockfile_counts, NULL) ==
		  SHARED_FOUND);
	ck_assert_str_eq(path, ALTERNATE);
}
END_TEST

START_TEST(an_alternate_is_found_among_many_and_in_any_directory)
{
	char name[64];

	ck_assert_int_eq(mkdir("d", 0755), 0);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "d/" PLAIN "%d", i);
		write_file(name, "");
	}
	write_file("d/" ALTERNATE, "");
	write_file("d/" LOCKFILE_PREFIX "t" LOCKFILE_SUFFIX ".0123456789ab", "");
	ck_assert(finds_beside("d/" PLAIN, NULL));
	ck_assert_str_eq(path, "d/" ALTERNATE);
	ck_assert(!finds());
	ck_assert(!finds_beside("d/" LOCKFILE_PREFIX "u" LOCKFILE_SUFFIX, NULL));
}
END_TEST

START_TEST(a_path_starts_from_its_directory)
{
	int dir;

	ck_assert_int_eq(mkdir("d", 0755), 0);
	write_file("d/" ALTERNATE, "");
	dir = open("d", O_PATH | O_CLOEXEC);
	strcpy(path, PLAIN);
	ck_assert(KEEPS_ERRNO(shared_find(dir, path, strlen(PLAIN), lockfile_counts, NULL) ==
			      SHARED_FOUND));
	ck_assert_str_eq(path, ALTERNATE);
}
END_TEST

START_TEST(the_exception_is_passed_over)
{
	struct file_id plain, alternate;

	write_file(PLAIN, "");
	write_file(ALTERNATE, "");
	plain = id_of(PLAIN);
	alternate = id_of(ALTERNATE);
	ck_assert(finds_beside(PLAIN, &plain));
	ck_assert_str_eq(path, ALTERNATE);
	ck_assert(finds_beside(PLAIN, &alternate));
	ck_assert_str_eq(path, PLAIN);
	unlink(PLAIN);
	ck_assert(!finds_beside(PLAIN, &alternate));
	ck_assert_str_eq(path, PLAIN);
}
END_TEST

START_TEST(no_descriptor_is_left_open)
{
	int before = open_descriptors();

	ck_assert(!finds());
	write_file(ALTERNATE, "");
	ck_assert(finds());
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* ---- what counts ---- */

START_TEST(a_stranger_s_file_does_not_count)
{
	give_to(PLAIN, STRANGER);
	give_to(ALTERNATE, STRANGER);
	ck_assert(!finds());
	write_file(ANOTHER, "");
	ck_assert(finds());
	ck_assert_str_eq(path, ANOTHER);
}
END_TEST

static int finds_as(const void *about)
{
	(void)about;
	return finds();
}

START_TEST(whose_a_file_is_depends_on_who_asks)
{
	ck_assert_int_eq(chmod(".", 01777), 0);
	write_file(PLAIN, ""); /* root's */
	ck_assert_int_eq(as_stranger(finds_as, NULL), 0);
	give_to(ALTERNATE, STRANGER);
	ck_assert_int_eq(as_stranger(finds_as, NULL), 1);
}
END_TEST

START_TEST(only_a_file_of_one_name_counts)
{
	ck_assert_int_eq(mkfifo(PLAIN, 0600), 0);
	ck_assert(!finds());
	unlink(PLAIN);
	ck_assert_int_eq(mkdir(PLAIN, 0700), 0);
	ck_assert(!finds());
	rmdir(PLAIN);
	write_file("elsewhere", "");
	ck_assert_int_eq(symlink("elsewhere", PLAIN), 0);
	ck_assert(!finds());
	unlink(PLAIN);
	ck_assert_int_eq(link("elsewhere", PLAIN), 0);
	ck_assert(!finds());
	unlink("elsewhere");
	ck_assert(finds());
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("shared");
	TCase *cases = suite_cases(suite, "shared");

	tcase_add_test(cases, an_alternate_has_a_dot_and_twelve_digits);
	tcase_add_test(cases, an_alternate_is_of_its_plain_name);
	tcase_add_test(cases, no_two_alternates_are_alike);
	tcase_add_test(cases, a_fork_makes_others_than_its_parent);
	tcase_add_test(cases, nothing_is_found_where_nothing_is);
	tcase_add_test(cases, the_plain_name_comes_first);
	tcase_add_test(cases, an_alternate_is_found);
	tcase_add_test(cases, the_path_may_be_an_alternate_already);
	tcase_add_test(cases, an_alternate_is_found_among_many_and_in_any_directory);
	tcase_add_test(cases, a_path_starts_from_its_directory);
	tcase_add_test(cases, the_exception_is_passed_over);
	tcase_add_test(cases, no_descriptor_is_left_open);
	ADD_ROOT_TEST(cases, a_stranger_s_file_does_not_count);
	ADD_ROOT_TEST(cases, whose_a_file_is_depends_on_who_asks);
	tcase_add_test(cases, only_a_file_of_one_name_counts);
	return suite;
}
