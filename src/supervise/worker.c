#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "guard.h"
#include "notify.h"
#include "proxy.h"
#include "report.h"
#include "target.h"

/* ---- the caller's own call ---- */

static int perform_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	return bind(fd, address, length);
}

static int perform_unlink(const struct call *call)
{
	return (int)syscall(SYS_unlinkat, call->dirfd, call->path, call->flags);
}

static int perform_rename(const struct call *call)
{
	return (int)syscall(SYS_renameat2, call->dirfd, call->path, call->newdir, call->newpath,
		call->flags);
}

static int perform_link(const struct call *call)
{
	return (int)syscall(SYS_linkat, call->dirfd, call->path, call->newdir, call->newpath,
		call->flags);
}

/* ---- in its place ---- */

/*
 * Messages go to the caller's descriptor 2, unless that may be a file it works with, or somebody's
 * connection: then nothing is said.
 */
static void take_stderr(const struct target *target)
{
	int fd = target_descriptor(target, STDERR_FILENO);
	struct stat found;
	int mode = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	close(STDERR_FILENO);
	if (fd >= 0 && fstat(fd, &found) == 0 &&
		(report_is_stderr(fd) || S_ISCHR(found.st_mode) || S_ISFIFO(found.st_mode) ||
			(S_ISREG(found.st_mode) && (mode & O_ACCMODE) == O_WRONLY)))
		dup2(fd, STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	report_load();
}

/* The directory a path starts from, here. False: the caller has none of that number. */
static bool take_directory(const struct target *target, const char *path, int *dirfd)
{
	if (path[0] == '/' || *dirfd == AT_FDCWD)
		return true;
	*dirfd = target_descriptor(target, *dirfd);
	return *dirfd >= 0;
}

static bool has_own_guard(const struct request *request, int dirfd, int newdir)
{
	switch (request->verb) {
	case REQUEST_BIND:
		return false;
	case REQUEST_UNLINK:
		return proxy_is_judging(dirfd, request->path);
	case REQUEST_RENAME:
	case REQUEST_LINK:
		return proxy_is_judging(dirfd, request->path) ||
		       proxy_is_judging(newdir, request->newpath);
	}
	return false;
}

enum outcome { PASSED, DONE };

static enum outcome act_on_names(const struct target *target, const struct request *request,
	int *result)
{
	struct call call = {
		.verb = request->name,
		.dirfd = request->dirfd,
		.path = request->path,
		.newdir = request->newdir,
		.flags = request->flags,
	};

	if (!take_directory(target, request->path, &call.dirfd))
		return PASSED;
	if (request->verb != REQUEST_UNLINK) {
		call.newpath = request->newpath;
		if (!take_directory(target, request->newpath, &call.newdir))
			return PASSED;
	}
	if (!target_mirror(target, request->path) ||
		(call.newpath && !target_mirror(target, call.newpath)) ||
		has_own_guard(request, call.dirfd, call.newdir))
		return PASSED;
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

static enum outcome act_on_socket(const struct target *target, const struct request *request,
	int *result)
{
	struct bind_call call = {
		.perform = perform_bind,
		.fd = target_descriptor(target, request->dirfd),
		.address = &request->address.any,
		.length = request->length,
	};

	if (call.fd < 0)
		return PASSED;
	if (!target_mirror(target, request->path) || proxy_is_judging(AT_FDCWD, request->path))
		return PASSED;
	*result = guard_bind(&call);
	close(call.fd);
	return DONE;
}

static void warn_once(const struct target *target, const struct request *request,
	struct commons *commons, const char *why)
{
	if (atomic_exchange(&commons->warned, true))
		return;
	take_stderr(target);
	report_unguarded(request->name, request->path, why);
}

static enum outcome act(int listener, const struct request *request, struct commons *commons,
	int *result)
{
	static struct target target;
	bool seen = target_open(&target, request->tid);

	prctl(PR_SET_NAME, target.comm);
	proxy_stand_for(&target);
	if (!seen || !target_become(&target)) {
		if (notify_valid(listener, request->id))
			warn_once(&target, request, commons,
				"the supervisor may not act in its caller's place");
		return PASSED;
	}
	take_stderr(&target);
	/* Until now the number may have become another thread's. */
	if (!notify_valid(listener, request->id))
		return PASSED;
	errno = 0;
	return request->verb == REQUEST_BIND ? act_on_socket(&target, request, result)
					     : act_on_names(&target, request, result);
}

void worker_run(int listener, const struct request *request, struct commons *commons)
{
	int result = 0;

	if (act(listener, request, commons, &result) == PASSED) {
		notify_continue(listener, request->id);
		_exit(0);
	}
	proxy_hand_over(listener, request->id);
	notify_answer(listener, request->id, result, errno);
	_exit(0);
}
