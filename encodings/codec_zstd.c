/* codec_zstd.c - texts of hundreds of bytes: one after the other, in frames of zstd. A row costs one frame.
 *
 *   block   length - base of 1,024 rows, packed | frames u32 | for each frame: where its bytes end, u32, counted from
 *           the first frame's, and the row of the block behind it, u32 | the frames
 *
 * A frame holds whole strings, FRAME_BYTES of them at most, and no string is longer. One that zstd does not shorten
 * stands as it is, so that a frame is plain exactly when it is as long as its strings. The base is the least length of
 * the block's rows, the chunk's step that of its longest string. A null has no bytes.
 *
 * Nothing is allocated (base/inflate.h). */
#define ZSTD_STATIC_LINKING_ONLY /* contexts within memory of the caller */
#include <zstd.h>

#include "base/bitmap.h"
#include "base/inflate.h"
#include "encodings/encodings_internal.h"

enum {
  FRAME_BYTES = 16 << 10,
  ENTRY_BYTES = 8,
  LEVEL = 3,
  LENGTH_MIN = 100, /* on the average: shorter strings are not tried */
  TOTAL_MIN = 64 << 10,
  SAMPLE_FRAMES = 8,
};

/* ---- cutting into frames ---- */

static Bytes row_string(const ChunkInput *in, uint32_t row) {
  return input_is_null(in, row) ? (Bytes){ 0 } : ((const Bytes *)in->values)[row];
}

/* The row behind the frame that begins with row `first`, and its bytes. */
static uint32_t frame_end(const ChunkInput *in, uint32_t first, uint32_t end, uint64_t *bytes) {
  *bytes = row_string(in, first).length;
  for (first++; first < end; first++) {
    uint64_t more = row_string(in, first).length;
    if (*bytes + more > FRAME_BYTES) return first;
    *bytes += more;
  }
  return end;
}

/* ---- writing ---- */

static uint64_t context_bytes(void) {
  ZSTD_compressionParameters parameters = ZSTD_getCParams(LEVEL, FRAME_BYTES, 0);
  return round_up(ZSTD_estimateCCtxSize_usingCParams(parameters), CHUNK_ALIGNMENT);
}

/* What compresses, one frame gathered, and the blocks behind their lengths, one after the other. */
uint64_t zstd_scratch(const ChunkInput *in, uint64_t string_bytes) {
  if (in->type != TYPE_STRING && in->type != TYPE_BYTES) return 0;
  return context_bytes() + FRAME_BYTES + string_bytes + (uint64_t)in->row_count * ENTRY_BYTES + SEGMENT_BLOCKS * 4;
}

typedef struct FrameWriter {
  ZSTD_CCtx *context;
  uint8_t *gathered;
} FrameWriter;

/* The frame of these rows at `out`, which has room for their bytes; returns how many it takes. */
static size_t write_frame(const FrameWriter *w, const ChunkInput *in, uint32_t first, uint32_t end, uint8_t *out) {
  size_t length = 0;
  for (uint32_t row = first; row < end; row++) {
    Bytes s = row_string(in, row);
    if (s.length) memcpy(w->gathered + length, s.data, s.length);
    length += s.length;
  }
  size_t made = length ? ZSTD_compress2(w->context, out, length, w->gathered, length) : 0;
  if (!ZSTD_isError(made) && made < length) return made;
  memcpy(out, w->gathered, length);
  return length;
}

/* Frames and their entries as they will lie in the block; returns their bytes. */
static uint64_t write_frames(const FrameWriter *w, const ChunkInput *in, uint32_t first, uint32_t end, uint8_t *out) {
  uint32_t count = 0, entry = 0;
  uint64_t bytes, stored = 0;
  for (uint32_t row = first; row < end; count++) row = frame_end(in, row, end, &bytes);
  uint8_t *frames = out + 4 + (size_t)count * ENTRY_BYTES;
  store_u32(out, count);
  for (uint32_t row = first, next; row < end; row = next, entry++) {
    next = frame_end(in, row, end, &bytes);
    stored += write_frame(w, in, row, next, frames + stored);
    store_u32(out + 4 + (size_t)entry * ENTRY_BYTES, (uint32_t)stored);
    store_u32(out + 8 + (size_t)entry * ENTRY_BYTES, next - first);
  }
  return 4 + (uint64_t)count * ENTRY_BYTES + stored;
}

