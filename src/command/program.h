/*
 * program: can the guard work in it? Looks at a file as the kernel and the loader will: through the
 * interpreters of scripts, at the ELF header, the notes, and the rights it would get.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <limits.h>

#include "library.h"

enum guardable {
	GUARDABLE,
	NOT_GUARDABLE,
	GUARDABLE_UNTOLD, /* it may not be read */
	NO_PROGRAM,
};

struct program {
	enum guardable guardable;
	bool go;
	bool gains_rights;    /* set-ID, or by file capabilities, that whoever asks does not have */
	const char *why;      /* not: a sentence without its subject. Constant */
	char found[PATH_MAX]; /* the file of that name; empty: there is none */
	char about[PATH_MAX]; /* what why is said of: found, or the interpreter of a script */
};

/* Finds a program as execvp(3) does, and looks at it. Without a library, as if for one machine. */
void program_look(struct program *program, const char *name, const struct library *library);

/* Looks at the program a process runs, by /proc/PID/exe: that need not have a name any more. */
void program_look_running(struct program *program, const char *exe, const struct library *library);

#endif
