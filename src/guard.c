#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "libc.h"
#include "liveness.h"
#include "lockfile.h"
#include "owned.h"
#include "report.h"
#include "sockdiag.h"

/* How long to wait for a mutex, which is held for microseconds unless its holder was stopped. */
#define PATIENCE_SEC     3
#define FIRST_PAUSE_NS   20000L
#define LONGEST_PAUSE_NS 2000000L

/* How often to look again at what keeps changing before our eyes, before leaving it to libc. */
#define LOOKS 8

/* ---- one step: the mutexes of a call, with signals and cancellation held off ---- */

enum { FROM, TO, NAMES }; /* a call's path and its newpath */

struct step {
	struct lockfile lock[NAMES];
	bool guarded[NAMES]; /* false: this name has no part in it */
	sigset_t signals;
	int cancel;
};

/* On a normal way out a mutex is held for microseconds: nobody notices. */
static void hold_off(struct step *step)
{
	sigset_t all;

	sigfillset(&all);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &step->cancel);
	sigprocmask(SIG_SETMASK, &all, &step->signals); /* of this thread alone, on Linux */
}

static void let_through(const struct step *step)
{
	int saved = errno;

	sigprocmask(SIG_SETMASK, &step->signals, NULL);
	pthread_setcancelstate(step->cancel, NULL);
	errno = saved;
}

/* Where no descriptor is to be had, or the file is no longer ours to open, our claim's will do. */
static enum lockfile_state borrow(struct lockfile *lock)
{
	struct stat found;
	struct file_id file;
	int claim;

	if (lock->path[0] == '\0' || inode_look(lock->dirfd, lock->path, &found) != 0)
		return LOCKFILE_NONE;
	file = file_of(&found);
	claim = owned_claim_on(&file);
	return claim < 0 ? LOCKFILE_NONE : lockfile_borrow(lock, claim);
}

/* All mutexes or none: never wait for one while holding another. */
static bool try_mutexes(struct step *step)
{
	for (int i = 0; i < NAMES; i++) {
		enum lockfile_state state = LOCKFILE_NONE;

		if (step->guarded[i])
			state = lockfile_try(&step->lock[i]);
		if (step->guarded[i] && state == LOCKFILE_NONE)
			state = borrow(&step->lock[i]);
		if (state != LOCKFILE_BUSY)
			continue;
		while (i-- > 0)
			lockfile_leave(&step->lock[i]);
		return false;
	}
	return true;
}

static bool later_than(const struct timespec *deadline)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec > deadline->tv_nsec);
}

/* Returns false, owing nothing, where somebody held a mutex for longer than anybody should. */
static bool enter(struct step *step)
{
	int saved = errno;
	struct timespec deadline;
	struct timespec pause = {.tv_nsec = FIRST_PAUSE_NS};

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += PATIENCE_SEC;
	for (;;) {
		hold_off(step);
		if (try_mutexes(step))
			break;
		if (later_than(&deadline)) {
			let_through(step);
			errno = saved;
			return false;
		}
		/* Cancellation stays off: nanosleep is a cancellation point, unlink is not. */
		sigprocmask(SIG_SETMASK, &step->signals, NULL);
		nanosleep(&pause, NULL);
		pthread_setcancelstate(step->cancel, NULL);
		if (pause.tv_nsec < LONGEST_PAUSE_NS)
			pause.tv_nsec *= 2;
	}
	errno = saved;
	return true;
}

static void leave(struct step *step)
{
	for (int i = NAMES; i-- > 0;)
		if (step->guarded[i])
			lockfile_leave(&step->lock[i]);
	let_through(step);
}

static void begin(struct step *step)
{
	for (int i = 0; i < NAMES; i++) {
		step->guarded[i] = false;
		step->lock[i].fd = -1;
		step->lock[i].file = (struct file_id){0};
	}
}

/* Adds a name to a step; an ignored one is left out of it. */
static void concern(struct step *step, int which, int dirfd, const char *path)
{
	step->guarded[which] = !config_ignores(dirfd, path);
	if (step->guarded[which])
		lockfile_name(&step->lock[which], dirfd, path);
}

/* ---- whose is a name ---- */

enum whose {
	MINE,
	NOBODYS, /* stale */
	THEIRS,
	ABSENT,
	NO_SOCKET,
	UNSEEN, /* the look failed, see error */
};

/* A socket's name as it was judged, for what follows from it. */
struct judgement {
	enum whose whose;
	int error;        /* why, when UNSEEN */
	enum rival rival; /* who stands in the way, when THEIRS */
	struct record record;
	struct inode inode;
	struct file_id lockfile; /* beside it, then */
};

