#include "neighbour.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "referee.h"
#include "server.h"

#define NAME      128
#define KEPT_OPEN 48
#define DECOYS    200
#define PREFIX    "neighbour." /* of the names at which it prepares files */

static enum ground ground;

/* Locks and leases last until the descriptor is closed, so the neighbour keeps the last few open.
 */
static int kept_open[KEPT_OPEN];

static void keep_open(int fd)
{
	static unsigned int turn;
	int *slot = &kept_open[turn++ % KEPT_OPEN];

	if (*slot > 0)
		close(*slot);
	*slot = fd;
}

/* ---- names ---- */

/* The suffix of an alternate lock file's name; sometimes a malformed one. */
static const char *random_suffix(void)
{
	static char word[16];
	unsigned int length = chance(4) ? 12 : 1 + chance(14);
	unsigned int alphabet = chance(4) ? 16 : 36;

	for (unsigned int i = 0; i < length; i++)
		word[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[chance(alphabet)];
	word[length] = '\0';
	return word;
}

/* Picks one of the names with that prefix, all equally likely; false if there is none. */
static bool pick_by_prefix(const char *prefix, char *name)
{
	DIR *directory = opendir(".");
	struct dirent *entry;
	unsigned int seen = 0;

	while (directory && (entry = readdir(directory)))
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && chance(++seen) == 0)
			snprintf(name, NAME, "%.100s", entry->d_name);
	if (directory)
		closedir(directory);
	return seen > 0;
}

static int choose_path(void)
{
	int number;

	do
		number = (int)chance((unsigned int)storm.paths);
	while (ground_of(number) != ground);
	return number;
}

/* A lock file's name: for a socket path, for a server's temporary name, or an alternate. */
static void choose_name(char *name)
{
	char base[32];
	char prefix[NAME];
	int number = choose_path();
	int slot = (int)chance((unsigned int)storm.servers);

	switch (chance(5)) {
	case 0:
		snprintf(base, sizeof(base), "p%d.%d", number, slot);
		break;
	case 1:
		snprintf(base, sizeof(base), "p%d.%d.new", number, slot);
		break;
	default:
		snprintf(base, sizeof(base), "p%d", number);
		break;
	}
	snprintf(name, NAME, LOCK_FORMAT, base);
	snprintf(prefix, sizeof(prefix), "%.100s.", name);
	if (chance(3) == 0 && !pick_by_prefix(prefix, name))
		snprintf(name, NAME, "%.100s%s", prefix, random_suffix());
}

/* ---- files to plant: it prepares them at names of its own ---- */

static int make_file(const char *name, mode_t mode)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd >= 0)
		fchmod(fd, mode);
	return fd;
}

static void set_lock(int fd, int command, short type, off_t first, off_t count)
{
	struct flock range = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count};

	fcntl(fd, command, &range);
}

/* Locks the mutex, the claim, or any other range. */
static void lock_somehow(int fd)
{
	switch (chance(6)) {
	case 0:
		set_lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1);
		break;
	case 1:
		set_lock(fd, F_OFD_SETLK, F_RDLCK, 1, 1);
		break;
	case 2:
		set_lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0);
		break;
	case 3:
		set_lock(fd, F_SETLK, F_WRLCK, 0, 2);
		break;
	case 4:
		flock(fd, LOCK_EX | LOCK_NB);
		break;
	default:
		fcntl(fd, F_SETLEASE, F_WRLCK);
		break;
	}
}

static void make_empty(const char *name)
{
	close(make_file(name, chance(2) ? 0600 : 0666));
}

/* A record in the library's format, of this kernel or of another host, with a claim on it. */
static void make_record(const char *name)
{
	char boot[37] = "00000000-0000-0000-0000-000000000000";
	char text[256];
	int random = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	int fd = make_file(name, 0666);

	if (chance(2) && read(random, boot, 36) != 36)
		perror("storm: boot_id");
	close(random);
	memset(text, ' ', sizeof(text));
	snprintf(text, sizeof(text),
		"sockguard 1\nname held\npid %d\nuid 0\ncomm storm\ntime 1795251844\nboot %s\n"
		"socket 1\ncookie 1\nnetns 1\n",
		(int)getppid(), boot);
	if (write(fd, text, sizeof(text)) != sizeof(text))
		perror(name);
	set_lock(fd, F_OFD_SETLK, F_RDLCK, 1, 1);
	if (chance(2))
		set_lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1);
	keep_open(fd);
}

