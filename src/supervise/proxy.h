/*
 * proxy: the implementation of caller.h for the caller of a stopped call.
 *
 * The supervisor stores no ownership. A process owns a socket path if it has a descriptor of the
 * socket, or a claim on the lock file. The supervisor injects the claim as a descriptor, which
 * forks inherit. A worker uses this module for one caller, and exits after the call.
 */
#ifndef PROXY_H
#define PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "target.h"

/*
 * Makes the rules judge the calls of this process as those of the caller. *target must stay valid
 * until the worker exits. While the rules wait for a mutex, they call between_attempts after each
 * failed attempt; it may end the wait with longjmp(3).
 */
void proxy_act_for(const struct target *target, void (*between_attempts)(void));

/*
 * Returns true if the caller itself holds the mutex of this socket path. Then the library is
 * preloaded into it and has already judged this call.
 */
bool proxy_holds_mutex(int dirfd, const char *path);

/*
 * Injects the claims that were acquired for the caller. All mutexes must have been released before.
 * Returns false if the caller no longer waits for the call; then keeps the remaining claims.
 */
bool proxy_inject_claims(int notify_fd, uint64_t id);

/* Returns the lowest descriptor >= from of a claim that is not injected yet, or INT_MAX. */
int proxy_next_claim(int from);

#endif
