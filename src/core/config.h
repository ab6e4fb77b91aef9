/*
 * config: the SOCKGUARD_* settings, read once when the library loads.
 *
 * The values are copied, since programs overwrite their environment (setproctitle does). Set-ID
 * programs get the defaults, secure_getenv(3).
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_TEXT 4096 /* size of the longest value, with its NUL */

enum reuse {
	REUSE_AUTO,   /* bind replaces a stale socket if the program set SO_REUSEADDR */
	REUSE_ALWAYS, /* ... always */
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

/* Constant after config_load has returned. */
extern struct config config;

/*
 * Reads the environment. For an invalid value keeps the default, and calls complain (may be NULL)
 * with the variable's name and the valid values. Not async-signal-safe: call it from a constructor.
 */
void config_load(void (*complain)(const char *variable, const char *expected));

/*
 * Whether SOCKGUARD_ONLY or SOCKGUARD_IGNORE excludes this path from the guard. If there is not
 * enough memory to decide, the path is guarded. Async-signal-safe; leaves errno alone.
 */
bool config_ignores(int dirfd, const char *path);

#endif
