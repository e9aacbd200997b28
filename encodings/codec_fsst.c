/* codec_fsst.c - strings of high cardinality: a table of up to 255 symbols of 1 to 8 bytes, learnt from a sample, and
 * each string a row of one-byte codes; code 255 says that the next byte stands for itself. Any one string can be read.
 *
 * After Boncz, Neumann and Leis, "FSST: Fast Random Access String Compression", VLDB 2020. Differences: symbols are
 * numbered by their first two bytes, the longest first, and found by trying those of two bytes; lengths are packed.
 *
 *   shared part   length of each symbol u8 | zeros to a multiple of 8 | each symbol, padded with zeros to 8 bytes
 *   block         encoded length - base of 1,024 rows, packed | bytes of all strings decoded, u32 | the codes
 *
 * The base is the least encoded length of the block's rows, the chunk's step the length of its longest string. A null
 * has no codes. Filters compare while they decode, and stop at the first difference. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"
#include "base/counters.h"

enum {
  ESCAPE = 255,
  SYMBOL_BYTES = 8,
  ROOM_SLACK = 8, /* a symbol is written whole */
  GENERATIONS = 5,
  SAMPLE_BYTES = 16384, /* or more, where pieces are few */
  SAMPLE_BYTES_MAX = 2 * SAMPLE_BYTES,
  SAMPLE_STRINGS = 2048,
  SAMPLE_PIECE_BYTES = 512,
  IDS = 512, /* symbols, then 255 + byte: a byte that stands for itself */
  SLOTS = 16384,
  PAIRS = 65536,
  TEXT_BYTES = 32 << 10,    /* of strings that are encoded together */
  KEPT_BYTES_MAX = 8 << 20, /* of strings whose codes are kept until they are written */
};

/* ---- the table, while it is learnt and while it encodes ---- */

static uint64_t symbol_mask(unsigned length) { return simd_width_mask(8 * length); }

static uint64_t load_head(const uint8_t *p, size_t left) {
  uint64_t word = 0;
  if (left >= 8) return load_u64(p);
  memcpy(&word, p, left);
  return word;
}

/* The longest symbol at p, ESCAPE when there is none. */
static unsigned match(const SimdSymbols *s, const uint8_t *p, size_t left) {
  uint64_t word = load_head(p, left);
  unsigned range = s->pairs[word & 0xffff];
  for (unsigned code = range & 0xff; code < range >> 8; code++) {
    if (s->lengths[code] <= left && ((word ^ s->words[code]) & s->masks[code]) == 0) return code;
  }
  return s->single[*p];
}

/* Encodes a string; `out` may be NULL, to count. */
static uint64_t compress(const FsstTable *t, Bytes s, uint8_t *out) {
  uint64_t written = 0;
  for (size_t at = 0; at < s.length;) {
    unsigned code = match(&t->symbols, s.data + at, s.length - at);
    if (out) out[written] = (uint8_t)code;
    written++;
    if (code < ESCAPE) {
      at += t->symbols.lengths[code];
      continue;
    }
    if (out) out[written] = s.data[at];
    written++;
    at++;
  }
  return written;
}

/* ---- learning it ---- */

typedef struct Symbol {
  uint64_t word;
  uint32_t gain; /* bytes of the sample that it covers; 0: an empty slot */
  uint32_t length;
} Symbol;

typedef struct Learning {
  Bytes strings[SAMPLE_STRINGS]; /* borrowed from the input */
  uint32_t string_count;
  uint64_t bytes;
  uint32_t singles[IDS];
  uint16_t pairs[IDS][IDS];
  uint64_t has_pairs[IDS][IDS / 64]; /* bits of those that are not 0 */
  Symbol slots[SLOTS];
  uint64_t has_slots[SLOTS / 64];
  Symbol best[ESCAPE]; /* a heap, the least gain first */
  uint32_t best_count;
  uint16_t table_pairs[PAIRS];
  /* Strings one behind the other, where each ends, and room for the codes of those whose codes are not kept. */
  uint8_t text[TEXT_BYTES + SYMBOL_BYTES], codes[2 * TEXT_BYTES];
  uint32_t ends[BLOCK_ROWS];
} Learning;

static uint64_t kept_bytes(uint64_t string_bytes) { return string_bytes <= KEPT_BYTES_MAX ? 2 * string_bytes : 0; }

/* Learning, lengths, codes. */
uint64_t fsst_scratch(const ChunkInput *in, uint64_t string_bytes) {
  bool fits = in->type == TYPE_STRING || in->type == TYPE_BYTES;
  return fits ? sizeof(Learning) + (uint64_t)in->row_count * sizeof(uint32_t) + kept_bytes(string_bytes) : 0;
}

