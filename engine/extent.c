#include "engine/extent.h"

#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "crypto/seal.h"

enum { WRITE_PIECE = 1 << 20 }; /* writeback is started every MiB, so that a sync never waits for all of a compaction */

typedef struct ExtentState {
  Extent extent;
  StoreFile *file;
  uint64_t number;                /* in the cache */
  _Atomic(const uint8_t *) table; /* the unit table, once its own checksum was right */
  uint8_t *own_table;             /* read, not mapped */
  void *own_map;                  /* an extent across windows is mapped by itself */
  uint64_t own_map_length;
} ExtentState;

Status store_file_open(StoreFile *f, OsFile *file, const uint8_t store_id[16], StoreKey *key, bool no_map,
                       uint64_t cache_bytes) {
  memset(f, 0, sizeof *f);
  BlockCache *cache = NULL;
  TRY(block_cache_create(cache_bytes, &cache));
  f->windows = memory_allocate_zeroed(STORE_WINDOWS_MAX * sizeof *f->windows);
  if (!f->windows) {
    block_cache_destroy(cache);
    return status_nomem();
  }
  f->cache = cache;
  f->file = file;
  f->seed = checksum64(store_id, 16, 0);
  f->key = key;
  f->no_map = no_map || key;
  mutex_init(&f->lock);
  return KVSTORE_OK;
}

void store_file_close(StoreFile *f) {
  if (!f->windows) return;
  for (uint64_t i = 0; i < f->windows_end; i++) {
    uint8_t *window = atomic_load_explicit(&f->windows[i], memory_order_relaxed);
    if (window) os_unmap(f->file, window, WINDOW_BYTES);
  }
  memory_release((void *)f->windows);
  block_cache_destroy(f->cache);
  mutex_destroy(&f->lock);
  os_close(f->file);
  memset(f, 0, sizeof *f);
}

Status store_file_mapped(StoreFile *f, uint64_t *bytes) {
  OsStat stat;
  *bytes = 0;
  TRY(os_stat_file(f->file, &stat));
  for (uint64_t i = 0; i * WINDOW_BYTES < stat.size && i < STORE_WINDOWS_MAX; i++) {
    uint64_t left = stat.size - i * WINDOW_BYTES;
    if (atomic_load_explicit(&f->windows[i], memory_order_acquire)) *bytes += left < WINDOW_BYTES ? left : WINDOW_BYTES;
  }
  return KVSTORE_OK;
}

static Status map_window(StoreFile *f, uint64_t index, uint8_t **out) {
  if (index >= STORE_WINDOWS_MAX) return status_fail(KVSTORE_CORRUPT, "an extent lies beyond 16 TiB");
  *out = atomic_load_explicit(&f->windows[index], memory_order_acquire);
  if (*out) return KVSTORE_OK;
  mutex_lock(&f->lock);
  Status status = KVSTORE_OK;
  *out = atomic_load_explicit(&f->windows[index], memory_order_relaxed);
  if (!*out) {
    void *address = NULL;
    status = os_map(f->file, index * WINDOW_BYTES, WINDOW_BYTES, false, &address);
    *out = address;
    if (status == KVSTORE_OK) {
      atomic_store_explicit(&f->windows[index], *out, memory_order_release);
      if (index >= f->windows_end) f->windows_end = index + 1;
    }
  }
  mutex_unlock(&f->lock);
  return status;
}

static uint64_t unit_seed(const StoreFile *f, const Extent *e, uint64_t unit) {
  return checksum_seed(f->seed, checksum_seed(e->id, unit));
}
/* The table's seed is that of a unit no extent has. */
static uint64_t table_seed(const StoreFile *f, const Extent *e) { return unit_seed(f, e, UINT64_MAX); }

static size_t unit_length(const Extent *e, uint64_t unit) {
  uint64_t left = e->length - unit * UNIT_BYTES;
  return left < UNIT_BYTES ? (size_t)left : UNIT_BYTES;
}
static uint64_t table_offset(const Extent *e) {
  return extent_bytes(e->length) - extent_unit_count(e->length) * UNIT_TAG_BYTES;
}

