/* Scans and aggregates against a plain loop over the rows, on every table of kernels. */
#include <math.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "base/counters.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "columnar/aggregates.h"
#include "simd/simd.h"
#include "tests/columnar/sample_units.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- the plain answers ---- */

__extension__ typedef __int128 Wide;

static Wide wide(Int128 v) {
  __extension__ typedef unsigned __int128 Unsigned;
  return (Wide)((Unsigned)(uint64_t)v.high << 64 | v.low);
}

static void check_same_double(double actual, double expected) {
  if (expected != expected) {
    CHECK(actual != actual);
  } else {
    CHECK_BYTES(&actual, &expected, sizeof actual);
  }
}

/* The eight lanes of docs/semantics.md. */
typedef struct Lanes {
  double of[8];
} Lanes;

static double lanes_sum(const Lanes *l) {
  const double *x = l->of;
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

typedef struct Oracle {
  uint64_t rows, values;
  Wide sum;
  Lanes lanes;
  Value least, greatest;
} Oracle;

static void oracle_add(Oracle *o, Lanes *of_unit, uint32_t row, const Value *v) {
  o->rows++;
  if (v->is_null) return;
  if (type_is_float(v->type)) {
    of_unit->of[row % 8] += v->f;
  } else if (!type_is_string(v->type)) {
    o->sum += v->type >= TYPE_U8 && v->type <= TYPE_U64 ? (Wide)v->u : (Wide)v->i;
  }
  if (o->values == 0 || sample_order(v, &o->least) < 0) o->least = *v;
  if (o->values == 0 || sample_order(v, &o->greatest) > 0) o->greatest = *v;
  o->values++;
}

static Oracle oracle(const SampleUnits *u, const PredicateTerm *term, uint32_t column) {
  Oracle o = { 0 };
  for (uint32_t unit = 0; unit < u->unit_count; unit++) {
    Lanes of_unit = { { 0 } };
    for (uint32_t row = 0; row < u->units[unit].row_count; row++) {
      if (!sample_filter_selects(term, u, unit, row)) continue;
      Value v = sample_units_value(u, unit, column, row);
      oracle_add(&o, &of_unit, row, &v);
    }
    for (uint32_t i = 0; i < 8; i++) o.lanes.of[i] += of_unit.of[i];
  }
  return o;
}

/* ---- checks ---- */

static void check_selection(const SampleUnits *u, const PredicateTerm *term, uint32_t unit, Scan *scan) {
  const ScanSelection *s = scan_selection(scan);
  uint64_t rows = 0, blocks = 0;
  scan_fill_masks(scan);
  CHECK_INT(s->whole & ~s->blocks, 0);
  for (uint32_t row = 0; row < u->units[unit].row_count; row++) {
    uint32_t block = row / BLOCK_ROWS;
    bool expected = sample_filter_selects(term, u, unit, row);
    bool actual = s->blocks >> block & 1 && bit_get(s->masks[block], row % BLOCK_ROWS);
    if (expected != actual) CHECK_INT(actual, expected);
    if (expected) blocks |= UINT64_C(1) << block;
    rows += expected;
  }
  CHECK_INT(s->row_count, rows);
  CHECK_INT(s->blocks, blocks);
  for (uint32_t block = 0; block < s->block_count; block++) {
    uint64_t in_block = s->blocks >> block & 1 ? bitmap_count(s->masks[block], BLOCK_WORDS) : 0;
    CHECK(in_block <= scan_block_rows(&u->units[unit], block)); /* nothing past the last row */
    if (s->whole >> block & 1) CHECK_INT(in_block, scan_block_rows(&u->units[unit], block));
  }
}

/* A block of numbers, with bits for the nulls. */
static void check_valid(const SampleUnits *u, uint32_t unit, Scan *scan, uint32_t column, uint32_t block) {
  uint64_t values[2 * BLOCK_ROWS], valid[BLOCK_WORDS];
  uint32_t rows = scan_block_rows(&u->units[unit], block), nulls = 0;
  bool has_nulls;
  if (type_is_string(u->schema.columns[column].type)) return;
  CHECK_OK(scan_read_valid(scan, column, block, values, valid, &has_nulls));
  for (uint32_t i = 0; i < rows; i++) {
    Value expected = sample_units_value(u, unit, column, block * BLOCK_ROWS + i), actual;
    CHECK_INT(bit_get(valid, i), !expected.is_null);
    nulls += expected.is_null;
    if (expected.is_null) continue;
    actual = value_from_array(expected.type, values, i);
    CHECK(sample_same_value(&actual, &expected));
  }
  CHECK_INT(has_nulls, nulls > 0);
  CHECK_INT(bitmap_count(valid, BLOCK_WORDS), rows - nulls); /* none past the last row */
}

static void check_values(const SampleUnits *u, uint32_t unit, Scan *scan, uint64_t *random) {
  uint32_t column = (uint32_t)test_random_below(random, u->schema.column_count);
  uint32_t block = (uint32_t)test_random_below(random, scan_selection(scan)->block_count);
  Bytes values[BLOCK_ROWS];
  uint8_t nulls[BLOCK_ROWS];
  CHECK_OK(scan_read_block(scan, column, block, values, nulls));
  for (uint32_t i = 0; i < scan_block_rows(&u->units[unit], block); i += 7) {
    Value expected = sample_units_value(u, unit, column, block * BLOCK_ROWS + i), actual;
    CHECK_INT(nulls[i], expected.is_null);
    if (!expected.is_null) {
      actual = value_from_array(expected.type, values, i);
      CHECK(sample_same_value(&actual, &expected));
    }
    CHECK_OK(scan_read_value(scan, column, block * BLOCK_ROWS + i, &actual));
    CHECK(sample_same_value(&actual, &expected));
  }
  check_valid(u, unit, scan, column, block);
}

static bool has_sum(ColumnType t) { return t == TYPE_BOOL || type_is_integer(t) || type_is_float(t); }

static void check_end(const AggregateResult *r, const Oracle *o, const Value *expected) {
  CHECK_INT(r->is_null, o->values == 0);
  if (o->values == 0) return;
  CHECK_INT(r->value.type, expected->type);
  CHECK_INT(sample_order(&r->value, expected), 0);
  if (type_is_float(expected->type) && expected->f == 0) CHECK(!signbit(r->value.f));
}

static void check_results(const Aggregates *a, const Oracle *o, ColumnType type) {
  AggregateResult rows = aggregates_result(a, 0), values = aggregates_result(a, 1), least = aggregates_result(a, 2),
                  greatest = aggregates_result(a, 3);
  CHECK_INT(rows.value.u, o->rows);
  CHECK_INT(values.value.u, o->values);
  check_end(&least, o, &o->least);
  check_end(&greatest, o, &o->greatest);
  if (!has_sum(type)) return;
  AggregateResult total = aggregates_result(a, 4), mean = aggregates_result(a, 5);
  CHECK_INT(total.is_null, o->values == 0);
  CHECK_INT(mean.is_null, o->values == 0);
  if (o->values == 0) return;
  if (type_is_float(type)) {
    check_same_double(total.value.f, lanes_sum(&o->lanes));
    check_same_double(mean.value.f, lanes_sum(&o->lanes) / (double)o->values);
  } else {
    CHECK(total.is_integer);
    CHECK(wide(total.integer) == o->sum);
    check_same_double(mean.value.f, (double)o->sum / (double)o->values);
  }
}

static void check_scan(const SampleUnits *u, const PredicateTerm *term, Arena *arena, uint64_t *random) {
  Predicate predicate;
  Scan *scan;
  Aggregates *all, *ends;
  uint32_t column = (uint32_t)test_random_below(random, u->schema.column_count);
  ColumnType type = u->columns[column].type;
  AggregateRequest requests[] = { { AGGREGATE_ROWS, 0, 0 },       { AGGREGATE_VALUES, column, 0 },
                                  { AGGREGATE_LEAST, column, 0 }, { AGGREGATE_GREATEST, column, 0 },
                                  { AGGREGATE_TOTAL, column, 0 }, { AGGREGATE_MEAN, column, 0 } };
  if (term) CHECK_OK(predicate_bind(&u->schema, term, arena, &predicate));
  CHECK_OK(scan_create(&u->schema, term ? &predicate : NULL, u->now_ms, &scan));
  CHECK_OK(aggregates_create(&u->schema, requests, has_sum(type) ? 6 : 4, &all));
  CHECK_OK(aggregates_create(&u->schema, requests + 2, 2, &ends)); /* may be pruned by what is known already */
  for (uint32_t unit = 0; unit < u->unit_count; unit++) {
    CHECK_OK(scan_unit(scan, &u->units[unit]));
    CHECK_OK(aggregates_add(all, scan));
    CHECK_OK(aggregates_add(ends, scan));
    check_selection(u, term, unit, scan);
    check_values(u, unit, scan, random);
  }
  Oracle o = oracle(u, term, column);
  AggregateResult least = aggregates_result(ends, 0), greatest = aggregates_result(ends, 1);
  check_results(all, &o, type);
  check_end(&least, &o, &o.least);
  check_end(&greatest, &o, &o.greatest);
  const ScanCounters *c = scan_counters(scan);
  CHECK_INT(c->blocks, c->blocks_skipped + c->blocks_certain + c->blocks_scanned);
  CHECK_INT(c->rows_selected, o.rows);
  CHECK_INT(c->units, u->unit_count);
  aggregates_destroy(all);
  aggregates_destroy(ends);
  scan_destroy(scan);
}

static void campaign(const SampleUnitsOptions *options, uint64_t filters) {
  uint64_t random = options->seed + 99, held = memory_blocks_held();
  SampleUnits u;
  Arena arena = { 0 };
  sample_units_create(&u, options);
  check_scan(&u, NULL, &arena, &random);
  for (uint64_t i = 0; i < filters; i++) {
    for (int level = 0; level < SIMD_LEVELS; level++) {
      uint64_t same = random;
      if (!simd_table((SimdLevel)level)) continue;
      simd_force(simd_table((SimdLevel)level));
      const PredicateTerm *term = sample_filter(&arena, &u, 1 + (uint32_t)(i % 4), &same);
      check_scan(&u, term, &arena, &same);
      if (level == SIMD_LEVELS - 1 || !simd_table((SimdLevel)(level + 1))) random = same;
    }
    arena_reset(&arena);
  }
  simd_force(NULL);
  arena_release(&arena);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), held);
}

