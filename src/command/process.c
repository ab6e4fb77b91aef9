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
#include "program.h"
#include "text.h"

/* Reads all of a file in /proc, NULL with errno where it cannot be. The caller frees it. */
static char *read_all(const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 4096;
	char *content;
	ssize_t more;
	int saved;

	*length = 0;
	if (fd < 0)
		return NULL;
	content = command_allocate(size);
	while ((more = read(fd, content + *length, size - 1 - *length)) > 0) {
		*length += (size_t)more;
		if (*length + 1 == size)
			content = command_resize(content, size *= 2);
	}
	saved = errno;
	close(fd);
	content[*length] = '\0';
	if (more == 0)
		return content;
	free(content);
	errno = saved;
	return NULL;
}

static char *read_of(pid_t pid, const char *name, size_t *length)
{
	char *path = command_print("/proc/%d/%s", (int)pid, name);
	char *content = read_all(path, length);
	int saved = errno;

	free(path);
	errno = saved;
	return content;
}

/* ---- who, and since when ---- */

static time_t boot_time(void)
{
	static time_t known;
	const char *line;
	char *content;
	size_t length;

	if (known != 0)
		return known;
	content = read_all("/proc/stat", &length);
	line = content ? strstr(content, "\nbtime ") : NULL;
	known = line ? (time_t)strtoll(line + 7, NULL, 10) : 0;
	free(content);
	return known;
}

/* From the third field of /proc/PID/stat, behind the command, to the 22nd: when it was started. */
static time_t started(const char *fields)
{
	unsigned long long ticks;

	for (int field = 3; fields && field < 22; field++)
		fields = strchr(fields + 1, ' ');
	if (!fields || boot_time() == 0)
		return 0;
	ticks = strtoull(fields, NULL, 10);
	return boot_time() + (time_t)(ticks / (unsigned long)sysconf(_SC_CLK_TCK));
}

/* The command in it may hold anything, parentheses and blanks too. */
static void read_stat(struct process *process)
{
	size_t length;
	char *content = read_of(process->pid, "stat", &length);
	char *first = content ? strchr(content, '(') : NULL;
	char *last = content ? strrchr(content, ')') : NULL;

	if (first && last) {
		*last = '\0';
		process->command = command_copy(first + 1);
		process->started = started(last + 1);
	}
	free(content);
}

/* Its status: the effective user, and whether it is filtered. Of /proc/PID itself root is the owner
 * where the process may not be dumped. */
static void read_status(struct process *process)
{
	size_t length;
	char *content = read_of(process->pid, "status", &length);
	const char *line = content ? strstr(content, "\nUid:") : NULL;
	const struct passwd *known;
	char *end;

	if (line) {
		strtoul(line + 5, &end, 10); /* the real one */
		process->uid = (uid_t)strtoul(end, NULL, 10);
	}
	process->filtered = content && strstr(content, "\nSeccomp:\t2");
	free(content);
	known = getpwuid(process->uid);
	process->user = known ? command_copy(known->pw_name)
			      : command_print("%lu", (unsigned long)process->uid);
}

/* ---- guarded? ---- */

/* The settings it was started with, read as the library reads them. */
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

/* Is the library among what it maps? */
static bool maps_library(struct process *process, char *maps)
{
	char *rest = NULL;

	for (char *line = strtok_r(maps, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *path = strchr(line, '/');

		if (!path || !library_is(path))
			continue;
		process->outdated = strstr(path, " (deleted)") != NULL;
		return true;
	}
	return false;
}

/* Did it get other rights by its exec? The kernel told its loader, getauxval(3). */
static bool is_secure(pid_t pid)
{
	size_t length;
	char *content = read_of(pid, "auxv", &length);
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
			"got other rights by its exec, so that its loader heeded no LD_PRELOAD");
		return;
	}
	for (const char *at = environment; at < environment + length; at += strlen(at) + 1)
		if (strncmp(at, "LD_PRELOAD=", 11) == 0 && strstr(at, LIBRARY_NAME)) {
			set(process, NOT_GUARDED, "its loader did not load what LD_PRELOAD names");
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
}

static void judge_process(struct process *process, const struct library *library)
{
	size_t map_length, length = 0;
	char *maps = read_of(process->pid, "maps", &map_length);
	char *environment = maps ? read_of(process->pid, "environ", &length) : NULL;
	char *exe = command_print("/proc/%d/exe", (int)process->pid);
	struct program program;

	if (!maps || (map_length > 0 && !environment)) {
		set(process, GUARDED_UNTOLD, "no permission to look into it");
	} else if (map_length == 0) {
		set(process, NOT_GUARDED, "a kernel thread, or has ended");
	} else {
		read_settings(process, environment, length);
		program_look_running(&program, exe, library);
		if (maps_library(process, maps))
			judge_mapped(process, &program);
		else
			judge_unmapped(process, &program, environment, length);
	}
	free(exe);
	free(environment);
	free(maps);
}

bool process_look(struct process *process, pid_t pid, const struct library *library)
{
	char *path = command_print("/proc/%d", (int)pid);
	struct stat found;
	bool there = pid > 0 && stat(path, &found) == 0;

	free(path);
	*process = (struct process){.pid = pid};
	set(process, NOT_GUARDED, "there is no such process");
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

const struct process *process_known(pid_t pid)
{
	static void *known;
	const struct process wanted = {.pid = pid};
	struct process **found = tfind(&wanted, &known, by_pid);
	struct process *process;

	if (found)
		return *found;
	process = command_allocate(sizeof(*process));
	process_look(process, pid, NULL);
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
	*why = ignored ? "leaves this path alone, by SOCKGUARD_ONLY or SOCKGUARD_IGNORE"
		       : process->why;
	return ignored ? NOT_GUARDED : process->guarded;
}
