#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "guard.h"
#include "identity.h"
#include "inode.h"
#include "kernel.h"
#include "members.h"
#include "notify.h"
#include "proxy.h"
#include "report.h"
#include "request.h"
#include "step.h"
#include "target.h"
#include "trap.h"
#include "unguarded.h"

#ifndef SYS_close_range
#define SYS_close_range 436 /* missing before glibc 2.34 */
#endif

/* The one call of this process. */
static struct {
	int notify_fd;
	struct slot *slot;
	struct request request;
	struct target target;
	int read_error; /* the errno of reading the arguments; 0: they were read */
	/*
	 * An earlier worker began this call, but was killed, or could not deliver the result
	 * because a signal interrupted the caller.
	 */
	bool may_be_done;
	bool gone; /* the caller was killed before its call was executed */
	jmp_buf stop_waiting;
} work;

/* How long a worker waits for an interrupted caller to repeat the call. */
enum { LINGER_MS = 100 };

/* A stored failure older than this is not returned to a repeated call: the cause may be gone. */
#define FRESH_NS UINT64_C(1000000000)

/* ---- no call is executed twice ---- */

/*
 * Identifies the inode at a path, including its birth time and file handle, because the number of a
 * removed inode is soon reused.
 */
/* Takes the flags of linkat(2). */
static bool identify_path(int dirfd, const char *path, unsigned int flags, struct inode *inode)
{
	int empty = (int)(flags & AT_EMPTY_PATH);
	struct kernel_file found;

	if (kernel_statx(dirfd, path,
		    flags & AT_SYMLINK_FOLLOW ? empty : empty | AT_SYMLINK_NOFOLLOW, &found) != 0)
		return false;
	*inode = (struct inode){.file = file_id_of(&found),
		.born_sec = found.born_sec,
		.born_nsec = found.born_nsec,
		.handle = kernel_handle(dirfd, path, (int)flags)};
	return true;
}

static bool leads_to(int dirfd, const char *path, const struct inode *inode)
{
	struct inode there;

	return identify_path(dirfd, path, 0, &there) && inode_same(&there, inode);
}

/*
 * Stores the inode at the path. From this, a worker that replaces this one determines whether the
 * call took effect.
 */
static void store_begun(const struct call *call)
{
	struct effect *effect = &work.slot->effect;
	unsigned int flags = work.request.verb == REQUEST_LINK ? call->flags : 0;
	struct inode inode;
	int saved = errno;

	if (identify_path(call->dirfd, call->path, flags, &inode) &&
		!(call->newpath && leads_to(call->newdir, call->newpath, &inode))) {
		effect->inode = inode;
		effect->state = EFFECT_BEGUN;
	}
	errno = saved;
}

/* If the call failed, stores that it had no effect. Returns the result. */
static int store_result(int result)
{
	if (result != 0)
		work.slot->effect.state = EFFECT_NONE;
	return result;
}

/* Returns true if the call that another worker began took effect. */
static bool took_effect(const struct call *call)
{
	const struct inode *inode = &work.slot->effect.inode;

	return call->newpath ? leads_to(call->newdir, call->newpath, inode)
			     : !leads_to(call->dirfd, call->path, inode);
}

/* ---- the caller's own call ---- */

/*
 * Checks whether the caller was killed while the rules judged its call. If so, sets errno to EINTR,
 * so that the rules undo what they have prepared: the kernel would not execute the call of a dead
 * process either. If the caller was only interrupted, returns true: the call takes effect, and
 * its result is kept until the caller repeats the call. Otherwise frequent signals could prevent
 * the call for ever.
 */
static bool caller_exists(void)
{
	work.gone =
		!notify_is_valid(work.notify_fd, work.request.id) && !target_is_alive(&work.target);
	if (work.gone)
		errno = EINTR;
	return !work.gone;
}

/* To be called just before the call. Returns false with errno if it must not be executed. */
static bool begin_path_call(const struct call *call)
{
	if (!caller_exists())
		return false;
	store_begun(call);
	return true;
}

static bool read_bound_name(int fd, struct sockaddr_un *name)
{
	socklen_t size = sizeof(*name) - 1;

	memset(name, 0, sizeof(*name));
	return getsockname(fd, (struct sockaddr *)name, &size) == 0 && size > sizeof(sa_family_t);
}

static bool is_bound_to(int fd, const struct request *request)
{
	struct sockaddr_un name;

	return read_bound_name(fd, &name) &&
	       strncmp(name.sun_path, request->path, sizeof(name.sun_path)) == 0;
}

