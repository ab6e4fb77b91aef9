/*
 * jumped VERB PATH [PATH]: unlink, bind, rename or link waits for a mutex, and a signal handler
 * leaves the call with siglongjmp, as shells and old servers do. Prints "waiting" before the call.
 * Afterwards the thread's cancellation state must be as before, its signal mask the one that
 * sigsetjmp saved, and no additional descriptor open. The test writes to stdin when it has released
 * the mutex; then the same call must succeed.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common.h"

enum { JUMPS = 20 };

static sigjmp_buf jump_target;

static void jump(int number)
{
	(void)number;
	siglongjmp(jump_target, 1); /* NOLINT(cert-sig30-c): this is what the test is about */
}

static int make_call(char **words, int fd)
{
	const char *verb = words[0];

	if (!strcmp(verb, "unlink"))
		return unlink(words[1]);
	if (!strcmp(verb, "bind"))
		return bind_to(fd, words[1]);
	if (!strcmp(verb, "rename"))
		return rename(words[1], words[2]);
	return link(words[1], words[2]);
}

static void interrupt_in(long us)
{
	struct itimerval soon = {.it_value.tv_usec = us};

	setitimer(ITIMER_REAL, &soon, NULL);
}

static void check_thread(const sigset_t *before)
{
	sigset_t now;
	int state;

	errno = 0;
	if (pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state) != 0 ||
		state != PTHREAD_CANCEL_ENABLE)
		die("cancellation is still", "disabled");
	sigprocmask(SIG_SETMASK, NULL, &now);
	for (int number = 1; number < SIGRTMAX; number++)
		if (sigismember(&now, number) != sigismember(before, number))
			die("blocked signals", "have changed");
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = jump};
	int before;
	int fd = new_socket();
	sigset_t mask;
	char byte;

	if (argc < 3)
		return 2;
	sigaction(SIGALRM, &action, NULL);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	before = open_descriptors();
	puts("waiting");
	fflush(stdout);
	for (volatile int i = 0; i < JUMPS; i++) {
		if (sigsetjmp(jump_target, 1) == 0) {
			interrupt_in(1000 + i * 500);
			make_call(argv + 1, fd);
			errno = 0;
			die("the call did not wait:", argv[1]);
		}
		check_thread(&mask);
	}
	errno = 0;
	if (open_descriptors() != before)
		die("a descriptor is left by", argv[1]);
	puts("jumped");
	fflush(stdout);
	if (read(STDIN_FILENO, &byte, 1) != 1)
		return 2;
	errno = 0;
	if (make_call(argv + 1, fd) != 0)
		die(argv[1], argv[2]);
	return 0;
}
