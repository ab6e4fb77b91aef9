#include "text.h"

#include <string.h>

#define DIGITS 20 /* of UINT64_MAX */

struct text text_in(char *buffer, size_t size)
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

void text_add_escaped(struct text *text, const char *words)
{
	static const char hex[] = "0123456789abcdef";

	for (; *words != '\0'; words++) {
		unsigned char byte = (unsigned char)*words;
		/* Bytes of 0x80 and above may be UTF-8; C1 controls (0xc2 0x80..0x9f) are not worth
		 * a decoder: a terminal in UTF-8 mode takes them for nothing printable. */
		if (byte >= 0x20 && byte != 0x7f && byte != '"' && byte != '\\') {
			text_add_n(text, words, 1);
			continue;
		}
		char escaped[5] = {'\\', 'x', hex[byte >> 4], hex[byte & 15], '\0'};
		text_add(text, escaped);
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
