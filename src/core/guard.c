#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

/* How often to look again at what keeps changing before our eyes, before leaving it to libc. */
#define LOOKS 8

/* ---- answers ---- */

static int refuse(const char *verb, const char *path, const struct judgement *judgement)
{
	report_refusal(verb, path, judgement->rival, &judgement->record);
	errno = EADDRINUSE;
	return -1;
}

static int refuse_busy(const char *verb, const char *path)
{
	struct judgement busy = {.rival = RIVAL_BUSY};

	return refuse(verb, path, &busy);
}

/*
 * A lock file goes with its socket. A program that goes through a directory it listed was to remove
 * it next, and must not fail where it does not without the guard.
 */
static bool went_with_its_socket(const struct call *call)
{
	char directory[LOCKFILE_PATH];
	struct kernel_file found;
	size_t length;

	if (call->newpath || !lockfile_socket(call->path, directory, sizeof(directory)))
		return false;
	length = inode_directory(call->path);
	if (length + 2 > sizeof(directory))
		return false;
	memcpy(directory, call->path, length);
	memcpy(directory + length, ".", 2);
	return inode_look(call->dirfd, directory, &found) == 0;
}

/* Makes the call with a slash at the path's end; in space of the path's length plus two. */
static int perform_slashed(const struct call *call, size_t length, char *space)
{
	struct call harmless = *call;
	int result;

	memcpy(space, call->path, length);
	memcpy(space + length, "/", 2);
	harmless.path = space;
	result = call->perform(&harmless);
	if (result != 0 && errno == ENOENT && went_with_its_socket(call))
		return 0;
	return result;
}

static __attribute__((noinline)) int perform_harmlessly(const struct call *call, size_t length)
{
	char small[256]; /* longer paths are rare, and a handler's stack may be small */
	char *space = length + 2 <= sizeof(small) ? small : scratch_take(length + 2);
	int result;

	if (!space) {
		errno = ENOENT;
		return -1;
	}
	result = perform_slashed(call, length, space);
	if (space != small)
		scratch_give_back(space, length + 2);
	return result;
}

/*
 * A look at a name failed, with errno: most often there is none. What the program sees is libc's
 * own answer (EROFS comes before ENOENT, for one), but a rival may bind the name before the call
 * gets there. So libc is asked with a slash at the path's end: where there is a socket by then, it
 * says ENOTDIR and takes nothing away. Returns false, with errno as it was, if it is worth another
 * look.
 */
static bool answered_unseen(const struct call *call, int saved, int *result)
{
	int looked = errno;
	bool unusable = looked == EFAULT || looked == ENOTDIR || looked == ENAMETOOLONG ||
			looked == ELOOP; /* for anybody */
	size_t length = unusable ? 0 : strlen(call->path);

	errno = saved;
	/*
	 * Harmless as it is; or too long for a slash, and for anybody to bind; or a filter of the
	 * process's own might not let another path than its own pass.
	 */
	if (length == 0 || filter_any() || call->path[length - 1] == '/' || length + 2 > PATH_MAX) {
		*result = call->perform(call);
		return true;
	}
	*result = perform_harmlessly(call, length);
	if (*result == 0)
		errno = saved;
	if (*result == 0 || (errno != ENOTDIR && errno != EISDIR))
		return true;
	errno = looked == ENOENT ? saved : looked;
	return looked != ENOENT;
}

/* ---- unlink, unlinkat, remove ---- */

/*
 * Has libc take away names that may be. Whoever dies between that and the removal of the lock file
 * is to leave the name free, even where a fork or an orphan still holds a claim on it.
 */
static int take_away(const struct call *call, struct step *step)
{
	int result;

	lockfile_note_left(&step->lock[FROM], true);
	lockfile_note_left(&step->lock[TO], true);
	result = call->perform(call);
	if (result == 0)
		return result;
	lockfile_note_left(&step->lock[FROM], false);
	lockfile_note_left(&step->lock[TO], false);
	return result;
}

