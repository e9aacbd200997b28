/* Arrow streams out of queries and into tables: every type there and back, layouts that others write, refusals. */
#include <errno.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "colonnade/kvarrow.h"
#include "tests/api/api_support.h"

enum { COLUMNS = 20, ROWS = 70000 };

static const KVColumnDefinition columns[COLUMNS] = {
  { "id", KVTABLE_TYPE_I64, 0, 0 },
  { "flag", KVTABLE_TYPE_BOOL, KVTABLE_NULLABLE, 0 },
  { "a", KVTABLE_TYPE_I8, KVTABLE_NULLABLE, 0 },
  { "b", KVTABLE_TYPE_I16, KVTABLE_NULLABLE, 0 },
  { "c", KVTABLE_TYPE_I32, KVTABLE_NULLABLE, 0 },
  { "d", KVTABLE_TYPE_U8, KVTABLE_NULLABLE, 0 },
  { "e", KVTABLE_TYPE_U16, KVTABLE_NULLABLE, 0 },
  { "f", KVTABLE_TYPE_U32, KVTABLE_NULLABLE, 0 },
  { "g", KVTABLE_TYPE_U64, KVTABLE_NULLABLE, 0 },
  { "h", KVTABLE_TYPE_F32, KVTABLE_NULLABLE, 0 },
  { "i", KVTABLE_TYPE_F64, KVTABLE_NULLABLE, 0 },
  { "day", KVTABLE_TYPE_DATE, KVTABLE_NULLABLE, 0 },
  { "at", KVTABLE_TYPE_TIMESTAMP, KVTABLE_NULLABLE | KVTABLE_UTC, 0 },
  { "text", KVTABLE_TYPE_STRING, KVTABLE_NULLABLE, 0 },
  { "raw", KVTABLE_TYPE_BYTES, KVTABLE_NULLABLE, 0 },
  { "four", KVTABLE_TYPE_FIXED_BYTES, KVTABLE_NULLABLE, 4 },
  { "price", KVTABLE_TYPE_DECIMAL, KVTABLE_NULLABLE, 2 },
  { "noon", KVTABLE_TYPE_TIME, KVTABLE_NULLABLE, 0 },
  { "lasted", KVTABLE_TYPE_DURATION, KVTABLE_NULLABLE, 0 },
  { "who", KVTABLE_TYPE_UUID, KVTABLE_NULLABLE, 16 },
};
static const char *const formats[COLUMNS] = { "l", "b",   "c",       "s", "i", "C",   "S",      "I",   "L",   "f",
                                              "g", "tdD", "tsu:UTC", "u", "z", "w:4", "d:18,2", "ttu", "tDu", "w:16" };
static const char *const key[] = { "id" };

static KVTable *make_table(KVStore *kv, const char *name) {
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, name, columns, COLUMNS, key, 1, &table));
  return table;
}

/* The value of a column in a row, from their numbers alone. */
static KVValue value_of(uint32_t row, size_t column, char text[32]) {
  uint64_t random = (uint64_t)row << 8 | column;
  uint64_t bits = test_random(&random);
  KVValue v = kvvalue_of(columns[column].type);
  if (column && bits % 7 == 0) return kvvalue_null();
  switch (v.type) {
  case KVTABLE_TYPE_BOOL: v.as.i64 = bits >> 8 & 1; break;
  case KVTABLE_TYPE_I8: v.as.i64 = (int8_t)(bits >> 8); break;
  case KVTABLE_TYPE_I16: v.as.i64 = (int16_t)(bits >> 8); break;
  case KVTABLE_TYPE_I32:
  case KVTABLE_TYPE_DATE: v.as.i64 = (int32_t)(bits >> 8) / 1000; break;
  case KVTABLE_TYPE_U8: v.as.u64 = (uint8_t)(bits >> 8); break;
  case KVTABLE_TYPE_U16: v.as.u64 = (uint16_t)(bits >> 8); break;
  case KVTABLE_TYPE_U32: v.as.u64 = (uint32_t)(bits >> 8); break;
  case KVTABLE_TYPE_U64: v.as.u64 = bits; break;
  case KVTABLE_TYPE_F32: v.as.f64 = (double)((float)(int32_t)(bits >> 8) / 16); break;
  case KVTABLE_TYPE_F64: v.as.f64 = bits % 5 ? (double)(int64_t)bits / 3 : bits % 2 ? NAN : -0.0; break;
  case KVTABLE_TYPE_TIMESTAMP: v.as.i64 = (int64_t)(bits >> 12); break;
  case KVTABLE_TYPE_I64: v.as.i64 = row; break;
  case KVTABLE_TYPE_DECIMAL: v = kvvalue_decimal((int64_t)bits % INT64_C(1000000000000000000), 2); break;
  case KVTABLE_TYPE_TIME: v.as.i64 = (int64_t)(bits % UINT64_C(86400000000)); break;
  case KVTABLE_TYPE_DURATION: v.as.i64 = (int64_t)bits; break;
  default: {
    size_t length = v.type == KVTABLE_TYPE_FIXED_BYTES ? 4 : v.type == KVTABLE_TYPE_UUID ? 16 : bits % 31;
    for (size_t i = 0; i < length; i++) text[i] = (char)('a' + (bits >> i) % 20);
    v.as.bytes = (KVBytes){ text, length };
  }
  }
  return v;
}

