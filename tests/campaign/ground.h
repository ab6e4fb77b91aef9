/*
 * ground: where the paths of the storm lie, and whose servers start there.
 *
 * Without a hostile neighbour all lie in the storm's one directory, and all servers are the user's
 * who started it. With one there are grounds, directories below it:
 *
 *   shared  root's, sticky, writable by everybody: a path of root's servers and one of a user's
 *   home    the neighbour's own directory, in which root has a server
 *   moving  the same, and the neighbour moves the directory itself about
 *
 * In his own directory the neighbour may take every name away himself, a live socket's too. So a
 * theft there is counted apart, and where the directory moves, names mean nothing from one look to
 * the next: there only crashes and waits are judged.
 */
#ifndef GROUND_H
#define GROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define GROUND_PATH 128

#define GROUND_PATHS 4 /* with a neighbour */

/* Users that nobody has. */
#define USER      61001
#define NEIGHBOUR 61002

enum ground { PLAIN, SHARED, HOME, MOVING, GROUNDS };

/* Of path number n. Before it, ground_use says whether there is a neighbour. */
void ground_use(bool hostile);
enum ground ground_of(int number);
uid_t ground_user(int number);

/* Of a path or a name beside one. */
enum ground ground_at(const char *path);

/* The directory of a ground below the storm's, and of a path in it. */
void ground_directory(char *directory, const char *storm, enum ground ground);
void ground_path(char *path, const char *storm, int number);

/* Makes the directories, for as many paths as there are. Returns false where that fails. */
bool ground_make(const char *storm);
void ground_remove(const char *storm);

/* Has nothing that nobody but root may see or change come to harm? */
bool ground_secret_is_whole(const char *storm);

#endif
