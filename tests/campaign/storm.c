/*
 * storm: many servers fight over few paths, and die at random instants.
 *
 *   storm [--seconds N] [--seed N] [--servers N] [--paths N] [--directory DIR]
 *         [--library FILE] [--unguarded]
 *
 * A nursery, which has the library preloaded, forks the servers; whoever dies is replaced. A server
 * starts in one of the ways servers know, holds its path for a moment, forks, executes itself with
 * its listener, stops or crashes, and begins again. This program itself is unguarded: it watches
 * (referee.h), and at the end every path is started and stopped once more, and what is left then is
 * litter.
 *
 * The same seed gives every server the same sequence of decisions; when which process runs is the
 * kernel's affair.
 *
 * Exit status: 0 no theft, no false alarm, no litter; 1 there was; 2 the storm itself failed.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "referee.h"
#include "server.h"

#define SERVERS_MOST 64
#define NAME_SIZE    128

static struct counts *counts;

/* ---- the nursery ---- */

struct cradle {
	pid_t pid;
	uint64_t lives;
};

static void bear(struct cradle *cradles, int slot)
{
	struct cradle *cradle = &cradles[slot];

	cradle->lives++;
	cradle->pid = fork();
	if (cradle->pid == 0) {
		chance_seed(storm.seed, (uint64_t)slot + 10, cradle->lives);
		server_live(slot);
	}
}

static void bury_dead(struct cradle *cradles)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		note_death(status);
		for (int i = 0; i < storm.servers; i++)
			if (cradles[i].pid == pid)
				cradles[i].pid = 0;
	}
}

static _Noreturn void be_nursery(void)
{
	static struct cradle cradles[SERVERS_MOST];

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	chance_seed(storm.seed, 3, 0);
	for (;;) {
		unsigned int slot = chance((unsigned int)storm.servers);

		for (int i = 0; i < storm.servers; i++)
			if (cradles[i].pid <= 0)
				bear(cradles, i);
		pause_us(2000);
		if (chance(4) == 0 && cradles[slot].pid > 0)
			kill(cradles[slot].pid, SIGKILL);
		bury_dead(cradles);
	}
}

/* ---- the janitor ---- */

static _Noreturn void be_janitor(char **argv)
{
	for (argv += MORE; *argv; argv++)
		server_start_and_stop(*argv);
	_exit(0);
}

/* ---- the referee's own process ---- */

/* Runs this program in a role. Returns its pid. */
static pid_t begin_role(const char *role, const char *library, char **more)
{
	char words[4][24];
	const char *arguments[MORE + PATHS_MOST + 1] = {
		PROGRAM, role, storm.directory, words[0], words[1], words[2], words[3]};
	pid_t pid;

	snprintf(words[0], sizeof(words[0]), "%d", storm.board);
	snprintf(words[1], sizeof(words[1]), "%d", storm.paths);
	snprintf(words[2], sizeof(words[2]), "%d", storm.servers);
	snprintf(words[3], sizeof(words[3]), "%llu", (unsigned long long)storm.seed);
	for (int i = 0; more && more[i] && i < PATHS_MOST; i++)
		arguments[MORE + i] = more[i];
	fflush(stdout);
	pid = fork();
	if (pid != 0)
		return pid;
	setpgid(0, 0);
	setenv("SOCKGUARD_LOG", "none", 0);
	if (library)
		setenv("LD_PRELOAD", library, 1);
	execv(PROGRAM, (char *const *)(const void *)arguments);
	_exit(3);
}

static void run_janitor(const char *library, char **paths)
{
	int status = 0;
	pid_t pid = begin_role("@janitor", library, paths);

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		atomic_fetch_add(&counts->crashes, 1);
		referee_say("the janitor ended with status %x", (unsigned int)status);
	}
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

