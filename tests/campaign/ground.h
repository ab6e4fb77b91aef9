/*
 * ground: the directories of the storm's socket paths, and the users whose servers start there.
 *
 * Without a hostile neighbour, all paths are in the storm's one directory, and all servers run as
 * the user who started the storm. With a neighbour, the paths are in grounds, directories below it:
 *
 *   shared  of root, sticky, world-writable: one path of root's servers and one of a user's
 *   home    of the neighbour; root has a server in it
 *   moving  the same, and the neighbour keeps renaming the directory itself
 *
 * In its own directories, the neighbour may unlink every path, even that of a live socket. So
 * thefts there are counted separately. In the directory that moves, a path may lead to something
 * else at each lookup, so only crashes and long waits count there.
 */
#ifndef GROUND_H
#define GROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define GROUND_PATH 128

#define GROUND_PATHS 4 /* with a neighbour */

/* User IDs that no account has. */
#define USER      61001
#define NEIGHBOUR 61002

enum ground { PLAIN, SHARED, HOME, MOVING, GROUNDS };

/* Call this first: it sets whether there is a neighbour. */
void ground_set_hostile(bool hostile);

/* The ground of path number n, and the user whose servers start there. */
enum ground ground_of(int number);
uid_t ground_user(int number);

/* The ground of a socket path, or of a file beside one. */
enum ground ground_of_path(const char *path);

/* The directory of a ground below the storm's, and the socket path with that number in it. */
void ground_directory(char *directory, const char *storm, enum ground ground);
void ground_path(char *path, const char *storm, int number);

/* Creates the directories for the paths in use. Returns false on failure. */
bool ground_create_directories(const char *storm);
void ground_remove_directories(const char *storm);

/* Returns whether the file that only root may read or write is unchanged. */
bool ground_secret_is_unchanged(const char *storm);

#endif
