/* group_results.c - what groups come to: one by one, and many at once as arrays. */
#include "query/groups_internal.h"
#include "query/query_internal.h"

Status groups_more(Groups *g, bool *more) {
  *more = false;
  return g->spill ? group_spill_more(g, more) : KVSTORE_OK;
}

bool groups_await(const Groups *g) { return g->spill || g->quantiles.count; }
uint64_t groups_spilled(const Groups *g) { return g->spill ? group_spill_bytes(g->spill) : 0; }

uint32_t groups_next(const Groups *g, uint32_t *at, uint32_t most, uint32_t *numbers) {
  uint32_t count = 0, slots = group_slots_by_ids(g) ? 0 : g->slots.count;
  for (; *at < slots && count < most; ++*at) numbers[count++] = *at;
  for (; *at < g->slots.count && count < most; ++*at) {
    if (!group_slots_is_empty(g, *at)) numbers[count++] = *at;
  }
  for (; *at < g->state_count && count < most; ++*at) {
    if (g->key_count == 0 || group_state(g, *at)[GROUP_ROWS].u) numbers[count++] = *at;
  }
  return count;
}

Value groups_key(const Groups *g, uint32_t number, size_t key) {
  if (g->slots.mode == SLOTS_DIGITS) return key_column_value(&g->keys[key], group_slots_id(g, number, key));
  if (group_slots_in_use(g) && !group_slots_by_ids(g))
    return group_image_value(g->keys[key].type, group_slots_image(g, number));
  for (size_t k = g->key_count - 1; k > key; k--) number = (uint32_t)(g->pairs[k].words[number] >> 32);
  return key_column_value(&g->keys[key], key ? (uint32_t)g->pairs[key].words[number] : number);
}

static AggregateResult slots_result(const Groups *g, uint32_t number, size_t request) {
  GroupWord state[GROUP_SLOTS_STATE_WORDS];
  group_slots_state(g, number, state);
  return group_result(&g->columns[g->request_columns[request]], g->requests[request].kind, state);
}

AggregateResult groups_result(const Groups *g, uint32_t number, size_t request) {
  if (group_slots_in_use(g)) return slots_result(g, number, request);
  if (g->requests[request].kind == AGGREGATE_QUANTILE)
    return group_quantile(g->columns[g->request_columns[request]].type,
                          group_state(g, number) + g->request_words[request]);
  return group_result(&g->columns[g->request_columns[request]], g->requests[request].kind, group_state(g, number));
}

/* ---- results, many at once ---- */

/* Numbers of groups to ids of one of their keys. */
static void key_ids(const Groups *g, const uint32_t *numbers, uint32_t count, size_t key, uint32_t *ids) {
  memcpy(ids, numbers, count * sizeof *ids);
  for (size_t k = g->key_count - 1; k > key; k--) {
    for (uint32_t i = 0; i < count; i++) ids[i] = (uint32_t)(g->pairs[k].words[ids[i]] >> 32);
  }
  for (uint32_t i = 0; key && i < count; i++) ids[i] = (uint32_t)g->pairs[key].words[ids[i]];
}

static bool integer_array(ColumnType type, const uint64_t *words, uint32_t count, void *values) {
#define NARROW(T)                                                      \
  for (uint32_t i = 0; i < count; i++) ((T *)values)[i] = (T)words[i]; \
  return true
  switch (type_array_width(type)) {
  case 1: NARROW(uint8_t);
  case 2: NARROW(uint16_t);
  case 4: NARROW(uint32_t);
  default: NARROW(uint64_t);
  }
#undef NARROW
}

bool groups_keys(const Groups *g, const uint32_t *numbers, uint32_t count, size_t key, void *values, uint8_t *nulls) {
  const KeyColumn *column = &g->keys[key];
  uint64_t words[BLOCK_ROWS]; /* not the groups': several threads ask at once */
  uint32_t ids[BLOCK_ROWS];
  if (type_is_float(column->type)) return false;
  uint64_t bias = column->type == TYPE_U64 ? UINT64_C(1) << 63 : 0;
  bool has_ids = g->slots.mode == SLOTS_DIGITS;
  if (group_slots_in_use(g) && !has_ids && !group_slots_by_ids(g)) {
    memset(nulls, 0, count);
    group_slots_images(g, numbers, count, words);
    for (uint32_t i = 0; bias && i < count; i++) words[i] ^= bias;
    return integer_array(column->type, words, count, values);
  }
  if (!has_ids) key_ids(g, numbers, count, key, ids);
  for (uint32_t i = 0; has_ids && i < count; i++) ids[i] = group_slots_id(g, numbers[i], key);
  for (uint32_t i = 0; i < count; i++) nulls[i] = ids[i] == 0;
  if (type_is_string(column->type)) {
    for (uint32_t i = 0; i < count; i++)
      ((Bytes *)values)[i] = ids[i] ? column->strings.strings[ids[i] - 1] : (Bytes){ NULL, 0 };
    return true;
  }
  for (uint32_t i = 0; i < count; i++) words[i] = ids[i] ? column->numbers.words[ids[i] - 1] ^ bias : 0;
  return integer_array(column->type, words, count, values);
}

static void sums_of(const Groups *g, const GroupColumn *c, const uint32_t *numbers, uint32_t count, Int128 *values,
                    uint8_t *nulls) {
  for (uint32_t i = 0; i < count; i++) {
    const GroupWord *state = group_state(g, numbers[i]);
    nulls[i] = group_column_count(c, state) == 0;
    values[i] = (Int128){ state[c->sum].u, state[c->sum + 1].i };
  }
}

bool groups_results(const Groups *g, const uint32_t *numbers, uint32_t count, size_t request, void *values,
                    uint8_t *nulls) {
  const GroupColumn *c = &g->columns[g->request_columns[request]];
  AggregateKind kind = g->requests[request].kind;
  if (kind == AGGREGATE_TOTAL && !type_is_float(c->type) && c->type != TYPE_U64) {
    if (group_slots_in_use(g))
      group_slots_sums(g, numbers, count, (size_t)(c - g->columns), values, nulls);
    else
      sums_of(g, c, numbers, count, values, nulls);
    return true;
  }
  bool is_rows = kind == AGGREGATE_ROWS || (kind == AGGREGATE_VALUES && !c->nullable);
  if (!is_rows && kind != AGGREGATE_VALUES) return false;
  uint32_t at = is_rows ? GROUP_ROWS : c->count;
  size_t column = is_rows ? GROUP_SLOTS_ROWS : (size_t)(c - g->columns);
  if (group_slots_in_use(g))
    group_slots_counts(g, numbers, count, column, values);
  else
    for (uint32_t i = 0; i < count; i++) ((uint64_t *)values)[i] = group_state(g, numbers[i])[at].u;
  memset(nulls, 0, count);
  return true;
}
