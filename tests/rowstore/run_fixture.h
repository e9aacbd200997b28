/* run_fixture.h - sorted arrays of random rows, and row runs made of them in memory, behind three kinds of sources. */
#ifndef COLONNADE_TESTS_ROWSTORE_RUN_FIXTURE_H
#define COLONNADE_TESTS_ROWSTORE_RUN_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "rowstore/row_run.h"
#include "tests/support/test.h"

/* ---- rows ---- */
typedef struct TestRow {
  Bytes key, value;
  int64_t expiry;
  bool tombstone;
} TestRow;

typedef struct TestRows {
  TestRow *rows; /* ascending by key */
  size_t count;
} TestRows;

static inline int test_row_compare(const void *a, const void *b) {
  const TestRow *x = a, *y = b;
  return bytes_compare(x->key.data, x->key.length, y->key.data, y->key.length);
}

static inline void test_row_free(TestRow *row) {
  free((void *)row->key.data);
  free((void *)row->value.data);
}

/* A key of the shape `kind`: 0 counters, 1 few letters (prefixes of each other, 0x00 and 0xff), 2 long shared prefixes,
 * 3 random bytes, 4 up to the longest. */
static inline Bytes test_key(uint64_t *seed, uint32_t kind) {
  static const uint8_t letters[4] = { 0x00, 0xff, 'a', 'b' };
  size_t length = kind == 0   ? 16
                  : kind == 1 ? 1 + test_random_below(seed, 12)
                  : kind == 2 ? 40 + test_random_below(seed, 9)
                  : kind == 3 ? 1 + test_random_below(seed, 30)
                              : 1 + test_random_below(seed, KEY_BYTES_MAX);
  if (kind == 4 && test_random_below(seed, 4) == 0) length = KEY_BYTES_MAX;
  uint8_t *key = malloc(length);
  CHECK(key != NULL);
  memset(key, 'p', length);
  if (kind == 0) {
    for (size_t i = 0; i < 8; i++) key[i] = 0;
    uint64_t number = __builtin_bswap64(test_random_below(seed, 10000000));
    memcpy(key + 8, &number, 8);
  } else if (kind == 1) {
    for (size_t i = 0; i < length; i++) key[i] = letters[test_random_below(seed, 4)];
  } else {
    size_t from = kind == 3 ? 0 : length > 10 ? length - 10 : 0;
    for (size_t i = from; i < length; i++) key[i] = (uint8_t)test_random(seed);
  }
  return (Bytes){ key, length };
}

static inline Bytes test_value(uint64_t *seed, size_t length_max) {
  size_t length = test_random_below(seed, length_max + 1);
  uint8_t *value = malloc(length + 1);
  CHECK(value != NULL);
  uint64_t number = test_random(seed);
  for (size_t i = 0; i < length; i++) value[i] = (uint8_t)(number >> (i % 8 * 8)) ^ (uint8_t)(i >> 8);
  return (Bytes){ value, length };
}

/* Some `count` rows (equal keys are left out). One in eight is a tombstone, one in four has an expiry; one in
 * `long_every` (0: none) has a value of up to 200 KiB, the others of up to value_max. */
static inline TestRows test_rows(uint64_t *seed, size_t count, uint32_t kind, size_t value_max, size_t long_every) {
  TestRows out = { malloc((count + 1) * sizeof(TestRow)), 0 };
  CHECK(out.rows != NULL);
  for (size_t i = 0; i < count; i++) {
    TestRow row = { .key = test_key(seed, kind), .expiry = EXPIRY_NEVER, .tombstone = test_random_below(seed, 8) == 0 };
    bool is_long = long_every && test_random_below(seed, long_every) == 0;
    row.value = test_value(seed, row.tombstone ? 0 : is_long ? 200u << 10 : value_max);
    if (test_random_below(seed, 4) == 0) row.expiry = (int64_t)test_random_below(seed, 1000) - 100;
    out.rows[out.count++] = row;
  }
  qsort(out.rows, out.count, sizeof *out.rows, test_row_compare);
  size_t kept = 0;
  for (size_t i = 0; i < out.count; i++) {
    if (kept && test_row_compare(&out.rows[kept - 1], &out.rows[i]) == 0)
      test_row_free(&out.rows[i]);
    else
      out.rows[kept++] = out.rows[i];
  }
  out.count = kept;
  return out;
}

