#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

static ino_t socket_number_of(int fd)
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

static bool exact; /* in the scratch directory, device and number identify an inode */

static void examine_scratch(void)
{
	struct pin pin = {.fd = open("/tmp", O_PATH | O_CLOEXEC)};

	exact = filesystem_superblock(&pin, pin.fd, "").exact;
	close(pin.fd);
}

/* Where device and number do not identify an inode, the correct answer is "ambiguous", not "yes".
 */
static enum sockdiag ambiguous_as_yes(enum sockdiag answer)
{
	return answer == SOCKDIAG_AMBIGUOUS && !exact ? SOCKDIAG_YES : answer;
}

/* Each query goes through one of these functions, which also check errno and descriptors. */

static enum sockdiag is_bound(const struct pin *pin)
{
	int before = count_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_any_bound_to(pin, AT_FDCWD, "s"));

	ck_assert_int_eq(count_descriptors(), before);
	return ambiguous_as_yes(answer);
}

static enum sockdiag is_bound_by(const struct pin *pin, ino_t socket)
{
	int before = count_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_is_bound_to(pin, AT_FDCWD, "s", socket));

	ck_assert_int_eq(count_descriptors(), before);
	return ambiguous_as_yes(answer);
}

static enum sockdiag socket_exists(ino_t socket, uint64_t cookie)
{
	int before = count_descriptors();
	enum sockdiag answer = KEEPS_ERRNO(sockdiag_socket_exists(socket, cookie));

	ck_assert_int_eq(count_descriptors(), before);
	return answer;
}

/* ---- is any socket bound to the inode ---- */

START_TEST(a_bound_socket_is_found_until_closed)
{
	int fd = bound_socket("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_listening_socket_is_found)
{
	struct pin pin;

	listening_socket("s", types[_i]);
	pin = pin_of("s");
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
}
END_TEST

START_TEST(an_unlinked_socket_is_found)
{
	int fd = bound_socket("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(the_socket_of_another_process_is_found)
{
	pid_t owner = start_owner("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	kill_child(owner);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(another_socket_in_the_directory_is_not_found)
{
	struct pin stale;

	make_stale("stale");
	listening_socket("before", SOCK_STREAM);
	stale = pin_of("stale");
	listening_socket("after", SOCK_STREAM);
	ck_assert_int_eq(is_bound(&stale), SOCKDIAG_NO);
}
END_TEST

/* The inode number is the same, but the device differs. */
START_TEST(the_device_is_compared)
{
	struct pin pin;

	bound_socket("s", SOCK_STREAM);
	pin = pin_of("s");
	pin.inode.file.dev++;
	ck_assert_int_eq(is_bound(&pin), exact ? SOCKDIAG_NO : SOCKDIAG_YES);
}
END_TEST

START_TEST(a_socket_is_found_among_many)
{
	struct pin pin;
	int many[2 * 400];

	bound_socket("s", SOCK_STREAM);
	pin = pin_of("s");
	for (int i = 0; i < 400; i++)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, &many[2 * i]), 0);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	make_stale("t");
	pin = pin_of("t");
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

/*
 * The kernel's dump skips a socket if another one is closed between two of its pieces. Here, the
 * first dumps show the hidden socket as one that is bound to nothing.
 */
static ino_t hidden;
static int dumps, dumps_that_hide;

static void hide(const void *piece, size_t length)
{
	const struct nlmsghdr *header = piece;

	for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
		struct unix_diag_msg *socket = NLMSG_DATA(header);

		if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || socket->udiag_ino != hidden)
			continue;
		socket->udiag_ino = 0;
		socket->udiag_type = SOCK_STREAM;
		socket->udiag_state = TCP_ESTABLISHED;
	}
}

static long hide_in_dumps(long number, const long arguments[6])
{
	long result = make_call(number, arguments);

	if (number == SYS_sendto &&
		((const struct nlmsghdr *)arguments[1])->nlmsg_flags & NLM_F_DUMP)
		dumps++;
	if (number == SYS_recvfrom && result > 0 && dumps > 0 && dumps <= dumps_that_hide)
		hide((const void *)arguments[1], (size_t)result);
	return result;
}

static void hide_socket(int fd, int from_dumps)
{
	hidden = socket_number_of(fd);
	dumps_that_hide = from_dumps;
	replace_system_calls(hide_in_dumps);
}

static void make_many_sockets(void)
{
	for (int i = 0; i < 800; i++)
		ck_assert_int_ge(socket(AF_UNIX, SOCK_STREAM, 0), 0);
}

static void expect_if_dumps_hide(enum sockdiag answer, int hiding)
{
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin = pin_of("s");

	make_many_sockets();
	hide_socket(fd, hiding);
	ck_assert_int_eq(is_bound(&pin), answer);
	ck_assert_int_eq(dumps, 2);
}

START_TEST(a_socket_that_one_dump_skips_is_found)
{
	expect_if_dumps_hide(SOCKDIAG_YES, 1);
}
END_TEST

START_TEST(two_negative_answers_suffice)
{
	expect_if_dumps_hide(SOCKDIAG_NO, 2);
}
END_TEST

START_TEST(one_negative_answer_in_one_piece_suffices)
{
	struct pin pin;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0); /* without the other sockets of this machine */
	hide_socket(bound_socket("s", SOCK_STREAM), 1);
	pin = pin_of("s");
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
	ck_assert_int_eq(dumps, 1);
}
END_TEST

/* ---- is this socket bound to the inode ---- */

START_TEST(the_socket_itself_is_bound_to_the_inode)
{
	int fd = listening_socket("s", types[_i]);
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
}
END_TEST

START_TEST(another_socket_is_not_bound_to_the_inode)
{
	int fd = bound_socket("s", types[_i]);
	int other = bound_socket("t", types[_i]);
	struct pin pin = pin_of("s");
	int nameless = socket(AF_UNIX, types[_i] | SOCK_CLOEXEC, 0);

	ck_assert_int_ne(is_bound_by(&pin, socket_number_of(other)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, socket_number_of(nameless)), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
}
END_TEST

START_TEST(an_earlier_socket_at_the_path_is_not_bound_to_the_inode)
{
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin;

	ck_assert_int_eq(rename("s", "t"), 0);
	bound_socket("s", SOCK_STREAM);
	pin = pin_of("s");
	ck_assert_int_ne(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
}
END_TEST

/* The kernel reports a connection with its listener's inode. */
START_TEST(an_accepted_connection_is_not_bound_to_the_inode)
{
	int fd = listening_socket("s", types[_i]);
	struct pin pin = pin_of("s");
	int client = connected_socket("s", types[_i]);
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(accepted, 0);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(accepted)), SOCKDIAG_NO);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, socket_number_of(client)), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
	close(client);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_connected_datagram_socket_is_bound_to_the_inode)
{
	struct sockaddr_un peer = {.sun_family = AF_UNIX, .sun_path = "peer"};
	int fd = bound_socket("s", SOCK_DGRAM);
	struct pin pin = pin_of("s");

	bound_socket("peer", SOCK_DGRAM);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&peer, sizeof(peer)), 0);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
}
END_TEST

