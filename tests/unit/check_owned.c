#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lockfile.h"
#include "owned.h"
#include "self.h"
#include "suite.h"

#define FILE_OF_S LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX

/* The slots of the table, and how many of them may hold a given path: see owned.c. */
#define SLOTS 4096
#define REACH 16

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
#define TYPES 3

static const struct record sample = {
	.pid = 790, .uid = 33, .time = 1, .cookie = 4711, .comm = "gunicorn"};

/* An inode that does not exist. */
static struct inode nonexistent_inode(uint64_t number)
{
	return (struct inode){.file = {.dev = 1, .ino = (ino_t)number}, .born_sec = 2};
}

static struct inode inode_of(const char *path)
{
	struct inode inode;

	ck_assert_int_eq(inode_identify(AT_FDCWD, path, &inode), 0);
	return inode;
}

static struct lockfile init_lock(const char *path)
{
	struct lockfile lock;

	lockfile_init(&lock, AT_FDCWD, path);
	return lock;
}

static struct lockfile lock_path(const char *path)
{
	struct lockfile lock = init_lock(path);

	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	return lock;
}

static struct lockfile lock_to_claim(const char *path)
{
	struct lockfile lock = init_lock(path);

	lock.will_claim = true;
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
	return lock;
}

/* Adds an inode and a path to the table, with a claim. Returns the claim's descriptor. */
static int add_with_claim(const struct inode *inode, const char *path, bool foreign,
	struct file_id *file)
{
	struct lockfile lock = lock_to_claim(path);
	int claim = lockfile_claim(&lock, &sample);

	ck_assert_int_ge(claim, 0);
	ck_assert(KEEPS_ERRNO(owned_add(inode, &lock.file, claim, sample.cookie, foreign)));
	if (file)
		*file = lock.file;
	lockfile_release(&lock);
	return claim;
}

static bool add_without_claim(const struct inode *inode)
{
	return KEEPS_ERRNO(owned_add(inode, NULL, -1, 0, false));
}

/* Whether this process owns a path that leads to this inode. */
static bool is_owned(const struct inode *inode, const char *path)
{
	struct lockfile lock = lock_path(path);
	bool mine = KEEPS_ERRNO(owned_check(inode, &lock));

	lockfile_release(&lock);
	return mine;
}

static bool is_claimed(const char *path)
{
	struct lockfile lock = init_lock(path);
	bool claimed = lockfile_open_readonly(&lock) && lockfile_is_claimed(&lock);

	lockfile_release(&lock);
	return claimed;
}

static void hold_claim(const void *path)
{
	struct lockfile lock = lock_to_claim(path);

	ck_assert_int_ge(lockfile_claim(&lock, &sample), 0);
	lockfile_release(&lock);
}

/* Claims s like the owner of the socket at this descriptor. */
static void hold_claim_for_socket(const void *fd)
{
	struct lockfile lock = lock_to_claim("s");
	struct record record;

	record_describe_caller(&record, *(const int *)fd);
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_release(&lock);
}

/* Claims s like the owner of another socket. */
static void hold_claim_for_another_socket(const void *path)
{
	struct lockfile lock = lock_to_claim(path);
	struct record another = sample;

	another.cookie++;
	ck_assert_int_ge(lockfile_claim(&lock, &another), 0);
	lockfile_release(&lock);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* ---- the table ---- */

START_TEST(at_first_no_path_is_owned)
{
	struct inode inode = nonexistent_inode(1);
	struct inode zero = {0};
	struct file_id file = {0};

	ck_assert(!is_owned(&inode, "s"));
	ck_assert(!is_owned(&zero, "s"));
	ck_assert_int_eq(KEEPS_ERRNO(owned_find_claim(&file)), -1);
	KEEPS_ERRNO_VOID(owned_remove(&inode, &file));
}
END_TEST

START_TEST(a_path_is_owned_from_add_to_remove)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id file;
	int claim = add_with_claim(&inode, "s", false, &file);

	ck_assert(is_owned(&inode, "s"));
	ck_assert_int_eq(KEEPS_ERRNO(owned_find_claim(&file)), claim);
	KEEPS_ERRNO_VOID(owned_remove(&inode, &file));
	ck_assert(!is_owned(&inode, "s"));
	ck_assert(!is_claimed("s"));
	ck_assert(!is_open(claim));
	ck_assert_int_eq(owned_find_claim(&file), -1);
}
END_TEST

START_TEST(without_a_lock_file_the_inode_decides)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id none = {0};

	add_without_claim(&inode);
	ck_assert(is_owned(&inode, "s"));
	owned_remove(&inode, &none);
	ck_assert(!is_owned(&inode, "s"));
}
END_TEST

START_TEST(only_the_same_inode_is_owned)
{
	struct inode inode = nonexistent_inode(1);
	struct inode other = inode;

	add_without_claim(&inode);
	other.born_nsec++;
	ck_assert(!is_owned(&other, "s"));
	other = inode;
	other.born_sec++;
	ck_assert(!is_owned(&other, "s"));
	other = inode;
	other.file.dev++;
	ck_assert(!is_owned(&other, "s"));
	other = nonexistent_inode(2);
	ck_assert(!is_owned(&other, "s"));
}
END_TEST

/* A rival's socket may have the same inode number. The rival's claim shows that. */
START_TEST(a_path_that_a_rival_claims_is_not_owned)
{
	struct inode inode = nonexistent_inode(1);
	pid_t rival;

	add_with_claim(&inode, "s", false, NULL);
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert(is_owned(&inode, "s"));
	rival = start_child(hold_claim, "s");
	ck_assert(!is_owned(&inode, "s"));
	kill_child(rival);
	ck_assert(is_owned(&inode, "s"));
}
END_TEST

