/*
 * storm: many servers fight over few paths, and die at random instants.
 *
 *   storm [--seconds N] [--seed N] [--servers N] [--paths N] [--directory DIR]
 *         [--library FILE] [--unguarded] [--hostile [--trusted] [--blind]]
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
 * With --hostile, which takes root, the servers are root's and a user's, and another user does to
 * their lock files whatever he can (neighbour.h), in directories as ground.h has them. A process
 * without guard or rival makes the same calls all the while: what the machine's load costs them is
 * allowed to the guarded ones, and one second more. Two switches take away what protects from the
 * neighbour, to show that the referee would notice: --trusted lets him be root, whose locks are
 * believed, and --blind keeps the servers from listing directories, as a filter may.
 *
 * Exit status: 0 no theft, no false alarm, no litter, no long wait; 1 there was; 2 the storm itself
 * failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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

#define SERVERS_MOST 64
#define NAME_SIZE    512

static struct counts *counts;

/* ---- users ---- */

static void become(uid_t uid)
{
	if (uid == geteuid())
		return;
	if (setgroups(0, NULL) == 0 && setgid((gid_t)uid) == 0 && setuid(uid) == 0)
		return;
	perror("storm: to become another user");
	_exit(2);
}

/* ---- the nursery ---- */

struct cradle {
	pid_t pid;
	uint64_t lives;
};

/* Each user's servers have their own slots: what a slot left is its next server's to remove. */
static uid_t user_of_slot(int slot)
{
	return storm.hostile && slot % 3 == 1 ? USER : geteuid();
}

