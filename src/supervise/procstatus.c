#include "procstatus.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool procstatus_reread(int fd, char status[PROCSTATUS_SIZE])
{
	ssize_t length = fd < 0 ? -1 : pread(fd, status, PROCSTATUS_SIZE - 1, 0);

	status[length > 0 ? length : 0] = '\0';
	return length > 0;
}

bool procstatus_read(int fd, char status[PROCSTATUS_SIZE])
{
	bool known = procstatus_reread(fd, status);

	if (fd >= 0)
		close(fd);
	return known;
}

/* The value of a line, up to the end of the text; NULL if there is no such line. */
static const char *line_of(const char *status, const char *field)
{
	size_t length = strlen(field);

	for (const char *line = status; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			return line + length + 1 + strspn(line + length + 1, "\t ");
	}
	return NULL;
}

bool procstatus_has(const char *status, const char *field)
{
	return line_of(status, field) != NULL;
}

size_t procstatus_numbers(const char *status, const char *field, int base, uint64_t *numbers,
	size_t count)
{
	const char *value = line_of(status, field);
	size_t found = 0;

	while (value && *value != '\n' && found < count) {
		char *end;
		uint64_t number = strtoull(value, &end, base);

		if (end == value)
			break;
		numbers[found++] = number;
		value = end + strspn(end, "\t ");
	}
	return found;
}

bool procstatus_number(const char *status, const char *field, int base, uint64_t *number)
{
	return procstatus_numbers(status, field, base, number, 1) == 1;
}

void procstatus_text(const char *status, const char *field, char *text, size_t size)
{
	const char *value = line_of(status, field);
	size_t length = value ? strcspn(value, "\n") : 0;

	if (length >= size)
		length = size - 1;
	memcpy(text, value ? value : "", length);
	text[length] = '\0';
}

static bool read_ids(const char *status, const char *field, unsigned int ids[4])
{
	uint64_t numbers[4];
	size_t found = procstatus_numbers(status, field, 10, numbers, 4);

	for (size_t i = 0; i < found; i++)
		ids[i] = (unsigned int)numbers[i];
	return found == 4;
}

static bool read_groups(const char *status, struct credentials *credentials)
{
	static uint64_t numbers[PROCSTATUS_GROUPS + 1];
	size_t count = procstatus_numbers(status, "Groups", 10, numbers, PROCSTATUS_GROUPS + 1);

	if (count > PROCSTATUS_GROUPS)
		return false;
	for (size_t i = 0; i < count; i++)
		credentials->group[i] = (gid_t)numbers[i];
	credentials->groups = count;
	return procstatus_has(status, "Groups");
}

bool procstatus_credentials(const char *status, struct credentials *credentials)
{
	return read_ids(status, "Uid", credentials->uid) &&
	       read_ids(status, "Gid", credentials->gid) && read_groups(status, credentials) &&
	       procstatus_number(status, "CapEff", 16, &credentials->effective);
}

bool procstatus_same_groups(const struct credentials *a, const struct credentials *b)
{
	return a->groups == b->groups &&
	       memcmp(a->group, b->group, a->groups * sizeof(a->group[0])) == 0;
}

bool procstatus_same_ids(const struct credentials *a, const struct credentials *b)
{
	return memcmp(a->uid, b->uid, sizeof(a->uid)) == 0 &&
	       memcmp(a->gid, b->gid, sizeof(a->gid)) == 0 && procstatus_same_groups(a, b);
}
