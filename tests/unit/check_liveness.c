#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "inode.h"
#include "libc.h"
#include "liveness.h"
#include "suite.h"

/* A file that is exchanged with "s" while the guard connects; NULL for none. */
static const char *exchanged;

static void exchange(void)
{
	ck_assert_int_eq(syscall(SYS_renameat2, AT_FDCWD, "s", AT_FDCWD, exchanged,
				 RENAME_EXCHANGE),
		0);
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	bool to_s = exchanged && strcmp(((const struct sockaddr_un *)address)->sun_path, "s") == 0;
	int result;

	if (to_s)
		exchange();
	result = (int)syscall(SYS_connect, fd, address, length);
	if (to_s) {
		int saved = errno;

		exchange();
		errno = saved;
	}
	return result;
}

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
#define TYPES 3

/* The liveness of a pinned socket. Checks that errno and descriptors are unchanged. */
static enum liveness liveness_checked(const struct pin *pin, const char *path)
{
	int before = count_descriptors();
	enum liveness answer = KEEPS_ERRNO(liveness_of(pin, AT_FDCWD, path));

	ck_assert_int_eq(count_descriptors(), before);
	return answer;
}

static enum liveness liveness_of_path(const char *path)
{
	enum liveness answer;
	struct pin pin;

	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	answer = liveness_checked(&pin, path);
	inode_unpin(&pin);
	return answer;
}

START_TEST(a_bound_socket_is_live)
{
	bound_socket("s", types[_i]);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
}
END_TEST

START_TEST(a_listening_socket_is_live)
{
	listening_socket("s", types[_i]);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
}
END_TEST

START_TEST(a_socket_is_live_until_its_process_is_killed)
{
	pid_t owner = start_owner("s", types[_i]);

	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
	kill_child(owner);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_STALE);
}
END_TEST

START_TEST(a_closed_socket_is_stale)
{
	close(listening_socket("s", types[_i]));
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_STALE);
}
END_TEST

START_TEST(a_socket_is_live_until_its_last_descriptor_is_closed)
{
	int fd = listening_socket("s", types[_i]);
	int other = dup(fd);

	close(fd);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
	close(other);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_STALE);
}
END_TEST

START_TEST(a_shut_down_socket_is_live)
{
	int fd = listening_socket("s", types[_i]);

	ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
}
END_TEST

/* Neither the server nor its clients must notice a probe. */
START_TEST(nothing_arrives_at_the_server)
{
	int fd = listening_socket("s", types[_i]);
	char byte;

	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
	if (types[_i] == SOCK_DGRAM)
		ASSERT_FAILS((int)recv(fd, &byte, 1, 0), EAGAIN);
	else
		ASSERT_FAILS(accept4(fd, NULL, NULL, SOCK_CLOEXEC), EAGAIN);
}
END_TEST

/* Connects until a connection would block. */
static void fill_backlog(const char *path, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	strcpy(address.sun_path, path);
	do {
		fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		ck_assert_int_ge(fd, 0);
	} while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	ck_assert_int_eq(errno, EAGAIN);
}

START_TEST(a_full_backlog_is_live)
{
	int fd = bound_socket("s", types[_i]);

	ck_assert_int_eq(listen(fd, 0), 0);
	fill_backlog("s", types[_i]);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
}
END_TEST

START_TEST(a_full_datagram_queue_is_live)
{
	int client;

	bound_socket("s", SOCK_DGRAM);
	client = connected_socket("s", SOCK_DGRAM);
	while (send(client, "x", 1, MSG_DONTWAIT) == 1)
		;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
}
END_TEST

/* It accepts datagrams from its peer only. Other connects fail with EPERM. */
START_TEST(a_datagram_socket_connected_elsewhere_is_live)
{
	struct sockaddr_un peer = {.sun_family = AF_UNIX, .sun_path = "peer"};
	int fd = bound_socket("s", SOCK_DGRAM);

	bound_socket("peer", SOCK_DGRAM);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&peer, sizeof(peer)), 0);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_STALE);
}
END_TEST

