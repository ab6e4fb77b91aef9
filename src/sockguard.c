/*
 * sockguard: the command. It runs programs under the guard, and tells what a socket path leads to,
 * asking as the library asks.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "liveness.h"
#include "lockfile.h"

enum {
	EXIT_ALL_LIVE = 0,
	EXIT_USAGE = 2,
	EXIT_SOME_NOT_LIVE = 3,
	EXIT_UNKNOWN = 4,
	EXIT_NOT_STARTED = 126,
	EXIT_NO_PROGRAM = 127,
};

static const char usage[] =
	"Usage: sockguard run [--] PROGRAM [ARG...]\n"
	"       sockguard status PATH...\n"
	"\n"
	"run     starts PROGRAM under the guard: no second instance takes a socket path\n"
	"        that a live one holds, and a stale one never hinders a start\n"
	"status  tells for each socket path whether a socket is bound there, and whose;\n"
	"        exit status 0: all live, 3: some not, 4: some could not be told\n"
	"\n"
	"  -h, --help     this text\n"
	"  -V, --version  the version\n"
	"\n"
	"Example: sockguard run gunicorn --bind unix:/run/app.sock app:application\n";

static __attribute__((noreturn)) void misuse(const char *what)
{
	errx(EXIT_USAGE, "%s; see sockguard --help", what);
}

/* ---- run ---- */

/* The library beside us in a build tree, or where it was installed. */
static const char *find_library(char *path, size_t size)
{
	static const char beside[] = "/.libs/libsockguard.so";
	ssize_t length = readlink("/proc/self/exe", path, size - sizeof(beside));
	char *slash;

	if (length > 0) {
		path[length] = '\0';
		slash = strrchr(path, '/');
		if (slash) {
			memcpy(slash, beside, sizeof(beside));
			if (access(path, R_OK) == 0)
				return path;
		}
	}
	return LIBRARY_DIR "/libsockguard.so";
}

static void preload(const char *library)
{
	const char *before = getenv("LD_PRELOAD");
	char *value = NULL;

	if (asprintf(&value, "%s%s%s", library, before && before[0] != '\0' ? ":" : "",
		    before ? before : "") < 0 ||
		setenv("LD_PRELOAD", value, 1) != 0)
		err(EXIT_NOT_STARTED, NULL);
	free(value);
}

static int run(char **argv)
{
	char path[PATH_MAX];
	const char *library = find_library(path, sizeof(path));

	if (!argv[0])
		misuse("run takes a program");
	if (access(library, R_OK) != 0)
		err(EXIT_NOT_STARTED, "is libsockguard installed? %s", library);
	preload(library);
	execvp(argv[0], argv);
	err(errno == ENOENT ? EXIT_NO_PROGRAM : EXIT_NOT_STARTED, "%s", argv[0]);
}

/* ---- status ---- */

struct status {
	const char *word;
	int exit_status;
};

static struct status status_of(const char *path, bool claimed)
{
	static const struct status by_liveness[] = {
		[DEAD] = {"stale", EXIT_SOME_NOT_LIVE},
		[LIVE] = {"live", EXIT_ALL_LIVE},
		[UNKNOWN] = {"unknown", EXIT_UNKNOWN},
	};
	struct pin pin;
	enum liveness liveness;

	if (inode_pin(AT_FDCWD, path, &pin) == 0) {
		liveness = liveness_of(&pin, AT_FDCWD, path);
		inode_unpin(&pin);
		return by_liveness[liveness];
	}
	if (errno == ENOTSOCK)
		return (struct status){"not a socket", EXIT_SOME_NOT_LIVE};
	if (errno != ENOENT && errno != ENOTDIR)
		return (struct status){"unknown", EXIT_UNKNOWN};
	return (struct status){claimed ? "claimed, without a name" : "absent", EXIT_SOME_NOT_LIVE};
}

static int show(const char *path)
{
	struct lockfile lock;
	struct record record = {0};
	struct status found;
	bool claimed;

	lockfile_name(&lock, AT_FDCWD, path);
	claimed = lockfile_peek(&lock) && lockfile_claimed(&lock);
	found = status_of(path, claimed);
	printf("%s: %s", path, found.word);
	if (claimed && lockfile_record(&lock, &record))
		printf(", bound by %s (pid %llu, uid %llu)", record.comm,
			(unsigned long long)record.pid, (unsigned long long)record.uid);
	putchar('\n');
	lockfile_leave(&lock);
	return found.exit_status;
}

static int status(char **paths)
{
	int worst = EXIT_ALL_LIVE;

	if (!paths[0])
		misuse("status takes a path");
	for (; *paths; paths++) {
		int one = show(*paths);
		if (one > worst)
			worst = one;
	}
	return worst;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int option;

	/* Not beyond the first word: what follows may be the options of the program to run. */
	while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("sockguard " PACKAGE_VERSION);
			return 0;
		default: /* getopt_long has said what is wrong */
			return EXIT_USAGE;
		}
	}
	argv += optind;
	if (!argv[0])
		misuse("what shall be done?");
	if (strcmp(argv[0], "run") == 0)
		return run(argv + 1 + (argv[1] && strcmp(argv[1], "--") == 0));
	if (strcmp(argv[0], "status") == 0)
		return status(argv + 1);
	misuse("no such command");
}
