/*
 * A fuzzer of the record in a lock file, which anybody may have written: whatever the text, reading
 * it touches nothing outside of it, and what was understood of it is stable: written and read again
 * it is the same. What this library writes it can read.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool held, const char *what)
{
	if (held)
		return;
	fprintf(stderr, "DIFFERENCE: %s\n", what);
	abort();
}

static bool same(const struct record *a, const struct record *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->time == b->time &&
	       a->socket == b->socket && a->cookie == b->cookie && a->netns == b->netns &&
	       a->left == b->left && strcmp(a->boot, b->boot) == 0 && strcmp(a->comm, b->comm) == 0;
}

/* Writes it into memory of its very size, so that a byte too many is seen. */
static char *written(const struct record *record)
{
	char *text = malloc(RECORD_SIZE);

	if (!text)
		abort();
	record_write(record, text);
	expect(!memchr(text, '\0', RECORD_SIZE), "a NUL in the text");
	expect(text[RECORD_SIZE - 1] == '\n', "no newline at the end of the text");
	return text;
}

/* Writing and reading gives the same again. */
static void expect_stable(const struct record *record)
{
	struct record again;
	char *text = written(record), *text_again;

	expect(record_read(&again, text, RECORD_SIZE), "what was written cannot be read");
	expect(same(record, &again), "what was read is not what was written");
	text_again = written(&again);
	expect(memcmp(text, text_again, RECORD_SIZE) == 0, "written again it is another text");
	free(text_again);
	free(text);
}

static void read_any(const uint8_t *data, size_t size)
{
	static const struct record nothing;
	struct record record;
	char *text = malloc(size + !size);

	if (!text)
		abort();
	memcpy(text, data, size);
	if (record_read(&record, text, size)) {
		expect(memchr(record.boot, '\0', sizeof(record.boot)) &&
				memchr(record.comm, '\0', sizeof(record.comm)),
			"a text without an end");
		expect_stable(&record);
	} else {
		expect(same(&record, &nothing), "a record in spite of a failure");
	}
	free(text);
}

/* A text of the right size, for most inputs are not, nor begin with the first line. */
static void read_fitted(const uint8_t *data, size_t size)
{
	static const char first[] = "sockguard 1\nname held\n";
	uint8_t text[RECORD_SIZE];

	memset(text, ' ', sizeof(text));
	memcpy(text, first, sizeof(first) - 1);
	if (size > sizeof(text) - (sizeof(first) - 1))
		size = sizeof(text) - (sizeof(first) - 1);
	memcpy(text + sizeof(first) - 1, data, size);
	read_any(text, sizeof(text));
}

/* Of any process, be its name and its numbers what they may. */
static void write_any(const uint8_t *data, size_t size)
{
	struct record record, again;
	char *text;

	memset(&record, 0, sizeof(record));
	memcpy(&record, data,
		size < offsetof(struct record, left) ? size : offsetof(struct record, left));
	record.boot[RECORD_BOOT - 1] = '\0';
	record.comm[RECORD_COMM - 1] = '\0';
	record.left = size % 2;
	text = written(&record);
	expect(record_read(&again, text, RECORD_SIZE), "what was written cannot be read");
	expect(record.pid == again.pid && record.cookie == again.cookie &&
			record.netns == again.netns && record.left == again.left,
		"what was read is not what was written");
	free(text);
	expect_stable(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		read_any(data + 1, size - 1);
		break;
	case 1:
		read_fitted(data + 1, size - 1);
		break;
	default:
		write_any(data + 1, size - 1);
	}
	return 0;
}
