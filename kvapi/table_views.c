/* table_views.c - columns of a table as arrays, without a copy where they lie in the file so. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/snapshots.h"
#include "kvapi/tables.h"
#include "query/column_view.h"

/* What the caller sees comes first: it is what kvtable_view_close is given. */
typedef struct View {
  KVTableView shown;
  uint32_t magic;
  KVTable *table;
  KVSnapshot *snapshot;
  TableSnapshot rows;
  ColumnView view;
  Arena arena; /* of the pieces as they are shown */
} View;

static void view_release(View *v) {
  column_view_release(&v->view);
  table_snapshot_release(&v->rows);
  snapshot_release(v->snapshot);
  arena_release(&v->arena);
  table_release(v->table);
  memory_release(v);
}

static Status find_column(const KVTable *table, const char *name, uint32_t *column) {
  if (!name) return bad_argument("the name of a column is NULL");
  int found = schema_find(&table->schema, name, strlen(name));
  if (found < 0 || (uint32_t)found >= table->visible)
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL, "table %s has no column %s", table->name, name);
  const Column *c = &table->schema.columns[found];
  if (c->type == TYPE_STRING || c->type == TYPE_BYTES)
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, NULL,
                          "column %s of type %s is no array: its values have no fixed width", name, type_name(c->type));
  *column = (uint32_t)found;
  return KVSTORE_OK;
}

static Status take_rows(View *v, const uint32_t *columns, size_t count) {
  const KVTable *table = v->table;
  bool *wanted = memory_allocate_zeroed(table->schema.column_count * sizeof *wanted);
  if (!wanted) return status_nomem();
  for (size_t i = 0; i < count; i++) wanted[columns[i]] = true;
  Session *session = v->snapshot ? v->snapshot->frozen : table->kv->session;
  Status status = table_take_snapshot(table, session, wanted, &(KvRange){ 0 }, &v->rows);
  memory_release(wanted);
  return status;
}

static Status show(View *v, size_t count) {
  const ColumnView *view = &v->view;
  KVTablePiece *pieces =
    arena_allocate_zeroed(&v->arena, memory_array_size(view->piece_count ? view->piece_count : 1, sizeof *pieces));
  if (!pieces) return status_nomem();
  for (size_t p = 0; p < view->piece_count; p++) {
    KVTableArray *arrays = arena_allocate(&v->arena, count * sizeof *arrays);
    if (!arrays) return status_nomem();
    for (size_t i = 0; i < count; i++) {
      const ColumnViewArray *from = &view->pieces[p].arrays[i];
      arrays[i] = (KVTableArray){ from->values, from->valid, from->is_in_file };
    }
    pieces[p] = (KVTablePiece){ view->pieces[p].row_count, view->pieces[p].live, arrays };
  }
  v->shown = (KVTableView){ sizeof(KVTableView), view->row_count, count, view->widths, view->piece_count, pieces };
  return KVSTORE_OK;
}

static Status at_snapshot(View *v, KVSnapshot *snapshot) {
  if (!snapshot) return KVSTORE_OK;
  TRY(snapshot_check_handle(snapshot, v->table->kv));
  v->snapshot = snapshot_retain(snapshot);
  return KVSTORE_OK;
}

static Status fill_view(View *v, const char *const *names, size_t count, KVSnapshot *snapshot) {
  uint32_t *columns = arena_allocate(&v->arena, memory_array_size(count, sizeof *columns));
  if (!columns) return status_nomem();
  for (size_t i = 0; i < count; i++) TRY(find_column(v->table, names[i], &columns[i]));
  TRY(at_snapshot(v, snapshot));
  TRY(take_rows(v, columns, count));
  TRY(column_view_create(&v->rows, columns, count, &v->view));
  return show(v, count);
}

static Status open_view(KVTable *table, const char *const *columns, size_t count, KVSnapshot *snapshot,
                        KVTableView **view) {
  if (!view) return bad_argument("the place for the view is NULL");
  if (!columns || !count) return bad_argument("no column is asked for");
  if (count > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu columns: at most %d", count, KVTABLE_COLUMNS_MAX);
  View *v = memory_allocate_zeroed(sizeof *v);
  if (!v) return status_nomem();
  v->magic = MAGIC_VIEW;
  v->table = table;
  atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
  Status status = fill_view(v, columns, count, snapshot);
  if (status == KVSTORE_OK)
    *view = &v->shown;
  else
    view_release(v);
  return status;
}

int kvtable_view(KVTable *table, const char *const *columns, size_t column_count, KVSnapshot *snapshot,
                 KVTableView **view) {
  if (view) *view = NULL;
  Status status = table_enter(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  return handle_leave(table->kv, open_view(table, columns, column_count, snapshot, view));
}

void kvtable_view_close(KVTableView *view) {
  View *v = (View *)(void *)view;
  if (!v || v->magic != MAGIC_VIEW) return;
  v->magic = MAGIC_DEAD;
  view_release(v);
}
