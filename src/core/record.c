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
#include "text.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define MAGIC "sockguard 1\n"
#define NAME  "name "

_Static_assert(sizeof(MAGIC NAME) - 1 == RECORD_NAME_AT, "the words for the name have their place");
_Static_assert(sizeof(RECORD_HELD) == sizeof(RECORD_LEFT), "one is written over the other");

static const struct field {
	const char *name;
	size_t offset;
	size_t size; /* of a string; 0: a number */
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

/* Read once in a process: the boot id does not change under it, not even by a fork. */
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

bool record_is_of(const struct record *record, int fd)
{
	int saved = errno;
	uint64_t cookie = cookie_of(fd, SO_COOKIE);

	errno = saved;
	return cookie != 0 && cookie == record->cookie;
}

uint64_t record_netns_of(int fd)
{
	int saved = errno;
	uint64_t cookie = cookie_of(fd, SO_NETNS_COOKIE);

	errno = saved;
	return cookie;
}

void record_of_self(struct record *record, int fd)
{
	int saved = errno;
	struct kernel_file found;

	memset(record, 0, sizeof(*record));
	record->pid = (uint64_t)caller->pid();
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

/* A name may hold anything, and the record is read by line. */
static void add_printable(struct text *text, const char *words)
{
	char *byte = text->start + text->used;

	text_add(text, words);
	for (; *byte != '\0'; byte++)
		if (*byte <= ' ' || *byte >= 0x7f)
			*byte = '?';
}

void record_write(const struct record *record, char *out)
{
	char buffer[RECORD_SIZE + 1];
	struct text text = text_in(buffer, sizeof(buffer));

	text_add(&text, MAGIC NAME);
	text_add(&text, record->left ? RECORD_LEFT "\n" : RECORD_HELD "\n");
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

/* The line's value goes into the field of its name; a line of no known name is passed over. */
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

bool record_read(struct record *record, const char *text, size_t length)
{
	const char *line = text + sizeof(MAGIC) - 1;
	const char *end;

	memset(record, 0, sizeof(*record));
	if (length != RECORD_SIZE || memcmp(text, MAGIC, sizeof(MAGIC) - 1) != 0 ||
		memchr(text, '\0', length))
		return false;
	record->left = memcmp(text + RECORD_NAME_AT, RECORD_LEFT "\n", sizeof(RECORD_LEFT)) == 0;
	for (; (end = memchr(line, '\n', RECORD_SIZE - (size_t)(line - text))); line = end + 1) {
		if (!read_line(record, line, end)) {
			memset(record, 0, sizeof(*record));
			return false;
		}
	}
	return true;
}

bool record_from_elsewhere(const struct record *record)
{
	char boot[RECORD_BOOT];
	int saved = errno;

	boot_of_self(boot);
	errno = saved;
	return boot[0] != '\0' && record->boot[0] != '\0' && strcmp(boot, record->boot) != 0;
}

/*
 * The start time, in clock ticks since boot, is the 22nd field of /proc/PID/stat. The second is the
 * command in parentheses, and may itself hold blanks and parentheses. 0: there is no such field.
 */
static uint64_t read_start(const char *stat)
{
	const char *at = strrchr(stat, ')');
	uint64_t ticks = 0;

	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		text_read_number(at + 1, &ticks);
	return ticks;
}

/* In seconds since boot; 0 if /proc does not show the process: it may be hidden, or not mounted. */
static uint64_t started_at(uint64_t pid)
{
	char stat[512]; /* the fields up to the 22nd take less */
	struct text path = text_in(stat, sizeof(stat));
	ssize_t length = -1;
	int fd;

	text_add(&path, "/proc/");
	text_add_number(&path, pid);
	text_add(&path, "/stat");
	fd = kernel_open(AT_FDCWD, stat, O_RDONLY, 0);
	if (fd >= 0) {
		length = kernel_pread(fd, stat, sizeof(stat) - 1, 0);
		kernel_close(fd);
	}
	stat[length > 0 ? length : 0] = '\0';
	return read_start(stat) / (uint64_t)sysconf(_SC_CLK_TCK);
}

bool record_binder_has_ended(const struct record *record)
{
	int saved = errno;
	bool ended;

	if (record->pid == 0 || record_from_elsewhere(record))
		return false;
	ended = record->pid > INT32_MAX || !kernel_process_exists((pid_t)record->pid);
	/* Rounded down alike: the binder itself never seems to be younger than its record. */
	if (!ended && record->uptime > 0)
		ended = started_at(record->pid) > record->uptime;
	errno = saved;
	return ended;
}
