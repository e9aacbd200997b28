/* Families and iterators of the key-value contract; in comments the words of the reference. */
#include "tests/api/api_support.h"

static KVColumnFamily *create(KVStore *kv, const char *name) {
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, name, &cf));
  return cf;
}

static void cf_put(KVColumnFamily *cf, const char *key, const char *value) {
  CHECK_OK(kvstore_cf_put(cf, key, (int)strlen(key), value, (int)strlen(value)));
}

static void cf_check(KVColumnFamily *cf, const char *key, const char *value) {
  void *data = NULL;
  int length = 0;
  CHECK_STATUS(kvstore_cf_get(cf, key, (int)strlen(key), &data, &length), value ? KVSTORE_OK : KVSTORE_NOTFOUND);
  CHECK_INT(length, value ? strlen(value) : 0);
  if (value) CHECK_BYTES(data, value, (size_t)length);
  sqliteFree(data);
}

/* ---- families ---- */

/* "Column families provide multiple logical key-value namespaces within a single file." */
TEST(families, each_has_keys_of_its_own) {
  KVStore *kv = open_store();
  KVColumnFamily *users = create(kv, "users"), *orders = create(kv, "orders"), *standard = NULL;
  CHECK_OK(kvstore_cf_get_default(kv, &standard));
  cf_put(users, "1", "Ada");
  cf_put(orders, "1", "book");
  put_text(kv, "1", "default");
  cf_check(users, "1", "Ada");
  cf_check(orders, "1", "book");
  cf_check(standard, "1", "default");
  CHECK_OK(kvstore_cf_delete(users, "1", 1));
  cf_check(users, "1", NULL);
  cf_check(orders, "1", "book");
  int64_t count = -1;
  CHECK_OK(kvstore_cf_count(orders, &count));
  CHECK_INT(count, 1);
  CHECK_OK(kvstore_cf_clear(orders));
  CHECK_OK(kvstore_cf_count(orders, &count));
  CHECK_INT(count, 0);
  check_text(kv, "1", "default");
  kvstore_cf_close(users);
  kvstore_cf_close(orders);
  kvstore_cf_close(standard);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  CHECK_OK(kvstore_cf_open(kv, "users", &users));
  cf_put(users, "2", "Eve");
  cf_check(users, "2", "Eve");
  kvstore_cf_close(users);
  CHECK_OK(kvstore_close(kv));
}

/* "Returns KVSTORE_NOTFOUND if it does not exist." "The default column family cannot be dropped." */
TEST(families, names_are_found_listed_dropped_and_refused) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL, *gone = NULL;
  char **names = (char **)1;
  int count = -1;
  char long_name[300];
  memset(long_name, 'n', sizeof long_name);
  long_name[256] = 0;
  CHECK_OK(kvstore_cf_list(kv, &names, &count));
  CHECK(names == NULL);
  CHECK_INT(count, 0);
  CHECK_STATUS(kvstore_cf_open(kv, "none", &cf), KVSTORE_NOTFOUND);
  CHECK(cf == NULL);
  kvstore_cf_close(create(kv, "b"));
  gone = create(kv, "a");
  CHECK_STATUS(kvstore_cf_create(kv, "a", &cf), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_create(kv, "__hidden", &cf), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_open(kv, "__hidden", &cf), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_create(kv, "", &cf), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_create(kv, long_name, &cf), KVSTORE_ERROR);
  long_name[255] = 0;
  kvstore_cf_close(create(kv, long_name));
  CHECK_OK(kvstore_cf_list(kv, &names, &count));
  CHECK_INT(count, 3);
  CHECK_STR(names[0], "a");
  CHECK_STR(names[1], "b");
  CHECK_STR(names[2], long_name);
  for (int i = 0; i < count; i++) sqliteFree(names[i]);
  sqliteFree(names);
  cf_put(gone, "k", "v");
  CHECK_OK(kvstore_cf_drop(kv, "a"));
  CHECK_STATUS(kvstore_cf_drop(kv, "a"), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvstore_cf_put(gone, "k", 1, "v", 1), KVSTORE_NOTFOUND);
  cf_check(gone, "k", NULL);
  kvstore_cf_close(gone);
  cf = create(kv, "a"); /* a new one, and empty */
  cf_check(cf, "k", NULL);
  kvstore_cf_close(cf);
  CHECK(kvstore_cf_drop(kv, "default") != KVSTORE_OK);
  CHECK_OK(kvstore_close(kv));
}

