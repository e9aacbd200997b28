/* The kv delta against a list of versions: every snapshot, rollbacks, kills, threads, no memory. */
#include "rowstore/kv_delta.h"

#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "os/thread.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- the model: rows in the order of their appends ---- */
typedef struct Version {
  uint32_t key; /* its place in Model.keys */
  uint32_t row;
  uint64_t sequence, killed_at; /* killed_at: UINT64_MAX never */
  int64_t expiry;
  uint32_t value_length;
  bool tombstone, rolled_back;
} Version;

typedef struct Kill {
  size_t version;
  uint64_t sequence;
} Kill;

typedef struct Model {
  KvDelta *delta;
  Bytes *keys; /* ascending */
  size_t key_count;
  Version *versions;
  size_t count, capacity;
  uint64_t sequence;
} Model;

static int compare_keys(const void *a, const void *b) {
  const Bytes *x = a, *y = b;
  return bytes_compare(x->data, x->length, y->data, y->length);
}

/* Distinct keys: some one byte, some 65,536, many with long common prefixes, many prefixes of others. */
static void make_keys(Model *m, size_t count, size_t length_max, uint64_t *seed) {
  m->keys = malloc(count * sizeof *m->keys);
  CHECK(m->keys != NULL);
  while (m->key_count < count) {
    size_t length = 1 + test_random_below(seed, m->key_count % 16 == 0 ? length_max : 24);
    uint8_t *key = malloc(length);
    CHECK(key != NULL);
    memset(key, 'k', length);
    for (size_t i = 0; i < 3; i++) key[length - 1 - test_random_below(seed, length)] = (uint8_t)test_random(seed);
    m->keys[m->key_count++] = (Bytes){ key, length };
    qsort(m->keys, m->key_count, sizeof *m->keys, compare_keys);
    for (size_t i = 1; i < m->key_count; i++) {
      if (compare_keys(&m->keys[i - 1], &m->keys[i]) != 0) continue;
      free((void *)m->keys[i].data);
      m->keys[i] = m->keys[--m->key_count];
      qsort(m->keys, m->key_count, sizeof *m->keys, compare_keys);
      break;
    }
  }
}

static void release_model(Model *m) {
  kv_delta_destroy(m->delta);
  for (size_t i = 0; i < m->key_count; i++) free((void *)m->keys[i].data);
  free(m->keys);
  free(m->versions);
}

/* The value of a version: its bytes follow from its place in the list. */
static uint8_t value_byte(size_t version, size_t i) { return (uint8_t)(version * 131 + i * 7 + (i >> 8)); }

static DeltaState expected_state(const Model *m, uint32_t key, uint64_t snapshot, size_t *version) {
  for (size_t i = m->count; i-- > 0;) {
    const Version *v = &m->versions[i];
    if (v->key != key || v->rolled_back || v->sequence > snapshot) continue;
    *version = i;
    if (v->killed_at <= snapshot) return DELTA_ABSENT;
    return v->tombstone ? DELTA_DELETED : DELTA_FOUND;
  }
  return DELTA_ABSENT;
}

static void check_row(const Model *m, size_t version, const KvRow *row) {
  const Version *v = &m->versions[version];
  CHECK_INT(row->row, v->row);
  CHECK_INT(row->sequence, v->sequence);
  CHECK_INT(row->expiry, v->expiry);
  CHECK_INT(row->tombstone, v->tombstone);
  CHECK_INT(row->value.length, v->value_length);
  for (size_t i = 0; i < v->value_length; i += v->value_length < 1000 ? 1 : v->value_length - 1) {
    CHECK_INT(row->value.data[i], value_byte(version, i));
  }
}

static void check_find(const Model *m, uint32_t key, uint64_t snapshot) {
  Bytes k = m->keys[key];
  KvRow row;
  size_t version = 0;
  DeltaState expected = expected_state(m, key, snapshot, &version);
  CHECK_INT(kv_delta_find(m->delta, hash_key(k.data, k.length), k.data, k.length, snapshot, &row), expected);
  if (expected != DELTA_ABSENT) check_row(m, version, &row);
}

