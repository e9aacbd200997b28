/* Column runs against plain arrays: round trips, look-ups, schema changes, limits, memory, threads. */
#include "columnar/column_run.h"

#include <stdlib.h>

#include "base/bitmap.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "encodings/codec.h"
#include "os/thread.h"
#include "tests/columnar/sample_table.h"
#include "tests/support/test.h"

/* ---- what every run must answer ---- */

static uint32_t position_of(const ColumnRun *run, uint32_t row) {
  uint32_t segment = 0;
  while (row >= run->segments[segment].row_count) row -= run->segments[segment++].row_count;
  return position_pack(segment, row);
}

static void check_batch(const ColumnBatch *batch, const SampleTable *t, uint32_t first) {
  for (uint32_t c = 0; c < batch->column_count; c++) {
    const ColumnArray *array = &batch->columns[c];
    for (uint32_t row = 0; row < batch->row_count; row++) {
      Value expected = sample_value(t, c, first + row), got = { .type = t->columns[c].type, .is_null = true };
      if (!array->nulls || !array->nulls[row]) got = value_from_array(t->columns[c].type, array->values, row);
      if (!sample_same_value(&got, &expected)) CHECK_STR(t->columns[c].name, "another value");
    }
  }
  for (uint32_t row = 0; row < batch->row_count; row++) {
    int64_t expected = t->expiry ? t->expiry[first + row] : EXPIRY_NEVER;
    CHECK_INT(batch->expiry ? batch->expiry[row] : EXPIRY_NEVER, expected);
  }
}

static void check_decodes(ColumnRun *run, const SampleTable *t) {
  Arena arena = { 0 };
  uint32_t first = 0;
  for (uint32_t i = 0; i < run->segment_count; i++) {
    ColumnBatch batch;
    CHECK_OK(segment_decode(&run->segments[i], &batch, &arena));
    CHECK_INT(batch.row_count, run->segments[i].row_count);
    check_batch(&batch, t, first);
    first += batch.row_count;
    arena_reset(&arena);
  }
  CHECK_INT(first, t->row_count);
  arena_release(&arena);
}

static void check_zone(ColumnZone zone, const SampleTable *t, uint32_t column, uint32_t first, uint32_t count) {
  ColumnZone expected = { INT64_MAX, INT64_MIN, 0 };
  for (uint32_t row = first; row < first + count; row++) {
    if (t->arrays[column].nulls && t->arrays[column].nulls[row]) {
      expected.null_count++;
      continue;
    }
    int64_t image = type_image(t->columns[column].type, t->arrays[column].values, row);
    if (image < expected.minimum) expected.minimum = image;
    if (image > expected.maximum) expected.maximum = image;
  }
  CHECK_INT(zone.null_count, expected.null_count);
  CHECK_INT(zone.minimum, expected.minimum);
  CHECK_INT(zone.maximum, expected.maximum);
}

static void check_zones(ColumnRun *run, const SampleTable *t) {
  uint32_t first = 0;
  for (uint32_t i = 0; i < run->segment_count; i++) {
    Segment *s = column_run_segment(run, i);
    for (uint32_t c = 0; c < t->schema.column_count; c++) check_zone(segment_zone(s, c), t, c, first, s->row_count);
    first += s->row_count;
  }
  for (uint32_t c = 0; c < t->schema.column_count; c++) check_zone(column_run_zone(run, c), t, c, 0, first);
}

static void check_finds_key(ColumnRun *run, const SampleTable *t, Bytes key) {
  uint32_t row = sample_lower_bound(t, key), position;
  bool is_there =
    row < t->row_count && bytes_compare(t->keys[row].data, t->keys[row].length, key.data, key.length) == 0;
  Locator locator;
  bool found;
  CHECK_OK(column_run_find(run, key, hash_key(key.data, key.length), &locator, &found));
  CHECK_INT(found, is_there);
  uint32_t expected = row < t->row_count ? position_of(run, row) : position_pack(run->segment_count, 0);
  if (found) {
    CHECK_INT(locator.run, run->number);
    CHECK_INT(locator_position(locator_pack(locator)), expected);
  }
  CHECK_OK(column_run_lower_bound(run, key, &position));
  CHECK_INT(position, expected);
}

