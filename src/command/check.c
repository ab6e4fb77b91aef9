/*
 * sockguard check: whether a program can be guarded, whether a process is, and why not.
 *
 * If stdout is not a terminal, each target is one line with fields separated by tabs: verdict,
 * target, program, why, by. docs/check.schema.json describes the JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "library.h"
#include "process.h"
#include "program.h"
#include "service.h"
#include "table.h"
#include "text.h"
#include "way.h"

static const char help[] =
	"Usage: sockguard check [--json] PROGRAM|PID...\n"
	"\n"
	"Prints whether and how sockguard run can guard each PROGRAM, and whether and how\n"
	"the process with each PID is guarded, and the reason if it is not. If a\n"
	"program's name is numeric, write ./NUMBER.\n"
	"\n"
	"  guardable, not-guardable  a program\n"
	"  guarded, not-guarded      a process\n"
	"  unknown                   cannot be determined\n"
	"\n"
	"  --json      prints JSON, whose schema sockguard(1) names\n"
	"  -h, --help  prints this text\n"
	"\n"
	"The settings of a process are those that it was started with. For programs with\n"
	"set-ID bits or file capabilities, the result is that for the current user.\n"
	"In a pipe: no header; fields separated by tabs: verdict, target, program, why,\n"
	"by (preload: the library; syscalls: a supervisor of the program's system calls).\n"
	"Exit status: 0 all guarded or guardable, 3 some not, 4 unknown, 2 bad usage.\n"
	"\n"
	"Example: sockguard check nginx $(pidof gunicorn)\n";

static const struct column columns[] = {
	{.name = "VERDICT"},
	{.name = "TARGET", .least = 12, .cut_start = true},
	{.name = "PROGRAM", .least = 16, .cut_start = true, .rank = 1},
	{.name = "WHY", .least = 48},
	{.name = "BY"},
};

enum verdict { IS_GUARDED, IS_NOT_GUARDED, IS_GUARDABLE, IS_NOT_GUARDABLE, UNDETERMINED };

static const struct {
	const char *word;
	enum colour colour;
	int exit_status;
} verdicts[] = {
	[IS_GUARDED] = {"guarded", GREEN, EXIT_ALL},
	[IS_NOT_GUARDED] = {"not-guarded", RED, EXIT_SOME_NOT},
	[IS_GUARDABLE] = {"guardable", GREEN, EXIT_ALL},
	[IS_NOT_GUARDABLE] = {"not-guardable", RED, EXIT_SOME_NOT},
	[UNDETERMINED] = {"unknown", YELLOW, EXIT_UNKNOWN},
};

struct checked {
	const char *target;
	pid_t pid; /* 0: a program */
	enum verdict verdict;
	enum way by; /* WAY_NONE: not guarded, or unknown */
	char *program;
	char *why; /* why it is not guarded, or a remark on a guarded one; NULL: none */
};

/* The PID that the target names; 0: it names a program. */
static pid_t pid_of(const char *target)
{
	uint64_t number;
	const char *end = text_read_number(target, &number);

	return end && *end == '\0' && number <= INT32_MAX ? (pid_t)number : 0;
}

static char *why_of_program(const struct program *program)
{
	if (!program->why)
		return NULL;
	if (strcmp(program->about, program->found) == 0 || program->guardable == NO_PROGRAM)
		return command_copy(program->why);
	return command_format("%s is %s", program->about, program->why);
}

/* For a program that cannot be preloaded: whether a supervisor can guard it. */
static void check_by_syscalls(struct checked *checked, const struct program *program)
{
	const char *besides = way_why_not_supervised(program);
	char *why = checked->why;

	if (!besides)
		besides = way_probe_supervisor();
	if (!besides) {
		checked->verdict = IS_GUARDABLE;
		checked->by = WAY_SYSCALLS;
		return;
	}
	checked->why = command_format("%s; nor with --by syscalls: %s", why, besides);
	free(why);
}

static void check_program(struct checked *checked, const struct library *library)
{
	static const enum verdict by_guardable[] = {
		[GUARDABLE] = IS_GUARDABLE,
		[NOT_GUARDABLE] = IS_NOT_GUARDABLE,
		[GUARDABLE_UNKNOWN] = UNDETERMINED,
		[NO_PROGRAM] = IS_NOT_GUARDABLE,
	};
	struct program program;

	program_inspect(&program, checked->target, library);
	checked->verdict = by_guardable[program.guardable];
	checked->program = program.found[0] != '\0' ? command_copy(program.found) : NULL;
	checked->why = why_of_program(&program);
	if (program.guardable == GUARDABLE)
		checked->by = WAY_PRELOAD;
	if (program.guardable == NOT_GUARDABLE)
		check_by_syscalls(checked, &program);
}

