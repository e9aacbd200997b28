#include "engine/row_stage.h"

#include <string.h>

#include "base/memory.h"

/* Of one row: an entry for each column, side by side, in rooms of the widest. */
static Status make_entries(RowStage *stage, uint32_t count, Arena *arena) {
  Bytes *values = arena_allocate_zeroed(arena, memory_array_size(count, sizeof *values));
  uint8_t *nulls = arena_allocate_zeroed(arena, count);
  if (!values || !nulls) return status_nomem();
  for (uint32_t c = 0; c < count; c++) {
    stage->values[c] = &values[c];
    stage->nulls[c] = &nulls[c];
  }
  return KVSTORE_OK;
}

static Status make_arrays(RowStage *stage, uint32_t count, Arena *arena) {
  for (uint32_t c = 0; c < count; c++) {
    size_t width = type_array_width(stage->schema->columns[c].type);
    stage->values[c] = arena_allocate_zeroed(arena, memory_array_size(stage->capacity, width));
    stage->nulls[c] = arena_allocate_zeroed(arena, stage->capacity);
    if (!stage->values[c] || !stage->nulls[c]) return status_nomem();
  }
  return KVSTORE_OK;
}

Status row_stage_create(RowStage *stage, const Schema *schema, size_t capacity, Arena *arena) {
  uint32_t count = schema->column_count;
  stage->schema = schema;
  stage->capacity = capacity;
  stage->values = arena_allocate(arena, memory_array_size(count, sizeof(void *)));
  stage->nulls = arena_allocate(arena, memory_array_size(count, sizeof(uint8_t *)));
  stage->columns = arena_allocate(arena, memory_array_size(count, sizeof(ColumnArray)));
  if (!stage->values || !stage->nulls || !stage->columns) return status_nomem();
  TRY((capacity == 1 ? make_entries : make_arrays)(stage, count, arena));
  for (uint32_t c = 0; c < count; c++) {
    bool nullable = schema->columns[c].flags & COLUMN_NULLABLE;
    stage->columns[c] = (ColumnArray){ stage->values[c], nullable ? stage->nulls[c] : NULL };
  }
  return KVSTORE_OK;
}

void row_stage_set(RowStage *stage, uint32_t column, size_t row, const Value *value) {
  size_t width = type_array_width(stage->schema->columns[column].type);
  stage->nulls[column][row] = value->is_null;
  if (value->is_null)
    memset((uint8_t *)stage->values[column] + row * width, 0, width);
  else
    value_to_array(value, stage->values[column], row);
}
