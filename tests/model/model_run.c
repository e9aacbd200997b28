#include "tests/model/model_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/kv_load.h"
#include "tests/model/model_keys.h"
#include "tests/support/test.h"

enum {
  SNAPSHOTS_MAX = 10,
  BATCH_ROWS_MAX = 3000,
  BULK_ROWS = 66000,
  NAMES = 14,
  LIFE_OPERATIONS = 2500,
  CUT_LIFE_OPERATIONS = 500
};

/* Something that must go on showing one step. */
typedef struct Held {
  enum { HELD_NOTHING, HELD_READING, HELD_FROZEN, HELD_TABLE, HELD_ITERATOR } kind;
  uint64_t step;
  int64_t now; /* the clock of views and iterators; reading sessions read it each time */
  uint32_t slot;
  bool reverse, inside; /* made inside the open transaction */
  Session *reader;
  TableSnapshot table;
  KvIterator *iterator;
} Held;

typedef struct Run {
  const ModelWorld *world;
  uint64_t random, journal_random; /* the mode of each life, from numbers of its own */
  Model model;
  ModelCheck check;
  StoreOptions options;
  Session *session, *other;
  uint64_t written_meanwhile;
  bool truncates; /* a truncating checkpoint is under way */
  uint64_t operations;
  Held held[SNAPSHOTS_MAX];
} Run;

static uint64_t below(Run *r, uint64_t bound) { return test_random_below(&r->random, bound); }
static bool one_in(Run *r, uint64_t bound) { return below(r, bound) == 0; }
static int64_t now_of(Run *r) { return session_now_ms(r->session); }
/* What a session outside the transaction sees. */
static uint64_t committed(const Run *r) { return r->model.in_transaction ? r->model.begin_step : r->model.step; }

static ModelFamily *slot_family(Run *r, uint32_t slot) { return &r->model.families[slot]; }

static int64_t some_expiry(Run *r) {
  if (!one_in(r, 4)) return EXPIRY_NEVER;
  return now_of(r) + (int64_t)below(r, 4000) - 20;
}

static uint32_t some_key(Run *r, uint32_t slot) {
  const ModelFamily *f = slot_family(r, slot);
  if (f->shape == SHAPE_TABLE_NO_KEY) return f->low + (uint32_t)below(r, f->key_count - f->low + 2);
  if (one_in(r, 2)) return (uint32_t)below(r, 40); /* some keys are written over and over */
  return (uint32_t)below(r, f->key_count);
}

static ModelVersion some_version(Run *r) {
  return (ModelVersion){ .expiry = some_expiry(r),
                         .number = (uint32_t)test_random(&r->random),
                         .text = (uint32_t)test_random(&r->random) };
}

/* ---- key-value families ---- */

/* A session that reads an expired row may take it away. */
static void look(Run *r, Session *s, uint32_t slot, uint32_t key, uint64_t step) {
  uint64_t evicted = counter_get(COUNTER_evictions);
  check_key(&r->check, s, slot, key, step, now_of(r));
  if (counter_get(COUNTER_evictions) > evicted) model_delete(&r->model, slot, key);
}

static void put(Run *r, uint32_t slot) {
  ModelFamily *f = slot_family(r, slot);
  uint32_t key = some_key(r, slot);
  ModelVersion v = some_version(r);
  bool inserted = false, if_absent = one_in(r, 5);
  const ModelVersion *there = check_live(&r->check, slot, key, r->model.step, now_of(r));
  CHECK_OK(kv_put(r->session, f->id, shape_kv_key(f->shape, key), shape_kv_value(v.number), v.expiry,
                  if_absent ? KV_PUT_IF_ABSENT : KV_PUT_ALWAYS, &inserted));
  if (if_absent) CHECK_INT(inserted, there == NULL);
  if (!if_absent || inserted) model_write(&r->model, slot, key, v);
  look(r, r->session, slot, key, r->model.step);
}