static void bear(struct cradle *cradles, int slot)
{
	struct cradle *cradle = &cradles[slot];

	cradle->lives++;
	cradle->pid = fork();
	if (cradle->pid == 0) {
		become(user_of_slot(slot));
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
		if (chance(4) == 0 && cradles[slot].pid > 0 && !server_is_patient((int)slot))
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

/* ---- the control ---- */

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* The calls of a server without guard and without rival, and a sleep such as a wait is made of. */
static void start_unhindered(const char *path)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t began;

	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	began = nanoseconds();
	unlink(path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		referee_say("the control: bind(%s): %s", path, strerror(errno));
	nanosleep(&pause, NULL);
	latency_note(&counts->control, nanoseconds() - began - 2000000);
	unlink(path);
	close(fd);
}

static _Noreturn void be_control(void)
{
	char path[GROUND_PATH];

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	chance_seed(storm.seed, 5, 0);
	ground_directory(path, storm.directory, SHARED);
	strcat(path, "/control");
	for (;;) {
		start_unhindered(path);
		pause_us(4000);
	}
}

/* ---- the referee's own process ---- */

/* From here on directories cannot be listed, by anybody who is executed either. */
static void put_out_eyes(void)
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
	const char *library;
	bool unguarded;
	bool blind;
};

static struct options options = {.seconds = 60};

/* Runs this program in a role, guarded or not, as that user. Returns its pid. */
static pid_t begin_role(const char *role, const char *library, uid_t uid, char **more)
{
	char words[5][24];
	const char *arguments[MORE + PATHS_MOST + 1] = {
		PROGRAM, role, storm.directory, words[0], words[1], words[2], words[3], words[4]};
	pid_t pid;

	snprintf(words[0], sizeof(words[0]), "%d", storm.board);
	snprintf(words[1], sizeof(words[1]), "%d", storm.paths);
	snprintf(words[2], sizeof(words[2]), "%d", storm.servers);
	snprintf(words[3], sizeof(words[3]), "%llu", (unsigned long long)storm.seed);
	snprintf(words[4], sizeof(words[4]), "%d", storm.hostile);
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
	if (library && options.blind)
		put_out_eyes();
	become(uid);
	execv(PROGRAM, (char *const *)(const void *)arguments);
	_exit(3);
}

static void run_janitor(const char *library, uid_t uid, char **paths)
{
	int status = 0;
	pid_t pid = begin_role("@janitor", library, uid, paths);

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

/* The nursery, the control, a neighbour on each ground; 0: none. */
static pid_t roles[2 + GROUNDS];

static bool all_live(void)
{
	int status;

	for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++) {
		if (roles[i] <= 0 || waitpid(roles[i], &status, WNOHANG) == 0)
			continue;
		referee_say("role %zu ended with status %x", i, (unsigned int)status);
		return false;
	}
	return true;
}

/* Returns whether all of them were there to the end. */
static bool watch_storm(double length)
{
	const struct timespec pause = {.tv_nsec = 3000000};
	double end = seconds() + length;
	double minute = seconds() + 60;
	bool alive = true;

	while (alive && !interrupted && seconds() < end) {
		referee_check("a look of the referee's");
		referee_tidy();
		nanosleep(&pause, NULL);
		alive = all_live();
		if (seconds() < minute)
			continue;
		minute += 60;
		fprintf(stderr,
			"# %.0f seconds left, %lu starts, %lu kills, %lu thefts, "
			"%lu false alarms\n",
			end - seconds(), atomic_load(&counts->starts), atomic_load(&counts->kills),
			atomic_load(&counts->thefts), atomic_load(&counts->alarms));
	}
	for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++)
		if (roles[i] > 0)
			kill(-roles[i], SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	return alive;
}

/* ---- the end ---- */

static void start_and_stop(uid_t uid, char **paths)
{
	run_janitor(options.library, uid, paths);
}

static void print(const char *name, atomic_ulong *count)
{
	printf("%-14s %lu\n", name, atomic_load(count));
}

static void tell_latency(const char *name, struct latency *latency)
{
	printf("%s us: p50 %lu, p99 %lu, p99.9 %lu, longest %lu, of %lu\n", name,
		latency_at(latency, 0.5), latency_at(latency, 0.99), latency_at(latency, 0.999),
		latency_longest(latency), atomic_load(&latency->count));
}

/* A second more than the machine cost the control: another's locks are not waited for that long. */
static bool waited_too_long(void)
{
	return storm.hostile &&
	       latency_longest(&counts->guarded) > 1000000 + latency_longest(&counts->control);
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
	print("crashes", &counts->crashes);
	print("surprises", &counts->surprises);
	print("acts", &counts->acts);
	print("exposed", &counts->exposed);
	tell_latency("guarded", &counts->guarded);
	tell_latency("control", &counts->control);
	printf("%-14s %d\n", "waits too long", waited_too_long());
	print("thefts", &counts->thefts);
	print("false alarms", &counts->alarms);
	printf("%-14s %d\n", "litter", litter);
}

static void usage(void)
{
	fputs("usage: storm [--seconds N] [--seed N] [--servers N] [--paths N] [--directory DIR]\n"
	      "             [--library FILE] [--unguarded] [--hostile [--trusted] [--blind]]\n",
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
		else
			usage();
	}
	if (storm.servers < 1 || storm.servers > SERVERS_MOST || storm.paths < 1 ||
		storm.paths > PATHS_MOST)
		usage();
	if (storm.hostile)
		storm.paths = GROUND_PATHS;
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

/* A copy that other users can load, wherever the library was built. */
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

static void begin_roles(void)
{
	char number[GROUNDS][8];
	char *more[2] = {NULL};

	roles[0] = begin_role("@nursery", options.library, geteuid(), NULL);
	if (!storm.hostile)
		return;
	roles[1] = begin_role("@control", NULL, geteuid(), NULL);
	for (int ground = SHARED; ground < GROUNDS; ground++) {
		snprintf(number[ground], sizeof(number[ground]), "%d", ground);
		more[0] = number[ground];
		roles[1 + ground] = begin_role("@neighbour", NULL, geteuid(), more);
	}
}

/* What the neighbour did to root's names in his own directory is his affair. */
static void clear_grounds(void)
{
	char directory[GROUND_PATH];

	for (enum ground ground = SHARED; ground < GROUNDS; ground++) {
		ground_directory(directory, storm.directory, ground);
		neighbour_evict(directory, ground != SHARED || storm.hostile == TRUSTED);
	}
	snprintf(directory, sizeof(directory), "%.90s/home/away", storm.directory);
	neighbour_evict(directory, true);
	if (ground_secret_is_whole(storm.directory))
		return;
	atomic_fetch_add(&counts->surprises, 1);
	referee_say("SURPRISE: what only root may touch was touched");
}

static void leave_directory(void)
{
	if (storm.hostile)
		ground_remove(storm.directory);
	if (storm.hostile && options.library)
		unlink(options.library);
	rmdir(storm.directory);
}

static int raise_storm(char **argv)
{
	static char directory[] = "/tmp/storm-XXXXXX";
	bool alive;
	int litter;

	storm.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	options.library = built_library();
	read_options(argv);
	if (!*storm.directory && mkdtemp(directory))
		storm.directory = directory;
	ground_use(storm.hostile);
	if (storm.hostile && !ground_make(storm.directory)) {
		perror("storm: the grounds");
		return 2;
	}
	if (!find_library())
		return 2;
	storm.board = referee_make_board();
	referee_open(storm.board, storm.directory, storm.paths);
	counts = referee_counts();
	printf("storm of %.0f seconds, %d servers on %d paths in %s, %s, seed %llu\n",
		options.seconds, storm.servers, storm.paths, storm.directory,
		options.unguarded ? "unguarded" : "guarded", (unsigned long long)storm.seed);
	fflush(stdout);
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	begin_roles();
	alive = watch_storm(options.seconds);
	if (storm.hostile)
		clear_grounds();
	litter = litter_clean_up(start_and_stop);
	tell(litter);
	if (litter == 0)
		leave_directory();
	if (!alive)
		return 2;
	return litter || waited_too_long() || atomic_load(&counts->thefts) ||
	       atomic_load(&counts->alarms) || atomic_load(&counts->crashes) ||
	       atomic_load(&counts->surprises);
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
	storm.hostile = (unsigned int)number_of(argv[7]);
	ground_use(storm.hostile);
	referee_open(storm.board, storm.directory, storm.paths);
	counts = referee_counts();
	if (strcmp(argv[1], "@nursery") == 0)
		be_nursery();
	if (strcmp(argv[1], "@control") == 0)
		be_control();
	if (strcmp(argv[1], "@neighbour") == 0)
		neighbour_live((enum ground)number_of(argv[MORE]), storm.hostile == TRUSTED);
	if (strcmp(argv[1], "@server") == 0)
		server_resume(argv + MORE);
	be_janitor(argv);
}
