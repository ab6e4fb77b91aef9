#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "suite.h"

/* ---- loading ---- */

static int complaints;
static char last_complaint[64];

static void complain(const char *variable, const char *expected)
{
	complaints++;
	ck_assert_uint_lt(strlen(variable), sizeof(last_complaint));
	strcpy(last_complaint, variable);
	ck_assert_str_ne(expected, "");
}

static void load(const char *variable, const char *value)
{
	ck_assert_int_eq(setenv(variable, value, 1), 0);
	config_load(complain);
}

static void assert_understood(void)
{
	ck_assert_int_eq(complaints, 0);
}

/* One warning, and everything as it is without the setting. */
static void assert_refused(const char *variable)
{
	static const struct config defaults;

	ck_assert_int_eq(complaints, 1);
	ck_assert_str_eq(last_complaint, variable);
	ck_assert_int_eq(config.disabled, defaults.disabled);
	ck_assert_int_eq(config.debug, defaults.debug);
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
	ck_assert_int_eq(config.log_to, LOG_TO_STDERR);
	ck_assert_ptr_null(config.log_file);
	ck_assert_ptr_null(config.only);
	ck_assert_ptr_null(config.ignore);
}

START_TEST(nothing_set_is_the_default)
{
	config_load(complain);
	assert_understood();
	ck_assert(!config.disabled);
	ck_assert(!config.debug);
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
	ck_assert_int_eq(config.log_to, LOG_TO_STDERR);
}
END_TEST

START_TEST(empty_is_as_unset)
{
	static const char *const variables[] = {"SOCKGUARD_DISABLE", "SOCKGUARD_DEBUG",
		"SOCKGUARD_REUSE", "SOCKGUARD_LOG", "SOCKGUARD_ONLY", "SOCKGUARD_IGNORE"};

	load(variables[_i], "");
	assert_understood();
	ck_assert(!config.disabled);
	ck_assert(!config_ignores(AT_FDCWD, "/run/s"));
}
END_TEST

START_TEST(flags_are_one_or_zero)
{
	load("SOCKGUARD_DISABLE", "1");
	ck_assert(config.disabled);
	ck_assert(!config.debug);
	load("SOCKGUARD_DISABLE", "0");
	ck_assert(!config.disabled);
	load("SOCKGUARD_DEBUG", "1");
	ck_assert(config.debug);
	ck_assert(!config.disabled);
	load("SOCKGUARD_DEBUG", "0");
	ck_assert(!config.debug);
	assert_understood();
}
END_TEST

START_TEST(other_flags_are_refused)
{
	static const char *const values[] = {"yes", "true", "2", "01", "1 ", " 1", "10", "-1"};

	load("SOCKGUARD_DISABLE", values[_i]);
	assert_refused("SOCKGUARD_DISABLE");
	unsetenv("SOCKGUARD_DISABLE");
	complaints = 0;
	load("SOCKGUARD_DEBUG", values[_i]);
	assert_refused("SOCKGUARD_DEBUG");
}
END_TEST

START_TEST(reuse_has_three_words)
{
	load("SOCKGUARD_REUSE", "always");
	ck_assert_int_eq(config.reuse, REUSE_ALWAYS);
	load("SOCKGUARD_REUSE", "never");
	ck_assert_int_eq(config.reuse, REUSE_NEVER);
	load("SOCKGUARD_REUSE", "auto");
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
	assert_understood();
}
END_TEST

START_TEST(other_reuse_is_refused)
{
	static const char *const values[] = {"Always", "alway", "always ", "1", "never,always"};

	load("SOCKGUARD_REUSE", values[_i]);
	assert_refused("SOCKGUARD_REUSE");
}
END_TEST

START_TEST(the_log_goes_where_it_is_told)
{
	load("SOCKGUARD_LOG", "syslog");
	ck_assert_int_eq(config.log_to, LOG_TO_SYSLOG);
	load("SOCKGUARD_LOG", "none");
	ck_assert_int_eq(config.log_to, LOG_TO_NONE);
	load("SOCKGUARD_LOG", "stderr");
	ck_assert_int_eq(config.log_to, LOG_TO_STDERR);
	load("SOCKGUARD_LOG", "/var/log/sockguard.log");
	ck_assert_int_eq(config.log_to, LOG_TO_FILE);
	ck_assert_str_eq(config.log_file, "/var/log/sockguard.log");
	assert_understood();
}
END_TEST

START_TEST(other_logs_are_refused)
{
	static const char *const values[] = {"sockguard.log", "./log", "stdout", "STDERR", "~/log"};

	load("SOCKGUARD_LOG", values[_i]);
	assert_refused("SOCKGUARD_LOG");
}
END_TEST

START_TEST(values_are_copied)
{
	static char variable[] = "SOCKGUARD_LOG=/var/log/a";

	ck_assert_int_eq(putenv(variable), 0);
	config_load(complain);
	memset(variable, 'x', sizeof(variable) - 1);
	ck_assert_str_eq(config.log_file, "/var/log/a");
}
END_TEST

