/*
 * sockguard clean: removes stale sockets and idle lock files, by the guard's own rules and under
 * the same mutex as it, so that a server may start meanwhile.
 *
 * Root may clean directories whose owners are not to be trusted. So each directory is opened once,
 * and everything after that goes through its descriptor and names without a slash: whoever swaps
 * the directory for a symbolic link meanwhile changes nothing. What is removed has been pinned and
 * is compared before it is gone for good. And root creates no files in other users' directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "config.h"
#include "escape.h"
#include "guard.h"
#include "judge.h"
#include "kernel.h"
#include "liveness.h"
#include "lockfile.h"
#include "entries.h"

static const char help[] =
	"Usage: sockguard clean [--dry-run] [--verbose] PATH|DIR...\n"
	"\n"
	"Removes what crashes left: stale sockets with their lock files, and lock files\n"
	"that nobody claims or has locked. Never removes a live socket. For a DIR, cleans\n"
	"its entries, but not those of subdirectories. Servers may start meanwhile.\n"
	"\n"
	"  -n, --dry-run  only prints what would be removed\n"
	"  -v, --verbose  for a DIR, also prints what is left, and why\n"
	"  -h, --help     this text\n"
	"\n"
	"Exit status: 0 nothing is left to remove; 3 something was left because it is\n"
	"live, claimed or not the guard's, or a PATH does not exist; 4 something was left\n"
	"for lack of permission, or because only its directory's owner can remove it\n"
	"safely; 2 bad usage.\n"
	"\n"
	"Example: sockguard clean --dry-run /run/app\n";

static bool dry, verbose;
static unsigned int unmentioned; /* left, without a line for each */

/* A name in an open directory. */
struct target {
	int dirfd;
	bool foreign; /* we are root, and the directory belongs to another user */
	uid_t owner;  /* of the directory */
	bool named;   /* on the command line */
	const char *name;
	const char *path; /* for messages alone */
};

/* ---- what is printed ---- */

static int say_removed(const struct target *target, const char *what)
{
	char *escaped = escape_field(target->path);

	printf("%s %s (%s)\n", dry ? "would remove" : "removed", escaped, what);
	free(escaped);
	return EXIT_ALL;
}

/* Anything left is reported if it was named; of a directory's entries only if that is wanted. */
static int say_left(const struct target *target, const char *why, int status)
{
	char *escaped = escape_field(target->path);

	if (target->named || verbose)
		printf("left %s (%s)\n", escaped, why);
	else
		unmentioned++;
	free(escaped);
	return status;
}

static int say_failed(const struct target *target, int error)
{
	bool denied = error == EACCES || error == EPERM || error == EROFS;

	return say_left(target, denied ? "no permission" : strerror(error),
		denied ? EXIT_UNTOLD : EXIT_SOME_NOT);
}

/* Without its lock file there is no mutex, and to make one there is only for the owner. */
static int say_foreign(const struct target *target)
{
	char *why = command_print("no lock file to lock, and the directory belongs to uid %lu: "
				  "run this command as that user",
		(unsigned long)target->owner);
	int status = say_left(target, why, EXIT_UNTOLD);

	free(why);
	return status;
}

/* ---- names and descriptors ---- */

static bool leads_to(const struct target *target, const char *name, const struct pin *pin)
{
	struct inode there;

	return inode_identify(target->dirfd, name, &there) == 0 && inode_same(&there, &pin->inode);
}

static int rename_to(int dirfd, const char *name, const char *new)
{
	return kernel_rename(dirfd, name, dirfd, new, RENAME_NOREPLACE);
}

/*
 * Removes the pinned socket, and nothing else that took its name meanwhile: somebody who does not
 * know our mutex may do that at any time. So the name is changed first, and what got the new one is
 * compared; if it is not the pinned socket it gets its name back. Where the file system cannot
 * rename without replacing, comparing just before has to do.
 */
static int remove_pinned(const struct target *target, const struct pin *pin)
{
	char *aside = command_print(".sockguard-clean.%ld", (long)getpid());
	int result = -1;

	if (!leads_to(target, target->name, pin)) {
		errno = EADDRINUSE;
	} else if (rename_to(target->dirfd, target->name, aside) != 0) {
		if (errno == EINVAL || errno == ENOSYS || errno == EEXIST)
			result = kernel_unlink(target->dirfd, target->name);
	} else if (leads_to(target, aside, pin)) {
		result = kernel_unlink(target->dirfd, aside);
	} else {
		rename_to(target->dirfd, aside, target->name);
		errno = EADDRINUSE;
	}
	free(aside);
	return result;
}

