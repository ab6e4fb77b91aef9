#include "owned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

#define TRIED_NUMBERS 4096 /* descriptor numbers to try if /proc cannot list them */

#define CLAIM_CLOSED (-2) /* as a claim: we closed it because its lock file was unlinked */

/* An entry of the table. */
struct owned_path {
	struct inode inode;
	struct file_id lockfile;
	uint64_t cookie; /* of the socket, as in the record; 0: unknown */
	int claim;       /* its descriptor; -1: none; or CLAIM_CLOSED */
	int foreign;     /* the socket is another process's */
};

/*
 * An entry is within REACH slots from the one that its inode number selects, so an unsuccessful
 * search costs the same however full the table is. Unused slots take no memory, and there is no
 * table before the first path is added: most guarded processes never have one.
 */
#define SLOTS 4096U
#define REACH 16U
#define WORDS (sizeof(struct owned_path) / sizeof(unsigned int))

_Static_assert(sizeof(struct owned_path) % sizeof(unsigned int) == 0,
	"an entry is copied word by word");

/*
 * The version is odd while a thread writes the slot, and increases with each write. A reader copies
 * the words, and then checks that the version has not changed. A fork during a write leaves the
 * version odd in the child for ever; the child loses this one slot.
 */
struct slot {
	atomic_uint version;
	atomic_uint used;
	atomic_uint words[WORDS];
};

static _Atomic(struct slot *) table;

static bool have_table(void)
{
	return atomic_load_explicit(&table, memory_order_acquire) != NULL;
}

static bool ensure_table(void)
{
	struct slot *none = NULL;
	struct slot *made;

	if (have_table())
		return true;
	made = scratch_allocate(SLOTS * sizeof(*made));
	if (made && !atomic_compare_exchange_strong(&table, &none, made))
		scratch_free(made, SLOTS * sizeof(*made)); /* another thread was faster */
	return have_table();
}

static unsigned int first_slot_of(const struct inode *inode)
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

/* Copies a slot's entry; false if it is empty, or being written. */
static bool read_slot(struct slot *slot, struct owned_path *entry, unsigned int *version)
{
	unsigned int words[WORDS];

	if (!slot)
		return false;
	*version = atomic_load_explicit(&slot->version, memory_order_acquire);
	if (*version % 2 == 1 || !atomic_load_explicit(&slot->used, memory_order_relaxed))
		return false;
	for (size_t i = 0; i < WORDS; i++)
		words[i] = atomic_load_explicit(&slot->words[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&slot->version, memory_order_relaxed) != *version)
		return false;
	memcpy(entry, words, sizeof(*entry));
	return true;
}

/* Writes a slot if it still has this version; NULL empties it. False if it has changed. */
static bool write_slot(struct slot *slot, unsigned int version, const struct owned_path *entry)
{
	unsigned int words[WORDS] = {0};

	if (!atomic_compare_exchange_strong_explicit(&slot->version, &version, version + 1,
		    memory_order_acquire, memory_order_relaxed))
		return false;
	atomic_thread_fence(memory_order_release);
	if (entry)
		memcpy(words, entry, sizeof(*entry));
	for (size_t i = 0; i < WORDS; i++)
		atomic_store_explicit(&slot->words[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&slot->used, entry != NULL, memory_order_relaxed);
	atomic_store_explicit(&slot->version, version + 2, memory_order_release);
	return true;
}

/* Whether the entry's descriptor is still our claim, valid or void. */
static bool claim_is_ours(const struct owned_path *entry)
{
	return lockfile_fd_is(entry->claim, &entry->lockfile);
}

/* A void claim need not be unlocked: no process can open its file any more. */
static void release_claim(int claim, enum claim_state state)
{
	if (state == CLAIM_VOID)
		kernel_close(claim);
	else if (state != CLAIM_LOST)
		lockfile_release_claim(claim);
}

/* Uses a free slot, or else replaces an entry whose claim is lost: that proves the least. */
static bool insert(const struct owned_path *entry)
{
	unsigned int home = first_slot_of(&entry->inode);
	unsigned int version;
	struct owned_path other;

	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(home, step);

		version = atomic_load_explicit(&slot->version, memory_order_acquire);
		if (version % 2 == 0 && !atomic_load_explicit(&slot->used, memory_order_relaxed) &&
			write_slot(slot, version, entry))
			return true;
	}
	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(home, step);

		if (read_slot(slot, &other, &version) && !claim_is_ours(&other) &&
			write_slot(slot, version, entry))
			return true;
	}
	return false;
}