/* Pieces of all that there is, whole strings where they are short, at even distances of `step` and a bit more, which is
 * no fraction: whatever rhythm the rows have, all of it is met. Every one where `step` is 1. */
static uint64_t piece_taken(uint64_t number, uint64_t step) {
  const uint64_t golden = 0x9e3779b9; /* of 2^32 */
  return number * step + (step > 1 ? number * golden >> 32 : 0);
}

static void take_sample(Learning *l, const ChunkInput *in, uint64_t string_bytes) {
  uint64_t step = in->row_count / SAMPLE_STRINGS + 1, number = 0, passed = 0;
  if (string_bytes / SAMPLE_BYTES > step) step = string_bytes / SAMPLE_BYTES;
  l->string_count = 0;
  l->bytes = 0;
  for (uint32_t row = 0; row < in->row_count; row++) {
    if (input_is_null(in, row)) continue;
    Bytes s = ((const Bytes *)in->values)[row];
    uint64_t pieces = s.length ? (s.length + SAMPLE_PIECE_BYTES - 1) / SAMPLE_PIECE_BYTES : 1, piece;
    for (; (piece = piece_taken(number, step)) < passed + pieces; number++) {
      if (l->string_count == SAMPLE_STRINGS || l->bytes >= SAMPLE_BYTES_MAX) return;
      uint64_t from = (piece - passed) * SAMPLE_PIECE_BYTES, left = s.length - from;
      Bytes taken = { from ? s.data + from : s.data, left < SAMPLE_PIECE_BYTES ? left : SAMPLE_PIECE_BYTES };
      l->strings[l->string_count++] = taken;
      l->bytes += taken.length;
    }
    passed += pieces;
  }
}

/* Only what has been counted before is cleared: most of the pairs never come. */
static void forget_pairs(Learning *l) {
  memset(l->singles, 0, sizeof l->singles);
  for (unsigned a = 0; a < IDS; a++) {
    for (unsigned w = 0; w < IDS / 64; w++) {
      for (uint64_t left = l->has_pairs[a][w]; left; left &= left - 1)
        l->pairs[a][w * 64 + (unsigned)__builtin_ctzll(left)] = 0;
      l->has_pairs[a][w] = 0;
    }
  }
}
static void forget_slots(Learning *l) {
  for (unsigned w = 0; w < SLOTS / 64; w++) {
    for (uint64_t left = l->has_slots[w]; left; left &= left - 1)
      l->slots[w * 64 + (unsigned)__builtin_ctzll(left)].gain = 0;
    l->has_slots[w] = 0;
  }
}

/* How often each symbol and each pair of neighbours occurs when the sample is encoded. */
static void count_pairs(Learning *l, const FsstTable *t) {
  forget_pairs(l);
  for (uint32_t i = 0; i < l->string_count; i++) {
    Bytes s = l->strings[i];
    unsigned before = IDS;
    for (size_t at = 0; at < s.length;) {
      unsigned code = match(&t->symbols, s.data + at, s.length - at);
      unsigned id = code < ESCAPE ? code : (unsigned)ESCAPE + s.data[at];
      l->singles[id]++;
      if (before < IDS) {
        l->pairs[before][id]++;
        bit_set(l->has_pairs[before], id);
      }
      before = id;
      at += t->symbols.lengths[code];
    }
  }
}

static Symbol symbol_of(const FsstTable *t, unsigned id) {
  if (id >= ESCAPE) return (Symbol){ id - ESCAPE, 0, 1 };
  return (Symbol){ t->symbols.words[id], 0, t->symbols.lengths[id] };
}

/* The same symbol may come from several pairs: gains add up. A full table forgets. */
static void candidate_add(Learning *l, Symbol s) {
  uint64_t hash = (s.word + s.length) * UINT64_C(0x9e3779b97f4a7c15);
  uint32_t slot = (uint32_t)(hash >> 32) % SLOTS;
  for (unsigned tries = 0; tries < 64; tries++, slot = (slot + 1) % SLOTS) {
    Symbol *at = &l->slots[slot];
    if (at->gain && (at->word != s.word || at->length != s.length)) continue;
    uint32_t gain = at->gain + s.gain;
    *at = s;
    at->gain = gain;
    bit_set(l->has_slots, slot);
    return;
  }
}

static void sink(Learning *l, uint32_t at) {
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= l->best_count) return;
    if (child + 1 < l->best_count && l->best[child + 1].gain < l->best[child].gain) child++;
    if (l->best[at].gain <= l->best[child].gain) return;
    Symbol swap = l->best[at];
    l->best[at] = l->best[child];
    l->best[child] = swap;
    at = child;
  }
}

