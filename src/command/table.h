/*
 * table: rows of words, on a terminal aligned and fit to its width, elsewhere one line a row, the
 * fields separated by tabs, without a header.
 *
 * Words are escaped (escape.h), so that each row is one line. Colours are for terminals, and not
 * used where NO_COLOR is set or TERM is dumb.
 */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum colour { PLAIN, GREEN, YELLOW, RED, DIM };

struct column {
	const char *name;
	size_t least;   /* may be cut to that width; 0: is not cut */
	int rank;       /* left out first where there is no room: the highest. 0: never left out */
	bool cut_start; /* cut where the words start, and not at their end */
	bool right;     /* numbers */
	bool once;      /* on a terminal left empty where it repeats what stands above */
};

struct table {
	const struct column *columns;
	size_t width; /* the number of columns */
	struct cell *cells;
	size_t count; /* of cells */
};

/* The columns must outlive the table. table_free is owed. */
void table_begin(struct table *table, const struct column *columns, size_t width);
void table_free(struct table *table);

/* Adds the next cell, row by row. NULL: nothing, "-". */
void table_add(struct table *table, const char *words, enum colour colour);

/* The last row belongs with the one above: what is `once` need not be repeated. */
void table_join(struct table *table);

/* Prints it to stdout. */
void table_print(const struct table *table);

#endif
