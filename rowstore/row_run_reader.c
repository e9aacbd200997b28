/* row_run_reader.c - opens a row run and finds rows by key. */
#include "rowstore/row_run.h"

#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "rowstore/row_pack.h"
#include "rowstore/row_run_internal.h"

/* ---- the directory ---- */

static Status corrupt(const char *what) { return status_fail(KVSTORE_CORRUPT, "the directory of a row run %s", what); }

typedef struct DirectoryReader {
  Reader in;
  RowRun *run;
  const RunSources *sources;
} DirectoryReader;

/* The extent of an ordinal, NULL when there is none of at least this length. */
static Source *find_source(const DirectoryReader *d, uint32_t ordinal, uint64_t length) {
  if (ordinal >= d->sources->count || d->sources->sources[ordinal].length < length) return NULL;
  return &d->sources->sources[ordinal];
}

static Status read_header(DirectoryReader *d) {
  RowRun *run = d->run;
  RowRunSummary *s = &run->summary;
  if (reader_u32(&d->in) != ROW_RUN_MAGIC || d->in.failed) return corrupt("does not begin as one");
  uint32_t features = reader_u32(&d->in);
  if (features & ~(uint32_t)ROW_RUN_PACKED)
    return status_fail(KVSTORE_UNSUPPORTED, "a row run was written by a newer version");
  s->is_packed = features & ROW_RUN_PACKED;
  s->row_count = reader_u64(&d->in);
  s->tombstone_count = reader_u64(&d->in);
  s->expiring_count = reader_u64(&d->in);
  s->external_count = reader_u64(&d->in);
  s->expiry_min = (int64_t)reader_u64(&d->in);
  s->expiry_max = (int64_t)reader_u64(&d->in);
  s->key_bytes = reader_u64(&d->in);
  s->value_bytes = reader_u64(&d->in);
  run->bucket_count = reader_u32(&d->in);
  run->probe_max = reader_u32(&d->in);
  run->group_count = reader_u32(&d->in);
  run->piece_count = reader_u32(&d->in);
  run->index_count = reader_u32(&d->in);
  run->value_count = reader_u32(&d->in);
  if (d->in.failed) return corrupt("is too short");
  /* before anything is allocated by these numbers */
  uint64_t listed = (uint64_t)run->piece_count * 12 + (uint64_t)run->index_count * 4 + (uint64_t)run->value_count * 12;
  if (listed > reader_left(&d->in)) return corrupt("is shorter than its lists of extents");
  return KVSTORE_OK;
}

static Status check_header(const RowRun *run) {
  const RowRunSummary *s = &run->summary;
  if (s->row_count > UINT32_MAX || run->piece_count > PIECES_MAX) return corrupt("names more rows than positions");
  if (run->bucket_count != (s->row_count + BUCKET_KEYS - 1) / BUCKET_KEYS)
    return corrupt("has the wrong number of buckets");
  if (s->row_count && run->probe_max >= run->bucket_count) return corrupt("probes further than it has buckets");
  if (s->tombstone_count > s->row_count || s->expiring_count > s->row_count || s->external_count > s->row_count)
    return corrupt("counts more rows of a kind than rows");
  if (!s->row_count && (run->piece_count || run->index_count || run->value_count || run->group_count))
    return corrupt("names extents without rows");
  return KVSTORE_OK;
}

static Status read_pieces(DirectoryReader *d) {
  RowRun *run = d->run;
  uint64_t rows = 0, groups = 0;
  run->pieces = arena_allocate_zeroed(&run->arena, run->piece_count * sizeof *run->pieces);
  if (!run->pieces) return status_nomem();
  for (uint32_t i = 0; i < run->piece_count; i++) {
    RowPiece *p = &run->pieces[i];
    uint32_t ordinal = reader_u32(&d->in);
    p->length = reader_u32(&d->in);
    p->row_count = reader_u32(&d->in);
    p->source = find_source(d, ordinal, run->summary.is_packed ? 0 : p->length);
    if (!p->source || p->length > ROW_PIECE_BYTES || p->length % POSITION_UNIT || !p->row_count ||
        p->row_count > p->length / ROW_BYTES_MIN)
      return corrupt("names a piece that cannot be");
    rows += p->row_count;
    groups += (p->row_count + SPARSE_INTERVAL - 1) / SPARSE_INTERVAL;
    if (!run->summary.is_packed) run->summary.extent_bytes += p->length;
  }
  if (rows != run->summary.row_count || (!run->summary.is_packed && groups != run->group_count))
    return corrupt("does not add up its pieces");
  return KVSTORE_OK;
}

