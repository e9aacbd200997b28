/* Merges of column runs against a merge of plain arrays. */
#include "columnar/column_merge.h"

#include <stdlib.h>

#include "base/memory.h"
#include "encodings/codec.h"
#include "tests/columnar/sample_table.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { INPUTS_MAX = 6, OUTPUTS_MAX = 40 };

/* ---- what a merge writes ---- */

typedef struct Outputs {
  SampleStore stores[OUTPUTS_MAX];
  uint32_t opened, closed;
  uint32_t cancel_after; /* questions answered with no; UINT32_MAX: always */
} Outputs;

static Status open_output(void *context, uint32_t number, RunSink *sink) {
  Outputs *outputs = context;
  CHECK_INT(number, outputs->opened);
  CHECK_INT(number, outputs->closed);
  CHECK(number < OUTPUTS_MAX);
  *sink = sample_sink(&outputs->stores[outputs->opened++]);
  return KVSTORE_OK;
}

static Status close_output(void *context, uint32_t number, Buffer *directory, ColumnRunSummary *summary) {
  Outputs *outputs = context;
  CHECK_INT(number, outputs->closed);
  SampleStore *store = &outputs->stores[outputs->closed++];
  store->directory = *directory;
  store->summary = *summary;
  memset(directory, 0, sizeof *directory);
  memset(summary, 0, sizeof *summary);
  sample_set_mode(store, EXTENTS_TRUSTED);
  return KVSTORE_OK;
}

static bool cancelled(void *context) {
  Outputs *outputs = context;
  if (outputs->cancel_after == UINT32_MAX) return false;
  return outputs->cancel_after-- == 0;
}

static void outputs_release(Outputs *outputs) {
  for (int i = 0; i < OUTPUTS_MAX; i++) sample_store_release(&outputs->stores[i]);
}

/* ---- inputs: a table dealt out to runs ---- */

typedef struct Inputs {
  SampleTable t;
  SampleStore stores[INPUTS_MAX];
  ColumnRun *runs[INPUTS_MAX];
  DeletedSet *deleted[INPUTS_MAX];
  ColumnMergeInput inputs[INPUTS_MAX];
  size_t count;
  uint8_t *is_live;   /* of each row of the table */
  uint64_t dead_rows; /* over all inputs, copies included */
} Inputs;

/* Which run each row goes to: interleaved at random, or in stretches. */
static uint32_t deal(uint64_t *random, uint32_t row, size_t inputs, uint32_t stretch) {
  if (stretch) return (uint32_t)(row / stretch % inputs);
  return (uint32_t)test_random_below(random, inputs);
}

static void write_rows(Inputs *in, size_t run, const uint32_t *rows, uint32_t count, const ColumnRunOptions *options) {
  SampleTable part = { 0 };
  part.schema = in->t.schema;
  memcpy(part.columns, in->t.columns, sizeof part.columns);
  part.schema.columns = part.columns;
  part.row_count = count;
  part.keys = arena_allocate(&part.arena, count * sizeof *part.keys);
  for (uint32_t i = 0; i < count; i++) part.keys[i] = in->t.keys[rows[i]];
  for (uint32_t c = 0; c < part.schema.column_count; c++) {
    size_t width = type_array_width(part.columns[c].type);
    uint8_t *values = arena_allocate(&part.arena, count * width), *nulls = NULL;
    if (in->t.arrays[c].nulls) nulls = arena_allocate(&part.arena, count);
    for (uint32_t i = 0; i < count; i++) {
      memcpy(values + i * width, (const uint8_t *)in->t.arrays[c].values + rows[i] * width, width);
      if (nulls) nulls[i] = in->t.arrays[c].nulls[rows[i]];
    }
    part.arrays[c] = (ColumnArray){ values, nulls };
  }
  if (in->t.expiry) {
    part.expiry = arena_allocate(&part.arena, count * sizeof *part.expiry);
    for (uint32_t i = 0; i < count; i++) part.expiry[i] = in->t.expiry[rows[i]];
  }
  sample_write(&in->stores[run], &part, options, 1000);
  CHECK_OK(sample_open(&in->stores[run], &in->t.schema, &in->runs[run]));
  sample_release(&part);
}

