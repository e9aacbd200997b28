/* join_sieve.c - which rows of a block have a partner. */
#include "query/join_sieve.h"

#include "base/counters.h"

enum {
  FEW_ROWS = 64,          /* are looked up one by one */
  WATCHED_ONE_IN = 16,    /* blocks, while a sieve rests */
  WATCHED_ROWS = 1 << 16, /* after so many, what was before counts half */
  WORTH_ONE_IN = 8,       /* rows that are left out */
};

uint32_t join_mask_rows(const uint64_t mask[BLOCK_WORDS], uint16_t rows[BLOCK_ROWS]) {
  uint32_t count = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++)
    for (uint64_t word = mask[w]; word; word &= word - 1)
      rows[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
  return count;
}

/* ---- life ---- */

Status join_sieve_create(JoinSieve *s, const JoinTable *table, JoinStep *step, const Schema *schema, uint32_t first,
                         Arena *arena) {
  *s = (JoinSieve){ .table = table, .step = step, .keeps_partners = step->kind != JOIN_ANTI };
  s->keys.count = step->count;
  for (size_t k = 0; k < step->count; k++) {
    s->keys.domains[k] = step->domains[k];
    s->keys.columns[k] = step->left[k] - first;
    s->keys.types[k] = schema->columns[step->left[k]].type;
  }
  s->is_plain = join_keys_are_plain(&s->keys);
  return join_keys_create(&s->keys, arena);
}

/* ---- a block ---- */

/* Images of these types are their words. */
static bool zone_has_none(const JoinSieve *s, Scan *scan, uint32_t block) {
  int64_t low, high;
  if (!join_sieve_is_side_by_side(s) || s->keys.domains[0] != JOIN_SIGNED) return false;
  if (!scan_block_zone(scan, s->keys.columns[0], block, &low, &high)) return false;
  return !join_table_has_between(s->table, low, high);
}

/* A block as words of 64 bits. Kernels read 1,024 of them, and arrays in place end with their rows. */
static Status read_words(JoinSieve *s, Scan *scan, uint32_t block, const uint64_t *mask, ColumnArray *out) {
  JoinKeys *keys = &s->keys;
  ColumnType storage = type_storage(keys->types[0]);
  if (scan_block_rows(scan_selection(scan)->unit, block) == BLOCK_ROWS) {
    TRY(scan_block_view(scan, keys->columns[0], block, mask, keys->values, keys->nulls, out));
  } else {
    TRY(scan_read_block(scan, keys->columns[0], block, keys->values, keys->nulls));
    *out = (ColumnArray){ keys->values, keys->nulls };
  }
  if (storage == TYPE_I64 || storage == TYPE_U64) return KVSTORE_OK;
  simd_kernels()->widen_i64[storage - TYPE_I8 + SIMD_I8](out->values, BLOCK_ROWS, (int64_t *)(void *)keys->words[0]);
  out->values = keys->words[0];
  return KVSTORE_OK;
}

static Status keep_side_by_side(JoinSieve *s, Scan *scan, uint32_t block, uint64_t *partners) {
  const SimdKernels *k = simd_kernels();
  ColumnArray words;
  TRY(read_words(s, scan, block, partners, &words));
  if (words.nulls) k->range[8](words.nulls, 0, 0, 0, partners);
  k->member64(words.values, &s->table->set, 0, partners);
  s->words = words.values;
  simd_count(k, 1);
  COUNT(joins_left_out_side_by_side);
  return KVSTORE_OK;
}

static Status keep_found(JoinSieve *s, Scan *scan, uint32_t block, uint64_t *partners) {
  uint16_t rows[BLOCK_ROWS];
  uint32_t count = join_mask_rows(partners, rows);
  TRY(join_keys_read(&s->keys, scan, block, rows, count));
  join_table_find(s->table, &s->keys, count);
  for (uint32_t i = 0; i < count; i++)
    if (join_table_match(s->table, &s->keys, i, s->keys.first[i]) == JOIN_NO_ROW)
      partners[rows[i] / 64] &= ~(UINT64_C(1) << (rows[i] % 64));
  return KVSTORE_OK;
}

static Status keep_partners(JoinSieve *s, Scan *scan, uint32_t block, uint64_t count, uint64_t *partners) {
  if (zone_has_none(s, scan, block)) {
    memset(partners, 0, BLOCK_WORDS * sizeof *partners);
    COUNT(joins_blocks_left_out);
    return KVSTORE_OK;
  }
  if (join_sieve_is_side_by_side(s) && count > FEW_ROWS) return keep_side_by_side(s, scan, block, partners);
  return keep_found(s, scan, block, partners);
}

static bool rests(JoinSieve *s) {
  bool is_watched = s->blocks++ % WATCHED_ONE_IN == 0 || s->rows_in < WATCHED_ROWS / 2;
  return s->may_rest && !is_watched && s->rows_out > s->rows_in - s->rows_in / WORTH_ONE_IN;
}

static void note(JoinSieve *s, uint64_t rows_in, uint64_t rows_out) {
  if (s->rows_in > WATCHED_ROWS) {
    s->rows_in /= 2;
    s->rows_out /= 2;
  }
  s->rows_in += rows_in;
  s->rows_out += rows_out;
  COUNT_MANY(joins_left_out, rows_in - rows_out);
  atomic_fetch_add_explicit(&s->step->left_out, rows_in - rows_out, memory_order_relaxed);
}

Status join_sieve_block(JoinSieve *s, Scan *scan, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const SimdKernels *k = simd_kernels();
  uint64_t partners[BLOCK_WORDS], count = k->mask_count(mask, BLOCK_WORDS);
  s->words = NULL;
  if (!count || rests(s)) return KVSTORE_OK;
  memcpy(partners, mask, sizeof partners);
  TRY(keep_partners(s, scan, block, count, partners));
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) mask[w] = s->keeps_partners ? partners[w] : mask[w] & ~partners[w];
  note(s, count, k->mask_count(mask, BLOCK_WORDS));
  return KVSTORE_OK;
}
