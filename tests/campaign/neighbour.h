/*
 * neighbour: a process of another user that attacks the lock files beside sockets in every way that
 * the permissions of the directory allow, as often and as fast as it can.
 *
 * It plants empty and full files, FIFOs, sockets, directories, links and symlinks at the names of
 * lock files and of their alternates; acquires write leases and every kind of lock; forges records;
 * exchanges files, and unlinks them again. In its own directories it also does so to root's lock
 * files, and renames a directory itself. It does not change socket paths: in the shared directory
 * that would make it a rival, and in its own directories the guard need not prevent the theft.
 *
 * It is unguarded, and the referee does not watch its calls.
 */
#ifndef NEIGHBOUR_H
#define NEIGHBOUR_H

#include "ground.h"

/* Called as root: changes to the neighbour's user ID, unless stay_root, and disturbs the ground
 * until it is killed. */
_Noreturn void neighbour_run(enum ground ground, bool stay_root);

/* After it has ended: removes its files from a directory; with `all`, every file but directories
 * that are not empty. */
void neighbour_remove_files(const char *directory, bool all);

#endif
