#include "trap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since Linux 5.19. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/* The ABIs beside the native one. libseccomp ignores system calls that an ABI lacks. */
static const uint32_t other_abis[] = {
#if defined(__x86_64__)
	SCMP_ARCH_X86,
	SCMP_ARCH_X32,
#elif defined(__i386__)
	SCMP_ARCH_X86_64,
	SCMP_ARCH_X32,
#elif defined(__aarch64__)
	SCMP_ARCH_ARM,
#endif
	0,
};

static const char *const stopped_calls[] = {
	"bind", "unlink", "rename", "renameat", "renameat2", "link", "linkat"};

static int add_rules(scmp_filter_ctx filter, const struct trap *trap)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof(stopped_calls) / sizeof(stopped_calls[0]); i++)
		failed |= seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
			seccomp_syscall_resolve_name(stopped_calls[i]), 0);
	/* With AT_REMOVEDIR, unlinkat cannot remove a socket. */
	failed |=
		seccomp_rule_add(filter, SCMP_ACT_NOTIFY, seccomp_syscall_resolve_name("unlinkat"),
			1, SCMP_A2(SCMP_CMP_MASKED_EQ, (uint32_t)AT_REMOVEDIR, 0));
	if (!trap->allows_rings)
		failed |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
			seccomp_syscall_resolve_name("io_uring_setup"), 0);
	return failed;
}

static int compose_filter(scmp_filter_ctx filter, const struct trap *trap)
{
	/* No call of an ABI that other_abis lacks may bypass the filter. */
	int failed = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

	for (size_t i = 0; other_abis[i] != 0; i++)
		failed |= seccomp_arch_add(filter, other_abis[i]);
	return failed | add_rules(filter, trap);
}

/* libseccomp 2.5 can export a filter only to a file. */
static bool read_program(int fd, struct trap *trap)
{
	struct stat found;
	void *words;

	if (fstat(fd, &found) != 0)
		return false;
	words = malloc((size_t)found.st_size);
	if (!words || pread(fd, words, (size_t)found.st_size, 0) != (ssize_t)found.st_size) {
		free(words);
		return false;
	}
	trap->program.filter = words;
	trap->program.len = (unsigned short)((size_t)found.st_size / sizeof(struct sock_filter));
	return true;
}

bool trap_generate(struct trap *trap)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int fd = memfd_create("filter", MFD_CLOEXEC);
	bool generated = false;

	errno = ENOSYS; /* the usual reason: the kernel lacks notifications */
	if (filter && fd >= 0 && compose_filter(filter, trap) == 0 &&
		seccomp_export_bpf(filter, fd) == 0)
		generated = read_program(fd, trap);
	seccomp_release(filter);
	if (fd >= 0)
		close(fd);
	return generated;
}

static int install_with(const struct trap *trap, unsigned long flags)
{
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, &trap->program);
}

int trap_install(const struct trap *trap)
{
	unsigned long flags = SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	int notify_fd = install_with(trap, flags);

	if (notify_fd < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		notify_fd = install_with(trap, flags);
	if (notify_fd < 0 && errno == EINVAL) {
		flags = 0;
		notify_fd = install_with(trap, flags);
	}
	if (notify_fd < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		notify_fd = install_with(trap, flags);
	if (notify_fd < 0 && errno == EINVAL)
		errno = ENOSYS;
	return notify_fd;
}

/* The kernel checks the flags before it reads the filter. */
bool trap_ignores_signals(void)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		       NULL) < 0 &&
	       errno == EFAULT;
}
