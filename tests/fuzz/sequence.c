/*
 * A differential fuzzer: a program of random calls is run twice, call by call, on two directories
 * that are alike: through the door in one, and through libc alone in its twin. There is no rival,
 * so that result, errno, what a name leads to and, at the end, the directories must be the same.
 * When all sockets are closed and all names removed, nothing may be left: no lock file, and no
 * descriptor.
 *
 * What the guard does otherwise by design is done to the twin as well:
 * - bind over a stale name succeeds where the program set SO_REUSEADDR, or a setting says so;
 * - lock files are not looked at, as long as they lie beside a socket.
 *
 * The door is linked in: a call by its name is guarded, and one through the table of libc.h is not.
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
enum { SOCKETS = 4, MOST_CALLS = 48, MOST_FOUND = 256, MARK = 4711 };

static int home;                    /* where we were started: paths of the fuzzer's are relative */
static int root[SIDES];             /* the two directories */
static int sockets[SOCKETS][SIDES]; /* -1: none */
static int calls;                   /* made so far, in this program */
static bool telling;                /* FUZZ_TELL: each call, to stderr */

/* ---- the program, as it is read from the input ---- */

static struct {
	const uint8_t *at, *end;
} input;

static unsigned int next(void)
{
	return input.at < input.end ? *input.at++ : 0;
}

static char long_name[251];      /* no suffix fits behind it */
static char longest_name[256];   /* the longest a directory takes */
static char too_long_name[257];  /* and one more */
static char long_path[506];      /* too long for a lock file's path: no other name leads there */
static char too_long_path[4200]; /* longer than PATH_MAX */

static const char *const names[] = {"a", "b", "c", "d", "e", "d/a", "d/b", "e/a", "link", "./a",
	"d/../b", "link/a",                                                              /* often */
	"a", "b", "c", "d", "e", "d/a", "d/b", "e/a", "link", "./a", "d/../b", "link/a", /* more */
	"a/", "d/", "d//a", "a/x", "absent/a", "link/", "", ".", "..", "d/.", "a//", "\xff\n \"\\",
	"/proc/self/cwd/a", long_name, longest_name, too_long_name, long_path, too_long_path, NULL,
	(const char *)-1};

#define NAMES (sizeof(names) / sizeof(names[0]))

static const char *next_name(void)
{
	return names[next() % NAMES];
}

static const char *shown(const char *name)
{
	if (!name)
		return "NULL";
	if (name == (const char *)-1)
		return "-1";
	return strchr(name, '\n') ? "odd bytes" : name;
}

/* ---- both sides ---- */

static void give_up(const char *what)
{
	perror(what);
	abort();
}

static void go_home(void)
{
	if (fchdir(home) != 0)
		give_up("fchdir");
}

static void differ(const char *what, const char *detail)
{
	go_home();
	fprintf(stderr, "DIFFERENCE after call %d: %s: %s\n", calls, what, detail);
	abort();
}

static void go_to(int side)
{
	if (fchdir(root[side]) != 0)
		give_up("fchdir");
}

struct outcome {
	int result;
	int error;
};

/* A call, as it is made on either side. */
struct step {
	const char *verb;
	const char *path, *newpath;
	unsigned int dir, newdir; /* which way to name the directory, see open_dir */
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
		shown(step->path), shown(step->newpath), step->dir, step->newdir, step->flags,
		guarded->result, guarded->error, plain->result, plain->error);
	if (telling)
		fprintf(stderr, "%2d %s%s\n", calls, step->verb, text);
	if (guarded->result != plain->result || guarded->error != plain->error)
		differ(step->verb, text);
}

static struct outcome make(const struct step *step)
{
	struct outcome outcomes[SIDES];

	calls++;
	for (int side = 0; side < SIDES; side++) {
		go_to(side);
		errno = MARK;
		outcomes[side] = step->perform(step, side);
	}
	compare(step, outcomes);
	return outcomes[PLAIN];
}

/* What was made at this step is told apart from all else by its time. */
static void stamp(const char *path)
{
	const struct timespec times[2] = {{.tv_sec = calls}, {.tv_sec = calls}};

	if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0)
		give_up("utimensat");
}

/* ---- the nine calls ---- */

