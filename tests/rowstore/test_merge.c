/* Merges of deltas, runs and levels against a sorted array that the layers were folded into, oldest first. */
#include "rowstore/merge.h"

#include "base/memory.h"
#include "tests/rowstore/run_fixture.h"
#include "tests/support/failing_memory.h"

enum { LAYERS_MAX = 6, LEVEL_RUNS = 5, SNAPSHOT = 1000000 };

/* ---- the layers of one family, and what they amount to ---- */
typedef struct Stack {
  MergeLayer layers[LAYERS_MAX];
  uint32_t count;
  TestExtents runs[LAYERS_MAX * LEVEL_RUNS];
  uint32_t run_count;
  RowLevel levels[LAYERS_MAX];
  KvDelta *deltas[LAYERS_MAX];
  TestRows owned[LAYERS_MAX]; /* rows of each layer */
  TestRows all;               /* the newest of each key, tombstones included; borrows from owned */
  uint32_t *layer_of;         /* of each row of all */
} Stack;

static void add_delta(Stack *s, uint32_t at, uint64_t *seed) {
  const TestRows *rows = &s->owned[at];
  CHECK_OK(kv_delta_create(&s->deltas[at]));
  s->layers[at] = (MergeLayer){ .delta = s->deltas[at], .snapshot = SNAPSHOT };
  uint64_t sequence = 1;
  for (size_t pass = 0; pass < 2; pass++) { /* the second pass writes over a third of the first */
    for (size_t i = 0; i < rows->count; i++) {
      const TestRow *r = &rows->rows[i];
      uint64_t hash = hash_key(r->key.data, r->key.length);
      if (pass == 0 && i % 3 == 0)
        CHECK_OK(
          kv_delta_append(s->deltas[at], hash, r->key.data, r->key.length, "former", 6, 5, sequence++, false, NULL));
      if ((pass == 0) == (i % 3 != 0))
        CHECK_OK(kv_delta_append(s->deltas[at], hash, r->key.data, r->key.length, r->value.data, r->value.length,
                                 r->expiry, sequence++, r->tombstone, NULL));
    }
  }
  CHECK(sequence < SNAPSHOT);
  Bytes unseen = test_key(seed, 3); /* beyond the snapshot */
  CHECK_OK(kv_delta_append(s->deltas[at], hash_key(unseen.data, unseen.length), unseen.data, unseen.length, "x", 1,
                           EXPIRY_NEVER, SNAPSHOT + 1, false, NULL));
  free((void *)unseen.data);
}

static RowRun *add_run(Stack *s, TestRows part, uint64_t *seed) {
  TestExtents *t = &s->runs[s->run_count++];
  RowRunOptions small = { .piece_bytes = 3000 + (uint32_t)test_random_below(seed, 20000),
                          .value_extent_bytes = 100000 };
  CHECK_OK(test_write(t, &part, &small));
  CHECK_OK(test_open(t, (SourceKind)test_random_below(seed, SOURCE_KINDS)));
  return t->run;
}

static void add_level(Stack *s, uint32_t at, uint64_t *seed) {
  const TestRows *rows = &s->owned[at];
  RowRun *runs[LEVEL_RUNS];
  size_t from = 0;
  for (uint32_t i = 0; i < LEVEL_RUNS; i++) {
    size_t to = i + 1 == LEVEL_RUNS ? rows->count : from + test_random_below(seed, rows->count - from + 1);
    runs[i] = add_run(s, (TestRows){ rows->rows + from, to - from }, seed); /* some are empty */
    from = to;
  }
  CHECK_OK(row_level_init(&s->levels[at], runs, LEVEL_RUNS));
  s->layers[at] = (MergeLayer){ .level = &s->levels[at] };
}

