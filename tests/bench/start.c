/*
 * start: runs a program many times, one run after the other, and prints how long that took.
 *
 * It reads lines "COUNT LD_PRELOAD PROGRAM ARG..." ("-" for no library). For each line, it prints
 * three sums over all COUNT runs: the elapsed time in nanoseconds, the program's processor time in
 * nanoseconds, and its page faults. The programs get this process's environment, with LD_PRELOAD
 * added, and /dev/null for input and output.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum { WORDS = 32 };

static posix_spawn_file_actions_t silent;

static void run_once(char **argv)
{
	pid_t child;
	int status;

	errno = posix_spawn(&child, argv[0], &silent, NULL, argv, environ);
	if (errno != 0 || waitpid(child, &status, 0) != child)
		err(1, "%s", argv[0]);
	if (status != 0)
		errx(1, "%s ended with wait status %d", argv[0], status);
}

static long long nanoseconds(struct timeval time)
{
	return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

static void run(int count, const char *library, char **argv)
{
	struct rusage before, after;
	long long began;
	long long took;

	if (strcmp(library, "-") == 0)
		unsetenv("LD_PRELOAD");
	else
		setenv("LD_PRELOAD", library, 1);
	getrusage(RUSAGE_CHILDREN, &before);
	began = now();
	for (int i = 0; i < count; i++)
		run_once(argv);
	took = now() - began;
	getrusage(RUSAGE_CHILDREN, &after);
	printf("%lld %lld %ld\n", took,
		nanoseconds(after.ru_utime) - nanoseconds(before.ru_utime) +
			nanoseconds(after.ru_stime) - nanoseconds(before.ru_stime),
		after.ru_minflt - before.ru_minflt);
	fflush(stdout);
}

static void answer(char *line)
{
	char *words[WORDS + 1] = {NULL};
	int count = 0;

	for (char *word = strtok(line, " \n"); word && count < WORDS; word = strtok(NULL, " \n"))
		words[count++] = word;
	if (count < 3)
		errx(2, "each line must be COUNT LD_PRELOAD PROGRAM ARG...");
	run(read_count(words[0], 1, 1 << 20), words[1], words + 2);
}

int main(void)
{
	char line[4096];

	posix_spawn_file_actions_init(&silent);
	posix_spawn_file_actions_addopen(&silent, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&silent, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&silent, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	while (fgets(line, sizeof(line), stdin))
		answer(line);
	return 0;
}
