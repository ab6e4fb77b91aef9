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

#define SCRIPTS   5   /* interpreters of interpreters, as many as the kernel follows and one more */
#define LINE      256 /* BINPRM_BUF_SIZE: the kernel reads no more of a script */
#define HEAD      4096 /* most programs have all we look at in their first page */
#define NOTES     4096
#define GO_NOTE   4 /* a Go build id */
#define NO_ROOM   "its headers are longer than any program's"
#define UNTOLD(p) set((p), GUARDABLE_UNTOLD, "it may not be read")

/* The header the linker gave ourselves: the command is for the library's machine. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

static bool set(struct program *program, enum guardable guardable, const char *why)
{
	program->guardable = guardable;
	program->why = why;
	return false;
}

static bool refuse(struct program *program, const char *why)
{
	return set(program, NOT_GUARDABLE, why);
}

/* ---- the file of a name ---- */

static bool is_executable(const char *path)
{
	struct stat found;

	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 && stat(path, &found) == 0 &&
	       S_ISREG(found.st_mode);
}

/* As execvp does it; where no file can be executed, the answer is empty. */
static bool find(const char *name, char found[PATH_MAX])
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

/* ---- rights ---- */

static bool gains_nothing(int fd)
{
	struct statvfs fs;

	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
	       (fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOSUID));
}

/* How whoever executes the file gets other rights by that; NULL if it does not. */
static const char *gains_by(int fd)
{
	struct stat found;

	if (fstat(fd, &found) != 0)
		return NULL;
	if ((found.st_mode & S_ISUID) && found.st_uid != getuid() && !gains_nothing(fd))
		return "set-user-ID, so that the loader heeds no LD_PRELOAD";
	if ((found.st_mode & S_ISGID) && (found.st_mode & S_IXGRP) && found.st_gid != getgid() &&
		!gains_nothing(fd))
		return "set-group-ID, so that the loader heeds no LD_PRELOAD";
	if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0 &&
		!gains_nothing(fd))
		return "has file capabilities, so that the loader heeds no LD_PRELOAD";
	return NULL;
}

/* The loader of whoever gets other rights by the exec heeds no LD_PRELOAD, ld.so(8). */
static bool keeps_rights(struct program *program, int fd)
{
	const char *by = gains_by(fd);

	return !by || refuse(program, by);
}

/* ---- ELF ---- */

struct file {
	int fd;
	size_t length;
	_Alignas(ElfW(Ehdr)) char head[HEAD];
};

/* A part of the file, from what was read of it or into the buffer. */
static const void *part(const struct file *file, uint64_t offset, size_t size, void *buffer)
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

	if (!part(file, notes->p_offset, size, buffer))
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

	if (size >= sizeof(name) || !part(file, interpreter->p_offset, size, name))
		return true;
	kind = libc_of(name);
	return kind == LIBC_UNKNOWN || kind == LIBC_OURS ||
	       refuse(program, kind == LIBC_MUSL  ? "linked with musl, and the guard is not"
			       : kind == LIBC_GNU ? "linked with glibc, and the guard is not"
						  : "linked with Android's libc");
}

/* The headers of our own class: of the others the loader could not make use anyway. */
static bool look_at_headers(struct program *program, const struct file *file,
	const ElfW(Ehdr) * header)
{
	_Alignas(ElfW(Phdr)) char buffer[64 * sizeof(ElfW(Phdr))];
	const ElfW(Phdr) *headers = (const void *)buffer;
	const ElfW(Phdr) *interpreter = NULL;

	if (header->e_phentsize != sizeof(*headers) || header->e_phnum > 64)
		return refuse(program, NO_ROOM);
	if (!part(file, header->e_phoff, header->e_phnum * sizeof(*headers), buffer))
		return refuse(program, "its headers are cut off");
	for (size_t i = 0; i < header->e_phnum; i++) {
		if (headers[i].p_type == PT_NOTE && is_go(file, &headers[i])) {
			program->go = true;
			return refuse(program, "a Go program, and makes its system calls itself");
		}
		if (headers[i].p_type == PT_INTERP)
			interpreter = &headers[i];
	}
	if (!interpreter)
		return refuse(program, "statically linked, without a loader to preload the guard");
	return has_our_libc(program, file, interpreter);
}

static bool look_at_elf(struct program *program, const struct file *file,
	const struct library *library)
{
	ElfW(Ehdr) header;

	if (!part(file, 0, sizeof(header), &header))
		return refuse(program, "its headers are cut off");
	/* Class and order of bytes, then the machine, which lies at the same place in each class.
	 */
	if (memcmp(header.e_ident, __ehdr_start.e_ident, EI_VERSION) == 0 &&
		header.e_machine == __ehdr_start.e_machine)
		return look_at_headers(program, file, &header);
	return (library && library_serves(library, &header)) ||
	       refuse(program, "for another machine than the guard");
}

/* ---- scripts ---- */

/*
 * The program that env(1) is to run, by the words behind it in a script's first line; NULL where
 * it clears the environment first.
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
			strtok_r(NULL, " \t", &rest); /* their value */
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

/* Goes on to the interpreter of a script. Returns whether there is one. */
static bool follow(struct program *program, const struct file *file)
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
		return refuse(program, "has env clear LD_PRELOAD in its first line");
	return find(next, program->about) ||
	       set(program, NO_PROGRAM, "the interpreter of its first line is not there");
}

/* ---- all of it ---- */

/* Returns whether to look on, at another file. */
static bool look_at(struct program *program, int fd, const struct library *library)
{
	struct file file = {.fd = fd};
	ssize_t length = pread(fd, file.head, sizeof(file.head), 0);

	if (length < 0)
		return UNTOLD(program);
	file.length = (size_t)length;
	if (length >= 2 && memcmp(file.head, "#!", 2) == 0)
		return follow(program, &file);
	if (length < SELFMAG || memcmp(file.head, ELFMAG, SELFMAG) != 0) {
		strcpy(program->about, "/bin/sh"); /* as execvp has it run */
		return true;
	}
	program->gains_rights = gains_by(fd) != NULL;
	if (look_at_elf(program, &file, library) && keeps_rights(program, fd))
		set(program, GUARDABLE, NULL);
	return false;
}

static bool look_once(struct program *program, const char *path, const struct library *library)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool on;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? set(program, NO_PROGRAM,
					 "the interpreter of its first line is not there")
			       : UNTOLD(program);
	on = look_at(program, fd, library);
	close(fd);
	return on;
}

void program_look(struct program *program, const char *name, const struct library *library)
{
	program->go = false;
	program->gains_rights = false;
	set(program, NO_PROGRAM, "there is no such program");
	if (!find(name, program->found))
		return;
	memcpy(program->about, program->found, PATH_MAX);
	for (int i = 0; i < SCRIPTS; i++)
		if (!look_once(program, program->about, library))
			return;
	refuse(program, "a script of a script of a script, and so on");
}

void program_look_running(struct program *program, const char *exe, const struct library *library)
{
	ssize_t length = readlink(exe, program->found, PATH_MAX - 1);

	program->found[length > 0 ? length : 0] = '\0';
	memcpy(program->about, program->found, PATH_MAX);
	program->go = false;
	look_once(program, exe, library);
}
