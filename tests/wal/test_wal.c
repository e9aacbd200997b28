#include "wal/wal.h"

#include <stdlib.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "tests/support/fault_os.h"
#include "tests/support/test.h"
#include "tests/wal/log_fixture.h"

enum { SMALL = 16 << 10 };

/* ---- header ---- */

TEST(wal, header_has_the_documented_layout) {
  Log log;
  log_open(&log, SMALL, 1);
  uint8_t header[WAL_HEADER_BYTES];
  CHECK_OK(os_read_exactly(log.file, 0, header, sizeof header));
  CHECK_BYTES(header, "CLNDLOG1", 8);
  CHECK_INT(load_u32(header + 8), 0);
  CHECK_INT(load_u32(header + 12), 0);
  CHECK_INT(load_u64(header + 16), wal_log_id(log.wal));
  CHECK_INT(load_u64(header + 24), SMALL);
  CHECK_INT(load_u64(header + 32), 1);
  CHECK_INT(load_u64(header + 40), checksum64(header, 40, 0));
  CHECK_BYTES(header, header + 2048, 2048);
  log_close(&log);
}

TEST(wal, log_ids_are_random_and_not_zero) {
  Log a, b;
  log_open(&a, SMALL, 1);
  log_open(&b, SMALL, 1);
  CHECK(wal_log_id(a.wal) != 0 && wal_log_id(a.wal) != wal_log_id(b.wal));
  log_close(&a);
  log_close(&b);
}

TEST(wal, create_refuses_odd_capacities) {
  Log log;
  log_open(&log, SMALL, 1);
  Wal *other;
  CHECK_STATUS(wal_create(log.file, 0, 0, 1, &other), KVSTORE_ERROR);
  CHECK(other == NULL);
  CHECK_STATUS(wal_create(log.file, 0, SMALL - 4096, 1, &other), KVSTORE_ERROR);
  CHECK_STATUS(wal_create(log.file, 0, SMALL + 16, 1, &other), KVSTORE_ERROR);
  CHECK_STATUS(wal_create(log.file, 0, WAL_CAPACITY_MAX + 4096, 1, &other), KVSTORE_ERROR);
  log_close(&log);
}

TEST(wal, create_empties_the_file_of_a_former_log) {
  Log log;
  log_open(&log, SMALL, 1);
  for (int i = 0; i < 20; i++) CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 100));
  Wal *next;
  CHECK_OK(wal_create(log.file, 0, SMALL, 2, &next));
  OsStat stat;
  CHECK_OK(os_stat_file(log.file, &stat));
  CHECK_INT(stat.size, WAL_HEADER_BYTES);
  wal_close(next);
  log_close(&log);
}

TEST(wal, open_finds_what_create_made) {
  Log log;
  log_open(&log, 4 * SMALL, 1);
  Wal *other;
  CHECK_OK(wal_open(log.file, 0, &other));
  CHECK_INT(wal_log_id(other), wal_log_id(log.wal));
  CHECK_INT(wal_capacity(other), 4 * SMALL);
  uint64_t oldest;
  CHECK_OK(wal_oldest(other, &oldest));
  CHECK_INT(oldest, 1);
  wal_close(other);
  log_close(&log);
}

/* A slot as the documented layout has it, with a right checksum. */
static void put_slot(OsFile *file, uint64_t offset, uint32_t format, uint32_t features, uint64_t id,
                     uint64_t capacity) {
  uint8_t slot[48];
  memcpy(slot, "CLNDLOG1", 8);
  store_u32(slot + 8, format);
  store_u32(slot + 12, features);
  store_u64(slot + 16, id);
  store_u64(slot + 24, capacity);
  store_u64(slot + 32, 1);
  store_u64(slot + 40, checksum64(slot, 40, 0));
  CHECK_OK(os_write(file, offset, slot, sizeof slot));
}

static void check_open(uint32_t format, uint32_t features, uint64_t id, uint64_t capacity, Status expected) {
  Log log;
  log_open(&log, SMALL, 1);
  put_slot(log.file, 0, format, features, id, capacity);
  put_slot(log.file, 2048, format, features, id, capacity);
  Wal *other;
  CHECK_STATUS(wal_open(log.file, 0, &other), expected);
  CHECK((other != NULL) == (expected == KVSTORE_OK));
  wal_close(other);
  log_close(&log);
}

