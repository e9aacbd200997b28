/* column_segment.c - a segment's extent: header, fences and filter at the first touch, chunks when they are asked for.
 */
#include <string.h>

#include "base/assert.h"
#include "base/bitmap.h"
#include "base/memory.h"
#include "columnar/column_run_internal.h"

static Status segment_damaged(const Segment *s, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "segment %u of a column run is damaged: %s", s->number, what);
}

/* ---- header ---- */

/* Lengths of what lies between the header and the first chunk. */
typedef struct SegmentHeader {
  uint64_t fence_length, filter_length;
  uint64_t fence_offset, filter_offset;
} SegmentHeader;

/* The header says of every chunk what the directory says. */
static Status check_header_chunks(const Segment *s, const uint8_t *entry) {
  const ColumnRunIndex *index = s->run->index;
  for (uint32_t c = 0; c < segment_chunk_count(s); c++, entry += SEGMENT_CHUNK_BYTES) {
    if (load_u32(entry) != index->columns[c].id || load_u32(entry + 4) || load_u64(entry + 8) != s->places[c].offset ||
        load_u64(entry + 16) != s->places[c].length) {
      return segment_damaged(s, "its header and the run's directory disagree");
    }
  }
  return KVSTORE_OK;
}

static Status parse_header(const Segment *s, const uint8_t *bytes, SegmentHeader *out) {
  uint64_t length = segment_source(s)->length;
  out->fence_length = load_u64(bytes + 16);
  out->filter_length = load_u64(bytes + 24);
  if (load_u32(bytes) != SEGMENT_MAGIC || load_u32(bytes + 4) != s->row_count ||
      load_u32(bytes + 8) != s->block_count || load_u32(bytes + 12) != segment_chunk_count(s)) {
    return segment_damaged(s, "its header");
  }
  out->fence_offset = segment_header_bytes(segment_chunk_count(s));
  if (out->fence_length > length || out->filter_length > length || out->filter_length % 32) {
    return segment_damaged(s, "the lengths in its header");
  }
  out->filter_offset = round_up(out->fence_offset + out->fence_length, CHUNK_ALIGNMENT);
  return check_header_chunks(s, bytes + SEGMENT_HEADER_BYTES);
}

static Status read_header(Segment *s, SegmentHeader *out) {
  const uint8_t *bytes;
  SourcePin pin;
  Source *source = segment_source(s);
  size_t length = segment_header_bytes(segment_chunk_count(s));
  if (source->length < length) return segment_damaged(s, "it is cut short");
  TRY(source_block(source, 0, length, &bytes, &pin));
  Status status = parse_header(s, bytes, out);
  source_release(source, &pin);
  return status;
}

/* ---- fences and filter ---- */

static bool key_equal(Bytes a, Bytes b) { return a.length == b.length && !memcmp(a.data, b.data, a.length); }

/* Offsets ascend and end where the fences do; fences ascend, begin with the segment's first key and end before its
 * last. */
static Status check_fences(const Segment *s, const SegmentOpen *o, uint64_t length) {
  uint64_t table_bytes = 4 * ((uint64_t)s->block_count + 1);
  if (length < table_bytes || load_u32(o->fence_table)) return segment_damaged(s, "its fences");
  if (load_u32(o->fence_table + table_bytes - 4) != length - table_bytes) return segment_damaged(s, "its fences");
  for (uint32_t b = 0; b < s->block_count; b++) {
    uint32_t from = load_u32(o->fence_table + 4 * (size_t)b), to = load_u32(o->fence_table + 4 * ((size_t)b + 1));
    if (to <= from || to - from > KEY_BYTES_MAX || to > length - table_bytes) return segment_damaged(s, "its fences");
  }
  Bytes before = segment_open_fence(o, s, 0);
  if (!key_equal(before, s->first_key)) return segment_damaged(s, "its first fence is not its first key");
  for (uint32_t b = 1; b < s->block_count; b++) {
    Bytes fence = segment_open_fence(o, s, b);
    if (bytes_compare(before.data, before.length, fence.data, fence.length) >= 0) {
      return segment_damaged(s, "its fences do not ascend");
    }
    before = fence;
  }
  if (bytes_compare(before.data, before.length, s->last_key.data, s->last_key.length) > 0) {
    return segment_damaged(s, "its fences pass its last key");
  }
  return KVSTORE_OK;
}