/* Deals the table's rows to `count` runs. One row in `dead_every` is dead where it lies (0: none); half of those are
 * live in another run, as a row is that was replaced. */
static void inputs_create(Inputs *in, size_t count, uint32_t stretch, uint32_t dead_every, uint32_t segment_rows,
                          uint64_t seed) {
  uint64_t random = seed;
  uint32_t total = in->t.row_count;
  uint32_t *rows[INPUTS_MAX], counts[INPUTS_MAX] = { 0 };
  uint8_t *dead[INPUTS_MAX];
  in->count = count;
  in->is_live = malloc(total);
  for (size_t i = 0; i < count; i++) rows[i] = calloc(total, sizeof *rows[i]), dead[i] = calloc(total, 1);
  for (uint32_t row = 0; row < total; row++) {
    uint32_t home = deal(&random, row, count, stretch);
    in->is_live[row] = 1;
    if (dead_every && test_random_below(&random, dead_every) == 0) {
      dead[home][counts[home]] = 1;
      rows[home][counts[home]++] = row;
      in->dead_rows++;
      in->is_live[row] = count > 1 && test_random_below(&random, 2);
      if (!in->is_live[row]) continue;
      home = (home + 1) % (uint32_t)count;
    }
    rows[home][counts[home]++] = row;
  }
  ColumnRunOptions options = { .segment_rows = segment_rows };
  for (size_t i = 0; i < count; i++) {
    write_rows(in, i, rows[i], counts[i], &options);
    uint32_t *positions = malloc((counts[i] + 1) * sizeof *positions), dead_count = 0;
    for (uint32_t r = 0; r < counts[i]; r++) {
      if (dead[i][r]) positions[dead_count++] = position_pack(r / segment_rows, r % segment_rows);
    }
    if (dead_count)
      CHECK_OK(deleted_set_add_many(NULL, in->runs[i]->segment_count, positions, dead_count, &in->deleted[i]));
    in->inputs[i] = (ColumnMergeInput){ in->runs[i], in->deleted[i] };
    free(positions);
    free(rows[i]);
    free(dead[i]);
  }
}

static void inputs_release(Inputs *in) {
  for (size_t i = 0; i < in->count; i++) {
    column_run_close(in->runs[i]);
    deleted_set_release(in->deleted[i]);
    sample_store_release(&in->stores[i]);
  }
  sample_release(&in->t);
  free(in->is_live);
}

/* ---- what must come out ---- */

static bool goes_on(const Inputs *in, uint32_t row, int64_t expired_before) {
  return in->is_live[row] && (!in->t.expiry || in->t.expiry[row] >= expired_before);
}

static void check_row(const Inputs *in, uint32_t row, const ColumnBatch *batch, uint32_t at) {
  for (uint32_t c = 0; c < batch->column_count; c++) {
    Value expected = sample_value(&in->t, c, row), got = { .type = in->t.columns[c].type, .is_null = true };
    if (!batch->columns[c].nulls || !batch->columns[c].nulls[at])
      got = value_from_array(in->t.columns[c].type, batch->columns[c].values, at);
    CHECK(sample_same_value(&got, &expected));
  }
  CHECK_INT(batch->expiry ? batch->expiry[at] : EXPIRY_NEVER, in->t.expiry ? in->t.expiry[row] : EXPIRY_NEVER);
}

