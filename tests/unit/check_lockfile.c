#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "filter.h"
#include "held.h"
#include "kernel.h"
#include "lockfile.h"
#include "shared.h"
#include "suite.h"

#define FILE_OF_S LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX

static const struct record sample = {.pid = 790, .uid = 33, .time = 1, .comm = "gunicorn"};

static struct lockfile init_lock(const char *path)
{
	struct lockfile lock;

	KEEPS_ERRNO_VOID(lockfile_init(&lock, AT_FDCWD, path));
	return lock;
}

/* Returns the result of lockfile_try_lock, and releases the mutex. */
static int try_lock(const void *path)
{
	struct lockfile lock = init_lock(path);
	enum lockfile_state state = KEEPS_ERRNO(lockfile_try_lock(&lock));

	if (state == LOCKFILE_HELD)
		KEEPS_ERRNO_VOID(lockfile_release(&lock));
	return (int)state;
}

static int try_lock_in_child(const char *path)
{
	return run_in_child(try_lock, path);
}

/* Acquires the mutex. */
static struct lockfile lock_path(const char *path)
{
	struct lockfile lock = init_lock(path);

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	return lock;
}

/* Whether a process claims the path. Changes no file. */
static bool is_claimed(const char *path)
{
	struct lockfile lock = init_lock(path);
	bool claim_path = KEEPS_ERRNO(lockfile_open_readonly(&lock)) &&
			  KEEPS_ERRNO(lockfile_is_claimed(&lock));

	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	return claim_path;
}

/* Acquires the mutex like a process that is about to bind. */
static struct lockfile lock_to_claim(const char *path)
{
	struct lockfile lock = init_lock(path);

	lock.will_claim = true;
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	return lock;
}

/* Whether the descriptor is that of a claim on this file, even if the file was unlinked. */
static bool is_claim_descriptor(int claim, const struct file_id *file)
{
	enum claim_state state = KEEPS_ERRNO(lockfile_claim_state(claim, file));

	return state == CLAIM_VALID || state == CLAIM_VOID;
}

static bool is_void(int claim, const struct file_id *file)
{
	return KEEPS_ERRNO(lockfile_claim_state(claim, file)) == CLAIM_VOID;
}

static int join_claim(struct lockfile *lock, struct file_id *file)
{
	struct file_id unused;

	return KEEPS_ERRNO(lockfile_join_claim(lock, file ? file : &unused));
}

/* Claims the path, and releases the mutex. Sets *file to the lock file, unless file is NULL. */
static int claim_path(const char *path, struct file_id *file)
{
	struct lockfile lock = lock_to_claim(path);
	int claim = KEEPS_ERRNO(lockfile_claim(&lock, &sample));

	ck_assert_int_ge(claim, 0);
	if (file)
		*file = lock.file;
	lockfile_release(&lock);
	return claim;
}

static void hold_mutex(const void *path)
{
	lock_path(path);
}

static void hold_claim(const void *path)
{
	claim_path(path, NULL);
}

static mode_t mode_of(const char *path)
{
	struct stat found;

	ck_assert_int_eq(lstat(path, &found), 0);
	return found.st_mode;
}

/* ---- names ---- */

START_TEST(the_lock_file_is_beside_the_socket)
{
	struct lockfile lock = init_lock("dir/app.sock");

	ck_assert_str_eq(lock.path, "dir/.app.sock.sockguard");
	ck_assert_int_eq(lock.fd, -1);
	ck_assert(!exists("dir"));
}
END_TEST

START_TEST(the_longest_name_fits)
{
	char path[2 * LOCKFILE_PATH];
	size_t longest = LOCKFILE_PATH - 1 - LOCKFILE_EXTRA - SHARED_EXTRA;
	struct lockfile lock;

	memset(path, 'x', sizeof(path));
	path[longest] = '\0';
	lock = init_lock(path);
	ck_assert_uint_eq(strlen(lock.path), longest + LOCKFILE_EXTRA);
}
END_TEST

START_TEST(a_longer_name_has_no_lock_file)
{
	char path[2 * LOCKFILE_PATH];
	size_t longest = LOCKFILE_PATH - 1 - LOCKFILE_EXTRA - SHARED_EXTRA;
	int before = count_descriptors();
	struct lockfile lock;

	memset(path, 'x', sizeof(path));
	path[longest + 1] = '\0';
	lock = init_lock(path);
	ck_assert_str_eq(lock.path, "");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, 0)), LOCKFILE_NONE);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	ck_assert(!KEEPS_ERRNO(lockfile_is_claimed(&lock)));
	KEEPS_ERRNO_VOID(lockfile_unlink(&lock));
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	path[sizeof(path) - 1] = '\0';
	lock = init_lock(path);
	ck_assert_str_eq(lock.path, "");
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(a_path_is_relative_to_its_directory)
{
	struct lockfile lock;
	int dir;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	dir = open("dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lockfile_init(&lock, dir, "s");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert(exists("dir/" FILE_OF_S));
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(!exists("dir/" FILE_OF_S));
}
END_TEST

/* ---- the mutex ---- */

START_TEST(locking_creates_a_private_file)
{
	static const mode_t umasks[] = {0, 022, 077, 0777};
	struct lockfile lock;
	struct stat found;

	if (_i >= 4) /* other users may create files there, too */
		ck_assert_int_eq(chmod(".", 01777), 0);
	umask(umasks[_i % 4]);
	lock = lock_path("s");
	ck_assert_uint_eq(mode_of(FILE_OF_S), S_IFREG | 0600);
	ck_assert_int_eq(stat(FILE_OF_S, &found), 0);
	ck_assert_uint_eq(lock.file.ino, found.st_ino);
	ck_assert_uint_eq(lock.file.dev, found.st_dev);
	ck_assert(fcntl(lock.fd, F_GETFD) & FD_CLOEXEC);
	lockfile_release(&lock);
}
END_TEST

START_TEST(a_locked_mutex_is_busy)
{
	struct lockfile lock = lock_path("s");

	ck_assert_int_eq(try_lock("s"), LOCKFILE_BUSY);
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_BUSY);
	ck_assert_int_eq(try_lock_in_child("t"), LOCKFILE_HELD);
	lockfile_release(&lock);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_HELD);
}
END_TEST

