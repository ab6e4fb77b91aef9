#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "address.h"
#include "config.h"
#include "filter.h"
#include "judge.h"
#include "kernel.h"
#include "owned.h"
#include "report.h"
#include "scratch.h"
#include "step.h"

/* The limit on repeated lookups of a path that changes between our checks. */
#define MAX_LOOKUPS 8

/* ---- answers ---- */

static int refuse(const char *verb, const char *path, const struct judgement *judgement)
{
	report_refusal(verb, path, judgement->reason, &judgement->record);
	errno = EADDRINUSE;
	return -1;
}

static int refuse_busy(const char *verb, const char *path)
{
	struct judgement busy = {.reason = REASON_MUTEX_BUSY};

	return refuse(verb, path, &busy);
}

/*
 * Whether an unlink failed with ENOENT on a path that a lock file may have had. A program that
 * lists a directory and unlinks each entry finds that the lock file is already gone, because we
 * unlinked it with its socket. Without the guard its loop would not fail, so it must not here.
 */
static bool is_former_lockfile(const struct call *call)
{
	char directory[LOCKFILE_PATH];
	struct kernel_file found;
	size_t length;

	if (call->newpath || !lockfile_socket_path(call->path, directory, sizeof(directory)))
		return false;
	length = inode_directory_length(call->path); /* fits, since the socket's path did */
	memcpy(directory, call->path, length);
	memcpy(directory + length, ".", 2);
	return inode_stat(call->dirfd, directory, &found) == 0;
}

/* Makes the call with a slash appended to the path; space has length + 2 bytes. */
static int perform_with_slash(const struct call *call, size_t length, char *space)
{
	struct call harmless = *call;
	int result;

	memcpy(space, call->path, length);
	memcpy(space + length, "/", 2);
	harmless.path = space;
	result = call->perform(&harmless);
	if (result != 0 && errno == ENOENT && is_former_lockfile(call))
		return 0;
	return result;
}

static __attribute__((noinline)) int perform_unless_socket(const struct call *call, size_t length)
{
	char small[256]; /* longer paths are rare, and a signal handler's stack may be small */
	char *space = length + 2 <= sizeof(small) ? small : scratch_allocate(length + 2);
	int result;

	if (!space) {
		errno = ENOENT;
		return -1;
	}
	result = perform_with_slash(call, length, space);
	if (space != small)
		scratch_free(space, length + 2);
	return result;
}

/*
 * The length of a path that the kernel has not read yet, because a filter forbade the lookup. 0 if
 * the path cannot be read.
 */
static size_t readable_length(const char *path)
{
	const uintptr_t page = 4096; /* or a multiple */
	size_t length = 0;

	while (length < PATH_MAX) {
		uintptr_t at = (uintptr_t)path + length;
		size_t rest = page - at % page;
		size_t found;

		if (!kernel_can_read(at - at % (_NSIG / 8)))
			return 0;
		found = strnlen(path + length, rest);
		length += found;
		if (found < rest)
			break;
	}
	return length;
}

/*
 * The lookup of a path failed with errno, usually because the path is absent. The program must get
 * the errno of its own call (EROFS takes precedence over ENOENT, for one). But if the call were
 * made as it is, a rival could bind the path first, and the call would remove the rival's socket.
 * So it is made with a slash appended to the path: if there is a socket by then, the kernel returns
 * ENOTDIR and removes nothing. Returns true if *result is the answer. Returns false, with errno
 * restored, if the caller must look the path up again.
 */
static bool perform_after_failed_lookup(const struct call *call, int saved, int *result)
{
	int lookup_error = errno;
	bool unusable = lookup_error == EFAULT || lookup_error == ENOTDIR ||
			lookup_error == ENAMETOOLONG ||
			lookup_error == ELOOP; /* for every process */
	size_t length = 0;

	if (!unusable && !filter_is_known())
		length = kernel_is_forbidden(lookup_error) ? readable_length(call->path)
							   : strlen(call->path);
	errno = saved;
	/*
	 * The call is made as it is if it cannot remove a socket; if the path is too long for a
	 * slash, and so for bind; or if a filter of the process might reject a changed path.
	 */
	if (length == 0 || call->path[length - 1] == '/' || length + 2 > PATH_MAX) {
		*result = call->perform(call);
		return true;
	}
	*result = perform_unless_socket(call, length);
	if (*result == 0)
		errno = saved;
	if (*result == 0 || (errno != ENOTDIR && errno != EISDIR))
		return true;
	errno = lookup_error == ENOENT ? saved : lookup_error;
	return lookup_error != ENOENT;
}

