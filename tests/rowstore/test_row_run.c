/* Row runs against the sorted array that they were written from: every way in, every kind of source, damage, no memory.
 */
#include "rowstore/row_run.h"

#include "base/counters.h"
#include "base/memory.h"
#include "tests/rowstore/run_fixture.h"
#include "tests/support/failing_memory.h"

/* A test of plain runs, and the same of packed ones. */
#define TEST_OF_BOTH(name)             \
  static void name(void);              \
  TEST(row_run, name) { name(); }      \
  TEST(packed_run, name) {             \
    test_packing = ROW_PACKING_ALWAYS; \
    name();                            \
  }                                    \
  static void name(void)

/* Frames are decoded through a cache that is too small for all of them. */
static void make_cache(TestExtents *t) {
  if (test_packing) CHECK_OK(block_cache_create(256 << 10, &t->cache));
}

/* ---- one run, whole ---- */

static void check_gets(const TestExtents *t, const TestRows *rows) {
  for (size_t i = 0; i < rows->count; i++) {
    Bytes key = rows->rows[i].key;
    uint64_t hash = hash_key(key.data, key.length);
    RowView view;
    RowPin pin;
    bool found;
    row_run_prefetch(t->run, hash);
    CHECK_OK(row_run_get(t->run, hash, key.data, key.length, &view, &pin, &found));
    CHECK(found);
    test_check_row(t->run, &view, &rows->rows[i]);
    row_pin_release(&pin);
  }
}

static void check_walks(const TestExtents *t, const TestRows *rows) {
  RowCursor c;
  row_cursor_open(&c, t->run);
  CHECK_OK(row_cursor_first(&c));
  for (size_t i = 0; i < rows->count; i++) {
    CHECK(c.valid);
    test_check_row(t->run, &c.row, &rows->rows[i]);
    CHECK_OK(row_cursor_next(&c));
  }
  CHECK(!c.valid);
  CHECK_OK(row_cursor_last(&c));
  for (size_t i = rows->count; i-- > 0;) {
    CHECK(c.valid);
    test_check_row(t->run, &c.row, &rows->rows[i]);
    CHECK_OK(row_cursor_prev(&c));
  }
  CHECK(!c.valid);
  row_cursor_close(&c);
}

/* The cursor stands on row `at` of the array, or at an end when that is outside. */
static void check_at(const TestExtents *t, const RowCursor *c, const TestRows *rows, size_t at) {
  CHECK_INT(c->valid, at < rows->count);
  if (at < rows->count) test_check_row(t->run, &c->row, &rows->rows[at]);
}

/* Seeks to random keys, present and absent, and wanders from there. */
static void check_seeks(const TestExtents *t, const TestRows *rows, uint64_t *seed, uint32_t kind, uint64_t rounds) {
  RowCursor c;
  row_cursor_open(&c, t->run);
  for (uint64_t round = 0; round < rounds; round++) {
    Bytes random_key = test_key(seed, kind), key = random_key;
    if (rows->count && test_random_below(seed, 2)) key = rows->rows[test_random_below(seed, rows->count)].key;
    if (test_random_below(seed, 3) == 0 && key.length > 1) key.length -= 1 + test_random_below(seed, key.length - 1);
    size_t at = test_rows_lower(rows, key);
    if (test_random_below(seed, 2)) {
      CHECK_OK(row_cursor_seek(&c, key.data, key.length));
    } else {
      CHECK_OK(row_cursor_seek_last(&c, key.data, key.length));
      bool equal = at < rows->count &&
                   bytes_compare(rows->rows[at].key.data, rows->rows[at].key.length, key.data, key.length) == 0;
      at -= !equal; /* before the first: SIZE_MAX, outside */
    }
    check_at(t, &c, rows, at);
    for (uint64_t step = test_random_below(seed, 40); c.valid && step; step--) {
      bool forward = test_random_below(seed, 3) != 0;
      CHECK_OK(forward ? row_cursor_next(&c) : row_cursor_prev(&c));
      at = forward ? at + 1 : at - 1;
      check_at(t, &c, rows, at);
    }
    free((void *)random_key.data);
  }
  row_cursor_close(&c);
}

