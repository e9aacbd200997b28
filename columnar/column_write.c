/* column_write.c - the writer of column runs: gathers a segment of rows, encodes it as one extent, hands it to the
 * sink. */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "columnar/column_run_internal.h"
#include "columnar/key_filter.h"

/* The rows of one column that wait for their segment. */
typedef struct PendingColumn {
  void *values;
  uint8_t *nulls; /* NULL until a row is null */
  Buffer array;   /* of a column laid out as an array: the values of the segments so far */
} PendingColumn;

struct ColumnRunWriter {
  RunSink sink;
  const Schema *schema;
  uint32_t segment_rows;
  size_t segment_bytes, array_bytes;
  bool key_filter;

  PendingColumn *pending; /* one a column */
  int64_t *expiry;        /* of the pending rows; NULL until one expires */
  uint32_t pending_rows, pending_capacity;
  size_t pending_bytes;
  Arena strings; /* of the pending rows */

  EncodeRoom extent;        /* the one being built */
  ColumnEncoders *encoders; /* NULL: the writer's thread alone encodes */
  Buffer keys;              /* scratch: fences of the segment, or one key */
  Buffer last_key;          /* of the run so far */
  Buffer segments;          /* the directory's entries so far */
  ColumnRunSummary summary;
};

void column_run_summary_release(ColumnRunSummary *summary) {
  buffer_release(&summary->first_key);
  buffer_release(&summary->last_key);
  memory_release(summary->column_bytes);
  memset(summary, 0, sizeof *summary);
}

Status column_run_writer_create(const RunSink *sink, const Schema *schema, const ColumnRunOptions *options,
                                ColumnRunWriter **writer) {
  *writer = NULL;
  ColumnRunWriter *w = memory_allocate_zeroed(sizeof *w);
  if (!w) return status_nomem();
  w->sink = *sink;
  w->schema = schema;
  w->segment_rows = options && options->segment_rows ? options->segment_rows : SEGMENT_ROWS;
  w->segment_bytes = options && options->segment_bytes ? options->segment_bytes : SEGMENT_BYTES_MAX;
  w->array_bytes = options && options->array_bytes ? options->array_bytes : RUN_ARRAY_BYTES_MAX;
  w->key_filter = options && options->key_filter;
  ASSERT(w->segment_rows <= SEGMENT_ROWS && schema->key_count > 0, "COL-2");
  w->summary.expiry_min = EXPIRY_NEVER;
  w->summary.expiry_max = INT64_MIN;
  w->summary.column_count = schema->column_count;
  Status status = KVSTORE_OK;
  if (options && options->threads > 1 && schema->column_count > 1)
    status = column_encoders_create(schema, options->threads, &w->encoders);
  w->pending = memory_allocate_zeroed(memory_array_size(schema->column_count, sizeof *w->pending));
  w->summary.column_bytes = memory_allocate_zeroed(memory_array_size(schema->column_count, sizeof(uint64_t)));
  if (status != KVSTORE_OK || !w->pending || !w->summary.column_bytes) {
    column_run_writer_destroy(w);
    return status_nomem();
  }
  *writer = w;
  return KVSTORE_OK;
}

void column_run_writer_destroy(ColumnRunWriter *w) {
  if (!w) return;
  for (uint32_t c = 0; w->pending && c < w->schema->column_count; c++) {
    memory_release(w->pending[c].values);
    memory_release(w->pending[c].nulls);
    buffer_release(&w->pending[c].array);
  }
  memory_release(w->pending);
  memory_release(w->expiry);
  arena_release(&w->strings);
  encode_room_release(&w->extent);
  column_encoders_destroy(w->encoders);
  buffer_release(&w->keys);
  buffer_release(&w->last_key);
  buffer_release(&w->segments);
  column_run_summary_release(&w->summary);
  memory_release(w);
}

bool column_run_writer_is_full(const ColumnRunWriter *w) {
  bool is_full = w->summary.segment_count == RUN_SEGMENTS_MAX;
  for (uint32_t c = 0; c < w->schema->column_count && !is_full; c++)
    is_full = w->pending[c].array.length >= w->array_bytes;
  return is_full;
}
uint64_t column_run_writer_rows(const ColumnRunWriter *w) { return w->summary.row_count + w->pending_rows; }

