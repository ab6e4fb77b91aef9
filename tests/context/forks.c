/*
 * forks DIRECTORY fork|vfork|spawn: threads make calls all the time, while the main thread creates
 * children. fork: it forks two hundred children, which immediately make calls too. vfork: the
 * children unlink a path between vfork and exec. spawn: it starts programs with posix_spawn and
 * system.
 *
 * forks DIRECTORY vfork-first|clone-first|clone-beside: a child that shares the parent's memory,
 * but not its descriptors, is the first to bind a path; then the parent binds a hundred paths, one
 * after the other. clone-first uses clone(CLONE_VM | CLONE_VFORK) directly; with clone-beside the
 * child runs until the end.
 *
 * forks DIRECTORY die: repeatedly, a process whose threads make calls forks and is killed at once.
 * Afterwards no mutex may be held, although the child has copies of the threads' descriptors.
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
	BINDS = 100
};

static const char *directory;
static atomic_bool stop;
static atomic_int rounds;

static void must(bool ok, const char *what, const char *path)
{
	if (!ok)
		die(what, path);
}

static void must_run_socket_life(const char *word, int number)
{
	char path[PATH_SIZE], away[PATH_SIZE];

	name_path(path, directory, word, number);
	name_path(away, directory, "away", number);
	const char *failed = run_socket_life(path, away);

	must(!failed, failed, path);
}

/* Uses a path that threads and children share. It may be absent or in use, but an unlink is never
 * refused. */
static void use_shared_path(void)
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
	while (!atomic_load(&stop)) {
		must_run_socket_life("thread", *(int *)number);
		use_shared_path();
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

/* Starts threads with the numbers from first on. Returns when all of them have made calls. */
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
	for (int i = 0; i < rounds_of(CHILDREN); i++) {
		pid_t child = fork();

		must(child >= 0, "fork", "");
		if (child == 0) {
			must_run_socket_life("child", THREADS + i);
			_exit(0);
		}
		if (i >= AT_ONCE)
			reap();
	}
	for (int i = 0; i < AT_ONCE; i++)
		reap();
}

/* Some programs make calls between vfork and exec, although POSIX forbids it. */
static void vfork_program(int number)
{
	char path[PATH_SIZE];
	int fd = new_socket();

	name_path(path, directory, "vfork", number);
	must(bind_to(fd, path) == 0, "bind", path);
	pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (child == 0) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Vfork): the subject of this test */
		if (unlink(path) == 0)
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
	for (int i = 0; i < rounds_of(PROGRAMS); i++)
		vfork_program(i);
	/* The children could not close the parent's claims. The guard finds the claims gradually,
	 * when paths are bound. */
	for (int i = 0; i < rounds_of(NAMES); i++)
		must_run_socket_life("after", THREADS + i % THREADS);
}

static void spawn_programs(void)
{
	extern char **environ;
	char *const words[] = {(char *)"true", NULL};
	pid_t child;

	for (int i = 0; i < rounds_of(PROGRAMS); i++) {
		errno = posix_spawn(&child, "/bin/true", NULL, NULL, words, environ);
		must(errno == 0, "posix_spawn", "true");
		reap();
		/* NOLINTNEXTLINE(cert-env33-c): this is what the test is about */
		must(system("true") == 0, "system", "true");
	}
}

/* Binds a path, closes the socket and then unlinks the path, as servers do after a handover. */
static void bind_close_unlink(const char *word, int number)
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

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* if the parent fails, it does not wait for the child */
	bind_close_unlink("child", 0);
	if (beside)
		_exit(write(child_ready[1], &byte, 1) != 1 || read(child_to_go[0], &byte, 1) < 0);
	_exit(0);
}

static pid_t start_first_child(const char *how)
{
	enum { STACK = 256 * 1024 };
	bool beside = !strcmp(how, "clone-beside");
	char *stack;

	if (!strcmp(how, "vfork-first")) {
		pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */

		if (child == 0)
			be_first(NULL); /* NOLINT(clang-analyzer-unix.Vfork): this test's
						  subject */
		return child;
	}
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(stack != MAP_FAILED, "mmap", "");
	return clone(be_first, stack + STACK, CLONE_VM | SIGCHLD | (beside ? 0 : CLONE_VFORK),
		beside ? child_ready : NULL);
}

static void test_child_first(const char *how)
{
	bool beside = !strcmp(how, "clone-beside");
	char byte;

	must(pipe2(child_ready, O_CLOEXEC) == 0 && pipe2(child_to_go, O_CLOEXEC) == 0, "pipe", "");
	pid_t child = start_first_child(how);
	must(child > 0, how, "");
	if (beside)
		must(read(child_ready[0], &byte, 1) == 1, "no child in", directory);
	else
		reap();
	int before = open_descriptors();
	for (int i = 0; i < rounds_of(BINDS); i++)
		bind_close_unlink("parent", i);
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", directory);
	if (beside) {
		close(child_to_go[1]);
		kill(child, SIGKILL); /* it would not see the end: it has a copy of the write end */
		must(waitpid(child, NULL, 0) == child, "wait", "");
	}
}

/* Forks and is killed at once. The child writes a byte to ready, and waits for the end of to_go. */
static _Noreturn void fork_and_be_killed(int ready, int to_go, int first)
{
	pthread_t threads[THREADS];

	start_threads(threads, first);
	if (fork() == 0) {
		char byte = 0;

		_exit(write(ready, &byte, 1) != 1 || read(to_go, &byte, 1) != 0);
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

/* A supervisor still finishes the calls of killed threads, and may hold the mutex for each. */
static bool stays_locked(const char *path)
{
	const struct timespec pause = {.tv_nsec = 10000000};

	for (int i = 0; is_locked(path); i++) {
		if (!is_supervised() || i == 1000)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void check_unlocked(const char *word, int first)
{
	for (int i = first; i < first + THREADS; i++) {
		char path[PATH_SIZE];
		char lock[PATH_SIZE + 16];
		const char *name;

		name_path(path, directory, word, i);
		name = strrchr(path, '/') + 1;
		snprintf(lock, sizeof(lock), "%.*s.%s.sockguard", (int)(name - path), path, name);
		errno = 0;
		must(!stays_locked(lock), "a mutex is held:", lock);
	}
}

static void fork_and_die(void)
{
	for (int i = 0; i < DEATHS; i++) {
		int ready[2], to_go[2], status = 0;
		char byte;

		must(pipe2(ready, O_CLOEXEC) == 0 && pipe2(to_go, O_CLOEXEC) == 0, "pipe", "");
		pid_t victim = fork();
		if (victim == 0) {
			close(to_go[1]);
			fork_and_be_killed(ready[1], to_go[0], i * THREADS);
		}
		close(ready[1]);
		must(victim > 0 && waitpid(victim, &status, 0) == victim, "fork", "");
		errno = 0;
		must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "not killed in",
			directory);
		must(read(ready[0], &byte, 1) == 1, "no child in", directory);
		check_unlocked("thread", i * THREADS);
		check_unlocked("away", i * THREADS);
		close(ready[0]);
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
		test_child_first(argv[2]);
		return 0;
	}
	start_threads(threads, 0);
	if (!strcmp(argv[2], "fork"))
		fork_children();
	else if (!strcmp(argv[2], "vfork"))
		vfork_programs();
	else
		spawn_programs();
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", directory);
	return 0;
}