TEST(scan, segments_answer_as_their_rows_do) {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    SampleUnitsOptions o = { .runs = 2, .run_rows = 6000, .segment_rows = seed % 2 ? 2500 : 5000, .seed = seed };
    campaign(&o, test_scaled(60));
  }
}

TEST(scan, dead_and_expired_rows_are_left_out) {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    SampleUnitsOptions o = { .runs = 2,
                             .run_rows = 9000,
                             .segment_rows = 4500,
                             .dead_percent = 30,
                             .seed = seed,
                             .expiring_percent = seed % 2 ? 40 : 0 };
    campaign(&o, test_scaled(40));
  }
}

TEST(scan, slabs_answer_as_their_rows_do) {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    SampleUnitsOptions o = { .slabs = 2,
                             .slab_rows = seed == 4 ? 1024 : 3000,
                             .dead_percent = seed % 2 ? 30 : 0,
                             .expiring_percent = seed > 2 ? 30 : 0,
                             .old_runs = true,
                             .seed = seed };
    campaign(&o, test_scaled(60));
  }
}

TEST(scan, runs_slabs_and_columns_added_later_agree) {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    SampleUnitsOptions o = { .runs = 3,
                             .run_rows = 4000,
                             .segment_rows = 2100,
                             .slabs = 1,
                             .slab_rows = 1500,
                             .old_runs = true,
                             .dead_percent = 10,
                             .expiring_percent = 10,
                             .mode = (ExtentMode)(seed % 3),
                             .seed = seed };
    campaign(&o, test_scaled(40));
  }
}

