/* chunk_write.c - the frame of a chunk around what a codec writes. */
#include "encodings/encodings_internal.h"

#include "base/assert.h"
#include "base/bitmap.h"

static uint8_t shift_of(uint64_t span) { return span > UINT32_MAX ? 3 : span > UINT16_MAX ? 2 : span > UINT8_MAX; }

/* What a reader of the chunk will know of it. */
static Chunk plan_frame(const CodecPlan *p, EncodingId encoding) {
  Chunk c = { .type = p->input->type,
              .encoding = (uint8_t)encoding,
              .has_nulls = p->stats.null_count > 0,
              .is_stride = encoding == ENCODING_STRIDE,
              .row_count = p->input->row_count,
              .null_count = p->stats.null_count,
              .block_count = p->block_count,
              .minimum = p->stats.minimum,
              .maximum = p->stats.maximum,
              .word_count = p->word_count };
  bool has_values = c.minimum <= c.maximum;
  c.zone_shift = has_values ? shift_of((uint64_t)c.maximum - (uint64_t)c.minimum) : 0;
  chunk_lay_out(&c);
  if (!c.has_table) c.zone_shift = 0;
  return c;
}

/* Behind the shared part and validity. */
static uint64_t data_begin(const Chunk *frame, uint64_t shared_bytes) {
  return round_up(round_up(frame->head_length + shared_bytes, 8) + 8 * (uint64_t)frame->word_count, CHUNK_ALIGNMENT);
}

uint64_t plan_chunk_bytes(const CodecPlan *p, EncodingId encoding, uint64_t shared_bytes, uint64_t rounded_data_bytes) {
  Chunk frame = plan_frame(p, encoding);
  return data_begin(&frame, shared_bytes) + rounded_data_bytes + CHUNK_PADDING;
}

uint8_t *chunk_writer_begin(ChunkWriter *w, const CodecPlan *p, EncodingId encoding, int64_t base, uint64_t step,
                            uint32_t dictionary_count, uint64_t shared_bytes, uint8_t *out) {
  *w = (ChunkWriter){ .out = out, .plan = p, .frame = plan_frame(p, encoding) };
  Chunk *frame = &w->frame;
  w->at = data_begin(frame, shared_bytes);
  ASSERT(w->at <= UINT32_MAX, "ENC-2");
  frame->data_offset = (uint32_t)w->at;
  memset(out, 0, w->at);
  out[0] = frame->encoding;
  out[1] = (uint8_t)frame->type;
  out[3] = (uint8_t)((frame->has_nulls ? CHUNK_HAS_NULLS : 0) | frame->zone_shift << CHUNK_ZONE_SHIFT);
  store_u32(out + 4, frame->row_count);
  store_u32(out + 8, frame->null_count);
  store_u16(out + 12, (uint16_t)p->block_count);
  store_u16(out + 14, (uint16_t)p->input->width);
  store_u64(out + 16, (uint64_t)p->stats.minimum);
  store_u64(out + 24, (uint64_t)p->stats.maximum);
  store_u64(out + 32, (uint64_t)base);
  store_u64(out + 40, step);
  store_u32(out + 48, dictionary_count);
  store_u32(out + 52, frame->data_offset);
  return out + frame->head_length;
}

static void store_number(ChunkWriter *w, uint32_t at, uint32_t i, unsigned shift, uint64_t number) {
  uint8_t *to = w->out + at + ((size_t)i << shift);
  for (unsigned byte = 0; byte < 1u << shift; byte++) to[byte] = (uint8_t)(number >> 8 * byte);
}

/* Where the block that begins at w->at does, or the last one ends. */
static void write_offset(ChunkWriter *w) {
  uint64_t units = w->at / CHUNK_OFFSET_UNIT;
  ASSERT(units <= UINT32_MAX, "ENC-2");
  store_u32(w->out + w->frame.offset_at + 4 * (size_t)w->block, (uint32_t)units);
}

static void write_zone(ChunkWriter *w, int64_t base) {
  const Chunk *c = &w->frame;
  uint64_t from = (uint64_t)c->minimum;
  uint32_t i = w->block, n = c->block_count;
  bool has_base = c->base_mask && c->base_at > CHUNK_HEADER_BYTES;
  if (w->plan->blocks[i].null_count == plan_block_rows(w->plan, i)) return;
  store_number(w, CHUNK_HEADER_BYTES, i, c->zone_shift, (uint64_t)w->plan->blocks[i].minimum - from);
  store_number(w, CHUNK_HEADER_BYTES, n + i, c->zone_shift, (uint64_t)w->plan->blocks[i].maximum - from);
  if (has_base) store_number(w, c->base_at, i, c->base_shift, (uint64_t)base - (uint64_t)c->base_from);
}

/* Zone, base, offset, nulls and width of the block that begins at w->at. */
static void write_table_entry(ChunkWriter *w, int64_t base, unsigned width) {
  const Chunk *c = &w->frame;
  uint32_t i = w->block;
  uint16_t words = w->plan->blocks[i].null_words;
  if (!c->has_table) {
    w->out[CHUNK_HEADER_BYTES] = (uint8_t)width;
    if (c->has_nulls) store_u16(w->out + CHUNK_HEADER_BYTES + 1, words);
    if (base) store_u64(w->out + 32, (uint64_t)base);
    return;
  }
  write_zone(w, base);
  write_offset(w);
  if (c->has_nulls) {
    uint8_t *nulls = w->out + c->null_at + CHUNK_NULL_BYTES * (size_t)i;
    store_u16(nulls, (uint16_t)w->plan->blocks[i].null_count);
    store_u16(nulls + 2, words);
    store_u16(nulls + 4, (uint16_t)w->words);
  }
  w->out[c->width_at + i] = (uint8_t)width;
}

/* The words of validity of the block in which a null stands. */
static void write_validity(ChunkWriter *w) {
  const uint8_t *nulls = w->plan->input->nulls;
  uint32_t first = w->block * BLOCK_ROWS, rows = plan_block_rows(w->plan, w->block);
  uint8_t *to = w->out + w->frame.data_offset - 8 * (size_t)w->frame.word_count;
  for (unsigned left = w->plan->blocks[w->block].null_words; left; left &= left - 1) {
    uint32_t at = 64 * (uint32_t)__builtin_ctz(left), end = at + 64 < rows ? at + 64 : rows;
    uint64_t word = 0;
    for (uint32_t i = at; i < end; i++) word |= (uint64_t)!nulls[first + i] << (i - at);
    store_u64(to + 8 * (size_t)w->words++, word);
  }
}

uint8_t *chunk_writer_block(ChunkWriter *w, int64_t base, unsigned width, uint64_t data_bytes) {
  ASSERT(w->block < w->plan->block_count, "ENC-3");
  write_table_entry(w, base, width);
  write_validity(w);
  if (width && simd_lane(width) > w->lane) w->lane = simd_lane(width);
  w->block++;
  uint8_t *data = w->out + w->at;
  uint64_t end = round_up(w->at + data_bytes, CHUNK_ALIGNMENT);
  memset(data + data_bytes, 0, end - w->at - data_bytes);
  w->at = end;
  return data;
}

uint64_t chunk_writer_end(ChunkWriter *w) {
  ASSERT(w->block == w->plan->block_count, "ENC-3");
  if (w->frame.has_table) write_offset(w);
  ASSERT(w->words == w->plan->word_count, "ENC-3");
  memset(w->out + w->at, 0, CHUNK_PADDING);
  w->at += CHUNK_PADDING;
  w->out[2] = (uint8_t)w->lane;
  store_u64(w->out + 56, w->at);
  return w->at;
}
