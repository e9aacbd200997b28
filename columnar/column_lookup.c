/* column_lookup.c - a run by key: segment by the directory, block by its fences, row by the key columns themselves. */
#include <string.h>

#include "base/assert.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "base/word_sort.h"
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

static Status probe_open(KeyProbe *probe, Segment *s) {
  const ColumnRunIndex *index = s->run->index;
  for (uint32_t k = 0; k < probe->count; k++) {
    TRY(segment_stored_chunk(s, index->key_columns[k], &probe->holds[k]));
    probe->held++;
    uint64_t room = codec_get_room(probe->holds[k].chunk);
    if (room > probe->room.length) (void)buffer_extend(&probe->room, (size_t)room - probe->room.length);
  }
  return buffer_status(&probe->room);
}

static Status probe_verify(const KeyProbe *probe, uint32_t block) {
  for (uint32_t k = 0; k < probe->held; k++) TRY(chunk_hold_block(&probe->holds[k], block));
  return KVSTORE_OK;
}

/* Lets go of the segment. */
static void probe_close(KeyProbe *probe) {
  for (uint32_t k = 0; k < probe->held; k++) segment_chunk_release(&probe->holds[k]);
  probe->held = 0;
}

static void probe_start(KeyProbe *probe, const ColumnRunIndex *index) {
  probe->count = index->key_count;
  probe->held = 0;
  memset(probe->scratch, 0, probe->count * sizeof *probe->scratch);
  probe->room = (Buffer){ 0 };
}

