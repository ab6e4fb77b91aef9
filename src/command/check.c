/*
 * sockguard check: can a program be guarded, is a process, and why not.
 *
 * Elsewhere than on a terminal a line is one target, in fields separated by tabs: verdict, target,
 * program, why. docs/check.schema.json describes the JSON.
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

static const char help[] =
	"Usage: sockguard check [--json] PROGRAM|PID...\n"
	"\n"
	"Tells whether each PROGRAM can be guarded by sockguard run, and whether the\n"
	"process of each PID is, and why not. A program named by a number is ./NUMBER.\n"
	"\n"
	"  guardable, not-guardable  a program\n"
	"  guarded, not-guarded      a process\n"
	"  unknown                   could not be told, for lack of permission\n"
	"\n"
	"  --json      JSON, whose schema sockguard(1) names\n"
	"  -h, --help  this text\n"
	"\n"
	"The settings of a process are those it was started with. Set-id programs and\n"
	"those with file capabilities are judged for the user who asks.\n"
	"In a pipe: no header, fields separated by tabs: verdict, target, program, why.\n"
	"Exit status: 0 all guarded or guardable, 3 some not, 4 unknown, 2 bad usage.\n"
	"\n"
	"Example: sockguard check nginx $(pidof gunicorn)\n";

static const struct column columns[] = {
	{.name = "VERDICT"},
	{.name = "TARGET", .least = 12, .cut_start = true},
	{.name = "PROGRAM", .least = 16, .cut_start = true, .rank = 1},
	{.name = "WHY", .least = 48},
};

enum verdict { IS_GUARDED, IS_NOT_GUARDED, CAN_BE, CAN_NOT_BE, NOT_TOLD };

static const struct {
	const char *word;
	enum colour colour;
	int exit_status;
} verdicts[] = {
	[IS_GUARDED] = {"guarded", GREEN, EXIT_ALL},
	[IS_NOT_GUARDED] = {"not-guarded", RED, EXIT_SOME_NOT},
	[CAN_BE] = {"guardable", GREEN, EXIT_ALL},
	[CAN_NOT_BE] = {"not-guardable", RED, EXIT_SOME_NOT},
	[NOT_TOLD] = {"unknown", YELLOW, EXIT_UNTOLD},
};

struct checked {
	const char *target;
	pid_t pid; /* 0: a program */
	enum verdict verdict;
	char *program;
	char *why; /* not; or what is to be said of it all the same. NULL: nothing */
};

/* A number that can be a pid, or 0. */
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
	return command_print("%s is %s", program->about, program->why);
}

static void check_program(struct checked *checked, const struct library *library)
{
	static const enum verdict by_guardable[] = {
		[GUARDABLE] = CAN_BE,
		[NOT_GUARDABLE] = CAN_NOT_BE,
		[GUARDABLE_UNTOLD] = NOT_TOLD,
		[NO_PROGRAM] = CAN_NOT_BE,
	};
	struct program program;

	program_look(&program, checked->target, library);
	checked->verdict = by_guardable[program.guardable];
	checked->program = program.found[0] != '\0' ? command_copy(program.found) : NULL;
	checked->why = why_of_program(&program);
}

/* What its service's settings forbid to the guard, or NULL. */
static char *remark_on_service(const struct process *process)
{
	struct service service;
	char *forbidden, *words = NULL;

	if (!process->filtered || !service_of(process->pid, &service))
		return NULL;
	forbidden = service_forbids(&service);
	if (forbidden)
		words = command_print("its SystemCallFilter= leaves out %s: see sockguard unit %s",
			forbidden, service.name);
	free(forbidden);
	free(service.name);
	return words;
}

/* What is to be said of a process that is guarded. */
static char *remark(const struct process *process)
{
	const struct config *settings = process->config;
	char *of_service = process->outdated ? NULL : remark_on_service(process);

	if (of_service)
		return of_service;
	if (process->outdated)
		return command_copy("by a library file that was removed or replaced since");
	if (settings && settings->only)
		return command_print("only %s", settings->only);
	if (settings && settings->ignore)
		return command_print("all but %s", settings->ignore);
	return NULL;
}

static void check_process(struct checked *checked, const struct library *library)
{
	static const enum verdict by_guarded[] = {
		[GUARDED] = IS_GUARDED,
		[NOT_GUARDED] = IS_NOT_GUARDED,
		[GUARDED_UNTOLD] = NOT_TOLD,
	};
	struct process process;

	process_look(&process, checked->pid, library);
	checked->verdict = by_guarded[process.guarded];
	checked->program = process.command;
	checked->why = process.guarded == GUARDED ? remark(&process) : command_copy(process.why);
	free(process.user);
	free(process.config);
}

static void check_one(struct checked *checked, const char *target, const struct library *library)
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
		json_put(object, "verdict", json_words(verdicts[list[i].verdict].word));
		json_put(object, "program", json_words(list[i].program));
		json_put(object, "why", json_words(list[i].why));
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
		command_misuse(&command_check, "name the programs or pids to look at");
	library_find(&library);
	list = command_allocate(count * sizeof(*list));
	for (size_t i = 0; i < count; i++)
		check_one(&list[i], argv[optind + (int)i], &library);
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
