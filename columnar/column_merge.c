/* column_merge.c - the k-way merge of column runs.
 *
 * Of every input one segment is decoded at a time. Rows are chosen in key order as (input, row) pairs, up to BATCH_ROWS
 * of them, then gathered column by column and handed to the writer. A key that is one image is compared as such; others
 * as encoded bytes, each row's encoded once, when the row becomes the head of its input. */
#include "columnar/column_merge.h"

#include <string.h>

#include "base/bitmap.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "columnar/column_run_internal.h"

enum { BATCH_ROWS = 4 * BLOCK_ROWS };

typedef struct MergeSide {
  ColumnRun *run;
  const DeletedSet *deleted;
  uint32_t next_segment;
  ColumnBatch rows; /* the decoded segment; in `arena` */
  Arena arena;
  uint64_t *live; /* DELETED_WORDS words: rows of the segment that are neither dead nor long expired */
  uint32_t row;   /* the head: the first live row that is not chosen yet */
  bool is_done;
  bool has_head;
  int64_t image;      /* of the head's key, when keys are images */
  Buffer key, before; /* of the head, encoded, when they are not; and of the head before it */
} MergeSide;

typedef struct Choice {
  uint32_t side, row;
} Choice;

typedef struct ColumnMerge {
  const ColumnMergeOptions *options;
  ColumnMergeResult *result;
  const Schema *schema;
  MergeSide *sides;
  size_t side_count;
  uint32_t *heap; /* the sides that have rows, by their heads' keys, the smallest first */
  size_t heap_count;
  bool key_is_image;
  uint32_t key_column; /* then: the only one */

  Choice *choices;
  uint32_t choice_count;
  ColumnArray *columns; /* the gathered rows: arrays of BATCH_ROWS entries each, nulls included */
  ColumnArray *batch;   /* the same, without the nulls where there are none */
  int64_t *expiry;
  Arena arena; /* holds those */

  ColumnRunWriter *writer; /* NULL between outputs */
} ColumnMerge;

static Status check_cancelled(const ColumnMergeOptions *options) {
  if (!options->cancelled || !options->cancelled(options->context)) return KVSTORE_OK;
  return status_fail(KVSTORE_CANCELLED, "the merge of column runs was cancelled");
}

/* ---- the inputs ---- */

/* Marks the rows that go on, and counts the others. */
static void mark_live(ColumnMerge *m, MergeSide *side, uint32_t segment) {
  uint32_t rows = side->rows.row_count;
  uint64_t dead[DELETED_WORDS];
  deleted_set_words(side->deleted, segment, dead);
  bitmap_fill_first(side->live, DELETED_WORDS, rows);
  for (uint32_t w = 0; w < DELETED_WORDS; w++) side->live[w] &= ~dead[w];
  m->result->deleted_count += deleted_set_segment_count(side->deleted, segment);
  for (uint32_t row = 0; side->rows.expiry && row < rows; row++) {
    if (side->rows.expiry[row] >= m->options->expired_before || !bit_get(side->live, row)) continue;
    bit_clear(side->live, row);
    m->result->expired_count++;
  }
}

/* The first live row from `row` on; DELETED_WORDS * 64 when there is none. */
static uint32_t next_live(const MergeSide *side, uint32_t row) {
  uint32_t word = row / 64;
  if (word >= DELETED_WORDS) return DELETED_WORDS * 64;
  uint64_t left = side->live[word] & UINT64_MAX << (row % 64);
  while (!left) {
    if (++word == DELETED_WORDS) return DELETED_WORDS * 64;
    left = side->live[word];
  }
  return word * 64 + (uint32_t)__builtin_ctzll(left);
}

static Status load_segment(ColumnMerge *m, MergeSide *side) {
  TRY(check_cancelled(m->options));
  arena_reset(&side->arena);
  Segment *s = column_run_segment(side->run, side->next_segment);
  TRY(segment_decode(s, &side->rows, &side->arena));
  mark_live(m, side, side->next_segment);
  side->next_segment++;
  side->row = next_live(side, 0);
  return KVSTORE_OK;
}