static UnitPlace unit_place(const Extent *e) { return (UnitPlace){ e->id, e->length }; }

static uint64_t table_checksum(const StoreFile *f, const Extent *e, const uint8_t *table) {
  size_t length = (size_t)(extent_unit_count(e->length) * UNIT_TAG_BYTES);
  if (f->key) return unit_table_mac(f->key, unit_place(e), table, length);
  return checksum64(table, length, table_seed(f, e));
}

static Status write_piece(StoreFile *f, const uint8_t *bytes, uint64_t offset, size_t length) {
  TRY(os_write(f->file, offset, bytes, length));
  if (length == WRITE_PIECE) os_writeback(f->file, offset, length, false);
  return KVSTORE_OK;
}

static size_t piece_length(const Extent *e, uint64_t at) {
  return e->length - at < WRITE_PIECE ? (size_t)(e->length - at) : WRITE_PIECE;
}

/* Data as it is, its checksums into the table. */
static Status write_plain(StoreFile *f, const uint8_t *bytes, const Extent *e, uint8_t *table) {
  for (uint64_t u = 0; u < extent_unit_count(e->length); u++)
    store_u64(table + u * UNIT_TAG_BYTES, checksum64(bytes + u * UNIT_BYTES, unit_length(e, u), unit_seed(f, e, u)));
  for (uint64_t at = 0; at < e->length; at += WRITE_PIECE)
    TRY(write_piece(f, bytes + at, e->offset + at, piece_length(e, at)));
  return KVSTORE_OK;
}

static Status seal_piece(const UnitCipher *cipher, const uint8_t *bytes, uint64_t at, const Extent *e, uint8_t *sealed,
                         uint8_t *table) {
  uint64_t first = at / UNIT_BYTES, end = first + extent_unit_count(piece_length(e, at));
  for (uint64_t u = first; u < end; u++)
    TRY(unit_seal(cipher, u, bytes + u * UNIT_BYTES, unit_length(e, u), sealed + (u - first) * UNIT_BYTES,
                  table + u * UNIT_TAG_BYTES));
  return KVSTORE_OK;
}

/* Data encrypted a piece at a time, nonces and tags into the table. */
static Status write_sealed(StoreFile *f, const uint8_t *bytes, const Extent *e, uint8_t *table) {
  uint8_t *sealed = memory_allocate(piece_length(e, 0));
  if (!sealed) return status_nomem();
  UnitCipher cipher = unit_cipher_begin(f->key, unit_place(e));
  Status status = KVSTORE_OK;
  for (uint64_t at = 0; at < e->length && status == KVSTORE_OK; at += WRITE_PIECE) {
    status = seal_piece(&cipher, bytes, at, e, sealed, table);
    if (status == KVSTORE_OK) status = write_piece(f, sealed, e->offset + at, piece_length(e, at));
  }
  unit_cipher_end(&cipher);
  memory_release(sealed);
  return status;
}

Status extent_write(StoreFile *f, const uint8_t *bytes, Extent *e) {
  uint64_t tail_at = e->length, total = extent_bytes(e->length);
  uint8_t *tail = memory_allocate_zeroed(total - tail_at); /* padding and table, in one write with the end */
  if (!tail) return status_nomem();
  uint8_t *table = tail + (table_offset(e) - tail_at);
  Status status = f->key ? write_sealed(f, bytes, e, table) : write_plain(f, bytes, e, table);
  e->checksum = table_checksum(f, e, table);
  if (status == KVSTORE_OK) status = os_write(f->file, e->offset + tail_at, tail, total - tail_at);
  memory_release(tail);
  return status;
}

