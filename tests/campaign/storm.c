/*
 * storm: many servers compete for few socket paths, and are killed at random instants.
 *
 *   storm [--seconds N] [--kills N] [--seed N] [--servers N] [--paths N]
 *         [--directory DIR] [--library FILE] [--unguarded] [--hostile [--trusted] [--blind]]
 *         [--mixed SOCKGUARD --static STORM] [--until-theft] [--until-alarm]
 *
 * A nursery, which has the library preloaded, forks the servers and replaces those that die. A
 * server starts in one of several ways that real servers use, holds its path for a moment, forks,
 * executes itself with its listener, stops or crashes, and starts again. This program itself is
 * unguarded and looks for thefts (referee.h). At the end it starts and stops one more server on
 * each path; files that are left after that are litter.
 *
 * The storm ends after N kills or N seconds, whichever comes first. With --kills and --mixed,
 * servers are killed more often. With --until-theft it also ends at the first theft, and with
 * --until-alarm at the first false alarm or long wait. Then it kills no more, and waits for the
 * guarded calls in progress: none may hang (hang.h).
 *
 * As a control, an unguarded process without a rival makes the same calls all the time. It shows
 * how long the machine and its file system delay a call.
 *
 * The same seed gives every server the same sequence of decisions. But two storms with it differ,
 * because the kernel decides when each process runs.
 *
 * With --hostile, which requires root, some servers run as root and some as a user, and a process
 * of another user does to their lock files whatever it may (neighbour.h), in the directories that
 * ground.h lists. A guarded call may take one second longer than ten calls of the control. Two
 * options remove the protection from the neighbour, to show that the referee notices: with
 * --trusted the neighbour is root, and so its locks are respected; with --blind the servers cannot
 * list directories, as under some seccomp filters.
 *
 * With --mixed there are three nurseries: one with the library preloaded; one under a supervisor,
 * started with the command SOCKGUARD; and one under another supervisor, which runs STORM, this
 * program linked statically. The supervisors are killed, too (supervisors.h).
 *
 * Exit status: 0 if there was no theft, false alarm, litter or long wait; 1 if there was; 2 if the
 * storm itself failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "litter.h"
#include "neighbour.h"
#include "referee.h"
#include "server.h"

#define MAX_SERVERS 64
#define NAME_SIZE   512

static struct counts *counts;

/* ---- users ---- */

static void change_user(uid_t uid)
{
	if (uid == geteuid())
		return;
	if (setgroups(0, NULL) == 0 && setgid((gid_t)uid) == 0 && setuid(uid) == 0)
		return;
	perror("storm: cannot change the user");
	_exit(2);
}

/* ---- the nursery ---- */

struct child {
	pid_t pid;
	uint64_t lives;
};

/* All servers of a slot run as one user, so that each may unlink what its predecessor left. */
static uid_t user_of_slot(int slot)
{
	return storm.hostile && slot % 3 == 1 ? USER : geteuid();
}

static void start_server(struct child *children, int slot)
{
	struct child *child = &children[slot];

	child->lives++;
	child->pid = fork();
	if (child->pid == 0) {
		change_user(user_of_slot(slot));
		chance_seed(storm.seed, (uint64_t)slot + 10, child->lives);
		server_run(slot);
	}
}

static void reap_servers(struct child *children)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		count_death(status);
		for (int i = 0; i < storm.servers; i++)
			if (children[i].pid == pid)
				children[i].pid = 0;
	}
}

static bool is_our_slot(int slot)
{
	return !storm.mixed || slot % POPULATIONS == (int)storm.population;
}

