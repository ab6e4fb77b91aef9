/* Tests of proxy: the sockets and claims of the caller for which a worker acts. */
#include "proxy.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "caller.h"
#include "config.h"
#include "kernel.h"
#include "notify.h"
#include "pending.h"
#include "suite.h"

enum { NOTIFY_FD = 17, ID = 4711, MOST_CLAIMS = 8 };

/* ---- replacements of notify.c and pending.c ---- */

static bool locked;
static bool waits = true;   /* the caller still waits for its call */
static bool injects = true; /* a descriptor can be injected */
static int injected[32][2]; /* our descriptor, and its number in the caller */
static size_t injection_count;

void pending_lock(void)
{
	ck_assert(!locked);
	locked = true;
}

void pending_unlock(void)
{
	ck_assert(locked);
	locked = false;
}

bool notify_is_valid(int notify_fd, uint64_t id)
{
	ck_assert_int_eq(notify_fd, NOTIFY_FD);
	ck_assert_uint_eq(id, ID);
	return waits;
}

int notify_inject(int notify_fd, uint64_t id, int fd, int number)
{
	ck_assert_int_eq(notify_fd, NOTIFY_FD);
	ck_assert_uint_eq(id, ID);
	ck_assert(locked);
	if (!injects) {
		errno = ENOENT;
		return -1;
	}
	injected[injection_count][0] = fd;
	injected[injection_count++][1] = number;
	return number;
}

/* ---- the caller: a child ---- */

static struct target target;
static int attempts;

