/* query_keys.c - which keys a query looks at: a prefix, a range. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/queries.h"
#include "kvapi/values.h"

void key_range_release(KeyRange *range) {
  buffer_release(&range->prefix);
  buffer_release(&range->lower);
  buffer_release(&range->upper);
  *range = (KeyRange){ 0 };
}

/* ---- of a table of its own ---- */

/* Values for the first columns of the table's key. */
static Status copy_key(const KVQuery *q, const KVValue *given, size_t count, Arena *arena, const Value **out) {
  const Schema *schema = &q->table->schema;
  if (!given && count) return bad_argument("the values of the key are NULL");
  if (count > schema->key_count)
    return status_fail(KVSTORE_SCHEMA, "%zu key values given: the key of table %s has %u", count, q->table->name,
                       schema->key_count);
  Value *values = arena_allocate(arena, memory_array_size(count + 1, sizeof *values));
  if (!values) return status_nomem();
  for (size_t k = 0; k < count; k++) {
    TRY(value_for_column(&given[k], &schema->columns[schema->key_columns[k]], &values[k]));
    TRY(question_copy_value(arena, &values[k]));
  }
  *out = values;
  return KVSTORE_OK;
}

static Status make_ask(const KVQuery *q, const KVValue *from, size_t from_count, const KVValue *to, size_t to_count,
                       int flags, KeyAsk *ask) {
  if (flags & ~(KVQUERY_FROM_EXCLUDED | KVQUERY_TO_INCLUDED))
    return status_fail(KVSTORE_ERROR, "no such flags of a range of keys: %d", flags);
  TRY(copy_key(q, from, from_count, &ask->arena, &ask->range.from));
  TRY(copy_key(q, to, to_count, &ask->arena, &ask->range.to));
  ask->range.from_count = from_count;
  ask->range.to_count = to_count;
  ask->range.from_excluded = flags & KVQUERY_FROM_EXCLUDED;
  ask->range.to_included = flags & KVQUERY_TO_INCLUDED;
  return KVSTORE_OK;
}

/* Tried before the range that was there goes. */
static Status try_ask(const KVQuery *q, const KeyAsk *ask) {
  Query *trial = NULL;
  TRY(query_create(&q->table->schema, &trial));
  Status status = query_key_range(trial, &ask->range);
  query_destroy(trial);
  return status;
}

static Status ask_range(KVQuery *q, const KVValue *from, size_t from_count, const KVValue *to, size_t to_count,
                        int flags) {
  KeyAsk ask = { 0 };
  Status status = make_ask(q, from, from_count, to, to_count, flags, &ask);
  if (status == KVSTORE_OK) status = try_ask(q, &ask);
  if (status != KVSTORE_OK) {
    arena_release(&ask.arena);
    return status;
  }
  plans_forget(q);
  arena_release(&q->key_ask.arena);
  q->key_ask = ask;
  return KVSTORE_OK;
}

/* ---- of a family ---- */

/* One value, for the key of a family's pairs. */
static Status key_bytes(const KVQuery *q, const KVValue *values, size_t count, Buffer *out) {
  Value value;
  if (!values) return bad_argument("the values of the key are NULL");
  if (count != 1) return status_fail(KVSTORE_SCHEMA, "%zu key values given: the key of a pair is one", count);
  TRY(value_for_column(values, &q->table->schema.columns[q->table->schema.key_columns[0]], &value));
  if (value.is_null) return status_fail(KVSTORE_TYPE, "a key is not null");
  buffer_append(out, value.s.data, value.s.length);
  return buffer_status(out);
}

static Status bound_value(const uint8_t *data, size_t length, Arena *arena, const Value **out, size_t *count) {
  Value *value = arena_allocate(arena, sizeof *value);
  if (!value) return status_nomem();
  *value = (Value){ .type = TYPE_BYTES, .s = { data, length } };
  *out = value;
  *count = 1;
  return question_copy_value(arena, value);
}

/* The same range for the columns that are kept of the pairs: a prefix ends before what follows all that begin so. */
static Status ask_of_range(const KeyRange *range, KeyAsk *ask) {
  QueryKeyRange *asked = &ask->range;
  const Buffer *low = range->has_prefix ? &range->prefix : &range->lower;
  if (range->has_prefix || range->has_lower)
    TRY(bound_value(low->data, low->length, &ask->arena, &asked->from, &asked->from_count));
  if (range->has_upper)
    TRY(bound_value(range->upper.data, range->upper.length, &ask->arena, &asked->to, &asked->to_count));
  size_t length = range->prefix.length;
  while (length && range->prefix.data[length - 1] == 0xff) length--;
  if (!length) return KVSTORE_OK;
  uint8_t *end = arena_copy(&ask->arena, range->prefix.data, length);
  if (!end) return status_nomem();
  end[length - 1]++;
  return bound_value(end, length, &ask->arena, &asked->to, &asked->to_count);
}

