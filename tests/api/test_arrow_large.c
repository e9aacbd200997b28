/* Answers of more rows than an Arrow batch has; batches of more rows than are written at once. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "colonnade/kvarrow.h"
#include "tests/api/api_support.h"
#include "tests/support/counted_memory.h"

enum { MANY = 140000, FULL = 65536 };

/* No thread of its own works beside the tests. */
static KVStore *open_quiet(void) {
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  KVStore *kv = NULL;
  options.background_off = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  return kv;
}

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
  KVStore *kv = open_quiet();
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

/* ---- in ---- */

enum { HUGE_ROWS = 1400000, LETTERS = 26 };

enum { HUGE_COLUMNS = 3, BLOCK_OF_IDS = 30000 };

/* A stream of one batch: `n`, i % 30,000, as int16, for an int32 must be made of it; `s`, the letter that n % 26 is;
 * and, where it is asked for, `id`, i. */
typedef struct Huge {
  int16_t *numbers;
  int32_t *offsets;
  char *letters;
  int64_t *ids; /* NULL: it has no such column */
  struct ArrowSchema schemas[HUGE_COLUMNS], *schema_list[HUGE_COLUMNS];
  struct ArrowArray arrays[HUGE_COLUMNS], *array_list[HUGE_COLUMNS];
  const void *buffers[HUGE_COLUMNS][3], *none[1];
  int left;
} Huge;

static void release_schema(struct ArrowSchema *schema) { schema->release = NULL; }
static void release_array(struct ArrowArray *array) { array->release = NULL; }
static void release_stream(struct ArrowArrayStream *stream) { stream->release = NULL; }

static int huge_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  Huge *h = stream->private_data;
  h->schemas[0] = (struct ArrowSchema){ .format = "s", .name = "n", .release = release_schema };
  h->schemas[1] = (struct ArrowSchema){ .format = "u", .name = "s", .release = release_schema };
  h->schemas[2] = (struct ArrowSchema){ .format = "l", .name = "id", .release = release_schema };
  for (int i = 0; i < HUGE_COLUMNS; i++) h->schema_list[i] = &h->schemas[i];
  *out = (struct ArrowSchema){ .format = "+s", .n_children = h->ids ? 3 : 2, .release = release_schema };
  out->children = h->schema_list;
  return 0;
}

static int huge_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  Huge *h = stream->private_data;
  memset(out, 0, sizeof *out);
  if (!h->left--) return 0;
  for (int i = 0; i < HUGE_COLUMNS; i++) {
    h->arrays[i] = (struct ArrowArray){ .length = HUGE_ROWS, .n_buffers = 2 + (i == 1), .buffers = h->buffers[i] };
    h->arrays[i].release = release_array;
    h->array_list[i] = &h->arrays[i];
  }
  h->buffers[0][1] = h->numbers;
  h->buffers[1][1] = h->offsets;
  h->buffers[1][2] = h->letters;
  h->buffers[2][1] = h->ids;
  *out = (struct ArrowArray){ .length = HUGE_ROWS, .n_buffers = 1, .n_children = h->ids ? 3 : 2, .buffers = h->none };
  out->children = h->array_list;
  out->release = release_array;
  return 0;
}

static void huge_make(Huge *h) {
  memset(h, 0, sizeof *h);
  h->numbers = malloc(HUGE_ROWS * sizeof *h->numbers);
  h->offsets = malloc((HUGE_ROWS + 1) * sizeof *h->offsets);
  h->letters = malloc(HUGE_ROWS);
  CHECK(h->numbers && h->offsets && h->letters);
  for (int i = 0; i < HUGE_ROWS; i++) {
    h->numbers[i] = (int16_t)(i % BLOCK_OF_IDS);
    h->offsets[i] = i;
    h->letters[i] = (char)('a' + i % BLOCK_OF_IDS % LETTERS);
  }
  h->offsets[HUGE_ROWS] = HUGE_ROWS;
}

static void huge_free(Huge *h) {
  free(h->numbers);
  free(h->offsets);
  free(h->letters);
  free(h->ids);
}

static struct ArrowArrayStream huge_stream(Huge *h) {
  h->left = 1;
  return (struct ArrowArrayStream){
    .get_schema = huge_schema, .get_next = huge_next, .release = release_stream, .private_data = h
  };
}

static uint64_t count_where(KVTable *table, const char *where) {
  uint64_t count = 0;
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, where, NULL, 0));
  CHECK_OK(kvquery_count(query, &count));
  kvquery_close(query);
  return count;
}

