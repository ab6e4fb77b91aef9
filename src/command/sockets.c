#include "sockets.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "command.h"
#include "sockdiag.h"

/* Part of the kernel's ABI (linux/magic.h), but not in every libc's headers. */
#define BTRFS_MAGIC     0x9123683e
#define OVERLAYFS_MAGIC 0x794c7630

#define PIECE 32768

static void add(struct sockets *sockets, const struct unix_diag_msg *socket,
	const struct unix_diag_vfs *vfs, const struct rtattr *name)
{
	struct bound *bound;

	sockets->list = command_grow(sockets->list, sockets->count, sizeof(*sockets->list));
	bound = &sockets->list[sockets->count++];
	*bound = (struct bound){
		.number = socket->udiag_ino,
		.ino = vfs->udiag_vfs_ino,
		.dev = vfs->udiag_vfs_dev,
		.type = socket->udiag_type,
		.listens = socket->udiag_state == TCP_LISTEN,
		.accepted = !sockdiag_is_binder(socket->udiag_type, socket->udiag_state),
		.name = command_format("%.*s", (int)RTA_PAYLOAD(name),
			(const char *)RTA_DATA(name)),
	};
}

static void read_socket(struct sockets *sockets, const struct nlmsghdr *header)
{
	const struct unix_diag_msg *socket = NLMSG_DATA(header);
	const struct rtattr *attr = (const struct rtattr *)(socket + 1);
	const struct rtattr *name = NULL;
	const struct unix_diag_vfs *vfs = NULL;
	size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof(*socket));

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		if (attr->rta_type == UNIX_DIAG_VFS && RTA_PAYLOAD(attr) >= sizeof(*vfs))
			vfs = RTA_DATA(attr);
		else if (attr->rta_type == UNIX_DIAG_NAME)
			name = attr;
	}
	if (vfs && name && RTA_PAYLOAD(name) > 0 && *(const char *)RTA_DATA(name) != '\0')
		add(sockets, socket, vfs, name);
}

/* Returns whether the dump continues. Counts the pieces that show sockets. */
static bool read_piece(struct sockets *sockets, const void *piece, size_t length, int *pieces)
{
	const struct nlmsghdr *header = piece;

	if (header->nlmsg_type != NLMSG_DONE)
		++*pieces;
	for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
		sockets->answered = header->nlmsg_type == NLMSG_DONE;
		if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
			header->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
			return false;
		read_socket(sockets, header);
	}
	return true;
}

static int request_dump(void)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.sdiag_family = AF_UNIX,
			.udiag_states = UINT32_MAX,
			.udiag_show = UDIAG_SHOW_VFS | UDIAG_SHOW_NAME,
			.udiag_cookie = {UINT32_MAX, UINT32_MAX}},
	};
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd >= 0 && sendto(fd, &request, sizeof(request), 0, (const struct sockaddr *)&kernel,
			       sizeof(kernel)) != (ssize_t)sizeof(request)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int by_number(const void *a, const void *b)
{
	const struct bound *left = a, *right = b;

	return (left->number > right->number) - (left->number < right->number);
}

/* Adds all sockets, and returns the number of pieces that showed them. */
static int dump(struct sockets *sockets)
{
	_Alignas(struct nlmsghdr) char piece[PIECE];
	int fd = request_dump();
	ssize_t length = 0;
	int pieces = 0;

	sockets->answered = false;
	if (fd < 0)
		return 0;
	do
		length = recv(fd, piece, sizeof(piece), MSG_TRUNC);
	while (length > 0 && (size_t)length <= sizeof(piece) &&
		read_piece(sockets, piece, (size_t)length, &pieces));
	close(fd);
	return pieces;
}

static void sort_without_duplicates(struct sockets *sockets)
{
	size_t kept = 0;

	qsort(sockets->list, sockets->count, sizeof(*sockets->list), by_number);
	for (size_t i = 0; i < sockets->count; i++) {
		if (kept > 0 && sockets->list[kept - 1].number == sockets->list[i].number)
			free(sockets->list[i].name);
		else
			sockets->list[kept++] = sockets->list[i];
	}
	sockets->count = kept;
}

/* A dump in more than one piece may skip a socket, see src/core/sockdiag.c. */
void sockets_load(struct sockets *sockets)
{
	*sockets = (struct sockets){0};
	if (dump(sockets) > 1)
		dump(sockets);
	if (sockets->count > 0)
		sort_without_duplicates(sockets);
}

void sockets_free(struct sockets *sockets)
{
	for (size_t i = 0; i < sockets->count; i++)
		free(sockets->list[i].name);
	free(sockets->list);
	*sockets = (struct sockets){0};
}

/*
 * On btrfs and overlayfs, stat(2) reports another device than the superblock's, which sock_diag(7)
 * reports. There only the inode numbers can be compared.
 */
static bool stat_shows_other_device(const struct pin *pin)
{
	struct statfs fs;

	return fstatfs(pin->fd, &fs) == 0 &&
	       ((uint32_t)fs.f_type == BTRFS_MAGIC || (uint32_t)fs.f_type == OVERLAYFS_MAGIC);
}

/*
 * Whether the path that the socket was bound to leads to another inode with this number. sock_diag
 * describes two subvolumes, or two numbers that agree in their low 32 bits, in the same way.
 */
static bool is_bound_elsewhere(const struct bound *bound, const struct pin *pin)
{
	struct stat found;

	return bound->name[0] == '/' && lstat(bound->name, &found) == 0 &&
	       S_ISSOCK(found.st_mode) && (uint32_t)found.st_ino == bound->ino &&
	       (found.st_ino != pin->inode.file.ino || found.st_dev != pin->inode.file.dev);
}

bool sockets_is_bound_to(const struct bound *bound, const struct pin *pin)
{
	dev_t dev = pin->inode.file.dev;

	return bound->ino == (uint32_t)pin->inode.file.ino &&
	       (bound->dev == (uint32_t)(major(dev) << 20 | minor(dev)) ||
		       stat_shows_other_device(pin)) &&
	       !is_bound_elsewhere(bound, pin);
}

const struct bound *sockets_find_bound(const struct sockets *sockets, const struct pin *pin)
{
	const struct bound *found = NULL;

	for (size_t i = 0; i < sockets->count; i++) {
		const struct bound *bound = &sockets->list[i];

		if ((!found || found->accepted) && sockets_is_bound_to(bound, pin))
			found = bound;
	}
	return found;
}

const struct bound *sockets_find_number(const struct sockets *sockets, uint32_t number)
{
	struct bound wanted = {.number = number};

	return sockets->count == 0
		       ? NULL
		       : bsearch(&wanted, sockets->list, sockets->count, sizeof(wanted), by_number);
}

bool sockets_accepts_peers(const struct bound *bound)
{
	return bound->listens || (bound->type == SOCK_DGRAM && !bound->accepted);
}
