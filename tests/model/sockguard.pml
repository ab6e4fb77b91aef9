/*
 * The protocol of src/core/guard.c, src/core/judge.c, src/core/lockfile.c and src/core/owned.c, for Spin.
 * tests/model/run checks it.
 *
 * Each labelled block is a system call of the code, and is marked with the function it stands for.
 * Before each of them the process may be killed, and between any two others may come in. Looks that
 * follow each other are one block where others could not tell the difference: what they look at
 * changes under the mutex only, or one way only (a socket is closed, a claim given back).
 *
 * What there is
 *   Two guarded processes, each at any time in one guarded call: unlink, bind (with and without
 *     SO_REUSEADDR), rename. In between it closes its socket, exits, or is started anew. No order
 *     is prescribed, and they live for ever: to close first and unlink later is one order of many.
 *     With its socket open it may execute anew, and adopts it.
 *   A child, forked from the first of them at any instant, by another thread too. It has copies of
 *     the socket and the claim, or of the mutex's description. It closes, and exits.
 *   The world, unguarded: rm of the socket, rm of the lock file, at any instant.
 *
 * Names lead to inodes. Inodes have numbers from a small pool, and the lowest free number is given
 * out: what was freed is used again at once, as on ext4. A number is free when no name leads to it
 * and no descriptor is open on it. A socket is there as long as some process has it open.
 *
 * What is checked
 *   Safety: no guarded unlink, bind or rename takes the name of a live socket that is not the
 *     process's own (bound by it, or by what it was forked from). This holds too for a name that an
 *     unguarded rm has removed, as long as one process has both the socket and the claim on it. A
 *     claim joined after exec, without the mutex, counts when those are gone who had it then.
 *     With the unlink or rename of its own name a process gives the name up.
 *   Progress: from every state in which no guarded call is under way and nobody has a socket of
 *     that name, a lone start by either process ends, and ends well. It is unlink and bind; with two
 *     paths also rename. All others stand still meanwhile, so that assertions tell it: no call of
 *     it is refused or comes back to the opening of a lock file oftener than MOST_LOOKS, the socket
 *     lies at the name in the end, and pan reports a call that cannot go on as an invalid end state.
 *
 * Left out: link, the borrowed mutex, records of other hosts, calls that fail for want of something
 * (EMFILE, ENOSPC, EACCES), what is no socket, RENAME_EXCHANGE, a third process at work beside the
 * child, and more than one socket and one table entry for a process. To wait for the mutex is to
 * try again; how long is left open: at any time the call may be refused, if it is not alone.
 *
 * Switches
 *   PATHS=2         there is a second path, and rename: with TAKEOVER or AWAY
 *   FORK_SOCKET     the child, with copies of the socket and the claim
 *   FORK_MUTEX      the child, with a copy of the mutex's description
 *   ACTIVE_CHILD    the child makes guarded calls: it is the other one of the two. Its copy of a
 *                   mutex's description is closed before anything else happens
 *   RM              the unguarded rm of the socket
 *   RM_LOCK         the unguarded rm of the lock file, while nobody holds its mutex. That is also
 *                   what a guarded program's own unlink of it amounts to
 *   CLOSE_CLAIM     a program closes the claim's descriptor
 *   SAME_TICK       a number used again comes with the same birth time: nothing tells the two apart
 *   EXEC            a process that has the socket executes anew, at any instant, and adopts it
 *   REUSEADDR       bind with SO_REUSEADDR as well
 *   BIND_ONCE       a process that has a table entry binds no more; for fewer states
 *   PROGRESS        lone starts; without it only safety is checked
 * Known limits: with these there are counterexamples
 *   LIMIT_RM_HELD   RM_LOCK also while the mutex is held
 *   RM_LOCK or CLOSE_CLAIM, with SAME_TICK
 *   LIMIT_BIND_FORK with SAME_TICK: a fork between bind and note_given_back outlives its parent
 * Mutations, each of which has a counterexample
 *   WITHOUT_MUTEX        take_mutex does not heed other holders
 *   WITHOUT_NAME_CHECK   nor whether the name still leads to the file
 *   WITHOUT_SECOND_LOOK  unlink and rename judge before they have the mutex, not after
 *   WITHOUT_CREATE       unlink goes on without a lock file if there is none
 *   WITHOUT_UNSEEN       unlink of an absent name is libc's unlink of it
 *   WITHOUT_UNLOCK       lockfile_leave closes and does not unlock
 *   WITHOUT_FORKED       no lockfile_forked
 *   WITHOUT_FORK_NOTICED a lock file is used though a fork began between its opening and note_held
 *   WITHOUT_ORDER        lockfile_leave unlocks first, and removes after
 *   WITHOUT_CLAIM        bind claims nothing
 *   WITHOUT_HEED         claims count only where the first look finds no name
 *   WITHOUT_PROOF        the inode alone tells what is mine
 *   WITHOUT_BACKING      a claim counts though its socket is gone
 *   WITHOUT_LEFT         no lockfile_note_left
 *   WITHOUT_JOIN_CHECK   after exec any lock file beside the name is joined, an empty one too
 * Searches that cannot end well: TIGHT, a pool of one lock file
 */

#if defined(FORK_SOCKET) || defined(FORK_MUTEX)
#define FORKS
#endif
#if defined(FORK_MUTEX) && PATHS == 2
#error "change_sides would have to change the copies too"
#endif
#if defined(EXEC) && (PATHS == 2 || defined(SAME_TICK))
#error "adopt looks at the one path, and may_fork is for other ticks"
#endif

#ifndef PATHS
#define PATHS 1
#endif
#define P 0 /* the socket path */
#define T 1 /* another, to be renamed to it */

#define GUARDEDS 2
#define CHILD 2 /* its index */
#define ALL 3

/* So many inodes; an assertion tells should they not suffice. */
#define SOCKS 4
#ifdef TIGHT
#define LOCKS 1
#else
#define LOCKS 6
#endif
#define NONE 0   /* no inode, no descriptor */
#define VOID 254 /* of a claim: on a file that was removed. Which one does not matter any more */

/* ---- the file system ---- */

byte name[PATHS];  /* socket inode the name leads to */
byte lname[PATHS]; /* its lock file */

/*
 * What the record in a lock file tells: the socket, by its cookie, which is never used again. NONE:
 * the file is empty.
 */
