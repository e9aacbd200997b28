/* The table delta against a list of versions: find, order and scans at every snapshot, batches, threads, no memory. */
#include "rowstore/table_delta.h"

#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "os/thread.h"
#include "rowstore/table_order.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- a table of four columns, whose values follow from a number ---- */
enum { COLUMNS = 4 };

static Column columns[COLUMNS] = {
  { .id = 1, .type = TYPE_U32, .name = "id" },
  { .id = 2, .type = TYPE_F64, .flags = COLUMN_NULLABLE, .name = "x" },
  { .id = 3, .type = TYPE_STRING, .flags = COLUMN_NULLABLE, .name = "text" },
  { .id = 4, .type = TYPE_BOOL, .name = "flag" },
};
static const Schema schema = {
  .version = 1,
  .column_count = COLUMNS,
  .columns = columns,
  .key_count = 1,
  .key_columns = { 0 },
};

/* Source arrays of `count` rows. */
typedef struct Rows {
  uint32_t *id;
  double *x;
  Bytes *text;
  uint8_t *flag, *x_nulls, *text_nulls;
  char *texts;
  Bytes *keys;
  uint8_t (*key_bytes)[4];
  uint64_t *hashes;
  int64_t *expiry;
  uint32_t *replaced;
  ColumnArray arrays[COLUMNS];
} Rows;

static void *need(size_t size) {
  void *p = calloc(1, size);
  CHECK(p != NULL);
  return p;
}

static Rows rows_create(size_t n) {
  Rows r = { .id = need(n * 4),
             .x = need(n * 8),
             .text = need(n * sizeof(Bytes)),
             .flag = need(n),
             .x_nulls = need(n),
             .text_nulls = need(n),
             .texts = need(n * 12),
             .keys = need(n * sizeof(Bytes)),
             .key_bytes = need(n * 4),
             .hashes = need(n * 8),
             .expiry = need(n * 8),
             .replaced = need(n * 4) };
  r.arrays[0] = (ColumnArray){ r.id, NULL };
  r.arrays[1] = (ColumnArray){ r.x, r.x_nulls };
  r.arrays[2] = (ColumnArray){ r.text, r.text_nulls };
  r.arrays[3] = (ColumnArray){ r.flag, NULL };
  return r;
}

