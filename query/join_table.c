/* join_table.c - keys to words, rows to slots. */
#include "query/join_table.h"

#include "base/counters.h"
#include "base/decimal.h"
#include "base/hash.h"
#include "base/memory.h"
#include "encodings/array.h"
#include "encodings/pair.h"

enum {
  SPAN_A_ROW = 128, /* words that have a bit each lie at most so far apart: a bit and a half for each of them */
  WORD_BYTES = sizeof(uint64_t) + sizeof(uint32_t), /* of bits, and what stands before them */
  BLOOM_SLOT_BITS = 14,                             /* more slots are more than the nearest caches hold */
  BLOOM_FAR_BITS = 17,                              /* words beyond 1 MiB are asked for before they are looked at */
  BLOOM_WATCHED = 1 << 13,
  BETWEEN_WORDS_MAX = 1024,
  FEW_ROWS = 64,       /* of a block, which are read one by one */
  TEXT_ALIGNMENT = 16, /* of an arena */
  TEXT_BLOCK = 1 << 20,
};

/* ---- words ---- */

bool join_domain(ColumnType a, ColumnType b, JoinDomain *domain) {
  unsigned a_scale = type_scale(a), b_scale = type_scale(b);
  *domain = JOIN_SIGNED;
  if (!pair_types_compare(a, b)) return false;
  if (type_is_string(a)) {
    *domain = JOIN_TEXT;
  } else if (type_is_date(a)) {
    if (a != b) *domain = JOIN_MICROSECONDS; /* which dates far away have none of: no timestamp equals them */
  } else if (type_is_float(a) && type_is_float(b)) {
    *domain = JOIN_FLOAT;
  } else if (type_is_decimal(a) || type_is_decimal(b)) {
    if (a != b) *domain = (JoinDomain)(JOIN_DECIMAL + (a_scale > b_scale ? a_scale : b_scale));
  } else if (a == TYPE_U64 || b == TYPE_U64) {
    *domain = JOIN_UNSIGNED;
  }
  return true;
}

/* The integer that a float is; false: none of the domain. */
static bool float_word(double f, bool is_unsigned, uint64_t *word) {
  if (is_unsigned) {
    if (!(f >= 0 && f < 0x1p64)) return false;
    *word = (uint64_t)f;
    return (double)*word == f;
  }
  if (!(f >= -0x1p63 && f < 0x1p63)) return false;
  *word = (uint64_t)(int64_t)f;
  return (double)(int64_t)f == f;
}

/* In units of a decimal. What is no whole number of them, or more than any decimal has, equals none. */
static bool decimal_word(unsigned scale, const Value *v, uint64_t *word) {
  unsigned own_scale;
  Place place;
  if (type_is_float(v->type)) {
    place = decimal_place_of_double(v->f, scale);
  } else {
    Wide units = decimal_of(v, &own_scale);
    place = decimal_place(units, own_scale, scale);
  }
  *word = (uint64_t)place.floor;
  return place.floor == place.ceiling && place.floor >= INT64_MIN && place.floor <= INT64_MAX;
}

static bool value_word(JoinDomain domain, ColumnType type, const void *values, uint32_t row, uint64_t *word) {
  Value v = value_from_array(type, values, row);
  if (domain == JOIN_FLOAT) {
    *word = (uint64_t)float_image(v.f);
    return true;
  }
  if (domain >= JOIN_DECIMAL) return decimal_word((unsigned)domain - JOIN_DECIMAL, &v, word);
  if (type_is_float(type)) return float_word(v.f, domain == JOIN_UNSIGNED, word);
  if (domain == JOIN_MICROSECONDS && type == TYPE_DATE) {
    int64_t product;
    bool fits = !__builtin_mul_overflow(v.i, INT64_C(86400000000), &product);
    *word = (uint64_t)product;
    return fits;
  }
  *word = v.u;
  return domain != JOIN_UNSIGNED || !type_is_signed(type) || v.i >= 0;
}

