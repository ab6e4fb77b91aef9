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

/* ---- chance ---- */

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

void pause_us(unsigned int most)
{
	unsigned int us = chance(most + 1);
	struct timespec pause = {us / 1000000, (long)(us % 1000000) * 1000};

	nanosleep(&pause, NULL);
}

/* Kills us after a while, wherever we are then. Short times are as likely as long ones. */
static void await_death(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
	struct itimerspec when = {0};
	timer_t timer;

	when.it_value.tv_nsec = 5000L + (long)chance(1U << (12 + chance(12)));
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
		timer_settime(timer, 0, &when, NULL);
}

/* ---- children ---- */

void note_death(int status)
{
	if (!WIFSIGNALED(status)) {
		if (WEXITSTATUS(status) != 0) {
			atomic_fetch_add(&referee_counts()->crashes, 1);
			referee_say("a process ended with status %d", WEXITSTATUS(status));
		}
		return;
	}
	if (WTERMSIG(status) == SIGKILL) {
		atomic_fetch_add(&referee_counts()->kills, 1);
		return;
	}
	atomic_fetch_add(&referee_counts()->crashes, 1);
	referee_say("CRASH: a process died of signal %d", WTERMSIG(status));
}

static void reap(void)
{
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0)
		note_death(status);
}

/* ---- guarded calls, observed ---- */

enum verb { UNLINK, UNLINKAT, REMOVE, BIND, BIND_REUSE, RENAME, LINK };

static const char *const verb_names[] = {
	"unlink", "unlinkat", "remove", "bind", "bind with SO_REUSEADDR", "rename to", "link to"};

struct deed {
	enum verb verb;
	int number; /* of the path, -1 for a name of our own */
	const char *path;
	const char *from; /* of rename and link */
	int fd;           /* of bind */
};

static int unlinkat_beside(const char *path)
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

static int perform(const struct deed *deed)
{
	switch (deed->verb) {
	case UNLINK:
		return unlink(deed->path);
	case UNLINKAT:
		return unlinkat_beside(deed->path);
	case REMOVE:
		return remove(deed->path);
	case BIND:
	case BIND_REUSE:
		return bind_to(deed->fd, deed->path);
	case RENAME:
		return rename(deed->from, deed->path);
	case LINK:
		return link(deed->from, deed->path);
	}
	return -1;
}

static bool is_known(const char *path, enum verb verb, int error)
{
	if (ground_at(path) == MOVING)
		return true; /* two lookups of one call may lead to two directories */
	return error == 0 || error == EADDRINUSE || (error == ENOENT && verb <= REMOVE) ||
	       (error == EEXIST && verb == LINK);
}

/* Returns 0, or the errno. */
static int call(struct deed deed)
{
	struct watch watch;
	int error;

	referee_watch(&watch, deed.number, deed.path, deed.verb >= BIND);
	errno = 0;
	error = perform(&deed) == 0 ? 0 : errno;
	referee_judge(&watch, verb_names[deed.verb], error == 0, error, deed.verb == BIND);
	if (!is_known(deed.path, deed.verb, error)) {
		atomic_fetch_add(&referee_counts()->surprises, 1);
		referee_say("SURPRISE: %s(%s): %s", verb_names[deed.verb], deed.path,
			strerror(error));
	}
	referee_check(verb_names[deed.verb]);
	return error;
}