#define GONE 255
byte rec[LOCKS + 1];
bool rec_left[LOCKS + 1]; /* its owner is about to take the name away */

/* ---- processes ---- */

byte sock[ALL];  /* the socket it has open, if any, by its inode */
byte eino[ALL];  /* its table of owned names has one entry: the socket's inode */
byte elock[ALL]; /* and the claim's lock file; the claim's descriptor keeps that inode from reuse */
byte ecookie[ALL]; /* that socket: NONE where it is not known, GONE when it is gone */
bool busy[GUARDEDS]; /* within a guarded call */

byte fd[GUARDEDS * PATHS];     /* struct lockfile: the description of a mutex */
bool locked[GUARDEDS * PATHS]; /* byte 0 locked through it */
bool named[GUARDEDS * PATHS];
bool noted[GUARDEDS * PATHS]; /* in held[], for lockfile_forked */
#define FD(i, k) fd[(i) * PATHS + (k)]
#define LOCKED(i, k) locked[(i) * PATHS + (k)]
#define NAMED(i, k) named[(i) * PATHS + (k)]
#define NOTED(i, k) noted[(i) * PATHS + (k)]
bool made[GUARDEDS * PATHS]; /* the file was created through it */
#define MADE(i, k) made[(i) * PATHS + (k)]
bool carries[GUARDEDS]; /* the description of its mutex has the claim as well, since this bind */

#ifdef FORKS
/* The child's copy of a mutex's description. */
mtype = {SHARED, ORPHAN, UNLOCKED};
mtype copy[PATHS]; /* SHARED: with the parent. ORPHAN: locked, and closed by the parent. 0: none */
byte copied[PATHS]; /* the lock file */
bool copy_claims[PATHS]; /* it has the claim as well; UNLOCKED: and no mutex */
bool copy_noted[PATHS]; /* and lockfile_forked will close it */
byte parent; /* or NOBODY, when it is dead */
#define NOBODY 3
#endif

#if PATHS == 2
#define any_copy (copy[P] != 0 || copy[T] != 0)
#define any_copy_noted (copy_noted[P] || copy_noted[T])
#define any_fd(i) (FD(i, P) != NONE || FD(i, T) != NONE)
#define nobody_keeps (!kept(P) && !kept(T) && !(name[P] != NONE && live(name[P])) && \
	!(name[T] != NONE && live(name[T])))
#else
#define any_copy (copy[P] != 0)
#define any_copy_noted copy_noted[P]
#define any_fd(i) (FD(i, P) != NONE)
#define nobody_keeps (!kept(P) && !(name[P] != NONE && live(name[P])))
#endif

/* ---- for the properties only ---- */

byte mine[ALL]; /* bit set of socket inodes it bound, or the process it was forked from */
byte home[SOCKS + 1]; /* path + 1 that was given to this socket, and not given up since */
bool leaving[PATHS]; /* by lockfile_note_left, and until the call is over */
byte lone; /* 1 + the process that starts alone; all others stand still */
byte phase; /* of the lone start: how many of its calls have ended well */
byte lone_looks; /* in its call at hand: how often it has opened a lock file, or tried to */

#ifdef EXEC
bool late[ALL]; /* its claim was joined as another was at work under the mutex, and still is */
#define is_late(j) late[j]
#else
#define is_late(j) false
#endif

byte tmp; /* within an atomic block only, 0 between */
byte it;

#define alone (lone != 0)
/* A call alone opens each lock file, once more after what was stale is removed, and no oftener. */
#define MOST_LOOKS (2 * PATHS)
#define STARTED (PATHS + 1)
#define bit_of(x) (1 << (x))
#define is_mine(i, x) ((mine[i] & bit_of(x)) != 0)

/* ---- what is so ---- */

#define holds(i) (sock[i] != NONE || eino[i] != NONE || elock[i] != NONE)

#define live(x) (sock[0] == x || sock[1] == x || sock[2] == x)

#define claims(j, l) (elock[j] == (l))
#ifdef FORKS
#if PATHS == 1
#define copy_claimed(l) (copy_claims[P] && copied[P] == (l))
#else
#define copy_claimed(l) ((copy_claims[P] && copied[P] == (l)) || \
	(copy_claims[T] && copied[T] == (l)))
#endif
#else
#define copy_claimed(l) false
#endif
#define claimed(l) ((l) != NONE && (claims(0, l) || claims(1, l) || claims(2, l) || \
	copy_claimed(l)))

#if PATHS == 1
#define is_named(x) (name[P] == x)
#define is_linked(l) (lname[P] == (l))
#define is_open(l) (fd[0] == l || fd[1] == l)
#define lock_held(l) ((fd[0] == l && locked[0]) || (fd[1] == l && locked[1]))
#else
#define is_named(x) (name[P] == x || name[T] == x)
#define is_linked(l) (lname[P] == (l) || lname[T] == (l))
#define is_open(l) (fd[0] == l || fd[1] == l || fd[2] == l || fd[3] == l)
#define lock_held(l) ((fd[0] == l && locked[0]) || (fd[1] == l && locked[1]) || \
		      (fd[2] == l && locked[2]) || (fd[3] == l && locked[3]))
#endif

#ifdef FORKS
#if PATHS == 1
#define orphan_lock(l) (copy[P] == ORPHAN && copied[P] == l)
#else
#define orphan_lock(l) ((copy[P] == ORPHAN && copied[P] == l) || \
			(copy[T] == ORPHAN && copied[T] == l))
#endif
#else
#define orphan_lock(l) false
#endif
#define mutex_held(l) (lock_held(l) || orphan_lock(l))

#define sock_free(x) (!is_named(x) && !live(x))
#define lock_free(l) (!is_linked(l) && !is_open(l) && !orphan_lock(l))

/* owned.c, claimed_for_us: there is no claim, or the record's cookie is my socket's. */
#define claimed_for_us(i, l) (!claimed(l) || rec[l] == NONE || ecookie[i] == NONE || \
	rec[l] == ecookie[i])

/* owned.c, note_adopted: the record is of its socket. lockfile_join: no empty file. */
#ifdef WITHOUT_JOIN_CHECK
#define may_join(i, l) ((l) != NONE)
#define may_claim(l) ((l) != NONE)
#else
#define may_join(i, l) ((l) != NONE && rec[l] == sock[i])
#define may_claim(l) ((l) != NONE && rec[l] != NONE)
#endif

