/*
 * The protocol of src/core/guard.c, judge.c, lockfile.c and owned.c, for Spin. tests/model/run checks
 * it.
 *
 * Each labelled block is a system call of the code, and its comment names the function that makes it.
 * The process may be killed before each block, and other processes may run between any two blocks.
 * Several lookups in a row are one block if no other process could make a difference between them:
 * what they read changes only under the mutex, or only in one direction (a socket is closed, a claim
 * is released).
 *
 * Actors
 *   Two guarded processes. Each makes guarded calls at any time, one at a time: unlink, bind (with and
 *     without SO_REUSEADDR), rename. Between calls it may close its socket, exit, or be started again.
 *     The model prescribes no order, and there is no last call: "close first and unlink later" is one
 *     order of many. A process that has its socket open may exec, and then adopts the socket.
 *   A child, forked from the first process at any instant, also from another thread. It has copies of
 *     the socket and the claim, or of the mutex's open file description. It closes them, and exits.
 *   Unguarded processes: rm of the socket, rm of the lock file, at any instant.
 *
 * Names lead to inodes. Inode numbers come from a small pool, and the lowest free number is used
 * first: a freed number is reused at once, as on ext4. A number is free if no name leads to the inode
 * and no descriptor is open on it. A socket exists as long as a process has it open.
 *
 * Properties
 *   Safety: no guarded unlink, bind or rename removes the path of a live socket that the process does
 *     not own (neither it nor an ancestor bound it). This also holds for a path that an unguarded rm
 *     has removed, as long as one process has both the socket and the claim on the path. A claim that
 *     a process joined after exec, without the mutex, counts only after the process that held the
 *     mutex at that time has released it. A process that unlinks or renames its own path gives it up.
 *   Progress: in every state in which no guarded call is under way and no process has a socket of that
 *     path, a lone start by either process ends and succeeds. A lone start is unlink and bind, and
 *     with two paths also rename, while all other processes do nothing. Assertions check that none of
 *     its calls is refused, that none opens a lock file more often than MAX_ATTEMPTS, and that the
 *     path leads to the socket in the end. pan reports a call that cannot continue as an invalid end
 *     state.
 *
 * Left out: link, the borrowed mutex, records of other hosts, calls that fail because of limits or
 * permissions (EMFILE, ENOSPC, EACCES), files other than sockets, RENAME_EXCHANGE, a third active
 * process beside the child, and more than one socket and one table entry per process. A process that
 * waits for the mutex tries again. The model sets no limit on that: unless the call is alone, it may
 * be refused at any time.
 *
 * Switches
 *   PATHS=2         there is a second path, and rename: with TAKEOVER or AWAY
 *   FORK_SOCKET     there is a child with copies of the socket and the claim
 *   FORK_MUTEX      there is a child with a copy of the mutex's description
 *   ACTIVE_CHILD    the second guarded process is a child of the first and makes guarded calls. Its
 *                   copy of a mutex's description is closed before anything else happens
 *   RM              the unguarded rm of the socket
 *   RM_LOCK         the unguarded rm of the lock file while no process holds its mutex. A guarded
 *                   program's own unlink of the lock file has the same effect
 *   CLOSE_CLAIM     a program closes the claim's descriptor
 *   SAME_TICK       a reused inode number has the same birth time, so the two files look the same
 *   EXEC            a process that has the socket may exec at any instant, and adopts the socket
 *   REUSEADDR       bind with SO_REUSEADDR as well
 *   BIND_ONCE       a process that has a table entry does not bind again; for fewer states
 *   PROGRESS        checks lone starts too; otherwise only safety
 * Known limits: these switches produce counterexamples
 *   LIMIT_RM_HELD   RM_LOCK also while the mutex is held
 *   RM_LOCK or CLOSE_CLAIM, with SAME_TICK
 *   LIMIT_BIND_FORK with SAME_TICK: a fork between bind and held_unregister outlives its parent
 * Mutations, each of which has a counterexample
 *   WITHOUT_MUTEX         acquire_mutex ignores other holders
 *   WITHOUT_NAME_CHECK    acquire_mutex does not check that the name still leads to the file
 *   WITHOUT_SECOND_CHECK  unlink and rename judge only before they acquire the mutex, not after
 *   WITHOUT_CREATE        unlink does not create a missing lock file and continues without one
 *   WITHOUT_ABSENT_CHECK  unlink of an absent path only calls libc's unlink
 *   WITHOUT_UNLOCK        lockfile_release closes the lock file without unlocking it
 *   WITHOUT_FORK_HANDLER  no held_after_fork_in_child
 *   WITHOUT_FORK_NOTICED  a lock file is used although a fork began before its held_register
 *   WITHOUT_ORDER         lockfile_release unlocks first, and unlinks afterwards
 *   WITHOUT_CLAIM         bind claims nothing
 *   WITHOUT_CLAIM_CHECK   claims count only if the first lookup finds the path absent
 *   WITHOUT_PROOF         the inode alone proves ownership
 *   WITHOUT_SOCKET_CHECK  a claim counts even if its socket does not exist any more
 *   WITHOUT_LEAVING       no lockfile_mark_leaving
 *   WITHOUT_JOIN_CHECK    after exec, the process joins any lock file, even an empty one
 * A search that must fail: TIGHT, a pool with one lock file
 */

#if defined(FORK_SOCKET) || defined(FORK_MUTEX)
#define FORKS
#endif
#if defined(FORK_MUTEX) && PATHS == 2
#error "swap_files would have to change the copies too"
#endif
#if defined(EXEC) && (PATHS == 2 || defined(SAME_TICK))
#error "adopt uses only one path, and may_fork does not support both switches"
#endif

#ifndef PATHS
#define PATHS 1
#endif
#define P 0 /* the socket path */
#define T 1 /* another, to be renamed to it */

#define CALLERS 2 /* the guarded processes, which make calls */
#define CHILD 2   /* the index of the child */
#define PROCESSES 3

/* The number of inodes; an assertion fails if they do not suffice. */
#define SOCKS 4
#ifdef TIGHT
#define LOCKS 1
#else
#define LOCKS 6
#endif
#define NONE 0   /* no inode, no descriptor */
#define VOID 254 /* a claim on a file that was unlinked; which file no longer matters */

/* ---- the file system ---- */

byte socket_at[PATHS];   /* the inode of the socket that the path leads to */
byte lockfile_at[PATHS]; /* the lock file beside it */

/*
 * The record in a lock file: the cookie of its socket, which is never reused. NONE: the file is
 * empty.
 */
#define GONE 255 /* a socket that does not exist any more */
byte record[LOCKS + 1];
bool record_leaving[LOCKS + 1]; /* it says that the owner is removing the path */

/* ---- processes ---- */

byte open_socket[PROCESSES]; /* the inode of the socket that the process has open */

/* The table of owned paths has one entry. */
byte entry_inode[PROCESSES];  /* the inode of the socket */
byte entry_claim[PROCESSES];  /* the lock file of the claim, whose descriptor keeps its inode */
byte entry_cookie[PROCESSES]; /* the cookie of the socket, or GONE; NONE: unknown */

bool busy[CALLERS]; /* within a guarded call */

