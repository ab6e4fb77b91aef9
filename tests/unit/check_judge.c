#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "filter.h"
#include "judge.h"
#include "owned.h"
#include "suite.h"

#define FILE_OF_S LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX

#define AT(path) (&(struct place){AT_FDCWD, path, AT_FDCWD, path})

static struct lockfile lock; /* of the name judged last */

static struct judgement judged(const char *path)
{
	struct judgement judgement;
	int before = open_descriptors();

	memset(&judgement, 0xff, sizeof(judgement));
	lockfile_name(&lock, AT_FDCWD, path);
	lockfile_peek(&lock);
	lock.file = (struct file_id){0};
	KEEPS_ERRNO_VOID(judge(AT(path), &lock, &judgement));
	lockfile_leave(&lock);
	ck_assert_int_eq(open_descriptors(), before);
	return judgement;
}

static bool is_stale(const char *path)
{
	bool stale;

	lockfile_name(&lock, AT_FDCWD, path);
	lockfile_peek(&lock);
	stale = KEEPS_ERRNO(judge_stale(AT(path), &lock));
	lockfile_leave(&lock);
	return stale;
}

/* A claim with this record, in whatever process. */
static void claim_as(const char *path, const struct record *record)
{
	struct lockfile taken;

	lockfile_name(&taken, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try(&taken), LOCKFILE_HELD);
	ck_assert_int_ge(lockfile_claim(&taken, record), 0);
	lockfile_leave(&taken);
}

static void own(const void *path)
{
	struct record record;

	record_of_self(&record, listening(path, SOCK_STREAM));
	claim_as(path, &record);
}

static void claim_without_socket(const void *path)
{
	struct record record;
	int fd = listening(path, SOCK_STREAM);

	record_of_self(&record, fd);
	close(fd);
	claim_as(path, &record);
}

static bool is_absent_but_claimed(const char *path, struct judgement *judgement)
{
	bool claimed;

	memset(judgement, 0, sizeof(*judgement));
	lockfile_name(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	claimed = KEEPS_ERRNO(judge_absent_claimed(&lock, judgement));
	lockfile_leave(&lock);
	return claimed;
}

START_TEST(what_is_not_there_is_absent)
{
	struct judgement judgement = judged("s");

	ck_assert_int_eq(judgement.whose, ABSENT);
	ck_assert_int_eq(judgement.error, ENOENT);
	ck_assert(!judge_is_socket(&judgement));
	ck_assert(!is_stale("s"));
}
END_TEST

START_TEST(what_is_no_socket_is_none)
{
	struct judgement judgement;

	write_file("file", "");
	make_stale("stale");
	ck_assert_int_eq(symlink("stale", "link"), 0);
	judgement = judged("file");
	ck_assert_int_eq(judgement.whose, NO_SOCKET);
	ck_assert(!judge_is_socket(&judgement));
	judgement = judged("link");
	ck_assert_int_eq(judgement.whose, NO_SOCKET);
	ck_assert(!is_stale("file"));
	ck_assert(!is_stale("link"));
}
END_TEST

START_TEST(what_cannot_be_seen_says_why)
{
	struct judgement judgement;

	write_file("file", "");
	judgement = judged("file/s");
	ck_assert_int_eq(judgement.whose, UNSEEN);
	ck_assert_int_eq(judgement.error, ENOTDIR);
	ck_assert(!judge_is_socket(&judgement));
}
END_TEST

START_TEST(what_is_stale_is_nobodys)
{
	struct judgement judgement;

	make_stale("s");
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, NOBODYS);
	ck_assert(judge_is_socket(&judgement));
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(an_unguarded_owner_s_is_theirs)
{
	pid_t owner = start_owner("s", SOCK_STREAM);
	struct judgement judgement = judged("s");

	ck_assert_int_eq(judgement.whose, THEIRS);
	ck_assert_int_eq(judgement.rival, RIVAL_UNKNOWN);
	ck_assert(judge_is_socket(&judgement));
	ck_assert(!is_stale("s"));
	end(owner);
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, NOBODYS);
}
END_TEST