static void check_same(const KVValue *a, const KVValue *b) {
  CHECK_INT(!a->is_null, !b->is_null);
  if (a->is_null) return;
  CHECK_INT(a->type, b->type);
  CHECK_INT(a->scale, b->scale);
  if (a->type >= KVTABLE_TYPE_STRING || a->type == KVTABLE_TYPE_UUID) {
    CHECK_INT(a->as.bytes.length, b->as.bytes.length);
    CHECK(!a->as.bytes.length || memcmp(a->as.bytes.data, b->as.bytes.data, a->as.bytes.length) == 0);
  } else {
    CHECK(a->as.u64 == b->as.u64 || (isnan(a->as.f64) && isnan(b->as.f64)));
  }
}

static void check_rows(KVTable *table, uint32_t rows) {
  uint64_t count;
  CHECK_OK(kvtable_count(table, &count));
  CHECK_INT(count, rows);
  for (uint32_t i = 0; i < rows; i += 1 + rows / 500) {
    KVValue id = kvvalue_i64(i), values[COLUMNS];
    KVRow *row = NULL;
    char text[32];
    CHECK_OK(kvtable_get(table, &id, 1, values, COLUMNS, NULL, &row));
    for (size_t c = 0; c < COLUMNS; c++) {
      KVValue expected = value_of(i, c, text);
      check_same(&values[c], &expected);
    }
    kvtable_row_free(row);
  }
}

static void fill(KVStore *kv, KVTable *table, uint32_t rows) {
  CHECK_OK(kvstore_begin(kv, 1));
  for (uint32_t i = 0; i < rows; i++) {
    KVValue values[COLUMNS];
    static char texts[COLUMNS][32];
    for (size_t c = 0; c < COLUMNS; c++) values[c] = value_of(i, c, texts[c]);
    CHECK_OK(kvtable_upsert(table, values, COLUMNS, 0));
  }
  CHECK_OK(kvstore_commit(kv));
}

static void stream_of(KVTable *table, struct ArrowArrayStream *stream) {
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_open_stream(query, stream));
  kvquery_close(query);
}

/* ---- there and back ---- */

TEST(arrow, every_type_goes_out_and_comes_back) {
  uint32_t rows = test_scale() < 1 ? 3000 : ROWS;
  KVStore *kv = open_store();
  KVTable *from = make_table(kv, "from"), *to = make_table(kv, "to");
  struct ArrowArrayStream stream;
  struct ArrowSchema schema;
  uint64_t count = 0;
  fill(kv, from, rows);
  stream_of(from, &stream);
  CHECK_INT(stream.get_schema(&stream, &schema), 0);
  CHECK_STR(schema.format, "+s");
  CHECK_INT(schema.n_children, COLUMNS);
  for (int64_t i = 0; i < COLUMNS; i++) {
    CHECK_STR(schema.children[i]->name, columns[i].name);
    CHECK_STR(schema.children[i]->format, formats[i]);
  }
  schema.release(&schema);
  CHECK(!schema.release);
  CHECK_OK(kvtable_append_stream(to, &stream, KVTABLE_INSERT, &count));
  CHECK(!stream.release);
  CHECK_INT(count, rows);
  check_rows(to, rows);
  stream_of(from, &stream);
  CHECK_STATUS(kvtable_append_stream(to, &stream, KVTABLE_INSERT, &count), KVSTORE_CONSTRAINT);
  CHECK_INT(count, 0);
  stream_of(from, &stream);
  CHECK_OK(kvtable_append_stream(to, &stream, KVTABLE_UPSERT, NULL));
  check_rows(to, rows);
  kvtable_close(from);
  kvtable_close(to);
  CHECK_OK(kvstore_close(kv));
}

static void check_batch(const struct ArrowArray *batch) {
  const struct ArrowArray *ids = batch->children[0], *texts = batch->children[13];
  const int32_t *offsets = texts->buffers[1];
  const uint8_t *valid = texts->buffers[0];
  for (int64_t row = 0; row < batch->length; row++) {
    int64_t id = ((const int64_t *)ids->buffers[1])[row];
    char text[32];
    KVValue expected = value_of((uint32_t)id, 13, text);
    CHECK_INT(valid ? valid[row / 8] >> row % 8 & 1 : 1, !expected.is_null);
    if (expected.is_null) continue;
    CHECK_INT(offsets[row + 1] - offsets[row], expected.as.bytes.length);
    CHECK(memcmp((const char *)texts->buffers[2] + offsets[row], text, expected.as.bytes.length) == 0);
  }
}