static void count_attempt(void)
{
	attempts++;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void act_for(pid_t pid)
{
	ck_assert(target_open(&target, pid));
	proxy_act_for(&target, count_attempt);
}

static void do_nothing(const void *about)
{
	(void)about;
}

/* The child inherits the descriptors of this process. */
static pid_t act_for_child(void)
{
	pid_t child = start_child(do_nothing, NULL);

	act_for(child);
	return child;
}

START_TEST(the_rules_see_the_caller)
{
	pid_t child = act_for_child();
	uint64_t before = now();

	ck_assert_int_eq(caller->pid(), child);
	ck_assert_uint_eq(caller->pid_namespace(child), target.pid_namespace);
	ck_assert(caller->has_any());
	caller->pause(30000000);
	ck_assert_uint_ge(now() - before, 30000000);
	ck_assert_int_eq(attempts, 1);
	before = now();
	caller->await_release();
	ck_assert_uint_ge(now() - before, 10000000);
	ck_assert_int_eq(attempts, 1);
}
END_TEST

/* ---- sockets ---- */

struct search {
	ino_t sought;
	int sockets;
	int others;
};

static bool is_sought(int fd, void *about)
{
	struct search *search = about;
	struct stat found;

	ck_assert_int_eq(fstat(fd, &found), 0);
	search->sockets += S_ISSOCK(found.st_mode);
	search->others += !S_ISSOCK(found.st_mode);
	return found.st_ino == search->sought;
}

static ino_t number_of(int fd)
{
	struct stat found;

	ck_assert_int_eq(fstat(fd, &found), 0);
	return found.st_ino;
}

START_TEST(the_callers_sockets_are_searched)
{
	struct search search = {0};
	int descriptors;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	act_for_child();
	descriptors = count_descriptors();
	ck_assert(!caller->each_descriptor(is_sought, &search));
	ck_assert_int_ge(search.sockets, 2);
	ck_assert_int_eq(search.others, 0);
	ck_assert_int_eq(count_descriptors(), descriptors);
	search.sought = number_of(pair[1]);
	ck_assert(caller->each_descriptor(is_sought, &search));
	ck_assert_int_eq(count_descriptors(), descriptors + 1);
	ck_assert_int_eq(config.log_to, LOG_TO_STDERR);
}
END_TEST

START_TEST(a_socket_may_be_descriptor_0)
{
	struct search search = {0};
	int fd = bound_socket("s", SOCK_STREAM);

	search.sought = number_of(fd);
	ck_assert_int_eq(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	close(fd);
	act_for_child();
	ck_assert(caller->each_descriptor(is_sought, &search));
}
END_TEST

START_TEST(an_ended_caller_has_no_sockets_and_its_call_is_not_logged)
{
	struct search search = {0};
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	search.sought = number_of(pair[1]);
	kill_child(act_for_child());
	ck_assert(!caller->each_descriptor(is_sought, &search));
	ck_assert_int_eq(config.log_to, LOG_TO_NONE);
}
END_TEST

START_TEST(without_descriptors_no_socket_is_found)
{
	struct search search = {0};

	act_for_child();
	use_up_descriptors();
	ck_assert(!caller->each_descriptor(is_sought, &search));
	ck_assert_int_eq(search.sockets, 0);
}
END_TEST

/* ---- claims ---- */

static struct lockfile lock_path(const char *path)
{
	struct lockfile lock;

	lockfile_init(&lock, AT_FDCWD, path);
	lock.will_claim = true;
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	return lock;
}

/* Claims a path with this record. Returns the descriptor of the claim. */
static int claim_path(const char *path, const struct record *record, struct file_id *file)
{
	struct lockfile lock = lock_path(path);
	int claim = lockfile_claim(&lock, record);

	ck_assert_int_ge(claim, 0);
	*file = lock.file;
	lockfile_release(&lock);
	return claim;
}

static const struct record sample = {.pid = 790, .uid = 33, .time = 1, .comm = "gunicorn"};

START_TEST(the_callers_claim_is_found)
{
	struct file_id a, b, c, absent;
	int claims[] = {claim_path("a", &sample, &a), claim_path("b", &sample, &b),
		claim_path("c", &sample, &c)};
	int descriptors, fd;

	act_for_child();
	for (int i = 0; i < 3; i++)
		close(claims[i]);
	absent = a;
	absent.ino += 1000000;
	descriptors = count_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(caller->find_claim(&absent)), -1);
	ck_assert_int_eq(count_descriptors(), descriptors);
	fd = KEEPS_ERRNO(caller->find_claim(&a));
	ck_assert(lockfile_fd_is(fd, &a));
	ck_assert_int_eq(caller->find_claim(&a), fd); /* the same as before */
	ck_assert(lockfile_fd_is(caller->find_claim(&b), &b));
	ck_assert_int_eq(caller->find_claim(&a), fd);
	ck_assert_int_eq(count_descriptors(), descriptors + 2);
	absent = a;
	absent.dev++;
	ck_assert_int_eq(caller->find_claim(&absent), -1);
	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(caller->find_claim(&c)), -1);
}
END_TEST

static bool no_other_process_excludes_forks(const char *path)
{
	const struct flock forks = {.l_type = F_WRLCK, .l_start = 0x7fffffff, .l_len = 1};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fcntl(fd, F_SETLK, &forks) == 0;
}

/* Closing any descriptor of a file releases the F_SETLK locks that the process has on it. */
START_TEST(a_search_for_claims_does_not_release_the_lock_that_excludes_forks)
{
	struct file_id a, b;
	int claims[] = {claim_path("a", &sample, &a), claim_path("b", &sample, &b)};
	struct lockfile lock;
	int status;
	pid_t child;

	act_for_child();
	close(claims[0]);
	close(claims[1]);
	lockfile_init(&lock, AT_FDCWD, "a");
	ck_assert_int_eq(lockfile_try_lock_through(&lock, caller->find_claim(&a)), LOCKFILE_HELD);
	caller->find_claim(&b);
	caller->find_claim(&a);
	child = fork();
	if (child == 0)
		_exit(no_other_process_excludes_forks(".a.sockguard"));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_claim_may_be_descriptor_0)
{
	struct file_id file;
	int claim = claim_path("a", &sample, &file);

	ck_assert_int_eq(dup2(claim, STDIN_FILENO), STDIN_FILENO);
	close(claim);
	act_for_child();
	ck_assert(lockfile_fd_is(caller->find_claim(&file), &file));
}
END_TEST