static Status read_index_extents(DirectoryReader *d) {
  RowRun *run = d->run;
  run->sparse_start = index_sparse_start(run->bucket_count);
  run->block_count = sparse_block_count(run->group_count);
  uint64_t length = run->sparse_start + (uint64_t)run->block_count * SPARSE_BLOCK_BYTES;
  if (run->index_count != (length + INDEX_EXTENT_BYTES - 1) / INDEX_EXTENT_BYTES)
    return corrupt("has the wrong number of index extents");
  run->index = arena_allocate(&run->arena, run->index_count * sizeof *run->index);
  if (!run->index) return status_nomem();
  run->summary.extent_bytes += length;
  for (uint32_t i = 0; i < run->index_count; i++) {
    uint64_t part = length < INDEX_EXTENT_BYTES ? length : INDEX_EXTENT_BYTES;
    run->index[i] = find_source(d, reader_u32(&d->in), part);
    if (!run->index[i]) return corrupt("names an index extent that is not there");
    length -= part;
  }
  return KVSTORE_OK;
}

static Status read_value_extents(DirectoryReader *d) {
  RowRun *run = d->run;
  run->values = arena_allocate(&run->arena, run->value_count * sizeof *run->values);
  if (!run->values) return status_nomem();
  for (uint32_t i = 0; i < run->value_count; i++) {
    RowExtent *e = &run->values[i];
    uint32_t ordinal = reader_u32(&d->in);
    e->length = reader_u64(&d->in);
    e->source = find_source(d, ordinal, e->length);
    if (!e->source) return corrupt("names a value extent that is not there");
    run->summary.extent_bytes += e->length;
  }
  return KVSTORE_OK;
}

/* ---- frames of packed runs ---- */

/* A frame holds whole rows: one of any length, or several of FRAME_BYTES together. */
static bool frame_can_be(uint32_t length, uint32_t stored, uint32_t rows) {
  uint32_t most = rows == 1 ? ROW_BYTES_MAX : FRAME_BYTES;
  return rows && length <= most && length % POSITION_UNIT == 0 && rows <= length / ROW_BYTES_MIN && stored &&
         stored <= length;
}

static Status read_piece_frames(DirectoryReader *d, RowPiece *p, uint64_t *groups) {
  uint32_t count = reader_u32(&d->in);
  if (!count || count > reader_left(&d->in) / FRAME_ENTRY_BYTES) return corrupt("is shorter than its list of frames");
  p->frames = arena_allocate(&d->run->arena, ((size_t)count + 1) * sizeof *p->frames);
  if (!p->frames) return status_nomem();
  uint64_t start = 0, stored_at = 0, rows = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t length = reader_u32(&d->in), stored = reader_u32(&d->in), row_count = reader_u16(&d->in);
    if (!frame_can_be(length, stored, row_count)) return corrupt("names a frame that cannot be");
    p->frames[i] = (RowFrame){ (uint32_t)start, (uint32_t)stored_at, row_count };
    start += length;
    stored_at += stored;
    rows += row_count;
    *groups += (row_count + SPARSE_INTERVAL - 1) / SPARSE_INTERVAL;
    if (start > p->length) break;
  }
  if (start != p->length || rows != p->row_count || stored_at > p->source->length)
    return corrupt("does not add up the frames of a piece");
  p->frames[count] = (RowFrame){ (uint32_t)start, (uint32_t)stored_at, 0 };
  p->frame_count = count;
  p->first_frame = d->run->frames->count;
  d->run->frames->count += count;
  d->run->summary.extent_bytes += stored_at;
  return KVSTORE_OK;
}

static Status read_expiry_extent(DirectoryReader *d) {
  RowFrames *frames = d->run->frames;
  uint32_t ordinal = reader_u32(&d->in);
  uint64_t length = reader_u64(&d->in);
  if (d->in.failed || (ordinal == UINT32_MAX) != (d->run->summary.expiring_count == 0))
    return corrupt("has a column of expiries without expiries, or none");
  if (ordinal == UINT32_MAX) return KVSTORE_OK;
  frames->expiries = find_source(d, ordinal, length);
  d->run->summary.extent_bytes += length;
  return frames->expiries ? KVSTORE_OK : corrupt("names a column of expiries that is not there");
}

