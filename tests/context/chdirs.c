/*
 * chdirs unlink|bind|rename ONE OTHER: a thread changes the directory from ONE to OTHER and back
 * all the time, while another makes calls on "app.sock", a relative path. In ONE that name is
 * stale, and made anew whenever it is gone; in OTHER it is somebody else's live socket.
 *
 * bind: with SO_REUSEADDR. Ends when there is nothing more to read, or when OTHER's name leads to
 * another inode than it did: then with status 1. Says "enough" after the rounds, and how many calls
 * took the stale name away.
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
static atomic_bool enough;

static void *change_directory(void *unused)
{
	for (unsigned int i = 0; !atomic_load(&enough); i++)
		if (fchdir(directories[i % 2]) != 0)
			die("fchdir", "");
	return unused;
}

/* mknod, and not bind: nothing of the guard's is wanted here. */
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

static void expect_untouched(const struct stat *before)
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
	int taken = 0;

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
	for (int i = 0; i < ROUNDS; i++) {
		make_stale();
		if (!strcmp(argv[1], "rename")) {
			make_fresh(directories[0]);
			make_fresh(directories[1]);
		}
		taken += make_call(argv[1]);
		expect_untouched(&before);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	printf("%d\n", taken);
	return 0;
}