/* owned.c, proves: my claim lies beside the name, or nobody's does; or mine is lost. */
#ifdef WITHOUT_PROOF
#define proves(i, l) true
#else
#define proves(i, l) (elock[i] == NONE -> claimed_for_us(i, l) : elock[i] == (l) || !claimed(l))
#endif
#define owned_is_mine(i, x, l) (eino[i] == (x) && proves(i, l))

/* judge.c, is_backed: an empty record counts as backed. */
#ifdef WITHOUT_BACKING
#define is_backed(l) true
#else
#define is_backed(l) (rec[l] != GONE)
#endif
#define claimed_by_others(i, l) (claimed(l) && elock[i] != (l))
#define judge_absent_claimed(i, l) (claimed_by_others(i, l) && !rec_left[l] && is_backed(l))

/* Is there still a socket that was bound there, or renamed to there, and keeps the name? */
#define keeps(x, k) (home[x] == (k) + 1 && live(x) && !leaving[k])

/*
 * Has somebody else a right to the absent name? Such a socket, and a process that has both it and
 * the claim. What the guard does not know of cannot be protected.
 */
#ifdef WITHOUT_CLAIM
#define holds_both(j, x) (sock[j] == (x) && eino[j] == (x))
#else
#define holds_both(j, x) (sock[j] == (x) && elock[j] != NONE && elock[j] != VOID && \
	eino[j] == (x) && !is_late(j))
#endif
#define has_right(x, k, i) (home[x] == (k) + 1 && !leaving[k] && !is_mine(i, x) && \
	(holds_both(0, x) || holds_both(1, x) || holds_both(2, x)))

#define has_home(k) (home[1] == (k) + 1 || home[2] == (k) + 1 || home[3] == (k) + 1 || \
	home[4] == (k) + 1)
#define kept(k) (keeps(1, k) || keeps(2, k) || keeps(3, k) || keeps(4, k))
#define somebodys(k, i) (has_right(1, k, i) || has_right(2, k, i) || has_right(3, k, i) || \
	has_right(4, k, i))

/* ---- what happens ---- */

/* Forks from earlier on, which share its claim there, are of the family. */
inline share_with(i, j, k, x)
{
	if
	:: elock[i] == FD(i, k) && elock[j] == elock[i] -> mine[j] = mine[j] | bit_of(x)
	:: else
	fi
}

inline new_socket(i, k, x)
{
	d_step {
		x = 1;
		do
		:: x <= SOCKS && !sock_free(x) -> x++
		:: else -> break
		od;
		assert(x <= SOCKS);
		mine[i] = mine[i] | bit_of(x);
		share_with(i, 0, k, x);
		share_with(i, 1, k, x);
		share_with(i, 2, k, x)
	}
}

inline new_lock(l)
{
	d_step {
		l = 1;
		do
		:: l <= LOCKS && !lock_free(l) -> l++
		:: else -> break
		od;
		assert(l <= LOCKS);
		rec[l] = NONE;
		rec_left[l] = false
	}
}

/* Its claim's descriptor is closed. */
inline drop_claim(i)
{
#ifdef EXEC
	late[i] = false;
#endif
	elock[i] = NONE
}

/*
 * The same state of affairs must not come in many guises: what cannot matter any more is forgotten.
 * A void claim matters to whoever has the inode in its table. A record is read only where there is
 * a claim. An inode that is gone matches no entry, unless its number comes again (SAME_TICK).
 */
inline forget_entries()
{
	if :: eino[0] == NONE && elock[0] == VOID -> elock[0] = NONE :: else fi;
	if :: eino[1] == NONE && elock[1] == VOID -> elock[1] = NONE :: else fi;
	if :: eino[2] == NONE && elock[2] == VOID -> elock[2] = NONE :: else fi;
	if :: eino[0] == NONE -> ecookie[0] = NONE :: else fi;
	if :: eino[1] == NONE -> ecookie[1] = NONE :: else fi;
	if :: eino[2] == NONE -> ecookie[2] = NONE :: else fi;
#ifdef FORK_SOCKET
	/* What makes no calls needs no table. */
	if :: elock[2] == VOID -> elock[2] = NONE :: else fi;
	if :: sock[2] == NONE -> eino[2] = NONE; ecookie[2] = NONE; mine[2] = 0 :: else fi
#endif
}

inline forget_inode(x)
{
#ifndef SAME_TICK
	if
	:: x != NONE && sock_free(x) ->
		if :: eino[0] == x -> eino[0] = NONE :: else fi;
		if :: eino[1] == x -> eino[1] = NONE :: else fi;
		if :: eino[2] == x -> eino[2] = NONE :: else fi;
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

inline drop_copy(k)
{
	copy[k] = 0;
	copied[k] = NONE;
	copy_noted[k] = false;
	copy_claims[k] = false;
	forget_parent()
}

/* A lock on a file that was removed, and that nobody has open, is in nobody's way. */
inline forget_copy(k)
{
	if
	:: copy[k] == ORPHAN && !is_linked(copied[k]) && !is_open(copied[k]) -> drop_copy(k)
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
			:: rec[it] != NONE && !is_linked(it) && !lock_held(it) ->
				rec[it] = NONE; rec_left[it] = false
			:: rec[it] == GONE && is_linked(it) && !claimed(it) && !lock_held(it) ->
				rec_left[it] = false
			:: else
			fi;
			it++
		:: else -> break
		od;
		it = 0
	}
}

