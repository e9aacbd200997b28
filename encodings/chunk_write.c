/* chunk_write.c - the frame of a chunk around what a codec writes. */
#include "encodings/encodings_internal.h"

#include "base/assert.h"
#include "base/bitmap.h"

static uint32_t plan_head_length(const CodecPlan *p, EncodingId encoding) {
  return chunk_head_length(p->input->row_count, (uint8_t)encoding, p->stats.null_count > 0);
}

uint64_t plan_chunk_bytes(const CodecPlan *p, EncodingId encoding, uint64_t shared_bytes, uint64_t rounded_data_bytes) {
  uint64_t total = plan_head_length(p, encoding) + round_up(shared_bytes, CHUNK_ALIGNMENT) + rounded_data_bytes;
  for (uint32_t i = 0; i < p->block_count; i++) total += plan_block_has_validity(p, i) ? BLOCK_WORDS * 8 : 0;
  return total + CHUNK_PADDING;
}

uint8_t *chunk_writer_begin(ChunkWriter *w, const CodecPlan *p, EncodingId encoding, int64_t base, uint64_t step,
                            uint32_t dictionary_count, uint64_t shared_bytes, uint8_t *out) {
  uint32_t head = plan_head_length(p, encoding);
  uint64_t data_offset = round_up(head + shared_bytes, CHUNK_ALIGNMENT);
  ASSERT(data_offset <= UINT32_MAX, "ENC-2");
  *w = (ChunkWriter){ .out = out, .plan = p, .at = data_offset };
  w->has_table = chunk_has_table(p->input->row_count, (uint8_t)encoding, p->stats.null_count > 0);
  memset(out, 0, data_offset);
  out[0] = (uint8_t)encoding;
  out[1] = (uint8_t)p->input->type;
  out[3] = p->stats.null_count ? CHUNK_HAS_NULLS : 0;
  store_u32(out + 4, p->input->row_count);
  store_u32(out + 8, p->stats.null_count);
  store_u16(out + 12, (uint16_t)p->block_count);
  store_u16(out + 14, (uint16_t)p->input->width);
  store_u64(out + 16, (uint64_t)p->stats.minimum);
  store_u64(out + 24, (uint64_t)p->stats.maximum);
  store_u64(out + 32, (uint64_t)base);
  store_u64(out + 40, step);
  store_u32(out + 48, dictionary_count);
  store_u32(out + 52, (uint32_t)data_offset);
  return out + head;
}

/* Where the block that begins at w->at does, or the last one ends. */
static void write_offset(ChunkWriter *w) {
  uint64_t units = w->at / CHUNK_OFFSET_UNIT;
  ASSERT(units <= UINT32_MAX, "ENC-2");
  store_u32(w->out + CHUNK_HEADER_BYTES + CHUNK_ENTRY_BYTES * (size_t)w->plan->block_count + 4 * (size_t)w->block,
            (uint32_t)units);
}

/* Zone, base, offset, nulls and width of the block that begins at w->at. */
static void write_table_entry(ChunkWriter *w, int64_t base, unsigned width) {
  uint8_t *table = w->out + CHUNK_HEADER_BYTES;
  size_t n = w->plan->block_count, i = w->block;
  if (!w->has_table) {
    table[0] = (uint8_t)width;
    if (base) store_u64(w->out + 32, (uint64_t)base);
    return;
  }
  store_u64(table + 8 * i, (uint64_t)w->plan->blocks[i].minimum);
  store_u64(table + 8 * (n + i), (uint64_t)w->plan->blocks[i].maximum);
  store_u64(table + 8 * (2 * n + i), (uint64_t)base);
  write_offset(w);
  table += CHUNK_ENTRY_BYTES * n + 4 * (n + 1);
  if (w->plan->stats.null_count) {
    store_u32(table + 4 * i, w->plan->blocks[i].null_count);
    table += 4 * n;
  }
  table[i] = (uint8_t)width;
}

static void write_validity(ChunkWriter *w) {
  uint64_t words[BLOCK_WORDS] = { 0 };
  uint32_t first = w->block * BLOCK_ROWS, rows = plan_block_rows(w->plan, w->block);
  for (uint32_t i = 0; i < rows; i++) {
    if (!input_is_null(w->plan->input, first + i)) bit_set(words, i);
  }
  memcpy(w->out + w->at, words, sizeof words);
  w->at += sizeof words;
}

uint8_t *chunk_writer_block(ChunkWriter *w, int64_t base, unsigned width, uint64_t data_bytes) {
  ASSERT(w->block < w->plan->block_count, "ENC-3");
  write_table_entry(w, base, width);
  if (plan_block_has_validity(w->plan, w->block)) write_validity(w);
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
  if (w->has_table) write_offset(w);
  memset(w->out + w->at, 0, CHUNK_PADDING);
  w->at += CHUNK_PADDING;
  w->out[2] = (uint8_t)w->lane;
  store_u64(w->out + 56, w->at);
  return w->at;
}