static void check_misses(const TestExtents *t, const TestRows *rows, uint64_t *seed, uint32_t kind) {
  for (int i = 0; i < 500; i++) {
    Bytes key = test_key(seed, kind);
    size_t at = test_rows_lower(rows, key);
    bool there =
      at < rows->count && bytes_compare(rows->rows[at].key.data, rows->rows[at].key.length, key.data, key.length) == 0;
    RowView view;
    RowPin pin;
    bool found;
    CHECK_OK(row_run_get(t->run, hash_key(key.data, key.length), key.data, key.length, &view, &pin, &found));
    CHECK_INT(found, there);
    row_pin_release(&pin);
    free((void *)key.data);
  }
}

static void check_summary(const TestExtents *t, const TestRows *rows) {
  RowRunSummary expected = { .expiry_min = EXPIRY_NEVER };
  for (size_t i = 0; i < rows->count; i++) {
    const TestRow *r = &rows->rows[i];
    expected.row_count++;
    expected.tombstone_count += r->tombstone;
    expected.external_count += r->value.length > VALUE_INLINE_MAX;
    expected.key_bytes += r->key.length;
    expected.value_bytes += r->value.length;
    if (r->expiry == EXPIRY_NEVER) continue;
    if (!expected.expiring_count || r->expiry > expected.expiry_max) expected.expiry_max = r->expiry;
    if (!expected.expiring_count || r->expiry < expected.expiry_min) expected.expiry_min = r->expiry;
    expected.expiring_count++;
  }
  for (uint32_t i = 0; i < t->count; i++) expected.extent_bytes += t->extents[i].length;
  const RowRunSummary *told[] = { row_run_summary(t->run), &t->summary };
  for (int i = 0; i < 2; i++) {
    CHECK_INT(told[i]->row_count, expected.row_count);
    CHECK_INT(told[i]->tombstone_count, expected.tombstone_count);
    CHECK_INT(told[i]->external_count, expected.external_count);
    CHECK_INT(told[i]->expiring_count, expected.expiring_count);
    CHECK_INT(told[i]->expiry_min, expected.expiry_min);
    CHECK_INT(told[i]->expiry_max, expected.expiry_max);
    CHECK_INT(told[i]->key_bytes, expected.key_bytes);
    CHECK_INT(told[i]->value_bytes, expected.value_bytes);
    CHECK_INT(told[i]->extent_bytes, expected.extent_bytes);
  }
  if (!rows->count) return;
  Bytes first = told[0]->first_key, last = told[0]->last_key;
  CHECK_INT(bytes_compare(first.data, first.length, rows->rows[0].key.data, rows->rows[0].key.length), 0);
  const TestRow *end = &rows->rows[rows->count - 1];
  CHECK_INT(bytes_compare(last.data, last.length, end->key.data, end->key.length), 0);
}

static void check_run(TestRows *rows, uint64_t *seed, uint32_t kind, const RowRunOptions *options) {
  TestExtents t = { 0 };
  make_cache(&t);
  CHECK_OK(test_write(&t, rows, options));
  for (SourceKind source = 0; source < SOURCE_KINDS; source++) {
    CHECK_OK(test_open(&t, source));
    check_summary(&t, rows);
    check_gets(&t, rows);
    check_walks(&t, rows);
    check_seeks(&t, rows, seed, kind, 100 + test_scaled(300));
    check_misses(&t, rows, seed, kind);
    const char *why = NULL;
    CHECK_OK(row_run_check(t.run, &why));
    row_run_close(t.run);
    t.run = NULL;
  }
  test_extents_free(&t);
}

TEST_OF_BOTH(every_row_is_found_by_every_way) {
  static const size_t counts[] = { 1, 2, 10, 15, 16, 17, 31, 32, 33, 1359, 1360, 1361, 3000 };
  static const RowRunOptions small = { .piece_bytes = 8192, .value_extent_bytes = 100000 };
  uint64_t seed = 1;
  for (uint32_t kind = 0; kind < 4; kind++) {
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
      TestRows rows = test_rows(&seed, counts[i], kind, 150, i % 2 ? 50 : 0);
      check_run(&rows, &seed, kind, i % 3 ? &small : NULL);
      test_rows_free(&rows);
    }
  }
}

