#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "filesystem.h"
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

static bool plain; /* the scratch directory is where devices and numbers suffice */

static void look_at_scratch(void)
{
	struct pin pin = {.fd = open("/tmp", O_PATH | O_CLOEXEC)};

	plain = filesystem_superblock(&pin, pin.fd, "").exact;
	close(pin.fd);
}

/* Elsewhere, yes is the best that can be made of it. */
static enum sockdiag best(enum sockdiag answer)
{
	return answer == SOCKDIAG_AMBIGUOUS && !plain ? SOCKDIAG_YES : answer;
}

/* Each question through one of these, which watch errno and descriptors. */

static enum sockdiag is_bound(const struct pin *pin)
{
	int before = open_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_bound(pin, AT_FDCWD, "s"));

	ck_assert_int_eq(open_descriptors(), before);
	return best(answer);
}

static enum sockdiag is_bound_by(const struct pin *pin, ino_t socket)
{
	int before = open_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_bound_by(pin, AT_FDCWD, "s", socket));

	ck_assert_int_eq(open_descriptors(), before);
	return best(answer);
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

/* The same number on another device. */
START_TEST(the_device_counts)
{
	struct pin pin;

	bound("s", SOCK_STREAM);
	pin = pin_of("s");
	pin.inode.file.dev++;
	ck_assert_int_eq(is_bound(&pin), plain ? SOCKDIAG_NO : SOCKDIAG_YES);
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

/* The kernel reports it with its listener's inode. */
START_TEST(an_accepted_connection_says_no)
{
	int fd = listening("s", types[_i]);
	struct pin pin = pin_of("s");
	int client = connected("s", types[_i]);
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(accepted, 0);
	ck_assert_int_eq(is_bound_by(&pin, number_of(accepted)), SOCKDIAG_NO);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, number_of(client)), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
	close(client);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_connected_datagram_socket_says_yes)
{
	struct sockaddr_un peer = {.sun_family = AF_UNIX, .sun_path = "peer"};
	int fd = bound("s", SOCK_DGRAM);
	struct pin pin = pin_of("s");

	bound("peer", SOCK_DGRAM);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&peer, sizeof(peer)), 0);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_YES);
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

/* ---- where device and number do not suffice ---- */

static const uint32_t ambiguous[] = {BTRFS_TYPE, XFS_TYPE, OVERLAYFS_TYPE};
#define AMBIGUOUS 3

static void pretend_filesystem(uint32_t type)
{
	pretend(&(struct pretence){.filesystem = type});
}

START_TEST(a_socket_of_that_number_is_ambiguous)
{
	int fd = bound("s", SOCK_STREAM);
	struct pin pin = pin_of("s");

	pretend_filesystem(ambiguous[_i]);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_AMBIGUOUS);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_AMBIGUOUS);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_socket_of_another_number_is_not)
{
	struct pin stale;
	int fd = bound("s", SOCK_STREAM);

	make_stale("t");
	stale = pin_of("t");
	pretend_filesystem(ambiguous[_i]);
	ck_assert_int_eq(is_bound(&stale), SOCKDIAG_NO);
	ck_assert_int_eq(is_bound_by(&stale, number_of(fd)), SOCKDIAG_NO);
}
END_TEST

START_TEST(another_device_of_btrfs_says_nothing)
{
	int fd = bound("s", SOCK_STREAM);
	struct pin pin = pin_of("s");

	pin.inode.file.dev++;
	pretend_filesystem(XFS_TYPE);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_NO);
	pretend_filesystem(BTRFS_TYPE);
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_AMBIGUOUS);
	pretend_filesystem(OVERLAYFS_TYPE); /* whose directory has the right one */
	ck_assert_int_eq(is_bound_by(&pin, number_of(fd)), SOCKDIAG_AMBIGUOUS);
}
END_TEST

/* Of another inode, which ends in the same 32 bits as this one's number does. */
static struct pin twin_of(const char *path)
{
	struct pin twin = pin_of(path);

