/*
 * title: the command line of this process as other processes see it.
 *
 * A supervisor is a fork of `sockguard run PROGRAM`, and `pkill -f PROGRAM` must not match it.
 */
#ifndef TITLE_H
#define TITLE_H

#include <sys/types.h>

/*
 * Replaces the arguments with "sockguard: supervisor of PID". This clears the environment and
 * overwrites its memory, so the caller must read all variables before.
 */
void title_set(pid_t program);

#endif
