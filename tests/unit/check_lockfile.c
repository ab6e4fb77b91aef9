#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "held.h"
#include "lockfile.h"
#include "shared.h"
#include "suite.h"

#define FILE_OF_S LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX

static const struct record sample = {.pid = 790, .uid = 33, .time = 1, .comm = "gunicorn"};

static struct lockfile named(const char *path)
{
	struct lockfile lock;

	KEEPS_ERRNO_VOID(lockfile_name(&lock, AT_FDCWD, path));
	return lock;
}

/* What a try says, in whatever process; a mutex that is had is given back. */
static int try_for(const void *path)
{
	struct lockfile lock = named(path);
	enum lockfile_state state = KEEPS_ERRNO(lockfile_try(&lock));

	if (state == LOCKFILE_HELD)
		KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	return (int)state;
}

static int tried_elsewhere(const char *path)
{
	return in_child(try_for, path);
}

static struct lockfile taken(const char *path)
{
	struct lockfile lock = named(path);

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_HELD);
	return lock;
}

/* Does anybody claim it? Looks without a trace. */
static bool is_claimed(const char *path)
{
	struct lockfile lock = named(path);
	bool claimed = KEEPS_ERRNO(lockfile_peek(&lock)) && KEEPS_ERRNO(lockfile_claimed(&lock));

	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	return claimed;
}

/* As who is about to bind takes it. */
static struct lockfile taken_to_claim(const char *path)
{
	struct lockfile lock = named(path);

	lock.to_claim = true;
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_HELD);
	return lock;
}

/* The descriptor is the claim's, whatever became of the file since. */
static bool is_claim_on(int claim, const struct file_id *file)
{
	enum claim state = KEEPS_ERRNO(lockfile_claim_state(claim, file));

	return state == CLAIM_STANDS || state == CLAIM_VOID;
}

static bool is_void(int claim, const struct file_id *file)
{
	return KEEPS_ERRNO(lockfile_claim_state(claim, file)) == CLAIM_VOID;
}

static int joined(struct lockfile *lock, struct file_id *file)
{
	struct file_id unused;

	return KEEPS_ERRNO(lockfile_join(lock, file ? file : &unused));
}

/* A claim on a path, with the mutex given back. Its file goes to file, unless that is NULL. */
static int claimed(const char *path, struct file_id *file)
{
	struct lockfile lock = taken_to_claim(path);
	int claim = KEEPS_ERRNO(lockfile_claim(&lock, &sample));

	ck_assert_int_ge(claim, 0);
	if (file)
		*file = lock.file;
	lockfile_leave(&lock);
	return claim;
}

static void take_in_child(const void *path)
{
	taken(path);
}

static void claim_in_child(const void *path)
{
	claimed(path, NULL);
}

static mode_t mode_of(const char *path)
{
	struct stat found;

	ck_assert_int_eq(lstat(path, &found), 0);
	return found.st_mode;
}

/* ---- names ---- */

START_TEST(the_file_lies_beside_the_socket)
{
	struct lockfile lock = named("dir/app.sock");

	ck_assert_str_eq(lock.path, "dir/.app.sock.sockguard");
	ck_assert_int_eq(lock.fd, -1);
	ck_assert(!exists("dir"));
}
END_TEST

START_TEST(the_longest_name_fits)
{
	char path[2 * LOCKFILE_PATH];
	size_t longest = LOCKFILE_PATH - 1 - LOCKFILE_LONGER - SHARED_LONGER;
	struct lockfile lock;

	memset(path, 'x', sizeof(path));
	path[longest] = '\0';
	lock = named(path);
	ck_assert_uint_eq(strlen(lock.path), longest + LOCKFILE_LONGER);
}
END_TEST

START_TEST(a_longer_name_goes_without)
{
	char path[2 * LOCKFILE_PATH];
	size_t longest = LOCKFILE_PATH - 1 - LOCKFILE_LONGER - SHARED_LONGER;
	int before = open_descriptors();
	struct lockfile lock;

	memset(path, 'x', sizeof(path));
	path[longest + 1] = '\0';
	lock = named(path);
	ck_assert_str_eq(lock.path, "");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_NONE);
	ck_assert(!KEEPS_ERRNO(lockfile_peek(&lock)));
	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, 0)), LOCKFILE_NONE);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	ck_assert(!KEEPS_ERRNO(lockfile_claimed(&lock)));
	KEEPS_ERRNO_VOID(lockfile_remove(&lock));
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	path[sizeof(path) - 1] = '\0';
	lock = named(path);
	ck_assert_str_eq(lock.path, "");
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_name_starts_from_its_directory)
{
	struct lockfile lock;
	int dir;

	ck_assert_int_eq(mkdir("dir", 0755), 0);
	dir = open("dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lockfile_name(&lock, dir, "s");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_HELD);
	ck_assert(exists("dir/" FILE_OF_S));
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert(!exists("dir/" FILE_OF_S));
}
END_TEST

/* ---- the mutex ---- */

START_TEST(a_try_makes_a_private_file)
{
	static const mode_t umasks[] = {0, 022, 077, 0777};
	struct lockfile lock;
	struct stat found;

	umask(umasks[_i]);
	lock = taken("s");
	ck_assert_uint_eq(mode_of(FILE_OF_S), S_IFREG | 0600);
	ck_assert_int_eq(stat(FILE_OF_S, &found), 0);
	ck_assert_uint_eq(lock.file.ino, found.st_ino);
	ck_assert_uint_eq(lock.file.dev, found.st_dev);
	ck_assert(fcntl(lock.fd, F_GETFD) & FD_CLOEXEC);
	lockfile_leave(&lock);
}
END_TEST

START_TEST(a_held_mutex_makes_others_busy)
{
	struct lockfile lock = taken("s");

	ck_assert_int_eq(try_for("s"), LOCKFILE_BUSY);
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_BUSY);
	ck_assert_int_eq(tried_elsewhere("t"), LOCKFILE_HELD);
	lockfile_leave(&lock);
	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_HELD);
}
END_TEST

