/*
 * record: who bound a socket, as the lock file tells it.
 *
 * A record is text of a fixed size, for people (cat shows it), for our messages, and for telling an
 * owner on another host. It is written in one pwrite and never truncated. All of it is
 * async-signal-safe and leaves errno alone.
 */
#ifndef RECORD_H
#define RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_SIZE 288
#define RECORD_BOOT 37 /* a UUID and its NUL */
#define RECORD_COMM 16 /* TASK_COMM_LEN */

struct record {
	uint64_t pid;           /* of the binder, in its own pid namespace */
	uint64_t uid;           /* effective */
	uint64_t time;          /* seconds since the epoch */
	uint64_t uptime;        /* seconds since boot, CLOCK_BOOTTIME; 0: not known */
	uint64_t socket;        /* st_ino of the bound descriptor; 0: not known */
	uint64_t cookie;        /* its SO_COOKIE */
	uint64_t netns;         /* its SO_NETNS_COOKIE; 0: not known (before Linux 5.14) */
	char boot[RECORD_BOOT]; /* the kernel's boot id; empty: not known */
	char comm[RECORD_COMM];
	bool left; /* the owner is taking the name away: what is claimed here is to be free */
};

/* Describes this process, as the binder of the socket behind fd; -1 where there is none. */
void record_of_self(struct record *record, int fd);

/* Where in the text the name is told to be held or left, and these two words, equally long. */
#define RECORD_NAME_AT 17
#define RECORD_HELD    "held"
#define RECORD_LEFT    "left"

/* Fills all of text: RECORD_SIZE bytes, not terminated. */
void record_write(const struct record *record, char *text);

/* Reads what record_write wrote. Returns false for anything else, with the record all zero. */
bool record_read(struct record *record, const char *text, size_t length);

/*
 * Has it another boot id than ours: was it written on another host, before a reboot, or in a
 * container that has its own? False if not known. See lockfile_from_elsewhere.
 */
bool record_from_elsewhere(const struct record *record);

/*
 * Has the process that bound the socket ended? It has if no process has its pid, or if the process
 * that has it now was started after the record was written. False if that is not known, as for a
 * record from another host. The pid is looked up in our own pid namespace.
 */
bool record_binder_has_ended(const struct record *record);

/* Was it written when this very socket was bound, if it is this kernel's at all? */
bool record_is_of(const struct record *record, int fd);

/* The network namespace a socket belongs to, as in the record; 0: not known. */
uint64_t record_netns_of(int fd);

#endif
