/* wal_recover.c - replay after a crash, and the verdict: a torn tail, or damage (LOG-3). */
#include "base/counters.h"
#include "wal/record_internal.h"
#include "wal/wal.h"
#include "wal/wal_internal.h"

/* ---- replay ---- */

static Status replay(const Wal *wal, uint64_t end, WalWindow *window, WalApply apply, void *context, WalRecovery *state,
                     const char **fault) {
  *fault = NULL;
  while (state->tail.position < end) {
    WalRecord record;
    TRY(record_at(wal, &state->tail, end, window, &record, fault));
    if (*fault) return KVSTORE_OK;
    if (record.header.kind == RECORD_FILLER || record.header.kind == RECORD_BREAK) continue;
    state->record_count++;
    TRY(apply(context, &record));
  }
  return KVSTORE_OK;
}

/* ---- what lies beyond the stop ---- */

typedef struct Search {
  const Wal *wal;
  uint64_t stop;
  uint64_t work_left; /* bytes of candidates that may still be read: a crafted file must not cost hours */
  WalWindow candidate;
  bool found;
} Search;

/* Does the record whose header lies at `bytes` verify by itself, and name a synced position beyond the stop? */
static Status examine(Search *search, uint64_t position, const uint8_t *bytes) {
  RecordHeader header;
  if (!record_header_read(bytes, &header)) return KVSTORE_OK;
  if (header.synced <= search->stop || header.synced > position) return KVSTORE_OK;
  if (header.length > lap_left(search->wal, position)) return KVSTORE_OK;
  uint64_t covered = header.kind == RECORD_FILLER ? RECORD_HEADER_BYTES : header.length;
  if (covered > search->work_left) {
    return status_fail(KVSTORE_CORRUPT, "the log after position %llu holds more beginnings of records than fit there",
                       (unsigned long long)search->stop);
  }
  search->work_left -= covered;
  const uint8_t *whole;
  TRY(window_load(search->wal, &search->candidate, position, covered, position + covered, &whole));
  if (!whole) return KVSTORE_OK;
  uint64_t checksum = record_checksum(whole, header.length, (RecordKind)header.kind, search->wal->log_id);
  search->found = checksum == header.checksum;
  return KVSTORE_OK;
}

/* Every place in [from, to) (one lap) where a record of this lap might begin: its header names the place. */
static Status search_lap(Search *search, WalWindow *window, uint64_t from, uint64_t to) {
  for (uint64_t at = from; at + RECORD_HEADER_BYTES <= to;) {
    const uint8_t *bytes;
    TRY(window_load(search->wal, window, at, RECORD_HEADER_BYTES, to, &bytes));
    if (!bytes) return KVSTORE_OK; /* the file ends: it is in its first lap */
    uint64_t loaded = window->to < to ? window->to : to;
    for (; at + RECORD_HEADER_BYTES <= loaded; at += RECORD_ALIGNMENT) {
      bytes = window->bytes.data + (at - window->from);
      if (LIKELY(load_u64(bytes + RECORD_POSITION_OFFSET) != at)) continue;
      TRY(examine(search, at, bytes));
      if (search->found) return KVSTORE_OK;
    }
  }
  return KVSTORE_OK;
}

/* The ring from the stop on, round to where the replay began: later records can lie nowhere else, since the log never
 * overwrote what a newer manifest than ours still needed. */
static Status search_beyond(Search *search, WalWindow *window, uint64_t limit) {
  uint64_t from = search->stop;
  uint64_t lap_end = from + lap_left(search->wal, from);
  if (lap_end > limit) lap_end = limit;
  TRY(search_lap(search, window, from, lap_end));
  if (search->found || lap_end == limit) return KVSTORE_OK;
  return search_lap(search, window, lap_end, limit);
}

static Status decide_torn_or_corrupt(const Wal *wal, WalWindow *window, uint64_t stop, uint64_t limit) {
  Search search = { .wal = wal, .stop = stop, .work_left = 2 * wal->capacity };
  Status status = search_beyond(&search, window, limit);
  wal_window_release(&search.candidate);
  if (status == KVSTORE_OK && search.found) {
    status = status_fail(KVSTORE_CORRUPT, "the log ends at position %llu, but a later record knew more to be durable",
                         (unsigned long long)search.stop);
  }
  return status;
}

/* A header of this very place that was not accepted. */
static Status looks_torn(const Wal *wal, WalWindow *window, uint64_t tail, bool *torn) {
  const uint8_t *bytes;
  TRY(window_load(wal, window, tail, RECORD_HEADER_BYTES, tail + lap_left(wal, tail), &bytes));
  *torn = bytes && bytes[RECORD_KIND_OFFSET] != 0 && load_u64(bytes + RECORD_POSITION_OFFSET) == tail;
  return KVSTORE_OK;
}

/* ---- both ---- */

static Status recover(const Wal *wal, uint64_t clean_end, WalWindow *window, WalApply apply, void *context,
                      WalRecovery *state) {
  uint64_t limit = state->tail.position + wal->capacity;
  const char *fault;
  TRY(replay(wal, clean_end < limit ? clean_end : limit, window, apply, context, state, &fault));
  uint64_t stop = state->tail.position;
  if (clean_end == WAL_END_UNKNOWN) {
    TRY(looks_torn(wal, window, stop, &state->torn));
    return decide_torn_or_corrupt(wal, window, stop, limit);
  }
  if (fault || stop != clean_end) {
    return status_fail(KVSTORE_CORRUPT, "the log was closed at position %llu, but its record at %llu has %s",
                       (unsigned long long)clean_end, (unsigned long long)stop, fault ? fault : "another end");
  }
  return KVSTORE_OK;
}

Status wal_recover(const Wal *wal, WalCursor from, uint64_t clean_end, WalApply apply, void *context,
                   WalRecovery *out) {
  if (!position_is_valid(wal, from.position) ||
      (clean_end != WAL_END_UNKNOWN && (clean_end < from.position || clean_end - from.position > wal->capacity))) {
    return status_fail(KVSTORE_CORRUPT, "the store names positions %llu to %llu of its log, where no record can be",
                       (unsigned long long)from.position, (unsigned long long)clean_end);
  }
  WalWindow window = { 0 };
  WalRecovery state = { .tail = from };
  Status status = recover(wal, clean_end, &window, apply, context, &state);
  wal_window_release(&window);
  if (status != KVSTORE_OK) return status;
  COUNT(recoveries);
  *out = state;
  return KVSTORE_OK;
}
