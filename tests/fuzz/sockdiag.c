/*
 * A fuzzer for the reader of sock_diag's answers. With arbitrary bytes, the reader must not access
 * memory outside of them, and must set an answer only if it reports one. With answers in the
 * kernel's format, which the fuzzer builds from the input, the reader must find the sockets in
 * them.
 *
 * The reader is not part of the module's interface, so its source file is included.
 */
#include "../../src/core/sockdiag.c" // NOLINT(bugprone-suspicious-include)

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	const uint8_t *at, *end;
} input;

static unsigned int next_byte(void)
{
	return input.at < input.end ? *input.at++ : 0;
}

static void expect(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "DIFFERENCE: %s\n", what);
	abort();
}

typedef enum sockdiag comparison(const struct wanted *, const struct described *);

/* Uses small numbers, so that sockets often match. */
static struct wanted next_wanted(void)
{
	static const struct pin pin = {.fd = -1};
	static comparison *const comparisons[] = {
		compare_inode, compare_socket, compare_inode_and_name, compare_view};
	unsigned int how = next_byte();

	return (struct wanted){
		.pin = &pin,
		.ino = next_byte() % 4,
		.superblock = {.dev = next_byte() % 2,
			.dev_known = (how & 1) || (how & 2),
			.exact = (how & 1) && (how & 2)},
		.socket = next_byte() % 4,
		.cookie = {next_byte() % 2, 0},
		.compare = comparisons[(how >> 2) % 4],
	};
}

/* The correct answer for a socket with these numbers. Its name leads nowhere. */
static enum sockdiag expected(const struct wanted *wanted, const struct unix_diag_msg *socket,
	const struct unix_diag_vfs *vfs)
{
	bool is_wanted =
		socket->udiag_ino == wanted->socket && socket->udiag_cookie[0] == wanted->cookie[0];
	bool bound_to_wanted = vfs && vfs->udiag_vfs_ino == wanted->ino;

	if (wanted->compare == compare_socket)
		return is_wanted ? SOCKDIAG_YES : SOCKDIAG_NO;
	if (wanted->compare == compare_view)
		return is_wanted && bound_to_wanted && vfs->udiag_vfs_dev != wanted->superblock.dev
			       ? SOCKDIAG_YES
			       : SOCKDIAG_NO;
	if (!bound_to_wanted ||
		(socket->udiag_type != SOCK_DGRAM && socket->udiag_state == TCP_ESTABLISHED))
		return SOCKDIAG_NO;
	if (wanted->superblock.exact)
		return vfs->udiag_vfs_dev == wanted->superblock.dev ? SOCKDIAG_YES : SOCKDIAG_NO;
	return wanted->superblock.dev_known && vfs->udiag_vfs_dev != wanted->superblock.dev
		       ? SOCKDIAG_NO
		       : SOCKDIAG_AMBIGUOUS;
}

/* Reads from a buffer of exactly this size, so that an overrun by one byte is noticed. */
static void compare_copy(const struct wanted *wanted, const void *bytes, size_t length)
{
	void *piece = malloc(length + !length);
	enum sockdiag answer = (enum sockdiag)4711;
	bool decided;

	if (!piece)
		abort();
	memcpy(piece, bytes, length);
	decided = compare_piece(wanted, piece, length, &answer);
	expect(decided ? answer <= SOCKDIAG_UNKNOWN : answer == (enum sockdiag)4711,
		"an answer without a decision, or a decision without an answer");
	free(piece);
}

static void compare_any_bytes(void)
{
	struct wanted wanted = next_wanted();

	compare_copy(&wanted, input.at, (size_t)(input.end - input.at));
}

/* A dump under construction. */
static struct {
	_Alignas(struct nlmsghdr) char bytes[PIECE];
	size_t length;
	bool decided;
	enum sockdiag answer; /* the correct one */
} dump;

static void *append(size_t size)
{
	void *at = dump.bytes + dump.length;

	memset(at, 0, NLMSG_ALIGN(size));
	dump.length += NLMSG_ALIGN(size);
	return at;
}

static void set_answer(enum sockdiag answer)
{
	if (!dump.decided)
		dump.answer = answer;
	dump.decided = true;
}

