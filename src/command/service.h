/*
 * service: what systemctl shows about a service: the text of its unit, and which of the guard's
 * system calls its SystemCallFilter= forbids.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <stdbool.h>
#include <sys/types.h>

struct service {
	char *name; /* with .service at its end */
	bool user;  /* of the current user's service manager */
};

/* Finds the service of a process through its cgroup. If it returns true, the caller frees name. */
bool service_of_process(pid_t pid, struct service *service);

/*
 * The output of systemctl cat: the unit with its drop-ins. NULL if there is no systemctl, or no
 * such unit. The caller frees it.
 */
char *service_text(const struct service *service);

/*
 * The system calls of the guard that the unit's SystemCallFilter= forbids, separated by spaces.
 * With supervised, also those of a supervisor. NULL if it forbids none, or if systemctl does not
 * show it. The caller frees it.
 */
char *service_forbidden_calls(const struct service *service, bool supervised);

#endif
