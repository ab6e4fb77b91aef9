#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "command.h"
#include "proc.h"

/* The output of systemctl, or NULL if it fails. */
static char *output_of(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	int ends[2], status = 1;
	char *text = NULL;
	size_t length;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return NULL;
	signal(SIGCHLD, SIG_DFL); /* if our parent left it ignored, there would be no exit status */
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0) {
		close(ends[1]);
		ends[1] = -1;
		text = proc_read_to_end(ends[0], &length);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	posix_spawn_file_actions_destroy(&actions);
	if (ends[1] >= 0)
		close(ends[1]);
	close(ends[0]);
	if (status == 0)
		return text;
	free(text);
	return NULL;
}

char *service_text(const struct service *service)
{
	char *const argv[] = {"systemctl", "--no-pager", "cat", "--", service->name, NULL};

	return output_of(argv);
}

/* ---- SystemCallFilter= ---- */

/*
 * Whether the call is on a list from systemctl show: names of calls, some followed by a colon and
 * the errno they fail with, or "kill". On a list of allowed calls, one with "kill" does not count.
 */
static bool lists(const char *list, const char *call, bool to_allow)
{
	size_t length = strlen(call);

	for (const char *at = list; *at != '\0'; at += strcspn(at, " ")) {
		at += strspn(at, " ");
		if (strncmp(at, call, length) != 0)
			continue;
		if (at[length] == ' ' || at[length] == '\0')
			return true;
		if (at[length] == ':' && !(to_allow && strncmp(at + length, ":kill", 5) == 0))
			return true;
	}
	return false;
}

static const char *const calls[] = {
#define CALL(name) #name,
	CALLS(CALL)
#undef CALL
};

/* The calls of a supervisor and of its start that the library does not make. */
static const char *const supervisor_calls[] = {"capset", "chroot", "close_range", "fchdir",
	"linkat", "memfd_create", "pidfd_getfd", "pidfd_open", "prctl", "process_vm_readv",
	"recvmsg", "renameat2", "seccomp", "sendmsg", "setfsgid", "setfsuid", "setgroups", "setns",
	"setresgid", "setresuid", "setsid", "signalfd4", "socketpair", "umask"};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* Adds the calls that a list forbids. A list that starts with ~ names forbidden calls. */
static char *add_forbidden(char *forbidden, const char *list, const char *const names[],
	size_t count)
{
	bool to_allow = list[0] != '~';

	for (size_t i = 0; i < count; i++) {
		char *more;

		if (lists(to_allow ? list : list + 1, names[i], to_allow) == to_allow)
			continue;
		more = command_format("%s%s%s", forbidden ? forbidden : "", forbidden ? " " : "",
			names[i]);
		free(forbidden);
		forbidden = more;
	}
	return forbidden;
}

static char *forbidden_calls_of(const char *list, bool supervised)
{
	char *forbidden = add_forbidden(NULL, list, calls, COUNT(calls));

	if (supervised)
		forbidden =
			add_forbidden(forbidden, list, supervisor_calls, COUNT(supervisor_calls));
	return forbidden;
}

char *service_forbidden_calls(const struct service *service, bool supervised)
{
	static const char property[] = "SystemCallFilter=";
	char *const argv[] = {"systemctl", service->user ? "--user" : "--system", "--no-pager",
		"show", "--property=SystemCallFilter", "--", service->name, NULL};
	char *shown = output_of(argv);
	char *forbidden = NULL;

	if (shown && strncmp(shown, property, sizeof(property) - 1) == 0) {
		char *list = shown + sizeof(property) - 1;

		list[strcspn(list, "\n")] = '\0';
		if (list[0] != '\0')
			forbidden = forbidden_calls_of(list, supervised);
	}
	free(shown);
	return forbidden;
}

/* ---- cgroups ---- */

static bool is_service(const char *part, size_t length)
{
	static const char end[] = ".service";

	return length >= sizeof(end) &&
	       strncmp(part + length - (sizeof(end) - 1), end, sizeof(end) - 1) == 0;
}

/* Uses the last component that is a service: a service may have cgroups below its own. */
static bool find_in_path(const char *path, struct service *service)
{
	char *own = command_format("user@%lu.service", (unsigned long)geteuid());
	bool of_user = false, of_ours = false;

	for (size_t length; *path != '\0'; path += length) {
		path += strspn(path, "/");
		length = strcspn(path, "/\n");
		if (path[length] == '\n' && length == 0)
			break;
		if (!is_service(path, length))
			continue;
		of_user = of_user || (service->name && strncmp(service->name, "user@", 5) == 0);
		of_ours = of_ours || (service->name && strcmp(service->name, own) == 0);
		free(service->name);
		service->name = command_format("%.*s", (int)length, path);
	}
	free(own);
	service->user = of_user;
	if (service->name && (!of_user || of_ours))
		return true;
	free(service->name); /* another user's service manager does not answer us */
	service->name = NULL;
	return false;
}

static bool find_in_line(const char *cgroups, const char *start, struct service *service)
{
	const char *found = strstr(cgroups, start);

	return found && find_in_path(found + strlen(start), service);
}

bool service_of_process(pid_t pid, struct service *service)
{
	size_t length;
	char *cgroups = proc_read_file(pid, "cgroup", &length);
	bool found;

	*service = (struct service){0};
	/* The unified hierarchy, or systemd's own, cgroups(7). */
	found = cgroups && (find_in_line(cgroups, "0::", service) ||
				   find_in_line(cgroups, ":name=systemd:", service));
	free(cgroups);
	return found;
}