/* Integers of the common widths, a loop each. */
static bool integer_words(const JoinKeys *keys, size_t k, const uint16_t *rows, uint32_t count) {
  uint64_t *out = keys->words[k];
  if (keys->domains[k] != JOIN_SIGNED) return false;
#define WIDEN(T)                                                                                       \
  for (uint32_t i = 0; i < count; i++) out[i] = (uint64_t)(int64_t)((const T *)keys->values)[rows[i]]; \
  return true
  switch (type_storage(keys->types[k])) {
  case TYPE_I8: WIDEN(int8_t);
  case TYPE_I16: WIDEN(int16_t);
  case TYPE_I32: WIDEN(int32_t);
  case TYPE_I64: WIDEN(int64_t);
  case TYPE_U8: WIDEN(uint8_t);
  case TYPE_U16: WIDEN(uint16_t);
  case TYPE_U32: WIDEN(uint32_t);
  default: return false;
  }
#undef WIDEN
}

static void column_words(JoinKeys *keys, size_t k, const uint16_t *rows, uint32_t count) {
  if (keys->texts[k]) {
    for (uint32_t i = 0; i < count; i++) {
      Bytes text = keys->nulls[rows[i]] ? (Bytes){ 0 } : ((const Bytes *)keys->values)[rows[i]];
      keys->texts[k][i] = text;
      keys->words[k][i] = hash_key(text.data, text.length);
    }
  } else if (!integer_words(keys, k, rows, count)) {
    for (uint32_t i = 0; i < count; i++)
      if (!keys->nulls[rows[i]])
        keys->valid[i] &= value_word(keys->domains[k], keys->types[k], keys->values, rows[i], &keys->words[k][i]);
  }
  for (uint32_t i = 0; i < count; i++) keys->valid[i] &= !keys->nulls[rows[i]];
}

static bool is_one_word(const JoinKeys *keys) { return keys->count == 1 && keys->domains[0] != JOIN_TEXT; }

bool join_keys_are_plain(const JoinKeys *keys) {
  ColumnType storage = type_storage(keys->types[0]);
  if (keys->count != 1 || storage < TYPE_I8 || storage > TYPE_U64) return false;
  if (keys->domains[0] == JOIN_SIGNED) return true;
  if (keys->domains[0] == JOIN_UNSIGNED) return !type_is_signed(keys->types[0]);
  return keys->domains[0] == JOIN_MICROSECONDS && keys->types[0] == TYPE_TIMESTAMP;
}

static uint64_t mix(uint64_t word) {
  word *= UINT64_C(0x9E3779B97F4A7C15);
  return word ^ word >> 32;
}

/* Few rows come side by side. */
static Status read_column(JoinKeys *keys, size_t k, Scan *scan, uint32_t block, const uint16_t *rows, uint32_t count) {
  uint16_t of_unit[FEW_ROWS], places[FEW_ROWS];
  if (count > FEW_ROWS || keys->texts[k] || type_is_string(keys->types[k])) {
    TRY(scan_read_block(scan, keys->columns[k], block, keys->values, keys->nulls));
    column_words(keys, k, rows, count);
    return KVSTORE_OK;
  }
  for (uint32_t i = 0; i < count; i++) {
    of_unit[i] = (uint16_t)(block * BLOCK_ROWS + rows[i]);
    places[i] = (uint16_t)i;
  }
  TRY(scan_gather(scan, keys->columns[k], of_unit, count, keys->values, keys->nulls));
  column_words(keys, k, places, count);
  return KVSTORE_OK;
}

Status join_keys_read(JoinKeys *keys, Scan *scan, uint32_t block, const uint16_t *rows, uint32_t count) {
  memset(keys->valid, 1, count);
  for (size_t k = 0; k < keys->count; k++) TRY(read_column(keys, k, scan, block, rows, count));
  if (is_one_word(keys)) return KVSTORE_OK;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t hash = 0;
    for (size_t k = 0; k < keys->count; k++) hash = mix(hash + keys->words[k][i] + k);
    keys->hashes[i] = hash;
  }
  return KVSTORE_OK;
}

