/* wal_read.c - reading records: the window, and whether a record continues the chain. */
#include "base/assert.h"
#include "base/memory.h"
#include "wal/wal.h"
#include "wal/wal_internal.h"

void wal_window_release(WalWindow *window) {
  buffer_release(&window->bytes);
  *window = (WalWindow){ 0 };
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static const uint8_t *window_find(const WalWindow *window, uint64_t position, uint64_t length) {
  if (position < window->from || position > window->to || window->to - position < length) return NULL;
  return window->bytes.data + (position - window->from);
}

Status window_load(const Wal *wal, WalWindow *window, uint64_t position, uint64_t length, uint64_t end,
                   const uint8_t **bytes) {
  *bytes = window_find(window, position, length);
  if (LIKELY(*bytes != NULL)) return KVSTORE_OK;
  uint64_t wanted = length > WINDOW_READ_BYTES ? length : WINDOW_READ_BYTES;
  wanted = smaller(smaller(wanted, lap_left(wal, position)), end - position);
  ASSERT(wanted >= length, "WAL-7");
  window->from = window->to = 0;
  buffer_clear(&window->bytes);
  uint8_t *room = buffer_extend(&window->bytes, (size_t)wanted);
  if (!room) return status_nomem();
  size_t got;
  TRY(os_read(wal->file, file_offset(wal, position), room, (size_t)wanted, &got));
  window->from = position;
  window->to = position + got;
  *bytes = window_find(window, position, length);
  return KVSTORE_OK;
}

/* What a record's header must be at this cursor, before its bytes are looked at. */
static const char *header_fault(const Wal *wal, const WalCursor *at, uint64_t end, const RecordHeader *header) {
  if (header->position != at->position) return "another position";
  if (header->previous_checksum != at->checksum) return "another predecessor";
  if (header->first_sequence != at->sequence) return "another sequence";
  if (header->synced > header->position) return "a synced position beyond its own";
  uint64_t left = lap_left(wal, at->position);
  if (header->length > left) return "a length beyond the ring's end";
  if (header->length > end - at->position) return "a length beyond the log's end";
  if (header->kind == RECORD_FILLER && header->length != left) return "a filler that does not end its lap";
  if (header->kind == RECORD_BREAK && header->length != RECORD_BREAK_BYTES) return "a break of another length";
  if (header->sequence_count > UINT64_MAX - header->first_sequence) return "sequences without an end";
  return NULL;
}

static Bytes operations_of(const uint8_t *bytes, const RecordHeader *header) {
  Bytes none = { NULL, 0 };
  if (header->kind == RECORD_FILLER || header->kind == RECORD_BREAK) return none;
  size_t begin = record_body_offset(header->flags);
  return (Bytes){ bytes + begin, header->length - begin - header->padding };
}

Status record_at(const Wal *wal, WalCursor *at, uint64_t end, WalWindow *window, WalRecord *out, const char **fault) {
  const uint8_t *bytes;
  *fault = "no whole header";
  if (end - at->position < RECORD_HEADER_BYTES) return KVSTORE_OK;
  TRY(window_load(wal, window, at->position, RECORD_HEADER_BYTES, end, &bytes));
  if (!bytes || !record_header_read(bytes, &out->header)) return KVSTORE_OK;
  const RecordHeader *header = &out->header;
  *fault = header_fault(wal, at, end, header);
  if (*fault) return KVSTORE_OK;

  uint64_t covered = header->kind == RECORD_FILLER ? RECORD_HEADER_BYTES : header->length;
  TRY(window_load(wal, window, at->position, covered, end, &bytes));
  *fault = "an end beyond the file's";
  if (!bytes) return KVSTORE_OK;
  *fault = "a wrong checksum";
  uint64_t checksum = record_checksum(bytes, header->length, (RecordKind)header->kind, wal->log_id);
  if (checksum != header->checksum) return KVSTORE_OK;

  *fault = NULL;
  out->whole = (Bytes){ bytes, (size_t)covered };
  out->operations = operations_of(bytes, header);
  at->position = skip_lap_end(wal, at->position + header->length);
  at->sequence += header->sequence_count;
  at->checksum = header->checksum;
  return KVSTORE_OK;
}

Status wal_read(const Wal *wal, WalCursor *at, uint64_t end, WalWindow *window, WalRecord *out) {
  ASSERT(at->position < end, "WAL-7");
  uint64_t position = at->position;
  const char *fault;
  TRY(record_at(wal, at, end, window, out, &fault));
  if (fault) {
    return status_fail(KVSTORE_CORRUPT, "the log has a damaged record at position %llu: %s",
                       (unsigned long long)position, fault);
  }
  return KVSTORE_OK;
}

bool wal_continues(const Wal *wal, const WalCursor *at) {
  uint8_t bytes[RECORD_HEADER_BYTES];
  RecordHeader header;
  size_t got;
  if (os_read(wal->file, file_offset(wal, at->position), bytes, sizeof bytes, &got) != KVSTORE_OK) return false;
  return got == sizeof bytes && record_header_read(bytes, &header) &&
         !header_fault(wal, at, at->position + wal->capacity, &header);
}
