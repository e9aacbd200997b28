#include "columnar/deleted_set.h"

#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/memory.h"
#include "columnar/deleted_internal.h"

enum { BLOCKS_WORDS = BLOCK_ROWS / 64 };

/* ---- the rows of one segment ---- */

static size_t rows_bytes(uint32_t count, bool is_bitmap) {
  return sizeof(DeletedRows) + (is_bitmap ? DELETED_WORDS * sizeof(uint64_t) : count * sizeof(uint16_t));
}

uint64_t deleted_rows_memory(const DeletedRows *rows) { return rows_bytes(rows->count, rows->is_bitmap); }

static DeletedRows *rows_allocate(uint32_t count, bool is_bitmap) {
  DeletedRows *rows = memory_allocate(rows_bytes(count, is_bitmap));
  if (!rows) return NULL;
  atomic_init(&rows->references, 1);
  rows->count = count;
  rows->is_bitmap = is_bitmap;
  if (is_bitmap) {
    rows->words = (uint64_t *)(rows + 1);
  } else {
    rows->rows = (uint16_t *)(rows + 1);
  }
  return rows;
}

static DeletedRows *rows_retain(DeletedRows *rows) {
  if (rows) atomic_fetch_add_explicit(&rows->references, 1, memory_order_relaxed);
  return rows;
}

static void rows_release(DeletedRows *rows) {
  if (rows && atomic_fetch_sub_explicit(&rows->references, 1, memory_order_acq_rel) == 1) memory_release(rows);
}

static void words_set_rows(uint64_t *words, const uint16_t *rows, size_t count) {
  for (size_t i = 0; i < count; i++) bit_set(words, rows[i]);
}

static uint32_t words_list(const uint64_t *words, uint16_t *list) {
  uint32_t count = 0;
  for (uint32_t w = 0; w < DELETED_WORDS; w++) {
    for (uint64_t left = words[w]; left; left &= left - 1) {
      list[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(left));
    }
  }
  return count;
}

DeletedRows *deleted_rows_from_array(const uint16_t *rows, uint32_t count) {
  DeletedRows *made = rows_allocate(count, count > DELETED_ARRAY_MAX);
  if (!made) return NULL;
  if (made->is_bitmap) {
    memset(made->words, 0, DELETED_WORDS * sizeof(uint64_t));
    words_set_rows(made->words, rows, count);
  } else {
    memcpy(made->rows, rows, count * sizeof(uint16_t));
  }
  return made;
}

DeletedRows *deleted_rows_from_words(const uint64_t words[DELETED_WORDS], uint32_t count) {
  DeletedRows *made = rows_allocate(count, count > DELETED_ARRAY_MAX);
  if (!made) return NULL;
  if (made->is_bitmap) {
    memcpy(made->words, words, DELETED_WORDS * sizeof(uint64_t));
  } else {
    words_list(words, made->rows);
  }
  return made;
}

void deleted_rows_list(const DeletedRows *rows, uint16_t *list) {
  if (rows->is_bitmap) {
    words_list(rows->words, list);
  } else {
    memcpy(list, rows->rows, rows->count * sizeof(uint16_t));
  }
}

/* The first entry of an array that is not less than `row`. */
static uint32_t rows_lower_bound(const DeletedRows *rows, uint32_t row) {
  uint32_t first = 0, length = rows->count;
  while (length) {
    uint32_t half = length / 2;
    if (rows->rows[first + half] < row) {
      first += half + 1;
      length -= half + 1;
    } else {
      length = half;
    }
  }
  return first;
}

bool deleted_rows_contain(const DeletedRows *rows, uint32_t row) {
  if (rows->is_bitmap) return bit_get(rows->words, row);
  uint32_t at = rows_lower_bound(rows, row);
  return at < rows->count && rows->rows[at] == row;
}

static uint32_t words_count_range(const uint64_t *words, uint32_t from, uint32_t to) {
  uint32_t count = 0;
  for (uint32_t w = from / 64; w * 64 < to; w++) {
    uint64_t word = words[w];
    if (w * 64 < from) word &= UINT64_MAX << (from % 64);
    if (to - w * 64 < 64) word &= (UINT64_C(1) << (to % 64)) - 1;
    count += (uint32_t)__builtin_popcountll(word);
  }
  return count;
}

uint32_t deleted_rows_count_range(const DeletedRows *rows, uint32_t from, uint32_t to) {
  if (from >= to) return 0;
  if (rows->is_bitmap) return words_count_range(rows->words, from, to);
  return rows_lower_bound(rows, to) - rows_lower_bound(rows, from);
}

static uint32_t take_block(uint64_t *blocks) {
  uint32_t block = (uint32_t)__builtin_ctzll(*blocks);
  *blocks &= *blocks - 1;
  return block;
}

