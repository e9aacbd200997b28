/* Who waits for its turn to write gets it soon, whatever the others do. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/counters.h"
#include "engine/engine.h"
#include "os/thread.h"
#include "tests/support/test.h"

enum { ROWS = 4000, TURNS = 50, PASSED_MAX = 2 * TURNS, TRIES_MAX = 1000, TIMEOUT_MS = 60000 };

typedef struct Other {
  Thread thread;
  Session *session;
  _Atomic uint32_t commits;
  atomic_bool enough;
} Other;

static void put_number(Session *session, uint32_t number) {
  char text[16];
  Bytes key = { (const uint8_t *)text, (size_t)snprintf(text, sizeof text, "%u", number) };
  CHECK_OK(kv_put(session, FAMILY_DEFAULT_ID, key, key, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static void put_within_transaction(Session *session, uint32_t first, uint32_t count) {
  CHECK_OK(session_begin(session, true));
  for (uint32_t i = 0; i < count; i++) put_number(session, first + i);
  CHECK_OK(session_commit(session));
}

static OsMethods methods;

/* 3 ms go by from one look to the next. */
static uint64_t hurried_ns(Os *os) {
  static _Atomic uint64_t now;
  (void)os;
  return atomic_fetch_add(&now, 3000000);
}

static Os *hurried_os(void) {
  static Os os = { &methods };
  methods = *os_posix()->methods;
  methods.monotonic_ns = hurried_ns;
  return &os;
}

static void open_both(Os *os, uint32_t my_timeout_ms, Session **mine, Other *other) {
  char path[600];
  StoreOptions options = {
    .os = os, .journal_mode = JOURNAL_WAL, .sync_level = SYNC_OFF, .busy_timeout_ms = TIMEOUT_MS
  };
  snprintf(path, sizeof path, "%s/store", test_directory());
  CHECK_OK(session_open(path, &options, &other->session));
  options.busy_timeout_ms = my_timeout_ms;
  CHECK_OK(session_open(path, &options, mine));
}

static void close_both(Session *mine, Other *other) {
  CHECK_OK(session_close(other->session));
  CHECK_OK(session_close(mine));
}

static void put_once(void *context) {
  Other *other = context;
  put_number(other->session, ROWS);
  atomic_fetch_add(&other->commits, 1);
}

/* A transaction for whose end the other waits, and another at once. */
static void write_twice_beside(Session *mine, Other *other, uint32_t number) {
  uint64_t waited = counter_get(COUNTER_writers_waited);
  CHECK_OK(session_begin(mine, true));
  put_number(mine, number);
  CHECK_OK(thread_start(&other->thread, put_once, other));
  while (counter_get(COUNTER_writers_waited) == waited) thread_yield();
  for (int i = 0; i < 10; i++) thread_yield();
  CHECK_OK(session_commit(mine));
  put_within_transaction(mine, number, 1);
  thread_join(&other->thread);
}

/* Again until the other sleeps, and not only is about to, when it is woken. */
TEST(turns, who_wakes_another_gives_way) {
  Other other = { 0 };
  Session *mine;
  uint64_t gave_way = counter_get(COUNTER_writers_gave_way);
  uint32_t tries = 0;
  open_both(hurried_os(), TIMEOUT_MS, &mine, &other);
  while (tries < TRIES_MAX && counter_get(COUNTER_writers_gave_way) == gave_way)
    write_twice_beside(mine, &other, tries++);
  CHECK(counter_get(COUNTER_writers_gave_way) > gave_way);
  CHECK_INT(atomic_load(&other.commits), tries);
  close_both(mine, &other);
}

/* It would be refused where it gave way to a transaction. */
TEST(turns, who_never_waits_gives_no_way) {
  Other other = { 0 };
  Session *mine;
  uint64_t gave_way = counter_get(COUNTER_writers_gave_way);
  open_both(hurried_os(), 0, &mine, &other);
  for (uint32_t i = 0; i < TURNS; i++) write_twice_beside(mine, &other, i);
  CHECK_INT(counter_get(COUNTER_writers_gave_way), gave_way);
  CHECK_INT(atomic_load(&other.commits), TURNS);
  close_both(mine, &other);
}

static void write_greedily(void *context) {
  Other *other = context;
  while (!atomic_load(&other->enough)) {
    put_within_transaction(other->session, 0, ROWS);
    atomic_fetch_add(&other->commits, 1);
  }
}

/* The other begins its next transaction within microseconds, sooner than who was woken runs. */
TEST(turns, who_begins_again_at_once_keeps_nobody_out) {
  Other other = { 0 };
  Session *mine;
  uint32_t passed = 0;
  open_both(os_posix(), TIMEOUT_MS, &mine, &other);
  CHECK_OK(thread_start(&other.thread, write_greedily, &other));
  while (atomic_load(&other.commits) < 2) thread_yield();
  for (int turn = 0; turn < TURNS && passed <= PASSED_MAX; turn++) {
    uint32_t before = atomic_load(&other.commits);
    if (turn % 2)
      put_number(mine, ROWS);
    else
      put_within_transaction(mine, ROWS, 1);
    passed += atomic_load(&other.commits) - before;
  }
  atomic_store(&other.enough, true);
  thread_join(&other.thread);
  CHECK(passed <= PASSED_MAX);
  close_both(mine, &other);
}