START_TEST(only_lock_files_are_compared)
{
	struct kernel_file found;
	struct file_id file;

	write_file("file", "");
	ck_assert_int_ge(open("file", O_RDONLY), 0);
	ck_assert_int_eq(inode_stat(AT_FDCWD, "file", &found), 0);
	file = file_id_of(&found);
	act_for_child();
	ck_assert_int_eq(caller->find_claim(&file), -1);
}
END_TEST

static bool is_claimed(const char *path)
{
	struct lockfile lock;
	bool claimed;

	lockfile_init(&lock, AT_FDCWD, path);
	ck_assert(lockfile_open_readonly(&lock));
	claimed = lockfile_is_claimed(&lock);
	lockfile_release(&lock);
	return claimed;
}

static void add(const struct file_id *file, int claim)
{
	static const struct inode inode;

	caller->add(&inode, file, claim, 0, false);
}

START_TEST(a_claim_of_the_caller_is_released)
{
	static const struct inode inode;
	struct file_id file;
	int claim = claim_path("a", &sample, &file);
	int descriptors;

	act_for_child();
	close(claim);
	ck_assert(is_claimed("a"));
	descriptors = count_descriptors();
	caller->remove(&inode, &file);
	ck_assert(!is_claimed("a"));
	add(&file, dup(STDIN_FILENO)); /* add does not close the duplicate */
	ck_assert(is_claimed("a"));    /* acquired again through the caller's descriptor */
	ck_assert_int_eq(count_descriptors(), descriptors + 1);
	ck_assert_int_eq(proxy_next_claim(0), INT_MAX);
	file.ino += 1000000;
	caller->remove(&inode, &file);
	ck_assert(is_claimed("a"));
}
END_TEST

/* ---- ownership ---- */

static struct inode inode_of(const char *path)
{
	struct inode inode;

	ck_assert_int_eq(inode_identify(AT_FDCWD, path, &inode), 0);
	return inode;
}

/* Returns the caller's ownership of the socket path "s". */
static enum owned check(bool untrusted)
{
	struct inode inode = inode_of("s");
	struct lockfile lock = lock_path("s");
	enum owned owned;

	lock.untrusted = untrusted;
	owned = caller->check(&inode, &lock);
	lockfile_release(&lock);
	return owned;
}

/* Writes another record to the lock file of "s". */
static void write_record(const struct record *record)
{
	char text[RECORD_SIZE];
	int fd = open(".s.sockguard", O_WRONLY | O_CLOEXEC);

	record_format(record, text);
	ck_assert_int_eq(write(fd, text, sizeof(text)), sizeof(text));
	close(fd);
}

START_TEST(a_claim_proves_the_ownership_of_the_recorded_socket)
{
	int fd = bound_socket("s", SOCK_STREAM);
	int other = bound_socket("t", SOCK_STREAM);
	struct record record;
	struct file_id file;

	record_describe_caller(&record, fd);
	claim_path("s", &record, &file);
	act_for_child();
	ck_assert_int_eq(check(false), OWNED_SOCKET);
	ck_assert_int_eq(check(true), OWNED_SOCKET);
	record.socket = number_of(other);
	write_record(&record);
	ck_assert_int_eq(check(false), OWNED_NOT);
	record.socket = 0;
	write_record(&record);
	ck_assert_int_eq(check(false), OWNED_PATH);
	ck_assert_int_eq(truncate(".s.sockguard", 0), 0);
	ck_assert_int_eq(check(false), OWNED_PATH);
}
END_TEST

