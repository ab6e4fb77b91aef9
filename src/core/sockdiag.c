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

#define NO_COOKIE UINT32_MAX /* INET_DIAG_NOCOOKIE: any socket of that number will do */

/* A dump comes in pieces of up to NLMSG_GOODSIZE, which is 8 KiB at the most. */
#define PIECE 8192

/* One socket, as the kernel describes it. */
struct described {
	const struct unix_diag_msg *socket;
	const struct unix_diag_vfs *vfs; /* NULL: it has no inode */
	const struct rtattr *name;       /* NULL: not asked for, or it has none */
};

/* What a socket must be to be the one we look for, and what decides whether it is. */
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

static enum sockdiag bound_to(const struct wanted *wanted, const struct described *found)
{
	if (!found->vfs || found->vfs->udiag_vfs_ino != wanted->ino ||
		!sockdiag_is_binder(found->socket->udiag_type, found->socket->udiag_state) ||
		(wanted->superblock.dev_known &&
			found->vfs->udiag_vfs_dev != wanted->superblock.dev))
		return SOCKDIAG_NO;
	return wanted->superblock.exact ? SOCKDIAG_YES : SOCKDIAG_AMBIGUOUS;
}

/* Would the kernel describe a socket bound there as it does one bound to the wanted inode? */
static bool is_twin(const struct wanted *wanted, const struct pin *there)
{
	return (uint32_t)there->inode.file.ino == wanted->ino &&
	       !inode_same(&there->inode, &wanted->pin->inode) &&
	       (wanted->superblock.dev_known ? there->inode.file.dev == wanted->pin->inode.file.dev
					     : filesystem_same_type(there->fd, wanted->pin->fd));
}

/* Does the socket's name lead to a twin of the wanted inode? Then it is bound to that. */
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
	elsewhere = is_twin(wanted, &there);
	inode_unpin(&there);
	return elsewhere;
}

static enum sockdiag bound_here(const struct wanted *wanted, const struct described *found)
{
	enum sockdiag answer = bound_to(wanted, found);

	return answer == SOCKDIAG_AMBIGUOUS && is_bound_elsewhere(wanted, found) ? SOCKDIAG_NO
										 : answer;
}

static enum sockdiag is_socket(const struct wanted *wanted, const struct described *found)
{
	return found->socket->udiag_ino == wanted->socket &&
			       memcmp(found->socket->udiag_cookie, wanted->cookie,
				       sizeof(wanted->cookie)) == 0
		       ? SOCKDIAG_YES
		       : SOCKDIAG_NO;
}

/*
 * At least one of the two devices is that of no disk, or it is no view but a copy: a snapshot of
 * the whole file system. On overlayfs a file of a lower layer has its number too, and to remove it
 * there does not remove it below.
 */
static enum sockdiag bound_through_view(const struct wanted *wanted, const struct described *found)
{
	const struct superblock *superblock = &wanted->superblock;

	if (is_socket(wanted, found) == SOCKDIAG_NO || !found->vfs ||
		found->vfs->udiag_vfs_ino != wanted->ino ||
		found->vfs->udiag_vfs_dev == superblock->dev)
		return SOCKDIAG_NO;
	return filesystem_is_anonymous(superblock->dev) ||
			       filesystem_is_anonymous(found->vfs->udiag_vfs_dev)
		       ? SOCKDIAG_YES
		       : SOCKDIAG_NO;
}

