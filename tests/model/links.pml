/*
 * Several names of one socket, for Spin: links of src/core/guard.c, and what the table of
 * src/core/owned.c proves about them. tests/model/run checks it. sockguard.pml models the mutex and
 * the claim of a single name.
 *
 * A call holds the mutexes of its names, so its lookup and the action after it are one block. Here a
 * mutex belongs to a name, because sockguard.pml shows that the lock file beside a name implements it.
 *
 * Actors
 *   One socket, and three names that may lead to it: p, x and y, each with a lock file or none.
 *   The owner: a guarded process that bound the socket to p and keeps it open. It makes no calls.
 *   The second process: a guarded process that has no descriptor for the socket. It calls unlink(a),
 *     link(a, b) and rename(a, b) on the three names in any order.
 *   Both programs may close the descriptor of a claim at any instant, even of the last one.
 *   Unguarded processes: rm of a name at any instant.
 *
 * An entry of a process's table consists of a lock file, the state of the claim on it, the cookie in
 * the record, and whether the socket is foreign (another process's). The inode is the same in all
 * entries. If the table is full, a name is not recorded.
 *
 * Properties
 *   The second process never unlinks or renames the name that the owner bound. If an unguarded rm has
 *   removed p, and the second process links p to the socket, then p belongs to the second process.
 *
 * Left out: calls by the owner, bind, names of other sockets (so rename never replaces a name), a
 * socket that is closed, forks, exec, lock files that cannot be created or are not trusted, and
 * borrowed mutexes.
 *
 * Switches
 *   DEATHS   the second process may be killed during a call, and is started again
 *   RM_LOCK  the unguarded rm of a lock file while no call holds its mutex
 * Mutations, each of which has a counterexample
 *   WITHOUT_NAME_ONLY  a process that links a name from one that it owns also owns the socket
 *   WITHOUT_FOREIGN    a process that links a name from any name of the socket also owns the socket
 *   WITHOUT_CLAIM      after its claim is lost, a process still owns the names that it linked
 */

#define OWNER  0
#define SECOND 1

#define P 0
#define X 1
#define Y 2
#define NOWHERE 3 /* unlink has one name */

#define FILES 7 /* an assertion fails if they do not suffice */
#define ENTRIES 2 /* of each process's table */
#define NONE 0

/* ---- the file system ---- */

bool leads_to_socket[4]; /* the name exists */
byte lockfile_at[4];     /* the lock file beside it */
bool mutex_held[4];      /* the mutex of the name */
byte record[FILES + 1];
#define NO_RECORD 0
#define UNKNOWN   1 /* with cookie 0: its writer does not own the socket */
#define SOCKET    2 /* with the socket's cookie */
bool record_leaving[FILES + 1]; /* the record says that the owner is removing the name */

/* ---- the tables, the owner's entries first ---- */

byte entry_state[2 * ENTRIES];
#define UNUSED       0
#define CLAIMED      1 /* the descriptor is a claim on the file, removed or not */
#define CLAIM_LOST   2 /* the program closed the descriptor, or there never was one */
#define CLAIM_CLOSED 3 /* as in owned.c: the guard closed it, because the file was removed */
byte entry_file[2 * ENTRIES];
bool entry_foreign[2 * ENTRIES];
byte entry_cookie[2 * ENTRIES]; /* UNKNOWN or SOCKET */

/* ---- for the property only ---- */

bool is_bound_path[4]; /* it is the name that the owner bound */

byte tmp; /* within an atomic block only, 0 between */
byte it;

#define claims(e, f) (entry_state[e] == CLAIMED && entry_file[e] == (f))
#define claims_of(i, f) (claims((i) * ENTRIES, f) || claims((i) * ENTRIES + 1, f))
#define table_is_full(i) (entry_state[(i) * ENTRIES] != UNUSED && \
	entry_state[(i) * ENTRIES + 1] != UNUSED)

