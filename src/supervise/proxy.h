/*
 * proxy: the caller of a stopped call, as the rules see it.
 *
 * The supervisor remembers nothing of anybody. A process owns a name if it holds a claim on the
 * lock file beside it, which the supervisor once gave it as a descriptor and its forks inherited,
 * or the socket itself. For a process that takes one caller's place and ends with its call.
 */
#ifndef PROXY_H
#define PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "target.h"

/* From now on the rules are about this process, which must stay where it is. */
void proxy_stand_for(const struct target *target);

/*
 * Does the caller itself hold the mutex of this name? Then it is guarded by the library, too, and
 * this call is one that was judged already.
 */
bool proxy_is_judging(int dirfd, const char *path);

/* Gives the caller the claims that were taken for it. After all mutexes were given back. */
void proxy_hand_over(int listener, uint64_t id);

#endif
