/*
 * Systematic bad input: inputs CALL [N] makes one of the guarded calls with every combination of
 * arguments, or every Nth, in a directory "stage" that it creates in the working directory, and
 * prints for each:
 *
 *   CALL(ARGUMENTS) RESULT ERRNO, and the directory's content if it has changed
 *
 * There is no rival, so the output with the guard and without must be the same. A lock file beside
 * a socket is not listed. The program uses only libc, like the actor.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	MAX_PATHS = 160,
	MAX_FILES = 64,
	ERRNO_BEFORE = 4711, /* errno before each call; a call that succeeds must not change it */
	/* Descriptors. Some of the paths contain their numbers. */
	STAGE_FD = 100,
	SOCKET_FD,
	FILE_FD,
	CLOSED_FD
};

/* musl before 1.2.6 lacks it. */
extern int renameat2(int, const char *, int, const char *, unsigned) __attribute__((weak));

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(2);
}

/* ---- the stage ---- */

static char stale_long[247];    /* the name of a stale socket; a lock file's would be too long */
static char stale_longest[256]; /* the same, with the maximum length of a name */
static int own = -1;            /* our socket, which listens at "own" */

static int new_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	check(fd >= 0, "socket");
	return fd;
}

static int bind_socket(const char *name, mode_t mode)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = new_socket(SOCK_STREAM);

	strcpy(address.sun_path, name);
	check(bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0, name);
	check(chmod(name, mode) == 0, name); /* the mode distinguishes sockets */
	return fd;
}

static void make_stale(const char *name, mode_t mode)
{
	close(bind_socket("made", mode));
	check(rename("made", name) == 0, name);
}

static void make_file(const char *name)
{
	int fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	check(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name), name);
	close(fd);
}

static void open_at_number(int number, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	check(fd >= 0 && dup3(fd, number, O_CLOEXEC) == number, path);
	close(fd);
}

static void populate_stage(void)
{
	make_file("file");
	check(mkdir("directory", 0755) == 0 && mkdir("full", 0755) == 0, "mkdir");
	make_file("full/inner");
	make_stale("full/stale", 0711);
	check(symlink("file", "link") == 0 && symlink("full", "dirlink") == 0 &&
			symlink("nowhere", "dangling") == 0 && symlink("loop", "loop") == 0 &&
			symlink("loop3", "loop2") == 0 && symlink("loop2", "loop3") == 0 &&
			symlink("stale", "stalelink") == 0 && symlink("own", "ownlink") == 0,
		"symlink");
	check(mkfifo("fifo", 0644) == 0, "mkfifo");
	make_stale("stale", 0722);
	make_stale("stale2", 0733);
	make_stale("stale \xff\n\"", 0744);
	make_stale(stale_long, 0754);
	make_stale(stale_longest, 0755);
	own = bind_socket("own", 0777);
	check(listen(own, 1) == 0, "listen");
	open_at_number(SOCKET_FD, "stale", O_PATH | O_NOFOLLOW);
	open_at_number(FILE_FD, "file", O_RDONLY);
}

struct file {
	char path[300];
	struct stat status;
};

