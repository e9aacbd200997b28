/* capture.c - change capture: what was changed in a kv family, kept beside it for as long as its options say.
 *
 *   a write ──► the family's row
 *           └─► a row of the family's hidden family of changes: sequence (big-endian) ──► kind, when, by what, pair
 *
 * Both belong to one transaction, so a change is there exactly when what it tells of is. The hidden family's first row
 * is its floor: no change from that sequence on is missing. Who takes old changes away raises the floor with them. */
#include <stdio.h>

#include "base/counters.h"
#include "engine/family_columns.h"
#include "engine/kv_rows.h"

enum {
  SEQUENCE_BYTES = 8,
  TRIMMED_MAX = 256, /* changes that one write takes away: more than it adds, so that they do not pile up */
  NOTE_BYTES_MAX = 1 << 30,
};

static Bytes sequence_key(uint64_t sequence, uint8_t bytes[SEQUENCE_BYTES]) {
  store_u64(bytes, __builtin_bswap64(sequence));
  return (Bytes){ bytes, SEQUENCE_BYTES };
}

static Status bad_change(void) { return status_fail(KVSTORE_CORRUPT, "a captured change is not one"); }

/* ---- the rows ---- */

static Status write_row(Session *session, FamilyState *state, Era *era, uint64_t sequence, Bytes value) {
  uint8_t bytes[SEQUENCE_BYTES];
  return kv_write_row(session, state, era, sequence_key(sequence, bytes), value, EXPIRY_NEVER, false);
}

static Status write_floor(Session *session, FamilyState *state, Era *era, uint64_t floor) {
  uint8_t bytes[SEQUENCE_BYTES];
  store_u64(bytes, floor);
  return write_row(session, state, era, 0, (Bytes){ bytes, sizeof bytes });
}

static Status read_floor(Session *session, const Era *era, uint64_t sequence, uint64_t *floor) {
  uint8_t bytes[SEQUENCE_BYTES];
  MergeRow row;
  RowState found;
  Bytes value = { 0 };
  TRY(kv_find_row(session->store, era, sequence, sequence_key(0, bytes), &row, &found));
  Status status = found == ROW_LIVE ? merge_row_value(&row, &value) : KVSTORE_OK;
  if (status == KVSTORE_OK && value.length != SEQUENCE_BYTES) status = bad_change();
  if (status == KVSTORE_OK) *floor = load_u64(value.data);
  merge_row_release(&row);
  return status;
}

static void encode(const CapturedChange *change, Buffer *out) {
  buffer_u8(out, (uint8_t)change->kind);
  buffer_u64(out, (uint64_t)change->time_ms);
  buffer_u64(out, change->transaction);
  buffer_u64(out, (uint64_t)change->expiry);
  buffer_bytes(out, change->key.data, change->key.length);
  buffer_append(out, change->value.data, change->value.length);
}

static Status decode(Bytes value, uint64_t sequence, CapturedChange *out) {
  Reader in = reader_over(value.data, value.length);
  out->sequence = sequence;
  out->kind = reader_u8(&in);
  out->time_ms = (int64_t)reader_u64(&in);
  out->transaction = reader_u64(&in);
  out->expiry = (int64_t)reader_u64(&in);
  out->key = reader_bytes(&in);
  size_t length = reader_left(&in);
  out->value = (Bytes){ reader_take(&in, length), length };
  bool known = out->kind >= CHANGE_PUT && out->kind <= CHANGE_CLEAR;
  return known && !in.failed ? KVSTORE_OK : bad_change();
}

/* ---- writing ---- */

static Status open_changes(Session *session, const Era *era, uint64_t sequence, uint64_t from, MergeCursor *cursor) {
  uint8_t bytes[SEQUENCE_BYTES];
  KvRange range = { .lower = sequence_key(from, bytes) };
  TRY(kv_open_cursor(session->store, era, sequence, &range, cursor));
  Status status = merge_cursor_first(cursor);
  if (status != KVSTORE_OK) merge_cursor_close(cursor);
  return status;
}

