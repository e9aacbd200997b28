/* Groups, orders and distinct rows of hand-made snapshots, against plain loops over the rows: keys as text, sums row by
 * row, variances in two passes, orders by comparing values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/counters.h"
#include "base/memory.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- rows and keys, plainly ---- */

typedef struct PlainRow {
  uint32_t unit, row;
  Bytes key; /* of its group */
  uint32_t number;
} PlainRow;

static double one_zero(double f) { return f == 0 ? 0 : f != f ? NAN : f; }

/* Equal values and no others have equal bytes. */
static void append_plain(Buffer *out, const Value *v) {
  buffer_u8(out, v->is_null);
  if (v->is_null) return;
  if (type_is_string(v->type)) {
    buffer_bytes(out, v->s.data, v->s.length);
  } else if (type_is_float(v->type)) {
    double f = one_zero(v->f);
    buffer_u8(out, f != f);
    if (f == f) buffer_append(out, &f, sizeof f);
  } else {
    buffer_u64(out, v->u);
  }
}

static Bytes keep(Arena *arena, Buffer *b) {
  Bytes copy = { arena_copy(arena, b->length ? b->data : (const uint8_t *)"", b->length), b->length };
  buffer_release(b);
  return copy;
}

static int by_group(const void *a, const void *b) {
  const PlainRow *x = a, *y = b;
  int order = bytes_compare(x->key.data, x->key.length, y->key.data, y->key.length);
  return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* The selected rows, those of a group together, in their order. */
static PlainRow *plain_rows(Arena *arena, const SampleUnits *u, const PredicateTerm *term, const uint32_t *keys,
                            size_t key_count, size_t *count) {
  size_t most = 1;
  for (uint32_t unit = 0; unit < u->unit_count; unit++) most += u->units[unit].row_count;
  PlainRow *rows = arena_allocate(arena, most * sizeof *rows);
  *count = 0;
  for (uint32_t unit = 0; unit < u->unit_count; unit++) {
    for (uint32_t row = 0; row < u->units[unit].row_count; row++) {
      if (!sample_filter_selects(term, u, unit, row)) continue;
      Buffer key = { 0 };
      for (size_t k = 0; k < key_count; k++) {
        Value v = sample_units_value(u, unit, keys[k], row);
        append_plain(&key, &v);
      }
      rows[*count] = (PlainRow){ unit, row, keep(arena, &key), (uint32_t)*count };
      ++*count;
    }
  }
  qsort(rows, *count, sizeof *rows, by_group);
  return rows;
}

/* ---- aggregates of the rows [0, count) of a group, plainly ---- */

typedef struct Plain {
  Value *sorted; /* the values that are not null */
  uint64_t count;
  __int128 integers;
  double floats; /* exactly: units by themselves, then added */
  Value least, greatest, first, last;
  double mean, squares;
  uint64_t distinct;
  bool is_finite;
} Plain;

static double as_double(const Value *v) {
  if (type_is_float(v->type)) return v->f;
  return type_is_signed(v->type) || v->type == TYPE_BOOL ? (double)v->i : (double)v->u;
}

static int by_text(const void *a, const void *b) {
  const Bytes *x = a, *y = b;
  return bytes_compare(x->data, x->length, y->data, y->length);
}

static uint64_t count_distinct(Arena *arena, const SampleUnits *u, uint32_t column, const PlainRow *rows,
                               size_t count) {
  Bytes *texts = arena_allocate(arena, (count + 1) * sizeof *texts);
  size_t used = 0;
  uint64_t different = 0;
  for (size_t i = 0; i < count; i++) {
    Buffer text = { 0 };
    Value v = sample_units_value(u, rows[i].unit, column, rows[i].row);
    if (v.is_null) continue;
    append_plain(&text, &v);
    texts[used++] = keep(arena, &text);
  }
  qsort(texts, used, sizeof *texts, by_text);
  for (size_t i = 0; i < used; i++) different += i == 0 || by_text(&texts[i - 1], &texts[i]) != 0;
  return different;
}

static void plain_value(Plain *p, const Value *v) {
  p->count++;
  if (p->least.is_null || sample_order(v, &p->least) < 0) p->least = *v;
  if (p->greatest.is_null || sample_order(v, &p->greatest) > 0) p->greatest = *v;
  if (type_is_string(v->type)) return;
  if (!type_is_float(v->type))
    p->integers += type_is_signed(v->type) || v->type == TYPE_BOOL ? (__int128)v->i : (__int128)v->u;
  if (!isfinite(as_double(v))) p->is_finite = false;
  p->mean += as_double(v);
}

static int by_order(const void *a, const void *b) { return sample_order(a, b); }

static Plain plain_aggregate(Arena *arena, const SampleUnits *u, uint32_t column, const PlainRow *rows, size_t count) {
  Value none = { .is_null = true };
  Plain p = { .least = none, .greatest = none, .first = none, .last = none, .is_finite = true };
  double unit_sum = 0;
  int64_t first_key = INT64_MAX, last_key = INT64_MIN;
  for (size_t i = 0; i < count; i++) {
    Value v = sample_units_value(u, rows[i].unit, column, rows[i].row);
    int64_t key = sample_units_value(u, rows[i].unit, 0, rows[i].row).i;
    if (key <= first_key) p.first = v, first_key = key;
    if (key >= last_key) p.last = v, last_key = key;
    if (i && rows[i].unit != rows[i - 1].unit) p.floats += unit_sum, unit_sum = 0;
    if (v.is_null) continue;
    plain_value(&p, &v);
    if (type_is_float(v.type)) unit_sum += v.f;
  }
  p.floats += unit_sum;
  p.mean /= (double)p.count;
  for (size_t i = 0; i < count; i++) {
    Value v = sample_units_value(u, rows[i].unit, column, rows[i].row);
    if (v.is_null || type_is_string(v.type)) continue;
    double d = as_double(&v) - p.mean;
    p.squares += d * d;
  }
  p.distinct = count_distinct(arena, u, column, rows, count);
  p.sorted = arena_allocate(arena, (count + 1) * sizeof *p.sorted);
  for (size_t i = 0, at = 0; i < count; i++) {
    Value v = sample_units_value(u, rows[i].unit, column, rows[i].row);
    if (!v.is_null) p.sorted[at++] = v;
  }
  if (p.count) qsort(p.sorted, p.count, sizeof *p.sorted, by_order);
  return p;
}

/* ---- what came out ---- */

typedef struct Out {
  Value *values; /* sums of integers apart */
  Int128 *sums;
  Bytes key;
} Out;
typedef struct Outs {
  Out *rows;
  size_t count, capacity;
} Outs;

static void take_batch(Arena *arena, const Query *q, const QueryBatch *batch, Outs *outs) {
  CHECK_INT(batch->column_count, query_column_count(q));
  for (uint32_t row = 0; row < batch->row_count; row++) {
    CHECK_OK(memory_grow(&outs->rows, &outs->capacity, outs->count + 1, sizeof *outs->rows));
    Out *o = &outs->rows[outs->count++];
    o->values = arena_allocate_zeroed(arena, (batch->column_count + 1) * sizeof *o->values);
    o->sums = arena_allocate_zeroed(arena, (batch->column_count + 1) * sizeof *o->sums);
    for (uint32_t c = 0; c < batch->column_count; c++) {
      const ColumnArray *a = &batch->columns[c];
      ColumnType type = query_column(q, c)->type;
      Value *v = &o->values[c];
      *v = (Value){ .type = type, .is_null = a->nulls && a->nulls[row] };
      if (v->is_null) continue;
      if (type == QUERY_TYPE_DECIMAL)
        o->sums[c] = ((const Int128 *)a->values)[row];
      else
        *v = value_from_array(type, a->values, row);
      if (type_is_string(type))
        v->s.data = arena_copy(arena, v->s.length ? v->s.data : (const uint8_t *)"", v->s.length);
    }
  }
}

/* Where a query puts what it may not hold: `limit` is 0 when it may hold all. */
static Buffer outside;
static uint64_t limit_of_memory;

static const QuerySpace *space(void) {
  static QuerySpace within;
  within =
    (QuerySpace){ .memory_limit = limit_of_memory, .context = &outside, .write = write_outside, .read = read_outside };
  buffer_clear(&outside);
  return limit_of_memory ? &within : NULL;
}

static Outs run(Arena *arena, const SampleUnits *u, const Query *q) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  QueryCursor *cursor;
  QueryBatch batch;
  Outs outs = { 0 };
  CHECK_OK(query_open_within(q, &snapshot, space(), &cursor));
  do {
    CHECK_OK(query_next(cursor, &batch));
    CHECK(batch.row_count <= QUERY_BATCH_ROWS);
    take_batch(arena, q, &batch, &outs);
  } while (batch.row_count);
  CHECK_INT(query_spilled(cursor), outside.length);
  query_close(cursor);
  return outs;
}

