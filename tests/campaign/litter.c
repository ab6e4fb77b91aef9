#include "litter.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "referee.h"
#include "server.h"

#define SUFFIX "sockguard"

struct litter {
	int paths;   /* names that are left of the paths themselves */
	int sockets; /* a server's own names, left as it was killed: no guard could know */
	int locks;   /* the lock files beside those, or of such names that are gone */
};

struct name {
	char path[GROUND_PATH];
	uid_t uid; /* whose servers start there */
};

/* The socket's name, of a lock file of any form: .p1.sockguard, .p1.3.sockguard.Xy12. */
static bool read_name(const char *entry, char *base, size_t size)
{
	const char *lock = strstr(entry, "." SUFFIX);
	const char *begin = entry + (lock && entry[0] == '.');

	snprintf(base, size, "%.*s", lock ? (int)(lock - begin) : (int)size - 1, begin);
	return lock != NULL;
}

static void count_name(struct litter *litter, const char *entry, const char *base, bool lock,
	bool tell)
{
	bool of_a_path = strchr(base, '.') == NULL;

	if (tell || of_a_path)
		referee_say("LITTER: %s", entry);
	if (of_a_path)
		litter->paths++;
	else if (lock)
		litter->locks++;
	else
		litter->sockets++;
}

/* Counts what is there; the first names of servers' own are returned, to be cleaned up. */
static int look_around(struct litter *litter, struct name *names, bool tell)
{
	char where[GROUND_PATH], base[64];
	DIR *directory;
	struct dirent *entry;
	int filled = 0;

	ground_directory(where, storm.directory, ground_of(0));
	directory = opendir(where);
	*litter = (struct litter){0};
	while (directory && (entry = readdir(directory))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		bool lock = read_name(entry->d_name, base, sizeof(base));
		if (base[0] != 'p')
			continue; /* none of ours */
		count_name(litter, entry->d_name, base, lock, tell);
		if (filled == PATHS_MOST)
			continue;
		snprintf(names[filled].path, GROUND_PATH, "%.60s/%.60s", where, base);
		names[filled++].uid = ground_user((int)number_of(base + 1));
	}
	if (directory)
		closedir(directory);
	return filled;
}

static void clean(void (*start_and_stop)(uid_t uid, char **paths), struct name *names, int count)
{
	const uid_t uids[] = {geteuid(), USER};

	for (size_t i = 0; i < sizeof(uids) / sizeof(*uids); i++) {
		char *paths[PATHS_MOST + 1] = {NULL};
		int filled = 0;

		for (int j = 0; j < count; j++)
			if (names[j].uid == uids[i])
				paths[filled++] = names[j].path;
		if (filled > 0)
			start_and_stop(uids[i], paths);
	}
}

int litter_clean_up(void (*start_and_stop)(uid_t uid, char **paths))
{
	enum { ROUNDS = 128 };
	struct name names[PATHS_MOST] = {{.uid = 0}};
	struct litter first, last;
	int count = 0;

	for (int i = 0; i < storm.paths; i++) {
		if (ground_of(i) > SHARED)
			continue; /* whatever the neighbour made of it, it is his */
		snprintf(names[count].path, GROUND_PATH, "%s", referee_path(i));
		names[count++].uid = ground_user(i);
	}
	clean(start_and_stop, names, count);
	count = look_around(&first, names, false);
	last = first;
	for (int i = 0; i < ROUNDS && count > 0; i++) {
		clean(start_and_stop, names, count);
		count = look_around(&last, names, i + 1 == ROUNDS);
	}
	printf("killed servers left %d names of their own and %d lock files: %s\n", first.sockets,
		first.locks, count ? "some stayed" : "gone after one start and stop of each");
	return first.paths + last.paths + last.sockets + last.locks;
}
