/*
 * interrupted DIRECTORY apart|same LIVE: makes calls, and is interrupted all the time by a signal
 * whose handler makes them too, on a small stack of its own. apart: on other paths than the main
 * line's; same: on the same ones, where a name may be found gone or taken. LIVE is the path of
 * somebody else's socket, for the handler to be refused.
 *
 * Calls that succeed leave errno alone on both sides, and neither waits for what the other holds.
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

enum { ROUNDS = 300, STACK = 8192 /* SIGSTKSZ */, PAGE = 4096, LEFT_ALONE = ENOTTY };

static char path[PATH_SIZE], away[PATH_SIZE], inner[PATH_SIZE], inner_away[PATH_SIZE];
static const char *rival;
static bool same;
static volatile sig_atomic_t interruptions;

/* Once, and a little later each time: what takes longer than the pause must still get on. */
static void interrupt_soon(void)
{
	struct itimerval soon = {.it_value.tv_usec = 20 + interruptions % 64 * 10};

	setitimer(ITIMER_REAL, &soon, NULL);
}

/* Where the other side uses the paths too, they come and go; refused is a call in no case. */
static void check(const char *failed, const char *where)
{
	bool unlucky = same && failed &&
		       (errno == ENOENT || errno == EEXIST ||
			       (errno == EADDRINUSE && !strcmp(failed, "bind")));

	if (failed && !unlucky)
		die(failed, where);
	if (!failed && errno != LEFT_ALONE)
		die("errno was changed", where);
}

static void on_alarm(int number)
{
	int saved = errno;

	(void)number;
	if (unlink(rival) == 0 || errno != EADDRINUSE)
		die("no refusal", rival);
	errno = LEFT_ALONE;
	check(live(inner, inner_away), "in the handler");
	if (same) {
		unlink(inner);
		unlink(inner_away);
	}
	errno = saved;
	interruptions++;
	interrupt_soon();
}

/* With a page below it that nobody may touch: who needs more crashes. */
static void use_small_stack(void)
{
	char *room = mmap(NULL, PAGE + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);
	stack_t stack = {.ss_sp = room + PAGE, .ss_size = STACK};

	if (room == MAP_FAILED || mprotect(room, PAGE, PROT_NONE) != 0 ||
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
	for (int i = 0; i < ROUNDS || interruptions < ROUNDS; i++) {
		errno = LEFT_ALONE;
		check(live(path, away), "in the main line");
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
