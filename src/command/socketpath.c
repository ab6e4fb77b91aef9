#include "socketpath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "judge.h"
#include "liveness.h"
#include "lockfile.h"

static void inspect_lockfile(struct socketpath *socketpath)
{
	struct lockfile lock;
	struct kernel_file found;

	lockfile_init(&lock, AT_FDCWD, socketpath->path);
	if (!lockfile_open_readonly(&lock)) {
		if (lock.path[0] != '\0' && (inode_stat(AT_FDCWD, lock.path, &found) == 0 ||
						    (errno != ENOENT && errno != ENOTDIR)))
			socketpath->lock = LOCK_UNKNOWN;
		return;
	}
	socketpath->lock = lockfile_is_claimed(&lock)     ? LOCK_CLAIMED
			   : lockfile_is_unclaimed(&lock) ? LOCK_IDLE
							  : LOCK_UNKNOWN;
	/* An idle lock file was left by a crash, so its record names no owner any more. */
	socketpath->recorded = socketpath->lock == LOCK_CLAIMED &&
			       lockfile_read_record(&lock, &socketpath->record);
	lockfile_release(&lock);
}

/* Ignores the record if it is that of an earlier socket at the same path. */
static void compare_record(struct socketpath *socketpath)
{
	if (socketpath->bound && socketpath->record.socket != 0 &&
		(uint32_t)socketpath->record.socket != socketpath->bound->number)
		socketpath->recorded = false;
}

/* Whether nothing shows that the socket belongs to another network namespace. */
static bool is_stale_everywhere(const char *path)
{
	struct location location = location_of(AT_FDCWD, path);
	struct lockfile lock;
	bool stale;

	lockfile_init(&lock, AT_FDCWD, path);
	lockfile_open_readonly(&lock);
	stale = judge_is_stale(&location, &lock);
	lockfile_release(&lock);
	return stale;
}

static enum state state_of_pinned(const struct pin *pin, const char *path)
{
	switch (liveness_of(pin, AT_FDCWD, path)) {
	case LIVENESS_LIVE:
		return STATE_LIVE;
	case LIVENESS_STALE:
		return STATE_STALE;
	case LIVENESS_STALE_HERE:
		return is_stale_everywhere(path) ? STATE_STALE : STATE_LIVE;
	case LIVENESS_UNKNOWN:
		break;
	}
	return STATE_UNKNOWN;
}

/* ---- a socket, and the path that leads to it ---- */

/* Whether the path leads to the socket. Sets errno to ENOENT if it does not. */
static bool leads_to(const char *path, const struct bound *bound)
{
	struct pin pin;
	bool leads;

	if (inode_pin(AT_FDCWD, path, &pin) != 0)
		return false;
	leads = sockets_is_bound_to(bound, &pin);
	inode_unpin(&pin);
	errno = ENOENT;
	return leads;
}

static pid_t holder_of(const struct snapshot *snapshot, const struct bound *bound)
{
	size_t count;
	const struct holding *holding = holders_of(&snapshot->holders, bound->number, &count);

	return count > 0 ? holding->pid : 0;
}

/*
 * Removes the mark that the kernel appends to the path of a removed directory, which is no part of
 * the path. A directory may also have such a name: then the path leads to the directory.
 */
static void remove_deleted_mark(const char *link, char *directory)
{
	static const char mark[] = " (deleted)";
	size_t length = strlen(directory);
	struct stat real, named;

	if (length < sizeof(mark) || strcmp(directory + length - (sizeof(mark) - 1), mark) != 0)
		return;
	if (stat(link, &real) == 0 && stat(directory, &named) == 0 && real.st_dev == named.st_dev &&
		real.st_ino == named.st_ino)
		return;
	directory[length - (sizeof(mark) - 1)] = '\0';
}

/* The working directory of a process. The caller frees it. NULL: no permission, or no process. */
static char *directory_of(pid_t pid)
{
	char directory[PATH_MAX];
	char *link = command_format("/proc/%d/cwd", (int)pid);
	ssize_t length = readlink(link, directory, sizeof(directory) - 1);

	if (length >= 0) {
		directory[length] = '\0';
		remove_deleted_mark(link, directory);
	}
	free(link);
	return length < 0 ? NULL : command_copy(directory);
}

