#include "ground.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool hostile;

void ground_set_hostile(bool is_hostile)
{
	hostile = is_hostile;
}

enum ground ground_of(int number)
{
	static const enum ground grounds[GROUND_PATHS] = {SHARED, SHARED, HOME, MOVING};

	return hostile ? grounds[number % GROUND_PATHS] : PLAIN;
}

enum ground ground_of_path(const char *path)
{
	const char *base = strrchr(path, '/');

	return base && base[1] == 'p' ? ground_of((int)strtol(base + 2, NULL, 10)) : PLAIN;
}

uid_t ground_user(int number)
{
	if (!hostile)
		return geteuid();
	return number % GROUND_PATHS == 1 ? USER : 0;
}

void ground_directory(char *directory, const char *storm, enum ground ground)
{
	static const char *const names[] = {"", "/shared", "/home/own", "/home/moving"};

	snprintf(directory, GROUND_PATH, "%s%s", storm, names[ground]);
}

void ground_path(char *path, const char *storm, int number)
{
	char directory[GROUND_PATH];

	ground_directory(directory, storm, ground_of(number));
	snprintf(path, GROUND_PATH, "%.100s/p%d", directory, number);
}

/* ---- files other than the socket paths ---- */

static const char secret[] = "only root may read or write this";

static void path_in_storm(char *path, const char *storm, const char *rest)
{
	snprintf(path, GROUND_PATH, "%.90s/%s", storm, rest);
}

static bool create_directory(const char *storm, const char *rest, uid_t uid, mode_t mode)
{
	char path[GROUND_PATH];

	path_in_storm(path, storm, rest);
	return mkdir(path, 0700) == 0 && chown(path, uid, (gid_t)uid) == 0 &&
	       chmod(path, mode) == 0;
}

static bool create_secret_file(const char *storm)
{
	char path[GROUND_PATH];
	bool written;
	int fd;

	path_in_storm(path, storm, "secret/file");
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	written = fd >= 0 && write(fd, secret, sizeof(secret)) == sizeof(secret);
	close(fd);
	return written;
}

bool ground_create_directories(const char *storm)
{
	return chmod(storm, 0755) == 0 && create_directory(storm, "shared", 0, 01777) &&
	       create_directory(storm, "home", NEIGHBOUR, 0755) &&
	       create_directory(storm, "home/own", NEIGHBOUR, 0755) &&
	       create_directory(storm, "home/moving", NEIGHBOUR, 0755) &&
	       create_directory(storm, "home/away", NEIGHBOUR, 0755) &&
	       create_directory(storm, "secret", 0, 0700) && create_secret_file(storm);
}

bool ground_secret_is_unchanged(const char *storm)
{
	char path[GROUND_PATH];
	char content[sizeof(secret) + 1] = {0};
	struct stat found;
	bool unchanged;
	int fd;

	path_in_storm(path, storm, "secret/file");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	unchanged = fd >= 0 && fstat(fd, &found) == 0 && found.st_uid == 0 &&
		    (found.st_mode & 07777) == 0600 && found.st_nlink == 1 &&
		    read(fd, content, sizeof(content)) == sizeof(secret) &&
		    memcmp(content, secret, sizeof(secret)) == 0;
	close(fd);
	return unchanged;
}

void ground_remove_directories(const char *storm)
{
	static const char *const names[] = {
		"secret/file", "secret", "shared", "home/own", "home/moving", "home/away", "home"};
	char path[GROUND_PATH];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		path_in_storm(path, storm, names[i]);
		remove(path);
	}
}
