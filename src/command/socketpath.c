#include "socketpath.h"

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

static pid_t holder_of(const struct scene *scene, const struct bound *bound)
{
	size_t count;
	const struct holding *holding = holders_of(&scene->holders, bound->number, &count);

	return count > 0 ? holding->pid : 0;
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
 * A socket that was renamed keeps the name it was bound at. As a rule the new one is in the same
 * directory; the caller frees it. NULL: there is none.
 */
static char *new_name(struct directories *directories, const struct bound *bound, const char *path)
{
	char *directory = command_print("%.*s", (int)inode_directory(path), path);
	size_t count = 0;
	const struct name *names =
		directory[0] == '/' ? directories_find(directories, directory, bound->ino, &count)
				    : NULL;
	char *found = NULL;

	for (size_t i = 0; i < count && !found; i++) {
		found = command_print("%s%s", directory, names[i].name);
		if (leads_to(found, bound))
			break;
		free(found);
		found = NULL;
	}
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

void entry_look_bound(struct entry *entry, const struct bound *bound, struct scene *scene)
{
	pid_t holder = holder_of(scene, bound);
	char *renamed;

	*entry = (struct entry){.path = absolute(bound, holder), .bound = bound};
	entry->state = state_of_name(bound, entry->path, holder);
	renamed = entry->state == STATE_LIVE ? NULL
					     : new_name(&scene->directories, bound, entry->path);
	if (renamed) {
		free(entry->path);
		entry->path = renamed;
		entry->state = STATE_LIVE;
	}
	look_at_lock(entry);
	compare_record(entry);
}

/* ---- the names that sockets were bound at ---- */

/* Takes double slashes and single dots out of an absolute path. */
static void tidy(char *path)
{
	char *to = path;

	for (const char *at = path; *at != '\0';) {
		size_t length = 1 + strcspn(at + 1, "/");

		if (length > 1 && !(length == 2 && at[1] == '.')) {
			memmove(to, at, length);
			to += length;
		}
		at += length;
	}
	*to = '\0';
}

static int by_name(const void *a, const void *b)
{
	const struct bound_name *left = a, *right = b;
	int order = strcmp(left->name, right->name);

	if (order != 0)
		return order;
	return (left->bound->number > right->bound->number) -
	       (left->bound->number < right->bound->number);
}

void scene_load(struct scene *scene)
{
	*scene = (struct scene){0};
	sockets_load(&scene->sockets);
	holders_load(&scene->holders, &scene->sockets);
	scene->names = command_allocate(scene->sockets.count * sizeof(*scene->names));
	for (size_t i = 0; i < scene->sockets.count; i++) {
		const struct bound *bound = &scene->sockets.list[i];
		struct bound_name *name = &scene->names[scene->count];

		if (!sockets_serves(bound))
			continue;
		*name = (struct bound_name){absolute(bound, holder_of(scene, bound)), bound};
		if (name->name[0] == '/')
			tidy(name->name);
		scene->count++;
	}
	if (scene->count > 0)
		qsort(scene->names, scene->count, sizeof(*scene->names), by_name);
}

void scene_free(struct scene *scene)
{
	for (size_t i = 0; i < scene->count; i++)
		free(scene->names[i].name);
	free(scene->names);
	directories_free(&scene->directories);
	holders_free(&scene->holders);
	sockets_free(&scene->sockets);
}

/* Where the names from this one on begin: scene->count if there are none. */
static size_t first_named(const struct scene *scene, const char *name)
{
	size_t low = 0, high = scene->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(scene->names[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The nth socket that was bound at a path, which may be relative; NULL: there are no more. */
static const struct bound *bound_at(const struct scene *scene, const char *path, size_t nth)
{
	char directory[PATH_MAX];
	const struct bound *bound = NULL;
	char *name;
	size_t at;

	if (path[0] == '/')
		name = command_copy(path);
	else if (getcwd(directory, sizeof(directory)))
		name = command_print("%s/%s", directory, path);
	else
		return NULL;
	tidy(name);
	at = first_named(scene, name) + nth;
	if (at < scene->count && strcmp(scene->names[at].name, name) == 0)
		bound = scene->names[at].bound;
	free(name);
	return bound;
}

bool entry_look_robbed(struct entry *robbed, const struct entry *entry, struct scene *scene,
	size_t *next)
{
	const struct bound *bound;

	while ((bound = bound_at(scene, entry->path, (*next)++))) {
		if (bound == entry->bound)
			continue;
		entry_look_bound(robbed, bound, scene);
		if (robbed->state == STATE_LOST) {
			free(robbed->path); /* as it was named, like the other */
			robbed->path = command_copy(entry->path);
			return true;
		}
		entry_free(robbed);
	}
	return false;
}

/* ---- a path ---- */

/* A socket that was bound there, and is not known to have another name by now. */
static const struct bound *former(const char *path, struct scene *scene)
{
	const struct bound *bound;
	struct entry entry;
	bool live = true;

	for (size_t i = 0; live && (bound = bound_at(scene, path, i)); i++) {
		entry_look_bound(&entry, bound, scene);
		live = entry.state == STATE_LIVE;
		entry_free(&entry);
	}
	return bound;
}

static void look_at_absent(struct entry *entry, struct scene *scene)
{
	if (errno == ENOTSOCK) {
		entry->state = STATE_NO_SOCKET;
		return;
	}
	if (errno != ENOENT && errno != ENOTDIR) {
		entry->state = STATE_UNKNOWN;
		return;
	}
	entry->bound = former(entry->path, scene);
	entry->state = entry->lock == LOCK_CLAIMED ? STATE_CLAIMED
		       : entry->bound              ? STATE_LOST
						   : STATE_ABSENT;
}

void entry_look(struct entry *entry, const char *path, struct scene *scene)
{
	struct pin pin;

	*entry = (struct entry){.path = command_copy(path)};
	look_at_lock(entry);
	if (inode_pin(AT_FDCWD, path, &pin) != 0) {
		look_at_absent(entry, scene);
	} else {
		entry->state = state_of_pinned(&pin, path);
		if (entry->state != STATE_STALE)
			entry->bound = sockets_at(&scene->sockets, &pin);
		inode_unpin(&pin);
	}
	compare_record(entry);
}

void entry_free(struct entry *entry)
{
	free(entry->path);
	*entry = (struct entry){0};
}