/* Without a branch that few dead rows would mislead. */
static void clear_by_words(const uint64_t *words, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS], uint64_t *touched,
                           uint64_t *emptied) {
  while (blocks) {
    uint32_t block = take_block(&blocks);
    const uint64_t *dead = words + (size_t)block * BLOCKS_WORDS;
    uint64_t *mask = masks[block], any = 0, left = 0;
    for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
      any |= dead[w];
      mask[w] &= ~dead[w];
      left |= mask[w];
    }
    *touched |= (uint64_t)(any != 0) << block;
    *emptied |= (uint64_t)(any != 0 && left == 0) << block;
  }
}

static bool any_bit(const uint64_t words[BLOCK_WORDS]) {
  for (uint32_t w = 0; w < BLOCK_WORDS; w++)
    if (words[w]) return true;
  return false;
}

static void clear_by_array(const DeletedRows *rows, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS], uint64_t *touched,
                           uint64_t *emptied) {
  for (uint32_t i = 0; i < rows->count; i++) {
    uint32_t block = rows->rows[i] / BLOCK_ROWS;
    if (!(blocks >> block & 1)) continue;
    *touched |= UINT64_C(1) << block;
    bit_clear(masks[block], rows->rows[i] % BLOCK_ROWS);
  }
  for (uint64_t left = *touched; left;) {
    uint32_t block = take_block(&left);
    if (!any_bit(masks[block])) *emptied |= UINT64_C(1) << block;
  }
}

void deleted_rows_clear(const DeletedRows *rows, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS], uint64_t *touched,
                        uint64_t *emptied) {
  *touched = *emptied = 0;
  if (rows->is_bitmap)
    clear_by_words(rows->words, blocks, masks, touched, emptied);
  else
    clear_by_array(rows, blocks, masks, touched, emptied);
}

/* ---- sets ---- */

Status deleted_set_create(uint32_t segment_count, DeletedSet **set) {
  ASSERT(segment_count >= 1 && segment_count <= RUN_SEGMENTS_MAX, "COL-8");
  *set = memory_allocate_zeroed(sizeof **set);
  if (!*set) return status_nomem();
  atomic_init(&(*set)->references, 1);
  (*set)->segment_count = segment_count;
  return KVSTORE_OK;
}

DeletedSet *deleted_set_retain(const DeletedSet *set) {
  DeletedSet *counted = (DeletedSet *)set; /* the count of references is no part of the value */
  if (counted) atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
  return counted;
}

void deleted_set_release(const DeletedSet *set) {
  DeletedSet *counted = (DeletedSet *)set;
  if (!counted || atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t s = 0; s < counted->segment_count; s++) rows_release(counted->segments[s]);
  memory_release(counted);
}

void deleted_set_positions(const DeletedSet *set, uint32_t *positions) {
  uint16_t list[DELETED_ARRAY_MAX];
  for (uint32_t s = 0; set && s < set->segment_count; s++) {
    const DeletedRows *rows = set->segments[s];
    if (!rows) continue;
    if (rows->is_bitmap) {
      for (uint32_t w = 0; w < DELETED_WORDS; w++) {
        for (uint64_t left = rows->words[w]; left; left &= left - 1) {
          *positions++ = position_pack(s, w * 64 + (uint32_t)__builtin_ctzll(left));
        }
      }
    } else {
      deleted_rows_list(rows, list);
      for (uint32_t i = 0; i < rows->count; i++) *positions++ = position_pack(s, list[i]);
    }
  }
}

void deleted_set_words(const DeletedSet *set, uint32_t segment, uint64_t words[DELETED_WORDS]) {
  const DeletedRows *rows = deleted_set_rows(set, segment);
  if (rows && rows->is_bitmap) {
    memcpy(words, rows->words, DELETED_WORDS * sizeof(uint64_t));
    return;
  }
  memset(words, 0, DELETED_WORDS * sizeof(uint64_t));
  if (rows) words_set_rows(words, rows->rows, rows->count);
}

/* ---- adding ---- */

/* Merges two ascending arrays without repetitions; room for both. Returns the length. */
static uint32_t merge_rows(const DeletedRows *old, const uint16_t *added, size_t added_count, uint16_t *out) {
  uint32_t count = 0, i = 0;
  size_t j = 0;
  while (i < old->count || j < added_count) {
    uint32_t a = i < old->count ? old->rows[i] : UINT32_MAX;
    uint32_t b = j < added_count ? added[j] : UINT32_MAX;
    out[count++] = (uint16_t)(a < b ? a : b);
    i += a <= b;
    j += b <= a;
  }
  return count;
}

/* A bitmap stays one, and only what is added is counted. */
static DeletedRows *bitmap_add(DeletedRows *old, const uint16_t *added, size_t added_count) {
  uint32_t fresh = 0;
  for (size_t i = 0; i < added_count; i++) fresh += !bit_get(old->words, added[i]);
  if (!fresh) return rows_retain(old);
  DeletedRows *made = rows_allocate(old->count + fresh, true);
  if (!made) return NULL;
  memcpy(made->words, old->words, DELETED_WORDS * sizeof(uint64_t));
  words_set_rows(made->words, added, added_count);
  return made;
}

/* *out: the rows of `old` (may be NULL) and those of `added` (ascending, no repetitions), with a reference for the
 * caller. */