START_TEST(a_descriptor_of_another_kind_is_not_bound_to_the_inode)
{
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin = pin_of("s");
	int internet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ino_t gone = socket_number_of(fd);

	ck_assert_int_ne(is_bound_by(&pin, socket_number_of(internet)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, socket_number_of(pin.fd)), SOCKDIAG_YES);
	ck_assert_int_ne(is_bound_by(&pin, UINT32_MAX), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_ne(is_bound_by(&pin, gone), SOCKDIAG_YES);
}
END_TEST

/* ---- device and number are not unique ---- */

static const uint32_t ambiguous[] = {BTRFS_TYPE, XFS_TYPE, OVERLAYFS_TYPE};
#define AMBIGUOUS 3

static void fake_filesystem(uint32_t type)
{
	fake_kernel(&(struct fake_results){.filesystem = type});
}

START_TEST(a_socket_of_that_number_is_ambiguous)
{
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin = pin_of("s");

	fake_filesystem(ambiguous[_i]);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_AMBIGUOUS);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_AMBIGUOUS);
	close(fd);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_socket_of_another_number_is_not_ambiguous)
{
	struct pin stale;
	int fd = bound_socket("s", SOCK_STREAM);

	make_stale("t");
	stale = pin_of("t");
	fake_filesystem(ambiguous[_i]);
	ck_assert_int_eq(is_bound(&stale), SOCKDIAG_NO);
	ck_assert_int_eq(is_bound_by(&stale, socket_number_of(fd)), SOCKDIAG_NO);
}
END_TEST

START_TEST(another_device_on_btrfs_is_ambiguous)
{
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin = pin_of("s");

	pin.inode.file.dev++;
	fake_filesystem(XFS_TYPE);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_NO);
	fake_filesystem(BTRFS_TYPE);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_AMBIGUOUS);
	fake_filesystem(OVERLAYFS_TYPE); /* whose directory has the right one */
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_AMBIGUOUS);
}
END_TEST