/* In any order or a promised one, with so little memory that long values make several chunks. */
static void load(Run *r, uint32_t slot) {
  ModelFamily *f = slot_family(r, slot);
  KvLoadOptions options = { .sorted = one_in(r, 3), .memory_bytes = 1 };
  uint32_t count = 1 + (uint32_t)below(r, one_in(r, 2) ? 1500 : 60), first = (uint32_t)below(r, MODEL_KEYS / 2);
  uint32_t *keys = malloc(count * sizeof *keys);
  ModelVersion *versions = malloc(count * sizeof *versions);
  bool in_order = options.sorted && f->shape == SHAPE_KV_TEXT, committed = !one_in(r, 8);
  KvLoader *loader = NULL;
  options.sorted = in_order;
  CHECK_OK(kv_loader_create(r->session, f->id, &options, &loader));
  for (uint32_t i = 0; i < count; i++) {
    keys[i] = in_order ? first + i * 3 / 4 : some_key(r, slot); /* some twice, next to each other */
    if (keys[i] >= f->key_count) keys[i] = f->key_count - 1;
    versions[i] = some_version(r);
    CHECK_OK(
      kv_loader_add(loader, shape_kv_key(f->shape, keys[i]), shape_kv_value(versions[i].number), versions[i].expiry));
  }
  if (committed) {
    uint64_t loaded = 0, distinct = 0;
    CHECK_OK(kv_loader_commit(loader, &loaded));
    uint8_t *seen = calloc(f->key_count, 1);
    for (uint32_t i = 0; i < count; i++) {
      distinct += !seen[keys[i]];
      seen[keys[i]] = 1;
      model_write(&r->model, slot, keys[i], versions[i]);
    }
    free(seen);
    CHECK_INT(loaded, distinct);
  }
  kv_loader_destroy(loader);
  look(r, r->session, slot, keys[below(r, count)], r->model.step);
  free(keys);
  free(versions);
}

static void delete_key(Run *r, uint32_t slot) {
  ModelFamily *f = slot_family(r, slot);
  uint32_t key = some_key(r, slot);
  const ModelVersion *live = check_live(&r->check, slot, key, r->model.step, now_of(r));
  Status status = kv_delete(r->session, f->id, shape_kv_key(f->shape, key));
  CHECK_STATUS(status, live ? KVSTORE_OK : KVSTORE_NOTFOUND);
  if (model_row(&r->model, slot, key, r->model.step)) model_delete(&r->model, slot, key);
}

static void purge(Run *r, uint32_t slot) {
  ModelFamily *f = slot_family(r, slot);
  uint64_t expired = 0, purged = 0;
  int64_t now = now_of(r);
  for (uint32_t key = 0; key < f->key_count; key++) {
    const ModelVersion *v = model_row(&r->model, slot, key, r->model.step);
    if (!v || v->expiry > now) continue;
    model_delete(&r->model, slot, key);
    expired++;
  }
  CHECK_OK(kv_purge_expired(r->session, f->id, &purged));
  if (r->check.reclaims)
    CHECK(purged <= expired);
  else
    CHECK_INT(purged, expired);
}

/* Bounds and prefixes that are keys, or the beginnings of some. Valid until the next call. */
static KvRange some_range(Run *r, uint32_t slot) {
  static uint8_t bytes[3][64];
  const ModelFamily *f = slot_family(r, slot);
  KvRange range = { 0 };
  Bytes *places[] = { &range.lower, &range.upper, &range.prefix };
  uint32_t place = (uint32_t)below(r, f->key_count), width = (uint32_t)below(r, one_in(r, 8) ? f->key_count : 40);
  if (place + width >= f->key_count) width = f->key_count - 1 - place;
  bool use[] = { one_in(r, 2), one_in(r, 2), one_in(r, 4) };
  for (int i = 0; i < 3; i++) {
    Bytes key = shape_kv_key(f->shape, f->order[i == 1 ? place + width : place]);
    if (!use[i]) continue;
    if (i == 2 || one_in(r, 4)) key.length = 1 + (size_t)below(r, key.length);
    CHECK(key.length <= sizeof bytes[0]);
    memcpy(bytes[i], key.data, key.length);
    *places[i] = (Bytes){ bytes[i], key.length };
  }
  return range;
}

static uint64_t model_delete_range(Run *r, uint32_t slot, const KvRange *range) {
  const ModelFamily *f = slot_family(r, slot);
  uint64_t live = 0;
  int64_t now = now_of(r);
  for (uint32_t key = 0; key < f->key_count; key++) {
    const ModelVersion *v = model_row(&r->model, slot, key, r->model.step);
    if (!v || !range_has(range, shape_kv_key(f->shape, key))) continue;
    live += v->expiry > now;
    model_delete(&r->model, slot, key);
  }
  return live;
}

