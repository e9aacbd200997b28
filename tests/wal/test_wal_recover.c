#include "base/counters.h"
#include "base/hash.h"
#include "tests/support/test.h"
#include "tests/wal/log_fixture.h"
#include "wal/wal.h"

enum { SMALL = 16 << 10 };

/* Recovery from record `first` on, each compared with what was written; how many came. */
static Status recover(const Log *log, size_t first, uint64_t clean_end, size_t *count, WalRecovery *recovery) {
  Replay replay = { log, first };
  WalCursor from = first < log->count ? log->written[first].before : log->tail;
  Status status = wal_recover(log->wal, from, clean_end, replay_apply, &replay, recovery);
  *count = replay.next - first;
  if (status == KVSTORE_OK) CHECK_INT(recovery->record_count, *count);
  return status;
}

TEST(wal_recover, empty_log_ends_where_it_begins) {
  Log log;
  log_open(&log, SMALL, 1);
  size_t count;
  WalRecovery recovery;
  CHECK_OK(recover(&log, 0, WAL_END_UNKNOWN, &count, &recovery));
  CHECK_INT(count, 0);
  CHECK(!recovery.torn);
  CHECK(cursor_equals(recovery.tail, wal_first(log.wal, 1)));
  CHECK_OK(recover(&log, 0, 0, &count, &recovery));
  log_close(&log);
}

TEST(wal_recover, random_logs_of_many_laps_come_back_whole) {
  uint64_t recoveries = counter_get(COUNTER_recoveries), rounds = test_scaled(60);
  for (uint64_t seed = 0; seed < rounds; seed++) {
    Log log;
    log_open(&log, SMALL << (seed % 4), seed);
    size_t first = 0;
    for (int i = 0; i < 300; i++) {
      size_t value_max = test_random(&log.seed) % 8 ? 100 : 3500;
      Status status = log_append(&log, RECORD_TRANSACTION, (uint32_t)test_random_below(&log.seed, 3), value_max / 2);
      if (status == KVSTORE_LIMIT) continue;
      if (status == KVSTORE_FULL) {
        first = log.count - test_random_below(&log.seed, log.count - first);
        log.start = first < log.count ? log.written[first].before.position : log.tail.position;
        continue;
      }
      CHECK_OK(status);
      if (test_random(&log.seed) % 5 == 0) log.synced = log.tail.position;
    }
    size_t count;
    WalRecovery recovery;
    CHECK_OK(recover(&log, first, WAL_END_UNKNOWN, &count, &recovery));
    CHECK_INT(count, log.count - first);
    CHECK(cursor_equals(recovery.tail, log.tail));
    CHECK_OK(recover(&log, first, log.tail.position, &count, &recovery)); /* a clean close */
    CHECK_INT(count, log.count - first);
    log_close(&log);
  }
  CHECK(counter_get(COUNTER_recoveries) >= recoveries + 2 * rounds);
}

/* ---- items: what lies in the ring, found by a loop of this test's own ---- */

typedef struct Item {
  uint64_t position, covered, synced;
  bool is_record; /* transaction or boundary */
} Item;

enum { ITEMS_MAX = 4096 };

static size_t items_of(const uint8_t *ring, uint64_t capacity, uint64_t from, uint64_t to, Item *items) {
  size_t count = 0;
  for (uint64_t at = from; at < to;) {
    const uint8_t *bytes = ring + at % capacity;
    uint32_t length = load_u32(bytes);
    CHECK(count < ITEMS_MAX && load_u64(bytes + 8) == at);
    items[count++] = (Item){ at, bytes[4] == 3 ? 56 : length, load_u64(bytes + 32), bytes[4] <= 2 };
    at += length;
    if (capacity - at % capacity < 80) at += capacity - at % capacity;
  }
  return count;
}

/* ---- every prefix ---- */

typedef enum Rest { REST_END_OF_FILE, REST_ZEROS, REST_FORMER_LAP } Rest;

