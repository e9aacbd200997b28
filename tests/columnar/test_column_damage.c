/* Column runs whose bytes are damaged, whose memory runs out, whose sink fails. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "columnar/column_run.h"
#include "encodings/codec.h"
#include "tests/columnar/sample_table.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- using a run of unknown quality ---- */

/* A failure that damage may lead to. */
static bool is_refusal(Status status) { return status == KVSTORE_CORRUPT || status == KVSTORE_UNSUPPORTED; }

static Status use_scans(ColumnRun *run) {
  for (uint32_t i = 0; i < run->segment_count; i++) {
    Segment *s = column_run_segment(run, i);
    for (uint32_t c = 0; c < run->schema->column_count; c++) {
      ChunkHold hold;
      if (!column_run_has(run, c)) continue;
      TRY(segment_chunk(s, c, &hold));
      AggregateState state;
      uint64_t mask[BLOCK_WORDS];
      aggregate_init(&state, hold.chunk->type, AGGREGATE_COUNT | AGGREGATE_MIN | AGGREGATE_MAX);
      Status status = KVSTORE_OK;
      for (uint32_t b = 0; b < s->block_count && status == KVSTORE_OK; b++) {
        status = chunk_hold_block(&hold, b);
        if (status != KVSTORE_OK) break;
        memset(mask, 0x55, sizeof mask);
        for (uint32_t row = segment_block_rows(s, b); row < BLOCK_ROWS; row++)
          mask[row / 64] &= ~(UINT64_C(1) << (row % 64));
        uint64_t room = codec_decode_room(hold.chunk, b);
        if (room) { /* its strings are made: decoded, in exactly the room that they ask for */
          uint8_t *made = malloc(room);
          Bytes values[BLOCK_ROWS];
          codec_decode_into(hold.chunk, b, values, NULL, made);
          free(made);
        } else {
          codec_aggregate(hold.chunk, b, mask, &state);
        }
      }
      segment_chunk_release(&hold);
      TRY(status);
    }
  }
  return KVSTORE_OK;
}

static Status use_keys(ColumnRun *run, const SampleTable *t) {
  for (uint32_t row = 0; row < t->row_count; row += t->row_count / 20 + 1) {
    Locator locator;
    bool found;
    uint32_t position;
    int64_t expiry;
    TRY(column_run_find(run, t->keys[row], hash_key(t->keys[row].data, t->keys[row].length), &locator, &found));
    TRY(column_run_lower_bound(run, t->keys[row], &position));
    if (found) TRY(column_run_get_expiry(run, locator_position(locator_pack(locator)), &expiry));
  }
  return KVSTORE_OK;
}

/* Compares a decoded segment with the table; a difference is told by *is_wrong. */
static Status use_rows(ColumnRun *run, const SampleTable *t, Arena *arena, bool *is_wrong) {
  uint32_t first = 0;
  for (uint32_t i = 0; i < run->segment_count; i++) {
    ColumnBatch batch;
    TRY(segment_decode(column_run_segment(run, i), &batch, arena));
    for (uint32_t row = 0; row < batch.row_count; row++) {
      if (first + row >= t->row_count) return KVSTORE_OK;
      for (uint32_t c = 0; c < batch.column_count; c++) {
        Value expected = sample_value(t, c, first + row), got = { .is_null = true };
        if (!batch.columns[c].nulls || !batch.columns[c].nulls[row])
          got = value_from_array(t->columns[c].type, batch.columns[c].values, row);
        if (!sample_same_value(&got, &expected)) *is_wrong = true;
      }
      if ((batch.expiry ? batch.expiry[row] : EXPIRY_NEVER) != (t->expiry ? t->expiry[first + row] : EXPIRY_NEVER))
        *is_wrong = true;
    }
    first += batch.row_count;
  }
  if (first != t->row_count) *is_wrong = true;
  return KVSTORE_OK;
}

