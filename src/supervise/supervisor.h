/*
 * supervisor: answers the stopped calls of a program and of all that it starts.
 *
 * Two processes. The keeper holds a second reference to the listener, so that no call fails when
 * the watcher, which does the work, is killed; it replaces that. Both hold nothing of the program's
 * and are gone with the last process that is guarded.
 */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

/* Becomes the supervisor, of what a listener tells. Returns when there is nobody left to guard. */
void supervisor_run(int listener);

/* Leaves the program's session, descriptors and directory behind, but for one descriptor. */
int supervisor_detach(int kept);

#endif
