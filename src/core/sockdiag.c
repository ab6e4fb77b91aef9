#include "sockdiag.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "filesystem.h"
#include "scratch.h"

#define NO_COOKIE UINT32_MAX /* INET_DIAG_NOCOOKIE: match the number only */

/* The kernel sends a dump in pieces of up to NLMSG_GOODSIZE, 8 KiB at most. */
#define PIECE 8192

/* One socket, as the kernel describes it. */
struct described {
	const struct unix_diag_msg *socket;
	const struct unix_diag_vfs *vfs; /* NULL: the socket has no inode */
	const struct rtattr *name;       /* NULL: not requested, or the socket has none */
};

/* The properties of the socket that we look for, and the function that compares one with them. */
struct wanted {
	const struct pin *pin;
	uint32_t ino; /* of the bound inode; the kernel reports 32 bits */
	struct superblock superblock;
	uint32_t socket;
	uint32_t cookie[2];
	enum sockdiag (*compare)(const struct wanted *, const struct described *);
};

bool sockdiag_is_binder(uint8_t type, uint8_t state)
{
	return type == SOCK_DGRAM || state == TCP_LISTEN || state == TCP_CLOSE;
}

static enum sockdiag compare_inode(const struct wanted *wanted, const struct described *found)
{
	if (!found->vfs || found->vfs->udiag_vfs_ino != wanted->ino ||
		!sockdiag_is_binder(found->socket->udiag_type, found->socket->udiag_state) ||
		(wanted->superblock.dev_known &&
			found->vfs->udiag_vfs_dev != wanted->superblock.dev))
		return SOCKDIAG_NO;
	return wanted->superblock.exact ? SOCKDIAG_YES : SOCKDIAG_AMBIGUOUS;
}

/* Whether sock_diag cannot distinguish this other inode from the wanted one. */
static bool looks_the_same(const struct wanted *wanted, const struct pin *there)
{
	return (uint32_t)there->inode.file.ino == wanted->ino &&
	       !inode_same(&there->inode, &wanted->pin->inode) &&
	       (wanted->superblock.dev_known ? there->inode.file.dev == wanted->pin->inode.file.dev
					     : filesystem_same_type(there->fd, wanted->pin->fd));
}

/* Whether the socket's path leads to another inode that looks the same: it is bound to that one. */
static bool is_bound_elsewhere(const struct wanted *wanted, const struct described *found)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1] = {0};
	struct pin there;
	bool elsewhere;

	if (!found->name || RTA_PAYLOAD(found->name) > sizeof(path))
		return false;
	memcpy(path, RTA_DATA(found->name), RTA_PAYLOAD(found->name));
	path[sizeof(path) - 1] = '\0';
	if (path[0] != '/' || inode_pin(AT_FDCWD, path, &there) != 0)
		return false;
	elsewhere = looks_the_same(wanted, &there);
	inode_unpin(&there);
	return elsewhere;
}

static enum sockdiag compare_inode_and_name(const struct wanted *wanted,
	const struct described *found)
{
	enum sockdiag answer = compare_inode(wanted, found);

	return answer == SOCKDIAG_AMBIGUOUS && is_bound_elsewhere(wanted, found) ? SOCKDIAG_NO
										 : answer;
}

static enum sockdiag compare_socket(const struct wanted *wanted, const struct described *found)
{
	return found->socket->udiag_ino == wanted->socket &&
			       memcmp(found->socket->udiag_cookie, wanted->cookie,
				       sizeof(wanted->cookie)) == 0
		       ? SOCKDIAG_YES
		       : SOCKDIAG_NO;
}

/*
 * At least one of the two devices must be anonymous. Two disks whose files have equal numbers are
 * copies of each other (a snapshot), not views of the same files. The caller excludes overlayfs: it
 * shows files of its lower layers with their numbers, and an unlink does not remove them there.
 */
static enum sockdiag compare_view(const struct wanted *wanted, const struct described *found)
{
	const struct superblock *superblock = &wanted->superblock;