/* If an earlier worker already bound the socket to this path, the call has succeeded. */
static int perform_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	struct sockaddr_un name;

	if (work.may_be_done && is_bound_to(fd, &work.request))
		return 0;
	if (!caller_exists())
		return -1;
	/* A socket that is already bound cannot be bound again, so this call will fail. */
	work.slot->effect.state = read_bound_name(fd, &name) ? EFFECT_NONE : EFFECT_BEGUN;
	return store_result(bind(fd, address, length));
}

static int perform_unlink(const struct call *call)
{
	if (!begin_path_call(call))
		return -1;
	return store_result((int)syscall(SYS_unlinkat, call->dirfd, call->path, call->flags));
}

static int perform_rename(const struct call *call)
{
	if (!begin_path_call(call))
		return -1;
	return store_result((int)syscall(SYS_renameat2, call->dirfd, call->path, call->newdir,
		call->newpath, call->flags));
}

static int perform_link(const struct call *call)
{
	if (!begin_path_call(call))
		return -1;
	return store_result((int)syscall(SYS_linkat, call->dirfd, call->path, call->newdir,
		call->newpath, call->flags));
}

/* ---- on behalf of the caller ---- */

/*
 * Sends messages to the caller's descriptor 2, unless that may be a data file or a connection of
 * the program, or /dev/null as in a daemon. Without a descriptor 2, report.c sends refusals and
 * report_unguarded's message to the system log, and discards the others.
 */