static _Noreturn void run_nursery(void)
{
	static struct child children[MAX_SERVERS];
	const unsigned int max_pause = storm.mixed == MIXED_FAST ? 500 : 2000;
	const unsigned int one_in = storm.mixed == MIXED_FAST ? 2 : 4;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	chance_seed(storm.seed, 3, storm.population);
	for (;;) {
		unsigned int slot = chance((unsigned int)storm.servers);

		for (int i = 0; i < storm.servers; i++)
			if (children[i].pid <= 0 && is_our_slot(i))
				start_server(children, i);
		pause_us(max_pause);
		if (chance(one_in) == 0 && children[slot].pid > 0 &&
			!server_is_patient((int)slot) && !atomic_load(&counts->ending))
			kill(children[slot].pid, SIGKILL);
		reap_servers(children);
	}
}

/* ---- the final servers: one more start and stop on each path, after all others have ended ---- */

static _Noreturn void run_final_servers(char **argv)
{
	for (argv += MORE; *argv; argv++)
		server_start_and_stop(*argv);
	_exit(0);
}

/* ---- the control ---- */

/*
 * Makes the calls of an unguarded server without a rival, and sleeps in between, as a guarded call
 * does while it waits.
 */
static void start_control_server(const char *path)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t began;

	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	began = referee_now();
	referee_begin_control();
	unlink(path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		referee_report("the control: bind(%s): %s", path, strerror(errno));
	referee_end_control();
	nanosleep(&pause, NULL);
	latency_add(&counts->control, referee_now() - began - 2000000);
	unlink(path);
	close(fd);
}

static void set_control_path(char *path)
{
	ground_directory(path, storm.directory, ground_of(0));
	strcat(path, "/control");
}

static _Noreturn void run_control(void)
{
	char path[GROUND_PATH];

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	chance_seed(storm.seed, 5, 0);
	set_control_path(path);
	for (;;) {
		start_control_server(path);
		pause_us(4000);
	}
}

/* ---- the referee's own process ---- */

/* Prevents this process, and the programs it executes, from listing directories. */
static void forbid_listing(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getdents64, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = {sizeof(steps) / sizeof(*steps), steps};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
		_exit(3);
}

struct options {
	double seconds;
	unsigned long kills; /* ULONG_MAX: as many as there are in that time */
	const char *library;
	const char *command;      /* sockguard, which starts supervisors in a mixed storm */
	const char *static_storm; /* this program, linked statically */
	bool unguarded;
	bool blind;
	bool until_theft;
	bool until_alarm;
};

static struct options options = {.seconds = 60, .kills = ULONG_MAX};

/*
 * Passes this program's path, because PROGRAM (/proc/self/exe) would lead to the command. With
 * --strict, the command exits if its supervisor is killed during the start, and so starts no
 * unguarded servers.
 */
static void exec_supervised(const char **arguments)
{
	enum { BEFORE = 6 };
	const char *words[BEFORE + MORE + MAX_PATHS + 1] = {
		options.command, "run", "--strict", "--by", "syscalls", "--"};
	static char self[NAME_SIZE];
	ssize_t length = readlink(PROGRAM, self, sizeof(self) - 1);

	self[length < 0 ? 0 : length] = '\0';
	for (int i = 0; arguments[i]; i++)
		words[BEFORE + i] = arguments[i];
	words[BEFORE] = storm.population == STATIC ? options.static_storm : self;
	execv(options.command, (char *const *)(const void *)words);
}

/* Runs this program in a role as that user, guarded if library is not NULL or in a supervised
 * population. Returns its pid. */
