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

/* Slots of the table, and how many of them a name may lie in: see owned.c. */
#define SLOTS 4096
#define REACH 16

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
#define TYPES 3

static const struct record sample = {
	.pid = 790, .uid = 33, .time = 1, .cookie = 4711, .comm = "gunicorn"};

/* An inode there is not. */
static struct inode made_up(uint64_t number)
{
	return (struct inode){.file = {.dev = 1, .ino = (ino_t)number}, .born_sec = 2};
}

static struct inode inode_of(const char *path)
{
	struct inode inode;

	ck_assert_int_eq(inode_identify(AT_FDCWD, path, &inode), 0);
	return inode;
}

static struct lockfile named(const char *path)
{
	struct lockfile lock;

	lockfile_name(&lock, AT_FDCWD, path);
	return lock;
}

static struct lockfile taken(const char *path)
{
	struct lockfile lock = named(path);

	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	return lock;
}

static struct lockfile taken_to_claim(const char *path)
{
	struct lockfile lock = named(path);

	lock.to_claim = true;
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	return lock;
}

/* Notes an inode under a name, with a claim. Returns the claim's descriptor. */
static int note(const struct inode *inode, const char *path, bool foreign, struct file_id *file)
{
	struct lockfile lock = taken_to_claim(path);
	int claim = lockfile_claim(&lock, &sample);

	ck_assert_int_ge(claim, 0);
	KEEPS_ERRNO_VOID(owned_note(inode, &lock.file, claim, sample.cookie, foreign));
	if (file)
		*file = lock.file;
	lockfile_leave(&lock);
	return claim;
}

static void note_without_claim(const struct inode *inode)
{
	KEEPS_ERRNO_VOID(owned_note(inode, NULL, -1, 0, false));
}

/* Is a name with this inode, and what lies beside this path now, ours? */
static bool is_mine(const struct inode *inode, const char *path)
{
	struct lockfile lock = taken(path);
	bool mine = KEEPS_ERRNO(owned_is_mine(inode, &lock));

	lockfile_leave(&lock);
	return mine;
}

static bool is_claimed(const char *path)
{
	struct lockfile lock = named(path);
	bool claimed = lockfile_peek(&lock) && lockfile_claimed(&lock);

	lockfile_leave(&lock);
	return claimed;
}

static void claim_in_child(const void *path)
{
	struct lockfile lock = taken_to_claim(path);

	ck_assert_int_ge(lockfile_claim(&lock, &sample), 0);
	lockfile_leave(&lock);
}

/* As by the owner of the socket behind a descriptor, bound at s. */
static void claim_for_socket_in_child(const void *fd)
{
	struct lockfile lock = taken_to_claim("s");
	struct record record;

	record_of_self(&record, *(const int *)fd);
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_leave(&lock);
}