static void best_add(Learning *l, Symbol s) {
  if (l->best_count < ESCAPE) {
    l->best[l->best_count++] = s;
    if (l->best_count == ESCAPE) {
      for (uint32_t i = ESCAPE / 2 + 1; i-- > 0;) sink(l, i);
    }
  } else if (s.gain > l->best[0].gain) {
    l->best[0] = s;
    sink(l, 0);
  }
}

/* The order of codes: symbols of one byte last; others by their first two bytes, the longer first. */
static bool comes_before(Symbol a, Symbol b) {
  if ((a.length == 1) != (b.length == 1)) return b.length == 1;
  uint16_t x = (uint16_t)a.word, y = (uint16_t)b.word;
  if (x != y) return x < y;
  return a.length != b.length ? a.length > b.length : a.word < b.word;
}

static void table_clear(FsstTable *t) {
  t->count = 0;
  memset(t->symbols.single, ESCAPE, sizeof t->symbols.single);
  memset(t->symbols.pairs, 0, PAIRS * sizeof *t->symbols.pairs);
  t->symbols.lengths[ESCAPE] = 1;
}

static void table_from_best(Learning *l, FsstTable *t) {
  for (uint32_t i = 1; i < l->best_count; i++) {
    Symbol s = l->best[i];
    uint32_t at = i;
    for (; at > 0 && comes_before(s, l->best[at - 1]); at--) l->best[at] = l->best[at - 1];
    l->best[at] = s;
  }
  table_clear(t);
  t->count = l->best_count;
  SimdSymbols *s = &t->symbols;
  for (uint32_t code = 0; code < t->count; code++) {
    uint16_t pair = (uint16_t)l->best[code].word;
    s->words[code] = l->best[code].word;
    s->lengths[code] = (uint8_t)l->best[code].length;
    s->masks[code] = symbol_mask(s->lengths[code]);
    if (s->lengths[code] == 1) {
      s->single[pair] = (uint8_t)code;
      continue;
    }
    uint32_t first = s->pairs[pair] ? s->pairs[pair] & 0xff : code;
    s->pairs[pair] = (uint16_t)(first | (code + 1) << 8);
  }
}

/* What a symbol and those that came behind it are together. */
static void add_pairs(Learning *l, const FsstTable *t, unsigned a, Symbol first) {
  enum { PAIR_COUNT_MIN = 2 };
  for (unsigned w = 0; w < IDS / 64; w++) {
    for (uint64_t left = l->has_pairs[a][w]; left; left &= left - 1) {
      unsigned b = w * 64 + (unsigned)__builtin_ctzll(left);
      if (l->pairs[a][b] < PAIR_COUNT_MIN) continue;
      Symbol both = symbol_of(t, b);
      both.word = first.word | both.word << (8 * first.length);
      both.length += first.length;
      if (both.length > SYMBOL_BYTES) both.length = SYMBOL_BYTES;
      both.gain = l->pairs[a][b] * both.length;
      candidate_add(l, both);
    }
  }
}

/* One generation: the symbols of the last one, and what two of them are together, by the bytes that they cover. */
static void improve(Learning *l, FsstTable *t) {
  enum { SINGLE_BYTE_WEIGHT = 8 };
  count_pairs(l, t);
  forget_slots(l);
  for (unsigned a = 0; a < ESCAPE + 256; a++) {
    if (!l->singles[a]) continue;
    Symbol first = symbol_of(t, a);
    first.gain = l->singles[a] * (first.length == 1 ? SINGLE_BYTE_WEIGHT : first.length);
    candidate_add(l, first);
    if (first.length < SYMBOL_BYTES) add_pairs(l, t, a, first);
  }
  l->best_count = 0;
  for (uint32_t w = 0; w < SLOTS / 64; w++)
    for (uint64_t left = l->has_slots[w]; left; left &= left - 1)
      best_add(l, l->slots[w * 64 + (unsigned)__builtin_ctzll(left)]);
  table_from_best(l, t);
}

/* ---- what the column would take ---- */

