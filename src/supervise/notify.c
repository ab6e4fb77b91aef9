#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of Linux 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS      SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

bool notify_fits(void)
{
	struct seccomp_notif_sizes sizes;

	return syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) == 0 &&
	       sizes.seccomp_notif <= sizeof(union notice) &&
	       sizes.seccomp_notif_resp <= sizeof(union notice);
}

int notify_receive(int listener, union notice *notice)
{
	memset(notice, 0, sizeof(*notice));
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notice);
}

bool notify_valid(int listener, uint64_t id)
{
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static int respond(int listener, const struct seccomp_notif_resp *answer)
{
	union {
		struct seccomp_notif_resp answer;
		uint64_t space[64];
	} response;

	memset(&response, 0, sizeof(response));
	response.answer = *answer;
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

int notify_continue(int listener, uint64_t id)
{
	const struct seccomp_notif_resp answer = {
		.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	return respond(listener, &answer);
}

int notify_answer(int listener, uint64_t id, int result, int error)
{
	const struct seccomp_notif_resp answer = {
		.id = id, .val = result == 0 ? 0 : -1, .error = result == 0 ? 0 : -error};

	return respond(listener, &answer);
}

int notify_inject(int listener, uint64_t id, int fd, int number)
{
	struct seccomp_notif_addfd descriptor = {
		.id = id,
		.flags = SECCOMP_ADDFD_FLAG_SETFD,
		.srcfd = (uint32_t)fd,
		.newfd = (uint32_t)number,
		.newfd_flags = O_CLOEXEC,
	};

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &descriptor);
}

void notify_wake_fast(int listener)
{
	/* The flags are the argument itself. */
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}
