#include "tests/crash/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "engine/kv_load.h"
#include "tests/support/test.h"

enum { VALUE_BYTES = 80 << 10, NAME_BYTES = 64 };

static const char *const target_names[ORACLE_TARGETS] = { "default", "one", "two", "three", "table", "heap" };

/* ---- bytes from stamps ---- */

static uint64_t mix(uint64_t x) {
  uint64_t state = x;
  return test_random(&state);
}

static size_t key_bytes(uint32_t item, uint8_t out[512]) {
  int length = snprintf((char *)out, 512, "key%03u", item);
  if (item % 13 != 12) return (size_t)length;
  memset(out + length, 'k', 300); /* long ones too */
  return (size_t)length + 300;
}

/* Mostly short; one in 16 is some pages long, one in 128 lies in a value extent. */
static size_t value_length(uint32_t stamp) {
  uint64_t r = mix(stamp);
  if (r % 128 == 0) return 66000 + r % 1000;
  if (r % 16 == 1) return 2000 + (r >> 8) % 3000;
  return 4 + (r >> 8) % 100;
}

static Bytes value_bytes(uint32_t stamp, uint8_t *out) {
  size_t length = value_length(stamp);
  memset(out, (int)(mix(stamp + UINT64_C(77)) & 0xff), length);
  store_u32(out, stamp);
  return (Bytes){ out, length };
}

/* The stamp in digits, a space, and some more. By hand: names are most of what a campaign reads. */
static Bytes name_bytes(uint32_t stamp, char out[NAME_BYTES]) {
  char digits[10];
  size_t count = 0, length = 0, more = stamp % 20;
  do digits[count++] = (char)('0' + stamp % 10);
  while (stamp /= 10);
  while (count) out[length++] = digits[--count];
  out[length++] = ' ';
  memcpy(out + length, "some more of the name", more);
  length += more;
  return (Bytes){ (const uint8_t *)out, length };
}

static uint32_t stamp_of_name(Bytes name) {
  uint32_t stamp = 0;
  for (size_t i = 0; i < name.length && name.data[i] >= '0' && name.data[i] <= '9'; i++)
    stamp = stamp * 10 + (uint32_t)(name.data[i] - '0');
  return stamp;
}

static int32_t amount_of(uint32_t stamp) { return (int32_t)(stamp * 3); }
static bool amount_is_null(uint32_t stamp) { return stamp % 5 == 0; }

/* ---- on the oracle ---- */

void oracle_init(Oracle *o) {
  memset(o, 0, sizeof *o);
  o->there[0] = true;
}

static bool key_live(const OracleKey *k, int64_t now_ms) { return k->stamp && !expiry_passed(k->expiry, now_ms); }
static bool row_live(const OracleRow *r, int64_t now_ms) { return r->name && !expiry_passed(r->expiry, now_ms); }

static void empty_target(Oracle *o, uint32_t target) {
  if (target < ORACLE_FAMILIES) memset(o->kv[target], 0, sizeof o->kv[target]);
  if (target == ORACLE_TABLE) {
    memset(o->table, 0, sizeof o->table);
    o->bulk = 0;
  }
  if (target == ORACLE_HEAP) o->heap_rows = o->heap_sum = 0;
}

static uint64_t heap_hash(uint32_t stamp) { return mix(stamp * UINT64_C(3) + 1); }

static Status write_table(Oracle *o, const OracleOp *op, int64_t now_ms) {
  bool bulk = op->kind == ORACLE_BULK;
  uint32_t count = bulk ? ORACLE_IDS : op->count;
  for (uint32_t i = 0; i < count && op->kind == ORACLE_INSERT; i++)
    if (row_live(&o->table[op->item + i], now_ms)) return KVSTORE_CONSTRAINT;
  for (uint32_t i = 0; i < count; i++) o->table[op->item + i] = (OracleRow){ op->stamp, op->stamp, op->expiry };
  if (bulk) o->bulk = op->stamp;
  return KVSTORE_OK;
}

static Status append_heap(Oracle *o, const OracleOp *op) {
  uint64_t rows = op->kind == ORACLE_BULK ? ORACLE_BULK_ROWS : op->count;
  o->heap_rows += rows;
  o->heap_sum += rows * heap_hash(op->stamp);
  return KVSTORE_OK;
}

