/*
 * lockfile: .NAME.sockguard, the file beside the socket NAME, and the two locks on it.
 *
 * The mutex (byte 0, exclusive) makes a check, and the unlink or bind that follows it, atomic with
 * respect to guarded processes. The claim (from byte 1 on, shared) is held by the owner of the
 * socket and by the processes forked from it, for as long as they live. Its length shows the
 * network namespace of the socket. Both are open file description locks, fcntl(2): the kernel drops
 * them with the last descriptor of the open file description, so a crash leaves none, and a program
 * that closes another descriptor of the file releases nothing.
 *
 * The file is unlinked only while its mutex is held. A process that acquires the mutex of an
 * unlinked file finds that the name no longer leads to that file, and starts over.
 *
 * All functions are async-signal-safe and leave errno alone. Signals must be blocked while a mutex
 * is held: a signal handler on the same thread could otherwise wait for that mutex for ever.
 */
#ifndef LOCKFILE_H
#define LOCKFILE_H

#include <stdbool.h>

#include "filesystem.h"
#include "inode.h"
#include "record.h"

#define LOCKFILE_PREFIX "."
#define LOCKFILE_SUFFIX ".sockguard"

/* The lock file's name is longer than the socket's by this number of bytes. */
#define LOCKFILE_EXTRA (sizeof(LOCKFILE_PREFIX LOCKFILE_SUFFIX) - 1)

/*
 * The size of the buffer for a lock file's path. A socket whose lock file would need a longer one
 * has none, because the buffer may be on the small stack of a signal handler. The path is usually
 * relative to an open directory, and no file system has names longer than 255 bytes.
 */
#define LOCKFILE_PATH 288

/*
 * The bytes of the file that are locked. Every claim begins at LOCKFILE_CLAIM and ends before
 * LOCKFILE_FORKS; claim_size() in lockfile.c is its length.
 */
enum { LOCKFILE_MUTEX = 0, LOCKFILE_CLAIM = 1, LOCKFILE_FORKS = 0x7fffffff };

struct lockfile {
	int dirfd;
	int fd; /* -1: not open */
	struct file_id file;
	bool will_claim;    /* set by the caller before it claims: try to create the file first */
	bool linked;        /* path leads to it: we have neither unlinked nor moved it */
	bool unlinked;      /* we have just unlinked it */
	bool borrowed;      /* fd was passed to lockfile_try_lock_through, whose caller closes it */
	bool claimed_by_us; /* through fd, which is then the claim's and must stay open */
	bool known_unclaimed; /* known without asking the kernel: we created it under its mutex */
	bool has_content;     /* not empty: it has a record, or something in its place */
	/*
	 * The file belongs neither to our user nor to root. The user to whom it belongs may
	 * hold the mutex for any length of time and write anything into the record.
	 */
	bool untrusted;
	bool fork_hangs; /* BUSY: not opened, because another thread's fork did not end in 30 s */
	/* lockfile_try_lock had no descriptor for it. Another process may hold the mutex. */
	bool lacks_descriptor;
	enum { DIRECTORY_UNKNOWN, DIRECTORY_PRIVATE, DIRECTORY_SHARED } directory;
	size_t length; /* of the plain name in path, see shared.h */
	char path[LOCKFILE_PATH];
};

enum lockfile_state {
	LOCKFILE_HELD, /* we hold the mutex, and must call lockfile_release */
	LOCKFILE_BUSY, /* another process or thread holds it: try again later */
	LOCKFILE_NONE, /* there can be no lock file here: go on without one */
};

/*
 * Sets lock to the lock file of a socket path, without opening it. The path is empty if it would
 * not fit; then all other functions find no lock file. Copies the path, and keeps no pointer to it.
 */
void lockfile_init(struct lockfile *lock, int dirfd, const char *path);

/* Whether a path ends like the name of a lock file. Uses little stack. */
bool lockfile_has_suffix(const char *path);

/*
 * Whether this path has the form of a lock file's. If so, copies the path of the socket to
 * the buffer `socket`. False as well if that does not fit.
 */
bool lockfile_socket_path(const char *path, char *socket, size_t size);

/*
 * Whether a file may be used as a lock file in a directory where other users may create names: a
 * regular file with one name that belongs to our effective user.
 */
bool lockfile_is_own(const struct kernel_file *found);

/*
 * In such a directory, looks for a lock file that this process has claimed but cannot open, for
 * example because it has changed its user since. `claimed` compares a file with the process's
 * claims. If there is such a file, sets lock's path to it and returns true. If lock's path leads to
 * our own user's file, returns false without a search.
 */
bool lockfile_find_claimed(struct lockfile *lock, bool (*claimed)(const struct kernel_file *));

/* Opens or creates the file, and tries once to acquire its mutex, without waiting. */
enum lockfile_state lockfile_try_lock(struct lockfile *lock);

/*
 * Opens an existing file for reading, to ask for its claim and its record. Does not acquire the
 * mutex and creates nothing. If it returns true, the caller must call lockfile_release.
 */
