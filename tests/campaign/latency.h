/*
 * latency: how long calls took, counted in shared memory by the processes that make them.
 *
 * Each power of two has eight buckets, so the reported times are accurate to about 10 %. The
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

void latency_add(struct latency *latency, uint64_t ns);

/* Returns a quantile in microseconds: 99 % of the calls took at most latency_at(latency, 0.99). */
unsigned long latency_at(struct latency *latency, double share);
unsigned long latency_longest(struct latency *latency);

#endif
