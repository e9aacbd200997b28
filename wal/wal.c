/* wal.c - the life of a log, its header, and appending. */
#include "wal/wal.h"

#include "base/assert.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "wal/record_internal.h"
#include "wal/wal_internal.h"

/* ---- header ---- */

enum { SLOT_BYTES = 2048, SLOT_CHECKSUM = 40, SLOT_COUNT = 2 };
static const uint8_t MAGIC[8] = { 'C', 'L', 'N', 'D', 'L', 'O', 'G', '1' };

typedef struct LogHeader {
  bool valid;
  uint32_t format, features;
  uint64_t log_id, capacity, oldest_generation;
} LogHeader;

static void slot_write(uint8_t slot[SLOT_BYTES], const LogHeader *header) {
  memset(slot, 0, SLOT_BYTES);
  memcpy(slot, MAGIC, sizeof MAGIC);
  store_u32(slot + 8, header->format);
  store_u32(slot + 12, header->features);
  store_u64(slot + 16, header->log_id);
  store_u64(slot + 24, header->capacity);
  store_u64(slot + 32, header->oldest_generation);
  store_u64(slot + SLOT_CHECKSUM, checksum64(slot, SLOT_CHECKSUM, 0));
}

static LogHeader slot_read(const uint8_t slot[SLOT_BYTES]) {
  LogHeader header;
  header.format = load_u32(slot + 8);
  header.features = load_u32(slot + 12);
  header.log_id = load_u64(slot + 16);
  header.capacity = load_u64(slot + 24);
  header.oldest_generation = load_u64(slot + 32);
  header.valid = memcmp(slot, MAGIC, sizeof MAGIC) == 0 && header.log_id != 0 &&
                 load_u64(slot + SLOT_CHECKSUM) == checksum64(slot, SLOT_CHECKSUM, 0);
  return header;
}

/* The slot that counts: valid, with the higher oldest generation. */
static Status header_read(OsFile *file, uint64_t base, LogHeader *out, unsigned *slot_index) {
  uint8_t bytes[SLOT_COUNT * SLOT_BYTES];
  TRY(os_read_exactly(file, base, bytes, sizeof bytes));
  LogHeader slots[SLOT_COUNT] = { slot_read(bytes), slot_read(bytes + SLOT_BYTES) };
  bool second = !slots[0].valid || (slots[1].valid && slots[1].oldest_generation > slots[0].oldest_generation);
  *out = slots[second];
  *slot_index = second;
  return out->valid ? KVSTORE_OK : status_fail(KVSTORE_CORRUPT, "the log has no valid header");
}

static bool capacity_is_allowed(uint64_t capacity) {
  return capacity % WAL_HEADER_BYTES == 0 && capacity >= WAL_CAPACITY_MIN && capacity <= WAL_CAPACITY_MAX;
}

static Status header_check(const LogHeader *header, uint64_t base, uint64_t file_size) {
  if (header->format != 0 || header->features != 0) {
    return status_fail(KVSTORE_UNSUPPORTED, "the log has format %u with features %#x; this library knows format 0",
                       header->format, header->features);
  }
  if (!capacity_is_allowed(header->capacity)) {
    return status_fail(KVSTORE_CORRUPT, "the log's header names a capacity of %llu bytes",
                       (unsigned long long)header->capacity);
  }
  if (base != 0 && file_size - base < wal_file_bytes(header->capacity)) {
    return status_fail(KVSTORE_CORRUPT, "the file ends within its log of %llu bytes",
                       (unsigned long long)header->capacity);
  }
  return KVSTORE_OK;
}

/* ---- life ---- */

/* Zeros, written in pieces. */
static Status write_zeros(OsFile *file, uint64_t offset, uint64_t length) {
  static const uint8_t zeros[16384];
  for (uint64_t done = 0; done < length;) {
    size_t piece = length - done < sizeof zeros ? (size_t)(length - done) : sizeof zeros;
    TRY(os_write(file, offset + done, zeros, piece));
    done += piece;
  }
  return KVSTORE_OK;
}

static Status random_log_id(Os *os, uint64_t *log_id) {
  do { TRY(os_random(os, log_id, sizeof *log_id)); } while (*log_id == 0); /* 0 is a superblock's word for no log */
  return KVSTORE_OK;
}

