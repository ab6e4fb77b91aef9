/*
 * The lock files of one socket path in a directory in which other users may create names, for Spin:
 * the mutex of src/core/lockfile.c there. tests/model/run checks it. sockguard.pml models the steps
 * under the mutex, and directories in which other users cannot create names.
 *
 * Each labelled block is a system call of the code. The process may be killed before each block, and
 * other processes may run between any two blocks. A comparison under a lock is one block with the
 * call after it: if the protocol is sound, no process changes what was compared.
 *
 * Actors and files
 *   PROCS guarded processes of one user, each of which acquires the mutex of the path repeatedly. A
 *     process that holds it may claim the file (bind), unlink it, claimed or not (unlink, a stale
 *     path), or do neither. A claim may end at any time. A process has at most one claim, which may
 *     outlive it, as if a fork held it.
 *   The plain name, .NAME.sockguard: it leads to a file of this user, to a stranger's, or nowhere.
 *   Alternate names have a random part and are never used again. An alternate name is the number of
 *     its file: no file is created with a number that a process has read in a listing.
 *   A stranger: creates a file at the plain name if it is free, and removes it, at any instant. Files
 *     of that user at other names do not matter: a process that opens one checks its uid.
 *
 * A listing takes time. It contains the names that exist from its beginning to its end, and may
 * contain those created or unlinked during it. The uids of the files are checked during it too.
 *
 * Properties
 *   Safety: at most one process has the mutex. No two claimed files have names at the same time.
 *   Progress: in every state in which no call is under way, a single process acquires the mutex,
 *     whatever the stranger does meanwhile. It never starts over, and lists the directory once more
 *     for each file that a crash has left. After that, every file that has a name is claimed.
 *
 * Left out: forks that hold a mutex (sockguard.pml), renames, and calls that fail because of limits.
 * A process that waits for the mutex starts over. If two processes keep making each other start over,
 * chance decides which of them acquires the mutex; the model does not check that one does.
 *
 * Switches
 *   PROCS=3     three processes; else two
 *   DEATHS      a process may be killed before each step
 *   CLAIMS      files are claimed
 *   JOIN        a process may claim any file with a record without the mutex, as after exec
 *   PROGRESS    checks lone starts too; otherwise only safety
 * Mutations, each of which has a counterexample
 *   WITHOUT_SECOND_LISTING  the process lists the directory only before it locks a file, not after
 *   WITHOUT_PLAIN_NAME      the second listing skips the plain name
 *   WITHOUT_NAME_CHECK      the process does not check that the name still leads to the locked file
 *   WITHOUT_OTHER_CHECK     it does not check that for the other files found
 *   WITHOUT_OTHER_LOCK      it unlinks other files without locking them
 *   WITHOUT_ORDER           it unlocks the file first, and unlinks it afterwards
 *   WITHOUT_CLAIMED_FIRST   it unlinks the claimed one of two files
 *   WITHOUT_REMOVAL         it does not unlink an unclaimed file found beside the locked one
 */

#ifndef PROCS
#define PROCS 2
#endif
#ifndef FILES
#define FILES 5 /* an assertion fails if they do not suffice */
#endif

#define NONE 0
#define STRANGERS 15 /* the stranger's file */
#define PLAIN_NAME 0 /* among the names; an alternate name is the number of its file */

/* ---- the file system ---- */

byte at_plain_name;         /* the file that the plain name leads to */
byte alternates;            /* bit set of the files that have their alternate name */
byte created_at_plain_name; /* bit set of the files that were created at the plain name */
byte recorded_files;        /* bit set of the files with a record */

/* ---- processes ---- */

byte opened[PROCS]; /* the file that the process has open, whose lock will be the mutex */
bool locked[PROCS];
byte other[PROCS]; /* another file, which the process found in the second listing */
bool other_locked[PROCS];
byte claimed_file[PROCS];
bool listing[PROCS]; /* the process is listing the directory */
byte listed[PROCS];  /* bit set of the names in the listing so far */
byte chosen[PROCS];  /* the name that the process has chosen from the listing */
#define NOTHING 14
bool has_mutex[PROCS];
bool busy[PROCS]; /* within a guarded call */

/* ---- for the properties only ---- */

byte lone;          /* 1 + the process that acquires the mutex alone */
byte lone_listings; /* how often it has listed the directory under the lock */
#define alone (lone != 0)

byte tmp; /* within an atomic block only, 0 between */
byte it;

#define bit_of(x) (1 << (x))
#define has(set, x) (((set) & bit_of(x)) != 0)