/* -1 is no descriptor, and "a" may be no directory. */
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

/* ---- bind, with what is otherwise under the guard ---- */

static bool is_dead(const struct sockaddr_un *address)
{
	struct stat found;
	char path[sizeof(address->sun_path) + 1] = {0};
	int fd;
	bool dead;

	memcpy(path, address->sun_path, sizeof(address->sun_path));
	if (lstat(path, &found) != 0 || !S_ISSOCK(found.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	dead = connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
	       errno == ECONNREFUSED;
	close(fd);
	return dead;
}

static bool replaces_dead(int fd)
{
	struct sockaddr_un name;
	socklen_t size = sizeof(name);
	int on = 0;
	socklen_t on_size = sizeof(on);

	if (getsockname(fd, (struct sockaddr *)&name, &size) != 0 || size > sizeof(sa_family_t))
		return false; /* it has a name already */
	if (config.reuse == REUSE_AUTO)
		getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &on_size);
	return on || config.reuse == REUSE_ALWAYS;
}

static int plain_bind(int fd, const struct sockaddr_un *address, socklen_t length)
{
	char path[sizeof(address->sun_path) + 1] = {0};
	int result = libc.bind(fd, (const struct sockaddr *)address, length);
	int error = errno;

	memcpy(path, address->sun_path, sizeof(address->sun_path));
	if (result == 0 || error != EADDRINUSE || !replaces_dead(fd) || !is_dead(address) ||
		libc.unlink(path) != 0) {
		errno = error;
		return result;
	}
	errno = MARK;
	return libc.bind(fd, (const struct sockaddr *)address, length);
}

/* Fills in the address, and returns its length. An abstract one is the side's own. */
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
	/* Else it is enough for the whole name; what is cut short must not leave the directory. */
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
					     : plain_bind(fd, &address, length));
	memcpy(path, address.sun_path, sizeof(address.sun_path));
	if (outcome.result == 0 && path[0] != '\0')
		stamp(path);
	return outcome;
}

/* ---- what else programs do ---- */

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
	/* What leads out of here leads both sides to the same place. */
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

/* Flags in use, and now and then some that are not. */
static unsigned int next_flags(const char *verb)
{
	static const unsigned int at[] = {0, 0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_REMOVEDIR, 1,
		AT_SYMLINK_NOFOLLOW, UINT32_MAX};
	unsigned int byte = next();

	if (strcmp(verb, "socket") == 0)
		return byte;
	if (strcmp(verb, "renameat2") == 0)
		return byte < 0x80 ? byte % 4 : byte % 16;
	return at[byte % 8];
}

static void make_next(void)
{
	unsigned int which = next() % (sizeof(verbs) / sizeof(verbs[0]));
	struct step step = {.verb = verbs[which].verb, .perform = verbs[which].perform};

	step.socket = next();
	step.dir = step.socket >> 2;
	step.newdir = step.socket >> 5;
	step.socket %= SOCKETS;
	step.path = next_name();
	step.newpath = next_name();
	step.flags = next_flags(step.verb);
	step.length = step.flags & 1 ? next() : 0;
	if (step.perform == do_bind && sockets[step.socket][PLAIN] < 0) {
		struct step before = step;

		before.verb = "socket";
		before.perform = do_socket;
		make(&before);
	}
	make(&step);
}

/* ---- the directories ---- */

struct found {
	char path[600];
	struct stat status;
};

static struct listing {
	struct found found[MOST_FOUND];
	size_t count;
} listings[SIDES];

// NOLINTNEXTLINE(misc-no-recursion): a directory in a directory
static void list(struct listing *listing, const char *directory)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	struct found *found;

	if (!dir)
		give_up("opendir");
	while ((entry = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): there is one thread
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (listing->count == MOST_FOUND)
			give_up("too many names");
		found = &listing->found[listing->count++];
		snprintf(found->path, sizeof(found->path), "%s/%s", directory, entry->d_name);
		if (lstat(found->path, &found->status) != 0)
			give_up("lstat");
		if (S_ISDIR(found->status.st_mode))
			list(listing, found->path);
	}
	closedir(dir);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->path, ((const struct found *)b)->path);
}

