/*
 * A differential fuzzer. It makes each of a sequence of random calls twice, in two directories with
 * the same contents: with the guard in one, and with libc alone in the other. There is no rival, so
 * the result, errno, the file that a name leads to and, at the end, the directories must be the
 * same. After all sockets are closed and all names removed, no lock file and no descriptor may be
 * left.
 *
 * The fuzzer allows for the differences that the guard makes by design:
 * - bind over a stale path succeeds if the program has set SO_REUSEADDR, or if SOCKGUARD_REUSE says
 *   so. The fuzzer then unlinks the path on the side without the guard.
 * - Lock files beside a socket are ignored.
 *
 * The interposed functions are linked in: a call to unlink is guarded, one through libc.h is not.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config.h"
#include "libc.h"
#include "lockfile.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GUARDED, PLAIN, SIDES };
enum { SOCKETS = 4, MAX_CALLS = 48, MAX_FILES = 256, ERRNO_BEFORE = 4711 };

static int home;        /* the initial directory, to which libFuzzer's own paths are relative */
static int root[SIDES]; /* the two directories */
static int sockets[SOCKETS][SIDES]; /* -1: none */
static int calls;                   /* made so far, in this sequence */
static bool logging;                /* with FUZZ_LOG: log each call to stderr */

/* ---- the program, as it is read from the input ---- */

static struct {
	const uint8_t *at, *end;
} input;

static unsigned int next_byte(void)
{
	return input.at < input.end ? *input.at++ : 0;
}

static char long_name[251];     /* no suffix fits behind it */
static char longest_name[256];  /* the longest that a directory accepts */
static char too_long_name[257]; /* one byte longer */
static char long_path[506]; /* too long for a lock file's path; there is no shorter path to it */
static char too_long_path[4200]; /* longer than PATH_MAX */

/* The usual names are in the list twice, so that they are chosen more often. */
static const char *const names[] = {"a", "b", "c", "d", "e", "d/a", "d/b", "e/a", "link", "./a",
	"d/../b", "link/a", "a", "b", "c", "d", "e", "d/a", "d/b", "e/a", "link", "./a", "d/../b",
	"link/a", "a/", "d/", "d//a", "a/x", "absent/a", "link/", "", ".", "..", "d/.", "a//",
	"\xff\n \"\\", "/proc/self/cwd/a", long_name, longest_name, too_long_name, long_path,
	too_long_path, NULL, (const char *)-1};

#define NAMES (sizeof(names) / sizeof(names[0]))

static const char *next_name(void)
{
	return names[next_byte() % NAMES];
}

static const char *printable(const char *name)
{
	if (!name)
		return "NULL";
	if (name == (const char *)-1)
		return "-1";
	return strchr(name, '\n') ? "odd bytes" : name;
}

/* ---- both sides ---- */

static void fail(const char *what)
{
	perror(what);
	abort();
}

static void go_home(void)
{
	if (fchdir(home) != 0)
		fail("fchdir");
}

static void report_difference(const char *what, const char *detail)
{
	go_home();
	fprintf(stderr, "DIFFERENCE after call %d: %s: %s\n", calls, what, detail);
	abort();
}

static void go_to(int side)
{
	if (fchdir(root[side]) != 0)
		fail("fchdir");
}

struct outcome {
	int result;
	int error;
};

/* A call that is made on both sides. */
struct step {
	const char *verb;
	const char *path, *newpath;
	unsigned int dir, newdir; /* how to name the directory, see open_dir */
	unsigned int flags;
	unsigned int socket, length;
	struct outcome (*perform)(const struct step *step, int side);
};

static struct outcome outcome_of(int result)
{
	return (struct outcome){.result = result, .error = errno};
}

static void compare(const struct step *step, const struct outcome *outcomes)
{
	char text[256];
	const struct outcome *guarded = &outcomes[GUARDED], *plain = &outcomes[PLAIN];

	snprintf(text, sizeof(text),
		"(%.60s, %.60s, dirs %u %u, flags %#x): %d errno %d, not %d errno %d",
		printable(step->path), printable(step->newpath), step->dir, step->newdir,
		step->flags, guarded->result, guarded->error, plain->result, plain->error);
	if (logging)
		fprintf(stderr, "%2d %s%s\n", calls, step->verb, text);
	if (guarded->result != plain->result || guarded->error != plain->error)
		report_difference(step->verb, text);
}

