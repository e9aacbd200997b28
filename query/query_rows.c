/* query_rows.c - the rows of a query: as they lie, unit after unit, or merged by key. */
#include "base/bitmap.h"
#include "base/memory.h"
#include "query/query_internal.h"

struct RowSource {
  const Query *query;
  const TableSnapshot *snapshot;
  const QuerySpace *space; /* may be NULL */
  Arena arena;             /* of the batch */
  Batch batch;
  uint64_t skip, left; /* of the selected rows: still to leave out, still to give */
  /* as the rows lie */
  Scan *scan;
  UnitShare *share; /* whom units are taken from; NULL: all of them are this source's */
  uint32_t unit;    /* the current one; UINT32_MAX: none yet, or none any more */
  uint64_t blocks;  /* of it, still to come */
  bool stops;       /* at the end of each unit */
  bool is_over;     /* there is no further unit */
  /* by key */
  Merge *merge;
  Arena strings; /* of the current batch */
  /* what the order still wants: rows whose value lies within */
  bool has_bound, wants_nulls, is_kept;
  uint32_t bound_column;
  int64_t least, greatest;
};

/* Streams come in the order of the key by themselves. */
static bool lie_by_key(const TableSnapshot *snapshot) {
  return snapshot->unit_count && snapshot->units[0].kind == SCAN_UNIT_STREAM;
}

static Status prepare(RowSource *c) {
  TRY(batch_create(c->query, &c->arena, &c->batch));
  bool by_key = c->query->is_ordered && !c->query->order_count;
  if (by_key && !lie_by_key(c->snapshot)) return merge_create(c->query, c->snapshot, &c->merge);
  return query_scan(c->query, c->snapshot, &c->scan);
}

Status row_source_create(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space, uint64_t skip,
                         uint64_t limit, RowSource **out) {
  RowSource *c = memory_allocate_zeroed(sizeof *c);
  if (!c) return status_nomem();
  c->query = query;
  c->snapshot = snapshot;
  c->space = space;
  c->skip = skip;
  c->left = limit;
  c->unit = UINT32_MAX;
  Status status = prepare(c);
  if (status == KVSTORE_OK)
    *out = c;
  else
    row_source_destroy(c);
  return status;
}

void row_source_destroy(RowSource *c) {
  if (!c) return;
  merge_destroy(c->merge);
  scan_destroy(c->scan);
  arena_release(&c->strings);
  arena_release(&c->arena);
  memory_release(c);
}

ScanCounters row_source_counters(const RowSource *c) {
  return c->merge ? merge_counters(c->merge) : *scan_counters(c->scan);
}

/* ---- within a bound ---- */

void row_source_bound(RowSource *c, uint32_t column, int64_t least, int64_t greatest, bool nulls) {
  if (c->has_bound && c->least == least && c->greatest == greatest) return;
  c->has_bound = true;
  c->is_kept = false;
  c->wants_nulls = nulls && (c->query->schema.columns[column].flags & COLUMN_NULLABLE);
  c->bound_column = column;
  c->least = least;
  c->greatest = greatest;
}

/* Of the blocks still to come only rows within the bound stay: whenever it has changed, and at each unit. */
static Status keep_within(RowSource *c) {
  if (!c->has_bound || c->is_kept || c->wants_nulls || !c->blocks) return KVSTORE_OK;
  c->is_kept = true;
  return scan_keep_within(c->scan, c->bound_column, c->least, c->greatest, &c->blocks);
}

/* ---- as the rows lie ---- */

void row_source_share(RowSource *c, UnitShare *share) {
  c->share = share;
  if (share) c->is_over = false;
}
uint32_t row_source_unit(const RowSource *c) { return c->unit; }
bool row_source_is_between(const RowSource *c) { return !c->blocks && !scan_continues(c->scan); }
void row_source_stop(RowSource *c, bool stops) { c->stops = stops; }
bool row_source_is_over(const RowSource *c) { return c->is_over; }
void row_source_go_back(RowSource *c, uint32_t unit) {
  row_source_share(c, NULL);
  scan_leave_stream(c->scan);
  c->is_over = false;
  c->blocks = 0;
  c->unit = unit - 1;
}

