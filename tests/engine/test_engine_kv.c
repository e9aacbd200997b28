/* Key-value families through the engine: commits, rollbacks, snapshots, recovery, flush, compaction. */
#include <stdio.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "engine/kv_load.h"
#include "tests/support/fault_os.h"
#include "tests/support/test.h"

static Bytes text(const char *s) { return (Bytes){ (const uint8_t *)s, strlen(s) }; }

static const char *store_path(void) {
  static char path[512];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static Session *open_store(StoreOptions options) {
  Session *s = NULL;
  CHECK_OK(session_open(store_path(), &options, &s));
  return s;
}

static void put(Session *s, const char *key, const char *value) {
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, text(key), text(value), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static void check_value(Session *s, const char *key, const char *value) {
  KvValue out = { 0 };
  if (!value) {
    CHECK_STATUS(kv_get(s, FAMILY_DEFAULT_ID, text(key), &out), KVSTORE_NOTFOUND);
    return;
  }
  CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, text(key), &out));
  CHECK_INT(out.length, strlen(value));
  CHECK_BYTES(out.data, value, out.length);
  memory_release(out.data);
}

static const StoreOptions quiet = {
  .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .no_background = true, .log_bytes = 256 << 10
};

TEST(engine_kv, a_put_is_read_back_deleted_and_survives_a_reopen) {
  Session *s = open_store(quiet);
  put(s, "a", "1");
  put(s, "b", "2");
  put(s, "a", "3");
  check_value(s, "a", "3");
  CHECK_OK(kv_delete(s, FAMILY_DEFAULT_ID, text("b")));
  CHECK_STATUS(kv_delete(s, FAMILY_DEFAULT_ID, text("b")), KVSTORE_NOTFOUND);
  check_value(s, "b", NULL);
  CHECK_OK(session_close(s));
  s = open_store(quiet);
  check_value(s, "a", "3");
  check_value(s, "b", NULL);
  uint64_t count = 0;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, 1);
  CHECK_OK(session_close(s));
}

TEST(engine_kv, a_rollback_takes_everything_back) {
  Session *s = open_store(quiet);
  put(s, "a", "1");
  CHECK_OK(session_begin(s, true));
  put(s, "a", "2");
  put(s, "b", "2");
  check_value(s, "a", "2");
  uint32_t id = 0;
  CHECK_OK(family_create(s, "other", FAMILY_KV, NULL, &id));
  CHECK_OK(kv_put(s, id, text("x"), text("y"), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  CHECK_OK(session_rollback(s));
  check_value(s, "a", "1");
  check_value(s, "b", NULL);
  FamilyInfo info;
  CHECK_STATUS(family_find(s, "other", &info), KVSTORE_NOTFOUND);
  put(s, "b", "3");
  check_value(s, "b", "3");
  CHECK_OK(session_close(s));
}

TEST(engine_kv, a_snapshot_stays_while_others_write_flush_and_compact) {
  Session *s = open_store(quiet), *reader = NULL;
  CHECK_OK(session_clone(s, &reader));
  put(s, "a", "old");
  CHECK_OK(session_begin(reader, false));
  put(s, "a", "new");
  check_value(reader, "a", "old");
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  check_value(reader, "a", "old");
  check_value(s, "a", "new");
  CHECK_OK(session_commit(reader));
  check_value(reader, "a", "new");
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
}

TEST(engine_kv, many_laps_of_the_log_keep_every_key) {
  Session *s = open_store(quiet);
  enum { KEYS = 20000 };
  char key[32], value[128];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < KEYS; i++) {
      snprintf(key, sizeof key, "key%08d", (i * 7919) % KEYS);
      snprintf(value, sizeof value, "value %d of round %d, and some more bytes to fill the log", i, round);
      put(s, key, value);
    }
  }
  CHECK(counter_get(COUNTER_flushes) > 3);
  CHECK(counter_get(COUNTER_compactions) > 0);
  for (int reopened = 0; reopened < 2; reopened++) {
    for (int i = 0; i < KEYS; i++) {
      snprintf(key, sizeof key, "key%08d", (i * 7919) % KEYS);
      snprintf(value, sizeof value, "value %d of round %d, and some more bytes to fill the log", i, 2);
      check_value(s, key, value);
    }
    uint64_t count = 0;
    CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
    CHECK_INT(count, KEYS);
    char *why = NULL;
    CHECK_OK(session_check(s, &why));
    CHECK_OK(session_close(s));
    s = open_store(quiet);
  }
  CHECK_OK(session_close(s));
}