static void check_stand(const Model *m, const KvCursor *c, uint32_t key) {
  size_t version = 0;
  CHECK_INT(c->state, expected_state(m, key, c->snapshot, &version));
  CHECK(compare_keys(&c->key, &m->keys[key]) == 0);
  check_row(m, version, &c->row);
}

static bool is_there(const Model *m, uint32_t key, uint64_t snapshot) {
  size_t version;
  return expected_state(m, key, snapshot, &version) != DELTA_ABSENT;
}

static void check_walks(const Model *m, uint64_t snapshot, uint64_t *seed) {
  KvCursor c;
  kv_cursor_open(&c, m->delta, snapshot);
  CHECK(!kv_cursor_next(&c) && !kv_cursor_prev(&c));
  bool there = kv_cursor_first(&c);
  for (uint32_t key = 0; key < m->key_count; key++) {
    if (!is_there(m, key, snapshot)) continue;
    CHECK(there);
    check_stand(m, &c, key);
    there = kv_cursor_next(&c);
  }
  CHECK(!there && !kv_cursor_next(&c));
  there = kv_cursor_last(&c);
  for (uint32_t key = (uint32_t)m->key_count; key-- > 0;) {
    if (!is_there(m, key, snapshot)) continue;
    CHECK(there);
    check_stand(m, &c, key);
    there = kv_cursor_prev(&c);
  }
  CHECK(!there);
  for (int i = 0; i < 20; i++) { /* seek, then a step each way */
    uint32_t wanted = (uint32_t)test_random_below(seed, m->key_count), up = wanted, down = wanted;
    Bytes k = m->keys[wanted];
    while (up < m->key_count && !is_there(m, up, snapshot)) up++;
    while (down < m->key_count && !is_there(m, down, snapshot)) down--; /* wraps below 0: none */
    CHECK_INT(kv_cursor_seek(&c, k.data, k.length), up < m->key_count);
    if (up < m->key_count) check_stand(m, &c, up);
    CHECK_INT(kv_cursor_seek_last(&c, k.data, k.length), down < m->key_count);
    if (down < m->key_count) check_stand(m, &c, down);
  }
}

static void check_counts(Model *m) {
  DeltaCounts counts = kv_delta_counts(m->delta);
  uint64_t live = 0;
  for (uint32_t key = 0; key < m->key_count; key++) {
    size_t version;
    live += expected_state(m, key, UINT64_MAX - 1, &version) == DELTA_FOUND;
  }
  CHECK_INT(counts.rows, m->count);
  CHECK_INT(counts.live_rows, live);
  CHECK(counts.keys <= m->key_count && counts.bytes_used <= counts.bytes_held);
  const char *why = "";
  if (!kv_delta_check(m->delta, &why)) CHECK_STR(why, "");
}

/* ---- operations ---- */
static Status append(Model *m, uint32_t key, uint32_t value_length, bool tombstone, int64_t expiry) {
  if (m->count == m->capacity) {
    m->capacity = m->capacity * 2 + 64;
    m->versions = realloc(m->versions, m->capacity * sizeof *m->versions);
    CHECK(m->versions != NULL);
  }
  uint8_t *value = malloc(value_length + 1);
  CHECK(value != NULL);
  for (size_t i = 0; i < value_length; i++) value[i] = value_byte(m->count, i);
  Bytes k = m->keys[key];
  uint32_t row = 0;
  Status status = kv_delta_append(m->delta, hash_key(k.data, k.length), k.data, k.length, value, value_length, expiry,
                                  m->sequence + 1, tombstone, &row);
  free(value);
  if (status != KVSTORE_OK) return status;
  m->versions[m->count++] = (Version){ .key = key,
                                       .row = row,
                                       .sequence = ++m->sequence,
                                       .killed_at = UINT64_MAX,
                                       .expiry = expiry,
                                       .value_length = value_length,
                                       .tombstone = tombstone };
  Bytes of_row = kv_delta_row_key(m->delta, row);
  CHECK(compare_keys(&of_row, &k) == 0);
  return KVSTORE_OK;
}

