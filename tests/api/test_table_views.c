/* Columns of a table as arrays: where they lie, what they hold, what of them is alive, against a plain list. */
#include <inttypes.h>
#include <stdlib.h>

#include "tests/api/api_support.h"

enum { ROWS = 150000, CODE = 5, VALUES = 4, LARGE_ROWS = 300000 };
static const char *const names[VALUES] = { "id", "x", "code", "n" };

/* What row `id` holds; x and n are null where these say so. */
static double x_of(int64_t id) { return (double)(id * 37 % 1001) / 8 - 20; }
static int x_is_null(int64_t id) { return id % 11 == 3; }
static int32_t n_of(int64_t id) { return (int32_t)(id * 13 % 977); }
static void code_of(int64_t id, char code[16]) { (void)snprintf(code, 16, "%05d", (int)(id % 99991)); }

static KVTable *create_measures(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, KVTABLE_ARRAY, 0 },
                                         { "x", KVTABLE_TYPE_F64, KVTABLE_ARRAY | KVTABLE_NULLABLE, 0 },
                                         { "code", KVTABLE_TYPE_FIXED_BYTES, KVTABLE_ARRAY, CODE },
                                         { "n", KVTABLE_TYPE_I32, 0, 0 },
                                         { "text", KVTABLE_TYPE_STRING, KVTABLE_NULLABLE, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "measures", columns, 5, key, 1, &table));
  return table;
}

/* Rows from `first` on, every `step`th id. `shift`: x is larger by it. */
static void append_measures(KVTable *table, int64_t first, int64_t count, int64_t step, double shift) {
  int64_t *ids = malloc((size_t)count * sizeof *ids);
  double *xs = malloc((size_t)count * sizeof *xs);
  int32_t *ns = malloc((size_t)count * sizeof *ns);
  uint8_t *x_nulls = malloc((size_t)count), *texts_nulls = malloc((size_t)count);
  char(*codes)[16] = malloc((size_t)count * sizeof *codes);
  KVBytes *bytes = malloc((size_t)count * sizeof *bytes);
  for (int64_t i = 0; i < count; i++) {
    ids[i] = first + i * step;
    xs[i] = x_of(ids[i]) + shift;
    x_nulls[i] = (uint8_t)x_is_null(ids[i]);
    ns[i] = n_of(ids[i]);
    texts_nulls[i] = 1;
    code_of(ids[i], codes[i]);
    bytes[i] = (KVBytes){ codes[i], CODE };
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, KVTABLE_FORM_ARRAY, xs, x_nulls, NULL, NULL },
                                { KVTABLE_TYPE_FIXED_BYTES, KVTABLE_FORM_ARRAY, bytes, NULL, NULL, NULL },
                                { KVTABLE_TYPE_I32, KVTABLE_FORM_ARRAY, ns, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_ARRAY, NULL, texts_nulls, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 5, (uint64_t)count, NULL, KVTABLE_UPSERT, NULL));
  free(ids);
  free(xs);
  free(ns);
  free(x_nulls);
  free(texts_nulls);
  free(codes);
  free(bytes);
}

static int bit_of(const uint64_t *words, uint64_t i) { return !words || (words[i / 64] >> (i % 64) & 1); }

/* Every live row of the view has what `shift_of` its id says; marks the ids in `seen`, each once. */
static void check_view(const KVTableView *view, double (*shift_of)(int64_t id), uint8_t *seen, int64_t ids) {
  uint64_t live = 0;
  memset(seen, 0, (size_t)ids);
  CHECK_INT(view->column_count, VALUES);
  CHECK_INT(view->widths[1], 8);
  CHECK_INT(view->widths[2], CODE);
  CHECK_INT(view->widths[3], 4);
  for (size_t p = 0; p < view->piece_count; p++) {
    const KVTablePiece *piece = &view->pieces[p];
    for (uint64_t row = 0; row < piece->row_count; row++) {
      if (!bit_of(piece->live, row)) continue;
      int64_t id = ((const int64_t *)piece->arrays[0].values)[row];
      char code[16];
      if (id < 0 || id >= ids || seen[id]) CHECK_INT(id, -1);
      seen[id] = 1;
      live++;
      code_of(id, code);
      double x = x_is_null(id) ? 0 : x_of(id) + shift_of(id);
      if (((const double *)piece->arrays[1].values)[row] != x) CHECK_INT(id, -2);
      if (bit_of(piece->arrays[1].valid, row) == x_is_null(id)) CHECK_INT(id, -3);
      if (memcmp((const char *)piece->arrays[2].values + row * CODE, code, CODE) != 0) CHECK_INT(id, -4);
      if (((const int32_t *)piece->arrays[3].values)[row] != n_of(id)) CHECK_INT(id, -5);
    }
  }
  CHECK_INT(view->row_count, live);
}

