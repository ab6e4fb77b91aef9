/*
 * shared: which lock file is used in a directory where other users may create names, such as /tmp.
 *
 * Another user may create a file at the lock file's name. We can neither use nor remove that file.
 * Our lock file then has an alternate name: the plain name, a dot and twelve random hexadecimal
 * digits. Processes find it by listing the directory and comparing the files' uids. So only our own
 * user and root can hold its mutex.
 *
 * The plain name remains a candidate, because the other user may remove the file at any time. A
 * process that has locked one candidate lists the directory again, and goes on only if there is no
 * other candidate. tests/model/shared.pml is this protocol.
 *
 * All functions are async-signal-safe and leave errno alone.
 */
#ifndef SHARED_H
#define SHARED_H

#include <stdbool.h>

#include "inode.h"

#define SHARED_EXTRA 13 /* bytes by which an alternate name is longer than the plain one */

/* Whether tail is what follows the plain name in an alternate one: a dot and twelve digits. */
bool shared_is_alternate_suffix(const char *tail);

/*
 * Looks for a file that `accepts` accepts and that is not `except` (may be NULL), at the plain name
 * first. path holds a plain or alternate name, `length` is the length of the plain one, and the
 * buffer must have space for SHARED_EXTRA more bytes. Sets path to the name that was found, or
 * else to the plain name. Returns SHARED_UNREADABLE if the directory cannot be listed.
 */
enum shared { SHARED_FOUND, SHARED_NONE, SHARED_UNREADABLE };
enum shared shared_find(int dirfd, char *path, size_t length,
	bool (*accepts)(const struct kernel_file *), const struct file_id *except);

/* Sets path to a new random alternate of the plain name. The buffer is as for shared_find. */
void shared_make_alternate(char *path, size_t length);

#endif