TEST(engine_kv, a_store_in_memory_works_by_the_same_code) {
  Session *s = NULL;
  CHECK_OK(session_open(NULL, &quiet, &s));
  put(s, "a", "1");
  check_value(s, "a", "1");
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  check_value(s, "a", "1");
  CHECK_OK(session_close(s));
}

TEST(engine_kv, an_iterator_walks_both_ways_over_delta_and_runs) {
  Session *s = open_store(quiet);
  char key[16];
  for (int i = 0; i < 100; i++) {
    snprintf(key, sizeof key, "k%03d", i);
    put(s, key, key);
    if (i == 50) CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  for (int reverse = 0; reverse < 2; reverse++) {
    KvIterator *it = NULL;
    CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, text("k0"), reverse, &it));
    CHECK_OK(kv_iterator_first(it));
    for (int i = 0; i < 100; i++) {
      CHECK(!kv_iterator_eof(it));
      snprintf(key, sizeof key, "k%03d", reverse ? 99 - i : i);
      CHECK_BYTES(kv_iterator_key(it).data, key, 4);
      CHECK_OK(kv_iterator_next(it));
    }
    CHECK(kv_iterator_eof(it));
    kv_iterator_destroy(it);
  }
  CHECK_OK(session_close(s));
}

TEST(engine_kv, clear_empties_a_family_for_new_snapshots_alone) {
  Session *s = open_store(quiet), *reader = NULL;
  CHECK_OK(session_clone(s, &reader));
  put(s, "a", "1");
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  put(s, "b", "2");
  CHECK_OK(session_begin(reader, false));
  CHECK_OK(family_clear(s, FAMILY_DEFAULT_ID));
  put(s, "c", "3");
  for (int flushed = 0; flushed < 2; flushed++) {
    check_value(s, "a", NULL);
    check_value(s, "b", NULL);
    check_value(s, "c", "3");
    check_value(reader, "a", "1");
    check_value(reader, "b", "2");
    check_value(reader, "c", NULL);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
  s = open_store(quiet);
  check_value(s, "a", NULL);
  check_value(s, "c", "3");
  CHECK_OK(session_close(s));
}

/* ---- ascending loads ---- */

/* Keys first to last - 1, with values of 100 bytes; a store that flushes only when it is told. */
static const StoreOptions roomy = {
  .journal_mode = JOURNAL_WAL, .sync_level = SYNC_OFF, .no_background = true, .log_bytes = 64 << 20
};

static void load(Session *s, int first, int last, const char *what) {
  char key[16], value[101];
  CHECK_OK(session_begin(s, true));
  for (int i = first; i < last; i++) {
    snprintf(key, sizeof key, "key%08d", i);
    snprintf(value, sizeof value, "%-100s", what);
    put(s, key, value);
  }
  CHECK_OK(session_commit(s));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
}

static void check_loaded(Session *s, int first, int last, const char *what) {
  char key[16], value[101];
  snprintf(value, sizeof value, "%-100s", what);
  KvIterator *it = NULL;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  snprintf(key, sizeof key, "key%08d", first);
  CHECK_OK(kv_iterator_seek(it, text(key)));
  for (int i = first; i < last; i++) {
    snprintf(key, sizeof key, "key%08d", i);
    CHECK(!kv_iterator_eof(it));
    CHECK_BYTES(kv_iterator_key(it).data, key, 11);
    Bytes found;
    CHECK_OK(kv_iterator_value(it, &found));
    CHECK_INT(found.length, 100);
    CHECK_BYTES(found.data, value, 100);
    CHECK_OK(kv_iterator_next(it));
  }
  kv_iterator_destroy(it);
}

enum { STRIDE = 50000 }; /* rows of a flush that is worth runs of its own */

/* Whatever statement comes last: the record that it leaves must still fit the log. */
TEST(engine_kv, a_family_is_made_cleared_and_dropped_at_the_end_of_a_record_that_is_nearly_full) {
  StoreOptions small = quiet;
  small.log_bytes = 64 << 10;
  Session *s = open_store(small);
  static char value[31000];
  memset(value, 'v', sizeof value);
  uint32_t other = 0, more = 0;
  uint64_t adopted = counter_get(COUNTER_adopted_runs), kept = 0;
  CHECK_OK(family_create(s, "other", FAMILY_KV, NULL, &other));
  for (size_t length = sizeof value - 600; length < sizeof value; length += 4) {
    CHECK_OK(session_begin(s, true));
    CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, text("key"), (Bytes){ (uint8_t *)value, length }, EXPIRY_NEVER, KV_PUT_ALWAYS,
                    NULL));
    if (length % 8) CHECK_OK(family_create(s, "more", FAMILY_KV, NULL, &more));
    CHECK_OK(length % 8 ? family_drop(s, more) : family_clear(s, other));
    CHECK_OK(session_commit(s));
    uint64_t now = counter_get(COUNTER_adopted_runs);
    kept += now == adopted;
    adopted = now;
    KvValue found = { 0 };
    CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, text("key"), &found));
    CHECK_INT(found.length, length);
    memory_release(found.data);
  }
  CHECK(kept > 0 && kept < 150); /* both sides of the limit were tried */
  CHECK_OK(session_close(s));
}