TEST_OF_BOTH(keys_up_to_the_longest) {
  static const RowRunOptions small = { .piece_bytes = 300000, .value_extent_bytes = 1 };
  uint64_t seed = 2;
  for (size_t count = 1; count <= 256; count *= 4) {
    TestRows rows = test_rows(&seed, count, 4, 70000, 10);
    check_run(&rows, &seed, 4, count % 2 ? NULL : &small);
    test_rows_free(&rows);
  }
}

TEST_OF_BOTH(a_single_key_of_the_longest_length) {
  uint64_t seed = 3;
  TestRows rows = { malloc(sizeof(TestRow)), 1 };
  uint8_t *key = malloc(KEY_BYTES_MAX);
  CHECK(rows.rows && key);
  memset(key, 0xff, KEY_BYTES_MAX);
  rows.rows[0] = (TestRow){ { key, KEY_BYTES_MAX }, test_value(&seed, 5), EXPIRY_NEVER, false };
  check_run(&rows, &seed, 4, NULL);
  test_rows_free(&rows);
}

TEST_OF_BOTH(a_hundred_thousand_rows) {
  uint64_t seed = 4;
  TestRows rows = test_rows(&seed, test_scaled(100000), 0, 100, 5000);
  check_run(&rows, &seed, 0, NULL);
  test_rows_free(&rows);
}

TEST_OF_BOTH(no_rows_make_no_extents) {
  uint64_t seed = 5;
  TestRows rows = { NULL, 0 };
  TestExtents t = { 0 };
  CHECK_OK(test_write(&t, &rows, NULL));
  CHECK_INT(t.count, 0);
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  CHECK_INT(row_run_summary(t.run)->row_count, 0);
  check_walks(&t, &rows);
  check_seeks(&t, &rows, &seed, 1, 50);
  check_misses(&t, &rows, &seed, 1);
  const char *why;
  CHECK_OK(row_run_check(t.run, &why));
  test_extents_free(&t);
}

TEST_OF_BOTH(a_miss_ends_at_its_bucket) {
  uint64_t seed = 6;
  TestRows rows = test_rows(&seed, 5000, 0, 20, 0);
  TestExtents t = { 0 };
  CHECK_OK(test_write(&t, &rows, NULL));
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  counter_reset(COUNTER_fingerprint_misses);
  check_misses(&t, &rows, &seed, 3);
  CHECK(counter_get(COUNTER_fingerprint_misses) >=
        495); /* ten fingerprints of 16 bits: one in 6,500 goes on to a row */
  test_extents_free(&t);
  test_rows_free(&rows);
}

TEST(row_run, equal_fingerprints_are_told_apart_by_their_keys) {
  /* Slots share a bucket and a fingerprint only by chance: enough keys that it happens. */
  TestRows rows = { malloc(500000 * sizeof(TestRow)), 0 };
  CHECK(rows.rows != NULL);
  for (uint32_t i = 0; i < 500000; i++) {
    uint8_t *key = malloc(4), *value = malloc(1);
    CHECK(key && value);
    uint32_t big = __builtin_bswap32(i);
    memcpy(key, &big, 4);
    rows.rows[rows.count++] = (TestRow){ { key, 4 }, { value, 0 }, EXPIRY_NEVER, false };
  }
  TestExtents t = { 0 };
  CHECK_OK(test_write(&t, &rows, NULL));
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  CHECK(t.count > 3); /* several pieces, and an index of more than one extent */
  check_gets(&t, &rows);
  const char *why;
  CHECK_OK(row_run_check(t.run, &why));
  test_extents_free(&t);
  test_rows_free(&rows);
}

/* ---- what the writer refuses ---- */

static Bytes text(const char *s) { return (Bytes){ (const uint8_t *)s, strlen(s) }; }

