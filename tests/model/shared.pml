/*
 * The lock files of one socket path in a directory where strangers may create names, for Spin: the
 * mutex of src/core/lockfile.c there. tests/model/run checks it; sockguard.pml has what is done
 * under the mutex, and directories where no stranger gets in the way.
 *
 * Each labelled block is a system call of the code. Before each of them the process may be
 * killed, and between any two others may come in. A comparison under a lock is one block with the
 * call after it: while the protocol is sound, nobody changes what was compared.
 *
 * What there is
 *   PROCS guarded processes of one user, each of which takes the mutex of the path again and again.
 *     While it has it, it may claim the file (bind), remove it claimed or not (unlink, a stale name),
 *     or do neither. A claim ends at any time. One claim for a process; it may outlive the process,
 *     as those of forks do.
 *   Index 0: the name .NAME.sockguard. It leads nowhere, to a file of ours, or to a stranger's.
 *   Alternates: names with a random part, which are never used again. An alternate's name is the
 *     number of its file: no file is made with a number that somebody has read in a listing.
 *   A stranger: creates a file at index 0 when that is free, and removes it, at any instant. Files
 *     of his at other names do not matter: who looks at one sees whose it is.
 *
 * A listing takes a while: the names that are there from its beginning to its end are in it; those
 * created or removed meanwhile may be or not. Whose the files are is looked at meanwhile, too.
 *
 * What is checked
 *   Safety: one process has the mutex at most. No two claimed files have a name at once.
 *   Progress: from every state in which no process is at work, one alone gets the mutex, whatever
 *     the stranger does meanwhile. It never starts over, and lists the directory once more for each
 *     file that was left. After it, every file that has a name is claimed.
 *
 * Left out: forks that hold a mutex (sockguard.pml), renames, and calls that fail for want of
 * something. To wait for the mutex is to start over. If two processes keep getting in each other's
 * way, chance decides which of them gets the mutex; this is not checked.
 *
 * Switches
 *   PROCS=3     three processes; else two
 *   DEATHS      a process may be killed before each step
 *   CLAIMS      files are claimed
 *   JOIN        a process may claim a file without the mutex, as after exec: any that has a record
 *   PROGRESS    lone starts; without it only safety is checked
 * Mutations, each of which has a counterexample
 *   WITHOUT_SECOND_LISTING  the file that is locked is the mutex
 *   WITHOUT_INDEX_0         in the second listing index 0 is passed over
 *   WITHOUT_NAME_CHECK      whether the name still leads to the file locked does not matter
 *   WITHOUT_OTHER_CHECK     nor so for the other files found
 *   WITHOUT_OTHER_LOCK      other files are removed without their locks
 *   WITHOUT_ORDER           the file is unlocked first, and removed after
 *   WITHOUT_CLAIMED_FIRST   of two files the claimed one is removed
 *   WITHOUT_REMOVAL         an unclaimed file found beside the own is let be
 */

#ifndef PROCS
#define PROCS 2
#endif
#ifndef FILES
#define FILES 5 /* an assertion tells should they not suffice */
#endif

#define NONE 0
#define PLANTED 15 /* the stranger's file */
#define INDEX_0 0  /* as a name; an alternate's is its file's number */

/* ---- the file system ---- */

byte zero;          /* what index 0 leads to */
byte alternates;    /* bit set of files that have their alternate name */
byte made_at_zero;  /* bit set of files that were created at index 0 */
byte recorded;      /* bit set of files with a record */

/* ---- processes ---- */

byte fd[PROCS];       /* the file it has open, and will have the mutex by */
bool locked[PROCS];
byte other[PROCS];    /* another, that it found in the second listing */
bool other_locked[PROCS];
byte claim[PROCS];    /* the file it claims */
bool listing[PROCS];
byte found[PROCS];    /* bit set of names: of the listing, as far as it has got */
byte pick[PROCS];     /* the one it deals with */
#define NOTHING 14
bool inside[PROCS];   /* it has the mutex */
bool busy[PROCS];

