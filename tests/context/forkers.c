/*
 * forkers PATH MEGABYTES THREADS ROUNDS: a process with that much memory in use. THREADS threads
 * fork continuously; each waits until its child has ended before it forks again. Meanwhile, for
 * ROUNDS rounds, the main thread unlinks the path, binds it and closes the socket. No call may
 * fail. Prints the longest times, in microseconds, of a call and of a fork.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { MAX_THREADS = 64 };

static atomic_bool stop;
static atomic_int forks;
static _Atomic(int64_t) longest_fork;

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void update_longest_fork(int64_t us)
{
	int64_t longest = atomic_load(&longest_fork);

	while (us > longest && !atomic_compare_exchange_weak(&longest_fork, &longest, us))
		;
}

static void *keep_forking(void *unused)
{
	while (!atomic_load(&stop)) {
		int64_t begun = now_us();
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		update_longest_fork(now_us() - begun);
		if (child < 0 || waitpid(child, NULL, 0) != child)
			die("fork", "");
		atomic_fetch_add(&forks, 1);
	}
	return unused;
}

static void use_memory(size_t megabytes)
{
	char *memory = mmap(NULL, megabytes << 20, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap", "");
	/* No huge pages, so that a fork has many page table entries to copy. */
	madvise(memory, megabytes << 20, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < megabytes << 20; at += 4096)
		memory[at] = 1;
}

static int64_t longer_of(int64_t longest, int64_t begun)
{
	int64_t took = now_us() - begun;

	return took > longest ? took : longest;
}

static int64_t make_calls(const char *path, int rounds)
{
	int64_t longest = 0;

	for (int i = 0; i < rounds; i++) {
		int64_t begun = now_us();
		int fd = new_socket();

		if (unlink(path) != 0 && errno != ENOENT)
			die("unlink", path);
		longest = longer_of(longest, begun);
		begun = now_us();
		if (bind_to(fd, path) != 0)
			die("bind", path);
		longest = longer_of(longest, begun);
		close(fd);
	}
	if (unlink(path) != 0)
		die("unlink", path);
	return longest;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	int count;
	int64_t longest;

	if (argc != 5)
		return 2;
	use_memory(strtoul(argv[2], NULL, 10));
	count = (int)strtol(argv[3], NULL, 10);
	for (int i = 0; i < count; i++) {
		errno = pthread_create(&threads[i], NULL, keep_forking, NULL);
		if (errno != 0)
			die("pthread_create", "");
	}
	while (atomic_load(&forks) < count)
		usleep(1000);
	longest = make_calls(argv[1], (int)strtol(argv[4], NULL, 10));
	atomic_store(&stop, true);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("%lld %lld\n", (long long)longest, (long long)atomic_load(&longest_fork));
	return 0;
}