TEST(families, sixty_four_of_them_fit) {
  KVStore *kv = open_store();
  char name[16];
  for (int i = 0; i < KVSTORE_MAX_COLUMN_FAMILIES; i++) {
    (void)snprintf(name, sizeof name, "f%d", i);
    KVColumnFamily *cf = create(kv, name);
    cf_put(cf, "k", name);
    kvstore_cf_close(cf);
  }
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_open(kv, "f63", &cf));
  cf_check(cf, "k", "f63");
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* The id of a family that was rolled back may be given again: its old handle must not reach the new one. */
TEST(families, one_created_in_a_transaction_goes_with_its_rollback) {
  KVStore *kv = open_store();
  CHECK_OK(kvstore_begin(kv, 1));
  KVColumnFamily *lost = create(kv, "lost"), *again = NULL;
  CHECK_OK(kvstore_cf_open(kv, "lost", &again));
  cf_put(lost, "k", "1");
  cf_check(again, "k", "1");
  CHECK_OK(kvstore_rollback(kv));
  KVColumnFamily *next = create(kv, "next");
  CHECK_STATUS(kvstore_cf_put(lost, "k", 1, "2", 1), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvstore_cf_put(again, "k", 1, "2", 1), KVSTORE_NOTFOUND);
  KVIterator *it = NULL;
  CHECK_STATUS(kvstore_cf_iterator_create(lost, &it), KVSTORE_NOTFOUND);
  cf_check(next, "k", NULL);
  CHECK_OK(kvstore_begin(kv, 1));
  KVColumnFamily *kept = create(kv, "kept");
  cf_put(kept, "k", "1");
  CHECK_OK(kvstore_commit(kv));
  cf_check(kept, "k", "1");
  kvstore_cf_close(lost);
  kvstore_cf_close(again);
  kvstore_cf_close(next);
  kvstore_cf_close(kept);
  CHECK_OK(kvstore_close(kv));
}

/* "purging CF A never touches CF B" */
TEST(families, expiry_is_each_ones_own) {
  KVStore *kv = open_store();
  KVColumnFamily *a = create(kv, "a"), *b = create(kv, "b");
  int64_t left = 0, count = 0;
  int purged = -1, inserted = 0, there = 1, length;
  void *data;
  CHECK_OK(kvstore_cf_put_ttl(a, "k", 1, "v", 1, 1));
  CHECK_OK(kvstore_cf_put_ttl(b, "k", 1, "v", 1, 1));
  CHECK_OK(kvstore_cf_purge_expired(a, &purged));
  CHECK_INT(purged, 1);
  CHECK_OK(kvstore_cf_count(b, &count));
  CHECK_INT(count, 1);
  CHECK_OK(kvstore_cf_exists(b, "k", 1, &there));
  CHECK_INT(there, 0);
  CHECK_OK(kvstore_cf_put_if_absent(b, "k", 1, "w", 1, kvstore_now_ms() + 50000, &inserted));
  CHECK_INT(inserted, 1);
  CHECK_OK(kvstore_cf_ttl_remaining(b, "k", 1, &left));
  CHECK(left > 40000);
  CHECK_OK(kvstore_cf_get_ttl(b, "k", 1, &data, &length, &left));
  CHECK(left > 40000 && length == 1);
  sqliteFree(data);
  kvstore_cf_close(a);
  kvstore_cf_close(b);
  CHECK_OK(kvstore_close(kv));
}

TEST(families, handles_may_be_closed_after_the_store_and_answer_then) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create(kv, "a");
  KVIterator *it = NULL;
  cf_put(cf, "k", "v");
  CHECK_OK(kvstore_cf_iterator_create(cf, &it));
  CHECK_OK(kvstore_close(kv));
  CHECK_STATUS(kvstore_cf_put(cf, "k", 1, "v", 1), KVSTORE_ERROR);
  kvstore_cf_close(cf);
  char keys[64];
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "k,");
  kvstore_iterator_close(it);
}

/* ---- iterators ---- */