/* The pin of a twin: another inode, whose number has the same lower 32 bits. */
static struct pin twin_of(const char *path)
{
	struct pin twin = pin_of(path);

	twin.inode.file.ino += UINT64_C(1) << 32;
	return twin;
}

START_TEST(a_socket_whose_path_leads_to_another_inode_is_ruled_out)
{
	struct pin twin;
	int fd = bound_socket(absolute_path("s"), types[_i]);

	twin = twin_of("s");
	fake_filesystem(XFS_TYPE);
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_NO);
	ck_assert_int_eq(is_bound_by(&twin, socket_number_of(fd)), SOCKDIAG_AMBIGUOUS);
}
END_TEST

START_TEST(a_socket_with_an_inconclusive_path_is_ambiguous)
{
	struct pin twin;

	bound_socket("relative", SOCK_STREAM);
	twin = twin_of("relative");
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);

	bound_socket(absolute_path("renamed"), SOCK_STREAM);
	ck_assert_int_eq(rename("renamed", "s"), 0);
	twin = twin_of("s");
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
	bound_socket("renamed", SOCK_STREAM); /* of another number */
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
	ck_assert_int_eq(unlink("renamed"), 0);
	ck_assert_int_eq(mkdir("renamed", 0755), 0);
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
}
END_TEST

/* The kernel would report another device for a socket there. */
START_TEST(a_path_on_another_file_system_is_inconclusive)
{
	struct pin twin;

	bound_socket(absolute_path("s"), SOCK_STREAM);
	twin = twin_of("s");
	fake_kernel(&(struct fake_results){.filesystem = XFS_TYPE, .minor = 4711});
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
	fake_filesystem(BTRFS_TYPE);
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_NO);
	close(twin.fd);
	twin.fd = -1; /* of no type that is known */
	ck_assert_int_eq(is_bound(&twin), SOCKDIAG_AMBIGUOUS);
}
END_TEST

START_TEST(the_longest_path_is_compared)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pin twin;
	char name[sizeof(address.sun_path) + 1];
	int length = snprintf(name, sizeof(name), "%s/", absolute_path("."));

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

/* ---- is the socket seen through a view ---- */

static bool is_view(const struct pin *pin, int fd, uint64_t cookie)
{
	int before = count_descriptors();
	bool answer = KEEPS_ERRNO(sockdiag_is_bound_through_view(pin, AT_FDCWD, "s",
		socket_number_of(fd), cookie));

	ck_assert_int_eq(count_descriptors(), before);
	return answer;
}