static Status read_frames(DirectoryReader *d) {
  RowRun *run = d->run;
  uint64_t groups = 0;
  run->frames = arena_allocate_zeroed(&run->arena, sizeof *run->frames);
  if (!run->frames) return status_nomem();
  TRY(read_expiry_extent(d));
  Bytes dictionary = reader_bytes(&d->in);
  if (d->in.failed || dictionary.length > DICTIONARY_BYTES_MAX) return corrupt("holds no dictionary that can be");
  if (dictionary.length) {
    run->frames->dictionary = (Bytes){ arena_copy(&run->arena, dictionary.data, dictionary.length), dictionary.length };
    if (!run->frames->dictionary.data) return status_nomem();
  }
  for (uint32_t i = 0; i < run->piece_count; i++) TRY(read_piece_frames(d, &run->pieces[i], &groups));
  return groups == run->group_count ? KVSTORE_OK : corrupt("does not add up its frames");
}

static Bytes read_key(DirectoryReader *d) {
  Bytes key = reader_bytes(&d->in);
  if (key.length == 0 || key.length > KEY_BYTES_MAX) d->in.failed = true;
  if (d->in.failed) return (Bytes){ NULL, 0 };
  key.data = arena_copy(&d->run->arena, key.data, key.length);
  return key;
}

static Status read_fences(DirectoryReader *d) {
  RowRun *run = d->run;
  RowRunSummary *s = &run->summary;
  if ((uint64_t)run->block_count * 2 > reader_left(&d->in)) return corrupt("is shorter than its keys");
  run->fences = arena_allocate(&run->arena, run->block_count * sizeof *run->fences);
  run->fence_heads = arena_allocate(&run->arena, run->block_count * sizeof *run->fence_heads);
  if (!run->fences || !run->fence_heads) return status_nomem();
  s->last_key = read_key(d);
  for (uint32_t i = 0; i < run->block_count && !d->in.failed; i++) {
    run->fences[i] = read_key(d);
    if (!d->in.failed && !run->fences[i].data) return status_nomem();
  }
  if (d->in.failed) return corrupt("holds a key that cannot be");
  if (!s->last_key.data) return status_nomem();
  s->first_key = run->fences[0];
  run->common = keys_common(s->first_key, s->last_key);
  for (uint32_t i = 0; i < run->block_count; i++) {
    Bytes key = run->fences[i], next = i + 1 < run->block_count ? run->fences[i + 1] : s->last_key;
    int order = bytes_compare(key.data, key.length, next.data, next.length);
    if (order > 0 || (order == 0 && i + 1 < run->block_count)) return corrupt("has keys out of order");
    run->fence_heads[i] = key_head(key.data, key.length, run->common);
  }
  return KVSTORE_OK;
}

static Status read_directory(DirectoryReader *d) {
  TRY(read_header(d));
  TRY(check_header(d->run));
  if (d->run->summary.row_count) {
    TRY(read_pieces(d));
    TRY(read_index_extents(d));
    TRY(read_value_extents(d));
    if (d->run->summary.is_packed) TRY(read_frames(d));
    TRY(read_fences(d));
  }
  if (d->in.failed || reader_left(&d->in)) return corrupt("has the wrong length");
  return KVSTORE_OK;
}

Status row_run_open(const void *directory, size_t length, const RunSources *sources, RowRun **run) {
  RowRun *r = memory_allocate_zeroed(sizeof *r);
  if (!r) return status_nomem();
  DirectoryReader d = { .in = reader_over(directory, length), .run = r, .sources = sources };
  Status status = read_directory(&d);
  if (status == KVSTORE_OK)
    *run = r;
  else
    row_run_close(r);
  return status;
}

void row_run_close(RowRun *run) {
  if (!run) return;
  row_frames_close(run);
  arena_release(&run->arena);
  memory_release(run);
}

uint64_t row_run_memory(const RowRun *run) { return sizeof *run + run->arena.bytes_held + row_frames_memory(run); }

const RowRunSummary *row_run_summary(const RowRun *run) { return &run->summary; }

/* ---- rows in place ---- */

static Status window_range(const RowRun *run, RowWindow *w, uint32_t piece, uint32_t start, uint32_t end) {
  row_window_close(w);
  w->pin.source = run->pieces[piece].source;
  w->piece = piece;
  w->start = start;
  w->end = end;
  const uint8_t *bytes;
  TRY(source_block(w->pin.source, start, end - start, &bytes, &w->pin.pin));
  w->bytes = bytes;
  return KVSTORE_OK;
}