/* True when nothing of the segment goes on: it need not be read. */
static bool segment_is_dropped(const ColumnMerge *m, const MergeSide *side, const Segment *s) {
  return s->expiry_max < m->options->expired_before ||
         deleted_set_segment_count(side->deleted, s->number) == s->row_count;
}

static void drop_segment(ColumnMerge *m, MergeSide *side, const Segment *s) {
  uint32_t dead = deleted_set_segment_count(side->deleted, s->number);
  m->result->deleted_count += dead;
  m->result->expired_count += s->row_count - dead;
  side->next_segment++;
}

/* What a run's directory and fences promise (COL-1, COL-2), of its rows. */
static Status bad_key(const MergeSide *side, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "segment %u of a column run, row %u: %s", side->next_segment - 1, side->row,
                     what);
}

static Status read_image(const ColumnMerge *m, MergeSide *side) {
  const Column *column = &m->schema->columns[m->key_column];
  int64_t before = side->image;
  side->image = type_image(column->type, side->rows.columns[m->key_column].values, side->row);
  return side->has_head && side->image <= before ? bad_key(side, "its keys do not ascend") : KVSTORE_OK;
}

static Status read_key(const ColumnMerge *m, MergeSide *side) {
  Buffer before = side->key;
  side->key = side->before;
  side->before = before;
  buffer_clear(&side->key);
  keycode_append_row(&side->key, m->schema, side->rows.columns, side->row);
  TRY(buffer_status(&side->key));
  if (side->key.length > KEY_BYTES_MAX) return bad_key(side, "its key is too long");
  bool ascends = !side->has_head || bytes_compare(before.data, before.length, side->key.data, side->key.length) < 0;
  return ascends ? KVSTORE_OK : bad_key(side, "its keys do not ascend");
}

/* Rows out of order would go on into a run that is written with that promise. */
static Status read_head(const ColumnMerge *m, MergeSide *side) {
  TRY(m->key_is_image ? read_image(m, side) : read_key(m, side));
  side->has_head = true;
  return KVSTORE_OK;
}

static bool segment_is_over(const MergeSide *side) { return side->row >= side->rows.row_count; }

/* ---- the output ---- */

static Status writer_open(ColumnMerge *m) {
  RunSink sink;
  TRY(m->options->open_output(m->options->context, m->result->run_count, &sink));
  return column_run_writer_create(&sink, m->schema, &m->options->run, &m->writer);
}

static Status writer_close(ColumnMerge *m) {
  if (!m->writer) return KVSTORE_OK;
  Buffer directory = { 0 };
  ColumnRunSummary summary;
  Status status = column_run_writer_finish(m->writer, &directory, &summary);
  if (status == KVSTORE_OK) {
    m->result->row_count += summary.row_count;
    status = m->options->close_output(m->options->context, m->result->run_count++, &directory, &summary);
  }
  column_run_summary_release(&summary);
  buffer_release(&directory);
  column_run_writer_destroy(m->writer);
  m->writer = NULL;
  return status;
}

static Status write_batch(ColumnMerge *m, const ColumnBatch *rows) {
  for (uint32_t next = 0; next < rows->row_count;) {
    if (m->writer && column_run_writer_is_full(m->writer)) TRY(writer_close(m));
    if (!m->writer) TRY(writer_open(m));
    TRY(column_run_writer_add(m->writer, rows, &next));
  }
  return KVSTORE_OK;
}

#define GATHER(TYPE)                                                                              \
  do {                                                                                            \
    TYPE *to = (TYPE *)out;                                                                       \
    for (uint32_t i = 0; i < count; i++) {                                                        \
      to[i] = ((const TYPE *)sides[choices[i].side].rows.columns[column].values)[choices[i].row]; \
    }                                                                                             \
  } while (0)

