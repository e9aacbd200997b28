/* pair_view.c - a kv family at a snapshot, as one unit for scans: its pairs in key order, a piece of some thousand at a
 * time, each with the columns that are wanted of it (encodings/projection.h). */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/kv_rows.h"

enum {
  PIECE_ROWS = 16 * BLOCK_ROWS,
  PIECE_BYTES = 4 << 20,      /* of strings: what a piece holds beside its last pair */
  PIECE_STEPS = SEGMENT_ROWS, /* expired pairs included */
};

typedef struct PairView {
  Store *store;
  VersionHold hold;
  TransactionFate *fate; /* of the transaction that it was made in; NULL: none */
  Era *era;
  uint64_t sequence;
  int64_t now_ms;
  PairColumns columns;
  bool *wanted; /* our own copy */
  bool reads_values;
  Buffer bounds; /* what the range points into */
  KvRange range;
  ScanSource source;
  ScanUnit unit;
} PairView;

/* ---- a walk ---- */

typedef struct PairStream {
  const PairView *view;
  MergeCursor cursor;
  bool is_begun;
  Arena arena;   /* of the arrays */
  Arena strings; /* of the current piece */
  size_t string_bytes;
  ColumnArray *columns; /* by position; values NULL: not wanted */
} PairStream;

static void stream_close(void *stream) {
  PairStream *s = stream;
  merge_cursor_close(&s->cursor);
  arena_release(&s->strings);
  arena_release(&s->arena);
  memory_release(s);
}

static Status open_cursor(PairStream *s) {
  const PairView *view = s->view;
  LayerList list;
  TRY(kv_list_layers(view->era, view->sequence, &list));
  MergeOptions options = {
    .lower = view->range.lower, .upper = view->range.upper, .prefix = view->range.prefix, .now_ms = view->now_ms
  };
  Status status = merge_cursor_open(&s->cursor, list.layers, list.count, &options);
  kv_release_layers(&list);
  return status;
}