/* Asks the run everything. *is_wrong: some answer was given and was not the right one. */
static Status use_run(SampleStore *store, const SampleTable *t, bool *is_wrong) {
  ColumnRun *run;
  Arena arena = { 0 };
  *is_wrong = false;
  TRY(sample_open(store, &t->schema, &run));
  Status status = use_rows(run, t, &arena, is_wrong);
  Status keys = use_keys(run, t), scans = use_scans(run), check = column_run_check(run);
  arena_release(&arena);
  column_run_close(run);
  Status all[] = { status, keys, scans, check };
  for (size_t i = 0; i < 4; i++) {
    if (all[i] != KVSTORE_OK) status = all[i];
    CHECK(all[i] == KVSTORE_OK || is_refusal(all[i]));
  }
  return status;
}

static void damaged_create(SampleTable *t, SampleStore *store, uint32_t rows) {
  sample_every_type(t);
  sample_fill(t, rows, 25, 11);
  ColumnRunOptions options = { .segment_rows = rows / 2 + 1, .key_filter = true };
  sample_write(store, t, &options, rows);
}

/* ---- directories ---- */

TEST(column_damage, every_truncation_of_a_directory_is_refused) {
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  damaged_create(&t, &store, 200);
  for (size_t length = 0; length <= store.directory.length; length++) {
    uint8_t *exact = malloc(length + 1);
    memcpy(exact, store.directory.data, length);
    ColumnRun *run;
    Status status = column_run_open(exact, length, &store.run_sources, &t.schema, NULL, &run);
    CHECK_INT(status, length == store.directory.length ? KVSTORE_OK : KVSTORE_CORRUPT);
    column_run_close(run);
    free(exact);
  }
  buffer_u8(&store.directory, 0);
  ColumnRun *run;
  CHECK_STATUS(sample_open(&store, &t.schema, &run), KVSTORE_CORRUPT);
  sample_store_release(&store);
  sample_release(&t);
}

static void flip(uint8_t *bytes, size_t length, uint64_t *random) {
  bytes[test_random_below(random, length)] ^= (uint8_t)(1u << test_random_below(random, 8));
}

TEST(column_damage, flips_in_a_directory_never_crash) {
  uint64_t random = 12, refused = 0, rounds = test_scaled(10000);
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  damaged_create(&t, &store, 200);
  uint8_t *original = memory_copy(store.directory.data, store.directory.length);
  for (uint64_t round = 0; round < rounds; round++) {
    bool is_wrong;
    for (uint64_t flips = 1 + test_random_below(&random, 3); flips; flips--)
      flip(store.directory.data, store.directory.length, &random);
    refused += use_run(&store, &t, &is_wrong) != KVSTORE_OK;
    memcpy(store.directory.data, original, store.directory.length);
  }
  CHECK(refused > rounds * 9 / 10); /* what it says twice is compared */
  memory_release(original);
  sample_store_release(&store);
  sample_release(&t);
}

TEST(column_damage, a_directory_that_names_other_extents_is_refused) {
  SampleTable t = { 0 }, other = { 0 };
  SampleStore store = { 0 }, foreign = { 0 };
  damaged_create(&t, &store, 200);
  sample_every_type(&other);
  sample_fill(&other, 300, 0, 12);
  sample_write(&foreign, &other, NULL, 300);
  ColumnRun *run;
  RunSources none = { NULL, 0 };
  CHECK_STATUS(column_run_open(store.directory.data, store.directory.length, &none, &t.schema, NULL, &run),
               KVSTORE_CORRUPT);
  RunSources swapped = { (Source[]){ store.sources[1], store.sources[0] }, 2 };
  Status status = column_run_open(store.directory.data, store.directory.length, &swapped, &t.schema, NULL, &run);
  if (status == KVSTORE_OK) {
    Arena arena = { 0 };
    ColumnBatch batch;
    CHECK_STATUS(segment_decode(column_run_segment(run, 0), &batch, &arena), KVSTORE_CORRUPT);
    arena_release(&arena);
    column_run_close(run);
  } else {
    CHECK_INT(status, KVSTORE_CORRUPT);
  }
  sample_store_release(&store);
  sample_store_release(&foreign);
  sample_release(&t);
  sample_release(&other);
}

/* ---- extents ---- */

