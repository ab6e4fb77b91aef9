#include "classify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lockfile.h"
#include "notify.h"
#include "target.h"

enum path_kind {
	SOCKET,
	LOCK_FILE,
	OTHER,
	ABSENT,
	UNUSABLE, /* the kernel rejects the path */
	UNKNOWN,  /* only a worker can inspect it */
};

/*
 * /proc/self, /proc/thread-self and /dev/fd lead each process to its own files. Checks every
 * component, because the path may be relative, or contain "//" or "/./".
 */
static bool depends_on_caller(const char *path)
{
	static const char *const names[] = {"self", "thread-self", "fd"};

	for (const char *rest = path; *rest; rest += strspn(rest, "/")) {
		size_t length = strcspn(rest, "/");

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (length == strlen(names[i]) && memcmp(rest, names[i], length) == 0)
				return true;
		rest += length;
	}
	return false;
}

static bool is_lockfile(const char *path)
{
	char socket[PATH_MAX];

	return lockfile_socket_path(path, socket, sizeof(socket));
}

/* Writes a path that leads the supervisor to the same file. Returns false if it is too long. */
static bool path_from_here(pid_t tid, int dirfd, const char *path, char *out, size_t size)
{
	int length;

	if (path[0] == '/')
		length = snprintf(out, size, "%s", path);
	else if (dirfd == AT_FDCWD)
		length = snprintf(out, size, "/proc/%d/cwd/%s", (int)tid, path);
	else
		length = snprintf(out, size, "/proc/%d/fd/%d/%s", (int)tid, dirfd, path);
	return length > 0 && (size_t)length < size;
}

static enum path_kind inspect_path(pid_t tid, int dirfd, const char *path)
{
	char here[PATH_MAX];
	struct stat found;

	if (path[0] == '\0')
		return UNUSABLE;
	if (depends_on_caller(path) || !path_from_here(tid, dirfd, path, here, sizeof(here)))
		return UNKNOWN;
	if (fstatat(AT_FDCWD, here, &found, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISSOCK(found.st_mode))
			return SOCKET;
		return S_ISREG(found.st_mode) && is_lockfile(path) ? LOCK_FILE : OTHER;
	}
	if (errno == ENOENT)
		return ABSENT;
	return errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP ? UNUSABLE : UNKNOWN;
}

/*
 * Obtains the error of a call on an absent path by making the call with a slash appended to the
 * path. The kernel must not execute the caller's own call, because another process may bind a
 * socket at the path just before. With the slash, the kernel returns the same error but cannot
 * remove a socket: see perform_after_failed_lookup in guard.c. *error is 0 if the call succeeded,
 * because a directory that was to be renamed has appeared. Returns false if the caller might get
 * another result: it has other credentials, or the path is relative to a descriptor that it may not
 * have.
 */
static bool try_with_slash(int notify_fd, const struct request *request, const char *newpath,
	int *error)
{
	char here[PATH_MAX], newhere[PATH_MAX];
	long result;

	if ((request->dirfd != AT_FDCWD && request->path[0] != '/') ||
		(newpath && request->newdir != AT_FDCWD && newpath[0] != '/'))
		return false;
	if (is_lockfile(request->path) || !target_has_our_credentials(request->tid) ||
		!path_from_here(request->tid, request->dirfd, request->path, here,
			sizeof(here) - 1) ||
		!notify_is_valid(notify_fd, request->id))
		return false;
	strcat(here, "/");
	if (!newpath)
		result = syscall(SYS_unlinkat, AT_FDCWD, here, 0);
	else if (path_from_here(request->tid, request->newdir, newpath, newhere, sizeof(newhere)))
		result = syscall(SYS_renameat2, AT_FDCWD, here, AT_FDCWD, newhere, request->flags);
	else
		return false;
	*error = result == 0 ? 0 : errno;
	return *error == 0 || *error == ENOENT || *error == EROFS;
}

static enum classification classify_unlink(int notify_fd, const struct request *request, int *error)
{
	switch (inspect_path(request->tid, request->dirfd, request->path)) {
	case OTHER:
	case UNUSABLE:
		return CLASS_PASS;
	case ABSENT:
		return try_with_slash(notify_fd, request, NULL, error) ? CLASS_ANSWER
								       : CLASS_WORKER;
	case SOCKET:
	case LOCK_FILE:
	case UNKNOWN:
		break;
	}
	return CLASS_WORKER;
}

static bool is_other_file(enum path_kind kind)
{
	return kind == OTHER || kind == LOCK_FILE; /* the guard allows renaming a lock file */
}

static enum classification classify_rename(int notify_fd, const struct request *request, int *error)
{
	enum path_kind from = inspect_path(request->tid, request->dirfd, request->path);
	enum path_kind to = inspect_path(request->tid, request->newdir, request->newpath);

	if (from == UNUSABLE || to == UNUSABLE)
		return CLASS_PASS;
	if (!is_other_file(to) && to != ABSENT)
		return CLASS_WORKER;
	if (from == ABSENT)
		return try_with_slash(notify_fd, request, request->newpath, error) ? CLASS_ANSWER
										   : CLASS_WORKER;
	return is_other_file(from) ? CLASS_PASS : CLASS_WORKER;
}

/* AT_EMPTY_PATH and followed symbolic links can lead to a socket that inspect_path does not see. */
static enum classification classify_link(const struct request *request)
{
	enum path_kind from;

	if (request->flags & (AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return CLASS_WORKER;
	from = inspect_path(request->tid, request->dirfd, request->path);
	return from == SOCKET || from == UNKNOWN ? CLASS_WORKER : CLASS_PASS;
}

static bool is_bare_name(const char *path)
{
	return strchr(path, '/') == NULL;
}

/*
 * The root directory matters for absolute paths, and for absolute symbolic links and ".." within
 * relative ones. path_from_here finds a bare name in the caller's own directory, whatever its root.
 */
static bool depends_on_root(const struct request *request)
{
	return !is_bare_name(request->path) ||
	       (request->verb != REQUEST_UNLINK && !is_bare_name(request->newpath));
}

enum classification classify(int notify_fd, const struct request *request, int *error)
{
	if (request->verb == REQUEST_BIND ||
		(depends_on_root(request) && !target_shares_root(request->tid)))
		return CLASS_WORKER;
	switch (request->verb) {
	case REQUEST_UNLINK:
		return classify_unlink(notify_fd, request, error);
	case REQUEST_RENAME:
		return classify_rename(notify_fd, request, error);
	case REQUEST_LINK:
		return classify_link(request);
	case REQUEST_BIND:
		break;
	}
	return CLASS_WORKER;
}
