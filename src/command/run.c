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
#ifdef HAVE_SUPERVISOR
#include "start.h"
#endif

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
	"  --by WAY          preload: by the library; syscalls: by a supervisor of system\n"
	"                    calls, for static and Go programs too; auto: as it suits\n"
	"  --no-io-uring     makes io_uring_setup fail, which a supervisor does not see\n"
	"  --strict          starts nothing in which the guard cannot work\n"
	"  -h, --help        this text\n"
	"\n"
	"An option goes before its variable in the environment (SOCKGUARD_ONLY, ...).\n"
	"Exit status: PROGRAM's; 2 for bad usage, 126 when it cannot be started or, with\n"
	"--strict, not be guarded, 127 when there is none of that name.\n"
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

/* ---- how ---- */

enum by { BY_AUTO, BY_PRELOAD, BY_SYSCALLS };

static struct {
	enum by by;
	bool strict;
	bool no_rings;
} how;

static void set_by(const char *value)
{
	static const char *const ways[] = {"auto", "preload", "syscalls"};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(value, ways[i]) == 0) {
			how.by = (enum by)i;
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

/* ---- by preloading ---- */

/*
 * Returns only if the program may be started. Besides: why a supervisor cannot guard it either, or
 * NULL.
 */
static void look_at(const char *name, const struct program *program, const char *besides)
{
	const char *end = how.strict ? "; not started" : "";
	/* The obstacle may be another file, the interpreter. */
	bool other = strcmp(program->about, program->found) != 0;

	if (program->guardable == NOT_GUARDABLE)
		command_warn("%s will not be guarded: %s%s%s%s%s%s", name,
			other ? program->about : "", other ? " is " : "", program->why,
			besides ? "; nor by system call: " : "", besides ? besides : "", end);
	else if (program->guardable == GUARDABLE_UNTOLD)
		command_warn("%s cannot be read, so whether the guard can work in %s is unknown%s",
			other ? program->about : name, other ? name : "it", end);
	else if (program->guardable == GUARDABLE && is_disabled())
		command_warn("%s will not be guarded: SOCKGUARD_DISABLE=1%s", name, end);
	else
		return;
	if (how.strict)
		exit(EXIT_NOT_STARTED);
}

static void preload(const struct library *library)
{
	char *value = library_preload(library, getenv("LD_PRELOAD"));

	if (setenv("LD_PRELOAD", value, 1) != 0)
		command_die(EXIT_NOT_STARTED, "no room for LD_PRELOAD");
	free(value);
}

/* ---- by a supervisor ---- */

/* Returns NULL, or why it cannot be. */
#ifdef HAVE_SUPERVISOR
static const char *supervise(void)
{
	switch (start_supervisor(!how.no_rings)) {
	case START_DONE:
	case START_ALREADY:
		return NULL;
	case START_TAKEN:
		return "another program supervises system calls here (EBUSY)";
	case START_TOO_OLD:
		return "the kernel is older than Linux 5.9, or forbids to supervise system calls";
	case START_FORBIDDEN:
		return "a supervisor may not look into other processes here; see "
		       "kernel.yama.ptrace_scope, or the security profile of the container";
	case START_FAILED:
		break;
	}
	return "its supervisor could not be started";
}
#else
static const char *supervise(void)
{
	return "sockguard was built without a supervisor";
}
#endif

/*
 * Without CAP_SYS_ADMIN whoever sets a filter gives up to gain rights by an exec, and a set-ID
 * program may depend on them: that is for its user to decide.
 */
static bool goes_by_syscalls(const struct program *program)
{
	if (is_disabled() || how.by == BY_PRELOAD || program->guardable == NO_PROGRAM)
		return false;
	return how.by == BY_SYSCALLS ||
	       (program->guardable == NOT_GUARDABLE && (!program->gains_rights || geteuid() == 0));
}

static void guard_by_syscalls(const char *name, const struct program *program)
{
	const char *why_not = supervise();

	if (why_not && how.by == BY_AUTO)
		look_at(name, program, why_not);
	if (!why_not || how.by == BY_AUTO)
		return;
	command_warn("%s will not be guarded: %s%s", name, why_not,
		how.strict ? "; not started" : "");
	if (how.strict)
		exit(EXIT_NOT_STARTED);
}

static int run(int argc, char **argv)
{
	struct library library;
	struct program program;

	parse(argc, argv);
	argv += optind;
	if (!argv[0])
		command_misuse(&command_run, "name the program to run");
	put_settings();
	library_find(&library);
	program_look(&program, argv[0], &library);
	if (program.guardable == NO_PROGRAM && how.strict)
		command_die(EXIT_NO_PROGRAM, "%s: %s; not started", argv[0], program.why);
	if (goes_by_syscalls(&program)) {
		guard_by_syscalls(argv[0], &program);
	} else {
		look_at(argv[0], &program, NULL);
		preload(&library);
	}
	execvp(program.found[0] != '\0' ? program.found : argv[0], argv);
	command_die(errno == ENOENT ? EXIT_NO_PROGRAM : EXIT_NOT_STARTED, "%s: %s", argv[0],
		strerror(errno));
}

const struct command command_run = {"run", run, help};
