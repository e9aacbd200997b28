/* family_columns.c - columns that are declared over the pairs of a kv family, kept in a hidden table beside it.
 *
 *   a write ──► the family's row
 *           └─► a row of the hidden table: key, null for the value, value_length, expires_at, the declared columns
 *
 * Both belong to one statement, so that at every snapshot each row of the table is that of the pair with its key. What
 * was there before the columns were declared is copied slice by slice, in the order of the keys, each slice a
 * transaction of its own; only then do queries read the table (columns_built). How far a process has come it keeps in
 * memory: another one, or the next life, begins anew, which only writes rows again that are there. */
#include "engine/family_columns.h"

#include <stdio.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "engine/kv_rows.h"
#include "engine/row_stage.h"
#include "engine/table_write.h"

enum {
  SLICE_ROWS = 8192,   /* pairs that one transaction copies: writers wait for it some milliseconds */
  LEVEL_ROWS = 262144, /* of a bulk load, at once: a run of four segments */
  SLICE_BYTES = 16 << 20,
  SLICES_AT_ONCE = 16, /* until the store's thread looks for other work */
};

/* ---- what columns a hidden table has ---- */

const PairColumn pair_own_columns[PAIR_OWN_COLUMNS] = {
  { "key", PROJECTION_KEY, TYPE_BYTES, 0 },
  { "value", PROJECTION_VALUE, TYPE_BYTES, 0 },
  { "value_length", PROJECTION_LENGTH, TYPE_U64, 0 },
  { "expires_at", PROJECTION_EXPIRY, TYPE_TIMESTAMP, COLUMN_NULLABLE | COLUMN_UTC },
};

static Status bad_sources(const Family *f) {
  return status_fail(KVSTORE_CORRUPT, "the columns of hidden family %u cannot be", f->id);
}

static const char *source_of(const Schema *schema, uint32_t column) {
  return schema->sources ? schema->sources[column] : NULL;
}

/* The value lies in the family: here it is null. */
static uint32_t own_flags(uint32_t column) {
  return pair_own_columns[column].flags | (pair_own_columns[column].kind == PROJECTION_VALUE ? COLUMN_NULLABLE : 0);
}

static bool is_own_column(const Schema *schema, uint32_t column) {
  const Column *c = &schema->columns[column];
  return !source_of(schema, column) && c->type == pair_own_columns[column].type && c->flags == own_flags(column) &&
         strcmp(c->name, pair_own_columns[column].name) == 0;
}

static Status read_source(Family *f, uint32_t column, Projection *p) {
  const Column *c = &f->schema.columns[column];
  const char *source = source_of(&f->schema, column);
  if (!source || !(c->flags & COLUMN_NULLABLE)) return bad_sources(f);
  if (projection_parse(source, strlen(source), &f->sources, p) != KVSTORE_OK ||
      projection_set_type(p, c->type, c->width, c->name) != KVSTORE_OK)
    return status_context(KVSTORE_CORRUPT, "hidden family %u", f->id);
  return KVSTORE_OK;
}

Status family_sources_read(Family *f) {
  const Schema *schema = &f->schema;
  if (f->kind != FAMILY_TABLE || !(f->flags & FAMILY_HIDDEN)) return KVSTORE_OK;
  if (schema->column_count < PAIR_OWN_COLUMNS || schema->key_count != 1 || schema->key_columns[0] != 0 ||
      schema->has_row_id)
    return bad_sources(f);
  f->projections = arena_allocate_zeroed(&f->sources, schema->column_count * sizeof *f->projections);
  if (!f->projections) return status_nomem();
  for (uint32_t c = 0; c < schema->column_count; c++) {
    Projection *p = &f->projections[c];
    if (c >= PAIR_OWN_COLUMNS) {
      TRY(read_source(f, c, p));
      continue;
    }
    if (!is_own_column(schema, c)) return bad_sources(f);
    *p = (Projection){ .kind = pair_own_columns[c].kind, .type = pair_own_columns[c].type };
  }
  return KVSTORE_OK;
}

/* ---- rows of the hidden table ---- */

static Status read_column(const Family *table, uint32_t column, const SourcePair *pair, Arena *arena, Value *out) {
  if (table->projections[column].kind != PROJECTION_VALUE)
    return projection_read(&table->projections[column], pair, arena, out);
  *out = (Value){ .type = TYPE_BYTES, .is_null = true };
  return KVSTORE_OK;
}

