/* pair_tables.c - a kv family read as a table: key, value, value_length, expires_at, and columns made of the pairs. */
#include "kvapi/pair_tables.h"

#include <string.h>

#include "base/memory.h"
#include "kvapi/values.h"

/* The columns of a handle on its way: those that every family has, the declared ones, the caller's. */
typedef struct ColumnList {
  Arena arena;
  Schema schema; /* borrows its names, and sources of the declared columns, until it is copied */
  Projection *projections;
  bool *is_renamed;     /* of the declared ones: stands under a name of the caller's */
  uint32_t kept, table; /* FamilyColumns, of the first columns */
} ColumnList;

/* Of a column whose type nobody says. */
static ColumnType usual_type(const Projection *p) {
  if (p->kind == PROJECTION_PART) return TYPE_STRING;
  return p->kind == PROJECTION_JSON ? TYPE_F64 : TYPE_NONE;
}

/* What a source's text fails with names no column yet. */
static Status fail_source(const KVPairColumn *given, Status status) {
  if (status == KVSTORE_NOMEM) return status;
  const char *name = given->name ? given->name : given->source;
  return status_fail_at(status, UINT64_MAX, name, given->source, "column %s: %s: %s", name, given->source,
                        status_last()->text);
}

static Status fail_type(const KVPairColumn *given, const char *name) {
  if (given->type == KVTABLE_TYPE_NONE)
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, NULL, "column %s: what type does it have?", name);
  if (given->type == KVTABLE_TYPE_DECIMAL)
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, NULL,
                          "column %s: a decimal has a scale of at most %d, not %u", name, DECIMAL_SCALE_MAX,
                          given->width);
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, NULL, "column %s: there is no type %d for columns", name,
                        given->type);
}

static Status read_column(const KVPairColumn *given, size_t index, Arena *arena, Column *column, Projection *p) {
  Buffer text = { 0 };
  if (!given->source) return status_fail(KVSTORE_SCHEMA, "column %zu has no source", index);
  Status status = projection_parse(given->source, strlen(given->source), arena, p);
  if (status != KVSTORE_OK) return fail_source(given, status);
  projection_print(p, &text);
  buffer_u8(&text, 0);
  status = buffer_status(&text);
  const char *name = given->name ? given->name : (const char *)text.data;
  ColumnType type = given->type == KVTABLE_TYPE_NONE ? usual_type(p) : type_from_caller(given->type, given->width);
  uint32_t width = width_from_caller(given->type, given->width);
  if (status == KVSTORE_OK && type == TYPE_NONE) status = fail_type(given, name);
  if (status == KVSTORE_OK) status = projection_set_type(p, type, width, name);
  if (status == KVSTORE_OK) {
    *column = (Column){ .type = type, .flags = COLUMN_NULLABLE, .width = width };
    column->name = arena_copy_string(arena, name, strlen(name));
    if (!column->name) status = status_nomem();
  }
  buffer_release(&text);
  return status;
}

static Status list_begin(ColumnList *list, size_t most) {
  list->schema.columns = arena_allocate_zeroed(&list->arena, memory_array_size(most, sizeof *list->schema.columns));
  list->projections = arena_allocate_zeroed(&list->arena, memory_array_size(most, sizeof *list->projections));
  list->is_renamed = arena_allocate_zeroed(&list->arena, most * sizeof *list->is_renamed);
  list->schema.sources = arena_allocate_zeroed(&list->arena, memory_array_size(most, sizeof(char *)));
  if (!list->schema.columns || !list->projections || !list->is_renamed || !list->schema.sources) return status_nomem();
  for (uint32_t c = 0; c < PAIR_OWN_COLUMNS; c++) {
    const PairColumn *own = &pair_own_columns[c];
    list->schema.columns[c] = (Column){ .type = own->type, .flags = own->flags, .name = (char *)own->name };
    list->projections[c] = (Projection){ .kind = own->kind, .type = own->type };
  }
  list->schema.version = 1;
  list->schema.key_count = 1; /* column 0 */
  list->schema.column_count = list->kept = PAIR_OWN_COLUMNS;
  return KVSTORE_OK;
}

static Status list_add_declared(ColumnList *list, const FamilyColumns *declared) {
  for (uint32_t c = PAIR_OWN_COLUMNS; c < declared->schema.column_count; c++) {
    const Column *from = &declared->schema.columns[c];
    KVPairColumn given = { from->name, declared->schema.sources[c], KVTABLE_TYPE_NONE, from->width };
    given.type = type_to_caller(from->type, &given.width);
    TRY(read_column(&given, c, &list->arena, &list->schema.columns[c], &list->projections[c]));
    list->schema.sources[c] = declared->schema.sources[c];
  }
  if (!declared->table) return KVSTORE_OK;
  list->table = declared->table;
  list->kept = list->schema.column_count = declared->schema.column_count;
  return KVSTORE_OK;
}

static bool same_source(const Projection *a, const Projection *b, bool of_any_type) {
  Buffer x = { 0 }, y = { 0 };
  if (a->kind != b->kind) return false;
  if (!of_any_type && (a->type != b->type || a->width != b->width)) return false;
  projection_print(a, &x);
  projection_print(b, &y);
  bool same = !x.failed && !y.failed && x.length == y.length && memcmp(x.data, y.data, x.length) == 0;
  buffer_release(&x);
  buffer_release(&y);
  return same;
}