static Status append_random(Model *m, uint64_t *seed) {
  uint64_t dice = test_random(seed);
  bool tombstone = dice % 8 == 0;
  uint32_t length = tombstone        ? 0
                    : dice % 64 == 1 ? VALUE_INLINE_MAX + (uint32_t)(dice >> 32) % 3 - 1
                                     : (uint32_t)(dice >> 40) % 60;
  int64_t expiry = dice >> 60 ? EXPIRY_NEVER : (int64_t)(dice & 0xffff);
  return append(m, (uint32_t)test_random_below(seed, m->key_count), length, tombstone, expiry);
}

/* A bulk load replaces the newest row of a key, when the delta has one. */
static bool kill_newest(Model *m, uint32_t key, Kill *kill) {
  size_t version;
  if (expected_state(m, key, m->sequence, &version) == DELTA_ABSENT) return false;
  *kill = (Kill){ version, ++m->sequence };
  m->versions[version].killed_at = kill->sequence;
  CHECK(kv_delta_kill(m->delta, m->versions[version].row, kill->sequence));
  CHECK(!kv_delta_kill(m->delta, m->versions[version].row, kill->sequence + 1)); /* dead already */
  return true;
}

static void take_back(Model *m, const Kill *kills, size_t from, size_t count) {
  for (size_t i = count; i-- > from;) {
    kv_delta_revive(m->delta, m->versions[kills[i].version].row, kills[i].sequence);
    m->versions[kills[i].version].killed_at = UINT64_MAX;
  }
}

static void go_back(Model *m, DeltaMark mark, size_t count, uint64_t sequence) {
  kv_delta_rollback(m->delta, mark);
  for (size_t i = count; i < m->count; i++) m->versions[i].rolled_back = true;
  m->sequence = sequence; /* nobody saw these numbers: the next transaction takes them again */
}

/* A transaction of appends and kills, with a statement in it that may fail, which may be rolled back. */
static void transact(Model *m, uint64_t *seed) {
  Kill kills[64];
  size_t kill_count = 0, count = m->count;
  uint64_t sequence = m->sequence, fate = test_random_below(seed, 6);
  DeltaMark mark = kv_delta_mark(m->delta);
  for (int statement = 0; statement < 3; statement++) {
    size_t statement_count = m->count, statement_kills = kill_count;
    uint64_t statement_sequence = m->sequence;
    DeltaMark statement_mark = kv_delta_mark(m->delta);
    for (uint64_t i = test_random_below(seed, 12); i > 0; i--) {
      uint32_t key = (uint32_t)test_random_below(seed, m->key_count);
      if (test_random_below(seed, 10) == 0)
        kill_count += kill_newest(m, key, &kills[kill_count]);
      else
        CHECK_OK(append_random(m, seed));
    }
    if (test_random_below(seed, 4) == 0) { /* kills go back before or after the rows */
      bool before = test_random_below(seed, 2);
      if (before) take_back(m, kills, statement_kills, kill_count);
      go_back(m, statement_mark, statement_count, statement_sequence);
      if (!before) take_back(m, kills, statement_kills, kill_count);
      kill_count = statement_kills;
    }
  }
  if (fate > 1) return;
  if (fate == 0) take_back(m, kills, 0, kill_count);
  go_back(m, mark, count, sequence);
  if (fate == 1) take_back(m, kills, 0, kill_count);
}