/* ---- for the properties only ---- */

byte lone;    /* 1 + the process that takes the mutex alone */
byte lone_listings; /* so often has it listed the directory a second time */
#define alone (lone != 0)

byte tmp; /* within an atomic block only, 0 between */
byte it;

#define bit_of(x) (1 << (x))
#define has(set, x) (((set) & bit_of(x)) != 0)

#if PROCS == 3
#define any(what) (what(0) || what(1) || what(2))
#define others_inside(i) (inside[((i) + 1) % 3] || inside[((i) + 2) % 3])
#define nobody_busy (!busy[0] && !busy[1] && !busy[2])
#define is_claimed(f) (claim[0] == (f) || claim[1] == (f) || claim[2] == (f))
#define is_open(f) (fd[0] == (f) || fd[1] == (f) || fd[2] == (f) || other[0] == (f) || \
	other[1] == (f) || other[2] == (f))
#define is_remembered(f) (has(found[0] | found[1] | found[2], f) || pick[0] == (f) || \
	pick[1] == (f) || pick[2] == (f))
#define lock_held_by(j, f) ((fd[j] == (f) && locked[j]) || (other[j] == (f) && other_locked[j]))
#define lock_held(f) (lock_held_by(0, f) || lock_held_by(1, f) || lock_held_by(2, f))
#else
#define others_inside(i) inside[1 - (i)]
#define nobody_busy (!busy[0] && !busy[1])
#define is_claimed(f) (claim[0] == (f) || claim[1] == (f))
#define is_open(f) (fd[0] == (f) || fd[1] == (f) || other[0] == (f) || other[1] == (f))
#define is_remembered(f) (has(found[0] | found[1], f) || pick[0] == (f) || pick[1] == (f))
#define lock_held_by(j, f) ((fd[j] == (f) && locked[j]) || (other[j] == (f) && other_locked[j]))
#define lock_held(f) (lock_held_by(0, f) || lock_held_by(1, f))
#endif

#define is_ours(f) ((f) != NONE && (f) != PLANTED)
#define is_named(f) (zero == (f) || has(alternates, f))
#define is_free(f) (!is_named(f) && !is_open(f) && !is_claimed(f) && !is_remembered(f))

/* The name a file was created at. */
#define name_of(f) (has(made_at_zero, f) -> INDEX_0 : (f))
/* The accepted file that a name leads to. */
#define file_at(n) ((n) == INDEX_0 -> (is_ours(zero) -> zero : NONE) : \
	(has(alternates, n) -> (n) : NONE))
#define names_there (alternates | (is_ours(zero) -> bit_of(INDEX_0) : 0))

/* The only claimed file that has a name. */
#define claims_elsewhere(j, f) (claim[j] != NONE && claim[j] != (f) && is_named(claim[j]))
#if PROCS == 3
#define only_claimed(f) (!claims_elsewhere(0, f) && !claims_elsewhere(1, f) && \
	!claims_elsewhere(2, f))
#else
#define only_claimed(f) (!claims_elsewhere(0, f) && !claims_elsewhere(1, f))
#endif

/* Every file of ours that has a name is claimed. */
#define is_litter(f) (is_named(f) && !is_claimed(f))
#define no_litter (!is_litter(1) && !is_litter(2) && !is_litter(3) && !is_litter(4) && \
	!is_litter(5))

/* ---- what happens ---- */

/*
 * To the listings under way: a name that comes or goes meanwhile is in them or not. An alternate
 * that is gone might as well not have been in it, since it is not found again.
 */
inline noticed_by(j, n)
{
	if
	:: n != INDEX_0 && !has(alternates, n) -> found[j] = found[j] & ~bit_of(n)
	:: else ->
		if
		:: listing[j] -> found[j] = found[j] | bit_of(n)
		:: listing[j] -> found[j] = found[j] & ~bit_of(n)
		:: !listing[j]
		fi
	fi
}