/* Encodes rows from `row` on, as many as lie together or one that is longer; returns the row behind. */
static uint32_t encode_rows(CodecPlan *p, Learning *l, uint32_t row, uint32_t end, uint8_t **codes) {
  const FsstTable *t = &p->fsst.table;
  uint32_t count = 0, bytes = 0, first = row;
  for (; row < end; row++, count++) {
    Bytes s = input_is_null(p->input, row) ? (Bytes){ 0 } : ((const Bytes *)p->input->values)[row];
    if (s.length > TEXT_BYTES - bytes) break;
    if (s.length) memcpy(l->text + bytes, s.data, s.length);
    bytes += (uint32_t)s.length;
    l->ends[count] = bytes;
    if (s.length > p->fsst.longest) p->fsst.longest = s.length;
  }
  uint32_t *lengths = p->fsst.lengths + first;
  if (count) {
    uint8_t *out = p->fsst.codes ? *codes : l->codes;
    *codes += simd_kernels()->encode_symbols(&t->symbols, l->text, l->ends, count, out, lengths);
    return row;
  }
  Bytes s = ((const Bytes *)p->input->values)[row];
  *lengths = (uint32_t)compress(t, s, p->fsst.codes ? *codes : NULL);
  *codes += *lengths;
  if (s.length > p->fsst.longest) p->fsst.longest = s.length;
  return row + 1;
}

static void plan_block_lengths(CodecPlan *p, Learning *l, uint32_t block, uint8_t **codes) {
  uint32_t first = block * BLOCK_ROWS, end = first + plan_block_rows(p, block);
  uint32_t low = UINT32_MAX, high = 0;
  uint64_t total = 0;
  for (uint32_t row = first; row < end;) row = encode_rows(p, l, row, end, codes);
  for (uint32_t row = first; row < end; row++) {
    uint32_t length = p->fsst.lengths[row];
    total += length;
    if (length < low) low = length;
    if (length > high) high = length;
  }
  p->fsst.blocks[block].base = low;
  p->fsst.blocks[block].width = (uint8_t)simd_width(high - low);
  p->fsst.blocks[block].bytes = total;
}

void plan_symbols(CodecPlan *p, bool always, void *scratch) {
  Learning *l = scratch;
  FsstTable *t = &p->fsst.table;
  t->symbols.pairs = l->table_pairs;
  table_clear(t);
  if (p->string_bytes_most > UINT32_MAX / 2) return; /* a byte may take two */
  take_sample(l, p->input, p->string_bytes);
  memset(l->pairs, 0, sizeof l->pairs);
  memset(l->has_pairs, 0, sizeof l->has_pairs);
  memset(l->slots, 0, sizeof l->slots);
  memset(l->has_slots, 0, sizeof l->has_slots);
  memset(l->text, 0, sizeof l->text);
  uint64_t encoded = 0;
  COUNT(symbols_learnt);
  for (unsigned i = 0; i < GENERATIONS; i++) improve(l, t);
  for (uint32_t i = 0; i < l->string_count; i++) encoded += compress(t, l->strings[i], NULL);
  if (!always && (l->bytes == 0 || encoded > l->bytes / 8 * 7)) return;
  p->fsst.lengths = (uint32_t *)(void *)(l + 1);
  uint8_t *codes = (uint8_t *)(p->fsst.lengths + p->input->row_count);
  p->fsst.codes = kept_bytes(p->string_bytes) ? codes : NULL;
  p->fsst.longest = 0;
  for (uint32_t b = 0; b < p->block_count; b++) plan_block_lengths(p, l, b, &codes);
  p->has_symbols = true;
}

/* ---- writing ---- */

static uint64_t shared_bytes(uint32_t symbols) { return round_up(symbols, 8) + (uint64_t)symbols * SYMBOL_BYTES; }

static uint64_t data_bytes(const CodecPlan *p, uint32_t block) {
  return 128u * p->fsst.blocks[block].width + 4 + p->fsst.blocks[block].bytes;
}

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  if (!p->has_symbols) return 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += round_up(data_bytes(p, b), CHUNK_ALIGNMENT);
  return plan_chunk_bytes(p, ENCODING_FSST, shared_bytes(p->fsst.table.count), data);
}

static void write_table(const FsstTable *t, uint8_t *shared) {
  const SimdSymbols *s = &t->symbols;
  uint8_t *words = shared + round_up(t->count, 8);
  memcpy(shared, s->lengths, t->count);
  for (uint32_t i = 0; i < t->count; i++) store_u64(words + 8 * (size_t)i, s->words[i] & s->masks[i]);
}

