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
	int paths;   /* files of socket paths */
	int sockets; /* temporary names of killed servers, of which the guard cannot know */
	int locks;   /* lock files of temporary names, with or without the socket */
};

struct socket_path {
	char path[GROUND_PATH];
	uid_t uid; /* the user whose servers start there */
};

/*
 * Sets `base` to the name of the socket that the entry is, or is the lock file of. Returns whether
 * it is a lock file, such as .p1.sockguard or .p1.3.sockguard.Xy12.
 */
static bool parse_entry(const char *entry, char *base, size_t size)
{
	const char *suffix = strstr(entry, "." SUFFIX);
	const char *begin = entry + (suffix && entry[0] == '.');

	snprintf(base, size, "%.*s", suffix ? (int)(suffix - begin) : (int)size - 1, begin);
	return suffix != NULL;
}

static void count_file(struct litter *litter, const char *entry, const char *base, bool lock,
	bool report)
{
	bool is_path = strchr(base, '.') == NULL; /* otherwise it is a temporary name */

	if (report || is_path)
		referee_report("LITTER: %s", entry);
	if (is_path)
		litter->paths++;
	else if (lock)
		litter->locks++;
	else
		litter->sockets++;
}

/* Counts the files. Fills in the socket paths of the first MAX_PATHS; returns how many these are.
 */
static int scan_directory(struct litter *litter, struct socket_path *found, bool report)
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
		bool lock = parse_entry(entry->d_name, base, sizeof(base));
		if (base[0] != 'p')
			continue; /* not from the storm */
		count_file(litter, entry->d_name, base, lock, report);
		if (filled == MAX_PATHS)
			continue;
		snprintf(found[filled].path, GROUND_PATH, "%.60s/%.60s", where, base);
		found[filled++].uid = ground_user((int)number_of(base + 1));
	}
	if (directory)
		closedir(directory);
	return filled;
}

static void start_and_stop_all(void (*start_and_stop)(uid_t uid, char **paths),
	struct socket_path *socket_paths, int count)
{
	const uid_t uids[] = {geteuid(), USER};

	for (size_t i = 0; i < sizeof(uids) / sizeof(*uids); i++) {
		char *paths[MAX_PATHS + 1] = {NULL};
		int filled = 0;

		for (int j = 0; j < count; j++)
			if (socket_paths[j].uid == uids[i])
				paths[filled++] = socket_paths[j].path;
		if (filled > 0)
			start_and_stop(uids[i], paths);
	}
}

int litter_clean_up(void (*start_and_stop)(uid_t uid, char **paths))
{
	enum { ROUNDS = 128 };
	struct socket_path found[MAX_PATHS] = {{.uid = 0}};
	struct litter first, last;
	unsigned long alarms = atomic_load(&referee_counts()->alarms);
	int count = 0;

	for (int i = 0; i < storm.paths; i++) {
		if (ground_of(i) > SHARED)
			continue; /* the neighbour may have replaced it with its own file */
		snprintf(found[count].path, GROUND_PATH, "%s", referee_path(i));
		found[count++].uid = ground_user(i);
	}
	start_and_stop_all(start_and_stop, found, count);
	count = scan_directory(&first, found, false);
	last = first;
	/* After a false alarm, each round might wait for a mutex that no process releases. */
	for (int i = 0; i < ROUNDS && count > 0 && atomic_load(&referee_counts()->alarms) == alarms;
		i++) {
		start_and_stop_all(start_and_stop, found, count);
		count = scan_directory(&last, found, i + 1 == ROUNDS);
	}
	printf("killed servers left %d temporary names and %d lock files: %s\n", first.sockets,
		first.locks, count ? "some remain" : "gone after one start and stop at each name");
	return first.paths + last.paths + last.sockets + last.locks;
}
