/*
 * text: formats strings and numbers without stdio, for records and messages.
 *
 * All functions are async-signal-safe, allocate nothing and leave errno alone. Bytes that do not
 * fit the buffer are dropped. The text always ends with a NUL.
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

/* Returns an empty text in the caller's buffer, which must outlive it. */
struct text text_start(char *buffer, size_t size);

void text_add(struct text *text, const char *words);

/* Appends at most length bytes of words, up to the first NUL. */
void text_add_n(struct text *text, const char *words, size_t length);

/*
 * Decodes the UTF-8 character at the start of words. Returns its length in bytes, or 0 if that is
 * not valid UTF-8 (RFC 3629); character then holds the first byte.
 */
size_t text_decode_utf8(const char *words, uint32_t *character);

/*
 * Returns the length in bytes of the first character if it is safe to print; 0 for bytes that are
 * not UTF-8, and for characters that would break a line or deceive its reader: controls (C1
 * included), invisible characters, and those that change the reading order.
 */
size_t text_printable_length(const char *words);

/*
 * Appends arbitrary bytes, for use between double quotes: each byte that is not part of a safe
 * character, and each double quote and backslash, becomes \xHH.
 */
void text_add_escaped(struct text *text, const char *words);

void text_add_number(struct text *text, uint64_t number);

/* Appends a decimal number, with leading zeros up to a width of at most 20. */
void text_add_padded(struct text *text, uint64_t number, int width);

/*
 * Parses a decimal number. Returns the first byte after it, or NULL if there is no number or it
 * does not fit 64 bits.
 */
const char *text_read_number(const char *words, uint64_t *number);

#endif
