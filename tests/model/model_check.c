#include "tests/model/model_check.h"
#include "tests/model/model_keys.h"

#include <string.h>

#include "base/memory.h"
#include "query/query.h"
#include "tests/support/test.h"

const ModelVersion *check_live(const ModelCheck *c, uint32_t slot, uint32_t key, uint64_t step, int64_t now) {
  const ModelVersion *v = model_row(c->model, slot, key, step);
  return v && v->expiry > now ? v : NULL;
}

static const ModelFamily *family(const ModelCheck *c, uint32_t slot) { return &c->model->families[slot]; }

/* Key numbers in the order of their keys. */
static uint32_t key_at(const ModelFamily *f, uint32_t place) { return f->order ? f->order[place] : place; }

static void check_values(const Value *actual, const Value *expected, size_t count) {
  for (size_t i = 0; i < count; i++) {
    CHECK_INT(actual[i].is_null, expected[i].is_null);
    if (!expected[i].is_null) CHECK_INT(value_compare(&actual[i], &expected[i]), 0);
  }
}

/* ---- one key ---- */

static void check_kv_key(const ModelCheck *c, Session *s, uint32_t slot, uint32_t key, uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  const ModelVersion *v = check_live(c, slot, key, step, now);
  Bytes name = shape_kv_key(f->shape, key);
  KvValue value = { 0 };
  if (!v) {
    CHECK_STATUS(kv_get(s, f->id, name, &value), KVSTORE_NOTFOUND);
    return;
  }
  CHECK_OK(kv_get(s, f->id, name, &value));
  Bytes expected = shape_kv_value(v->number);
  CHECK_INT(value.length, expected.length);
  if (expected.length) CHECK_BYTES(value.data, expected.data, expected.length);
  CHECK_INT(value.expiry, v->expiry);
  memory_release(value.data);
  KvPinned *pinned = NULL;
  bool expired = false;
  CHECK_OK(kv_get_pinned(s, f->id, name, &pinned, &expired));
  CHECK_INT(kv_pinned_value(pinned).length, expected.length);
  if (expected.length) CHECK_BYTES(kv_pinned_value(pinned).data, expected.data, expected.length);
  CHECK_INT(kv_pinned_expiry(pinned), v->expiry);
  kv_pinned_release(pinned);
}

/* All keys of a family, whatever their order, in one look-up. */
static void check_kv_keys(const ModelCheck *c, Session *s, uint32_t slot, uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  Arena arena = { 0 };
  Buffer values = { 0 };
  KvLookup *lookups = arena_allocate_zeroed(&arena, f->key_count * sizeof *lookups);
  for (uint32_t key = 0; key < f->key_count; key++) {
    Bytes name = shape_kv_key(f->shape, key);
    lookups[key].key = (Bytes){ arena_copy(&arena, name.data, name.length), name.length };
  }
  CHECK_OK(kv_get_many(s, f->id, lookups, f->key_count, &values));
  for (uint32_t key = 0; key < f->key_count; key++) {
    const ModelVersion *v = check_live(c, slot, key, step, now);
    CHECK_STATUS(lookups[key].status, v ? KVSTORE_OK : KVSTORE_NOTFOUND);
    if (!v) continue;
    Bytes expected = shape_kv_value(v->number);
    CHECK_INT(lookups[key].value_length, expected.length);
    if (expected.length) CHECK_BYTES(values.data + lookups[key].value_offset, expected.data, expected.length);
    CHECK_INT(lookups[key].expiry, v->expiry);
  }
  buffer_release(&values);
  arena_release(&arena);
}

