/*
 * sockguard run: starts a program under the guard, and prints a warning if the guard cannot work in
 * it.
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
#include "way.h"

static const char help[] =
	"Usage: sockguard run [OPTION...] [--] PROGRAM [ARG...]\n"
	"\n"
	"Starts PROGRAM under the guard, so that neither it nor what it starts can take\n"
	"the path of a live socket from its owner. Warns if PROGRAM cannot be guarded.\n"
	"\n"
	"  --only PATTERN    guards only the absolute paths that match, see fnmatch(3);\n"
	"                    may be repeated\n"
	"  --ignore PATTERN  does not guard absolute paths that match; may be repeated\n"
	"  --reuse WHEN      lets bind replace a stale path: auto (if the program set\n"
	"                    SO_REUSEADDR), always, never\n"
	"  --log WHERE       logs refusals to stderr, syslog, none, or an absolute file\n"
	"  --debug           logs every decision about a socket\n"
	"  --by WAY          preload: with the library; syscalls: with a supervisor, for\n"
	"                    static and Go programs, too; auto: whichever suits PROGRAM\n"
	"  --no-io-uring     makes io_uring_setup fail: supervisors do not see io_uring\n"
	"  --strict          does not start a program that cannot be guarded\n"
	"  -h, --help        prints this text\n"
	"\n"
	"Options override the corresponding variables (SOCKGUARD_ONLY, ...).\n"
	"Exit status: PROGRAM's; 2 bad usage; 126 PROGRAM cannot be started or, with\n"
	"--strict, cannot be guarded; 127 no such PROGRAM.\n"
	"\n"
	"Example: sockguard run --strict gunicorn --bind unix:/run/app.sock app:app\n";

enum { ONLY = 256, IGNORE, REUSE, LOG, DEBUG, BY, NO_RINGS, STRICT };

static const struct option words[] = {
	{"only", required_argument, NULL, ONLY},
	{"ignore", required_argument, NULL, IGNORE},
	{"reuse", required_argument, NULL, REUSE},
	{"log", required_argument, NULL, LOG},
	{"debug", no_argument, NULL, DEBUG},
	{"by", required_argument, NULL, BY},
	{"no-io-uring", no_argument, NULL, NO_RINGS},
	{"strict", no_argument, NULL, STRICT},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* The variables of the options, in the same order. */
static const char *const variables[] = {
	"SOCKGUARD_ONLY",
	"SOCKGUARD_IGNORE",
	"SOCKGUARD_REUSE",
	"SOCKGUARD_LOG",
	"SOCKGUARD_DEBUG",
};
#define SETTINGS (sizeof(variables) / sizeof(variables[0]))

static char *settings[SETTINGS]; /* the values from the options */

static void set(int option, const char *value)
{
	char **setting = &settings[option - ONLY];
	bool list = (option == ONLY || option == IGNORE) && *setting;
	char *whole = list ? command_format("%s:%s", *setting, value) : command_copy(value);

	if (value[0] == '\0')
		command_misuse(&command_run, "--%s requires a value", words[option - ONLY].name);
	free(*setting);
	*setting = whole;
}

/* For config_load: rejects an option's value that the library would find invalid. */
static void reject_setting(const char *variable, const char *expected)
{
	for (size_t i = 0; i < SETTINGS; i++)
		if (settings[i] && strcmp(variables[i], variable) == 0)
			command_misuse(&command_run, "--%s %s: expected %s", words[i].name,
				settings[i], expected);
}

/* Sets the variables, and checks the values with the library's own parser. */
static void put_settings(void)
{
	bool any = false;

	for (size_t i = 0; i < SETTINGS; i++) {
		if (settings[i] && setenv(variables[i], settings[i], 1) != 0)
			command_die(EXIT_NOT_STARTED, "cannot set %s: out of memory", variables[i]);
		any = any || settings[i];
	}
	if (any)
		config_load(reject_setting);
}

/* ---- the options that are not settings ---- */

static struct {
	enum way by; /* WAY_NONE: what suits the program */
	bool strict;
	bool no_rings;
} how;

static void set_by(const char *value)
{
	for (enum way by = WAY_NONE; by <= WAY_SYSCALLS; by++) {
		if (strcmp(value, by == WAY_NONE ? "auto" : way_words[by]) == 0) {
			how.by = by;
			return;
		}
	}
	command_misuse(&command_run, "--by %s: expected auto, preload or syscalls", value);
}