static inline void test_rows_free(TestRows *rows) {
  for (size_t i = 0; i < rows->count; i++) test_row_free(&rows->rows[i]);
  free(rows->rows);
  *rows = (TestRows){ 0 };
}

/* The place of the first row >= key. */
static inline size_t test_rows_lower(const TestRows *rows, Bytes key) {
  size_t low = 0, high = rows->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (bytes_compare(rows->rows[middle].key.data, rows->rows[middle].key.length, key.data, key.length) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* ---- sources ---- */
typedef enum SourceKind {
  SOURCE_PLAIN,   /* in memory, trusted */
  SOURCE_CACHED,  /* nothing is mapped: each block is a copy of its own, freed by its release */
  SOURCE_CHECKED, /* mapped, each unit compared with its checksum at the first touch */
  SOURCE_KINDS,
} SourceKind;

typedef struct TestExtent {
  uint8_t *bytes;
  size_t length;
  uint64_t *sums;
} TestExtent;

/* The extents and directory of a run. Zero-initialise. */
typedef struct TestExtents {
  TestExtent *extents;
  uint32_t count;
  uint32_t fail_at;           /* emit number (from 1) that fails; 0: none */
  uint64_t pins;              /* blocks not given back */
  uint64_t reads_failed_from; /* cached: block number (from 1) from which reads fail; 0: none */
  uint64_t reads;
  Buffer directory;
  RowRunSummary summary;
  RunSources sources;
  RowRun *run;
  BlockCache *cache; /* of the sources, where a test has made one */
} TestExtents;

/* ROW_PACKING_* of the runs that are written where the options do not say it. */
static uint32_t test_packing;

static inline Status test_emit(void *context, const uint8_t *bytes, size_t length, uint32_t *ordinal) {
  TestExtents *t = context;
  if (t->fail_at && t->count + 1 == t->fail_at) return status_fail(KVSTORE_FULL, "no space left for the test");
  t->extents = realloc(t->extents, (t->count + 1) * sizeof *t->extents);
  TestExtent *e = &t->extents[t->count];
  *e = (TestExtent){ malloc(length), length, calloc(length / UNIT_BYTES + 1, 8) };
  CHECK(e->bytes != NULL && e->sums != NULL);
  memcpy(e->bytes, bytes, length);
  for (size_t at = 0; at < length; at += UNIT_BYTES)
    e->sums[at / UNIT_BYTES] = checksum64(bytes + at, length - at < UNIT_BYTES ? length - at : UNIT_BYTES, at);
  *ordinal = t->count++;
  return KVSTORE_OK;
}

static inline TestExtent *test_extent_of(Source *source) {
  TestExtents *t = source->context;
  return &t->extents[source - t->sources.sources];
}

static inline Status test_cached_block(Source *s, uint64_t offset, size_t length, const uint8_t **bytes,
                                       SourcePin *pin) {
  TestExtents *t = s->context;
  pin->cached = NULL;
  if (offset > s->length || length > s->length - offset || !length)
    return status_fail(KVSTORE_CORRUPT, "%zu bytes at %llu leave an extent", length, (unsigned long long)offset);
  if (++t->reads >= t->reads_failed_from && t->reads_failed_from)
    return status_fail(KVSTORE_IO, "the test fails a read");
  pin->cached = malloc(length);
  CHECK(pin->cached != NULL);
  memcpy(pin->cached, test_extent_of(s)->bytes + offset, length);
  *bytes = pin->cached;
  t->pins++;
  return KVSTORE_OK;
}
static inline void test_cached_release(Source *s, SourcePin *pin) {
  free(pin->cached);
  pin->cached = NULL;
  ((TestExtents *)s->context)->pins--;
}

static inline Status test_checked_block(Source *s, uint64_t offset, size_t length, const uint8_t **bytes,
                                        SourcePin *pin) {
  const TestExtent *e = test_extent_of(s);
  pin->cached = NULL;
  if (offset > s->length || length > s->length - offset)
    return status_fail(KVSTORE_CORRUPT, "%zu bytes at %llu leave an extent", length, (unsigned long long)offset);
  for (uint64_t at = offset / UNIT_BYTES * UNIT_BYTES; at < offset + length; at += UNIT_BYTES) {
    size_t part = s->length - at < UNIT_BYTES ? s->length - at : UNIT_BYTES;
    if (checksum64(e->bytes + at, part, at) != e->sums[at / UNIT_BYTES])
      return status_fail(KVSTORE_CORRUPT, "unit %llu of an extent is damaged", (unsigned long long)(at / UNIT_BYTES));
    atomic_fetch_or_explicit(&s->verified[at / UNIT_BYTES / 64], UINT64_C(1) << (at / UNIT_BYTES % 64),
                             memory_order_release);
  }
  *bytes = s->base + offset;
  return KVSTORE_OK;
}
static inline void test_checked_release(Source *s, SourcePin *pin) {
  (void)s;
  (void)pin;
}

/* Sources of the kind over the extents; the former ones go. */
static inline void test_sources(TestExtents *t, SourceKind kind) {
  static const SourceMethods cached = { test_cached_block, test_cached_release };
  static const SourceMethods checked = { test_checked_block, test_checked_release };
  for (uint32_t i = 0; i < t->sources.count; i++) free((void *)t->sources.sources[i].verified);
  free(t->sources.sources);
  t->sources = (RunSources){ calloc(t->count + 1, sizeof(Source)), t->count };
  CHECK(t->sources.sources != NULL);
  for (uint32_t i = 0; i < t->count; i++) {
    Source *s = &t->sources.sources[i];
    *s = source_over_memory(t->extents[i].bytes, t->extents[i].length);
    s->context = t;
    s->cache = t->cache;
    s->number = t->cache ? block_cache_number(t->cache) : 0;
    if (kind == SOURCE_CACHED) s->methods = &cached, s->base = NULL;
    if (kind == SOURCE_CHECKED) {
      s->methods = &checked;
      s->verified = calloc(s->length / UNIT_BYTES / 64 + 1, 8);
      CHECK(s->verified != NULL);
    }
  }
}

static inline Status test_open(TestExtents *t, SourceKind kind) {
  test_sources(t, kind);
  return row_run_open(t->directory.data, t->directory.length, &t->sources, &t->run);
}

static inline Status test_write(TestExtents *t, const TestRows *rows, const RowRunOptions *options) {
  RunSink sink = { t, test_emit };
  RowRunWriter *w = NULL;
  RowRunOptions own = options ? *options : (RowRunOptions){ 0 };
  if (!own.packing) own.packing = test_packing;
  Status status = row_run_writer_create(&sink, &own, &w);
  for (size_t i = 0; status == KVSTORE_OK && i < rows->count; i++) {
    const TestRow *r = &rows->rows[i];
    status = row_run_writer_add(w, r->key, r->value, r->expiry, r->tombstone);
  }
  if (status == KVSTORE_OK) status = row_run_writer_finish(w, &t->directory, &t->summary);
  row_run_writer_destroy(w);
  t->summary.first_key = t->summary.last_key = (Bytes){ NULL, 0 }; /* they were the writer's */
  return status;
}

static inline void test_extents_free(TestExtents *t) {
  row_run_close(t->run);
  CHECK_INT(t->pins, 0);
  for (uint32_t i = 0; i < t->sources.count; i++) free((void *)t->sources.sources[i].verified);
  free(t->sources.sources);
  for (uint32_t i = 0; i < t->count; i++) {
    free(t->extents[i].bytes);
    free(t->extents[i].sums);
  }
  free(t->extents);
  block_cache_destroy(t->cache);
  buffer_release(&t->directory);
  *t = (TestExtents){ 0 };
}

static inline void test_check_row(const RowRun *run, const RowView *view, const TestRow *row) {
  CHECK_INT(view->key.length, row->key.length);
  CHECK_BYTES(view->key.data, row->key.data, row->key.length);
  CHECK_INT(view->tombstone, row->tombstone);
  CHECK_INT(view->expiry, row->expiry);
  CHECK_INT(view->external, row->value.length > VALUE_INLINE_MAX);
  CHECK_INT(view->value.length, row->value.length);
  Bytes value;
  RowPin pin;
  CHECK_OK(row_run_value(run, view, &value, &pin));
  CHECK_INT(value.length, row->value.length);
  CHECK_BYTES(value.data, row->value.data, row->value.length);
  row_pin_release(&pin);
}

#endif
