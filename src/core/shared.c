#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#include "kernel.h"
#include "lockfile.h"
#include "siphash.h"

#define DIGITS (SHARED_EXTRA - 1)

static const char hex[] = "0123456789abcdef";

bool shared_is_alternate_suffix(const char *tail)
{
	return tail[0] == '.' && strspn(tail + 1, hex) == DIGITS && tail[SHARED_EXTRA] == '\0';
}

struct wanted {
	int dirfd;
	char *path;
	size_t length;
	size_t name; /* where the name begins in path */
	bool (*accepts)(const struct kernel_file *);
	const struct file_id *except;
};

/* Whether path leads to a file that is accepted and not the excepted one. */
static bool path_is_wanted(const struct wanted *wanted)
{
	struct kernel_file found;
	struct file_id there;

	if (inode_stat(wanted->dirfd, wanted->path, &found) != 0 || !wanted->accepts(&found))
		return false;
	there = file_id_of(&found);
	return !(wanted->except && file_same(&there, wanted->except));
}

/* Whether a directory entry is an alternate name of an accepted file. If so, sets path to it. */
static bool entry_is_wanted(const char *entry, void *about)
{
	const struct wanted *wanted = about;
	size_t length = wanted->length - wanted->name;

	if (strncmp(entry, wanted->path + wanted->name, length) != 0 ||
		!shared_is_alternate_suffix(entry + length))
		return false;
	memcpy(wanted->path + wanted->length, entry + length, SHARED_EXTRA + 1);
	if (path_is_wanted(wanted))
		return true;
	wanted->path[wanted->length] = '\0';
	return false;
}

static int open_directory(const struct wanted *wanted)
{
	char first = wanted->path[wanted->name];
	int fd;

	wanted->path[wanted->name] = '\0'; /* temporarily cut to the directory's path */
	fd = kernel_open(wanted->dirfd, wanted->name == 0 ? "." : wanted->path,
		O_RDONLY | O_DIRECTORY, 0);
	wanted->path[wanted->name] = first;
	return fd;
}

static enum shared list_directory(struct wanted *wanted)
{
	/* For the results -1, 0 and 1 of inode_list_directory. */
	static const enum shared answers[] = {SHARED_UNREADABLE, SHARED_NONE, SHARED_FOUND};
	int directory = open_directory(wanted);
	int listed = directory < 0 ? -1 : inode_list_directory(directory, entry_is_wanted, wanted);

	if (directory >= 0)
		kernel_close(directory);
	return answers[listed + 1];
}

enum shared shared_find(int dirfd, char *path, size_t length,
	bool (*accepts)(const struct kernel_file *), const struct file_id *except)
{
	int saved = errno;
	struct wanted wanted = {.dirfd = dirfd,
		.path = path,
		.length = length,
		.accepts = accepts,
		.except = except};
	enum shared found;

	path[length] = '\0';
	wanted.name = inode_directory_length(path);
	found = path_is_wanted(&wanted) ? SHARED_FOUND : list_directory(&wanted);
	errno = saved;
	return found;
}

/*
 * A number that no other user can guess: the kernel gives each process random bytes at exec,
 * AT_RANDOM in getauxval(3). libc derives its stack canaries from the same bytes, so the number
 * must not reveal them. Forked processes have the same bytes, but another pid. If two numbers are
 * equal nevertheless, O_EXCL makes the second process try again.
 */
static uint64_t fresh_number(void)
{
	static atomic_uint counter;
	uint64_t secret[2] = {0};
	const void *random = (const void *)getauxval(AT_RANDOM);

	if (random)
		memcpy(secret, random, sizeof(secret));
	return siphash(secret, (uint64_t)kernel_pid() << 32 | atomic_fetch_add(&counter, 1));
}

void shared_make_alternate(char *path, size_t length)
{
	uint64_t number = fresh_number();

	path[length] = '.';
	for (int i = 0; i < DIGITS; i++, number >>= 4)
		path[length + 1 + (size_t)i] = hex[number & 15];
	path[length + SHARED_EXTRA] = '\0';
}