/* The pin identifies the inode, even if its path has changed. */
START_TEST(an_unlinked_socket_is_live_until_closed)
{
	int fd = listening_socket("s", types[_i]);
	struct pin pin;

	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(liveness_checked(&pin, "s"), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_checked(&pin, "s"), LIVENESS_STALE);
	inode_unpin(&pin);
}
END_TEST

START_TEST(a_renamed_socket_is_live)
{
	listening_socket("s", types[_i]);
	ck_assert_int_eq(rename("s", "t"), 0);
	ck_assert_int_eq(liveness_of_path("t"), LIVENESS_LIVE);
}
END_TEST

START_TEST(each_link_to_a_live_socket_is_live)
{
	int fd = listening_socket("s", types[_i]);

	ck_assert_int_eq(link("s", "t"), 0);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(liveness_of_path("t"), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of_path("t"), LIVENESS_STALE);
}
END_TEST

/* The path may lead to another file. The inode decides. */
START_TEST(a_pin_is_not_confused_with_the_socket_now_at_its_path)
{
	struct pin old, now;

	make_stale("s");
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &old), 0);
	ck_assert_int_eq(unlink("s"), 0);
	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &now), 0);
	ck_assert_int_eq(liveness_checked(&old, "s"), LIVENESS_STALE);
	ck_assert_int_eq(liveness_checked(&now, "s"), LIVENESS_LIVE);
}
END_TEST

START_TEST(a_live_inode_is_not_confused_with_a_stale_path)
{
	struct pin pin;

	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(unlink("s"), 0);
	make_stale("s");
	ck_assert_int_eq(liveness_checked(&pin, "s"), LIVENESS_LIVE);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_STALE);
}
END_TEST

/* The lookup after the connect does not detect this. It may cause a refusal, but never a theft. */
START_TEST(a_path_that_was_exchanged_twice_is_not_stale)
{
	listening_socket("s", SOCK_STREAM);
	make_stale("t");
	exchanged = "t";
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
}
END_TEST

/* With /proc, the guard does not need the path itself. */
START_TEST(a_path_too_long_for_an_address_is_probed_through_proc)
{
	char name[200];
	int fd = bound_socket("s", SOCK_STREAM);

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(rename("s", name), 0);
	ck_assert_int_eq(liveness_of_path(name), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of_path(name), LIVENESS_STALE);
}
END_TEST

/* Without a descriptor for the pin, the guard connects to the path, if it fits. */
START_TEST(a_socket_without_a_pin_is_probed_at_its_path)
{
	char name[200];
	struct pin pin = {.fd = -1};
	int elsewhere = open("/", O_PATH | O_CLOEXEC);
	int fd = bound_socket("s", SOCK_STREAM);

	ck_assert_int_eq(inode_identify(AT_FDCWD, "s", &pin.inode), 0);
	ck_assert_int_eq(liveness_of(&pin, elsewhere, absolute_path("s")), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of(&pin, elsewhere, absolute_path("s")), LIVENESS_STALE);

	/* Too long for an address: then sock_diag is asked for the inode. */
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	fd = bound_socket("t", SOCK_STREAM);
	ck_assert_int_eq(inode_identify(AT_FDCWD, "t", &pin.inode), 0);
	ck_assert_int_eq(rename("t", name), 0);
	ck_assert_int_eq(liveness_of(&pin, AT_FDCWD, name), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of(&pin, AT_FDCWD, name), LIVENESS_STALE_HERE);
}
END_TEST

/* A filter's EPERM does not mean that the socket is connected to a peer. */
START_TEST(sock_diag_decides_if_connect_is_forbidden)
{
	int fd = bound_socket("s", SOCK_STREAM);

	forbid(SYS_connect);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_STALE_HERE);
}
END_TEST

