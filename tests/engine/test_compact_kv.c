/* Merges of a kv family's runs: what they cost at once, what they leave behind, and what they never change. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "engine/engine_internal.h"
#include "tests/engine/numbered_pairs.h"
#include "tests/support/fault_os.h"
#include "tests/support/test.h"

enum { ROWS_MAX = 40000, DAY_MS = 24 * 3600 * 1000 };

static StoreOptions options(uint64_t grace_ms) {
  return (StoreOptions){ .journal_mode = JOURNAL_WAL,
                         .sync_level = SYNC_OFF,
                         .no_background = true,
                         .log_bytes = 1 << 20,
                         .grace_ms = grace_ms };
}

static const char *store_path(void) {
  static char path[600];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static Session *opened(uint64_t grace_ms) {
  StoreOptions with = options(grace_ms);
  Session *s = NULL;
  CHECK_OK(session_open(store_path(), &with, &s));
  return s;
}

static StoreInfo info_of(Session *s) {
  StoreInfo info;
  CHECK_OK(session_info(s, &info));
  return info;
}

/* What each key was last put in; 0: it is not there. */
static void check_rounds(Session *s, const uint32_t *rounds, uint32_t count) {
  uint64_t there = 0, counted;
  char text[16], *why = NULL;
  for (uint32_t i = 0; i < count; i++) {
    there += rounds[i] != 0;
    if (rounds[i])
      check_value(s, i, rounds[i]);
    else
      CHECK_STATUS(kv_exists(s, FAMILY_DEFAULT_ID, key_of(text, i), NULL, NULL), KVSTORE_NOTFOUND);
  }
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &counted));
  CHECK_INT(counted, there);
  CHECK_OK(session_check(s, &why));
}

static uint64_t count_of(Session *s) {
  uint64_t count;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  return count;
}

static void settle(Session *s) { CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL)); }

/* All rows lie in the level. */
static void load(Session *s, uint32_t rows, uint32_t *rounds) {
  put_range(s, 0, rows, 1, 1, EXPIRY_NEVER);
  for (uint32_t i = 0; i < rows; i++) rounds[i] = 1;
  CHECK_OK(session_vacuum(s, 0));
}

/* ---- what a call of maintenance takes in ---- */

/* The log holds 1 MiB. */
TEST(compact_kv, maintenance_by_call_takes_in_what_lies_in_memory_when_it_is_much) {
  static uint32_t rounds[1000];
  Session *s = opened(0);
  load(s, 1000, rounds);
  uint64_t generation = info_of(s).generation;
  put_range(s, 0, 20, 1, 2, EXPIRY_NEVER);
  for (uint32_t i = 0; i < 20; i++) rounds[i] = 2;
  CHECK_OK(session_maintain(s));
  CHECK_INT(info_of(s).generation, generation); /* 8 KiB stay in the log */
  put_range(s, 0, 400, 1, 3, EXPIRY_NEVER);
  for (uint32_t i = 0; i < 400; i++) rounds[i] = 3;
  CHECK_OK(session_maintain(s));
  CHECK(info_of(s).generation > generation);
  check_rounds(s, rounds, 1000);
  generation = info_of(s).generation;
  CHECK_OK(session_begin(s, true));
  CHECK_OK(session_maintain(s)); /* the transaction's own rows stay where they are */
  CHECK_OK(session_rollback(s));
  CHECK_INT(info_of(s).generation, generation);
  CHECK_OK(session_close(s));
}

/* ---- slices ---- */

static void overwrite_some(Session *s, uint32_t rows, uint32_t round, uint64_t *random, uint32_t *rounds) {
  uint32_t from = (uint32_t)test_random_below(random, rows / 2), step = 1 + (uint32_t)test_random_below(random, 5);
  put_range(s, from, rows, step, round, EXPIRY_NEVER);
  for (uint32_t i = from; i < rows; i += step) rounds[i] = round;
  if (round % 3) return;
  char text[16];
  CHECK_OK(session_begin(s, true));
  for (uint32_t i = round; i < rows; i += 7) {
    if (rounds[i]) CHECK_OK(kv_delete(s, FAMILY_DEFAULT_ID, key_of(text, i)));
    rounds[i] = 0;
  }
  CHECK_OK(session_commit(s));
}