START_TEST(a_crash_releases_the_mutex)
{
	pid_t holder = start_child(hold_mutex, "s");

	ck_assert_int_eq(try_lock("s"), LOCKFILE_BUSY);
	kill_child(holder);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(releasing_unlinks_an_unclaimed_file)
{
	struct lockfile lock = lock_path("s");
	int before = count_descriptors();

	ck_assert(exists(FILE_OF_S));
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(!exists(FILE_OF_S));
	ck_assert_int_eq(lock.fd, -1);
	ck_assert_int_eq(count_descriptors(), before - 1);
	KEEPS_ERRNO_VOID(lockfile_release(&lock)); /* a second time has no effect */
	ck_assert_int_eq(count_descriptors(), before - 1);
}
END_TEST

START_TEST(releasing_unlinks_a_file_left_by_a_crash)
{
	write_file(FILE_OF_S, "left by a crash");
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(releasing_keeps_a_claimed_file)
{
	pid_t owner = start_child(hold_claim, "s");

	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	ck_assert(exists(FILE_OF_S));
	kill_child(owner);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

static void do_nothing(const void *about)
{
	(void)about;
}

/* A child, forked in another thread, has a copy. close(2) alone would not release the mutex. */
START_TEST(releasing_unlocks_although_a_forked_child_has_a_copy)
{
	struct lockfile lock = lock_path("s");
	int claim = lockfile_claim(&lock, &sample); /* so that the file is not unlinked */
	pid_t fork = start_child(do_nothing, NULL);

	lockfile_release(&lock);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	kill_child(fork);
	lockfile_release_claim(claim);
}
END_TEST

static int child_closes_it(const void *about)
{
	const struct lockfile *lock = about;

	KEEPS_ERRNO_VOID(held_after_fork_in_child());
	return fcntl(lock->fd, F_GETFD) < 0 && errno == EBADF;
}

START_TEST(a_forked_child_closes_held_mutexes)
{
	struct lockfile a = lock_path("a");
	struct lockfile b = lock_path("b");

	ck_assert_int_eq(run_in_child(child_closes_it, &a), 1);
	ck_assert_int_eq(run_in_child(child_closes_it, &b), 1);
	ck_assert_int_eq(try_lock("a"), LOCKFILE_BUSY); /* the parent still holds them */
	ck_assert_int_eq(try_lock("b"), LOCKFILE_BUSY);
}
END_TEST

/* The program may reuse the descriptor number of a released mutex. */
START_TEST(a_forked_child_closes_nothing_else)
{
	struct lockfile lock;

	for (int i = 0; i < 100; i++) {
		lock = lock_path("s");
		lockfile_release(&lock);
	}
	for (int i = 0; i < 10; i++)
		lock.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (; lock.fd > 2; lock.fd--)
		if (fcntl(lock.fd, F_GETFD) >= 0)
			ck_assert_int_eq(run_in_child(child_closes_it, &lock), 0);
}
END_TEST

START_TEST(a_forked_child_keeps_a_borrowed_claim)
{
	int claim = claim_path("s", NULL);
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(lockfile_try_lock_through(&lock, claim), LOCKFILE_HELD);
	ck_assert_int_eq(run_in_child(child_closes_it, &lock), 0);
}
END_TEST

START_TEST(a_file_is_unlinked_only_once)
{
	struct lockfile lock = lock_path("s");

	KEEPS_ERRNO_VOID(lockfile_unlink(&lock));
	ck_assert(!exists(FILE_OF_S));
	write_file(FILE_OF_S, "another process's by now");
	KEEPS_ERRNO_VOID(lockfile_unlink(&lock));
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(exists(FILE_OF_S));
}
END_TEST

/* A process that waits for the mutex of a file that is unlinked must not use that mutex. */
START_TEST(the_mutex_of_an_unlinked_file_delays_no_process)
{
	struct lockfile lock = lock_path("s");

	lockfile_unlink(&lock);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	lockfile_release(&lock);
}
END_TEST

/* Checks mutual exclusion while the file is unlinked and created again and again. */
static int lock_and_unlock(const void *about)
{
	struct lockfile lock;

	(void)about;
	for (int i = 0; i < 400; i++) {
		lock = init_lock("s");
		while (lockfile_try_lock(&lock) != LOCKFILE_HELD)
			;
		if (mkdir("inside", 0700) != 0 || rmdir("inside") != 0)
			return 1; /* another process holds the mutex, too */
		lockfile_release(&lock);
	}
	return 0;
}

START_TEST(one_process_at_a_time_holds_the_mutex_while_files_are_replaced)
{
	pid_t others[3];
	int status;

	for (int i = 0; i < 3; i++) {
		others[i] = fork();
		if (others[i] == 0)
			_exit(lock_and_unlock(NULL));
	}
	ck_assert_int_eq(lock_and_unlock(NULL), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(waitpid(others[i], &status, 0), others[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

/* ---- no lock file can be used ---- */

static void assert_no_lock_file(void)
{
	int before = count_descriptors();
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
	ck_assert_int_eq(lock.fd, -1);
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert_int_eq(count_descriptors(), before);
}

START_TEST(a_symlink_is_not_followed)
{
	write_file("victim", "content");
	ck_assert_int_eq(symlink("victim", FILE_OF_S), 0);
	assert_no_lock_file();
	ck_assert(S_ISLNK(mode_of(FILE_OF_S)));
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert_int_eq(symlink("nowhere", FILE_OF_S), 0);
	assert_no_lock_file();
	ck_assert(!exists("nowhere"));
}
END_TEST

START_TEST(a_fifo_is_not_waited_for)
{
	ck_assert_int_eq(mkfifo(FILE_OF_S, 0600), 0);
	assert_no_lock_file();
	ck_assert(S_ISFIFO(mode_of(FILE_OF_S)));
}
END_TEST

START_TEST(a_directory_or_socket_at_the_path_is_unchanged)
{
	ck_assert_int_eq(mkdir(FILE_OF_S, 0700), 0);
	assert_no_lock_file();
	ck_assert(S_ISDIR(mode_of(FILE_OF_S)));
	ck_assert_int_eq(rmdir(FILE_OF_S), 0);
	bound_socket(FILE_OF_S, SOCK_STREAM);
	assert_no_lock_file();
	ck_assert(S_ISSOCK(mode_of(FILE_OF_S)));
}
END_TEST

/* An attacker makes a hard link, so that the guard would write a record into another file. */
START_TEST(a_file_with_two_links_is_not_used)
{
	write_file("victim", "");
	ck_assert_int_eq(chmod("victim", 0644), 0);
	ck_assert_int_eq(link("victim", FILE_OF_S), 0);
	assert_no_lock_file();
	ck_assert(exists(FILE_OF_S));
	ck_assert_uint_eq(mode_of("victim"), S_IFREG | 0644);
}
END_TEST

START_TEST(without_a_directory_there_is_no_lock_file)
{
	struct lockfile lock = init_lock("absent/s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
	lock = init_lock("/proc/s");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
	lockfile_init(&lock, -1, "s");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
}
END_TEST

START_TEST(without_descriptors_there_is_no_lock_file)
{
	struct lockfile lock = init_lock("s");

	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(without_write_permission_there_is_no_lock_file)
{
	ck_assert_int_eq(run_as_stranger(try_lock, "s"), LOCKFILE_NONE); /* cannot create it */
	write_file(FILE_OF_S, "");
	ck_assert_int_eq(chmod(FILE_OF_S, 0644), 0);
	ck_assert_int_eq(chmod(".", 0777), 0);
	ck_assert_int_eq(run_as_stranger(try_lock, "s"), LOCKFILE_NONE); /* cannot open it */
	ck_assert(exists(FILE_OF_S));
}
END_TEST

static void plant_in_sticky_directory(uid_t user)
{
	mkdir("sticky", 01777);
	ck_assert_int_eq(chmod("sticky", 01777), 0);
	write_file("sticky/" FILE_OF_S, "x");
	ck_assert_int_eq(chmod("sticky/" FILE_OF_S, 0666), 0);
	ck_assert_int_eq(chown("sticky/" FILE_OF_S, user, user), 0);
}

/* Any user could have created the file, to hold its mutex or to forge its record. */
START_TEST(another_users_file_in_a_sticky_directory_is_not_used)
{
	plant_in_sticky_directory(STRANGER + 1);
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_HELD);
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_HELD); /* by root neither */
	ck_assert(exists("sticky/" FILE_OF_S));
}
END_TEST

/* With fs.protected_regular, O_CREAT on another user's file fails there. */
START_TEST(the_file_of_the_directorys_user_in_a_sticky_directory_is_used)
{
	plant_in_sticky_directory(0);
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_HELD);
}
END_TEST

START_TEST(our_own_file_in_a_sticky_directory_is_used)
{
	plant_in_sticky_directory(STRANGER);
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_HELD);
}
END_TEST

/* Files that another user may create, and lock for ever. */
static void plant_empty(void)
{
	write_file("sticky/" FILE_OF_S, "");
	ck_assert_int_eq(chown("sticky/" FILE_OF_S, STRANGER, STRANGER), 0);
}

static void plant_fifo(void)
{
	ck_assert_int_eq(mkfifo("sticky/" FILE_OF_S, 0666), 0);
	ck_assert_int_eq(chown("sticky/" FILE_OF_S, STRANGER, STRANGER), 0);
}

static void plant_directory(void)
{
	ck_assert_int_eq(mkdir("sticky/" FILE_OF_S, 0777), 0);
	ck_assert_int_eq(chown("sticky/" FILE_OF_S, STRANGER, STRANGER), 0);
}

static void lock_whole_file(const void *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	ck_assert_int_eq(fcntl(open(path, O_RDWR | O_CLOEXEC), F_OFD_SETLK, &lock), 0);
}

static void plant_locked(void)
{
	plant_empty();
	start_child(lock_whole_file, "sticky/" FILE_OF_S);
}

static void make_sticky(void)
{
	ck_assert_int_eq(mkdir("sticky", 0777), 0);
	ck_assert_int_eq(chmod("sticky", 01777), 0);
}

START_TEST(a_planted_file_in_a_sticky_directory_is_bypassed)
{
	static void (*const plants[])(void) = {
		plant_empty, plant_fifo, plant_directory, plant_locked};
	struct lockfile lock = init_lock("sticky/s");
	struct stat planted, still;

	make_sticky();
	plants[_i]();
	ck_assert_int_eq(lstat("sticky/" FILE_OF_S, &planted), 0);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_str_ne(lock.path, "sticky/" FILE_OF_S);
	ck_assert(!lock.untrusted);
	ck_assert(exists(lock.path));
	ck_assert_int_eq(try_lock_in_child("sticky/s"),
		LOCKFILE_BUSY); /* all our processes use the same mutex */
	lockfile_release(&lock);
	ck_assert(!exists(lock.path));
	ck_assert_int_eq(lstat("sticky/" FILE_OF_S, &still), 0);
	ck_assert_uint_eq(still.st_ino, planted.st_ino);
}
END_TEST

#define ALTERNATE "sticky/" FILE_OF_S ".0123456789ab"

static void make_sticky_with_two_files(void)
{
	make_sticky();
	write_file("sticky/" FILE_OF_S, "");
	write_file(ALTERNATE, "");
}

/* After a crash, an alternate remains, but the other user's file that required it does not. */
START_TEST(one_of_two_own_files_in_a_sticky_directory_remains)
{
	struct lockfile lock = init_lock("sticky/s");

	make_sticky_with_two_files();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_int_ne(exists("sticky/" FILE_OF_S), exists(ALTERNATE));
	ck_assert(exists(lock.path));
	lockfile_release(&lock);
	ck_assert(!exists("sticky/" FILE_OF_S));
	ck_assert(!exists(ALTERNATE));
}
END_TEST

static void claim_at(const char *path)
{
	struct file_id file;

	ck_assert_int_ge(claim_path("sticky/s", &file), 0);
	ck_assert_int_eq(rename("sticky/" FILE_OF_S, path), 0);
}

START_TEST(the_claimed_one_of_two_own_files_in_a_sticky_directory_remains)
{
	static const char *const names[] = {"sticky/" FILE_OF_S, ALTERNATE};
	struct lockfile lock = init_lock("sticky/s");
	int before;

	make_sticky();
	claim_at(names[_i]);
	write_file(names[1 - _i], "");
	before = count_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_str_eq(lock.path, names[_i]);
	ck_assert(lockfile_is_claimed(&lock));
	lockfile_release(&lock);
	ck_assert(exists(names[_i]));
	ck_assert(!exists(names[1 - _i]));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* A call must not wait for one mutex while it holds the other. */
START_TEST(two_own_files_in_a_sticky_directory_must_both_be_free)
{
	static const char *const names[] = {"sticky/" FILE_OF_S, ALTERNATE};
	int before;

	make_sticky_with_two_files();
	start_child(lock_whole_file, names[_i]);
	before = count_descriptors();
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_BUSY);
	ck_assert(exists(names[_i]));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* If no other user can create files in the directory, its lock file may belong to any. */
START_TEST(another_users_file_in_our_directory_is_used)
{
	write_file(FILE_OF_S, "x");
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
}
END_TEST

/* Acquires mutexes. held.c can register a limited number for a forked child to close. */
#define MAX_HELD 64

static void lock_many(int count)
{
	char name[16];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "held%d", i);
		lock_path(name);
	}
}

/* A mutex that cannot be registered is not acquired, because a child would keep it. */
START_TEST(more_mutexes_than_can_be_registered_are_busy)
{
	int before;

	lock_many(MAX_HELD);
	before = count_descriptors();
	ck_assert_int_eq(try_lock("s"), LOCKFILE_BUSY);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* No second descriptor can be registered to move the mutex to a high number. */
START_TEST(the_last_mutex_that_can_be_registered_stays_at_its_number)
{
	struct lockfile lock;

	lock_many(MAX_HELD - 1);
	lock = lock_to_claim("s");
	ck_assert_int_lt(lock.fd, 3 * MAX_HELD);
	ck_assert_int_eq(lockfile_claim(&lock, &sample), lock.fd);
	ck_assert_int_eq(run_in_child(child_closes_it, &lock), 1);
	lockfile_release(&lock);
	ck_assert(is_claimed("s"));
}
END_TEST

/* The program may close any descriptor, and reuse its number. */
START_TEST(a_closed_mutex_is_not_held)
{
	struct lockfile lock = lock_path("s");
	struct lockfile again = lock;

	ck_assert(KEEPS_ERRNO(held_by_this_thread(&again.file)));
	close(lock.fd);
	ck_assert(!KEEPS_ERRNO(held_by_this_thread(&again.file)));
	ck_assert_int_eq(open("/dev/null", O_RDONLY | O_CLOEXEC), lock.fd);
	ck_assert(!KEEPS_ERRNO(held_by_this_thread(&again.file)));
}
END_TEST

#define ROUNDS 20000

static void *count_mutexes_mistaken_for_own(void *about)
{
	struct lockfile lock;
	intptr_t held = 0;

	(void)about;
	for (int i = 0; i < ROUNDS; i++) {
		lockfile_init(&lock, AT_FDCWD, "s");
		held += lockfile_try_lock(&lock) == LOCKFILE_BUSY &&
			held_by_this_thread(&lock.file);
	}
	return (void *)held;
}

START_TEST(another_threads_mutex_is_not_held_by_this_thread)
{
	pthread_t threads[4];
	void *held;

	start_child(hold_mutex, "s");
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_mutexes_mistaken_for_own,
					 NULL),
			0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &held), 0);
		ck_assert_ptr_null(held);
	}
}
END_TEST

static void acquire_lease(const void *path)
{
	signal(SIGIO, SIG_IGN);
	ck_assert_int_eq(fcntl(open(path, O_RDWR | O_CLOEXEC), F_SETLEASE, F_WRLCK), 0);
}

/* A blocking open(2) would wait up to 45 seconds, until the kernel breaks the lease. */
START_TEST(a_lease_is_not_waited_for)
{
	write_file(FILE_OF_S, "");
	start_child(acquire_lease, FILE_OF_S);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_BUSY);
	ck_assert(exists(FILE_OF_S));
}
END_TEST

/* ---- system calls that fail ---- */

