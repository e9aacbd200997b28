/* row_check.c - verifies a row run wholly: order, counts, and that every way of the index leads to every row. */
#include "rowstore/row_run.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "rowstore/row_pack.h"
#include "rowstore/row_run_internal.h"

typedef struct RunCheck {
  const RowRun *run;
  const char **why;
  RowRunSummary seen;
  uint32_t group;            /* groups begun so far */
  uint32_t piece_row;        /* row within its piece */
  uint32_t group_row;        /* rows since groups were last counted anew */
  uint32_t frame, frame_row; /* of a packed piece: the frame, and the row within it */
  FrameExpiry frame_expiry;
  Buffer previous;      /* key */
  const uint8_t *block; /* the sparse block of the current group */
  RowPin block_pin;
} RunCheck;

static Status fail(RunCheck *k, const char *why) {
  *k->why = why;
  return status_fail(KVSTORE_CORRUPT, "row run, row %llu: %s", (unsigned long long)k->seen.row_count, why);
}

static Status check_group(RunCheck *k, const RowView *row) {
  const RowRun *run = k->run;
  uint32_t group = k->group++, block = group / SPARSE_GROUPS, slot = group % SPARSE_GROUPS;
  if (group >= run->group_count) return fail(k, "there are more groups than the directory says");
  if (slot == 0) {
    row_pin_release(&k->block_pin);
    TRY(row_sparse_block(run, block, &k->block, &k->block_pin));
    Bytes fence = run->fences[block],
          next = block + 1 < run->block_count ? run->fences[block + 1] : run->summary.last_key;
    if (bytes_compare(fence.data, fence.length, row->key.data, row->key.length) != 0)
      return fail(k, "a fence is not the first key of its block");
    if (load_u16(k->block + SPARSE_SKIP_AT) > keys_common(fence, next))
      return fail(k, "a block of the sparse index skips bytes in which its keys differ");
  }
  if (load_u32(k->block + SPARSE_POSITIONS_AT + slot * 4) != row->position)
    return fail(k, "the sparse index names another row");
  uint64_t head = key_head(row->key.data, row->key.length, load_u16(k->block + SPARSE_SKIP_AT));
  if (load_u64(k->block + slot * 8) != head) return fail(k, "a head of the sparse index is not that of its row");
  return KVSTORE_OK;
}

static Status check_order(RunCheck *k, const RowView *row) {
  if (k->seen.row_count) {
    if (bytes_compare(k->previous.data, k->previous.length, row->key.data, row->key.length) >= 0)
      return fail(k, "keys do not ascend");
  } else if (bytes_compare(k->run->summary.first_key.data, k->run->summary.first_key.length, row->key.data,
                           row->key.length)) {
    return fail(k, "the first key is not that of the directory");
  }
  buffer_clear(&k->previous);
  buffer_append(&k->previous, row->key.data, row->key.length);
  return buffer_status(&k->previous);
}

static Status check_value(RunCheck *k, const RowView *row) {
  if (row->external && row->value.length <= VALUE_INLINE_MAX) return fail(k, "a short value lies in a value extent");
  if (!row->external && row->value.length > VALUE_INLINE_MAX) return fail(k, "a long value lies in its row");
  Bytes value;
  RowPin pin;
  TRY(row_run_value(k->run, row, &value, &pin)); /* reads, and so verifies, an external one */
  row_pin_release(&pin);
  return KVSTORE_OK;
}

static Status check_padding(RunCheck *k, const uint8_t *row, uint32_t total) {
  Bytes key = row_key(row);
  for (const uint8_t *p = key.data + key.length + load_u32(row + 4); p < row + total; p++)
    if (*p) return fail(k, "the padding of a row is not zero");
  return KVSTORE_OK;
}

static Status check_indexed(RunCheck *k, const RowView *row) {
  RowView found_row;
  RowPin pin;
  bool found;
  TRY(row_run_get(k->run, hash_key(row->key.data, row->key.length), row->key.data, row->key.length, &found_row, &pin,
                  &found));
  row_pin_release(&pin);
  return found && found_row.position == row->position ? KVSTORE_OK : fail(k, "the index does not lead to a row");
}

static void count_row(RowRunSummary *s, const RowView *row) {
  s->row_count++;
  s->tombstone_count += row->tombstone;
  s->external_count += row->external;
  s->key_bytes += row->key.length;
  s->value_bytes += row->value.length;
  if (row->expiry == EXPIRY_NEVER) return;
  if (!s->expiring_count++) s->expiry_min = s->expiry_max = row->expiry;
  if (row->expiry < s->expiry_min) s->expiry_min = row->expiry;
  if (row->expiry > s->expiry_max) s->expiry_max = row->expiry;
}

/* What the expiry column says of the frame that ends here is what its rows said. */
static Status check_frame_expiry(RunCheck *k, uint32_t frame) {
  FrameExpiry seen = k->frame_expiry, e;
  if (!k->run->frames->expiries) return KVSTORE_OK;
  TRY(row_frame_expiry(k->run, frame, &e));
  if (e.expiring != seen.expiring || (e.expiring && (e.lowest != seen.lowest || e.highest != seen.highest)))
    return fail(k, "the column of expiries is not that of the rows");
  return KVSTORE_OK;
}

