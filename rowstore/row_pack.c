#define ZSTD_STATIC_LINKING_ONLY /* contexts and dictionaries with an allocator of our own */
#include "rowstore/row_pack.h"

#include <string.h>
#include <zdict.h>
#include <zstd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "rowstore/row_run_internal.h"

enum {
  LEVEL = 3,
  TRAINING_ROWS_MIN = 100, /* fewer teach nothing */
  TRAINING_BYTES_MIN = 64 << 10,
};

struct RowPacker {
  ZSTD_CCtx *context;
  ZSTD_CDict *learnt; /* NULL: no dictionary */
  Buffer dictionary;
  Buffer frames;
  Buffer expiry_entries, expiry_codes;
  Buffer bound; /* room for one compressed frame */
  uint32_t frame_count;
};

static void *take(void *context, size_t size) {
  (void)context;
  return memory_allocate(size);
}
static void give(void *context, void *address) {
  (void)context;
  memory_release(address);
}
static const ZSTD_customMem own_memory = { take, give, NULL };

/* ---- the dictionary ---- */

/* The lengths of the sample's rows up to `end`; returns how many. */
static uint32_t row_lengths(Bytes sample, size_t end, size_t *lengths) {
  uint32_t count = 0;
  for (size_t at = 0; at < end; count++) {
    size_t length = (size_t)row_total(load_u64(sample.data + at));
    if (lengths) lengths[count] = length;
    at += length;
  }
  return count;
}

/* Where the first row at or behind `at` begins. */
static size_t row_start(Bytes sample, size_t at) {
  size_t start = 0;
  while (start < at && start < sample.length) start += (size_t)row_total(load_u64(sample.data + start));
  return start;
}

/* A dictionary of the sample's rows up to `end`; none when they are too few, or have nothing in common. (What zdict
 * takes meanwhile comes from malloc: it knows no other allocator.) */
static Status train(RowPacker *p, Bytes sample, size_t end) {
  uint32_t count = row_lengths(sample, end, NULL);
  if (count < TRAINING_ROWS_MIN || end < TRAINING_BYTES_MIN) return KVSTORE_OK;
  size_t *lengths = memory_allocate(memory_array_size(count, sizeof *lengths));
  uint8_t *dictionary = buffer_extend(&p->dictionary, DICTIONARY_BYTES_MAX);
  if (!lengths || !dictionary) {
    memory_release(lengths);
    return status_nomem();
  }
  row_lengths(sample, end, lengths);
  size_t length = ZDICT_trainFromBuffer(dictionary, DICTIONARY_BYTES_MAX, sample.data, lengths, count);
  memory_release(lengths);
  p->dictionary.length = ZDICT_isError(length) ? 0 : length;
  if (!p->dictionary.length) return KVSTORE_OK;
  ZSTD_compressionParameters parameters = ZSTD_getCParams(LEVEL, FRAME_BYTES, p->dictionary.length);
  p->learnt = ZSTD_createCDict_advanced(p->dictionary.data, p->dictionary.length, ZSTD_dlm_byRef, ZSTD_dct_fullDict,
                                        parameters, own_memory);
  return p->learnt ? KVSTORE_OK : status_nomem();
}

/* ---- frames ---- */

/* Compresses into `bound`; *stored is `length` when that saves nothing. */
static Status compress(RowPacker *p, const uint8_t *rows, size_t length, size_t *stored) {
  size_t most = ZSTD_compressBound(length);
  buffer_clear(&p->bound);
  uint8_t *to = buffer_extend(&p->bound, most);
  if (!to) return buffer_status(&p->bound);
  size_t made = p->learnt ? ZSTD_compress_usingCDict(p->context, to, most, rows, length, p->learnt)
                          : ZSTD_compressCCtx(p->context, to, most, rows, length, LEVEL);
  if (ZSTD_isError(made)) return status_nomem(); /* the room is right: nothing else is left */
  *stored = made < length ? made : length;
  return KVSTORE_OK;
}

/* Tries the sample from `start` on, as frames. */
static Status try_frames(RowPacker *p, Bytes sample, size_t start, bool *worthwhile) {
  uint64_t plain = 0, packed = 0;
  while (start < sample.length) {
    size_t end = row_start((Bytes){ sample.data + start, sample.length - start }, FRAME_BYTES), stored = 0;
    TRY(compress(p, sample.data + start, end, &stored));
    plain += end;
    packed += stored;
    start += end;
  }
  *worthwhile = plain && packed * 5 <= plain * 4;
  return KVSTORE_OK;
}

