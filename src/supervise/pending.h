/*
 * pending: the calls in progress, in memory that all processes of a supervisor share.
 *
 * Each calling thread has at most one slot, and each slot at most one worker. The slot holds the
 * thread's latest call, and the effect of the call until the thread has received the result. So no
 * call is executed twice if a signal interrupts the thread and it repeats the call, or if a worker
 * is killed and another replaces it.
 *
 * A process must hold the lock to reserve a slot for a worker or to post a call. A process that
 * ends while holding the lock does not block the others: see pending_lock.
 */
#ifndef PENDING_H
#define PENDING_H

#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "inode.h"

/* The number of calls that are executed at a time. Further calls wait for a slot. */
enum { PENDING_SLOTS = 256 };

/*
 * What is known about the effect of a call. Only the slot's worker writes it, except that
 * pending_post clears `key` when it assigns the slot to another thread.
 */
struct effect {
	/* Identifies the request, see request_key. 0: the thread has received the result. */
	atomic_ullong key;
	uint64_t answered;  /* id of the call that a worker answered, or was about to; 0: none */
	uint64_t since;     /* when the first worker read the call, see pending_now */
	struct inode inode; /* the path led to it before the call */
	enum { EFFECT_NONE, EFFECT_BEGUN, EFFECT_FAILED } state;
	int error;       /* EFFECT_FAILED: the errno of the call */
	uint64_t failed; /* EFFECT_FAILED: when it failed, see pending_now */
};

struct slot {
	/* The worker's PID, 0 if there is none, or the negated PID of the process starting one. */
	atomic_int worker;
	atomic_int tid;
	atomic_ullong id;   /* of the latest call; 0 while `call` is being written */
	atomic_uint posted; /* counts the calls that were posted; a futex */
	unsigned int tries; /* the number of workers that were started for the latest call */
	uint64_t last_seen; /* for the keeper: the id at its previous check */
	struct seccomp_notif call;
	struct effect effect;
};

/* Maps the shared memory. Call it once, before any fork. Returns false if there is no memory. */
bool pending_init(void);

/* The time in nanoseconds on CLOCK_MONOTONIC, which all processes share. */
uint64_t pending_now(void);

/*
 * Returns true if this process of the supervisor has ended. A zombie has ended. So has a process
 * whose PID now belongs to a process outside of the supervisor.
 */
bool pending_process_ended(pid_t pid);

/* ---- for the watcher and the keeper, which start workers ---- */

/* Acquires the lock. Continues the holder if it is stopped; takes the lock over if it has ended. */
void pending_lock(void);

/* Releases the lock of the calling process. */
void pending_unlock(void);

/* Releases the lock if this process holds it. The process must have ended. */
void pending_unlock_of(pid_t pid);

/*
 * Returns true if the thread has a slot in use. Then its call must go to a worker: the state of
 * the path does not show whether a previous attempt took effect.
 */
bool pending_has_slot(pid_t tid);

/*
 * Stores a call in the slot of its thread, and wakes a worker that waits there. Returns the slot if
 * it has no worker: it is then reserved for the worker that the calling process must start.
 * Returns NULL if the slot has a worker, or if no slot is free; *full is true in the second case.
 * The caller must hold the lock.
 */
struct slot *pending_post(const struct seccomp_notif *call, bool *full);

/* Returns the slot to which this worker is attached, or NULL. */
struct slot *pending_slot_of_worker(pid_t pid);

/* Returns the next slot with a worker after `slot`, the first one for NULL; or NULL at the end. */
struct slot *pending_next_with_worker(const struct slot *slot);

/* Reserves the slot for a worker that the calling process starts. Replaces a worker that ended. */
void pending_reserve(struct slot *slot);

/*
 * Stores the worker's PID in the slot that the calling process reserved, unless the worker has
 * already attached itself. From then on the keeper notices the worker's end, even if the worker
 * never ran.
 */
void pending_assign(struct slot *slot, pid_t worker);

/*
 * Reserves a slot whose starter was killed before it assigned a worker. Returns NULL if there is
 * none. The caller must hold the lock.
 */
struct slot *pending_take_over(void);

/* Marks the slot as having no worker. */
void pending_vacate(struct slot *slot);

/* Returns true if every slot has a worker or is reserved for one. */
bool pending_is_full(void);

/* ---- for the worker ---- */

/*
 * Makes the calling process the worker of the slot that `starter` reserved. Returns false if the
 * slot has been reserved by another process in the meantime: then the caller must exit.
 */
bool pending_attach(struct slot *slot, pid_t starter);

/*
 * Copies the latest call. Waits while a watcher is writing it. Returns false if the watcher does
 * not finish within 0.1 s: it was killed, and another watcher must post the call again.
 */
bool pending_read(struct slot *slot, struct seccomp_notif *call);

/* Waits for a call other than `id` in the slot. Returns false if there is none after this time. */
bool pending_wait_for_next(struct slot *slot, uint64_t id, unsigned int milliseconds);

#endif