START_TEST(the_inode_decides_if_the_claim_is_lost)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id file;
	int claim = add_with_claim(&inode, "s", false, &file);

	close(claim);
	ck_assert(is_owned(&inode, "s"));
	ck_assert_int_eq(owned_find_claim(&file), -1);
	owned_remove(&inode, &file);
	ck_assert(!is_owned(&inode, "s"));
}
END_TEST

/* The program has opened another file at the claim's descriptor number. */
START_TEST(a_reused_descriptor_is_not_closed)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id file;
	int claim = add_with_claim(&inode, "s", false, &file);

	ck_assert_int_eq(dup2(0, claim), claim);
	ck_assert(is_owned(&inode, "s"));
	ck_assert_int_eq(owned_find_claim(&file), -1);
	owned_remove(&inode, &file);
	ck_assert(!is_owned(&inode, "s"));
	ck_assert(is_open(claim));
}
END_TEST

START_TEST(only_the_claimed_link_to_a_foreign_socket_is_owned)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id file;

	add_with_claim(&inode, "s", true, &file);
	ck_assert(is_owned(&inode, "s"));
	ck_assert(!is_owned(&inode, "t")); /* the path of the socket's owner */
	write_file(LOCKFILE_PREFIX "t" LOCKFILE_SUFFIX, "");
	ck_assert(!is_owned(&inode, "t"));
	owned_remove(&inode, &file);
	ck_assert(!is_owned(&inode, "s"));
}
END_TEST

START_TEST(without_a_claim_no_link_to_a_foreign_socket_is_owned)
{
	struct inode inode = nonexistent_inode(1);
	struct inode other = nonexistent_inode(2);
	int claim = add_with_claim(&inode, "s", true, NULL);

	close(claim);
	ck_assert(!is_owned(&inode, "s"));
	owned_add(&other, NULL, -1, 0, true);
	ck_assert(!is_owned(&other, "s"));
}
END_TEST

START_TEST(two_links_to_a_socket_are_removed_one_by_one)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id a, b;
	int claim_a = add_with_claim(&inode, "a", false, &a);
	int claim_b = add_with_claim(&inode, "b", false, &b);

	ck_assert_int_eq(owned_find_claim(&a), claim_a);
	ck_assert_int_eq(owned_find_claim(&b), claim_b);
	owned_remove(&inode, &a);
	ck_assert(!is_open(claim_a));
	ck_assert(is_open(claim_b));
	ck_assert(is_owned(&inode, "b"));
	ck_assert(is_claimed("b"));
	owned_remove(&inode, &b);
	ck_assert(!is_owned(&inode, "b"));
	ck_assert(!is_claimed("b"));
}
END_TEST

/* A child of vfork(2) uses its parent's table. */
struct owned_path {
	struct inode inode;
	struct file_id file;
	int claim;
};

static int remove_in_child(void *about)
{
	const struct owned_path *path = about;

	owned_remove(&path->inode, &path->file);
	_exit(is_owned(&path->inode, "s") && is_open(path->claim) ? 0 : 1);
}

START_TEST(a_child_that_shares_memory_removes_nothing)
{
	static _Alignas(16) char stack[65536];
	struct owned_path path = {.inode = nonexistent_inode(1)};
	pid_t child;
	int status;

	path.claim = add_with_claim(&path.inode, "s", false, &path.file);
	child = clone(remove_in_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
		&path);
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(is_owned(&path.inode, "s"));
	owned_remove(&path.inode, &path.file);
	ck_assert(!is_owned(&path.inode, "s"));
}
END_TEST

