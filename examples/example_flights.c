/* A table: rows go in one by one or many at once, are corrected by key, and are counted by a filter.
 *
 *   example_flights [FILE]        without a file: in memory */
#include <stdio.h>

#include "colonnade/kvtable.h"

static const KVColumnDefinition columns[] = {
  { "flight", KVTABLE_TYPE_I64, 0, 0 },
  { "carrier", KVTABLE_TYPE_STRING, 0, 0 },
  { "dep_delay", KVTABLE_TYPE_I16, KVTABLE_NULLABLE, 0 }, /* minutes; null: it never left */
};
static const char *const key[] = { "flight" };

/* Many rows at once: an array for each column. */
static int append_flights(KVTable *table) {
  const int64_t flights[] = { 1545, 1714, 1141, 725, 461, 1696 };
  const char *const carriers[] = { "UA", "UA", "AA", "B6", "DL", "UA" };
  const int16_t delays[] = { 2, 75, 2, -1, 0, 130 };
  const uint8_t never_left[] = { 0, 0, 0, 0, 1, 0 };
  const KVColumnData data[] = {
    { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, flights, NULL, NULL, NULL },
    { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, carriers, NULL, NULL, NULL },
    { KVTABLE_TYPE_I16, KVTABLE_FORM_ARRAY, delays, never_left, NULL, NULL },
  };
  return kvtable_append(table, data, 3, 6, NULL, KVTABLE_INSERT, NULL);
}

static int count_late(KVTable *table) {
  KVQuery *query = NULL;
  KVValue average;
  uint64_t count = 0;
  int status = kvquery_create(table, &query);
  if (!status) status = kvquery_where(query, "dep_delay > 60 and carrier = 'UA'", NULL, 0);
  if (!status) status = kvquery_count(query, &count);
  if (!status) status = kvquery_avg(query, "dep_delay", &average);
  if (!status) printf("%d late, %.1f minutes on average\n", (int)count, kvvalue_to_f64(&average));
  kvquery_close(query);
  return status;
}

int main(int argc, char **argv) {
  KVStore *kv = NULL;
  KVTable *table = NULL;
  if (kvstore_open(argc > 1 ? argv[1] : NULL, &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) {
    fprintf(stderr, "cannot open: %s\n", kvstore_errmsg(NULL));
    return 1;
  }
  int status = kvtable_create(kv, "flights", columns, 3, key, 1, &table);
  if (!status) status = append_flights(table);
  if (!status) status = count_late(table);

  /* One row is corrected by its key: the next count knows. */
  KVValue correction[] = { kvvalue_i64(1696), kvvalue_string("UA"), kvvalue_i64(13) };
  if (!status) status = kvtable_upsert(table, correction, 3, 0);
  if (!status) status = count_late(table);

  if (status) fprintf(stderr, "failed: %s\n", kvstore_errmsg(kv));
  kvtable_close(table);
  return kvstore_close(kv) || status;
}