/* A key that mostly is not there: that of a row, with one value replaced. */
static Bytes other_key(const SampleTable *t, uint64_t *random, Buffer *key) {
  buffer_clear(key);
  uint32_t row = (uint32_t)test_random_below(random, t->row_count),
           changed = (uint32_t)test_random_below(random, t->schema.key_count);
  for (uint32_t k = 0; k < t->schema.key_count; k++) {
    Value v = sample_value(t, t->schema.key_columns[k], row);
    uint8_t string[64] = { 0 };
    if (k == changed && type_is_string(v.type)) {
      size_t length = v.s.length < sizeof string ? v.s.length : sizeof string;
      if (length) memcpy(string, v.s.data, length);
      if (length) string[test_random_below(random, length)] ^= 1;
      v.s = (Bytes){ string, v.s.length < sizeof string ? v.s.length : sizeof string };
    } else if (k == changed && type_is_float(v.type)) {
      v.f = v.f * 1.5 + 1;
      if (v.type == TYPE_F32) v.f = (double)(float)v.f;
    } else if (k == changed && v.type != TYPE_BOOL && v.type != TYPE_I8 && v.type != TYPE_U8) {
      v.i += (int64_t)test_random_below(random, 5) - 2;
      if (v.type == TYPE_I16) v.i = (int16_t)v.i;
      if (v.type == TYPE_I32 || v.type == TYPE_DATE) v.i = (int32_t)v.i;
      if (v.type == TYPE_U16) v.u = (uint16_t)v.u;
      if (v.type == TYPE_U32) v.u = (uint32_t)v.u;
    }
    keycode_append(key, &v, false);
  }
  return (Bytes){ key->data, key->length };
}

static void check_finds(ColumnRun *run, const SampleTable *t, uint64_t seed) {
  uint64_t random = seed;
  Buffer key = { 0 };
  uint32_t step = t->row_count / 500 + 1;
  for (uint32_t row = 0; row < t->row_count; row += step) check_finds_key(run, t, t->keys[row]);
  check_finds_key(run, t, t->keys[t->row_count - 1]);
  for (int i = 0; i < 300; i++) check_finds_key(run, t, other_key(t, &random, &key));
  buffer_release(&key);
}

/* find_many in random order, with absent keys, repeated keys and keys that are settled already. */
static void check_finds_many(ColumnRun *run, const SampleTable *t, uint64_t seed) {
  enum { COUNT = 3000 };
  uint64_t random = seed;
  Bytes *keys = malloc(COUNT * sizeof *keys);
  Buffer *storage = calloc(COUNT, sizeof *storage);
  uint64_t *hashes = malloc(COUNT * sizeof *hashes), *locators = malloc(COUNT * sizeof *locators);
  for (int i = 0; i < COUNT; i++) {
    keys[i] = i % 3 ? t->keys[test_random_below(&random, t->row_count)] : other_key(t, &random, &storage[i]);
    hashes[i] = hash_key(keys[i].data, keys[i].length);
    locators[i] = i % 10 == 9 ? 123456 : LOCATOR_NONE;
  }
  for (int count = COUNT; count > 0; count /= 2) {
    for (int i = 0; i < count; i++) locators[i] = i % 10 == 9 ? 123456 : LOCATOR_NONE;
    CHECK_OK(column_run_find_many(run, keys, hashes, (size_t)count, locators));
    for (int i = 0; i < count; i++) {
      uint64_t expected = 123456;
      if (i % 10 != 9) {
        uint32_t row = sample_lower_bound(t, keys[i]);
        bool is_there = row < t->row_count && t->keys[row].length == keys[i].length &&
                        !memcmp(t->keys[row].data, keys[i].data, keys[i].length);
        expected = is_there ? (uint64_t)run->number << 32 | position_of(run, row) : LOCATOR_NONE;
      }
      CHECK_INT(locators[i], expected);
    }
  }
  for (int i = 0; i < COUNT; i++) buffer_release(&storage[i]);
  free(storage);
  free(keys);
  free(hashes);
  free(locators);
}

static void check_gets(ColumnRun *run, const SampleTable *t, uint64_t seed) {
  uint64_t random = seed;
  Buffer scratch = { 0 }, key = { 0 };
  for (int i = 0; i < 300; i++) {
    uint32_t row = (uint32_t)test_random_below(&random, t->row_count), position = position_of(run, row);
    uint32_t c = (uint32_t)test_random_below(&random, t->schema.column_count);
    Value got, expected = sample_value(t, c, row);
    CHECK_OK(column_run_get(run, position, c, &scratch, &got));
    CHECK(sample_same_value(&got, &expected));
    int64_t expiry;
    CHECK_OK(column_run_get_expiry(run, position, &expiry));
    CHECK_INT(expiry, t->expiry ? t->expiry[row] : EXPIRY_NEVER);
    buffer_clear(&key);
    CHECK_OK(column_run_get_key(run, position, &key));
    CHECK_INT(key.length, t->keys[row].length);
    CHECK_BYTES(key.data, t->keys[row].data, key.length);
  }
  buffer_release(&scratch);
  buffer_release(&key);
}