/* The newest row of every key, by the plainest way. */
static void fold(Stack *s) {
  size_t total = 0;
  for (uint32_t i = 0; i < s->count; i++) total += s->owned[i].count;
  TestRow *rows = malloc((total + 1) * sizeof *rows);
  uint32_t *layers = malloc((total + 1) * sizeof *layers);
  size_t at[LAYERS_MAX] = { 0 }, count = 0;
  CHECK(rows && layers);
  for (;;) {
    const TestRow *heads[LAYERS_MAX] = { NULL }, *least = NULL;
    for (uint32_t i = 0; i < s->count; i++) {
      if (at[i] == s->owned[i].count) continue;
      heads[i] = &s->owned[i].rows[at[i]];
      if (!least || test_row_compare(heads[i], least) < 0) least = heads[i], layers[count] = i;
    }
    if (!least) break;
    for (uint32_t i = 0; i < s->count; i++)
      if (heads[i] && test_row_compare(heads[i], least) == 0) at[i]++;
    rows[count++] = *least;
  }
  s->all = (TestRows){ rows, count };
  s->layer_of = layers;
}

/* Layers of random kinds, each with some of a common pool of keys. */
static void make_stack(Stack *s, uint32_t layers, size_t rows, uint32_t kind, uint64_t *seed) {
  memset(s, 0, sizeof *s);
  s->count = layers;
  for (uint32_t i = 0; i < layers; i++) {
    uint64_t pool = *seed % 1000; /* the same seeds again: the same keys in other layers */
    if (test_random_below(seed, 2)) pool = 7;
    uint64_t rows_seed = pool;
    size_t count = test_random_below(seed, 4) == 0 ? test_random_below(seed, 5) : test_random_below(seed, rows);
    s->owned[i] = test_rows(&rows_seed, count, kind, 40, 60);
    for (size_t r = 0; r < s->owned[i].count; r++) {
      TestRow *row = &s->owned[i].rows[r];
      if (test_random_below(seed, 3)) continue;
      free((void *)row->value.data);
      row->tombstone = !row->tombstone;
      row->value = test_value(seed, row->tombstone ? 0 : 30);
    }
    switch (test_random_below(seed, 3)) {
    case 0: add_delta(s, i, seed); break;
    case 1: s->layers[i] = (MergeLayer){ .run = add_run(s, s->owned[i], seed) }; break;
    default: add_level(s, i, seed); break;
    }
  }
  fold(s);
}

static void free_stack(Stack *s) {
  for (uint32_t i = 0; i < s->count; i++) {
    kv_delta_destroy(s->deltas[i]);
    row_level_release(&s->levels[i]);
    test_rows_free(&s->owned[i]);
  }
  for (uint32_t i = 0; i < s->run_count; i++) test_extents_free(&s->runs[i]);
  free(s->all.rows);
  free(s->layer_of);
}

/* ---- what a cursor with options must yield ---- */
typedef struct Expected {
  TestRow *rows;
  uint32_t *layers;
  size_t count;
} Expected;

static bool begins_with(Bytes key, Bytes prefix) {
  return key.length >= prefix.length && (prefix.length == 0 || memcmp(key.data, prefix.data, prefix.length) == 0);
}

static Expected expect(const Stack *s, const MergeOptions *o) {
  Expected e = { malloc((s->all.count + 1) * sizeof *e.rows), malloc((s->all.count + 1) * sizeof *e.layers), 0 };
  CHECK(e.rows && e.layers);
  for (size_t i = 0; i < s->all.count; i++) {
    const TestRow *r = &s->all.rows[i];
    if (r->tombstone && !o->tombstones) continue;
    if (o->lower.data && bytes_compare(r->key.data, r->key.length, o->lower.data, o->lower.length) < 0) continue;
    if (o->upper.data && bytes_compare(r->key.data, r->key.length, o->upper.data, o->upper.length) >= 0) continue;
    if (!begins_with(r->key, o->prefix)) continue;
    e.layers[e.count] = s->layer_of[i];
    e.rows[e.count++] = *r;
  }
  return e;
}

