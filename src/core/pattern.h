/*
 * pattern: compares paths with shell patterns, as fnmatch(3) with no flags does in a UTF-8 locale.
 *
 * libc's fnmatch may allocate memory, and each star of a pattern costs another frame on the stack,
 * which may be a signal handler's. This function is async-signal-safe, needs little stack whatever
 * the pattern is, and does not depend on the program's locale.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdbool.h>

/*
 * Whether the whole of words matches the pattern. "?" and "[...]" match one character of UTF-8, or
 * one byte that is not part of such a character. Ranges compare code points, and classes such as
 * [:alpha:] include ASCII characters only. A "[" without its "]" stands for itself.
 */
bool pattern_matches(const char *pattern, const char *words);

#endif