TEST_OF_BOTH(the_writer_refuses_disorder_and_sizes) {
  TestExtents t = { 0 };
  RunSink sink = { &t, test_emit };
  RowRunWriter *w;
  CHECK_OK(row_run_writer_create(&sink, NULL, &w));
  CHECK_OK(row_run_writer_add(w, text("b"), text("1"), EXPIRY_NEVER, false));
  CHECK_STATUS(row_run_writer_add(w, text("b"), text("2"), EXPIRY_NEVER, false), KVSTORE_ERROR);
  CHECK_STATUS(row_run_writer_add(w, text("a"), text("2"), EXPIRY_NEVER, false), KVSTORE_ERROR);
  CHECK_STATUS(row_run_writer_add(w, text(""), text("2"), EXPIRY_NEVER, false), KVSTORE_ERROR);
  CHECK_STATUS(row_run_writer_add(w, text("c"), text("2"), EXPIRY_NEVER, true), KVSTORE_ERROR);
  CHECK_STATUS(row_run_writer_add(w, (Bytes){ (const uint8_t *)"c", KEY_BYTES_MAX + 1 }, text(""), EXPIRY_NEVER, false),
               KVSTORE_ERROR);
  CHECK_STATUS(row_run_writer_add(w, text("c"), (Bytes){ (const uint8_t *)"c", (size_t)VALUE_BYTES_CEILING + 1 },
                                  EXPIRY_NEVER, false),
               KVSTORE_ERROR);
  CHECK_OK(row_run_writer_add(w, text("c"), text("3"), 7, false));
  CHECK_INT(row_run_writer_rows(w), 2);
  CHECK(row_run_writer_bytes(w) > 24);
  CHECK_OK(row_run_writer_finish(w, &t.directory, NULL));
  row_run_writer_destroy(w);
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  CHECK_INT(row_run_summary(t.run)->row_count, 2);
  const char *why;
  CHECK_OK(row_run_check(t.run, &why));
  test_extents_free(&t);
}

static Status count_emits(void *context, const uint8_t *bytes, size_t length, uint32_t *ordinal) {
  (void)bytes;
  (void)length;
  *ordinal = (*(uint32_t *)context)++;
  return KVSTORE_OK;
}

TEST(row_run, a_full_run_says_so_and_can_be_finished) {
  uint32_t emitted = 0;
  RunSink sink = { &emitted, count_emits };
  RowRunOptions one_row_a_piece = { .piece_bytes = 1 };
  RowRunWriter *w;
  CHECK_OK(row_run_writer_create(&sink, &one_row_a_piece, &w));
  uint32_t rows = 0;
  Status status = KVSTORE_OK;
  for (; status == KVSTORE_OK && rows < 10000; rows++) {
    uint32_t key = __builtin_bswap32(rows);
    status = row_run_writer_add(w, (Bytes){ (const uint8_t *)&key, 4 }, text(""), EXPIRY_NEVER, false);
  }
  CHECK_INT(status, KVSTORE_LIMIT);
  CHECK_INT(rows, 4097);
  Buffer directory = { 0 };
  RowRunSummary summary;
  CHECK_OK(row_run_writer_finish(w, &directory, &summary));
  CHECK_INT(summary.row_count, 4096);
  CHECK_INT(emitted, 4097); /* and the index */
  buffer_release(&directory);
  row_run_writer_destroy(w);
}

TEST_OF_BOTH(a_failing_sink_is_reported) {
  uint64_t seed = 7;
  TestRows rows = test_rows(&seed, 500, 3, 100, 20);
  RowRunOptions small = { .piece_bytes = 4096, .value_extent_bytes = 300000 };
  Status status = KVSTORE_FULL;
  uint32_t fail_at = 1;
  for (; status == KVSTORE_FULL; fail_at++) {
    TestExtents t = { .fail_at = fail_at };
    status = test_write(&t, &rows, &small);
    test_extents_free(&t);
  }
  CHECK_INT(status, KVSTORE_OK);
  CHECK(fail_at > 10);
  test_rows_free(&rows);
}

/* ---- no memory, no reading ---- */