/* ---- unlink, unlinkat, remove ---- */

/*
 * Makes a call that removes socket paths, after the rules have allowed it. If this process is
 * killed between the call and lockfile_unlink, the path must be free, even if a forked process
 * still holds a claim. So the records say before the call that the owner is leaving. A rename with
 * RENAME_NOREPLACE removes nothing at TO, whose owner may be a rival.
 */
static int perform_removal(const struct call *call, struct step *step, bool replaces)
{
	const int removed = replaces ? PATHS : TO;
	int result;

	for (int i = 0; i < removed; i++)
		lockfile_mark_leaving(&step->lock[i], true);
	result = call->perform(call);
	for (int i = 0; result != 0 && i < removed; i++)
		lockfile_mark_leaving(&step->lock[i], false);
	return result;
}

/* The same call on the last component of each path, relative to its opened directory. */
static struct call call_in_parents(const struct call *call, const struct step *step)
{
	struct call here = *call;

	if (step->guarded[FROM]) {
		here.dirfd = step->location[FROM].parent;
		here.path = step->location[FROM].name;
	}
	if (step->guarded[TO]) {
		here.newdir = step->location[TO].parent;
		here.newpath = step->location[TO].name;
	}
	return here;
}

static int judge_and_unlink(const struct call *call, struct step *step, struct judgement *judgement)
{
	const struct call here = call_in_parents(call, step);
	struct lockfile *lock = &step->lock[FROM];
	int result = -1;

	judge(&step->location[FROM], lock, judgement);
	switch (judgement->verdict) {
	case VERDICT_IN_USE:
		break;
	case VERDICT_ABSENT:
	case VERDICT_FAILED:
		errno = judgement->error;
		break;
	case VERDICT_NOT_SOCKET:
	case VERDICT_FORBIDDEN:
		result = here.perform(&here);
		break;
	case VERDICT_OWN:
	case VERDICT_STALE:
		result = perform_removal(&here, step, false);
		if (result == 0)
			lockfile_unlink(lock);
		break;
	}
	return result;
}

static void report_unlink(const struct call *call, enum verdict verdict)
{
	if (verdict == VERDICT_OWN)
		report_decision(call->verb, call->path, "allowed: the process owns the socket");
	if (verdict == VERDICT_STALE)
		report_decision(call->verb, call->path, "allowed: the socket is stale");
	if (verdict == VERDICT_FORBIDDEN)
		report_decision(call->verb, call->path,
			"allowed: a seccomp filter of the process forbids the checks");
}

static int unlink_in_step(const struct call *call, struct step *step)
{
	struct judgement judgement;
	int result;

	step_add_path(step, FROM, call->dirfd, call->path);
	if (!step->guarded[FROM]) {
		report_decision(call->verb, call->path, "allowed: a setting excludes the path");
		return call->perform(call);
	}
	if (!step_try_lock(step)) {
		if (judge_in_use_unlocked(&step->location[FROM], &step->lock[FROM], &judgement))
			return refuse(call->verb, call->path, &judgement);
		if (!step_lock(step))
			return refuse_busy(call->verb, call->path);
	}
	result = judge_and_unlink(call, step, &judgement);
	step_unlock(step);
	if (judgement.verdict == VERDICT_IN_USE)
		return refuse(call->verb, call->path, &judgement);
	if (judgement.verdict == VERDICT_OWN && result == 0)
		owned_remove(&judgement.inode, &judgement.lockfile);
	report_unlink(call, judgement.verdict);
	return result;
}

static __attribute__((noinline)) int unlink_socket(const struct call *call)
{
	struct step step;
	int result;

	step_begin(&step);
	result = unlink_in_step(call, &step);
	step_end(&step);
	return result;
}

static const char *last_component(const char *path)
{
	return path + inode_directory_length(path);
}

/*
 * The program unlinks a lock file, for example as it empties a directory. The file must be unlinked
 * under its mutex. Otherwise another process could create a new lock file and acquire its mutex
 * while this or a third process still holds the mutex of the old one. If the socket path's lock
 * file has another name, the program is unlinking a stranger's file.
 */
