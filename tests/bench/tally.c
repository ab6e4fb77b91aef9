/*
 * tally: makes one call in each situation, between two marks for a tracer that counts system calls.
 *
 *     tally DIRECTORY LIVE
 *
 * LIVE is the path of a socket that another process holds. The marks are calls of access(2), with
 * the path "== SITUATION" before the call and "== " after it. For each call, the program prints
 * "SITUATION: ERRNO", with 0 for success.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *live;
static int here; /* a descriptor of the directory */
static int fd;   /* the descriptor of the situation's socket or file, or -1 */
static struct sockaddr_un abstract = {.sun_family = AF_UNIX};

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(1);
}

/* ---- what exists before the call; all paths are relative to the directory ---- */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

static int bind_at(const char *path)
{
	struct sockaddr_un address = address_of(path);

	return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static void prepare_nothing(void)
{
}

static void make_file(void)
{
	must(fd = open("a", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "a");
}

static void make_two_files(void)
{
	must(fd = open("b", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "b");
	close(fd);
	make_file();
}

static void make_symlink(void)
{
	must(symlink("nowhere", "a"), "a");
}

static void make_directory(void)
{
	must(mkdir("a", 0700), "a");
}

static void make_socket(void)
{
	must(fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
}

static void make_file_and_socket(void)
{
	make_file();
	close(fd);
	make_socket();
}

static void make_reuseaddr_socket(void)
{
	const int on = 1;

	make_socket();
	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "SO_REUSEADDR");
}

static void make_inet_socket(void)
{
	must(fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
}

static void bind_own_socket(void)
{
	make_socket();
	must(bind_at("a"), "a");
	must(listen(fd, 8), "a");
}

/* Binds a socket without the guard and closes it, as an unguarded program does when it crashes. */
static void make_stale_path(void)
{
	struct sockaddr_un address = address_of("a");

	make_socket();
	must((int)syscall(SYS_bind, fd, &address, sizeof(address)), "a");
	close(fd);
	fd = -1;
}

static void make_stale_path_and_socket(void)
{
	make_stale_path();
	make_reuseaddr_socket();
}

/* ---- the calls ---- */

static int unlink_a(void)
{
	return unlink("a");
}

static int unlinkat_a(void)
{
	return unlinkat(here, "a", 0);
}

static int unlinkat_directory(void)
{
	return unlinkat(here, "a", AT_REMOVEDIR);
}

static int remove_a(void)
{
	return remove("a");
}

static int unlink_live(void)
{
	return unlink(live);
}

static int rename_a(void)
{
	return rename("a", "b");
}

static int renameat_a(void)
{
	return renameat(here, "a", here, "b");
}

static int exchange_a(void)
{
	return renameat2(here, "a", here, "b", RENAME_EXCHANGE);
}

static int rename_live(void)
{
	return rename(live, "b");
}

static int link_a(void)
{
	return link("a", "c");
}

static int linkat_a(void)
{
	return linkat(here, "a", here, "c", 0);
}

static int bind_a(void)
{
	return bind_at("a");
}

static int bind_live(void)
{
	return bind_at(live);
}

static int bind_abstract(void)
{
	return bind(fd, (const struct sockaddr *)&abstract, sizeof(abstract));
}

static int bind_auto(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	return bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t));
}

static int bind_inet(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

/* Other calls on files and sockets. The guard does not wrap them. */
static int make_other_calls(void)
{
	struct sockaddr_un address = address_of("a");
	struct stat found;
	int client = socket(AF_UNIX, SOCK_STREAM, 0);
	int served, copy;

	must(client, "socket");
	must(connect(client, (struct sockaddr *)&address, sizeof(address)), "connect");
	must(served = accept(fd, NULL, NULL), "accept");
	must((int)write(client, "x", 1), "write");
	must((int)read(served, &copy, 1), "read");
	must(copy = dup(served), "dup");
	must(stat("a", &found), "stat");
	must(chmod("a", 0600), "chmod");
	must(mkdir("d", 0700), "mkdir");
	must(rmdir("d"), "rmdir");
	must(symlink("a", "s"), "symlink");
	must(access("s", F_OK), "access");
	return close(copy) | close(served) | close(client);
}

static int fork_and_wait(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	return waitpid(child, NULL, 0) == child ? 0 : -1;
}

static const struct situation {
	const char *name;
	void (*prepare)(void);
	int (*call)(void);
} situations[] = {
	{"unlink a file", make_file, unlink_a},
	{"unlink an absent path", prepare_nothing, unlink_a},
	{"unlink a symlink", make_symlink, unlink_a},
	{"unlink a directory", make_directory, unlink_a},
	{"unlinkat a file", make_file, unlinkat_a},
	{"unlinkat an absent path", prepare_nothing, unlinkat_a},
	{"unlinkat a symlink", make_symlink, unlinkat_a},
	{"unlinkat a directory", make_directory, unlinkat_a},
	{"remove a file", make_file, remove_a},
	{"remove an absent path", prepare_nothing, remove_a},
	{"remove a symlink", make_symlink, remove_a},
	{"remove a directory", make_directory, remove_a},
	{"unlinkat AT_REMOVEDIR", make_directory, unlinkat_directory},
	{"rename a file", make_file, rename_a},
	{"rename a file over a file", make_two_files, rename_a},
	{"rename an absent path", prepare_nothing, rename_a},
	{"rename a directory", make_directory, rename_a},
	{"rename a symlink", make_symlink, rename_a},
	{"renameat a file", make_file, renameat_a},
	{"renameat2 two files exchanged", make_two_files, exchange_a},
	{"link a file", make_file, link_a},
	{"linkat a file", make_file, linkat_a},
	{"link an absent path", prepare_nothing, link_a},
	{"bind AF_INET", make_inet_socket, bind_inet},
	{"bind an abstract address", make_socket, bind_abstract},
	{"bind without a path (autobind)", make_socket, bind_auto},
	{"other calls", bind_own_socket, make_other_calls},
	{"fork and wait", prepare_nothing, fork_and_wait},
	{"bind a path", make_socket, bind_a},
	{"bind a path that is a file", make_file_and_socket, bind_a},
	{"bind over a stale path", make_stale_path_and_socket, bind_a},
	{"bind a live path, refused", make_socket, bind_live},
	{"unlink own socket", bind_own_socket, unlink_a},
	{"unlink a stale path", make_stale_path, unlink_a},
	{"rename own socket", bind_own_socket, rename_a},
	{"link own socket", bind_own_socket, link_a},
	{"rename a live socket, refused", prepare_nothing, rename_live},
	{"unlink a live socket, refused", prepare_nothing, unlink_live},
};

/* ---- the marks ---- */

static void mark(const char *path)
{
	syscall(SYS_access, path, F_OK);
}

/*
 * Removes whatever the call left. The guard sees these calls of unlink and releases its claims.
 * Otherwise it would find an absent path claimed in a later situation.
 */
static void clean_up(void)
{
	static const char *const names[] = {
		"a", "b", "c", "s", ".a.sockguard", ".b.sockguard", ".c.sockguard"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		unlink(names[i]);
		rmdir(names[i]);
	}
	if (fd >= 0)
		close(fd);
	fd = -1;
}

/* Only the call is between the marks, because the program "steps" counts every instruction there.
 */
static void run(const struct situation *situation)
{
	char opening[64];
	int error;

	situation->prepare();
	snprintf(opening, sizeof(opening), "== %s", situation->name);
	mark(opening);
	error = situation->call() == 0 ? 0 : errno;
	mark("== ");
	printf("%s: %d\n", situation->name, error);
	clean_up();
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	live = argv[2];
	fd = -1;
	snprintf(abstract.sun_path + 1, sizeof(abstract.sun_path) - 1, "tally %d", getpid());
	must(chdir(argv[1]), argv[1]);
	must(here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), argv[1]);
	for (size_t i = 0; i < sizeof(situations) / sizeof(*situations); i++)
		run(&situations[i]);
	return 0;
}