static int remove_stale(const struct target *target)
{
	struct pin pin;
	int result = -1;

	if (inode_pin(target->dirfd, target->name, &pin) != 0)
		return -1;
	if (liveness_of(&pin, target->dirfd, target->name) == DEAD)
		result = remove_pinned(target, &pin);
	else
		errno = EADDRINUSE;
	inode_unpin(&pin);
	return result;
}

/*
 * Takes the mutex of a lock file that is there already, as lockfile_try does; never creates one.
 * LOCKFILE_HELD: drop is owed. Otherwise errno is ENOENT if there is no such file.
 */
static enum lockfile_state hold(struct lockfile *lock, int *fd, bool wait)
{
	static int pauses = 50; /* in all: whoever holds a thousand is not to hold us up */
	const struct timespec pause = {.tv_nsec = 2000000};
	enum lockfile_state state = LOCKFILE_NONE;

	*fd = openat(lock->dirfd, lock->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd < 0)
		return LOCKFILE_NONE;
	while ((state = lockfile_borrow(lock, *fd)) == LOCKFILE_BUSY && wait && pauses-- > 0)
		nanosleep(&pause, NULL);
	lock->claimed = false; /* what we borrowed is not a claim of ours */
	if (state != LOCKFILE_HELD) {
		close(*fd);
		errno = EBUSY;
	}
	return state;
}

/* A file that nobody claims goes with the mutex, unless it is to be kept. */
static void drop(struct lockfile *lock, int fd, bool keep)
{
	if (keep)
		lock->named = false;
	lockfile_leave(lock);
	close(fd);
}

/* ---- sockets ---- */

static int say_live(const struct target *target, enum liveness liveness,
	const struct lockfile *lock)
{
	struct record record;
	char *why;
	int status;

	if (liveness == UNKNOWN)
		return say_left(target, "no permission to ask whether it is live", EXIT_UNTOLD);
	if (!lockfile_claimed(lock) || !lockfile_record(lock, &record))
		return say_left(target, "live", EXIT_SOME_NOT);
	why = command_print("live, bound by %s, pid %llu%s", record.comm,
		(unsigned long long)record.pid,
		lockfile_from_elsewhere(lock, &record) ? ", on another host"
		: record_binder_has_ended(&record)     ? ", which has ended"
						       : "");
	status = say_left(target, why, EXIT_SOME_NOT);
	free(why);
	return status;
}

static int say_outcome(const struct target *target, int result)
{
	if (result == 0)
		return say_removed(target, "stale");
	if (errno == ENOENT)
		return EXIT_ALL; /* somebody else was faster */
	if (errno == EADDRINUSE)
		return say_left(target, "live by now, or its lock file is busy", EXIT_SOME_NOT);
	return say_failed(target, errno);
}

/* For the guard, which hands its call back to us under the mutex. */
static const struct target *at_work;

/*
 * The guard's rules let a process remove its own sockets, and this process may have inherited one:
 * so we ask once more, under the mutex, whether it is stale.
 */
static int perform(const struct call *call)
{
	if (strcmp(call->path, at_work->name) != 0) {
		errno = ENOENT; /* a slash at its end: it was absent when the guard looked */
		return -1;
	}
	return remove_stale(at_work);
}

static int unlink_guarded(const struct target *target)
{
	const struct call call = {
		.verb = "unlink", .perform = perform, .dirfd = target->dirfd, .path = target->name};

	at_work = target;
	return guard_unlink(&call);
}

/* In a foreign directory: only under a mutex that is there, and is not waited for for long. */
static int unlink_foreign(const struct target *target)
{
	struct lockfile lock;
	struct record record;
	bool recorded;
	int result, fd;

	lockfile_name(&lock, target->dirfd, target->name);
	switch (hold(&lock, &fd, true)) {
	case LOCKFILE_BUSY:
		errno = EADDRINUSE;
		return -1;
	case LOCKFILE_NONE:
		errno = ENOLCK;
		return -1;
	case LOCKFILE_HELD:
		break;
	}
	recorded = lockfile_record(&lock, &record);
	if (recorded) /* as the guard does: whoever dies in between leaves the name free */
		lockfile_note_left(&lock, true);
	result = remove_stale(target);
	if (result == 0)
		lockfile_remove(&lock);
	else if (recorded)
		lockfile_note_left(&lock, false);
	drop(&lock, fd, true);
	return result;
}

