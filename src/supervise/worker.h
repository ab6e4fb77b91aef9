/*
 * worker: judges and executes one stopped call on behalf of its caller.
 */
#ifndef WORKER_H
#define WORKER_H

#include "pending.h"

/*
 * Executes the call in the slot that `starter` reserved, and exits. The calling process must be a
 * new fork, because it takes on the caller's identity.
 */
_Noreturn void worker_run(int notify_fd, struct slot *slot, pid_t starter);

#endif