TEST(wal, open_refuses_crafted_headers) {
  check_open(0, 0, 5, SMALL, KVSTORE_OK);
  check_open(1, 0, 5, SMALL, KVSTORE_UNSUPPORTED);
  check_open(0, 1, 5, SMALL, KVSTORE_UNSUPPORTED);
  check_open(0, 0, 0, SMALL, KVSTORE_CORRUPT);
  check_open(0, 0, 5, 0, KVSTORE_CORRUPT);
  check_open(0, 0, 5, SMALL + 1, KVSTORE_CORRUPT);
  check_open(0, 0, 5, UINT64_MAX - 4095, KVSTORE_CORRUPT);
}

TEST(wal, open_survives_any_flipped_bit_in_one_slot) {
  Log log;
  log_open(&log, SMALL, 1);
  uint8_t header[WAL_HEADER_BYTES];
  CHECK_OK(os_read_exactly(log.file, 0, header, sizeof header));
  for (size_t bit = 0; bit < 48 * 8; bit++) {
    for (size_t slot = 0; slot < 2; slot++) {
      uint8_t flipped = header[bit / 8] ^ (uint8_t)(1u << (bit % 8));
      CHECK_OK(os_write(log.file, slot * 2048 + bit / 8, &flipped, 1));
      Wal *other;
      CHECK_OK(wal_open(log.file, 0, &other));
      CHECK_INT(wal_capacity(other), SMALL);
      wal_close(other);
      CHECK_OK(os_write(log.file, 0, header, sizeof header));
    }
  }
  log_close(&log);
}

TEST(wal, open_refuses_a_short_or_foreign_file) {
  Log log;
  log_open(&log, SMALL, 1);
  Wal *other;
  CHECK_OK(os_truncate(log.file, WAL_HEADER_BYTES - 1));
  CHECK_STATUS(wal_open(log.file, 0, &other), KVSTORE_CORRUPT);
  CHECK_OK(os_truncate(log.file, 0));
  CHECK_STATUS(wal_open(log.file, 0, &other), KVSTORE_CORRUPT);
  CHECK_OK(os_allocate(log.file, 0, 2 * WAL_HEADER_BYTES));
  CHECK_STATUS(wal_open(log.file, 0, &other), KVSTORE_CORRUPT);
  log_close(&log);
}

TEST(wal, raise_oldest_writes_the_slots_in_turn_and_syncs) {
  Log log;
  log_open(&log, SMALL, 1);
  uint8_t before[WAL_HEADER_BYTES], after[WAL_HEADER_BYTES];
  for (uint64_t generation = 2; generation < 8; generation++) {
    uint64_t syncs = counter_get(COUNTER_log_syncs), oldest;
    CHECK_OK(os_read_exactly(log.file, 0, before, sizeof before));
    CHECK_OK(wal_raise_oldest(log.wal, generation));
    CHECK_INT(counter_get(COUNTER_log_syncs) - syncs, 1);
    CHECK_OK(os_read_exactly(log.file, 0, after, sizeof after));
    size_t kept = generation % 2 ? 2048 : 0; /* the slot that a torn write would leave */
    CHECK_BYTES(after + kept, before + kept, 2048);
    CHECK_OK(wal_oldest(log.wal, &oldest));
    CHECK_INT(oldest, generation);
    CHECK_OK(wal_raise_oldest(log.wal, generation - 1)); /* never lowers */
    CHECK_OK(wal_oldest(log.wal, &oldest));
    CHECK_INT(oldest, generation);
  }
  log_close(&log);
}

TEST(wal, oldest_refuses_another_log_in_its_place) {
  Log log;
  log_open(&log, SMALL, 1);
  Wal *other;
  CHECK_OK(wal_create(log.file, 0, SMALL, 2, &other));
  uint64_t oldest;
  CHECK_STATUS(wal_oldest(log.wal, &oldest), KVSTORE_CORRUPT);
  CHECK_STATUS(wal_raise_oldest(log.wal, 9), KVSTORE_CORRUPT);
  wal_close(other);
  log_close(&log);
}

/* ---- inside an extent ---- */

