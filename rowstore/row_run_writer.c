/* row_run_writer.c - writes a row run in one pass: rows go to pieces at once, the index is built at the end. */
#include "rowstore/row_run.h"

#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "rowstore/row_pack.h"
#include "rowstore/row_run_internal.h"

typedef struct WrittenExtent {
  uint32_t ordinal, row_count;
  uint64_t length; /* of a packed piece: of its rows */
  uint32_t frame_count;
} WrittenExtent;

typedef struct ExtentList {
  WrittenExtent *items;
  size_t count, capacity;
} ExtentList;

/* The groups of the block of sparse index that is being filled. Its heads are known when the next block begins. */
typedef struct PendingBlock {
  Buffer keys; /* first keys of the groups, one after the other */
  uint32_t key_ends[SPARSE_GROUPS];
  uint32_t positions[SPARSE_GROUPS];
  uint32_t count;
} PendingBlock;

/* The frames of the piece that is being filled. */
typedef struct PendingFrames {
  uint32_t start, rows; /* the last one: where it begins in the piece, and what it holds */
  struct FrameEnd {
    uint32_t end, rows;
  } * ended;
  size_t count, capacity;
} PendingFrames;

struct RowRunWriter {
  RunSink sink;
  RowRunOptions options;
  bool ended; /* finished or failed: only destroy is left */

  /* Of a run that may be packed the first rows wait here until it is known whether it will be, and with which
   * dictionary. */
  bool is_waiting;
  Buffer waiting;
  uint64_t waiting_rows;
  RowPacker *packer; /* NULL: plain */
  PendingFrames frame;
  Buffer packed; /* a piece on its way out */
  uint32_t expiry_ordinal;
  uint64_t expiry_length;

  Buffer piece;
  uint32_t piece_rows, group_rows;
  ExtentList pieces;
  Buffer values;
  ExtentList value_extents;
  ExtentList index_extents;

  uint64_t *hashes;
  uint32_t *positions;
  size_t hash_capacity, position_capacity;

  PendingBlock block;
  Buffer sparse;
  Buffer fences;
  uint32_t group_count;
  uint32_t bucket_count, probe_max;

  Buffer first_key, last_key;
  RowRunSummary summary;
};

Status row_run_writer_create(const RunSink *sink, const RowRunOptions *options, RowRunWriter **writer) {
  RowRunWriter *w = memory_allocate_zeroed(sizeof *w);
  if (!w) return status_nomem();
  w->sink = *sink;
  if (options) w->options = *options;
  if (!w->options.piece_bytes || w->options.piece_bytes > ROW_PIECE_BYTES) w->options.piece_bytes = ROW_PIECE_BYTES;
  if (!w->options.value_extent_bytes) w->options.value_extent_bytes = ROW_PIECE_BYTES;
  if (w->options.value_extent_bytes > SEGMENT_BYTES_MAX) w->options.value_extent_bytes = SEGMENT_BYTES_MAX;
  w->summary.expiry_min = EXPIRY_NEVER;
  w->is_waiting = w->options.packing != ROW_PACKING_NONE;
  *writer = w;
  return KVSTORE_OK;
}

void row_run_writer_destroy(RowRunWriter *w) {
  if (!w) return;
  Buffer *buffers[] = { &w->piece,  &w->values,    &w->block.keys, &w->sparse, &w->fences,
                        &w->packed, &w->first_key, &w->last_key,   &w->waiting };
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) buffer_release(buffers[i]);
  row_packer_destroy(w->packer);
  memory_release(w->frame.ended);
  memory_release(w->pieces.items);
  memory_release(w->value_extents.items);
  memory_release(w->index_extents.items);
  memory_release(w->hashes);
  memory_release(w->positions);
  memory_release(w);
}

uint64_t row_run_writer_bytes(const RowRunWriter *w) {
  return w->summary.extent_bytes + w->waiting.length + w->piece.length + w->values.length +
         w->summary.row_count * BUCKET_BYTES / BUCKET_KEYS + (uint64_t)w->group_count * (8 + 4);
}