/*
 * If a process forked from ours unlinks one of our paths, our claim becomes void and its descriptor
 * useless. Each new entry checks the next few slots for such descriptors and closes them, so that
 * they do not accumulate.
 */
static void close_void_claims(void)
{
	static atomic_uint next;
	unsigned int first = atomic_fetch_add_explicit(&next, REACH, memory_order_relaxed);
	unsigned int version;
	struct owned_path entry;

	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(first, step);

		if (!read_slot(slot, &entry, &version) ||
			lockfile_claim_state(entry.claim, &entry.lockfile) != CLAIM_VOID)
			continue;
		int claim = entry.claim;
		entry.claim = CLAIM_CLOSED;
		if (write_slot(slot, version, &entry))
			release_claim(claim, CLAIM_VOID);
	}
}

/* Whether the lock file is unclaimed, or its claim may be that of a process forked from ours. */
static bool claim_may_be_ours(const struct owned_path *entry, const struct lockfile *lock)
{
	struct record record;

	return !lockfile_is_claimed(lock) || entry->cookie == 0 ||
	       !lockfile_read_record(lock, &record) || record.cookie == entry->cookie;
}

/*
 * What an entry proves. If our claim is on the lock file beside the path, we own the path. If only
 * another process has a claim on it, that process owns the path. `foreign` says whether we also
 * bound the socket, or only linked the path to it.
 */
static enum owned owned_by_entry(const struct owned_path *entry, const struct lockfile *lock)
{
	enum owned claimed = entry->foreign ? OWNED_PATH : OWNED_SOCKET;

	if (entry->claim != CLAIM_CLOSED && !claim_is_ours(entry))
		return !entry->foreign && claim_may_be_ours(entry, lock) ? OWNED_SOCKET : OWNED_NOT;
	if (entry->claim != CLAIM_CLOSED && lock->fd >= 0 &&
		file_same(&entry->lockfile, &lock->file))
		return claimed;
	return !entry->foreign && !lockfile_is_claimed(lock) ? OWNED_SOCKET : OWNED_NOT;
}

static enum owned table_check(const struct inode *inode, const struct lockfile *lock)
{
	unsigned int home = first_slot_of(inode);
	enum owned best = OWNED_NOT;
	unsigned int version;
	struct owned_path entry;

	for (unsigned int step = 0; step < REACH && best != OWNED_SOCKET; step++) {
		enum owned proved = OWNED_NOT;

		if (read_slot(slot_at(home, step), &entry, &version) &&
			inode_same(&entry.inode, inode))
			proved = owned_by_entry(&entry, lock);
		best = proved > best ? proved : best;
	}
	return best;
}

static int table_find_claim(const struct file_id *file)
{
	unsigned int version;
	struct owned_path entry;

	for (unsigned int i = 0; i < SLOTS; i++)
		if (read_slot(slot_at(0, i), &entry, &version) &&
			file_same(&entry.lockfile, file) && claim_is_ours(&entry))
			return entry.claim;
	return -1;
}

static bool table_add(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign)
{
	struct owned_path entry;

	memset(&entry, 0, sizeof(entry)); /* with its padding, because it is copied word by word */
	entry.inode = *inode;
	entry.cookie = cookie;
	entry.claim = claim;
	entry.foreign = foreign;
	if (claim >= 0)
		entry.lockfile = *lockfile;
	close_void_claims();
	return ensure_table() && insert(&entry);
}

static void table_remove(const struct inode *inode, const struct file_id *lockfile)
{
	unsigned int home = first_slot_of(inode);

	if (self_shares_memory())
		return;
	for (unsigned int step = 0; step < REACH; step++) {
		struct slot *slot = slot_at(home, step);
		unsigned int version;
		struct owned_path entry;

		if (!read_slot(slot, &entry, &version) || !inode_same(&entry.inode, inode))
			continue;
		enum claim_state state = lockfile_claim_state(entry.claim, &entry.lockfile);
		bool intact = state == CLAIM_VALID || state == CLAIM_UNKNOWN;
		if (intact && !file_same(&entry.lockfile, lockfile))
			continue; /* another path of this socket */
		if (write_slot(slot, version, NULL))
			release_claim(entry.claim, state);
	}
}

struct listing {
	int dir;
	bool (*found)(int fd, void *about);
	void *about;
	bool any; /* anything was listed: a readable directory has at least two entries */
};

static bool is_listed(const char *entry, void *about)
{
	struct listing *listing = about;
	uint64_t fd;

	listing->any = true;
	return text_read_number(entry, &fd) && (int)fd != listing->dir &&
	       listing->found((int)fd, listing->about);
}