/* The entries of the chosen rows, of a column whose entries are `width` bytes. */
static void gather_values(const MergeSide *sides, const Choice *choices, uint32_t count, uint32_t column, size_t width,
                          void *out) {
  switch (width) {
  case 1: GATHER(uint8_t); break;
  case 2: GATHER(uint16_t); break;
  case 4: GATHER(uint32_t); break;
  case 8: GATHER(uint64_t); break;
  default: GATHER(Bytes); break;
  }
}

/* False when no chosen row is null. */
static bool gather_nulls(const MergeSide *sides, const Choice *choices, uint32_t count, uint32_t column, uint8_t *out) {
  uint8_t any = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *nulls = sides[choices[i].side].rows.columns[column].nulls;
    out[i] = nulls ? nulls[choices[i].row] : 0;
    any |= out[i];
  }
  return any;
}

static bool gather_expiry(const MergeSide *sides, const Choice *choices, uint32_t count, int64_t *out) {
  bool any = false;
  for (uint32_t i = 0; i < count; i++) {
    const int64_t *expiry = sides[choices[i].side].rows.expiry;
    out[i] = expiry ? expiry[choices[i].row] : EXPIRY_NEVER;
    any |= out[i] != EXPIRY_NEVER;
  }
  return any;
}

/* Hands the chosen rows to the writer. Must come before a decoded segment that they lie in goes. */
static Status flush_choices(ColumnMerge *m) {
  uint32_t count = m->choice_count, column_count = m->schema->column_count;
  if (!count) return KVSTORE_OK;
  m->choice_count = 0;
  for (uint32_t c = 0; c < column_count; c++) {
    void *values = (void *)m->columns[c].values;
    uint8_t *nulls = (uint8_t *)m->columns[c].nulls;
    gather_values(m->sides, m->choices, count, c, type_array_width(m->schema->columns[c].type), values);
    bool any_null = gather_nulls(m->sides, m->choices, count, c, nulls);
    m->batch[c] = (ColumnArray){ values, any_null ? nulls : NULL };
  }
  bool any_expiry = gather_expiry(m->sides, m->choices, count, m->expiry);
  ColumnBatch rows = { count, column_count, m->batch, any_expiry ? m->expiry : NULL };
  return write_batch(m, &rows);
}

/* ---- order ---- */

static int compare_heads(const ColumnMerge *m, uint32_t a, uint32_t b) {
  const MergeSide *left = &m->sides[a], *right = &m->sides[b];
  if (m->key_is_image) return (left->image > right->image) - (left->image < right->image);
  return bytes_compare(left->key.data, left->key.length, right->key.data, right->key.length);
}

static void heap_sink(ColumnMerge *m, size_t at) {
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= m->heap_count) return;
    if (child + 1 < m->heap_count && compare_heads(m, m->heap[child + 1], m->heap[child]) < 0) child++;
    if (compare_heads(m, m->heap[at], m->heap[child]) <= 0) return;
    uint32_t swap = m->heap[at];
    m->heap[at] = m->heap[child];
    m->heap[child] = swap;
    at = child;
  }
}

/* The side whose head comes second; the heap has two at least. */
static uint32_t heap_second(const ColumnMerge *m) {
  return m->heap_count > 2 && compare_heads(m, m->heap[2], m->heap[1]) < 0 ? m->heap[2] : m->heap[1];
}

/* Moves a side to its next row that goes on, loading segments as needed; sets is_done at the end. */
static Status advance(ColumnMerge *m, MergeSide *side) {
  while (segment_is_over(side)) {
    TRY(flush_choices(m));
    if (side->next_segment == side->run->segment_count) {
      side->is_done = true;
      return KVSTORE_OK;
    }
    const Segment *s = column_run_segment(side->run, side->next_segment);
    if (segment_is_dropped(m, side, s)) {
      drop_segment(m, side, s);
    } else {
      TRY(load_segment(m, side));
    }
  }
  return read_head(m, side);
}

