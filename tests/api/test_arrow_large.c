/* Answers of more rows than an Arrow batch has. */
#include <stdbool.h>

#include "colonnade/kvarrow.h"
#include "tests/api/api_support.h"

enum { MANY = 140000, FULL = 65536 };

static void stream_of(KVTable *table, struct ArrowArrayStream *stream) {
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_open_stream(query, stream));
  kvquery_close(query);
}

static KVTable *table_of_many(KVStore *kv) {
  const char *key[] = { "id" };
  const KVColumnDefinition numbers[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "half", KVTABLE_TYPE_F64, KVTABLE_NULLABLE, 0 },
                                         { "odd", KVTABLE_TYPE_BOOL, 0, 0 },
                                         { "cents", KVTABLE_TYPE_DECIMAL, 0, 2 } };
  static int64_t ids[MANY], cents[MANY];
  static double halves[MANY];
  static uint8_t odd[MANY], nulls[MANY];
  for (int i = 0; i < MANY; i++) {
    ids[i] = i;
    cents[i] = 70000 - i;
    halves[i] = (double)i / 2;
    odd[i] = i % 2;
    nulls[i] = i % 3 == 0;
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, 0, halves, nulls, NULL, NULL },
                                { KVTABLE_TYPE_BOOL, 0, odd, NULL, NULL, NULL },
                                { KVTABLE_TYPE_DECIMAL, 0, cents, NULL, NULL, NULL } };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "many", numbers, 4, key, 1, &table));
  CHECK_OK(kvtable_append(table, data, 4, MANY, NULL, KVTABLE_INSERT, NULL));
  return table;
}

static void check_cents(const struct ArrowArray *cents, int64_t first) {
  for (int64_t row = 0; row < cents->length; row++) {
    const int64_t *halves = (const int64_t *)cents->buffers[1] + 2 * row;
    if (halves[0] != 70000 - first - row || halves[1] != halves[0] >> 63) CHECK_INT(halves[0], 70000 - first - row);
  }
}

static void check_many(const struct ArrowArray *batch, int64_t first) {
  const int64_t *ids = batch->children[0]->buffers[1];
  const double *halves = batch->children[1]->buffers[1];
  const uint8_t *valid = batch->children[1]->buffers[0], *odd = batch->children[2]->buffers[1];
  for (int64_t row = 0; row < batch->length; row++) {
    int64_t i = first + row;
    bool is_null = !(valid[row / 8] >> row % 8 & 1);
    bool same = ids[row] == i && is_null == (i % 3 == 0) && (odd[row / 8] >> row % 8 & 1) == i % 2;
    if (!same || (!is_null && halves[row] != (double)i / 2)) CHECK_INT(row, -1);
  }
  check_cents(batch->children[3], first);
}

/* Behind a full batch the numbers of the next lie side by side, and belong to whichever column is left. */
TEST(arrow_large, columns_of_a_large_batch_share_memory_and_outlive_each_other) {
  KVStore *kv = open_store();
  KVTable *table = table_of_many(kv);
  struct ArrowArrayStream stream;
  struct ArrowArray batches[3], end, moved;
  stream_of(table, &stream);
  int64_t first = 0;
  for (int i = 0; i < 3; first += batches[i++].length) {
    CHECK_INT(stream.get_next(&stream, &batches[i]), 0);
    CHECK_INT(batches[i].length, i < 2 ? FULL : MANY - 2 * FULL);
    check_many(&batches[i], first);
  }
  CHECK_INT(stream.get_next(&stream, &end), 0);
  CHECK(!end.release);
  stream.release(&stream);
  kvtable_close(table);
  for (int i = 1; i < 3; i++) {
    const uint8_t *ids = batches[i].children[0]->buffers[1], *halves = batches[i].children[1]->buffers[1];
    CHECK_INT(halves - ids, 8 * (FULL + 1024));
  }
  moved = *batches[1].children[3];
  batches[1].children[3]->release = NULL;
  for (int i = 0; i < 3; i++) batches[i].release(&batches[i]);
  check_cents(&moved, FULL);
  CHECK_OK(kvstore_close(kv));
  check_cents(&moved, FULL);
  moved.release(&moved);
}