uint64_t row_run_writer_rows(const RowRunWriter *w) { return w->summary.row_count + w->waiting_rows; }

static Bytes buffer_view(const Buffer *b) { return (Bytes){ b->data, b->length }; }

static Status emit_extent(RowRunWriter *w, ExtentList *list, const uint8_t *bytes, size_t length, uint32_t rows) {
  TRY(memory_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items));
  WrittenExtent *e = &list->items[list->count];
  *e = (WrittenExtent){ .row_count = rows, .length = length };
  TRY(w->sink.emit(w->sink.context, bytes, length, &e->ordinal));
  list->count++;
  w->summary.extent_bytes += length;
  return KVSTORE_OK;
}

/* Ends the frame at the end of the piece's rows; the next row begins another, and a group. */
static Status end_frame(RowRunWriter *w) {
  PendingFrames *f = &w->frame;
  TRY(memory_grow(&f->ended, &f->capacity, f->count + 1, sizeof *f->ended));
  f->ended[f->count++] = (struct FrameEnd){ (uint32_t)w->piece.length, f->rows };
  f->start = (uint32_t)w->piece.length;
  f->rows = w->group_rows = 0;
  return KVSTORE_OK;
}

static Status emit_packed_piece(RowRunWriter *w) {
  PendingFrames *f = &w->frame;
  TRY(end_frame(w));
  buffer_clear(&w->packed);
  uint32_t start = 0;
  for (size_t i = 0; i < f->count; start = f->ended[i++].end)
    TRY(row_packer_frame(w->packer, w->piece.data + start, f->ended[i].end - start, f->ended[i].rows, &w->packed));
  TRY(emit_extent(w, &w->pieces, w->packed.data, w->packed.length, w->piece_rows));
  WrittenExtent *piece = &w->pieces.items[w->pieces.count - 1];
  piece->length = w->piece.length;
  piece->frame_count = (uint32_t)f->count;
  f->count = f->start = f->rows = 0;
  return KVSTORE_OK;
}

static Status emit_piece(RowRunWriter *w) {
  TRY(w->packer ? emit_packed_piece(w) : emit_extent(w, &w->pieces, w->piece.data, w->piece.length, w->piece_rows));
  buffer_clear(&w->piece);
  w->piece_rows = w->group_rows = 0; /* a group never leaves its piece */
  return KVSTORE_OK;
}

static Status emit_values(RowRunWriter *w) {
  if (!w->values.length) return KVSTORE_OK;
  TRY(emit_extent(w, &w->value_extents, w->values.data, w->values.length, 0));
  buffer_clear(&w->values);
  return KVSTORE_OK;
}

/* Stores a long value; `reference` becomes the 16 bytes that stand for it in its row. */
static Status add_external(RowRunWriter *w, Bytes value, uint8_t reference[ROW_REFERENCE_BYTES]) {
  if (w->values.length + value.length > w->options.value_extent_bytes) TRY(emit_values(w));
  store_u32(reference, (uint32_t)w->value_extents.count);
  store_u32(reference + 4, (uint32_t)value.length);
  store_u64(reference + 8, w->values.length);
  w->summary.external_count++;
  if (value.length >= w->options.value_extent_bytes)
    return emit_extent(w, &w->value_extents, value.data, value.length, 0);
  buffer_append(&w->values, value.data, value.length);
  return buffer_status(&w->values);
}

/* ---- sparse index ---- */

