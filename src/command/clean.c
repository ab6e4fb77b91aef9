/*
 * sockguard clean: removes stale sockets and idle lock files, by the guard's own rules and under
 * the same mutex as it, so that a server may start meanwhile.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"
#include "config.h"
#include "escape.h"
#include "guard.h"
#include "judge.h"
#include "kernel.h"
#include "liveness.h"
#include "lockfile.h"

static const char help[] =
	"Usage: sockguard clean [--dry-run] [--verbose] PATH|DIR...\n"
	"\n"
	"Removes what crashes left: stale sockets with their lock files, and lock files\n"
	"(*.sockguard) that nobody claims or has locked. Never a live socket. Of a DIR\n"
	"its entries, not those of directories in it. Servers may start meanwhile.\n"
	"\n"
	"  -n, --dry-run  only tells what would be removed\n"
	"  -v, --verbose  tells of a DIR, too, what is left, and why\n"
	"  -h, --help     this text\n"
	"\n"
	"Exit status: 0 nothing is left to remove, 3 a socket or lock file was left since\n"
	"it is live, claimed or none of ours, 4 one was left for lack of permission,\n"
	"2 bad usage.\n"
	"\n"
	"Example: sockguard clean --dry-run /run/app\n";

static bool dry, verbose;
static unsigned int untold; /* left, and not told of */

/* ---- what is told ---- */

static int tell_removed(const char *path, const char *what)
{
	char *escaped = escape_field(path);

	printf("%s %s (%s)\n", dry ? "would remove" : "removed", escaped, what);
	free(escaped);
	return EXIT_ALL;
}

/* Of what was named; and of what was found in a directory, if that is wanted. */
static int tell_left(const char *path, bool named, const char *why, int status)
{
	char *escaped = escape_field(path);

	if (named || verbose)
		printf("left %s (%s)\n", escaped, why);
	else
		untold++;
	free(escaped);
	return status;
}

static int tell_failed(const char *path, bool named, int error)
{
	bool denied = error == EACCES || error == EPERM || error == EROFS;

	return tell_left(path, named, denied ? "no permission" : strerror(error),
		denied ? EXIT_UNTOLD : EXIT_SOME_NOT);
}

/* ---- sockets ---- */

/*
 * The guard's rules let a process remove its own sockets, and this process may have inherited one:
 * so what is removed is asked for once more, under the mutex.
 */
static int remove_stale(const struct call *call)
{
	struct pin pin;
	enum liveness liveness;

	if (inode_pin(call->dirfd, call->path, &pin) != 0)
		return -1;
	liveness = liveness_of(&pin, call->dirfd, call->path);
	inode_unpin(&pin);
	if (liveness != DEAD) {
		errno = EADDRINUSE;
		return -1;
	}
	return kernel_unlink(call->dirfd, call->path);
}

static int tell_live(const char *path, bool named, enum liveness liveness,
	const struct lockfile *lock)
{
	struct record record;
	char *why;
	int status;

	if (liveness == UNKNOWN)
		return tell_left(path, named, "no permission to ask whether it is live",
			EXIT_UNTOLD);
	if (!lockfile_claimed(lock) || !lockfile_record(lock, &record))
		return tell_left(path, named, "live", EXIT_SOME_NOT);
	why = command_print("live, bound by %s, pid %llu%s", record.comm,
		(unsigned long long)record.pid,
		record_from_elsewhere(&record) ? ", on another host" : "");
	status = tell_left(path, named, why, EXIT_SOME_NOT);
	free(why);
	return status;
}

static int unlink_socket(const char *path, bool named)
{
	const struct call call = {
		.verb = "unlink", .perform = remove_stale, .dirfd = AT_FDCWD, .path = path};

	if (guard_unlink(&call) == 0)
		return tell_removed(path, "stale");
	if (errno == ENOENT)
		return EXIT_ALL; /* somebody else was faster */
	if (errno == EADDRINUSE)
		return tell_left(path, named, "live by now, or its lock file is busy",
			EXIT_SOME_NOT);
	return tell_failed(path, named, errno);
}

static int clean_socket(const char *path, bool named)
{
	struct lockfile lock;
	struct place place;
	struct pin pin;
	enum liveness liveness;
	bool stale;
	int status = EXIT_ALL;

	if (inode_pin(AT_FDCWD, path, &pin) != 0)
		return errno == ENOENT ? EXIT_ALL : tell_failed(path, named, errno);
	liveness = liveness_of(&pin, AT_FDCWD, path);
	inode_unpin(&pin);
	lockfile_name(&lock, AT_FDCWD, path);
	lockfile_peek(&lock);
	place = place_of(AT_FDCWD, path);
	stale = liveness == DEAD && judge_stale(&place, &lock);
	if (!stale)
		status = tell_live(path, named, liveness, &lock);
	lockfile_leave(&lock);
	if (!stale)
		return status;
	return dry ? tell_removed(path, "stale") : unlink_socket(path, named);
}

/* ---- lock files ---- */

static bool is_lockfile_name(const char *path)
{
	char socket[PATH_MAX];

	return lockfile_socket(path, socket, sizeof(socket));
}

static bool is_locked(const struct lockfile *lock)
{
	struct flock bytes = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(lock->fd, F_OFD_GETLK, &bytes) != 0 || bytes.l_type != F_UNLCK;
}

