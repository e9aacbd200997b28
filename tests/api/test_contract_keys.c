/* Clauses of the contract about keys, families, expiry and iterators that no other file here proves; docs/contract.md
 * maps them all. */
#include "tests/api/api_support.h"

static KVColumnFamily *create(KVStore *kv, const char *name) {
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, name, &cf));
  return cf;
}

/* "The returned buffer is heap-allocated": it is the caller's, whatever becomes of the key and the store. */
TEST(contract_keys, a_value_that_was_read_is_the_callers) {
  KVStore *kv = open_store();
  void *first = NULL, *second = NULL;
  int length = 0;
  put_text(kv, "a", "first");
  CHECK_OK(kvstore_get(kv, "a", 1, &first, &length));
  put_text(kv, "a", "other");
  CHECK_OK(kvstore_get(kv, "a", 1, &second, &length));
  CHECK(first != second);
  CHECK_OK(kvstore_close(kv));
  CHECK_BYTES(first, "first", 5);
  CHECK_BYTES(second, "other", 5);
  sqliteFree(first);
  sqliteFree(second);
}

/* "10 MiB + 1 byte counted as oversized"; a key has up to 65,536 bytes. */
TEST(contract_keys, an_oversized_value_is_an_error_and_leaves_the_former_one) {
  KVStore *kv = open_store();
  size_t length = ((size_t)10 << 20) + 1;
  char *value = sqliteMalloc(length);
  put_text(kv, "a", "1");
  CHECK_STATUS(kvstore_put(kv, "a", 1, value, (int)length), KVSTORE_ERROR);
  CHECK(strstr(kvstore_errmsg(kv), "10485761") != NULL);
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_put(kv, "a", 1, value, (int)length - 1));
  sqliteFree(value);
  CHECK_OK(kvstore_close(kv));
}

/* ---- families ---- */

/* "Always exists": the default family is there in a new store, is the one without a name, and is in no list. */
TEST(contract_keys, the_default_family_always_exists_and_is_not_listed) {
  KVStore *kv = open_store();
  KVColumnFamily *standard = NULL;
  KVTable *people = create_people(kv);
  char **names = NULL;
  int count = -1;
  CHECK_OK(kvstore_cf_get_default(kv, &standard));
  CHECK_OK(kvstore_cf_put_ttl(standard, "a", 1, "1", 1, kvstore_now_ms() + 100000));
  check_text(kv, "a", "1");
  kvstore_cf_close(create(kv, "only"));
  CHECK_OK(kvstore_cf_list(kv, &names, &count));
  CHECK_INT(count, 1); /* neither the default one, nor what keeps the TTLs, nor the table */
  CHECK_STR(names[0], "only");
  sqliteFree(names[0]);
  sqliteFree(names);
  kvtable_close(people);
  kvstore_cf_close(standard); /* "does not delete data" */
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_close(kv));
}

/* "Delete a column family and all its data", "also any hidden TTL index" */
TEST(contract_keys, a_dropped_family_takes_its_expiries_with_it) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create(kv, "f");
  int64_t left = 0;
  int purged = -1;
  CHECK_OK(kvstore_cf_put_ttl(cf, "expired", 7, "v", 1, 1));
  CHECK_OK(kvstore_cf_put_ttl(cf, "k", 1, "v", 1, kvstore_now_ms() + 100000));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_cf_drop(kv, "f"));
  cf = create(kv, "f");
  CHECK_OK(kvstore_cf_purge_expired(cf, &purged));
  CHECK_INT(purged, 0);
  CHECK_OK(kvstore_cf_put(cf, "k", 1, "w", 1));
  CHECK_OK(kvstore_cf_ttl_remaining(cf, "k", 1, &left));
  CHECK_INT(left, KVSTORE_NO_TTL);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* "TTL index entries are also cleared", "future inserts work immediately without re-opening" */
TEST(contract_keys, a_clear_takes_the_expiries_too_and_inserts_go_on) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create(kv, "f");
  int64_t left = 0;
  int purged = -1;
  CHECK_OK(kvstore_put_ttl(kv, "expired", 7, "v", 1, 1));
  CHECK_OK(kvstore_put_ttl(kv, "k", 1, "v", 1, kvstore_now_ms() + 100000));
  CHECK_OK(kvstore_cf_put(cf, "k", 1, "other", 5));
  CHECK_OK(kvstore_clear(kv));
  CHECK_OK(kvstore_purge_expired(kv, &purged));
  CHECK_INT(purged, 0);
  put_text(kv, "k", "w");
  CHECK_OK(kvstore_ttl_remaining(kv, "k", 1, &left));
  CHECK_INT(left, KVSTORE_NO_TTL);
  int there = 0;
  CHECK_OK(kvstore_cf_exists(cf, "k", 1, &there));
  CHECK_INT(there, 1);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

static uint64_t log_bytes_used(KVStore *kv) {
  KVStoreInfo info = KVSTORE_INFO_INIT;
  CHECK_OK(kvstore_info(kv, &info));
  return info.log_bytes_used;
}

