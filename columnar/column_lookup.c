/* column_lookup.c - a run by key: segment by the directory, block by its fences, row by the key columns themselves. */
#include <string.h>

#include "base/assert.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "columnar/column_run_internal.h"
#include "columnar/key_filter.h"

/* ---- segment and block ----
 *
 * Sorted keys are searched by their heads: the 8 bytes behind what all of them have in common. Only keys with an equal
 * head are compared whole. */

typedef struct KeyList {
  const uint64_t *heads;
  uint32_t count;
  size_t prefix;
  const SegmentOpen *opened; /* the keys are the fences of `segment`; or, when NULL, */
  const Segment *segments;   /* the segments' first keys */
  const Segment *segment;
} KeyList;

static Bytes list_key(const KeyList *list, uint32_t i) {
  return list->opened ? segment_open_fence(list->opened, list->segment, i) : list->segments[i].first_key;
}

static uint32_t heads_lower_bound(const uint64_t *heads, uint32_t count, uint64_t head) {
  uint32_t first = 0;
  while (count) {
    uint32_t half = count / 2;
    bool is_less = heads[first + half] < head;
    first = is_less ? first + half + 1 : first;
    count = is_less ? count - half - 1 : half;
  }
  return first;
}

static int key_compare(Bytes a, Bytes b) { return bytes_compare(a.data, a.length, b.data, b.length); }

/* The last key of the list that is not above `key`, which is not below the first and has the list's common prefix. */
static uint32_t list_find(const KeyList *list, Bytes key) {
  uint64_t head = key_head(key, list->prefix);
  uint32_t first = heads_lower_bound(list->heads, list->count, head), end = first;
  while (end < list->count && list->heads[end] == head) end++;
  while (first < end) { /* among equal heads: behind the last key that is not above */
    uint32_t middle = first + (end - first) / 2;
    if (key_compare(list_key(list, middle), key) <= 0) {
      first = middle + 1;
    } else {
      end = middle;
    }
  }
  return first ? first - 1 : 0;
}

static Segment *find_segment(ColumnRun *run, Bytes key) {
  const ColumnRunIndex *index = run->index;
  KeyList list = { index->heads, run->segment_count, index->key_prefix, NULL, run->segments, NULL };
  return &run->segments[list_find(&list, key)];
}

static uint32_t find_block(const Segment *s, const SegmentOpen *o, Bytes key) {
  KeyList list = { o->heads, s->block_count, o->key_prefix, o, NULL, s };
  return list_find(&list, key);
}

/* ---- the row, when keys are images ---- */

/* The image that an encoded key of one column stands for. False when the key has another length. */
static bool key_to_image(ColumnType type, Bytes key, int64_t *image) {
  size_t width = type_is_float(type) ? 8 : type_array_width(type);
  if (key.length != width) return false;
  uint64_t bits = bytes_prefix64(key.data, width) >> ((64 - 8 * width) & 63); /* an image has 1 to 8 bytes */
  if (type_is_signed(type) || type_is_float(type)) {
    unsigned unused = (64 - 8 * (unsigned)width) & 63;
    *image = (int64_t)((bits ^ UINT64_C(1) << ((8 * width - 1) & 63)) << unused) >> unused;
  } else {
    *image = type == TYPE_U64 ? (int64_t)(bits ^ UINT64_C(0x8000000000000000)) : (int64_t)bits;
  }
  return true;
}

static int64_t chunk_image(const Chunk *chunk, uint32_t row) {
  Value value;
  codec_get(chunk, row, &value);
  return value_image(&value);
}

enum { INTERPOLATIONS_MAX = 4 };

/* The first row in [low, high) whose image is not less than `image`; `high` when there is none. The first row has the
 * image `minimum`, the last one `maximum`. Evenly spread keys, the usual ones, are found in a probe or two by their
 * place between the ends; others by halving. */
static uint32_t image_lower_bound(const Chunk *chunk, uint32_t low, uint32_t high, int64_t minimum, int64_t maximum,
                                  int64_t image) {
  if (image <= minimum) return low;
  if (image > maximum) return high;
  uint32_t below = low, above = high - 1; /* image[below] < image <= image[above] */
  for (uint32_t probes = 0; above - below > 1; probes++) {
    uint32_t probe = below + (above - below) / 2;
    if (probes < INTERPOLATIONS_MAX) {
      /* exact differences: far from zero, two images may be one double */
      double part = (double)((uint64_t)image - (uint64_t)minimum) / (double)((uint64_t)maximum - (uint64_t)minimum);
      probe = below + (uint32_t)(part * (double)(above - below) + 0.5);
      if (probe <= below) probe = below + 1;
      if (probe >= above) probe = above - 1;
    }
    int64_t found = chunk_image(chunk, probe);
    if (found == image) return probe;
    if (found < image) {
      below = probe;
      minimum = found;
    } else {
      above = probe;
      maximum = found;
    }
  }
  return above;
}