static void use_caller_stderr(const struct target *target)
{
	int fd = target_get_descriptor(target, STDERR_FILENO);
	struct stat found;
	int mode = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	close(STDERR_FILENO);
	if (fd >= 0 && fstat(fd, &found) == 0 &&
		(report_is_remembered_stderr(fd) || isatty(fd) || S_ISFIFO(found.st_mode) ||
			(S_ISREG(found.st_mode) && (mode & O_ACCMODE) == O_WRONLY)))
		dup2(fd, STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	report_remember_stderr();
}

/* Duplicates the caller's directory descriptor for a relative path. False if it has none. */
static bool open_caller_directory(const struct target *target, const char *path, int *dirfd)
{
	if (path[0] == '/' || *dirfd == AT_FDCWD)
		return true;
	*dirfd = target_get_descriptor(target, *dirfd);
	return *dirfd >= 0;
}

/* Returns true if the library, preloaded into the caller, has already judged the call. */
static bool library_judges(const struct request *request, int dirfd, int newdir)
{
	switch (request->verb) {
	case REQUEST_BIND:
		return false;
	case REQUEST_UNLINK:
		return proxy_holds_mutex(dirfd, request->path);
	case REQUEST_RENAME:
	case REQUEST_LINK:
		return proxy_holds_mutex(dirfd, request->path) ||
		       proxy_holds_mutex(newdir, request->newpath);
	}
	return false;
}

enum outcome {
	PASSED,    /* not judged: the kernel must execute the call */
	DONE,      /* executed or refused */
	SIGNALLED, /* a signal is pending for the caller while the worker waits for a mutex */
	GONE,      /* the caller no longer waits for the call */
};

static const char forbidden[] = "the supervisor has no permission to act for the process";
static const char unreadable[] =
	"the supervisor has no permission to read the memory of the process";
static const char too_many_groups[] = "the process has more than 1024 supplementary groups";

_Static_assert(PROCSTATUS_GROUPS == 1024, ""); /* the number in the message */

/* Why the worker could not take on the caller's identity. */
static const char *why_not_impersonated(int error)
{
	if (work.read_error)
		return unreadable;
	return error == EOVERFLOW ? too_many_groups : forbidden;
}

/*
 * Decides what to do with a call that cannot be judged, for the reason in errno. If the supervisor
 * is out of resources, the call fails: the kernel would execute it even against an owner. Otherwise
 * the kernel executes it, and this is logged once for each process.
 */
static enum outcome decide_unjudged(const char *why, int *result)
{
	const struct request *request = &work.request;
	int error = errno;

	if (!notify_is_valid(work.notify_fd, request->id))
		return GONE;
	if (target_lacks_resources(error)) {
		errno = ENOMEM;
		*result = -1;
		return DONE;
	}
	if (unguarded_record(request->tid))
		report_unguarded(request->name, request->path, why);
	return PASSED;
}

/*
 * The same if a descriptor of the caller cannot be duplicated. With EBADF the caller has none, and
 * the kernel will fail the call with EBADF.
 */
static enum outcome decide_without_descriptor(int *result)
{
	return errno == EBADF ? PASSED : decide_unjudged(forbidden, result);
}

static enum outcome judge_path_call(const struct target *target, const struct request *request,
	int *result)
{
	struct call call = {
		.verb = request->name,
		.dirfd = request->dirfd,
		.path = request->path,
		.newdir = request->newdir,
		.flags = request->flags,
	};

	if (!open_caller_directory(target, request->path, &call.dirfd))
		return decide_without_descriptor(result);
	if (request->verb != REQUEST_UNLINK) {
		call.newpath = request->newpath;
		if (!open_caller_directory(target, request->newpath, &call.newdir))
			return decide_without_descriptor(result);
	}
	if (!target_mirror_descriptor(target, request->path) ||
		(call.newpath && !target_mirror_descriptor(target, call.newpath)))
		return decide_unjudged(forbidden, result);
	if (library_judges(request, call.dirfd, call.newdir))
		return PASSED;
	*result = 0;
	if (work.may_be_done && took_effect(&call))
		return DONE;
	switch (request->verb) {
	case REQUEST_UNLINK:
		call.perform = perform_unlink;
		*result = guard_unlink(&call);
		return DONE;
	case REQUEST_RENAME:
		call.perform = perform_rename;
		*result = guard_rename(&call);
		return DONE;
	case REQUEST_LINK:
		call.perform = perform_link;
		*result = guard_link(&call);
		return DONE;
	case REQUEST_BIND:
		break;
	}
	return PASSED;
}

static enum outcome judge_bind_call(const struct target *target, const struct request *request,
	int *result)
{
	struct bind_call call = {
		.perform = perform_bind,
		.fd = target_get_descriptor(target, request->dirfd),
		.address = &request->address.any,
		.length = request->length,
	};

	if (call.fd < 0)
		return decide_without_descriptor(result);
	if (!target_mirror_descriptor(target, request->path))
		return decide_unjudged(forbidden, result);
	if (proxy_holds_mutex(AT_FDCWD, request->path))
		return PASSED;
	*result = guard_bind(&call);
	/*
	 * An earlier worker may have bound the socket and still hold its claim. Then guard_bind
	 * refuses the call without executing it, although it has succeeded.
	 */
	if (*result != 0 && work.may_be_done && is_bound_to(call.fd, &work.request))
		*result = 0;
	close(call.fd);
	return DONE;
}

/* Ends the wait for a mutex if the caller is gone or must handle a signal. See proxy_act_for. */
static void check_caller(void)
{
	/* All repetitions after signals share the time limit of one call. */
	uint64_t waited = pending_now() - work.slot->effect.since;

	if (!notify_is_valid(work.notify_fd, work.request.id))
		longjmp(work.stop_waiting, GONE);
	if (waited < MUTEX_TIMEOUT_NS && target_has_signals(&work.target))
		longjmp(work.stop_waiting, SIGNALLED);
}

/* Takes on the caller's identity. Returns false with errno if that is not possible. */
static bool impersonate_caller(void)
{
	bool opened = target_open(&work.target, work.request.tid);
	int error;

	members_record_binder(work.target.process);
	if (work.target.comm[0] != '\0')
		prctl(PR_SET_NAME, work.target.comm);
	proxy_act_for(&work.target, check_caller);
	error = errno;
	/* Before identity_assume: the rights of a partly assumed identity may not suffice. */
	use_caller_stderr(&work.target);
	errno = work.read_error ? work.read_error : error;
	return opened && work.read_error == 0 && identity_assume(&work.target);
}

/* Judges the call as its caller, and executes it unless it is refused. */
static enum outcome judge_and_execute(int *result)
{
	const struct request *request = &work.request;
	enum outcome outcome;
	int reason;

	if (!impersonate_caller())
		return decide_unjudged(why_not_impersonated(errno), result);
	/* If the caller was gone, target_open may have read a thread that reuses its ID. */
	if (!notify_is_valid(work.notify_fd, request->id))
		return GONE;
	reason = setjmp(work.stop_waiting);
	if (reason != 0)
		return (enum outcome)reason;
	errno = 0;
	outcome = request->verb == REQUEST_BIND ? judge_bind_call(&work.target, request, result)
						: judge_path_call(&work.target, request, result);
	return work.gone ? GONE : outcome;
}

/* ---- the answer ---- */

/* Delivers the result. Stores first which call it is for: see is_new_call. */
static bool answer(int result, int error)
{
	struct effect *effect = &work.slot->effect;
	bool delivered;

	effect->answered = work.request.id;
	delivered = notify_answer(work.notify_fd, work.request.id, result, error) == 0;
	if (!delivered)
		effect->answered = 0;
	return delivered;
}

/*
 * Answers the call. Returns false if the caller does not wait for it: it was killed, or it was
 * interrupted and may repeat the call.
 */
static bool deliver(enum outcome outcome, int result, int error)
{
	uint64_t id = work.request.id;

	switch (outcome) {
	case PASSED:
		return notify_continue(work.notify_fd, id) == 0;
	case SIGNALLED:
		return notify_restart(work.notify_fd, id) == 0;
	case DONE:
		return proxy_inject_claims(work.notify_fd, id) && answer(result, error);
	case GONE:
		break;
	}
	return false;
}

/* Returns the lowest number from `from` of a descriptor that is kept, or INT_MAX. */
static int next_kept(int from)
{
	const int kept[] = {work.notify_fd, work.target.descriptors};
	int next = proxy_next_claim(from);

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (kept[i] >= from && kept[i] < next)
			next = kept[i];
	return next;
}

/*
 * Closes all descriptors except the notification descriptor, the claims, and the directory in which
 * proxy_inject_claims searches for a free number. A duplicate of a socket would keep it alive after
 * the caller has closed it.
 */
static void close_caller_descriptors(void)
{
	unsigned int from = 0;

	for (;;) {
		unsigned int kept = (unsigned int)next_kept((int)from);

		if (kept > from)
			syscall(SYS_close_range, from, kept - 1, 0);
		if (kept == INT_MAX)
			return;
		from = kept + 1;
	}
}

/*
 * Exits. If the thread has received a result (`delivered`), discards the effect, which is kept only
 * for a repeated call.
 */
static _Noreturn void exit_worker(bool delivered)
{
	if (delivered)
		atomic_store(&work.slot->effect.key, 0);
	_exit(0);
}

/* Reads the call in the slot. Returns false if the call is harmless and the kernel executes it. */
static bool read_call(void)
{
	struct seccomp_notif call;

	if (!pending_read(work.slot, &call))
		exit_worker(false);
	work.read_error = 0;
	switch (request_read(&work.request, &call)) {
	case REQUEST_COMPLETE:
		return true;
	case REQUEST_UNREADABLE:
		work.read_error = errno;
		return true;
	case REQUEST_HARMLESS:
		break;
	}
	notify_continue(work.notify_fd, call.id);
	return false;
}

/*
 * Returns true if the call is not a repetition of the one whose effect is stored. The key may be
 * the same nevertheless: a worker that is killed between its answer and exit_worker leaves the
 * effect of an answered call behind. On older kernels, such a call counts as a repetition, because
 * a signal may have interrupted the other call just before the answer.
 */
static bool is_new_call(const struct effect *effect, uint64_t key)
{
	return atomic_load(&effect->key) != key ||
	       (effect->answered != 0 && effect->answered != work.request.id &&
		       trap_ignores_signals());
}

/*
 * Determines what earlier attempts at this call did. If one failed recently, delivers its error and
 * exits.
 */
static void consider_earlier_attempts(uint64_t key)
{
	struct effect *effect = &work.slot->effect;

	if (is_new_call(effect, key))
		*effect = (struct effect){.key = key, .since = pending_now()};
	work.may_be_done = effect->state == EFFECT_BEGUN;
	if (effect->state == EFFECT_FAILED && pending_now() - effect->failed < FRESH_NS)
		exit_worker(answer(-1, effect->error));
}

static void store_failure(int error)
{
	struct effect *effect = &work.slot->effect;

	effect->state = EFFECT_FAILED;
	effect->error = error;
	effect->failed = pending_now();
}

_Noreturn void worker_run(int notify_fd, struct slot *slot, pid_t starter)
{
	enum outcome outcome;
	int result = -1;
	uint64_t key;
	int error;

	if (!pending_attach(slot, starter))
		_exit(0);
	work.notify_fd = notify_fd;
	work.slot = slot;
	if (!read_call())
		exit_worker(true);
	key = request_key(&work.request);
	consider_earlier_attempts(key);
	outcome = judge_and_execute(&result);
	error = errno;
	while (!deliver(outcome, result, error)) {
		if (outcome == DONE && result != 0)
			store_failure(error);
		close_caller_descriptors();
		if (outcome != DONE || !pending_wait_for_next(slot, work.request.id, LINGER_MS) ||
			!read_call() || request_key(&work.request) != key)
			exit_worker(false); /* the keeper replaces it if a call is pending */
	}
	exit_worker(outcome != SIGNALLED);
}
