/*
 * sockguard unit: prints the drop-in that has systemd start a service under the guard, with what
 * is to be known about that unit in comments.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "library.h"
#include "program.h"
#include "service.h"

static const char help[] =
	"Usage: sockguard unit UNIT\n"
	"\n"
	"Prints a drop-in that has systemd guard the service UNIT, to stdout. Its\n"
	"comments tell how to install it and, where systemctl shows the unit, what the\n"
	"unit's settings mean for the guard.\n"
	"\n"
	"  -h, --help  this text\n"
	"\n"
	"Exit status: 0, or 2 for bad usage.\n"
	"\n"
	"Example: mkdir -p /etc/systemd/system/app.service.d\n"
	"         sockguard unit app >/etc/systemd/system/app.service.d/sockguard.conf\n"
	"         systemctl daemon-reload && systemctl restart app\n";

#define UNIT_NAME_MAX 255 /* as systemd has it */

/* ---- the name ---- */

static bool ends_with(const char *word, const char *end)
{
	size_t length = strlen(word);

	return length > strlen(end) && strcmp(word + length - strlen(end), end) == 0;
}

/* The full name, as systemctl takes it: a service where it does not say. The caller frees it. */
static char *unit_name(const char *given)
{
	static const char *const others[] = {".socket", ".target", ".mount", ".automount", ".swap",
		".path", ".timer", ".slice", ".scope", ".device"};
	char *name;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (ends_with(given, others[i]))
			command_misuse(&command_unit, "%s starts no program: name its service",
				given);
	name = command_print("%s%s", given, ends_with(given, ".service") ? "" : ".service");
	if (given[0] == '\0' || given[0] == '-' || name[0] == '.' || name[0] == '@' ||
		strlen(name) > UNIT_NAME_MAX)
		command_misuse(&command_unit, "\"%s\" is not the name of a unit", given);
	for (const char *at = name; *at != '\0'; at++)
		if (!isascii(*at) || (!isalnum(*at) && !strchr(":-_.\\@", *at)))
			command_misuse(&command_unit, "\"%s\" is not the name of a unit", given);
	return name;
}

/* ---- what the unit says ---- */

/*
 * The last value a setting of the section [Service] has in a unit's text, in which lines may go on
 * behind a backslash; NULL where there is none. The caller frees it.
 */
static char *setting(const char *text, const char *name, bool (*wanted)(const char *value))
{
	bool service = false;
	size_t length = strlen(name);
	char *found = NULL;

	for (const char *line = text; line && *line != '\0';
		line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		line += strspn(line, " \t");
		if (line[0] == '[')
			service = strncmp(line, "[Service]", 9) == 0;
		if (!service || strncmp(line, name, length) != 0 ||
			line[length + strspn(line + length, " \t")] != '=')
			continue;
		line = strchr(line, '=') + 1;
		char *value = command_print("%.*s", (int)strcspn(line, "\n"), line);
		if (wanted && !wanted(value)) {
			free(value);
			continue;
		}
		free(found);
		found = value;
	}
	return found;
}

/* ---- the comments ---- */

static bool is_on(const char *value)
{
	static const char *const words[] = {"1", "yes", "y", "true", "t", "on"};

	value += strspn(value, " \t");
	for (size_t i = 0; value && i < sizeof(words) / sizeof(words[0]); i++)
		if (strncasecmp(value, words[i], strlen(words[i])) == 0 &&
			value[strlen(words[i]) + strspn(value + strlen(words[i]), " \t")] == '\0')
			return true;
	return false;
}

static bool names_preload(const char *value)
{
	return strstr(value, "LD_PRELOAD=") != NULL;
}

static bool is_set(const char *text, const char *name)
{
	char *value = setting(text, name, NULL);
	bool set = value && value[strspn(value, " \t")] != '\0';

	free(value);
	return set;
}

static bool is_switched_on(const char *text, const char *name)
{
	char *value = setting(text, name, NULL);
	bool on = value && is_on(value);

	free(value);
	return on;
}

/* A list that allows, or with a ~ at its start forbids. */
static bool allows_family(const char *list, const char *family)
{
	bool inverted, named;

	list += strspn(list, " \t");
	inverted = list[0] == '~';
	named = strstr(list, family) != NULL;
	return named != inverted;
}

static void tell_of_families(const char *text)
{
	char *list = setting(text, "RestrictAddressFamilies", NULL);

	if (list && list[strspn(list, " \t")] != '\0') {
		if (!allows_family(list, "AF_UNIX"))
			puts("# RestrictAddressFamilies= leaves out AF_UNIX: it can make no Unix "
			     "sockets "
			     "itself.");
		else if (!allows_family(list, "AF_NETLINK"))
			puts("# RestrictAddressFamilies= leaves out AF_NETLINK: a stale socket "
			     "that the "
			     "service may not write\n# to, another user's, is then taken for "
			     "live.");
	}
	free(list);
}

