/* text_filter.c - filters on strings that lie one after the other: offsets, then bytes.
 *
 * Equality and prefix ask for the length first, of the whole block at once, then for one word of eight bytes, where
 * texts differ most often: the last ones of an equal text, the first ones of a prefix. What is left after that is
 * nearly always a match, and compared whole. A list asks whether length and last word are those of any member, in a
 * bitset of hashes; a range looks at the first eight bytes as a number, and at the others when they are equal. */
#include "base/bitmap.h"
#include "encodings/encodings_internal.h"

enum { WORD = 8, HASH_BITS = 16 };
_Static_assert((1 << HASH_BITS) / 8 <= CODEC_FILTER_SCRATCH, "the hashes of a set lie in a filter's scratch");

/* The strings of a block; up to 64 bytes may be read past the last. */
typedef struct Texts {
  const uint8_t *offsets, *bytes;
  uint32_t rows;
} Texts;

static uint32_t text_start(const Texts *t, uint32_t i) { return load_u32(t->offsets + 4 * (size_t)i); }
static Bytes text_at(const Texts *t, uint32_t i) {
  uint32_t start = text_start(t, i);
  return (Bytes){ t->bytes + start, text_start(t, i + 1) - start };
}

/* The word of a constant that is compared first: the last one, or the first one; what there is of it. */
static uint64_t constant_word(Bytes constant, bool last) {
  uint64_t word = 0;
  size_t length = constant.length < WORD ? constant.length : WORD;
  if (length) memcpy(&word, constant.data + (last ? constant.length - length : 0), length);
  return word;
}

/* ---- equality and prefix ---- */

typedef struct Wanted {
  Bytes constant;
  bool is_prefix;
  uint64_t word, mask;
  uint32_t next, back; /* the word of row i begins at offset number i + next, less back */
} Wanted;

static Wanted wanted_of(Bytes constant, bool is_prefix) {
  Wanted w = { .constant = constant, .is_prefix = is_prefix };
  bool at_end = !is_prefix && constant.length >= WORD;
  w.word = constant_word(constant, !is_prefix);
  w.mask = constant.length >= WORD ? UINT64_MAX : simd_width_mask(8 * (unsigned)constant.length);
  w.next = at_end;
  w.back = at_end ? WORD : 0;
  return w;
}

static void keep_lengths(const Texts *t, const Wanted *w, uint64_t hits[BLOCK_WORDS]) {
  const SimdKernels *k = simd_kernels();
  uint32_t lengths[BLOCK_ROWS];
  for (uint32_t i = 0; i < t->rows; i++) lengths[i] = text_start(t, i + 1) - text_start(t, i);
  memset(lengths + t->rows, 0, (BLOCK_ROWS - t->rows) * sizeof *lengths);
  if (w->constant.length > UINT32_MAX)
    mask_clear(hits);
  else if (!w->is_prefix)
    k->range[32](lengths, w->constant.length, 0, 0, hits);
  else if (w->constant.length)
    k->above[32](lengths, w->constant.length - 1, 0, hits);
}

static bool word_agrees(const Texts *t, const Wanted *w, uint32_t i) {
  return (load_u64(t->bytes + text_start(t, i + w->next) - w->back) & w->mask) == w->word;
}

/* Of 64 rows: without a branch, whatever their lengths are (what lies before a short text can be read). */
static uint64_t words_that_agree(const Texts *t, const Wanted *w, uint32_t first) {
  uint64_t agree = 0;
  for (uint32_t i = 0; i < 64; i++) agree |= (uint64_t)word_agrees(t, w, first + i) << i;
  return agree;
}