static pid_t start_role(const char *role, const char *library, uid_t uid, char **more)
{
	char words[7][24];
	const char *arguments[MORE + MAX_PATHS + 1] = {PROGRAM, role, storm.directory, words[0],
		words[1], words[2], words[3], words[4], words[5], words[6]};
	pid_t pid;

	snprintf(words[0], sizeof(words[0]), "%d", storm.board);
	snprintf(words[1], sizeof(words[1]), "%d", storm.paths);
	snprintf(words[2], sizeof(words[2]), "%d", storm.servers);
	snprintf(words[3], sizeof(words[3]), "%llu", (unsigned long long)storm.seed);
	snprintf(words[4], sizeof(words[4]), "%d", storm.hostile);
	snprintf(words[5], sizeof(words[5]), "%d", storm.mixed);
	snprintf(words[6], sizeof(words[6]), "%d", storm.population);
	for (int i = 0; more && more[i] && i < MAX_PATHS; i++)
		arguments[MORE + i] = more[i];
	fflush(stdout);
	pid = fork();
	setpgid(pid, pid); /* in parent and child (pid 0), because both rely on it */
	if (pid != 0)
		return pid;
	setenv("SOCKGUARD_LOG", "none", 0);
	if (library)
		setenv("LD_PRELOAD", library, 1);
	if (library && options.blind)
		forbid_listing();
	change_user(uid);
	if (storm.population != PRELOADED)
		exec_supervised(arguments);
	execv(PROGRAM, (char *const *)(const void *)arguments);
	_exit(3);
}

static void start_final_servers(uid_t uid, char **paths)
{
	pid_t pid = start_role("@final", options.library, uid, paths);
	int status = pid < 0 ? -1 : hang_await_child(pid);

	if (status != 0) {
		atomic_fetch_add(&counts->crashes, 1);
		referee_report("the process of the final servers ended with status %x",
			(unsigned int)status);
	}
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

/*
 * Process IDs of the nursery with the library preloaded [0], the control [1], the neighbour on each
 * ground [1 + ground], and the nurseries of the other populations [NURSERIES + population]; 0 if
 * there is none.
 */
enum { NURSERIES = 1 + GROUNDS };
static pid_t roles[NURSERIES + POPULATIONS];

static void start_supervised_nursery(enum population population)
{
	storm.population = population;
	roles[NURSERIES + population] = start_role("@nursery", NULL, geteuid(), NULL);
	storm.population = PRELOADED;
}

/* Restarts the populations that have lost their supervisor. Returns false if a process hangs. */
static bool restart_abandoned(void)
{
	for (enum population i = SUPERVISED; i < POPULATIONS; i++) {
		if (!atomic_load(&counts->alone[i]))
			continue;
		if (!supervisors_end_group(roles[NURSERIES + i]))
			return false;
		atomic_fetch_add(&counts->abandoned, 1);
		atomic_store(&counts->alone[i], false);
		start_supervised_nursery(i);
	}
	return true;
}

/* Restarts a population whose supervisor was killed during the start. Returns false for others. */
static bool restart_not_started(size_t role, int status)
{
	enum { NOT_STARTED = 126 }; /* see sockguard(1) */

	if (role <= NURSERIES || !WIFEXITED(status) || WEXITSTATUS(status) != NOT_STARTED)
		return false;
	atomic_fetch_add(&counts->not_started, 1);
	start_supervised_nursery((enum population)(role - NURSERIES));
	return true;
}

static bool all_roles_alive(void)
{
	int status;

	for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++) {
		if (roles[i] <= 0 || waitpid(roles[i], &status, WNOHANG) == 0 ||
			restart_not_started(i, status))
			continue;
		referee_report("role %zu ended with status %x", i, (unsigned int)status);
		return false;
	}
	return true;
}

/* Returns false if no server of a population has started for a long time. */
static bool all_populations_start(void)
{
	static struct {
		unsigned long starts;
		double since;
	} last[POPULATIONS];

	for (enum population i = PRELOADED; i < (storm.mixed ? POPULATIONS : SUPERVISED); i++) {
		unsigned long starts = atomic_load(&counts->starts_of[i]);

		if (starts != last[i].starts || last[i].since == 0) {
			last[i].starts = starts;
			last[i].since = seconds();
		} else if (seconds() - last[i].since > HANG_SECONDS) {
			referee_report("HANG: no server of population %u starts any more", i);
			hang_describe_processes();
			return false;
		}
	}
	return true;
}

