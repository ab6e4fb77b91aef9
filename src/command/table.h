/*
 * table: rows of text. On a terminal the columns are aligned and fitted to its width. Otherwise
 * each row is one line with fields separated by tabs, without a header.
 *
 * Cells are escaped (escape.h), so each row is one line. Colours are used on terminals, unless
 * NO_COLOR is set or TERM is dumb.
 */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum colour { PLAIN, GREEN, YELLOW, RED, DIM };

struct column {
	const char *name;
	size_t least;   /* may be cut to this width; 0: never cut */
	int rank;       /* if space is short, the highest is omitted first; 0: never */
	bool cut_start; /* cut at the start instead of the end */
	bool right;     /* right-aligned, for numbers */
	bool once;      /* on a terminal, left empty in a row joined to the one above */
};

struct table {
	const struct column *columns;
	size_t width; /* the number of columns */
	struct cell *cells;
	size_t count; /* the number of cells */
};

/* The columns must outlive the table. The caller must call table_free. */
void table_begin(struct table *table, const struct column *columns, size_t width);
void table_free(struct table *table);

/* Adds the next cell, row by row. NULL is shown as "-". */
void table_add(struct table *table, const char *words, enum colour colour);

/* Joins the last row to the one above, whose `once` columns are not repeated. */
void table_join_row(struct table *table);

/* Prints it to stdout. */
void table_print(const struct table *table);

#endif
