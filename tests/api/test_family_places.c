/* What was dropped or cleared leaves its place and its memory to others: of all processes, beside whoever writes. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/api/api_support.h"
#include "tests/support/children.h"

enum { PLACES = 4096 - 1 }; /* the default family has one */

static const KVColumnDefinition id_column = { "id", KVTABLE_TYPE_I64, 0, 0 };

static KVTable *make(KVStore *kv, const char *name) {
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, name, &id_column, 1, NULL, 0, &table));
  return table;
}

static void fill_places_with_dropped(KVStore *kv) {
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < PLACES; i++) {
    kvtable_close(make(kv, "moment"));
    CHECK_OK(kvtable_drop(kv, "moment"));
  }
  CHECK_OK(kvstore_commit(kv));
}

/* Nothing is settled but by call, or for lack of room in the log, which is large. */
static KVStore *open_waiting(const char *path) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with(NULL);
  options.busy_timeout_ms = 60000;
  options.log_bytes = 16 << 20;
  options.background_off = 1;
  CHECK_OK(kvstore_open_with(path, &kv, &options));
  return kv;
}

/* It reads once, so that it knows what was dropped; from then on it only writes. */
ROLE(follower) {
  KVStore *kv = open_waiting(path);
  CHECK(next_turn());
  check_text(kv, "key", "value");
  turn_done();
  CHECK(next_turn());
  put_text(kv, "other", "value");
  turn_done();
  CHECK(next_turn());
  KVTable *table = NULL;
  CHECK_OK(kvtable_open(kv, "moment", &table));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  turn_done();
}

TEST(family_places, a_process_that_follows_finds_those_of_dropped_ones_free_too) {
  if (test_threads_are_watched()) SKIP("it starts no thread, and takes ten seconds under the thread sanitizer");
  const char *path = path_of("store");
  KVStore *kv = open_waiting(path);
  put_text(kv, "key", "value");
  Child child = child_start("follower", path);
  fill_places_with_dropped(kv);
  turn(&child);
  kvtable_close(make(kv, "moment"));
  turn(&child);
  turn(&child);
  child_finish(&child);
  check_text(kv, "other", "value");
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

typedef struct Writer {
  KVStore *kv;
  _Atomic int has_begun, stop;
} Writer;

/* One transaction after the other, nearly without a gap: who makes a table waits for one of them. */
static void *write_on(void *context) {
  Writer *writer = context;
  while (!writer->stop) {
    CHECK_OK(kvstore_begin(writer->kv, 1));
    writer->has_begun = 1;
    for (int i = 0; i < 2000; i++) put_text(writer->kv, "key", "value");
    CHECK_OK(kvstore_commit(writer->kv));
  }
  return NULL;
}

TEST(family_places, those_of_dropped_ones_are_free_beside_a_writer) {
  const int rounds = (int)test_scaled(2);
  if (test_threads_are_watched()) SKIP("4,095 families are settled several times: a minute under the thread sanitizer");
  char name[32];
  KVStore *kv = open_waiting(path_of("store"));
  Writer writer = { NULL, 0, 0 };
  pthread_t thread;
  CHECK_OK(kvstore_clone(kv, &writer.kv));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < PLACES; i++) {
    (void)snprintf(name, sizeof name, "table%d", i);
    kvtable_close(make(kv, name));
  }
  CHECK_OK(kvstore_commit(kv));
  CHECK_INT(pthread_create(&thread, NULL, write_on, &writer), 0);
  for (int i = 0; i < rounds; i++) {
    (void)snprintf(name, sizeof name, "table%d", i);
    CHECK_OK(kvtable_drop(kv, name));
    writer.has_begun = 0;
    while (!writer.has_begun) continue;
    kvtable_close(make(kv, name));
  }
  writer.stop = 1;
  CHECK_INT(pthread_join(thread, NULL), 0);
  CHECK_OK(kvstore_close(writer.kv));
  CHECK_OK(kvstore_close(kv));
}

static uint64_t delta_bytes(KVStore *kv) {
  KVStoreMemoryUsage usage = KVSTORE_MEMORY_USAGE_INIT;
  CHECK_OK(kvstore_memory_usage(kv, &usage));
  return usage.delta_bytes;
}

TEST(family_places, what_was_cleared_over_and_over_is_settled_in_the_background) {
  enum { ROUNDS = 1000, STAY_MAX = 300, SETTLED_WITHIN_MS = 30000 };
  KVStore *kv = open_store();
  KVTable *table = make(kv, "moment");
  const KVValue id = kvvalue_i64(7);
  uint64_t of_one = 0;
  for (int i = 0; i < ROUNDS; i++) {
    CHECK_OK(kvtable_insert(table, &id, 1, 0, NULL));
    if (!i) of_one = delta_bytes(kv);
    CHECK_OK(kvtable_clear(table));
  }
  uint64_t since = test_now_ms();
  while (delta_bytes(kv) > STAY_MAX * of_one) CHECK(test_now_ms() - since < SETTLED_WITHIN_MS);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
