/*
 * way: the two ways to guard a program, with the library or with a supervisor, and which one suits
 * a program.
 */
#ifndef WAY_H
#define WAY_H

#include <stdbool.h>

#include "program.h"

enum way { WAY_NONE, WAY_PRELOAD, WAY_SYSCALLS };

/* Their names in --by and in the JSON; NULL for WAY_NONE. */
extern const char *const way_words[];

/*
 * Whether `sockguard run` guards the program with a supervisor by default: preloading cannot work,
 * and the program keeps the privileges that it gains at exec.
 */
bool way_uses_supervisor(const struct program *program);

/*
 * Why `sockguard run` does not guard the program with a supervisor by default, even if preloading
 * cannot work. NULL: no reason; the supervisor may still fail to start.
 */
const char *way_why_not_supervised(const struct program *program);

/* Whether we have CAP_SYS_ADMIN, without which a filter requires no_new_privs, seccomp(2). */
bool way_has_sys_admin(void);

/* Whether sockguard was built with a supervisor. */
bool way_has_supervisor(void);

/*
 * Puts this process, which will execute the program of this name, under a supervisor. Returns NULL,
 * or the reason why it cannot. Unless allows_rings is true, io_uring_setup(2) fails with ENOSYS. If
 * the supervisor is killed meanwhile, exits: this process keeps a filter with which bind(2) fails.
 */
const char *way_supervise(const char *name, bool allows_rings);

/* Determines what way_supervise would return, without putting this process under a supervisor. */
const char *way_probe_supervisor(void);

#endif
