/* row_run_cursor.c - walks a row run in key order.
 *
 * Forward the rows of a piece stand one behind the other. Backward they are found by groups: the sparse index says
 * where a group of 16 begins, one walk notes where each row does. */
#include "rowstore/row_run.h"

#include <string.h>

#include "rowstore/row_run_internal.h"

enum { NO_GROUP = UINT32_MAX };

/* ---- sparse index ---- */

Status row_sparse_block(const RowRun *run, uint32_t block, const uint8_t **bytes, RowPin *pin) {
  TRY(index_block(run, run->sparse_start + (uint64_t)block * SPARSE_BLOCK_BYTES, SPARSE_BLOCK_BYTES, bytes, pin));
  if (LIKELY(load_u16(*bytes + SPARSE_COUNT_AT) == sparse_groups(run, block))) return KVSTORE_OK;
  row_pin_release(pin);
  return status_fail(KVSTORE_CORRUPT, "block %u of the sparse index of a row run has the wrong count", block);
}

static void give_sparse_back(RowCursor *c) {
  row_pin_release(&c->sparse_pin);
  c->sparse = NULL;
}

/* The cursor holds the block that it needed last: a walk backward asks for each one some 250 times. */
static Status hold_sparse(RowCursor *c, uint32_t block) {
  if (LIKELY(c->sparse && c->sparse_block == block)) return KVSTORE_OK;
  give_sparse_back(c);
  const uint8_t *bytes;
  TRY(row_sparse_block(c->run, block, &bytes, &c->sparse_pin));
  c->sparse = bytes;
  c->sparse_block = block;
  return KVSTORE_OK;
}

static Status group_position(RowCursor *c, uint32_t group, uint32_t *position) {
  TRY(hold_sparse(c, group / SPARSE_GROUPS));
  *position = load_u32(c->sparse + SPARSE_POSITIONS_AT + group % SPARSE_GROUPS * 4);
  if (UNLIKELY(position_piece(*position) >= c->run->piece_count))
    return status_fail(KVSTORE_CORRUPT, "group %u of a row run begins outside its pieces", group);
  return KVSTORE_OK;
}

/* ---- standing on a row ---- */

void row_cursor_open(RowCursor *c, const RowRun *run) {
  memset(c, 0, offsetof(RowCursor, walk));
  row_walk_begin(&c->walk);
  c->run = run;
  c->loaded_group = NO_GROUP;
}

void row_cursor_close(RowCursor *c) {
  row_walk_end(&c->walk);
  give_sparse_back(c);
  c->valid = false;
}

static Status stand(RowCursor *c, uint32_t piece, uint32_t offset) {
  const uint8_t *row;
  uint32_t total;
  c->valid = false;
  TRY(row_walk_row(c->run, &c->walk, piece, offset, &row, &total));
  TRY(row_decode(row, position_of(piece, offset), &c->row));
  c->piece = piece;
  c->offset = offset;
  c->next_offset = offset + total;
  c->valid = true;
  return KVSTORE_OK;
}

Status row_cursor_next(RowCursor *c) {
  uint32_t piece = c->piece, offset = c->next_offset;
  c->loaded_group = NO_GROUP;
  if (UNLIKELY(offset == c->run->pieces[piece].length)) {
    if (++piece == c->run->piece_count) {
      c->valid = false;
      return KVSTORE_OK;
    }
    offset = 0;
  }
  return stand(c, piece, offset);
}

Status row_cursor_first(RowCursor *c) {
  c->valid = false;
  c->loaded_group = NO_GROUP;
  if (!c->run->piece_count) return KVSTORE_OK;
  c->group = 0;
  return stand(c, 0, 0);
}

/* ---- backward ---- */

static void prefetch_down(const uint8_t *base, uint32_t start, uint32_t end) {
  for (uint32_t at = end; at > start; at -= at - start < 64 ? at - start : 64) __builtin_prefetch(base + at - 1);
}

static void prefetch_held(const RowWindow *w, uint32_t piece, uint32_t start, uint32_t end) {
  if (!w->bytes || w->piece != piece) return;
  if (start < w->start) start = w->start;
  if (end > w->end) end = w->end;
  if (start < end) prefetch_down(w->bytes - w->start, start, end);
}

/* Fetches ahead what lies between two positions of a piece, up to 4 KiB: the lines last to first, a direction that the
 * hardware's own prefetcher can follow, unlike the walk through a group. Not mapped: what of it the walk holds, which
 * gets hold of the unit in front when it is going there anyway. */