static void rows_release(Rows *r) {
  void *all[] = { r->id,    r->x,    r->text,      r->flag,   r->x_nulls, r->text_nulls,
                  r->texts, r->keys, r->key_bytes, r->hashes, r->expiry,  r->replaced };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static bool x_is_null(uint64_t value) { return value % 5 == 0; }
static bool text_is_null(uint64_t value) { return value % 7 == 0; }
static int64_t expiry_of(uint64_t value, bool expires) {
  return expires && value % 3 == 0 ? (int64_t)value : EXPIRY_NEVER;
}

static void rows_set(Rows *r, size_t i, uint32_t key, uint64_t value, bool expires) {
  r->id[i] = key;
  r->x_nulls[i] = x_is_null(value);
  r->x[i] = x_is_null(value) ? 0 : (double)value / 4;
  r->text_nulls[i] = text_is_null(value);
  size_t length = text_is_null(value) ? 0 : value % 11;
  memset(r->texts + 12 * i, (int)(value % 251), length);
  r->text[i] = (Bytes){ length ? (const uint8_t *)r->texts + 12 * i : NULL, length };
  r->flag[i] = value & 1;
  uint32_t encoded = __builtin_bswap32(key);
  memcpy(r->key_bytes[i], &encoded, 4);
  r->keys[i] = (Bytes){ r->key_bytes[i], 4 };
  r->hashes[i] = hash_key(r->key_bytes[i], 4);
  r->expiry[i] = expiry_of(value, expires);
}

static uint32_t key_number(Bytes key) {
  CHECK_INT(key.length, 4);
  return __builtin_bswap32(load_u32(key.data));
}

/* The row holds the values that follow from the number. */
static void check_values(const TableDelta *delta, uint32_t row, uint32_t key, uint64_t value, bool expires) {
  TableSlab slab = table_delta_slab(delta, table_slab_of(row));
  uint32_t i = table_slab_offset(row);
  CHECK(i < slab.row_count && slab.first_row + i == row);
  CHECK_INT(key_number(table_delta_key(delta, row)), key);
  CHECK_INT(((const uint32_t *)slab.columns[0].values)[i], key);
  CHECK(slab.columns[0].nulls == NULL && slab.columns[3].nulls == NULL);
  CHECK_INT(slab.columns[1].nulls[i], x_is_null(value));
  CHECK(((const double *)slab.columns[1].values)[i] == (x_is_null(value) ? 0 : (double)value / 4));
  CHECK_INT(slab.columns[2].nulls[i], text_is_null(value));
  Bytes text = ((const Bytes *)slab.columns[2].values)[i];
  CHECK_INT(text.length, text_is_null(value) ? 0 : value % 11);
  for (size_t k = 0; k < text.length; k++) CHECK_INT(text.data[k], value % 251);
  CHECK_INT(((const uint8_t *)slab.columns[3].values)[i], value & 1);
  CHECK_INT(table_delta_expiry(delta, row), expiry_of(value, expires));
  CHECK_INT(slab.expiry ? slab.expiry[i] : EXPIRY_NEVER, expiry_of(value, expires));
  CHECK_INT(slab.sequence[i], table_delta_sequence(delta, row));
}

/* ---- the model: rows in the order of their appends; row n of the delta is version n ---- */
typedef struct Version {
  uint32_t key;
  uint64_t sequence, value, killed_at; /* killed_at: UINT64_MAX never */
  bool deleted, rolled_back, expires;
} Version;

typedef struct Kill {
  uint32_t row;
  uint64_t sequence;
} Kill;

typedef struct Model {
  TableDelta *delta;
  uint32_t key_count, count, capacity;
  Version *versions;
  uint64_t sequence, next_value;
  Rows rows;
} Model;

enum { BATCH_MAX = 700 };

static void model_open(Model *m, uint32_t key_count) {
  *m = (Model){ .key_count = key_count, .next_value = 1, .rows = rows_create(BATCH_MAX) };
}

static void model_close(Model *m) {
  table_delta_destroy(m->delta);
  free(m->versions);
  rows_release(&m->rows);
}

static DeltaState expected_state(const Model *m, uint32_t key, uint64_t snapshot, uint32_t *row) {
  for (uint32_t i = m->count; i-- > 0;) {
    const Version *v = &m->versions[i];
    if (v->key != key || v->rolled_back || v->sequence > snapshot) continue;
    *row = i;
    if (v->killed_at <= snapshot) return DELTA_ABSENT;
    return v->deleted ? DELTA_DELETED : DELTA_FOUND;
  }
  return DELTA_ABSENT;
}

/* The live row of a key, which the next row of the key replaces. */
static uint32_t expected_replaced(const Model *m, uint32_t key) {
  uint32_t row;
  return expected_state(m, key, UINT64_MAX - 1, &row) == DELTA_FOUND ? row : TABLE_ROW_NONE;
}

static void check_version(const Model *m, uint32_t row) {
  const Version *v = &m->versions[row];
  CHECK_INT(table_delta_sequence(m->delta, row), v->sequence);
  CHECK_INT(table_delta_dead_at(m->delta, row) == DEAD_ROLLED_BACK, v->rolled_back);
  if (!v->deleted)
    check_values(m->delta, row, v->key, v->value, v->expires);
  else
    CHECK_INT(key_number(table_delta_key(m->delta, row)), v->key);
}

static void check_find(const Model *m, uint32_t key, uint64_t snapshot) {
  uint32_t encoded = __builtin_bswap32(key), row = 0, expected_row = 0;
  DeltaState expected = expected_state(m, key, snapshot, &expected_row);
  CHECK_INT(table_delta_find(m->delta, hash_key(&encoded, 4), &encoded, 4, snapshot, &row), expected);
  if (expected == DELTA_ABSENT) return;
  CHECK_INT(row, expected_row);
  check_version(m, row);
}

/* Every row that the masks name is what find gives for its key, and there are as many as found keys. */
static void check_scan(const Model *m, uint64_t snapshot) {
  uint32_t expected = 0, seen = 0, row = 0;
  for (uint32_t key = 0; key < m->key_count; key++) expected += expected_state(m, key, snapshot, &row) == DELTA_FOUND;
  for (uint32_t s = 0; s < table_delta_slab_count(m->delta); s++) {
    TableSlab slab = table_delta_slab(m->delta, s);
    for (uint32_t at = 0; at < slab.row_count; at += BLOCK_ROWS) {
      uint64_t mask[BLOCK_WORDS];
      uint32_t n = slab.row_count - at < BLOCK_ROWS ? slab.row_count - at : BLOCK_ROWS;
      visible_block(slab.sequence + at, slab.dead_at + at, n, snapshot, mask);
      for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
        if (!bit_get(mask, i)) continue;
        uint32_t key = ((const uint32_t *)slab.columns[0].values)[at + i];
        CHECK_INT(expected_state(m, key, snapshot, &row), DELTA_FOUND);
        CHECK_INT(slab.first_row + at + i, row);
        seen++;
      }
    }
  }
  CHECK_INT(seen, expected);
}