START_TEST(a_guarded_owner_s_is_theirs_by_name)
{
	pid_t owner = start(own, "s");
	struct judgement judgement = judged("s");

	ck_assert_int_eq(judgement.whose, THEIRS);
	ck_assert_int_eq(judgement.rival, RIVAL_KNOWN);
	ck_assert_uint_eq(judgement.record.pid, (uint64_t)owner);
	ck_assert(!is_stale("s"));
	end(owner);
	judgement = judged("s"); /* the file is left, and its claim is not */
	ck_assert_int_eq(judgement.whose, NOBODYS);
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(a_claim_without_a_socket_is_no_owner)
{
	struct judgement judgement;

	start(claim_without_socket, "s");
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, NOBODYS);
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(a_claim_without_a_record_keeps_no_stale_name)
{
	struct judgement judgement;

	start(claim_without_socket, "s");
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, "not a record");
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, NOBODYS);
	ck_assert(is_stale("s"));
}
END_TEST

START_TEST(what_we_hold_is_ours)
{
	struct judgement judgement;

	listening("s", SOCK_STREAM);
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, MINE);
	ck_assert(judge_is_socket(&judgement));
	ck_assert(!is_stale("s")); /* it keeps the name as well as anybody's */
}
END_TEST

START_TEST(what_we_noted_is_ours)
{
	struct judgement judgement;
	struct inode inode;

	start_owner("s", SOCK_STREAM);
	ck_assert_int_eq(inode_identify(AT_FDCWD, "s", &inode), 0);
	lockfile_name(&lock, AT_FDCWD, "s");
	owned_note(&inode, NULL, -1, 0, false);
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, MINE);
	ck_assert(inode_same(&judgement.inode, &inode));
}
END_TEST

static struct record from_elsewhere(void)
{
	struct record record;

	record_of_self(&record, -1);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	return record;
}

START_TEST(another_host_s_claim_is_theirs)
{
	struct record record = from_elsewhere();
	struct judgement judgement;

	pretend(&(struct pretence){.filesystem = NFS_TYPE});
	make_stale("s");
	claim_as("s", &record);
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, THEIRS);
	ck_assert_int_eq(judgement.rival, RIVAL_REMOTE);
	ck_assert_str_eq(judgement.record.boot, record.boot);
	ck_assert(!is_stale("s"));
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

/* As systemd-nspawn and LXC give their containers one: locks here are this kernel's all the same.
 */
START_TEST(another_boot_id_on_a_local_file_system_is_no_other_host)
{
	struct record record = from_elsewhere();
	struct judgement judgement;
	int fd;

	pretend(&(struct pretence){.filesystem = EXT4_TYPE});
	make_stale("s");
	claim_as("s", &record); /* names no socket */
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, NOBODYS);
	ck_assert(is_stale("s"));
	ck_assert(is_absent_but_claimed("s", &judgement));

	fd = bound("t", SOCK_STREAM);
	record_of_self(&record, fd);
	record.boot[0] = record.boot[0] == '0' ? '1' : '0';
	claim_as("t", &record);
	ck_assert_int_eq(unlink("t"), 0);
	ck_assert(is_absent_but_claimed("t", &judgement));
	close(fd);
	ck_assert(!is_absent_but_claimed("t", &judgement));
}
END_TEST

/*
 * The record is of a socket that lives, and the kernel says that none is bound to this inode: as
 * when a stacked file system shows the inode under a device of its own.
 */
START_TEST(a_socket_seen_through_a_view_is_theirs)
{
	const struct pretence view = {.minor = 4711, .refuses = true};
	pid_t owner = start(own, "s");
	struct judgement judgement;

	pretend(&view);
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, THEIRS);
	ck_assert_int_eq(judgement.rival, RIVAL_KNOWN);
	ck_assert_uint_eq(judgement.record.pid, (uint64_t)owner);
	ck_assert(!is_stale("s"));
	end(owner);
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, NOBODYS);
	ck_assert(is_stale("s"));
}
END_TEST