	if (compare_socket(wanted, found) == SOCKDIAG_NO || !found->vfs ||
		found->vfs->udiag_vfs_ino != wanted->ino ||
		found->vfs->udiag_vfs_dev == superblock->dev)
		return SOCKDIAG_NO;
	return filesystem_is_anonymous_device(superblock->dev) ||
			       filesystem_is_anonymous_device(found->vfs->udiag_vfs_dev)
		       ? SOCKDIAG_YES
		       : SOCKDIAG_NO;
}

static struct wanted wanted_inode(const struct pin *pin, int dirfd, const char *path)
{
	return (struct wanted){
		.pin = pin,
		.ino = (uint32_t)pin->inode.file.ino,
		.superblock = filesystem_superblock(pin, dirfd, path),
		.compare = compare_inode,
	};
}

static struct described describe(const struct nlmsghdr *header)
{
	struct described found = {.socket = NLMSG_DATA(header)};
	const struct rtattr *attr = (const struct rtattr *)(found.socket + 1);
	size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof(*found.socket));

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		if (attr->rta_type == UNIX_DIAG_VFS &&
			RTA_PAYLOAD(attr) >= sizeof(struct unix_diag_vfs))
			found.vfs = RTA_DATA(attr);
		else if (attr->rta_type == UNIX_DIAG_NAME)
			found.name = attr;
	}
	return found;
}

/* Compares the sockets in one piece of a reply. Returns false if the reply continues. */
static bool compare_piece(const struct wanted *wanted, const void *piece, size_t length,
	enum sockdiag *answer)
{
	const struct nlmsghdr *header = piece;
	struct described found;
	enum sockdiag match;

	for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
		if (header->nlmsg_type == NLMSG_DONE) {
			*answer = SOCKDIAG_NO;
			return true;
		}
		if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
			header->nlmsg_len % NLMSG_ALIGNTO != 0 ||
			header->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg))) {
			*answer = SOCKDIAG_UNKNOWN;
			return true;
		}
		found = describe(header);
		match = wanted->compare(wanted, &found);
		if (match != SOCKDIAG_NO) {
			*answer = match;
			return true;
		}
	}
	return false;
}

static enum sockdiag read_pieces(int fd, const struct wanted *wanted, void *piece, int *pieces)
{
	const struct nlmsghdr *first = piece;
	enum sockdiag answer = SOCKDIAG_UNKNOWN;
	ssize_t length;

	/* The kernel produces each piece when recv(2) asks for it, so this never has to wait. */
	do {
		length = kernel_recv(fd, piece, PIECE, MSG_DONTWAIT | MSG_TRUNC);
		if (length <= 0 || length > PIECE)
			return SOCKDIAG_UNKNOWN;
		if (first->nlmsg_type != NLMSG_DONE)
			++*pieces;
	} while (!compare_piece(wanted, piece, (size_t)length, &answer));
	return answer;
}

/* Counts the pieces that show sockets. */
static enum sockdiag read_dump(int fd, const struct wanted *wanted, int *pieces)
{
	enum sockdiag answer;
	void *piece = scratch_allocate(PIECE);

	if (!piece)
		return SOCKDIAG_UNKNOWN;
	answer = read_pieces(fd, wanted, piece, pieces);
	scratch_free(piece, PIECE);
	return answer;
}

static enum sockdiag read_one(int fd, const struct wanted *wanted)
{
	_Alignas(struct nlmsghdr) char piece[512];
	enum sockdiag answer = SOCKDIAG_NO; /* unless the one socket in the reply matches */
	ssize_t length = kernel_recv(fd, piece, sizeof(piece), MSG_DONTWAIT | MSG_TRUNC);

	if (length <= 0 || (size_t)length > sizeof(piece))
		return SOCKDIAG_UNKNOWN;
	compare_piece(wanted, piece, (size_t)length, &answer);
	return answer;
}

