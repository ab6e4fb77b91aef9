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

enum { HIGH_FD = 768, RECORD_SIZE = 288 }; /* as in the library */

static int sock, lockfile_fd, claim; /* descriptors; the claim is a duplicate of lockfile_fd */
static const struct sockaddr_un *address;
static const char *lockfile;
static sigset_t signal_mask;

void bare_begin(int fd, const struct sockaddr_un *socket_address, const char *lockfile_path)
{
	sock = fd;
	address = socket_address;
	lockfile = lockfile_path;
}

static void set_lock(int fd, short type, off_t byte)
{
	struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	check(fcntl(fd, F_OFD_SETLK, &range) == 0, "F_OFD_SETLK");
}

static void read_option(int name)
{
	long long value;
	socklen_t length = sizeof(value);

	getsockopt(sock, SOL_SOCKET, name, &value, &length);
}

/* Calls the kernel directly, because libc implements fstat with newfstatat. */
static void stat_descriptor(int fd)
{
	struct stat found;

	check(syscall(SYS_fstat, fd, &found) == 0, "fstat");
}

static void stat_nofollow(const char *path)
{
	struct stat found;

	check(fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) == 0, path);
}

static void check_socket_and_address(void)
{
	read_option(SO_DOMAIN);
	/* Its first argument is invalid: the guard only finds out whether the address is readable.
	 */
	syscall(SYS_rt_sigprocmask, -1, address, NULL, 8);
}

static void block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &signal_mask);
}

static void restore_signals(void)
{
	sigprocmask(SIG_SETMASK, &signal_mask, NULL);
}

static void create_lockfile(void)
{
	lockfile_fd = open(lockfile,
		O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0600);
	check(lockfile_fd >= 0, lockfile);
}

static void duplicate_descriptor(void)
{
	claim = fcntl(lockfile_fd, F_DUPFD_CLOEXEC, HIGH_FD);
	check(claim >= 0, "F_DUPFD_CLOEXEC");
}

static void close_lockfile(void)
{
	close(lockfile_fd);
}

static void acquire_mutex_of_new_file(void)
{
	set_lock(claim, F_WRLCK, 0);
}

static void stat_claim(void)
{
	stat_descriptor(claim);
}

static void bind_socket(void)
{
	check(bind(sock, (const struct sockaddr *)address, sizeof(*address)) == 0, "bind");
}

static void statx_path(void)
{
	struct statx found;

	check(statx(AT_FDCWD, address->sun_path, AT_SYMLINK_NOFOLLOW, STATX_ALL, &found) == 0,
		address->sun_path);
}

static void identify_process(void)
{
	char comm[16];

	getpid();
	geteuid();
	prctl(PR_GET_NAME, comm);
}

static void identify_socket(void)
{
	stat_descriptor(sock);
	read_option(SO_COOKIE);
	read_option(SO_NETNS_COOKIE);
}

static void write_record(void)
{
	static const char record[RECORD_SIZE] =
		"sockguard 1\nname held\n"; /* the rest does not matter */

	check(pwrite(claim, record, sizeof(record), 0) == sizeof(record), "record");
}

static void acquire_claim(void)
{
	set_lock(claim, F_RDLCK, 1);
}

static void release_mutex(void)
{
	set_lock(claim, F_UNLCK, 0);
}

static void stat_path(void)
{
	stat_nofollow(address->sun_path);
}

static void open_lockfile(void)
{
	lockfile_fd = open(lockfile, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	check(lockfile_fd >= 0, lockfile);
}

static void stat_lockfile(void)
{
	stat_descriptor(lockfile_fd);
	geteuid();
}

static void acquire_mutex(void)
{
	set_lock(lockfile_fd, F_WRLCK, 0);
}

static void stat_lockfile_path(void)
{
	stat_nofollow(lockfile);
}

static void record_removal(void)
{
	check(pwrite(lockfile_fd, "left", 4, 17) == 4, "record");
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
	stat_descriptor(claim);
	close(claim);
}

const struct bare_call bare_calls[] = {
	{"bind: check the socket's domain and the address", check_socket_and_address},
	{"bind: block signals", block_signals},
	{"bind: create the lock file", create_lockfile},
	{"bind: duplicate its descriptor to a high number", duplicate_descriptor},
	{"bind: close the first descriptor", close_lockfile},
	{"bind: acquire the mutex", acquire_mutex_of_new_file},
	{"bind: fstat the lock file", stat_claim},
	{"bind: the bind itself", bind_socket},
	{"bind: statx the path", statx_path},
	{"bind: get the pid, uid and comm", identify_process},
	{"bind: get the socket's inode, cookie and network namespace", identify_socket},
	{"bind: write the record", write_record},
	{"bind: acquire the claim", acquire_claim},
	{"bind: release the mutex", release_mutex},
	{"bind: restore the signal mask", restore_signals},
	{"unlink: fstatat the path", stat_path},
	{"unlink: block signals", block_signals},
	{"unlink: open the lock file", open_lockfile},
	{"unlink: fstat it and get the uid", stat_lockfile},
	{"unlink: acquire the mutex", acquire_mutex},
	{"unlink: fstatat the lock file's path", stat_lockfile_path},
	{"unlink: statx the path", statx_path},
	{"unlink: fstat the claim", stat_claim},
	{"unlink: record that the path is being removed", record_removal},
	{"unlink: the unlink itself", unlink_socket},
	{"unlink: unlink the lock file", unlink_lockfile},
	{"unlink: close its descriptor", close_lockfile},
	{"unlink: get the pid; fstat and close the claim", close_claim},
	{"unlink: restore the signal mask", restore_signals},
};
const int bare_count = sizeof(bare_calls) / sizeof(bare_calls[0]);