static void check_reads_rows(ColumnRun *run, const SampleTable *t, uint64_t seed) {
  uint64_t random = seed;
  uint32_t columns[SAMPLE_COLUMNS_MAX], column_count = 0;
  uint16_t rows[700];
  ColumnArray out[SAMPLE_COLUMNS_MAX];
  for (uint32_t c = t->schema.column_count; c-- > 0;) columns[column_count++] = c;
  for (int round = 0; round < 6; round++) {
    Arena arena = { 0 };
    uint32_t segment = (uint32_t)test_random_below(&random, run->segment_count), first = 0;
    const Segment *s = column_run_segment(run, segment);
    for (uint32_t i = 0; i < segment; i++) first += run->segments[i].row_count;
    size_t count = round ? 1 + test_random_below(&random, 700) : 0;
    uint32_t start = (uint32_t)test_random_below(&random, s->row_count);
    for (size_t i = 0; i < count; i++) {
      rows[i] = (uint16_t)(round % 2 ? test_random_below(&random, s->row_count) : (start + i) % s->row_count);
    }
    CHECK_OK(column_run_read_rows(run, segment, rows, count, columns, column_count, out, &arena));
    for (uint32_t c = 0; c < column_count; c++) {
      for (size_t i = 0; i < count; i++) {
        Value expected = sample_value(t, columns[c], first + rows[i]), got = { .is_null = true };
        if (!out[c].nulls || !out[c].nulls[i]) got = value_from_array(t->columns[columns[c]].type, out[c].values, i);
        CHECK(sample_same_value(&got, &expected));
      }
    }
    arena_release(&arena);
  }
}

static void check_unexpired(ColumnRun *run, const SampleTable *t) {
  static const int64_t clocks[] = { 0, 1700000000000, 1700000500000, 1700001000000, INT64_MAX - 1 };
  for (size_t i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
    uint32_t first = 0;
    for (uint32_t segment = 0; segment < run->segment_count; segment++) {
      Segment *s = column_run_segment(run, segment);
      uint64_t live = 0, expected = 0;
      for (uint32_t row = 0; row < s->row_count; row++)
        expected += !t->expiry || !expiry_passed(t->expiry[first + row], clocks[i]);
      if (segment_all_unexpired(s, clocks[i])) {
        live = s->row_count;
      } else if (!segment_all_expired(s, clocks[i])) {
        ChunkHold hold;
        CHECK_OK(segment_chunk(s, COLUMN_EXPIRY, &hold));
        for (uint32_t b = 0; b < s->block_count; b++) {
          uint64_t mask[BLOCK_WORDS];
          bitmap_fill_first(mask, BLOCK_WORDS, segment_block_rows(s, b));
          CHECK_OK(segment_and_unexpired(s, &hold, b, clocks[i], mask));
          live += bitmap_count(mask, BLOCK_WORDS);
        }
        segment_chunk_release(&hold);
      }
      CHECK_INT(live, expected);
      first += s->row_count;
    }
  }
}

static uint32_t encodings_met; /* bit n: encoding n was written */

static void check_summary(const SampleStore *store, const ColumnRun *run, const SampleTable *t) {
  const ColumnRunSummary *summary = &store->summary;
  uint64_t bytes = 0, chunk_bytes = 0, column_bytes = 0, arrays = 0;
  int64_t earliest = EXPIRY_NEVER, latest = t->expiry ? INT64_MIN : EXPIRY_NEVER;
  for (uint32_t row = 0; t->expiry && row < t->row_count; row++) {
    if (t->expiry[row] < earliest) earliest = t->expiry[row];
    if (t->expiry[row] > latest) latest = t->expiry[row];
  }
  for (uint32_t i = 0; i < store->count; i++) bytes += store->extents[i]->length;
  for (uint32_t c = 0; c < t->schema.column_count; c++) {
    column_bytes += summary->column_bytes[c];
    if (t->columns[c].flags & COLUMN_ARRAY) {
      arrays++;
      chunk_bytes += t->row_count * (t->columns[c].width ? t->columns[c].width : type_array_width(t->columns[c].type));
    }
    for (uint32_t i = 0; i < run->segment_count; i++) {
      const ChunkPlace *place = segment_place(&run->segments[i], c);
      CHECK(strcmp(encoding_name(place->encoding), "?") != 0);
      encodings_met |= 1u << place->encoding;
      chunk_bytes += place->length;
    }
  }
  CHECK_INT(summary->row_count, t->row_count);
  CHECK_INT(summary->segment_count + arrays, store->count);
  CHECK_INT(summary->byte_count, bytes);
  CHECK_INT(column_bytes, chunk_bytes);
  CHECK_INT(summary->expiry_min, earliest);
  CHECK_INT(summary->expiry_max, latest);
  CHECK_BYTES(summary->first_key.data, t->keys[0].data, t->keys[0].length);
  CHECK_BYTES(summary->last_key.data, t->keys[t->row_count - 1].data, t->keys[t->row_count - 1].length);
  CHECK_INT(run->row_count, t->row_count);
  CHECK_INT(run->expiry_min, earliest);
  CHECK_INT(run->expiry_max, latest);
}