/* lockfile_is_claimed. NONE is no lock file, so no process claims it. */
#define is_claimed(f) ((f) != NONE && (claims_of(OWNER, f) || claims_of(SECOND, f)))
#define is_named(f) (lockfile_at[P] == (f) || lockfile_at[X] == (f) || lockfile_at[Y] == (f))

/* owned.c, claim_may_be_ours */
#define claim_may_be_ours(e, f) (!is_claimed(f) || entry_cookie[e] == UNKNOWN || \
	record[f] == NO_RECORD || record[f] == entry_cookie[e])

/* owned.c, owned_by_entry: OWNED_SOCKET, or OWNED_PATH for a name of a foreign socket. */
#define claim_is_beside(e, n) (claims(e, lockfile_at[n]) && lockfile_at[n] != NONE)
#ifdef WITHOUT_CLAIM
#define inode_may_prove(e) true
#else
#define inode_may_prove(e) (!entry_foreign[e])
#endif
#define entry_proves_without_claim(e, n) ( \
	(entry_state[e] == CLAIM_LOST && inode_may_prove(e) && \
		claim_may_be_ours(e, lockfile_at[n])) || \
	((entry_state[e] == CLAIM_CLOSED || \
		(entry_state[e] == CLAIMED && entry_file[e] != lockfile_at[n])) && \
		!entry_foreign[e] && !is_claimed(lockfile_at[n])))
#define entry_proves_path(e, n) (claim_is_beside(e, n) || entry_proves_without_claim(e, n))
#define entry_proves_socket(e, n) ((claim_is_beside(e, n) && !entry_foreign[e]) || \
	entry_proves_without_claim(e, n))

/* owned.c, owned_check: the process owns the name n; or the socket, and so every name of it. */
#define owns_path(i, n) (entry_proves_path((i) * ENTRIES, n) || \
	entry_proves_path((i) * ENTRIES + 1, n))
#define owns_socket(i, n) (entry_proves_socket((i) * ENTRIES, n) || \
	entry_proves_socket((i) * ENTRIES + 1, n))

/* judge.c, judge_absent_is_claimed: the socket in a record always exists here. */
#define judge_absent_is_claimed(i, n) (is_claimed(lockfile_at[n]) && \
	!claims_of(i, lockfile_at[n]) && \
	(record[lockfile_at[n]] == NO_RECORD || !record_leaving[lockfile_at[n]]))

/* ---- what happens ---- */

/* Clears variables that can no longer matter, so that equivalent states are stored once. */
inline forget_file(f)
{
	if
	:: (f) != NONE && !is_named(f) && !is_claimed(f) ->
		record[f] = NO_RECORD;
		record_leaving[f] = false
	:: else
	fi
}

inline clear_entry(e)
{
	tmp = entry_file[e];
	entry_state[e] = UNUSED;
	entry_file[e] = NONE;
	entry_foreign[e] = false;
	entry_cookie[e] = 0;
	forget_file(tmp);
	tmp = NONE
}

/* owned.c, close_void_claims; or the program closes the claim. Then the entry needs no file. */
inline change_claim(e, s)
{
	d_step {
		tmp = entry_file[e];
		entry_state[e] = s;
		entry_file[e] = NONE;
		forget_file(tmp);
		tmp = NONE
	}
}

inline new_lockfile(n)
{
	d_step {
		it = 1;
		do
		:: it <= FILES && (is_named(it) || is_claimed(it)) -> it++
		:: else -> break
		od;
		assert(it <= FILES);
		lockfile_at[n] = it;
		it = 0
	}
}

inline remove_lockfile(n)
{
	d_step {
		tmp = lockfile_at[n];
		lockfile_at[n] = NONE;
		forget_file(tmp);
		tmp = NONE
	}
}

/* lockfile.c, lockfile_mark_leaving */
inline mark_leaving(n, value)
{
	if
	:: lockfile_at[n] != NONE && record[lockfile_at[n]] != NO_RECORD ->
		record_leaving[lockfile_at[n]] = value
	:: else
	fi
}

