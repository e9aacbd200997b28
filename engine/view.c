/* view.c - a table at a snapshot, as units for scans: segments with their dead rows, and slabs of deltas. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/table_state.h"

typedef struct View {
  Store *store;
  TransactionFate *fate; /* of the transaction that it was made in; NULL: none */
  VersionHold hold;
  Era *era;
  DeadState *dead;
  const ScanUnit *units;
  uint32_t unit_count;
  ScanUnit *own_units; /* with the slabs of deltas; NULL: there are none, and the units are the state's */
} View;

static void view_release(void *owner) {
  View *view = owner;
  dead_state_release(view->dead);
  memory_release(view->own_units);
  version_unhold(view->store, &view->hold);
  fate_release(view->fate);
  store_release(view->store);
  memory_release(view);
}

static void add_delta(View *view, const TableDelta *delta, uint64_t sequence, uint32_t slabs) {
  for (uint32_t s = 0; s < slabs; s++) {
    TableSlab slab = table_delta_slab(delta, s);
    ScanUnit *unit = &view->own_units[view->unit_count++];
    unit->kind = SCAN_UNIT_ARRAYS;
    unit->row_count = slab.row_count;
    unit->columns = slab.columns;
    unit->sequence = slab.sequence;
    unit->dead_at = slab.dead_at;
    unit->dead_rows = slab.dead_rows;
    unit->expiry = slab.expiry;
    unit->snapshot = sequence;
  }
}

static Status list_all(View *view, uint64_t sequence, const uint32_t *slabs, size_t slab_count) {
  const Era *era = view->era;
  uint32_t segment_count = era_segment_count(era, view->dead);
  view->own_units = memory_allocate_zeroed(memory_array_size(segment_count + slab_count, sizeof(ScanUnit)));
  if (!view->own_units) return status_nomem();
  era_list_segments(era, view->dead, view->own_units);
  view->units = view->own_units;
  view->unit_count = segment_count;
  for (uint32_t i = era->delta_count; i-- > 0;) add_delta(view, era->deltas[i].delta->table, sequence, slabs[i]);
  return KVSTORE_OK;
}

/* The slabs are counted once: the writer may open more meanwhile, none of whose rows the snapshot sees. */
static Status fill_units(View *view, uint64_t sequence) {
  const Era *era = view->era;
  uint32_t *slabs = memory_allocate((era->delta_count + 1) * sizeof *slabs);
  if (!slabs) return status_nomem();
  size_t slab_count = 0;
  for (uint32_t i = 0; i < era->delta_count; i++)
    slab_count += slabs[i] = table_delta_slab_count(era->deltas[i].delta->table);
  Status status;
  if (slab_count) {
    status = list_all(view, sequence, slabs, slab_count);
  } else {
    status = era_segments(view->era, view->dead, &view->units);
    view->unit_count = view->dead->unit_count;
  }
  memory_release(slabs);
  return status;
}

static Status take_dead_rows(View *view, uint64_t sequence, bool inside) {
  uint32_t before = era_rows_unresolved(view->era);
  TRY(era_dead(view->era, sequence, inside, &view->dead));
  uint32_t after = era_rows_unresolved(view->era);
  COUNT_MANY(keys_resolved_by_readers, before > after ? before - after : 0);
  return KVSTORE_OK;
}

Status table_snapshot_pinned(Session *session, ReadPin *pin, TransactionFate *fate, uint32_t family,
                             TableSnapshot *out) {
  View *view = memory_allocate_zeroed(sizeof *view);
  if (!view) return status_nomem();
  view->store = session->store;
  store_retain(view->store);
  FamilyState *state;
  Status status = session_family(session, pin, family, FAMILY_TABLE, &state, &view->era);
  if (status == KVSTORE_OK) status = version_hold(view->store, pin, &view->hold);
  if (status == KVSTORE_OK) {
    bool inside = fate || pin->inside; /* another thread may have ended it meanwhile */
    status = take_dead_rows(view, pin->sequence, inside);
  }
  if (status == KVSTORE_OK) status = fill_units(view, pin->sequence);
  if (status != KVSTORE_OK) {
    view_release(view);
    return status;
  }
  view->fate = fate;
  *out = (TableSnapshot){ .schema = &state->family->schema,
                          .units = view->units,
                          .unit_count = view->unit_count,
                          .now_ms = store_clock(view->store),
                          .owner = view,
                          .release = view_release,
                          .undone = fate ? &fate->rolled_back : NULL };
  return KVSTORE_OK;
}

Status table_snapshot(Session *session, uint32_t family, TableSnapshot *out) {
  ReadPin pin;
  TransactionFate *fate = NULL;
  TRY(read_pin_kept(session, &pin, &fate));
  Status status = table_snapshot_pinned(session, &pin, fate, family, out);
  read_unpin(session, &pin);
  if (status != KVSTORE_OK) fate_release(fate);
  return status;
}
