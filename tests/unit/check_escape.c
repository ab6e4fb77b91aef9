/* Tests of escape: text with arbitrary bytes. */
#include "command/escape.h"

#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define ELLIPSIS "\xe2\x80\xa6"

static void expect(char *got, const char *wanted)
{
	ck_assert_str_eq(got, wanted);
	free(got);
}

static const struct {
	const char *words, *field;
} fields[] = {
	{"", ""}, {"/run/app.sock", "/run/app.sock"}, {"a b", "a b"}, {"a\nb\tc", "a\\nb\\tc"},
	{"\x01\x1b[31m\x7f", "\\x01\\x1b[31m\\x7f"}, {"a\\nb", "a\\\\nb"},
	{"\xc3\xbc", "\xc3\xbc"},                 /* a letter */
	{"\xe6\x97\xa5", "\xe6\x97\xa5"},         /* one that is wide */
	{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}, /* one beyond 16 bits */
	{"\xff", "\\xff"},                        /* never in UTF-8 */
	{"\x80", "\\x80"},                        /* cannot be the first byte */
	{"\xc3", "\\xc3"},                        /* cut off */
	{"\xc3(", "\\xc3("}, {"\xe6\x97", "\\xe6\\x97"},
	{"\xc0\xaf", "\\xc0\\xaf"}, /* too long a form */
	{"\xe0\x80\xaf", "\\xe0\\x80\\xaf"}, {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* half a pair */
	{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond Unicode */
	{"\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"},
	{"\xc2\x9b", "\\xc2\\x9b"}, /* a C1 control character */
	/* NOLINTNEXTLINE(misc-misleading-bidirectional): it changes the direction */
	{"\xe2\x80\xae", "\\xe2\\x80\\xae"},
	{"\xe2\x80\x8b", "\\xe2\\x80\\x8b"}, /* no width at all */
};

START_TEST(a_field_is_escaped)
{
	expect(escape_field(fields[_i].words), fields[_i].field);
}
END_TEST

START_TEST(a_line_is_escaped)
{
	expect(escape_line("a\\b\n\xff"), "a\\b\\n\\xff");
}
END_TEST

START_TEST(valid_utf8_is_not_escaped)
{
	ck_assert(escape_is_utf8(""));
	ck_assert(escape_is_utf8("a\n\xc3\xbc\xf0\x9f\x98\x80"));
	ck_assert(!escape_is_utf8("a\xff"));
	ck_assert(!escape_is_utf8("\xed\xa0\x80"));
	expect(escape_to_utf8("a\n\xc3\xbc"), "a\n\xc3\xbc");
	expect(escape_to_utf8("a\xff\xc3"), "a\xef\xbf\xbd\xef\xbf\xbd");
}
END_TEST

START_TEST(the_width_is_that_of_a_terminal)
{
	ck_assert_uint_eq(escape_width(""), 0);
	ck_assert_uint_eq(escape_width("abc"), 3);
	ck_assert_uint_eq(escape_width("\xc3\xbc"), 1);
	ck_assert_uint_eq(escape_width("u\xcc\x88"), 1); /* a mark above the letter before it */
	ck_assert_uint_eq(escape_width("\xe6\x97\xa5\xe6\x9c\xac"), 4);
	ck_assert_uint_eq(escape_width("a\x01"), 2);
	ck_assert_uint_eq(escape_width("\xff\xff"), 2); /* no UTF-8 */
}
END_TEST

START_TEST(text_is_cut_to_a_width)
{
	expect(escape_cut("abcdef", 6, true), "abcdef");
	expect(escape_cut("abcdef", 5, true), ELLIPSIS "cdef");
	expect(escape_cut("abcdef", 5, false), "abcd" ELLIPSIS);
	expect(escape_cut("abcdef", 1, true), ELLIPSIS);
	expect(escape_cut("abcdef", 1, false), ELLIPSIS);
	expect(escape_cut("abcdef", 2, false), "a" ELLIPSIS);
	expect(escape_cut("\xff\xff\xff", 2, false), "\xff" ELLIPSIS);
}
END_TEST

/* A wide letter is kept or removed as a whole, and a combining mark stays with its letter. */
START_TEST(text_is_cut_between_letters)
{
	expect(escape_cut("\xe6\x97\xa5\xe6\x9c\xac", 3, true), ELLIPSIS "\xe6\x9c\xac");
	expect(escape_cut("\xe6\x97\xa5\xe6\x9c\xac", 2, true), ELLIPSIS);
	expect(escape_cut("\xe6\x97\xa5\xe6\x9c\xac", 2, false), ELLIPSIS);
	expect(escape_cut("\xe6\x97\xa5\xe6\x9c\xac", 3, false), "\xe6\x97\xa5" ELLIPSIS);
	expect(escape_cut("\xe6\x97\xa5xyz", 4, true), ELLIPSIS "xyz");
	expect(escape_cut("\xe6\x97\xa5xyz", 3, true), ELLIPSIS "yz");
	expect(escape_cut("abu\xcc\x88", 2, false), "a" ELLIPSIS);
	expect(escape_cut("u\xcc\x88xy", 2, true), ELLIPSIS "y");
	expect(escape_cut("au\xcc\x88xy", 3, true), ELLIPSIS "xy");
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("escape");
	TCase *cases = suite_cases(suite, "escape");

	tcase_add_loop_test(cases, a_field_is_escaped, 0,
		(int)(sizeof(fields) / sizeof(fields[0])));
	tcase_add_test(cases, a_line_is_escaped);
	tcase_add_test(cases, valid_utf8_is_not_escaped);
	tcase_add_test(cases, the_width_is_that_of_a_terminal);
	tcase_add_test(cases, text_is_cut_to_a_width);
	tcase_add_test(cases, text_is_cut_between_letters);
	return suite;
}
