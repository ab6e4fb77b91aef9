#include "judge.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "liveness.h"
#include "owned.h"
#include "sockdiag.h"

bool judge_is_socket(const struct judgement *judgement)
{
	return judgement->whose == MINE || judgement->whose == NOBODYS ||
	       judgement->whose == THEIRS;
}

/* A claim together with another host's record: what the local kernel says of it means nothing. */
static bool claimed_elsewhere(const struct lockfile *lock, struct record *record)
{
	return lockfile_claimed(lock) && lockfile_record(lock, record) &&
	       lockfile_from_elsewhere(lock, record);
}

/*
 * The kernel knows of no socket bound to this inode. But the record beside it names one that lives,
 * and is bound to the same file as another file system shows it.
 */
static bool lives_in_view(const struct pin *pin, int dirfd, const char *path,
	const struct lockfile *lock, struct record *record)
{
	return lock->recorded && lockfile_record(lock, record) && !record->left &&
	       record->cookie != 0 &&
	       sockdiag_bound_through_view(pin, dirfd, path, (ino_t)record->socket, record->cookie);
}

static void name_rival(const struct lockfile *lock, struct judgement *judgement)
{
	bool known = lockfile_claimed(lock) && lockfile_record(lock, &judgement->record);

	judgement->rival = known ? RIVAL_KNOWN : RIVAL_UNKNOWN;
}

/* Stale or not, by the kernel's word; unknown counts as live. */
static enum whose ask_kernel(const struct pin *pin, int dirfd, const char *path,
	struct lockfile *lock, struct judgement *judgement)
{
	enum liveness liveness = liveness_of(pin, dirfd, path);

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
	if (lives_in_view(pin, dirfd, path, lock, &judgement->record)) {
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

static enum whose judge_others(int dirfd, const char *path, struct lockfile *lock,
	struct judgement *judgement)
{
	struct pin pin;
	enum whose whose;

	if (inode_pin(dirfd, path, &pin) != 0) {
		if (errno == ENOENT || errno == ENOTSOCK)
			return whose_by_error(judgement);
		pin = (struct pin){.fd = -1, .inode = judgement->inode};
	}
	whose = ask_kernel(&pin, dirfd, path, lock, judgement);
	if (whose == THEIRS && owned_adopt_held(&pin, lock))
		whose = MINE;
	inode_unpin(&pin);
	return whose;
}

void judge(int dirfd, const char *path, struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;

	memset(judgement, 0, sizeof(*judgement));
	judgement->lockfile = lock->file;
	if (inode_identify(dirfd, path, &judgement->inode) != 0)
		judgement->whose = whose_by_error(judgement);
	else if (owned_is_mine(&judgement->inode, lock))
		judgement->whose = MINE;
	else
		judgement->whose = judge_others(dirfd, path, lock, judgement);
	errno = saved;
}

bool judge_in_use(int dirfd, const char *path, struct lockfile *lock, struct judgement *judgement)
{
	int saved = errno;
	struct pin pin;
	bool in_use;

	memset(judgement, 0, sizeof(*judgement));
	if (inode_pin(dirfd, path, &pin) != 0) {
		errno = saved;
		return false;
	}
	lockfile_peek_accepted(lock);
	in_use = liveness_of(&pin, dirfd, path) == LIVE && !owned_holds(&pin, lock) && !owned_any();
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

bool judge_absent_claimed(const struct lockfile *lock, struct judgement *judgement)
{
	if (!lockfile_claimed(lock) || owned_claim_on(&lock->file) >= 0)
		return false;
	judgement->rival = RIVAL_ABSENT;
	if (!lockfile_record(lock, &judgement->record))
		return true;
	if (judgement->record.left)
		return false;
	return lockfile_from_elsewhere(lock, &judgement->record) || is_backed(&judgement->record);
}

bool judge_stale(int dirfd, const char *path, struct lockfile *lock)
{
	struct pin pin;
	struct record record;
	int saved = errno;
	bool stale;

	if (inode_pin(dirfd, path, &pin) != 0) {
		errno = saved;
		return false;
	}
	stale = liveness_of(&pin, dirfd, path) == DEAD && !claimed_elsewhere(lock, &record) &&
		!lives_in_view(&pin, dirfd, path, lock, &record);
	inode_unpin(&pin);
	return stale;
}