/* owned.c, owned_add. Without a lock file there is no claim. */
inline add_entry(i, f, is_foreign, of_socket)
{
	d_step {
		if
		:: table_is_full(i) -> forget_file(f)
		:: else ->
			it = (i) * ENTRIES;
			do
			:: entry_state[it] != UNUSED -> it++
			:: else -> break
			od;
			entry_state[it] = ((f) != NONE -> CLAIMED : CLAIM_LOST);
			entry_file[it] = f;
			entry_foreign[it] = is_foreign;
			entry_cookie[it] = of_socket;
			it = 0
		fi
	}
}

/* owned.c, owned_remove: the entries whose claim is lost or void, and those of this lock file */
inline remove_entries(i, f)
{
	d_step {
		it = (i) * ENTRIES;
		do
		:: it < (i) * ENTRIES + ENTRIES ->
			if
			:: entry_state[it] != UNUSED && (entry_state[it] != CLAIMED || entry_file[it] == (f) ||
				!is_named(entry_file[it])) -> clear_entry(it)
			:: else
			fi;
			it++
		:: else -> break
		od;
		it = 0
	}
}

inline pick_name(n)
{
	if
	:: n = P
	:: n = X
	:: n = Y
	fi
}

inline acquire_mutexes(a, b)
{
	mutex_held[a] = true;
	if :: lockfile_at[a] == NONE -> new_lockfile(a) :: else fi;
	if
	:: b != NOWHERE ->
		mutex_held[b] = true;
		if :: lockfile_at[b] == NONE -> new_lockfile(b) :: else fi
	:: else
	fi
}

/* lockfile.c, lockfile_release: unlinks an unclaimed file */
inline release_mutex(n)
{
	if
	:: n != NOWHERE ->
		if :: !is_claimed(lockfile_at[n]) -> remove_lockfile(n) :: else fi;
		mutex_held[n] = false
	:: else
	fi
}

#ifdef DEATHS
#define OR_DIE :: atomic { goto dead }
#else
#define OR_DIE
#endif

/* A link or rename of an existing name to an absent one, whose mutexes are free. */
#define may_use_both(from, to) (leads_to_socket[from] && !leads_to_socket[to] && (from) != (to) && \
	!mutex_held[from] && !mutex_held[to])