/* Chooses rows of the first side while they come before the second one's head, which `second` is (UINT32_MAX: none). */
static Status take_rows(ColumnMerge *m, uint32_t first, uint32_t second) {
  MergeSide *side = &m->sides[first];
  do {
    if (m->choice_count == BATCH_ROWS) TRY(flush_choices(m));
    m->choices[m->choice_count++] = (Choice){ first, side->row };
    side->row = next_live(side, side->row + 1);
    TRY(advance(m, side));
    if (side->is_done) return KVSTORE_OK;
  } while (second == UINT32_MAX || compare_heads(m, first, second) < 0);
  return KVSTORE_OK;
}

static Status merge_sides(ColumnMerge *m) {
  while (m->heap_count) {
    uint32_t first = m->heap[0], second = m->heap_count > 1 ? heap_second(m) : UINT32_MAX;
    if (second != UINT32_MAX && compare_heads(m, first, second) == 0) {
      return status_fail(KVSTORE_CORRUPT, "a key is live in two column runs");
    }
    TRY(take_rows(m, first, second));
    if (m->sides[first].is_done) m->heap[0] = m->heap[--m->heap_count];
    heap_sink(m, 0);
  }
  TRY(flush_choices(m));
  return writer_close(m);
}

/* ---- beginning and end ---- */

static Status prepare_output(ColumnMerge *m) {
  uint32_t column_count = m->schema->column_count;
  m->choices = arena_allocate(&m->arena, BATCH_ROWS * sizeof *m->choices);
  m->columns = arena_allocate(&m->arena, column_count * sizeof *m->columns);
  m->batch = arena_allocate(&m->arena, column_count * sizeof *m->batch);
  m->expiry = arena_allocate(&m->arena, BATCH_ROWS * sizeof *m->expiry);
  if (!m->choices || !m->columns || !m->batch || !m->expiry) return status_nomem();
  for (uint32_t c = 0; c < column_count; c++) {
    m->columns[c].values = arena_allocate(&m->arena, BATCH_ROWS * type_array_width(m->schema->columns[c].type));
    m->columns[c].nulls = arena_allocate(&m->arena, BATCH_ROWS);
    if (!m->columns[c].values || !m->columns[c].nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

static Status prepare_sides(ColumnMerge *m, const ColumnMergeInput *inputs) {
  m->sides = arena_allocate_zeroed(&m->arena, m->side_count * sizeof *m->sides);
  m->heap = arena_allocate(&m->arena, m->side_count * sizeof *m->heap);
  if (!m->sides || !m->heap) {
    m->side_count = 0;
    return status_nomem();
  }
  for (size_t i = 0; i < m->side_count; i++) {
    MergeSide *side = &m->sides[i];
    side->run = inputs[i].run;
    side->deleted = inputs[i].deleted;
    side->live = arena_allocate(&m->arena, DELETED_WORDS * sizeof *side->live);
    if (!side->live) return status_nomem();
  }
  for (size_t i = 0; i < m->side_count; i++) {
    TRY(advance(m, &m->sides[i]));
    if (!m->sides[i].is_done) m->heap[m->heap_count++] = (uint32_t)i;
  }
  for (size_t i = m->heap_count / 2; i-- > 0;) heap_sink(m, i);
  return KVSTORE_OK;
}

Status column_merge(const ColumnMergeInput *inputs, size_t input_count, const ColumnMergeOptions *options,
                    ColumnMergeResult *result) {
  ColumnMerge m;
  memset(&m, 0, sizeof m);
  memset(result, 0, sizeof *result);
  m.options = options;
  m.result = result;
  m.schema = options->schema;
  m.side_count = input_count;
  m.key_column = m.schema->key_columns[0];
  m.key_is_image = m.schema->key_count == 1 && !type_is_string(m.schema->columns[m.key_column].type);
  Status status = prepare_output(&m);
  if (status == KVSTORE_OK) status = prepare_sides(&m, inputs);
  if (status == KVSTORE_OK) status = merge_sides(&m);
  for (size_t i = 0; m.sides && i < m.side_count; i++) {
    arena_release(&m.sides[i].arena);
    buffer_release(&m.sides[i].key);
    buffer_release(&m.sides[i].before);
  }
  column_run_writer_destroy(m.writer);
  arena_release(&m.arena);
  return status;
}