/* The same for a packed run: the window becomes the frame. */
static Status window_load_frame(const RowRun *run, RowWindow *w, uint32_t piece, uint32_t offset, const uint8_t **row,
                                uint32_t *total) {
  const uint8_t *bytes;
  row_window_close(w);
  w->piece = piece;
  TRY(row_frame_load(run, piece, offset, &bytes, &w->start, &w->end, &w->pin));
  uint32_t left = w->end - offset;
  uint64_t length = left < ROW_BYTES_MIN ? UINT64_MAX : row_total(load_u64(bytes + (offset - w->start)));
  if (UNLIKELY(length > left)) {
    row_pin_release(&w->pin);
    return status_fail(KVSTORE_CORRUPT, "the row at byte %u of piece %u of a row run leaves its frame", offset, piece);
  }
  w->bytes = bytes;
  *row = bytes + (offset - w->start);
  *total = (uint32_t)length;
  return KVSTORE_OK;
}

Status row_window_load(const RowRun *run, RowWindow *w, uint32_t piece, uint32_t offset, const uint8_t **row,
                       uint32_t *total) {
  uint32_t length = piece < run->piece_count ? run->pieces[piece].length : 0;
  if (UNLIKELY(length < ROW_BYTES_MIN || offset > length - ROW_BYTES_MIN))
    return status_fail(KVSTORE_CORRUPT, "no row can begin at byte %u of piece %u of a row run", offset, piece);
  if (run->frames) return window_load_frame(run, w, piece, offset, row, total);
  uint32_t start = offset / UNIT_BYTES * UNIT_BYTES;
  uint32_t end = length - start < UNIT_BYTES ? length : start + UNIT_BYTES;
  if (UNLIKELY(end - offset < ROW_HEADER_BYTES)) { /* the header straddles two units */
    start = offset;
    end = offset + ROW_HEADER_BYTES;
  }
  TRY(window_range(run, w, piece, start, end));
  uint64_t bytes = row_total(load_u64(w->bytes + (offset - start)));
  if (UNLIKELY(bytes > length - offset)) {
    row_window_close(w);
    return status_fail(KVSTORE_CORRUPT, "the row at byte %u of piece %u of a row run leaves its piece", offset, piece);
  }
  if (bytes > end - offset) TRY(window_range(run, w, piece, offset, offset + (uint32_t)bytes));
  *row = w->bytes + (offset - w->start);
  *total = (uint32_t)bytes;
  return KVSTORE_OK;
}

/* ---- walking over rows ---- */

static void swap_windows(RowWalk *w) {
  RowWindow now = w->now;
  w->now = w->former;
  w->former = now;
}

static bool begins_in(const RowWindow *w, uint32_t piece, uint32_t offset) {
  return w->bytes && w->piece == piece && offset >= w->start && (uint64_t)offset + ROW_HEADER_BYTES <= w->end;
}

/* Of a row that begins in the window and does not end there: is it short, and does it end in the next unit? */
static bool is_seam(const RowRun *run, const RowWindow *w, uint32_t offset, uint64_t bytes) {
  const RowPiece *piece = &run->pieces[w->piece];
  return !run->frames && !piece->source->base && w->end % UNIT_BYTES == 0 && bytes <= ROW_SEAM_BYTES &&
         bytes <= piece->length - offset;
}

static Status window_unit(const RowRun *run, RowWindow *w, uint32_t piece, uint32_t start) {
  uint32_t left = run->pieces[piece].length - start;
  return window_range(run, w, piece, start, start + (left < UNIT_BYTES ? left : UNIT_BYTES));
}

static bool holds(const RowWindow *w, uint32_t piece, uint32_t start, uint32_t end) {
  return w->bytes && w->piece == piece && w->start <= start && w->end >= end;
}

/* Copies that row out of both units, which stay as `former` and `now`. */
static Status copy_seam(const RowRun *run, RowWalk *w, uint32_t offset, uint32_t bytes) {
  uint32_t piece = w->now.piece, border = w->now.end, before = border - offset;
  memcpy(w->seam, w->now.bytes + (offset - w->now.start), before);
  swap_windows(w);
  if (w->now.start != border || !holds(&w->now, piece, border, border + (bytes - before)))
    TRY(window_unit(run, &w->now, piece, border));
  memcpy(w->seam + before, w->now.bytes, bytes - before);
  COUNT(row_seams);
  return KVSTORE_OK;
}

