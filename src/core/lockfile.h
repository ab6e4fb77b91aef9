/*
 * lockfile: .NAME.sockguard, beside the socket of that name, and the two locks on it.
 *
 * The mutex (byte 0) makes a look, a probe and the unlink or bind after them one step among guarded
 * processes. The claim (byte 1) is held shared by an owner, and by its forks with it, for as long
 * as they live. Both are open file description locks, fcntl(2): the kernel drops them with the last
 * descriptor, so a crash leaves none, and a descriptor the program closes elsewhere does no harm.
 *
 * The file is removed only under its mutex. Who waited for the mutex of a removed file sees by a
 * fresh look at the name that it is another file now, and starts over.
 *
 * All of it is async-signal-safe and leaves errno alone. While a mutex is held signals must be
 * blocked: a handler on the same thread could wait for it in vain.
 */
#ifndef LOCKFILE_H
#define LOCKFILE_H

#include <stdbool.h>

#include "inode.h"
#include "record.h"

#define LOCKFILE_PREFIX "."
#define LOCKFILE_SUFFIX ".sockguard"

/* By so many bytes the lock file's name is longer than the socket's. */
#define LOCKFILE_LONGER (sizeof(LOCKFILE_PREFIX LOCKFILE_SUFFIX) - 1)

/*
 * Longer names have no lock file: all this may be on the small stack of a signal handler. The names
 * are most often those in a directory that is open, and no file system has longer ones.
 */
#define LOCKFILE_PATH 288

struct lockfile {
	int dirfd;
	int fd; /* -1: not open */
	struct file_id file;
	bool to_claim;  /* set by who is going to claim it: most likely there is none yet */
	bool named;     /* the name still leads to it, as far as we had a hand in it */
	bool removed;   /* by us, just now */
	bool borrowed;  /* fd is somebody else's to close */
	bool claimed;   /* by us, through fd; then it is the claim's */
	bool unclaimed; /* by anybody, that is known */
	bool recorded;  /* it has a record, or something in its place */
	/*
	 * The file is another user's and not root's, who may keep its mutex as long as he likes and
	 * write what he likes into its record.
	 */
	bool distrusted;
	enum { DIRECTORY_NOT_SEEN, DIRECTORY_PRIVATE, DIRECTORY_SHARED } directory;
	size_t length; /* of the plain name in path, see shared.h */
	char path[LOCKFILE_PATH];
};

enum lockfile_state {
	LOCKFILE_HELD, /* the mutex is ours; lockfile_leave is owed */
	LOCKFILE_BUSY, /* somebody else holds it: try again later */
	LOCKFILE_NONE, /* there is none to be had here: go on without */
};

/* Names the lock file of a socket path, and opens nothing. Of one too long the name is empty. */
void lockfile_name(struct lockfile *lock, int dirfd, const char *path);

/* Is this the path of a lock file, by its name? Then fills in that of its socket. */
bool lockfile_socket(const char *path, char *socket, size_t size);

/* In a directory where strangers may create names: is this one ours, and so counts? */
bool lockfile_counts(const struct kernel_file *found);

/*
 * Where only files of our user count and the plain one is another's: finds the one that `claimed`
 * says we claimed, before we changed our user. The lock then has its name.
 */
bool lockfile_find_claimed(struct lockfile *lock, bool (*claimed)(const struct kernel_file *));

/* Opens the file, creating it where there is none, and tries for the mutex without waiting. */
enum lockfile_state lockfile_try(struct lockfile *lock);

/*
 * Opens the file for reading where there is one, without its mutex and without a trace, to ask
 * about claim and record. Returns whether there is one to be read; lockfile_leave closes it.
 */
bool lockfile_peek(struct lockfile *lock);

/* The same of a file that lockfile_try would accept: nobody else can have put it there. */
bool lockfile_peek_accepted(struct lockfile *lock);

/*
 * As lockfile_try through a descriptor that is open already, a claim's, for when no other can be
 * had. The caller keeps the descriptor. LOCKFILE_NONE where the name leads to another file.
 */
enum lockfile_state lockfile_borrow(struct lockfile *lock, int claim);

/*
 * Gives the mutex back. A file that nobody claims goes with it: whatever was left by a crash, or
 * made for this one look.
 */
void lockfile_leave(struct lockfile *lock);

/* Removes the file, and voids all claims on it with that: the next owner makes a new one. */
void lockfile_remove(struct lockfile *lock);

/*
 * a's file takes the place of b's, or the two change places. Only claimed ones are moved: who has
 * created one relies on it that it keeps its name until it is claimed. Returns whether any was.
 */
bool lockfile_move(struct lockfile *a, struct lockfile *b);
bool lockfile_exchange(struct lockfile *a, struct lockfile *b);

/*
 * Does anybody hold a claim on it, this process through another description included? Where that
 * cannot be told it is neither claimed nor unclaimed.
 */
bool lockfile_claimed(const struct lockfile *lock);
bool lockfile_unclaimed(const struct lockfile *lock);

/*
 * Writes the record and takes a claim, both through the description that holds the mutex. Returns
 * its descriptor, high and close-on-exec, which the caller owns from then on; or -1: there is no
 * claim without a record, and none through a borrowed descriptor.
 */
int lockfile_claim(struct lockfile *lock, const struct record *record);

/*
 * Joins the claims on the file that is there, without its mutex and whether lock is open or not.
 * Returns a descriptor as lockfile_claim, and which file it is; or -1.
 */
int lockfile_join(struct lockfile *lock, struct file_id *file);

/* What became of a claim. The program may have closed its descriptor, or put another there. */
enum claim {
	CLAIM_STANDS,
	CLAIM_VOID, /* the file was removed: it proves nothing any more */
	CLAIM_LOST, /* the descriptor is not it any more */
	CLAIM_UNTOLD,
};
enum claim lockfile_claim_state(int claim, const struct file_id *file);

/* Is this descriptor that very file, removed or not? */
bool lockfile_is(int fd, const struct file_id *file);

/* Gives a claim up, for all processes that share the descriptor, and closes it. */
void lockfile_unclaim(int claim);

/*
 * Notes in the record, if there is one, that the name is about to be taken away by an owner, or
 * that it was not after all: who dies in between leaves no claim on a free name.
 */
void lockfile_note_left(const struct lockfile *lock, bool left);

/* Returns false, and a record all zero, where there is none that makes sense. */
bool lockfile_record(const struct lockfile *lock, struct record *record);

/*
 * Is what was read from this lock file another kernel's record, so that the numbers in it mean
 * nothing here? A container may have a boot id of its own, so the boot id alone does not say so: a
 * claim is this kernel's wherever the file system's locks are.
 */
bool lockfile_from_elsewhere(const struct lockfile *lock, const struct record *record);

#endif