/* `kept` is where the codes of the plan go on. */
static void write_block(const CodecPlan *p, uint32_t block, const uint8_t **kept, uint8_t *data) {
  const ChunkInput *in = p->input;
  uint32_t first = block * BLOCK_ROWS, rows = plan_block_rows(p, block), base = p->fsst.blocks[block].base;
  unsigned width = p->fsst.blocks[block].width;
  int64_t lengths[BLOCK_ROWS];
  uint64_t decoded = 0;
  uint8_t *codes = data + 128u * width + 4;
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) lengths[i] = i < rows ? p->fsst.lengths[first + i] : base;
  packed_write(lengths, width, base, 1, data);
  for (uint32_t i = 0; i < rows; i++) {
    if (input_is_null(in, first + i)) continue;
    Bytes s = ((const Bytes *)in->values)[first + i];
    decoded += s.length;
    if (!p->fsst.codes) codes += compress(&p->fsst.table, s, codes);
  }
  if (p->fsst.codes) {
    memcpy(codes, *kept, p->fsst.blocks[block].bytes);
    *kept += p->fsst.blocks[block].bytes;
  }
  store_u32(data + 128u * width, (uint32_t)decoded);
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  const FsstTable *t = &p->fsst.table;
  const uint8_t *kept = p->fsst.codes;
  write_table(t, chunk_writer_begin(&w, p, ENCODING_FSST, 0, p->fsst.longest, t->count, shared_bytes(t->count), out));
  for (uint32_t b = 0; b < p->block_count; b++) {
    write_block(p, b, &kept, chunk_writer_block(&w, p->fsst.blocks[b].base, p->fsst.blocks[b].width, data_bytes(p, b)));
  }
  return chunk_writer_end(&w);
}

/* ---- reading ---- */

typedef struct Symbols {
  const uint8_t *lengths, *words;
} Symbols;

static Symbols chunk_symbols(const Chunk *c) {
  const uint8_t *shared = c->bytes + c->head_length;
  return (Symbols){ shared, shared + round_up(c->dictionary_count, 8) };
}

static const uint8_t *block_codes(const Chunk *c, const ChunkBlock *b) {
  return chunk_block_data(c, b) + 128u * b->width + 4;
}

/* Decodes the codes; writes up to ROOM_SLACK bytes behind the string, whose end is returned. */
static uint8_t *expand(Symbols s, const uint8_t *codes, size_t count, uint8_t *out) {
  for (size_t i = 0; i < count; i++) {
    unsigned code = codes[i];
    if (code < ESCAPE) {
      memcpy(out, s.words + 8 * (size_t)code, 8);
      out += s.lengths[code];
    } else {
      *out++ = codes[++i];
    }
  }
  return out;
}

/* Where the codes of each row end, counted from the block's first. */
static void code_ends(const Chunk *c, const ChunkBlock *b, uint64_t ends[BLOCK_ROWS]) {
  packed_ends(chunk_block_data(c, b), b->width, (uint64_t)b->base, ends);
}

static uint64_t decode_room(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  return load_u32(chunk_block_data(c, &b) + 128u * b.width) + (uint64_t)ROOM_SLACK;
}
static uint64_t get_room(const Chunk *c) { return c->step + ROOM_SLACK; }

static void decode_into(const Chunk *c, uint32_t block, Bytes *values, uint8_t *room) {
  ChunkBlock b;
  uint64_t ends[BLOCK_ROWS], start = 0;
  chunk_block(c, block, &b);
  code_ends(c, &b, ends);
  Symbols s = chunk_symbols(c);
  const uint8_t *codes = block_codes(c, &b);
  for (uint32_t i = 0; i < b.row_count; i++) {
    uint8_t *end = expand(s, codes + start, ends[i] - start, room);
    values[i] = (Bytes){ room, (size_t)(end - room) };
    room = end;
    start = ends[i];
  }
}

/* The codes of one row: the sum of the lengths before it, and its own. */
static const uint8_t *row_codes(const Chunk *c, uint32_t row, size_t *count) {
  ChunkBlock b;
  uint64_t before[BLOCK_WORDS], sum[2] = { 0, 0 }, at = row % BLOCK_ROWS;
  chunk_block(c, row / BLOCK_ROWS, &b);
  const uint8_t *lengths = chunk_block_data(c, &b);
  bitmap_fill_first(before, BLOCK_WORDS, (uint32_t)at);
  if (b.width) simd_kernels()->sum[b.width](lengths, before, sum);
  *count = (size_t)((uint64_t)b.base + simd_packed_value(lengths, b.width, (unsigned)at));
  return block_codes(c, &b) + at * (uint64_t)b.base + sum[0];
}

static Bytes get_into(const Chunk *c, uint32_t row, uint8_t *room) {
  size_t count;
  const uint8_t *codes = row_codes(c, row, &count);
  uint8_t *end = expand(chunk_symbols(c), codes, count, room);
  return (Bytes){ room, (size_t)(end - room) };
}

