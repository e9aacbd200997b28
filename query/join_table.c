/* join_table.c - keys to words, rows to slots. */
#include "query/join_table.h"

#include "base/counters.h"
#include "base/decimal.h"
#include "base/hash.h"
#include "base/memory.h"
#include "encodings/pair.h"

enum {
  DIRECT_WORDS_A_ROW = 8,      /* at most so many numbers a row, where each word has its own */
  BITS_MAX = 32 * 1024 * 1024, /* words that have a bit each: 4 MiB */
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

static uint64_t mix(uint64_t word) {
  word *= UINT64_C(0x9E3779B97F4A7C15);
  return word ^ word >> 32;
}

Status join_keys_read(JoinKeys *keys, Scan *scan, uint32_t block, const uint16_t *rows, uint32_t count) {
  memset(keys->valid, 1, count);
  for (size_t k = 0; k < keys->count; k++) {
    TRY(scan_read_block(scan, keys->columns[k], block, keys->values, keys->nulls));
    column_words(keys, k, rows, count);
  }
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
  memory_release(t->direct);
  memory_release(t->bits);
  memory_release(t->next);
  t->slots = NULL;
  t->direct = NULL;
  t->bits = NULL;
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
  }
  arena_release(&t->text);
  t->row_count = t->capacity = 0;
}

static Status resize(void *array, size_t count, size_t size) {
  void **place = array;
  void *larger = memory_reallocate(*place, memory_array_size(count, size));
  if (!larger) return status_nomem();
  *place = larger;
  return KVSTORE_OK;
}

static Status reserve(JoinTable *t, uint32_t more) {
  uint64_t needed = (uint64_t)t->row_count + more, capacity = t->capacity ? t->capacity : BLOCK_ROWS;
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
  return text->data ? KVSTORE_OK : status_nomem();
}

static Status add_payload(JoinTable *t, JoinPayload *p, Scan *scan, uint32_t block, const uint16_t *rows,
                          uint32_t count, void *values, uint8_t *nulls) {
  TRY(scan_read_block(scan, p->column, block, values, nulls));
  for (uint32_t i = 0; i < count; i++) {
    size_t at = t->row_count + i;
    p->nulls[at] = nulls[rows[i]];
    memcpy(p->values + at * p->width, (const uint8_t *)values + rows[i] * p->width, p->width);
    if (type_is_string(p->type) && !p->nulls[at]) TRY(keep_text(t, &((Bytes *)(void *)p->values)[at]));
  }
  return KVSTORE_OK;
}

Status join_table_add(JoinTable *t, const JoinKeys *keys, Scan *scan, uint32_t block, const uint16_t *rows,
                      uint32_t count) {
  uint16_t kept[BLOCK_ROWS];
  uint32_t n = 0;
  TRY(reserve(t, count));
  for (uint32_t i = 0; i < count; i++) {
    if (!keys->valid[i]) continue;
    size_t at = t->row_count + n;
    for (size_t k = 0; k < keys->count; k++) {
      t->words[k][at] = keys->words[k][i];
      if (!keys->texts[k]) continue;
      t->texts[k][at] = keys->texts[k][i];
      TRY(keep_text(t, &t->texts[k][at]));
    }
    if (t->hashes) t->hashes[at] = keys->hashes[i];
    kept[n++] = rows[i];
  }
  for (size_t i = 0; i < t->payload_count; i++)
    TRY(add_payload(t, &t->payload[i], scan, block, kept, n, keys->values, keys->nulls));
  t->row_count += n;
  return KVSTORE_OK;
}

uint64_t join_table_bytes(const JoinTable *t) {
  uint64_t row = sizeof *t->next + 2 * sizeof *t->slots + (is_one_word(t->keys) ? 0 : sizeof *t->hashes);
  for (size_t k = 0; k < t->keys->count; k++) row += sizeof(uint64_t) + (t->keys->texts[k] ? sizeof(Bytes) : 0);
  for (size_t i = 0; i < t->payload_count; i++) row += t->payload[i].width + 1;
  return t->row_count * row + t->text.bytes_held;
}

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