static void *check_live(void *about)
{
	(void)about;
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_LIVE);
	return NULL;
}

START_TEST(any_thread_may_probe)
{
	pthread_t thread;

	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(pthread_create(&thread, NULL, check_live, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

/* If nothing can be checked, the state is unknown, and not stale. */
START_TEST(without_descriptors_the_state_is_unknown)
{
	struct pin pin;

	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "s")), LIVENESS_UNKNOWN);
}
END_TEST

static int checks_as_stranger(const void *about)
{
	const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)about;
	/* Otherwise the case would not test what its name says. */
	ASSERT_FAILS(connect(fd, (const struct sockaddr *)&address, sizeof(address)), EACCES);
	close(fd);
	return (int)liveness_of_path("s");
}

START_TEST(without_connect_permission_a_live_socket_is_live)
{
	listening_socket("s", types[_i]);
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(run_as_stranger(checks_as_stranger, NULL), LIVENESS_LIVE);
}
END_TEST

START_TEST(without_connect_permission_a_stale_socket_is_stale)
{
	close(listening_socket("s", types[_i]));
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(run_as_stranger(checks_as_stranger, NULL), LIVENESS_STALE_HERE);
}
END_TEST

/* The kernel reports a connection with the inode of its listener, which is closed. */
START_TEST(without_connect_permission_a_connection_is_not_its_listener)
{
	int fd = listening_socket("s", types[_i]);
	int client = connected_socket("s", types[_i]);
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(accepted, 0);
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(run_as_stranger(checks_as_stranger, NULL), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(run_as_stranger(checks_as_stranger, NULL), LIVENESS_STALE_HERE);
	close(client);
	ck_assert_int_eq(run_as_stranger(checks_as_stranger, NULL), LIVENESS_STALE_HERE);
}
END_TEST

/* A socket that may be the one at the path counts as that one. */
START_TEST(without_connect_permission_an_ambiguous_answer_is_live)
{
	int fd;

	fake_kernel(&(struct fake_results){.filesystem = BTRFS_TYPE});
	fd = listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(run_as_stranger(checks_as_stranger, NULL), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(run_as_stranger(checks_as_stranger, NULL), LIVENESS_STALE_HERE);
}
END_TEST

/* sock_diag reports nothing from another namespace, so only connect(2) decides. */
static int checks_from_another_namespace(const void *path)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	return (int)liveness_of_path(path);
}

static int checks_as_stranger_elsewhere(const void *path)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	return run_as_stranger(checks_as_stranger, path);
}

START_TEST(without_connect_permission_a_socket_of_another_network_namespace_is_not_seen)
{
	listening_socket("s", types[_i]);
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(run_in_child(checks_as_stranger_elsewhere, "s"), LIVENESS_STALE_HERE);
}
END_TEST

START_TEST(a_socket_of_another_network_namespace_is_live)
{
	int fd = listening_socket("s", types[_i]);

	ck_assert_int_eq(run_in_child(checks_from_another_namespace, "s"), LIVENESS_LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of_path("s"), LIVENESS_STALE);
}
END_TEST

START_TEST(a_connected_datagram_socket_of_another_namespace_is_live)
{
	struct sockaddr_un peer = {.sun_family = AF_UNIX, .sun_path = "peer"};
	int fd = bound_socket("s", SOCK_DGRAM);

	bound_socket("peer", SOCK_DGRAM);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&peer, sizeof(peer)), 0);
	ck_assert_int_eq(run_in_child(checks_from_another_namespace, "s"), LIVENESS_LIVE);
}
END_TEST

/* sock_diag does not report it, so the guard connects through /proc. */
START_TEST(a_path_relative_to_a_descriptor_is_probed_through_proc)
{
	int dir = open(".", O_PATH | O_CLOEXEC);
	struct pin pin;

	bound_socket("s", SOCK_DGRAM);
	make_stale("t");
	forbid(SYS_sendto);
	ck_assert_int_eq(inode_pin(dir, "s", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, dir, "s")), LIVENESS_LIVE);
	ck_assert_int_eq(inode_pin(dir, "t", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, dir, "t")), LIVENESS_STALE);
}
END_TEST