/* ---- the extent ---- */

/* Room for `length` bytes at the end of the extent, at a multiple of 64. */
static Status extent_reserve(ColumnRunWriter *w, uint64_t length, uint8_t **at) {
  return encode_room_reserve(&w->extent, (ChunkRoom){ .out = length }, at);
}

/* A chunk of `length` bytes lies at the end of the extent: its place to header and directory. */
static Status take_chunk(ColumnRunWriter *w, uint32_t number, uint32_t id, const ChunkInput *input, uint64_t length,
                         uint64_t *bytes) {
  Chunk chunk;
  uint64_t offset = w->extent.length;
  TRY(chunk_open(w->extent.bytes + offset, length, input->row_count, input->type, &chunk));
  w->extent.length += (size_t)length;
  *bytes += length;

  uint8_t *entry = w->extent.bytes + SEGMENT_HEADER_BYTES + (size_t)number * SEGMENT_CHUNK_BYTES;
  store_u32(entry, id);
  store_u32(entry + 4, 0);
  store_u64(entry + 8, offset);
  store_u64(entry + 16, length);
  buffer_u64(&w->segments, offset);
  buffer_u64(&w->segments, length);
  buffer_u64(&w->segments, (uint64_t)(chunk.null_count < chunk.row_count ? chunk.minimum : INT64_MAX));
  buffer_u64(&w->segments, (uint64_t)(chunk.null_count < chunk.row_count ? chunk.maximum : INT64_MIN));
  buffer_u32(&w->segments, chunk.null_count);
  buffer_u8(&w->segments, chunk.encoding);
  buffer_u8(&w->segments, chunk.lane);
  return KVSTORE_OK;
}

/* Encodes a column at the end of the extent. */
static Status write_chunk(ColumnRunWriter *w, uint32_t number, uint32_t id, const ChunkInput *input,
                          const ChooseOptions *options, uint64_t *bytes) {
  uint8_t *at;
  ChunkResult result;
  TRY(encode_room_reserve(&w->extent, chunk_encode_room(input), &at));
  TRY(chunk_encode(input, options, at, w->extent.scratch, &result));
  return take_chunk(w, number, id, input, result.length, bytes);
}

/* ---- keys ---- */

static void append_key(const ColumnRunWriter *w, const ColumnBatch *rows, size_t row, Buffer *out) {
  keycode_append_row(out, w->schema, rows->columns, row);
}

/* Rows ascend: within the segment and after the one before. COL-1. */
static void assert_ascending(ColumnRunWriter *w, const ColumnBatch *rows) {
#ifndef NDEBUG
  Buffer before = { 0 }, key = { 0 };
  if (w->last_key.length) buffer_append(&before, w->last_key.data, w->last_key.length);
  for (uint32_t row = 0; row < rows->row_count; row++) {
    buffer_clear(&key);
    append_key(w, rows, row, &key);
    if (key.failed || before.failed) break; /* without memory there is nothing to compare */
    ASSERT(!before.length || bytes_compare(before.data, before.length, key.data, key.length) < 0, "COL-1");
    Buffer swap = before;
    before = key;
    key = swap;
  }
  buffer_release(&before);
  buffer_release(&key);
#else
  (void)w;
  (void)rows;
#endif
}

/* Fences into the extent, right behind the header. */
static Status write_fences(ColumnRunWriter *w, const ColumnBatch *rows, uint32_t blocks, uint64_t *fence_length) {
  size_t table_bytes = 4 * ((size_t)blocks + 1), length_before = 0;
  buffer_clear(&w->keys);
  uint8_t *table = buffer_extend(&w->keys, table_bytes);
  if (!table) return status_nomem();
  for (uint32_t block = 0; block < blocks; block++) {
    size_t from = w->keys.length - table_bytes;
    append_key(w, rows, (size_t)block * BLOCK_ROWS, &w->keys);
    TRY(buffer_status(&w->keys));
    store_u32(w->keys.data + 4 * (size_t)block, (uint32_t)from);
    size_t length = w->keys.length - table_bytes - from;
    const uint8_t *fence = w->keys.data + table_bytes + from;
    ASSERT(length <= KEY_BYTES_MAX, "COL-2");
    ASSERT(!block || bytes_compare(fence - length_before, length_before, fence, length) < 0, "COL-1");
    length_before = length;
  }
  store_u32(w->keys.data + 4 * (size_t)blocks, (uint32_t)(w->keys.length - table_bytes));
  uint8_t *at;
  *fence_length = w->keys.length;
  size_t header = w->extent.length; /* fences need no alignment: they follow the header at once */
  TRY(extent_reserve(w, w->keys.length, &at));
  memcpy(w->extent.bytes + header, w->keys.data, w->keys.length);
  w->extent.length = header + w->keys.length;
  return KVSTORE_OK;
}

