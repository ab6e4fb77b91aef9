/* Tests of procstatus: lines, numbers and credentials of /proc/PID/status. */
#include "procstatus.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static const char status[] = "Name:\tserver\n"
			     "Umask:\t0027\n"
			     "NStgid:\t4711 12\t1\n"
			     "Text:\tnone\n"
			     "Empty:\t\n"
			     "2:\tafter an empty line\n"
			     "Last: 170";

#define UIDS   "Uid:\t1001\t1002\t1003\t1004\n"
#define GIDS   "Gid:\t2001\t2002\t2003\t2004\n"
#define GROUPS "Groups:\t31 32 \n"
#define CAPS   "CapEff:\t000001ff0000000f\n"

/* ---- lines ---- */

START_TEST(a_line_is_found_by_its_whole_name)
{
	ck_assert(procstatus_has(status, "Name"));
	ck_assert(procstatus_has(status, "Empty"));
	ck_assert(procstatus_has(status, "Last"));
	ck_assert(!procstatus_has(status, "Nam"));
	ck_assert(!procstatus_has(status, "Nama"));
	ck_assert(!procstatus_has(status, "Names"));
	ck_assert(!procstatus_has(status, "ame"));
	ck_assert(!procstatus_has(status, "server"));
	ck_assert(!procstatus_has("", "Name"));
	ck_assert(!procstatus_has(NULL, "Name"));
}
END_TEST

START_TEST(numbers_end_with_the_line_or_the_text)
{
	uint64_t numbers[4] = {0};

	ck_assert_uint_eq(procstatus_numbers(status, "NStgid", 10, numbers, 4), 3);
	ck_assert_uint_eq(numbers[0], 4711);
	ck_assert_uint_eq(numbers[1], 12);
	ck_assert_uint_eq(numbers[2], 1);
	ck_assert_uint_eq(procstatus_numbers(status, "Last", 10, numbers, 4), 1);
	ck_assert_uint_eq(numbers[0], 170);
	ck_assert_uint_eq(procstatus_numbers(status, "Text", 10, numbers, 4), 0);
	ck_assert_uint_eq(procstatus_numbers(status, "Empty", 10, numbers, 4), 0);
	ck_assert_uint_eq(procstatus_numbers(status, "Missing", 10, numbers, 4), 0);
	ck_assert_uint_eq(procstatus_numbers(NULL, "Last", 10, numbers, 4), 0);
}
END_TEST

START_TEST(at_most_as_many_numbers_are_read_as_fit)
{
	uint64_t numbers[3] = {5, 6, 7};

	ck_assert_uint_eq(procstatus_numbers(status, "NStgid", 10, numbers, 2), 2);
	ck_assert_uint_eq(numbers[1], 12);
	ck_assert_uint_eq(numbers[2], 7);
	ck_assert_uint_eq(procstatus_numbers(status, "NStgid", 10, numbers, 0), 0);
	ck_assert_uint_eq(numbers[0], 4711);
}
END_TEST

START_TEST(a_number_is_read_in_its_base)
{
	uint64_t number = 0;

	ck_assert(procstatus_number(status, "Umask", 8, &number));
	ck_assert_uint_eq(number, 027);
	ck_assert(procstatus_number(status, "Last", 16, &number));
	ck_assert_uint_eq(number, 0x170);
	ck_assert(procstatus_number(status, "NStgid", 10, &number));
	ck_assert_uint_eq(number, 4711);
	ck_assert(!procstatus_number(status, "Empty", 10, &number));
	ck_assert(!procstatus_number(status, "Missing", 10, &number));
	ck_assert_uint_eq(number, 4711);
}
END_TEST

START_TEST(a_text_is_cut_off_at_the_size)
{
	static const struct {
		const char *field;
		size_t size;
		const char *text;
	} texts[] = {
		{"Name", 16, "server"},
		{"Name", 7, "server"},
		{"Name", 6, "serve"},
		{"Name", 1, ""},
		{"Empty", 16, ""},
		{"Missing", 16, ""},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		char text[20] = "xxxxxxxxxxxxxxxxxxx";
		size_t end = strlen(texts[i].text) + 1;

		procstatus_text(status, texts[i].field, text, texts[i].size);
		ck_assert_str_eq(text, texts[i].text);
		for (size_t j = end; j < sizeof(text) - 1; j++)
			ck_assert_int_eq(text[j], 'x');
	}
}
END_TEST