/* struct lockfile: a lock file that the process has open, in order to hold its mutex. */
byte opened[CALLERS * PATHS];
bool locked[CALLERS * PATHS];     /* it holds the mutex */
bool linked[CALLERS * PATHS];     /* the path leads to the file, as far as the process knows */
bool registered[CALLERS * PATHS]; /* held_register: held_after_fork_in_child closes the copy */
bool created[CALLERS * PATHS];    /* the process has created the file */
#define OPENED(i, k) opened[(i) * PATHS + (k)]
#define LOCKED(i, k) locked[(i) * PATHS + (k)]
#define LINKED(i, k) linked[(i) * PATHS + (k)]
#define REGISTERED(i, k) registered[(i) * PATHS + (k)]
#define CREATED(i, k) created[(i) * PATHS + (k)]

/* Since the current bind, the claim is on the open file description that holds the mutex. */
bool mutex_has_claim[CALLERS];

#ifdef FORKS
/* The child's copy of the descriptor through which its parent holds a mutex. */
mtype = {SHARED, ORPHAN, UNLOCKED};
mtype copy[PATHS]; /* SHARED: the parent has it too. ORPHAN: it holds the mutex alone. 0: none */
byte copied_file[PATHS];     /* the lock file */
bool copy_claims[PATHS];     /* it holds the claim as well; UNLOCKED: only the claim */
bool copy_registered[PATHS]; /* held_after_fork_in_child will close it */
byte parent;
#define NO_PROCESS 3 /* the parent is dead */
#endif

#if PATHS == 2
#define any_copy (copy[P] != 0 || copy[T] != 0)
#define any_copy_registered (copy_registered[P] || copy_registered[T])
#define has_opened(i) (OPENED(i, P) != NONE || OPENED(i, T) != NONE)
#define no_path_in_use (!any_kept(P) && !any_kept(T) && \
	!(socket_at[P] != NONE && is_live(socket_at[P])) && \
	!(socket_at[T] != NONE && is_live(socket_at[T])))
#else
#define any_copy (copy[P] != 0)
#define any_copy_registered copy_registered[P]
#define has_opened(i) (OPENED(i, P) != NONE)
#define no_path_in_use (!any_kept(P) && !(socket_at[P] != NONE && is_live(socket_at[P])))
#endif

/* ---- for the properties only ---- */

byte owned_sockets[PROCESSES]; /* bit set of the sockets that the process or an ancestor bound */

/*
 * 1 + the path that the socket was bound to or renamed to. 0: the socket is closed, or its owner has
 * given the path up.
 */
byte kept_path[SOCKS + 1];

bool leaving[PATHS]; /* from lockfile_mark_leaving to the end of the call */
byte lone;           /* 1 + the process that starts alone; the others do nothing */
byte lone_phase;     /* how many calls of the lone start have succeeded */
byte lone_attempts;  /* how often its current call has tried to open a lock file */

#ifdef EXEC
/* The process joined its claim while another process held the mutex, which still holds it. */
bool joined_late[PROCESSES];
#define is_late(j) joined_late[j]
#else
#define is_late(j) false
#endif

byte tmp; /* within an atomic block only, 0 between */
byte it;

#define alone (lone != 0)
/* A lone call opens each lock file at most twice: again after it has removed a stale path. */
#define MAX_ATTEMPTS (2 * PATHS)
#define STARTED (PATHS + 1)
#define bit_of(x) (1 << (x))
#define owns(i, x) ((owned_sockets[i] & bit_of(x)) != 0)

/* ---- predicates ---- */

#define has_state(i) (open_socket[i] != NONE || entry_inode[i] != NONE || entry_claim[i] != NONE)

#define is_live(x) (open_socket[0] == x || open_socket[1] == x || open_socket[2] == x)

#define claims(j, l) (entry_claim[j] == (l))
#ifdef FORKS
#if PATHS == 1
#define copy_claimed(l) (copy_claims[P] && copied_file[P] == (l))
#else
#define copy_claimed(l) ((copy_claims[P] && copied_file[P] == (l)) || \
	(copy_claims[T] && copied_file[T] == (l)))
#endif
#else
#define copy_claimed(l) false
#endif
#define is_claimed(l) ((l) != NONE && (claims(0, l) || claims(1, l) || claims(2, l) || \
	copy_claimed(l)))

#if PATHS == 1
#define is_named(x) (socket_at[P] == x)
#define is_linked(l) (lockfile_at[P] == (l))
#define is_open(l) (opened[0] == l || opened[1] == l)
#define held_by_process(l) ((opened[0] == l && locked[0]) || (opened[1] == l && locked[1]))
#else
#define is_named(x) (socket_at[P] == x || socket_at[T] == x)
#define is_linked(l) (lockfile_at[P] == (l) || lockfile_at[T] == (l))
#define is_open(l) (opened[0] == l || opened[1] == l || opened[2] == l || opened[3] == l)
#define held_by_process(l) ((opened[0] == l && locked[0]) || (opened[1] == l && locked[1]) || \
		      (opened[2] == l && locked[2]) || (opened[3] == l && locked[3]))
#endif

#ifdef FORKS
#if PATHS == 1
#define held_by_orphan(l) (copy[P] == ORPHAN && copied_file[P] == l)
#else
#define held_by_orphan(l) ((copy[P] == ORPHAN && copied_file[P] == l) || \
			(copy[T] == ORPHAN && copied_file[T] == l))
#endif
#else
#define held_by_orphan(l) false
#endif
#define mutex_held(l) (held_by_process(l) || held_by_orphan(l))

#define inode_is_free(x) (!is_named(x) && !is_live(x))
#define lockfile_is_free(l) (!is_linked(l) && !is_open(l) && !held_by_orphan(l))

/* owned.c, claim_may_be_ours: no process has a claim, or the record names the entry's socket. */
#define claim_may_be_ours(i, l) (!is_claimed(l) || record[l] == NONE || entry_cookie[i] == NONE || \
	record[l] == entry_cookie[i])

/* owned.c, record_names_socket. lockfile_join_claim joins a file that is not empty. */
#ifdef WITHOUT_JOIN_CHECK
#define record_names_socket(i, l) ((l) != NONE)
#define is_joinable(l) ((l) != NONE)
#else
#define record_names_socket(i, l) ((l) != NONE && record[l] == open_socket[i])
#define is_joinable(l) ((l) != NONE && record[l] != NONE)
#endif

/*
 * owned.c, owned_by_entry: the entry's claim is on the lock file beside the path, or no claim is. If
 * the entry's claim is lost, claim_may_be_ours decides.
 */
#ifdef WITHOUT_PROOF
#define owned_by_entry(i, l) true
#else
#define owned_by_entry(i, l) (entry_claim[i] == NONE -> claim_may_be_ours(i, l) : \
	entry_claim[i] == (l) || !is_claimed(l))
#endif
#define owned_check(i, x, l) (entry_inode[i] == (x) && owned_by_entry(i, l))

/* judge.c, socket_may_exist: if the record is empty, the socket may exist. */
#ifdef WITHOUT_SOCKET_CHECK
#define socket_may_exist(l) true
#else
#define socket_may_exist(l) (record[l] != GONE)
#endif
#define claimed_by_others(i, l) (is_claimed(l) && entry_claim[i] != (l))
#define judge_absent_is_claimed(i, l) (claimed_by_others(i, l) && !record_leaving[l] && \
	socket_may_exist(l))

/* Socket x is live, was bound to the path or renamed to it, and its owner has not given it up. */
#define is_kept(x, k) (kept_path[x] == (k) + 1 && is_live(x) && !leaving[k])

