#include "escape.h"

#include <locale.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "command.h"
#include "text.h"

#define ELLIPSIS    "\xe2\x80\xa6"
#define REPLACEMENT "\xef\xbf\xbd"

/* The width of a character: combining marks take no column, East Asian characters and emoji two. */
static size_t columns(uint32_t character)
{
	static bool prepared;
	int width;

	if (!prepared && !setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "");
	prepared = true;
	width = wcwidth((wchar_t)character);
	return width < 0 ? 1 : (size_t)width;
}

static void escape_byte(char **to, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";

	*(*to)++ = '\\';
	switch (byte) {
	case '\n':
		*(*to)++ = 'n';
		break;
	case '\t':
		*(*to)++ = 't';
		break;
	case '\\':
		*(*to)++ = '\\';
		break;
	default:
		*(*to)++ = 'x';
		*(*to)++ = hex[byte >> 4];
		*(*to)++ = hex[byte & 15];
	}
}

static char *escape(const char *words, bool backslash)
{
	char *escaped = command_allocate(4 * strlen(words) + 1);
	char *to = escaped;

	while (*words != '\0') {
		size_t length = backslash && *words == '\\' ? 0 : text_printable_length(words);

		if (length == 0)
			escape_byte(&to, (unsigned char)*words++);
		to = mempcpy(to, words, length);
		words += length;
	}
	return escaped;
}

char *escape_field(const char *words)
{
	return escape(words, true);
}

char *escape_line(const char *words)
{
	return escape(words, false);
}

bool escape_is_utf8(const char *words)
{
	uint32_t character;
	size_t length;

	for (; *words != '\0'; words += length) {
		length = text_decode_utf8(words, &character);
		if (length == 0)
			return false;
	}
	return true;
}

char *escape_to_utf8(const char *words)
{
	char *text = command_allocate((sizeof(REPLACEMENT) - 1) * strlen(words) + 1);
	char *to = text;
	uint32_t character;

	while (*words != '\0') {
		size_t length = text_decode_utf8(words, &character);

		if (length == 0) {
			to = stpcpy(to, REPLACEMENT);
			words++;
			continue;
		}
		to = mempcpy(to, words, length);
		words += length;
	}
	return text;
}

size_t escape_width(const char *words)
{
	size_t width = 0;
	uint32_t character;

	while (*words != '\0') {
		size_t length = text_decode_utf8(words, &character);

		width += columns(character);
		words += length > 0 ? length : 1;
	}
	return width;
}

/* The number of bytes at the start of words that fit in this many columns. */
static size_t bytes_within(const char *words, size_t width)
{
	const char *at = words;
	uint32_t character;

	while (*at != '\0') {
		size_t length = text_decode_utf8(at, &character);

		if (columns(character) > width)
			break;
		width -= columns(character);
		at += length > 0 ? length : 1;
	}
	return (size_t)(at - words);
}

/* The number of bytes at the start of words that take at least this many columns. */
static size_t bytes_over(const char *words, size_t width)
{
	size_t bytes = bytes_within(words, width);
	uint32_t character;

	if (escape_width(words) - escape_width(words + bytes) < width)
		bytes += text_decode_utf8(words + bytes, &character);
	for (size_t mark; words[bytes] != '\0'; bytes += mark) {
		mark = text_decode_utf8(words + bytes, &character);
		if (columns(character) > 0)
			break;
	}
	return bytes;
}

char *escape_cut(const char *words, size_t width, bool at_start)
{
	size_t has = escape_width(words);

	if (has <= width)
		return command_copy(words);
	if (at_start)
		return command_format(ELLIPSIS "%s", words + bytes_over(words, has - (width - 1)));
	return command_format("%.*s" ELLIPSIS, (int)bytes_within(words, width - 1), words);
}