/* Writes the pending block. `after` is the next block's first key, or the last key of the run. */
static Status end_block(RowRunWriter *w, Bytes after) {
  PendingBlock *b = &w->block;
  Bytes first = { b->keys.data, b->key_ends[0] };
  uint8_t *out = buffer_extend(&w->sparse, SPARSE_BLOCK_BYTES);
  if (!out) return buffer_status(&w->sparse);
  memset(out, 0, SPARSE_BLOCK_BYTES);
  size_t skip = keys_common(first, after);
  if (skip > UINT16_MAX) skip = UINT16_MAX; /* a run of one key of 65,536 bytes */
  for (uint32_t i = 0; i < b->count; i++) {
    uint32_t start = i ? b->key_ends[i - 1] : 0;
    store_u64(out + i * 8, key_head(b->keys.data + start, b->key_ends[i] - start, skip));
    store_u32(out + SPARSE_POSITIONS_AT + i * 4, b->positions[i]);
  }
  store_u16(out + SPARSE_SKIP_AT, (uint16_t)skip);
  store_u16(out + SPARSE_COUNT_AT, (uint16_t)b->count);
  buffer_bytes(&w->fences, first.data, first.length);
  buffer_clear(&b->keys);
  b->count = 0;
  return buffer_status(&w->fences);
}

static Status begin_group(RowRunWriter *w, Bytes key, uint32_t position) {
  PendingBlock *b = &w->block;
  if (b->count == SPARSE_GROUPS) TRY(end_block(w, key));
  buffer_append(&b->keys, key.data, key.length);
  TRY(buffer_status(&b->keys));
  b->key_ends[b->count] = (uint32_t)b->keys.length;
  b->positions[b->count++] = position;
  w->group_count++;
  return KVSTORE_OK;
}

/* ---- rows ---- */

static Status check_row(const RowRunWriter *w, Bytes key, Bytes value, bool tombstone) {
  if (key.length == 0 || key.length > KEY_BYTES_MAX)
    return status_fail(KVSTORE_ERROR, "a key of a row run has 1 to %u bytes, not %zu", KEY_BYTES_MAX, key.length);
  if (value.length > VALUE_BYTES_CEILING)
    return status_fail(KVSTORE_ERROR, "a value has at most %u bytes, not %zu", VALUE_BYTES_CEILING, value.length);
  if (tombstone && value.length)
    return status_fail(KVSTORE_ERROR, "a tombstone has no value, this one %zu bytes", value.length);
  if (row_run_writer_rows(w) && bytes_compare(w->last_key.data, w->last_key.length, key.data, key.length) >= 0)
    return status_fail(KVSTORE_ERROR, "row %llu of a row run does not ascend",
                       (unsigned long long)row_run_writer_rows(w));
  return KVSTORE_OK;
}

static Status keep_last_key(RowRunWriter *w, Bytes key) {
  buffer_clear(&w->last_key);
  buffer_append(&w->last_key, key.data, key.length);
  return buffer_status(&w->last_key);
}

static Status remember_key(RowRunWriter *w, Bytes key, uint32_t position) {
  size_t n = (size_t)w->summary.row_count;
  TRY(memory_grow(&w->hashes, &w->hash_capacity, n + 1, sizeof *w->hashes));
  TRY(memory_grow(&w->positions, &w->position_capacity, n + 1, sizeof *w->positions));
  w->hashes[n] = hash_key(key.data, key.length);
  w->positions[n] = position;
  if (!n) buffer_append(&w->first_key, key.data, key.length);
  TRY(buffer_status(&w->first_key));
  return keep_last_key(w, key);
}

/* A row as it goes into its piece: the reference in place of a long value, whose own length is `value_length`. */
typedef struct StoredRow {
  Bytes key, stored;
  uint64_t value_length;
  int64_t expiry;
  uint32_t flags;
  size_t total;
} StoredRow;

static void count_row(RowRunSummary *s, const StoredRow *row) {
  s->row_count++;
  s->tombstone_count += row->flags & ROW_TOMBSTONE;
  s->key_bytes += row->key.length;
  s->value_bytes += row->value_length;
  if (row->expiry == EXPIRY_NEVER) return;
  if (!s->expiring_count++) {
    s->expiry_min = s->expiry_max = row->expiry;
    return;
  }
  if (row->expiry < s->expiry_min) s->expiry_min = row->expiry;
  if (row->expiry > s->expiry_max) s->expiry_max = row->expiry;
}