#if PROCS == 3
#define others_have_mutex(i) (has_mutex[((i) + 1) % 3] || has_mutex[((i) + 2) % 3])
#define none_busy (!busy[0] && !busy[1] && !busy[2])
#define is_claimed(f) (claimed_file[0] == (f) || claimed_file[1] == (f) || claimed_file[2] == (f))
#define is_open(f) (opened[0] == (f) || opened[1] == (f) || opened[2] == (f) || other[0] == (f) || \
	other[1] == (f) || other[2] == (f))
#define is_listed(f) (has(listed[0] | listed[1] | listed[2], f) || chosen[0] == (f) || \
	chosen[1] == (f) || chosen[2] == (f))
#define lock_held_by(j, f) ((opened[j] == (f) && locked[j]) || (other[j] == (f) && other_locked[j]))
#define lock_held(f) (lock_held_by(0, f) || lock_held_by(1, f) || lock_held_by(2, f))
#else
#define others_have_mutex(i) has_mutex[1 - (i)]
#define none_busy (!busy[0] && !busy[1])
#define is_claimed(f) (claimed_file[0] == (f) || claimed_file[1] == (f))
#define is_open(f) (opened[0] == (f) || opened[1] == (f) || other[0] == (f) || other[1] == (f))
#define is_listed(f) (has(listed[0] | listed[1], f) || chosen[0] == (f) || chosen[1] == (f))
#define lock_held_by(j, f) ((opened[j] == (f) && locked[j]) || (other[j] == (f) && other_locked[j]))
#define lock_held(f) (lock_held_by(0, f) || lock_held_by(1, f))
#endif

#define is_ours(f) ((f) != NONE && (f) != STRANGERS)
#define is_named(f) (at_plain_name == (f) || has(alternates, f))
#define is_free(f) (!is_named(f) && !is_open(f) && !is_claimed(f) && !is_listed(f))

/* The name at which a file was created. */
#define name_of(f) (has(created_at_plain_name, f) -> PLAIN_NAME : (f))
/* The file of our user that a name leads to. */
#define own_file_at(n) ((n) == PLAIN_NAME -> (is_ours(at_plain_name) -> at_plain_name : NONE) : \
	(has(alternates, n) -> (n) : NONE))
#define names_there (alternates | (is_ours(at_plain_name) -> bit_of(PLAIN_NAME) : 0))

/* Whether no other file that has a name is claimed. */
#define claims_elsewhere(j, f) (claimed_file[j] != NONE && claimed_file[j] != (f) && \
	is_named(claimed_file[j]))
#if PROCS == 3
#define only_claimed(f) (!claims_elsewhere(0, f) && !claims_elsewhere(1, f) && \
	!claims_elsewhere(2, f))
#else
#define only_claimed(f) (!claims_elsewhere(0, f) && !claims_elsewhere(1, f))
#endif

/* Whether every file of our user that has a name is claimed. */
#define is_unclaimed(f) (is_named(f) && !is_claimed(f))
#define no_unclaimed (!is_unclaimed(1) && !is_unclaimed(2) && !is_unclaimed(3) && \
	!is_unclaimed(4) && !is_unclaimed(5))

/* ---- what happens ---- */

/*
 * A name that is created or unlinked during a listing may be in the listing or not. For an alternate
 * that is unlinked, this makes no difference, because it is not found again.
 */
inline update_listing_of(j, n)
{
	if
	:: n != PLAIN_NAME && !has(alternates, n) -> listed[j] = listed[j] & ~bit_of(n)
	:: else ->
		if
		:: listing[j] -> listed[j] = listed[j] | bit_of(n)
		:: listing[j] -> listed[j] = listed[j] & ~bit_of(n)
		:: !listing[j]
		fi
	fi
}

inline update_listings(n)
{
	update_listing_of(0, n);
	update_listing_of(1, n);
#if PROCS == 3
	update_listing_of(2, n)
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
		created_at_plain_name = created_at_plain_name & ~bit_of(f);
		recorded_files = recorded_files & ~bit_of(f)
	}
}

/* Clears variables that can no longer matter, so that equivalent states are stored once. */
inline forget_files()
{
	d_step {
		it = 1;
		do
		:: it <= FILES ->
			if
			:: !is_named(it) && !is_open(it) ->
				created_at_plain_name = created_at_plain_name & ~bit_of(it);
				recorded_files = recorded_files & ~bit_of(it)
			:: else
			fi;
			it++
		:: else -> break
		od;
		it = 0
	}
}

/* No process finds the claims on a file without a name. */
inline void_claims(f)
{
	d_step {
		if :: claimed_file[0] == f -> claimed_file[0] = NONE :: else fi;
		if :: claimed_file[1] == f -> claimed_file[1] = NONE :: else fi;
#if PROCS == 3
		if :: claimed_file[2] == f -> claimed_file[2] = NONE :: else fi
#endif
	}
}

