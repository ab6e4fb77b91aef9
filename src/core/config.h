/*
 * config: the SOCKGUARD_* settings, read once when the library loads.
 *
 * They are copied: programs write over their own environment (setproctitle does). Set-id programs
 * have none, secure_getenv(3).
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_TEXT 4096 /* longest value, with its NUL */

enum reuse {
	REUSE_AUTO,   /* bind replaces a stale name when the program set SO_REUSEADDR */
	REUSE_ALWAYS, /* ... in any case */
	REUSE_NEVER,
};

enum log_to { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_NONE, LOG_TO_FILE };

struct config {
	bool disabled;
	bool debug;
	enum reuse reuse;
	enum log_to log_to;
	const char *log_file;
	const char *only;   /* NULL: every path */
	const char *ignore; /* NULL: none */
};

/* Constant once config_load has returned. */
extern struct config config;

/*
 * Reads the environment. A value that is not understood leaves its default, and its variable's name
 * goes to complain, which may be NULL. For a constructor.
 */
void config_load(void (*complain)(const char *variable, const char *expected));

/*
 * Do SOCKGUARD_ONLY and SOCKGUARD_IGNORE leave this path to libc? Async-signal-safe where no
 * patterns are set (fnmatch(3) may allocate). Not where there is no memory to tell: then the path
 * is guarded. Leaves errno alone.
 */
bool config_ignores(int dirfd, const char *path);

#endif