/* Half of the keys lie in the file and half in memory: a clear, and a drop, log as much for them as for none. */
TEST(contract_keys, a_clear_and_a_drop_take_no_more_for_many_keys_than_for_none) {
  KVStore *kv = open_store();
  uint64_t clear_bytes[2], drop_bytes[2];
  for (int many = 0; many < 2; many++) {
    KVColumnFamily *cf = create(kv, "f");
    for (int i = 0; i < many * 2000; i++) {
      CHECK_OK(kvstore_cf_put(cf, &i, sizeof i, "value", 5));
      if (i == 1000) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    }
    uint64_t before = log_bytes_used(kv);
    CHECK_OK(kvstore_cf_clear(cf));
    clear_bytes[many] = log_bytes_used(kv) - before;
    CHECK_OK(kvstore_cf_put(cf, "k", 1, "value", 5));
    before = log_bytes_used(kv);
    CHECK_OK(kvstore_cf_drop(kv, "f"));
    drop_bytes[many] = log_bytes_used(kv) - before;
    kvstore_cf_close(cf);
  }
  CHECK(clear_bytes[0] > 0 && clear_bytes[0] < 200 && drop_bytes[0] > 0 && drop_bytes[0] < 200);
  CHECK_INT(clear_bytes[1], clear_bytes[0]);
  CHECK_INT(drop_bytes[1], drop_bytes[0]);
  CHECK_OK(kvstore_close(kv));
}

/* ---- expiry ---- */

/* "read with lazy expiry": get_ttl of an expired key is NOTFOUND, and removes it */
TEST(contract_keys, get_ttl_of_an_expired_key_is_not_found_and_deletes_it) {
  KVStore *kv = open_store();
  KVStoreStats stats;
  void *value = (void *)1;
  int length = 5;
  int64_t left = 5;
  CHECK_OK(kvstore_put_ttl(kv, "a", 1, "v", 1, 1));
  CHECK_INT(count_of(kv), 1);
  CHECK_STATUS(kvstore_get_ttl(kv, "a", 1, &value, &length, &left), KVSTORE_NOTFOUND);
  CHECK(value == NULL && length == 0 && left == 0);
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nTtlExpired, 1);
  CHECK_OK(kvstore_close(kv));
}

/* "0: key just expired (lazy delete performed)" */
TEST(contract_keys, ttl_remaining_says_zero_once_and_then_not_found) {
  KVStore *kv = open_store();
  int64_t left = 5;
  CHECK_OK(kvstore_put_ttl(kv, "a", 1, "v", 1, 1));
  CHECK_OK(kvstore_ttl_remaining(kv, "a", 1, &left));
  CHECK_INT(left, 0);
  CHECK_STATUS(kvstore_ttl_remaining(kv, "a", 1, &left), KVSTORE_NOTFOUND);
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_close(kv));
}

/* "absolute expiry": a TTL is replaced by the next one, and survives a close. */
TEST(contract_keys, a_time_to_live_is_absolute_replaced_and_kept_over_a_close) {
  KVStore *kv = open_store();
  int64_t left = 0, now = kvstore_now_ms();
  CHECK_OK(kvstore_put_ttl(kv, "a", 1, "v", 1, now + 1000000));
  CHECK_OK(kvstore_put_ttl(kv, "a", 1, "w", 1, now + 50000));
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  CHECK_OK(kvstore_ttl_remaining(kv, "a", 1, &left));
  CHECK(left > 0 && left <= now + 50000 - kvstore_now_ms() + 1000 && left <= 50000);
  CHECK_OK(kvstore_put_ttl(kv, "a", 1, "x", 1, 1));
  check_text(kv, "a", NULL);
  CHECK_OK(kvstore_close(kv));
}

/* put_if_absent: "0: permanent", "> 0: absolute expiry" */
TEST(contract_keys, put_if_absent_gives_the_new_entry_its_time_to_live) {
  KVStore *kv = open_store();
  int64_t left = 0;
  int inserted = 0;
  CHECK_OK(kvstore_put_if_absent(kv, "never", 5, "v", 1, 0, NULL));
  CHECK_OK(kvstore_put_if_absent(kv, "later", 5, "v", 1, kvstore_now_ms() + 100000, NULL));
  CHECK_OK(kvstore_put_if_absent(kv, "never", 5, "w", 1, 1, &inserted)); /* there: its TTL stays as it was */
  CHECK_INT(inserted, 0);
  CHECK_OK(kvstore_ttl_remaining(kv, "never", 5, &left));
  CHECK_INT(left, KVSTORE_NO_TTL);
  CHECK_OK(kvstore_ttl_remaining(kv, "later", 5, &left));
  CHECK(left > 50000 && left <= 100000);
  CHECK_OK(kvstore_close(kv));
}

