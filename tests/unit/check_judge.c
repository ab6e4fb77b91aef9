#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "filter.h"
#include "judge.h"
#include "owned.h"
#include "suite.h"

#define FILE_OF_S LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX

#define AT(path) (&(struct location){AT_FDCWD, path, AT_FDCWD, path})

static struct lockfile lock; /* of the path judged last */

static struct judgement judgement_of(const char *path)
{
	struct judgement judgement;
	int before = count_descriptors();

	memset(&judgement, 0xff, sizeof(judgement));
	lockfile_init(&lock, AT_FDCWD, path);
	lockfile_open_readonly(&lock);
	lock.file = (struct file_id){0};
	KEEPS_ERRNO_VOID(judge(AT(path), &lock, &judgement));
	lockfile_release(&lock);
	ck_assert_int_eq(count_descriptors(), before);
	return judgement;
}

static bool is_stale(const char *path)
{
	bool stale;

	lockfile_init(&lock, AT_FDCWD, path);
	lockfile_open_readonly(&lock);
	stale = KEEPS_ERRNO(judge_is_stale(AT(path), &lock));
	lockfile_release(&lock);
	return stale;
}

/* Claims the path with this record. */
static void claim_as(const char *path, const struct record *record)
{
	struct lockfile other_lock;

	lockfile_init(&other_lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try_lock(&other_lock), LOCKFILE_HELD);
	ck_assert_int_ge(lockfile_claim(&other_lock, record), 0);
	lockfile_release(&other_lock);
}

static void serve_and_claim(const void *path)
{
	struct record record;

	record_describe_caller(&record, listening_socket(path, SOCK_STREAM));
	claim_as(path, &record);
}

/* Other users may not connect. */
static void serve_and_claim_privately(const void *path)
{
	serve_and_claim(path);
	ck_assert_int_eq(chmod(path, 0755), 0);
}

static void claim_without_socket(const void *path)
{
	struct record record;
	int fd = listening_socket(path, SOCK_STREAM);

	record_describe_caller(&record, fd);
	close(fd);
	claim_as(path, &record);
}

static void lock_path(const char *path)
{
	lockfile_init(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try_lock(&lock), LOCKFILE_HELD);
}

static bool is_absent_but_claimed(const char *path, struct judgement *judgement)
{
	bool claimed;

	memset(judgement, 0, sizeof(*judgement));
	lock_path(path);
	claimed = KEEPS_ERRNO(judge_absent_is_claimed(&lock, judgement));
	lockfile_release(&lock);
	return claimed;
}

START_TEST(an_absent_path_is_judged_absent)
{
	struct judgement judgement = judgement_of("s");

	ck_assert_int_eq(judgement.verdict, VERDICT_ABSENT);
	ck_assert_int_eq(judgement.error, ENOENT);
	ck_assert(!judge_is_socket(&judgement));
	ck_assert(!is_stale("s"));
}
END_TEST

/* It may have been removed since the caller looked. */
START_TEST(an_absent_path_is_not_in_use)
{
	struct judgement judgement;

	lockfile_init(&lock, AT_FDCWD, "s");
	ck_assert(!KEEPS_ERRNO(judge_in_use_unlocked(AT("s"), &lock, &judgement)));
	ck_assert_int_eq(lock.fd, -1);
}
END_TEST

START_TEST(other_files_are_judged_not_a_socket)
{
	struct judgement judgement;

	write_file("file", "");
	make_stale("stale");
	ck_assert_int_eq(symlink("stale", "link"), 0);
	judgement = judgement_of("file");
	ck_assert_int_eq(judgement.verdict, VERDICT_NOT_SOCKET);
	ck_assert(!judge_is_socket(&judgement));
	judgement = judgement_of("link");
	ck_assert_int_eq(judgement.verdict, VERDICT_NOT_SOCKET);
	ck_assert(!is_stale("file"));
	ck_assert(!is_stale("link"));
}
END_TEST

