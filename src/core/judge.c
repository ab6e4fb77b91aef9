#include "judge.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "filter.h"
#include "liveness.h"
#include "owned.h"
#include "sockdiag.h"

bool judge_is_socket(const struct judgement *judgement)
{
	return judgement->whose == MINE || judgement->whose == NOBODYS ||
	       judgement->whose == THEIRS || judgement->whose == UNJUDGED;
}

/*
 * A claim together with another host's record: what the local kernel says of it means nothing. But
 * whoever is not to be trusted can write any record.
 */
static bool claimed_elsewhere(const struct lockfile *lock, struct record *record)
{
	return !lock->distrusted && lockfile_claimed(lock) && lockfile_record(lock, record) &&
	       lockfile_from_elsewhere(lock, record);
}

/*
 * The kernel knows of no socket bound to this inode. But the record beside it names one that lives,
 * and is bound to the same file as another file system shows it.
 */
static bool lives_in_view(const struct pin *pin, const struct place *place,
	const struct lockfile *lock, struct record *record)
{
	return !lock->distrusted && lock->recorded && lockfile_record(lock, record) &&
	       !record->left && record->cookie != 0 &&
	       sockdiag_bound_through_view(pin, place->at, place->name, (ino_t)record->socket,
		       record->cookie) &&
	       !owned_is_recorded(record);
}

static void name_rival(const struct lockfile *lock, struct judgement *judgement)
{
	bool known = lockfile_claimed(lock) && lockfile_record(lock, &judgement->record);

	judgement->rival = known ? RIVAL_KNOWN : RIVAL_UNKNOWN;
}

/*
 * Stale or not, by the kernel's word; unknown counts as live. Where the process has forbidden the
 * question to itself, the guard must not leave it worse off than it would be without.
 */
static enum whose ask_kernel(const struct pin *pin, const struct place *place,
	struct lockfile *lock, struct judgement *judgement)
{
	enum liveness liveness = liveness_of(pin, place->dirfd, place->path);

	if (liveness == UNKNOWN && filter_any())
		return UNJUDGED;
	if (liveness != DEAD) {
		name_rival(lock, judgement);
		if (liveness == UNKNOWN && judgement->rival == RIVAL_UNKNOWN)
			judgement->rival = RIVAL_UNTOLD;
		return THEIRS;
	}
	if (claimed_elsewhere(lock, &judgement->record)) {
		judgement->rival = RIVAL_REMOTE;
		return THEIRS;
	}
	if (lives_in_view(pin, place, lock, &judgement->record)) {
		judgement->rival = RIVAL_KNOWN;
		return THEIRS;
	}
	return NOBODYS;
}

static enum whose whose_by_error(struct judgement *judgement)
{
	judgement->error = errno;
	return errno == ENOENT ? ABSENT : errno == ENOTSOCK ? NO_SOCKET : UNSEEN;
}

static enum whose judge_others(const struct place *place, struct lockfile *lock,
	struct judgement *judgement)
{
	struct pin pin;
	enum whose whose;

	if (inode_pin(place->at, place->name, &pin) != 0) {
		if (errno == ENOENT || errno == ENOTSOCK)
			return whose_by_error(judgement);
		pin = (struct pin){.fd = -1, .inode = judgement->inode};
	}
	whose = ask_kernel(&pin, place, lock, judgement);
	if (whose == THEIRS && owned_adopt_held(&pin, lock))
		whose = MINE;
	if (whose == THEIRS && filter_any() && !kernel_permits_proofs())
		whose = UNJUDGED;
	inode_unpin(&pin);
	return whose;
}

void judge(const struct place *place, struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;

	memset(judgement, 0, sizeof(*judgement));
	judgement->lockfile = lock->file;
	if (inode_identify(place->at, place->name, &judgement->inode) != 0)
		judgement->whose = whose_by_error(judgement);
	else if (owned_is_mine(&judgement->inode, lock))
		judgement->whose = MINE;
	else
		judgement->whose = judge_others(place, lock, judgement);
	errno = saved;
}

bool judge_in_use(const struct place *place, struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;
	struct pin pin;
	bool in_use;

	memset(judgement, 0, sizeof(*judgement));
	if (inode_pin(place->at, place->name, &pin) != 0) {
		errno = saved;
		return false;
	}
	lockfile_peek_accepted(lock);
	in_use = liveness_of(&pin, place->dirfd, place->path) == LIVE && !owned_holds(&pin, lock) &&
		 !owned_any();
	if (in_use)
		name_rival(lock, judgement);
	lockfile_leave(lock);
	inode_unpin(&pin);
	errno = saved;
	return in_use;
}

/*
 * A claim outlives its socket when the owner closed that and lives on. The record names the socket,
 * and the kernel knows whether it is still there, if it is one of this network namespace.
 */
static bool is_backed(const struct record *record)
{
	int saved = errno;
	int fd;
	uint64_t netns;

	if (record->socket == 0 || record->netns == 0)
		return true;
	fd = kernel_socket(AF_UNIX, SOCK_DGRAM, 0);
	netns = fd < 0 ? 0 : record_netns_of(fd);
	if (fd >= 0)
		kernel_close(fd);
	errno = saved;
	return netns != record->netns ||
	       sockdiag_exists((ino_t)record->socket, record->cookie) != SOCKDIAG_NO;
}

/* The least that a record must say to count when anybody could have written it. */
static bool is_alive_here(const struct record *record)
{
	return record->socket != 0 &&
	       sockdiag_exists((ino_t)record->socket, record->cookie) == SOCKDIAG_YES;
}

bool judge_absent_claimed(const struct lockfile *lock, struct judgement *judgement)
{
	if (!lockfile_claimed(lock) || owned_claim_on(&lock->file) >= 0)
		return false;
	judgement->rival = RIVAL_ABSENT;
	if (!lockfile_record(lock, &judgement->record))
		return !lock->distrusted;
	if (judgement->record.left)
		return false;
	if (lock->distrusted)
		return is_alive_here(&judgement->record);
	return lockfile_from_elsewhere(lock, &judgement->record) || is_backed(&judgement->record);
}

bool judge_stale(const struct place *place, struct lockfile *lock)
{
	struct pin pin;
	struct record record;
	int saved = errno;
	bool stale;

	if (inode_pin(place->at, place->name, &pin) != 0) {
		errno = saved;
		return false;
	}
	stale = liveness_of(&pin, place->dirfd, place->path) == DEAD &&
		!claimed_elsewhere(lock, &record) && !lives_in_view(&pin, place, lock, &record);
	inode_unpin(&pin);
	return stale;
}