static int unlink_socket(const struct target *target)
{
	int result = target->foreign ? unlink_foreign(target) : unlink_guarded(target);

	return result != 0 && errno == ENOLCK ? say_foreign(target) : say_outcome(target, result);
}

static int clean_socket(const struct target *target)
{
	struct lockfile lock;
	struct place place;
	struct pin pin;
	enum liveness liveness;
	bool stale, lockable;
	int status = EXIT_ALL;

	if (inode_pin(target->dirfd, target->name, &pin) != 0)
		return errno == ENOENT ? EXIT_ALL : say_failed(target, errno);
	liveness = liveness_of(&pin, target->dirfd, target->name);
	inode_unpin(&pin);
	lockfile_name(&lock, target->dirfd, target->name);
	lockable = lockfile_peek(&lock) || !target->foreign;
	place = place_of(target->dirfd, target->name);
	stale = liveness == DEAD && judge_stale(&place, &lock);
	if (!stale)
		status = say_live(target, liveness, &lock);
	lockfile_leave(&lock);
	if (!stale)
		return status;
	if (!lockable)
		return say_foreign(target);
	return dry ? say_removed(target, "stale") : unlink_socket(target);
}

/* ---- lock files ---- */

static bool is_lockfile_name(const char *name)
{
	char socket[NAME_MAX + 1];

	return lockfile_socket(name, socket, sizeof(socket));
}

