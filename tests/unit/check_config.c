#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "suite.h"

/* ---- loading ---- */

static int warnings;
static char last_warning[64];

static void count_warning(const char *variable, const char *expected)
{
	warnings++;
	ck_assert_uint_lt(strlen(variable), sizeof(last_warning));
	strcpy(last_warning, variable);
	ck_assert_str_ne(expected, "");
}

static void load(const char *variable, const char *value)
{
	ck_assert_int_eq(setenv(variable, value, 1), 0);
	config_load(count_warning);
}

static void assert_no_warning(void)
{
	ck_assert_int_eq(warnings, 0);
}

/* There is one warning, and the setting has its default. */
static void assert_rejected(const char *variable)
{
	static const struct config defaults;

	ck_assert_int_eq(warnings, 1);
	ck_assert_str_eq(last_warning, variable);
	ck_assert_int_eq(config.disabled, defaults.disabled);
	ck_assert_int_eq(config.debug, defaults.debug);
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
	ck_assert_int_eq(config.log_to, LOG_TO_STDERR);
	ck_assert_ptr_null(config.log_file);
	ck_assert_ptr_null(config.only);
	ck_assert_ptr_null(config.ignore);
}

START_TEST(without_variables_settings_have_their_defaults)
{
	config_load(count_warning);
	assert_no_warning();
	ck_assert(!config.disabled);
	ck_assert(!config.debug);
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
	ck_assert_int_eq(config.log_to, LOG_TO_STDERR);
}
END_TEST

START_TEST(an_empty_value_is_the_same_as_no_variable)
{
	static const char *const variables[] = {"SOCKGUARD_DISABLE", "SOCKGUARD_DEBUG",
		"SOCKGUARD_REUSE", "SOCKGUARD_LOG", "SOCKGUARD_ONLY", "SOCKGUARD_IGNORE"};

	load(variables[_i], "");
	assert_no_warning();
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
	assert_no_warning();
}
END_TEST

START_TEST(other_values_of_flags_are_rejected)
{
	static const char *const values[] = {"yes", "true", "2", "01", "1 ", " 1", "10", "-1"};

	load("SOCKGUARD_DISABLE", values[_i]);
	assert_rejected("SOCKGUARD_DISABLE");
	unsetenv("SOCKGUARD_DISABLE");
	warnings = 0;
	load("SOCKGUARD_DEBUG", values[_i]);
	assert_rejected("SOCKGUARD_DEBUG");
}
END_TEST

START_TEST(reuse_accepts_three_values)
{
	load("SOCKGUARD_REUSE", "always");
	ck_assert_int_eq(config.reuse, REUSE_ALWAYS);
	load("SOCKGUARD_REUSE", "never");
	ck_assert_int_eq(config.reuse, REUSE_NEVER);
	load("SOCKGUARD_REUSE", "auto");
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
	assert_no_warning();
}
END_TEST

START_TEST(other_values_of_reuse_are_rejected)
{
	static const char *const values[] = {"Always", "alway", "always ", "1", "never,always"};

	load("SOCKGUARD_REUSE", values[_i]);
	assert_rejected("SOCKGUARD_REUSE");
}
END_TEST

START_TEST(the_log_setting_selects_the_destination)
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
	assert_no_warning();
}
END_TEST

START_TEST(other_values_of_log_are_rejected)
{
	static const char *const values[] = {"sockguard.log", "./log", "stdout", "STDERR", "~/log"};

	load("SOCKGUARD_LOG", values[_i]);
	assert_rejected("SOCKGUARD_LOG");
}
END_TEST

