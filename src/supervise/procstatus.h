/*
 * procstatus: the text of /proc/PID/status, proc_pid_status(5). A status of NULL has no lines.
 */
#ifndef PROCSTATUS_H
#define PROCSTATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCSTATUS_SIZE   16384
#define PROCSTATUS_GROUPS 1024

/* IDs are as seen from the user namespace of the process that opened the file. */
struct credentials {
	uid_t uid[4]; /* real, effective, saved, file system; the same order for gid */
	gid_t gid[4];
	gid_t group[PROCSTATUS_GROUPS]; /* in the order in which the kernel sorts them */
	size_t groups;
	uint64_t effective; /* capabilities */
};

/*
 * Reads the file from its beginning, up to PROCSTATUS_SIZE - 1 bytes. Returns false if fd is -1 or
 * the process is gone.
 */
bool procstatus_reread(int fd, char status[PROCSTATUS_SIZE]);

/* The same, and closes fd. */
bool procstatus_read(int fd, char status[PROCSTATUS_SIZE]);

/* Returns true if there is such a line. */
bool procstatus_has(const char *status, const char *field);

/* Reads the numbers of a line. Returns how many there are, at most `count`. */
size_t procstatus_numbers(const char *status, const char *field, int base, uint64_t *numbers,
	size_t count);

/* Reads the first number of a line. Returns false if there is none. */
bool procstatus_number(const char *status, const char *field, int base, uint64_t *number);

/* Copies the text of a line; a longer text is cut off. */
void procstatus_text(const char *status, const char *field, char *text, size_t size);

/* Returns false if a line is missing, or if the process has more than PROCSTATUS_GROUPS groups. */
bool procstatus_credentials(const char *status, struct credentials *credentials);

/* Compares the supplementary groups. */
bool procstatus_same_groups(const struct credentials *a, const struct credentials *b);

/* Compares IDs and groups, but not capabilities. */
bool procstatus_same_ids(const struct credentials *a, const struct credentials *b);

#endif
