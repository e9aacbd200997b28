/* unit_share.c - who is free takes the next unit. */
#include "query/unit_share.h"

Status unit_share_divisible(const TableSnapshot *snapshot, bool *divisible) {
  *divisible = true;
  if (!snapshot->unit_count || snapshot->units[0].kind != SCAN_UNIT_STREAM) return KVSTORE_OK;
  const ScanSource *source = snapshot->units[0].source;
  *divisible = false;
  return source->begin ? source->begin(source->context, divisible) : KVSTORE_OK;
}

void unit_share_begin(UnitShare *s, uint32_t first, uint64_t rows) {
  atomic_init(&s->next, first);
  atomic_init(&s->failed, UINT32_MAX);
  atomic_init(&s->rows, rows);
  atomic_init(&s->is_stopped, false);
  mutex_init(&s->lock);
}

void unit_share_end(UnitShare *s) { mutex_destroy(&s->lock); }

uint32_t unit_share_take(UnitShare *s, const TableSnapshot *snapshot) {
  if (unit_share_is_stopped(s)) return UINT32_MAX;
  uint32_t unit = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
  if (unit >= snapshot->unit_count || unit > unit_share_failed(s)) return UINT32_MAX;
  atomic_fetch_add_explicit(&s->rows, snapshot->units[unit].row_count, memory_order_relaxed);
  return unit;
}

uint32_t unit_share_next(const UnitShare *s, const TableSnapshot *snapshot) {
  uint32_t next = atomic_load_explicit(&s->next, memory_order_relaxed);
  return next < snapshot->unit_count ? next : snapshot->unit_count;
}

void unit_share_fail(UnitShare *s, uint32_t unit) {
  if (unit == UINT32_MAX) unit--;
  mutex_lock(&s->lock);
  if (unit < unit_share_failed(s)) {
    s->failure = *status_last();
    atomic_store_explicit(&s->failed, unit, memory_order_relaxed);
  }
  mutex_unlock(&s->lock);
}

Status unit_share_status(const UnitShare *s) {
  const Failure *f = &s->failure;
  if (unit_share_failed(s) == UINT32_MAX) return KVSTORE_OK;
  return status_fail_at(f->code, f->row, f->column[0] ? f->column : NULL, f->value[0] ? f->value : NULL, "%s", f->text);
}
