/*
 * chdirs unlink|bind|rename ONE OTHER: one thread continuously changes the directory from ONE to
 * OTHER and back, while another makes calls on "app.sock", a relative path. In ONE that path is
 * stale, and is created again whenever it is absent. In OTHER it is another process's live socket.
 *
 * bind uses SO_REUSEADDR. Exits with status 1 if the path in OTHER leads to another inode than
 * before. Prints the number of calls that succeeded.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

enum { ROUNDS = 3000 };

static const char *const name = "app.sock";
static int directories[2];
static atomic_bool stop;
static atomic_uint changes;

static void *change_directory(void *unused)
{
	while (!atomic_load(&stop))
		if (fchdir(directories[atomic_fetch_add(&changes, 1) % 2]) != 0)
			die("fchdir", "");
	return unused;
}

/* mknod instead of bind, so that the guard is not involved. */
static void make_stale(void)
{
	if (mknodat(directories[0], name, S_IFSOCK | 0600, 0) != 0 && errno != EEXIST)
		die("mknod", name);
}

static bool make_call(const char *verb)
{
	int on = 1;
	int fd;
	bool done;

	if (!strcmp(verb, "unlink"))
		return unlink(name) == 0;
	if (!strcmp(verb, "rename"))
		return rename("fresh.sock", name) == 0;
	fd = new_socket();
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	done = bind_to(fd, name) == 0;
	close(fd);
	return done;
}

static void make_fresh(int directory)
{
	if (mknodat(directory, "fresh.sock", S_IFSOCK | 0600, 0) != 0 && errno != EEXIST)
		die("mknod", "fresh.sock");
}

static void expect_not_stolen(const struct stat *before)
{
	struct stat now;

	errno = 0;
	if (fstatat(directories[1], name, &now, AT_SYMLINK_NOFOLLOW) != 0 ||
		now.st_ino != before->st_ino || now.st_ctim.tv_nsec != before->st_ctim.tv_nsec) {
		errno = 0;
		die("stolen", name);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	struct stat before;
	int succeeded = 0;

	if (argc != 4)
		return 2;
	for (int i = 0; i < 2; i++) {
		directories[i] = open(argv[2 + i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (directories[i] < 0)
			die("open", argv[2 + i]);
	}
	if (fstatat(directories[1], name, &before, AT_SYMLINK_NOFOLLOW) != 0 ||
		fchdir(directories[0]) != 0)
		die("stat", name);
	errno = pthread_create(&thread, NULL, change_directory, NULL);
	if (errno != 0)
		die("pthread_create", "");
	while (atomic_load(&changes) < 100)
		usleep(100); /* the thread may start late */
	for (int i = 0; i < rounds_of(ROUNDS); i++) {
		make_stale();
		if (!strcmp(argv[1], "rename")) {
			make_fresh(directories[0]);
			make_fresh(directories[1]);
		}
		succeeded += make_call(argv[1]);
		expect_not_stolen(&before);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	printf("%d\n", succeeded);
	return 0;
}