/* With the last descriptor the socket is gone. */
inline close_socket(i)
{
	d_step {
		tmp = sock[i];
		sock[i] = NONE;
		if
		:: tmp != NONE && !live(tmp) ->
			home[tmp] = 0;
			leaving[P] = leaving[P] && has_home(P);
#if PATHS == 2
			leaving[T] = leaving[T] && has_home(T);
#endif
			if :: ecookie[0] == tmp -> ecookie[0] = GONE :: else fi;
			if :: ecookie[1] == tmp -> ecookie[1] = GONE :: else fi;
			if :: ecookie[2] == tmp -> ecookie[2] = GONE :: else fi;
			mine[0] = mine[0] & ~bit_of(tmp);
			mine[1] = mine[1] & ~bit_of(tmp);
			mine[2] = mine[2] & ~bit_of(tmp);
			forget_inode(tmp);
			it = 1;
			do
			:: it <= LOCKS ->
				if :: rec[it] == tmp -> rec[it] = GONE :: else fi;
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
	elock[j] = VOID
}

inline void_copy(l, k)
{
	if
	:: copied[k] == l ->
		copy_claims[k] = false;
		if :: copy[k] == UNLOCKED -> drop_copy(k) :: else fi
	:: else
	fi
}

/* The last name of a lock file is gone. */
inline void_claims(l)
{
	d_step {
		if :: elock[0] == l -> void_claim(0) :: else fi;
		if :: elock[1] == l -> void_claim(1) :: else fi;
		if :: elock[2] == l -> void_claim(2) :: else fi;
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

inline unlink_lock(k)
{
	it = lname[k];
	lname[k] = NONE;
	if :: it != NONE -> void_claims(it) :: else fi
}

/* A name of a socket goes. */
inline unlink_socket(k)
{
	tmp = name[k];
	name[k] = NONE;
	forget_inode(tmp);
	tmp = 0
}

/* Closes the description without a word about its lock: a copy of it keeps the lock. */
inline close_mutex(i, k)
{
#ifdef FORKS
	if
	:: copy[k] == SHARED && parent == i ->
		if
		:: LOCKED(i, k) -> copy[k] = ORPHAN
		:: !LOCKED(i, k) && copy_claims[k] -> copy[k] = UNLOCKED
		:: else -> drop_copy(k)
		fi
	:: else
	fi;
#endif
	FD(i, k) = NONE;
	LOCKED(i, k) = false;
	NAMED(i, k) = false;
	NOTED(i, k) = false;
	MADE(i, k) = false;
#ifdef EXEC
	/* Who holds a mutex has it released here, if not before: from now on the claim was there. */
	late[0] = late[0] && i == 0;
	late[1] = late[1] && i == 1;
#endif
	carries[i] = false
}

inline unlock(i, k)
{
#ifndef WITHOUT_UNLOCK
	LOCKED(i, k) = false
#else
	skip
#endif
}

/* The descriptors of mutexes are closed, by exit or exec. */
inline give_back_all(i)
{
	close_mutex(i, P);
#if PATHS == 2
	close_mutex(i, T);
#endif
#if defined(FORKS) && !defined(WITHOUT_FORK_NOTICED)
	/* What lockfile_forked cannot know of is not used: no_fork_since. */
	if :: copy[P] == ORPHAN && parent == i && !copy_noted[P] -> drop_copy(P) :: else fi;
#if PATHS == 2
	if :: copy[T] == ORPHAN && parent == i && !copy_noted[T] -> drop_copy(T) :: else fi;
#endif
#endif
#ifdef FORKS
	if :: any_copy && parent == i -> parent = NOBODY :: else fi;
#endif
}

inline forget_table(i)
{
	eino[i] = NONE;
	ecookie[i] = NONE;
	drop_claim(i)
}

inline die(i)
{
	give_back_all(i);
	close_socket(i);
	forget_table(i);
	mine[i] = 0;
	busy[i] = false;
	forget_records()
}

/*
 * libc's unlink, or what rename replaces: here a theft would happen. The name must lead to a socket
 * that is gone, or is the process's own.
 */
inline take_name(i, k)
{
	assert(!live(name[k]) || is_mine(i, name[k]));
	unlink_socket(k)
}

/* The name is its owner's no more. */
inline give_up(k)
{
	d_step {
		it = 1;
		do
		:: it <= SOCKS ->
			if :: home[it] == k + 1 -> home[it] = 0 :: else fi;
			it++
		:: else -> break
		od;
		it = 0;
		leaving[k] = false
	}
}

inline open_existing(i, k)
{
	FD(i, k) = lname[k]
}

/* lockfile.c, lockfile_remove: by its name, whatever that leads to. */
inline lockfile_remove(i, k)
{
	if
	:: NAMED(i, k) ->
		unlink_lock(k)
	:: else
	fi;
	NAMED(i, k) = false
}

/*
 * lockfile.c, lockfile_note_left. From here on the owner does not want the name any more; who is
 * killed on the way leaves it free.
 */
inline note_left(i, k)
{
#ifndef WITHOUT_LEFT
	if
	:: NAMED(i, k) && rec[FD(i, k)] != NONE -> rec_left[FD(i, k)] = true
	:: else
	fi;
#endif
	leaving[k] = has_home(k)
}

inline note_held_again(i, k)
{
	if :: NAMED(i, k) -> rec_left[FD(i, k)] = false :: else fi;
	leaving[k] = false
}

/* owned.c, owned_forget */
inline owned_forget(i, x, l)
{
	if
	:: eino[i] != x -> skip
	:: eino[i] == x && elock[i] != NONE && elock[i] != l && elock[i] != VOID ->
		skip /* another name of this socket */
	:: else ->
		eino[i] = NONE;
		ecookie[i] = NONE;
		drop_claim(i);
		forget_records()
	fi
}

inline note_adopted(i, k)
{
	if
	:: may_join(i, FD(i, k)) ->
		ecookie[i] = sock[i];
		elock[i] = (may_claim(lname[k]) -> lname[k] : NONE);
		leaving[k] = leaving[k] && rec_left[FD(i, k)]
	:: else -> ecookie[i] = NONE
	fi
}

#if PATHS == 2
/* lockfile.c, change_sides */
inline change_sides(i)
{
	tmp = FD(i, P); FD(i, P) = FD(i, T); FD(i, T) = tmp;
	tmp = LOCKED(i, P); LOCKED(i, P) = LOCKED(i, T); LOCKED(i, T) = tmp;
	tmp = NOTED(i, P); NOTED(i, P) = NOTED(i, T); NOTED(i, T) = tmp;
	tmp = MADE(i, P); MADE(i, P) = MADE(i, T); MADE(i, T) = tmp;
	tmp = 0
}
#endif

#ifdef BIND_ONCE
#define may_bind(i) (sock[i] == NONE && eino[i] == NONE && elock[i] == NONE)
#else
#define may_bind(i) (sock[i] == NONE)
#endif

#if PATHS == 2
/* Who does what: all of it at once would be too much. */
#if defined(TAKEOVER)
/* The one binds t and renames it to p; the other binds p. */
#define may(i, op, k) (i == 0 -> op == UNLINK || k == T : op != RENAME && k == P)
#elif defined(AWAY)
/* The one binds p and renames it to t; the other binds p. */
#define may(i, op, k) (i == 0 -> op == UNLINK || k == P : op != RENAME && k == P)
#endif
#define may_call(i, op) (may(i, op, P) || may(i, op, T))
#else
#define may_call(i, op) true
#endif

/* Any step may be the last. */
#ifdef EXEC
#define OR_DIE :: atomic { !alone -> goto dead } \
	:: atomic { !alone && sock[i] != NONE -> goto executed }
#else
#define OR_DIE :: atomic { !alone -> goto dead }
#endif

mtype = {UNLINK, BIND, REUSE_BIND, RENAME};
mtype = {MINE, NOBODYS, THEIRS, ABSENT};
mtype = {DONE, AGAIN, RETRY, REFUSED};

proctype guarded(byte i)
{
	mtype op;
	byte from; /* the path; of rename the old one */
	byte k;    /* the path at hand */
	byte seen[PATHS];
	mtype whose[PATHS];
	byte beside; /* judgement.lockfile, for owned_forget */
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
	/* The program's own: its next call, in no order. */
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
	:: atomic { !alone && sock[i] != NONE -> close_socket(i); forget_records(); goto end_idle }
	:: atomic { !alone && holds(i) -> goto dead }
#ifdef EXEC
	:: atomic { !alone && sock[i] != NONE -> goto executed }
#endif
#ifdef CLOSE_CLAIM
	:: atomic { !alone && elock[i] != NONE -> drop_claim(i); forget_records(); goto end_idle }
#endif

	/* A lone start. */
#if PATHS == 1
	:: atomic { lone == i + 1 && phase == 0 -> busy[i] = true; op = UNLINK; goto called }
	:: atomic { lone == i + 1 && phase == 1 -> busy[i] = true; op = BIND; goto called }
#else
	:: atomic { lone == i + 1 && phase == 0 -> busy[i] = true; op = UNLINK; from = T; goto called }
	:: atomic { lone == i + 1 && phase == 1 -> busy[i] = true; op = BIND; from = T; goto called }
	:: atomic { lone == i + 1 && phase == 2 -> busy[i] = true; op = RENAME; from = T; goto called }
#endif
	fi;

	/* Within a sequence of atomic blocks nobody else comes in between. */
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
		:: op == UNLINK || op == RENAME -> goto first_look
		:: else -> goto open
		fi
	}

first_look: /* guard_unlink, guard_rename: inode_look */
	if
	:: atomic {
		if
		:: name[k] == NONE ->
#ifdef WITHOUT_UNSEEN
			goto unlink_unseen
#else
			goto returned /* answered_unseen: nothing is taken */
#endif
#ifdef WITHOUT_SECOND_LOOK
		:: else -> goto identify
#else
		:: else -> goto open
#endif
		fi
	}
	OR_DIE
	fi;

#ifdef WITHOUT_UNSEEN
unlink_unseen: /* libc's unlink, for the errno */
	if
	:: atomic {
		op == UNLINK && name[k] != NONE -> take_name(i, k); goto returned
	}
	:: atomic { else -> goto returned }
	OR_DIE
	fi;
#endif

	/* ---- step.c, try_mutexes; lockfile.c, lockfile_try ---- */

open: /* open_existing */
	if
	:: atomic {
		if :: alone -> lone_looks++; assert(lone_looks <= MOST_LOOKS) :: else fi;
		if
		:: lname[k] != NONE -> open_existing(i, k); goto note
		:: else -> goto create
		fi
	}
	OR_DIE
	fi;

create: /* open_or_create: O_CREAT|O_EXCL */
	if
	:: atomic {
		if
		:: lname[k] != NONE -> goto open /* EEXIST */
#ifdef WITHOUT_CREATE
		:: lname[k] == NONE && op == UNLINK -> goto entered
#endif
		:: else ->
			new_lock(tmp);
			lname[k] = tmp;
			FD(i, k) = tmp;
			MADE(i, k) = true;
			tmp = 0;
			goto note
		fi
	}
	OR_DIE
	fi;

note: /* note_held. Then adopt: that a file has been removed by now is seen below, too. */
#ifdef FORK_MUTEX
	if
	:: atomic { NOTED(i, k) = true; goto take_mutex }
	OR_DIE
	fi;
#endif

take_mutex: /* F_OFD_SETLK */
	if
	:: atomic {
		if
#ifndef WITHOUT_MUTEX
		:: mutex_held(FD(i, k)) ->
			close_mutex(i, k);
			forget_records();
			result = RETRY;
			goto leave_others
#endif
		:: else ->
			LOCKED(i, k) = true;
			goto compare
		fi
	}
	OR_DIE
	fi;

compare: /* fstat of what was created here and never claimed, or else name_leads_to */
	if
	:: atomic {
		if
#ifndef WITHOUT_NAME_CHECK
		:: (!MADE(i, k) || rec[FD(i, k)] != NONE) && lname[k] != FD(i, k) ->
			goto compare_failed
		:: MADE(i, k) && !is_linked(FD(i, k)) -> goto compare_failed
#endif
		:: else ->
			NAMED(i, k) = true;
			MADE(i, k) = false;
			goto entered
		fi
	}
	OR_DIE
	fi;

compare_failed: /* F_UNLCK; close */
	if
	:: atomic {
		unlock(i, k);
		close_mutex(i, k);
		forget_records();
		goto open
	}
	OR_DIE
	fi;

entered:
	atomic {
		if
#if PATHS == 2
		:: op == RENAME && k == from -> k = to; goto open
#endif
		:: else -> k = from
		fi;
		if
		:: op == BIND || op == REUSE_BIND -> goto bind_look
#ifdef WITHOUT_SECOND_LOOK
		:: else -> goto judged
#else
		:: else -> goto identify
#endif
		fi
	}

	/* ---- judge.c, judge ---- */

identify: /* inode_identify; owned_is_mine: fstat of the claim, F_OFD_GETLK of the lock file */
	if
	:: atomic {
		seen_at(k) = name[k];
		if
		:: name[k] == NONE -> whose_at(k) = ABSENT; goto next_judgement
		:: owned_is_mine(i, name[k], FD(i, k)) && name[k] != NONE ->
			whose_at(k) = MINE;
			goto next_judgement
		:: else -> goto probe
		fi
	}
	OR_DIE
	fi;

probe: /* inode_pin, liveness_of; owned_adopt_held, lockfile_join */
	if
	:: atomic {
		if
		:: name[k] == NONE -> whose_at(k) = ABSENT
		:: name[k] != NONE && !live(name[k]) -> whose_at(k) = NOBODYS
		:: name[k] != NONE && live(name[k]) && sock[i] == name[k] ->
			whose_at(k) = MINE;
			drop_claim(i);
			eino[i] = name[k];
			note_adopted(i, k);
			forget_records()
		:: name[k] != NONE && live(name[k]) && sock[i] != name[k] -> whose_at(k) = THEIRS
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
#ifdef WITHOUT_SECOND_LOOK
		if
		:: FD(i, k) == NONE -> goto open
		:: else
		fi;
#endif
		goto judged
	}

judged:
	atomic {
		if :: whose_at(k) == MINE -> beside = FD(i, from) :: else -> seen_at(k) = NONE fi;
#if PATHS == 2
		if
		:: op == RENAME -> beside = (whose[to] == MINE -> FD(i, to) : NONE); goto rename_judged
		:: else
		fi;
#endif
		result = DONE;
		if
		:: whose_at(k) == THEIRS -> result = REFUSED; whose_at(k) = 0; goto leave
		:: whose_at(k) == ABSENT -> whose_at(k) = 0; goto leave
		:: else -> goto note_leaving
		fi
	}

	/* ---- guard.c, unlink_judged ---- */

note_leaving: /* take_away: lockfile_note_left */
	if
	:: atomic { note_left(i, k); goto unlink_it }
	OR_DIE
	fi;

unlink_it: /* take_away: libc's unlink */
	if
	:: atomic {
		if
		:: name[k] == NONE -> goto unlink_failed
		:: else ->
			take_name(i, k);
			if :: whose_at(k) == NOBODYS -> whose_at(k) = 0; seen_at(k) = NONE :: else fi;
			goto unlink_lockfile
		fi
	}
	OR_DIE
	fi;

unlink_failed: /* take_away: lockfile_note_left */
	if
	:: atomic {
		note_held_again(i, k);
		whose_at(k) = 0;
		seen_at(k) = NONE;
		beside = NONE;
		goto leave
	}
	OR_DIE
	fi;

unlink_lockfile: /* lockfile_remove */
	if
	:: atomic {
		if :: op == UNLINK -> give_up(k) :: else fi;
		lockfile_remove(i, k);
		goto leave
	}
	OR_DIE
	fi;

	/* ---- guard.c, bind_once ---- */

bind_look: /* heed_claims: lockfile_claimed, owned_claim_on, inode_look, judge_absent_claimed */
	if
	:: atomic {
		if
		:: !claimed_by_others(i, FD(i, k)) -> goto bind
#ifdef WITHOUT_HEED
		:: claimed_by_others(i, FD(i, k)) && name[k] != NONE -> goto bind
#else
		:: claimed_by_others(i, FD(i, k)) && name[k] != NONE && op == BIND ->
			result = REFUSED; /* EADDRINUSE, and libc is not asked */
			goto leave
		:: claimed_by_others(i, FD(i, k)) && name[k] != NONE && op == REUSE_BIND ->
			goto probe_stale
#endif
		:: name[k] == NONE && judge_absent_claimed(i, FD(i, k)) ->
			result = REFUSED;
			goto leave
		:: name[k] == NONE && claimed_by_others(i, FD(i, k)) &&
			!judge_absent_claimed(i, FD(i, k)) ->
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
		:: name[k] != NONE && op == REUSE_BIND -> goto probe_stale
		:: name[k] != NONE && op == BIND -> result = REFUSED; goto leave
		:: else ->
			/* The theft would be of a name that rm had removed. */
			assert(!somebodys(k, i));
			new_socket(i, k, tmp);
			name[k] = tmp;
			sock[i] = tmp;
			home[tmp] = k + 1;
			tmp = 0;
			goto note_bound
		fi
	}
	OR_DIE
	fi;

note_bound: /* inode_identify; lockfile_claim: pwrite */
	if
	:: atomic {
		result = DONE;
		if
		:: name[k] == NONE -> goto leave /* gone already, by an unguarded rm */
		:: else ->
			seen_at(k) = name[k];
			give_up(k); /* of a socket before, whose record this was */
			home[sock[i]] = k + 1;
			rec[FD(i, k)] = sock[i];
			rec_left[FD(i, k)] = false;
			goto claim
		fi
	}
	OR_DIE
	fi;

claim: /* lockfile_claim: F_OFD_SETLK, or open_claim; owned_note */
	if
	:: atomic {
		eino[i] = seen_at(k);
		ecookie[i] = sock[i];
		drop_claim(i);
#ifndef WITHOUT_CLAIM
		elock[i] = (is_linked(FD(i, k)) -> FD(i, k) : VOID);
		carries[i] = true;
#ifdef FORKS
		if
		:: copy[k] == SHARED && parent == i && elock[i] != VOID -> copy_claims[k] = true
		:: else
		fi;
#endif
#endif
		seen_at(k) = NONE;
		forget_records();
		goto leave
	}
	OR_DIE
	fi;

	/* ---- guard.c, replace_stale ---- */

probe_stale: /* judge_stale: inode_pin, liveness_of */
	if
	:: atomic {
		if
		:: name[k] == NONE || live(name[k]) -> result = REFUSED; goto leave
		:: else -> goto leave_stale
		fi
	}
	OR_DIE
	fi;

leave_stale: /* replace_stale: inode_identify, lockfile_note_left */
	if
	:: atomic {
		if
		:: name[k] == NONE -> result = REFUSED; goto leave
		:: else -> seen_at(k) = name[k]; note_left(i, k); goto unlink_stale
		fi
	}
	OR_DIE
	fi;

unlink_stale: /* replace_stale: libc's unlink */
	if
	:: atomic {
		if
		:: name[k] == NONE -> goto stale_failed
		:: else -> take_name(i, k); goto remove_stale_lockfile
		fi
	}
	OR_DIE
	fi;

stale_failed: /* replace_stale: lockfile_note_left */
	if
	:: atomic {
		note_held_again(i, k);
		seen_at(k) = NONE;
		result = REFUSED;
		goto leave
	}
	OR_DIE
	fi;

remove_stale_lockfile: /* replace_stale: lockfile_remove, owned_forget */
	if
	:: atomic {
		give_up(k);
		lockfile_remove(i, k);
		if
		:: owned_is_mine(i, seen_at(k), FD(i, k)) -> owned_forget(i, seen_at(k), FD(i, k))
		:: else
		fi;
		seen_at(k) = NONE;
		result = AGAIN;
		goto leave
	}
	OR_DIE
	fi;

#if PATHS == 2
	/* ---- guard.c, rename_judged ---- */

rename_judged:
	atomic {
		result = DONE;
		if
		:: whose[from] == THEIRS || whose[to] == THEIRS -> result = REFUSED; goto leave_both
		:: else
		fi;
		if
		:: whose[to] == ABSENT && whose[from] != ABSENT -> goto rename_absent
		:: whose[from] == ABSENT -> goto leave_both
		:: else -> goto rename_note_left
		fi
	}

rename_absent: /* in_the_way: judge_absent_claimed */
	if
	:: atomic {
		if
		:: judge_absent_claimed(i, FD(i, to)) -> result = REFUSED; goto leave_both
		:: else -> goto rename_note_left
		fi
	}
	OR_DIE
	fi;

rename_note_left: /* take_away: lockfile_note_left */
	if
	:: atomic { note_left(i, from); goto rename_note_left_to }
	OR_DIE
	fi;

rename_note_left_to: /* take_away: lockfile_note_left */
	if
	:: atomic { note_left(i, to); goto rename_it }
	OR_DIE
	fi;

rename_failed: /* take_away: lockfile_note_left */
	if
	:: atomic { note_held_again(i, from); goto rename_failed_to }
	OR_DIE
	fi;

rename_failed_to: /* take_away: lockfile_note_left */
	if
	:: atomic {
		note_held_again(i, to);
		whose[to] = ABSENT;
		goto leave_both
	}
	OR_DIE
	fi;

rename_it: /* take_away: libc's rename */
	if
	:: atomic {
		if
		:: name[from] == NONE -> goto rename_failed
		:: else ->
			assert(!live(name[from]) || is_mine(i, name[from]));
			if
			:: name[to] == NONE -> assert(!somebodys(to, i))
			:: else -> take_name(i, to)
			fi;
			give_up(to);
			name[to] = name[from];
			name[from] = NONE;
			give_up(from);
			tmp = name[to];
			if
			:: live(tmp) && is_mine(i, tmp) -> home[tmp] = to + 1; leaving[to] = true
			:: else
			fi;
			tmp = 0;
			goto settle
		fi
	}
	OR_DIE
	fi;

settle: /* settle_renamed: lockfile_claimed */
	if
	:: atomic {
		if
		:: claimed(FD(i, from)) -> goto move
		:: else -> goto settle_remove_to
		fi
	}
	OR_DIE
	fi;

move: /* lockfile_move; then lockfile_remove(from) has nothing to remove */
	if
	:: atomic {
		if
		:: lname[from] == NONE -> goto settle_remove_to /* somebody's rm */
		:: else ->
			unlink_lock(to);
			lname[to] = lname[from];
			lname[from] = NONE;
			change_sides(i);
			NAMED(i, from) = false;
			forget_records();
			goto moved
		fi
	}
	OR_DIE
	fi;

moved: /* settle_renamed: lockfile_note_left */
	if
	:: atomic {
		note_held_again(i, to);
		goto leave_both
	}
	OR_DIE
	fi;

settle_remove_to: /* lockfile_remove */
	if
	:: atomic { give_up(to); lockfile_remove(i, to); goto settle_remove_from }
	OR_DIE
	fi;

settle_remove_from: /* lockfile_remove */
	if
	:: atomic { lockfile_remove(i, from); goto leave_both }
	OR_DIE
	fi;

leave_both:
	atomic {
		k = to;
		goto leave
	}
#endif

	/* ---- lockfile.c, lockfile_leave ---- */

leave: /* lockfile_claimed */
	if
	:: atomic {
		if
		:: FD(i, k) == NONE -> goto left
#ifdef WITHOUT_ORDER
		:: FD(i, k) != NONE -> unlock(i, k); goto leave_remove
#else
		:: FD(i, k) != NONE && NAMED(i, k) && !claimed(FD(i, k)) -> goto leave_remove
#endif
		:: else -> goto leave_unlock
		fi
	}
	OR_DIE
	fi;

leave_remove: /* lockfile_remove */
	if
	:: atomic {
#ifdef WITHOUT_ORDER
		if :: claimed(FD(i, k)) -> goto leave_unlock :: else fi;
#endif
		lockfile_remove(i, k);
		goto leave_unlock
	}
	OR_DIE
	fi;

leave_unlock: /* F_UNLCK, unless the file was removed. Then a claim's description is kept. */
	if
	:: atomic {
		if :: is_linked(FD(i, k)) -> unlock(i, k) :: else fi;
		if :: carries[i] -> goto leave_kept :: else -> goto leave_close fi
	}
	OR_DIE
	fi;

leave_kept: /* note_given_back */
	if
	:: atomic { goto leave_close }
	OR_DIE
	fi;

leave_close: /* note_given_back; close. Then guard.c: owned_forget */
	atomic {
		close_mutex(i, k);
		forget_records();
		goto left
	}

left:
	atomic {
#if PATHS == 2
		if
		:: op == RENAME && k != from -> k = from; goto leave
		:: else
		fi;
#endif
		if
		:: result == RETRY || result == AGAIN -> goto again
		:: else -> goto forget
		fi
	}

forget:
	atomic {
		if
#if PATHS == 2
		:: result == DONE && op == RENAME && whose[to] == MINE ->
			owned_forget(i, seen[to], beside)
#endif
		:: result == DONE && op == UNLINK && whose_at(from) == MINE ->
			owned_forget(i, seen_at(from), beside)
		:: else
		fi;
		goto returned
	}

	/* step.c, try_mutexes: all mutexes or none */
leave_others:
	atomic {
#if PATHS == 2
		if
		:: op == RENAME && k != from -> k = from; goto leave
		:: else
		fi;
#endif
		goto again
	}

	/* step.c, step_enter: again, or refused after a while. guard.c, bind_path: AGAIN. */
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
#ifdef WITHOUT_SECOND_LOOK
		if :: op == UNLINK || op == RENAME -> goto identify :: else fi;
#endif
		goto open
	}

returned:
	atomic {
		assert(!(alone && result == REFUSED));
		if :: alone -> phase++; lone_looks = 0 :: else fi;
		assert(!(alone && phase == STARTED && name[P] != sock[i]));
		busy[i] = false;
		goto reset
	}

#ifdef EXEC
	/* exec: the listener stays open. Other descriptors are close-on-exec, and the table is new. */
executed:
	atomic {
		give_back_all(i);
		forget_table(i);
		forget_records();
		op = 0;
		from = 0;
		seen_at(P) = NONE;
		whose_at(P) = 0;
		beside = NONE;
		result = 0;
		k = P;
		busy[i] = true;
		goto adopt
	}

	/* ---- owned.c, adopt_inherited ---- */

adopt: /* inode_pin, lockfile_peek, is_socket_of; note_adopted: lockfile_record */
	if
	:: atomic {
		if
		:: name[k] != sock[i] -> goto executed_anew
		:: name[k] == sock[i] && may_join(i, lname[k]) -> goto join
		:: else -> eino[i] = sock[i]; goto executed_anew
		fi
	}
	OR_DIE
	fi;

join: /* lockfile_join: openat, fstat, F_OFD_SETLK. A file removed in between is not at the name. */
	if
	:: atomic {
		if
		:: may_claim(lname[k]) ->
			elock[i] = lname[k];
			late[i] = mutex_held(lname[k]);
			goto join_compare
		:: else -> eino[i] = sock[i]; ecookie[i] = sock[i]; goto executed_anew
		fi
	}
	OR_DIE
	fi;

join_compare: /* lockfile_join: name_leads_to. owned_note */
	if
	:: atomic {
		if
		:: elock[i] != lname[k] -> drop_claim(i); forget_records()
		:: else -> leaving[k] = leaving[k] && rec_left[elock[i]]
		fi;
		eino[i] = sock[i];
		ecookie[i] = sock[i];
		goto executed_anew
	}
	OR_DIE
	fi;

executed_anew:
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
		beside = NONE;
		result = 0;
		goto end_idle
	}
}