/* The absolute path as the holder sees it. A relative path starts at the holder's directory. */
static char *absolute(const struct bound *bound, pid_t holder)
{
	char *directory = bound->name[0] == '/' || holder == 0 ? NULL : directory_of(holder);
	char *path = directory ? command_format("%s/%s", directory, bound->name)
			       : command_copy(bound->name);

	free(directory);
	return path;
}

static bool is_denied(void)
{
	return errno != ENOENT && errno != ENOTDIR && errno != ENOTSOCK && errno != ELOOP;
}

/*
 * Returns the path that a renamed socket has now, or NULL. The kernel still reports the path that
 * the socket was bound to. Looks only in that directory, where a renamed socket usually is. The
 * caller frees the result.
 */
static char *new_path(struct directories *directories, const struct bound *bound, const char *path)
{
	char *directory = command_format("%.*s", (int)inode_directory_length(path), path);
	size_t count = 0;
	const struct directory_entry *entries =
		directory[0] == '/' ? directories_find(directories, directory, bound->ino, &count)
				    : NULL;
	char *found = NULL;

	for (size_t i = 0; i < count && !found; i++) {
		found = command_format("%s%s", directory, entries[i].name);
		if (leads_to(found, bound))
			break;
		free(found);
		found = NULL;
	}
	free(directory);
	return found;
}

/* Looks the path up in our mount namespace, then in the holder's. */
static enum state state_of_path(const struct bound *bound, const char *path, pid_t holder)
{
	char *inside;
	bool leads, denied;

	if (path[0] == '/' && leads_to(path, bound))
		return STATE_LIVE;
	if (holder == 0)
		return STATE_UNKNOWN; /* it may be in another mount namespace */
	denied = is_denied();
	inside = command_format("/proc/%d/root%s", (int)holder, path);
	leads = leads_to(inside, bound);
	denied = denied || is_denied();
	free(inside);
	return leads ? STATE_LIVE : denied ? STATE_UNKNOWN : STATE_LOST;
}

void socketpath_inspect_bound(struct socketpath *socketpath, const struct bound *bound,
	struct snapshot *snapshot)
{
	pid_t holder = holder_of(snapshot, bound);
	char *renamed;

	*socketpath = (struct socketpath){.path = absolute(bound, holder), .bound = bound};
	socketpath->state = state_of_path(bound, socketpath->path, holder);
	renamed = socketpath->state == STATE_LIVE
			  ? NULL
			  : new_path(&snapshot->directories, bound, socketpath->path);
	if (renamed) {
		free(socketpath->path);
		socketpath->path = renamed;
		socketpath->state = STATE_LIVE;
	}
	inspect_lockfile(socketpath);
	compare_record(socketpath);
}

/* ---- the paths that sockets were bound to ---- */

/* Removes double slashes and single dots from an absolute path. */
static void normalize(char *path)
{
	char *to = path;

	for (const char *at = path; *at != '\0';) {
		size_t length = 1 + strcspn(at + 1, "/");

		if (length > 1 && !(length == 2 && at[1] == '.')) {
			memmove(to, at, length);
			to += length;
		}
		at += length;
	}
	*to = '\0';
}

static int by_path(const void *a, const void *b)
{
	const struct bound_path *left = a, *right = b;
	int order = strcmp(left->path, right->path);

	if (order != 0)
		return order;
	return (left->bound->number > right->bound->number) -
	       (left->bound->number < right->bound->number);
}

void snapshot_load(struct snapshot *snapshot)
{
	*snapshot = (struct snapshot){0};
	sockets_load(&snapshot->sockets);
	holders_load(&snapshot->holders, &snapshot->sockets);
	snapshot->paths = command_allocate(snapshot->sockets.count * sizeof(*snapshot->paths));
	for (size_t i = 0; i < snapshot->sockets.count; i++) {
		const struct bound *bound = &snapshot->sockets.list[i];
		struct bound_path *path = &snapshot->paths[snapshot->count];

		if (!sockets_accepts_peers(bound))
			continue;
		*path = (struct bound_path){absolute(bound, holder_of(snapshot, bound)), bound};
		if (path->path[0] == '/')
			normalize(path->path);
		snapshot->count++;
	}
	if (snapshot->count > 0)
		qsort(snapshot->paths, snapshot->count, sizeof(*snapshot->paths), by_path);
}