Status join_keys_create(JoinKeys *keys, Arena *arena) {
  for (size_t k = 0; k < keys->count; k++) {
    bool is_text = keys->domains[k] == JOIN_TEXT;
    keys->words[k] = arena_allocate_aligned(arena, 64, BLOCK_ROWS * sizeof *keys->words[k]);
    keys->texts[k] = is_text ? arena_allocate(arena, BLOCK_ROWS * sizeof *keys->texts[k]) : NULL;
    if (!keys->words[k] || (is_text && !keys->texts[k])) return status_nomem();
  }
  keys->hashes = is_one_word(keys) ? keys->words[0] : arena_allocate(arena, BLOCK_ROWS * sizeof *keys->hashes);
  keys->valid = arena_allocate(arena, BLOCK_ROWS);
  keys->first = arena_allocate(arena, BLOCK_ROWS * sizeof *keys->first);
  keys->values = arena_allocate_aligned(arena, 64, BLOCK_ROWS * sizeof(Bytes));
  keys->nulls = arena_allocate_aligned(arena, 64, BLOCK_ROWS);
  return keys->hashes && keys->valid && keys->first && keys->values && keys->nulls ? KVSTORE_OK : status_nomem();
}

/* ---- rows ---- */

static void index_release(JoinTable *t) {
  memory_release(t->slots);
  join_bloom_release(&t->bloom);
  memory_release((uint64_t *)(uintptr_t)t->set.words);
  memory_release((uint32_t *)(uintptr_t)t->set.before);
  memory_release(t->first);
  memory_release(t->next);
  t->slots = NULL;
  t->set = (SimdSet){ 0 };
  t->first = NULL;
  t->next = NULL;
}

void join_table_release(JoinTable *t) {
  index_release(t);
  for (size_t k = 0; k < JOIN_COLUMNS_MAX; k++) {
    memory_release(t->words[k]);
    memory_release(t->texts[k]);
    t->words[k] = NULL;
    t->texts[k] = NULL;
  }
  memory_release(t->hashes);
  t->hashes = NULL;
  for (size_t i = 0; i < t->payload_count; i++) {
    memory_release(t->payload[i].values);
    memory_release(t->payload[i].nulls);
    t->payload[i].values = t->payload[i].nulls = NULL;
    t->payload[i].has_nulls = false;
  }
  arena_release(&t->text);
  t->text_bytes = 0;
  t->row_count = t->capacity = 0;
}

static Status resize(void *array, size_t count, size_t size) {
  void **place = array;
  void *larger = memory_reallocate(*place, memory_array_size(count, size));
  if (!larger) return status_nomem();
  *place = larger;
  return KVSTORE_OK;
}

Status join_table_reserve(JoinTable *t, uint64_t more) {
  uint64_t needed = t->row_count + more, capacity = t->capacity ? t->capacity : BLOCK_ROWS;
  if (needed > UINT32_MAX / 2) return status_fail(KVSTORE_LIMIT, "a join with more than two billion rows at once");
  while (capacity < needed) capacity *= 2;
  if (capacity == t->capacity) return KVSTORE_OK;
  for (size_t k = 0; k < t->keys->count; k++) {
    TRY(resize(&t->words[k], capacity, sizeof *t->words[k]));
    if (t->keys->texts[k]) TRY(resize(&t->texts[k], capacity, sizeof *t->texts[k]));
  }
  if (!is_one_word(t->keys)) TRY(resize(&t->hashes, capacity, sizeof *t->hashes));
  for (size_t i = 0; i < t->payload_count; i++) {
    TRY(resize(&t->payload[i].values, capacity, t->payload[i].width));
    TRY(resize(&t->payload[i].nulls, capacity, 1));
  }
  t->capacity = (uint32_t)capacity;
  return KVSTORE_OK;
}

static Status keep_text(JoinTable *t, Bytes *text) {
  if (!text->length) return KVSTORE_OK;
  text->data = arena_copy(&t->text, text->data, text->length);
  t->text_bytes += (text->length + TEXT_ALIGNMENT - 1) / TEXT_ALIGNMENT * TEXT_ALIGNMENT;
  return text->data ? KVSTORE_OK : status_nomem();
}

