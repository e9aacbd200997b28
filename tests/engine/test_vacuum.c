/* What a vacuum gives back and leaves alone; what a backup holds. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "tests/engine/numbered_pairs.h"
#include "tests/support/test.h"

static const char *in_directory(const char *name) {
  static char paths[4][600];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
  return path;
}

static Session *opened(const char *name, uint64_t grace_ms) {
  StoreOptions with = { .journal_mode = JOURNAL_WAL,
                        .sync_level = SYNC_OFF,
                        .no_background = true,
                        .log_bytes = 1 << 20,
                        .grace_ms = grace_ms };
  Session *s = NULL;
  CHECK_OK(session_open(in_directory(name), &with, &s));
  return s;
}

static uint64_t file_bytes(const char *name) {
  struct stat st;
  CHECK_INT(stat(in_directory(name), &st), 0);
  return (uint64_t)st.st_size;
}

static void delete_range(Session *s, uint32_t from, uint32_t to, uint32_t step) {
  char text[16];
  CHECK_OK(session_begin(s, true));
  for (uint32_t i = from; i < to; i += step) CHECK_OK(kv_delete(s, FAMILY_DEFAULT_ID, key_of(text, i)));
  CHECK_OK(session_commit(s));
}

static uint64_t count_of(Session *s) {
  uint64_t count;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  return count;
}

static void check_integrity(Session *s) {
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
}

static void settle(Session *s) { CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL)); }

/* ---- giving back ---- */

TEST(vacuum, ten_pages_then_all_shrink_the_file_after_deletes) {
  Session *s = opened("store", 0);
  put_range(s, 0, 20000, 1, 1, EXPIRY_NEVER);
  CHECK_OK(session_close(s));
  s = opened("store", 0);
  delete_range(s, 0, 18000, 1);
  uint64_t before = file_bytes("store"), live = 2000 * VALUE_BYTES;
  CHECK_OK(session_vacuum(s, 10));
  uint64_t between = file_bytes("store");
  CHECK_INT(between, before - 10 * 4096);
  CHECK_OK(session_vacuum(s, 0));
  CHECK(file_bytes("store") < between);
  CHECK(file_bytes("store") < live * 3 / 2);
  CHECK_INT(count_of(s), 2000);
  for (uint32_t i = 18000; i < 20000; i++) check_value(s, i, 1);
  check_integrity(s);
  CHECK_OK(session_close(s));
  s = opened("store", 0);
  CHECK_INT(count_of(s), 2000);
  for (uint32_t i = 18000; i < 20000; i += 7) check_value(s, i, 1);
  CHECK_OK(session_close(s));
}