/* A filter forbids the locks, or the kernel is older than Linux 3.15. */
START_TEST(without_locks_no_file_remains)
{
	static const int errors[] = {EINVAL, ENOSYS, EPERM};
	int before = count_descriptors();

	forbid_with(CALL_LOCK, errors[_i]);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_NONE);
	ck_assert(!exists(FILE_OF_S));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* Another process, which can lock the file, may use it. */
START_TEST(without_memory_for_locks_the_file_remains)
{
	forbid_with(CALL_LOCK, ENOLCK);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_NONE);
	ck_assert(exists(FILE_OF_S));
}
END_TEST

static int times_opened;

/* Another process unlinks the lock file once, after we opened it and before we lock it. */
static long unlink_once_opened(long number, const long arguments[6])
{
	long result = make_call(number, arguments);

	if (number == SYS_openat && result >= 0 && times_opened++ == 0)
		ck_assert_int_eq(unlink(FILE_OF_S), 0);
	return result;
}

START_TEST(a_file_unlinked_while_it_is_opened_is_opened_again)
{
	struct lockfile lock = init_lock("s");

	if (_i)
		write_file(FILE_OF_S, "left by a crash");
	replace_system_calls(unlink_once_opened);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_int_eq(times_opened, 2);
	ck_assert(exists(FILE_OF_S));
}
END_TEST

START_TEST(a_forbidden_lookup_is_not_waited_for)
{
	write_file(FILE_OF_S, "");
	forbid(CALL_FSTATAT);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_NONE);
	ck_assert_int_eq(access(FILE_OF_S, F_OK), 0);
}
END_TEST

/* Then the guard cannot determine whether the directory is sticky. */
START_TEST(another_users_file_in_an_inaccessible_directory_is_not_waited_for)
{
	write_file(FILE_OF_S, "");
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	forbid(CALL_FSTATAT);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_NONE);
}
END_TEST

START_TEST(a_file_whose_fstat_fails_is_not_used)
{
	struct lockfile lock = init_lock("s");
	struct lockfile created = init_lock("t");
	struct file_id file;
	int claim = claim_path("s", &file);

	forbid(CALL_FSTAT);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&created)), LOCKFILE_NONE);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim_state(claim, &file)), CLAIM_UNKNOWN);
}
END_TEST

START_TEST(a_file_whose_lookup_fails_is_not_joined)
{
	struct lockfile lock = init_lock("s");
	int next;

	claim_path("s", NULL);
	next = dup(0);
	close(next);
	forbid(CALL_FSTATAT);
	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert_int_eq(dup(0), next); /* none is left open */
}
END_TEST

START_TEST(a_file_that_cannot_be_written_is_not_claimed)
{
	struct lockfile lock = lock_path("s");

	forbid(SYS_pwrite64);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	ck_assert(!lockfile_is_claimed(&lock));
	lockfile_release(&lock);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(without_the_limit_a_claim_keeps_its_low_number)
{
	struct rlimit limit = {.rlim_cur = 16, .rlim_max = 1024};
	int claim;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	forbid(SYS_prlimit64);
	claim = claim_path("s", NULL);
	ck_assert_int_lt(claim, 16 / 4 * 3);
	ck_assert(is_claimed("s"));
}
END_TEST

/* ---- claims ---- */

START_TEST(a_claim_outlives_the_mutex)
{
	struct file_id file;
	int claim = claim_path("s", &file);

	ck_assert(exists(FILE_OF_S));
	ck_assert(is_claimed("s"));
	ck_assert(is_claim_descriptor(claim, &file));
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_HELD);
	ck_assert(is_claimed("s"));
	KEEPS_ERRNO_VOID(lockfile_release_claim(claim));
	ck_assert(!is_claimed("s"));
	ck_assert_int_lt(fcntl(claim, F_GETFD), 0);
}
END_TEST

START_TEST(other_processes_see_a_claim_until_its_owner_ends)
{
	pid_t owner = start_child(hold_claim, "s");

	ck_assert(is_claimed("s"));
	kill_child(owner);
	ck_assert(!is_claimed("s"));
	ck_assert(exists(FILE_OF_S));
}
END_TEST

static void close_claim(const void *claim)
{
	close(*(const int *)claim);
}

/* A worker holds the claim, too, until it ends. */
START_TEST(a_forked_child_keeps_the_claim)
{
	int claim = claim_path("s", NULL);
	pid_t worker = start_child(do_nothing, NULL);

	close(claim);
	ck_assert(is_claimed("s"));
	kill_child(worker);
	ck_assert(!is_claimed("s"));
}
END_TEST

START_TEST(a_forked_child_that_closes_its_copy_releases_nothing)
{
	int claim = claim_path("s", NULL);
	pid_t worker = start_child(close_claim, &claim);

	ck_assert(is_claimed("s"));
	kill_child(worker);
	ck_assert(is_claimed("s"));
	lockfile_release_claim(claim);
}
END_TEST

START_TEST(releasing_a_claim_releases_it_for_forked_children)
{
	int claim = claim_path("s", NULL);
	pid_t worker = start_child(do_nothing, NULL);

	KEEPS_ERRNO_VOID(lockfile_release_claim(claim));
	ck_assert(!is_claimed("s"));
	kill_child(worker);
}
END_TEST

START_TEST(claims_are_shared)
{
	int claim = claim_path("s", NULL);
	pid_t other = start_child(hold_claim, "s");

	lockfile_release_claim(claim);
	ck_assert(is_claimed("s"));
	kill_child(other);
	ck_assert(!is_claimed("s"));
}
END_TEST

static struct superblock superblock_here(void)
{
	struct superblock superblock;
	struct pin pin = {.fd = open(".", O_PATH | O_CLOEXEC)};
	struct kernel_file found;

	ck_assert_int_eq(kernel_fstat(pin.fd, &found), 0);
	pin.inode.file = file_id_of(&found);
	superblock = filesystem_superblock(&pin, AT_FDCWD, "s");
	close(pin.fd);
	return superblock;
}

static bool is_claimed_elsewhere(const char *path, uint64_t netns)
{
	struct superblock superblock = superblock_here();
	struct lockfile lock = init_lock(path);

	return KEEPS_ERRNO(lockfile_is_claimed_elsewhere(&lock, &superblock, netns));
}

/* Claims the path for a socket of the network namespace with this number. */
static int claim_for_netns(const char *path, uint64_t netns)
{
	struct record record = sample;
	struct lockfile lock = lock_to_claim(path);
	int claim;

	record.netns = netns;
	claim = KEEPS_ERRNO(lockfile_claim(&lock, &record));
	ck_assert_int_ge(claim, 0);
	lockfile_release(&lock);
	return claim;
}

START_TEST(a_claim_shows_its_network_namespace)
{
	const uint64_t netns = UINT64_C(1) << 33 | 7;
	struct lockfile lock = init_lock("s");
	int claim = claim_for_netns("s", netns);
	int joined;

	ck_assert(!is_claimed_elsewhere("s", netns));
	ck_assert(is_claimed_elsewhere("s", netns - 1));
	ck_assert(is_claimed_elsewhere("s", 0));
	ck_assert(is_claimed("s"));
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_HELD);
	joined = join_claim(&lock, NULL);
	lockfile_release_claim(claim);
	ck_assert(!is_claimed_elsewhere("s", netns));
	ck_assert(is_claimed_elsewhere("s", netns - 1));
	start_child(do_nothing, NULL); /* has a copy of the claim's descriptor */
	lockfile_release_claim(joined);
	ck_assert(!is_claimed_elsewhere("s", netns - 1));
}
END_TEST

START_TEST(a_claim_for_an_unknown_network_namespace_shows_none)
{
	claim_path("s", NULL);
	ck_assert(!is_claimed_elsewhere("s", 7));
	ck_assert(!is_claimed_elsewhere("s", 0));
	ck_assert(!is_claimed_elsewhere("absent", 7));
}
END_TEST

START_TEST(only_a_valid_lock_file_shows_a_network_namespace)
{
	struct superblock superblock = superblock_here();
	struct lockfile lock = init_lock("s");

	claim_for_netns("s", 7);
	superblock.dev ^= 1;
	ck_assert(!lockfile_is_claimed_elsewhere(&lock, &superblock, 8));
	ck_assert(is_claimed_elsewhere("s", 8));
	ck_assert_int_eq(link(FILE_OF_S, "second"), 0);
	ck_assert(!is_claimed_elsewhere("s", 8));
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert_int_eq(symlink("second", FILE_OF_S), 0);
	ck_assert(!is_claimed_elsewhere("s", 8));
}
END_TEST

/* Strangers could create the file beside a stale socket that they may not replace. */
START_TEST(in_a_sticky_directory_no_file_shows_a_network_namespace)
{
	make_sticky();
	claim_for_netns("sticky/s", 7);
	ck_assert(!is_claimed_elsewhere("sticky/s", 8));
	ck_assert_int_eq(chmod("sticky", 0777), 0);
	ck_assert(is_claimed_elsewhere("sticky/s", 8));
}
END_TEST

START_TEST(unlinking_the_file_voids_the_claim)
{
	struct file_id file;
	int claim = claim_path("s", &file);
	struct lockfile lock = lock_path("s");

	ck_assert(!is_void(claim, &file));
	lockfile_unlink(&lock);
	lockfile_release(&lock);
	ck_assert(!is_claimed("s"));
	ck_assert(is_claim_descriptor(claim, &file));
	ck_assert(is_void(claim, &file));
	lock = lock_path("s");
	ck_assert(!lockfile_is_claimed(&lock));
	lockfile_release(&lock);
	lockfile_release_claim(claim);
}
END_TEST