static void make_large(const char *name)
{
	int fd = make_file(name, 0666);

	if (ftruncate(fd, INT64_C(1) << 40) == 0)
		lock_somehow(fd);
	keep_open(fd);
}

static void make_locked(const char *name)
{
	int fd = make_file(name, 0666);

	lock_somehow(fd);
	keep_open(fd);
}

static void make_leased(const char *name)
{
	int fd = make_file(name, 0666);

	fcntl(fd, F_SETLEASE, F_WRLCK);
	keep_open(fd);
}

static void make_fifo(const char *name)
{
	mkfifo(name, 0666);
}

static void make_directory(const char *name)
{
	mkdir(name, 0777);
}

static void make_symlink(const char *name)
{
	static const char *const targets[] = {"../secret/file", "../../secret/file",
		"../secret/made", "/proc/self/fd/0", ".", "nowhere", "/dev/full"};

	if (symlink(targets[chance(sizeof(targets) / sizeof(*targets))], name) != 0)
		perror(name);
}

/* Makes a link to its own file or, if permitted, to another lock file or to the secret file. */
static void make_link(const char *name)
{
	char other[NAME];

	choose_name(other);
	if (chance(3) == 0 && link("../secret/file", name) == 0)
		return;
	if (chance(2) && link(other, name) == 0)
		return;
	close(make_file(PREFIX "link", 0666));
	if (link(PREFIX "link", name) != 0)
		make_empty(name);
}

static void make_socket(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		listen(fd, 1);
	keep_open(fd);
}

/* ---- the neighbour's actions ---- */

static void remove_any(const char *name)
{
	if (unlink(name) != 0)
		rmdir(name);
}

static void plant(const char *name)
{
	static void (*const kinds[])(const char *name) = {make_empty, make_empty, make_record,
		make_record, make_large, make_locked, make_locked, make_leased, make_leased,
		make_fifo, make_directory, make_symlink, make_link, make_socket};
	static unsigned int turn;
	char prepared[NAME];

	snprintf(prepared, sizeof(prepared), PREFIX "%u", ++turn);
	kinds[chance(sizeof(kinds) / sizeof(*kinds))](prepared);
	switch (chance(4)) {
	case 0:
		(void)!link(prepared, name); /* fails if the name exists */
		break;
	case 1:
		renameat2(AT_FDCWD, prepared, AT_FDCWD, name, RENAME_EXCHANGE);
		break;
	default:
		rename(prepared, name);
		break;
	}
	remove_any(prepared);
}

/* Holds a lock or lease for seconds. No guarded call may wait for it. */
static void hold_for_seconds(const char *name)
{
	static void (*const kinds[])(const char *name) = {
		make_locked, make_leased, make_leased, make_record};

	remove_any(name);
	kinds[chance(sizeof(kinds) / sizeof(*kinds))](PREFIX "held");
	rename(PREFIX "held", name);
	remove_any(PREFIX "held");
	pause_us(2000000);
}

/*
 * Holds the lock file of a path for longer than the guard waits, even on a busy machine, where each
 * of its pauses takes longer. The guard must trust the neighbour.
 */
static void hold_until_refusal(void)
{
	char base[32], name[NAME];

	snprintf(base, sizeof(base), "p%d", choose_path());
	snprintf(name, NAME, LOCK_FORMAT, base);
	make_leased(PREFIX "held");
	remove_any(name);
	rename(PREFIX "held", name);
	sleep(20);
}

/* Creates and removes a file so fast that another process sees it at one lookup and not at the
 * next.
 */
static void create_and_unlink_often(const char *name)
{
	for (unsigned int i = chance(30); i > 0; i--) {
		close(make_file(name, 0666));
		unlink(name);
	}
}