static const char *path_of_length(size_t length)
{
	static char path[2 * CONFIG_TEXT];

	memset(path, 'a', length);
	path[0] = '/';
	path[length] = '\0';
	return path;
}

START_TEST(a_value_may_just_fit)
{
	const char *path = path_of_length(CONFIG_TEXT - 1);

	load("SOCKGUARD_LOG", path);
	load("SOCKGUARD_ONLY", path);
	load("SOCKGUARD_IGNORE", path);
	assert_understood();
	ck_assert_str_eq(config.log_file, path);
	ck_assert_str_eq(config.only, path);
	ck_assert_str_eq(config.ignore, path);
}
END_TEST

/* Not cut short: half a pattern would match other paths. */
START_TEST(a_value_too_long_is_refused)
{
	static const char *const variables[] = {
		"SOCKGUARD_LOG", "SOCKGUARD_ONLY", "SOCKGUARD_IGNORE"};

	load(variables[_i], path_of_length(CONFIG_TEXT));
	assert_refused(variables[_i]);
}
END_TEST

START_TEST(a_relative_pattern_is_refused)
{
	static const char *const values[] = {"run/*", "./s", "/run/a:s", "s:/run/a", "/a:b:/c"};

	load("SOCKGUARD_ONLY", values[_i]);
	assert_refused("SOCKGUARD_ONLY");
	unsetenv("SOCKGUARD_ONLY");
	complaints = 0;
	load("SOCKGUARD_IGNORE", values[_i]);
	assert_refused("SOCKGUARD_IGNORE");
}
END_TEST

START_TEST(nobody_need_listen_to_complaints)
{
	setenv("SOCKGUARD_LOG", "nowhere", 1);
	setenv("SOCKGUARD_REUSE", "sometimes", 1);
	setenv("SOCKGUARD_DISABLE", "1", 1);
	config_load(NULL);
	ck_assert(config.disabled);
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
}
END_TEST

static enum log_to log_at_complaint = LOG_TO_NONE;

static void note_log(const char *variable, const char *expected)
{
	(void)variable, (void)expected;
	log_at_complaint = config.log_to;
}

START_TEST(complaints_go_where_the_log_goes)
{
	setenv("SOCKGUARD_DISABLE", "maybe", 1);
	setenv("SOCKGUARD_LOG", "syslog", 1);
	config_load(note_log);
	ck_assert_int_eq(log_at_complaint, LOG_TO_SYSLOG);
}
END_TEST

/* ---- patterns ---- */

static bool ignores(const char *path)
{
	return KEEPS_ERRNO(config_ignores(AT_FDCWD, path));
}

START_TEST(without_patterns_nothing_is_ignored)
{
	ck_assert(!ignores("/run/s"));
	ck_assert(!ignores("s"));
	ck_assert(!ignores(""));
}
END_TEST

START_TEST(only_leaves_all_else_out)
{
	load("SOCKGUARD_ONLY", "/run/a.sock:/srv/*");
	assert_understood();
	ck_assert(!ignores("/run/a.sock"));
	ck_assert(!ignores("/srv/b"));
	ck_assert(!ignores("/srv/b/c")); /* a star is not stopped by a slash */
	ck_assert(ignores("/run/b.sock"));
	ck_assert(ignores("/run/a.sockx"));
	ck_assert(ignores("/srv"));
	ck_assert(ignores("s"));
}
END_TEST

START_TEST(ignore_leaves_its_own_out)
{
	load("SOCKGUARD_IGNORE", "/run/a.sock:/srv/?");
	assert_understood();
	ck_assert(ignores("/run/a.sock"));
	ck_assert(ignores("/srv/b"));
	ck_assert(!ignores("/srv/bc"));
	ck_assert(!ignores("/run/b.sock"));
}
END_TEST

START_TEST(ignore_has_the_last_word)
{
	load("SOCKGUARD_ONLY", "/run/*");
	load("SOCKGUARD_IGNORE", "*.tmp");
	assert_understood();
	ck_assert(!ignores("/run/a.sock"));
	ck_assert(ignores("/run/a.tmp"));
	ck_assert(ignores("/srv/a.sock"));
}
END_TEST

START_TEST(a_path_is_compared_without_what_means_nothing)
{
	load("SOCKGUARD_ONLY", "/run/app/s");
	ck_assert(!ignores("/run/app/s"));
	ck_assert(!ignores("//run///app//s"));
	ck_assert(!ignores("/run/./app/././s"));
	ck_assert(!ignores("/./run/app/s/"));
	ck_assert(ignores("/run/app/.s"));
	ck_assert(ignores("/run/app/s."));
	ck_assert(ignores("/run/app/..s"));
}
END_TEST

/* Behind a symlink it would be another directory, so it is not resolved. */
START_TEST(two_dots_stay)
{
	load("SOCKGUARD_ONLY", "/run/s");
	ck_assert(ignores("/run/app/../s"));
	load("SOCKGUARD_ONLY", "/run/app/../s");
	ck_assert(!ignores("/run/app/../s"));
}
END_TEST