static void parse(int argc, char **argv)
{
	int option;

	while ((option = command_option(&command_run, argc, argv, "+h", words)) != -1) {
		if (option == STRICT)
			how.strict = true;
		else if (option == NO_RINGS)
			how.no_rings = true;
		else if (option == BY)
			set_by(optarg);
		else
			set(option, option == DEBUG ? "1" : optarg);
	}
}

static bool is_disabled(void)
{
	const char *disable = getenv("SOCKGUARD_DISABLE");

	return disable && strcmp(disable, "1") == 0;
}

/* ---- with the library ---- */

/* Warns that the library cannot guard the program. besides: why a supervisor cannot; or NULL. */
static void warn_not_preloadable(const char *name, const struct program *program,
	const char *besides)
{
	const char *end = how.strict ? "; not started" : "";
	/* The reason may be about another file, the interpreter. */
	bool other = strcmp(program->about, program->found) != 0;

	command_warn("%s will not be guarded: %s%s%s%s%s%s", name, other ? program->about : "",
		other ? " is " : "", program->why, besides ? "; nor with --by syscalls: " : "",
		besides ? besides : "", end);
}

/* Warns if the library cannot guard the program. With --strict, also exits. */
static void warn_if_not_guardable(const char *name, const struct program *program,
	const char *besides)
{
	const char *end = how.strict ? "; not started" : "";
	bool other = strcmp(program->about, program->found) != 0;

	if (program->guardable == NO_PROGRAM)
		return;
	if (is_disabled())
		command_warn("%s will not be guarded: SOCKGUARD_DISABLE=1%s", name, end);
	else if (program->guardable == NOT_GUARDABLE)
		warn_not_preloadable(name, program, besides);
	else if (program->guardable == GUARDABLE_UNKNOWN)
		command_warn("cannot determine whether %s can be guarded: cannot read %s%s", name,
			other ? program->about : "it", end);
	else
		return;
	if (how.strict)
		exit(EXIT_NOT_STARTED);
}

static void preload(const struct library *library)
{
	char *value = library_preload_value(library, getenv("LD_PRELOAD"));

	if (setenv("LD_PRELOAD", value, 1) != 0)
		command_die(EXIT_NOT_STARTED, "cannot set LD_PRELOAD: out of memory");
	free(value);
}

/* ---- with a supervisor ---- */

static void start_supervised(const char *name, const struct program *program)
{
	const char *why_not = way_supervise(name, !how.no_rings);

	if (!why_not)
		return;
	if (how.by == WAY_NONE) {
		warn_if_not_guardable(name, program, why_not);
		return;
	}
	command_warn("%s will not be guarded: %s%s", name, why_not,
		how.strict ? "; not started" : "");
	if (how.strict)
		exit(EXIT_NOT_STARTED);
}

/* ---- the way that --by names, or that suits the program ---- */

/* library is NULL with --by syscalls, which does not need it. */
static void guard(const char *name, const struct program *program, const struct library *library)
{
	bool suits = how.by == WAY_NONE && way_uses_supervisor(program);
	bool wanted = how.by == WAY_SYSCALLS && program->guardable != NO_PROGRAM;

	if (!is_disabled() && (suits || wanted)) {
		start_supervised(name, program);
		return;
	}
	warn_if_not_guardable(name, program,
		how.by == WAY_NONE ? way_why_not_supervised(program) : NULL);
	if (library)
		preload(library);
}

static int run(int argc, char **argv)
{
	struct library found;
	const struct library *library = NULL;
	struct program program;

	parse(argc, argv);
	argv += optind;
	if (!argv[0])
		command_misuse(&command_run, "no program given");
	put_settings();
	if (how.by != WAY_SYSCALLS) {
		library_find(&found);
		library = &found;
	}
	program_inspect(&program, argv[0], library);
	if (program.guardable == NO_PROGRAM && how.strict)
		command_die(EXIT_NO_PROGRAM, "%s: %s; not started", argv[0], program.why);
	guard(argv[0], &program, library);
	execvp(program.found[0] != '\0' ? program.found : argv[0], argv);
	command_die(errno == ENOENT ? EXIT_NO_PROGRAM : EXIT_NOT_STARTED, "%s: %s", argv[0],
		strerror(errno));
}

const struct command command_run = {"run", run, help};