inline noticed(n)
{
	noticed_by(0, n);
	noticed_by(1, n);
#if PROCS == 3
	noticed_by(2, n)
#endif
}

inline new_file(f)
{
	d_step {
		f = 1;
		do
		:: f <= FILES && !is_free(f) -> f++
		:: else -> break
		od;
		assert(f <= FILES);
		made_at_zero = made_at_zero & ~bit_of(f);
		recorded = recorded & ~bit_of(f)
	}
}

/* The same state of affairs must not come in many guises. */
inline forget_files()
{
	d_step {
		it = 1;
		do
		:: it <= FILES ->
			if
			:: !is_named(it) && !is_open(it) ->
				made_at_zero = made_at_zero & ~bit_of(it);
				recorded = recorded & ~bit_of(it)
			:: else
			fi;
			it++
		:: else -> break
		od;
		it = 0
	}
}

/* Nobody finds the claims on a file without a name. */
inline void_claims(f)
{
	d_step {
		if :: claim[0] == f -> claim[0] = NONE :: else fi;
		if :: claim[1] == f -> claim[1] = NONE :: else fi;
#if PROCS == 3
		if :: claim[2] == f -> claim[2] = NONE :: else fi
#endif
	}
}

/* Of a file of ours, by the name it was created at, whatever that leads to. Not a stranger's. */
inline unlink_named(f)
{
	tmp = file_at(name_of(f));
	if
	:: tmp == NONE
	:: tmp != NONE && tmp == zero ->
		zero = NONE;
		void_claims(tmp);
		noticed(INDEX_0)
	:: tmp != NONE && tmp != zero ->
		alternates = alternates & ~bit_of(tmp);
		void_claims(tmp);
		noticed(tmp)
	fi;
	tmp = NONE
}

inline close_fd(i)
{
	fd[i] = NONE;
	locked[i] = false;
	inside[i] = false
}

inline close_other(i)
{
	other[i] = NONE;
	other_locked[i] = false;
	pick[i] = NOTHING
}

inline begin_listing(i)
{
	listing[i] = true;
	found[i] = names_there
}

inline pick_any(i)
{
	if
	:: has(found[i], 0) -> pick[i] = 0
	:: has(found[i], 1) -> pick[i] = 1
	:: has(found[i], 2) -> pick[i] = 2
	:: has(found[i], 3) -> pick[i] = 3
	:: has(found[i], 4) -> pick[i] = 4
	:: has(found[i], 5) -> pick[i] = 5
	fi
}

/* Any step may be the last. */
#ifdef DEATHS
#define OR_DIE :: atomic { !alone -> goto dead }
#else
#define OR_DIE
#endif

