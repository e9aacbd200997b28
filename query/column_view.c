/* column_view.c - columns as arrays: pieces of segments, in place or decoded one behind the other; pieces of arrays and
 * streams, their live rows copied. */
#include "query/column_view.h"

#include <stdatomic.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/memory.h"
#include "encodings/codec.h"
#include "os/large_memory.h"
#include "simd/simd.h"

struct ColumnViewBlock {
  ColumnViewBlock *next;
  LargeBlock block;
};

enum { LINE_BYTES = 64 };

typedef struct Builder {
  const TableSnapshot *snapshot;
  const uint32_t *columns;
  size_t column_count;
  Scan *scan;
  ColumnView *view;
  size_t piece_capacity;
  void *values;   /* a block, of any type */
  uint8_t *nulls; /* of a block */
} Builder;

/* One column of a piece while it is made: `at` rows stand in it. */
typedef struct Target {
  const Column *column;
  size_t width;
  uint8_t *values; /* NULL: they lie in the file */
  uint64_t *valid;
  uint64_t at;
  bool has_nulls;
  bool is_large; /* larger than the caches: nobody waits for what is written there */
} Target;

/* ---- pieces ---- */

static Status add_piece(Builder *b, uint64_t rows, ColumnViewPiece **piece) {
  ColumnView *view = b->view;
  if (view->piece_count == b->piece_capacity) {
    size_t capacity = b->piece_capacity ? 2 * b->piece_capacity : 16;
    ColumnViewPiece *grown = memory_reallocate(view->pieces, memory_array_size(capacity, sizeof *grown));
    if (!grown) return status_nomem();
    view->pieces = grown;
    b->piece_capacity = capacity;
  }
  *piece = &view->pieces[view->piece_count];
  **piece = (ColumnViewPiece){ .row_count = rows };
  (*piece)->arrays = arena_allocate_zeroed(&view->arena, b->column_count * sizeof *(*piece)->arrays);
  if (!(*piece)->arrays) return status_nomem();
  view->piece_count++;
  return KVSTORE_OK;
}

/* Words for `rows` bits, all clear. */
static uint64_t *new_bits(Builder *b, uint64_t rows) {
  return arena_allocate_zeroed(&b->view->arena, memory_array_size(bitmap_words((size_t)rows), sizeof(uint64_t)));
}

/* ORs the first `count` bits of `from`, those behind them clear, in at bit `at`. */
static void put_bits(uint64_t *to, uint64_t at, const uint64_t *from, uint32_t count) {
  unsigned shift = at % 64;
  for (uint32_t w = 0; w < bitmap_words(count); w++) {
    uint64_t *word = to + at / 64 + w;
    word[0] |= from[w] << shift;
    if (shift && from[w] >> (64 - shift)) word[1] |= from[w] >> (64 - shift);
  }
}

/* ---- one column ---- */

static void *new_large_array(ColumnView *view, size_t bytes) {
  ColumnViewBlock *added = arena_allocate(&view->arena, sizeof *added);
  if (!added) return NULL;
  *added = (ColumnViewBlock){ view->blocks, large_block_take(bytes) };
  view->blocks = added;
  return added->block.bytes;
}

/* Room for the rows of a piece, and for a whole block where the last one is written. */
static Status target_create(Builder *b, uint32_t column, uint64_t rows, bool in_file, Target *t) {
  *t = (Target){ .column = &b->snapshot->schema->columns[column] };
  t->width = chunk_array_width(t->column->type, t->column->width);
  if (!in_file) {
    size_t bytes = memory_array_size((size_t)rows + BLOCK_ROWS, t->width);
    t->is_large = bytes >= LARGE_BLOCK_BYTES;
    t->values =
      t->is_large ? new_large_array(b->view, bytes) : arena_allocate_aligned(&b->view->arena, LINE_BYTES, bytes);
    if (!t->values) return status_nomem();
  }
  if (t->column->flags & COLUMN_NULLABLE) {
    t->valid = new_bits(b, rows);
    if (!t->valid) return status_nomem();
  }
  return KVSTORE_OK;
}

static void target_finish(const Target *t, ColumnViewArray *array) {
  if (t->values) array->values = t->values;
  array->valid = t->has_nulls ? t->valid : NULL;
  array->is_in_file = !t->values;
}

/* Rows of a block behind those that are there: of its `count` rows those in `rows` (NULL: all). */
static void put_block(Builder *b, Target *t, const void *values, const uint16_t *rows, uint32_t count) {
  bool is_fixed = type_is_fixed(t->column->type);
  uint8_t *to = t->values + t->at * t->width;
  for (uint32_t i = 0; i < count; i++, to += t->width) {
    uint32_t row = rows ? rows[i] : i;
    const void *value = (const uint8_t *)values + row * t->width;
    if (is_fixed) value = ((const Bytes *)values)[row].data;
    if (b->nulls[row]) {
      t->has_nulls = true;
      memset(to, 0, t->width);
    } else {
      if (t->valid) bit_set(t->valid, (size_t)t->at + i);
      memcpy(to, value, t->width);
    }
  }
  t->at += count;
}