	twin.inode.file.ino += UINT64_C(1) << 32;
	return twin;
}

START_TEST(a_socket_whose_name_leads_to_another_inode_is_passed_over)
{
	struct pin twin;
	int fd = bound(absolute("s"), types[_i]);

	twin = twin_of("s");
	pretend_filesystem(XFS_TYPE);
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_NO);
	ck_assert_int_eq(is_bound_by(&twin, number_of(fd)), SOCKDIAG_AMBIGUOUS);
}
END_TEST

START_TEST(a_socket_whose_name_tells_nothing_stays_ambiguous)
{
	struct pin twin;

	bound("relative", SOCK_STREAM);
	twin = twin_of("relative");
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);

	bound(absolute("renamed"), SOCK_STREAM);
	ck_assert_int_eq(rename("renamed", "s"), 0);
	twin = twin_of("s");
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
	bound("renamed", SOCK_STREAM); /* of another number */
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
	ck_assert_int_eq(unlink("renamed"), 0);
	ck_assert_int_eq(mkdir("renamed", 0755), 0);
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
}
END_TEST

/* The kernel would not describe a socket there in this way. */
START_TEST(a_name_on_another_file_system_tells_nothing)
{
	struct pin twin;

	bound(absolute("s"), SOCK_STREAM);
	twin = twin_of("s");
	pretend(&(struct pretence){.filesystem = XFS_TYPE, .minor = 4711});
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
	pretend_filesystem(BTRFS_TYPE);
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_NO);
	close(twin.fd);
	twin.fd = -1; /* of no type that is known */
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
}
END_TEST

START_TEST(the_longest_name_is_compared)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pin twin;
	char name[sizeof(address.sun_path) + 1];
	int length = snprintf(name, sizeof(name), "%s/", absolute("."));

	memset(name + length, 'n', sizeof(address.sun_path) - (size_t)length);
	name[sizeof(address.sun_path)] = '\0';
	memcpy(address.sun_path, name, sizeof(address.sun_path));
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	twin = twin_of(name);
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_NO);
}
END_TEST

START_TEST(only_some_sockets_are_binders)
{
	enum { ESTABLISHED = 1, CLOSE = 7, LISTEN = 10 };

	for (int i = 0; i < 2; i++) {
		ck_assert(sockdiag_is_binder((uint8_t)types[i], LISTEN));
		ck_assert(sockdiag_is_binder((uint8_t)types[i], CLOSE));
		ck_assert(!sockdiag_is_binder((uint8_t)types[i], ESTABLISHED));
	}
	ck_assert(sockdiag_is_binder(SOCK_DGRAM, CLOSE));
	ck_assert(sockdiag_is_binder(SOCK_DGRAM, ESTABLISHED));
}
END_TEST

/* ---- is it seen through a view ---- */

static bool is_view(const struct pin *pin, int fd, uint64_t cookie)
{
	int before = open_descriptors();
	bool answer =
		KEEPS_ERRNO(sockdiag_bound_through_view(pin, AT_FDCWD, "s", number_of(fd), cookie));

	ck_assert_int_eq(open_descriptors(), before);
	return answer;
}

START_TEST(a_view_has_the_number_and_another_device)
{
	int fd = bound("s", types[_i]);
	struct pin pin = pin_of("s");
	struct pin view = pin;
	struct pin other;

	bound("t", SOCK_STREAM);
	other = pin_of("t");
	view.inode.file.dev = other.inode.file.dev = makedev(0, 4711);
	ck_assert(is_view(&view, fd, cookie_of(fd)));
	ck_assert(!is_view(&view, fd, cookie_of(fd) + 1));
	ck_assert(!is_view(&other, fd, cookie_of(fd)));
	ck_assert(!is_view(&pin, fd, cookie_of(fd)));
}
END_TEST

START_TEST(a_socket_without_an_inode_has_no_view)
{
	int nameless = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pin pin;

	make_stale("s");
	pin = pin_of("s");
	pin.inode.file.dev = makedev(0, 4711);
	ck_assert(!is_view(&pin, nameless, cookie_of(nameless)));
}
END_TEST

