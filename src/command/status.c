/*
 * sockguard status: what socket paths lead to, and who holds the sockets.
 *
 * Elsewhere than on a terminal a line is a path and one of its holders, in fields separated by
 * tabs: state, path, pid, command, user, guarded, since, started, lock. What there is not is "-",
 * holders that are not known are "?". docs/status.schema.json describes the JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "socketpath.h"
#include "json.h"
#include "lockfile.h"
#include "process.h"
#include "table.h"

static const char help[] =
	"Usage: sockguard status [--json] [PATH...]\n"
	"\n"
	"Tells what each PATH leads to, and which processes hold the socket; without a\n"
	"PATH, of all listening and datagram sockets of this network namespace.\n"
	"\n"
	"  live       a socket is bound there     absent     there is no such name\n"
	"  stale      its socket is gone          no-socket  it is something else\n"
	"  claimed    absent, but kept for its live owner by the lock file\n"
	"  lost       a socket bound there still listens, but the path is gone or stolen\n"
	"  unknown    could not be told, for lack of permission\n"
	"\n"
	"  --json      JSON, whose schema sockguard(1) names\n"
	"  -h, --help  this text\n"
	"\n"
	"In a pipe: no header, a line for each holder, and fields separated by tabs:\n"
	"state, path, pid, command, user, guarded, since (it was bound), started (the\n"
	"process was), lock. - is none, ? not known, \\xHH a byte, \\n a new line.\n"
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
	[STATE_UNKNOWN] = {"unknown", YELLOW, EXIT_UNTOLD},
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
	[GUARDED_UNTOLD] = "unknown",
};

struct all {
	struct scene scene;
	struct entry *list;
	size_t count;
};

/* For people in their time, for programs in UTC. The buffer is the caller's. */
static const char *print_time(time_t time, bool person, char text[32])
{
	struct tm parts;

	if (time == 0)
		return NULL;
	if (person)
		strftime(text, 32, "%Y-%m-%d %H:%M", localtime_r(&time, &parts));
	else
		strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&time, &parts));
	return text;
}

static time_t since(const struct entry *entry)
{
	return entry->recorded ? (time_t)entry->record.time : 0;
}

static const struct holding *holders_of_entry(const struct all *all, const struct entry *entry,
	size_t *count)
{
	*count = 0;
	return entry->bound ? holders_of(&all->scene.holders, entry->bound->number, count) : NULL;
}

/* ---- the table ---- */

/* Could it be that there are holders we did not see? */
static bool holders_complete(const struct all *all, const struct entry *entry)
{
	return all->scene.sockets.told && all->scene.holders.complete &&
	       (entry->bound || entry->state != STATE_LIVE);
}

/* A holder, or the words for that there is none. */
static void add_row(struct table *table, const struct entry *entry, const struct process *process,
	const char *none)
{
	bool person = isatty(STDOUT_FILENO);
	char bound[32], started[32], pid[32];
	const char *why;
	enum guarded guarded =
		process ? process_guards(process, entry->path, &why) : GUARDED_UNTOLD;

	snprintf(pid, sizeof(pid), "%d", process ? (int)process->pid : 0);
	table_add(table, states[entry->state].word, states[entry->state].colour);
	table_add(table, entry->path, PLAIN);
	table_add(table, process ? pid : none, PLAIN);
	table_add(table, process ? process->command : none, PLAIN);
	table_add(table, process ? process->user : none, PLAIN);
	table_add(table, process ? guards[guarded] : none,
		guarded == GUARDED       ? GREEN
		: guarded == NOT_GUARDED ? YELLOW
					 : PLAIN);
	table_add(table, print_time(since(entry), person, bound), PLAIN);
	table_add(table, print_time(process ? process->started : 0, person, started), PLAIN);
	table_add(table, locks[entry->lock], PLAIN);
}

static void print_table(const struct all *all)
{
	struct table table;

	table_begin(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < all->count; i++) {
		size_t count;
		const struct holding *holding = holders_of_entry(all, &all->list[i], &count);

		if (count == 0)
			add_row(&table, &all->list[i], NULL,
				all->list[i].state == STATE_LIVE &&
						!holders_complete(all, &all->list[i])
					? "?"
					: "-");
		for (size_t j = 0; j < count; j++) {
			add_row(&table, &all->list[i], process_known(holding[j].pid), NULL);
			if (j > 0)
				table_join(&table);
		}
	}
	table_print(&table);
	table_free(&table);
}

/* ---- JSON ---- */

