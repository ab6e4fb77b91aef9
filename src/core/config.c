#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "pattern.h"
#include "scratch.h"
#include "text.h"

struct config config;

/* Setters return false for an invalid value. */

static bool set_flag(bool *flag, const char *value)
{
	*flag = strcmp(value, "1") == 0;
	return *flag || strcmp(value, "0") == 0;
}

static bool set_disabled(const char *value)
{
	return set_flag(&config.disabled, value);
}

static bool set_debug(const char *value)
{
	return set_flag(&config.debug, value);
}

/* The index of the value among the words, or -1. */
static int index_among(const char *const *words, int count, const char *value)
{
	for (int i = 0; i < count; i++)
		if (strcmp(value, words[i]) == 0)
			return i;
	return -1;
}

static bool set_reuse(const char *value)
{
	static const char *const words[] = {"auto", "always", "never"};
	int index = index_among(words, sizeof(words) / sizeof(words[0]), value);

	if (index >= 0)
		config.reuse = (enum reuse)index;
	return index >= 0;
}

/* Never frees the memory. Allocated on demand, because few programs set any of these. */
static bool set_text(const char **to, const char *value)
{
	size_t size = strlen(value) + 1;
	char *copy = size <= CONFIG_TEXT ? scratch_allocate(size) : NULL;

	if (!copy)
		return false;
	memcpy(copy, value, size);
	*to = copy;
	return true;
}

static bool set_log(const char *value)
{
	static const char *const words[] = {"stderr", "syslog", "none"};
	int index = index_among(words, sizeof(words) / sizeof(words[0]), value);

	if (index >= 0) {
		config.log_to = (enum log_to)index;
		return true;
	}
	if (value[0] != '/' || !set_text(&config.log_file, value))
		return false;
	config.log_to = LOG_TO_FILE;
	return true;
}

/* Rejects relative patterns, which match no path. An empty one, as in "/a:", is valid. */
static bool set_patterns(const char **to, const char *value)
{
	for (const char *at = value;; at++) {
		if (*at != '/' && *at != '*' && *at != ':' && *at != '\0')
			return false;
		at += strcspn(at, ":");
		if (*at == '\0')
			return set_text(to, value);
	}
}

static bool set_only(const char *value)
{
	return set_patterns(&config.only, value);
}

static bool set_ignore(const char *value)
{
	return set_patterns(&config.ignore, value);
}

/* SOCKGUARD_LOG comes first, because messages about the others go there. */
static const struct setting {
	const char *variable;
	bool (*set)(const char *value);
	const char *expected;
} settings[] = {
	{"SOCKGUARD_LOG", set_log, "stderr, syslog, none or an absolute file name"},
	{"SOCKGUARD_DEBUG", set_debug, "1 or 0"},
	{"SOCKGUARD_DISABLE", set_disabled, "1 or 0"},
	{"SOCKGUARD_REUSE", set_reuse, "auto, always or never"},
	{"SOCKGUARD_ONLY", set_only, "patterns of absolute paths, separated by colons"},
	{"SOCKGUARD_IGNORE", set_ignore, "patterns of absolute paths, separated by colons"},
};

void config_load(void (*complain)(const char *variable, const char *expected))
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		const char *value = secure_getenv(settings[i].variable);

		if (value && value[0] != '\0' && !settings[i].set(value) && complain)
			complain(settings[i].variable, settings[i].expected);
	}
}

/* Copies the directory that a relative path starts from, without a NUL. Negative: unknown. */
static ssize_t start_of(int dirfd, char *start, size_t size)
{
	char link[64];
	struct text name = text_start(link, sizeof(link));

	if (dirfd == AT_FDCWD)
		return kernel_getcwd(start, size) - 1;
	text_add(&name, "/proc/thread-self/fd/");
	text_add_number(&name, (uint64_t)dirfd);
	return kernel_readlink(link, start, size);
}

/* Appends a path's components, without double slashes and single dots. */
static void add_components(struct text *text, const char *path)
{
	while (*path != '\0') {
		size_t length = strcspn(path, "/");

		if (length > 0 && !(length == 1 && path[0] == '.')) {
			text_add(text, "/");
			text_add_n(text, path, length);
		}
		path += length;
		while (*path == '/')
			path++;
	}
}

struct workspace {
	char start[PATH_MAX];
	char absolute[2 * PATH_MAX];
	char pattern[CONFIG_TEXT];
};

static bool matches_any(const char *patterns, struct workspace *space)
{
	for (;;) {
		size_t length = strcspn(patterns, ":");
		struct text text = text_start(space->pattern, sizeof(space->pattern));

		text_add_n(&text, patterns, length);
		if (pattern_matches(space->pattern, space->absolute))
			return true;
		if (patterns[length] == '\0')
			return false;
		patterns += length + 1;
	}
}

static bool ignored_by_pattern(int dirfd, const char *path, struct workspace *space)
{
	struct text text = text_start(space->absolute, sizeof(space->absolute));

	/* start_of appends no NUL, but the workspace is zeroed and has one byte more. */
	if (path[0] != '/' && start_of(dirfd, space->start, sizeof(space->start) - 1) > 0)
		add_components(&text, space->start);
	add_components(&text, path);
	if (config.only && !matches_any(config.only, space))
		return true;
	return config.ignore && matches_any(config.ignore, space);
}

bool config_ignores(int dirfd, const char *path)
{
	int saved = errno;
	struct workspace *space;
	bool ignores = false;

	if (!config.only && !config.ignore)
		return false;
	space = scratch_allocate(sizeof(*space));
	if (space) {
		ignores = ignored_by_pattern(dirfd, path, space);
		scratch_free(space, sizeof(*space));
	}
	errno = saved;
	return ignores;
}
