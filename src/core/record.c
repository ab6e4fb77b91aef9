#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "caller.h"
#include "inode.h"
#include "kernel.h"
#include "starttime.h"
#include "text.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define MAGIC "sockguard 1\n"
#define NAME  "name "

_Static_assert(sizeof(MAGIC NAME) - 1 == RECORD_STATE_AT,
	"the word for the state is at RECORD_STATE_AT");
_Static_assert(sizeof(RECORD_HELD) == sizeof(RECORD_LEFT), "one word replaces the other");

static const struct field {
	const char *name;
	size_t offset;
	size_t size; /* of a string's buffer; 0: the field is a number */
} fields[] = {
	{"pid", offsetof(struct record, pid), 0},
	{"uid", offsetof(struct record, uid), 0},
	{"comm", offsetof(struct record, comm), RECORD_COMM},
	{"time", offsetof(struct record, time), 0},
	{"uptime", offsetof(struct record, uptime), 0},
	{"boot", offsetof(struct record, boot), RECORD_BOOT},
	{"socket", offsetof(struct record, socket), 0},
	{"cookie", offsetof(struct record, cookie), 0},
	{"netns", offsetof(struct record, netns), 0},
	{"pidns", offsetof(struct record, pidns), 0},
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static void read_boot(char boot[RECORD_BOOT])
{
	int fd = kernel_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
	ssize_t length = -1;

	if (fd >= 0) {
		length = kernel_pread(fd, boot, RECORD_BOOT - 1, 0);
		kernel_close(fd);
	}
	boot[length == RECORD_BOOT - 1 ? length : 0] = '\0';
}

/* Read once: a process and its forks never see another boot id. */
static void boot_of_self(char boot[RECORD_BOOT])
{
	enum { EMPTY, FILLING, READY };
	static char known[RECORD_BOOT];
	static atomic_int state = EMPTY;
	int empty = EMPTY;

	if (atomic_load_explicit(&state, memory_order_acquire) == READY) {
		memcpy(boot, known, RECORD_BOOT);
		return;
	}
	read_boot(boot);
	if (boot[0] == '\0' || !atomic_compare_exchange_strong(&state, &empty, FILLING))
		return;
	memcpy(known, boot, RECORD_BOOT);
	atomic_store_explicit(&state, READY, memory_order_release);
}

static uint64_t cookie_of(int fd, int option)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	return kernel_getsockopt(fd, option, &cookie, &size) == 0 ? cookie : 0;
}

bool record_matches_socket(const struct record *record, int fd)
{
	int saved = errno;
	uint64_t cookie = cookie_of(fd, SO_COOKIE);

	errno = saved;
	return cookie != 0 && cookie == record->cookie;
}

uint64_t record_socket_netns(int fd)
{
	int saved = errno;
	uint64_t cookie = cookie_of(fd, SO_NETNS_COOKIE);

	errno = saved;
	return cookie;
}

void record_describe_caller(struct record *record, int fd)
{
	int saved = errno;
	pid_t pid = caller->pid();
	struct kernel_file found;

	memset(record, 0, sizeof(*record));
	record->pid = (uint64_t)pid;
	record->pidns = caller->pid_namespace(pid);
	record->uid = kernel_euid();
	record->time = kernel_seconds();
	record->uptime = kernel_uptime();
	boot_of_self(record->boot);
	kernel_comm(record->comm);
	if (fd >= 0 && kernel_fstat(fd, &found) == 0) {
		record->socket = found.ino;
		record->cookie = cookie_of(fd, SO_COOKIE);
		record->netns = cookie_of(fd, SO_NETNS_COOKIE);
	}
	errno = saved;
}

/* A process's name may contain any bytes, and the record consists of lines. */
static void add_printable(struct text *text, const char *words)
{
	char *byte = text->start + text->used;

	text_add(text, words);
	for (; *byte != '\0'; byte++)
		if (*byte <= ' ' || *byte >= 0x7f)
			*byte = '?';
}

