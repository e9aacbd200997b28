/* The count of a kv family: exact at every snapshot, and seldom by walking the rows (COUNTER_counts_walked). The model
 * test compares it at random snapshots. */
#include <stdio.h>
#include <string.h>

#include "base/counters.h"
#include "engine/engine_internal.h"
#include "tests/support/test.h"

static const StoreOptions quiet = {
  .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .no_background = true, .log_bytes = 256 << 10, .grace_ms = 1
};

static Session *open_store(void) {
  static char path[512];
  Session *s = NULL;
  snprintf(path, sizeof path, "%s/store", test_directory());
  CHECK_OK(session_open(path, &quiet, &s));
  return s;
}

static void put_expiring(Session *s, int key, int64_t expiry) {
  char text[32];
  snprintf(text, sizeof text, "key%06d", key);
  Bytes bytes = { (const uint8_t *)text, strlen(text) };
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, bytes, bytes, expiry, KV_PUT_ALWAYS, NULL));
}

static void put(Session *s, int first, int count) {
  for (int i = 0; i < count; i++) put_expiring(s, first + i, EXPIRY_NEVER);
}

static void erase(Session *s, int first, int count) {
  char text[32];
  for (int i = 0; i < count; i++) {
    snprintf(text, sizeof text, "key%06d", first + i);
    CHECK_OK(kv_delete(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)text, strlen(text) }));
  }
}

static uint64_t counted(Session *s) {
  uint64_t count = UINT64_MAX;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  return count;
}

static uint64_t walks(void) { return counter_get(COUNTER_counts_walked); }

TEST(kv_count, a_new_store_never_walks) {
  Session *s = open_store();
  CHECK_INT(counted(s), 0);
  put(s, 0, 100);
  put(s, 50, 100); /* half of them once more */
  CHECK_INT(counted(s), 150);
  erase(s, 20, 10);
  CHECK_INT(counted(s), 140);
  put(s, 25, 1);
  CHECK_INT(counted(s), 141);
  CHECK_INT(walks(), 0);
  CHECK_OK(session_close(s));
}

