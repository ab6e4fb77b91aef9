/*
 * command: what the subcommands of sockguard share: exit statuses, options, and messages.
 *
 * A message is one line on stderr, whatever bytes its arguments contain. All modules of the command
 * may allocate memory, and exit the program if there is none.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <getopt.h>
#include <stddef.h>

enum {
	EXIT_ALL = 0, /* done, all live, all guarded */
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_SOME_NOT = 3,
	EXIT_UNKNOWN = 4, /* permission denied */
	EXIT_NOT_STARTED = 126,
	EXIT_NO_PROGRAM = 127,
};

struct command {
	const char *name; /* as typed: "status" */
	int (*main)(int argc, char **argv);
	const char *help; /* fits a screen of 24 lines of 80 columns */
};

extern const struct command command_run, command_status, command_check, command_clean, command_unit;

/*
 * Returns the next option, like getopt_long(3). Handles --help itself, and calls command_misuse for
 * an invalid option. If letters start with "+", the options end at the first other argument.
 */
int command_option(const struct command *command, int argc, char **argv, const char *letters,
	const struct option *words);

/* Prints a message that points to --help, and exits with EXIT_USAGE. */
__attribute__((noreturn, format(printf, 2, 3))) void command_misuse(const struct command *command,
	const char *format, ...);

/* Prints a message. */
__attribute__((format(printf, 1, 2))) void command_warn(const char *format, ...);

/* Prints a message, and exits. */
__attribute__((noreturn, format(printf, 2, 3))) void command_die(int status, const char *format,
	...);

/* Memory for the caller to free, zeroed by command_allocate. Never NULL: exits if there is none. */
void *command_allocate(size_t size);
void *command_resize(void *memory, size_t size);

/*
 * Makes room for one more item in a list that has `count` items, and returns the list. The list
 * must be NULL, or come from this function. Doubles the size whenever the list is full.
 */
void *command_grow(void *list, size_t count, size_t item);

/* Strings for the caller to free. */
char *command_copy(const char *words);
char *command_lockfile_path(const char *path); /* of a socket path */
__attribute__((format(printf, 1, 2))) char *command_format(const char *format, ...);

#endif
