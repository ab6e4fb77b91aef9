/*
 * tally: makes one call in each situation, between two marks for a tracer that counts system calls.
 *
 *     tally DIRECTORY LIVE
 *
 * LIVE is the path of a socket that another process holds. A mark is an access(2) to "==
 * SITUATION", and to "==" behind the call. What a call comes to is printed, "SITUATION: ERRNO".
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
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
static int here; /* the directory, opened */
static int fd;   /* of the situation: its socket, or file */

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(1);
}

/* ---- what is there before the call; all names are relative to the directory ---- */

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

static void nothing(void)
{
}

static void a_file(void)
{
	must(fd = open("a", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "a");
}

static void two_files(void)
{
	must(fd = open("b", O_RDWR | O_CREAT | O_CLOEXEC, 0600), "b");
	close(fd);
	a_file();
}

static void a_symlink(void)
{
	must(symlink("nowhere", "a"), "a");
}

static void a_directory(void)
{
	must(mkdir("a", 0700), "a");
}

static void a_socket(void)
{
	must(fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
}

static void a_file_and_a_socket(void)
{
	a_file();
	close(fd);
	a_socket();
}

static void a_reusing_socket(void)
{
	const int on = 1;

	a_socket();
	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "SO_REUSEADDR");
}

static void an_inet_socket(void)
{
	must(fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
}

static void own_socket(void)
{
	a_socket();
	must(bind_at("a"), "a");
	must(listen(fd, 8), "a");
}

/* As an unguarded program's crash leaves it: the guard knows nothing of this binding. */
static void stale_name(void)
{
	struct sockaddr_un address = address_of("a");

	a_socket();
	must((int)syscall(SYS_bind, fd, &address, sizeof(address)), "a");
	close(fd);
	fd = -1;
}

static void stale_name_and_reusing_socket(void)
{
	stale_name();
	a_reusing_socket();
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
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0sockguard tally"};

	return bind(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 16);
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

/* What else a program does with files and sockets: none of it is the guard's. */
static int other_calls(void)
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
	void (*before)(void);
	int (*call)(void);
} situations[] = {
	{"unlink a file", a_file, unlink_a},
	{"unlink an absent name", nothing, unlink_a},
	{"unlink a symlink", a_symlink, unlink_a},
	{"unlink a directory", a_directory, unlink_a},
	{"unlinkat a file", a_file, unlinkat_a},
	{"unlinkat an absent name", nothing, unlinkat_a},
	{"unlinkat a symlink", a_symlink, unlinkat_a},
	{"unlinkat a directory", a_directory, unlinkat_a},
	{"remove a file", a_file, remove_a},
	{"remove an absent name", nothing, remove_a},
	{"remove a symlink", a_symlink, remove_a},
	{"remove a directory", a_directory, remove_a},
	{"unlinkat AT_REMOVEDIR", a_directory, unlinkat_directory},
	{"rename a file", a_file, rename_a},
	{"rename a file over a file", two_files, rename_a},
	{"rename an absent name", nothing, rename_a},
	{"rename a directory", a_directory, rename_a},
	{"rename a symlink", a_symlink, rename_a},
	{"renameat a file", a_file, renameat_a},
	{"renameat2 two files exchanged", two_files, exchange_a},
	{"link a file", a_file, link_a},
	{"linkat a file", a_file, linkat_a},
	{"link an absent name", nothing, link_a},
	{"bind AF_INET", an_inet_socket, bind_inet},
	{"bind an abstract name", a_socket, bind_abstract},
	{"bind no name (autobind)", a_socket, bind_auto},
	{"other calls", own_socket, other_calls},
	{"fork and wait", nothing, fork_and_wait},
	{"bind a path", a_socket, bind_a},
	{"bind a path that is a file", a_file_and_a_socket, bind_a},
	{"bind over a stale name", stale_name_and_reusing_socket, bind_a},
	{"bind a live path, refused", a_socket, bind_live},
	{"unlink own socket", own_socket, unlink_a},
	{"unlink a stale name", stale_name, unlink_a},
	{"rename own socket", own_socket, rename_a},
	{"link own socket", own_socket, link_a},
	{"rename a live socket, refused", nothing, rename_live},
	{"unlink a live socket, refused", nothing, unlink_live},
};

/* ---- the marks ---- */

static void mark(const char *words)
{
	syscall(SYS_access, words, F_OK);
}

/* Whatever the call left; not past the guard, which would find void claims in a later call. */
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

/* Between the marks stands nothing but the call, for those who count instructions. */
static void make(const struct situation *situation)
{
	char words[64];
	int error;

	situation->before();
	snprintf(words, sizeof(words), "== %s", situation->name);
	mark(words);
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
	must(chdir(argv[1]), argv[1]);
	must(here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), argv[1]);
	for (size_t i = 0; i < sizeof(situations) / sizeof(*situations); i++)
		make(&situations[i]);
	return 0;
}