/* ---- credentials ---- */

static bool read_credentials(const char *text, struct credentials *credentials)
{
	memset(credentials, 0, sizeof(*credentials));
	return procstatus_credentials(text, credentials);
}

START_TEST(credentials_are_read)
{
	static struct credentials found;

	ck_assert(read_credentials(UIDS GIDS GROUPS CAPS, &found));
	for (unsigned int i = 0; i < 4; i++) {
		ck_assert_uint_eq(found.uid[i], 1001 + i);
		ck_assert_uint_eq(found.gid[i], 2001 + i);
	}
	ck_assert_uint_eq(found.groups, 2);
	ck_assert_uint_eq(found.group[0], 31);
	ck_assert_uint_eq(found.group[1], 32);
	ck_assert_uint_eq(found.group[2], 0);
	ck_assert_uint_eq(found.effective, UINT64_C(0x1ff0000000f));
}
END_TEST

START_TEST(a_process_may_have_no_groups)
{
	static struct credentials found;

	ck_assert(read_credentials(UIDS GIDS "Groups:\t \n" CAPS, &found));
	ck_assert_uint_eq(found.groups, 0);
}
END_TEST

START_TEST(credentials_without_a_line_are_unknown)
{
	static struct credentials found;

	ck_assert(!read_credentials(GIDS GROUPS CAPS, &found));
	ck_assert(!read_credentials(UIDS GROUPS CAPS, &found));
	ck_assert(!read_credentials(UIDS GIDS CAPS, &found));
	ck_assert(!read_credentials(UIDS GIDS GROUPS, &found));
	ck_assert(!read_credentials("Uid:\t1\t2\t3\n" GIDS GROUPS CAPS, &found));
	ck_assert(!read_credentials(NULL, &found));
}
END_TEST

/* Writes the status of a process that has this number of groups. */
static const char *with_groups(unsigned int count)
{
	static char text[8192];
	int length = snprintf(text, sizeof(text), UIDS GIDS CAPS "Groups:\t");

	for (unsigned int i = 0; i < count; i++)
		length += snprintf(text + length, sizeof(text) - (size_t)length, "%u ", 100 + i);
	strcpy(text + length, "\n");
	return text;
}

START_TEST(a_process_may_have_too_many_groups)
{
	static struct credentials found;

	ck_assert(read_credentials(with_groups(PROCSTATUS_GROUPS), &found));
	ck_assert_uint_eq(found.groups, PROCSTATUS_GROUPS);
	ck_assert_uint_eq(found.group[PROCSTATUS_GROUPS - 1], 100 + PROCSTATUS_GROUPS - 1);
	ck_assert(!read_credentials(with_groups(PROCSTATUS_GROUPS + 1), &found));
	ck_assert(!read_credentials(with_groups(PROCSTATUS_GROUPS + 2), &found));
}
END_TEST

static const char *const others[] = {
	"Uid:\t1001\t1002\t1003\t1\n" GIDS GROUPS CAPS,
	UIDS "Gid:\t2001\t2002\t2003\t1\n" GROUPS CAPS,
	UIDS GIDS "Groups:\t31 33 \n" CAPS,
	UIDS GIDS "Groups:\t31 32 33 \n" CAPS,
	UIDS GIDS "Groups:\t31 \n" CAPS,
	UIDS GIDS "Groups:\t \n" CAPS,
};

START_TEST(ids_differ_if_one_of_them_does)
{
	static struct credentials ours, theirs;

	ck_assert(read_credentials(UIDS GIDS GROUPS CAPS, &ours));
	ck_assert(read_credentials(others[_i], &theirs));
	ck_assert(!procstatus_same_ids(&ours, &theirs));
	ck_assert(!procstatus_same_ids(&theirs, &ours));
	ck_assert_int_eq(procstatus_same_groups(&ours, &theirs), _i < 2);
	ck_assert_int_eq(procstatus_same_groups(&theirs, &ours), _i < 2);
}
END_TEST