static Status apply_row(Oracle *o, const OracleOp *op, int64_t now_ms) {
  OracleRow *row = &o->table[op->item];
  if (!row_live(row, now_ms)) return KVSTORE_NOTFOUND;
  if (op->kind == ORACLE_UPDATE)
    row->amount = op->stamp;
  else
    *row = (OracleRow){ 0 };
  return KVSTORE_OK;
}

uint32_t oracle_live_rows(const Oracle *o, const OracleOp *op, int64_t now_ms) {
  uint32_t end = op->item + op->count, live = 0;
  for (uint32_t i = op->item; i < end && i < ORACLE_IDS; i++) live += row_live(&o->table[i], now_ms);
  return live + (end > ORACLE_IDS && o->bulk ? end - ORACLE_IDS : 0);
}

/* All rows of a bulk append end together. */
static Status apply_row_range(Oracle *o, const OracleOp *op) {
  uint32_t end = op->item + op->count;
  for (uint32_t i = op->item; i < end && i < ORACLE_IDS; i++) o->table[i] = (OracleRow){ 0 };
  if (end > ORACLE_IDS) o->bulk = 0;
  return KVSTORE_OK;
}

static Status apply_key_range(Oracle *o, const OracleOp *op) {
  memset(&o->kv[op->target][op->item], 0, op->count * sizeof(OracleKey));
  return KVSTORE_OK;
}

static Status apply_key(Oracle *o, const OracleOp *op, int64_t now_ms) {
  OracleKey *key = &o->kv[op->target][op->item];
  bool live = key_live(key, now_ms);
  if (op->kind == ORACLE_LOAD) {
    for (uint32_t i = 0; i < op->count; i++) key[i] = (OracleKey){ op->stamp, op->expiry };
    return KVSTORE_OK;
  }
  if (op->kind == ORACLE_DELETE && !live) return KVSTORE_NOTFOUND;
  if (op->kind == ORACLE_PUT_IF_ABSENT && live) return KVSTORE_OK;
  *key = op->kind == ORACLE_DELETE ? (OracleKey){ 0 } : (OracleKey){ op->stamp, op->expiry };
  return KVSTORE_OK;
}

Status oracle_apply(Oracle *o, const OracleOp *op, int64_t now_ms) {
  if (op->kind == ORACLE_CREATE) {
    if (o->there[op->target]) return KVSTORE_CONSTRAINT;
    o->there[op->target] = true;
    return KVSTORE_OK;
  }
  if (!o->there[op->target]) return KVSTORE_NOTFOUND;
  if (op->kind == ORACLE_DROP || op->kind == ORACLE_CLEAR) {
    empty_target(o, op->target);
    o->there[op->target] = op->kind == ORACLE_CLEAR;
    return KVSTORE_OK;
  }
  if (op->target == ORACLE_HEAP) return append_heap(o, op);
  if (op->kind == ORACLE_DELETE_RANGE) return apply_key_range(o, op);
  if (op->kind == ORACLE_DELETE_MANY) return apply_row_range(o, op);
  if (op->target < ORACLE_FAMILIES) return apply_key(o, op, now_ms);
  return op->kind == ORACLE_UPDATE || op->kind == ORACLE_DELETE ? apply_row(o, op, now_ms) : write_table(o, op, now_ms);
}

/* ---- on a store ---- */

/* A family whose pairs are in columns, too: what the check compares them with (columns_check). */
static Status declare_columns(Session *session, uint32_t id) {
  Column columns[PAIR_OWN_COLUMNS + 2];
  Projection projections[PAIR_OWN_COLUMNS + 2];
  for (uint32_t c = 0; c < PAIR_OWN_COLUMNS; c++) {
    const PairColumn *own = &pair_own_columns[c];
    columns[c] = (Column){ c + 1, own->type, own->flags, 0, (char *)own->name };
    projections[c] = (Projection){ .kind = own->kind, .type = own->type };
  }
  columns[PAIR_OWN_COLUMNS] = (Column){ 5, TYPE_U32, COLUMN_NULLABLE, 0, "number" };
  projections[PAIR_OWN_COLUMNS] = (Projection){ .kind = PROJECTION_AT, .type = TYPE_U32, .number = 4 };
  columns[PAIR_OWN_COLUMNS + 1] = (Column){ 6, TYPE_STRING, COLUMN_NULLABLE, 0, "part" };
  projections[PAIR_OWN_COLUMNS + 1] =
    (Projection){ .kind = PROJECTION_PART, .type = TYPE_STRING, .separator = { (const uint8_t *)"0", 1 }, .number = 1 };
  Schema schema = { .version = 1, .column_count = PAIR_OWN_COLUMNS + 2, .columns = columns, .key_count = 1 };
  PairColumns all = { .schema = &schema, .projections = projections };
  return family_set_columns(session, id, &all);
}