static bool is_a_socket(const struct judgement *judgement)
{
	return judgement->whose == MINE || judgement->whose == NOBODYS ||
	       judgement->whose == THEIRS;
}

/* A claim together with another host's record: what the local kernel says of it means nothing. */
static bool claimed_elsewhere(const struct lockfile *lock, struct record *record)
{
	return lockfile_claimed(lock) && lockfile_record(lock, record) &&
	       record_from_elsewhere(record);
}

static void name_rival(const struct lockfile *lock, struct judgement *judgement)
{
	bool known = lockfile_claimed(lock) && lockfile_record(lock, &judgement->record);

	judgement->rival = known ? RIVAL_KNOWN : RIVAL_UNKNOWN;
}

/* Stale or not, by the kernel's word; unknown counts as live. */
static enum whose ask_kernel(const struct pin *pin, int dirfd, const char *path,
	struct lockfile *lock, struct judgement *judgement)
{
	if (liveness_of(pin, dirfd, path) != DEAD) {
		name_rival(lock, judgement);
		return THEIRS;
	}
	if (claimed_elsewhere(lock, &judgement->record)) {
		judgement->rival = RIVAL_REMOTE;
		return THEIRS;
	}
	return NOBODYS;
}

static enum whose whose_by_error(struct judgement *judgement)
{
	judgement->error = errno;
	return errno == ENOENT ? ABSENT : errno == ENOTSOCK ? NO_SOCKET : UNSEEN;
}

static enum whose judge_others(int dirfd, const char *path, struct lockfile *lock,
	struct judgement *judgement)
{
	struct pin pin;
	enum whose whose;

	if (inode_pin(dirfd, path, &pin) != 0) {
		if (errno != EMFILE && errno != ENFILE)
			return whose_by_error(judgement);
		name_rival(lock, judgement);
		return THEIRS; /* nothing can be asked without a descriptor */
	}
	whose = ask_kernel(&pin, dirfd, path, lock, judgement);
	if (whose == THEIRS && owned_adopt_held(&pin, lock))
		whose = MINE;
	inode_unpin(&pin);
	return whose;
}

/* Under the mutex: whatever was seen before it may have changed. */
static void judge(int dirfd, const char *path, struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;

	memset(judgement, 0, sizeof(*judgement));
	judgement->lockfile = lock->file;
	if (inode_identify(dirfd, path, &judgement->inode) != 0)
		judgement->whose = whose_by_error(judgement);
	else if (owned_is_mine(&judgement->inode, lock))
		judgement->whose = MINE;
	else
		judgement->whose = judge_others(dirfd, path, lock, judgement);
	errno = saved;
}

/*
 * A claim outlives its socket when the owner closed that and lives on. The record names the socket,
 * and the kernel knows whether it is still there, if it is one of this network namespace.
 */
static bool is_backed(const struct record *record)
{
	int saved = errno;
	int fd;
	uint64_t netns;

	if (record->socket == 0 || record->netns == 0)
		return true;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	netns = fd < 0 ? 0 : record_netns_of(fd);
	if (fd >= 0)
		close(fd);
	errno = saved;
	return netns != record->netns ||
	       sockdiag_exists((ino_t)record->socket, record->cookie) != SOCKDIAG_NO;
}

/* Under the mutex of an absent name: does it belong to somebody all the same? */
static bool absent_but_claimed(const struct lockfile *lock, struct judgement *judgement)
{
	if (!lockfile_claimed(lock) || owned_claim_on(&lock->file) >= 0)
		return false;
	judgement->rival = RIVAL_ABSENT;
	if (!lockfile_record(lock, &judgement->record))
		return true;
	return record_from_elsewhere(&judgement->record) || is_backed(&judgement->record);
}

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

/* Is it a lock file that a program wants to remove, as it goes through a directory it listed? */
static bool removes_lockfile(const struct call *call, size_t length)
{
	const size_t suffix = sizeof(LOCKFILE_SUFFIX) - 1;

	return !call->newpath && length > suffix &&
	       strcmp(call->path + length - suffix, LOCKFILE_SUFFIX) == 0;
}

/*
 * A look at a name failed, with errno: most often there is none. What the program sees is libc's
 * own answer (EROFS comes before ENOENT, for one), but a rival may bind the name before the call
 * gets there. So libc is asked with a slash at the path's end: where there is a socket by then, it
 * says ENOTDIR and takes nothing away. Returns false, with errno as it was, if it is worth another
 * look.
 */