static void check_prefixes(Rest rest) {
  enum { RING = 64 << 10 };
  static uint8_t former[RING], ring[RING];
  static Item items[ITEMS_MAX];
  Log log;
  log_open(&log, RING, 17);
  while (log.tail.position < RING) { /* the first lap */
    CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 400));
    log.start = log.tail.position;
  }
  size_t first = log.count;
  if (log.written[first - 1].position >= RING) first--;
  CHECK_OK(os_read_exactly(log.file, WAL_HEADER_BYTES, former, RING));
  log.start = log.synced = log.tail.position;
  while (log_append(&log, RECORD_TRANSACTION, 1, 400) == KVSTORE_OK) {
    if (test_random(&log.seed) % 4 == 0) log.synced = log.tail.position;
    if (log.count == first + 50) CHECK_OK(wal_append_break(log.wal, &log.tail, log.start, log.synced));
  }
  CHECK_OK(os_read_exactly(log.file, WAL_HEADER_BYTES, ring, RING));
  uint64_t end = log.tail.position - RING, step = (uint64_t)(1 / test_scale());
  CHECK(end > RING * 3 / 4 && end < RING);
  size_t item_count = items_of(ring, RING, log.written[first].before.position, log.tail.position, items);
  if (step == 0) step = 1;

  for (uint64_t length = end; length-- > 0;) {
    uint8_t byte = rest == REST_FORMER_LAP ? former[length] : 0;
    if (rest == REST_END_OF_FILE)
      CHECK_OK(os_truncate(log.file, WAL_HEADER_BYTES + length));
    else
      CHECK_OK(os_write(log.file, WAL_HEADER_BYTES + length, &byte, 1));
    if (rest == REST_END_OF_FILE || ring[length] != byte) { /* else the ring is as it was */
      while (item_count && items[item_count - 1].position - RING + items[item_count - 1].covered > length) item_count--;
    }
    if (length % step) continue;
    size_t expected = 0, count;
    for (size_t i = 0; i < item_count; i++) expected += items[i].is_record;
    WalRecovery recovery;
    CHECK_OK(recover(&log, first, WAL_END_UNKNOWN, &count, &recovery));
    CHECK_INT(count, expected);
  }
  log_close(&log);
}

TEST(wal_recover, every_prefix_before_the_end_of_the_file_gives_its_records) { check_prefixes(REST_END_OF_FILE); }
TEST(wal_recover, every_prefix_before_zeros_gives_its_records) { check_prefixes(REST_ZEROS); }
TEST(wal_recover, every_prefix_before_the_former_lap_gives_its_records) { check_prefixes(REST_FORMER_LAP); }

/* ---- every bit ---- */

TEST(wal_recover, every_flipped_bit_gives_a_prefix_or_corrupt) {
  static uint8_t ring[SMALL];
  static Item items[ITEMS_MAX];
  Log log;
  log_open(&log, SMALL, 19);
  while (log.tail.position < SMALL * 5 / 2) {
    CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 300));
    log.start = log.tail.position;
  }
  size_t first = log.count, bits_step = (size_t)(1 / test_scale()) | 1, corrupt = 0, torn = 0;
  log.synced = log.start;
  while (log_append(&log, RECORD_TRANSACTION, 1, 300) == KVSTORE_OK) {
    if (log.count % 12 == 0) log.synced = log.tail.position;
    if (log.count == first + 30) CHECK_OK(wal_append_break(log.wal, &log.tail, log.start, log.synced));
  }
  CHECK_OK(os_read_exactly(log.file, WAL_HEADER_BYTES, ring, SMALL));
  size_t item_count = items_of(ring, SMALL, log.written[first].before.position, log.tail.position, items);

  for (size_t bit = 0; bit < SMALL * 8; bit += bits_step) {
    uint64_t offset = bit / 8;
    uint8_t flipped = ring[offset] ^ (uint8_t)(1u << (bit % 8));
    CHECK_OK(os_write(log.file, WAL_HEADER_BYTES + offset, &flipped, 1));
    /* What a reader must say: the item that the bit lies in ends the log; a later one that knew it durable damns it. */
    size_t hit = 0, expected = 0;
    for (; hit < item_count; hit++) {
      uint64_t begin = items[hit].position % SMALL;
      if (offset >= begin && offset < begin + items[hit].covered) break;
      expected += items[hit].is_record;
    }
    Status verdict = KVSTORE_OK;
    for (size_t i = hit + 1; i < item_count; i++) {
      if (items[i].synced > items[hit].position) verdict = KVSTORE_CORRUPT;
    }
    size_t count;
    WalRecovery recovery;
    CHECK_INT(recover(&log, first, WAL_END_UNKNOWN, &count, &recovery), verdict);
    CHECK_INT(count, expected);
    Status clean = hit < item_count ? KVSTORE_CORRUPT : KVSTORE_OK;
    CHECK_INT(recover(&log, first, log.tail.position, &count, &recovery), clean);
    corrupt += verdict == KVSTORE_CORRUPT;
    torn += verdict == KVSTORE_OK && hit < item_count;
    CHECK_OK(os_write(log.file, WAL_HEADER_BYTES + offset, &ring[offset], 1));
  }
  CHECK(corrupt > 0 && torn > 0);
  log_close(&log);
}

