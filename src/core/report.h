/*
 * report: the messages, one line each: which call was refused, and which process is in the way.
 *
 * A message is one write(2) that neither waits nor raises SIGPIPE. It goes to descriptor 2 only if
 * that is still the file that it was when the library loaded: a daemon may have closed it, and the
 * number may now belong to its database. A refusal, or a report that a call is not guarded, that
 * cannot be written to the destination of SOCKGUARD_LOG goes to syslog; other messages are then
 * lost. All functions are async-signal-safe and leave errno alone.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>

#include "record.h"

/* Remembers which file descriptor 2 is. Call it once, from a constructor. */
void report_remember_stderr(void);

/* Whether this descriptor is the file that descriptor 2 was then. Changes errno if it is closed. */
bool report_is_remembered_stderr(int fd);

/* Why a call is refused. */
enum reason {
	REASON_OWNER_RECORDED,   /* the record names the owner */
	REASON_OWNER_UNRECORDED, /* a socket is bound there, and there is no record */
	REASON_OWNER_ELSEWHERE,  /* in another network namespace, and the record is unreadable */
	REASON_UNDETERMINED,     /* unknown whether a socket is bound there */
	REASON_ABSENT_CLAIMED,   /* the path is absent, but the owner in the record claims it */
	REASON_OWNER_REMOTE,     /* the owner in the record is on another host */
	REASON_MUTEX_BUSY,       /* another process held the mutex for too long */
};

/* Reports that the call verb(path) was refused, and why. */
void report_refusal(const char *verb, const char *path, enum reason reason,
	const struct record *record);

/* Reports that a variable has an invalid value, and which values are valid. */
void report_bad_setting(const char *variable, const char *expected);

/* Reports a decision on a call, if SOCKGUARD_DEBUG is set. */
void report_decision(const char *verb, const char *path, const char *decision);

/* Reports that a supervisor lets a call pass without judging it, and why. path: "" if unknown. */
void report_unguarded(const char *verb, const char *path, const char *why);

#endif
