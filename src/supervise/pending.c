#include "pending.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A bit of the lock, set if other processes may wait for it. No PID is this large. */
enum { LOCK_WAITERS = 1 << 30 };

static struct table {
	atomic_int lock; /* 0, or the PID of the holder, with LOCK_WAITERS; a futex */
	atomic_int used; /* slots with this index or a higher one have never been used */
	struct slot slots[PENDING_SLOTS];
} * table;

bool pending_init(void)
{
	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	return table != MAP_FAILED;
}

uint64_t pending_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- the lock ---- */

/*
 * Only the processes of a supervisor are in its session: no other process can join it. A security
 * module may forbid getsid(2) for other processes.
 */
static bool is_in_our_session(pid_t pid)
{
	pid_t session = getsid(pid);

	return session < 0 ? errno != ESRCH : session == getsid(0);
}

bool pending_process_ended(pid_t pid)
{
	struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	bool ended = process.fd < 0 ? errno == ESRCH
				    : poll(&process, 1, 0) == 1 || !is_in_our_session(pid);

	if (process.fd >= 0)
		close(process.fd);
	return ended;
}

/*
 * Waits for a moment. Then releases the lock if its holder has ended, and continues the holder if
 * it was stopped. Usually the keeper continues stopped processes, but it may be waiting here, too.
 */
static void wait_for_lock(int seen)
{
	const struct timespec most = {.tv_nsec = 10000000};
	pid_t holder = seen & ~LOCK_WAITERS;

	syscall(SYS_futex, &table->lock, FUTEX_WAIT, seen, &most, NULL, 0);
	if (atomic_load(&table->lock) != seen)
		return;
	/*
	 * A holder that was killed may be a zombie, for which kill(pid, 0) still succeeds. This
	 * process may have the PID of such a holder.
	 */
	if (holder == getpid() || pending_process_ended(holder))
		pending_unlock_of(holder);
	else
		kill(holder, SIGCONT);
}

/* Marks the lock as waited for. Returns false if the holder has changed. */
static bool mark_waiters(int holder)
{
	return (holder & LOCK_WAITERS) ||
	       atomic_compare_exchange_strong(&table->lock, &holder, holder | LOCK_WAITERS);
}

/* A process that has waited wakes the next when it unlocks, because others may wait too. */
void pending_lock(void)
{
	int ours = getpid();
	int holder = 0;

	while (!atomic_compare_exchange_strong(&table->lock, &holder, ours)) {
		if (mark_waiters(holder)) {
			wait_for_lock(holder | LOCK_WAITERS);
			ours = getpid() | LOCK_WAITERS;
		}
		holder = 0;
	}
}

void pending_unlock_of(pid_t pid)
{
	int held = atomic_load(&table->lock);

	while ((held & ~LOCK_WAITERS) == pid)
		if (atomic_compare_exchange_strong(&table->lock, &held, 0)) {
			if (held & LOCK_WAITERS)
				syscall(SYS_futex, &table->lock, FUTEX_WAKE, 1, NULL, NULL, 0);
			return;
		}
}

void pending_unlock(void)
{
	pending_unlock_of(getpid());
}

/* ---- slots ---- */

static bool is_in_use(const struct slot *slot)
{
	return atomic_load(&slot->worker) != 0 || atomic_load(&slot->effect.key) != 0;
}

static struct slot *slot_of_thread(pid_t tid)
{
	int used = atomic_load(&table->used);

	for (int i = 0; i < used; i++)
		if (atomic_load(&table->slots[i].tid) == tid && is_in_use(&table->slots[i]))
			return &table->slots[i];
	return NULL;
}

bool pending_has_slot(pid_t tid)
{
	return slot_of_thread(tid) != NULL;
}

/*
 * Prefers a slot that stores no effect. Otherwise chooses the slot whose effect is the oldest,
 * because its thread is the least likely to repeat the call. Returns NULL if every slot has a
 * worker.
 */
static struct slot *choose_slot(void)
{
	struct slot *found = NULL;

	for (int i = 0; i < PENDING_SLOTS; i++) {
		struct slot *slot = &table->slots[i];

		if (atomic_load(&slot->worker) != 0)
			continue;
		if (!is_in_use(slot)) {
			if (i >= atomic_load(&table->used))
				atomic_store(&table->used, i + 1);
			return slot;
		}
		if (!found || slot->effect.since < found->effect.since)
			found = slot;
	}
	return found;
}

