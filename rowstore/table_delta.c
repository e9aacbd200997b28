#include "rowstore/table_delta.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"
#include "rowstore/table_slab.h"

/* link[row]: LINK_REPLACED | number of the older row of the same key (rolled-back ones left out) + 1, or 0.
 * An entry's head: number of the newest row + 1, or 0. */
#define LINK_REPLACED (UINT32_C(1) << 31) /* this row's append set dead_at of the older one */

enum {
  APPEND_ROWS = 256, /* of a batch at a time: their index slots and column tails stay in the cache */
  APPEND_AHEAD = 12, /* rows whose entries are fetched before their turn */
};

struct TableDelta {
  KeyIndex index;
  SlabStore store;
  bool frozen;
  _Atomic uint32_t row_count; /* release: the rows below it are whole */
  _Atomic uint64_t live_rows;
};

static inline _Atomic uint64_t *dead_at_of(const TableDelta *delta, uint32_t row) {
  return &slab_at(&delta->store, row)->dead_at[row % DELTA_SLAB_ROWS];
}
static inline uint64_t dead_at_load(const TableDelta *delta, uint32_t row) {
  return atomic_load_explicit(dead_at_of(delta, row), memory_order_relaxed);
}
static inline uint64_t sequence_of(const TableDelta *delta, uint32_t row) {
  return slab_at(&delta->store, row)->sequence[row % DELTA_SLAB_ROWS];
}
static inline uint32_t link_of(const TableDelta *delta, uint32_t row) {
  return slab_at(&delta->store, row)->link[row % DELTA_SLAB_ROWS];
}
static inline uint32_t older_of(const TableDelta *delta, uint32_t row) { /* TABLE_ROW_NONE is 0 - 1 */
  return (link_of(delta, row) & ~LINK_REPLACED) - 1;
}

static inline _Atomic uint32_t *dead_rows_of(const TableDelta *delta, uint32_t row) {
  return &slab_at(&delta->store, row)->dead_rows[row % DELTA_SLAB_ROWS / BLOCK_ROWS];
}
static void count_dead(TableDelta *delta, uint32_t row, uint32_t was, uint32_t is) {
  uint32_t dead = atomic_load_explicit(dead_rows_of(delta, row), memory_order_relaxed);
  atomic_store_explicit(dead_rows_of(delta, row), dead + is - was, memory_order_relaxed);
}

/* Changes dead_at between DEAD_NEVER and anything else, and the counts of live and dead rows with it. */
static void set_dead_at(TableDelta *delta, uint32_t row, uint64_t value) {
  uint64_t was_live = dead_at_load(delta, row) == DEAD_NEVER, is_live = value == DEAD_NEVER;
  uint64_t live = atomic_load_explicit(&delta->live_rows, memory_order_relaxed);
  atomic_store_explicit(&delta->live_rows, live + is_live - was_live, memory_order_relaxed);
  count_dead(delta, row, !was_live, !is_live);
  atomic_store_explicit(dead_at_of(delta, row), value, memory_order_relaxed);
}

/* ---- life ---- */
Status table_delta_create(const Schema *schema, TableDelta **out) {
  TableDelta *delta = memory_allocate_zeroed(sizeof *delta);
  if (!delta) return status_nomem();
  Status status = slab_store_init(&delta->store, schema);
  if (status != KVSTORE_OK) {
    memory_release(delta);
    return status;
  }
  key_index_init(&delta->index, false);
  *out = delta;
  return KVSTORE_OK;
}

void table_delta_destroy(TableDelta *delta) {
  if (!delta) return;
  slab_store_release(&delta->store);
  key_index_release(&delta->index);
  memory_release(delta);
}

void table_delta_freeze(TableDelta *delta) { delta->frozen = true; }

/* ---- reading ---- */
/* The newest row at or below `row` in its chain that is no part of a rolled-back transaction and not past the
 * snapshot. */
static inline uint32_t newest_at(const TableDelta *delta, uint32_t row, uint64_t snapshot) {
  while (row != TABLE_ROW_NONE) {
    if (LIKELY(sequence_of(delta, row) <= snapshot && dead_at_load(delta, row) != DEAD_ROLLED_BACK)) return row;
    row = older_of(delta, row);
  }
  return TABLE_ROW_NONE;
}

/* VIS-2. The newest row that is not past the snapshot decides. Dead there, it is a delete, or a bulk load or a row
 * of a newer delta replaced it. (A row that another of the same sequence replaced looks like a delete, but is never
 * newest.) */