static __attribute__((noinline)) int unlink_lockfile(const struct call *call)
{
	struct step step;
	struct lockfile *lock = &step.lock[FROM];
	char path[LOCKFILE_PATH];
	int saved = errno;
	int result;

	if (!lockfile_socket_path(call->path, path, sizeof(path)))
		return call->perform(call);
	step_begin(&step);
	step_add_path(&step, FROM, call->dirfd, path);
	if (step_lock(&step)) {
		result = call->perform(call);
		if (result != 0 && errno == ENOENT && is_former_lockfile(call)) {
			result = 0; /* a second file, which step_lock has unlinked */
			errno = saved;
		}
		if (strcmp(last_component(lock->path), last_component(call->path)) == 0) {
			lock->unlinked = result == 0;
			lock->linked = false;
		}
		step_unlock(&step);
	} else {
		result = refuse_busy(call->verb, call->path);
	}
	step_end(&step);
	return result;
}

/* Checks the suffix first: unlink_lockfile needs more of the stack. */
static int unlink_regular(const struct call *call)
{
	return lockfile_has_suffix(call->path) ? unlink_lockfile(call) : call->perform(call);
}

int guard_unlink(const struct call *call)
{
	int saved = errno;
	struct kernel_file found;
	int result;

	for (int i = 0; i < MAX_LOOKUPS; i++) {
		if (inode_stat(call->dirfd, call->path, &found) == 0) {
			if (S_ISSOCK(found.mode))
				return unlink_socket(call);
			return S_ISREG(found.mode) ? unlink_regular(call) : call->perform(call);
		}
		if (perform_after_failed_lookup(call, saved, &result))
			return result;
	}
	/* Each time, we found it absent and libc found it: another library translates paths. */
	return call->perform(call);
}

/* ---- rename, renameat, renameat2 ---- */

/* After a rename of sockets: renames their lock files in the same way, or unlinks them. */
static void move_lockfiles(const struct call *call, struct step *step,
	const struct judgement *judgements)
{
	struct lockfile *from = &step->lock[FROM];
	struct lockfile *to = &step->lock[TO];

	if (call->flags & RENAME_EXCHANGE) {
		/* Otherwise each claim would be beside the other owner's socket. */
		if (!lockfile_exchange(from, to)) {
			lockfile_unlink(from);
			lockfile_unlink(to);
		}
		return;
	}
	if (judgements[FROM].verdict != VERDICT_NOT_SOCKET && lockfile_move(from, to))
		lockfile_mark_leaving(to, false);
	else
		lockfile_unlink(to);
	if (judgements[FROM].verdict != VERDICT_NOT_SOCKET)
		lockfile_unlink(from);
}

static void judge_paths(struct step *step, struct judgement *judgements)
{
	for (int i = 0; i < PATHS; i++) {
		if (step->guarded[i])
			judge(&step->location[i], &step->lock[i], &judgements[i]);
		else
			judgements[i] = (struct judgement){.verdict = VERDICT_NOT_SOCKET};
	}
}

/* Whether both are names of one inode: rename(2) then does nothing. */
static bool same_socket(const struct judgement *judgements)
{
	return judge_is_socket(&judgements[FROM]) && judge_is_socket(&judgements[TO]) &&
	       inode_same(&judgements[FROM].inode, &judgements[TO].inode);
}

/* FROM or TO: another process owns this path, so the call must be refused. PATHS: neither. */
static int find_obstacle(const struct call *call, const struct step *step,
	struct judgement *judgements)
{
	struct judgement *from = &judgements[FROM];
	struct judgement *to = &judgements[TO];

	if (same_socket(judgements))
		return PATHS;
	if (from->verdict == VERDICT_IN_USE)
		return FROM;
	if (to->verdict == VERDICT_IN_USE && !(call->flags & RENAME_NOREPLACE))
		return TO;
	if (to->verdict == VERDICT_ABSENT && judge_is_socket(from) &&
		judge_absent_is_claimed(&step->lock[TO], to))
		return TO;
	return PATHS;
}

static int judge_and_rename(const struct call *call, struct step *step,
	struct judgement *judgements, int *obstacle)
{
	struct call here;
	int result;

	judge_paths(step, judgements);
	*obstacle = find_obstacle(call, step, judgements);
	if (*obstacle != PATHS)
		return -1;
	for (int i = 0; i < PATHS; i++) {
		if (judgements[i].verdict != VERDICT_FAILED &&
			(i == TO || judgements[i].verdict != VERDICT_ABSENT))
			continue;
		errno = judgements[i].error;
		return -1;
	}
	here = call_in_parents(call, step);
	if (same_socket(judgements) || (call->flags & RENAME_EXCHANGE))
		result = here.perform(&here);
	else
		result = perform_removal(&here, step, !(call->flags & RENAME_NOREPLACE));
	if (result == 0 && !same_socket(judgements))
		move_lockfiles(call, step, judgements);
	return result;
}

