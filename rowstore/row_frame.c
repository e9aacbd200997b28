#define ZSTD_STATIC_LINKING_ONLY /* dictionaries with an allocator of our own */
#include <string.h>
#include <zdict.h>
#include <zstd.h>

#include "base/counters.h"
#include "base/inflate.h"
#include "base/memory.h"
#include "os/block_cache.h"
#include "rowstore/row_pack.h"
#include "rowstore/row_run_internal.h"

static Status damaged(uint32_t frame, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "frame %u of a row run %s", frame, what);
}

/* ---- memory for zstd ---- */

/* `context`, where there is one, is a bool of the caller's that learns of a failure. */
static void *take(void *context, size_t size) {
  void *address = memory_allocate(size);
  if (!address && context) *(bool *)context = true;
  return address;
}
static void give(void *context, void *address) {
  (void)context; /* that of the creation, which has ended */
  memory_release(address);
}

/* ---- the dictionary ---- */

/* Digested at the first frame that needs it: opening a run costs nothing. */
static Status digest_dictionary(const RowRun *run, ZSTD_DDict **out) {
  *out = atomic_load_explicit(&run->frames->digested, memory_order_acquire);
  if (*out || !run->frames->dictionary.length) return KVSTORE_OK;
  bool out_of_memory = false;
  ZSTD_customMem memory = { take, give, &out_of_memory };
  Bytes dictionary = run->frames->dictionary;
  ZSTD_DDict *made =
    ZSTD_createDDict_advanced(dictionary.data, dictionary.length, ZSTD_dlm_byRef, ZSTD_dct_fullDict, memory);
  if (!made && out_of_memory) return status_nomem();
  if (!made) return status_fail(KVSTORE_CORRUPT, "the dictionary of a row run is none");
  if (atomic_compare_exchange_strong_explicit(&run->frames->digested, out, made, memory_order_acq_rel,
                                              memory_order_acquire)) {
    *out = made;
    return KVSTORE_OK;
  }
  ZSTD_freeDDict(made); /* another thread was faster */
  return KVSTORE_OK;
}

void row_frames_close(RowRun *run) {
  if (run->frames) ZSTD_freeDDict(atomic_load_explicit(&run->frames->digested, memory_order_acquire));
}

uint64_t row_frames_memory(const RowRun *run) {
  return run->frames ? ZSTD_sizeof_DDict(atomic_load_explicit(&run->frames->digested, memory_order_acquire)) : 0;
}

/* ---- expiries ---- */

Status row_frame_expiry(const RowRun *run, uint32_t frame, FrameExpiry *out) {
  const uint8_t *entry;
  RowPin pin = { .source = run->frames->expiries };
  TRY(source_block(pin.source, (uint64_t)frame * EXPIRY_ENTRY_BYTES, EXPIRY_ENTRY_BYTES, &entry, &pin.pin));
  *out = (FrameExpiry){ .lowest = (int64_t)load_u64(entry),
                        .highest = (int64_t)load_u64(entry + 8),
                        .codes_at = load_u64(entry + 16),
                        .expiring = load_u16(entry + 24),
                        .code_bytes = entry[26] };
  row_pin_release(&pin);
  uint32_t bytes = out->code_bytes;
  return bytes <= 2 || bytes == 4 || bytes == 8 ? KVSTORE_OK : damaged(frame, "has expiries of a width that is none");
}

static Status expiry_codes(const RowRun *run, const FrameExpiry *e, uint32_t row_count, const uint8_t **codes,
                           RowPin *pin) {
  *pin = (RowPin){ .source = run->frames->expiries };
  return source_block(pin->source, e->codes_at, (size_t)row_count * e->code_bytes, codes, &pin->pin);
}

/* Puts the expiries back into decoded rows, which are looked at for the first time here. */
static Status give_expiries(const FrameExpiry *e, const uint8_t *codes, uint32_t frame, uint32_t row_count,
                            uint8_t *rows, size_t length) {
  size_t at = 0;
  for (uint32_t row = 0; row < row_count; row++) {
    if (length - at < ROW_BYTES_MIN) return damaged(frame, "ends before its last row");
    uint64_t header = load_u64(rows + at), total = row_total(header);
    if (total > length - at) return damaged(frame, "ends within a row");
    uint64_t code = frame_code(codes, e->code_bytes, row);
    bool expires = header >> 16 & ROW_EXPIRES;
    if (expires != (code != 0)) return damaged(frame, "and its column disagree on what expires");
    if (expires) store_u64(rows + at + ROW_HEADER_BYTES, (uint64_t)e->lowest + code - 1);
    at += (size_t)total;
  }
  return at == length ? KVSTORE_OK : damaged(frame, "goes on behind its last row");
}

static Status restore_expiries(const RowRun *run, uint32_t frame, uint32_t row_count, uint8_t *rows, size_t length) {
  FrameExpiry e;
  TRY(row_frame_expiry(run, frame, &e));
  const uint8_t *codes = NULL;
  RowPin pin = { 0 };
  if (e.code_bytes) TRY(expiry_codes(run, &e, row_count, &codes, &pin));
  Status status = give_expiries(&e, codes, frame, row_count, rows, length);
  row_pin_release(&pin);
  return status;
}