static void delete_range(Run *r) {
  uint32_t slot = model_pick(&r->model, &r->random, FAMILY_KV);
  KvRange range = some_range(r, slot);
  uint64_t expected = model_delete_range(r, slot, &range), deleted = UINT64_MAX;
  CHECK_OK(kv_delete_range(r->session, slot_family(r, slot)->id, &range, &deleted));
  CHECK_INT(deleted, expected);
}

static void walk_range(Run *r) {
  uint32_t slot = model_pick(&r->model, &r->random, FAMILY_KV);
  KvRange range = some_range(r, slot);
  check_range(&r->check, r->session, slot, &range, one_in(r, 2), (uint32_t)below(r, slot_family(r, slot)->key_count),
              r->model.step, now_of(r));
}

static void compare_and_swap(Run *r, uint32_t slot) {
  const ModelFamily *f = slot_family(r, slot);
  uint32_t key = some_key(r, slot);
  ModelVersion v = some_version(r);
  const ModelVersion *live = check_live(&r->check, slot, key, r->model.step, now_of(r));
  bool expects = live ? !one_in(r, 4) : one_in(r, 4), right = one_in(r, 2), deletes = one_in(r, 4), swapped;
  static uint8_t value[MODEL_VALUE_MAX];
  Bytes expected = shape_kv_value(live && right ? live->number : v.text);
  if (expected.length) memcpy(value, expected.data, expected.length);
  expected.data = value;
  KvNext next = { shape_kv_value(v.number), v.expiry };
  CHECK_OK(kv_compare_and_swap(r->session, f->id, shape_kv_key(f->shape, key), expects ? &expected : NULL,
                               deletes ? NULL : &next, &swapped));
  Bytes there = live ? shape_kv_value(live->number) : (Bytes){ 0 };
  bool same = live ? expects && bytes_compare(there.data, there.length, value, expected.length) == 0 : !expects;
  CHECK_INT(swapped, same);
  if (same && !deletes) model_write(&r->model, slot, key, v);
  if (same && deletes && model_row(&r->model, slot, key, r->model.step)) model_delete(&r->model, slot, key);
}

/* The model changes as the store asks for each change. */
typedef struct RandomBatch {
  Run *run;
  uint64_t left, deleted;
} RandomBatch;

static Status next_random(void *context, KvChange *change, bool *more) {
  RandomBatch *batch = context;
  Run *r = batch->run;
  *more = batch->left > 0;
  if (!*more) return KVSTORE_OK;
  batch->left--;
  uint32_t slot = model_pick(&r->model, &r->random, FAMILY_KV), key = some_key(r, slot);
  const ModelFamily *f = slot_family(r, slot);
  *change = (KvChange){ .family = f->id, .key = shape_kv_key(f->shape, key) };
  if (one_in(r, 30)) {
    KvRange range = some_range(r, slot);
    range.prefix = (Bytes){ 0 };
    change->kind = KV_CHANGE_DELETE_RANGE;
    change->key = range.lower;
    change->value = range.upper;
    batch->deleted += model_delete_range(r, slot, &range);
  } else if (one_in(r, 3)) {
    change->kind = KV_CHANGE_DELETE;
    batch->deleted += check_live(&r->check, slot, key, r->model.step, now_of(r)) != NULL;
    if (model_row(&r->model, slot, key, r->model.step)) model_delete(&r->model, slot, key);
  } else {
    ModelVersion v = some_version(r);
    change->kind = KV_CHANGE_PUT;
    change->value = shape_kv_value(v.number);
    change->expiry = v.expiry;
    model_write(&r->model, slot, key, v);
  }
  return KVSTORE_OK;
}

static void kv_batch(Run *r) {
  RandomBatch batch = { r, below(r, 60), 0 };
  uint64_t deleted = UINT64_MAX;
  CHECK_OK(kv_write_changes(r->session, next_random, &batch, &deleted));
  CHECK_INT(deleted, batch.deleted);
}

/* ---- tables ---- */

typedef struct Rows {
  uint32_t count;
  uint32_t *keys;
  ModelVersion *versions;
  Arena arena;
  ColumnArray columns[MODEL_COLUMNS_MAX];
  int64_t *expiry;
  ColumnBatch batch;
} Rows;