START_TEST(a_failed_lookup_is_judged_failed_with_its_errno)
{
	struct judgement judgement;

	write_file("file", "");
	judgement = judgement_of("file/s");
	ck_assert_int_eq(judgement.verdict, VERDICT_FAILED);
	ck_assert_int_eq(judgement.error, ENOTDIR);
	ck_assert(!judge_is_socket(&judgement));
}
END_TEST

START_TEST(a_stale_socket_is_judged_stale)
{
	struct judgement judgement;

	make_stale("s");
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
	ck_assert(judge_is_socket(&judgement));
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(the_socket_of_an_unguarded_owner_is_in_use)
{
	pid_t owner = start_owner("s", SOCK_STREAM);
	struct judgement judgement = judgement_of("s");

	ck_assert_int_eq(judgement.verdict, VERDICT_IN_USE);
	ck_assert_int_eq(judgement.reason, REASON_OWNER_UNRECORDED);
	ck_assert(judge_is_socket(&judgement));
	ck_assert(!is_stale("s"));
	kill_child(owner);
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
}
END_TEST

START_TEST(the_judgement_names_a_guarded_owner)
{
	pid_t owner = start_child(serve_and_claim, "s");
	struct judgement judgement = judgement_of("s");

	ck_assert_int_eq(judgement.verdict, VERDICT_IN_USE);
	ck_assert_int_eq(judgement.reason, REASON_OWNER_RECORDED);
	ck_assert_uint_eq(judgement.record.pid, (uint64_t)owner);
	ck_assert(!is_stale("s"));
	kill_child(owner);
	judgement = judgement_of("s"); /* the lock file remains, but no claim */
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(a_claim_without_a_socket_is_not_an_owner)
{
	struct judgement judgement;

	start_child(claim_without_socket, "s");
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(a_claim_without_a_record_does_not_protect_a_stale_path)
{
	struct judgement judgement;

	start_child(claim_without_socket, "s");
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, "not a record");
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(a_socket_that_we_hold_is_ours)
{
	struct judgement judgement;

	listening_socket("s", SOCK_STREAM);
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_OWN);
	ck_assert(judge_is_socket(&judgement));
	ck_assert(!is_stale("s")); /* our own live socket is not stale either */
}
END_TEST

START_TEST(a_path_in_the_table_is_ours)
{
	struct judgement judgement;
	struct inode inode;

	start_owner("s", SOCK_STREAM);
	ck_assert_int_eq(inode_identify(AT_FDCWD, "s", &inode), 0);
	lockfile_init(&lock, AT_FDCWD, "s");
	owned_add(&inode, NULL, -1, 0, false);
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_OWN);
	ck_assert(inode_same(&judgement.inode, &inode));
}
END_TEST

static struct record record_of_another_host(void)
{
	struct record record;

	record_describe_caller(&record, -1);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	return record;
}

START_TEST(a_claim_of_another_host_is_in_use)
{
	struct record record = record_of_another_host();
	struct judgement judgement;

	fake_kernel(&(struct fake_results){.filesystem = NFS_TYPE});
	make_stale("s");
	claim_as("s", &record);
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_IN_USE);
	ck_assert_int_eq(judgement.reason, REASON_OWNER_REMOTE);
	ck_assert_str_eq(judgement.record.boot, record.boot);
	ck_assert(!is_stale("s"));
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

/* systemd-nspawn and LXC give containers another boot ID. Local locks still belong to this kernel.
 */
START_TEST(another_boot_id_on_a_local_file_system_is_not_another_host)
{
	struct record record = record_of_another_host();
	struct judgement judgement;
	int fd;

	fake_kernel(&(struct fake_results){.filesystem = EXT4_TYPE});
	make_stale("s");
	claim_as("s", &record); /* names no socket */
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
	ck_assert(is_absent_but_claimed("s", &judgement));

	fd = bound_socket("t", SOCK_STREAM);
	record_describe_caller(&record, fd);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	claim_as("t", &record);
	ck_assert_int_eq(unlink("t"), 0);
	ck_assert(is_absent_but_claimed("t", &judgement));
	close(fd);
	ck_assert(!is_absent_but_claimed("t", &judgement));
}
END_TEST

/*
 * The record names a live socket, but the kernel reports that no socket is bound to this inode.
 * A stacked file system causes this, because it shows the inode with another device.
 */
START_TEST(a_socket_seen_through_a_view_is_in_use)
{
	const struct fake_results view = {.minor = 4711, .refuses = true};
	pid_t owner = start_child(serve_and_claim, "s");
	struct judgement judgement;

	fake_kernel(&view);
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_IN_USE);
	ck_assert_int_eq(judgement.reason, REASON_OWNER_RECORDED);
	ck_assert_uint_eq(judgement.record.pid, (uint64_t)owner);
	ck_assert(!is_stale("s"));
	kill_child(owner);
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
}
END_TEST