static void run_model(uint64_t seed, size_t key_count, size_t length_max, uint64_t transactions) {
  uint64_t held = memory_blocks_held();
  Model m = { .sequence = 0 };
  make_keys(&m, key_count, length_max, &seed);
  CHECK_OK(kv_delta_create(&m.delta));
  for (uint64_t t = 0; t < transactions; t++) {
    transact(&m, &seed);
    for (int i = 0; i < 10; i++) {
      check_find(&m, (uint32_t)test_random_below(&seed, key_count), test_random_below(&seed, m.sequence + 2));
    }
    if (t % 40 != 39) continue;
    check_counts(&m);
    check_walks(&m, m.sequence, &seed);
    check_walks(&m, test_random_below(&seed, m.sequence + 1), &seed);
  }
  for (size_t i = 0; i < m.count; i++) { /* whatever their state, rows keep what they are */
    KvRow row;
    kv_delta_row(m.delta, m.versions[i].row, &row);
    check_row(&m, i, &row);
    CHECK_INT(kv_delta_dead_at(m.delta, m.versions[i].row) == DEAD_ROLLED_BACK, m.versions[i].rolled_back);
  }
  kv_delta_freeze(m.delta);
  check_walks(&m, m.sequence, &seed);
  Kill kill;
  for (uint32_t key = 0; key < 10; key++) { /* a frozen delta may still lose rows to a bulk load */
    if (kill_newest(&m, key, &kill)) check_find(&m, key, m.sequence);
  }
  release_model(&m);
  CHECK_INT(memory_blocks_held(), held);
}

TEST(kv_delta, random_transactions_give_what_the_model_gives) { run_model(1, 300, 100, test_scaled(4000)); }
TEST(kv_delta, few_hot_keys_have_long_chains) { run_model(2, 5, 10, test_scaled(800)); }
TEST(kv_delta, keys_up_to_65536_bytes) { run_model(3, 200, KEY_BYTES_MAX, test_scaled(1500)); }

TEST(kv_delta, empty_finds_nothing) {
  Model m = { .sequence = 9 };
  uint64_t seed = 4;
  make_keys(&m, 3, 10, &seed);
  CHECK_OK(kv_delta_create(&m.delta));
  kv_delta_prefetch(m.delta, 1);
  kv_delta_prefetch_entry(m.delta, 1);
  check_find(&m, 0, 9);
  check_walks(&m, 9, &seed);
  check_counts(&m);
  CHECK(kv_delta_counts(m.delta).bytes_held < 16384);
  kv_delta_rollback(m.delta, kv_delta_mark(m.delta));
  release_model(&m);
}

TEST(kv_delta, values_of_every_kind_of_length) {
  static const uint32_t lengths[] = {
    0, 1, 7, 8, VALUE_INLINE_MAX - 1, VALUE_INLINE_MAX, VALUE_INLINE_MAX + 1, 5000000
  };
  Model m = { .sequence = 0 };
  uint64_t seed = 5;
  make_keys(&m, 4, 10, &seed);
  CHECK_OK(kv_delta_create(&m.delta));
  for (uint32_t i = 0; i < 2 * sizeof lengths / sizeof *lengths; i++) {
    CHECK_OK(append(&m, i % 4, lengths[i / 2], false, EXPIRY_NEVER));
    for (uint64_t s = 0; s <= m.sequence; s++) check_find(&m, i % 4, s);
  }
  CHECK_OK(append(&m, 0, 0, true, EXPIRY_NEVER)); /* a tombstone is no empty value */
  check_find(&m, 0, m.sequence);
  CHECK_INT(kv_delta_older(m.delta, m.versions[m.count - 1].row), m.versions[m.count - 5].row);
  CHECK(kv_delta_counts(m.delta).bytes_used > 10000000);
  release_model(&m);
}

TEST(kv_delta, revive_takes_back_its_own_kill_alone) {
  Model m = { .sequence = 0 };
  uint64_t seed = 6;
  make_keys(&m, 2, 10, &seed);
  CHECK_OK(kv_delta_create(&m.delta));
  CHECK_OK(append(&m, 0, 5, false, EXPIRY_NEVER));
  CHECK_OK(append(&m, 0, 6, false, EXPIRY_NEVER));
  kv_delta_revive(m.delta, m.versions[0].row, 77); /* replaced at 2, not killed at 77 */
  CHECK_INT(kv_delta_dead_at(m.delta, m.versions[0].row), 2);
  check_find(&m, 0, 1);
  check_find(&m, 0, 2);
  release_model(&m);
}