static Status prefetch_rows(RowCursor *c, uint32_t from, uint32_t to, bool going) {
  uint32_t at = position_piece(from), start = position_offset(from), end = position_offset(to);
  const RowPiece *piece = &c->run->pieces[at];
  if (c->run->frames || at != position_piece(to) || end > piece->length || start >= end || end - start > PAGE_BYTES)
    return KVSTORE_OK;
  if (piece->source->base) {
    prefetch_down(piece->source->base, start, end);
    return KVSTORE_OK;
  }
  if (going) TRY(row_walk_hold(c->run, &c->walk, at, start));
  prefetch_held(&c->walk.now, at, start, end);
  prefetch_held(&c->walk.former, at, start, end);
  return KVSTORE_OK;
}

/* Notes the offsets of a group's rows. */
static Status load_group(RowCursor *c, uint32_t group) {
  uint32_t position, near;
  bool going = c->loaded_group == group + 1;
  c->loaded_group = NO_GROUP;
  TRY(group_position(c, group, &position));
  if (group) {
    TRY(group_position(c, group - 1, &near));
    TRY(prefetch_rows(c, near, position, going));
  }
  uint32_t piece = position_piece(position), offset = position_offset(position), end = c->run->pieces[piece].length,
           n = 0;
  if (group + 1 < c->run->group_count) {
    TRY(group_position(c, group + 1, &near));
    if (position_piece(near) == piece) end = position_offset(near);
  }
  while (n < SPARSE_INTERVAL && offset < end) {
    const uint8_t *row;
    uint32_t total;
    TRY(row_walk_row(c->run, &c->walk, piece, offset, &row, &total));
    c->offsets[n++] = offset;
    offset += total;
  }
  if (offset != end || n == 0)
    return status_fail(KVSTORE_CORRUPT, "group %u of a row run does not end where the next one begins", group);
  c->loaded_group = c->group = group;
  c->loaded_count = n;
  c->piece = piece;
  return KVSTORE_OK;
}

static Status stand_in_group(RowCursor *c, uint32_t index) {
  c->loaded_index = index;
  return stand(c, c->piece, c->offsets[index]);
}

static Status last_of_group(RowCursor *c, uint32_t group) {
  c->valid = false;
  TRY(load_group(c, group));
  return stand_in_group(c, c->loaded_count - 1);
}

/* The last group that begins at or before a position: that of the row there. */
static Status group_of(RowCursor *c, uint32_t position, uint32_t *group) {
  const RowRun *run = c->run;
  uint32_t low = 0, high = run->group_count, at;
  if (c->group < high) { /* most often where the last one was, or behind it */
    TRY(group_position(c, c->group, &at));
    if (at <= position) {
      low = c->group;
      for (uint32_t i = 1; i <= 2 && low + i < high; i++) {
        TRY(group_position(c, low + i, &at));
        if (at > position) high = low + i;
      }
    } else {
      high = c->group;
    }
  }
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    TRY(group_position(c, middle, &at));
    if (at <= position)
      low = middle;
    else
      high = middle;
  }
  *group = low;
  return KVSTORE_OK;
}

/* Loads the group of the current row, after forward steps. */
static Status find_group(RowCursor *c) {
  uint32_t group, offset = c->offset, piece = c->piece;
  TRY(group_of(c, position_of(piece, offset), &group));
  TRY(load_group(c, group));
  for (uint32_t i = 0; i < c->loaded_count && c->piece == piece; i++) {
    c->loaded_index = i;
    if (c->offsets[i] == offset) return KVSTORE_OK;
  }
  c->loaded_group = NO_GROUP;
  return status_fail(KVSTORE_CORRUPT, "the sparse index of a row run does not lead to byte %u of piece %u", offset,
                     piece);
}

Status row_cursor_prev(RowCursor *c) {
  if (UNLIKELY(c->loaded_group == NO_GROUP)) {
    c->valid = false;
    TRY(find_group(c));
  }
  if (LIKELY(c->loaded_index)) return stand_in_group(c, c->loaded_index - 1);
  if (c->loaded_group) return last_of_group(c, c->loaded_group - 1);
  c->valid = false;
  return KVSTORE_OK;
}

Status row_cursor_last(RowCursor *c) {
  c->valid = false;
  if (!c->run->group_count) return KVSTORE_OK;
  return last_of_group(c, c->run->group_count - 1);
}

/* ---- seeking ---- */