/*
 * Another process has a right to the absent path if it holds both a socket of that path and the claim
 * on it. The guard cannot protect a socket that it does not know.
 */
#ifdef WITHOUT_CLAIM
#define holds_both(j, x) (open_socket[j] == (x) && entry_inode[j] == (x))
#else
#define holds_both(j, x) (open_socket[j] == (x) && entry_claim[j] != NONE && \
	entry_claim[j] != VOID && entry_inode[j] == (x) && !is_late(j))
#endif
#define has_right(x, k, i) (kept_path[x] == (k) + 1 && !leaving[k] && !owns(i, x) && \
	(holds_both(0, x) || holds_both(1, x) || holds_both(2, x)))

#define is_kept_path(k) (kept_path[1] == (k) + 1 || kept_path[2] == (k) + 1 || \
	kept_path[3] == (k) + 1 || kept_path[4] == (k) + 1)
#define any_kept(k) (is_kept(1, k) || is_kept(2, k) || is_kept(3, k) || is_kept(4, k))
#define belongs_to_another(k, i) (has_right(1, k, i) || has_right(2, k, i) || has_right(3, k, i) || \
	has_right(4, k, i))

/* ---- steps ---- */

/* A process that shares the claim is an earlier fork, and so owns the new socket too. */
inline share_ownership(i, j, k, x)
{
	if
	:: entry_claim[i] == OPENED(i, k) && entry_claim[j] == entry_claim[i] ->
		owned_sockets[j] = owned_sockets[j] | bit_of(x)
	:: else
	fi
}

inline new_socket(i, k, x)
{
	d_step {
		x = 1;
		do
		:: x <= SOCKS && !inode_is_free(x) -> x++
		:: else -> break
		od;
		assert(x <= SOCKS);
		owned_sockets[i] = owned_sockets[i] | bit_of(x);
		share_ownership(i, 0, k, x);
		share_ownership(i, 1, k, x);
		share_ownership(i, 2, k, x)
	}
}

inline new_lockfile(l)
{
	d_step {
		l = 1;
		do
		:: l <= LOCKS && !lockfile_is_free(l) -> l++
		:: else -> break
		od;
		assert(l <= LOCKS);
		record[l] = NONE;
		record_leaving[l] = false
	}
}

/* Closes the descriptor of process i's claim. */
inline close_claim(i)
{
#ifdef EXEC
	joined_late[i] = false;
#endif
	entry_claim[i] = NONE
}

/*
 * Clears variables that can no longer matter, so that equivalent states are stored once.
 * A void claim matters only to a process that has the inode in its table. A record is read only if
 * there is a claim. A freed inode matches no entry, unless its number is reused (SAME_TICK).
 */
inline forget_entries()
{
	if :: entry_inode[0] == NONE && entry_claim[0] == VOID -> entry_claim[0] = NONE :: else fi;
	if :: entry_inode[1] == NONE && entry_claim[1] == VOID -> entry_claim[1] = NONE :: else fi;
	if :: entry_inode[2] == NONE && entry_claim[2] == VOID -> entry_claim[2] = NONE :: else fi;
	if :: entry_inode[0] == NONE -> entry_cookie[0] = NONE :: else fi;
	if :: entry_inode[1] == NONE -> entry_cookie[1] = NONE :: else fi;
	if :: entry_inode[2] == NONE -> entry_cookie[2] = NONE :: else fi;
#ifdef FORK_SOCKET
	/* A process that makes no calls needs no table. */
	if :: entry_claim[2] == VOID -> entry_claim[2] = NONE :: else fi;
	if
	:: open_socket[2] == NONE ->
		entry_inode[2] = NONE;
		entry_cookie[2] = NONE;
		owned_sockets[2] = 0
	:: else
	fi
#endif
}

inline forget_inode(x)
{
#ifndef SAME_TICK
	if
	:: x != NONE && inode_is_free(x) ->
		if :: entry_inode[0] == x -> entry_inode[0] = NONE :: else fi;
		if :: entry_inode[1] == x -> entry_inode[1] = NONE :: else fi;
		if :: entry_inode[2] == x -> entry_inode[2] = NONE :: else fi;
		forget_entries()
	:: else
	fi
#else
	skip
#endif
}

#ifdef FORKS
inline forget_parent()
{
	if :: !any_copy -> parent = 0 :: else fi
}

inline close_copy(k)
{
	copy[k] = 0;
	copied_file[k] = NONE;
	copy_registered[k] = false;
	copy_claims[k] = false;
	forget_parent()
}

/* A lock on a file that was unlinked, and that no process has open, no longer matters. */
inline forget_copy(k)
{
	if
	:: copy[k] == ORPHAN && !is_linked(copied_file[k]) && !is_open(copied_file[k]) -> close_copy(k)
	:: else
	fi
}
#endif

inline forget_records()
{
	d_step {
#ifdef FORKS
		forget_copy(P);
#if PATHS == 2
		forget_copy(T);
#endif
#endif
		it = 1;
		do
		:: it <= LOCKS ->
			if
			:: record[it] != NONE && !is_linked(it) && !held_by_process(it) ->
				record[it] = NONE; record_leaving[it] = false
			:: record[it] == GONE && is_linked(it) && !is_claimed(it) && !held_by_process(it) ->
				record_leaving[it] = false
			:: else
			fi;
			it++
		:: else -> break
		od;
		it = 0
	}
}

/* When the last descriptor is closed, the socket is gone. */
inline close_socket(i)
{
	d_step {
		tmp = open_socket[i];
		open_socket[i] = NONE;
		if
		:: tmp != NONE && !is_live(tmp) ->
			kept_path[tmp] = 0;
			leaving[P] = leaving[P] && is_kept_path(P);
#if PATHS == 2
			leaving[T] = leaving[T] && is_kept_path(T);
#endif
			if :: entry_cookie[0] == tmp -> entry_cookie[0] = GONE :: else fi;
			if :: entry_cookie[1] == tmp -> entry_cookie[1] = GONE :: else fi;
			if :: entry_cookie[2] == tmp -> entry_cookie[2] = GONE :: else fi;
			owned_sockets[0] = owned_sockets[0] & ~bit_of(tmp);
			owned_sockets[1] = owned_sockets[1] & ~bit_of(tmp);
			owned_sockets[2] = owned_sockets[2] & ~bit_of(tmp);
			forget_inode(tmp);
			it = 1;
			do
			:: it <= LOCKS ->
				if :: record[it] == tmp -> record[it] = GONE :: else fi;
				it++
			:: else -> break
			od;
			it = 0
		:: else
		fi;
		forget_entries();
		tmp = 0
	}
}

inline void_claim(j)
{
	entry_claim[j] = VOID
}

inline void_copy(l, k)
{
	if
	:: copied_file[k] == l ->
		copy_claims[k] = false;
		if :: copy[k] == UNLOCKED -> close_copy(k) :: else fi
	:: else
	fi
}

/* Nothing leads to the lock file any more, so no process finds the claims on it. */
inline void_claims(l)
{
	d_step {
		if :: entry_claim[0] == l -> void_claim(0) :: else fi;
		if :: entry_claim[1] == l -> void_claim(1) :: else fi;
		if :: entry_claim[2] == l -> void_claim(2) :: else fi;
#ifdef FORKS
		void_copy(l, P);
#if PATHS == 2
		void_copy(l, T);
#endif
#endif
		forget_entries();
		forget_records()
	}
}

