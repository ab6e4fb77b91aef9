/*
 * Bad input, systematically: inputs CALL makes one of the guarded calls with every argument there
 * is, in a directory "stage" that it makes in the working directory, and tells what came of each:
 *
 *   CALL(ARGUMENTS) RESULT ERRNO, and what the directory holds where that has changed
 *
 * There is no rival, so that it tells the same with the guard and without. A lock file is not told
 * as long as it lies beside a socket. Plain libc, as the actor.
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

enum { MOST_PATHS = 160, MOST_FOUND = 64, MARK = 4711, STAGE = 100, PINNED, FILE_ONLY, NONE };

/* musl has none before 1.2.6. */
extern int renameat2(int, const char *, int, const char *, unsigned) __attribute__((weak));

static _Noreturn void give_up(const char *what)
{
	perror(what);
	exit(2);
}

static void need(bool done, const char *what)
{
	if (!done)
		give_up(what);
}

/* ---- the stage ---- */

static char long_dead[247];    /* no suffix fits behind it */
static char longest_dead[256]; /* the longest there is */
static int own = -1;           /* a listener, at "own" */

static int new_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	need(fd >= 0, "socket");
	return fd;
}

static int bound(const char *name, mode_t mode)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = new_socket(SOCK_STREAM);

	strcpy(address.sun_path, name);
	need(bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0, name);
	need(chmod(name, mode) == 0, name); /* by which it is told apart */
	return fd;
}

static void make_dead(const char *name, mode_t mode)
{
	close(bound("made", mode));
	need(rename("made", name) == 0, name);
}

static void make_file(const char *name)
{
	int fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	need(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name), name);
	close(fd);
}

static void at_number(int number, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	need(fd >= 0 && dup3(fd, number, O_CLOEXEC) == number, path);
	close(fd);
}

static void furnish(void)
{
	make_file("file");
	need(mkdir("directory", 0755) == 0 && mkdir("full", 0755) == 0, "mkdir");
	make_file("full/inner");
	make_dead("full/dead", 0711);
	need(symlink("file", "link") == 0 && symlink("full", "dirlink") == 0 &&
			symlink("nowhere", "dangling") == 0 && symlink("loop", "loop") == 0 &&
			symlink("loop3", "loop2") == 0 && symlink("loop2", "loop3") == 0 &&
			symlink("dead", "deadlink") == 0 && symlink("own", "ownlink") == 0,
		"symlink");
	need(mkfifo("fifo", 0644) == 0, "mkfifo");
	make_dead("dead", 0722);
	make_dead("dead2", 0733);
	make_dead("dead \xff\n\"", 0744);
	make_dead(long_dead, 0754);
	make_dead(longest_dead, 0755);
	own = bound("own", 0777);
	need(listen(own, 1) == 0, "listen");
	at_number(PINNED, "dead", O_PATH | O_NOFOLLOW);
	at_number(FILE_ONLY, "file", O_RDONLY);
}

struct found {
	char path[300];
	struct stat status;
};

// NOLINTNEXTLINE(misc-no-recursion): a directory in a directory
static size_t list(struct found *found, size_t count, const char *directory)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;

	if (!dir)
		give_up(directory);
	while ((entry = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): there is one thread
		struct found *next = &found[count];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		need(++count < MOST_FOUND, "fewer files");
		snprintf(next->path, sizeof(next->path), "%s%s%s", directory,
			directory[strlen(directory) - 1] == '/' ? "" : "/", entry->d_name);
		need(lstat(next->path, &next->status) == 0, next->path);
		if (S_ISDIR(next->status.st_mode))
			count = list(found, count, next->path);
	}
	closedir(dir);
	return count;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->path, ((const struct found *)b)->path);
}

static bool is_beside_a_socket(const char *path)
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

/* What the stage holds, in words. */
static void describe(char *text, size_t size)
{
	static struct found found[MOST_FOUND];
	size_t count = list(found, 0, ".");
	size_t used = 0;

	qsort(found, count, sizeof(found[0]), by_path);
	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		const struct stat *status = &found[i].status;
		bool dir = S_ISDIR(status->st_mode);

		if (is_beside_a_socket(found[i].path))
			continue;
		used += (size_t)snprintf(text + used, size - used, " %s:%o:%ld:%ld", found[i].path,
			(unsigned int)status->st_mode, dir ? 0L : (long)status->st_size,
			dir ? 0L : (long)status->st_nlink);
		need(used < size, "a shorter listing");
	}
}

static void clear(void)
{
	static struct found found[MOST_FOUND];
	size_t count = list(found, 0, ".");

	qsort(found, count, sizeof(found[0]), by_path);
	while (count-- > 0)
		need(remove(found[count].path) == 0 || errno == ENOENT, found[count].path);
	if (own >= 0)
		close(own);
}

static char before[1 << 14];