/* Statistics are those of the reference for families too, and a purge is counted apart. */
TEST(contract_keys, operations_on_families_count_like_those_without) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create(kv, "f");
  KVIterator *it = NULL;
  KVStoreStats stats;
  void *value;
  int length;
  CHECK_OK(kvstore_stats_reset(kv));
  CHECK_OK(kvstore_cf_put(cf, "abc", 3, "12345", 5));
  CHECK_OK(kvstore_cf_put_ttl(cf, "d", 1, "1", 1, 1));
  CHECK_OK(kvstore_cf_put_ttl(cf, "e", 1, "1", 1, 1));
  CHECK_OK(kvstore_cf_get(cf, "abc", 3, &value, &length));
  sqliteFree(value);
  CHECK_STATUS(kvstore_cf_get(cf, "d", 1, &value, &length), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_cf_purge_expired(cf, NULL));
  CHECK_OK(kvstore_cf_prefix_iterator_create(cf, "a", 1, &it));
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_cf_delete(cf, "abc", 3));
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nPuts, 3);
  CHECK_INT(stats.nBytesWritten, 8 + 2 + 2);
  CHECK_INT(stats.nGets, 1);
  CHECK_INT(stats.nBytesRead, 5);
  CHECK_INT(stats.nTtlExpired, 1);
  CHECK_INT(stats.nTtlPurged, 1);
  CHECK_INT(stats.nIterations, 1);
  CHECK_INT(stats.nDeletes, 1);
  CHECK_INT(stats.nErrors, 0);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* ---- iterators ---- */

/* "Pointers are owned by the iterator, valid until the next next() or close()" */
TEST(contract_keys, key_and_value_of_an_iterator_stay_until_it_moves) {
  KVStore *kv = open_store();
  KVIterator *it = NULL, *other = NULL;
  void *key, *value, *again;
  int key_length, value_length, length;
  put_text(kv, "a", "one");
  put_text(kv, "b", "two");
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_create(kv, &other));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_OK(kvstore_iterator_key(it, &key, &key_length));
  CHECK_OK(kvstore_iterator_value(it, &value, &value_length));
  CHECK_OK(kvstore_iterator_first(other)); /* another one's steps change nothing */
  CHECK_OK(kvstore_iterator_next(other));
  CHECK_OK(kvstore_clear(kv));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_BYTES(key, "a", 1);
  CHECK_BYTES(value, "one", 3);
  CHECK_INT(key_length, 1);
  CHECK_INT(value_length, 3);
  CHECK_OK(kvstore_iterator_key(other, &again, &length));
  CHECK_BYTES(again, "b", 1);
  CHECK_OK(kvstore_close(kv)); /* "an iterator outlives the store it came from" */
  CHECK_BYTES(key, "a", 1);
  CHECK_OK(kvstore_iterator_next(it));
  CHECK_OK(kvstore_iterator_key(it, &key, &key_length));
  CHECK_BYTES(key, "b", 1);
  kvstore_iterator_close(it);
  kvstore_iterator_close(other);
}

/* "Works on forward and reverse iterators, including prefix iterators"; outside the prefix is eof, in both directions.
 */
TEST(contract_keys, a_seek_on_a_prefix_iterator_keeps_to_its_prefix) {
  static const char *const names[] = { "a", "user:adam", "user:carol", "user:mia", "user:zoe", "v" };
  KVStore *kv = open_store();
  KVIterator *it = NULL;
  char keys[128];
  for (size_t i = 0; i < 6; i++) put_text(kv, names[i], "v");
  CHECK_OK(kvstore_prefix_iterator_create(kv, "user:", 5, &it));
  CHECK_OK(kvstore_iterator_seek(it, "user:d", 6));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "user:mia,user:zoe,");
  CHECK_OK(kvstore_iterator_seek(it, "user:carol", 10)); /* back again */
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "user:carol,user:mia,user:zoe,");
  CHECK_OK(kvstore_iterator_seek(it, "v", 1));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_reverse_prefix_iterator_create(kv, "user:", 5, &it));
  CHECK_OK(kvstore_iterator_seek(it, "user:d", 6));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "user:carol,user:adam,");
  CHECK_OK(kvstore_iterator_seek(it, "user:", 5));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_seek(it, "a", 1));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}

/* "Deleting the key under it and then calling next works." */
TEST(contract_keys, deleting_every_key_under_an_iterator_goes_on_to_the_last) {
  KVStore *kv = open_store();
  KVIterator *it = NULL;
  char key[16];
  for (int i = 0; i < 100; i++) CHECK_OK(kvstore_put(kv, key, snprintf(key, sizeof key, "%03d", i), "v", 1));
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_first(it));
  int seen = 0;
  while (!kvstore_iterator_eof(it)) {
    void *at;
    int length;
    CHECK_OK(kvstore_iterator_key(it, &at, &length));
    CHECK_OK(kvstore_delete(kv, at, length));
    CHECK_OK(kvstore_iterator_next(it));
    seen++;
  }
  CHECK_INT(seen, 100);
  CHECK_INT(count_of(kv), 0);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}
