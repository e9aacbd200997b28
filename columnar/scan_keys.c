/* scan_keys.c - a scan within keys: which rows of a unit lie there.
 *
 * The rows of a run ascend by key, so that those of a range are one piece of it: its ends are searched for once a run,
 * and neither key columns nor zone maps between them are looked at. The rows of arrays are in no order; they are asked
 * the whole filter, which says of a key what the range does. */
#include "base/bitmap.h"
#include "columnar/scan_internal.h"

static void use(Scan *scan, const ScanFilter *filter) {
  scan->where = filter->where;
  scan->nodes = filter->nodes;
  scan->scratch = filter->scratch;
}

Status scan_keys_create(Scan *scan, const ScanKeys *keys) {
  scan->keys = keys;
  scan->of_arrays = (ScanFilter){ scan->where, scan->nodes, scan->scratch };
  scan->where = keys->inside;
  scan->scratch = NULL;
  TRY(scan_filter_create(scan));
  scan->of_segments = (ScanFilter){ scan->where, scan->nodes, scan->scratch };
  return KVSTORE_OK;
}

Status scan_keys_run(Scan *scan, bool *any) {
  ColumnRun *run = scan->selection.unit->run;
  *any = true;
  if (!scan->keys) return KVSTORE_OK;
  use(scan, &scan->of_segments);
  scan->keys_first = 0;
  scan->keys_end = position_pack(run->segment_count, 0);
  if (scan->keys->low.data) TRY(column_run_bound(run, scan->keys->low, &scan->keys_first));
  if (scan->keys->high.data) TRY(column_run_bound(run, scan->keys->high, &scan->keys_end));
  *any = scan->keys_first < scan->keys_end;
  return KVSTORE_OK;
}

/* The row of a segment that a position of its run is; the last one's end, or 0, when it lies outside. */
static uint32_t row_in(const ScanUnit *unit, uint32_t position) {
  uint32_t segment = position_segment(position);
  if (segment != unit->segment) return segment < unit->segment ? 0 : unit->row_count;
  return position_row(position);
}

void scan_keys_unit(Scan *scan) {
  const ScanUnit *unit = scan->selection.unit;
  scan->first_row = 0;
  scan->end_row = unit->row_count;
  if (!scan->keys) return;
  use(scan, unit->kind == SCAN_UNIT_SEGMENT ? &scan->of_segments : &scan->of_arrays);
  if (unit->kind != SCAN_UNIT_SEGMENT) return;
  scan->first_row = row_in(unit, scan->keys_first);
  scan->end_row = row_in(unit, scan->keys_end);
}

uint64_t scan_keys_blocks(const Scan *scan) {
  uint32_t end = (scan->end_row + BLOCK_ROWS - 1) / BLOCK_ROWS;
  return first_blocks(end) & ~first_blocks(scan->first_row / BLOCK_ROWS);
}

/* Clears bits [from, to) of a block's mask. */
static void clear_rows(uint64_t mask[BLOCK_WORDS], uint32_t from, uint32_t to) {
  for (uint32_t first = from / 64 * 64; first < to; first += 64) {
    uint64_t before = from > first ? first_blocks(from - first) : 0, within = first_blocks(to - first);
    mask[first / 64] &= before | ~within;
  }
}

uint64_t scan_keys_cut(Scan *scan, uint64_t blocks) {
  uint32_t first = scan->first_row / BLOCK_ROWS, last = (scan->end_row - 1) / BLOCK_ROWS;
  uint64_t whole = UINT64_MAX;
  if (scan->first_row % BLOCK_ROWS) {
    if (blocks >> first & 1) clear_rows((*scan->masks)[first], 0, scan->first_row % BLOCK_ROWS);
    whole &= ~(UINT64_C(1) << first);
  }
  if (scan->end_row < scan->selection.unit->row_count && scan->end_row % BLOCK_ROWS) {
    if (blocks >> last & 1) clear_rows((*scan->masks)[last], scan->end_row % BLOCK_ROWS, BLOCK_ROWS);
    whole &= ~(UINT64_C(1) << last);
  }
  return whole;
}
