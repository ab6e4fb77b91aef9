/* identity: takes on the identity of a caller, so that the kernel checks a call as the caller's. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include <stdbool.h>

#include "target.h"

/*
 * Takes on everything of the thread that affects paths and permissions: user, mount and network
 * namespaces, root and working directory, umask and credentials. Opens target->descriptors. This
 * cannot be undone. Returns false with errno if it is not permitted or resources are missing; the
 * identity may then be mixed, so the caller must not execute the call.
 */
bool identity_assume(struct target *target);

#endif