inline remove_lockfile_at(k)
{
	it = lockfile_at[k];
	lockfile_at[k] = NONE;
	if :: it != NONE -> void_claims(it) :: else fi
}

/* Removes a path of a socket. */
inline remove_socket_at(k)
{
	tmp = socket_at[k];
	socket_at[k] = NONE;
	forget_inode(tmp);
	tmp = 0
}

/* Closes a descriptor without unlocking: a copy of the description keeps the lock. */
inline close_mutex(i, k)
{
#ifdef FORKS
	if
	:: copy[k] == SHARED && parent == i ->
		if
		:: LOCKED(i, k) -> copy[k] = ORPHAN
		:: !LOCKED(i, k) && copy_claims[k] -> copy[k] = UNLOCKED
		:: else -> close_copy(k)
		fi
	:: else
	fi;
#endif
	OPENED(i, k) = NONE;
	LOCKED(i, k) = false;
	LINKED(i, k) = false;
	REGISTERED(i, k) = false;
	CREATED(i, k) = false;
#ifdef EXEC
	/* The mutex is free by now: claims that other processes joined meanwhile count from now on. */
	joined_late[0] = joined_late[0] && i == 0;
	joined_late[1] = joined_late[1] && i == 1;
#endif
	mutex_has_claim[i] = false
}

inline unlock(i, k)
{
#ifndef WITHOUT_UNLOCK
	LOCKED(i, k) = false
#else
	skip
#endif
}

/* exit or exec closes the descriptors of mutexes. */
inline close_mutexes(i)
{
	close_mutex(i, P);
#if PATHS == 2
	close_mutex(i, T);
#endif
#if defined(FORKS) && !defined(WITHOUT_FORK_NOTICED)
	/* A descriptor that held_after_fork_in_child does not know is not used: held_end_opening. */
	if :: copy[P] == ORPHAN && parent == i && !copy_registered[P] -> close_copy(P) :: else fi;
#if PATHS == 2
	if :: copy[T] == ORPHAN && parent == i && !copy_registered[T] -> close_copy(T) :: else fi;
#endif
#endif
#ifdef FORKS
	if :: any_copy && parent == i -> parent = NO_PROCESS :: else fi;
#endif
}

inline clear_table(i)
{
	entry_inode[i] = NONE;
	entry_cookie[i] = NONE;
	close_claim(i)
}

inline die(i)
{
	close_mutexes(i);
	close_socket(i);
	clear_table(i);
	owned_sockets[i] = 0;
	busy[i] = false;
	forget_records()
}

/*
 * A guarded call removes a path: unlink, or a rename that replaces it. A theft would happen here. So
 * the path must lead to a socket that is stale or that the process owns.
 */
inline guarded_unlink(i, k)
{
	assert(!is_live(socket_at[k]) || owns(i, socket_at[k]));
	remove_socket_at(k)
}

/* No process owns the path any more. */
inline disown_path(k)
{
	d_step {
		it = 1;
		do
		:: it <= SOCKS ->
			if :: kept_path[it] == k + 1 -> kept_path[it] = 0 :: else fi;
			it++
		:: else -> break
		od;
		it = 0;
		leaving[k] = false
	}
}

inline open_existing(i, k)
{
	OPENED(i, k) = lockfile_at[k]
}

/* lockfile.c, lockfile_unlink: unlinks the file at its path, even if that is another file by now. */
inline lockfile_unlink(i, k)
{
	if
	:: LINKED(i, k) ->
		remove_lockfile_at(k)
	:: else
	fi;
	LINKED(i, k) = false
}

/*
 * lockfile.c, lockfile_mark_leaving. From here on, the claims on the path do not count: if the owner is
 * killed before it has removed the path, the path is free.
 */
inline mark_leaving(i, k)
{
#ifndef WITHOUT_LEAVING
	if
	:: LINKED(i, k) && record[OPENED(i, k)] != NONE -> record_leaving[OPENED(i, k)] = true
	:: else
	fi;
#endif
	leaving[k] = is_kept_path(k)
}

inline unmark_leaving(i, k)
{
	if :: LINKED(i, k) -> record_leaving[OPENED(i, k)] = false :: else fi;
	leaving[k] = false
}

/* owned.c, owned_remove */
inline owned_remove(i, x, l)
{
	if
	:: entry_inode[i] != x -> skip
	:: entry_inode[i] == x && entry_claim[i] != NONE && entry_claim[i] != l &&
		entry_claim[i] != VOID ->
		skip /* another path of this socket */
	:: else ->
		entry_inode[i] = NONE;
		entry_cookie[i] = NONE;
		close_claim(i);
		forget_records()
	fi
}

inline add_adopted(i, k)
{
	if
	:: record_names_socket(i, OPENED(i, k)) ->
		entry_cookie[i] = open_socket[i];
		entry_claim[i] = (is_joinable(lockfile_at[k]) -> lockfile_at[k] : NONE);
		leaving[k] = leaving[k] && record_leaving[OPENED(i, k)]
	:: else -> entry_cookie[i] = NONE
	fi
}

#if PATHS == 2
/* lockfile.c, swap_files */
inline swap_files(i)
{
	tmp = OPENED(i, P); OPENED(i, P) = OPENED(i, T); OPENED(i, T) = tmp;
	tmp = LOCKED(i, P); LOCKED(i, P) = LOCKED(i, T); LOCKED(i, T) = tmp;
	tmp = REGISTERED(i, P); REGISTERED(i, P) = REGISTERED(i, T); REGISTERED(i, T) = tmp;
	tmp = CREATED(i, P); CREATED(i, P) = CREATED(i, T); CREATED(i, T) = tmp;
	tmp = 0
}
#endif

#ifdef BIND_ONCE
#define may_bind(i) (open_socket[i] == NONE && entry_inode[i] == NONE && entry_claim[i] == NONE)
#else
#define may_bind(i) (open_socket[i] == NONE)
#endif

#if PATHS == 2
/* The calls of each process. A search with all calls for both would be too large. */
#if defined(TAKEOVER)
/* Process 0 binds t and renames it to p. Process 1 binds p. */
#define may(i, op, k) (i == 0 -> op == UNLINK || k == T : op != RENAME && k == P)
#elif defined(AWAY)
/* Process 0 binds p and renames it to t. Process 1 binds p. */
#define may(i, op, k) (i == 0 -> op == UNLINK || k == P : op != RENAME && k == P)
#endif
#define may_call(i, op) (may(i, op, P) || may(i, op, T))
#else
#define may_call(i, op) true
#endif

/* A process may be killed, or exec, before any step. */
#ifdef EXEC
#define OR_DIE :: atomic { !alone -> goto dead } \
	:: atomic { !alone && open_socket[i] != NONE -> goto executed }
#else
#define OR_DIE :: atomic { !alone -> goto dead }
#endif

mtype = {UNLINK, BIND, REUSE_BIND, RENAME};
mtype = {MINE, STALE, THEIRS, ABSENT};
mtype = {DONE, AGAIN, RETRY, REFUSED};