static Status create_bytes(Wal *wal, uint64_t oldest_generation) {
  uint8_t bytes[SLOT_COUNT * SLOT_BYTES];
  LogHeader header = { .log_id = wal->log_id, .capacity = wal->capacity, .oldest_generation = oldest_generation };
  slot_write(bytes, &header);
  memcpy(bytes + SLOT_BYTES, bytes, SLOT_BYTES);
  if (wal->base == 0) {
    TRY(os_truncate(wal->file, 0));
  } else {
    TRY(write_zeros(wal->file, wal->base + WAL_HEADER_BYTES, wal->capacity));
    wal->zeroed = wal->capacity;
  }
  TRY(os_write(wal->file, wal->base, bytes, sizeof bytes));
  return wal_sync(wal);
}

Status wal_create(OsFile *file, uint64_t base, uint64_t capacity, uint64_t oldest_generation, Wal **wal) {
  *wal = NULL;
  if (!capacity_is_allowed(capacity)) {
    return status_fail(KVSTORE_ERROR, "a log of %llu bytes: it takes a multiple of %u from %u to %llu",
                       (unsigned long long)capacity, WAL_HEADER_BYTES, WAL_CAPACITY_MIN,
                       (unsigned long long)WAL_CAPACITY_MAX);
  }
  Wal *made = memory_allocate_zeroed(sizeof *made);
  if (!made) return status_nomem();
  made->file = file;
  made->base = base;
  made->capacity = capacity;
  Status status = random_log_id(file->os, &made->log_id);
  if (status == KVSTORE_OK) status = create_bytes(made, oldest_generation);
  if (status != KVSTORE_OK) {
    memory_release(made);
    return status;
  }
  *wal = made;
  return KVSTORE_OK;
}

/* How much of the ring the file holds already. */
static uint64_t ring_bytes_held(const Wal *wal, uint64_t file_size) {
  uint64_t begin = wal->base + WAL_HEADER_BYTES;
  uint64_t held = file_size > begin ? file_size - begin : 0;
  return held < wal->capacity ? held : wal->capacity;
}

Status wal_open(OsFile *file, uint64_t base, Wal **wal) {
  *wal = NULL;
  LogHeader header;
  unsigned slot;
  OsStat stat;
  TRY(header_read(file, base, &header, &slot));
  TRY(os_stat_file(file, &stat));
  TRY(header_check(&header, base, stat.size));
  Wal *opened = memory_allocate_zeroed(sizeof *opened);
  if (!opened) return status_nomem();
  opened->file = file;
  opened->base = base;
  opened->capacity = header.capacity;
  opened->log_id = header.log_id;
  opened->zeroed = ring_bytes_held(opened, stat.size);
  *wal = opened;
  return KVSTORE_OK;
}

void wal_close(Wal *wal) { memory_release(wal); }

uint64_t wal_log_id(const Wal *wal) { return wal->log_id; }
uint64_t wal_capacity(const Wal *wal) { return wal->capacity; }

/* The header of this very log, with the slot that holds it. */
static Status own_header(const Wal *wal, LogHeader *header, unsigned *slot) {
  TRY(header_read(wal->file, wal->base, header, slot));
  if (header->log_id != wal->log_id || header->capacity != wal->capacity) {
    return status_fail(KVSTORE_CORRUPT, "the log's header was replaced while the log was open");
  }
  return KVSTORE_OK;
}

Status wal_oldest(const Wal *wal, uint64_t *generation) {
  LogHeader header;
  unsigned slot;
  TRY(own_header(wal, &header, &slot));
  *generation = header.oldest_generation;
  return KVSTORE_OK;
}

Status wal_raise_oldest(Wal *wal, uint64_t generation) {
  LogHeader header;
  unsigned slot;
  TRY(own_header(wal, &header, &slot));
  if (generation <= header.oldest_generation) return KVSTORE_OK;
  header.oldest_generation = generation;
  uint8_t bytes[SLOT_BYTES];
  slot_write(bytes, &header);
  TRY(os_write(wal->file, wal->base + (slot == 0 ? SLOT_BYTES : 0), bytes, sizeof bytes));
  return wal_sync(wal);
}

Status wal_sync(Wal *wal) {
  COUNT(log_syncs);
  return os_sync(wal->file);
}

WalCursor wal_first(const Wal *wal, uint64_t sequence) {
  WalCursor first = { .position = 0, .sequence = sequence, .checksum = wal->log_id };
  return first;
}

/* ---- room ---- */

