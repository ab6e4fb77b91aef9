#include "supervisors.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hang.h"
#include "referee.h"
#include "server.h"

enum { ATTACK_ONE_IN = 30, KILL_ALL_ONE_IN = 12, STOP_ONE_IN = 4 };

/*
 * Appends the children that are supervisors: these have their own sessions, all others are in ours.
 * Reaps our own children among them.
 */
static int list_children(pid_t parent, pid_t *pids, int count)
{
	int end = hang_list_children(parent, pids, count);

	for (int i = count; i < end; i++) {
		pid_t session = getsid(pids[i]);

		if (session > 0 && session != getsid(0) &&
			waitpid(pids[i], NULL, WNOHANG) != pids[i])
			pids[count++] = pids[i];
	}
	return count;
}

/* Lists one supervisor's processes, the keeper first. */
static int list_supervisor(pid_t keeper, pid_t *pids)
{
	int count = 1;

	pids[0] = keeper;
	for (int i = 0; i < count; i++)
		count = list_children(pids[i], pids, count);
	return count;
}

static void signal_and_count(pid_t pid, int number)
{
	if (kill(pid, number) == 0)
		atomic_fetch_add(number == SIGKILL ? &referee_counts()->supervisors
						   : &referee_counts()->stopped,
			1);
}

/* If the keeper of a stopped process has been killed, no other process would continue it. */
static void stop_and_count(pid_t pid)
{
	siginfo_t info;

	signal_and_count(pid, SIGSTOP);
	if (waitid(P_PID, (id_t)pid, &info, WNOHANG | WNOWAIT | WEXITED) == 0)
		kill(pid, SIGCONT); /* it is our child now */
}

void supervisors_attack(void)
{
	pid_t pids[HANG_MAX_PIDS];
	int count;

	if (chance(ATTACK_ONE_IN) != 0)
		return;
	count = list_children(getpid(), pids, 0);
	if (count == 0)
		return;
	count = list_supervisor(pids[chance((unsigned int)count)], pids);
	if (chance(KILL_ALL_ONE_IN) == 0) {
		for (int i = 0; i < count; i++)
			signal_and_count(pids[i], SIGKILL);
		return;
	}
	/* No other process would continue a stopped keeper. */
	if (count > 1 && chance(STOP_ONE_IN) == 0)
		stop_and_count(pids[1 + chance((unsigned int)count - 1)]);
	else
		signal_and_count(pids[chance((unsigned int)count)], SIGKILL);
}

bool supervisors_end_group(pid_t group)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; i < HANG_SECONDS * 1000; i++) {
		kill(-group, SIGKILL);
		while (waitpid(-group, NULL, WNOHANG) > 0)
			;
		if (kill(-group, 0) != 0 && errno == ESRCH)
			return true;
		nanosleep(&pause, NULL);
	}
	referee_report("HANG: group %d does not die", (int)group);
	hang_describe_processes();
	return false;
}

bool supervisors_await_end(void)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	pid_t pid = 0;

	for (int i = 0; i < HANG_SECONDS * 1000 && pid >= 0; i++) {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		nanosleep(&pause, NULL);
	}
	if (pid < 0)
		return true;
	referee_report("HANG: a supervisor supervises no process, and does not end");
	hang_describe_processes();
	hang_kill_processes();
	return false;
}