/* Also where the ring has no room for a record: nobody writes then until a flush. */
TEST(engine_kv, a_passive_checkpoint_settles_whatever_the_log_holds) {
  StoreOptions small = quiet;
  small.log_bytes = 64 << 10;
  Session *s = open_store(small);
  static uint8_t value[20000];
  uint64_t random = 3, held, settled;
  StoreInfo info;
  for (int i = 0; i < 200; i++) {
    Bytes bytes = { value, (size_t)test_random_below(&random, sizeof value) };
    CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, text("key"), bytes, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
    CHECK_OK(session_checkpoint(s, CHECKPOINT_PASSIVE, &held, &settled));
    CHECK_INT(settled, held);
    CHECK_OK(session_info(s, &info));
    CHECK_INT(info.log_bytes_used, 0);
  }
  CHECK_OK(session_close(s));
}

TEST(engine_kv, keys_that_no_run_has_are_flushed_into_the_level_in_their_order) {
  static const int order[] = { 4, 0, 2, 5 }; /* behind, before and between what is there */
  Session *s = open_store(roomy);
  uint64_t into_level = counter_get(COUNTER_flushes_into_level), compactions = counter_get(COUNTER_compactions);
  for (int i = 0; i < 4; i++) load(s, order[i] * STRIDE, (order[i] + 1) * STRIDE, "first");
  CHECK_INT(counter_get(COUNTER_flushes_into_level), into_level + 4);
  load(s, 1 * STRIDE + 10, 1 * STRIDE + 20, "few"); /* not worth a run of the level */
  CHECK_INT(counter_get(COUNTER_flushes_into_level), into_level + 4);
  load(s, 2 * STRIDE + STRIDE / 2, 4 * STRIDE, "second"); /* over keys that are there */
  CHECK_INT(counter_get(COUNTER_flushes_into_level), into_level + 4);
  CHECK_INT(counter_get(COUNTER_compactions), compactions);
  for (int reopened = 0; reopened < 2; reopened++) {
    uint64_t count = 0;
    CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
    CHECK_INT(count, 5 * STRIDE + 10);
    check_loaded(s, 0, STRIDE, "first");
    check_loaded(s, STRIDE + 10, STRIDE + 20, "few");
    check_loaded(s, 2 * STRIDE, 2 * STRIDE + STRIDE / 2, "first");
    check_loaded(s, 2 * STRIDE + STRIDE / 2, 4 * STRIDE, "second");
    check_loaded(s, 4 * STRIDE, 6 * STRIDE, "first");
    char *why = NULL;
    CHECK_OK(session_check(s, &why));
    CHECK_OK(session_close(s));
    s = open_store(roomy);
  }
  CHECK_OK(session_close(s));
}

TEST(engine_kv, tombstones_over_nothing_are_not_written_into_the_level) {
  Session *s = open_store(roomy);
  uint64_t into_level = counter_get(COUNTER_flushes_into_level);
  char key[16], value[101];
  snprintf(value, sizeof value, "%-100s", "gone");
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < STRIDE; i++) {
    snprintf(key, sizeof key, "key%08d", i);
    put(s, key, value);
    if (i % 2) CHECK_OK(kv_delete(s, FAMILY_DEFAULT_ID, text(key)));
  }
  CHECK_OK(session_commit(s));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(counter_get(COUNTER_flushes_into_level), into_level + 1);
  for (int i = 0; i < 100; i++) {
    snprintf(key, sizeof key, "key%08d", i);
    check_value(s, key, i % 2 ? NULL : value);
  }
  uint64_t count = 0;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, STRIDE / 2);
  CHECK_OK(session_close(s));
}

