/*
 * escape: words that may hold anything, made fit for a line on a terminal, a field of a table, and
 * JSON.
 *
 * Bytes that are no UTF-8 and what would disturb a line or deceive its reader (controls, characters
 * that turn the direction of writing) become \xHH, a backslash two: printf %b gives the bytes back.
 * The rest is left as it is, whatever the locale: terminals take UTF-8.
 */
#ifndef ESCAPE_H
#define ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

/* Escapes everything said above. The caller frees the answer. */
char *escape_field(const char *words);

/* For a sentence, in which a backslash is nothing special. */
char *escape_line(const char *words);

/* Is all of it UTF-8, so that it may stand in JSON as it is? */
bool escape_is_utf8(const char *words);

/* With U+FFFD for each byte that is none. The caller frees the answer. */
char *escape_to_utf8(const char *words);

/* How many columns of a terminal the words take. They are escaped, so UTF-8 without controls. */
size_t escape_width(const char *words);

/*
 * The words cut to that width, which is not 0, with an ellipsis for what is left out: at the start,
 * since the end of a path tells the most, or at the end. The caller frees the answer.
 */
char *escape_cut(const char *words, size_t width, bool at_start);

#endif
