/*
 * command: what the subcommands of sockguard share: exit statuses, options, and complaints.
 *
 * A complaint is one line on stderr, whatever is in the words it repeats. All of the command's
 * rooms may allocate, and end the program where there is no memory.
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
	EXIT_UNTOLD = 4, /* for lack of permission */
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
 * The next option, as getopt_long(3) has it. Answers --help, and complains of what is no option.
 * Of run the options end at the first word that is none: "+" starts its short ones.
 */
int command_option(const struct command *command, int argc, char **argv, const char *letters,
	const struct option *words);

/* Complains, points to the help, and ends the program with EXIT_USAGE. */
__attribute__((noreturn, format(printf, 2, 3))) void command_misuse(const struct command *command,
	const char *format, ...);

/* Complains. */
__attribute__((format(printf, 1, 2))) void command_warn(const char *format, ...);

/* Complains, and ends the program. */
__attribute__((noreturn, format(printf, 2, 3))) void command_die(int status, const char *format,
	...);

/* Memory, or the program ends: never NULL. The caller frees it. */
void *command_allocate(size_t size);
void *command_resize(void *memory, size_t size);
char *command_copy(const char *words);
char *command_lockfile(const char *path); /* of a socket path */
__attribute__((format(printf, 1, 2))) char *command_print(const char *format, ...);

#endif