/* The call on the names as they are in their directories. */
static struct call call_in(const struct call *call, const struct step *step)
{
	struct call here = *call;

	if (step->guarded[FROM]) {
		here.dirfd = step->place[FROM].at;
		here.path = step->place[FROM].name;
	}
	if (step->guarded[TO]) {
		here.newdir = step->place[TO].at;
		here.newpath = step->place[TO].name;
	}
	return here;
}

static int unlink_judged(const struct call *call, struct step *step, struct judgement *judgement)
{
	const struct call here = call_in(call, step);
	struct lockfile *lock = &step->lock[FROM];
	int result = -1;

	judge(&step->place[FROM], lock, judgement);
	switch (judgement->whose) {
	case THEIRS:
		break;
	case ABSENT:
	case UNSEEN:
		errno = judgement->error;
		break;
	case NO_SOCKET:
	case UNJUDGED:
		result = here.perform(&here);
		break;
	case MINE:
	case NOBODYS:
		result = take_away(&here, step);
		if (result == 0)
			lockfile_remove(lock);
		break;
	}
	return result;
}

static void report_unlink(const struct call *call, enum whose whose)
{
	if (whose == MINE)
		report_decision(call->verb, call->path, "left to libc: its own socket");
	if (whose == NOBODYS)
		report_decision(call->verb, call->path, "left to libc: a stale name");
	if (whose == UNJUDGED)
		report_decision(call->verb, call->path,
			"left to libc: a seccomp filter of the process forbids to ask");
}