TEST(vacuum, extents_at_the_end_move_down_under_what_was_freed) {
  Session *s = opened("store", 0);
  FamilyInfo unused;
  uint32_t other = 0;
  CHECK_STATUS(family_find(s, "other", &unused), KVSTORE_NOTFOUND);
  CHECK_OK(family_create(s, "other", FAMILY_KV, NULL, &other));
  for (uint32_t round = 0; round < 8; round++) { /* the two families lie between each other */
    put_range(s, round * 2000, round * 2000 + 2000, 1, 1, EXPIRY_NEVER);
    settle(s);
    char text[16];
    uint8_t value[VALUE_BYTES];
    CHECK_OK(session_begin(s, true));
    for (uint32_t i = round * 500; i < round * 500 + 500; i++) {
      value_of(value, i, 2);
      CHECK_OK(kv_put(s, other, key_of(text, i), (Bytes){ value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
    }
    CHECK_OK(session_commit(s));
    settle(s);
  }
  CHECK_OK(family_clear(s, FAMILY_DEFAULT_ID));
  uint64_t moved = counter_get(COUNTER_extents_moved), live = 4000 * VALUE_BYTES;
  CHECK_OK(session_vacuum(s, 0));
  CHECK(counter_get(COUNTER_extents_moved) > moved);
  CHECK(file_bytes("store") < live * 3 / 2);
  char text[16];
  uint8_t value[VALUE_BYTES];
  for (uint32_t i = 0; i < 4000; i++) {
    KvValue found = { 0 };
    value_of(value, i, 2);
    CHECK_OK(kv_get(s, other, key_of(text, i), &found));
    CHECK_BYTES(found.data, value, VALUE_BYTES);
    memory_release(found.data);
  }
  check_integrity(s);
  CHECK_OK(session_close(s));
}

TEST(vacuum, what_a_snapshot_reads_stays_until_it_ends) {
  Session *s = opened("store", 0), *reader = NULL;
  put_range(s, 0, 10000, 1, 1, EXPIRY_NEVER);
  settle(s);
  CHECK_OK(session_clone(s, &reader));
  CHECK_OK(session_begin(reader, false));
  put_range(s, 0, 10000, 1, 2, EXPIRY_NEVER);
  delete_range(s, 1000, 10000, 1);
  CHECK_OK(session_vacuum(s, 0));
  uint64_t pinned = file_bytes("store");
  put_range(s, 0, 1000, 1, 3, EXPIRY_NEVER); /* into whatever is free */
  settle(s);
  CHECK_INT(count_of(reader), 10000);
  for (uint32_t i = 0; i < 10000; i += 3) check_value(reader, i, 1);
  CHECK_INT(count_of(s), 1000);
  CHECK_OK(session_commit(reader));
  CHECK_OK(session_vacuum(s, 0));
  CHECK(file_bytes("store") < pinned / 2);
  for (uint32_t i = 0; i < 1000; i++) check_value(s, i, 3);
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
}

/* Families of ascending size, one behind the other; every second one goes again. */
static void leave_gaps(Session *s, uint32_t families, uint32_t ids[]) {
  char name[16], text[16];
  uint8_t value[VALUE_BYTES];
  for (uint32_t f = 0; f < families; f++) {
    snprintf(name, sizeof name, "f%u", f);
    CHECK_OK(family_create(s, name, FAMILY_KV, NULL, &ids[f]));
    CHECK_OK(session_begin(s, true));
    for (uint32_t i = 0; i < 1000 + 100 * f; i++) {
      value_of(value, i, 1);
      CHECK_OK(kv_put(s, ids[f], key_of(text, i), (Bytes){ value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
    }
    CHECK_OK(session_commit(s));
    settle(s);
  }
  for (uint32_t f = 0; f < families; f += 2) CHECK_OK(family_drop(s, ids[f]));
  settle(s);
}

TEST(vacuum, what_a_snapshot_reads_does_not_make_the_file_longer) {
  enum { FAMILIES = 20 };
  uint32_t ids[FAMILIES];
  Session *s = opened("store", 0), *reader = NULL;
  leave_gaps(s, FAMILIES, ids);
  CHECK_OK(session_clone(s, &reader));
  CHECK_OK(session_begin(reader, false));
  uint64_t before = file_bytes("store");
  CHECK_OK(session_vacuum(s, 0));
  CHECK(file_bytes("store") <= before);
  CHECK_OK(session_commit(reader));
  CHECK_OK(session_vacuum(s, 0));
  CHECK(file_bytes("store") < before);
  check_integrity(s);
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
}

TEST(vacuum, expired_rows_go_when_their_grace_is_over) {
  for (int with_grace = 0; with_grace < 2; with_grace++) {
    const char *name = with_grace ? "kept" : "gone";
    Session *s = opened(name, with_grace ? 0 : 1); /* a day, a millisecond */
    put_range(s, 0, 5000, 1, 1, session_now_ms(s) - 10000);
    put_range(s, 5000, 6000, 1, 1, EXPIRY_NEVER);
    CHECK_OK(session_vacuum(s, 0));
    CHECK_INT(count_of(s), with_grace ? 6000 : 1000);
    uint64_t live = (with_grace ? 6000 : 1000) * VALUE_BYTES;
    CHECK(file_bytes(name) >= live && file_bytes(name) < live * 3 / 2);
    CHECK_OK(session_close(s));
  }
}

TEST(vacuum, a_table_gives_back_its_dead_rows) {
  Session *s = opened("store", 0);
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I64, 0, 0, (char *)"noise" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t table = 0;
  enum { ROWS = 100000 };
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &table));
  int64_t *ids = malloc(ROWS * sizeof *ids), *noise = malloc(ROWS * sizeof *noise);
  uint64_t random = 1;
  for (int64_t i = 0; i < ROWS; i++) {
    ids[i] = i;
    noise[i] = (int64_t)test_random(&random);
  }
  ColumnArray arrays[] = { { ids, NULL }, { noise, NULL } };
  CHECK_OK(table_write(s, table, &(ColumnBatch){ ROWS, 2, arrays, NULL }, TABLE_INSERT, NULL));
  settle(s);
  uint64_t before = file_bytes("store");
  CHECK_OK(session_begin(s, true));
  for (int64_t i = 0; i < ROWS; i++) { /* a quarter stays: too few are dead for a background merge */
    Value key = { .type = TYPE_I64, .i = i };
    if (i % 4 == 1) CHECK_OK(table_delete(s, table, &key, 1));
  }
  CHECK_OK(session_commit(s));
  CHECK_OK(session_vacuum(s, 0));
  CHECK(file_bytes("store") < before * 85 / 100);
  FamilyUsage usage;
  CHECK_OK(family_usage(s, table, &usage));
  CHECK_INT(usage.run_rows, ROWS * 3 / 4);
  CHECK_INT(usage.dead_rows, 0);
  memory_release(usage.columns);
  check_integrity(s);
  free(ids);
  free(noise);
  CHECK_OK(session_close(s));
}

TEST(vacuum, pages_that_lie_free_are_given_back_without_rewriting) {
  Session *s = opened("store", 0);
  put_range(s, 0, 5000, 1, 1, EXPIRY_NEVER);
  settle(s);
  put_range(s, 0, 5000, 1, 2, EXPIRY_NEVER);
  settle(s);
  uint64_t compactions = counter_get(COUNTER_compactions), before = file_bytes("store");
  CHECK_OK(session_vacuum(s, 1));
  CHECK_INT(counter_get(COUNTER_compactions), compactions);
  CHECK_INT(file_bytes("store"), before - 4096);
  CHECK_OK(session_close(s));
}

TEST(vacuum, a_vacuum_of_a_tight_file_changes_nothing) {
  Session *s = opened("store", 0);
  put_range(s, 0, 5000, 1, 1, EXPIRY_NEVER);
  CHECK_OK(session_vacuum(s, 0));
  uint64_t size = file_bytes("store");
  for (int i = 0; i < 3; i++) {
    CHECK_OK(session_vacuum(s, 0));
    CHECK(file_bytes("store") <= size);
  }
  put_range(s, 0, 100, 1, 2, EXPIRY_NEVER); /* and the next rows find room again */
  for (uint32_t i = 0; i < 5000; i++) check_value(s, i, i < 100 ? 2 : 1);
  CHECK_OK(session_close(s));
}

TEST(vacuum, inside_its_own_write_transaction_it_is_busy) {
  Session *s = opened("store", 0);
  CHECK_OK(session_begin(s, true));
  CHECK_STATUS(session_vacuum(s, 0), KVSTORE_BUSY);
  CHECK_OK(session_rollback(s));
  CHECK_OK(session_close(s));
}

TEST(vacuum, a_store_in_memory_shrinks_too) {
  StoreOptions with = { .journal_mode = JOURNAL_WAL, .no_background = true, .log_bytes = 1 << 20 };
  Session *s = NULL;
  StoreInfo info;
  CHECK_OK(session_open(NULL, &with, &s));
  put_range(s, 0, 10000, 1, 1, EXPIRY_NEVER);
  delete_range(s, 0, 9000, 1);
  CHECK_OK(session_info(s, &info));
  uint64_t before = info.file_bytes;
  CHECK_OK(session_vacuum(s, 0));
  CHECK_OK(session_info(s, &info));
  CHECK(info.file_bytes < before);
  CHECK(info.file_bytes < 1000 * VALUE_BYTES * 3 / 2);
  for (uint32_t i = 9000; i < 10000; i++) check_value(s, i, 1);
  CHECK_OK(session_close(s));
}

/* ---- backups ---- */

static Session *during; /* what the progress callback writes to */
static uint64_t calls, last_done, last_total;

static bool write_meanwhile(void *context, uint64_t done, uint64_t total) {
  (void)context;
  CHECK(done <= total && done >= last_done);
  if (during) {
    put_range(during, 0, 20000, 100, 9, EXPIRY_NEVER);
    if (calls == 1) settle(during);
  }
  calls++;
  last_done = done;
  last_total = total;
  return false;
}

static bool cancel(void *context, uint64_t done, uint64_t total) {
  (void)context;
  return done > total / 2;
}

TEST(backup, holds_what_was_committed_before_the_call_while_others_write) {
  Session *s = opened("store", 0);
  put_range(s, 0, 20000, 1, 1, EXPIRY_NEVER);
  settle(s);
  put_range(s, 0, 20000, 2, 2, EXPIRY_NEVER); /* in the log alone */
  CHECK_OK(session_clone(s, &during));
  CHECK_OK(session_backup(s, in_directory("copy"), write_meanwhile, NULL));
  CHECK(calls > 2);
  CHECK_INT(last_done, last_total);
  CHECK_OK(session_close(during));
  during = NULL;
  for (uint32_t i = 0; i < 20000; i += 100) check_value(s, i, 9);
  Session *copy = opened("copy", 0); /* beside its original */
  CHECK_INT(count_of(copy), 20000);
  for (uint32_t i = 0; i < 20000; i++) check_value(copy, i, i % 2 ? 1 : 2);
  check_integrity(copy);
  put_range(copy, 0, 100, 1, 5, EXPIRY_NEVER);
  CHECK_OK(session_close(copy));
  copy = opened("copy", 0);
  check_value(copy, 7, 5);
  check_value(copy, 101, 1);
  CHECK_OK(session_close(copy));
  CHECK_OK(session_close(s));
  CHECK(access(in_directory("copy-backup"), F_OK) != 0);
  CHECK(access(in_directory("copy-wal"), F_OK) != 0);
}

TEST(backup, takes_the_place_of_an_older_one_and_of_nothing_else) {
  Session *s = opened("store", 0), *copy;
  put_range(s, 0, 100, 1, 1, EXPIRY_NEVER);
  CHECK_OK(session_backup(s, in_directory("copy"), NULL, NULL));
  put_range(s, 0, 100, 1, 2, EXPIRY_NEVER);
  CHECK_OK(session_backup(s, in_directory("copy"), NULL, NULL));
  copy = opened("copy", 0);
  for (uint32_t i = 0; i < 100; i++) check_value(copy, i, 2);
  CHECK_STATUS(session_backup(s, in_directory("copy"), NULL, NULL), KVSTORE_BUSY); /* it is open */
  for (uint32_t i = 0; i < 100; i++) check_value(copy, i, 2);
  CHECK_OK(session_close(copy));
  CHECK_STATUS(session_backup(s, in_directory("store"), NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(session_backup(s, test_directory(), NULL, NULL), KVSTORE_ERROR);
  CHECK(session_backup(s, in_directory("nowhere/copy"), NULL, NULL) != KVSTORE_OK);
  int fd = open(in_directory("letter"), O_CREAT | O_WRONLY, 0644);
  CHECK_INT(write(fd, "Dear reader, this is no store.", 30), 30);
  close(fd);
  CHECK_STATUS(session_backup(s, in_directory("letter"), NULL, NULL), KVSTORE_ERROR);
  CHECK_INT(file_bytes("letter"), 30);
  CHECK_OK(session_close(s));
}

TEST(backup, a_cancelled_one_leaves_what_was_there) {
  Session *s = opened("store", 0), *copy;
  put_range(s, 0, 100, 1, 1, EXPIRY_NEVER);
  CHECK_OK(session_backup(s, in_directory("copy"), NULL, NULL));
  put_range(s, 0, 10000, 1, 2, EXPIRY_NEVER);
  CHECK_STATUS(session_backup(s, in_directory("copy"), cancel, NULL), KVSTORE_CANCELLED);
  CHECK_STATUS(session_backup(s, in_directory("other"), cancel, NULL), KVSTORE_CANCELLED);
  CHECK(access(in_directory("copy-backup"), F_OK) != 0);
  CHECK(access(in_directory("other"), F_OK) != 0);
  copy = opened("copy", 0);
  CHECK_INT(count_of(copy), 100);
  check_value(copy, 5, 1);
  CHECK_OK(session_close(copy));
  CHECK_OK(session_begin(s, true));
  CHECK_STATUS(session_backup(s, in_directory("copy"), NULL, NULL), KVSTORE_BUSY);
  CHECK_OK(session_rollback(s));
  CHECK_OK(session_close(s));
}

TEST(backup, what_a_cut_off_one_left_gives_it_nothing) {
  struct stat found;
  Session *s = opened("store", 0);
  put_range(s, 0, 100, 1, 1, EXPIRY_NEVER);
  FILE *f = fopen(in_directory("copy-backup"), "wb");
  CHECK(f && fputs("half a copy", f) >= 0 && fclose(f) == 0);
  CHECK_INT(chmod(in_directory("copy-backup"), 0666), 0);
  CHECK_INT(chmod(in_directory("store"), 0600), 0);
  CHECK_OK(session_backup(s, in_directory("copy"), NULL, NULL));
  CHECK(access(in_directory("copy-backup"), F_OK) != 0);
  CHECK_INT(stat(in_directory("copy"), &found), 0);
  CHECK_INT(found.st_mode & 0777, 0600);
  CHECK_OK(session_close(s));
  s = opened("copy", 0);
  CHECK_INT(count_of(s), 100);
  CHECK_OK(session_close(s));
}

TEST(backup, of_a_store_in_memory_is_a_file) {
  StoreOptions with = { .journal_mode = JOURNAL_WAL, .no_background = true, .log_bytes = 1 << 20 };
  Session *s = NULL;
  CHECK_OK(session_open(NULL, &with, &s));
  put_range(s, 0, 1000, 1, 1, EXPIRY_NEVER);
  CHECK_OK(session_backup(s, in_directory("copy"), NULL, NULL));
  CHECK_OK(session_close(s));
  s = opened("copy", 0);
  for (uint32_t i = 0; i < 1000; i++) check_value(s, i, 1);
  CHECK_OK(session_close(s));
}