/* This process bound the socket, which is bound to the inode in another file system. */
START_TEST(an_own_socket_seen_through_a_view_does_not_hold_the_path)
{
	const struct fake_results view = {.minor = 4711, .refuses = true, .unprivileged = true};
	struct record record;

	record_describe_caller(&record, listening_socket("s", SOCK_STREAM));
	claim_as("s", &record);
	fake_kernel(&view);
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_STALE);
}
END_TEST

/* In a view, the inode number is that of the inode that the socket was bound to. */
START_TEST(a_copy_of_the_record_does_not_show_a_view)
{
	const struct fake_results view = {.minor = 4711, .refuses = true};
	struct record record;
	char text[RECORD_SIZE + 1] = {0};

	record_describe_caller(&record, listening_socket("t", SOCK_STREAM));
	make_stale("s");
	record_format(&record, text);
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, text);
	fake_kernel(&view);
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
}
END_TEST

/* The user to whom the lock file belongs may have written any record. */
START_TEST(an_untrusted_record_does_not_show_a_view)
{
	const struct fake_results view = {.minor = 4711, .refuses = true};
	const struct location location = location_of(AT_FDCWD, "s");
	struct judgement judgement;

	start_child(serve_and_claim, "s");
	ck_assert_int_eq(chown(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, STRANGER, STRANGER), 0);
	fake_kernel(&view);
	lockfile_init(&lock, AT_FDCWD, "s");
	ck_assert(lockfile_open_readonly_valid(&lock));
	judge(&location, &lock, &judgement);
	lockfile_release(&lock);
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
}
END_TEST

START_TEST(a_record_that_says_left_does_not_show_a_view)
{
	const struct fake_results view = {.minor = 4711, .refuses = true};
	struct lockfile other_lock;

	start_child(serve_and_claim, "s");
	lockfile_init(&other_lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try_lock(&other_lock), LOCKFILE_HELD);
	lockfile_mark_leaving(&other_lock, true);
	lockfile_release(&other_lock);
	fake_kernel(&view);
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_STALE);
}
END_TEST