TEST(scan, whole_segments_and_single_rows) {
  SampleUnitsOptions whole = {
    .runs = 1, .run_rows = 140000, .slabs = 1, .slab_rows = 1, .dead_percent = 1, .seed = 7
  };
  SampleUnitsOptions single = {
    .runs = 3, .run_rows = 1, .slabs = 1, .slab_rows = 1, .expiring_percent = 50, .seed = 8
  };
  campaign(&whole, test_scaled(4));
  campaign(&single, test_scaled(100));
  for (; single.seed < 108 && !counter_get(COUNTER_segments_skipped); single.seed++) campaign(&single, 10);
  CHECK(counter_get(COUNTER_blocks_skipped) > 0);
  CHECK(counter_get(COUNTER_blocks_certain) > 0);
  CHECK(counter_get(COUNTER_blocks_scanned) > 0);
  CHECK(counter_get(COUNTER_segments_skipped) > 0);
}

/* ---- what is not read ---- */

enum { SEGMENT = 4096, SEGMENTS = 4 };

/* A table of one i64 key that counts up, an f64 that falls, a string; in segments of four blocks. */
typedef struct Sorted {
  SampleTable table;
  SampleStore store;
  ColumnRun *run;
  Arena arena;
  ScanUnit units[SEGMENTS];
} Sorted;