static struct wanted wanted_inode(const struct pin *pin, int dirfd, const char *path)
{
	return (struct wanted){
		.pin = pin,
		.ino = (uint32_t)pin->inode.file.ino,
		.superblock = filesystem_superblock(pin, dirfd, path),
		.compare = bound_to,
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

/* One piece of an answer. Returns false when the answer goes on in another piece. */
static bool piece_decides(const struct wanted *wanted, const void *piece, size_t length,
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
			*answer = SOCKDIAG_SILENT;
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

static enum sockdiag read_pieces(int fd, const struct wanted *wanted, void *piece)
{
	enum sockdiag answer = SOCKDIAG_SILENT;
	ssize_t length;

	/* The kernel has each piece ready when it is asked for one: nothing to wait for. */
	do {
		length = kernel_recv(fd, piece, PIECE, MSG_DONTWAIT | MSG_TRUNC);
		if (length <= 0 || length > PIECE)
			return SOCKDIAG_SILENT;
	} while (!piece_decides(wanted, piece, (size_t)length, &answer));
	return answer;
}

static enum sockdiag read_dump(int fd, const struct wanted *wanted)
{
	enum sockdiag answer;
	void *piece = scratch_take(PIECE);

	if (!piece)
		return SOCKDIAG_SILENT;
	answer = read_pieces(fd, wanted, piece);
	scratch_give_back(piece, PIECE);
	return answer;
}

static enum sockdiag read_one(int fd, const struct wanted *wanted)
{
	_Alignas(struct nlmsghdr) char piece[512];
	enum sockdiag answer = SOCKDIAG_NO; /* unless the one socket in it matches */
	ssize_t length = kernel_recv(fd, piece, sizeof(piece), MSG_DONTWAIT | MSG_TRUNC);

	if (length <= 0 || (size_t)length > sizeof(piece))
		return SOCKDIAG_SILENT;
	piece_decides(wanted, piece, (size_t)length, &answer);
	return answer;
}

/* Returns a netlink socket that has been asked, or -1. */
static int ask(uint16_t flags, uint32_t socket_ino, uint32_t show)
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

static enum sockdiag search(const struct wanted *wanted, uint32_t show)
{
	int saved = errno;
	int fd = ask(NLM_F_DUMP, 0, show);
	enum sockdiag answer = SOCKDIAG_SILENT;

	if (fd >= 0) {
		answer = read_dump(fd, wanted);
		kernel_close(fd);
	}
	errno = saved;
	return answer;
}

static enum sockdiag ask_about(const struct wanted *wanted)
{
	int saved = errno;
	int fd = ask(0, wanted->socket, UDIAG_SHOW_VFS);
	enum sockdiag answer = SOCKDIAG_SILENT;

	if (fd >= 0) {
		answer = read_one(fd, wanted);
		kernel_close(fd);
	}
	errno = saved;
	return answer;
}

enum sockdiag sockdiag_bound(const struct pin *pin, int dirfd, const char *path)
{
	struct wanted wanted = wanted_inode(pin, dirfd, path);

	if (wanted.superblock.exact)
		return search(&wanted, UDIAG_SHOW_VFS);
	wanted.compare = bound_here;
	return search(&wanted, UDIAG_SHOW_VFS | UDIAG_SHOW_NAME);
}

enum sockdiag sockdiag_bound_by(const struct pin *pin, int dirfd, const char *path, ino_t socket)
{
	struct wanted wanted = wanted_inode(pin, dirfd, path);

	wanted.socket = (uint32_t)socket;
	return ask_about(&wanted);
}

static struct wanted wanted_socket(ino_t socket, uint64_t cookie)
{
	return (struct wanted){
		.socket = (uint32_t)socket,
		.cookie = {(uint32_t)cookie, (uint32_t)(cookie >> 32)},
		.compare = is_socket,
	};
}

enum sockdiag sockdiag_exists(ino_t socket, uint64_t cookie)
{
	struct wanted wanted = wanted_socket(socket, cookie);

	/*
	 * A dump, not a question for this one socket: to that the kernel says ENOENT as well when
	 * it has no unix_diag at all.
	 */
	return search(&wanted, UDIAG_SHOW_VFS);
}

bool sockdiag_bound_through_view(const struct pin *pin, int dirfd, const char *path, ino_t socket,
	uint64_t cookie)
{
	struct wanted wanted = wanted_socket(socket, cookie);

	wanted.ino = (uint32_t)pin->inode.file.ino;
	wanted.superblock = filesystem_superblock(pin, dirfd, path);
	wanted.compare = bound_through_view;
	return wanted.superblock.dev_known && !filesystem_is_overlay(&wanted.superblock) &&
	       ask_about(&wanted) == SOCKDIAG_YES;
}