TEST(engine_kv, maintenance_by_call_leaves_one_layer_where_that_pays) {
  Session *s = open_store(roomy);
  load(s, 0, STRIDE, "first");
  load(s, STRIDE * 3 / 4, STRIDE, "second"); /* a quarter of what it lies on: not due by itself */
  uint64_t compactions = counter_get(COUNTER_compactions);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(counter_get(COUNTER_compactions), compactions);
  CHECK_OK(session_maintain(s));
  uint64_t merged = counter_get(COUNTER_compactions);
  CHECK(merged > compactions);
  load(s, 0, STRIDE / 20, "third"); /* a twentieth: not worth writing the rest again */
  CHECK_OK(session_maintain(s));
  CHECK_OK(session_maintain(s));
  CHECK_INT(counter_get(COUNTER_compactions), merged);
  check_loaded(s, 0, STRIDE / 20, "third");
  check_loaded(s, STRIDE / 20, STRIDE * 3 / 4, "first");
  check_loaded(s, STRIDE * 3 / 4, STRIDE, "second");
  CHECK_OK(session_check(s, NULL));
  CHECK_OK(session_close(s));
}

/* ---- what outlives a call ---- */

TEST(engine_kv, more_iterators_than_slots_each_keep_their_rows) {
  Session *s = open_store(quiet);
  enum { ITERATORS = 300 };
  static KvIterator *its[ITERATORS];
  put(s, "a", "old");
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  uint64_t by_slot = counter_get(COUNTER_holds_by_slot);
  for (int i = 0; i < ITERATORS; i++) CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &its[i]));
  uint64_t kept = counter_get(COUNTER_holds_by_slot) - by_slot;
  CHECK(kept > 0 && kept < ITERATORS);      /* some by the slot of their call, the others by a lock */
  for (int round = 0; round < 6; round++) { /* generations come and go; what the iterators stand on stays */
    put(s, "a", "new");
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    CHECK_OK(session_maintain(s));
  }
  for (int i = 0; i < ITERATORS; i++) {
    if (i == ITERATORS / 2) CHECK_OK(session_close(s)); /* the last close: slots become locks */
    Bytes value;
    CHECK_OK(kv_iterator_first(its[i]));
    CHECK(!kv_iterator_eof(its[i]));
    CHECK_OK(kv_iterator_value(its[i], &value));
    CHECK_BYTES(value.data, "old", 3);
    if (i % 3 == 0) {
      kv_iterator_destroy(its[i]);
      its[i] = NULL;
    }
  }
  s = open_store(quiet); /* the next life of the store finds its slots free */
  check_value(s, "a", "new");
  for (int i = 0; i < ITERATORS; i++) kv_iterator_destroy(its[i]);
  check_value(s, "a", "new");
  CHECK_OK(session_close(s));
}
/* The store's memory goes with the last of what was made from it, in whichever order. */
static void held_beyond_the_close(bool no_map) {
  uint64_t blocks = memory_blocks_held();
  StoreOptions options = quiet;
  options.no_map = no_map;
  static char long_value[100000];
  memset(long_value, 'x', sizeof long_value - 1);
  Session *s = open_store(options), *frozen = NULL;
  KvPinned *held[3] = { 0 };
  KvIterator *it = NULL;
  bool expired = false;
  put(s, "long", long_value);
  put(s, "run", "in a run");
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  put(s, "delta", "in a delta");
  CHECK_OK(session_freeze(s, &frozen));
  CHECK_OK(kv_get_pinned(s, FAMILY_DEFAULT_ID, text("long"), &held[0], &expired));
  CHECK_OK(kv_get_pinned(frozen, FAMILY_DEFAULT_ID, text("run"), &held[1], &expired));
  CHECK_OK(kv_get_pinned(s, FAMILY_DEFAULT_ID, text("delta"), &held[2], &expired));
  CHECK_OK(session_close(s));
  check_value(frozen, "delta", "in a delta");
  CHECK_OK(kv_iterator_create(frozen, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  CHECK_STATUS(kv_put(frozen, FAMILY_DEFAULT_ID, text("a"), text("b"), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL),
               KVSTORE_READONLY);
  session_thaw(frozen);
  CHECK_OK(kv_iterator_first(it));
  CHECK_BYTES(kv_iterator_key(it).data, "delta", 5);
  const char *expected[] = { long_value, "in a run", "in a delta" };
  for (int i = 0; i < 3; i++) {
    CHECK_INT(kv_pinned_value(held[i]).length, strlen(expected[i]));
    CHECK_BYTES(kv_pinned_value(held[i]).data, expected[i], strlen(expected[i]));
    CHECK_INT(kv_pinned_expiry(held[i]), EXPIRY_NEVER);
  }
  kv_iterator_destroy(it);
  for (int i = 0; i < 3; i++) kv_pinned_release(held[i]);
  kv_pinned_release(NULL);
  CHECK_INT(memory_blocks_held(), blocks);
}

TEST(engine_kv, what_is_held_outlives_the_close_and_leaks_nothing) { held_beyond_the_close(false); }
TEST(engine_kv, the_same_without_a_mapping) { held_beyond_the_close(true); }

/* Keys that descend: each chunk is a strand, of 16 rows. */
static void add_descending(KvLoader *loader, int rows, uint8_t round) {
  static uint8_t value[4096];
  char key[32];
  value[0] = round;
  for (int i = rows; i-- > 0;) {
    snprintf(key, sizeof key, "key%06d", i);
    CHECK_OK(kv_loader_add(loader, text(key), (Bytes){ value, sizeof value }, EXPIRY_NEVER));
  }
}

TEST(engine_kv, a_load_of_very_many_strands_merges_some_at_a_time_and_the_last_of_equal_keys_wins) {
  enum { ROWS = 4800, ROUNDS = 2 };
  Session *s = open_store(quiet);
  KvLoader *loader = NULL;
  uint64_t merges = counter_get(COUNTER_load_merges), loaded = 0, count = 0;
  CHECK_OK(kv_loader_create(s, FAMILY_DEFAULT_ID, &(KvLoadOptions){ .memory_bytes = 1 }, &loader));
  for (int round = 1; round <= ROUNDS; round++) add_descending(loader, ROWS, (uint8_t)round);
  CHECK_OK(kv_loader_commit(loader, &loaded));
  kv_loader_destroy(loader);
  CHECK_INT(loaded, ROWS);
  CHECK(counter_get(COUNTER_load_merges) - merges >= 3); /* two groups, and what became of them */
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, ROWS);
  for (int i = 0; i < ROWS; i += 7) {
    char key[32];
    KvValue out = { 0 };
    snprintf(key, sizeof key, "key%06d", i);
    CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, text(key), &out));
    CHECK_INT(*(const uint8_t *)out.data, ROUNDS);
    memory_release(out.data);
  }
  CHECK_OK(session_check(s, NULL));
  CHECK_OK(session_close(s));
}

