/* codec_front.c - strings that resemble the one before, as sorted keys do: how many bytes they share with it, and the
 * rest. Every 16 rows one stands whole, so that any row is read in at most 16 steps.
 *
 *   block   bytes of all strings decoded, u32 | where each 16 rows begin, counted from the first entry, width / 8 bytes
 *           each | the entries: shared length (not of a row that stands whole) | length of the rest | the rest
 *
 * Lengths are varints; the width is 16 or 32 bits, 0 when no row has a value: then there is no data. The chunk's step
 * is the length of its longest string, at most FRONT_STRING_MAX, so that a reader's room is bounded. A null is empty.
 */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

enum { GROUP_ROWS = 16, FRONT_STRING_MAX = 4096, SAMPLE_ROWS = 512 };

/* ---- lengths ---- */

static uint32_t varint_bytes(uint32_t v) { return v < 1u << 7 ? 1 : v < 1u << 14 ? 2 : 3; }

static uint8_t *write_varint(uint8_t *out, uint32_t v) {
  for (; v >= 128; v >>= 7) *out++ = (uint8_t)(v | 128);
  *out++ = (uint8_t)v;
  return out;
}
/* Checked before: at most three bytes. */
static const uint8_t *read_varint(const uint8_t *p, uint32_t *v) {
  uint32_t value = *p & 127;
  for (unsigned shift = 7; *p++ & 128; shift += 7) value |= (uint32_t)(*p & 127) << shift;
  *v = value;
  return p;
}

static uint32_t group_count(uint32_t rows) { return (rows + GROUP_ROWS - 1) / GROUP_ROWS; }

/* ---- writing ---- */

static Bytes row_string(const ChunkInput *in, uint32_t row) {
  return input_is_null(in, row) ? (Bytes){ 0 } : ((const Bytes *)in->values)[row];
}

/* What row `row` shares with the one before it in its block; 0 where it stands whole. */
static uint32_t shared_length(const ChunkInput *in, uint32_t row) {
  if (row % BLOCK_ROWS % GROUP_ROWS == 0) return 0;
  Bytes a = row_string(in, row - 1), b = row_string(in, row);
  if (!a.data || !b.data) return 0;
  uint32_t common = 0, most = (uint32_t)(a.length < b.length ? a.length : b.length);
  while (common < most && a.data[common] == b.data[common]) common++;
  return common;
}

static bool looks_alike(const ChunkInput *in) {
  uint32_t first = in->row_count > 2 * SAMPLE_ROWS ? in->row_count / 2 : 0, end = first + SAMPLE_ROWS;
  uint64_t shared = 0, bytes = 0;
  for (uint32_t row = first; row < end && row < in->row_count; row++) {
    if (row_string(in, row).length > FRONT_STRING_MAX) return false;
    shared += shared_length(in, row);
    bytes += row_string(in, row).length;
  }
  return shared * 4 > bytes;
}

void plan_fronts(CodecPlan *p, bool always) {
  const ChunkInput *in = p->input;
  if (!always && !looks_alike(in)) return;
  p->fronts.longest = 0;
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint32_t first = b * BLOCK_ROWS, rows = plan_block_rows(p, b), bytes = 0;
    for (uint32_t row = first; row < first + rows; row++) {
      size_t length = row_string(in, row).length;
      if (length > FRONT_STRING_MAX) return;
      if (length > p->fronts.longest) p->fronts.longest = (uint32_t)length;
      uint32_t shared = shared_length(in, row), rest = (uint32_t)length - shared;
      bytes += ((row - first) % GROUP_ROWS ? varint_bytes(shared) : 0) + varint_bytes(rest) + rest;
    }
    p->fronts.bytes[b] = bytes;
  }
  p->has_fronts = true;
}

static unsigned offset_width(const CodecPlan *p, uint32_t block) {
  if (p->blocks[block].null_count == plan_block_rows(p, block)) return 0;
  return p->fronts.bytes[block] <= UINT16_MAX ? 16 : 32;
}
static uint64_t data_bytes(const CodecPlan *p, uint32_t block) {
  unsigned width = offset_width(p, block);
  return width ? 4 + group_count(plan_block_rows(p, block)) * (width / 8) + (uint64_t)p->fronts.bytes[block] : 0;
}

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  if (!p->has_fronts) return 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += round_up(data_bytes(p, b), CHUNK_ALIGNMENT);
  return plan_chunk_bytes(p, ENCODING_FRONT_CODED, 0, data);
}

