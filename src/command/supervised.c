#include "supervised.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "lockfile.h"
#include "proc.h"
#include "procstatus.h"
#include "service.h"
#include "starttime.h"

#define NAME_OF_MEMORY  "/memfd:" MEMBERS_NAME
#define NAME_OF_PROCESS "sockguard"
#define NAMESPACES      33  /* the kernel nests 32 PID namespaces below the first */
#define GENERATIONS     256 /* ancestors to follow; ends a loop if pids are reused */

struct supervisor {
	pid_t pid;
	const struct members *members; /* NULL: no permission to examine it */
	char *pid_namespace;           /* its link in /proc */
	char *service;                 /* NULL: not in a service */
};

static struct {
	bool loaded;
	struct supervisor *list;
	size_t count;
} supervisors;

/* ---- supervisors ---- */

/* The target of a link in /proc/PID; NULL: unknown. The caller frees it. */
static char *link_of(pid_t pid, const char *name)
{
	char *path = command_format("/proc/%d/%s", (int)pid, name);
	char target[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof(target) - 1);

	free(path);
	if (length < 0)
		return NULL;
	target[length] = '\0';
	return command_copy(target);
}

static const struct members *map(const char *path)
{
	struct stat found;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *memory = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &found) == 0 && found.st_size == sizeof(struct members))
		memory = mmap(NULL, sizeof(struct members), PROT_READ, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	return memory == MAP_FAILED ? NULL : memory;
}

/*
 * Calls `matches` with the link of each descriptor and the path of that link, until it returns
 * true. Returns whether it did. Without permission to list the descriptors, returns `unreadable`.
 */
static bool any_descriptor(pid_t pid, bool unreadable,
	bool (*matches)(const char *link, const char *path, void *about), void *about)
{
	char *path = command_format("/proc/%d/fd", (int)pid);
	DIR *directory = opendir(path);
	const struct dirent *entry;
	bool found = directory ? false : unreadable;

	while (directory && !found && (entry = readdir(directory))) {
		char *name = command_format("fd/%s", entry->d_name);
		char *link = link_of(pid, name);
		char *file = command_format("%s/%s", path, entry->d_name);

		found = link && matches(link, file, about);
		free(file);
		free(link);
		free(name);
	}
	if (directory)
		closedir(directory);
	free(path);
	return found;
}

static bool is_memory(const char *link, const char *path, void *about)
{
	struct supervisor *supervisor = about;

	if (strncmp(link, NAME_OF_MEMORY, strlen(NAME_OF_MEMORY)) == 0)
		supervisor->members = map(path);
	return supervisor->members != NULL;
}

/* Looks for the supervisor's memory. Returns false if the process is not a supervisor. */
static bool find_members(struct supervisor *supervisor)
{
	/* If its descriptors are unreadable, it may be one. */
	return any_descriptor(supervisor->pid, true, is_memory, supervisor);
}

static char *service_name(pid_t pid)
{
	struct service service;

	return service_of_process(pid, &service) ? service.name : NULL;
}

static void add(pid_t pid)
{
	struct supervisor one = {.pid = pid};
	size_t length;
	char *comm = proc_read_file(pid, "comm", &length);
	bool named = comm && strcmp(comm, NAME_OF_PROCESS "\n") == 0;

	free(comm);
	if (!named || pid == getpid() || !find_members(&one))
		return;
	one.pid_namespace = link_of(pid, "ns/pid");
	one.service = service_name(pid);
	supervisors.list = command_resize(supervisors.list,
		(supervisors.count + 1) * sizeof(*supervisors.list));
	supervisors.list[supervisors.count++] = one;
}

static void load(void)
{
	DIR *directory = opendir("/proc");
	const struct dirent *entry;

	supervisors.loaded = true;
	while (directory && (entry = readdir(directory)))
		if (isdigit((unsigned char)entry->d_name[0]))
			add((pid_t)strtol(entry->d_name, NULL, 10));
	if (directory)
		closedir(directory);
}

/* ---- supervised processes ---- */

struct task {
	pid_t id;          /* in the supervisor's PID namespace */
	pid_t parent;      /* in ours */
	uint64_t started;  /* in hundredths of a second since boot */
	size_t namespaces; /* the number of PID namespaces that it is in, from ours down */
	int filters;       /* number of seccomp filters; -1: unknown, before Linux 5.9 */
};

/* Whether the supervisor records IDs of our PID namespace, or of the process's own. */
enum ids { IDS_OURS, IDS_INNER, IDS_OTHER };

static enum ids ids_of(const struct supervisor *supervisor, pid_t pid)
{
	char *ours = link_of(getpid(), "ns/pid");
	char *theirs = link_of(pid, "ns/pid");
	enum ids ids = IDS_OTHER;

