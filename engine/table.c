/* table.c - tables by key: write, get, update, delete (DESIGN 8). */
#include <string.h>

#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/row_stage.h"
#include "engine/table_state.h"
#include "engine/table_write.h"

/* ---- looking a row up ---- */

Status find_table_row(Era *era, uint64_t sequence, Bytes key, FoundRow *out) {
  uint64_t hash = hash_key(key.data, key.length), locator, after = 0;
  *out = (FoundRow){ 0 };
  for (uint32_t i = 0; i < era->delta_count && !after; i++) {
    const TableDelta *delta = era->deltas[i].delta->table;
    DeltaState state = table_delta_find(delta, hash, key.data, key.length, sequence, &out->row);
    if (state == DELTA_FOUND) {
      out->found = true;
      out->delta = era->deltas[i].delta;
      out->expiry = table_delta_expiry(delta, out->row);
      return KVSTORE_OK;
    }
    /* A delete hides what is older; a run that was adopted later may hold the key again. */
    if (state == DELTA_DELETED) after = table_delta_sequence(delta, out->row);
  }
  TRY(era_find_in_runs(era, key, hash, sequence, after, &locator, &out->layer));
  if (locator == LOCATOR_NONE) return KVSTORE_OK;
  out->found = true;
  out->position = locator_position(locator);
  return column_run_get_expiry(era->runs[out->layer].run->columns, out->position, &out->expiry);
}

static Status copy_string(Arena *arena, Value *value) {
  if (value->is_null || !type_is_string(value->type)) return KVSTORE_OK;
  void *copy = arena_allocate(arena, value->s.length + 1);
  if (!copy) return status_nomem();
  if (value->s.length) memcpy(copy, value->s.data, value->s.length);
  value->s.data = copy;
  return KVSTORE_OK;
}

static Status read_delta_row(const Schema *schema, const FoundRow *found, Arena *arena, Value *row) {
  TableSlab slab = table_delta_slab(found->delta->table, table_slab_of(found->row));
  uint32_t at = table_slab_offset(found->row);
  for (uint32_t c = 0; c < schema->column_count; c++) {
    const ColumnArray *column = &slab.columns[c];
    if (column->nulls && column->nulls[at])
      row[c] = (Value){ .type = schema->columns[c].type, .is_null = true };
    else
      row[c] = value_from_array(schema->columns[c].type, column->values, at);
    TRY(copy_string(arena, &row[c]));
  }
  return KVSTORE_OK;
}

static Status read_run_row(const Era *era, const Schema *schema, const FoundRow *found, Arena *arena, Value *row) {
  ColumnRun *run = era->runs[found->layer].run->columns;
  Buffer scratch = { 0 };
  Status status = KVSTORE_OK;
  for (uint32_t c = 0; c < schema->column_count && status == KVSTORE_OK; c++) {
    status = column_run_get(run, found->position, c, &scratch, &row[c]);
    if (status == KVSTORE_OK) status = copy_string(arena, &row[c]);
  }
  buffer_release(&scratch);
  return status;
}

/* All columns of the schema, the hidden row id included. */
Status table_read_found(const Era *era, const Schema *schema, const FoundRow *found, Arena *arena, Value *row) {
  return found->delta ? read_delta_row(schema, found, arena, row) : read_run_row(era, schema, found, arena, row);
}

/* ---- keys ---- */

static Status encode_key(const Schema *schema, const Value *key, size_t key_count, Buffer *out) {
  if (key_count != schema->key_count)
    return status_fail(KVSTORE_ERROR, "%zu key values given: the table's key has %u columns", key_count,
                       schema->key_count);
  for (uint32_t i = 0; i < schema->key_count; i++) {
    const Column *column = &schema->columns[schema->key_columns[i]];
    if (key[i].is_null)
      return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, "null", "key column %s cannot be null",
                            column->name);
    if (key[i].type != column->type)
      return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "key column %s is of type %s, not %s",
                            column->name, type_name(column->type), type_name(key[i].type));
    if (type_is_fixed(column->type) && key[i].s.length != column->width)
      return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "key column %s takes exactly %u bytes",
                            column->name, column->width);
    keycode_append(out, &key[i], column->flags & COLUMN_NULLABLE);
  }
  TRY(buffer_status(out));
  if (out->length > KEY_BYTES_MAX)
    return status_fail(KVSTORE_ERROR, "an encoded key of %zu bytes, the limit is %u", out->length, KEY_BYTES_MAX);
  return KVSTORE_OK;
}

static Status no_row(void) { return status_set(KVSTORE_NOTFOUND, "no row has this key"); }

Status table_get(Session *session, uint32_t family, const Value *key, size_t key_count, Arena *arena, Value *row,
                 size_t column_count, int64_t *expiry) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  Buffer encoded = { 0 };
  FoundRow found;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, family, FAMILY_TABLE, &state, &era);
  const Schema *schema = status == KVSTORE_OK ? &state->family->schema : NULL;
  if (status == KVSTORE_OK) status = encode_key(schema, key, key_count, &encoded);
  if (status == KVSTORE_OK) status = find_table_row(era, pin.sequence, (Bytes){ encoded.data, encoded.length }, &found);
  if (status == KVSTORE_OK && found.found && found.expiry != EXPIRY_NEVER &&
      expiry_passed(found.expiry, store_clock(session->store)))
    found.found = false;
  if (status == KVSTORE_OK && !found.found) status = no_row();
  Value *all = NULL;
  if (status == KVSTORE_OK) {
    all = arena_allocate(arena, schema->column_count * sizeof *all);
    status = all ? table_read_found(era, schema, &found, arena, all) : status_nomem();
  }
  if (status == KVSTORE_OK) {
    size_t count = column_count < schema->column_count ? column_count : schema->column_count;
    memcpy(row, all, count * sizeof *row);
    if (expiry) *expiry = found.expiry;
  }
  read_unpin(session, &pin);
  buffer_release(&encoded);
  return status;
}

