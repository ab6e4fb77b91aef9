/*
 * litter: the files left in the storm's directory after all its processes have ended.
 *
 * One more server is started and stopped on each path: then no file of that path may be left. A
 * server that was killed also leaves the temporary names it bound before it renamed or linked them
 * to a path. The guard cannot know of these; each must be gone after a start and stop at that name.
 */
#ifndef LITTER_H
#define LITTER_H

#include <sys/types.h>

/*
 * Returns how many files were left of socket paths, and how many of any kind are left after all
 * those starts. start_and_stop starts and stops a server on each of the paths, as that user.
 */
int litter_clean_up(void (*start_and_stop)(uid_t uid, char **paths));

#endif