/* Bytes of the extent that must stay: in place when it is mapped, else copied to `copy`. */
static Status keep_bytes(Segment *s, uint64_t offset, uint64_t length, uint8_t *copy, const uint8_t **kept) {
  Source *source = segment_source(s);
  SourcePin pin;
  if (offset > source->length || length > source->length - offset) return segment_damaged(s, "it is cut short");
  TRY(source_block(source, offset, (size_t)length, kept, &pin));
  if (!source->base) {
    ASSERT(copy, "COL-5");
    memcpy(copy, *kept, (size_t)length);
    *kept = copy;
  }
  source_release(source, &pin);
  return KVSTORE_OK;
}

static Status read_fences(Segment *s, const SegmentHeader *header, SegmentOpen *o) {
  if (!segment_source(s)->base) {
    o->copies = memory_allocate((size_t)(header->fence_length + header->filter_length));
    if (!o->copies) return status_nomem();
  }
  TRY(keep_bytes(s, header->fence_offset, header->fence_length, o->copies, &o->fence_table));
  TRY(check_fences(s, o, header->fence_length));
  if (header->filter_length) {
    uint8_t *copy = o->copies ? o->copies + header->fence_length : NULL;
    TRY(keep_bytes(s, header->filter_offset, header->filter_length, copy, &o->filter));
    o->filter_bytes = (size_t)header->filter_length;
  }
  o->key_prefix = keys_common_prefix(s->first_key, s->last_key);
  for (uint32_t b = 0; b < s->block_count; b++) o->heads[b] = key_head(segment_open_fence(o, s, b), o->key_prefix);
  return KVSTORE_OK;
}

/* ---- opening ---- */

static void open_release(const Segment *s, SegmentOpen *o) {
  if (!o) return;
  for (uint32_t c = 0; c < segment_chunk_count(s); c++) {
    memory_release(atomic_load_explicit(&o->chunks[c], memory_order_relaxed));
  }
  memory_release(o->copies);
  memory_release(o);
}

void segment_close(Segment *s) { open_release(s, atomic_load_explicit(&s->opened, memory_order_relaxed)); }

static Status open_new(Segment *s, SegmentOpen **opened) {
  SegmentHeader header = { 0 };
  TRY(read_header(s, &header));
  SegmentOpen *o = memory_allocate_zeroed(sizeof *o + segment_chunk_count(s) * sizeof o->chunks[0]);
  if (!o) return status_nomem();
  Status status = read_fences(s, &header, o);
  if (status != KVSTORE_OK) {
    open_release(s, o);
    return status;
  }
  *opened = o;
  return KVSTORE_OK;
}

/* Two threads may both make the opened form; one is published, the other given back. */
Status segment_open(Segment *s, SegmentOpen **opened) {
  *opened = atomic_load_explicit(&s->opened, memory_order_acquire);
  if (LIKELY(*opened != NULL)) return KVSTORE_OK;
  SegmentOpen *made, *other = NULL;
  TRY(open_new(s, &made));
  if (atomic_compare_exchange_strong_explicit(&s->opened, &other, made, memory_order_acq_rel, memory_order_acquire)) {
    *opened = made;
  } else {
    open_release(s, made);
    *opened = other;
  }
  return KVSTORE_OK;
}

Status segment_fence(Segment *s, uint32_t block, Bytes *fence) {
  SegmentOpen *o;
  TRY(segment_open(s, &o));
  ASSERT(block < s->block_count, "COL-3");
  *fence = segment_open_fence(o, s, block);
  return KVSTORE_OK;
}

/* ---- chunks ---- */

/* The chunk says of itself what the directory says. */
static Status check_against_place(const Segment *s, const Chunk *chunk, const ChunkPlace *place,
                                  const RunColumn *column) {
  bool is_empty = chunk->null_count == chunk->row_count;
  if (chunk->null_count != place->zone.null_count || chunk->encoding != place->encoding || chunk->lane != place->lane ||
      chunk->width != column->width ||
      (!is_empty && (chunk->minimum != place->zone.minimum || chunk->maximum != place->zone.maximum))) {
    return segment_damaged(s, "a chunk and the run's directory disagree");
  }
  return KVSTORE_OK;
}