/* ---- delete and update: statements on one key ---- */

enum { ROW_WORDS = 512 }; /* what an update needs for a row of some twenty columns */

typedef struct KeyStatement {
  Session *session;
  ReadPin pin;
  FamilyState *state;
  Era *era;
  Buffer key;
  FoundRow found;
} KeyStatement;

static Status key_statement(KeyStatement *s, Session *session, uint32_t family, const Value *key, size_t key_count) {
  memset(s, 0, sizeof *s);
  s->session = session;
  TRY(write_pin(session, &s->pin));
  TRY(session_family(session, &s->pin, family, FAMILY_TABLE, &s->state, &s->era));
  TRY(encode_key(&s->state->family->schema, key, key_count, &s->key));
  return find_table_row(s->era, s->pin.sequence, (Bytes){ s->key.data, s->key.length }, &s->found);
}

static bool has_expired(const KeyStatement *s) {
  return s->found.expiry != EXPIRY_NEVER && expiry_passed(s->found.expiry, store_clock(s->session->store));
}

static void key_statement_end(KeyStatement *s) {
  read_unpin(s->session, &s->pin);
  buffer_release(&s->key);
}

Status table_delete_statement(Session *session, FamilyState *state, Era *era, Bytes key) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  mutex_lock(&store->apply_lock);
  Status status = transaction_touch(store, era->deltas[0].delta, state->family);
  if (status == KVSTORE_OK)
    status = apply_row_delete(store, era, key, hash_key(key.data, key.length), t->next_sequence);
  mutex_unlock(&store->apply_lock);
  TRY(status);
  t->next_sequence++;
  record_append_row_delete(&t->record, state->family->id, state->family->schema.version, key);
  return buffer_status(&t->record);
}

/* What the row that replaces it has in its locator: the statement has found it, so nobody looks again. */
static uint64_t word_of(const Era *era, const FoundRow *found) {
  return found->delta ? locator_of_delta(found->delta != era->deltas[0].delta)
                      : locator_of_run(era, found->layer, found->position);
}

Status table_delete(Session *session, uint32_t family, const Value *key, size_t key_count) {
  TRY(write_begin(session));
  KeyStatement s;
  Status status = key_statement(&s, session, family, key, key_count);
  bool live = status == KVSTORE_OK && s.found.found && !has_expired(&s);
  if (status == KVSTORE_OK && s.found.found) {
    uint64_t word = word_of(s.era, &s.found);
    uint32_t row = table_delta_row_count(s.era->deltas[0].delta->table);
    status = table_delete_statement(session, s.state, s.era, (Bytes){ s.key.data, s.key.length });
    if (status == KVSTORE_OK) status = locators_note(s.era, row, &word, 1);
  }
  key_statement_end(&s);
  TRY(write_end(session, status));
  return live ? KVSTORE_OK : no_row();
}

static Status update_row(KeyStatement *s, const uint32_t *columns, const Value *values, size_t count,
                         const int64_t *expiry, Arena *arena) {
  const Schema *schema = &s->state->family->schema;
  Value *row = arena_allocate(arena, schema->column_count * sizeof *row);
  if (!row) return status_nomem();
  TRY(table_read_found(s->era, schema, &s->found, arena, row));
  for (size_t i = 0; i < count; i++) {
    if (columns[i] >= schema->column_count - schema->has_row_id)
      return status_fail(KVSTORE_SCHEMA, "the table has no column number %u", columns[i]);
    if (schema_is_key(schema, columns[i]))
      return status_fail_at(KVSTORE_CONSTRAINT, UINT64_MAX, schema->columns[columns[i]].name, NULL,
                            "%s is part of the key, which cannot be changed", schema->columns[columns[i]].name);
    row[columns[i]] = values[i];
  }
  RowStage stage;
  TRY(row_stage_create(&stage, schema, 1, arena));
  for (size_t i = 0; i < count; i++) TRY(check_value(&schema->columns[columns[i]], &row[columns[i]], UINT64_MAX));
  for (uint32_t c = 0; c < schema->column_count; c++) row_stage_set(&stage, c, 0, &row[c]);
  int64_t until = expiry ? *expiry : s->found.expiry;
  Bytes key = { s->key.data, s->key.length };
  uint64_t hash = hash_key(key.data, key.length), word = word_of(s->era, &s->found);
  PreparedRows prepared = { schema, { 1, schema->column_count, stage.columns, &until }, &key, &hash, &word };
  return write_rows(s->session, s->state, s->era, &prepared, 0, 1);
}

Status table_update(Session *session, uint32_t family, const Value *key, size_t key_count, const uint32_t *columns,
                    const Value *values, size_t count, const int64_t *expiry) {
  TRY(write_begin(session));
  KeyStatement s;
  uint64_t room[ROW_WORDS];
  Arena arena = ARENA_OVER(room);
  Status status = key_statement(&s, session, family, key, key_count);
  if (status == KVSTORE_OK && (!s.found.found || has_expired(&s))) status = no_row();
  if (status == KVSTORE_OK) status = update_row(&s, columns, values, count, expiry, &arena);
  key_statement_end(&s);
  if (status == KVSTORE_OK) status = transaction_spill(session);
  arena_release(&arena);
  return write_end(session, status);
}