/* ---- a clock that is set ---- */

enum { MINUTE_MS = 60 * 1000, HOUR_MS = 60 * MINUTE_MS };
static int64_t clock_ahead_ms;

static int64_t set_clock_ms(Os *os) {
  (void)os;
  return os_now_ms(os_posix()) + clock_ahead_ms;
}

static Session *open_with_set_clock(void) {
  static OsMethods methods;
  static Os os = { &methods };
  methods = *os_posix()->methods;
  methods.now_ms = set_clock_ms;
  StoreOptions options = quiet;
  options.os = &os;
  return open_store(options);
}

static void put_until(Session *s, const char *key, int64_t expiry) {
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, text(key), text("v"), expiry, KV_PUT_ALWAYS, NULL));
}

static bool is_there(Session *s, const char *key) {
  int64_t expiry;
  return kv_exists(s, FAMILY_DEFAULT_ID, text(key), &expiry, NULL) == KVSTORE_OK;
}

TEST(engine_kv, a_clock_that_steps_back_a_little_revives_nothing) {
  for (int reopened = 0; reopened < 2; reopened++) {
    const int64_t base = reopened * HOUR_MS; /* the second round is later than all of the first */
    clock_ahead_ms = base;
    Session *s = open_with_set_clock();
    CHECK_OK(session_begin(s, true));
    put_until(s, "a", set_clock_ms(NULL) + 10 * MINUTE_MS);
    put_until(s, "b", set_clock_ms(NULL) + 10 * MINUTE_MS);
    CHECK_OK(session_commit(s));
    CHECK(is_there(s, "a"));
    clock_ahead_ms = base + 50 * MINUTE_MS;
    CHECK(!is_there(s, "a"));
    clock_ahead_ms = base;
    if (reopened) {
      CHECK_OK(session_close(s));
      s = open_with_set_clock();
    }
    CHECK(!is_there(s, "b"));
    CHECK_OK(session_close(s));
  }
}