/* By its own name, which may be an alternate one, see shared.h. Empty if that is too long. */
static void name_lockfile(struct lockfile *lock, const struct target *target)
{
	char socket[NAME_MAX + 1];

	lockfile_socket(target->name, socket, sizeof(socket));
	lockfile_name(lock, target->dirfd, socket);
	if (lock->path[0] != '\0')
		snprintf(lock->path, sizeof(lock->path), "%s", target->name);
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

/* Why it must be left, NULL if it need not be. The lock file is open. */
static const char *obstacle(const struct lockfile *lock, bool held)
{
	if (!is_ours(lock))
		return "not a lock file of ours";
	if (lockfile_claimed(lock))
		return "a live owner claims it";
	return !held && is_locked(lock) ? "somebody has locked it" : NULL;
}

static int remove_lockfile(const struct target *target, struct lockfile *lock)
{
	const char *why;
	bool removed;
	int fd;

	switch (hold(lock, &fd, false)) {
	case LOCKFILE_BUSY:
		return say_left(target, "somebody has locked it", EXIT_SOME_NOT);
	case LOCKFILE_NONE:
		return errno == ENOENT ? EXIT_ALL
				       : say_left(target, "it cannot be locked", EXIT_UNTOLD);
	case LOCKFILE_HELD:
		break;
	}
	why = obstacle(lock, true);
	if (!why)
		lockfile_remove(lock);
	removed = lock->removed;
	drop(lock, fd, true);
	if (why)
		return say_left(target, why, EXIT_SOME_NOT);
	return removed ? say_removed(target, "idle lock file")
		       : say_left(target, "it could not be removed", EXIT_UNTOLD);
}

static int clean_lockfile(const struct target *target)
{
	struct lockfile lock;
	struct kernel_file found;
	const char *why;

	name_lockfile(&lock, target);
	if (!lockfile_peek(&lock))
		return inode_look(target->dirfd, target->name, &found) == 0
			       ? say_left(target, "no permission to look into it", EXIT_UNTOLD)
			       : EXIT_ALL;
	why = obstacle(&lock, false);
	lockfile_leave(&lock);
	if (why)
		return say_left(target, why, EXIT_SOME_NOT);
	return dry ? say_removed(target, "idle lock file") : remove_lockfile(target, &lock);
}

/* ---- what is named ---- */

static int worse(int a, int b)
{
	return a > b ? a : b;
}

static int clean_entry(const struct target *target, mode_t mode)
{
	if (S_ISSOCK(mode))
		return clean_socket(target);
	if (is_lockfile_name(target->name) && S_ISREG(mode))
		return clean_lockfile(target);
	return EXIT_ALL;
}

/* Notes whose the directory is. */
static bool look_at_directory(struct target *target)
{
	struct stat found;

	if (fstat(target->dirfd, &found) != 0)
		return false;
	target->owner = found.st_uid;
	target->foreign = geteuid() == 0 && found.st_uid != 0;
	return true;
}

/* Sockets first: their lock files go with them. */
static int clean_names(const struct target *directory, const struct names *names, bool sockets)
{
	size_t length = strlen(directory->path);
	bool slash = directory->path[length - 1] == '/';
	int worst = EXIT_ALL;

	for (size_t i = 0; i < names->count; i++) {
		struct target target = *directory;
		struct stat found;
		char *path;

		if (fstatat(directory->dirfd, names->list[i].name, &found, AT_SYMLINK_NOFOLLOW) !=
				0 ||
			S_ISSOCK(found.st_mode) != sockets)
			continue;
		path = command_print("%s%s%s", directory->path, slash ? "" : "/",
			names->list[i].name);
		target.named = false;
		target.name = names->list[i].name;
		target.path = path;
		worst = worse(worst, clean_entry(&target, found.st_mode));
		free(path);
	}
	return worst;
}

/* The directory itself is not a name that is followed: it may be a symbolic link by now. */
static int clean_directory(const struct target *given)
{
	struct target target = *given;
	struct names names = {0};
	int worst;

	target.dirfd =
		openat(given->dirfd, given->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (target.dirfd < 0)
		return say_failed(given, errno);
	if (look_at_directory(&target) && names_read(&names, target.dirfd)) {
		names_sort(&names);
		worst = clean_names(&target, &names, true);
		worst = worse(worst, clean_names(&target, &names, false));
	} else {
		worst = say_failed(given, errno);
	}
	names_free(&names);
	close(target.dirfd);
	return worst;
}

static int say_absent(const char *path)
{
	command_warn("%s: there is no such socket, lock file or directory", path);
	return EXIT_SOME_NOT;
}

/* The lock file of a socket path that is gone; that of a stale socket goes with it. */
static int clean_absent(const struct target *given)
{
	struct target target = *given;
	char *name = command_lockfile(given->name);
	char *path = command_lockfile(given->path);
	struct stat found;
	int status;

	target.name = name;
	target.path = path;
	if (fstatat(target.dirfd, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(found.st_mode))
		status = clean_lockfile(&target);
	else
		status = say_absent(given->path);
	free(path);
	free(name);
	return status;
}

static int clean_target(const struct target *target)
{
	struct stat found;

	if (fstatat(target->dirfd, target->name, &found, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? clean_absent(target) : say_failed(target, errno);
	if (S_ISDIR(found.st_mode))
		return clean_directory(target);
	if (S_ISLNK(found.st_mode))
		return say_left(target, "a symbolic link, which is not followed", EXIT_SOME_NOT);
	if (!S_ISSOCK(found.st_mode) && !(S_ISREG(found.st_mode) && is_lockfile_name(target->name)))
		return say_left(target, "neither a socket nor a lock file", EXIT_SOME_NOT);
	return clean_entry(target, found.st_mode);
}

/* Splits a path into the directory, which is opened, and the name in it, which is not followed. */
static int clean_path(const char *path)
{
	char *parent = command_copy(path);
	size_t length = strlen(parent);
	struct target target = {.named = true, .path = path};
	size_t start;
	int status;

	while (length > 1 && parent[length - 1] == '/')
		parent[--length] = '\0';
	start = inode_directory(parent);
	target.name = start < length ? parent + start : ".";
	target.name = command_copy(target.name);
	parent[start] = '\0';
	target.dirfd = open(start > 0 ? parent : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (length == 0 || (target.dirfd < 0 && (errno == ENOENT || errno == ENOTDIR)))
		status = say_absent(path);
	else if (target.dirfd < 0 || !look_at_directory(&target))
		status = say_failed(&target, errno);
	else
		status = clean_target(&target);
	if (target.dirfd >= 0)
		close(target.dirfd);
	free((char *)target.name);
	free(parent);
	return status;
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
	config.log_to = LOG_TO_NONE; /* a refusal is printed here */
	for (; optind < argc; optind++)
		worst = worse(worst, clean_path(argv[optind]));
	if (unmentioned > 0)
		command_warn("left %u as they are; --verbose prints which, and why", unmentioned);
	return worst;
}

const struct command command_clean = {"clean", clean, help};