static Status add_payload(JoinTable *t, JoinPayload *p, Scan *scan, uint32_t block, const uint16_t *rows,
                          uint32_t count, void *values, uint8_t *nulls) {
  uint8_t *to = p->values + t->row_count * p->width, *to_nulls = p->nulls + t->row_count;
  TRY(scan_read_block(scan, p->column, block, values, nulls));
  array_gather(p->width, values, rows, count, to);
  array_gather(1, nulls, rows, count, to_nulls);
  p->has_nulls |= count && memchr(to_nulls, 1, count);
  for (uint32_t i = 0; i < count && type_is_string(p->type); i++)
    if (!to_nulls[i]) TRY(keep_text(t, &((Bytes *)(void *)to)[i]));
  return KVSTORE_OK;
}

static Status add_keys(JoinTable *t, const JoinKeys *keys, const uint16_t *from, uint32_t count) {
  size_t first = t->row_count;
  for (size_t k = 0; k < keys->count; k++) {
    for (uint32_t i = 0; i < count; i++) t->words[k][first + i] = keys->words[k][from[i]];
    for (uint32_t i = 0; i < count && keys->texts[k]; i++) {
      t->texts[k][first + i] = keys->texts[k][from[i]];
      TRY(keep_text(t, &t->texts[k][first + i]));
    }
  }
  for (uint32_t i = 0; i < count && t->hashes; i++) t->hashes[first + i] = keys->hashes[from[i]];
  return KVSTORE_OK;
}

Status join_table_add(JoinTable *t, const JoinKeys *keys, Scan *scan, uint32_t block, const uint16_t *rows,
                      uint32_t count) {
  uint16_t from[BLOCK_ROWS], kept[BLOCK_ROWS];
  uint32_t n = 0;
  TRY(join_table_reserve(t, count));
  for (uint32_t i = 0; i < count; i++) {
    from[n] = (uint16_t)i;
    kept[n] = rows[i];
    n += keys->valid[i] != 0;
  }
  TRY(add_keys(t, keys, from, n));
  for (size_t i = 0; i < t->payload_count; i++)
    TRY(add_payload(t, &t->payload[i], scan, block, kept, n, keys->values, keys->nulls));
  t->row_count += n;
  return KVSTORE_OK;
}

void join_table_copy(JoinTable *t, uint32_t at, const JoinTable *of, uint32_t first, uint32_t count) {
  for (size_t k = 0; k < t->keys->count; k++) {
    memcpy(t->words[k] + at, of->words[k] + first, count * sizeof *t->words[k]);
    if (t->texts[k]) memcpy(t->texts[k] + at, of->texts[k] + first, count * sizeof *t->texts[k]);
  }
  if (t->hashes) memcpy(t->hashes + at, of->hashes + first, count * sizeof *t->hashes);
  for (size_t i = 0; i < t->payload_count; i++) {
    size_t width = t->payload[i].width;
    memcpy(t->payload[i].values + at * width, of->payload[i].values + first * width, count * width);
    memcpy(t->payload[i].nulls + at, of->payload[i].nulls + first, count);
  }
}

Status join_table_copy_texts(JoinTable *t, uint32_t at, uint32_t count) {
  uint64_t bytes = t->text_bytes; /* they are counted when they are taken over */
  for (size_t k = 0; k < t->keys->count; k++)
    for (uint32_t i = 0; i < count && t->keys->texts[k]; i++) TRY(keep_text(t, &t->texts[k][at + i]));
  for (size_t i = 0; i < t->payload_count; i++) {
    const JoinPayload *p = &t->payload[i];
    Bytes *texts = (Bytes *)(void *)(p->values + at * p->width);
    for (uint32_t r = 0; r < count && type_is_string(p->type); r++)
      if (!p->nulls[at + r]) TRY(keep_text(t, &texts[r]));
  }
  t->text_bytes = bytes;
  return KVSTORE_OK;
}

void join_table_take_over(JoinTable *t, JoinTable *of, uint32_t rows, uint64_t text_bytes) {
  for (size_t i = 0; i < t->payload_count; i++) t->payload[i].has_nulls |= of->payload[i].has_nulls;
  t->row_count += rows;
  t->text_bytes += text_bytes;
  if (rows == of->row_count) arena_take(&t->text, &of->text);
}

