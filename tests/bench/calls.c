/*
 * calls: makes one kind of call many times and prints how long that took.
 *
 *     calls DIRECTORY
 *
 * reads lines "KIND COUNT". For each line, it makes COUNT calls and prints the nanoseconds they
 * took, without the preparation and the cleanup. The benchmark runs one such process with the guard
 * and one without, and alternates between them. Further lines:
 *
 *     own COUNT         binds COUNT sockets and keeps them open until the end
 *     files COUNT       creates COUNT files
 *     children COUNT    starts COUNT processes, which bind a socket each and end with this one
 *     bare-calls COUNT  prints the time of each bare call (bare.h)
 *
 * "calls --bare" prints the names of the bare calls.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "bare.h"
#include "bench.h"

enum { MAX_CALLS = 1024 };

static const char *directory;
static int sockets[MAX_CALLS];
static struct sockaddr_un addresses[MAX_CALLS];
static char second_paths[MAX_CALLS][sizeof(addresses->sun_path) + 8];

/* ---- the calls, and what prepares them and cleans up; i is the index of the path ---- */

static const char *path(int i)
{
	return addresses[i].sun_path;
}

static void make_file(int i)
{
	int fd = open(path(i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	check(fd >= 0, path(i));
	close(fd);
}

static void make_socket(int i)
{
	sockets[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(sockets[i] >= 0, "socket");
}

static void make_inet(int i)
{
	sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(sockets[i] >= 0, "socket");
}

static void bind_path(int i)
{
	check(bind(sockets[i], (struct sockaddr *)&addresses[i], sizeof(addresses[i])) == 0,
		path(i));
}

static void bind_abstract(int i)
{
	_Alignas(128) struct sockaddr_un address = addresses[i];

	address.sun_path[0] = '\0';
	check(bind(sockets[i], (struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path(i)))) == 0,
		path(i));
}

static void bind_inet(int i)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	check(bind(sockets[i], (struct sockaddr *)&address, sizeof(address)) == 0, "AF_INET");
}

static void close_socket(int i)
{
	close(sockets[i]);
}

static void make_bound(int i)
{
	make_socket(i);
	bind_path(i);
}

static void unlink_path(int i)
{
	check(unlink(path(i)) == 0, path(i));
}

static void unlink_absent(int i)
{
	check(unlink(path(i)) != 0 && errno == ENOENT, path(i));
}

static void unlinkat_path(int i)
{
	check(unlinkat(AT_FDCWD, path(i), 0) == 0, path(i));
}

static void remove_path(int i)
{
	check(remove(path(i)) == 0, path(i));
}

static void rename_path(int i)
{
	check(rename(path(i), second_paths[i]) == 0, path(i));
}

static void unlink_second(int i)
{
	check(unlink(second_paths[i]) == 0, second_paths[i]);
}

static void link_path(int i)
{
	check(link(path(i), second_paths[i]) == 0, path(i));
}

static void unlink_both(int i)
{
	unlink_path(i);
	unlink_second(i);
}

static void get_parent(int i)
{
	(void)i;
	syscall(SYS_getppid);
}

static void stat_directory(int i)
{
	struct stat found;

	(void)i;
	check(stat(directory, &found) == 0, directory);
}

static void open_close(int i)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)i;
	check(fd >= 0, directory);
	close(fd);
}

static void unlink_close(int i)
{
	unlink_path(i);
	close_socket(i);
}

static void bind_unlink(int i)
{
	bind_path(i);
	unlink_path(i);
}

static void unlink_bind_unlink(int i)
{
	unlink_absent(i);
	bind_unlink(i);
}

/* The usual protocol of servers, with a lock file that is never removed. */

