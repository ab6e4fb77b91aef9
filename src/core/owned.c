#include "owned.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "caller.h"
#include "kernel.h"
#include "scratch.h"
#include "self.h"
#include "sockdiag.h"
#include "text.h"

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0) /* linux/un.h, since Linux 4.13 */
#endif

#define NUMBERS 4096 /* of descriptors to try where they cannot be listed */

#define VOID (-2) /* of a claim: given up, since its file was removed */

/* One name of ours. */
struct name {
	struct inode inode;
	struct file_id lockfile;
	uint64_t cookie; /* of the socket, by the record; 0: not known */
	int claim;
	int foreign;
};

/*
 * A name lies within REACH slots of where its inode number leads, so looking for one that is not
 * there costs the same however full the table is. Untouched slots cost no memory, and there is no
 * table before the first name is noted: most guarded processes never have one.
 */
#define SLOTS 4096U
#define REACH 16U
#define WORDS (sizeof(struct name) / sizeof(unsigned int))

_Static_assert(sizeof(struct name) % sizeof(unsigned int) == 0, "a name is copied by words");

/*
 * The turn is odd while the slot is being written, and never the same twice: who reads copies the
 * words and then looks whether the turn is still the one it was. A fork within a write leaves a
 * slot that is odd for ever in the child, which loses the one slot and nothing else.
 */
struct slot {
	atomic_uint turn;
	atomic_uint used;
	atomic_uint words[WORDS];
};

static _Atomic(struct slot *) table;

static bool table_any(void)
{
	return atomic_load_explicit(&table, memory_order_acquire) != NULL;
}

static bool have_table(void)
{
	struct slot *none = NULL;
	struct slot *made;

	if (table_any())
		return true;
	made = scratch_take(SLOTS * sizeof(*made));
	if (made && !atomic_compare_exchange_strong(&table, &none, made))
		scratch_give_back(made, SLOTS * sizeof(*made)); /* another thread was faster */
	return table_any();
}

static unsigned int home_of(const struct inode *inode)
{
	uint64_t mixed = ((uint64_t)inode->file.ino ^ (uint64_t)inode->file.dev << 32) *
			 UINT64_C(0x9e3779b97f4a7c15);

	return (unsigned int)(mixed >> 52) % SLOTS;
}

/* NULL while there is no table. */
static struct slot *slot_at(unsigned int home, unsigned int step)
{
	struct slot *slots = atomic_load_explicit(&table, memory_order_acquire);

	return slots ? &slots[(home + step) % SLOTS] : NULL;
}

/* Copies a slot's name; false where there is none, or it is changing right now. */
static bool read_slot(struct slot *slot, struct name *name, unsigned int *turn)
{
	unsigned int words[WORDS];

	if (!slot)
		return false;
	*turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
	if (*turn % 2 == 1 || !atomic_load_explicit(&slot->used, memory_order_relaxed))
		return false;
	for (size_t i = 0; i < WORDS; i++)
		words[i] = atomic_load_explicit(&slot->words[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&slot->turn, memory_order_relaxed) != *turn)
		return false;
	memcpy(name, words, sizeof(*name));
	return true;
}

/* Writes a slot that was last seen at this turn; NULL empties it. False if it has changed since. */
static bool write_slot(struct slot *slot, unsigned int turn, const struct name *name)
{
	unsigned int words[WORDS] = {0};

	if (!atomic_compare_exchange_strong_explicit(&slot->turn, &turn, turn + 1,
		    memory_order_acquire, memory_order_relaxed))
		return false;
	atomic_thread_fence(memory_order_release);
	if (name)
		memcpy(words, name, sizeof(*name));
	for (size_t i = 0; i < WORDS; i++)
		atomic_store_explicit(&slot->words[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&slot->used, name != NULL, memory_order_relaxed);
	atomic_store_explicit(&slot->turn, turn + 2, memory_order_release);
	return true;
}

/* Our claim on its lock file stands, or stood until somebody removed that. */
static bool is_ours(const struct name *name)
{
	return lockfile_is(name->claim, &name->lockfile);
}

/* A void claim needs no release: nobody finds its file any more. */
static void give_up(int claim, enum claim state)
{
	if (state == CLAIM_VOID)
		kernel_close(claim);
	else if (state != CLAIM_LOST)
		lockfile_unclaim(claim);
}

/* A free slot for a name, or else one whose claim is lost: of all names that is the least sure. */
static bool add(const struct name *name)
{
	unsigned int home = home_of(&name->inode);
	unsigned int turn;
	struct name there;

	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(home, step);

		turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
		if (turn % 2 == 0 && !atomic_load_explicit(&slot->used, memory_order_relaxed) &&
			write_slot(slot, turn, name))
			return true;
	}
	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(home, step);

		if (read_slot(slot, &there, &turn) && !is_ours(&there) &&
			write_slot(slot, turn, name))
			return true;
	}
	return false;
}