TEST(wal, log_in_an_extent_touches_nothing_else) {
  enum { BASE = 40960, AFTER = BASE + WAL_HEADER_BYTES + SMALL, SIZE = AFTER + 8192 };
  Os *os;
  OsFile *file;
  CHECK_OK(os_memory_create(&os));
  CHECK_OK(os_open(os, "store", OS_OPEN_CREATE, &file));
  uint8_t *around = malloc(SIZE);
  memset(around, 0xC3, SIZE);
  CHECK_OK(os_write(file, 0, around, SIZE));
  Log log;
  log_open_over(&log, os, file, BASE, SMALL, 4);
  for (int i = 0; i < 400; i++) {
    CHECK_OK(log_append(&log, RECORD_TRANSACTION, 2, 200));
    log.start = log.written[log.count - 1].position;
  }
  CHECK(log.tail.position > 4 * SMALL);
  uint8_t *now = malloc(SIZE);
  CHECK_OK(os_read_exactly(file, 0, now, SIZE));
  CHECK_BYTES(now, around, BASE);
  CHECK_BYTES(now + AFTER, around, SIZE - AFTER);
  Wal *other;
  CHECK_OK(wal_open(file, BASE, &other));
  wal_close(other);
  CHECK_OK(os_truncate(file, AFTER - 1));
  CHECK_STATUS(wal_open(file, BASE, &other), KVSTORE_CORRUPT);
  free(around);
  free(now);
  log_close(&log);
}

/* ---- appending ---- */

TEST(wal, file_grows_ahead_in_the_first_lap_and_never_after) {
  enum { CAPACITY = 4 << 20 };
  Log log;
  log_open(&log, CAPACITY, 5);
  OsStat stat;
  uint64_t sizes = 0, size = WAL_HEADER_BYTES;
  while (log.tail.position < 3 * (uint64_t)CAPACITY) {
    CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 60000));
    log.start = log.tail.position;
    CHECK_OK(os_stat_file(log.file, &stat));
    CHECK(stat.size <= wal_file_bytes(CAPACITY));
    if (log.tail.position < CAPACITY) CHECK(stat.size >= WAL_HEADER_BYTES + log.tail.position);
    sizes += stat.size != size;
    size = stat.size;
  }
  CHECK(sizes >= 3 && sizes <= 5);
  CHECK_INT(size, wal_file_bytes(CAPACITY));
  log_close(&log);
}

TEST(wal, second_writer_does_not_zero_what_the_first_wrote) {
  Log log;
  log_open(&log, 64 << 20, 6);
  Wal *second;
  CHECK_OK(wal_open(log.file, 0, &second)); /* knows of a file with nothing but its header */
  for (int i = 0; i < 10; i++) CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 1000));
  Wal *first = log.wal;
  log.wal = second;
  for (int i = 0; i < 10; i++) CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 1000));
  Replay replay = { &log, 0 };
  WalRecovery recovery;
  CHECK_OK(wal_recover(first, wal_first(first, 1), WAL_END_UNKNOWN, replay_apply, &replay, &recovery));
  CHECK_INT(replay.next, 20);
  wal_close(first);
  log_close(&log);
}

TEST(wal, record_never_wraps_and_the_wrap_is_a_crash_point) {
  Log log;
  log_open(&log, SMALL, 7);
  uint64_t wraps = counter_get(COUNTER_crash_log_wrap), laps = 0;
  for (int i = 0; i < 2000; i++) {
    CHECK_OK(log_append(&log, i % 7 ? RECORD_TRANSACTION : RECORD_BOUNDARY, (uint32_t)(i % 5), 150));
    const Written *w = &log.written[log.count - 1];
    CHECK(w->position % SMALL + w->length <= SMALL);
    CHECK_INT(w->position % 16, 0);
    CHECK(SMALL - log.tail.position % SMALL >= RECORD_BREAK_BYTES);
    if (w->position / SMALL != w->before.position / SMALL || (w->position && w->position % SMALL == 0)) laps++;
    log.start = w->position;
  }
  CHECK(laps > 10);
  CHECK_INT(counter_get(COUNTER_crash_log_wrap) - wraps, laps);
  log_close(&log);
}