static bool near(double a, double b) {
  if (a != a || b != b) return a != a && b != b;
  return fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b)) + 1e-300;
}
static bool same_bits(double a, double b) {
  if (a != a || b != b) return a != a && b != b;
  return memcmp(&a, &b, sizeof a) == 0;
}

static void check_value(const Value *actual, const Value *expected) {
  CHECK_INT(actual->is_null, expected->is_null);
  if (expected->is_null) return;
  Buffer a = { 0 }, b = { 0 };
  append_plain(&a, actual);
  append_plain(&b, expected);
  CHECK_INT(a.length, b.length);
  CHECK_BYTES(a.data, b.data, b.length);
  buffer_release(&a);
  buffer_release(&b);
}

static double int_to_double(__int128 x) { return (double)x; }

static void check_spread(AggregateKind kind, const Plain *p, const Value *actual) {
  bool sample = kind == AGGREGATE_VARIANCE || kind == AGGREGATE_DEVIATION;
  bool is_root = kind == AGGREGATE_DEVIATION || kind == AGGREGATE_DEVIATION_POPULATION;
  CHECK_INT(actual->is_null, p->count < (sample ? 2u : 1u));
  if (actual->is_null) return;
  double expected = p->squares / (double)(p->count - sample);
  if (!p->is_finite) {
    CHECK(actual->f != actual->f);
    return;
  }
  if (!isfinite(expected) || !isfinite(p->squares)) return; /* squares past the largest double: either is right */
  if (is_root) expected = sqrt(expected);
  double scale = fabs(p->mean) * (is_root ? 1 : fabs(p->mean)); /* what cancels */
  CHECK(near(actual->f, expected) || fabs(actual->f - expected) <= 1e-9 * scale);
}