/* ---- the row, by typed values ---- */

typedef struct KeyProbe {
  uint32_t count;
  ChunkHold holds[KEY_COLUMNS_MAX];
  uint32_t held; /* how many of them are open */
  Value values[KEY_COLUMNS_MAX];
  Buffer scratch[KEY_COLUMNS_MAX]; /* of unescaped strings */
  Buffer room;                     /* of a row's string that does not lie in its chunk */
} KeyProbe;

/* The values of an encoded key. */
static Status probe_parse(KeyProbe *probe, const ColumnRunIndex *index, Bytes key) {
  Reader in = reader_over(key.data, key.length);
  for (uint32_t k = 0; k < probe->count; k++) {
    const RunColumn *column = &index->columns[index->key_columns[k]];
    buffer_clear(&probe->scratch[k]);
    TRY(keycode_read(&in, column->type, column->width, false, &probe->scratch[k], &probe->values[k]));
  }
  return reader_left(&in) ? status_fail(KVSTORE_CORRUPT, "an encoded key is too long for its table") : KVSTORE_OK;
}

static Status probe_open(KeyProbe *probe, Segment *s, uint32_t block) {
  const ColumnRunIndex *index = s->run->index;
  for (uint32_t k = 0; k < probe->count; k++) {
    TRY(segment_stored_chunk(s, index->key_columns[k], &probe->holds[k]));
    probe->held++;
    TRY(chunk_hold_block(&probe->holds[k], block));
    uint64_t room = codec_get_room(probe->holds[k].chunk);
    if (room > probe->room.length) (void)buffer_extend(&probe->room, (size_t)room - probe->room.length);
  }
  return buffer_status(&probe->room);
}

static void probe_release(KeyProbe *probe) {
  for (uint32_t k = 0; k < probe->held; k++) segment_chunk_release(&probe->holds[k]);
  for (uint32_t k = 0; k < probe->count; k++) buffer_release(&probe->scratch[k]);
  buffer_release(&probe->room);
}

/* The order of row `row`'s key and the probe's: negative, 0, positive. The room is large enough (probe_open). */
static int probe_compare_row(const KeyProbe *probe, uint32_t row) {
  for (uint32_t k = 0; k < probe->count; k++) {
    Value value;
    codec_get_into(probe->holds[k].chunk, row, &value, probe->room.data);
    int order = value_compare(&value, &probe->values[k]);
    if (order) return order;
  }
  return 0;
}

