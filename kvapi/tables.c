/* tables.c - tables by name, their rows by key. */
#include "kvapi/tables.h"

#include <string.h>

#include "base/memory.h"
#include "kvapi/names.h"
#include "kvapi/values.h"

_Static_assert(KVTABLE_INSERT == (int)TABLE_INSERT && KVTABLE_UPSERT == (int)TABLE_UPSERT, "one number");

/* ---- life ---- */

void table_release(KVTable *table) {
  if (!table || atomic_fetch_sub_explicit(&table->references, 1, memory_order_acq_rel) != 1) return;
  query_destroy(table->counting);
  schema_release(&table->schema);
  arena_release(&table->pairs);
  memory_release(table->definitions);
  memory_release(table->name);
  birth_release(table->birth);
  handle_release(table->kv);
  memory_release(table);
}

static Status describe(KVTable *table) {
  table->visible = table->schema.column_count - table->schema.has_row_id;
  table->definitions = memory_allocate(memory_array_size(table->visible, sizeof *table->definitions));
  if (!table->definitions) return status_nomem();
  for (uint32_t c = 0; c < table->visible; c++) table->definitions[c] = definition_of(&table->schema.columns[c]);
  TRY(query_create(&table->schema, &table->counting));
  return query_aggregate(table->counting, AGGREGATE_ROWS, NULL);
}

/* A handle without a schema yet; takes `birth` over. */
static Status begin_handle(KVStore *kv, uint32_t family, const char *name, Birth *birth, KVTable **out) {
  KVTable *table = memory_allocate_zeroed(sizeof *table);
  if (!table) {
    birth_release(birth);
    return status_nomem();
  }
  table->magic = MAGIC_TABLE;
  atomic_init(&table->references, 1);
  table->kv = kv;
  table->family = family;
  table->birth = birth;
  handle_retain(kv);
  table->name = memory_copy_string(name);
  *out = table;
  return table->name ? KVSTORE_OK : status_nomem();
}

/* The handle with what `status` says of its schema. */
static Status end_handle(KVTable *table, Status status, KVTable **out) {
  if (status == KVSTORE_OK) status = describe(table);
  if (status == KVSTORE_OK)
    *out = table;
  else
    table_release(table);
  return status;
}

/* Takes `birth` over. */
static Status table_handle(KVStore *kv, uint32_t family, const char *name, Birth *birth, KVTable **out) {
  KVTable *table = NULL;
  Status status = begin_handle(kv, family, name, birth, &table);
  if (status == KVSTORE_OK) status = family_schema(kv->session, family, &table->schema);
  return end_handle(table, status, out);
}

Status table_handle_over(KVStore *kv, uint32_t family, const char *name, Birth *birth, const Schema *schema,
                         KVTable **out) {
  KVTable *table = NULL;
  Status status = begin_handle(kv, family, name, birth, &table);
  if (status == KVSTORE_OK) status = schema_copy(schema, &table->schema);
  return end_handle(table, status, out);
}

Status table_take_snapshot(const KVTable *table, Session *session, const bool *wanted, const KvRange *range,
                           TableSnapshot *out) {
  if (!table->projections) return table_snapshot(session, table->family, out);
  PairColumns columns = { &table->schema, table->projections, table->pairs_table, table->pairs_kept };
  return pairs_snapshot(session, table->family, &columns, wanted, range, out);
}

Status table_enter(KVTable *table) {
  if (UNLIKELY(!table || table->magic != MAGIC_TABLE))
    return bad_argument(table ? "this is no open table" : "the table is NULL");
  TRY(handle_enter(table->kv));
  Status status = birth_check(table->birth);
  if (status != KVSTORE_OK) (void)handle_leave(table->kv, status);
  return status;
}

Status table_enter_writing(KVTable *table) {
  TRY(table_enter(table));
  if (!table->projections) return KVSTORE_OK;
  return handle_leave(
    table->kv, status_fail(KVSTORE_READONLY, "the rows of %s are pairs: kvstore_cf_put writes them", table->name));
}

int table_refuse(KVTable *table, Status status) {
  return handle_refuse(table && table->magic == MAGIC_TABLE ? table->kv : NULL, status);
}

void kvtable_close(KVTable *table) {
  if (!table || table->magic != MAGIC_TABLE) return;
  table->magic = MAGIC_DEAD;
  table_release(table);
}

/* ---- by name ---- */