/* The change that a cursor stands on; its bytes are the cursor's. */
static Status change_at(MergeCursor *cursor, CapturedChange *out) {
  Bytes value, key = cursor->row.view.key;
  if (key.length != SEQUENCE_BYTES) return bad_change();
  TRY(merge_cursor_value(cursor, &value));
  return decode(value, load_u64_big_endian(key.data), out);
}

/* Takes away what is older than `keep_ms`. *oldest: no change is older than that. */
static Status trim(Session *session, FamilyState *state, Era *era, uint64_t sequence, int64_t keep_ms, uint64_t at_most,
                   int64_t *oldest) {
  int64_t now = *oldest = store_clock(session->store);
  uint64_t floor, floor_before;
  uint8_t bytes[SEQUENCE_BYTES];
  MergeCursor cursor;
  TRY(read_floor(session, era, sequence, &floor));
  TRY(open_changes(session, era, sequence, floor, &cursor));
  Status status = KVSTORE_OK;
  floor_before = floor;
  for (uint64_t trimmed = 0; status == KVSTORE_OK && cursor.valid; trimmed++) {
    CapturedChange change;
    status = change_at(&cursor, &change);
    *oldest = change.time_ms;
    if (status != KVSTORE_OK || now - change.time_ms <= keep_ms || trimmed == at_most) break;
    *oldest = now;
    floor = change.sequence + 1;
    status = kv_write_row(session, state, era, sequence_key(change.sequence, bytes), (Bytes){ 0 }, EXPIRY_NEVER, true);
    if (status == KVSTORE_OK) status = transaction_spill(session);
    if (status == KVSTORE_OK) status = merge_cursor_next(&cursor);
  }
  merge_cursor_close(&cursor);
  if (status != KVSTORE_OK || floor == floor_before) return status;
  COUNT(capture_trims);
  return write_floor(session, state, era, floor);
}

static Status trim_when_due(Session *session, FamilyState *state, Era *era, uint64_t sequence, int64_t keep_ms,
                            uint64_t at_most) {
  _Atomic int64_t *oldest = &state->family->oldest_change_ms;
  int64_t known = atomic_load_explicit(oldest, memory_order_relaxed);
  if (store_clock(session->store) - known <= keep_ms) return KVSTORE_OK;
  TRY(trim(session, state, era, sequence, keep_ms, at_most, &known));
  atomic_store_explicit(oldest, known, memory_order_relaxed);
  return KVSTORE_OK;
}

Status capture_note(Session *session, const FamilyOptions *options, CapturedChange *change) {
  Store *store = session->store;
  ReadPin pin;
  FamilyState *state;
  Era *era;
  Buffer row = { 0 };
  TRY(write_pin(session, &pin));
  Status status = session_family(session, &pin, options->changes_family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) status = trim_when_due(session, state, era, pin.sequence, options->changes_ms, TRIMMED_MAX);
  change->time_ms = store_clock(store);
  change->transaction = store->transaction.first_sequence;
  change->sequence = store->transaction.next_sequence;
  if (status == KVSTORE_OK) encode(change, &row);
  if (status == KVSTORE_OK) status = buffer_status(&row);
  if (status == KVSTORE_OK && row.length > NOTE_BYTES_MAX)
    status =
      status_fail(KVSTORE_LIMIT, "a value of %zu bytes: where changes are captured, pair and note have %d at most",
                  change->value.length, NOTE_BYTES_MAX);
  if (status == KVSTORE_OK) status = write_row(session, state, era, change->sequence, (Bytes){ row.data, row.length });
  if (status == KVSTORE_OK) COUNT(captured_changes);
  buffer_release(&row);
  read_unpin(session, &pin);
  return status;
}

Status kv_end_row(Session *session, FamilyState *state, Era *era, Bytes key) {
  uint64_t sequence = session->store->transaction.next_sequence;
  TRY(kv_write_row(session, state, era, key, (Bytes){ 0 }, EXPIRY_NEVER, true));
  const FamilyOptions *options = &family_state_traits(state, sequence)->options;
  if (LIKELY(!options->changes_family)) return KVSTORE_OK;
  CapturedChange change = { .kind = CHANGE_DELETE, .key = key, .expiry = EXPIRY_NEVER };
  return capture_note(session, options, &change);
}

