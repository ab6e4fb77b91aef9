/*
 * sockguard unit: prints a drop-in that makes systemd start a service under the guard, with
 * comments on what the unit's settings mean for it.
 */
#include <ctype.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "library.h"
#include "program.h"
#include "service.h"
#include "way.h"

static const char help[] =
	"Usage: sockguard unit UNIT\n"
	"\n"
	"Prints a drop-in that makes systemd start the service UNIT under the guard: with\n"
	"Environment= or, if the library cannot be preloaded, with ExecStart=. Comments\n"
	"explain how to install it and, if systemctl can show the unit, how the unit's\n"
	"settings affect the guard.\n"
	"\n"
	"  -h, --help  prints this text\n"
	"\n"
	"Exit status: 0, or 2 for bad usage.\n"
	"\n"
	"Example: mkdir -p /etc/systemd/system/app.service.d\n"
	"         sockguard unit app >/etc/systemd/system/app.service.d/sockguard.conf\n"
	"         systemctl daemon-reload && systemctl restart app\n";

#define UNIT_NAME_MAX 255 /* UNIT_NAME_MAX of systemd */

/* ---- the name ---- */

static bool ends_with(const char *word, const char *end)
{
	size_t length = strlen(word);

	return length > strlen(end) && strcmp(word + length - strlen(end), end) == 0;
}

/* The full name, as for systemctl: without a suffix it is a service. The caller frees it. */
static char *unit_name(const char *given)
{
	static const char *const others[] = {".socket", ".target", ".mount", ".automount", ".swap",
		".path", ".timer", ".slice", ".scope", ".device"};
	char *name;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (ends_with(given, others[i]))
			command_misuse(&command_unit, "%s starts no program; name its service",
				given);
	name = command_format("%s%s", given, ends_with(given, ".service") ? "" : ".service");
	if (given[0] == '\0' || given[0] == '-' || name[0] == '.' || name[0] == '@' ||
		strlen(name) > UNIT_NAME_MAX)
		command_misuse(&command_unit, "\"%s\" is not a valid unit name", given);
	for (const char *at = name; *at != '\0'; at++)
		if (!isascii(*at) || (!isalnum(*at) && !strchr(":-_.\\@", *at)))
			command_misuse(&command_unit, "\"%s\" is not a valid unit name", given);
	return name;
}

/* ---- the unit's settings ---- */

/*
 * The last value of a setting in the section [Service] of a unit's text, whose continued lines have
 * been joined. Ignores values for which `wanted` (may be NULL) returns false. NULL if there is
 * none. The caller frees it.
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
		char *value = command_format("%.*s", (int)strcspn(line, "\n"), line);
		if (wanted && !wanted(value)) {
			free(value);
			continue;
		}
		free(found);
		found = value;
	}
	return found;
}

/* Joins lines that a backslash continues, without the comments between them. */
static void join_lines(char *text)
{
	char *to = text;

	for (const char *at = text; *at != '\0';) {
		if (at[0] != '\\' || at[1] != '\n') {
			*to++ = *at++;
			continue;
		}
		*to++ = ' ';
		at += 2;
		while (at[strspn(at, " \t")] == '#' || at[strspn(at, " \t")] == ';') {
			at += strcspn(at, "\n");
			at += *at == '\n';
		}
	}
	*to = '\0';
}

/* Whether this is the line of systemctl cat that names our drop-in. */
static bool names_our_file(const char *line, size_t length)
{
	static const char ours[] = ".d/sockguard.conf";

	return length > sizeof(ours) &&
	       strncmp(line + length - (sizeof(ours) - 1), ours, sizeof(ours) - 1) == 0;
}

/* Removes an earlier drop-in of ours from the text, since the new one replaces it. */
static void remove_our_drop_in(char *text)
{
	char *to = text;
	bool ours = false;

	for (const char *line = text; *line != '\0';) {
		size_t length = strcspn(line, "\n");
		size_t whole = length + (line[length] == '\n');

		if (strncmp(line, "# /", 3) == 0)
			ours = names_our_file(line, length);
		if (!ours) {
			memmove(to, line, whole);
			to += whole;
		}
		line += whole;
	}
	*to = '\0';
}

/* ---- the comments ---- */

