/*
 * Several names of one socket, for Spin: links of src/core/guard.c, and what the table of
 * src/core/owned.c proves about them. tests/model/run checks it; sockguard.pml has the mutex and the
 * claim of a single name.
 *
 * A call holds the mutexes of its names, so its look and the act after it are one block. The mutex is
 * the name's here; that its lock file is one, sockguard.pml shows.
 *
 * What there is
 *   One socket, and three names that may lead to it: p, x and y, each with its lock file or none.
 *   The owner, a guarded process that bound the socket at p and keeps it open.
 *   The second, another guarded process, without a descriptor of the socket. It calls unlink(a),
 *     link(a, b) and rename(a, b) on the three names in any order.
 *   Claims: a program may close the descriptor of any of its claims at any instant. An owner that
 *     closes all but its listener has none left.
 *   The world, unguarded: rm of a name at any instant.
 *
 * An entry of a process's table is a lock file, what became of the claim on it, the cookie of the
 * record, and whether the socket is foreign. The inode is the same in all of them. An entry that
 * finds no room is forgotten.
 *
 * What is checked
 *   No unlink and no rename by the second process takes the name that the owner bound. If an
 *   unguarded rm has removed p, and the second process links the socket to p, that is its own name.
 *
 * Left out: calls by the owner, bind, names of other sockets (so rename never replaces a name), a socket that is closed,
 * forks, exec, lock files that cannot be created or are not trusted, and borrowed mutexes.
 *
 * Switches
 *   DEATHS   the second process may be killed amid a call, and starts anew
 *   RM_LOCK  the unguarded rm of a lock file while no call holds its mutex
 * Mutations, each of which has a counterexample
 *   WITHOUT_NAME_ONLY  a link made from a claimed name of a foreign socket makes that socket one's own
 *   WITHOUT_FOREIGN    so does every link
 *   WITHOUT_CLAIM      a name given to a foreign socket is proved by the inode once its claim is lost
 */

#define OWNER  0
#define SECOND 1

#define P 0
#define X 1
#define Y 2
#define NOWHERE 3 /* unlink has one name */

#define FILES 7 /* an assertion tells should they not suffice */
#define ENTRIES 2 /* of each process's table */
#define NONE 0

/* ---- the file system ---- */

bool there[4];       /* the name leads to the socket */
byte lockfile[4];    /* beside it */
bool mutex[4];       /* of the name */
byte record[FILES + 1];
#define NO_RECORD 0
#define UNKNOWN   1 /* with cookie 0: its writer does not own the socket */
#define SOCKET    2 /* with the socket's cookie */
bool left[FILES + 1]; /* the record says so */

/* ---- the tables, the owner's entries first ---- */

byte state[2 * ENTRIES];
#define FREE    0
#define CLAIM   1 /* the descriptor is a claim on the file, removed or not */
#define LOST    2 /* it is not, or there never was one */
#define GIVEN_UP 3 /* VOID in owned.c: the file was removed */
byte file[2 * ENTRIES];
bool foreign[2 * ENTRIES];
byte cookie[2 * ENTRIES]; /* UNKNOWN or SOCKET */

/* ---- for the property only ---- */

bool owners[4]; /* the name is the one that the owner bound */

byte tmp; /* within an atomic block only, 0 between */
byte it;

#define claims(e, f) (state[e] == CLAIM && file[e] == (f))
#define claims_of(i, f) (claims((i) * ENTRIES, f) || claims((i) * ENTRIES + 1, f))
#define is_full(i) (state[(i) * ENTRIES] != FREE && state[(i) * ENTRIES + 1] != FREE)
#define proved(i, n, what) (proves((i) * ENTRIES, n, what) || proves((i) * ENTRIES + 1, n, what))

/* lockfile_claimed. No lock file is claimed by nobody. */
#define is_claimed(f) ((f) != NONE && (claims_of(OWNER, f) || claims_of(SECOND, f)))
#define is_named(f) (lockfile[P] == (f) || lockfile[X] == (f) || lockfile[Y] == (f))

/* owned.c, claimed_for_us */
#define claimed_for_us(e, f) (!is_claimed(f) || cookie[e] == UNKNOWN || record[f] == NO_RECORD || \
	record[f] == cookie[e])