Status kv_change_row(Session *session, FamilyState *state, Era *era, Bytes key, Bytes value, int64_t expiry,
                     bool tombstone) {
  uint64_t sequence = session->store->transaction.next_sequence;
  expiry = family_expiry(session->store, state, sequence, expiry);
  TRY(kv_write_row(session, state, era, key, value, expiry, tombstone));
  const FamilyOptions *options = &family_state_traits(state, sequence)->options;
  if (UNLIKELY(options->columns_family))
    TRY(columns_note(session, state->family, options, &(SourcePair){ key, value, expiry }, tombstone));
  if (LIKELY(!options->changes_family)) return KVSTORE_OK;
  CapturedChange change = {
    .kind = tombstone ? CHANGE_DELETE : CHANGE_PUT, .key = key, .value = value, .expiry = expiry
  };
  return capture_note(session, options, &change);
}

Status capture_level(Session *session, const FamilyOptions *options, const RowLevel *level) {
  if (!options->changes_family) return KVSTORE_OK;
  MergeLayer layer = { NULL, 0, NULL, level };
  MergeOptions all = { .now_ms = INT64_MIN };
  MergeCursor cursor;
  TRY(merge_cursor_open(&cursor, &layer, 1, &all));
  Status status = merge_cursor_first(&cursor);
  while (status == KVSTORE_OK && cursor.valid) {
    CapturedChange change = { .kind = CHANGE_PUT, .key = cursor.row.view.key, .expiry = cursor.row.view.expiry };
    status = merge_cursor_value(&cursor, &change.value);
    if (status == KVSTORE_OK) status = capture_note(session, options, &change);
    if (status == KVSTORE_OK) status = transaction_spill(session);
    if (status == KVSTORE_OK) status = merge_cursor_next(&cursor);
  }
  merge_cursor_close(&cursor);
  return status;
}

/* ---- beginning and ending ---- */

/* Its name is nobody's: it is hidden, and no name of a caller begins so. */
static Status begin_capture(Session *session, uint32_t *family) {
  Family hidden = { .kind = FAMILY_KV, .flags = FAMILY_HIDDEN };
  char name[64];
  uint64_t sequence = session->store->transaction.next_sequence;
  ReadPin pin;
  FamilyState *state;
  Era *era;
  (void)snprintf(name, sizeof name, "__changes since %llu", (unsigned long long)sequence);
  TRY(family_create_statement(session, &hidden, name, &(FamilyOptions){ 0 }, family));
  TRY(write_pin(session, &pin));
  Status status = session_family(session, &pin, *family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) status = write_floor(session, state, era, sequence);
  read_unpin(session, &pin);
  return status;
}

Status capture_settle(Session *session, const FamilyOptions *before, FamilyOptions *wanted) {
  wanted->changes_family = before->changes_family;
  if (wanted->changes_ms && !before->changes_family) return begin_capture(session, &wanted->changes_family);
  if (wanted->changes_ms || !before->changes_family) return KVSTORE_OK;
  wanted->changes_family = 0;
  return family_end_statement(session, before->changes_family, true);
}

Status capture_family_end(Session *session, const FamilyOptions *options, bool drop) {
  if (!options->changes_family) return KVSTORE_OK;
  if (drop) return family_end_statement(session, options->changes_family, true);
  return capture_note(session, options, &(CapturedChange){ .kind = CHANGE_CLEAR, .expiry = EXPIRY_NEVER });
}

/* ---- reading ---- */

/* The hidden family at a pin. KVSTORE_GONE: changes are not captured, or not any more, or the family is not there. */
static Status find_changes(Session *session, const ReadPin *pin, uint32_t family, Era **era) {
  FamilyState *state;
  Status status = session_family(session, pin, family, FAMILY_KV, &state, era);
  if (status == KVSTORE_NOTFOUND) return status_fail(KVSTORE_GONE, "the family has been dropped");
  TRY(status);
  uint32_t changes = family_state_traits(state, pin->sequence)->options.changes_family;
  if (!changes) return status_fail(KVSTORE_GONE, "the family's changes are not captured");
  return session_family(session, pin, changes, FAMILY_KV, &state, era);
}

