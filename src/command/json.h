/*
 * json: the subcommands' output in JSON, which is UTF-8, while paths may be any bytes.
 */
#ifndef JSON_H
#define JSON_H

#include <jansson.h>

/* A string, with U+FFFD for each byte that is not UTF-8; null for NULL. */
json_t *json_text(const char *words);

/* Sets a key of an object, and takes ownership of the value. */
void json_put(json_t *object, const char *key, json_t *value);

/* Sets a key to a path. If that is not UTF-8, also sets KEY_hex to its bytes. */
void json_put_path(json_t *object, const char *key, const char *path);

/* Prints an object with that one key to stdout, and frees the value. */
void json_print(const char *key, json_t *value);

#endif