TEST(arrow, a_stream_keeps_its_snapshot_and_its_arrays_outlive_everything) {
  KVStore *kv = open_store();
  KVTable *table = make_table(kv, "t");
  struct ArrowArrayStream stream;
  struct ArrowArray batch, moved, end;
  fill(kv, table, 2000);
  stream_of(table, &stream);
  CHECK_OK(kvtable_clear(table));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(stream.get_next(&stream, &batch), 0);
  CHECK_INT(batch.length, 2000);
  CHECK_INT(stream.get_next(&stream, &end), 0);
  CHECK(!end.release);
  CHECK(!stream.get_last_error(&stream));
  stream.release(&stream);
  check_batch(&batch);
  pid_t child = fork();
  CHECK(child >= 0);
  if (!child) {
    batch.release(&batch);
    _exit(batch.release != NULL);
  }
  int how;
  CHECK_INT(waitpid(child, &how, 0), child);
  CHECK_INT(how, 0);
  moved = *batch.children[13]; /* a consumer may take a column and let the rest go */
  batch.children[13]->release = NULL;
  batch.release(&batch);
  CHECK_INT(((const int32_t *)moved.buffers[1])[0], 0);
  CHECK_INT(moved.length, 2000);
  moved.release(&moved);
}

TEST(arrow, groups_and_their_sums_leave_as_decimals) {
  KVStore *kv = open_store();
  KVTable *table = make_table(kv, "t");
  KVQuery *query = NULL;
  struct ArrowArrayStream stream;
  struct ArrowSchema schema;
  struct ArrowArray batch;
  const char *by[] = { "flag" };
  const KVAggregate sums[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "c" }, { KVQUERY_COUNT_DISTINCT, "text" } };
  const KVOrder order[] = { { "flag", 0 } };
  int64_t sum[3] = { 0 }, count[3] = { 0 };
  char text[32];
  fill(kv, table, 1000);
  for (uint32_t i = 0; i < 1000; i++) {
    KVValue flag = value_of(i, 1, text), number = value_of(i, 4, text);
    int group = flag.is_null ? 0 : 1 + (int)flag.as.i64;
    count[group]++;
    sum[group] += number.is_null ? 0 : number.as.i64;
  }
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_group_by(query, by, 1));
  CHECK_OK(kvquery_compute(query, sums, 3));
  CHECK_OK(kvquery_order_by(query, order, 1));
  CHECK_OK(kvquery_open_stream(query, &stream));
  CHECK_INT(stream.get_schema(&stream, &schema), 0);
  CHECK_STR(schema.children[2]->format, "d:38,0");
  CHECK_STR(schema.children[3]->name, "count(distinct text)");
  CHECK_INT(stream.get_next(&stream, &batch), 0);
  CHECK_INT(batch.length, 3);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(((const uint64_t *)batch.children[1]->buffers[1])[i], count[i]);
    CHECK_INT(((const int64_t *)batch.children[2]->buffers[1])[2 * i], sum[i]);
    CHECK_INT(((const int64_t *)batch.children[2]->buffers[1])[2 * i + 1], sum[i] < 0 ? -1 : 0);
  }
  batch.release(&batch);
  schema.release(&schema);
  stream.release(&stream);
  CHECK_OK(kvquery_where(query, "id < 0", NULL, 0));
  CHECK_OK(kvquery_open_stream(query, &stream));
  CHECK_INT(stream.get_next(&stream, &batch), 0);
  CHECK(!batch.release);
  stream.release(&stream);
  CHECK_STATUS(kvquery_open_stream(query, NULL), KVSTORE_ERROR);
  CHECK_STR(kvstore_errmsg(kv), "the place for the stream is NULL");
  kvquery_close(query);
  CHECK_STATUS(kvquery_open_stream(NULL, &stream), KVSTORE_ERROR);
  CHECK(!stream.release);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* The text of what is computed is its name, however long: cut off, two of them would be one, and perhaps no UTF-8. */
TEST(arrow, a_column_has_its_whole_name) {
  enum { SUMMANDS = 90, LETTERS = 300 };
  KVStore *kv = open_store();
  KVTable *table = make_table(kv, "t");
  KVQuery *query = NULL;
  struct ArrowArrayStream stream;
  struct ArrowSchema schema;
  char sums[2][4 * SUMMANDS], named[2 * LETTERS + 16] = "id as \"";
  for (int i = 0; i < SUMMANDS; i++) {
    memcpy(sums[0] + 4 * (size_t)i, "c + ", 4);
    memcpy(sums[1] + 4 * (size_t)i, i + 1 < SUMMANDS ? "c + " : "d + ", 4);
  }
  for (int t = 0; t < 2; t++) sums[t][4 * SUMMANDS - 3] = '\0'; /* behind the last summand */
  for (int i = 0; i < LETTERS; i++) memcpy(named + 7 + 2 * (size_t)i, "\xC3\xBC", 2);
  memcpy(named + 7 + 2 * LETTERS, "\"", 2);
  const char *selected[] = { sums[0], sums[1], named };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_select(query, selected, 3));
  CHECK_OK(kvquery_open_stream(query, &stream));
  CHECK_INT(stream.get_schema(&stream, &schema), 0);
  CHECK_STR(schema.children[0]->name, sums[0]);
  CHECK_STR(schema.children[1]->name, sums[1]);
  CHECK_INT(strlen(schema.children[2]->name), 2 * LETTERS);
  CHECK(!strncmp(schema.children[2]->name, named + 7, 2 * LETTERS));
  schema.release(&schema);
  stream.release(&stream);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- what others write: one column "x" of one or two batches, made by hand ---- */