static KVStore *open_fruit(void) {
  static const char *const fruit[] = { "apple", "app", "banana", "apricot", "cherry", "b", "ba" };
  KVStore *kv = open_store();
  for (size_t i = 0; i < sizeof fruit / sizeof *fruit; i++) put_text(kv, fruit[i], "v");
  return kv;
}

/* "Iterate all key-value pairs in ascending lexicographic key order." */
TEST(iterators, walk_forward_and_backward_in_key_order) {
  KVStore *kv = open_fruit();
  KVIterator *it = NULL;
  char keys[256];
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK(kvstore_iterator_eof(it)); /* nowhere yet */
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "app,apple,apricot,b,ba,banana,cherry,");
  CHECK_OK(kvstore_iterator_next(it)); /* the end stays the end */
  CHECK(kvstore_iterator_eof(it));
  CHECK_STATUS(kvstore_iterator_prev(it), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_last(it), KVSTORE_ERROR);
  CHECK_OK(kvstore_iterator_first(it)); /* and again */
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "app,apple,apricot,b,ba,banana,cherry,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_reverse_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_last(it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "cherry,banana,ba,b,apricot,apple,app,");
  CHECK_STATUS(kvstore_iterator_next(it), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_first(it), KVSTORE_ERROR);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}

/* "Pre-positioned at the first key matching the prefix. Stop automatically when keys no longer match." */
TEST(iterators, a_prefix_is_positioned_at_once_in_both_directions) {
  KVStore *kv = open_fruit();
  KVIterator *it = NULL;
  char keys[256];
  CHECK_OK(kvstore_prefix_iterator_create(kv, "ap", 2, &it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "app,apple,apricot,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_reverse_prefix_iterator_create(kv, "ap", 2, &it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "apricot,apple,app,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_prefix_iterator_create(kv, "x", 1, &it));
  CHECK(kvstore_iterator_eof(it));
  kvstore_iterator_close(it);
  CHECK_STATUS(kvstore_prefix_iterator_create(kv, "", 0, &it), KVSTORE_ERROR);
  CHECK(it == NULL);
  CHECK_STATUS(kvstore_reverse_prefix_iterator_create(kv, NULL, 0, &it), KVSTORE_ERROR);
  CHECK_OK(kvstore_put(kv, "\xff\xff", 2, "v", 1));
  CHECK_OK(kvstore_put(kv, "\xff\xff\x01", 3, "v", 1));
  CHECK_OK(kvstore_reverse_prefix_iterator_create(kv, "\xff", 1, &it)); /* a prefix without a next one */
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "\xff\xff\x01,\xff\xff,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}

/* "Forward: seek to the first key >= (pKey, nKey). Reverse: seek to the last key <= (pKey, nKey)." */
TEST(iterators, a_seek_goes_to_the_key_or_past_it_in_its_direction) {
  KVStore *kv = open_fruit();
  KVIterator *it = NULL;
  char keys[256];
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_seek(it, "ba", 2));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "ba,banana,cherry,");
  CHECK_OK(kvstore_iterator_seek(it, "apq", 3));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "apricot,b,ba,banana,cherry,");
  CHECK_OK(kvstore_iterator_seek(it, "z", 1));
  CHECK(kvstore_iterator_eof(it));
  CHECK_STATUS(kvstore_iterator_seek(it, "a", -1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_seek(it, NULL, 0), KVSTORE_ERROR);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_reverse_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_seek(it, "az", 2));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "apricot,apple,app,");
  CHECK_OK(kvstore_iterator_seek(it, "apple", 5));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "apple,app,");
  CHECK_OK(kvstore_iterator_seek(it, "a", 1));
  CHECK(kvstore_iterator_eof(it));
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_prefix_iterator_create(kv, "ap", 2, &it));
  CHECK_OK(kvstore_iterator_seek(it, "apr", 3));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "apricot,");
  CHECK_OK(kvstore_iterator_seek(it, "b", 1)); /* "outside a prefix iterator's prefix: eof" */
  CHECK(kvstore_iterator_eof(it));
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}

static const char *keys_within(KVStore *kv, KVIteratorOptions options, const char *lower, const char *upper) {
  static char keys[256];
  KVIterator *it = NULL;
  options.lower = lower;
  options.lower_length = lower ? (int)strlen(lower) : 0;
  options.upper = upper;
  options.upper_length = upper ? (int)strlen(upper) : 0;
  CHECK_OK(kvstore_iterator_create_with(kv, &options, &it));
  keys_of(it, options.reverse, keys, sizeof keys);
  kvstore_iterator_close(it);
  return keys;
}

