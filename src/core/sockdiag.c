#include "sockdiag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "scratch.h"

/* Not in every libc's headers; the values are the kernel's ABI (linux/magic.h). */
#define BTRFS_MAGIC     0x9123683e
#define OVERLAYFS_MAGIC 0x794c7630

#define NO_COOKIE UINT32_MAX /* INET_DIAG_NOCOOKIE: any socket of that number will do */

/* A dump comes in pieces of up to NLMSG_GOODSIZE, which is 8 KiB at the most. */
#define PIECE 8192

/* What a socket must be to be the one we look for, and what makes one so. */
struct wanted {
	uint32_t ino; /* of the bound inode; the kernel reports 32 bits */
	uint32_t dev;
	bool any_dev;
	uint32_t socket;
	uint32_t cookie[2];
	bool (*matches)(const struct wanted *, const struct unix_diag_msg *,
		const struct unix_diag_vfs *);
};

static bool bound_to(const struct wanted *wanted, const struct unix_diag_msg *socket,
	const struct unix_diag_vfs *vfs)
{
	(void)socket;
	return vfs && vfs->udiag_vfs_ino == wanted->ino &&
	       (wanted->any_dev || vfs->udiag_vfs_dev == wanted->dev);
}

static bool is_socket(const struct wanted *wanted, const struct unix_diag_msg *socket,
	const struct unix_diag_vfs *vfs)
{
	(void)vfs;
	return socket->udiag_ino == wanted->socket &&
	       memcmp(socket->udiag_cookie, wanted->cookie, sizeof(wanted->cookie)) == 0;
}

/* From stat(2)'s encoding, new_encode_dev, to the kernel's own: include/linux/kdev_t.h. */
static uint32_t superblock_device(uint64_t told)
{
	uint32_t major = (uint32_t)(told >> 8) & 0xfff;
	uint32_t minor = ((uint32_t)told & 0xff) | ((uint32_t)(told >> 12) & 0xfff00);

	return major << 20 | minor;
}

/*
 * The kernel reports the device of the superblock in its own encoding. btrfs and overlayfs tell
 * stat(2) another one, so there the number alone has to do.
 */
static struct wanted wanted_inode(const struct pin *pin)
{
	struct statfs fs;

	return (struct wanted){
		.ino = (uint32_t)pin->inode.file.ino,
		.dev = superblock_device(pin->inode.file.dev),
		.any_dev = fstatfs(pin->fd, &fs) == 0 &&
			   ((uint32_t)fs.f_type == BTRFS_MAGIC ||
				   (uint32_t)fs.f_type == OVERLAYFS_MAGIC),
		.matches = bound_to,
	};
}

static const struct unix_diag_vfs *vfs_of(const struct nlmsghdr *header)
{
	const struct unix_diag_msg *socket = NLMSG_DATA(header);
	const struct rtattr *attr = (const struct rtattr *)(socket + 1);
	size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof(*socket));

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
		if (attr->rta_type == UNIX_DIAG_VFS &&
			RTA_PAYLOAD(attr) >= sizeof(struct unix_diag_vfs))
			return RTA_DATA(attr);
	return NULL;
}

/* One piece of an answer. Returns false when the answer goes on in another piece. */
static bool piece_decides(const struct wanted *wanted, const void *piece, size_t length,
	enum sockdiag *answer)
{
	const struct nlmsghdr *header = piece;

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
		if (wanted->matches(wanted, NLMSG_DATA(header), vfs_of(header))) {
			*answer = SOCKDIAG_YES;
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
static int ask(uint16_t flags, uint32_t socket_ino)
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
			.udiag_show = UDIAG_SHOW_VFS,
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

static enum sockdiag search(const struct wanted *wanted)
{
	int saved = errno;
	int fd = ask(NLM_F_DUMP, 0);
	enum sockdiag answer = SOCKDIAG_SILENT;

	if (fd >= 0) {
		answer = read_dump(fd, wanted);
		kernel_close(fd);
	}
	errno = saved;
	return answer;
}

enum sockdiag sockdiag_bound(const struct pin *pin)
{
	struct wanted wanted = wanted_inode(pin);

	return search(&wanted);
}

enum sockdiag sockdiag_exists(ino_t socket, uint64_t cookie)
{
	struct wanted wanted = {
		.socket = (uint32_t)socket,
		.cookie = {(uint32_t)cookie, (uint32_t)(cookie >> 32)},
		.matches = is_socket,
	};

	/*
	 * A dump, not a question for this one socket: to that the kernel says ENOENT as well when
	 * it has no unix_diag at all.
	 */
	return search(&wanted);
}

enum sockdiag sockdiag_bound_by(const struct pin *pin, ino_t socket)
{
	int saved = errno;
	struct wanted wanted = wanted_inode(pin);
	int fd = ask(0, (uint32_t)socket);
	enum sockdiag answer = SOCKDIAG_SILENT;

	if (fd >= 0) {
		answer = read_one(fd, &wanted);
		kernel_close(fd);
	}
	errno = saved;
	return answer;
}
