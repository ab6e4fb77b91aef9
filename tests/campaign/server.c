#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "referee.h"

#define NAME_SIZE 128

struct storm storm = {.directory = "", .paths = 3, .servers = 10};

long long number_of(const char *word)
{
	return strtoll(word, NULL, 0);
}

/* ---- random numbers ---- */

static uint64_t chance_state;

static uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

void chance_seed(uint64_t a, uint64_t b, uint64_t c)
{
	chance_state = mix(a + mix(b + mix(c + 1)));
}

unsigned int chance(unsigned int below)
{
	chance_state += UINT64_C(0x9e3779b97f4a7c15);
	return (unsigned int)(mix(chance_state) % below);
}

void pause_us(unsigned int max)
{
	unsigned int us = chance(max + 1);
	struct timespec pause = {us / 1000000, (long)(us % 1000000) * 1000};

	nanosleep(&pause, NULL);
}

/*
 * Sets a timer that kills this process after a random time, at any instruction. Short and long
 * times are equally likely.
 */
static void set_death_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
	struct itimerspec when = {0};
	timer_t timer;

	when.it_value.tv_nsec = 5000L + (long)chance(1U << (12 + chance(12)));
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
		timer_settime(timer, 0, &when, NULL);
}

/* ---- children ---- */

void count_death(int status)
{
	if (!WIFSIGNALED(status)) {
		if (WEXITSTATUS(status) != 0) {
			atomic_fetch_add(&referee_counts()->crashes, 1);
			referee_report("a process ended with status %d", WEXITSTATUS(status));
		}
		return;
	}
	if (WTERMSIG(status) == SIGKILL) {
		atomic_fetch_add(&referee_counts()->kills, 1);
		return;
	}
	atomic_fetch_add(&referee_counts()->crashes, 1);
	referee_report("CRASH: a process died of signal %d", WTERMSIG(status));
}

static void reap(void)
{
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0)
		count_death(status);
}

/* ---- guarded calls, observed ---- */

enum verb { UNLINK, UNLINKAT, REMOVE, BIND, BIND_REUSE, RENAME, LINK };

static const char *const verb_names[] = {
	"unlink", "unlinkat", "remove", "bind", "bind with SO_REUSEADDR", "rename to", "link to"};

struct operation {
	enum verb verb;
	int number; /* of the path, -1 for a temporary name */
	const char *path;
	const char *from; /* of rename and link */
	int fd;           /* of bind */
};

/* Unlinks the last component relative to a descriptor of its directory. */
static int unlink_in_directory(const char *path)
{
	const char *base = strrchr(path, '/') + 1;
	char name[NAME_SIZE];
	int directory, result;
	int error;

	snprintf(name, sizeof(name), "%.*s", (int)(base - path), path);
	directory = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	result = unlinkat(directory, base, 0);
	error = errno;
	close(directory);
	errno = error;
	return result;
}