static void check_huge(KVTable *table, const Huge *h) {
  uint64_t low = 0, of_letter = 0;
  for (int i = 0; i < HUGE_ROWS; i++) {
    low += h->numbers[i] < 1000;
    of_letter += h->letters[i] == 'q' && h->numbers[i] > 20000;
  }
  CHECK_INT(count_where(table, "n < 1000"), low);
  CHECK_INT(count_where(table, "s = 'q' and n > 20000"), of_letter);
}

/* Without keys a batch is written part by part: it takes the memory of one, and is there as a whole, or not at all. */
TEST(arrow_large, a_batch_is_written_by_parts_and_all_or_nothing) {
  const KVColumnDefinition columns[] = { { "n", KVTABLE_TYPE_I32, 0, 0 }, { "s", KVTABLE_TYPE_STRING, 0, 0 } };
  KVStore *kv = open_quiet();
  KVTable *table = NULL;
  uint64_t rows = 0;
  Huge huge;
  huge_make(&huge);
  CHECK_OK(kvtable_create(kv, "huge", columns, 2, NULL, 0, &table));
  huge.offsets[HUGE_ROWS - 4] = 0; /* a string of the last part ends before it begins */
  struct ArrowArrayStream stream = huge_stream(&huge);
  CHECK(kvtable_append_stream(table, &stream, KVTABLE_INSERT, &rows) != KVSTORE_OK);
  CHECK_INT(rows, 0);
  CHECK_INT(count_where(table, "true"), 0);
  huge.offsets[HUGE_ROWS - 4] = HUGE_ROWS - 4;
  stream = huge_stream(&huge);
  counted_memory_install();
  int64_t before = counted_memory_begin();
  CHECK_OK(kvtable_append_stream(table, &stream, KVTABLE_INSERT, &rows));
  int64_t most = counted_memory_most() - before;
  counted_memory_remove();
  CHECK_INT(rows, HUGE_ROWS);
  CHECK(most < (int64_t)HUGE_ROWS * (16 + 4 + 1 + 8)); /* strings, numbers and their nulls, row ids of all rows */
  check_huge(table, &huge);
  kvtable_close(table);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
  huge_free(&huge);
}

/* ---- with keys ---- */

static void swap_ids(Huge *h, int a, int b) {
  int64_t id = h->ids[a];
  h->ids[a] = h->ids[b];
  h->ids[b] = id;
}

static uint64_t append_huge(KVTable *table, Huge *h, int expected, int64_t *memory) {
  struct ArrowArrayStream stream = huge_stream(h);
  uint64_t rows = 0;
  counted_memory_install();
  int64_t before = counted_memory_begin();
  CHECK_STATUS(kvtable_append_stream(table, &stream, KVTABLE_INSERT, &rows), expected);
  *memory = counted_memory_most() - before;
  counted_memory_remove();
  return rows;
}

static uint64_t runs_of(KVTable *table) {
  KVTableUsage *usage = NULL;
  CHECK_OK(kvtable_usage(table, &usage));
  uint64_t runs = usage->run_count;
  kvstore_free(usage);
  return runs;
}

/* Keys (n, id), of which the first ones are equal for 30,000 rows each. A batch whose keys ascend is written by parts,
 * too; another as a whole, in their order. */