/* Everything, in all ways that bytes may arrive. */
static void check_run(SampleStore *store, const SampleTable *t) {
  for (ExtentMode mode = EXTENTS_TRUSTED; mode <= EXTENTS_CACHED; mode++) {
    ColumnRun *run;
    sample_set_mode(store, mode);
    CHECK_OK(sample_open(store, &t->schema, &run));
    run->number = 77;
    check_summary(store, run, t);
    check_finds(run, t, 5);
    check_finds_many(run, t, 6);
    check_gets(run, t, 7);
    check_reads_rows(run, t, 8);
    check_unexpired(run, t);
    check_decodes(run, t);
    check_zones(run, t);
    CHECK_OK(column_run_check(run));
    column_run_close(run);
  }
}

static void check_table(SampleTable *t, const ColumnRunOptions *options, uint32_t batch_rows) {
  SampleStore store = { 0 };
  uint64_t held = memory_blocks_held();
  sample_write(&store, t, options, batch_rows);
  check_run(&store, t);
  sample_store_release(&store);
  CHECK(memory_blocks_held() <= held);
}

/* ---- round trips ---- */

TEST(column_run, every_type_comes_back_from_runs_of_any_length) {
  static const uint32_t lengths[] = { 1, 2, 1023, 1024, 1025, 5000, 65536, 70000 };
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    if (test_scale() < 1 && lengths[i] > 5000) continue;
    SampleTable t = { 0 };
    sample_every_type(&t);
    sample_fill(&t, lengths[i], i % 2 ? 30 : 0, i);
    check_table(&t, NULL, lengths[i] > 5000 ? 10007 : 333);
    sample_release(&t);
  }
}

TEST(column_run, every_encoding_that_a_column_may_wish_is_written_and_read) {
  if (test_threads_are_watched()) SKIP("it starts no thread, and takes ten seconds under the thread sanitizer");
  encodings_met = 0;
  for (uint32_t seed = 0; seed < 30; seed++) {
    SampleTable t = { 0 };
    sample_every_type(&t);
    sample_fill(&t, 1100, seed % 3 ? 0 : 30, 100 + seed);
    check_table(&t, NULL, 500);
    sample_release(&t);
  }
  for (uint32_t e = ENCODING_CONSTANT; e <= ENCODING_LAST; e++) {
    if (e == ENCODING_STRIDE) continue; /* the rows are random, then sorted: no column is one */
    CHECK_INT(encodings_met >> e & 1, codec_by_id(e) != NULL);
  }
  CHECK(encodings_met >> ENCODING_ARRAY & 1);
}

TEST(column_run, two_hundred_thousand_rows_make_four_segments) {
  if (test_scale() < 1) SKIP("a long table says nothing more under a sanitizer");
  SampleTable t = { 0 };
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_column(&t, TYPE_STRING, COLUMN_NULLABLE);
  sample_add_key(&t, 0);
  sample_fill(&t, 200000, 5, 9);
  SampleStore store = { 0 };
  sample_write(&store, &t, NULL, t.row_count);
  CHECK_INT(store.summary.segment_count, 4);
  check_run(&store, &t);
  sample_store_release(&store);
  sample_release(&t);
}

TEST(column_run, keys_of_every_type_are_found) {
  static const ColumnType types[] = { TYPE_BOOL,      TYPE_I8,     TYPE_I16,   TYPE_I32,        TYPE_I64, TYPE_U8,
                                      TYPE_U16,       TYPE_U32,    TYPE_U64,   TYPE_F32,        TYPE_F64, TYPE_DATE,
                                      TYPE_TIMESTAMP, TYPE_STRING, TYPE_BYTES, TYPE_FIXED_BYTES };
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    for (uint32_t key = 0; key < 5; key += 4) { /* the shape of its numbers depends on the column */
      SampleTable t = { 0 };
      for (uint32_t c = 0; c <= key; c++) sample_add_column(&t, c == key ? types[i] : TYPE_I16, 0);
      sample_add_key(&t, key);
      sample_fill(&t, 3000, 0, i);
      ColumnRunOptions options = { .segment_rows = 1500, .key_filter = key == 4 };
      check_table(&t, &options, 700);
      sample_release(&t);
    }
  }
}

