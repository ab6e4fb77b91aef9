/*
 * unguarded: remembers which processes were reported as not guarded, so that each is reported once.
 *
 * The list is in memory that all processes of a supervisor share.
 */
#ifndef UNGUARDED_H
#define UNGUARDED_H

#include <stdbool.h>
#include <sys/types.h>

/* Maps the shared memory. Call it once, before any fork. Returns false if there is no memory. */
bool unguarded_init(void);

/* Returns true if the process of this thread has been reported. */
bool unguarded_is_reported(pid_t tid);

/* Marks the process of this thread as reported. Returns false if it already was. */
bool unguarded_record(pid_t tid);

#endif