static void rows_make(Run *r, uint32_t slot, uint32_t count, Rows *rows) {
  const ModelFamily *f = slot_family(r, slot);
  Schema schema = shape_schema(f->shape);
  memset(rows, 0, sizeof *rows);
  rows->count = count;
  rows->keys = arena_allocate(&rows->arena, count * sizeof *rows->keys);
  rows->versions = arena_allocate(&rows->arena, count * sizeof *rows->versions);
  rows->expiry = arena_allocate(&rows->arena, count * sizeof *rows->expiry);
  void *values[MODEL_COLUMNS_MAX];
  uint8_t *nulls[MODEL_COLUMNS_MAX];
  for (uint32_t c = 0; c < schema.column_count; c++) {
    values[c] = arena_allocate_zeroed(&rows->arena, count * type_array_width(schema.columns[c].type));
    nulls[c] = arena_allocate_zeroed(&rows->arena, count);
    rows->columns[c] = (ColumnArray){ values[c], schema.columns[c].flags & COLUMN_NULLABLE ? nulls[c] : NULL };
  }
  bool expires = one_in(r, 3), in_order = one_in(r, 2);
  uint32_t first = some_key(r, slot);
  for (uint32_t i = 0; i < count; i++) {
    Value row[MODEL_COLUMNS_MAX] = { { 0 } };
    rows->versions[i] = some_version(r);
    if (!expires) rows->versions[i].expiry = EXPIRY_NEVER;
    rows->expiry[i] = rows->versions[i].expiry;
    if (f->shape == SHAPE_TABLE_NO_KEY)
      rows->keys[i] = f->key_count + i;
    else
      rows->keys[i] = in_order ? (first + i) % MODEL_KEYS : some_key(r, slot);
    size_t columns = shape_row(f->shape, rows->keys[i], &rows->versions[i], &rows->arena, row);
    for (size_t c = 0; c < columns && c < schema.column_count; c++) {
      if (row[c].is_null)
        nulls[c][i] = 1;
      else
        value_to_array(&row[c], values[c], i);
    }
  }
  rows->batch = (ColumnBatch){ count, schema.column_count, rows->columns, expires ? rows->expiry : NULL };
}

static bool batch_may_be_inserted(Run *r, uint32_t slot, const Rows *rows) {
  int64_t now = now_of(r);
  bool fits = true;
  uint8_t *seen = calloc(MODEL_KEYS, 1);
  for (uint32_t i = 0; i < rows->count && fits; i++) {
    fits = !seen[rows->keys[i]] && !check_live(&r->check, slot, rows->keys[i], r->model.step, now);
    seen[rows->keys[i]] = 1;
  }
  free(seen);
  return fits;
}

static void write_batch(Run *r, uint32_t slot, uint32_t count) {
  ModelFamily *f = slot_family(r, slot);
  Rows rows;
  rows_make(r, slot, count, &rows);
  bool no_key = f->shape == SHAPE_TABLE_NO_KEY;
  int mode = one_in(r, 4) ? TABLE_INSERT : TABLE_UPSERT;
  uint64_t first = 0;
  bool fits = no_key || mode == TABLE_UPSERT || batch_may_be_inserted(r, slot, &rows);
  Status status = table_write(r->session, f->id, &rows.batch, mode, &first);
  CHECK_STATUS(status, fits ? KVSTORE_OK : KVSTORE_CONSTRAINT);
  if (no_key) CHECK_INT(first, rows.keys[0]);
  for (uint32_t i = 0; i < count && fits; i++) model_write(&r->model, slot, rows.keys[i], rows.versions[i]);
  look(r, r->session, slot, rows.keys[below(r, count)], r->model.step);
  arena_release(&rows.arena);
}

static void update_row(Run *r, uint32_t slot) {
  ModelFamily *f = slot_family(r, slot);
  uint32_t key = some_key(r, slot);
  const ModelVersion *live = check_live(&r->check, slot, key, r->model.step, now_of(r));
  ModelVersion next = some_version(r);
  Arena arena = { 0 };
  Value name[2], row[MODEL_COLUMNS_MAX];
  /* the seed of the number makes the ratio too, that of the text the flag: these are set together */
  bool text_alone = live && one_in(r, 2);
  if (text_alone) next.number = live->number;
  shape_row(f->shape, key, &next, &arena, row);
  uint32_t number = shape_number_column(f->shape);
  uint32_t set[4];
  Value to[4];
  size_t count = 0;
  for (uint32_t c = number; c < number + 4; c++) {
    bool is_text = c == number + 1 || c == number + 3;
    if (text_alone && !is_text) continue;
    set[count] = c;
    to[count++] = row[c];
  }
  bool keep_expiry = one_in(r, 2);
  size_t parts = shape_key_values(f->shape, key, &arena, name);
  Status status = table_update(r->session, f->id, name, parts, set, to, count, keep_expiry ? NULL : &next.expiry);
  CHECK_STATUS(status, live ? KVSTORE_OK : KVSTORE_NOTFOUND);
  if (live) {
    if (keep_expiry) next.expiry = live->expiry;
    model_write(&r->model, slot, key, next);
    look(r, r->session, slot, key, r->model.step);
  }
  arena_release(&arena);
}

