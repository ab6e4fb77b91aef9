#include "entry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "liveness.h"
#include "lockfile.h"

static void look_at_lock(struct entry *entry)
{
	struct lockfile lock;
	struct kernel_file found;

	lockfile_name(&lock, AT_FDCWD, entry->path);
	if (!lockfile_peek(&lock)) {
		if (lock.path[0] != '\0' && (inode_look(AT_FDCWD, lock.path, &found) == 0 ||
						    (errno != ENOENT && errno != ENOTDIR)))
			entry->lock = LOCK_UNKNOWN;
		return;
	}
	entry->lock = lockfile_claimed(&lock)     ? LOCK_CLAIMED
		      : lockfile_unclaimed(&lock) ? LOCK_IDLE
						  : LOCK_UNKNOWN;
	/* Who left it behind, by a crash, is of no interest any more. */
	entry->recorded = entry->lock == LOCK_CLAIMED && lockfile_record(&lock, &entry->record);
	lockfile_leave(&lock);
}

/* A record may be of a socket that had the name before. */
static void compare_record(struct entry *entry)
{
	if (entry->bound && entry->record.socket != 0 &&
		(uint32_t)entry->record.socket != entry->bound->number)
		entry->recorded = false;
}

static enum state state_of_pinned(const struct pin *pin, const char *path)
{
	switch (liveness_of(pin, AT_FDCWD, path)) {
	case LIVE:
		return STATE_LIVE;
	case DEAD:
		return STATE_STALE;
	case UNKNOWN:
		break;
	}
	return STATE_UNKNOWN;
}

/* The name a socket was bound by is most often absolute. */
static const struct bound *bound_by_name(const struct sockets *sockets, const char *path)
{
	char directory[PATH_MAX];
	const struct bound *bound;
	char *absolute;

	if (path[0] == '/' || !getcwd(directory, sizeof(directory)))
		return sockets_named(sockets, path);
	absolute = command_print("%s/%s", directory, path);
	bound = sockets_named(sockets, absolute);
	free(absolute);
	return bound;
}

static void look_at_absent(struct entry *entry, const struct sockets *sockets)
{
	if (errno == ENOTSOCK) {
		entry->state = STATE_NO_SOCKET;
		return;
	}
	if (errno != ENOENT && errno != ENOTDIR) {
		entry->state = STATE_UNKNOWN;
		return;
	}
	entry->bound = bound_by_name(sockets, entry->path);
	entry->state = entry->lock == LOCK_CLAIMED ? STATE_CLAIMED
		       : entry->bound              ? STATE_LOST
						   : STATE_ABSENT;
}

void entry_look(struct entry *entry, const char *path, const struct sockets *sockets)
{
	struct pin pin;

	*entry = (struct entry){.path = command_copy(path)};
	look_at_lock(entry);
	if (inode_pin(AT_FDCWD, path, &pin) != 0) {
		look_at_absent(entry, sockets);
	} else {
		entry->state = state_of_pinned(&pin, path);
		if (entry->state != STATE_STALE)
			entry->bound = sockets_at(sockets, &pin);
		inode_unpin(&pin);
	}
	compare_record(entry);
}

/* ---- a socket, and its name ---- */

/* Does the name lead to the socket? ENOENT where it does not. */
static bool leads_to(const char *path, const struct bound *bound)
{
	struct pin pin;
	bool leads;

	if (inode_pin(AT_FDCWD, path, &pin) != 0)
		return false;
	leads = sockets_match(bound, &pin);
	inode_unpin(&pin);
	errno = ENOENT;
	return leads;
}

/* The name from the root, as a holder sees it: a relative one starts from its directory. */
static char *absolute(const struct bound *bound, pid_t holder)
{
	char directory[PATH_MAX];
	char *link = command_print("/proc/%d/cwd", (int)holder);
	ssize_t length = bound->name[0] == '/' || holder == 0
				 ? -1
				 : readlink(link, directory, sizeof(directory));

	free(link);
	return length < 0 ? command_copy(bound->name)
			  : command_print("%.*s/%s", (int)length, directory, bound->name);
}

static bool is_denied(void)
{
	return errno != ENOENT && errno != ENOTDIR && errno != ENOTSOCK && errno != ELOOP;
}

/*
 * A socket that was renamed keeps the name it was bound by. As a rule the new one is in the same
 * directory; the caller frees it. NULL: there is none.
 */
static char *new_name(const struct bound *bound, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory = command_print("%.*s/", (int)(slash ? slash - path : 0), path);
	DIR *entries = slash ? opendir(directory) : NULL;
	const struct dirent *entry;
	char *found = NULL;

	while (entries && !found && (entry = readdir(entries))) {
		if ((entry->d_type != DT_SOCK && entry->d_type != DT_UNKNOWN) ||
			(uint32_t)entry->d_ino != bound->ino)
			continue;
		found = command_print("%s%s", directory, entry->d_name);
		if (!leads_to(found, bound)) {
			free(found);
			found = NULL;
		}
	}
	if (entries)
		closedir(entries);
	free(directory);
	return found;
}

/* In our mount namespace, or in a holder's. */
static enum state state_of_name(const struct bound *bound, const char *path, pid_t holder)
{
	char *inside;
	bool leads, denied;

	if (path[0] == '/' && leads_to(path, bound))
		return STATE_LIVE;
	if (holder == 0)
		return STATE_UNKNOWN; /* it may be one of another mount namespace */
	denied = is_denied();
	inside = command_print("/proc/%d/root%s", (int)holder, path);
	leads = leads_to(inside, bound);
	denied = denied || is_denied();
	free(inside);
	return leads ? STATE_LIVE : denied ? STATE_UNKNOWN : STATE_LOST;
}

void entry_look_bound(struct entry *entry, const struct bound *bound, const struct holders *holders)
{
	size_t count;
	const struct holding *holding = holders_of(holders, bound->number, &count);
	pid_t holder = count > 0 ? holding->pid : 0;
	char *renamed;

	*entry = (struct entry){.path = absolute(bound, holder), .bound = bound};
	entry->state = state_of_name(bound, entry->path, holder);
	renamed = entry->state == STATE_LIVE ? NULL : new_name(bound, entry->path);
	if (renamed) {
		free(entry->path);
		entry->path = renamed;
		entry->state = STATE_LIVE;
	}
	look_at_lock(entry);
	compare_record(entry);
}

void entry_free(struct entry *entry)
{
	free(entry->path);
	*entry = (struct entry){0};
}