/* A column that is declared stands under the caller's name for it; without a type of the caller's it has its own. */
static Status list_add(ColumnList *list, const KVPairColumn *given, size_t index) {
  Schema *schema = &list->schema;
  Column column;
  Projection p;
  TRY(read_column(given, index, &list->arena, &column, &p));
  bool untyped = given->type == KVTABLE_TYPE_NONE;
  uint32_t at = PAIR_OWN_COLUMNS;
  while (at < list->kept && (list->is_renamed[at] || !same_source(&p, &list->projections[at], untyped))) at++;
  if (at < list->kept) {
    list->is_renamed[at] = true;
    schema->columns[at].name = column.name;
    return KVSTORE_OK;
  }
  at = schema->column_count++;
  schema->columns[at] = column;
  list->projections[at] = p;
  return KVSTORE_OK;
}

static Status list_fill(ColumnList *list, const FamilyColumns *declared, const KVPairColumn *given, size_t count) {
  if (!given && count) return bad_argument("the columns are NULL");
  size_t most = count + PAIR_OWN_COLUMNS + declared->schema.column_count;
  if (count > KVTABLE_COLUMNS_MAX || most > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_SCHEMA, "%zu columns over a family's pairs: at most %d in all", count,
                       KVTABLE_COLUMNS_MAX);
  TRY(list_begin(list, most));
  TRY(list_add_declared(list, declared));
  for (size_t i = 0; i < count; i++) TRY(list_add(list, &given[i], i));
  for (uint32_t c = 0; c < list->schema.column_count; c++) list->schema.columns[c].id = c + 1;
  return schema_check(&list->schema);
}

static Status family_name(Session *session, uint32_t family, char name[FAMILY_NAME_MAX + 1]) {
  FamilyInfo info;
  TRY(family_info(session, family, &info));
  memcpy(name, info.name, sizeof info.name);
  return KVSTORE_OK;
}

/* The columns of a table over pairs: those that are declared, as they were read once, and the caller's. */
typedef struct PairAsk {
  const FamilyColumns *declared;
  const KVPairColumn *columns;
  size_t count;
} PairAsk;

static Status open_over(const Place *place, const KVColumnFamily *family, const PairAsk *ask, KVTable **out) {
  char name[FAMILY_NAME_MAX + 1];
  ColumnList list = { 0 };
  TRY(family_name(place->session, place->family, name));
  Status status = list_fill(&list, ask->declared, ask->columns, ask->count);
  if (status == KVSTORE_OK)
    status = table_handle_over(place->kv, place->family, name, family->birth ? birth_retain(family->birth) : NULL,
                               &list.schema, out);
  if (status == KVSTORE_OK) {
    KVTable *table = *out;
    table->projections = list.projections;
    table->pairs = list.arena;
    table->pairs_table = list.table;
    table->pairs_kept = list.kept;
    list.arena = (Arena){ 0 };
  }
  arena_release(&list.arena);
  return status;
}

static Status open_family(const Place *place, const KVColumnFamily *family, const KVPairColumn *columns, size_t count,
                          KVTable **out) {
  FamilyColumns declared;
  if (!out) return bad_argument("the place for the table is NULL");
  TRY(family_get_columns(place->session, place->family, &declared));
  Status status = open_over(place, family, &(PairAsk){ &declared, columns, count }, out);
  schema_release(&declared.schema);
  return status;
}

int kvtable_open_family(KVColumnFamily *family, const KVPairColumn *columns, size_t column_count, KVTable **table) {
  if (table) *table = NULL;
  Place place = place_family(family);
  Status status = place.status;
  if (status == KVSTORE_OK) status = open_family(&place, family, columns, column_count, table);
  return place_leave(&place, status);
}

/* ---- columns that are kept ---- */

static Status declare(const Place *place, const KVPairColumn *columns, size_t count, int flags) {
  ColumnList list = { 0 };
  if (flags & ~KVTABLE_COUNTED) return status_fail(KVSTORE_ERROR, "unknown flags 0x%x", (unsigned)flags);
  bool none = !count && !flags;
  Status status = list_fill(&list, &(FamilyColumns){ 0 }, columns, count);
  if (status == KVSTORE_OK) {
    PairColumns wanted = { .schema = &list.schema, .projections = list.projections };
    status = family_set_columns(place->session, place->family, none ? NULL : &wanted);
  }
  if (status == KVSTORE_OK) handle_wrote(place->kv);
  arena_release(&list.arena);
  return status;
}

int kvtable_declare(KVColumnFamily *family, const KVPairColumn *columns, size_t column_count, int flags) {
  Place place = place_family(family);
  Status status = place.status;
  if (status == KVSTORE_OK) status = declare(&place, columns, column_count, flags);
  return place_leave(&place, status);
}