/* On to the next unit, or piece of a stream; false: there is none. */
static bool step_unit(RowSource *c) {
  if (scan_continues(c->scan)) return true;
  c->unit = c->share ? unit_share_take(c->share, c->snapshot) : c->unit + 1;
  return c->unit < c->snapshot->unit_count;
}

/* Scans units until one has rows to give, or one if the source stops then; *found is false when there is none any more.
 */
static Status next_unit(RowSource *c, bool *found) {
  const ScanSelection *selection = scan_selection(c->scan);
  *found = false;
  while (step_unit(c)) {
    TRY(query_tick(c->space, c->share ? unit_share_rows(c->share) : scan_counters(c->scan)->rows));
    TRY(scan_unit(c->scan, &c->snapshot->units[c->unit]));
    if (selection->row_count > c->skip) {
      scan_fill_masks(c->scan);
      c->blocks = selection->blocks;
      c->is_kept = false;
      *found = true;
      return KVSTORE_OK;
    }
    c->skip -= selection->row_count;
    *found = c->stops;
    if (*found) return KVSTORE_OK;
  }
  return query_tick(c->space, c->share ? unit_share_rows(c->share) : scan_counters(c->scan)->rows);
}

/* The rows of a block that are to be given: after the skipped ones, and no more than are left. */
static uint32_t block_rows_to_give(RowSource *c, uint32_t block, uint16_t rows[BLOCK_ROWS]) {
  const uint64_t *mask = scan_selection(c->scan)->masks[block];
  uint32_t count = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word && count < c->left; word &= word - 1) {
      if (c->skip) {
        c->skip--;
      } else {
        rows[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
      }
    }
  }
  return count;
}

static uint64_t block_selected(const RowSource *c, uint32_t block) {
  return bitmap_count(scan_selection(c->scan)->masks[block], BLOCK_WORDS);
}

/* A batch ends before the block that does not fit, and with its unit, whose strings it borrows. */
static Status rows_as_they_lie(RowSource *c) {
  uint16_t rows[BLOCK_ROWS];
  if (c->blocks == 0) {
    bool found;
    TRY(next_unit(c, &found));
    c->is_over = !found;
  }
  TRY(keep_within(c));
  while (c->blocks && c->left) {
    uint32_t block = (uint32_t)__builtin_ctzll(c->blocks);
    if (block_selected(c, block) > QUERY_BATCH_ROWS - c->batch.row_count) break;
    uint32_t count = block_rows_to_give(c, block, rows);
    TRY(batch_append_block(&c->batch, c->scan, block, rows, count));
    c->left -= count;
    c->blocks &= c->blocks - 1;
  }
  return KVSTORE_OK;
}

/* ---- by key ---- */

static Status rows_by_key(RowSource *c) {
  arena_reset(&c->strings);
  TRY(query_tick(c->space, merge_counters(c->merge).rows));
  while (c->batch.row_count < QUERY_BATCH_ROWS && c->left) {
    Scan *scan;
    uint32_t row;
    TRY(merge_next(c->merge, &scan, &row));
    if (!scan) return query_tick(c->space, merge_counters(c->merge).rows);
    if (c->skip) {
      c->skip--;
      continue;
    }
    TRY(batch_append_row(&c->batch, scan, row, &c->strings));
    c->left--;
  }
  return KVSTORE_OK;
}

Status row_source_next(RowSource *c, QueryBatch *batch) {
  batch_clear(&c->batch);
  if (c->merge && c->left) TRY(rows_by_key(c));
  bool goes_on = !c->merge;
  while (goes_on && c->left && !c->is_over && c->batch.row_count == 0) {
    TRY(rows_as_they_lie(c));
    goes_on = !c->stops || c->blocks;
  }
  batch_finish(&c->batch, batch);
  return KVSTORE_OK;
}