static Status fill_columns(const KVColumnDefinition *given, size_t count, Schema *schema) {
  for (size_t c = 0; c < count; c++) {
    Column *column = &schema->columns[c];
    if (!given[c].name) return status_fail(KVSTORE_SCHEMA, "column %zu has no name", c);
    ColumnType type = type_from_caller(given[c].type, given[c].width);
    if (given[c].type == KVTABLE_TYPE_DECIMAL && type == TYPE_NONE)
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, given[c].name, NULL,
                            "column %s: a decimal has a scale of at most %d, not %u", given[c].name, DECIMAL_SCALE_MAX,
                            given[c].width);
    if (type == TYPE_NONE)
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, given[c].name, NULL,
                            "column %s: there is no type %d for columns", given[c].name, given[c].type);
    if (given[c].flags & 0xff & ~(KVTABLE_NULLABLE | KVTABLE_UTC | KVTABLE_READ_BY_KEY | KVTABLE_ARRAY))
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, given[c].name, NULL, "column %s: unknown flags 0x%x",
                            given[c].name, (unsigned)given[c].flags);
    *column = (Column){ (uint32_t)c + 1, type, (uint32_t)given[c].flags,
                        width_from_caller(given[c].type, given[c].width), (char *)given[c].name };
  }
  return KVSTORE_OK;
}

static Status fill_key(const char *const *names, size_t count, Schema *schema) {
  for (size_t k = 0; k < count; k++) {
    int position = names[k] ? schema_find(schema, names[k], strlen(names[k])) : -1;
    if (position < 0)
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, names[k], NULL, "key column %s is no column of the table",
                            names[k] ? names[k] : "NULL");
    schema->key_columns[k] = (uint32_t)position;
  }
  schema->key_count = (uint32_t)count;
  return KVSTORE_OK;
}

/* `schema` borrows the names. */
static Status create_table(KVStore *kv, const char *name, const KVColumnDefinition *columns, const char *const *key,
                           size_t key_count, Schema *schema, KVTable **table) {
  uint32_t family = 0;
  Birth *birth = NULL;
  TRY(fill_columns(columns, schema->column_count, schema));
  TRY(fill_key(key, key_count, schema));
  TRY(family_create(kv->session, name, FAMILY_TABLE, schema, &family));
  handle_wrote(kv);
  TRY(birth_note(kv, family, &birth));
  return table_handle(kv, family, name, birth, table);
}

static Status check_creation(const char *name, const KVColumnDefinition *columns, size_t column_count,
                             const char *const *key, size_t key_count, KVTable **table) {
  if (!table) return bad_argument("the place for the table is NULL");
  if (!columns && column_count) return bad_argument("the columns are NULL");
  if (!key && key_count) return bad_argument("the key's columns are NULL");
  TRY(name_argument(name));
  if (column_count < 1 || column_count > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_SCHEMA, "a table of %zu columns: it takes 1 to %d", column_count, KVTABLE_COLUMNS_MAX);
  if (key_count > KVTABLE_KEY_COLUMNS_MAX)
    return status_fail(KVSTORE_SCHEMA, "a key of %zu columns: at most %d", key_count, KVTABLE_KEY_COLUMNS_MAX);
  return KVSTORE_OK;
}

int kvtable_create(KVStore *kv, const char *name, const KVColumnDefinition *columns, size_t column_count,
                   const char *const *key_columns, size_t key_count, KVTable **table) {
  if (table) *table = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  status = check_creation(name, columns, column_count, key_columns, key_count, table);
  Schema schema = { .version = 1, .column_count = (uint32_t)column_count };
  if (status == KVSTORE_OK) {
    schema.columns = memory_allocate(memory_array_size(column_count, sizeof *schema.columns));
    status = schema.columns ? create_table(kv, name, columns, key_columns, key_count, &schema, table) : status_nomem();
    memory_release(schema.columns);
  }
  return handle_leave(kv, status);
}

static Status open_table(KVStore *kv, const char *name, KVTable **table) {
  uint32_t family = 0;
  if (!table) return bad_argument("the place for the table is NULL");
  TRY(name_find(kv->session, name, FAMILY_TABLE, &family));
  return table_handle(kv, family, name, birth_find(kv, family), table);
}

int kvtable_open(KVStore *kv, const char *name, KVTable **table) {
  if (table) *table = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, open_table(kv, name, table));
}

int kvtable_drop(KVStore *kv, const char *name) {
  uint32_t family = 0;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  status = name_find(kv->session, name, FAMILY_TABLE, &family);
  if (status == KVSTORE_OK) status = family_drop(kv->session, family);
  if (status == KVSTORE_OK) handle_wrote(kv);
  return handle_leave(kv, status);
}