/* ---- the child, and the unguarded ---- */

#define child_holds holds(CHILD)
#if defined(FORK_SOCKET) && defined(FORK_MUTEX)
#define worth_forking(i) (holds(i) || any_fd(i))
#elif defined(FORK_SOCKET)
#define worth_forking(i) holds(i)
#else
#define worth_forking(i) any_fd(i)
#endif

#ifdef EXEC
#define may_fork(i) (sock[i] == NONE || elock[i] == NONE || eino[i] != NONE) /* not as it loads */
#elif defined(SAME_TICK) && !defined(LIMIT_BIND_FORK)
#define may_fork(i) (sock[i] == NONE || (eino[i] == sock[i] && !carries[i]))
#else
#define may_fork(i) true
#endif

inline copy_mutex(i, k)
{
	if
	:: FD(i, k) != NONE ->
		copy[k] = SHARED;
		copied[k] = FD(i, k);
		copy_noted[k] = NOTED(i, k);
		copy_claims[k] = carries[i] && elock[i] == FD(i, k);
		parent = i
	:: else
	fi
}

inline fork(i)
{
#ifdef FORK_SOCKET
	sock[CHILD] = sock[i];
	eino[CHILD] = eino[i];
	ecookie[CHILD] = ecookie[i];
	/* Of a claim that is not given back yet lockfile_forked closes the copy. */
	if :: !carries[i] -> elock[CHILD] = elock[i] :: else -> drop_claim(CHILD) fi;
	mine[CHILD] = mine[i];
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
	unlink_socket(k)
}

