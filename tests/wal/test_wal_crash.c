/* test_wal_crash.c - random power cuts on the simulated disk: what was synced comes back, what comes back is a prefix
 * of this very history, and nothing of a dead future joins on. */
#include <stdio.h>
#include <stdlib.h>

#include "base/counters.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"
#include "tests/wal/log_fixture.h"
#include "wal/wal.h"

typedef enum Defect { DEFECT_NONE, DEFECT_NO_BREAK, DEFECT_LYING_SYNC } Defect;

typedef struct Campaign {
  SimDisk *disk;
  Log log;
  size_t first; /* the record at which the manifest says that replay starts */
  WalCursor from;
  uint64_t oldest; /* the generation that was durably raised to */
  Written *redo;   /* what the last crash lost, which the program does again */
  size_t redo_count, redo_next;
  Defect defect;
  const char *violation;
  uint64_t crashes, lost, in_flight_kept, joined_tails;
} Campaign;

/* ---- replay against the oracle, without stopping the test: planted defects must be found ---- */

static Status campaign_apply(void *context, const WalRecord *record) {
  Replay *replay = context;
  if (replay->next == replay->log->count) return status_fail(KVSTORE_GONE, "a record of a dead future");
  const Written *w = &replay->log->written[replay->next++];
  bool same = record->header.position == w->position && record->header.first_sequence == w->first_sequence &&
              record->operations.length == w->operations_length &&
              memcmp(record->operations.data, w->operations, w->operations_length) == 0;
  return same ? KVSTORE_OK : status_fail(KVSTORE_GONE, "another record than was written");
}

static void forget_redo(Campaign *c) {
  for (size_t i = 0; i < c->redo_count; i++) free(c->redo[i].operations);
  free(c->redo);
  c->redo = NULL;
  c->redo_count = c->redo_next = 0;
}

/* Moves the records that did not come back to where the program does them again from. */
static void keep_lost(Campaign *c, size_t alive) {
  forget_redo(c);
  c->redo_count = c->log.count - alive;
  c->redo = malloc((c->redo_count + 1) * sizeof *c->redo);
  for (size_t i = 0; i < c->redo_count; i++) c->redo[i] = c->log.written[alive + i];
  c->lost += c->redo_count;
  c->log.count = alive;
}

static bool recover(Campaign *c) {
  Replay replay = { &c->log, c->first };
  WalRecovery recovery;
  uint64_t oldest;
  Status status = wal_oldest(c->log.wal, &oldest);
  if (status != KVSTORE_OK || oldest < c->oldest) c->violation = "the header lost its oldest generation";
  if (c->violation) return false;
  status = wal_recover(c->log.wal, c->from, WAL_END_UNKNOWN, campaign_apply, &replay, &recovery);
  if (status != KVSTORE_OK)
    c->violation = status_last()->text;
  else if (recovery.tail.position < c->log.synced)
    c->violation = "a synced record is lost";
  if (c->violation) return false;
  if (replay.next == c->log.count && c->log.count > c->first && c->log.tail.position < recovery.tail.position) {
    c->in_flight_kept++;
  }
  keep_lost(c, replay.next);
  c->log.tail = recovery.tail;
  return true;
}

/* ---- a life ---- */

static Status append_some(Campaign *c) {
  Log *log = &c->log;
  if (c->redo_next < c->redo_count && test_random(&log->seed) % 4) {
    const Written *again = &c->redo[c->redo_next++];
    return log_append_bytes(log, again->kind, again->sequence_count, again->operations, again->operations_length);
  }
  return log_append(log, RECORD_TRANSACTION, 1 + (uint32_t)(test_random(&log->seed) % 2), 700);
}

static Status sync_all(Campaign *c) {
  Status status = wal_sync(c->log.wal);
  if (status == KVSTORE_OK) c->log.synced = c->log.tail.position;
  return status;
}

/* A checkpoint: all is durable, and replay starts at the tail (or a little before it). */
static Status checkpoint(Campaign *c) {
  Status status = sync_all(c);
  if (status != KVSTORE_OK) return status;
  c->first = c->log.count;
  c->from = c->log.tail;
  status = wal_raise_oldest(c->log.wal, c->oldest + 1);
  if (status == KVSTORE_OK) {
    c->oldest++;
    c->log.start = c->from.position;
  }
  return status;
}

