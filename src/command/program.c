#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "command.h"

#define MAX_SCRIPTS      6    /* nested interpreters: one more than the kernel follows */
#define LINE             256  /* BINPRM_BUF_SIZE: the kernel reads no more of a script */
#define HEAD             4096 /* for most programs, all that we read is in the first page */
#define NOTES            4096
#define GO_NOTE          4 /* a Go build id */
#define TOO_MANY_HEADERS "corrupt: it has too many program headers"
#define NOT_READABLE(p)  set((p), GUARDABLE_UNKNOWN, "no permission to read it")

/* Our own ELF header: the command has the library's architecture. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

/* Sets the result. Returns false for its callers: there is nothing more to check. */
static bool set(struct program *program, enum guardable guardable, const char *why)
{
	program->guardable = guardable;
	program->why = why;
	return false;
}

static bool not_guardable(struct program *program, const char *why)
{
	return set(program, NOT_GUARDABLE, why);
}

/* ---- finding the file ---- */

static bool is_executable(const char *path)
{
	struct stat found;

	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 && stat(path, &found) == 0 &&
	       S_ISREG(found.st_mode);
}

/* Finds a program like execvp(3). found is empty if no file can be executed. */
static bool find_program(const char *name, char found[PATH_MAX])
{
	const char *path = getenv("PATH");
	size_t length;

	found[0] = '\0';
	if (strchr(name, '/'))
		return snprintf(found, PATH_MAX, "%s", name) < PATH_MAX && is_executable(found);
	if (name[0] == '\0')
		return false;
	for (path = path ? path : "/bin:/usr/bin";; path += length + 1) {
		length = strcspn(path, ":");
		if (snprintf(found, PATH_MAX, "%.*s%s%s", (int)length, path, length > 0 ? "/" : "",
			    name) < PATH_MAX &&
			is_executable(found))
			return true;
		found[0] = '\0';
		if (path[length] == '\0')
			return false;
	}
}

/* ---- privileges ---- */

static struct {
	bool known;
	uid_t uid;
	gid_t gid;
	bool no_new_privs;
} user;

void program_set_user(uid_t uid, gid_t gid, bool no_new_privs)
{
	user.known = true;
	user.uid = uid;
	user.gid = gid;
	user.no_new_privs = no_new_privs;
}

static void ensure_user(void)
{
	if (!user.known)
		program_set_user(getuid(), getgid(), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static bool gains_nothing(int fd)
{
	struct statvfs fs;

	return user.no_new_privs || (fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOSUID));
}

/* Why a process that executes this file gains privileges (AT_SECURE); NULL if it gains none. */
static const char *reason_for_secure_exec(int fd)
{
	struct stat found;

	ensure_user();
	if (fstat(fd, &found) != 0)
		return NULL;
	if ((found.st_mode & S_ISUID) && found.st_uid != user.uid && !gains_nothing(fd))
		return "set-user-ID, so the dynamic loader ignores LD_PRELOAD";
	if ((found.st_mode & S_ISGID) && (found.st_mode & S_IXGRP) && found.st_gid != user.gid &&
		!gains_nothing(fd))
		return "set-group-ID, so the dynamic loader ignores LD_PRELOAD";
	if (user.uid != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0 &&
		!gains_nothing(fd))
		return "privileged by file capabilities, so the dynamic loader ignores LD_PRELOAD";
	return NULL;
}

/* If a program gains privileges at exec, its loader ignores LD_PRELOAD, ld.so(8). */
static bool check_privileges(struct program *program, int fd)
{
	const char *by = reason_for_secure_exec(fd);

	return !by || not_guardable(program, by);
}

/* ---- ELF ---- */

struct file {
	int fd;
	size_t length;
	_Alignas(ElfW(Ehdr)) char head[HEAD];
};

/* Copies a part of the file to buffer, from its head if that includes it. NULL: not readable. */
static const void *read_part(const struct file *file, uint64_t offset, size_t size, void *buffer)
{
	if (offset <= file->length && size <= file->length - offset)
		return memcpy(buffer, file->head + offset, size);
	return pread(file->fd, buffer, size, (off_t)offset) == (ssize_t)size ? buffer : NULL;
}

static bool is_go(const struct file *file, const ElfW(Phdr) * notes)
{
	_Alignas(ElfW(Nhdr)) char buffer[NOTES];
	size_t size = notes->p_filesz < sizeof(buffer) ? notes->p_filesz : sizeof(buffer);
	size_t at = 0;

	if (!read_part(file, notes->p_offset, size, buffer))
		return false;
	while (size - at >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)(const void *)(buffer + at);
		uint64_t next = sizeof(*note) + (((uint64_t)note->n_namesz + 3) & ~3ULL) +
				(((uint64_t)note->n_descsz + 3) & ~3ULL);

		if (note->n_type == GO_NOTE && note->n_namesz == 4 &&
			size - at >= sizeof(*note) + 4 && memcmp(note + 1, "Go\0", 4) == 0)
			return true;
		if (next > size - at)
			return false;
		at += next;
	}
	return false;
}