static void check_table_key(const ModelCheck *c, Session *s, uint32_t slot, uint32_t key, uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  const ModelVersion *v = check_live(c, slot, key, step, now);
  Arena arena = { 0 };
  Value name[2], row[MODEL_COLUMNS_MAX], expected[MODEL_COLUMNS_MAX];
  size_t count = shape_key_values(f->shape, key, &arena, name);
  int64_t expiry = 0;
  Status status = table_get(s, f->id, name, count, &arena, row, MODEL_COLUMNS_MAX, &expiry);
  if (v) {
    CHECK_OK(status);
    check_values(row, expected, shape_row(f->shape, key, v, &arena, expected));
    CHECK_INT(expiry, v->expiry);
  } else {
    CHECK_STATUS(status, KVSTORE_NOTFOUND);
  }
  arena_release(&arena);
}

void check_key(const ModelCheck *c, Session *s, uint32_t slot, uint32_t key, uint64_t step, int64_t now) {
  if (shape_is_table(family(c, slot)->shape))
    check_table_key(c, s, slot, key, step, now);
  else
    check_kv_key(c, s, slot, key, step, now);
}

/* ---- kv families ---- */

static void check_iterator_row(KvIterator *it, const ModelFamily *f, uint32_t key, const ModelVersion *v) {
  CHECK(!kv_iterator_eof(it));
  Bytes name = shape_kv_key(f->shape, key), found = kv_iterator_key(it), value;
  CHECK_INT(found.length, name.length);
  CHECK_BYTES(found.data, name.data, name.length);
  CHECK_OK(kv_iterator_value(it, &value));
  Bytes expected = shape_kv_value(v->number);
  CHECK_INT(value.length, expected.length);
  if (expected.length) CHECK_BYTES(value.data, expected.data, expected.length);
  CHECK_INT(kv_iterator_expiry(it), v->expiry);
}

/* From where the iterator stands: at place `from` of the order, in its direction; at most `limit` rows. */
static void check_walk(const ModelCheck *c, KvIterator *it, bool reverse, uint32_t slot, uint32_t from, uint32_t limit,
                       uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  for (uint32_t i = from; i < f->key_count; i++) {
    uint32_t key = key_at(f, reverse ? f->key_count - 1 - i : i);
    const ModelVersion *v = check_live(c, slot, key, step, now);
    if (!v) continue;
    if (!limit--) return;
    check_iterator_row(it, f, key, v);
    CHECK_OK(kv_iterator_next(it));
  }
  CHECK(kv_iterator_eof(it));
}

void check_iterator(const ModelCheck *c, KvIterator *it, bool reverse, uint32_t slot, uint64_t step, int64_t now) {
  CHECK_OK(kv_iterator_first(it));
  check_walk(c, it, reverse, slot, 0, UINT32_MAX, step, now);
}

void check_iterator_seek(const ModelCheck *c, KvIterator *it, bool reverse, uint32_t slot, uint32_t key, uint64_t step,
                         int64_t now) {
  const ModelFamily *f = family(c, slot);
  uint32_t place = 0;
  while (key_at(f, place) != key) place++;
  CHECK_OK(kv_iterator_seek(it, shape_kv_key(f->shape, key)));
  check_walk(c, it, reverse, slot, reverse ? f->key_count - 1 - place : place, 5, step, now);
}

bool range_has(const KvRange *range, Bytes key) {
  const Bytes *low = &range->lower, *high = &range->upper, *prefix = &range->prefix;
  if (low->data && bytes_compare(key.data, key.length, low->data, low->length) < 0) return false;
  if (high->data && bytes_compare(key.data, key.length, high->data, high->length) >= 0) return false;
  return key.length >= prefix->length && (!prefix->length || memcmp(key.data, prefix->data, prefix->length) == 0);
}

/* The rows of the range from place `from` on, in the direction of the walk; at most `limit` of them. */
static void check_range_walk(const ModelCheck *c, KvIterator *it, const KvRange *range, bool reverse, uint32_t slot,
                             uint32_t from, uint32_t limit, uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  for (uint32_t i = from; i < f->key_count; i++) {
    uint32_t key = key_at(f, reverse ? f->key_count - 1 - i : i);
    const ModelVersion *v = check_live(c, slot, key, step, now);
    if (!v || !range_has(range, shape_kv_key(f->shape, key))) continue;
    if (!limit--) return;
    check_iterator_row(it, f, key, v);
    CHECK_OK(kv_iterator_next(it));
  }
  CHECK(kv_iterator_eof(it));
}