/*
 * A fork of ours may have unlinked a name of ours: its claim is void then, and its descriptor idle.
 * Each new name has the next few slots looked through for such, so that they do not add up.
 */
static void sweep(void)
{
	static atomic_uint next;
	unsigned int first = atomic_fetch_add_explicit(&next, REACH, memory_order_relaxed);
	unsigned int turn;
	struct name name;

	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(first, step);

		if (!read_slot(slot, &name, &turn) ||
			lockfile_claim_state(name.claim, &name.lockfile) != CLAIM_VOID)
			continue;
		int claim = name.claim;
		name.claim = VOID;
		if (write_slot(slot, turn, &name))
			give_up(claim, CLAIM_VOID);
	}
}

/* Where there is a claim beside the name, is it one on our socket? A fork of ours may hold it. */
static bool claimed_for_us(const struct name *name, const struct lockfile *lock)
{
	struct record record;

	return !lockfile_claimed(lock) || name->cookie == 0 || !lockfile_record(lock, &record) ||
	       record.cookie == name->cookie;
}

/*
 * What an entry proves. Our claim beside the name proves the name ours; somebody else's there
 * proves it theirs. That the socket is ours as well, and not only a name we gave it, is told by the
 * entry alone.
 */
static enum owned proves(const struct name *name, const struct lockfile *lock)
{
	enum owned all = name->foreign ? OWNED_NAME : OWNED_SOCKET;

	if (name->claim != VOID && !is_ours(name))
		return !name->foreign && claimed_for_us(name, lock) ? OWNED_SOCKET : OWNED_NOT;
	if (name->claim != VOID && lock->fd >= 0 && file_same(&name->lockfile, &lock->file))
		return all;
	return !name->foreign && !lockfile_claimed(lock) ? OWNED_SOCKET : OWNED_NOT;
}

static enum owned table_is_mine(const struct inode *inode, const struct lockfile *lock)
{
	unsigned int home = home_of(inode);
	enum owned best = OWNED_NOT;
	unsigned int turn;
	struct name name;

	for (unsigned int step = 0; step < REACH && best != OWNED_SOCKET; step++) {
		enum owned proved = OWNED_NOT;

		if (read_slot(slot_at(home, step), &name, &turn) && inode_same(&name.inode, inode))
			proved = proves(&name, lock);
		best = proved > best ? proved : best;
	}
	return best;
}

static int table_claim_on(const struct file_id *file)
{
	unsigned int turn;
	struct name name;

	for (unsigned int i = 0; i < SLOTS; i++)
		if (read_slot(slot_at(0, i), &name, &turn) && file_same(&name.lockfile, file) &&
			is_ours(&name))
			return name.claim;
	return -1;
}

static void table_note(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign)
{
	struct name name;

	memset(&name, 0, sizeof(name)); /* the padding too, for it is copied by words */
	name.inode = *inode;
	name.cookie = cookie;
	name.claim = claim;
	name.foreign = foreign;
	if (claim >= 0)
		name.lockfile = *lockfile;
	sweep();
	if (!(have_table() && add(&name)) && claim >= 0)
		lockfile_unclaim(claim);
}

static void table_forget(const struct inode *inode, const struct file_id *lockfile)
{
	unsigned int home = home_of(inode);

	if (self_shares_memory())
		return;
	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(home, step);
		unsigned int turn;
		struct name name;

		if (!read_slot(slot, &name, &turn) || !inode_same(&name.inode, inode))
			continue;
		enum claim state = lockfile_claim_state(name.claim, &name.lockfile);
		bool intact = state == CLAIM_STANDS || state == CLAIM_UNTOLD;
		if (intact && !file_same(&name.lockfile, lockfile))
			continue; /* another name of this socket */
		if (write_slot(slot, turn, NULL))
			give_up(name.claim, state);
	}
}

struct listed {
	int dir;
	bool (*found)(int fd, void *about);
	void *about;
	bool any; /* a directory that may be read has two entries at least */
};

static bool is_listed(const char *entry, void *about)
{
	struct listed *listed = about;
	uint64_t fd;

	listed->any = true;
	return text_read_number(entry, &fd) && (int)fd != listed->dir &&
	       listed->found((int)fd, listed->about);
}

