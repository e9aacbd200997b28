/* query_merge.c - the selected rows of all units in the order of their keys.
 *
 * A stream is a run (its segments in order) or a slab of a delta (its selected rows, sorted). Streams wait in a heap by
 * the key of their next row; a run that was not begun waits under its first key, so that key-disjoint runs are opened
 * one after the other. A key is live in one stream at most (protocol VIS-6). */
#include <stdlib.h>

#include "base/bitmap.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "query/query_internal.h"

typedef struct MergeRow {
  Bytes key;
  uint32_t row; /* within the unit */
} MergeRow;

typedef struct MergeStream {
  const ScanUnit *units; /* the segments of a run, or one slab */
  uint32_t unit_count, next_unit;
  Scan *scan;      /* made when the stream is begun */
  uint64_t blocks; /* of the current unit, still to come */
  MergeRow *rows;  /* the window: rows of one block, or of a whole slab */
  size_t row_capacity, row_count, at;
  Buffer keys; /* what the window's keys point into */
  Bytes key;   /* of the next row, or a bound below it */
} MergeStream;

struct Merge {
  const Query *query;
  const TableSnapshot *snapshot;
  const Schema *schema;
  MergeStream *streams;
  uint32_t stream_count;
  MergeStream **heap; /* least key first */
  uint32_t heap_count;
  bool is_given;        /* the first stream's row was given: step it on at the next call */
  Arena arena;          /* of the arrays below */
  ColumnArray *columns; /* one a column of the schema; the key's are filled in */
  ScanCounters done;    /* of streams that have ended */
};

/* ---- streams ---- */

static void stream_end(Merge *m, MergeStream *s) {
  if (s->scan) scan_counters_add(&m->done, scan_counters(s->scan));
  scan_destroy(s->scan);
  s->scan = NULL;
  memory_release(s->rows);
  s->rows = NULL;
  buffer_release(&s->keys);
}

/* The key columns of a block, as arrays. */
static Status read_keys(Merge *m, MergeStream *s, uint32_t block) {
  for (uint32_t k = 0; k < m->schema->key_count; k++) {
    uint32_t column = m->schema->key_columns[k];
    ColumnArray *array = &m->columns[column];
    TRY(scan_read_block(s->scan, column, block, (void *)(uintptr_t)array->values, (uint8_t *)(uintptr_t)array->nulls));
  }
  return KVSTORE_OK;
}

/* Appends the selected rows of a block to the window. Keys are offsets until point_keys. */
static Status append_block(Merge *m, MergeStream *s, uint32_t block) {
  const uint64_t *mask = scan_selection(s->scan)->masks[block];
  TRY(read_keys(m, s, block));
  TRY(memory_grow(&s->rows, &s->row_capacity, s->row_count + BLOCK_ROWS, sizeof *s->rows));
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1) {
      uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(word);
      size_t before = s->keys.length;
      keycode_append_row(&s->keys, m->schema, m->columns, row);
      s->rows[s->row_count++] = (MergeRow){ { NULL, s->keys.length - before }, block * BLOCK_ROWS + row };
    }
  }
  return buffer_status(&s->keys);
}

static void point_keys(MergeStream *s) {
  const uint8_t *at = s->keys.data;
  for (size_t i = 0; i < s->row_count; i++) {
    s->rows[i].key.data = at;
    at += s->rows[i].key.length;
  }
}

static int compare_rows(const void *a, const void *b) {
  const MergeRow *x = a, *y = b;
  return bytes_compare(x->key.data, x->key.length, y->key.data, y->key.length);
}

static Status fill_window(Merge *m, MergeStream *s) {
  s->row_count = s->at = 0;
  buffer_clear(&s->keys);
  bool is_slab = scan_selection(s->scan)->unit->kind == SCAN_UNIT_ARRAYS;
  do {
    TRY(append_block(m, s, (uint32_t)__builtin_ctzll(s->blocks)));
    s->blocks &= s->blocks - 1;
  } while (is_slab && s->blocks);
  point_keys(s);
  if (is_slab) qsort(s->rows, s->row_count, sizeof *s->rows, compare_rows);
  return KVSTORE_OK;
}

/* Steps to the next row; *has_row is false at the end. */
static Status stream_next(Merge *m, MergeStream *s, bool *has_row) {
  s->at++;
  while (s->at >= s->row_count) {
    if (s->blocks) {
      TRY(fill_window(m, s));
    } else if (s->next_unit < s->unit_count) {
      TRY(scan_unit(s->scan, &s->units[s->next_unit++]));
      scan_fill_masks(s->scan);
      s->blocks = scan_selection(s->scan)->blocks;
    } else {
      *has_row = false;
      return KVSTORE_OK;
    }
  }
  s->key = s->rows[s->at].key;
  *has_row = true;
  return KVSTORE_OK;
}

