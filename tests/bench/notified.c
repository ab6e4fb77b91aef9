/*
 * notified: a supervisor that does the minimum that seccomp user notification requires. The cost of
 * sockguard's supervisor is compared with that of this one.
 *
 *     notified PROGRAM ARG...
 *
 * runs PROGRAM under a supervisor that receives each guarded call and tells the kernel to execute
 * it, without checking anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

/* Since Linux 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS      SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

static const unsigned int calls[] = {
#ifdef SYS_unlink
	SYS_unlink,
	SYS_rename,
	SYS_link,
#endif
#ifdef SYS_renameat
	SYS_renameat,
#endif
	SYS_bind,
	SYS_unlinkat,
	SYS_renameat2,
	SYS_linkat,
};
enum { CALLS = sizeof(calls) / sizeof(*calls) };

static int install_filter(void)
{
	struct sock_filter code[CALLS + 3] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	const struct sock_fprog program = {.len = CALLS + 3, .filter = code};
	const struct sock_filter pass = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_filter notify = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);

	for (int i = 0; i < CALLS; i++)
		code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i],
			(unsigned char)(CALLS - i), 0);
	code[CALLS + 1] = pass;
	code[CALLS + 2] = notify;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
		&program);
}

/* The filter applies to this process too. It makes none of the calls that the filter reports. */
static _Noreturn void supervise(int notify_fd)
{
	struct seccomp_notif call;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	for (;;) {
		struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

		memset(&call, 0, sizeof(call));
		if (ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
			continue;
		answer.id = call.id;
		ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

int main(int argc, char **argv)
{
	int notify_fd;
	pid_t child;

	if (argc < 2)
		errx(2, "usage: notified PROGRAM ARG...");
	notify_fd = install_filter();
	check(notify_fd >= 0, "seccomp");
	check(fcntl(notify_fd, F_SETFD, FD_CLOEXEC) == 0, "fcntl");
	child = fork();
	check(child >= 0, "fork");
	if (child == 0)
		supervise(notify_fd);
	execv(argv[1], argv + 1);
	err(1, "%s", argv[1]);
}
