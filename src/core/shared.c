#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#include "kernel.h"
#include "lockfile.h"

#define DIGITS (SHARED_LONGER - 1)

static const char hex[] = "0123456789abcdef";

bool shared_is_alternate(const char *tail)
{
	return tail[0] == '.' && strspn(tail + 1, hex) == DIGITS && tail[SHARED_LONGER] == '\0';
}

struct wanted {
	int dirfd;
	char *path;
	size_t length;
	size_t name; /* where the name begins in path */
	bool (*counts)(const struct kernel_file *);
	const struct file_id *except;
};

/* Is it what path leads to now? */
static bool is_there(const struct wanted *wanted)
{
	struct kernel_file found;
	struct file_id there;

	if (inode_look(wanted->dirfd, wanted->path, &found) != 0 || !wanted->counts(&found))
		return false;
	there = file_of(&found);
	return !(wanted->except && file_same(&there, wanted->except));
}

/* An entry of the directory: is it an alternate that counts? */
static bool is_wanted(const char *entry, void *about)
{
	const struct wanted *wanted = about;
	size_t length = wanted->length - wanted->name;

	if (strncmp(entry, wanted->path + wanted->name, length) != 0 ||
		!shared_is_alternate(entry + length))
		return false;
	memcpy(wanted->path + wanted->length, entry + length, SHARED_LONGER + 1);
	if (is_there(wanted))
		return true;
	wanted->path[wanted->length] = '\0';
	return false;
}

static int open_directory(const struct wanted *wanted)
{
	char first = wanted->path[wanted->name];
	int fd;

	wanted->path[wanted->name] = '\0'; /* what is left names the directory */
	fd = kernel_open(wanted->dirfd, wanted->name == 0 ? "." : wanted->path,
		O_RDONLY | O_DIRECTORY, 0);
	wanted->path[wanted->name] = first;
	return fd;
}

static enum shared list(struct wanted *wanted)
{
	static const enum shared answers[] = {SHARED_UNREADABLE, SHARED_NONE, SHARED_FOUND};
	int directory = open_directory(wanted);
	int listed = directory < 0 ? -1 : inode_list(directory, is_wanted, wanted);

	if (directory >= 0)
		kernel_close(directory);
	return answers[listed + 1];
}

enum shared shared_find(int dirfd, char *path, size_t length,
	bool (*counts)(const struct kernel_file *), const struct file_id *except)
{
	int saved = errno;
	struct wanted wanted = {
		.dirfd = dirfd, .path = path, .length = length, .counts = counts, .except = except};
	enum shared found;

	path[length] = '\0';
	wanted.name = inode_directory(path);
	found = is_there(&wanted) ? SHARED_FOUND : list(&wanted);
	errno = saved;
	return found;
}

/*
 * Nobody else can guess it: AT_RANDOM is the process's own, getauxval(3). Forks have the same, but
 * another process id; and O_EXCL has the last word.
 */
static uint64_t fresh_number(void)
{
	static atomic_uint turn;
	uint64_t secret[2] = {0};
	const void *random = (const void *)getauxval(AT_RANDOM);

	if (random)
		memcpy(secret, random, sizeof(secret));
	secret[0] ^= (uint64_t)kernel_pid() << 32 | atomic_fetch_add(&turn, 1);
	for (int i = 0; i < 3; i++) { /* splitmix64's, to spread the few bits that differ */
		secret[0] = (secret[0] ^ secret[0] >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		secret[0] = (secret[0] ^ secret[0] >> 27) * UINT64_C(0x94d049bb133111eb);
		secret[0] ^= secret[1] ^ secret[0] >> 31;
	}
	return secret[0];
}

void shared_alternate(char *path, size_t length)
{
	uint64_t number = fresh_number();

	path[length] = '.';
	for (int i = 0; i < DIGITS; i++, number >>= 4)
		path[length + 1 + (size_t)i] = hex[number & 15];
	path[length + SHARED_LONGER] = '\0';
}