typedef struct Handmade {
  struct ArrowSchema schema, child_schema, dictionary_schema, *child_schemas[1];
  struct ArrowArray batch, child, dictionary, *children[1];
  const void *no_validity[1];
  int batches, given;    /* how many get_next gives */
  int fails;             /* get_next fails behind them */
  const char *change_to; /* the strings of the second batch, if it is another */
  int released;
} Handmade;

static void release_schema(struct ArrowSchema *schema) { schema->release = NULL; }
static void release_array(struct ArrowArray *array) { array->release = NULL; }

static int give_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  Handmade *h = stream->private_data;
  *out = h->schema;
  return 0;
}
static int give_batch(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  Handmade *h = stream->private_data;
  memset(out, 0, sizeof *out);
  if (h->given == h->batches) return h->fails ? EIO : 0;
  if (h->given++ && h->change_to) h->child.buffers[2] = h->change_to;
  *out = h->batch;
  return 0;
}
static const char *give_error(struct ArrowArrayStream *stream) {
  (void)stream;
  return "the network is gone";
}
static void release_stream(struct ArrowArrayStream *stream) {
  ((Handmade *)stream->private_data)->released++;
  stream->release = NULL;
}

/* `buffers` are the child's. */
static struct ArrowArrayStream handmade(Handmade *h, const char *format, int64_t rows, const void **buffers,
                                        int64_t buffer_count) {
  memset(h, 0, sizeof *h);
  h->batches = 1;
  h->child_schema = (struct ArrowSchema){ .format = format, .name = "x", .release = release_schema };
  h->child_schemas[0] = &h->child_schema;
  h->schema = (struct ArrowSchema){
    .format = "+s", .name = "", .n_children = 1, .children = h->child_schemas, .release = release_schema
  };
  h->child = (struct ArrowArray){ .length = rows,
                                  .null_count = buffers && buffers[0] ? -1 : 0,
                                  .n_buffers = buffer_count,
                                  .buffers = buffers,
                                  .release = release_array };
  h->children[0] = &h->child;
  h->batch = (struct ArrowArray){ .length = rows,
                                  .n_buffers = 1,
                                  .buffers = h->no_validity,
                                  .n_children = 1,
                                  .children = h->children,
                                  .release = release_array };
  return (struct ArrowArrayStream){ give_schema, give_batch, give_error, release_stream, h };
}

static KVTable *one_column(KVStore *kv, int type, uint32_t width) {
  static int number;
  char name[32];
  KVTable *table = NULL;
  const KVColumnDefinition column = { "x", type, KVTABLE_NULLABLE, width };
  (void)snprintf(name, sizeof name, "one%d", number++);
  CHECK_OK(kvtable_create(kv, name, &column, 1, NULL, 0, &table));
  return table;
}

/* Appends the stream to a table of one column and says its values in one line; or the code and the message. */
static const char *taken(int type, uint32_t width, struct ArrowArrayStream *stream) {
  static char line[512];
  KVStore *kv = open_store();
  KVTable *table = one_column(kv, type, width);
  Handmade *h = stream->private_data;
  uint64_t rows = 0;
  int code = kvtable_append_stream(table, stream, KVTABLE_INSERT, &rows);
  line[0] = '\0';
  CHECK_INT(h->released, 1);
  if (code != KVSTORE_OK) {
    uint64_t count;
    CHECK_OK(kvtable_count(table, &count));
    CHECK_INT(count, 0);
    (void)snprintf(line, sizeof line, "%d: %s", code, kvstore_errmsg(kv));
  } else {
    KVQuery *query = NULL;
    KVCursor *cursor = NULL;
    CHECK_OK(kvquery_create(table, &query));
    CHECK_OK(kvquery_order_by_key(query, 1));
    CHECK_OK(kvquery_open(query, &cursor));
    while (kvcursor_next(cursor) == KVSTORE_OK) {
      KVValue value;
      size_t at = strlen(line);
      CHECK_OK(kvcursor_value(cursor, 0, &value));
      if (at) line[at++] = ' ';
      (void)kvvalue_print(&value, line + at, sizeof line - at);
    }
    kvcursor_close(cursor);
    kvquery_close(query);
  }
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  return line;
}

static const int64_t longs_that_are_no_times[] = { -1, INT64_C(86400000000) };

