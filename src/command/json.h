/*
 * json: what the subcommands say in JSON, which is UTF-8 while paths may be anything.
 */
#ifndef JSON_H
#define JSON_H

#include <jansson.h>

/* A string, with U+FFFD for each byte that is no UTF-8; null for NULL. */
json_t *json_words(const char *words);

/* Sets a key of an object, and takes the value over. */
void json_put(json_t *object, const char *key, json_t *value);

/* Sets a key to a path, and another, KEY_hex, to its bytes where the path is no UTF-8. */
void json_put_path(json_t *object, const char *key, const char *path);

/* Prints an object with that one key to stdout, and frees the value. */
void json_print(const char *key, json_t *value);

#endif