/* Numbers are decoded where they shall stand, or beside it and copied there past the caches. */
static Status read_numbers(Builder *b, Target *t, uint32_t column, uint32_t block, uint32_t rows, uint64_t *valid) {
  uint8_t *to = t->values + t->at * t->width;
  bool has_nulls, is_past = t->is_large && rows == BLOCK_ROWS && (uintptr_t)to % LINE_BYTES == 0;
  TRY(scan_read_valid(b->scan, column, block, is_past ? b->values : to, valid, &has_nulls));
  if (is_past) simd_kernels()->copy_past(to, b->values, rows * t->width);
  t->has_nulls = t->has_nulls || has_nulls;
  return KVSTORE_OK;
}

/* Every row of a block of a segment. */
static Status read_block(Builder *b, Target *t, uint32_t column, uint32_t block, uint32_t rows) {
  if (type_is_fixed(t->column->type)) {
    TRY(scan_read_block(b->scan, column, block, b->values, b->nulls));
    put_block(b, t, b->values, NULL, rows);
    return KVSTORE_OK;
  }
  uint64_t valid[BLOCK_WORDS];
  TRY(read_numbers(b, t, column, block, rows, valid));
  if (t->valid) put_bits(t->valid, t->at, valid, rows);
  t->at += rows;
  return KVSTORE_OK;
}

/* ---- segments ---- */

/* How many units from `first` on are segments of one run that follow each other. */
static uint32_t stretch(const TableSnapshot *s, uint32_t first) {
  uint32_t n = 1;
  while (first + n < s->unit_count && s->units[first + n].kind == SCAN_UNIT_SEGMENT &&
         s->units[first + n].run == s->units[first].run && s->units[first + n].segment == s->units[first].segment + n)
    n++;
  return n;
}

static Segment *unit_segment(const ScanUnit *unit) { return column_run_segment(unit->run, unit->segment); }

/* A column over pairs is numbered by the table over them, not by the run. */
static bool is_of_run(const Builder *b, const ScanUnit *unit, uint32_t column) {
  const Schema *own = b->snapshot->schema, *stored = unit->run->schema;
  return column < stored->column_count && own->columns[column].id == stored->columns[column].id &&
         own->column_count == stored->column_count && column_run_has(unit->run, column);
}

/* Where the array of a column begins for a segment; NULL when the run has none, or it is not mapped. */
static Status array_in_file(Builder *b, const ScanUnit *unit, uint32_t column, const void **values) {
  ChunkHold hold;
  *values = NULL;
  if (!is_of_run(b, unit, column)) return KVSTORE_OK;
  if (segment_place(unit_segment(unit), column)->encoding != ENCODING_ARRAY) return KVSTORE_OK;
  TRY(segment_chunk(unit_segment(unit), column, &hold));
  if (hold.array->base) *values = hold.chunk->array;
  segment_chunk_release(&hold);
  return KVSTORE_OK;
}

/* Every block verified, and its nulls. */
static Status take_chunk(Target *t, Segment *s, uint32_t column) {
  ChunkHold hold;
  Status status = KVSTORE_OK;
  TRY(segment_chunk(s, column, &hold));
  for (uint32_t block = 0; block < s->block_count && status == KVSTORE_OK; block++) {
    uint32_t rows = segment_block_rows(s, block);
    uint64_t valid[BLOCK_WORDS];
    status = chunk_hold_block(&hold, block);
    if (status != KVSTORE_OK) break; /* what it says of its rows may reach behind them */
    chunk_validity(hold.chunk, block, valid);
    if (chunk_block_null_count(hold.chunk, block)) t->has_nulls = true;
    if (t->valid) put_bits(t->valid, t->at, valid, rows);
    t->at += rows;
  }
  segment_chunk_release(&hold);
  return status;
}

static Status read_segment(Builder *b, Target *t, uint32_t column, const ScanUnit *unit) {
  const Segment *s = unit_segment(unit);
  for (uint32_t block = 0; block < s->block_count; block++)
    TRY(read_block(b, t, column, block, segment_block_rows(s, block)));
  return KVSTORE_OK;
}

/* The live rows of the segment that was scanned last. */
static uint64_t put_live(Builder *b, const ScanUnit *unit, uint64_t *live, uint64_t at) {
  scan_fill_masks(b->scan);
  const ScanSelection *selected = scan_selection(b->scan);
  for (uint64_t left = selected->blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left);
    put_bits(live, at + (uint64_t)block * BLOCK_ROWS, selected->masks[block], scan_block_rows(unit, block));
  }
  return selected->row_count;
}

static Status make_targets(Builder *b, const ScanUnit *first, ColumnViewPiece *piece, Target *targets) {
  for (size_t i = 0; i < b->column_count; i++) {
    TRY(array_in_file(b, first, b->columns[i], &piece->arrays[i].values));
    TRY(target_create(b, b->columns[i], piece->row_count, piece->arrays[i].values != NULL, &targets[i]));
  }
  return KVSTORE_OK;
}