static uint64_t count_codes(const uint8_t *codes, uint32_t code_bytes, uint32_t row_count, uint64_t most) {
  uint64_t count = 0;
  for (uint32_t row = 0; row < row_count; row++) {
    uint64_t code = frame_code(codes, code_bytes, row);
    count += code != 0 && code <= most;
  }
  return count;
}

static Status count_in_frame(const RowRun *run, uint32_t frame, uint32_t row_count, int64_t now_ms, uint64_t *count) {
  FrameExpiry e;
  TRY(row_frame_expiry(run, frame, &e));
  if (!e.expiring || e.lowest > now_ms) return KVSTORE_OK;
  if (e.highest <= now_ms) {
    *count += e.expiring;
    return KVSTORE_OK;
  }
  const uint8_t *codes;
  RowPin pin;
  TRY(expiry_codes(run, &e, row_count, &codes, &pin));
  *count += count_codes(codes, e.code_bytes, row_count, (uint64_t)now_ms - (uint64_t)e.lowest + 1);
  row_pin_release(&pin);
  return KVSTORE_OK;
}

Status row_run_count_expired(const RowRun *run, int64_t now_ms, bool *known, uint64_t *count) {
  const RowRunSummary *s = &run->summary;
  *count = 0;
  *known = true;
  if (!s->expiring_count || s->expiry_min > now_ms) return KVSTORE_OK;
  if (s->expiry_max <= now_ms) {
    *count = s->expiring_count;
    return KVSTORE_OK;
  }
  *known = run->frames != NULL; /* a plain run has them in its rows */
  for (uint32_t i = 0; *known && i < run->piece_count; i++) {
    const RowPiece *piece = &run->pieces[i];
    for (uint32_t f = 0; f < piece->frame_count; f++)
      TRY(count_in_frame(run, piece->first_frame + f, piece->frames[f].row_count, now_ms, count));
  }
  return KVSTORE_OK;
}

/* ---- decoding ---- */

/* A frame on its way into the cache. */
typedef struct FrameRead {
  const RowRun *run;
  const RowPiece *piece;
  const RowFrame *frame;
} FrameRead;

static Status decompress(const FrameRead *r, const uint8_t *stored, size_t stored_length, uint8_t *rows,
                         size_t length) {
  uint32_t number = r->piece->first_frame + (uint32_t)(r->frame - r->piece->frames);
  ZSTD_DDict *dictionary = NULL;
  TRY(digest_dictionary(r->run, &dictionary));
  bool is_whole = frame_inflate(stored, stored_length, dictionary, rows, length);
  return is_whole ? KVSTORE_OK : damaged(number, "cannot be decompressed to its length");
}

static Status fill_frame(void *context, uint8_t *rows, size_t length) {
  const FrameRead *r = context;
  const uint8_t *stored;
  RowPin pin = { .source = r->piece->source };
  size_t stored_length = r->frame[1].stored_at - r->frame->stored_at;
  COUNT(frames_decoded);
  TRY(source_block(pin.source, r->frame->stored_at, stored_length, &stored, &pin.pin));
  Status status = KVSTORE_OK;
  if (stored_length == length)
    memcpy(rows, stored, length);
  else
    status = decompress(r, stored, stored_length, rows, length);
  row_pin_release(&pin);
  if (status != KVSTORE_OK || !r->run->frames->expiries) return status;
  uint32_t number = r->piece->first_frame + (uint32_t)(r->frame - r->piece->frames);
  return restore_expiries(r->run, number, r->frame->row_count, rows, length);
}

/* The last frame that begins at or before `offset`. */
static const RowFrame *find_frame(const RowPiece *piece, uint32_t offset) {
  uint32_t low = 0, high = piece->frame_count;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (piece->frames[middle].start <= offset)
      low = middle;
    else
      high = middle;
  }
  return &piece->frames[low];
}

Status row_frame_load(const RowRun *run, uint32_t piece_number, uint32_t offset, const uint8_t **bytes, uint32_t *start,
                      uint32_t *end, RowPin *pin) {
  const RowPiece *piece = &run->pieces[piece_number];
  const RowFrame *frame = find_frame(piece, offset);
  size_t length = frame[1].start - frame->start;
  *start = frame->start;
  *end = frame[1].start;
  if (frame[1].stored_at - frame->stored_at == length && !run->frames->expiries) { /* it stands as it is */
    *pin = (RowPin){ .source = piece->source };
    return source_block(piece->source, frame->stored_at, length, bytes, &pin->pin);
  }
  FrameRead read = { run, piece, frame };
  CacheFill fill = { fill_frame, &read };
  CacheKey key = { piece->source->number, frame->stored_at, 0 };
  CacheBlock *block = NULL;
  *pin = (RowPin){ 0 };
  TRY(block_cache_get(piece->source->cache, &key, length, &fill, &block));
  pin->pin.cached = block; /* without a source: the cache's own */
  *bytes = cache_block_bytes(block);
  return KVSTORE_OK;
}