/* Calls back for each number below the limit that a descriptor may have. */
static bool each_number(int limit, bool (*found)(int fd, void *about), void *about)
{
	for (int fd = 0; fd < limit; fd++)
		if (found(fd, about))
			return true;
	return false;
}

/*
 * Whether the table of descriptors goes as far as this number. Of one that is not open select(2)
 * says EBADF if it does, and passes over numbers beyond the table, as its BUGS section tells.
 */
static bool table_reaches(int fd)
{
	fd_set set;

	if (kernel_descriptor_flags(fd) >= 0)
		return true;
	FD_ZERO(&set);
	FD_SET((unsigned int)fd, &set);
	return kernel_select_readable(fd + 1, &set) != 0;
}

/*
 * Until one of the descriptors is found to be it. To try each number of a table of the usual sizes
 * costs a new process a fifth of what the first look into its directory in /proc does.
 */
static bool each_descriptor(bool (*found)(int fd, void *about), void *about)
{
	static const int usual[] = {64, 256};
	struct listed listed = {.found = found, .about = about};
	bool done = false;

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (!table_reaches(usual[i]))
			return each_number(usual[i], found, about);
	listed.dir = kernel_open(AT_FDCWD, "/proc/thread-self/fd", O_RDONLY | O_DIRECTORY, 0);
	if (listed.dir >= 0) {
		done = inode_list(listed.dir, is_listed, &listed) == 1;
		kernel_close(listed.dir);
	}
	return listed.any ? done : each_number(NUMBERS, found, about);
}

/* ---- the caller, whoever it is ---- */

static const struct caller self = {
	.pid = kernel_pid,
	.any = table_any,
	.is_mine = table_is_mine,
	.claim_on = table_claim_on,
	.note = table_note,
	.forget = table_forget,
	.each_descriptor = each_descriptor,
};

const struct caller *caller = &self;

bool owned_any(void)
{
	return caller->any();
}

enum owned owned_is_mine(const struct inode *inode, const struct lockfile *lock)
{
	return caller->is_mine(inode, lock);
}

int owned_claim_on(const struct file_id *file)
{
	return caller->claim_on(file);
}

void owned_note(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign)
{
	caller->note(inode, lockfile, claim, cookie, foreign);
}

void owned_forget(const struct inode *inode, const struct file_id *lockfile)
{
	caller->forget(inode, lockfile);
}

/*
 * Does this descriptor hold a socket on the name it tells, and not a connection accepted from one?
 * Those tell the listener's name too, but have a peer.
 */
static bool holds_name(int fd, struct sockaddr_un *address)
{
	struct sockaddr_un peer;
	socklen_t size = sizeof(*address);
	socklen_t peer_size = sizeof(peer);
	int type = 0;
	socklen_t type_size = sizeof(type);

	address->sun_family = AF_UNSPEC;
	address->sun_path[0] = '\0';
	if (kernel_getsockname(fd, address, &size) != 0 ||
		size <= offsetof(struct sockaddr_un, sun_path) || address->sun_family != AF_UNIX ||
		address->sun_path[0] == '\0')
		return false;
	if (size < sizeof(*address))
		memset((char *)address + size, 0, sizeof(*address) - size);
	if (kernel_getsockopt(fd, SO_TYPE, &type, &type_size) != 0)
		return false;
	return type == SOCK_DGRAM ||
	       (kernel_getpeername(fd, &peer, &peer_size) != 0 && errno == ENOTCONN);
}

/* Does a record that was read from this lock file name our socket? */
static bool is_record_of(const struct record *record, const struct lockfile *lock, int fd)
{
	return record_is_of(record, fd) && !lockfile_from_elsewhere(lock, record);
}

/* What a claimed lock file says of the socket at its name, if its record is to be trusted. */
enum recorded { RECORD_NONE, RECORD_OURS, RECORD_OTHER };

static enum recorded recorded_socket(int fd, const struct lockfile *lock)
{
	struct record record;

	if (lock->distrusted || !lockfile_claimed(lock) || !lockfile_record(lock, &record) ||
		record.cookie == 0)
		return RECORD_NONE;
	return is_record_of(&record, lock, fd) ? RECORD_OURS : RECORD_OTHER;
}

/* Relative names prove nothing: the process may have changed its directory since. */
static bool leads_to(const struct sockaddr_un *address, const struct pin *pin)
{
	char path[sizeof(address->sun_path) + 1] = {0};
	struct inode there;

	memcpy(path, address->sun_path, sizeof(address->sun_path));
	return path[0] == '/' && inode_identify(AT_FDCWD, path, &there) == 0 &&
	       inode_same(&there, &pin->inode);
}