START_TEST(a_forked_child_owns_its_parents_paths)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id file;
	pid_t worker;
	int status;

	add_with_claim(&inode, "s", false, &file);
	worker = fork();
	if (worker == 0) {
		int mine = is_owned(&inode, "s") && owned_find_claim(&file) >= 0;

		self_after_fork_in_child();
		owned_remove(&inode, &file);
		_exit(mine && !is_owned(&inode, "s") ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	ck_assert_int_eq(status, 0);
	ck_assert(is_owned(&inode, "s"));
}
END_TEST

/* Inodes that differ only in birth time use the same slots. */
static struct inode inode_of_same_slots(int i)
{
	struct inode inode = nonexistent_inode(1);

	inode.born_nsec = (uint32_t)i;
	return inode;
}

static struct file_id fill_slots(void)
{
	struct file_id first = {0}, file;
	char name[16];

	for (int i = 0; i < REACH; i++) {
		struct inode inode = inode_of_same_slots(i);

		snprintf(name, sizeof(name), "s%d", i);
		add_with_claim(&inode, name, false, &file);
		if (i == 0)
			first = file;
	}
	return first;
}

static int count_owned(int names)
{
	char name[16];
	int count = 0;

	for (int i = 0; i < names; i++) {
		struct inode inode = inode_of_same_slots(i);

		snprintf(name, sizeof(name), "s%d", i);
		count += is_owned(&inode, name);
	}
	return count;
}

START_TEST(a_path_that_does_not_fit_is_dropped_with_its_claim)
{
	struct inode late = inode_of_same_slots(REACH);
	struct lockfile lock = lock_to_claim("late");
	int claim = lockfile_claim(&lock, &sample);

	fill_slots();
	ck_assert_int_eq(count_owned(REACH), REACH);
	ck_assert(!KEEPS_ERRNO(owned_add(&late, &lock.file, claim, sample.cookie, false)));
	ck_assert(is_open(claim)); /* it is still the mutex's */
	lock.claimed_by_us = false;
	lockfile_release(&lock);
	ck_assert(!is_open(claim));
	ck_assert(!is_owned(&late, "late"));
	ck_assert(!is_claimed("late"));
	ck_assert_int_eq(count_owned(REACH), REACH);
}
END_TEST

START_TEST(a_path_that_does_not_fit_may_have_no_claim)
{
	struct inode late = inode_of_same_slots(REACH);

	fill_slots();
	ck_assert(!add_without_claim(&late));
	ck_assert(!is_owned(&late, "late"));
	ck_assert_int_eq(count_owned(REACH), REACH);
}
END_TEST

START_TEST(a_removed_path_frees_its_slot)
{
	struct inode first = inode_of_same_slots(0);
	struct inode late = inode_of_same_slots(REACH);
	struct file_id file = fill_slots();

	owned_remove(&first, &file);
	add_with_claim(&late, "late", false, NULL);
	ck_assert(is_owned(&late, "late"));
	ck_assert_int_eq(count_owned(REACH), REACH - 1);
}
END_TEST

START_TEST(a_path_with_a_claim_replaces_one_without)
{
	struct inode first = inode_of_same_slots(0);
	struct inode late = inode_of_same_slots(REACH);
	struct file_id file = fill_slots();

	close(owned_find_claim(&file));
	add_with_claim(&late, "late", false, NULL);
	ck_assert(is_owned(&late, "late"));
	ck_assert(!is_owned(&first, "s0"));
	ck_assert_int_eq(count_owned(REACH), REACH - 1);
}
END_TEST

START_TEST(many_paths_fit)
{
	int found = 0;

	for (uint64_t i = 1; i <= SLOTS / 4; i++) {
		struct inode inode = nonexistent_inode(i * 7919);

		add_without_claim(&inode);
	}
	for (uint64_t i = 1; i <= SLOTS / 4; i++) {
		struct inode inode = nonexistent_inode(i * 7919);

		found += is_owned(&inode, "s");
	}
	ck_assert_int_eq(found, SLOTS / 4);
}
END_TEST

START_TEST(more_paths_than_slots_do_no_harm)
{
	struct inode last = nonexistent_inode(3 * SLOTS);
	int found = 0;

	for (uint64_t i = 1; i <= 3 * SLOTS; i++) {
		struct inode inode = nonexistent_inode(i);

		add_without_claim(&inode);
	}
	for (uint64_t i = 1; i <= 3 * SLOTS; i++) {
		struct inode inode = nonexistent_inode(i);

		found += is_owned(&inode, "s");
	}
	ck_assert_int_gt(found, SLOTS / 2);
	ck_assert_int_le(found, SLOTS);
	ck_assert(is_owned(&last, "s")); /* the newest path is the likeliest to be used */
}
END_TEST

/* ---- the socket that a record names ---- */

START_TEST(a_recorded_socket_is_ours_if_we_bound_it)
{
	struct inode inode = nonexistent_inode(1);
	struct record record = sample;

	ck_assert(!KEEPS_ERRNO(owned_has_recorded_socket(&record)));
	add_with_claim(&inode, "s", false, NULL);
	ck_assert(KEEPS_ERRNO(owned_has_recorded_socket(&record)));
	record.cookie++;
	ck_assert(!KEEPS_ERRNO(owned_has_recorded_socket(&record)));
}
END_TEST

/* It may have been bound by another process, and inherited or received. */
START_TEST(a_recorded_socket_is_ours_if_it_is_open)
{
	struct record record;
	int fd = bound_socket("s", SOCK_STREAM);

	record_describe_caller(&record, fd);
	ck_assert(KEEPS_ERRNO(owned_has_recorded_socket(&record)));
	close(fd);
	ck_assert(!KEEPS_ERRNO(owned_has_recorded_socket(&record)));
}
END_TEST

/* Adds and removes so many paths that the library sweeps its whole table. */
static void sweep_table(void)
{
	struct file_id none = {0};

	for (uint64_t i = 0; i < SLOTS / REACH + 1; i++) {
		struct inode passing = nonexistent_inode(1000000 + i);

		add_without_claim(&passing);
		owned_remove(&passing, &none);
	}
}

/* A child unlinked the path, and removed the lock file. */
START_TEST(void_claims_do_not_accumulate)
{
	struct inode inode = nonexistent_inode(1);
	struct inode other = nonexistent_inode(2);
	int claim = add_with_claim(&inode, "s", false, NULL);
	int intact = add_with_claim(&other, "t", false, NULL);

	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	sweep_table();
	ck_assert(!is_open(claim));
	ck_assert(is_open(intact));
	ck_assert(is_owned(&other, "t"));
}
END_TEST

/* The program closed the claim, and the rival's inode has the same number. */
START_TEST(a_rivals_record_counts_after_the_own_claim_is_lost)
{
	struct inode inode = nonexistent_inode(1);

	close(add_with_claim(&inode, "s", false, NULL));
	ck_assert(is_owned(&inode, "s"));
	start_child(hold_claim_for_another_socket, "s");
	ck_assert(!is_owned(&inode, "s"));
}
END_TEST

/* Nothing shows that a rival holds the claim, and the inode is owned. */
START_TEST(a_claim_without_a_record_is_not_a_rivals)
{
	struct inode inode = nonexistent_inode(1);

	close(add_with_claim(&inode, "s", false, NULL));
	start_child(hold_claim_for_another_socket, "s");
	ck_assert(!is_owned(&inode, "s"));
	write_file(FILE_OF_S, "not a record");
	ck_assert(is_owned(&inode, "s"));
}
END_TEST

START_TEST(a_rivals_record_does_not_count_if_the_own_socket_is_unknown)
{
	struct inode inode = nonexistent_inode(1);

	add_without_claim(&inode);
	start_child(hold_claim_for_another_socket, "s");
	ck_assert(is_owned(&inode, "s"));
}
END_TEST

/* A child may still hold a claim that the parent has lost. */
START_TEST(a_record_of_the_own_socket_is_not_a_rivals)
{
	struct inode inode = nonexistent_inode(1);

	close(add_with_claim(&inode, "s", false, NULL));
	start_child(hold_claim, "s");
	ck_assert(is_owned(&inode, "s"));
}
END_TEST

START_TEST(a_rivals_claim_counts_after_the_own_claim_is_void)
{
	struct inode inode = nonexistent_inode(1);

	add_with_claim(&inode, "s", false, NULL);
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	start_child(hold_claim, "s");
	ck_assert(!is_owned(&inode, "s"));
	sweep_table();
	ck_assert(!is_owned(&inode, "s"));
}
END_TEST

/* The kernel does not say which file a claim is on. The other link keeps its claim then, too. */
START_TEST(only_one_of_two_links_is_removed_if_fstat_fails)
{
	struct inode inode = nonexistent_inode(1);
	struct file_id a, b;
	int claim_a = add_with_claim(&inode, "a", false, &a);
	int claim_b = add_with_claim(&inode, "b", false, &b);

	forbid(CALL_FSTAT);
	KEEPS_ERRNO_VOID(owned_remove(&inode, &a));
	ck_assert(!is_open(claim_a));
	ck_assert(is_open(claim_b));
	KEEPS_ERRNO_VOID(owned_remove(&inode, &b));
	ck_assert(!is_open(claim_b));
}
END_TEST

/* ---- concurrency ---- */

#define THREADS 4
#define ROUNDS  20000

static atomic_bool stop;

/* All threads use the same slots. */
static struct inode inode_of_thread(int thread, int round)
{
	struct inode inode = nonexistent_inode(1);

	inode.born_sec = thread * ROUNDS + round;
	inode.born_nsec = (uint32_t)inode.born_sec;
	return inode;
}

static void *add_and_remove(void *about)
{
	int thread = *(const int *)about;
	struct lockfile lock = init_lock("s");
	struct file_id none = {0};
	intptr_t wrong = 0;

	for (int round = 1; round < ROUNDS; round++) {
		struct inode inode = inode_of_thread(thread, round);

		owned_add(&inode, NULL, -1, 0, false);
		wrong += !owned_check(&inode, &lock);
		owned_remove(&inode, &none);
		wrong += owned_check(&inode, &lock);
	}
	return (void *)wrong;
}

/* Slots differ in their alignment to cache lines, so half-written entries are likelier in some. */
#define SLOTS_TRIED 16
static atomic_uint slot;

static struct inode inode_of_slot(unsigned int at, int sec, uint32_t nsec)
{
	struct inode inode = nonexistent_inode(at);

	inode.born_sec = sec;
	inode.born_nsec = nsec;
	return inode;
}

/* Two paths alternate in one slot, and then in the next. */
static void *alternate_in_slots(void *about)
{
	struct file_id none = {0};

	(void)about;
	for (slot = 1; slot <= SLOTS_TRIED; slot++) {
		for (int round = 0; round < ROUNDS; round++) {
			struct inode inode =
				inode_of_slot(slot, 1 + round % 2, 1 + (uint32_t)round % 2);

			owned_add(&inode, NULL, -1, 0, false);
			owned_remove(&inode, &none);
		}
	}
	stop = true;
	return NULL;
}

/* Counts entries that mix the fields of two paths. */
static int count_mixed_entries(const struct lockfile *lock)
{
	const struct inode halves[] = {inode_of_slot(slot, 1, 0), inode_of_slot(slot, 2, 0),
		inode_of_slot(slot, 1, 2), inode_of_slot(slot, 2, 1)};
	int seen = 0;

	for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++)
		seen += owned_check(&halves[i], lock) != OWNED_NOT;
	return seen;
}