static Status write_filter(ColumnRunWriter *w, const ColumnBatch *rows, uint64_t *filter_length) {
  *filter_length = 0;
  if (!w->key_filter) return KVSTORE_OK;
  size_t bytes = key_filter_bytes(rows->row_count);
  uint8_t *filter;
  TRY(extent_reserve(w, bytes, &filter));
  memset(filter, 0, bytes);
  w->extent.length += bytes;
  *filter_length = bytes;
  for (uint32_t row = 0; row < rows->row_count; row++) {
    buffer_clear(&w->keys);
    append_key(w, rows, row, &w->keys);
    TRY(buffer_status(&w->keys));
    key_filter_add(filter, bytes, hash_key(w->keys.data, w->keys.length));
  }
  return KVSTORE_OK;
}

/* First and last key of the segment into the directory, and of the run into the summary. */
static Status write_key_range(ColumnRunWriter *w, const ColumnBatch *rows) {
  buffer_clear(&w->keys);
  append_key(w, rows, 0, &w->keys);
  TRY(buffer_status(&w->keys));
  ASSERT(!w->last_key.length || bytes_compare(w->last_key.data, w->last_key.length, w->keys.data, w->keys.length) < 0,
         "COL-1");
  if (!w->summary.segment_count) buffer_append(&w->summary.first_key, w->keys.data, w->keys.length);
  buffer_bytes(&w->segments, w->keys.data, w->keys.length);
  buffer_clear(&w->last_key);
  append_key(w, rows, rows->row_count - 1, &w->last_key);
  buffer_bytes(&w->segments, w->last_key.data, w->last_key.length);
  TRY(buffer_status(&w->summary.first_key));
  return buffer_status(&w->last_key);
}

/* ---- one segment ---- */

typedef struct ExpiryRange {
  int64_t minimum, maximum;
} ExpiryRange;

static ExpiryRange expiry_range(const ColumnBatch *rows) {
  ExpiryRange range = { EXPIRY_NEVER, EXPIRY_NEVER };
  if (!rows->expiry) return range;
  range.maximum = INT64_MIN;
  for (uint32_t row = 0; row < rows->row_count; row++) {
    if (rows->expiry[row] < range.minimum) range.minimum = rows->expiry[row];
    if (rows->expiry[row] > range.maximum) range.maximum = rows->expiry[row];
  }
  return range;
}

/* The hidden column: null where a row never expires, so that EXPIRY_NEVER does not widen the others' frame. */
static Status write_expiry(ColumnRunWriter *w, const ColumnBatch *rows) {
  uint32_t count = rows->row_count;
  int64_t *values = memory_allocate(memory_array_size(count, sizeof *values));
  uint8_t *nulls = memory_allocate(count);
  Status status = values && nulls ? KVSTORE_OK : status_nomem();
  if (status == KVSTORE_OK) {
    for (uint32_t row = 0; row < count; row++) {
      nulls[row] = rows->expiry[row] == EXPIRY_NEVER;
      values[row] = nulls[row] ? 0 : rows->expiry[row];
    }
    ChunkInput input = { TYPE_I64, 0, count, values, nulls };
    status = write_chunk(w, w->schema->column_count, COLUMN_EXPIRY, &input, NULL, &w->summary.expiry_bytes);
  }
  memory_release(values);
  memory_release(nulls);
  return status;
}

/* The user's wishes, and what is read by key gets no encoding that reads a whole block for a row. */
ChooseOptions column_options(const Schema *schema, uint32_t c) {
  const Column *column = &schema->columns[c];
  bool by_key = schema_is_key(schema, c) || column->flags & COLUMN_READ_BY_KEY;
  if (column->flags & COLUMN_ARRAY) return (ChooseOptions){ .forced = ENCODING_ARRAY };
  return (ChooseOptions){ .forced = column_encoding(column),
                          .or_best = true,
                          .forbidden = column_forbidden(column) | (by_key ? ENCODINGS_SLOW_TO_GET : 0) };
}

