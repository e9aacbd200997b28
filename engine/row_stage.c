#include "engine/row_stage.h"

#include <string.h>

#include "base/memory.h"

Status row_stage_create(RowStage *stage, const Schema *schema, size_t capacity, Arena *arena) {
  uint32_t count = schema->column_count;
  stage->schema = schema;
  stage->capacity = capacity;
  stage->values = arena_allocate(arena, memory_array_size(count, sizeof(void *)));
  stage->nulls = arena_allocate(arena, memory_array_size(count, sizeof(uint8_t *)));
  stage->columns = arena_allocate(arena, memory_array_size(count, sizeof(ColumnArray)));
  if (!stage->values || !stage->nulls || !stage->columns) return status_nomem();
  for (uint32_t c = 0; c < count; c++) {
    size_t width = type_array_width(schema->columns[c].type);
    stage->values[c] = arena_allocate_zeroed(arena, memory_array_size(capacity, width));
    stage->nulls[c] = arena_allocate_zeroed(arena, capacity);
    if (!stage->values[c] || !stage->nulls[c]) return status_nomem();
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