TEST(compact_kv, runs_are_merged_slice_by_slice_and_answer_the_same) {
  enum { ROWS = 30000 };
  static uint32_t rounds[ROWS];
  Session *s = opened(0);
  uint64_t random = 5, slices = counter_get(COUNTER_crash_compaction_between_slices);
  uint32_t last = test_scale() < 1 ? 5 : 13;
  load(s, ROWS, rounds);
  for (uint32_t round = 2; round <= last; round++) {
    overwrite_some(s, ROWS, round, &random, rounds);
    settle(s);
    CHECK_OK(session_maintain(s));
  }
  CHECK(counter_get(COUNTER_crash_compaction_between_slices) - slices > last);
  check_rounds(s, rounds, ROWS);
  CHECK_OK(session_close(s));
  s = opened(0);
  check_rounds(s, rounds, ROWS);
  CHECK_OK(session_close(s));
}

/* A session that looks at the store whenever a slice has been published. */
static struct Watcher {
  Session *session;
  Session *writer; /* or NULL: writes at the first looks so much that it is flushed, and counts at each */
  uint32_t looks;
  uint64_t file_bytes, growth_most, count_most;
} watcher;

static void watch(Counter which, uint64_t hits) {
  (void)hits;
  if (which != COUNTER_crash_compaction_between_slices) return;
  struct Watcher *w = &watcher;
  uint64_t bytes = info_of(w->session).file_bytes;
  if (w->looks && bytes > w->file_bytes && bytes - w->file_bytes > w->growth_most)
    w->growth_most = bytes - w->file_bytes;
  w->file_bytes = bytes;
  w->looks++;
  if (!w->writer) return;
  uint64_t count = count_of(w->session);
  if (count > w->count_most) w->count_most = count;
  if (w->looks <= 2) put_range(w->writer, ROWS_MAX / 2, ROWS_MAX / 2 + 1400, 2, 2, EXPIRY_NEVER);
}

static void watch_with(Session *s, Session *writer) {
  watcher = (struct Watcher){ .session = s, .writer = writer };
  counter_hook_set(watch);
}

TEST(compact_kv, a_merge_takes_the_room_of_a_slice_at_once) {
  static uint32_t rounds[ROWS_MAX];
  Session *s = opened(0);
  load(s, ROWS_MAX, rounds); /* 16 MiB */
  for (uint32_t i = 0; i < ROWS_MAX; i += 2) rounds[i] = 2;
  watch_with(s, NULL);
  put_range(s, 0, ROWS_MAX, 2, 2, EXPIRY_NEVER);
  settle(s);
  CHECK_OK(session_maintain(s));
  counter_hook_set(NULL);
  CHECK(watcher.looks >= 4);
  CHECK(watcher.growth_most < info_of(s).extent_bytes / 3);
  check_rounds(s, rounds, ROWS_MAX);
  CHECK_OK(session_close(s));
}

/* Twenty new keys between each two of a narrow range: the level has one run there. */
TEST(compact_kv, very_many_rows_in_the_range_of_one_run_are_merged_in_many_slices_too) {
  enum { OLD = 2000, APART = 20, ROWS = OLD * APART };
  static uint32_t rounds[ROWS];
  Session *s = opened(0);
  put_range(s, 0, ROWS, APART, 1, EXPIRY_NEVER);
  for (uint32_t i = 0; i < ROWS; i += APART) rounds[i] = 1;
  CHECK_OK(session_vacuum(s, 0));
  uint64_t stopped = counter_get(COUNTER_merges_stopped_early);
  watch_with(s, NULL);
  put_range(s, 0, ROWS, 1, 2, EXPIRY_NEVER); /* too much for a record: adopted runs */
  for (uint32_t i = 0; i < ROWS; i++) rounds[i] = 2;
  put_range(s, 0, ROWS, 3, 3, EXPIRY_NEVER);
  for (uint32_t i = 0; i < ROWS; i += 3) rounds[i] = 3;
  settle(s);
  CHECK_OK(session_maintain(s));
  counter_hook_set(NULL);
  CHECK(counter_get(COUNTER_merges_stopped_early) > stopped);
  CHECK(watcher.growth_most < info_of(s).extent_bytes / 3);
  check_rounds(s, rounds, ROWS);
  CHECK_OK(session_close(s));
}