static bool is_on(const char *value)
{
	static const char *const words[] = {"1", "yes", "y", "true", "t", "on"};

	value += strspn(value, " \t");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
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

/* list names the allowed address families; or, if it starts with ~, the forbidden ones. */
static bool allows_family(const char *list, const char *family)
{
	bool inverted, named;

	list += strspn(list, " \t");
	inverted = list[0] == '~';
	named = strstr(list, family) != NULL;
	return named != inverted;
}

static void comment_on_families(const char *text)
{
	char *list = setting(text, "RestrictAddressFamilies", NULL);

	if (list && list[strspn(list, " \t")] != '\0') {
		if (!allows_family(list, "AF_UNIX"))
			puts("# RestrictAddressFamilies= does not allow AF_UNIX: the service "
			     "itself cannot create\n# Unix sockets.");
		else if (!allows_family(list, "AF_NETLINK"))
			puts("# RestrictAddressFamilies= does not allow AF_NETLINK: the guard then "
			     "treats a stale\n# socket of another user as live if the service "
			     "may not write to it.");
	}
	free(list);
}

static void comment_on_calls(const char *forbidden)
{
	if (forbidden)
		printf("# SystemCallFilter= does not allow %s,\n"
		       "# which the guard calls: the kernel may kill the service with SIGSYS. To "
		       "allow them,\n# remove the # from the last line.\n",
			forbidden);
}

/* ---- the programs that the unit starts ---- */

struct start {
	char *flags;   /* the prefix characters of the program, systemd.service(5) */
	char *command; /* the program and its arguments */
	char *name;    /* the program, without quotes */
	struct program program;
};

struct starts {
	struct start *list;
	size_t count;
	bool supervised; /* some can only be guarded by a supervisor */
	bool preloads;   /* some can be guarded by the library */
};

#define QUOTES "\"'"

/* The first word without quotes, which the caller frees. Sets *behind to the next word. */
static char *first_word(const char *command, const char **behind)
{
	const char quote[] = {command[0], '\0'};
	bool quoted = command[0] != '\0' && strchr(QUOTES, command[0]);
	size_t length = strcspn(command + quoted, quoted ? quote : " \t");

	*behind = command + quoted + length;
	if (quoted && **behind != '\0')
		++*behind;
	*behind += strspn(*behind, " \t");
	return command_format("%.*s", (int)length, command + quoted);
}

/* With @, the second word is the program's argv[0], which is removed here. */
static void remove_argv0(struct start *start)
{
	const char *behind, *rest;
	char *word = first_word(start->command, &behind);
	char *own = first_word(behind, &rest);
	char *command =
		command_format("%.*s%s", (int)(behind - start->command), start->command, rest);

	free(own);
	free(word);
	free(start->command);
	start->command = command;
}

static void add_start(struct starts *starts, const char *value, const struct library *library)
{
	size_t flags = strspn(value, "@-:+!|");
	const char *behind;
	struct start *start;

	if (value[0] == '\0') { /* an empty value resets the list */
		starts->count = 0;
		return;
	}
	starts->list = command_resize(starts->list, (starts->count + 1) * sizeof(*starts->list));
	start = &starts->list[starts->count++];
	start->flags = command_format("%.*s", (int)flags, value);
	start->command = command_copy(value + flags);
	start->name = first_word(start->command, &behind);
	program_inspect(&start->program, start->name, library);
}

/* All values of ExecStart= that are in effect. */
static void read_starts(struct starts *starts, const char *text, const struct library *library)
{
	char *rest = NULL, *copy = command_copy(text);
	bool service = false;

	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		size_t name = strlen("ExecStart");

		line += strspn(line, " \t");
		if (line[0] == '[')
			service = strncmp(line, "[Service]", 9) == 0;
		if (!service || strncmp(line, "ExecStart", name) != 0)
			continue;
		name += strspn(line + name, " \t");
		if (line[name] == '=')
			add_start(starts, line + name + 1 + strspn(line + name + 1, " \t"),
				library);
	}
	free(copy);
}