/* For example in a chroot. sock_diag does not report the socket either. */
START_TEST(without_proc_the_answer_for_the_path_decides)
{
	struct pin pin;

	make_stale("s");
	bound_socket("t", SOCK_STREAM);
	ck_assert_int_eq(chroot("."), 0);
	ck_assert(!exists("/proc"));
	forbid(SYS_sendto);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "s")), LIVENESS_STALE);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "t", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "t")), LIVENESS_LIVE);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "s")),
		LIVENESS_UNKNOWN); /* the pin is that of another socket */
}
END_TEST

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("liveness");
	TCase *cases = suite_cases(suite, "liveness");

	tcase_add_loop_test(cases, a_bound_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, a_listening_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, a_socket_is_live_until_its_process_is_killed, 0, TYPES);
	tcase_add_loop_test(cases, a_closed_socket_is_stale, 0, TYPES);
	tcase_add_loop_test(cases, a_socket_is_live_until_its_last_descriptor_is_closed, 0, TYPES);
	tcase_add_loop_test(cases, a_shut_down_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, nothing_arrives_at_the_server, 0, TYPES);
	tcase_add_loop_test(cases, a_full_backlog_is_live, 0, 2);
	tcase_add_test(cases, a_full_datagram_queue_is_live);
	tcase_add_test(cases, a_datagram_socket_connected_elsewhere_is_live);
	tcase_add_loop_test(cases, an_unlinked_socket_is_live_until_closed, 0, TYPES);
	tcase_add_loop_test(cases, a_renamed_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, each_link_to_a_live_socket_is_live, 0, TYPES);
	tcase_add_test(cases, a_pin_is_not_confused_with_the_socket_now_at_its_path);
	tcase_add_test(cases, a_live_inode_is_not_confused_with_a_stale_path);
	tcase_add_test(cases, a_path_that_was_exchanged_twice_is_not_stale);
	tcase_add_test(cases, a_path_too_long_for_an_address_is_probed_through_proc);
	tcase_add_test(cases, a_socket_without_a_pin_is_probed_at_its_path);
	tcase_add_test(cases, sock_diag_decides_if_connect_is_forbidden);
	tcase_add_test(cases, any_thread_may_probe);
	tcase_add_test(cases, without_descriptors_the_state_is_unknown);
	if (suite_is_root("without_connect_permission_a_live_socket_is_live"))
		tcase_add_loop_test(cases, without_connect_permission_a_live_socket_is_live, 0,
			TYPES);
	if (suite_is_root("without_connect_permission_a_stale_socket_is_stale"))
		tcase_add_loop_test(cases, without_connect_permission_a_stale_socket_is_stale, 0,
			TYPES);
	if (suite_is_root("without_connect_permission_a_connection_is_not_its_listener"))
		tcase_add_loop_test(cases,
			without_connect_permission_a_connection_is_not_its_listener, 0, 2);
	ADD_ROOT_TEST(cases, without_connect_permission_an_ambiguous_answer_is_live);
	if (suite_can_unshare(CLONE_NEWNET, "sockets of another network namespace")) {
		tcase_add_loop_test(cases, a_socket_of_another_network_namespace_is_live, 0, TYPES);
		tcase_add_loop_test(cases,
			without_connect_permission_a_socket_of_another_network_namespace_is_not_seen,
			0, TYPES);
		tcase_add_test(cases, a_connected_datagram_socket_of_another_namespace_is_live);
	}
	cases = suite_cases(suite, "forbidden");
	tcase_add_test(cases, a_path_relative_to_a_descriptor_is_probed_through_proc);
	ADD_ROOT_TEST(cases, without_proc_the_answer_for_the_path_decides);
	return suite;
}