void record_format(const struct record *record, char *out)
{
	char buffer[RECORD_SIZE + 1];
	struct text text = text_start(buffer, sizeof(buffer));

	text_add(&text, MAGIC NAME);
	text_add(&text, record->leaving ? RECORD_LEFT "\n" : RECORD_HELD "\n");
	for (size_t i = 0; i < FIELDS; i++) {
		const char *value = (const char *)record + fields[i].offset;
		text_add(&text, fields[i].name);
		text_add(&text, " ");
		if (fields[i].size > 0)
			add_printable(&text, value);
		else
			text_add_number(&text, *(const uint64_t *)(const void *)value);
		text_add(&text, "\n");
	}
	memset(out, ' ', RECORD_SIZE);
	memcpy(out, buffer, text.used);
	out[RECORD_SIZE - 1] = '\n';
}

/* Stores a line's value in the field of that name. Ignores lines with unknown names. */
static bool read_line(struct record *record, const char *line, const char *end)
{
	for (size_t i = 0; i < FIELDS; i++) {
		size_t length = strlen(fields[i].name);
		char *value = (char *)record + fields[i].offset;

		if ((size_t)(end - line) <= length || memcmp(line, fields[i].name, length) != 0 ||
			line[length] != ' ')
			continue;
		line += length + 1;
		if (fields[i].size == 0)
			return text_read_number(line, (uint64_t *)(void *)value) == end;
		if ((size_t)(end - line) >= fields[i].size)
			return false;
		for (const char *byte = line; byte < end; byte++)
			if (*byte <= ' ' || *byte >= 0x7f)
				return false;
		memset(value, 0, fields[i].size);
		memcpy(value, line, (size_t)(end - line));
		return true;
	}
	return true;
}

bool record_parse(struct record *record, const char *text, size_t length)
{
	const char *line = text + sizeof(MAGIC) - 1;
	const char *end;

	memset(record, 0, sizeof(*record));
	if (length != RECORD_SIZE || memcmp(text, MAGIC, sizeof(MAGIC) - 1) != 0 ||
		memchr(text, '\0', length))
		return false;
	record->leaving =
		memcmp(text + RECORD_STATE_AT, RECORD_LEFT "\n", sizeof(RECORD_LEFT)) == 0;
	for (; (end = memchr(line, '\n', RECORD_SIZE - (size_t)(line - text))); line = end + 1) {
		if (!read_line(record, line, end)) {
			memset(record, 0, sizeof(*record));
			return false;
		}
	}
	return true;
}

bool record_is_from_other_boot(const struct record *record)
{
	char boot[RECORD_BOOT];
	int saved = errno;

	boot_of_self(boot);
	errno = saved;
	return boot[0] != '\0' && record->boot[0] != '\0' && strcmp(boot, record->boot) != 0;
}

static bool is_foreign(const struct record *record)
{
	uint64_t ours = record->pidns == 0 ? 0 : caller->pid_namespace(caller->pid());

	return ours != 0 && ours != record->pidns;
}

static bool has_ended(const struct record *record)
{
	uint64_t ticks_per_second = (uint64_t)sysconf(_SC_CLK_TCK);
	pid_t pid = (pid_t)record->pid;

	if (record->pid > INT32_MAX || !kernel_process_exists(pid))
		return true;
	/* Both are rounded down: no process seems to have started after it wrote the record. */
	return record->uptime > 0 && starttime_of(pid) / ticks_per_second > record->uptime;
}

enum record_binder record_find_binder(const struct record *record)
{
	int saved = errno;
	enum record_binder binder = BINDER_UNKNOWN;

	if (is_foreign(record))
		binder = BINDER_FOREIGN;
	else if (record->pid != 0 && !record_is_from_other_boot(record))
		binder = has_ended(record) ? BINDER_ENDED : BINDER_EXISTS;
	errno = saved;
	return binder;
}