/* From now on, inspects programs as the service's user; as nobody if that user does not exist. */
static void inspect_as_service_user(const char *text)
{
	char *name = setting(text, "User", NULL);
	char *group = setting(text, "Group", NULL);
	const struct passwd *user = name ? getpwnam(name) : NULL;
	const struct group *named = group ? getgrnam(group) : NULL;
	const id_t nobody = 65534;
	bool other = is_switched_on(text, "DynamicUser") || (name && name[0] != '\0');
	uid_t uid = user ? user->pw_uid : other ? nobody : 0;
	gid_t gid = named ? named->gr_gid : user ? user->pw_gid : other ? nobody : 0;

	program_set_user(uid, gid, is_switched_on(text, "NoNewPrivileges"));
	free(group);
	free(name);
}

static bool starts_something_else(const char *text)
{
	static const char *const others[] = {"ExecCondition", "ExecStartPre", "ExecStartPost",
		"ExecReload", "ExecStop", "ExecStopPost"};
	bool any = false;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		any = any || is_set(text, others[i]);
	return any;
}

/* The caller must call starts_free. */
static void starts_load(struct starts *starts, const char *text, const struct library *library)
{
	if (text) {
		inspect_as_service_user(text);
		read_starts(starts, text, library);
	}
	starts->preloads = !text || starts->count == 0 || starts_something_else(text);
	for (size_t i = 0; i < starts->count; i++) {
		bool by_syscalls =
			starts->list[i].program.guardable == NOT_GUARDABLE && way_has_supervisor();

		starts->supervised = starts->supervised || by_syscalls;
		starts->preloads = starts->preloads || !by_syscalls;
	}
}

static void starts_free(struct starts *starts)
{
	for (size_t i = 0; i < starts->count; i++) {
		free(starts->list[i].flags);
		free(starts->list[i].command);
		free(starts->list[i].name);
	}
	free(starts->list);
}

/* Whether the service has CAP_SYS_ADMIN, and so may install a filter without no_new_privs. */
static bool has_sys_admin(const char *text)
{
	char *user = setting(text, "User", NULL);
	char *bound = setting(text, "CapabilityBoundingSet", NULL);
	bool is_root =
		!user || user[0] == '\0' || strcmp(user, "root") == 0 || strcmp(user, "0") == 0;
	bool named = !bound || strstr(bound, "CAP_SYS_ADMIN");
	bool inverted = bound && bound[strspn(bound, " \t")] == '~';

	free(bound);
	free(user);
	return is_root && !is_switched_on(text, "DynamicUser") && (!bound || named != inverted);
}

static void comment_on_rights(const struct program *program, const char *text)
{
	if (is_switched_on(text, "NoNewPrivileges") || has_sys_admin(text))
		return;
	puts("# The service has no CAP_SYS_ADMIN, so its supervisor sets no_new_privs: set-ID "
	     "programs\n# that the service starts, such as sudo, gain no privileges.");
	if (program->gains_rights)
		printf("# This applies to %s itself: give it the privileges that it needs with\n"
		       "# User=, Group= or AmbientCapabilities=.\n",
			program->found);
}

static void comment_on_starts(const struct starts *starts, const char *text)
{
	for (size_t i = 0; i < starts->count; i++) {
		const struct program *program = &starts->list[i].program;

		if (program->guardable != NOT_GUARDABLE)
			continue;
		if (!way_has_supervisor()) {
			printf("# This service will not be guarded: %s is %s.\n", program->about,
				program->why);
			continue;
		}
		printf("# The library cannot be preloaded: %s is %s.\n"
		       "# The ExecStart= below guards it by system call, see sockguard(1).\n",
			program->about, program->why);
		if (strchr(starts->list[i].flags, '@'))
			puts("# The drop-in omits the name that @ gives to the program.");
		if (!strchr(starts->list[i].flags, '+'))
			comment_on_rights(program, text);
	}
}

static void comment_on_directories(const char *text)
{
	bool dynamic = is_switched_on(text, "DynamicUser");

	if (dynamic || is_switched_on(text, "PrivateTmp"))
		printf("# %s= gives the service a private /tmp: a socket path there is visible,\n"
		       "# and guarded, only within this unit.\n",
			dynamic ? "DynamicUser" : "PrivateTmp");
	if (is_set(text, "RuntimeDirectory"))
		puts("# RuntimeDirectory=: when a unit that uses this directory stops, systemd "
		     "removes it with\n# all sockets in it. Give each unit a directory of its "
		     "own.");
	if (is_set(text, "RootDirectory") || is_set(text, "RootImage"))
		puts("# RootDirectory= or RootImage=: the library must exist at the same path "
		     "inside.");
}

