/*
 * shared: which lock file counts in a directory where strangers may create names, /tmp for one.
 *
 * A stranger may put a file of his own at the lock file's name, and we can neither use nor remove
 * it. Then ours has an alternate name: the plain one, a dot and twelve random hexadecimal digits.
 * Processes find it by listing the directory, and tell it from a stranger's by its owner. So nobody
 * but our own user (and root) can keep its mutex.
 *
 * The plain name is a candidate like any other, for a stranger may remove his file at any time.
 * Whoever has locked one lists once more, and goes on only while there is no other: see
 * tests/model/shared.pml.
 *
 * Async-signal-safe; leaves errno alone.
 */
#ifndef SHARED_H
#define SHARED_H

#include <stdbool.h>

#include "inode.h"

#define SHARED_LONGER 13 /* bytes of an alternate beyond the plain name */

/* Is this what an alternate name has beyond the plain one? */
bool shared_is_alternate(const char *tail);

/*
 * Finds a lock file that counts, other than `except` (which may be NULL), the plain one first. The
 * path is one of either kind, with space for an alternate, and `length` that of the plain one. If
 * one is found its name is in path; otherwise path is the plain one.
 */
enum shared { SHARED_FOUND, SHARED_NONE, SHARED_UNREADABLE };
enum shared shared_find(int dirfd, char *path, size_t length,
	bool (*counts)(const struct kernel_file *), const struct file_id *except);

/* Makes path a fresh alternate of the plain name. */
void shared_alternate(char *path, size_t length);

#endif