/* Appends the values of a segment to its column's array, zeros for nulls. */
static Status append_to_array(ColumnRunWriter *w, uint32_t c, const ChunkInput *input) {
  Buffer *array = &w->pending[c].array;
  size_t width = chunk_array_width(input->type, input->width), bytes = input->row_count * width;
  uint8_t *to = buffer_extend(array, bytes);
  if (!to) return status_nomem();
  if (!type_is_fixed(input->type)) memcpy(to, input->values, bytes);
  for (uint32_t row = 0; row < input->row_count; row++) {
    if (input->nulls && input->nulls[row])
      memset(to + row * width, 0, width);
    else if (type_is_fixed(input->type))
      memcpy(to + row * width, ((const Bytes *)input->values)[row].data, width);
  }
  w->summary.column_bytes[c] += bytes;
  return KVSTORE_OK;
}

ChunkInput column_input(const Schema *schema, const ColumnBatch *rows, uint32_t c) {
  const Column *column = &schema->columns[c];
  return (ChunkInput){ column->type, column->width, rows->row_count, rows->columns[c].values, rows->columns[c].nulls };
}

/* One that helpers have made is copied, any other made here. */
static Status write_column(ColumnRunWriter *w, uint32_t c, const ChunkInput *input, bool helped) {
  const Column *column = &w->schema->columns[c];
  uint64_t length = 0;
  uint8_t *at;
  const uint8_t *made = helped ? column_encoders_chunk(w->encoders, c, &length) : NULL;
  if (!made) {
    ChooseOptions options = column_options(w->schema, c);
    return write_chunk(w, c, column->id, input, &options, &w->summary.column_bytes[c]);
  }
  TRY(extent_reserve(w, length, &at));
  memcpy(at, made, (size_t)length);
  return take_chunk(w, c, column->id, input, length, &w->summary.column_bytes[c]);
}

enum { HELPED_ROWS = 4 * BLOCK_ROWS }; /* fewer are encoded before a helper is awake */

static Status write_columns(ColumnRunWriter *w, const ColumnBatch *rows) {
  bool helped = w->encoders && rows->row_count >= HELPED_ROWS;
  if (helped) column_encoders_run(w->encoders, rows);
  for (uint32_t c = 0; c < w->schema->column_count; c++) {
    ChunkInput input = column_input(w->schema, rows, c);
    TRY(write_column(w, c, &input, helped));
    if (w->schema->columns[c].flags & COLUMN_ARRAY) TRY(append_to_array(w, c, &input));
  }
  return KVSTORE_OK;
}

/* Encodes and emits these rows as the next segment. */
static Status emit_segment(ColumnRunWriter *w, const ColumnBatch *rows) {
  ASSERT(rows->row_count && rows->row_count <= SEGMENT_ROWS && !column_run_writer_is_full(w), "COL-2");
  assert_ascending(w, rows);
  ExpiryRange expiry = expiry_range(rows);
  bool has_expiry = expiry.minimum != EXPIRY_NEVER;
  uint32_t blocks = (rows->row_count + BLOCK_ROWS - 1) / BLOCK_ROWS;
  uint32_t chunks = w->schema->column_count + has_expiry;
  uint64_t fence_length = 0, filter_length = 0;
  uint8_t *at;

  size_t entry = w->segments.length;
  buffer_u32(&w->segments, 0); /* the extent's ordinal, known when it has been emitted */
  buffer_u32(&w->segments, rows->row_count);
  buffer_u8(&w->segments, has_expiry);
  buffer_u64(&w->segments, (uint64_t)expiry.minimum);
  buffer_u64(&w->segments, (uint64_t)expiry.maximum);
  TRY(write_key_range(w, rows));

  w->extent.length = 0;
  TRY(extent_reserve(w, segment_header_bytes(chunks), &at));
  w->extent.length = segment_header_bytes(chunks);
  TRY(write_fences(w, rows, blocks, &fence_length));
  TRY(write_filter(w, rows, &filter_length));
  TRY(write_columns(w, rows));
  if (has_expiry) TRY(write_expiry(w, rows));
  store_u32(w->extent.bytes, SEGMENT_MAGIC);
  store_u32(w->extent.bytes + 4, rows->row_count);
  store_u32(w->extent.bytes + 8, blocks);
  store_u32(w->extent.bytes + 12, chunks);
  store_u64(w->extent.bytes + 16, fence_length);
  store_u64(w->extent.bytes + 24, filter_length);

  uint32_t ordinal;
  TRY(buffer_status(&w->segments));
  TRY(w->sink.emit(w->sink.context, w->extent.bytes, w->extent.length, &ordinal));
  store_u32(w->segments.data + entry, ordinal);
  w->summary.segment_count++;
  w->summary.row_count += rows->row_count;
  w->summary.byte_count += w->extent.length;
  if (expiry.minimum < w->summary.expiry_min) w->summary.expiry_min = expiry.minimum;
  if (expiry.maximum > w->summary.expiry_max) w->summary.expiry_max = expiry.maximum;
  return KVSTORE_OK;
}