Status row_walk_hold(const RowRun *run, RowWalk *w, uint32_t piece, uint32_t offset) {
  if (holds(&w->now, piece, offset, offset + 1) || holds(&w->former, piece, offset, offset + 1)) return KVSTORE_OK;
  return window_unit(run, &w->former, piece, offset / UNIT_BYTES * UNIT_BYTES);
}

Status row_walk_load(const RowRun *run, RowWalk *w, uint32_t piece, uint32_t offset, const uint8_t **row,
                     uint32_t *total) {
  if (!begins_in(&w->now, piece, offset)) {
    swap_windows(w); /* in the other one, or that gives way */
    if (!begins_in(&w->now, piece, offset)) return row_window_load(run, &w->now, piece, offset, row, total);
  }
  uint64_t bytes = row_total(load_u64(w->now.bytes + (offset - w->now.start)));
  if (bytes > w->now.end - offset && !is_seam(run, &w->now, offset, bytes)) {
    swap_windows(w);
    return row_window_load(run, &w->now, piece, offset, row, total);
  }
  *total = (uint32_t)bytes;
  *row = w->now.bytes + (offset - w->now.start);
  if (bytes <= w->now.end - offset) return KVSTORE_OK;
  *row = w->seam;
  return copy_seam(run, w, offset, (uint32_t)bytes);
}

Status row_decode_flags(const uint8_t *row, uint32_t flags, uint32_t position, RowView *view) {
  uint32_t stored = load_u32(row + 4);
  if (flags & ~(uint32_t)ROW_FLAGS || ((flags & ROW_TOMBSTONE) && stored) ||
      ((flags & ROW_EXTERNAL) && stored != ROW_REFERENCE_BYTES))
    return status_fail(KVSTORE_CORRUPT, "row %u of a row run has flags %u with a value of %u bytes", position, flags,
                       stored);
  view->key = row_key(row);
  view->expiry = flags & ROW_EXPIRES ? (int64_t)load_u64(row + ROW_HEADER_BYTES) : EXPIRY_NEVER;
  view->tombstone = flags & ROW_TOMBSTONE;
  view->external = flags & ROW_EXTERNAL;
  view->position = position;
  const uint8_t *value = view->key.data + view->key.length;
  view->value = (Bytes){ value, stored };
  if (view->external) {
    view->value_extent = load_u32(value);
    view->value = (Bytes){ NULL, load_u32(value + 4) };
    view->value_offset = load_u64(value + 8);
  }
  return KVSTORE_OK;
}

Status row_run_value(const RowRun *run, const RowView *view, Bytes *value, RowPin *pin) {
  *pin = (RowPin){ 0 };
  *value = view->value;
  if (!view->external) return KVSTORE_OK;
  const RowExtent *e = view->value_extent < run->value_count ? &run->values[view->value_extent] : NULL;
  if (!e || view->value_offset > e->length || view->value.length > e->length - view->value_offset ||
      !view->value.length)
    return status_fail(KVSTORE_CORRUPT, "the value of row %u of a row run lies outside its value extents",
                       view->position);
  pin->source = e->source;
  return source_block(e->source, view->value_offset, view->value.length, &value->data, &pin->pin);
}

/* ---- point reads ---- */

void row_run_prefetch(const RowRun *run, uint64_t hash) {
  if (!run->bucket_count) return;
  uint64_t at = (uint64_t)bucket_home(hash, run->bucket_count) * BUCKET_BYTES;
  const uint8_t *base = run->index[at / INDEX_EXTENT_BYTES]->base;
  if (base) __builtin_prefetch(base + at % INDEX_EXTENT_BYTES);
}

/* The high bit of each 16-bit lane that is zero, exactly: no borrow crosses a lane. */
static inline uint64_t zero_lanes(uint64_t x) {
  const uint64_t low = UINT64_C(0x7fff7fff7fff7fff);
  return ~(((x & low) + low) | x | low);
}

/* Bits 0 to 9: the slots whose fingerprint this is. */
static inline uint32_t bucket_matches(const uint8_t *bucket, uint64_t hash) {
  uint64_t wanted = (hash & 0xffff) * UINT64_C(0x0001000100010001);
  uint64_t a = zero_lanes(load_u64(bucket) ^ wanted), b = zero_lanes(load_u64(bucket + 8) ^ wanted);
  uint64_t c = zero_lanes(load_u64(bucket + 16) ^ wanted) & UINT32_MAX;
  if (LIKELY(!(a | b | c))) return 0;
  /* the four high bits of a word come together in its lowest ones */
  const uint64_t gather = UINT64_C(0x0000200040008001);
  uint32_t slots = (uint32_t)((a >> 15) * gather >> 45 & 15) | (uint32_t)((b >> 15) * gather >> 45 & 15) << 4 |
                   (uint32_t)((c >> 15) * gather >> 45 & 3) << 8;
  return slots & ((1u << load_u16(bucket + BUCKET_COUNT_AT) % 16) - 1);
}