/*
 * Unlinks the name at which a file was created. It may lead to another file of our user by now. If a
 * stranger's file is there, the kernel refuses the unlink, because the directory is sticky.
 */
inline unlink_named(f)
{
	tmp = own_file_at(name_of(f));
	if
	:: tmp == NONE
	:: tmp != NONE && tmp == at_plain_name ->
		at_plain_name = NONE;
		void_claims(tmp);
		update_listings(PLAIN_NAME)
	:: tmp != NONE && tmp != at_plain_name ->
		alternates = alternates & ~bit_of(tmp);
		void_claims(tmp);
		update_listings(tmp)
	fi;
	tmp = NONE
}

inline close_file(i)
{
	opened[i] = NONE;
	locked[i] = false;
	has_mutex[i] = false
}

inline close_other(i)
{
	other[i] = NONE;
	other_locked[i] = false;
	chosen[i] = NOTHING
}

inline start_listing(i)
{
	listing[i] = true;
	listed[i] = names_there
}

inline choose_any(i)
{
	if
	:: has(listed[i], 0) -> chosen[i] = 0
	:: has(listed[i], 1) -> chosen[i] = 1
	:: has(listed[i], 2) -> chosen[i] = 2
	:: has(listed[i], 3) -> chosen[i] = 3
	:: has(listed[i], 4) -> chosen[i] = 4
	:: has(listed[i], 5) -> chosen[i] = 5
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

create: /* the plain name, O_CREAT|O_EXCL */
	if
	:: atomic {
		if
		:: at_plain_name == NONE ->
			new_file(tmp);
			at_plain_name = tmp;
			created_at_plain_name = created_at_plain_name | bit_of(tmp);
			opened[i] = tmp;
			tmp = NONE;
			update_listings(PLAIN_NAME);
			goto lock
		:: else -> goto find_plain_name
		fi
	}
	OR_DIE
	fi;

find_plain_name: /* EEXIST. shared_find: fstatat */
	if
	:: atomic {
		if
		:: is_ours(at_plain_name) -> chosen[i] = PLAIN_NAME; goto open
		:: else -> goto list
		fi
	}
	OR_DIE
	fi;

list: /* shared_find: getdents, fstatat */
	if
	:: atomic { start_listing(i); goto listing_done }
	OR_DIE
	fi;

listing_done: /* the last getdents. If there are several names, any of them is chosen */
	if
	:: atomic {
		listing[i] = false;
		if
		:: listed[i] == 0 -> goto create_alternate
		:: else -> choose_any(i); listed[i] = 0; goto open
		fi
	}
	OR_DIE
	fi;

create_alternate: /* O_CREAT|O_EXCL */
	if
	:: atomic {
		new_file(tmp);
		alternates = alternates | bit_of(tmp);
		opened[i] = tmp;
		update_listings(tmp);
		tmp = NONE;
		goto lock
	}
	OR_DIE
	fi;

open: /* openat, fstat */
	if
	:: atomic {
		opened[i] = own_file_at(chosen[i]);
		chosen[i] = NOTHING;
		if
		:: opened[i] == NONE -> goto again
		:: else -> goto lock
		fi
	}
	OR_DIE
	fi;

	/* ---- lockfile.c, acquire_mutex, acquire_new_mutex ---- */

lock: /* F_OFD_SETLK */
	if
	:: atomic {
		if
		:: lock_held(opened[i]) -> close_file(i); forget_files(); goto again
		:: else -> locked[i] = true; goto check_name
		fi
	}
	OR_DIE
	fi;

check_name: /* path_leads_to, or fstat of what was created here. Then settle */
	if
	:: atomic {
#ifndef WITHOUT_NAME_CHECK
		if
		:: !is_named(opened[i]) -> close_file(i); forget_files(); goto again
		:: else
		fi;
#endif
#ifdef WITHOUT_SECOND_LISTING
		goto acquired
#else
		goto start_second_listing
#endif
	}
	OR_DIE
	fi;

	/* ---- lockfile.c, resolve_duplicates ---- */

list_again: /* shared_find: getdents, fstatat */
	if
	:: atomic { goto start_second_listing }
	OR_DIE
	fi;

start_second_listing:
	atomic {
		if :: alone -> lone_listings++; assert(lone_listings <= FILES + 1) :: else fi;
		start_listing(i);
		goto second_listing_done
	}

second_listing_done: /* the last getdents */
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
		:: opened[i] == own_file_at(name_of(opened[i])) ->
			listed[i] = listed[i] & ~bit_of(name_of(opened[i]))
		:: else
		fi;
#ifdef WITHOUT_PLAIN_NAME
		listed[i] = listed[i] & ~bit_of(PLAIN_NAME);
#endif
		if
		:: listed[i] == 0 -> goto acquired
		:: else ->
			choose_any(i);
			listed[i] = 0;
			goto open_other
		fi
	}