TEST_OF_BOTH(every_failed_allocation_is_survived) {
  uint64_t seed = 8, n = 1;
  TestRows rows = test_rows(&seed, 1500, 3, 60, 300);
  RowRunOptions small = { .piece_bytes = 16384, .value_extent_bytes = 100000 };
  uint64_t held = memory_blocks_held();
  for (bool reached = true; reached; n++) {
    TestExtents t = { 0 };
    make_cache(&t);
    failing_memory_install(n, true); /* sticky: a growing array tries again with less */
    Status status = test_write(&t, &rows, &small);
    if (status == KVSTORE_OK) status = test_open(&t, SOURCE_CACHED);
    const char *why = NULL;
    if (status == KVSTORE_OK) status = row_run_check(t.run, &why);
    reached = failing_memory_failures() > 0;
    failing_memory_remove();
    CHECK_INT(status, reached ? KVSTORE_NOMEM : KVSTORE_OK);
    test_extents_free(&t);
    CHECK_INT(memory_blocks_held(), held);
  }
  CHECK(n > 30);
  test_rows_free(&rows);
}

TEST_OF_BOTH(every_failed_read_is_reported_and_holds_no_pin) {
  uint64_t seed = 9;
  TestRows rows = test_rows(&seed, 300, 3, 500, 30);
  TestExtents t = { 0 };
  RowRunOptions small = { .piece_bytes = 40000 };
  make_cache(&t);
  CHECK_OK(test_write(&t, &rows, &small));
  CHECK_OK(test_open(&t, SOURCE_CACHED));
  Status status = KVSTORE_IO;
  uint64_t n = 1;
  for (; status == KVSTORE_IO; n++) {
    t.reads = 0;
    t.reads_failed_from = n;
    RowCursor c;
    row_cursor_open(&c, t.run);
    Bytes key = rows.rows[rows.count / 2].key;
    status = row_cursor_seek(&c, key.data, key.length);
    for (int i = 0; status == KVSTORE_OK && c.valid && i < 50; i++) status = row_cursor_prev(&c);
    if (status == KVSTORE_OK) status = row_cursor_last(&c);
    CHECK(status == KVSTORE_OK || !c.valid);
    row_cursor_close(&c);
    const char *why;
    if (status == KVSTORE_OK) status = row_run_check(t.run, &why);
    CHECK_INT(t.pins, 0);
  }
  CHECK_INT(status, KVSTORE_OK);
  CHECK(n > 300);
  test_extents_free(&t);
  test_rows_free(&rows);
}

/* ---- damage ---- */

/* The row is right; an external value may be unreadable. */
static void check_damaged_row(const RowRun *run, const RowView *view, const TestRow *row) {
  RowPin pin;
  Bytes value;
  if (view->external && row_run_value(run, view, &value, &pin) == KVSTORE_CORRUPT) return;
  if (view->external) row_pin_release(&pin);
  test_check_row(run, view, row);
}

/* Uses a run in every way; whatever it says must be a row, nothing or an error. */
static void use_damaged(TestExtents *t, const TestRows *rows, bool exact) {
  RowCursor c;
  row_cursor_open(&c, t->run);
  size_t steps = 0, limit = rows->count * 4 + 100; /* damage may lengthen a walk, not by much */
  bool whole = row_cursor_first(&c) == KVSTORE_OK;
  for (; whole && c.valid && steps < limit; steps++) {
    if (exact) check_damaged_row(t->run, &c.row, &rows->rows[steps]);
    whole = row_cursor_next(&c) == KVSTORE_OK;
  }
  if (row_cursor_last(&c) == KVSTORE_OK)
    for (steps = 0; c.valid && steps < limit && row_cursor_prev(&c) == KVSTORE_OK; steps++) {}
  CHECK(steps < limit);
  for (size_t i = 0; i < rows->count; i += 7) {
    const TestRow *r = &rows->rows[i];
    RowView view;
    RowPin pin;
    bool found;
    Status status =
      row_run_get(t->run, hash_key(r->key.data, r->key.length), r->key.data, r->key.length, &view, &pin, &found);
    CHECK(status == KVSTORE_OK || status == KVSTORE_CORRUPT);
    if (status == KVSTORE_OK && found) {
      RowPin value_pin;
      Bytes value;
      status = row_run_value(t->run, &view, &value, &value_pin);
      if (status == KVSTORE_OK) {
        if (exact)
          CHECK_BYTES(value.data, r->value.data, r->value.length);
        else
          CHECK(checksum64(value.data, value.length, 0) != 1); /* reads every byte */
        row_pin_release(&value_pin);
      }
    }
    if (exact) CHECK(status != KVSTORE_OK || found);
    row_pin_release(&pin);
    status = row_cursor_seek_last(&c, r->key.data, r->key.length);
    if (exact && status == KVSTORE_OK) check_damaged_row(t->run, &c.row, r);
  }
  row_cursor_close(&c);
  const char *why;
  Status status = row_run_check(t->run, &why);
  CHECK(status == KVSTORE_OK || status == KVSTORE_CORRUPT);
}

