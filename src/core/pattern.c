#include "pattern.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "text.h"

/* Reads one character. A byte that is not UTF-8 gets a number beyond those of Unicode. */
static const char *read_character(const char *words, uint32_t *character)
{
	const uint32_t bytes = 0x110000;
	size_t length = text_decode_utf8(words, character);

	if (length > 0)
		return words + length;
	*character = bytes + (unsigned char)*words;
	return words + 1;
}

static bool in_range(uint32_t character, uint32_t first, uint32_t last)
{
	return first <= character && character <= last;
}

/* Ranges of ASCII characters, by their first and last ones. */
static const struct class
{
	char name[8];
	char ranges[9];
} classes[] = {
	{"alpha", "AZaz"},
	{"digit", "09"},
	{"alnum", "09AZaz"},
	{"lower", "az"},
	{"upper", "AZ"},
	{"space", "\t\r  "},
	{"blank", "\t\t  "},
	{"punct", "!/:@[`{~"},
	{"print", " ~"},
	{"graph", "!~"},
	{"cntrl", "\001\037\177\177"},
	{"xdigit", "09AFaf"},
};

static bool includes(const struct class *class, uint32_t character)
{
	for (const char *range = class->ranges; range[0] != '\0'; range += 2)
		if (in_range(character, (unsigned char)range[0], (unsigned char)range[1]))
			return true;
	return false;
}

/*
 * Reads "alpha:]" of a class. Returns what follows it, or NULL if it is not a class. Sets *included
 * if the character belongs to the class.
 */
static const char *read_class(const char *name, uint32_t character, bool *included)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		size_t length = strlen(classes[i].name);

		if (strncmp(name, classes[i].name, length) != 0 || name[length] != ':' ||
			name[length + 1] != ']')
			continue;
		*included = *included || includes(&classes[i], character);
		return name + length + 2;
	}
	return NULL;
}

/* Reads a character of a set: "a", "\a", "[.a.]" or "[=a=]". Returns NULL if there is none. */
static const char *read_member(const char *set, uint32_t *character)
{
	char mark = '\0';

	if (set[0] == '[' && (set[1] == '.' || set[1] == '='))
		mark = set[1];
	if (mark != '\0')
		set += 2;
	else if (set[0] == '\\')
		set++;
	if (set[0] == '\0')
		return NULL;
	set = read_character(set, character);
	if (mark == '\0')
		return set;
	return set[0] == mark && set[1] == ']' ? set + 2 : NULL;
}

/* Reads one character, range or class of a set. */
static const char *read_item(const char *set, uint32_t character, bool *included)
{
	uint32_t first, last;

	if (set[0] == '[' && set[1] == ':')
		return read_class(set + 2, character, included);
	set = read_member(set, &first);
	if (!set)
		return NULL;
	last = first;
	if (set[0] == '-' && set[1] != ']' && set[1] != '\0')
		set = read_member(set + 1, &last);
	*included = *included || in_range(character, first, last);
	return set;
}

/*
 * Compares a character with the set that begins after a "[". Returns what follows its "]", or NULL
 * if the set has no valid end.
 */
static const char *read_set(const char *set, uint32_t character, bool *matches)
{
	bool inverted = set[0] == '!' || set[0] == '^';
	bool included = false;
	const char *start = inverted ? set + 1 : set;

	for (set = start; set && (set[0] != ']' || set == start);)
		set = read_item(set, character, &included);
	if (!set)
		return NULL;
	*matches = included != inverted;
	return set + 1;
}

/*
 * Compares one character with the start of a pattern that is not a star. Returns what follows in
 * the pattern, or NULL if it does not match.
 */
static const char *match_one(const char *pattern, uint32_t character)
{
	bool matches = false;
	const char *rest = NULL;
	uint32_t expected;

	if (pattern[0] == '\0')
		return NULL;
	if (pattern[0] == '?')
		return pattern + 1;
	if (pattern[0] == '[')
		rest = read_set(pattern + 1, character, &matches);
	if (rest)
		return matches ? rest : NULL;
	if (pattern[0] == '\\' && *++pattern == '\0')
		return NULL;
	rest = read_character(pattern, &expected);
	return expected == character ? rest : NULL;
}

/*
 * After a mismatch, it suffices to let the last star match one more character: the earlier stars
 * already match as little as possible.
 */
bool pattern_matches(const char *pattern, const char *words)
{
	const char *after_star = NULL, *retry = NULL;

	for (;;) {
		uint32_t character;
		const char *next;

		if (pattern[0] == '*') {
			after_star = ++pattern;
			retry = words;
			continue;
		}
		if (words[0] == '\0' && pattern[0] == '\0')
			return true;
		next = words[0] != '\0' ? read_character(words, &character) : NULL;
		pattern = next ? match_one(pattern, character) : NULL;
		words = next;
		if (pattern)
			continue;
		if (!after_star || retry[0] == '\0')
			return false;
		retry = read_character(retry, &character);
		words = retry;
		pattern = after_star;
	}
}