TEST(arrow, numbers_go_into_other_numbers_that_hold_them) {
  Handmade h;
  const uint8_t valid[] = { 0x0b }; /* row 2 is null */
  const int64_t longs[] = { 1, -128, 77, 127 }, nanoseconds[] = { 1000, -3000000, 0, 5000 };
  const double doubles[] = { 1, 0.5, 0, -3 };
  const int64_t milliseconds[] = { 86400000, 0, 1, -86400000 };
  const uint8_t bits[] = { 0x05 };
  const void *buffers[] = { valid, longs };
  struct ArrowArrayStream s = handmade(&h, "l", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_I8, 0, &s), "1 -128 null 127");
  s = handmade(&h, "l", 4, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_U8, 0, &s), "row 1"));
  buffers[1] = doubles;
  s = handmade(&h, "g", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_F32, 0, &s), "1.0 0.5 null -3.0");
  s = handmade(&h, "g", 4, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "row 1: "));
  const uint16_t halves[] = { 0x3c00, 0xc000, 0, 0x3555 }, ends[] = { 0x7bff, 0x0001, 0x7c00, 0x83ff };
  buffers[1] = halves;
  s = handmade(&h, "e", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_F32, 0, &s), "1.0 -2.0 null 0.333251953125");
  buffers[0] = NULL;
  buffers[1] = ends; /* the greatest one, 2^-24, infinity, and the greatest below 2^-14 */
  s = handmade(&h, "e", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_F64, 0, &s), "65504.0 5.9604644775390625e-8 infinity -0.00006097555160522461");
  buffers[0] = valid;
  buffers[1] = nanoseconds;
  s = handmade(&h, "tsn:Europe/Oslo", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_TIMESTAMP, 0, &s),
            "1970-01-01 00:00:00.000001 1969-12-31 23:59:59.997 null 1970-01-01 00:00:00.000005");
  buffers[0] = NULL;
  buffers[1] = milliseconds;
  s = handmade(&h, "tdm", 4, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_DATE, 0, &s), "row 2: column x: 1 ms is no whole day"));
  s = handmade(&h, "tdm", 2, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_DATE, 0, &s), "1970-01-02 1970-01-01");
  buffers[1] = bits;
  s = handmade(&h, "b", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_BOOL, 0, &s), "true false true false");
  s = handmade(&h, "n", 3, NULL, 0);
  CHECK_STR(taken(KVTABLE_TYPE_F64, 0, &s), "null null null");
}

TEST(arrow, decimals_times_and_durations_of_other_units_come_where_they_are_exact) {
  Handmade h;
  const uint8_t valid[] = { 0x0b }; /* row 2 is null */
  const int64_t wide[] = { 1230, 0, -5, -1, 9, 9, 0, 0 }, more[] = { 0, 1, 0, 0, 0, 0, 0, 0 };
  const int64_t zeros_behind[] = { (int64_t)UINT64_C(12500000000000000000), 0, -7000000000000000000, -1, 9, 9, 0, 0 };
  const int64_t whole[] = { 1200, 0, -300, -1, 9, 9, 0, 0 }, narrow[] = { 1230, -5, 9, 0 };
  const int32_t seconds[] = { 0, 3661, 9, 86399 }, late[] = { 0, 0, 0, 86400 };
  const int64_t nanoseconds[] = { 1000, 2000, 9, -3000 }, odd[] = { 1000, 1, 9, 0 };
  const void *buffers[] = { valid, wide };
  struct ArrowArrayStream stream = handmade(&h, "d:38,2", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_DECIMAL, 2, &stream), "12.30 -0.05 null 0.00");
  stream = handmade(&h, "d:9,2,128", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_DECIMAL, 4, &stream), "12.3000 -0.0500 null 0.0000");
  stream = handmade(&h, "d:38,2", 4, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_DECIMAL, 1, &stream), "cannot hold the decimal -0.05"));
  buffers[1] = whole;
  stream = handmade(&h, "d:38,2", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_I16, 0, &stream), "12 -3 null 0");
  buffers[1] = narrow;
  stream = handmade(&h, "d:18,2,64", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_DECIMAL, 2, &stream), "12.30 -0.05 null 0.00");
  buffers[1] = more; /* 2^64 */
  stream = handmade(&h, "d:38,2", 1, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_DECIMAL, 2, &stream),
               "row 0: column x: 184467440737095516.16 is a decimal of more than 18 digits"));
  buffers[1] = zeros_behind;
  stream = handmade(&h, "d:38,18", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_DECIMAL, 1, &stream), "12.5 -7.0 null 0.0");
  stream = handmade(&h, "d:38,18", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_F32, 0, &stream), "12.5 -7.0 null 0.0");
  stream = handmade(&h, "d:38,0", 1, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_U64, 0, &stream), "12500000000000000000");
  stream = handmade(&h, "d:38,0", 2, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_U64, 0, &stream), "row 1: column x is of type u64: it cannot hold the i64 -7000"));
  stream = handmade(&h, "d:38,0", 1, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_DECIMAL, 0, &stream), "cannot hold the u64 12500000000000000000"));
  buffers[1] = more;
  stream = handmade(&h, "d:38,19", 1, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_DECIMAL, 2, &stream), "no column takes the Arrow type d:38,19"));
  buffers[1] = seconds;
  stream = handmade(&h, "tts", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_TIME, 0, &stream), "00:00:00 01:01:01 null 23:59:59");
  stream = handmade(&h, "ttm", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_TIME, 0, &stream), "00:00:00 00:00:03.661 null 00:01:26.399");
  buffers[1] = late;
  stream = handmade(&h, "tts", 4, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_TIME, 0, &stream), "row 3: column x is of type time"));
  buffers[1] = nanoseconds;
  stream = handmade(&h, "tDn", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_DURATION, 0, &stream), "00:00:00.000001 00:00:00.000002 null -00:00:00.000003");
  stream = handmade(&h, "tDs", 4, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_DURATION, 0, &stream), "00:16:40 00:33:20 null -00:50:00");
  buffers[1] = odd;
  stream = handmade(&h, "ttn", 4, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_TIME, 0, &stream), "row 1: column x: 1 ns is no whole microsecond"));
  stream = handmade(&h, "ttu", 4, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_DURATION, 0, &stream), "cannot hold the time"));
  buffers[1] = longs_that_are_no_times;
  stream = handmade(&h, "ttu", 2, buffers, 2);
  CHECK(
    strstr(taken(KVTABLE_TYPE_TIME, 0, &stream), "column x: a time of day is 0 to 86399999999 microseconds, not -1"));
}