static Status append_row(Buffer *to, const StoredRow *r) {
  uint8_t *row = buffer_extend(to, r->total);
  if (!row) return buffer_status(to);
  uint8_t *at = row + ROW_HEADER_BYTES;
  store_u16(row, (uint16_t)(r->key.length - 1));
  store_u16(row + 2, (uint16_t)r->flags);
  store_u32(row + 4, (uint32_t)r->stored.length);
  if (r->flags & ROW_EXPIRES) {
    store_u64(at, (uint64_t)r->expiry);
    at += ROW_EXPIRY_BYTES;
  }
  memcpy(at, r->key.data, r->key.length);
  at += r->key.length;
  if (r->stored.length) memcpy(at, r->stored.data, r->stored.length);
  at += r->stored.length;
  memset(at, 0, (size_t)(row + r->total - at));
  return KVSTORE_OK;
}

/* Puts a row behind the others, and into the index. */
static Status place_row(RowRunWriter *w, const StoredRow *row) {
  if (w->piece.length && w->piece.length + row->total > w->options.piece_bytes) TRY(emit_piece(w));
  if (w->packer && w->frame.rows && w->piece.length - w->frame.start + row->total > FRAME_BYTES) TRY(end_frame(w));
  uint32_t position = position_of((uint32_t)w->pieces.count, (uint32_t)w->piece.length);
  if (w->group_rows == 0) TRY(begin_group(w, row->key, position));
  TRY(append_row(&w->piece, row));
  TRY(remember_key(w, row->key, position));
  w->group_rows = (w->group_rows + 1) % SPARSE_INTERVAL;
  w->piece_rows++;
  w->frame.rows++;
  count_row(&w->summary, row);
  return KVSTORE_OK;
}

/* ---- rows that wait ---- */

static StoredRow waiting_row(const uint8_t *bytes) {
  StoredRow row = { .flags = load_u16(bytes + 2), .key = row_key(bytes), .expiry = EXPIRY_NEVER };
  row.total = (size_t)row_total(load_u64(bytes));
  row.stored = (Bytes){ row.key.data + row.key.length, load_u32(bytes + 4) };
  row.value_length = row.flags & ROW_EXTERNAL ? load_u32(row.stored.data + 4) : row.stored.length;
  if (row.flags & ROW_EXPIRES) row.expiry = (int64_t)load_u64(bytes + ROW_HEADER_BYTES);
  return row;
}

/* Learns from the rows that wait, decides, and writes them. */
static Status end_waiting(RowRunWriter *w) {
  bool worthwhile = false;
  w->is_waiting = false;
  TRY(row_packer_create((Bytes){ w->waiting.data, w->waiting.length }, &w->packer, &worthwhile));
  if (!worthwhile && w->options.packing != ROW_PACKING_ALWAYS) {
    row_packer_destroy(w->packer);
    w->packer = NULL;
    COUNT(runs_not_worth_packing);
  } else {
    w->summary.is_packed = true;
    COUNT(runs_packed);
  }
  Buffer rows = w->waiting;
  w->waiting = (Buffer){ 0 };
  w->waiting_rows = 0;
  Status status = KVSTORE_OK;
  for (size_t at = 0; at < rows.length && status == KVSTORE_OK;) {
    StoredRow row = waiting_row(rows.data + at);
    status = place_row(w, &row);
    at += row.total;
  }
  buffer_release(&rows);
  return status;
}

static Status wait_with_row(RowRunWriter *w, const StoredRow *row) {
  TRY(append_row(&w->waiting, row));
  TRY(keep_last_key(w, row->key));
  w->waiting_rows++;
  return w->waiting.length >= PACK_SAMPLE_BYTES || w->waiting.length >= w->options.piece_bytes ? end_waiting(w)
                                                                                               : KVSTORE_OK;
}

