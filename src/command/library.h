/*
 * library: the library to preload, and the word for it in LD_PRELOAD.
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
	char word[PATH_MAX]; /* as file, or with the loader's $LIB for programs of other widths */
};

/*
 * Finds the library beside the command in a build tree, or where it was installed. Ends the program
 * with EXIT_NOT_STARTED where there is none, or none that LD_PRELOAD could name.
 */
void library_find(struct library *library);

/*
 * The word for a file in a directory that the loader knows as $LIB: lib/x86_64-linux-gnu on Debian,
 * lib64 on Fedora. Any other file is its own word.
 */
void library_word(const char *file, char word[PATH_MAX]);

/* Puts the library first in a value of LD_PRELOAD, which may be NULL. The caller frees the answer.
 */
char *library_preload(const struct library *library, const char *before);

/* Is there a library for programs of this machine, where the loader would look by that word? */
bool library_serves(const struct library *library, const ElfW(Ehdr) * program);

/* Is a file of that name the library? The loader shows one that was removed as "... (deleted)". */
bool library_is(const char *file);

#endif