/* Returns a netlink socket to which the request was sent, or -1. */
static int send_request(uint16_t flags, uint32_t socket_ino, uint32_t show)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
		.body = {.sdiag_family = AF_UNIX,
			.udiag_states = UINT32_MAX,
			.udiag_ino = socket_ino,
			.udiag_show = show,
			.udiag_cookie = {NO_COOKIE, NO_COOKIE}},
	};
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int fd = kernel_socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return -1;
	if (kernel_sendto(fd, &request, sizeof(request), MSG_NOSIGNAL, &kernel, sizeof(kernel)) !=
		(ssize_t)sizeof(request)) {
		kernel_close(fd);
		return -1;
	}
	return fd;
}

/*
 * Compares all sockets, and counts the pieces of the dump; or, if `pieces` is NULL, compares the
 * socket with the wanted number.
 */
static enum sockdiag request_and_compare(const struct wanted *wanted, uint32_t show, int *pieces)
{
	int saved = errno;
	int fd = pieces ? send_request(NLM_F_DUMP, 0, show) : send_request(0, wanted->socket, show);
	enum sockdiag answer = SOCKDIAG_UNKNOWN;

	if (fd >= 0) {
		answer = pieces ? read_dump(fd, wanted, pieces) : read_one(fd, wanted);
		kernel_close(fd);
	}
	errno = saved;
	return answer;
}

/*
 * Each piece of a dump continues at a position in one of the kernel's hash chains (unix_diag_dump
 * in net/unix/diag.c). If a socket before it in that chain is closed between two pieces, the dump
 * skips one of the sockets after it. So if there was more than one piece, only two negative answers
 * in a row count.
 */
static enum sockdiag dump_and_compare(const struct wanted *wanted, uint32_t show)
{
	int pieces = 0;
	enum sockdiag answer = request_and_compare(wanted, show, &pieces);

	if (answer == SOCKDIAG_NO && pieces > 1)
		answer = request_and_compare(wanted, show, &pieces);
	return answer;
}

static enum sockdiag query_and_compare(const struct wanted *wanted)
{
	return request_and_compare(wanted, UDIAG_SHOW_VFS, NULL);
}

enum sockdiag sockdiag_any_bound_to(const struct pin *pin, int dirfd, const char *path)
{
	struct wanted wanted = wanted_inode(pin, dirfd, path);

	if (wanted.superblock.exact)
		return dump_and_compare(&wanted, UDIAG_SHOW_VFS);
	wanted.compare = compare_inode_and_name;
	return dump_and_compare(&wanted, UDIAG_SHOW_VFS | UDIAG_SHOW_NAME);
}

enum sockdiag sockdiag_is_bound_to(const struct pin *pin, int dirfd, const char *path, ino_t socket)
{
	struct wanted wanted = wanted_inode(pin, dirfd, path);

	wanted.socket = (uint32_t)socket;
	return query_and_compare(&wanted);
}

static struct wanted wanted_socket(ino_t socket, uint64_t cookie)
{
	return (struct wanted){
		.socket = (uint32_t)socket,
		.cookie = {(uint32_t)cookie, (uint32_t)(cookie >> 32)},
		.compare = compare_socket,
	};
}

enum sockdiag sockdiag_socket_exists(ino_t socket, uint64_t cookie)
{
	struct wanted wanted = wanted_socket(socket, cookie);
	enum sockdiag answer = query_and_compare(&wanted);

	/*
	 * The query fails with ENOENT if the socket does not exist, but also if the kernel has no
	 * unix_diag. Then the dump fails, too.
	 */
	return answer == SOCKDIAG_UNKNOWN ? dump_and_compare(&wanted, UDIAG_SHOW_VFS) : answer;
}

bool sockdiag_is_bound_through_view(const struct pin *pin, int dirfd, const char *path,
	ino_t socket, uint64_t cookie)
{
	struct wanted wanted = wanted_socket(socket, cookie);

	wanted.ino = (uint32_t)pin->inode.file.ino;
	wanted.superblock = filesystem_superblock(pin, dirfd, path);
	wanted.compare = compare_view;
	return wanted.superblock.dev_known && !filesystem_is_overlay(&wanted.superblock) &&
	       query_and_compare(&wanted) == SOCKDIAG_YES;
}