/* As by the owner of another socket. */
static void claim_another_in_child(const void *path)
{
	struct lockfile lock = taken_to_claim(path);
	struct record another = sample;

	another.cookie++;
	ck_assert_int_ge(lockfile_claim(&lock, &another), 0);
	lockfile_leave(&lock);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* ---- the table ---- */

START_TEST(nothing_is_ours_to_begin_with)
{
	struct inode inode = made_up(1);
	struct inode zero = {0};
	struct file_id file = {0};

	ck_assert(!is_mine(&inode, "s"));
	ck_assert(!is_mine(&zero, "s"));
	ck_assert_int_eq(KEEPS_ERRNO(owned_claim_on(&file)), -1);
	KEEPS_ERRNO_VOID(owned_forget(&inode, &file));
}
END_TEST

START_TEST(a_noted_name_is_ours_until_forgotten)
{
	struct inode inode = made_up(1);
	struct file_id file;
	int claim = note(&inode, "s", false, &file);

	ck_assert(is_mine(&inode, "s"));
	ck_assert_int_eq(KEEPS_ERRNO(owned_claim_on(&file)), claim);
	KEEPS_ERRNO_VOID(owned_forget(&inode, &file));
	ck_assert(!is_mine(&inode, "s"));
	ck_assert(!is_claimed("s"));
	ck_assert(!is_open(claim));
	ck_assert_int_eq(owned_claim_on(&file), -1);
}
END_TEST

START_TEST(without_a_lock_file_the_inode_decides)
{
	struct inode inode = made_up(1);
	struct file_id none = {0};

	note_without_claim(&inode);
	ck_assert(is_mine(&inode, "s"));
	owned_forget(&inode, &none);
	ck_assert(!is_mine(&inode, "s"));
}
END_TEST

START_TEST(only_that_very_inode_is_ours)
{
	struct inode inode = made_up(1);
	struct inode other = inode;

	note_without_claim(&inode);
	other.born_nsec++;
	ck_assert(!is_mine(&other, "s"));
	other = inode;
	other.born_sec++;
	ck_assert(!is_mine(&other, "s"));
	other = inode;
	other.file.dev++;
	ck_assert(!is_mine(&other, "s"));
	other = made_up(2);
	ck_assert(!is_mine(&other, "s"));
}
END_TEST

/* The inode's number may be a rival's by now; the rival's claim beside the name says so. */
START_TEST(a_rival_s_claim_beside_the_name_makes_it_the_rival_s)
{
	struct inode inode = made_up(1);
	pid_t rival;

	note(&inode, "s", false, NULL);
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	ck_assert(is_mine(&inode, "s"));
	rival = start(claim_in_child, "s");
	ck_assert(!is_mine(&inode, "s"));
	end(rival);
	ck_assert(is_mine(&inode, "s"));
}
END_TEST

START_TEST(a_lost_claim_leaves_the_inode_to_decide)
{
	struct inode inode = made_up(1);
	struct file_id file;
	int claim = note(&inode, "s", false, &file);

	close(claim);
	ck_assert(is_mine(&inode, "s"));
	ck_assert_int_eq(owned_claim_on(&file), -1);
	owned_forget(&inode, &file);
	ck_assert(!is_mine(&inode, "s"));
}
END_TEST

/* The number is the program's by now, and so is what it means. */
START_TEST(a_claim_s_number_used_again_is_let_be)
{
	struct inode inode = made_up(1);
	struct file_id file;
	int claim = note(&inode, "s", false, &file);

	ck_assert_int_eq(dup2(0, claim), claim);
	ck_assert(is_mine(&inode, "s"));
	ck_assert_int_eq(owned_claim_on(&file), -1);
	owned_forget(&inode, &file);
	ck_assert(!is_mine(&inode, "s"));
	ck_assert(is_open(claim));
}
END_TEST

START_TEST(of_a_foreign_socket_only_the_claimed_name_is_ours)
{
	struct inode inode = made_up(1);
	struct file_id file;

	note(&inode, "s", true, &file);
	ck_assert(is_mine(&inode, "s"));
	ck_assert(!is_mine(&inode, "t")); /* the owner's own name for it */
	write_file(LOCKFILE_PREFIX "t" LOCKFILE_SUFFIX, "");
	ck_assert(!is_mine(&inode, "t"));
	owned_forget(&inode, &file);
	ck_assert(!is_mine(&inode, "s"));
}
END_TEST

START_TEST(of_a_foreign_socket_nothing_is_ours_without_a_claim)
{
	struct inode inode = made_up(1);
	struct inode other = made_up(2);
	int claim = note(&inode, "s", true, NULL);

	close(claim);
	ck_assert(!is_mine(&inode, "s"));
	owned_note(&other, NULL, -1, 0, true);
	ck_assert(!is_mine(&other, "s"));
}
END_TEST

START_TEST(two_names_of_a_socket_are_forgotten_one_by_one)
{
	struct inode inode = made_up(1);
	struct file_id a, b;
	int claim_a = note(&inode, "a", false, &a);
	int claim_b = note(&inode, "b", false, &b);

	ck_assert_int_eq(owned_claim_on(&a), claim_a);
	ck_assert_int_eq(owned_claim_on(&b), claim_b);
	owned_forget(&inode, &a);
	ck_assert(!is_open(claim_a));
	ck_assert(is_open(claim_b));
	ck_assert(is_mine(&inode, "b"));
	ck_assert(is_claimed("b"));
	owned_forget(&inode, &b);
	ck_assert(!is_mine(&inode, "b"));
	ck_assert(!is_claimed("b"));
}
END_TEST

/* As one of vfork does, whose table is its parent's. */
struct forgotten {
	struct inode inode;
	struct file_id file;
	int claim;
};

static int forget_in_child(void *about)
{
	const struct forgotten *name = about;

	owned_forget(&name->inode, &name->file);
	_exit(is_mine(&name->inode, "s") && is_open(name->claim) ? 0 : 1);
}

START_TEST(a_child_in_our_memory_forgets_nothing)
{
	static _Alignas(16) char stack[65536];
	struct forgotten name = {.inode = made_up(1)};
	pid_t child;
	int status;

	name.claim = note(&name.inode, "s", false, &name.file);
	child = clone(forget_in_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
		&name);
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(is_mine(&name.inode, "s"));
	owned_forget(&name.inode, &name.file);
	ck_assert(!is_mine(&name.inode, "s"));
}
END_TEST

START_TEST(a_fork_has_what_its_parent_had)
{
	struct inode inode = made_up(1);
	struct file_id file;
	pid_t worker;
	int status;

	note(&inode, "s", false, &file);
	worker = fork();
	if (worker == 0) {
		int mine = is_mine(&inode, "s") && owned_claim_on(&file) >= 0;

		self_forked();
		owned_forget(&inode, &file);
		_exit(mine && !is_mine(&inode, "s") ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	ck_assert_int_eq(status, 0);
	ck_assert(is_mine(&inode, "s"));
}
END_TEST

/* Inodes that differ in birth alone lead to the same slots. */
static struct inode neighbour(int i)
{
	struct inode inode = made_up(1);

	inode.born_nsec = (uint32_t)i;
	return inode;
}

static struct file_id fill_reach(void)
{
	struct file_id first = {0}, file;
	char name[16];

	for (int i = 0; i < REACH; i++) {
		struct inode inode = neighbour(i);

		snprintf(name, sizeof(name), "s%d", i);
		note(&inode, name, false, &file);
		if (i == 0)
			first = file;
	}
	return first;
}

static int names_of_ours(int names)
{
	char name[16];
	int count = 0;

	for (int i = 0; i < names; i++) {
		struct inode inode = neighbour(i);

		snprintf(name, sizeof(name), "s%d", i);
		count += is_mine(&inode, name);
	}
	return count;
}

START_TEST(what_finds_no_room_is_forgotten_with_its_claim)
{
	struct inode late = neighbour(REACH);
	int claim;

	fill_reach();
	ck_assert_int_eq(names_of_ours(REACH), REACH);
	claim = note(&late, "late", false, NULL);
	ck_assert(!is_mine(&late, "late"));
	ck_assert(!is_open(claim));
	ck_assert(!is_claimed("late"));
	ck_assert_int_eq(names_of_ours(REACH), REACH);
}
END_TEST

START_TEST(what_finds_no_room_may_have_no_claim)
{
	struct inode late = neighbour(REACH);

	fill_reach();
	note_without_claim(&late);
	ck_assert(!is_mine(&late, "late"));
	ck_assert_int_eq(names_of_ours(REACH), REACH);
}
END_TEST

START_TEST(a_name_forgotten_makes_room)
{
	struct inode first = neighbour(0);
	struct inode late = neighbour(REACH);
	struct file_id file = fill_reach();

	owned_forget(&first, &file);
	note(&late, "late", false, NULL);
	ck_assert(is_mine(&late, "late"));
	ck_assert_int_eq(names_of_ours(REACH), REACH - 1);
}
END_TEST

START_TEST(a_name_without_claim_makes_room_for_one_with)
{
	struct inode first = neighbour(0);
	struct inode late = neighbour(REACH);
	struct file_id file = fill_reach();

	close(owned_claim_on(&file));
	note(&late, "late", false, NULL);
	ck_assert(is_mine(&late, "late"));
	ck_assert(!is_mine(&first, "s0"));
	ck_assert_int_eq(names_of_ours(REACH), REACH - 1);
}
END_TEST

START_TEST(many_names_find_room)
{
	int found = 0;

	for (uint64_t i = 1; i <= SLOTS / 4; i++) {
		struct inode inode = made_up(i * 7919);

		note_without_claim(&inode);
	}
	for (uint64_t i = 1; i <= SLOTS / 4; i++) {
		struct inode inode = made_up(i * 7919);

		found += is_mine(&inode, "s");
	}
	ck_assert_int_eq(found, SLOTS / 4);
}
END_TEST

START_TEST(more_names_than_slots_do_no_harm)
{
	struct inode last = made_up(3 * SLOTS);
	int found = 0;

	for (uint64_t i = 1; i <= 3 * SLOTS; i++) {
		struct inode inode = made_up(i);

		note_without_claim(&inode);
	}
	for (uint64_t i = 1; i <= 3 * SLOTS; i++) {
		struct inode inode = made_up(i);

		found += is_mine(&inode, "s");
	}
	ck_assert_int_gt(found, SLOTS / 2);
	ck_assert_int_le(found, SLOTS);
	ck_assert(is_mine(&last, "s")); /* the newest is the likeliest to be asked for */
}
END_TEST

/* Enough new names for the whole table to be looked through once. */
static void note_many(void)
{
	struct file_id none = {0};

	for (uint64_t i = 0; i < SLOTS / REACH + 1; i++) {
		struct inode passing = made_up(1000000 + i);

		note_without_claim(&passing);
		owned_forget(&passing, &none);
	}
}

/* A fork removed the name, and its file with it. */
START_TEST(void_claims_do_not_add_up)
{
	struct inode inode = made_up(1);
	struct inode other = made_up(2);
	int claim = note(&inode, "s", false, NULL);
	int intact = note(&other, "t", false, NULL);

	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	note_many();
	ck_assert(!is_open(claim));
	ck_assert(is_open(intact));
	ck_assert(is_mine(&other, "t"));
}
END_TEST

/* The program closed our claim, and the rival's inode has the number of ours. */
START_TEST(a_rival_s_record_counts_after_ours_is_lost)
{
	struct inode inode = made_up(1);

	close(note(&inode, "s", false, NULL));
	ck_assert(is_mine(&inode, "s"));
	start(claim_another_in_child, "s");
	ck_assert(!is_mine(&inode, "s"));
}
END_TEST

/* Nothing says that it is a rival's, and the inode is ours. */
START_TEST(a_claim_that_tells_no_socket_is_no_rival_s)
{
	struct inode inode = made_up(1);

	close(note(&inode, "s", false, NULL));
	start(claim_another_in_child, "s");
	ck_assert(!is_mine(&inode, "s"));
	write_file(FILE_OF_S, "not a record");
	ck_assert(is_mine(&inode, "s"));
}
END_TEST

START_TEST(a_rival_s_record_does_not_count_where_our_socket_is_not_known)
{
	struct inode inode = made_up(1);

	note_without_claim(&inode);
	start(claim_another_in_child, "s");
	ck_assert(is_mine(&inode, "s"));
}
END_TEST

/* A fork of ours may hold on to what we have lost. */
START_TEST(a_record_of_our_socket_is_no_rival_s)
{
	struct inode inode = made_up(1);

	close(note(&inode, "s", false, NULL));
	start(claim_in_child, "s");
	ck_assert(is_mine(&inode, "s"));
}
END_TEST

START_TEST(a_rival_s_claim_counts_after_ours_is_void)
{
	struct inode inode = made_up(1);

	note(&inode, "s", false, NULL);
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	start(claim_in_child, "s");
	ck_assert(!is_mine(&inode, "s"));
	note_many();
	ck_assert(!is_mine(&inode, "s"));
}
END_TEST

/* ---- at the same time ---- */

#define THREADS 4
#define ROUNDS  20000

static atomic_bool stop;

/* All threads want the same slots. */
static struct inode inode_of_thread(int thread, int round)
{
	struct inode inode = made_up(1);

	inode.born_sec = thread * ROUNDS + round;
	inode.born_nsec = (uint32_t)inode.born_sec;
	return inode;
}

static void *note_and_forget(void *about)
{
	int thread = *(const int *)about;
	struct lockfile lock = named("s");
	struct file_id none = {0};
	intptr_t wrong = 0;

	for (int round = 1; round < ROUNDS; round++) {
		struct inode inode = inode_of_thread(thread, round);

		owned_note(&inode, NULL, -1, 0, false);
		wrong += !owned_is_mine(&inode, &lock);
		owned_forget(&inode, &none);
		wrong += owned_is_mine(&inode, &lock);
	}
	return (void *)wrong;
}

/* Slots lie differently in the processor's cache, and some are torn more easily than others. */
#define PLACES 16
static atomic_uint place;

static struct inode inode_in_turn(unsigned int at, int sec, uint32_t nsec)
{
	struct inode inode = made_up(at);

	inode.born_sec = sec;
	inode.born_nsec = nsec;
	return inode;
}

/* Two names that take turns in one slot, and then in the next. */
static void *take_turns(void *about)
{
	struct file_id none = {0};

	(void)about;
	for (place = 1; place <= PLACES; place++) {
		for (int round = 0; round < ROUNDS; round++) {
			struct inode inode =
				inode_in_turn(place, 1 + round % 2, 1 + (uint32_t)round % 2);

			owned_note(&inode, NULL, -1, 0, false);
			owned_forget(&inode, &none);
		}
	}
	stop = true;
	return NULL;
}

/* Half of one, and half of the other or of none. */
static int halves_seen(const struct lockfile *lock)
{
	const struct inode halves[] = {inode_in_turn(place, 1, 0), inode_in_turn(place, 2, 0),
		inode_in_turn(place, 1, 2), inode_in_turn(place, 2, 1)};
	int seen = 0;

	for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++)
		seen += owned_is_mine(&halves[i], lock) != OWNED_NOT;
	return seen;
}

START_TEST(a_name_half_written_is_not_seen)
{
	struct lockfile lock = named("s");
	pthread_t writer;
	int seen = 0;

	ck_assert_int_eq(pthread_create(&writer, NULL, take_turns, NULL), 0);
	while (!stop)
		seen += halves_seen(&lock);
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
	ck_assert_int_eq(seen, 0);
}
END_TEST

static int use_table(const void *about)
{
	int number = THREADS;
	struct inode inode = made_up(2);
	struct lockfile lock = named("s");

	(void)about;
	self_forked();
	owned_note(&inode, NULL, -1, 0, false);
	return owned_is_mine(&inode, &lock) && note_and_forget(&number) == NULL ? 0 : 1;
}

START_TEST(threads_do_not_disturb_each_other)
{
	pthread_t threads[THREADS];
	int numbers[THREADS];
	void *wrong;

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, note_and_forget, &numbers[i]),
			0);
	}
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
		ck_assert_ptr_null(wrong);
	}
}
END_TEST