static void check_sketch(const Plain *p, const Value *actual) {
  double off = fabs((double)actual->u - (double)p->distinct);
  CHECK(off <= 0.08 * (double)p->distinct + 2); /* five deviations */
}

static void check_aggregate(const AggregateRequest *request, ColumnType type, const Plain *p, uint64_t rows,
                            const Value *actual, Int128 sum) {
  Value expected = { .type = TYPE_U64 };
  AggregateKind kind = request->kind;
  switch (kind) {
  case AGGREGATE_ROWS: expected.u = rows; break;
  case AGGREGATE_VALUES: expected.u = p->count; break;
  case AGGREGATE_DISTINCT: expected.u = p->distinct; break;
  case AGGREGATE_LEAST: expected = p->least; break;
  case AGGREGATE_GREATEST: expected = p->greatest; break;
  case AGGREGATE_SKETCH: check_sketch(p, actual); return;
  case AGGREGATE_QUANTILE: {
    uint64_t place = (uint64_t)ceil((double)p->count * request->millionths / 1000000);
    expected = p->count ? p->sorted[place ? place - 1 : 0] : (Value){ .is_null = true };
    break;
  }
  case AGGREGATE_FIRST: expected = p->first; break;
  case AGGREGATE_LAST: expected = p->last; break;
  case AGGREGATE_TOTAL:
  case AGGREGATE_MEAN:
    CHECK_INT(actual->is_null, p->count == 0);
    if (p->count == 0) return;
    if (kind == AGGREGATE_MEAN) {
      double total = type_is_float(type) ? p->floats : int_to_double(p->integers);
      CHECK(same_bits(actual->f, one_zero(total) / (double)p->count) || same_bits(actual->f, total / (double)p->count));
    } else if (type_is_float(type)) {
      CHECK(same_bits(actual->f, p->floats));
    } else {
      CHECK(sum.low == (uint64_t)p->integers && sum.high == (int64_t)(p->integers >> 64));
    }
    return;
  default: check_spread(kind, p, actual); return;
  }
  check_value(actual, &expected);
}

/* ---- random questions ---- */

typedef struct Question {
  uint32_t keys[4];
  size_t key_count;
  AggregateRequest asks[6];
  size_t ask_count;
  bool is_grouped; /* else the same, of all rows, by query_run */
} Question;

static bool has_sum(ColumnType t) { return t == TYPE_BOOL || type_is_integer(t) || type_is_float(t); }
static bool needs_sum(AggregateKind k) {
  return k == AGGREGATE_TOTAL || k == AGGREGATE_MEAN ||
         (k >= AGGREGATE_VARIANCE && k <= AGGREGATE_DEVIATION_POPULATION);
}