static Status add_row(RowRunWriter *w, Bytes key, Bytes value, int64_t expiry, bool tombstone, size_t total) {
  uint8_t reference[ROW_REFERENCE_BYTES];
  StoredRow row = { .key = key, .stored = value, .value_length = value.length, .expiry = expiry, .total = total };
  row.flags = (tombstone ? ROW_TOMBSTONE : 0) | (expiry != EXPIRY_NEVER ? ROW_EXPIRES : 0);
  if (value.length > VALUE_INLINE_MAX) {
    TRY(add_external(w, value, reference));
    row.stored = (Bytes){ reference, sizeof reference };
    row.flags |= ROW_EXTERNAL;
  }
  return w->is_waiting ? wait_with_row(w, &row) : place_row(w, &row);
}

Status row_run_writer_add(RowRunWriter *w, Bytes key, Bytes value, int64_t expiry, bool tombstone) {
  ASSERT(!w->ended, "ROW-1");
  TRY(check_row(w, key, value, tombstone));
  size_t stored = value.length > VALUE_INLINE_MAX ? ROW_REFERENCE_BYTES : value.length;
  size_t header = expiry != EXPIRY_NEVER ? ROW_HEADER_BYTES + ROW_EXPIRY_BYTES : ROW_HEADER_BYTES;
  size_t total = (size_t)round_up(header + key.length + stored, POSITION_UNIT);
  if (w->pieces.count + 1 == PIECES_MAX && w->piece.length && w->piece.length + total > w->options.piece_bytes)
    return status_fail(KVSTORE_LIMIT, "a row run is full after %u pieces", PIECES_MAX);
  Status status = add_row(w, key, value, expiry, tombstone, total);
  if (status != KVSTORE_OK) w->ended = true;
  return status;
}

/* ---- the end ---- */

static uint32_t place_key(uint8_t *buckets, uint32_t bucket_count, uint64_t hash, uint32_t position) {
  uint32_t at = bucket_home(hash, bucket_count), probes = 0;
  uint8_t *b = buckets + (size_t)at * BUCKET_BYTES;
  uint32_t count;
  while ((count = load_u16(b + BUCKET_COUNT_AT)) == BUCKET_SLOTS) {
    store_u16(b + BUCKET_OVERFLOW_AT, 1);
    at = at + 1 == bucket_count ? 0 : at + 1;
    b = buckets + (size_t)at * BUCKET_BYTES;
    probes++;
  }
  store_u16(b + count * 2, (uint16_t)hash);
  store_u32(b + BUCKET_POSITIONS_AT + count * 4, position);
  store_u16(b + BUCKET_COUNT_AT, (uint16_t)(count + 1));
  return probes;
}

static void fill_buckets(RowRunWriter *w, uint8_t *buckets) {
  enum { AHEAD = 16 }; /* a bucket is a cache miss */
  size_t rows = (size_t)w->summary.row_count;
  for (size_t i = 0; i < rows; i++) {
    if (i + AHEAD < rows)
      __builtin_prefetch(buckets + (size_t)bucket_home(w->hashes[i + AHEAD], w->bucket_count) * BUCKET_BYTES, 1);
    uint32_t probes = place_key(buckets, w->bucket_count, w->hashes[i], w->positions[i]);
    if (probes > w->probe_max) w->probe_max = probes;
  }
}

static Status emit_index(RowRunWriter *w) {
  w->bucket_count = (uint32_t)((w->summary.row_count + BUCKET_KEYS - 1) / BUCKET_KEYS);
  size_t start = (size_t)index_sparse_start(w->bucket_count), length = start + w->sparse.length;
  uint8_t *index = memory_allocate_zeroed(length);
  if (!index) return status_nomem();
  fill_buckets(w, index);
  memcpy(index + start, w->sparse.data, w->sparse.length);
  Status status = KVSTORE_OK;
  for (size_t at = 0; at < length && status == KVSTORE_OK; at += INDEX_EXTENT_BYTES) {
    size_t part = length - at < INDEX_EXTENT_BYTES ? length - at : INDEX_EXTENT_BYTES;
    status = emit_extent(w, &w->index_extents, index + at, part, 0);
  }
  memory_release(index);
  return status;
}