/* Both or neither, also where the operation is a transaction by itself. */
static Status create_with_columns(Session *session, const char *name) {
  uint32_t id;
  bool alone = session_transaction(session) == 0;
  if (alone) TRY(session_begin(session, true));
  Status status = family_create(session, name, FAMILY_KV, NULL, &id);
  bool is_made = status == KVSTORE_OK;
  if (is_made) status = declare_columns(session, id);
  if (alone && status == KVSTORE_OK) return session_commit(session);
  if (status == KVSTORE_OK) return status;
  Failure why = *status_last();
  Status ignored = alone ? session_rollback(session) : is_made ? family_drop(session, id) : status;
  (void)ignored;
  status_restore(&why);
  return status;
}

static Status create_target(Session *session, uint32_t target) {
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" },
                       { 0, TYPE_I32, COLUMN_NULLABLE | COLUMN_ARRAY, 0, (char *)"amount" },
                       { 0, TYPE_STRING, 0, 0, (char *)"name" } };
  Schema keyed = { .column_count = 3, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  Schema heap = { .column_count = 1, .columns = columns };
  uint32_t id;
  if (target == ORACLE_COLUMNS) return create_with_columns(session, target_names[target]);
  if (target < ORACLE_FAMILIES) return family_create(session, target_names[target], FAMILY_KV, NULL, &id);
  return family_create(session, target_names[target], FAMILY_TABLE, target == ORACLE_TABLE ? &keyed : &heap, &id);
}

static Status write_keyed_rows(Session *session, uint32_t id, const OracleOp *op, uint32_t count) {
  int64_t *ids = memory_allocate(count * sizeof *ids), *expiry = memory_allocate(count * sizeof *expiry);
  int32_t *amounts = memory_allocate(count * sizeof *amounts);
  Bytes *names = memory_allocate(count * sizeof *names);
  uint8_t *nulls = memory_allocate(count);
  char name[NAME_BYTES];
  Status status = ids && expiry && amounts && names && nulls ? KVSTORE_OK : status_nomem();
  for (uint32_t i = 0; i < count && status == KVSTORE_OK; i++) {
    ids[i] = op->item + i;
    expiry[i] = op->expiry;
    amounts[i] = amount_of(op->stamp);
    nulls[i] = amount_is_null(op->stamp);
    names[i] = name_bytes(op->stamp, name);
  }
  ColumnArray columns[] = { { ids, NULL }, { amounts, nulls }, { names, NULL } };
  ColumnBatch batch = { count, 3, columns, op->expiry == EXPIRY_NEVER ? NULL : expiry };
  int mode = op->kind == ORACLE_INSERT ? TABLE_INSERT : TABLE_UPSERT;
  if (status == KVSTORE_OK) status = table_write(session, id, &batch, mode, NULL);
  memory_release(ids);
  memory_release(expiry);
  memory_release(amounts);
  memory_release(names);
  memory_release(nulls);
  return status;
}

static Status write_heap_rows(Session *session, uint32_t id, const OracleOp *op, uint32_t count) {
  int64_t *stamps = memory_allocate(count * sizeof *stamps);
  if (!stamps) return status_nomem();
  for (uint32_t i = 0; i < count; i++) stamps[i] = op->stamp;
  ColumnArray column = { stamps, NULL };
  ColumnBatch batch = { count, 1, &column, NULL };
  Status status = table_write(session, id, &batch, TABLE_INSERT, NULL);
  memory_release(stamps);
  return status;
}

