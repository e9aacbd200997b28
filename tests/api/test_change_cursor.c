/* Changes of families: all of them, in order, and never a gap. The measure is a copy that is kept by changes alone: it
 * must hold what the family holds. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "tests/api/api_support.h"

enum { HOUR = 3600000 };

static KVFamilyOptions capturing(int64_t changes_ms) {
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  options.changes_ms = changes_ms;
  return options;
}

static KVColumnFamily *create_capturing(KVStore *kv, const char *name) {
  KVFamilyOptions options = capturing(HOUR);
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create_with(kv, name, &options, &cf));
  return cf;
}

static KVChanges *open_changes(KVStore *kv, KVColumnFamily *cf, int64_t after) {
  KVChanges *changes = NULL;
  CHECK_OK(kvstore_changes_open(kv, cf, after, &changes));
  CHECK(changes != NULL);
  return changes;
}

static void cf_put_text(KVColumnFamily *cf, const char *key, const char *value) {
  CHECK_OK(kvstore_cf_put(cf, key, (int)strlen(key), value, (int)strlen(value)));
}

/* The next change is this one; `value` NULL: of a delete or a clear, `key` NULL: of a clear. */
static KVChange check_next(KVChanges *changes, int kind, const char *key, const char *value) {
  KVChange change = KVSTORE_CHANGE_INIT;
  CHECK_OK(kvstore_changes_next(changes, &change));
  CHECK_INT(change.kind, kind);
  CHECK_INT(change.key_length, key ? strlen(key) : 0);
  if (key) CHECK_BYTES(change.key, key, strlen(key));
  CHECK_INT(change.value_length, value ? strlen(value) : 0);
  if (value && *value) CHECK_BYTES(change.value, value, strlen(value));
  CHECK_INT(kvstore_changes_position(changes), change.sequence);
  return change;
}

static void check_no_more(KVChanges *changes) {
  KVChange change = KVSTORE_CHANGE_INIT;
  CHECK_STATUS(kvstore_changes_next(changes, &change), KVSTORE_NOTFOUND);
}

static void check_gone(KVChanges *changes) {
  KVChange change = KVSTORE_CHANGE_INIT;
  CHECK_STATUS(kvstore_changes_next(changes, &change), KVSTORE_GONE);
}

static void check_open_gone(KVStore *kv, KVColumnFamily *cf, int64_t after) {
  KVChanges *changes = (KVChanges *)1;
  CHECK_STATUS(kvstore_changes_open(kv, cf, after, &changes), KVSTORE_GONE);
  CHECK(changes == NULL);
}

/* ---- what is a change ---- */