static void tell_of_calls(const char *forbidden)
{
	if (forbidden)
		printf("# SystemCallFilter= leaves out %s,\n"
		       "# which the guard calls: the service would be ended by SIGSYS. To allow "
		       "them, "
		       "remove the #\n# before the last line.\n",
			forbidden);
}

static void tell_of_program(const char *text, const struct library *library)
{
	char *value = setting(text, "ExecStart", NULL);
	struct program program;
	char *word;

	if (!value)
		return;
	word = value + strspn(value, " \t@-:+!");
	word[strcspn(word, " \t\"'\\")] = '\0';
	if (word[0] == '/') {
		program_look(&program, word, library);
		if (program.guardable == NOT_GUARDABLE)
			printf("# This service will not be guarded: %s is %s.\n", program.about,
				program.why);
	}
	free(value);
}

static void tell_of_directories(const char *text)
{
	bool dynamic = is_switched_on(text, "DynamicUser");

	if (dynamic || is_switched_on(text, "PrivateTmp"))
		printf("# %s= gives it a /tmp of its own: a socket path there is seen, and "
		       "guarded, in "
		       "this unit\n# alone.\n",
			dynamic ? "DynamicUser" : "PrivateTmp");
	if (is_set(text, "RuntimeDirectory"))
		puts("# RuntimeDirectory= is removed with all sockets in it when a unit that has "
		     "it "
		     "stops: let no\n# other unit have the same.");
	if (is_set(text, "RootDirectory") || is_set(text, "RootImage"))
		puts("# RootDirectory= or RootImage=: the library must be found by the same path "
		     "in "
		     "there.");
}

/* ---- the drop-in ---- */

/* LD_PRELOAD in what the unit has already, without quotes; empty: none. The caller frees it. */
static char *preload_of(const char *text)
{
	char *value = text ? setting(text, "Environment", names_preload) : NULL;
	char *start = value ? strstr(value, "LD_PRELOAD=") + strlen("LD_PRELOAD=") : NULL;
	char *preload = start ? command_print("%.*s", (int)strcspn(start, "\"' \t"), start)
			      : command_copy("");

	free(value);
	return preload;
}

/* A percent sign begins a specifier, systemd.unit(5). */
static void print_value(const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == '%')
			putchar('%');
		putchar(*value);
	}
	putchar('\n');
}

static void print_comments(const char *unit, const char *text, const char *forbidden,
	const struct library *library)
{
	printf("# Has systemd start %s under the guard. To install it, as root:\n"
	       "#   mkdir -p /etc/systemd/system/%s.d\n"
	       "#   sockguard unit %s >/etc/systemd/system/%s.d/sockguard.conf\n"
	       "#   systemctl daemon-reload && systemctl restart %s\n",
		unit, unit, unit, unit, unit);
	if (!text) {
		puts("# systemctl does not show the unit, so nothing is said of its settings "
		     "here.");
		return;
	}
	tell_of_program(text, library);
	tell_of_families(text);
	tell_of_calls(forbidden);
	tell_of_directories(text);
}

static int unit(int argc, char **argv)
{
	static const struct option words[] = {
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct library library;
	struct service service = {0};
	char *text, *before, *preload, *forbidden;

	command_option(&command_unit, argc, argv, "h", words);
	if (optind == argc)
		command_misuse(&command_unit, "name the unit to guard");
	if (optind + 1 < argc)
		command_misuse(&command_unit, "one unit at a time: %s is one too many",
			argv[optind + 1]);
	service.name = unit_name(argv[optind]);
	library_find(&library);
	text = service_text(&service);
	forbidden = text ? service_forbids(&service) : NULL;
	before = preload_of(text);
	preload = library_preload(&library, before);
	print_comments(service.name, text, forbidden, &library);
	if (before[0] != '\0')
		printf("# The unit sets LD_PRELOAD=%s already; it is kept here, since the last one "
		       "counts.\n",
			before);
	fputs("[Service]\nEnvironment=LD_PRELOAD=", stdout);
	print_value(preload);
	if (forbidden)
		printf("#SystemCallFilter=%s\n", forbidden);
	free(forbidden);
	free(preload);
	free(before);
	free(text);
	free(service.name);
	return EXIT_ALL;
}

const struct command command_unit = {"unit", unit, help};