static Status fill_row(const Family *table, const SourcePair *pair, RowStage *stage, size_t row, Arena *arena) {
  for (uint32_t c = 0; c < table->schema.column_count; c++) {
    Value value;
    TRY(read_column(table, c, pair, arena, &value));
    row_stage_set(stage, c, row, &value);
  }
  return KVSTORE_OK;
}

/* A zero byte takes two in the encoded key, and two more end it. */
static bool key_fits(Bytes key) {
  size_t length = key.length + 2;
  if (key.length <= KEY_BYTES_MAX / 2 - 2) return true;
  for (size_t i = 0; i < key.length; i++) length += key.data[i] == 0;
  return length <= KEY_BYTES_MAX;
}

static Status encode_key(Bytes key, Buffer *out) {
  Value value = { .type = TYPE_BYTES, .s = key };
  if (!key_fits(key))
    return status_fail(KVSTORE_LIMIT, "a key of %zu bytes: where columns are kept, it has %u at most, zeros twice",
                       key.length, KEY_BYTES_MAX - 2);
  keycode_append(out, &value, false);
  return buffer_status(out);
}

static Status put_row(Session *session, FamilyState *state, Era *era, const SourcePair *pair, Bytes key) {
  const Family *table = state->family;
  Arena arena = { 0 };
  RowStage stage;
  uint64_t hash = hash_key(key.data, key.length);
  Status status = row_stage_create(&stage, &table->schema, 1, &arena);
  if (status == KVSTORE_OK) status = fill_row(table, pair, &stage, 0, &arena);
  if (status == KVSTORE_OK) {
    PreparedRows row = {
      &table->schema, { 1, table->schema.column_count, stage.columns, &pair->expiry }, &key, &hash, NULL
    };
    status = write_rows(session, state, era, &row, 0, 1);
  }
  arena_release(&arena);
  return status;
}

/* The hidden table of a family with columns. */
static Status columns_table(Session *session, const ReadPin *pin, uint32_t id, FamilyState **state, Era **era) {
  TRY(session_family(session, pin, id, FAMILY_TABLE, state, era));
  if ((*state)->family->projections) return KVSTORE_OK;
  return status_fail(KVSTORE_CORRUPT, "family %u holds no columns over pairs", id);
}

/* The table has no row of a key that is too long for it. It may be the one that the table was left unbuilt for. */
static void note_end_of_long_key(Store *store, Family *family) {
  atomic_store_explicit(&family->columns_refused, 0, memory_order_relaxed);
  store->transaction.asks_work = true;
}

Status columns_note(Session *session, Family *family, const FamilyOptions *options, const SourcePair *pair,
                    bool tombstone) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  Buffer key = { 0 };
  if (UNLIKELY(tombstone && !key_fits(pair->key))) {
    note_end_of_long_key(session->store, family);
    return KVSTORE_OK;
  }
  TRY(write_pin(session, &pin));
  Status status = columns_table(session, &pin, options->columns_family, &state, &era);
  if (status == KVSTORE_OK) status = encode_key(pair->key, &key);
  if (status == KVSTORE_OK && tombstone)
    status = table_delete_statement(session, state, era, (Bytes){ key.data, key.length });
  else if (status == KVSTORE_OK)
    status = put_row(session, state, era, pair, (Bytes){ key.data, key.length });
  buffer_release(&key);
  read_unpin(session, &pin);
  return status;
}

typedef struct KeyList {
  Bytes *keys; /* that the table can have */
  size_t count, capacity;
  bool has_long_ones; /* beside those */
} KeyList;

static Status list_keys(Bytes keys, KeyList *list) {
  Reader in = reader_over(keys.data, keys.length);
  while (reader_left(&in)) {
    Bytes key = reader_bytes(&in);
    if (!key_fits(key)) {
      list->has_long_ones = true;
      continue;
    }
    TRY(memory_grow(&list->keys, &list->capacity, list->count + 1, sizeof *list->keys));
    list->keys[list->count++] = key;
  }
  return KVSTORE_OK;
}

