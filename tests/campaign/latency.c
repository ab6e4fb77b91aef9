#include "latency.h"

/* Eight buckets for each power of two. */
static unsigned int bucket_of(uint64_t ns)
{
	unsigned int power = 63U - (unsigned int)__builtin_clzll(ns | 8);

	return power * 8 + ((unsigned int)(ns >> (power - 3)) & 7);
}

static uint64_t end_of(unsigned int bucket)
{
	return (UINT64_C(9) + bucket % 8) << (bucket / 8 - 3);
}

void latency_add(struct latency *latency, uint64_t ns)
{
	unsigned long longest = atomic_load(&latency->longest);

	while (ns > longest && !atomic_compare_exchange_weak(&latency->longest, &longest, ns))
		;
	atomic_fetch_add(&latency->buckets[bucket_of(ns)], 1);
	atomic_fetch_add(&latency->count, 1);
}

unsigned long latency_longest(struct latency *latency)
{
	return atomic_load(&latency->longest) / 1000;
}

unsigned long latency_at(struct latency *latency, double share)
{
	double wanted = share * (double)atomic_load(&latency->count);
	unsigned long seen = 0;

	for (unsigned int i = 24; i < LATENCY_BUCKETS; i++) {
		seen += atomic_load(&latency->buckets[i]);
		if (seen > 0 && (double)seen >= wanted)
			return (unsigned long)(end_of(i) / 1000);
	}
	return latency_longest(latency);
}