TEST(change_cursor, puts_and_deletes_come_in_order_with_what_they_say) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_capturing(kv, "followed");
  KVChanges *changes = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST);
  int64_t before = kvstore_now_ms(), expire = before + HOUR;
  int inserted = 0, swapped = 0;
  check_no_more(changes);
  cf_put_text(cf, "a", "1");
  CHECK_OK(kvstore_cf_put_ttl(cf, "b", 1, "2", 1, expire));
  CHECK_OK(kvstore_cf_put_if_absent(cf, "a", 1, "other", 5, 0, &inserted));
  CHECK_OK(kvstore_cf_put_if_absent(cf, "c", 1, "", 0, 0, &inserted));
  CHECK_OK(kvstore_cf_compare_and_swap(cf, "a", 1, "wrong", 5, "3", 1, 0, &swapped));
  CHECK_OK(kvstore_cf_compare_and_swap(cf, "a", 1, "1", 1, "3", 1, 0, &swapped));
  CHECK_STATUS(kvstore_cf_delete(cf, "absent", 6), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_cf_delete(cf, "b", 1));
  CHECK_OK(kvstore_cf_clear(cf));
  put_text(kv, "in another family", "x");
  KVChange change = check_next(changes, KVSTORE_CHANGE_PUT, "a", "1");
  int64_t sequence = change.sequence, transaction = change.transaction;
  CHECK_INT(change.expire_ms, 0);
  CHECK(change.time_ms >= before && change.time_ms <= kvstore_now_ms());
  change = check_next(changes, KVSTORE_CHANGE_PUT, "b", "2");
  CHECK_INT(change.expire_ms, expire);
  CHECK(change.sequence > sequence && change.transaction != transaction);
  check_next(changes, KVSTORE_CHANGE_PUT, "c", "");
  check_next(changes, KVSTORE_CHANGE_PUT, "a", "3");
  check_next(changes, KVSTORE_CHANGE_DELETE, "b", NULL);
  check_next(changes, KVSTORE_CHANGE_CLEAR, NULL, NULL);
  check_no_more(changes);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(change_cursor, a_transaction_is_there_when_it_has_committed_and_not_when_it_was_rolled_back) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_capturing(kv, "followed");
  KVChanges *changes = open_changes(kv, cf, KVSTORE_CHANGES_NEWEST);
  CHECK_OK(kvstore_begin(kv, 1));
  cf_put_text(cf, "a", "gone");
  check_no_more(changes); /* though the handle itself sees it */
  CHECK_OK(kvstore_rollback(kv));
  check_no_more(changes);
  CHECK_OK(kvstore_begin(kv, 1));
  cf_put_text(cf, "a", "1");
  CHECK_STATUS(kvstore_cf_put(cf, "", 0, "x", 1), KVSTORE_ERROR);
  cf_put_text(cf, "b", "2");
  check_no_more(changes);
  CHECK_OK(kvstore_commit(kv));
  int64_t transaction = check_next(changes, KVSTORE_CHANGE_PUT, "a", "1").transaction;
  CHECK_INT(check_next(changes, KVSTORE_CHANGE_PUT, "b", "2").transaction, transaction);
  check_no_more(changes);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(change_cursor, the_default_family_is_followed_and_hidden_families_stay_hidden) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVFamilyOptions options = capturing(HOUR), read = KVSTORE_FAMILY_OPTIONS_INIT;
  char **names = (char **)1;
  int count = -1;
  put_text(kv, "before", "1");
  check_open_gone(kv, NULL, KVSTORE_CHANGES_OLDEST);
  CHECK_OK(kvstore_cf_get_default(kv, &cf));
  CHECK_OK(kvstore_cf_set_options(cf, &options));
  CHECK_OK(kvstore_cf_get_options(cf, &read));
  CHECK_INT(read.changes_ms, HOUR);
  KVChanges *changes = open_changes(kv, NULL, KVSTORE_CHANGES_OLDEST);
  put_text(kv, "a", "1");
  check_next(changes, KVSTORE_CHANGE_PUT, "a", "1");
  CHECK_OK(kvstore_cf_list(kv, &names, &count));
  CHECK_INT(count, 0);
  CHECK_INT(count_of(kv), 2);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* ---- a copy ---- */

enum { KEYS = 300 };

/* What a family holds, by number of key; 0: nothing. */
typedef struct Copy {
  uint32_t rounds[KEYS];
  int64_t position;
} Copy;

static int key_of(char *key, uint32_t number) { return snprintf(key, 32, "key%05u", number); }

static void follow(KVStore *kv, KVColumnFamily *cf, Copy *copy) {
  KVChanges *changes = open_changes(kv, cf, copy->position);
  KVChange change = KVSTORE_CHANGE_INIT;
  int status;
  while ((status = kvstore_changes_next(changes, &change)) == KVSTORE_OK) {
    CHECK(change.sequence > copy->position);
    copy->position = change.sequence;
    if (change.kind == KVSTORE_CHANGE_CLEAR) {
      memset(copy->rounds, 0, sizeof copy->rounds);
      continue;
    }
    char key[32] = { 0 };
    CHECK(change.key_length < (int)sizeof key);
    memcpy(key, change.key, (size_t)change.key_length);
    uint32_t number = (uint32_t)strtoul(key + 3, NULL, 10);
    CHECK(number < KEYS);
    copy->rounds[number] = 0;
    if (change.kind == KVSTORE_CHANGE_PUT) memcpy(&copy->rounds[number], change.value, sizeof(uint32_t));
  }
  CHECK_STATUS(status, KVSTORE_NOTFOUND);
  kvstore_changes_close(changes);
}