/* Its number is that of the inode the socket was bound to, or it is a copy. */
START_TEST(a_copy_of_the_record_makes_no_view)
{
	const struct pretence view = {.minor = 4711, .refuses = true};
	struct record record;
	char text[RECORD_SIZE + 1] = {0};

	record_of_self(&record, listening("t", SOCK_STREAM));
	make_stale("s");
	record_write(&record, text);
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, text);
	pretend(&view);
	ck_assert_int_eq(judged("s").whose, NOBODYS);
	ck_assert(is_stale("s"));
}
END_TEST

/* Whoever owns the lock file may have written any record. */
START_TEST(a_record_that_is_not_trusted_makes_no_view)
{
	const struct pretence view = {.minor = 4711, .refuses = true};
	const struct place place = place_of(AT_FDCWD, "s");
	struct judgement judgement;

	start(own, "s");
	ck_assert_int_eq(chown(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, STRANGER, STRANGER), 0);
	pretend(&view);
	lockfile_name(&lock, AT_FDCWD, "s");
	ck_assert(lockfile_peek_accepted(&lock));
	judge(&place, &lock, &judgement);
	lockfile_leave(&lock);
	ck_assert_int_eq(judgement.whose, NOBODYS);
}
END_TEST

START_TEST(a_name_that_was_left_is_seen_through_no_view)
{
	const struct pretence view = {.minor = 4711, .refuses = true};
	struct lockfile taken;

	start(own, "s");
	lockfile_name(&taken, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try(&taken), LOCKFILE_HELD);
	lockfile_note_left(&taken, true);
	lockfile_leave(&taken);
	pretend(&view);
	ck_assert_int_eq(judged("s").whose, NOBODYS);
}
END_TEST

