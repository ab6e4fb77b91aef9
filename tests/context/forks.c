/*
 * forks DIRECTORY fork|vfork|spawn: threads that make calls all the time, while the process
 *
 * fork: forks two hundred children, which make calls of their own at once. vfork: removes a name
 * between vfork and exec. spawn: starts programs by posix_spawn and system.
 *
 * forks DIRECTORY vfork-first|clone-first|clone-beside: a child that shares the memory, and not the
 * descriptors, is the first to bind a name; its parent then has a hundred of its own, one after
 * another. clone-first: by a raw clone(CLONE_VM | CLONE_VFORK); clone-beside: it stays to the end.
 *
 * forks DIRECTORY die: again and again a process of this kind ends right after a fork. No mutex may
 * be held then: not by its child, which copied what the threads had open.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

enum {
	THREADS = 4,
	CHILDREN = 200,
	AT_ONCE = 4,
	PROGRAMS = 20,
	DEATHS = 60,
	NAMES = 300,
	LIVES = 100
};

static const char *directory;
static atomic_bool enough;
static atomic_int rounds;

static void must(bool good, const char *what, const char *path)
{
	if (!good)
		die(what, path);
}

static void live_or_die(const char *word, int number)
{
	char path[PATH_SIZE], away[PATH_SIZE];

	name_path(path, directory, word, number);
	name_path(away, directory, "away", number);
	const char *failed = live(path, away);

	must(!failed, failed, path);
}

/* On a path that threads and children share: found gone or taken, but never refused. */
static void meddle(void)
{
	char path[PATH_SIZE];
	int fd = new_socket();

	name_path(path, directory, "shared", 0);
	must(unlink(path) == 0 || errno == ENOENT, "unlink", path);
	must(bind_to(fd, path) == 0 || errno == EADDRINUSE, "bind", path);
	must(unlink(path) == 0 || errno == ENOENT, "unlink", path);
	close(fd);
}

static void *keep_busy(void *number)
{
	while (!atomic_load(&enough)) {
		live_or_die("thread", *(int *)number);
		meddle();
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

/* Numbered from the first. Returns once they are at it. */
static void start_threads(pthread_t threads[THREADS], int first)
{
	static int numbers[THREADS];

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = first + i;
		errno = pthread_create(&threads[i], NULL, keep_busy, &numbers[i]);
		must(errno == 0, "pthread_create", "");
	}
	while (atomic_load(&rounds) < THREADS)
		usleep(100);
}

static void reap(void)
{
	int status;

	must(wait(&status) > 0, "wait", "");
	errno = 0;
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed in", directory);
}

static void fork_children(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();

		must(child >= 0, "fork", "");
		if (child == 0) {
			live_or_die("child", THREADS + i);
			_exit(0);
		}
		if (i >= AT_ONCE)
			reap();
	}
	for (int i = 0; i < AT_ONCE; i++)
		reap();
}