/* Some frames from all over the chunk: do they come to less than half? */
static bool looks_worth_it(const CodecPlan *p, const FrameWriter *w, uint8_t *room) {
  const ChunkInput *in = p->input;
  uint64_t bytes, raw = 0, stored = 0;
  for (uint32_t i = 0; i < SAMPLE_FRAMES; i++) {
    uint32_t first = (uint32_t)((uint64_t)in->row_count * i / SAMPLE_FRAMES);
    uint32_t end = frame_end(in, first, in->row_count, &bytes);
    stored += write_frame(w, in, first, end, room);
    raw += bytes;
  }
  return stored < raw / 2;
}

static void plan_lengths(CodecPlan *p, uint32_t block) {
  uint32_t first = block * BLOCK_ROWS, end = first + plan_block_rows(p, block), low = UINT32_MAX, high = 0;
  for (uint32_t row = first; row < end; row++) {
    uint32_t length = (uint32_t)row_string(p->input, row).length;
    if (length < low) low = length;
    if (length > high) high = length;
  }
  p->frames.blocks[block].base = low;
  p->frames.blocks[block].width = (uint8_t)simd_width(high - low);
  if (high > p->frames.longest) p->frames.longest = high;
}

static bool all_fit(const ChunkInput *in) {
  for (uint32_t row = 0; row < in->row_count; row++)
    if (row_string(in, row).length > FRAME_BYTES) return false;
  return true;
}

void plan_frames(CodecPlan *p, bool always, void *scratch) {
  const ChunkInput *in = p->input;
  uint64_t rows = in->row_count - p->stats.null_count, at = 0;
  if (!always && (p->string_bytes < TOTAL_MIN || p->string_bytes < rows * LENGTH_MIN)) return;
  if (!all_fit(in)) return;
  uint8_t *gathered = (uint8_t *)scratch + context_bytes(), *out = gathered + FRAME_BYTES;
  FrameWriter w = { ZSTD_initStaticCCtx(scratch, context_bytes()), gathered };
  if (!w.context || ZSTD_isError(ZSTD_CCtx_setParameter(w.context, ZSTD_c_compressionLevel, LEVEL))) return;
  if (!always && !looks_worth_it(p, &w, out)) return;
  p->frames.longest = 0;
  p->frames.kept = out;
  for (uint32_t b = 0; b < p->block_count; b++) {
    plan_lengths(p, b);
    uint32_t first = b * BLOCK_ROWS;
    p->frames.blocks[b].bytes = write_frames(&w, in, first, first + plan_block_rows(p, b), out + at);
    at += p->frames.blocks[b].bytes;
  }
  p->has_frames = true;
}

static uint64_t data_bytes(const CodecPlan *p, uint32_t block) {
  return 128u * p->frames.blocks[block].width + p->frames.blocks[block].bytes;
}

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  if (!p->has_frames) return 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += round_up(data_bytes(p, b), CHUNK_ALIGNMENT);
  return plan_chunk_bytes(p, ENCODING_ZSTD, 0, data);
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  const uint8_t *kept = p->frames.kept;
  chunk_writer_begin(&w, p, ENCODING_ZSTD, 0, p->frames.longest, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint32_t base = p->frames.blocks[b].base, rows = plan_block_rows(p, b);
    unsigned width = p->frames.blocks[b].width;
    int64_t lengths[BLOCK_ROWS];
    uint8_t *data = chunk_writer_block(&w, base, width, data_bytes(p, b));
    for (uint32_t i = 0; i < BLOCK_ROWS; i++)
      lengths[i] = i < rows ? (int64_t)row_string(p->input, b * BLOCK_ROWS + i).length : base;
    packed_write(lengths, width, base, 1, data);
    memcpy(data + 128u * width, kept, p->frames.blocks[b].bytes);
    kept += p->frames.blocks[b].bytes;
  }
  return chunk_writer_end(&w);
}

