/* table_write.c - batches of rows into a table: all or nothing. */
#include "engine/table_write.h"

#include <stdio.h>
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/literal.h"
#include "base/memory.h"
#include "engine/table_state.h"
#include "os/large_memory.h"

enum {
  WRITE_CHUNK = 4096, /* rows between two looks at the size of the record */
  ROW_WORDS = 256,    /* what a statement needs for one row, unless it is very wide */
  /* Rows of an open transaction may wait for their locators; the more are looked up together, the nearer their keys
   * lie. Its commit leaves no more than UNRESOLVED_MAX. */
  WAITING_MAX = 4 * UNRESOLVED_MAX,
};

/* ---- checks ---- */

/* `shown`: the value; NULL: none is named. */
static Status fail_value(int code, const Column *column, uint64_t row, const char *shown, const char *what) {
  if (row == UINT64_MAX) return status_fail_at(code, row, column->name, shown, "column %s: %s", column->name, what);
  return status_fail_at(code, row, column->name, shown, "row %llu, column %s: %s", (unsigned long long)row,
                        column->name, what);
}

static Status fail_null(const Column *column, uint64_t row) {
  return fail_value(KVSTORE_CONSTRAINT, column, row, "null", "the column is not nullable");
}

enum {
  WHAT_TEXT = 128 + STATUS_NAME_MAX, /* a sentence with two numbers, or a value */
  SHOWN_BYTES = 100,                 /* of a string, in a message */
};

/* Appends a value as a message shows it: of a long string the beginning. */
static void show_value(Value value, Buffer *out) {
  bool is_cut = type_is_string(value.type) && value.s.length > SHOWN_BYTES;
  if (is_cut)
    value.s.length =
      value.type == TYPE_STRING ? bytes_beginning(value.s.data, value.s.length, SHOWN_BYTES) : SHOWN_BYTES;
  literal_print(&value, out);
  if (is_cut) buffer_text(out, "...");
}

/* The text of a buffer, which ends with it; "" for one that has failed. */
static const char *shown_text(Buffer *shown) {
  buffer_u8(shown, '\0');
  return shown->failed ? "" : (const char *)shown->data;
}

/* Of bytes that are no value of the column. */
static Status fail_bytes(const Column *column, uint64_t row, Bytes bytes, const char *what) {
  Buffer shown = { 0 };
  show_value((Value){ .type = TYPE_BYTES, .s = bytes }, &shown);
  const char *text = shown_text(&shown);
  char sentence[WHAT_TEXT];
  (void)snprintf(sentence, sizeof sentence, "%s: %s", what, text);
  Status status = fail_value(KVSTORE_TYPE, column, row, text, sentence);
  buffer_release(&shown);
  return status;
}

/* Of a type that has gaps, what is none of its values. */
static const char *no_value(ColumnType type) {
  if (type == TYPE_BOOL) return "a bool is 0 or 1";
  return type == TYPE_TIME ? "a time of day is 0 to 86399999999 microseconds" : "a decimal has at most 18 digits";
}

static Status fail_number(const Column *column, uint64_t row, int64_t number) {
  char what[WHAT_TEXT];
  (void)snprintf(what, sizeof what, "%s, not %lld", no_value(column->type), (long long)number);
  return fail_value(KVSTORE_TYPE, column, row, strrchr(what, ' ') + 1, what);
}

static Status fail_width(const Column *column, uint64_t row, Bytes value) {
  char what[WHAT_TEXT];
  (void)snprintf(what, sizeof what, "the value has %zu bytes, not the column's width of %u", value.length,
                 (unsigned)column->width);
  return fail_bytes(column, row, value, what);
}

static Status check_bytes(const Column *column, Bytes value, uint64_t row) {
  if (value.length > VALUE_BYTES_CEILING)
    return fail_value(KVSTORE_LIMIT, column, row, NULL, "the value is longer than 1 GiB");
  if (column->type == TYPE_STRING && !bytes_are_utf8(value.data, value.length))
    return fail_bytes(column, row, value, "the text is not UTF-8");
  if (type_is_fixed(column->type) && value.length != column->width) return fail_width(column, row, value);
  return KVSTORE_OK;
}

