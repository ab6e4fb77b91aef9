#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdint.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inspect.h"
#include "procstatus.h"

/*
 * A supervisor that runs as root can take every step in its own user namespace. Another user's can
 * enter a mount namespace only from the user namespace that owns it. So every step is tried in our
 * user namespace, and then in each one below it down to the caller's, until it succeeds.
 */

enum {
	DONE = -1,  /* in place of a descriptor */
	LEVELS = 33 /* the kernel permits 32 user namespaces below the first, user_namespaces(7) */
};

struct steps {
	struct target *target;
	int net; /* descriptors of what is still to be entered, or DONE */
	int mounts;
	int root;
	int directory;
	bool ids;
	int own_status;     /* our /proc/PID/status, opened in the supervisor's user namespace */
	int process;        /* /proc/TID, which may be hidden in the caller's mount namespace */
	uint64_t effective; /* our capabilities, when own_status was last read */
	int user_namespaces[LEVELS]; /* to be entered, the innermost first */
	int levels;
	int error; /* errno for the caller: EPERM, or the resource that a step lacked */
};

/* ---- preparation, with the supervisor's own rights ---- */

static bool open_entry(const struct target *target, const char *entry, int flags, int *fd)
{
	char path[TARGET_PATH];

	*fd = target_move_high(open(target_path(target->tid, entry, path), flags | O_CLOEXEC));
	return *fd >= 0;
}

/*
 * Opens the user namespaces from the caller's up to the one below ours. Returns false if the
 * caller's is not below ours.
 */
static bool open_user_namespaces(struct steps *steps)
{
	struct stat ours, theirs;
	int fd;

	if (target_shares_user_namespace(steps->target->tid))
		return true;
	if (stat("/proc/self/ns/user", &ours) != 0 ||
		!open_entry(steps->target, "ns/user", O_RDONLY, &fd))
		return false;
	while (fstat(fd, &theirs) == 0 && theirs.st_ino != ours.st_ino && steps->levels < LEVELS) {
		steps->user_namespaces[steps->levels++] = fd;
		fd = target_move_high(ioctl(fd, NS_GET_PARENT));
		if (fd < 0)
			return false;
	}
	close(fd);
	return theirs.st_ino == ours.st_ino;
}

static bool open_directories(struct steps *steps)
{
	const struct target *target = steps->target;

	if (!open_entry(target, "cwd", O_PATH | O_DIRECTORY, &steps->directory))
		return false;
	if (!target_shares_namespace(target->tid, "ns/net") &&
		!open_entry(target, "ns/net", O_RDONLY, &steps->net))
		return false;
	if (target_shares_root(target->tid))
		return true;
	if (!target_shares_namespace(target->tid, "ns/mnt") &&
		!open_entry(target, "ns/mnt", O_RDONLY, &steps->mounts))
		return false;
	return open_entry(target, "root", O_PATH | O_DIRECTORY, &steps->root);
}