static uint32_t probe_lower_bound(const KeyProbe *probe, uint32_t low, uint32_t high, bool *is_equal) {
  *is_equal = false;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int order = probe_compare_row(probe, middle);
    if (order == 0) {
      *is_equal = true;
      return middle;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* ---- within a segment ---- */

static Status search_image(Segment *s, uint32_t block, Bytes key, uint32_t *row, bool *is_equal) {
  const ColumnRunIndex *index = s->run->index;
  uint32_t stored = index->key_columns[0];
  int64_t image;
  if (!key_to_image(index->columns[stored].type, key, &image)) {
    return status_fail(KVSTORE_CORRUPT, "an encoded key has %zu bytes, another length than its column's", key.length);
  }
  ChunkHold hold;
  TRY(segment_stored_chunk(s, stored, &hold));
  Status status = chunk_hold_block(&hold, block);
  if (status == KVSTORE_OK) {
    uint32_t low = block * BLOCK_ROWS, high = low + segment_block_rows(s, block);
    *row = image_lower_bound(hold.chunk, low, high, chunk_block_minimum(hold.chunk, block),
                             chunk_block_maximum(hold.chunk, block), image);
    *is_equal = *row < high && chunk_image(hold.chunk, *row) == image;
  }
  segment_chunk_release(&hold);
  return status;
}

static Status search_values(Segment *s, uint32_t block, Bytes key, uint32_t *row, bool *is_equal) {
  KeyProbe probe;
  probe.count = s->run->index->key_count;
  probe.held = 0;
  memset(probe.scratch, 0, sizeof probe.scratch);
  probe.room = (Buffer){ 0 };
  Status status = probe_parse(&probe, s->run->index, key);
  if (status == KVSTORE_OK) status = probe_open(&probe, s, block);
  if (status == KVSTORE_OK) {
    uint32_t low = block * BLOCK_ROWS;
    *row = probe_lower_bound(&probe, low, low + segment_block_rows(s, block), is_equal);
  }
  probe_release(&probe);
  return status;
}

/* The first row of the segment whose key is not less than `key`; row_count when there is none. */
static Status search_segment(Segment *s, const SegmentOpen *o, Bytes key, uint32_t *row, bool *is_equal) {
  uint32_t block = find_block(s, o, key);
  return s->run->index->key_is_image ? search_image(s, block, key, row, is_equal)
                                     : search_values(s, block, key, row, is_equal);
}

/* ---- one key ---- */

static bool is_outside(const ColumnRun *run, Bytes key) {
  uint64_t head = bytes_prefix64(key.data, key.length);
  if (head < run->first_head || head > run->last_head) return true;
  return (head == run->first_head && key_compare(key, run->first_key) < 0) ||
         (head == run->last_head && key_compare(key, run->last_key) > 0);
}

/* The segment whose range a key lies in, opened; NULL: there is none. */
typedef struct KeyPlace {
  Segment *segment;
  SegmentOpen *opened;
} KeyPlace;

static Status place_key(ColumnRun *run, Bytes key, KeyPlace *place) {
  *place = (KeyPlace){ 0 };
  Segment *s = find_segment(run, key);
  if (key_compare(key, s->last_key) > 0) return KVSTORE_OK;
  TRY(segment_open(s, &place->opened));
  place->segment = s;
  return KVSTORE_OK;
}

static bool filter_says_no(const SegmentOpen *o, uint64_t hash) {
  return o->filter && !key_filter_may_contain(o->filter, o->filter_bytes, hash);
}

static Status find_inside(ColumnRun *run, Bytes key, uint64_t hash, uint64_t *locator) {
  KeyPlace place;
  TRY(place_key(run, key, &place));
  Segment *s = place.segment;
  SegmentOpen *o = place.opened;
  if (!s || filter_says_no(o, hash)) return KVSTORE_OK;
  uint32_t row = 0;
  bool is_equal = false;
  TRY(search_segment(s, o, key, &row, &is_equal));
  if (is_equal) *locator = locator_pack((Locator){ run->number, (uint16_t)s->number, (uint16_t)row });
  return KVSTORE_OK;
}

Status column_run_find(ColumnRun *run, Bytes key, uint64_t hash, Locator *out, bool *found) {
  uint64_t locator = LOCATOR_NONE;
  *found = false;
  if (is_outside(run, key)) return KVSTORE_OK;
  TRY(find_inside(run, key, hash, &locator));
  *found = locator != LOCATOR_NONE;
  if (*found) *out = locator_unpack(locator);
  return KVSTORE_OK;
}

Status column_run_lower_bound(ColumnRun *run, Bytes key, uint32_t *position) {
  *position = 0;
  if (key_compare(key, run->first_key) <= 0) return KVSTORE_OK;
  *position = position_pack(run->segment_count, 0);
  if (key_compare(key, run->last_key) > 0) return KVSTORE_OK;
  Segment *s = find_segment(run, key);
  *position = position_pack(s->number + 1, 0);
  if (key_compare(key, s->last_key) > 0) return KVSTORE_OK;
  SegmentOpen *o;
  TRY(segment_open(s, &o));
  uint32_t row = 0;
  bool is_equal = false;
  TRY(search_segment(s, o, key, &row, &is_equal));
  if (row < s->row_count) *position = position_pack(s->number, row);
  return KVSTORE_OK;
}

/* ---- the end of a range ---- */

/* The first row of the block whose encoded key is not below the bound; the one behind the block when there is none. */
static Status bound_in_block(Segment *s, uint32_t block, Bytes bound, uint32_t *row) {
  uint32_t low = block * BLOCK_ROWS, high = low + segment_block_rows(s, block);
  Buffer key = { 0 };
  Status status = KVSTORE_OK;
  while (low < high && status == KVSTORE_OK) {
    uint32_t middle = low + (high - low) / 2;
    buffer_clear(&key);
    status = column_run_get_key(s->run, position_pack(s->number, middle), &key);
    if (status == KVSTORE_OK && key_compare((Bytes){ key.data, key.length }, bound) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  buffer_release(&key);
  *row = low;
  return status;
}

/* Where keys are images, all have one length: bytes that are missing at the end are zeros. */
static bool bound_as_key(const ColumnRun *run, Bytes bound, uint8_t key[8], size_t *width) {
  const ColumnRunIndex *index = run->index;
  if (!index->key_is_image) return false;
  ColumnType type = index->columns[index->key_columns[0]].type;
  *width = type_is_float(type) ? 8 : type_array_width(type);
  if (bound.length > *width) return false;
  memset(key, 0, 8);
  memcpy(key, bound.data, bound.length);
  return true;
}

Status column_run_bound(ColumnRun *run, Bytes bound, uint32_t *position) {
  uint8_t key[8];
  size_t width;
  if (bound_as_key(run, bound, key, &width)) return column_run_lower_bound(run, (Bytes){ key, width }, position);
  *position = 0;
  if (key_compare(bound, run->first_key) <= 0) return KVSTORE_OK;
  *position = position_pack(run->segment_count, 0);
  if (key_compare(bound, run->last_key) > 0) return KVSTORE_OK;
  Segment *s = find_segment(run, bound);
  *position = position_pack(s->number + 1, 0);
  if (key_compare(bound, s->last_key) > 0) return KVSTORE_OK;
  SegmentOpen *o;
  TRY(segment_open(s, &o));
  uint32_t row;
  TRY(bound_in_block(s, find_block(s, o, bound), bound, &row));
  if (row < s->row_count) *position = position_pack(s->number, row);
  return KVSTORE_OK;
}

/* ---- many keys ---- */

typedef struct KeyOrder {
  uint64_t head;
  size_t number;             /* of the key in the caller's array */
  const SegmentOpen *opened; /* while filters are asked */
} KeyOrder;

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, SORT_MIN = 16 };

static void sort_pass(const KeyOrder *from, KeyOrder *to, size_t count, uint32_t shift) {
  size_t starts[DIGITS + 1] = { 0 };
  for (size_t i = 0; i < count; i++) starts[(from[i].head >> shift & (DIGITS - 1)) + 1]++;
  for (size_t d = 1; d <= DIGITS; d++) starts[d] += starts[d - 1];
  for (size_t i = 0; i < count; i++) to[starts[from[i].head >> shift & (DIGITS - 1)]++] = from[i];
}

/* Sorts by head, a digit at a time from the lowest, leaving out digits that all heads share; returns which of the two
 * arrays holds the result. */
static KeyOrder *sort_order(KeyOrder *order, KeyOrder *room, size_t count) {
  uint64_t varying = 0;
  bool ascends = true;
  for (size_t i = 1; i < count; i++) {
    varying |= order[i].head ^ order[0].head;
    ascends &= order[i - 1].head <= order[i].head;
  }
  if (ascends) return order;
  for (uint32_t shift = 0; shift < 64; shift += DIGIT_BITS) {
    if (!(varying >> shift & (DIGITS - 1))) continue;
    sort_pass(order, room, count, shift);
    KeyOrder *swap = order;
    order = room;
    room = swap;
  }
  return order;
}

/* Those of the keys that are still sought and lie in the run's range. */
static size_t select_keys(const ColumnRun *run, const Bytes *keys, size_t count, const uint64_t *locators,
                          KeyOrder *order) {
  size_t selected = 0;
  for (size_t i = 0; i < count; i++) {
    if (locators[i] != LOCATOR_NONE || is_outside(run, keys[i])) continue;
    order[selected++] = (KeyOrder){ key_head(keys[i], run->index->key_prefix), i, NULL };
  }
  return selected;
}

/* Leaves out the keys that their segments' filters do not know. All lines are fetched before the first is looked at. */
static Status ask_filters(ColumnRun *run, const Bytes *keys, const uint64_t *hashes, KeyOrder *order, size_t *count) {
  size_t kept = 0;
  for (size_t i = 0; i < *count; i++) {
    KeyPlace place;
    TRY(place_key(run, keys[order[i].number], &place));
    if (!place.segment) continue;
    order[kept] = order[i];
    order[kept++].opened = place.opened;
    if (place.opened->filter)
      key_filter_prefetch(place.opened->filter, place.opened->filter_bytes, hashes[order[i].number]);
  }
  size_t placed = kept;
  kept = 0;
  for (size_t i = 0; i < placed; i++)
    if (!filter_says_no(order[i].opened, hashes[order[i].number])) order[kept++] = order[i];
  *count = kept;
  return KVSTORE_OK;
}

Status column_run_find_many(ColumnRun *run, const Bytes *keys, const uint64_t *hashes, size_t count,
                            uint64_t *locators) {
  KeyOrder *order = memory_allocate(memory_array_size(count, sizeof *order)), *room = NULL, *sorted = order;
  if (!order) return status_nomem();
  size_t selected = select_keys(run, keys, count, locators, order);
  Status status = ask_filters(run, keys, hashes, order, &selected);
  if (status == KVSTORE_OK && selected >= SORT_MIN) {
    room = memory_allocate(memory_array_size(selected, sizeof *room));
    if (room)
      sorted = sort_order(order, room, selected);
    else
      status = status_nomem();
  }
  for (size_t i = 0; i < selected && status == KVSTORE_OK; i++) {
    size_t number = sorted[i].number;
    status = find_inside(run, keys[number], hashes[number], &locators[number]);
  }
  memory_release(room);
  memory_release(order);
  return status;
}
