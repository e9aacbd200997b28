/* What is told of a run's time: every step that took part, none longer than the whole, nothing before a run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "query/query.h"
#include "simd/simd.h"
#include "tests/columnar/sample_units.h"
#include "tests/support/test.h"

static void sample(SampleUnits *u, bool slab) {
  SampleUnitsOptions o = { .runs = 2, .run_rows = 6000, .segment_rows = 3000, .dead_percent = 10, .seed = 11 };
  if (slab) {
    o.slabs = 1;
    o.slab_rows = 1000;
  }
  sample_units_create(u, &o);
}

static Query *make_query(const SampleUnits *u, const char *where) {
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  return q;
}

static ScanCounters run_all(Query *q, const SampleUnits *u, uint64_t *given) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  QueryCursor *cursor;
  QueryBatch batch;
  *given = 0;
  CHECK_OK(query_open(q, &snapshot, &cursor));
  do {
    CHECK_OK(query_next(cursor, &batch));
    *given += batch.row_count;
  } while (batch.row_count);
  ScanCounters counters = query_counters(cursor);
  query_close(cursor);
  return counters;
}

static void check_has(const Buffer *text, const char *part) {
  if (!strstr((const char *)text->data, part)) CHECK_STR((const char *)text->data, part);
}

/* The numbers that stand behind `name` in a text, from `at` up to `end`, added up. */
static uint64_t sum_of(const char *at, const char *end, const char *name) {
  uint64_t sum = 0;
  for (size_t length = strlen(name); (at = strstr(at, name)) && at < end; at += length)
    sum += strtoull(at + length, NULL, 10);
  return sum;
}

/* Steps of one thread come to the whole, but for rounding; terms lie within the filter's step. */
static void check_times(const Query *q, const ScanCounters *c) {
  Buffer json = { 0 };
  query_explain_json(q, c, 0, &json);
  buffer_u8(&json, 0);
  const char *text = (const char *)json.data, *end = text + json.length;
  CHECK(c->whole_ns > 0);
  CHECK_INT(strtoull(strstr(text, "\"ns\":") + 5, NULL, 10), c->whole_ns);
  const char *terms = strstr(text, "\"terms\":["), *after = terms ? strstr(terms, "]}]") : NULL;
  uint64_t all = sum_of(text, end, "\"ns\":"), of_terms = after ? sum_of(terms, after, "\"ns\":") : 0;
  uint64_t steps = all - c->whole_ns - of_terms;
  CHECK(steps <= c->whole_ns);
  CHECK(steps + SCAN_STEPS >= c->whole_ns);
  const char *filter = strstr(text, "{\"step\":\"filter\",\"ns\":");
  CHECK(!of_terms || of_terms <= sum_of(filter, filter + 30, "\"ns\":"));
  buffer_release(&json);
}

TEST(query_explain_run, one_term_has_the_rows_of_the_filter) {
  SampleUnits u;
  sample(&u, true);
  TableSnapshot snapshot = sample_units_snapshot(&u);
  Query *q = make_query(&u, "c4_i32 > 4000");
  Arena strings = { 0 };
  AggregateResult result;
  ScanCounters c;
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_run(q, &snapshot, &strings, &result, &c));
  check_times(q, &c);
  CHECK(c.ticks[SCAN_STEP_SELECT] > 0);
  CHECK(c.ticks[SCAN_STEP_ADD] > 0);
  CHECK_INT(c.ticks[SCAN_STEP_ORDER] + c.ticks[SCAN_STEP_MERGE] + c.ticks[SCAN_STEP_SOURCE], 0);
  CHECK_INT(c.terms[0][0].rows_out, result.value.u);
  CHECK_INT(c.terms[0][0].blocks, c.blocks_scanned);
  CHECK_INT(c.terms[0][1].rows_in, 0);
  CHECK(c.encodings != 0);
  CHECK((c.terms[0][0].encodings & ~c.encodings) == 0);
  arena_release(&strings);
  query_destroy(q);
  sample_units_release(&u);
}