void snapshot_free(struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->count; i++)
		free(snapshot->paths[i].path);
	free(snapshot->paths);
	directories_free(&snapshot->directories);
	holders_free(&snapshot->holders);
	sockets_free(&snapshot->sockets);
}

/* The index of the first path that is not less than this one; snapshot->count if there is none. */
static size_t first_at(const struct snapshot *snapshot, const char *path)
{
	size_t low = 0, high = snapshot->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(snapshot->paths[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Returns the socket with index `nth` among those that were bound to a path, which may be relative.
 * NULL: there are no more.
 */
static const struct bound *bound_at(const struct snapshot *snapshot, const char *path, size_t nth)
{
	char directory[PATH_MAX];
	const struct bound *bound = NULL;
	char *whole;
	size_t at;

	if (path[0] == '/')
		whole = command_copy(path);
	else if (getcwd(directory, sizeof(directory)))
		whole = command_format("%s/%s", directory, path);
	else
		return NULL;
	normalize(whole);
	at = first_at(snapshot, whole) + nth;
	if (at < snapshot->count && strcmp(snapshot->paths[at].path, whole) == 0)
		bound = snapshot->paths[at].bound;
	free(whole);
	return bound;
}

bool socketpath_inspect_lost(struct socketpath *lost, const struct socketpath *socketpath,
	struct snapshot *snapshot, size_t *next)
{
	const struct bound *bound;

	while ((bound = bound_at(snapshot, socketpath->path, (*next)++))) {
		if (bound == socketpath->bound)
			continue;
		socketpath_inspect_bound(lost, bound, snapshot);
		if (lost->state == STATE_LOST) {
			free(lost->path); /* in the form given on the command line */
			lost->path = command_copy(socketpath->path);
			return true;
		}
		socketpath_free(lost);
	}
	return false;
}

/* ---- a path ---- */

/* Returns a socket that was bound to this path and that no known path leads to now; or NULL. */
static const struct bound *former_socket(const char *path, struct snapshot *snapshot)
{
	const struct bound *bound;
	struct socketpath socketpath;
	bool live = true;

	for (size_t i = 0; live && (bound = bound_at(snapshot, path, i)); i++) {
		socketpath_inspect_bound(&socketpath, bound, snapshot);
		live = socketpath.state == STATE_LIVE;
		socketpath_free(&socketpath);
	}
	return bound;
}

/* For a path that leads to no socket, or cannot be looked up: errno is that of inode_pin. */
static void inspect_without_socket(struct socketpath *socketpath, struct snapshot *snapshot)
{
	if (errno == ENOTSOCK) {
		socketpath->state = STATE_NO_SOCKET;
		return;
	}
	if (errno != ENOENT && errno != ENOTDIR) {
		socketpath->state = STATE_UNKNOWN;
		return;
	}
	socketpath->bound = former_socket(socketpath->path, snapshot);
	socketpath->state = socketpath->lock == LOCK_CLAIMED ? STATE_CLAIMED
			    : socketpath->bound              ? STATE_LOST
							     : STATE_ABSENT;
}

void socketpath_inspect(struct socketpath *socketpath, const char *path, struct snapshot *snapshot)
{
	struct pin pin;

	*socketpath = (struct socketpath){.path = command_copy(path)};
	inspect_lockfile(socketpath);
	if (inode_pin(AT_FDCWD, path, &pin) != 0) {
		inspect_without_socket(socketpath, snapshot);
	} else {
		socketpath->state = state_of_pinned(&pin, path);
		if (socketpath->state != STATE_STALE)
			socketpath->bound = sockets_find_bound(&snapshot->sockets, &pin);
		inode_unpin(&pin);
	}
	compare_record(socketpath);
}

void socketpath_free(struct socketpath *socketpath)
{
	free(socketpath->path);
	*socketpath = (struct socketpath){0};
}