proctype guarded(byte i)
{
	mtype op;
	byte from; /* the path; for rename, the old one */
	byte k;    /* the path that the current step works on */
	byte seen[PATHS];
	mtype whose[PATHS];
	byte judged_lockfile; /* judgement.lockfile, for owned_remove */
	mtype result;
#if PATHS == 2
#define to (1 - from)
#define seen_at(k) seen[k]
#define whose_at(k) whose[k]
#else
#define seen_at(k) seen[0]
#define whose_at(k) whose[0]
#endif

end_idle:
	if
	/* The program's next call. Any order is possible. */
	:: atomic { !alone && may_call(i, UNLINK) -> busy[i] = true; op = UNLINK; goto choose_path }
	:: atomic {
		!alone && may_bind(i) && may_call(i, BIND) -> busy[i] = true; op = BIND; goto choose_path
	}
#ifdef REUSEADDR
	:: atomic {
		!alone && may_bind(i) && may_call(i, REUSE_BIND) ->
		busy[i] = true;
		op = REUSE_BIND;
		goto choose_path
	}
#endif
#if PATHS == 2
	:: atomic { !alone && may_call(i, RENAME) -> busy[i] = true; op = RENAME; goto choose_path }
#endif
	:: atomic { !alone && open_socket[i] != NONE -> close_socket(i); forget_records(); goto end_idle }
	:: atomic { !alone && has_state(i) -> goto dead }
#ifdef EXEC
	:: atomic { !alone && open_socket[i] != NONE -> goto executed }
#endif
#ifdef CLOSE_CLAIM
	:: atomic { !alone && entry_claim[i] != NONE -> close_claim(i); forget_records(); goto end_idle }
#endif

	/* A lone start. */
#if PATHS == 1
	:: atomic { lone == i + 1 && lone_phase == 0 -> busy[i] = true; op = UNLINK; goto called }
	:: atomic { lone == i + 1 && lone_phase == 1 -> busy[i] = true; op = BIND; goto called }
#else
	:: atomic {
		lone == i + 1 && lone_phase == 0 ->
		busy[i] = true; op = UNLINK; from = T; goto called
	}
	:: atomic {
		lone == i + 1 && lone_phase == 1 ->
		busy[i] = true; op = BIND; from = T; goto called
	}
	:: atomic {
		lone == i + 1 && lone_phase == 2 ->
		busy[i] = true; op = RENAME; from = T; goto called
	}
#endif
	fi;

	/* No other process runs between consecutive atomic blocks. */
choose_path:
	atomic {
		if
#if PATHS == 2
		:: may(i, op, P) -> from = P
		:: may(i, op, T) -> from = T
#else
		:: from = P
#endif
		fi;
		goto called
	}

	/* ---- guard.c: guard_unlink, guard_rename, bind_path ---- */
called:
	atomic {
		k = from;
		if
		:: op == UNLINK || op == RENAME -> goto first_check
		:: else -> goto open
		fi
	}

first_check: /* guard_unlink, guard_rename: inode_stat */
	if
	:: atomic {
		if
		:: socket_at[k] == NONE ->
#ifdef WITHOUT_ABSENT_CHECK
			goto unlink_absent
#else
			goto returned /* perform_after_failed_lookup: nothing is removed */
#endif
#ifdef WITHOUT_SECOND_CHECK
		:: else -> goto identify
#else
		:: else -> goto open
#endif
		fi
	}
	OR_DIE
	fi;

#ifdef WITHOUT_ABSENT_CHECK
unlink_absent: /* libc's unlink, for the errno */
	if
	:: atomic {
		op == UNLINK && socket_at[k] != NONE -> guarded_unlink(i, k); goto returned
	}
	:: atomic { else -> goto returned }
	OR_DIE
	fi;
#endif

	/* ---- step.c, step_try_lock; lockfile.c, lockfile_try_lock ---- */

open: /* open_existing */
	if
	:: atomic {
		if :: alone -> lone_attempts++; assert(lone_attempts <= MAX_ATTEMPTS) :: else fi;
		if
		:: lockfile_at[k] != NONE -> open_existing(i, k); goto register_descriptor
		:: else -> goto create
		fi
	}
	OR_DIE
	fi;

create: /* open_or_create: O_CREAT|O_EXCL */
	if
	:: atomic {
		if
		:: lockfile_at[k] != NONE -> goto open /* EEXIST */
#ifdef WITHOUT_CREATE
		:: lockfile_at[k] == NONE && op == UNLINK -> goto mutexes_acquired
#endif
		:: else ->
			new_lockfile(tmp);
			lockfile_at[k] = tmp;
			OPENED(i, k) = tmp;
			CREATED(i, k) = true;
			tmp = 0;
			goto register_descriptor
		fi
	}
	OR_DIE
	fi;

register_descriptor: /* held_register. Then validate: check_name notices a file that was removed by now. */
#ifdef FORK_MUTEX
	if
	:: atomic { REGISTERED(i, k) = true; goto acquire_mutex }
	OR_DIE
	fi;
#endif

acquire_mutex: /* F_OFD_SETLK */
	if
	:: atomic {
		if
#ifndef WITHOUT_MUTEX
		:: mutex_held(OPENED(i, k)) ->
			close_mutex(i, k);
			forget_records();
			result = RETRY;
			goto release_others
#endif
		:: else ->
			LOCKED(i, k) = true;
			goto check_name
		fi
	}
	OR_DIE
	fi;

check_name: /* fstat if this process created the file and it is empty, else path_leads_to */
	if
	:: atomic {
		if
#ifndef WITHOUT_NAME_CHECK
		:: (!CREATED(i, k) || record[OPENED(i, k)] != NONE) && lockfile_at[k] != OPENED(i, k) ->
			goto release_to_retry
		:: CREATED(i, k) && !is_linked(OPENED(i, k)) -> goto release_to_retry
#endif
		:: else ->
			LINKED(i, k) = true;
			CREATED(i, k) = false;
			goto mutexes_acquired
		fi
	}
	OR_DIE
	fi;

release_to_retry: /* F_UNLCK; close */
	if
	:: atomic {
		unlock(i, k);
		close_mutex(i, k);
		forget_records();
		goto open
	}
	OR_DIE
	fi;

mutexes_acquired:
	atomic {
		if
#if PATHS == 2
		:: op == RENAME && k == from -> k = to; goto open
#endif
		:: else -> k = from
		fi;
		if
		:: op == BIND || op == REUSE_BIND -> goto bind_check
#ifdef WITHOUT_SECOND_CHECK
		:: else -> goto judged
#else
		:: else -> goto identify
#endif
		fi
	}

	/* ---- judge.c, judge ---- */

identify: /* inode_identify; owned_check: fstat of the claim, F_OFD_GETLK of the lock file */
	if
	:: atomic {
		seen_at(k) = socket_at[k];
		if
		:: socket_at[k] == NONE -> whose_at(k) = ABSENT; goto next_judgement
		:: owned_check(i, socket_at[k], OPENED(i, k)) && socket_at[k] != NONE ->
			whose_at(k) = MINE;
			goto next_judgement
		:: else -> goto probe
		fi
	}
	OR_DIE
	fi;

probe: /* inode_pin, liveness_of; owned_adopt_held, lockfile_join_claim */
	if
	:: atomic {
		if
		:: socket_at[k] == NONE -> whose_at(k) = ABSENT
		:: socket_at[k] != NONE && !is_live(socket_at[k]) -> whose_at(k) = STALE
		:: socket_at[k] != NONE && is_live(socket_at[k]) && open_socket[i] == socket_at[k] ->
			whose_at(k) = MINE;
			close_claim(i);
			entry_inode[i] = socket_at[k];
			add_adopted(i, k);
			forget_records()
		:: socket_at[k] != NONE && is_live(socket_at[k]) && open_socket[i] != socket_at[k] ->
			whose_at(k) = THEIRS
		fi;
		goto next_judgement
	}
	OR_DIE
	fi;

next_judgement:
	atomic {
#if PATHS == 2
		if
		:: op == RENAME && k == from -> k = to; goto identify
		:: else -> k = from
		fi;
#endif
#ifdef WITHOUT_SECOND_CHECK
		if
		:: OPENED(i, k) == NONE -> goto open
		:: else
		fi;
#endif
		goto judged
	}

judged:
	atomic {
		if :: whose_at(k) == MINE -> judged_lockfile = OPENED(i, from) :: else -> seen_at(k) = NONE fi;
#if PATHS == 2
		if
		:: op == RENAME ->
			judged_lockfile = (whose[to] == MINE -> OPENED(i, to) : NONE);
			goto judge_and_rename
		:: else
		fi;
#endif
		result = DONE;
		if
		:: whose_at(k) == THEIRS -> result = REFUSED; whose_at(k) = 0; goto release
		:: whose_at(k) == ABSENT -> whose_at(k) = 0; goto release
		:: else -> goto mark_leaving_before_unlink
		fi
	}

	/* ---- guard.c, judge_and_unlink ---- */

mark_leaving_before_unlink: /* perform_removal: lockfile_mark_leaving */
	if
	:: atomic { mark_leaving(i, k); goto perform_unlink }
	OR_DIE
	fi;

perform_unlink: /* perform_removal: libc's unlink */
	if
	:: atomic {
		if
		:: socket_at[k] == NONE -> goto unlink_failed
		:: else ->
			guarded_unlink(i, k);
			if :: whose_at(k) == STALE -> whose_at(k) = 0; seen_at(k) = NONE :: else fi;
			goto unlink_lockfile
		fi
	}
	OR_DIE
	fi;

unlink_failed: /* perform_removal: lockfile_mark_leaving */
	if
	:: atomic {
		unmark_leaving(i, k);
		whose_at(k) = 0;
		seen_at(k) = NONE;
		judged_lockfile = NONE;
		goto release
	}
	OR_DIE
	fi;

unlink_lockfile: /* lockfile_unlink */
	if
	:: atomic {
		if :: op == UNLINK -> disown_path(k) :: else fi;
		lockfile_unlink(i, k);
		goto release
	}
	OR_DIE
	fi;

	/* ---- guard.c, bind_once ---- */

bind_check: /* check_claims: owned_find_claim, inode_stat, judge_absent_is_claimed */
	if
	:: atomic {
		if
		:: !claimed_by_others(i, OPENED(i, k)) -> goto bind
#ifdef WITHOUT_CLAIM_CHECK
		:: claimed_by_others(i, OPENED(i, k)) && socket_at[k] != NONE -> goto bind
#else
		:: claimed_by_others(i, OPENED(i, k)) && socket_at[k] != NONE && op == BIND ->
			result = REFUSED; /* EADDRINUSE, without a call of libc */
			goto release
		:: claimed_by_others(i, OPENED(i, k)) && socket_at[k] != NONE && op == REUSE_BIND ->
			goto probe_stale
#endif
		:: socket_at[k] == NONE && judge_absent_is_claimed(i, OPENED(i, k)) ->
			result = REFUSED;
			goto release
		:: socket_at[k] == NONE && claimed_by_others(i, OPENED(i, k)) &&
			!judge_absent_is_claimed(i, OPENED(i, k)) ->
			result = AGAIN;
			goto unlink_lockfile
		fi
	}
	OR_DIE
	fi;

bind: /* libc's bind */
	if
	:: atomic {
		if
		:: socket_at[k] != NONE && op == REUSE_BIND -> goto probe_stale
		:: socket_at[k] != NONE && op == BIND -> result = REFUSED; goto release
		:: else ->
			/* The only theft possible here is that of a path that rm has removed. */
			assert(!belongs_to_another(k, i));
			new_socket(i, k, tmp);
			socket_at[k] = tmp;
			open_socket[i] = tmp;
			kept_path[tmp] = k + 1;
			tmp = 0;
			goto claim_bound
		fi
	}
	OR_DIE
	fi;

claim_bound: /* inode_identify; lockfile_claim: pwrite */
	if
	:: atomic {
		result = DONE;
		if
		:: socket_at[k] == NONE -> goto release /* an unguarded rm has removed it */
		:: else ->
			seen_at(k) = socket_at[k];
			disown_path(k); /* of the previous socket in this record */
			kept_path[open_socket[i]] = k + 1;
			record[OPENED(i, k)] = open_socket[i];
			record_leaving[OPENED(i, k)] = false;
			goto claim
		fi
	}
	OR_DIE
	fi;

claim: /* lockfile_claim: F_OFD_SETLK, or lockfile_acquire_claim; owned_add */
	if
	:: atomic {
		entry_inode[i] = seen_at(k);
		entry_cookie[i] = open_socket[i];
		close_claim(i);
#ifndef WITHOUT_CLAIM
		entry_claim[i] = (is_linked(OPENED(i, k)) -> OPENED(i, k) : VOID);
		mutex_has_claim[i] = true;
#ifdef FORKS
		if
		:: copy[k] == SHARED && parent == i && entry_claim[i] != VOID -> copy_claims[k] = true
		:: else
		fi;
#endif
#endif
		seen_at(k) = NONE;
		forget_records();
		goto release
	}
	OR_DIE
	fi;

	/* ---- guard.c, unlink_stale ---- */

probe_stale: /* judge_is_stale: inode_pin, liveness_of */
	if
	:: atomic {
		if
		:: socket_at[k] == NONE || is_live(socket_at[k]) -> result = REFUSED; goto release
		:: else -> goto mark_stale
		fi
	}
	OR_DIE
	fi;

mark_stale: /* unlink_stale: inode_identify, lockfile_mark_leaving */
	if
	:: atomic {
		if
		:: socket_at[k] == NONE -> result = REFUSED; goto release
		:: else -> seen_at(k) = socket_at[k]; mark_leaving(i, k); goto unlink_stale
		fi
	}
	OR_DIE
	fi;

unlink_stale: /* unlink_stale: libc's unlink */
	if
	:: atomic {
		if
		:: socket_at[k] == NONE -> goto stale_failed
		:: else -> guarded_unlink(i, k); goto remove_stale_lockfile
		fi
	}
	OR_DIE
	fi;

stale_failed: /* unlink_stale: lockfile_mark_leaving */
	if
	:: atomic {
		unmark_leaving(i, k);
		seen_at(k) = NONE;
		result = REFUSED;
		goto release
	}
	OR_DIE
	fi;

remove_stale_lockfile: /* unlink_stale: lockfile_unlink, owned_remove */
	if
	:: atomic {
		disown_path(k);
		lockfile_unlink(i, k);
		if
		:: owned_check(i, seen_at(k), OPENED(i, k)) -> owned_remove(i, seen_at(k), OPENED(i, k))
		:: else
		fi;
		seen_at(k) = NONE;
		result = AGAIN;
		goto release
	}
	OR_DIE
	fi;

#if PATHS == 2
	/* ---- guard.c, judge_and_rename ---- */

judge_and_rename:
	atomic {
		result = DONE;
		if
		:: whose[from] == THEIRS || whose[to] == THEIRS -> result = REFUSED; goto release_both
		:: else
		fi;
		if
		:: whose[to] == ABSENT && whose[from] != ABSENT -> goto rename_absent
		:: whose[from] == ABSENT -> goto release_both
		:: else -> goto rename_mark_leaving
		fi
	}

rename_absent: /* find_obstacle: judge_absent_is_claimed */
	if
	:: atomic {
		if
		:: judge_absent_is_claimed(i, OPENED(i, to)) -> result = REFUSED; goto release_both
		:: else -> goto rename_mark_leaving
		fi
	}
	OR_DIE
	fi;

rename_mark_leaving: /* perform_removal: lockfile_mark_leaving */
	if
	:: atomic { mark_leaving(i, from); goto rename_mark_leaving_to }
	OR_DIE
	fi;

rename_mark_leaving_to: /* perform_removal: lockfile_mark_leaving */
	if
	:: atomic { mark_leaving(i, to); goto perform_rename }
	OR_DIE
	fi;

rename_failed: /* perform_removal: lockfile_mark_leaving */
	if
	:: atomic { unmark_leaving(i, from); goto rename_failed_to }
	OR_DIE
	fi;

rename_failed_to: /* perform_removal: lockfile_mark_leaving */
	if
	:: atomic {
		unmark_leaving(i, to);
		whose[to] = ABSENT;
		goto release_both
	}
	OR_DIE
	fi;

perform_rename: /* perform_removal: libc's rename */
	if
	:: atomic {
		if
		:: socket_at[from] == NONE -> goto rename_failed
		:: else ->
			assert(!is_live(socket_at[from]) || owns(i, socket_at[from]));
			if
			:: socket_at[to] == NONE -> assert(!belongs_to_another(to, i))
			:: else -> guarded_unlink(i, to)
			fi;
			disown_path(to);
			socket_at[to] = socket_at[from];
			socket_at[from] = NONE;
			disown_path(from);
			tmp = socket_at[to];
			if
			:: is_live(tmp) && owns(i, tmp) -> kept_path[tmp] = to + 1; leaving[to] = true
			:: else
			fi;
			tmp = 0;
			goto move_lockfiles
		fi
	}
	OR_DIE
	fi;

move_lockfiles: /* move_lockfiles: lockfile_is_claimed */
	if
	:: atomic {
		if
		:: is_claimed(OPENED(i, from)) -> goto move
		:: else -> goto unlink_lockfile_to
		fi
	}
	OR_DIE
	fi;

move: /* lockfile_move; then lockfile_unlink(from) has nothing to remove */
	if
	:: atomic {
		if
		:: lockfile_at[from] == NONE -> goto unlink_lockfile_to /* an rm */
		:: else ->
			remove_lockfile_at(to);
			lockfile_at[to] = lockfile_at[from];
			lockfile_at[from] = NONE;
			swap_files(i);
			LINKED(i, from) = false;
			forget_records();
			goto moved
		fi
	}
	OR_DIE
	fi;

moved: /* move_lockfiles: lockfile_mark_leaving */
	if
	:: atomic {
		unmark_leaving(i, to);
		goto release_both
	}
	OR_DIE
	fi;

unlink_lockfile_to: /* lockfile_unlink */
	if
	:: atomic { disown_path(to); lockfile_unlink(i, to); goto unlink_lockfile_from }
	OR_DIE
	fi;

unlink_lockfile_from: /* lockfile_unlink */
	if
	:: atomic { lockfile_unlink(i, from); goto release_both }
	OR_DIE
	fi;

release_both:
	atomic {
		k = to;
		goto release
	}
#endif

	/* ---- lockfile.c, lockfile_release ---- */

release: /* lockfile_is_claimed */
	if
	:: atomic {
		if
		:: OPENED(i, k) == NONE -> goto released
#ifdef WITHOUT_ORDER
		:: OPENED(i, k) != NONE -> unlock(i, k); goto release_remove
#else
		:: OPENED(i, k) != NONE && LINKED(i, k) && !is_claimed(OPENED(i, k)) -> goto release_remove
#endif
		:: else -> goto release_unlock
		fi
	}
	OR_DIE
	fi;

release_remove: /* lockfile_unlink */
	if
	:: atomic {
#ifdef WITHOUT_ORDER
		if :: is_claimed(OPENED(i, k)) -> goto release_unlock :: else fi;
#endif
		lockfile_unlink(i, k);
		goto release_unlock
	}
	OR_DIE
	fi;

release_unlock: /* F_UNLCK, unless the file was removed. Then the claim keeps the description. */
	if
	:: atomic {
		if :: is_linked(OPENED(i, k)) -> unlock(i, k) :: else fi;
		if :: mutex_has_claim[i] -> goto unregister_claim :: else -> goto release_close fi
	}
	OR_DIE
	fi;

unregister_claim: /* held_unregister */
	if
	:: atomic { goto release_close }
	OR_DIE
	fi;

release_close: /* held_unregister; close. Then guard.c: owned_remove */
	atomic {
		close_mutex(i, k);
		forget_records();
		goto released
	}

released:
	atomic {
#if PATHS == 2
		if
		:: op == RENAME && k != from -> k = from; goto release
		:: else
		fi;
#endif
		if
		:: result == RETRY || result == AGAIN -> goto again
		:: else -> goto remove_entry
		fi
	}

remove_entry:
	atomic {
		if
#if PATHS == 2
		:: result == DONE && op == RENAME && whose[to] == MINE ->
			owned_remove(i, seen[to], judged_lockfile)
#endif
		:: result == DONE && op == UNLINK && whose_at(from) == MINE ->
			owned_remove(i, seen_at(from), judged_lockfile)
		:: else
		fi;
		goto returned
	}

	/* step.c, step_try_lock: all mutexes or none */
release_others:
	atomic {
#if PATHS == 2
		if
		:: op == RENAME && k != from -> k = from; goto release
		:: else
		fi;
#endif
		goto again
	}

	/* step.c, step_lock: tries again, or is refused after a while. guard.c, bind_in_step: AGAIN. */
again:
	atomic {
		k = from;
		if
		:: !alone && result == RETRY -> result = REFUSED; goto returned
		:: result = 0; seen_at(P) = NONE; goto retry
		fi
	}

retry:
	atomic {
#if PATHS == 2
		seen[T] = NONE;
		whose[T] = 0;
#endif
		whose[P] = 0;
#ifdef WITHOUT_SECOND_CHECK
		if :: op == UNLINK || op == RENAME -> goto identify :: else fi;
#endif
		goto open
	}

returned:
	atomic {
		assert(!(alone && result == REFUSED));
		if :: alone -> lone_phase++; lone_attempts = 0 :: else fi;
		assert(!(alone && lone_phase == STARTED && socket_at[P] != open_socket[i]));
		busy[i] = false;
		goto reset
	}

#ifdef EXEC
	/* exec: the listener stays open, other descriptors are closed, and the table is empty. */
executed:
	atomic {
		close_mutexes(i);
		clear_table(i);
		forget_records();
		op = 0;
		from = 0;
		seen_at(P) = NONE;
		whose_at(P) = 0;
		judged_lockfile = NONE;
		result = 0;
		k = P;
		busy[i] = true;
		goto adopt
	}

	/* ---- owned.c, owned_adopt_inherited ---- */

adopt: /* inode_pin, lockfile_open_readonly, is_bound_to_pinned; add_adopted: lockfile_read_record */
	if
	:: atomic {
		if
		:: socket_at[k] != open_socket[i] -> goto adopted
		:: socket_at[k] == open_socket[i] && record_names_socket(i, lockfile_at[k]) -> goto join
		:: else -> entry_inode[i] = open_socket[i]; goto adopted
		fi
	}
	OR_DIE
	fi;

join: /* lockfile_join_claim: openat, fstat, F_OFD_SETLK */
	if
	:: atomic {
		if
		:: is_joinable(lockfile_at[k]) ->
			entry_claim[i] = lockfile_at[k];
			joined_late[i] = mutex_held(lockfile_at[k]);
			goto join_check_name
		:: else -> entry_inode[i] = open_socket[i]; entry_cookie[i] = open_socket[i]; goto adopted
		fi
	}
	OR_DIE
	fi;

join_check_name: /* lockfile_join_claim: path_leads_to, in case the file was removed. owned_add */
	if
	:: atomic {
		if
		:: entry_claim[i] != lockfile_at[k] -> close_claim(i); forget_records()
		:: else -> leaving[k] = leaving[k] && record_leaving[entry_claim[i]]
		fi;
		entry_inode[i] = open_socket[i];
		entry_cookie[i] = open_socket[i];
		goto adopted
	}
	OR_DIE
	fi;

adopted:
	atomic {
		forget_entries();
		busy[i] = false;
		goto reset
	}
#endif

dead:
	atomic {
		die(i);
		goto reset
	}

reset:
	atomic {
		op = 0;
		from = 0;
		k = 0;
		seen[P] = NONE;
		whose[P] = 0;
#if PATHS == 2
		seen[T] = NONE;
		whose[T] = 0;
#endif
		judged_lockfile = NONE;
		result = 0;
		goto end_idle
	}
}