/* Ends all roles. Returns false if a process hangs. */
static bool end_roles(void)
{
	bool calls_end;

	atomic_store(&counts->ending, true);
	calls_end = hang_await_calls(&counts->calls_in_progress);
	for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++)
		if (roles[i] > 0)
			kill(-roles[i], SIGKILL);
	return supervisors_await_end() && calls_end;
}

/*
 * A guarded call waits less than a second for locks of another user. It makes up to ten times as
 * many system calls as the control, each of which may be slow on a busy machine.
 */
static bool waited_too_long(void)
{
	return storm.hostile &&
	       latency_longest(&counts->guarded) > 1000000 + 10 * latency_longest(&counts->control);
}

static bool is_over(double end)
{
	return interrupted || seconds() >= end || atomic_load(&counts->kills) >= options.kills ||
	       (options.until_theft && atomic_load(&counts->thefts)) ||
	       (options.until_alarm && (atomic_load(&counts->alarms) || waited_too_long()));
}

/*
 * Lets the storm go on until its end. Returns true if all roles were alive until then, and no
 * process hung.
 */
static bool watch_storm(void)
{
	const struct timespec pause = {.tv_nsec = 3000000};
	double end = seconds() + options.seconds;
	double next_line = seconds() + 60;
	bool alive = true;

	while (alive && !is_over(end)) {
		referee_check("a check by the referee");
		referee_clear_closed();
		nanosleep(&pause, NULL);
		if (storm.mixed)
			supervisors_attack();
		alive = restart_abandoned() && all_roles_alive() && all_populations_start();
		if (seconds() < next_line)
			continue;
		next_line += 60;
		fprintf(stderr,
			"# %.0f seconds left, %lu starts, %lu kills, %lu thefts, "
			"%lu false alarms\n",
			end - seconds(), atomic_load(&counts->starts), atomic_load(&counts->kills),
			atomic_load(&counts->thefts), atomic_load(&counts->alarms));
	}
	return end_roles() && alive;
}

/* ---- the end ---- */

static void print_count(const char *name, atomic_ulong *count)
{
	printf("%-14s %lu\n", name, atomic_load(count));
}

static void print_latency(const char *name, struct latency *latency)
{
	printf("%s us: p50 %lu, p99 %lu, p99.9 %lu, longest %lu, of %lu\n", name,
		latency_at(latency, 0.5), latency_at(latency, 0.99), latency_at(latency, 0.999),
		latency_longest(latency), atomic_load(&latency->count));
}

static void print_results(int litter)
{
	print_count("calls", &counts->calls);
	print_count("tries", &counts->tries);
	print_count("starts", &counts->starts);
	print_count("stops", &counts->stops);
	print_count("forks", &counts->forks);
	print_count("execs", &counts->execs);
	print_count("kills", &counts->kills);
	print_count("checks", &counts->checks);
	print_count("refusals", &counts->refusals);
	print_count("unclear", &counts->unclear);
	print_count("crashes", &counts->crashes);
	print_count("surprises", &counts->surprises);
	print_count("acts", &counts->acts);
	print_count("preloaded", &counts->starts_of[PRELOADED]);
	print_count("supervised", &counts->starts_of[SUPERVISED]);
	print_count("static", &counts->starts_of[STATIC]);
	print_count("supervisors", &counts->supervisors);
	print_count("stopped", &counts->stopped);
	print_count("abandoned", &counts->abandoned);
	print_count("not started", &counts->not_started);
	print_count("exposed", &counts->exposed);
	print_latency("guarded", &counts->guarded);
	print_latency("control", &counts->control);
	printf("%-14s %d\n", "waits too long", waited_too_long());
	print_count("thefts", &counts->thefts);
	print_count("false alarms", &counts->alarms);
	printf("%-14s %d\n", "litter", litter);
}