static Status load_keys(Session *session, uint32_t id, const OracleOp *op) {
  KvLoader *loader = NULL;
  TRY(kv_loader_create(session, id, &(KvLoadOptions){ .memory_bytes = 1 }, &loader));
  uint8_t *value = memory_allocate(VALUE_BYTES);
  Status status = value ? KVSTORE_OK : status_nomem();
  for (uint32_t i = op->count; i-- > 0 && status == KVSTORE_OK;) {
    uint8_t key[512];
    status =
      kv_loader_add(loader, (Bytes){ key, key_bytes(op->item + i, key) }, value_bytes(op->stamp, value), op->expiry);
  }
  if (status == KVSTORE_OK) status = kv_loader_commit(loader, NULL);
  kv_loader_destroy(loader);
  memory_release(value);
  return status;
}

static Status run_on_key_range(Session *session, uint32_t id, const OracleOp *op) {
  uint8_t lower[512], upper[512];
  uint64_t deleted;
  KvRange range = { .lower = { lower, key_bytes(op->item, lower) } };
  (void)key_bytes(op->item + op->count, upper);
  range.upper = (Bytes){ upper, strlen("key000") }; /* without what makes some of them long */
  return kv_delete_range(session, id, &range, &deleted);
}

static Status run_on_key(Session *session, uint32_t id, const OracleOp *op) {
  if (op->kind == ORACLE_LOAD) return load_keys(session, id, op);
  uint8_t key_text[512];
  Bytes key = { key_text, key_bytes(op->item, key_text) };
  if (op->kind == ORACLE_DELETE) return kv_delete(session, id, key);
  uint8_t *value = memory_allocate(VALUE_BYTES);
  if (!value) return status_nomem();
  int mode = op->kind == ORACLE_PUT ? KV_PUT_ALWAYS : KV_PUT_IF_ABSENT;
  Status status = kv_put(session, id, key, value_bytes(op->stamp, value), op->expiry, mode, NULL);
  memory_release(value);
  return status;
}

static Status run_on_row(Session *session, uint32_t id, const OracleOp *op) {
  Value key = { .type = TYPE_I64, .i = op->item };
  if (op->kind == ORACLE_DELETE) return table_delete(session, id, &key, 1);
  uint32_t column = 1;
  Value amount = { .type = TYPE_I32, .is_null = amount_is_null(op->stamp), .i = amount_of(op->stamp) };
  return table_update(session, id, &key, 1, &column, &amount, 1, NULL);
}

/* The last one first, and the first one twice. A number that is wrong is an answer that must not be. */
static Status run_on_rows(Session *session, uint32_t id, const OracleOp *op) {
  int64_t *ids = memory_allocate((op->count + 1) * sizeof *ids);
  uint64_t deleted = 0;
  if (!ids) return status_nomem();
  for (uint32_t i = 0; i < op->count; i++) ids[i] = op->item + op->count - 1 - i;
  ids[op->count] = op->item;
  Status status = table_delete_many(session, id, &(ColumnArray){ ids, NULL }, op->count + 1, &deleted);
  memory_release(ids);
  if (status == KVSTORE_OK && deleted != op->stamp)
    status = status_fail(KVSTORE_NOTFOUND, "%" PRIu64 " rows of %u are deleted", deleted, op->stamp);
  return status;
}

Status oracle_run(Session *session, const OracleOp *op) {
  if (op->kind == ORACLE_CREATE) return create_target(session, op->target);
  FamilyInfo info;
  TRY(family_find(session, target_names[op->target], &info));
  if (op->kind == ORACLE_DROP) return family_drop(session, info.id);
  if (op->kind == ORACLE_CLEAR) return family_clear(session, info.id);
  if (op->kind == ORACLE_DELETE_RANGE) return run_on_key_range(session, info.id, op);
  if (op->target < ORACLE_FAMILIES) return run_on_key(session, info.id, op);
  if (op->kind == ORACLE_UPDATE || op->kind == ORACLE_DELETE) return run_on_row(session, info.id, op);
  if (op->kind == ORACLE_DELETE_MANY) return run_on_rows(session, info.id, op);
  uint32_t count = op->kind == ORACLE_BULK ? ORACLE_BULK_ROWS : op->count;
  return op->target == ORACLE_TABLE ? write_keyed_rows(session, info.id, op, count)
                                    : write_heap_rows(session, info.id, op, count);
}

/* ---- reading a store ---- */

