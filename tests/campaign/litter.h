/*
 * litter: what is left in the storm's directory when everybody is dead.
 *
 * Every path is started and stopped once more: then nothing of it may be left. The names that
 * killed servers had on their way to a path are theirs, and no guard could know of them; each of
 * those has to be gone after a start and stop of its own.
 */
#ifndef LITTER_H
#define LITTER_H

#include <sys/types.h>

/* start_and_stop has each of the paths started and stopped, in vain or not, by that user. */
int litter_clean_up(void (*start_and_stop)(uid_t uid, char **paths));

#endif
