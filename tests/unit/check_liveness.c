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

/* Changes places with "s" for as long as a connection to it is tried; NULL: nothing does. */
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

/* Asks about a pin, and sees to it that the question leaves nothing behind. */
static enum liveness ask(const struct pin *pin, const char *path)
{
	int before = open_descriptors();
	enum liveness answer = KEEPS_ERRNO(liveness_of(pin, AT_FDCWD, path));

	ck_assert_int_eq(open_descriptors(), before);
	return answer;
}

static enum liveness ask_name(const char *path)
{
	enum liveness answer;
	struct pin pin;

	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	answer = ask(&pin, path);
	inode_unpin(&pin);
	return answer;
}

START_TEST(a_bound_socket_is_live)
{
	bound("s", types[_i]);
	ck_assert_int_eq(ask_name("s"), LIVE);
}
END_TEST

START_TEST(a_listening_socket_is_live)
{
	listening("s", types[_i]);
	ck_assert_int_eq(ask_name("s"), LIVE);
}
END_TEST

START_TEST(another_process_s_socket_is_live_while_it_lives)
{
	pid_t owner = start_owner("s", types[_i]);

	ck_assert_int_eq(ask_name("s"), LIVE);
	end(owner);
	ck_assert_int_eq(ask_name("s"), DEAD);
}
END_TEST

START_TEST(a_closed_socket_is_dead)
{
	close(listening("s", types[_i]));
	ck_assert_int_eq(ask_name("s"), DEAD);
}
END_TEST

START_TEST(a_socket_lives_as_long_as_its_last_descriptor)
{
	int fd = listening("s", types[_i]);
	int other = dup(fd);

	close(fd);
	ck_assert_int_eq(ask_name("s"), LIVE);
	close(other);
	ck_assert_int_eq(ask_name("s"), DEAD);
}
END_TEST

START_TEST(a_shut_down_socket_is_live)
{
	int fd = listening("s", types[_i]);

	ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
	ck_assert_int_eq(ask_name("s"), LIVE);
}
END_TEST

/* The server must not see us, nor its clients. */
START_TEST(nothing_arrives_at_the_server)
{
	int fd = listening("s", types[_i]);
	char byte;

	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(ask_name("s"), LIVE);
	if (types[_i] == SOCK_DGRAM)
		ASSERT_FAILS((int)recv(fd, &byte, 1, 0), EAGAIN);
	else
		ASSERT_FAILS(accept4(fd, NULL, NULL, SOCK_CLOEXEC), EAGAIN);
}
END_TEST

/* Fills a stream server's backlog: connects until that would wait. */
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
	int fd = bound("s", types[_i]);

	ck_assert_int_eq(listen(fd, 0), 0);
	fill_backlog("s", types[_i]);
	ck_assert_int_eq(ask_name("s"), LIVE);
}
END_TEST

START_TEST(a_full_datagram_queue_is_live)
{
	int client;

	bound("s", SOCK_DGRAM);
	client = connected("s", SOCK_DGRAM);
	while (send(client, "x", 1, MSG_DONTWAIT) == 1)
		;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(ask_name("s"), LIVE);
}
END_TEST

/* It takes datagrams from its peer alone, and says EPERM to everybody else. */
START_TEST(a_datagram_socket_connected_elsewhere_is_live)
{
	struct sockaddr_un peer = {.sun_family = AF_UNIX, .sun_path = "peer"};
	int fd = bound("s", SOCK_DGRAM);

	bound("peer", SOCK_DGRAM);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&peer, sizeof(peer)), 0);
	ck_assert_int_eq(ask_name("s"), LIVE);
	close(fd);
	ck_assert_int_eq(ask_name("s"), DEAD);
}
END_TEST

/* The pin tells the inode, wherever its names are by now. */
START_TEST(an_unlinked_socket_is_live_until_closed)
{
	int fd = listening("s", types[_i]);
	struct pin pin;

	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(ask(&pin, "s"), LIVE);
	close(fd);
	ck_assert_int_eq(ask(&pin, "s"), DEAD);
	inode_unpin(&pin);
}
END_TEST

START_TEST(a_renamed_socket_is_live)
{
	listening("s", types[_i]);
	ck_assert_int_eq(rename("s", "t"), 0);
	ck_assert_int_eq(ask_name("t"), LIVE);
}
END_TEST

START_TEST(a_linked_name_lives_with_the_socket)
{
	int fd = listening("s", types[_i]);

	ck_assert_int_eq(link("s", "t"), 0);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(ask_name("t"), LIVE);
	close(fd);
	ck_assert_int_eq(ask_name("t"), DEAD);
}
END_TEST

/* The name may lead elsewhere by now: what counts is the inode. */
START_TEST(a_pin_is_not_taken_for_what_has_its_name_now)
{
	struct pin old, now;

	make_stale("s");
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &old), 0);
	ck_assert_int_eq(unlink("s"), 0);
	listening("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &now), 0);
	ck_assert_int_eq(ask(&old, "s"), DEAD);
	ck_assert_int_eq(ask(&now, "s"), LIVE);
}
END_TEST

