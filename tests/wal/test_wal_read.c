#include "base/hash.h"
#include "tests/support/test.h"
#include "tests/wal/log_fixture.h"
#include "wal/wal.h"

enum { SMALL = 16 << 10 };

/* Follows to the log's end; fillers and breaks are stepped over. */
static void follow(const Log *log, const Wal *wal, WalCursor *at, WalWindow *window, size_t *next) {
  while (at->position < log->tail.position) {
    WalRecord record;
    CHECK_OK(wal_read(wal, at, log->tail.position, window, &record));
    CHECK_INT(record.whole.length, record.header.kind == RECORD_FILLER ? RECORD_HEADER_BYTES : record.header.length);
    if (record.header.kind == RECORD_FILLER || record.header.kind == RECORD_BREAK) {
      CHECK_INT(record.operations.length, 0);
    } else {
      check_same(&log->written[(*next)++], &record);
    }
  }
  CHECK(cursor_equals(*at, log->tail));
  CHECK_INT(*next, log->count);
}

TEST(wal_read, follower_sees_every_record_of_many_laps) {
  uint64_t rounds = test_scaled(200);
  for (uint64_t seed = 0; seed < 10; seed++) {
    Log log;
    log_open(&log, SMALL << (seed % 3), seed);
    Wal *follower; /* as another process has it */
    CHECK_OK(wal_open(log.file, 0, &follower));
    WalCursor at = wal_first(follower, 1);
    WalWindow window = { 0 };
    size_t next = 0;
    for (uint64_t round = 0; round < rounds; round++) {
      for (uint64_t i = test_random_below(&log.seed, 12); i > 0; i--) {
        size_t value_max = test_random(&log.seed) % 10 ? 200 : 3000;
        RecordKind kind = test_random(&log.seed) % 20 ? RECORD_TRANSACTION : RECORD_BOUNDARY;
        if (kind == RECORD_BOUNDARY) value_max = 500;
        Status status = log_append(&log, kind, 1, value_max);
        if (status == KVSTORE_FULL) break;
        CHECK_OK(status);
      }
      if (round % 50 == 49 && wal_fits(log.wal, log.start, log.tail.position, RECORD_BREAK, RECORD_BREAK_BYTES)) {
        CHECK_OK(wal_append_break(log.wal, &log.tail, log.start, log.synced));
      }
      follow(&log, follower, &at, &window, &next);
      log.start = log.synced = at.position;
    }
    CHECK(at.position > 3 * wal_capacity(log.wal) || rounds < 100);
    wal_window_release(&window);
    wal_close(follower);
    log_close(&log);
  }
}

TEST(wal_read, damage_is_refused_and_leaves_the_cursor) {
  Log log;
  log_open(&log, SMALL, 2);
  for (int i = 0; i < 3; i++) CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 100));
  WalCursor second = log.written[1].before;
  for (uint64_t b = 0; b < log.written[1].length; b++) {
    uint8_t byte, flipped;
    uint64_t offset = WAL_HEADER_BYTES + second.position + b;
    CHECK_OK(os_read_exactly(log.file, offset, &byte, 1));
    flipped = byte ^ 0x10;
    CHECK_OK(os_write(log.file, offset, &flipped, 1));
    WalCursor at = wal_first(log.wal, 1);
    WalWindow window = { 0 };
    WalRecord record;
    CHECK_OK(wal_read(log.wal, &at, log.tail.position, &window, &record));
    CHECK_STATUS(wal_read(log.wal, &at, log.tail.position, &window, &record), KVSTORE_CORRUPT);
    CHECK(cursor_equals(at, second));
    wal_window_release(&window);
    CHECK_OK(os_write(log.file, offset, &byte, 1));
  }
  log_close(&log);
}

TEST(wal_read, record_that_passes_the_known_end_is_refused) {
  Log log;
  log_open(&log, SMALL, 3);
  CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 1000));
  WalRecord record;
  for (uint64_t end = 16; end < log.tail.position; end += 16) {
    WalWindow window = { 0 };
    WalCursor at = wal_first(log.wal, 1);
    CHECK_STATUS(wal_read(log.wal, &at, end, &window, &record), KVSTORE_CORRUPT);
    CHECK(cursor_equals(at, wal_first(log.wal, 1)));
    wal_window_release(&window);
  }
  log_close(&log);
}

TEST(wal_read, follower_that_was_lapped_reads_nothing_wrong) {
  Log log;
  log_open(&log, SMALL, 4);
  WalWindow window = { 0 };
  WalCursor at = wal_first(log.wal, 1);
  while (log.tail.position < 3 * SMALL) {
    CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 300));
    log.start = log.tail.position;
  }
  WalRecord record;
  CHECK_STATUS(wal_read(log.wal, &at, log.tail.position, &window, &record), KVSTORE_CORRUPT);
  CHECK(cursor_equals(at, wal_first(log.wal, 1)));
  wal_window_release(&window);
  log_close(&log);
}

/* A window holds nothing from beyond the end that was known when it was read. */
TEST(wal_read, window_never_goes_stale) {
  Log log;
  log_open(&log, SMALL, 5);
  CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 100));
  WalCursor end = log.tail;
  CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 100)); /* a writer that dies before it stores the end */
  log_forget(&log, 1);
  log.tail = end;
  WalCursor at = wal_first(log.wal, 1);
  WalWindow window = { 0 };
  size_t next = 0;
  follow(&log, log.wal, &at, &window, &next);
  CHECK_OK(log_append(&log, RECORD_TRANSACTION, 2, 100)); /* over the dead one */
  follow(&log, log.wal, &at, &window, &next);
  wal_window_release(&window);
  log_close(&log);
}

