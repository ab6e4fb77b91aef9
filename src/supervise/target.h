/*
 * target: the thread that made a stopped call, and its process: what can be seen of it from here,
 * and how to act in its place.
 */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TARGET_GROUPS 256
#define TARGET_COMM   16

/* Descriptors of ours are at this number and above, wherever that is permitted. */
#define TARGET_HIGH 512

struct target {
	pid_t tid;
	pid_t process;   /* its thread group */
	pid_t inner;     /* the same in its own PID namespace */
	int pidfd;       /* -1: not opened yet */
	int descriptors; /* /proc/PID/fd, O_PATH */
	uid_t uid[4];    /* real, effective, saved, of the file system; so are the groups */
	gid_t gid[4];
	gid_t group[TARGET_GROUPS];
	size_t groups;
	uint64_t effective; /* capabilities */
	mode_t umask;
	char comm[TARGET_COMM];
};

/* Copies what lies at an address of the thread's. Returns how many bytes of it could be read. */
size_t target_read(pid_t tid, uint64_t address, void *bytes, size_t size);

/* The same of a string: true if it ends within size bytes, the NUL included. */
bool target_read_string(pid_t tid, uint64_t address, char *string, size_t size);

/* Does an absolute path mean the same to the thread as it does to us? */
bool target_shares_root(pid_t tid);

/* Has the thread the credentials and capabilities that we have? */
bool target_is_like_us(pid_t tid);

/* Looks at the thread and opens what tells of its descriptors. False: it is gone, or hidden. */
bool target_open(struct target *target, pid_t tid);

/*
 * Takes the thread's place, as far as path names and permissions go: mount and network namespaces,
 * root, working directory, umask, credentials. For a process that does nothing else afterwards.
 * False: not permitted, and then nothing may be done.
 */
bool target_become(const struct target *target);

/*
 * Who took another's place has its rights alone, and those may not do to look into it: the process
 * may have changed its user. Between these two it may, and makes no call in the other's place.
 */
void target_look_begin(void);
void target_look_end(void);

/* A copy of a descriptor of the process's, close-on-exec; or -1. */
int target_descriptor(const struct target *target, int number);

/*
 * A path may lead through a descriptor of the caller's: /proc/self/fd/N. Then that is put at the
 * same number here. False where it cannot.
 */
bool target_mirror(const struct target *target, const char *path);

/*
 * Where a descriptor leads to, as readlink(2) of /proc/PID/fd has it. False: there is none. To be
 * asked while looking.
 */
bool target_leads_to(const struct target *target, int number, char *link, size_t size);

/* The soft limit of descriptors. */
int target_descriptor_limit(const struct target *target);

#endif