static int bind_to(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

static int perform(const struct operation *operation)
{
	switch (operation->verb) {
	case UNLINK:
		return unlink(operation->path);
	case UNLINKAT:
		return unlink_in_directory(operation->path);
	case REMOVE:
		return remove(operation->path);
	case BIND:
	case BIND_REUSE:
		return bind_to(operation->fd, operation->path);
	case RENAME:
		return rename(operation->from, operation->path);
	case LINK:
		return link(operation->from, operation->path);
	}
	return -1;
}

/*
 * If the errno shows that our supervisor has ended, notes that the population must be started
 * again, and returns true.
 */
static bool note_lost_supervisor(int error)
{
	if (error != ENOSYS || storm.population == PRELOADED)
		return false;
	atomic_store(&referee_counts()->alone[storm.population], true);
	return true;
}

static bool is_expected(const char *path, enum verb verb, int error)
{
	if (note_lost_supervisor(error))
		return true;
	if (error == ENOMEM && storm.population != PRELOADED)
		return true; /* three of the supervisor's processes were killed during the call */
	if (ground_of_path(path) == MOVING)
		return true; /* one call may find different directories in two lookups */
	return error == 0 || error == EADDRINUSE || (error == ENOENT && verb <= REMOVE) ||
	       (error == EEXIST && verb == LINK);
}

/* Returns 0, or the errno. */
static int make_call(struct operation operation)
{
	struct watch watch;
	int error;

	referee_watch(&watch, verb_names[operation.verb], operation.number, operation.path,
		operation.verb >= BIND);
	errno = 0;
	error = perform(&operation) == 0 ? 0 : errno;
	referee_judge(&watch, error == 0, error, operation.verb == BIND);
	if (!is_expected(operation.path, operation.verb, error)) {
		atomic_fetch_add(&referee_counts()->surprises, 1);
		referee_report("SURPRISE: %s(%s): %s", verb_names[operation.verb], operation.path,
			strerror(error));
	}
	referee_check(verb_names[operation.verb]);
	return error;
}

static int remove_path(int number, const char *path)
{
	return make_call((struct operation){
		.verb = (enum verb)(UNLINK + chance(3)), .number = number, .path = path});
}

/* ---- a server ---- */

struct server {
	int slot;
	int number;
	const char *path;
	int fd;
	int hold;
};

/*
 * A temporary name of this slot. The slot's previous server is dead, so no other process uses the
 * name, except a supervisor that still executes the last call of that server.
 */
static void set_temporary_name(char *name, const struct server *server, const char *suffix)
{
	snprintf(name, NAME_SIZE, "%s.%d%s", server->path, server->slot, suffix);
}

static void record_start(struct server *server)
{
	server->hold = referee_record_owner(server->fd, server->number);
	atomic_fetch_add(&referee_counts()->starts, 1);
	atomic_fetch_add(&referee_counts()->starts_of[storm.population], 1);
}

/* Like most servers: unlinks the path, and binds. */
static bool start_plainly(struct server *server)
{
	if (remove_path(server->number, server->path) == EADDRINUSE)
		return false;
	if (make_call((struct operation){BIND, server->number, server->path, NULL, server->fd}) !=
		0)
		return false;
	record_start(server);
	return listen(server->fd, 4) == 0;
}

static bool start_with_reuse(struct server *server)
{
	const int on = 1;

	setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (make_call((struct operation){
		    BIND_REUSE, server->number, server->path, NULL, server->fd}) != 0)
		return false;
	record_start(server);
	return listen(server->fd, 4) == 0;
}

static bool bind_temporary(struct server *server, const char *name)
{
	remove_path(-1, name);
	return make_call((struct operation){BIND, -1, name, NULL, server->fd}) == 0 &&
	       listen(server->fd, 4) == 0;
}

/* Prepares a socket at a temporary name and renames it to the path in one step. */
static bool start_by_rename(struct server *server)
{
	char name[NAME_SIZE];

	set_temporary_name(name, server, ".new");
	if (!bind_temporary(server, name))
		return false;
	if (make_call((struct operation){RENAME, server->number, server->path, name, -1}) != 0) {
		remove_path(-1, name);
		return false;
	}
	record_start(server);
	return true;
}

/* Like supervisord: binds p.PID, links it to p, which fails if p exists, and unlinks p.PID. */
static bool start_by_link(struct server *server)
{
	char name[NAME_SIZE];
	bool started = false;

	set_temporary_name(name, server, "");
	if (!bind_temporary(server, name))
		return false;
	for (int i = 0; i < 3 && !started; i++) {
		int error =
			make_call((struct operation){LINK, server->number, server->path, name, -1});

		started = error == 0;
		if (started)
			record_start(server);
		else if (error != EEXIST || remove_path(server->number, server->path) == EADDRINUSE)
			break;
	}
	remove_path(-1, name);
	return started;
}

static bool start(struct server *server)
{
	static bool (*const methods[])(struct server *) = {
		start_plainly, start_plainly, start_by_rename, start_by_link, start_with_reuse};
	bool started;

	atomic_fetch_add(&referee_counts()->tries, 1);
	do
		server->number = (int)chance((unsigned int)storm.paths);
	while (ground_user(server->number) != geteuid());
	server->path = referee_path(server->number);
	server->fd = socket(AF_UNIX, chance(4) ? SOCK_STREAM : SOCK_SEQPACKET, 0);
	started = methods[chance(sizeof(methods) / sizeof(*methods))](server);
	if (!started)
		close(server->fd);
	return started;
}

/*
 * The owner unlinks its path. If it still holds the socket, and the path leads to that, the guard
 * must not refuse the call.
 */
static void remove_own(struct server *server, bool holds_socket)
{
	uint64_t began = referee_now();
	bool owned;
	int error;

	referee_release(server->hold);
	owned = holds_socket && referee_path_is_held(server->hold);
	error = remove_path(server->number, server->path);
	if (owned && error == EADDRINUSE && referee_path_is_held(server->hold) &&
		ground_of(server->number) != MOVING && !referee_is_excused(began, referee_now())) {
		atomic_fetch_add(&referee_counts()->alarms, 1);
		referee_report("FALSE ALARM: the owner of %s was refused", server->path);
	}
}

static void stop(struct server *server)
{
	if (chance(5) < 3) {
		remove_own(server, true);
		close(server->fd);
	} else {
		referee_release(server->hold);
		close(server->fd);
		remove_own(server, false);
	}
	atomic_fetch_add(&referee_counts()->stops, 1);
}

static void run_worker(struct server *server)
{
	if (chance(4) == 0)
		set_death_timer();
	pause_us(1U << (8 + chance(7)));
	referee_check("a pause");
	switch (chance(4)) {
	case 0:
		stop(server);
		break;
	case 1:
		raise(SIGKILL);
		break;
	default:
		break;
	}
	_exit(0);
}

/* Forks a child that holds the socket too. */
static void fork_worker(struct server *server)
{
	uint64_t seed = chance_state;
	pid_t pid = fork();

	if (pid == 0) {
		chance_seed(seed, 1, 0);
		run_worker(server);
	}
	atomic_fetch_add(&referee_counts()->forks, 1);
}

/* The process executes this program again with its listener, and continues in server_resume. */
static void execute_again(const struct server *server)
{
	char texts[11][24];
	const char *arguments[] = {PROGRAM, "@server", storm.directory, texts[0], texts[1],
		texts[2], texts[3], texts[4], texts[5], texts[6], texts[7], texts[8], texts[9],
		texts[10], NULL};
	const long long values[] = {storm.board, storm.paths, storm.servers,
		(long long)(chance_state >> 1), storm.hostile, storm.mixed, storm.population,
		server->slot, server->number, server->fd, server->hold};

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		snprintf(texts[i], sizeof(texts[i]), "%lld", values[i]);
	atomic_fetch_add(&referee_counts()->execs, 1);
	execv(PROGRAM, (char *const *)(const void *)arguments);
	_exit(3);
}

static void serve_for_a_while(struct server *server)
{
	for (unsigned int i = chance(4); i > 0; i--) {
		pause_us(1U << (7 + chance(6)));
		referee_check("a pause");
		reap();
		switch (chance(8)) {
		case 0:
		case 1:
			fork_worker(server);
			break;
		case 2:
			execute_again(server);
			break;
		default:
			break;
		}
	}
	switch (chance(10)) {
	case 0:
		raise(SIGKILL);
		break;
	case 1:
		_exit(0); /* leaves a stale path */
	case 2:
		referee_release(server->hold);
		close(server->fd); /* leaves a stale path, and goes on */
		break;
	default:
		stop(server);
		break;
	}
}

bool server_is_patient(int slot)
{
	return storm.hostile && slot % 2 == 0;
}

/* Starts and stops servers, one after the other. */
static _Noreturn void run_lives(struct server *server)
{
	for (;;) {
		if (chance(storm.mixed == MIXED_FAST ? 2 : 6) == 0 &&
			!server_is_patient(server->slot))
			set_death_timer();
		if (start(server))
			serve_for_a_while(server);
		referee_check("a life");
		reap();
		pause_us(200);
	}
}

_Noreturn void server_run(int slot)
{
	struct server server = {.slot = slot};

	run_lives(&server);
}

_Noreturn void server_resume(char **words)
{
	struct server server = {.slot = (int)number_of(words[0]),
		.number = (int)number_of(words[1]),
		.fd = (int)number_of(words[2]),
		.hold = (int)number_of(words[3])};

	server.path = referee_path(server.number);
	chance_seed(storm.seed, 2, 0);
	serve_for_a_while(&server);
	run_lives(&server);
}

/* ---- at the end ---- */

void server_start_and_stop(const char *path)
{
	struct server server = {.path = path, .number = -1};
	struct operation operation = {BIND, -1, path, NULL, -1};
	int error;

	remove_path(-1, path);
	operation.fd = server.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	error = make_call(operation);
	if (error == 0 && listen(server.fd, 4) == 0)
		error = make_call((struct operation){UNLINK, -1, path, NULL, -1});
	if (error != 0) {
		atomic_fetch_add(&referee_counts()->alarms, 1);
		referee_report("FALSE ALARM: %s, although all servers are dead: %s", path,
			strerror(error));
	}
	close(server.fd);
}