/* The rows that find gives, in the order of the keys; from the middle on, those that lie there. */
static Status check_order(const Model *m, uint64_t snapshot) {
  uint32_t firsts[] = { 0, m->count / 2, m->count }, row = 0;
  for (int i = 0; i < 3; i++) {
    TableOrder order;
    uint32_t at = 0;
    TRY(table_order_make(m->delta, snapshot, firsts[i], &order));
    for (uint32_t key = 0; key < m->key_count; key++) {
      if (expected_state(m, key, snapshot, &row) != DELTA_FOUND || row < firsts[i]) continue;
      CHECK(at < order.count && order.rows[at] == row);
      at++;
    }
    CHECK_INT(order.count, at);
    table_order_release(&order);
  }
  return KVSTORE_OK;
}

static void check_counts(const Model *m) {
  DeltaCounts counts = table_delta_counts(m->delta);
  uint64_t live = 0;
  for (uint32_t key = 0; key < m->key_count; key++) live += expected_replaced(m, key) != TABLE_ROW_NONE;
  CHECK_INT(counts.rows, m->count);
  CHECK_INT(table_delta_row_count(m->delta), m->count);
  CHECK_INT(counts.live_rows, live);
  CHECK(counts.keys <= m->key_count && counts.bytes_used <= counts.bytes_held);
  const char *why = "";
  if (!table_delta_check(m->delta, &why)) CHECK_STR(why, "");
}

/* ---- operations ---- */
static void push(Model *m, uint32_t key, uint64_t sequence, uint64_t value, bool deleted, bool expires) {
  if (m->count == m->capacity) {
    m->capacity = m->capacity * 2 + 64;
    m->versions = realloc(m->versions, m->capacity * sizeof *m->versions);
    CHECK(m->versions != NULL);
  }
  m->versions[m->count++] = (Version){
    .key = key, .sequence = sequence, .value = value, .killed_at = UINT64_MAX, .deleted = deleted, .expires = expires
  };
}

static Status append_one(Model *m, uint32_t key, bool expires) {
  uint64_t value = m->next_value++;
  uint32_t row = 0, replaced = 0, expected = expected_replaced(m, key);
  rows_set(&m->rows, 3, key, value, expires); /* not the first entry of the arrays */
  TRY(table_delta_append(m->delta, m->rows.keys[3], m->rows.hashes[3], m->rows.arrays, 3, m->rows.expiry[3],
                         m->sequence + 1, &row, &replaced));
  CHECK_INT(row, m->count);
  CHECK_INT(replaced, expected);
  push(m, key, ++m->sequence, value, false, expires);
  return KVSTORE_OK;
}

static Status delete_one(Model *m, uint32_t key) {
  uint32_t encoded = __builtin_bswap32(key), row = 0, replaced = 0, expected = expected_replaced(m, key);
  Bytes k = { (const uint8_t *)&encoded, 4 };
  TRY(table_delta_delete(m->delta, k, hash_key(&encoded, 4), m->sequence + 1, &row, &replaced));
  CHECK_INT(row, m->count);
  CHECK_INT(replaced, expected);
  push(m, key, ++m->sequence, 0, true, false);
  return KVSTORE_OK;
}