static void write_block(const CodecPlan *p, uint32_t block, uint8_t *data) {
  const ChunkInput *in = p->input;
  uint32_t first = block * BLOCK_ROWS, rows = plan_block_rows(p, block), decoded = 0;
  unsigned bytes = offset_width(p, block) / 8;
  uint8_t *entries = data + 4 + (size_t)group_count(rows) * bytes, *out = entries;
  for (uint32_t i = 0; i < rows; i++) {
    Bytes s = row_string(in, first + i);
    uint32_t shared = shared_length(in, first + i), rest = (uint32_t)s.length - shared;
    if (i % GROUP_ROWS) {
      out = write_varint(out, shared);
    } else {
      uint32_t offset = (uint32_t)(out - entries);
      memcpy(data + 4 + (size_t)(i / GROUP_ROWS) * bytes, &offset, bytes);
    }
    out = write_varint(out, rest);
    if (rest && s.data) memcpy(out, s.data + shared, rest);
    out += rest;
    decoded += (uint32_t)s.length;
  }
  store_u32(data, decoded);
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_FRONT_CODED, 0, p->fronts.longest, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) {
    unsigned width = offset_width(p, b);
    uint8_t *data = chunk_writer_block(&w, 0, width, data_bytes(p, b));
    if (width) write_block(p, b, data);
  }
  return chunk_writer_end(&w);
}

/* ---- reading ---- */

typedef struct Fronts {
  uint32_t rows;
  unsigned bytes; /* of an offset */
  const uint8_t *offsets, *entries;
} Fronts;

/* Of a block that has values. */
static Fronts block_fronts(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  Fronts f = { .rows = b.row_count, .bytes = b.width / 8, .offsets = chunk_block_data(c, &b) + 4 };
  f.entries = f.offsets + (size_t)group_count(f.rows) * f.bytes;
  return f;
}
static const uint8_t *group_start(const Fronts *f, uint32_t group) {
  return f->entries + simd_word(f->offsets + (size_t)group * f->bytes, f->bytes);
}

typedef struct Entry {
  uint32_t shared, rest;
  const uint8_t *bytes; /* the rest; the next entry is behind it */
} Entry;

static Entry read_entry(const uint8_t *p, uint32_t row) {
  Entry e = { 0 };
  if (row % GROUP_ROWS) p = read_varint(p, &e.shared);
  e.bytes = read_varint(p, &e.rest);
  return e;
}

static bool block_has_values(const Chunk *c, uint32_t block) {
  return chunk_block_null_count(c, block) < chunk_block_rows(c, block);
}

static uint64_t decode_room(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  if (!block_has_values(c, block)) return 1;
  chunk_block(c, block, &b);
  return load_u32(chunk_block_data(c, &b)) + UINT64_C(1);
}
static uint64_t get_room(const Chunk *c) { return c->step + 1; }

static void decode_into(const Chunk *c, uint32_t block, Bytes *values, uint8_t *room) {
  if (!block_has_values(c, block)) {
    memset(values, 0, BLOCK_ROWS * sizeof *values);
    return;
  }
  Fronts f = block_fronts(c, block);
  const uint8_t *at = f.entries, *before = room;
  for (uint32_t i = 0; i < f.rows; i++) {
    Entry e = read_entry(at, i);
    memcpy(room, before, e.shared);
    memcpy(room + e.shared, e.bytes, e.rest);
    values[i] = (Bytes){ room, e.shared + e.rest };
    before = room;
    room += e.shared + e.rest;
    at = e.bytes + e.rest;
  }
}

/* Makes row `row` of the block in the room, from the row that stands whole before it; of its bytes, the first `most`.
 */
static uint32_t make_row(const Fronts *f, uint32_t row, uint8_t *room, uint32_t most) {
  uint32_t length = 0, first = row / GROUP_ROWS * GROUP_ROWS;
  const uint8_t *at = group_start(f, row / GROUP_ROWS);
  for (uint32_t i = first; i <= row; i++) {
    Entry e = read_entry(at, i);
    length = e.shared + e.rest;
    uint32_t end = length < most ? length : most;
    if (e.shared < end) memcpy(room + e.shared, e.bytes, end - e.shared);
    at = e.bytes + e.rest;
  }
  return length < most ? length : most;
}

static Bytes get_into(const Chunk *c, uint32_t row, uint8_t *room) {
  Fronts f = block_fronts(c, row / BLOCK_ROWS);
  return (Bytes){ room, make_row(&f, row % BLOCK_ROWS, room, FRONT_STRING_MAX) };
}

static int64_t image(const Chunk *c, uint32_t row) {
  uint8_t room[8] = { 0 };
  Fronts f = block_fronts(c, row / BLOCK_ROWS);
  return bytes_image((Bytes){ room, make_row(&f, row % BLOCK_ROWS, room, sizeof room) });
}

static void prepare(CodecFilter *f, void *scratch) { (void)f, (void)scratch; }

