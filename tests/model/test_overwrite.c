/* A store that overwrites its keys without end: it rests under twice the size of its rows, and never passes 2.3 times
 * that (the goals' section "Space"). Ten seconds at scale 1, with a log that has the share of the rows that the default
 * one has of a store of 900 MB; from scale 12 on, as much as that and the default log. The size of the file is looked
 * at all the time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "tests/support/children.h"

enum { KEYS = 400000, VALUE_BYTES = 100, BATCH = 1000, LOG_BYTES = 4 << 20, LONG = 12, LONG_TIMES = 16 };

static const char *store_path(void) {
  static char path[600];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static uint64_t file_bytes(void) {
  struct stat st;
  CHECK_INT(stat(store_path(), &st), 0);
  return (uint64_t)st.st_size;
}

static void put(Session *s, uint32_t i, uint32_t stamp) {
  char key[20];
  uint32_t value[VALUE_BYTES / 4];
  uint64_t random = (uint64_t)stamp << 32 | i;
  for (size_t w = 0; w < VALUE_BYTES / 4; w++) value[w] = (uint32_t)test_random(&random);
  value[0] = stamp;
  int length = snprintf(key, sizeof key, "key%013u", i * 2654435761u);
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, (size_t)length },
                  (Bytes){ (const uint8_t *)value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static void check_stamp(Session *s, uint32_t i, uint32_t stamp) {
  char key[20];
  KvValue value = { 0 };
  uint32_t found;
  int length = snprintf(key, sizeof key, "key%013u", i * 2654435761u);
  CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, (size_t)length }, &value));
  CHECK_INT(value.length, VALUE_BYTES);
  memcpy(&found, value.data, sizeof found);
  memory_release(value.data);
  CHECK_INT(found, stamp);
}

static Session *opened(const char *path, uint64_t log_bytes) {
  StoreOptions with = {
    .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .busy_timeout_ms = 60000, .log_bytes = log_bytes
  };
  Session *s = NULL;
  CHECK_OK(session_open(path, &with, &s));
  return s;
}

/* All rows in their first form, and nothing else: how long the file is then. */
static uint64_t load(Session *s, uint32_t keys) {
  for (uint32_t i = 0; i < keys; i += BATCH) {
    CHECK_OK(session_begin(s, true));
    for (uint32_t n = i; n < i + BATCH; n++) put(s, n, 0);
    CHECK_OK(session_commit(s));
  }
  CHECK_OK(session_vacuum(s, 0));
  return file_bytes();
}

typedef struct Overwriter {
  Session *session;
  uint32_t keys, stamp;
  uint32_t *stamps; /* what each key was last put with */
  uint64_t random, rows;
  uint64_t most; /* bytes of the file, ever */
} Overwriter;

static void overwrite_batch(Overwriter *o) {
  CHECK_OK(session_begin(o->session, true));
  o->stamp++;
  for (uint32_t n = 0; n < BATCH; n++) {
    uint32_t i = (uint32_t)test_random_below(&o->random, o->keys);
    put(o->session, i, o->stamp);
    o->stamps[i] = o->stamp;
  }
  CHECK_OK(session_commit(o->session));
  o->rows += BATCH;
  uint64_t now = file_bytes();
  if (now > o->most) o->most = now;
}

static void check_all(const Overwriter *o) {
  char *why = NULL;
  for (uint32_t i = 0; i < o->keys; i++) check_stamp(o->session, i, o->stamps[i]);
  CHECK_OK(session_check(o->session, &why));
}