static void damaged_run(TestExtents *t, TestRows *rows) {
  uint64_t seed = 10;
  RowRunOptions small = { .piece_bytes = 6000, .value_extent_bytes = 100000 };
  *rows = test_rows(&seed, 300, 3, 60, 100);
  make_cache(t);
  CHECK_OK(test_write(t, rows, &small));
}

TEST_OF_BOTH(every_truncated_directory_is_refused) {
  TestExtents t = { 0 };
  TestRows rows;
  damaged_run(&t, &rows);
  test_sources(&t, SOURCE_PLAIN);
  for (size_t length = 0; length < t.directory.length; length++) {
    uint8_t *copy = malloc(length + 1); /* its own block, so that a byte too far is seen */
    CHECK(copy != NULL);
    memcpy(copy, t.directory.data, length);
    CHECK_STATUS(row_run_open(copy, length, &t.sources, &t.run), KVSTORE_CORRUPT);
    free(copy);
  }
  test_extents_free(&t);
  test_rows_free(&rows);
}

TEST_OF_BOTH(a_directory_names_only_extents_that_are_there) {
  TestExtents t = { 0 };
  TestRows rows;
  damaged_run(&t, &rows);
  test_sources(&t, SOURCE_PLAIN);
  for (t.sources.count = 0; t.sources.count < t.count; t.sources.count++)
    CHECK_STATUS(row_run_open(t.directory.data, t.directory.length, &t.sources, &t.run), KVSTORE_CORRUPT);
  for (uint32_t i = 0; i < t.count; i++) { /* each one cut short by 4 bytes */
    t.sources.sources[i].length -= 4;
    CHECK_STATUS(row_run_open(t.directory.data, t.directory.length, &t.sources, &t.run), KVSTORE_CORRUPT);
    t.sources.sources[i].length += 4;
  }
  t.directory.data[4] |= 2; /* a feature that this version does not know */
  CHECK_STATUS(row_run_open(t.directory.data, t.directory.length, &t.sources, &t.run), KVSTORE_UNSUPPORTED);
  test_extents_free(&t);
  test_rows_free(&rows);
}

TEST_OF_BOTH(a_flipped_byte_under_checksums_is_never_a_wrong_row) {
  TestExtents t = { 0 };
  TestRows rows;
  damaged_run(&t, &rows);
  uint64_t seed = 11;
  for (uint64_t round = test_scaled(2000); round > 0; round--) {
    TestExtent *e = &t.extents[test_random_below(&seed, t.count)];
    size_t at = test_random_below(&seed, e->length);
    uint8_t flip = (uint8_t)(1u << test_random_below(&seed, 8));
    e->bytes[at] ^= flip;
    CHECK_OK(test_open(&t, SOURCE_CHECKED));
    use_damaged(&t, &rows, true);
    row_run_close(t.run);
    t.run = NULL;
    e->bytes[at] ^= flip;
  }
  test_extents_free(&t);
  test_rows_free(&rows);
}

