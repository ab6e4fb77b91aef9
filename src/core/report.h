/*
 * report: what was refused, to whom, because of whom, in one line.
 *
 * A message is one write(2), never waits and never raises SIGPIPE. It goes to descriptor 2 only
 * while that is still the file it was when the library loaded: a daemon's may by then be its
 * database. A refusal that cannot be written where SOCKGUARD_LOG says goes to syslog; other
 * messages are then lost. Async-signal-safe; leaves errno alone.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>

#include "record.h"

/* Remembers what descriptor 2 is. For a constructor. */
void report_load(void);

/* Is this descriptor the file that descriptor 2 was then? */
bool report_is_stderr(int fd);

enum rival {
	RIVAL_KNOWN,   /* the record tells who */
	RIVAL_UNKNOWN, /* a socket is bound there, and no record tells by whom */
	RIVAL_UNTOLD,  /* whether one is could not be found out */
	RIVAL_ABSENT,  /* the name is gone, and its owner still claims it, see the record */
	RIVAL_REMOTE,  /* the claim is another host's, see the record */
	RIVAL_BUSY,    /* the mutex could not be had in time */
};

/* call("path") was refused; verb and path are the program's. */
void report_refusal(const char *verb, const char *path, enum rival rival,
	const struct record *record);

/* A setting that is not understood. */
void report_setting(const char *variable, const char *expected);

/* With SOCKGUARD_DEBUG=1 alone: a decision, and why. */
void report_decision(const char *verb, const char *path, const char *decision);

/* A call that a supervisor has to let pass, and why. */
void report_unguarded(const char *verb, const char *path, const char *why);

#endif