Status columns_note_ends(Session *session, Family *family, const FamilyOptions *options, Bytes keys) {
  KeyList list = { 0 };
  if (!options->columns_family || !keys.length) return KVSTORE_OK;
  Status status = list_keys(keys, &list);
  if (list.has_long_ones) note_end_of_long_key(session->store, family);
  if (status == KVSTORE_OK && list.count)
    status =
      table_end_statement(session, options->columns_family, &(ColumnArray){ list.keys, NULL }, (uint32_t)list.count);
  memory_release(list.keys);
  return status;
}

/* ---- many rows ---- */

typedef struct PairBatch {
  const Family *table;
  Arena arena;
  RowStage stage;
  int64_t *expiry;
  uint32_t rows, capacity;
  size_t bytes; /* of strings */
} PairBatch;

static Status batch_begin(PairBatch *b, const Family *table, uint32_t capacity) {
  *b = (PairBatch){ .table = table, .capacity = capacity };
  b->expiry = arena_allocate(&b->arena, capacity * sizeof *b->expiry);
  return b->expiry ? row_stage_create(&b->stage, &table->schema, capacity, &b->arena) : status_nomem();
}

static Status keep_strings(PairBatch *b, SourcePair *pair) {
  b->bytes += pair->key.length + pair->value.length;
  pair->key.data = arena_copy(&b->arena, pair->key.data, pair->key.length);
  if (pair->value.length) pair->value.data = arena_copy(&b->arena, pair->value.data, pair->value.length);
  return pair->key.data && (pair->value.data || !pair->value.length) ? KVSTORE_OK : status_nomem();
}

/* The cursor's row, whose bytes go with its next step. */
static Status batch_add(PairBatch *b, MergeCursor *cursor, bool copies_values) {
  SourcePair pair = { cursor->row.view.key, cursor->row.view.value, cursor->row.view.expiry };
  size_t length = pair.value.length;
  if (!key_fits(pair.key))
    return status_fail(KVSTORE_LIMIT, "a key of %zu bytes is too long for columns", pair.key.length);
  if (copies_values)
    TRY(merge_cursor_value(cursor, &pair.value));
  else
    pair.value = (Bytes){ 0 };
  TRY(keep_strings(b, &pair));
  if (!copies_values) pair.value.length = length; /* which is all that is asked of it */
  b->expiry[b->rows] = pair.expiry;
  return fill_row(b->table, &pair, &b->stage, b->rows++, &b->arena);
}

static bool reads_values(const Family *table) {
  for (uint32_t c = PAIR_OWN_COLUMNS; c < table->schema.column_count; c++)
    if (projection_reads_value(&table->projections[c])) return true;
  return false;
}

/* From where the cursor stands, as far as a batch goes. */
static Status batch_fill(PairBatch *b, MergeCursor *cursor) {
  bool values = reads_values(b->table);
  Status status = KVSTORE_OK;
  while (status == KVSTORE_OK && cursor->valid && b->rows < b->capacity && b->bytes < SLICE_BYTES) {
    if (!cursor->row.expired) status = batch_add(b, cursor, values);
    if (status == KVSTORE_OK) status = merge_cursor_next(cursor);
  }
  return status;
}

static Status batch_write(PairBatch *b, Session *session) {
  uint64_t row_id;
  if (!b->rows) return KVSTORE_OK;
  ColumnBatch rows = { b->rows, b->table->schema.column_count, b->stage.columns, b->expiry };
  TRY(table_write_statement(session, b->table->id, &rows, TABLE_UPSERT, &row_id, &b->arena));
  COUNT_MANY(columns_rows_built, b->rows);
  return KVSTORE_OK;
}

/* The table of a family with these options, at the open transaction's own sequence. */
static Status find_table(Session *session, const ReadPin *pin, uint32_t id, const Family **out) {
  FamilyState *state;
  Era *era;
  TRY(columns_table(session, pin, id, &state, &era));
  *out = state->family;
  return KVSTORE_OK;
}

static Status note_all(Session *session, const Family *table, MergeCursor *cursor) {
  Status status = merge_cursor_first(cursor);
  while (status == KVSTORE_OK && cursor->valid) {
    PairBatch batch;
    status = batch_begin(&batch, table, LEVEL_ROWS);
    if (status == KVSTORE_OK) status = batch_fill(&batch, cursor);
    if (status == KVSTORE_OK) status = batch_write(&batch, session);
    if (status == KVSTORE_OK) status = transaction_spill(session);
    arena_release(&batch.arena);
  }
  return status;
}