static void sorted_open(Sorted *s, ExtentMode mode) {
  memset(s, 0, sizeof *s);
  sample_add_column(&s->table, TYPE_I64, 0);
  sample_add_column(&s->table, TYPE_F64, 0);
  sample_add_column(&s->table, TYPE_STRING, 0);
  sample_add_column(&s->table, TYPE_I32, COLUMN_NULLABLE);
  sample_add_key(&s->table, 0);
  sample_fill(&s->table, SEGMENT * SEGMENTS, 0, 5);
  s->table.row_count = SEGMENT * SEGMENTS;
  for (uint32_t row = 0; row < s->table.row_count; row++) {
    ((int64_t *)(uintptr_t)s->table.arrays[0].values)[row] = row;
    ((double *)(uintptr_t)s->table.arrays[1].values)[row] = -(double)row / 4;
  }
  sample_sort(&s->table);
  CHECK_INT(s->table.row_count, SEGMENT * SEGMENTS);
  ColumnRunOptions options = { .segment_rows = SEGMENT };
  sample_write(&s->store, &s->table, &options, SEGMENT);
  sample_set_mode(&s->store, mode);
  CHECK_OK(sample_open(&s->store, &s->table.schema, &s->run));
  CHECK_INT(s->run->segment_count, SEGMENTS);
  for (uint32_t i = 0; i < SEGMENTS; i++) {
    s->units[i] = (ScanUnit){ .kind = SCAN_UNIT_SEGMENT, .row_count = SEGMENT, .run = s->run, .segment = i };
  }
}

static void sorted_close(Sorted *s) {
  column_run_close(s->run);
  sample_store_release(&s->store);
  sample_release(&s->table);
  arena_release(&s->arena);
}

/* Spoils every byte of every extent, so that whatever is read is found damaged. */
static void sorted_damage(Sorted *s) {
  for (uint32_t i = 0; i < s->store.count; i++) memset(s->store.extents[i]->bytes, 0xA5, s->store.extents[i]->length);
}

static Value integer(int64_t i) { return (Value){ .type = TYPE_I64, .i = i }; }