START_TEST(values_are_copied)
{
	static char variable[] = "SOCKGUARD_LOG=/var/log/a";

	ck_assert_int_eq(putenv(variable), 0);
	config_load(count_warning);
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

START_TEST(the_longest_value_is_accepted)
{
	const char *path = path_of_length(CONFIG_TEXT - 1);

	load("SOCKGUARD_LOG", path);
	load("SOCKGUARD_ONLY", path);
	load("SOCKGUARD_IGNORE", path);
	assert_no_warning();
	ck_assert_str_eq(config.log_file, path);
	ck_assert_str_eq(config.only, path);
	ck_assert_str_eq(config.ignore, path);
}
END_TEST

/* It is not truncated, because a truncated pattern would match other paths. */
START_TEST(a_value_too_long_is_rejected)
{
	static const char *const variables[] = {
		"SOCKGUARD_LOG", "SOCKGUARD_ONLY", "SOCKGUARD_IGNORE"};

	load(variables[_i], path_of_length(CONFIG_TEXT));
	assert_rejected(variables[_i]);
}
END_TEST

START_TEST(a_relative_pattern_is_rejected)
{
	static const char *const values[] = {"run/*", "./s", "/run/a:s", "s:/run/a", "/a:b:/c"};

	load("SOCKGUARD_ONLY", values[_i]);
	assert_rejected("SOCKGUARD_ONLY");
	unsetenv("SOCKGUARD_ONLY");
	warnings = 0;
	load("SOCKGUARD_IGNORE", values[_i]);
	assert_rejected("SOCKGUARD_IGNORE");
}
END_TEST

START_TEST(the_callback_for_invalid_values_may_be_null)
{
	setenv("SOCKGUARD_LOG", "nowhere", 1);
	setenv("SOCKGUARD_REUSE", "sometimes", 1);
	setenv("SOCKGUARD_DISABLE", "1", 1);
	config_load(NULL);
	ck_assert(config.disabled);
	ck_assert_int_eq(config.reuse, REUSE_AUTO);
}
END_TEST

static enum log_to log_at_warning = LOG_TO_NONE;

static void remember_log_setting(const char *variable, const char *expected)
{
	(void)variable, (void)expected;
	log_at_warning = config.log_to;
}

START_TEST(invalid_values_are_reported_to_the_log)
{
	setenv("SOCKGUARD_DISABLE", "maybe", 1);
	setenv("SOCKGUARD_LOG", "syslog", 1);
	config_load(remember_log_setting);
	ck_assert_int_eq(log_at_warning, LOG_TO_SYSLOG);
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

START_TEST(only_excludes_all_other_paths)
{
	load("SOCKGUARD_ONLY", "/run/a.sock:/srv/*");
	assert_no_warning();
	ck_assert(!ignores("/run/a.sock"));
	ck_assert(!ignores("/srv/b"));
	ck_assert(!ignores("/srv/b/c")); /* a star is not stopped by a slash */
	ck_assert(ignores("/run/b.sock"));
	ck_assert(ignores("/run/a.sockx"));
	ck_assert(ignores("/srv"));
	ck_assert(ignores("s"));
}
END_TEST

START_TEST(ignore_excludes_its_paths)
{
	load("SOCKGUARD_IGNORE", "/run/a.sock:/srv/?");
	assert_no_warning();
	ck_assert(ignores("/run/a.sock"));
	ck_assert(ignores("/srv/b"));
	ck_assert(!ignores("/srv/bc"));
	ck_assert(!ignores("/run/b.sock"));
}
END_TEST

START_TEST(ignore_overrides_only)
{
	load("SOCKGUARD_ONLY", "/run/*");
	load("SOCKGUARD_IGNORE", "*.tmp");
	assert_no_warning();
	ck_assert(!ignores("/run/a.sock"));
	ck_assert(ignores("/run/a.tmp"));
	ck_assert(ignores("/srv/a.sock"));
}
END_TEST

START_TEST(a_path_is_normalised_before_it_is_compared)
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

/* After a symlink, ".." leads to another directory, so it is not resolved textually. */
START_TEST(two_dots_are_not_removed)
{
	load("SOCKGUARD_ONLY", "/run/s");
	ck_assert(ignores("/run/app/../s"));
	load("SOCKGUARD_ONLY", "/run/app/../s");
	ck_assert(!ignores("/run/app/../s"));
}
END_TEST

START_TEST(a_relative_path_starts_from_the_working_directory)
{
	load("SOCKGUARD_ONLY", absolute_path("s"));
	assert_no_warning();
	ck_assert(!ignores("s"));
	ck_assert(!ignores("./s"));
	ck_assert(ignores("t"));
	ck_assert_int_eq(mkdir("sub", 0755), 0);
	ck_assert_int_eq(chdir("sub"), 0);
	ck_assert(ignores("s"));
}
END_TEST

START_TEST(a_relative_path_may_start_from_the_root)
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
	load("SOCKGUARD_ONLY", absolute_path("sub/s"));
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

/* There is no directory to start from. The call must not crash or change errno. */
START_TEST(an_invalid_directory_does_no_harm)
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
	forbid_memory();
	return ignores(path);
}

/* If a path cannot be compared with the patterns, it is guarded. */
START_TEST(without_memory_nothing_is_ignored)
{
	config.ignore = "*";
	ck_assert(ignores("/run/s"));
	ck_assert_int_eq(run_in_child(ignores_without_memory, "/run/s"), 0);
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("config");
	TCase *loading = suite_cases(suite, "loading");
	TCase *patterns = suite_cases(suite, "patterns");

	tcase_add_test(suite_cases(suite, "forbidden"), without_memory_nothing_is_ignored);
	tcase_add_test(loading, without_variables_settings_have_their_defaults);
	tcase_add_loop_test(loading, an_empty_value_is_the_same_as_no_variable, 0, 6);
	tcase_add_test(loading, flags_are_one_or_zero);
	tcase_add_loop_test(loading, other_values_of_flags_are_rejected, 0, 8);
	tcase_add_test(loading, reuse_accepts_three_values);
	tcase_add_loop_test(loading, other_values_of_reuse_are_rejected, 0, 5);
	tcase_add_test(loading, the_log_setting_selects_the_destination);
	tcase_add_loop_test(loading, other_values_of_log_are_rejected, 0, 5);
	tcase_add_test(loading, values_are_copied);
	tcase_add_test(loading, the_longest_value_is_accepted);
	tcase_add_loop_test(loading, a_value_too_long_is_rejected, 0, 3);
	tcase_add_loop_test(loading, a_relative_pattern_is_rejected, 0, 5);
	tcase_add_test(loading, the_callback_for_invalid_values_may_be_null);
	tcase_add_test(loading, invalid_values_are_reported_to_the_log);
	tcase_add_test(patterns, without_patterns_nothing_is_ignored);
	tcase_add_test(patterns, only_excludes_all_other_paths);
	tcase_add_test(patterns, ignore_excludes_its_paths);
	tcase_add_test(patterns, ignore_overrides_only);
	tcase_add_test(patterns, a_path_is_normalised_before_it_is_compared);
	tcase_add_test(patterns, two_dots_are_not_removed);
	tcase_add_test(patterns, a_relative_path_starts_from_the_working_directory);
	tcase_add_test(patterns, a_relative_path_may_start_from_the_root);
	tcase_add_test(patterns, a_relative_path_starts_from_its_directory);
	tcase_add_test(patterns, an_absolute_path_needs_no_directory);
	tcase_add_test(patterns, an_invalid_directory_does_no_harm);
	tcase_add_test(patterns, the_longest_path_does_no_harm);
	return suite;
}
