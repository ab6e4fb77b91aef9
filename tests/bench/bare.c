#include "bare.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

enum { HIGH = 768, RECORD = 288 }; /* descriptor, bytes */

static int sock, opened, claim;
static const struct sockaddr_un *address;
static const char *lockfile;
static sigset_t before;

void bare_begin(int fd, const struct sockaddr_un *name, const char *beside)
{
	sock = fd;
	address = name;
	lockfile = beside;
}

static void lock(int fd, int command, short type, off_t where)
{
	struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = where, .l_len = 1};

	check(fcntl(fd, command, &range) == 0, "F_OFD_SETLK");
}

static void option(int name)
{
	long long value;
	socklen_t length = sizeof(value);

	getsockopt(sock, SOL_SOCKET, name, &value, &length);
}

/* By number: libc's own makes another call of it. */
static void descriptor_stat(int fd)
{
	struct stat found;

	check(syscall(SYS_fstat, fd, &found) == 0, "fstat");
}

static void name_stat(const char *path)
{
	struct stat found;

	check(fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) == 0, path);
}

static void look_at_address(void)
{
	option(SO_DOMAIN);
	syscall(SYS_rt_sigprocmask, -1, address, NULL, 8);
}

static void block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
}

static void restore_signals(void)
{
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void create_lockfile(void)
{
	opened = open(lockfile, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC,
		0600);
	check(opened >= 0, lockfile);
}

static void duplicate(void)
{
	claim = fcntl(opened, F_DUPFD_CLOEXEC, HIGH);
	check(claim >= 0, "F_DUPFD_CLOEXEC");
}

static void close_opened(void)
{
	close(opened);
}

static void take_mutex_of_new(void)
{
	lock(claim, F_OFD_SETLK, F_WRLCK, 0);
}

static void look_at_claim(void)
{
	descriptor_stat(claim);
}

static void bind_socket(void)
{
	check(bind(sock, (const struct sockaddr *)address, sizeof(*address)) == 0, "bind");
}

static void identify_socket(void)
{
	struct statx found;

	check(statx(AT_FDCWD, address->sun_path, AT_SYMLINK_NOFOLLOW, STATX_ALL, &found) == 0,
		address->sun_path);
}

static void ask_who_we_are(void)
{
	char comm[16];

	getpid();
	geteuid();
	prctl(PR_GET_NAME, comm);
}

static void ask_which_socket(void)
{
	descriptor_stat(sock);
	option(SO_COOKIE);
	option(SO_NETNS_COOKIE);
}

static void write_record(void)
{
	static const char record[RECORD] = "sockguard 1\nname held\n";

	check(pwrite(claim, record, sizeof(record), 0) == sizeof(record), "record");
}

static void take_claim(void)
{
	lock(claim, F_OFD_SETLK, F_RDLCK, 1);
}

static void give_mutex_back(void)
{
	lock(claim, F_OFD_SETLK, F_UNLCK, 0);
}

static void look_at_name(void)
{
	name_stat(address->sun_path);
}

static void open_lockfile(void)
{
	opened = open(lockfile, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	check(opened >= 0, lockfile);
}

static void look_at_lockfile(void)
{
	descriptor_stat(opened);
	geteuid();
}

static void take_mutex(void)
{
	lock(opened, F_OFD_SETLK, F_WRLCK, 0);
}

static void look_at_name_of_lockfile(void)
{
	name_stat(lockfile);
}

static void note_left(void)
{
	check(pwrite(opened, "left", 4, 17) == 4, "record");
}

static void unlink_socket(void)
{
	check(unlink(address->sun_path) == 0, address->sun_path);
}

static void unlink_lockfile(void)
{
	check(unlinkat(AT_FDCWD, lockfile, 0) == 0, lockfile);
}

static void close_claim(void)
{
	getpid();
	descriptor_stat(claim);
	close(claim);
}

const struct bare_call bare_calls[] = {
	{"bind: domain; may the address be read", look_at_address},
	{"bind: signals off", block_signals},
	{"bind: create the lock file", create_lockfile},
	{"bind: its descriptor again, high", duplicate},
	{"bind: close the first", close_opened},
	{"bind: take the mutex", take_mutex_of_new},
	{"bind: look at the lock file", look_at_claim},
	{"bind: the bind itself", bind_socket},
	{"bind: look at the name", identify_socket},
	{"bind: pid, uid, comm", ask_who_we_are},
	{"bind: number, cookie, namespace of the socket", ask_which_socket},
	{"bind: write the record", write_record},
	{"bind: take the claim", take_claim},
	{"bind: give the mutex back", give_mutex_back},
	{"bind: signals as they were", restore_signals},
	{"unlink: look at the name", look_at_name},
	{"unlink: signals off", block_signals},
	{"unlink: open the lock file", open_lockfile},
	{"unlink: look at it; uid", look_at_lockfile},
	{"unlink: take the mutex", take_mutex},
	{"unlink: look at the lock file's name", look_at_name_of_lockfile},
	{"unlink: look at the name again", identify_socket},
	{"unlink: look at the claim", look_at_claim},
	{"unlink: note that the name is left", note_left},
	{"unlink: the unlink itself", unlink_socket},
	{"unlink: remove the lock file", unlink_lockfile},
	{"unlink: close it", close_opened},
	{"unlink: pid; look at the claim, and close it for good", close_claim},
	{"unlink: signals as they were", restore_signals},
};
const int bare_count = sizeof(bare_calls) / sizeof(bare_calls[0]);