/* Appends the files in a directory and in those below it to `files`. Returns the new count. */
// NOLINTNEXTLINE(misc-no-recursion): a directory in a directory
static size_t list_tree(struct file *files, size_t count, const char *directory)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;

	if (!dir) {
		check(false, directory);
		return count;
	}
	while ((entry = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): there is one thread
		struct file *file = &files[count];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		check(++count < MAX_FILES, "MAX_FILES is too small");
		snprintf(file->path, sizeof(file->path), "%s%s%s", directory,
			directory[strlen(directory) - 1] == '/' ? "" : "/", entry->d_name);
		check(lstat(file->path, &file->status) == 0, file->path);
		if (S_ISDIR(file->status.st_mode))
			count = list_tree(files, count, file->path);
	}
	closedir(dir);
	return count;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static bool is_lock_beside_socket(const char *path)
{
	static const char suffix[] = ".sockguard";
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	const char *end = strstr(name, suffix);
	char socket_path[300];
	struct stat status;

	if (!end || end[sizeof(suffix) - 1] != '\0' || name[0] != '.')
		return false;
	snprintf(socket_path, sizeof(socket_path), "%.*s%.*s", (int)(name - path), path,
		(int)(end - name - 1), name + 1);
	return lstat(socket_path, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* Lists the stage's content as text, without the lock files. */
static void describe_stage(char *text, size_t size)
{
	static struct file files[MAX_FILES];
	size_t count = list_tree(files, 0, ".");
	size_t used = 0;

	qsort(files, count, sizeof(files[0]), by_path);
	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		const struct stat *status = &files[i].status;
		bool dir = S_ISDIR(status->st_mode);

		if (is_lock_beside_socket(files[i].path))
			continue;
		used += (size_t)snprintf(text + used, size - used, " %s:%o:%ld:%ld", files[i].path,
			(unsigned int)status->st_mode, dir ? 0L : (long)status->st_size,
			dir ? 0L : (long)status->st_nlink);
		check(used < size, "the buffer for the listing is too small");
	}
}

static void empty_stage(void)
{
	static struct file files[MAX_FILES];
	size_t count = list_tree(files, 0, ".");

	qsort(files, count, sizeof(files[0]), by_path);
	while (count-- > 0)
		check(remove(files[count].path) == 0 || errno == ENOENT, files[count].path);
	if (own >= 0)
		close(own);
}

static char listing_before[1 << 14]; /* of the stage, before each call */

static void reset_stage(void)
{
	empty_stage();
	populate_stage();
	describe_stage(listing_before, sizeof(listing_before));
}

static void print_escaped(const char *text)
{
	for (; *text; text++)
		if (*text >= ' ' && *text < 0x7f)
			putchar(*text);
		else
			printf("\\x%02x", (unsigned int)(unsigned char)*text);
}

/*
 * Prints the result of a call, and restores the stage if it has changed. That is quick if the call
 * only created the file `created`, which may be NULL.
 */
static void print_result(const char *call, int result, int error, const char *created)
{
	static char listing[sizeof(listing_before)];

	print_escaped(call);
	printf(" %d %d", result, error);
	describe_stage(listing, sizeof(listing));
	if (strcmp(listing_before, listing) != 0) {
		print_escaped(listing);
		if (created && remove(created) == 0)
			describe_stage(listing, sizeof(listing));
		if (strcmp(listing_before, listing) != 0)
			reset_stage();
	}
	putchar('\n');
}

/* ---- paths ---- */

static struct path {
	char label[80];
	const char *path;
} paths[MAX_PATHS];
static size_t path_count;

static void add_path(const char *label, const char *path)
{
	check(path_count < MAX_PATHS, "MAX_PATHS is too small");
	snprintf(paths[path_count].label, sizeof(paths[0].label), "%s", label);
	paths[path_count++].path = path;
}

/* Copies bytes to just before an unreadable page, so that a read past the length crashes. */
static char *copy_before_guard_page(const void *bytes, size_t length)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	char *pages =
		mmap(NULL, 4 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(pages != MAP_FAILED && mprotect(pages + 3 * size, size, PROT_NONE) == 0, "mmap");
	return memcpy(pages + 3 * size - length, bytes, length);
}

/*
 * Adds copies of a name: at the end of a readable page, with its NUL and without; in a read-only
 * page; and across two pages.
 */
static void add_in_pages(const char *name)
{
	char label[80];
	char *page = copy_before_guard_page("", 1) + 1 - sysconf(_SC_PAGESIZE);

	snprintf(label, sizeof(label), "%s before a guard page", name);
	add_path(label, copy_before_guard_page(name, strlen(name) + 1));
	snprintf(label, sizeof(label), "%s without a NUL", name);
	add_path(label, copy_before_guard_page(name, strlen(name)));
	snprintf(label, sizeof(label), "%s read-only", name);
	strcpy(page, name);
	check(mprotect(page, (size_t)sysconf(_SC_PAGESIZE), PROT_READ) == 0, "mprotect");
	add_path(label, page);
	snprintf(label, sizeof(label), "%s across two pages", name);
	page = copy_before_guard_page("", 1) + 1 - sysconf(_SC_PAGESIZE) - 2;
	add_path(label, strcpy(page, name));
}

/* Adds a path of this length that leads to the name: "./" is repeated before it. */
static void add_padded(size_t length, const char *name)
{
	char label[80];
	char *path = malloc(length + 2);
	size_t at = 0;

	check(path != NULL, "malloc");
	while (at + strlen(name) + 1 < length) {
		memcpy(path + at, "./", 2);
		at += 2;
	}
	if (at + strlen(name) < length)
		path[at++] = '/';
	strcpy(path + at, name);
	snprintf(label, sizeof(label), "%s padded to %zu bytes", name, length);
	add_path(label, path);
}

static void add_paths(void)
{
	static char slashes[PATH_MAX];
	static const char *const names[] = {"file", "directory", "full", "link", "dirlink",
		"dangling", "loop", "loop2", "stalelink", "ownlink", "fifo", "stale", "own",
		"absent", "", ".", "..", "/", "//", "file/", "directory/", "directory//", "full/",
		"stale/", "stale//", "own/", "link/", "dirlink/", "stalelink/", "ownlink/",
		"dangling/", "loop/", "absent/", "absent//", "./stale", ".//own",
		"directory/../stale", "stale/../own", "full//stale", "dirlink/stale", "full/inner",
		"file/x", "stale/x", "own/x", "fifo/x", "absent/x", "loop/x", "loop2/x",
		"stale \xff\n\"", "\xff\xfe\n absent", "directory/.", "own/.", "full/..",
		"/proc/self/cwd/stale", "/proc/self/cwd/own", "/proc/self/fd/100/stale",
		"/proc/self/fd/100/own", "/proc/self/fd/100/absent", "/proc/self/fd/100",
		"/proc/self/fd/101", "/proc/self/fd/103/x", "/proc/self/fd/102/x"};
	static char name[257];
	static const char *const in_pages[] = {"file", "stale", "own", "absent"};
	static const size_t lengths[] = {499, 500, 501, 502, 509, 510, 511, 512, 513, PATH_MAX - 1,
		PATH_MAX, PATH_MAX + 1, 2 * PATH_MAX};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		add_path(names[i], names[i]);
	add_path("NULL", NULL);
	add_path("1", (const char *)1);
	add_path("-1", (const char *)-1);
	add_path("unmapped", copy_before_guard_page("", 0));
	for (size_t i = 0; i < sizeof(in_pages) / sizeof(in_pages[0]); i++)
		add_in_pages(in_pages[i]);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		add_padded(lengths[i], stale_longest); /* no lock file, via any path */
		add_padded(lengths[i], "absent");
	}
	add_path(stale_long, stale_long);
	add_path(stale_longest, stale_longest);
	memset(name, 'c', sizeof(name) - 1);
	add_path("component of 256", name);
	add_path("component of 255", name + 1);
	add_path("4096 slashes without a NUL",
		copy_before_guard_page(memset(slashes, '/', PATH_MAX), PATH_MAX));
}