TEST(overwrite, a_store_that_overwrites_its_keys_stays_small) {
  Overwriter o = { .keys = KEYS, .random = 1 };
  uint64_t log_bytes = LOG_BYTES, fixed = 0;
  if (test_scale() < 1) {
    o.keys = KEYS / 8;
    log_bytes = LOG_BYTES / 8;
    fixed = 4 << 20; /* what any store may have room for beside its rows */
  }
  if (test_scale() >= LONG) {
    o.keys = KEYS * LONG_TIMES;
    log_bytes = (uint64_t)LOG_BYTES * LONG_TIMES;
  }
  o.stamps = memory_allocate_zeroed(o.keys * sizeof *o.stamps);
  o.session = opened(store_path(), log_bytes);
  uint64_t live = load(o.session, o.keys), merges = counter_get(COUNTER_compactions);
  uint64_t end = test_now_ms() + (uint64_t)(10000 * test_scale());
  while (test_now_ms() < end) overwrite_batch(&o);
  CHECK_OK(session_maintain(o.session));
  uint64_t rest = file_bytes();
  fprintf(stderr, "%" PRIu64 " rows over %u keys: rows take %.1f MB; at most %.2f times that, at rest %.2f\n", o.rows,
          o.keys, (double)live / 1e6, (double)o.most / (double)live, (double)rest / (double)live);
  CHECK(o.most * 10 <= live * 23 + fixed * 10);
  CHECK(rest <= live * 2 + fixed);
  CHECK(o.rows < o.keys || counter_get(COUNTER_compactions) > merges);
  check_all(&o);
  CHECK_OK(session_close(o.session));
  memory_release(o.stamps);
}

/* ---- beside a reader that stays ---- */

enum { OLD_KEYS = 80000, OLD_LOG_BYTES = 1 << 20 };

static uint64_t sum_of_all(Session *s) {
  KvIterator *it = NULL;
  uint64_t sum = 0, rows = 0;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  CHECK_OK(kv_iterator_first(it));
  for (; !kv_iterator_eof(it); rows++) {
    Bytes value;
    CHECK_OK(kv_iterator_value(it, &value));
    sum += hash_key(value.data, value.length) ^ hash_key(kv_iterator_key(it).data, kv_iterator_key(it).length);
    CHECK_OK(kv_iterator_next(it));
  }
  kv_iterator_destroy(it);
  CHECK_INT(rows, OLD_KEYS);
  return sum;
}

/* One snapshot for its whole life, and it must stay what it was. */
ROLE(old_reader) {
  Session *s = opened(path, OLD_LOG_BYTES);
  CHECK_OK(session_begin(s, false));
  uint64_t sum = sum_of_all(s);
  while (next_turn()) {
    CHECK(sum_of_all(s) == sum);
    turn_done();
  }
  CHECK_OK(session_commit(s));
  CHECK_OK(session_close(s));
}

/* A snapshot costs once what it reads, however much is overwritten meanwhile; and that comes back with its end. */
TEST(overwrite, a_snapshot_of_another_process_keeps_what_it_reads_and_no_more) {
  Overwriter o = { .keys = OLD_KEYS, .random = 2 };
  o.stamps = memory_allocate_zeroed(o.keys * sizeof *o.stamps);
  o.session = opened(store_path(), OLD_LOG_BYTES);
  uint64_t live = load(o.session, o.keys);
  for (int i = 0; i < OLD_KEYS / BATCH; i++) overwrite_batch(&o);
  Child reader = child_start("old_reader", store_path());
  turn(&reader);
  for (uint64_t round = 0; round < test_scaled(12); round++) {
    for (int i = 0; i < OLD_KEYS / BATCH; i++) overwrite_batch(&o);
    turn(&reader);
  }
  child_finish(&reader);
  overwrite_batch(&o);
  CHECK_OK(session_checkpoint(o.session, CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(session_maintain(o.session));
  uint64_t rest = file_bytes();
  fprintf(stderr, "beside an old snapshot: rows take %.1f MB; at most %.2f times that, after it %.2f\n",
          (double)live / 1e6, (double)o.most / (double)live, (double)rest / (double)live);
  CHECK(o.most * 10 <= live * 38 + (40 << 20));
  CHECK(rest <= live * 2 + (4 << 20));
  check_all(&o);
  CHECK_OK(session_close(o.session));
  memory_release(o.stamps);
}
