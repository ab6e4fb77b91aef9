/*
 * inspect: the capabilities of a worker. It executes its caller's call with the caller's
 * capabilities. These may not suffice to inspect the caller, which may have changed its user.
 */
#ifndef INSPECT_H
#define INSPECT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Between these two calls, the process has the capabilities to inspect its caller, and must not
 * execute the caller's call. Pairs can be nested. They leave errno alone, and have no effect before
 * inspect_confine.
 */
void inspect_begin(void);
void inspect_end(void);

/*
 * Reduces the effective capabilities to these. Those that inspect_begin needs stay permitted.
 * Returns false if a capability is missing.
 */
bool inspect_confine(uint64_t effective);

/* Makes all permitted capabilities effective again, after a change of the user. */
void inspect_raise_permitted(void);

#endif
