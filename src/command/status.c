/*
 * sockguard status: what socket paths lead to, and which processes hold the sockets.
 *
 * If stdout is not a terminal, each line is a path and one of its holders, with fields separated by
 * tabs: state, path, pid, command, user, guarded, since, started, lock. "-" stands for none, and
 * "?" for unknown holders. docs/status.schema.json describes the JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
#include "lockfile.h"
#include "process.h"
#include "socketpath.h"
#include "table.h"

static const char help[] =
	"Usage: sockguard status [--json] [PATH...]\n"
	"\n"
	"Prints the state of each PATH, and the processes that hold the socket. Without a\n"
	"PATH, lists all listening and datagram sockets of this network namespace.\n"
	"\n"
	"  live       a socket is bound to it     absent     the path does not exist\n"
	"  stale      no socket is bound to it    no-socket  the path is not a socket\n"
	"  claimed    absent, but the lock file reserves it for its live owner\n"
	"  lost       a socket bound to it still listens, but the path is gone or stolen\n"
	"  unknown    cannot be determined: permission denied\n"
	"\n"
	"  --json      prints JSON, whose schema sockguard(1) names\n"
	"  -h, --help  prints this text\n"
	"\n"
	"In a pipe: no header; one line for each holder; fields separated by tabs: state,\n"
	"path, pid, command, user, guarded (preloaded, supervised, no, unknown), since\n"
	"(when the socket was bound), started (when the holder started), lock. - stands\n"
	"for none, ? for unknown, \\xHH for a byte, \\n for a new line.\n"
	"Exit status: 0 all live, 3 some not, 4 some unknown, 2 bad usage.\n"
	"\n"
	"Example: sockguard status /run/app.sock\n";

static const struct column columns[] = {
	{.name = "STATE", .once = true},
	{.name = "PATH", .least = 20, .cut_start = true, .once = true},
	{.name = "PID", .right = true, .rank = 1},
	{.name = "COMMAND", .least = 8, .rank = 2},
	{.name = "USER", .least = 8, .rank = 4},
	{.name = "GUARDED", .rank = 3},
	{.name = "SINCE", .rank = 5, .once = true},
	{.name = "STARTED", .rank = 6},
	{.name = "LOCK", .rank = 7, .once = true},
};

static const struct {
	const char *word;
	enum colour colour;
	int exit_status;
} states[] = {
	[STATE_LIVE] = {"live", GREEN, EXIT_ALL},
	[STATE_STALE] = {"stale", YELLOW, EXIT_SOME_NOT},
	[STATE_ABSENT] = {"absent", DIM, EXIT_SOME_NOT},
	[STATE_CLAIMED] = {"claimed", YELLOW, EXIT_SOME_NOT},
	[STATE_LOST] = {"lost", RED, EXIT_SOME_NOT},
	[STATE_NO_SOCKET] = {"no-socket", YELLOW, EXIT_SOME_NOT},
	[STATE_UNKNOWN] = {"unknown", YELLOW, EXIT_UNKNOWN},
};

static const char *const locks[] = {
	[LOCK_NONE] = "none",
	[LOCK_IDLE] = "idle",
	[LOCK_CLAIMED] = "claimed",
	[LOCK_UNKNOWN] = "unknown",
};

static const char *const guards[] = {
	[GUARDED] = "yes",
	[NOT_GUARDED] = "no",
	[GUARDED_UNKNOWN] = "unknown",
};

/* In the table, instead of "yes". */
static const char *const ways[] = {
	[WAY_PRELOAD] = "preloaded",
	[WAY_SYSCALLS] = "supervised",
};

struct report {
	struct snapshot snapshot;
	struct socketpath *list;
	size_t count;
};

/*
 * Local time for people, UTC for programs. The buffer is the caller's. Returns NULL if the time is
 * unknown, or is so far away that no date expresses it: another user may have written the record.
 */
