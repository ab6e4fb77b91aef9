/*
 * calls: makes one kind of call many times and tells how long that took.
 *
 *     calls DIRECTORY
 *
 * reads lines "KIND COUNT" and answers each with nanoseconds: those COUNT calls took, without what
 * prepares and cleans up. One such process runs with the guard and one without, and whoever asks
 * them takes turns. "own COUNT" binds that many sockets and keeps them until the end, "files COUNT"
 * makes that many files; "bare-calls COUNT" answers with a time for each bare call, whose names
 * "calls --bare" prints.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bare.h"
#include "bench.h"

enum { MOST = 1024 };

static const char *directory;
static int sockets[MOST];
static struct sockaddr_un addresses[MOST];
static char seconds[MOST][sizeof(addresses->sun_path) + 8];

/* ---- what is done before, in and after the time that is taken ---- */

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

static void bind_it(int i)
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
	bind_it(i);
}

static void unlink_it(int i)
{
	check(unlink(path(i)) == 0, path(i));
}

static void unlink_absent(int i)
{
	check(unlink(path(i)) != 0 && errno == ENOENT, path(i));
}

static void unlinkat_it(int i)
{
	check(unlinkat(AT_FDCWD, path(i), 0) == 0, path(i));
}

static void remove_it(int i)
{
	check(remove(path(i)) == 0, path(i));
}

static void rename_it(int i)
{
	check(rename(path(i), seconds[i]) == 0, path(i));
}

static void unlink_second(int i)
{
	check(unlink(seconds[i]) == 0, seconds[i]);
}

static void unlink_close(int i)
{
	unlink_it(i);
	close_socket(i);
}

static void bind_unlink(int i)
{
	bind_it(i);
	unlink_it(i);
}

static void unlink_bind_unlink(int i)
{
	unlink_absent(i);
	bind_unlink(i);
}

/* The protocol as servers have it: their lock file stays. */

static int classic_lock(int i)
{
	int fd = open(seconds[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	check(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0, seconds[i]);
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
	bare_begin(sockets[i], &addresses[i], seconds[i]);
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
	{"unlink", make_file, unlink_it, NULL},
	{"unlinkat", make_file, unlinkat_it, NULL},
	{"remove", make_file, remove_it, NULL},
	{"absent", NULL, unlink_absent, NULL},
	{"rename", make_file, rename_it, unlink_second},
	{"bind", make_socket, bind_it, unlink_close},
	{"bind-abstract", make_socket, bind_abstract, close_socket},
	{"bind-inet", make_inet, bind_inet, close_socket},
	{"unlink-own", make_bound, unlink_it, close_socket},
	{"bind-unlink", make_socket, bind_unlink, close_socket},
	{"unlink-bind-unlink", make_socket, unlink_bind_unlink, close_socket},
	{"classic-bind-unlink", make_socket, classic_bind_unlink, close_socket},
	{"bare-bind-unlink", make_socket, bare_bind_unlink, close_socket},
	{"classic-unlink-bind-unlink", make_socket, classic_unlink_bind_unlink, close_socket},
};

/* ---- the time ---- */

static void each(int count, void (*act)(int i))
{
	for (int i = 0; act && i < count; i++)
		act(i);
}

static long long run(const struct kind *kind, int count)
{
	long long began;
	long long took;

	each(count, kind->before);
	began = now();
	each(count, kind->act);
	took = now() - began;
	each(count, kind->after);
	return took;
}

/* Sockets kept from now on; their names are the directory's own "own.N". */
static long long own(int count)
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

static long long files(int count)
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

/* Each bare call by itself, the clock's own time taken off. */
static void tell_bare_calls(int count)
{
	long long took[64] = {0};
	long long clock = 0;

	check(bare_count <= 64, "the bare calls");
	each(count, make_socket);
	for (int i = 0; i < count; i++) {
		long long last = now();

		clock += now() - last;
		bare_begin(sockets[i], &addresses[i], seconds[i]);
		for (int call = 0; call < bare_count; call++) {
			last = now();
			bare_calls[call].make();
			took[call] += now() - last;
		}
	}
	each(count, close_socket);
	for (int call = 0; call < bare_count; call++)
		printf("%lld%c", took[call] - clock, call + 1 < bare_count ? ' ' : '\n');
}

static long long answer(const char *name, int count)
{
	if (strcmp(name, "files") == 0)
		return files(count);
	if (strcmp(name, "own") == 0)
		return own(count);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(name, kinds[i].name) != 0)
			continue;
		if (count > MOST)
			errx(2, "at most %d calls at a time", MOST);
		return run(&kinds[i], count);
	}
	errx(2, "no such kind of call: %s", name);
}

static void prepare(void)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_NOFILE, &most) == 0) {
		most.rlim_cur = most.rlim_max;
		setrlimit(RLIMIT_NOFILE, &most);
	}
	for (int i = 0; i < MOST; i++) {
		addresses[i].sun_family = AF_UNIX;
		snprintf(addresses[i].sun_path, sizeof(addresses[i].sun_path), "%s/name.%d",
			directory, i);
		snprintf(seconds[i], sizeof(seconds[i]), "%s.lock", addresses[i].sun_path);
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
			tell_bare_calls(read_count(count, 1, MOST));
		else
			printf("%lld\n", answer(name, read_count(count, 1, 1 << 20)));
		fflush(stdout);
	}
	return 0;
}