START_TEST(a_crash_gives_the_mutex_back)
{
	pid_t holder = start(take_in_child, "s");

	ck_assert_int_eq(try_for("s"), LOCKFILE_BUSY);
	end(holder);
	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(leaving_removes_what_nobody_claims)
{
	struct lockfile lock = taken("s");
	int before = open_descriptors();

	ck_assert(exists(FILE_OF_S));
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert(!exists(FILE_OF_S));
	ck_assert_int_eq(lock.fd, -1);
	ck_assert_int_eq(open_descriptors(), before - 1);
	KEEPS_ERRNO_VOID(lockfile_leave(&lock)); /* once more does no harm */
	ck_assert_int_eq(open_descriptors(), before - 1);
}
END_TEST

START_TEST(leaving_removes_what_a_crash_left)
{
	write_file(FILE_OF_S, "left by a crash");
	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(leaving_keeps_what_is_claimed)
{
	pid_t owner = start(claim_in_child, "s");

	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
	ck_assert(exists(FILE_OF_S));
	end(owner);
	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

static void do_nothing(const void *about)
{
	(void)about;
}

/* A fork in another thread holds a copy, and keeps it: close alone would give nothing back. */
START_TEST(leaving_gives_back_what_a_fork_holds_a_copy_of)
{
	struct lockfile lock = taken("s");
	int claim = lockfile_claim(&lock, &sample); /* so that the file stays */
	pid_t fork = start(do_nothing, NULL);

	lockfile_leave(&lock);
	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
	end(fork);
	lockfile_unclaim(claim);
}
END_TEST

static int let_go_of(const void *about)
{
	const struct lockfile *lock = about;

	KEEPS_ERRNO_VOID(held_after_fork_in_child());
	return fcntl(lock->fd, F_GETFD) < 0 && errno == EBADF;
}

START_TEST(a_fork_lets_go_of_held_mutexes)
{
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");

	ck_assert_int_eq(in_child(let_go_of, &a), 1);
	ck_assert_int_eq(in_child(let_go_of, &b), 1);
	ck_assert_int_eq(try_for("a"), LOCKFILE_BUSY); /* the parent has them still */
	ck_assert_int_eq(try_for("b"), LOCKFILE_BUSY);
}
END_TEST

/* The number of a mutex given back is the program's to use. */
START_TEST(a_fork_lets_go_of_nothing_else)
{
	struct lockfile lock;

	for (int i = 0; i < 100; i++) {
		lock = taken("s");
		lockfile_leave(&lock);
	}
	for (int i = 0; i < 10; i++)
		lock.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (; lock.fd > 2; lock.fd--)
		if (fcntl(lock.fd, F_GETFD) >= 0)
			ck_assert_int_eq(in_child(let_go_of, &lock), 0);
}
END_TEST

START_TEST(a_fork_keeps_a_borrowed_claim)
{
	int claim = claimed("s", NULL);
	struct lockfile lock = named("s");

	ck_assert_int_eq(lockfile_borrow(&lock, claim), LOCKFILE_HELD);
	ck_assert_int_eq(in_child(let_go_of, &lock), 0);
}
END_TEST

START_TEST(removing_is_done_once)
{
	struct lockfile lock = taken("s");

	KEEPS_ERRNO_VOID(lockfile_remove(&lock));
	ck_assert(!exists(FILE_OF_S));
	write_file(FILE_OF_S, "somebody else's by now");
	KEEPS_ERRNO_VOID(lockfile_remove(&lock));
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert(exists(FILE_OF_S));
}
END_TEST

/* Who waits for the mutex of a file that is removed must not take it for the name's. */
START_TEST(a_removed_file_s_mutex_holds_nobody_up)
{
	struct lockfile lock = taken("s");

	lockfile_remove(&lock);
	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
	lockfile_leave(&lock);
}
END_TEST

/* Mutual exclusion, with the file removed and made anew all the time. */
static int go_in_and_out(const void *about)
{
	struct lockfile lock;

	(void)about;
	for (int i = 0; i < 400; i++) {
		lock = named("s");
		while (lockfile_try(&lock) != LOCKFILE_HELD)
			;
		if (mkdir("inside", 0700) != 0 || rmdir("inside") != 0)
			return 1; /* somebody else is in as well */
		lockfile_leave(&lock);
	}
	return 0;
}

START_TEST(one_at_a_time_while_files_come_and_go)
{
	pid_t others[3];
	int status;

	for (int i = 0; i < 3; i++) {
		others[i] = fork();
		if (others[i] == 0)
			_exit(go_in_and_out(NULL));
	}
	ck_assert_int_eq(go_in_and_out(NULL), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(waitpid(others[i], &status, 0), others[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

/* ---- where there is none to be had ---- */

static void assert_none(void)
{
	int before = open_descriptors();
	struct lockfile lock = named("s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_NONE);
	ck_assert_int_eq(lock.fd, -1);
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert_int_eq(open_descriptors(), before);
}

START_TEST(a_symlink_is_not_followed)
{
	write_file("victim", "content");
	ck_assert_int_eq(symlink("victim", FILE_OF_S), 0);
	assert_none();
	ck_assert(S_ISLNK(mode_of(FILE_OF_S)));
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert_int_eq(symlink("nowhere", FILE_OF_S), 0);
	assert_none();
	ck_assert(!exists("nowhere"));
}
END_TEST

START_TEST(a_fifo_is_not_waited_for)
{
	ck_assert_int_eq(mkfifo(FILE_OF_S, 0600), 0);
	assert_none();
	ck_assert(S_ISFIFO(mode_of(FILE_OF_S)));
}
END_TEST

START_TEST(a_directory_or_socket_is_left_where_it_is)
{
	ck_assert_int_eq(mkdir(FILE_OF_S, 0700), 0);
	assert_none();
	ck_assert(S_ISDIR(mode_of(FILE_OF_S)));
	ck_assert_int_eq(rmdir(FILE_OF_S), 0);
	bound(FILE_OF_S, SOCK_STREAM);
	assert_none();
	ck_assert(S_ISSOCK(mode_of(FILE_OF_S)));
}
END_TEST

/* Somebody wants us to write a record into a file of another name. */
START_TEST(a_file_of_two_names_is_not_taken)
{
	write_file("victim", "");
	ck_assert_int_eq(chmod("victim", 0644), 0);
	ck_assert_int_eq(link("victim", FILE_OF_S), 0);
	assert_none();
	ck_assert(exists(FILE_OF_S));
	ck_assert_uint_eq(mode_of("victim"), S_IFREG | 0644);
}
END_TEST

START_TEST(no_directory_no_file)
{
	struct lockfile lock = named("absent/s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_NONE);
	lock = named("/proc/s");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_NONE);
	lockfile_name(&lock, -1, "s");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_NONE);
}
END_TEST

START_TEST(no_descriptor_no_file)
{
	struct lockfile lock = named("s");

	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_NONE);
	ck_assert(!KEEPS_ERRNO(lockfile_peek(&lock)));
	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(who_may_not_write_goes_without)
{
	ck_assert_int_eq(as_stranger(try_for, "s"), LOCKFILE_NONE); /* not the directory */
	write_file(FILE_OF_S, "");
	ck_assert_int_eq(chmod(FILE_OF_S, 0644), 0);
	ck_assert_int_eq(chmod(".", 0777), 0);
	ck_assert_int_eq(as_stranger(try_for, "s"), LOCKFILE_NONE); /* not the file */
	ck_assert(exists(FILE_OF_S));
}
END_TEST

static void put_into_sticky_directory(uid_t owner)
{
	mkdir("sticky", 01777);
	ck_assert_int_eq(chmod("sticky", 01777), 0);
	write_file("sticky/" FILE_OF_S, "x");
	ck_assert_int_eq(chmod("sticky/" FILE_OF_S, 0666), 0);
	ck_assert_int_eq(chown("sticky/" FILE_OF_S, owner, owner), 0);
}

/* Anybody could have put it there, to hold its mutex or to tell lies in its record. */
START_TEST(a_third_one_s_file_in_a_sticky_directory_does_not_count)
{
	put_into_sticky_directory(STRANGER + 1);
	ck_assert_int_eq(as_stranger(try_for, "sticky/s"), LOCKFILE_HELD);
	ck_assert_int_eq(try_for("sticky/s"), LOCKFILE_HELD); /* nor for root */
	ck_assert(exists("sticky/" FILE_OF_S));
}
END_TEST

/* There O_CREAT on another's file is refused, where fs.protected_regular says so. */
START_TEST(the_directory_owner_s_file_in_a_sticky_directory_counts)
{
	put_into_sticky_directory(0);
	ck_assert_int_eq(as_stranger(try_for, "sticky/s"), LOCKFILE_HELD);
}
END_TEST

START_TEST(one_s_own_file_in_a_sticky_directory_counts)
{
	put_into_sticky_directory(STRANGER);
	ck_assert_int_eq(as_stranger(try_for, "sticky/s"), LOCKFILE_HELD);
}
END_TEST

/* What a stranger may plant, and hold for as long as he likes. */
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

static void lock_all(const void *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	ck_assert_int_eq(fcntl(open(path, O_RDWR | O_CLOEXEC), F_OFD_SETLK, &lock), 0);
}

static void plant_locked(void)
{
	plant_empty();
	start(lock_all, "sticky/" FILE_OF_S);
}

static void make_sticky(void)
{
	ck_assert_int_eq(mkdir("sticky", 0777), 0);
	ck_assert_int_eq(chmod("sticky", 01777), 0);
}

START_TEST(what_a_stranger_planted_in_a_sticky_directory_is_passed_by)
{
	static void (*const plants[])(void) = {
		plant_empty, plant_fifo, plant_directory, plant_locked};
	struct lockfile lock = named("sticky/s");
	struct stat planted, still;

	make_sticky();
	plants[_i]();
	ck_assert_int_eq(lstat("sticky/" FILE_OF_S, &planted), 0);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_HELD);
	ck_assert_str_ne(lock.path, "sticky/" FILE_OF_S);
	ck_assert(!lock.distrusted);
	ck_assert(exists(lock.path));
	ck_assert_int_eq(tried_elsewhere("sticky/s"),
		LOCKFILE_BUSY); /* it is one mutex for all of ours */
	lockfile_leave(&lock);
	ck_assert(!exists(lock.path));
	ck_assert_int_eq(lstat("sticky/" FILE_OF_S, &still), 0);
	ck_assert_uint_eq(still.st_ino, planted.st_ino);
}
END_TEST

#define ALTERNATE "sticky/" FILE_OF_S ".0123456789ab"

/* A crash left one, and a stranger's file that was in its way is gone. */
START_TEST(of_two_of_ours_in_a_sticky_directory_one_remains)
{
	struct lockfile lock = named("sticky/s");

	make_sticky();
	write_file("sticky/" FILE_OF_S, "");
	write_file(ALTERNATE, "");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_HELD);
	ck_assert_int_ne(exists("sticky/" FILE_OF_S), exists(ALTERNATE));
	ck_assert(exists(lock.path));
	lockfile_leave(&lock);
	ck_assert(!exists("sticky/" FILE_OF_S));
	ck_assert(!exists(ALTERNATE));
}
END_TEST

static void claim_at(const char *path)
{
	struct file_id file;

	ck_assert_int_ge(claimed("sticky/s", &file), 0);
	ck_assert_int_eq(rename("sticky/" FILE_OF_S, path), 0);
}

START_TEST(of_two_of_ours_in_a_sticky_directory_the_claimed_one_remains)
{
	static const char *const names[] = {"sticky/" FILE_OF_S, ALTERNATE};
	struct lockfile lock = named("sticky/s");
	int before;

	make_sticky();
	claim_at(names[_i]);
	write_file(names[1 - _i], "");
	before = open_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_HELD);
	ck_assert_str_eq(lock.path, names[_i]);
	ck_assert(lockfile_claimed(&lock));
	lockfile_leave(&lock);
	ck_assert(exists(names[_i]));
	ck_assert(!exists(names[1 - _i]));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* Never wait for one while holding another. */
START_TEST(of_two_of_ours_in_a_sticky_directory_none_may_be_held)
{
	static const char *const names[] = {"sticky/" FILE_OF_S, ALTERNATE};
	int before;

	make_sticky();
	write_file("sticky/" FILE_OF_S, "");
	write_file(ALTERNATE, "");
	start(lock_all, names[_i]);
	before = open_descriptors();
	ck_assert_int_eq(try_for("sticky/s"), LOCKFILE_BUSY);
	ck_assert(exists(names[_i]));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* Where nobody can put one at another's name, whose it is does not matter. */
START_TEST(a_third_one_s_file_in_a_directory_of_ours_counts)
{
	write_file(FILE_OF_S, "x");
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	ck_assert_int_eq(try_for("s"), LOCKFILE_HELD);
}
END_TEST

/* As many mutexes as can be noted for a fork to let go of: see lockfile.c. */
#define HELD 64

static void take_many(int count)
{
	char name[16];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "held%d", i);
		taken(name);
	}
}

/* One that a fork would not let go of is not taken. */
START_TEST(more_mutexes_than_can_be_noted_are_busy)
{
	int before;

	take_many(HELD);
	before = open_descriptors();
	ck_assert_int_eq(try_for("s"), LOCKFILE_BUSY);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* There is no note for the copy next to that for the first. */
START_TEST(the_last_mutex_that_can_be_noted_stays_where_it_is)
{
	struct lockfile lock;

	take_many(HELD - 1);
	lock = taken_to_claim("s");
	ck_assert_int_lt(lock.fd, 3 * HELD);
	ck_assert_int_eq(lockfile_claim(&lock, &sample), lock.fd);
	ck_assert_int_eq(in_child(let_go_of, &lock), 1);
	lockfile_leave(&lock);
	ck_assert(is_claimed("s"));
}
END_TEST

/* The program may close what it likes, and open another file at the number. */
START_TEST(a_mutex_that_was_closed_is_not_held)
{
	struct lockfile lock = taken("s");
	struct lockfile again = lock;

	ck_assert(KEEPS_ERRNO(held_here(&again.file)));
	close(lock.fd);
	ck_assert(!KEEPS_ERRNO(held_here(&again.file)));
	ck_assert_int_eq(open("/dev/null", O_RDONLY | O_CLOEXEC), lock.fd);
	ck_assert(!KEEPS_ERRNO(held_here(&again.file)));
}
END_TEST

#define ROUNDS 20000

static void *count_held_here(void *about)
{
	struct lockfile lock;
	intptr_t held = 0;

	(void)about;
	for (int i = 0; i < ROUNDS; i++) {
		lockfile_name(&lock, AT_FDCWD, "s");
		held += lockfile_try(&lock) == LOCKFILE_BUSY && held_here(&lock.file);
	}
	return (void *)held;
}

START_TEST(what_another_thread_is_at_is_not_held_here)
{
	pthread_t threads[4];
	void *held;

	start(take_in_child, "s");
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_held_here, NULL), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &held), 0);
		ck_assert_ptr_null(held);
	}
}
END_TEST

static void take_lease(const void *path)
{
	signal(SIGIO, SIG_IGN);
	ck_assert_int_eq(fcntl(open(path, O_RDWR | O_CLOEXEC), F_SETLEASE, F_WRLCK), 0);
}

/* The kernel would have an open wait until it breaks the lease: 45 seconds. */
START_TEST(a_lease_is_not_waited_for)
{
	write_file(FILE_OF_S, "");
	start(take_lease, FILE_OF_S);
	ck_assert_int_eq(try_for("s"), LOCKFILE_BUSY);
	ck_assert(exists(FILE_OF_S));
}
END_TEST

/* ---- system calls that others forbid ---- */

/* A filter may, and a kernel before Linux 3.15 knows no such locks. */
START_TEST(without_locks_no_file_is_left)
{
	static const int errors[] = {EINVAL, ENOSYS, EPERM};
	int before = open_descriptors();

	forbid_with(CALL_LOCK, errors[_i]);
	ck_assert_int_eq(try_for("s"), LOCKFILE_NONE);
	ck_assert(!exists(FILE_OF_S));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* The file may be another's by now, who does have memory for locks. */
START_TEST(without_memory_for_locks_the_file_stays)
{
	forbid_with(CALL_LOCK, ENOLCK);
	ck_assert_int_eq(try_for("s"), LOCKFILE_NONE);
	ck_assert(exists(FILE_OF_S));
}
END_TEST

START_TEST(a_name_that_may_not_be_looked_at_is_not_waited_for)
{
	write_file(FILE_OF_S, "");
	forbid(CALL_LOOK);
	ck_assert_int_eq(try_for("s"), LOCKFILE_NONE);
	ck_assert_int_eq(access(FILE_OF_S, F_OK), 0);
}
END_TEST

/* Whether it is sticky nobody can tell then. */
START_TEST(another_s_file_in_a_directory_that_cannot_be_seen_is_not_waited_for)
{
	write_file(FILE_OF_S, "");
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	forbid(CALL_LOOK);
	ck_assert_int_eq(try_for("s"), LOCKFILE_NONE);
}
END_TEST

START_TEST(what_does_not_tell_what_it_is_does_not_count)
{
	struct lockfile lock = named("s");
	struct lockfile created = named("t");
	struct file_id file;
	int claim = claimed("s", &file);

	forbid(CALL_STAT);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&lock)), LOCKFILE_NONE);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_try(&created)), LOCKFILE_NONE);
	ck_assert(!KEEPS_ERRNO(lockfile_peek(&lock)));
	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim_state(claim, &file)), CLAIM_UNTOLD);
}
END_TEST