/* A full ring: nothing that is still needed is overwritten, and the tail stays as it was. */
TEST(wal, full_ring_refuses_and_keeps_everything) {
  for (uint64_t seed = 0; seed < 50; seed++) {
    Log log;
    log_open(&log, SMALL, seed);
    for (uint64_t i = 0; i < seed * 3; i++) { /* so that the ring's end lies anywhere */
      CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 300));
      log.start = log.tail.position;
    }
    size_t first = log.count;
    WalCursor from = log.tail, tail = log.tail;
    Status status = KVSTORE_OK;
    while (status == KVSTORE_OK) {
      tail = log.tail;
      status = log_append(&log, RECORD_TRANSACTION, 1, 300);
      if (status == KVSTORE_OK) CHECK(log.tail.position - log.start <= SMALL - WAL_RESERVE_BYTES);
    }
    CHECK_INT(status, KVSTORE_FULL);
    CHECK(cursor_equals(tail, log.tail));
    CHECK(wal_room(log.wal, log.start, log.tail.position) < 2 * (16 + 300 + 56 + 32) + 80);
    CHECK_OK(log_append(&log, RECORD_BOUNDARY, 0, 0)); /* the reserve */
    size_t count = log.count;
    for (int i = 0; i < 20; i++) CHECK_OK(wal_append_break(log.wal, &log.tail, log.start, log.tail.position));
    Replay replay = { &log, first };
    WalRecovery recovery;
    CHECK_OK(wal_recover(log.wal, from, WAL_END_UNKNOWN, replay_apply, &replay, &recovery));
    CHECK_INT(replay.next, count);
    CHECK(cursor_equals(recovery.tail, log.tail));
    log_close(&log);
  }
}

TEST(wal, break_finds_the_ring_full_at_last) {
  Log log;
  log_open(&log, SMALL, 8);
  Status status = KVSTORE_OK;
  int breaks = 0;
  while (status == KVSTORE_OK) {
    status = wal_append_break(log.wal, &log.tail, 0, 0);
    breaks += status == KVSTORE_OK;
  }
  CHECK_INT(status, KVSTORE_FULL);
  CHECK_INT(breaks, SMALL / RECORD_BREAK_BYTES);
  log_close(&log);
}

/* The longest record fits an empty ring wherever the ring's end lies; one unit more is refused. */
TEST(wal, longest_record_fits_everywhere) {
  for (uint64_t capacity = SMALL; capacity <= 4 * SMALL; capacity *= 4) {
    for (uint64_t at = 0; at + RECORD_BREAK_BYTES <= capacity; at += 16) {
      Log log;
      if (at % 1024 && at < capacity - 1024) continue;
      log_open(&log, capacity, at);
      log.tail.position = log.start = at;
      uint64_t longest = wal_record_bytes_max(log.wal);
      CHECK(longest >= capacity / 4);
      Buffer record = { 0 };
      record_begin(&record, false);
      memset(buffer_extend(&record, longest - 56), 1, longest - 56);
      WalAppend how = { .kind = RECORD_TRANSACTION, .start = log.start };
      CHECK(wal_fits(log.wal, at, at, RECORD_TRANSACTION, longest));
      uint64_t place = wal_place(log.wal, at, longest), position;
      CHECK_OK(wal_append(log.wal, &log.tail, &record, &how, &position));
      CHECK_INT(position, place);
      record_begin(&record, false);
      memset(buffer_extend(&record, longest - 55), 1, longest - 55);
      log.tail.position = at;
      CHECK_STATUS(wal_append(log.wal, &log.tail, &record, &how, NULL), KVSTORE_LIMIT);
      CHECK_INT(log.tail.position, at);
      buffer_release(&record);
      log_close(&log);
    }
  }
}

TEST(wal, long_boundary_is_refused) {
  Log log;
  log_open(&log, SMALL, 9);
  CHECK_STATUS(log_append(&log, RECORD_BOUNDARY, 200, 100), KVSTORE_LIMIT);
  log_close(&log);
}

TEST(wal, buffer_that_failed_is_not_appended) {
  Log log;
  log_open(&log, SMALL, 10);
  Buffer record = { 0 };
  record_begin(&record, false);
  record.failed = true;
  WalAppend how = { .kind = RECORD_TRANSACTION };
  CHECK_STATUS(wal_append(log.wal, &log.tail, &record, &how, NULL), KVSTORE_NOMEM);
  CHECK_INT(log.tail.position, 0);
  buffer_release(&record);
  log_close(&log);
}

