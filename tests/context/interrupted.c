/*
 * interrupted DIRECTORY apart|same LIVE: makes calls, while a signal keeps interrupting it. The
 * signal's handler makes calls too, on a small stack of its own. apart: the handler uses other
 * paths than the main program. same: it uses the same paths, so a path may be absent or in use.
 * LIVE is the path of another process's socket, which the handler tries to unlink; the guard must
 * refuse it.
 *
 * Successful calls must leave errno unchanged, in the handler and in the main program. Neither may
 * wait for a mutex that the other holds.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "common.h"

enum { ROUNDS = 300, STACK = 8192 /* SIGSTKSZ */, PAGE = 4096, ERRNO_BEFORE = ENOTTY };

static char path[PATH_SIZE], away[PATH_SIZE], inner[PATH_SIZE], inner_away[PATH_SIZE];
static const char *rival;
static bool same;
static volatile sig_atomic_t interruptions;

/* One signal at a time, with growing delays, so that slow calls make progress too. */
static void interrupt_soon(void)
{
	struct itimerval soon = {.it_value.tv_usec = 20 + interruptions % 64 * 10};

	setitimer(ITIMER_REAL, &soon, NULL);
}

/* If both use the same paths, a call may find a path absent or present. But the guard must not
 * refuse any. */
static void check_result(const char *failed, const char *where)
{
	bool expected = same && failed &&
			(errno == ENOENT || errno == EEXIST ||
				(errno == EADDRINUSE && !strcmp(failed, "bind")));

	if (failed && !expected)
		die(failed, where);
	if (!failed && errno != ERRNO_BEFORE)
		die("errno was changed", where);
}

static void on_alarm(int number)
{
	int saved = errno;

	(void)number;
	if (unlink(rival) == 0 || errno != EADDRINUSE)
		die("no refusal", rival);
	errno = ERRNO_BEFORE;
	check_result(run_socket_life(inner, inner_away), "in the handler");
	if (same) {
		unlink(inner);
		unlink(inner_away);
	}
	errno = saved;
	interruptions++;
	interrupt_soon();
}

/* The page below the stack is inaccessible, so a handler that needs more stack crashes. */
static void use_small_stack(void)
{
	char *memory = mmap(NULL, PAGE + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);
	stack_t stack = {.ss_sp = memory + PAGE, .ss_size = STACK};

	if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE) != 0 ||
		sigaltstack(&stack, NULL) != 0)
		die("sigaltstack", "");
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART};
	int before = open_descriptors();

	if (argc != 4)
		return 2;
	same = !strcmp(argv[2], "same");
	rival = argv[3];
	name_path(path, argv[1], "path", 0);
	name_path(away, argv[1], "path", 1);
	name_path(inner, argv[1], "path", same ? 0 : 2);
	name_path(inner_away, argv[1], "path", same ? 1 : 3);
	use_small_stack();
	sigaction(SIGALRM, &action, NULL);
	interrupt_soon();
	for (int i = 0; i < rounds_of(ROUNDS) || interruptions < rounds_of(ROUNDS); i++) {
		errno = ERRNO_BEFORE;
		check_result(run_socket_life(path, away), "in the main program");
		if (same) {
			unlink(path);
			unlink(away);
		}
	}
	signal(SIGALRM, SIG_IGN);
	errno = 0;
	if (open_descriptors() != before)
		die("a descriptor is left in", argv[1]);
	return 0;
}
