/*
 * escape: makes arbitrary bytes safe for a line on a terminal, a field of a table, and JSON.
 *
 * Bytes that are not UTF-8, and characters that would break a line or deceive its reader (controls,
 * changes of the writing direction), become \n, \t or \xHH. In a field, a backslash becomes two, so
 * that printf %b restores the bytes. Everything else is left unchanged, whatever the locale:
 * terminals use UTF-8.
 */
#ifndef ESCAPE_H
#define ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

/* For a field of a table: escapes backslashes, too. The caller frees the result. */
char *escape_field(const char *words);

/* For a message: leaves backslashes alone. The caller frees the result. */
char *escape_line(const char *words);

/* Whether words are UTF-8, so that JSON can contain them unchanged. */
bool escape_is_utf8(const char *words);

/* Replaces each byte that is not UTF-8 with U+FFFD. The caller frees the result. */
char *escape_to_utf8(const char *words);

/* The width on a terminal, in columns. words must be escaped: UTF-8 without controls. */
size_t escape_width(const char *words);

/*
 * Cuts words to a width, which is not 0, and marks the cut with an ellipsis. Cuts at the end, or at
 * the start for paths, whose end says the most. The caller frees the result.
 */
char *escape_cut(const char *words, size_t width, bool at_start);

#endif
