/*
 * A fuzzer of the reader of sock_diag's answers. Any bytes: nothing outside of them is touched, and
 * an answer is given only where the reader says so. Answers as the kernel gives them, put together
 * from the input: what the reader finds is what was put in.
 *
 * The reader is none of the room's promises, so the room is included as it is.
 */
#include "../../src/core/sockdiag.c" // NOLINT(bugprone-suspicious-include)

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	const uint8_t *at, *end;
} input;

static unsigned int next(void)
{
	return input.at < input.end ? *input.at++ : 0;
}

static void expect(bool held, const char *what)
{
	if (held)
		return;
	fprintf(stderr, "DIFFERENCE: %s\n", what);
	abort();
}

typedef enum sockdiag comparison(const struct wanted *, const struct described *);

/* Small numbers, so that they meet. */
static struct wanted next_wanted(void)
{
	static const struct pin pin = {.fd = -1};
	static comparison *const comparisons[] = {
		bound_to, is_socket, bound_here, bound_through_view};
	unsigned int how = next();

	return (struct wanted){
		.pin = &pin,
		.ino = next() % 4,
		.superblock = {.dev = next() % 2,
			.dev_known = (how & 1) || (how & 2),
			.exact = (how & 1) && (how & 2)},
		.socket = next() % 4,
		.cookie = {next() % 2, 0},
		.compare = comparisons[(how >> 2) % 4],
	};
}

/* What a socket of these numbers is to be taken for. Its name leads nowhere. */
static enum sockdiag expected(const struct wanted *wanted, const struct unix_diag_msg *socket,
	const struct unix_diag_vfs *vfs)
{
	bool same =
		socket->udiag_ino == wanted->socket && socket->udiag_cookie[0] == wanted->cookie[0];
	bool here = vfs && vfs->udiag_vfs_ino == wanted->ino;

	if (wanted->compare == is_socket)
		return same ? SOCKDIAG_YES : SOCKDIAG_NO;
	if (wanted->compare == bound_through_view)
		return same && here && vfs->udiag_vfs_dev != wanted->superblock.dev ? SOCKDIAG_YES
										    : SOCKDIAG_NO;
	if (!here || (socket->udiag_type != SOCK_DGRAM && socket->udiag_state == TCP_ESTABLISHED))
		return SOCKDIAG_NO;
	if (wanted->superblock.exact)
		return vfs->udiag_vfs_dev == wanted->superblock.dev ? SOCKDIAG_YES : SOCKDIAG_NO;
	return wanted->superblock.dev_known && vfs->udiag_vfs_dev != wanted->superblock.dev
		       ? SOCKDIAG_NO
		       : SOCKDIAG_AMBIGUOUS;
}

/* In memory of its very size, so that a byte too many is seen. */
static void read_copy(const struct wanted *wanted, const void *bytes, size_t length)
{
	void *piece = malloc(length + !length);
	enum sockdiag answer = (enum sockdiag)4711;
	bool decided;

	if (!piece)
		abort();
	memcpy(piece, bytes, length);
	decided = piece_decides(wanted, piece, length, &answer);
	expect(decided ? answer <= SOCKDIAG_SILENT : answer == (enum sockdiag)4711,
		"an answer without a decision, or the other way round");
	free(piece);
}

static void read_any(void)
{
	struct wanted wanted = next_wanted();

	read_copy(&wanted, input.at, (size_t)(input.end - input.at));
}

/* A dump, as far as it is put together. */
static struct {
	_Alignas(struct nlmsghdr) char bytes[PIECE];
	size_t length;
	bool decided;
	enum sockdiag answer; /* that is to be found */
} dump;

static void *add(size_t size)
{
	void *at = dump.bytes + dump.length;

	memset(at, 0, NLMSG_ALIGN(size));
	dump.length += NLMSG_ALIGN(size);
	return at;
}

static void decide(enum sockdiag answer)
{
	if (!dump.decided)
		dump.answer = answer;
	dump.decided = true;
}

static void add_end(uint16_t type)
{
	struct nlmsghdr *header = add(NLMSG_LENGTH(sizeof(int)));

	header->nlmsg_len = NLMSG_LENGTH(sizeof(int));
	header->nlmsg_type = type;
	decide(type == NLMSG_DONE ? SOCKDIAG_NO : SOCKDIAG_SILENT);
}

static void add_attribute(struct nlmsghdr *header, uint16_t type, const void *value, size_t size)
{
	struct rtattr *attribute = add(RTA_LENGTH(size));

	attribute->rta_len = (unsigned short)RTA_LENGTH(size);
	attribute->rta_type = type;
	memcpy(RTA_DATA(attribute), value, size);
	header->nlmsg_len = (uint32_t)(dump.bytes + dump.length - (char *)header);
}

static void add_socket(const struct wanted *wanted)
{
	unsigned int what = next();
	uint32_t number = next() % 4, cookie = next() % 2;
	struct unix_diag_vfs vfs = {.udiag_vfs_ino = next() % 4, .udiag_vfs_dev = next() % 2};
	struct nlmsghdr *header = add(NLMSG_LENGTH(sizeof(struct unix_diag_msg)));
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
		decide(answer);
}

static void put_together(const struct wanted *wanted)
{
	dump.length = 0;
	dump.decided = false;
	dump.answer = SOCKDIAG_SILENT;
	while (input.at < input.end && dump.length < sizeof(dump.bytes) - 256) {
		unsigned int what = next();

		if (what < 0xf0)
			add_socket(wanted);
		else
			add_end(what < 0xf8 ? NLMSG_DONE : NLMSG_ERROR);
	}
}

static void read_dump_of_input(void)
{
	struct wanted wanted = next_wanted();
	enum sockdiag answer = SOCKDIAG_SILENT;
	bool decided;

	put_together(&wanted);
	decided = piece_decides(&wanted, dump.bytes, dump.length, &answer);
	expect(decided == dump.decided && answer == dump.answer,
		"what was found is not what was put in");
}

/* Nearly what the kernel says, which bytes at random hardly are: one other, and cut short. */
static void read_spoilt(void)
{
	struct wanted wanted = next_wanted();
	size_t place = next() << 8, cut;
	char byte;

	place += next();
	byte = (char)next();
	cut = next();
	put_together(&wanted);
	if (place < dump.length)
		dump.bytes[place] = byte;
	read_copy(&wanted, dump.bytes, cut < dump.length ? dump.length - cut : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	input.at = data + 1;
	input.end = data + size;
	switch (data[0] % 3) {
	case 0:
		read_dump_of_input();
		break;
	case 1:
		read_any();
		break;
	default:
		read_spoilt();
	}
	return 0;
}