/* Left by a crash before the last boot: a record, and nobody's claim. */
START_TEST(another_boot_s_record_alone_is_nobodys)
{
	struct record record = from_elsewhere();
	char text[RECORD_SIZE + 1] = {0};
	struct judgement judgement;

	make_stale("s");
	record_write(&record, text);
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, text);
	judgement = judged("s");
	ck_assert_int_eq(judgement.whose, NOBODYS);
	ck_assert(is_stale("s"));
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(an_owner_s_claim_outlives_its_name)
{
	pid_t owner = start(own, "s");
	struct judgement judgement;

	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(is_absent_but_claimed("s", &judgement));
	ck_assert_int_eq(judgement.rival, RIVAL_ABSENT);
	ck_assert_uint_eq(judgement.record.pid, (uint64_t)owner);
	end(owner);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(a_claim_without_a_socket_does_not_keep_an_absent_name)
{
	struct judgement judgement;

	start(claim_without_socket, "s");
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* Its owner was ended while it removed the name, and a fork of it lives on. */
START_TEST(a_name_that_was_left_is_free)
{
	struct lockfile taken;
	struct judgement judgement;

	start(own, "s");
	ck_assert_int_eq(unlink("s"), 0);
	lockfile_name(&taken, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try(&taken), LOCKFILE_HELD);
	lockfile_note_left(&taken, true);
	lockfile_leave(&taken);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* What is not known of a record counts for its owner. */
START_TEST(a_claim_that_does_not_tell_its_socket_keeps_an_absent_name)
{
	struct record record;
	struct judgement judgement;

	record_of_self(&record, -1);
	claim_as("s", &record);
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

/* Of a kernel before Linux 5.14: sock_diag's answer would be of a namespace that may not be its. */
START_TEST(a_claim_in_no_known_network_namespace_keeps_an_absent_name)
{
	struct record record;
	struct judgement judgement;
	int fd = listening("t", SOCK_STREAM);

	record_of_self(&record, fd);
	close(fd);
	record.netns = 0;
	claim_as("s", &record);
	forbid(SYS_getsockopt);
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(a_claim_without_a_record_keeps_an_absent_name)
{
	struct judgement judgement;

	start(claim_without_socket, "s");
	write_file(LOCKFILE_PREFIX "s" LOCKFILE_SUFFIX, "not a record");
	ck_assert(is_absent_but_claimed("s", &judgement));
	ck_assert_int_eq(judgement.rival, RIVAL_ABSENT);
	ck_assert_uint_eq(judgement.record.pid, 0);
}
END_TEST

START_TEST(our_own_claim_keeps_no_absent_name_from_us)
{
	struct judgement judgement;
	struct record record;
	struct inode inode;
	int fd = listening("s", SOCK_STREAM);

	record_of_self(&record, fd);
	ck_assert_int_eq(inode_identify(AT_FDCWD, "s", &inode), 0);
	lockfile_name(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	owned_note(&inode, &lock.file, lockfile_claim(&lock, &record), record.cookie, false);
	lockfile_leave(&lock);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* There is no asking whether the socket is there still. */
START_TEST(without_descriptors_a_claim_keeps_an_absent_name)
{
	struct judgement judgement = {0};

	start(claim_without_socket, "s");
	ck_assert_int_eq(unlink("s"), 0);
	lockfile_name(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	use_up_descriptors();
	ck_assert(KEEPS_ERRNO(judge_absent_claimed(&lock, &judgement)));
}
END_TEST

/* Somebody unguarded takes the name away, or replaces it, between two looks at it. */
START_TEST(what_changes_while_it_is_judged_is_what_it_is_then)
{
	static const struct {
		int error;
		enum whose whose;
	} changes[] = {{ENOENT, ABSENT}, {ENOTSOCK, NO_SOCKET}};
	struct judgement judgement;

	start_owner("s", SOCK_STREAM);
	lockfile_name(&lock, AT_FDCWD, "s");
	forbid_with(SYS_openat, changes[_i].error);
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.whose, changes[_i].whose);
	ck_assert_int_eq(judgement.error, changes[_i].error);
}
END_TEST

START_TEST(a_claim_in_another_network_namespace_keeps_an_absent_name)
{
	struct record record;
	struct judgement judgement;
	int fd = listening("t", SOCK_STREAM);

	record_of_self(&record, fd);
	close(fd);
	if (record.netns == 0) /* before Linux 5.14 */
		return;
	record.netns++;
	claim_as("s", &record);
	ck_assert(is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(without_descriptors_nobody_s_is_theirs)
{
	struct judgement judgement;

	make_stale("s");
	lockfile_name(&lock, AT_FDCWD, "s");
	lock.file = (struct file_id){0};
	use_up_descriptors();
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.whose, THEIRS);
	ck_assert_int_eq(judgement.rival, RIVAL_UNTOLD);
	ck_assert(!KEEPS_ERRNO(judge_stale(AT("s"), &lock)));
}
END_TEST

/* Enough to pin the name, and not to ask. */
START_TEST(what_nobody_would_tell_counts_as_live)
{
	struct judgement judgement;

	make_stale("s");
	lockfile_name(&lock, AT_FDCWD, "s");
	lock.file = (struct file_id){0};
	close(use_up_descriptors());
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.whose, THEIRS);
	ck_assert(!KEEPS_ERRNO(judge_stale(AT("s"), &lock)));
}
END_TEST

/* ---- a lock file of another user ---- */

/* As of a user whose directory root is at work in. */
static void distrust(const char *lockfile)
{
	ck_assert_int_eq(chown(lockfile, STRANGER, STRANGER), 0);
}

static struct judgement judged_under_mutex(const char *path)
{
	struct judgement judgement;

	lockfile_name(&lock, AT_FDCWD, path);
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	KEEPS_ERRNO_VOID(judge(AT(path), &lock, &judgement));
	lockfile_leave(&lock);
	return judgement;
}

/* Anybody could write that, to keep root from removing a stale name for ever. */
START_TEST(a_distrusted_record_makes_no_other_host)
{
	struct record record = from_elsewhere();

	pretend(&(struct pretence){.filesystem = NFS_TYPE});
	make_stale("s");
	claim_as("s", &record);
	ck_assert_int_eq(judged_under_mutex("s").whose, THEIRS);
	distrust(FILE_OF_S);
	ck_assert_int_eq(judged_under_mutex("s").whose, NOBODYS);
	lockfile_name(&lock, AT_FDCWD, "s");
	ck_assert_int_eq(lockfile_try(&lock), LOCKFILE_HELD);
	ck_assert(KEEPS_ERRNO(judge_stale(AT("s"), &lock)));
}
END_TEST

START_TEST(a_distrusted_claim_keeps_an_absent_name_while_its_socket_lives)
{
	struct judgement judgement;
	pid_t owner = start(own, "s");
	struct record record;

	ck_assert_int_eq(unlink("s"), 0);
	distrust(FILE_OF_S);
	ck_assert(is_absent_but_claimed("s", &judgement));
	ck_assert_int_eq(judgement.rival, RIVAL_ABSENT);
	lockfile_name(&lock, AT_FDCWD, "s");
	ck_assert(lockfile_peek(&lock));
	ck_assert(lockfile_record(&lock, &record));
	lockfile_leave(&lock);
	end(owner);
	claim_as("s", &record); /* by somebody else, as it was */
	distrust(FILE_OF_S);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* What is not known of a record counts for nobody then. */
START_TEST(a_distrusted_claim_that_does_not_tell_its_socket_keeps_no_name)
{
	struct record record;
	struct judgement judgement;

	record_of_self(&record, -1);
	claim_as("s", &record);
	ck_assert(is_absent_but_claimed("s", &judgement));
	distrust(FILE_OF_S);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

START_TEST(a_distrusted_claim_without_a_record_keeps_no_name)
{
	struct judgement judgement;

	start(claim_without_socket, "s");
	write_file(FILE_OF_S, "not a record");
	ck_assert(is_absent_but_claimed("s", &judgement));
	distrust(FILE_OF_S);
	ck_assert(!is_absent_but_claimed("s", &judgement));
}
END_TEST

/* ---- a process that forbids itself to ask ---- */

#define LOAD(field)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define FORBIDDEN           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define ALLOWED             BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void install(struct sock_filter *code, size_t length)
{
	const struct sock_fprog program = {.len = (unsigned short)length, .filter = code};
	struct filter_attempt attempt;

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	attempt = filter_begin();
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	filter_end(attempt, true, &program);
}

static void forbid_connect(void)
{
	struct sock_filter code[] = {LOAD(nr), UNLESS(SYS_connect, 1), FORBIDDEN, ALLOWED};

	install(code, 4);
}

static void forbid_netlink(void)
{
	struct sock_filter code[] = {LOAD(nr), UNLESS(SYS_socket, 3), LOAD(args[0]),
		UNLESS(AF_NETLINK, 1), FORBIDDEN, ALLOWED};

	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		code[2].k += 4;
	install(code, 6);
}

START_TEST(what_the_filters_keep_us_from_asking_is_unjudged)
{
	if (_i == 0)
		make_stale("s");
	else
		start_owner("s", SOCK_STREAM);
	forbid_connect();
	forbid_netlink();
	ck_assert_int_eq(judged("s").whose, UNJUDGED);
	ck_assert(!is_stale("s"));
}
END_TEST

/* Although it might show what is its own. */
START_TEST(with_filters_what_nobody_would_tell_is_unjudged)
{
	struct judgement judgement;

	make_stale("s");
	forbid_connect();
	lockfile_name(&lock, AT_FDCWD, "s");
	lock.file = (struct file_id){0};
	use_up_descriptors();
	KEEPS_ERRNO_VOID(judge(AT("s"), &lock, &judgement));
	ck_assert_int_eq(judgement.whose, UNJUDGED);
}
END_TEST

/* It may be our own, and we cannot show it. */
START_TEST(a_live_socket_is_unjudged_if_the_filters_forbid_the_proofs)
{
	start_owner("s", SOCK_STREAM);
	make_stale("t");
	forbid_netlink();
	ck_assert_int_eq(judged("s").whose, UNJUDGED);
	ck_assert_int_eq(judged("t").whose, NOBODYS); /* connect has told */
	ck_assert_int_eq(judged("u").whose, ABSENT);
}
END_TEST

START_TEST(other_filters_change_no_judgement)
{
	start_owner("s", SOCK_STREAM);
	make_stale("t");
	forbid_connect();
	ck_assert_int_eq(judged("s").whose, THEIRS);
	ck_assert_int_eq(judged("t").whose, NOBODYS); /* sock_diag has told */
}
END_TEST

Suite *suite_of_room(void)
{
	Suite *suite = suite_create("judge");
	TCase *cases = suite_cases(suite, "judge");

	tcase_add_test(cases, what_is_not_there_is_absent);
	tcase_add_test(cases, what_is_no_socket_is_none);
	tcase_add_test(cases, what_cannot_be_seen_says_why);
	tcase_add_test(cases, what_is_stale_is_nobodys);
	tcase_add_test(cases, an_unguarded_owner_s_is_theirs);
	tcase_add_test(cases, a_guarded_owner_s_is_theirs_by_name);
	tcase_add_test(cases, a_claim_without_a_socket_is_no_owner);
	tcase_add_test(cases, a_claim_without_a_record_keeps_no_stale_name);
	tcase_add_test(cases, what_we_hold_is_ours);
	tcase_add_test(cases, what_we_noted_is_ours);
	tcase_add_test(cases, another_host_s_claim_is_theirs);
	tcase_add_test(cases, another_boot_id_on_a_local_file_system_is_no_other_host);
	tcase_add_test(cases, a_socket_seen_through_a_view_is_theirs);
	tcase_add_test(cases, a_copy_of_the_record_makes_no_view);
	ADD_ROOT_TEST(cases, a_record_that_is_not_trusted_makes_no_view);
	tcase_add_test(cases, a_name_that_was_left_is_seen_through_no_view);
	tcase_add_test(cases, another_boot_s_record_alone_is_nobodys);
	tcase_add_test(cases, an_owner_s_claim_outlives_its_name);
	tcase_add_test(cases, a_claim_without_a_socket_does_not_keep_an_absent_name);
	tcase_add_test(cases, a_name_that_was_left_is_free);
	tcase_add_test(cases, a_claim_that_does_not_tell_its_socket_keeps_an_absent_name);
	tcase_add_test(cases, a_claim_in_another_network_namespace_keeps_an_absent_name);
	tcase_add_test(cases, a_claim_without_a_record_keeps_an_absent_name);
	tcase_add_test(cases, our_own_claim_keeps_no_absent_name_from_us);
	tcase_add_test(cases, without_descriptors_a_claim_keeps_an_absent_name);
	tcase_add_test(cases, without_descriptors_nobody_s_is_theirs);
	tcase_add_test(cases, what_nobody_would_tell_counts_as_live);
	ADD_ROOT_TEST(cases, a_distrusted_record_makes_no_other_host);
	ADD_ROOT_TEST(cases, a_distrusted_claim_keeps_an_absent_name_while_its_socket_lives);
	ADD_ROOT_TEST(cases, a_distrusted_claim_that_does_not_tell_its_socket_keeps_no_name);
	ADD_ROOT_TEST(cases, a_distrusted_claim_without_a_record_keeps_no_name);
	cases = suite_cases(suite, "forbidden");
	tcase_add_loop_test(cases, what_the_filters_keep_us_from_asking_is_unjudged, 0, 2);
	tcase_add_test(cases, a_live_socket_is_unjudged_if_the_filters_forbid_the_proofs);
	tcase_add_test(cases, with_filters_what_nobody_would_tell_is_unjudged);
	tcase_add_test(cases, other_filters_change_no_judgement);
	tcase_add_test(cases, a_claim_in_no_known_network_namespace_keeps_an_absent_name);
	tcase_add_loop_test(cases, what_changes_while_it_is_judged_is_what_it_is_then, 0, 2);
	return suite;
}