/* owned.c, proves: at least the name, or the socket as well */
#define NAME true
#define ALL  false
#ifdef WITHOUT_CLAIM
#define by_inode(e) true
#else
#define by_inode(e) (!foreign[e])
#endif
#define proves(e, n, what) ( \
	(state[e] == LOST && by_inode(e) && claimed_for_us(e, lockfile[n])) || \
	(claims(e, lockfile[n]) && lockfile[n] != NONE && (what || !foreign[e])) || \
	((state[e] == GIVEN_UP || (state[e] == CLAIM && file[e] != lockfile[n])) && !foreign[e] && \
		!is_claimed(lockfile[n])))

/* judge.c, judge_absent_claimed: the socket that a record names is there */
#define absent_claimed(i, n) (is_claimed(lockfile[n]) && !claims_of(i, lockfile[n]) && \
	(record[lockfile[n]] == NO_RECORD || !left[lockfile[n]]))

/* ---- what happens ---- */

/* The same state of affairs must not come in many guises. */
inline forget_file(f)
{
	if
	:: (f) != NONE && !is_named(f) && !is_claimed(f) -> record[f] = NO_RECORD; left[f] = false
	:: else
	fi
}

inline clear_entry(e)
{
	tmp = file[e];
	state[e] = FREE;
	file[e] = NONE;
	foreign[e] = false;
	cookie[e] = 0;
	forget_file(tmp);
	tmp = NONE
}

/* owned.c, sweep, and that a claim is closed by the program: its file's number means nothing then */
inline change_claim(e, s)
{
	d_step {
		tmp = file[e];
		state[e] = s;
		file[e] = NONE;
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
		lockfile[n] = it;
		it = 0
	}
}

inline remove_lockfile(n)
{
	d_step {
		tmp = lockfile[n];
		lockfile[n] = NONE;
		forget_file(tmp);
		tmp = NONE
	}
}

/* lockfile.c, lockfile_note_left */
inline note_left(n, value)
{
	if
	:: lockfile[n] != NONE && record[lockfile[n]] != NO_RECORD -> left[lockfile[n]] = value
	:: else
	fi
}

/* owned.c, owned_note. A claim on no file is LOST. */
inline note(i, f, is_foreign, of_socket)
{
	d_step {
		if
		:: is_full(i) -> forget_file(f)
		:: else ->
			it = (i) * ENTRIES;
			do
			:: state[it] != FREE -> it++
			:: else -> break
			od;
			state[it] = ((f) != NONE -> CLAIM : LOST);
			file[it] = f;
			foreign[it] = is_foreign;
			cookie[it] = of_socket;
			it = 0
		fi
	}
}

