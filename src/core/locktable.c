#include "locktable.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>

#include "kernel.h"
#include "scratch.h"
#include "text.h"

/*
 * For each read(2), the kernel locks the table, walks it from its beginning, and returns at most a
 * page. So reading it all takes time that increases with the square of its length.
 */
enum { PIECE = 4096, MAX_PIECES = 64 };

enum { MINOR_BITS = 20 };

struct sought {
	char start[64]; /* the file and the first byte, as in the line: " fd:01:1234 1 " */
	uint64_t first;
	uint64_t excluded_end;
};

/* The kernel shows a device as two hexadecimal numbers of at least two digits. */
static void add_hexadecimal(struct text *text, uint32_t number)
{
	int shift = 4;

	while (number >> shift > 0xf)
		shift += 4;
	for (; shift >= 0; shift -= 4)
		text_add_n(text, &"0123456789abcdef"[number >> shift & 0xf], 1);
}

static void describe_start(struct sought *sought, uint32_t dev, uint64_t ino)
{
	struct text text = text_start(sought->start, sizeof(sought->start));

	text_add(&text, " ");
	add_hexadecimal(&text, dev >> MINOR_BITS);
	text_add(&text, ":");
	add_hexadecimal(&text, dev & ((1U << MINOR_BITS) - 1));
	text_add(&text, ":");
	text_add_number(&text, ino);
	text_add(&text, " ");
	text_add_number(&text, sought->first);
	text_add(&text, " ");
}

/*
 * A held lock has a line such as "1: OFDLCK ADVISORY  READ -1 fd:01:1234 1 7". A request that waits
 * for a lock has "-> OFDLCK" instead.
 */
static bool matches(const char *line, const struct sought *sought)
{
	const char *start = strstr(line, sought->start);
	uint64_t last;

	return start && strstr(line, ": OFDLCK ") && strstr(line, " READ ") &&
	       text_read_number(start + strlen(sought->start), &last) && last > sought->first &&
	       last != sought->excluded_end;
}

/* Checks all whole lines, and moves the rest to the front. Returns true if one matches. */
static bool any_line_matches(char *lines, const struct sought *sought)
{
	char *line = lines;
	char *newline;

	while ((newline = strchr(line, '\n'))) {
		*newline = '\0';
		if (matches(line, sought))
			return true;
		line = newline + 1;
	}
	memmove(lines, line, strlen(line) + 1);
	return false;
}

static bool lacks_resources(void)
{
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

static bool table_matches(int fd, char *lines, const struct sought *sought)
{
	size_t used = 0;

	for (int i = 0; i < MAX_PIECES; i++) {
		ssize_t got = kernel_read(fd, lines + used, PIECE - 1 - used);

		if (got <= 0)
			return got < 0 && lacks_resources();
		lines[used + (size_t)got] = '\0';
		if (any_line_matches(lines, sought))
			return true;
		used = strlen(lines);
	}
	return false;
}

static bool read_table(char *lines, const struct sought *sought)
{
	int fd = kernel_open(AT_FDCWD, "/proc/locks", O_RDONLY, 0);
	bool found;

	if (fd < 0)
		return lacks_resources();
	found = table_matches(fd, lines, sought);
	kernel_close(fd);
	return found;
}

/*
 * If a lock ends between two read(2) calls, the locks after it move up, and the second call skips
 * one of them. So only two negative answers in a row count.
 */
bool locktable_has_shared_lock(uint32_t dev, uint64_t ino, uint64_t first, uint64_t excluded_end)
{
	struct sought sought = {.first = first, .excluded_end = excluded_end};
	int saved = errno;
	char *lines = scratch_allocate(PIECE);
	bool found;

	if (!lines)
		return true;
	describe_start(&sought, dev, ino);
	found = read_table(lines, &sought);
	if (!found)
		found = read_table(lines, &sought);
	scratch_free(lines, PIECE);
	errno = saved;
	return found;
}
