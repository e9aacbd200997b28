/* Runs whose columns several threads encoded: byte by byte those that one thread writes. */
#include "base/counters.h"
#include "os/team.h"
#include "tests/columnar/sample_table.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

static void check_same(const SampleStore *store, const SampleStore *alone) {
  CHECK_INT(store->count, alone->count);
  for (uint32_t i = 0; i < store->count; i++) {
    CHECK_INT(store->extents[i]->length, alone->extents[i]->length);
    CHECK_BYTES(store->extents[i]->bytes, alone->extents[i]->bytes, store->extents[i]->length);
  }
  CHECK_INT(store->directory.length, alone->directory.length);
  CHECK_BYTES(store->directory.data, alone->directory.data, store->directory.length);
  CHECK_INT(store->summary.byte_count, alone->summary.byte_count);
  for (uint32_t c = 0; c < store->summary.column_count; c++)
    CHECK_INT(store->summary.column_bytes[c], alone->summary.column_bytes[c]);
}

/* The same rows, written by so many threads; again where none but the writer's own has come to a processor. */
static void check_threads(const SampleTable *t, const SampleStore *alone, uint32_t threads) {
  ColumnRunOptions options = { .segment_rows = 8192, .key_filter = true, .threads = threads };
  uint64_t helped = counter_get(COUNTER_columns_encoded_by_helpers);
  for (int i = 0; i < 100 && counter_get(COUNTER_columns_encoded_by_helpers) == helped; i++) {
    SampleStore store = { 0 };
    team_meet(true);
    sample_write(&store, t, &options, 3000);
    team_meet(false);
    check_same(&store, alone);
    sample_store_release(&store);
  }
  CHECK(counter_get(COUNTER_columns_encoded_by_helpers) > helped);
}

TEST(column_encode, threads_that_encode_columns_write_the_same_bytes) {
  ColumnRunOptions options = { .segment_rows = 8192, .key_filter = true };
  SampleTable t = { 0 };
  SampleStore alone = { 0 };
  sample_every_type(&t);
  sample_fill(&t, 20000, 30, 77);
  sample_write(&alone, &t, &options, 3000);
  CHECK_INT(alone.summary.segment_count, 3); /* the last one is short */
  check_threads(&t, &alone, 2);
  check_threads(&t, &alone, 5);
  check_threads(&t, &alone, 1000);
  sample_store_release(&alone);
  sample_release(&t);
}

/* Writes the table as one run with the n-th allocation failing; *reached: there was one. */
static Status write_short_of_memory(SampleStore *store, const SampleTable *t, uint64_t n, bool *reached) {
  ColumnRunOptions options = { .segment_rows = 8192, .threads = 3 };
  RunSink sink = sample_sink(store);
  ColumnRunWriter *writer = NULL;
  ColumnBatch rows = sample_batch(t);
  uint32_t next = 0;
  failing_memory_install(n, false);
  Status status = column_run_writer_create(&sink, &t->schema, &options, &writer);
  if (status == KVSTORE_OK) status = column_run_writer_add(writer, &rows, &next);
  if (status == KVSTORE_OK) status = column_run_writer_finish(writer, &store->directory, &store->summary);
  column_run_writer_destroy(writer);
  *reached = failing_memory_failures() > 0;
  failing_memory_remove();
  return status;
}

/* A helper that fails leaves its column to the writer. */
TEST(column_encode, without_memory_threads_write_the_run_or_none) {
  SampleTable t = { 0 };
  sample_every_type(&t);
  sample_fill(&t, 9000, 0, 78);
  ColumnRunOptions options = { .segment_rows = 8192 };
  SampleStore alone = { 0 };
  sample_write(&alone, &t, &options, 9000);
  uint32_t failed = 0, made = 0;
  bool reached = true;
  for (uint64_t n = 1; reached; n++) {
    SampleStore store = { 0 };
    Status status = write_short_of_memory(&store, &t, n, &reached);
    if (status == KVSTORE_OK) {
      check_same(&store, &alone);
      made++;
    } else {
      CHECK_STATUS(status, KVSTORE_NOMEM);
      failed++;
    }
    sample_store_release(&store);
  }
  CHECK(failed > 10 && made > 10); /* of the writer's own, and of helpers' */
  sample_store_release(&alone);
  sample_release(&t);
}