static Status damaged(const Extent *e, const char *what, uint64_t unit) {
  return status_fail(KVSTORE_CORRUPT, "%s %llu of extent %llu (at byte %llu of the file) is damaged", what,
                     (unsigned long long)unit, (unsigned long long)e->id, (unsigned long long)e->offset);
}

static Status verify_unit(const StoreFile *f, const Extent *e, const uint8_t *table, uint64_t unit,
                          const uint8_t *data) {
  COUNT(units_verified);
  uint64_t sum = checksum64(data, unit_length(e, unit), unit_seed(f, e, unit));
  return load_u64(table + unit * UNIT_TAG_BYTES) == sum ? KVSTORE_OK : damaged(e, "unit", unit);
}

/* Units [first, last] of an extent that have been read into memory at `bytes`: verified, or decrypted in place. */
static Status admit_units(const StoreFile *f, const Extent *e, const uint8_t *table, uint64_t first, uint64_t last,
                          uint8_t *bytes) {
  Status status = KVSTORE_OK;
  if (!f->key) {
    for (uint64_t u = first; u <= last && status == KVSTORE_OK; u++)
      status = verify_unit(f, e, table, u, bytes + (u - first) * UNIT_BYTES);
    return status;
  }
  UnitCipher cipher = unit_cipher_begin(f->key, unit_place(e));
  for (uint64_t u = first; u <= last && status == KVSTORE_OK; u++)
    status = unit_unseal(&cipher, u, bytes + (u - first) * UNIT_BYTES, unit_length(e, u), table + u * UNIT_TAG_BYTES);
  unit_cipher_end(&cipher);
  return status;
}

Status extent_read(StoreFile *f, const Extent *e, uint8_t **out) {
  uint64_t units = extent_unit_count(e->length);
  uint8_t *bytes = memory_allocate(extent_bytes(e->length));
  if (!bytes) return status_nomem();
  Status status = os_read_exactly(f->file, e->offset, bytes, extent_bytes(e->length));
  const uint8_t *table = bytes + table_offset(e);
  if (status == KVSTORE_OK && table_checksum(f, e, table) != e->checksum) status = damaged(e, "the unit table", 0);
  if (status == KVSTORE_OK && units) status = admit_units(f, e, table, 0, units - 1, bytes);
  if (status == KVSTORE_OK)
    *out = bytes;
  else
    memory_release(bytes);
  return status;
}

/* ---- sources ---- */

static Status load_table(ExtentState *state, const Source *source, const uint8_t **out) {
  *out = atomic_load_explicit(&state->table, memory_order_acquire);
  if (*out) return KVSTORE_OK;
  const Extent *e = &state->extent;
  StoreFile *f = state->file;
  size_t length = (size_t)(extent_unit_count(e->length) * UNIT_TAG_BYTES);
  mutex_lock(&f->lock);
  Status status = KVSTORE_OK;
  *out = atomic_load_explicit(&state->table, memory_order_relaxed);
  if (!*out) {
    const uint8_t *table = NULL;
    if (source->base) {
      table = source->base + table_offset(e);
    } else {
      state->own_table = memory_allocate(length);
      if (!state->own_table)
        status = status_nomem();
      else
        status = os_read_exactly(f->file, e->offset + table_offset(e), state->own_table, length);
      table = state->own_table;
    }
    if (status == KVSTORE_OK && table_checksum(f, e, table) != e->checksum) status = damaged(e, "the unit table", 0);
    if (status == KVSTORE_OK) {
      *out = table;
      atomic_store_explicit(&state->table, table, memory_order_release);
    } else {
      memory_release(state->own_table);
      state->own_table = NULL;
    }
  }
  mutex_unlock(&f->lock);
  return status;
}

/* Mapped: verifies what is not yet, and gives the address. */
static Status block_mapped(Source *source, ExtentState *state, uint64_t first, uint64_t last, const uint8_t *table) {
  for (uint64_t u = first; u <= last; u++) {
    uint64_t bit = UINT64_C(1) << (u % 64);
    if (atomic_load_explicit(&source->verified[u / 64], memory_order_acquire) & bit) continue;
    TRY(verify_unit(state->file, &state->extent, table, u, source->base + u * UNIT_BYTES));
    atomic_fetch_or_explicit(&source->verified[u / 64], bit, memory_order_release);
  }
  return KVSTORE_OK;
}

