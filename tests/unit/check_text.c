#include <stdint.h>
#include <string.h>

#include "suite.h"
#include "text.h"

/* A text in a buffer, with guard bytes after it. */
struct watched {
	char buffer[16];
	char guard[16];
	struct text text;
};

static void init_watched(struct watched *watched, size_t size)
{
	memset(watched, '#', sizeof(*watched));
	watched->text = text_start(watched->buffer, size);
}

/* The text is as expected, and the guard bytes after the buffer are unchanged. */
static void assert_text(const struct watched *watched, const char *expected)
{
	ck_assert_str_eq(watched->buffer, expected);
	ck_assert_uint_eq(watched->text.used, strlen(expected));
	for (size_t i = watched->text.size; i < sizeof(watched->buffer); i++)
		ck_assert_int_eq(watched->buffer[i], '#');
	for (size_t i = 0; i < sizeof(watched->guard); i++)
		ck_assert_int_eq(watched->guard[i], '#');
}

START_TEST(a_new_text_is_empty_and_terminated)
{
	struct watched w;

	init_watched(&w, 16);
	assert_text(&w, "");
}
END_TEST

START_TEST(added_text_is_appended)
{
	struct watched w;

	init_watched(&w, 16);
	text_add(&w.text, "one ");
	text_add(&w.text, "");
	text_add(&w.text, "two");
	assert_text(&w, "one two");
}
END_TEST

/* Tries every size of the buffer with the same text. */
START_TEST(text_that_does_not_fit_is_dropped)
{
	static const char words[] = "0123456789abcdefghij";
	char expected[sizeof(words)];
	size_t size = (size_t)_i;
	struct watched w;

	strcpy(expected, words);
	expected[size - 1] = '\0';
	init_watched(&w, size);
	text_add(&w.text, words);
	assert_text(&w, expected);
	text_add(&w.text, words);
	text_add_number(&w.text, 1);
	text_add_escaped(&w.text, "\n");
	text_add_n(&w.text, "x", 1);
	assert_text(&w, expected);
}
END_TEST

START_TEST(no_more_than_length_bytes_are_added_or_read)
{
	static const char unterminated[3] = {'a', 'b', 'c'};
	struct watched w;

	init_watched(&w, 16);
	text_add_n(&w.text, unterminated, 3);
	text_add_n(&w.text, unterminated, 0);
	text_add_n(&w.text, unterminated, 1);
	assert_text(&w, "abca");
}
END_TEST

START_TEST(a_length_ends_at_a_nul)
{
	struct watched w;

	init_watched(&w, 16);
	text_add_n(&w.text, "ab\0cd", 5);
	text_add_n(&w.text, "e", SIZE_MAX);
	assert_text(&w, "abe");
}
END_TEST

static void assert_escaped(const char *words, const char *expected)
{
	char buffer[64];
	struct text text = text_start(buffer, sizeof(buffer));

	text_add_escaped(&text, words);
	ck_assert_str_eq(buffer, expected);
}

START_TEST(terminal_control_characters_are_escaped)
{
	assert_escaped("a\nb", "a\\x0ab");
	assert_escaped("\033[2J", "\\x1b[2J");
	assert_escaped("\x01\x1f\x7f", "\\x01\\x1f\\x7f");
	assert_escaped("\r\t", "\\x0d\\x09");
}
END_TEST

/* Otherwise a path could close its quotation marks, or look like an escape sequence. */
START_TEST(quotes_and_backslashes_are_escaped)
{
	assert_escaped("\"", "\\x22");
	assert_escaped("\\x0a", "\\x5cx0a");
}
END_TEST

START_TEST(printable_characters_are_unchanged)
{
	assert_escaped("", "");
	assert_escaped(" ~/run/app-1.sock", " ~/run/app-1.sock");
	assert_escaped("/run/\303\244.sock", "/run/\303\244.sock");
	assert_escaped("\346\227\245", "\346\227\245");
	assert_escaped("\357\274\201", "\357\274\201");
	assert_escaped("\360\237\230\200", "\360\237\230\200");
}
END_TEST

/* The C1 control characters, such as CSI, as single bytes and in UTF-8. */
START_TEST(c1_control_characters_are_escaped)
{
	assert_escaped("\302\2332J", "\\xc2\\x9b2J");
	assert_escaped("\302\200\302\237", "\\xc2\\x80\\xc2\\x9f");
	assert_escaped("\302\240", "\302\240"); /* the first character after them */
	assert_escaped("\233"
		       "2J",
		"\\x9b2J");
	assert_escaped("\303\2332J", "\303\2332J"); /* a letter that contains such a byte */
}
END_TEST

START_TEST(bytes_that_are_not_utf8_are_escaped)
{
	assert_escaped("\377", "\\xff");
	assert_escaped("a\303", "a\\xc3");
	assert_escaped("\303(", "\\xc3(");
	assert_escaped("\300\257", "\\xc0\\xaf");
	assert_escaped("\355\240\200", "\\xed\\xa0\\x80");
	assert_escaped("\364\220\200\200", "\\xf4\\x90\\x80\\x80");
	assert_escaped("\370\210\200\200\200", "\\xf8\\x88\\x80\\x80\\x80");
}
END_TEST

