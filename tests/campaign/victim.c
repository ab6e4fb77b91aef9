/*
 * victim: makes one call between two marks. A tracer kills it there, or makes one of the call's
 * system calls fail.
 *
 *   victim DIRECTORY [SETUP...] -- VERB [NAME [NAME]]
 *   victim DIRECTORY cycle NAME...
 *
 * Setup steps, in the order given:
 *   bind:NAME  bind a socket, and listen
 *   reuse      set SO_REUSEADDR on the socket of the verb
 *   fork       fork a child that holds the same sockets
 *   exec       execute this program again with the sockets inherited: the library is loaded again
 *   close      close the sockets bound so far
 *   sweep      after the call, bind and unlink another name until the library has closed its unused
 *              claims
 *   wait       before the call, print "ready" and wait for the end of stdin: a tracer attaches
 * Verbs: none, bind, unlink, unlinkat, remove, rename, renameat, exchange, link, linkat.
 *
 * Prints one line: its process ID, the child's or 0, the call's result and errno, and 1 if the call
 * has not changed the cancellation state. Then it waits to be killed, so that the test can inspect
 * the files and descriptors that the call left.
 *
 * With cycle, it starts and stops a server on each name: unlink, bind, listen, unlink. It prints a
 * line for each: the errnos of the first unlink, the bind and the last unlink.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static const char *directory;
static int directory_fd = -1; /* for the verbs that take one */
static bool reuse;
static bool sweep;
static bool waits;
static pid_t child;

static const char *path_of(const char *name)
{
	static char paths[2][sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	static int turn;
	char *path = paths[turn++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static void must(bool done, const char *what)
{
	if (done)
		return;
	dprintf(STDERR_FILENO, "victim: %s: %s\n", what, strerror(errno));
	_exit(3);
}

static int bind_to(int fd, const char *name)
{
	/* Aligned, because the guard makes an extra call if an address crosses a page boundary. */
	_Alignas(128) struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, path_of(name));
	return bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

static int new_socket(void)
{
	const int on = 1;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	must(fd >= 0, "socket");
	if (reuse)
		must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0, "setsockopt");
	return fd;
}

static void serve(const char *name)
{
	int fd = new_socket();

	must(bind_to(fd, name) == 0 && listen(fd, 8) == 0, name);
}

/* ---- the call between the marks ---- */

static int verb_fd = -1;

static int do_none(const char *a, const char *b)
{
	(void)a, (void)b;
	return 0;
}

static int do_bind(const char *a, const char *b)
{
	(void)b;
	return bind_to(verb_fd, a);
}

static int do_unlink(const char *a, const char *b)
{
	(void)b;
	return unlink(path_of(a));
}

static int do_unlinkat(const char *a, const char *b)
{
	(void)b;
	return unlinkat(directory_fd, a, 0);
}

static int do_remove(const char *a, const char *b)
{
	(void)b;
	return remove(path_of(a));
}

static int do_rename(const char *a, const char *b)
{
	return rename(path_of(a), path_of(b));
}

static int do_renameat(const char *a, const char *b)
{
	return renameat(directory_fd, a, directory_fd, b);
}

static int do_exchange(const char *a, const char *b)
{
	return renameat2(directory_fd, a, AT_FDCWD, path_of(b), RENAME_EXCHANGE);
}

static int do_link(const char *a, const char *b)
{
	return link(path_of(a), path_of(b));
}

static int do_linkat(const char *a, const char *b)
{
	return linkat(directory_fd, a, directory_fd, b, 0);
}

static const struct verb {
	const char *name;
	int (*perform)(const char *a, const char *b);
	bool takes_directory;
} verbs[] = {
	{"none", do_none, false},
	{"bind", do_bind, false},
	{"unlink", do_unlink, false},
	{"unlinkat", do_unlinkat, true},
	{"remove", do_remove, false},
	{"rename", do_rename, false},
	{"renameat", do_renameat, true},
	{"exchange", do_exchange, true},
	{"link", do_link, false},
	{"linkat", do_linkat, true},
};

/* Marks with a system call that neither the library nor libc makes for it. */
static void mark(void)
{
	syscall(SYS_getsid, 0);
}

static void print_result(int result, int error, bool cancellation_kept)
{
	char line[128];
	struct iovec piece = {line, 0};

	piece.iov_len = (size_t)snprintf(line, sizeof(line), "%d %d %d %d %d\n", getpid(), child,
		result, error, cancellation_kept);
	must(writev(STDOUT_FILENO, &piece, 1) > 0, "stdout"); /* the test may make write fail */
}

static void bind_and_unlink_often(void)
{
	for (int i = 0; i < 300; i++) {
		int fd = new_socket();

		must(bind_to(fd, "s") == 0 && unlink(path_of("s")) == 0, "sweep");
		close(fd);
	}
}

static void await_tracer(void)
{
	static const char word[] = "ready\n";
	char byte;

	must(write(STDOUT_FILENO, word, sizeof(word) - 1) > 0, "stdout");
	must(read(STDIN_FILENO, &byte, 1) == 0, "stdin");
}

static void perform(const struct verb *verb, const char *a, const char *b)
{
	int before, after, result, error;

	if (verb->perform == do_bind)
		verb_fd = new_socket();
	if (verb->takes_directory) {
		directory_fd = open(directory, O_PATH | O_DIRECTORY);
		must(directory_fd >= 0, directory);
	}
	if (waits)
		await_tracer();
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
	mark();
	result = verb->perform(a, b);
	error = result == 0 ? 0 : errno;
	mark();
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &after);
	if (sweep)
		bind_and_unlink_often();
	print_result(result, error, after == PTHREAD_CANCEL_ENABLE);
	for (;;)
		pause();
}

/* ---- setup ---- */

static void fork_child(void)
{
	child = fork();
	must(child >= 0, "fork");
	if (child == 0) {
		close(STDOUT_FILENO); /* so that the reader sees the end of file when the parent
					 ends */
		for (;;)
			pause();
	}
}

static void close_sockets(void)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);

	for (int fd = 3; fd < 16; fd++, size = sizeof(address))
		if (getsockname(fd, (struct sockaddr *)&address, &size) == 0)
			close(fd);
}