static bool is_lockfile_of_socket(const struct found *found)
{
	char path[LOCKFILE_PATH];
	struct stat status;

	return lockfile_socket(found->path, path, sizeof(path)) && lstat(path, &status) == 0 &&
	       S_ISSOCK(status.st_mode);
}

static struct listing *list_side(int side)
{
	struct listing *listing = &listings[side];
	size_t kept = 0;

	go_to(side);
	listing->count = 0;
	list(listing, ".");
	for (size_t i = 0; side == GUARDED && i < listing->count; i++)
		if (!is_lockfile_of_socket(&listing->found[i]))
			listing->found[kept++] = listing->found[i];
	if (side == GUARDED)
		listing->count = kept;
	qsort(listing->found, listing->count, sizeof(listing->found[0]), by_path);
	return listing;
}

/* What a client learns who connects to it. */
static int answer(const char *path)
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
	int answers[MOST_FOUND] = {0};

	for (int side = 0; side < SIDES; side++) {
		go_to(side);
		for (size_t i = 0; i < listings[side].count; i++) {
			int error = answer(listings[side].found[i].path);

			if (side == PLAIN && answers[i] != error)
				differ("connect", listings[side].found[i].path);
			answers[i] = error;
		}
	}
}

static void compare_files(const struct found *one, const struct found *other)
{
	const struct stat *a = &one->status, *b = &other->status;

	if (a->st_mode != b->st_mode ||
		(!S_ISDIR(a->st_mode) &&
			(a->st_nlink != b->st_nlink || a->st_mtime != b->st_mtime)))
		differ("it is another file", one->path);
}

static void compare_directories(void)
{
	const struct listing *guarded = list_side(GUARDED);
	const struct listing *plain = list_side(PLAIN);

	for (size_t i = 0; i < guarded->count || i < plain->count; i++) {
		const struct found *one = &guarded->found[i], *other = &plain->found[i];

		if (i >= plain->count || (i < guarded->count && strcmp(one->path, other->path) < 0))
			differ("only with the guard there is", one->path);
		if (i >= guarded->count || strcmp(one->path, other->path) != 0)
			differ("only without the guard there is", other->path);
		compare_files(one, other);
	}
	compare_answers();
}

/* As a program tidies up: what is there but lock files, the deepest first. */
static void remove_all(void)
{
	struct step step = {.verb = "remove", .perform = do_remove};
	const struct listing *plain = list_side(PLAIN);

	for (size_t i = plain->count; i-- > 0;) {
		step.path = plain->found[i].path;
		if (make(&step).result != 0)
			differ("cannot be removed", step.path);
	}
	go_to(GUARDED);
	listings[GUARDED].count = 0;
	list(&listings[GUARDED], ".");
	if (listings[GUARDED].count > 0)
		differ("litter", listings[GUARDED].found[0].path);
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
			make(&step);
}

/* Its last byte says whether the sockets are closed before their names are removed, or after. */
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
	while (input.at < input.end && calls < MOST_CALLS)
		make_next();
	end_program(data[size - 1]);
	if (count_descriptors() != descriptors)
		differ("descriptors", "there are others than before");
	go_home();
	return 0;
}

/* ---- once ---- */

static char top[256];

static void remove_top(void)
{
	if (fchdir(root[PLAIN]) == 0 && chdir("..") == 0) {
		rmdir("guarded");
		rmdir("plain");
	}
	rmdir(top);
}

static void make_roots(void)
{
	static const char *const sides[SIDES] = {"guarded", "plain"};

	const char *where = getenv("TMPDIR");

	snprintf(top, sizeof(top), "%s/sockguard-fuzz-XXXXXX", where ? where : "/dev/shm");
	if (!mkdtemp(top) || chdir(top) != 0)
		give_up(top);
	for (int side = 0; side < SIDES; side++) {
		if (mkdir(sides[side], 0755) != 0)
			give_up("mkdir");
		root[side] = open(sides[side], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (root[side] < 0)
			give_up("open");
	}
	atexit(remove_top);
}

// NOLINTNEXTLINE(readability-non-const-parameter): as libFuzzer has it
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
	telling = getenv("FUZZ_TELL") != NULL;
	home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_roots();
	go_home();
	return 0;
}