TEST(iterators, bounds_take_the_lower_key_and_leave_the_upper_one) {
  KVStore *kv = open_fruit(); /* app apple apricot b ba banana cherry */
  KVIteratorOptions options = KVSTORE_ITERATOR_OPTIONS_INIT;
  CHECK_STR(keys_within(kv, options, NULL, NULL), "app,apple,apricot,b,ba,banana,cherry,");
  CHECK_STR(keys_within(kv, options, "apple", "banana"), "apple,apricot,b,ba,");
  CHECK_STR(keys_within(kv, options, "apples", NULL), "apricot,b,ba,banana,cherry,");
  CHECK_STR(keys_within(kv, options, NULL, "b"), "app,apple,apricot,");
  CHECK_STR(keys_within(kv, options, "b", "b"), "");
  CHECK_STR(keys_within(kv, options, "x", NULL), "");
  options.reverse = 1;
  CHECK_STR(keys_within(kv, options, "apple", "banana"), "ba,b,apricot,apple,");
  CHECK_STR(keys_within(kv, options, NULL, NULL), "cherry,banana,ba,b,apricot,apple,app,");
  options.prefix = "ap";
  options.prefix_length = 2;
  CHECK_STR(keys_within(kv, options, NULL, NULL), "apricot,apple,app,");
  CHECK_STR(keys_within(kv, options, "appa", "apr"), "apple,");
  CHECK_STR(keys_within(kv, options, "a", "z"), "apricot,apple,app,");
  options.reverse = 0;
  CHECK_STR(keys_within(kv, options, "apple", NULL), "apple,apricot,");
  CHECK_STR(keys_within(kv, options, "b", NULL), "");
  CHECK_OK(kvstore_close(kv));
}

TEST(iterators, seeks_stay_inside_the_bounds) {
  KVStore *kv = open_fruit();
  KVIterator *it = NULL;
  char keys[256];
  KVIteratorOptions options = KVSTORE_ITERATOR_OPTIONS_INIT;
  options.lower = "apple";
  options.lower_length = 5;
  options.upper = "banana";
  options.upper_length = 6;
  CHECK_OK(kvstore_iterator_create_with(kv, &options, &it));
  CHECK_OK(kvstore_iterator_seek(it, "a", 1));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "apple,apricot,b,ba,");
  CHECK_OK(kvstore_iterator_seek(it, "b", 1));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,ba,");
  CHECK_OK(kvstore_iterator_seek(it, "banana", 6));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "apple,apricot,b,ba,");
  CHECK_STATUS(kvstore_iterator_last(it), KVSTORE_ERROR);
  kvstore_iterator_close(it);
  options.reverse = 1;
  CHECK_OK(kvstore_iterator_create_with(kv, &options, &it));
  CHECK_OK(kvstore_iterator_seek(it, "z", 1));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "ba,b,apricot,apple,");
  CHECK_OK(kvstore_iterator_seek(it, "app", 3));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_last(it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "ba,b,apricot,apple,");
  kvstore_iterator_close(it);
  KVColumnFamily *cf = create(kv, "f");
  cf_put(cf, "az", "v");
  cf_put(cf, "c", "v");
  CHECK_OK(kvstore_cf_iterator_create_with(cf, &options, &it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "az,");
  kvstore_iterator_close(it);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(iterators, bounds_that_make_no_sense_are_refused) {
  KVStore *kv = open_fruit();
  KVIterator *it = (KVIterator *)1;
  static char long_key[KVSTORE_KEY_BYTES_MAX + 1];
  KVIteratorOptions options = KVSTORE_ITERATOR_OPTIONS_INIT;
  options.lower = "b";
  options.lower_length = 1;
  options.upper = "a";
  options.upper_length = 1;
  CHECK_STATUS(kvstore_iterator_create_with(kv, &options, &it), KVSTORE_ERROR);
  CHECK(it == NULL);
  options.upper_length = -1;
  CHECK_STATUS(kvstore_iterator_create_with(kv, &options, &it), KVSTORE_ERROR);
  options.upper = long_key;
  options.upper_length = sizeof long_key;
  CHECK_STATUS(kvstore_iterator_create_with(kv, &options, &it), KVSTORE_ERROR);
  options = (KVIteratorOptions)KVSTORE_ITERATOR_OPTIONS_INIT;
  options.struct_size = 0;
  CHECK_STATUS(kvstore_iterator_create_with(kv, &options, &it), KVSTORE_ERROR);
  struct {
    KVIteratorOptions known;
    int tail;
  } longer = { KVSTORE_ITERATOR_OPTIONS_INIT, 0 };
  longer.known.struct_size = sizeof longer;
  CHECK_OK(kvstore_iterator_create_with(kv, &longer.known, &it));
  kvstore_iterator_close(it);
  longer.tail = 1;
  CHECK_STATUS(kvstore_iterator_create_with(kv, &longer.known, &it), KVSTORE_UNSUPPORTED);
  CHECK_STATUS(kvstore_iterator_create_with(kv, NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_create_with(NULL, NULL, &it), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_iterator_create_with(NULL, NULL, &it), KVSTORE_ERROR);
  CHECK_OK(kvstore_close(kv));
}

TEST(iterators, show_the_store_as_it_was_whatever_is_done_to_it) {
  KVStore *kv = open_fruit();
  KVIterator *it = NULL;
  char keys[256];
  void *data;
  int length;
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_OK(kvstore_delete(kv, "app", 3)); /* the key that it stands on */
  CHECK_OK(kvstore_delete(kv, "apple", 5));
  put_text(kv, "aa", "new");
  put_text(kv, "b", "changed");
  CHECK_OK(kvstore_iterator_value(it, &data, &length));
  CHECK_INT(length, 1);
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "app,apple,apricot,b,ba,banana,cherry,");
  CHECK_OK(kvstore_clear(kv));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "app,apple,apricot,b,ba,banana,cherry,");
  CHECK_STATUS(kvstore_iterator_key(it, &data, &length), KVSTORE_ERROR);
  CHECK(data == NULL && length == 0);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}