Status check_value(const Column *column, const Value *value, uint64_t row) {
  if (value->is_null) {
    if (column->flags & COLUMN_NULLABLE) return KVSTORE_OK;
    return fail_null(column, row);
  }
  if (value->type != column->type) return fail_value(KVSTORE_TYPE, column, row, NULL, "the value has another type");
  if (type_is_string(column->type)) return check_bytes(column, value->s, row);
  int64_t low, high;
  type_image_bounds(column->type, &low, &high);
  bool fits = !type_has_gaps(column->type) || (value->i >= low && value->i <= high);
  return fits ? KVSTORE_OK : fail_number(column, row, value->i);
}

/* Of types of 64 bits whose values are fewer. */
static Status check_numbers(const Column *column, const ColumnArray *array, uint32_t rows) {
  const int64_t *values = array->values;
  int64_t low, high;
  type_image_bounds(column->type, &low, &high);
  uint64_t outside = 0;
  for (uint32_t i = 0; i < rows; i++) outside |= (uint64_t)(values[i] < low) | (uint64_t)(values[i] > high);
  for (uint32_t i = 0; outside && i < rows; i++)
    if ((values[i] < low || values[i] > high) && !(array->nulls && array->nulls[i]))
      return fail_number(column, i, values[i]);
  return KVSTORE_OK;
}

/* The strings that lie one behind the other are one text, in which none may begin inside a character. */
static bool texts_are_valid(const ColumnArray *array, uint32_t rows) {
  const Bytes *values = array->values;
  const uint8_t *begin = NULL, *end = NULL;
  bool is_cut = false;
  for (uint32_t i = 0; i < rows; i++) {
    if ((array->nulls && array->nulls[i]) || !values[i].length) continue;
    is_cut |= (values[i].data[0] & 0xc0) == 0x80;
    if (values[i].data != end) {
      if (begin && !bytes_are_utf8(begin, (size_t)(end - begin))) return false;
      begin = values[i].data;
    }
    end = values[i].data + values[i].length;
  }
  return !is_cut && (!begin || bytes_are_utf8(begin, (size_t)(end - begin)));
}

/* Whether check_bytes will find nothing. */
static bool strings_are_valid(const Column *column, const ColumnArray *array, uint32_t rows) {
  const Bytes *values = array->values;
  size_t least = type_is_fixed(column->type) ? column->width : 0;
  size_t most = type_is_fixed(column->type) ? column->width : VALUE_BYTES_CEILING;
  bool fit = true;
  for (uint32_t i = 0; i < rows; i++) {
    bool is_null = array->nulls && array->nulls[i];
    fit &= is_null || (values[i].length >= least && values[i].length <= most);
  }
  return fit && (column->type != TYPE_STRING || texts_are_valid(array, rows));
}

/* Of values that are not null. */
static Status check_values(const Column *column, const ColumnArray *array, uint32_t rows) {
  if (column->type == TYPE_BOOL) {
    const uint8_t *values = array->values;
    for (uint32_t i = 0; i < rows; i++)
      if (values[i] > 1 && !(array->nulls && array->nulls[i])) return fail_number(column, i, values[i]);
  }
  if (type_has_gaps(column->type) && column->type != TYPE_BOOL) return check_numbers(column, array, rows);
  if (!type_is_string(column->type) || strings_are_valid(column, array, rows)) return KVSTORE_OK;
  const Bytes *values = array->values;
  for (uint32_t i = 0; i < rows; i++)
    if (!(array->nulls && array->nulls[i])) TRY(check_bytes(column, values[i], i));
  return KVSTORE_OK;
}

Status check_column(const Column *column, const ColumnArray *array, uint32_t rows) {
  uint32_t good = 0; /* rows before the first null that may not be */
  if (!array->nulls || column->flags & COLUMN_NULLABLE) good = rows;
  while (good < rows && !array->nulls[good]) good++;
  TRY(check_values(column, array, good));
  return good == rows ? KVSTORE_OK : fail_null(column, good);
}