static int rename_in_step(const struct call *call, struct step *step, bool from_socket)
{
	struct judgement judgements[PATHS];
	int obstacle;
	int result;

	if (from_socket || (call->flags & RENAME_EXCHANGE))
		step_add_path(step, FROM, call->dirfd, call->path);
	step_add_path(step, TO, call->newdir, call->newpath);
	if (!step_lock(step))
		return refuse_busy(call->verb, call->newpath);
	result = judge_and_rename(call, step, judgements, &obstacle);
	step_unlock(step);
	if (obstacle != PATHS)
		return refuse(call->verb, obstacle == FROM ? call->path : call->newpath,
			&judgements[obstacle]);
	if (result == 0 && judgements[TO].verdict == VERDICT_OWN &&
		!(call->flags & RENAME_EXCHANGE) && !same_socket(judgements))
		owned_remove(&judgements[TO].inode, &judgements[TO].lockfile);
	report_decision(call->verb, call->newpath,
		step->guarded[TO] || step->guarded[FROM] ? "allowed: no live owner loses a path"
							 : "allowed: a setting excludes the path");
	return result;
}

static __attribute__((noinline)) int rename_sockets(const struct call *call, bool from_socket)
{
	struct step step;
	int result;

	step_begin(&step);
	result = rename_in_step(call, &step, from_socket);
	step_end(&step);
	return result;
}

int guard_rename(const struct call *call)
{
	int saved = errno;
	struct kernel_file from, to;
	int result;

	for (int i = 0; i < MAX_LOOKUPS; i++) {
		if (inode_stat(call->dirfd, call->path, &from) == 0) {
			bool there = inode_stat(call->newdir, call->newpath, &to) == 0;

			if (there || errno == ENOENT) {
				errno = saved;
				if (S_ISSOCK(from.mode) || (there && S_ISSOCK(to.mode)))
					return rename_sockets(call, S_ISSOCK(from.mode));
				break;
			}
		}
		if (perform_after_failed_lookup(call, saved, &result))
			return result;
	}
	return call->perform(call);
}

/* ---- claims on an absent path ---- */

enum outcome { UNDECIDED, DONE, FAILED, REFUSED, AGAIN, LACKS_SPACE };

/*
 * Checks, before libc's bind or link, whether another process claims the path: the owner, or a
 * process forked from an owner that was killed. FAILED: the path exists, so libc's function must
 * not be called. It would succeed if an unguarded process removed the path just before. AGAIN: the
 * claim no longer counts, and its lock file is unlinked. Otherwise the claim's process would take
 * the path of the next socket for its own.
 */
static enum outcome check_claims(const struct location *location, struct lockfile *lock,
	struct judgement *judgement)
{
	struct kernel_file found;

	if (!lockfile_is_claimed(lock) || owned_find_claim(&lock->file) >= 0)
		return UNDECIDED;
	if (inode_stat(location->parent, location->name, &found) == 0)
		return FAILED;
	if (errno != ENOENT)
		return UNDECIDED;
	if (judge_absent_is_claimed(lock, judgement))
		return REFUSED;
	lockfile_unlink(lock); /* its owner closed the socket, or was killed while leaving */
	return AGAIN;
}

/* ---- link, linkat ---- */

/* Flags for fstatat(2) that follow symbolic links as linkat(2) will. */
static int stat_flags(const struct call *call)
{
	int flags = (int)call->flags & AT_EMPTY_PATH;

	return (call->flags & AT_SYMLINK_FOLLOW) ? flags : flags | AT_SYMLINK_NOFOLLOW;
}

/*
 * Claims a path under its mutex, and adds it to the paths that we own. A path of a foreign socket
 * is ours only by the claim.
 */
static void claim_path(const struct inode *inode, struct lockfile *lock,
	const struct record *record, bool foreign)
{
	int claim = lockfile_claim(lock, record);

	if (foreign && claim < 0)
		return;
	if (!owned_add(inode, &lock->file, claim, record->cookie, foreign) && claim >= 0)
		lock->claimed_by_us = false; /* lockfile_release gives the claim up */
}