/* ---- the verdict ---- */

TEST(wal_recover, torn_tail_is_no_error_and_is_named) {
  Log log;
  log_open(&log, SMALL, 20);
  for (int i = 0; i < 5; i++) CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 200));
  uint8_t zero[16] = { 0 };
  CHECK_OK(os_write(log.file, WAL_HEADER_BYTES + log.written[4].position + log.written[4].length - 16, zero, 16));
  size_t count;
  WalRecovery recovery;
  CHECK_OK(recover(&log, 0, WAL_END_UNKNOWN, &count, &recovery));
  CHECK_INT(count, 4);
  CHECK(recovery.torn);
  CHECK(cursor_equals(recovery.tail, log.written[4].before));
  log_close(&log);
}

TEST(wal_recover, positions_where_no_record_can_be_are_refused) {
  Log log;
  log_open(&log, SMALL, 21);
  WalRecovery recovery;
  WalCursor from = wal_first(log.wal, 1);
  Replay replay = { &log, 0 };
  from.position = 8;
  CHECK_STATUS(wal_recover(log.wal, from, WAL_END_UNKNOWN, replay_apply, &replay, &recovery), KVSTORE_CORRUPT);
  from.position = SMALL - 64;
  CHECK_STATUS(wal_recover(log.wal, from, WAL_END_UNKNOWN, replay_apply, &replay, &recovery), KVSTORE_CORRUPT);
  from.position = UINT64_C(1) << 63;
  CHECK_STATUS(wal_recover(log.wal, from, WAL_END_UNKNOWN, replay_apply, &replay, &recovery), KVSTORE_CORRUPT);
  from.position = 1600;
  CHECK_STATUS(wal_recover(log.wal, from, 800, replay_apply, &replay, &recovery), KVSTORE_CORRUPT);
  CHECK_STATUS(wal_recover(log.wal, from, 1616 + SMALL, replay_apply, &replay, &recovery), KVSTORE_CORRUPT);
  CHECK_STATUS(wal_recover(log.wal, from, 1616, replay_apply, &replay, &recovery), KVSTORE_CORRUPT);
  CHECK_OK(wal_recover(log.wal, from, 1600, replay_apply, &replay, &recovery));
  log_close(&log);
}

static Status refuse_third(void *context, const WalRecord *record) {
  int *count = context;
  (void)record;
  return ++*count == 3 ? status_fail(KVSTORE_SCHEMA, "the third") : KVSTORE_OK;
}

TEST(wal_recover, status_of_apply_ends_the_replay) {
  Log log;
  log_open(&log, SMALL, 22);
  for (int i = 0; i < 5; i++) CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 200));
  int count = 0;
  WalRecovery recovery;
  WalCursor from = wal_first(log.wal, 1);
  CHECK_STATUS(wal_recover(log.wal, from, WAL_END_UNKNOWN, refuse_third, &count, &recovery), KVSTORE_SCHEMA);
  CHECK_INT(count, 3);
  log_close(&log);
}

/* A crafted file full of beginnings of long records: refused after a bounded amount of work. */
TEST(wal_recover, crafted_beginnings_do_not_cost_hours) {
  enum { RING = 1 << 20 };
  Log log;
  log_open(&log, RING, 23);
  CHECK_OK(os_allocate(log.file, WAL_HEADER_BYTES, RING));
  for (uint64_t at = 4096; at + 64 <= RING; at += 64) {
    uint8_t bytes[RECORD_HEADER_BYTES];
    uint32_t length = (uint32_t)(RING - at);
    RecordHeader header = { .length = length, .kind = RECORD_TRANSACTION, .position = at, .synced = 4096 };
    record_header_write(&header, bytes);
    CHECK_OK(os_write(log.file, WAL_HEADER_BYTES + at, bytes, sizeof bytes));
  }
  size_t count;
  WalRecovery recovery;
  CHECK_STATUS(recover(&log, 0, WAL_END_UNKNOWN, &count, &recovery), KVSTORE_CORRUPT);
  CHECK(strstr(status_last()->text, "beginnings") != NULL);
  log_close(&log);
}

/* ---- dead futures (DESIGN section 4) ---- */