static void set_stage(void)
{
	clear();
	furnish();
	describe(before, sizeof(before));
}

static void print_escaped(const char *words)
{
	for (; *words; words++)
		if (*words >= ' ' && *words < 0x7f)
			putchar(*words);
		else
			printf("\\x%02x", (unsigned int)(unsigned char)*words);
}

/* Of a call that made a name and nothing else, that name is removed again; it may be NULL. */
static void tell(const char *what, int result, int error, const char *made)
{
	static char after[sizeof(before)];

	print_escaped(what);
	printf(" %d %d", result, error);
	describe(after, sizeof(after));
	if (strcmp(before, after) != 0) {
		print_escaped(after);
		if (made && remove(made) == 0)
			describe(after, sizeof(after));
		if (strcmp(before, after) != 0)
			set_stage();
	}
	putchar('\n');
}

/* ---- paths ---- */

static struct path {
	char label[80];
	const char *path;
} paths[MOST_PATHS];
static size_t path_count;

static void add(const char *label, const char *path)
{
	need(path_count < MOST_PATHS, "fewer paths");
	snprintf(paths[path_count].label, sizeof(paths[0].label), "%s", label);
	paths[path_count++].path = path;
}

/* Bytes right before a page that nobody may read. */
static char *at_edge(const void *bytes, size_t length)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	char *pages =
		mmap(NULL, 4 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(pages != MAP_FAILED && mprotect(pages + 3 * size, size, PROT_NONE) == 0, "mmap");
	return memcpy(pages + 3 * size - length, bytes, length);
}

/* A name at the edge, with its NUL and without, and one page that may be read only. */
static void add_at_edge(const char *name)
{
	char label[80];
	char *page = at_edge("", 1) + 1 - sysconf(_SC_PAGESIZE);

	snprintf(label, sizeof(label), "%s at the edge", name);
	add(label, at_edge(name, strlen(name) + 1));
	snprintf(label, sizeof(label), "%s without its end", name);
	add(label, at_edge(name, strlen(name)));
	snprintf(label, sizeof(label), "%s read-only", name);
	strcpy(page, name);
	need(mprotect(page, (size_t)sysconf(_SC_PAGESIZE), PROT_READ) == 0, "mprotect");
	add(label, page);
	snprintf(label, sizeof(label), "%s over two pages", name);
	page = at_edge("", 1) + 1 - sysconf(_SC_PAGESIZE) - 2;
	add(label, strcpy(page, name));
}

/* A path of this length that leads to the name, through as many "./" as it takes. */
static void add_long(size_t length, const char *name)
{
	char label[80];
	char *path = malloc(length + 2);
	size_t at = 0;

	need(path != NULL, "malloc");
	while (at + strlen(name) + 1 < length) {
		memcpy(path + at, "./", 2);
		at += 2;
	}
	if (at + strlen(name) < length)
		path[at++] = '/';
	strcpy(path + at, name);
	snprintf(label, sizeof(label), "%s by %zu bytes", name, length);
	add(label, path);
}

static void add_paths(void)
{
	static char slashes[PATH_MAX];
	static const char *const names[] = {"file", "directory", "full", "link", "dirlink",
		"dangling", "loop", "loop2", "deadlink", "ownlink", "fifo", "dead", "own", "absent",
		"", ".", "..", "/", "//", "file/", "directory/", "directory//", "full/", "dead/",
		"dead//", "own/", "link/", "dirlink/", "deadlink/", "ownlink/", "dangling/",
		"loop/", "absent/", "absent//", "./dead", ".//own", "directory/../dead",
		"dead/../own", "full//dead", "dirlink/dead", "full/inner", "file/x", "dead/x",
		"own/x", "fifo/x", "absent/x", "loop/x", "loop2/x", "dead \xff\n\"",
		"\xff\xfe\n absent", "directory/.", "own/.", "full/..", "/proc/self/cwd/dead",
		"/proc/self/cwd/own", "/proc/self/fd/100/dead", "/proc/self/fd/100/own",
		"/proc/self/fd/100/absent", "/proc/self/fd/100", "/proc/self/fd/101",
		"/proc/self/fd/103/x", "/proc/self/fd/102/x"};
	static char name[257];
	static const char *const edges[] = {"file", "dead", "own", "absent"};
	static const size_t lengths[] = {499, 500, 501, 502, 509, 510, 511, 512, 513, PATH_MAX - 1,
		PATH_MAX, PATH_MAX + 1, 2 * PATH_MAX};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		add(names[i], names[i]);
	add("NULL", NULL);
	add("1", (const char *)1);
	add("-1", (const char *)-1);
	add("unmapped", at_edge("", 0));
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		add_at_edge(edges[i]);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		add_long(lengths[i], longest_dead); /* which has no lock file in any spelling */
		add_long(lengths[i], "absent");
	}
	add(long_dead, long_dead);
	add(longest_dead, longest_dead);
	memset(name, 'c', sizeof(name) - 1);
	add("component of 256", name);
	add("component of 255", name + 1);
	add("4096 bytes without an end", at_edge(memset(slashes, '/', PATH_MAX), PATH_MAX));
}