static const char *format_time(time_t time, bool person, char text[32])
{
	struct tm parts;
	size_t length;

	if (time == 0 || !(person ? localtime_r(&time, &parts) : gmtime_r(&time, &parts)))
		return NULL;
	length = person ? strftime(text, 32, "%Y-%m-%d %H:%M", &parts)
			: strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
	return length > 0 ? text : NULL;
}

static time_t since(const struct socketpath *socketpath)
{
	return socketpath->recorded ? (time_t)socketpath->record.time : 0;
}

static const struct holding *holders_of_socketpath(const struct report *report,
	const struct socketpath *socketpath, size_t *count)
{
	*count = 0;
	return socketpath->bound
		       ? holders_of(&report->snapshot.holders, socketpath->bound->number, count)
		       : NULL;
}

/* ---- the table ---- */

/* Whether all holders are known. */
static bool holders_complete(const struct report *report, const struct socketpath *socketpath)
{
	return report->snapshot.sockets.answered && report->snapshot.holders.complete &&
	       (socketpath->bound || socketpath->state != STATE_LIVE);
}

/* Adds a holder; or, if process is NULL, `none` in its place. */
static void add_row(struct table *table, const struct socketpath *socketpath,
	const struct process *process, const char *none)
{
	bool person = isatty(STDOUT_FILENO);
	char bound[32], started[32], pid[32];
	const char *why;
	enum guarded guarded =
		process ? process_guards(process, socketpath->path, &why) : GUARDED_UNKNOWN;

	snprintf(pid, sizeof(pid), "%d", process ? (int)process->pid : 0);
	table_add(table, states[socketpath->state].word, states[socketpath->state].colour);
	table_add(table, socketpath->path, PLAIN);
	table_add(table, process ? pid : none, PLAIN);
	table_add(table, process ? process->command : none, PLAIN);
	table_add(table, process ? process->user : none, PLAIN);
	table_add(table,
		!process             ? none
		: guarded == GUARDED ? ways[process->by]
				     : guards[guarded],
		guarded == GUARDED       ? GREEN
		: guarded == NOT_GUARDED ? YELLOW
					 : PLAIN);
	table_add(table, format_time(since(socketpath), person, bound), PLAIN);
	table_add(table, format_time(process ? process->started : 0, person, started), PLAIN);
	table_add(table, locks[socketpath->lock], PLAIN);
}

static void print_table(const struct report *report)
{
	struct table table;

	table_begin(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < report->count; i++) {
		size_t count;
		const struct holding *holding =
			holders_of_socketpath(report, &report->list[i], &count);

		if (count == 0)
			add_row(&table, &report->list[i], NULL,
				report->list[i].state == STATE_LIVE &&
						!holders_complete(report, &report->list[i])
					? "?"
					: "-");
		for (size_t j = 0; j < count; j++) {
			add_row(&table, &report->list[i], process_cached(holding[j].pid), NULL);
			if (j > 0)
				table_join_row(&table);
		}
	}
	table_print(&table);
	table_free(&table);
}

/* ---- JSON ---- */

static json_t *json_of_time(time_t time)
{
	char text[32];

	return json_text(format_time(time, false, text));
}

static json_t *json_of_holder(const struct process *process, const char *path)
{
	const char *why;
	enum guarded guarded = process_guards(process, path, &why);
	json_t *object = json_object();

	json_put(object, "pid", json_integer(process->pid));
	json_put(object, "command", json_text(process->command));
	json_put(object, "user", json_text(process->user));
	json_put(object, "uid", process->user ? json_integer(process->uid) : json_null());
	json_put(object, "started", json_of_time(process->started));
	json_put(object, "guarded", json_text(guards[guarded]));
	json_put(object, "by", json_text(guarded == GUARDED ? way_words[process->by] : NULL));
	json_put(object, "why", json_text(why));
	return object;
}

static json_t *json_of_record(const struct socketpath *socketpath)
{
	json_t *object = json_object();
	enum record_binder binder;

	if (!socketpath->recorded) {
		json_decref(object);
		return json_null();
	}
	json_put(object, "pid", json_integer((json_int_t)socketpath->record.pid));
	json_put(object, "uid", json_integer((json_int_t)socketpath->record.uid));
	json_put(object, "command", json_text(socketpath->record.comm));
	binder = record_find_binder(&socketpath->record);
	json_put(object, "ended",
		binder == BINDER_FOREIGN ? json_null() : json_boolean(binder == BINDER_ENDED));
	return object;
}