	if (supervisor->pid_namespace && ours && strcmp(supervisor->pid_namespace, ours) == 0)
		ids = IDS_OURS;
	else if (supervisor->pid_namespace && theirs &&
		 strcmp(supervisor->pid_namespace, theirs) == 0)
		ids = IDS_INNER;
	free(ours);
	free(theirs);
	return ids;
}

/* Reads a process or a thread from its directory in /proc. Returns false if it has ended. */
static bool read_task(struct task *task, const char *directory, enum ids ids)
{
	char *status_path = command_format("%s/status", directory);
	char *stat_path = command_format("%s/stat", directory);
	size_t length;
	char *status = proc_read(status_path, &length);
	char *stat = proc_read(stat_path, &length);
	uint64_t numbers[NAMESPACES], id, parent, filters;
	bool found = stat && procstatus_number(status, "Pid", 10, &id) &&
		     procstatus_number(status, "PPid", 10, &parent);

	if (found) {
		task->namespaces = procstatus_numbers(status, "NSpid", 10, numbers, NAMESPACES);
		if (ids == IDS_INNER)
			id = task->namespaces > 0 ? numbers[task->namespaces - 1] : 0;
		task->id = (pid_t)id;
		task->filters = procstatus_number(status, "Seccomp_filters", 10, &filters)
					? (int)filters
					: -1;
		task->parent = (pid_t)parent;
		task->started = starttime_in(stat) * 100 / (uint64_t)sysconf(_SC_CLK_TCK);
	}
	free(stat);
	free(status);
	free(stat_path);
	free(status_path);
	return found;
}

static bool read_process(struct task *task, pid_t pid, enum ids ids)
{
	char *directory = command_format("/proc/%d", (int)pid);
	bool found = read_task(task, directory, ids);

	free(directory);
	return found;
}

static bool is_in(const _Atomic member *list, const struct task *task)
{
	member recorded = atomic_load(&list[task->id % MEMBERS_SLOTS]);

	return task->id > 0 && MEMBER_TID(recorded) == task->id &&
	       task->started <= MEMBER_WHEN(recorded);
}

static bool is_recorded(const struct members *members, const struct task *task)
{
	return is_in(members->binder, task) || is_in(members->caller, task);
}

/* Whether the supervisor's list contains one of the threads. */
static bool has_recorded_thread(const struct members *members, pid_t pid, enum ids ids)
{
	char *path = command_format("/proc/%d/task", (int)pid);
	DIR *directory = opendir(path);
	const struct dirent *entry;
	bool recorded = false;

	while (directory && !recorded && (entry = readdir(directory))) {
		char *thread = command_format("%s/%s", path, entry->d_name);
		struct task task;

		recorded = entry->d_name[0] != '.' && read_task(&task, thread, ids) &&
			   is_recorded(members, &task);
		free(thread);
	}
	if (directory)
		closedir(directory);
	free(path);
	return recorded;
}

/* Whether the task is the supervisor's program, and forked `child` (if not NULL) under it. */
static bool is_program(const struct members *members, const struct task *task,
	const struct task *child)
{
	member program = atomic_load(&members->program);

	return MEMBER_TID(program) == task->id && task->started <= MEMBER_WHEN(program) &&
	       (!child || child->started >= MEMBER_WHEN(program));
}

/* Checks the process and its ancestors. */
static bool descends(const struct members *members, pid_t pid, enum ids ids)
{
	struct task task, child;

	for (int generation = 0; pid > 0 && generation < GENERATIONS; generation++) {
		if (!read_process(&task, pid, ids))
			return false;
		if (is_program(members, &task, generation > 0 ? &child : NULL) ||
			has_recorded_thread(members, pid, ids))
			return true;
		child = task;
		pid = task.parent;
	}
	return false;
}

/*
 * Whether a process whose ancestors have ended can descend from the supervisor's program.
 *
 * A descendant has at least one filter more than the supervisor, to which its own filter does not
 * apply. All processes of a service descend from those that the service manager started. So a
 * process with more filters than the supervisor, in the same service, likely descends from the
 * program; unless a program of that service installs a filter of its own.
 */
enum origin { ORIGIN_FOREIGN, ORIGIN_UNKNOWN, ORIGIN_LIKELY };

static enum origin origin_of(const struct supervisor *supervisor, pid_t pid, enum ids ids)
{
	char *service = service_name(pid);
	bool same_service =
		service && supervisor->service && strcmp(service, supervisor->service) == 0;
	struct task task, supervisor_task;
	bool foreign = !read_process(&task, pid, ids) ||
		       !read_process(&supervisor_task, supervisor->pid, ids);