static json_t *json_of_time(time_t time)
{
	char text[32];

	return json_words(print_time(time, false, text));
}

static json_t *json_of_holder(const struct process *process, const char *path)
{
	const char *why;
	enum guarded guarded = process_guards(process, path, &why);
	json_t *object = json_object();

	json_put(object, "pid", json_integer(process->pid));
	json_put(object, "command", json_words(process->command));
	json_put(object, "user", json_words(process->user));
	json_put(object, "uid", process->user ? json_integer(process->uid) : json_null());
	json_put(object, "started", json_of_time(process->started));
	json_put(object, "guarded", json_words(guards[guarded]));
	json_put(object, "why", json_words(why));
	return object;
}

static json_t *json_of_record(const struct entry *entry)
{
	json_t *object = json_object();

	if (!entry->recorded) {
		json_decref(object);
		return json_null();
	}
	json_put(object, "pid", json_integer((json_int_t)entry->record.pid));
	json_put(object, "uid", json_integer((json_int_t)entry->record.uid));
	json_put(object, "command", json_words(entry->record.comm));
	json_put(object, "ended", json_boolean(record_binder_has_ended(&entry->record)));
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

static json_t *json_of_entry(const struct all *all, const struct entry *entry)
{
	json_t *object = json_object();
	json_t *list = json_array();
	json_t *lock = json_object();
	size_t count;
	const struct holding *holding = holders_of_entry(all, entry, &count);
	char *file = command_lockfile(entry->path);

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list,
			json_of_holder(process_known(holding[i].pid), entry->path));
	json_put_path(lock, "path", file);
	json_put(lock, "state", json_words(locks[entry->lock]));
	json_put_path(object, "path", entry->path);
	json_put(object, "state", json_words(states[entry->state].word));
	json_put(object, "type", json_words(type_of(entry->bound)));
	json_put(object, "since", json_of_time(since(entry)));
	json_put(object, "bound_by", json_of_record(entry));
	json_put(object, "lock_file", lock);
	json_put(object, "holders", list);
	json_put(object, "holders_complete", json_boolean(holders_complete(all, entry)));
	free(file);
	return object;
}

static void print_json(const struct all *all)
{
	json_t *list = json_array();

	for (size_t i = 0; i < all->count; i++)
		json_array_append_new(list, json_of_entry(all, &all->list[i]));
	json_print("sockets", list);
}

/* ---- what to look at ---- */

static struct entry *add(struct all *all)
{
	if ((all->count & (all->count - 1)) == 0) /* a power of two: the list is full */
		all->list = command_resize(all->list,
			(all->count > 0 ? 2 * all->count : 1) * sizeof(*all->list));
	return &all->list[all->count++];
}

static void look_at_path(struct all *all, const char *path)
{
	struct entry robbed;
	size_t entry = all->count, next = 0;

	entry_look(add(all), path, &all->scene);
	while (entry_look_robbed(&robbed, &all->list[entry], &all->scene, &next))
		*add(all) = robbed;
}

static int by_path(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;
	int order = strcmp(left->path, right->path);

	return order != 0 ? order : (int)left->state - (int)right->state;
}

static void look_at_all(struct all *all)
{
	if (!all->scene.sockets.told)
		command_die(EXIT_UNTOLD, "the kernel does not tell its sockets (sock_diag(7)): "
					 "name the paths to look at");
	for (size_t i = 0; i < all->scene.count; i++)
		entry_look_bound(add(all), all->scene.names[i].bound, &all->scene);
	if (all->count > 0)
		qsort(all->list, all->count, sizeof(*all->list), by_path);
}

static int finish(struct all *all)
{
	int worst = EXIT_ALL;

	for (size_t i = 0; i < all->count; i++) {
		if (states[all->list[i].state].exit_status > worst)
			worst = states[all->list[i].state].exit_status;
		entry_free(&all->list[i]);
	}
	free(all->list);
	scene_free(&all->scene);
	return worst;
}

static int status(int argc, char **argv)
{
	enum { JSON = 256 };
	static const struct option words[] = {
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct all all = {0};
	bool json = false;

	while (command_option(&command_status, argc, argv, "h", words) == JSON)
		json = true;
	scene_load(&all.scene);
	if (optind == argc)
		look_at_all(&all);
	for (; optind < argc; optind++)
		look_at_path(&all, argv[optind]);
	if (json)
		print_json(&all);
	else
		print_table(&all);
	return finish(&all);
}

const struct command command_status = {"status", status, help};
