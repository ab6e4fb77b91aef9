#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "lockfile.h"

static __attribute__((noreturn)) void out_of_memory(void)
{
	fputs("sockguard: out of memory\n", stderr);
	exit(EXIT_FAILED);
}

static __attribute__((format(printf, 1, 0))) char *format_list(const char *format, va_list list)
{
	char *words;

	if (vasprintf(&words, format, list) < 0)
		out_of_memory();
	return words;
}

char *command_format(const char *format, ...)
{
	va_list list;
	char *words;

	va_start(list, format);
	words = format_list(format, list);
	va_end(list);
	return words;
}

/* Writes a line with one write(2), since several processes may share a log. */
static __attribute__((format(printf, 1, 0))) void print_message(const char *format, va_list list,
	const char *after)
{
	char *words = format_list(format, list);
	char *line = escape_line(words);
	char *whole = command_format("sockguard: %s%s\n", line, after);

	fputs(whole, stderr);
	free(whole);
	free(line);
	free(words);
}

char *command_lockfile_path(const char *path)
{
	size_t directory = inode_directory_length(path);

	return command_format("%.*s%s%s%s", (int)directory, path, LOCKFILE_PREFIX, path + directory,
		LOCKFILE_SUFFIX);
}

void command_warn(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	print_message(format, list, "");
	va_end(list);
}

void command_die(int status, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	print_message(format, list, "");
	va_end(list);
	exit(status);
}

void command_misuse(const struct command *command, const char *format, ...)
{
	va_list list;
	char *hint = command_format("; see sockguard %s%s--help", command->name,
		command->name[0] != '\0' ? " " : "");

	va_start(list, format);
	print_message(format, list, hint);
	va_end(list);
	exit(EXIT_USAGE);
}

void *command_resize(void *memory, size_t size)
{
	void *resized = realloc(memory, size > 0 ? size : 1);

	if (!resized)
		out_of_memory();
	return resized;
}

void *command_grow(void *list, size_t count, size_t item)
{
	if ((count & (count - 1)) != 0)
		return list; /* the size is the next power of two */
	return command_resize(list, (count > 0 ? 2 * count : 1) * item);
}

void *command_allocate(size_t size)
{
	return memset(command_resize(NULL, size), 0, size);
}

char *command_copy(const char *words)
{
	size_t size = strlen(words) + 1;

	return memcpy(command_allocate(size), words, size);
}

/* getopt_long(3) returns '?' for several mistakes; prints which one it was. */
static __attribute__((noreturn)) void misused_option(const struct command *command, int what,
	const char *word)
{
	const char letter[] = {'-', (char)optopt, '\0'};

	if (word[0] != '-' || word[1] != '-')
		word = letter; /* one of several letters in an argument */
	if (what == ':')
		command_misuse(command, "%s requires a value", word);
	if (optopt != 0 && word != letter)
		command_misuse(command, "%.*s does not take a value", (int)strcspn(word, "="),
			word);
	command_misuse(command, "unknown option %s", word);
}

int command_option(const struct command *command, int argc, char **argv, const char *letters,
	const struct option *words)
{
	/* ':' makes it print nothing, and return ':' for a missing value. */
	char *colon = command_format("%s:%s", letters[0] == '+' ? "+" : "",
		letters + (letters[0] == '+'));
	int option;

	option = getopt_long(argc, argv, colon, words, NULL);
	free(colon);
	if (option == '?' || option == ':')
		misused_option(command, option, argv[optind - 1]);
	if (option == 'h') {
		fputs(command->help, stdout);
		if (fflush(stdout) != 0)
			command_die(EXIT_FAILED, "cannot write the output: %s", strerror(errno));
		exit(EXIT_ALL);
	}
	return option;
}