static Question random_question(const SampleUnits *u, uint64_t *random) {
  Question question = { .is_grouped = test_random_below(random, 6) != 0 };
  question.key_count = question.is_grouped ? test_random_below(random, 4) : 0;
  for (size_t k = 0; k < question.key_count; k++) {
    uint32_t step = (uint32_t)test_random_below(random, u->schema.column_count / 4); /* so that none comes twice */
    question.keys[k] = (k ? question.keys[k - 1] + 1 : 0) + step;
  }
  question.ask_count = 1 + test_random_below(random, 6);
  for (size_t i = 0; i < question.ask_count; i++) {
    AggregateRequest *r = &question.asks[i];
    do {
      r->kind = (AggregateKind)test_random_below(random, AGGREGATE_KINDS);
      r->column = (uint32_t)test_random_below(random, u->schema.column_count);
      r->millionths = (uint32_t)(test_random_below(random, 5) * 250000);
    } while (needs_sum(r->kind) && !has_sum(u->columns[r->column].type));
  }
  return question;
}

static Status ask(Query *q, const SampleUnits *u, const AggregateRequest *r) {
  const char *name = u->columns[r->column].name;
  return r->kind == AGGREGATE_QUANTILE ? query_quantile(q, r->millionths, name) : query_aggregate(q, r->kind, name);
}

static Query *make_query(const SampleUnits *u, const Question *question) {
  Query *q;
  const char *names[4];
  CHECK_OK(query_create(&u->schema, &q));
  for (size_t i = 0; i < question->ask_count; i++) CHECK_OK(ask(q, u, &question->asks[i]));
  for (size_t k = 0; k < question->key_count; k++) names[k] = u->columns[question->keys[k]].name;
  if (question->is_grouped) CHECK_OK(query_group_by(q, names, question->key_count));
  return q;
}

static void ask_group(Arena *arena, const SampleUnits *u, const Question *question, const PlainRow *rows, size_t count,
                      const Value *values, const Int128 *sums) {
  for (size_t i = 0; i < question->ask_count; i++) {
    const AggregateRequest *r = &question->asks[i];
    Plain p = plain_aggregate(arena, u, r->column, rows, count);
    check_aggregate(r, u->columns[r->column].type, &p, count, &values[i], sums[i]);
  }
}

static int by_key(const void *a, const void *b) {
  const Out *x = a, *y = b;
  return bytes_compare(x->key.data, x->key.length, y->key.data, y->key.length);
}

static void check_groups(Arena *arena, const SampleUnits *u, const Question *question, const Query *q,
                         const PlainRow *rows, size_t row_count) {
  Outs outs = run(arena, u, q);
  for (size_t i = 0; i < outs.count; i++) {
    Buffer key = { 0 };
    for (size_t k = 0; k < question->key_count; k++) append_plain(&key, &outs.rows[i].values[k]);
    outs.rows[i].key = keep(arena, &key);
  }
  if (outs.count) qsort(outs.rows, outs.count, sizeof *outs.rows, by_key);
  size_t group = 0;
  for (size_t from = 0; from < row_count || (group == 0 && question->key_count == 0); group++) {
    size_t end = from;
    while (end < row_count && by_text(&rows[from].key, &rows[end].key) == 0) end++;
    CHECK(group < outs.count);
    Out *o = &outs.rows[group];
    if (row_count) CHECK(by_text(&o->key, &rows[from].key) == 0);
    ask_group(arena, u, question, rows + from, end - from, o->values + question->key_count,
              o->sums + question->key_count);
    from = end;
  }
  CHECK_INT(outs.count, group);
  memory_release(outs.rows);
}

static void check_all_rows(Arena *arena, const SampleUnits *u, const Question *question, const Query *q,
                           const PlainRow *rows, size_t row_count) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  AggregateResult results[6];
  ScanCounters counters;
  Value values[6];
  Int128 sums[6];
  CHECK_OK(query_run_within(q, &snapshot, space(), arena, results, &counters));
  CHECK_INT(counters.rows_selected, row_count);
  for (size_t i = 0; i < question->ask_count; i++) {
    values[i] = results[i].value;
    values[i].is_null = results[i].is_null;
    sums[i] = results[i].integer;
    AggregateKind kind = question->asks[i].kind;
    bool is_float = type_is_float(u->columns[question->asks[i].column].type);
    if (is_float && (kind == AGGREGATE_TOTAL || kind == AGGREGATE_MEAN)) continue; /* in lanes: test_scan.c */
    Plain p = plain_aggregate(arena, u, question->asks[i].column, rows, row_count);
    check_aggregate(&question->asks[i], u->columns[question->asks[i].column].type, &p, row_count, &values[i], sums[i]);
  }
}