Status capture_ends(Session *session, uint32_t family, uint64_t *oldest, uint64_t *newest) {
  ReadPin pin;
  Era *era;
  uint64_t floor = 0;
  TRY(read_pin(session, &pin));
  Status status = find_changes(session, &pin, family, &era);
  if (status == KVSTORE_OK) status = read_floor(session, era, pin.sequence, &floor);
  *oldest = floor - 1;
  *newest = pin.sequence;
  read_unpin(session, &pin);
  return status;
}

static Status copy_change(const CapturedChange *change, Buffer *out) {
  buffer_u64(out, change->sequence);
  Buffer row = { 0 };
  encode(change, &row);
  Status status = buffer_status(&row);
  if (status == KVSTORE_OK) buffer_bytes(out, row.data, row.length);
  buffer_release(&row);
  return status == KVSTORE_OK ? buffer_status(out) : status;
}

static Status copy_changes(Session *session, const ReadPin *pin, const Era *era, uint64_t after, size_t enough,
                           Buffer *out) {
  uint64_t floor;
  MergeCursor cursor;
  TRY(read_floor(session, era, pin->sequence, &floor));
  if (after + 1 < floor || after > pin->sequence)
    return status_fail(KVSTORE_GONE, "changes behind %llu are kept no longer: the oldest that is there is behind %llu",
                       (unsigned long long)after, (unsigned long long)floor - 1);
  TRY(open_changes(session, era, pin->sequence, after + 1, &cursor));
  Status status = KVSTORE_OK;
  while (status == KVSTORE_OK && cursor.valid && out->length < enough) {
    CapturedChange change;
    status = change_at(&cursor, &change);
    if (status == KVSTORE_OK) status = copy_change(&change, out);
    if (status == KVSTORE_OK) status = merge_cursor_next(&cursor);
  }
  merge_cursor_close(&cursor);
  return status;
}

Status capture_read(Session *session, uint32_t family, uint64_t after, size_t enough, Buffer *out) {
  ReadPin pin;
  Era *era;
  TRY(read_pin(session, &pin));
  Status status = find_changes(session, &pin, family, &era);
  if (status == KVSTORE_OK) status = copy_changes(session, &pin, era, after, enough, out);
  read_unpin(session, &pin);
  return status;
}

bool capture_next(Reader *in, CapturedChange *change) {
  if (!reader_left(in)) return false;
  uint64_t sequence = reader_u64(in);
  return decode(reader_bytes(in), sequence, change) == KVSTORE_OK;
}

/* ---- maintenance ---- */

/* The next family from `*at` on whose changes are captured, or NULL. */
static FamilyState *next_captured(const ReadPin *pin, uint32_t *at) {
  while (*at < pin->version->family_count) {
    FamilyState *state = pin->version->families[(*at)++];
    if (family_state_era(state, pin->sequence) && family_state_traits(state, pin->sequence)->options.changes_family)
      return state;
  }
  return NULL;
}

static Status trim_family(Session *session, const ReadPin *pin, const FamilyOptions *options) {
  FamilyState *state;
  Era *era;
  TRY(session_family(session, pin, options->changes_family, FAMILY_KV, &state, &era));
  TRY(trim_when_due(session, state, era, pin->sequence, options->changes_ms, UINT64_MAX));
  return transaction_spill(session);
}

static Status trim_all(Session *session) {
  ReadPin pin;
  uint32_t at = 0;
  FamilyState *captured;
  TRY(write_pin(session, &pin));
  Status status = KVSTORE_OK;
  while (status == KVSTORE_OK && (captured = next_captured(&pin, &at)) != NULL)
    status = trim_family(session, &pin, &family_state_traits(captured, pin.sequence)->options);
  read_unpin(session, &pin);
  return status;
}

Status capture_trim(Session *session) {
  ReadPin pin;
  uint32_t at = 0;
  if (session_transaction(session)) return KVSTORE_OK;
  TRY(read_pin(session, &pin));
  bool any = next_captured(&pin, &at) != NULL;
  read_unpin(session, &pin);
  if (!any) return KVSTORE_OK;
  Status status = write_try_begin(session);
  if (status == KVSTORE_BUSY) return KVSTORE_OK; /* who writes trims what it writes to */
  return status == KVSTORE_OK ? write_end(session, trim_all(session)) : status;
}