static Status check_batch(const Schema *schema, const ColumnBatch *rows) {
  uint32_t visible = schema->column_count - schema->has_row_id;
  if (rows->column_count != visible)
    return status_fail(KVSTORE_SCHEMA, "%u columns given: the table has %u", rows->column_count, visible);
  Status status = KVSTORE_OK;
  uint32_t good = rows->row_count; /* rows before the first bad one so far */
  for (uint32_t c = 0; c < visible; c++) {
    bool takes_all = !type_is_string(schema->columns[c].type) && !type_has_gaps(schema->columns[c].type);
    if (takes_all && !rows->columns[c].nulls) continue;
    Status of_column = check_column(&schema->columns[c], &rows->columns[c], good);
    if (of_column == KVSTORE_OK) continue;
    status = of_column;
    good = (uint32_t)status_last()->row;
  }
  return status;
}

/* ---- preparing ---- */

/* Values beneath nulls are zero, and columns that are not nullable carry no null bytes: what deltas and runs expect. */
static Status clean_column(const Column *column, const ColumnArray *from, uint32_t rows, Arena *arena,
                           ColumnArray *to) {
  bool nullable = column->flags & COLUMN_NULLABLE;
  *to = (ColumnArray){ from->values, nullable ? from->nulls : NULL };
  if (!to->nulls) {
    if (!nullable) return KVSTORE_OK;
    uint8_t *none = arena_allocate_zeroed(arena, rows);
    to->nulls = none;
    return none ? KVSTORE_OK : status_nomem();
  }
  if (!memchr(to->nulls, 1, rows)) return KVSTORE_OK;
  size_t width = type_array_width(column->type);
  uint8_t *values = arena_copy(arena, from->values, rows * width);
  if (!values) return status_nomem();
  for (uint32_t i = 0; i < rows; i++)
    if (to->nulls[i]) memset(values + i * width, 0, width);
  to->values = values;
  return KVSTORE_OK;
}

static Status prepare_columns(Store *store, FamilyState *state, const ColumnBatch *rows, Arena *arena,
                              PreparedRows *out, uint64_t *first_row_id) {
  const Schema *schema = &state->family->schema;
  ColumnArray *columns = arena_allocate(arena, schema->column_count * sizeof *columns);
  if (!columns) return status_nomem();
  for (uint32_t c = 0; c < rows->column_count; c++)
    TRY(clean_column(&schema->columns[c], &rows->columns[c], rows->row_count, arena, &columns[c]));
  if (schema->has_row_id) {
    uint64_t *ids = arena_allocate(arena, rows->row_count * sizeof *ids);
    if (!ids) return status_nomem();
    os_prefer_large_pages(ids, rows->row_count * sizeof *ids);
    TRY(transaction_keep_row_id(store, state->family));
    uint64_t next = atomic_load_explicit(&state->family->next_row_id, memory_order_relaxed);
    for (uint32_t i = 0; i < rows->row_count; i++) ids[i] = next + i;
    atomic_store_explicit(&state->family->next_row_id, next + rows->row_count, memory_order_relaxed);
    columns[schema->column_count - 1] = (ColumnArray){ ids, NULL };
    *first_row_id = next;
  }
  *out = (PreparedRows){ .schema = schema };
  out->batch = (ColumnBatch){ rows->row_count, schema->column_count, columns, rows->expiry };
  return KVSTORE_OK;
}

#define ASCENDS(TYPE, T)                                                      \
  case TYPE:                                                                  \
    for (uint32_t i = 1; i < rows; i++)                                       \
      if (((const T *)values)[i] <= ((const T *)values)[i - 1]) return false; \
    return true;

static bool numbers_ascend(ColumnType type, const void *values, uint32_t rows) {
  switch (type_storage(type)) {
    ASCENDS(TYPE_I8, int8_t)
    ASCENDS(TYPE_I16, int16_t)
    ASCENDS(TYPE_I32, int32_t)
    ASCENDS(TYPE_I64, int64_t)
    ASCENDS(TYPE_U8, uint8_t)
    ASCENDS(TYPE_U16, uint16_t)
    ASCENDS(TYPE_U32, uint32_t)
    ASCENDS(TYPE_U64, uint64_t)
  default: return false;
  }
}
#undef ASCENDS

/* Whether the keys are known to ascend strictly without being encoded: those of one column of whole numbers. */
static bool keys_ascend(const PreparedRows *rows) {
  uint32_t key = rows->schema->key_columns[0];
  return rows->schema->key_count == 1 && !rows->batch.columns[key].nulls &&
         numbers_ascend(rows->schema->columns[key].type, rows->batch.columns[key].values, rows->batch.row_count);
}