static Status fill_segments(Builder *b, const ScanUnit *units, uint32_t count, ColumnViewPiece *piece,
                            Target *targets) {
  uint64_t *live = new_bits(b, piece->row_count), at = 0, rows = 0;
  if (!live) return status_nomem();
  for (uint32_t u = 0; u < count; u++) {
    TRY(scan_unit(b->scan, &units[u]));
    rows += put_live(b, &units[u], live, at);
    at += units[u].row_count;
    for (size_t i = 0; i < b->column_count; i++) {
      if (targets[i].values)
        TRY(read_segment(b, &targets[i], b->columns[i], &units[u]));
      else
        TRY(take_chunk(&targets[i], unit_segment(&units[u]), b->columns[i]));
    }
  }
  piece->live = rows == piece->row_count ? NULL : live;
  b->view->row_count += rows;
  return KVSTORE_OK;
}

static Status add_segments(Builder *b, const ScanUnit *units, uint32_t count, Target *targets) {
  ColumnViewPiece *piece;
  uint64_t rows = 0;
  for (uint32_t u = 0; u < count; u++) rows += units[u].row_count;
  TRY(add_piece(b, rows, &piece));
  TRY(make_targets(b, &units[0], piece, targets));
  TRY(fill_segments(b, units, count, piece, targets));
  for (size_t i = 0; i < b->column_count; i++) target_finish(&targets[i], &piece->arrays[i]);
  return KVSTORE_OK;
}

/* ---- arrays and streams ---- */

static uint32_t rows_of(const uint64_t *mask, uint16_t *rows) {
  uint32_t count = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1)
      rows[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
  }
  return count;
}

static Status copy_block(Builder *b, Target *targets, uint32_t block, const uint64_t *mask) {
  uint16_t rows[BLOCK_ROWS];
  uint32_t count = rows_of(mask, rows);
  for (size_t i = 0; i < b->column_count; i++) {
    TRY(scan_read_block(b->scan, b->columns[i], block, b->values, b->nulls));
    put_block(b, &targets[i], b->values, rows, count);
  }
  return KVSTORE_OK;
}

/* What was selected of the unit, or the piece of a stream, that was scanned last. */
static Status add_selected(Builder *b, Target *targets) {
  ColumnViewPiece *piece;
  scan_fill_masks(b->scan);
  const ScanSelection *selected = scan_selection(b->scan);
  if (!selected->row_count) return KVSTORE_OK;
  TRY(add_piece(b, selected->row_count, &piece));
  for (size_t i = 0; i < b->column_count; i++)
    TRY(target_create(b, b->columns[i], piece->row_count, false, &targets[i]));
  for (uint64_t left = selected->blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left);
    TRY(copy_block(b, targets, block, selected->masks[block]));
  }
  for (size_t i = 0; i < b->column_count; i++) target_finish(&targets[i], &piece->arrays[i]);
  b->view->row_count += piece->row_count;
  return KVSTORE_OK;
}

/* ---- all of it ---- */

static Status add_unit(Builder *b, const ScanUnit *unit, Target *targets) {
  do {
    TRY(scan_unit(b->scan, unit));
    TRY(add_selected(b, targets));
  } while (scan_continues(b->scan));
  return KVSTORE_OK;
}

static Status add_all(Builder *b, Target *targets) {
  const TableSnapshot *s = b->snapshot;
  b->view->widths = arena_allocate(&b->view->arena, memory_array_size(b->column_count, sizeof(uint32_t)));
  if (!b->view->widths) return status_nomem();
  for (size_t i = 0; i < b->column_count; i++) {
    const Column *column = &s->schema->columns[b->columns[i]];
    b->view->widths[i] = chunk_array_width(column->type, column->width);
  }
  TRY(scan_create(s->schema, NULL, s->now_ms, &b->scan));
  for (uint32_t u = 0; u < s->unit_count;) {
    uint32_t count = 1;
    if (s->units[u].kind == SCAN_UNIT_SEGMENT) {
      count = stretch(s, u);
      TRY(add_segments(b, &s->units[u], count, targets));
    } else {
      TRY(add_unit(b, &s->units[u], targets));
    }
    u += count;
  }
  return KVSTORE_OK;
}

Status column_view_create(const TableSnapshot *snapshot, const uint32_t *columns, size_t column_count,
                          ColumnView *view) {
  *view = (ColumnView){ 0 };
  Builder b = { .snapshot = snapshot, .columns = columns, .column_count = column_count, .view = view };
  Target *targets = memory_allocate(memory_array_size(column_count, sizeof *targets));
  b.values = memory_allocate(BLOCK_ROWS * sizeof(Bytes));
  b.nulls = memory_allocate(BLOCK_ROWS);
  Status status = targets && b.values && b.nulls ? add_all(&b, targets) : status_nomem();
  atomic_thread_fence(memory_order_seq_cst); /* any thread may read it */
  scan_destroy(b.scan);
  memory_release(targets);
  memory_release(b.values);
  memory_release(b.nulls);
  if (status != KVSTORE_OK) column_view_release(view);
  return status;
}

void column_view_release(ColumnView *view) {
  for (ColumnViewBlock *at = view->blocks; at; at = at->next) large_block_give(at->block);
  arena_release(&view->arena);
  memory_release(view->pieces);
  *view = (ColumnView){ 0 };
}
