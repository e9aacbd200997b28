#include "cli/cli_grid.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* Characters, as a good guess of the columns that a text takes. */
static size_t width_of(const char *data, size_t length) {
  size_t width = 0;
  for (size_t i = 0; i < length; i++) width += ((unsigned char)data[i] & 0xc0) != 0x80;
  return width;
}

static void pad(FILE *file, size_t count) {
  for (size_t i = 0; i < count; i++) fputc(' ', file);
}

static void write_cell(const Grid *grid, size_t column, const char *data, size_t length) {
  int last = column + 1 == grid->column_count;
  if (!grid->aligned) {
    if (column) fputc('\t', grid->file);
    fwrite(data, 1, length, grid->file);
  } else {
    size_t width = width_of(data, length);
    size_t missing = width < grid->widths[column] ? grid->widths[column] - width : 0;
    if (column) fputs("  ", grid->file);
    if (grid->to_the_right[column]) pad(grid->file, missing);
    fwrite(data, 1, length, grid->file);
    if (!grid->to_the_right[column] && !last) pad(grid->file, missing);
  }
  if (last) fputc('\n', grid->file);
}

static void write_rule(const Grid *grid) {
  for (size_t column = 0; column < grid->column_count; column++) {
    if (column) fputs("  ", grid->file);
    for (size_t i = 0; i < grid->widths[column]; i++) fputc('-', grid->file);
  }
  fputc('\n', grid->file);
}

/* Decides the widths and writes the rows that waited for them. */
static void settle(Grid *grid) {
  const char *at = grid->cells.data;
  for (size_t i = 0; i < grid->cell_count; i++) {
    size_t *width = &grid->widths[i % grid->column_count];
    size_t needed = width_of(at, grid->lengths[i]);
    if (needed > *width) *width = needed;
    at += grid->lengths[i];
  }
  at = grid->cells.data;
  for (size_t i = 0; i < grid->cell_count; i++) {
    write_cell(grid, i % grid->column_count, at, grid->lengths[i]);
    at += grid->lengths[i];
    if (grid->has_header && grid->aligned && i + 1 == grid->column_count) write_rule(grid);
  }
  grid->settled = 1;
}

void grid_begin(Grid *grid, FILE *file, const char *const *names, const unsigned char *to_the_right, size_t count,
                int aligned) {
  memset(grid, 0, sizeof *grid);
  grid->file = file;
  grid->aligned = aligned || isatty(fileno(file));
  grid->column_count = count;
  grid->widths = cli_allocate(count, sizeof *grid->widths);
  grid->to_the_right = cli_allocate(count, 1);
  if (to_the_right && count) memcpy(grid->to_the_right, to_the_right, count);
  grid->lengths = cli_allocate(count * (GRID_SAMPLE_ROWS + 1), sizeof *grid->lengths);
  grid->has_header = names != NULL;
  for (size_t i = 0; names && i < count; i++) {
    Text name = TEXT_EMPTY;
    text_add_readable(&name, names[i], strlen(names[i]));
    grid_cell(grid, name.data, name.length);
    text_free(&name);
  }
}

void grid_cell(Grid *grid, const char *data, size_t length) {
  size_t column = grid->cell_count % grid->column_count;
  if (!grid->settled && grid->cell_count == grid->column_count * GRID_SAMPLE_ROWS) settle(grid);
  if (grid->settled) {
    write_cell(grid, column, data, length);
  } else {
    text_add(&grid->cells, data, length);
    grid->lengths[grid->cell_count] = length;
  }
  grid->cell_count++;
}

void grid_string(Grid *grid, const char *string) { grid_cell(grid, string, strlen(string)); }

void grid_end(Grid *grid) {
  if (!grid->settled && grid->cell_count) settle(grid);
  free(grid->widths);
  free(grid->to_the_right);
  free(grid->lengths);
  text_free(&grid->cells);
}