/* A crash before the last boot left a record that no process claims. */
START_TEST(a_record_of_another_boot_without_a_claim_is_stale)
{
	struct record record = record_of_another_host();
	char text[RECORD_SIZE + 1] = {0};
	struct judgement judgement;

	make_stale("s");
	record_format(&record, text);
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, text);
	judgement = judgement_of("s");
	ck_assert_int_eq(judgement.verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(the_claim_of_an_owner_reserves_an_absent_path)
{
	pid_t owner = start_child(serve_and_claim, "s");
	struct judgement judgement;

	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(is_absent_but_claimed("s", &judgement));
	ck_assert_int_eq(judgement.reason, REASON_ABSENT_CLAIMED);
	ck_assert_uint_eq(judgement.record.pid, (uint64_t)owner);
	kill_child(owner);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(a_claim_without_a_socket_does_not_reserve_an_absent_path)
{
	struct judgement judgement;

	start_child(claim_without_socket, "s");
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* The check opens its socket at 0. */
START_TEST(a_program_without_standard_input_may_check_an_absent_path)
{
	struct judgement judgement = {0};

	start_child(claim_without_socket, "s");
	ck_assert_int_eq(unlink("s"), 0);
	lock_path("s");
	close(STDIN_FILENO);
	ck_assert(!KEEPS_ERRNO(judge_absent_is_claimed(&lock, &judgement)));
	ASSERT_FAILS(fcntl(STDIN_FILENO, F_GETFD), EBADF);
}
END_TEST

/* The owner was killed while it unlinked the path, and a child still holds the claim. */
START_TEST(a_path_whose_record_says_left_is_free)
{
	struct lockfile other_lock;
	struct judgement judgement;

	start_child(serve_and_claim, "s");
	ck_assert_int_eq(unlink("s"), 0);
	lockfile_init(&other_lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try_lock(&other_lock), LOCKFILE_HELD);
	lockfile_mark_leaving(&other_lock, true);
	lockfile_release(&other_lock);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* If the record does not name the socket, the socket is assumed to exist. */
START_TEST(a_claim_whose_record_names_no_socket_reserves_an_absent_path)
{
	struct record record;
	struct judgement judgement;

	record_describe_caller(&record, -1);
	claim_as("s", &record);
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

/* Before Linux 5.14, the namespace is unknown, and sock_diag may report on another one. */
START_TEST(a_claim_in_an_unknown_network_namespace_reserves_an_absent_path)
{
	struct record record;
	struct judgement judgement;
	int fd = listening_socket("t", SOCK_STREAM);

	record_describe_caller(&record, fd);
	close(fd);
	record.netns = 0;
	claim_as("s", &record);
	forbid(SYS_getsockopt);
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(a_claim_without_a_record_reserves_an_absent_path)
{
	struct judgement judgement;

	start_child(claim_without_socket, "s");
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, "not a record");
	ck_assert(is_absent_but_claimed("s", &judgement));
	ck_assert_int_eq(judgement.reason, REASON_ABSENT_CLAIMED);
	ck_assert_uint_eq(judgement.record.pid, 0);
}
END_TEST

START_TEST(an_own_claim_does_not_reserve_a_path_against_its_owner)
{
	struct judgement judgement;
	struct record record;
	struct inode inode;
	int fd = listening_socket("s", SOCK_STREAM);

	record_describe_caller(&record, fd);
	ck_assert_int_eq(inode_identify(AT_FDCWD, "s", &inode), 0);
	lock_path("s");
	owned_add(&inode, &lock.file, lockfile_claim(&lock, &record), record.cookie, false);
	lockfile_release(&lock);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* The guard cannot check whether the socket still exists. */
START_TEST(without_descriptors_a_claim_reserves_an_absent_path)
{
	struct judgement judgement = {0};

	start_child(claim_without_socket, "s");
	ck_assert_int_eq(unlink("s"), 0);
	lock_path("s");
	use_up_descriptors();
	ck_assert(KEEPS_ERRNO(judge_absent_is_claimed(&lock, &judgement)));
}
END_TEST

/* An unguarded process removes or replaces the path between two lookups. */
START_TEST(a_path_that_changes_during_the_check_gets_the_last_verdict)
{
	static const struct {
		int error;
		enum verdict verdict;
	} changes[] = {{ENOENT, VERDICT_ABSENT}, {ENOTSOCK, VERDICT_NOT_SOCKET}};
	struct judgement judgement;

	start_owner("s", SOCK_STREAM);
	lockfile_init(&lock, AT_FDCWD, "s");
	forbid_with(SYS_openat, changes[_i].error);
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.verdict, changes[_i].verdict);
	ck_assert_int_eq(judgement.error, changes[_i].error);
}
END_TEST

START_TEST(a_claim_in_another_network_namespace_reserves_an_absent_path)
{
	struct record record;
	struct judgement judgement;
	int fd = listening_socket("t", SOCK_STREAM);

	record_describe_caller(&record, fd);
	close(fd);
	record.netns++;
	claim_as("s", &record);
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(without_descriptors_a_stale_path_is_in_use)
{
	struct judgement judgement;

	make_stale("s");
	lockfile_init(&lock, AT_FDCWD, "s");
	lock.file = (struct file_id){0};
	use_up_descriptors();
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.verdict, VERDICT_IN_USE);
	ck_assert_int_eq(judgement.reason, REASON_UNDETERMINED);
	ck_assert(!KEEPS_ERRNO(judge_is_stale(AT("s"), &lock)));
}
END_TEST

/* There are enough descriptors to pin the socket, but not to probe it. */
START_TEST(an_unknown_state_counts_as_live)
{
	struct judgement judgement;

	make_stale("s");
	lockfile_init(&lock, AT_FDCWD, "s");
	lock.file = (struct file_id){0};
	close(use_up_descriptors());
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.verdict, VERDICT_IN_USE);
	ck_assert(!KEEPS_ERRNO(judge_is_stale(AT("s"), &lock)));
}
END_TEST

/* ---- a caller that may not connect ---- */

#define VERDICT_AND_REASON(verdict, reason) ((int)(verdict) << 4 | (int)(reason))

static int judge_s(const void *about)
{
	struct judgement judgement = judgement_of("s");

	(void)about;
	ck_assert_int_eq(is_stale("s"), judgement.verdict == VERDICT_STALE);
	return VERDICT_AND_REASON(judgement.verdict, judgement.reason);
}

static int judge_s_as_stranger_elsewhere(const void *about)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	return run_as_stranger(judge_s, about);
}

#define STALE_FOR_STRANGER VERDICT_AND_REASON(VERDICT_STALE, 0)
#define LIVE_FOR_STRANGER  VERDICT_AND_REASON(VERDICT_IN_USE, REASON_OWNER_ELSEWHERE)

START_TEST(an_owner_in_another_network_namespace_is_seen_by_its_claim)
{
	pid_t owner = start_child(serve_and_claim_privately, "s");

	ck_assert_int_eq(run_in_child(judge_s_as_stranger_elsewhere, NULL), LIVE_FOR_STRANGER);
	kill_child(owner);
	ck_assert_int_eq(run_in_child(judge_s_as_stranger_elsewhere, NULL), STALE_FOR_STRANGER);
}
END_TEST

/* A claim outlives its socket. In its own namespace, sock_diag shows that. */
START_TEST(a_claim_in_our_network_namespace_is_no_owner)
{
	start_child(claim_without_socket, "s");
	ck_assert_int_eq(chmod("s", 0755), 0);
	ck_assert_int_eq(run_as_stranger(judge_s, NULL), STALE_FOR_STRANGER);
	ck_assert_int_eq(run_in_child(judge_s_as_stranger_elsewhere, NULL), LIVE_FOR_STRANGER);
}
END_TEST

/* Any user can create the lock file there. */
START_TEST(in_a_sticky_directory_another_users_claim_shows_no_owner)
{
	start_child(serve_and_claim_privately, "s");
	ck_assert_int_eq(chmod(".", 01777), 0);
	ck_assert_int_eq(run_in_child(judge_s_as_stranger_elsewhere, NULL), STALE_FOR_STRANGER);
}
END_TEST

/* The stranger may open the lock file, but not connect to its own socket. */
static void give_to_stranger(struct record *record)
{
	int fd = bound_socket("s", SOCK_STREAM);

	record_describe_caller(record, fd);
	close(fd);
	ck_assert_int_eq(chmod("s", 0), 0);
	ck_assert_int_eq(chown("s", STRANGER, STRANGER), 0);
}

START_TEST(a_readable_claim_counts_if_its_network_namespace_is_another)
{
	struct record record;
	int expected = STALE_FOR_STRANGER;

	give_to_stranger(&record);
	if (_i == 1) {
		record.netns++;
		expected = VERDICT_AND_REASON(VERDICT_IN_USE, REASON_OWNER_RECORDED);
	} else if (_i == 2) {
		record.netns++;
		record.leaving = true;
	} else if (_i == 3) {
		record.netns = 0;
	}
	claim_as("s", &record);
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	ck_assert_int_eq(run_as_stranger(judge_s, NULL), expected);
}
END_TEST

START_TEST(an_unclaimed_record_of_another_network_namespace_is_stale)
{
	struct record record;
	struct lockfile left;

	give_to_stranger(&record);
	record.netns++;
	lockfile_init(&left, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try_lock(&left), LOCKFILE_HELD);
	lockfile_release_claim(lockfile_claim(&left, &record));
	ck_assert_int_eq(chown(FILE_OF_S, STRANGER, STRANGER), 0);
	ck_assert_int_eq(run_as_stranger(judge_s, NULL), STALE_FOR_STRANGER);
}
END_TEST

/* ---- a lock file of another user ---- */

/* Makes the lock file that of a user in whose directory root makes calls. */
static void make_untrusted(const char *lockfile)
{
	ck_assert_int_eq(chown(lockfile, STRANGER, STRANGER), 0);
}

static struct judgement judgement_under_mutex(const char *path)
{
	struct judgement judgement;

	lock_path(path);
	KEEPS_ERRNO_VOID(judge(AT(path), &lock, &judgement));
	lockfile_release(&lock);
	return judgement;
}

/* Otherwise any user could write one, so that root could never unlink a stale path. */
START_TEST(an_untrusted_record_does_not_show_another_host)
{
	struct record record = record_of_another_host();

	fake_kernel(&(struct fake_results){.filesystem = NFS_TYPE});
	make_stale("s");
	claim_as("s", &record);
	ck_assert_int_eq(judgement_under_mutex("s").verdict, VERDICT_IN_USE);
	make_untrusted(FILE_OF_S);
	ck_assert_int_eq(judgement_under_mutex("s").verdict, VERDICT_STALE);
	lock_path("s");
	ck_assert(KEEPS_ERRNO(judge_is_stale(AT("s"), &lock)));
}
END_TEST

START_TEST(an_untrusted_claim_reserves_an_absent_path_while_its_socket_exists)
{
	struct judgement judgement;
	pid_t owner = start_child(serve_and_claim, "s");
	struct record record;

	ck_assert_int_eq(unlink("s"), 0);
	make_untrusted(FILE_OF_S);
	ck_assert(is_absent_but_claimed("s", &judgement));
	ck_assert_int_eq(judgement.reason, REASON_ABSENT_CLAIMED);
	lockfile_init(&lock, AT_FDCWD, "s");
	ck_assert(lockfile_open_readonly(&lock));
	ck_assert(lockfile_read_record(&lock, &record));
	lockfile_release(&lock);
	kill_child(owner);
	claim_as("s", &record); /* by another process, with the same record */
	make_untrusted(FILE_OF_S);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* If an untrusted record does not name the socket, the socket is assumed not to exist. */
START_TEST(an_untrusted_claim_whose_record_names_no_socket_reserves_no_path)
{
	struct record record;
	struct judgement judgement;

	record_describe_caller(&record, -1);
	claim_as("s", &record);
	ck_assert(is_absent_but_claimed("s", &judgement));
	make_untrusted(FILE_OF_S);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(an_untrusted_claim_without_a_record_reserves_no_path)
{
	struct judgement judgement;

	start_child(claim_without_socket, "s");
	write_file(FILE_OF_S, "not a record");
	ck_assert(is_absent_but_claimed("s", &judgement));
	make_untrusted(FILE_OF_S);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* ---- a process whose filters forbid the checks ---- */

#define LOAD(field)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define FORBIDDEN           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define ALLOWED             BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void install(struct sock_filter *code, size_t length)
{
	const struct sock_fprog program = {.len = (unsigned short)length, .filter = code};
	struct filter_installation attempt;

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	attempt = filter_install_begin(false);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	filter_install_end(attempt, true, &program);
}

static void forbid_known(unsigned int call)
{
	struct sock_filter code[] = {LOAD(nr), UNLESS(call, 1), FORBIDDEN, ALLOWED};

	install(code, 4);
}

static void forbid_connect(void)
{
	forbid_known(SYS_connect);
}

static void forbid_netlink(void)
{
	struct sock_filter code[] = {LOAD(nr), UNLESS(SYS_socket, 3), LOAD(args[0]),
		UNLESS(AF_NETLINK, 1), FORBIDDEN, ALLOWED};

	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		code[2].k += 4;
	install(code, 6);
}

START_TEST(the_verdict_is_forbidden_if_filters_forbid_the_checks)
{
	if (_i == 0)
		make_stale("s");
	else
		start_owner("s", SOCK_STREAM);
	forbid_connect();
	forbid_netlink();
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_FORBIDDEN);
	ck_assert(!is_stale("s"));
}
END_TEST

/* The socket may be the caller's own, but the caller cannot show it. */
START_TEST(with_filters_an_unknown_state_has_the_verdict_forbidden)
{
	struct judgement judgement;

	make_stale("s");
	forbid_connect();
	lockfile_init(&lock, AT_FDCWD, "s");
	lock.file = (struct file_id){0};
	use_up_descriptors();
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.verdict, VERDICT_FORBIDDEN);
}
END_TEST

/* The same for the search among the caller's descriptors. */
START_TEST(the_verdict_is_forbidden_if_filters_forbid_the_search)
{
	start_owner("s", SOCK_STREAM);
	make_stale("t");
	forbid_netlink();
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_FORBIDDEN);
	ck_assert_int_eq(judgement_of("t").verdict, VERDICT_STALE); /* connect(2) gave the answer */
	ck_assert_int_eq(judgement_of("u").verdict, VERDICT_ABSENT);
}
END_TEST

/* Without the guard, the process could replace the stale path. */
START_TEST(with_filters_an_unknown_network_namespace_shows_no_owner)
{
	struct record record;
	int fd = bound_socket("s", SOCK_STREAM);

	record_describe_caller(&record, fd);
	close(fd);
	record.netns++;
	claim_as("s", &record);
	forbid_connect(); /* sock_diag gives the answer, for our network namespace */
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_IN_USE);
	forbid_known(SYS_getsockopt);
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_STALE);
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(other_filters_change_no_verdict)
{
	start_owner("s", SOCK_STREAM);
	make_stale("t");
	forbid_connect();
	ck_assert_int_eq(judgement_of("s").verdict, VERDICT_IN_USE);
	ck_assert_int_eq(judgement_of("t").verdict, VERDICT_STALE); /* sock_diag gave the answer */
}
END_TEST

static void add_hidden_owners(TCase *cases)
{
	if (!suite_can_unshare(CLONE_NEWNET, "owners in another network namespace"))
		return;
	tcase_add_loop_test(cases, a_readable_claim_counts_if_its_network_namespace_is_another, 0,
		4);
	tcase_add_test(cases, an_unclaimed_record_of_another_network_namespace_is_stale);
	tcase_add_test(cases, in_a_sticky_directory_another_users_claim_shows_no_owner);
	if (!suite_has_named_devices("claims seen in /proc/locks"))
		return;
	tcase_add_test(cases, an_owner_in_another_network_namespace_is_seen_by_its_claim);
	tcase_add_test(cases, a_claim_in_our_network_namespace_is_no_owner);
}

static bool has_namespace_cookies(const char *test)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool has = record_socket_netns(fd) != 0;

	close(fd);
	if (!has)
		printf("# SKIP %s: the kernel is older than 5.14\n", test);
	return has;
}

Suite *suite_of_module(void)
{
	Suite *suite = suite_create("judge");
	TCase *cases = suite_cases(suite, "judge");

	tcase_add_test(cases, an_absent_path_is_judged_absent);
	tcase_add_test(cases, an_absent_path_is_not_in_use);
	tcase_add_test(cases, other_files_are_judged_not_a_socket);
	tcase_add_test(cases, a_failed_lookup_is_judged_failed_with_its_errno);
	tcase_add_test(cases, a_stale_socket_is_judged_stale);
	tcase_add_test(cases, the_socket_of_an_unguarded_owner_is_in_use);
	tcase_add_test(cases, the_judgement_names_a_guarded_owner);
	tcase_add_test(cases, a_claim_without_a_socket_is_not_an_owner);
	tcase_add_test(cases, a_claim_without_a_record_does_not_protect_a_stale_path);
	tcase_add_test(cases, a_socket_that_we_hold_is_ours);
	tcase_add_test(cases, a_path_in_the_table_is_ours);
	tcase_add_test(cases, a_claim_of_another_host_is_in_use);
	tcase_add_test(cases, another_boot_id_on_a_local_file_system_is_not_another_host);
	tcase_add_test(cases, a_socket_seen_through_a_view_is_in_use);
	tcase_add_test(cases, an_own_socket_seen_through_a_view_does_not_hold_the_path);
	tcase_add_test(cases, a_copy_of_the_record_does_not_show_a_view);
	ADD_ROOT_TEST(cases, an_untrusted_record_does_not_show_a_view);
	tcase_add_test(cases, a_record_that_says_left_does_not_show_a_view);
	tcase_add_test(cases, a_record_of_another_boot_without_a_claim_is_stale);
	tcase_add_test(cases, the_claim_of_an_owner_reserves_an_absent_path);
	tcase_add_test(cases, a_claim_without_a_socket_does_not_reserve_an_absent_path);
	tcase_add_test(cases, a_program_without_standard_input_may_check_an_absent_path);
	tcase_add_test(cases, a_path_whose_record_says_left_is_free);
	tcase_add_test(cases, a_claim_whose_record_names_no_socket_reserves_an_absent_path);
	if (has_namespace_cookies("a_claim_in_another_network_namespace_reserves_an_absent_path"))
		tcase_add_test(cases, a_claim_in_another_network_namespace_reserves_an_absent_path);
	tcase_add_test(cases, a_claim_without_a_record_reserves_an_absent_path);
	tcase_add_test(cases, an_own_claim_does_not_reserve_a_path_against_its_owner);
	tcase_add_test(cases, without_descriptors_a_claim_reserves_an_absent_path);
	tcase_add_test(cases, without_descriptors_a_stale_path_is_in_use);
	tcase_add_test(cases, an_unknown_state_counts_as_live);
	add_hidden_owners(cases);
	ADD_ROOT_TEST(cases, an_untrusted_record_does_not_show_another_host);
	ADD_ROOT_TEST(cases, an_untrusted_claim_reserves_an_absent_path_while_its_socket_exists);
	ADD_ROOT_TEST(cases, an_untrusted_claim_whose_record_names_no_socket_reserves_no_path);
	ADD_ROOT_TEST(cases, an_untrusted_claim_without_a_record_reserves_no_path);
	cases = suite_cases(suite, "forbidden");
	tcase_add_loop_test(cases, the_verdict_is_forbidden_if_filters_forbid_the_checks, 0, 2);
	tcase_add_test(cases, the_verdict_is_forbidden_if_filters_forbid_the_search);
	tcase_add_test(cases, with_filters_an_unknown_state_has_the_verdict_forbidden);
	tcase_add_test(cases, other_filters_change_no_verdict);
	tcase_add_test(cases, with_filters_an_unknown_network_namespace_shows_no_owner);
	tcase_add_test(cases, a_claim_in_an_unknown_network_namespace_reserves_an_absent_path);
	tcase_add_loop_test(cases, a_path_that_changes_during_the_check_gets_the_last_verdict, 0,
		2);
	return suite;
}