/* Calls `found` for each number below limit until it returns true. */
static bool each_number(int limit, bool (*found)(int fd, void *about), void *about)
{
	for (int fd = 0; fd < limit; fd++)
		if (found(fd, about))
			return true;
	return false;
}

/*
 * Whether the kernel's descriptor table of this process may include this number. For a number that
 * is not open, select(2) returns EBADF if it is inside the table, and ignores it if it is beyond
 * (select(2), BUGS). If a filter forbids the first check, the table is taken to include it.
 */
static bool descriptor_table_reaches(int fd)
{
	fd_set set;

	if (kernel_descriptor_flags(fd) >= 0 || kernel_is_forbidden(errno))
		return true;
	FD_ZERO(&set);
	FD_SET((unsigned int)fd, &set);
	return kernel_select_readable(fd + 1, &set) != 0;
}

/*
 * Calls `found` for the descriptors of this process until it returns true. Trying every number of a
 * small table takes a fifth of the time that a new process needs to open its directory in /proc,
 * which the kernel first has to create.
 */
static bool each_descriptor(bool (*found)(int fd, void *about), void *about)
{
	static const int usual[] = {64, 256};
	struct listing listing = {.found = found, .about = about};
	bool done = false;

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (!descriptor_table_reaches(usual[i]))
			return each_number(usual[i], found, about);
	listing.dir = kernel_open(AT_FDCWD, "/proc/thread-self/fd", O_RDONLY | O_DIRECTORY, 0);
	if (listing.dir >= 0) {
		done = inode_list_directory(listing.dir, is_listed, &listing) == 1;
		kernel_close(listing.dir);
	}
	return listing.any ? done : each_number(TRIED_NUMBERS, found, about);
}

/* ---- the caller: this process, or the one that a supervisor acts for ---- */

/* A process releases the sockets that it closes before close(2) returns. */
static void nothing_to_await(void)
{
}

static const struct caller self = {
	.pid = kernel_pid,
	.pid_namespace = self_pid_namespace,
	.has_any = have_table,
	.check = table_check,
	.find_claim = table_find_claim,
	.add = table_add,
	.remove = table_remove,
	.pause = kernel_sleep,
	.await_release = nothing_to_await,
	.each_descriptor = each_descriptor,
};

const struct caller *caller = &self;

bool owned_has_any(void)
{
	return caller->has_any();
}

enum owned owned_check(const struct inode *inode, const struct lockfile *lock)
{
	return caller->check(inode, lock);
}

int owned_find_claim(const struct file_id *file)
{
	return caller->find_claim(file);
}

bool owned_claims(const struct kernel_file *found)
{
	const struct file_id file = file_id_of(found);

	return S_ISREG(found->mode) && owned_find_claim(&file) >= 0;
}

bool owned_claims_as_other_user(const struct kernel_file *found)
{
	return !lockfile_is_own(found) && owned_claims(found);
}

bool owned_add(const struct inode *inode, const struct file_id *lockfile, int claim,
	uint64_t cookie, bool foreign)
{
	return caller->add(inode, lockfile, claim, cookie, foreign);
}

void owned_remove(const struct inode *inode, const struct file_id *lockfile)
{
	caller->remove(inode, lockfile);
}

/*
 * Whether this descriptor is a socket that was bound to a path, which is copied to address. An
 * accepted connection returns its listener's path too, but has a peer.
 */
