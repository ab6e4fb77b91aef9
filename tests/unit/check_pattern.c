#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "suite.h"

static const struct {
	const char *pattern, *words;
	bool matches;
} cases[] = {
	{"", "", true},
	{"", "a", false},
	{"a", "", false},
	{"/run/app.sock", "/run/app.sock", true},
	{"/run/app.sock", "/run/app.sock2", false},
	{"/run/app.sock2", "/run/app.sock", false},
	{"/run/*", "/run/a/b/c", true},
	{"/run/*", "/run/.hidden", true},
	{"/run/*", "/run/", true},
	{"/run/*", "/run", false},
	{"*/b/*.sock", "/b/a/b/c.sock", true},
	{"*ab*ab", "aababab", true},
	{"*ab*ab", "aababa", false},
	{"**a", "bca", true},
	{"?", "", false},
	{"?", "ab", false},
	{"?/?", "a/b", true},
	{"[a-c]", "c", true},
	{"[a-c]", "d", false},
	{"[c-a]", "b", false},
	{"[a-]", "-", true},
	{"[-a]", "-", true},
	{"[!a]", "b", true},
	{"[^a]", "a", false},
	{"[!a]", "", false},
	{"[]a]", "]", true},
	{"[!]a]", "]", false},
	{"[\\]a]", "]", true},
	{"[\\]a]", "\\", false},
	{"[[.-.]a]", "-", true},
	{"[[=a=]]", "a", true},
	{"[[.a.]-c]", "b", true},
	{"[[:digit:]x]", "7", true},
	{"[[:digit:]x]", "x", true},
	{"[[:digit:]x]", "y", false},
	{"[![:digit:]]", "7", false},
	{"[[:digits:]]", "1", false},
	{"[[:digit:x]", "1", false},
	{"[[:alpha:][:digit:]]", "a", true},
	{"[[:digit:][:alpha:]]", "a", true},
	{"[[:alpha:][:digit:]]", "-", false},
	{"[", "[", true},
	{"[a", "[a", true},
	{"[a", "a", false},
	{"[a\\", "[a", false},
	{"[!", "[!", true},
	{"[]", "[]", true},
	{"[[.a]", "a", false},
	{"[[.a.x]", "a", false},
	{"[[a]", "[", true},
	{"[[a]", "a", true},
	{"[a-", "[a-", true},
	{"[[:alpha", "[[:alpha", true},
	{"\\*", "*", true},
	{"\\*", "a", false},
	{"\\a", "a", true},
	{"a\\", "a\\", false},
	{"a\\", "a", false},
	/* UTF-8: one character of two, three and four bytes */
	{"?", "\xc3\xa9", true},
	{"??", "\xc3\xa9", false},
	{"[\xc3\xa9]", "\xc3\xa9", true},
	{"[\xc3\xa9]", "\xc3", false},
	{"[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true},
	{"[\xc3\xa0-\xc3\xbf]", "\xe2\x82\xac", false},
	{"[!a]x", "\xe2\x82\xacx", true},
	{"*\xe2\x82\xac", "\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x82\xac", true},
	{"[[:alpha:]]", "\xc3\xa9", false},
	/* not UTF-8 */
	{"?", "\xff", true},
	{"\xff", "\xff", true},
	{"\xff", "\xfe", false},
	{"[\xff]", "\xff", true},
	{"[\xff]", "\xc3\xbf", false},
	{"\xc3\xbf", "\xff", false},
};

START_TEST(a_pattern_must_match_the_whole_text)
{
	ck_assert_msg(pattern_matches(cases[_i].pattern, cases[_i].words) == cases[_i].matches,
		"\"%s\", \"%s\": not %d", cases[_i].pattern, cases[_i].words, cases[_i].matches);
}
END_TEST

/*
 * Writes text number n over an alphabet. Returns false if it would be longer than max_length
 * letters.
 */
static bool compose(char *to, size_t n, const char *const *alphabet, size_t letters,
	size_t max_length)
{
	to[0] = '\0';
	for (size_t length = 0; n > 0; length++) {
		if (length == max_length)
			return false;
		strcat(to, alphabet[(n - 1) % letters]);
		n = (n - 1) / letters;
	}
	return true;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Compares all short patterns of these items with libc's fnmatch in the locale "C". */
START_TEST(short_patterns_match_as_in_libc)
{
	static const char *const items[] = {
		"a", "1", "?", "*", "[ab]", "[!ab]", "[a-c]", "\\*", "[[:digit:]]", "[]a]", "[^]]"};
	static const char *const letters[] = {"a", "c", "1", "*", "]"};
	char pattern[64], words[8];
	size_t matching = 0;

	for (size_t p = 0; compose(pattern, p, items, COUNT(items), 3); p++)
		for (size_t w = 0; compose(words, w, letters, COUNT(letters), 4); w++) {
			bool expected = fnmatch(pattern, words, 0) == 0;

			if (pattern_matches(pattern, words) != expected)
				ck_abort_msg("\"%s\", \"%s\": not %d", pattern, words, expected);
			matching += expected;
		}
	ck_assert_uint_gt(matching, 10000);
}
END_TEST

static const char *const classes[] = {"alpha", "digit", "alnum", "lower", "upper", "space", "blank",
	"punct", "print", "graph", "cntrl", "xdigit"};

START_TEST(a_class_has_the_ascii_characters_of_libc)
{
	char pattern[32] = "[[:";

	strcat(strcat(pattern, classes[_i]), ":]]");
	for (char c = 1; c < 127; c++) {
		const char words[] = {c, '\0'};

		ck_assert_int_eq(pattern_matches(pattern, words), fnmatch(pattern, words, 0) == 0);
	}
	ck_assert_int_eq(pattern_matches(pattern, "\x7f"), strcmp(classes[_i], "cntrl") == 0);
}
END_TEST

/* An implementation that recurses or backtracks at each star would overflow the stack or not end.
 */
START_TEST(many_stars_need_neither_time_nor_stack)
{
	enum { SIZE = 4000 };
	char pattern[2 * SIZE + 2] = "", words[SIZE + 1];

	memset(words, 'a', SIZE);
	words[SIZE] = '\0';
	for (size_t i = 0; i < SIZE; i++)
		memcpy(pattern + 2 * i, "*a", 2);
	pattern[(size_t)2 * SIZE] = '\0';
	ck_assert(pattern_matches(pattern, words));
	pattern[(size_t)2 * SIZE] = 'b';
	ck_assert(!pattern_matches(pattern, words));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("pattern");
	TCase *patterns = suite_cases(suite, "patterns");

	tcase_add_loop_test(patterns, a_pattern_must_match_the_whole_text, 0, (int)COUNT(cases));
	tcase_add_test(patterns, short_patterns_match_as_in_libc);
	tcase_add_loop_test(patterns, a_class_has_the_ascii_characters_of_libc, 0,
		(int)COUNT(classes));
	tcase_add_test(patterns, many_stars_need_neither_time_nor_stack);
	return suite;
}