START_TEST(a_view_has_the_number_and_another_device)
{
	int fd = bound_socket("s", types[_i]);
	struct pin pin = pin_of("s");
	struct pin view = pin;
	struct pin other;

	bound_socket("t", SOCK_STREAM);
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

START_TEST(a_copy_of_a_whole_disk_is_not_a_view)
{
	char memory[] = "/dev/shm/sockguard-check-XXXXXX";
	struct pin pin;
	bool on_disk;
	int fd;

	if (_i == 1) { /* usually a tmpfs, which has no disk */
		ck_assert_ptr_nonnull(mkdtemp(memory));
		ck_assert_int_eq(chdir(memory), 0);
	}
	fd = bound_socket("s", SOCK_STREAM);
	pin = pin_of("s");
	on_disk = major(pin.inode.file.dev) != 0;
	pin.inode.file.dev = makedev(8, 1);
	ck_assert_int_eq(is_view(&pin, fd, cookie_of(fd)), !on_disk);
	unlink("s");
	if (_i == 1) {
		ck_assert_int_eq(chdir("/"), 0);
		ck_assert_int_eq(rmdir(memory), 0);
	}
}
END_TEST

START_TEST(without_a_known_device_there_is_no_view)
{
	static const uint32_t filesystems[] = {BTRFS_TYPE, OVERLAYFS_TYPE};
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin = pin_of("s");

	pin.inode.file.dev = makedev(0, 4711);
	fake_filesystem(filesystems[_i]);
	ck_assert(!is_view(&pin, fd, cookie_of(fd)));
}
END_TEST

/* ---- does this socket still exist ---- */

START_TEST(a_socket_exists_until_closed)
{
	int fd = bound_socket("s", types[_i]);
	ino_t number = socket_number_of(fd);
	uint64_t cookie = cookie_of(fd);
	int other = dup(fd);

	ck_assert_int_eq(socket_exists(number, cookie), SOCKDIAG_YES);
	close(fd);
	ck_assert_int_eq(socket_exists(number, cookie), SOCKDIAG_YES);
	close(other);
	ck_assert_int_eq(socket_exists(number, cookie), SOCKDIAG_NO);
}
END_TEST

/* Inode numbers are reused, but cookies are not. */
START_TEST(number_and_cookie_are_both_compared)
{
	int fd = bound_socket("s", SOCK_STREAM);
	int other = bound_socket("t", SOCK_STREAM);
	uint64_t cookie = cookie_of(fd);

	ck_assert_int_eq(socket_exists(socket_number_of(fd), cookie + 1), SOCKDIAG_NO);
	ck_assert_int_eq(socket_exists(socket_number_of(fd), cookie ^ UINT64_C(1) << 32),
		SOCKDIAG_NO);
	ck_assert_int_eq(socket_exists(socket_number_of(fd), 0), SOCKDIAG_NO);
	ck_assert_int_eq(socket_exists(socket_number_of(fd), UINT64_MAX), SOCKDIAG_NO);
	ck_assert_int_eq(socket_exists(socket_number_of(other), cookie), SOCKDIAG_NO);
	ck_assert_int_eq(socket_exists(0, cookie), SOCKDIAG_NO);
}
END_TEST

START_TEST(a_socket_that_dumps_skip_exists)
{
	int fd = bound_socket("s", SOCK_STREAM);

	hide_socket(fd, 2);
	ck_assert_int_eq(socket_exists(socket_number_of(fd), cookie_of(fd)), SOCKDIAG_YES);
}
END_TEST

/* A process may have closed its standard input. */
START_TEST(a_query_may_use_descriptor_0)
{
	int fd = bound_socket("s", types[_i]);
	struct pin pin = pin_of("s");

	close(STDIN_FILENO);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
	ck_assert_int_eq(socket_exists(socket_number_of(fd), cookie_of(fd)), SOCKDIAG_YES);
}
END_TEST

/* ---- the kernel cannot be queried ---- */

START_TEST(without_descriptors_there_is_no_answer)
{
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin = pin_of("s");
	uint64_t cookie = cookie_of(fd);
	ino_t number = socket_number_of(fd);

	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_any_bound_to(&pin, AT_FDCWD, "s")), SOCKDIAG_UNKNOWN);
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_is_bound_to(&pin, AT_FDCWD, "s", number)),
		SOCKDIAG_UNKNOWN);
	ck_assert_int_eq(KEEPS_ERRNO(sockdiag_socket_exists(number, cookie)), SOCKDIAG_UNKNOWN);
}
END_TEST

/* Forbids sending the query, then receiving the reply. */
START_TEST(a_query_that_a_filter_forbids_is_unknown)
{
	static const int calls[] = {SYS_sendto, SYS_recvfrom};
	int fd = bound_socket("s", SOCK_STREAM);
	struct pin pin = pin_of("s");
	ino_t number = socket_number_of(fd);
	uint64_t cookie = cookie_of(fd);

	forbid(calls[_i]);
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_UNKNOWN);
	ck_assert_int_eq(is_bound_by(&pin, number), SOCKDIAG_UNKNOWN);
	ck_assert_int_eq(socket_exists(number, cookie), SOCKDIAG_UNKNOWN);
}
END_TEST

static int is_unknown_without_memory(const void *pin)
{
	forbid_memory();
	return KEEPS_ERRNO(sockdiag_any_bound_to(pin, AT_FDCWD, "s")) == SOCKDIAG_UNKNOWN;
}

START_TEST(without_memory_for_the_reply_the_answer_is_unknown)
{
	struct pin pin;

	bound_socket("s", SOCK_STREAM);
	pin = pin_of("s");
	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	ck_assert_int_eq(run_in_child(is_unknown_without_memory, &pin), 1);
}
END_TEST

static int queries_as_stranger(const void *about)
{
	int fd = *(const int *)about;
	struct pin pin = pin_of("s");

	ck_assert_int_eq(is_bound(&pin), SOCKDIAG_YES);
	ck_assert_int_eq(is_bound_by(&pin, socket_number_of(fd)), SOCKDIAG_YES);
	ck_assert_int_eq(socket_exists(socket_number_of(fd), cookie_of(fd)), SOCKDIAG_YES);
	return 0;
}

START_TEST(no_permission_is_needed)
{
	int fd = bound_socket("s", SOCK_STREAM);

	ck_assert_int_eq(chmod("s", 0), 0);
	ck_assert_int_eq(run_as_stranger(queries_as_stranger, &fd), 0);
}
END_TEST