/*
 * Claims the new path. If we own the socket, we own the new path like the old one. If another
 * process does, we own only the new path: we may remove it again.
 */
static void claim_linked(struct step *step)
{
	struct lockfile *to = &step->lock[TO];
	struct inode inode;
	struct record record;
	bool owns_socket;

	if (!step->guarded[TO] ||
		inode_identify(step->location[TO].parent, step->location[TO].name, &inode) != 0)
		return;
	owns_socket = owned_check(&inode, &step->lock[FROM]) == OWNED_SOCKET;
	if (!owns_socket || !lockfile_read_record(&step->lock[FROM], &record))
		record_describe_caller(&record, -1);
	claim_path(&inode, to, &record, !owns_socket);
}

/* One attempt, under both mutexes. */
static enum outcome link_once(const struct call *call, struct step *step,
	struct judgement *judgement)
{
	int saved = errno;
	struct call here = call_in_parents(call, step);
	enum outcome outcome;

	memset(judgement, 0, sizeof(*judgement));
	outcome = check_claims(&step->location[TO], &step->lock[TO], judgement);
	errno = outcome == FAILED ? EEXIST : saved;
	if (outcome != UNDECIDED)
		return outcome;
	if (here.perform(&here) != 0)
		return FAILED;
	claim_linked(step);
	errno = saved;
	return DONE;
}

static int link_in_step(const struct call *call, struct step *step)
{
	struct judgement judgement;
	enum outcome outcome = AGAIN;

	if (!(call->flags & (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW)))
		step_add_path(step, FROM, call->dirfd, call->path);
	step_add_path(step, TO, call->newdir, call->newpath);
	step->lock[TO].will_claim = true;
	for (int i = 0; i < MAX_LOOKUPS && outcome == AGAIN; i++) {
		if (!step_lock(step))
			return refuse_busy(call->verb, call->newpath);
		outcome = link_once(call, step, &judgement);
		step_unlock(step);
	}
	if (outcome == REFUSED)
		return refuse(call->verb, call->newpath, &judgement);
	if (outcome == AGAIN) /* other processes were faster each time */
		errno = EEXIST;
	report_decision(call->verb, call->newpath,
		step->guarded[TO] ? "allowed: no live owner claims the path"
				  : "allowed: a setting excludes the path");
	return outcome == DONE ? 0 : -1;
}

static __attribute__((noinline)) int link_socket(const struct call *call)
{
	struct step step;
	int result;

	step_begin(&step);
	result = link_in_step(call, &step);
	step_end(&step);
	return result;
}

int guard_link(const struct call *call)
{
	int saved = errno;
	struct kernel_file found;
	bool is_socket = kernel_stat(call->dirfd, call->path, stat_flags(call), &found) == 0 &&
			 S_ISSOCK(found.mode);
	struct kernel_file there;

	/* Look newpath up too, so that the kernel checks the pointer before we dereference it. */
	is_socket = is_socket &&
		    (inode_stat(call->newdir, call->newpath, &there) == 0 || errno == ENOENT);
	errno = saved;
	return is_socket ? link_socket(call) : call->perform(call);
}

/* ---- bind ---- */

/*
 * Whether a socket is bound already. bind(2) of such a socket fails with EADDRINUSE if the path
 * exists, and with EINVAL only if it does not. So after EADDRINUSE, unlinking the stale path would
 * not make the bind succeed: it would change the errno, and remove the path for nothing. If the
 * kernel does not answer, the socket counts as bound.
 */
static bool is_bound(int fd)
{
	struct sockaddr_un name;
	socklen_t size = sizeof(name);

	return kernel_getsockname(fd, &name, &size) != 0 || size > sizeof(sa_family_t);
}

static bool wants_reuse(int fd)
{
	int saved = errno;
	int on = config.reuse == REUSE_ALWAYS;
	socklen_t size = sizeof(on);

	if (config.reuse == REUSE_AUTO)
		kernel_getsockopt(fd, SO_REUSEADDR, &on, &size);
	if (on && is_bound(fd))
		on = 0;
	errno = saved;
	return on != 0;
}

/*
 * Claims the socket at the path. It is not the new one if the directory changed just before the
 * bind. To notice that, every bind would need another system call.
 */
static void claim_bound(int fd, const struct location *location, struct lockfile *lock)
{
	struct inode inode;
	struct record record;

	if (inode_identify(location->parent, location->name, &inode) != 0)
		return;
	record_describe_caller(&record, fd);
	claim_path(&inode, lock, &record, false);
}

