#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kernel.h"
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
	return KEEPS_ERRNO(shared_find(AT_FDCWD, path, strlen(plain), lockfile_is_own, except) ==
			   SHARED_FOUND);
}

static bool finds(void)
{
	return finds_beside(PLAIN, NULL);
}

static struct file_id id_of(const char *name)
{
	struct kernel_file found;

	ck_assert_int_eq(inode_stat(AT_FDCWD, name, &found), 0);
	return file_id_of(&found);
}

static void create_for_user(const char *name, uid_t user)
{
	write_file(name, "");
	ck_assert_int_eq(chown(name, user, user), 0);
}

/* ---- names ---- */

START_TEST(an_alternate_has_a_dot_and_twelve_digits)
{
	ck_assert(shared_is_alternate_suffix(".0123456789ab"));
	ck_assert(shared_is_alternate_suffix(".cdefcdefcdef"));
	ck_assert(!shared_is_alternate_suffix(""));
	ck_assert(!shared_is_alternate_suffix(".0123456789a"));
	ck_assert(!shared_is_alternate_suffix(".0123456789abc"));
	ck_assert(!shared_is_alternate_suffix(".0123456789aB"));
	ck_assert(!shared_is_alternate_suffix(".0123456789ag"));
	ck_assert(!shared_is_alternate_suffix("-0123456789ab"));
	ck_assert(!shared_is_alternate_suffix(".0123456789ab.0123456789ab"));
}
END_TEST

START_TEST(an_alternate_belongs_to_its_plain_name)
{
	strcpy(path, PLAIN);
	KEEPS_ERRNO_VOID(shared_make_alternate(path, strlen(PLAIN)));
	ck_assert_mem_eq(path, PLAIN, strlen(PLAIN));
	ck_assert(shared_is_alternate_suffix(path + strlen(PLAIN)));
	ck_assert_uint_eq(strlen(path), strlen(PLAIN) + SHARED_EXTRA);
}
END_TEST

START_TEST(alternates_are_unique)
{
	char made[100][SHARED_EXTRA + 1];

	for (int i = 0; i < 100; i++) {
		shared_make_alternate(made[i], 0);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(made[i], made[j]);
	}
}
END_TEST

static int makes_different_name(const void *other)
{
	char own[SHARED_EXTRA + 1];

	shared_make_alternate(own, 0);
	return strcmp(own, other) == 0;
}

/* The child has copies of the parent's random bytes and counter. */
START_TEST(a_forked_child_makes_different_alternates)
{
	char name[SHARED_EXTRA + 1] = "";

	for (int i = 0; i < 2; i++) {
		int ready[2];
		char theirs[SHARED_EXTRA + 1];

		ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
		if (fork() == 0) {
			shared_make_alternate(theirs, 0);
			_exit(write(ready[1], theirs, sizeof(theirs)) != sizeof(theirs));
		}
		ck_assert_int_eq(read(ready[0], theirs, sizeof(theirs)), sizeof(theirs));
		ck_assert_str_ne(theirs, name);
		ck_assert_int_eq(run_in_child(makes_different_name, theirs), 0);
		strcpy(name, theirs);
	}
}
END_TEST

#define RANDOM_BYTES 16

static long same_pid(long number, const long arguments[6])
{
	return number == SYS_getpid ? 4711 : make_call(number, arguments);
}

struct attempt {
	int changed; /* number of the byte, or RANDOM_BYTES: none */
	char name[SHARED_EXTRA + 1];
};

/* A child has copies of the random bytes, which are on the stack, and of the counter. */
static int make_with_changed_byte(const void *about)
{
	struct attempt *attempt = *(struct attempt *const *)about;
	unsigned char *random = (unsigned char *)getauxval(AT_RANDOM);

	if (attempt->changed < RANDOM_BYTES)
		random[attempt->changed] ^= 1;
	shared_make_alternate(attempt->name, 0);
	return 0;
}