/*
 * Is it bound to that inode? SIOCUNIXFILE tells by itself, but wants CAP_NET_ADMIN. sock_diag may
 * be ambiguous, or out of reach: systemd's RestrictAddressFamilies= leaves many services no
 * netlink. Then the record decides. Only where there is none, and the number is right, does the
 * name that the socket was bound at.
 */
static bool is_socket_of(int fd, const struct sockaddr_un *address, const struct pin *pin,
	const struct lockfile *lock)
{
	int file = kernel_ioctl(fd, SIOCUNIXFILE);
	struct kernel_file found;
	enum recorded recorded;

	if (file >= 0) {
		struct inode bound;
		bool same =
			inode_of_descriptor(file, &bound) == 0 && inode_same(&bound, &pin->inode);
		kernel_close(file);
		return same;
	}
	if (kernel_fstat(fd, &found) != 0)
		return false;
	switch (sockdiag_bound_by(pin, lock->dirfd, lock->path, found.ino)) {
	case SOCKDIAG_YES:
		return true;
	case SOCKDIAG_NO:
		return false;
	case SOCKDIAG_AMBIGUOUS:
		recorded = recorded_socket(fd, lock);
		return recorded == RECORD_OURS ||
		       (recorded == RECORD_NONE && leads_to(address, pin));
	case SOCKDIAG_SILENT:
		break;
	}
	return recorded_socket(fd, lock) == RECORD_OURS;
}

/*
 * A claim on a lock file that tells of this very socket. Any other is of somebody who looks in, or
 * was left by a crash: whoever claims it as well would keep the name from others once it is free.
 */
static void note_adopted(int fd, const struct inode *inode, struct lockfile *lock)
{
	struct file_id file;
	struct record record;
	bool ours = lockfile_record(lock, &record) && is_record_of(&record, lock, fd);
	int claim = ours ? lockfile_join(lock, &file) : -1;

	owned_note(inode, &file, claim, ours ? record.cookie : 0, false);
}

static bool adopt_inherited(int fd, void *about)
{
	struct sockaddr_un address;
	char path[sizeof(address.sun_path) + 1] = {0};
	struct lockfile lock;
	struct pin pin;

	(void)about;
	if (!holds_name(fd, &address))
		return false;
	memcpy(path, address.sun_path, sizeof(address.sun_path)); /* may fill it without a NUL */
	if (inode_pin(AT_FDCWD, path, &pin) != 0)
		return false;
	lockfile_name(&lock, AT_FDCWD, path);
	lockfile_peek(&lock);
	if (is_socket_of(fd, &address, &pin, &lock))
		note_adopted(fd, &pin.inode, &lock);
	lockfile_leave(&lock);
	inode_unpin(&pin);
	return false;
}

void owned_adopt_inherited(void)
{
	int saved = errno;

	caller->each_descriptor(adopt_inherited, NULL);
	errno = saved;
}

static bool is_recorded_as(int fd, void *record)
{
	return record_is_of(record, fd);
}

bool owned_is_recorded(struct record *record)
{
	int saved = errno;
	unsigned int turn;
	struct name name;
	bool ours = false;

	for (unsigned int i = 0; i < SLOTS && !ours && record->cookie != 0; i++)
		ours = read_slot(slot_at(0, i), &name, &turn) && name.cookie == record->cookie;
	ours = ours || caller->each_descriptor(is_recorded_as, record);
	errno = saved;
	return ours;
}

struct sought {
	const struct pin *pin;
	const struct lockfile *lock;
	int fd; /* that was looked at last */
};

static bool is_sought(int fd, void *about)
{
	struct sought *sought = about;
	struct sockaddr_un address;

	sought->fd = fd;
	return holds_name(fd, &address) && is_socket_of(fd, &address, sought->pin, sought->lock);
}

/* The descriptor that holds it, or -1. */
static int holder_of(const struct pin *pin, const struct lockfile *lock)
{
	int saved = errno;
	struct sought sought = {.pin = pin, .lock = lock};
	bool held = caller->each_descriptor(is_sought, &sought);

	errno = saved;
	return held ? sought.fd : -1;
}

bool owned_holds(const struct pin *pin, const struct lockfile *lock)
{
	return holder_of(pin, lock) >= 0;
}

bool owned_adopt_held(const struct pin *pin, struct lockfile *lock)
{
	int fd = holder_of(pin, lock);

	if (fd >= 0)
		note_adopted(fd, &pin->inode, lock);
	return fd >= 0;
}