open_other: /* openat, fstat */
	if
	:: atomic {
		other[i] = own_file_at(chosen[i]);
		if
		:: other[i] == NONE -> chosen[i] = NOTHING; goto list_again
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
			listed[i] = 0;
			goto back_off
#endif
		:: else -> other_locked[i] = true; goto resolve_other
		fi
	}
	OR_DIE
	fi;

resolve_other: /* resolve_duplicate: path_leads_to; lockfile_is_unclaimed */
	if
	:: atomic {
		if
#ifndef WITHOUT_OTHER_CHECK
		:: !is_named(other[i]) -> goto close_resolved
#endif
#ifdef WITHOUT_REMOVAL
		:: else -> goto close_resolved
#elif defined(WITHOUT_CLAIMED_FIRST)
		:: else -> goto remove_other
#else
		:: is_claimed(other[i]) && is_named(other[i]) ->
			assert(!is_claimed(opened[i]) || !is_named(opened[i]));
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
		goto close_resolved
	}
	OR_DIE
	fi;

close_resolved: /* F_UNLCK, close */
	if
	:: atomic { close_other(i); forget_files(); goto list_again }
	OR_DIE
	fi;

remove_own: /* unlinkat */
	if
	:: atomic { unlink_named(opened[i]); goto adopt_other }
	OR_DIE
	fi;

adopt_other: /* F_UNLCK, close */
	if
	:: atomic {
		opened[i] = other[i];
		close_other(i);
		forget_files();
		listed[i] = 0;
		goto list_again
	}
	OR_DIE
	fi;

acquired:
	atomic {
		assert(!others_have_mutex(i));
		has_mutex[i] = true
	}

held:
	if
#ifdef CLAIMS
	:: atomic { /* bind: pwrite, F_OFD_SETLK */
		claimed_file[i] = opened[i];
		recorded_files = recorded_files | bit_of(opened[i]);
		assert(only_claimed(opened[i]));
		goto release
	}
#endif
	:: atomic { goto release }
	:: atomic { !alone -> goto release_unlink } /* unlink, or a claim that is void */
	OR_DIE
	fi;

	/* ---- lockfile.c, lockfile_release ---- */

back_off:
release: /* F_OFD_GETLK of the claim */
	if
	:: atomic {
#ifdef WITHOUT_ORDER
		locked[i] = false;
		has_mutex[i] = false;
#endif
		if
		:: is_claimed(opened[i]) -> goto release_close
		:: else -> goto release_unlink
		fi
	}
	OR_DIE
	fi;

release_unlink: /* unlinkat */
	if
	:: atomic {
		unlink_named(opened[i]);
		has_mutex[i] = false;
		goto release_close
	}
	OR_DIE
	fi;

release_close: /* F_UNLCK, close */
	if
	:: atomic { close_file(i); forget_files(); goto released }
	OR_DIE
	fi;

released:
	atomic {
		assert(!alone || no_unclaimed);
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
		listed[i] = 0;
		close_other(i);
		close_file(i);
		forget_files();
		busy[i] = false;
		goto end_idle
	}
}

proctype environment()
{
end_environment:
	do
	/* The stranger. */
	:: atomic { at_plain_name == NONE -> at_plain_name = STRANGERS }
	:: atomic { at_plain_name == STRANGERS -> at_plain_name = NONE }

	:: atomic { !alone && claimed_file[0] != NONE -> claimed_file[0] = NONE; forget_files() }
	:: atomic { !alone && claimed_file[1] != NONE -> claimed_file[1] = NONE; forget_files() }
#if PROCS == 3
	:: atomic { !alone && claimed_file[2] != NONE -> claimed_file[2] = NONE; forget_files() }
#endif

#ifdef JOIN
	:: atomic {
		!alone && claimed_file[0] == NONE ->
		if
		:: is_named(1) && has(recorded_files, 1) -> claimed_file[0] = 1
		:: is_named(2) && has(recorded_files, 2) -> claimed_file[0] = 2
		:: is_named(3) && has(recorded_files, 3) -> claimed_file[0] = 3
		:: is_named(4) && has(recorded_files, 4) -> claimed_file[0] = 4
		:: is_named(5) && has(recorded_files, 5) -> claimed_file[0] = 5
		:: else
		fi;
		assert(claimed_file[0] == NONE || only_claimed(claimed_file[0]))
	}
#endif

#ifdef PROGRESS
	:: atomic {
		!alone && none_busy ->
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
		chosen[0] = NOTHING;
		chosen[1] = NOTHING;
#if PROCS == 3
		chosen[2] = NOTHING;
#endif
		run guarded(0);
		run guarded(1);
#if PROCS == 3
		run guarded(2);
#endif
		run environment()
	}
}
