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

static char *read_to_end(int fd)
{
	size_t size = 4096, length = 0;
	char *text = command_allocate(size);
	ssize_t more;

	while ((more = read(fd, text + length, size - 1 - length)) > 0) {
		length += (size_t)more;
		if (length + 1 == size)
			text = command_resize(text, size *= 2);
	}
	text[length] = '\0';
	return text;
}

/* What systemctl prints, or NULL where it fails. */
static char *output_of(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	int ends[2], status = 1;
	char *text = NULL;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return NULL;
	signal(SIGCHLD,
		SIG_DFL); /* ignored, as by some parents, it would leave us no exit status */
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0) {
		close(ends[1]);
		ends[1] = -1;
		text = read_to_end(ends[0]);
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
 * Is the call on the list, as systemctl shows it: names of calls, some with a colon and the errno
 * they fail with, or "kill"?
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

/* The guard's calls that a list forbids, which with a ~ at its start names what is forbidden. */
static char *forbidden_by(const char *list)
{
	static const char *const calls[] = {
#define CALL(name) #name,
		CALLS(CALL)
#undef CALL
	};
	bool to_allow = list[0] != '~';
	char *forbidden = NULL;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		char *more;

		if (lists(to_allow ? list : list + 1, calls[i], to_allow) == to_allow)
			continue;
		more = command_print("%s%s%s", forbidden ? forbidden : "", forbidden ? " " : "",
			calls[i]);
		free(forbidden);
		forbidden = more;
	}
	return forbidden;
}

char *service_forbids(const struct service *service)
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
			forbidden = forbidden_by(list);
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

/* The last part of a cgroup's path that is a service's: it may have divided its cgroup. */
static bool read_path(const char *path, struct service *service)
{
	char *own = command_print("user@%lu.service", (unsigned long)geteuid());
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
		service->name = command_print("%.*s", (int)length, path);
	}
	free(own);
	service->user = of_user;
	if (service->name && (!of_user || of_ours))
		return true;
	free(service->name); /* in the manager of another user, which does not answer us */
	service->name = NULL;
	return false;
}

static bool read_line(const char *cgroups, const char *start, struct service *service)
{
	const char *found = strstr(cgroups, start);

	return found && read_path(found + strlen(start), service);
}

bool service_of(pid_t pid, struct service *service)
{
	char *file = command_print("/proc/%d/cgroup", (int)pid);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	char *cgroups = fd < 0 ? NULL : read_to_end(fd);
	bool found;

	free(file);
	if (fd >= 0)
		close(fd);
	*service = (struct service){0};
	/* The one hierarchy there is, or systemd's own, cgroups(7). */
	found = cgroups && (read_line(cgroups, "0::", service) ||
				   read_line(cgroups, ":name=systemd:", service));
	free(cgroups);
	return found;
}