static bool prepare(struct steps *steps)
{
	steps->own_status = target_move_high(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
	return steps->own_status >= 0 && open_user_namespaces(steps) && open_directories(steps) &&
	       open_entry(steps->target, "", O_PATH | O_DIRECTORY, &steps->process);
}

/* ---- the steps ---- */

/*
 * Notes a lack of resources as the error. A missing permission is not noted: we may have it in
 * the next user namespace. Returns `done`.
 */
static bool note_lack(struct steps *steps, bool done)
{
	if (!done && target_lacks_resources(errno))
		steps->error = errno;
	return done;
}

/* Closes the descriptor of a step that is done. */
static void close_done(int *fd)
{
	close(*fd);
	*fd = DONE;
}

static bool enter_namespace(struct steps *steps, int *fd, int type)
{
	if (*fd != DONE && note_lack(steps, setns(*fd, type) == 0))
		close_done(fd);
	return *fd == DONE;
}

/* A mount namespace comes first, because entering it changes both directories. */
static void enter_directories(struct steps *steps)
{
	if (steps->mounts == DONE && steps->root != DONE &&
		note_lack(steps, fchdir(steps->root) == 0 && chroot(".") == 0))
		close_done(&steps->root);
	if (steps->mounts == DONE && steps->root == DONE && steps->directory != DONE &&
		note_lack(steps, fchdir(steps->directory) == 0))
		close_done(&steps->directory);
}

/* Reads IDs as seen from the supervisor's user namespace, which opened the file. */
static bool read_own(struct steps *steps, struct credentials *us)
{
	char status[PROCSTATUS_SIZE];
	bool known = note_lack(steps, procstatus_reread(steps->own_status, status)) &&
		     procstatus_credentials(status, us);

	steps->effective = us->effective;
	return known;
}

/* Reads the caller's IDs as seen from the user namespace that we are in. */
static bool read_theirs(struct steps *steps, struct credentials *them)
{
	char status[PROCSTATUS_SIZE];
	int fd = openat(steps->process, "status", O_RDONLY | O_CLOEXEC);

	return note_lack(steps, procstatus_read(fd, status)) &&
	       procstatus_credentials(status, them);
}

/*
 * Sets our IDs as far as they can be set here. They may differ from the caller's afterwards,
 * because an ID without a mapping in our current user namespace reads 65534: check with read_own.
 * Makes raw system calls: libc's wrappers synchronize threads, and this process has only one.
 */
static void set_ids(const struct credentials *them, bool groups)
{
	prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0); /* entering a user namespace ends it */
	if (groups)
		syscall(SYS_setgroups, them->groups, them->group);
	syscall(SYS_setresgid, them->gid[0], them->gid[1], them->gid[2]);
	syscall(SYS_setresuid, them->uid[0], them->uid[1], them->uid[2]);
	inspect_raise_permitted();
	setfsgid(them->gid[3]);
	setfsuid(them->uid[3]);
}

/* Sets groups only if they differ: in many user namespaces they cannot be set, setgroups(2). */
static void assume_ids(struct steps *steps)
{
	const struct credentials *sought = &steps->target->credentials;
	static struct credentials us, them;

	if (!read_own(steps, &us))
		return;
	steps->ids = procstatus_same_ids(&us, sought);
	if (steps->ids || !read_theirs(steps, &them))
		return;
	set_ids(&them, !procstatus_same_groups(&us, sought));
	steps->ids = read_own(steps, &us) && procstatus_same_ids(&us, sought);
}

static void take_steps(struct steps *steps)
{
	enter_namespace(steps, &steps->net, CLONE_NEWNET);
	enter_namespace(steps, &steps->mounts, CLONE_NEWNS);
	enter_directories(steps);
	if (!steps->ids)
		assume_ids(steps);
	note_lack(steps, target_open_descriptors(steps->target, steps->process, "fd"));
}

/* A process that enters a user namespace gets all capabilities in it, user_namespaces(7). */
static bool enter_user_namespace(struct steps *steps)
{
	inspect_raise_permitted();
	return enter_namespace(steps, &steps->user_namespaces[--steps->levels], CLONE_NEWUSER);
}

static bool are_done(const struct steps *steps)
{
	return steps->net == DONE && steps->mounts == DONE && steps->root == DONE &&
	       steps->directory == DONE && steps->ids && steps->target->descriptors >= 0;
}

static bool assume_in_user_namespace(struct steps *steps)
{
	/* Otherwise the caller could trace us and use our memory and notification descriptor. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	while (steps->levels > 0) {
		if (!enter_user_namespace(steps))
			return false;
		take_steps(steps);
	}
	return are_done(steps) && inspect_confine(steps->target->credentials.effective) &&
	       note_lack(steps, target_permits_inspection(steps->target));
}

static bool assume(struct steps *steps)
{
	uint64_t effective = steps->target->credentials.effective;

	umask(steps->target->umask);
	take_steps(steps);
	if (steps->levels > 0)
		return assume_in_user_namespace(steps);
	return are_done(steps) && (steps->effective == effective || inspect_confine(effective));
}

bool identity_assume(struct target *target)
{
	static struct steps steps;
	bool assumed;

	steps = (struct steps){.target = target,
		.net = DONE,
		.mounts = DONE,
		.root = DONE,
		.directory = DONE,
		.own_status = DONE,
		.process = DONE,
		.error = EPERM};
	if (!prepare(&steps))
		return false;
	assumed = assume(&steps);
	errno = steps.error;
	return assumed;
}
