/* table_write.h - rows on their way into a table: checked, with their keys encoded. */
#ifndef COLONNADE_ENGINE_TABLE_WRITE_H
#define COLONNADE_ENGINE_TABLE_WRITE_H

#include "engine/engine_internal.h"

/* Rows of the whole schema (the hidden row id included), their encoded keys and the hashes of these; these two are NULL
 * while nobody needs them of rows that ascend by their keys. */
typedef struct PreparedRows {
  const Schema *schema;
  ColumnBatch batch;
  const Bytes *keys;
  const uint64_t *hashes;
  const uint64_t *locators; /* of each row, where what it replaces has been looked up (locators_note); else NULL */
} PreparedRows;

/* The row of a key that a snapshot sees, expired or not. */
typedef struct FoundRow {
  bool found;
  DeltaHandle *delta; /* whose row `row` it is; NULL: a run's */
  uint32_t row;
  uint32_t layer, position; /* of a run's row: which run of the era, and where in it */
  int64_t expiry;
} FoundRow;
Status find_table_row(Era *era, uint64_t sequence, Bytes key, FoundRow *out) MUST_CHECK;

/* All columns of the schema, the hidden row id included; strings are copied into `arena`. */
Status table_read_found(const Era *era, const Schema *schema, const FoundRow *found, Arena *arena,
                        Value *row) MUST_CHECK;

/* Null, type, width and text of one value against its column; `row` is for the message (UINT64_MAX: none). */
Status check_value(const Column *column, const Value *value, uint64_t row) MUST_CHECK;
/* The same of a column's values. */
Status check_column(const Column *column, const ColumnArray *array, uint32_t rows) MUST_CHECK;
/* Rows [from, from + count) into the active delta and the transaction's record, inside a statement. */
Status write_rows(Session *session, FamilyState *state, Era *era, const PreparedRows *rows, size_t from,
                  size_t count) MUST_CHECK;
/* A row of the key ends, whether there is one or not, inside a statement. */
Status table_delete_statement(Session *session, FamilyState *state, Era *era, Bytes key) MUST_CHECK;
/* Rows with these keys end inside a statement, those that have expired too; see table_delete_many. */
Status table_end_statement(Session *session, uint32_t family, const ColumnArray *keys, uint32_t count) MUST_CHECK;
/* table_write inside a statement; what has to be made comes from `arena`. */
Status table_write_statement(Session *session, uint32_t family, const ColumnBatch *rows, int mode,
                             uint64_t *first_row_id, Arena *arena) MUST_CHECK;
/* More rows than may wait for a reader have been written: looks for what they replace, while their keys are in the
 * cache. */
void table_resolve_written(Session *session, uint32_t family, const Era *era);
/* KVSTORE_CONSTRAINT, naming the key of this row: it is there already, in the table, or earlier in the batch. */
Status table_key_taken(const PreparedRows *rows, uint32_t row, bool by_batch) MUST_CHECK;
/* The encoded keys of rows [from, from + count), which need no other columns, and their hashes. */
Status table_encode_keys(Arena *arena, const PreparedRows *rows, uint32_t from, uint32_t count, Bytes *keys,
                         uint64_t *hashes) MUST_CHECK;
/* Those of all rows, kept with them. */
Status table_prepare_keys(Arena *arena, PreparedRows *rows) MUST_CHECK;
/* All of them as a run that the transaction adopts (bulk.c). The mode is one of table_write's, or this one: rows that
 * have expired and end others, also by row ids that were given before. */
enum { TABLE_END = 2 };
Status bulk_rows(Session *session, FamilyState *state, Era *era, PreparedRows *rows, int mode, Arena *arena) MUST_CHECK;

#endif