proctype guarded(byte i)
{
	byte a = NOWHERE, b = NOWHERE;
	byte was; /* within an atomic block only */

end_idle:
	atomic {
		pick_name(a);
		if
		:: !mutex_held[a] && leads_to_socket[a] -> acquire_mutexes(a, NOWHERE); goto unlink
		:: may_use_both(P, a) -> b = a; a = P; goto two_names
		:: may_use_both(X, a) -> b = a; a = X; goto two_names
		:: may_use_both(Y, a) -> b = a; a = Y; goto two_names
		:: else -> a = NOWHERE; goto end_idle
		fi;
two_names:
		acquire_mutexes(a, b);
		if
		:: judge_absent_is_claimed(i, b) -> goto release
		:: !judge_absent_is_claimed(i, b) -> goto link
		:: !judge_absent_is_claimed(i, b) && owns_path(i, a) -> goto rename
		:: else -> goto release
		fi;

		/* ---- unlink: judge, lockfile_mark_leaving, unlinkat ---- */

unlink:
		if
		:: !owns_path(i, a) -> goto release
		:: owns_path(i, a)
		fi;
		mark_leaving(a, true);
		assert(!is_bound_path[a]);
		leads_to_socket[a] = false;
		is_bound_path[a] = false
	}
	if
	:: atomic { /* lockfile_unlink, owned_remove */
		was = lockfile_at[a];
		remove_lockfile(a);
		remove_entries(i, was);
		was = NONE;
		goto release
	}
	OR_DIE
	fi;

	/* ---- rename to an absent name: judge, lockfile_mark_leaving, renameat2 ---- */

rename:
	atomic {
		mark_leaving(a, true);
		mark_leaving(b, true);
		assert(!is_bound_path[a]);
		leads_to_socket[b] = true;
		leads_to_socket[a] = false;
		is_bound_path[b] = is_bound_path[a];
		is_bound_path[a] = false
	}
	if
	:: atomic { /* move_lockfiles */
		remove_lockfile(b);
		if
		:: is_claimed(lockfile_at[a]) ->
			lockfile_at[b] = lockfile_at[a];
			lockfile_at[a] = NONE;
			mark_leaving(b, false)
		:: else -> remove_lockfile(a)
		fi;
		goto release
	}
	OR_DIE
	fi;

	/* ---- link: linkat ---- */

link:
	atomic {
		leads_to_socket[b] = true;
		is_bound_path[b] = false
	}
	if
	:: atomic { /* claim_linked */
		if
		:: !leads_to_socket[b] -> goto release
		:: else
		fi;
#ifdef WITHOUT_FOREIGN
		tmp = true;
#elif defined(WITHOUT_NAME_ONLY)
		tmp = owns_path(i, a);
#else
		tmp = owns_socket(i, a);
#endif
		if
		:: tmp && record[lockfile_at[a]] != NO_RECORD ->
			record[lockfile_at[b]] = record[lockfile_at[a]];
			record_leaving[lockfile_at[b]] = record_leaving[lockfile_at[a]]
		:: else ->
			record[lockfile_at[b]] = UNKNOWN;
			record_leaving[lockfile_at[b]] = false
		fi;
		add_entry(i, lockfile_at[b], !tmp, record[lockfile_at[b]]);
		tmp = NONE;
		goto release
	}
	OR_DIE
	fi;

release:
	atomic {
		release_mutex(a);
		release_mutex(b);
		a = NOWHERE;
		b = NOWHERE;
		goto end_idle
	}

dead: /* its claims end; a new process begins */
	atomic {
		mutex_held[a] = false;
		mutex_held[b] = false;
		a = NOWHERE;
		b = NOWHERE;
		it = SECOND * ENTRIES;
		do
		:: it < SECOND * ENTRIES + ENTRIES -> clear_entry(it); it++
		:: else -> break
		od;
		it = 0;
		goto end_idle
	}
}

#define PROGRAM_CLOSES_CLAIM(e) :: atomic { \
	entry_state[e] == CLAIMED -> change_claim(e, CLAIM_LOST) }
#define VOID_CLAIM_IS_CLOSED(e) :: atomic { \
	entry_state[e] == CLAIMED && !is_named(entry_file[e]) -> change_claim(e, CLAIM_CLOSED) }
#ifdef RM_LOCK
#define LOCKFILE_MAY_BE_REMOVED(n) :: atomic { \
	!mutex_held[n] && lockfile_at[n] != NONE -> remove_lockfile(n) }
#else
#define LOCKFILE_MAY_BE_REMOVED(n)
#endif
#define NAME_MAY_BE_REMOVED(n) \
	:: atomic { leads_to_socket[n] -> leads_to_socket[n] = false; is_bound_path[n] = false } \
	LOCKFILE_MAY_BE_REMOVED(n)

proctype environment()
{
end_environment:
	do
	PROGRAM_CLOSES_CLAIM(0)
	PROGRAM_CLOSES_CLAIM(1)
	PROGRAM_CLOSES_CLAIM(2)
	PROGRAM_CLOSES_CLAIM(3)
	VOID_CLAIM_IS_CLOSED(0)
	VOID_CLAIM_IS_CLOSED(1)
	VOID_CLAIM_IS_CLOSED(2)
	VOID_CLAIM_IS_CLOSED(3)
	NAME_MAY_BE_REMOVED(P)
	NAME_MAY_BE_REMOVED(X)
	NAME_MAY_BE_REMOVED(Y)
	od
}

init {
	atomic {
		leads_to_socket[P] = true; /* bind by the owner */
		is_bound_path[P] = true;
		new_lockfile(P);
		record[lockfile_at[P]] = SOCKET;
		add_entry(OWNER, lockfile_at[P], false, SOCKET);
		run guarded(SECOND);
		run environment()
	}
}