/* With checksums, as in a store: an answer is right, or there is none. */
static void flip_verified(ExtentMode mode) {
  uint64_t random = 13;
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  damaged_create(&t, &store, 3000);
  for (uint64_t round = 0; round < test_scaled(300); round++) {
    SampleExtent *e = store.extents[test_random_below(&random, store.count)];
    size_t at = test_random_below(&random, e->length);
    bool is_wrong;
    e->bytes[at] ^= 1;
    sample_set_mode(&store, mode);
    Status status = use_run(&store, &t, &is_wrong);
    CHECK_INT(status, KVSTORE_CORRUPT); /* column_run_check reads every unit */
    CHECK(!is_wrong);
    e->bytes[at] ^= 1;
  }
  sample_store_release(&store);
  sample_release(&t);
}

TEST(column_damage, flips_under_checksums_give_right_answers_or_none) {
  flip_verified(EXTENTS_VERIFIED);
  flip_verified(EXTENTS_CACHED);
}

/* Without them, as from a crafted file: any answer, but no crash and no read outside. */
TEST(column_damage, flips_without_checksums_never_crash) {
  uint64_t random = 14, refused = 0, rounds = test_scaled(10000);
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  damaged_create(&t, &store, 200);
  uint8_t *copies[32];
  CHECK(store.count > 2 && store.count <= 32); /* two segments and arrays */
  for (uint32_t i = 0; i < store.count; i++) copies[i] = memory_copy(store.extents[i]->bytes, store.extents[i]->length);
  for (uint64_t round = 0; round < rounds; round++) {
    bool is_wrong;
    uint64_t i = test_random_below(&random, store.count);
    SampleExtent *e = store.extents[i];
    size_t reach =
      test_random_below(&random, 3) || e->length < 1024 ? e->length : 1024; /* header and fences more often */
    for (uint64_t flips = 1 + test_random_below(&random, 3); flips; flips--) flip(e->bytes, reach, &random);
    sample_set_mode(&store, EXTENTS_TRUSTED);
    refused += use_run(&store, &t, &is_wrong) != KVSTORE_OK;
    memcpy(e->bytes, copies[i], e->length);
  }
  CHECK(refused > rounds / 4); /* of many flips in arrays nothing can be known */
  for (uint32_t i = 0; i < store.count; i++) memory_release(copies[i]);
  sample_store_release(&store);
  sample_release(&t);
}

TEST(column_damage, truncated_extents_are_refused) {
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  damaged_create(&t, &store, 200);
  size_t whole = store.extents[0]->length;
  for (size_t length = 0; length < whole; length += length < 1000 ? 1 : 131) {
    bool is_wrong;
    store.extents[0]->length = length;
    sample_set_mode(&store, EXTENTS_TRUSTED);
    CHECK_STATUS(use_run(&store, &t, &is_wrong), KVSTORE_CORRUPT);
  }
  store.extents[0]->length = whole;
  sample_store_release(&store);
  sample_release(&t);
}

/* ---- lies that only the full check finds ---- */

static Status check_once(SampleStore *store, const SampleTable *t) {
  ColumnRun *run;
  TRY(sample_open(store, &t->schema, &run));
  Status status = column_run_check(run);
  column_run_close(run);
  return status;
}

/* Where the fences of the first extent begin: behind the header and the places of its chunks. */
static uint8_t *first_fence(SampleStore *store) {
  uint8_t *bytes = store->extents[0]->bytes;
  uint32_t blocks = load_u32(bytes + 8), chunks = load_u32(bytes + 12);
  return bytes + 32 + 24 * chunks + 4 * (blocks + 1);
}

