#include "library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "command.h"
#include "inode.h"

#define LIB "$LIB"

/*
 * The loader's $LIB is the directory libc lies in, without its prefix. Only glibc has it.
 */
static bool lib_of_loader(char lib[PATH_MAX])
{
#ifdef __GLIBC__
	Dl_info libc;
	const char *slash;
	void *function;

	/* Of a variable the program would have a copy, and dladdr would tell of the program. */
	function = dlsym(RTLD_NEXT, "gnu_get_libc_version");
	if (!function || dladdr(function, &libc) == 0 || !libc.dli_fname)
		return false;
	if (libc.dli_fname[0] != '/') /* by a relative LD_LIBRARY_PATH, and not from $LIB */
		return false;
	slash = strrchr(libc.dli_fname, '/');
	if (slash - libc.dli_fname >= PATH_MAX)
		return false;
	memcpy(lib, libc.dli_fname, (size_t)(slash - libc.dli_fname));
	lib[slash - libc.dli_fname] = '\0';
	if (strncmp(lib, "/usr/", 5) == 0)
		memmove(lib, lib + 4, strlen(lib + 4) + 1);
	return true;
#else
	(void)lib;
	return false;
#endif
}

void library_word(const char *file, char word[PATH_MAX])
{
	char lib[PATH_MAX];
	const char *slash = strrchr(file, '/');
	size_t directory = (size_t)(slash - file);
	size_t length;

	snprintf(word, PATH_MAX, "%s", file);
	if (!lib_of_loader(lib))
		return;
	length = strlen(lib);
	if (length > 1 && directory > length &&
		memcmp(slash - length, lib, length) == 0) /* "/lib64", with its slash */
		snprintf(word, PATH_MAX, "%.*s/" LIB "%s", (int)(directory - length), file, slash);
}

/*
 * In a build tree the library is in .libs beside the command. By the name that was executed: to ask
 * /proc for the file itself takes longer than all the rest of "sockguard run".
 */
static bool is_built(char file[PATH_MAX])
{
	static const char beside[] = ".libs/" LIBRARY_NAME;
	const char *self = (const char *)getauxval(AT_EXECFN);
	size_t directory;

	if (!self || !realpath(self, file))
		return false;
	directory = inode_directory(file);
	if (directory + sizeof(beside) > PATH_MAX)
		return false;
	memcpy(file + directory, beside, sizeof(beside));
	return access(file, R_OK) == 0;
}

void library_find(struct library *library)
{
	if (is_built(library->file)) {
		memcpy(library->word, library->file, PATH_MAX);
	} else {
		strcpy(library->file, LIBRARY_DIR "/" LIBRARY_NAME);
		if (access(library->file, R_OK) != 0)
			command_die(EXIT_NOT_STARTED, "cannot read %s (%m); install libsockguard",
				library->file);
		library_word(library->file, library->word);
	}
	if (strpbrk(library->file, " :\t\n"))
		command_die(EXIT_NOT_STARTED,
			"LD_PRELOAD cannot name %s: move it to a path without spaces and colons",
			library->file);
}

bool library_is(const char *file)
{
	const char *slash = strrchr(file, '/');
	const char *base = slash ? slash + 1 : file;
	size_t length = sizeof(LIBRARY_NAME) - 1;

	return strncmp(base, LIBRARY_NAME, length) == 0 &&
	       (base[length] == '\0' || base[length] == ' ');
}

char *library_preload(const struct library *library, const char *before)
{
	char *words = command_copy(before ? before : "");
	char *value = command_copy(library->word);
	char *rest = NULL;

	/* Another copy of the library would come between this one and libc. */
	for (char *word = strtok_r(words, ": ", &rest); word; word = strtok_r(NULL, ": ", &rest)) {
		char *longer;

		if (library_is(word))
			continue;
		longer = command_print("%s:%s", value, word);
		free(value);
		value = longer;
	}
	free(words);
	return value;
}

/* What $LIB is for programs of another machine that this kernel may run. */
static const struct {
	ElfW(Half) machine;
	const char *lib;
} libs[] = {
	{EM_386, "lib/i386-linux-gnu"},
	{EM_386, "lib"},
	{EM_386, "lib32"},
	{EM_X86_64, "lib/x86_64-linux-gnu"},
	{EM_X86_64, "lib64"},
	{EM_ARM, "lib/arm-linux-gnueabihf"},
	{EM_ARM, "lib/arm-linux-gnueabi"},
	{EM_ARM, "lib"},
	{EM_AARCH64, "lib/aarch64-linux-gnu"},
	{EM_AARCH64, "lib64"},
};

static bool is_for(const char *file, const ElfW(Ehdr) * program)
{
	ElfW(Ehdr) header;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	bool is = fd >= 0 && read(fd, &header, sizeof(header)) == (ssize_t)sizeof(header) &&
		  memcmp(header.e_ident, program->e_ident, EI_VERSION) == 0 &&
		  header.e_machine == program->e_machine;

	if (fd >= 0)
		close(fd);
	return is;
}

bool library_serves(const struct library *library, const ElfW(Ehdr) * program)
{
	const char *token = strstr(library->word, LIB);

	for (size_t i = 0; token && i < sizeof(libs) / sizeof(libs[0]); i++) {
		char *file;
		bool is;

		if (libs[i].machine != program->e_machine)
			continue;
		file = command_print("%.*s%s%s", (int)(token - library->word), library->word,
			libs[i].lib, token + sizeof(LIB) - 1);
		is = is_for(file, program);
		free(file);
		if (is)
			return true;
	}
	return false;
}