START_TEST(misleading_characters_are_escaped)
{
	/* changes the direction: NOLINTNEXTLINE(misc-misleading-bidirectional) */
	assert_escaped("\342\200\256", "\\xe2\\x80\\xae");
	assert_escaped("\342\200\213", "\\xe2\\x80\\x8b"); /* a character without width */
}
END_TEST

static void assert_number(uint64_t number, int width, const char *expected)
{
	char buffer[32];
	struct text text = text_start(buffer, sizeof(buffer));

	text_add_padded(&text, number, width);
	ck_assert_str_eq(buffer, expected);
}

START_TEST(numbers_are_padded_to_their_width)
{
	assert_number(7, 2, "07");
	assert_number(10, 2, "10");
	assert_number(123, 2, "123");
	assert_number(0, 1, "0");
	assert_number(0, 0, "0");
	assert_number(0, 20, "00000000000000000000");
	assert_number(UINT64_MAX, 20, "18446744073709551615");
	assert_number(UINT64_MAX, 1, "18446744073709551615");
}
END_TEST

/* The maximum width is 20. A larger one must not overrun the buffer. */
START_TEST(a_larger_width_is_the_maximum_width)
{
	assert_number(1, 21, "00000000000000000001");
	assert_number(1, 1000, "00000000000000000001");
}
END_TEST

START_TEST(numbers_that_are_written_can_be_read)
{
	static const uint64_t numbers[] = {0, 1, 9, 10, 4294967295U, 4294967296U, UINT64_MAX / 10,
		UINT64_MAX / 10 + 1, UINT64_MAX - 1, UINT64_MAX};
	char buffer[32];
	struct text text = text_start(buffer, sizeof(buffer));
	uint64_t number = 4711;
	const char *end;

	text_add_number(&text, numbers[_i]);
	end = text_read_number(buffer, &number);
	ck_assert_ptr_eq(end, buffer + text.used);
	ck_assert_uint_eq(number, numbers[_i]);
}
END_TEST

START_TEST(reading_stops_after_the_digits)
{
	static const char words[] = "0042 7";
	uint64_t number = 0;

	ck_assert_ptr_eq(text_read_number(words, &number), words + 4);
	ck_assert_uint_eq(number, 42);
}
END_TEST

START_TEST(text_without_a_number_is_not_read)
{
	static const char *const words[] = {"", " 1", "-1", "+1", "x", "/", ":", "\n"};
	uint64_t number = 4711;

	ck_assert_ptr_null(text_read_number(words[_i], &number));
	ck_assert_uint_eq(number, 4711);
}
END_TEST

START_TEST(a_number_beyond_64_bits_is_not_read)
{
	static const char *const words[] = {"18446744073709551616", "18446744073709551620",
		"184467440737095516150", "99999999999999999999", "100000000000000000000000000000"};
	uint64_t number = 4711;

	ck_assert_ptr_null(text_read_number(words[_i], &number));
	ck_assert_uint_eq(number, 4711);
}
END_TEST

START_TEST(errno_is_unchanged)
{
	struct watched w;
	uint64_t number;

	init_watched(&w, 16);
	KEEPS_ERRNO_VOID(text_add(&w.text, "much too long for a buffer of sixteen"));
	KEEPS_ERRNO_VOID(text_add_escaped(&w.text, "\n"));
	KEEPS_ERRNO_VOID(text_add_number(&w.text, UINT64_MAX));
	ck_assert_ptr_null(KEEPS_ERRNO(text_read_number("99999999999999999999", &number)));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("text");
	TCase *words = suite_cases(suite, "words");
	TCase *numbers = suite_cases(suite, "numbers");

	tcase_add_test(words, a_new_text_is_empty_and_terminated);
	tcase_add_test(words, added_text_is_appended);
	tcase_add_loop_test(words, text_that_does_not_fit_is_dropped, 1, 17);
	tcase_add_test(words, no_more_than_length_bytes_are_added_or_read);
	tcase_add_test(words, a_length_ends_at_a_nul);
	tcase_add_test(words, terminal_control_characters_are_escaped);
	tcase_add_test(words, quotes_and_backslashes_are_escaped);
	tcase_add_test(words, printable_characters_are_unchanged);
	tcase_add_test(words, c1_control_characters_are_escaped);
	tcase_add_test(words, bytes_that_are_not_utf8_are_escaped);
	tcase_add_test(words, misleading_characters_are_escaped);
	tcase_add_test(words, errno_is_unchanged);
	tcase_add_test(numbers, numbers_are_padded_to_their_width);
	tcase_add_test(numbers, a_larger_width_is_the_maximum_width);
	tcase_add_loop_test(numbers, numbers_that_are_written_can_be_read, 0, 10);
	tcase_add_test(numbers, reading_stops_after_the_digits);
	tcase_add_loop_test(numbers, text_without_a_number_is_not_read, 0, 8);
	tcase_add_loop_test(numbers, a_number_beyond_64_bits_is_not_read, 0, 5);
	return suite;
}