/* Otherwise a user who has seen one name could calculate others. */
START_TEST(an_alternate_depends_on_each_random_byte)
{
	struct attempt *attempt = mmap(NULL, sizeof(*attempt), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char unchanged[SHARED_EXTRA + 1] = "";

	ck_assert_ptr_ne(attempt, MAP_FAILED);
	replace_system_calls(same_pid);
	for (int i = RANDOM_BYTES; i >= 0; i--) {
		attempt->changed = i;
		ck_assert_int_eq(run_in_child(make_with_changed_byte, &attempt), 0);
		ck_assert_str_ne(attempt->name, unchanged);
		if (i == RANDOM_BYTES)
			strcpy(unchanged, attempt->name);
	}
	attempt->changed = RANDOM_BYTES;
	ck_assert_int_eq(run_in_child(make_with_changed_byte, &attempt), 0);
	ck_assert_str_eq(attempt->name, unchanged);
}
END_TEST

/* ---- listing the directory ---- */

START_TEST(no_alternate_is_found_in_an_empty_directory)
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
	ck_assert(shared_find(AT_FDCWD, path, strlen(PLAIN), lockfile_is_own, NULL) ==
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

START_TEST(a_path_is_relative_to_its_directory)
{
	int dir;

	ck_assert_int_eq(mkdir("d", 0755), 0);
	write_file("d/" ALTERNATE, "");
	dir = open("d", O_PATH | O_CLOEXEC);
	strcpy(path, PLAIN);
	ck_assert(KEEPS_ERRNO(shared_find(dir, path, strlen(PLAIN), lockfile_is_own, NULL) ==
			      SHARED_FOUND));
	ck_assert_str_eq(path, ALTERNATE);
}
END_TEST

START_TEST(the_excepted_file_is_skipped)
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
	int before = count_descriptors();

	ck_assert(!finds());
	write_file(ALTERNATE, "");
	ck_assert(finds());
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* ---- files that count ---- */

START_TEST(another_users_file_is_not_accepted)
{
	create_for_user(PLAIN, STRANGER);
	create_for_user(ALTERNATE, STRANGER);
	ck_assert(!finds());
	write_file(ANOTHER, "");
	ck_assert(finds());
	ck_assert_str_eq(path, ANOTHER);
}
END_TEST

static int finds_in_child(const void *about)
{
	(void)about;
	return finds();
}

START_TEST(acceptance_depends_on_the_effective_user)
{
	ck_assert_int_eq(chmod(".", 01777), 0);
	write_file(PLAIN, ""); /* root's */
	ck_assert_int_eq(run_as_stranger(finds_in_child, NULL), 0);
	create_for_user(ALTERNATE, STRANGER);
	ck_assert_int_eq(run_as_stranger(finds_in_child, NULL), 1);
}
END_TEST

START_TEST(only_a_file_with_one_link_is_accepted)
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

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("shared");
	TCase *cases = suite_cases(suite, "shared");

	tcase_add_test(cases, an_alternate_has_a_dot_and_twelve_digits);
	tcase_add_test(cases, an_alternate_belongs_to_its_plain_name);
	tcase_add_test(cases, alternates_are_unique);
	tcase_add_test(cases, a_forked_child_makes_different_alternates);
	tcase_add_test(cases, an_alternate_depends_on_each_random_byte);
	tcase_add_test(cases, no_alternate_is_found_in_an_empty_directory);
	tcase_add_test(cases, the_plain_name_comes_first);
	tcase_add_test(cases, an_alternate_is_found);
	tcase_add_test(cases, the_path_may_be_an_alternate_already);
	tcase_add_test(cases, an_alternate_is_found_among_many_and_in_any_directory);
	tcase_add_test(cases, a_path_is_relative_to_its_directory);
	tcase_add_test(cases, the_excepted_file_is_skipped);
	tcase_add_test(cases, no_descriptor_is_left_open);
	ADD_ROOT_TEST(cases, another_users_file_is_not_accepted);
	ADD_ROOT_TEST(cases, acceptance_depends_on_the_effective_user);
	tcase_add_test(cases, only_a_file_with_one_link_is_accepted);
	return suite;
}