Status columns_note_level(Session *session, const FamilyOptions *options, const RowLevel *level) {
  if (!options->columns_family) return KVSTORE_OK;
  MergeLayer layer = { NULL, 0, NULL, level };
  MergeOptions all = { .now_ms = INT64_MIN };
  MergeCursor cursor;
  ReadPin pin;
  const Family *table = NULL;
  TRY(write_pin(session, &pin));
  Status status = find_table(session, &pin, options->columns_family, &table);
  if (status == KVSTORE_OK) status = merge_cursor_open(&cursor, &layer, 1, &all);
  if (status == KVSTORE_OK) {
    status = note_all(session, table, &cursor);
    merge_cursor_close(&cursor);
  }
  read_unpin(session, &pin);
  return status;
}

/* ---- copying what was there ---- */

/* One slice of a family whose columns are not built yet, from the key that it has come to. *next gets the key that the
 * one after it begins with, *whole is true when there is none. */
static Status copy_slice(Session *session, const ReadPin *pin, const Era *era, const FamilyOptions *options, Bytes from,
                         Buffer *next, bool *whole) {
  const Family *table = NULL;
  MergeCursor cursor;
  PairBatch batch;
  TRY(find_table(session, pin, options->columns_family, &table));
  TRY(kv_open_cursor(session->store, era, pin->sequence, &(KvRange){ .lower = from }, &cursor));
  Status status = batch_begin(&batch, table, SLICE_ROWS);
  if (status == KVSTORE_OK) status = merge_cursor_first(&cursor);
  if (status == KVSTORE_OK) status = batch_fill(&batch, &cursor);
  *whole = !cursor.valid;
  if (status == KVSTORE_OK && !*whole) {
    buffer_append(next, cursor.row.view.key.data, cursor.row.view.key.length);
    status = buffer_status(next);
  }
  if (status == KVSTORE_OK) status = batch_write(&batch, session);
  CRASH_POINT(columns_before_commit);
  arena_release(&batch.arena);
  merge_cursor_close(&cursor);
  return status;
}

static Status settle_built(Session *session, FamilyState *state, const FamilyTraits *traits) {
  FamilyOptions options = traits->options;
  options.columns_built = 1;
  TRY(family_change_statement(session, state, traits->name, &options));
  COUNT(columns_built);
  return KVSTORE_OK;
}

/* The first family with something to build; a key too long for columns leaves its family to walks. */
static FamilyState *next_wanted(const Version *v, uint64_t sequence) {
  for (uint32_t i = 0; i < v->family_count; i++) {
    FamilyState *state = v->families[i];
    if (!family_state_era(state, sequence)) continue;
    const FamilyOptions *options = &family_state_traits(state, sequence)->options;
    if (options->columns_family && !options->columns_built &&
        atomic_load_explicit(&state->family->columns_refused, memory_order_relaxed) != options->columns_family)
      return state;
  }
  return NULL;
}

/* Where a family's slices have come to: of this process, and of one table. */
static void recall(Family *family, uint32_t table, Buffer *from) {
  mutex_lock(&family->count.lock);
  if (family->columns_of == table) buffer_append(from, family->columns_next.data, family->columns_next.length);
  mutex_unlock(&family->count.lock);
}

static void remember(Family *family, uint32_t table, Buffer *next) {
  mutex_lock(&family->count.lock);
  buffer_release(&family->columns_next);
  family->columns_next = *next;
  family->columns_of = table;
  mutex_unlock(&family->count.lock);
  *next = (Buffer){ 0 };
}

/* Inside a statement. `next` is where the family's slices go on once the statement is committed. */
static Status slice_statement(Session *session, Family **family, uint32_t *table, Buffer *next, bool *whole) {
  ReadPin pin;
  TRY(write_pin(session, &pin));
  FamilyState *state = next_wanted(pin.version, pin.sequence);
  Status status = KVSTORE_OK;
  if (state) {
    Family *f = *family = family_retain(state->family);
    const FamilyTraits *traits = family_state_traits(state, pin.sequence);
    *table = traits->options.columns_family;
    Buffer from = { 0 };
    recall(f, *table, &from);
    status = buffer_status(&from);
    const Era *era = family_state_era(state, pin.sequence);
    if (status == KVSTORE_OK)
      status = copy_slice(session, &pin, era, &traits->options, (Bytes){ from.data, from.length }, next, whole);
    buffer_release(&from);
    if (status == KVSTORE_LIMIT) atomic_store_explicit(&f->columns_refused, *table, memory_order_relaxed);
    if (status == KVSTORE_OK && *whole) status = settle_built(session, state, traits);
  }
  read_unpin(session, &pin);
  return status;
}