static Status emit_pending(ColumnRunWriter *w, ColumnArray *columns) {
  for (uint32_t c = 0; c < w->schema->column_count; c++) {
    columns[c] = (ColumnArray){ w->pending[c].values, w->pending[c].nulls };
  }
  ColumnBatch rows = { w->pending_rows, w->schema->column_count, columns, w->expiry };
  TRY(emit_segment(w, &rows));
  for (uint32_t c = 0; c < w->schema->column_count; c++) {
    memory_release(w->pending[c].nulls);
    w->pending[c].nulls = NULL;
  }
  memory_release(w->expiry);
  w->expiry = NULL;
  w->pending_rows = 0;
  w->pending_bytes = 0;
  arena_reset(&w->strings);
  return KVSTORE_OK;
}

/* ---- gathering rows ---- */

/* Bytes of rows [first, first + count) in memory. */
static size_t rows_bytes(const Schema *schema, const ColumnBatch *rows, uint32_t first, uint32_t count) {
  size_t bytes = 0;
  for (uint32_t c = 0; c < schema->column_count; c++) {
    bytes += count * type_array_width(schema->columns[c].type);
    if (!type_is_string(schema->columns[c].type)) continue;
    const Bytes *strings = (const Bytes *)rows->columns[c].values + first;
    for (uint32_t row = 0; row < count; row++) bytes += strings[row].length;
  }
  return bytes;
}

/* How many rows from `first` on still fit into the segment, which has `held` rows of *bytes bytes; adds theirs to
 * *bytes. At least one when the segment is empty. */
static uint32_t rows_fitting(const ColumnRunWriter *w, const ColumnBatch *rows, uint32_t first, uint32_t held,
                             size_t *bytes) {
  uint32_t left = rows->row_count - first, room = w->segment_rows - held, taken = 0;
  uint32_t count = left < room ? left : room;
  for (uint32_t step = BLOCK_ROWS; taken < count && step;) {
    uint32_t next = count - taken < step ? count - taken : step;
    size_t more = rows_bytes(w->schema, rows, first + taken, next);
    if (*bytes + more <= w->segment_bytes || (next == 1 && held + taken == 0)) {
      *bytes += more;
      taken += next;
    } else {
      step = next / 2; /* the last that fit are found by halving */
    }
  }
  return taken;
}

static Status pending_reserve(ColumnRunWriter *w, uint32_t more) {
  uint32_t needed = w->pending_rows + more;
  if (needed <= w->pending_capacity) return KVSTORE_OK;
  uint32_t capacity = needed > w->pending_capacity * 2 ? needed : w->pending_capacity * 2;
  if (capacity > w->segment_rows) capacity = w->segment_rows;
  for (uint32_t c = 0; c < w->schema->column_count; c++) {
    PendingColumn *column = &w->pending[c];
    void *values = memory_reallocate(column->values, capacity * type_array_width(w->schema->columns[c].type));
    if (!values) return status_nomem();
    column->values = values;
    if (!column->nulls) continue;
    uint8_t *nulls = memory_reallocate(column->nulls, capacity);
    if (!nulls) return status_nomem();
    column->nulls = nulls;
  }
  if (w->expiry) {
    int64_t *expiry = memory_reallocate(w->expiry, capacity * sizeof *expiry);
    if (!expiry) return status_nomem();
    w->expiry = expiry;
  }
  w->pending_capacity = capacity;
  return KVSTORE_OK;
}

