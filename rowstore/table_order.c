/* table_order.c - keys are sorted by the 8 bytes behind what all of them have in common, by a radix sort; those that
 * agree there, whole. */
#include "rowstore/table_order.h"

#include <stdlib.h>

#include "base/counters.h"
#include "base/memory.h"
#include "base/word_sort.h"

typedef struct KeyedRow {
  Bytes key;
  uint32_t row;
} KeyedRow;

static int by_key(const void *a, const void *b) {
  Bytes x = ((const KeyedRow *)a)->key, y = ((const KeyedRow *)b)->key;
  return bytes_compare(x.data, x.length, y.data, y.length);
}

/* At most one row of each key (VIS-1). */
static uint32_t visible_rows(const TableDelta *delta, uint64_t snapshot, uint32_t first, uint32_t end,
                             NumberedWord *rows) {
  uint32_t count = 0;
  for (uint32_t row = first; row < end; row++) {
    bool sees = table_delta_sequence(delta, row) <= snapshot && snapshot < table_delta_dead_at(delta, row);
    if (sees) rows[count++].number = row;
  }
  return count;
}

static size_t common_bytes(const TableDelta *delta, const NumberedWord *rows, uint32_t count) {
  Bytes first = count ? table_delta_key(delta, rows[0].number) : (Bytes){ NULL, 0 };
  size_t common = first.length;
  for (uint32_t i = 1; i < count; i++) {
    Bytes key = table_delta_key(delta, rows[i].number);
    if (key.length >= common && memcmp(key.data, first.data, common) == 0) continue;
    size_t same = 0;
    while (same < key.length && same < common && key.data[same] == first.data[same]) same++;
    common = same;
  }
  return common;
}

static Status sort_whole(const TableDelta *delta, NumberedWord *rows, size_t count) {
  KeyedRow *keyed = memory_allocate(memory_array_size(count, sizeof *keyed));
  if (!keyed) return status_nomem();
  for (size_t i = 0; i < count; i++) keyed[i] = (KeyedRow){ table_delta_key(delta, rows[i].number), rows[i].number };
  qsort(keyed, count, sizeof *keyed, by_key);
  for (size_t i = 0; i < count; i++) rows[i].number = keyed[i].row;
  memory_release(keyed);
  COUNT_MANY(order_keys_whole, count);
  return KVSTORE_OK;
}

/* Rows in the order of their words: those of equal words by their keys. */
static Status settle_equal(const TableDelta *delta, NumberedWord *rows, uint32_t count) {
  for (uint32_t from = 0, to; from < count; from = to) {
    for (to = from + 1; to < count && rows[to].word == rows[from].word;) to++;
    if (to - from > 1) TRY(sort_whole(delta, rows + from, to - from));
  }
  return KVSTORE_OK;
}

/* *sorted is one of the two arrays, or an earlier failure has left it alone. */
static Status sort_rows(const TableDelta *delta, NumberedWord *rows, NumberedWord *room, uint32_t count,
                        NumberedWord **sorted) {
  size_t skip = common_bytes(delta, rows, count);
  for (uint32_t i = 0; i < count; i++) {
    Bytes key = table_delta_key(delta, rows[i].number);
    rows[i].word = bytes_prefix64(key.data + skip, key.length - skip);
  }
  *sorted = words_sort(rows, room, count);
  return settle_equal(delta, *sorted, count);
}

Status table_order_make(const TableDelta *delta, uint64_t snapshot, uint32_t first, TableOrder *out) {
  uint32_t end = table_delta_row_count(delta), most = end > first ? end - first : 0;
  *out = (TableOrder){ NULL, 0 };
  if (!most) return KVSTORE_OK;
  NumberedWord *rows = memory_allocate(memory_array_size(most, 2 * sizeof *rows)), *sorted = rows;
  if (!rows) return status_nomem();
  uint32_t count = visible_rows(delta, snapshot, first, end, rows);
  Status status = sort_rows(delta, rows, rows + most, count, &sorted);
  uint32_t *order = status == KVSTORE_OK ? memory_allocate(memory_array_size(count + 1, sizeof *order)) : NULL;
  if (status == KVSTORE_OK && !order) status = status_nomem();
  for (uint32_t i = 0; order && i < count; i++) order[i] = sorted[i].number;
  memory_release(rows);
  if (status == KVSTORE_OK) *out = (TableOrder){ order, count };
  return status;
}

void table_order_release(TableOrder *order) {
  memory_release(order->rows);
  *order = (TableOrder){ NULL, 0 };
}