/* The first bytes of an encoded string: as many as there are, at most 8 and what the last symbol brings. */
static Bytes expand_head(Symbols s, const uint8_t *codes, size_t count, uint8_t room[2 * SYMBOL_BYTES]) {
  uint8_t *out = room;
  for (size_t i = 0; i < count && out < room + SYMBOL_BYTES; i++) {
    bool is_escape = codes[i] == ESCAPE;
    out = expand(s, codes + i, is_escape ? 2 : 1, out);
    i += is_escape;
  }
  return (Bytes){ room, (size_t)(out - room) };
}

static int64_t image(const Chunk *c, uint32_t row) {
  uint8_t room[2 * SYMBOL_BYTES];
  size_t count;
  const uint8_t *codes = row_codes(c, row, &count);
  return bytes_image(expand_head(chunk_symbols(c), codes, count, room));
}

/* ---- filters ---- */

/* The order of an encoded string and a bound: negative, 0, positive. 0 for those that begin with it, when `prefix` is
 * set. */
static int order_of(Symbols s, const uint8_t *codes, size_t count, Bytes bound, bool prefix) {
  size_t at = 0; /* of the bound: so far the two agree */
  for (size_t i = 0; i < count; i++) {
    uint64_t word;
    unsigned length = 1;
    if (at == bound.length) return prefix ? 0 : 1;
    if (codes[i] < ESCAPE) {
      word = load_u64(s.words + 8 * (size_t)codes[i]);
      length = s.lengths[codes[i]];
    } else {
      word = codes[++i];
    }
    size_t left = bound.length - at, both = left < length ? left : length;
    uint64_t differs = (word ^ load_head(bound.data + at, left)) & symbol_mask((unsigned)both);
    if (differs) {
      unsigned shift = (unsigned)__builtin_ctzll(differs) & ~7u;
      return (word >> shift & 0xff) < bound.data[at + shift / 8] ? -1 : 1;
    }
    if (both < length) return prefix ? 0 : 1;
    at += length;
  }
  return at == bound.length ? 0 : -1;
}

static bool range_has(const Compare *c, Symbols s, const uint8_t *codes, size_t count) {
  if (!c->low_missing) {
    int order = order_of(s, codes, count, c->low_bytes, false);
    if (compare_is_equality(c)) return order == 0;
    if (order < 0 || (order == 0 && c->low_excluded)) return false;
  }
  if (!c->high_missing) {
    int order = order_of(s, codes, count, c->high_bytes, false);
    if (order > 0 || (order == 0 && c->high_excluded)) return false;
  }
  return true;
}

/* In a long list short strings are looked up decoded, others searched for. */
static bool set_has(const Compare *c, Symbols s, const uint8_t *codes, size_t count) {
  enum { CODES_MOST = 128 };
  uint32_t low = 0, high = c->set_count;
  if (c->slots && count <= CODES_MOST) {
    uint8_t room[CODES_MOST * SYMBOL_BYTES + ROOM_SLACK];
    return compare_set_has_bytes(c, (Bytes){ room, (size_t)(expand(s, codes, count, room) - room) });
  }
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int order = order_of(s, codes, count, c->strings[middle], false);
    if (order == 0) return true;
    if (order > 0)
      low = middle + 1;
    else
      high = middle;
  }
  return false;
}

/* Before it is negated. */
static bool codes_match(const Compare *c, Symbols s, const uint8_t *codes, size_t count) {
  switch (c->kind) {
  case COMPARE_KIND_RANGE: return range_has(c, s, codes, count);
  case COMPARE_KIND_SET: return set_has(c, s, codes, count);
  default: return order_of(s, codes, count, c->low_bytes, true) == 0;
  }
}

/* What a chunk's symbols have to do with the constants, found once: so a row is asked code by code, or by its last
 * byte alone, and nothing is decoded. */
typedef struct Agreement {
  uint64_t places[256];   /* of a code: bit p when its symbol agrees with the constant from byte p on */
  uint64_t literals[256]; /* the same of a byte that stands for itself */
  uint8_t may_end[256];   /* whether the codes of a row that is equal to a constant may end with this byte */
} Agreement;
_Static_assert(sizeof(Agreement) <= CODEC_FILTER_SCRATCH, "an agreement lies in a filter's scratch");

enum { WALK_MAX = 64 - SYMBOL_BYTES, ENDS_MAX = 256 /* constants whose ends are collected */ };

static bool can_walk(const CodecFilter *f) {
  bool is_one = f->kind == COMPARE_KIND_PREFIX || compare_is_equality(f->compare);
  return is_one && f->compare->low_bytes.length <= WALK_MAX;
}