void check_range(const ModelCheck *c, Session *s, uint32_t slot, const KvRange *range, bool reverse, uint32_t sought,
                 uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  uint32_t place = 0;
  while (key_at(f, place) != sought) place++;
  KvIterator *it;
  CHECK_OK(kv_iterator_open(s, f->id, range, reverse, &it));
  CHECK_OK(kv_iterator_first(it));
  check_range_walk(c, it, range, reverse, slot, 0, UINT32_MAX, step, now);
  CHECK_OK(kv_iterator_seek(it, shape_kv_key(f->shape, sought)));
  check_range_walk(c, it, range, reverse, slot, reverse ? f->key_count - 1 - place : place, 5, step, now);
  kv_iterator_destroy(it);
}

static void check_kv_family(const ModelCheck *c, Session *s, uint32_t slot, uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  uint64_t there = 0, live = 0, count;
  CHECK(f->key_count > 0);
  for (uint32_t key = 0; key < f->key_count; key++) {
    there += model_row(c->model, slot, key, step) != NULL;
    live += check_live(c, slot, key, step, now) != NULL;
  }
  CHECK_OK(kv_count(s, f->id, &count));
  if (c->reclaims)
    CHECK(count >= live && count <= there);
  else
    CHECK_INT(count, there);
  check_kv_keys(c, s, slot, step, now);
  for (int reverse = 0; reverse < 2; reverse++) {
    KvIterator *it;
    CHECK_OK(kv_iterator_create(s, f->id, (Bytes){ 0 }, reverse, &it));
    check_iterator(c, it, reverse, slot, step, now);
    check_iterator_seek(c, it, reverse, slot, (uint32_t)(step % f->key_count), step, now);
    kv_iterator_destroy(it);
  }
}

/* ---- tables ---- */