static bool is_binder(int fd, struct sockaddr_un *address)
{
	struct sockaddr_un peer;
	socklen_t size = sizeof(*address);
	socklen_t peer_size = sizeof(peer);
	int type = 0;
	socklen_t type_size = sizeof(type);

	address->sun_family = AF_UNSPEC;
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

/* Whether the record that was read from this lock file names this socket. */
static bool record_names_socket(const struct record *record, const struct lockfile *lock, int fd)
{
	return record_matches_socket(record, fd) && !lockfile_record_is_remote(lock, record);
}

enum recorded { RECORD_NONE, RECORD_OURS, RECORD_OTHER };

/* Compares a socket with the record of a claimed lock file, if that file is trusted. */
static enum recorded compare_with_record(int fd, const struct lockfile *lock)
{
	struct record record;

	if (lock->untrusted || !lockfile_is_claimed(lock) || !lockfile_read_record(lock, &record) ||
		record.cookie == 0)
		return RECORD_NONE;
	return record_names_socket(&record, lock, fd) ? RECORD_OURS : RECORD_OTHER;
}

/*
 * Whether an absolute address leads to the pinned inode. A relative one proves nothing: the process
 * may have changed its directory since the bind.
 */
static bool address_leads_to(const struct sockaddr_un *address, const struct pin *pin)
{
	char path[sizeof(address->sun_path) + 1] = {0};
	struct inode there;

	memcpy(path, address->sun_path, sizeof(address->sun_path));
	return path[0] == '/' && inode_identify(AT_FDCWD, path, &there) == 0 &&
	       inode_same(&there, &pin->inode);
}

/*
 * Whether a socket is bound to the pinned inode. SIOCUNIXFILE answers exactly, but requires
 * CAP_NET_ADMIN. sock_diag may be ambiguous or unavailable: systemd's RestrictAddressFamilies=
 * denies netlink to many services. Then the record decides. If sock_diag is ambiguous and there is
 * no record, the path that the socket was bound to decides.
 */
static bool is_bound_to_pinned(int fd, const struct sockaddr_un *address, const struct pin *pin,
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
	switch (sockdiag_is_bound_to(pin, lock->dirfd, lock->path, found.ino)) {
	case SOCKDIAG_YES:
		return true;
	case SOCKDIAG_NO:
		return false;
	case SOCKDIAG_AMBIGUOUS:
		recorded = compare_with_record(fd, lock);
		return recorded == RECORD_OURS ||
		       (recorded == RECORD_NONE && address_leads_to(address, pin));
	case SOCKDIAG_UNKNOWN:
		break;
	}
	return compare_with_record(fd, lock) == RECORD_OURS;
}

/*
 * Adds an inherited or received socket. Joins the claim only if the record names this socket. Any
 * other lock file was left by a crash, or is being used by a process for one call; a claim on it
 * would block the path for other processes after it has become free.
 */
static void add_adopted(int fd, const struct inode *inode, struct lockfile *lock)
{
	struct file_id file;
	struct record record;
	bool ours = lockfile_read_record(lock, &record) && record_names_socket(&record, lock, fd);
	int claim = ours ? lockfile_join_claim(lock, &file) : -1;

	if (!owned_add(inode, &file, claim, ours ? record.cookie : 0, false) && claim >= 0)
		lockfile_release_claim(claim);
}

static bool adopt_if_bound(int fd, void *about)
{
	struct sockaddr_un address;
	char path[sizeof(address.sun_path) + 1] = {0};
	struct lockfile lock;
	struct pin pin;

	(void)about;
	if (!is_binder(fd, &address))
		return false;
	memcpy(path, address.sun_path,
		sizeof(address.sun_path)); /* sun_path may be full, without a NUL */
	if (inode_pin(AT_FDCWD, path, &pin) != 0)
		return false;
	lockfile_init(&lock, AT_FDCWD, path);
	lockfile_open_readonly(&lock);
	if (is_bound_to_pinned(fd, &address, &pin, &lock))
		add_adopted(fd, &pin.inode, &lock);
	lockfile_release(&lock);
	inode_unpin(&pin);
	return false;
}

void owned_adopt_inherited(void)
{
	int saved = errno;

	caller->each_descriptor(adopt_if_bound, NULL);
	errno = saved;
}

static bool has_cookie_in_record(int fd, void *record)
{
	return record_matches_socket(record, fd);
}

bool owned_has_recorded_socket(struct record *record)
{
	int saved = errno;
	unsigned int version;
	struct owned_path entry;
	bool ours = false;

	for (unsigned int i = 0; i < SLOTS && !ours; i++)
		ours = read_slot(slot_at(0, i), &entry, &version) && entry.cookie == record->cookie;
	ours = ours || caller->each_descriptor(has_cookie_in_record, record);
	errno = saved;
	return ours;
}

struct sought {
	const struct pin *pin;
	const struct lockfile *lock;
	int fd; /* the descriptor examined last */
};

static bool is_sought(int fd, void *about)
{
	struct sought *sought = about;
	struct sockaddr_un address;

	sought->fd = fd;
	return is_binder(fd, &address) &&
	       is_bound_to_pinned(fd, &address, sought->pin, sought->lock);
}

/* The descriptor of the socket that is bound to the pinned inode, or -1. */
static int find_descriptor(const struct pin *pin, const struct lockfile *lock)
{
	int saved = errno;
	struct sought sought = {.pin = pin, .lock = lock};
	bool held = caller->each_descriptor(is_sought, &sought);

	errno = saved;
	return held ? sought.fd : -1;
}

bool owned_holds_socket(const struct pin *pin, const struct lockfile *lock)
{
	return find_descriptor(pin, lock) >= 0;
}

bool owned_adopt_held(const struct pin *pin, struct lockfile *lock)
{
	int fd = find_descriptor(pin, lock);

	if (fd >= 0)
		add_adopted(fd, &pin->inode, lock);
	return fd >= 0;
}