START_TEST(a_half_written_entry_is_not_read)
{
	struct lockfile lock = init_lock("s");
	pthread_t writer;
	int seen = 0;

	ck_assert_int_eq(pthread_create(&writer, NULL, alternate_in_slots, NULL), 0);
	while (!stop)
		seen += count_mixed_entries(&lock);
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
	ck_assert_int_eq(seen, 0);
}
END_TEST

static int use_table(const void *about)
{
	int number = THREADS;
	struct inode inode = nonexistent_inode(2);
	struct lockfile lock = init_lock("s");

	(void)about;
	self_after_fork_in_child();
	owned_add(&inode, NULL, -1, 0, false);
	return owned_check(&inode, &lock) && add_and_remove(&number) == NULL ? 0 : 1;
}

START_TEST(threads_do_not_disturb_each_other)
{
	pthread_t threads[THREADS];
	int numbers[THREADS];
	void *wrong;

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, add_and_remove, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
		ck_assert_ptr_null(wrong);
	}
}
END_TEST

/* The child loses only the slots that another thread was writing at the time of the fork. */
START_TEST(a_fork_at_any_instant_leaves_a_usable_table)
{
	pthread_t threads[2];
	int numbers[2] = {0, 1};

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, add_and_remove, &numbers[i]), 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(run_in_child(use_table, NULL), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

/* ---- adoption of inherited sockets ---- */

static void adopt(void)
{
	int before = count_descriptors();

	KEEPS_ERRNO_VOID(owned_adopt_inherited());
	ck_assert_int_eq(count_descriptors(), before);
}

static bool path_is_owned(const char *path)
{
	struct inode inode = inode_of(path);

	return is_owned(&inode, path);
}

START_TEST(inherited_listeners_are_owned)
{
	listening_socket("s", types[_i]);
	ck_assert(!path_is_owned("s"));
	adopt();
	ck_assert(path_is_owned("s"));
	ck_assert(!exists(FILE_OF_S)); /* adopting creates none */
}
END_TEST

/* The same for a user that cannot create a lock file. */
static bool path_is_owned_without_lock_file(const char *path)
{
	struct inode inode = inode_of(path);
	struct lockfile lock = init_lock(path);

	return owned_check(&inode, &lock);
}

static int owns_after_adopting(const void *path)
{
	owned_adopt_inherited();
	return path_is_owned_without_lock_file(path);
}

START_TEST(inherited_listeners_are_owned_without_privilege)
{
	listening_socket("s", types[_i]);
	ck_assert_int_eq(run_as_stranger(owns_after_adopting, "s"), 1);
}
END_TEST

START_TEST(an_adopted_path_is_owned_after_the_listener_is_closed)
{
	int fd = listening_socket("s", types[_i]);

	adopt();
	close(fd);
	ck_assert(path_is_owned("s"));
}
END_TEST

START_TEST(all_of_many_descriptors_are_examined)
{
	char name[16];

	for (int i = 0; i < 300; i++)
		ck_assert_int_ge(dup(0), 0);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		listening_socket(name, SOCK_STREAM);
	}
	if (_i)
		close(STDIN_FILENO); /* they are listed through 0 */
	adopt();
	ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFD) < 0, _i);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		ck_assert(path_is_owned(name));
	}
}
END_TEST