enum libc_kind { LIBC_UNKNOWN, LIBC_GNU, LIBC_MUSL, LIBC_BIONIC };

#ifdef __GLIBC__
#define LIBC_OURS LIBC_GNU
#elif defined(__BIONIC__)
#define LIBC_OURS LIBC_BIONIC
#else
#define LIBC_OURS LIBC_MUSL
#endif

static enum libc_kind libc_of(const char *interpreter)
{
	static const struct {
		const char *start;
		enum libc_kind kind;
	} names[] = {
		{"ld-musl-", LIBC_MUSL},
		{"ld-linux", LIBC_GNU},
		{"ld.so.", LIBC_GNU},
		{"ld64.so.", LIBC_GNU},
		{"linker", LIBC_BIONIC},
	};
	const char *slash = strrchr(interpreter, '/');
	const char *base = slash ? slash + 1 : interpreter;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(base, names[i].start, strlen(names[i].start)) == 0)
			return names[i].kind;
	return LIBC_UNKNOWN;
}

static bool has_our_libc(struct program *program, const struct file *file,
	const ElfW(Phdr) * interpreter)
{
	char name[PATH_MAX] = "";
	size_t size = interpreter->p_filesz;
	enum libc_kind kind;

	if (size >= sizeof(name) || !read_part(file, interpreter->p_offset, size, name))
		return true;
	kind = libc_of(name);
	return kind == LIBC_UNKNOWN || kind == LIBC_OURS ||
	       not_guardable(program, kind == LIBC_MUSL  ? "linked with musl, unlike the guard"
				      : kind == LIBC_GNU ? "linked with glibc, unlike the guard"
							 : "linked with Android's libc");
}

/* header is of our own class and architecture, so the structures of elf(5) fit. */
static bool check_headers(struct program *program, const struct file *file,
	const ElfW(Ehdr) * header)
{
	_Alignas(ElfW(Phdr)) char buffer[64 * sizeof(ElfW(Phdr))];
	const ElfW(Phdr) *headers = (const void *)buffer;
	const ElfW(Phdr) *interpreter = NULL;

	if (header->e_phentsize != sizeof(*headers) || header->e_phnum > 64)
		return not_guardable(program, TOO_MANY_HEADERS);
	if (!read_part(file, header->e_phoff, header->e_phnum * sizeof(*headers), buffer))
		return not_guardable(program, "corrupt: its headers are truncated");
	for (size_t i = 0; i < header->e_phnum; i++) {
		if (headers[i].p_type == PT_NOTE && is_go(file, &headers[i])) {
			program->go = true;
			return not_guardable(program,
				"a Go program, which makes system calls without libc");
		}
		if (headers[i].p_type == PT_INTERP)
			interpreter = &headers[i];
	}
	if (!interpreter)
		return not_guardable(program,
			"statically linked, so no loader can preload the guard");
	return has_our_libc(program, file, interpreter);
}

static bool check_elf(struct program *program, const struct file *file,
	const struct library *library)
{
	ElfW(Ehdr) header;

	if (!read_part(file, 0, sizeof(header), &header))
		return not_guardable(program, "corrupt: its headers are truncated");
	/* Class, byte order, then the machine, whose offset is the same in both classes. */
	if (memcmp(header.e_ident, __ehdr_start.e_ident, EI_VERSION) == 0 &&
		header.e_machine == __ehdr_start.e_machine)
		return check_headers(program, file, &header);
	return (library && library_exists_for(library, &header)) ||
	       not_guardable(program, "built for a different architecture than the guard");
}