static DeltaState state_at(const TableDelta *delta, const KeyEntry *entry, uint64_t snapshot, uint32_t *out) {
  uint32_t head = atomic_load_explicit(&entry->head, memory_order_acquire);
  uint32_t row = newest_at(delta, head - 1, snapshot);
  if (row == TABLE_ROW_NONE) return DELTA_ABSENT;
  uint64_t dead_at = dead_at_load(delta, row);
  bool is_visible = snapshot < dead_at;
  if (!is_visible && dead_at != sequence_of(delta, row)) return DELTA_ABSENT;
  *out = row;
  return is_visible ? DELTA_FOUND : DELTA_DELETED;
}

DeltaState table_delta_find(const TableDelta *delta, uint64_t hash, const void *key, size_t key_length,
                            uint64_t snapshot, uint32_t *row) {
  uint32_t entry = key_index_find(&delta->index, hash, key, key_length);
  return entry ? state_at(delta, key_index_entry(&delta->index, entry), snapshot, row) : DELTA_ABSENT;
}

void table_delta_prefetch(const TableDelta *delta, uint64_t hash) { key_index_prefetch(&delta->index, hash); }
void table_delta_prefetch_entry(const TableDelta *delta, uint64_t hash) {
  key_index_prefetch_entry(&delta->index, hash);
}

uint32_t table_delta_row_count(const TableDelta *delta) {
  return atomic_load_explicit(&delta->row_count, memory_order_acquire);
}

Bytes table_delta_key(const TableDelta *delta, uint32_t row) {
  uint32_t entry = slab_at(&delta->store, row)->entry[row % DELTA_SLAB_ROWS];
  return key_entry_key(key_index_entry(&delta->index, entry));
}

uint64_t table_delta_sequence(const TableDelta *delta, uint32_t row) { return sequence_of(delta, row); }
uint64_t table_delta_dead_at(const TableDelta *delta, uint32_t row) { return dead_at_load(delta, row); }
uint32_t table_delta_older(const TableDelta *delta, uint32_t row) { return older_of(delta, row); }

int64_t table_delta_expiry(const TableDelta *delta, uint32_t row) {
  const int64_t *expiry = atomic_load_explicit(&slab_at(&delta->store, row)->expiry, memory_order_acquire);
  return expiry ? expiry[row % DELTA_SLAB_ROWS] : EXPIRY_NEVER;
}

uint32_t table_delta_slab_count(const TableDelta *delta) {
  return (table_delta_row_count(delta) + DELTA_SLAB_ROWS - 1) / DELTA_SLAB_ROWS;
}

/* The count is read first: whoever sees a row that expires sees the array too. */
TableSlab table_delta_slab(const TableDelta *delta, uint32_t slab_index) {
  uint32_t first_row = slab_index * DELTA_SLAB_ROWS, rows = table_delta_row_count(delta) - first_row;
  const SlabArrays *slab = slab_at(&delta->store, first_row);
  return (TableSlab){
    .first_row = first_row,
    .row_count = rows < DELTA_SLAB_ROWS ? rows : DELTA_SLAB_ROWS,
    .columns = slab->columns,
    .sequence = slab->sequence,
    .dead_at = slab->dead_at,
    .dead_rows = slab->dead_rows,
    .expiry = atomic_load_explicit(&slab->expiry, memory_order_acquire),
  };
}

/* ---- writing ---- */
bool table_delta_set_dead(TableDelta *delta, uint32_t row, uint64_t sequence) {
  if (dead_at_load(delta, row) != DEAD_NEVER) return false;
  set_dead_at(delta, row, sequence);
  return true;
}

void table_delta_revive(TableDelta *delta, uint32_t row, uint64_t sequence) {
  if (dead_at_load(delta, row) == sequence) set_dead_at(delta, row, DEAD_NEVER);
}