static void check_copy(KVColumnFamily *cf, const Copy *copy) {
  for (uint32_t i = 0; i < KEYS; i++) {
    char key[32];
    int length = key_of(key, i), found = 0;
    uint32_t round = 0;
    void *value = NULL;
    int status = kvstore_cf_get(cf, key, length, &value, &found);
    CHECK_STATUS(status, copy->rounds[i] ? KVSTORE_OK : KVSTORE_NOTFOUND);
    if (status == KVSTORE_OK) memcpy(&round, value, sizeof round);
    CHECK_INT(round, copy->rounds[i]);
    kvstore_free(value);
  }
}

typedef struct Writer {
  KVStore *kv;
  KVColumnFamily *cf;
  uint64_t random;
  uint32_t round;
  char padding[900];
} Writer;

static uint32_t some_key(Writer *w) { return (uint32_t)(test_random(&w->random) % KEYS); }

static int value_of(Writer *w, char *value) {
  uint32_t round = ++w->round;
  memcpy(value, &round, sizeof round);
  memset(value + sizeof round, 'v', sizeof w->padding);
  return (int)(sizeof round + test_random(&w->random) % sizeof w->padding);
}

static void load(Writer *w, uint32_t count) {
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  KVBulkLoad *load = NULL;
  options.memory_bytes = 1;
  CHECK_OK(kvstore_bulk_load_begin(w->kv, w->cf, &options, &load));
  for (uint32_t i = 0; i < count; i++) {
    char key[32], value[1024];
    int length = key_of(key, some_key(w));
    CHECK_OK(kvstore_bulk_load_add(load, key, length, value, value_of(w, value), 0));
  }
  CHECK_OK(kvstore_bulk_load_commit(load, NULL));
}

static void write_batch(Writer *w) {
  KVBatch *batch = NULL;
  char key[32], value[1024];
  CHECK_OK(kvstore_batch_create(w->kv, &batch));
  for (int i = 0; i < 5; i++) {
    int length = key_of(key, some_key(w));
    CHECK_OK(kvstore_batch_put(batch, w->cf, key, length, value, value_of(w, value)));
  }
  CHECK_OK(kvstore_batch_delete(batch, w->cf, key, key_of(key, some_key(w))));
  CHECK_OK(kvstore_batch_write(batch, NULL));
  kvstore_batch_close(batch);
}

static void write_one(Writer *w) {
  char key[32], upper[32], value[1024];
  uint32_t number = some_key(w);
  int length = key_of(key, number);
  switch (test_random(&w->random) % 40) {
  case 0: CHECK_OK(kvstore_cf_clear(w->cf)); break;
  case 1: CHECK_OK(kvstore_cf_delete_range(w->cf, key, length, upper, key_of(upper, number + 20), NULL)); break;
  case 2: write_batch(w); break;
  case 3: load(w, 20); break;
  case 4: load(w, 1000); break;
  default:
    if (test_random(&w->random) % 4)
      CHECK_OK(kvstore_cf_put(w->cf, key, length, value, value_of(w, value)));
    else
      (void)kvstore_cf_delete(w->cf, key, length);
  }
}

/* One by one, and in transactions that outgrow the log or are rolled back. */
static void write_some(Writer *w) {
  uint64_t how = test_random(&w->random) % 8;
  if (how > 2) {
    for (int i = 0; i < 10; i++) write_one(w);
    return;
  }
  CHECK_OK(kvstore_begin(w->kv, 1));
  for (int i = 0; i < (how ? 20 : 2000); i++) write_one(w);
  CHECK_OK(how == 1 ? kvstore_rollback(w->kv) : kvstore_commit(w->kv));
}