static int classic_lock(int i)
{
	int fd = open(second_paths[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	check(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0, second_paths[i]);
	return fd;
}

static void classic_bind_unlink(int i)
{
	int lock = classic_lock(i);

	bind_unlink(i);
	close(lock);
}

static void classic_unlink_bind_unlink(int i)
{
	int lock = classic_lock(i);

	unlink_bind_unlink(i);
	close(lock);
}

static void bare_bind_unlink(int i)
{
	bare_begin(sockets[i], &addresses[i], second_paths[i]);
	for (int call = 0; call < bare_count; call++)
		bare_calls[call].make();
}

struct kind {
	const char *name;
	void (*before)(int i);
	void (*act)(int i);
	void (*after)(int i);
};

static const struct kind kinds[] = {
	{"unlink", make_file, unlink_path, NULL},
	{"unlinkat", make_file, unlinkat_path, NULL},
	{"remove", make_file, remove_path, NULL},
	{"absent", NULL, unlink_absent, NULL},
	{"rename", make_file, rename_path, unlink_second},
	{"link", make_file, link_path, unlink_both},
	{"getppid", NULL, get_parent, NULL},
	{"stat", NULL, stat_directory, NULL},
	{"open-close", NULL, open_close, NULL},
	{"bind", make_socket, bind_path, unlink_close},
	{"bind-abstract", make_socket, bind_abstract, close_socket},
	{"bind-inet", make_inet, bind_inet, close_socket},
	{"unlink-own", make_bound, unlink_path, close_socket},
	{"bind-unlink", make_socket, bind_unlink, close_socket},
	{"unlink-bind-unlink", make_socket, unlink_bind_unlink, close_socket},
	{"classic-bind-unlink", make_socket, classic_bind_unlink, close_socket},
	{"bare-bind-unlink", make_socket, bare_bind_unlink, close_socket},
	{"classic-unlink-bind-unlink", make_socket, classic_unlink_bind_unlink, close_socket},
};

/* ---- the timing ---- */

static void for_each(int count, void (*act)(int i))
{
	for (int i = 0; act && i < count; i++)
		act(i);
}

static long long run(const struct kind *kind, int count)
{
	long long began;
	long long took;

	for_each(count, kind->before);
	began = now();
	for_each(count, kind->act);
	took = now() - began;
	for_each(count, kind->after);
	return took;
}

/* Binds DIRECTORY/own.N, for count more values of N, and keeps the sockets. */
static long long bind_sockets(int count)
{
	static int owned;
	long long began = now();

	for (int i = 0; i < count; i++, owned++) {
		_Alignas(128) struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		snprintf(address.sun_path, sizeof(address.sun_path), "%s/own.%d", directory, owned);
		check(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0,
			address.sun_path);
	}
	return now() - began;
}

static long long create_files(int count)
{
	long long began = now();
	char name[4096];

	for (int i = 0; i < count; i++) {
		int fd;

		snprintf(name, sizeof(name), "%s/file.%d", directory, i);
		fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		check(fd >= 0, name);
		close(fd);
	}
	return now() - began;
}

static _Noreturn void run_child(int i, int ready)
{
	_Alignas(128) struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/child.%d", directory, i);
	check(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0,
		address.sun_path);
	check(write(ready, "", 1) == 1, "write");
	for (;;)
		pause();
}

/* Starts processes that bind a socket each. Returns when the last of them has done so. */
static long long start_children(int count)
{
	long long began = now();
	int ready[2];
	char byte;

	check(pipe(ready) == 0, "pipe");
	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		check(child >= 0, "fork");
		if (child == 0)
			run_child(i, ready[1]);
	}
	close(ready[1]);
	for (int i = 0; i < count; i++)
		check(read(ready[0], &byte, 1) == 1, "a child");
	close(ready[0]);
	return now() - began;
}

/* Times each bare call separately and subtracts the time of reading the clock. */
static void time_bare_calls(int count)
{
	long long took[64] = {0};
	long long clock = 0;

	check(bare_count <= 64, "too many bare calls");
	for_each(count, make_socket);
	for (int i = 0; i < count; i++) {
		long long last = now();

		clock += now() - last;
		bare_begin(sockets[i], &addresses[i], second_paths[i]);
		for (int call = 0; call < bare_count; call++) {
			last = now();
			bare_calls[call].make();
			took[call] += now() - last;
		}
	}
	for_each(count, close_socket);
	for (int call = 0; call < bare_count; call++)
		printf("%lld%c", took[call] - clock, call + 1 < bare_count ? ' ' : '\n');
}

static long long measure(const char *name, int count)
{
	if (strcmp(name, "files") == 0)
		return create_files(count);
	if (strcmp(name, "own") == 0)
		return bind_sockets(count);
	if (strcmp(name, "children") == 0)
		return start_children(count);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(name, kinds[i].name) != 0)
			continue;
		if (count > MAX_CALLS)
			errx(2, "at most %d calls at a time", MAX_CALLS);
		return run(&kinds[i], count);
	}
	errx(2, "no such kind of call: %s", name);
}

static void prepare(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (int i = 0; i < MAX_CALLS; i++) {
		addresses[i].sun_family = AF_UNIX;
		snprintf(addresses[i].sun_path, sizeof(addresses[i].sun_path), "%s/path.%d",
			directory, i);
		snprintf(second_paths[i], sizeof(second_paths[i]), "%s.lock",
			addresses[i].sun_path);
	}
}

int main(int argc, char **argv)
{
	char name[32], count[16];

	if (argc != 2)
		errx(2, "usage: calls DIRECTORY|--bare");
	if (strcmp(argv[1], "--bare") == 0) {
		for (int call = 0; call < bare_count; call++)
			puts(bare_calls[call].name);
		return 0;
	}
	directory = argv[1];
	prepare();
	while (scanf("%31s %15s", name, count) == 2) {
		if (strcmp(name, "bare-calls") == 0)
			time_bare_calls(read_count(count, 1, MAX_CALLS));
		else
			printf("%lld\n", measure(name, read_count(count, 1, 1 << 20)));
		fflush(stdout);
	}
	return 0;
}