START_TEST(a_live_inode_is_not_taken_for_a_stale_name)
{
	struct pin pin;

	listening("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(unlink("s"), 0);
	make_stale("s");
	ck_assert_int_eq(ask(&pin, "s"), LIVE);
	ck_assert_int_eq(ask_name("s"), DEAD);
}
END_TEST

/* The look after the connection cannot tell. A refusal may come of it, and never a theft. */
START_TEST(a_name_that_led_elsewhere_and_back_is_not_stale)
{
	listening("s", SOCK_STREAM);
	make_stale("t");
	exchanged = "t";
	ck_assert_int_eq(ask_name("s"), LIVE);
}
END_TEST

/* Neither the name's length nor its bytes matter where there is /proc. */
START_TEST(a_name_too_long_for_an_address_is_asked_all_the_same)
{
	char name[200];
	int fd = bound("s", SOCK_STREAM);

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(rename("s", name), 0);
	ck_assert_int_eq(ask_name(name), LIVE);
	close(fd);
	ck_assert_int_eq(ask_name(name), DEAD);
}
END_TEST

/* Without a descriptor to keep it, its name is asked, if it can be. */
START_TEST(what_is_not_pinned_is_asked_by_its_name)
{
	char name[200];
	struct pin pin = {.fd = -1};
	int elsewhere = open("/", O_PATH | O_CLOEXEC);
	int fd = bound("s", SOCK_STREAM);

	ck_assert_int_eq(inode_identify(AT_FDCWD, "s", &pin.inode), 0);
	ck_assert_int_eq(liveness_of(&pin, elsewhere, absolute("s")), LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of(&pin, elsewhere, absolute("s")), DEAD);

	/* Too long for an address: then sock_diag is asked for the inode. */
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	fd = bound("t", SOCK_STREAM);
	ck_assert_int_eq(inode_identify(AT_FDCWD, "t", &pin.inode), 0);
	ck_assert_int_eq(rename("t", name), 0);
	ck_assert_int_eq(liveness_of(&pin, AT_FDCWD, name), LIVE);
	close(fd);
	ck_assert_int_eq(liveness_of(&pin, AT_FDCWD, name), DEAD);
}
END_TEST

/* A filter's EPERM is not taken for that of a socket that talks to one peer only. */
START_TEST(where_connect_is_forbidden_sock_diag_tells)
{
	int fd = bound("s", SOCK_STREAM);

	forbid(SYS_connect);
	ck_assert_int_eq(ask_name("s"), LIVE);
	close(fd);
	ck_assert_int_eq(ask_name("s"), DEAD);
}
END_TEST

static void *ask_live(void *about)
{
	(void)about;
	ck_assert_int_eq(ask_name("s"), LIVE);
	return NULL;
}

START_TEST(any_thread_may_ask)
{
	pthread_t thread;

	listening("s", SOCK_STREAM);
	ck_assert_int_eq(pthread_create(&thread, NULL, ask_live, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

/* Nothing can be asked: it must not be taken for dead. */
START_TEST(without_descriptors_nothing_is_known)
{
	struct pin pin;

	listening("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "s")), UNKNOWN);
}
END_TEST

static int asks_as_stranger(const void *about)
{
	const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)about;
	/* Else it would not be what it is to test. */
	ASSERT_FAILS(connect(fd, (const struct sockaddr *)&address, sizeof(address)), EACCES);
	close(fd);
	return (int)ask_name("s");
}

START_TEST(who_may_not_connect_learns_that_it_is_live)
{
	listening("s", types[_i]);
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(as_stranger(asks_as_stranger, NULL), LIVE);
}
END_TEST

START_TEST(who_may_not_connect_learns_that_it_is_dead)
{
	close(listening("s", types[_i]));
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(as_stranger(asks_as_stranger, NULL), DEAD);
}
END_TEST

/* The kernel describes it as it does its listener, who is gone. */
START_TEST(who_may_not_connect_does_not_take_a_connection_for_its_listener)
{
	int fd = listening("s", types[_i]);
	int client = connected("s", types[_i]);
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(accepted, 0);
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(as_stranger(asks_as_stranger, NULL), LIVE);
	close(fd);
	ck_assert_int_eq(as_stranger(asks_as_stranger, NULL), DEAD);
	close(client);
	ck_assert_int_eq(as_stranger(asks_as_stranger, NULL), DEAD);
}
END_TEST

/* What cannot be told from it counts as it. */
START_TEST(who_may_not_connect_takes_what_is_ambiguous_for_live)
{
	int fd;

	pretend(&(struct pretence){.filesystem = BTRFS_TYPE});
	fd = listening("s", SOCK_STREAM);
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(as_stranger(asks_as_stranger, NULL), LIVE);
	close(fd);
	ck_assert_int_eq(as_stranger(asks_as_stranger, NULL), DEAD);
}
END_TEST

/* sock_diag sees nothing of it from there; the answer to connect alone tells. */
static int asks_from_another_namespace(const void *path)
{
	if (unshare(CLONE_NEWNET) != 0)
		return LIVE; /* a sandbox forbids it */
	return (int)ask_name(path);
}

START_TEST(another_network_namespace_s_socket_is_live)
{
	int fd = listening("s", types[_i]);

	ck_assert_int_eq(in_child(asks_from_another_namespace, "s"), LIVE);
	close(fd);
	ck_assert_int_eq(ask_name("s"), DEAD);
}
END_TEST

START_TEST(another_namespace_s_connected_datagram_socket_is_live)
{
	struct sockaddr_un peer = {.sun_family = AF_UNIX, .sun_path = "peer"};
	int fd = bound("s", SOCK_DGRAM);

	bound("peer", SOCK_DGRAM);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&peer, sizeof(peer)), 0);
	ck_assert_int_eq(in_child(asks_from_another_namespace, "s"), LIVE);
}
END_TEST

/* sock_diag does not tell; and connect(2) is asked by way of /proc. */
START_TEST(a_name_in_a_directory_that_is_open_is_asked_by_its_pin)
{
	int dir = open(".", O_PATH | O_CLOEXEC);
	struct pin pin;

	bound("s", SOCK_DGRAM);
	make_stale("t");
	forbid(SYS_sendto);
	ck_assert_int_eq(inode_pin(dir, "s", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, dir, "s")), LIVE);
	ck_assert_int_eq(inode_pin(dir, "t", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, dir, "t")), DEAD);
}
END_TEST