TEST(wal, room_is_what_the_reserve_leaves) {
  Log log;
  log_open(&log, SMALL, 11);
  CHECK_INT(wal_room(log.wal, 0, 0), SMALL - WAL_RESERVE_BYTES);
  CHECK_INT(wal_room(log.wal, 160, 1184), SMALL - WAL_RESERVE_BYTES - 1024);
  CHECK_INT(wal_room(log.wal, 0, SMALL - WAL_RESERVE_BYTES), 0);
  CHECK_INT(wal_room(log.wal, 0, SMALL), 0);
  log_close(&log);
}

TEST(wal, breaks_differ) {
  Log log;
  log_open(&log, SMALL, 12);
  uint8_t a[RECORD_BREAK_BYTES], b[RECORD_BREAK_BYTES];
  uint64_t breaks = counter_get(COUNTER_recovery_breaks);
  CHECK_OK(wal_append_break(log.wal, &log.tail, 0, 0));
  CHECK_OK(os_read_exactly(log.file, WAL_HEADER_BYTES, a, sizeof a));
  log.tail = wal_first(log.wal, 1);
  CHECK_OK(wal_append_break(log.wal, &log.tail, 0, 0));
  CHECK_OK(os_read_exactly(log.file, WAL_HEADER_BYTES, b, sizeof b));
  CHECK(memcmp(a + 56, b + 56, 16) != 0);
  CHECK_INT(counter_get(COUNTER_recovery_breaks) - breaks, 2);
  log_close(&log);
}

TEST(wal, rewritten_tail_is_the_same_bytes) {
  Log log;
  log_open(&log, SMALL, 13);
  while (log.tail.position < 2 * SMALL + 5000) {
    CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 300));
    log.start = log.tail.position;
  }
  uint8_t before[SMALL], after[SMALL];
  CHECK_OK(os_read_exactly(log.file, WAL_HEADER_BYTES, before, SMALL));
  CHECK_OK(wal_rewrite_tail(log.wal, log.tail.position - 12000, log.tail.position));
  CHECK_OK(wal_rewrite_tail(log.wal, log.tail.position, log.tail.position));
  CHECK_OK(os_read_exactly(log.file, WAL_HEADER_BYTES, after, SMALL));
  CHECK_BYTES(after, before, SMALL);
  log_close(&log);
}

TEST(wal, sync_is_counted) {
  Log log;
  log_open(&log, SMALL, 14);
  uint64_t syncs = counter_get(COUNTER_log_syncs);
  CHECK_OK(wal_sync(log.wal));
  CHECK_INT(counter_get(COUNTER_log_syncs) - syncs, 1);
  log_close(&log);
}

/* ---- calls that fail ---- */

/* Every call of an append fails once, in every way: the tail stays, and the next append takes the same place. */
static void check_failed_calls(FaultHow how) {
  Os *memory;
  FaultOs *fault;
  OsFile *file;
  Log log;
  uint64_t failures = 0;
  CHECK_OK(os_memory_create(&memory));
  CHECK_OK(fault_os_create(memory, &fault));
  CHECK_OK(os_open(fault_os(fault), "log", OS_OPEN_CREATE, &file));
  log_open_over(&log, fault_os(fault), file, 0, SMALL, 16);
  size_t first = 0;
  for (int i = 0; i < 300; i++) {
    for (uint64_t n = 1;; n++) { /* allocation, zeros, filler, record: until none is left to fail */
      fault_os_arm(fault, FAULT_ANY, n, how, false);
      Status status = log_append(&log, RECORD_TRANSACTION, 1, 300);
      uint64_t failed = fault_os_failures(fault);
      fault_os_disarm(fault);
      failures += failed;
      if (status == KVSTORE_OK) {
        CHECK_INT(failed, 0);
        break;
      }
      CHECK(failed == 1 && (status == KVSTORE_IO || status == KVSTORE_FULL));
    }
    Replay replay = { &log, first };
    WalRecovery recovery;
    CHECK_OK(wal_recover(log.wal, log.written[first].before, WAL_END_UNKNOWN, replay_apply, &replay, &recovery));
    CHECK_INT(replay.next, log.count);
    if (log.tail.position - log.start > SMALL / 2) {
      first = log.count - 1;
      log.start = log.written[first].before.position;
    }
  }
  CHECK(failures > 300 && log.tail.position > SMALL);
  log_release(&log);
  os_close(file);
  fault_os_destroy(fault);
  os_memory_destroy(memory);
}