START_TEST(a_name_that_does_not_lead_to_it_is_not_joined)
{
	struct lockfile lock = named("s");
	int next;

	claimed("s", NULL);
	next = dup(0);
	close(next);
	forbid(CALL_LOOK);
	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert_int_eq(dup(0), next); /* none is left open */
}
END_TEST

START_TEST(without_writing_there_is_no_claim)
{
	struct lockfile lock = taken("s");

	forbid(SYS_pwrite64);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	ck_assert(!lockfile_claimed(&lock));
	lockfile_leave(&lock);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(a_claim_stays_where_it_is_if_the_limit_is_not_told)
{
	struct rlimit limit = {.rlim_cur = 16, .rlim_max = 1024};
	int claim;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	forbid(SYS_prlimit64);
	claim = claimed("s", NULL);
	ck_assert_int_lt(claim, 16 / 4 * 3);
	ck_assert(is_claimed("s"));
}
END_TEST

/* ---- claims ---- */

START_TEST(a_claim_outlives_the_mutex)
{
	struct file_id file;
	int claim = claimed("s", &file);

	ck_assert(exists(FILE_OF_S));
	ck_assert(is_claimed("s"));
	ck_assert(is_claim_on(claim, &file));
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_HELD);
	ck_assert(is_claimed("s"));
	KEEPS_ERRNO_VOID(lockfile_unclaim(claim));
	ck_assert(!is_claimed("s"));
	ck_assert_int_lt(fcntl(claim, F_GETFD), 0);
}
END_TEST