START_TEST(a_claim_has_a_high_descriptor)
{
	int before = count_descriptors();
	int claim = claim_path("s", NULL);
	int next = dup(0);

	ck_assert(fcntl(claim, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_ge(claim, 100);
	ck_assert_int_lt(next, 100);
	close(next);
	ck_assert_int_eq(count_descriptors(), before + 1);
	lockfile_release_claim(claim);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(a_claim_stays_below_a_low_limit)
{
	struct rlimit limit = {.rlim_cur = 16, .rlim_max = 1024};
	int claim;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	claim = claim_path("s", NULL);
	ck_assert_int_ge(claim, 12); /* in the top quarter */
	ck_assert_int_lt(claim, 16);
	ck_assert(fcntl(claim, F_GETFD) & FD_CLOEXEC);
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(a_claim_comes_with_a_record)
{
	struct lockfile lock;
	struct record record;
	int claim = claim_path("s", NULL);

	lock = init_lock("s");
	ck_assert(lockfile_open_readonly(&lock));
	ck_assert(KEEPS_ERRNO(lockfile_read_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, sample.pid);
	ck_assert_uint_eq(record.uid, sample.uid);
	ck_assert_str_eq(record.comm, sample.comm);
	lockfile_release(&lock);
	lock = lock_path("s");
	ck_assert(KEEPS_ERRNO(lockfile_read_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, sample.pid);
	lockfile_release(&lock);
	lockfile_release_claim(claim);
}
END_TEST

START_TEST(a_record_says_left_and_then_held_again)
{
	struct lockfile lock = lock_path("s");
	struct record record;

	KEEPS_ERRNO_VOID(lockfile_mark_leaving(&lock, true)); /* creates no record */
	ck_assert(!lockfile_read_record(&lock, &record));
	lockfile_release(&lock);
	claim_path("s", NULL);
	lock = lock_path("s");
	KEEPS_ERRNO_VOID(lockfile_mark_leaving(&lock, true));
	ck_assert(lockfile_read_record(&lock, &record));
	ck_assert(record.leaving);
	ck_assert_uint_eq(record.pid, sample.pid);
	KEEPS_ERRNO_VOID(lockfile_mark_leaving(&lock, false));
	ck_assert(lockfile_read_record(&lock, &record));
	ck_assert(!record.leaving);
	lockfile_release(&lock);
	KEEPS_ERRNO_VOID(lockfile_mark_leaving(&lock, true)); /* not open */
}
END_TEST

START_TEST(a_record_replaces_earlier_contents)
{
	char longer[2 * RECORD_SIZE + 1];
	struct stat found;
	struct lockfile lock;
	struct record record;

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	write_file(FILE_OF_S, longer);
	lock = lock_path("s");
	ck_assert(!KEEPS_ERRNO(lockfile_read_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, 0);
	ck_assert_int_ge(lockfile_claim(&lock, &sample), 0);
	ck_assert(lockfile_read_record(&lock, &record));
	ck_assert_str_eq(record.comm, sample.comm);
	ck_assert_int_eq(stat(FILE_OF_S, &found), 0);
	ck_assert_int_eq(found.st_size, 2 * RECORD_SIZE); /* never truncated */
	lockfile_release(&lock);
}
END_TEST

START_TEST(without_a_record_there_is_no_claim)
{
	struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
	struct lockfile lock = lock_path("s");
	int before = count_descriptors();

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	ck_assert(!lockfile_is_claimed(&lock));
	ck_assert_int_eq(count_descriptors(), before);
	lockfile_release(&lock);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(without_a_file_there_is_no_claim_and_no_record)
{
	struct lockfile lock = init_lock("s");
	struct record record;

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	memset(&record, 0xff, sizeof(record));
	ck_assert(!KEEPS_ERRNO(lockfile_read_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, 0);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(joining_acquires_a_separate_claim)
{
	int claim = claim_path("s", NULL);
	struct lockfile lock = init_lock("s");
	struct file_id file;
	int before;
	int own;

	if (_i)
		close(STDIN_FILENO); /* the lock file is opened at 0 */
	before = count_descriptors();
	own = join_claim(&lock, &file);
	ck_assert_int_ge(own, 100);
	ck_assert(fcntl(own, F_GETFD) & FD_CLOEXEC);
	ck_assert(is_claim_descriptor(own, &file));
	ck_assert_int_eq(count_descriptors(), before + 1);
	lockfile_release_claim(claim);
	ck_assert(is_claimed("s"));
	lockfile_release_claim(own);
	ck_assert(!is_claimed("s"));
}
END_TEST

START_TEST(joining_waits_for_no_mutex)
{
	int claim = claim_path("s", NULL);
	pid_t holder = start_child(hold_mutex, "s");
	struct lockfile lock = init_lock("s");
	int own = join_claim(&lock, NULL);

	ck_assert_int_ge(own, 0);
	kill_child(holder);
	lockfile_release_claim(own);
	lockfile_release_claim(claim);
}
END_TEST

START_TEST(joining_creates_no_file)
{
	int before = count_descriptors();
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert(!exists(FILE_OF_S));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* A process that is about to bind relies on an empty file being unclaimed. */
START_TEST(an_empty_file_is_not_joined)
{
	int before = count_descriptors();
	struct lockfile lock = init_lock("s");

	write_file(FILE_OF_S, "");
	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert(!is_claimed("s"));
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* Another program has an exclusive lock on the claim's byte, which the guard never acquires. */
START_TEST(a_claim_that_cannot_be_acquired_is_not_joined)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int before;
	int fd;
	struct lockfile lock = init_lock("s");

	write_file(FILE_OF_S, "x");
	fd = open(FILE_OF_S, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &all), 0);
	before = count_descriptors();
	ck_assert_int_eq(join_claim(&lock, NULL), -1);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(an_unlinked_file_is_not_claimed)
{
	struct lockfile lock = lock_path("s");

	lockfile_unlink(&lock);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	lockfile_release(&lock);
}
END_TEST

/* The program may close the descriptor. */
START_TEST(a_claim_whose_descriptor_was_closed_is_lost)
{
	struct file_id file;
	int claim = claim_path("s", &file);

	ck_assert(!is_claim_descriptor(-1, &file));
	ck_assert(!is_void(-1, &file));
	ck_assert_int_eq(dup2(0, claim), claim);
	ck_assert(!is_claim_descriptor(claim, &file));
	ck_assert(!is_void(claim, &file));
	close(claim);
	ck_assert(!is_claim_descriptor(claim, &file));
	ck_assert(!is_void(claim, &file));
	ck_assert(!is_claimed("s"));
}
END_TEST

/* ---- opening read-only ---- */

START_TEST(opening_readonly_changes_no_file)
{
	int before = count_descriptors();
	struct lockfile lock = init_lock("s");

	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(!exists(FILE_OF_S));
	write_file(FILE_OF_S, "");
	ck_assert(KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert(fcntl(lock.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(try_lock_in_child("t"), LOCKFILE_HELD);
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(exists(FILE_OF_S)); /* although no process claims it */
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

START_TEST(opening_readonly_needs_no_mutex)
{
	struct lockfile peeked = init_lock("s");
	struct lockfile lock = lock_path("s");

	ck_assert(lockfile_open_readonly(&peeked));
	ck_assert(!lockfile_is_claimed(&peeked));
	lockfile_release(&peeked);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_BUSY); /* it released nothing but its own lock */
	lockfile_release(&lock);
	write_file(FILE_OF_S, "");
	ck_assert(lockfile_open_readonly(&peeked));
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_HELD);
	lockfile_release(&peeked);
}
END_TEST

START_TEST(opening_readonly_is_only_for_regular_files)
{
	int before = count_descriptors();
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(mkfifo(FILE_OF_S, 0600), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert_int_eq(mkdir(FILE_OF_S, 0700), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert_int_eq(rmdir(FILE_OF_S), 0);
	ck_assert_int_eq(symlink("/etc/passwd", FILE_OF_S), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert_int_eq(lock.fd, -1);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* ---- borrowing ---- */

START_TEST(the_descriptor_of_a_claim_may_be_borrowed)
{
	struct file_id file;
	int claim = claim_path("s", &file);
	struct lockfile lock = init_lock("s");

	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_HELD);
	ck_assert(file_same(&lock.file, &file));
	ck_assert(lock.borrowed);
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(is_claim_descriptor(claim, &file));
}
END_TEST

/* Installs a filter that filter.c knows about, so that the guard does not make the call. */
static void forbid_by_filter(unsigned int call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	filter_install_end(filter_install_begin(false), true, &program);
}

START_TEST(a_claim_is_recognised_if_a_filter_forbids_locks)
{
	struct file_id file;
	int claim = claim_path("s", &file);
	struct lockfile lock = init_lock("s");

	forbid_by_filter(CALL_LOCK);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_HELD);
	ck_assert_int_eq(lock.fd, claim);
	ck_assert(lock.linked && lock.claimed_by_us && lock.has_content);
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(exists(FILE_OF_S));
	lock = init_lock("s");
	ck_assert_int_eq(rename(FILE_OF_S, "moved"), 0);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_NONE);
}
END_TEST

START_TEST(a_borrowed_mutex_excludes_others)
{
	int claim = claim_path("s", NULL);
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_HELD);
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_BUSY);
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_HELD);
	ck_assert_int_ge(fcntl(claim, F_GETFD), 0); /* still the caller's */
	ck_assert(is_claimed("s"));
}
END_TEST

static int borrows(const void *claim)
{
	struct lockfile lock = init_lock("s");
	enum lockfile_state state =
		KEEPS_ERRNO(lockfile_try_lock_through(&lock, *(const int *)claim));

	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	return (int)state;
}

/* It shares the open file description, through which both would hold the mutex. */
START_TEST(a_borrowed_mutex_excludes_a_forked_process)
{
	int claim = claim_path("s", NULL);
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_HELD);
	ck_assert_int_eq(run_in_child(borrows, &claim), LOCKFILE_BUSY);
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_BUSY);
	lockfile_release(&lock);
	ck_assert_int_eq(run_in_child(borrows, &claim), LOCKFILE_HELD);
}
END_TEST

/* The lock file's state is then used again, to refuse the call. */
START_TEST(a_file_that_could_not_be_borrowed_is_opened_and_closed)
{
	int claim = claim_path("s", NULL);
	struct lockfile lock = init_lock("s");
	int before;

	start_child(hold_mutex, "s");
	before = count_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_BUSY);
	ck_assert(KEEPS_ERRNO(lockfile_open_readonly_valid(&lock)));
	ck_assert(!lock.borrowed);
	lockfile_release(&lock);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

static long process_locks_are_forbidden(long number, const long arguments[6])
{
	if (number != CALL_LOCK || arguments[1] != F_SETLK)
		return make_call(number, arguments);
	errno = EACCES;
	return -1;
}

/* A security module may forbid them. */
START_TEST(a_mutex_is_borrowed_without_locks_of_the_process)
{
	int claim = claim_path("s", NULL);

	replace_system_calls(process_locks_are_forbidden);
	ck_assert_int_eq(borrows(&claim), LOCKFILE_HELD);
}
END_TEST

START_TEST(a_busy_mutex_is_not_borrowed)
{
	int claim = claim_path("s", NULL);
	pid_t holder = start_child(hold_mutex, "s");
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_BUSY);
	ck_assert_int_eq(lock.fd, -1);
	ck_assert_int_ge(fcntl(claim, F_GETFD), 0);
	kill_child(holder);
	ck_assert_int_eq(run_in_child(borrows, &claim), LOCKFILE_HELD); /* it is not excluded */
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_HELD);
	lockfile_release(&lock);
}
END_TEST

START_TEST(a_claim_on_another_file_cannot_be_borrowed)
{
	int claim = claim_path("s", NULL);
	struct lockfile lock = init_lock("t");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_NONE);
	write_file(LOCKFILE_PREFIX "t" LOCKFILE_SUFFIX, "");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_NONE);
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_HELD); /* and its mutex is not kept */
	lock = init_lock("s");
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, claim)), LOCKFILE_NONE);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock_through(&lock, -1)), LOCKFILE_NONE);
	ck_assert_int_ge(fcntl(claim, F_GETFD), 0);
}
END_TEST

/* The file description already has the claim. */
START_TEST(a_borrowed_file_is_not_claimed_again)
{
	struct lockfile lock = init_lock("s");
	int claim = claim_path("s", NULL);

	ck_assert_int_eq(lockfile_try_lock_through(&lock, claim), LOCKFILE_HELD);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	lockfile_release(&lock);
	ck_assert(is_claimed("s"));
}
END_TEST

/* A child may have released the borrowed mutex, so another file may be at the path. */
START_TEST(another_file_at_the_path_is_not_unlinked)
{
	struct lockfile lock = init_lock("s");
	int claim = claim_path("s", NULL);

	ck_assert_int_eq(lockfile_try_lock_through(&lock, claim), LOCKFILE_HELD);
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	write_file(FILE_OF_S, "another");
	KEEPS_ERRNO_VOID(lockfile_unlink(&lock));
	lockfile_release(&lock);
	ck_assert(exists(FILE_OF_S));
}
END_TEST