/* ---- the calls on paths ---- */

static unsigned int nth = 1; /* make every nth call */

static const struct {
	const char *label;
	int fd;
} dirs[] = {{"AT_FDCWD", AT_FDCWD}, {"stage", STAGE_FD}, {"a socket", SOCKET_FD},
	{"a file", FILE_FD}, {"closed", CLOSED_FD}, {"-1", -1}, {"-101", -101},
	{"INT_MAX", INT_MAX}, {"INT_MIN", INT_MIN}};
#define DIRS (sizeof(dirs) / sizeof(dirs[0]))

static const int flags[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR,
	AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_EMPTY_PATH | AT_SYMLINK_FOLLOW, INT_MIN, -1};
#define FLAGS (sizeof(flags) / sizeof(flags[0]))

struct arguments {
	size_t path, newpath; /* indices of paths */
	size_t dir, newdir;
	int flags;
};

static int make_call(const char *call, const struct arguments *args)
{
	const char *path = paths[args->path].path, *newpath = paths[args->newpath].path;
	int dir = dirs[args->dir].fd, newdir = dirs[args->newdir].fd;

	errno = ERRNO_BEFORE;
	if (strcmp(call, "unlink") == 0)
		return unlink(path);
	if (strcmp(call, "remove") == 0)
		return remove(path);
	if (strcmp(call, "unlinkat") == 0)
		return unlinkat(dir, path, args->flags);
	if (strcmp(call, "rename") == 0)
		return rename(path, newpath);
	if (strcmp(call, "renameat") == 0)
		return renameat(dir, path, newdir, newpath);
	if (strcmp(call, "renameat2") == 0 && renameat2)
		return renameat2(dir, path, newdir, newpath, (unsigned int)args->flags);
	if (strcmp(call, "link") == 0)
		return link(path, newpath);
	if (strcmp(call, "linkat") == 0)
		return linkat(dir, path, newdir, newpath, args->flags);
	errno = ENOSYS;
	return -1;
}

/* Makes every nth of the calls that are requested, and prints its result. */
static void try_call(const char *call, const struct arguments *args)
{
	static unsigned int calls;
	char text[512];
	int result, error;

	if (calls++ % nth != 0)
		return;
	result = make_call(call, args);
	error = errno;
	snprintf(text, sizeof(text), "%s(%s, %s, %s, %s, %#x)", call, dirs[args->dir].label,
		paths[args->path].label, dirs[args->newdir].label, paths[args->newpath].label,
		(unsigned int)args->flags);
	print_result(text, result, error, NULL);
}