static __attribute__((noinline)) bool answered_unseen(const struct call *call, int saved,
	int *result)
{
	char slashed[LOCKFILE_PATH]; /* longer ones are rare, and a handler's stack may be small */
	struct call harmless = *call;
	int looked = errno;
	size_t length;

	*result = -1;
	if (looked == EFAULT) {
		*result = call->perform(call);
		return true;
	}
	length = strlen(call->path);
	if (length == 0 || length + 2 > sizeof(slashed))
		return true;
	memcpy(slashed, call->path, length);
	memcpy(slashed + length, "/", 2);
	harmless.path = slashed;
	errno = saved;
	*result = call->perform(&harmless);
	if (*result != 0 && errno == ENOENT && removes_lockfile(call, length)) {
		errno = saved; /* it went with its socket: the program was to remove it, and need
				  not */
		*result = 0;
	}
	if (*result == 0 || (errno != ENOTDIR && errno != EISDIR))
		return true;
	errno = looked == ENOENT ? saved : looked;
	return looked != ENOENT;
}

/* ---- unlink, unlinkat, remove ---- */

static int unlink_judged(const struct call *call, struct step *step, struct judgement *judgement)
{
	struct lockfile *lock = &step->lock[FROM];
	int result = -1;

	judge(call->dirfd, call->path, lock, judgement);
	switch (judgement->whose) {
	case THEIRS:
		break;
	case ABSENT:
	case UNSEEN:
		errno = judgement->error;
		break;
	case NO_SOCKET:
		result = call->perform(call);
		break;
	case MINE:
	case NOBODYS:
		result = call->perform(call);
		if (result == 0)
			lockfile_remove(lock);
		break;
	}
	return result;
}

static __attribute__((noinline)) int unlink_socket(const struct call *call)
{
	struct step step;
	struct judgement judgement;
	int result;

	begin(&step);
	concern(&step, FROM, call->dirfd, call->path);
	if (!step.guarded[FROM])
		return call->perform(call);
	if (!enter(&step))
		return refuse_busy(call->verb, call->path);
	result = unlink_judged(call, &step, &judgement);
	leave(&step);
	if (judgement.whose == THEIRS)
		return refuse(call->verb, call->path, &judgement);
	if (judgement.whose == MINE && result == 0)
		owned_forget(&judgement.inode, &judgement.lockfile);
	report_decision(call->verb, call->path,
		judgement.whose == MINE ? "allowed: own socket"
					: "allowed: no socket is bound there any more");
	return result;
}

int guard_unlink(const struct call *call)
{
	int saved = errno;
	struct stat found;
	int result;

	for (int i = 0; i < LOOKS; i++) {
		if (inode_look(call->dirfd, call->path, &found) == 0)
			return S_ISSOCK(found.st_mode) ? unlink_socket(call) : call->perform(call);
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
		lockfile_exchange(from, to);
		return;
	}
	if (judgements[FROM].whose == NO_SOCKET || !lockfile_claimed(from) ||
		!lockfile_move(from, to))
		lockfile_remove(to);
	if (judgements[FROM].whose != NO_SOCKET)
		lockfile_remove(from);
}

static void judge_names(const struct call *call, struct step *step, struct judgement *judgements)
{
	const int dirs[NAMES] = {call->dirfd, call->newdir};
	const char *const paths[NAMES] = {call->path, call->newpath};

	for (int i = 0; i < NAMES; i++) {
		if (step->guarded[i])
			judge(dirs[i], paths[i], &step->lock[i], &judgements[i]);
		else
			judgements[i] = (struct judgement){.whose = NO_SOCKET};
	}
}

/* Which of the names stands in the way, or NAMES if none does. */
static int in_the_way(const struct call *call, const struct step *step,
	struct judgement *judgements)
{
	struct judgement *from = &judgements[FROM];
	struct judgement *to = &judgements[TO];

	/* Two names of one inode: rename does nothing. */
	if (is_a_socket(from) && is_a_socket(to) && inode_same(&from->inode, &to->inode))
		return NAMES;
	if (from->whose == THEIRS)
		return FROM;
	if (to->whose == THEIRS && !(call->flags & RENAME_NOREPLACE))
		return TO;
	if (to->whose == ABSENT && is_a_socket(from) && absent_but_claimed(&step->lock[TO], to))
		return TO;
	return NAMES;
}

