#include "judge.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "caller.h"
#include "filter.h"
#include "liveness.h"
#include "owned.h"
#include "sockdiag.h"

bool judge_is_socket(const struct judgement *judgement)
{
	return judgement->verdict == VERDICT_OWN || judgement->verdict == VERDICT_STALE ||
	       judgement->verdict == VERDICT_IN_USE || judgement->verdict == VERDICT_FORBIDDEN;
}

/*
 * Whether the claim is an owner's on another host. Then this kernel's answers about the socket mean
 * nothing. An untrusted file does not count, since another user may have written its record.
 */
static bool is_claimed_remotely(const struct lockfile *lock, struct record *record)
{
	return !lock->untrusted && lockfile_is_claimed(lock) &&
	       lockfile_read_record(lock, record) && lockfile_record_is_remote(lock, record);
}

/*
 * The kernel knows no socket bound to this inode. Whether the record names a socket that exists,
 * and that is bound to the same file as seen through another file system.
 */
static bool is_live_through_view(const struct pin *pin, const struct location *location,
	const struct lockfile *lock, struct record *record)
{
	return !lock->untrusted && lock->has_content && lockfile_read_record(lock, record) &&
	       !record->leaving && record->cookie != 0 &&
	       sockdiag_is_bound_through_view(pin, location->parent, location->name,
		       (ino_t)record->socket, record->cookie) &&
	       !owned_has_recorded_socket(record);
}

/* The number of this process's network namespace; 0: unknown. */
static uint64_t current_netns(void)
{
	int saved = errno;
	int fd = kernel_socket(AF_UNIX, SOCK_DGRAM, 0);
	uint64_t netns = fd < 0 ? 0 : record_socket_netns(fd);

	if (fd >= 0)
		kernel_close(fd);
	errno = saved;
	return netns;
}

/*
 * Whether the lock file is claimed for a socket of another network namespace than ours. A claim for
 * a socket of ours does not count, because sock_diag has answered for ours.
 */
static bool is_claimed_elsewhere(const struct pin *pin, const struct location *location,
	struct lockfile *lock, struct record *record)
{
	uint64_t netns = current_netns();
	struct superblock superblock;

	if (netns == 0 && filter_is_known()) /* a filter forbids the question */
		return false;
	if (lock->fd >= 0)
		return !lock->untrusted && lockfile_is_claimed(lock) &&
		       lockfile_read_record(lock, record) && !record->leaving &&
		       record->netns != 0 && record->netns != netns;
	superblock = filesystem_superblock(pin, location->parent, location->name);
	return lockfile_is_claimed_elsewhere(lock, &superblock, netns);
}

static void fill_in_owner(const struct lockfile *lock, struct judgement *judgement)
{
	bool known = lockfile_is_claimed(lock) && lockfile_read_record(lock, &judgement->record);

	judgement->reason = known ? REASON_OWNER_RECORDED : REASON_OWNER_UNRECORDED;
}

/*
 * Whether a descriptor was missing for the lock file. One may be free by now, since another thread
 * has closed one. Without the mutex, a path that is stale now may be a rival's in an instant.
 */
static bool lacks_mutex(const struct lockfile *lock)
{
	return lock->fd < 0 && lock->lacks_descriptor;
}

/*
 * Stale or not, as the kernel answers; unknown counts as live. But if a filter of this process
 * forbids the question, the call is not refused: the process must not be worse off than without the
 * guard.
 */
static enum verdict judge_by_kernel(const struct pin *pin, const struct location *location,
	struct lockfile *lock, struct judgement *judgement)
{
	enum liveness liveness = liveness_of(pin, location->dirfd, location->path);

	if (liveness == LIVENESS_UNKNOWN && filter_is_known())
		return VERDICT_FORBIDDEN;
	if (!liveness_is_stale(liveness)) {
		fill_in_owner(lock, judgement);
		if (liveness == LIVENESS_UNKNOWN && judgement->reason == REASON_OWNER_UNRECORDED)
			judgement->reason = REASON_UNDETERMINED;
		return VERDICT_IN_USE;
	}
	if (lacks_mutex(lock)) {
		judgement->reason = REASON_UNDETERMINED;
		return VERDICT_IN_USE;
	}
	if (is_claimed_remotely(lock, &judgement->record)) {
		judgement->reason = REASON_OWNER_REMOTE;
		return VERDICT_IN_USE;
	}
	if (is_live_through_view(pin, location, lock, &judgement->record)) {
		judgement->reason = REASON_OWNER_RECORDED;
		return VERDICT_IN_USE;
	}
	if (liveness == LIVENESS_STALE_HERE &&
		is_claimed_elsewhere(pin, location, lock, &judgement->record)) {
		judgement->reason = lock->fd >= 0 ? REASON_OWNER_RECORDED : REASON_OWNER_ELSEWHERE;
		return VERDICT_IN_USE;
	}
	return VERDICT_STALE;
}