TEST(kv_delta, ascending_keys_are_put_at_the_end_without_a_search_and_found) {
  KvDelta *delta = NULL;
  enum { KEYS = 1000 };
  CHECK_OK(kv_delta_create(&delta));
  for (uint32_t i = 0; i < KEYS; i++) {
    uint8_t key[4] = { 'k', (uint8_t)(i / 256), (uint8_t)i };
    for (int again = 0; again < 2; again++) /* the second time the key is there: no new one */
      CHECK_OK(
        kv_delta_append(delta, hash_key(key, 3), key, 3, &i, sizeof i, EXPIRY_NEVER, 2 * i + 1 + again, false, NULL));
  }
  uint8_t between[4] = { 'k', 1, 7, 'x' };
  CHECK_OK(kv_delta_append(delta, hash_key(between, 4), between, 4, "v", 1, EXPIRY_NEVER, 2 * KEYS + 1, false, NULL));
  DeltaCounts counts = kv_delta_counts(delta);
  CHECK_INT(counts.keys, KEYS + 1);
  CHECK_INT(counts.keys_behind, KEYS);
  for (uint32_t i = 0; i < KEYS; i++) {
    uint8_t key[4] = { 'k', (uint8_t)(i / 256), (uint8_t)i };
    KvRow row;
    CHECK_INT(kv_delta_find(delta, hash_key(key, 3), key, 3, UINT64_MAX - 1, &row), DELTA_FOUND);
    CHECK_BYTES(row.value.data, &i, sizeof i);
  }
  const char *why = "";
  CHECK(kv_delta_check(delta, &why));
  kv_delta_destroy(delta);
}

TEST(kv_delta, a_large_delta_asks_for_large_pages) {
  KvDelta *delta = NULL;
  uint64_t before = counter_get(COUNTER_large_pages_asked);
  static uint8_t value[VALUE_INLINE_MAX];
  CHECK_OK(kv_delta_create(&delta));
  CHECK_OK(kv_delta_append(delta, 1, "a", 1, "v", 1, EXPIRY_NEVER, 1, false, NULL));
  CHECK_INT(counter_get(COUNTER_large_pages_asked), before); /* a small family stays small */
  for (uint32_t i = 0; i < (8u << 20) / VALUE_INLINE_MAX; i++)
    CHECK_OK(kv_delta_append(delta, 2, "b", 1, value, sizeof value, EXPIRY_NEVER, 2 + i, false, NULL));
  CHECK(counter_get(COUNTER_large_pages_asked) > before);
  kv_delta_destroy(delta);
}

TEST(kv_delta, a_failed_allocation_leaves_the_row_absent) {
  uint64_t n = 1, failures = 0, held = memory_blocks_held();
  for (bool failed = true; failed; n++) {
    uint64_t seed = 7;
    Model m = { .sequence = 0 };
    make_keys(&m, 250, 4000, &seed);
    failing_memory_install(n, false);
    Status created = kv_delta_create(&m.delta);
    if (created != KVSTORE_OK) {
      failures++;
      CHECK_INT(created, KVSTORE_NOMEM);
      CHECK(m.delta == NULL);
      CHECK_OK(kv_delta_create(&m.delta));
    }
    for (int i = 0; i < 600; i++) {
      uint64_t same = seed;
      if (append_random(&m, &seed) == KVSTORE_OK) continue;
      failures++;
      check_counts(&m);
      check_walks(&m, m.sequence + 1, &seed);
      seed = same;
      CHECK_OK(append_random(&m, &seed)); /* memory is back */
    }
    failed = failing_memory_failures() > 0;
    failing_memory_remove();
    check_counts(&m);
    check_walks(&m, m.sequence, &seed);
    release_model(&m);
    CHECK_INT(memory_blocks_held(), held);
  }
  CHECK(failures > 10);
}

/* ---- threads ----
 * Transaction t (from 1) writes key (t * 7) % KEYS and the key "~", both with value t, and takes sequences 2t - 1 and
 * 2t; every fifth key it writes is deleted instead. Before each one a transaction of the same sequences is rolled back.
 * So what a snapshot must show follows from its number. */
enum { THREAD_KEYS = 61 };