/* Until the power goes, or the process is killed. */
static Status live(Campaign *c, int steps) {
  Log *log = &c->log;
  uint64_t recovered_to = log->tail.position;
  Status status = KVSTORE_OK;
  if (c->defect != DEFECT_NO_BREAK) status = wal_append_break(log->wal, &log->tail, log->start, log->synced);
  if (status == KVSTORE_FULL) { /* many recoveries without a checkpoint: no record before the break all the same */
    status = checkpoint(c);
    if (status == KVSTORE_OK) status = wal_append_break(log->wal, &log->tail, log->start, log->synced);
  }
  if (status == KVSTORE_OK) status = wal_rewrite_tail(log->wal, log->synced, recovered_to);
  while (status == KVSTORE_OK && steps-- > 0) {
    uint64_t dice = test_random(&log->seed) % 20;
    if (dice < 3)
      status = sync_all(c);
    else if (dice == 3)
      status = checkpoint(c);
    else
      status = append_some(c);
    if (status == KVSTORE_FULL) {
      log_forget(log, log->count - 1);
      status = checkpoint(c);
    }
  }
  return status;
}

/* Opens, recovers, lives, and dies. False when a rule was broken. */
static bool one_life(Campaign *c) {
  Log *log = &c->log;
  CHECK_OK(os_open(simdisk_os(c->disk), "/log", 0, &log->file));
  if (wal_open(log->file, 0, &log->wal) != KVSTORE_OK) {
    c->violation = "the log cannot be opened";
    os_close(log->file);
    return false;
  }
  bool fine = recover(c);
  bool power_cut = test_random(&log->seed) % 4 != 0;
  if (fine) {
    uint64_t calls = 1 + test_random_below(&log->seed, 60);
    if (power_cut) simdisk_crash_at(c->disk, simdisk_calls(c->disk) + calls);
    if (c->defect == DEFECT_LYING_SYNC) simdisk_ignore_sync(c->disk, 1 + test_random_below(&log->seed, 4));
    Status status = live(c, (int)test_random_below(&log->seed, 80));
    CHECK(status == KVSTORE_OK || (status == KVSTORE_IO && simdisk_power_is_off(c->disk)));
    if (power_cut) {
      CHECK_OK(simdisk_crash(c->disk, test_random(&log->seed)));
      c->crashes++;
    }
  }
  wal_close(log->wal);
  log->wal = NULL;
  os_close(log->file);
  return fine;
}

static void campaign_begin(Campaign *c, uint64_t seed, Defect defect) {
  *c = (Campaign){ .defect = defect, .oldest = 1 };
  CHECK_OK(simdisk_create(seed, &c->disk));
  OsFile *file;
  CHECK_OK(os_open(simdisk_os(c->disk), "/log", OS_OPEN_CREATE, &file));
  log_open_over(&c->log, simdisk_os(c->disk), file, 0, UINT64_C(16384) << seed % 3, seed);
  CHECK_OK(os_sync_directory(simdisk_os(c->disk), "/log"));
  c->log.keep_failed = true;
  c->from = c->log.tail;
  wal_close(c->log.wal);
  c->log.wal = NULL;
  os_close(file);
}

static void campaign_end(Campaign *c) {
  forget_redo(c);
  log_release(&c->log);
  simdisk_destroy(c->disk);
}

/* How many of the seeds showed a broken rule. */
static uint64_t run(uint64_t crashes_wanted, Defect defect, uint64_t *in_flight) {
  uint64_t violations = 0, crashes = 0, lost = 0;
  for (uint64_t seed = 1; crashes < crashes_wanted; seed++) {
    Campaign c;
    campaign_begin(&c, seed, defect);
    for (int life = 0; life < 30 && one_life(&c); life++) continue;
    if (c.violation && defect == DEFECT_NONE) fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, c.violation);
    violations += c.violation != NULL;
    crashes += c.crashes + (c.violation != NULL);
    lost += c.lost;
    *in_flight += c.in_flight_kept;
    campaign_end(&c);
  }
  CHECK(lost > crashes); /* else nothing was at stake */
  return violations;
}

TEST(wal_crash, power_cuts_keep_the_synced_and_a_prefix) {
  uint64_t in_flight = 0, wraps = counter_get(COUNTER_crash_log_wrap), breaks = counter_get(COUNTER_recovery_breaks);
  CHECK_INT(run(test_scaled(4000), DEFECT_NONE, &in_flight), 0);
  CHECK(in_flight > 0); /* records that were written and never acknowledged came back whole */
  CHECK(counter_get(COUNTER_crash_log_wrap) > wraps);
  CHECK(counter_get(COUNTER_recovery_breaks) > breaks);
}

TEST(wal_crash, without_the_break_dead_futures_are_found) {
  uint64_t in_flight = 0;
  CHECK(run(2000, DEFECT_NO_BREAK, &in_flight) > 0);
}

TEST(wal_crash, syncs_that_lie_are_found) {
  uint64_t in_flight = 0;
  CHECK(run(300, DEFECT_LYING_SYNC, &in_flight) > 0);
}
