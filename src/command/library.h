/*
 * library: the library to preload, and how LD_PRELOAD names it.
 */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>

#define LIBRARY_NAME "libsockguard.so"

struct library {
	char file[PATH_MAX];
	/* The word that names it in LD_PRELOAD, perhaps with $LIB for other architectures. */
	char word[PATH_MAX];
};

/*
 * Finds the library beside the command in a build tree, or where it was installed. Exits with
 * EXIT_NOT_STARTED if there is none, or if LD_PRELOAD cannot name it.
 */
void library_find(struct library *library);

/*
 * Sets word to the file's path. If its directory ends with what the loader's $LIB means
 * (lib/x86_64-linux-gnu on Debian, lib64 on Fedora), replaces that end with $LIB.
 */
void library_preload_word(const char *file, char word[PATH_MAX]);

/* Puts the library first in a value of LD_PRELOAD (may be NULL). The caller frees the result. */
char *library_preload_value(const struct library *library, const char *before);

/* Whether the library is installed where $LIB leads for this program's architecture. */
bool library_exists_for(const struct library *library, const ElfW(Ehdr) * program);

/* Whether a file name is the library's. In /proc/PID/maps, " (deleted)" follows a removed one. */
bool library_is_named(const char *file);

#endif