static uint64_t saturating_minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

uint64_t wal_room(const Wal *wal, uint64_t start, uint64_t end) {
  return saturating_minus(wal->capacity - WAL_RESERVE_BYTES, saturating_minus(end, start));
}

uint64_t wal_place(const Wal *wal, uint64_t end, uint64_t length) {
  uint64_t left = lap_left(wal, end);
  return left < length ? end + left : end;
}

bool wal_fits(const Wal *wal, uint64_t start, uint64_t end, RecordKind kind, uint64_t length) {
  uint64_t reserve = kind == RECORD_TRANSACTION ? WAL_RESERVE_BYTES : 0;
  uint64_t after = skip_lap_end(wal, wal_place(wal, end, length) + length);
  return after - start <= wal->capacity - reserve;
}

uint64_t wal_record_bytes_max(const Wal *wal) {
  /* In an empty ring a record of this length finds its place wherever the ring's end is: less than its length is lost
   * to the filler before it, less than a break's to the lap's end after it. */
  uint64_t always = (wal->capacity - WAL_RESERVE_BYTES - RECORD_BREAK_BYTES) / 2;
  uint64_t quarter = wal->capacity / 4 + (256u << 10);
  return (quarter < always ? quarter : always) & ~(uint64_t)(RECORD_ALIGNMENT - 1);
}

bool position_is_valid(const Wal *wal, uint64_t position) {
  return position <= INT64_MAX && position % RECORD_ALIGNMENT == 0 && skip_lap_end(wal, position) == position;
}

/* ---- appending ---- */

/* LOG-1: in the first lap the log's own file is allocated and zeroed ahead of the records, so that a sync of a commit
 * finds its blocks written once already and has no metadata to journal. */
static Status zero_ahead(Wal *wal, uint64_t ring_end) {
  if (LIKELY(ring_end <= wal->zeroed)) return KVSTORE_OK;
  OsStat stat;
  TRY(os_stat_file(wal->file, &stat)); /* another process may have done it */
  wal->zeroed = ring_bytes_held(wal, stat.size);
  if (ring_end <= wal->zeroed) return KVSTORE_OK;
  uint64_t target = ring_end + WAL_ZERO_AHEAD_BYTES;
  if (target > wal->capacity) target = wal->capacity;
  uint64_t offset = wal->base + WAL_HEADER_BYTES + wal->zeroed, length = target - wal->zeroed;
  TRY(os_allocate(wal->file, offset, length));
  TRY(write_zeros(wal->file, offset, length));
  wal->zeroed = target;
  return KVSTORE_OK;
}

/* Fills in the header of the record at `bytes`, but for its checksum. */
static void place_record(const WalCursor *tail, uint8_t *bytes, RecordHeader *header) {
  header->position = tail->position;
  header->first_sequence = tail->sequence;
  header->previous_checksum = tail->checksum;
  record_header_write(header, bytes);
}

/* The checksum, and the cursor past the record. */
static void finish_record(const Wal *wal, WalCursor *tail, uint8_t *bytes, RecordHeader *header) {
  header->checksum = record_checksum(bytes, header->length, (RecordKind)header->kind, wal->log_id);
  store_u64(bytes + RECORD_CHECKSUM_OFFSET, header->checksum);
  tail->position = skip_lap_end(wal, tail->position + header->length);
  tail->sequence += header->sequence_count;
  tail->checksum = header->checksum;
}

/* Takes what is left of the lap. Only the header is written: what it covers may be megabytes. */
static Status append_filler(Wal *wal, WalCursor *tail, uint64_t synced) {
  uint8_t bytes[RECORD_HEADER_BYTES];
  uint64_t left = lap_left(wal, tail->position), offset = file_offset(wal, tail->position);
  RecordHeader header = { .length = (uint32_t)left, .kind = RECORD_FILLER, .synced = synced };
  TRY(zero_ahead(wal, ring_offset(wal, tail->position) + sizeof bytes));
  place_record(tail, bytes, &header);
  finish_record(wal, tail, bytes, &header);
  return os_write(wal->file, offset, bytes, sizeof bytes);
}