static Status rows_add(DeletedRows *old, const uint16_t *added, size_t added_count, DeletedRows **out) {
  uint32_t old_count = old ? old->count : 0, count;
  if (!old) {
    *out = deleted_rows_from_array(added, (uint32_t)added_count);
  } else if (old->is_bitmap) {
    *out = bitmap_add(old, added, added_count);
  } else if (old_count + added_count <= DELETED_ARRAY_MAX) {
    uint16_t merged[DELETED_ARRAY_MAX];
    count = merge_rows(old, added, added_count, merged);
    *out = count == old_count ? rows_retain(old) : deleted_rows_from_array(merged, count);
  } else {
    uint64_t words[DELETED_WORDS] = { 0 };
    words_set_rows(words, old->rows, old_count);
    words_set_rows(words, added, added_count);
    count = (uint32_t)bitmap_count(words, DELETED_WORDS);
    *out = count == old_count ? rows_retain(old) : deleted_rows_from_words(words, count);
  }
  return *out ? KVSTORE_OK : status_nomem();
}

static bool positions_ascend(const uint32_t *positions, size_t count) {
  for (size_t i = 1; i < count; i++) {
    if (positions[i - 1] >= positions[i]) return false;
  }
  return true;
}

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* One pass of a radix sort: by the digit at bit `shift`, stably. */
static void sort_pass(const uint32_t *from, uint32_t *to, size_t count, int shift) {
  size_t starts[DIGITS + 1] = { 0 };
  for (size_t i = 0; i < count; i++) starts[(from[i] >> shift & (DIGITS - 1)) + 1]++;
  for (size_t d = 1; d <= DIGITS; d++) starts[d] += starts[d - 1];
  for (size_t i = 0; i < count; i++) to[starts[from[i] >> shift & (DIGITS - 1)]++] = from[i];
}

/* Sorts positions (22 bits: six of the segment, sixteen of the row) and drops repetitions; `room` is as long. Returns
 * how many are left. */
static size_t positions_sort(uint32_t *positions, uint32_t *room, size_t count) {
  sort_pass(positions, room, count, 0);
  sort_pass(room, positions, count, DIGIT_BITS);
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (!kept || positions[kept - 1] != positions[i]) positions[kept++] = positions[i];
  }
  return kept;
}

/* Adds ascending positions without repetitions to `made`, which shares the segments of the old set. `rows` has room for
 * SEGMENT_ROWS entries. */
static Status set_add_sorted(DeletedSet *made, const uint32_t *positions, size_t count, uint16_t *rows) {
  for (size_t i = 0; i < count;) {
    uint32_t segment = position_segment(positions[i]);
    size_t length = 0;
    for (; i < count && position_segment(positions[i]) == segment; i++) rows[length++] = (uint16_t)positions[i];
    DeletedRows *old = made->segments[segment], *grown;
    TRY(rows_add(old, rows, length, &grown));
    COUNT_MANY(deleted_segments_made, grown != old);
    made->count += grown->count - (old ? old->count : 0);
    made->segments[segment] = grown;
    rows_release(old);
  }
  return KVSTORE_OK;
}

static Status positions_check(const uint32_t *positions, size_t count, uint32_t segment_count) {
  for (size_t i = 0; i < count; i++) {
    if (position_segment(positions[i]) >= segment_count) {
      return status_fail(KVSTORE_CORRUPT, "a deleted row lies in segment %u of a run of %u segments",
                         position_segment(positions[i]), segment_count);
    }
  }
  return KVSTORE_OK;
}

Status deleted_set_add_many(const DeletedSet *set, uint32_t segment_count, const uint32_t *positions, size_t count,
                            DeletedSet **out) {
  *out = NULL;
  if (set) segment_count = set->segment_count;
  TRY(positions_check(positions, count, segment_count));
  DeletedSet *made = NULL;
  uint32_t *sorted = NULL, *room = NULL;
  uint16_t *rows = NULL;
  Status status = deleted_set_create(segment_count, &made);
  if (status != KVSTORE_OK) goto out;
  if (set) made->count = set->count;
  for (uint32_t s = 0; set && s < segment_count; s++) made->segments[s] = rows_retain(set->segments[s]);
  size_t most_rows = count < SEGMENT_ROWS ? count : SEGMENT_ROWS;
  rows = memory_allocate(memory_array_size(most_rows, sizeof *rows));
  status = rows ? KVSTORE_OK : status_nomem();
  if (status == KVSTORE_OK && !positions_ascend(positions, count)) {
    sorted = memory_copy(positions, memory_array_size(count, sizeof *sorted));
    room = memory_allocate(memory_array_size(count, sizeof *room));
    if (!sorted || !room) {
      status = status_nomem();
      goto out;
    }
    count = positions_sort(sorted, room, count);
    positions = sorted;
  }
  if (status == KVSTORE_OK) status = set_add_sorted(made, positions, count, rows);
  if (status == KVSTORE_OK) {
    *out = made;
    made = NULL;
  }
out:
  memory_release(rows);
  memory_release(room);
  memory_release(sorted);
  deleted_set_release(made);
  return status;
}