TEST(compact_kv, a_snapshot_from_before_a_merge_keeps_its_rows_through_all_slices) {
  static uint32_t rounds[ROWS_MAX], before[ROWS_MAX];
  Session *s = opened(0), *reader = NULL;
  uint64_t random = 9;
  load(s, ROWS_MAX, rounds);
  overwrite_some(s, ROWS_MAX, 2, &random, rounds);
  settle(s);
  CHECK_OK(session_clone(s, &reader));
  CHECK_OK(session_begin(reader, false));
  memcpy(before, rounds, sizeof before);
  for (uint32_t round = 3; round < 7; round++) {
    overwrite_some(s, ROWS_MAX, round, &random, rounds);
    settle(s);
    CHECK_OK(session_maintain(s));
  }
  check_rounds(reader, before, ROWS_MAX);
  CHECK_OK(session_commit(reader));
  check_rounds(reader, rounds, ROWS_MAX);
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
}

/* ---- what is worth a merge ---- */

TEST(compact_kv, checkpoints_of_a_few_keys_do_not_rewrite_a_large_family) {
  static uint32_t rounds[ROWS_MAX];
  Session *s = opened(0);
  load(s, ROWS_MAX, rounds);
  uint64_t merges = counter_get(COUNTER_compactions);
  for (uint32_t i = 0; i < 150; i++) {
    put_range(s, i * 100, i * 100 + 1, 1, 2, EXPIRY_NEVER);
    rounds[i * 100] = 2;
    settle(s);
    CHECK_OK(session_maintain(s));
  }
  CHECK_INT(counter_get(COUNTER_compactions), merges);
  check_rounds(s, rounds, ROWS_MAX);
  CHECK_OK(session_close(s));
}