/* Copies strings into the arena of the pending rows: one allocation, one pass. */
static Status pend_strings(ColumnRunWriter *w, Bytes *to, const Bytes *from, uint32_t count) {
  size_t total = 0;
  for (uint32_t i = 0; i < count; i++) total += from[i].length;
  uint8_t *at = arena_allocate(&w->strings, total);
  if (!at) return status_nomem();
  for (uint32_t i = 0; i < count; i++) {
    to[i] = (Bytes){ at, from[i].length };
    if (from[i].length) memcpy(at, from[i].data, from[i].length);
    at += from[i].length;
  }
  return KVSTORE_OK;
}

static Status pend_column(ColumnRunWriter *w, uint32_t c, const ColumnArray *from, uint32_t first, uint32_t count) {
  PendingColumn *column = &w->pending[c];
  ColumnType type = w->schema->columns[c].type;
  size_t width = type_array_width(type);
  uint8_t *to = (uint8_t *)column->values + w->pending_rows * width;
  if (type_is_string(type)) {
    TRY(pend_strings(w, (Bytes *)(void *)to, (const Bytes *)from->values + first, count));
  } else {
    memcpy(to, (const uint8_t *)from->values + first * width, count * width);
  }
  if (from->nulls && !column->nulls) {
    column->nulls = memory_allocate_zeroed(w->pending_capacity);
    if (!column->nulls) return status_nomem();
  }
  if (from->nulls) {
    memcpy(column->nulls + w->pending_rows, from->nulls + first, count);
  } else if (column->nulls) {
    memset(column->nulls + w->pending_rows, 0, count);
  }
  return KVSTORE_OK;
}

static Status pend_expiry(ColumnRunWriter *w, const int64_t *from, uint32_t count) {
  if (!from && !w->expiry) return KVSTORE_OK;
  if (!w->expiry) {
    w->expiry = memory_allocate(w->pending_capacity * sizeof *w->expiry);
    if (!w->expiry) return status_nomem();
    for (uint32_t row = 0; row < w->pending_rows; row++) w->expiry[row] = EXPIRY_NEVER;
  }
  for (uint32_t row = 0; row < count; row++) w->expiry[w->pending_rows + row] = from ? from[row] : EXPIRY_NEVER;
  return KVSTORE_OK;
}

static Status pend_rows(ColumnRunWriter *w, const ColumnBatch *rows, uint32_t first, uint32_t count) {
  TRY(pending_reserve(w, count));
  for (uint32_t c = 0; c < w->schema->column_count; c++) TRY(pend_column(w, c, &rows->columns[c], first, count));
  TRY(pend_expiry(w, rows->expiry ? rows->expiry + first : NULL, count));
  w->pending_rows += count;
  return KVSTORE_OK;
}

/* Rows [first, first + count) of the batch as a batch of their own; `columns` holds its arrays. */
static ColumnBatch batch_slice(const Schema *schema, const ColumnBatch *rows, uint32_t first, uint32_t count,
                               ColumnArray *columns) {
  for (uint32_t c = 0; c < schema->column_count; c++) {
    size_t width = type_array_width(schema->columns[c].type);
    const ColumnArray *from = &rows->columns[c];
    columns[c].values = (const uint8_t *)from->values + first * width;
    columns[c].nulls = from->nulls ? from->nulls + first : NULL;
  }
  return (ColumnBatch){ count, schema->column_count, columns, rows->expiry ? rows->expiry + first : NULL };
}

/* Adds rows until the batch ends or the run is full. A whole segment that lies in the batch is encoded from there,
 * without a copy. */