static void delete_row(Run *r, uint32_t slot) {
  if (one_in(r, 4)) {
    delete_keys(&r->check, &r->model, r->session, slot, 1 + (uint32_t)below(r, one_in(r, 8) ? 4000 : 60), &r->random);
    return;
  }
  ModelFamily *f = slot_family(r, slot);
  uint32_t key = some_key(r, slot);
  const ModelVersion *live = check_live(&r->check, slot, key, r->model.step, now_of(r));
  Arena arena = { 0 };
  Value name[2];
  size_t parts = shape_key_values(f->shape, key, &arena, name);
  CHECK_STATUS(table_delete(r->session, f->id, name, parts), live ? KVSTORE_OK : KVSTORE_NOTFOUND);
  if (model_row(&r->model, slot, key, r->model.step)) model_delete(&r->model, slot, key);
  arena_release(&arena);
}

/* ---- families ---- */

static void create_family(Run *r) {
  ModelShape shape = (ModelShape)below(r, SHAPES);
  char name[32];
  if (model_count(&r->model) == MODEL_FAMILIES) return;
  snprintf(name, sizeof name, "family %llu", (unsigned long long)below(r, NAMES));
  bool taken = model_named(&r->model, name, r->model.step) != MODEL_NO_FAMILY;
  Schema schema = shape_schema(shape);
  uint32_t id = 0;
  Status status = family_create(r->session, name, shape_is_table(shape) ? FAMILY_TABLE : FAMILY_KV,
                                shape_is_table(shape) ? &schema : NULL, &id);
  CHECK_STATUS(status, taken ? KVSTORE_CONSTRAINT : KVSTORE_OK);
  if (!taken) model_add_family(&r->model, shape, id, name);
}

static void drop_family(Run *r) {
  uint32_t slot = model_pick(&r->model, &r->random, 0);
  ModelFamily *f = slot_family(r, slot);
  if (f->id == FAMILY_DEFAULT_ID) return;
  CHECK_OK(family_drop(r->session, f->id));
  model_drop_family(&r->model, slot);
}

static void clear_family(Run *r) {
  uint32_t slot = model_pick(&r->model, &r->random, 0);
  CHECK_OK(family_clear(r->session, slot_family(r, slot)->id));
  model_clear_family(&r->model, slot);
}

/* ---- what is held ---- */

static void release(Held *h) {
  switch (h->kind) {
  case HELD_NOTHING: break;
  case HELD_READING:
    CHECK_OK(session_commit(h->reader));
    CHECK_OK(session_close(h->reader));
    break;
  case HELD_FROZEN: session_thaw(h->reader); break;
  case HELD_TABLE: table_snapshot_release(&h->table); break;
  case HELD_ITERATOR: kv_iterator_destroy(h->iterator); break;
  }
  *h = (Held){ 0 };
}

static void compare(Run *r, Held *h) {
  int64_t now = h->kind == HELD_READING || h->kind == HELD_FROZEN ? session_now_ms(h->reader) : h->now;
  switch (h->kind) {
  case HELD_NOTHING: break;
  case HELD_READING:
  case HELD_FROZEN:
    if (one_in(r, 4)) {
      check_store(&r->check, h->reader, h->step, now);
    } else {
      uint32_t slot = (uint32_t)below(r, MODEL_FAMILIES);
      if (!model_has_family(&r->model, slot, h->step)) break;
      check_family(&r->check, h->reader, slot, h->step, now);
      for (int i = 0; i < 5; i++) check_key(&r->check, h->reader, slot, some_key(r, slot), h->step, now);
    }
    break;
  case HELD_TABLE: check_table_snapshot(&r->check, &h->table, h->slot, h->step); break;
  case HELD_ITERATOR:
    if (one_in(r, 2))
      check_iterator_seek(&r->check, h->iterator, h->reverse, h->slot, some_key(r, h->slot), h->step, now);
    else
      check_iterator(&r->check, h->iterator, h->reverse, h->slot, h->step, now);
    break;
  }
}