static Status run_count(Sorted *s, CompareOperator op, const Value *constants, uint32_t count,
                        const AggregateRequest *requests, size_t request_count, AggregateResult *results,
                        ScanCounters *counters) {
  PredicateTerm term = { .kind = TERM_COMPARE, .column = 0, .op = op, .constants = constants, .count = count };
  Predicate predicate;
  Scan *scan;
  Aggregates *aggregates;
  CHECK_OK(predicate_bind(&s->table.schema, &term, &s->arena, &predicate));
  CHECK_OK(scan_create(&s->table.schema, &predicate, 0, &scan));
  CHECK_OK(aggregates_create(&s->table.schema, requests, request_count, &aggregates));
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < SEGMENTS && status == KVSTORE_OK; i++) {
    status = scan_unit(scan, &s->units[i]);
    if (status != KVSTORE_OK) CHECK_INT(scan_selection(scan)->row_count + scan_selection(scan)->blocks, 0);
    if (status == KVSTORE_OK) status = aggregates_add(aggregates, scan);
  }
  for (size_t i = 0; i < request_count && status == KVSTORE_OK; i++) results[i] = aggregates_result(aggregates, i);
  *counters = *scan_counters(scan);
  aggregates_destroy(aggregates);
  scan_destroy(scan);
  return status;
}

static const AggregateRequest count_only[] = { { AGGREGATE_ROWS, 0, 0 } };
static const AggregateRequest from_directory[] = {
  { AGGREGATE_ROWS, 0, 0 },   { AGGREGATE_LEAST, 1, 0 },  { AGGREGATE_GREATEST, 1, 0 },
  { AGGREGATE_VALUES, 3, 0 }, { AGGREGATE_VALUES, 2, 0 },
};

TEST(scan, an_excluded_table_is_not_touched) {
  Sorted s;
  AggregateResult result;
  ScanCounters c;
  sorted_open(&s, EXTENTS_VERIFIED);
  sorted_damage(&s);
  Value limit = integer(SEGMENT * SEGMENTS);
  uint64_t before = counter_get(COUNTER_segments_skipped), runs = counter_get(COUNTER_runs_excluded);
  CHECK_OK(run_count(&s, COMPARE_GREATER_EQUAL, &limit, 1, count_only, 1, &result, &c));
  CHECK_INT(result.value.u, 0);
  CHECK_INT(c.segments_skipped, SEGMENTS);
  CHECK_INT(c.blocks_skipped, SEGMENTS * 4);
  CHECK_INT(c.blocks_scanned + c.blocks_certain, 0);
  CHECK_INT(counter_get(COUNTER_segments_skipped) - before, SEGMENTS);
  CHECK_INT(counter_get(COUNTER_runs_excluded) - runs, 1); /* asked once */
  sorted_close(&s);
}

TEST(scan, a_certain_table_is_answered_by_its_directory) {
  Sorted s;
  AggregateResult results[5];
  ScanCounters c;
  sorted_open(&s, EXTENTS_CACHED);
  uint64_t nulls = 0;
  for (uint32_t row = 0; row < SEGMENT * SEGMENTS; row++) nulls += s.table.arrays[3].nulls[row];
  CHECK(nulls > 0);
  sorted_damage(&s);
  Value range[] = { integer(0), integer(SEGMENT * SEGMENTS - 1) };
  CHECK_OK(run_count(&s, COMPARE_BETWEEN, range, 2, from_directory, 5, results, &c));
  CHECK_INT(results[0].value.u, SEGMENT * SEGMENTS);
  CHECK(results[1].value.f == -(double)(SEGMENT * SEGMENTS - 1) / 4);
  CHECK(results[2].value.f == 0);
  CHECK_INT(results[3].value.u, SEGMENT * SEGMENTS - nulls);
  CHECK_INT(results[4].value.u, SEGMENT * SEGMENTS);
  CHECK_INT(c.blocks_certain, SEGMENTS * 4);
  sorted_close(&s);
}