Status row_packer_create(Bytes sample, RowPacker **out, bool *worthwhile) {
  RowPacker *p = memory_allocate_zeroed(sizeof *p);
  if (!p) return status_nomem();
  p->context = ZSTD_createCCtx_advanced(own_memory);
  Status status = p->context ? KVSTORE_OK : status_nomem();
  size_t lesson =
    sample.length ? row_start(sample, sample.length / 4 * 3) : 0; /* the last quarter is the examination */
  if (status == KVSTORE_OK) status = train(p, sample, lesson);
  if (status == KVSTORE_OK) status = try_frames(p, sample, p->learnt ? lesson : 0, worthwhile);
  if (status == KVSTORE_OK)
    *out = p;
  else
    row_packer_destroy(p);
  return status;
}

void row_packer_destroy(RowPacker *p) {
  if (!p) return;
  ZSTD_freeCDict(p->learnt);
  ZSTD_freeCCtx(p->context);
  Buffer *buffers[] = { &p->dictionary, &p->frames, &p->expiry_entries, &p->expiry_codes, &p->bound };
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) buffer_release(buffers[i]);
  memory_release(p);
}

/* ---- expiries ---- */

static void range_of(const uint8_t *rows, size_t length, FrameExpiry *e) {
  *e = (FrameExpiry){ .lowest = EXPIRY_NEVER };
  for (size_t at = 0; at < length; at += (size_t)row_total(load_u64(rows + at))) {
    if (!(load_u16(rows + at + 2) & ROW_EXPIRES)) continue;
    int64_t expiry = (int64_t)load_u64(rows + at + ROW_HEADER_BYTES);
    if (!e->expiring++ || expiry > e->highest) e->highest = expiry;
    if (expiry < e->lowest) e->lowest = expiry;
  }
  uint64_t most = e->expiring ? (uint64_t)e->highest - (uint64_t)e->lowest + 1 : 0;
  e->code_bytes = !most ? 0 : most <= UINT8_MAX ? 1 : most <= UINT16_MAX ? 2 : most <= UINT32_MAX ? 4 : 8;
}

/* The column's entry and codes of a frame; zeros take the expiries' place. */
static Status take_expiries(RowPacker *p, uint8_t *rows, size_t length) {
  FrameExpiry e;
  range_of(rows, length, &e);
  uint8_t *entry = buffer_extend(&p->expiry_entries, EXPIRY_ENTRY_BYTES);
  if (!entry) return buffer_status(&p->expiry_entries);
  memset(entry, 0, EXPIRY_ENTRY_BYTES);
  store_u64(entry, (uint64_t)e.lowest);
  store_u64(entry + 8, (uint64_t)e.highest);
  store_u64(entry + 16, p->expiry_codes.length); /* behind the entries, whose number is not known yet */
  store_u16(entry + 24, (uint16_t)e.expiring);
  entry[26] = (uint8_t)e.code_bytes;
  for (size_t at = 0; e.expiring && at < length; at += (size_t)row_total(load_u64(rows + at))) {
    uint8_t code[8], *expiry = rows + at + ROW_HEADER_BYTES;
    bool expires = load_u16(rows + at + 2) & ROW_EXPIRES;
    store_u64(code, expires ? load_u64(expiry) - (uint64_t)e.lowest + 1 : 0);
    buffer_append(&p->expiry_codes, code, e.code_bytes);
    if (expires) store_u64(expiry, 0);
  }
  return buffer_status(&p->expiry_codes);
}

Status row_packer_frame(RowPacker *p, uint8_t *rows, size_t length, uint32_t row_count, Buffer *out) {
  size_t stored = 0;
  TRY(take_expiries(p, rows, length));
  TRY(compress(p, rows, length, &stored));
  buffer_append(out, stored < length ? p->bound.data : rows, stored);
  buffer_u32(&p->frames, (uint32_t)length);
  buffer_u32(&p->frames, (uint32_t)stored);
  buffer_u16(&p->frames, (uint16_t)row_count);
  TRY(buffer_status(&p->frames));
  p->frame_count++;
  return buffer_status(out);
}

uint32_t row_packer_frame_count(const RowPacker *p) { return p->frame_count; }
Bytes row_packer_frames(const RowPacker *p) { return (Bytes){ p->frames.data, p->frames.length }; }
Bytes row_packer_dictionary(const RowPacker *p) { return (Bytes){ p->dictionary.data, p->dictionary.length }; }

void row_packer_expiries(const RowPacker *p, Buffer *out) {
  size_t start = out->length;
  buffer_append(out, p->expiry_entries.data, p->expiry_entries.length);
  buffer_append(out, p->expiry_codes.data, p->expiry_codes.length);
  if (out->failed) return;
  for (size_t at = 0; at < p->expiry_entries.length; at += EXPIRY_ENTRY_BYTES) {
    uint8_t *place = out->data + start + at + 16;
    store_u64(place, load_u64(place) + p->expiry_entries.length);
  }
}
