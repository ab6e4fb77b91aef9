/*
 * latency: how long calls took, counted in shared memory by whoever makes them.
 *
 * The buckets are an eighth of a power of two wide, so what is told is right within some 10 %; the
 * longest is exact.
 */
#ifndef LATENCY_H
#define LATENCY_H

#include <stdatomic.h>
#include <stdint.h>

#define LATENCY_BUCKETS 512

struct latency {
	atomic_ulong longest; /* in nanoseconds */
	atomic_ulong count;
	atomic_ulong buckets[LATENCY_BUCKETS];
};

void latency_note(struct latency *latency, uint64_t ns);

/* In microseconds: the time that this share of the calls, 0.99 for instance, did not exceed. */
unsigned long latency_at(struct latency *latency, double share);
unsigned long latency_longest(struct latency *latency);

#endif