/* ---- reading ---- */

typedef struct Frames {
  uint32_t count, rows;
  const uint8_t *entries, *bytes;
  uint64_t ends[BLOCK_ROWS]; /* of the strings, decoded, counted from the block's first */
} Frames;

typedef struct Frame {
  uint32_t first, end; /* rows of the block */
  const uint8_t *stored;
  size_t stored_length, length;
} Frame;

static void open_frames(const Chunk *c, const ChunkBlock *b, Frames *f) {
  const uint8_t *data = chunk_block_data(c, b);
  f->rows = b->row_count;
  packed_ends(data, b->width, (uint64_t)b->base, f->ends);
  f->count = load_u32(data + 128u * b->width);
  f->entries = data + 128u * b->width + 4;
  f->bytes = f->entries + (size_t)f->count * ENTRY_BYTES;
}

static uint64_t string_start(const Frames *f, uint32_t row) { return row ? f->ends[row - 1] : 0; }

static Frame frame_at(const Frames *f, uint32_t number) {
  const uint8_t *entry = f->entries + (size_t)number * ENTRY_BYTES;
  uint32_t start = number ? load_u32(entry - ENTRY_BYTES) : 0, first = number ? load_u32(entry - ENTRY_BYTES + 4) : 0;
  Frame frame = { .first = first, .end = load_u32(entry + 4), .stored = f->bytes + start };
  frame.stored_length = load_u32(entry) - start;
  frame.length = (size_t)(f->ends[frame.end - 1] - string_start(f, first));
  return frame;
}

static Frame frame_of_row(const Frames *f, uint32_t row) {
  uint32_t number = 0;
  while (load_u32(f->entries + (size_t)number * ENTRY_BYTES + 4) <= row) number++;
  return frame_at(f, number);
}

/* Decodes a frame, which has `length` bytes then; false: it cannot be. */
static bool inflate(const Frame *frame, uint8_t *out) {
  if (frame->stored_length == frame->length) {
    if (frame->length) memcpy(out, frame->stored, frame->length);
    return true;
  }
  return frame_inflate(frame->stored, frame->stored_length, NULL, out, frame->length);
}

/* A frame that has passed its check. */
static void decode_frame(const Frame *frame, uint8_t *out) {
  if (!inflate(frame, out)) memset(out, 0, frame->length);
}

static Bytes string_in(const Frames *f, const Frame *frame, uint32_t row, const uint8_t *decoded) {
  uint64_t start = string_start(f, row);
  return (Bytes){ decoded + (start - string_start(f, frame->first)), (size_t)(f->ends[row] - start) };
}

static uint64_t decode_room(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  uint64_t ends[BLOCK_ROWS];
  chunk_block(c, block, &b);
  packed_ends(chunk_block_data(c, &b), b.width, (uint64_t)b.base, ends);
  return ends[b.row_count - 1] + 1;
}
static uint64_t get_room(const Chunk *c) {
  (void)c;
  return FRAME_BYTES;
}

static void decode_into(const Chunk *c, uint32_t block, Bytes *values, uint8_t *room) {
  ChunkBlock b;
  Frames f;
  chunk_block(c, block, &b);
  open_frames(c, &b, &f);
  for (uint32_t number = 0; number < f.count; number++) {
    Frame frame = frame_at(&f, number);
    decode_frame(&frame, room);
    for (uint32_t row = frame.first; row < frame.end; row++) values[row] = string_in(&f, &frame, row, room);
    room += frame.length;
  }
}

