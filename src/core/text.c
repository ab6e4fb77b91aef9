#include "text.h"

#include <stdbool.h>
#include <string.h>

#define DIGITS 20 /* of UINT64_MAX */

struct text text_start(char *buffer, size_t size)
{
	buffer[0] = '\0';
	return (struct text){.start = buffer, .used = 0, .size = size};
}

void text_add_n(struct text *text, const char *words, size_t length)
{
	size_t room = text->size - text->used - 1;
	const char *end;

	length = length < room ? length : room;
	end = memchr(words, '\0', length);
	length = end ? (size_t)(end - words) : length;
	memcpy(text->start + text->used, words, length);
	text->used += length;
	text->start[text->used] = '\0';
}

void text_add(struct text *text, const char *words)
{
	text_add_n(text, words, strlen(words));
}

size_t text_decode_utf8(const char *words, uint32_t *character)
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

/* Controls, line separators, invisible characters, and those that change the reading order. */
static const struct range {
	uint32_t first, last;
} disturbing[] = {
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

static bool disturbs(uint32_t character)
{
	for (size_t i = 0; i < sizeof(disturbing) / sizeof(disturbing[0]); i++)
		if (character >= disturbing[i].first && character <= disturbing[i].last)
			return true;
	return false;
}

size_t text_printable_length(const char *words)
{
	uint32_t character;
	size_t length = text_decode_utf8(words, &character);

	return length > 0 && !disturbs(character) ? length : 0;
}

void text_add_escaped(struct text *text, const char *words)
{
	static const char hex[] = "0123456789abcdef";

	while (*words != '\0') {
		unsigned char byte = (unsigned char)*words;
		size_t length = text_printable_length(words);

		if (length > 0 && byte != '"' && byte != '\\') {
			text_add_n(text, words, length);
			words += length;
			continue;
		}
		/* Escape one byte; the next ones are examined by themselves. */
		char escaped[5] = {'\\', 'x', hex[byte >> 4], hex[byte & 15], '\0'};
		text_add(text, escaped);
		words++;
	}
}

void text_add_padded(struct text *text, uint64_t number, int width)
{
	char digits[DIGITS + 1];
	char *first = digits + DIGITS;

	*first = '\0';
	do {
		*--first = (char)('0' + number % 10);
		number /= 10;
	} while (first > digits && (number > 0 || digits + DIGITS - first < width));
	text_add(text, first);
}

void text_add_number(struct text *text, uint64_t number)
{
	text_add_padded(text, number, 1);
}

const char *text_read_number(const char *words, uint64_t *number)
{
	uint64_t sum = 0;

	if (*words < '0' || *words > '9')
		return NULL;
	for (; *words >= '0' && *words <= '9'; words++) {
		uint64_t digit = (uint64_t)(*words - '0');
		if (sum > (UINT64_MAX - digit) / 10)
			return NULL;
		sum = sum * 10 + digit;
	}
	*number = sum;
	return words;
}
