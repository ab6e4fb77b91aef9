/*
 * record: the text in a lock file that names the process that bound the socket.
 *
 * People read it with cat. From it, the guard names the owner in messages, and recognises the
 * socket, the socket's network namespace, and an owner on another host. It has a fixed size, is
 * written with one pwrite(2), and the file is never truncated. All functions are async-signal-safe
 * and leave errno alone.
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
	uint64_t pid;           /* of the process that bound the socket, in its own PID namespace */
	uint64_t uid;           /* effective */
	uint64_t time;          /* seconds since the epoch */
	uint64_t uptime;        /* seconds since boot, CLOCK_BOOTTIME; 0: unknown */
	uint64_t socket;        /* st_ino of the socket's descriptor; 0: unknown */
	uint64_t cookie;        /* its SO_COOKIE */
	uint64_t netns;         /* its SO_NETNS_COOKIE; 0: unknown (before Linux 5.14) */
	uint64_t pidns;         /* st_ino of the PID namespace that pid belongs to; 0: unknown */
	char boot[RECORD_BOOT]; /* the kernel's boot id; empty: unknown */
	char comm[RECORD_COMM];
	bool leaving; /* the owner is removing the path: claims on it no longer count */
};

/* Describes the caller as the process that bound the socket fd; -1: without a socket. */
void record_describe_caller(struct record *record, int fd);

/* The offset of the word that says whether `leaving` is set, and the two words, equally long. */
#define RECORD_STATE_AT 17
#define RECORD_HELD     "held"
#define RECORD_LEFT     "left"

/* Fills text: RECORD_SIZE bytes, without a terminating NUL. */
void record_format(const struct record *record, char *text);

/* Parses what record_format wrote. Returns false, and a record of zeros, for anything else. */
bool record_parse(struct record *record, const char *text, size_t length);

/*
 * Whether the record has another boot id than this process sees: it was written on another host,
 * before a reboot, or in a container with a boot id of its own. False if one of the two is unknown.
 * See lockfile_record_is_remote.
 */
bool record_is_from_other_boot(const struct record *record);

enum record_binder {
	BINDER_UNKNOWN, /* no pid, or a process on another host or before a reboot */
	BINDER_FOREIGN, /* pid belongs to another PID namespace than the caller's */
	BINDER_EXISTS,
	BINDER_ENDED, /* none has the pid, or one that started after the record was written */
};

/* What became of the process that bound the socket. BINDER_EXISTS if its start time is unknown. */
enum record_binder record_find_binder(const struct record *record);

/* Whether the record's cookie is that of this socket. Only meaningful for this kernel's records. */
bool record_matches_socket(const struct record *record, int fd);

/* The SO_NETNS_COOKIE of a socket; 0: unknown. */
uint64_t record_socket_netns(int fd);

#endif
