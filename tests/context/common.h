/*
 * common: functions that the programs here share. Each program makes calls in a context that the
 * guard must support. If all results are the same as without the guard, it exits with status 0.
 * Otherwise it prints a line to stderr and exits with status 1.
 */
#ifndef COMMON_H
#define COMMON_H

#include <stdbool.h>

/* Ends the process with status 1, and a line with what, path, and errno unless it is 0. */
_Noreturn void die(const char *what, const char *path);

/* A stream socket, close-on-exec and non-blocking. Ends the process if it cannot be created. */
int new_socket(void);

/* bind(2) and connect(2) to a path, which is truncated if it does not fit. Async-signal-safe. */
int bind_to(int fd, const char *path);
int connect_to(int fd, const char *path);

/*
 * Makes each kind of call on a socket: bind to path, rename to away, link back to path, unlink
 * both, close.
 * Returns NULL, or the name of the call that failed, with its errno; all succeed if no other thread
 * or process uses these paths. Async-signal-safe; does not change errno if all succeed.
 */
const char *run_socket_life(const char *path, const char *away);

/*
 * Returns whether the guard is a supervisor, according to the environment. Under a supervisor, each
 * call on a socket forks a worker, and unused claims stay open, because a supervisor cannot close
 * another process's descriptor.
 */
bool is_supervised(void);

/* This many rounds, or fewer under a supervisor. */
int rounds_of(int rounds);

/* The number of open descriptors, except unused claims if the guard is a supervisor. */
int open_descriptors(void);

#define PATH_SIZE 108

/* Writes DIRECTORY/WORDnumber to path. */
void name_path(char path[PATH_SIZE], const char *directory, const char *word, int number);

#endif