static void post_call(struct slot *slot, const struct seccomp_notif *call)
{
	if (atomic_load(&slot->id) == call->id)
		return; /* posted by a watcher that was killed before it passed the call on */
	atomic_store(&slot->id, 0);
	slot->call = *call;
	slot->tries = 0;
	atomic_store(&slot->id, call->id);
	atomic_fetch_add(&slot->posted, 1);
	syscall(SYS_futex, &slot->posted, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/*
 * Reserves the slot for a worker that the calling process will start. Returns false if the slot has
 * a worker. Needs the atomic exchange: the worker of a starter that was killed may attach itself at
 * this moment.
 */
static bool reserve_without_worker(struct slot *slot)
{
	int worker = atomic_load(&slot->worker);

	while (worker <= 0)
		if (atomic_compare_exchange_strong(&slot->worker, &worker, -getpid()))
			return true;
	return false;
}

void pending_reserve(struct slot *slot)
{
	atomic_store(&slot->worker, -getpid());
}

void pending_assign(struct slot *slot, pid_t worker)
{
	int reserved = -getpid();

	atomic_compare_exchange_strong(&slot->worker, &reserved, worker);
}

void pending_vacate(struct slot *slot)
{
	atomic_store(&slot->worker, 0);
}

struct slot *pending_post(const struct seccomp_notif *call, bool *full)
{
	struct slot *slot = slot_of_thread((pid_t)call->pid);

	*full = false;
	if (!slot) {
		slot = choose_slot();
		*full = !slot;
		if (!slot)
			return NULL;
		atomic_store(&slot->effect.key, 0);
		atomic_store(&slot->tid, (int)call->pid);
	}
	post_call(slot, call);
	return reserve_without_worker(slot) ? slot : NULL;
}

/* The starter of each reserved slot has ended: otherwise it would hold the lock. */
struct slot *pending_take_over(void)
{
	int used = atomic_load(&table->used);

	for (int i = 0; i < used; i++)
		if (atomic_load(&table->slots[i].worker) < 0 &&
			reserve_without_worker(&table->slots[i]))
			return &table->slots[i];
	return NULL;
}

struct slot *pending_slot_of_worker(pid_t pid)
{
	int used = atomic_load(&table->used);

	for (int i = 0; i < used; i++)
		if (atomic_load(&table->slots[i].worker) == pid)
			return &table->slots[i];
	return NULL;
}

struct slot *pending_next_with_worker(const struct slot *slot)
{
	int used = atomic_load(&table->used);

	for (int i = slot ? (int)(slot - table->slots) + 1 : 0; i < used; i++)
		if (atomic_load(&table->slots[i].worker) > 0)
			return &table->slots[i];
	return NULL;
}

bool pending_is_full(void)
{
	for (int i = 0; i < PENDING_SLOTS; i++)
		if (atomic_load(&table->slots[i].worker) == 0)
			return false;
	return true;
}

/* ---- for the worker ---- */

/* The starter may have stored the worker's PID already: see pending_assign. */
bool pending_attach(struct slot *slot, pid_t starter)
{
	int worker = -starter;

	return atomic_compare_exchange_strong(&slot->worker, &worker, getpid()) ||
	       worker == getpid();
}

bool pending_read(struct slot *slot, struct seccomp_notif *call)
{
	const struct timespec pause = {.tv_nsec = 50000};
	uint64_t id;

	for (int i = 0; i < 2000; i++) {
		id = atomic_load(&slot->id);
		*call = slot->call;
		if (id != 0 && id == atomic_load(&slot->id))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

bool pending_wait_for_next(struct slot *slot, uint64_t id, unsigned int milliseconds)
{
	const struct timespec most = {.tv_nsec = milliseconds * 1000000L};
	uint64_t end = pending_now() + milliseconds * UINT64_C(1000000);

	do {
		unsigned int posted = atomic_load(&slot->posted);

		if (atomic_load(&slot->id) != id)
			return true;
		syscall(SYS_futex, &slot->posted, FUTEX_WAIT, posted, &most, NULL, 0);
	} while (pending_now() < end);
	return atomic_load(&slot->id) != id;
}
