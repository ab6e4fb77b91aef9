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

/* Small numbers, so that they meet. */
static struct wanted next_wanted(void)
{
	unsigned int how = next();

	return (struct wanted){
		.ino = next() % 4,
		.dev = next() % 2,
		.any_dev = how & 1,
		.socket = next() % 4,
		.cookie = {next() % 2, 0},
		.matches = how & 2 ? bound_to : is_socket,
	};
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
	bool matches;

	*header = (struct nlmsghdr){
		.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_len = NLMSG_LENGTH(sizeof(*socket))};
	*socket = (struct unix_diag_msg){
		.udiag_family = AF_UNIX, .udiag_ino = number, .udiag_cookie = {cookie, 0}};
	if (what & 1)
		add_attribute(header, UNIX_DIAG_NAME, name, what % sizeof(name));
	if (what & 2)
		add_attribute(header, UNIX_DIAG_VFS, &vfs, sizeof(vfs));
	if (what & 4)
		add_attribute(header, UNIX_DIAG_SHUTDOWN, name, 1);
	if (wanted->matches == bound_to)
		matches = (what & 2) && vfs.udiag_vfs_ino == wanted->ino &&
			  (wanted->any_dev || vfs.udiag_vfs_dev == wanted->dev);
	else
		matches = number == wanted->socket && cookie == wanted->cookie[0];
	if (matches)
		decide(SOCKDIAG_YES);
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
