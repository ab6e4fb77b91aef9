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

/* The loader's $LIB is the directory of libc, without its prefix. Only glibc has it. */
static bool lib_of_loader(char lib[PATH_MAX])
{
#ifdef __GLIBC__
	Dl_info libc;
	const char *slash;
	void *function;

	/* A function: the program may have a copy of a variable, and dladdr would find that. */
	function = dlsym(RTLD_NEXT, "gnu_get_libc_version");
	if (!function || dladdr(function, &libc) == 0 || !libc.dli_fname)
		return false;
	if (libc.dli_fname[0] != '/') /* found through a relative LD_LIBRARY_PATH, not in $LIB */
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

void library_preload_word(const char *file, char word[PATH_MAX])
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
 * Whether the library is in .libs beside the command, as in a build tree. Uses the path that was
 * executed, because readlink of /proc/self/exe takes longer than the rest of "sockguard run".
 */
static bool is_built(char file[PATH_MAX])
{
	static const char beside[] = ".libs/" LIBRARY_NAME;
	const char *self = (const char *)getauxval(AT_EXECFN);
	size_t directory;

	if (!self || !realpath(self, file))
		return false;
	directory = inode_directory_length(file);
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
			command_die(EXIT_NOT_STARTED, "cannot read %s: %m; install libsockguard",
				library->file);
		library_preload_word(library->file, library->word);
	}
	if (strpbrk(library->file, " :\t\n"))
		command_die(EXIT_NOT_STARTED,
			"LD_PRELOAD cannot name %s: move it to a path without spaces and colons",
			library->file);
}

bool library_is_named(const char *file)
{
	const char *slash = strrchr(file, '/');
	const char *base = slash ? slash + 1 : file;
	size_t length = sizeof(LIBRARY_NAME) - 1;

	return strncmp(base, LIBRARY_NAME, length) == 0 &&
	       (base[length] == '\0' || base[length] == ' ');
}

char *library_preload_value(const struct library *library, const char *before)
{
	char *words = command_copy(before ? before : "");
	char *value = command_copy(library->word);
	char *rest = NULL;

	/* Leave out other copies of the library: they would be called between this one and libc. */
	for (char *word = strtok_r(words, ": ", &rest); word; word = strtok_r(NULL, ": ", &rest)) {
		char *longer;

		if (library_is_named(word))
			continue;
		longer = command_format("%s:%s", value, word);
		free(value);
		value = longer;
	}
	free(words);
	return value;
}

/* What $LIB may be for programs of other architectures that this kernel can run. */
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

bool library_exists_for(const struct library *library, const ElfW(Ehdr) * program)
{
	const char *token = strstr(library->word, LIB);

	for (size_t i = 0; token && i < sizeof(libs) / sizeof(libs[0]); i++) {
		char *file;
		bool is;

		if (libs[i].machine != program->e_machine)
			continue;
		file = command_format("%.*s%s%s", (int)(token - library->word), library->word,
			libs[i].lib, token + sizeof(LIB) - 1);
		is = is_for(file, program);
		free(file);
		if (is)
			return true;
	}
	return false;
}