static void forget(Run *r) {
  uint64_t needed = committed(r);
  for (int i = 0; i < SNAPSHOTS_MAX; i++)
    if (r->held[i].kind && r->held[i].step < needed) needed = r->held[i].step;
  model_forget(&r->model, needed);
}

static void hold(Run *r) {
  Held *h = &r->held[below(r, SNAPSHOTS_MAX)];
  compare(r, h);
  release(h);
  forget(r);
  Held made = { .step = r->model.step, .now = now_of(r), .inside = r->model.in_transaction, .reverse = one_in(r, 2) };
  switch (below(r, 4)) {
  case 3:
    made.kind = HELD_FROZEN;
    CHECK_OK(session_freeze(r->session, &made.reader));
    break;
  case 0:
    made.kind = HELD_READING;
    made.step = committed(r);
    made.inside = false;
    CHECK_OK(session_clone(r->session, &made.reader));
    CHECK_OK(session_begin(made.reader, false));
    break;
  case 1:
    made.kind = HELD_TABLE;
    made.slot = model_pick(&r->model, &r->random, FAMILY_TABLE);
    if (made.slot == MODEL_NO_FAMILY) return;
    CHECK_OK(table_snapshot(r->session, slot_family(r, made.slot)->id, &made.table));
    break;
  default:
    made.kind = HELD_ITERATOR;
    made.slot = model_pick(&r->model, &r->random, FAMILY_KV);
    CHECK_OK(kv_iterator_create(r->session, slot_family(r, made.slot)->id, (Bytes){ 0 }, made.reverse, &made.iterator));
    break;
  }
  *h = made;
  compare(r, h);
}

static void let_go(Run *r) {
  for (int i = 0; i < SNAPSHOTS_MAX; i++) release(&r->held[i]);
}

/* ---- transactions ---- */

static void rolled_back(Run *r) {
  for (int i = 0; i < SNAPSHOTS_MAX; i++) {
    Held *h = &r->held[i];
    if (!h->kind || !h->inside) continue;
    uint64_t count;
    if (h->kind == HELD_ITERATOR) CHECK_STATUS(kv_iterator_first(h->iterator), KVSTORE_ERROR);
    if (h->kind == HELD_FROZEN) CHECK_STATUS(kv_count(h->reader, FAMILY_DEFAULT_ID, &count), KVSTORE_ERROR);
    release(h);
  }
  model_rollback(&r->model);
}

static void end_transaction(Run *r) {
  if (one_in(r, 3)) {
    CHECK_OK(session_rollback(r->session));
    rolled_back(r);
  } else {
    CHECK_OK(session_commit(r->session));
    for (int i = 0; i < SNAPSHOTS_MAX; i++) r->held[i].inside = false;
    model_commit(&r->model);
  }
  forget(r);
}

static void begin_transaction(Run *r) {
  CHECK_OK(session_begin(r->session, true));
  model_begin(&r->model);
  CHECK_STATUS(session_begin(r->session, true), KVSTORE_ERROR);
  CHECK_STATUS(session_begin(r->other, true), KVSTORE_BUSY);
}

/* ---- lives ---- */

/* Each life of a store packs what it writes, or not, and reads both. */
static void open_store(Run *r) {
  r->options.compression = one_in(r, 2) ? COMPRESSION_EVERY_RUN : COMPRESSION_NONE;
  r->options.journal_mode = test_random_below(&r->journal_random, 2) ? JOURNAL_WAL : JOURNAL_DELETE;
  CHECK_OK(session_open(r->world->path, &r->options, &r->session));
  CHECK_OK(session_clone(r->session, &r->other));
}

static void check_everything(Run *r) {
  check_store(&r->check, r->session, r->model.step, now_of(r));
  char *why = NULL;
  CHECK_OK(session_check(r->session, &why));
}