/* Opens and checks what all blocks of a chunk share. `bytes` holds the whole chunk, but with a mapped source only the
 * head is verified yet. */
static Status chunk_open_checked(Segment *s, uint32_t stored, const uint8_t *bytes, Chunk *chunk) {
  const ChunkPlace *place = &s->places[stored];
  const RunColumn *column = &s->run->index->columns[stored];
  Source *source = segment_source(s);
  TRY(chunk_open(bytes, place->length, s->row_count, column->type, chunk));
  TRY(check_against_place(s, chunk, place, column));
  if (source->base && chunk->data_offset > chunk->head_length) {
    const uint8_t *shared;
    SourcePin pin;
    TRY(
      source_block(source, place->offset + chunk->head_length, chunk->data_offset - chunk->head_length, &shared, &pin));
    source_release(source, &pin);
  }
  return chunk_check_shared(chunk);
}

/* The bytes of a chunk that must be readable before chunk_open: with a mapped source its head, else all of it. */
static Status chunk_bytes(Segment *s, uint32_t stored, const uint8_t **bytes, SourcePin *pin) {
  const ChunkPlace *place = &s->places[stored];
  Source *source = segment_source(s);
  uint32_t head = chunk_head_bound(s->row_count);
  if (place->length < CHUNK_HEADER_BYTES) return segment_damaged(s, "a chunk is too short");
  size_t length = source->base && head < place->length ? head : (size_t)place->length;
  TRY(source_block(source, place->offset, length, bytes, pin));
  ASSERT((uintptr_t)*bytes % CHUNK_ALIGNMENT == 0, "COL-4");
  return KVSTORE_OK;
}

/* Publishes the view of a chunk; *slot is the one that stays. */
static Status slot_publish(ChunkSlot *_Atomic *place, const Chunk *chunk, ChunkSlot **slot) {
  ChunkSlot *made = memory_allocate_zeroed(sizeof *made), *other = NULL;
  if (!made) return status_nomem();
  made->chunk = *chunk;
  if (atomic_compare_exchange_strong_explicit(place, &other, made, memory_order_acq_rel, memory_order_acquire)) {
    *slot = made;
  } else {
    memory_release(made);
    *slot = other;
  }
  return KVSTORE_OK;
}

/* The view in the slot, moved to where this hold's bytes are. */
static void hold_move(ChunkHold *hold, const ChunkSlot *slot, const uint8_t *bytes) {
  hold->own_chunk = slot->chunk;
  hold->own_chunk.bytes = bytes;
  hold->chunk = &hold->own_chunk;
}

/* The values of the segment's rows in the array of a column, pinned by the hold when they are not mapped. */
static Status hold_array(const Segment *s, uint32_t stored, ChunkHold *hold, const uint8_t **values) {
  const RunColumn *column = &s->run->index->columns[stored];
  *values = NULL;
  hold->array = column->is_array ? &s->run->index->sources[column->extent] : NULL;
  hold->array_pin.cached = NULL;
  if (!hold->array) return KVSTORE_OK;
  size_t width = chunk_array_width(column->type, column->width);
  hold->array_offset = s->first_row * width;
  *values = hold->array->base ? hold->array->base + hold->array_offset : NULL;
  if (*values) return KVSTORE_OK;
  return source_block(hold->array, hold->array_offset, s->block_count * BLOCK_ROWS * width, values, &hold->array_pin);
}

static Status hold_chunk(Segment *s, uint32_t stored, ChunkHold *hold) {
  SegmentOpen *o;
  TRY(segment_open(s, &o));
  ChunkSlot *slot = atomic_load_explicit(&o->chunks[stored], memory_order_acquire);
  hold->source = segment_source(s);
  hold->offset = s->places[stored].offset;
  hold->pin.cached = NULL;
  const uint8_t *bytes = NULL;
  bool is_mapped = hold->source->base != NULL;
  if (!slot || !is_mapped) TRY(chunk_bytes(s, stored, &bytes, &hold->pin));
  Status status = KVSTORE_OK;
  if (!slot) {
    Chunk chunk;
    status = chunk_open_checked(s, stored, bytes, &chunk);
    if (status == KVSTORE_OK) status = slot_publish(&o->chunks[stored], &chunk, &slot);
  }
  if (status != KVSTORE_OK) {
    source_release(hold->source, &hold->pin);
    return status;
  }
  hold->verified = &slot->verified;
  if (is_mapped) {
    hold->chunk = &slot->chunk;
    source_release(hold->source, &hold->pin);
  } else {
    hold_move(hold, slot, bytes);
  }
  return KVSTORE_OK;
}