/* Slots a fork caught in the middle of a write are lost to the child, and nothing else. */
START_TEST(a_fork_at_any_instant_has_a_usable_table)
{
	pthread_t threads[2];
	int numbers[2] = {0, 1};

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, note_and_forget, &numbers[i]),
			0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(in_child(use_table, NULL), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

/* ---- adoption of what came with exec ---- */

static void adopt(void)
{
	int before = open_descriptors();

	KEEPS_ERRNO_VOID(owned_adopt_inherited());
	ck_assert_int_eq(open_descriptors(), before);
}

static bool name_is_mine(const char *path)
{
	struct inode inode = inode_of(path);

	return is_mine(&inode, path);
}

START_TEST(inherited_listeners_are_ours)
{
	listening("s", types[_i]);
	ck_assert(!name_is_mine("s"));
	adopt();
	ck_assert(name_is_mine("s"));
	ck_assert(!exists(FILE_OF_S)); /* never guarded, no trace */
}
END_TEST

/* In a directory where a stranger has no lock files. */
static bool name_is_mine_unlocked(const char *path)
{
	struct inode inode = inode_of(path);
	struct lockfile lock = named(path);

	return owned_is_mine(&inode, &lock);
}

static int adopts(const void *path)
{
	owned_adopt_inherited();
	return name_is_mine_unlocked(path);
}

START_TEST(inherited_listeners_are_ours_without_privilege)
{
	listening("s", types[_i]);
	ck_assert_int_eq(as_stranger(adopts, "s"), 1);
}
END_TEST

START_TEST(an_adopted_name_stays_ours_when_the_listener_is_closed)
{
	int fd = listening("s", types[_i]);

	adopt();
	close(fd);
	ck_assert(name_is_mine("s"));
}
END_TEST

START_TEST(all_of_many_descriptors_are_looked_at)
{
	char name[16];

	for (int i = 0; i < 200; i++)
		ck_assert_int_ge(dup(0), 0);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		listening(name, SOCK_STREAM);
	}
	adopt();
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		ck_assert(name_is_mine(name));
	}
}
END_TEST