static void check_row(const Stack *s, MergeRow *row, const TestRow *expected, uint32_t layer, int64_t now_ms) {
  CHECK_INT(row->view.key.length, expected->key.length);
  CHECK_BYTES(row->view.key.data, expected->key.data, expected->key.length);
  CHECK_INT(row->layer, layer);
  CHECK_INT(row->view.tombstone, expected->tombstone);
  CHECK_INT(row->view.expiry, expected->expiry);
  CHECK_INT(row->expired, expected->expiry != EXPIRY_NEVER && expected->expiry <= now_ms);
  CHECK_INT(row->run == NULL, s->layers[layer].delta != NULL);
  CHECK_INT(row->sequence != 0, s->layers[layer].delta != NULL);
  Bytes value;
  CHECK_OK(merge_row_value(row, &value));
  CHECK_INT(value.length, expected->value.length);
  CHECK_BYTES(value.data, expected->value.data, expected->value.length);
}

static void check_at(const Stack *s, MergeCursor *c, const Expected *e, size_t at, int64_t now_ms) {
  CHECK_INT(c->valid, at < e->count);
  if (at < e->count) check_row(s, &c->row, &e->rows[at], e->layers[at], now_ms);
}

static void check_walks(const Stack *s, MergeCursor *c, const Expected *e, int64_t now_ms) {
  CHECK_OK(merge_cursor_first(c));
  for (size_t i = 0; i < e->count; i++) {
    check_at(s, c, e, i, now_ms);
    CHECK_OK(merge_cursor_next(c));
  }
  CHECK(!c->valid);
  CHECK_OK(merge_cursor_last(c));
  for (size_t i = e->count; i-- > 0;) {
    check_at(s, c, e, i, now_ms);
    CHECK_OK(merge_cursor_prev(c));
  }
  CHECK(!c->valid);
}

static void check_wandering(const Stack *s, MergeCursor *c, const Expected *e, int64_t now_ms, uint32_t kind,
                            uint64_t *seed) {
  TestRows rows = { e->rows, e->count };
  for (int round = 0; round < 30; round++) {
    Bytes random_key = test_key(seed, kind), key = random_key;
    if (s->all.count && test_random_below(seed, 2)) key = s->all.rows[test_random_below(seed, s->all.count)].key;
    if (test_random_below(seed, 20) == 0) key.length = 0;
    size_t at = test_rows_lower(&rows, key);
    if (test_random_below(seed, 2)) {
      CHECK_OK(merge_cursor_seek(c, key.data, key.length));
    } else {
      CHECK_OK(merge_cursor_seek_last(c, key.data, key.length));
      at -= !(at < e->count && bytes_compare(e->rows[at].key.data, e->rows[at].key.length, key.data, key.length) == 0);
    }
    check_at(s, c, e, at, now_ms);
    for (uint64_t step = test_random_below(seed, 30); c->valid && step; step--) {
      bool forward = test_random_below(seed, 3) != 0;
      CHECK_OK(forward ? merge_cursor_next(c) : merge_cursor_prev(c));
      at = forward ? at + 1 : at - 1;
      check_at(s, c, e, at, now_ms);
    }
    free((void *)random_key.data);
  }
}

/* A bound at, before or behind a key, or a key's beginning. */
static Bytes random_bound(const Stack *s, uint64_t *seed) {
  static const uint8_t high[] = { 0xff, 0xff, 0xff };
  if (!s->all.count || test_random_below(seed, 8) == 0) return (Bytes){ high, test_random_below(seed, 4) };
  Bytes key = s->all.rows[test_random_below(seed, s->all.count)].key;
  if (test_random_below(seed, 2)) key.length = 1 + test_random_below(seed, key.length);
  return key;
}

