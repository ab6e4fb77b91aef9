/*
 * crowd DIRECTORY own|shared ROUNDS: sixteen threads that bind, rename, link, unlink and close for
 * so many rounds each. own: each on paths of its own, where every call succeeds. shared: all on the
 * same few, where a call finds a name gone or taken, and nothing else goes wrong.
 *
 * crowd DIRECTORY rival TIMES: one thread at a time on a path, as a server does it, against another
 * process that does the same. A path that was bound leads to its owner until the owner removes it,
 * else the name was stolen. Says "met" when it has served that often, and as often found a path in
 * use; goes on until there is nothing more to read.
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
#include <unistd.h>

#include "common.h"

enum { THREADS = 16, PATHS = 4, LOOKS = 5 };

static const char *directory;
static int rounds;
static pthread_mutex_t turns[PATHS];
static atomic_int served, in_use;
static atomic_bool over;

static void must(bool good, const char *what, const char *path)
{
	if (!good)
		die(what, path);
}

/* On paths of its own. */
static void *live_alone(void *number)
{
	char path[PATH_SIZE], away[PATH_SIZE];

	name_path(path, directory, "own", *(int *)number);
	name_path(away, directory, "away", *(int *)number);
	for (int i = 0; i < rounds; i++) {
		const char *failed = live(path, away);

		must(!failed, failed, path);
	}
	return NULL;
}

static bool unlinked(const char *path)
{
	return unlink(path) == 0 || errno == ENOENT;
}

/* All threads on the same paths, in an order of its own. */
static void *live_together(void *number)
{
	unsigned int chance = (unsigned int)*(int *)number;
	char path[PATH_SIZE], other[PATH_SIZE];

	for (int i = 0; i < rounds; i++) {
		int fd = new_socket();

		name_path(path, directory, "shared", rand_r(&chance) % PATHS);
		name_path(other, directory, "shared", rand_r(&chance) % PATHS);
		must(bind_to(fd, path) == 0 || errno == EADDRINUSE, "bind", path);
		must(link(path, other) == 0 || errno == ENOENT || errno == EEXIST, "link", other);
		must(rename(path, other) == 0 || errno == ENOENT, "rename", other);
		if (i % 2 == 0) /* what is left is unlinked while its socket is closed elsewhere */
			close(fd);
		must(unlinked(path), "unlink", path);
		if (i % 2 == 1)
			close(fd);
	}
	return NULL;
}

static void serve(int fd, const char *path)
{
	struct stat bound, found;

	must(lstat(path, &bound) == 0 && listen(fd, 1) == 0, "stolen at once", path);
	for (int i = 0; i < LOOKS; i++) {
		usleep(100);
		must(lstat(path, &found) == 0 && found.st_ino == bound.st_ino, "stolen", path);
	}
	int client = new_socket();
	must(connect_to(client, path) == 0, "stolen before a client came", path);
	int accepted = accept(fd, NULL, NULL);
	must(accepted >= 0 && unlink(path) == 0, "stolen before the unlink", path);
	close(accepted);
	close(client);
	atomic_fetch_add(&served, 1);
}

/* As a server that starts. */
static void *live_as_rival(void *number)
{
	unsigned int chance = (unsigned int)*(int *)number;
	char path[PATH_SIZE];

	while (!atomic_load(&over)) {
		int fd = new_socket();
		int which = rand_r(&chance) % PATHS;

		name_path(path, directory, "rival", which);
		pthread_mutex_lock(&turns[which]);
		must(unlinked(path) || errno == EADDRINUSE, "unlink", path);
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

static void await_meeting(void)
{
	char byte;

	while (atomic_load(&served) < rounds || atomic_load(&in_use) < rounds)
		usleep(1000);
	puts("met");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	atomic_store(&over, true);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int numbers[THREADS];
	int before = open_descriptors();

	if (argc != 4)
		return 2;
	directory = argv[1];
	rounds = (int)strtol(argv[3], NULL, 10);
	for (int i = 0; i < PATHS; i++)
		pthread_mutex_init(&turns[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		errno = pthread_create(&threads[i], NULL,
			!strcmp(argv[2], "own")      ? live_alone
			: !strcmp(argv[2], "shared") ? live_together
						     : live_as_rival,
			&numbers[i]);
		must(errno == 0, "pthread_create", "");
	}
	if (!strcmp(argv[2], "rival"))
		await_meeting();
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; !strcmp(argv[2], "shared") && i < PATHS; i++) {
		char path[PATH_SIZE];

		name_path(path, directory, "shared", i);
		must(unlinked(path), "unlink", path);
	}
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", directory);
	return 0;
}