static Status wrong(const char *what, const char *where, uint64_t number) {
  return status_fail(KVSTORE_CORRUPT, "the store holds %s: %s, %" PRIu64, what, where, number);
}

/* The stamp of a value; every byte of it must be the stamp's. */
static Status stamp_of_value(Bytes value, const char *family, uint32_t *stamp) {
  uint8_t *expected = memory_allocate(VALUE_BYTES);
  if (!expected) return status_nomem();
  Status status = value.length < 4 ? wrong("a value that is too short", family, value.length) : KVSTORE_OK;
  if (status == KVSTORE_OK) {
    *stamp = load_u32(value.data);
    Bytes made = value_bytes(*stamp, expected);
    if (!*stamp || made.length != value.length || memcmp(made.data, value.data, made.length) != 0)
      status = wrong("a value that nobody wrote", family, *stamp);
  }
  memory_release(expected);
  return status;
}

static Status item_of_key(Bytes key, const char *family, uint32_t *item) {
  uint8_t expected[512];
  for (*item = 0; *item < ORACLE_KEYS; ++*item)
    if (key_bytes(*item, expected) == key.length && memcmp(expected, key.data, key.length) == 0) return KVSTORE_OK;
  return wrong("a key that nobody wrote", family, key.length);
}

static Status iterate_kv(Session *session, uint32_t id, const char *name, bool reverse, OracleKey *keys) {
  KvIterator *it = NULL;
  TRY(kv_iterator_create(session, id, (Bytes){ 0 }, reverse, &it));
  Status status = kv_iterator_first(it);
  while (status == KVSTORE_OK && !kv_iterator_eof(it)) {
    uint32_t item = 0, stamp = 0;
    Bytes value;
    status = item_of_key(kv_iterator_key(it), name, &item);
    if (status == KVSTORE_OK) status = kv_iterator_value(it, &value);
    if (status == KVSTORE_OK) status = stamp_of_value(value, name, &stamp);
    if (status != KVSTORE_OK) break;
    if (keys[item].stamp) {
      status = wrong("a key twice", name, item);
      break;
    }
    keys[item] = (OracleKey){ stamp, kv_iterator_expiry(it) };
    status = kv_iterator_next(it);
  }
  kv_iterator_destroy(it);
  return status;
}

static Status get_kv(Session *session, uint32_t id, const char *name, const OracleKey *keys) {
  for (uint32_t item = 0; item < ORACLE_KEYS; item++) {
    uint8_t text[512];
    KvValue value = { 0 };
    uint32_t stamp = 0;
    Status status = kv_get(session, id, (Bytes){ text, key_bytes(item, text) }, &value);
    if (status == KVSTORE_NOTFOUND) {
      if (keys[item].stamp) return wrong("a key that only the iterator finds", name, item);
      continue;
    }
    if (status == KVSTORE_OK) status = stamp_of_value((Bytes){ value.data, value.length }, name, &stamp);
    memory_release(value.data);
    TRY(status);
    if (stamp != keys[item].stamp || value.expiry != keys[item].expiry)
      return wrong("a key that reads differently by iterator and by key", name, item);
  }
  return KVSTORE_OK;
}

static Status read_kv(Session *session, uint32_t id, uint32_t family, Oracle *out) {
  OracleKey backwards[ORACLE_KEYS] = { { 0 } };
  const char *name = target_names[family];
  TRY(iterate_kv(session, id, name, false, out->kv[family]));
  TRY(iterate_kv(session, id, name, true, backwards));
  if (memcmp(backwards, out->kv[family], sizeof backwards) != 0)
    return wrong("what reads differently backwards", name, 0);
  return get_kv(session, id, name, out->kv[family]);
}

/* ---- reading tables ---- */

typedef struct TableReader {
  Oracle *out;
  Scan *scan;
  uint64_t bulk_rows, bulk_ids;
  int64_t ids[BLOCK_ROWS];
  int32_t amounts[BLOCK_ROWS];
  Bytes names[BLOCK_ROWS];
  uint8_t nulls[BLOCK_ROWS];
} TableReader;

typedef Status (*BlockRead)(TableReader *r, uint32_t block, const uint64_t *mask, uint32_t rows);