TEST(scan, zones_leave_only_the_blocks_at_the_edges) {
  Sorted s;
  AggregateResult results[5];
  ScanCounters c;
  sorted_open(&s, EXTENTS_TRUSTED);
  Value range[] = { integer(SEGMENT + 100), integer(2 * SEGMENT + 2000) }; /* from within block 4 to within block 9 */
  uint64_t runs = counter_get(COUNTER_runs_excluded);
  CHECK_OK(run_count(&s, COMPARE_BETWEEN, range, 2, from_directory, 5, results, &c));
  CHECK_INT(results[0].value.u, SEGMENT + 1901);
  CHECK(results[1].value.f == -(double)(2 * SEGMENT + 2000) / 4);
  CHECK(results[2].value.f == -(double)(SEGMENT + 100) / 4);
  CHECK_INT(counter_get(COUNTER_runs_excluded), runs);
  CHECK_INT(c.segments_skipped, 2);
  CHECK_INT(c.blocks_skipped, 8 + 2);
  CHECK_INT(c.blocks_scanned, 2);
  CHECK_INT(c.blocks_certain, 4);
  sorted_close(&s);
}

/* Selected rows with a key from `from` on; what was done goes to *counters. */
static uint64_t count_from_key(Sorted *s, int64_t from, ScanCounters *counters) {
  Buffer low = { 0 };
  Value key = integer(from);
  const PredicateNode all = { .kind = PREDICATE_ALL };
  const Predicate inside = { .root = &all };
  Scan *scan;
  keycode_append(&low, &key, false);
  ScanKeys keys = { .low = { low.data, low.length }, .inside = &inside };
  CHECK_OK(scan_create_within(&s->table.schema, NULL, &keys, NULL, 0, &scan));
  for (uint32_t i = 0; i < SEGMENTS; i++) CHECK_OK(scan_unit(scan, &s->units[i]));
  *counters = *scan_counters(scan);
  scan_destroy(scan);
  buffer_release(&low);
  return counters->rows_selected;
}

TEST(scan, a_run_outside_the_keys_is_excluded_at_once) {
  Sorted s;
  ScanCounters c;
  sorted_open(&s, EXTENTS_VERIFIED);
  uint64_t runs = counter_get(COUNTER_runs_excluded);
  CHECK_INT(count_from_key(&s, SEGMENT + 5, &c), 3 * SEGMENT - 5);
  CHECK_INT(c.segments_skipped, 1);
  CHECK_INT(counter_get(COUNTER_runs_excluded), runs);
  CHECK_INT(count_from_key(&s, SEGMENT * SEGMENTS, &c), 0);
  CHECK_INT(c.segments_skipped, SEGMENTS);
  CHECK_INT(counter_get(COUNTER_runs_excluded) - runs, 1);
  sorted_close(&s);
}

TEST(scan, wholly_dead_and_expired_segments_are_not_touched) {
  Sorted s;
  AggregateResult result;
  ScanCounters c;
  uint32_t positions[SEGMENT];
  DeletedSet *deleted;
  sorted_open(&s, EXTENTS_VERIFIED);
  for (uint32_t i = 0; i < SEGMENT; i++) positions[i] = position_pack(1, i);
  CHECK_OK(deleted_set_add_many(NULL, SEGMENTS, positions, SEGMENT, &deleted));
  for (uint32_t i = 0; i < SEGMENTS; i++) s.units[i].deleted = deleted;
  sorted_damage(&s);
  Value low = integer(0);
  CHECK_OK(run_count(&s, COMPARE_GREATER_EQUAL, &low, 1, count_only, 1, &result, &c));
  CHECK_INT(result.value.u, SEGMENT * (SEGMENTS - 1));
  CHECK_INT(c.segments_skipped, 1);
  deleted_set_release(deleted);
  sorted_close(&s);
}

TEST(scan, dead_rows_leave_the_zone_maps_out_of_aggregates) {
  Sorted s;
  AggregateResult results[5];
  ScanCounters c;
  DeletedSet *deleted;
  uint32_t positions[] = { position_pack(0, 0), position_pack(SEGMENTS - 1, SEGMENT - 1) };
  sorted_open(&s, EXTENTS_TRUSTED);
  CHECK_OK(deleted_set_add_many(NULL, SEGMENTS, positions, 2, &deleted));
  for (uint32_t i = 0; i < SEGMENTS; i++) s.units[i].deleted = deleted;
  Value low = integer(0);
  CHECK_OK(run_count(&s, COMPARE_GREATER_EQUAL, &low, 1, from_directory, 5, results, &c));
  CHECK_INT(results[0].value.u, SEGMENT * SEGMENTS - 2);
  CHECK(results[1].value.f == -(double)(SEGMENT * SEGMENTS - 2) / 4);
  CHECK(results[2].value.f == -0.25);
  deleted_set_release(deleted);
  sorted_close(&s);
}

