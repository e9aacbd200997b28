/* Who waits for its turn to write gets it soon, whatever the others do. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/counters.h"
#include "engine/engine.h"
#include "os/thread.h"
#include "tests/support/test.h"

enum { ROWS = 1000, COMMITS_MAX = 3000, TURNS = 20, PASSED_MAX = 100 };

typedef struct Greedy {
  Thread thread;
  Session *session;
  _Atomic uint32_t commits; /* of transactions that follow one another at once */
  atomic_bool enough;
} Greedy;

static void put_number(Session *session, uint32_t number) {
  char text[16];
  Bytes key = { (const uint8_t *)text, (size_t)snprintf(text, sizeof text, "%u", number) };
  CHECK_OK(kv_put(session, FAMILY_DEFAULT_ID, key, key, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static void write_greedily(void *context) {
  Greedy *g = context;
  while (!atomic_load(&g->enough) && atomic_load(&g->commits) < COMMITS_MAX) {
    CHECK_OK(session_begin(g->session, true));
    for (uint32_t i = 0; i < ROWS; i++) put_number(g->session, i);
    CHECK_OK(session_commit(g->session));
    atomic_fetch_add(&g->commits, 1);
  }
}

/* The other begins its next transaction within microseconds, sooner than who was woken runs. */
TEST(turns, who_begins_again_at_once_keeps_nobody_out) {
  char path[600];
  StoreOptions options = { .journal_mode = JOURNAL_WAL, .sync_level = SYNC_OFF, .busy_timeout_ms = 60000 };
  Greedy other = { 0 };
  Session *session;
  uint64_t gave_way = counter_get(COUNTER_writers_gave_way);
  uint32_t turns = 0, most = 0;
  snprintf(path, sizeof path, "%s/store", test_directory());
  CHECK_OK(session_open(path, &options, &session));
  CHECK_OK(session_open(path, &options, &other.session));
  CHECK_OK(thread_start(&other.thread, write_greedily, &other));
  while (atomic_load(&other.commits) < 2) thread_yield();
  for (; turns < TURNS || counter_get(COUNTER_writers_gave_way) == gave_way; turns++) {
    uint32_t before = atomic_load(&other.commits);
    if (before >= COMMITS_MAX) break;
    if (turns % 2) {
      put_number(session, ROWS);
    } else {
      CHECK_OK(session_begin(session, true));
      put_number(session, ROWS);
      CHECK_OK(session_commit(session));
    }
    uint32_t passed = atomic_load(&other.commits) - before;
    if (passed > most) most = passed;
  }
  atomic_store(&other.enough, true);
  thread_join(&other.thread);
  CHECK(counter_get(COUNTER_writers_gave_way) > gave_way);
  CHECK(turns >= TURNS);
  CHECK(most <= PASSED_MAX);
  CHECK_OK(session_close(other.session));
  CHECK_OK(session_close(session));
}