	/* A descendant starts after the supervisor, ... */
	if (!foreign)
		foreign = task.started < supervisor_task.started;
	/* ... and in the supervisor's PID namespace, or in one below. */
	if (!foreign && ids == IDS_OTHER)
		foreign = supervisor->pid_namespace ? task.namespaces <= supervisor_task.namespaces
						    : task.namespaces < supervisor_task.namespaces;
	if (!foreign && supervisor_task.filters >= 0)
		foreign = task.filters <= supervisor_task.filters;
	if (service && !same_service)
		foreign = true;
	free(service);
	return foreign                                        ? ORIGIN_FOREIGN
	       : same_service && supervisor_task.filters >= 0 ? ORIGIN_LIKELY
							      : ORIGIN_UNKNOWN;
}

/* The uid of the files in /proc/PID: root's, if the process is not dumpable. */
static uid_t uid_of_files(pid_t pid)
{
	char *file = command_format("/proc/%d/stat", (int)pid);
	struct stat found = {0};

	if (stat(file, &found) != 0)
		found.st_uid = 0;
	free(file);
	return found.st_uid;
}

/* Without CAP_SYS_PTRACE, a supervisor can examine only dumpable processes of its own user. */
static bool may_examine(const struct supervisor *supervisor, pid_t pid)
{
	const uint64_t ptrace = UINT64_C(1) << 19; /* CAP_SYS_PTRACE */
	size_t length;
	char *status = proc_read_file(supervisor->pid, "status", &length);
	uint64_t capabilities;
	bool capable =
		procstatus_number(status, "CapPrm", 16, &capabilities) && (capabilities & ptrace);

	free(status);
	return capable || uid_of_files(supervisor->pid) == uid_of_files(pid);
}

static bool is_claim(const char *link, const char *path, void *about)
{
	const char *slash = strrchr(link, '/');
	const char *name = slash ? slash + 1 : link;

	(void)path, (void)about;
	return strncmp(name, LOCKFILE_PREFIX, strlen(LOCKFILE_PREFIX)) == 0 &&
	       strstr(name, LOCKFILE_SUFFIX) != NULL;
}

/* Claims are close-on-exec, so a claim was not inherited from before the process's last exec. */
static bool has_claim(pid_t pid)
{
	return any_descriptor(pid, false, is_claim, NULL);
}

/* The supervisor whose memory records the process or an ancestor of it; NULL: none. */
static const struct supervisor *supervisor_of(pid_t pid)
{
	for (size_t i = 0; i < supervisors.count; i++) {
		const struct supervisor *supervisor = &supervisors.list[i];
		enum ids ids = ids_of(supervisor, pid);

		if (supervisor->members && ids != IDS_OTHER &&
			descends(supervisor->members, pid, ids))
			return supervisor;
	}
	return NULL;
}

/* The processes of a supervisor share one memory. */
static bool is_same(const struct supervisor *a, const struct supervisor *b)
{
	return a && a->members && b->members &&
	       atomic_load(&a->members->program) == atomic_load(&b->members->program);
}

/*
 * Returns the supervisor from whose program the process most likely descends. Sets how likely that
 * is, and how many supervisors are equally likely. NULL: it descends from none.
 */
static const struct supervisor *candidate_for(pid_t pid, enum origin *origin, size_t *count)
{
	const struct supervisor *candidate = NULL;

	*origin = ORIGIN_FOREIGN;
	*count = 0;
	for (size_t i = 0; i < supervisors.count; i++) {
		const struct supervisor *supervisor = &supervisors.list[i];
		enum origin likelihood = origin_of(supervisor, pid, ids_of(supervisor, pid));

		if (likelihood > *origin) {
			*origin = likelihood;
			*count = 0;
		}
		if (likelihood == ORIGIN_FOREIGN || likelihood < *origin)
			continue;
		*count += is_same(candidate, supervisor) && *count > 0 ? 0 : 1;
		candidate = supervisor;
	}
	return candidate;
}

enum supervised supervised_inspect(pid_t pid, const struct members **settings)
{
	const struct supervisor *supervisor;
	enum origin origin;
	size_t count = 1;

	*settings = NULL;
	if (!supervisors.loaded)
		load();
	supervisor = supervisor_of(pid);
	if (!supervisor) {
		supervisor = candidate_for(pid, &origin, &count);
		if (!supervisor)
			return NOT_SUPERVISED;
		if (origin != ORIGIN_LIKELY && !has_claim(pid))
			return SUPERVISED_UNKNOWN;
	}
	if (!may_examine(supervisor, pid))
		return SUPERVISED_UNEXAMINED;
	if (count == 1)
		*settings = supervisor->members;
	return SUPERVISED;
}