TEST(query_explain_run, each_term_is_asked_what_the_one_before_has_left) {
  SampleUnits u;
  sample(&u, false);
  Query *q = make_query(&u, "c16_i64 < 30 and c1_bool");
  uint64_t given, in = 0, out = 0;
  ScanCounters c = run_all(q, &u, &given);
  check_times(q, &c);
  for (size_t i = 0; i < 2; i++) {
    CHECK(c.terms[0][i].rows_in >= c.terms[0][i].rows_out);
    in += c.terms[0][i].rows_in;
    out += c.terms[0][i].rows_out;
  }
  /* What one lets through the next is asked: live rows go in from outside, but for those of blocks that zone maps
   * exclude as a whole, and selected ones come out at the end. */
  uint64_t live = 0;
  for (uint32_t unit = 0; unit < u.unit_count; unit++)
    for (uint32_t row = 0; row < u.units[unit].row_count; row++) live += u.live[unit][row];
  CHECK(in - out <= live - given);
  CHECK(in - out + c.blocks_skipped * BLOCK_ROWS >= live - given);
  CHECK_INT(c.rows_given, given);
  query_destroy(q);
  sample_units_release(&u);
}

TEST(query_explain_run, steps_stand_in_text_and_json_with_times_within_the_whole) {
  SampleUnits u;
  sample(&u, true);
  Query *q = make_query(&u, "c4_i32 > 100 and c16_i64 < 40");
  char kernels[64];
  const char *keys[] = { "c16_i64" };
  QueryOrder order = { .column = "count(*)", .descending = true };
  Buffer text = { 0 };
  uint64_t given;
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_group_by(q, keys, 1));
  CHECK_OK(query_order_by(q, &order, 1));
  query_explain_json(q, NULL, 0, &text);
  buffer_u8(&text, 0);
  CHECK(!strstr((const char *)text.data, "\"steps\""));
  ScanCounters c = run_all(q, &u, &given);
  check_times(q, &c);
  buffer_clear(&text);
  query_explain(q, &c, 0, &text);
  buffer_u8(&text, 0);
  check_has(&text, "\ntime: ");
  check_has(&text, "\n  filter: ");
  check_has(&text, "\n    c4_i32: ");
  check_has(&text, "\n    c16_i64: ");
  check_has(&text, "\n  groups: ");
  check_has(&text, "\n  order: ");
  CHECK_INT(c.ticks[SCAN_STEP_BACK], 0); /* nothing had left */
  check_has(&text, "\n  output: ");
  check_has(&text, "\nencodings: ");
  snprintf(kernels, sizeof kernels, "\nkernels: %s\n", simd_kernels()->name);
  check_has(&text, kernels);
  buffer_clear(&text);
  query_explain_json(q, &c, 0, &text);
  buffer_u8(&text, 0);
  check_has(&text, ",\"steps\":[{\"step\":\"filter\",\"ns\":");
  check_has(&text, ",\"terms\":[{\"columns\":[\"c4_i32\"],\"ns\":");
  check_has(&text, "{\"step\":\"groups\",\"ns\":");
  check_has(&text, "{\"step\":\"order\",\"ns\":");
  check_has(&text, "{\"step\":\"output\",\"ns\":");
  check_has(&text, "],\"encodings\":[\"");
  snprintf(kernels, sizeof kernels, "\"],\"kernels\":\"%s\"", simd_kernels()->name);
  check_has(&text, kernels);
  buffer_release(&text);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Keys that the filter limits are searched; what is left of it is asked of segments, all of it of newest rows. */
TEST(query_explain_run, of_a_range_of_keys_both_filters_are_told) {
  SampleUnits u;
  sample(&u, true);
  Query *q = make_query(&u, "c0_i64 > 0 and c16_i64 < 30");
  uint64_t given;
  ScanCounters c = run_all(q, &u, &given);
  check_times(q, &c);
  CHECK(c.terms[1][0].rows_in > 0);
  CHECK(c.terms[0][0].rows_in > 0);
  CHECK_INT(c.terms[1][1].rows_in, 0); /* the key is not asked again */
  query_destroy(q);
  sample_units_release(&u);
}