/* A reader without chain and break: position, own checksum and consecutive numbers. Where does it stop? */
static uint64_t naive_end(const Log *log, uint64_t position, uint64_t sequence) {
  static uint8_t ring[SMALL];
  CHECK_OK(os_read_exactly(log->file, WAL_HEADER_BYTES, ring, SMALL));
  for (;;) {
    RecordHeader header;
    const uint8_t *bytes = ring + position % SMALL;
    if (!record_header_read(bytes, &header) || header.length > SMALL - position % SMALL) return position;
    if (header.position != position || header.first_sequence != sequence) return position;
    uint64_t checksum = record_checksum(bytes, header.length, (RecordKind)header.kind, wal_log_id(log->wal));
    if (header.checksum != checksum) return position;
    position += header.length;
    sequence += header.sequence_count;
  }
}

/* One put of a value of `length` bytes, all `fill`. */
static void append_put(Log *log, uint8_t fill, size_t length) {
  static uint8_t value[SMALL];
  memset(value, fill, sizeof value);
  Buffer record = { 0 };
  record_begin(&record, false);
  record_append_put(&record, 1, EXPIRY_NEVER, (Bytes){ (const uint8_t *)"key", 3 }, (Bytes){ value, length });
  WalAppend how = { .kind = RECORD_TRANSACTION, .sequence_count = 1, .start = log->start };
  CHECK_OK(wal_append(log->wal, &log->tail, &record, &how, NULL));
  buffer_release(&record);
}

static Status collect(void *context, const WalRecord *record) {
  Buffer *seen = context;
  OperationReader reader = operation_reader_over(record->operations);
  Operation op;
  bool more;
  CHECK_OK(operation_next(&reader, &op, &more));
  buffer_u8(seen, op.payload.data[0]);
  return KVSTORE_OK;
}

/* The fills of the records that recovery gives, as a string. */
static WalRecovery check_recovers(const Log *log, const char *expected) {
  Buffer seen = { 0 };
  WalRecovery recovery;
  CHECK_OK(wal_recover(log->wal, wal_first(log->wal, 1), WAL_END_UNKNOWN, collect, &seen, &recovery));
  buffer_u8(&seen, 0);
  CHECK_STR((const char *)seen.data, expected);
  buffer_release(&seen);
  return recovery;
}

/* a durable; b lost in a power cut, its successor c not: the disk wrote them in its own order. Recovered to a. */
static WalRecovery crash_that_leaves_a_dead_future(Log *log) {
  uint8_t zeros[512] = { 0 };
  log_open(log, SMALL, 30);
  append_put(log, 'a', 100);
  WalCursor lost = log->tail;
  append_put(log, 'b', 400);
  append_put(log, 'c', 100);
  CHECK(log->tail.position - lost.position > 512);
  CHECK_OK(os_write(log->file, WAL_HEADER_BYTES + lost.position, zeros, 400));
  WalRecovery recovery = check_recovers(log, "a");
  CHECK_INT(recovery.tail.position, lost.position);
  log->tail = recovery.tail;
  return recovery;
}

TEST(wal_recover, checksums_and_numbers_alone_bring_the_dead_back) {
  Log log;
  WalRecovery recovery = crash_that_leaves_a_dead_future(&log);
  append_put(&log, 'd', 400); /* as long as b */
  CHECK(naive_end(&log, recovery.tail.position, recovery.tail.sequence) > log.tail.position);
  check_recovers(&log, "ad"); /* the chain refuses */
  log_close(&log);
}

TEST(wal_recover, repeated_transaction_brings_the_dead_back_without_a_break) {
  Log log;
  crash_that_leaves_a_dead_future(&log);
  append_put(&log, 'b', 400); /* the program does again what was lost: the same bytes, the same checksum */
  check_recovers(&log, "abc");
  log_close(&log);
}

TEST(wal_recover, break_keeps_the_dead_dead) {
  Log log;
  WalRecovery recovery = crash_that_leaves_a_dead_future(&log);
  CHECK_OK(wal_append_break(log.wal, &log.tail, 0, 0));
  append_put(&log, 'b', 400 - RECORD_BREAK_BYTES); /* so that c lies exactly behind it, with the right number */
  CHECK(naive_end(&log, recovery.tail.position, recovery.tail.sequence) > log.tail.position);
  recovery = check_recovers(&log, "ab");
  CHECK_INT(recovery.tail.position, log.tail.position);
  CHECK(recovery.torn);
  log_close(&log);
}