START_TEST(a_claim_is_seen_from_elsewhere_until_its_owner_ends)
{
	pid_t owner = start(claim_in_child, "s");

	ck_assert(is_claimed("s"));
	end(owner);
	ck_assert(!is_claimed("s"));
	ck_assert(exists(FILE_OF_S));
}
END_TEST

static void close_claim(const void *claim)
{
	close(*(const int *)claim);
}

/* A worker holds the claim for its master, and for as long as it lives. */
START_TEST(a_fork_keeps_the_claim)
{
	int claim = claimed("s", NULL);
	pid_t worker = start(do_nothing, NULL);

	close(claim);
	ck_assert(is_claimed("s"));
	end(worker);
	ck_assert(!is_claimed("s"));
}
END_TEST

START_TEST(a_fork_that_closes_its_copy_takes_nothing_away)
{
	int claim = claimed("s", NULL);
	pid_t worker = start(close_claim, &claim);

	ck_assert(is_claimed("s"));
	end(worker);
	ck_assert(is_claimed("s"));
	lockfile_unclaim(claim);
}
END_TEST

START_TEST(unclaiming_counts_for_forks_as_well)
{
	int claim = claimed("s", NULL);
	pid_t worker = start(do_nothing, NULL);

	KEEPS_ERRNO_VOID(lockfile_unclaim(claim));
	ck_assert(!is_claimed("s"));
	end(worker);
}
END_TEST