static void keep_wanted(const Texts *t, const Wanted *w, uint64_t hits[BLOCK_WORDS]) {
  enum { MANY = 12 };
  keep_lengths(t, w, hits);
  for (uint32_t at = 0; at < BLOCK_WORDS && w->constant.length; at++) {
    if (bitmap_count(&hits[at], 1) > MANY && at * 64 + 64 <= t->rows) hits[at] &= words_that_agree(t, w, at * 64);
    for (uint64_t left = hits[at]; left; left &= left - 1) {
      uint32_t i = at * 64 + (uint32_t)__builtin_ctzll(left);
      bool agrees = word_agrees(t, w, i) &&
                    (w->constant.length <= WORD || !memcmp(text_at(t, i).data, w->constant.data, w->constant.length));
      if (!agrees) hits[at] &= ~(left & -left);
    }
  }
}

/* ---- a list ---- */

static uint32_t hash_of(uint64_t word, size_t length) {
  return (uint32_t)((word ^ length * UINT64_C(0xd6e8feb86659fd93)) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - HASH_BITS));
}

void text_filter_prepare(CodecFilter *f, void *scratch) {
  const Compare *c = f->compare;
  uint64_t *members = scratch;
  if (f->kind != COMPARE_KIND_SET) return;
  f->members = members;
  bool many = c->set_count >> (HASH_BITS - 1); /* would take half of the bits, or more */
  memset(members, many ? 0xff : 0, CODEC_FILTER_SCRATCH);
  if (many) return;
  for (uint32_t i = 0; i < c->set_count; i++)
    bit_set(members, hash_of(constant_word(c->strings[i], true), c->strings[i].length));
}

static bool may_be_member(const uint64_t *members, Bytes text) {
  uint64_t word = text.length >= WORD ? load_u64(text.data + text.length - WORD)
                                      : load_u64(text.data) & simd_width_mask(8 * (unsigned)text.length);
  return bit_get(members, hash_of(word, text.length));
}

static bool set_has(const CodecFilter *f, Bytes text) {
  return may_be_member(f->members, text) && compare_bytes(f->compare, text) != f->negated;
}

/* ---- a range ---- */

typedef struct Heads {
  uint64_t low, high;
} Heads;

static Heads heads_of(const Compare *c) {
  return (Heads){ c->low_missing ? 0 : bytes_prefix64(c->low_bytes.data, c->low_bytes.length),
                  c->high_missing ? UINT64_MAX : bytes_prefix64(c->high_bytes.data, c->high_bytes.length) };
}

static bool range_has(const CodecFilter *f, const Heads *heads, Bytes text) {
  uint64_t head = load_u64_big_endian(text.data);
  if (text.length < WORD) head &= ~(UINT64_MAX >> (8 * text.length));
  if (head < heads->low || head > heads->high) return false;
  if (head > heads->low && head < heads->high) return true;
  return compare_bytes(f->compare, text) != f->negated;
}

/* ---- all of them ---- */

static void keep_one_by_one(const CodecFilter *f, const Texts *t, uint64_t hits[BLOCK_WORDS]) {
  Heads heads = heads_of(f->compare);
  bool is_set = f->kind == COMPARE_KIND_SET;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t left = hits[w]; left; left &= left - 1) {
      Bytes text = text_at(t, w * 64 + (uint32_t)__builtin_ctzll(left));
      if (!(is_set ? set_has(f, text) : range_has(f, &heads, text))) hits[w] &= ~(left & -left);
    }
  }
}

void text_filter(const CodecFilter *f, const uint8_t *offsets, const uint8_t *bytes, uint32_t rows,
                 uint64_t mask[BLOCK_WORDS]) {
  Texts texts = { offsets, bytes, rows };
  uint64_t hits[BLOCK_WORDS];
  bool is_prefix = f->kind == COMPARE_KIND_PREFIX;
  bitmap_fill_first(hits, BLOCK_WORDS, rows);
  mask_and_words(hits, mask);
  if (is_prefix || compare_is_equality(f->compare)) {
    Wanted wanted = wanted_of(f->compare->low_bytes, is_prefix);
    keep_wanted(&texts, &wanted, hits);
  } else {
    keep_one_by_one(f, &texts, hits);
  }
  for (unsigned w = 0; w < BLOCK_WORDS; w++) mask[w] = f->negated ? mask[w] & ~hits[w] : hits[w];
}