/* owned.c, owned_forget: the entries whose claim is lost or void, and those of this lock file */
inline forget(i, f)
{
	d_step {
		it = (i) * ENTRIES;
		do
		:: it < (i) * ENTRIES + ENTRIES ->
			if
			:: state[it] != FREE && (state[it] != CLAIM || file[it] == (f) ||
				!is_named(file[it])) -> clear_entry(it)
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

inline take_mutexes(a, b)
{
	mutex[a] = true;
	if :: lockfile[a] == NONE -> new_lockfile(a) :: else fi;
	if
	:: b != NOWHERE ->
		mutex[b] = true;
		if :: lockfile[b] == NONE -> new_lockfile(b) :: else fi
	:: else
	fi
}

/* lockfile.c, lockfile_leave: a file that nobody claims goes */
inline leave(n)
{
	if
	:: n != NOWHERE ->
		if :: !is_claimed(lockfile[n]) -> remove_lockfile(n) :: else fi;
		mutex[n] = false
	:: else
	fi
}

#ifdef DEATHS
#define OR_DIE :: atomic { goto dead }
#else
#define OR_DIE
#endif

proctype guarded(byte i)
{
	byte a = NOWHERE, b = NOWHERE;
	byte was; /* within an atomic block only */

end_idle:
	atomic {
		pick_name(a);
		if
		:: !mutex[a] && there[a] -> take_mutexes(a, NOWHERE); goto unlink
		:: there[P] && a != P && !mutex[a] && !mutex[P] && !there[a] -> b = a; a = P; goto two_names
		:: there[X] && a != X && !mutex[a] && !mutex[X] && !there[a] -> b = a; a = X; goto two_names
		:: there[Y] && a != Y && !mutex[a] && !mutex[Y] && !there[a] -> b = a; a = Y; goto two_names
		:: else -> a = NOWHERE; goto end_idle
		fi;
two_names:
		take_mutexes(a, b);
		if
		:: absent_claimed(i, b) -> goto leave_names
		:: !absent_claimed(i, b) -> goto link
		:: !absent_claimed(i, b) && proved(i, a, NAME) -> goto rename
		:: else -> goto leave_names
		fi;

		/* ---- unlink: judge, lockfile_note_left, unlinkat ---- */

unlink:
		if
		:: !proved(i, a, NAME) -> goto leave_names
		:: proved(i, a, NAME)
		fi;
		note_left(a, true);
		assert(!owners[a]);
		there[a] = false;
		owners[a] = false
	}
	if
	:: atomic { /* lockfile_remove, owned_forget */
		was = lockfile[a];
		remove_lockfile(a);
		forget(i, was);
		was = NONE;
		goto leave_names
	}
	OR_DIE
	fi;

	/* ---- rename to an absent name: judge, lockfile_note_left, renameat2 ---- */

rename:
	atomic {
		note_left(a, true);
		note_left(b, true);
		assert(!owners[a]);
		there[b] = true;
		there[a] = false;
		owners[b] = owners[a];
		owners[a] = false
	}
	if
	:: atomic { /* settle_renamed */
		remove_lockfile(b);
		if
		:: is_claimed(lockfile[a]) ->
			lockfile[b] = lockfile[a];
			lockfile[a] = NONE;
			note_left(b, false)
		:: else -> remove_lockfile(a)
		fi;
		goto leave_names
	}
	OR_DIE
	fi;

	/* ---- link: linkat ---- */

link:
	atomic {
		there[b] = true;
		owners[b] = false
	}
	if
	:: atomic { /* note_linked */
		if
		:: !there[b] -> goto leave_names
		:: else
		fi;
#ifdef WITHOUT_FOREIGN
		tmp = true;
#elif defined(WITHOUT_NAME_ONLY)
		tmp = proved(i, a, NAME);
#else
		tmp = proved(i, a, ALL);
#endif
		if
		:: tmp && record[lockfile[a]] != NO_RECORD ->
			record[lockfile[b]] = record[lockfile[a]];
			left[lockfile[b]] = left[lockfile[a]]
		:: else ->
			record[lockfile[b]] = UNKNOWN;
			left[lockfile[b]] = false
		fi;
		note(i, lockfile[b], !tmp, record[lockfile[b]]);
		tmp = NONE;
		goto leave_names
	}
	OR_DIE
	fi;

leave_names:
	atomic {
		leave(a);
		leave(b);
		a = NOWHERE;
		b = NOWHERE;
		goto end_idle
	}

dead: /* and its claims with it; a new one begins */
	atomic {
		mutex[a] = false;
		mutex[b] = false;
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

#define LOSES_CLAIM(e) :: atomic { state[e] == CLAIM -> change_claim(e, LOST) }
#define SWEEPS(e) :: atomic { state[e] == CLAIM && !is_named(file[e]) -> change_claim(e, GIVEN_UP) }
#ifdef RM_LOCK
#define LOCKFILE_IS_REMOVED(n) :: atomic { !mutex[n] && lockfile[n] != NONE -> remove_lockfile(n) }
#else
#define LOCKFILE_IS_REMOVED(n)
#endif
#define IS_REMOVED(n) \
	:: atomic { there[n] -> there[n] = false; owners[n] = false } \
	LOCKFILE_IS_REMOVED(n)

proctype world()
{
end_world:
	do
	LOSES_CLAIM(0)
	LOSES_CLAIM(1)
	LOSES_CLAIM(2)
	LOSES_CLAIM(3)
	SWEEPS(0)
	SWEEPS(1)
	SWEEPS(2)
	SWEEPS(3)
	IS_REMOVED(P)
	IS_REMOVED(X)
	IS_REMOVED(Y)
	od
}

init {
	atomic {
		there[P] = true; /* bind by the owner */
		owners[P] = true;
		new_lockfile(P);
		record[lockfile[P]] = SOCKET;
		note(OWNER, lockfile[P], false, SOCKET);
		run guarded(SECOND);
		run world()
	}
}