/* ---- the heap ---- */

static bool before(const MergeStream *a, const MergeStream *b) {
  return bytes_compare(a->key.data, a->key.length, b->key.data, b->key.length) < 0;
}

static void sift_down(Merge *m, uint32_t at) {
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= m->heap_count) return;
    if (child + 1 < m->heap_count && before(m->heap[child + 1], m->heap[child])) child++;
    if (!before(m->heap[child], m->heap[at])) return;
    MergeStream *s = m->heap[at];
    m->heap[at] = m->heap[child];
    m->heap[child] = s;
    at = child;
  }
}

/* Steps the first stream on and finds the new first. */
static Status step_first(Merge *m) {
  MergeStream *s = m->heap[0];
  bool has_row;
  if (!s->scan) TRY(query_scan(m->query, m->snapshot, &s->scan));
  TRY(stream_next(m, s, &has_row));
  if (!has_row) {
    stream_end(m, s);
    m->heap[0] = m->heap[--m->heap_count];
  }
  if (m->heap_count) sift_down(m, 0);
  return KVSTORE_OK;
}

Status merge_next(Merge *m, Scan **scan, uint32_t *row) {
  *scan = NULL;
  if (m->is_given) TRY(step_first(m));
  m->is_given = false;
  while (m->heap_count && m->heap[0]->row_count == 0) TRY(step_first(m)); /* not begun: its key is a bound */
  if (m->heap_count == 0) return KVSTORE_OK;
  MergeStream *s = m->heap[0];
  *scan = s->scan;
  *row = s->rows[s->at].row;
  m->is_given = true;
  return KVSTORE_OK;
}

/* ---- life ---- */

static bool same_run(const ScanUnit *a, const ScanUnit *b) {
  return a->kind == SCAN_UNIT_SEGMENT && b->kind == SCAN_UNIT_SEGMENT && a->run == b->run;
}

/* One stream for each run (its segments stand together) and each slab. */
static void divide_units(Merge *m, const TableSnapshot *snapshot) {
  MergeStream *s = NULL; /* the last one */
  for (uint32_t i = 0; i < snapshot->unit_count; i++) {
    const ScanUnit *unit = &snapshot->units[i];
    if (s && same_run(s->units, unit)) {
      s->unit_count++;
      continue;
    }
    s = &m->streams[m->stream_count++];
    s->units = unit;
    s->unit_count = 1;
    if (unit->kind == SCAN_UNIT_SEGMENT) s->key = column_run_segment(unit->run, unit->segment)->first_key;
  }
}

static Status allocate_arrays(Merge *m) {
  m->columns = arena_allocate_zeroed(&m->arena, m->schema->column_count * sizeof *m->columns);
  if (!m->columns) return status_nomem();
  for (uint32_t k = 0; k < m->schema->key_count; k++) {
    ColumnArray *array = &m->columns[m->schema->key_columns[k]];
    size_t width = type_array_width(m->schema->columns[m->schema->key_columns[k]].type);
    array->values = arena_allocate_aligned(&m->arena, 64, BLOCK_ROWS * width);
    array->nulls = arena_allocate(&m->arena, BLOCK_ROWS);
    if (!array->values || !array->nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

Status merge_create(const Query *query, const TableSnapshot *snapshot, Merge **out) {
  Merge *m = memory_allocate_zeroed(sizeof *m);
  if (!m) return status_nomem();
  m->query = query;
  m->snapshot = snapshot;
  m->schema = snapshot->schema;
  m->streams = memory_allocate_zeroed(memory_array_size(snapshot->unit_count, sizeof *m->streams));
  m->heap = memory_allocate(memory_array_size(snapshot->unit_count, sizeof *m->heap));
  Status status = m->streams && m->heap ? allocate_arrays(m) : status_nomem();
  if (status != KVSTORE_OK) {
    merge_destroy(m);
    return status;
  }
  divide_units(m, snapshot);
  m->heap_count = m->stream_count;
  for (uint32_t i = 0; i < m->stream_count; i++) m->heap[i] = &m->streams[i];
  for (uint32_t i = m->heap_count / 2; i > 0; i--) sift_down(m, i - 1);
  *out = m;
  return KVSTORE_OK;
}

void merge_destroy(Merge *m) {
  if (!m) return;
  for (uint32_t i = 0; m->streams && i < m->stream_count; i++) stream_end(m, &m->streams[i]);
  memory_release(m->streams);
  memory_release(m->heap);
  arena_release(&m->arena);
  memory_release(m);
}

ScanCounters merge_counters(const Merge *m) {
  ScanCounters total = m->done;
  for (uint32_t i = 0; i < m->stream_count; i++) {
    if (m->streams[i].scan) scan_counters_add(&total, scan_counters(m->streams[i].scan));
  }
  return total;
}