static size_t index_of_path(const char *label)
{
	for (size_t i = 0; i < path_count; i++)
		if (strcmp(paths[i].label, label) == 0)
			return i;
	check(false, label);
	return 0;
}

/*
 * Makes a call with each path, combined with some others if it takes two; then with some paths,
 * each descriptor of a directory if it takes them (`at`), and each value of the flags if it has
 * any.
 */
static void try_paths(const char *call, bool two_paths, bool at, bool has_flags)
{
	static const char *const some[] = {"stale", "own", "absent", "file", "", "NULL",
		"/proc/self/cwd/stale", "component of 256"};
	const size_t count = sizeof(some) / sizeof(some[0]);

	for (size_t i = 0; i < path_count; i++)
		for (size_t j = 0; j < (!two_paths ? 1 : at ? 2 : count); j++) {
			size_t other = index_of_path(some[j]);

			try_call(call, &(struct arguments){.path = i, .newpath = other});
			if (two_paths)
				try_call(call, &(struct arguments){.path = other, .newpath = i});
		}
	for (size_t i = 0; i < count * (two_paths ? count : 1); i++)
		for (size_t dir = 0; dir < (!at ? 1 : DIRS * (two_paths ? DIRS : 1)); dir++)
			for (size_t flag = 0; flag < (has_flags ? FLAGS : 1); flag++)
				if (!two_paths || flag == 0 || dir < 2)
					try_call(call,
						&(struct arguments){
							.path = index_of_path(some[i % count]),
							.newpath = index_of_path(some[i / count]),
							.dir = dir % DIRS,
							.newdir = dir / DIRS,
							.flags = flags[flag]});
}

/* ---- bind ---- */

static struct address {
	const char *label;
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_in in;
		char bytes[256];
	};
} addresses[16];
static size_t address_count;

static struct address *add_address(const char *label, sa_family_t family, const char *name)
{
	struct address *address = &addresses[address_count++];

	address->label = label;
	address->un.sun_family = family;
	memcpy(address->un.sun_path, name, strlen(name));
	return address;
}

static void add_addresses(void)
{
	struct address *address;

	add_address("absent", AF_UNIX, "x");
	add_address("stale", AF_UNIX, "stale");
	add_address("own", AF_UNIX, "own");
	add_address("file", AF_UNIX, "file");
	add_address("dangling link", AF_UNIX, "dangling");
	add_address("loop", AF_UNIX, "loop/x");
	add_address("file as directory", AF_UNIX, "file/x");
	add_address("trailing slash", AF_UNIX, "x/");
	add_address("not UTF-8", AF_UNIX, "\xff\n\"");
	add_address("unspecified", AF_UNSPEC, "x");
	add_address("IPv6", AF_INET6, "x");
	add_address("invalid family", 0xffff, "x");
	address = add_address("IPv4", AF_INET, "");
	address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address = add_address("no NUL", AF_UNIX, "");
	memset(address->un.sun_path, 'y', sizeof(*address) - 32);
	/*
	 * The last address. Its name is unique in the abstract namespace, which all processes
	 * share. Truncated to any length, it would not be.
	 */
	address = add_address("abstract", AF_UNIX, "");
	snprintf(address->un.sun_path + 1, 64, "%010d sockguard inputs", (int)getpid());
}

enum kind { STREAM, DGRAM, SEQPACKET, IPV4, IPV6, NETLINK, PAIR, BOUND, REGULAR, PIPE, KINDS };
static const char *const kinds[] = {"stream", "dgram", "seqpacket", "IPv4", "IPv6", "netlink",
	"pair", "bound", "regular", "pipe", "closed", "-1", "INT_MAX", "directory"};
#define ALL_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int open_kind(size_t kind)
{
	static const int not_opened[] = {CLOSED_FD, -1, INT_MAX, STAGE_FD};
	int pair[2] = {-1, -1};

	switch (kind) {
	case STREAM:
		return new_socket(SOCK_STREAM);
	case DGRAM:
		return new_socket(SOCK_DGRAM);
	case SEQPACKET:
		return new_socket(SOCK_SEQPACKET);
	case IPV4:
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case IPV6:
		return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case NETLINK:
		return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	case PAIR:
		check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
		close(pair[1]);
		return pair[0];
	case BOUND:
		return dup(own);
	case REGULAR:
		return dup(FILE_FD);
	case PIPE:
		check(pipe(pair) == 0, "pipe");
		close(pair[1]);
		return pair[0];
	default:
		return not_opened[kind - KINDS];
	}
}