START_TEST(a_copy_of_a_whole_disk_is_no_view)
{
	int fd = bound("s", SOCK_STREAM);
	struct pin pin = pin_of("s");
	bool on_disk = major(pin.inode.file.dev) != 0;

	pin.inode.file.dev = makedev(8, 1);
	ck_assert_int_eq(is_view(&pin, fd, cookie_of(fd)), !on_disk);
}
END_TEST

START_TEST(where_the_device_says_nothing_there_is_no_view)
{
	static const uint32_t filesystems[] = {BTRFS_TYPE, OVERLAYFS_TYPE};
	int fd = bound("s", SOCK_STREAM);
	struct pin pin = pin_of("s");

	pin.inode.file.dev = makedev(0, 4711);
	pretend_filesystem(filesystems[_i]);
	ck_assert(!is_view(&pin, fd, cookie_of(fd)));
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
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_bound(&pin, AT_FDCWD, "s")), SOCKDIAG_SILENT);
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_bound_by(&pin, AT_FDCWD, "s", number)),
		SOCKDIAG_SILENT);
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
	return KEEPS_ERRNO(sockdiag_bound(pin, AT_FDCWD, "s")) == SOCKDIAG_SILENT;
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

	if (sockdiag_bound(&pin, AT_FDCWD, "s") != SOCKDIAG_SILENT)
		return true;
	printf("# SKIP all of sockdiag: this kernel has no unix_diag\n");
	return false;
}

/* Other file systems are pretended, on one whose devices and numbers are the kernel's own. */
static void add_twins(TCase *twins)
{
	tcase_add_loop_test(twins, a_socket_of_that_number_is_ambiguous, 0, AMBIGUOUS);
	tcase_add_loop_test(twins, a_socket_of_another_number_is_not, 0, AMBIGUOUS);
	tcase_add_test(twins, another_device_of_btrfs_says_nothing);
	tcase_add_loop_test(twins, a_socket_whose_name_leads_to_another_inode_is_passed_over, 0,
		TYPES);
	tcase_add_test(twins, a_socket_whose_name_tells_nothing_stays_ambiguous);
	tcase_add_test(twins, a_name_on_another_file_system_tells_nothing);
	tcase_add_test(twins, the_longest_name_is_compared);
	tcase_add_test(twins, only_some_sockets_are_binders);
}

static void add_views(TCase *views)
{
	tcase_add_loop_test(views, a_view_has_the_number_and_another_device, 0, TYPES);
	tcase_add_test(views, a_socket_without_an_inode_has_no_view);
	tcase_add_test(views, a_copy_of_a_whole_disk_is_no_view);
	tcase_add_loop_test(views, where_the_device_says_nothing_there_is_no_view, 0, 2);
}

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("sockdiag");
	TCase *any = suite_cases(suite, "any");
	TCase *one = suite_cases(suite, "one");
	TCase *twins = suite_cases(suite, "twins");
	TCase *views = suite_cases(suite, "views");
	TCase *there = suite_cases(suite, "there");
	TCase *silent = suite_cases(suite, "silent");

	tcase_add_test(silent, without_descriptors_there_is_no_answer);
	if (!kernel_answers())
		return suite;
	look_at_scratch();
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
	tcase_add_loop_test(one, an_accepted_connection_says_no, 0, 2);
	tcase_add_test(one, a_connected_datagram_socket_says_yes);
	tcase_add_test(one, what_is_no_socket_says_no);
	if (plain) {
		add_twins(twins);
		add_views(views);
	}
	tcase_add_loop_test(there, a_socket_is_there_until_closed, 0, TYPES);
	tcase_add_test(there, both_number_and_cookie_count);
	tcase_add_loop_test(silent, what_a_filter_forbids_is_silence, 0, 2);
	tcase_add_test(silent, without_memory_for_the_answer_there_is_silence);
	ADD_ROOT_TEST(silent, no_permission_is_needed);
	return suite;
}
