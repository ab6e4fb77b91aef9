/*
 * held: the descriptors of mutexes that are held right now, and what a fork does about them.
 *
 * A fork copies descriptors. If its parent is killed under a mutex, the child's copy would hold
 * that on for as long as the child lives, so the child closes all that its parent had noted.
 * Between the opening of a descriptor and its note there must be no fork, or the child would know
 * nothing of its copy: forks wait for what is being opened, and an opening waits for the forks
 * under way, but never for one that begins later.
 *
 * Async-signal-safe; leaves errno alone. Signals must be blocked while something is opened or held.
 */
#ifndef HELD_H
#define HELD_H

#include <stdbool.h>

#include "inode.h"

/* Notes a descriptor for the calling thread. False where too many are held at once. */
bool held_note(int fd);

/* Before it is closed: its number may mean another file right after. */
void held_forget(int fd);

/* Does the calling thread hold a descriptor of this file? */
bool held_here(const struct file_id *file);

/*
 * Waits until no fork is under way, and holds new ones off until held_end_opening. That says false
 * where a fork began all the same, because somebody had waited for longer than any fork takes: then
 * what was opened must not be used.
 */
unsigned int held_begin_opening(void);
bool held_end_opening(unsigned int begun);

/* For pthread_atfork(3): in the parent before the fork and after it, and in the child. */
void held_before_fork(void);
void held_after_fork_in_parent(void);
void held_after_fork_in_child(void);

#endif