static void check_totals(const ModelCheck *c, const TableSnapshot *snapshot, uint32_t slot, uint64_t step) {
  const ModelFamily *f = family(c, slot);
  uint64_t rows = 0, numbers = 0, some = 0;
  int64_t sum = 0;
  double ratios = 0;
  Arena arena = { 0 };
  for (uint32_t key = f->low; key < f->key_count; key++) {
    const ModelVersion *v = check_live(c, slot, key, step, snapshot->now_ms);
    if (!v) continue;
    Value row[MODEL_COLUMNS_MAX];
    arena_reset(&arena);
    shape_row(f->shape, key, v, &arena, row);
    const Value *number = &row[shape_number_column(f->shape)];
    rows++;
    numbers += !number->is_null;
    sum += number->is_null ? 0 : number->i;
    some += !number->is_null && number->i > 500;
    ratios += row[shape_number_column(f->shape) + 2].f;
  }
  Query *query;
  AggregateResult results[5];
  CHECK_OK(query_create(snapshot->schema, &query));
  CHECK_OK(query_aggregate(query, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(query, AGGREGATE_VALUES, "number"));
  CHECK_OK(query_aggregate(query, AGGREGATE_TOTAL, "number"));
  CHECK_OK(query_aggregate(query, AGGREGATE_TOTAL, "ratio"));
  CHECK_OK(query_run(query, snapshot, &arena, results, NULL));
  CHECK_INT(results[0].value.u, rows);
  CHECK_INT(results[1].value.u, numbers);
  CHECK_INT(results[2].is_null, numbers == 0);
  if (numbers) CHECK_INT((int64_t)results[2].integer.low, sum);
  if (rows) CHECK(results[3].value.f == ratios); /* quarters: exact in any order */
  static const char where[] = "number > 500";
  CHECK_OK(query_where(query, where, sizeof where - 1, NULL, 0));
  CHECK_OK(query_run(query, snapshot, &arena, results, NULL));
  CHECK_INT(results[0].value.u, some);
  query_destroy(query);
  arena_release(&arena);
}

/* The snapshot as the cursor takes it over: what it holds stays the caller's. */
static void check_rows(const ModelCheck *c, const TableSnapshot *snapshot, uint32_t slot, uint64_t step) {
  const ModelFamily *f = family(c, slot);
  TableSnapshot borrowed = *snapshot;
  borrowed.owner = NULL;
  borrowed.release = NULL;
  Query *query;
  QueryCursor *cursor;
  QueryBatch batch = { 0 };
  CHECK_OK(query_create(snapshot->schema, &query));
  query_order_by_key(query, true);
  CHECK_OK(query_open(query, &borrowed, &cursor));
  uint32_t at = 0;
  Arena arena = { 0 };
  for (uint32_t i = f->low; i < f->key_count; i++) {
    uint32_t key = key_at(f, i);
    const ModelVersion *v = check_live(c, slot, key, step, snapshot->now_ms);
    if (!v) continue;
    if (at == batch.row_count) {
      CHECK_OK(query_next(cursor, &batch));
      CHECK(batch.row_count > 0);
      at = 0;
    }
    Value expected[MODEL_COLUMNS_MAX];
    arena_reset(&arena);
    size_t count = shape_row(f->shape, key, v, &arena, expected);
    CHECK_INT(batch.column_count, count);
    for (size_t column = 0; column < count; column++) {
      const ColumnArray *array = &batch.columns[column];
      bool is_null = array->nulls && array->nulls[at];
      CHECK_INT(is_null, expected[column].is_null);
      if (is_null) continue;
      Value actual = value_from_array(expected[column].type, array->values, at);
      CHECK_INT(value_compare(&actual, &expected[column]), 0);
    }
    at++;
  }
  CHECK_INT(at, batch.row_count);
  CHECK_OK(query_next(cursor, &batch));
  CHECK_INT(batch.row_count, 0);
  query_close(cursor);
  query_destroy(query);
  arena_release(&arena);
}

void check_table_snapshot(const ModelCheck *c, const TableSnapshot *snapshot, uint32_t slot, uint64_t step) {
  check_totals(c, snapshot, slot, step);
  check_rows(c, snapshot, slot, step);
}

static void check_table(const ModelCheck *c, Session *s, uint32_t slot, uint64_t step, int64_t now) {
  TableSnapshot snapshot;
  CHECK_OK(table_snapshot(s, family(c, slot)->id, &snapshot));
  CHECK_INT(snapshot.now_ms, now);
  check_table_snapshot(c, &snapshot, slot, step);
  check_keys(c, s, slot, step, now);
  table_snapshot_release(&snapshot);
}

/* ---- everything ---- */

void check_family(const ModelCheck *c, Session *s, uint32_t slot, uint64_t step, int64_t now) {
  const ModelFamily *f = family(c, slot);
  FamilyInfo info;
  if (!model_has_family(c->model, slot, step)) {
    if (model_named(c->model, f->name, step) == MODEL_NO_FAMILY)
      CHECK_STATUS(family_find(s, f->name, &info), KVSTORE_NOTFOUND);
    return;
  }
  CHECK_OK(family_find(s, f->name, &info));
  CHECK_INT(info.id, f->id);
  CHECK_INT(info.kind, shape_is_table(f->shape) ? FAMILY_TABLE : FAMILY_KV);
  if (shape_is_table(f->shape))
    check_table(c, s, slot, step, now);
  else
    check_kv_family(c, s, slot, step, now);
}

void check_store(const ModelCheck *c, Session *s, uint64_t step, int64_t now) {
  size_t expected = 0, count;
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++) {
    if (!c->model->families[i].used) continue;
    expected += model_has_family(c->model, i, step);
    check_family(c, s, i, step, now);
  }
  FamilyInfo *list;
  CHECK_OK(family_list(s, &list, &count));
  CHECK_INT(count, expected);
  memory_release(list);
}