static void campaign(const SampleUnitsOptions *options, uint64_t limit, uint64_t questions) {
  uint64_t random = options->seed * 77, held = memory_blocks_held();
  limit_of_memory = limit;
  SampleUnits u;
  sample_units_create(&u, options);
  for (uint64_t i = 0; i < questions; i++) {
    Arena arena = { 0 };
    size_t count;
    Question question = random_question(&u, &random);
    PlainRow *rows = plain_rows(&arena, &u, NULL, question.keys, question.key_count, &count);
    Query *q = make_query(&u, &question);
    query_threads(q, 1 + (uint32_t)(i % 3));
    if (question.is_grouped)
      check_groups(&arena, &u, &question, q, rows, count);
    else
      check_all_rows(&arena, &u, &question, q, rows, count);
    query_destroy(q);
    arena_release(&arena);
  }
  sample_units_release(&u);
  buffer_release(&outside);
  CHECK_INT(memory_blocks_held(), held);
}

TEST(groups, are_those_of_plain_loops) {
  uint64_t dense = counter_get(COUNTER_groups_dense_units), hashed = counter_get(COUNTER_groups_hashed_units);
  for (uint64_t seed = 1; seed <= 8; seed++) {
    SampleUnitsOptions o = { .runs = (uint32_t)(seed % 4),
                             .run_rows = 4500,
                             .segment_rows = 2500,
                             .slabs = seed % 4 < 2 ? 2 : 1,
                             .slab_rows = 1700,
                             .old_runs = seed > 3,
                             .dead_percent = seed % 2 ? 20 : 0,
                             .expiring_percent = seed % 3 ? 20 : 0,
                             .mode = (ExtentMode)(seed % 3),
                             .seed = seed };
    campaign(&o, 0, 3 + test_scaled(22));
  }
  CHECK(counter_get(COUNTER_groups_dense_units) > dense);
  CHECK(counter_get(COUNTER_groups_hashed_units) > hashed);
}

TEST(groups, of_no_units) {
  SampleUnitsOptions o = { .seed = 1 };
  campaign(&o, 0, 40);
  campaign(&o, 1, 40);
}

/* Parts that have more values than there is room for are divided further: there are more than the 32 of one column. */
TEST(groups, different_values_of_a_part_without_room_leave_once_more) {
  SampleUnitsOptions o = { .runs = 2, .run_rows = 30000, .segment_rows = 6000, .seed = 9 };
  SampleUnits u;
  Buffer file = { 0 }, all = { 0 }, some = { 0 };
  QuerySpace little = { .memory_limit = 1 << 16, .context = &file, .write = write_outside, .read = read_outside };
  sample_units_create(&u, &o);
  for (int texts = 0; texts < 2; texts++) {
    Query *q;
    CHECK_OK(query_create(&u.schema, &q));
    CHECK_OK(query_aggregate(q, AGGREGATE_DISTINCT, texts ? "c13_string" : "c4_i32"));
    CHECK_OK(query_group_by(q, (const char *[]){ "c1_bool" }, 1));
    uint64_t parts = counter_get(COUNTER_row_parts_read);
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &all, NULL));
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), &little, 1, &some, NULL));
    check_same_answer(&all, &some);
    CHECK(counter_get(COUNTER_row_parts_read) > parts + 32);
    query_destroy(q);
    buffer_clear(&file);
  }
  buffer_release(&file);
  buffer_release(&all);
  buffer_release(&some);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Whatever does not fit comes back: the same groups, with the same bits. */
TEST(groups, larger_than_memory_are_the_same) {
  uint64_t rows = counter_get(COUNTER_groups_spilled), values = counter_get(COUNTER_values_spilled);
  uint64_t bytes = counter_get(COUNTER_bytes_spilled), merged = counter_get(COUNTER_spills_merged);
  for (uint64_t seed = 1; seed <= 8; seed++) {
    SampleUnitsOptions o = { .runs = 1 + (uint32_t)(seed % 3),
                             .run_rows = 4500,
                             .segment_rows = 2500,
                             .slabs = 1,
                             .slab_rows = 1700,
                             .old_runs = seed > 3,
                             .dead_percent = seed % 2 ? 20 : 0,
                             .mode = (ExtentMode)(seed % 3),
                             .seed = seed };
    campaign(&o, seed % 2 ? 1 : 1 << 20, 3 + test_scaled(17));
  }
  CHECK(counter_get(COUNTER_groups_spilled) > rows);
  CHECK(counter_get(COUNTER_values_spilled) > values);
  CHECK(counter_get(COUNTER_bytes_spilled) > bytes);
  CHECK(counter_get(COUNTER_spills_merged) > merged);
}

/* ---- orders ---- */

static int compare_values(const Value *a, const Value *b, Int128 x, Int128 y, const QueryOrder *term) {
  if (a->is_null || b->is_null) {
    int order = (int)b->is_null - (int)a->is_null;
    return term->nulls_last ? -order : order;
  }
  int order;
  if (a->type == QUERY_TYPE_DECIMAL)
    order = x.high != y.high ? (x.high > y.high) - (x.high < y.high) : (x.low > y.low) - (x.low < y.low);
  else
    order = sample_order(a, b);
  return term->descending ? -order : order;
}