proctype guarded(byte i)
{
end_idle:
	if
	:: atomic { !alone -> busy[i] = true; goto create }
	:: atomic { lone == i + 1 && !busy[i] -> busy[i] = true; goto create }
	fi;

	/* ---- lockfile.c, open_or_create_shared ---- */

create: /* index 0, O_CREAT|O_EXCL */
	if
	:: atomic {
		if
		:: zero == NONE ->
			new_file(tmp);
			zero = tmp;
			made_at_zero = made_at_zero | bit_of(tmp);
			fd[i] = tmp;
			tmp = NONE;
			noticed(INDEX_0);
			goto lock
		:: else -> goto look_at_index_0
		fi
	}
	OR_DIE
	fi;

look_at_index_0: /* EEXIST. shared_find: fstatat */
	if
	:: atomic {
		if
		:: is_ours(zero) -> pick[i] = INDEX_0; goto open
		:: else -> goto list
		fi
	}
	OR_DIE
	fi;

list: /* shared_find: getdents, fstatat */
	if
	:: atomic { begin_listing(i); goto listed }
	OR_DIE
	fi;

listed: /* the last getdents. Which is picked of several does not matter */
	if
	:: atomic {
		listing[i] = false;
		if
		:: found[i] == 0 -> goto create_alternate
		:: else -> pick_any(i); found[i] = 0; goto open
		fi
	}
	OR_DIE
	fi;

create_alternate: /* O_CREAT|O_EXCL */
	if
	:: atomic {
		new_file(tmp);
		alternates = alternates | bit_of(tmp);
		fd[i] = tmp;
		noticed(tmp);
		tmp = NONE;
		goto lock
	}
	OR_DIE
	fi;

open: /* openat, fstat */
	if
	:: atomic {
		fd[i] = file_at(pick[i]);
		pick[i] = NOTHING;
		if
		:: fd[i] == NONE -> goto again
		:: else -> goto lock
		fi
	}
	OR_DIE
	fi;

	/* ---- lockfile.c, take_mutex, take_new_mutex ---- */

lock: /* F_OFD_SETLK */
	if
	:: atomic {
		if
		:: lock_held(fd[i]) -> close_fd(i); forget_files(); goto again
		:: else -> locked[i] = true; goto compare
		fi
	}
	OR_DIE
	fi;

compare: /* name_leads_to, or fstat of what was created here. Then settle */
	if
	:: atomic {
#ifndef WITHOUT_NAME_CHECK
		if
		:: !is_named(fd[i]) -> close_fd(i); forget_files(); goto again
		:: else
		fi;
#endif
#ifdef WITHOUT_SECOND_LISTING
		goto enter
#else
		goto begin_second_listing
#endif
	}
	OR_DIE
	fi;

	/* ---- lockfile.c, settle ---- */

list_again: /* shared_find: getdents, fstatat */
	if
	:: atomic { goto begin_second_listing }
	OR_DIE
	fi;

begin_second_listing:
	atomic {
		if :: alone -> lone_listings++; assert(lone_listings <= FILES + 1) :: else fi;
		begin_listing(i);
		goto second_listed
	}

second_listed: /* the last getdents */
	if
	:: atomic {
		listing[i] = false;
		goto next_other
	}
	OR_DIE
	fi;

next_other:
	atomic {
		if
		:: fd[i] == file_at(name_of(fd[i])) -> found[i] = found[i] & ~bit_of(name_of(fd[i]))
		:: else
		fi;
#ifdef WITHOUT_INDEX_0
		found[i] = found[i] & ~bit_of(INDEX_0);
#endif
		if
		:: found[i] == 0 -> goto enter
		:: else ->
			pick_any(i);
			found[i] = 0;
			goto open_other
		fi
	}

open_other: /* openat, fstat */
	if
	:: atomic {
		other[i] = file_at(pick[i]);
		if
		:: other[i] == NONE -> pick[i] = NOTHING; goto list_again
		:: else -> goto lock_other
		fi
	}
	OR_DIE
	fi;

lock_other: /* F_OFD_SETLK */
	if
	:: atomic {
		if
#ifndef WITHOUT_OTHER_LOCK
		:: lock_held(other[i]) ->
			close_other(i);
			found[i] = 0;
			goto back_off
#endif
		:: else -> other_locked[i] = true; goto look_at_other
		fi
	}
	OR_DIE
	fi;

look_at_other: /* settle_with: name_leads_to; lockfile_unclaimed */
	if
	:: atomic {
		if
#ifndef WITHOUT_OTHER_CHECK
		:: !is_named(other[i]) -> goto close_the_other
#endif
#ifdef WITHOUT_REMOVAL
		:: else -> goto close_the_other
#elif defined(WITHOUT_CLAIMED_FIRST)
		:: else -> goto remove_other
#else
		:: is_claimed(other[i]) && is_named(other[i]) ->
			assert(!is_claimed(fd[i]) || !is_named(fd[i]));
			goto remove_own
		:: else -> goto remove_other
#endif
		fi
	}
	OR_DIE
	fi;

remove_other: /* unlinkat */
	if
	:: atomic {
#ifndef JOIN
		assert(!is_claimed(other[i]));
#endif
		unlink_named(other[i]);
		goto close_the_other
	}
	OR_DIE
	fi;

close_the_other: /* F_UNLCK, close */
	if
	:: atomic { close_other(i); forget_files(); goto list_again }
	OR_DIE
	fi;

remove_own: /* unlinkat */
	if
	:: atomic { unlink_named(fd[i]); goto change_over }
	OR_DIE
	fi;

change_over: /* F_UNLCK, close */
	if
	:: atomic {
		fd[i] = other[i];
		close_other(i);
		forget_files();
		found[i] = 0;
		goto list_again
	}
	OR_DIE
	fi;

enter:
	atomic {
		assert(!others_inside(i));
		inside[i] = true
	}

held:
	if
#ifdef CLAIMS
	:: atomic { /* bind: pwrite, F_OFD_SETLK */
		claim[i] = fd[i];
		recorded = recorded | bit_of(fd[i]);
		assert(only_claimed(fd[i]));
		goto leave
	}
#endif
	:: atomic { goto leave }
	:: atomic { !alone -> goto leave_remove } /* unlink, or a claim that is void */
	OR_DIE
	fi;

	/* ---- lockfile.c, lockfile_leave ---- */

back_off:
leave: /* F_OFD_GETLK of the claim */
	if
	:: atomic {
#ifdef WITHOUT_ORDER
		locked[i] = false;
		inside[i] = false;
#endif
		if
		:: is_claimed(fd[i]) -> goto leave_unlock
		:: else -> goto leave_remove
		fi
	}
	OR_DIE
	fi;

leave_remove: /* unlinkat */
	if
	:: atomic {
		unlink_named(fd[i]);
		inside[i] = false;
		goto leave_unlock
	}
	OR_DIE
	fi;

leave_unlock: /* F_UNLCK, close */
	if
	:: atomic { close_fd(i); forget_files(); goto left }
	OR_DIE
	fi;

left:
	atomic {
		assert(!alone || no_litter);
		busy[i] = alone;
		goto end_idle
	}

again: /* after a while */
	atomic {
		assert(!alone);
		busy[i] = false;
		goto end_idle
	}

dead:
	atomic {
		listing[i] = false;
		found[i] = 0;
		close_other(i);
		close_fd(i);
		forget_files();
		busy[i] = false;
		goto end_idle
	}
}