static int rename_judged(const struct call *call, struct step *step, struct judgement *judgements,
	int *obstacle)
{
	int result;

	judge_names(call, step, judgements);
	*obstacle = in_the_way(call, step, judgements);
	if (*obstacle != NAMES)
		return -1;
	for (int i = 0; i < NAMES; i++) {
		if (judgements[i].whose != UNSEEN && (i == TO || judgements[i].whose != ABSENT))
			continue;
		errno = judgements[i].error;
		return -1;
	}
	result = call->perform(call);
	if (result == 0 && !inode_same(&judgements[FROM].inode, &judgements[TO].inode))
		settle_renamed(call, step, judgements);
	return result;
}

static __attribute__((noinline)) int rename_sockets(const struct call *call, bool from_socket)
{
	struct step step;
	struct judgement judgements[NAMES];
	int obstacle;
	int result;

	begin(&step);
	if (from_socket || (call->flags & RENAME_EXCHANGE))
		concern(&step, FROM, call->dirfd, call->path);
	concern(&step, TO, call->newdir, call->newpath);
	if (!enter(&step))
		return refuse_busy(call->verb, call->newpath);
	result = rename_judged(call, &step, judgements, &obstacle);
	leave(&step);
	if (obstacle != NAMES)
		return refuse(call->verb, obstacle == FROM ? call->path : call->newpath,
			&judgements[obstacle]);
	if (result == 0 && judgements[TO].whose == MINE && !(call->flags & RENAME_EXCHANGE) &&
		!inode_same(&judgements[FROM].inode, &judgements[TO].inode))
		owned_forget(&judgements[TO].inode, &judgements[TO].lockfile);
	report_decision(call->verb, call->newpath, "allowed: no live owner loses a name");
	return result;
}