static void put_one(Session *s, uint32_t i, uint32_t round) {
  char text[16];
  uint8_t value[VALUE_BYTES];
  value_of(value, i, round);
  CHECK_OK(
    kv_put(s, FAMILY_DEFAULT_ID, key_of(text, i), (Bytes){ value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

/* Each ends right after its rows became an adopted run, so that the log holds next to nothing of it. */
TEST(compact_kv, transactions_larger_than_the_log_keep_the_file_small) {
  enum { ROWS = 20000, ROUNDS = 60 };
  static uint32_t rounds[ROWS];
  Session *s = opened(0);
  load(s, ROWS, rounds);
  uint64_t live = info_of(s).file_bytes, most = 0;
  for (uint32_t round = 2, i = 0; round < 2 + ROUNDS; round++) {
    uint64_t adopted = counter_get(COUNTER_adopted_runs);
    CHECK_OK(session_begin(s, true));
    while (counter_get(COUNTER_adopted_runs) == adopted) {
      i = (i + 7) % ROWS;
      put_one(s, i, round);
      rounds[i] = round;
    }
    CHECK_OK(session_commit(s));
    uint64_t now = info_of(s).file_bytes;
    if (now > most) most = now;
  }
  CHECK(most * 10 <= live * 23);
  check_rounds(s, rounds, ROWS);
  CHECK_OK(session_close(s));
}

/* ---- expired rows ---- */

TEST(compact_kv, long_expired_rows_are_reclaimed) {
  for (int with_grace = 0; with_grace < 2; with_grace++) {
    Session *s = opened(with_grace ? DAY_MS : 1);
    CHECK_OK(family_clear(s, FAMILY_DEFAULT_ID));
    put_range(s, 0, 5000, 1, 1, session_now_ms(s) - 10000);
    put_range(s, 5000, 6000, 1, 1, EXPIRY_NEVER);
    settle(s);
    CHECK_OK(session_maintain(s));
    CHECK_INT(count_of(s), with_grace ? 6000 : 1000);
    for (uint32_t i = 5000; i < 6000; i++) check_value(s, i, 1);
    CHECK_OK(session_close(s));
  }
}

TEST(compact_kv, those_of_the_level_are_reclaimed_run_by_run) {
  static uint32_t rounds[ROWS_MAX];
  Session *s = opened(1);
  int64_t gone = session_now_ms(s) - 10000;
  put_range(s, 0, ROWS_MAX / 2, 1, 1, EXPIRY_NEVER);
  settle(s);
  put_range(s, ROWS_MAX / 2, ROWS_MAX, 1, 1, gone);
  settle(s);
  CHECK_OK(session_maintain(s));
  for (uint32_t i = 0; i < ROWS_MAX / 2; i++) rounds[i] = 1;
  check_rounds(s, rounds, ROWS_MAX);
  CHECK(info_of(s).extent_bytes < (uint64_t)ROWS_MAX / 2 * (VALUE_BYTES + 60));
  CHECK_OK(session_close(s));
}

TEST(compact_kv, a_few_expired_rows_are_not_worth_a_merge) {
  Session *s = opened(1);
  put_range(s, 0, 30, 1, 1, session_now_ms(s) - 10000);
  put_range(s, 30, 300, 1, 1, EXPIRY_NEVER);
  settle(s);
  uint64_t merges = counter_get(COUNTER_compactions);
  CHECK_OK(session_maintain(s));
  CHECK_INT(counter_get(COUNTER_compactions), merges);
  CHECK_INT(count_of(s), 300);
  CHECK_OK(session_close(s));
}

/* Rows that a slice has left behind still lie in the round's own runs, and go with these: a count that was taken
 * between the two, and carried on by a flush, must not be carried on any further. */
TEST(compact_kv, a_count_between_two_slices_is_not_believed_after_the_last) {
  static uint32_t rounds[ROWS_MAX];
  Session *s = opened(1), *writer = NULL;
  CHECK_OK(session_clone(s, &writer));
  load(s, ROWS_MAX, rounds);
  int64_t gone = session_now_ms(s) - 10000;
  watch_with(s, writer);
  put_range(s, 0, ROWS_MAX / 8, 1, 2, gone); /* all in what the first slices merge */
  for (uint32_t i = 0; i < ROWS_MAX / 8; i++) rounds[i] = 0;
  put_range(s, ROWS_MAX / 8, ROWS_MAX, 2, 2, EXPIRY_NEVER);
  for (uint32_t i = ROWS_MAX / 8; i < ROWS_MAX; i += 2) rounds[i] = 2;
  CHECK_INT(count_of(s), ROWS_MAX);
  settle(s);
  CHECK_OK(session_maintain(s));
  counter_hook_set(NULL);
  CHECK(watcher.looks >= 4);
  CHECK_INT(watcher.count_most, ROWS_MAX);
  check_rounds(s, rounds, ROWS_MAX);
  CHECK_OK(session_close(writer));
  CHECK_OK(session_close(s));
}

/* ---- the end of the file ---- */

TEST(compact_kv, a_file_that_holds_little_shortens_itself) {
  static uint32_t rounds[ROWS_MAX];
  Session *s = opened(0), *reader = NULL;
  load(s, ROWS_MAX, rounds);
  uint64_t before = info_of(s).file_bytes, shortened = counter_get(COUNTER_files_shortened);
  CHECK_OK(session_clone(s, &reader));
  CHECK_OK(session_begin(reader, false));
  CHECK_OK(family_clear(s, FAMILY_DEFAULT_ID));
  put_range(s, 0, 100, 1, 2, EXPIRY_NEVER);
  settle(s);
  CHECK_OK(session_maintain(s));
  CHECK(info_of(s).file_bytes >= before); /* a snapshot reads all of it */
  check_rounds(reader, rounds, ROWS_MAX);
  CHECK_OK(session_commit(reader));
  put_range(s, 100, 200, 1, 2, EXPIRY_NEVER);
  settle(s);
  CHECK_OK(session_maintain(s));
  CHECK(info_of(s).file_bytes < before / 3);
  CHECK(counter_get(COUNTER_files_shortened) > shortened);
  for (uint32_t i = 0; i < 200; i++) check_value(s, i, 2);
  CHECK_INT(count_of(reader), 200);
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
}

/* ---- failures ---- */

enum { FEW = 6000 };

typedef struct Faulty {
  Os *memory;
  FaultOs *fault;
  Session *session;
  uint64_t log_bytes;
} Faulty;

static void open_faulty(Faulty *f) {
  StoreOptions with = options(0);
  with.os = fault_os(f->fault);
  with.log_bytes = f->log_bytes;
  CHECK_OK(session_open("store", &with, &f->session));
}

/* A level, and on top of it runs for which a merge of several slices is due. */
static Faulty make_faulty(uint64_t log_bytes, uint32_t rounds[FEW]) {
  Faulty f = { .log_bytes = log_bytes };
  CHECK_OK(os_memory_create(&f.memory));
  CHECK_OK(fault_os_create(f.memory, &f.fault));
  open_faulty(&f);
  load(f.session, FEW, rounds);
  put_range(f.session, 0, FEW, 2, 2, EXPIRY_NEVER);
  for (uint32_t i = 0; i < FEW; i += 2) rounds[i] = 2;
  return f;
}

static void destroy_faulty(Faulty *f) {
  CHECK_OK(session_close(f->session));
  fault_os_destroy(f->fault);
  os_memory_destroy(f->memory);
}

static void check_failed_merge(uint64_t n, FaultHow how, uint64_t *failures, uint64_t *slices) {
  static uint32_t rounds[FEW];
  Faulty f = make_faulty(256 << 10, rounds);
  uint64_t before = counter_get(COUNTER_crash_compaction_between_slices);
  fault_os_arm(f.fault, how == FAULT_NO_SPACE ? FAULT_ALLOCATE : FAULT_WRITE, n, how, false);
  Status first = session_checkpoint(f.session, CHECKPOINT_FULL, NULL, NULL);
  Status second = session_maintain(f.session);
  *failures = fault_os_failures(f.fault);
  CHECK(*failures || (first == KVSTORE_OK && second == KVSTORE_OK));
  fault_os_disarm(f.fault);
  *slices += counter_get(COUNTER_crash_compaction_between_slices) - before;
  check_rounds(f.session, rounds, FEW);
  Status closed = session_close(f.session);
  CHECK(closed == KVSTORE_OK || *failures);
  open_faulty(&f);
  CHECK_OK(session_maintain(f.session));
  check_rounds(f.session, rounds, FEW);
  destroy_faulty(&f);
}

static void fail_at_every(FaultHow how, uint64_t step) {
  uint64_t failures = 1, slices = 0, runs = 0;
  if (test_scale() < 1) step *= 9;
  for (uint64_t n = 1; failures; n += step, runs++) check_failed_merge(n, how, &failures, &slices);
  CHECK(slices > runs);
}

TEST(compact_kv, a_merge_that_fails_at_any_write_loses_nothing) { fail_at_every(FAULT_SHORT, 3); }
TEST(compact_kv, a_merge_that_finds_no_space_loses_nothing) { fail_at_every(FAULT_NO_SPACE, 1); }

static Status put_at(Session *s, uint32_t i, uint32_t round, uint32_t *rounds) {
  char text[16];
  uint8_t value[VALUE_BYTES];
  value_of(value, i, round);
  Status status =
    kv_put(s, FAMILY_DEFAULT_ID, key_of(text, i), (Bytes){ value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL);
  if (status == KVSTORE_OK) rounds[i] = round;
  return status;
}

/* The disk is full for long: what is committed stays readable, commits go on while the file has room for them (a flush
 * needs less than was kept for it), and with the first free space everything is merged. */
TEST(compact_kv, a_disk_that_fills_up_during_merges_stops_no_reader_and_is_made_up_for) {
  static uint32_t rounds[FEW];
  Faulty f = make_faulty(256 << 10, rounds);
  uint32_t refused = 0, after_the_first = 0;
  fault_os_arm(f.fault, FAULT_ALLOCATE, 1, FAULT_NO_SPACE, true);
  for (uint32_t n = 0; refused < 20; n++) {
    Status status = put_at(f.session, n * 7 % FEW, 3 + n, rounds);
    CHECK(status == KVSTORE_OK || status == KVSTORE_FULL);
    refused += status == KVSTORE_FULL;
    after_the_first += refused && status == KVSTORE_OK;
    Status ignored = maintenance_run(session_store(f.session)); /* as the store's own thread: no more than is due */
    (void)ignored;
  }
  CHECK(after_the_first > 0);
  check_rounds(f.session, rounds, FEW);
  CHECK_OK(session_close(f.session)); /* what is acknowledged has its room */
  fault_os_disarm(f.fault);
  open_faulty(&f);
  check_rounds(f.session, rounds, FEW);
  CHECK_OK(session_maintain(f.session));
  put_range(f.session, 0, FEW, 1, 2, EXPIRY_NEVER);
  for (uint32_t i = 0; i < FEW; i++) rounds[i] = 2;
  settle(f.session);
  CHECK_OK(session_vacuum(f.session, 0));
  check_rounds(f.session, rounds, FEW);
  CHECK(info_of(f.session).file_bytes < (uint64_t)FEW * (VALUE_BYTES + 60) * 3 / 2);
  destroy_faulty(&f);
}

/* A flush joins the runs below it, each as long as all above, when it has the room; what is kept for it is for the
 * commits alone. */
TEST(compact_kv, a_flush_that_may_not_grow_the_file_joins_no_runs) {
  enum { ROWS = 20000 };
  static uint32_t rounds[ROWS];
  Faulty f = { .log_bytes = 1 << 20 };
  CHECK_OK(os_memory_create(&f.memory));
  CHECK_OK(fault_os_create(f.memory, &f.fault));
  open_faulty(&f);
  load(f.session, ROWS, rounds);
  static const uint32_t lengths[] = { 1920, 950, 470, 500 }; /* the last one stays in the log */
  for (uint32_t n = 0; n < 4; n++) {
    put_range(f.session, 0, lengths[n], 1, 2 + n, EXPIRY_NEVER);
    for (uint32_t i = 0; i < lengths[n]; i++) rounds[i] = 2 + n;
    if (n < 3) settle(f.session);
  }
  uint64_t end, pages = info_of(f.session).file_bytes / PAGE_BYTES;
  CHECK_OK(space_end(session_store(f.session), &end));
  CHECK_OK(session_begin(f.session, true)); /* so that the vacuum leaves the log alone */
  Session *other = NULL;
  StoreOptions with = options(0);
  with.os = fault_os(f.fault);
  CHECK_OK(session_open("store", &with, &other));
  CHECK_OK(session_vacuum(other, pages - end / PAGE_BYTES));
  CHECK_OK(session_close(other));
  CHECK_OK(session_rollback(f.session));
  CHECK_INT(info_of(f.session).file_bytes, end);
  fault_os_arm(f.fault, FAULT_ALLOCATE, 1, FAULT_NO_SPACE, true);
  CHECK_OK(session_checkpoint(f.session, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(info_of(f.session).log_bytes_used, 0);
  CHECK(fault_os_failures(f.fault) > 0);
  fault_os_disarm(f.fault);
  check_rounds(f.session, rounds, ROWS);
  destroy_faulty(&f);
}