static void close_and_open(Run *r) {
  if (r->model.in_transaction) {
    model_rollback(&r->model);
    let_go(r);
  } else if (one_in(r, 2)) {
    let_go(r);
  } else { /* readers keep the store; views and iterators outlive it */
    for (int i = 0; i < SNAPSHOTS_MAX; i++)
      if (one_in(r, 2)) release(&r->held[i]);
  }
  bool others = false;
  for (int i = 0; i < SNAPSHOTS_MAX; i++) others |= r->held[i].kind != HELD_NOTHING;
  CHECK_OK(session_close(r->other));
  CHECK_OK(session_close(r->session));
  for (int i = 0; i < SNAPSHOTS_MAX; i++) compare(r, &r->held[i]);
  if (!others) forget(r);
  open_store(r);
  check_everything(r);
}

static void cut_power(Run *r) {
  r->world->cut(r->world->context, test_random(&r->random));
  if (r->model.in_transaction) model_rollback(&r->model);
  let_go(r);
  Status ignored = session_close(r->other);
  ignored = session_close(r->session);
  (void)ignored;
  forget(r);
  open_store(r);
  check_everything(r);
}

static void end_life(Run *r) {
  if (r->world->cut && !one_in(r, 3))
    cut_power(r);
  else
    close_and_open(r);
}

/* ---- one operation ---- */

static void write_some(Run *r) {
  uint32_t slot = model_pick(&r->model, &r->random, 0);
  bool table = shape_is_table(slot_family(r, slot)->shape);
  uint64_t which = below(r, 10);
  if (table) {
    if (which < 3)
      write_batch(r, slot, 1);
    else if (which < 5)
      write_batch(r, slot, 1 + (uint32_t)below(r, 12));
    else if (which < 8)
      update_row(r, slot);
    else
      delete_row(r, slot);
  } else {
    if (which < 6)
      put(r, slot);
    else if (which < 7)
      compare_and_swap(r, slot);
    else
      delete_key(r, slot);
  }
}

static void large_batch(Run *r) {
  uint32_t slot = model_pick(&r->model, &r->random, FAMILY_TABLE);
  if (slot == MODEL_NO_FAMILY) return;
  write_batch(r, slot, one_in(r, 40) ? BULK_ROWS : 1 + (uint32_t)below(r, BATCH_ROWS_MAX));
}

static void look_around(Run *r) {
  uint32_t slot = model_pick(&r->model, &r->random, 0);
  if (one_in(r, 2)) {
    look(r, r->session, slot, some_key(r, slot), r->model.step);
  } else if (model_has_family(&r->model, slot, committed(r))) {
    look(r, r->other, slot, some_key(r, slot), committed(r));
  }
}

static void settle_quietly(Run *r) {
  if (one_in(r, 2)) {
    CHECK_OK(session_maintain(r->session));
  } else {
    bool busy = r->model.in_transaction;
    int mode = (int)below(r, 4);
    r->truncates = mode == CHECKPOINT_TRUNCATE;
    Status status = session_checkpoint(r->session, mode, NULL, NULL);
    r->truncates = false;
    CHECK_STATUS(status, busy ? KVSTORE_BUSY : KVSTORE_OK);
  }
}

/* Others write while maintenance is at work: the hook is called in the middle of a flush or a compaction. */
static Run *maintained;

/* The last part of a truncating checkpoint is done while all writers wait. */
static bool writers_are_stopped(Run *r) {
  if (!r->truncates || r->model.in_transaction) return false;
  Status status = session_begin(r->session, true);
  if (status == KVSTORE_BUSY) return true;
  CHECK_OK(status);
  CHECK_OK(session_rollback(r->session));
  return false;
}

/* Who finds the log full, or none, waits for maintenance, and here that would be for itself. */
static bool may_write_meanwhile(Run *r) {
  if (r->model.in_transaction) return true;
  StoreInfo info;
  CHECK_OK(session_info(r->session, &info));
  uint64_t record = info.log_bytes / 4 + (256 << 10);
  if (record > info.log_bytes / 2) record = info.log_bytes / 2;
  return info.log_bytes && (!info.log_bytes_used || info.log_bytes_used + 2 * record + 16384 <= info.log_bytes);
}