TEST(iterators, pass_over_expired_keys_and_give_empty_values) {
  KVStore *kv = open_store();
  KVIterator *it = NULL;
  char keys[64];
  void *data = (void *)1;
  int length = 1;
  CHECK_OK(kvstore_put(kv, "a", 1, NULL, 0));
  CHECK_OK(kvstore_put_ttl(kv, "b", 1, "v", 1, 1));
  CHECK_OK(kvstore_put_ttl(kv, "c", 1, "v", 1, kvstore_now_ms() + 100000));
  CHECK_OK(kvstore_put_ttl(kv, "d", 1, "v", 1, 1));
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_OK(kvstore_iterator_value(it, &data, &length));
  CHECK(data == NULL && length == 0);
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "a,c,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_reverse_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_last(it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "c,a,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}

TEST(iterators, made_in_a_transaction_see_its_writes) {
  KVStore *kv = open_fruit();
  KVColumnFamily *cf = create(kv, "f");
  KVIterator *it = NULL;
  char keys[64];
  CHECK_OK(kvstore_begin(kv, 1));
  cf_put(cf, "x1", "v");
  cf_put(cf, "x2", "v");
  cf_put(cf, "y", "v");
  CHECK_OK(kvstore_cf_prefix_iterator_create(cf, "x", 1, &it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "x1,x2,");
  CHECK_OK(kvstore_commit(kv));
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_cf_reverse_prefix_iterator_create(cf, "x", 1, &it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "x2,x1,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_cf_reverse_iterator_create(cf, &it));
  CHECK_OK(kvstore_iterator_last(it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "y,x2,x1,");
  kvstore_iterator_close(it);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* "If the seek lands outside a prefix iterator's prefix, the iterator immediately enters the eof state." */
TEST(iterators, a_seek_of_a_prefix_iterator_that_lands_outside_its_prefix_is_eof) {
  KVStore *kv = open_fruit(); /* app apple apricot b ba banana cherry */
  KVIterator *it = NULL;
  char keys[256];
  CHECK_OK(kvstore_prefix_iterator_create(kv, "b", 1, &it));
  CHECK_OK(kvstore_iterator_seek(it, "a", 1)); /* lands on app */
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_seek(it, "az", 2)); /* lands on b */
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,ba,banana,");
  CHECK_OK(kvstore_iterator_seek(it, "c", 1));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_seek(it, "bb", 2));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_first(it)); /* and it goes on from there */
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,ba,banana,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_reverse_prefix_iterator_create(kv, "ap", 2, &it));
  CHECK_OK(kvstore_iterator_seek(it, "zz", 2)); /* lands on cherry */
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_seek(it, "az", 2)); /* lands on apricot */
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "apricot,apple,app,");
  CHECK_OK(kvstore_iterator_seek(it, "ap", 2));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_put_ttl(kv, "aq", 2, "v", 1, 1)); /* expired: nothing to land on */
  CHECK_OK(kvstore_prefix_iterator_create(kv, "b", 1, &it));
  CHECK_OK(kvstore_iterator_seek(it, "aq", 2));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,ba,banana,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_close(kv));
}

