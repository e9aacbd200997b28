/* pair_tables.c - a kv family read as a table: key, value, value_length, expires_at, and columns made of the pairs. */
#include "kvapi/pair_tables.h"

#include <string.h>

#include "base/memory.h"
#include "kvapi/values.h"

/* What every family has. The first is the table's key. */
static const struct {
  const char *name;
  ProjectionKind kind;
  ColumnType type;
  uint32_t flags;
} own_columns[] = {
  { "key", PROJECTION_KEY, TYPE_BYTES, 0 },
  { "value", PROJECTION_VALUE, TYPE_BYTES, 0 },
  { "value_length", PROJECTION_LENGTH, TYPE_U64, 0 },
  { "expires_at", PROJECTION_EXPIRY, TYPE_TIMESTAMP, COLUMN_NULLABLE | COLUMN_UTC },
};
enum { OWN_COLUMNS = sizeof own_columns / sizeof own_columns[0] };

static ColumnType usual_type(const Projection *p) {
  if (p->kind == PROJECTION_PART) return TYPE_STRING;
  return p->kind == PROJECTION_JSON ? TYPE_F64 : TYPE_NONE;
}

static Status read_column(const KVPairColumn *given, size_t index, Arena *arena, Column *column, Projection *p) {
  Buffer text = { 0 };
  if (!given->source) return status_fail(KVSTORE_SCHEMA, "column %zu has no source", index);
  TRY(projection_parse(given->source, strlen(given->source), arena, p));
  projection_print(p, &text);
  buffer_u8(&text, 0);
  Status status = buffer_status(&text);
  const char *name = given->name ? given->name : (const char *)text.data;
  ColumnType type = given->type == KVTABLE_TYPE_NONE ? usual_type(p) : (ColumnType)given->type;
  if (status == KVSTORE_OK && type == TYPE_NONE)
    status = status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, NULL, "column %s: what type does it have?", name);
  if (status == KVSTORE_OK) status = projection_set_type(p, type, given->width, name);
  if (status == KVSTORE_OK) {
    *column = (Column){ .type = type, .flags = COLUMN_NULLABLE, .width = given->width };
    column->name = arena_copy_string(arena, name, strlen(name));
    if (!column->name) status = status_nomem();
  }
  buffer_release(&text);
  return status;
}

/* `schema` borrows its names from `arena` until it is copied. */
static Status read_columns(const KVPairColumn *given, size_t count, Arena *arena, Schema *schema,
                           Projection **projections) {
  size_t all = OWN_COLUMNS + count;
  schema->columns = arena_allocate_zeroed(arena, memory_array_size(all, sizeof *schema->columns));
  *projections = arena_allocate_zeroed(arena, memory_array_size(all, sizeof **projections));
  if (!schema->columns || !*projections) return status_nomem();
  for (uint32_t c = 0; c < OWN_COLUMNS; c++) {
    schema->columns[c] =
      (Column){ .type = own_columns[c].type, .flags = own_columns[c].flags, .name = (char *)own_columns[c].name };
    (*projections)[c] = (Projection){ .kind = own_columns[c].kind, .type = own_columns[c].type };
  }
  for (size_t i = 0; i < count; i++)
    TRY(read_column(&given[i], i, arena, &schema->columns[OWN_COLUMNS + i], &(*projections)[OWN_COLUMNS + i]));
  for (uint32_t c = 0; c < all; c++) schema->columns[c].id = c + 1;
  schema->version = 1;
  schema->column_count = (uint32_t)all;
  schema->key_count = 1; /* column 0 */
  return schema_check(schema);
}

static Status family_name(Session *session, uint32_t family, char name[FAMILY_NAME_MAX + 1]) {
  FamilyInfo info;
  TRY(family_info(session, family, &info));
  memcpy(name, info.name, sizeof info.name);
  return KVSTORE_OK;
}

static Status open_family(const Place *place, const KVColumnFamily *family, const KVPairColumn *columns, size_t count,
                          KVTable **out) {
  char name[FAMILY_NAME_MAX + 1];
  if (!out) return bad_argument("the place for the table is NULL");
  if (!columns && count) return bad_argument("the columns are NULL");
  if (count > KVTABLE_COLUMNS_MAX - OWN_COLUMNS)
    return status_fail(KVSTORE_SCHEMA, "%zu columns over a family's pairs: at most %d", count,
                       KVTABLE_COLUMNS_MAX - OWN_COLUMNS);
  TRY(family_name(place->session, place->family, name));
  Schema schema = { 0 };
  Arena arena = { 0 };
  Projection *projections = NULL;
  Status status = read_columns(columns, count, &arena, &schema, &projections);
  if (status == KVSTORE_OK)
    status = table_over_pairs(place->kv, place->family, name, family->birth ? birth_retain(family->birth) : NULL,
                              &schema, projections, &arena, out);
  arena_release(&arena); /* nothing is left in it when the table has it */
  return status;
}

int kvtable_open_family(KVColumnFamily *family, const KVPairColumn *columns, size_t column_count, KVTable **table) {
  if (table) *table = NULL;
  Place place = place_family(family);
  Status status = place.status;
  if (status == KVSTORE_OK) status = open_family(&place, family, columns, column_count, table);
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