TEST(change_cursor, a_copy_that_is_kept_by_changes_alone_holds_what_the_family_holds) {
  Writer w = { .kv = open_store(), .random = 7 };
  Copy copy = { .position = KVSTORE_CHANGES_OLDEST };
  w.cf = create_capturing(w.kv, "followed");
  int rounds = (int)test_scaled(60);
  for (int i = 0; i < rounds; i++) {
    write_some(&w);
    if (i % 3) continue; /* sometimes it has fallen behind */
    follow(w.kv, w.cf, &copy);
    check_copy(w.cf, &copy);
    if (i % 9 == 0) CHECK_OK(kvstore_checkpoint(w.kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    if (i % 12) continue;
    kvstore_cf_close(w.cf);
    CHECK_OK(kvstore_close(w.kv));
    w.kv = open_store();
    CHECK_OK(kvstore_cf_open(w.kv, "followed", &w.cf));
  }
  follow(w.kv, w.cf, &copy);
  check_copy(w.cf, &copy);
  Copy whole = { .position = KVSTORE_CHANGES_OLDEST }; /* nothing was taken away */
  follow(w.kv, w.cf, &whole);
  CHECK_BYTES(whole.rounds, copy.rounds, sizeof copy.rounds);
  CHECK_OK(kvstore_integrity_check(w.kv, NULL));
  kvstore_cf_close(w.cf);
  CHECK_OK(kvstore_close(w.kv));
}

/* ---- what is kept ---- */

static void wait_until_after(int64_t ms) {
  while (kvstore_now_ms() <= ms) continue; /* the clock goes on */
}

TEST(change_cursor, what_is_old_enough_is_taken_away_and_positions_before_it_are_gone) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_capturing(kv, "followed");
  KVFamilyOptions options = capturing(1);
  KVChanges *behind = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST), *ahead;
  int64_t first = kvstore_changes_position(behind);
  cf_put_text(cf, "a", "1");
  cf_put_text(cf, "b", "2");
  check_next(behind, KVSTORE_CHANGE_PUT, "a", "1"); /* and b is read ahead */
  KVChanges *slow = open_changes(kv, cf, first);
  ahead = open_changes(kv, cf, KVSTORE_CHANGES_NEWEST);
  CHECK_OK(kvstore_cf_set_options(cf, &options));
  wait_until_after(kvstore_now_ms() + 2);
  CHECK_OK(kvstore_maintain(kv));
  check_gone(slow);
  check_gone(slow);
  check_next(behind, KVSTORE_CHANGE_PUT, "b", "2");
  check_no_more(behind); /* it has seen all that is gone */
  check_no_more(ahead);
  kvstore_changes_close(slow);
  check_open_gone(kv, cf, first);
  options = capturing(HOUR);
  CHECK_OK(kvstore_cf_set_options(cf, &options));
  cf_put_text(cf, "c", "3");
  check_next(behind, KVSTORE_CHANGE_PUT, "c", "3");
  check_next(ahead, KVSTORE_CHANGE_PUT, "c", "3");
  KVChanges *oldest = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST);
  check_next(oldest, KVSTORE_CHANGE_PUT, "c", "3");
  CHECK_STATUS(kvstore_changes_open(kv, cf, kvstore_changes_position(oldest) + 1000, &slow), KVSTORE_GONE);
  kvstore_changes_close(behind);
  kvstore_changes_close(ahead);
  kvstore_changes_close(oldest);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* Nobody calls kvstore_maintain: who writes takes away more than it adds. */
TEST(change_cursor, old_changes_do_not_pile_up) {
  enum { OLD = 2000 };
  KVStore *kv = open_store();
  KVFamilyOptions options = capturing(1);
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create_with(kv, "followed", &options, &cf));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < OLD; i++) cf_put_text(cf, "key", "value");
  CHECK_OK(kvstore_commit(kv));
  for (int i = 0; i < OLD / 100; i++) {
    wait_until_after(kvstore_now_ms() + 1);
    cf_put_text(cf, "key", "value");
  }
  KVChanges *changes = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST);
  KVChange change = KVSTORE_CHANGE_INIT;
  int left = 0;
  while (kvstore_changes_next(changes, &change) == KVSTORE_OK) left++;
  CHECK(left > 0 && left < 100);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(change_cursor, a_family_that_captures_no_more_or_is_dropped_or_was_never_made_has_no_changes) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_capturing(kv, "followed");
  KVFamilyOptions off = capturing(0), on = capturing(HOUR);
  KVChanges *changes = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST);
  CHECK_OK(kvstore_cf_set_options(cf, &off));
  check_gone(changes);
  check_open_gone(kv, cf, KVSTORE_CHANGES_NEWEST);
  cf_put_text(cf, "missed", "1");
  CHECK_OK(kvstore_cf_set_options(cf, &on));
  check_gone(changes); /* what it missed is not there */
  KVChanges *anew = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST);
  cf_put_text(cf, "a", "1");
  check_next(anew, KVSTORE_CHANGE_PUT, "a", "1");
  CHECK_OK(kvstore_cf_drop(kv, "followed"));
  check_gone(anew);
  kvstore_changes_close(changes);
  kvstore_changes_close(anew);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_begin(kv, 1));
  cf = create_capturing(kv, "rolled back");
  KVChanges *none = (KVChanges *)1;
  CHECK_STATUS(kvstore_changes_open(kv, cf, KVSTORE_CHANGES_OLDEST, &none), KVSTORE_GONE); /* not committed yet */
  CHECK_OK(kvstore_rollback(kv));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