TEST(scan, damage_is_found_and_nothing_is_selected) {
  for (ExtentMode mode = EXTENTS_VERIFIED; mode <= EXTENTS_CACHED; mode++) {
    Sorted s;
    AggregateResult result;
    ScanCounters c;
    sorted_open(&s, mode);
    sorted_damage(&s);
    Value middle = integer(SEGMENT / 2 + 5);
    CHECK_STATUS(run_count(&s, COMPARE_LESS, &middle, 1, count_only, 1, &result, &c), KVSTORE_CORRUPT);
    AggregateRequest sum = { AGGREGATE_TOTAL, 1, 0 };
    Value all = integer(SEGMENT * SEGMENTS);
    CHECK_STATUS(run_count(&s, COMPARE_LESS, &all, 1, &sum, 1, &result, &c), KVSTORE_CORRUPT);
    sorted_close(&s);
  }
}

TEST(scan, few_rows_are_looked_at_by_position) {
  Sorted s;
  Arena arena = { 0 };
  sorted_open(&s, EXTENTS_TRUSTED);
  Value range[] = { integer(100), integer(110) }, number = { .type = TYPE_F64, .f = -26 };
  PredicateTerm few = { .kind = TERM_COMPARE, .column = 0, .op = COMPARE_BETWEEN, .constants = range, .count = 2 },
                then = {
                  .kind = TERM_COMPARE, .column = 1, .op = COMPARE_GREATER_EQUAL, .constants = &number, .count = 1
                };
  const PredicateTerm *terms[] = { &then, &few };
  PredicateTerm both = { .kind = TERM_AND, .terms = terms, .count = 2 };
  Predicate predicate;
  Scan *scan;
  uint64_t before = counter_get(COUNTER_blocks_by_position);
  CHECK_OK(predicate_bind(&s.table.schema, &both, &arena, &predicate));
  CHECK_OK(scan_create(&s.table.schema, &predicate, 0, &scan));
  CHECK_OK(scan_unit(scan, &s.units[0]));
  CHECK_INT(scan_selection(scan)->row_count, 5); /* 100 to 104 */
  CHECK(counter_get(COUNTER_blocks_by_position) > before);
  scan_destroy(scan);
  arena_release(&arena);
  sorted_close(&s);
}

/* ---- mistakes and memory ---- */

TEST(aggregates, mistakes_are_named) {
  Sorted s;
  Aggregates *a;
  AggregateRequest string_sum = { AGGREGATE_TOTAL, 2, 0 }, string_mean = { AGGREGATE_MEAN, 2, 0 },
                   unknown = { AGGREGATE_LEAST, 44, 0 };
  sorted_open(&s, EXTENTS_TRUSTED);
  CHECK_STATUS(aggregates_create(&s.table.schema, &string_sum, 1, &a), KVSTORE_TYPE);
  CHECK_STR(status_last()->column, s.table.columns[2].name);
  CHECK_STATUS(aggregates_create(&s.table.schema, &string_mean, 1, &a), KVSTORE_TYPE);
  CHECK_STATUS(aggregates_create(&s.table.schema, &unknown, 1, &a), KVSTORE_SCHEMA);
  sorted_close(&s);
}

