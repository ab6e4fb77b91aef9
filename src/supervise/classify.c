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
#include "target.h"

enum seen { SOCKET, LOCK_FILE, OTHER, ABSENT, WRONG, NOT_TOLD };

/* Files of /proc and links to them mean to each process another thing. */
static bool means_the_caller(const char *path)
{
	return strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/dev/fd/", 8) == 0;
}

static bool is_lockfile(const char *path)
{
	char socket[PATH_MAX];

	return lockfile_socket(path, socket, sizeof(socket));
}

/* A path as it is from here. False: too long. */
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

static enum seen look(pid_t tid, int dirfd, const char *path)
{
	char here[PATH_MAX];
	struct stat found;

	if (path[0] == '\0')
		return WRONG;
	if (means_the_caller(path) || !path_from_here(tid, dirfd, path, here, sizeof(here)))
		return NOT_TOLD;
	if (fstatat(AT_FDCWD, here, &found, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISSOCK(found.st_mode))
			return SOCKET;
		return S_ISREG(found.st_mode) && is_lockfile(path) ? LOCK_FILE : OTHER;
	}
	if (errno == ENOENT)
		return ABSENT;
	return errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP ? WRONG : NOT_TOLD;
}

/*
 * An absent name may be a socket's by the time the kernel gets to it. Of a name with a slash at its
 * end the kernel says the same, and takes no socket away: see answered_unseen in guard.c. That is
 * for a process of our own rights only, and not where a directory of its own may be missing.
 */
static bool fails_harmlessly(const struct request *request, const char *newpath, int *error)
{
	char here[PATH_MAX], newhere[PATH_MAX];
	long result;

	if ((request->dirfd != AT_FDCWD && request->path[0] != '/') ||
		(newpath && request->newdir != AT_FDCWD && newpath[0] != '/'))
		return false;
	if (is_lockfile(request->path) || !target_is_like_us(request->tid) ||
		!path_from_here(request->tid, request->dirfd, request->path, here,
			sizeof(here) - 1))
		return false;
	strcat(here, "/");
	if (!newpath)
		result = syscall(SYS_unlinkat, AT_FDCWD, here, 0);
	else if (path_from_here(request->tid, request->newdir, newpath, newhere, sizeof(newhere)))
		result = syscall(SYS_renameat2, AT_FDCWD, here, AT_FDCWD, newhere, request->flags);
	else
		return false;
	*error = errno;
	return result != 0 && (errno == ENOENT || errno == EROFS);
}

static enum look look_at_unlink(const struct request *request, int *error)
{
	switch (look(request->tid, request->dirfd, request->path)) {
	case OTHER:
	case WRONG:
		return LOOK_PASS;
	case ABSENT:
		return fails_harmlessly(request, NULL, error) ? LOOK_ANSWER : LOOK_JUDGE;
	case SOCKET:
	case LOCK_FILE:
	case NOT_TOLD:
		break;
	}
	return LOOK_JUDGE;
}

static bool is_other(enum seen seen)
{
	return seen == OTHER || seen == LOCK_FILE; /* which are renamed as they are */
}

static enum look look_at_rename(const struct request *request, int *error)
{
	enum seen from = look(request->tid, request->dirfd, request->path);
	enum seen to = look(request->tid, request->newdir, request->newpath);

	if (from == WRONG || to == WRONG)
		return LOOK_PASS;
	if (!is_other(to) && to != ABSENT)
		return LOOK_JUDGE;
	if (from == ABSENT)
		return fails_harmlessly(request, request->newpath, error) ? LOOK_ANSWER
									  : LOOK_JUDGE;
	return is_other(from) ? LOOK_PASS : LOOK_JUDGE;
}

/* A path of no name, and a link that is followed, are for the worker to look at. */
static enum look look_at_link(const struct request *request)
{
	enum seen from;

	if (request->flags & (AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return LOOK_JUDGE;
	from = look(request->tid, request->dirfd, request->path);
	return from == SOCKET || from == NOT_TOLD ? LOOK_JUDGE : LOOK_PASS;
}

enum look look_at(const struct request *request, int *error)
{
	if (request->verb == REQUEST_BIND || !target_shares_root(request->tid))
		return LOOK_JUDGE;
	switch (request->verb) {
	case REQUEST_UNLINK:
		return look_at_unlink(request, error);
	case REQUEST_RENAME:
		return look_at_rename(request, error);
	case REQUEST_LINK:
		return look_at_link(request);
	case REQUEST_BIND:
		break;
	}
	return LOOK_JUDGE;
}
