/*
 * steps: counts the instructions that a program executes in user space, by single-stepping it.
 *
 *     steps marks|whole LIBRARY PROGRAM [ARG...]
 *
 * "marks" counts between the marks of tests/bench/tally and prints "SITUATION: COUNT" for each.
 * "whole" counts from execve to the end and prints "PROGRAM: COUNT". LIBRARY is preloaded into
 * PROGRAM, a path; "-" means no library. The output of PROGRAM is discarded.
 *
 * Address randomization is off, so that each run gives the same count. A system call counts as one
 * instruction, and so does each iteration of a repeated instruction of x86 (rep movsb). Children
 * are not counted.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static pid_t tracee;
static bool whole;
static bool counting;
static long long steps;
static char situation[64];

/* ---- the program ---- */

/* A tracer that single-steps a program sees a system call only if a seccomp filter reports it. */
static void report_marks(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_access, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(*code), .filter = code};

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

static _Noreturn void run_tracee(const char *library, char **argv)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	check(null >= 0 && dup2(null, STDOUT_FILENO) >= 0, "/dev/null");
	check(personality(ADDR_NO_RANDOMIZE) >= 0, "personality");
	if (strcmp(library, "-") == 0)
		unsetenv("LD_PRELOAD");
	else
		setenv("LD_PRELOAD", library, 1);
	check(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "PTRACE_TRACEME");
	raise(SIGSTOP); /* until the tracer has set its options */
	if (!whole)
		report_marks();
	execv(argv[0], argv);
	err(127, "%s", argv[0]);
}

/* ---- the tracer ---- */

/* Reads the path of the access(2) call that the program is about to make, or the start of it. */
static void read_path(char *path, size_t size)
{
	struct __ptrace_syscall_info call;
	struct iovec here = {.iov_base = path, .iov_len = size - 1};
	struct iovec there = {.iov_len = size - 1};

	memset(path, 0, size);
	check(ptrace(PTRACE_GET_SYSCALL_INFO, tracee, sizeof(call), &call) > 0 &&
			call.op == PTRACE_SYSCALL_INFO_SECCOMP,
		"PTRACE_GET_SYSCALL_INFO");
	there.iov_base = (void *)(uintptr_t)call.seccomp.args[0];
	check(process_vm_readv(tracee, &here, 1, &there, 1, 0) > 0, "process_vm_readv");
}

static void on_access(void)
{
	char path[sizeof(situation) + 3];

	read_path(path, sizeof(path));
	if (strncmp(path, "== ", 3) != 0)
		return;
	if (counting)
		printf("%s: %lld\n", situation, steps);
	counting = path[3] != '\0';
	steps = 0;
	memcpy(situation, path + 3, sizeof(situation));
}

/* Returns the signal to deliver to the program, or 0. */
static int on_stop(int status)
{
	int event = status >> 16;

	if (event == PTRACE_EVENT_EXEC)
		counting = whole;
	else if (event == PTRACE_EVENT_SECCOMP)
		on_access();
	else if (WSTOPSIG(status) != SIGTRAP)
		return WSTOPSIG(status);
	else
		steps += counting;
	return 0;
}

static void trace(void)
{
	int status;
	long signal = 0;

	check(waitpid(tracee, &status, 0) == tracee && WIFSTOPPED(status), "the program");
	check(ptrace(PTRACE_SETOPTIONS, tracee, NULL,
		      PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP) == 0,
		"PTRACE_SETOPTIONS");
	do {
		check(ptrace(counting ? PTRACE_SINGLESTEP : PTRACE_CONT, tracee, NULL, signal) == 0,
			"step");
		check(waitpid(tracee, &status, 0) == tracee, "the program");
		if (WIFSTOPPED(status))
			signal = on_stop(status);
	} while (WIFSTOPPED(status));
	if (status != 0)
		errx(1, "the program ended with wait status %d", status);
}

int main(int argc, char **argv)
{
	if (argc < 4 || (strcmp(argv[1], "marks") != 0 && strcmp(argv[1], "whole") != 0))
		errx(2, "usage: steps marks|whole LIBRARY PROGRAM [ARG...]");
	whole = strcmp(argv[1], "whole") == 0;
	tracee = fork();
	check(tracee >= 0, "fork");
	if (tracee == 0)
		run_tracee(argv[2], argv + 3);
	trace();
	if (whole)
		printf("%s: %lld\n", argv[3], steps);
	return 0;
}