START_TEST(without_lock_file_nothing_is_owned)
{
	struct lockfile lock;
	struct inode inode;

	bound_socket("s", SOCK_STREAM);
	inode = inode_of("s");
	act_for_child();
	lockfile_init(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(caller->check(&inode, &lock), OWNED_NOT);
}
END_TEST

/* Creates a lock file for a path without a claim of the caller, and a record that names its PID. */
static void claim_for_caller(int fd, pid_t caller_pid, struct record *record)
{
	struct file_id file;

	record_describe_caller(record, fd);
	record->pid = (uint64_t)caller_pid;
	claim_path("s", record, &file);
}

/* The caller has no claim, but the record names its PID. */
START_TEST(the_record_of_the_caller_proves_its_ownership)
{
	int fd = bound_socket("s", SOCK_STREAM);
	pid_t child = act_for_child();
	struct record record;

	claim_for_caller(fd, child, &record);
	ck_assert_int_eq(check(false), OWNED_SOCKET);
	ck_assert_int_eq(check(true), OWNED_NOT);
	target.inner = 1; /* the caller has another PID in its own namespace */
	ck_assert_int_eq(check(false), OWNED_NOT);
	target.inner = child;
	record.leaving = true;
	write_record(&record);
	ck_assert_int_eq(check(false), OWNED_NOT);
	record.leaving = false;
	record.pid = (uint64_t)getpid();
	write_record(&record);
	ck_assert_int_eq(check(false), OWNED_NOT);
	ck_assert_int_eq(truncate(".s.sockguard", 0), 0);
	ck_assert_int_eq(check(false), OWNED_NOT);
}
END_TEST

START_TEST(an_ended_process_does_not_own_what_its_record_says)
{
	int fd = bound_socket("s", SOCK_STREAM);
	pid_t child = act_for_child();
	struct record record;

	claim_for_caller(fd, child, &record);
	kill_child(child);
	ck_assert_int_eq(check(false), OWNED_NOT);
}
END_TEST

/* ---- injection ---- */

static bool inject(void)
{
	bool done = KEEPS_ERRNO(proxy_inject_claims(NOTIFY_FD, ID));

	ck_assert(!locked);
	return done;
}

static const struct file_id none = {.dev = 1, .ino = 1};

START_TEST(claims_wait_until_they_are_injected)
{
	int claims[MOST_CLAIMS + 1];

	act_for_child();
	for (int i = 0; i <= MOST_CLAIMS; i++)
		claims[i] = dup(STDIN_FILENO);
	add(&none, -1);
	ck_assert_int_eq(proxy_next_claim(0), INT_MAX);
	add(&none, claims[1]);
	add(&none, claims[0]);
	ck_assert_int_eq(proxy_next_claim(0), claims[0]);
	ck_assert_int_eq(proxy_next_claim(claims[0]), claims[0]);
	ck_assert_int_eq(proxy_next_claim(claims[0] + 1), claims[1]);
	ck_assert_int_eq(proxy_next_claim(claims[1] + 1), INT_MAX);
	ck_assert(inject());
	ck_assert_uint_eq(injection_count, 2);
	ck_assert_int_eq(injected[0][0] + injected[1][0], claims[0] + claims[1]);
	ck_assert_int_lt(fcntl(claims[0], F_GETFD), 0);
	ck_assert_int_lt(fcntl(claims[1], F_GETFD), 0);
	ck_assert_int_ge(fcntl(claims[2], F_GETFD), 0);
	ck_assert_int_eq(proxy_next_claim(0), INT_MAX);
	ck_assert(inject());
	ck_assert_uint_eq(injection_count, 2);
}
END_TEST

START_TEST(no_more_claims_wait_than_there_is_space_for)
{
	act_for_child();
	for (int i = 0; i < MOST_CLAIMS + 2; i++)
		add(&none, dup(STDIN_FILENO));
	ck_assert(inject());
	ck_assert_uint_eq(injection_count, MOST_CLAIMS);
}
END_TEST

START_TEST(a_claim_is_kept_for_a_caller_that_does_not_wait)
{
	int claim = dup(STDIN_FILENO);

	act_for_child();
	add(&none, claim);
	injects = waits = false;
	ck_assert(!inject());
	ck_assert_int_eq(proxy_next_claim(0), claim);
	ck_assert_int_ge(fcntl(claim, F_GETFD), 0);
	waits = true; /* so the caller cannot get the descriptor */
	ck_assert(inject());
	ck_assert_int_eq(proxy_next_claim(0), INT_MAX);
	ck_assert_int_lt(fcntl(claim, F_GETFD), 0);
}
END_TEST

/* The number at which a claim is injected, or -1 if the kernel must choose it. */
static int injected_number(void)
{
	injection_count = 0;
	add(&none, dup(STDIN_FILENO));
	ck_assert(inject());
	ck_assert_uint_eq(injection_count, 1);
	return injected[0][1];
}

struct limited {
	rlim_t limit;
	int taken[3];
	const char *file; /* open at the taken numbers */
	bool removed;
	int dense; /* all numbers from 3 to below this one are taken by another file */
	int hole;  /* but not this one */
};

static void limit(const void *about)
{
	const struct limited *limited = about;
	const struct rlimit limits = {limited->limit, 2048};
	int fd;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
	for (int i = STDERR_FILENO + 1; i < limited->dense; i++)
		if (fcntl(i, F_GETFD) < 0)
			ck_assert_int_eq(dup2(STDIN_FILENO, i), i);
	if (limited->hole > 0)
		close(limited->hole);
	write_file(limited->file, "");
	fd = open(limited->file, O_RDONLY);
	for (int i = 0; i < 3; i++)
		if (limited->taken[i] > 0)
			ck_assert_int_eq(dup2(fd, limited->taken[i]), limited->taken[i]);
	close(fd);
	if (limited->removed)
		unlink(limited->file);
}

static const struct {
	struct limited limited;
	int number;
} choices[] = {
	{{.limit = 1024, .file = "a"}, 1023},
	{{.limit = 2048, .file = "a"}, 1023},
	{{.limit = 100, .file = "a"}, 99},
	{{.limit = 100, .file = "a", .taken = {99, 97}}, 98},
	{{.limit = 100, .file = ".a.sockguard", .taken = {99}}, 98},
	{{.limit = 100, .file = "a", .taken = {99}, .removed = true}, 98},
	{{.limit = 100, .file = ".a.sockguard", .taken = {99}, .removed = true}, 99},
	{{.limit = 64, .file = "a", .taken = {63, 62, 61}}, 60},
	/* The next number, 12, is not above three quarters of the limit. */
	{{.limit = 16, .file = "a", .taken = {15, 14, 13}}, -1},
	{{.limit = 16, .file = "a", .taken = {15, 14}}, 13},
	/*
	 * If few lower numbers are free, another thread's open may get this one. start_child closes
	 * one descriptor of the child last.
	 */
	{{.limit = 1024, .file = "a", .dense = 1023 - 64}, 1023},
	{{.limit = 1024, .file = "a", .dense = 1023 - 62}, -1},
	{{.limit = 2048, .file = "a", .dense = 1200, .hole = 900}, -1},
	{{.limit = 64, .file = "a", .dense = 63 - 16}, 63},
	{{.limit = 64, .file = "a", .dense = 63 - 14}, -1},
	{{.limit = 2048, .file = ".a.sockguard", .dense = 1200, .taken = {600}, .removed = true},
		600},
	{{.limit = 2048, .file = ".a.sockguard", .dense = 1200, .taken = {600}}, -1},
};

START_TEST(the_highest_free_number_is_chosen)
{
	/* The limit applies to the number, not to how many descriptors the caller has. */
	act_for(start_child(limit, &choices[_i].limited));
	ck_assert_int_eq(injected_number(), choices[_i].number);
}
END_TEST

/* ---- the mutex ---- */

static void hold_mutex(const void *path)
{
	lock_path(path);
}

static void hold_claim(const void *path)
{
	struct file_id file;

	claim_path(path, &sample, &file);
}

START_TEST(a_mutex_that_the_caller_holds_is_seen)
{
	int descriptors;

	act_for(start_child(hold_mutex, "s"));
	descriptors = count_descriptors();
	ck_assert(proxy_holds_mutex(AT_FDCWD, "s"));
	ck_assert(proxy_holds_mutex(AT_FDCWD, ".s.sockguard"));
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "t"));
	ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