/* Random keys, some twice. A bulk append (step 0) has one sequence for all; the model takes the later row of a key
 * then. */
static Status append_batch(Model *m, uint32_t n, uint64_t step, bool expires, uint64_t *seed) {
  uint64_t sequence = m->sequence + 1, value = m->next_value;
  m->next_value += n;
  for (uint32_t i = 0; i < n; i++) {
    rows_set(&m->rows, i, (uint32_t)test_random_below(seed, m->key_count), value + i, expires);
  }
  ColumnBatch batch = {
    .row_count = n, .column_count = COLUMNS, .columns = m->rows.arrays, .expiry = expires ? m->rows.expiry : NULL
  };
  TableAppend append = { &batch, m->rows.keys, m->rows.hashes, sequence, step, m->rows.replaced };
  uint32_t first = 0, appended = 0, before = m->count;
  Status status = table_delta_append_batch(m->delta, &append, &first, &appended);
  CHECK_INT(first, before);
  CHECK(status == KVSTORE_OK ? appended == n : appended < n);
  for (uint32_t i = 0; i < appended; i++) {
    uint32_t expected = expected_replaced(m, m->rows.id[i]);
    CHECK_INT(m->rows.replaced[i], expected);
    push(m, m->rows.id[i], sequence + i * step, value + i, false, expires);
  }
  if (n) m->sequence = sequence + (n - 1) * step;
  return status;
}

static bool kill_newest(Model *m, uint32_t key, Kill *kill) {
  uint32_t row = expected_replaced(m, key);
  if (row == TABLE_ROW_NONE) return false;
  *kill = (Kill){ row, ++m->sequence };
  m->versions[row].killed_at = kill->sequence;
  CHECK(table_delta_set_dead(m->delta, row, kill->sequence));
  CHECK(!table_delta_set_dead(m->delta, row, kill->sequence + 1)); /* dead already */
  return true;
}

static void take_back(Model *m, const Kill *kills, size_t count) {
  for (size_t i = count; i-- > 0;) {
    table_delta_revive(m->delta, kills[i].row, kills[i].sequence);
    m->versions[kills[i].row].killed_at = UINT64_MAX;
  }
}

static void go_back(Model *m, DeltaMark mark, uint32_t count, uint64_t sequence) {
  table_delta_rollback(m->delta, mark);
  for (uint32_t i = count; i < m->count; i++) m->versions[i].rolled_back = true;
  m->sequence = sequence;
}

static void operate(Model *m, Kill *kills, size_t *kill_count, bool expires, uint64_t *seed) {
  uint32_t key = (uint32_t)test_random_below(seed, m->key_count);
  switch (test_random_below(seed, 12)) {
  case 0: *kill_count += kill_newest(m, key, &kills[*kill_count]); break;
  case 1:
  case 2: CHECK_OK(delete_one(m, key)); break;
  case 3: CHECK_OK(append_batch(m, (uint32_t)test_random_below(seed, 40), 1, expires, seed)); break;
  case 4: CHECK_OK(append_batch(m, (uint32_t)test_random_below(seed, 40), 0, expires, seed)); break;
  default: CHECK_OK(append_one(m, key, expires)); break;
  }
}

static void transact(Model *m, bool expires, uint64_t *seed) {
  Kill kills[64];
  size_t kill_count = 0;
  uint32_t count = m->count;
  uint64_t sequence = m->sequence, fate = test_random_below(seed, 6);
  DeltaMark mark = table_delta_mark(m->delta);
  for (int statement = 0; statement < 3; statement++) {
    uint32_t statement_count = m->count;
    size_t statement_kills = kill_count;
    uint64_t statement_sequence = m->sequence;
    DeltaMark statement_mark = table_delta_mark(m->delta);
    for (uint64_t i = test_random_below(seed, 6); i > 0; i--) operate(m, kills, &kill_count, expires, seed);
    if (test_random_below(seed, 4) != 0) continue;
    take_back(m, kills + statement_kills, kill_count - statement_kills);
    kill_count = statement_kills;
    go_back(m, statement_mark, statement_count, statement_sequence);
  }
  if (fate > 1) return;
  if (fate == 0) take_back(m, kills, kill_count); /* kills go back before or after the rows */
  go_back(m, mark, count, sequence);
  if (fate == 1) take_back(m, kills, kill_count);
}

