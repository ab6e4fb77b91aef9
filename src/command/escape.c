#include "escape.h"

#include <locale.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "command.h"

#define ELLIPSIS    "\xe2\x80\xa6"
#define REPLACEMENT "\xef\xbf\xbd"

/* The bytes of the character words start with, 0 where that is no UTF-8 (RFC 3629). */
static size_t decode(const char *words, uint32_t *character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *bytes = (const unsigned char *)words;
	size_t length = bytes[0] < 0x80   ? 1
			: bytes[0] < 0xc0 ? 0
			: bytes[0] < 0xe0 ? 2
			: bytes[0] < 0xf0 ? 3
			: bytes[0] < 0xf8 ? 4
					  : 0;

	if (length < 2) {
		*character = bytes[0];
		return length;
	}
	*character = bytes[0] & (0x7fU >> length);
	for (size_t i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (bytes[i] & 0x3f);
	}
	if (*character < least[length] || *character > 0x10ffff ||
		(*character >= 0xd800 && *character < 0xe000))
		return 0;
	return length;
}

struct range {
	uint32_t first, last;
};

static bool among(uint32_t character, const struct range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (character >= ranges[i].first && character <= ranges[i].last)
			return true;
	return false;
}

#define AMONG(character, ranges) among(character, ranges, sizeof(ranges) / sizeof((ranges)[0]))

/* Controls, line separators, and what is invisible or changes the order in which one reads. */
static const struct range disturbing[] = {
	{0x00, 0x1f},
	{0x7f, 0x9f},
	{0xad, 0xad},
	{0x061c, 0x061c},
	{0x200b, 0x200f},
	{0x2028, 0x202e},
	{0x2060, 0x206f},
	{0xfeff, 0xfeff},
	{0xfff0, 0xfffb},
	{0xe0000, 0xe0fff},
};

/* Combining marks take no column of their own, East Asian characters and emoji two. */
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
	uint32_t character;

	while (*words != '\0') {
		size_t length = decode(words, &character);
		bool plain = length > 0 && !AMONG(character, disturbing) &&
			     !(backslash && character == '\\');

		for (length = length > 0 ? length : 1; length-- > 0; words++) {
			if (plain)
				*to++ = *words;
			else
				escape_byte(&to, (unsigned char)*words);
		}
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
		length = decode(words, &character);
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
		size_t length = decode(words, &character);

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
		size_t length = decode(words, &character);

		width += columns(character);
		words += length > 0 ? length : 1;
	}
	return width;
}

/* How many bytes at the start of words take that many columns at the most. */
static size_t bytes_within(const char *words, size_t width)
{
	const char *at = words;
	uint32_t character;

	while (*at != '\0') {
		size_t length = decode(at, &character);

		if (columns(character) > width)
			break;
		width -= columns(character);
		at += length > 0 ? length : 1;
	}
	return (size_t)(at - words);
}

/* How many bytes at the start of words take that many columns at the least. */
static size_t bytes_over(const char *words, size_t width)
{
	size_t bytes = bytes_within(words, width);
	uint32_t character;

	if (escape_width(words) - escape_width(words + bytes) < width)
		bytes += decode(words + bytes, &character);
	while (words[bytes] != '\0' && decode(words + bytes, &character) > 0 &&
		columns(character) == 0)
		bytes += decode(words + bytes, &character);
	return bytes;
}

char *escape_cut(const char *words, size_t width, bool at_start)
{
	size_t has = escape_width(words);

	if (has <= width)
		return command_copy(words);
	if (at_start)
		return command_print(ELLIPSIS "%s", words + bytes_over(words, has - (width - 1)));
	return command_print("%.*s" ELLIPSIS, (int)bytes_within(words, width - 1), words);
}