START_TEST(capabilities_are_not_compared)
{
	static struct credentials ours, theirs;

	ck_assert(read_credentials(UIDS GIDS GROUPS CAPS, &ours));
	ck_assert(read_credentials(UIDS GIDS GROUPS "CapEff:\t0\n", &theirs));
	ck_assert(procstatus_same_ids(&ours, &theirs));
	ck_assert(procstatus_same_groups(&ours, &theirs));
}
END_TEST

/* ---- files ---- */

static int open_file(const char *content)
{
	int fd;

	write_file("status", content);
	fd = open("status", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static char text[PROCSTATUS_SIZE + 8];

static void fill_text(void)
{
	memset(text, 'x', sizeof(text) - 1);
}

START_TEST(a_file_is_read_from_its_start_each_time)
{
	int fd = open_file(status);

	for (int i = 0; i < 2; i++) {
		fill_text();
		ck_assert(procstatus_reread(fd, text));
		ck_assert_str_eq(text, status);
	}
	fill_text();
	ck_assert(procstatus_reread(open_file("1"), text));
	ck_assert_str_eq(text, "1");
}
END_TEST

START_TEST(what_cannot_be_read_is_an_empty_text)
{
	fill_text();
	ck_assert(!procstatus_reread(-1, text));
	ck_assert_str_eq(text, "");
	fill_text();
	ck_assert(!procstatus_reread(open_file(""), text));
	ck_assert_str_eq(text, "");
	fill_text();
	ck_assert(!procstatus_read(open(".", O_RDONLY | O_CLOEXEC), text));
	ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(a_file_that_is_too_long_is_cut_off)
{
	static char longer[PROCSTATUS_SIZE + 8];

	memset(longer, 'y', sizeof(longer) - 1);
	fill_text();
	ck_assert(procstatus_reread(open_file(longer), text));
	ck_assert_uint_eq(strlen(text), PROCSTATUS_SIZE - 1);
	ck_assert_int_eq(text[PROCSTATUS_SIZE], 'x');
}
END_TEST

START_TEST(the_descriptor_is_closed_even_if_it_is_0)
{
	int fd = open_file(status);

	ck_assert(procstatus_read(fd, text));
	ck_assert_str_eq(text, status);
	ck_assert_int_lt(fcntl(fd, F_GETFD), 0);
	ck_assert_int_eq(dup2(open_file(status), STDIN_FILENO), STDIN_FILENO);
	fill_text();
	ck_assert(procstatus_read(STDIN_FILENO, text));
	ck_assert_str_eq(text, status);
	ck_assert_int_lt(fcntl(STDIN_FILENO, F_GETFD), 0);
	ck_assert(!procstatus_read(-1, text));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("procstatus");
	TCase *lines = suite_cases(suite, "lines");
	TCase *credentials = suite_cases(suite, "credentials");
	TCase *files = suite_cases(suite, "files");

	tcase_add_test(lines, a_line_is_found_by_its_whole_name);
	tcase_add_test(lines, numbers_end_with_the_line_or_the_text);
	tcase_add_test(lines, at_most_as_many_numbers_are_read_as_fit);
	tcase_add_test(lines, a_number_is_read_in_its_base);
	tcase_add_test(lines, a_text_is_cut_off_at_the_size);
	tcase_add_test(credentials, credentials_are_read);
	tcase_add_test(credentials, a_process_may_have_no_groups);
	tcase_add_test(credentials, credentials_without_a_line_are_unknown);
	tcase_add_test(credentials, a_process_may_have_too_many_groups);
	tcase_add_loop_test(credentials, ids_differ_if_one_of_them_does, 0,
		(int)(sizeof(others) / sizeof(*others)));
	tcase_add_test(credentials, capabilities_are_not_compared);
	tcase_add_test(files, a_file_is_read_from_its_start_each_time);
	tcase_add_test(files, what_cannot_be_read_is_an_empty_text);
	tcase_add_test(files, a_file_that_is_too_long_is_cut_off);
	tcase_add_test(files, the_descriptor_is_closed_even_if_it_is_0);
	return suite;
}