inline unguarded_rm_lock(k)
{
	unlink_lock(k);
	give_up(k) /* the claims are gone */
}

#ifdef LIMIT_RM_HELD
#define may_rm_lock(k) (lname[k] != NONE)
#else
#define may_rm_lock(k) (lname[k] != NONE && !mutex_held(lname[k]))
#endif

/* lockfile_forked is about to run where it has not. */
#if defined(FORK_MUTEX) && !defined(WITHOUT_FORKED)
#define settled (!any_copy_noted)
#else
#define settled true
#endif

proctype world()
{
	byte i;

end_world:
	do
	:: false
#ifdef RM
	:: atomic { !alone && name[P] != NONE -> unguarded_rm(P) }
#if PATHS == 2
	:: atomic { !alone && name[T] != NONE -> unguarded_rm(T) }
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
#ifndef WITHOUT_FORKED
	/* pthread_atfork: lockfile_forked. Soon after the fork, but not at once. */
	:: atomic {
		any_copy_noted ->
		if :: copy_noted[P] -> drop_copy(P) :: else fi;
#if PATHS == 2
		if :: copy_noted[T] -> drop_copy(T) :: else fi;
#endif
		forget_records()
	}
#endif
	:: atomic { !alone && sock[CHILD] != NONE -> close_socket(CHILD); forget_records() }
	:: atomic {
		!alone && (child_holds || any_copy) ->
		close_socket(CHILD);
		eino[CHILD] = NONE;
		ecookie[CHILD] = NONE;
		drop_claim(CHILD);
		mine[CHILD] = 0;
		drop_copy(P);
#if PATHS == 2
		drop_copy(T);
#endif
		parent = 0;
		forget_records()
	}
#endif

#ifdef ACTIVE_CHILD
	/* A child that makes guarded calls itself, as the other process. */
	:: atomic {
		!alone && ((!busy[0] && !holds(0) && holds(1) && may_fork(1)) ||
			(!busy[1] && !holds(1) && holds(0) && may_fork(0))) ->
		i = (!busy[0] && !holds(0) -> 0 : 1);
		sock[i] = sock[1 - i];
		eino[i] = eino[1 - i];
		ecookie[i] = ecookie[1 - i];
		if :: !carries[1 - i] -> elock[i] = elock[1 - i] :: else -> drop_claim(i) fi;
		mine[i] = mine[1 - i];
		i = 0
	}
#endif

#ifdef PROGRESS
	:: atomic {
		!alone && !busy[0] && !busy[1] && nobody_keeps && settled &&
			(sock[0] == NONE || sock[1] == NONE) ->
		if
		:: sock[0] == NONE -> lone = 1
		:: sock[1] == NONE -> lone = 2
		fi
	}
#endif
	od
}

init {
	atomic {
		run guarded(0);
		run guarded(1);
		run world()
	}
}