/* What was copied last lies in memory, in no order: it goes into runs as soon as queries read it. Not at once where
 * somebody writes. */
static Status flush_built(Session *session) {
  TRY(checkpoint_end_delta(session));
  maintenance_ask(session->store);
  return KVSTORE_OK;
}

static Status build_slice(Session *session, bool *more) {
  Family *family = NULL;
  uint32_t table = 0;
  Buffer next = { 0 };
  bool whole = false;
  TRY(write_try_begin(session));
  Status status = slice_statement(session, &family, &table, &next, &whole);
  if (status == KVSTORE_OK && family) remember(family, table, &next);
  *more = family != NULL;
  bool refused = status == KVSTORE_LIMIT;
  status = write_end(session, status);
  if (status != KVSTORE_OK && family) remember(family, 0, &next); /* it begins anew */
  buffer_release(&next);
  family_release(family);
  if (status == KVSTORE_OK && whole) return flush_built(session);
  if (refused) status_clear();
  return refused ? KVSTORE_OK : status;
}

bool columns_are_wanted(Store *store) {
  uint64_t sequence = atomic_load_explicit(&store->applied_sequence, memory_order_acquire);
  Version *v = version_keep(store);
  bool wanted = next_wanted(v, sequence) != NULL;
  version_let_go(store, v);
  return wanted;
}

/* At most so many slices; *built of them. KVSTORE_BUSY: the next one would have to wait. */
static Status build_slices(Session *session, uint64_t most, bool *more, uint64_t *built) {
  *built = 0;
  *more = columns_are_wanted(session->store);
  if (*more && !session_is_read_only(session)) TRY(log_create(session->store)); /* nothing may have been written yet */
  for (; *more && *built < most; ++*built) TRY(build_slice(session, more));
  return KVSTORE_OK;
}

Status columns_build(Session *session, bool *more, bool *moved) {
  uint64_t built = 0;
  *more = *moved = false;
  if (session_transaction(session)) return KVSTORE_OK;
  mutex_lock(&session->store->build_lock); /* the store's thread holds it for some slices */
  Status status = build_slices(session, UINT64_MAX, more, &built);
  mutex_unlock(&session->store->build_lock);
  *moved = built > 0;
  if (status != KVSTORE_BUSY) return status;
  status_clear();
  return KVSTORE_OK;
}

/* Its commits are synced with the flush that takes them in: what a power cut takes is copied again. */
Status columns_build_behind(Store *store, bool *more, bool *waits) {
  Session session = { .store = store, .options = { .sync_level = SYNC_OFF } };
  *more = *waits = false;
  if (store->reader_only) return KVSTORE_OK;
  if (!mutex_try_lock(&store->build_lock)) { /* somebody does it by call */
    *more = *waits = true;
    return KVSTORE_OK;
  }
  mutex_init(&session.lock);
  uint64_t built;
  Status status = build_slices(&session, SLICES_AT_ONCE, more, &built);
  mutex_destroy(&session.lock);
  mutex_unlock(&store->build_lock);
  *waits = status == KVSTORE_BUSY;
  if (*waits) status_clear();
  return *waits ? KVSTORE_OK : status;
}

/* ---- declaring ---- */

/* What is small is copied at once, within the statement. */
static Status begin_columns(Session *session, const Era *era, const Schema *schema, FamilyOptions *options) {
  Family hidden = {
    .kind = FAMILY_TABLE, .flags = FAMILY_HIDDEN, .schema = *schema, .next_column_id = schema->column_count + 1
  };
  char name[64];
  ReadPin pin;
  Buffer next = { 0 };
  bool whole = false;
  (void)snprintf(name, sizeof name, "__columns since %llu",
                 (unsigned long long)session->store->transaction.next_sequence);
  TRY(family_create_statement(session, &hidden, name, &(FamilyOptions){ 0 }, &options->columns_family));
  TRY(write_pin(session, &pin));
  Status status = copy_slice(session, &pin, era, options, (Bytes){ 0 }, &next, &whole);
  read_unpin(session, &pin);
  buffer_release(&next);
  if (status != KVSTORE_OK) return status;
  options->columns_built = whole;
  session->store->transaction.asks_work |= !whole;
  return KVSTORE_OK;
}