/* Takes `range` over, on a failure too. */
static Status use_range(KVQuery *q, KeyRange *range, Status status) {
  KeyAsk ask = { 0 };
  if (status == KVSTORE_OK) status = ask_of_range(range, &ask);
  if (status == KVSTORE_OK) status = try_ask(q, &ask);
  if (status != KVSTORE_OK) {
    key_range_release(range);
    arena_release(&ask.arena);
    return status;
  }
  plans_forget(q);
  key_range_release(&q->keys);
  arena_release(&q->key_ask.arena);
  q->keys = *range;
  q->key_ask = ask;
  return KVSTORE_OK;
}

static Status set_prefix(KVQuery *q, const KVValue *values, size_t count) {
  KeyRange range = { .has_prefix = count > 0 };
  return use_range(q, &range, count ? key_bytes(q, values, count, &range.prefix) : KVSTORE_OK);
}

int kvquery_key_prefix(KVQuery *query, const KVValue *values, size_t count) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  if (!query->table->projections)
    return question_leave(query, ask_range(query, values, count, values, count, KVQUERY_TO_INCLUDED));
  return question_leave(query, set_prefix(query, values, count));
}

/* Right behind a key comes the same with a zero byte more. */
static Status set_bound(const KVQuery *q, const KVValue *values, size_t count, bool behind, bool *has, Buffer *out) {
  *has = count > 0;
  if (!count) return KVSTORE_OK;
  TRY(key_bytes(q, values, count, out));
  if (behind) buffer_u8(out, 0);
  return buffer_status(out);
}

static Status set_range(KVQuery *q, const KVValue *from, size_t from_count, const KVValue *to, size_t to_count,
                        int flags) {
  KeyRange range = { 0 };
  if (flags & ~(KVQUERY_FROM_EXCLUDED | KVQUERY_TO_INCLUDED))
    return status_fail(KVSTORE_ERROR, "unknown flags of a range of keys: 0x%x", (unsigned)flags);
  Status status = set_bound(q, from, from_count, flags & KVQUERY_FROM_EXCLUDED, &range.has_lower, &range.lower);
  if (status == KVSTORE_OK)
    status = set_bound(q, to, to_count, flags & KVQUERY_TO_INCLUDED, &range.has_upper, &range.upper);
  return use_range(q, &range, status);
}

int kvquery_key_range(KVQuery *query, const KVValue *from, size_t from_count, const KVValue *to, size_t to_count,
                      int flags) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  if (!query->table->projections) return question_leave(query, ask_range(query, from, from_count, to, to_count, flags));
  return question_leave(query, set_range(query, from, from_count, to, to_count, flags));
}

static Bytes bound(bool has, const Buffer *bytes) {
  if (!has) return (Bytes){ 0 };
  return (Bytes){ bytes->data ? bytes->data : (const uint8_t *)"", bytes->length };
}

KvRange question_key_range(const KVQuery *q) {
  return (KvRange){ .lower = bound(q->keys.has_lower, &q->keys.lower),
                    .upper = bound(q->keys.has_upper, &q->keys.upper),
                    .prefix = bound(q->keys.has_prefix, &q->keys.prefix) };
}

/* Which pairs are walked: those that were asked for, or fewer, where the filter speaks of the key. */
static Status pairs_walked(const KVQuery *q, const Plan *plan, Buffer *lower, Buffer *upper, KvRange *range) {
  *range = question_key_range(q);
  if (!q->table->projections) return KVSTORE_OK;
  TRY(query_pair_range(plan->query, lower, upper));
  bool has_lower = lower->length > 0, has_upper = upper->length > 0;
  if (q->keys.has_upper && !has_upper) return KVSTORE_OK; /* before the least key: no pair at all */
  if (has_lower || has_upper) *range = (KvRange){ .lower = bound(has_lower, lower), .upper = bound(has_upper, upper) };
  return KVSTORE_OK;
}

Status question_snapshot(const KVQuery *q, const Plan *plan, bool rows, TableSnapshot *out) {
  Buffer lower = { 0 }, upper = { 0 };
  KvRange range;
  bool *wanted = memory_allocate_zeroed(q->table->schema.column_count * sizeof *wanted);
  Status status = wanted ? pairs_walked(q, plan, &lower, &upper, &range) : status_nomem();
  if (status == KVSTORE_OK) query_columns_read(plan->query, rows, wanted);
  if (status == KVSTORE_OK) status = table_take_snapshot(q->table, question_session(q), wanted, &range, out);
  memory_release(wanted);
  buffer_release(&lower);
  buffer_release(&upper);
  return status;
}
