/*
 * sockguard: the command. It runs programs under the guard, tells what socket paths lead to and
 * whether programs are guarded, clears up what crashes left, and writes drop-ins for systemd.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

static const struct command *const commands[] = {
	&command_run,
	&command_status,
	&command_check,
	&command_clean,
	&command_unit,
};

static const char usage[] =
	"Usage: sockguard run [OPTION...] [--] PROGRAM [ARG...]\n"
	"       sockguard status [--json] [PATH...]\n"
	"       sockguard check [--json] PROGRAM|PID...\n"
	"       sockguard clean [--dry-run] [--verbose] PATH|DIR...\n"
	"       sockguard unit UNIT\n"
	"\n"
	"Guards socket paths: no second instance takes the path of a live socket away,\n"
	"and a stale one never hinders a start.\n"
	"\n"
	"  run     starts PROGRAM under the guard\n"
	"  status  tells what socket paths lead to, and who holds the sockets\n"
	"  check   tells whether a program can be guarded, or a process is\n"
	"  clean   removes stale sockets and idle lock files, never a live one\n"
	"  unit    prints a drop-in that has systemd guard a service\n"
	"\n"
	"  -h, --help     this text; that of a command: sockguard COMMAND --help\n"
	"  -V, --version  the version\n"
	"\n"
	"Example: sockguard run gunicorn --bind unix:/run/app.sock app:application\n";

static const struct command *command_of(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* What was printed is part of what was asked for: a full disk must not pass for success. */
static int written(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		command_die(EXIT_FAILED, "the output could not be written: %s", strerror(errno));
	return status;
}

int main(int argc, char **argv)
{
	static const struct option words[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	static const struct command self = {.name = "", .help = usage};
	const struct command *command;

	/* Not beyond the first word: what follows are the options of the command. */
	if (command_option(&self, argc, argv, "+hV", words) == 'V') {
		puts("sockguard " PACKAGE_VERSION);
		return written(EXIT_ALL);
	}
	argc -= optind;
	argv += optind;
	if (argc == 0) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	command = command_of(argv[0]);
	if (!command)
		command_misuse(&self, "there is no command \"%s\"", argv[0]);
	optind = 0; /* getopt_long starts anew */
	return written(command->main(argc, argv));
}