static void write_meanwhile(Counter at, uint64_t hits) {
  (void)hits;
  Run *r = maintained;
  if (at != COUNTER_crash_flush_before_sync && at != COUNTER_crash_compaction_before_publish &&
      at != COUNTER_crash_superblock_before_write)
    return;
  maintained = NULL; /* what is written here may reach such a point itself */
  counter_hook_set(NULL);
  /* The session may be waiting for room in the middle of a checkpoint of its own: others write through theirs. */
  Session *waiting = r->model.in_transaction ? NULL : r->session;
  if (waiting) CHECK_OK(session_clone(waiting, &r->session));
  bool stopped = !may_write_meanwhile(r) || writers_are_stopped(r);
  if (stopped) look_around(r);
  for (uint64_t left = stopped ? 0 : 1 + below(r, 6); left && may_write_meanwhile(r); left--) {
    r->written_meanwhile++;
    uint64_t which = below(r, 12);
    if (which == 0)
      clear_family(r);
    else if (which == 1)
      drop_family(r);
    else if (which == 2)
      create_family(r);
    else if (which < 5)
      large_batch(r);
    else
      write_some(r);
  }
  if (r->model.in_transaction && (waiting || one_in(r, 4))) end_transaction(r);
  if (waiting) {
    CHECK_OK(session_close(r->session));
    r->session = waiting;
  }
  maintained = r;
  counter_hook_set(write_meanwhile);
}

static void settle(Run *r) {
  bool meanwhile = one_in(r, 2);
  if (meanwhile) {
    maintained = r;
    counter_hook_set(write_meanwhile);
  }
  settle_quietly(r);
  if (meanwhile) counter_hook_set(NULL);
}

static void operation(Run *r) {
  uint64_t which = below(r, 1000);
  if (which < 600)
    write_some(r);
  else if (which < 800)
    look_around(r);
  else if (which < 815)
    large_batch(r);
  else if (which < 825)
    hold(r);
  else if (which < 838)
    compare(r, &r->held[below(r, SNAPSHOTS_MAX)]);
  else if (which < 840)
    create_family(r);
  else if (which < 843)
    load(r, model_pick(&r->model, &r->random, FAMILY_KV));
  else if (which < 845)
    drop_family(r);
  else if (which < 847)
    clear_family(r);
  else if (which < 856)
    settle(r);
  else if (which < 866)
    r->world->advance(r->world->context, (int64_t)below(r, 1500));
  else if (which < 870) {
    uint32_t slot = model_pick(&r->model, &r->random, FAMILY_KV);
    purge(r, slot);
  } else if (which < 873) {
    delete_range(r);
  } else if (which < 878) {
    kv_batch(r);
  } else if (which < 881) {
    walk_range(r);
  } else if (which < 884) {
    uint32_t slot = model_pick(&r->model, &r->random, 0);
    check_family(&r->check, r->session, slot, r->model.step, now_of(r));
  } else if (r->model.in_transaction ? which < 921 : which < 901) {
    if (r->model.in_transaction)
      end_transaction(r);
    else
      begin_transaction(r);
  } else {
    write_some(r);
  }
  if (one_in(r, 64)) forget(r);
  if (one_in(r, r->world->cut ? CUT_LIFE_OPERATIONS : LIFE_OPERATIONS)) end_life(r);
}

uint64_t model_run(const ModelWorld *world, uint64_t seed, uint64_t operations) {
  Run *r = calloc(1, sizeof *r);
  CHECK(r);
  printf("seed %llu, %llu operations\n", (unsigned long long)seed, (unsigned long long)operations);
  fflush(stdout);
  r->world = world;
  r->random = r->journal_random = seed;
  r->check.model = &r->model;
  r->check.reclaims = one_in(r, 3);
  r->options = (StoreOptions){ .os = world->os,
                               .sync_level = world->cut ? SYNC_FULL : SYNC_NORMAL,
                               .log_bytes = one_in(r, 3) ? UINT64_C(3) << 20 : (UINT64_C(64) << 10) << below(r, 2),
                               .no_background = true,
                               .no_map = one_in(r, 4),
                               .cache_bytes = one_in(r, 2) ? 0 : 200 << 10,
                               .grace_ms = r->check.reclaims ? 1 : UINT64_C(1) << 40 };
  model_create(&r->model);
  model_add_family(&r->model, one_in(r, 2) ? SHAPE_KV_TEXT : SHAPE_KV_MIXED, FAMILY_DEFAULT_ID, "default");
  open_store(r);
  for (; r->operations < operations; r->operations++) operation(r);
  if (r->model.in_transaction) end_transaction(r);
  check_everything(r);
  let_go(r);
  CHECK_OK(session_close(r->other));
  CHECK_OK(session_close(r->session));
  uint64_t written_meanwhile = r->written_meanwhile;
  model_destroy(&r->model);
  free(r);
  return written_meanwhile;
}
