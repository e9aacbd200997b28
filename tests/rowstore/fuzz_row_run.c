/* fuzz_row_run.c - any bytes as the directory and the extents of a row run: refused, or used in every way without a
 * step outside them.
 *
 * Input: u16 length of the directory | the directory | extents, each u16 length | bytes. An input that begins with 0xff
 * 0xff is a small run of our own, changed, one with 0xfe 0xff a packed one: each three bytes after it are a place
 * (u16) in the run's bytes and what to put there. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "rowstore/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXTENTS_MAX = 16, STEPS_MAX = 5000 };

typedef struct FuzzRun {
  uint8_t *bytes[EXTENTS_MAX + 1]; /* the directory last */
  size_t lengths[EXTENTS_MAX + 1];
  uint32_t count;
} FuzzRun;

static Status keep_extent(void *context, const uint8_t *bytes, size_t length, uint32_t *ordinal) {
  FuzzRun *f = context;
  if (f->count == EXTENTS_MAX) return status_fail(KVSTORE_FULL, "more extents than expected");
  f->bytes[f->count] = malloc(length);
  if (!f->bytes[f->count]) abort();
  memcpy(f->bytes[f->count], bytes, length);
  f->lengths[f->count] = length;
  *ordinal = f->count++;
  return KVSTORE_OK;
}

static Status write_rows(RowRunWriter *w) {
  static const uint8_t long_value[VALUE_INLINE_MAX + 10];
  for (uint32_t i = 0; i < 120; i++) {
    uint8_t key[8] = { 'k', 'e', 'y', (uint8_t)(i / 10), (uint8_t)i };
    Bytes value = { long_value, i == 60 ? sizeof long_value : i % 7 };
    TRY(row_run_writer_add(w, (Bytes){ key, 5 + i % 3 }, i % 9 ? value : (Bytes){ NULL, 0 }, i % 4 ? EXPIRY_NEVER : i,
                           i % 9 == 0));
  }
  return KVSTORE_OK;
}

static void own_run(FuzzRun *f, uint32_t packing) {
  RunSink sink = { f, keep_extent };
  RowRunOptions small = { .piece_bytes = 1000, .packing = packing };
  RowRunWriter *w = NULL;
  Buffer directory = { 0 };
  if (row_run_writer_create(&sink, &small, &w) != KVSTORE_OK || write_rows(w) != KVSTORE_OK ||
      row_run_writer_finish(w, &directory, NULL) != KVSTORE_OK)
    abort();
  row_run_writer_destroy(w);
  uint32_t ordinal, extents = f->count;
  if (keep_extent(f, directory.data, directory.length, &ordinal) != KVSTORE_OK) abort();
  f->count = extents;
  buffer_release(&directory);
}

static void change(FuzzRun *f, Reader *in) {
  while (reader_left(in) >= 3) {
    size_t at = reader_u16(in);
    uint8_t byte = reader_u8(in);
    for (uint32_t i = 0; i <= f->count; i++) {
      if (f->lengths[i] > VALUE_INLINE_MAX) continue; /* the value extent means nothing */
      if (at < f->lengths[i]) {
        f->bytes[i][at] = byte;
        break;
      }
      at -= f->lengths[i];
    }
  }
}

static void take(FuzzRun *f, uint32_t which, Reader *in, size_t wanted) {
  size_t length = wanted < reader_left(in) ? wanted : reader_left(in);
  const uint8_t *bytes = reader_take(in, length);
  f->bytes[which] = malloc(length + 1);
  if (!f->bytes[which]) abort();
  if (length) memcpy(f->bytes[which], bytes, length);
  f->lengths[which] = length;
}

static void foreign_run(FuzzRun *f, Reader *in, size_t directory_length) {
  Reader directory = *in;
  (void)reader_take(in, directory_length < reader_left(in) ? directory_length : reader_left(in));
  while (f->count < EXTENTS_MAX - 1 && reader_left(in) > 2) {
    uint32_t which = f->count++;
    take(f, which, in, reader_u16(in));
  }
  take(f, f->count, &directory, directory_length);
}

static void use_row(const RowRun *run, const RowView *view) {
  RowPin pin, value_pin;
  RowView again;
  bool found;
  Bytes value;
  if (row_run_get(run, hash_key(view->key.data, view->key.length), view->key.data, view->key.length, &again, &pin,
                  &found) == KVSTORE_OK)
    row_pin_release(&pin);
  if (row_run_value(run, view, &value, &value_pin) != KVSTORE_OK) return;
  if (checksum64(value.data, value.length, 0) == 1 && value.length == 1) abort(); /* every byte is read */
  row_pin_release(&value_pin);
}

static void use(RowRun *run) {
  const char *why;
  if (row_run_check(run, &why) == KVSTORE_CORRUPT && !why) abort();
  MergeLayer layer = { .run = run };
  MergeCursor c;
  MergeOptions options = { .tombstones = true };
  if (merge_cursor_open(&c, &layer, 1, &options) != KVSTORE_OK) return;
  Status status = merge_cursor_first(&c);
  for (int i = 0; status == KVSTORE_OK && c.valid && i < STEPS_MAX; i++) {
    use_row(run, &c.row.view);
    status = merge_cursor_next(&c);
  }
  status = merge_cursor_last(&c);
  for (int i = 0; status == KVSTORE_OK && c.valid && i < STEPS_MAX; i++) status = merge_cursor_prev(&c);
  for (uint8_t i = 0; i < 120; i += 5) {
    const uint8_t key[5] = { 'k', 'e', 'y', i / 10, i };
    (void)(i % 2 ? merge_cursor_seek(&c, key, 5) : merge_cursor_seek_last(&c, key, 5));
  }
  merge_cursor_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Reader in = reader_over(data, size);
  FuzzRun f = { 0 };
  uint16_t first = reader_u16(&in);
  if (first >= UINT16_MAX - 1) {
    own_run(&f, first == UINT16_MAX ? ROW_PACKING_NONE : ROW_PACKING_ALWAYS);
    change(&f, &in);
  } else {
    foreign_run(&f, &in, first);
  }
  Source sources[EXTENTS_MAX];
  for (uint32_t i = 0; i < f.count; i++) sources[i] = source_over_memory(f.bytes[i], f.lengths[i]);
  RunSources run_sources = { sources, f.count };
  RowRun *run = NULL;
  if (row_run_open(f.bytes[f.count], f.lengths[f.count], &run_sources, &run) == KVSTORE_OK) use(run);
  row_run_close(run);
  for (uint32_t i = 0; i <= f.count; i++) free(f.bytes[i]);
  return 0;
}
