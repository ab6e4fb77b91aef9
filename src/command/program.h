/*
 * program: whether the guard can work in a program. Examines what the kernel and the loader would
 * examine: the interpreters of scripts, the ELF header, the notes, and the privileges that the
 * program would gain.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "library.h"

enum guardable {
	GUARDABLE,
	NOT_GUARDABLE,
	GUARDABLE_UNKNOWN, /* no permission to read it */
	NO_PROGRAM,
};

struct program {
	enum guardable guardable;
	bool go;
	bool gains_rights;    /* set-ID or file capabilities, beyond the user's own privileges */
	const char *why;      /* why not; if NOT_GUARDABLE, completes "ABOUT is ..."; constant */
	char found[PATH_MAX]; /* the program's file; empty: there is none */
	char about[PATH_MAX]; /* the subject of why: found, or the interpreter of a script */
};

/*
 * Finds a program as execvp(3) does, and inspects it. library may be NULL: then other architectures
 * are not guardable.
 */
void program_inspect(struct program *program, const char *name, const struct library *library);

/* From now on, inspects programs as if this user executed them instead of ours. */
void program_set_user(uid_t uid, gid_t gid, bool no_new_privs);

/* Inspects the program that a process runs, through /proc/PID/exe: it may have been unlinked. */
void program_inspect_running(struct program *program, const char *exe,
	const struct library *library);

#endif