/* Whether all keys are a number of one column and nothing else. */
static bool is_one_number(const Schema *schema) {
  const Column *key = &schema->columns[schema->key_columns[0]];
  bool is_number = !type_is_string(key->type) && !type_is_float(key->type);
  return schema->key_count == 1 && is_number && !(key->flags & COLUMN_NULLABLE);
}

static Status encode_numbers(Arena *arena, const PreparedRows *rows, uint32_t from, uint32_t count, Bytes *keys) {
  uint32_t key = rows->schema->key_columns[0];
  ColumnType type = rows->schema->columns[key].type;
  size_t width = type_array_width(type);
  uint8_t *at = arena_allocate(arena, count * width);
  if (!at) return status_nomem();
  keycode_write_numbers(type, (const uint8_t *)rows->batch.columns[key].values + from * width, count, at);
  for (uint32_t i = 0; i < count; i++) keys[i] = (Bytes){ at + i * width, width };
  return KVSTORE_OK;
}

/* A key as a message names it. */
typedef struct ShownKey {
  Buffer columns, values; /* apart by commas */
} ShownKey;

static ShownKey show_key(const PreparedRows *rows, uint32_t row) {
  const Schema *schema = rows->schema;
  ShownKey shown = { 0 };
  for (uint32_t k = 0; k < schema->key_count; k++) {
    uint32_t column = schema->key_columns[k];
    buffer_text(&shown.columns, k ? ", " : "");
    buffer_text(&shown.values, k ? ", " : "");
    buffer_text(&shown.columns, schema->columns[column].name);
    show_value(value_from_array(schema->columns[column].type, rows->batch.columns[column].values, row), &shown.values);
  }
  return shown;
}

static void release_key(ShownKey *shown) {
  buffer_release(&shown->columns);
  buffer_release(&shown->values);
}

static Status fail_long_key(const PreparedRows *rows, uint32_t row, size_t length) {
  ShownKey shown = show_key(rows, row);
  const char *columns = shown_text(&shown.columns), *key = shown_text(&shown.values);
  Status status =
    status_fail_at(KVSTORE_ERROR, row, columns, key, "row %u: an encoded key of %zu bytes, the limit is %u: %s = %s",
                   row, length, KEY_BYTES_MAX, columns, key);
  release_key(&shown);
  return status;
}

static Status encode_each(Arena *arena, const PreparedRows *rows, uint32_t from, uint32_t count, Bytes *keys) {
  Buffer encoded = { 0 };
  for (uint32_t i = 0; i < count; i++) {
    size_t begin = encoded.length;
    keycode_append_row(&encoded, rows->schema, rows->batch.columns, from + i);
    keys[i] = (Bytes){ NULL, encoded.length - begin };
  }
  Status status = buffer_status(&encoded);
  uint8_t *at = status == KVSTORE_OK ? arena_copy(arena, encoded.data, encoded.length) : NULL;
  if (status == KVSTORE_OK && !at) status = status_nomem();
  for (uint32_t i = 0; i < count && status == KVSTORE_OK; i++) {
    keys[i].data = at;
    at += keys[i].length;
    if (keys[i].length > KEY_BYTES_MAX) status = fail_long_key(rows, from + i, keys[i].length);
  }
  buffer_release(&encoded);
  return status;
}

Status table_encode_keys(Arena *arena, const PreparedRows *rows, uint32_t from, uint32_t count, Bytes *keys,
                         uint64_t *hashes) {
  TRY((is_one_number(rows->schema) ? encode_numbers : encode_each)(arena, rows, from, count, keys));
  for (uint32_t i = 0; i < count; i++) hashes[i] = hash_key(keys[i].data, keys[i].length);
  return KVSTORE_OK;
}

Status table_prepare_keys(Arena *arena, PreparedRows *out) {
  uint32_t rows = out->batch.row_count;
  Bytes *keys = arena_allocate(arena, rows * sizeof *keys);
  uint64_t *hashes = arena_allocate(arena, rows * sizeof *hashes);
  if (!keys || !hashes) return status_nomem();
  TRY(table_encode_keys(arena, out, 0, rows, keys, hashes));
  if (rows >= DELTA_SLAB_ROWS) COUNT_MANY(bulk_keys_encoded, rows);
  out->keys = keys;
  out->hashes = hashes;
  return KVSTORE_OK;
}