TEST(column_run, composite_keys_are_found) {
  static const ColumnType keys[][3] = { { TYPE_STRING, TYPE_I32, TYPE_F64 },
                                        { TYPE_U8, TYPE_U8, TYPE_I64 },
                                        { TYPE_BYTES, TYPE_STRING, TYPE_BOOL },
                                        { TYPE_DATE, TYPE_FIXED_BYTES, TYPE_U16 } };
  for (uint32_t i = 0; i < 4; i++) {
    SampleTable t = { 0 };
    sample_add_column(&t, TYPE_F64, COLUMN_NULLABLE);
    for (int k = 0; k < 3; k++) sample_add_column(&t, keys[i][k], 0);
    for (uint32_t k = 0; k < 3; k++) sample_add_key(&t, 3 - k);
    sample_fill(&t, 4000, 10, 20 + i);
    ColumnRunOptions options = { .segment_rows = 1300, .key_filter = i % 2 };
    check_table(&t, &options, 100);
    sample_release(&t);
  }
}

TEST(column_run, row_ids_are_a_stride_that_costs_nothing) {
  enum { ROWS = 50000 };
  SampleTable t = { 0 };
  sample_add_column(&t, TYPE_I16, 0);
  sample_add_column(&t, TYPE_U64, COLUMN_HIDDEN);
  sample_add_key(&t, 1);
  t.schema.has_row_id = true;
  sample_fill(&t, ROWS, 0, 1);
  uint64_t *ids = arena_allocate(&t.arena, ROWS * sizeof *ids);
  t.row_count = ROWS;
  int16_t *values = arena_allocate(&t.arena, ROWS * sizeof *values);
  for (uint32_t i = 0; i < ROWS; i++) ids[i] = 1000 + i, values[i] = (int16_t)(i * 7);
  t.arrays[0].values = values;
  t.arrays[1].values = ids;
  sample_sort(&t);
  SampleStore store = { 0 };
  sample_write(&store, &t, NULL, ROWS);
  CHECK(store.summary.column_bytes[1] <= 4096);
  check_run(&store, &t);
  sample_store_release(&store);
  sample_release(&t);
}

/* Strings that share their first `length` bytes: heads and images cannot tell them apart. */
static void long_keys(SampleTable *t, uint32_t rows, size_t length) {
  sample_add_column(t, TYPE_BYTES, 0);
  sample_add_key(t, 0);
  Bytes *keys = arena_allocate(&t->arena, rows * sizeof *keys);
  for (uint32_t i = 0; i < rows; i++) {
    uint8_t *data = arena_allocate(&t->arena, length + 4);
    memset(data, 'k', length);
    store_u32(data + length, __builtin_bswap32(i * 5 + 0x01010101));
    for (int b = 0; b < 4; b++) data[length + (size_t)b] |= 1; /* no zeros: they would take two bytes */
    keys[i] = (Bytes){ data, length + 4 };
  }
  t->arrays[0] = (ColumnArray){ keys, NULL };
  t->row_count = rows;
  sample_sort(t);
}

TEST(column_run, keys_may_be_65536_bytes_long_and_share_almost_all) {
  if (test_threads_are_watched()) SKIP("it starts no thread, and takes ten seconds under the thread sanitizer");
  SampleTable t = { 0 };
  long_keys(&t, 60, KEY_BYTES_MAX - 6);
  CHECK_INT(t.keys[0].length, KEY_BYTES_MAX);
  ColumnRunOptions options = { .segment_rows = 20 };
  check_table(&t, &options, 7);
  sample_release(&t);
  SampleTable shorter = { 0 };
  long_keys(&shorter, 5000, 100);
  check_table(&shorter, NULL, 5000);
  sample_release(&shorter);
}

/* ---- limits ---- */

TEST(column_run, a_full_run_takes_no_more_and_says_where_it_stopped) {
  SampleTable t = { 0 };
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_key(&t, 0);
  sample_fill(&t, 2000, 0, 3);
  ColumnRunOptions options = { .segment_rows = 10 };
  uint32_t next = 0, runs = 0;
  ColumnBatch batch = sample_batch(&t);
  while (next < batch.row_count) {
    SampleStore store = { 0 };
    RunSink sink = sample_sink(&store);
    ColumnRunWriter *writer;
    ColumnRun *run;
    uint32_t first = next;
    CHECK_OK(column_run_writer_create(&sink, &t.schema, &options, &writer));
    CHECK_OK(column_run_writer_add(writer, &batch, &next));
    CHECK(column_run_writer_is_full(writer) || next == batch.row_count);
    CHECK_INT(next - first, next < batch.row_count ? 640 : 2000 - 3 * 640);
    CHECK_OK(column_run_writer_finish(writer, &store.directory, &store.summary));
    column_run_writer_destroy(writer);
    CHECK_BYTES(store.summary.first_key.data, t.keys[first].data, 8);
    CHECK_BYTES(store.summary.last_key.data, t.keys[next - 1].data, 8);
    sample_set_mode(&store, EXTENTS_TRUSTED);
    CHECK_OK(sample_open(&store, &t.schema, &run));
    CHECK_INT(column_run_is_full(run), next < batch.row_count);
    column_run_close(run);
    sample_store_release(&store);
    runs++;
  }
  CHECK_INT(runs, 4);
  sample_release(&t);
}