/* All numbers between the lowest descriptors and this one are free. */
START_TEST(a_high_descriptor_is_examined)
{
	static const int numbers[] = {63, 64, 65, 200, 256, 257, 900};
	int fd = listening_socket("s", SOCK_STREAM);

	ck_assert_int_eq(dup2(fd, numbers[_i]), numbers[_i]);
	close(fd);
	adopt();
	ck_assert(path_is_owned("s"));
}
END_TEST

/* Listens at s. A child, which also holds the socket, claims s. */
static pid_t listen_with_a_claim(int *fd)
{
	*fd = listening_socket("s", SOCK_STREAM);
	return start_child(hold_claim_for_socket, fd);
}

START_TEST(adopting_joins_the_claim)
{
	struct lockfile lock;
	int fd;
	pid_t owner = listen_with_a_claim(&fd);

	KEEPS_ERRNO_VOID(owned_adopt_inherited());
	ck_assert(path_is_owned("s"));
	lock = lock_path("s");
	ck_assert_int_ge(owned_find_claim(&lock.file), 0);
	lockfile_release(&lock);
	kill_child(owner);
	ck_assert(is_claimed("s"));
	ck_assert(path_is_owned("s"));
}
END_TEST

/* The file is in use for one call, or was left by a crash. A claim on it would be wrong. */
static void assert_not_joined(void)
{
	struct lockfile lock;

	listening_socket("s", SOCK_STREAM);
	owned_adopt_inherited();
	ck_assert(path_is_owned("s"));
	lock = lock_path("s");
	ck_assert_int_eq(owned_find_claim(&lock.file), -1);
	lockfile_release(&lock);
}

START_TEST(a_lock_file_of_another_socket_is_not_joined)
{
	struct lockfile lock = lock_to_claim("s");
	int claim = lockfile_claim(&lock, &sample);

	lockfile_release(&lock);
	lockfile_release_claim(claim);
	assert_not_joined();
}
END_TEST

START_TEST(an_empty_lock_file_is_not_joined)
{
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, "");
	assert_not_joined();
}
END_TEST

static void do_nothing(const void *about)
{
	(void)about;
}

/*
 * Returns an accepted connection whose listener only another process holds. Sets *client to the
 * other end, or closes that if client is NULL.
 */
static int accept_connection(const char *path, int type, int *client)
{
	int fd = listening_socket(path, type);
	int ours = connected_socket(path, type);
	int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(connection, 0);
	start_child(do_nothing, NULL);
	close(fd);
	if (client)
		*client = ours;
	else
		close(ours);
	return connection;
}

static bool adopts_held(const char *path)
{
	struct lockfile lock = init_lock(path);
	struct pin pin;
	bool held;
	int before;

	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	before = count_descriptors();
	held = KEEPS_ERRNO(owned_adopt_held(&pin, &lock));
	ck_assert_int_eq(count_descriptors(), before);
	inode_unpin(&pin);
	return held;
}

START_TEST(an_accepted_connection_is_not_a_listener)
{
	int client;

	accept_connection("s", types[_i], &client);
	adopt();
	ck_assert(!path_is_owned("s"));
	ck_assert(!adopts_held("s"));
	ck_assert(!path_is_owned("s"));
}
END_TEST

