/* row_run_writer.c - writes a row run in one pass: rows go to pieces at once, the index is built at the end. */
#include "rowstore/row_run.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "rowstore/row_run_internal.h"

typedef struct WrittenExtent {
  uint32_t ordinal, row_count;
  uint64_t length;
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

struct RowRunWriter {
  RunSink sink;
  RowRunOptions options;
  bool ended; /* finished or failed: only destroy is left */

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
  *writer = w;
  return KVSTORE_OK;
}

void row_run_writer_destroy(RowRunWriter *w) {
  if (!w) return;
  Buffer *buffers[] = { &w->piece, &w->values, &w->block.keys, &w->sparse, &w->fences, &w->first_key, &w->last_key };
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) buffer_release(buffers[i]);
  memory_release(w->pieces.items);
  memory_release(w->value_extents.items);
  memory_release(w->index_extents.items);
  memory_release(w->hashes);
  memory_release(w->positions);
  memory_release(w);
}

uint64_t row_run_writer_bytes(const RowRunWriter *w) {
  return w->summary.extent_bytes + w->piece.length + w->values.length +
         w->summary.row_count * BUCKET_BYTES / BUCKET_KEYS + (uint64_t)w->group_count * (8 + 4);
}

uint64_t row_run_writer_rows(const RowRunWriter *w) { return w->summary.row_count; }

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

static Status emit_piece(RowRunWriter *w) {
  TRY(emit_extent(w, &w->pieces, w->piece.data, w->piece.length, w->piece_rows));
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
  if (w->summary.row_count && bytes_compare(w->last_key.data, w->last_key.length, key.data, key.length) >= 0)
    return status_fail(KVSTORE_ERROR, "row %llu of a row run does not ascend",
                       (unsigned long long)w->summary.row_count);
  return KVSTORE_OK;
}

static Status remember_key(RowRunWriter *w, Bytes key, uint32_t position) {
  size_t n = (size_t)w->summary.row_count;
  TRY(memory_grow(&w->hashes, &w->hash_capacity, n + 1, sizeof *w->hashes));
  TRY(memory_grow(&w->positions, &w->position_capacity, n + 1, sizeof *w->positions));
  w->hashes[n] = hash_key(key.data, key.length);
  w->positions[n] = position;
  Buffer *kept = n ? &w->last_key : &w->first_key;
  buffer_clear(kept);
  buffer_append(kept, key.data, key.length);
  if (!n) buffer_append(&w->last_key, key.data, key.length);
  TRY(buffer_status(kept));
  return buffer_status(&w->last_key);
}

static void count_row(RowRunSummary *s, Bytes key, Bytes value, int64_t expiry, bool tombstone) {
  s->row_count++;
  s->tombstone_count += tombstone;
  s->key_bytes += key.length;
  s->value_bytes += value.length;
  if (expiry == EXPIRY_NEVER) return;
  if (!s->expiring_count++) {
    s->expiry_min = s->expiry_max = expiry;
    return;
  }
  if (expiry < s->expiry_min) s->expiry_min = expiry;
  if (expiry > s->expiry_max) s->expiry_max = expiry;
}

static Status append_row(RowRunWriter *w, Bytes key, Bytes value, int64_t expiry, uint32_t flags, size_t total) {
  uint8_t *row = buffer_extend(&w->piece, total);
  if (!row) return buffer_status(&w->piece);
  uint8_t *at = row + ROW_HEADER_BYTES;
  store_u16(row, (uint16_t)(key.length - 1));
  store_u16(row + 2, (uint16_t)flags);
  store_u32(row + 4, (uint32_t)value.length);
  if (flags & ROW_EXPIRES) {
    store_u64(at, (uint64_t)expiry);
    at += ROW_EXPIRY_BYTES;
  }
  memcpy(at, key.data, key.length);
  at += key.length;
  if (value.length) memcpy(at, value.data, value.length);
  at += value.length;
  memset(at, 0, (size_t)(row + total - at));
  return KVSTORE_OK;
}

static Status add_row(RowRunWriter *w, Bytes key, Bytes value, int64_t expiry, bool tombstone, size_t total) {
  uint8_t reference[ROW_REFERENCE_BYTES];
  uint32_t flags = (tombstone ? ROW_TOMBSTONE : 0) | (expiry != EXPIRY_NEVER ? ROW_EXPIRES : 0);
  Bytes stored = value;
  if (value.length > VALUE_INLINE_MAX) {
    TRY(add_external(w, value, reference));
    stored = (Bytes){ reference, sizeof reference };
    flags |= ROW_EXTERNAL;
  }
  if (w->piece.length && w->piece.length + total > w->options.piece_bytes) TRY(emit_piece(w));
  uint32_t position = position_of((uint32_t)w->pieces.count, (uint32_t)w->piece.length);
  if (w->group_rows == 0) TRY(begin_group(w, key, position));
  TRY(append_row(w, key, stored, expiry, flags, total));
  TRY(remember_key(w, key, position));
  w->group_rows = (w->group_rows + 1) % SPARSE_INTERVAL;
  w->piece_rows++;
  count_row(&w->summary, key, value, expiry, tombstone);
  return KVSTORE_OK;
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

static void append_directory(const RowRunWriter *w, Buffer *d) {
  const RowRunSummary *s = &w->summary;
  buffer_u32(d, ROW_RUN_MAGIC);
  buffer_u32(d, 0);
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
  buffer_bytes(d, w->last_key.data, w->last_key.length);
  buffer_append(d, w->fences.data, w->fences.length);
}

static Status finish(RowRunWriter *w) {
  if (!w->summary.row_count) return KVSTORE_OK;
  TRY(emit_values(w));
  TRY(emit_piece(w));
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