Status columns_family_end(Session *session, const FamilyOptions *options, bool drop) {
  return options->columns_family ? family_end_statement(session, options->columns_family, drop) : KVSTORE_OK;
}

static Status columns_statement(Session *session, uint32_t id, const Schema *schema) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  TRY(write_pin(session, &pin));
  Status status = session_family(session, &pin, id, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    const FamilyTraits *traits = family_state_traits(state, pin.sequence);
    FamilyOptions options = traits->options;
    status = columns_family_end(session, &options, true);
    options.columns_family = options.columns_built = 0;
    if (status == KVSTORE_OK && schema) status = begin_columns(session, era, schema, &options);
    if (status == KVSTORE_OK) status = family_change_statement(session, state, traits->name, &options);
  }
  read_unpin(session, &pin);
  return status;
}

/* The schema of the hidden table: the declared columns behind those that every family has. */
static Status hidden_schema(const PairColumns *columns, Schema *out) {
  TRY(schema_copy(columns->schema, out));
  Status status = KVSTORE_OK;
  for (uint32_t c = 0; c < out->column_count && status == KVSTORE_OK; c++) {
    Buffer text = { 0 };
    if (c < PAIR_OWN_COLUMNS) {
      out->columns[c].flags = own_flags(c);
      continue;
    }
    projection_print(&columns->projections[c], &text);
    buffer_u8(&text, 0);
    status = buffer_status(&text);
    if (status == KVSTORE_OK) status = schema_set_source(out, c, (const char *)text.data);
    buffer_release(&text);
  }
  if (status != KVSTORE_OK) schema_release(out);
  return status;
}

Status family_set_columns(Session *session, uint32_t id, const PairColumns *columns) {
  Schema schema = { 0 };
  if (columns) TRY(hidden_schema(columns, &schema));
  Status status = write_begin_with_room(session);
  if (status == KVSTORE_OK) status = write_end(session, columns_statement(session, id, columns ? &schema : NULL));
  schema_release(&schema);
  return status;
}

Status family_get_columns(Session *session, uint32_t id, FamilyColumns *out) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  *out = (FamilyColumns){ 0 };
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, id, FAMILY_KV, &state, &era);
  const FamilyOptions *options = status == KVSTORE_OK ? &family_state_traits(state, pin.sequence)->options : NULL;
  if (options && options->columns_family) {
    FamilyState *table;
    status = session_family(session, &pin, options->columns_family, FAMILY_TABLE, &table, &era);
    if (status == KVSTORE_OK) status = schema_copy(&table->family->schema, &out->schema);
    out->table = options->columns_family;
    out->is_built = options->columns_built;
  }
  read_unpin(session, &pin);
  return status;
}

/* ---- verifying ---- */

/* A pair and its row in the table, which may be missing as long as the columns are not built. */
typedef struct RowCheck {
  const Family *table;
  Era *era;
  uint64_t sequence;
  bool must_be_there;
  uint64_t found;
} RowCheck;

static Status wrong_row(Bytes key, const char *what) {
  char text[40];
  size_t length = 0;
  for (; length < key.length && length < sizeof text - 1; length++)
    text[length] = key.data[length] >= 0x20 && key.data[length] < 0x7f ? (char)key.data[length] : '.';
  text[length] = 0;
  return status_fail(KVSTORE_CORRUPT, "the columns of key %s: %s", text, what);
}