static void run_model(uint64_t seed, uint32_t key_count, uint64_t transactions) {
  uint64_t held = memory_blocks_held();
  Model m;
  model_open(&m, key_count);
  CHECK_OK(table_delta_create(&schema, &m.delta));
  for (uint64_t t = 0; t < transactions; t++) {
    transact(&m, t > transactions / 2, &seed); /* a TTL for the first time when there are many rows */
    for (int i = 0; i < 5; i++) {
      check_find(&m, (uint32_t)test_random_below(&seed, key_count), test_random_below(&seed, m.sequence + 2));
    }
    if (t % 25 != 24) continue;
    uint64_t snapshots[2] = { m.sequence, test_random_below(&seed, m.sequence + 1) };
    for (int i = 0; i < 2; i++) {
      check_scan(&m, snapshots[i]);
      CHECK_OK(check_order(&m, snapshots[i]));
    }
    check_counts(&m);
  }
  for (uint32_t row = 0; row < m.count; row++) check_version(&m, row);
  table_delta_freeze(m.delta);
  Kill kill;
  for (uint32_t key = 0; key < key_count; key += 3) { /* a row of a newer delta replaces one of a frozen delta */
    if (kill_newest(&m, key, &kill)) check_find(&m, key, m.sequence);
  }
  check_scan(&m, m.sequence);
  model_close(&m);
  CHECK_INT(memory_blocks_held(), held);
}

TEST(table_delta, random_transactions_give_what_the_model_gives) { run_model(1, 250, test_scaled(1000)); }
TEST(table_delta, few_hot_keys_have_long_chains) { run_model(2, 4, test_scaled(300)); }

TEST(table_delta, empty_finds_nothing_and_costs_little) {
  Model m;
  uint64_t seed = 3;
  model_open(&m, 3);
  CHECK_OK(table_delta_create(&schema, &m.delta));
  CHECK_INT(table_delta_slab_count(m.delta), 0);
  table_delta_prefetch(m.delta, 1);
  table_delta_prefetch_entry(m.delta, 1);
  check_find(&m, 0, 9);
  check_scan(&m, 9);
  CHECK_OK(check_order(&m, 9));
  check_counts(&m);
  CHECK(table_delta_counts(m.delta).bytes_held < 16384);
  CHECK_OK(append_batch(&m, 0, 1, false, &seed));
  model_close(&m);
}

/* More than one slab, and a directory that grows, by batches that do not meet the edges. */
TEST(table_delta, rows_lie_in_slabs_of_65536) {
  enum { KEYS = 1000 };
  uint32_t total = 5 * DELTA_SLAB_ROWS + 1234, done = 0;
  TableDelta *delta;
  Rows rows = rows_create(10007);
  CHECK_OK(table_delta_create(&schema, &delta));
  while (done < total) {
    uint32_t n = total - done < 10007 ? total - done : 10007;
    for (uint32_t i = 0; i < n; i++) rows_set(&rows, i, (done + i) % KEYS, done + i, done > 2 * DELTA_SLAB_ROWS);
    ColumnBatch batch = { n, COLUMNS, rows.arrays, rows.expiry };
    TableAppend append = { &batch, rows.keys, rows.hashes, done + 1, 1, rows.replaced };
    uint32_t first, appended;
    CHECK_OK(table_delta_append_batch(delta, &append, &first, &appended));
    CHECK_INT(appended, n);
    for (uint32_t i = 0; i < n; i++) CHECK_INT(rows.replaced[i], done + i < KEYS ? TABLE_ROW_NONE : done + i - KEYS);
    done += n;
  }
  CHECK_INT(table_delta_slab_count(delta), 6);
  CHECK_INT(table_delta_slab(delta, 5).row_count, 1234);
  CHECK_INT(table_delta_slab(delta, 5).first_row, 5 * DELTA_SLAB_ROWS);
  CHECK(table_delta_slab(delta, 1).expiry == NULL && table_delta_slab(delta, 3).expiry != NULL);
  for (uint32_t row = 0; row < total; row += row % DELTA_SLAB_ROWS ? 97 : 1) {
    bool expires = row / 10007 * 10007 > 2 * DELTA_SLAB_ROWS;
    check_values(delta, row, row % KEYS, row, expires);
    CHECK_INT(table_delta_older(delta, row), row < KEYS ? TABLE_ROW_NONE : row - KEYS);
    uint32_t encoded = __builtin_bswap32(row % KEYS), found = 0;
    CHECK_INT(table_delta_find(delta, hash_key(&encoded, 4), &encoded, 4, row + 1, &found), DELTA_FOUND);
    CHECK_INT(found, row);
  }
  table_delta_destroy(delta);
  rows_release(&rows);
}