static bool selected(const uint64_t *mask, uint32_t row) { return mask[row / 64] >> (row % 64) & 1; }

static Status stamp_of_row(TableReader *r, uint32_t row, OracleRow *out) {
  char expected[NAME_BYTES];
  Bytes name = r->names[row];
  uint32_t stamp = stamp_of_name(name);
  Bytes made = name_bytes(stamp, expected);
  if (!stamp || made.length != name.length || memcmp(made.data, name.data, name.length) != 0)
    return wrong("a name that nobody wrote", "table", stamp);
  int32_t amount = r->amounts[row];
  uint32_t from = r->nulls[row] ? 0 : (uint32_t)amount / 3;
  if (!r->nulls[row] && (amount_of(from) != amount || amount_is_null(from)))
    return wrong("an amount that nobody wrote", "table", stamp);
  *out = (OracleRow){ stamp, from, EXPIRY_NEVER };
  return KVSTORE_OK;
}

static Status read_keyed_block(TableReader *r, uint32_t block, const uint64_t *mask, uint32_t rows) {
  TRY(scan_read_block(r->scan, 0, block, r->ids, r->nulls));
  TRY(scan_read_block(r->scan, 2, block, r->names, r->nulls));
  TRY(scan_read_block(r->scan, 1, block, r->amounts, r->nulls));
  for (uint32_t i = 0; i < rows; i++) {
    if (!selected(mask, i)) continue;
    OracleRow row;
    TRY(stamp_of_row(r, i, &row));
    uint64_t id = (uint64_t)r->ids[i];
    if (id >= ORACLE_BULK_ROWS) return wrong("an id that nobody wrote", "table", id);
    if (id < ORACLE_IDS) {
      if (r->out->table[id].name) return wrong("an id twice", "table", id);
      r->out->table[id] = row;
      continue;
    }
    if (r->out->bulk && r->out->bulk != row.name) return wrong("a part of a bulk append", "table", row.name);
    r->out->bulk = row.name;
    r->bulk_rows++;
    r->bulk_ids += id;
  }
  return KVSTORE_OK;
}

static Status read_heap_block(TableReader *r, uint32_t block, const uint64_t *mask, uint32_t rows) {
  TRY(scan_read_block(r->scan, 0, block, r->ids, r->nulls));
  for (uint32_t i = 0; i < rows; i++) {
    if (!selected(mask, i)) continue;
    r->out->heap_rows++;
    r->out->heap_sum += heap_hash((uint32_t)r->ids[i]);
  }
  return KVSTORE_OK;
}

static Status scan_table(Session *session, uint32_t id, TableReader *r, BlockRead read) {
  TableSnapshot snapshot;
  TRY(table_snapshot(session, id, &snapshot));
  Status status = scan_create(snapshot.schema, NULL, snapshot.now_ms, &r->scan);
  for (uint32_t u = 0; u < snapshot.unit_count && status == KVSTORE_OK; u++) {
    status = scan_unit(r->scan, &snapshot.units[u]);
    if (status != KVSTORE_OK) break;
    scan_fill_masks(r->scan);
    const ScanSelection *selection = scan_selection(r->scan);
    for (uint32_t b = 0; b < selection->block_count && status == KVSTORE_OK; b++)
      if (selection->blocks >> b & 1) status = read(r, b, selection->masks[b], scan_block_rows(&snapshot.units[u], b));
  }
  scan_destroy(r->scan);
  r->scan = NULL;
  table_snapshot_release(&snapshot);
  return status;
}

/* The rows by key must be those of the scan; their expiry is known here alone. */
static Status get_rows(Session *session, uint32_t id, OracleRow *rows) {
  for (uint32_t item = 0; item < ORACLE_IDS; item++) {
    Arena arena = { 0 };
    Value key = { .type = TYPE_I64, .i = item }, row[3];
    int64_t expiry = 0;
    Status status = table_get(session, id, &key, 1, &arena, row, 3, &expiry);
    if (status == KVSTORE_OK) {
      char text[NAME_BYTES];
      Bytes made = name_bytes(rows[item].name, text);
      bool same = rows[item].name && row[2].s.length == made.length &&
                  memcmp(row[2].s.data, made.data, made.length) == 0 && row[1].is_null == !rows[item].amount &&
                  (row[1].is_null || row[1].i == amount_of(rows[item].amount));
      rows[item].expiry = expiry;
      if (!same) status = wrong("a row that reads differently by scan and by key", "table", item);
    } else if (status == KVSTORE_NOTFOUND) {
      status = rows[item].name ? wrong("a row that only the scan finds", "table", item) : KVSTORE_OK;
    }
    arena_release(&arena);
    TRY(status);
  }
  return KVSTORE_OK;
}