/* A remark on the guard's calls that the settings of the service do not allow; NULL: none. */
static char *remark_on_service(const struct process *process)
{
	struct service service;
	char *forbidden, *words = NULL;

	if (process->by != WAY_PRELOAD || !process->filtered ||
		!service_of_process(process->pid, &service))
		return NULL;
	forbidden = service_forbidden_calls(&service, false);
	if (forbidden)
		words = command_format("its SystemCallFilter= does not allow %s; see sockguard "
				       "unit %s",
			forbidden, service.name);
	free(forbidden);
	free(service.name);
	return words;
}

/* A remark on a guarded process; NULL: none. The caller frees it. */
static char *remark(const struct process *process)
{
	const struct config *settings = process->config;
	char *of_service;

	if (process->by == WAY_PRELOAD && process->outdated)
		return command_copy("its library file has been removed or replaced since");
	of_service = remark_on_service(process);
	if (of_service)
		return of_service;
	if (settings && settings->only)
		return command_format("only %s", settings->only);
	if (settings && settings->ignore)
		return command_format("all but %s", settings->ignore);
	return NULL;
}

static void check_process(struct checked *checked, const struct library *library)
{
	static const enum verdict by_guarded[] = {
		[GUARDED] = IS_GUARDED,
		[NOT_GUARDED] = IS_NOT_GUARDED,
		[GUARDED_UNKNOWN] = UNDETERMINED,
	};
	struct process process;

	process_inspect(&process, checked->pid, library);
	checked->verdict = by_guarded[process.guarded];
	checked->by = process.by;
	checked->program = process.command;
	checked->why = process.guarded == GUARDED ? remark(&process) : command_copy(process.why);
	free(process.user);
	free(process.config);
}

static void check_target(struct checked *checked, const char *target, const struct library *library)
{
	*checked = (struct checked){.target = target, .pid = pid_of(target)};
	if (checked->pid > 0)
		check_process(checked, library);
	else
		check_program(checked, library);
}

static void print_table(const struct checked *list, size_t count)
{
	struct table table;

	table_begin(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < count; i++) {
		table_add(&table, verdicts[list[i].verdict].word, verdicts[list[i].verdict].colour);
		table_add(&table, list[i].target, PLAIN);
		table_add(&table, list[i].program, PLAIN);
		table_add(&table, list[i].why, PLAIN);
		table_add(&table, way_words[list[i].by], PLAIN);
	}
	table_print(&table);
	table_free(&table);
}

static void print_json(const struct checked *list, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *object = json_object();

		json_put_path(object, "target", list[i].target);
		json_put(object, "pid", list[i].pid > 0 ? json_integer(list[i].pid) : json_null());
		json_put(object, "verdict", json_text(verdicts[list[i].verdict].word));
		json_put(object, "program", json_text(list[i].program));
		json_put(object, "why", json_text(list[i].why));
		json_put(object, "by", json_text(way_words[list[i].by]));
		json_array_append_new(array, object);
	}
	json_print("targets", array);
}

static int check(int argc, char **argv)
{
	enum { JSON = 256 };
	static const struct option words[] = {
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct library library;
	struct checked *list;
	size_t count;
	bool json = false;
	int worst = EXIT_ALL;

	while (command_option(&command_check, argc, argv, "h", words) == JSON)
		json = true;
	count = (size_t)(argc - optind);
	if (count == 0)
		command_misuse(&command_check, "no program or PID given");
	library_find(&library);
	list = command_allocate(count * sizeof(*list));
	for (size_t i = 0; i < count; i++)
		check_target(&list[i], argv[optind + (int)i], &library);
	if (json)
		print_json(list, count);
	else
		print_table(list, count);
	for (size_t i = 0; i < count; i++) {
		if (verdicts[list[i].verdict].exit_status > worst)
			worst = verdicts[list[i].verdict].exit_status;
		free(list[i].program);
		free(list[i].why);
	}
	free(list);
	return worst;
}

const struct command command_check = {"check", check, help};
