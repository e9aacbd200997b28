/* query_rows.c - a cursor over the rows of a query: as they lie, unit after unit, or merged by key. */
#include "base/bitmap.h"
#include "base/memory.h"
#include "query/query_internal.h"

struct QueryCursor {
  const Query *query;
  TableSnapshot snapshot;
  Arena arena; /* of the batch */
  Batch batch;
  uint64_t skip, left; /* of the selected rows: still to leave out, still to give */
  /* as the rows lie */
  Scan *scan;
  uint32_t next_unit;
  uint64_t blocks; /* of the current unit, still to come */
  /* by key */
  Merge *merge;
  Arena strings; /* of the current batch */
};

static Status cursor_prepare(QueryCursor *c) {
  TRY(query_check_schema(c->query, c->snapshot.schema));
  TRY(batch_create(c->query, &c->arena, &c->batch));
  if (c->query->is_ordered) return merge_create(c->query, &c->snapshot, &c->merge);
  return scan_create(c->snapshot.schema, query_predicate(c->query), c->snapshot.now_ms, &c->scan);
}

static void cursor_release(QueryCursor *c) {
  merge_destroy(c->merge);
  scan_destroy(c->scan);
  arena_release(&c->strings);
  arena_release(&c->arena);
  memory_release(c);
}

Status query_open(const Query *query, TableSnapshot *snapshot, QueryCursor **out) {
  QueryCursor *c = memory_allocate_zeroed(sizeof *c);
  if (!c) return status_nomem();
  c->query = query;
  c->snapshot = *snapshot;
  c->skip = query->offset;
  c->left = query->limit;
  Status status = cursor_prepare(c);
  if (status != KVSTORE_OK) { /* the snapshot stays the caller's */
    cursor_release(c);
    return status;
  }
  *snapshot = (TableSnapshot){ 0 };
  *out = c;
  return KVSTORE_OK;
}

void query_close(QueryCursor *c) {
  if (!c) return;
  TableSnapshot snapshot = c->snapshot;
  cursor_release(c);
  table_snapshot_release(&snapshot);
}

ScanCounters query_counters(const QueryCursor *c) {
  return c->merge ? merge_counters(c->merge) : *scan_counters(c->scan);
}

/* ---- as the rows lie ---- */

/* Scans units until one has rows to give; *found is false when there is none any more. */
static Status next_unit(QueryCursor *c, bool *found) {
  const ScanSelection *selection = scan_selection(c->scan);
  *found = false;
  while (c->next_unit < c->snapshot.unit_count) {
    TRY(scan_unit(c->scan, &c->snapshot.units[c->next_unit++]));
    if (selection->row_count > c->skip) {
      scan_fill_masks(c->scan);
      c->blocks = selection->blocks;
      *found = true;
      return KVSTORE_OK;
    }
    c->skip -= selection->row_count;
  }
  return KVSTORE_OK;
}

/* The rows of a block that are to be given: after the skipped ones, and no more than are left. */
static uint32_t block_rows_to_give(QueryCursor *c, uint32_t block, uint16_t rows[BLOCK_ROWS]) {
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

static uint64_t block_selected(const QueryCursor *c, uint32_t block) {
  return bitmap_count(scan_selection(c->scan)->masks[block], BLOCK_WORDS);
}

/* A batch ends before the block that does not fit, and with its unit, whose strings it borrows. */
static Status rows_as_they_lie(QueryCursor *c) {
  uint16_t rows[BLOCK_ROWS];
  if (c->blocks == 0) {
    bool found;
    TRY(next_unit(c, &found));
    if (!found) return KVSTORE_OK;
  }
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

static Status rows_by_key(QueryCursor *c) {
  arena_reset(&c->strings);
  while (c->batch.row_count < QUERY_BATCH_ROWS && c->left) {
    Scan *scan;
    uint32_t row;
    TRY(merge_next(c->merge, &scan, &row));
    if (!scan) return KVSTORE_OK;
    if (c->skip) {
      c->skip--;
      continue;
    }
    TRY(batch_append_row(&c->batch, scan, row, &c->strings));
    c->left--;
  }
  return KVSTORE_OK;
}

Status query_next(QueryCursor *c, QueryBatch *batch) {
  batch_clear(&c->batch);
  if (c->left) TRY(c->merge ? rows_by_key(c) : rows_as_they_lie(c));
  batch_finish(&c->batch, batch);
  return KVSTORE_OK;
}
