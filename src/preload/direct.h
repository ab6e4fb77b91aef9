/*
 * direct: system calls without libc's syscall(2), for when its address is not known yet.
 */
#ifndef DIRECT_H
#define DIRECT_H

#include <stdbool.h>

/*
 * Makes the system call with six arguments, and sets *result and errno as syscall(2) does. Returns
 * false without making the call on an architecture for which this is not implemented.
 */
bool direct_syscall(long number, const long *words, long *result);

#endif