/* ---- the order of any keys ---- */

enum { ANY_KEYS = 600, ANY_LENGTH = 40 };
typedef struct AnyKeys {
  uint8_t bytes[ANY_KEYS][ANY_LENGTH];
  Bytes keys[ANY_KEYS];
  uint32_t count;
} AnyKeys;

/* How keys are made of numbers: all agree in the first `common` bytes, most in `same` more; then digits, the least
 * first. */
typedef struct AnyKind {
  uint32_t common, same, base;
} AnyKind;

static Bytes any_key(uint8_t *to, uint32_t number, AnyKind kind) {
  size_t length = kind.common + kind.same;
  memset(to, 'c', length);
  to[kind.common] = number % 3 ? 'c' : 'b';
  for (; number; number /= kind.base) to[length++] = (uint8_t)(number % kind.base);
  return (Bytes){ to, length };
}

static int by_bytes(const void *a, const void *b) {
  const Bytes *x = a, *y = b;
  return bytes_compare(x->data, x->length, y->data, y->length);
}

/* Rows of these keys, in an order that is none. */
static TableDelta *delta_of(AnyKeys *k, AnyKind kind) {
  TableDelta *delta;
  Rows rows = rows_create(1);
  CHECK_OK(table_delta_create(&schema, &delta));
  for (k->count = 0; k->count < ANY_KEYS; k->count++) {
    uint32_t number = 1 + (k->count * 353 + 1) % ANY_KEYS; /* 353 and 600 share no divisor */
    Bytes key = k->keys[k->count] = any_key(k->bytes[k->count], number, kind);
    rows_set(&rows, 0, number, number, false);
    CHECK_OK(table_delta_append(delta, key, hash_key(key.data, key.length), rows.arrays, 0, EXPIRY_NEVER, k->count + 1,
                                NULL, NULL));
  }
  rows_release(&rows);
  return delta;
}

static void order_without_memory(const TableDelta *delta) {
  uint64_t held = memory_blocks_held();
  for (uint64_t n = 1;; n++) {
    TableOrder order;
    failing_memory_install(n, false);
    Status status = table_order_make(delta, ANY_KEYS, 0, &order);
    failing_memory_remove();
    if (status == KVSTORE_OK) table_order_release(&order);
    CHECK_INT(memory_blocks_held(), held);
    if (status == KVSTORE_OK) return;
    CHECK_INT(status, KVSTORE_NOMEM);
  }
}

/* Returns how many keys were compared whole. */
static uint64_t check_any_order(AnyKind kind) {
  static AnyKeys k;
  TableDelta *delta = delta_of(&k, kind);
  TableOrder order;
  order_without_memory(delta);
  uint64_t before = counter_get(COUNTER_order_keys_whole);
  CHECK_OK(table_order_make(delta, ANY_KEYS, 0, &order));
  uint64_t whole = counter_get(COUNTER_order_keys_whole) - before;
  CHECK_INT(order.count, ANY_KEYS);
  qsort(k.keys, ANY_KEYS, sizeof *k.keys, by_bytes);
  for (uint32_t i = 0; i < ANY_KEYS; i++) {
    Bytes key = table_delta_key(delta, order.rows[i]);
    CHECK_INT(bytes_compare(key.data, key.length, k.keys[i].data, k.keys[i].length), 0);
  }
  table_order_release(&order);
  table_delta_destroy(delta);
  return whole;
}

