/* row_stage.h - column arrays of one row (or a few), to put values in and hand on as a batch. */
#ifndef COLONNADE_ENGINE_ROW_STAGE_H
#define COLONNADE_ENGINE_ROW_STAGE_H

#include "base/arena.h"
#include "base/schema.h"

typedef struct RowStage {
  const Schema *schema;
  void **values;        /* by column: arrays of `capacity` entries */
  uint8_t **nulls;      /* by column; for columns that are not nullable all zeros */
  ColumnArray *columns; /* the same, as readers take them; nulls is NULL for columns that are not nullable */
  size_t capacity;
} RowStage;

/* Everything from the arena. */
Status row_stage_create(RowStage *stage, const Schema *schema, size_t capacity, Arena *arena) MUST_CHECK;
/* Puts a value of exactly the column's type (or null) into entry `row`. */
void row_stage_set(RowStage *stage, uint32_t column, size_t row, const Value *value);

#endif