static const char *type_of(const struct bound *bound)
{
	if (!bound)
		return NULL;
	return bound->type == SOCK_STREAM      ? "stream"
	       : bound->type == SOCK_SEQPACKET ? "seqpacket"
					       : "datagram";
}

static json_t *json_of_socketpath(const struct report *report, const struct socketpath *socketpath)
{
	json_t *object = json_object();
	json_t *list = json_array();
	json_t *lock = json_object();
	size_t count;
	const struct holding *holding = holders_of_socketpath(report, socketpath, &count);
	char *file = command_lockfile_path(socketpath->path);

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list,
			json_of_holder(process_cached(holding[i].pid), socketpath->path));
	json_put_path(lock, "path", file);
	json_put(lock, "state", json_text(locks[socketpath->lock]));
	json_put_path(object, "path", socketpath->path);
	json_put(object, "state", json_text(states[socketpath->state].word));
	json_put(object, "type", json_text(type_of(socketpath->bound)));
	json_put(object, "since", json_of_time(since(socketpath)));
	json_put(object, "bound_by", json_of_record(socketpath));
	json_put(object, "lock_file", lock);
	json_put(object, "holders", list);
	json_put(object, "holders_complete", json_boolean(holders_complete(report, socketpath)));
	free(file);
	return object;
}

static void print_json(const struct report *report)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->count; i++)
		json_array_append_new(list, json_of_socketpath(report, &report->list[i]));
	json_print("sockets", list);
}

/* ---- the paths ---- */

static struct socketpath *add(struct report *report)
{
	report->list = command_grow(report->list, report->count, sizeof(*report->list));
	return &report->list[report->count++];
}

static void add_path(struct report *report, const char *path)
{
	struct socketpath lost;
	size_t index = report->count, next = 0;

	socketpath_inspect(add(report), path, &report->snapshot);
	while (socketpath_inspect_lost(&lost, &report->list[index], &report->snapshot, &next))
		*add(report) = lost;
}

static int by_path(const void *a, const void *b)
{
	const struct socketpath *left = a, *right = b;
	int order = strcmp(left->path, right->path);

	return order != 0 ? order : (int)left->state - (int)right->state;
}

static void add_all_bound(struct report *report)
{
	if (!report->snapshot.sockets.answered)
		command_die(EXIT_UNKNOWN, "cannot list the kernel's sockets (sock_diag(7)); "
					  "name the paths to inspect");
	for (size_t i = 0; i < report->snapshot.count; i++)
		socketpath_inspect_bound(add(report), report->snapshot.paths[i].bound,
			&report->snapshot);
	if (report->count > 0)
		qsort(report->list, report->count, sizeof(*report->list), by_path);
}

static int exit_status_of(const struct report *report)
{
	int worst = EXIT_ALL;

	for (size_t i = 0; i < report->count; i++)
		if (states[report->list[i].state].exit_status > worst)
			worst = states[report->list[i].state].exit_status;
	return worst;
}

static void free_report(struct report *report)
{
	for (size_t i = 0; i < report->count; i++)
		socketpath_free(&report->list[i]);
	free(report->list);
	snapshot_free(&report->snapshot);
}

static int status(int argc, char **argv)
{
	enum { JSON = 256 };
	static const struct option words[] = {
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct report report = {0};
	bool json = false;
	int exit_status;

	while (command_option(&command_status, argc, argv, "h", words) == JSON)
		json = true;
	snapshot_load(&report.snapshot);
	if (optind == argc)
		add_all_bound(&report);
	for (; optind < argc; optind++)
		add_path(&report, argv[optind]);
	if (json)
		print_json(&report);
	else
		print_table(&report);
	exit_status = exit_status_of(&report);
	free_report(&report);
	return exit_status;
}

const struct command command_status = {"status", status, help};
