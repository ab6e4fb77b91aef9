/*
 * users: two processes start at the same instant on a stale path. Both unlink it, bind it
 * and listen, like servers.
 *
 * usage: users ROUNDS UID UID DIRECTORY
 *
 * Requires root. Lets the group GROUP write to the directory, in which the two processes run with
 * the two user IDs. Prints how often both of them served, which is a theft, because only the later
 * one is reachable at the path. The caller may preload the library.
 */
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUP 5000

enum phase {
	PREPARE,
	GO,
	END,
};

static struct sockaddr_un address = {.sun_family = AF_UNIX};

/* Shared by this process and the two that it starts. */
static struct {
	atomic_int ready;
	atomic_int phase;
	atomic_int started;
	atomic_int serving;
} * shared;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void change_user(uid_t uid)
{
	if (setgroups(0, NULL) != 0 || setgid(GROUP) != 0 || setuid(uid) != 0)
		die("setuid");
	umask(0007);
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* Binds a socket with a direct system call, so that it has no lock file, and exits. The path is
 * then stale. */
static void make_stale_and_exit(uid_t uid)
{
	change_user(uid);
	if (syscall(SYS_bind, new_socket(), &address, sizeof address) != 0)
		die("bind");
	exit(0);
}

static void start_server(uid_t uid)
{
	int fd;

	change_user(uid);
	fd = new_socket();
	shared->ready++;
	while (shared->phase == PREPARE)
		sched_yield();
	unlink(address.sun_path);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0)
		shared->serving++;
	shared->started++;
	while (shared->phase != END)
		usleep(1000);
	exit(0);
}

static void wait_until_both(const atomic_int *rounds_with)
{
	while (*rounds_with < 2)
		usleep(100);
}

static void wait_for_children(void)
{
	int status;

	while (wait(&status) > 0) {
		if (status != 0)
			exit(2);
	}
}

static pid_t fork_or_die(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	return pid;
}

/* Returns how many of the two serve. */
static int run_round(const uid_t uids[2])
{
	memset(shared, 0, sizeof *shared);
	if (fork_or_die() == 0)
		make_stale_and_exit(uids[0]);
	wait_for_children();
	for (int i = 0; i < 2; i++) {
		if (fork_or_die() == 0)
			start_server(uids[i]);
	}
	wait_until_both(&shared->ready);
	shared->phase = GO;
	wait_until_both(&shared->started);
	shared->phase = END;
	wait_for_children();
	unlink(address.sun_path);
	return shared->serving;
}

int main(int argc, char **argv)
{
	int rounds_with[3] = {0};
	uid_t uids[2];
	long rounds;

	if (argc != 5) {
		fputs("usage: users ROUNDS UID UID DIRECTORY\n", stderr);
		return 2;
	}
	rounds = strtol(argv[1], NULL, 10);
	for (int i = 0; i < 2; i++)
		uids[i] = (uid_t)strtoul(argv[2 + i], NULL, 10);
	if (snprintf(address.sun_path, sizeof address.sun_path, "%s/s", argv[4]) >=
			(int)sizeof address.sun_path ||
		chown(argv[4], 0, GROUP) != 0 || chmod(argv[4], 0770) != 0)
		die(argv[4]);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	if (shared == MAP_FAILED)
		die("mmap");
	for (long i = 0; i < rounds; i++)
		rounds_with[run_round(uids)]++;
	printf("thefts %d\nrefused %d\nnone served %d\n", rounds_with[2], rounds_with[1],
		rounds_with[0]);
	return 0;
}
