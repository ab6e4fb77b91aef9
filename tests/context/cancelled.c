/*
 * cancelled DIRECTORY deferred|asynchronous: repeatedly cancels a thread that makes calls. It must
 * not end during a call. Afterwards, no mutex may be held and no additional descriptor open.
 *
 * deferred: a thread is cancelled between its calls. asynchronous: it can also be cancelled at any
 * point of a computation between its calls. POSIX does not allow such calls in that state, so the
 * thread leaves it before it makes them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

enum { THREADS = 200 };

static char path[PATH_SIZE], away[PATH_SIZE];
static atomic_int rounds;
static bool asynchronous;
static volatile bool calling; /* a call is in progress */

static void must(bool ok, const char *what, const char *where)
{
	if (!ok)
		die(what, where);
}

/* Disables cancellation, because close is a cancellation point. */
static void close_socket(void *fd)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	close(*(int *)fd);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

static void make_calls(int fd)
{
	calling = true;
	must(bind_to(fd, path) == 0, "bind", path);
	must(rename(path, away) == 0, "rename", path);
	must(unlink(away) == 0, "unlink", away);
	calling = false;
}

/* A thread can be cancelled at any point in here. */
static void compute(void)
{
	/* NOLINTNEXTLINE(cert-pos47-c): this is what the test is about */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (volatile int i = 0; i < 10000; i++)
		;
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
}

static void *make_calls_until_cancelled(void *unused)
{
	for (;;) {
		if (asynchronous)
			compute();
		int fd = new_socket();

		pthread_cleanup_push(close_socket, &fd);
		make_calls(fd);
		pthread_testcancel();
		pthread_cleanup_pop(1);
		atomic_fetch_add(&rounds, 1);
	}
	return unused;
}

static void cancel_one(int delay)
{
	pthread_t thread;
	void *result;
	int seen = atomic_load(&rounds);

	errno = pthread_create(&thread, NULL, make_calls_until_cancelled, NULL);
	must(errno == 0, "pthread_create", "");
	while (atomic_load(&rounds) == seen)
		usleep(50);
	usleep((useconds_t)delay);
	pthread_cancel(thread);
	errno = pthread_join(thread, &result);
	must(errno == 0, "pthread_join", path);
	must(result == PTHREAD_CANCELED, "not cancelled", path);
	must(!calling, "cancelled during a call", path);
}

/* If the cancelled thread still held a mutex, each call would be refused after a long wait. */
static void clean_up(void)
{
	must(unlink(path) == 0 || errno == ENOENT, "unlink", path);
	must(unlink(away) == 0 || errno == ENOENT, "unlink", away);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	asynchronous = !strcmp(argv[2], "asynchronous");
	name_path(path, argv[1], "path", 0);
	name_path(away, argv[1], "path", 1);
	cancel_one(0); /* the first cancellation loads libgcc_s */
	clean_up();
	int before = open_descriptors();
	for (int i = 0; i < rounds_of(THREADS); i++) {
		cancel_one(i * 7 % 300);
		clean_up();
	}
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", argv[1]);
	return 0;
}
