/*
 * text: words and numbers put together without stdio, for records and messages.
 *
 * All of it is async-signal-safe, allocates nothing and leaves errno alone. What does not fit is
 * left out; the text is always terminated.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
	char *start;
	size_t used; /* without the terminating NUL */
	size_t size; /* of the whole buffer, at least 1 */
};

/* Starts an empty text in the caller's buffer, which must outlive it. */
struct text text_in(char *buffer, size_t size);

void text_add(struct text *text, const char *words);

/* Adds at most length bytes of words, up to the first NUL. */
void text_add_n(struct text *text, const char *words, size_t length);

/*
 * Decodes the UTF-8 character that the words start with. Returns its length in bytes, or 0 if they
 * do not start with valid UTF-8 (RFC 3629); character then holds the first byte.
 */
size_t text_decode(const char *words, uint32_t *character);

/*
 * Returns the length in bytes of the first character if a terminal or a log can show it as it is;
 * 0 for bytes that are not UTF-8, and for characters that would disturb a line or deceive its
 * reader: controls (C1 included), invisible ones, and ones that change the reading order.
 */
size_t text_harmless(const char *words);

/*
 * Adds words that may hold anything, to stand in double quotes: each byte that is not part of a
 * harmless character, and each double quote and backslash, becomes \xHH.
 */
void text_add_escaped(struct text *text, const char *words);

void text_add_number(struct text *text, uint64_t number);

/* Adds a decimal number filled up with zeros to a width of at most 20. */
void text_add_padded(struct text *text, uint64_t number, int width);

/*
 * Reads a decimal number. Returns the first byte behind it, or NULL where there is none or it does
 * not fit 64 bits.
 */
const char *text_read_number(const char *words, uint64_t *number);

#endif