/* A kernel without unix_diag does not reply, and these cases cannot run. */
static bool kernel_answers(void)
{
	struct pin pin = {.fd = -1};

	if (sockdiag_any_bound_to(&pin, AT_FDCWD, "s") != SOCKDIAG_UNKNOWN)
		return true;
	printf("# SKIP all of sockdiag: this kernel has no unix_diag\n");
	return false;
}

/* These cases fake other file systems on one with the kernel's own devices and numbers. */
static void add_twins(TCase *twins)
{
	tcase_add_loop_test(twins, a_socket_of_that_number_is_ambiguous, 0, AMBIGUOUS);
	tcase_add_loop_test(twins, a_socket_of_another_number_is_not_ambiguous, 0, AMBIGUOUS);
	tcase_add_test(twins, another_device_on_btrfs_is_ambiguous);
	tcase_add_loop_test(twins, a_socket_whose_path_leads_to_another_inode_is_ruled_out, 0,
		TYPES);
	tcase_add_test(twins, a_socket_with_an_inconclusive_path_is_ambiguous);
	tcase_add_test(twins, a_path_on_another_file_system_is_inconclusive);
	tcase_add_test(twins, the_longest_path_is_compared);
	tcase_add_test(twins, only_some_sockets_are_binders);
}

static void add_views(TCase *views)
{
	tcase_add_loop_test(views, a_view_has_the_number_and_another_device, 0, TYPES);
	tcase_add_test(views, a_socket_without_an_inode_has_no_view);
	tcase_add_loop_test(views, a_copy_of_a_whole_disk_is_not_a_view, 0, 2);
	tcase_add_loop_test(views, without_a_known_device_there_is_no_view, 0, 2);
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("sockdiag");
	TCase *any = suite_cases(suite, "any");
	TCase *one = suite_cases(suite, "one");
	TCase *twins = suite_cases(suite, "twins");
	TCase *views = suite_cases(suite, "views");
	TCase *existence = suite_cases(suite, "there");
	TCase *unanswered = suite_cases(suite, "silent");

	tcase_add_test(unanswered, without_descriptors_there_is_no_answer);
	if (!kernel_answers())
		return suite;
	examine_scratch();
	tcase_add_loop_test(any, a_bound_socket_is_found_until_closed, 0, TYPES);
	tcase_add_loop_test(any, a_listening_socket_is_found, 0, TYPES);
	tcase_add_loop_test(any, an_unlinked_socket_is_found, 0, TYPES);
	tcase_add_loop_test(any, the_socket_of_another_process_is_found, 0, TYPES);
	tcase_add_test(any, another_socket_in_the_directory_is_not_found);
	tcase_add_test(any, the_device_is_compared);
	tcase_add_test(any, a_socket_is_found_among_many);
	tcase_add_test(any, a_socket_that_one_dump_skips_is_found);
	tcase_add_test(any, two_negative_answers_suffice);
	if (suite_can_unshare(CLONE_NEWNET, "a dump in one piece"))
		tcase_add_test(any, one_negative_answer_in_one_piece_suffices);
	tcase_add_loop_test(one, the_socket_itself_is_bound_to_the_inode, 0, TYPES);
	tcase_add_loop_test(one, another_socket_is_not_bound_to_the_inode, 0, TYPES);
	tcase_add_test(one, an_earlier_socket_at_the_path_is_not_bound_to_the_inode);
	tcase_add_loop_test(one, an_accepted_connection_is_not_bound_to_the_inode, 0, 2);
	tcase_add_test(one, a_connected_datagram_socket_is_bound_to_the_inode);
	tcase_add_test(one, a_descriptor_of_another_kind_is_not_bound_to_the_inode);
	if (exact) {
		add_twins(twins);
		add_views(views);
	} else {
		printf("# SKIP twins and views: inode numbers are ambiguous in /tmp\n");
	}
	tcase_add_loop_test(existence, a_socket_exists_until_closed, 0, TYPES);
	tcase_add_test(existence, number_and_cookie_are_both_compared);
	tcase_add_test(existence, a_socket_that_dumps_skip_exists);
	tcase_add_loop_test(existence, a_query_may_use_descriptor_0, 0, TYPES);
	tcase_add_loop_test(unanswered, a_query_that_a_filter_forbids_is_unknown, 0, 2);
	tcase_add_test(unanswered, without_memory_for_the_reply_the_answer_is_unknown);
	ADD_ROOT_TEST(unanswered, no_permission_is_needed);
	return suite;
}