/* ---- the calls on names ---- */

static const struct {
	const char *label;
	int fd;
} dirs[] = {{"AT_FDCWD", AT_FDCWD}, {"stage", STAGE}, {"a socket", PINNED}, {"a file", FILE_ONLY},
	{"none", NONE}, {"-1", -1}, {"-101", -101}, {"INT_MAX", INT_MAX}, {"INT_MIN", INT_MIN}};
#define DIRS (sizeof(dirs) / sizeof(dirs[0]))

static const int flags[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR,
	AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_EMPTY_PATH | AT_SYMLINK_FOLLOW, INT_MIN, -1};
#define FLAGS (sizeof(flags) / sizeof(flags[0]))

struct arguments {
	size_t path, newpath; /* numbers of paths */
	size_t dir, newdir;
	int flags;
};

static int make_call(const char *call, const struct arguments *with)
{
	const char *path = paths[with->path].path, *newpath = paths[with->newpath].path;
	int dir = dirs[with->dir].fd, newdir = dirs[with->newdir].fd;

	errno = MARK;
	if (strcmp(call, "unlink") == 0)
		return unlink(path);
	if (strcmp(call, "remove") == 0)
		return remove(path);
	if (strcmp(call, "unlinkat") == 0)
		return unlinkat(dir, path, with->flags);
	if (strcmp(call, "rename") == 0)
		return rename(path, newpath);
	if (strcmp(call, "renameat") == 0)
		return renameat(dir, path, newdir, newpath);
	if (strcmp(call, "renameat2") == 0 && renameat2)
		return renameat2(dir, path, newdir, newpath, (unsigned int)with->flags);
	if (strcmp(call, "link") == 0)
		return link(path, newpath);
	if (strcmp(call, "linkat") == 0)
		return linkat(dir, path, newdir, newpath, with->flags);
	errno = ENOSYS;
	return -1;
}

static void try_call(const char *call, const struct arguments *with)
{
	char what[512];
	int result = make_call(call, with);
	int error = errno;

	snprintf(what, sizeof(what), "%s(%s, %s, %s, %s, %#x)", call, dirs[with->dir].label,
		paths[with->path].label, dirs[with->newdir].label, paths[with->newpath].label,
		(unsigned int)with->flags);
	tell(what, result, error, NULL);
}

static size_t path_called(const char *label)
{
	for (size_t i = 0; i < path_count; i++)
		if (strcmp(paths[i].label, label) == 0)
			return i;
	need(false, label);
	return 0;
}