/* Returns whether the nursery was there to the end. */
static bool watch_storm(pid_t nursery, double length)
{
	const struct timespec pause = {.tv_nsec = 3000000};
	double end = seconds() + length;
	double minute = seconds() + 60;
	bool alive = true;

	while (alive && !interrupted && seconds() < end) {
		referee_check("a look of the referee's");
		referee_tidy();
		nanosleep(&pause, NULL);
		alive = waitpid(nursery, NULL, WNOHANG) == 0;
		if (seconds() < minute)
			continue;
		minute += 60;
		fprintf(stderr,
			"# %.0f seconds left, %lu starts, %lu kills, %lu thefts, "
			"%lu false alarms\n",
			end - seconds(), atomic_load(&counts->starts), atomic_load(&counts->kills),
			atomic_load(&counts->thefts), atomic_load(&counts->alarms));
	}
	kill(-nursery, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	return alive;
}

/* Of pN.3.new.sockguard and such: whose name it is. */
struct litter {
	int paths;   /* names that are left of the paths themselves */
	int sockets; /* a server's own names, left as it was killed: no guard could know */
	int locks;   /* the lock files beside those, or of such names that are gone */
};

static bool ends_with(const char *name, const char *suffix)
{
	size_t length = strlen(name);
	size_t tail = strlen(suffix);

	return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

/* Counts what is there; the first names of servers' own are returned, to be cleaned up. */
static int look_around(struct litter *litter, char (*names)[NAME_SIZE], bool tell)
{
	DIR *directory = opendir(storm.directory);
	struct dirent *entry;
	int filled = 0;

	*litter = (struct litter){0};
	while (directory && (entry = readdir(directory))) {
		bool lock = entry->d_name[0] == '.' && ends_with(entry->d_name, ".sockguard");
		const char *dot = strchr(entry->d_name + lock, '.');

		if (dot == entry->d_name)
			continue;
		if (tell || !dot || strcmp(dot, ".sockguard") == 0)
			referee_say("LITTER: %s", entry->d_name);
		if (!dot || strcmp(dot, ".sockguard") == 0)
			litter->paths++;
		else if (lock)
			litter->locks++;
		else
			litter->sockets++;
		if (filled == PATHS_MOST)
			continue;
		if (snprintf(names[filled], NAME_SIZE, "%s/%s", storm.directory, entry->d_name) >=
			NAME_SIZE)
			continue; /* none of ours */
		if (lock)
			*strrchr(names[filled], '.') = '\0';
		filled++;
	}
	if (directory)
		closedir(directory);
	return filled;
}

static void start_and_stop_all(const char *library, char (*names)[NAME_SIZE], int count)
{
	char *arguments[PATHS_MOST + 1] = {NULL};

	for (int i = 0; i < count; i++)
		arguments[i] = names[i];
	run_janitor(library, arguments);
}

/* Returns how much litter there is. */
static int clean_up(const char *library)
{
	char names[PATHS_MOST][NAME_SIZE];
	struct litter first, last;
	int count = storm.paths;

	for (int i = 0; i < count; i++)
		snprintf(names[i], NAME_SIZE, "%s", referee_path(i));
	start_and_stop_all(library, names, count);
	count = look_around(&first, names, false);
	last = first;
	for (int i = 0; i < 2 * SERVERS_MOST && count > 0; i++) {
		start_and_stop_all(library, names, count);
		count = look_around(&last, names, i + 1 == 2 * SERVERS_MOST);
	}
	printf("killed servers left %d names of their own and %d lock files: %s\n", first.sockets,
		first.locks, count ? "some stayed" : "gone after one start and stop of each");
	return first.paths + last.paths + last.sockets + last.locks;
}

static void print(const char *name, atomic_ulong *count)
{
	printf("%-14s %lu\n", name, atomic_load(count));
}

static void tell(int litter)
{
	print("calls", &counts->calls);
	print("tries", &counts->tries);
	print("starts", &counts->starts);
	print("stops", &counts->stops);
	print("forks", &counts->forks);
	print("execs", &counts->execs);
	print("kills", &counts->kills);
	print("checks", &counts->checks);
	print("refusals", &counts->refusals);
	print("unclear", &counts->unclear);
	print("longest us", &counts->longest);
	print("crashes", &counts->crashes);
	print("surprises", &counts->surprises);
	print("thefts", &counts->thefts);
	print("false alarms", &counts->alarms);
	printf("%-14s %d\n", "litter", litter);
}

static void usage(void)
{
	fputs("usage: storm [--seconds N] [--seed N] [--servers N] [--paths N] [--directory DIR]\n"
	      "             [--library FILE] [--unguarded]\n",
		stderr);
	exit(2);
}

struct options {
	double seconds;
	const char *library;
	bool unguarded;
};

static void read_options(struct options *options, char **argv)
{
	while (*++argv) {
		const char *option = *argv;

		if (strcmp(option, "--unguarded") == 0) {
			options->unguarded = true;
			continue;
		}
		if (!*++argv)
			usage();
		if (strcmp(option, "--seconds") == 0)
			options->seconds = strtod(*argv, NULL);
		else if (strcmp(option, "--seed") == 0)
			storm.seed = strtoull(*argv, NULL, 0);
		else if (strcmp(option, "--servers") == 0)
			storm.servers = (int)number_of(*argv);
		else if (strcmp(option, "--paths") == 0)
			storm.paths = (int)number_of(*argv);
		else if (strcmp(option, "--directory") == 0)
			storm.directory = *argv;
		else if (strcmp(option, "--library") == 0)
			options->library = *argv;
		else
			usage();
	}
	if (storm.servers < 1 || storm.servers > SERVERS_MOST || storm.paths < 1 ||
		storm.paths > PATHS_MOST)
		usage();
}

/* Where the build left it, seen from where it left us. */
static const char *built_library(void)
{
	static char path[NAME_SIZE * 4];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 64);

	for (int up = 0; length > 0 && up < 3; up++) {
		path[length] = '\0';
		length = strrchr(path, '/') - path;
	}
	snprintf(path + (length > 0 ? length : 0), 64, "/.libs/libsockguard.so");
	return path;
}

static int raise_storm(char **argv)
{
	static char directory[] = "/tmp/storm-XXXXXX";
	struct options options = {.seconds = 60, .library = built_library()};
	pid_t nursery;
	bool alive;
	int litter;

	storm.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	read_options(&options, argv);
	if (options.unguarded)
		options.library = NULL;
	else if (access(options.library, R_OK) != 0) {
		perror(options.library);
		return 2;
	}
	if (!*storm.directory && mkdtemp(directory))
		storm.directory = directory;
	storm.board = referee_make_board();
	referee_open(storm.board, storm.directory, storm.paths);
	counts = referee_counts();
	printf("storm of %.0f seconds, %d servers on %d paths in %s, %s, seed %llu\n",
		options.seconds, storm.servers, storm.paths, storm.directory,
		options.unguarded ? "unguarded" : "guarded", (unsigned long long)storm.seed);
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	nursery = begin_role("@nursery", options.library, NULL);
	alive = watch_storm(nursery, options.seconds);
	litter = clean_up(options.library);
	tell(litter);
	if (litter == 0)
		rmdir(storm.directory);
	if (!alive)
		return 2;
	return litter || atomic_load(&counts->thefts) || atomic_load(&counts->alarms) ||
	       atomic_load(&counts->crashes) || atomic_load(&counts->surprises);
}

int main(int argc, char **argv)
{
	if (argc < MORE || argv[1][0] != '@')
		return raise_storm(argv);
	storm.directory = argv[2];
	storm.board = (int)number_of(argv[3]);
	storm.paths = (int)number_of(argv[4]);
	storm.servers = (int)number_of(argv[5]);
	storm.seed = strtoull(argv[6], NULL, 10);
	referee_open(storm.board, storm.directory, storm.paths);
	counts = referee_counts();
	if (strcmp(argv[1], "@nursery") == 0)
		be_nursery();
	if (strcmp(argv[1], "@server") == 0)
		server_resume(argv + MORE);
	be_janitor(argv);
}