/* ---- scripts ---- */

/*
 * The program that env(1) will run, from its arguments in a script's first line. NULL if env clears
 * the environment.
 */
static const char *program_of_env(char *words)
{
	char *rest = NULL;
	char *word = strtok_r(words, " \t", &rest);

	for (; word; word = strtok_r(NULL, " \t", &rest)) {
		if (strncmp(word, "-S", 2) == 0 && word[2] != '\0')
			word += 2; /* "-Spython3" */
		if (strcmp(word, "-") == 0 || strcmp(word, "-i") == 0 ||
			strcmp(word, "--ignore-environment") == 0)
			return NULL;
		if (strcmp(word, "-u") == 0 || strcmp(word, "-C") == 0)
			strtok_r(NULL, " \t", &rest); /* skips the option's value */
		else if (word[0] != '-' && !strchr(word, '='))
			return word;
	}
	return "";
}

static bool is_env(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strcmp(slash ? slash + 1 : path, "env") == 0;
}

/* Sets program->about to the interpreter of a script. Returns false if it need not be inspected. */
static bool find_interpreter(struct program *program, const struct file *file)
{
	char line[LINE + 1];
	char *interpreter = line + 2;
	size_t length = file->length < LINE ? file->length : LINE;
	const char *next;
	char *behind;

	memcpy(line, file->head, length);
	line[length] = '\0';
	line[strcspn(line, "\n")] = '\0';
	interpreter += strspn(interpreter, " \t");
	behind = interpreter + strcspn(interpreter, " \t");
	if (*behind != '\0')
		*behind++ = '\0';
	if (!is_env(interpreter)) {
		snprintf(program->about, PATH_MAX, "%s", interpreter);
		return true;
	}
	next = program_of_env(behind);
	if (!next)
		return not_guardable(program, "a script whose first line clears LD_PRELOAD");
	return find_program(next, program->about) ||
	       set(program, NO_PROGRAM, "the interpreter in its first line does not exist");
}

/* ---- inspection ---- */

/* Returns whether program->about is another file to inspect. */
static bool inspect_file(struct program *program, int fd, const struct library *library)
{
	struct file file = {.fd = fd};
	ssize_t length = pread(fd, file.head, sizeof(file.head), 0);

	if (length < 0)
		return NOT_READABLE(program);
	file.length = (size_t)length;
	if (length >= 2 && memcmp(file.head, "#!", 2) == 0)
		return find_interpreter(program, &file);
	if (length < SELFMAG || memcmp(file.head, ELFMAG, SELFMAG) != 0) {
		strcpy(program->about, "/bin/sh"); /* which execvp(3) runs for such a file */
		return true;
	}
	program->gains_rights = reason_for_secure_exec(fd) != NULL;
	if (check_elf(program, &file, library) && check_privileges(program, fd))
		set(program, GUARDABLE, NULL);
	return false;
}

static bool open_and_inspect(struct program *program, const char *path,
	const struct library *library)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool continues;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? set(program, NO_PROGRAM,
					 "the interpreter in its first line does not exist")
			       : NOT_READABLE(program);
	continues = inspect_file(program, fd, library);
	close(fd);
	return continues;
}

void program_inspect(struct program *program, const char *name, const struct library *library)
{
	program->go = false;
	program->gains_rights = false;
	set(program, NO_PROGRAM, "no such program");
	if (!find_program(name, program->found))
		return;
	memcpy(program->about, program->found, PATH_MAX);
	for (int i = 0; i < MAX_SCRIPTS; i++)
		if (!open_and_inspect(program, program->about, library))
			return;
	not_guardable(program, "one of too many nested script interpreters");
}

void program_inspect_running(struct program *program, const char *exe,
	const struct library *library)
{
	ssize_t length = readlink(exe, program->found, PATH_MAX - 1);

	program->found[length > 0 ? length : 0] = '\0';
	memcpy(program->about, program->found, PATH_MAX);
	program->go = false;
	open_and_inspect(program, exe, library);
}