TEST(column_run, a_run_is_full_when_an_array_is) {
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  ColumnRunWriter *writer;
  uint32_t next = 0;
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_column(&t, TYPE_I16, 0);
  sample_add_key(&t, 0);
  sample_fill(&t, 2000, 0, 3);
  t.columns[0].flags = t.columns[1].flags = COLUMN_ARRAY;
  ColumnRunOptions options = { .segment_rows = 100, .array_bytes = 8 * 250 };
  ColumnBatch batch = sample_batch(&t);
  RunSink sink = sample_sink(&store);
  CHECK_OK(column_run_writer_create(&sink, &t.schema, &options, &writer));
  CHECK_OK(column_run_writer_add(writer, &batch, &next));
  CHECK_INT(next, 300); /* the end of the segment in which the wider one gets there */
  CHECK(column_run_writer_is_full(writer));
  CHECK_OK(column_run_writer_finish(writer, &store.directory, &store.summary));
  column_run_writer_destroy(writer);
  CHECK_INT(store.count, 3 + 2);
  CHECK_INT(store.extents[3]->length, (300 + 1023) * 8);
  CHECK_INT(store.extents[4]->length, (300 + 1023) * 2);
  for (uint32_t row = 0; row < 300; row++) { /* one after the other, over the ends of segments */
    CHECK_BYTES(store.extents[3]->bytes + row * 8, (const uint8_t *)t.arrays[0].values + row * 8, 8);
    CHECK_BYTES(store.extents[4]->bytes + row * 2, (const uint8_t *)t.arrays[1].values + row * 2, 2);
  }
  sample_store_release(&store);
  sample_release(&t);
}

TEST(column_run, segments_end_before_their_bytes_pass_the_limit) {
  SampleTable t = { 0 };
  sample_add_column(&t, TYPE_I32, 0);
  sample_add_column(&t, TYPE_STRING, 0);
  sample_add_key(&t, 0);
  sample_fill(&t, 300, 0, 4);
  Bytes *strings = (Bytes *)t.arrays[1].values;
  for (uint32_t i = 0; i < t.row_count; i++) {
    size_t length = i % 50 == 7 ? 20000 : 200 + i;
    uint8_t *data = arena_allocate(&t.arena, length);
    memset(data, 'x', length);
    strings[i] = (Bytes){ data, length };
  }
  for (uint32_t batch_rows = 1; batch_rows < 400; batch_rows *= 7) {
    ColumnRunOptions options = { .segment_bytes = 10000 };
    SampleStore store = { 0 };
    ColumnRun *run;
    sample_write(&store, &t, &options, batch_rows);
    CHECK_OK(sample_open(&store, &t.schema, &run));
    uint32_t row = 0;
    for (uint32_t i = 0; i < run->segment_count; i++) {
      size_t bytes = 0;
      for (uint32_t end = row + run->segments[i].row_count; row < end; row++) bytes += 20 + strings[row].length;
      CHECK(bytes <= 10000 || run->segments[i].row_count == 1);
      if (row < t.row_count && bytes <= 10000) CHECK(bytes + 20 + strings[row].length > 10000); /* none ends early */
    }
    column_run_close(run);
    check_run(&store, &t);
    sample_store_release(&store);
  }
  sample_release(&t);
}

static void check_corrupt_position(ColumnRun *run, uint32_t position) {
  Buffer scratch = { 0 };
  Value value;
  int64_t expiry;
  CHECK_STATUS(column_run_get(run, position, 0, &scratch, &value), KVSTORE_CORRUPT);
  CHECK_STATUS(column_run_get_expiry(run, position, &expiry), KVSTORE_CORRUPT);
  CHECK_STATUS(column_run_get_key(run, position, &scratch), KVSTORE_CORRUPT);
  buffer_release(&scratch);
}

TEST(column_run, positions_and_keys_of_unknown_quality_are_refused) {
  SampleTable t = { 0 };
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_key(&t, 0);
  sample_fill(&t, 100, 0, 4);
  SampleStore store = { 0 };
  ColumnRun *run;
  sample_write(&store, &t, NULL, 100);
  CHECK_OK(sample_open(&store, &t.schema, &run));
  check_corrupt_position(run, position_pack(0, t.row_count));
  check_corrupt_position(run, position_pack(1, 0));
  check_corrupt_position(run, UINT32_MAX);
  uint16_t row = (uint16_t)t.row_count;
  uint32_t column = 0;
  ColumnArray out;
  Arena arena = { 0 };
  CHECK_STATUS(column_run_read_rows(run, 0, &row, 1, &column, 1, &out, &arena), KVSTORE_CORRUPT);
  CHECK_STATUS(column_run_read_rows(run, 1, &row, 1, &column, 1, &out, &arena), KVSTORE_CORRUPT);
  arena_release(&arena);
  Bytes longer = { arena_allocate_zeroed(&t.arena, 9), 9 };
  memcpy((void *)longer.data, t.keys[1].data, 8);
  Locator locator;
  bool found;
  CHECK_STATUS(column_run_find(run, longer, 0, &locator, &found), KVSTORE_CORRUPT);
  column_run_close(run);
  sample_store_release(&store);
  sample_release(&t);
}