/* Its peer is closed, but it is still a connection. */
START_TEST(a_connection_without_its_client_is_not_a_listener)
{
	accept_connection("s", types[_i], NULL);
	adopt();
	ck_assert(!path_is_owned("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

START_TEST(a_shut_down_connection_is_not_a_listener)
{
	int client;
	int connection = accept_connection("s", types[_i], &client);

	ck_assert_int_eq(shutdown(connection, SHUT_RDWR), 0);
	adopt();
	ck_assert(!path_is_owned("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

START_TEST(a_client_is_not_a_listener)
{
	start_owner("s", types[_i]);
	connected_socket("s", types[_i]);
	adopt();
	ck_assert(!path_is_owned("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

/* This process holds a listener that was bound to the path, which now leads to another socket. */
START_TEST(a_path_that_has_a_new_owner_is_not_adopted)
{
	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(unlink("s"), 0);
	start_owner("s", SOCK_STREAM);
	adopt();
	ck_assert(!path_is_owned("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

START_TEST(other_descriptors_are_skipped)
{
	struct sockaddr_un abstract = {.sun_family = AF_UNIX}; /* the kernel chooses the name */
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int pair[2];

	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&abstract, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_ge(socket(AF_UNIX, SOCK_STREAM, 0), 0);
	ck_assert_int_ge(socket(AF_INET, SOCK_STREAM, 0), 0);
	ck_assert_int_ge(open(".", O_RDONLY | O_DIRECTORY), 0);
	close(listening_socket("gone", SOCK_STREAM));
	listening_socket("removed", SOCK_STREAM);
	ck_assert_int_eq(unlink("removed"), 0);
	adopt();
	ck_assert(!path_is_owned("gone"));
}
END_TEST

/* sun_path may be filled to its last byte, without a NUL. */
START_TEST(the_longest_address_is_adopted)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[sizeof(address.sun_path) + 1] = {0};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memset(name, 'n', sizeof(address.sun_path));
	memcpy(address.sun_path, name, sizeof(address.sun_path));
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	adopt();
	ck_assert(path_is_owned(name));
}
END_TEST

/* ---- adoption of a socket that is held when a call is judged ---- */

START_TEST(a_held_listener_is_owned)
{
	listening_socket("s", types[_i]);
	ck_assert(adopts_held("s"));
	ck_assert(path_is_owned("s"));
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

static int adopts_held_as_child(const void *path)
{
	return adopts_held(path);
}

START_TEST(a_held_listener_is_owned_without_privilege)
{
	listening_socket("s", types[_i]);
	ck_assert_int_eq(run_as_stranger(adopts_held_as_child, "s"), 1);
}
END_TEST

START_TEST(a_listener_of_another_process_is_not_held)
{
	start_owner("s", types[_i]);
	listening_socket("t", types[_i]);
	ck_assert(!adopts_held("s"));
	ck_assert(!path_is_owned("s"));
}
END_TEST

START_TEST(a_listener_of_another_process_is_not_held_without_privilege)
{
	start_owner("s", SOCK_STREAM);
	listening_socket("t", SOCK_STREAM);
	ck_assert_int_eq(run_as_stranger(adopts_held_as_child, "s"), 0);
}
END_TEST

START_TEST(a_renamed_listener_is_held)
{
	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(rename("s", "t"), 0);
	ck_assert(adopts_held("t"));
}
END_TEST

START_TEST(the_claim_of_a_held_listener_is_joined)
{
	struct lockfile lock;
	struct pin pin;
	int fd;
	pid_t owner = listen_with_a_claim(&fd);

	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	lock = lock_path("s");
	ck_assert(KEEPS_ERRNO(owned_adopt_held(&pin, &lock)));
	ck_assert_int_ge(owned_find_claim(&lock.file), 0);
	lockfile_release(&lock);
	kill_child(owner);
	ck_assert(is_claimed("s"));
}
END_TEST

START_TEST(a_claim_that_does_not_fit_is_released)
{
	struct lockfile full = lock_to_claim("full");
	int claim = lockfile_claim(&full, &sample);
	struct lockfile lock;
	struct pin pin;
	int before, fd;

	for (uint64_t i = 1; i <= 3 * SLOTS; i++) {
		struct inode inode = nonexistent_inode(i);

		owned_add(&inode, &full.file, claim, 0, false);
	}
	listen_with_a_claim(&fd);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	lock = lock_path("s");
	before = count_descriptors();
	ck_assert(KEEPS_ERRNO(owned_adopt_held(&pin, &lock)));
	ck_assert_int_eq(owned_find_claim(&lock.file), -1);
	ck_assert_int_eq(count_descriptors(), before);
}
END_TEST

/* Without privileges, the kernel does not report which inode a socket is bound to. */
static int adopts_if_inode_is_unknown(const void *pin)
{
	struct lockfile lock = init_lock("s");

	forbid(CALL_FSTAT);
	return KEEPS_ERRNO(owned_adopt_held(pin, &lock));
}

START_TEST(a_socket_whose_number_is_unknown_is_not_held)
{
	struct pin pin;

	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(run_as_stranger(adopts_if_inode_is_unknown, &pin), 0);
}
END_TEST

/* Then it is not known to be a socket that was bound, and not a connection. */
START_TEST(a_socket_that_cannot_be_examined_is_not_held)
{
	listening_socket("s", SOCK_STREAM);
	ck_assert(adopts_held("s"));
	listening_socket("t", SOCK_STREAM);
	forbid(_i == 0 ? SYS_getpeername : SYS_getsockopt);
	ck_assert(!adopts_held("t"));
}
END_TEST

/* SIOCUNIXFILE has opened the inode, but it cannot be identified. */
START_TEST(a_socket_whose_inode_cannot_be_examined_is_not_held)
{
	struct lockfile lock = init_lock("s");
	struct pin pin;
	int next;

	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	next = dup(0);
	close(next);
	forbid(SYS_statx);
	forbid(CALL_FSTATAT);
	forbid(CALL_FSTAT);
	ck_assert(!KEEPS_ERRNO(owned_holds_socket(&pin, &lock)));
	ck_assert_int_eq(dup(0), next); /* none is left open */
}
END_TEST

/* Without privileges and netlink, the record of a claimed lock file decides. */
static int adopts_by_record(const void *path)
{
	struct lockfile lock = init_lock(path);
	struct pin pin;

	lockfile_open_readonly(&lock);
	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	forbid_with(SYS_socket, EAFNOSUPPORT);
	return KEEPS_ERRNO(owned_adopt_held(&pin, &lock));
}

static bool stranger_adopts_by_record(void)
{
	chmod(FILE_OF_S, 0644); /* for a stranger to read it */
	return run_as_stranger(adopts_by_record, "s") == 1;
}

START_TEST(without_privilege_and_netlink_the_record_decides)
{
	int fd = listening_socket("s", SOCK_STREAM);
	pid_t owner;

	ck_assert(!stranger_adopts_by_record());
	owner = start_child(hold_claim_for_socket, &fd);
	ck_assert(stranger_adopts_by_record());
	kill_child(owner);
	ck_assert(!stranger_adopts_by_record()); /* no process claims it any more */
	owner = start_child(hold_claim_for_another_socket, "s");
	ck_assert(!stranger_adopts_by_record());
	write_file(FILE_OF_S, "not a record");
	ck_assert_int_eq(truncate(FILE_OF_S, 0), 0);
	ck_assert(!stranger_adopts_by_record());
	kill_child(owner);
}
END_TEST

/* ---- where inode numbers do not suffice ---- */

/* Call it before the first socket is bound, because it affects all later calls. */
static void fake_btrfs(void)
{
	fake_kernel(&(struct fake_results){.filesystem = BTRFS_TYPE, .unprivileged = true});
}

/* Whether this process holds the socket. Opens the lock file for that, if there is one. */
static bool holds_with_record(const char *path)
{
	struct lockfile lock = init_lock(path);
	struct pin pin;
	bool held;

	lockfile_open_readonly_valid(&lock);
	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	held = KEEPS_ERRNO(owned_holds_socket(&pin, &lock));
	inode_unpin(&pin);
	lockfile_release(&lock);
	return held;
}

START_TEST(an_ambiguous_listener_is_owned_at_the_path_it_was_bound_to)
{
	fake_btrfs();
	listening_socket(absolute_path("s"), types[_i]);
	ck_assert(holds_with_record("s"));
	adopt();
	ck_assert(path_is_owned("s"));
}
END_TEST

START_TEST(an_ambiguous_listener_is_not_owned_at_another_path)
{
	fake_btrfs();
	listening_socket("relative", SOCK_STREAM);
	ck_assert(!holds_with_record("relative"));
	listening_socket(absolute_path("before"), SOCK_STREAM);
	ck_assert_int_eq(rename("before", "s"), 0);
	ck_assert(!holds_with_record("s"));
	listening_socket("before", SOCK_STREAM);
	ck_assert(!holds_with_record("s"));
	adopt();
	ck_assert(!path_is_owned("relative"));
}
END_TEST

/* If the kernel's answer is certain, the path is not compared. */
START_TEST(if_the_answer_is_certain_the_path_is_not_compared)
{
	fake_kernel(&(struct fake_results){.unprivileged = true});
	listening_socket("s", SOCK_STREAM);
	ck_assert_int_eq(rename("s", "t"), 0);
	ck_assert(holds_with_record("t"));
}
END_TEST

START_TEST(a_claimed_record_outweighs_the_path)
{
	int fd;
	pid_t owner;

	fake_btrfs();
	fd = listening_socket(absolute_path("s"), SOCK_STREAM);
	owner = start_child(hold_claim_for_another_socket, "s");
	ck_assert(!holds_with_record("s"));
	kill_child(owner);
	ck_assert(holds_with_record("s")); /* no process claims it any more */
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	close(fd);
	ck_assert_int_eq(unlink("s"), 0);

	fd = listening_socket("s", SOCK_STREAM);
	ck_assert(!holds_with_record("s"));
	owner = start_child(hold_claim_for_socket, &fd);
	ck_assert(holds_with_record("s"));
	kill_child(owner);
	ck_assert(!holds_with_record("s"));
}
END_TEST

/* The user to whom the file belongs may have written any record. */
START_TEST(an_untrusted_record_proves_nothing)
{
	int fd;

	fake_btrfs();
	fd = listening_socket("s", SOCK_STREAM);
	start_child(hold_claim_for_socket, &fd);
	ck_assert(holds_with_record("s"));
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	ck_assert(!holds_with_record("s"));
}
END_TEST

static void hold_claim_without_socket(const void *path)
{
	struct lockfile lock = lock_to_claim(path);
	struct record record;

	record_describe_caller(&record, -1);
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_release(&lock);
}

START_TEST(a_record_without_a_socket_decides_nothing)
{
	fake_btrfs();
	listening_socket(absolute_path("s"), SOCK_STREAM);
	start_child(hold_claim_without_socket, "s");
	ck_assert(holds_with_record("s"));
}
END_TEST

/* The record names a socket of ours, but that is bound to another inode. */
START_TEST(a_record_of_the_own_socket_does_not_outweigh_the_inode_number)
{
	int fd;

	fake_btrfs();
	fd = listening_socket("before", SOCK_STREAM);
	make_stale("s");
	start_child(hold_claim_for_socket, &fd);
	ck_assert(!holds_with_record("s"));
}
END_TEST

/* Claims like the owner of the socket at this descriptor, in a container with another boot ID. */
static void hold_claim_in_container(const void *fd)
{
	struct lockfile lock = lock_to_claim("s");
	struct record record;

	record_describe_caller(&record, *(const int *)fd);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_release(&lock);
}

START_TEST(a_claim_of_a_container_is_joined)
{
	struct lockfile lock;
	int fd;

	fake_kernel(&(struct fake_results){.filesystem = EXT4_TYPE});
	fd = listening_socket("s", SOCK_STREAM);
	start_child(hold_claim_in_container, &fd);
	KEEPS_ERRNO_VOID(owned_adopt_inherited());
	lock = lock_path("s");
	ck_assert_int_ge(owned_find_claim(&lock.file), 0);
	lockfile_release(&lock);
}
END_TEST

START_TEST(a_claim_of_another_host_is_not_joined)
{
	struct lockfile lock;
	int fd;

	fake_kernel(&(struct fake_results){.filesystem = NFS_TYPE, .unprivileged = true});
	fd = listening_socket("s", SOCK_STREAM);
	start_child(hold_claim_in_container, &fd);
	ck_assert(!holds_with_record("s")); /* another socket has this cookie there */
	adopt();
	lock = lock_path("s");
	ck_assert_int_eq(owned_find_claim(&lock.file), -1);
	lockfile_release(&lock);
}
END_TEST

static void add_table(TCase *cases)
{
	tcase_add_test(cases, at_first_no_path_is_owned);
	tcase_add_test(cases, a_path_is_owned_from_add_to_remove);
	tcase_add_test(cases, without_a_lock_file_the_inode_decides);
	tcase_add_test(cases, only_the_same_inode_is_owned);
	tcase_add_test(cases, a_path_that_a_rival_claims_is_not_owned);
	tcase_add_test(cases, the_inode_decides_if_the_claim_is_lost);
	tcase_add_test(cases, a_reused_descriptor_is_not_closed);
	tcase_add_test(cases, only_the_claimed_link_to_a_foreign_socket_is_owned);
	tcase_add_test(cases, without_a_claim_no_link_to_a_foreign_socket_is_owned);
	tcase_add_test(cases, two_links_to_a_socket_are_removed_one_by_one);
	tcase_add_test(cases, a_forked_child_owns_its_parents_paths);
	tcase_add_test(cases, a_child_that_shares_memory_removes_nothing);
	tcase_add_test(cases, a_path_that_does_not_fit_is_dropped_with_its_claim);
	tcase_add_test(cases, a_path_that_does_not_fit_may_have_no_claim);
	tcase_add_test(cases, a_removed_path_frees_its_slot);
	tcase_add_test(cases, a_path_with_a_claim_replaces_one_without);
	tcase_add_test(cases, many_paths_fit);
	tcase_add_test(cases, more_paths_than_slots_do_no_harm);
	tcase_add_test(cases, a_recorded_socket_is_ours_if_we_bound_it);
	tcase_add_test(cases, a_recorded_socket_is_ours_if_it_is_open);
	tcase_add_test(cases, void_claims_do_not_accumulate);
	tcase_add_test(cases, a_rivals_claim_counts_after_the_own_claim_is_void);
	tcase_add_test(cases, a_rivals_record_counts_after_the_own_claim_is_lost);
	tcase_add_test(cases, a_record_of_the_own_socket_is_not_a_rivals);
	tcase_add_test(cases, a_claim_without_a_record_is_not_a_rivals);
	tcase_add_test(cases, a_rivals_record_does_not_count_if_the_own_socket_is_unknown);
	tcase_add_test(cases, threads_do_not_disturb_each_other);
	tcase_add_test(cases, a_half_written_entry_is_not_read);
	tcase_add_test(cases, a_fork_at_any_instant_leaves_a_usable_table);
}

static void add_inherited(TCase *cases)
{
	tcase_add_loop_test(cases, inherited_listeners_are_owned, 0, TYPES);
	if (suite_is_root("inherited_listeners_are_owned_without_privilege"))
		tcase_add_loop_test(cases, inherited_listeners_are_owned_without_privilege, 0,
			TYPES);
	tcase_add_loop_test(cases, an_adopted_path_is_owned_after_the_listener_is_closed, 0, TYPES);
	tcase_add_loop_test(cases, all_of_many_descriptors_are_examined, 0, 2);
	tcase_add_loop_test(cases, a_high_descriptor_is_examined, 0, 7);
	tcase_add_test(cases, adopting_joins_the_claim);
	tcase_add_test(cases, a_lock_file_of_another_socket_is_not_joined);
	tcase_add_test(cases, an_empty_lock_file_is_not_joined);
	tcase_add_loop_test(cases, an_accepted_connection_is_not_a_listener, 0, 2);
	tcase_add_loop_test(cases, a_connection_without_its_client_is_not_a_listener, 0, 2);
	tcase_add_loop_test(cases, a_shut_down_connection_is_not_a_listener, 0, 2);
	tcase_add_loop_test(cases, a_client_is_not_a_listener, 0, TYPES);
	tcase_add_test(cases, a_path_that_has_a_new_owner_is_not_adopted);
	tcase_add_test(cases, other_descriptors_are_skipped);
	tcase_add_test(cases, the_longest_address_is_adopted);
}

static void add_held(TCase *cases)
{
	tcase_add_loop_test(cases, a_held_listener_is_owned, 0, TYPES);
	if (suite_is_root("a_held_listener_is_owned_without_privilege"))
		tcase_add_loop_test(cases, a_held_listener_is_owned_without_privilege, 0, TYPES);
	tcase_add_loop_test(cases, a_listener_of_another_process_is_not_held, 0, TYPES);
	ADD_ROOT_TEST(cases, a_listener_of_another_process_is_not_held_without_privilege);
	tcase_add_test(cases, a_renamed_listener_is_held);
	tcase_add_test(cases, the_claim_of_a_held_listener_is_joined);
	tcase_add_test(cases, a_claim_that_does_not_fit_is_released);
}

static void add_twins(TCase *cases)
{
	tcase_add_loop_test(cases, an_ambiguous_listener_is_owned_at_the_path_it_was_bound_to, 0,
		TYPES);
	tcase_add_test(cases, an_ambiguous_listener_is_not_owned_at_another_path);
	tcase_add_test(cases, if_the_answer_is_certain_the_path_is_not_compared);
	tcase_add_test(cases, a_claimed_record_outweighs_the_path);
	ADD_ROOT_TEST(cases, an_untrusted_record_proves_nothing);
	tcase_add_test(cases, a_record_without_a_socket_decides_nothing);
	tcase_add_test(cases, a_record_of_the_own_socket_does_not_outweigh_the_inode_number);
	tcase_add_test(cases, a_claim_of_a_container_is_joined);
	tcase_add_test(cases, a_claim_of_another_host_is_not_joined);
}

static void add_forbidden(TCase *cases)
{
	tcase_add_test(cases, only_one_of_two_links_is_removed_if_fstat_fails);
	tcase_add_loop_test(cases, a_socket_that_cannot_be_examined_is_not_held, 0, 2);
	ADD_ROOT_TEST(cases, a_socket_whose_inode_cannot_be_examined_is_not_held);
	ADD_ROOT_TEST(cases, a_socket_whose_number_is_unknown_is_not_held);
	ADD_ROOT_TEST(cases, without_privilege_and_netlink_the_record_decides);
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("owned");

	add_table(suite_cases(suite, "table"));
	add_inherited(suite_cases(suite, "inherited"));
	add_held(suite_cases(suite, "held"));
	add_twins(suite_cases(suite, "twins"));
	add_forbidden(suite_cases(suite, "forbidden"));
	return suite;
}