TEST(aggregates, of_no_rows_are_null_and_counts_are_zero) {
  Schema schema = { 0 };
  Column column = { .id = 1, .type = TYPE_F64, .name = "x" };
  schema.columns = &column;
  schema.column_count = 1;
  AggregateRequest requests[] = { { AGGREGATE_ROWS, 0, 0 }, { AGGREGATE_VALUES, 0, 0 }, { AGGREGATE_TOTAL, 0, 0 },
                                  { AGGREGATE_MEAN, 0, 0 }, { AGGREGATE_LEAST, 0, 0 },  { AGGREGATE_GREATEST, 0, 0 } };
  Aggregates *a;
  CHECK_OK(aggregates_create(&schema, requests, 6, &a));
  for (size_t i = 0; i < 6; i++) {
    AggregateResult r = aggregates_result(a, i);
    CHECK_INT(r.is_null, i >= 2);
    if (i < 2) CHECK_INT(r.value.u, 0);
  }
  aggregates_destroy(a);
}

TEST(aggregates, wide_sums_are_printed_and_rounded_right) {
  static const struct {
    Int128 value;
    const char *text;
    double number;
  } cases[] = {
    { { 0, 0 }, "0", 0 },
    { { UINT64_MAX, -1 }, "-1", -1 },
    { { 0, 1 }, "18446744073709551616", 0x1p64 },
    { { UINT64_MAX, INT64_MAX }, "170141183460469231731687303715884105727", 0x1p127 },
    { { 0, INT64_MIN }, "-170141183460469231731687303715884105728", -0x1p127 },
    { { 9007199254740993u, 0 }, "9007199254740993", 9007199254740992.0 }, /* a tie, to even */
    { { 1000000000000000000u, 0 }, "1000000000000000000", 1e18 },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[INT128_TEXT_MAX];
    CHECK_INT(int128_text(cases[i].value, text), strlen(cases[i].text));
    CHECK_STR(text, cases[i].text);
    CHECK(int128_to_double(cases[i].value) == cases[i].number);
  }
}

static Status scan_everything(const SampleUnits *u, const PredicateTerm *term) {
  Arena arena = { 0 };
  Predicate predicate;
  Scan *scan = NULL;
  Aggregates *a = NULL;
  uint32_t later = u->schema.column_count - SAMPLE_ADDED_COLUMNS; /* an i32 */
  AggregateRequest requests[] = {
    { AGGREGATE_LEAST, 13, 0 }, { AGGREGATE_GREATEST, 14, 0 }, { AGGREGATE_TOTAL, 4, 0 }, { AGGREGATE_MEAN, later, 0 }
  };
  Status status = predicate_bind(&u->schema, term, &arena, &predicate);
  if (status == KVSTORE_OK) status = scan_create(&u->schema, &predicate, u->now_ms, &scan);
  if (status == KVSTORE_OK) status = aggregates_create(&u->schema, requests, 4, &a);
  for (uint32_t i = 0; i < u->unit_count && status == KVSTORE_OK; i++) {
    status = scan_unit(scan, &u->units[i]);
    if (status == KVSTORE_OK) status = aggregates_add(a, scan);
  }
  aggregates_destroy(a);
  scan_destroy(scan);
  arena_release(&arena);
  return status;
}

TEST(scan, survives_every_failed_allocation) {
  SampleUnitsOptions o = { .runs = 2,
                           .run_rows = 3000,
                           .segment_rows = 1500,
                           .slabs = 1,
                           .slab_rows = 500,
                           .old_runs = true,
                           .dead_percent = 10,
                           .expiring_percent = 10,
                           .seed = 21 };
  uint64_t random = 4;
  SampleUnits u;
  Arena terms = { 0 };
  for (uint32_t i = 0; i < 5; i++) {
    sample_units_create(&u, &o); /* anew: what was opened stays open */
    const PredicateTerm *term = sample_filter(&terms, &u, 4, &random);
    for (uint64_t n = 1;; n++) {
      failing_memory_install(n, false);
      Status status = scan_everything(&u, term);
      bool reached = failing_memory_failures() > 0;
      failing_memory_remove();
      if (!reached) CHECK_OK(status); /* a growing buffer asks again for less, so a failure may be survived */
      CHECK(status == KVSTORE_OK || status == KVSTORE_NOMEM);
      if (!reached) break;
    }
    sample_units_release(&u);
  }
  arena_release(&terms);
}