TEST(arrow_large, batches_by_ascending_keys_are_written_by_parts_and_others_are_not) {
  const KVColumnDefinition columns[] = { { "n", KVTABLE_TYPE_I16, 0, 0 },
                                         { "s", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "id", KVTABLE_TYPE_I64, 0, 0 } };
  const char *key[] = { "n", "id" };
  const int edge = HUGE_ROWS / 2 / 65536 * 65536 + 65536; /* two parts, of whole segments */
  KVStore *kv = open_quiet();
  Huge huge;
  huge_make(&huge);
  huge.ids = malloc(HUGE_ROWS * sizeof *huge.ids);
  CHECK(huge.ids != NULL);
  for (int i = 0; i < HUGE_ROWS; i++) {
    huge.numbers[i] = (int16_t)(i / BLOCK_OF_IDS);
    huge.ids[i] = i % BLOCK_OF_IDS;
  }
  for (int ascends = 1; ascends >= 0; ascends--) {
    KVTable *table = NULL;
    int64_t memory;
    if (!ascends) swap_ids(&huge, edge - 1, edge);
    CHECK_OK(kvtable_create(kv, ascends ? "ascending" : "other", columns, 3, key, 2, &table));
    huge.ids[HUGE_ROWS - 1]--; /* the last two are equal */
    CHECK_INT(append_huge(table, &huge, KVSTORE_CONSTRAINT, &memory), 0);
    CHECK_INT(count_where(table, "true"), 0);
    huge.ids[HUGE_ROWS - 1]++;
    CHECK_INT(append_huge(table, &huge, KVSTORE_OK, &memory), HUGE_ROWS);
    CHECK_INT(memory < (int64_t)HUGE_ROWS * (16 + 16 + 8), ascends); /* strings, keys and their hashes of all rows */
    CHECK_INT(runs_of(table), 1 + ascends);
    CHECK_INT(count_where(table, "n = 20 and id < 7"), 7);
    for (int i = edge - 2; i < edge + 2; i++) {
      KVValue row[] = { kvvalue_i64(huge.numbers[i]), kvvalue_i64(huge.ids[i]) }, values[3];
      KVRow *held = NULL;
      CHECK_OK(kvtable_get(table, row, 2, values, 3, NULL, &held));
      CHECK_INT(values[1].as.bytes.length, 1);
      CHECK_BYTES(values[1].as.bytes.data, &huge.letters[i], 1);
      kvtable_row_free(held);
    }
    kvtable_close(table);
  }
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
  huge_free(&huge);
}

/* ---- a transaction that ends meanwhile ---- */

/* Another stream, before whose third batch the transaction of `kv` is ended. */
typedef struct Ending {
  struct ArrowArrayStream inner;
  KVStore *kv;
  int (*end)(KVStore *kv);
  int given;
} Ending;

static int ending_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  Ending *e = stream->private_data;
  return e->inner.get_schema(&e->inner, out);
}

static int ending_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  Ending *e = stream->private_data;
  if (e->given++ == 2) CHECK_OK(e->end(e->kv));
  return e->inner.get_next(&e->inner, out);
}

static void ending_release(struct ArrowArrayStream *stream) {
  Ending *e = stream->private_data;
  e->inner.release(&e->inner);
  stream->release = NULL;
}

static int end_and_begin(KVStore *kv) {
  int code = kvstore_rollback(kv);
  return code == KVSTORE_OK ? kvstore_begin(kv, 1) : code;
}

/* Rows of the first batches are gone, or stay, as it was ended; those behind are not written by themselves, and no
 * transaction of somebody else is ended. */
TEST(arrow_large, rows_are_not_written_behind_the_end_of_their_transaction) {
  int (*const ends[])(KVStore *) = { kvstore_rollback, kvstore_commit, end_and_begin };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "half", KVTABLE_TYPE_F64, KVTABLE_NULLABLE, 0 },
                                         { "odd", KVTABLE_TYPE_BOOL, 0, 0 },
                                         { "cents", KVTABLE_TYPE_DECIMAL, 0, 2 } };
  KVStore *kv = open_quiet(), *other = NULL;
  KVTable *many = table_of_many(kv);
  CHECK_OK(kvstore_clone(kv, &other));
  for (int i = 0; i < 6; i++) {
    bool inside = i >= 3; /* a transaction of the caller, else one of the call */
    Ending ending = { .kv = other, .end = ends[i % 3] };
    struct ArrowArrayStream stream = {
      .get_schema = ending_schema, .get_next = ending_next, .release = ending_release, .private_data = &ending
    };
    KVTable *copy = NULL;
    uint64_t rows = 1, count;
    char name[16];
    (void)snprintf(name, sizeof name, "copy%d", i);
    CHECK_OK(kvtable_create(other, name, columns, 4, NULL, 0, &copy));
    stream_of(many, &ending.inner);
    if (inside) CHECK_OK(kvstore_begin(other, 1));
    CHECK_STATUS(kvtable_append_stream(copy, &stream, KVTABLE_INSERT, &rows), KVSTORE_ERROR);
    CHECK(strstr(kvstore_errmsg(other), "the transaction was ended") != NULL);
    CHECK_INT(rows, 0);
    CHECK(!stream.release);
    bool begun = ends[i % 3] == end_and_begin;
    CHECK_STATUS(kvstore_begin(other, 1), begun ? KVSTORE_ERROR : KVSTORE_OK); /* the other one is open still */
    CHECK_OK(kvstore_rollback(other));
    CHECK_OK(kvtable_count(copy, &count));
    CHECK_INT(count, ends[i % 3] == kvstore_commit ? 2 * FULL : 0);
    kvtable_close(copy);
  }
  kvtable_close(many);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}