TEST(arrow, uuids_say_that_they_are) {
  Handmade h;
  const uint8_t ids[] = "0123456789abcdefFEDCBA9876543210";
  const void *buffers[] = { NULL, ids };
  struct ArrowArrayStream stream = handmade(&h, "w:16", 2, buffers, 2);
  CHECK_STR(taken(KVTABLE_TYPE_UUID, 0, &stream),
            "30313233-3435-3637-3839-616263646566 46454443-4241-3938-3736-353433323130");
  stream = handmade(&h, "w:15", 2, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_UUID, 0, &stream), "column x: the value has 15 bytes, not the column's width of 16"));
  KVStore *kv = open_store();
  KVTable *table = make_table(kv, "t");
  struct ArrowSchema schema;
  stream_of(table, &stream);
  CHECK_INT(stream.get_schema(&stream, &schema), 0);
  static const char metadata[] = "\1\0\0\0\24\0\0\0ARROW:extension:name\12\0\0\0arrow.uuid";
  CHECK_STR(schema.children[19]->format, "w:16");
  CHECK(memcmp(schema.children[19]->metadata, metadata, sizeof metadata - 1) == 0);
  CHECK(!schema.children[15]->metadata);
  schema.release(&schema);
  stream.release(&stream);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(arrow, strings_come_in_every_layout) {
  Handmade h;
  const uint8_t valid[] = { 0x05 };
  const int32_t offsets[] = { 0, 3, 3, 5 };
  const int64_t long_offsets[] = { 1, 3, 3, 5 };
  const char *bytes = "abcde";
  const void *buffers[] = { valid, offsets, bytes };
  struct ArrowArrayStream s = handmade(&h, "u", 3, buffers, 3);
  CHECK_STR(taken(KVTABLE_TYPE_STRING, 0, &s), "abc null de");
  buffers[1] = long_offsets;
  s = handmade(&h, "U", 3, buffers, 3);
  CHECK_STR(taken(KVTABLE_TYPE_STRING, 0, &s), "bc null de");
  s = handmade(&h, "Z", 3, buffers, 3);
  CHECK_STR(taken(KVTABLE_TYPE_STRING, 0, &s), "bc null de");

  struct {
    uint32_t length;
    char prefix[4];
    uint32_t buffer, offset;
  } views[3] = { { 5, "", 0, 0 }, { 14, "long", 0, 1 }, { 12, "", 0, 0 } };
  memcpy(views[0].prefix, "hello", 5);
  memcpy(views[2].prefix, "twelve bytes", 12);
  const int64_t lengths[] = { 15 };
  const void *view_buffers[] = { NULL, views, "xlonger than 12", lengths };
  s = handmade(&h, "vu", 3, view_buffers, 4);
  CHECK_STR(taken(KVTABLE_TYPE_STRING, 0, &s), "hello longer than 12 twelve bytes");
  const void *without_data[] = { NULL, views, NULL }; /* nor lengths of it */
  s = handmade(&h, "vu", 1, without_data, 3);
  CHECK_STR(taken(KVTABLE_TYPE_STRING, 0, &s), "hello");
  s = handmade(&h, "vu", 3, without_data, 3);
  CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "a view outside its buffers"));
  const void *without_lengths[] = { NULL, views, "xlonger than 12", NULL };
  s = handmade(&h, "vu", 3, without_lengths, 4);
  CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "lacks a buffer"));
  views[1].offset = 2;
  s = handmade(&h, "vu", 3, view_buffers, 4);
  CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "a view outside its buffers"));
  views[1].buffer = 7;
  s = handmade(&h, "vu", 3, view_buffers, 4);
  CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "a view outside its buffers"));
  views[1] = views[0];
  const void *views_alone[] = { valid, views, NULL }; /* no data, and no lengths of them */
  s = handmade(&h, "vu", 3, views_alone, 3);
  CHECK_STR(taken(KVTABLE_TYPE_STRING, 0, &s), "hello null twelve bytes");
  view_buffers[3] = NULL;
  s = handmade(&h, "vu", 3, view_buffers, 4);
  CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "lacks a buffer"));

  const void *fixed[] = { NULL, "aabbcc" };
  s = handmade(&h, "w:2", 3, fixed, 2);
  CHECK_STR(taken(KVTABLE_TYPE_FIXED_BYTES, 2, &s), "6161 6262 6363");
  s = handmade(&h, "w:2", 3, fixed, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_FIXED_BYTES, 3, &s), "x"));
}