/* Puts a row, whose values are written, over what its key leads to. */
static Status link_row(TableDelta *delta, uint32_t row, Bytes key, uint64_t hash, uint64_t sequence, bool is_delete,
                       uint32_t *replaced) {
  uint32_t reference = key_index_find(&delta->index, hash, key.data, key.length);
  if (!reference) TRY(key_index_add(&delta->index, hash, key.data, key.length, 0, &reference));
  KeyEntry *entry = key_index_entry(&delta->index, reference);
  SlabArrays *slab = slab_at(&delta->store, row);
  uint32_t offset = row % DELTA_SLAB_ROWS;
  uint32_t older = newest_at(delta, atomic_load_explicit(&entry->head, memory_order_relaxed) - 1, UINT64_MAX);
  bool replaces = older != TABLE_ROW_NONE && table_delta_set_dead(delta, older, sequence);
  slab->sequence[offset] = sequence;
  atomic_init(&slab->dead_at[offset], is_delete ? sequence : DEAD_NEVER);
  slab->link[offset] = (older + 1) | (replaces ? LINK_REPLACED : 0);
  slab->entry[offset] = reference;
  if (is_delete) {
    count_dead(delta, row, 0, 1);
  } else {
    uint64_t live = atomic_load_explicit(&delta->live_rows, memory_order_relaxed);
    atomic_store_explicit(&delta->live_rows, live + 1, memory_order_relaxed);
  }
  atomic_store_explicit(&entry->head, row + 1, memory_order_release);
  if (replaced) *replaced = replaces ? older : TABLE_ROW_NONE;
  return KVSTORE_OK;
}

static Status reserve_rows(TableDelta *delta, uint32_t row, bool with_expiry) {
  ASSERT(!delta->frozen, "DELTA-2");
  if (row >= TABLE_DELTA_ROWS_MAX) return status_fail(KVSTORE_NOMEM, "a table's delta is full at %u rows", row);
  return slab_store_reserve(&delta->store, row, with_expiry);
}

static uint32_t next_row(const TableDelta *delta) {
  return atomic_load_explicit(&delta->row_count, memory_order_relaxed);
}
static void publish_rows(TableDelta *delta, uint32_t row_count) {
  atomic_store_explicit(&delta->row_count, row_count, memory_order_release);
}

Status table_delta_append(TableDelta *delta, Bytes key, uint64_t hash, const ColumnArray *columns, size_t source_row,
                          int64_t expiry, uint64_t sequence, uint32_t *row_out, uint32_t *replaced) {
  uint32_t row = next_row(delta);
  key_index_prefetch(&delta->index, hash);
  TRY(reserve_rows(delta, row, expiry != EXPIRY_NEVER));
  TRY(slab_store_write(&delta->store, row, columns, source_row, 1));
  slab_store_write_expiry(&delta->store, row, &expiry, 1);
  TRY(link_row(delta, row, key, hash, sequence, false, replaced));
  publish_rows(delta, row + 1);
  if (row_out) *row_out = row;
  return KVSTORE_OK;
}

Status table_delta_delete(TableDelta *delta, Bytes key, uint64_t hash, uint64_t sequence, uint32_t *row_out,
                          uint32_t *replaced) {
  uint32_t row = next_row(delta);
  key_index_prefetch(&delta->index, hash);
  TRY(reserve_rows(delta, row, false));
  slab_store_write_empty(&delta->store, row);
  slab_store_write_expiry(&delta->store, row, NULL, 1);
  TRY(link_row(delta, row, key, hash, sequence, true, replaced));
  publish_rows(delta, row + 1);
  if (row_out) *row_out = row;
  return KVSTORE_OK;
}

static bool any_expires(const int64_t *expiry, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (expiry[i] != EXPIRY_NEVER) return true;
  }
  return false;
}

/* Rows from..from + count - 1 of a batch, which fit the slab of row `row`. */
static Status append_part(TableDelta *delta, const TableAppend *rows, uint32_t row, uint32_t from, uint32_t count,
                          uint32_t *appended) {
  const int64_t *expiry = rows->batch->expiry ? rows->batch->expiry + from : NULL;
  TRY(reserve_rows(delta, row, expiry && any_expires(expiry, count)));
  const uint64_t *hashes = rows->hashes + from;
  for (uint32_t i = 0; i < count; i++) key_index_prefetch(&delta->index, hashes[i]);
  TRY(slab_store_write(&delta->store, row, rows->batch->columns, from, count));
  slab_store_write_expiry(&delta->store, row, expiry, count);
  for (uint32_t i = 0; i < APPEND_AHEAD && i < count; i++) key_index_prefetch_entry(&delta->index, hashes[i]);
  Status status = KVSTORE_OK;
  uint32_t done = 0;
  for (; done < count; done++) {
    if (done + APPEND_AHEAD < count) key_index_prefetch_entry(&delta->index, hashes[done + APPEND_AHEAD]);
    uint64_t sequence = rows->sequence + (from + done) * rows->sequence_step;
    uint32_t *replaced = rows->replaced ? &rows->replaced[from + done] : NULL;
    status = link_row(delta, row + done, rows->keys[from + done], hashes[done], sequence, false, replaced);
    if (status != KVSTORE_OK) break;
  }
  publish_rows(delta, row + done);
  *appended += done;
  return status;
}

