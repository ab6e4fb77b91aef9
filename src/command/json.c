#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "escape.h"

json_t *json_text(const char *words)
{
	char *text = words ? escape_to_utf8(words) : NULL;
	json_t *value = text ? json_string(text) : json_null();

	free(text);
	return value;
}

void json_put(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) != 0)
		command_die(EXIT_FAILED, "out of memory");
}

void json_put_path(json_t *object, const char *key, const char *path)
{
	char *hex, *name;

	json_put(object, key, json_text(path));
	if (escape_is_utf8(path))
		return;
	hex = command_allocate(2 * strlen(path) + 1);
	for (size_t i = 0; path[i] != '\0'; i++)
		sprintf(hex + 2 * i, "%02x", (unsigned char)path[i]);
	name = command_format("%s_hex", key);
	json_put(object, name, json_string(hex));
	free(name);
	free(hex);
}

void json_print(const char *key, json_t *value)
{
	json_t *object = json_object();

	json_put(object, key, value);
	json_dumpf(object, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(object);
}