/* ---- the child, and unguarded processes ---- */

#define child_holds has_state(CHILD)
#if defined(FORK_SOCKET) && defined(FORK_MUTEX)
#define worth_forking(i) (has_state(i) || has_opened(i))
#elif defined(FORK_SOCKET)
#define worth_forking(i) has_state(i)
#else
#define worth_forking(i) has_opened(i)
#endif

#ifdef EXEC
/* Not while the library is being loaded. */
#define may_fork(i) (open_socket[i] == NONE || entry_claim[i] == NONE || entry_inode[i] != NONE)
#elif defined(SAME_TICK) && !defined(LIMIT_BIND_FORK)
#define may_fork(i) (open_socket[i] == NONE || \
	(entry_inode[i] == open_socket[i] && !mutex_has_claim[i]))
#else
#define may_fork(i) true
#endif

inline copy_mutex(i, k)
{
	if
	:: OPENED(i, k) != NONE ->
		copy[k] = SHARED;
		copied_file[k] = OPENED(i, k);
		copy_registered[k] = REGISTERED(i, k);
		copy_claims[k] = mutex_has_claim[i] && entry_claim[i] == OPENED(i, k);
		parent = i
	:: else
	fi
}

inline fork(i)
{
#ifdef FORK_SOCKET
	open_socket[CHILD] = open_socket[i];
	entry_inode[CHILD] = entry_inode[i];
	entry_cookie[CHILD] = entry_cookie[i];
	/* held_after_fork_in_child closes a claim's copy if the mutex is still held through it. */
	if :: !mutex_has_claim[i] -> entry_claim[CHILD] = entry_claim[i] :: else -> close_claim(CHILD) fi;
	owned_sockets[CHILD] = owned_sockets[i];
	forget_entries();
#endif
#ifdef FORK_MUTEX
	copy_mutex(i, P);
#if PATHS == 2
	copy_mutex(i, T)
#endif
#endif
}