/* Listens at s, which another process that holds the socket claims for it. */
static pid_t listening_with_a_claim(int *fd)
{
	*fd = listening("s", SOCK_STREAM);
	return start(claim_for_socket_in_child, fd);
}

START_TEST(adopting_joins_the_claim)
{
	struct lockfile lock;
	int fd;
	pid_t owner = listening_with_a_claim(&fd);

	KEEPS_ERRNO_VOID(owned_adopt_inherited());
	ck_assert(name_is_mine("s"));
	lock = taken("s");
	ck_assert_int_ge(owned_claim_on(&lock.file), 0);
	lockfile_leave(&lock);
	end(owner);
	ck_assert(is_claimed("s"));
	ck_assert(name_is_mine("s"));
}
END_TEST

/* Of somebody who looks in, or left by a crash: who joined would claim it after our own name is
 * gone. */
static void assert_not_joined(void)
{
	struct lockfile lock;

	listening("s", SOCK_STREAM);
	owned_adopt_inherited();
	ck_assert(name_is_mine("s"));
	lock = taken("s");
	ck_assert_int_eq(owned_claim_on(&lock.file), -1);
	lockfile_leave(&lock);
}

START_TEST(a_lock_file_of_another_socket_is_not_joined)
{
	struct lockfile lock = taken_to_claim("s");
	int claim = lockfile_claim(&lock, &sample);

	lockfile_leave(&lock);
	lockfile_unclaim(claim);
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

/* An accepted connection; its listener is held by another process alone. Client may be NULL. */
static int accepted(const char *path, int type, int *client)
{
	int fd = listening(path, type);
	int ours = connected(path, type);
	int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(connection, 0);
	start(do_nothing, NULL);
	close(fd);
	if (client)
		*client = ours;
	else
		close(ours);
	return connection;
}

static bool adopts_held(const char *path)
{
	struct lockfile lock = named(path);
	struct pin pin;
	bool held;
	int before;

	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	before = open_descriptors();
	held = KEEPS_ERRNO(owned_adopt_held(&pin, &lock));
	ck_assert_int_eq(open_descriptors(), before);
	inode_unpin(&pin);
	return held;
}

START_TEST(an_accepted_connection_is_no_listener)
{
	int client;

	accepted("s", types[_i], &client);
	adopt();
	ck_assert(!name_is_mine("s"));
	ck_assert(!adopts_held("s"));
	ck_assert(!name_is_mine("s"));
}
END_TEST

/* It has no peer any more, but is a connection all the same. */
START_TEST(a_connection_whose_client_is_gone_is_no_listener)
{
	accepted("s", types[_i], NULL);
	adopt();
	ck_assert(!name_is_mine("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

START_TEST(a_shut_down_connection_is_no_listener)
{
	int client;
	int connection = accepted("s", types[_i], &client);

	ck_assert_int_eq(shutdown(connection, SHUT_RDWR), 0);
	adopt();
	ck_assert(!name_is_mine("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

START_TEST(a_client_is_no_listener)
{
	start_owner("s", types[_i]);
	connected("s", types[_i]);
	adopt();
	ck_assert(!name_is_mine("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

/* We have a listener that was bound there once; the name is another's by now. */
START_TEST(a_name_that_is_another_s_by_now_is_not_adopted)
{
	listening("s", SOCK_STREAM);
	ck_assert_int_eq(unlink("s"), 0);
	start_owner("s", SOCK_STREAM);
	adopt();
	ck_assert(!name_is_mine("s"));
	ck_assert(!adopts_held("s"));
}
END_TEST

START_TEST(other_descriptors_are_passed_over)
{
	struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0sockguard-check"};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int pair[2];

	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&abstract, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_ge(socket(AF_UNIX, SOCK_STREAM, 0), 0);
	ck_assert_int_ge(socket(AF_INET, SOCK_STREAM, 0), 0);
	ck_assert_int_ge(open(".", O_RDONLY | O_DIRECTORY), 0);
	close(listening("gone", SOCK_STREAM));
	listening("removed", SOCK_STREAM);
	ck_assert_int_eq(unlink("removed"), 0);
	adopt();
	ck_assert(!name_is_mine("gone"));
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
	ck_assert(name_is_mine(name));
}
END_TEST

/* ---- adoption of what is held by the time it is asked for ---- */

START_TEST(a_held_listener_is_ours)
{
	listening("s", types[_i]);
	ck_assert(adopts_held("s"));
	ck_assert(name_is_mine("s"));
	ck_assert(!exists(FILE_OF_S));
}
END_TEST

static int holds(const void *path)
{
	return adopts_held(path);
}

START_TEST(a_held_listener_is_ours_without_privilege)
{
	listening("s", types[_i]);
	ck_assert_int_eq(as_stranger(holds, "s"), 1);
}
END_TEST

START_TEST(another_s_listener_is_not_held)
{
	start_owner("s", types[_i]);
	listening("t", types[_i]);
	ck_assert(!adopts_held("s"));
	ck_assert(!name_is_mine("s"));
}
END_TEST

START_TEST(another_s_listener_is_not_held_without_privilege)
{
	start_owner("s", SOCK_STREAM);
	listening("t", SOCK_STREAM);
	ck_assert_int_eq(as_stranger(holds, "s"), 0);
}
END_TEST

START_TEST(a_renamed_listener_is_held)
{
	listening("s", SOCK_STREAM);
	ck_assert_int_eq(rename("s", "t"), 0);
	ck_assert(adopts_held("t"));
}
END_TEST

START_TEST(a_held_listener_s_claim_is_joined)
{
	struct lockfile lock;
	struct pin pin;
	int fd;
	pid_t owner = listening_with_a_claim(&fd);

	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	lock = taken("s");
	ck_assert(KEEPS_ERRNO(owned_adopt_held(&pin, &lock)));
	ck_assert_int_ge(owned_claim_on(&lock.file), 0);
	lockfile_leave(&lock);
	end(owner);
	ck_assert(is_claimed("s"));
}
END_TEST

/* Under privileges that it lacks the kernel does not tell which inode a socket is bound to. */
static int holds_untold(const void *pin)
{
	struct lockfile lock = named("s");

	forbid(CALL_STAT);
	return KEEPS_ERRNO(owned_adopt_held(pin, &lock));
}

START_TEST(a_socket_that_does_not_tell_its_number_is_not_held)
{
	struct pin pin;

	listening("s", SOCK_STREAM);
	ck_assert_int_eq(inode_pin(AT_FDCWD, "s", &pin), 0);
	ck_assert_int_eq(as_stranger(holds_untold, &pin), 0);
}
END_TEST

/* Without privilege and netlink the record has to tell, of a lock file that is claimed. */
static int holds_by_the_record(const void *path)
{
	struct lockfile lock = named(path);
	struct pin pin;

	lockfile_peek(&lock);
	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	forbid_with(SYS_socket, EAFNOSUPPORT);
	return KEEPS_ERRNO(owned_adopt_held(&pin, &lock));
}

static bool holds_recorded(void)
{
	chmod(FILE_OF_S, 0644); /* for a stranger to read it */
	return as_stranger(holds_by_the_record, "s") == 1;
}

START_TEST(without_privilege_and_netlink_the_record_tells)
{
	int fd = listening("s", SOCK_STREAM);
	pid_t owner;

	ck_assert(!holds_recorded());
	owner = start(claim_for_socket_in_child, &fd);
	ck_assert(holds_recorded());
	end(owner);
	ck_assert(!holds_recorded()); /* it is claimed no more */
	owner = start(claim_another_in_child, "s");
	ck_assert(!holds_recorded());
	write_file(FILE_OF_S, "not a record");
	ck_assert_int_eq(truncate(FILE_OF_S, 0), 0);
	ck_assert(!holds_recorded());
	end(owner);
}
END_TEST

/* ---- where inode numbers do not suffice ---- */

/* Before the first name is made: everything is seen on it. */
static void pretend_btrfs(void)
{
	pretend(&(struct pretence){.filesystem = BTRFS_TYPE, .unprivileged = true});
}

/* With its lock file open, where there is one. */
static bool holds_with_record(const char *path)
{
	struct lockfile lock = named(path);
	struct pin pin;
	bool held;

	lockfile_peek_accepted(&lock);
	ck_assert_int_eq(inode_pin(AT_FDCWD, path, &pin), 0);
	held = KEEPS_ERRNO(owned_holds(&pin, &lock));
	inode_unpin(&pin);
	lockfile_leave(&lock);
	return held;
}

START_TEST(a_twin_s_listener_is_ours_by_the_name_it_was_bound_at)
{
	pretend_btrfs();
	listening(absolute("s"), types[_i]);
	ck_assert(holds_with_record("s"));
	adopt();
	ck_assert(name_is_mine("s"));
}
END_TEST

START_TEST(a_twin_s_listener_is_not_ours_by_another_name)
{
	pretend_btrfs();
	listening("relative", SOCK_STREAM);
	ck_assert(!holds_with_record("relative"));
	listening(absolute("before"), SOCK_STREAM);
	ck_assert_int_eq(rename("before", "s"), 0);
	ck_assert(!holds_with_record("s"));
	listening("before", SOCK_STREAM);
	ck_assert(!holds_with_record("s"));
	adopt();
	ck_assert(!name_is_mine("relative"));
}
END_TEST

/* What the kernel is certain of needs no name. */
START_TEST(without_a_twin_no_name_is_needed)
{
	pretend(&(struct pretence){.unprivileged = true});
	listening("s", SOCK_STREAM);
	ck_assert_int_eq(rename("s", "t"), 0);
	ck_assert(holds_with_record("t"));
}
END_TEST

START_TEST(a_claimed_record_outweighs_the_name)
{
	int fd;
	pid_t owner;

	pretend_btrfs();
	fd = listening(absolute("s"), SOCK_STREAM);
	owner = start(claim_another_in_child, "s");
	ck_assert(!holds_with_record("s"));
	end(owner);
	ck_assert(holds_with_record("s")); /* it is claimed no more */
	ck_assert_int_eq(unlink(FILE_OF_S), 0);
	close(fd);
	ck_assert_int_eq(unlink("s"), 0);

	fd = listening("s", SOCK_STREAM);
	ck_assert(!holds_with_record("s"));
	owner = start(claim_for_socket_in_child, &fd);
	ck_assert(holds_with_record("s"));
	end(owner);
	ck_assert(!holds_with_record("s"));
}
END_TEST

/* Whoever owns the file may have written anything. */
START_TEST(a_record_that_is_not_trusted_proves_nothing)
{
	int fd;

	pretend_btrfs();
	fd = listening("s", SOCK_STREAM);
	start(claim_for_socket_in_child, &fd);
	ck_assert(holds_with_record("s"));
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	ck_assert(!holds_with_record("s"));
}
END_TEST

static void claim_untold_in_child(const void *path)
{
	struct lockfile lock = taken_to_claim(path);
	struct record record;

	record_of_self(&record, -1);
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_leave(&lock);
}

START_TEST(a_record_without_a_socket_decides_nothing)
{
	pretend_btrfs();
	listening(absolute("s"), SOCK_STREAM);
	start(claim_untold_in_child, "s");
	ck_assert(holds_with_record("s"));
}
END_TEST

/* The other socket's number is not the inode's. */
START_TEST(a_record_of_ours_does_not_outweigh_the_number)
{
	int fd;

	pretend_btrfs();
	fd = listening("before", SOCK_STREAM);
	make_stale("s");
	start(claim_for_socket_in_child, &fd);
	ck_assert(!holds_with_record("s"));
}
END_TEST

/* As by the owner of the socket behind a descriptor, in a container with a boot id of its own. */
static void claim_in_container(const void *fd)
{
	struct lockfile lock = taken_to_claim("s");
	struct record record;

	record_of_self(&record, *(const int *)fd);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	ck_assert_int_ge(lockfile_claim(&lock, &record), 0);
	lockfile_leave(&lock);
}

START_TEST(a_container_s_claim_is_joined)
{
	struct lockfile lock;
	int fd;

	pretend(&(struct pretence){.filesystem = EXT4_TYPE});
	fd = listening("s", SOCK_STREAM);
	start(claim_in_container, &fd);
	KEEPS_ERRNO_VOID(owned_adopt_inherited());
	lock = taken("s");
	ck_assert_int_ge(owned_claim_on(&lock.file), 0);
	lockfile_leave(&lock);
}
END_TEST

START_TEST(another_host_s_claim_is_not_joined)
{
	struct lockfile lock;
	int fd;

	pretend(&(struct pretence){.filesystem = NFS_TYPE, .unprivileged = true});
	fd = listening("s", SOCK_STREAM);
	start(claim_in_container, &fd);
	ck_assert(!holds_with_record("s")); /* another socket has this cookie there */
	adopt();
	lock = taken("s");
	ck_assert_int_eq(owned_claim_on(&lock.file), -1);
	lockfile_leave(&lock);
}
END_TEST

static void add_table(TCase *cases)
{
	tcase_add_test(cases, nothing_is_ours_to_begin_with);
	tcase_add_test(cases, a_noted_name_is_ours_until_forgotten);
	tcase_add_test(cases, without_a_lock_file_the_inode_decides);
	tcase_add_test(cases, only_that_very_inode_is_ours);
	tcase_add_test(cases, a_rival_s_claim_beside_the_name_makes_it_the_rival_s);
	tcase_add_test(cases, a_lost_claim_leaves_the_inode_to_decide);
	tcase_add_test(cases, a_claim_s_number_used_again_is_let_be);
	tcase_add_test(cases, of_a_foreign_socket_only_the_claimed_name_is_ours);
	tcase_add_test(cases, of_a_foreign_socket_nothing_is_ours_without_a_claim);
	tcase_add_test(cases, two_names_of_a_socket_are_forgotten_one_by_one);
	tcase_add_test(cases, a_fork_has_what_its_parent_had);
	tcase_add_test(cases, a_child_in_our_memory_forgets_nothing);
	tcase_add_test(cases, what_finds_no_room_is_forgotten_with_its_claim);
	tcase_add_test(cases, what_finds_no_room_may_have_no_claim);
	tcase_add_test(cases, a_name_forgotten_makes_room);
	tcase_add_test(cases, a_name_without_claim_makes_room_for_one_with);
	tcase_add_test(cases, many_names_find_room);
	tcase_add_test(cases, more_names_than_slots_do_no_harm);
	tcase_add_test(cases, void_claims_do_not_add_up);
	tcase_add_test(cases, a_rival_s_claim_counts_after_ours_is_void);
	tcase_add_test(cases, a_rival_s_record_counts_after_ours_is_lost);
	tcase_add_test(cases, a_record_of_our_socket_is_no_rival_s);
	tcase_add_test(cases, a_claim_that_tells_no_socket_is_no_rival_s);
	tcase_add_test(cases, a_rival_s_record_does_not_count_where_our_socket_is_not_known);
	tcase_add_test(cases, threads_do_not_disturb_each_other);
	tcase_add_test(cases, a_name_half_written_is_not_seen);
	tcase_add_test(cases, a_fork_at_any_instant_has_a_usable_table);
}

static void add_inherited(TCase *cases)
{
	tcase_add_loop_test(cases, inherited_listeners_are_ours, 0, TYPES);
	if (suite_is_root("inherited_listeners_are_ours_without_privilege"))
		tcase_add_loop_test(cases, inherited_listeners_are_ours_without_privilege, 0,
			TYPES);
	tcase_add_loop_test(cases, an_adopted_name_stays_ours_when_the_listener_is_closed, 0,
		TYPES);
	tcase_add_test(cases, all_of_many_descriptors_are_looked_at);
	tcase_add_test(cases, adopting_joins_the_claim);
	tcase_add_test(cases, a_lock_file_of_another_socket_is_not_joined);
	tcase_add_test(cases, an_empty_lock_file_is_not_joined);
	tcase_add_loop_test(cases, an_accepted_connection_is_no_listener, 0, 2);
	tcase_add_loop_test(cases, a_connection_whose_client_is_gone_is_no_listener, 0, 2);
	tcase_add_loop_test(cases, a_shut_down_connection_is_no_listener, 0, 2);
	tcase_add_loop_test(cases, a_client_is_no_listener, 0, TYPES);
	tcase_add_test(cases, a_name_that_is_another_s_by_now_is_not_adopted);
	tcase_add_test(cases, other_descriptors_are_passed_over);
	tcase_add_test(cases, the_longest_address_is_adopted);
}

static void add_held(TCase *cases)
{
	tcase_add_loop_test(cases, a_held_listener_is_ours, 0, TYPES);
	if (suite_is_root("a_held_listener_is_ours_without_privilege"))
		tcase_add_loop_test(cases, a_held_listener_is_ours_without_privilege, 0, TYPES);
	tcase_add_loop_test(cases, another_s_listener_is_not_held, 0, TYPES);
	ADD_ROOT_TEST(cases, another_s_listener_is_not_held_without_privilege);
	tcase_add_test(cases, a_renamed_listener_is_held);
	tcase_add_test(cases, a_held_listener_s_claim_is_joined);
}

static void add_twins(TCase *cases)
{
	tcase_add_loop_test(cases, a_twin_s_listener_is_ours_by_the_name_it_was_bound_at, 0, TYPES);
	tcase_add_test(cases, a_twin_s_listener_is_not_ours_by_another_name);
	tcase_add_test(cases, without_a_twin_no_name_is_needed);
	tcase_add_test(cases, a_claimed_record_outweighs_the_name);
	ADD_ROOT_TEST(cases, a_record_that_is_not_trusted_proves_nothing);
	tcase_add_test(cases, a_record_without_a_socket_decides_nothing);
	tcase_add_test(cases, a_record_of_ours_does_not_outweigh_the_number);
	tcase_add_test(cases, a_container_s_claim_is_joined);
	tcase_add_test(cases, another_host_s_claim_is_not_joined);
}

static void add_forbidden(TCase *cases)
{
	ADD_ROOT_TEST(cases, a_socket_that_does_not_tell_its_number_is_not_held);
	ADD_ROOT_TEST(cases, without_privilege_and_netlink_the_record_tells);
}

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("owned");

	add_table(suite_cases(suite, "table"));
	add_inherited(suite_cases(suite, "inherited"));
	add_held(suite_cases(suite, "held"));
	add_twins(suite_cases(suite, "twins"));
	add_forbidden(suite_cases(suite, "forbidden"));
	return suite;
}