/* Sixteen rows at a time, those in which any is asked for: each made over the one before. */
static void filter_group(const CodecFilter *f, const Fronts *fronts, uint32_t group, uint64_t *mask) {
  uint8_t room[FRONT_STRING_MAX];
  uint32_t first = group * GROUP_ROWS, end = first + GROUP_ROWS < fronts->rows ? first + GROUP_ROWS : fronts->rows;
  const uint8_t *at = group_start(fronts, group);
  for (uint32_t i = first; i < end; i++) {
    Entry e = read_entry(at, i);
    memcpy(room + e.shared, e.bytes, e.rest);
    at = e.bytes + e.rest;
    if (bit_get(mask, i) && !compare_bytes(f->compare, (Bytes){ room, e.shared + e.rest })) bit_clear(mask, i);
  }
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  if (!block_has_values(f->chunk, block)) return; /* the caller clears nulls */
  Fronts fronts = block_fronts(f->chunk, block);
  for (uint32_t group = 0; group < group_count(fronts.rows); group++) {
    if (mask[group / 4] >> (group % 4 * GROUP_ROWS) & 0xffff) filter_group(f, &fronts, group, mask);
  }
}

/* ---- checks ---- */

static Status wrong(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged front-coded chunk: %s", what); }

static Status check_shared(const Chunk *c) {
  if (c->type != TYPE_STRING && c->type != TYPE_BYTES) return wrong("of no strings");
  return c->step <= FRONT_STRING_MAX ? KVSTORE_OK : wrong("a string that is too long");
}

/* A varint of at most three bytes before `end`; NULL when there is none. */
static const uint8_t *check_varint(const uint8_t *p, const uint8_t *end, uint32_t *v) {
  for (unsigned bytes = 1; p && bytes <= 3 && end - p >= (ptrdiff_t)bytes; bytes++) {
    if (!(p[bytes - 1] & 128)) return read_varint(p, v);
  }
  return NULL;
}

/* The entry of a row: lengths that lie within the block and the strings before; then its place is *at. */
static Status check_entry(const Chunk *c, const uint8_t **at, const uint8_t *end, uint32_t row, uint32_t *length,
                          uint8_t *room) {
  uint32_t shared = 0, rest = 0;
  const uint8_t *p = *at;
  if (row % GROUP_ROWS) p = check_varint(p, end, &shared);
  p = check_varint(p, end, &rest);
  if (!p || rest > (uint64_t)(end - p)) return wrong("an entry that leaves its block");
  if (shared > *length || shared + (uint64_t)rest > c->step) return wrong("an entry of a wrong length");
  memcpy(room + shared, p, rest);
  *length = shared + rest;
  *at = p + rest;
  if (c->type == TYPE_STRING && !bytes_are_utf8(room, *length)) return wrong("text that is not UTF-8");
  return KVSTORE_OK;
}

static Status check_rows(const Chunk *c, const ChunkBlock *b, const Fronts *f, const uint8_t *end,
                         const uint64_t *rows) {
  uint8_t room[FRONT_STRING_MAX];
  uint32_t length = 0;
  uint64_t decoded = 0;
  const uint8_t *at = f->entries;
  for (uint32_t i = 0; i < f->rows; i++) {
    uint64_t offset = simd_word(f->offsets + (size_t)(i / GROUP_ROWS) * f->bytes, f->bytes);
    if (i % GROUP_ROWS == 0 && offset != (uint64_t)(at - f->entries)) return wrong("offsets of other rows");
    TRY(check_entry(c, &at, end, i, &length, room));
    decoded += length;
    int64_t found = bytes_image((Bytes){ room, length });
    bool has_value = bit_get(rows, i);
    if (has_value ? found < b->minimum || found > b->maximum : length > 0) return wrong("a value outside its zone");
  }
  if (end - at >= CHUNK_ALIGNMENT) return wrong("a block of a wrong length");
  return decoded == load_u32(f->offsets - 4) ? KVSTORE_OK : wrong("a wrong decoded length");
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  uint64_t rows[BLOCK_WORDS];
  chunk_block(c, block, &b);
  uint64_t length = chunk_block_data_length(&b);
  if (!block_has_values(c, block)) return b.width || length ? wrong("values where all are null") : KVSTORE_OK;
  if (b.width != 16 && b.width != 32) return wrong("offsets of a wrong width");
  if (length < 4 + group_count(b.row_count) * (uint64_t)(b.width / 8)) return wrong("a block of a wrong length");
  Fronts f = block_fronts(c, block);
  chunk_validity(c, block, rows);
  return check_rows(c, &b, &f, chunk_block_data(c, &b) + length, rows);
}

const Codec codec_front = {
  .id = ENCODING_FRONT_CODED,
  .analyze = analyze,
  .encode = encode,
  .prepare = prepare,
  .filter = filter,
  .decode_room = decode_room,
  .get_room = get_room,
  .decode_into = decode_into,
  .get_into = get_into,
  .image = image,
  .check_shared = check_shared,
  .check_block = check_block,
};