/* As in a chroot; sock_diag does not tell either. */
START_TEST(without_proc_the_path_s_word_has_to_do)
{
	struct pin pin;

	make_stale("s");
	bound("t", SOCK_STREAM);
	ck_assert_int_eq(chroot("."), 0);
	ck_assert(!exists("/proc"));
	forbid(SYS_sendto);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "s")), DEAD);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "t", &pin), 0);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "t")), LIVE);
	ck_assert_int_eq(KEEPS_ERRNO(liveness_of(&pin, AT_FDCWD, "s")), UNKNOWN); /* another's */
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("liveness");
	TCase *cases = suite_cases(suite, "liveness");

	tcase_add_loop_test(cases, a_bound_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, a_listening_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, another_process_s_socket_is_live_while_it_lives, 0, TYPES);
	tcase_add_loop_test(cases, a_closed_socket_is_dead, 0, TYPES);
	tcase_add_loop_test(cases, a_socket_lives_as_long_as_its_last_descriptor, 0, TYPES);
	tcase_add_loop_test(cases, a_shut_down_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, nothing_arrives_at_the_server, 0, TYPES);
	tcase_add_loop_test(cases, a_full_backlog_is_live, 0, 2);
	tcase_add_test(cases, a_full_datagram_queue_is_live);
	tcase_add_test(cases, a_datagram_socket_connected_elsewhere_is_live);
	tcase_add_loop_test(cases, an_unlinked_socket_is_live_until_closed, 0, TYPES);
	tcase_add_loop_test(cases, a_renamed_socket_is_live, 0, TYPES);
	tcase_add_loop_test(cases, a_linked_name_lives_with_the_socket, 0, TYPES);
	tcase_add_test(cases, a_pin_is_not_taken_for_what_has_its_name_now);
	tcase_add_test(cases, a_live_inode_is_not_taken_for_a_stale_name);
	tcase_add_test(cases, a_name_that_led_elsewhere_and_back_is_not_stale);
	tcase_add_test(cases, a_name_too_long_for_an_address_is_asked_all_the_same);
	tcase_add_test(cases, what_is_not_pinned_is_asked_by_its_name);
	tcase_add_test(cases, where_connect_is_forbidden_sock_diag_tells);
	tcase_add_test(cases, any_thread_may_ask);
	tcase_add_test(cases, without_descriptors_nothing_is_known);
	if (suite_is_root("who_may_not_connect_learns_that_it_is_live"))
		tcase_add_loop_test(cases, who_may_not_connect_learns_that_it_is_live, 0, TYPES);
	if (suite_is_root("who_may_not_connect_learns_that_it_is_dead"))
		tcase_add_loop_test(cases, who_may_not_connect_learns_that_it_is_dead, 0, TYPES);
	if (suite_is_root("who_may_not_connect_does_not_take_a_connection_for_its_listener"))
		tcase_add_loop_test(cases,
			who_may_not_connect_does_not_take_a_connection_for_its_listener, 0, 2);
	ADD_ROOT_TEST(cases, who_may_not_connect_takes_what_is_ambiguous_for_live);
	if (suite_is_root("another_network_namespace_s_socket_is_live"))
		tcase_add_loop_test(cases, another_network_namespace_s_socket_is_live, 0, TYPES);
	ADD_ROOT_TEST(cases, another_namespace_s_connected_datagram_socket_is_live);
	cases = suite_cases(suite, "forbidden");
	tcase_add_test(cases, a_name_in_a_directory_that_is_open_is_asked_by_its_pin);
	ADD_ROOT_TEST(cases, without_proc_the_path_s_word_has_to_do);
	return suite;
}