TEST(table_order, keys_are_ordered_by_eight_bytes_and_those_that_agree_there_whole) {
  CHECK_INT(check_any_order((AnyKind){ 16, 1, 32 }), 0);       /* all the difference lies in three bytes */
  CHECK_INT(check_any_order((AnyKind){ 0, 12, 2 }), ANY_KEYS); /* two sorts of beginnings */
  uint64_t some = check_any_order((AnyKind){ 16, 1, 2 });      /* the last of ten digits lie behind the eight bytes */
  CHECK(some > 0 && some < ANY_KEYS);
}

TEST(table_delta, a_failed_allocation_leaves_the_row_absent) {
  uint64_t n = 1, failures = 0, held = memory_blocks_held();
  for (bool failed = true; failed; n++) {
    uint64_t seed = 4;
    Model m;
    model_open(&m, 3000);
    failing_memory_install(n, false);
    Status created = table_delta_create(&schema, &m.delta);
    if (created != KVSTORE_OK) {
      CHECK_INT(created, KVSTORE_NOMEM);
      CHECK(m.delta == NULL);
      failures++;
      CHECK_OK(table_delta_create(&schema, &m.delta));
    }
    for (uint32_t i = 0; i < 12; i++) {
      DeltaMark mark = table_delta_mark(m.delta);
      uint32_t count = m.count, key = 7 * i;
      uint64_t sequence = m.sequence;
      Status status = i % 3 == 0   ? append_batch(&m, BATCH_MAX, 1, i > 5, &seed)
                      : i % 3 == 1 ? append_one(&m, key, i > 5)
                                   : delete_one(&m, key);
      if (status == KVSTORE_OK) continue;
      CHECK_INT(status, KVSTORE_NOMEM);
      failures++;
      check_counts(&m);
      check_scan(&m, m.sequence);
      Status ordered = check_order(&m, m.sequence);
      CHECK(ordered == KVSTORE_OK || ordered == KVSTORE_NOMEM);
      go_back(&m, mark, count, sequence);
      check_counts(&m);
      check_scan(&m, m.sequence);
    }
    failed = failing_memory_failures() > 0;
    failing_memory_remove();
    check_counts(&m);
    check_scan(&m, m.sequence);
    for (uint32_t row = 0; row < m.count; row++) check_version(&m, row);
    model_close(&m);
    CHECK_INT(memory_blocks_held(), held);
  }
  CHECK(failures > 10);
}

TEST(visible, block_masks_equal_the_row_by_row_rule) {
  uint64_t seed = 5, sequence[BLOCK_ROWS], mask[BLOCK_WORDS];
  static _Atomic uint64_t dead_at[BLOCK_ROWS];
  for (uint32_t round = 0; round < 300; round++) {
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      static const uint64_t deaths[] = { DEAD_ROLLED_BACK, DEAD_NEVER, 0 };
      sequence[i] = test_random_below(&seed, 20);
      uint64_t which = test_random_below(&seed, 4);
      atomic_store(&dead_at[i], which < 2 ? deaths[which] : sequence[i] + test_random_below(&seed, 20));
    }
    uint32_t count = round < BLOCK_WORDS * 4 ? round * 17 % (BLOCK_ROWS + 1) : BLOCK_ROWS - round % 3;
    uint64_t snapshot = round % 20;
    visible_block(sequence, dead_at, count, snapshot, mask);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      bool expected = i < count && row_is_visible(sequence[i], atomic_load(&dead_at[i]), snapshot);
      CHECK_INT(bit_get(mask, i), expected);
    }
  }
}

/* ---- threads ----
 * Transaction t (from 1) writes, as a batch of one sequence t, the keys t % KEYS to t % KEYS + SPAN - 1, each with
 * value t; before it a transaction with the same sequence is rolled back. So at snapshot t the table has known rows. */
enum { THREAD_KEYS = 200, SPAN = 20 };

typedef struct Shared {
  TableDelta *delta;
  uint64_t transactions;
  _Atomic uint64_t visible;
} Shared;

static void write_batch(Shared *s, Rows *rows, uint32_t first_key, uint64_t sequence, uint64_t value) {
  for (uint32_t i = 0; i < SPAN; i++) rows_set(rows, i, first_key + i, value, value % 1000 > 500);
  ColumnBatch batch = { SPAN, COLUMNS, rows->arrays, rows->expiry };
  TableAppend append = { &batch, rows->keys, rows->hashes, sequence, 0, NULL };
  uint32_t first, appended;
  CHECK_OK(table_delta_append_batch(s->delta, &append, &first, &appended));
}