/* A padded record of any kind: the filler before it, its header, its bytes. */
static Status append_bytes(Wal *wal, WalCursor *tail, Buffer *record, RecordHeader *header, const WalAppend *how) {
  *header = (RecordHeader){ .length = (uint32_t)record->length,
                            .kind = (uint8_t)how->kind,
                            .flags = record->data[RECORD_FLAGS_OFFSET],
                            .padding = record->data[RECORD_PADDING_OFFSET],
                            .sequence_count = how->sequence_count,
                            .synced = how->synced };
  if (!wal_fits(wal, how->start, tail->position, how->kind, record->length)) {
    return status_fail(KVSTORE_FULL, "the log is full: %zu bytes do not fit beside the %llu that are still needed",
                       record->length, (unsigned long long)(tail->position - how->start));
  }
  WalCursor next = *tail;
  if (wal_place(wal, next.position, record->length) != next.position) TRY(append_filler(wal, &next, how->synced));
  if (next.position > 0 && ring_offset(wal, next.position) == 0) CRASH_POINT(log_wrap);
  uint64_t position = next.position;
  TRY(zero_ahead(wal, ring_offset(wal, position) + record->length));
  place_record(&next, record->data, header);
  if (how->seal) TRY(how->seal(how->context, record->data, record->length));
  finish_record(wal, &next, record->data, header);
  TRY(os_write(wal->file, file_offset(wal, position), record->data, record->length));
  *tail = next;
  return KVSTORE_OK;
}

Status wal_append(Wal *wal, WalCursor *tail, Buffer *record, const WalAppend *how, uint64_t *position) {
  ASSERT(position_is_valid(wal, tail->position) && how->start <= tail->position, "WAL-2");
  ASSERT(how->kind == RECORD_TRANSACTION || how->kind == RECORD_BOUNDARY, "WAL-3");
  ASSERT(how->synced <= tail->position, "WAL-6");
  record_pad(record);
  TRY(buffer_status(record));
  ASSERT((how->seal != NULL) == ((record->data[RECORD_FLAGS_OFFSET] & RECORD_SEALED) != 0), "WAL-11");
  uint64_t limit = how->kind == RECORD_BOUNDARY ? WAL_BOUNDARY_BYTES_MAX : wal_record_bytes_max(wal);
  if (record->length > limit) {
    return status_fail(KVSTORE_LIMIT, "a log record of %zu bytes: at most %llu fit", record->length,
                       (unsigned long long)limit);
  }
  RecordHeader header;
  TRY(append_bytes(wal, tail, record, &header, how));
  if (position) *position = header.position;
  return KVSTORE_OK;
}

Status wal_append_break(Wal *wal, WalCursor *tail, uint64_t start, uint64_t synced) {
  ASSERT(position_is_valid(wal, tail->position) && start <= tail->position, "WAL-2");
  ASSERT(synced <= tail->position, "WAL-6");
  uint8_t bytes[RECORD_BREAK_BYTES] = { 0 };
  bytes[RECORD_PADDING_OFFSET] = RECORD_BREAK_BYTES - RECORD_HEADER_BYTES - 16;
  TRY(os_random(wal->file->os, bytes + RECORD_HEADER_BYTES, 16));
  Buffer record = { .data = bytes, .length = sizeof bytes, .capacity = sizeof bytes };
  WalAppend how = { .kind = RECORD_BREAK, .start = start, .synced = synced };
  RecordHeader header;
  TRY(append_bytes(wal, tail, &record, &header, &how));
  COUNT(recovery_breaks);
  return KVSTORE_OK;
}

/* ---- LOG-7 ---- */

static Status rewrite_piece(Wal *wal, uint64_t position, uint8_t *bytes, size_t length) {
  uint64_t offset = file_offset(wal, position);
  size_t got;
  TRY(os_read(wal->file, offset, bytes, length, &got));
  return got ? os_write(wal->file, offset, bytes, got) : KVSTORE_OK;
}

Status wal_rewrite_tail(Wal *wal, uint64_t from, uint64_t to) {
  ASSERT(from <= to && to - from <= wal->capacity, "WAL-2");
  size_t piece_max = 1 << 18;
  uint8_t *bytes = memory_allocate(piece_max);
  if (!bytes) return status_nomem();
  Status status = KVSTORE_OK;
  for (uint64_t at = from; at < to && status == KVSTORE_OK;) {
    uint64_t piece = to - at < piece_max ? to - at : piece_max;
    if (piece > lap_left(wal, at)) piece = lap_left(wal, at);
    status = rewrite_piece(wal, at, bytes, (size_t)piece);
    at += piece;
  }
  memory_release(bytes);
  return status;
}