uint64_t join_table_row_bytes(const JoinTable *t) {
  uint64_t row = sizeof *t->next + 2 * sizeof *t->slots + (is_one_word(t->keys) ? 0 : sizeof *t->hashes);
  for (size_t k = 0; k < t->keys->count; k++) row += sizeof(uint64_t) + (t->keys->texts[k] ? sizeof(Bytes) : 0);
  for (size_t i = 0; i < t->payload_count; i++) row += t->payload[i].width + 1;
  return row;
}

/* As blocks of one arena would have it, whoever has put them where. */
static uint64_t text_blocks(uint64_t bytes) {
  if (bytes > TEXT_BLOCK) return (bytes + TEXT_BLOCK - 1) / TEXT_BLOCK * TEXT_BLOCK;
  return bytes ? UINT64_C(1) << (64 - __builtin_clzll(bytes)) : 0;
}

uint64_t join_table_bytes_with(const JoinTable *t, uint64_t rows, uint64_t text_bytes) {
  return (t->row_count + rows) * join_table_row_bytes(t) + text_blocks(t->text_bytes + text_bytes);
}

uint64_t join_table_bytes(const JoinTable *t) { return join_table_bytes_with(t, 0, 0); }

/* ---- the index ---- */

static const uint64_t *table_hashes(const JoinTable *t) { return t->hashes ? t->hashes : t->words[0]; }
static size_t slot_of(const JoinTable *t, uint64_t hash) {
  return (size_t)((hash * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - t->slot_bits));
}

static void measure(JoinTable *t) {
  uint64_t flip = t->keys->domains[0] == JOIN_UNSIGNED ? 0 : UINT64_C(1) << 63, least = UINT64_MAX, most = 0;
  for (uint32_t i = 0; i < t->row_count; i++) {
    uint64_t word = t->words[0][i] ^ flip;
    least = word < least ? word : least;
    most = word > most ? word : most;
  }
  t->least = least ^ flip;
  t->range = t->row_count ? most - least : 0;
}

/* The bits, and what stands before each word of them; whether a row's word is above that of the row before it, and
 * whether each is the only row of its word. */
static Status make_bits(JoinTable *t, bool *ascends) {
  size_t count = (size_t)(t->range / 64 + 1);
  uint64_t *bits = memory_allocate_zeroed(memory_array_size(count, sizeof *bits)), above = 0;
  uint32_t *before = memory_allocate(memory_array_size(count, sizeof *before)), ones = 0;
  t->set = (SimdSet){ t->least, t->range, bits, before };
  if (!bits || !before) return status_nomem();
  *ascends = true;
  for (uint32_t i = 0; i < t->row_count; i++) {
    uint64_t at = t->words[0][i] - t->least, bit = UINT64_C(1) << (at % 64);
    t->is_unique &= !(bits[at / 64] & bit);
    bits[at / 64] |= bit;
    *ascends &= at >= above;
    above = at + 1;
  }
  for (size_t w = 0; w < count; w++) {
    before[w] = ones;
    ones += (uint32_t)__builtin_popcountll(bits[w]);
  }
  return KVSTORE_OK;
}

/* Rows go in from the last to the first, so that those of one key come out in their order. */
static Status index_places(JoinTable *t) {
  uint32_t places[BLOCK_ROWS];
  t->first = memory_allocate(memory_array_size(t->row_count, sizeof *t->first));
  t->next = memory_allocate(memory_array_size(t->row_count, sizeof *t->next));
  if (!t->first || !t->next) return status_nomem();
  memset(t->first, 0xff, t->row_count * sizeof *t->first);
  for (uint32_t end = t->row_count, begin; end > 0; end = begin) {
    begin = end > BLOCK_ROWS ? end - BLOCK_ROWS : 0;
    simd_kernels()->place64(t->words[0] + begin, &t->set, end - begin, places);
    for (uint32_t i = end; i-- > begin;) {
      t->next[i] = t->first[places[i - begin]];
      t->first[places[i - begin]] = i;
    }
  }
  return KVSTORE_OK;
}