/* Units that are not mapped, on their way into the cache. */
typedef struct UnitsRead {
  ExtentState *state;
  const uint8_t *table;
  uint64_t first, last;
} UnitsRead;

static Status read_units(void *context, uint8_t *bytes, size_t length) {
  const UnitsRead *r = context;
  const Extent *e = &r->state->extent;
  TRY(os_read_exactly(r->state->file->file, e->offset + r->first * UNIT_BYTES, bytes, length));
  return admit_units(r->state->file, e, r->table, r->first, r->last, bytes);
}

static Status block_cached(ExtentState *state, uint64_t first, uint64_t last, const uint8_t *table, CacheBlock **out) {
  UnitsRead read = { state, table, first, last };
  CacheFill fill = { read_units, &read };
  CacheKey key = { state->number, (uint32_t)first, (uint32_t)(last - first + 1) };
  size_t length = (size_t)((last - first) * UNIT_BYTES) + unit_length(&state->extent, last);
  return block_cache_get(state->file->cache, &key, length, &fill, out);
}

/* What lies across the border of two units, on its way out of them. */
typedef struct Seam {
  ExtentState *state;
  const uint8_t *table;
  uint64_t offset;
} Seam;

static Status copy_from_units(void *context, uint8_t *bytes, size_t length) {
  const Seam *s = context;
  for (size_t done = 0; done < length;) {
    uint64_t at = s->offset + done, unit = at / UNIT_BYTES;
    size_t count = (size_t)(UNIT_BYTES - at % UNIT_BYTES);
    if (count > length - done) count = length - done;
    CacheBlock *block = NULL;
    TRY(block_cached(s->state, unit, unit, s->table, &block));
    memcpy(bytes + done, cache_block_bytes(block) + at % UNIT_BYTES, count);
    block_cache_release(block);
    done += count;
  }
  return KVSTORE_OK;
}

/* Little that lies in two units is copied out of them, so that a walk over rows keeps no unit twice. The address agrees
 * with the offset in its alignment. */
static Status seam_cached(ExtentState *state, uint64_t offset, size_t length, const uint8_t *table,
                          const uint8_t **bytes, CacheBlock **out) {
  size_t before = (size_t)(offset % CHUNK_ALIGNMENT);
  Seam seam = { state, table, offset - before };
  CacheFill fill = { copy_from_units, &seam };
  TRY(block_cache_make(state->file->cache, before + length, &fill, out));
  COUNT(cache_seams);
  *bytes = cache_block_bytes(*out) + before;
  return KVSTORE_OK;
}

static Status extent_block(Source *source, uint64_t offset, size_t length, const uint8_t **bytes, SourcePin *pin) {
  ExtentState *state = source->context;
  if (offset > source->length || length > source->length - offset)
    return status_fail(KVSTORE_CORRUPT, "extent %llu ends before byte %llu", (unsigned long long)state->extent.id,
                       (unsigned long long)(offset + length));
  if (!length) {
    *bytes = (const uint8_t *)"";
    return KVSTORE_OK;
  }
  const uint8_t *table;
  TRY(load_table(state, source, &table));
  uint64_t first = offset / UNIT_BYTES, last = (offset + length - 1) / UNIT_BYTES;
  if (source->base) {
    TRY(block_mapped(source, state, first, last, table));
    *bytes = source->base + offset;
    return KVSTORE_OK;
  }
  CacheBlock *block = NULL;
  if (last == first + 1 && length < UNIT_BYTES) {
    TRY(seam_cached(state, offset, length, table, bytes, &block));
    pin->cached = block;
    return KVSTORE_OK;
  }
  TRY(block_cached(state, first, last, table, &block));
  pin->cached = block;
  *bytes = cache_block_bytes(block) + (offset - first * UNIT_BYTES);
  return KVSTORE_OK;
}