TEST(arrow, slices_and_dictionaries_are_followed) {
  Handmade h;
  const int32_t numbers[] = { 10, 20, 30, 40, 50 };
  const void *buffers[] = { NULL, numbers };
  struct ArrowArrayStream s = handmade(&h, "i", 2, buffers, 2);
  h.child.offset = 1;
  h.child.length = 4;
  h.batch.offset = 2;
  CHECK_STR(taken(KVTABLE_TYPE_I32, 0, &s), "40 50");
  s = handmade(&h, "i", 2, buffers, 2);
  h.batch.offset = 2;
  h.child.length = 3;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "fewer rows"));

  const int8_t indexes[] = { 1, 0, 2, 1 };
  const int32_t offsets[] = { 0, 2, 5, 5 };
  const uint8_t words_valid[] = { 0x03 };
  const void *index_buffers[] = { NULL, indexes }, *word_buffers[] = { words_valid, offsets, "ontwo" };
  for (int beyond = 0; beyond < 2; beyond++) {
    s = handmade(&h, "c", 4, index_buffers, 2);
    h.dictionary_schema = (struct ArrowSchema){ .format = "u", .name = "", .release = release_schema };
    h.dictionary =
      (struct ArrowArray){ .length = 3 - beyond, .null_count = 1, .n_buffers = 3, .buffers = word_buffers };
    h.child_schema.dictionary = &h.dictionary_schema;
    h.child.dictionary = &h.dictionary;
    if (!beyond) CHECK_STR(taken(KVTABLE_TYPE_STRING, 0, &s), "two on null two");
    if (beyond) CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "an index outside its dictionary"));
  }
}

/* ---- refusals ---- */

TEST(arrow, what_contradicts_itself_is_refused_and_released) {
  Handmade h;
  const int32_t numbers[] = { 1, 2, 3 }, descending[] = { 0, 3, 1, 5 };
  const void *buffers[] = { NULL, numbers }, *strings[] = { NULL, descending, "abcde" };
  struct ArrowArrayStream s = handmade(&h, "+l", 3, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "no column takes the Arrow type +l"));
  s = handmade(&h, "w:-1", 3, buffers, 2);
  CHECK(strstr(taken(KVTABLE_TYPE_FIXED_BYTES, 2, &s), "no column takes the Arrow type w:-1"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.child.offset = INT64_MAX;
  h.batch.offset = 2;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "begins beyond its rows"));
  s = handmade(&h, "i", 3, buffers, 3);
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "wrong number of buffers"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.batch.length = -1;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "has less than no rows"));
  s = handmade(&h, "i", 4, buffers, 2);
  h.child.length = 3;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "fewer rows"));
  s = handmade(&h, "u", 3, strings, 3);
  CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "descend"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.schema.format = "i";
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "not of record batches"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.child_schema.name = "y";
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "has a column y"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.batch.n_children = 0;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "has 0 columns"));
  s = handmade(&h, "u", 3, strings, 3);
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "x"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.child.offset = 1;
  h.child.length = INT64_MAX;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "fewer rows"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.child.null_count = 1;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "column x counts nulls, and has no bits"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.children[0] = NULL;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "column x is NULL"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.batches = 2;
  h.fails = 1; /* the two batches before are taken back */
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "the network is gone"));
}

TEST(arrow, a_schema_without_its_columns_is_refused) {
  Handmade h;
  const int32_t numbers[] = { 1, 2, 3 };
  const void *buffers[] = { NULL, numbers };
  struct ArrowArrayStream s = handmade(&h, "i", 3, buffers, 2);
  h.schema.children = NULL;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "has 1 columns, and names none"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.schema.n_children = -1;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "has -1 columns, and names none"));
  s = handmade(&h, "i", 3, buffers, 2);
  h.child_schemas[0] = NULL;
  CHECK(strstr(taken(KVTABLE_TYPE_I32, 0, &s), "column 0 of the Arrow stream's schema is NULL"));
}

TEST(arrow, values_of_a_dictionary_without_a_name_are_refused_by_row_and_column) {
  Handmade h;
  const int8_t indexes[] = { 0, 1 };
  const int32_t descending[] = { 0, 3, 1 };
  const void *index_buffers[] = { NULL, indexes }, *word_buffers[] = { NULL, descending, "abc" };
  struct ArrowArrayStream s = handmade(&h, "c", 2, index_buffers, 2);
  h.dictionary_schema = (struct ArrowSchema){ .format = "u", .release = release_schema };
  h.dictionary = (struct ArrowArray){ .length = 2, .n_buffers = 3, .buffers = word_buffers };
  h.child_schema.dictionary = &h.dictionary_schema;
  h.child.dictionary = &h.dictionary;
  CHECK(strstr(taken(KVTABLE_TYPE_STRING, 0, &s), "row 1: column x: its Arrow dictionary has offsets that descend"));
}

