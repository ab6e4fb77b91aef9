/*
 * classify: separates the calls that may concern a socket from all others.
 *
 * Nearly all stopped calls concern no socket, and must cost little. The watcher therefore examines
 * the paths itself, with the supervisor's own credentials, and starts no worker for such a call.
 */
#ifndef CLASSIFY_H
#define CLASSIFY_H

#include "request.h"

enum classification {
	CLASS_PASS,   /* concerns no socket: the kernel must execute it */
	CLASS_ANSWER, /* concerns no socket, and fails with *error, or succeeded if that is 0 */
	CLASS_WORKER, /* may concern a socket: a worker must judge and execute it */
};

/*
 * Classifies a call. *error is valid only for CLASS_ANSWER. If the caller is gone
 * (notify_is_valid), the result may be that for a call of another thread, which reuses the caller's
 * ID.
 */
enum classification classify(int notify_fd, const struct request *request, int *error);

#endif
