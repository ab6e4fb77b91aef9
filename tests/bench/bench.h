/*
 * bench: functions that the timing programs share.
 */
#ifndef BENCH_H
#define BENCH_H

#include <err.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/* Returns the time of the monotonic clock in nanoseconds. */
static inline long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Ends the program with a message from errno if a call failed. */
static inline void check(bool ok, const char *what)
{
	if (!ok)
		err(1, "%s", what);
}

/* Parses a number. Ends the program if it is not between min and max. */
static inline int read_count(const char *text, int min, int max)
{
	char *end;
	long count = strtol(text, &end, 10);

	if (end == text || *end != '\0' || count < min || count > max)
		errx(2, "not a number from %d to %d: %s", min, max, text);
	return (int)count;
}

#endif