/* "Reposition the iterator without closing and reopening it. Works on forward and reverse iterators." */
TEST(iterators, a_seek_leads_back_from_an_end) {
  KVStore *kv = open_fruit();
  KVColumnFamily *cf = create(kv, "f");
  KVIterator *it = NULL;
  char keys[64];
  cf_put(cf, "x", "v");
  cf_put(cf, "y", "v");
  CHECK_OK(kvstore_cf_iterator_create(cf, &it));
  CHECK_INT(kvstore_iterator_eof(it), 1); /* nowhere yet */
  CHECK_OK(kvstore_iterator_next(it));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_INT(kvstore_iterator_eof(it), 0);
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "x,y,");
  CHECK_OK(kvstore_iterator_next(it)); /* at the end it stays there */
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_seek(it, "y", 1));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "y,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_cf_reverse_iterator_create(cf, &it));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_OK(kvstore_iterator_seek(it, "xx", 2));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "x,");
  CHECK_OK(kvstore_iterator_last(it));
  CHECK_STR(keys_of(it, 1, keys, sizeof keys), "y,x,");
  kvstore_iterator_close(it);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(iterators, the_key_under_one_may_be_deleted_before_the_next_step) {
  KVStore *kv = open_fruit();
  KVIterator *it = NULL;
  void *key, *value;
  int length, steps = 0;
  CHECK_OK(kvstore_iterator_create(kv, &it));
  for (CHECK_OK(kvstore_iterator_first(it)); !kvstore_iterator_eof(it); steps++) {
    CHECK_OK(kvstore_iterator_key(it, &key, &length));
    CHECK_OK(kvstore_delete(kv, key, length)); /* its own bytes name it */
    CHECK_OK(kvstore_iterator_value(it, &value, &length));
    CHECK_BYTES(value, "v", 1);
    CHECK_OK(kvstore_iterator_next(it));
  }
  kvstore_iterator_close(it);
  CHECK_INT(steps, 7);
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_begin(kv, 1)); /* the same backward, in a transaction */
  for (int i = 0; i < 5; i++) CHECK_OK(kvstore_put(kv, &"12345"[i], 1, "v", 1));
  CHECK_OK(kvstore_reverse_prefix_iterator_create(kv, "3", 1, &it));
  CHECK_OK(kvstore_delete(kv, "3", 1));
  CHECK_OK(kvstore_iterator_prev(it));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_commit(kv));
  CHECK_INT(count_of(kv), 4);
  CHECK_OK(kvstore_close(kv));
}

static void put_expired(KVStore *kv) {
  static const char *const names[] = { "a", "c1", "c2", "e" };
  for (size_t i = 0; i < 4; i++) CHECK_OK(kvstore_put_ttl(kv, names[i], (int)strlen(names[i]), "v", 1, 1));
}