START_TEST(a_mutex_of_another_process_is_not_the_callers)
{
	struct file_id file;
	int claim = claim_path("s", &sample, &file); /* keeps the lock file */
	struct lockfile lock;

	act_for_child(); /* the child inherits a descriptor of the lock file */
	close(claim);
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
	lock = lock_path("s");
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
	lockfile_release(&lock);
}
END_TEST

START_TEST(a_claim_does_not_count_as_a_mutex)
{
	act_for(start_child(hold_claim, "s"));
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
	start_child(hold_mutex, "s");
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
}
END_TEST

static void hold_mutex_and_claim(const void *path)
{
	struct file_id file;

	claim_path(path, &sample, &file);
	lock_path(path);
}

START_TEST(a_claim_beside_the_mutex_does_not_hide_it)
{
	act_for(start_child(hold_mutex_and_claim, "s"));
	ck_assert(proxy_holds_mutex(AT_FDCWD, "s"));
}
END_TEST

#define ALTERNATE "sticky/.s.sockguard.0123456789ab"

/* As if a stranger's file had had the plain name, and has been removed. */
static void hold_mutex_at_alternate_name(const void *path)
{
	ck_assert_int_eq(mkdir("sticky", 0700), 0);
	ck_assert_int_eq(chmod("sticky", 01777), 0);
	hold_mutex(path);
	ck_assert_int_eq(rename("sticky/.s.sockguard", ALTERNATE), 0);
}