static void write_transactions(Shared *s) {
  Rows rows = rows_create(SPAN);
  for (uint64_t t = 1; t <= s->transactions; t++) {
    DeltaMark mark = table_delta_mark(s->delta);
    write_batch(s, &rows, (uint32_t)(t * 3 % THREAD_KEYS), t, 1);
    table_delta_rollback(s->delta, mark);
    write_batch(s, &rows, (uint32_t)(t % THREAD_KEYS), t, t);
    atomic_store_explicit(&s->visible, t, memory_order_release);
  }
  rows_release(&rows);
}

/* The last transaction up to `t` that wrote the key, or 0: the newest of those whose span holds it. */
static uint64_t last_writer(uint64_t t, uint32_t key) {
  for (uint64_t back = 0; back < THREAD_KEYS && back < t; back++) {
    uint32_t first = (uint32_t)((t - back) % THREAD_KEYS);
    if (key >= first && key < first + SPAN) return t - back;
  }
  return 0;
}

static void scan_beside(const Shared *s, uint64_t t) {
  bool seen[THREAD_KEYS + SPAN] = { false };
  for (uint32_t i = 0; i < table_delta_slab_count(s->delta); i++) {
    TableSlab slab = table_delta_slab(s->delta, i);
    for (uint32_t at = 0; at < slab.row_count; at += BLOCK_ROWS) {
      uint64_t mask[BLOCK_WORDS];
      uint32_t n = slab.row_count - at < BLOCK_ROWS ? slab.row_count - at : BLOCK_ROWS;
      visible_block(slab.sequence + at, slab.dead_at + at, n, t, mask);
      for (uint32_t k = 0; k < n; k++) {
        if (!bit_get(mask, k)) continue;
        uint32_t key = ((const uint32_t *)slab.columns[0].values)[at + k];
        uint64_t writer = last_writer(t, key);
        CHECK(!seen[key] && writer != 0);
        seen[key] = true;
        check_values(s->delta, slab.first_row + at + k, key, writer, writer % 1000 > 500);
      }
    }
  }
  for (uint32_t key = 0; key < THREAD_KEYS + SPAN; key++) CHECK_INT(seen[key], last_writer(t, key) != 0);
}

static void read_beside(void *context) {
  Shared *s = context;
  for (uint64_t t = 0; t < s->transactions;) {
    uint64_t now = atomic_load_explicit(&s->visible, memory_order_acquire);
    CHECK(now >= t);
    t = now;
    scan_beside(s, t);
    TableOrder order;
    uint32_t at = 0;
    CHECK_OK(table_order_make(s->delta, t, 0, &order));
    for (uint32_t key = 0; key < THREAD_KEYS + SPAN; key++) {
      uint64_t writer = last_writer(t, key);
      uint32_t encoded = __builtin_bswap32(key), row = 0;
      DeltaState state = table_delta_find(s->delta, hash_key(&encoded, 4), &encoded, 4, t, &row);
      CHECK_INT(state, writer ? DELTA_FOUND : DELTA_ABSENT);
      if (!writer) continue;
      CHECK_INT(table_delta_sequence(s->delta, row), writer);
      CHECK(at < order.count && order.rows[at++] == row);
    }
    CHECK_INT(order.count, at);
    table_order_release(&order);
  }
}

TEST(table_delta, readers_beside_a_writer_see_whole_transactions) {
  Shared s = { .transactions = 400 + test_scaled(6000) };
  CHECK_OK(table_delta_create(&schema, &s.delta));
  Thread readers[3] = { { .running = false } };
  for (int i = 0; i < 3; i++) CHECK_OK(thread_start(&readers[i], read_beside, &s));
  write_transactions(&s);
  for (int i = 0; i < 3; i++) thread_join(&readers[i]);
  const char *why = "";
  if (!table_delta_check(s.delta, &why)) CHECK_STR(why, "");
  table_delta_destroy(s.delta);
}
