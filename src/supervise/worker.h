/*
 * worker: carries out one stopped call, by the rules, in its caller's place.
 */
#ifndef WORKER_H
#define WORKER_H

#include <stdatomic.h>

#include "request.h"

/* What the processes of one supervisor have in common. */
struct commons {
	atomic_bool warned; /* that a call went unguarded */
};

/* For a process of its own, which ends with it: successfully, once the call was answered. */
_Noreturn void worker_run(int listener, const struct request *request, struct commons *commons);

#endif