/* ---- the drop-in ---- */

/* The unit's own value of LD_PRELOAD, without quotes; empty: none. The caller frees it. */
static char *preload_of(const char *text)
{
	char *value = text ? setting(text, "Environment", names_preload) : NULL;
	char *start = value ? strstr(value, "LD_PRELOAD=") + strlen("LD_PRELOAD=") : NULL;
	char *preload = start ? command_format("%.*s", (int)strcspn(start, "\"' \t"), start)
			      : command_copy("");

	free(value);
	return preload;
}

/* A percent sign begins a specifier, systemd.unit(5). */
static void print_value(const char *value, const char *behind)
{
	for (; *value != '\0'; value++) {
		if (*value == '%')
			putchar('%');
		putchar(*value);
	}
	fputs(behind, stdout);
}

static void comment_on_preload(const char *text, const struct starts *starts)
{
	char *before = preload_of(text);

	if (before[0] != '\0' && starts->preloads)
		printf("# The unit already sets LD_PRELOAD=%s; the line below includes it, since\n"
		       "# only the last one counts.\n",
			before);
	free(before);
}

static void print_environment(const char *text, const struct library *library)
{
	char *before = preload_of(text);
	char *preload = library_preload_value(library, before);

	fputs("Environment=LD_PRELOAD=", stdout);
	print_value(preload, "\n");
	free(preload);
	free(before);
}

/* The first line resets the unit's own list. */
static void print_starts(struct starts *starts)
{
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[length > 0 ? length : 0] = '\0';
	puts("ExecStart=");
	for (size_t i = 0; i < starts->count; i++) {
		struct start *start = &starts->list[i];
		bool supervised = start->program.guardable == NOT_GUARDABLE;

		printf("ExecStart=");
		if (supervised && strchr(start->flags, '@'))
			remove_argv0(start);
		for (const char *flag = start->flags; *flag != '\0'; flag++)
			if (!supervised || *flag != '@')
				putchar(*flag);
		if (supervised)
			print_value(self, " run --by syscalls ");
		puts(start->command);
	}
}

static void print_comments(const char *unit, const char *text, const char *forbidden,
	const struct starts *starts)
{
	printf("# Makes systemd start %s under the guard. To install it, run as root:\n"
	       "#   mkdir -p /etc/systemd/system/%s.d\n"
	       "#   sockguard unit %s >/etc/systemd/system/%s.d/sockguard.conf\n"
	       "#   systemctl daemon-reload && systemctl restart %s\n",
		unit, unit, unit, unit, unit);
	if (!text) {
		puts("# systemctl cannot show the unit, so its settings were not checked.");
		return;
	}
	comment_on_starts(starts, text);
	comment_on_families(text);
	comment_on_calls(forbidden);
	comment_on_directories(text);
	comment_on_preload(text, starts);
}

static int unit(int argc, char **argv)
{
	static const struct option words[] = {
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct library library;
	struct service service = {0};
	struct starts starts = {0};
	char *text, *forbidden;

	command_option(&command_unit, argc, argv, "h", words);
	if (optind == argc)
		command_misuse(&command_unit, "no unit given");
	if (optind + 1 < argc)
		command_misuse(&command_unit, "unexpected argument %s", argv[optind + 1]);
	service.name = unit_name(argv[optind]);
	library_find(&library);
	text = service_text(&service);
	if (text) {
		remove_our_drop_in(text);
		join_lines(text);
	}
	starts_load(&starts, text, &library);
	forbidden = text ? service_forbidden_calls(&service, starts.supervised) : NULL;
	print_comments(service.name, text, forbidden, &starts);
	puts("[Service]");
	if (starts.preloads)
		print_environment(text, &library);
	if (starts.supervised)
		print_starts(&starts);
	starts_free(&starts);
	if (forbidden)
		printf("#SystemCallFilter=%s\n", forbidden);
	free(forbidden);
	free(text);
	free(service.name);
	return EXIT_ALL;
}

const struct command command_unit = {"unit", unit, help};