static void add_end(uint16_t type)
{
	struct nlmsghdr *header = append(NLMSG_LENGTH(sizeof(int)));

	header->nlmsg_len = NLMSG_LENGTH(sizeof(int));
	header->nlmsg_type = type;
	set_answer(type == NLMSG_DONE ? SOCKDIAG_NO : SOCKDIAG_UNKNOWN);
}

static void add_attribute(struct nlmsghdr *header, uint16_t type, const void *value, size_t size)
{
	struct rtattr *attribute = append(RTA_LENGTH(size));

	attribute->rta_len = (unsigned short)RTA_LENGTH(size);
	attribute->rta_type = type;
	memcpy(RTA_DATA(attribute), value, size);
	header->nlmsg_len = (uint32_t)(dump.bytes + dump.length - (char *)header);
}

static void add_socket(const struct wanted *wanted)
{
	unsigned int what = next_byte();
	uint32_t number = next_byte() % 4, cookie = next_byte() % 2;
	struct unix_diag_vfs vfs = {
		.udiag_vfs_ino = next_byte() % 4, .udiag_vfs_dev = next_byte() % 2};
	struct nlmsghdr *header = append(NLMSG_LENGTH(sizeof(struct unix_diag_msg)));
	struct unix_diag_msg *socket = NLMSG_DATA(header);
	static const char name[32];
	static const uint8_t states[] = {TCP_LISTEN, TCP_CLOSE, TCP_ESTABLISHED, TCP_ESTABLISHED};
	enum sockdiag answer;

	*header = (struct nlmsghdr){
		.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_len = NLMSG_LENGTH(sizeof(*socket))};
	*socket = (struct unix_diag_msg){.udiag_family = AF_UNIX,
		.udiag_type = what & 8 ? SOCK_DGRAM : SOCK_STREAM,
		.udiag_state = states[(what >> 4) % 4],
		.udiag_ino = number,
		.udiag_cookie = {cookie, 0}};
	if (what & 1)
		add_attribute(header, UNIX_DIAG_NAME, name, what % sizeof(name));
	if (what & 2)
		add_attribute(header, UNIX_DIAG_VFS, &vfs, sizeof(vfs));
	if (what & 4)
		add_attribute(header, UNIX_DIAG_SHUTDOWN, name, 1);
	answer = expected(wanted, socket, what & 2 ? &vfs : NULL);
	if (answer != SOCKDIAG_NO)
		set_answer(answer);
}

static void build_dump(const struct wanted *wanted)
{
	dump.length = 0;
	dump.decided = false;
	dump.answer = SOCKDIAG_UNKNOWN;
	while (input.at < input.end && dump.length < sizeof(dump.bytes) - 256) {
		unsigned int what = next_byte();

		if (what < 0xf0)
			add_socket(wanted);
		else
			add_end(what < 0xf8 ? NLMSG_DONE : NLMSG_ERROR);
	}
}

static void compare_valid_dump(void)
{
	struct wanted wanted = next_wanted();
	enum sockdiag answer = SOCKDIAG_UNKNOWN;
	bool decided;

	build_dump(&wanted);
	decided = compare_piece(&wanted, dump.bytes, dump.length, &answer);
	expect(decided == dump.decided && answer == dump.answer,
		"the answer does not match the sockets in the dump");
}

/* Reads a nearly valid dump, which random bytes hardly ever are: one byte is changed, and the end
 * cut off. */
static void compare_damaged_dump(void)
{
	struct wanted wanted = next_wanted();
	size_t offset = next_byte() << 8, cut;
	char byte;

	offset += next_byte();
	byte = (char)next_byte();
	cut = next_byte();
	build_dump(&wanted);
	if (offset < dump.length)
		dump.bytes[offset] = byte;
	compare_copy(&wanted, dump.bytes, cut < dump.length ? dump.length - cut : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	input.at = data + 1;
	input.end = data + size;
	switch (data[0] % 3) {
	case 0:
		compare_valid_dump();
		break;
	case 1:
		compare_any_bytes();
		break;
	default:
		compare_damaged_dump();
	}
	return 0;
}
