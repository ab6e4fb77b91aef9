/*
 * sockguard clean: removes stale sockets and idle lock files, following the guard's own rules and
 * holding the same mutex, so that a server may start at the same time.
 *
 * Root may clean directories that belong to untrusted users. So each directory is opened once, and
 * all later calls use its descriptor and names without a slash: a user who replaces the directory
 * with a symbolic link changes nothing. A socket is pinned first, and compared again before it is
 * unlinked. Root creates no files in other users' directories.
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
#include "entries.h"
#include "escape.h"
#include "guard.h"
#include "judge.h"
#include "kernel.h"
#include "liveness.h"
#include "lockfile.h"

static const char help[] =
	"Usage: sockguard clean [--dry-run] [--verbose] PATH|DIR...\n"
	"\n"
	"Removes what crashes left behind: stale sockets with their lock files, and lock\n"
	"files that no process claims or has locked. Never removes a live socket. For a\n"
	"DIR, cleans its entries, non-recursively. It is safe to run while servers start.\n"
	"\n"
	"  -n, --dry-run  prints what would be removed, and removes nothing\n"
	"  -v, --verbose  for a DIR, also prints which entries are left, and why\n"
	"  -h, --help     prints this text\n"
	"\n"
	"Exit status: 0 nothing is left to remove; 3 something was left because it is\n"
	"live, claimed or not the guard's, or a PATH does not exist; 4 permission was\n"
	"denied, or only the directory's user can remove it safely; 2 bad usage.\n"
	"\n"
	"Example: sockguard clean --dry-run /run/app\n";

static bool dry, verbose;
static unsigned int unmentioned; /* entries left without a line of their own */

/* An entry of an open directory. */
struct target {
	int dirfd;
	bool foreign; /* we are root, and the directory belongs to another user */
	uid_t uid;    /* of the directory */
	bool named;   /* given on the command line */
	const char *name;
	const char *path; /* only for messages */
};

/* ---- what is printed ---- */

static int print_removed(const struct target *target, const char *what)
{
	char *escaped = escape_field(target->path);

	printf("%s %s (%s)\n", dry ? "would remove" : "removed", escaped, what);
	free(escaped);
	return EXIT_ALL;
}

/* Prints what was left if it was given on the command line, or if --verbose is set. */
static int print_left(const struct target *target, const char *why, int status)
{
	char *escaped = escape_field(target->path);

	if (target->named || verbose)
		printf("left %s (%s)\n", escaped, why);
	else
		unmentioned++;
	free(escaped);
	return status;
}

static int print_failed(const struct target *target, int error)
{
	bool denied = error == EACCES || error == EPERM || error == EROFS;

	return print_left(target, denied ? "no permission" : strerror(error),
		denied ? EXIT_UNKNOWN : EXIT_SOME_NOT);
}

