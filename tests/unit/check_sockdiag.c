#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "inode.h"
#include "sockdiag.h"
#include "suite.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
#define TYPES 3

static struct pin pin_of(const char *path)
{
	struct pin pin;

	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	return pin;
}

static ino_t number_of(int fd)
{
	struct stat found;

	ck_assert_int_eq(fstat(fd, &found), 0);
	return found.st_ino;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	return cookie;
}

/* Each question through one of these, which watch errno and descriptors. */

static enum sockdiag is_bound(const struct pin *pin)
{
	int before = open_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_bound(pin));

	ck_assert_int_eq(open_descriptors(), before);
	return answer;
}

static enum sockdiag is_bound_by(const struct pin *pin, ino_t socket)
{
	int before = open_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_bound_by(pin, socket));

	ck_assert_int_eq(open_descriptors(), before);
	return answer;
}

static enum sockdiag is_there(ino_t socket, uint64_t cookie)
{
	int before = open_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_exists(socket, cookie));

	ck_assert_int_eq(open_descriptors(), before);
	return answer;
}

/* ---- is any socket bound to it ---- */

START_TEST(a_bound_socket_is_found_until_closed)
{
	int fd = bound("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_listening_socket_is_found)
{
	struct pin pin;

	listening("s", types[_i]);
	pin = pin_of("s");
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
}
END_TEST

START_TEST(an_unlinked_socket_is_found)
{
	int fd = bound("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(another_process_s_socket_is_found)
{
	pid_t owner = start_owner("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	end(owner);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_neighbour_is_not_taken_for_it)
{
	struct pin stale;

	make_stale("stale");
	listening("before", SOCK_STREAM);
	stale = pin_of("stale");
	listening("after", SOCK_STREAM);
	ck_assert_int_eq(is_bound(&stale), SOCKDIAG_NO);
}
END_TEST

/* These tell stat(2) another device than sock_diag. */
static bool has_two_devices(const struct pin *pin)
{
	struct statfs fs;

	ck_assert_int_eq(fstatfs(pin->fd, &fs), 0);
	return (uint32_t)fs.f_type == 0x9123683e /* btrfs */ ||
	       (uint32_t)fs.f_type == 0x794c7630 /* overlayfs */;
}

/* The same number on another device. */
START_TEST(the_device_counts)
{
	struct pin pin;

	bound("s", SOCK_STREAM);
	pin = pin_of("s");
	if (has_two_devices(&pin))
		return;
	pin.inode.file.dev++;
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(it_is_found_among_many)
{
	struct pin pin;
	int many[2 * 400];

	bound("s", SOCK_STREAM);
	pin = pin_of("s");
	for (int i = 0; i < 400; i++)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, &many[2 * i]), 0);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	make_stale("t");
	pin = pin_of("t");
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

/* ---- is this socket bound to it ---- */

START_TEST(the_socket_itself_says_yes)
{
	int fd = listening("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_YES);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_YES);
}
END_TEST

START_TEST(another_socket_says_no)
{
	int fd = bound("s", types[_i]);
	int other = bound("t", types[_i]);
	struct pin pin = pin_of("s");
	int nameless = socket(AF_UNIX, types[_i] | SOCK_CLOEXEC, 0);

	ck_assert_int_ne(is_bound_by(&pin, number_of(other)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, number_of(nameless)), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_YES);
}
END_TEST

START_TEST(a_socket_that_was_bound_there_before_says_no)
{
	int fd = bound("s", SOCK_STREAM);
	struct pin pin;

	ck_assert_int_eq(rename("s", "t"), 0);
	bound("s", SOCK_STREAM);
	pin = pin_of("s");
	ck_assert_int_ne(is_bound_by(&pin, number_of(fd)), SOCKDIAG_YES);
}
END_TEST

START_TEST(an_accepted_connection_says_yes_for_its_listener)
{
	int fd = listening("s", types[_i]);
	struct pin pin = pin_of("s");
	int client = connected("s", types[_i]);
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(accepted, 0);
	ck_assert_int_eq(is_bound_by(&pin, number_of(accepted)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, number_of(client)), SOCKDIAG_YES);
}
END_TEST

START_TEST(what_is_no_socket_says_no)
{
	int fd = bound("s", SOCK_STREAM);
	struct pin pin = pin_of("s");
	int internet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ino_t gone = number_of(fd);

	ck_assert_int_ne(is_bound_by(&pin, number_of(internet)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, number_of(pin.fd)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, UINT32_MAX), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_ne(is_bound_by(&pin, gone), SOCKDIAG_YES);
}
END_TEST

/* ---- is this socket still there ---- */

START_TEST(a_socket_is_there_until_closed)
{
	int fd = bound("s", types[_i]);
	ino_t number = number_of(fd);
	uint64_t cookie = cookie_of(fd);
	int other = dup(fd);

	ck_assert_int_eq(is_there(number, cookie), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(is_there(number, cookie), SOCKDIAG_YES);
	close(other);
	ck_assert_int_eq(is_there(number, cookie), SOCKDIAG_NO);
}
END_TEST

/* Numbers are used again, cookies never. */
START_TEST(both_number_and_cookie_count)
{
	int fd = bound("s", SOCK_STREAM);
	int other = bound("t", SOCK_STREAM);
	uint64_t cookie = cookie_of(fd);

	ck_assert_int_eq(is_there(number_of(fd), cookie + 1), SOCKDIAG_NO);
	ck_assert_int_eq(is_there(number_of(fd), cookie ^ UINT64_C(1) << 32), SOCKDIAG_NO);
	ck_assert_int_eq(is_there(number_of(fd), 0), SOCKDIAG_NO);
	ck_assert_int_eq(is_there(number_of(fd), UINT64_MAX), SOCKDIAG_NO);
	ck_assert_int_eq(is_there(number_of(other), cookie), SOCKDIAG_NO);
	ck_assert_int_eq(is_there(0, cookie), SOCKDIAG_NO);
}
END_TEST

/* ---- when there is no asking ---- */

START_TEST(without_descriptors_there_is_no_answer)
{
	int fd = bound("s", SOCK_STREAM);
	struct pin pin = pin_of("s");
	uint64_t cookie = cookie_of(fd);
	ino_t number = number_of(fd);

	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_bound(&pin)), SOCKDIAG_SILENT);
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_bound_by(&pin, number)), SOCKDIAG_SILENT);
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_exists(number, cookie)), SOCKDIAG_SILENT);
}
END_TEST

/* The question, then the answer. */
START_TEST(what_a_filter_forbids_is_silence)
{
	static const int calls[] = {SYS_sendto, SYS_recvfrom};
	int fd = bound("s", SOCK_STREAM);
	struct pin pin = pin_of("s");
	ino_t number = number_of(fd);
	uint64_t cookie = cookie_of(fd);

	forbid(calls[_i]);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_SILENT);
	ck_assert_int_eq(is_bound_by(&pin, number), SOCKDIAG_SILENT);
	ck_assert_int_eq(is_there(number, cookie), SOCKDIAG_SILENT);
}
END_TEST

static int is_silent_without_memory(const void *pin)
{
	forbid_with(CALL_MAP, ENOMEM);
	return KEEPS_ERRNO(sockdiag_bound(pin)) == SOCKDIAG_SILENT;
}

START_TEST(without_memory_for_the_answer_there_is_silence)
{
	struct pin pin;

	bound("s", SOCK_STREAM);
	pin = pin_of("s");
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	ck_assert_int_eq(in_child(is_silent_without_memory, &pin), 1);
}
END_TEST

static int asks_as_stranger(const void *about)
{
	int fd = *(const int *)about;
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_YES);
	ck_assert_int_eq(is_there(number_of(fd), cookie_of(fd)), SOCKDIAG_YES);
	return 0;
}

START_TEST(no_permission_is_needed)
{
	int fd = bound("s", SOCK_STREAM);

	ck_assert_int_eq(chmod("s", 0), 0);
	ck_assert_int_eq(as_stranger(asks_as_stranger, &fd), 0);
}
END_TEST

/* A kernel without unix_diag says nothing, and there is nothing to be tested. */
static bool kernel_answers(void)
{
	struct pin pin = {.fd = -1};

	if (sockdiag_bound(&pin) != SOCKDIAG_SILENT)
		return true;
	printf("# SKIP all of sockdiag: this kernel has no unix_diag\n");
	return false;
}

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("sockdiag");
	TCase *any = suite_cases(suite, "any");
	TCase *one = suite_cases(suite, "one");
	TCase *there = suite_cases(suite, "there");
	TCase *silent = suite_cases(suite, "silent");

	tcase_add_test(silent, without_descriptors_there_is_no_answer);
	if (!kernel_answers())
		return suite;
	tcase_add_loop_test(any, a_bound_socket_is_found_until_closed, 0, TYPES);
	tcase_add_loop_test(any, a_listening_socket_is_found, 0, TYPES);
	tcase_add_loop_test(any, an_unlinked_socket_is_found, 0, TYPES);
	tcase_add_loop_test(any, another_process_s_socket_is_found, 0, TYPES);
	tcase_add_test(any, a_neighbour_is_not_taken_for_it);
	tcase_add_test(any, the_device_counts);
	tcase_add_test(any, it_is_found_among_many);
	tcase_add_loop_test(one, the_socket_itself_says_yes, 0, TYPES);
	tcase_add_loop_test(one, another_socket_says_no, 0, TYPES);
	tcase_add_test(one, a_socket_that_was_bound_there_before_says_no);
	tcase_add_loop_test(one, an_accepted_connection_says_yes_for_its_listener, 0, 2);
	tcase_add_test(one, what_is_no_socket_says_no);
	tcase_add_loop_test(there, a_socket_is_there_until_closed, 0, TYPES);
	tcase_add_test(there, both_number_and_cookie_count);
	tcase_add_loop_test(silent, what_a_filter_forbids_is_silence, 0, 2);
	tcase_add_test(silent, without_memory_for_the_answer_there_is_silence);
	ADD_ROOT_TEST(silent, no_permission_is_needed);
	return suite;
}