static Status index_bits(JoinTable *t) {
  bool ascends;
  COUNT(joins_direct);
  TRY(make_bits(t, &ascends));
  return ascends || t->is_set ? KVSTORE_OK : index_places(t);
}

static Status index_bloom(JoinTable *t, const uint64_t *hashes) {
  TRY(join_bloom_create(&t->bloom, t->row_count));
  for (uint32_t i = 0; i < t->row_count; i++) join_bloom_add(&t->bloom, hashes[i]);
  return KVSTORE_OK;
}

static Status index_slots(JoinTable *t) {
  for (t->slot_bits = 4; (UINT64_C(1) << t->slot_bits) < 2 * (uint64_t)t->row_count;) t->slot_bits++;
  size_t count = (size_t)1 << t->slot_bits;
  t->slots = memory_allocate(memory_array_size(count, sizeof *t->slots));
  t->next = memory_allocate(memory_array_size((size_t)t->row_count + 1, sizeof *t->next));
  if (!t->slots || !t->next) return status_nomem();
  for (size_t i = 0; i < count; i++) t->slots[i] = (JoinSlot){ 0, JOIN_NO_ROW };
  const uint64_t *hashes = table_hashes(t);
  for (uint32_t i = t->row_count; i-- > 0;) {
    size_t at = slot_of(t, hashes[i]);
    while (t->slots[at].first != JOIN_NO_ROW && t->slots[at].word != hashes[i]) at = (at + 1) & (count - 1);
    t->next[i] = t->slots[at].first;
    t->is_unique &= t->next[i] == JOIN_NO_ROW;
    t->slots[at] = (JoinSlot){ hashes[i], i };
  }
  COUNT(joins_hashed);
  return t->slot_bits > BLOOM_SLOT_BITS ? index_bloom(t, hashes) : KVSTORE_OK;
}

static Status make_index(JoinTable *t) {
  bool is_one = is_one_word(t->keys) && t->row_count;
  if (is_one_word(t->keys)) measure(t);
  uint64_t worth = (uint64_t)t->row_count * SPAN_A_ROW / 64 * WORD_BYTES;
  if (t->spare > worth) worth = t->spare;
  return is_one && t->range / 64 < worth / WORD_BYTES ? index_bits(t) : index_slots(t);
}

Status join_table_index(JoinTable *t) {
  index_release(t);
  t->is_unique = true;
  TRY(make_index(t));
  if (t->is_unique) COUNT(joins_unique);
  if (is_one_word(t->keys)) { /* its words are among the bits, or in the slots */
    memory_release(t->words[0]);
    t->words[0] = NULL;
  }
  return KVSTORE_OK;
}

/* ---- asking ---- */

static void find_places(const JoinTable *t, JoinKeys *keys, uint32_t count) {
  simd_kernels()->place64(keys->words[0], &t->set, count, keys->first);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t place = keys->valid[i] ? keys->first[i] : JOIN_NO_ROW;
    keys->first[i] = t->first && place != JOIN_NO_ROW ? t->first[place] : place;
  }
}

static uint32_t find_slot(const JoinTable *t, uint64_t hash) {
  size_t mask = ((size_t)1 << t->slot_bits) - 1, at = slot_of(t, hash);
  while (t->slots[at].first != JOIN_NO_ROW && t->slots[at].word != hash) at = (at + 1) & mask;
  return t->slots[at].first;
}

/* The valid keys that the filter lets through, as numbers. Where of late it held few back, all valid ones. */
static uint32_t ask_bloom(const JoinTable *t, JoinKeys *keys, uint32_t count, uint16_t *left) {
  uint64_t own[BLOCK_ROWS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < count; i++) own[i] = join_bloom_hash(keys->hashes[i]);
  if (t->bloom.bits > BLOOM_FAR_BITS)
    for (uint32_t i = 0; i < count; i++) __builtin_prefetch(join_bloom_word(&t->bloom, own[i]));
  for (uint32_t i = 0; i < count; i++) {
    left[n] = (uint16_t)i;
    n += keys->valid[i] && join_bloom_has(&t->bloom, own[i]);
  }
  keys->bloom_asked += count;
  keys->bloom_left += n;
  COUNT_MANY(joins_bloom_left_out, count - n);
  return n;
}