Status table_delta_append_batch(TableDelta *delta, const TableAppend *rows, uint32_t *first_row, uint32_t *appended) {
  ASSERT(rows->batch->column_count == delta->store.column_count, "DELTA-ROW-4");
  *first_row = next_row(delta);
  *appended = 0;
  while (*appended < rows->batch->row_count) {
    uint32_t row = *first_row + *appended, count = rows->batch->row_count - *appended;
    uint32_t left = DELTA_SLAB_ROWS - row % DELTA_SLAB_ROWS;
    if (count > left) count = left;
    if (count > APPEND_ROWS) count = APPEND_ROWS;
    TRY(append_part(delta, rows, row, *appended, count, appended));
  }
  return KVSTORE_OK;
}

DeltaMark table_delta_mark(const TableDelta *delta) { return (DeltaMark){ .row_count = next_row(delta) }; }

void table_delta_rollback(TableDelta *delta, DeltaMark mark) {
  ASSERT(!delta->frozen && mark.row_count <= next_row(delta), "VIS-3");
  for (uint32_t row = next_row(delta); row-- > mark.row_count;) {
    set_dead_at(delta, row, DEAD_ROLLED_BACK);
    if (link_of(delta, row) & LINK_REPLACED) set_dead_at(delta, older_of(delta, row), DEAD_NEVER);
  }
}

/* ---- numbers ---- */
DeltaCounts table_delta_counts(const TableDelta *delta) {
  const SlabStore *store = &delta->store;
  uint64_t rows = table_delta_row_count(delta);
  return (DeltaCounts){
    .rows = rows,
    .keys = key_index_count(&delta->index),
    .live_rows = atomic_load_explicit(&delta->live_rows, memory_order_relaxed),
    .bytes_used = atomic_load_explicit(&delta->index.arena.bytes_used, memory_order_relaxed) + rows * store->row_bytes +
                  atomic_load_explicit(&store->string_bytes, memory_order_relaxed),
    .bytes_held = sizeof *delta + key_index_bytes_held(&delta->index) +
                  atomic_load_explicit(&store->bytes_held, memory_order_relaxed),
  };
}

static bool wrong(const char **why, const char *text) {
  *why = text;
  return false;
}

static bool check_row(const TableDelta *delta, uint32_t row, const char **why) {
  uint64_t dead = dead_at_load(delta, row), sequence = sequence_of(delta, row);
  if (dead != DEAD_ROLLED_BACK && dead < sequence) return wrong(why, "a row died before it was written");
  uint32_t older = older_of(delta, row);
  if (older == TABLE_ROW_NONE) return true;
  if (older >= row) return wrong(why, "a row's chain does not descend (DELTA-ROW-3)");
  Bytes key = table_delta_key(delta, row), other = table_delta_key(delta, older);
  if (key.data != other.data) return wrong(why, "a row's chain leads to another key (DELTA-ROW-3)");
  bool replaced = (link_of(delta, row) & LINK_REPLACED) != 0;
  if (dead != DEAD_ROLLED_BACK && replaced && dead_at_load(delta, older) != sequence) {
    return wrong(why, "a replaced row is not dead from its replacement on (VIS-2)");
  }
  return true;
}

/* The dead rows of the block that begins with a row are as many as are counted. */
static bool check_dead_rows(const TableDelta *delta, uint32_t first) {
  uint32_t dead = 0;
  for (uint32_t row = first; row < next_row(delta) && row - first < BLOCK_ROWS; row++)
    dead += dead_at_load(delta, row) != DEAD_NEVER;
  return dead == atomic_load_explicit(dead_rows_of(delta, first), memory_order_relaxed);
}

bool table_delta_check(TableDelta *delta, const char **why) {
  if (!key_index_check(&delta->index, why)) return false;
  uint64_t live = 0;
  for (uint32_t row = 0; row < next_row(delta); row++) {
    if (!check_row(delta, row, why)) return false;
    if (row % BLOCK_ROWS == 0 && !check_dead_rows(delta, row)) return wrong(why, "dead rows miscounted (VIS-2)");
    live += dead_at_load(delta, row) == DEAD_NEVER;
  }
  if (live != atomic_load_explicit(&delta->live_rows, memory_order_relaxed)) return wrong(why, "live rows miscounted");
  return true;
}