static Bytes get_into(const Chunk *c, uint32_t row, uint8_t *room) {
  ChunkBlock b;
  Frames f;
  chunk_block(c, row / BLOCK_ROWS, &b);
  open_frames(c, &b, &f);
  Frame frame = frame_of_row(&f, row % BLOCK_ROWS);
  decode_frame(&frame, room);
  return string_in(&f, &frame, row % BLOCK_ROWS, room);
}

static void zone(const Chunk *c, uint32_t block, const uint64_t *rows, int64_t *low, int64_t *high) {
  ChunkBlock b;
  Frames f;
  uint8_t decoded[FRAME_BYTES] = { 0 }; /* an empty frame leaves it as it is */
  chunk_block(c, block, &b);
  open_frames(c, &b, &f);
  for (uint32_t number = 0; number < f.count; number++) {
    Frame frame = frame_at(&f, number);
    decode_frame(&frame, decoded);
    for (uint32_t row = frame.first; row < frame.end; row++) {
      if (!bit_get(rows, row)) continue;
      int64_t found = bytes_image(string_in(&f, &frame, row, decoded));
      if (found < *low) *low = found;
      if (found > *high) *high = found;
    }
  }
}

/* ---- filters ---- */

static void prepare(CodecFilter *filter, void *scratch) { (void)filter, (void)scratch; }

/* Equality and prefix ask for lengths first: a frame without a row that is left is not decoded. */
static void keep_lengths(const Compare *c, const Frames *f, uint64_t hits[BLOCK_WORDS]) {
  bool is_prefix = c->kind == COMPARE_KIND_PREFIX;
  if (!is_prefix && !compare_is_equality(c)) return;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t left = hits[w]; left; left &= left - 1) {
      uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(left);
      uint64_t length = f->ends[row] - string_start(f, row);
      if (is_prefix ? length < c->low_bytes.length : length != c->low_bytes.length) hits[w] &= ~(left & -left);
    }
  }
}

static bool any_row(const uint64_t *mask, uint32_t first, uint32_t end) {
  for (uint32_t row = first; row < end; row = (row / 64 + 1) * 64) {
    uint64_t word = mask[row / 64] >> (row % 64);
    uint32_t left = end - row;
    if (left < 64 ? word & ((UINT64_C(1) << left) - 1) : word) return true;
  }
  return false;
}

static void filter_frame(const CodecFilter *filter, const Frames *f, const Frame *frame, uint64_t *hits) {
  uint8_t decoded[FRAME_BYTES];
  decode_frame(frame, decoded);
  for (uint32_t row = frame->first; row < frame->end; row++) {
    if (!bit_get(hits, row)) continue;
    bool matches = compare_bytes(filter->compare, string_in(f, frame, row, decoded)) != filter->negated;
    if (!matches) bit_clear(hits, row);
  }
}

static void filter(const CodecFilter *filter, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  ChunkBlock b;
  Frames f;
  uint64_t hits[BLOCK_WORDS];
  chunk_block(filter->chunk, block, &b);
  open_frames(filter->chunk, &b, &f);
  bitmap_fill_first(hits, BLOCK_WORDS, b.row_count);
  mask_and_words(hits, mask);
  keep_lengths(filter->compare, &f, hits);
  for (uint32_t number = 0; number < f.count; number++) {
    Frame frame = frame_at(&f, number);
    if (any_row(hits, frame.first, frame.end)) filter_frame(filter, &f, &frame, hits);
  }
  for (unsigned w = 0; w < BLOCK_WORDS; w++) mask[w] = filter->negated ? mask[w] & ~hits[w] : hits[w];
}

/* ---- checks ---- */