Status segment_stored_chunk(Segment *s, uint32_t stored, ChunkHold *hold) {
  const uint8_t *values;
  TRY(hold_chunk(s, stored, hold));
  Status status = hold_array(s, stored, hold, &values);
  if (status != KVSTORE_OK) {
    source_release(hold->source, &hold->pin);
    return status;
  }
  if (values) {
    if (hold->chunk != &hold->own_chunk) hold->own_chunk = *hold->chunk;
    hold->own_chunk.array = values;
    hold->chunk = &hold->own_chunk;
  }
  return KVSTORE_OK;
}

Status segment_chunk(Segment *s, uint32_t column, ChunkHold *hold) {
  const ColumnRunIndex *index = s->run->index;
  uint32_t stored = column == COLUMN_EXPIRY ? index->column_count : index->stored[column];
  ASSERT(stored < segment_chunk_count(s), "COL-3");
  return segment_stored_chunk(s, stored, hold);
}

void segment_chunk_release(ChunkHold *hold) {
  source_release(hold->source, &hold->pin);
  hold->pin.cached = NULL;
  if (hold->array) source_release(hold->array, &hold->array_pin);
  hold->array_pin.cached = NULL;
}

/* Units first, then structure; with a cached source the units were verified when the chunk was pinned. */
static Status verify_units(Source *source, uint64_t offset, uint64_t length) {
  const uint8_t *bytes;
  SourcePin pin;
  if (!source->base || !length) return KVSTORE_OK;
  TRY(source_block(source, offset, (size_t)length, &bytes, &pin));
  source_release(source, &pin);
  return KVSTORE_OK;
}

static Status verify_block(const ChunkHold *hold, uint32_t block) {
  uint64_t offset, length;
  chunk_block_range(hold->chunk, block, &offset, &length);
  TRY(verify_units(hold->source, hold->offset + offset, length));
  if (hold->array) {
    chunk_array_range(hold->chunk, block, &offset, &length);
    TRY(verify_units(hold->array, hold->array_offset + offset, length));
  }
  return chunk_check_block(hold->chunk, block);
}

Status chunk_hold_verify(const ChunkHold *hold, uint64_t blocks) {
  for (uint64_t left = blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left);
    ASSERT(block < hold->chunk->block_count, "COL-3");
    TRY(verify_block(hold, block));
    atomic_fetch_or_explicit(hold->verified, UINT64_C(1) << block, memory_order_release);
  }
  return KVSTORE_OK;
}

/* ---- expiry ---- */

/* The rows to keep are the complement of "expiry <= now", which no null matches. */
Status segment_and_unexpired(const Segment *s, const ChunkHold *hold, uint32_t block, int64_t now_ms,
                             uint64_t mask[BLOCK_WORDS]) {
  ASSERT(s->has_expiry, "COL-6");
  const Chunk *chunk = hold->chunk;
  uint32_t rows = segment_block_rows(s, block);
  if (chunk_block_null_count(chunk, block) == rows || !expiry_passed(chunk_block_minimum(chunk, block), now_ms)) {
    return KVSTORE_OK;
  }
  TRY(chunk_hold_block(hold, block));
  Compare compare = { .type = TYPE_I64, .kind = COMPARE_KIND_RANGE, .low = INT64_MIN, .high = now_ms };
  CodecFilter filter;
  uint64_t scratch[CODEC_FILTER_SCRATCH / sizeof(uint64_t)], expired[BLOCK_WORDS];
  codec_filter_prepare(&filter, chunk, &compare, scratch);
  bitmap_fill_first(expired, BLOCK_WORDS, rows);
  codec_filter_block(&filter, block, expired);
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) mask[w] &= ~expired[w];
  return KVSTORE_OK;
}