/* ---- changed schemas ---- */

typedef struct ChangedSchema {
  SampleTable t;
  SampleStore store;
  Schema schema;
  Column columns[SAMPLE_COLUMNS_MAX];
} ChangedSchema;

/* A run of (key i64, number i32, text string null), and a copy of its schema to change. */
static void changed_create(ChangedSchema *c) {
  memset(c, 0, sizeof *c);
  sample_add_column(&c->t, TYPE_I64, 0);
  sample_add_column(&c->t, TYPE_I32, 0);
  sample_add_column(&c->t, TYPE_STRING, COLUMN_NULLABLE);
  sample_add_key(&c->t, 0);
  sample_fill(&c->t, 3000, 0, 5);
  sample_write(&c->store, &c->t, NULL, 3000);
  c->schema = c->t.schema;
  memcpy(c->columns, c->t.columns, sizeof c->columns);
  c->schema.columns = c->columns;
}

static void changed_release(ChangedSchema *c) {
  sample_store_release(&c->store);
  sample_release(&c->t);
}

TEST(column_run, a_missing_column_reads_as_null_or_its_default) {
  ChangedSchema c;
  changed_create(&c);
  /* new order: added f64 null, text, added string with a default, key; the number is dropped */
  Column added = { .id = 900, .type = TYPE_F64, .flags = COLUMN_NULLABLE, .name = "added" };
  Column filled = { .id = 901, .type = TYPE_STRING, .name = "filled" };
  Column columns[] = { added, c.t.columns[2], filled, c.t.columns[0] };
  memcpy(c.columns, columns, sizeof columns);
  c.schema.column_count = 4;
  c.schema.key_columns[0] = 3;
  Value defaults[4] = { { .type = TYPE_F64, .is_null = true },
                        { .type = TYPE_STRING, .is_null = true },
                        { .type = TYPE_STRING, .s = { (const uint8_t *)"new", 3 } },
                        { .type = TYPE_I64 } };
  ColumnRun *run;
  CHECK_OK(
    column_run_open(c.store.directory.data, c.store.directory.length, &c.store.run_sources, &c.schema, defaults, &run));
  CHECK(!column_run_has(run, 0) && column_run_has(run, 1) && !column_run_has(run, 2) && column_run_has(run, 3));
  Segment *s = column_run_segment(run, 0);
  CHECK(!segment_place(s, 0) && segment_place(s, 1));
  CHECK_INT(segment_zone(s, 0).null_count, s->row_count);
  CHECK_INT(segment_zone(s, 2).minimum, bytes_image(defaults[2].s));
  CHECK_INT(column_run_zone(run, 0).null_count, run->row_count);
  CHECK(column_run_zone(run, 0).minimum > column_run_zone(run, 0).maximum);
  CHECK_INT(column_run_zone(run, 2).null_count, 0);
  CHECK_INT(column_run_zone(run, 2).maximum, bytes_image(defaults[2].s));

  Arena arena = { 0 };
  ColumnBatch batch;
  CHECK_OK(segment_decode(s, &batch, &arena));
  uint16_t rows[] = { 5, 2500, 7 };
  uint32_t wanted[] = { 0, 1, 2, 3 };
  ColumnArray out[4];
  CHECK_OK(column_run_read_rows(run, 0, rows, 3, wanted, 4, out, &arena));
  Buffer scratch = { 0 };
  for (uint32_t i = 0; i < 3; i++) {
    Value text = sample_value(&c.t, 2, rows[i]), value;
    CHECK(batch.columns[0].nulls[rows[i]] && out[0].nulls[i]);
    CHECK_BYTES(((const Bytes *)batch.columns[2].values)[rows[i]].data, "new", 3);
    CHECK_BYTES(((const Bytes *)out[2].values)[i].data, "new", 3);
    CHECK_INT(((const int64_t *)out[3].values)[i], ((const int64_t *)c.t.arrays[0].values)[rows[i]]);
    CHECK_OK(column_run_get(run, rows[i], 1, &scratch, &value));
    CHECK(sample_same_value(&value, &text));
    CHECK_OK(column_run_get(run, rows[i], 0, &scratch, &value));
    CHECK(value.is_null);
    CHECK_OK(column_run_get(run, rows[i], 2, &scratch, &value));
    CHECK_INT(value.s.length, 3);
  }
  check_finds(run, &c.t, 1);
  CHECK_OK(column_run_check(run)); /* the dropped column too */
  buffer_release(&scratch);
  arena_release(&arena);
  column_run_close(run);
  changed_release(&c);
}

