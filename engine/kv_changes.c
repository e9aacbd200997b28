/* kv_changes.c - writes to kv families that look first or are many: compare and swap, ranges, batches. */
#include "base/counters.h"
#include "engine/family_columns.h"
#include "engine/kv_rows.h"

/* ---- one row, inside a statement ---- */

static Status delete_row(Session *session, FamilyState *state, Era *era, uint64_t sequence, Bytes key,
                         uint64_t *deleted) {
  MergeRow row;
  RowState found;
  TRY(kv_find_row(session->store, era, sequence, key, &row, &found));
  merge_row_release(&row);
  if (found == ROW_ABSENT) return KVSTORE_OK;
  TRY(kv_change_row(session, state, era, key, (Bytes){ 0 }, EXPIRY_NEVER, true));
  *deleted += found == ROW_LIVE;
  return transaction_spill(session);
}

static Status value_is(MergeRow *row, RowState state, const Bytes *expected, bool *same) {
  *same = (state == ROW_LIVE) == (expected != NULL);
  if (!*same || !expected) return KVSTORE_OK;
  Bytes value;
  TRY(merge_row_value(row, &value));
  *same = bytes_compare(value.data, value.length, expected->data, expected->length) == 0;
  return KVSTORE_OK;
}

/* ---- compare and swap ---- */

static Status swap_row(Session *session, const ReadPin *pin, uint32_t family, Bytes key, const Bytes *expected,
                       const KvNext *next, bool *swapped) {
  FamilyState *state;
  Era *era;
  MergeRow row;
  RowState found;
  TRY(session_family(session, pin, family, FAMILY_KV, &state, &era));
  TRY(kv_find_row(session->store, era, pin->sequence, key, &row, &found));
  Status status = value_is(&row, found, expected, swapped);
  merge_row_release(&row);
  TRY(status);
  if (!*swapped) return KVSTORE_OK;
  if (next) return kv_change_row(session, state, era, key, next->value, next->expiry, false);
  if (found == ROW_ABSENT) return KVSTORE_OK;
  return kv_change_row(session, state, era, key, (Bytes){ 0 }, EXPIRY_NEVER, true);
}

Status kv_compare_and_swap(Session *session, uint32_t family, Bytes key, const Bytes *expected, const KvNext *next,
                           bool *swapped) {
  TRY(kv_check_pair(session, key, next ? next->value : (Bytes){ 0 }));
  TRY(write_begin(session));
  ReadPin pin;
  bool done = false;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) status = swap_row(session, &pin, family, key, expected, next, &done);
  read_unpin(session, &pin);
  if (status == KVSTORE_OK) status = transaction_spill(session);
  TRY(write_end(session, status));
  *swapped = done;
  return KVSTORE_OK;
}

/* ---- ranges ---- */

enum { ENDED_BYTES_MAX = 16 << 20 }; /* keys whose rows in columns end together */

typedef struct RangeDelete {
  Session *session;
  FamilyState *state;
  Era *era;
  const FamilyOptions *options;
  Buffer ended;
} RangeDelete;

static Status end_columns(RangeDelete *d) {
  TRY(buffer_status(&d->ended));
  TRY(columns_note_ends(d->session, d->state->family, d->options, (Bytes){ d->ended.data, d->ended.length }));
  buffer_clear(&d->ended);
  return KVSTORE_OK;
}

static Status end_row(RangeDelete *d, Bytes key) {
  TRY(kv_end_row(d->session, d->state, d->era, key));
  if (d->options->columns_family) buffer_bytes(&d->ended, key.data, key.length);
  if (d->ended.length >= ENDED_BYTES_MAX) TRY(end_columns(d));
  return transaction_spill(d->session);
}

/* The walk sees the rows as they were when it began: neither its own tombstones nor a spill disturb it. */
static Status delete_rows(Session *session, const ReadPin *pin, uint32_t family, const KvRange *range,
                          uint64_t *deleted) {
  RangeDelete d = { .session = session };
  MergeCursor cursor;
  TRY(session_family(session, pin, family, FAMILY_KV, &d.state, &d.era));
  d.options = &family_state_traits(d.state, pin->sequence)->options;
  TRY(kv_open_cursor(session->store, d.era, pin->sequence, range, &cursor));
  Status status = merge_cursor_first(&cursor);
  while (status == KVSTORE_OK && cursor.valid) {
    *deleted += !cursor.row.expired;
    status = end_row(&d, cursor.row.view.key);
    if (status == KVSTORE_OK) status = merge_cursor_next(&cursor);
  }
  merge_cursor_close(&cursor);
  if (status == KVSTORE_OK) status = end_columns(&d);
  buffer_release(&d.ended);
  return status;
}

Status kv_delete_range(Session *session, uint32_t family, const KvRange *range, uint64_t *deleted) {
  TRY(write_begin(session));
  ReadPin pin;
  uint64_t count = 0;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) status = delete_rows(session, &pin, family, range, &count);
  read_unpin(session, &pin);
  TRY(write_end(session, status));
  *deleted = count;
  return KVSTORE_OK;
}

/* ---- batches ---- */

/* Each change has a pin of its own: it sees those before it, and a spill may have changed the version. */
static Status write_change(Session *session, const KvChange *change, uint64_t *deleted) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK && change->kind == KV_CHANGE_DELETE_RANGE) {
    KvRange range = { .lower = change->key, .upper = change->value };
    status = delete_rows(session, &pin, change->family, &range, deleted);
    read_unpin(session, &pin);
    return status;
  }
  if (status == KVSTORE_OK) status = session_family(session, &pin, change->family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK && change->kind == KV_CHANGE_DELETE)
    status = delete_row(session, state, era, pin.sequence, change->key, deleted);
  if (status == KVSTORE_OK && change->kind == KV_CHANGE_PUT) {
    status = kv_change_row(session, state, era, change->key, change->value, change->expiry, false);
    if (status == KVSTORE_OK) status = transaction_spill(session);
  }
  read_unpin(session, &pin);
  return status;
}

Status kv_write_changes(Session *session, KvNextChange *next, void *context, uint64_t *deleted) {
  TRY(write_begin(session));
  uint64_t count = 0;
  KvChange change;
  bool more = true;
  Status status = KVSTORE_OK;
  while (status == KVSTORE_OK) {
    status = next(context, &change, &more);
    if (status != KVSTORE_OK || !more) break;
    if (change.kind != KV_CHANGE_DELETE_RANGE) status = kv_check_pair(session, change.key, change.value);
    if (status == KVSTORE_OK) status = write_change(session, &change, &count);
  }
  TRY(write_end(session, status));
  if (deleted) *deleted = count;
  return KVSTORE_OK;
}