static uint32_t take_valid(const JoinKeys *keys, uint32_t count, uint16_t *left) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < count; i++) {
    left[n] = (uint16_t)i;
    n += keys->valid[i] != 0;
  }
  return n;
}

static bool bloom_pays(const JoinTable *t, const JoinKeys *keys) {
  if (!t->bloom.words) return false;
  return keys->bloom_asked < BLOOM_WATCHED || keys->bloom_left < keys->bloom_asked - keys->bloom_asked / 8;
}

/* The filter first; then the slots of what is left, all of them fetched before the first is looked at. */
static void find_hashed(const JoinTable *t, JoinKeys *keys, uint32_t count) {
  uint16_t left[BLOCK_ROWS] = { 0 };
  uint32_t n = bloom_pays(t, keys) ? ask_bloom(t, keys, count, left) : take_valid(keys, count, left);
  memset(keys->first, 0xff, count * sizeof *keys->first);
  if (t->slot_bits > BLOOM_SLOT_BITS)
    for (uint32_t i = 0; i < n; i++) __builtin_prefetch(&t->slots[slot_of(t, keys->hashes[left[i]])]);
  for (uint32_t i = 0; i < n; i++) keys->first[left[i]] = find_slot(t, keys->hashes[left[i]]);
}

void join_table_find(const JoinTable *t, JoinKeys *keys, uint32_t count) {
  if (t->set.words)
    find_places(t, keys, count);
  else
    find_hashed(t, keys, count);
}

/* In the words' own order the least one is the first of the bits, and the greatest the last. */
bool join_table_has_between(const JoinTable *t, int64_t low, int64_t high) {
  int64_t least = (int64_t)t->least, most = (int64_t)(t->least + t->range);
  if (low > most || high < least) return false;
  uint64_t from = low <= least ? 0 : (uint64_t)low - t->least, to = high >= most ? t->range : (uint64_t)high - t->least;
  uint64_t first = from / 64, last = to / 64;
  uint64_t head = UINT64_MAX << (from % 64), tail = UINT64_MAX >> (63 - to % 64);
  if (last - first > BETWEEN_WORDS_MAX) return true;
  if (first == last) return (t->set.words[first] & head & tail) != 0;
  bool any = (t->set.words[first] & head) || (t->set.words[last] & tail);
  for (uint64_t w = first + 1; w < last && !any; w++) any = t->set.words[w] != 0;
  return any;
}

static bool same_key(const JoinTable *t, const JoinKeys *keys, uint32_t i, uint32_t row) {
  for (size_t k = 0; k < keys->count; k++) {
    if (t->words[k][row] != keys->words[k][i]) return false;
    if (!keys->texts[k]) continue;
    Bytes a = t->texts[k][row], b = keys->texts[k][i];
    if (bytes_compare(a.data, a.length, b.data, b.length)) return false;
  }
  return true;
}

uint32_t join_table_match(const JoinTable *t, const JoinKeys *keys, uint32_t i, uint32_t row) {
  if (!t->hashes) return row;
  while (row != JOIN_NO_ROW && !same_key(t, keys, i, row)) row = t->next[row];
  return row;
}

bool join_table_ends(const JoinTable *t, ColumnType type, Value *least, Value *greatest) {
  if (!is_one_word(t->keys) || !t->row_count) return false;
  JoinDomain domain = t->keys->domains[0];
  ColumnType as = domain == JOIN_UNSIGNED ? TYPE_U64 : domain == JOIN_MICROSECONDS ? TYPE_TIMESTAMP : TYPE_I64;
  if (domain == JOIN_SIGNED && !type_is_number(type)) as = type;
  if (domain == JOIN_SIGNED && type_is_decimal(type)) as = type;
  if (domain >= JOIN_DECIMAL) as = type_decimal((unsigned)domain - JOIN_DECIMAL);
  if (domain == JOIN_FLOAT || type == TYPE_BOOL) return false;
  *least = (Value){ .type = as, .u = t->least };
  *greatest = (Value){ .type = as, .u = t->least + t->range };
  return true;
}