TEST(column_run, a_schema_that_does_not_fit_is_refused) {
  ChangedSchema c;
  ColumnRun *run = NULL;
  changed_create(&c);
  c.columns[1].type = TYPE_I64;
  CHECK_STATUS(sample_open(&c.store, &c.schema, &run), KVSTORE_CORRUPT);
  c.columns[1] = c.t.columns[1];
  c.columns[2].flags = 0; /* not nullable any more */
  CHECK_STATUS(sample_open(&c.store, &c.schema, &run), KVSTORE_CORRUPT);
  c.columns[2] = c.t.columns[2];
  c.columns[1].id = 555; /* missing, not nullable, no default */
  CHECK_STATUS(sample_open(&c.store, &c.schema, &run), KVSTORE_CORRUPT);
  c.columns[1] = c.t.columns[1];
  c.schema.key_columns[0] = 1; /* another key */
  CHECK_STATUS(sample_open(&c.store, &c.schema, &run), KVSTORE_CORRUPT);
  c.schema.key_columns[0] = 0;
  c.schema.key_columns[1] = 1;
  c.schema.key_count = 2;
  CHECK_STATUS(sample_open(&c.store, &c.schema, &run), KVSTORE_CORRUPT);
  CHECK(!run);
  changed_release(&c);
}

TEST(column_run, runs_overlap_when_their_key_ranges_do) {
  SampleTable t = { 0 };
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_key(&t, 0);
  sample_fill(&t, 100, 0, 5);
  static const uint32_t ranges[][2] = { { 0, 10 }, { 10, 10 }, { 5, 10 }, { 0, 100 }, { 50, 1 } };
  static const bool overlap[5][5] = {
    { 1, 0, 1, 1, 0 }, { 0, 1, 1, 1, 0 }, { 1, 1, 1, 1, 0 }, { 1, 1, 1, 1, 1 }, { 0, 0, 0, 1, 1 }
  };
  SampleStore stores[5] = { 0 };
  ColumnRun *runs[5];
  for (int i = 0; i < 5; i++) {
    SampleTable part = t;
    ColumnArray arrays[SAMPLE_COLUMNS_MAX];
    ColumnBatch batch = sample_slice(&t, ranges[i][0], ranges[i][1], arrays);
    memcpy(part.arrays, arrays, sizeof arrays);
    part.row_count = batch.row_count;
    sample_write(&stores[i], &part, NULL, 10);
    CHECK_OK(sample_open(&stores[i], &t.schema, &runs[i]));
  }
  for (int a = 0; a < 5; a++) {
    for (int b = 0; b < 5; b++) CHECK_INT(column_runs_overlap(runs[a], runs[b]), overlap[a][b]);
  }
  for (int i = 0; i < 5; i++) {
    column_run_close(runs[i]);
    sample_store_release(&stores[i]);
  }
  sample_release(&t);
}

/* ---- threads ---- */

typedef struct Reading {
  ColumnRun *run;
  const SampleTable *t;
  uint64_t seed;
  _Atomic int *ready;
} Reading;

static void read_run(void *context) {
  Reading *r = context;
  atomic_fetch_sub(r->ready, 1);
  while (atomic_load(r->ready) > 0) thread_yield();
  check_finds(r->run, r->t, r->seed);
  check_gets(r->run, r->t, r->seed);
  check_reads_rows(r->run, r->t, r->seed);
  check_decodes(r->run, r->t);
}

TEST(column_run, four_threads_open_chunks_and_look_keys_up_at_once) {
  SampleTable t = { 0 };
  sample_every_type(&t);
  sample_fill(&t, 6000, 20, 6);
  SampleStore store = { 0 };
  ColumnRunOptions options = { .segment_rows = 2100 };
  sample_write(&store, &t, &options, 6000);
  for (ExtentMode mode = EXTENTS_TRUSTED; mode <= EXTENTS_CACHED; mode++) {
    ColumnRun *run;
    sample_set_mode(&store, mode);
    CHECK_OK(sample_open(&store, &t.schema, &run));
    Thread threads[4] = { 0 };
    Reading readings[4];
    _Atomic int ready = 4;
    for (int i = 0; i < 4; i++) {
      readings[i] = (Reading){ run, &t, (uint64_t)i, &ready };
      CHECK_OK(thread_start(&threads[i], read_run, &readings[i]));
    }
    for (int i = 0; i < 4; i++) thread_join(&threads[i]);
    column_run_close(run);
  }
  sample_store_release(&store);
  sample_release(&t);
}
