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

static bool counts(int dirfd, const char *path, const struct file_id *except)
{
	struct kernel_file found;

	return inode_look(dirfd, path, &found) == 0 && lockfile_counts(&found) &&
	       !(except && found.dev == except->dev && found.ino == except->ino);
}

struct wanted {
	int dirfd;
	char *path;
	size_t length;
	size_t name; /* where the name begins in path */
	const struct file_id *except;
};

/* An entry of the directory: is it an alternate that counts? */
static bool is_wanted(const char *entry, void *about)
{
	const struct wanted *wanted = about;
	size_t length = wanted->length - wanted->name;

	if (strncmp(entry, wanted->path + wanted->name, length) != 0 ||
		!shared_is_alternate(entry + length))
		return false;
	memcpy(wanted->path + wanted->length, entry + length, SHARED_LONGER + 1);
	if (counts(wanted->dirfd, wanted->path, wanted->except))
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

bool shared_find(int dirfd, char *path, size_t length, const struct file_id *except)
{
	int saved = errno;
	struct wanted wanted = {.dirfd = dirfd, .path = path, .length = length, .except = except};
	bool found;
	int directory;

	path[length] = '\0';
	wanted.name = inode_directory(path);
	found = counts(dirfd, path, except);
	directory = found ? -1 : open_directory(&wanted);
	if (directory >= 0) {
		found = inode_list(directory, is_wanted, &wanted);
		kernel_close(directory);
	}
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