START_TEST(claims_are_shared)
{
	int claim = claimed("s", NULL);
	pid_t other = start(claim_in_child, "s");

	lockfile_unclaim(claim);
	ck_assert(is_claimed("s"));
	end(other);
	ck_assert(!is_claimed("s"));
}
END_TEST

START_TEST(removing_the_file_voids_the_claim)
{
	struct file_id file;
	int claim = claimed("s", &file);
	struct lockfile lock = taken("s");

	ck_assert(!is_void(claim, &file));
	lockfile_remove(&lock);
	lockfile_leave(&lock);
	ck_assert(!is_claimed("s"));
	ck_assert(is_claim_on(claim, &file));
	ck_assert(is_void(claim, &file));
	lock = taken("s");
	ck_assert(!lockfile_claimed(&lock));
	lockfile_leave(&lock);
	lockfile_unclaim(claim);
}
END_TEST

START_TEST(a_claim_is_out_of_the_way)
{
	int before = open_descriptors();
	int claim = claimed("s", NULL);
	int next = dup(0);

	ck_assert(fcntl(claim, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_ge(claim, 100);
	ck_assert_int_lt(next, 100);
	close(next);
	ck_assert_int_eq(open_descriptors(), before + 1);
	lockfile_unclaim(claim);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_claim_stays_below_a_low_limit)
{
	struct rlimit limit = {.rlim_cur = 16, .rlim_max = 1024};
	int claim;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	claim = claimed("s", NULL);
	ck_assert_int_lt(claim, 16);
	ck_assert(fcntl(claim, F_GETFD) & FD_CLOEXEC);
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(a_claim_comes_with_a_record)
{
	struct lockfile lock;
	struct record record;
	int claim = claimed("s", NULL);

	lock = named("s");
	ck_assert(lockfile_peek(&lock));
	ck_assert(KEEPS_ERRNO(lockfile_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, sample.pid);
	ck_assert_uint_eq(record.uid, sample.uid);
	ck_assert_str_eq(record.comm, sample.comm);
	lockfile_leave(&lock);
	lock = taken("s");
	ck_assert(KEEPS_ERRNO(lockfile_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, sample.pid);
	lockfile_leave(&lock);
	lockfile_unclaim(claim);
}
END_TEST

START_TEST(a_name_is_noted_as_left_and_held_again)
{
	struct lockfile lock = taken("s");
	struct record record;

	KEEPS_ERRNO_VOID(lockfile_note_left(&lock, true)); /* no record, none made */
	ck_assert(!lockfile_record(&lock, &record));
	lockfile_leave(&lock);
	claimed("s", NULL);
	lock = taken("s");
	KEEPS_ERRNO_VOID(lockfile_note_left(&lock, true));
	ck_assert(lockfile_record(&lock, &record));
	ck_assert(record.left);
	ck_assert_uint_eq(record.pid, sample.pid);
	KEEPS_ERRNO_VOID(lockfile_note_left(&lock, false));
	ck_assert(lockfile_record(&lock, &record));
	ck_assert(!record.left);
	lockfile_leave(&lock);
	KEEPS_ERRNO_VOID(lockfile_note_left(&lock, true)); /* not open */
}
END_TEST

START_TEST(a_record_is_written_over_what_was_there)
{
	char longer[2 * RECORD_SIZE + 1];
	struct stat found;
	struct lockfile lock;
	struct record record;

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	write_file(FILE_OF_S, longer);
	lock = taken("s");
	ck_assert(!KEEPS_ERRNO(lockfile_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, 0);
	ck_assert_int_ge(lockfile_claim(&lock, &sample), 0);
	ck_assert(lockfile_record(&lock, &record));
	ck_assert_str_eq(record.comm, sample.comm);
	ck_assert_int_eq(stat(FILE_OF_S, &found), 0);
	ck_assert_int_eq(found.st_size, 2 * RECORD_SIZE); /* never truncated */
	lockfile_leave(&lock);
}
END_TEST

START_TEST(without_a_record_there_is_no_claim)
{
	struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
	struct lockfile lock = taken("s");
	int before = open_descriptors();

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	ck_assert(!lockfile_claimed(&lock));
	ck_assert_int_eq(open_descriptors(), before);
	lockfile_leave(&lock);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(without_a_file_there_is_no_claim_and_no_record)
{
	struct lockfile lock = named("s");
	struct record record;

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	memset(&record, 0xff, sizeof(record));
	ck_assert(!KEEPS_ERRNO(lockfile_record(&lock, &record)));
	ck_assert_uint_eq(record.pid, 0);
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

START_TEST(joining_makes_a_claim_of_ones_own)
{
	int claim = claimed("s", NULL);
	int before = open_descriptors();
	struct lockfile lock = named("s");
	struct file_id file;
	int own = joined(&lock, &file);

	ck_assert_int_ge(own, 100);
	ck_assert(fcntl(own, F_GETFD) & FD_CLOEXEC);
	ck_assert(is_claim_on(own, &file));
	ck_assert_int_eq(open_descriptors(), before + 1);
	lockfile_unclaim(claim);
	ck_assert(is_claimed("s"));
	lockfile_unclaim(own);
	ck_assert(!is_claimed("s"));
}
END_TEST

START_TEST(joining_waits_for_no_mutex)
{
	int claim = claimed("s", NULL);
	pid_t holder = start(take_in_child, "s");
	struct lockfile lock = named("s");
	int own = joined(&lock, NULL);

	ck_assert_int_ge(own, 0);
	end(holder);
	lockfile_unclaim(own);
	lockfile_unclaim(claim);
}
END_TEST

START_TEST(joining_makes_no_file)
{
	int before = open_descriptors();
	struct lockfile lock = named("s");

	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert(!exists(FILE_OF_S));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* An empty one is somebody's who is about to bind, and takes it for unclaimed. */
START_TEST(an_empty_file_is_not_joined)
{
	int before = open_descriptors();
	struct lockfile lock = named("s");

	write_file(FILE_OF_S, "");
	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert(!is_claimed("s"));
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* Somebody has locked the claim's byte for himself alone, as nobody of ours does. */
START_TEST(a_claim_that_is_not_to_be_had_is_not_joined)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int before;
	int fd;
	struct lockfile lock = named("s");

	write_file(FILE_OF_S, "x");
	fd = open(FILE_OF_S, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &all), 0);
	before = open_descriptors();
	ck_assert_int_eq(joined(&lock, NULL), -1);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_removed_file_is_not_claimed)
{
	struct lockfile lock = taken("s");

	lockfile_remove(&lock);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	lockfile_leave(&lock);
}
END_TEST

/* The program may do as it likes with the number. */
START_TEST(a_claim_may_be_lost)
{
	struct file_id file;
	int claim = claimed("s", &file);

	ck_assert(!is_claim_on(-1, &file));
	ck_assert(!is_void(-1, &file));
	ck_assert_int_eq(dup2(0, claim), claim);
	ck_assert(!is_claim_on(claim, &file));
	ck_assert(!is_void(claim, &file));
	close(claim);
	ck_assert(!is_claim_on(claim, &file));
	ck_assert(!is_void(claim, &file));
	ck_assert(!is_claimed("s"));
}
END_TEST

/* ---- peeking ---- */

START_TEST(peeking_leaves_no_trace)
{
	int before = open_descriptors();
	struct lockfile lock = named("s");

	ck_assert(!KEEPS_ERRNO(lockfile_peek(&lock)));
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert(!exists(FILE_OF_S));
	write_file(FILE_OF_S, "");
	ck_assert(KEEPS_ERRNO(lockfile_peek(&lock)));
	ck_assert(fcntl(lock.fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(tried_elsewhere("t"), LOCKFILE_HELD);
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert(exists(FILE_OF_S)); /* nobody claims it, and yet */
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(peeking_takes_no_mutex_and_waits_for_none)
{
	struct lockfile peeked = named("s");
	struct lockfile lock = taken("s");

	ck_assert(lockfile_peek(&peeked));
	ck_assert(!lockfile_claimed(&peeked));
	lockfile_leave(&peeked);
	ck_assert_int_eq(try_for("s"), LOCKFILE_BUSY); /* nothing was given back but its own */
	lockfile_leave(&lock);
	write_file(FILE_OF_S, "");
	ck_assert(lockfile_peek(&peeked));
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_HELD);
	lockfile_leave(&peeked);
}
END_TEST

START_TEST(peeking_is_for_files)
{
	int before = open_descriptors();
	struct lockfile lock = named("s");

	ck_assert_int_eq(mkfifo(FILE_OF_S, 0600), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_peek(&lock)));
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert_int_eq(mkdir(FILE_OF_S, 0700), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_peek(&lock)));
	ck_assert_int_eq(rmdir(FILE_OF_S), 0);
	ck_assert_int_eq(symlink("/etc/passwd", FILE_OF_S), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_peek(&lock)));
	ck_assert_int_eq(lock.fd, -1);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* ---- borrowing ---- */

START_TEST(a_claim_s_descriptor_may_be_borrowed)
{
	struct file_id file;
	int claim = claimed("s", &file);
	struct lockfile lock = named("s");

	use_up_descriptors();
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, claim)), LOCKFILE_HELD);
	ck_assert(file_same(&lock.file, &file));
	ck_assert(lock.borrowed);
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert(is_claim_on(claim, &file));
}
END_TEST

START_TEST(a_borrowed_mutex_is_one_like_any)
{
	int claim = claimed("s", NULL);
	struct lockfile lock = named("s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, claim)), LOCKFILE_HELD);
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_BUSY);
	KEEPS_ERRNO_VOID(lockfile_leave(&lock));
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_HELD);
	ck_assert_int_ge(fcntl(claim, F_GETFD), 0); /* still the caller's */
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(who_borrows_may_find_it_busy)
{
	int claim = claimed("s", NULL);
	pid_t holder = start(take_in_child, "s");
	struct lockfile lock = named("s");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, claim)), LOCKFILE_BUSY);
	ck_assert_int_eq(lock.fd, -1);
	ck_assert_int_ge(fcntl(claim, F_GETFD), 0);
	end(holder);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, claim)), LOCKFILE_HELD);
	lockfile_leave(&lock);
}
END_TEST

