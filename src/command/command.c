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

/* One line, one write: several processes may share a log. */
static void complain(const char *words, const char *after)
{
	char *line = escape_line(words);
	char *whole = command_print("sockguard: %s%s\n", line, after);

	fputs(whole, stderr);
	free(whole);
	free(line);
}

static __attribute__((format(printf, 1, 0))) char *print_list(const char *format, va_list list)
{
	char *words;

	if (vasprintf(&words, format, list) < 0)
		out_of_memory();
	return words;
}

char *command_print(const char *format, ...)
{
	va_list list;
	char *words;

	va_start(list, format);
	words = print_list(format, list);
	va_end(list);
	return words;
}

char *command_lockfile(const char *path)
{
	size_t directory = inode_directory(path);

	return command_print("%.*s%s%s%s", (int)directory, path, LOCKFILE_PREFIX, path + directory,
		LOCKFILE_SUFFIX);
}

void command_warn(const char *format, ...)
{
	va_list list;
	char *words;

	va_start(list, format);
	words = print_list(format, list);
	va_end(list);
	complain(words, "");
	free(words);
}

void command_die(int status, const char *format, ...)
{
	va_list list;
	char *words;

	va_start(list, format);
	words = print_list(format, list);
	va_end(list);
	complain(words, "");
	exit(status);
}

void command_misuse(const struct command *command, const char *format, ...)
{
	va_list list;
	char *words, *hint;

	va_start(list, format);
	words = print_list(format, list);
	va_end(list);
	hint = command_print("; see sockguard %s%s--help", command->name,
		command->name[0] != '\0' ? " " : "");
	complain(words, hint);
	exit(EXIT_USAGE);
}

void *command_resize(void *memory, size_t size)
{
	void *resized = realloc(memory, size > 0 ? size : 1);

	if (!resized)
		out_of_memory();
	return resized;
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

/* getopt_long tells only roughly what it minded. */
static __attribute__((noreturn)) void misused_option(const struct command *command, int what,
	const char *word)
{
	const char letter[] = {'-', (char)optopt, '\0'};

	if (word[0] != '-' || word[1] != '-')
		word = letter; /* one of several in a word */
	if (what == ':')
		command_misuse(command, "%s takes a value", word);
	if (optopt != 0 && word != letter)
		command_misuse(command, "%s: this option takes no value", word);
	command_misuse(command, "there is no option %s", word);
}

int command_option(const struct command *command, int argc, char **argv, const char *letters,
	const struct option *words)
{
	char *colon = command_print("%s:%s", letters[0] == '+' ? "+" : "",
		letters + (letters[0] == '+')); /* for a missing value to be told apart */
	int option;

	opterr = 0;
	option = getopt_long(argc, argv, colon, words, NULL);
	free(colon);
	if (option == '?' || option == ':')
		misused_option(command, option, argv[optind > 0 ? optind - 1 : 0]);
	if (option == 'h') {
		fputs(command->help, stdout);
		if (fflush(stdout) != 0)
			command_die(EXIT_FAILED, "the output could not be written: %s",
				strerror(errno));
		exit(EXIT_ALL);
	}
	return option;
}