START_TEST(a_mutex_at_an_alternate_name_is_seen)
{
	int descriptors;

	act_for(start_child(hold_mutex_at_alternate_name, "sticky/s"));
	descriptors = count_descriptors();
	ck_assert(proxy_holds_mutex(AT_FDCWD, "sticky/s"));
	ck_assert(proxy_holds_mutex(AT_FDCWD, ALTERNATE));
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "sticky/t"));
	ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

/* A rival of the same user creates the plain file and releases it, until it finds no other. */
START_TEST(a_rivals_lock_file_at_the_plain_name_does_not_hide_a_mutex)
{
	act_for(start_child(hold_mutex_at_alternate_name, "sticky/s"));
	write_file("sticky/.s.sockguard", "");
	ck_assert(proxy_holds_mutex(AT_FDCWD, "sticky/s"));
	ck_assert_int_ge(kernel_lock(open("sticky/.s.sockguard", O_RDWR), F_OFD_SETLK, F_WRLCK, 0,
				 1),
		0);
	ck_assert(proxy_holds_mutex(AT_FDCWD, "sticky/s"));
}
END_TEST

/* It is not this path's lock file. */
START_TEST(a_mutex_in_another_directory_is_not_this_paths)
{
	ck_assert_int_eq(mkdir("other", 0700), 0);
	act_for(start_child(hold_mutex, "other/s"));
	start_child(hold_mutex, "s");
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
	ck_assert(proxy_holds_mutex(AT_FDCWD, "other/s"));
}
END_TEST

/* Then nothing shows that the library has judged the call. */
START_TEST(a_mutex_of_an_unlinked_lock_file_does_not_count)
{
	act_for(start_child(hold_mutex, "s"));
	ck_assert_int_eq(unlink(".s.sockguard"), 0);
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
	start_child(hold_mutex, "s");
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
}
END_TEST