static void try_bind(size_t kind, const char *label, const void *address, long length)
{
	int fd = open_kind(kind);
	char text[256];
	char name[sizeof(struct sockaddr_un) + 1] = {0}; /* a path may fill it without a NUL */
	socklen_t size = sizeof(name);
	const char *created = name + offsetof(struct sockaddr_un, sun_path);
	int result, error;

	errno = ERRNO_BEFORE;
	result = bind(fd, address, (socklen_t)length);
	error = errno;
	if (getsockname(fd, (struct sockaddr *)(void *)name, &size) != 0)
		size = 0; /* not a socket */
	snprintf(text, sizeof(text),
		"bind(%s, %s, %ld), then bound to an address of %u bytes:", kinds[kind], label,
		length, (unsigned int)size);
	if (kind < KINDS)
		close(fd);
	print_result(text, result, error, result == 0 && *created ? created : NULL);
}

/* Binds to the address in readable memory, at its end, and with its last byte past the end. */
static void try_address(size_t kind, const struct address *address, long length)
{
	static char *end;
	size_t readable = length < 0 || length > (long)sizeof(address->bytes) ? 0 : (size_t)length;
	char label[80];

	if (!end)
		end = copy_before_guard_page("", 0);
	try_bind(kind, address->label, address->bytes, length);
	snprintf(label, sizeof(label), "%s before a guard page", address->label);
	try_bind(kind, label, memcpy(end - readable, address->bytes, readable), length);
	if (readable == 0)
		return;
	snprintf(label, sizeof(label), "%s into a guard page", address->label);
	try_bind(kind, label, memcpy(end - readable + 1, address->bytes, readable - 1), length);
}

/* The number of addresses that are tried at every length. */
enum { ALL_LENGTHS = 2 };

static void try_binds(void)
{
	static const long invalid_lengths[] = {
		INT_MAX, (long)UINT_MAX, -1, -2, -110, INT_MIN, 255, 4096};
	static const char *const bad_pointers[] = {NULL, (const char *)1, (const char *)-1};
	const size_t last = address_count - 1;

	for (size_t kind = 0; kind < ALL_KINDS; kind++) {
		/* A stream socket is tried with all lengths, other descriptors with some only. */
		for (long length = 0; length <= 200; length += kind == STREAM ? 1 : 27)
			for (size_t i = 0; i < last; i++)
				if (i < ALL_LENGTHS || length % 8 == 0 || length > 100)
					try_address(kind, &addresses[i], length);
		for (size_t i = 0; i < sizeof(invalid_lengths) / sizeof(invalid_lengths[0]); i++)
			for (size_t j = 0; j < address_count; j++)
				try_address(kind, &addresses[j], invalid_lengths[i]);
		for (long length = 2; length <= 110; length += length == 2 ? 38 : 35)
			try_address(kind, &addresses[last], length);
		for (size_t i = 0; i < sizeof(bad_pointers) / sizeof(bad_pointers[0]); i++)
			for (long length = -1; length <= 111; length += 16)
				try_bind(kind,
					i == 0   ? "NULL"
					: i == 1 ? "1"
						 : "-1",
					bad_pointers[i], length);
	}
}

static void try_all(const char *call)
{
	if (strcmp(call, "bind") == 0)
		try_binds();
	else
		try_paths(call, strstr(call, "link") != call + 2 && strcmp(call, "remove") != 0,
			strstr(call, "at"),
			call[strlen(call) - 1] == '2' || strstr(call, "linkat"));
}

int main(int argc, char **argv)
{
	if (argc > 2)
		nth = (unsigned int)strtoul(argv[2], NULL, 10);
	if (argc < 2 || nth == 0) {
		fprintf(stderr, "usage: inputs CALL [N]\n");
		return 2;
	}
	memset(stale_long, 'd', sizeof(stale_long) - 1);
	memset(stale_longest, 'e', sizeof(stale_longest) - 1);
	check(mkdir("stage", 0755) == 0 && chdir("stage") == 0, "stage");
	open_at_number(STAGE_FD, ".", O_RDONLY | O_DIRECTORY);
	add_paths();
	add_addresses();
	reset_stage();
	try_all(argv[1]);
	empty_stage();
	check(chdir("..") == 0 && rmdir("stage") == 0, "the stage is not empty");
	return 0;
}
