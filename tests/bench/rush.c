/*
 * rush: many processes use one path at once, like servers at their start: unlink, bind, listen.
 *
 *     rush DIRECTORY
 *
 * reads lines "COUNT guard|classic". For each line, it forks COUNT processes, starts them at once
 * and prints three numbers: the nanoseconds until the last of them has succeeded or failed, how
 * many serve, and how many were refused. With "classic", each process first locks a lock file, and
 * gives up if another process has locked it.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum { MAX_PROCESSES = 1024 };

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static char lock[sizeof(address.sun_path) + 8];

static bool may_start(void)
{
	int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	check(fd >= 0, lock);
	return flock(fd, LOCK_EX | LOCK_NB) == 0; /* held until the end */
}

/* Returns true if this process serves now, and false if it was refused. */
static bool start_server(bool classic)
{
	int fd;

	if (classic && !may_start())
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(fd >= 0, "socket");
	if (unlink(address.sun_path) != 0 && errno != ENOENT) {
		check(errno == EADDRINUSE, address.sun_path);
		return false;
	}
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		check(errno == EADDRINUSE, address.sun_path);
		return false;
	}
	check(listen(fd, 8) == 0, "listen");
	return true;
}

/* Waits for the start signal, reports whether it serves, and stays until it is killed. */
static _Noreturn void run_server(bool classic, int go, int reports)
{
	char letter;

	check(write(reports, "r", 1) == 1, "ready");
	(void)!read(go, &letter, 1); /* returns when the other end is closed */
	letter = start_server(classic) ? 'y' : 'n';
	check(write(reports, &letter, 1) == 1, "answer");
	for (;;)
		pause();
}

static int count_letters(int reports, int count, char wanted)
{
	int found = 0;
	char letter;

	for (int i = 0; i < count; i++) {
		check(read(reports, &letter, 1) == 1, "a server");
		found += letter == wanted;
	}
	return found;
}

static void run(int count, bool classic)
{
	pid_t servers[MAX_PROCESSES];
	int go[2], reports[2];
	long long began, took;
	int serving;

	check(pipe2(go, O_CLOEXEC) == 0 && pipe2(reports, O_CLOEXEC) == 0, "pipe");
	for (int i = 0; i < count; i++) {
		servers[i] = fork();
		check(servers[i] >= 0, "fork");
		if (servers[i] == 0) {
			close(go[1]);
			run_server(classic, go[0], reports[1]);
		}
	}
	if (count_letters(reports[0], count, 'r') != count)
		errx(1, "a process was not ready");
	began = now();
	close(go[1]);
	serving = count_letters(reports[0], count, 'y');
	took = now() - began;
	for (int i = 0; i < count; i++)
		kill(servers[i], SIGKILL);
	for (int i = 0; i < count; i++)
		waitpid(servers[i], NULL, 0);
	close(go[0]), close(reports[0]), close(reports[1]);
	unlink(address.sun_path);
	printf("%lld %d %d\n", took, serving, count - serving);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char count[16], how[16];

	if (argc != 2)
		errx(2, "usage: rush DIRECTORY");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/rush", argv[1]);
	snprintf(lock, sizeof(lock), "%s.lock", address.sun_path);
	while (scanf("%15s %15s", count, how) == 2)
		run(read_count(count, 1, MAX_PROCESSES), strcmp(how, "classic") == 0);
	return 0;
}