int kvtable_list(KVStore *kv, char ***names, size_t *count) {
  if (names) *names = NULL;
  if (count) *count = 0;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  if (!names || !count) return handle_leave(kv, bad_argument("the place for the names is NULL"));
  return handle_leave(kv, name_list(kv, FAMILY_TABLE, names, count));
}

int kvtable_schema(KVTable *table, KVTableSchema *schema) {
  Status status = table_enter(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  if (!schema) return handle_leave(table->kv, bad_argument("the place for the schema is NULL"));
  KVTableSchema full = { .name = table->name,
                         .columns = table->definitions,
                         .column_count = table->visible,
                         .key_columns = table->schema.key_columns,
                         .key_count = table->schema.has_row_id ? 0 : table->schema.key_count };
  return handle_leave(table->kv, struct_answer(schema, &full, sizeof full, "KVTABLE_SCHEMA_INIT"));
}

/* ---- the whole table ---- */

static Status count_rows(KVTable *table, uint64_t *count) {
  TableSnapshot snapshot;
  AggregateResult result;
  Arena strings = { 0 };
  if (!count) return bad_argument("the place for the count is NULL");
  bool *wanted = memory_allocate_zeroed(table->schema.column_count * sizeof *wanted);
  if (!wanted) return status_nomem();
  Status status = table_take_snapshot(table, table->kv->session, wanted, &(KvRange){ 0 }, &snapshot);
  memory_release(wanted);
  TRY(status);
  status = query_run(table->counting, &snapshot, &strings, &result, NULL);
  table_snapshot_release(&snapshot);
  arena_release(&strings);
  if (status == KVSTORE_OK) *count = result.value.u;
  return status;
}

int kvtable_count(KVTable *table, uint64_t *count) {
  if (count) *count = 0;
  Status status = table_enter(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  return handle_leave(table->kv, count_rows(table, count));
}

int kvtable_clear(KVTable *table) {
  Status status = table_enter_writing(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  status = family_clear(table->kv->session, table->family);
  if (status == KVSTORE_OK) handle_wrote(table->kv);
  return handle_leave(table->kv, status);
}

/* ---- usage ---- */

static size_t usage_size(const FamilyUsage *usage) {
  size_t size = sizeof(KVTableUsage) + usage->column_count * sizeof(KVColumnUsage);
  for (size_t c = 0; c < usage->column_count; c++)
    size += strlen(usage->columns[c].name) + strlen(usage->columns[c].encodings) + 2;
  return size;
}

static char *put_text(char **at, const char *text) {
  size_t size = strlen(text) + 1;
  char *place = memcpy(*at, text, size);
  *at += size;
  return place;
}

/* One block: the struct, its columns, their texts. */
static KVTableUsage *usage_block(const FamilyUsage *usage) {
  KVTableUsage *block = memory_allocate_zeroed(usage_size(usage));
  if (!block) return NULL;
  KVColumnUsage *columns = (KVColumnUsage *)(block + 1);
  char *texts = (char *)(columns + usage->column_count);
  *block = (KVTableUsage){ .struct_size = sizeof *block,
                           .run_count = usage->run_count,
                           .run_rows = usage->run_rows,
                           .run_bytes = usage->run_bytes,
                           .dead_rows = usage->dead_rows,
                           .delta_rows = usage->delta_rows,
                           .column_count = usage->column_count,
                           .columns = columns };
  for (size_t c = 0; c < usage->column_count; c++) {
    const ColumnUsage *from = &usage->columns[c];
    uint32_t width = from->width;
    int type = type_to_caller(from->type, &width);
    columns[c] =
      (KVColumnUsage){ .type = type, .width = width, .bytes = from->bytes, .plain_bytes = from->plain_bytes };
    columns[c].name = put_text(&texts, from->name);
    columns[c].encodings = put_text(&texts, from->encodings);
  }
  return block;
}

int kvtable_usage(KVTable *table, KVTableUsage **usage) {
  FamilyUsage found = { 0 };
  if (usage) *usage = NULL;
  Status status = table_enter(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  if (!usage) return handle_leave(table->kv, bad_argument("the place for the usage is NULL"));
  uint32_t family = table->pairs_table ? table->pairs_table : table->family;
  status = family_usage(table->kv->session, family, &found);
  if (status == KVSTORE_OK) {
    *usage = usage_block(&found);
    if (!*usage) status = status_nomem();
    memory_release(found.columns);
  }
  return handle_leave(table->kv, status);
}
