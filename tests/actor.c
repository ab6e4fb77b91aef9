/*
 * An actor: a process that makes the calls that a test requests, one at a time.
 *
 * The control socket is a SOCK_SEQPACKET socket: descriptor 0, or the descriptor that the first
 * argument names, because podman uses 0 itself. A packet is a command: words that each end in a NUL
 * byte, perhaps with one descriptor attached. The answer is one packet: the result, errno, and a
 * text, which may be empty. When the actor is ready, it sends an answer with the result 0. It exits
 * when the other end is closed, so that no actor outlives a test that is killed.
 *
 * It uses only libc, because it is also built against musl and for 32 bits.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONTROL = 0, WORDS = 16, PACKET = 16384 };

/* musl before 1.2.6 does not define it; the command "renameat2" then fails with ENOSYS. */
extern int renameat2(int, const char *, int, const char *, unsigned) __attribute__((weak));

static const char *self;         /* the program that "exec" executes */
static int attached = -1;        /* the descriptor that came with the command */
static char answer_text[PACKET]; /* the text of the next answer */

static int number(const char *word)
{
	return (int)strtol(word, NULL, 0);
}

/* Copies bytes to just before an unreadable page, so that a read past the length crashes. */
static void *copy_before_guard_page(const void *bytes, size_t length)
{
	static char *page;
	size_t size = (size_t)sysconf(_SC_PAGESIZE);

	if (!page) {
		page = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
		if (page == MAP_FAILED || mprotect(page + size, size, PROT_NONE))
			abort();
	}
	return memcpy(page + size - length, bytes, length);
}

/* Decodes a socket address from hexadecimal. The bytes after it cannot be read. */
static const struct sockaddr *address(const char *hex)
{
	unsigned char bytes[PACKET / 2];
	size_t length = 0;

	for (; hex[0] && hex[1]; hex += 2) {
		char digits[3] = {hex[0], hex[1], '\0'};

		bytes[length++] = (unsigned char)strtoul(digits, NULL, 16);
	}
	return copy_before_guard_page(bytes, length);
}

static long do_socket(char **word)
{
	int type = SOCK_STREAM;

	if (!strcmp(word[1], "tcp"))
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!strcmp(word[1], "dgram"))
		type = SOCK_DGRAM;
	else if (!strcmp(word[1], "seqpacket"))
		type = SOCK_SEQPACKET;
	return socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
}

static long do_option(char **word)
{
	int option = !strcmp(word[2], "reuseport") ? SO_REUSEPORT : SO_REUSEADDR;
	int on = 1;

	return setsockopt(number(word[1]), SOL_SOCKET, option, &on, sizeof(on));
}

static long do_bind(char **word)
{
	return bind(number(word[1]), address(word[2]), (socklen_t)number(word[3]));
}

static long do_connect(char **word)
{
	return connect(number(word[1]), address(word[2]), (socklen_t)number(word[3]));
}

static long do_listen(char **word)
{
	return listen(number(word[1]), number(word[2]));
}

/* Fails with EAGAIN if no client is waiting. */
static long do_accept(char **word)
{
	struct pollfd ready = {.fd = number(word[1]), .events = POLLIN};

	if (poll(&ready, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return accept4(ready.fd, NULL, NULL, SOCK_CLOEXEC);
}

static long do_receive(char **word)
{
	ssize_t length = recv(number(word[1]), answer_text, sizeof(answer_text) - 1, MSG_DONTWAIT);

	answer_text[length > 0 ? length : 0] = '\0';
	return length;
}

static long do_shutdown(char **word)
{
	return shutdown(number(word[1]), SHUT_RDWR);
}

static long do_close(char **word)
{
	return close(number(word[1]));
}

/* Closes in a loop, like old daemons, but stops at 2^20, because the limit may be a billion. */
static long do_closefrom(char **word)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > 1 << 20)
		limit.rlim_cur = 1 << 20;
	for (int fd = number(word[1]); fd < (int)limit.rlim_cur; fd++)
		close(fd);
	return 0;
}

