/*
 * sockguard run: starts a program under the guard, and says so when the guard cannot work in it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "config.h"
#include "library.h"
#include "program.h"

static const char help[] =
	"Usage: sockguard run [OPTION...] [--] PROGRAM [ARG...]\n"
	"\n"
	"Starts PROGRAM under the guard: neither it nor what it starts takes the socket\n"
	"path of a live socket away. Says in one line when the guard cannot work in it.\n"
	"\n"
	"  --only PATTERN    guards only the absolute paths that match, see fnmatch(3);\n"
	"                    may be given several times, as the next one\n"
	"  --ignore PATTERN  leaves these absolute paths alone\n"
	"  --reuse WHEN      lets bind replace a stale name: auto (where the program set\n"
	"                    SO_REUSEADDR), always, never\n"
	"  --log WHERE       tells refusals to stderr, syslog, none, or an absolute file\n"
	"  --debug           tells every decision about a socket too\n"
	"  --strict          starts nothing in which the guard cannot work\n"
	"  -h, --help        this text\n"
	"\n"
	"An option goes before its variable in the environment (SOCKGUARD_ONLY, ...).\n"
	"Exit status: PROGRAM's; 2 for bad usage, 126 when it cannot be started or, with\n"
	"--strict, not be guarded, 127 when there is none of that name.\n"
	"\n"
	"Example: sockguard run --strict gunicorn --bind unix:/run/app.sock app:app\n";

enum { ONLY = 256, IGNORE, REUSE, LOG, DEBUG, STRICT };

static const struct option words[] = {
	{"only", required_argument, NULL, ONLY},
	{"ignore", required_argument, NULL, IGNORE},
	{"reuse", required_argument, NULL, REUSE},
	{"log", required_argument, NULL, LOG},
	{"debug", no_argument, NULL, DEBUG},
	{"strict", no_argument, NULL, STRICT},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* The variables of the options, in their order. */
static const char *const variables[] = {
	"SOCKGUARD_ONLY",
	"SOCKGUARD_IGNORE",
	"SOCKGUARD_REUSE",
	"SOCKGUARD_LOG",
	"SOCKGUARD_DEBUG",
};
#define SETTINGS (sizeof(variables) / sizeof(variables[0]))

static char *settings[SETTINGS]; /* what the options gave them */

static void set(int option, const char *value)
{
	char **setting = &settings[option - ONLY];
	bool list = (option == ONLY || option == IGNORE) && *setting;
	char *whole = list ? command_print("%s:%s", *setting, value) : command_copy(value);

	if (value[0] == '\0')
		command_misuse(&command_run, "--%s takes a value", words[option - ONLY].name);
	free(*setting);
	*setting = whole;
}

/* For config_load: a value of ours that the library would not understand. */
static void complain(const char *variable, const char *expected)
{
	for (size_t i = 0; i < SETTINGS; i++)
		if (settings[i] && strcmp(variables[i], variable) == 0)
			command_misuse(&command_run, "--%s %s: expected %s", words[i].name,
				settings[i], expected);
}

/* The library itself judges the values. */
static void put_settings(void)
{
	bool any = false;

	for (size_t i = 0; i < SETTINGS; i++) {
		if (settings[i] && setenv(variables[i], settings[i], 1) != 0)
			command_die(EXIT_NOT_STARTED, "no room for %s", variables[i]);
		any = any || settings[i];
	}
	if (any)
		config_load(complain);
}

/* Returns only if the program may be started. */
static void look_at(const char *name, const struct library *library, struct program *program,
	bool strict)
{
	const char *disable = getenv("SOCKGUARD_DISABLE");
	const char *end = strict ? "; not started" : "";
	bool other; /* the obstacle is another file, the interpreter */

	program_look(program, name, library);
	other = strcmp(program->about, program->found) != 0;
	if (program->guardable == NOT_GUARDABLE)
		command_warn("%s will not be guarded: %s%s%s%s", name, other ? program->about : "",
			other ? " is " : "", program->why, end);
	else if (program->guardable == GUARDABLE_UNTOLD)
		command_warn("%s cannot be read, so whether the guard can work in %s is unknown%s",
			other ? program->about : name, other ? name : "it", end);
	else if (program->guardable == GUARDABLE && disable && strcmp(disable, "1") == 0)
		command_warn("%s will not be guarded: SOCKGUARD_DISABLE=1%s", name, end);
	else if (program->guardable == NO_PROGRAM && strict)
		command_die(EXIT_NO_PROGRAM, "%s: %s%s", name, program->why, end);
	else
		return;
	if (strict)
		exit(EXIT_NOT_STARTED);
}

static void parse(int argc, char **argv, bool *strict)
{
	int option;

	while ((option = command_option(&command_run, argc, argv, "+h", words)) != -1) {
		if (option == STRICT)
			*strict = true;
		else
			set(option, option == DEBUG ? "1" : optarg);
	}
}

static int run(int argc, char **argv)
{
	struct library library;
	struct program program;
	bool strict = false;
	char *preload;

	parse(argc, argv, &strict);
	argv += optind;
	if (!argv[0])
		command_misuse(&command_run, "name the program to run");
	put_settings();
	library_find(&library);
	look_at(argv[0], &library, &program, strict);
	preload = library_preload(&library, getenv("LD_PRELOAD"));
	if (setenv("LD_PRELOAD", preload, 1) != 0)
		command_die(EXIT_NOT_STARTED, "no room for LD_PRELOAD");
	execvp(program.found[0] != '\0' ? program.found : argv[0], argv);
	command_die(errno == ENOENT ? EXIT_NO_PROGRAM : EXIT_NOT_STARTED, "%s: %s", argv[0],
		strerror(errno));
}

const struct command command_run = {"run", run, help};