static void exchange(const char *name)
{
	char other[NAME];

	choose_name(other);
	renameat2(AT_FDCWD, name, AT_FDCWD, other, RENAME_EXCHANGE);
}

static void lock_existing(const char *name)
{
	int fd = open(name, (chance(2) ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return;
	lock_somehow(fd);
	keep_open(fd);
}

static void change_attributes(const char *name)
{
	struct stat found;
	int fd;

	if (lstat(name, &found) != 0 || S_ISLNK(found.st_mode))
		return; /* the target may be its directory, which it would make inaccessible */
	chmod(name, chance(2) ? 0 : 0666);
	utimensat(AT_FDCWD, name, NULL, AT_SYMLINK_NOFOLLOW);
	fd = open(name,
		O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC); /* does not wait for a lease */
	if (fd >= 0 && ftruncate(fd, chance(2) ? 0 : 300) != 0)
		errno = 0; /* a FIFO */
	close(fd);
}

/* Makes many files that look like alternates, because a listing of the directory reads all of them.
 */
static void make_decoys(const char *name)
{
	static unsigned int made;
	char decoy[NAME];

	for (unsigned int i = chance(20); i > 0 && made < DECOYS; i--, made++) {
		snprintf(decoy, sizeof(decoy), "%.100s.%s", name, random_suffix());
		make_empty(decoy);
	}
	if (made < DECOYS || chance(20) != 0)
		return;
	neighbour_remove_files(".", false);
	made = 0;
}

static void exchange_directories(void)
{
	renameat2(AT_FDCWD, "../moving", AT_FDCWD, "../away", RENAME_EXCHANGE);
}

/* Performs a random action. Phases in which most planted files stay alternate with phases in which
 * most of them are unlinked. */
static void act(void)
{
	static void (*const actions[])(const char *name) = {plant, plant, plant, plant, exchange,
		lock_existing, change_attributes, make_decoys, create_and_unlink_often, remove_any,
		remove_any, remove_any};
	enum { ALL = sizeof(actions) / sizeof(*actions), WITHOUT_UNLINKS = ALL - 4 };
	static unsigned int choices = ALL; /* how many of the actions it chooses from */
	char name[NAME];

	choose_name(name);
	if (ground == MOVING && chance(3) == 0)
		exchange_directories();
	if (chance(400) != 0)
		actions[chance(choices)](name);
	else if (storm.hostile == TRUSTED)
		hold_until_refusal();
	else
		hold_for_seconds(name);
	if (chance(200) == 0)
		choices = choices == ALL ? WITHOUT_UNLINKS : ALL;
	atomic_fetch_add(&referee_counts()->acts, 1);
}

static void drop_privileges(bool stay_root)
{
	const gid_t group = NEIGHBOUR;

	if (stay_root)
		return;
	if (setgroups(0, NULL) != 0 || setgid(group) != 0 || setuid(NEIGHBOUR) != 0) {
		perror("storm: the neighbour");
		_exit(2);
	}
}

_Noreturn void neighbour_run(enum ground where, bool stay_root)
{
	char directory[GROUND_PATH];

	ground = where;
	ground_directory(directory, storm.directory, where);
	if (chdir(directory) != 0) {
		perror(directory);
		_exit(2);
	}
	drop_privileges(stay_root);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	signal(SIGIO, SIG_IGN); /* the kernel's request to release a lease */
	umask(0);
	chance_seed(storm.seed, 4, (uint64_t)where);
	for (;;) {
		/* In bursts: on a busy machine it is scheduled only a few dozen times a second. */
		for (unsigned int i = chance(20); i > 0; i--)
			act();
		pause_us(chance(4) ? 200 : 3000);
	}
}

void neighbour_remove_files(const char *path, bool all)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	struct stat found;

	while (directory && (entry = readdir(directory))) {
		const char *name = entry->d_name;
		int fd = dirfd(directory);

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (fstatat(fd, name, &found, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (!all && found.st_uid != NEIGHBOUR && strncmp(name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		unlinkat(fd, name, S_ISDIR(found.st_mode) ? AT_REMOVEDIR : 0);
	}
	if (directory)
		closedir(directory);
}