static int unlink_in_step(const struct call *call, struct step *step)
{
	struct judgement judgement;
	int result;

	step_add(step, FROM, call->dirfd, call->path);
	if (!step->guarded[FROM]) {
		report_decision(call->verb, call->path, "left to libc: a setting ignores the path");
		return call->perform(call);
	}
	if (!step_try(step)) {
		if (judge_in_use(&step->place[FROM], &step->lock[FROM], &judgement))
			return refuse(call->verb, call->path, &judgement);
		if (!step_enter(step))
			return refuse_busy(call->verb, call->path);
	}
	result = unlink_judged(call, step, &judgement);
	step_leave(step);
	if (judgement.whose == THEIRS)
		return refuse(call->verb, call->path, &judgement);
	if (judgement.whose == MINE && result == 0)
		owned_forget(&judgement.inode, &judgement.lockfile);
	report_unlink(call, judgement.whose);
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

/*
 * A lock file that the program removes itself, as it goes through a directory: under its mutex like
 * anybody, or two processes would each hold one.
 */
static __attribute__((noinline)) int unlink_lockfile(const struct call *call)
{
	struct step step;
	char path[LOCKFILE_PATH];
	int result;

	if (!lockfile_socket(call->path, path, sizeof(path)))
		return call->perform(call);
	step_begin(&step);
	step_add(&step, FROM, call->dirfd, path);
	if (step_enter(&step)) {
		result = call->perform(call);
		step.lock[FROM].removed = result == 0;
		step.lock[FROM].named = false;
		step_leave(&step);
	} else {
		result = refuse_busy(call->verb, call->path);
	}
	step_end(&step);
	return result;
}

/* Few names end as a lock file's does, and those are worth a longer look on the stack. */
static int unlink_regular(const struct call *call)
{
	size_t length = strlen(call->path);

	if (length < LOCKFILE_LONGER ||
		strcmp(call->path + length - strlen(LOCKFILE_SUFFIX), LOCKFILE_SUFFIX) != 0)
		return call->perform(call);
	return unlink_lockfile(call);
}

int guard_unlink(const struct call *call)
{
	int saved = errno;
	struct kernel_file found;
	int result;

	for (int i = 0; i < LOOKS; i++) {
		if (inode_look(call->dirfd, call->path, &found) == 0) {
			if (S_ISSOCK(found.mode))
				return unlink_socket(call);
			return S_ISREG(found.mode) ? unlink_regular(call) : call->perform(call);
		}
		if (answered_unseen(call, saved, &result))
			return result;
	}
	/* Never there when we look, always there for libc: another library translates its paths. */
	return call->perform(call);
}

/* ---- rename, renameat, renameat2 ---- */

/* Lock files go with their names. */
static void settle_renamed(const struct call *call, struct step *step,
	const struct judgement *judgements)
{
	struct lockfile *from = &step->lock[FROM];
	struct lockfile *to = &step->lock[TO];

	if (call->flags & RENAME_EXCHANGE) {
		/* Or a claim would lie beside another's socket. */
		if (!lockfile_exchange(from, to)) {
			lockfile_remove(from);
			lockfile_remove(to);
		}
		return;
	}
	if (judgements[FROM].whose != NO_SOCKET && lockfile_move(from, to))
		lockfile_note_left(to, false);
	else
		lockfile_remove(to);
	if (judgements[FROM].whose != NO_SOCKET)
		lockfile_remove(from);
}

static void judge_names(struct step *step, struct judgement *judgements)
{
	for (int i = 0; i < NAMES; i++) {
		if (step->guarded[i])
			judge(&step->place[i], &step->lock[i], &judgements[i]);
		else
			judgements[i] = (struct judgement){.whose = NO_SOCKET};
	}
}

/* Two names of one inode: rename does nothing. */
static bool same_socket(const struct judgement *judgements)
{
	return judge_is_socket(&judgements[FROM]) && judge_is_socket(&judgements[TO]) &&
	       inode_same(&judgements[FROM].inode, &judgements[TO].inode);
}

/* Which of the names stands in the way, or NAMES if none does. */
static int in_the_way(const struct call *call, const struct step *step,
	struct judgement *judgements)
{
	struct judgement *from = &judgements[FROM];
	struct judgement *to = &judgements[TO];

	if (same_socket(judgements))
		return NAMES;
	if (from->whose == THEIRS)
		return FROM;
	if (to->whose == THEIRS && !(call->flags & RENAME_NOREPLACE))
		return TO;
	if (to->whose == ABSENT && judge_is_socket(from) &&
		judge_absent_claimed(&step->lock[TO], to))
		return TO;
	return NAMES;
}

static int rename_judged(const struct call *call, struct step *step, struct judgement *judgements,
	int *obstacle)
{
	struct call here;
	int result;

	judge_names(step, judgements);
	*obstacle = in_the_way(call, step, judgements);
	if (*obstacle != NAMES)
		return -1;
	for (int i = 0; i < NAMES; i++) {
		if (judgements[i].whose != UNSEEN && (i == TO || judgements[i].whose != ABSENT))
			continue;
		errno = judgements[i].error;
		return -1;
	}
	here = call_in(call, step);
	if (same_socket(judgements) || (call->flags & RENAME_EXCHANGE))
		result = here.perform(&here);
	else
		result = take_away(&here, step);
	if (result == 0 && !same_socket(judgements))
		settle_renamed(call, step, judgements);
	return result;
}

static int rename_in_step(const struct call *call, struct step *step, bool from_socket)
{
	struct judgement judgements[NAMES];
	int obstacle;
	int result;

	if (from_socket || (call->flags & RENAME_EXCHANGE))
		step_add(step, FROM, call->dirfd, call->path);
	step_add(step, TO, call->newdir, call->newpath);
	if (!step_enter(step))
		return refuse_busy(call->verb, call->newpath);
	result = rename_judged(call, step, judgements, &obstacle);
	step_leave(step);
	if (obstacle != NAMES)
		return refuse(call->verb, obstacle == FROM ? call->path : call->newpath,
			&judgements[obstacle]);
	if (result == 0 && judgements[TO].whose == MINE && !(call->flags & RENAME_EXCHANGE) &&
		!same_socket(judgements))
		owned_forget(&judgements[TO].inode, &judgements[TO].lockfile);
	report_decision(call->verb, call->newpath,
		step->guarded[TO] || step->guarded[FROM]
			? "left to libc: no live owner loses a name"
			: "left to libc: a setting ignores the path");
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

	for (int i = 0; i < LOOKS; i++) {
		if (inode_look(call->dirfd, call->path, &from) == 0) {
			bool there = inode_look(call->newdir, call->newpath, &to) == 0;

			if (there || errno == ENOENT) {
				errno = saved;
				if (S_ISSOCK(from.mode) || (there && S_ISSOCK(to.mode)))
					return rename_sockets(call, S_ISSOCK(from.mode));
				break;
			}
		}
		if (answered_unseen(call, saved, &result))
			return result;
	}
	return call->perform(call);
}

/* ---- link, linkat ---- */

/* How statx and fstatat are to follow what linkat is told to follow. */
static int look_flags(const struct call *call)
{
	int flags = (int)call->flags & AT_EMPTY_PATH;

	return (call->flags & AT_SYMLINK_FOLLOW) ? flags : flags | AT_SYMLINK_NOFOLLOW;
}

/* The new name is as ours as the socket is; of a foreign one it is ours to remove again. */
static void note_linked(struct step *step)
{
	struct lockfile *to = &step->lock[TO];
	struct inode inode;
	struct record record;
	bool mine;
	int claim;

	if (!step->guarded[TO] ||
		inode_identify(step->place[TO].at, step->place[TO].name, &inode) != 0)
		return;
	mine = owned_is_mine(&inode, &step->lock[FROM]) == OWNED_SOCKET;
	if (!mine || !lockfile_record(&step->lock[FROM], &record))
		record_of_self(&record, -1);
	claim = lockfile_claim(to, &record);
	if (mine || claim >= 0)
		owned_note(&inode, &to->file, claim, record.cookie, !mine);
}

static int link_in_step(const struct call *call, struct step *step)
{
	struct judgement to = {0};
	struct call here;
	int saved = errno;
	bool claimed;
	int result;

	if (!(call->flags & (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW)))
		step_add(step, FROM, call->dirfd, call->path);
	step_add(step, TO, call->newdir, call->newpath);
	step->lock[TO].to_claim = true;
	if (!step_enter(step))
		return refuse_busy(call->verb, call->newpath);
	claimed = inode_identify(step->place[TO].at, step->place[TO].name, &to.inode) != 0 &&
		  errno == ENOENT && judge_absent_claimed(&step->lock[TO], &to);
	errno = saved;
	here = call_in(call, step);
	result = claimed ? -1 : here.perform(&here);
	if (result == 0) {
		note_linked(step);
		errno = saved;
	}
	step_leave(step);
	if (claimed)
		return refuse(call->verb, call->newpath, &to);
	report_decision(call->verb, call->newpath,
		step->guarded[TO] ? "left to libc: no live owner claims the name"
				  : "left to libc: a setting ignores the path");
	return result;
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
	bool is_socket = kernel_stat(call->dirfd, call->path, look_flags(call), &found) == 0 &&
			 S_ISSOCK(found.mode);
	struct kernel_file there;

	/* The new path is looked at for the kernel to judge its pointer before we read it. */
	is_socket = is_socket &&
		    (inode_look(call->newdir, call->newpath, &there) == 0 || errno == ENOENT);
	errno = saved;
	return is_socket ? link_socket(call) : call->perform(call);
}

/* ---- bind ---- */

/* Of a socket that is bound already the kernel says EADDRINUSE first, and EINVAL of a free path. */
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

static void note_bound(int fd, const struct place *place, struct lockfile *lock)
{
	struct inode inode;
	struct record record;

	if (inode_identify(place->at, place->name, &inode) != 0)
		return;
	record_of_self(&record, fd);
	owned_note(&inode, &lock->file, lockfile_claim(lock, &record), record.cookie, false);
}

enum bound { UNDECIDED, BOUND, FAILED, REFUSED, AGAIN, LACKS_ROOM };

/* Removes a stale name, and the claims on it. Returns AGAIN for a bind on the absent path. */
static enum bound replace_stale(const struct place *place, struct lockfile *lock)
{
	struct inode inode;

	if (inode_identify(place->at, place->name, &inode) != 0) {
		errno = EADDRINUSE;
		return FAILED;
	}
	lockfile_note_left(lock, true);
	if (kernel_unlink(place->at, place->name) != 0) {
		lockfile_note_left(lock, false);
		errno = EADDRINUSE;
		return FAILED;
	}
	lockfile_remove(lock);
	if (owned_is_mine(&inode, lock))
		owned_forget(&inode, &lock->file);
	return AGAIN;
}

/* Claims of others, for which an owner stands or has stood: they come before libc's bind. */
static enum bound heed_claims(const struct place *place, struct lockfile *lock,
	struct judgement *judgement)
{
	struct kernel_file found;

	if (!lockfile_claimed(lock) || owned_claim_on(&lock->file) >= 0)
		return UNDECIDED;
	if (inode_look(place->at, place->name, &found) == 0)
		return FAILED; /* and libc is not asked: the name may go before it gets there */
	if (errno != ENOENT)
		return UNDECIDED;
	if (judge_absent_claimed(lock, judgement))
		return REFUSED;
	lockfile_remove(lock); /* its owner closed the socket, or was leaving as it died */
	return AGAIN;
}

static int perform_bind(const struct bind_call *call)
{
	return call->perform(call->fd, call->address, call->length);
}

/* One go under the mutex. */
static enum bound bind_once(const struct bind_call *call, const struct place *place,
	struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;
	enum bound bound;

	memset(judgement, 0, sizeof(*judgement));
	bound = heed_claims(place, lock, judgement);
	errno = saved;
	if (bound == REFUSED || bound == AGAIN)
		return bound;
	if (bound == FAILED) {
		errno = EADDRINUSE;
	} else if (perform_bind(call) == 0) {
		note_bound(call->fd, place, lock);
		return BOUND;
	}
	if ((errno == ENOSPC || errno == EDQUOT) && lock->fd >= 0)
		return LACKS_ROOM;
	if (errno == EADDRINUSE && wants_reuse(call->fd) && judge_stale(place, lock))
		return replace_stale(place, lock);
	return FAILED;
}

static int bind_ignored(const struct bind_call *call, const char *path)
{
	report_decision("bind", path, "left to libc: a setting ignores the path");
	return perform_bind(call);
}

/* What became of it, when it was not refused. */
static const char *decision_of(enum bound bound)
{
	if (bound == BOUND)
		return "left to libc: no live owner claims the name";
	return errno == EADDRINUSE ? "failed as without the guard: the path exists"
				   : "failed as without the guard";
}

static int bind_in_step(const struct bind_call *call, const char *path, struct step *step)
{
	struct lockfile *lock = &step->lock[TO];
	const struct place *place = &step->place[TO];
	struct judgement judgement;
	enum bound bound = AGAIN;

	step_add(step, TO, AT_FDCWD, path);
	lock->to_claim = true;
	if (!step->guarded[TO])
		return bind_ignored(call, path);
	for (int i = 0; i < LOOKS && bound == AGAIN; i++) {
		if (!step_enter(step))
			return refuse_busy("bind", path);
		bound = bind_once(call, place, lock, &judgement);
		step_leave(step);
	}
	if (bound == REFUSED)
		return refuse("bind", path, &judgement);
	if (bound == LACKS_ROOM && perform_bind(call) == 0) {
		note_bound(call->fd, place, lock); /* the lock file had taken the last room */
		bound = BOUND;
	}
	if (bound == AGAIN) /* others were faster each time */
		errno = EADDRINUSE;
	report_decision("bind", path, decision_of(bound));
	return bound == BOUND ? 0 : -1;
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
	bool guarded = address_path(call->fd, call->address, call->length, path);

	errno = saved;
	return guarded ? bind_path(call, path) : perform_bind(call);
}