typedef struct Ordering {
  QueryOrder terms[3];
  uint32_t columns[3];
  size_t count;
} Ordering;
static const Ordering *ordering; /* for qsort */

static int by_ordering(const void *a, const void *b) {
  const Out *x = a, *y = b;
  for (size_t i = 0; i < ordering->count; i++) {
    uint32_t c = ordering->columns[i];
    int order = compare_values(&x->values[c], &y->values[c], x->sums[c], y->sums[c], &ordering->terms[i]);
    if (order) return order;
  }
  return 0;
}

static Ordering random_order(const Query *q, uint64_t *random) {
  Ordering o = { .count = 1 + test_random_below(random, 3) };
  for (size_t i = 0; i < o.count; i++) {
    o.columns[i] = (uint32_t)test_random_below(random, query_column_count(q));
    o.terms[i] =
      (QueryOrder){ query_column(q, o.columns[i])->name, test_random_below(random, 2), test_random_below(random, 2) };
  }
  /* a name that stands twice means the first */
  for (size_t i = 0; i < o.count; i++) {
    uint32_t c = 0;
    while (strcmp(query_column(q, c)->name, o.terms[i].column) != 0) c++;
    o.columns[i] = c;
  }
  return o;
}

/* The same rows, in order, cut: what stands at each place is equal in the columns that the order looks at. */
static void check_order(Arena *arena, const SampleUnits *u, Query *q, uint64_t *random) {
  Outs all = run(arena, u, q);
  Ordering o = random_order(q, random);
  CHECK_OK(query_order_by(q, o.terms, o.count));
  uint64_t offset =
    test_random_below(random, 3) ? test_random_below(random, 20) : test_random_below(random, all.count + 5);
  uint64_t limit = test_random_below(random, 3) ? test_random_below(random, 30) : QUERY_NO_LIMIT;
  query_limit(q, offset, limit);
  Outs some = run(arena, u, q);
  ordering = &o;
  if (all.count) qsort(all.rows, all.count, sizeof *all.rows, by_ordering);
  size_t from = offset < all.count ? (size_t)offset : all.count;
  CHECK_INT(some.count, all.count - from < limit ? all.count - from : limit);
  for (size_t i = 0; i < some.count; i++) CHECK_INT(by_ordering(&some.rows[i], &all.rows[from + i]), 0);
  memory_release(all.rows);
  memory_release(some.rows);
}

static void order_campaign(const SampleUnitsOptions *options, uint64_t questions) {
  uint64_t random = options->seed * 99, held = memory_blocks_held();
  limit_of_memory = options->seed % 2 ? 50000 : 0;
  SampleUnits u;
  sample_units_create(&u, options);
  for (uint64_t i = 0; i < questions; i++) {
    Arena arena = { 0 };
    Question question = random_question(&u, &random);
    Query *q;
    if (i % 2 && question.is_grouped) {
      q = make_query(&u, &question);
    } else {
      CHECK_OK(query_create(&u.schema, &q));
      if (i % 4 == 2) {
        const char *names[] = { u.columns[test_random_below(&random, u.schema.column_count)].name,
                                u.columns[test_random_below(&random, u.schema.column_count)].name };
        CHECK_OK(query_select(q, names, 2));
        if (i % 3) CHECK_OK(query_distinct(q));
      }
    }
    check_order(&arena, &u, q, &random);
    query_destroy(q);
    arena_release(&arena);
  }
  sample_units_release(&u);
  buffer_release(&outside);
  CHECK_INT(memory_blocks_held(), held);
}

TEST(groups, and_rows_come_in_any_order_asked_for) {
  uint64_t cut = counter_get(COUNTER_sorts_cut), runs = counter_get(COUNTER_spilled_runs);
  for (uint64_t seed = 1; seed <= 6; seed++) {
    SampleUnitsOptions o = { .runs = (uint32_t)(seed % 4),
                             .run_rows = 4500,
                             .segment_rows = 2500,
                             .slabs = 1,
                             .slab_rows = 1700,
                             .old_runs = seed > 3,
                             .dead_percent = seed % 2 ? 20 : 0,
                             .mode = (ExtentMode)(seed % 3),
                             .seed = seed };
    order_campaign(&o, 3 + test_scaled(17));
  }
  CHECK(counter_get(COUNTER_sorts_cut) > cut);
  CHECK(counter_get(COUNTER_spilled_runs) > runs);
}