static long do_dup2(char **word)
{
	return dup2(number(word[1]), number(word[2]));
}

static long do_open(char **word)
{
	return open(word[1], number(word[2]) | O_CLOEXEC, 0600);
}

static long do_unlink(char **word)
{
	return unlink(word[1]);
}

static long do_unlinkat(char **word)
{
	return unlinkat(number(word[1]), word[2], number(word[3]));
}

static long do_remove(char **word)
{
	return remove(word[1]);
}

static long do_rename(char **word)
{
	return rename(word[1], word[2]);
}

static long do_renameat(char **word)
{
	return renameat(number(word[1]), word[2], number(word[3]), word[4]);
}

static long do_renameat2(char **word)
{
	if (!renameat2) {
		errno = ENOSYS;
		return -1;
	}
	return renameat2(number(word[1]), word[2], number(word[3]), word[4],
		(unsigned)number(word[5]));
}

static long do_link(char **word)
{
	return link(word[1], word[2]);
}

static long do_linkat(char **word)
{
	return linkat(number(word[1]), word[2], number(word[3]), word[4], number(word[5]));
}

static long do_chdir(char **word)
{
	return chdir(word[1]);
}

static long do_umask(char **word)
{
	return (long)umask((mode_t)number(word[1]));
}

static long do_setuid(char **word)
{
	uid_t uid = (uid_t)number(word[1]);

	if (setgroups(0, NULL) || setgid(uid))
		return -1;
	return setuid(uid);
}

static long do_chroot(char **word)
{
	return chroot(word[1]) || chdir("/") ? -1 : 0;
}

static long do_unshare(char **word)
{
	static const struct {
		const char *name;
		int flag;
	} kinds[] = {{"mounts", CLONE_NEWNS}, {"net", CLONE_NEWNET}, {"pid", CLONE_NEWPID},
		{"user", CLONE_NEWUSER}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(word[1], kinds[i].name))
			return unshare(kinds[i].flag);
	errno = EINVAL;
	return -1;
}

static long do_mount(char **word)
{
	return mount(word[1], word[2], word[3], (unsigned long)number(word[4]), word[5]);
}

static long send_descriptor(int over, int fd)
{
	char byte = '!';
	struct iovec data = {&byte, 1};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.align.cmsg_len = CMSG_LEN(sizeof(int))};
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};

	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	return sendmsg(over, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* Returns the result of recvmsg(2), and stores the attached descriptor or -1 in *fd. */
static ssize_t receive(int over, void *buffer, size_t size, int *fd)
{
	struct iovec data = {buffer, size};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t length;

	do
		length = recvmsg(over, &message, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	*fd = -1;
	if (length >= 0 && CMSG_FIRSTHDR(&message))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(*fd));
	return length;
}

static long do_sendfd(char **word)
{
	return send_descriptor(number(word[1]), number(word[2]));
}

static long do_receivefd(char **word)
{
	char byte;
	int fd;

	return receive(number(word[1]), &byte, 1, &fd) < 0 ? -1 : fd;
}

/* Keeps the descriptor that came with the command. */
static long do_import(char **word)
{
	int fd = attached;

	(void)word;
	attached = -1;
	return fd;
}

/* The child's control socket is the one that came with the command. */
static long do_fork(char **word)
{
	pid_t pid = fork();

	(void)word;
	if (pid == 0) {
		dup2(attached, CONTROL);
		close(attached);
		attached = -1;
	}
	return pid;
}

/* If exec succeeds, the new program sends the answer, 0. */
static long do_exec(char **word)
{
	for (int i = 1; word[i]; i++)
		fcntl(number(word[i]), F_SETFD, 0);
	return execl(self, self, (char *)NULL);
}

/* Starts like most servers: unlink, bind, listen. The answer's text is the errno of the unlink. */
static long do_start(char **word)
{
	int fd = number(word[2]);

	errno = 0;
	unlink(word[1]);
	snprintf(answer_text, sizeof(answer_text), "%d", errno);
	if (bind(fd, address(word[3]), (socklen_t)number(word[4])))
		return -1;
	return listen(fd, 16);
}

static long do_exit(char **word)
{
	_exit(number(word[1]));
}

static long run_command(char **word);

/* Runs the rest of the command at a given time, so that several actors can act at once. */
static long do_at(char **word)
{
	long long ns = strtoll(word[1], NULL, 10);
	struct timespec then = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR)
		;
	return run_command(word + 2);
}

