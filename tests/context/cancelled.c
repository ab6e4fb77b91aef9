/*
 * cancelled DIRECTORY deferred|asynchronous: cancels threads that make calls, again and again. None
 * ends amid a call, no mutex is held afterwards, and no descriptor is left.
 *
 * deferred: a thread is cancelled between its calls. asynchronous: it may be cancelled anywhere
 * while it computes, and makes its calls in between; POSIX has no such calls made in that state.
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
static volatile bool amid; /* in one of the calls */

static void must(bool good, const char *what, const char *where)
{
	if (!good)
		die(what, where);
}

/* close is a cancellation point. */
static void close_it(void *fd)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	close(*(int *)fd);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

static void make_calls(int fd)
{
	amid = true;
	must(bind_to(fd, path) == 0, "bind", path);
	must(rename(path, away) == 0, "rename", path);
	must(unlink(away) == 0, "unlink", away);
	amid = false;
}

/* Cancelled anywhere in here. */
static void compute(void)
{
	/* NOLINTNEXTLINE(cert-pos47-c): what is tried here */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (volatile int i = 0; i < 10000; i++)
		;
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
}

static void *live_until_cancelled(void *unused)
{
	for (;;) {
		if (asynchronous)
			compute();
		int fd = new_socket();

		pthread_cleanup_push(close_it, &fd);
		make_calls(fd);
		pthread_testcancel();
		pthread_cleanup_pop(1);
		atomic_fetch_add(&rounds, 1);
	}
	return unused;
}

static void cancel_one(int chance)
{
	pthread_t thread;
	void *result;
	int seen = atomic_load(&rounds);

	errno = pthread_create(&thread, NULL, live_until_cancelled, NULL);
	must(errno == 0, "pthread_create", "");
	while (atomic_load(&rounds) == seen)
		usleep(50);
	usleep((useconds_t)chance);
	pthread_cancel(thread);
	errno = pthread_join(thread, &result);
	must(errno == 0, "pthread_join", path);
	must(result == PTHREAD_CANCELED, "not cancelled", path);
	must(!amid, "cancelled amid a call", path);
}

/* With a mutex held by the thread that is gone, each would be refused after a long wait. */
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
	cancel_one(0); /* the first loads what cancellation needs */
	clean_up();
	int before = open_descriptors();
	for (int i = 0; i < THREADS; i++) {
		cancel_one(i * 7 % 300);
		clean_up();
	}
	errno = 0;
	must(open_descriptors() == before, "a descriptor is left in", argv[1]);
	return 0;
}