/* ---- inserts: no key may be there, or twice in the batch ---- */

Status table_key_taken(const PreparedRows *rows, uint32_t row, bool by_batch) {
  ShownKey shown = show_key(rows, row);
  const char *columns = shown_text(&shown.columns), *key = shown_text(&shown.values);
  Status status = status_fail_at(KVSTORE_CONSTRAINT, row, columns, key,
                                 "row %u: a row with this key is there already%s: %s = %s", row,
                                 by_batch ? " (earlier in this batch)" : "", columns, key);
  release_key(&shown);
  return status;
}

/* Open addressing over row numbers: the first row with the key of one before it; as many as there are: none. */
static Status find_repeated(const PreparedRows *rows, uint32_t *repeated) {
  uint32_t count = rows->batch.row_count, size = 16;
  *repeated = count;
  if (count < 2) return KVSTORE_OK;
  while (size < 2 * count) size *= 2;
  uint32_t *slots = memory_allocate_zeroed((size_t)size * sizeof *slots);
  if (!slots) return status_nomem();
  for (uint32_t i = 0; i < *repeated; i++) {
    uint32_t at = (uint32_t)rows->hashes[i] & (size - 1);
    for (; slots[at]; at = (at + 1) & (size - 1)) {
      uint32_t other = slots[at] - 1;
      if (rows->hashes[other] == rows->hashes[i] && rows->keys[other].length == rows->keys[i].length &&
          memcmp(rows->keys[other].data, rows->keys[i].data, rows->keys[i].length) == 0)
        break;
    }
    if (slots[at]) *repeated = i;
    slots[at] = i + 1;
  }
  memory_release(slots);
  return KVSTORE_OK;
}

/* The first row that cannot be is the one that is named, whether the batch or the table has its key already. */
static Status check_unique(Store *store, Era *era, uint64_t sequence, const PreparedRows *rows) {
  uint32_t repeated;
  TRY(find_repeated(rows, &repeated));
  int64_t now_ms = store_clock(store);
  for (uint32_t i = 0; i < repeated; i++) {
    FoundRow found;
    TRY(find_table_row(era, sequence, rows->keys[i], &found));
    if (found.found && !expiry_passed(found.expiry, now_ms)) return table_key_taken(rows, i, false);
  }
  return repeated < rows->batch.row_count ? table_key_taken(rows, repeated, true) : KVSTORE_OK;
}

/* ---- writing ---- */

/* Rows [from, from + count) of a batch, as a batch; `columns` has room for its arrays. */
static ColumnBatch batch_part(const PreparedRows *rows, size_t from, size_t count, ColumnArray *columns) {
  const ColumnBatch *all = &rows->batch;
  for (uint32_t c = 0; c < all->column_count; c++) {
    size_t width = type_array_width(rows->schema->columns[c].type);
    columns[c].values = (const uint8_t *)all->columns[c].values + from * width;
    columns[c].nulls = all->columns[c].nulls ? all->columns[c].nulls + from : NULL;
  }
  return (ColumnBatch){ (uint32_t)count, all->column_count, columns, all->expiry ? all->expiry + from : NULL };
}

static Status append_row(Store *store, FamilyState *state, Era *era, const PreparedRows *rows, size_t row) {
  const ColumnBatch *batch = &rows->batch;
  int64_t expiry = batch->expiry ? batch->expiry[row] : EXPIRY_NEVER;
  for (uint32_t i = 0; i < era->delta_count; i++) table_delta_prefetch(era->deltas[i].delta->table, rows->hashes[row]);
  mutex_lock(&store->apply_lock);
  Status status = transaction_touch(store, era->deltas[0].delta, state->family);
  if (status == KVSTORE_OK)
    status = apply_row(store, era, rows->keys[row], rows->hashes[row], batch->columns, row, expiry,
                       store->transaction.next_sequence);
  mutex_unlock(&store->apply_lock);
  return status;
}