static const struct {
	const char *name;
	int words; /* the minimum number of arguments */
	long (*call)(char **word);
} commands[] = {
	{"accept", 1, do_accept},
	{"at", 2, do_at},
	{"bind", 3, do_bind},
	{"chdir", 1, do_chdir},
	{"chroot", 1, do_chroot},
	{"close", 1, do_close},
	{"closefrom", 1, do_closefrom},
	{"connect", 3, do_connect},
	{"dup2", 2, do_dup2},
	{"exec", 0, do_exec},
	{"exit", 1, do_exit},
	{"fork", 0, do_fork},
	{"import", 0, do_import},
	{"link", 2, do_link},
	{"linkat", 5, do_linkat},
	{"listen", 2, do_listen},
	{"mount", 5, do_mount},
	{"open", 2, do_open},
	{"option", 2, do_option},
	{"receive", 1, do_receive},
	{"receivefd", 1, do_receivefd},
	{"remove", 1, do_remove},
	{"rename", 2, do_rename},
	{"renameat", 4, do_renameat},
	{"renameat2", 5, do_renameat2},
	{"sendfd", 2, do_sendfd},
	{"setuid", 1, do_setuid},
	{"shutdown", 1, do_shutdown},
	{"socket", 1, do_socket},
	{"start", 4, do_start},
	{"umask", 1, do_umask},
	{"unlink", 1, do_unlink},
	{"unlinkat", 3, do_unlinkat},
	{"unshare", 1, do_unshare},
};

static long run_command(char **word)
{
	int words = 0;

	while (word[words])
		words++;
	for (size_t i = 0; words && i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(word[0], commands[i].name))
			continue;
		if (words <= commands[i].words)
			break;
		errno = 0;
		return commands[i].call(word);
	}
	dprintf(2, "actor: invalid command \"%s\", %d words\n", words ? word[0] : "", words);
	_exit(127);
}

/* Sends errno after a success, too: a test checks that the guard has not changed it. */
static void answer(long result)
{
	char packet[PACKET + 64];
	int error = errno;
	int length = snprintf(packet, sizeof(packet), "%ld %d %s", result, error, answer_text);

	if (send(CONTROL, packet, (size_t)length, MSG_NOSIGNAL) < 0)
		_exit(1);
	answer_text[0] = '\0';
}

static void serve(char *packet, size_t length)
{
	char *word[WORDS + 1] = {NULL};
	int words = 0;

	packet[length] = '\0';
	for (size_t at = 0; at < length && words < WORDS; at += strlen(packet + at) + 1)
		word[words++] = packet + at;

	long result = run_command(word);

	/* A forked child has received no command on its new control socket yet. */
	if (strcmp(word[0], "fork") || result != 0)
		answer(result);
	if (attached >= 0)
		close(attached);
}

int main(int argc, char **argv)
{
	static char packet[PACKET + 1];
	ssize_t length;

	self = argv[0];
	if (argc > 1) {
		dup2(number(argv[1]), CONTROL);
		close(number(argv[1]));
	}
	signal(SIGCHLD, SIG_IGN); /* the kernel reaps children */
	errno = 0;
	answer(0);
	while ((length = receive(CONTROL, packet, PACKET, &attached)) > 0)
		serve(packet, (size_t)length);
	return 0;
}
