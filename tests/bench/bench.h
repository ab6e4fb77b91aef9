/*
 * bench: what the programs that take times have in common.
 */
#ifndef BENCH_H
#define BENCH_H

#include <err.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/* Nanoseconds of a clock that only runs forward. */
static inline long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Ends the program where something went wrong, with errno's words. */
static inline void check(bool good, const char *what)
{
	if (!good)
		err(1, "%s", what);
}

/* Reads how many of something are wanted; ends the program where that is not least to most. */
static inline int read_count(const char *words, int least, int most)
{
	char *end;
	long count = strtol(words, &end, 10);

	if (end == words || *end != '\0' || count < least || count > most)
		errx(2, "not a number from %d to %d: %s", least, most, words);
	return (int)count;
}

#endif