static Status append_rows(Store *store, FamilyState *state, Era *era, const PreparedRows *rows, size_t from,
                          size_t count) {
  Transaction *t = &store->transaction;
  Arena arena = { 0 };
  ColumnArray *columns = arena_allocate(&arena, rows->schema->column_count * sizeof *columns);
  uint32_t *replaced = arena_allocate(&arena, count * sizeof *replaced);
  Status status = columns && replaced ? KVSTORE_OK : status_nomem();
  if (status == KVSTORE_OK) {
    ColumnBatch part = batch_part(rows, from, count, columns);
    TableAppend append = { &part, rows->keys + from, rows->hashes + from, t->next_sequence, 1, replaced };
    mutex_lock(&store->apply_lock);
    status = transaction_touch(store, era->deltas[0].delta, state->family);
    if (status == KVSTORE_OK) status = apply_rows(store, era, &append);
    mutex_unlock(&store->apply_lock);
  }
  arena_release(&arena);
  return status;
}

/* In the current version, which has what the statement itself has spilled. What fails here fails again where it is
 * needed, and says so there. */
void table_resolve_written(Session *session, uint32_t family, const Era *era) {
  if (era_rows_unresolved(era) <= WAITING_MAX) return;
  ReadPin pin;
  FamilyState *state;
  Era *now;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) {
    status = session_family(session, &pin, family, FAMILY_TABLE, &state, &now);
    if (status == KVSTORE_OK) status = era_resolve(now, UINT64_MAX);
    read_unpin(session, &pin);
  }
  if (status != KVSTORE_OK) status_clear();
}

Status write_rows(Session *session, FamilyState *state, Era *era, const PreparedRows *rows, size_t from, size_t count) {
  Transaction *t = &session->store->transaction;
  const ColumnBatch *batch = &rows->batch;
  uint32_t first = table_delta_row_count(era->deltas[0].delta->table);
  TRY(count == 1 ? append_row(session->store, state, era, rows, from)
                 : append_rows(session->store, state, era, rows, from, count));
  t->next_sequence += count;
  if (rows->locators) TRY(locators_note(era, first, rows->locators + from, (uint32_t)count));
  table_resolve_written(session, state->family->id, era);
  for (size_t i = from; i < from + count; i++) {
    int64_t expiry = batch->expiry ? batch->expiry[i] : EXPIRY_NEVER;
    record_append_row(&t->record, state->family->id, expiry, rows->keys[i], rows->schema, batch->columns, i);
  }
  return buffer_status(&t->record);
}

Status table_write_statement(Session *session, uint32_t family, const ColumnBatch *rows, int mode,
                             uint64_t *first_row_id, Arena *arena) {
  Store *store = session->store;
  ReadPin pin;
  FamilyState *state;
  Era *era;
  PreparedRows prepared;
  TRY(write_pin(session, &pin));
  Status status = session_family(session, &pin, family, FAMILY_TABLE, &state, &era);
  if (status == KVSTORE_OK) status = check_batch(&state->family->schema, rows);
  if (status == KVSTORE_OK) status = prepare_columns(store, state, rows, arena, &prepared, first_row_id);
  bool bulk = rows->row_count >= DELTA_SLAB_ROWS;
  if (status == KVSTORE_OK && !(bulk && keys_ascend(&prepared))) status = table_prepare_keys(arena, &prepared);
  if (status == KVSTORE_OK && bulk) {
    status = bulk_rows(session, state, era, &prepared, mode, arena);
  } else if (status == KVSTORE_OK) {
    if (mode == TABLE_INSERT && !prepared.schema->has_row_id)
      status = check_unique(store, era, pin.sequence, &prepared);
    for (size_t at = 0; at < rows->row_count && status == KVSTORE_OK; at += WRITE_CHUNK) {
      size_t count = rows->row_count - at < WRITE_CHUNK ? rows->row_count - at : WRITE_CHUNK;
      status = write_rows(session, state, era, &prepared, at, count);
      if (status == KVSTORE_OK) status = transaction_spill(session);
    }
  }
  read_unpin(session, &pin);
  return status;
}

Status table_write(Session *session, uint32_t family, const ColumnBatch *rows, int mode, uint64_t *first_row_id) {
  if (!rows->row_count) return KVSTORE_OK;
  TRY(write_begin(session));
  uint64_t room[ROW_WORDS];
  Arena arena = ARENA_OVER(room);
  uint64_t row_id = 0;
  Status status = table_write_statement(session, family, rows, mode, &row_id, &arena);
  arena_release(&arena);
  TRY(write_end(session, status));
  if (first_row_id) *first_row_id = row_id;
  return KVSTORE_OK;
}
