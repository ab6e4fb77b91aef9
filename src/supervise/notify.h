/*
 * notify: what the kernel and a supervisor say to each other, seccomp_unotify(2).
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/* A stopped call. The kernel may tell more of it one day: the space behind is for that. */
union notice {
	struct seccomp_notif call;
	uint64_t space[64];
};

/* Do the kernel's structures fit into ours? */
bool notify_fits(void);

/* Waits for a stopped call. Returns 0; or -1 with errno, of which ENOENT means that the caller was
 * killed or interrupted meanwhile, and that there is nothing to answer. */
int notify_receive(int listener, union notice *notice);

/* Is the call with this id still stopped? What was read from its process before is only then its.
 */
bool notify_valid(int listener, uint64_t id);

/* Has the kernel carry the call out as if nobody had stopped it. */
int notify_continue(int listener, uint64_t id);

/* The call returns that: 0, or -1 with this error. ENOENT: nobody waits for it any more. */
int notify_answer(int listener, uint64_t id, int result, int error);

/* Gives the stopped process a copy of a descriptor of ours, close-on-exec, at this number. */
int notify_inject(int listener, uint64_t id, int fd, int number);

/* Has caller and supervisor wake each other on one processor, where the kernel can (Linux 6.6). */
void notify_wake_fast(int listener);

#endif