TEST(engine_kv, a_clock_that_was_far_ahead_is_forgotten_when_it_is_set_right) {
  for (int reopened = 0; reopened < 2; reopened++) {
    Session *s = open_with_set_clock();
    clock_ahead_ms = INT64_C(20) * 365 * 24 * HOUR_MS;
    put_until(s, "wrong", set_clock_ms(NULL) + HOUR_MS);
    CHECK(is_there(s, "wrong"));
    if (reopened) CHECK_OK(session_close(s));
    clock_ahead_ms = 0;
    if (reopened) s = open_with_set_clock();
    put_until(s, "right", set_clock_ms(NULL) + HOUR_MS);
    CHECK(is_there(s, "right"));
    clock_ahead_ms = 2 * HOUR_MS;
    CHECK(!is_there(s, "right"));
    clock_ahead_ms = 0;
    CHECK_OK(session_close(s));
  }
}

/* ---- a transaction whose spill finds the disk full ---- */

enum { SPILLED_KEYS = 3000, SPILLED_BYTES = 2000 };

/* Both families' rows go into runs of their own when the record is full; the disk is full from the n-th extent on.
 * True: there were fewer than n. */
static bool spill_on_a_full_disk(uint64_t n, Status *put_failed, Status *committed) {
  Os *memory;
  FaultOs *fault;
  Session *s;
  uint32_t other;
  uint8_t value[SPILLED_BYTES] = { 1 };
  char key[16];
  CHECK_OK(os_memory_create(&memory));
  CHECK_OK(fault_os_create(memory, &fault));
  StoreOptions with = quiet;
  with.os = fault_os(fault);
  CHECK_OK(session_open("store", &with, &s));
  CHECK_OK(family_create(s, "other", FAMILY_KV, NULL, &other));
  put(s, "before", "1");
  CHECK_OK(session_begin(s, true));
  fault_os_arm(fault, FAULT_ALLOCATE, n, FAULT_NO_SPACE, true);
  *put_failed = KVSTORE_OK;
  for (int i = 0; i < SPILLED_KEYS && *put_failed == KVSTORE_OK; i++) {
    snprintf(key, sizeof key, "%06d", i);
    *put_failed = kv_put(s, i % 2 ? other : FAMILY_DEFAULT_ID, text(key), (Bytes){ value, sizeof value }, EXPIRY_NEVER,
                         KV_PUT_ALWAYS, NULL);
  }
  *committed = session_commit(s);
  bool none_failed = fault_os_failures(fault) == 0;
  fault_os_disarm(fault);
  check_value(s, "before", "1");
  KvValue out = { 0 };
  Status first = kv_get(s, FAMILY_DEFAULT_ID, text("000000"), &out);
  CHECK_STATUS(first, *committed == KVSTORE_OK ? KVSTORE_OK : KVSTORE_NOTFOUND);
  if (first == KVSTORE_OK) memory_release(out.data);
  CHECK_OK(session_close(s));
  fault_os_destroy(fault);
  os_memory_destroy(memory);
  return none_failed;
}

TEST(engine_kv, a_transaction_that_cannot_be_kept_on_a_full_disk_says_so_at_its_commit) {
  uint32_t refused = 0;
  Status put_failed, committed;
  for (uint64_t n = 1; !spill_on_a_full_disk(n, &put_failed, &committed); n += 13) {
    CHECK(put_failed == KVSTORE_OK || put_failed == KVSTORE_FULL);
    CHECK(committed == KVSTORE_OK || committed == KVSTORE_FULL);
    refused += put_failed == KVSTORE_FULL && committed == KVSTORE_FULL;
  }
  CHECK_OK(put_failed);
  CHECK_OK(committed);
  CHECK(refused > 0); /* one family's rows had left already: the transaction could not keep them */
}