/* ---- handles ---- */

TEST(change_cursor, readers_and_other_handles_follow_too) {
  KVStore *kv = open_store(), *reader = NULL;
  KVColumnFamily *cf = create_capturing(kv, "followed"), *seen = NULL;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.readOnly = 1;
  CHECK_OK(kvstore_open_v2(path_of("store"), &reader, &config));
  CHECK_OK(kvstore_cf_open(reader, "followed", &seen));
  KVChanges *changes = open_changes(reader, seen, KVSTORE_CHANGES_OLDEST);
  check_no_more(changes);
  cf_put_text(cf, "a", "1");
  check_next(changes, KVSTORE_CHANGE_PUT, "a", "1");
  CHECK_OK(kvstore_begin(reader, 0)); /* the handle's snapshot stands, the changes go on */
  cf_put_text(cf, "b", "2");
  check_next(changes, KVSTORE_CHANGE_PUT, "b", "2");
  CHECK_OK(kvstore_rollback(reader));
  kvstore_cf_close(seen);
  CHECK_OK(kvstore_close(reader));
  KVChange change = KVSTORE_CHANGE_INIT;
  CHECK_STATUS(kvstore_changes_next(changes, &change), KVSTORE_ERROR);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

enum { FOLLOWED = 3000 };

static void *write_numbers(void *cf) {
  for (int i = 0; i < FOLLOWED; i++) CHECK_OK(kvstore_cf_put(cf, "key", 3, &i, sizeof i));
  return NULL;
}

TEST(change_cursor, a_thread_follows_another_that_writes) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_capturing(kv, "followed");
  KVChanges *changes = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST);
  KVChange change = KVSTORE_CHANGE_INIT;
  pthread_t writer;
  CHECK_INT(pthread_create(&writer, NULL, write_numbers, cf), 0);
  for (int expected = 0; expected < FOLLOWED;) {
    int status = kvstore_changes_next(changes, &change), number;
    if (status == KVSTORE_NOTFOUND) {
      sched_yield();
      continue;
    }
    CHECK_OK(status);
    CHECK_INT(change.value_length, sizeof number);
    memcpy(&number, change.value, sizeof number);
    CHECK_INT(number, expected++);
  }
  CHECK_INT(pthread_join(writer, NULL), 0);
  check_no_more(changes);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(change_cursor, refuses_what_cannot_be) {
  KVStore *kv = open_store(), *other = NULL;
  KVColumnFamily *cf = create_capturing(kv, "followed");
  KVFamilyOptions options = capturing(-1);
  KVChanges *changes = (KVChanges *)1;
  KVChange change = { 0 };
  CHECK_STATUS(kvstore_cf_set_options(cf, &options), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_changes_open(NULL, NULL, 0, &changes), KVSTORE_ERROR);
  CHECK(changes == NULL);
  CHECK_STATUS(kvstore_changes_open(kv, cf, 0, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_changes_open(kv, cf, -3, &changes), KVSTORE_ERROR);
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_STATUS(kvstore_changes_open(other, cf, KVSTORE_CHANGES_OLDEST, &changes), KVSTORE_ERROR);
  CHECK_OK(kvstore_close(other));
  changes = open_changes(kv, cf, KVSTORE_CHANGES_OLDEST);
  cf_put_text(cf, "a", "1");
  CHECK_STATUS(kvstore_changes_next(changes, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_changes_next(changes, &change), KVSTORE_ERROR); /* struct_size */
  CHECK_STATUS(kvstore_changes_next(NULL, &change), KVSTORE_ERROR);
  check_next(changes, KVSTORE_CHANGE_PUT, "a", "1"); /* nothing was skipped */
  CHECK_INT(kvstore_changes_position(NULL), KVSTORE_CHANGES_OLDEST);
  kvstore_changes_close(NULL);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}
