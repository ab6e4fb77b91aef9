/* Tests of target: the memory, credentials, signals and descriptors of other processes. */
#include "target.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "starttime.h"
#include "suite.h"

#define NO_PROCESS 0x3fffff /* no thread has this ID: it is PID_MAX_LIMIT - 1 */

static uint64_t address_of(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

/* ---- memory ---- */

enum { PAGES = 4 };

/* The end of some readable pages. The next page cannot be read. */
static char *end_of_memory(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(pages, MAP_FAILED);
	ck_assert_int_eq(mprotect(pages + PAGES * page, page, PROT_NONE), 0);
	memset(pages, 'a', PAGES * page);
	return pages + PAGES * page;
}

static bool fails_to_read(uint64_t address, size_t size, int error)
{
	char bytes[64];

	errno = 0;
	return !target_read(getpid(), address, bytes, size) && errno == error;
}

START_TEST(memory_is_copied_only_if_all_of_it_can_be_read)
{
	char *end = end_of_memory();
	char bytes[17] = "................";

	memcpy(end - 16, "0123456789abcdef", 16);
	ck_assert(target_read(getpid(), address_of(end - 16), bytes, 16));
	ck_assert_str_eq(bytes, "0123456789abcdef");
	memset(bytes, '.', 16);
	ck_assert(target_read(getpid(), address_of(end - 16), bytes, 10));
	ck_assert_str_eq(bytes, "0123456789......");
	ck_assert(fails_to_read(address_of(end - 16), 17, EFAULT));
	ck_assert(fails_to_read(address_of(end - 1), 2, EFAULT));
	ck_assert(fails_to_read(address_of(end), 1, EFAULT));
	ck_assert(fails_to_read(0, 1, EFAULT));
	errno = 0;
	ck_assert(!target_read(NO_PROCESS, address_of(end - 16), bytes, 16));
	ck_assert_int_eq(errno, ESRCH);
}
END_TEST

START_TEST(memory_on_two_pages_is_copied)
{
	char *boundary = end_of_memory() - sysconf(_SC_PAGESIZE);
	char bytes[9] = "";

	memcpy(boundary - 4, "abcdefgh", 8);
	ck_assert(target_read(getpid(), address_of(boundary - 4), bytes, 8));
	ck_assert_str_eq(bytes, "abcdefgh");
	ck_assert(target_read(getpid(), address_of(boundary), bytes, 4));
	ck_assert_str_eq(bytes, "efghefgh");
}
END_TEST

/* Reads a string of this length that ends `before` bytes before `end`, the unreadable memory. */
static void expect_string(char *end, size_t length, size_t before, size_t size)
{
	static char found[3 * 4096];
	char *string = end - before - length - 1;

	memset(string, 'a', length);
	string[0] = 'b';
	string[length - 1] = 'c';
	string[length] = '\0';
	memset(found, 'x', sizeof(found));
	errno = 0;
	if (size <= length) {
		ck_assert(!target_read_string(getpid(), address_of(string), found, size));
		ck_assert_int_eq(errno, ENAMETOOLONG);
		ck_assert_int_eq(found[size], 'x');
		return;
	}
	ck_assert(target_read_string(getpid(), address_of(string), found, size));
	ck_assert_str_eq(found, string);
	ck_assert_int_eq(found[size], 'x');
}

START_TEST(a_string_is_copied_up_to_its_end)
{
	static const size_t lengths[] = {
		2, 254, 255, 256, 257, 300, 4000, 4095, 4096, 4351, 4352, 5000};
	char *end = end_of_memory();

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		expect_string(end, lengths[i], 0, 8192);
		expect_string(end, lengths[i], 1, 8192);
		expect_string(end, lengths[i], 100, 8192);
		expect_string(end, lengths[i], 100, lengths[i] + 1);
		expect_string(end, lengths[i], 100, lengths[i]);
	}
}
END_TEST