START_TEST(a_relative_path_starts_from_the_working_directory)
{
	load("SOCKGUARD_ONLY", absolute("s"));
	assert_understood();
	ck_assert(!ignores("s"));
	ck_assert(!ignores("./s"));
	ck_assert(ignores("t"));
	ck_assert_int_eq(mkdir("sub", 0755), 0);
	ck_assert_int_eq(chdir("sub"), 0);
	ck_assert(ignores("s"));
}
END_TEST

START_TEST(a_relative_path_starts_from_the_root_there)
{
	load("SOCKGUARD_ONLY", "/s");
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert(!ignores("s"));
	ck_assert_int_eq(chdir("/tmp"), 0);
	ck_assert(ignores("s"));
}
END_TEST

START_TEST(a_relative_path_starts_from_its_directory)
{
	int dir;

	ck_assert_int_eq(mkdir("sub", 0755), 0);
	dir = open("sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir, 0);
	load("SOCKGUARD_ONLY", absolute("sub/s"));
	ck_assert(!KEEPS_ERRNO(config_ignores(dir, "s")));
	ck_assert(KEEPS_ERRNO(config_ignores(dir, "t")));
	ck_assert(KEEPS_ERRNO(config_ignores(AT_FDCWD, "s")));
	ck_assert(!KEEPS_ERRNO(config_ignores(AT_FDCWD, "sub/s")));
}
END_TEST

START_TEST(an_absolute_path_needs_no_directory)
{
	load("SOCKGUARD_ONLY", "/run/s");
	ck_assert(!KEEPS_ERRNO(config_ignores(-1, "/run/s")));
	ck_assert(!KEEPS_ERRNO(config_ignores(1000, "/run/s")));
}
END_TEST

/* Nowhere to start from: no crash, and errno stays. */
START_TEST(a_directory_that_is_none_does_no_harm)
{
	load("SOCKGUARD_IGNORE", "*/s");
	KEEPS_ERRNO(config_ignores(-1, "s"));
	KEEPS_ERRNO(config_ignores(1000, "s"));
	ck_assert_int_eq(mkdir("gone", 0755), 0);
	ck_assert_int_eq(chdir("gone"), 0);
	ck_assert_int_eq(rmdir("../gone"), 0);
	KEEPS_ERRNO(config_ignores(AT_FDCWD, "s"));
	ck_assert_int_eq(chdir("/tmp"), 0);
}
END_TEST

START_TEST(the_longest_path_does_no_harm)
{
	const char *path = path_of_length(2 * CONFIG_TEXT - 1);

	load("SOCKGUARD_IGNORE", "/a*");
	ck_assert(ignores(path));
	ck_assert(!ignores(path + 1));
}
END_TEST

static int ignores_without_memory(const void *path)
{
	forbid_with(CALL_MAP, ENOMEM);
	return ignores(path);
}

/* Rather guarded than not. */
START_TEST(without_memory_nothing_is_ignored)
{
	config.ignore = "*";
	ck_assert(ignores("/run/s"));
	ck_assert_int_eq(in_child(ignores_without_memory, "/run/s"), 0);
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("config");
	TCase *loading = suite_cases(suite, "loading");
	TCase *patterns = suite_cases(suite, "patterns");

	tcase_add_test(suite_cases(suite, "forbidden"), without_memory_nothing_is_ignored);
	tcase_add_test(loading, nothing_set_is_the_default);
	tcase_add_loop_test(loading, empty_is_as_unset, 0, 6);
	tcase_add_test(loading, flags_are_one_or_zero);
	tcase_add_loop_test(loading, other_flags_are_refused, 0, 8);
	tcase_add_test(loading, reuse_has_three_words);
	tcase_add_loop_test(loading, other_reuse_is_refused, 0, 5);
	tcase_add_test(loading, the_log_goes_where_it_is_told);
	tcase_add_loop_test(loading, other_logs_are_refused, 0, 5);
	tcase_add_test(loading, values_are_copied);
	tcase_add_test(loading, a_value_may_just_fit);
	tcase_add_loop_test(loading, a_value_too_long_is_refused, 0, 3);
	tcase_add_loop_test(loading, a_relative_pattern_is_refused, 0, 5);
	tcase_add_test(loading, nobody_need_listen_to_complaints);
	tcase_add_test(loading, complaints_go_where_the_log_goes);
	tcase_add_test(patterns, without_patterns_nothing_is_ignored);
	tcase_add_test(patterns, only_leaves_all_else_out);
	tcase_add_test(patterns, ignore_leaves_its_own_out);
	tcase_add_test(patterns, ignore_has_the_last_word);
	tcase_add_test(patterns, a_path_is_compared_without_what_means_nothing);
	tcase_add_test(patterns, two_dots_stay);
	tcase_add_test(patterns, a_relative_path_starts_from_the_working_directory);
	tcase_add_test(patterns, a_relative_path_starts_from_the_root_there);
	tcase_add_test(patterns, a_relative_path_starts_from_its_directory);
	tcase_add_test(patterns, an_absolute_path_needs_no_directory);
	tcase_add_test(patterns, a_directory_that_is_none_does_no_harm);
	tcase_add_test(patterns, the_longest_path_does_no_harm);
	return suite;
}