static double no_shift(int64_t id) {
  (void)id;
  return 0;
}

/* Whether an address lies in the mapping of a file of the test's directory. */
static int lies_in_file(const void *address) {
  char line[1200];
  int found = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  CHECK(maps != NULL);
  while (maps && fgets(line, sizeof line, maps)) {
    uintptr_t from, to;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2 && (uintptr_t)address >= from &&
        (uintptr_t)address < to)
      found = strstr(line, path_of("store")) != NULL;
  }
  if (maps) (void)fclose(maps);
  return found;
}

static void settle(KVStore *kv) { CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL)); }

TEST(table_views, arrays_lie_in_the_file_in_the_order_of_the_keys) {
  KVStore *kv = open_store();
  KVTable *table = create_measures(kv);
  KVTableView *view = NULL;
  static uint8_t seen[ROWS];
  append_measures(table, 0, ROWS, 1, 0);
  settle(kv);
  CHECK_OK(kvtable_view(table, names, VALUES, NULL, &view));
  CHECK_INT(view->piece_count, 1);
  CHECK_INT(view->pieces[0].row_count, ROWS);
  CHECK(view->pieces[0].live == NULL);
  const KVTableArray *arrays = view->pieces[0].arrays;
  for (int c = 0; c < VALUES; c++) {
    CHECK_INT(arrays[c].in_file, c < 3);
    CHECK_INT(lies_in_file(arrays[c].values), c < 3);
    CHECK_INT(arrays[c].valid != NULL, c == 1);
  }
  for (int64_t row = 0; row < ROWS; row++)
    if (((const int64_t *)arrays[0].values)[row] != row) CHECK_INT(row, -1);
  check_view(view, no_shift, seen, ROWS);
  kvtable_view_close(view);
  CHECK_INT(matches(table, "x > 10 and code < '00100'"), matches(table, "code < '00100' and x > 10"));
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

static double shift_of_thirds(int64_t id) { return id % 3 == 0 && id < 30000 ? 1000 : 0; }

TEST(table_views, what_was_deleted_replaced_or_expired_is_not_live) {
  KVStore *kv = open_store();
  KVTable *table = create_measures(kv);
  static uint8_t seen[ROWS];
  append_measures(table, 0, 100000, 1, 0);
  settle(kv);
  append_measures(table, 0, 10000, 3, 1000); /* ids 0, 3, ... 29,997 again: the old ones die in the run */
  for (int64_t id = 50000; id < 50500; id++) {
    KVValue key = kvvalue_i64(id);
    CHECK_OK(kvtable_delete(table, &key, 1));
  }
  KVValue row[] = { kvvalue_i64(120000), kvvalue_f64(1), kvvalue_null(), kvvalue_i64(5), kvvalue_null() };
  row[2] = kvvalue_of(KVTABLE_TYPE_FIXED_BYTES);
  row[2].as.bytes = (KVBytes){ "12345", 5 };
  CHECK_OK(kvtable_upsert(table, row, 5, 1)); /* expired in 1970 */
  for (int round = 0; round < 3; round++) {
    KVTableView *view = NULL;
    CHECK_OK(kvtable_view(table, names, VALUES, NULL, &view));
    check_view(view, shift_of_thirds, seen, ROWS);
    CHECK_INT(view->row_count, 99500);
    CHECK_INT(view->row_count, rows_of(table));
    CHECK(seen[0] && seen[99999] && !seen[50000] && !seen[50499] && seen[50500] && !seen[120000]);
    if (round == 0) CHECK(view->piece_count > 1 && view->pieces[0].live && view->pieces[0].arrays[1].in_file);
    kvtable_view_close(view);
    if (round == 0) settle(kv);
    if (round == 1) CHECK_OK(kvstore_maintain(kv));
  }
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(table_views, an_encrypted_store_gives_copies) {
  KVStore *kv = NULL;
  KVTableView *view = NULL;
  static uint8_t seen[ROWS];
  CHECK_OK(kvstore_open_encrypted(path_of("store"), "hunter2", 7, &kv, NULL));
  KVTable *table = create_measures(kv);
  append_measures(table, 0, 70000, 1, 0);
  settle(kv);
  CHECK_OK(kvtable_view(table, names, VALUES, NULL, &view));
  for (int c = 0; c < VALUES; c++) CHECK_INT(view->pieces[0].arrays[c].in_file, 0);
  check_view(view, no_shift, seen, ROWS);
  CHECK_INT(view->row_count, 70000);
  kvtable_view_close(view);
  CHECK_INT(matches(table, "id between 65500 and 65600"), 101); /* over the end of a segment */
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(table_views, a_view_stays_as_it_was_and_outlives_the_store) {
  KVStore *kv = open_store();
  KVTable *table = create_measures(kv);
  KVTableView *before = NULL, *at = NULL, *now = NULL;
  KVSnapshot *snapshot = NULL;
  static uint8_t seen[ROWS];
  append_measures(table, 0, 5000, 1, 0);
  settle(kv);
  CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
  CHECK_OK(kvtable_view(table, names, VALUES, NULL, &before));
  append_measures(table, 5000, 5000, 1, 0);
  CHECK_OK(kvtable_view(table, names, VALUES, snapshot, &at));
  CHECK_OK(kvtable_view(table, names, VALUES, NULL, &now));
  CHECK_OK(kvtable_clear(table));
  CHECK_OK(kvstore_maintain(kv));
  kvtable_close(table);
  kvstore_snapshot_release(snapshot);
  CHECK_OK(kvstore_close(kv));
  check_view(before, no_shift, seen, ROWS);
  CHECK_INT(before->row_count, 5000);
  check_view(at, no_shift, seen, ROWS);
  CHECK_INT(at->row_count, 5000);
  check_view(now, no_shift, seen, ROWS);
  CHECK_INT(now->row_count, 10000);
  kvtable_view_close(now);
  kvtable_view_close(before);
  kvtable_view_close(at);
}

/* Of one column that is packed in the file: a view of it is a large copy. */
static void check_large(KVTable *table, int64_t first) {
  const char *const name[] = { "n" };
  KVTableView *view = NULL;
  int64_t wrong = 0;
  CHECK_OK(kvtable_view(table, name, 1, NULL, &view));
  CHECK_INT(view->piece_count, 1);
  CHECK_INT(view->row_count, LARGE_ROWS);
  const int64_t *values = view->pieces[0].arrays[0].values;
  CHECK_INT(view->pieces[0].arrays[0].in_file, 0);
  for (int64_t i = 0; i < LARGE_ROWS; i++) wrong += values[i] != first + i;
  CHECK_INT(wrong, 0);
  kvtable_view_close(view);
}

static KVTable *create_large(KVStore *kv, const char *name, int64_t first) {
  const KVColumnDefinition column = { "n", KVTABLE_TYPE_I64, 0, 0 };
  int64_t *n = malloc(LARGE_ROWS * sizeof *n);
  KVTable *table = NULL;
  for (int64_t i = 0; i < LARGE_ROWS; i++) n[i] = first + i;
  const KVColumnData data = { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, n, NULL, NULL, NULL };
  CHECK_OK(kvtable_create(kv, name, &column, 1, NULL, 0, &table));
  CHECK_OK(kvtable_append(table, &data, 1, LARGE_ROWS, NULL, KVTABLE_UPSERT, NULL));
  free(n);
  return table;
}

TEST(table_views, large_copies_lie_in_memory_of_views_that_are_closed) {
  KVStore *kv = open_store();
  KVTable *one = create_large(kv, "one", 5), *other = create_large(kv, "other", -7000000);
  settle(kv);
  check_large(one, 5);
  check_large(other, -7000000);
  check_large(one, 5);
  kvtable_close(one);
  kvtable_close(other);
  CHECK_OK(kvstore_close(kv));
}

TEST(table_views, pairs_are_arrays_too) {
  KVStore *kv = open_store();
  KVColumnFamily *family = NULL;
  KVTable *table = NULL;
  KVTableView *view = NULL;
  const KVPairColumn columns[] = { { "n", "at(0)", KVTABLE_TYPE_I32, 0 }, { "part", "part(1)", KVTABLE_TYPE_U16, 0 } };
  const char *of[] = { "n", "value_length", "part" };
  CHECK_OK(kvstore_cf_create(kv, "pairs", &family));
  for (int32_t i = 0; i < 3000; i++) {
    char key[32];
    int length = snprintf(key, sizeof key, "a/%d", i);
    CHECK_OK(kvstore_cf_put(family, key, length, &i, i % 5 ? 4 : 3)); /* of every fifth, n does not fit */
  }
  CHECK_OK(kvtable_open_family(family, columns, 2, &table));
  CHECK_OK(kvtable_view(table, of, 3, NULL, &view));
  CHECK_INT(view->row_count, 3000);
  uint64_t sum = 0, nulls = 0, lengths = 0;
  for (size_t p = 0; p < view->piece_count; p++) {
    const KVTablePiece *piece = &view->pieces[p];
    for (uint64_t row = 0; row < piece->row_count; row++) {
      if (!bit_of(piece->live, row)) continue;
      uint16_t part = ((const uint16_t *)piece->arrays[2].values)[row];
      int is_null = !bit_of(piece->arrays[0].valid, row);
      nulls += (uint64_t)is_null;
      sum += part;
      lengths += ((const uint64_t *)piece->arrays[1].values)[row];
      CHECK_INT(((const int32_t *)piece->arrays[0].values)[row], is_null ? 0 : part);
    }
  }
  CHECK_INT(nulls, 600);
  CHECK_INT(sum, 2999 * 3000 / 2);
  CHECK_INT(lengths, 3000 * 4 - 600);
  kvtable_view_close(view);
  kvtable_close(table);
  kvstore_cf_close(family);
  CHECK_OK(kvstore_close(kv));
}

TEST(table_views, what_cannot_be_asked_is_refused_by_name) {
  KVStore *kv = open_store();
  KVTable *table = create_measures(kv), *other = NULL;
  KVTableView *view = (KVTableView *)1;
  const char *text[] = { "x", "text" }, *none[] = { "y" }, *missing[] = { NULL }, *key[] = { "s" };
  CHECK_STATUS(kvtable_view(table, text, 2, NULL, &view), KVSTORE_TYPE);
  CHECK(view == NULL);
  CHECK(strstr(kvstore_errmsg(kv), "text") != NULL);
  CHECK_STATUS(kvtable_view(table, none, 1, NULL, &view), KVSTORE_SCHEMA);
  CHECK(strstr(kvstore_errmsg(kv), "column y") != NULL);
  CHECK_STATUS(kvtable_view(table, missing, 1, NULL, &view), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_view(table, text, 0, NULL, &view), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_view(table, NULL, 1, NULL, &view), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_view(table, text, 1, NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_view(NULL, text, 1, NULL, &view), KVSTORE_ERROR);
  CHECK_OK(kvtable_view(table, text, 1, NULL, &view)); /* of no rows */
  CHECK_INT(view->row_count, 0);
  CHECK_INT(view->piece_count, 0);
  kvtable_view_close(view);
  kvtable_view_close(NULL);
  const KVColumnDefinition of_text[] = { { "s", KVTABLE_TYPE_STRING, KVTABLE_ARRAY, 0 } };
  const KVColumnDefinition wished[] = { { "s", KVTABLE_TYPE_I64,
                                          KVTABLE_ARRAY | KVTABLE_USE_ENCODING(KVTABLE_ENCODING_PACKED), 0 } };
  CHECK_STATUS(kvtable_create(kv, "t", of_text, 1, key, 1, &other), KVSTORE_SCHEMA);
  CHECK(strstr(kvstore_errmsg(kv), "column s") != NULL);
  CHECK_STATUS(kvtable_create(kv, "t", wished, 1, key, 1, &other), KVSTORE_SCHEMA);
  CHECK(strstr(kvstore_errmsg(kv), "array") != NULL);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