START_TEST(a_claim_on_another_file_is_no_use)
{
	int claim = claimed("s", NULL);
	struct lockfile lock = named("t");

	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, claim)), LOCKFILE_NONE);
	write_file(LOCKFILE_PREFIX "t" LOCKFILE_SUFFIX, "");
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, claim)), LOCKFILE_NONE);
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_HELD); /* and its mutex is not kept */
	lock = named("s");
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, claim)), LOCKFILE_NONE);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_borrow(&lock, -1)), LOCKFILE_NONE);
	ck_assert_int_ge(fcntl(claim, F_GETFD), 0);
}
END_TEST

/* The claim is the description's already. */
START_TEST(what_is_borrowed_is_not_claimed_again)
{
	struct lockfile lock = named("s");
	int claim = claimed("s", NULL);

	ck_assert_int_eq(lockfile_borrow(&lock, claim), LOCKFILE_HELD);
	ck_assert_int_eq(KEEPS_ERRNO(lockfile_claim(&lock, &sample)), -1);
	lockfile_leave(&lock);
	ck_assert(is_claimed("s"));
}
END_TEST

/* A borrowed mutex may have been given back by a fork, and the name be another's by then. */
START_TEST(another_file_at_the_name_is_not_removed)
{
	struct lockfile lock = named("s");
	int claim = claimed("s", NULL);

	ck_assert_int_eq(lockfile_borrow(&lock, claim), LOCKFILE_HELD);
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	write_file(FILE_OF_S, "another");
	KEEPS_ERRNO_VOID(lockfile_remove(&lock));
	lockfile_leave(&lock);
	ck_assert(exists(FILE_OF_S));
}
END_TEST

/* A handler may have its claim given up by another thread meanwhile: nothing may stay locked. */
START_TEST(unclaiming_gives_a_borrowed_mutex_back)
{
	int claim = claimed("s", NULL);
	pid_t worker = start(do_nothing, NULL); /* holds a copy */
	struct lockfile lock = named("s");

	ck_assert_int_eq(lockfile_borrow(&lock, claim), LOCKFILE_HELD);
	lockfile_unclaim(claim);
	ck_assert_int_eq(tried_elsewhere("s"), LOCKFILE_HELD);
	end(worker);
}
END_TEST