/* Another thread may release the claim meanwhile. The mutex must not stay locked. */
START_TEST(releasing_a_claim_releases_a_borrowed_mutex)
{
	int claim = claim_path("s", NULL);
	pid_t worker = start_child(do_nothing, NULL); /* holds a copy */
	struct lockfile lock = init_lock("s");

	ck_assert_int_eq(lockfile_try_lock_through(&lock, claim), LOCKFILE_HELD);
	lockfile_release_claim(claim);
	ck_assert_int_eq(try_lock_in_child("s"), LOCKFILE_HELD);
	kill_child(worker);
}
END_TEST

START_TEST(locking_after_borrowing_opens_the_file)
{
	int claim = claim_path("s", NULL);
	struct lockfile lock = init_lock("s");
	int before = count_descriptors();

	ck_assert_int_eq(lockfile_try_lock_through(&lock, claim), LOCKFILE_HELD);
	lockfile_release(&lock);
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	lockfile_release(&lock);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* ---- moving ---- */

static ino_t inode_number_of(const char *path)
{
	struct stat found;

	ck_assert_int_eq(lstat(path, &found), 0);
	return found.st_ino;
}

START_TEST(a_claimed_file_moves_with_its_path)
{
	struct file_id file;
	int claim = claim_path("a", &file);
	int before = count_descriptors();
	struct lockfile a = lock_path("a");
	struct lockfile b = lock_path("b");

	ck_assert(KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_uint_eq(inode_number_of(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), file.ino);
	ck_assert(file_same(&b.file, &file));
	ck_assert(lockfile_is_claimed(&b));
	ck_assert(!lockfile_is_claimed(&a));
	ck_assert_int_eq(try_lock_in_child("b"), LOCKFILE_BUSY);
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(is_claimed("b"));
	ck_assert(is_claim_descriptor(claim, &file));
	ck_assert_int_eq(try_lock_in_child("b"), LOCKFILE_HELD);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* A program may have closed its standard input. */
START_TEST(a_lock_file_on_descriptor_0_works)
{
	struct lockfile lock = init_lock("s");
	struct record record;

	close(STDIN_FILENO);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_int_eq(lock.fd, STDIN_FILENO);
	ck_assert(held_by_this_thread(&lock.file));
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), STDIN_FILENO);
	ck_assert(KEEPS_ERRNO(lockfile_read_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, sample.pid);
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert(!held_by_this_thread(&lock.file));
	ck_assert(is_claimed("s"));
	lockfile_release_claim(STDIN_FILENO);
	lock = init_lock("s");
	ck_assert(KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	ck_assert_int_eq(lock.fd, STDIN_FILENO);
	ck_assert(KEEPS_ERRNO(lockfile_is_unclaimed(&lock)));
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
	ASSERT_FAILS(fcntl(STDIN_FILENO, F_GETFD), EBADF);
}
END_TEST

START_TEST(a_lock_file_on_descriptor_0_is_moved_and_replaced)
{
	struct lockfile a = init_lock("a");
	struct lockfile b;

	ck_assert_int_ge(claim_path("a", NULL), 0);
	close(STDIN_FILENO);
	if (_i == 0)
		a = lock_path("a");
	b = lock_path("b");
	if (_i == 1)
		a = lock_path("a");
	ck_assert_int_eq(_i == 0 ? a.fd : b.fd, STDIN_FILENO);
	ck_assert(KEEPS_ERRNO(lockfile_move(&a, &b)));
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert(is_claimed("b"));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(a_move_voids_the_claims_on_its_target)
{
	struct file_id file;
	int old = claim_path("b", &file);
	int claim = claim_path("a", NULL);
	struct lockfile a = lock_path("a");
	struct lockfile b = lock_path("b");

	ck_assert(lockfile_move(&a, &b));
	ck_assert(is_void(old, &file));
	lockfile_release(&b);
	lockfile_release(&a);
	lockfile_release_claim(claim);
	ck_assert(!is_claimed("b"));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(a_new_file_at_the_old_path_is_unchanged)
{
	int claim = claim_path("a", NULL);
	struct lockfile a = lock_path("a");
	struct lockfile b = lock_path("b");
	struct lockfile next;

	ck_assert(lockfile_move(&a, &b));
	next = lock_path("a");
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert(exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	lockfile_release(&next);
	lockfile_release_claim(claim);
}
END_TEST

/* The process that created it relies on its path until it has acquired the mutex. */
START_TEST(an_unclaimed_file_is_not_moved)
{
	struct lockfile a = lock_path("a");
	struct lockfile b = lock_path("b");
	struct file_id file_a = a.file, file_b = b.file;

	ck_assert(!KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert_uint_eq(inode_number_of(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX), file_a.ino);
	ck_assert_uint_eq(inode_number_of(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), file_b.ino);
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(!exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(an_exchange_moves_both_claims)
{
	struct file_id file_a, file_b;
	int claim_a = claim_path("a", &file_a);
	int claim_b = claim_path("b", &file_b);
	struct lockfile a, b;

	if (_i > 0)
		close(STDIN_FILENO); /* then one of them is opened at 0 */
	if (_i < 2)
		a = lock_path("a");
	b = lock_path("b");
	if (_i == 2)
		a = lock_path("a");
	ck_assert(KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(file_same(&a.file, &file_b));
	ck_assert(file_same(&b.file, &file_a));
	ck_assert_uint_eq(inode_number_of(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX), file_b.ino);
	ck_assert_uint_eq(inode_number_of(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), file_a.ino);
	lockfile_release_claim(claim_b);
	ck_assert(lockfile_is_claimed(&b));
	ck_assert(!lockfile_is_claimed(&a));
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(is_claimed("b"));
	ck_assert(is_claim_descriptor(claim_a, &file_a));
}
END_TEST

static void assert_claim_moves(const char *from, const char *to)
{
	struct file_id file;
	int claim = claim_path(from, &file);
	struct lockfile a = lock_path("a");
	struct lockfile b = lock_path("b");

	ck_assert(KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert(is_claimed(to));
	ck_assert(!is_claimed(from));
	ck_assert(is_claim_descriptor(claim, &file));
	lockfile_release_claim(claim);
}

START_TEST(an_exchange_unlinks_an_unclaimed_file)
{
	assert_claim_moves("a", "b");
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_int_eq(unlink(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), 0);
	assert_claim_moves("b", "a");
	ck_assert(!exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
}
END_TEST

/* A move must not close a borrowed descriptor. */
START_TEST(a_borrowed_descriptor_stays_borrowed)
{
	struct file_id file;
	int claim = claim_path("a", &file);
	struct lockfile a = init_lock("a");
	int before = count_descriptors();
	struct lockfile b = lock_path("b");

	ck_assert_int_eq(lockfile_try_lock_through(&a, claim), LOCKFILE_HELD);
	ck_assert(lockfile_move(&a, &b));
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert_int_eq(count_descriptors(), before);
	ck_assert(is_claim_descriptor(claim, &file));
	ck_assert(is_claimed("b"));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(a_file_that_is_not_open_is_not_moved)
{
	struct lockfile a = lock_path("a");
	struct lockfile b = init_lock("b");

	ck_assert(!KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_move(&b, &a)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&b, &a)));
	ck_assert(exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_int_ge(lockfile_claim(&a, &sample), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&b, &a)));
	lockfile_release(&a);
	ck_assert(is_claimed("a"));
}
END_TEST

START_TEST(a_move_that_fails_changes_nothing)
{
	struct file_id file;
	int claim_a = claim_path("a", &file);
	int claim_b = claim_path("b", NULL);
	struct lockfile a = lock_path("a");
	struct lockfile b = lock_path("b");

	ck_assert_int_eq(unlink(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(file_same(&a.file, &file));
	ck_assert(exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
	lockfile_release_claim(claim_a);
	lockfile_release_claim(claim_b);
	lockfile_release(&a);
	lockfile_release(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
}
END_TEST

/* ---- which lock file belongs to a path, and to which user ---- */

START_TEST(a_lock_file_names_its_socket)
{
	char socket[64];

	ck_assert(lockfile_socket_path("d/.s.sockguard", socket, sizeof(socket)));
	ck_assert_str_eq(socket, "d/s");
	ck_assert(lockfile_socket_path(FILE_OF_S ".0123456789ab", socket, sizeof(socket)));
	ck_assert_str_eq(socket, "s");
	ck_assert(!lockfile_socket_path("d/xs.sockguard", socket, sizeof(socket)));
	ck_assert(!lockfile_socket_path("d/..sockguard", socket, sizeof(socket)));
	ck_assert(!lockfile_socket_path(FILE_OF_S ".0123456789", socket, sizeof(socket)));
	ck_assert(!lockfile_socket_path("d/.s.sockguard", socket, strlen("d/s")));
	ck_assert(lockfile_socket_path("d/.s.sockguard", socket, sizeof("d/s")));
}
END_TEST

/* The user of every file whose user has no ID in this user namespace. */
#define UNMAPPED 65534

static void become(uid_t user)
{
	ck_assert_int_eq(setresgid(user, user, user), 0);
	ck_assert_int_eq(setresuid(user, user, user), 0);
}

static void write_file_of(const char *path, uid_t user)
{
	write_file(path, "x");
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_int_eq(chown(path, user, user), 0);
}

static int distrusts(const void *user)
{
	struct lockfile lock;

	become(*(const uid_t *)user);
	lock = init_lock("s");
	return KEEPS_ERRNO(lockfile_open_readonly_valid(&lock)) ? lock.untrusted : -1;
}

START_TEST(only_files_of_the_own_user_and_root_are_trusted)
{
	static const struct {
		uid_t file_user, user;
		int distrusts;
	} files[] = {
		{STRANGER, STRANGER, false},
		{0, STRANGER, false},
		{0, 0, false},
		{STRANGER + 1, STRANGER, true},
		{STRANGER, 0, true},
		{UNMAPPED, UNMAPPED, true}, /* any user's */
		{UNMAPPED, 0, true},
	};

	write_file_of(FILE_OF_S, files[_i].file_user);
	ck_assert_int_eq(run_in_child(distrusts, &files[_i].user), files[_i].distrusts);
}
END_TEST
#define OWNERS 7

/* A process without an ID of its own cannot recognise its own files. */
static int lock_as_unmapped(const void *path)
{
	become(UNMAPPED);
	return try_lock(path);
}

START_TEST(an_unmapped_user_uses_no_file_in_a_sticky_directory)
{
	make_sticky();
	ck_assert_int_eq(run_in_child(lock_as_unmapped, "sticky/s"), LOCKFILE_NONE);
	ck_assert(!exists("sticky/" FILE_OF_S));
	write_file_of("sticky/" FILE_OF_S, UNMAPPED);
	ck_assert_int_eq(run_in_child(lock_as_unmapped, "sticky/s"), LOCKFILE_NONE);
	ck_assert(exists("sticky/" FILE_OF_S));
}
END_TEST

/* Only the user of the directory can create files there, so each file counts. */
START_TEST(in_a_sticky_directory_of_one_user_no_name_is_bypassed)
{
	struct lockfile lock = init_lock("sticky/s");

	make_sticky();
	ck_assert_int_eq(chmod("sticky", 01755), 0);
	write_file_of("sticky/" FILE_OF_S, STRANGER);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_str_eq(lock.path, "sticky/" FILE_OF_S);
	lockfile_release(&lock);
}
END_TEST

/* In such a directory, no process could find an alternate name. */
START_TEST(in_an_unreadable_sticky_directory_a_planted_file_leaves_no_lock_file)
{
	make_sticky();
	ck_assert_int_eq(chmod("sticky", 01733), 0);
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_HELD);
	write_file_of("sticky/" FILE_OF_S, STRANGER + 1);
	start_child(acquire_lease, "sticky/" FILE_OF_S); /* is not waited for */
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_NONE);
}
END_TEST

START_TEST(without_write_permission_there_is_no_lock_file_in_a_sticky_directory)
{
	make_sticky();
	ck_assert_int_eq(chmod("sticky", 01775), 0); /* for root's group */
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_NONE);
	ck_assert(!exists("sticky/" FILE_OF_S));
}
END_TEST

/* A child of the process that claimed the file has a copy of the claim's descriptor. */
static int locks_through(const void *claim)
{
	struct lockfile lock = init_lock("sticky/s");
	enum lockfile_state state;

	become(STRANGER);
	state = KEEPS_ERRNO(lockfile_try_lock_through(&lock, *(const int *)claim));
	KEEPS_ERRNO_VOID(lockfile_release(&lock));
	return (int)state;
}

START_TEST(a_process_that_changed_its_user_may_borrow_in_a_sticky_directory)
{
	int claim;

	make_sticky();
	claim = claim_path("sticky/s", NULL);
	ck_assert_int_eq(run_in_child(locks_through, &claim), LOCKFILE_HELD);
	ck_assert_int_eq(unlink("sticky/" FILE_OF_S), 0);
	ck_assert_int_eq(run_in_child(locks_through, &claim), LOCKFILE_NONE);
}
END_TEST

static struct file_id sought;

static bool is_sought(const struct kernel_file *found)
{
	const struct file_id file = file_id_of(found);

	return file_same(&file, &sought);
}

static int finds_claimed(const void *path)
{
	struct lockfile lock = init_lock("sticky/s");

	become(STRANGER);
	return KEEPS_ERRNO(lockfile_find_claimed(&lock, is_sought)) && strcmp(lock.path, path) == 0;
}

START_TEST(a_process_that_changed_its_user_finds_its_claimed_file)
{
	make_sticky();
	claim_path("sticky/s", &sought);
	ck_assert_int_eq(run_in_child(finds_claimed, "sticky/" FILE_OF_S), 1);
	ck_assert_int_eq(rename("sticky/" FILE_OF_S, ALTERNATE), 0);
	ck_assert_int_eq(run_in_child(finds_claimed, ALTERNATE), 1); /* the plain name is free */
	write_file_of("sticky/" FILE_OF_S, STRANGER);
	ck_assert_int_eq(run_in_child(finds_claimed, ALTERNATE), 0);
	write_file_of("sticky/" FILE_OF_S, STRANGER + 1);
	ck_assert_int_eq(run_in_child(finds_claimed, ALTERNATE), 1);
	ck_assert_int_eq(unlink(ALTERNATE), 0);
	ck_assert_int_eq(run_in_child(finds_claimed, "sticky/" FILE_OF_S), 0);
}
END_TEST

static int joins(const void *user)
{
	struct lockfile lock = init_lock("sticky/s");

	become(*(const uid_t *)user);
	return join_claim(&lock, NULL) >= 0;
}

START_TEST(in_a_sticky_directory_only_an_own_file_is_joined)
{
	static const struct {
		uid_t file_user, user;
		int joins;
	} files[] = {
		{STRANGER, STRANGER, true}, {STRANGER + 1, STRANGER, false},
		{UNMAPPED, UNMAPPED, false}, /* any user's */
	};

	make_sticky();
	write_file_of("sticky/" FILE_OF_S, files[_i].file_user);
	ck_assert_int_eq(run_in_child(joins, &files[_i].user), files[_i].joins);
}
END_TEST

START_TEST(only_a_valid_file_is_opened_readonly_where_that_matters)
{
	struct lockfile lock = init_lock("s");
	int before = count_descriptors();

	write_file("victim", "x");
	ck_assert_int_eq(link("victim", FILE_OF_S), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly_valid(&lock)));
	ck_assert_int_eq(lock.fd, -1);
	ck_assert_int_eq(count_descriptors(), before);
	ck_assert(KEEPS_ERRNO(lockfile_open_readonly(&lock)));
	lockfile_release(&lock);
	ck_assert_int_eq(unlink("victim"), 0);
	ck_assert(KEEPS_ERRNO(lockfile_open_readonly_valid(&lock)));
	lockfile_release(&lock);
}
END_TEST

START_TEST(another_users_file_in_a_sticky_directory_is_not_valid)
{
	struct lockfile lock = init_lock("sticky/s");

	make_sticky();
	write_file_of("sticky/" FILE_OF_S, STRANGER);
	ck_assert(!KEEPS_ERRNO(lockfile_open_readonly_valid(&lock)));
}
END_TEST

START_TEST(a_record_of_another_boot_is_remote_unless_a_local_process_claims_it)
{
	struct record record;
	struct lockfile lock;

	fake_kernel(&(struct fake_results){.filesystem = EXT4_TYPE});
	record_describe_caller(&record, -1);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	lock = lock_path("s");
	ck_assert(KEEPS_ERRNO(lockfile_record_is_remote(&lock, &record)));
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_record_is_remote(&lock, &record)));
	lockfile_release(&lock);
}
END_TEST

/* ---- other processes, at the worst moment ---- */

static const char *disturbed; /* a path */
static void (*disturb)(void); /* is called after each attempt to open it */
static int disturbances;      /* how often */
static int open_result;       /* of that attempt */

static long disturbing_syscall(long number, const long arguments[6])
{
	long result = make_call(number, arguments);

	if (number != SYS_openat || strcmp((const char *)arguments[1], disturbed) != 0)
		return result;
	disturbances++;
	open_result = (int)result;
	errno = result < 0 ? errno : 0;
	disturb();
	return open_result;
}

static void let_disturb(const char *path, void (*act)(void))
{
	disturbed = path;
	disturb = act;
	replace_system_calls(disturbing_syscall);
}

static void do_not_disturb(void)
{
}

/* The other user could keep the lease for any length of time, or acquire it again. */
START_TEST(an_untrusted_lease_is_not_tried_again)
{
	struct lockfile lock = init_lock("s");

	write_file_of(FILE_OF_S, STRANGER);
	start_child(acquire_lease, FILE_OF_S);
	let_disturb(FILE_OF_S, do_not_disturb);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_BUSY);
	ck_assert(lock.untrusted);
	ck_assert_int_eq(disturbances, 1);
}
END_TEST

static void write_record_of_another(void)
{
	char text[RECORD_SIZE + 1] = {0};

	if (disturbances > 1)
		return;
	record_format(&sample, text);
	write_file(disturbed, text);
}

/* The other process acquires the mutex between our creation of the file and our lock. */
START_TEST(a_file_that_another_process_claims_first_is_not_taken_for_empty)
{
	struct lockfile lock = init_lock("s");
	struct record record;

	let_disturb(FILE_OF_S, write_record_of_another);
	lock.will_claim = true;
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert(lock.has_content);
	ck_assert(!lock.known_unclaimed);
	ck_assert(lockfile_read_record(&lock, &record));
	ck_assert_uint_eq(record.pid, sample.pid);
	lockfile_release(&lock);
}
END_TEST

static void move_record_of_another(void)
{
	write_record_of_another();
	if (disturbances == 1)
		ck_assert_int_eq(rename(disturbed, LOCKFILE_PREFIX "t" LOCKFILE_SUFFIX), 0);
}

/* A claimed file may be renamed. Then its mutex protects another path. */
START_TEST(a_file_that_another_process_claims_and_renames_is_not_used)
{
	struct lockfile lock = init_lock("s");

	let_disturb(FILE_OF_S, move_record_of_another);
	lock.will_claim = true;
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert(!lock.has_content);
	ck_assert_int_eq(try_lock("t"), LOCKFILE_HELD);
	lockfile_release(&lock);
}
END_TEST

static void unlink_disturbed(void)
{
	if (disturbances == 1)
		ck_assert_int_eq(unlink(disturbed), 0);
}

static void unlink_on_second_attempt(void)
{
	if (disturbances == 2) /* the first was the attempt to create it */
		ck_assert_int_eq(unlink(disturbed), 0);
}

START_TEST(an_own_file_in_a_sticky_directory_may_be_removed_while_it_is_opened)
{
	struct lockfile lock = init_lock("sticky/s");

	make_sticky();
	write_file("sticky/" FILE_OF_S, "left by a crash");
	let_disturb("sticky/" FILE_OF_S, unlink_on_second_attempt);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert(exists("sticky/" FILE_OF_S));
	ck_assert(!lock.has_content);
}
END_TEST

/* Two files of ours, one of which another process removes meanwhile. */
START_TEST(a_second_own_file_may_be_removed_while_it_is_opened)
{
	struct lockfile lock = init_lock("sticky/s");
	int before = count_descriptors();

	make_sticky_with_two_files();
	let_disturb(ALTERNATE, unlink_disturbed);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_int_eq(disturbances, 1);
	ck_assert_str_eq(lock.path, "sticky/" FILE_OF_S);
	lockfile_release(&lock);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

static void deny(void)
{
	if (open_result >= 0)
		close(open_result);
	open_result = -1;
	errno = ENOENT;
}

/* The other process removes and creates it again and again. */
START_TEST(a_second_own_file_that_comes_and_goes_is_not_waited_for_without_end)
{
	make_sticky_with_two_files();
	let_disturb(ALTERNATE, deny);
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_BUSY);
	ck_assert_int_gt(disturbances, 1);
}
END_TEST

/* Then it cannot be determined which of the two is claimed. */
START_TEST(a_second_own_file_with_a_lease_is_waited_for)
{
	make_sticky_with_two_files();
	start_child(acquire_lease, ALTERNATE);
	let_disturb(ALTERNATE, do_not_disturb);
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_BUSY);
	ck_assert_int_eq(disturbances, 1);
	ck_assert(exists(ALTERNATE));
}
END_TEST

static void deny_once(void)
{
	if (disturbances == 2) /* the first was the attempt to create it */
		deny();
}

START_TEST(an_own_file_in_a_sticky_directory_that_is_just_removed_is_tried_again)
{
	make_sticky();
	write_file("sticky/" FILE_OF_S, "");
	let_disturb("sticky/" FILE_OF_S, deny_once);
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_HELD);
	ck_assert_int_gt(disturbances, 2);
}
END_TEST

static void plant_leased(void)
{
	plant_empty();
	start_child(acquire_lease, disturbed);
}

static void plant_symlink(void)
{
	ck_assert_int_eq(symlink("nowhere", disturbed), 0);
}

static void plant_socket(void)
{
	bound_socket(disturbed, SOCK_STREAM);
}

static void (*const all_plants[])(void) = {
	plant_empty, plant_leased, plant_symlink, plant_directory, plant_socket, plant_fifo};
enum { PLANTS = sizeof(all_plants) / sizeof(*all_plants) };

static void (*plant)(void);

static void plant_on_second_attempt(void)
{
	if (disturbances != 2) /* the first was the attempt to create it */
		return;
	close(open_result);
	ck_assert_int_eq(unlink(disturbed), 0);
	plant();
	errno = 0;
	open_result = open(disturbed, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/*
 * A process of our user unlinks our file after shared_find has found it, and another user plants
 * something there before we open it. Without a mutex, our call could remove a rival's socket.
 */
START_TEST(what_replaces_an_own_file_in_a_sticky_directory_is_bypassed)
{
	struct lockfile lock = init_lock("sticky/s");

	make_sticky();
	write_file("sticky/" FILE_OF_S, "");
	plant = all_plants[_i];
	let_disturb("sticky/" FILE_OF_S, plant_on_second_attempt);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_str_ne(lock.path, "sticky/" FILE_OF_S);
	ck_assert(!lock.untrusted);
	lockfile_release(&lock);
}
END_TEST

/* Another process of our user creates a file at the name before the second lookup. */
static void plant_and_replace_on_second_attempt(void)
{
	plant_on_second_attempt();
	if (disturbances != 2)
		return;
	ck_assert_int_eq(errno, ELOOP);
	ck_assert_int_eq(unlink(disturbed), 0);
	write_file(disturbed, "");
	errno = ELOOP;
}

START_TEST(what_replaced_an_own_file_for_a_moment_only_is_bypassed)
{
	make_sticky();
	write_file("sticky/" FILE_OF_S, "");
	plant = plant_symlink;
	let_disturb("sticky/" FILE_OF_S, plant_and_replace_on_second_attempt);
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_HELD);
	ck_assert_int_gt(disturbances, 2);
}
END_TEST

static int create_error;

static long creation_fails(long number, const long arguments[6])
{
	if (number != SYS_openat || !(arguments[2] & O_CREAT))
		return make_call(number, arguments);
	errno = create_error;
	return -1;
}

/* Another user may have filled the file system, and removed the file at the plain name. */
START_TEST(without_space_an_existing_alternate_is_used)
{
	static const int errors[] = {ENOSPC, EDQUOT};
	struct lockfile lock = init_lock("sticky/s");

	make_sticky();
	create_error = errors[_i];
	replace_system_calls(creation_fails);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_NONE);
	write_file(ALTERNATE, "");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_str_eq(lock.path, ALTERNATE);
	lockfile_release(&lock);
}
END_TEST

/* Its failure to open is then no reason to try again. No crash leaves such a file with contents. */
START_TEST(an_own_file_in_a_sticky_directory_that_cannot_be_opened_is_not_used)
{
	make_sticky();
	write_file_of("sticky/" FILE_OF_S, STRANGER);
	ck_assert_int_eq(chmod("sticky/" FILE_OF_S, 0), 0);
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_NONE);
	ck_assert_uint_eq(mode_of("sticky/" FILE_OF_S), S_IFREG);
}
END_TEST

/* The creator was killed before it set the mode that its umask had denied. */
static void write_closed_file(const char *path, uid_t user, mode_t mode)
{
	write_file(path, "");
	ck_assert_int_eq(chown(path, user, user), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static int try_lock_in_open_directory(const char *path)
{
	ck_assert_int_eq(chmod(".", 0777), 0);
	return run_as_stranger(try_lock, path);
}

START_TEST(an_own_file_without_permissions_is_used)
{
	static const mode_t modes[] = {0, 0200, 0400, 0177};

	make_sticky();
	write_closed_file(FILE_OF_S, STRANGER, modes[_i]);
	ck_assert_int_eq(try_lock_in_open_directory("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
	write_closed_file("sticky/" FILE_OF_S, STRANGER, modes[_i]);
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_HELD);
	ck_assert(!exists("sticky/" FILE_OF_S));
	write_closed_file(ALTERNATE, STRANGER, modes[_i]);
	ck_assert_int_eq(run_as_stranger(try_lock, "sticky/s"), LOCKFILE_HELD);
	ck_assert(!exists(ALTERNATE));
}
END_TEST

START_TEST(another_users_file_without_permissions_is_not_used)
{
	write_closed_file(FILE_OF_S, STRANGER + 1, 0);
	ck_assert_int_eq(try_lock_in_open_directory("s"), LOCKFILE_NONE);
	ck_assert_uint_eq(mode_of(FILE_OF_S), S_IFREG);
}
END_TEST

/* Another user plants a symbolic link to a file of ours after we have failed to open our own. */
static long replace_by_symlink(long number, const long arguments[6])
{
	if (number == SYS_openat && (arguments[2] & O_PATH)) {
		unlink(FILE_OF_S);
		ck_assert_int_eq(symlink("other", FILE_OF_S), 0);
	}
	return make_call(number, arguments);
}

/* The same after we have pinned it. */
static long replace_when_pinned(long number, const long arguments[6])
{
	if (number == SYS_fchmodat)
		ck_assert_int_eq(rename("other", FILE_OF_S), 0);
	return make_call(number, arguments);
}

static long fchmodat_fails(long number, const long arguments[6])
{
	errno = ENOENT;
	return number == SYS_fchmodat ? -1 : make_call(number, arguments);
}

static long pin_fails(long number, const long arguments[6])
{
	errno = ENOENT;
	return number == SYS_openat && (arguments[2] & O_PATH) ? -1 : make_call(number, arguments);
}

static long fstat_fails(long number, const long arguments[6])
{
	errno = EIO;
	return number == CALL_FSTAT ? -1 : make_call(number, arguments);
}

START_TEST(only_the_mode_of_the_lock_file_is_changed)
{
	static long (*const replacements[])(long, const long[6]) = {
		replace_by_symlink, replace_when_pinned, fchmodat_fails, pin_fails, fstat_fails};
	static const char *const names[] = {"other", FILE_OF_S, FILE_OF_S, FILE_OF_S, FILE_OF_S};

	write_closed_file(FILE_OF_S, STRANGER, 0);
	write_closed_file("other", STRANGER, 0);
	replace_system_calls(replacements[_i]);
	ck_assert_int_eq(try_lock_in_open_directory("s"), LOCKFILE_NONE);
	ck_assert_uint_eq(mode_of(names[_i]), S_IFREG);
}
END_TEST

START_TEST(the_lease_of_an_own_file_in_a_sticky_directory_is_not_waited_for)
{
	make_sticky();
	write_file("sticky/" FILE_OF_S, "");
	start_child(acquire_lease, "sticky/" FILE_OF_S);
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_BUSY);
	ck_assert(exists("sticky/" FILE_OF_S));
}
END_TEST

/* Another process of our user has just created the same alternate. */
static long collide_once(long number, const long arguments[6])
{
	long result = make_call(number, arguments);

	if (number != SYS_openat || !(arguments[2] & O_CREAT) || result < 0 || disturbances++ > 0)
		return result;
	close((int)result);
	errno = EEXIST;
	return -1;
}

START_TEST(an_alternate_that_was_just_created_is_used)
{
	struct lockfile lock = init_lock("sticky/s");

	make_sticky();
	plant_empty();
	replace_system_calls(collide_once);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_HELD);
	ck_assert_int_eq(disturbances, 1);
	ck_assert_str_ne(lock.path, "sticky/" FILE_OF_S);
	lockfile_release(&lock);
}
END_TEST

/* ---- forks of other threads ---- */

static void *fork_once(void *about)
{
	held_before_fork();
	held_after_fork_in_parent();
	return about;
}

static void *stay_in_fork(void *about)
{
	held_before_fork();
	return about;
}

static void run_in_thread(void *(*act)(void *about))
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, act, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void fork_elsewhere(void)
{
	int saved = errno;

	run_in_thread(fork_once);
	errno = saved;
}

/* Replaces the guard's sleep, so that its waits end at once. */
static long sleepless_syscall(long number, const long arguments[6])
{
	long result;

	if (number == CALL_SLEEP)
		return 0;
	result = make_call(number, arguments);
	if (number == SYS_openat && disturb)
		disturb();
	return result;
}

/*
 * The fork waits for the opening, but not for ever. Its child has a copy of the descriptor, which
 * was not registered yet, and would keep the mutex.
 */
START_TEST(a_file_that_is_opened_during_a_fork_is_closed_again)
{
	int before = count_descriptors();

	disturb = fork_elsewhere;
	replace_system_calls(sleepless_syscall);
	ck_assert_int_eq(try_lock("absent/s"), LOCKFILE_NONE);
	ck_assert_int_eq(try_lock("s"), LOCKFILE_BUSY);
	ck_assert_int_eq(count_descriptors(), before);
	disturb = NULL;
	ck_assert_int_eq(try_lock("s"), LOCKFILE_HELD);
}
END_TEST

/* The same if the opening waits for the fork. */
START_TEST(an_opening_waits_for_no_fork_without_end)
{
	struct lockfile lock = init_lock("s");
	int before = count_descriptors();

	replace_system_calls(sleepless_syscall);
	run_in_thread(stay_in_fork);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try_lock(&lock)), LOCKFILE_BUSY);
	ck_assert(lock.fork_hangs);
	ck_assert(!exists(FILE_OF_S));
	ck_assert_int_eq(count_descriptors(), before);
	held_after_fork_in_child(); /* no other thread is inside fork any more */
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	ck_assert(!lock.fork_hangs);
}
END_TEST

static long fork_during_listing(long number, const long arguments[6])
{
	if (number == SYS_getdents64) {
		disturbances++;
		held_before_fork();
		held_after_fork_in_parent();
	}
	return sleepless_syscall(number, arguments);
}

/* Other users decide how long a listing takes. A fork that waited for one would end it as above. */
START_TEST(a_fork_does_not_wait_for_the_listing_of_a_directory)
{
	make_sticky();
	ck_assert_int_eq(mkdir("sticky/" FILE_OF_S, 0700), 0);
	disturbances = 0;
	replace_system_calls(fork_during_listing);
	ck_assert_int_eq(try_lock("sticky/s"), LOCKFILE_HELD);
	ck_assert_int_gt(disturbances, 0);
}
END_TEST

static void add_ownership_and_races(TCase *cases)
{
	tcase_add_test(cases, a_lock_file_names_its_socket);
	if (suite_is_root("only_files_of_the_own_user_and_root_are_trusted"))
		tcase_add_loop_test(cases, only_files_of_the_own_user_and_root_are_trusted, 0,
			OWNERS);
	ADD_ROOT_TEST(cases, an_unmapped_user_uses_no_file_in_a_sticky_directory);
	ADD_ROOT_TEST(cases, in_a_sticky_directory_of_one_user_no_name_is_bypassed);
	ADD_ROOT_TEST(cases, in_an_unreadable_sticky_directory_a_planted_file_leaves_no_lock_file);
	ADD_ROOT_TEST(cases, without_write_permission_there_is_no_lock_file_in_a_sticky_directory);
	ADD_ROOT_TEST(cases, a_process_that_changed_its_user_may_borrow_in_a_sticky_directory);
	ADD_ROOT_TEST(cases, a_process_that_changed_its_user_finds_its_claimed_file);
	if (suite_is_root("in_a_sticky_directory_only_an_own_file_is_joined"))
		tcase_add_loop_test(cases, in_a_sticky_directory_only_an_own_file_is_joined, 0, 3);
	tcase_add_test(cases, only_a_valid_file_is_opened_readonly_where_that_matters);
	ADD_ROOT_TEST(cases, another_users_file_in_a_sticky_directory_is_not_valid);
	ADD_ROOT_TEST(cases, an_untrusted_lease_is_not_tried_again);
	tcase_add_test(cases, a_record_of_another_boot_is_remote_unless_a_local_process_claims_it);
	tcase_add_test(cases, a_file_that_another_process_claims_first_is_not_taken_for_empty);
	tcase_add_test(cases, a_file_that_another_process_claims_and_renames_is_not_used);
	tcase_add_test(cases, an_own_file_in_a_sticky_directory_may_be_removed_while_it_is_opened);
	tcase_add_test(cases, a_second_own_file_may_be_removed_while_it_is_opened);
	tcase_add_test(cases, a_second_own_file_that_comes_and_goes_is_not_waited_for_without_end);
	tcase_add_test(cases, a_second_own_file_with_a_lease_is_waited_for);
	tcase_add_test(cases,
		an_own_file_in_a_sticky_directory_that_is_just_removed_is_tried_again);
	if (suite_is_root("what_replaces_an_own_file_in_a_sticky_directory_is_bypassed"))
		tcase_add_loop_test(cases,
			what_replaces_an_own_file_in_a_sticky_directory_is_bypassed, 0, PLANTS);
	ADD_ROOT_TEST(cases, an_own_file_in_a_sticky_directory_that_cannot_be_opened_is_not_used);
	ADD_ROOT_TEST(cases, another_users_file_without_permissions_is_not_used);
	if (suite_is_root("an_own_file_without_permissions_is_used")) {
		tcase_add_loop_test(cases, an_own_file_without_permissions_is_used, 0, 4);
		tcase_add_loop_test(cases, only_the_mode_of_the_lock_file_is_changed, 0, 5);
	}
	tcase_add_test(cases, what_replaced_an_own_file_for_a_moment_only_is_bypassed);
	tcase_add_loop_test(cases, without_space_an_existing_alternate_is_used, 0, 2);
	tcase_add_test(cases, the_lease_of_an_own_file_in_a_sticky_directory_is_not_waited_for);
	ADD_ROOT_TEST(cases, an_alternate_that_was_just_created_is_used);
	tcase_add_test(cases, a_file_that_is_opened_during_a_fork_is_closed_again);
	tcase_add_test(cases, an_opening_waits_for_no_fork_without_end);
	tcase_add_test(cases, a_fork_does_not_wait_for_the_listing_of_a_directory);
}

static void add_names(TCase *cases)
{
	tcase_add_test(cases, the_lock_file_is_beside_the_socket);
	tcase_add_test(cases, the_longest_name_fits);
	tcase_add_test(cases, a_longer_name_has_no_lock_file);
	tcase_add_test(cases, a_path_is_relative_to_its_directory);
}

static void add_mutex(TCase *cases)
{
	tcase_add_loop_test(cases, locking_creates_a_private_file, 0, 8);
	tcase_add_test(cases, a_locked_mutex_is_busy);
	tcase_add_test(cases, a_crash_releases_the_mutex);
	tcase_add_test(cases, releasing_unlinks_an_unclaimed_file);
	tcase_add_test(cases, releasing_unlinks_a_file_left_by_a_crash);
	tcase_add_test(cases, releasing_keeps_a_claimed_file);
	tcase_add_test(cases, releasing_unlocks_although_a_forked_child_has_a_copy);
	tcase_add_test(cases, a_forked_child_closes_held_mutexes);
	tcase_add_test(cases, a_forked_child_closes_nothing_else);
	tcase_add_test(cases, a_forked_child_keeps_a_borrowed_claim);
	tcase_add_test(cases, a_file_is_unlinked_only_once);
	tcase_add_test(cases, the_mutex_of_an_unlinked_file_delays_no_process);
	tcase_add_test(cases, one_process_at_a_time_holds_the_mutex_while_files_are_replaced);
	tcase_add_test(cases, more_mutexes_than_can_be_registered_are_busy);
	tcase_add_test(cases, the_last_mutex_that_can_be_registered_stays_at_its_number);
	tcase_add_test(cases, a_closed_mutex_is_not_held);
	tcase_add_test(cases, another_threads_mutex_is_not_held_by_this_thread);
}

static void add_none(TCase *cases)
{
	tcase_add_test(cases, a_symlink_is_not_followed);
	tcase_add_test(cases, a_fifo_is_not_waited_for);
	tcase_add_test(cases, a_directory_or_socket_at_the_path_is_unchanged);
	tcase_add_test(cases, a_file_with_two_links_is_not_used);
	tcase_add_test(cases, without_a_directory_there_is_no_lock_file);
	tcase_add_test(cases, without_descriptors_there_is_no_lock_file);
	ADD_ROOT_TEST(cases, without_write_permission_there_is_no_lock_file);
	ADD_ROOT_TEST(cases, another_users_file_in_a_sticky_directory_is_not_used);
	ADD_ROOT_TEST(cases, the_file_of_the_directorys_user_in_a_sticky_directory_is_used);
	ADD_ROOT_TEST(cases, our_own_file_in_a_sticky_directory_is_used);
	if (suite_is_root("a_planted_file_in_a_sticky_directory_is_bypassed"))
		tcase_add_loop_test(cases, a_planted_file_in_a_sticky_directory_is_bypassed, 0, 4);
	tcase_add_test(cases, one_of_two_own_files_in_a_sticky_directory_remains);
	tcase_add_loop_test(cases, the_claimed_one_of_two_own_files_in_a_sticky_directory_remains,
		0, 2);
	tcase_add_loop_test(cases, two_own_files_in_a_sticky_directory_must_both_be_free, 0, 2);
	ADD_ROOT_TEST(cases, another_users_file_in_our_directory_is_used);
	tcase_add_test(cases, a_lease_is_not_waited_for);
}

static void add_forbidden(TCase *cases)
{
	tcase_add_loop_test(cases, without_locks_no_file_remains, 0, 3);
	tcase_add_test(cases, without_memory_for_locks_the_file_remains);
	tcase_add_test(cases, a_forbidden_lookup_is_not_waited_for);
	tcase_add_loop_test(cases, a_file_unlinked_while_it_is_opened_is_opened_again, 0, 2);
	ADD_ROOT_TEST(cases, another_users_file_in_an_inaccessible_directory_is_not_waited_for);
	tcase_add_test(cases, a_file_whose_fstat_fails_is_not_used);
	tcase_add_test(cases, a_file_whose_lookup_fails_is_not_joined);
	tcase_add_test(cases, a_file_that_cannot_be_written_is_not_claimed);
	tcase_add_test(cases, without_the_limit_a_claim_keeps_its_low_number);
}

static void add_claims(TCase *cases)
{
	tcase_add_test(cases, a_claim_outlives_the_mutex);
	tcase_add_test(cases, other_processes_see_a_claim_until_its_owner_ends);
	tcase_add_test(cases, a_forked_child_keeps_the_claim);
	tcase_add_test(cases, a_forked_child_that_closes_its_copy_releases_nothing);
	tcase_add_test(cases, releasing_a_claim_releases_it_for_forked_children);
	tcase_add_test(cases, claims_are_shared);
	tcase_add_test(cases, a_claim_for_an_unknown_network_namespace_shows_none);
	if (suite_has_named_devices("claims seen in /proc/locks")) {
		tcase_add_test(cases, a_claim_shows_its_network_namespace);
		tcase_add_test(cases, only_a_valid_lock_file_shows_a_network_namespace);
		tcase_add_test(cases, in_a_sticky_directory_no_file_shows_a_network_namespace);
	}
	tcase_add_test(cases, unlinking_the_file_voids_the_claim);
	tcase_add_test(cases, a_claim_has_a_high_descriptor);
	tcase_add_test(cases, a_claim_stays_below_a_low_limit);
	tcase_add_test(cases, a_claim_comes_with_a_record);
	tcase_add_test(cases, a_record_says_left_and_then_held_again);
	tcase_add_test(cases, a_record_replaces_earlier_contents);
	tcase_add_test(cases, without_a_record_there_is_no_claim);
	tcase_add_test(cases, without_a_file_there_is_no_claim_and_no_record);
	tcase_add_loop_test(cases, joining_acquires_a_separate_claim, 0, 2);
	tcase_add_test(cases, joining_waits_for_no_mutex);
	tcase_add_test(cases, joining_creates_no_file);
	tcase_add_test(cases, an_empty_file_is_not_joined);
	tcase_add_test(cases, a_claim_that_cannot_be_acquired_is_not_joined);
	tcase_add_test(cases, an_unlinked_file_is_not_claimed);
	tcase_add_test(cases, a_claim_whose_descriptor_was_closed_is_lost);
	tcase_add_test(cases, opening_readonly_changes_no_file);
	tcase_add_test(cases, opening_readonly_needs_no_mutex);
	tcase_add_test(cases, opening_readonly_is_only_for_regular_files);
}

static void add_borrowing_and_moving(TCase *cases)
{
	tcase_add_test(cases, the_descriptor_of_a_claim_may_be_borrowed);
	tcase_add_test(cases, a_claim_is_recognised_if_a_filter_forbids_locks);
	tcase_add_test(cases, a_borrowed_mutex_excludes_others);
	tcase_add_test(cases, a_borrowed_mutex_excludes_a_forked_process);
	tcase_add_test(cases, a_file_that_could_not_be_borrowed_is_opened_and_closed);
	tcase_add_test(cases, a_mutex_is_borrowed_without_locks_of_the_process);
	tcase_add_test(cases, a_busy_mutex_is_not_borrowed);
	tcase_add_test(cases, a_claim_on_another_file_cannot_be_borrowed);
	tcase_add_test(cases, a_borrowed_file_is_not_claimed_again);
	tcase_add_test(cases, another_file_at_the_path_is_not_unlinked);
	tcase_add_test(cases, releasing_a_claim_releases_a_borrowed_mutex);
	tcase_add_test(cases, locking_after_borrowing_opens_the_file);
	tcase_add_test(cases, a_claimed_file_moves_with_its_path);
	tcase_add_test(cases, a_lock_file_on_descriptor_0_works);
	tcase_add_loop_test(cases, a_lock_file_on_descriptor_0_is_moved_and_replaced, 0, 2);
	tcase_add_test(cases, a_move_voids_the_claims_on_its_target);
	tcase_add_test(cases, a_new_file_at_the_old_path_is_unchanged);
	tcase_add_test(cases, an_unclaimed_file_is_not_moved);
	tcase_add_loop_test(cases, an_exchange_moves_both_claims, 0, 3);
	tcase_add_test(cases, an_exchange_unlinks_an_unclaimed_file);
	tcase_add_test(cases, a_borrowed_descriptor_stays_borrowed);
	tcase_add_test(cases, a_file_that_is_not_open_is_not_moved);
	tcase_add_test(cases, a_move_that_fails_changes_nothing);
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("lockfile");

	add_names(suite_cases(suite, "names"));
	add_mutex(suite_cases(suite, "mutex"));
	add_none(suite_cases(suite, "none"));
	add_forbidden(suite_cases(suite, "forbidden"));
	add_claims(suite_cases(suite, "claims"));
	add_borrowing_and_moving(suite_cases(suite, "borrowing"));
	add_ownership_and_races(suite_cases(suite, "ownership"));
	return suite;
}
