/*
 * neighbour: what another user can do to the lock files beside the sockets of a directory that he
 * may write to, as often and as fast as he likes.
 *
 * He plants empty and full files, FIFOs, sockets, directories, links and symlinks at their names,
 * and at those of their alternates; takes write leases and every kind of lock; forges records;
 * exchanges what is there, and takes it away again. In his own directory he does so with root's
 * lock files too, and moves the directory itself about. A socket's own name he leaves alone: there
 * he would be a rival, or in his own directory the thief.
 *
 * He is unguarded, and not observed.
 */
#ifndef NEIGHBOUR_H
#define NEIGHBOUR_H

#include "ground.h"

/* As root: becomes the neighbour, unless he is to stay root, and plagues the ground until killed.
 */
_Noreturn void neighbour_live(enum ground ground, bool stay_root);

/* When he is dead: removes what he left in a directory; or all that is there but directories. */
void neighbour_evict(const char *directory, bool all);

#endif
