/*
 * common: what the programs here share. Each is a process with habits that the guard has to live
 * with; it says nothing and exits with 0 when all went as it does without the guard, and with 1 and
 * a line on stderr otherwise.
 */
#ifndef COMMON_H
#define COMMON_H

/* Ends the process with status 1 and a line that tells what, and errno unless it is 0. */
_Noreturn void die(const char *what, const char *path);

/* A stream socket, close-on-exec, that never waits. Ends the process where there is none to be had.
 */
int new_socket(void);

/* bind(2) and connect(2) to a path, which is cut short if it does not fit. Async-signal-safe. */
int bind_to(int fd, const char *path);
int connect_to(int fd, const char *path);

/*
 * A socket's whole life: bound at path, renamed to away, linked back, both names removed, closed.
 * Returns NULL, or which call failed, with its errno; all of them succeed where nobody else uses
 * these paths. Async-signal-safe; leaves errno alone where all went well.
 */
const char *live(const char *path, const char *away);

/* How many descriptors this process has open. */
int open_descriptors(void);

#define PATH_SIZE 108

/* A path in a directory: a word and a number. */
void name_path(char path[PATH_SIZE], const char *directory, const char *word, int number);

#endif
