/* fuzz_log.c - any bytes as a log: refused, or recovered; and what was recovered is read the same by a follower, goes
 * on with a break and a record behind it, and comes back whole with them.
 *
 * Input: mode u8 | bytes. Mode bit 0: checksums and chain are made right first, so that what stands behind them is
 * reached; bit 1: the bytes are the file from its header on, otherwise the ring of a log of ours; bit 2: a clean close
 * named an end, the last two bytes of the input times 16. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "wal/wal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CAPACITY = 16 << 10, HEAL = 1, WHOLE_FILE = 2, CLEAN = 4, RECORDS_MAX = 1000 };

/* A broken promise ends the program and says which. */
#define must(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))
static _Noreturn void broken(int line, const char *promise) {
  fprintf(stderr, "line %d: %s\n", line, promise);
  abort();
}

/* ---- the log ---- */

typedef struct FuzzLog {
  Os *os;
  OsFile *file;
  Wal *wal;
} FuzzLog;

/* Follows the records as recovery does and makes each checksum right, up to bytes that are no header of that place. */
static void heal(uint8_t *ring, uint64_t log_id) {
  uint64_t previous = log_id;
  uint32_t at = 0;
  for (int i = 0; i < RECORDS_MAX && CAPACITY - at >= RECORD_HEADER_BYTES; i++) {
    RecordHeader header;
    if (!record_header_read(ring + at, &header) || header.length > CAPACITY - at) return;
    header.position = at;
    header.previous_checksum = previous;
    record_header_write(&header, ring + at);
    header.checksum = record_checksum(ring + at, header.length, (RecordKind)header.kind, log_id);
    record_header_write(&header, ring + at);
    previous = header.checksum;
    at += header.length;
  }
}

static void put_ring(FuzzLog *log, unsigned mode, const uint8_t *data, size_t size) {
  static uint8_t ring[CAPACITY];
  memset(ring, 0, sizeof ring);
  if (size > sizeof ring) size = sizeof ring;
  if (size) memcpy(ring, data, size);
  if (mode & HEAL) heal(ring, wal_log_id(log->wal));
  must(os_write(log->file, WAL_HEADER_BYTES, ring, sizeof ring) == KVSTORE_OK);
}

static bool open_log(FuzzLog *log, unsigned mode, const uint8_t *data, size_t size) {
  must(os_memory_create(&log->os) == KVSTORE_OK);
  must(os_open(log->os, "log", OS_OPEN_CREATE, &log->file) == KVSTORE_OK);
  if (mode & WHOLE_FILE) {
    must(size == 0 || os_write(log->file, 0, data, size) == KVSTORE_OK);
    return wal_open(log->file, 0, &log->wal) == KVSTORE_OK;
  }
  must(wal_create(log->file, 0, CAPACITY, 1, &log->wal) == KVSTORE_OK);
  put_ring(log, mode, data, size);
  return true;
}

/* ---- what is asked of it ---- */

/* Every byte of a record is looked at. */
static Status apply(void *context, const WalRecord *record) {
  uint64_t *sum = context;
  must(record->header.kind == RECORD_TRANSACTION || record->header.kind == RECORD_BOUNDARY);
  OperationReader reader = operation_reader_over(record->operations);
  bool more = true;
  Operation op;
  while (operation_next(&reader, &op, &more) == KVSTORE_OK && more)
    *sum += checksum64(op.key.data, op.key.length, 0) + checksum64(op.payload.data, op.payload.length, 0);
  *sum += checksum64(record->whole.data, record->whole.length, 1);
  return KVSTORE_OK;
}

/* A follower that knows where the log ends finds the same records. */
static void follow(const FuzzLog *log, const WalRecovery *recovery) {
  WalCursor at = wal_first(log->wal, 1);
  WalWindow window = { 0 };
  uint64_t count = 0;
  while (at.position < recovery->tail.position) {
    WalRecord record;
    must(wal_read(log->wal, &at, recovery->tail.position, &window, &record) == KVSTORE_OK);
    count += record.header.kind == RECORD_TRANSACTION || record.header.kind == RECORD_BOUNDARY;
  }
  must(count == recovery->record_count && at.sequence == recovery->tail.sequence);
  wal_window_release(&window);
}

/* What is written behind a recovery is there at the next one, with everything before it. */
static void go_on(FuzzLog *log, const WalRecovery *recovery) {
  WalCursor tail = recovery->tail;
  Buffer record = { 0 };
  uint64_t sum = 0;
  record_begin(&record, false);
  record_append_put(&record, 1, INT64_MAX, (Bytes){ (const uint8_t *)"key", 3 }, (Bytes){ (const uint8_t *)"v", 1 });
  record_pad(&record);
  if (wal_fits(log->wal, 0, tail.position, RECORD_BREAK, RECORD_BREAK_BYTES) &&
      wal_append_break(log->wal, &tail, 0, 0) == KVSTORE_OK) {
    WalAppend how = { .kind = RECORD_TRANSACTION, .sequence_count = 1, .start = 0, .synced = 0 };
    bool appended = wal_append(log->wal, &tail, &record, &how, NULL) == KVSTORE_OK;
    WalRecovery again;
    must(wal_recover(log->wal, wal_first(log->wal, 1), WAL_END_UNKNOWN, apply, &sum, &again) == KVSTORE_OK);
    must(again.record_count == recovery->record_count + appended && again.tail.position == tail.position);
  }
  buffer_release(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzLog log = { 0 };
  unsigned mode = size ? data[0] : 0;
  size_t rest = size ? size - 1 : 0;
  if (open_log(&log, mode, data + 1, rest)) {
    uint64_t clean_end = WAL_END_UNKNOWN, sum = 0;
    if (mode & CLEAN && rest >= 2) clean_end = UINT64_C(16) * load_u16(data + size - 2);
    WalRecovery recovery;
    WalCursor first = wal_first(log.wal, 1);
    if (wal_recover(log.wal, first, clean_end, apply, &sum, &recovery) == KVSTORE_OK) {
      must(recovery.tail.position >= first.position);
      follow(&log, &recovery);
      if (clean_end == WAL_END_UNKNOWN) go_on(&log, &recovery);
    }
  }
  wal_close(log.wal);
  os_close(log.file);
  os_memory_destroy(log.os);
  return 0;
}