TEST(column_damage, the_full_check_compares_keys_with_fences_filter_and_range) {
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_key(&t, 0);
  sample_fill(&t, 3000, 0, 16);
  ColumnRunOptions options = { .key_filter = true };
  sample_write(&store, &t, &options, 3000);
  CHECK_OK(check_once(&store, &t));
  for (uint32_t block = 1; block < 3; block++) {
    uint8_t *low_byte = first_fence(&store) + 8 * block + 7;
    CHECK_BYTES(low_byte - 7, t.keys[block * BLOCK_ROWS].data, 8);
    *low_byte ^= 1;
    CHECK_STATUS(check_once(&store, &t), KVSTORE_CORRUPT);
    *low_byte ^= 1;
  }
  uint8_t *filter =
    store.extents[0]->bytes + round_up((uint64_t)(first_fence(&store) + 24 - store.extents[0]->bytes), 64);
  uint8_t byte = filter[100];
  CHECK(byte != 0);
  filter[100] = 0;
  CHECK_STATUS(check_once(&store, &t), KVSTORE_CORRUPT);
  filter[100] = byte;
  /* the directory's last key: found as the bytes of the table's */
  Bytes last = t.keys[t.row_count - 1];
  uint8_t *at = store.directory.data;
  while (memcmp(at, last.data, last.length) != 0) at++;
  at[7] ^= 1;
  CHECK_STATUS(check_once(&store, &t), KVSTORE_CORRUPT);
  at[7] ^= 1;
  CHECK_OK(check_once(&store, &t));
  sample_store_release(&store);
  sample_release(&t);
}

/* Whether the decoded keys of the only segment break what a run promises: order, and the keys where blocks begin. */
static bool keys_are_wrong(SampleStore *store, const SampleTable *t) {
  ColumnRun *run;
  Arena arena = { 0 };
  ColumnBatch batch;
  CHECK_OK(sample_open(store, &t->schema, &run));
  Status status = segment_decode(column_run_segment(run, 0), &batch, &arena);
  bool is_wrong = false;
  for (uint32_t row = 0; status == KVSTORE_OK && row < batch.row_count; row++) {
    const int64_t *keys = batch.columns[0].values, *true_keys = t->arrays[0].values;
    is_wrong |= row && keys[row - 1] >= keys[row];
    is_wrong |= row % BLOCK_ROWS == 0 && keys[row] != true_keys[row];
  }
  arena_release(&arena);
  column_run_close(run);
  return is_wrong;
}

TEST(column_damage, the_full_check_finds_keys_out_of_order) {
  uint64_t random = 15, wrong = 0;
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  sample_add_column(&t, TYPE_I64, 0);
  sample_add_key(&t, 0);
  sample_fill(&t, 3000, 0, 16);
  sample_write(&store, &t, NULL, 3000);
  SampleExtent *e = store.extents[0];
  size_t data = e->length - 64 - 2000; /* the last block's values, before the padding */
  for (int round = 0; round < 300; round++) {
    size_t at = data + test_random_below(&random, 2000);
    uint8_t bit = (uint8_t)(1u << test_random_below(&random, 8));
    e->bytes[at] ^= bit;
    if (keys_are_wrong(&store, &t)) {
      CHECK_STATUS(check_once(&store, &t), KVSTORE_CORRUPT);
      wrong++;
    }
    e->bytes[at] ^= bit;
  }
  CHECK(wrong > 10);
  sample_store_release(&store);
  sample_release(&t);
}

/* ---- memory and sinks ---- */
static Status write_run(SampleStore *store, const SampleTable *t) {
  ColumnRunOptions options = { .segment_rows = 150, .key_filter = true };
  ColumnRunWriter *writer;
  RunSink sink = sample_sink(store);
  ColumnArray arrays[SAMPLE_COLUMNS_MAX];
  TRY(column_run_writer_create(&sink, &t->schema, &options, &writer));
  Status status = KVSTORE_OK;
  for (uint32_t first = 0; first < t->row_count && status == KVSTORE_OK; first += 100) {
    uint32_t left = t->row_count - first, next = 0;
    ColumnBatch batch = sample_slice(t, first, left < 100 ? left : 100, arrays);
    status = column_run_writer_add(writer, &batch, &next);
  }
  if (status == KVSTORE_OK) status = column_run_writer_finish(writer, &store->directory, &store->summary);
  column_run_writer_destroy(writer);
  return status;
}