typedef struct Shared {
  KvDelta *delta;
  uint64_t transactions;
  _Atomic uint64_t visible;
} Shared;

static void put(Shared *s, const void *key, size_t length, uint64_t value, uint64_t sequence, bool tombstone) {
  CHECK_OK(kv_delta_append(s->delta, hash_key(key, length), key, length, &value, tombstone ? 0 : sizeof value,
                           EXPIRY_NEVER, sequence, tombstone, NULL));
}

static void thread_key(uint64_t t, uint8_t key[2]) {
  key[0] = 'k';
  key[1] = (uint8_t)(t * 7 % THREAD_KEYS);
}

static void write_transactions(Shared *s) {
  for (uint64_t t = 1; t <= s->transactions; t++) {
    uint8_t key[2], other[2];
    thread_key(t, key);
    thread_key(t + 1, other);
    DeltaMark mark = kv_delta_mark(s->delta);
    put(s, other, 2, UINT64_MAX, 2 * t - 1, false);
    put(s, "~", 1, UINT64_MAX, 2 * t, false);
    kv_delta_rollback(s->delta, mark);
    put(s, key, 2, t, 2 * t - 1, t % 5 == 0);
    put(s, "~", 1, t, 2 * t, false);
    atomic_store_explicit(&s->visible, 2 * t, memory_order_release);
  }
}

/* The last transaction up to `t` that wrote the key with this number, or 0. */
static uint64_t last_writer(uint64_t t, uint32_t number) {
  for (uint64_t back = 0; back < THREAD_KEYS && back < t; back++) {
    if ((t - back) * 7 % THREAD_KEYS == number) return t - back;
  }
  return 0;
}

static void check_value(const KvRow *row, DeltaState state, uint64_t writer) {
  CHECK_INT(state, writer % 5 ? DELTA_FOUND : DELTA_DELETED);
  CHECK_INT(row->sequence, 2 * writer - 1);
  if (state == DELTA_FOUND) CHECK_INT(load_u64(row->value.data), writer);
}

static void read_beside(void *context) {
  Shared *s = context;
  uint64_t visible = 0;
  while (visible < 2 * s->transactions) {
    uint64_t now = atomic_load_explicit(&s->visible, memory_order_acquire);
    CHECK(now >= visible);
    visible = now;
    uint64_t t = visible / 2;
    for (uint32_t number = 0; number < THREAD_KEYS; number++) {
      uint8_t key[2] = { 'k', (uint8_t)number };
      KvRow row;
      DeltaState state = kv_delta_find(s->delta, hash_key(key, 2), key, 2, visible, &row);
      uint64_t writer = last_writer(t, number);
      if (writer)
        check_value(&row, state, writer);
      else
        CHECK_INT(state, DELTA_ABSENT);
    }
    KvCursor c;
    kv_cursor_open(&c, s->delta, visible);
    bool there = kv_cursor_first(&c);
    for (uint32_t number = 0; number < THREAD_KEYS; number++) {
      uint64_t writer = last_writer(t, number);
      if (!writer) continue;
      CHECK(there && c.key.length == 2 && c.key.data[1] == number);
      check_value(&c.row, c.state, writer);
      there = kv_cursor_next(&c);
    }
    if (t == 0) {
      CHECK(!there);
      continue;
    }
    CHECK(there && c.key.length == 1);
    CHECK_INT(load_u64(c.row.value.data), t);
    CHECK(!kv_cursor_next(&c));
  }
}

TEST(kv_delta, readers_beside_a_writer_see_whole_transactions) {
  Shared s = { .transactions = test_scaled(60000) };
  CHECK_OK(kv_delta_create(&s.delta));
  Thread readers[3] = { { .running = false } };
  for (int i = 0; i < 3; i++) CHECK_OK(thread_start(&readers[i], read_beside, &s));
  write_transactions(&s);
  for (int i = 0; i < 3; i++) thread_join(&readers[i]);
  const char *why = "";
  if (!kv_delta_check(s.delta, &why)) CHECK_STR(why, "");
  kv_delta_destroy(s.delta);
}