/* The column of a packed run whose rows expire. */
static Status emit_expiries(RowRunWriter *w) {
  w->expiry_ordinal = UINT32_MAX;
  if (!w->packer || !w->summary.expiring_count) return KVSTORE_OK;
  Buffer column = { 0 };
  row_packer_expiries(w->packer, &column);
  Status status = buffer_status(&column);
  if (status == KVSTORE_OK) status = w->sink.emit(w->sink.context, column.data, column.length, &w->expiry_ordinal);
  w->expiry_length = column.length;
  w->summary.extent_bytes += column.length;
  buffer_release(&column);
  return status;
}

static void append_frames(const RowRunWriter *w, Buffer *d) {
  Bytes dictionary = row_packer_dictionary(w->packer), frames = row_packer_frames(w->packer);
  buffer_u32(d, w->expiry_ordinal);
  buffer_u64(d, w->expiry_length);
  buffer_bytes(d, dictionary.data, dictionary.length);
  for (size_t i = 0, at = 0; i < w->pieces.count; i++) {
    size_t length = (size_t)w->pieces.items[i].frame_count * FRAME_ENTRY_BYTES;
    buffer_u32(d, w->pieces.items[i].frame_count);
    buffer_append(d, frames.data + at, length);
    at += length;
  }
}

static void append_directory(const RowRunWriter *w, Buffer *d) {
  const RowRunSummary *s = &w->summary;
  buffer_u32(d, ROW_RUN_MAGIC);
  buffer_u32(d, w->packer ? ROW_RUN_PACKED : 0);
  const uint64_t counts[] = { s->row_count,      s->tombstone_count,      s->expiring_count,
                              s->external_count, (uint64_t)s->expiry_min, (uint64_t)s->expiry_max,
                              s->key_bytes,      s->value_bytes };
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) buffer_u64(d, counts[i]);
  const uint32_t sizes[] = { w->bucket_count,
                             w->probe_max,
                             w->group_count,
                             (uint32_t)w->pieces.count,
                             (uint32_t)w->index_extents.count,
                             (uint32_t)w->value_extents.count };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) buffer_u32(d, sizes[i]);
  for (size_t i = 0; i < w->pieces.count; i++) {
    buffer_u32(d, w->pieces.items[i].ordinal);
    buffer_u32(d, (uint32_t)w->pieces.items[i].length);
    buffer_u32(d, w->pieces.items[i].row_count);
  }
  for (size_t i = 0; i < w->index_extents.count; i++) buffer_u32(d, w->index_extents.items[i].ordinal);
  for (size_t i = 0; i < w->value_extents.count; i++) {
    buffer_u32(d, w->value_extents.items[i].ordinal);
    buffer_u64(d, w->value_extents.items[i].length);
  }
  if (!s->row_count) return;
  if (w->packer) append_frames(w, d);
  buffer_bytes(d, w->last_key.data, w->last_key.length);
  buffer_append(d, w->fences.data, w->fences.length);
}

static Status finish(RowRunWriter *w) {
  if (w->waiting_rows) TRY(end_waiting(w));
  if (!w->summary.row_count) return KVSTORE_OK;
  TRY(emit_values(w));
  TRY(emit_piece(w));
  TRY(emit_expiries(w));
  TRY(end_block(w, buffer_view(&w->last_key)));
  return emit_index(w);
}

Status row_run_writer_finish(RowRunWriter *w, Buffer *directory, RowRunSummary *summary) {
  ASSERT(!w->ended, "ROW-1");
  w->ended = true;
  TRY(finish(w));
  append_directory(w, directory);
  TRY(buffer_status(directory));
  w->summary.first_key = buffer_view(&w->first_key);
  w->summary.last_key = buffer_view(&w->last_key);
  if (summary) *summary = w->summary;
  return KVSTORE_OK;
}