START_TEST(a_string_without_end_is_refused)
{
	char *end = end_of_memory();
	char found[4096];

	memset(end - 5000, 'a', 5000);
	for (ptrdiff_t length = 1; length < 4000; length += 333) {
		errno = 0;
		ck_assert(!target_read_string(getpid(), address_of(end - length), found, 4096));
		ck_assert_int_eq(errno, EFAULT);
	}
	ck_assert(!target_read_string(getpid(), address_of(end - 4096), found, 4096));
	ck_assert_int_eq(errno, ENAMETOOLONG);
	ck_assert(!target_read_string(NO_PROCESS, address_of(end - 1), found, 4096));
	ck_assert_int_eq(errno, ESRCH);
}
END_TEST

/* ---- an opened process ---- */

static void do_nothing(const void *about)
{
	(void)about;
}

static struct target target;

static void open_target(pid_t tid)
{
	ck_assert(target_open(&target, tid));
	ck_assert_int_ge(target.descriptors, 0);
}

static void be_remarkable(const void *about)
{
	(void)about;
	umask(0037);
	prctl(PR_SET_NAME, "remarkable");
}

START_TEST(the_state_of_a_process_is_read)
{
	pid_t child = start_child(be_remarkable, NULL);
	int descriptors = count_descriptors();
	struct stat space;

	open_target(child);
	ck_assert_int_eq(target.tid, child);
	ck_assert_int_eq(target.process, child);
	ck_assert_int_eq(target.inner, child);
	ck_assert_int_eq(stat("/proc/self/ns/pid", &space), 0);
	ck_assert_uint_eq(target.pid_namespace, space.st_ino);
	ck_assert_uint_eq(target.umask, 0037);
	ck_assert_str_eq(target.comm, "remarkable");
	ck_assert_uint_eq(target.credentials.uid[0], getuid());
	ck_assert_uint_eq(target.credentials.gid[3], getgid());
	ck_assert_int_ge(target.pidfd, TARGET_HIGH);
	ck_assert_int_ge(target.descriptors, TARGET_HIGH);
	ck_assert_int_eq(fcntl(target.descriptors, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(count_descriptors(), descriptors + 2);
	kill_child(child);
	ck_assert(!target_open(&target, child));
	ck_assert_int_eq(target.pidfd, -1);
	ck_assert_int_eq(target.descriptors, -1);
}
END_TEST

/* Runs beside the main thread. Writes its thread ID, and waits. */
static void *be_a_thread(void *about)
{
	pid_t *tid = about;

	__atomic_store_n(tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

static pid_t start_thread(void)
{
	static pid_t tid;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, be_a_thread, &tid), 0);
	while (__atomic_load_n(&tid, __ATOMIC_SEQ_CST) == 0)
		usleep(1000);
	return tid;
}

START_TEST(a_thread_leads_to_its_process)
{
	pid_t thread = start_thread();
	uint64_t started = 1;

	open_target(thread);
	ck_assert_int_eq(target.tid, thread);
	ck_assert_int_eq(target.process, getpid());
	ck_assert_int_eq(target_find_process(thread, &started), getpid());
	ck_assert_uint_eq(started, starttime_of(getpid()));
	ck_assert_int_eq(target_find_process(NO_PROCESS, &started), NO_PROCESS);
	ck_assert_uint_eq(started, 0);
}
END_TEST

static int open_parent(const void *about)
{
	(void)about;
	return target_open(&target, getppid()) && target.pidfd >= 0 && target.descriptors == -1 ? 0
												: 1;
}

/* identity.c opens the descriptors later, with other permissions. */
START_TEST(the_descriptors_of_another_user_need_not_be_opened)
{
	ck_assert_int_eq(run_as_stranger(open_parent, NULL), 0);
}
END_TEST

static void join_groups(const void *about)
{
	gid_t groups[PROCSTATUS_GROUPS + 1];

	(void)about;
	for (unsigned int i = 0; i <= PROCSTATUS_GROUPS; i++)
		groups[i] = i + 1;
	ck_assert_int_eq(setgroups(PROCSTATUS_GROUPS + 1, groups), 0);
}

START_TEST(a_process_with_too_many_groups_is_not_opened)
{
	pid_t child = start_child(join_groups, NULL);

	errno = 0;
	ck_assert(!target_open(&target, child));
	ck_assert_int_eq(errno, EOVERFLOW);
}
END_TEST

static int wait_for_signals(void *about)
{
	(void)about;
	for (;;)
		pause();
	return 0;
}

START_TEST(a_process_may_have_another_id_in_its_namespace)
{
	static _Alignas(16) char stack[65536];
	pid_t child = clone(wait_for_signals, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, NULL);
	struct stat ours;

	ck_assert_int_gt(child, 0);
	open_target(child);
	ck_assert_int_eq(target.process, child);
	ck_assert_int_eq(target.inner, 1);
	ck_assert_int_eq(stat("/proc/self/ns/pid", &ours), 0);
	ck_assert_uint_ne(target.pid_namespace, ours.st_ino);
	kill_child(child);
}
END_TEST

/* ---- namespaces, root and credentials ---- */

static void change_root(const void *about)
{
	(void)about;
	ck_assert_int_eq(chroot("."), 0);
}

static void leave_mount_namespace(const void *about)
{
	(void)about;
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
}

static void leave_network(const void *about)
{
	(void)about;
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
}

static void leave_user_namespace(const void *about)
{
	(void)about;
	ck_assert_int_eq(unshare(CLONE_NEWUSER), 0);
}

START_TEST(a_root_is_shared_if_it_is_the_same_mount)
{
	ck_assert(target_shares_root(start_child(do_nothing, NULL)));
	ck_assert(!target_shares_root(start_child(change_root, NULL)));
	ck_assert(!target_shares_root(start_child(leave_mount_namespace, NULL)));
	ck_assert(target_shares_root(start_child(leave_network, NULL)));
	ck_assert(!target_shares_root(NO_PROCESS));
}
END_TEST

START_TEST(namespaces_are_compared)
{
	pid_t child = start_child(leave_network, NULL);

	ck_assert(!target_shares_namespace(child, "ns/net"));
	ck_assert(target_shares_namespace(child, "ns/mnt"));
	ck_assert(target_shares_user_namespace(child));
	ck_assert(target_shares_user_namespace(child)); /* our own namespace is cached now */
	child = start_child(leave_user_namespace, NULL);
	ck_assert(!target_shares_user_namespace(child));
	ck_assert(!target_has_our_credentials(child));
	ck_assert(target_shares_namespace(child, "ns/net"));
	ck_assert(!target_shares_namespace(NO_PROCESS, "ns/net"));
	ck_assert(!target_shares_user_namespace(NO_PROCESS));
	ck_assert(!target_shares_namespace(getpid(), "ns/none"));
}
END_TEST

static void change_user(const void *about)
{
	(void)about;
	ck_assert_int_eq(setresuid(0, 0, STRANGER), 0);
}

static void change_group(const void *about)
{
	(void)about;
	ck_assert_int_eq(setresgid(0, 0, STRANGER), 0);
}

static void lose_capabilities(const void *about)
{
	(void)about;
	ck_assert_int_eq(syscall(SYS_capset,
				 (uint32_t[2]){0x20080522, 0}, /* _LINUX_CAPABILITY_VERSION_3 */
				 (uint32_t[6]){1, 1, 0, 0, 0, 0}),
		0);
}

START_TEST(credentials_are_ours_if_all_of_them_are)
{
	pid_t child = start_child(do_nothing, NULL);
	int descriptors;

	ck_assert(target_has_our_credentials(child));
	descriptors = count_descriptors();
	ck_assert(target_has_our_credentials(child));
	ck_assert(!target_has_our_credentials(start_child(change_user, NULL)));
	ck_assert(!target_has_our_credentials(start_child(change_group, NULL)));
	ck_assert(!target_has_our_credentials(start_child(lose_capabilities, NULL)));
	ck_assert(target_has_our_credentials(child));
	ck_assert_int_eq(count_descriptors(), descriptors);
	ck_assert(!target_has_our_credentials(NO_PROCESS));
	kill_child(child);
	ck_assert(!target_has_our_credentials(child));
}
END_TEST

/* ---- signals and the end ---- */

static void ignore(int number)
{
	(void)number;
}

static void handle_signals(void)
{
	struct sigaction action = {.sa_handler = ignore};

	sigaction(SIGUSR1, &action, NULL);
}

static void handle(const void *about)
{
	(void)about;
	handle_signals();
}

static void block(const void *about)
{
	sigset_t signals;

	(void)about;
	handle_signals();
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

/* A stopped process does not handle signals, so they stay pending. */
static pid_t start_stopped(void (*act)(const void *about), const void *about)
{
	pid_t child = start_child(act, about);
	int status;

	ck_assert_int_eq(kill(child, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
	ck_assert(WIFSTOPPED(status));
	return child;
}

static bool has_signals(pid_t tid)
{
	open_target(tid);
	return target_has_signals(&target);
}

START_TEST(pending_signals_are_seen_unless_they_are_blocked)
{
	pid_t child = start_stopped(handle, NULL);
	pid_t blocking = start_stopped(block, NULL);

	ck_assert(!has_signals(child));
	kill(child, SIGUSR1);
	ck_assert(has_signals(child));
	kill(blocking, SIGUSR1);
	ck_assert(!has_signals(blocking));
	syscall(SYS_tgkill, blocking, blocking, SIGUSR1);
	ck_assert(!has_signals(blocking));
	child = start_stopped(handle, NULL);
	syscall(SYS_tgkill, child, child, SIGUSR1);
	ck_assert(has_signals(child));
}
END_TEST

static void start_thread_and_write(const void *about)
{
	const int *fd = about;
	pid_t tid;

	handle_signals();
	tid = start_thread();
	if (write(*fd, &tid, sizeof(tid)) != sizeof(tid))
		_exit(EXIT_FAILURE);
}

static pid_t start_stopped_threads(pid_t *thread)
{
	int ends[2];
	pid_t child;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	child = start_stopped(start_thread_and_write, &ends[1]);
	ck_assert_int_eq(read(ends[0], thread, sizeof(*thread)), sizeof(*thread));
	return child;
}

START_TEST(a_signal_of_a_process_concerns_its_main_thread)
{
	pid_t thread;
	pid_t child = start_stopped_threads(&thread);

	kill(child, SIGUSR1);
	ck_assert(has_signals(child));
	ck_assert(!has_signals(thread)); /* the main thread will handle it */
	child = start_stopped_threads(&thread);
	syscall(SYS_tgkill, child, thread, SIGUSR1);
	ck_assert(!has_signals(child));
	ck_assert(has_signals(thread));
}
END_TEST

START_TEST(an_ended_process_is_not_alive)
{
	pid_t child = start_child(do_nothing, NULL);
	siginfo_t info;

	open_target(child);
	ck_assert(target_is_alive(&target));
	ck_assert(target_permits_inspection(&target));
	kill(child, SIGKILL);
	ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	ck_assert(!target_is_alive(&target));
	ck_assert(!target_permits_inspection(&target));
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert(!target_has_signals(&target));
	ck_assert(!target_is_alive(&target));
}
END_TEST

/* ---- our descriptors ---- */

START_TEST(our_descriptors_are_moved_out_of_the_way)
{
	int fd = open("/dev/null", O_RDONLY);
	int high = target_move_high(fd);

	ck_assert_int_ge(high, TARGET_HIGH);
	ck_assert_int_eq(fcntl(high, F_GETFD), FD_CLOEXEC);
	ck_assert_int_lt(fcntl(fd, F_GETFD), 0);
	ck_assert_int_eq(target_move_high(-1), -1);
	high = target_move_high(STDIN_FILENO);
	ck_assert_int_ge(high, TARGET_HIGH);
	ck_assert_int_lt(fcntl(STDIN_FILENO, F_GETFD), 0);
}
END_TEST

START_TEST(below_the_limit_they_stay_where_they_are)
{
	const struct rlimit limit = {TARGET_HIGH, TARGET_HIGH};
	int fd = open("/dev/null", O_RDONLY);

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(target_move_high(fd), fd);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
}
END_TEST

START_TEST(a_lack_of_resources_has_three_errors)
{
	ck_assert(target_lacks_resources(EMFILE));
	ck_assert(target_lacks_resources(ENFILE));
	ck_assert(target_lacks_resources(ENOMEM));
	ck_assert(!target_lacks_resources(EPERM));
	ck_assert(!target_lacks_resources(0));
}
END_TEST

/* ---- the descriptors of another process ---- */

enum { NUMBER = 40 }; /* these tests open no other descriptor with this number */

static bool same_file(int a, int b)
{
	struct stat one, other;

	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_ino == other.st_ino &&
	       one.st_dev == other.st_dev;
}

/* Opens the file "mine" as NUMBER, and closes descriptor 0. */
static void open_mine(const void *about)
{
	(void)about;
	write_file("mine", "");
	ck_assert_int_eq(dup2(open("mine", O_RDONLY), NUMBER), NUMBER);
	close(STDIN_FILENO);
}

static int open_child_with_file(void)
{
	open_target(start_child(open_mine, NULL));
	close(NUMBER);
	return open("mine", O_RDONLY | O_CLOEXEC);
}

START_TEST(a_descriptor_is_duplicated)
{
	int mine = open_child_with_file();
	int fd = target_get_descriptor(&target, NUMBER);

	ck_assert_int_ge(fd, TARGET_HIGH);
	ck_assert(same_file(fd, mine));
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ASSERT_FAILS(target_get_descriptor(&target, STDIN_FILENO), EBADF);
	ASSERT_FAILS(target_get_descriptor(&target, -1), EBADF);
}
END_TEST

START_TEST(the_link_of_a_descriptor_is_read)
{
	char link[4096] = "x";
	char word[5];

	open_child_with_file();
	ck_assert(target_read_link(&target, NUMBER, link, sizeof(link)));
	ck_assert_str_eq(link, absolute_path("mine"));
	ck_assert(!target_read_link(&target, STDIN_FILENO, link, sizeof(link)));
	ck_assert_str_eq(link, "");
	memset(word, 'x', sizeof(word));
	ck_assert(target_read_link(&target, NUMBER, word, 4));
	ck_assert_str_eq(word, "/tm");
	ck_assert_int_eq(word[4], 'x');
	ck_assert(target_read_link(&target, NUMBER, word, 2));
	ck_assert_str_eq(word, "/");
}
END_TEST

START_TEST(a_descriptor_in_a_path_is_mirrored)
{
	static const char *const paths[] = {"/proc/self/fd/40", "/proc/self/fd/40/a",
		"/proc/thread-self/fd/40", "/dev/fd/40/a/b"};
	int mine = open_child_with_file();
	int descriptors = count_descriptors();

	ck_assert(target_mirror_descriptor(&target, paths[_i]));
	ck_assert(same_file(NUMBER, mine));
	ck_assert_int_eq(count_descriptors(), descriptors + 1);
	ck_assert(target_mirror_descriptor(&target, paths[_i])); /* as for the call's second path */
}
END_TEST

START_TEST(other_paths_mirror_nothing)
{
	static const char *const paths[] = {"/proc/self/fd/40x", "/proc/self/fd/",
		"/proc/self/fd/x", "/proc/self/fdinfo/40", "/dev/fd/ 40", "/dev/fd/-40",
		"/dev/fd/4294967336", "/dev/fd/2147483648", "x", ""};
	int descriptors;

	open_child_with_file();
	descriptors = count_descriptors();
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		ck_assert(target_mirror_descriptor(&target, paths[i]));
		ck_assert_int_eq(count_descriptors(), descriptors);
	}
	ck_assert_int_lt(fcntl(NUMBER, F_GETFD), 0);
}
END_TEST

START_TEST(our_own_descriptors_are_not_replaced)
{
	open_child_with_file();
	ck_assert_int_eq(dup2(STDERR_FILENO, NUMBER), NUMBER);
	errno = 0;
	ck_assert(!target_mirror_descriptor(&target, "/dev/fd/40"));
	ck_assert_int_eq(errno, EBUSY);
	ck_assert(same_file(NUMBER, STDERR_FILENO));
}
END_TEST

START_TEST(a_standard_descriptor_that_the_caller_lacks_is_closed)
{
	open_child_with_file();
	ck_assert(target_mirror_descriptor(&target, "/dev/fd/0"));
	ck_assert_int_lt(fcntl(STDIN_FILENO, F_GETFD), 0);
}
END_TEST

static void replace_stdin(const void *about)
{
	open_mine(about);
	dup2(NUMBER, STDIN_FILENO);
}

START_TEST(a_standard_descriptor_becomes_the_callers)
{
	open_target(start_child(replace_stdin, NULL));
	ck_assert(target_mirror_descriptor(&target, "/dev/fd/0/a"));
	ck_assert(same_file(STDIN_FILENO, open("mine", O_RDONLY)));
}
END_TEST

START_TEST(a_process_that_has_ended_has_no_descriptors)
{
	pid_t child = start_child(open_mine, NULL);

	open_target(child);
	kill_child(child);
	errno = 0;
	ck_assert(!target_mirror_descriptor(&target, "/dev/fd/40"));
	ck_assert_int_eq(errno, ESRCH);
}
END_TEST

static void limit_descriptors(const void *about)
{
	const struct rlimit *limit = about;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, limit), 0);
}

START_TEST(the_limit_on_descriptors_is_the_soft_one)
{
	const struct rlimit limit = {100, 200};

	open_target(start_child(limit_descriptors, &limit));
	ck_assert_int_eq(target_descriptor_limit(&target), 100);
	target.process = NO_PROCESS;
	ck_assert_int_eq(target_descriptor_limit(&target), 1024);
}
END_TEST

static void add_processes(Suite *suite)
{
	TCase *cases = suite_cases(suite, "processes");

	tcase_add_test(cases, the_state_of_a_process_is_read);
	tcase_add_test(cases, a_thread_leads_to_its_process);
	tcase_add_test(cases, pending_signals_are_seen_unless_they_are_blocked);
	tcase_add_test(cases, a_signal_of_a_process_concerns_its_main_thread);
	tcase_add_test(cases, an_ended_process_is_not_alive);
	ADD_ROOT_TEST(cases, the_descriptors_of_another_user_need_not_be_opened);
	ADD_ROOT_TEST(cases, a_process_with_too_many_groups_is_not_opened);
	ADD_ROOT_TEST(cases, credentials_are_ours_if_all_of_them_are);
	if (suite_can_unshare(CLONE_NEWNS | CLONE_NEWNET, "a_root_is_shared..."))
		tcase_add_test(cases, a_root_is_shared_if_it_is_the_same_mount);
	if (suite_can_unshare(CLONE_NEWPID, "a_process_may_have_another_id_in_its_namespace"))
		tcase_add_test(cases, a_process_may_have_another_id_in_its_namespace);
	if (suite_can_unshare(CLONE_NEWNET, "namespaces_are_compared") &&
		suite_can_unshare(CLONE_NEWUSER, "namespaces_are_compared"))
		tcase_add_test(cases, namespaces_are_compared);
}

static void add_descriptors(Suite *suite)
{
	TCase *cases = suite_cases(suite, "descriptors");

	tcase_add_test(cases, our_descriptors_are_moved_out_of_the_way);
	tcase_add_test(cases, below_the_limit_they_stay_where_they_are);
	tcase_add_test(cases, a_lack_of_resources_has_three_errors);
	tcase_add_test(cases, a_descriptor_is_duplicated);
	tcase_add_test(cases, the_link_of_a_descriptor_is_read);
	tcase_add_loop_test(cases, a_descriptor_in_a_path_is_mirrored, 0, 4);
	tcase_add_test(cases, other_paths_mirror_nothing);
	tcase_add_test(cases, our_own_descriptors_are_not_replaced);
	tcase_add_test(cases, a_standard_descriptor_that_the_caller_lacks_is_closed);
	tcase_add_test(cases, a_standard_descriptor_becomes_the_callers);
	tcase_add_test(cases, a_process_that_has_ended_has_no_descriptors);
	tcase_add_test(cases, the_limit_on_descriptors_is_the_soft_one);
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("target");
	TCase *memory = suite_cases(suite, "memory");

	if (!suite_can_read_memory())
		return suite;
	tcase_add_test(memory, memory_is_copied_only_if_all_of_it_can_be_read);
	tcase_add_test(memory, memory_on_two_pages_is_copied);
	tcase_add_test(memory, a_string_is_copied_up_to_its_end);
	tcase_add_test(memory, a_string_without_end_is_refused);
	add_processes(suite);
	add_descriptors(suite);
	return suite;
}