/* "It evicts expired keys as it passes." */
TEST(iterators, take_away_the_expired_keys_that_they_pass) {
  KVStore *kv = open_store(), *reader = NULL;
  KVIterator *it = NULL;
  char keys[64];
  put_text(kv, "b", "v");
  put_text(kv, "d", "v");
  put_expired(kv);
  CHECK_INT(count_of(kv), 6);
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_INT(count_of(kv), 6);
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,d,");
  CHECK_INT(count_of(kv), 2); /* at the end */
  kvstore_iterator_close(it);
  put_expired(kv);
  CHECK_OK(kvstore_reverse_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_last(it)); /* past e */
  CHECK_OK(kvstore_iterator_prev(it)); /* past c2 and c1 */
  CHECK_INT(kvstore_iterator_eof(it), 0);
  kvstore_iterator_close(it);
  CHECK_INT(count_of(kv), 3); /* not a: it was not passed */
  put_expired(kv);
  CHECK_OK(kvstore_prefix_iterator_create(kv, "c", 1, &it));
  CHECK_INT(kvstore_iterator_eof(it), 1);
  CHECK_INT(count_of(kv), 4); /* at its creation already */
  kvstore_iterator_close(it);
  put_expired(kv);
  CHECK_OK(kvstore_iterator_create(kv, &it));
  put_text(kv, "c1", "new"); /* the newest is not the expired one */
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,d,");
  kvstore_iterator_close(it);
  check_text(kv, "c1", "new");
  CHECK_INT(count_of(kv), 3);
  CHECK_OK(kvstore_clone(kv, &reader));
  put_expired(kv);
  CHECK_OK(kvstore_begin(kv, 1)); /* a writer elsewhere is not waited for */
  CHECK_OK(kvstore_iterator_create(reader, &it));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,d,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_begin(reader, 0)); /* and a reading transaction writes nothing */
  CHECK_OK(kvstore_iterator_create(reader, &it));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,d,");
  kvstore_iterator_close(it);
  CHECK_OK(kvstore_commit(reader));
  CHECK_INT(count_of(kv), 6);
  CHECK_OK(kvstore_iterator_create(reader, &it));
  CHECK_OK(kvstore_iterator_first(it)); /* past a */
  CHECK_OK(kvstore_close(reader));
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "b,d,"); /* it goes on, and evicts no more */
  kvstore_iterator_close(it);
  CHECK_INT(count_of(kv), 6);
  CHECK_OK(kvstore_close(kv));
}

TEST(iterators, pass_more_expired_keys_than_they_remember) {
  enum { KEYS = 20000 };
  KVStore *kv = open_store();
  KVIterator *it = NULL;
  char key[32];
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < KEYS; i++) {
    (void)snprintf(key, sizeof key, "key%06d", i);
    CHECK_OK(kvstore_put_ttl(kv, key, 9, "v", 1, i % 2 ? 1 : 0));
  }
  CHECK_OK(kvstore_commit(kv));
  int live = 0;
  CHECK_OK(kvstore_iterator_create(kv, &it));
  for (CHECK_OK(kvstore_iterator_first(it)); !kvstore_iterator_eof(it); CHECK_OK(kvstore_iterator_next(it))) live++;
  kvstore_iterator_close(it);
  CHECK_INT(live, KEYS / 2);
  CHECK_INT(count_of(kv), KEYS / 2);
  CHECK_OK(kvstore_close(kv));
}

/* "Total iterators created." */
TEST(iterators, every_way_of_making_one_counts_as_one) {
  KVStore *kv = open_fruit();
  KVColumnFamily *cf = create(kv, "f");
  KVIterator *its[10] = { NULL };
  KVStoreStats stats;
  CHECK_OK(kvstore_stats_reset(kv));
  CHECK_OK(kvstore_iterator_create(kv, &its[0]));
  CHECK_OK(kvstore_reverse_iterator_create(kv, &its[1]));
  CHECK_OK(kvstore_prefix_iterator_create(kv, "a", 1, &its[2]));
  CHECK_OK(kvstore_reverse_prefix_iterator_create(kv, "a", 1, &its[3]));
  CHECK_OK(kvstore_cf_iterator_create(cf, &its[4]));
  CHECK_OK(kvstore_cf_reverse_iterator_create(cf, &its[5]));
  CHECK_OK(kvstore_cf_prefix_iterator_create(cf, "a", 1, &its[6]));
  CHECK_OK(kvstore_cf_reverse_prefix_iterator_create(cf, "a", 1, &its[7]));
  CHECK_OK(kvstore_iterator_create_with(kv, NULL, &its[8]));
  CHECK_OK(kvstore_cf_iterator_create_with(cf, NULL, &its[9]));
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nIterations, 10);
  for (int i = 0; i < 10; i++) kvstore_iterator_close(its[i]);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}