static struct outcome make_on_both_sides(const struct step *step)
{
	struct outcome outcomes[SIDES];

	calls++;
	for (int side = 0; side < SIDES; side++) {
		go_to(side);
		errno = ERRNO_BEFORE;
		outcomes[side] = step->perform(step, side);
	}
	compare(step, outcomes);
	return outcomes[PLAIN];
}

/* The time identifies the files made in this step. */
static void stamp(const char *path)
{
	const struct timespec times[2] = {{.tv_sec = calls}, {.tv_sec = calls}};

	if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0)
		fail("utimensat");
}

/* ---- the nine calls ---- */

/* The result may be -1, or a descriptor of "a", which need not be a directory. */
static int open_dir(unsigned int which)
{
	static const char *const dirs[] = {"d", "e", "a", "."};
	int saved = errno;
	int fd = AT_FDCWD;

	if (which % 8 == 7)
		fd = -1;
	else if (which % 8 > 2)
		fd = open(dirs[which % 4], O_PATH | O_CLOEXEC);
	errno = saved;
	return fd;
}

static void close_dir(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

static struct outcome do_unlink(const struct step *step, int side)
{
	return outcome_of(side == GUARDED ? unlink(step->path) : libc.unlink(step->path));
}

static struct outcome do_remove(const struct step *step, int side)
{
	return outcome_of(side == GUARDED ? remove(step->path) : libc.remove(step->path));
}

static struct outcome do_unlinkat(const struct step *step, int side)
{
	int dir = open_dir(step->dir);
	struct outcome outcome;

	outcome = outcome_of((side == GUARDED ? unlinkat : libc.unlinkat)(dir, step->path,
		(int)step->flags));
	close_dir(dir);
	return outcome;
}

static struct outcome do_rename(const struct step *step, int side)
{
	return outcome_of((side == GUARDED ? rename : libc.rename)(step->path, step->newpath));
}

static struct outcome do_link(const struct step *step, int side)
{
	return outcome_of((side == GUARDED ? link : libc.link)(step->path, step->newpath));
}

static struct outcome do_renameat2(const struct step *step, int side)
{
	int dir = open_dir(step->dir), newdir = open_dir(step->newdir);
	struct outcome outcome;

	outcome = outcome_of((side == GUARDED ? renameat2 : libc.renameat2)(dir, step->path, newdir,
		step->newpath, step->flags));
	close_dir(newdir);
	close_dir(dir);
	return outcome;
}

static struct outcome do_renameat(const struct step *step, int side)
{
	int dir = open_dir(step->dir), newdir = open_dir(step->newdir);
	struct outcome outcome;

	outcome = outcome_of((side == GUARDED ? renameat : libc.renameat)(dir, step->path, newdir,
		step->newpath));
	close_dir(newdir);
	close_dir(dir);
	return outcome;
}

static struct outcome do_linkat(const struct step *step, int side)
{
	int dir = open_dir(step->dir), newdir = open_dir(step->newdir);
	struct outcome outcome;

	outcome = outcome_of((side == GUARDED ? linkat : libc.linkat)(dir, step->path, newdir,
		step->newpath, (int)step->flags));
	close_dir(newdir);
	close_dir(dir);
	return outcome;
}

/* ---- bind, which differs with the guard ---- */

static bool is_stale(const struct sockaddr_un *address)
{
	struct stat found;
	char path[sizeof(address->sun_path) + 1] = {0};
	int fd;
	bool stale;

	memcpy(path, address->sun_path, sizeof(address->sun_path));
	if (lstat(path, &found) != 0 || !S_ISSOCK(found.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	stale = connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static bool may_replace_stale(int fd)
{
	struct sockaddr_un name;
	socklen_t size = sizeof(name);
	int on = 0;
	socklen_t on_size = sizeof(on);

	if (getsockname(fd, (struct sockaddr *)&name, &size) != 0 || size > sizeof(sa_family_t))
		return false; /* it is bound already */
	if (config.reuse == REUSE_AUTO)
		getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &on_size);
	return on || config.reuse == REUSE_ALWAYS;
}

static int bind_without_guard(int fd, const struct sockaddr_un *address, socklen_t length)
{
	char path[sizeof(address->sun_path) + 1] = {0};
	int result = libc.bind(fd, (const struct sockaddr *)address, length);
	int error = errno;

	memcpy(path, address->sun_path, sizeof(address->sun_path));
	if (result == 0 || error != EADDRINUSE || !may_replace_stale(fd) || !is_stale(address) ||
		libc.unlink(path) != 0) {
		errno = error;
		return result;
	}
	errno = ERRNO_BEFORE;
	return libc.bind(fd, (const struct sockaddr *)address, length);
}

/* Fills in the address, and returns its length. Abstract addresses differ between the
 * sides. */
static socklen_t address_of(const struct step *step, int side, struct sockaddr_un *address)
{
	const socklen_t start = offsetof(struct sockaddr_un, sun_path);
	socklen_t length = sizeof(*address);

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (step->path && step->path != (const char *)-1)
		memcpy(address->sun_path, step->path,
			strnlen(step->path, sizeof(address->sun_path)));
	if (address->sun_path[0] == '\0') {
		snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, "fuzz %d %d",
			(int)getpid(), side);
		return step->length % 2 ? start : length;
	}
	/* Otherwise the whole name fits; a truncated path must not lead out of the directory. */
	if (step->length > 127 && address->sun_path[0] != '/')
		length = start + 1 + step->length % 16;
	memset((char *)address + length, 0, sizeof(*address) - length);
	return length;
}

static struct outcome do_bind(const struct step *step, int side)
{
	struct sockaddr_un address;
	socklen_t length = address_of(step, side, &address);
	int fd = sockets[step->socket][side];
	char path[sizeof(address.sun_path) + 1] = {0};
	struct outcome outcome;

	outcome = outcome_of(side == GUARDED ? bind(fd, (const struct sockaddr *)&address, length)
					     : bind_without_guard(fd, &address, length));
	memcpy(path, address.sun_path, sizeof(address.sun_path));
	if (outcome.result == 0 && path[0] != '\0')
		stamp(path);
	return outcome;
}

/* ---- other calls of programs ---- */

static struct outcome do_socket(const struct step *step, int side)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	int *fd = &sockets[step->socket][side];
	const int on = 1;

	if (*fd >= 0)
		close(*fd);
	*fd = socket(AF_UNIX, types[step->flags % 3] | SOCK_CLOEXEC, 0);
	if (step->flags & 0x80)
		setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return outcome_of(*fd < 0 ? -1 : 0);
}

static struct outcome do_listen(const struct step *step, int side)
{
	return outcome_of(listen(sockets[step->socket][side], 1));
}

static struct outcome do_close(const struct step *step, int side)
{
	int *fd = &sockets[step->socket][side];
	int result = close(*fd);

	*fd = -1;
	return outcome_of(result);
}

static struct outcome do_open(const struct step *step, int side)
{
	int fd = open(step->path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	(void)side;
	if (fd < 0)
		return outcome_of(-1);
	close(fd);
	stamp(step->path);
	return outcome_of(0);
}

static struct outcome do_mkdir(const struct step *step, int side)
{
	(void)side;
	return outcome_of(mkdir(step->path, 0755));
}

static struct outcome do_rmdir(const struct step *step, int side)
{
	(void)side;
	return outcome_of(rmdir(step->path));
}

static struct outcome do_symlink(const struct step *step, int side)
{
	/* A path that leads out of the directory leads both sides to the same file. */
	bool out = step->newpath && step->newpath != (const char *)-1 &&
		   (strcmp(step->newpath, "..") == 0 || step->newpath[0] == '/');
	// NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): bad pointers are the point
	int result = symlink(out ? "d" : step->newpath, step->path);

	(void)side;
	if (result == 0)
		stamp(step->path);
	return outcome_of(result);
}

/* ---- one program ---- */

static const struct {
	const char *verb;
	struct outcome (*perform)(const struct step *step, int side);
} verbs[] = {
	{"socket", do_socket},
	{"bind", do_bind},
	{"bind", do_bind},
	{"bind", do_bind},
	{"listen", do_listen},
	{"close", do_close},
	{"unlink", do_unlink},
	{"unlinkat", do_unlinkat},
	{"remove", do_remove},
	{"rename", do_rename},
	{"renameat", do_renameat},
	{"renameat2", do_renameat2},
	{"link", do_link},
	{"linkat", do_linkat},
	{"open", do_open},
	{"mkdir", do_mkdir},
	{"rmdir", do_rmdir},
	{"symlink", do_symlink},
};

/* Returns valid flags, and sometimes invalid ones. */
static unsigned int next_flags(const char *verb)
{
	static const unsigned int at[] = {0, 0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_REMOVEDIR, 1,
		AT_SYMLINK_NOFOLLOW, UINT32_MAX};
	unsigned int byte = next_byte();

	if (strcmp(verb, "socket") == 0)
		return byte;
	if (strcmp(verb, "renameat2") == 0)
		return byte < 0x80 ? byte % 4 : byte % 16;
	return at[byte % 8];
}

static void make_next_call(void)
{
	unsigned int which = next_byte() % (sizeof(verbs) / sizeof(verbs[0]));
	struct step step = {.verb = verbs[which].verb, .perform = verbs[which].perform};

	step.socket = next_byte();
	step.dir = step.socket >> 2;
	step.newdir = step.socket >> 5;
	step.socket %= SOCKETS;
	step.path = next_name();
	step.newpath = next_name();
	step.flags = next_flags(step.verb);
	step.length = step.flags & 1 ? next_byte() : 0;
	if (step.perform == do_bind && sockets[step.socket][PLAIN] < 0) {
		struct step before = step;

		before.verb = "socket";
		before.perform = do_socket;
		make_on_both_sides(&before);
	}
	make_on_both_sides(&step);
}

/* ---- the directories ---- */

struct file {
	char path[600];
	struct stat status;
};

static struct listing {
	struct file files[MAX_FILES];
	size_t count;
} listings[SIDES];

// NOLINTNEXTLINE(misc-no-recursion): a directory in a directory
static void list_tree(struct listing *listing, const char *directory)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	struct file *file;

	if (!dir)
		fail("opendir");
	while ((entry = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): there is one thread
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (listing->count == MAX_FILES)
			fail("too many names");
		file = &listing->files[listing->count++];
		snprintf(file->path, sizeof(file->path), "%s/%s", directory, entry->d_name);
		if (lstat(file->path, &file->status) != 0)
			fail("lstat");
		if (S_ISDIR(file->status.st_mode))
			list_tree(listing, file->path);
	}
	closedir(dir);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static bool is_lockfile_beside_socket(const struct file *file)
{
	char path[LOCKFILE_PATH];
	struct stat status;

	return lockfile_socket_path(file->path, path, sizeof(path)) && lstat(path, &status) == 0 &&
	       S_ISSOCK(status.st_mode);
}

static struct listing *list_side(int side)
{
	struct listing *listing = &listings[side];
	size_t kept = 0;

	go_to(side);
	listing->count = 0;
	list_tree(listing, ".");
	for (size_t i = 0; side == GUARDED && i < listing->count; i++)
		if (!is_lockfile_beside_socket(&listing->files[i]))
			listing->files[kept++] = listing->files[i];
	if (side == GUARDED)
		listing->count = kept;
	qsort(listing->files, listing->count, sizeof(listing->files[0]), by_path);
	return listing;
}

/* Returns the errno of a client's connect to the path, or 0. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error;

	if (strlen(path) >= sizeof(address.sun_path)) {
		close(fd);
		return 0;
	}
	memcpy(address.sun_path, path, strlen(path));
	error = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
	close(fd);
	return error;
}

static void compare_answers(void)
{
	int answers[MAX_FILES] = {0};

	for (int side = 0; side < SIDES; side++) {
		go_to(side);
		for (size_t i = 0; i < listings[side].count; i++) {
			int error = connect_to(listings[side].files[i].path);

			if (side == PLAIN && answers[i] != error)
				report_difference("connect", listings[side].files[i].path);
			answers[i] = error;
		}
	}
}

static void compare_files(const struct file *one, const struct file *other)
{
	const struct stat *a = &one->status, *b = &other->status;

	if (a->st_mode != b->st_mode ||
		(!S_ISDIR(a->st_mode) &&
			(a->st_nlink != b->st_nlink || a->st_mtime != b->st_mtime)))
		report_difference("it is a different file", one->path);
}

static void compare_directories(void)
{
	const struct listing *guarded = list_side(GUARDED);
	const struct listing *plain = list_side(PLAIN);

	for (size_t i = 0; i < guarded->count || i < plain->count; i++) {
		const struct file *one = &guarded->files[i], *other = &plain->files[i];

		if (i >= plain->count || (i < guarded->count && strcmp(one->path, other->path) < 0))
			report_difference("exists only with the guard:", one->path);
		if (i >= guarded->count || strcmp(one->path, other->path) != 0)
			report_difference("exists only without the guard:", other->path);
		compare_files(one, other);
	}
	compare_answers();
}

/* Removes all files but lock files, the deepest first, as a program that cleans up does. */
static void remove_all(void)
{
	struct step step = {.verb = "remove", .perform = do_remove};
	const struct listing *plain = list_side(PLAIN);

	for (size_t i = plain->count; i-- > 0;) {
		step.path = plain->files[i].path;
		if (make_on_both_sides(&step).result != 0)
			report_difference("cannot be removed", step.path);
	}
	go_to(GUARDED);
	listings[GUARDED].count = 0;
	list_tree(&listings[GUARDED], ".");
	if (listings[GUARDED].count > 0)
		report_difference("litter", listings[GUARDED].files[0].path);
}

static int count_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void close_sockets(void)
{
	struct step step = {.verb = "close", .perform = do_close};

	for (; step.socket < SOCKETS; step.socket++)
		if (sockets[step.socket][PLAIN] >= 0)
			make_on_both_sides(&step);
}

/* The last byte decides whether sockets are closed before or after their names are removed. */
static void end_program(unsigned int order)
{
	compare_directories();
	if (order % 2)
		close_sockets();
	remove_all();
	close_sockets();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum reuse reuses[] = {REUSE_AUTO, REUSE_AUTO, REUSE_ALWAYS, REUSE_NEVER};
	int descriptors = count_descriptors();

	if (size < 2)
		return 0;
	calls = 0;
	config.reuse = reuses[data[0] % 4];
	input.at = data + 1;
	input.end = data + size - 1;
	while (input.at < input.end && calls < MAX_CALLS)
		make_next_call();
	end_program(data[size - 1]);
	if (count_descriptors() != descriptors)
		report_difference("descriptors", "the set of open descriptors has changed");
	go_home();
	return 0;
}

/* ---- initialization ---- */

static char scratch[256];

static void remove_scratch(void)
{
	if (fchdir(root[PLAIN]) == 0 && chdir("..") == 0) {
		rmdir("guarded");
		rmdir("plain");
	}
	rmdir(scratch);
}

static void make_roots(void)
{
	static const char *const sides[SIDES] = {"guarded", "plain"};

	const char *where = getenv("TMPDIR");

	snprintf(scratch, sizeof(scratch), "%s/sockguard-fuzz-XXXXXX", where ? where : "/dev/shm");
	if (!mkdtemp(scratch) || chdir(scratch) != 0)
		fail(scratch);
	for (int side = 0; side < SIDES; side++) {
		if (mkdir(sides[side], 0755) != 0)
			fail("mkdir");
		root[side] = open(sides[side], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (root[side] < 0)
			fail("open");
	}
	atexit(remove_scratch);
}

// NOLINTNEXTLINE(readability-non-const-parameter): libFuzzer declares it like this
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	memset(long_name, 'n', sizeof(long_name) - 1);
	memset(longest_name, 'm', sizeof(longest_name) - 1);
	memset(too_long_name, 'o', sizeof(too_long_name) - 1);
	for (size_t i = 0; i + 2 < sizeof(long_path); i += 2)
		memcpy(long_path + i, "./", 2);
	long_path[sizeof(long_path) - 2] = 'f';
	memset(too_long_path, '/', sizeof(too_long_path) - 1);
	memset(sockets, -1, sizeof(sockets));
	config.log_to = LOG_TO_NONE;
	logging = getenv("FUZZ_LOG") != NULL;
	home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_roots();
	go_home();
	return 0;
}