static void check_outputs(const Inputs *in, Outputs *outputs, const ColumnMergeResult *result, int64_t expired_before) {
  uint64_t expected_rows = 0, expired = 0;
  uint32_t row = 0;
  for (uint32_t r = 0; r < in->t.row_count; r++) {
    expected_rows += goes_on(in, r, expired_before);
    expired += in->is_live[r] && !goes_on(in, r, expired_before);
  }
  CHECK_INT(outputs->closed, result->run_count);
  CHECK_INT(outputs->opened, result->run_count);
  CHECK_INT(result->row_count, expected_rows);
  CHECK_INT(result->deleted_count, in->dead_rows);
  CHECK_INT(result->expired_count, expired);
  for (uint32_t i = 0; i < result->run_count; i++) {
    ColumnRun *run;
    Arena arena = { 0 };
    CHECK_OK(sample_open(&outputs->stores[i], &in->t.schema, &run));
    CHECK_OK(column_run_check(run));
    CHECK(i + 1 == result->run_count || run->segment_count == RUN_SEGMENTS_MAX);
    for (uint32_t s = 0; s < run->segment_count; s++) {
      ColumnBatch batch;
      CHECK_OK(segment_decode(column_run_segment(run, s), &batch, &arena));
      for (uint32_t at = 0; at < batch.row_count; at++, row++) {
        while (!goes_on(in, row, expired_before)) row++;
        check_row(in, row, &batch, at);
      }
      arena_reset(&arena);
    }
    arena_release(&arena);
    column_run_close(run);
  }
  while (row < in->t.row_count && !goes_on(in, row, expired_before)) row++;
  CHECK_INT(row, in->t.row_count);
}

static void merge_and_check(Inputs *in, int64_t expired_before, uint32_t segment_rows) {
  Outputs *outputs = calloc(1, sizeof *outputs);
  outputs->cancel_after = UINT32_MAX;
  ColumnMergeOptions options = { &in->t.schema, expired_before, { .segment_rows = segment_rows },
                                 open_output,   close_output,   cancelled,
                                 outputs };
  ColumnMergeResult result;
  CHECK_OK(column_merge(in->inputs, in->count, &options, &result));
  check_outputs(in, outputs, &result, expired_before);
  outputs_release(outputs);
  free(outputs);
}

/* ---- tests ---- */

TEST(column_merge, live_rows_come_out_once_and_in_order) {
  for (size_t count = 1; count <= INPUTS_MAX; count++) {
    for (uint32_t stretch = 0; stretch <= 40; stretch += 40) {
      Inputs in = { 0 };
      sample_every_type(&in.t);
      sample_fill(&in.t, (uint32_t)test_scaled(12000) + 500, count % 2 ? 30 : 0, count);
      inputs_create(&in, count, stretch, 7, 900, count);
      merge_and_check(&in, INT64_MIN, 0);
      inputs_release(&in);
    }
  }
}

TEST(column_merge, rows_expired_before_the_bound_stay_behind) {
  Inputs in = { 0 };
  sample_every_type(&in.t);
  sample_fill(&in.t, 5000, 60, 3);
  inputs_create(&in, 3, 0, 5, 700, 3);
  merge_and_check(&in, 1700000400000, 0);
  merge_and_check(&in, 1700001000001, 0); /* all that expire at all */
  merge_and_check(&in, INT64_MIN, 0);
  inputs_release(&in);
}

TEST(column_merge, composite_and_string_keys_merge_by_their_encoding) {
  Inputs in = { 0 };
  sample_add_column(&in.t, TYPE_F64, COLUMN_NULLABLE);
  sample_add_column(&in.t, TYPE_STRING, 0);
  sample_add_column(&in.t, TYPE_I16, 0);
  sample_add_key(&in.t, 1);
  sample_add_key(&in.t, 2);
  sample_fill(&in.t, 6000, 0, 4);
  inputs_create(&in, 4, 0, 4, 1000, 4);
  merge_and_check(&in, INT64_MIN, 0);
  inputs_release(&in);
}

TEST(column_merge, more_than_64_segments_make_several_runs) {
  Inputs in = { 0 };
  sample_add_column(&in.t, TYPE_I64, 0);
  sample_add_column(&in.t, TYPE_STRING, 0);
  sample_add_key(&in.t, 0);
  sample_fill(&in.t, 3000, 0, 5);
  inputs_create(&in, 3, 0, 9, 100, 5);
  merge_and_check(&in, INT64_MIN, 12);
  inputs_release(&in);
}