proctype world()
{
end_world:
	do
	/* The stranger. */
	:: atomic { zero == NONE -> zero = PLANTED }
	:: atomic { zero == PLANTED -> zero = NONE }

	:: atomic { !alone && claim[0] != NONE -> claim[0] = NONE; forget_files() }
	:: atomic { !alone && claim[1] != NONE -> claim[1] = NONE; forget_files() }
#if PROCS == 3
	:: atomic { !alone && claim[2] != NONE -> claim[2] = NONE; forget_files() }
#endif

#ifdef JOIN
	:: atomic {
		!alone && claim[0] == NONE ->
		if
		:: is_named(1) && has(recorded, 1) -> claim[0] = 1
		:: is_named(2) && has(recorded, 2) -> claim[0] = 2
		:: is_named(3) && has(recorded, 3) -> claim[0] = 3
		:: is_named(4) && has(recorded, 4) -> claim[0] = 4
		:: is_named(5) && has(recorded, 5) -> claim[0] = 5
		:: else
		fi;
		assert(claim[0] == NONE || only_claimed(claim[0]))
	}
#endif

#ifdef PROGRESS
	:: atomic {
		!alone && nobody_busy ->
		if
		:: lone = 1
		:: lone = 2
#if PROCS == 3
		:: lone = 3
#endif
		fi
	}
#endif
	od
}

init {
	atomic {
		pick[0] = NOTHING;
		pick[1] = NOTHING;
#if PROCS == 3
		pick[2] = NOTHING;
#endif
		run guarded(0);
		run guarded(1);
#if PROCS == 3
		run guarded(2);
#endif
		run world()
	}
}
