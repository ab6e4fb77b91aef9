#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "proc.h"
#include "procstatus.h"
#include "program.h"
#include "starttime.h"
#include "supervised.h"

/* ---- its name, user and start ---- */

static time_t boot_time(void)
{
	static time_t known;
	const char *line;
	char *content;
	size_t length;

	if (known != 0)
		return known;
	content = proc_read("/proc/stat", &length);
	line = content ? strstr(content, "\nbtime ") : NULL;
	known = line ? (time_t)strtoll(line + 7, NULL, 10) : 0;
	free(content);
	return known;
}

static time_t started(const char *stat)
{
	uint64_t ticks = starttime_in(stat);

	return ticks == 0 || boot_time() == 0
		       ? 0
		       : boot_time() + (time_t)(ticks / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Ends the command at the last parenthesis: it may itself contain parentheses and line breaks. */
static void read_stat(struct process *process)
{
	size_t length;
	char *content = proc_read_file(process->pid, "stat", &length);
	char *first = content ? strchr(content, '(') : NULL;
	char *last = content ? strrchr(content, ')') : NULL;

	if (first && last) {
		process->started = started(content);
		*last = '\0';
		process->command = command_copy(first + 1);
	}
	free(content);
}

/*
 * Reads the effective user, and whether it has a seccomp filter, from its status. The uid of
 * /proc/PID does not show the user: it is root's if the process is not dumpable.
 */
static void read_status(struct process *process)
{
	size_t length;
	char *content = proc_read_file(process->pid, "status", &length);
	const struct passwd *known;
	uint64_t uids[2], mode; /* real and effective */

	if (procstatus_numbers(content, "Uid", 10, uids, 2) == 2)
		process->uid = (uid_t)uids[1];
	process->filtered = procstatus_number(content, "Seccomp", 10, &mode) && mode == 2;
	free(content);
	known = getpwuid(process->uid);
	process->user = known ? command_copy(known->pw_name)
			      : command_format("%lu", (unsigned long)process->uid);
}

/* ---- guarded? ---- */

/* Parses the process's settings as the library does: sets them in our environment first. */
static void read_settings(struct process *process, const char *environment, size_t length)
{
	static const char *const variables[] = {
		"SOCKGUARD_DISABLE", "SOCKGUARD_ONLY", "SOCKGUARD_IGNORE"};
	bool any = false;

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	for (const char *at = environment; at < environment + length; at += strlen(at) + 1) {
		for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
			size_t name = strlen(variables[i]);

			if (strncmp(at, variables[i], name) != 0 || at[name] != '=')
				continue;
			setenv(variables[i], at + name + 1, 1);
			any = true;
		}
	}
	if (!any)
		return;
	config = (struct config){0};
	config_load(NULL);
	process->config = command_allocate(sizeof(config));
	*process->config = config;
	config = (struct config){0};
}

static void set(struct process *process, enum guarded guarded, const char *why)
{
	process->guarded = guarded;
	process->why = why;
}

/* A supervisor's settings apply to all processes that it guards. */
static void use_supervisor_settings(struct process *process, const struct members *members)
{
	free(process->config);
	process->config = NULL;
	if (!members || (members->only[0] == '\0' && members->ignore[0] == '\0'))
		return;
	process->config = command_allocate(sizeof(*process->config));
	process->config->only = members->only[0] != '\0' ? members->only : NULL;
	process->config->ignore = members->ignore[0] != '\0' ? members->ignore : NULL;
}

/* Whether the library is among the files that it maps. */
static bool maps_library(struct process *process, char *maps)
{
	char *rest = NULL;

	for (char *line = strtok_r(maps, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *path = strchr(line, '/');

		if (!path || !library_is_named(path))
			continue;
		process->outdated = strstr(path, " (deleted)") != NULL;
		return true;
	}
	return false;
}

/* Whether it gained privileges at exec, AT_SECURE in getauxval(3). */
static bool is_secure(pid_t pid)
{
	size_t length;
	char *content = proc_read_file(pid, "auxv", &length);
	bool secure = false;

	for (size_t at = 0; content && at + sizeof(ElfW(auxv_t)) <= length;
		at += sizeof(ElfW(auxv_t))) {
		ElfW(auxv_t) value;

		memcpy(&value, content + at, sizeof(value));
		if (value.a_type == AT_SECURE)
			secure = value.a_un.a_val != 0;
	}
	free(content);
	return secure;
}

static void judge_unmapped(struct process *process, const struct program *program,
	const char *environment, size_t length)
{
	if (program->guardable == NOT_GUARDABLE) {
		set(process, NOT_GUARDED, program->why);
		return;
	}
	if (is_secure(process->pid)) {
		set(process, NOT_GUARDED,
			"gained privileges when executed, so its loader ignored LD_PRELOAD");
		return;
	}
	for (const char *at = environment; at < environment + length; at += strlen(at) + 1)
		if (strncmp(at, "LD_PRELOAD=", 11) == 0 && strstr(at, LIBRARY_NAME)) {
			set(process, NOT_GUARDED,
				"its loader could not load the library in LD_PRELOAD");
			return;
		}
	set(process, NOT_GUARDED, "was started without the guard");
}

static void judge_mapped(struct process *process, const struct program *program)
{
	if (program->go)
		set(process, NOT_GUARDED, program->why);
	else if (process->config && process->config->disabled)
		set(process, NOT_GUARDED, "was started with SOCKGUARD_DISABLE=1");
	else
		set(process, GUARDED, NULL);
	process->by = process->guarded == GUARDED ? WAY_PRELOAD : WAY_NONE;
}

/* For a process that the library does not guard: determines whether a supervisor does. */
static void judge_supervised(struct process *process)
{
	const struct members *members;

	if (!process->filtered)
		return;
	switch (supervised_inspect(process->pid, &members)) {
	case SUPERVISED:
		use_supervisor_settings(process, members);
		set(process, GUARDED, NULL);
		process->by = WAY_SYSCALLS;
		break;
	case SUPERVISED_UNKNOWN:
		set(process, GUARDED_UNKNOWN,
			"has a seccomp filter, which may or may not be a supervisor's");
		break;
	case SUPERVISED_UNEXAMINED:
		set(process, NOT_GUARDED,
			"its supervisor has no permission to examine it: it is not dumpable, or "
			"another user's");
		break;
	case NOT_SUPERVISED:
		break;
	}
}

static void judge_process(struct process *process, const struct library *library)
{
	size_t map_length, length = 0;
	char *maps = proc_read_file(process->pid, "maps", &map_length);
	char *environment = maps ? proc_read_file(process->pid, "environ", &length) : NULL;
	char *exe = command_format("/proc/%d/exe", (int)process->pid);
	struct program program;

	if (!maps || (map_length > 0 && !environment)) {
		set(process, GUARDED_UNKNOWN, "no permission to examine it");
	} else if (map_length == 0) {
		set(process, NOT_GUARDED, "a kernel thread, or has ended");
	} else {
		read_settings(process, environment, length);
		program_inspect_running(&program, exe, library);
		if (maps_library(process, maps))
			judge_mapped(process, &program);
		else
			judge_unmapped(process, &program, environment, length);
		if (process->guarded != GUARDED)
			judge_supervised(process);
	}
	free(exe);
	free(environment);
	free(maps);
}

bool process_inspect(struct process *process, pid_t pid, const struct library *library)
{
	char *path = command_format("/proc/%d", (int)pid);
	struct stat found;
	bool there = pid > 0 && stat(path, &found) == 0;

	free(path);
	*process = (struct process){.pid = pid};
	set(process, NOT_GUARDED, "no such process");
	if (!there)
		return false;
	process->uid = found.st_uid;
	read_status(process);
	read_stat(process);
	judge_process(process, library);
	return true;
}

static int by_pid(const void *a, const void *b)
{
	const struct process *left = a, *right = b;

	return (left->pid > right->pid) - (left->pid < right->pid);
}

const struct process *process_cached(pid_t pid)
{
	static void *known;
	const struct process wanted = {.pid = pid};
	struct process **found = tfind(&wanted, &known, by_pid);
	struct process *process;

	if (found)
		return *found;
	process = command_allocate(sizeof(*process));
	process_inspect(process, pid, NULL);
	if (!tsearch(process, &known, by_pid))
		command_die(EXIT_FAILED, "out of memory");
	return process;
}

enum guarded process_guards(const struct process *process, const char *path, const char **why)
{
	bool ignored = false;

	if (process->guarded == GUARDED && process->config) {
		config = *process->config;
		ignored = config_ignores(AT_FDCWD, path);
		config = (struct config){0};
	}
	*why = ignored ? "SOCKGUARD_ONLY or SOCKGUARD_IGNORE excludes this path" : process->why;
	return ignored ? NOT_GUARDED : process->guarded;
}