static Status read_table(Session *session, uint32_t id, uint32_t target, Oracle *out) {
  TableReader *r = memory_allocate_zeroed(sizeof *r);
  if (!r) return status_nomem();
  r->out = out;
  Status status = scan_table(session, id, r, target == ORACLE_TABLE ? read_keyed_block : read_heap_block);
  uint64_t rows = ORACLE_BULK_ROWS - ORACLE_IDS;
  uint64_t sum = (uint64_t)(ORACLE_IDS + ORACLE_BULK_ROWS - 1) * rows / 2;
  if (status == KVSTORE_OK && r->bulk_rows && (r->bulk_rows != rows || r->bulk_ids != sum))
    status = wrong("a part of a bulk append", "table", r->bulk_rows);
  memory_release(r);
  if (status == KVSTORE_OK && target == ORACLE_TABLE) status = get_rows(session, id, out->table);
  return status;
}

Status oracle_read(Session *session, Oracle *out) {
  memset(out, 0, sizeof *out);
  for (uint32_t target = 0; target < ORACLE_TARGETS; target++) {
    FamilyInfo info;
    Status status = family_find(session, target_names[target], &info);
    if (status == KVSTORE_NOTFOUND) continue;
    TRY(status);
    out->there[target] = true;
    TRY(target < ORACLE_FAMILIES ? read_kv(session, info.id, target, out) : read_table(session, info.id, target, out));
  }
  return KVSTORE_OK;
}

/* ---- comparing ---- */

static bool differs(char *why, size_t size, const char *where, uint64_t item, uint64_t a, uint64_t b) {
  if (why) snprintf(why, size, "%s %" PRIu64 ": %" PRIu64 " against %" PRIu64, where, item, a, b);
  return false;
}

bool oracle_equal(const Oracle *a, const Oracle *b, int64_t now_ms, char *why, size_t size) {
  for (uint32_t t = 0; t < ORACLE_TARGETS; t++)
    if (a->there[t] != b->there[t]) return differs(why, size, target_names[t], t, a->there[t], b->there[t]);
  for (uint32_t f = 0; f < ORACLE_FAMILIES; f++) {
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
      const OracleKey *x = &a->kv[f][i], *y = &b->kv[f][i];
      bool live = key_live(x, now_ms);
      if (live != key_live(y, now_ms) || (live && (x->stamp != y->stamp || x->expiry != y->expiry)))
        return differs(why, size, target_names[f], i, x->stamp, y->stamp);
    }
  }
  for (uint32_t i = 0; i < ORACLE_IDS; i++) {
    const OracleRow *x = &a->table[i], *y = &b->table[i];
    bool live = row_live(x, now_ms);
    uint32_t amount_x = amount_is_null(x->amount) ? 0 : x->amount, amount_y = amount_is_null(y->amount) ? 0 : y->amount;
    if (live != row_live(y, now_ms) || (live && (x->name != y->name || amount_x != amount_y || x->expiry != y->expiry)))
      return differs(why, size, "row", i, x->name, y->name);
  }
  if (a->bulk != b->bulk) return differs(why, size, "bulk", 0, a->bulk, b->bulk);
  if (a->heap_rows != b->heap_rows) return differs(why, size, "heap rows", 0, a->heap_rows, b->heap_rows);
  return a->heap_sum == b->heap_sum || differs(why, size, "heap sum", 0, a->heap_sum, b->heap_sum);
}

void oracle_describe(const OracleOp *op, char *text, size_t size) {
  static const char *const kinds[] = { "create", "drop",   "clear",  "put",  "put if absent", "delete",     "load",
                                       "insert", "upsert", "update", "bulk", "delete range",  "delete many" };
  snprintf(text, size, "%s %s %u+%u stamp %u", kinds[op->kind], target_names[op->target], op->item, op->count,
           op->stamp);
}