/* Empty: its owner died before it wrote the record, or never had one to write. */
static bool is_ours(const struct lockfile *lock)
{
	struct stat found;
	struct record record;

	return fstat(lock->fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink == 1 &&
	       (found.st_size == 0 || lockfile_record(lock, &record));
}

/* Why it is to be left, NULL if it is not. The lock file is open. */
static const char *obstacle(const struct lockfile *lock)
{
	if (!is_ours(lock))
		return "not a lock file of ours";
	if (lockfile_claimed(lock))
		return "a live owner claims it";
	return is_locked(lock) ? "somebody has locked it" : NULL;
}

static int remove_lockfile(const char *path, struct lockfile *lock, bool named)
{
	const char *why;

	switch (lockfile_try(lock)) {
	case LOCKFILE_BUSY:
		return tell_left(path, named, "somebody has locked it", EXIT_SOME_NOT);
	case LOCKFILE_NONE:
		return tell_left(path, named, "no permission to lock it", EXIT_UNTOLD);
	case LOCKFILE_HELD:
		break;
	}
	why = is_ours(lock) ? NULL : "not a lock file of ours";
	if (!why && lockfile_claimed(lock))
		why = "a live owner claims it";
	if (!why)
		lockfile_remove(lock);
	lock->named = false; /* what is left is not to go with the mutex */
	lockfile_leave(lock);
	if (why)
		return tell_left(path, named, why, EXIT_SOME_NOT);
	if (access(path, F_OK) == 0)
		return tell_left(path, named, "it could not be removed", EXIT_UNTOLD);
	return tell_removed(path, "idle lock file");
}

static int clean_lockfile(const char *path, bool named)
{
	struct lockfile lock;
	char socket[PATH_MAX];
	const char *why;
	int status;

	lockfile_socket(path, socket, sizeof(socket));
	lockfile_name(&lock, AT_FDCWD, socket);
	if (!lockfile_peek(&lock))
		return access(path, F_OK) == 0
			       ? tell_left(path, named, "no permission to look into it",
					 EXIT_UNTOLD)
			       : EXIT_ALL;
	why = obstacle(&lock);
	lockfile_leave(&lock);
	if (why)
		status = tell_left(path, named, why, EXIT_SOME_NOT);
	else if (dry)
		status = tell_removed(path, "idle lock file");
	else
		status = remove_lockfile(path, &lock, named);
	return status;
}

/* ---- what is named ---- */

static int worse(int a, int b)
{
	return a > b ? a : b;
}

/* What is neither socket nor lock file is nothing to us, unless it was named. */
static int clean_entry(const char *path, const struct stat *found, bool named)
{
	if (S_ISSOCK(found->st_mode))
		return clean_socket(path, named);
	if (is_lockfile_name(path) && S_ISREG(found->st_mode))
		return clean_lockfile(path, named);
	return named ? tell_left(path, named, "neither a socket nor a lock file", EXIT_SOME_NOT)
		     : EXIT_ALL;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* By name: a socket comes before its lock file, which goes with it. */
static int clean_directory(const char *path)
{
	struct dirent **entries;
	struct stat found;
	int count = scandir(path, &entries, NULL, by_name);
	int worst = EXIT_ALL;
	size_t length = strlen(path);

	if (count < 0)
		return tell_failed(path, true, errno);
	for (int i = 0; i < count; i++) {
		char *entry = command_print("%s%s%s", path, path[length - 1] == '/' ? "" : "/",
			entries[i]->d_name);

		if (lstat(entry, &found) == 0)
			worst = worse(worst, clean_entry(entry, &found, false));
		free(entry);
		free(entries[i]);
	}
	free(entries);
	return worst;
}

/* The lock file of a name that is gone; that of a stale socket goes with it. */
static int clean_absent(const char *path)
{
	char *lockfile = command_lockfile(path);
	struct stat found;
	int status = EXIT_ALL;

	if (lstat(lockfile, &found) == 0)
		status = clean_entry(lockfile, &found, true);
	else if (verbose)
		tell_left(path, true, "absent", EXIT_ALL);
	free(lockfile);
	return status;
}

static int clean_named(const char *path)
{
	struct stat found;

	if (lstat(path, &found) != 0)
		return errno == ENOENT || errno == ENOTDIR ? clean_absent(path)
							   : tell_failed(path, true, errno);
	return S_ISDIR(found.st_mode) ? clean_directory(path) : clean_entry(path, &found, true);
}

static int clean(int argc, char **argv)
{
	static const struct option words[] = {
		{"dry-run", no_argument, NULL, 'n'},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int worst = EXIT_ALL;
	int option;

	while ((option = command_option(&command_clean, argc, argv, "nvh", words)) != -1) {
		dry = dry || option == 'n';
		verbose = verbose || option == 'v';
	}
	if (optind == argc)
		command_misuse(&command_clean, "name the paths or directories to clean");
	config.log_to = LOG_TO_NONE; /* a refusal is told here */
	for (; optind < argc; optind++)
		worst = worse(worst, clean_named(argv[optind]));
	if (untold > 0)
		command_warn("left %u as they are; --verbose tells which, and why", untold);
	return worst;
}

const struct command command_clean = {"clean", clean, help};