static void usage(void)
{
	fputs("usage: storm [--seconds N] [--kills N] [--seed N] [--servers N] [--paths N]\n"
	      "             [--directory DIR] [--library FILE] [--unguarded] [--hostile "
	      "[--trusted] [--blind]]\n"
	      "             [--mixed SOCKGUARD --static STORM] [--until-theft] "
	      "[--until-alarm]\n",
		stderr);
	exit(2);
}

static bool read_switch(const char *option)
{
	if (strcmp(option, "--unguarded") == 0)
		options.unguarded = true;
	else if (strcmp(option, "--hostile") == 0)
		storm.hostile = storm.hostile ? storm.hostile : HOSTILE;
	else if (strcmp(option, "--trusted") == 0)
		storm.hostile = TRUSTED;
	else if (strcmp(option, "--blind") == 0)
		options.blind = true;
	else if (strcmp(option, "--until-theft") == 0)
		options.until_theft = true;
	else if (strcmp(option, "--until-alarm") == 0)
		options.until_alarm = true;
	else
		return false;
	return true;
}

static void read_options(char **argv)
{
	while (*++argv) {
		const char *option = *argv;

		if (read_switch(option))
			continue;
		if (!*++argv)
			usage();
		if (strcmp(option, "--seconds") == 0)
			options.seconds = strtod(*argv, NULL);
		else if (strcmp(option, "--kills") == 0)
			options.kills = strtoul(*argv, NULL, 10);
		else if (strcmp(option, "--seed") == 0)
			storm.seed = strtoull(*argv, NULL, 0);
		else if (strcmp(option, "--servers") == 0)
			storm.servers = (int)number_of(*argv);
		else if (strcmp(option, "--paths") == 0)
			storm.paths = (int)number_of(*argv);
		else if (strcmp(option, "--directory") == 0)
			storm.directory = *argv;
		else if (strcmp(option, "--library") == 0)
			options.library = *argv;
		else if (strcmp(option, "--mixed") == 0)
			options.command = *argv;
		else if (strcmp(option, "--static") == 0)
			options.static_storm = *argv;
		else
			usage();
	}
	if (storm.servers < 1 || storm.servers > MAX_SERVERS || storm.paths < 1 ||
		storm.paths > MAX_PATHS)
		usage();
	if (storm.hostile)
		storm.paths = GROUND_PATHS;
	if (options.command && options.static_storm && !storm.hostile)
		storm.mixed = options.kills == ULONG_MAX ? MIXED : MIXED_FAST;
	if (options.command && !storm.mixed)
		usage();
}

/* The library's path in the build tree, relative to this program's. */
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

/* Makes a copy of the library that other users can load, wherever it was built. */
static bool copy_library(void)
{
	static char copy[NAME_SIZE];
	int from = open(options.library, O_RDONLY | O_CLOEXEC);
	ssize_t moved = -1;
	int to;

	snprintf(copy, sizeof(copy), "%s/libsockguard.so", storm.directory);
	to = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	while (from >= 0 && to >= 0 && (moved = sendfile(to, from, NULL, 1 << 20)) > 0)
		;
	close(from);
	close(to);
	options.library = copy;
	return moved == 0;
}

static bool find_library(void)
{
	if (options.unguarded) {
		options.library = NULL;
		return true;
	}
	if (options.library && access(options.library, R_OK) == 0 &&
		(!storm.hostile || copy_library()))
		return true;
	perror(options.library);
	return false;
}

static void start_roles(void)
{
	char number[GROUNDS][8];
	char *more[2] = {NULL};

	roles[0] = start_role("@nursery", options.library, geteuid(), NULL);
	for (enum population i = SUPERVISED; storm.mixed && i < POPULATIONS; i++)
		start_supervised_nursery(i);
	roles[1] = start_role("@control", NULL, geteuid(), NULL);
	for (int ground = SHARED; storm.hostile && ground < GROUNDS; ground++) {
		snprintf(number[ground], sizeof(number[ground]), "%d", ground);
		more[0] = number[ground];
		roles[1 + ground] = start_role("@neighbour", NULL, geteuid(), more);
	}
}