static void check_options(const Stack *s, const MergeOptions *o, uint32_t kind, uint64_t *seed) {
  MergeCursor c;
  CHECK_OK(merge_cursor_open(&c, s->layers, s->count, o));
  Expected e = expect(s, o);
  check_walks(s, &c, &e, o->now_ms);
  check_wandering(s, &c, &e, o->now_ms, kind, seed);
  merge_cursor_close(&c);
  merge_cursor_close(&c);
  free(e.rows);
  free(e.layers);
}

static void check_gets(const Stack *s, uint32_t kind, uint64_t *seed) {
  for (int i = 0; i < 300; i++) {
    Bytes random_key = test_key(seed, kind), key = random_key;
    if (s->all.count && i % 4) key = s->all.rows[test_random_below(seed, s->all.count)].key;
    size_t at = test_rows_lower(&s->all, key);
    const TestRow *r = at < s->all.count ? &s->all.rows[at] : NULL;
    if (r && bytes_compare(r->key.data, r->key.length, key.data, key.length) != 0) r = NULL;
    MergeRow row;
    DeltaState state;
    CHECK_OK(merge_get(s->layers, s->count, hash_key(key.data, key.length), key.data, key.length, 300, &row, &state));
    CHECK_INT(state, !r ? DELTA_ABSENT : r->tombstone ? DELTA_DELETED : DELTA_FOUND);
    if (r && !r->tombstone) check_row(s, &row, r, s->layer_of[at], 300);
    merge_row_release(&row);
    free((void *)random_key.data);
  }
}

TEST(merge, any_layers_yield_the_newest_rows_in_order) {
  uint64_t seed = 1;
  for (uint64_t round = test_scaled(400); round > 0; round--) {
    Stack *s = malloc(sizeof *s);
    CHECK(s != NULL);
    uint32_t kind = (uint32_t)test_random_below(&seed, 4);
    make_stack(s, (uint32_t)test_random_below(&seed, LAYERS_MAX + 1), 20 + test_random_below(&seed, 400), kind, &seed);
    for (uint32_t which = 0; which < 16; which++) {
      MergeOptions o = { .now_ms = 300, .tombstones = which & 1 };
      if (which & 2) o.lower = random_bound(s, &seed);
      if (which & 4) o.upper = random_bound(s, &seed);
      if (which & 8) o.prefix = random_bound(s, &seed);
      check_options(s, &o, kind, &seed);
    }
    check_gets(s, kind, &seed);
    free_stack(s);
    free(s);
  }
}

/* ---- chosen cases ---- */

static TestRows text_rows(const char *const *keys, size_t count, const char *value) {
  TestRows rows = { malloc(count * sizeof(TestRow)), count };
  CHECK(rows.rows != NULL);
  for (size_t i = 0; i < count; i++)
    rows.rows[i] = (TestRow){ { (uint8_t *)strdup(keys[i]), strlen(keys[i]) },
                              { (uint8_t *)strdup(value), strlen(value) },
                              EXPIRY_NEVER,
                              value[0] == 0 };
  return rows;
}

static size_t count_prefix(const MergeLayer *layers, uint32_t count, const char *prefix) {
  MergeCursor c;
  MergeOptions o = { .prefix = { (const uint8_t *)prefix, strlen(prefix) } };
  CHECK_OK(merge_cursor_open(&c, layers, count, &o));
  size_t found = 0;
  for (CHECK_OK(merge_cursor_first(&c)); c.valid; CHECK_OK(merge_cursor_next(&c))) found++;
  size_t back = 0;
  for (CHECK_OK(merge_cursor_last(&c)); c.valid; CHECK_OK(merge_cursor_prev(&c))) back++;
  CHECK_INT(back, found);
  merge_cursor_close(&c);
  return found;
}