TEST(wal, failed_append_leaves_the_log_as_it_was) { check_failed_calls(FAULT_ERROR); }
TEST(wal, short_append_leaves_the_log_as_it_was) { check_failed_calls(FAULT_SHORT); }
TEST(wal, append_without_space_leaves_the_log_as_it_was) { check_failed_calls(FAULT_NO_SPACE); }

static Status create_raise_open(OsFile *file) {
  Wal *wal, *other;
  uint64_t oldest;
  Status status = wal_create(file, 0, SMALL, 1, &wal);
  if (status == KVSTORE_OK) status = wal_raise_oldest(wal, 2);
  if (status == KVSTORE_OK) status = wal_oldest(wal, &oldest);
  WalCursor tail = status == KVSTORE_OK ? wal_first(wal, 1) : (WalCursor){ 0 };
  if (status == KVSTORE_OK) status = wal_append_break(wal, &tail, 0, 0);
  if (status == KVSTORE_OK) status = wal_rewrite_tail(wal, 0, tail.position);
  if (status == KVSTORE_OK) status = wal_sync(wal);
  wal_close(wal);
  if (status == KVSTORE_OK) {
    status = wal_open(file, 0, &other);
    wal_close(other);
  }
  return status;
}

TEST(wal, every_failed_call_of_a_life_is_reported) {
  Os *memory;
  FaultOs *fault;
  OsFile *file;
  CHECK_OK(os_memory_create(&memory));
  CHECK_OK(fault_os_create(memory, &fault));
  CHECK_OK(os_open(fault_os(fault), "log", OS_OPEN_CREATE, &file));
  uint64_t n = 0, held = memory_blocks_held();
  Status status;
  do {
    fault_os_arm(fault, FAULT_ANY, ++n, FAULT_ERROR, false);
    status = create_raise_open(file);
    CHECK_INT(status == KVSTORE_OK, fault_os_failures(fault) == 0);
    CHECK_INT(memory_blocks_held(), held);
  } while (status != KVSTORE_OK);
  CHECK(n > 12);
  os_close(file);
  fault_os_destroy(fault);
  os_memory_destroy(memory);
}

/* ---- no memory ---- */

static size_t allocations_left;
static void *scarce(void *context, size_t size) {
  (void)context;
  return allocations_left-- ? malloc(size) : NULL;
}
static void *scarce_again(void *context, void *pointer, size_t size) {
  (void)context;
  return allocations_left-- ? realloc(pointer, size) : NULL;
}
static void give_back(void *context, void *pointer) {
  (void)context;
  free(pointer);
}

static Status ignore(void *context, const WalRecord *record) {
  (void)context;
  (void)record;
  return KVSTORE_OK;
}

static Status open_recover_rewrite(OsFile *file) {
  Wal *wal;
  WalRecovery recovery;
  Status status = wal_open(file, 0, &wal);
  if (status == KVSTORE_OK) status = wal_recover(wal, wal_first(wal, 1), WAL_END_UNKNOWN, ignore, NULL, &recovery);
  if (status == KVSTORE_OK) status = wal_rewrite_tail(wal, 0, recovery.tail.position);
  wal_close(wal);
  return status;
}

TEST(wal, every_failed_allocation_is_survived) {
  Log log;
  log_open(&log, SMALL, 15);
  for (int i = 0; i < 10; i++) CHECK_OK(log_append(&log, RECORD_TRANSACTION, 1, 300));
  MemoryTable table = { scarce, scarce_again, give_back, NULL };
  Status status = KVSTORE_NOMEM;
  size_t n = 0;
  for (; status != KVSTORE_OK; n++) {
    CHECK_INT(status, KVSTORE_NOMEM);
    uint64_t held = memory_blocks_held();
    allocations_left = n;
    memory_table_set(&table);
    status = open_recover_rewrite(log.file);
    memory_table_set(NULL);
    CHECK_INT(memory_blocks_held(), held);
  }
  CHECK(n >= 3);
  log_close(&log);
}