/* A column that is not selected orders rows all the same, and equal rows stay as they lie. */
TEST(groups, rows_are_ordered_by_columns_that_are_not_given) {
  SampleUnitsOptions o = { .runs = 2, .run_rows = 3000, .segment_rows = 1500, .slabs = 1, .slab_rows = 900, .seed = 9 };
  SampleUnits u;
  Query *q;
  Arena arena = { 0 };
  sample_units_create(&u, &o);
  CHECK_OK(query_create(&u.schema, &q));
  const char *select[] = { u.columns[13].name };
  CHECK_OK(query_select(q, select, 1));
  QueryOrder order = { u.columns[0].name, true, false };
  CHECK_OK(query_order_by(q, &order, 1));
  Outs outs = run(&arena, &u, q);
  size_t count;
  uint32_t key = 0;
  PlainRow *rows = plain_rows(&arena, &u, NULL, &key, 0, &count);
  CHECK_INT(outs.count, count);
  CHECK_INT(query_column_count(q), 1);
  for (size_t i = 0; i < count; i++) { /* each by counting who is before it */
    if (i % 97) continue;
    size_t before = 0;
    int64_t own = sample_units_value(&u, rows[i].unit, 0, rows[i].row).i;
    for (size_t j = 0; j < count; j++) before += sample_units_value(&u, rows[j].unit, 0, rows[j].row).i > own;
    Value expected = sample_units_value(&u, rows[i].unit, 13, rows[i].row);
    check_value(&outs.rows[before].values[0], &expected);
  }
  memory_release(outs.rows);
  query_destroy(q);
  arena_release(&arena);
  sample_units_release(&u);
}

/* Of a few hundred rows nearly all are told by a bound. */
TEST(groups, the_first_rows_of_an_order_find_their_bound_early) {
  SampleUnitsOptions o = { .runs = 1, .run_rows = 900, .segment_rows = 900, .seed = 12 };
  SampleUnits u;
  Query *q;
  Arena arena = { 0 };
  uint64_t cut = counter_get(COUNTER_sorts_cut);
  sample_units_create(&u, &o);
  CHECK_OK(query_create(&u.schema, &q));
  QueryOrder order = { u.columns[0].name, false, false };
  CHECK_OK(query_order_by(q, &order, 1));
  Outs all = run(&arena, &u, q);
  query_limit(q, 0, 5);
  Outs few = run(&arena, &u, q);
  CHECK_INT(few.count, 5);
  for (size_t i = 0; i < few.count; i++) check_value(&few.rows[i].values[0], &all.rows[i].values[0]);
  CHECK(counter_get(COUNTER_sorts_cut) > cut);
  memory_release(all.rows);
  memory_release(few.rows);
  query_destroy(q);
  arena_release(&arena);
  sample_units_release(&u);
}

/* ---- having ---- */

static void check_having(const SampleUnits *u, const char *text, bool (*passes)(const Out *)) {
  Arena arena = { 0 };
  Query *q;
  const char *keys[] = { u->columns[5].name };
  CHECK_OK(query_create(&u->schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, u->columns[0].name));
  CHECK_OK(query_group_by(q, keys, 1));
  Outs all = run(&arena, u, q);
  size_t expected = 0;
  for (size_t i = 0; i < all.count; i++) expected += passes(&all.rows[i]);
  CHECK_OK(query_having(q, text, strlen(text), NULL, 0));
  Outs some = run(&arena, u, q);
  CHECK_INT(some.count, expected);
  CHECK(expected > 0 && expected < all.count);
  for (size_t i = 0; i < some.count; i++) CHECK(passes(&some.rows[i]));
  memory_release(all.rows);
  memory_release(some.rows);
  query_destroy(q);
  arena_release(&arena);
}

static bool many_rows(const Out *o) { return o->values[1].u > 30; }
static bool wide_sum(const Out *o) {
  return !o->values[2].is_null && (o->sums[2].high > 0 || (o->sums[2].high == 0 && o->sums[2].low > UINT64_MAX / 2));
}

