#include "table.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "command.h"
#include "escape.h"

#define GAP          2  /* between columns */
#define USUAL_WIDTH  80 /* of a terminal whose width is unknown */
#define MOST_COLUMNS 16

struct cell {
	char *words;
	enum colour colour;
	bool joined;
};

void table_begin(struct table *table, const struct column *columns, size_t width)
{
	*table = (struct table){.columns = columns, .width = width};
}

void table_free(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i].words);
	free(table->cells);
	*table = (struct table){0};
}

void table_add(struct table *table, const char *words, enum colour colour)
{
	struct cell *cell;

	table->cells = command_grow(table->cells, table->count, sizeof(*cell));
	cell = &table->cells[table->count++];
	*cell = (struct cell){.words = escape_field(words ? words : "-"), .colour = colour};
}

void table_join_row(struct table *table)
{
	for (size_t i = 0; i < table->width; i++)
		table->cells[table->count - 1 - i].joined = true;
}

/* ---- not on a terminal ---- */

static void print_fields(const struct table *table)
{
	for (size_t row = 0; row < table->count; row += table->width)
		for (size_t i = 0; i < table->width; i++)
			printf("%s%c", table->cells[row + i].words,
				i + 1 < table->width ? '\t' : '\n');
}

/* ---- on a terminal ---- */

struct layout {
	size_t widths[MOST_COLUMNS]; /* 0: omitted */
	bool colours;
};

static size_t terminal_width(void)
{
	struct winsize window;
	const char *columns = getenv("COLUMNS");
	long given = columns ? strtol(columns, NULL, 10) : 0;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
		return window.ws_col;
	return given > 0 && given < INT16_MAX ? (size_t)given : USUAL_WIDTH;
}

static void measure(const struct table *table, struct layout *layout)
{
	for (size_t i = 0; i < table->width; i++) {
		size_t *width = &layout->widths[i];

		*width = strlen(table->columns[i].name);
		for (size_t cell = i; cell < table->count; cell += table->width) {
			size_t words = escape_width(table->cells[cell].words);

			*width = words > *width ? words : *width;
		}
	}
}

/* The width of the table as laid out; with `cut`, at the least widths of the columns. */
static size_t taken(const struct table *table, const struct layout *layout, bool cut)
{
	size_t sum = 0;

	for (size_t i = 0; i < table->width; i++) {
		size_t width = layout->widths[i];
		size_t least = table->columns[i].least;

		if (width > 0)
			sum += GAP + (cut && least > 0 && least < width ? least : width);
	}
	return sum - GAP;
}

/* Omits a column. Returns false if none may be omitted. */
static bool omit_column(const struct table *table, struct layout *layout)
{
	size_t last = 0;

	for (size_t i = 1; i < table->width; i++)
		if (layout->widths[i] > 0 && table->columns[i].rank > table->columns[last].rank)
			last = i;
	if (table->columns[last].rank == 0)
		return false;
	layout->widths[last] = 0;
	return true;
}

/*
 * Narrows the widest column that may be cut by one character; with hard, even below its least
 * width. Returns false if there is none.
 */
static bool narrow_column(const struct table *table, struct layout *layout, bool hard)
{
	size_t widest = SIZE_MAX;

	for (size_t i = 0; i < table->width; i++) {
		size_t least = table->columns[i].least;

		if (least > 0 && layout->widths[i] > (hard ? 1 : least) &&
			(widest == SIZE_MAX || layout->widths[i] > layout->widths[widest]))
			widest = i;
	}
	if (widest == SIZE_MAX)
		return false;
	layout->widths[widest]--;
	return true;
}

static void fit(const struct table *table, struct layout *layout, size_t width)
{
	while (taken(table, layout, true) > width && omit_column(table, layout))
		;
	while (taken(table, layout, false) > width && narrow_column(table, layout, false))
		;
	while (taken(table, layout, false) > width && narrow_column(table, layout, true))
		;
}

static bool wants_colours(void)
{
	const char *none = getenv("NO_COLOR");
	const char *terminal = getenv("TERM");

	return !(none && none[0] != '\0') && !(terminal && strcmp(terminal, "dumb") == 0);
}

/* Prints a cell and the gap to the next one. The last cell of a line is not padded. */
static void print_cell(const char *words, enum colour colour, const struct column *column,
	const struct layout *layout, size_t width, size_t gap)
{
	static const char *const codes[] = {
		[GREEN] = "32", [YELLOW] = "33", [RED] = "31", [DIM] = "2"};
	char *cut = escape_cut(words, width, column->cut_start);
	int padding = (int)(width - escape_width(cut));
	bool coloured = layout->colours && colour != PLAIN && cut[0] != '\0';

	if (column->right)
		printf("%*s", padding, "");
	if (coloured)
		printf("\033[%sm", codes[colour]);
	fputs(cut, stdout);
	if (coloured)
		fputs("\033[0m", stdout);
	if (gap > 0)
		printf("%*s", (int)gap + (column->right ? 0 : padding), "");
	free(cut);
}

/* Prints a row; the header if cells is NULL. */
static void print_row(const struct table *table, const struct layout *layout,
	const struct cell *cells)
{
	size_t last = table->width - 1;

	while (layout->widths[last] == 0)
		last--;
	for (size_t i = 0; i <= last; i++) {
		const struct column *column = &table->columns[i];
		const char *words = cells ? cells[i].words : column->name;

		if (cells && cells[i].joined && column->once)
			words = "";
		if (layout->widths[i] > 0)
			print_cell(words, cells ? cells[i].colour : DIM, column, layout,
				layout->widths[i], i < last ? GAP : 0);
	}
	putchar('\n');
}

static void print_aligned(const struct table *table)
{
	struct layout layout = {.colours = wants_colours()};

	measure(table, &layout);
	fit(table, &layout, terminal_width());
	print_row(table, &layout, NULL);
	for (size_t i = 0; i < table->count; i += table->width)
		print_row(table, &layout, table->cells + i);
}

void table_print(const struct table *table)
{
	if (!isatty(STDOUT_FILENO))
		print_fields(table);
	else if (table->count > 0)
		print_aligned(table);
}