/*
 * Removes the neighbour's files, and in its own directories all files, because litter counts only
 * in the shared directory. Checks that the neighbour has not changed root's file.
 */
static void remove_neighbours_files(void)
{
	char directory[GROUND_PATH];

	for (enum ground ground = SHARED; ground < GROUNDS; ground++) {
		ground_directory(directory, storm.directory, ground);
		neighbour_remove_files(directory, ground != SHARED || storm.hostile == TRUSTED);
	}
	snprintf(directory, sizeof(directory), "%.90s/home/away", storm.directory);
	neighbour_remove_files(directory, true);
	if (ground_secret_is_unchanged(storm.directory))
		return;
	atomic_fetch_add(&counts->surprises, 1);
	referee_report("SURPRISE: a file that only root may change has changed");
}

static void remove_directory(void)
{
	char control[GROUND_PATH];

	set_control_path(control);
	unlink(control);
	if (storm.hostile)
		ground_remove_directories(storm.directory);
	if (storm.hostile && options.library)
		unlink(options.library);
	rmdir(storm.directory);
}

static int run_storm(char **argv)
{
	static char directory[] = "/tmp/storm-XXXXXX";
	bool alive;
	int litter = 0;

	storm.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	options.library = built_library();
	read_options(argv);
	if (!*storm.directory && mkdtemp(directory))
		storm.directory = directory;
	ground_set_hostile(storm.hostile);
	if (storm.hostile && !ground_create_directories(storm.directory)) {
		perror("storm: cannot create the directories");
		return 2;
	}
	if (!find_library())
		return 2;
	storm.board = referee_make_board();
	referee_map_board(storm.board, storm.directory, storm.paths);
	counts = referee_counts();
	printf("storm of %.0f seconds, %d servers on %d paths in %s, %s, seed %llu\n",
		options.seconds, storm.servers, storm.paths, storm.directory,
		options.unguarded ? "unguarded" : "guarded", (unsigned long long)storm.seed);
	fflush(stdout);
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	chance_seed(storm.seed, 7, 0);
	start_roles();
	alive = watch_storm();
	if (storm.hostile)
		remove_neighbours_files();
	if (alive)
		litter = litter_clean_up(start_final_servers);
	print_results(litter);
	if (litter == 0 && alive)
		remove_directory();
	if (!alive)
		return 2;
	return litter || waited_too_long() || atomic_load(&counts->thefts) ||
	       atomic_load(&counts->alarms) || atomic_load(&counts->crashes) ||
	       atomic_load(&counts->surprises);
}

int main(int argc, char **argv)
{
	if (argc < MORE || argv[1][0] != '@')
		return run_storm(argv);
	storm.directory = argv[2];
	storm.board = (int)number_of(argv[3]);
	storm.paths = (int)number_of(argv[4]);
	storm.servers = (int)number_of(argv[5]);
	storm.seed = strtoull(argv[6], NULL, 10);
	storm.hostile = (unsigned int)number_of(argv[7]);
	storm.mixed = (unsigned int)number_of(argv[8]);
	storm.population = (enum population)number_of(argv[9]);
	if (storm.mixed)
		referee_allow_delay();
	ground_set_hostile(storm.hostile);
	referee_map_board(storm.board, storm.directory, storm.paths);
	counts = referee_counts();
	if (strcmp(argv[1], "@nursery") == 0)
		run_nursery();
	if (strcmp(argv[1], "@control") == 0)
		run_control();
	if (strcmp(argv[1], "@neighbour") == 0)
		neighbour_run((enum ground)number_of(argv[MORE]), storm.hostile == TRUSTED);
	if (strcmp(argv[1], "@server") == 0)
		server_resume(argv + MORE);
	run_final_servers(argv);
}
