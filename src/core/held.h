/*
 * held: the descriptors of the mutexes that this process holds, and what happens to them in a fork.
 *
 * A forked child inherits copies of all descriptors. If its parent is killed while it holds a
 * mutex, the child's copy would keep the mutex locked. So the child closes every descriptor that
 * its parent had registered here. For that, no fork may happen between the opening of a descriptor
 * and its registration: a fork waits for openings that have begun, and an opening waits for forks
 * that have begun, but not for one that begins later.
 *
 * A thread that is inside fork itself waits for nothing. It may make a call there: a signal handler
 * or another library's handler for pthread_atfork(3) runs, in the parent or in the child. Its own
 * fork continues only after that call, so its child has no copy of the descriptor. Other threads'
 * forks, in turn, may wait for its fork (for a lock in libc), and in the child they do not exist.
 * If another thread forks just then nevertheless, its child may have an unregistered copy. That
 * matters only if the process is killed within this very call.
 *
 * All functions are async-signal-safe and leave errno alone. Signals must be blocked while a
 * descriptor is being opened or a mutex is held.
 */
#ifndef HELD_H
#define HELD_H

#include <stdbool.h>

#include "inode.h"

/* Registers a descriptor for the calling thread. False if too many are registered already. */
bool held_register(int fd);

/* Call it before closing the descriptor: another thread may reuse the number right afterwards. */
void held_unregister(int fd);

/* Whether the calling thread has registered a descriptor of this file. */
bool held_by_this_thread(const struct file_id *file);

/*
 * Encloses the opening and the registration of a descriptor. held_begin_opening waits until no fork
 * is under way, and delays new ones. It returns false if a fork did not end within 30 seconds: then
 * the caller must not open the descriptor. held_end_opening takes the value that held_begin_opening
 * stored. It returns false if a fork happened nevertheless, because it gave up waiting after 30
 * seconds, or if one may have: then the caller must close the descriptor.
 */
bool held_begin_opening(unsigned int *begun);
bool held_end_opening(unsigned int begun);

/*
 * The handlers for pthread_atfork(3). A thread may fork again inside fork, in a signal handler.
 */
void held_before_fork(void);
void held_after_fork_in_parent(void);
void held_after_fork_in_child(void);

#endif