static enum outcome again_if_absent(void)
{
	enum outcome outcome = errno == ENOENT ? AGAIN : FAILED;

	errno = EADDRINUSE;
	return outcome;
}

/*
 * Unlinks a stale socket and its lock file, after libc's bind failed with EADDRINUSE. Returns AGAIN
 * if the path is absent afterwards. An unguarded process may have removed it. Otherwise FAILED.
 */
static enum outcome unlink_stale(const struct location *location, struct lockfile *lock)
{
	const bool stale = judge_is_stale(location, lock);
	struct inode inode;

	if (inode_identify(location->parent, location->name, &inode) != 0)
		return again_if_absent();
	if (!stale) {
		errno = EADDRINUSE;
		return FAILED;
	}
	lockfile_mark_leaving(lock, true);
	if (kernel_unlink(location->parent, location->name) != 0) {
		lockfile_mark_leaving(lock, false);
		return again_if_absent();
	}
	lockfile_unlink(lock);
	if (owned_check(&inode, lock)) {
		lockfile_release(lock); /* it may be locked through the claim that we close */
		owned_remove(&inode, &lock->file);
	}
	return AGAIN;
}

static int perform_bind(const struct bind_call *call)
{
	return call->perform(call->fd, call->address, call->length);
}

/* One attempt, under the mutex. */
static enum outcome bind_once(const struct bind_call *call, const struct location *location,
	struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;
	enum outcome outcome;

	memset(judgement, 0, sizeof(*judgement));
	outcome = check_claims(location, lock, judgement);
	errno = saved;
	if (outcome == REFUSED || outcome == AGAIN)
		return outcome;
	if (outcome == FAILED) {
		errno = EADDRINUSE;
	} else if (perform_bind(call) == 0) {
		claim_bound(call->fd, location, lock);
		return DONE;
	}
	if ((errno == ENOSPC || errno == EDQUOT) && lock->fd >= 0)
		return LACKS_SPACE;
	if (errno == EADDRINUSE && wants_reuse(call->fd))
		return unlink_stale(location, lock);
	return FAILED;
}

static int bind_ignored(const struct bind_call *call, const char *path)
{
	report_decision("bind", path, "allowed: a setting excludes the path");
	return perform_bind(call);
}

/* For SOCKGUARD_DEBUG: the result of a bind that was not refused. */
static const char *describe_outcome(enum outcome outcome)
{
	if (outcome == DONE)
		return "allowed: no live owner claims the path";
	return errno == EADDRINUSE ? "failed as without the guard: the path exists"
				   : "failed as without the guard";
}

static int bind_in_step(const struct bind_call *call, const char *path, struct step *step)
{
	struct lockfile *lock = &step->lock[TO];
	const struct location *location = &step->location[TO];
	struct judgement judgement;
	enum outcome outcome = AGAIN;

	step_add_path(step, TO, AT_FDCWD, path);
	lock->will_claim = true;
	if (!step->guarded[TO])
		return bind_ignored(call, path);
	for (int i = 0; i < MAX_LOOKUPS && outcome == AGAIN; i++) {
		if (!step_lock(step))
			return refuse_busy("bind", path);
		outcome = bind_once(call, location, lock, &judgement);
		step_unlock(step);
	}
	if (outcome == REFUSED)
		return refuse("bind", path, &judgement);
	if (outcome == LACKS_SPACE && perform_bind(call) == 0) {
		/* The lock file, which step_unlock has unlinked, had used up the disk space. */
		claim_bound(call->fd, location, lock);
		outcome = DONE;
	}
	if (outcome == AGAIN) /* other processes were faster each time */
		errno = EADDRINUSE;
	report_decision("bind", path, describe_outcome(outcome));
	return outcome == DONE ? 0 : -1;
}

static __attribute__((noinline)) int bind_path(const struct bind_call *call, const char *path)
{
	struct step step;
	int saved = errno;
	int result;

	step_begin(&step);
	result = bind_in_step(call, path, &step);
	step_end(&step);
	if (result == 0)
		errno = saved;
	return result;
}

int guard_bind(const struct bind_call *call)
{
	int saved = errno;
	char path[ADDRESS_PATH];
	bool guarded = address_copy_path(call->fd, call->address, call->length, path);

	errno = saved;
	return guarded ? bind_path(call, path) : perform_bind(call);
}