/* Each path beside some others, and then some paths with each descriptor and flag. */
static void try_names(const char *call, bool two, bool at, bool flagged)
{
	static const char *const good[] = {"dead", "own", "absent", "file", "", "NULL",
		"/proc/self/cwd/dead", "component of 256"};
	const size_t count = sizeof(good) / sizeof(good[0]);

	for (size_t i = 0; i < path_count; i++)
		for (size_t j = 0; j < (!two ? 1 : at ? 2 : count); j++) {
			size_t other = path_called(good[j]);

			try_call(call, &(struct arguments){.path = i, .newpath = other});
			if (two)
				try_call(call, &(struct arguments){.path = other, .newpath = i});
		}
	for (size_t i = 0; i < count * (two ? count : 1); i++)
		for (size_t dir = 0; dir < (!at ? 1 : DIRS * (two ? DIRS : 1)); dir++)
			for (size_t flag = 0; flag < (flagged ? FLAGS : 1); flag++)
				if (!two || flag == 0 || dir < 2)
					try_call(call,
						&(struct arguments){
							.path = path_called(good[i % count]),
							.newpath = path_called(good[i / count]),
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
	add_address("dead", AF_UNIX, "dead");
	add_address("own", AF_UNIX, "own");
	add_address("file", AF_UNIX, "file");
	add_address("link", AF_UNIX, "dangling");
	add_address("loop", AF_UNIX, "loop/x");
	add_address("no directory", AF_UNIX, "file/x");
	add_address("slash", AF_UNIX, "x/");
	add_address("not UTF-8", AF_UNIX, "\xff\n\"");
	add_address("unspecified", AF_UNSPEC, "x");
	add_address("IPv6", AF_INET6, "x");
	add_address("no family", 0xffff, "x");
	address = add_address("IPv4", AF_INET, "");
	address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address = add_address("all filled", AF_UNIX, "");
	memset(address->un.sun_path, 'y', sizeof(*address) - 32);
	/* Nobody else's, though it is one name space for all: so it is not cut short below. */
	address = add_address("abstract", AF_UNIX, "");
	snprintf(address->un.sun_path + 1, 64, "%010d sockguard inputs", (int)getpid());
}

enum kind { STREAM, DGRAM, SEQPACKET, IPV4, IPV6, NETLINK, PAIR, BOUND, REGULAR, PIPE, KINDS };
static const char *const kinds[] = {"stream", "dgram", "seqpacket", "IPv4", "IPv6", "netlink",
	"pair", "bound", "regular", "pipe", "closed", "-1", "INT_MAX", "wrong"};
#define ALL_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int open_kind(size_t kind)
{
	static const int odd[] = {NONE, -1, INT_MAX, STAGE};
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
		need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
		close(pair[1]);
		return pair[0];
	case BOUND:
		return dup(own);
	case REGULAR:
		return dup(FILE_ONLY);
	case PIPE:
		need(pipe(pair) == 0, "pipe");
		close(pair[1]);
		return pair[0];
	default:
		return odd[kind - KINDS];
	}
}

static void try_bind(size_t kind, const char *label, const void *address, long length)
{
	int fd = open_kind(kind);
	char what[256];
	char name_bytes[sizeof(struct sockaddr_un) + 1] = {
		0}; /* a path may fill it without a NUL */
	socklen_t size = sizeof(name_bytes);
	const char *made = name_bytes + offsetof(struct sockaddr_un, sun_path);
	int result, error;

	errno = MARK;
	result = bind(fd, address, (socklen_t)length);
	error = errno;
	if (getsockname(fd, (struct sockaddr *)(void *)name_bytes, &size) != 0)
		size = 0; /* a descriptor of another kind */
	snprintf(what, sizeof(what), "bind(%s, %s, %ld), a name of %u", kinds[kind], label, length,
		(unsigned int)size);
	if (kind < KINDS)
		close(fd);
	tell(what, result, error, result == 0 && *made ? made : NULL);
}

/* In the middle of much memory, at the end of it, and with its last byte beyond. */
static void try_address(size_t kind, const struct address *address, long length)
{
	static char *end;
	size_t given = length < 0 || length > (long)sizeof(address->bytes) ? 0 : (size_t)length;
	char label[80];

	if (!end)
		end = at_edge("", 0);
	try_bind(kind, address->label, address->bytes, length);
	snprintf(label, sizeof(label), "%s at the edge", address->label);
	try_bind(kind, label, memcpy(end - given, address->bytes, given), length);
	if (given == 0)
		return;
	snprintf(label, sizeof(label), "%s over the edge", address->label);
	try_bind(kind, label, memcpy(end - given + 1, address->bytes, given - 1), length);
}

/* Of the addresses, as many as are worth a try at every length. */
enum { ALL_LENGTHS = 2 };

static void try_binds(void)
{
	static const long odd[] = {INT_MAX, (long)UINT_MAX, -1, -2, -110, INT_MIN, 255, 4096};
	static const char *const nowhere[] = {NULL, (const char *)1, (const char *)-1};
	const size_t last = address_count - 1;

	for (size_t kind = 0; kind < ALL_KINDS; kind++) {
		/* All lengths are for sockets that may be bound; some are enough for the others. */
		for (long length = 0; length <= 200; length += kind == STREAM ? 1 : 27)
			for (size_t i = 0; i < last; i++)
				if (i < ALL_LENGTHS || length % 8 == 0 || length > 100)
					try_address(kind, &addresses[i], length);
		for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
			for (size_t j = 0; j < address_count; j++)
				try_address(kind, &addresses[j], odd[i]);
		for (long length = 2; length <= 110; length += length == 2 ? 38 : 35)
			try_address(kind, &addresses[last], length);
		for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
			for (long length = -1; length <= 111; length += 16)
				try_bind(kind,
					i == 0   ? "NULL"
					: i == 1 ? "1"
						 : "-1",
					nowhere[i], length);
	}
}

static void try_all(const char *call)
{
	if (strcmp(call, "bind") == 0)
		try_binds();
	else
		try_names(call, strstr(call, "link") != call + 2 && strcmp(call, "remove") != 0,
			strstr(call, "at"),
			call[strlen(call) - 1] == '2' || strstr(call, "linkat"));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: inputs CALL\n");
		return 2;
	}
	memset(long_dead, 'd', sizeof(long_dead) - 1);
	memset(longest_dead, 'e', sizeof(longest_dead) - 1);
	need(mkdir("stage", 0755) == 0 && chdir("stage") == 0, "stage");
	at_number(STAGE, ".", O_RDONLY | O_DIRECTORY);
	add_paths();
	add_addresses();
	set_stage();
	try_all(argv[1]);
	clear();
	need(chdir("..") == 0 && rmdir("stage") == 0, "nothing to be left");
	return 0;
}