inline unguarded_rm(k)
{
	remove_socket_at(k)
}

inline unguarded_rm_lock(k)
{
	remove_lockfile_at(k);
	disown_path(k) /* the claims do not count any more */
}

#ifdef LIMIT_RM_HELD
#define may_rm_lock(k) (lockfile_at[k] != NONE)
#else
#define may_rm_lock(k) (lockfile_at[k] != NONE && !mutex_held(lockfile_at[k]))
#endif

/* True if held_after_fork_in_child has run in every child. */
#if defined(FORK_MUTEX) && !defined(WITHOUT_FORK_HANDLER)
#define handlers_have_run (!any_copy_registered)
#else
#define handlers_have_run true
#endif

proctype environment()
{
	byte i;

end_environment:
	do
	:: false
#ifdef RM
	:: atomic { !alone && socket_at[P] != NONE -> unguarded_rm(P) }
#if PATHS == 2
	:: atomic { !alone && socket_at[T] != NONE -> unguarded_rm(T) }
#endif
#endif
#ifdef RM_LOCK
	:: atomic { !alone && may_rm_lock(P) -> unguarded_rm_lock(P) }
#if PATHS == 2
	:: atomic { !alone && may_rm_lock(T) -> unguarded_rm_lock(T) }
#endif
#endif

#ifdef FORKS
	:: atomic {
		!alone && !child_holds && !any_copy && worth_forking(0) && may_fork(0) ->
		fork(0)
	}
#ifndef WITHOUT_FORK_HANDLER
	/* pthread_atfork: held_after_fork_in_child runs at any time after the fork. */
	:: atomic {
		any_copy_registered ->
		if :: copy_registered[P] -> close_copy(P) :: else fi;
#if PATHS == 2
		if :: copy_registered[T] -> close_copy(T) :: else fi;
#endif
		forget_records()
	}
#endif
	:: atomic { !alone && open_socket[CHILD] != NONE -> close_socket(CHILD); forget_records() }
	:: atomic {
		!alone && (child_holds || any_copy) ->
		close_socket(CHILD);
		entry_inode[CHILD] = NONE;
		entry_cookie[CHILD] = NONE;
		close_claim(CHILD);
		owned_sockets[CHILD] = 0;
		close_copy(P);
#if PATHS == 2
		close_copy(T);
#endif
		parent = 0;
		forget_records()
	}
#endif

#ifdef ACTIVE_CHILD
	/* The other process becomes a child that makes guarded calls. */
	:: atomic {
		!alone && ((!busy[0] && !has_state(0) && has_state(1) && may_fork(1)) ||
			(!busy[1] && !has_state(1) && has_state(0) && may_fork(0))) ->
		i = (!busy[0] && !has_state(0) -> 0 : 1);
		open_socket[i] = open_socket[1 - i];
		entry_inode[i] = entry_inode[1 - i];
		entry_cookie[i] = entry_cookie[1 - i];
		if :: !mutex_has_claim[1 - i] -> entry_claim[i] = entry_claim[1 - i] :: else -> close_claim(i) fi;
		owned_sockets[i] = owned_sockets[1 - i];
		i = 0
	}
#endif

#ifdef PROGRESS
	:: atomic {
		!alone && !busy[0] && !busy[1] && no_path_in_use && handlers_have_run &&
			(open_socket[0] == NONE || open_socket[1] == NONE) ->
		if
		:: open_socket[0] == NONE -> lone = 1
		:: open_socket[1] == NONE -> lone = 2
		fi
	}
#endif
	od
}

init {
	atomic {
		run guarded(0);
		run guarded(1);
		run environment()
	}
}