bool lockfile_open_readonly(struct lockfile *lock);

/*
 * The same, but only for a file that lockfile_try_lock would use: not for one that an attacker has
 * put in its place.
 */
bool lockfile_open_readonly_valid(struct lockfile *lock);

/*
 * Like lockfile_try_lock, but through `claim`, an open descriptor of the lock file. Used when no
 * other descriptor can be opened. The caller continues to own the descriptor. LOCKFILE_NONE if the
 * path leads to another file.
 */
enum lockfile_state lockfile_try_lock_through(struct lockfile *lock, int claim);

/*
 * Releases the mutex and closes the descriptor, unless that is the claim's. While it still holds
 * the mutex, unlinks the file if no process claims it: a crash left it, or lockfile_try_lock made
 * it for this one call. Does nothing if the file is not open.
 */
void lockfile_release(struct lockfile *lock);

/*
 * Unlinks the file under its mutex, which voids all claims on it. The next owner of the
 * socket path creates a new file.
 */
void lockfile_unlink(struct lockfile *lock);

/*
 * lockfile_move renames a's file over b's; lockfile_exchange exchanges the two. Both mutexes must
 * be held. Both return whether a file was renamed. If so, each argument refers to the other's file
 * afterwards: after a move, b to the renamed file, and a to the replaced one, which has no name.
 *
 * Invariant: a lock file is renamed only if a process claims it, and a claimed file has a record.
 * lockfile_try_lock relies on this: if a file that it created is still empty, the file has not been
 * renamed, and lockfile_try_lock does not look its name up again.
 */
bool lockfile_move(struct lockfile *a, struct lockfile *b);
bool lockfile_exchange(struct lockfile *a, struct lockfile *b);

/*
 * Whether any process holds a claim on the open file, this process through another descriptor
 * included. Both return false if the kernel cannot say.
 */
bool lockfile_is_claimed(const struct lockfile *lock);
bool lockfile_is_unclaimed(const struct lockfile *lock);

/*
 * Whether a process claims a lock file that we may not open for a socket of another network
 * namespace than `netns`. superblock is the socket's. False if unknown.
 *
 * False in a sticky directory where other users may create files, because one of them may have
 * created the lock file beside a stale socket. In any other directory, a user who can create the
 * lock file could also bind a live socket at the socket path.
 */
bool lockfile_is_claimed_elsewhere(struct lockfile *lock, const struct superblock *superblock,
	uint64_t netns);

/*
 * Writes the record and acquires a claim, both through the open file description that holds the
 * mutex. Returns the claim's descriptor, high and close-on-exec, which the caller must release with
 * lockfile_release_claim after lockfile_release. To give the claim up earlier, the caller clears
 * claimed_by_us instead, and lockfile_release closes the descriptor. Returns -1 if the record
 * cannot be written, since there is no claim without a record, or if the descriptor is borrowed.
 */
int lockfile_claim(struct lockfile *lock, const struct record *record);

/*
 * Adds a claim to a lock file that exists and has a record, without acquiring its mutex. lock need
 * not be open. Returns a descriptor as lockfile_claim does, and sets *file to the claimed file; or
 * returns -1.
 */
int lockfile_join_claim(struct lockfile *lock, struct file_id *file);

/* The state of a claim. The program may have closed its descriptor or reused the number. */
enum claim_state {
	CLAIM_VALID,
	CLAIM_VOID,    /* the lock file was unlinked: the claim proves nothing any more */
	CLAIM_LOST,    /* the descriptor is closed, or refers to another file */
	CLAIM_UNKNOWN, /* fstat(2) failed */
};
enum claim_state lockfile_claim_state(int claim, const struct file_id *file);

/* Whether this descriptor refers to this file, unlinked or not. */
bool lockfile_fd_is(int fd, const struct file_id *file);

/*
 * Acquires the claim through this descriptor of a lock file, for all processes that share its open
 * file description. Returns false if it cannot be locked.
 */
bool lockfile_acquire_claim(int fd);

/* Releases a claim, for all processes that share the open file description, and closes it. */
void lockfile_release_claim(int claim);

/*
 * Writes into the record, if there is one, that the owner is about to remove the socket path
 * (true), or that the removal failed and the owner keeps it (false). If the owner is killed between
 * the removal and lockfile_unlink, the record shows that the remaining claims do not count.
 */
void lockfile_mark_leaving(const struct lockfile *lock, bool leaving);

/* Reads the record. Returns false, and a record of zeros, if there is no valid one. */
bool lockfile_read_record(const struct lockfile *lock, struct record *record);

/*
 * Whether another kernel wrote the record that was read from this file: another host's, or this
 * host's before a reboot. Its numbers then mean nothing here. A different boot id does not suffice,
 * since a container may have its own: on a file system whose locks are local, a claim is always
 * this kernel's.
 */
bool lockfile_record_is_remote(const struct lockfile *lock, const struct record *record);

#endif