static int remove_name(int number, const char *path)
{
	return call((struct deed){
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

/* A name of this slot's own: its last holder is dead, so nobody else can have it. */
static void own_name(char *name, const struct server *server, const char *suffix)
{
	snprintf(name, NAME_SIZE, "%s.%d%s", server->path, server->slot, suffix);
}

static bool has_started(struct server *server)
{
	server->hold = referee_holds(server->fd, server->number);
	atomic_fetch_add(&referee_counts()->starts, 1);
	return true;
}

/* What most do: remove what is there, and bind. */
static bool start_plainly(struct server *server)
{
	if (remove_name(server->number, server->path) == EADDRINUSE)
		return false;
	if (call((struct deed){BIND, server->number, server->path, NULL, server->fd}) != 0)
		return false;
	has_started(server);
	return listen(server->fd, 4) == 0;
}

static bool start_with_reuse(struct server *server)
{
	const int on = 1;

	setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (call((struct deed){BIND_REUSE, server->number, server->path, NULL, server->fd}) != 0)
		return false;
	has_started(server);
	return listen(server->fd, 4) == 0;
}

static bool bind_own_name(struct server *server, const char *name)
{
	remove_name(-1, name);
	return call((struct deed){BIND, -1, name, NULL, server->fd}) == 0 &&
	       listen(server->fd, 4) == 0;
}

/* A new socket is made ready under another name and takes the path in one step. */
static bool start_by_rename(struct server *server)
{
	char name[NAME_SIZE];

	own_name(name, server, ".new");
	if (!bind_own_name(server, name))
		return false;
	if (call((struct deed){RENAME, server->number, server->path, name, -1}) == 0)
		return has_started(server);
	remove_name(-1, name);
	return false;
}

/* supervisord's: bind p.PID, link it to p, which fails where there is one, unlink p.PID. */
static bool start_by_link(struct server *server)
{
	char name[NAME_SIZE];
	bool started = false;

	own_name(name, server, "");
	if (!bind_own_name(server, name))
		return false;
	for (int i = 0; i < 3 && !started; i++) {
		int error = call((struct deed){LINK, server->number, server->path, name, -1});

		if (error == 0)
			started = has_started(server);
		else if (error != EEXIST || remove_name(server->number, server->path) == EADDRINUSE)
			break;
	}
	remove_name(-1, name);
	return started;
}

static bool start(struct server *server)
{
	static bool (*const ways[])(struct server *) = {
		start_plainly, start_plainly, start_by_rename, start_by_link, start_with_reuse};
	bool started;

	atomic_fetch_add(&referee_counts()->tries, 1);
	do
		server->number = (int)chance((unsigned int)storm.paths);
	while (ground_user(server->number) != geteuid());
	server->path = referee_path(server->number);
	server->fd = socket(AF_UNIX, chance(4) ? SOCK_STREAM : SOCK_SEQPACKET, 0);
	started = ways[chance(sizeof(ways) / sizeof(*ways))](server);
	if (!started)
		close(server->fd);
	return started;
}

/* The owner removes its name. Nobody has a reason to refuse it that, while it is the owner's. */
static void remove_own(struct server *server, bool held)
{
	bool had;
	int error;

	referee_gives_up(server->hold);
	had = held && referee_has(server->hold);
	error = remove_name(server->number, server->path);
	if (had && error == EADDRINUSE && referee_has(server->hold) &&
		ground_of(server->number) != MOVING) {
		atomic_fetch_add(&referee_counts()->alarms, 1);
		referee_say("FALSE ALARM: %s was refused to its owner", server->path);
	}
}

static void stop(struct server *server)
{
	if (chance(5) < 3) {
		remove_own(server, true);
		close(server->fd);
	} else {
		referee_gives_up(server->hold);
		close(server->fd);
		remove_own(server, false);
	}
	atomic_fetch_add(&referee_counts()->stops, 1);
}

static void worker(struct server *server)
{
	if (chance(4) == 0)
		await_death();
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

/* A child that has the socket too. */
static void fork_worker(struct server *server)
{
	uint64_t seed = chance_state;
	pid_t pid = fork();

	if (pid == 0) {
		chance_seed(seed, 1, 0);
		worker(server);
	}
	atomic_fetch_add(&referee_counts()->forks, 1);
}

/* The same process, executed anew with its listener: it goes on in be_server(). */
static void execute_anew(const struct server *server)
{
	char words[9][24];
	const char *arguments[] = {PROGRAM, "@server", storm.directory, words[0], words[1],
		words[2], words[3], words[4], words[5], words[6], words[7], words[8], NULL};
	const long long values[] = {storm.board, storm.paths, storm.servers,
		(long long)(chance_state >> 1), storm.hostile, server->slot, server->number,
		server->fd, server->hold};

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		snprintf(words[i], sizeof(words[i]), "%lld", values[i]);
	atomic_fetch_add(&referee_counts()->execs, 1);
	execv(PROGRAM, (char *const *)(const void *)arguments);
	_exit(3);
}

static void serve(struct server *server)
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
			execute_anew(server);
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
		_exit(0); /* leaves its name */
	case 2:
		referee_gives_up(server->hold);
		close(server->fd); /* leaves its name, and lives on */
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

static _Noreturn void live(struct server *server)
{
	for (;;) {
		if (chance(6) == 0 && !server_is_patient(server->slot))
			await_death();
		if (start(server))
			serve(server);
		referee_check("a life");
		reap();
		pause_us(200);
	}
}

_Noreturn void server_live(int slot)
{
	struct server server = {.slot = slot};

	live(&server);
}

_Noreturn void server_resume(char **words)
{
	struct server server = {.slot = (int)number_of(words[0]),
		.number = (int)number_of(words[1]),
		.fd = (int)number_of(words[2]),
		.hold = (int)number_of(words[3])};

	server.path = referee_path(server.number);
	chance_seed(storm.seed, 2, 0);
	serve(&server);
	live(&server);
}

/* ---- at the end ---- */

void server_start_and_stop(const char *path)
{
	struct server server = {.path = path, .number = -1};
	struct deed deed = {BIND, -1, path, NULL, -1};
	int error;

	remove_name(-1, path);
	deed.fd = server.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	error = call(deed);
	if (error == 0 && listen(server.fd, 4) == 0)
		error = call((struct deed){UNLINK, -1, path, NULL, -1});
	if (error != 0) {
		atomic_fetch_add(&referee_counts()->alarms, 1);
		referee_say("FALSE ALARM: %s, and everybody is dead: %s", path, strerror(error));
	}
	close(server.fd);
}