/* Without a lock file there is no mutex, and only the directory's user may create one. */
static int print_foreign(const struct target *target)
{
	char *why = command_format("it has no lock file, and the directory belongs to uid %lu: "
				   "run this command as that user",
		(unsigned long)target->uid);
	int status = print_left(target, why, EXIT_UNKNOWN);

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
 * Unlinks the pinned socket, but never another file: an unguarded process may bind the path at any
 * time. So this renames the file at the path first, compares it with the pinned socket, and renames
 * it back if they differ. If the file system does not support RENAME_NOREPLACE, the comparison just
 * before must suffice.
 */
static int remove_pinned(const struct target *target, const struct pin *pin)
{
	char *aside = command_format(".sockguard-clean.%ld", (long)getpid());
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
	if (liveness_is_stale(liveness_of(&pin, target->dirfd, target->name)))
		result = remove_pinned(target, &pin);
	else
		errno = EADDRINUSE;
	inode_unpin(&pin);
	return result;
}

/*
 * Acquires the mutex of an existing lock file, as lockfile_try_lock does, but never creates one.
 * After LOCKFILE_HELD the caller must call unlock. Otherwise errno is ENOENT if there is no file.
 */
static enum lockfile_state try_lock_existing(struct lockfile *lock, int *fd, bool wait)
{
	static int pauses = 50; /* for all files together: a user may have locked thousands */
	const struct timespec pause = {.tv_nsec = 2000000};
	enum lockfile_state state = LOCKFILE_NONE;

	*fd = openat(lock->dirfd, lock->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd < 0)
		return LOCKFILE_NONE;
	while ((state = lockfile_try_lock_through(lock, *fd)) == LOCKFILE_BUSY && wait &&
		pauses-- > 0)
		nanosleep(&pause, NULL);
	lock->claimed_by_us = false; /* the descriptor that it borrowed is not a claim */
	if (state != LOCKFILE_HELD) {
		close(*fd);
		errno = EBUSY;
	}
	return state;
}

/* Releases the mutex, and leaves the file where it is. */
static void unlock(struct lockfile *lock, int fd)
{
	lock->linked = false;
	lockfile_release(lock);
	close(fd);
}

/* ---- sockets ---- */

static int print_live(const struct target *target, enum liveness liveness,
	const struct lockfile *lock)
{
	enum record_binder binder;
	struct record record;
	char *why;
	int status;

	if (liveness == LIVENESS_UNKNOWN)
		return print_left(target, "no permission to determine whether it is live",
			EXIT_UNKNOWN);
	if (!lockfile_is_claimed(lock) || !lockfile_read_record(lock, &record))
		return print_left(target, "live", EXIT_SOME_NOT);
	binder = record_find_binder(&record);
	why = command_format("live, bound by %s, pid %llu%s", record.comm,
		(unsigned long long)record.pid,
		lockfile_record_is_remote(lock, &record) ? ", on another host"
		: binder == BINDER_FOREIGN               ? " of another PID namespace"
		: binder == BINDER_ENDED                 ? ", which has ended"
							 : "");
	status = print_left(target, why, EXIT_SOME_NOT);
	free(why);
	return status;
}

static int print_outcome(const struct target *target, int result)
{
	if (result == 0)
		return print_removed(target, "stale");
	if (errno == ENOENT)
		return EXIT_ALL; /* another process was faster */
	if (errno == EADDRINUSE)
		return print_left(target, "now in use, or its lock file is locked", EXIT_SOME_NOT);
	return print_failed(target, errno);
}

/* The target of the call that guard_unlink makes through perform. */
static const struct target *current_target;

/*
 * The rules allow a process to remove its own sockets, and this process may have inherited one. So
 * this checks again, under the mutex, whether the socket is stale.
 */
static int perform(const struct call *call)
{
	if (strcmp(call->path, current_target->name) != 0) {
		errno = ENOENT; /* the guard appends a slash if it found the path absent */
		return -1;
	}
	return remove_stale(current_target);
}

static int unlink_guarded(const struct target *target)
{
	const struct call call = {
		.verb = "unlink", .perform = perform, .dirfd = target->dirfd, .path = target->name};

	current_target = target;
	return guard_unlink(&call);
}

/* Unlinks from another user's directory: requires a lock file there, and does not wait long. */
static int unlink_foreign(const struct target *target)
{
	struct lockfile lock;
	struct record record;
	bool recorded;
	int result, fd;

	lockfile_init(&lock, target->dirfd, target->name);
	switch (try_lock_existing(&lock, &fd, true)) {
	case LOCKFILE_BUSY:
		errno = EADDRINUSE;
		return -1;
	case LOCKFILE_NONE:
		errno = ENOLCK;
		return -1;
	case LOCKFILE_HELD:
		break;
	}
	recorded = lockfile_read_record(&lock, &record);
	if (recorded) /* as the guard does: the path is free even if we are killed in between */
		lockfile_mark_leaving(&lock, true);
	result = remove_stale(target);
	if (result == 0)
		lockfile_unlink(&lock);
	else if (recorded)
		lockfile_mark_leaving(&lock, false);
	unlock(&lock, fd);
	return result;
}

static int unlink_socket(const struct target *target)
{
	int result = target->foreign ? unlink_foreign(target) : unlink_guarded(target);

	return result != 0 && errno == ENOLCK ? print_foreign(target)
					      : print_outcome(target, result);
}

static int clean_socket(const struct target *target)
{
	struct lockfile lock;
	struct location location;
	struct pin pin;
	enum liveness liveness;
	bool stale, lockable;
	int status = EXIT_ALL;

	if (inode_pin(target->dirfd, target->name, &pin) != 0)
		return errno == ENOENT ? EXIT_ALL : print_failed(target, errno);
	liveness = liveness_of(&pin, target->dirfd, target->name);
	inode_unpin(&pin);
	lockfile_init(&lock, target->dirfd, target->name);
	lockable = lockfile_open_readonly(&lock) || !target->foreign;
	location = location_of(target->dirfd, target->name);
	stale = liveness_is_stale(liveness) && judge_is_stale(&location, &lock);
	if (!stale)
		status = print_live(target, liveness, &lock);
	lockfile_release(&lock);
	if (!stale)
		return status;
	if (!lockable)
		return print_foreign(target);
	return dry ? print_removed(target, "stale") : unlink_socket(target);
}

/* ---- lock files ---- */

static bool is_lockfile_name(const char *name)
{
	char socket[NAME_MAX + 1];

	return lockfile_socket_path(name, socket, sizeof(socket));
}

/* Sets lock->path to the target, whose name may be an alternate one. Empty if it is too long. */
static void name_lockfile(struct lockfile *lock, const struct target *target)
{
	char socket[NAME_MAX + 1];

	lockfile_socket_path(target->name, socket, sizeof(socket));
	lockfile_init(lock, target->dirfd, socket);
	if (lock->path[0] != '\0')
		snprintf(lock->path, sizeof(lock->path), "%s", target->name);
}

static bool is_locked(const struct lockfile *lock)
{
	struct flock bytes = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(lock->fd, F_OFD_GETLK, &bytes) != 0 || bytes.l_type != F_UNLCK;
}

/* An empty file is the guard's too: a process may be killed before it writes the record. */
static bool is_ours(const struct lockfile *lock)
{
	struct stat found;
	struct record record;

	return fstat(lock->fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink == 1 &&
	       (found.st_size == 0 || lockfile_read_record(lock, &record));
}

/* Why an open lock file must be left; NULL if it may be unlinked. */
static const char *why_left(const struct lockfile *lock, bool held)
{
	if (!is_ours(lock))
		return "not a lock file of the guard";
	if (lockfile_is_claimed(lock))
		return "a live owner claims it";
	return !held && is_locked(lock) ? "another process has locked it" : NULL;
}

static int remove_lockfile(const struct target *target, struct lockfile *lock)
{
	const char *why;
	bool removed;
	int fd;

	switch (try_lock_existing(lock, &fd, false)) {
	case LOCKFILE_BUSY:
		return print_left(target, "another process has locked it", EXIT_SOME_NOT);
	case LOCKFILE_NONE:
		return errno == ENOENT ? EXIT_ALL
				       : print_left(target, "cannot lock it", EXIT_UNKNOWN);
	case LOCKFILE_HELD:
		break;
	}
	why = why_left(lock, true);
	if (!why)
		lockfile_unlink(lock);
	removed = lock->unlinked;
	unlock(lock, fd);
	if (why)
		return print_left(target, why, EXIT_SOME_NOT);
	return removed ? print_removed(target, "idle lock file")
		       : print_left(target, "cannot remove it", EXIT_UNKNOWN);
}

static int clean_lockfile(const struct target *target)
{
	struct lockfile lock;
	struct kernel_file found;
	const char *why;

	name_lockfile(&lock, target);
	if (!lockfile_open_readonly(&lock))
		return inode_stat(target->dirfd, target->name, &found) == 0
			       ? print_left(target, "no permission to examine it", EXIT_UNKNOWN)
			       : EXIT_ALL;
	why = why_left(&lock, false);
	lockfile_release(&lock);
	if (why)
		return print_left(target, why, EXIT_SOME_NOT);
	return dry ? print_removed(target, "idle lock file") : remove_lockfile(target, &lock);
}

/* ---- targets ---- */

static int worst_of(int a, int b)
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

/* Determines the directory's user. */
static bool determine_user(struct target *target)
{
	struct stat found;

	if (fstat(target->dirfd, &found) != 0)
		return false;
	target->uid = found.st_uid;
	target->foreign = geteuid() == 0 && found.st_uid != 0;
	return true;
}

/* Sockets first, because their lock files are unlinked with them. */
static int clean_entries(const struct target *directory, const struct entries *entries,
	bool sockets)
{
	size_t length = strlen(directory->path);
	bool slash = directory->path[length - 1] == '/';
	int worst = EXIT_ALL;

	for (size_t i = 0; i < entries->count; i++) {
		struct target target = *directory;
		struct stat found;
		char *path;

		if (fstatat(directory->dirfd, entries->list[i].name, &found, AT_SYMLINK_NOFOLLOW) !=
				0 ||
			S_ISSOCK(found.st_mode) != sockets)
			continue;
		path = command_format("%s%s%s", directory->path, slash ? "" : "/",
			entries->list[i].name);
		target.named = false;
		target.name = entries->list[i].name;
		target.path = path;
		worst = worst_of(worst, clean_entry(&target, found.st_mode));
		free(path);
	}
	return worst;
}

/* O_NOFOLLOW: the directory may have been replaced with a symbolic link. */
static int clean_directory(const struct target *given)
{
	struct target target = *given;
	struct entries entries = {0};
	int worst;

	target.dirfd =
		openat(given->dirfd, given->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (target.dirfd < 0)
		return print_failed(given, errno);
	if (determine_user(&target) && entries_read(&entries, target.dirfd)) {
		entries_sort(&entries);
		worst = clean_entries(&target, &entries, true);
		worst = worst_of(worst, clean_entries(&target, &entries, false));
	} else {
		worst = print_failed(given, errno);
	}
	entries_free(&entries);
	close(target.dirfd);
	return worst;
}

static int print_absent(const char *path)
{
	command_warn("%s: no such socket, lock file or directory", path);
	return EXIT_SOME_NOT;
}

/* For an absent socket path: cleans the lock file that is left. */
static int clean_absent(const struct target *given)
{
	struct target target = *given;
	char *name = command_lockfile_path(given->name);
	char *path = command_lockfile_path(given->path);
	struct stat found;
	int status;

	target.name = name;
	target.path = path;
	if (fstatat(target.dirfd, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(found.st_mode))
		status = clean_lockfile(&target);
	else
		status = print_absent(given->path);
	free(path);
	free(name);
	return status;
}

static int clean_target(const struct target *target)
{
	struct stat found;

	if (fstatat(target->dirfd, target->name, &found, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? clean_absent(target) : print_failed(target, errno);
	if (S_ISDIR(found.st_mode))
		return clean_directory(target);
	if (S_ISLNK(found.st_mode))
		return print_left(target, "a symbolic link, which is not followed", EXIT_SOME_NOT);
	if (!S_ISSOCK(found.st_mode) && !(S_ISREG(found.st_mode) && is_lockfile_name(target->name)))
		return print_left(target, "neither a socket nor a lock file", EXIT_SOME_NOT);
	return clean_entry(target, found.st_mode);
}

/* Opens a path's directory, and cleans the name in it. Does not follow a symbolic link there. */
static int clean_path(const char *path)
{
	char *parent = command_copy(path);
	size_t length = strlen(parent);
	struct target target = {.named = true, .path = path};
	size_t start;
	int status;

	while (length > 1 && parent[length - 1] == '/')
		parent[--length] = '\0';
	start = inode_directory_length(parent);
	target.name = start < length ? parent + start : ".";
	target.name = command_copy(target.name);
	parent[start] = '\0';
	target.dirfd = open(start > 0 ? parent : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (length == 0 || (target.dirfd < 0 && (errno == ENOENT || errno == ENOTDIR)))
		status = print_absent(path);
	else if (target.dirfd < 0 || !determine_user(&target))
		status = print_failed(&target, errno);
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
		command_misuse(&command_clean, "no path or directory given");
	config.log_to = LOG_TO_NONE; /* this command prints refusals itself */
	for (; optind < argc; optind++)
		worst = worst_of(worst, clean_path(argv[optind]));
	if (unmentioned > 0)
		command_warn("entries left: %u; --verbose lists them, with the reasons",
			unmentioned);
	return worst;
}

const struct command command_clean = {"clean", clean, help};