TEST(column_merge, nothing_left_makes_no_run) {
  Inputs in = { 0 };
  sample_add_column(&in.t, TYPE_I64, 0);
  sample_add_key(&in.t, 0);
  sample_fill(&in.t, 1000, 0, 6);
  inputs_create(&in, 1, 0, 1, 300, 6); /* one in one is dead */
  merge_and_check(&in, INT64_MIN, 0);
  inputs_release(&in);
  Inputs expired = { 0 };
  sample_add_column(&expired.t, TYPE_I64, 0);
  sample_add_key(&expired.t, 0);
  sample_fill(&expired.t, 1000, 100, 6);
  inputs_create(&expired, 2, 0, 0, 300, 6);
  merge_and_check(&expired, EXPIRY_NEVER, 0);
  inputs_release(&expired);
}

TEST(column_merge, a_wholly_dead_segment_is_dropped_unread) {
  Inputs in = { 0 };
  sample_add_column(&in.t, TYPE_I64, 0);
  sample_add_column(&in.t, TYPE_I32, 0);
  sample_add_key(&in.t, 0);
  sample_fill(&in.t, 900, 0, 7);
  inputs_create(&in, 1, 0, 0, 300, 7);
  uint32_t positions[300];
  for (uint32_t row = 0; row < 300; row++) positions[row] = position_pack(1, row);
  CHECK_OK(deleted_set_add_many(NULL, 3, positions, 300, &in.deleted[0]));
  in.inputs[0].deleted = in.deleted[0];
  memset(in.is_live + 300, 0, 300);
  in.dead_rows = 300;
  memset(in.stores[0].extents[1]->bytes, 0xEE, in.stores[0].extents[1]->length); /* reading it would fail */
  merge_and_check(&in, INT64_MIN, 0);
  inputs_release(&in);
}

TEST(column_merge, two_live_rows_of_one_key_are_refused) {
  Inputs in = { 0 };
  sample_add_column(&in.t, TYPE_I64, 0);
  sample_add_key(&in.t, 0);
  sample_fill(&in.t, 1000, 0, 8);
  inputs_create(&in, 2, 0, 20, 300, 8);
  in.inputs[1].deleted = NULL;
  in.inputs[0].deleted = NULL;
  Outputs *outputs = calloc(1, sizeof *outputs);
  outputs->cancel_after = UINT32_MAX;
  ColumnMergeOptions options = { &in.t.schema, INT64_MIN, { 0 }, open_output, close_output, cancelled, outputs };
  ColumnMergeResult result;
  CHECK_STATUS(column_merge(in.inputs, 2, &options, &result), KVSTORE_CORRUPT);
  outputs_release(outputs);
  free(outputs);
  inputs_release(&in);
}

static void merge_is_refused(Inputs *in, const char *why) {
  Outputs *outputs = calloc(1, sizeof *outputs);
  outputs->cancel_after = UINT32_MAX;
  ColumnMergeOptions options = { &in->t.schema, INT64_MIN, { 0 }, open_output, close_output, cancelled, outputs };
  ColumnMergeResult result;
  CHECK_STATUS(column_merge(in->inputs, in->count, &options, &result), KVSTORE_CORRUPT);
  CHECK(strstr(status_last()->text, why));
  outputs_release(outputs);
  free(outputs);
}

/* The first column, which lies plain in three blocks: the first rows of its second and third block change places, and
 * every block's zone becomes the chunk's, so that each block passes its check. */