/* What lies behind a prefix agrees with everything; nothing with what lies behind an equal text. */
static void find_places(Agreement *a, const Chunk *c, Bytes constant, bool is_prefix) {
  Symbols s = chunk_symbols(c);
  uint64_t behind = is_prefix ? ~simd_width_mask((unsigned)constant.length) : 0;
  for (unsigned i = 0; i < 256; i++) a->literals[i] = behind;
  for (unsigned p = 0; p < constant.length; p++) a->literals[constant.data[p]] |= UINT64_C(1) << p;
  for (uint32_t code = 0; code < c->dictionary_count; code++) {
    uint64_t places = UINT64_MAX;
    for (unsigned i = 0; i < s.lengths[code]; i++) {
      uint64_t of_byte = a->literals[s.words[8 * (size_t)code + i]];
      places &= is_prefix ? ~(~of_byte >> i) : of_byte >> i;
    }
    a->places[code] = places;
  }
}

static void find_ends(Agreement *a, const Chunk *c, Bytes constant) {
  Symbols s = chunk_symbols(c);
  if (!constant.length) return;                       /* has no codes */
  a->may_end[constant.data[constant.length - 1]] = 1; /* behind an escape */
  for (uint32_t code = 0; code < c->dictionary_count; code++) {
    size_t length = s.lengths[code];
    if (length <= constant.length &&
        !memcmp(s.words + 8 * (size_t)code, constant.data + constant.length - length, length)) {
      a->may_end[code] = 1;
    }
  }
}

static void prepare(CodecFilter *f, void *scratch) {
  const Compare *c = f->compare;
  Agreement *a = scratch;
  bool is_one = compare_is_equality(c), is_set = f->kind == COMPARE_KIND_SET;
  if (can_walk(f)) find_places(a, f->chunk, c->low_bytes, !is_one);
  memset(a->may_end, !is_one && !(is_set && c->set_count <= ENDS_MAX), sizeof a->may_end);
  if (is_one) find_ends(a, f->chunk, c->low_bytes);
  for (uint32_t i = 0; is_set && i < c->set_count && i < ENDS_MAX; i++) find_ends(a, f->chunk, c->strings[i]);
  f->prepared = a;
}

/* The verdict, before it is negated, on one row by walking along its codes. */
static bool walk(const Agreement *a, Symbols s, const uint8_t *codes, size_t count, size_t wanted, bool is_prefix) {
  size_t at = 0, i = 0;
  while (i < count && at < wanted) {
    unsigned code = codes[i++];
    uint64_t places = code < ESCAPE ? a->places[code] : a->literals[codes[i]];
    if (!(places >> at & 1)) return false;
    at += code < ESCAPE ? s.lengths[code] : 1;
    i += code == ESCAPE;
  }
  return at >= wanted && (is_prefix || i == count);
}

/* The rows among 64 whose codes end as those of a constant may; a row without any is one that may. */
static uint64_t rows_that_may(const Agreement *a, const uint8_t *codes, const uint64_t *ends, uint64_t start,
                              uint32_t rows) {
  uint64_t may = 0;
  for (uint32_t i = 0; i < rows; i++) {
    may |= (uint64_t)(a->may_end[codes[(ptrdiff_t)ends[i] - 1]] | (ends[i] == start)) << i;
    start = ends[i];
  }
  return may;
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const Chunk *c = f->chunk;
  const Agreement *a = f->prepared;
  ChunkBlock b;
  uint64_t ends[BLOCK_ROWS];
  chunk_block(c, block, &b);
  code_ends(c, &b, ends);
  Symbols s = chunk_symbols(c);
  const uint8_t *codes = block_codes(c, &b);
  bool is_prefix = f->kind == COMPARE_KIND_PREFIX, walks = can_walk(f);
  for (uint32_t w = 0; w < BLOCK_WORDS && w * 64 < b.row_count; w++) {
    uint32_t first = w * 64, rows = b.row_count - first < 64 ? b.row_count - first : 64;
    uint64_t hits = mask[w] & rows_that_may(a, codes, ends + first, first ? ends[first - 1] : 0, rows);
    for (uint64_t left = hits; left; left &= left - 1) {
      uint32_t i = first + (uint32_t)__builtin_ctzll(left);
      uint64_t start = i ? ends[i - 1] : 0, count = ends[i] - start;
      bool matches = walks ? walk(a, s, codes + start, count, f->compare->low_bytes.length, is_prefix)
                           : codes_match(f->compare, s, codes + start, count);
      if (!matches) hits &= ~(left & -left);
    }
    mask[w] = f->negated ? mask[w] & ~hits : hits;
  }
}

/* ---- checks ---- */

