/*
 * A fuzzer for the reader of lock file records, which any user may have written. For any text,
 * the reader must not access memory outside of it, and the result must be stable: if it is
 * written and read again, it must be the same. The reader must accept every record that the
 * library writes.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "DIFFERENCE: %s\n", what);
	abort();
}

static bool same(const struct record *a, const struct record *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->time == b->time &&
	       a->socket == b->socket && a->cookie == b->cookie && a->netns == b->netns &&
	       a->leaving == b->leaving && strcmp(a->boot, b->boot) == 0 &&
	       strcmp(a->comm, b->comm) == 0;
}

/* Writes the record into a buffer of exactly its size, so that an overrun by one byte is noticed.
 */
static char *format_copy(const struct record *record)
{
	char *text = malloc(RECORD_SIZE);

	if (!text)
		abort();
	record_format(record, text);
	expect(!memchr(text, '\0', RECORD_SIZE), "a NUL in the text");
	expect(text[RECORD_SIZE - 1] == '\n', "no newline at the end of the text");
	return text;
}

/* Requires that the record is the same after it was written and read again. */
static void expect_stable(const struct record *record)
{
	struct record again;
	char *text = format_copy(record), *text_again;

	expect(record_parse(&again, text, RECORD_SIZE), "what was written cannot be read");
	expect(same(record, &again), "what was read is not what was written");
	text_again = format_copy(&again);
	expect(memcmp(text, text_again, RECORD_SIZE) == 0,
		"the text differs when it is written again");
	free(text_again);
	free(text);
}

static void parse_any(const uint8_t *data, size_t size)
{
	static const struct record nothing;
	struct record record;
	char *text = malloc(size + !size);

	if (!text)
		abort();
	memcpy(text, data, size);
	if (record_parse(&record, text, size)) {
		expect(memchr(record.boot, '\0', sizeof(record.boot)) &&
				memchr(record.comm, '\0', sizeof(record.comm)),
			"a field of the record is not terminated");
		expect_stable(&record);
	} else {
		expect(same(&record, &nothing), "a record was filled in despite the failure");
	}
	free(text);
}

/* Pads or cuts the text to the right size and adds the first line, which most inputs lack. */
static void parse_with_first_line(const uint8_t *data, size_t size)
{
	static const char first[] = "sockguard 1\nname held\n";
	uint8_t text[RECORD_SIZE];

	memset(text, ' ', sizeof(text));
	memcpy(text, first, sizeof(first) - 1);
	if (size > sizeof(text) - (sizeof(first) - 1))
		size = sizeof(text) - (sizeof(first) - 1);
	memcpy(text + sizeof(first) - 1, data, size);
	parse_any(text, sizeof(text));
}

/* Writes the record of a process with any name and any numbers. */
static void format_any(const uint8_t *data, size_t size)
{
	struct record record, again;
	char *text;

	memset(&record, 0, sizeof(record));
	memcpy(&record, data,
		size < offsetof(struct record, leaving) ? size : offsetof(struct record, leaving));
	record.boot[RECORD_BOOT - 1] = '\0';
	record.comm[RECORD_COMM - 1] = '\0';
	record.leaving = size % 2;
	text = format_copy(&record);
	expect(record_parse(&again, text, RECORD_SIZE), "what was written cannot be read");
	expect(record.pid == again.pid && record.cookie == again.cookie &&
			record.netns == again.netns && record.leaving == again.leaving,
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
		parse_any(data + 1, size - 1);
		break;
	case 1:
		parse_with_first_line(data + 1, size - 1);
		break;
	default:
		format_any(data + 1, size - 1);
	}
	return 0;
}
