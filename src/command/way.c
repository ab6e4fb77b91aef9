#include "way.h"

#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"

#ifdef HAVE_SUPERVISOR
#include "start.h"
#endif

const char *const way_words[] = {
	[WAY_NONE] = NULL,
	[WAY_PRELOAD] = "preload",
	[WAY_SYSCALLS] = "syscalls",
};

bool way_has_sys_admin(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	memset(data, 0, sizeof(data));
	return syscall(SYS_capget, &header, data) == 0 &&
	       (data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN));
}

/* A program may depend on the privileges, so only its user may decide to run it without them. */
const char *way_why_not_supervised(const struct program *program)
{
	return program->gains_rights && !way_has_sys_admin()
		       ? "without CAP_SYS_ADMIN a supervisor would keep it from gaining privileges"
		       : NULL;
}

bool way_uses_supervisor(const struct program *program)
{
	return program->guardable == NOT_GUARDABLE && !way_why_not_supervised(program);
}

bool way_has_supervisor(void)
{
#ifdef HAVE_SUPERVISOR
	return true;
#else
	return false;
#endif
}

#ifdef HAVE_SUPERVISOR
static const char *why_not(enum start start)
{
	switch (start) {
	case START_DONE:
	case START_ALREADY:
		return NULL;
	case START_TAKEN:
		return "another program already supervises its system calls (EBUSY)";
	case START_TOO_OLD:
		return "the kernel is older than Linux 5.9 or does not permit supervision";
	case START_FORBIDDEN:
		return "a supervisor has no permission to examine processes or to answer their "
		       "calls; check kernel.yama.ptrace_scope and the container's security profile";
	case START_LOST:
	case START_FAILED:
		break;
	}
	return "cannot start a supervisor";
}

const char *way_supervise(const char *name, bool allows_rings)
{
	enum start start = start_supervisor(allows_rings);

	if (start == START_LOST)
		command_die(EXIT_NOT_STARTED, "%s was not started: the supervisor has ended", name);
	return why_not(start);
}

/* Tried once, since the result is the same for all programs. */
const char *way_probe_supervisor(void)
{
	static bool tried;
	static const char *answer;

	if (!tried)
		answer = why_not(start_try());
	tried = true;
	return answer;
}
#else
const char *way_supervise(const char *name, bool allows_rings)
{
	(void)name;
	(void)allows_rings;
	return "sockguard was built without a supervisor";
}

const char *way_probe_supervisor(void)
{
	return way_supervise(NULL, true);
}
#endif
