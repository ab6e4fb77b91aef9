/*
 * service: what systemd tells of a service: its unit's text, and which of the guard's system calls
 * its SystemCallFilter= forbids.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <stdbool.h>
#include <sys/types.h>

struct service {
	char *name; /* with .service at its end */
	bool user;  /* of the user manager of whoever asks */
};

/* The service a process runs in, by its cgroup. False where it runs in none. The caller frees name.
 */
bool service_of(pid_t pid, struct service *service);

/*
 * The unit with its drop-ins, as systemctl cat shows it, or NULL: there is no systemctl, or it does
 * not know the unit. The caller frees it.
 */
char *service_text(const struct service *service);

/*
 * The system calls of the guard that the unit's SystemCallFilter= forbids, separated by blanks.
 * NULL where it forbids none, or systemctl does not tell. The caller frees it.
 */
char *service_forbids(const struct service *service);

#endif