/* A record of the given length field at position 0 with a right checksum. */
static Status read_crafted(const RecordHeader *header, uint64_t end) {
  Log log;
  log_open(&log, SMALL, 6);
  uint8_t bytes[1024] = { 0 };
  RecordHeader crafted = *header;
  crafted.previous_checksum = wal_log_id(log.wal);
  crafted.first_sequence = 1;
  record_header_write(&crafted, bytes);
  uint32_t covered = crafted.length < sizeof bytes ? crafted.length : (uint32_t)sizeof bytes;
  crafted.checksum = record_checksum(bytes, covered, (RecordKind)crafted.kind, wal_log_id(log.wal));
  record_header_write(&crafted, bytes);
  CHECK_OK(os_write(log.file, WAL_HEADER_BYTES, bytes, sizeof bytes));
  WalCursor at = wal_first(log.wal, 1);
  WalWindow window = { 0 };
  WalRecord record;
  Status status = wal_read(log.wal, &at, end, &window, &record);
  wal_window_release(&window);
  log_close(&log);
  return status;
}

TEST(wal_read, crafted_headers_with_right_checksums_are_refused) {
  RecordHeader right = { .length = 64, .kind = RECORD_TRANSACTION };
  CHECK_OK(read_crafted(&right, SMALL));
  RecordHeader short_filler = { .length = 64, .kind = RECORD_FILLER };
  CHECK_STATUS(read_crafted(&short_filler, SMALL), KVSTORE_CORRUPT);
  RecordHeader whole_filler = { .length = SMALL, .kind = RECORD_FILLER };
  CHECK_OK(read_crafted(&whole_filler, SMALL));
  RecordHeader long_break = { .length = 96, .kind = RECORD_BREAK };
  CHECK_STATUS(read_crafted(&long_break, SMALL), KVSTORE_CORRUPT);
  RecordHeader beyond_ring = { .length = SMALL + 16, .kind = RECORD_TRANSACTION };
  CHECK_STATUS(read_crafted(&beyond_ring, 2 * SMALL), KVSTORE_CORRUPT);
  RecordHeader beyond_file = { .length = SMALL, .kind = RECORD_TRANSACTION };
  CHECK_STATUS(read_crafted(&beyond_file, SMALL), KVSTORE_CORRUPT);
  RecordHeader prophet = { .length = 64, .kind = RECORD_TRANSACTION, .synced = 16 };
  CHECK_STATUS(read_crafted(&prophet, SMALL), KVSTORE_CORRUPT);
}

/* Stands for a cipher: the header is there already, but for its checksum. */
static Status seal_by_xor(void *context, uint8_t *record, size_t length) {
  RecordHeader header;
  CHECK(record_header_read(record, &header));
  CHECK_INT(header.position, *(uint64_t *)context);
  CHECK_INT(header.first_sequence, 1);
  CHECK_INT(header.length, length);
  memset(record + RECORD_HEADER_BYTES, 0x5E, RECORD_SEAL_BYTES);
  for (size_t i = 96; i < length; i++) record[i] ^= 0x77;
  return KVSTORE_OK;
}

static Status seal_without_luck(void *context, uint8_t *record, size_t length) {
  (void)context;
  memset(record, 0, length);
  return status_fail(KVSTORE_IO, "no random bytes");
}

TEST(wal_read, sealed_record_comes_with_its_seal) {
  Log log;
  log_open(&log, SMALL, 7);
  Buffer record = { 0 };
  record_begin(&record, true);
  for (uint8_t i = 0; i < 30; i++) buffer_u8(&record, i);
  uint64_t position = log.tail.position;
  WalAppend how = { .kind = RECORD_TRANSACTION, .sequence_count = 1, .seal = seal_by_xor, .context = &position };
  CHECK_OK(wal_append(log.wal, &log.tail, &record, &how, NULL));
  WalCursor at = wal_first(log.wal, 1);
  WalWindow window = { 0 };
  WalRecord back;
  CHECK_OK(wal_read(log.wal, &at, log.tail.position, &window, &back));
  CHECK_INT(back.header.flags, RECORD_SEALED);
  CHECK_INT(back.operations.length, 30);
  CHECK(back.operations.data == back.whole.data + 96);
  for (uint8_t i = 0; i < 30; i++) CHECK_INT(back.operations.data[i], i ^ 0x77);
  for (size_t i = 0; i < RECORD_SEAL_BYTES; i++) CHECK_INT(back.whole.data[RECORD_HEADER_BYTES + i], 0x5E);
  wal_window_release(&window);
  buffer_release(&record);
  log_close(&log);
}

TEST(wal_read, a_record_that_cannot_be_sealed_is_not_appended) {
  Log log;
  log_open(&log, SMALL, 7);
  Buffer record = { 0 };
  record_begin(&record, true);
  buffer_u8(&record, 1);
  WalCursor before = log.tail;
  WalAppend how = { .kind = RECORD_TRANSACTION, .sequence_count = 1, .seal = seal_without_luck };
  CHECK_STATUS(wal_append(log.wal, &log.tail, &record, &how, NULL), KVSTORE_IO);
  CHECK_BYTES(&log.tail, &before, sizeof before);
  buffer_release(&record);
  log_close(&log);
}