static Status add_rows(ColumnRunWriter *w, const ColumnBatch *rows, uint32_t *next, ColumnArray *columns) {
  while (*next < rows->row_count && !column_run_writer_is_full(w)) {
    size_t bytes = w->pending_bytes;
    uint32_t count = rows_fitting(w, rows, *next, w->pending_rows, &bytes);
    bool is_complete = *next + count < rows->row_count || w->pending_rows + count == w->segment_rows;
    if (is_complete && !w->pending_rows) {
      ColumnBatch slice = batch_slice(w->schema, rows, *next, count, columns);
      TRY(emit_segment(w, &slice));
    } else {
      if (count) TRY(pend_rows(w, rows, *next, count));
      w->pending_bytes = bytes;
      if (is_complete) TRY(emit_pending(w, columns));
    }
    *next += count;
  }
  return KVSTORE_OK;
}

Status column_run_writer_add(ColumnRunWriter *w, const ColumnBatch *rows, uint32_t *next) {
  ASSERT(rows->column_count == w->schema->column_count && *next <= rows->row_count, "COL-2");
  ColumnArray *columns = memory_allocate(memory_array_size(w->schema->column_count, sizeof *columns));
  if (!columns) return status_nomem();
  Status status = add_rows(w, rows, next, columns);
  memory_release(columns);
  return status;
}

/* ---- the directory ---- */

/* The arrays, an extent each, behind the segments. `ordinals` has room for the columns. */
static Status emit_arrays(ColumnRunWriter *w, uint32_t *ordinals) {
  for (uint32_t c = 0; c < w->schema->column_count; c++) {
    const Column *column = &w->schema->columns[c];
    Buffer *array = &w->pending[c].array;
    if (!(column->flags & COLUMN_ARRAY)) continue;
    size_t padding = (size_t)chunk_array_bytes(column->type, column->width, 0);
    uint8_t *behind = buffer_extend(array, padding);
    if (!behind) return status_nomem();
    memset(behind, 0, padding);
    TRY(w->sink.emit(w->sink.context, array->data, array->length, &ordinals[c]));
    w->summary.byte_count += array->length;
  }
  return KVSTORE_OK;
}

static void write_directory_head(const ColumnRunWriter *w, const uint32_t *arrays, Buffer *out) {
  const Schema *schema = w->schema;
  buffer_u32(out, RUN_MAGIC);
  buffer_u32(out, schema->version);
  buffer_u64(out, w->summary.row_count);
  buffer_u32(out, w->summary.segment_count);
  buffer_u32(out, schema->column_count);
  buffer_u32(out, schema->key_count);
  for (uint32_t k = 0; k < schema->key_count; k++) buffer_u32(out, schema->key_columns[k]);
  for (uint32_t c = 0; c < schema->column_count; c++) {
    const Column *column = &schema->columns[c];
    buffer_u32(out, column->id);
    buffer_u8(out, (uint8_t)column->type);
    bool is_array = column->flags & COLUMN_ARRAY;
    buffer_u8(out, (column->flags & COLUMN_NULLABLE ? RUN_COLUMN_NULLABLE : 0) | (is_array ? RUN_COLUMN_ARRAY : 0));
    buffer_u16(out, 0);
    buffer_u32(out, column->width);
    if (is_array) buffer_u32(out, arrays[c]);
  }
}

static Status finish_pending(ColumnRunWriter *w) {
  if (!w->pending_rows) return KVSTORE_OK;
  ColumnArray *columns = memory_allocate(memory_array_size(w->schema->column_count, sizeof *columns));
  if (!columns) return status_nomem();
  Status status = emit_pending(w, columns);
  memory_release(columns);
  return status;
}

Status column_run_writer_finish(ColumnRunWriter *w, Buffer *directory, ColumnRunSummary *summary) {
  memset(summary, 0, sizeof *summary);
  ASSERT(column_run_writer_rows(w) > 0, "COL-2");
  TRY(finish_pending(w));
  uint32_t *arrays = memory_allocate_zeroed(memory_array_size(w->schema->column_count, sizeof *arrays));
  if (!arrays) return status_nomem();
  Status status = emit_arrays(w, arrays);
  if (status == KVSTORE_OK) write_directory_head(w, arrays, directory);
  memory_release(arrays);
  TRY(status);
  buffer_append(directory, w->segments.data, w->segments.length);
  TRY(buffer_status(directory));
  *summary = w->summary;
  memset(&w->summary, 0, sizeof w->summary);
  summary->last_key = w->last_key;
  memset(&w->last_key, 0, sizeof w->last_key);
  return KVSTORE_OK;
}