static Status make_arrays(PairStream *s) {
  const Schema *schema = s->view->columns.schema;
  s->columns = arena_allocate_zeroed(&s->arena, schema->column_count * sizeof *s->columns);
  if (!s->columns) return status_nomem();
  for (uint32_t c = 0; c < schema->column_count; c++) {
    if (!s->view->wanted[c]) continue;
    s->columns[c].values =
      arena_allocate_aligned(&s->arena, 64, PIECE_ROWS * type_array_width(schema->columns[c].type) + CHUNK_PADDING);
    s->columns[c].nulls = arena_allocate_aligned(&s->arena, 64, PIECE_ROWS);
    if (!s->columns[c].values || !s->columns[c].nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

static Status stream_open(void *context, uint32_t number, void **out) {
  (void)number;
  PairStream *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return status_nomem();
  s->view = context;
  Status status = make_arrays(s);
  if (status == KVSTORE_OK) status = open_cursor(s);
  if (status == KVSTORE_OK)
    *out = s;
  else
    stream_close(s);
  return status;
}

/* The cursor's bytes go with its next step. */
static Status keep_string(PairStream *s, Value *value) {
  if (value->is_null || !type_is_string(value->type) || !value->s.length) return KVSTORE_OK;
  value->s.data = arena_copy(&s->strings, value->s.data, value->s.length);
  s->string_bytes += value->s.length;
  return value->s.data ? KVSTORE_OK : status_nomem();
}

static Status put_pair(PairStream *s, const SourcePair *pair, uint32_t row) {
  const PairView *view = s->view;
  for (uint32_t c = 0; c < view->columns.schema->column_count; c++) {
    Value value;
    if (!view->wanted[c]) continue;
    TRY(projection_read(&view->columns.projections[c], pair, &s->strings, &value));
    TRY(keep_string(s, &value));
    ((uint8_t *)(uintptr_t)s->columns[c].nulls)[row] = value.is_null;
    if (value.is_null) value = (Value){ .type = value.type };
    value_to_array(&value, (void *)(uintptr_t)s->columns[c].values, row);
  }
  return KVSTORE_OK;
}

static Status read_pair(PairStream *s, SourcePair *pair) {
  const RowView *row = &s->cursor.row.view;
  *pair = (SourcePair){ row->key, row->value, row->expiry };
  return s->view->reads_values ? merge_cursor_value(&s->cursor, &pair->value) : KVSTORE_OK;
}

static Status step_on(PairStream *s) {
  if (s->is_begun) return merge_cursor_next(&s->cursor);
  s->is_begun = true;
  return merge_cursor_first(&s->cursor);
}

static Status check_fate(const PairView *view) {
  if (!view->fate || !atomic_load_explicit(&view->fate->rolled_back, memory_order_acquire)) return KVSTORE_OK;
  return table_snapshot_undone();
}

/* The cursor stands on the first pair that is not in the piece before. */
static Status stream_next(void *stream, ScanUnit *piece, bool *more) {
  PairStream *s = stream;
  uint32_t rows = 0;
  TRY(check_fate(s->view));
  arena_reset(&s->strings);
  s->string_bytes = 0;
  if (!s->is_begun) TRY(step_on(s));
  for (uint32_t steps = 0; s->cursor.valid; steps++) {
    if (rows == PIECE_ROWS || s->string_bytes >= PIECE_BYTES || steps == PIECE_STEPS) break;
    if (!s->cursor.row.expired) {
      SourcePair pair;
      TRY(read_pair(s, &pair));
      TRY(put_pair(s, &pair, rows++));
    }
    TRY(step_on(s));
  }
  piece->row_count = rows;
  piece->columns = s->columns;
  *more = s->cursor.valid;
  return KVSTORE_OK;
}

/* ---- the snapshot ---- */

static void view_release(void *owner) {
  PairView *view = owner;
  version_unhold(view->store, &view->hold);
  fate_release(view->fate);
  store_release(view->store);
  buffer_release(&view->bounds);
  memory_release(view->wanted);
  memory_release(view);
}

static Bytes copied_bound(Buffer *bounds, size_t *at, Bytes from) {
  if (!from.data) return from;
  Bytes copy = { bounds->data + *at, from.length };
  *at += from.length + 1;
  return copy;
}

/* A bound of no bytes is one all the same: a byte more than it has keeps its address. */
static Status copy_range(PairView *view, const KvRange *range) {
  const Bytes *all[] = { &range->lower, &range->upper, &range->prefix };
  size_t at = 0;
  for (size_t i = 0; i < 3; i++) {
    if (!all[i]->data) continue;
    buffer_append(&view->bounds, all[i]->data, all[i]->length);
    buffer_u8(&view->bounds, 0);
  }
  TRY(buffer_status(&view->bounds));
  view->range.lower = copied_bound(&view->bounds, &at, range->lower);
  view->range.upper = copied_bound(&view->bounds, &at, range->upper);
  view->range.prefix = copied_bound(&view->bounds, &at, range->prefix);
  return KVSTORE_OK;
}

static Status copy_request(PairView *view, const PairColumns *columns, const bool *wanted, const KvRange *range) {
  uint32_t count = columns->schema->column_count;
  view->columns = *columns;
  view->wanted = memory_copy(wanted, count * sizeof *wanted);
  if (!view->wanted) return status_nomem();
  for (uint32_t c = 0; c < count; c++)
    view->reads_values |= wanted[c] && projection_reads_value(&columns->projections[c]);
  return copy_range(view, range);
}

static uint32_t about_rows(const Era *era) {
  uint64_t rows = 0;
  for (uint32_t r = 0; r < era->run_count; r++) rows += era->runs[r].run->entry.row_count;
  for (uint32_t d = 0; d < era->delta_count; d++) rows += kv_delta_counts(era->deltas[d].delta->kv).rows;
  return rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX;
}

/* Has the hidden table all that is wanted, of all pairs? The value itself it has not. */
static bool columns_suffice(const FamilyOptions *options, const PairColumns *columns, const bool *wanted) {
  if (!options->columns_built || options->columns_family != columns->table) return false;
  for (uint32_t c = 0; c < columns->schema->column_count; c++)
    if (wanted[c] && (c >= columns->kept_count || columns->projections[c].kind == PROJECTION_VALUE)) return false;
  return true;
}

/* Ids of tables that were rolled back come again: is it still the one that the caller knows? */
static bool is_known(const Schema *table, const PairColumns *columns) {
  const Schema *schema = columns->schema;
  if (!table->sources || !schema->sources) return columns->kept_count == table->column_count && !table->sources;
  if (columns->kept_count != table->column_count) return false;
  for (uint32_t c = PAIR_OWN_COLUMNS; c < table->column_count; c++) {
    const Column *a = &table->columns[c], *b = &schema->columns[c];
    if (a->type != b->type || a->width != b->width || !schema->sources[c] ||
        strcmp(table->sources[c], schema->sources[c]) != 0)
      return false;
  }
  return true;
}

/* Columns beyond the table's are not asked for. */
static Status read_columns(Session *session, ReadPin *pin, PairView *view, const PairColumns *columns,
                           TableSnapshot *out) {
  TRY(table_snapshot_pinned(session, pin, view->fate, columns->table, out));
  view->fate = NULL;
  out->schema = columns->schema;
  COUNT(pairs_read_by_columns);
  return KVSTORE_OK;
}

static void set_clock(void *context, int64_t now_ms) { ((PairView *)context)->now_ms = now_ms; }

/* A walk over the pairs. */
static Status walk_pairs(PairView *view, ReadPin *pin, Era *era, TableSnapshot *out) {
  TRY(version_hold(view->store, pin, &view->hold));
  view->era = era;
  view->sequence = pin->sequence;
  view->now_ms = store_clock(view->store);
  view->source = (ScanSource){ view, stream_open, stream_next, stream_close, NULL, set_clock };
  view->unit = (ScanUnit){ .kind = SCAN_UNIT_STREAM, .row_count = about_rows(era), .source = &view->source };
  *out = (TableSnapshot){ .schema = view->columns.schema,
                          .units = &view->unit,
                          .unit_count = 1,
                          .now_ms = view->now_ms,
                          .owner = view,
                          .release = view_release,
                          .undone = view->fate ? &view->fate->rolled_back : NULL };
  COUNT(pairs_walked);
  return KVSTORE_OK;
}

Status pairs_snapshot(Session *session, uint32_t family, const PairColumns *columns, const bool *wanted,
                      const KvRange *range, TableSnapshot *out) {
  PairView *view = memory_allocate_zeroed(sizeof *view);
  if (!view) return status_nomem();
  view->store = session->store;
  store_retain(view->store);
  ReadPin pin;
  FamilyState *state;
  Era *era;
  bool walks = true;
  Status status = copy_request(view, columns, wanted, range);
  if (status == KVSTORE_OK) status = read_pin_kept(session, &pin, &view->fate);
  if (status != KVSTORE_OK) {
    view_release(view);
    return status;
  }
  status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    FamilyState *table = version_family(pin.version, columns->table);
    walks = !columns_suffice(&family_state_traits(state, pin.sequence)->options, columns, wanted) || !table ||
            !is_known(&table->family->schema, columns);
    status = walks ? walk_pairs(view, &pin, era, out) : read_columns(session, &pin, view, columns, out);
  }
  read_unpin(session, &pin);
  if (status != KVSTORE_OK || !walks) view_release(view);
  return status;
}
