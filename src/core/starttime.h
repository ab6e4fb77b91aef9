/*
 * starttime: when a process or thread started, in clock ticks since boot, proc_pid_stat(5). With
 * the time, an ID is unique: the kernel reuses IDs, but not within a clock tick.
 *
 * Async-signal-safe. Leaves errno alone.
 */
#ifndef STARTTIME_H
#define STARTTIME_H

#include <stdint.h>
#include <sys/types.h>

/* Reads /proc/ID/stat. 0: there is no such thread, or /proc is not mounted or hides it. */
uint64_t starttime_of(pid_t id);

/* The same from the text of a "stat" file. 0: there is no such field. */
uint64_t starttime_in(const char *stat);

#endif