/* As a struct of a query's own, say: how many of its rows are null nobody has counted. */
TEST(arrow, a_batch_may_have_validity_and_no_null) {
  Handmade h;
  const int32_t numbers[] = { 1, 2, 3, 4 };
  const uint8_t bits[] = { 0x0e }; /* all but row 0 */
  const void *buffers[] = { NULL, numbers }, *validity[] = { bits };
  for (int64_t first = 0; first < 2; first++) {
    struct ArrowArrayStream s = handmade(&h, "i", 4, buffers, 2);
    h.batch.null_count = -1;
    h.batch.buffers = validity;
    h.batch.offset = first;
    h.batch.length = 3;
    const char *line = taken(KVTABLE_TYPE_I32, 0, &s);
    if (first)
      CHECK_STR(line, "2 3 4");
    else
      CHECK(strstr(line, "null as a whole"));
  }
}

TEST(arrow, a_row_is_named_by_its_number_in_the_stream) {
  Handmade h;
  const int32_t offsets[] = { 0, 1, 2, 3 };
  const char *const second[] = { "abc", "a\xff"
                                        "c" };
  for (int bad = 0; bad < 2; bad++) {
    KVStore *kv = open_store();
    KVTable *table = one_column(kv, KVTABLE_TYPE_STRING, 0);
    const void *buffers[] = { NULL, offsets, second[bad] };
    KVStoreError error = KVSTORE_ERROR_INIT;
    struct ArrowArrayStream s = handmade(&h, "u", 3, buffers, 3);
    h.batches = 2;
    h.change_to = "ab\xff";
    int code = kvtable_append_stream(table, &s, KVTABLE_INSERT, NULL);
    CHECK_INT(code, KVSTORE_TYPE);
    CHECK_OK(kvstore_error(kv, &error));
    CHECK_INT(error.row, bad ? 1 : 5); /* in the first batch, or in the second */
    CHECK_STR(error.column, "x");
    kvtable_close(table);
    CHECK_OK(kvstore_close(kv));
  }
}

TEST(arrow, a_stream_made_in_a_transaction_ends_with_its_rollback) {
  KVStore *kv = open_store();
  KVTable *table = one_column(kv, KVTABLE_TYPE_I32, 0);
  KVQuery *query = NULL;
  struct ArrowArrayStream stream;
  struct ArrowArray batch;
  const KVValue one = kvvalue_i64(1);
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvtable_insert(table, &one, 1, 0, NULL));
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_open_stream(query, &stream));
  CHECK_OK(kvstore_rollback(kv));
  CHECK(stream.get_next(&stream, &batch) != 0);
  CHECK(strstr(stream.get_last_error(&stream), "rolled back") != NULL);
  stream.release(&stream);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(arrow, inside_a_transaction_the_rows_belong_to_it) {
  Handmade h;
  const int32_t numbers[] = { 1, 2, 3 };
  const void *buffers[] = { NULL, numbers };
  KVStore *kv = open_store();
  KVTable *table = one_column(kv, KVTABLE_TYPE_I32, 0);
  uint64_t count, rows;
  struct ArrowArrayStream s = handmade(&h, "i", 3, buffers, 2);
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvtable_append_stream(table, &s, KVTABLE_INSERT, &rows));
  CHECK_INT(rows, 3);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvtable_count(table, &count));
  CHECK_INT(count, 0);
  s = handmade(&h, "i", 3, buffers, 2);
  h.batches = 5;
  CHECK_OK(kvtable_append_stream(table, &s, KVTABLE_INSERT, &rows));
  CHECK_INT(rows, 15);
  CHECK_OK(kvtable_count(table, &count));
  CHECK_INT(count, 15);
  s = handmade(&h, "i", 0, buffers, 2); /* no row, and no such mode */
  CHECK_STATUS(kvtable_append_stream(table, &s, 7, &rows), KVSTORE_ERROR);
  CHECK_STR(kvstore_errmsg(kv), "no such mode: 7");
  CHECK(!s.release);
  CHECK_STATUS(kvtable_append_stream(table, NULL, KVTABLE_INSERT, &rows), KVSTORE_ERROR);
  CHECK_STR(kvstore_errmsg(kv), "the stream is NULL, or released");
  CHECK_STATUS(kvtable_append_stream(table, &s, KVTABLE_INSERT, &rows), KVSTORE_ERROR); /* released */
  s = handmade(&h, "i", 3, buffers, 2);
  kvtable_close(table);
  CHECK_STATUS(kvtable_append_stream(NULL, &s, KVTABLE_INSERT, &rows), KVSTORE_ERROR);
  CHECK_INT(h.released, 1);
  CHECK_OK(kvstore_close(kv));
}
