/* Commits that are on the disk when they return: one sync serves all who wait. */
#include <stdio.h>

#include "base/counters.h"
#include "engine/engine.h"
#include "os/thread.h"
#include "tests/support/test.h"

enum { WRITERS = 4, COMMITS_MAX = 20000 };

typedef struct Writer {
  Thread thread;
  Session *session;
  uint64_t shared_before; /* writes until the counter is above */
  uint32_t number, commits;
} Writer;

static void write_synced(void *context) {
  Writer *w = context;
  while (w->commits < COMMITS_MAX && counter_get(COUNTER_log_syncs_shared) <= w->shared_before) {
    char text[32];
    int length = snprintf(text, sizeof text, "%u of %u", ++w->commits, w->number);
    Bytes key = { (const uint8_t *)text, (size_t)length };
    CHECK_OK(kv_put(w->session, FAMILY_DEFAULT_ID, key, key, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  }
}

/* Each commit makes a sync or is served by another's, and some are served. */
TEST(group_commit, one_sync_serves_all_who_wait) {
  char path[600];
  StoreOptions options = { .journal_mode = JOURNAL_WAL, .sync_level = SYNC_FULL };
  Writer writers[WRITERS] = { 0 };
  snprintf(path, sizeof path, "%s/store", test_directory());
  uint64_t shared = counter_get(COUNTER_log_syncs_shared), commits = 0, count;
  for (uint32_t i = 0; i < WRITERS; i++) {
    writers[i].number = i;
    writers[i].shared_before = shared + 10;
    CHECK_OK(session_open(path, &options, &writers[i].session));
  }
  uint64_t syncs = counter_get(COUNTER_log_syncs);
  for (uint32_t i = 0; i < WRITERS; i++) CHECK_OK(thread_start(&writers[i].thread, write_synced, &writers[i]));
  for (uint32_t i = 0; i < WRITERS; i++) thread_join(&writers[i].thread);
  syncs = counter_get(COUNTER_log_syncs) - syncs;
  shared = counter_get(COUNTER_log_syncs_shared) - shared;
  for (uint32_t i = 0; i < WRITERS; i++) commits += writers[i].commits;
  CHECK(shared > 10);
  CHECK(syncs < commits);
  CHECK(syncs + shared >= commits);
  CHECK_OK(kv_count(writers[0].session, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, commits);
  for (uint32_t i = 0; i < WRITERS; i++) CHECK_OK(session_close(writers[i].session));
}