/* How many pairs there are, and in how many each declared column is not null. */
static Status count_values(KVTable *table, size_t declared, AggregateResult *results) {
  Query *query = NULL;
  Arena strings = { 0 };
  TableSnapshot snapshot = { 0 };
  bool *wanted = memory_allocate_zeroed(table->schema.column_count * sizeof *wanted);
  if (!wanted) return status_nomem();
  Status status = query_create(&table->schema, &query);
  if (status == KVSTORE_OK) status = query_aggregate(query, AGGREGATE_ROWS, NULL);
  for (size_t c = 0; c < declared && status == KVSTORE_OK; c++)
    status = query_aggregate(query, AGGREGATE_VALUES, table->schema.columns[PAIR_OWN_COLUMNS + c].name);
  if (status == KVSTORE_OK) {
    query_columns_read(query, false, wanted);
    status = table_take_snapshot(table, table->kv->session, wanted, &(KvRange){ 0 }, &snapshot);
  }
  if (status == KVSTORE_OK) status = query_run(query, &snapshot, &strings, results, NULL);
  table_snapshot_release(&snapshot);
  query_destroy(query);
  arena_release(&strings);
  memory_release(wanted);
  return status;
}

static char *put_text(char **at, const char *text) {
  size_t size = strlen(text) + 1;
  char *place = memcpy(*at, text, size);
  *at += size;
  return place;
}

/* One block: the struct, its columns, their texts. */
static KVDeclaredColumns *declared_block(const FamilyColumns *from, const AggregateResult *counts) {
  size_t count = from->table ? from->schema.column_count - PAIR_OWN_COLUMNS : 0;
  size_t size = sizeof(KVDeclaredColumns) + count * sizeof(KVDeclaredColumn);
  for (size_t c = 0; c < count; c++)
    size +=
      strlen(from->schema.columns[PAIR_OWN_COLUMNS + c].name) + strlen(from->schema.sources[PAIR_OWN_COLUMNS + c]) + 2;
  KVDeclaredColumns *block = memory_allocate_zeroed(size);
  if (!block) return NULL;
  KVDeclaredColumn *columns = (KVDeclaredColumn *)(block + 1);
  char *texts = (char *)(columns + count);
  *block = (KVDeclaredColumns){ .struct_size = sizeof *block,
                                .is_declared = from->table != 0,
                                .is_built = from->is_built,
                                .pairs = counts[0].value.u,
                                .column_count = count,
                                .columns = columns };
  for (size_t c = 0; c < count; c++) {
    const Column *column = &from->schema.columns[PAIR_OWN_COLUMNS + c];
    columns[c].name = put_text(&texts, column->name);
    columns[c].source = put_text(&texts, from->schema.sources[PAIR_OWN_COLUMNS + c]);
    columns[c].width = column->width;
    columns[c].type = type_to_caller(column->type, &columns[c].width);
    columns[c].nulls = counts[0].value.u - counts[1 + c].value.u;
  }
  return block;
}

/* One reading of what is declared serves all of it: another thread may declare other columns meanwhile. */
static Status tell_declared(const Place *place, const KVColumnFamily *family, KVDeclaredColumns **out) {
  FamilyColumns declared;
  KVTable *table = NULL;
  AggregateResult *counts = NULL;
  if (!out) return bad_argument("the place for the columns is NULL");
  TRY(family_get_columns(place->session, place->family, &declared));
  size_t count = declared.table ? declared.schema.column_count - PAIR_OWN_COLUMNS : 0;
  Status status = open_over(place, family, &(PairAsk){ &declared, NULL, 0 }, &table);
  if (status == KVSTORE_OK) {
    counts = memory_allocate_zeroed((count + 1) * sizeof *counts);
    status = counts ? count_values(table, count, counts) : status_nomem();
  }
  if (status == KVSTORE_OK) {
    *out = declared_block(&declared, counts);
    if (!*out) status = status_nomem();
  }
  memory_release(counts);
  table_release(table);
  schema_release(&declared.schema);
  return status;
}

int kvtable_declared(KVColumnFamily *family, KVDeclaredColumns **columns) {
  if (columns) *columns = NULL;
  Place place = place_family(family);
  Status status = place.status;
  if (status == KVSTORE_OK) status = tell_declared(&place, family, columns);
  return place_leave(&place, status);
}

/* ---- one pair by its key ---- */

Status pair_get(const KVTable *table, Bytes key, Arena *arena, Value *values, int64_t *expiry) {
  KvPinned *pinned = NULL;
  bool expired;
  TRY(kv_get_pinned(table->kv->session, table->family, key, &pinned, &expired));
  SourcePair pair = { key, kv_pinned_value(pinned), kv_pinned_expiry(pinned) };
  Status status = KVSTORE_OK;
  for (uint32_t c = 0; c < table->visible && status == KVSTORE_OK; c++) {
    Value *v = &values[c];
    status = projection_read(&table->projections[c], &pair, arena, v);
    if (status != KVSTORE_OK || v->is_null || !type_is_string(v->type) || !v->s.length) continue;
    v->s.data = arena_copy(arena, v->s.data, v->s.length);
    if (!v->s.data) status = status_nomem();
  }
  *expiry = pair.expiry;
  kv_pinned_release(pinned);
  return status;
}