/* As some programs do it, whatever POSIX says of calls between vfork and exec. */
static void vfork_program(int number)
{
	char path[PATH_SIZE];
	int fd = new_socket();

	name_path(path, directory, "vfork", number);
	must(bind_to(fd, path) == 0, "bind", path);
	pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (child == 0) {
		if (unlink(path) == 0) /* NOLINT(clang-analyzer-unix.Vfork): what is tried here */
			execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	must(child > 0, "vfork", path);
	reap();
	must(unlink(path) != 0 && errno == ENOENT, "still there", path);
	close(fd);
	fd = new_socket();
	must(bind_to(fd, path) == 0 && unlink(path) == 0, "bind and unlink", path);
	close(fd);
}

static void vfork_programs(void)
{
	for (int i = 0; i < PROGRAMS; i++)
		vfork_program(i);
	/* What the children could not close the guard finds bit by bit, as names are bound. */
	for (int i = 0; i < NAMES; i++)
		live_or_die("after", THREADS + i % THREADS);
}

static void spawn_programs(void)
{
	extern char **environ;
	char *const words[] = {(char *)"true", NULL};
	pid_t child;

	for (int i = 0; i < PROGRAMS; i++) {
		errno = posix_spawn(&child, "/bin/true", NULL, NULL, words, environ);
		must(errno == 0, "posix_spawn", "true");
		reap();
		/* NOLINTNEXTLINE(cert-env33-c): what is tried here */
		must(system("true") == 0, "system", "true");
	}
}

/* The life of a name, socket closed before the unlink, as servers do that others took over from. */
static void live_briefly(const char *word, int number)
{
	char path[PATH_SIZE];
	int fd = new_socket();

	name_path(path, directory, word, number);
	must(bind_to(fd, path) == 0, "bind", path);
	close(fd);
	must(unlink(path) == 0, "unlink", path);
}

static int child_ready[2], child_to_go[2];

static int be_first(void *beside)
{
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a parent that fails does not wait for it */
	live_briefly("child", 0);
	if (beside)
		_exit(write(child_ready[1], &byte, 1) != 1 || read(child_to_go[0], &byte, 1) < 0);
	_exit(0);
}

static pid_t start_first(const char *how)
{
	enum { STACK = 256 * 1024 };
	bool beside = !strcmp(how, "clone-beside");
	char *stack;

	if (!strcmp(how, "vfork-first")) {
		pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */

		if (child == 0)
			be_first(NULL); /* NOLINT(clang-analyzer-unix.Vfork): what is tried here */
		return child;
	}
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(stack != MAP_FAILED, "mmap", "");
	return clone(be_first, stack + STACK, CLONE_VM | SIGCHLD | (beside ? 0 : CLONE_VFORK),
		beside ? child_ready : NULL);
}

static void let_child_be_first(const char *how)
{
	bool beside = !strcmp(how, "clone-beside");
	char byte;

	must(pipe2(child_ready, O_CLOEXEC) == 0 && pipe2(child_to_go, O_CLOEXEC) == 0, "pipe", "");
	pid_t child = start_first(how);
	must(child > 0, how, "");
	if (beside)
		must(read(child_ready[0], &byte, 1) == 1, "no child in", directory);
	else
		reap();
	int before = open_descriptors();
	for (int i = 0; i < LIVES; i++)
		live_briefly("parent", i);
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", directory);
	if (beside) {
		close(child_to_go[1]);
		kill(child, SIGKILL); /* it has a copy of the other end */
		must(waitpid(child, NULL, 0) == child, "wait", "");
	}
}

/* Dies the moment it has forked. The child says that it is there, and stays until told to go. */
static _Noreturn void die_forked(int told, int to_go, int first)
{
	pthread_t threads[THREADS];

	start_threads(threads, first);
	if (fork() == 0) {
		char byte = 0;

		_exit(write(told, &byte, 1) != 1 || read(to_go, &byte, 1) != 0);
	}
	kill(getpid(), SIGKILL);
	_exit(1);
}

static bool is_locked(const char *path)
{
	struct flock mutex = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	must(fcntl(fd, F_OFD_GETLK, &mutex) == 0, "fcntl", path);
	close(fd);
	return mutex.l_type != F_UNLCK;
}

static void look_for_locks(const char *word, int first)
{
	for (int i = first; i < first + THREADS; i++) {
		char path[PATH_SIZE];
		char lock[PATH_SIZE + 16];
		const char *name;

		name_path(path, directory, word, i);
		name = strrchr(path, '/') + 1;
		snprintf(lock, sizeof(lock), "%.*s.%s.sockguard", (int)(name - path), path, name);
		errno = 0;
		must(!is_locked(lock), "a mutex is held:", lock);
	}
}

static void fork_and_die(void)
{
	for (int i = 0; i < DEATHS; i++) {
		int told[2], to_go[2], status = 0;
		char byte;

		must(pipe2(told, O_CLOEXEC) == 0 && pipe2(to_go, O_CLOEXEC) == 0, "pipe", "");
		pid_t victim = fork();
		if (victim == 0) {
			close(to_go[1]);
			die_forked(told[1], to_go[0], i * THREADS);
		}
		close(told[1]);
		must(victim > 0 && waitpid(victim, &status, 0) == victim, "fork", "");
		errno = 0;
		must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "not killed in",
			directory);
		must(read(told[0], &byte, 1) == 1, "no child in", directory);
		look_for_locks("thread", i * THREADS);
		look_for_locks("away", i * THREADS);
		close(told[0]);
		close(to_go[0]);
		close(to_go[1]);
	}
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int before = open_descriptors();

	if (argc != 3)
		return 2;
	directory = argv[1];
	if (!strcmp(argv[2], "die")) {
		fork_and_die();
		return 0;
	}
	if (strstr(argv[2], "-")) {
		let_child_be_first(argv[2]);
		return 0;
	}
	start_threads(threads, 0);
	if (!strcmp(argv[2], "fork"))
		fork_children();
	else if (!strcmp(argv[2], "vfork"))
		vfork_programs();
	else
		spawn_programs();
	atomic_store(&enough, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", directory);
	return 0;
}
