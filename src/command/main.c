/*
 * sockguard: the command. It runs programs under the guard, reports what socket paths lead to and
 * whether programs are guarded, removes what crashes left, and writes drop-ins for systemd.
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
	"Guards socket paths: no program that is started under the guard can take the\n"
	"path of a live socket from its owner.\n"
	"\n"
	"  run     starts a program under the guard\n"
	"  status  prints the state of socket paths, and which processes hold the sockets\n"
	"  check   prints whether programs can be guarded, and whether processes are\n"
	"  clean   removes stale sockets and unused lock files, never a live socket\n"
	"  unit    prints a drop-in that makes systemd start a service under the guard\n"
	"\n"
	"  -h, --help     prints this text; sockguard COMMAND --help explains a command\n"
	"  -V, --version  prints the version\n"
	"\n"
	"Example: sockguard run gunicorn --bind unix:/run/app.sock app:application\n";

static const struct command *command_of(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* Returns status, unless the output could not be written, as on a full disk: then exits. */
static int flush_output(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		command_die(EXIT_FAILED, "cannot write the output: %s", strerror(errno));
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

	/* "+": stop at the name of the command. The options after it are the command's own. */
	if (command_option(&self, argc, argv, "+hV", words) == 'V') {
		puts("sockguard " PACKAGE_VERSION);
		return flush_output(EXIT_ALL);
	}
	argc -= optind;
	argv += optind;
	if (argc == 0) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	command = command_of(argv[0]);
	if (!command)
		command_misuse(&self, "unknown command \"%s\"", argv[0]);
	optind = 0; /* getopt_long starts anew */
	return flush_output(command->main(argc, argv));
}