/* The last fence <= key; there is one. */
static uint32_t find_fence(const RowRun *run, const void *key, size_t length) {
  uint64_t head = key_head(key, length, run->common);
  uint32_t low = 0, high = run->block_count;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    uint64_t fence = run->fence_heads[middle];
    bool before = fence != head ? fence < head
                                : bytes_compare(run->fences[middle].data, run->fences[middle].length, key, length) <= 0;
    if (before)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* Is the first key of the group at `position` <= key? Asked when their heads are equal. */
static Status group_begins_before(RowCursor *c, uint32_t position, const void *key, size_t length, bool *before) {
  const uint8_t *row;
  uint32_t total;
  TRY(row_walk_row(c->run, &c->walk, position_piece(position), position_offset(position), &row, &total));
  Bytes first = row_key(row);
  *before = bytes_compare(first.data, first.length, key, length) <= 0;
  return KVSTORE_OK;
}

/* The last group of a block whose first key is <= key. */
static Status search_block(RowCursor *c, const uint8_t *block, uint32_t count, const void *key, size_t length,
                           uint32_t *group) {
  uint64_t head = key_head(key, length, load_u16(block + SPARSE_SKIP_AT));
  uint32_t low = 0, high = count;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    uint64_t first = load_u64(block + middle * 8);
    bool before = first < head;
    if (first == head)
      TRY(group_begins_before(c, load_u32(block + SPARSE_POSITIONS_AT + middle * 4), key, length, &before));
    if (before)
      low = middle;
    else
      high = middle;
  }
  *group = low;
  return KVSTORE_OK;
}

/* The group that holds the first row >= key, or ends right before it; where it begins; the bytes that its keys share.
 */
static Status find_start(RowCursor *c, const void *key, size_t length, uint32_t *position, uint32_t *skip) {
  const RowRun *run = c->run;
  uint32_t fence = find_fence(run, key, length), group = 0;
  TRY(hold_sparse(c, fence));
  TRY(search_block(c, c->sparse, sparse_groups(run, fence), key, length, &group));
  *position = load_u32(c->sparse + SPARSE_POSITIONS_AT + group * 4);
  *skip = load_u16(c->sparse + SPARSE_SKIP_AT);
  c->group = fence * SPARSE_GROUPS + group;
  return KVSTORE_OK;
}

/* From the row at `position` on, the first one >= key. At most a group's rows are passed over. */
static Status walk_to(RowCursor *c, uint32_t position, uint32_t skip, const void *key, size_t length) {
  const RowRun *run = c->run;
  uint64_t head = key_head(key, length, skip);
  uint32_t piece = position_piece(position), offset = position_offset(position);
  for (uint32_t i = 0; i <= SPARSE_INTERVAL; i++) {
    const uint8_t *row;
    uint32_t total;
    TRY(row_walk_row(run, &c->walk, piece, offset, &row, &total));
    Bytes at = row_key(row);
    uint64_t at_head = key_head(at.data, at.length, skip);
    if (at_head > head || (at_head == head && bytes_compare(at.data, at.length, key, length) >= 0))
      return stand(c, piece, offset);
    offset += total;
    if (offset == run->pieces[piece].length) {
      if (++piece == run->piece_count) return KVSTORE_OK;
      offset = 0;
    }
  }
  return status_fail(KVSTORE_CORRUPT, "the sparse index of a row run leads to the wrong rows");
}

Status row_cursor_seek(RowCursor *c, const void *key, size_t length) {
  const RowRunSummary *s = &c->run->summary;
  c->valid = false;
  c->loaded_group = NO_GROUP;
  if (!s->row_count || bytes_compare(key, length, s->last_key.data, s->last_key.length) > 0) return KVSTORE_OK;
  if (bytes_compare(key, length, s->first_key.data, s->first_key.length) <= 0) return row_cursor_first(c);
  uint32_t position, skip;
  TRY(find_start(c, key, length, &position, &skip));
  return walk_to(c, position, skip, key, length);
}

Status row_cursor_seek_last(RowCursor *c, const void *key, size_t length) {
  TRY(row_cursor_seek(c, key, length));
  if (!c->valid) {
    const RowRunSummary *s = &c->run->summary;
    if (!s->row_count) return KVSTORE_OK;
    return row_cursor_last(c);
  }
  if (bytes_compare(c->row.key.data, c->row.key.length, key, length) == 0) return KVSTORE_OK;
  return row_cursor_prev(c);
}
