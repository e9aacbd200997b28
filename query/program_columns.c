/* program_columns.c - the columns that a program computes, behind those of its schema. */
#include "base/bytes.h"
#include "base/memory.h"
#include "query/expression_internal.h"
#include "query/program.h"
#include "query/program_internal.h"

/* ---- life ---- */

void program_init(Program *program, Schema *schema) {
  *program = (Program){ .schema = schema, .base_count = schema->column_count };
}

void program_release(Program *program) {
  memory_release(program->columns);
  arena_release(&program->arena);
  *program = (Program){ 0 };
}

void integer_bounds(ColumnType type, int64_t *low, int64_t *high) {
  type_image_bounds(type, low, high);
  if (type == TYPE_U64) *low = 0;
}

/* ---- conditions ---- */

static bool computes(const Program *p, const ProgramNode *node) {
  if (node->kind == NODE_COLUMN) return p->schema->columns[node->column].flags & COLUMN_COMPUTED;
  if (node->kind == NODE_CALL || node->kind == NODE_CONVERT || node->kind == NODE_CASE || node->kind == NODE_COALESCE)
    return true;
  for (uint32_t i = 0; i < node->count; i++) {
    if (computes(p, node->children[i])) return true;
  }
  return false;
}

Status program_columns_first(Program *p, ProgramNode *joined) {
  const ProgramNode **ordered = arena_allocate(&p->arena, memory_array_size(joined->count, sizeof *ordered));
  uint32_t count = 0;
  if (!ordered) return status_nomem();
  for (int computed = 0; computed < 2; computed++) {
    for (uint32_t i = 0; i < joined->count; i++) {
      if (computes(p, joined->children[i]) == computed) ordered[count++] = joined->children[i];
    }
  }
  joined->children = ordered;
  return KVSTORE_OK;
}

/* ---- columns ---- */

static bool find_named(const Program *p, const char *name, uint32_t *position) {
  for (uint32_t i = 0; i < p->column_count; i++) {
    if (strcmp(p->schema->columns[p->base_count + i].name, name) != 0) continue;
    *position = p->base_count + i;
    return true;
  }
  return false;
}

/* Makes room, so that what follows cannot fail. */
static Status reserve(Program *p) {
  Schema *s = p->schema;
  if (p->column_count >= PROGRAM_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "a query computes at most %d values", PROGRAM_COLUMNS_MAX);
  TRY(memory_grow(&p->columns, &p->column_capacity, p->column_count + 1, sizeof *p->columns));
  size_t capacity = s->column_count, sources = s->column_count;
  if (s->sources) TRY(memory_grow(&s->sources, &sources, s->column_count + 1, sizeof *s->sources));
  return memory_grow(&s->columns, &capacity, s->column_count + 1, sizeof *s->columns);
}

/* Among the columns whose timestamps a timestamp may come from: one in UTC, or a naive one. */
static bool comes_from(const Program *p, const ProgramNode *node, bool utc) {
  if (node->type != TYPE_TIMESTAMP) return false;
  if (node->kind == NODE_COLUMN) return ((p->schema->columns[node->column].flags & COLUMN_UTC) != 0) == utc;
  for (uint32_t i = 0; i < node->count; i++) {
    if (comes_from(p, node->children[i], utc)) return true;
  }
  return false;
}

static Status add_column(Program *p, const ProgramColumn *column, const char *name, uint32_t *position) {
  TRY(reserve(p));
  char *own = memory_copy_string(name);
  if (!own) return status_nomem();
  ColumnType type = column->type;
  p->columns[p->column_count++] = *column;
  *position = p->schema->column_count;
  uint32_t flags = COLUMN_NULLABLE | COLUMN_COMPUTED | (column->is_named ? 0 : COLUMN_HIDDEN);
  if (comes_from(p, column->root, true) && !comes_from(p, column->root, false)) flags |= COLUMN_UTC;
  if (p->schema->sources) p->schema->sources[p->schema->column_count] = NULL;
  p->schema->columns[p->schema->column_count++] =
    (Column){ .type = type, .flags = flags, .width = type == TYPE_UUID ? UUID_BYTES : 0, .name = own };
  return KVSTORE_OK;
}

enum { TITLE_SHOWN = 200 }; /* bytes */

Status program_name_failure(Status status, const char *name, const char *title) {
  if (status != KVSTORE_TYPE || status_last()->column[0]) return status;
  size_t length = strlen(title);
  int shown = (int)bytes_beginning(title, length, TITLE_SHOWN);
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, NULL, "%.*s%s: %s", shown, title,
                        (size_t)shown < length ? "..." : "", status_last()->text);
}

/* "a + b", or, with a name of the author's, "a + b as c"; the name alone behind it. */
static Status print_title(const Expression *e, const Value *parameters, size_t parameter_count, Bytes name,
                          Buffer *title, const char **own) {
  expression_print_typed(e, parameters, parameter_count, title);
  size_t begins = 0;
  if (name.length) {
    buffer_append(title, " as ", 4);
    expression_print_name(name, title);
    begins = title->length + 1;
    buffer_u8(title, '\0');
    buffer_append(title, name.data, name.length);
  }
  buffer_u8(title, '\0');
  TRY(buffer_status(title));
  *own = (const char *)title->data + begins;
  return KVSTORE_OK;
}

static Status add_value(Program *p, const Expression *e, const Value *parameters, size_t parameter_count,
                        const char *name, const char *title, uint32_t *position) {
  bool is_named = name != title;
  if (!is_named && find_named(p, name, position)) return KVSTORE_OK;
  if (is_named && schema_find(p->schema, name, strlen(name)) >= 0)
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL, "there is a column %s already", name);
  ProgramColumn column = { .is_named = is_named, .title = arena_copy_string(&p->arena, title, strlen(title)) };
  if (!column.title) return status_nomem();
  Status status = program_bind(p, e, parameters, parameter_count, &column.root, &column.node_count);
  TRY(program_name_failure(status, name, title));
  column.type = column.root->type ? column.root->type : TYPE_I64;
  return add_column(p, &column, name, position);
}

Status program_add(Program *p, const Expression *e, const Value *parameters, size_t parameter_count, Bytes name,
                   uint32_t *position) {
  Buffer title = { 0 };
  const char *own = NULL;
  Status status = print_title(e, parameters, parameter_count, name, &title, &own);
  if (status == KVSTORE_OK)
    status = add_value(p, e, parameters, parameter_count, own, (const char *)title.data, position);
  buffer_release(&title);
  return status;
}

static void node_columns(const Program *p, const ProgramNode *node, bool *used) {
  if (node->kind == NODE_COLUMN) program_columns(p, node->column, used);
  for (uint32_t i = 0; i < node->count; i++) node_columns(p, node->children[i], used);
}

void program_columns(const Program *p, uint32_t position, bool *used) {
  used[position] = true;
  if (position >= p->base_count) node_columns(p, p->columns[position - p->base_count].root, used);
}