TEST_OF_BOTH(crafted_bytes_never_lead_outside) {
  TestExtents t = { 0 };
  TestRows rows;
  damaged_run(&t, &rows);
  uint64_t seed = 12;
  uint64_t refused = 0, total = test_scaled(10000);
  for (uint64_t round = 0; round < total; round++) {
    uint32_t which = (uint32_t)test_random_below(&seed, t.count + 1);
    uint8_t *bytes = which == t.count ? t.directory.data : t.extents[which].bytes;
    size_t length = which == t.count ? t.directory.length : t.extents[which].length;
    size_t at = test_random_below(&seed, length < 4000 || round % 2 ? length : 4000);
    uint8_t was = bytes[at];
    bytes[at] = test_random_below(&seed, 3) ? (uint8_t)test_random(&seed) : test_random_below(&seed, 2) ? 0xff : 0;
    Status status = test_open(&t, round % 4 ? SOURCE_PLAIN : SOURCE_CACHED);
    if (status == KVSTORE_OK) {
      use_damaged(&t, &rows, false);
    } else {
      CHECK(status == KVSTORE_CORRUPT || status == KVSTORE_UNSUPPORTED);
      refused++;
    }
    row_run_close(t.run);
    t.run = NULL;
    CHECK_INT(t.pins, 0);
    bytes[at] = was;
  }
  CHECK(refused > 0 && refused < total);
  test_extents_free(&t);
  test_rows_free(&rows);
}

/* The check names each kind of damage that no checksum shows. */
static void check_finds(TestExtents *t, uint32_t extent, size_t at, uint8_t flip) {
  const char *why = NULL;
  uint8_t *byte = extent == UINT32_MAX ? t->directory.data + at : t->extents[extent].bytes + at;
  *byte ^= flip;
  Status status = test_open(t, SOURCE_PLAIN);
  if (status == KVSTORE_OK) status = row_run_check(t->run, &why);
  CHECK_INT(status, KVSTORE_CORRUPT);
  row_run_close(t->run);
  t->run = NULL;
  *byte ^= flip;
}

TEST(row_run, check_finds_every_flipped_bit) {
  uint64_t seed = 13;
  TestRows rows = test_rows(&seed, 40, 1, 0, 0); /* no values: every byte of a piece means something */
  TestExtents t = { 0 };
  CHECK_OK(test_write(&t, &rows, NULL));
  CHECK_INT(t.count, 2);
  size_t buckets = (rows.count + 6) / 7 * 64, groups = (rows.count + 15) / 16;
  for (size_t at = 0; at < t.extents[0].length; at++)
    for (int bit = 0; bit < 8; bit++) {
      /* an expiry between others changes nothing that could be compared */
      const char *why = NULL;
      t.extents[0].bytes[at] ^= (uint8_t)(1 << bit);
      CHECK_OK(test_open(&t, SOURCE_PLAIN));
      Status status = row_run_check(t.run, &why);
      if (status == KVSTORE_OK)
        CHECK(row_run_summary(t.run)->expiring_count > 0);
      else
        CHECK(why != NULL);
      row_run_close(t.run);
      t.run = NULL;
      t.extents[0].bytes[at] ^= (uint8_t)(1 << bit);
    }
  size_t sparse = (buckets + 1023) / 1024 * 1024;
  for (size_t g = 0; g < groups; g++) {
    check_finds(&t, 1, sparse + g * 8 + 1, 1);      /* a head */
    check_finds(&t, 1, sparse + 85 * 8 + g * 4, 1); /* a position */
  }
  check_finds(&t, 1, sparse + 1020, 4);                                   /* skip */
  check_finds(&t, 1, sparse + 1022, 1);                                   /* count */
  for (size_t b = 0; b < buckets; b += 64) check_finds(&t, 1, b + 20, 1); /* a bucket's count */
  for (size_t field = 8; field < 40; field += 8)
    check_finds(&t, UINT32_MAX, field, 1); /* rows, tombstones, expiring, external */
  for (size_t field = 40; field < 72; field += 8) check_finds(&t, UINT32_MAX, field, 1); /* expiries, bytes */
  check_finds(&t, UINT32_MAX, t.directory.length - 1, 1);                                /* a fence */
  test_extents_free(&t);
  test_rows_free(&rows);
}