TEST(column_damage, every_failed_allocation_of_a_writer_is_survived) {
  SampleTable t = { 0 };
  sample_every_type(&t);
  sample_fill(&t, 400, 20, 17);
  uint64_t held = memory_blocks_held(), tried = 0;
  for (bool was_reached = true; was_reached; tried++) {
    SampleStore store = { 0 };
    failing_memory_install(tried + 1, false);
    Status status = write_run(&store, &t);
    was_reached = failing_memory_failures() > 0;
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (status == KVSTORE_NOMEM && was_reached));
    sample_store_release(&store);
    CHECK_INT(memory_blocks_held(), held);
  }
  CHECK(tried > 20);
  sample_release(&t);
}

static Status read_run(SampleStore *store, const SampleTable *t, ColumnRun **run, Arena *arena) {
  bool is_wrong = false;
  uint64_t hashes[40], locators[40];
  uint16_t rows[] = { 1, 5, 149 };
  uint32_t columns[] = { 0, 13, 15 };
  ColumnArray out[3];
  TRY(sample_open(store, &t->schema, run));
  TRY(use_rows(*run, t, arena, &is_wrong));
  CHECK(!is_wrong);
  TRY(use_keys(*run, t));
  for (int i = 0; i < 40; i++) hashes[i] = hash_key(t->keys[i].data, t->keys[i].length), locators[i] = LOCATOR_NONE;
  TRY(column_run_find_many(*run, t->keys, hashes, 40, locators));
  for (int i = 0; i < 40; i++) CHECK_INT(locator_position(locators[i]), i);
  TRY(column_run_read_rows(*run, 0, rows, 3, columns, 3, out, arena));
  return column_run_check(*run);
}

TEST(column_damage, every_failed_allocation_of_a_reader_is_survived) {
  SampleTable t = { 0 };
  SampleStore store = { 0 };
  sample_every_type(&t);
  sample_fill(&t, 400, 20, 17);
  CHECK_OK(write_run(&store, &t));
  for (ExtentMode mode = EXTENTS_TRUSTED; mode <= EXTENTS_CACHED; mode++) {
    uint64_t held = memory_blocks_held(), tried = 0;
    sample_set_mode(&store, mode);
    for (bool was_reached = true; was_reached; tried++) {
      ColumnRun *run = NULL;
      Arena arena = { 0 };
      failing_memory_install(tried + 1, false);
      Status status = read_run(&store, &t, &run, &arena);
      arena_release(&arena);
      column_run_close(run);
      was_reached = failing_memory_failures() > 0;
      failing_memory_remove();
      CHECK_INT(status, was_reached ? KVSTORE_NOMEM : KVSTORE_OK);
      CHECK_INT(memory_blocks_held(), held);
    }
    CHECK(tried > 20);
  }
  sample_store_release(&store);
  sample_release(&t);
}

static Status emit_fails(void *context, const uint8_t *bytes, size_t length, uint32_t *ordinal) {
  int *left = context;
  (void)bytes, (void)length;
  *ordinal = 0;
  return (*left)-- ? KVSTORE_OK : status_fail(KVSTORE_FULL, "no space in this test");
}

TEST(column_damage, a_full_disk_fails_the_writer_with_its_own_code) {
  SampleTable t = { 0 };
  sample_every_type(&t);
  sample_fill(&t, 400, 0, 17);
  ColumnRunOptions options = { .segment_rows = 100 };
  for (int segments = 0; segments < 4; segments++) {
    int left = segments;
    RunSink sink = { &left, emit_fails };
    ColumnRunWriter *writer;
    Buffer directory = { 0 };
    ColumnRunSummary summary = { 0 };
    ColumnBatch batch = sample_batch(&t);
    uint32_t next = 0;
    CHECK_OK(column_run_writer_create(&sink, &t.schema, &options, &writer));
    batch.row_count = 350; /* the last segment is emitted by finish */
    Status status = column_run_writer_add(writer, &batch, &next);
    if (status == KVSTORE_OK) status = column_run_writer_finish(writer, &directory, &summary);
    CHECK_INT(status, KVSTORE_FULL);
    column_run_writer_destroy(writer);
    column_run_summary_release(&summary);
    buffer_release(&directory);
  }
  sample_release(&t);
  CHECK_INT(memory_blocks_held(), 0);
}