TEST(groups, having_filters_them_by_their_columns) {
  SampleUnitsOptions o = { .runs = 2, .run_rows = 4000, .slabs = 1, .slab_rows = 900, .seed = 4 };
  SampleUnits u;
  char text[120];
  sample_units_create(&u, &o);
  check_having(&u, "count(*) > 30", many_rows);
  check_having(&u, "COUNT( * ) > 30 and \"count(*)\" <> 0", many_rows);
  snprintf(text, sizeof text, "sum(%s) > 9223372036854775807", u.columns[0].name);
  check_having(&u, text, wide_sum);
  Query *q;
  CHECK_OK(query_create(&u.schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_STATUS(query_having(q, "count(*) > 3", 12, NULL, 0), KVSTORE_ERROR); /* nothing is grouped */
  CHECK_OK(query_group_by(q, NULL, 0));
  CHECK_STATUS(query_having(q, "sum(x) > 3", 10, NULL, 0), KVSTORE_SCHEMA);
  CHECK_STATUS(query_having(q, "count(*) > 'a'", 14, NULL, 0), KVSTORE_TYPE);
  CHECK_STATUS(query_having(q, "count(* > 3", 11, NULL, 0), KVSTORE_ERROR);
  query_destroy(q);
  sample_units_release(&u);
}

/* ---- what is refused, and memory that fails ---- */

TEST(groups, wrong_questions_are_refused) {
  SampleUnitsOptions o = { .seed = 1 };
  SampleUnits u;
  Query *q;
  sample_units_create(&u, &o);
  const char *twice[] = { u.columns[1].name, u.columns[1].name }, *none[] = { "altitude" };
  QueryOrder order = { "altitude", false, false };
  CHECK_OK(query_create(&u.schema, &q));
  CHECK_STATUS(query_group_by(q, twice, 2), KVSTORE_SCHEMA);
  CHECK_STATUS(query_group_by(q, none, 1), KVSTORE_SCHEMA);
  CHECK_STATUS(query_group_by(q, NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(query_order_by(q, &order, 1), KVSTORE_SCHEMA);
  CHECK_STATUS(query_aggregate(q, AGGREGATE_DEVIATION, u.columns[13].name), KVSTORE_TYPE);
  CHECK_OK(query_aggregate(q, AGGREGATE_DISTINCT, u.columns[13].name));
  query_destroy(q);
  sample_units_release(&u);
}

static Status try_once(const SampleUnits *u, const Question *question) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  QueryCursor *cursor = NULL;
  QueryBatch batch = { 0 };
  Query *q = NULL;
  const char *names[4];
  QueryOrder order = { u->columns[question->keys[0]].name, true, false };
  Status status = query_create(&u->schema, &q);
  for (size_t i = 0; i < question->ask_count && status == KVSTORE_OK; i++) status = ask(q, u, &question->asks[i]);
  for (size_t k = 0; k < question->key_count; k++) names[k] = u->columns[question->keys[k]].name;
  if (status == KVSTORE_OK) status = query_group_by(q, names, question->key_count);
  if (status == KVSTORE_OK) status = query_having(q, "count(*) > 0", 12, NULL, 0);
  if (status == KVSTORE_OK) status = query_order_by(q, &order, 1);
  if (status == KVSTORE_OK) query_limit(q, 0, 10);
  limit_of_memory = 1;
  if (status == KVSTORE_OK) status = query_open_within(q, &snapshot, space(), &cursor);
  do {
    if (status == KVSTORE_OK) status = query_next(cursor, &batch);
  } while (status == KVSTORE_OK && batch.row_count);
  query_close(cursor);
  query_destroy(q);
  buffer_release(&outside);
  return status;
}

TEST(groups, without_memory_a_query_fails_and_gives_back_what_it_had) {
  SampleUnitsOptions o = { .runs = 1, .run_rows = 900, .segment_rows = 500, .slabs = 1, .slab_rows = 200, .seed = 3 };
  SampleUnits u;
  sample_units_create(&u, &o);
  Question question = { .keys = { 13, 5 }, .key_count = 2, .ask_count = 6, .is_grouped = true };
  question.asks[0] = (AggregateRequest){ AGGREGATE_ROWS, 0, 0 };
  question.asks[1] = (AggregateRequest){ AGGREGATE_DISTINCT, 14, 0 };
  question.asks[2] = (AggregateRequest){ AGGREGATE_LAST, 13, 0 };
  question.asks[3] = (AggregateRequest){ AGGREGATE_GREATEST, 14, 0 };
  question.asks[5] = (AggregateRequest){ AGGREGATE_QUANTILE, 14, 300000 };
  question.asks[4] = (AggregateRequest){ AGGREGATE_VARIANCE, 10, 0 };
  CHECK_OK(try_once(&u, &question)); /* runs keep what they open */
  uint64_t held = memory_blocks_held();
  for (uint64_t n = 1;; n += 1 + n / 50) {
    failing_memory_install(n, false);
    Status status = try_once(&u, &question);
    bool reached = failing_memory_failures() > 0;
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (reached && status == KVSTORE_NOMEM));
    CHECK_INT(memory_blocks_held(), held);
    if (!reached) break;
  }
  sample_units_release(&u);
}
