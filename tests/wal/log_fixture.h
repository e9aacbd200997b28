/* log_fixture.h - a log in memory, and an oracle that remembers every record that went in. */
#ifndef COLONNADE_TESTS_WAL_LOG_FIXTURE_H
#define COLONNADE_TESTS_WAL_LOG_FIXTURE_H

#include <stdlib.h>

#include "base/limits.h"
#include "os/os.h"
#include "tests/support/test.h"
#include "wal/wal.h"

/* One record as it was appended. */
typedef struct Written {
  RecordKind kind;
  uint64_t position; /* where it begins */
  uint64_t length;
  uint64_t synced;
  uint64_t first_sequence;
  uint32_t sequence_count;
  WalCursor before; /* the cursor at which it was appended (its filler lies between) */
  WalCursor after;
  uint8_t *operations; /* a copy */
  size_t operations_length;
} Written;

typedef struct Log {
  Os *os;
  OsFile *file;
  Wal *wal;
  WalCursor tail;
  uint64_t start, synced;
  Written *written;
  size_t count, capacity;
  uint64_t seed;
  bool keep_failed; /* a record whose append failed is remembered too: it may be on the disk all the same */
} Log;

static inline void log_open_over(Log *log, Os *os, OsFile *file, uint64_t base, uint64_t capacity, uint64_t seed) {
  *log = (Log){ .os = os, .file = file, .seed = seed };
  CHECK_OK(wal_create(file, base, capacity, 1, &log->wal));
  log->tail = wal_first(log->wal, 1);
}

static inline void log_open(Log *log, uint64_t capacity, uint64_t seed) {
  Os *os;
  OsFile *file;
  CHECK_OK(os_memory_create(&os));
  CHECK_OK(os_open(os, "log", OS_OPEN_CREATE, &file));
  log_open_over(log, os, file, 0, capacity, seed);
}

/* Forgets the records from `count` on. */
static inline void log_forget(Log *log, size_t count) {
  while (log->count > count) free(log->written[--log->count].operations);
}

/* Everything but the Os and its file. */
static inline void log_release(Log *log) {
  log_forget(log, 0);
  free(log->written);
  wal_close(log->wal);
}

static inline void log_close(Log *log) {
  log_release(log);
  os_close(log->file);
  os_memory_destroy(log->os);
}

static inline Written *log_room_for_one(Log *log) {
  if (log->count == log->capacity) {
    log->capacity = log->capacity ? 2 * log->capacity : 64;
    log->written = realloc(log->written, log->capacity * sizeof *log->written);
    CHECK(log->written != NULL);
  }
  log->written[log->count] = (Written){ 0 };
  return &log->written[log->count];
}

/* Appends a record of these operations (it takes a sequence each). */
static inline Status log_append_bytes(Log *log, RecordKind kind, uint32_t operations, const void *bytes,
                                      size_t length) {
  Buffer record = { 0 };
  record_begin(&record, false);
  buffer_append(&record, bytes, length);
  record_pad(&record);
  CHECK_OK(buffer_status(&record));
  Written *w = log_room_for_one(log);
  *w = (Written){ .kind = kind,
                  .length = record.length,
                  .synced = log->synced,
                  .before = log->tail,
                  .first_sequence = log->tail.sequence,
                  .sequence_count = operations,
                  .position = wal_place(log->wal, log->tail.position, record.length),
                  .operations = malloc(length + 1),
                  .operations_length = length };
  if (length) memcpy(w->operations, bytes, length);
  WalAppend how = { .kind = kind, .sequence_count = operations, .start = log->start, .synced = log->synced };
  uint64_t position = w->position;
  Status status = wal_append(log->wal, &log->tail, &record, &how, &position);
  w->after = log->tail;
  if (status == KVSTORE_OK)
    CHECK_INT(position, w->position);
  else
    CHECK_INT(log->tail.position, w->before.position);
  if (status == KVSTORE_OK || log->keep_failed)
    log->count++;
  else
    free(w->operations);
  buffer_release(&record);
  return status;
}

/* Appends a record of that kind with `operations` puts of random keys, values of at most `value_max` bytes. */
static inline Status log_append(Log *log, RecordKind kind, uint32_t operations, size_t value_max) {
  static uint8_t noise[1 << 20];
  Buffer record = { 0 };
  record_begin(&record, false);
  for (uint32_t i = 0; i < operations; i++) {
    size_t length = value_max ? (size_t)test_random_below(&log->seed, value_max + 1) : 0;
    CHECK(length <= sizeof noise);
    for (size_t b = 0; b < length; b++) noise[b] = (uint8_t)test_random(&log->seed);
    uint64_t key = test_random(&log->seed);
    record_append_put(&record, 7, EXPIRY_NEVER, (Bytes){ (uint8_t *)&key, 1 + key % 8 }, (Bytes){ noise, length });
  }
  Status status =
    log_append_bytes(log, kind, operations, record.data + RECORD_HEADER_BYTES, record.length - RECORD_HEADER_BYTES);
  buffer_release(&record);
  return status;
}

/* The record, compared with what was written: every field and every byte. */
static inline void check_same(const Written *w, const WalRecord *record) {
  CHECK_INT(record->header.kind, w->kind);
  CHECK_INT(record->header.position, w->position);
  CHECK_INT(record->header.first_sequence, w->first_sequence);
  CHECK_INT(record->header.sequence_count, w->sequence_count);
  CHECK_INT(record->header.synced, w->synced);
  CHECK_INT(record->operations.length, w->operations_length);
  CHECK(w->operations_length == 0 || memcmp(record->operations.data, w->operations, w->operations_length) == 0);
}

/* What a replay is compared with: record `next` comes next. */
typedef struct Replay {
  const Log *log;
  size_t next;
} Replay;

static inline Status replay_apply(void *context, const WalRecord *record) {
  Replay *replay = context;
  CHECK(replay->next < replay->log->count);
  check_same(&replay->log->written[replay->next++], record);
  return KVSTORE_OK;
}

static inline bool cursor_equals(WalCursor a, WalCursor b) {
  return a.position == b.position && a.sequence == b.sequence && a.checksum == b.checksum;
}

#endif