TEST(merge, prefixes_of_0xff_have_no_end_but_the_last_key) {
  static const char *const keys[] = { "a", "a\xff", "a\xff\xff", "a\xff\xff\142",
                                      "b", "\xff",  "\xff\xff",  "\xff\xff\xff" };
  TestRows rows = text_rows(keys, 8, "v");
  TestExtents t = { 0 };
  CHECK_OK(test_write(&t, &rows, NULL));
  CHECK_OK(test_open(&t, SOURCE_CACHED));
  MergeLayer layer = { .run = t.run };
  CHECK_INT(count_prefix(&layer, 1, "\xff"), 3);
  CHECK_INT(count_prefix(&layer, 1, "\xff\xff"), 2);
  CHECK_INT(count_prefix(&layer, 1, "\xff\xff\xff\xff"), 0);
  CHECK_INT(count_prefix(&layer, 1, "a\xff"), 3);
  CHECK_INT(count_prefix(&layer, 1, "a\xff\xff"), 2);
  CHECK_INT(count_prefix(&layer, 1, "a"), 4);
  CHECK_INT(count_prefix(&layer, 1, ""), 8);
  test_extents_free(&t);
  test_rows_free(&rows);
}

TEST(merge, a_level_is_searched_by_its_first_keys) {
  static const char *const keys[] = { "key-b", "key-d", "key-f", "key-h", "key-j", "key-l" };
  TestExtents t[3] = { { 0 } };
  RowRun *runs[3];
  TestRows rows = text_rows(keys, 6, "v");
  for (size_t i = 0; i < 3; i++) {
    TestRows part = { rows.rows + 2 * i, 2 };
    CHECK_OK(test_write(&t[i], &part, NULL));
    CHECK_OK(test_open(&t[i], SOURCE_PLAIN));
    runs[i] = t[i].run;
  }
  RowLevel level = { 0 };
  CHECK_OK(row_level_init(&level, runs, 3));
  static const struct {
    const char *key;
    uint32_t run;
  } cases[] = {
    { "", UINT32_MAX }, { "a", UINT32_MAX }, { "key", UINT32_MAX }, { "key-", UINT32_MAX }, { "key-a", UINT32_MAX },
    { "key-b", 0 },     { "key-c", 0 },      { "key-e", 0 },        { "key-f", 1 },         { "key-f1", 1 },
    { "key-i", 1 },     { "key-j", 2 },      { "key-z", 2 },        { "kez", 2 },           { "z", 2 }
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    CHECK_INT(row_level_find(&level, cases[i].key, strlen(cases[i].key)), cases[i].run);
  row_level_release(&level);
  RowRun *wrong[2] = { runs[1], runs[0] }, *twice[2] = { runs[0], runs[0] };
  CHECK_STATUS(row_level_init(&level, wrong, 2), KVSTORE_CORRUPT);
  CHECK_STATUS(row_level_init(&level, twice, 2), KVSTORE_CORRUPT);
  CHECK_INT(level.count, 0);
  for (size_t i = 0; i < 3; i++) test_extents_free(&t[i]);
  test_rows_free(&rows);
}

TEST(merge, a_tombstone_hides_older_layers_only) {
  static const char *const old_keys[] = { "a", "b", "c" }, *const dead_keys[] = { "b" }, *const new_keys[] = { "c" };
  TestRows old = text_rows(old_keys, 3, "old"), dead = text_rows(dead_keys, 1, ""),
           fresh = text_rows(new_keys, 1, "new");
  TestExtents t[3] = { { 0 } };
  const TestRows *rows[] = { &fresh, &dead, &old };
  MergeLayer layers[3] = { { 0 } };
  for (size_t i = 0; i < 3; i++) {
    CHECK_OK(test_write(&t[i], rows[i], NULL));
    CHECK_OK(test_open(&t[i], SOURCE_PLAIN));
    layers[i].run = t[i].run;
  }
  MergeCursor c;
  CHECK_OK(merge_cursor_open(&c, layers, 3, NULL));
  CHECK_OK(merge_cursor_first(&c));
  CHECK_BYTES(c.row.view.key.data, "a", 1);
  CHECK_OK(merge_cursor_next(&c));
  CHECK_BYTES(c.row.view.key.data, "c", 1);
  CHECK_BYTES(c.row.view.value.data, "new", 3);
  CHECK_OK(merge_cursor_prev(&c)); /* back over the tombstone */
  CHECK_BYTES(c.row.view.key.data, "a", 1);
  CHECK_OK(merge_cursor_prev(&c));
  CHECK(!c.valid);
  merge_cursor_close(&c);
  MergeLayer reversed[2] = { layers[2], layers[1] }; /* now the tombstone is the older one */
  DeltaState state;
  MergeRow row;
  CHECK_OK(merge_get(reversed, 2, hash_key("b", 1), "b", 1, 0, &row, &state));
  CHECK_INT(state, DELTA_FOUND);
  merge_row_release(&row);
  for (size_t i = 0; i < 3; i++) test_extents_free(&t[i]);
  test_rows_free(&old);
  test_rows_free(&dead);
  test_rows_free(&fresh);
}

TEST(merge, failures_leave_the_cursor_invalid_and_nothing_held) {
  uint64_t seed = 5;
  Stack *s = malloc(sizeof *s);
  CHECK(s != NULL);
  memset(s, 0, sizeof *s);
  s->count = 3;
  for (uint32_t i = 0; i < 3; i++) {
    s->owned[i] = test_rows(&seed, 200, 0, 30, 20);
    add_level(s, i, &seed);
  }
  for (uint32_t i = 0; i < s->run_count; i++) {
    row_run_close(s->runs[i].run);
    CHECK_OK(test_open(&s->runs[i], SOURCE_CACHED));
  }
  for (uint32_t i = 0; i < 3; i++) {
    row_level_release(&s->levels[i]);
    RowRun *runs[LEVEL_RUNS];
    for (uint32_t r = 0; r < LEVEL_RUNS; r++) runs[r] = s->runs[i * LEVEL_RUNS + r].run;
    CHECK_OK(row_level_init(&s->levels[i], runs, LEVEL_RUNS));
  }
  Status status = KVSTORE_IO;
  uint64_t n = 1;
  for (; status == KVSTORE_IO; n++) {
    for (uint32_t i = 0; i < s->run_count; i++) s->runs[i].reads = 0, s->runs[i].reads_failed_from = n;
    MergeCursor c;
    CHECK_OK(merge_cursor_open(&c, s->layers, s->count, NULL));
    status = merge_cursor_first(&c);
    Bytes value;
    while (status == KVSTORE_OK && c.valid) {
      CHECK(merge_cursor_value(&c, &value) != KVSTORE_CORRUPT);
      status = merge_cursor_next(&c);
    }
    if (status == KVSTORE_OK) status = merge_cursor_last(&c);
    while (status == KVSTORE_OK && c.valid) status = merge_cursor_prev(&c);
    CHECK(!c.valid);
    merge_cursor_close(&c);
    for (uint32_t i = 0; i < s->run_count; i++) CHECK_INT(s->runs[i].pins, 0);
  }
  CHECK_INT(status, KVSTORE_OK);
  CHECK(n > 10);
  for (uint32_t i = 0; i < s->run_count; i++) s->runs[i].reads_failed_from = 0;

  uint64_t held = memory_blocks_held(), fail = 1;
  for (bool reached = true; reached; fail++) {
    RowLevel level = { 0 };
    MergeCursor c = { 0 };
    failing_memory_install(fail, true);
    status = row_level_init(&level, s->levels[0].runs, s->levels[0].count);
    if (status == KVSTORE_OK) status = merge_cursor_open(&c, s->layers, s->count, NULL);
    reached = failing_memory_failures() > 0;
    failing_memory_remove();
    CHECK_INT(status, reached ? KVSTORE_NOMEM : KVSTORE_OK);
    merge_cursor_close(&c);
    row_level_release(&level);
    CHECK_INT(memory_blocks_held(), held);
  }
  CHECK_INT(fail, 5);
  free_stack(s);
  free(s);
}