/* A short row lies in two or three lines, which memory can send at once: else the value's would be asked for when the
 * header has come and said how long it is. */
static inline void prefetch_behind(const uint8_t *row) {
  __builtin_prefetch(row + 64);
  __builtin_prefetch(row + 128);
}

void row_run_prefetch_rows(const RowRun *run, uint64_t hash) {
  if (!run->bucket_count || run->frames) return; /* a row of a packed run is in no place yet */
  uint64_t at = (uint64_t)bucket_home(hash, run->bucket_count) * BUCKET_BYTES;
  const uint8_t *base = run->index[at / INDEX_EXTENT_BYTES]->base;
  if (!base) return;
  const uint8_t *bucket = base + at % INDEX_EXTENT_BYTES;
  for (uint32_t matches = bucket_matches(bucket, hash); matches; matches &= matches - 1) {
    uint32_t position = load_u32(bucket + BUCKET_POSITIONS_AT + (uint32_t)__builtin_ctz(matches) * 4);
    if (position_piece(position) >= run->piece_count) continue;
    const RowPiece *piece = &run->pieces[position_piece(position)];
    if (!piece->source->base || position_offset(position) >= piece->length) continue;
    const uint8_t *row = piece->source->base + position_offset(position);
    __builtin_prefetch(row);
    prefetch_behind(row);
  }
}

/* Compares one slot's row with the key. */
static Status slot_get(const RowRun *run, uint32_t position, const void *key, size_t key_length, RowView *view,
                       RowPin *pin, bool *found) {
  RowWindow w = { 0 };
  const uint8_t *row;
  uint32_t total;
  TRY(row_window_load(run, &w, position_piece(position), position_offset(position), &row, &total));
  Bytes has = row_key(row);
  if (has.length == key_length && memcmp(has.data, key, key_length) == 0) {
    Status status = row_decode(row, position, view);
    if (status != KVSTORE_OK) {
      row_window_close(&w);
      return status;
    }
    *pin = w.pin;
    *found = true;
    return KVSTORE_OK;
  }
  row_window_close(&w);
  return KVSTORE_OK;
}

static Status bucket_get(const RowRun *run, const uint8_t *bucket, uint32_t matches, const void *key, size_t key_length,
                         RowView *view, RowPin *pin, bool *found) {
  for (; matches && !*found; matches &= matches - 1) {
    uint32_t position = load_u32(bucket + BUCKET_POSITIONS_AT + (uint32_t)__builtin_ctz(matches) * 4);
    if (position_piece(position) < run->piece_count && !run->frames) {
      const uint8_t *base = run->pieces[position_piece(position)].source->base;
      if (base) prefetch_behind(base + position_offset(position));
    }
    TRY(slot_get(run, position, key, key_length, view, pin, found));
  }
  return KVSTORE_OK;
}

Status row_run_get(const RowRun *run, uint64_t hash, const void *key, size_t key_length, RowView *view, RowPin *pin,
                   bool *found) {
  *found = false;
  *pin = (RowPin){ 0 };
  if (!run->bucket_count) return KVSTORE_OK;
  uint32_t at = bucket_home(hash, run->bucket_count);
  bool touched = false;
  for (uint32_t probe = 0;; probe++) {
    const uint8_t *bucket;
    RowPin index_pin;
    TRY(index_block(run, (uint64_t)at * BUCKET_BYTES, BUCKET_BYTES, &bucket, &index_pin));
    uint32_t matches = bucket_matches(bucket, hash);
    bool overflow = load_u16(bucket + BUCKET_OVERFLOW_AT) != 0;
    Status status = KVSTORE_OK;
    if (matches) {
      touched = true;
      status = bucket_get(run, bucket, matches, key, key_length, view, pin, found);
    }
    row_pin_release(&index_pin);
    if (status != KVSTORE_OK || *found) return status;
    if (LIKELY(!overflow) || probe == run->probe_max) break;
    at = at + 1 == run->bucket_count ? 0 : at + 1;
  }
  if (!touched) COUNT(fingerprint_misses);
  return KVSTORE_OK;
}