static Status wrong(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged zstd chunk: %s", what); }

static Status check_shared(const Chunk *c) {
  if (c->type != TYPE_STRING && c->type != TYPE_BYTES) return wrong("of no strings");
  return c->step > FRAME_BYTES ? wrong("a longest string that is too long") : KVSTORE_OK;
}

/* Lengths and entries: everything that frame_at relies on. */
static Status check_entries(const Chunk *c, const ChunkBlock *b, Frames *f) {
  const uint8_t *data = chunk_block_data(c, b);
  uint64_t length = chunk_block_data_length(b), head = 128u * b->width + 4;
  if (b->width > 32 || b->base < 0 || b->base > FRAME_BYTES || length < head) return wrong("a block of a wrong length");
  for (uint32_t i = b->row_count; i < BLOCK_ROWS; i++)
    if (simd_packed_value(data, b->width, i)) return wrong("lengths behind the last row");
  if (load_u32(data + head - 4) > b->row_count) return wrong("more frames than rows");
  open_frames(c, b, f);
  head += (uint64_t)f->count * ENTRY_BYTES;
  if (length < head) return wrong("no room for its frames");
  uint32_t row = 0, end = 0;
  for (uint32_t i = 0; i < f->count; i++) {
    const uint8_t *entry = f->entries + (size_t)i * ENTRY_BYTES;
    if (load_u32(entry) < end || load_u32(entry + 4) <= row || load_u32(entry + 4) > b->row_count)
      return wrong("frames out of order");
    end = load_u32(entry);
    row = load_u32(entry + 4);
  }
  if (row != b->row_count) return wrong("frames that do not hold its rows");
  return round_up(head + end, CHUNK_ALIGNMENT) == length ? KVSTORE_OK : wrong("a block of a wrong length");
}

static bool is_one_frame(const Frame *frame) {
  return frame->stored_length >= 4 && load_u32(frame->stored) == ZSTD_MAGICNUMBER &&
         ZSTD_findFrameCompressedSize(frame->stored, frame->stored_length) == frame->stored_length;
}

/* The whole is text and no string begins inside a character: so each is. */
static bool is_text(const Frames *f, const Frame *frame, const uint8_t *decoded) {
  if (!bytes_are_utf8(decoded, frame->length)) return false;
  for (uint32_t row = frame->first; row < frame->end; row++) {
    Bytes s = string_in(f, frame, row, decoded);
    if (s.length && (s.data[0] & 0xc0) == 0x80) return false;
  }
  return true;
}

static Status check_frame(const Chunk *c, const ChunkBlock *b, const Frames *f, const Frame *frame,
                          const uint64_t *rows) {
  uint8_t decoded[FRAME_BYTES] = { 0 };
  if (frame->length > FRAME_BYTES || frame->stored_length > frame->length) return wrong("a frame that is too long");
  if (frame->stored_length < frame->length && !is_one_frame(frame)) return wrong("a frame that is none");
  if (!inflate(frame, decoded)) return wrong("a frame that cannot be decoded");
  if (c->type == TYPE_STRING && !is_text(f, frame, decoded)) return wrong("text that is not UTF-8");
  for (uint32_t row = frame->first; row < frame->end; row++) {
    Bytes s = string_in(f, frame, row, decoded);
    if (s.length > c->step) return wrong("a string above the longest");
    if (!bit_get(rows, row) && s.length) return wrong("a null with bytes");
    int64_t image = bytes_image(s);
    if (bit_get(rows, row) && (image < b->minimum || image > b->maximum)) return wrong("a value outside its zone");
  }
  return KVSTORE_OK;
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  Frames f;
  uint64_t rows[BLOCK_WORDS];
  chunk_block(c, block, &b);
  TRY(check_entries(c, &b, &f));
  chunk_validity(c, block, rows);
  for (uint32_t number = 0; number < f.count; number++) {
    Frame frame = frame_at(&f, number);
    TRY(check_frame(c, &b, &f, &frame, rows));
  }
  return KVSTORE_OK;
}

const Codec codec_zstd = {
  .id = ENCODING_ZSTD,
  .analyze = analyze,
  .encode = encode,
  .prepare = prepare,
  .filter = filter,
  .decode_room = decode_room,
  .get_room = get_room,
  .decode_into = decode_into,
  .get_into = get_into,
  .zone = zone,
  .check_shared = check_shared,
  .check_block = check_block,
};