static void probe_release(KeyProbe *probe) {
  probe_close(probe);
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

/* The probe is open at the segment. */
static Status search_image(const KeyProbe *probe, Segment *s, uint32_t block, Bytes key, uint32_t *row,
                           bool *is_equal) {
  const Chunk *chunk = probe->holds[0].chunk;
  int64_t image;
  if (!key_to_image(s->run->index->columns[s->run->index->key_columns[0]].type, key, &image))
    return status_fail(KVSTORE_CORRUPT, "an encoded key has %zu bytes, another length than its column's", key.length);
  uint32_t low = block * BLOCK_ROWS, high = low + segment_block_rows(s, block);
  *row =
    image_lower_bound(chunk, low, high, chunk_block_minimum(chunk, block), chunk_block_maximum(chunk, block), image);
  *is_equal = *row < high && chunk_image(chunk, *row) == image;
  return KVSTORE_OK;
}

static Status search_values(KeyProbe *probe, Segment *s, uint32_t block, Bytes key, uint32_t *row, bool *is_equal) {
  TRY(probe_parse(probe, s->run->index, key));
  uint32_t low = block * BLOCK_ROWS;
  *row = probe_lower_bound(probe, low, low + segment_block_rows(s, block), is_equal);
  return KVSTORE_OK;
}

/* The first row of the segment whose key is not less than `key`; row_count when there is none. */
static Status search_open(KeyProbe *probe, Segment *s, const SegmentOpen *o, Bytes key, uint32_t *row, bool *is_equal) {
  uint32_t block = find_block(s, o, key);
  TRY(probe_verify(probe, block));
  return s->run->index->key_is_image ? search_image(probe, s, block, key, row, is_equal)
                                     : search_values(probe, s, block, key, row, is_equal);
}

static Status search_segment(Segment *s, const SegmentOpen *o, Bytes key, uint32_t *row, bool *is_equal) {
  KeyProbe probe;
  probe_start(&probe, s->run->index);
  Status status = probe_open(&probe, s);
  if (status == KVSTORE_OK) status = search_open(&probe, s, o, key, row, is_equal);
  probe_release(&probe);
  return status;
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

enum { FILTER_GROUP = 256 }; /* keys whose lines of the filters are fetched before the first is looked at */

/* Keys in their order, each with the number of its segment. */
typedef struct SortedKeys {
  const Bytes *keys;
  const uint64_t *hashes;
  NumberedWord *order; /* by heads */
  uint32_t *segments;
  size_t count;
} SortedKeys;

/* Those of the keys that are still sought and lie in the run's range. */
static size_t select_keys(const ColumnRun *run, const Bytes *keys, size_t count, const uint64_t *locators,
                          NumberedWord *order) {
  size_t selected = 0;
  for (size_t i = 0; i < count; i++) {
    if (locators[i] != LOCATOR_NONE || is_outside(run, keys[i])) continue;
    order[selected++] = (NumberedWord){ key_head(keys[i], run->index->key_prefix), (uint32_t)i };
  }
  return selected;
}

/* The segment of a key with this head that comes behind one of `last`: mostly the same. */
static Segment *next_segment(ColumnRun *run, Segment *last, uint64_t head, Bytes key) {
  const uint64_t *heads = run->index->heads;
  bool is_same =
    last && heads[last->number] < head && (last->number + 1 == run->segment_count || head < heads[last->number + 1]);
  return is_same ? last : find_segment(run, key);
}

/* Keys [from, end) that lie in a segment, with its number, behind the `*kept` keys that stay; the filters' lines are
 * fetched. */
static Status place_keys(ColumnRun *run, SortedKeys *k, size_t from, size_t end, size_t *kept) {
  Segment *s = NULL;
  SegmentOpen *o = NULL;
  for (size_t i = from; i < end; i++) {
    NumberedWord at = k->order[i];
    Segment *next = next_segment(run, s, at.word, k->keys[at.number]);
    if (key_compare(k->keys[at.number], next->last_key) > 0) continue;
    if (next != s) TRY(segment_open(next, &o));
    s = next;
    if (o->filter) key_filter_prefetch(o->filter, o->filter_bytes, k->hashes[at.number]);
    k->order[*kept] = at;
    k->segments[(*kept)++] = s->number;
  }
  return KVSTORE_OK;
}

/* Leaves out those of keys [from, *kept) that their segments' filters do not know. */
static Status ask_filters(ColumnRun *run, SortedKeys *k, size_t from, size_t *kept) {
  size_t end = *kept;
  *kept = from;
  for (size_t i = from; i < end; i++) {
    SegmentOpen *o;
    TRY(segment_open(&run->segments[k->segments[i]], &o));
    if (filter_says_no(o, k->hashes[k->order[i].number])) continue;
    k->order[*kept] = k->order[i];
    k->segments[(*kept)++] = k->segments[i];
  }
  return KVSTORE_OK;
}

static Status keep_possible(ColumnRun *run, SortedKeys *k) {
  size_t kept = 0;
  for (size_t from = 0; from < k->count; from += FILTER_GROUP) {
    size_t end = k->count - from < FILTER_GROUP ? k->count : from + FILTER_GROUP, placed = kept;
    TRY(place_keys(run, k, from, end, &kept));
    TRY(ask_filters(run, k, placed, &kept));
  }
  k->count = kept;
  return KVSTORE_OK;
}

/* Keys [from, end), which are of one segment. */
static Status find_in_segment(Segment *s, const SortedKeys *k, size_t from, size_t end, KeyProbe *probe,
                              uint64_t *locators) {
  SegmentOpen *o;
  TRY(segment_open(s, &o));
  TRY(probe_open(probe, s));
  for (size_t i = from; i < end; i++) {
    uint32_t number = k->order[i].number, row = 0;
    bool is_equal = false;
    TRY(search_open(probe, s, o, k->keys[number], &row, &is_equal));
    if (is_equal) locators[number] = locator_pack((Locator){ s->run->number, (uint16_t)s->number, (uint16_t)row });
  }
  probe_close(probe);
  return KVSTORE_OK;
}

static Status find_sorted(ColumnRun *run, SortedKeys *k, uint64_t *locators) {
  KeyProbe probe;
  TRY(keep_possible(run, k));
  probe_start(&probe, run->index);
  Status status = KVSTORE_OK;
  for (size_t i = 0, end; i < k->count && status == KVSTORE_OK; i = end) {
    for (end = i + 1; end < k->count && k->segments[end] == k->segments[i];) end++;
    status = find_in_segment(&run->segments[k->segments[i]], k, i, end, &probe, locators);
  }
  probe_release(&probe);
  return status;
}

Status column_run_find_many(ColumnRun *run, const Bytes *keys, const uint64_t *hashes, size_t count,
                            uint64_t *locators) {
  ASSERT(count <= UINT32_MAX, "COL-3");
  SortedKeys k = { .keys = keys, .hashes = hashes };
  NumberedWord *order = memory_allocate(memory_array_size(count, sizeof *order)), *room = NULL;
  if (!order) return status_nomem();
  k.count = select_keys(run, keys, count, locators, order);
  Status status = KVSTORE_OK;
  if (k.count) {
    room = memory_allocate(memory_array_size(k.count, sizeof *room + sizeof *k.segments));
    if (room) {
      k.segments = (uint32_t *)(room + k.count);
      k.order = words_sort(order, room, k.count);
    }
    status = room ? find_sorted(run, &k, locators) : status_nomem();
  }
  memory_release(room);
  memory_release(order);
  return status;
}
