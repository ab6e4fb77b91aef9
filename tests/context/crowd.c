/*
 * crowd DIRECTORY own|shared ROUNDS [THREADS]: threads, sixteen by default, bind, rename, link,
 * unlink and close, each for ROUNDS rounds. own: each thread uses its own paths, and every call
 * must succeed. shared: all threads use the same few paths. A call may find a path absent or in
 * use, but must not fail in any other way.
 *
 * crowd DIRECTORY rival TIMES: the threads start and stop servers on a few paths, one thread at a
 * time on each path, while another process does the same. A bound path must lead to its owner until
 * the owner removes it; otherwise it was stolen. Prints "met" after it has served TIMES times and
 * found a path in use TIMES times, and goes on until the end of stdin.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { THREADS = 16, MAX_THREADS = 64, PATHS = 4, CHECKS = 5, REPEATS = 10 };

static const char *directory;
static int rounds;
static pthread_mutex_t turns[PATHS];
static atomic_int served, in_use;
static atomic_bool stop;

static void must(bool ok, const char *what, const char *path)
{
	if (!ok)
		die(what, path);
}

static void *use_own_paths(void *number)
{
	char path[PATH_SIZE], away[PATH_SIZE];

	name_path(path, directory, "own", *(int *)number);
	name_path(away, directory, "away", *(int *)number);
	for (int i = 0; i < rounds; i++) {
		const char *failed = run_socket_life(path, away);

		must(!failed, failed, path);
	}
	return NULL;
}

static bool unlink_if_present(const char *path)
{
	return unlink(path) == 0 || errno == ENOENT;
}

static int unlink_first(const char *path, const char *unused)
{
	(void)unused;
	return unlink(path);
}

/*
 * Makes a call again if the guard refused it after more than two seconds: the guard waits three
 * seconds for the mutexes of the paths, and a busy machine may not let it have them in time.
 */
static int repeat_late(int (*call)(const char *, const char *), const char *path, const char *other)
{
	struct timespec before, after;
	int result = -1;

	for (int i = 0; i < REPEATS && result != 0; i++) {
		clock_gettime(CLOCK_MONOTONIC, &before);
		result = call(path, other);
		clock_gettime(CLOCK_MONOTONIC, &after);
		if (errno != EADDRINUSE || after.tv_sec - before.tv_sec < 2)
			break;
	}
	return result;
}

/* Uses the same paths as all other threads, in random order. */
static void *use_shared_paths(void *number)
{
	unsigned int chance = (unsigned int)*(int *)number;
	char path[PATH_SIZE], other[PATH_SIZE];

	for (int i = 0; i < rounds; i++) {
		int fd = new_socket();

		name_path(path, directory, "shared", rand_r(&chance) % PATHS);
		name_path(other, directory, "shared", rand_r(&chance) % PATHS);
		must(bind_to(fd, path) == 0 || errno == EADDRINUSE, "bind", path);
		must(repeat_late(link, path, other) == 0 || errno == ENOENT || errno == EEXIST,
			"link", other);
		must(repeat_late(rename, path, other) == 0 || errno == ENOENT, "rename", other);
		if (i % 2 == 0) /* close before the unlink in one half of the rounds, after it in
				   the other */
			close(fd);
		must(repeat_late(unlink_first, path, NULL) == 0 || errno == ENOENT, "unlink", path);
		if (i % 2 == 1)
			close(fd);
	}
	return NULL;
}

static void serve(int fd, const char *path)
{
	struct stat bound, found;

	must(lstat(path, &bound) == 0 && listen(fd, 1) == 0, "stolen at once", path);
	for (int i = 0; i < CHECKS; i++) {
		usleep(100);
		must(lstat(path, &found) == 0 && found.st_ino == bound.st_ino, "stolen", path);
	}
	int client = new_socket();
	must(connect_to(client, path) == 0, "stolen before a client connected", path);
	int accepted = accept(fd, NULL, NULL);
	must(accepted >= 0 && repeat_late(unlink_first, path, NULL) == 0,
		"stolen before the unlink", path);
	close(accepted);
	close(client);
	atomic_fetch_add(&served, 1);
}

/* Starts and stops servers. */
static void *serve_as_rival(void *number)
{
	unsigned int chance = (unsigned int)*(int *)number;
	char path[PATH_SIZE];

	while (!atomic_load(&stop)) {
		int fd = new_socket();
		int which = rand_r(&chance) % PATHS;

		name_path(path, directory, "rival", which);
		pthread_mutex_lock(&turns[which]);
		must(unlink_if_present(path) || errno == EADDRINUSE, "unlink", path);
		if (bind_to(fd, path) == 0)
			serve(fd, path);
		else if (errno == EADDRINUSE)
			atomic_fetch_add(&in_use, 1);
		else
			die("bind", path);
		pthread_mutex_unlock(&turns[which]);
		close(fd);
	}
	return NULL;
}

static void run_until_end_of_input(void)
{
	char byte;

	while (atomic_load(&served) < rounds || atomic_load(&in_use) < rounds)
		usleep(1000);
	puts("met");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	atomic_store(&stop, true);
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	int numbers[MAX_THREADS];
	int count = argc == 5 ? (int)strtol(argv[4], NULL, 10) : THREADS;
	int before = open_descriptors();

	if (argc < 4 || count > MAX_THREADS)
		return 2;
	directory = argv[1];
	rounds = rounds_of((int)strtol(argv[3], NULL, 10));
	for (int i = 0; i < PATHS; i++)
		pthread_mutex_init(&turns[i], NULL);
	for (int i = 0; i < count; i++) {
		numbers[i] = i;
		errno = pthread_create(&threads[i], NULL,
			!strcmp(argv[2], "own")      ? use_own_paths
			: !strcmp(argv[2], "shared") ? use_shared_paths
						     : serve_as_rival,
			&numbers[i]);
		must(errno == 0, "pthread_create", "");
	}
	if (!strcmp(argv[2], "rival"))
		run_until_end_of_input();
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; !strcmp(argv[2], "shared") && i < PATHS; i++) {
		char path[PATH_SIZE];

		name_path(path, directory, "shared", i);
		must(unlink_if_present(path), "unlink", path);
	}
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", directory);
	return 0;
}