static void swap_first_rows(SampleStore *store) {
  enum { PLACE_OF_CHUNK = 32 + 8, BLOCK_BYTES = 8 * BLOCK_ROWS };
  uint8_t *chunk = store->extents[0]->bytes + load_u64(store->extents[0]->bytes + PLACE_OF_CHUNK);
  uint8_t *table = chunk + 64, *data = chunk + load_u32(chunk + 52);
  uint64_t range = load_u64(chunk + 24) - load_u64(chunk + 16);
  size_t bytes = (size_t)1 << (chunk[3] >> 1 & 3); /* of a number in the table */
  uint64_t second = load_u64(data + BLOCK_BYTES), third = load_u64(data + 2 * BLOCK_BYTES);
  CHECK_INT(chunk[0], ENCODING_PLAIN);
  CHECK_INT(load_u16(chunk + 12), 3);
  memset(table, 0, 3 * bytes);
  for (size_t block = 0; block < 3; block++) memcpy(table + (3 + block) * bytes, &range, bytes);
  store_u64(data + BLOCK_BYTES, third);
  store_u64(data + 2 * BLOCK_BYTES, second);
}

TEST(column_merge, keys_out_of_order_are_refused) {
  for (uint32_t keys = 1; keys <= 2; keys++) { /* images, encoded keys */
    Inputs in = { 0 };
    sample_add_column(&in.t, TYPE_I64, 0);
    sample_add_column(&in.t, TYPE_I16, 0);
    for (uint32_t k = 0; k < keys; k++) sample_add_key(&in.t, k);
    sample_fill(&in.t, 3000, 0, 9);
    in.t.columns[0].flags = ENCODING_PLAIN << COLUMN_ENCODING_SHIFT;
    CHECK(in.t.row_count > 2 * BLOCK_ROWS + 1);
    inputs_create(&in, 1, 0, 0, 4096, 9);
    merge_and_check(&in, INT64_MIN, 0);
    column_run_close(in.runs[0]); /* it knows its chunks' heads by now */
    swap_first_rows(&in.stores[0]);
    CHECK_OK(sample_open(&in.stores[0], &in.t.schema, &in.runs[0]));
    in.inputs[0].run = in.runs[0];
    merge_is_refused(&in, "row 1025: its keys do not ascend");
    inputs_release(&in);
  }
}

TEST(column_merge, a_key_above_65536_bytes_is_refused) {
  Inputs in = { 0 };
  uint8_t *long_text = malloc(KEY_BYTES_MAX);
  memset(long_text, 'b', KEY_BYTES_MAX);
  sample_add_column(&in.t, TYPE_STRING, 0);
  sample_add_key(&in.t, 0);
  sample_fill(&in.t, 3, 0, 10);
  CHECK_INT(in.t.row_count, 3);
  Bytes *texts = (Bytes *)(uintptr_t)in.t.arrays[0].values;
  texts[0] = (Bytes){ (const uint8_t *)"a", 1 };
  texts[1] = (Bytes){ long_text, KEY_BYTES_MAX }; /* and two bytes that end it */
  texts[2] = (Bytes){ (const uint8_t *)"c", 1 };
  sample_sort(&in.t);
  inputs_create(&in, 1, 0, 0, 4096, 10);
  merge_is_refused(&in, "row 1: its key is too long");
  CHECK_STATUS(column_run_check(in.runs[0]), KVSTORE_CORRUPT);
  CHECK(strstr(status_last()->text, "row 1: its key is too long"));
  inputs_release(&in);
  free(long_text);
}

