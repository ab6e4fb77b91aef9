#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since Linux 5.9. The headers may be older than the kernel, as those of Ubuntu 20.04 are. */
#ifndef SECCOMP_IOCTL_NOTIF_ADDFD
#define SECCOMP_ADDFD_FLAG_SETFD  (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_ADDFD SECCOMP_IOW(3, struct seccomp_notif_addfd)
struct seccomp_notif_addfd {
	__u64 id;
	__u32 flags, srcfd, newfd, newfd_flags;
};
#endif
/* Since Linux 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS      SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

bool notify_structures_fit(void)
{
	struct seccomp_notif_sizes sizes;

	return syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) == 0 &&
	       sizes.seccomp_notif <= sizeof(union notification) &&
	       sizes.seccomp_notif_resp <= sizeof(union notification);
}

/* A signal may interrupt the ioctl while it waits for a lock of the kernel, before any effect. */
static int control(int notify_fd, unsigned long request, void *argument)
{
	int result;

	do
		result = ioctl(notify_fd, request, argument);
	while (result < 0 && errno == EINTR);
	return result;
}

int notify_receive(int notify_fd, union notification *notification)
{
	memset(notification, 0, sizeof(*notification));
	return ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_RECV, notification);
}

bool notify_wait(int notify_fd)
{
	struct pollfd calls = {.fd = notify_fd, .events = POLLIN};

	return poll(&calls, 1, -1) == 1 && (calls.revents & POLLIN);
}

bool notify_is_valid(int notify_fd, uint64_t id)
{
	return control(notify_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

bool notify_filter_is_unused(int notify_fd)
{
	struct pollfd users = {.fd = notify_fd};

	return poll(&users, 1, 0) == 1;
}

static int respond(int notify_fd, const struct seccomp_notif_resp *answer)
{
	union {
		struct seccomp_notif_resp answer;
		uint64_t space[64];
	} response;

	memset(&response, 0, sizeof(response));
	response.answer = *answer;
	return control(notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

int notify_continue(int notify_fd, uint64_t id)
{
	const struct seccomp_notif_resp answer = {
		.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	return respond(notify_fd, &answer);
}

int notify_answer(int notify_fd, uint64_t id, int result, int error)
{
	const struct seccomp_notif_resp answer = {
		.id = id, .val = result == 0 ? 0 : -1, .error = result == 0 ? 0 : -error};

	return respond(notify_fd, &answer);
}

int notify_restart(int notify_fd, uint64_t id)
{
	enum { ERESTARTNOINTR = 513 }; /* internal to the kernel, not in its UAPI headers */

	return notify_answer(notify_fd, id, -1, ERESTARTNOINTR);
}

int notify_inject(int notify_fd, uint64_t id, int fd, int number)
{
	struct seccomp_notif_addfd descriptor = {
		.id = id,
		.flags = number < 0 ? 0 : (uint32_t)SECCOMP_ADDFD_FLAG_SETFD,
		.srcfd = (uint32_t)fd,
		.newfd = number < 0 ? 0 : (uint32_t)number,
		.newfd_flags = O_CLOEXEC,
	};

	return control(notify_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &descriptor);
}

void notify_use_sync_wake_up(int notify_fd)
{
	/* The argument is the flags, not a pointer to them. */
	ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}