/* Before each row and behind the last one of a piece: a frame that ends here held as many rows as the directory says,
 * and groups begin anew. */
static Status check_frame_end(RunCheck *k, const RowPiece *piece, uint32_t offset) {
  if (!piece->frames || !offset || offset != piece->frames[k->frame + 1].start) return KVSTORE_OK;
  if (k->frame_row != piece->frames[k->frame].row_count)
    return fail(k, "a frame does not hold as many rows as the directory says");
  TRY(check_frame_expiry(k, piece->first_frame + k->frame));
  k->frame++;
  k->frame_row = k->group_row = 0;
  k->frame_expiry = (FrameExpiry){ 0 };
  return KVSTORE_OK;
}

static void note_expiry(FrameExpiry *e, int64_t expiry) {
  if (expiry == EXPIRY_NEVER) return;
  if (!e->expiring++) e->lowest = e->highest = expiry;
  if (expiry < e->lowest) e->lowest = expiry;
  if (expiry > e->highest) e->highest = expiry;
}

static Status check_row(RunCheck *k, const uint8_t *bytes, uint32_t total, const RowView *row) {
  if ((load_u16(bytes + 2) & ROW_EXPIRES) && row->expiry == EXPIRY_NEVER)
    return fail(k, "a row has an expiry that is never");
  TRY(check_order(k, row));
  if (k->group_row % SPARSE_INTERVAL == 0) TRY(check_group(k, row));
  TRY(check_value(k, row));
  TRY(check_padding(k, bytes, total));
  TRY(check_indexed(k, row));
  count_row(&k->seen, row);
  note_expiry(&k->frame_expiry, row->expiry);
  k->piece_row++;
  k->group_row++;
  k->frame_row++;
  return KVSTORE_OK;
}

static Status check_piece(RunCheck *k, uint32_t piece) {
  RowWalk walk;
  Status status = KVSTORE_OK;
  const RowPiece *p = &k->run->pieces[piece];
  row_walk_begin(&walk);
  k->piece_row = k->group_row = k->frame = k->frame_row = 0;
  k->frame_expiry = (FrameExpiry){ 0 };
  for (uint32_t offset = 0, total; status == KVSTORE_OK && offset < p->length; offset += total) {
    const uint8_t *bytes;
    RowView row;
    status = check_frame_end(k, p, offset);
    if (status == KVSTORE_OK) status = row_walk_row(k->run, &walk, piece, offset, &bytes, &total);
    if (status == KVSTORE_OK) status = row_decode(bytes, position_of(piece, offset), &row);
    if (status == KVSTORE_OK) status = check_row(k, bytes, total, &row);
  }
  row_walk_end(&walk);
  if (status == KVSTORE_OK) status = check_frame_end(k, p, p->length);
  if (status == KVSTORE_OK && k->piece_row != k->run->pieces[piece].row_count)
    status = fail(k, "a piece does not hold as many rows as the directory says");
  return status;
}

/* The slots of all buckets name each row once, when there are as many as rows and every row was found. */
static Status check_buckets(RunCheck *k) {
  uint64_t slots = 0;
  for (uint32_t i = 0; i < k->run->bucket_count; i++) {
    const uint8_t *bucket;
    RowPin pin;
    TRY(index_block(k->run, (uint64_t)i * BUCKET_BYTES, BUCKET_BYTES, &bucket, &pin));
    uint32_t count = load_u16(bucket + BUCKET_COUNT_AT);
    row_pin_release(&pin);
    if (count > BUCKET_SLOTS) return fail(k, "a bucket counts more slots than it has");
    slots += count;
  }
  return slots == k->run->summary.row_count ? KVSTORE_OK : fail(k, "the index does not hold as many keys as rows");
}

static Status check_summary(RunCheck *k) {
  const RowRunSummary *a = &k->seen, *b = &k->run->summary;
  if (a->row_count && bytes_compare(k->previous.data, k->previous.length, b->last_key.data, b->last_key.length))
    return fail(k, "the last key is not that of the directory");
  if (a->row_count != b->row_count || a->tombstone_count != b->tombstone_count ||
      a->expiring_count != b->expiring_count || a->external_count != b->external_count ||
      a->key_bytes != b->key_bytes || a->value_bytes != b->value_bytes)
    return fail(k, "the directory's counts are not those of the rows");
  if (a->expiry_min != b->expiry_min || a->expiry_max != b->expiry_max)
    return fail(k, "the directory's expiries are not those of the rows");
  return KVSTORE_OK;
}

static Status check_all(RunCheck *k) {
  for (uint32_t i = 0; i < k->run->piece_count; i++) TRY(check_piece(k, i));
  TRY(check_buckets(k));
  return check_summary(k);
}

Status row_run_check(const RowRun *run, const char **why) {
  RunCheck k = { .run = run, .why = why, .seen = { .expiry_min = EXPIRY_NEVER } };
  *why = NULL;
  Status status = check_all(&k);
  row_pin_release(&k.block_pin);
  buffer_release(&k.previous);
  if (status == KVSTORE_CORRUPT && !*why) *why = "an extent or a row cannot be read";
  return status;
}