static Status compare_row(const RowCheck *c, const SourcePair *pair, const FoundRow *found, Arena *arena) {
  const Schema *schema = &c->table->schema;
  Value *row = arena_allocate(arena, schema->column_count * sizeof *row);
  if (!row) return status_nomem();
  TRY(table_read_found(c->era, schema, found, arena, row));
  for (uint32_t i = 0; i < schema->column_count; i++) {
    Value expected;
    TRY(read_column(c->table, i, pair, arena, &expected));
    if (expected.is_null != row[i].is_null || (!expected.is_null && value_compare(&expected, &row[i]) != 0))
      return wrong_row(pair->key, "they are those of another pair");
  }
  return found->expiry == pair->expiry ? KVSTORE_OK : wrong_row(pair->key, "they expire at another time");
}

static Status check_pair(RowCheck *c, const SourcePair *pair, Buffer *key, Arena *arena) {
  FoundRow found;
  buffer_clear(key);
  arena_reset(arena);
  if (!key_fits(pair->key)) return c->must_be_there ? wrong_row(pair->key, "it is too long for any") : KVSTORE_OK;
  TRY(encode_key(pair->key, key));
  TRY(find_table_row(c->era, c->sequence, (Bytes){ key->data, key->length }, &found));
  if (!found.found) return c->must_be_there ? wrong_row(pair->key, "they are missing") : KVSTORE_OK;
  c->found++;
  return compare_row(c, pair, &found, arena);
}

static Status check_pairs(RowCheck *c, MergeCursor *cursor) {
  Buffer key = { 0 };
  Arena arena = { 0 };
  Status status = merge_cursor_first(cursor);
  while (status == KVSTORE_OK && cursor->valid) {
    SourcePair pair = { cursor->row.view.key, { 0 }, cursor->row.view.expiry };
    if (!cursor->row.expired) {
      status = merge_cursor_value(cursor, &pair.value);
      if (status == KVSTORE_OK) status = check_pair(c, &pair, &key, &arena);
    }
    if (status == KVSTORE_OK) status = merge_cursor_next(cursor);
  }
  arena_release(&arena);
  buffer_release(&key);
  return status;
}

/* Rows of a table that have not expired at a time. */
static Status count_rows(Session *session, ReadPin *pin, uint32_t table, int64_t now_ms, uint64_t *rows) {
  TableSnapshot snapshot;
  Scan *scan = NULL;
  TRY(table_snapshot_pinned(session, pin, NULL, table, &snapshot));
  Status status = scan_create(snapshot.schema, NULL, now_ms, &scan);
  for (uint32_t i = 0; i < snapshot.unit_count && status == KVSTORE_OK; i++) {
    status = scan_unit(scan, &snapshot.units[i]);
    if (status == KVSTORE_OK) *rows += scan_selection(scan)->row_count;
  }
  scan_destroy(scan);
  table_snapshot_release(&snapshot);
  return status;
}

static Status check_columns(Session *session, ReadPin *pin, const Era *era, const FamilyOptions *options) {
  RowCheck c = { .sequence = pin->sequence, .must_be_there = options->columns_built };
  FamilyState *state;
  MergeCursor cursor;
  LayerList list;
  uint64_t rows = 0;
  int64_t now_ms = store_clock(session->store);
  if (columns_table(session, pin, options->columns_family, &state, &c.era) != KVSTORE_OK)
    return status_context(KVSTORE_CORRUPT, "its columns");
  c.table = state->family;
  TRY(kv_list_layers(era, pin->sequence, &list));
  Status status = merge_cursor_open(&cursor, list.layers, list.count, &(MergeOptions){ .now_ms = now_ms });
  kv_release_layers(&list);
  TRY(status);
  status = check_pairs(&c, &cursor);
  merge_cursor_close(&cursor);
  TRY(status);
  TRY(count_rows(session, pin, options->columns_family, now_ms, &rows));
  if (rows == c.found) return KVSTORE_OK;
  return status_fail(KVSTORE_CORRUPT, "there are columns of %llu pairs that are not there",
                     (unsigned long long)(rows - c.found));
}

Status columns_check(Session *session, ReadPin *pin) {
  for (uint32_t i = 0; i < pin->version->family_count; i++) {
    const FamilyState *state = pin->version->families[i];
    const Era *era = family_state_era(state, pin->sequence);
    if (!era) continue;
    const FamilyTraits *traits = family_state_traits(state, pin->sequence);
    if (!traits->options.columns_family) continue;
    Status status = check_columns(session, pin, era, &traits->options);
    if (status != KVSTORE_OK) return status_context(status, "family %s", traits->name);
  }
  return KVSTORE_OK;
}