int guard_rename(const struct call *call)
{
	int saved = errno;
	struct stat from, to;
	int result;

	for (int i = 0; i < LOOKS; i++) {
		if (inode_look(call->dirfd, call->path, &from) == 0) {
			bool there = inode_look(call->newdir, call->newpath, &to) == 0;

			if (there || errno == ENOENT) {
				errno = saved;
				if (S_ISSOCK(from.st_mode) || (there && S_ISSOCK(to.st_mode)))
					return rename_sockets(call, S_ISSOCK(from.st_mode));
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
static void note_linked(const struct call *call, struct step *step)
{
	struct lockfile *to = &step->lock[TO];
	struct inode inode;
	struct record record;
	bool mine;
	int claim;

	if (!step->guarded[TO] || inode_identify(call->newdir, call->newpath, &inode) != 0)
		return;
	mine = owned_is_mine(&inode, &step->lock[FROM]);
	if (!mine || !lockfile_record(&step->lock[FROM], &record))
		record_of_self(&record, -1);
	claim = lockfile_claim(to, &record);
	if (mine || claim >= 0)
		owned_note(&inode, to, claim, !mine);
}

static __attribute__((noinline)) int link_socket(const struct call *call)
{
	struct step step;
	struct judgement to = {0};
	bool claimed;
	int result = -1;

	begin(&step);
	if (!(call->flags & (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW)))
		concern(&step, FROM, call->dirfd, call->path);
	concern(&step, TO, call->newdir, call->newpath);
	if (!enter(&step))
		return refuse_busy(call->verb, call->newpath);
	claimed = inode_identify(call->newdir, call->newpath, &to.inode) != 0 && errno == ENOENT &&
		  absent_but_claimed(&step.lock[TO], &to);
	if (!claimed)
		result = call->perform(call);
	if (result == 0)
		note_linked(call, &step);
	leave(&step);
	return claimed ? refuse(call->verb, call->newpath, &to) : result;
}

int guard_link(const struct call *call)
{
	int saved = errno;
	struct stat found;
	bool is_socket = fstatat(call->dirfd, call->path, &found, look_flags(call)) == 0 &&
			 S_ISSOCK(found.st_mode);
	struct stat there;

	/* The new path is looked at for the kernel to judge its pointer before we read it. */
	is_socket = is_socket &&
		    (inode_look(call->newdir, call->newpath, &there) == 0 || errno == ENOENT);
	errno = saved;
	return is_socket ? link_socket(call) : call->perform(call);
}

/* ---- bind ---- */

/*
 * Whether the kernel would let these bytes be read: rt_sigprocmask copies a signal set before it
 * finds that it is not told what to do with it (kernel/signal.c), and so says EFAULT or EINVAL.
 */
static bool set_is_readable(const char *bytes)
{
	return syscall(SYS_rt_sigprocmask, -1, bytes, NULL, _NSIG / 8) != 0 && errno != EFAULT;
}

static bool is_readable(const char *bytes, size_t length)
{
	size_t set = _NSIG / 8;

	/* A range this short touches two pages at the most. One set covers a shorter one. */
	if (length < set)
		return set_is_readable(bytes) || set_is_readable(bytes + length - set);
	return set_is_readable(bytes) && set_is_readable(bytes + length - set);
}

/* Copies the path out of the program's address; false where it is none, or none for us. */
static bool path_of(int fd, const struct sockaddr *address, socklen_t length, char *path)
{
	struct sockaddr_un copy = {0};
	int domain = 0;
	socklen_t size = sizeof(domain);
	const size_t start = offsetof(struct sockaddr_un, sun_path);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX ||
		length <= start || length > sizeof(copy) ||
		!is_readable((const char *)address, length))
		return false;
	memcpy(&copy, address, length);
	if (copy.sun_family != AF_UNIX)
		return false;
	/* All of sun_path may be filled, without a NUL: unix_mkname_bsd in net/unix/af_unix.c. */
	memcpy(path, copy.sun_path, sizeof(copy.sun_path));
	path[sizeof(copy.sun_path)] = '\0';
	return path[0] != '\0' && path[strlen(path) - 1] != '/';
}

static bool wants_reuse(int fd)
{
	int on = 0;
	socklen_t size = sizeof(on);

	if (config.reuse != REUSE_AUTO)
		return config.reuse == REUSE_ALWAYS;
	return getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &size) == 0 && on;
}

/* Is the name stale? Our own socket there keeps it as well as anybody's. */
static bool is_stale(const char *path, struct lockfile *lock)
{
	struct pin pin;
	struct record record;
	bool stale;

	if (inode_pin(AT_FDCWD, path, &pin) != 0)
		return false;
	stale = liveness_of(&pin, AT_FDCWD, path) == DEAD && !claimed_elsewhere(lock, &record);
	inode_unpin(&pin);
	return stale;
}

static void note_bound(int fd, const char *path, struct lockfile *lock)
{
	struct inode inode;
	struct record record;

	if (inode_identify(AT_FDCWD, path, &inode) != 0)
		return;
	record_of_self(&record, fd);
	owned_note(&inode, lock, lockfile_claim(lock, &record), false);
}

enum bound { BOUND, FAILED, REFUSED, AGAIN };

/* Removes a stale name, and the claims on it. Returns AGAIN for a bind on the absent path. */
static enum bound replace_stale(const char *path, struct lockfile *lock)
{
	struct inode inode;

	if (inode_identify(AT_FDCWD, path, &inode) != 0 || libc.unlink(path) != 0) {
		errno = EADDRINUSE;
		return FAILED;
	}
	lockfile_remove(lock);
	if (owned_is_mine(&inode, lock))
		owned_forget(&inode, &lock->file);
	return AGAIN;
}

/* One go under the mutex. */
static enum bound bind_once(int fd, const struct sockaddr *address, socklen_t length,
	const char *path, struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;
	struct stat found;

	memset(judgement, 0, sizeof(*judgement));
	if (inode_look(AT_FDCWD, path, &found) != 0 && errno == ENOENT) {
		if (absent_but_claimed(lock, judgement))
			return REFUSED;
		if (lockfile_claimed(lock) && owned_claim_on(&lock->file) < 0) {
			lockfile_remove(lock); /* by an owner that closed its socket */
			return AGAIN;
		}
	}
	errno = saved;
	if (libc.bind(fd, address, length) == 0) {
		note_bound(fd, path, lock);
		return BOUND;
	}
	if (errno == EADDRINUSE && wants_reuse(fd) && is_stale(path, lock))
		return replace_stale(path, lock);
	return FAILED;
}

static __attribute__((noinline)) int bind_path(int fd, const struct sockaddr *address,
	socklen_t length, const char *path)
{
	struct step step;
	struct judgement judgement;
	enum bound bound = AGAIN;

	begin(&step);
	concern(&step, TO, AT_FDCWD, path);
	if (!step.guarded[TO])
		return libc.bind(fd, address, length);
	for (int i = 0; i < LOOKS && bound == AGAIN; i++) {
		if (!enter(&step))
			return refuse_busy("bind", path);
		bound = bind_once(fd, address, length, path, &step.lock[TO], &judgement);
		leave(&step);
	}
	if (bound == AGAIN) /* others were faster each time */
		errno = EADDRINUSE;
	if (bound == REFUSED)
		return refuse("bind", path, &judgement);
	return bound == BOUND ? 0 : -1;
}

int guard_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	int saved = errno;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	bool guarded = path_of(fd, address, length, path);

	errno = saved;
	return guarded ? bind_path(fd, address, length, path) : libc.bind(fd, address, length);
}