static void run_setup(char **words)
{
	for (; *words && strcmp(*words, "--") != 0; words++) {
		if (strncmp(*words, "bind:", 5) == 0)
			serve(*words + 5);
		else if (strcmp(*words, "reuse") == 0)
			reuse = true;
		else if (strcmp(*words, "fork") == 0)
			fork_child();
		else if (strcmp(*words, "sweep") == 0)
			sweep = true;
		else if (strcmp(*words, "wait") == 0)
			waits = true;
		else if (strcmp(*words, "close") == 0)
			close_sockets();
		else
			must(false, *words);
	}
}

/* Executes this program again, with the steps that follow "exec". */
static void execute_again(char *program, char *where, char **rest)
{
	char *words[16] = {program, where};

	for (int i = 0; i < 13 && rest[i]; i++)
		words[2 + i] = rest[i];
	execv(program, words);
	must(false, "exec");
}

static void cycle(const char *name)
{
	int fd = new_socket();
	int first, bound, last;

	errno = 0;
	first = unlink(path_of(name)) == 0 ? 0 : errno;
	bound = bind_to(fd, name) == 0 && listen(fd, 8) == 0 ? 0 : errno;
	last = bound != 0 || unlink(path_of(name)) == 0 ? 0 : errno;
	printf("%d %d %d\n", first, bound, last);
	close(fd);
}

static char **find_word(char **words, const char *wanted)
{
	while (*words && strcmp(*words, wanted) != 0)
		words++;
	return *words ? words : NULL;
}

int main(int argc, char **argv)
{
	char **split, **exec;

	if (argc < 4)
		return 2;
	exec = find_word(argv + 2, "exec");
	directory = argv[1];
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* dies with its tracer */
	if (strcmp(argv[2], "cycle") == 0) {
		for (char **name = argv + 3; *name; name++)
			cycle(*name);
		return 0;
	}
	if (exec) {
		*exec = NULL;
		run_setup(argv + 2);
		execute_again(argv[0], argv[1], exec + 1);
	}
	run_setup(argv + 2);
	split = find_word(argv, "--");
	for (size_t i = 0; split && split[1] && i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(split[1], verbs[i].name) == 0)
			perform(&verbs[i], split[2], split[2] ? split[3] : NULL);
	return 2;
}