TEST(kv_count, flushes_merges_and_reopening_carry_it_along) {
  Session *s = open_store();
  CHECK_INT(counted(s), 0);
  for (int round = 0; round < 8; round++) {
    put(s, round * 60, 100); /* the first 40 of the next round's are here already */
    erase(s, round * 60, 10);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK(counter_get(COUNTER_compactions) > 0);
  /* keys 0 to 519, of which each round took the first ten of its own away: those of round r lie in no later one */
  CHECK_INT(counted(s), 520 - 8 * 10);
  put(s, 1000, 1);
  erase(s, 100, 1);
  CHECK_INT(counted(s), 440);
  CHECK_OK(session_close(s));
  s = open_store();
  CHECK_INT(counted(s), 440);
  put(s, 2000, 5);
  CHECK_INT(counted(s), 445);
  CHECK_INT(walks(), 0);
  CHECK_OK(session_close(s));
}

TEST(kv_count, what_nobody_asked_for_is_walked_once) {
  Session *s = open_store();
  put(s, 0, 100);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(counted(s), 100);
  CHECK_INT(walks(), 1);
  put(s, 90, 20);
  CHECK_INT(counted(s), 110);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(counted(s), 110);
  CHECK_INT(walks(), 1);
  CHECK_OK(session_close(s));
}

TEST(kv_count, a_snapshot_keeps_its_own) {
  Session *s = open_store(), *old = NULL, *older = NULL;
  CHECK_OK(session_clone(s, &old));
  CHECK_OK(session_clone(s, &older));
  put(s, 0, 10);
  CHECK_OK(session_begin(older, false));
  put(s, 5, 10);
  erase(s, 0, 2);
  CHECK_OK(session_begin(old, false));
  put(s, 100, 7);
  CHECK_INT(counted(s), 20);
  CHECK_INT(counted(old), 13);
  CHECK_INT(counted(older), 10);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  put(s, 200, 1);
  CHECK_INT(counted(s), 21);
  CHECK_INT(counted(old), 13);
  CHECK_INT(counted(older), 10);
  CHECK_OK(family_clear(s, FAMILY_DEFAULT_ID));
  put(s, 0, 3);
  CHECK_INT(counted(s), 3);
  CHECK_INT(counted(old), 13);
  CHECK_INT(counted(older), 10);
  CHECK_INT(counted(s), 3);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(counted(old), 13);
  CHECK_INT(counted(s), 3);
  CHECK_OK(session_close(older));
  CHECK_OK(session_close(old));
  CHECK_OK(session_close(s));
}

TEST(kv_count, a_transaction_counts_its_own_writes_and_a_rollback_takes_them_back) {
  Session *s = open_store(), *other = NULL;
  CHECK_OK(session_clone(s, &other));
  put(s, 0, 10);
  CHECK_INT(counted(s), 10);
  CHECK_OK(session_begin(s, true));
  put(s, 5, 10);
  CHECK_INT(counted(s), 15);
  erase(s, 0, 1);
  CHECK_INT(counted(s), 14);
  CHECK_INT(counted(other), 10);
  CHECK_OK(family_clear(s, FAMILY_DEFAULT_ID));
  CHECK_INT(counted(s), 0);
  put(s, 0, 2);
  CHECK_INT(counted(s), 2);
  CHECK_OK(session_rollback(s));
  CHECK_INT(counted(s), 10);
  put(s, 20, 1); /* with the sequence of a row that was rolled back */
  CHECK_INT(counted(s), 11);
  CHECK_INT(counted(other), 11);
  CHECK_INT(walks(), 0);
  CHECK_OK(session_close(other));
  CHECK_OK(session_close(s));
}

TEST(kv_count, a_transaction_larger_than_the_log_is_counted) {
  Session *s = open_store();
  put(s, 0, 100);
  CHECK_INT(counted(s), 100);
  uint64_t adopted = counter_get(COUNTER_adopted_runs);
  CHECK_OK(session_begin(s, true));
  put(s, 50, 20000);
  CHECK_INT(counted(s), 20050);
  CHECK_OK(session_commit(s));
  CHECK(counter_get(COUNTER_adopted_runs) > adopted);
  CHECK_INT(counted(s), 20050);
  erase(s, 0, 60);
  CHECK_INT(counted(s), 19990);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(counted(s), 19990);
  CHECK_OK(session_close(s));
  s = open_store();
  CHECK_INT(counted(s), 19990);
  CHECK_OK(session_close(s));
}

TEST(kv_count, expired_keys_count_until_they_are_reclaimed) {
  Session *s = open_store();
  CHECK_INT(counted(s), 0);
  put(s, 0, 10);
  for (int i = 100; i < 130; i++) put_expiring(s, i, 1000); /* in 1970 */
  CHECK_INT(counted(s), 40);
  for (int round = 0; round < 4; round++) { /* enough runs for a merge, which leaves the expired ones behind */
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    put(s, 200 + round, 1);
  }
  CHECK(counter_get(COUNTER_compactions) > 0);
  CHECK_INT(counted(s), 14);
  CHECK_INT(counted(s), 14);
  CHECK_OK(session_close(s));
}

/* A count that was made from rows that are taken back later is nobody else's. */
TEST(kv_count, a_snapshot_inside_a_transaction_tells_nothing) {
  Session *s = open_store(), *inside = NULL;
  CHECK_INT(counted(s), 0);
  put(s, 0, 10);
  CHECK_OK(session_begin(s, true));
  put(s, 100, 5);
  CHECK_OK(session_freeze(s, &inside));
  CHECK_INT(counted(inside), 15);
  session_thaw(inside);
  CHECK_OK(session_rollback(s));
  CHECK_INT(counted(s), 10);
  put(s, 200, 1);
  CHECK_INT(counted(s), 11);
  CHECK_OK(session_close(s));
}

/* Both eras begin at 0 in their generations, and the one knows nothing of the other. */
TEST(kv_count, a_snapshot_before_a_clear_keeps_its_own_after_a_flush) {
  Session *s = open_store(), *before = NULL;
  CHECK_INT(counted(s), 0);
  put(s, 0, 10);
  CHECK_OK(session_freeze(s, &before));
  CHECK_OK(family_clear(s, FAMILY_DEFAULT_ID));
  put(s, 100, 3);
  CHECK_INT(counted(s), 3);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(counted(s), 3);
  CHECK_INT(counted(before), 10);
  CHECK_INT(counted(s), 3);
  session_thaw(before);
  CHECK_OK(session_close(s));
}

/* A transaction larger than the log's records becomes a run, of which a version before it does not know. */
TEST(kv_count, a_snapshot_before_an_adopted_run_keeps_its_own) {
  Session *s = open_store(), *before = NULL;
  CHECK_INT(counted(s), 0);
  put(s, 0, 10);
  CHECK_OK(session_freeze(s, &before));
  CHECK_OK(session_begin(s, true));
  put(s, 5, 20000);
  CHECK_OK(session_commit(s));
  CHECK(counter_get(COUNTER_adopted_runs) > 0);
  put(s, 30000, 1);
  CHECK_INT(counted(s), 20006);
  CHECK_INT(counted(before), 10);
  CHECK_INT(counted(s), 20006);
  session_thaw(before);
  CHECK_OK(session_close(s));
}

/* What is known at a sequence that no manifest had reached, when the next generation is adopted: a count to go on from
 * if nothing came between, and nothing if a merge in another process may have left expired rows behind there. */
TEST(kv_count, a_process_that_has_slept_through_generations_takes_the_manifests) {
  Family family = { .id = 7 };
  Era era = { .since = 0 };
  Manifest m = { .generation = 3, .replay = { .sequence = 101 } };
  mutex_init(&family.count.lock);
  family_count_adopt(&family, &m, &era, 50);
  CHECK(family.count.known);
  family.count.sequence = 120; /* counted since */
  family.count.keys = 60;
  m.generation = 4;
  m.replay.sequence = 111;
  family_count_adopt(&family, &m, &era, 55);
  CHECK_INT(family.count.sequence, 120);
  CHECK_INT(family.count.keys, 60);
  m.generation = 6; /* generation 5 has reclaimed five rows */
  family_count_adopt(&family, &m, &era, 50);
  CHECK_INT(family.count.sequence, 110);
  CHECK_INT(family.count.keys, 50);
  mutex_destroy(&family.count.lock);
}
