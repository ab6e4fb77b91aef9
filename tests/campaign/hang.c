#include "hang.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "referee.h"

/* START_TIME: the number of this field in /proc/PID/stat. Field 2 ends with ")". */
enum { START_TIME = 22 };

enum { PID_BITS = 22, CALLS = sizeof(struct hang_calls) / sizeof(atomic_ulong) };

/* Milliseconds since boot. The start times of processes count from boot as well. */
static unsigned long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return (unsigned long)time.tv_sec * 1000 + (unsigned long)time.tv_nsec / 1000000;
}

static void pause_ms(void)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	nanosleep(&pause, NULL);
}

/* ---- processes ---- */

/* Reads a file in /proc/PID, and replaces its newlines with spaces. */
static const char *read_entry(pid_t pid, const char *entry, char *text, size_t size)
{
	char name[64];
	ssize_t length;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/%s", (int)pid, entry);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? 0 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[length < 0 ? 0 : length] = '\0';
	for (char *byte = text; *byte; byte++)
		if (*byte == '\n')
			*byte = ' ';
	return text;
}

/* Returns true if the process exists, is not a zombie, and started no later than `time`. */
static bool has_run_since(pid_t pid, unsigned long time)
{
	char text[1024];
	const char *word = strrchr(read_entry(pid, "stat", text, sizeof(text)), ')');
	unsigned long tick = (unsigned long)sysconf(_SC_CLK_TCK);

	if (!word || strncmp(word, ") Z", 3) == 0 || strncmp(word, ") X", 3) == 0)
		return false;
	for (int i = 2; word && i < START_TIME; i++)
		word = strchr(word + 1, ' ');
	return word && strtoul(word, NULL, 10) * 1000 / tick <= time;
}

static void describe(pid_t pid)
{
	char stat[96], wchan[64], syscall[64], stack[200];

	referee_report("process %.90s, waits in %s, system call %s, stack %s",
		read_entry(pid, "stat", stat, sizeof(stat)),
		read_entry(pid, "wchan", wchan, sizeof(wchan)),
		read_entry(pid, "syscall", syscall, sizeof(syscall)),
		read_entry(pid, "stack", stack, sizeof(stack)));
}

int hang_list_children(pid_t parent, pid_t pids[HANG_MAX_PIDS], int count)
{
	char entry[32], text[8192];
	char *rest = NULL;

	snprintf(entry, sizeof(entry), "task/%d/children", (int)parent);
	read_entry(parent, entry, text, sizeof(text));
	for (char *word = strtok_r(text, " ", &rest); word && count < HANG_MAX_PIDS;
		word = strtok_r(NULL, " ", &rest))
		pids[count++] = (pid_t)strtol(word, NULL, 10);
	return count;
}

void hang_describe_processes(void)
{
	pid_t pids[HANG_MAX_PIDS];
	int count = hang_list_children(getpid(), pids, 0);

	for (int i = 0; i < count; i++) {
		describe(pids[i]);
		count = hang_list_children(pids[i], pids, count);
	}
}

void hang_kill_processes(void)
{
	unsigned long until = now() + HANG_SECONDS * 1000;
	pid_t pids[HANG_MAX_PIDS];

	while (now() < until && (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)) {
		for (int i = hang_list_children(getpid(), pids, 0); i > 0; i--)
			kill(pids[i - 1], SIGKILL);
		pause_ms();
	}
}

int hang_await_child(pid_t pid)
{
	unsigned long until = now() + HANG_SECONDS * 1000;
	int status = -1;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		pause_ms();
		if (now() < until)
			continue;
		referee_report("HANG: process %d does not end", (int)pid);
		hang_describe_processes();
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		break;
	}
	return status;
}

/* ---- calls ---- */

static atomic_ulong *entry_of(struct hang_calls *calls, pid_t pid)
{
	return &calls->in_progress[(unsigned int)pid % CALLS];
}

static pid_t caller_of(unsigned long call)
{
	return (pid_t)(call & ((1UL << PID_BITS) - 1));
}

void hang_begin_call(struct hang_calls *calls)
{
	pid_t pid = getpid();

	atomic_store(entry_of(calls, pid), now() << PID_BITS | (unsigned long)pid);
}

void hang_end_call(struct hang_calls *calls)
{
	pid_t pid = getpid();
	unsigned long call = atomic_load(entry_of(calls, pid));

	if (caller_of(call) == pid)
		atomic_compare_exchange_strong(entry_of(calls, pid), &call, 0);
}

/* Returns the caller of a call that is in progress and began before `time`, or 0. */
static pid_t find_caller(struct hang_calls *calls, unsigned long time)
{
	for (int i = 0; i < CALLS; i++) {
		unsigned long call = atomic_load(&calls->in_progress[i]);
		unsigned long began = call >> PID_BITS;

		if (call != 0 && began < time && has_run_since(caller_of(call), began) &&
			atomic_load(&calls->in_progress[i]) == call)
			return caller_of(call);
	}
	return 0;
}

bool hang_await_calls(struct hang_calls *calls)
{
	unsigned long time = now();
	pid_t caller;

	while ((caller = find_caller(calls, time)) > 0) {
		pause_ms();
		if (now() - time < HANG_SECONDS * 1000)
			continue;
		referee_report("HANG: a call of process %d does not end", (int)caller);
		hang_describe_processes();
		return false;
	}
	return true;
}
