/*
 * proc: reads files in /proc, and other files whose size is not known in advance.
 */
#ifndef PROC_H
#define PROC_H

#include <stddef.h>
#include <sys/types.h>

/*
 * A whole file, with a NUL appended, which *length does not count. NULL with errno if it cannot be
 * read. The caller frees it.
 */
char *proc_read(const char *path, size_t *length);

/* The same for a file in /proc/PID. */
char *proc_read_file(pid_t pid, const char *name, size_t *length);

/* The same for the rest of an open file. */
char *proc_read_to_end(int fd, size_t *length);

#endif