START_TEST(trying_after_borrowing_is_trying)
{
	int claim = claimed("s", NULL);
	struct lockfile lock = named("s");
	int before = open_descriptors();

	ck_assert_int_eq(lockfile_borrow(&lock, claim), LOCKFILE_HELD);
	lockfile_leave(&lock);
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	lockfile_leave(&lock);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* ---- moving ---- */

static ino_t number_of(const char *path)
{
	struct stat found;

	ck_assert_int_eq(lstat(path, &found), 0);
	return found.st_ino;
}

START_TEST(a_claimed_file_moves_with_its_name)
{
	struct file_id file;
	int claim = claimed("a", &file);
	int before = open_descriptors();
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");

	ck_assert(KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_uint_eq(number_of(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), file.ino);
	ck_assert(file_same(&b.file, &file));
	ck_assert(lockfile_claimed(&b));
	ck_assert(!lockfile_claimed(&a));
	ck_assert_int_eq(tried_elsewhere("b"), LOCKFILE_BUSY);
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(is_claimed("b"));
	ck_assert(is_claim_on(claim, &file));
	ck_assert_int_eq(tried_elsewhere("b"), LOCKFILE_HELD);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

/* Whose claim was on the file it takes the place of: it is void. */
/* 0 is a descriptor like any, in a program that closed its standard input. */
START_TEST(a_lock_file_on_descriptor_0_moves_and_is_moved_onto)
{
	struct lockfile a = named("a");
	struct lockfile b;

	ck_assert_int_ge(claimed("a", NULL), 0);
	close(STDIN_FILENO);
	if (_i == 0)
		a = taken("a");
	b = taken("b");
	if (_i == 1)
		a = taken("a");
	ck_assert_int_eq(_i == 0 ? a.fd : b.fd, STDIN_FILENO);
	ck_assert(KEEPS_ERRNO(lockfile_move(&a, &b)));
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert(is_claimed("b"));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(a_move_voids_the_claims_on_its_target)
{
	struct file_id file;
	int old = claimed("b", &file);
	int claim = claimed("a", NULL);
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");

	ck_assert(lockfile_move(&a, &b));
	ck_assert(is_void(old, &file));
	lockfile_leave(&b);
	lockfile_leave(&a);
	lockfile_unclaim(claim);
	ck_assert(!is_claimed("b"));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(a_new_file_at_a_moved_name_is_let_be)
{
	int claim = claimed("a", NULL);
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");
	struct lockfile next;

	ck_assert(lockfile_move(&a, &b));
	next = taken("a");
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert(exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	lockfile_leave(&next);
	lockfile_unclaim(claim);
}
END_TEST

/* Who created it and waits for its mutex relies on that it keeps its name. */
START_TEST(what_nobody_claims_is_not_moved)
{
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");
	struct file_id file_a = a.file, file_b = b.file;

	ck_assert(!KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert_uint_eq(number_of(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX), file_a.ino);
	ck_assert_uint_eq(number_of(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), file_b.ino);
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(!exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(exchanged_files_take_their_claims_along)
{
	struct file_id file_a, file_b;
	int claim_a = claimed("a", &file_a);
	int claim_b = claimed("b", &file_b);
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");

	ck_assert(KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(file_same(&a.file, &file_b));
	ck_assert(file_same(&b.file, &file_a));
	ck_assert_uint_eq(number_of(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX), file_b.ino);
	ck_assert_uint_eq(number_of(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), file_a.ino);
	lockfile_unclaim(claim_b);
	ck_assert(lockfile_claimed(&b));
	ck_assert(!lockfile_claimed(&a));
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert(is_claimed("b"));
	ck_assert(is_claim_on(claim_a, &file_a));
}
END_TEST

static void assert_the_claim_crosses(const char *from, const char *to)
{
	struct file_id file;
	int claim = claimed(from, &file);
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");

	ck_assert(KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert(is_claimed(to));
	ck_assert(!is_claimed(from));
	ck_assert(is_claim_on(claim, &file));
	lockfile_unclaim(claim);
}

START_TEST(an_exchange_with_an_unclaimed_file_removes_that)
{
	assert_the_claim_crosses("a", "b");
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_int_eq(unlink(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX), 0);
	assert_the_claim_crosses("b", "a");
	ck_assert(!exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
}
END_TEST

/* A borrowed descriptor must not be closed under its name's other half. */
START_TEST(what_is_borrowed_stays_borrowed)
{
	struct file_id file;
	int claim = claimed("a", &file);
	struct lockfile a = named("a");
	int before = open_descriptors();
	struct lockfile b = taken("b");

	ck_assert_int_eq(lockfile_borrow(&a, claim), LOCKFILE_HELD);
	ck_assert(lockfile_move(&a, &b));
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert_int_eq(open_descriptors(), before);
	ck_assert(is_claim_on(claim, &file));
	ck_assert(is_claimed("b"));
	ck_assert(!exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
}
END_TEST

START_TEST(what_is_not_open_is_not_moved)
{
	struct lockfile a = taken("a");
	struct lockfile b = named("b");

	ck_assert(!KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_move(&b, &a)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&b, &a)));
	ck_assert(exists(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX));
	ck_assert_int_ge(lockfile_claim(&a, &sample), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&b, &a)));
	lockfile_leave(&a);
	ck_assert(is_claimed("a"));
}
END_TEST

START_TEST(a_move_that_fails_changes_nothing)
{
	struct file_id file;
	int claim_a = claimed("a", &file);
	int claim_b = claimed("b", NULL);
	struct lockfile a = taken("a");
	struct lockfile b = taken("b");

	ck_assert_int_eq(unlink(LOCKFILE_PREFIX "a" LOCKFILE_SUFFIX), 0);
	ck_assert(!KEEPS_ERRNO(lockfile_move(&a, &b)));
	ck_assert(!KEEPS_ERRNO(lockfile_exchange(&a, &b)));
	ck_assert(file_same(&a.file, &file));
	ck_assert(exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
	lockfile_unclaim(claim_a);
	lockfile_unclaim(claim_b);
	lockfile_leave(&a);
	lockfile_leave(&b);
	ck_assert(!exists(LOCKFILE_PREFIX "b" LOCKFILE_SUFFIX));
}
END_TEST

static void add_names(TCase *cases)
{
	tcase_add_test(cases, the_file_lies_beside_the_socket);
	tcase_add_test(cases, the_longest_name_fits);
	tcase_add_test(cases, a_longer_name_goes_without);
	tcase_add_test(cases, a_name_starts_from_its_directory);
}

static void add_mutex(TCase *cases)
{
	tcase_add_loop_test(cases, a_try_makes_a_private_file, 0, 4);
	tcase_add_test(cases, a_held_mutex_makes_others_busy);
	tcase_add_test(cases, a_crash_gives_the_mutex_back);
	tcase_add_test(cases, leaving_removes_what_nobody_claims);
	tcase_add_test(cases, leaving_removes_what_a_crash_left);
	tcase_add_test(cases, leaving_keeps_what_is_claimed);
	tcase_add_test(cases, leaving_gives_back_what_a_fork_holds_a_copy_of);
	tcase_add_test(cases, a_fork_lets_go_of_held_mutexes);
	tcase_add_test(cases, a_fork_lets_go_of_nothing_else);
	tcase_add_test(cases, a_fork_keeps_a_borrowed_claim);
	tcase_add_test(cases, removing_is_done_once);
	tcase_add_test(cases, a_removed_file_s_mutex_holds_nobody_up);
	tcase_add_test(cases, one_at_a_time_while_files_come_and_go);
	tcase_add_test(cases, more_mutexes_than_can_be_noted_are_busy);
	tcase_add_test(cases, the_last_mutex_that_can_be_noted_stays_where_it_is);
	tcase_add_test(cases, a_mutex_that_was_closed_is_not_held);
	tcase_add_test(cases, what_another_thread_is_at_is_not_held_here);
}

static void add_none(TCase *cases)
{
	tcase_add_test(cases, a_symlink_is_not_followed);
	tcase_add_test(cases, a_fifo_is_not_waited_for);
	tcase_add_test(cases, a_directory_or_socket_is_left_where_it_is);
	tcase_add_test(cases, a_file_of_two_names_is_not_taken);
	tcase_add_test(cases, no_directory_no_file);
	tcase_add_test(cases, no_descriptor_no_file);
	ADD_ROOT_TEST(cases, who_may_not_write_goes_without);
	ADD_ROOT_TEST(cases, a_third_one_s_file_in_a_sticky_directory_does_not_count);
	ADD_ROOT_TEST(cases, the_directory_owner_s_file_in_a_sticky_directory_counts);
	ADD_ROOT_TEST(cases, one_s_own_file_in_a_sticky_directory_counts);
	if (suite_is_root("what_a_stranger_planted_in_a_sticky_directory_is_passed_by"))
		tcase_add_loop_test(cases,
			what_a_stranger_planted_in_a_sticky_directory_is_passed_by, 0, 4);
	tcase_add_test(cases, of_two_of_ours_in_a_sticky_directory_one_remains);
	tcase_add_loop_test(cases, of_two_of_ours_in_a_sticky_directory_the_claimed_one_remains, 0,
		2);
	tcase_add_loop_test(cases, of_two_of_ours_in_a_sticky_directory_none_may_be_held, 0, 2);
	ADD_ROOT_TEST(cases, a_third_one_s_file_in_a_directory_of_ours_counts);
	tcase_add_test(cases, a_lease_is_not_waited_for);
}

static void add_forbidden(TCase *cases)
{
	tcase_add_loop_test(cases, without_locks_no_file_is_left, 0, 3);
	tcase_add_test(cases, without_memory_for_locks_the_file_stays);
	tcase_add_test(cases, a_name_that_may_not_be_looked_at_is_not_waited_for);
	ADD_ROOT_TEST(cases, another_s_file_in_a_directory_that_cannot_be_seen_is_not_waited_for);
	tcase_add_test(cases, what_does_not_tell_what_it_is_does_not_count);
	tcase_add_test(cases, a_name_that_does_not_lead_to_it_is_not_joined);
	tcase_add_test(cases, without_writing_there_is_no_claim);
	tcase_add_test(cases, a_claim_stays_where_it_is_if_the_limit_is_not_told);
}

static void add_claims(TCase *cases)
{
	tcase_add_test(cases, a_claim_outlives_the_mutex);
	tcase_add_test(cases, a_claim_is_seen_from_elsewhere_until_its_owner_ends);
	tcase_add_test(cases, a_fork_keeps_the_claim);
	tcase_add_test(cases, a_fork_that_closes_its_copy_takes_nothing_away);
	tcase_add_test(cases, unclaiming_counts_for_forks_as_well);
	tcase_add_test(cases, claims_are_shared);
	tcase_add_test(cases, removing_the_file_voids_the_claim);
	tcase_add_test(cases, a_claim_is_out_of_the_way);
	tcase_add_test(cases, a_claim_stays_below_a_low_limit);
	tcase_add_test(cases, a_claim_comes_with_a_record);
	tcase_add_test(cases, a_name_is_noted_as_left_and_held_again);
	tcase_add_test(cases, a_record_is_written_over_what_was_there);
	tcase_add_test(cases, without_a_record_there_is_no_claim);
	tcase_add_test(cases, without_a_file_there_is_no_claim_and_no_record);
	tcase_add_test(cases, joining_makes_a_claim_of_ones_own);
	tcase_add_test(cases, joining_waits_for_no_mutex);
	tcase_add_test(cases, joining_makes_no_file);
	tcase_add_test(cases, an_empty_file_is_not_joined);
	tcase_add_test(cases, a_claim_that_is_not_to_be_had_is_not_joined);
	tcase_add_test(cases, a_removed_file_is_not_claimed);
	tcase_add_test(cases, a_claim_may_be_lost);
	tcase_add_test(cases, peeking_leaves_no_trace);
	tcase_add_test(cases, peeking_takes_no_mutex_and_waits_for_none);
	tcase_add_test(cases, peeking_is_for_files);
}

static void add_borrowing_and_moving(TCase *cases)
{
	tcase_add_test(cases, a_claim_s_descriptor_may_be_borrowed);
	tcase_add_test(cases, a_borrowed_mutex_is_one_like_any);
	tcase_add_test(cases, who_borrows_may_find_it_busy);
	tcase_add_test(cases, a_claim_on_another_file_is_no_use);
	tcase_add_test(cases, what_is_borrowed_is_not_claimed_again);
	tcase_add_test(cases, another_file_at_the_name_is_not_removed);
	tcase_add_test(cases, unclaiming_gives_a_borrowed_mutex_back);
	tcase_add_test(cases, trying_after_borrowing_is_trying);
	tcase_add_test(cases, a_claimed_file_moves_with_its_name);
	tcase_add_loop_test(cases, a_lock_file_on_descriptor_0_moves_and_is_moved_onto, 0, 2);
	tcase_add_test(cases, a_move_voids_the_claims_on_its_target);
	tcase_add_test(cases, a_new_file_at_a_moved_name_is_let_be);
	tcase_add_test(cases, what_nobody_claims_is_not_moved);
	tcase_add_test(cases, exchanged_files_take_their_claims_along);
	tcase_add_test(cases, an_exchange_with_an_unclaimed_file_removes_that);
	tcase_add_test(cases, what_is_borrowed_stays_borrowed);
	tcase_add_test(cases, what_is_not_open_is_not_moved);
	tcase_add_test(cases, a_move_that_fails_changes_nothing);
}

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("lockfile");

	add_names(suite_cases(suite, "names"));
	add_mutex(suite_cases(suite, "mutex"));
	add_none(suite_cases(suite, "none"));
	add_forbidden(suite_cases(suite, "forbidden"));
	add_claims(suite_cases(suite, "claims"));
	add_borrowing_and_moving(suite_cases(suite, "borrowing"));
	return suite;
}