static void hold_mutex_through_claim(const void *path)
{
	struct file_id file;
	int claim = claim_path(path, &sample, &file);
	struct lockfile lock;

	lockfile_init(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try_lock_through(&lock, claim), LOCKFILE_HELD);
}

START_TEST(a_mutex_that_the_caller_holds_through_its_claim_is_seen)
{
	act_for(start_child(hold_mutex_through_claim, "s"));
	ck_assert(proxy_holds_mutex(AT_FDCWD, "s"));
}
END_TEST

/*
 * As a worker for a fork of the caller does. If that worker was killed, the mutex stays locked
 * until the next one locks it through the same claim, and releases it.
 */
START_TEST(a_mutex_that_another_process_holds_through_the_callers_claim_is_not_the_callers)
{
	struct file_id file;
	int claim = claim_path("s", &sample, &file);
	struct lockfile lock;

	act_for_child(); /* the child inherits the claim */
	lockfile_init(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try_lock_through(&lock, claim), LOCKFILE_HELD);
	ck_assert(!proxy_holds_mutex(AT_FDCWD, "s"));
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("proxy");
	TCase *sockets = suite_cases(suite, "sockets");
	TCase *claims = suite_cases(suite, "claims");
	TCase *injection = suite_cases(suite, "injection");
	TCase *mutexes = suite_cases(suite, "mutexes");

	tcase_add_test(sockets, the_rules_see_the_caller);
	tcase_add_test(sockets, the_callers_sockets_are_searched);
	tcase_add_test(sockets, a_socket_may_be_descriptor_0);
	tcase_add_test(sockets, an_ended_caller_has_no_sockets_and_its_call_is_not_logged);
	tcase_add_test(sockets, without_descriptors_no_socket_is_found);
	tcase_add_test(claims, the_callers_claim_is_found);
	tcase_add_test(claims, a_search_for_claims_does_not_release_the_lock_that_excludes_forks);
	tcase_add_test(claims, a_claim_may_be_descriptor_0);
	tcase_add_test(claims, only_lock_files_are_compared);
	tcase_add_test(claims, a_claim_of_the_caller_is_released);
	tcase_add_test(claims, a_claim_proves_the_ownership_of_the_recorded_socket);
	tcase_add_test(claims, without_lock_file_nothing_is_owned);
	tcase_add_test(claims, the_record_of_the_caller_proves_its_ownership);
	tcase_add_test(claims, an_ended_process_does_not_own_what_its_record_says);
	tcase_add_test(injection, claims_wait_until_they_are_injected);
	tcase_add_test(injection, no_more_claims_wait_than_there_is_space_for);
	tcase_add_test(injection, a_claim_is_kept_for_a_caller_that_does_not_wait);
	tcase_add_loop_test(injection, the_highest_free_number_is_chosen, 0,
		(int)(sizeof(choices) / sizeof(*choices)));
	tcase_add_test(mutexes, a_mutex_that_the_caller_holds_is_seen);
	tcase_add_test(mutexes, a_mutex_of_another_process_is_not_the_callers);
	tcase_add_test(mutexes, a_claim_does_not_count_as_a_mutex);
	tcase_add_test(mutexes, a_claim_beside_the_mutex_does_not_hide_it);
	tcase_add_test(mutexes, a_mutex_at_an_alternate_name_is_seen);
	tcase_add_test(mutexes, a_rivals_lock_file_at_the_plain_name_does_not_hide_a_mutex);
	tcase_add_test(mutexes, a_mutex_in_another_directory_is_not_this_paths);
	tcase_add_test(mutexes, a_mutex_of_an_unlinked_lock_file_does_not_count);
	tcase_add_test(mutexes, a_mutex_that_the_caller_holds_through_its_claim_is_seen);
	tcase_add_test(mutexes,
		a_mutex_that_another_process_holds_through_the_callers_claim_is_not_the_callers);
	return suite;
}