static void extent_block_release(Source *source, SourcePin *pin) {
  (void)source;
  block_cache_release(pin->cached);
  pin->cached = NULL;
}

static const SourceMethods extent_methods = { extent_block, extent_block_release };

static Status map_extent(StoreFile *f, ExtentState *state, const uint8_t **base) {
  const Extent *e = &state->extent;
  uint64_t total = extent_bytes(e->length), window = e->offset / WINDOW_BYTES;
  if ((e->offset + total - 1) / WINDOW_BYTES == window) {
    uint8_t *address = NULL;
    TRY(map_window(f, window, &address));
    *base = address + e->offset % WINDOW_BYTES;
    return KVSTORE_OK;
  }
  TRY(os_map(f->file, e->offset, total, false, &state->own_map));
  state->own_map_length = total;
  *base = state->own_map;
  return KVSTORE_OK;
}

static Status open_source(StoreFile *f, const Extent *extent, ExtentState *state, Source *source) {
  state->extent = *extent;
  state->file = f;
  state->number = block_cache_number(f->cache);
  atomic_init(&state->table, NULL);
  source->methods = &extent_methods;
  source->context = state;
  source->cache = f->cache;
  source->number = state->number;
  source->length = extent->length;
  if (f->no_map) return KVSTORE_OK;
  size_t words = (size_t)(extent_unit_count(extent->length) + 63) / 64 + 1;
  source->verified = memory_allocate_zeroed(words * sizeof *source->verified);
  if (!source->verified) return status_nomem();
  return map_extent(f, state, &source->base);
}

Status extent_sources_open(StoreFile *f, const Extent *extents, uint32_t count, ExtentSources *out) {
  memset(out, 0, sizeof *out);
  out->file = f;
  out->run.sources = memory_allocate_zeroed(memory_array_size(count, sizeof *out->run.sources));
  out->states = memory_allocate_zeroed(memory_array_size(count, sizeof *out->states));
  Status status = out->run.sources && out->states ? KVSTORE_OK : status_nomem();
  for (uint32_t i = 0; i < count && status == KVSTORE_OK; i++) {
    out->run.count = i + 1;
    status = open_source(f, &extents[i], &out->states[i], &out->run.sources[i]);
  }
  if (status != KVSTORE_OK) extent_sources_close(out);
  return status;
}

void extent_sources_close(ExtentSources *s) {
  for (uint32_t i = 0; s->run.sources && s->states && i < s->run.count; i++) {
    memory_release((void *)s->run.sources[i].verified);
    memory_release(s->states[i].own_table);
    if (s->states[i].own_map) os_unmap(s->file->file, s->states[i].own_map, s->states[i].own_map_length);
  }
  memory_release(s->run.sources);
  memory_release(s->states);
  memset(s, 0, sizeof *s);
}

uint64_t extent_sources_memory(const ExtentSources *s) {
  uint64_t bytes = s->run.count * (sizeof *s->run.sources + sizeof *s->states);
  for (uint32_t i = 0; i < s->run.count; i++) {
    uint64_t units = extent_unit_count(s->states[i].extent.length);
    if (s->run.sources[i].verified) bytes += ((units + 63) / 64 + 1) * sizeof(uint64_t);
    if (!s->run.sources[i].base && atomic_load_explicit(&s->states[i].table, memory_order_acquire))
      bytes += units * UNIT_TAG_BYTES;
  }
  return bytes;
}

Status extent_sources_check(ExtentSources *s) {
  for (uint32_t i = 0; i < s->run.count; i++) {
    uint8_t *bytes = NULL;
    TRY(extent_read(s->file, &s->states[i].extent, &bytes));
    memory_release(bytes);
  }
  return KVSTORE_OK;
}
