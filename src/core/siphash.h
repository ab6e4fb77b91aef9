/*
 * siphash: a hash that reveals nothing about its key, SipHash-2-4 by Aumasson and Bernstein.
 */
#ifndef SIPHASH_H
#define SIPHASH_H

#include <stdint.h>

/*
 * The hash of the 8 bytes of a message. The bytes of key and message are those of little-endian
 * numbers. Async-signal-safe.
 */
uint64_t siphash(const uint64_t key[2], uint64_t message);

#endif