TEST(column_merge, older_runs_get_the_defaults_of_newer_columns) {
  Inputs in = { 0 };
  sample_add_column(&in.t, TYPE_I64, 0);
  sample_add_column(&in.t, TYPE_I32, 0);
  sample_add_key(&in.t, 0);
  sample_fill(&in.t, 1000, 0, 9);
  inputs_create(&in, 2, 0, 0, 300, 9);
  Column columns[4] = { in.t.columns[0],
                        { .id = 800, .type = TYPE_U16, .name = "new" },
                        { .id = 801, .type = TYPE_STRING, .flags = COLUMN_NULLABLE, .name = "text" },
                        in.t.columns[1] };
  Value defaults[4] = {
    { .type = TYPE_I64 }, { .type = TYPE_U16, .u = 7 }, { .type = TYPE_STRING, .is_null = true }, { .type = TYPE_I32 }
  };
  Schema newest = { .version = 5, .column_count = 4, .columns = columns, .key_count = 1 };
  for (size_t i = 0; i < 2; i++) {
    column_run_close(in.runs[i]);
    CHECK_OK(column_run_open(in.stores[i].directory.data, in.stores[i].directory.length, &in.stores[i].run_sources,
                             &newest, defaults, &in.runs[i]));
    in.inputs[i].run = in.runs[i];
  }
  Outputs *outputs = calloc(1, sizeof *outputs);
  outputs->cancel_after = UINT32_MAX;
  ColumnMergeOptions options = { &newest, INT64_MIN, { 0 }, open_output, close_output, NULL, outputs };
  ColumnMergeResult result;
  CHECK_OK(column_merge(in.inputs, 2, &options, &result));
  CHECK_INT(result.run_count, 1);
  ColumnRun *run;
  Arena arena = { 0 };
  ColumnBatch batch;
  CHECK_OK(sample_open(&outputs->stores[0], &newest, &run));
  CHECK_INT(run->schema_version, 5);
  CHECK(column_run_has(run, 1) && column_run_has(run, 2)); /* stored from now on */
  CHECK_OK(segment_decode(column_run_segment(run, 0), &batch, &arena));
  CHECK_INT(batch.row_count, in.t.row_count);
  for (uint32_t row = 0; row < batch.row_count; row++) {
    CHECK_INT(((const uint16_t *)batch.columns[1].values)[row], 7);
    CHECK(batch.columns[2].nulls[row]);
    CHECK_INT(((const int32_t *)batch.columns[3].values)[row], ((const int32_t *)in.t.arrays[1].values)[row]);
  }
  arena_release(&arena);
  column_run_close(run);
  outputs_release(outputs);
  free(outputs);
  inputs_release(&in);
}

TEST(column_merge, it_can_be_cancelled_before_any_segment) {
  Inputs in = { 0 };
  sample_add_column(&in.t, TYPE_I64, 0);
  sample_add_key(&in.t, 0);
  sample_fill(&in.t, 2000, 0, 10);
  inputs_create(&in, 2, 0, 0, 300, 10);
  uint32_t questions = 0;
  for (Status status = KVSTORE_CANCELLED; status != KVSTORE_OK; questions++) {
    Outputs *outputs = calloc(1, sizeof *outputs);
    outputs->cancel_after = questions;
    ColumnMergeOptions options = { &in.t.schema, INT64_MIN, { 0 }, open_output, close_output, cancelled, outputs };
    ColumnMergeResult result;
    status = column_merge(in.inputs, 2, &options, &result);
    CHECK(status == KVSTORE_OK || status == KVSTORE_CANCELLED);
    outputs_release(outputs);
    free(outputs);
  }
  CHECK_INT(questions - 1, in.runs[0]->segment_count + in.runs[1]->segment_count);
  inputs_release(&in);
}

/* ---- memory ---- */

TEST(column_merge, every_failed_allocation_is_survived) {
  Inputs in = { 0 };
  sample_every_type(&in.t);
  sample_fill(&in.t, 300, 30, 11);
  inputs_create(&in, 2, 0, 5, 100, 11);
  uint64_t tried = 0;
  for (bool was_reached = true; was_reached; tried++) {
    Outputs *outputs = calloc(1, sizeof *outputs);
    outputs->cancel_after = UINT32_MAX;
    ColumnMergeOptions options = { &in.t.schema, INT64_MIN, { .segment_rows = 100 }, open_output, close_output,
                                   cancelled,    outputs };
    ColumnMergeResult result;
    failing_memory_install(tried + 1, false);
    Status status = column_merge(in.inputs, 2, &options, &result);
    was_reached = failing_memory_failures() > 0;
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (status == KVSTORE_NOMEM && was_reached));
    outputs_release(outputs);
    free(outputs);
  }
  CHECK(tried > 50);
  inputs_release(&in);
  CHECK_INT(memory_blocks_held(), 0);
}