static Status wrong(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged FSST chunk: %s", what); }

static Status check_shared(const Chunk *c) {
  if (c->type != TYPE_STRING && c->type != TYPE_BYTES) return wrong("of no strings");
  if (c->dictionary_count > ESCAPE || shared_bytes(c->dictionary_count) > chunk_shared_room(c)) {
    return wrong("a wrong number of symbols");
  }
  /* A reader makes room for it: more than all codes could say is no string's length. */
  if (c->step > c->length * SYMBOL_BYTES) return wrong("a longest string that is too long");
  Symbols s = chunk_symbols(c);
  for (uint32_t i = 0; i < c->dictionary_count; i++) {
    if (s.lengths[i] < 1 || s.lengths[i] > SYMBOL_BYTES) return wrong("a symbol of a wrong length");
    if (load_u64(s.words + 8 * (size_t)i) & ~symbol_mask(s.lengths[i])) return wrong("a symbol of a wrong length");
  }
  return KVSTORE_OK;
}

/* Text in pieces: what may be half a character stays for the next. */
typedef struct TextCheck {
  uint8_t bytes[512];
  size_t length;
} TextCheck;

static bool text_passes(TextCheck *t, bool is_end) {
  size_t whole = t->length;
  for (size_t back = 1; !is_end && back <= 3 && back <= t->length; back++) {
    if ((t->bytes[t->length - back] & 0xc0) == 0x80) continue;
    if (t->bytes[t->length - back] >= 0xc0) whole = t->length - back;
    break;
  }
  if (!bytes_are_utf8(t->bytes, whole)) return false;
  memmove(t->bytes, t->bytes + whole, t->length - whole);
  t->length -= whole;
  return true;
}

/* Codes that there are, an escape with its byte, text; *length is that of the string. */
static Status check_string(const Chunk *c, Symbols s, const uint8_t *codes, size_t count, uint64_t *length) {
  TextCheck text = { .length = 0 };
  *length = 0;
  for (size_t i = 0; i < count; i++) {
    bool is_escape = codes[i] == ESCAPE;
    if (is_escape ? i + 1 == count : codes[i] >= c->dictionary_count) return wrong("a code without a symbol");
    uint8_t *end = expand(s, codes + i, is_escape ? 2 : 1, text.bytes + text.length);
    *length += (uint64_t)(end - text.bytes) - text.length;
    text.length = (size_t)(end - text.bytes);
    i += is_escape;
    bool is_full = text.length > sizeof text.bytes - 2 * SYMBOL_BYTES;
    if (c->type != TYPE_STRING)
      text.length = 0;
    else if (is_full && !text_passes(&text, false))
      return wrong("text that is not UTF-8");
  }
  return text_passes(&text, true) ? KVSTORE_OK : wrong("text that is not UTF-8");
}

/* Lengths that come to the block's codes, and no more behind its rows than the base. */
static Status check_lengths(const Chunk *c, const ChunkBlock *b, uint64_t ends[BLOCK_ROWS]) {
  uint64_t length = chunk_block_data_length(b), head = 128u * b->width + 4;
  if (b->width > 32 || b->base < 0 || b->base > UINT32_MAX || length < head) return wrong("a block of a wrong length");
  for (uint32_t i = b->row_count; i < BLOCK_ROWS; i++) {
    if (simd_packed_value(chunk_block_data(c, b), b->width, i)) return wrong("lengths behind the last row");
  }
  code_ends(c, b, ends);
  if (round_up(head + ends[b->row_count - 1], CHUNK_ALIGNMENT) != length) return wrong("a block of a wrong length");
  return KVSTORE_OK;
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  uint64_t ends[BLOCK_ROWS], rows[BLOCK_WORDS], decoded = 0, start = 0;
  chunk_block(c, block, &b);
  TRY(check_lengths(c, &b, ends));
  chunk_validity(c, block, rows);
  Symbols s = chunk_symbols(c);
  const uint8_t *codes = block_codes(c, &b);
  for (uint32_t i = 0; i < b.row_count; start = ends[i], i++) {
    uint64_t length;
    uint8_t head[2 * SYMBOL_BYTES];
    size_t count = (size_t)(ends[i] - start);
    if (!bit_get(rows, i) && count) return wrong("a null with codes");
    TRY(check_string(c, s, codes + start, count, &length));
    decoded += length;
    if (length > c->step) return wrong("a string above the longest");
    int64_t found = bytes_image(expand_head(s, codes + start, count, head));
    if (bit_get(rows, i) && (found < b.minimum || found > b.maximum)) return wrong("a value outside its zone");
  }
  return decoded == load_u32(chunk_block_data(c, &b) + 128u * b.width) ? KVSTORE_OK : wrong("a wrong decoded length");
}

const Codec codec_fsst = {
  .id = ENCODING_FSST,
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