static enum verdict verdict_of_error(struct judgement *judgement)
{
	judgement->error = errno;
	return errno == ENOENT     ? VERDICT_ABSENT
	       : errno == ENOTSOCK ? VERDICT_NOT_SOCKET
				   : VERDICT_FAILED;
}

static enum verdict judge_not_owned(const struct location *location, struct lockfile *lock,
	struct judgement *judgement)
{
	struct pin pin;
	enum verdict verdict;

	if (inode_pin(location->parent, location->name, &pin) != 0) {
		if (errno == ENOENT || errno == ENOTSOCK)
			return verdict_of_error(judgement);
		/* For example, no descriptor is left: ask about the inode that was identified. */
		pin = (struct pin){.fd = -1, .inode = judgement->inode};
	}
	verdict = judge_by_kernel(&pin, location, lock, judgement);
	if (verdict == VERDICT_IN_USE && owned_adopt_held(&pin, lock))
		verdict = VERDICT_OWN;
	/* Another thread of the owner may have closed the socket after the kernel was asked. */
	if (verdict == VERDICT_IN_USE && judgement->reason == REASON_OWNER_UNRECORDED) {
		caller->await_release();
		verdict = judge_by_kernel(&pin, location, lock, judgement);
	}
	if (verdict == VERDICT_IN_USE && filter_is_known() && !kernel_permits_socket_search())
		verdict = VERDICT_FORBIDDEN;
	inode_unpin(&pin);
	return verdict;
}

void judge(const struct location *location, struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;

	memset(judgement, 0, sizeof(*judgement));
	judgement->lockfile = lock->file;
	if (inode_identify(location->parent, location->name, &judgement->inode) != 0)
		judgement->verdict = verdict_of_error(judgement);
	else if (owned_check(&judgement->inode, lock))
		judgement->verdict = VERDICT_OWN;
	else
		judgement->verdict = judge_not_owned(location, lock, judgement);
	errno = saved;
}

bool judge_in_use_unlocked(const struct location *location, struct lockfile *lock,
	struct judgement *judgement)
{
	int saved = errno;
	struct pin pin;
	bool in_use;

	memset(judgement, 0, sizeof(*judgement));
	if (inode_pin(location->parent, location->name, &pin) != 0) {
		errno = saved;
		return false;
	}
	lockfile_open_readonly_valid(lock);
	in_use = liveness_of(&pin, location->dirfd, location->path) == LIVENESS_LIVE &&
		 !owned_has_any() && !owned_holds_socket(&pin, lock);
	if (in_use)
		fill_in_owner(lock, judgement);
	lockfile_release(lock);
	inode_unpin(&pin);
	errno = saved;
	return in_use;
}

/*
 * Whether the socket in the record may still exist. A claim outlives its socket if the owner closes
 * the socket and goes on running. The kernel can only answer for this network namespace.
 */
static bool socket_may_exist(const struct record *record)
{
	if (record->socket == 0 || record->netns == 0)
		return true;
	return current_netns() != record->netns ||
	       sockdiag_socket_exists((ino_t)record->socket, record->cookie) != SOCKDIAG_NO;
}

/* An untrusted record, which anyone may have written, counts only if its socket exists here. */
static bool socket_exists_here(const struct record *record)
{
	return record->socket != 0 &&
	       sockdiag_socket_exists((ino_t)record->socket, record->cookie) == SOCKDIAG_YES;
}

bool judge_absent_is_claimed(const struct lockfile *lock, struct judgement *judgement)
{
	if (!lockfile_is_claimed(lock) || owned_find_claim(&lock->file) >= 0)
		return false;
	judgement->reason = REASON_ABSENT_CLAIMED;
	if (!lockfile_read_record(lock, &judgement->record))
		return !lock->untrusted;
	if (judgement->record.leaving)
		return false;
	if (lock->untrusted)
		return socket_exists_here(&judgement->record);
	return lockfile_record_is_remote(lock, &judgement->record) ||
	       socket_may_exist(&judgement->record);
}

bool judge_is_stale(const struct location *location, struct lockfile *lock)
{
	struct pin pin;
	struct record record;
	int saved = errno;
	enum liveness liveness;
	bool stale;

	if (inode_pin(location->parent, location->name, &pin) != 0) {
		errno = saved;
		return false;
	}
	liveness = liveness_of(&pin, location->dirfd, location->path);
	stale = liveness_is_stale(liveness) && !lacks_mutex(lock) &&
		!is_claimed_remotely(lock, &record) &&
		!is_live_through_view(&pin, location, lock, &record) &&
		(liveness == LIVENESS_STALE ||
			!is_claimed_elsewhere(&pin, location, lock, &record));
	inode_unpin(&pin);
	return stale;
}
