/* cli_grid.h - rows of cells as text: aligned for a person at a terminal, separated by tabs for a program.
 *
 * The widths come from the first GRID_SAMPLE_ROWS rows; the rows after them are written as they come. */
#ifndef COLONNADE_CLI_GRID_H
#define COLONNADE_CLI_GRID_H

#include <stddef.h>
#include <stdio.h>

#include "cli/cli_text.h"

#define GRID_SAMPLE_ROWS 500

typedef struct Grid {
  FILE *file;
  int aligned;
  size_t column_count;
  size_t *widths;
  unsigned char *to_the_right;
  Text cells;      /* of the rows that wait, one after another */
  size_t *lengths; /* of those cells */
  size_t cell_count;
  int settled; /* the widths are decided */
  int has_header;
} Grid;

/* `names` NULL: no header. `to_the_right` (may be NULL): a byte a column, not 0 for numbers. Aligned when `file` is a
 * terminal, or when `aligned` is not 0. */
void grid_begin(Grid *grid, FILE *file, const char *const *names, const unsigned char *to_the_right, size_t count,
                int aligned);
/* The next cell, from left to right, row after row. The text must be readable (text_add_readable). */
void grid_cell(Grid *grid, const char *data, size_t length);
void grid_string(Grid *grid, const char *string);
/* Writes what waits and gives the memory back. */
void grid_end(Grid *grid);

#endif
