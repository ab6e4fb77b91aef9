/*
 * supervisor: answers the stopped calls of a program and all its descendants.
 *
 * It consists of two processes with the notification descriptor. If one is killed, the other
 * replaces it, so that no call fails. The watcher receives the calls. The keeper starts another
 * watcher while one is blocked on a call, and replaces workers that are killed. Neither keeps a
 * file or directory of the program open. Both exit with the last guarded process.
 */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

/*
 * Runs the supervisor for the calls that notify_fd delivers, in the calling process. It exits with
 * the last guarded process, and returns only if it cannot start.
 */
void supervisor_run(int notify_fd);

/*
 * Detaches from the program: leaves its session and working directory, and closes all descriptors
 * but `kept`. Blocks all signals. Returns the new number of `kept`, or -1.
 */
int supervisor_detach(int kept);

#endif