/* Rows go in from the last to the first, so that those of one key come out in their order. */
static Status index_direct(JoinTable *t) {
  t->direct = memory_allocate(memory_array_size(t->range + 1, sizeof *t->direct));
  if (!t->direct) return status_nomem();
  memset(t->direct, 0xff, (t->range + 1) * sizeof *t->direct);
  for (uint32_t i = t->row_count; i-- > 0;) {
    uint32_t *first = &t->direct[t->words[0][i] - t->least];
    t->next[i] = *first;
    t->is_unique &= *first == JOIN_NO_ROW;
    *first = i;
  }
  COUNT(joins_direct);
  return KVSTORE_OK;
}

static Status index_slots(JoinTable *t) {
  for (t->slot_bits = 4; (UINT64_C(1) << t->slot_bits) < 2 * (uint64_t)t->row_count;) t->slot_bits++;
  size_t count = (size_t)1 << t->slot_bits;
  t->slots = memory_allocate(memory_array_size(count, sizeof *t->slots));
  if (!t->slots) return status_nomem();
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
  return KVSTORE_OK;
}

static Status index_bits(JoinTable *t) {
  t->bits = memory_allocate_zeroed((size_t)(t->range / 64 + 1) * sizeof *t->bits);
  if (!t->bits) return status_nomem();
  for (uint32_t i = 0; i < t->row_count; i++) {
    uint64_t at = t->words[0][i] - t->least;
    t->bits[at / 64] |= UINT64_C(1) << (at % 64);
  }
  return KVSTORE_OK;
}

static Status make_index(JoinTable *t) {
  if (is_one_word(t->keys)) measure(t);
  bool is_one = is_one_word(t->keys) && t->row_count;
  if (is_one && t->range / DIRECT_WORDS_A_ROW < t->row_count) return index_direct(t);
  /* A table's bits take no more than its rows. */
  if (is_one && t->range < BITS_MAX && t->range / 64 < 4 * (uint64_t)t->row_count + 64) TRY(index_bits(t));
  return index_slots(t);
}

Status join_table_index(JoinTable *t) {
  index_release(t);
  t->next = memory_allocate(memory_array_size((size_t)t->row_count + 1, sizeof *t->next));
  if (!t->next) return status_nomem();
  t->is_unique = true;
  TRY(make_index(t));
  if (t->is_unique) COUNT(joins_unique);
  return KVSTORE_OK;
}

/* ---- asking ---- */

static void find_direct(const JoinTable *t, JoinKeys *keys, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    uint64_t at = keys->words[0][i] - t->least;
    bool is_in = keys->valid[i] && at <= t->range;
    keys->first[i] = is_in ? t->direct[at] : JOIN_NO_ROW;
  }
}

static uint32_t find_slot(const JoinTable *t, uint64_t hash) {
  size_t mask = ((size_t)1 << t->slot_bits) - 1, at = slot_of(t, hash);
  while (t->slots[at].first != JOIN_NO_ROW && t->slots[at].word != hash) at = (at + 1) & mask;
  return t->slots[at].first;
}

/* Bits first; then the slots of what is left, all of them fetched before the first is looked at. */
static void find_hashed(const JoinTable *t, JoinKeys *keys, uint32_t count) {
  uint16_t left[BLOCK_ROWS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t at = keys->hashes[i] - t->least;
    bool maybe = keys->valid[i];
    if (t->bits) maybe = maybe && at <= t->range && (t->bits[at / 64] >> (at % 64) & 1);
    keys->first[i] = JOIN_NO_ROW;
    left[n] = (uint16_t)i;
    n += maybe;
  }
  if (t->slot_bits > 14)
    for (uint32_t i = 0; i < n; i++) __builtin_prefetch(&t->slots[slot_of(t, keys->hashes[left[i]])]);
  for (uint32_t i = 0; i < n; i++) keys->first[left[i]] = find_slot(t, keys->hashes[left[i]]);
}

void join_table_find(const JoinTable *t, JoinKeys *keys, uint32_t count) {
  if (t->direct)
    find_direct(t, keys, count);
  else
    find_hashed(t, keys, count);
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
