/* group_quantiles.c - numbers whose quantiles are asked for: kept as they come, and found without being sorted.
 *
 *   unit ──► chunks of words, with the number of each one's group
 *              ├─► one group: how many lie in each of up to 2,048 intervals,
 *              │              then those of one interval in the same way
 *              └─► several: the words of a group side by side, then the same for each
 *
 * A word is the image of an integer or the bits of a float. Equal floats may have other bits (zeros, NaN): they stand
 * as their rows come, so chunks, and the words of a group, keep the order of rows. A part hands its chunks over unit by
 * unit. Threads that find take a chunk each, or a range of groups.
 *
 * When a third of the memory is used all words leave it, and so does all that comes later, divided by their groups
 * (row_parts.h), until those of a part have room. Those of one group that have none are read again for each count. */
#include <stdatomic.h>

#include "base/counters.h"
#include "base/memory.h"
#include "query/groups_internal.h"
#include "query/query_internal.h"

enum {
  CHUNK_VALUES_MAX = 65536,
  CHUNK_GROWTH = 4,   /* times the one before */
  SHARE_OF_LIMIT = 3, /* words take no more: side by side they take as much again, and images of floats, too */
  INTERVAL_BITS = 11, /* most intervals: counts of all are in the first cache */
  FEW = 24,           /* so many are sorted */
  MANY = 4096,        /* for fewer of them the counts themselves would be most of the work */
  INTERVAL_BITS_FEWER = 7,
  LANE_VALUES = 4,     /* as many for each group */
  HELP_VALUES = 65536, /* more are worth waking a thread for */
};

typedef struct Place { /* of a value that was looked for */
  int64_t image;
  uint64_t among; /* so many that are equal stand before it */
} Place;

/* ---- chunks ---- */

static size_t chunk_bytes(const QuantileChunk *chunk) {
  return chunk->capacity * (sizeof *chunk->words + (chunk->groups ? sizeof *chunk->groups : 0));
}

static void release_chunk(GroupQuantiles *q, QuantileChunk *chunk) {
  if (chunk->words) q->bytes -= chunk_bytes(chunk);
  memory_release(chunk->words);
  memory_release(chunk->groups);
  chunk->words = NULL;
  chunk->groups = NULL;
}

static Status new_chunk(Groups *g, size_t column) {
  GroupQuantiles *q = &g->quantiles;
  uint32_t room = q->open[column] ? q->chunks[q->open[column] - 1].capacity * CHUNK_GROWTH : BLOCK_ROWS;
  if (room > CHUNK_VALUES_MAX) room = CHUNK_VALUES_MAX;
  TRY(memory_grow(&q->chunks, &q->capacity, q->count + 1, sizeof *q->chunks));
  QuantileChunk chunk = { .column = (uint32_t)column, .capacity = room };
  chunk.words = memory_allocate(room * sizeof *chunk.words);
  if (chunk.words && g->key_count) chunk.groups = memory_allocate(room * sizeof *chunk.groups);
  if (!chunk.words || (g->key_count && !chunk.groups)) {
    memory_release(chunk.words);
    return status_nomem();
  }
  q->bytes += chunk_bytes(&chunk);
  q->chunks[q->count++] = chunk;
  q->open[column] = q->count;
  return KVSTORE_OK;
}

/* Gives back what a chunk does not use, when that is much; where that fails it keeps it. */
static void shrink_chunk(GroupQuantiles *q, QuantileChunk *chunk) {
  if (chunk->count > chunk->capacity / 4 * 3) return;
  GroupWord *words = memory_reallocate(chunk->words, chunk->count * sizeof *words);
  if (words) chunk->words = words;
  uint32_t *groups = chunk->groups ? memory_reallocate(chunk->groups, chunk->count * sizeof *groups) : NULL;
  if (groups) chunk->groups = groups;
  if (!words || (chunk->groups && !groups)) return;
  q->bytes -= chunk_bytes(chunk);
  chunk->capacity = chunk->count;
  q->bytes += chunk_bytes(chunk);
}

static void to_words(ColumnType type, const void *values, uint32_t count, GroupWord *words) {
  if (type_is_float(type))
    group_doubles(type, values, NULL, count, &words->f);
  else
    group_images(type, values, count, &words->i);
}

/* Values of the type into chunks. */
static Status keep_values(Groups *g, size_t column, const uint32_t *numbers, ColumnType type, const void *values,
                          uint32_t count) {
  GroupQuantiles *q = &g->quantiles;
  for (uint32_t done = 0, more; done < count; done += more) {
    if (!q->open[column] || q->chunks[q->open[column] - 1].count == q->chunks[q->open[column] - 1].capacity)
      TRY(new_chunk(g, column));
    QuantileChunk *chunk = &q->chunks[q->open[column] - 1];
    more = count - done < chunk->capacity - chunk->count ? count - done : chunk->capacity - chunk->count;
    to_words(type, (const uint8_t *)values + done * type_array_width(type), more, chunk->words + chunk->count);
    if (chunk->groups) memcpy(chunk->groups + chunk->count, numbers + done, more * sizeof *numbers);
    chunk->count += more;
  }
  return KVSTORE_OK;
}

Status group_quantiles_add(Groups *g, size_t column, const uint32_t *numbers, const void *values, uint32_t count) {
  ColumnType type = g->columns[column].type;
  if (type_is_string(type)) return group_sort_values(g, column, numbers, values, count);
  if (!g->quantiles.is_leaving) return keep_values(g, column, numbers, type, values, count);
  GroupWord words[BLOCK_ROWS];
  to_words(type, values, count, words);
  return group_divide_words(g, column, numbers, words, count);
}

size_t group_quantiles_mark(Groups *g) {
  GroupQuantiles *q = &g->quantiles;
  for (size_t i = 0; i < g->column_count; i++) {
    if (q->open[i]) shrink_chunk(q, &q->chunks[q->open[i] - 1]);
    q->open[i] = 0;
  }
  return q->count;
}

Status group_quantiles_take_over(Groups *g, Groups *part, size_t from, size_t to) {
  GroupQuantiles *q = &g->quantiles;
  const uint32_t *ids = part->part->groups.ids;
  group_quantiles_mark(g);
  TRY(memory_grow(&q->chunks, &q->capacity, q->count + (to - from), sizeof *q->chunks));
  for (size_t at = from; at < to; at++) {
    QuantileChunk *chunk = &part->quantiles.chunks[at];
    for (uint32_t i = 0; chunk->groups && i < chunk->count; i++) chunk->groups[i] = ids[chunk->groups[i]];
    q->chunks[q->count++] = *chunk;
    q->bytes += chunk_bytes(chunk);
    part->quantiles.bytes -= chunk_bytes(chunk);
    chunk->words = NULL;
    chunk->groups = NULL;
  }
  return KVSTORE_OK;
}

static void release_chunks(GroupQuantiles *q) {
  for (size_t i = 0; i < q->count; i++) release_chunk(q, &q->chunks[i]);
  memory_release(q->chunks);
  q->chunks = NULL;
  q->count = q->capacity = 0;
}

void group_quantiles_release(Groups *g) { release_chunks(&g->quantiles); }

/* ---- when there is no room for them ---- */

/* All chunks leave. */
static Status leave(Groups *g) {
  static const uint32_t none[CHUNK_VALUES_MAX] = { 0 };
  GroupQuantiles *q = &g->quantiles;
  group_quantiles_mark(g);
  for (size_t i = 0; i < q->count; i++) {
    QuantileChunk *chunk = &q->chunks[i];
    TRY(group_divide_words(g, chunk->column, chunk->groups ? chunk->groups : none, chunk->words, chunk->count));
    release_chunk(q, chunk);
  }
  release_chunks(q);
  return KVSTORE_OK;
}

static bool has_room(const Groups *g) { return g->quantiles.bytes <= g->space->memory_limit / SHARE_OF_LIMIT; }

/* So many values of one group have room, with what finding needs. */
static uint64_t count_with_room(const Groups *g) {
  return g->space->memory_limit / SHARE_OF_LIMIT / (sizeof(GroupWord) + sizeof(uint32_t));
}

Status group_quantiles_keep_within(Groups *g) {
  if (!g->quantiles.count || !g->space || g->part) return KVSTORE_OK;
  if (has_room(g) && !groups_exceed(g)) return KVSTORE_OK;
  g->quantiles.is_leaving = true;
  COUNT(quantiles_spilled);
  return leave(g);
}

/* ---- the value at a place ---- */

static void ends_of(const int64_t *images, uint64_t count, int64_t *least, int64_t *greatest) {
  int64_t low = *least, high = *greatest;
  for (uint64_t i = 0; i < count; i++) {
    low = images[i] < low ? images[i] : low;
    high = images[i] > high ? images[i] : high;
  }
  *least = low;
  *greatest = high;
}

/* By how many bits a distance from the least value is shifted to be the number of its interval. */
static unsigned interval_shift(int64_t least, int64_t greatest, unsigned bits) {
  uint64_t range = (uint64_t)greatest - (uint64_t)least;
  unsigned width = range ? 64 - (unsigned)__builtin_clzll(range) : 0;
  return width > bits ? width - bits : 0;
}

static inline uint64_t interval_of(int64_t image, int64_t least, unsigned shift) {
  return ((uint64_t)image - (uint64_t)least) >> shift;
}

/* The interval that has the value at *at, which becomes its place there. */
static uint32_t interval_at(const uint64_t *counts, uint64_t *at) {
  uint32_t i = 0;
  while (*at >= counts[i]) *at -= counts[i++];
  return i;
}

static Place place_of_few(int64_t *images, uint64_t count, uint64_t at) {
  for (uint64_t i = 1; i < count; i++) {
    int64_t image = images[i];
    uint64_t to = i;
    for (; to && images[to - 1] > image; to--) images[to] = images[to - 1];
    images[to] = image;
  }
  uint64_t first = at;
  while (first && images[first - 1] == images[at]) first--;
  return (Place){ images[at], at - first };
}

/* Those of one interval stay; how many. */
static uint64_t keep_interval(int64_t *images, uint64_t count, int64_t least, int64_t greatest, uint64_t *at) {
  uint64_t counts[1 << INTERVAL_BITS], kept = 0;
  unsigned bits = count < MANY ? INTERVAL_BITS_FEWER : INTERVAL_BITS, shift = interval_shift(least, greatest, bits);
  memset(counts, 0, sizeof *counts << bits);
  for (uint64_t i = 0; i < count; i++) counts[interval_of(images[i], least, shift)]++;
  uint32_t wanted = interval_at(counts, at);
  for (uint64_t i = 0; i < count; i++) {
    images[kept] = images[i];
    kept += interval_of(images[i], least, shift) == wanted;
  }
  return kept;
}

/* The value at place `at`, from 0. Each round leaves one interval of many, so that there are at most a few. */
static Place find_place(int64_t *images, uint64_t count, uint64_t at) {
  while (count > FEW) {
    int64_t least = INT64_MAX, greatest = INT64_MIN;
    ends_of(images, count, &least, &greatest);
    if (least == greatest) return (Place){ least, at };
    count = keep_interval(images, count, least, greatest, &at);
  }
  return place_of_few(images, count, at);
}

/* ---- results ---- */

/* The place, from 0, of a quantile among so many values. */
static uint64_t place_wanted(const Groups *g, size_t request, uint64_t count) {
  return group_quantile_place(count, g->requests[request].millionths) - 1;
}

static bool wants_quantile(const Groups *g, size_t request, size_t column) {
  return g->requests[request].kind == AGGREGATE_QUANTILE && g->request_columns[request] == column;
}

/* Images of words, in place or in `room`. */
static const int64_t *images_of(ColumnType type, const GroupWord *words, uint32_t count, int64_t *room) {
  if (!type_is_float(type)) return &words->i;
  group_images(TYPE_F64, &words->f, count, room);
  return room;
}

/* The bits of a float may be others than those that its image has. */
static bool has_more_bits(ColumnType type, int64_t image) {
  return type_is_float(type) && (image == 0 || image == INT64_MAX);
}

/* Looks for the word with this image that has place->among of them before it. */
static bool find_word(const GroupWord *words, uint64_t count, Place *place, GroupWord *out) {
  for (uint64_t i = 0; i < count; i++) {
    if (float_image(words[i].f) != place->image) continue;
    *out = words[i];
    if (place->among-- == 0) return true;
  }
  return false;
}

static Status keep(Groups *g, size_t request, uint32_t number, const Place *place, const GroupWord *bits) {
  ColumnType type = g->columns[g->request_columns[request]].type;
  Value v = group_image_value(type, place->image);
  if (bits) v.f = bits->f;
  return group_keep_quantile(group_state(g, number) + g->request_words[request], &v, &g->kept);
}

/* Between two steps the query may be ended. */
static Status run_team(const Groups *g, uint32_t threads, TeamWork *work, void *context) {
  TRY(query_tick(g->space, g->space ? g->space->rows_total : 0));
  return query_share_out(threads, work, context);
}

/* ---- one group ---- */

typedef struct Member {
  int64_t least, greatest;
  uint64_t counts[1 << INTERVAL_BITS];
} Member;

typedef struct Search {
  Groups *groups;
  size_t column;
  ColumnType type;
  uint32_t threads;
  _Atomic size_t next; /* chunk */
  Member *members;
  int64_t least;
  unsigned shift;
  uint32_t wanted; /* interval */
  int64_t *kept;   /* its images */
  _Atomic uint64_t kept_count;
} Search;

static const QuantileChunk *next_chunk(Search *s) {
  const GroupQuantiles *q = &s->groups->quantiles;
  for (;;) {
    size_t at = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
    if (at >= q->count) return NULL;
    if (q->chunks[at].column == s->column) return &q->chunks[at];
  }
}

static Status run_search(Search *s, TeamWork *work) {
  atomic_store_explicit(&s->next, 0, memory_order_relaxed);
  return run_team(s->groups, s->threads, work, s);
}

static uint32_t block_of(const QuantileChunk *chunk, uint32_t at) {
  return chunk->count - at < BLOCK_ROWS ? chunk->count - at : BLOCK_ROWS;
}

static void measure_chunks(void *context, uint32_t member) {
  Search *s = context;
  Member *m = &s->members[member];
  int64_t room[BLOCK_ROWS];
  for (const QuantileChunk *chunk; (chunk = next_chunk(s));) {
    for (uint32_t at = 0, count; at < chunk->count; at += count) {
      count = block_of(chunk, at);
      ends_of(images_of(s->type, chunk->words + at, count, room), count, &m->least, &m->greatest);
    }
  }
}

static void count_chunks(void *context, uint32_t member) {
  Search *s = context;
  uint64_t *counts = s->members[member].counts;
  int64_t room[BLOCK_ROWS];
  for (const QuantileChunk *chunk; (chunk = next_chunk(s));) {
    for (uint32_t at = 0, count; at < chunk->count; at += count) {
      count = block_of(chunk, at);
      const int64_t *images = images_of(s->type, chunk->words + at, count, room);
      for (uint32_t i = 0; i < count; i++) counts[interval_of(images[i], s->least, s->shift)]++;
    }
  }
}

/* Images come in no order: only which there are matters. */
static void keep_chunks(void *context, uint32_t member) {
  Search *s = context;
  int64_t room[BLOCK_ROWS], some[BLOCK_ROWS + 1];
  (void)member;
  for (const QuantileChunk *chunk; (chunk = next_chunk(s));) {
    for (uint32_t at = 0, count; at < chunk->count; at += count) {
      uint32_t found = 0;
      count = block_of(chunk, at);
      const int64_t *images = images_of(s->type, chunk->words + at, count, room);
      for (uint32_t i = 0; i < count; i++) {
        some[found] = images[i];
        found += interval_of(images[i], s->least, s->shift) == s->wanted;
      }
      if (!found) continue;
      uint64_t to = atomic_fetch_add_explicit(&s->kept_count, found, memory_order_relaxed);
      memcpy(s->kept + to, some, found * sizeof *some);
    }
  }
}

/* Counts the values of each interval: all members' in the first one's. */
static Status count_intervals(Search *s) {
  for (uint32_t i = 0; i < s->threads; i++) s->members[i] = (Member){ INT64_MAX, INT64_MIN, { 0 } };
  TRY(run_search(s, measure_chunks));
  int64_t least = INT64_MAX, greatest = INT64_MIN;
  for (uint32_t i = 0; i < s->threads; i++) {
    least = s->members[i].least < least ? s->members[i].least : least;
    greatest = s->members[i].greatest > greatest ? s->members[i].greatest : greatest;
  }
  s->least = least;
  s->shift = interval_shift(least, greatest, INTERVAL_BITS);
  TRY(run_search(s, count_chunks));
  for (uint32_t i = 1; i < s->threads; i++) {
    for (uint32_t k = 0; k < 1 << INTERVAL_BITS; k++) s->members[0].counts[k] += s->members[i].counts[k];
  }
  return KVSTORE_OK;
}

static Status find_in_chunks(Search *s, uint64_t at, Place *place) {
  s->wanted = interval_at(s->members[0].counts, &at);
  if (s->shift == 0) {
    *place = (Place){ (int64_t)((uint64_t)s->least + s->wanted), at };
    return KVSTORE_OK;
  }
  uint64_t count = s->members[0].counts[s->wanted];
  s->kept = memory_allocate(memory_array_size(count, sizeof *s->kept));
  if (!s->kept) return status_nomem();
  atomic_store_explicit(&s->kept_count, 0, memory_order_relaxed);
  Status status = run_search(s, keep_chunks);
  if (status == KVSTORE_OK) *place = find_place(s->kept, count, at);
  memory_release(s->kept);
  return status;
}

static Status keep_found(Search *s, size_t request, Place *place) {
  GroupWord bits = { .u = 0 };
  if (!has_more_bits(s->type, place->image)) return keep(s->groups, request, 0, place, NULL);
  Place left = *place;
  atomic_store_explicit(&s->next, 0, memory_order_relaxed);
  for (const QuantileChunk *chunk; (chunk = next_chunk(s));) {
    if (find_word(chunk->words, chunk->count, &left, &bits)) break;
  }
  return keep(s->groups, request, 0, place, &bits);
}

static Status find_of_all(Groups *g, size_t column, uint64_t count, uint32_t threads) {
  Search s = { .groups = g, .column = column, .type = g->columns[column].type, .threads = threads };
  s.members = memory_allocate(memory_array_size(threads, sizeof *s.members));
  if (!s.members) return status_nomem();
  Status status = count_intervals(&s);
  for (size_t i = 0; i < g->request_count && status == KVSTORE_OK; i++) {
    Place place;
    if (!wants_quantile(g, i, column)) continue;
    status = find_in_chunks(&s, place_wanted(g, i, count), &place);
    if (status == KVSTORE_OK) status = keep_found(&s, i, &place);
  }
  memory_release(s.members);
  return status;
}

/* ---- several groups ---- */

typedef struct Range { /* of groups */
  uint32_t first, end;
  uint64_t most; /* values of one of them */
  int64_t *room; /* for its images */
} Range;

/* A lane is a range of chunks, whose words one thread puts in their places: in those of a group, lanes follow each
 * other. */
typedef struct Lane {
  size_t first, end;
  uint64_t *ends; /* by group: how many it has, then where the next one goes */
} Lane;

typedef struct Sides {
  Groups *groups;
  size_t column;
  uint64_t *starts; /* where the words of each group begin; behind them, where they end */
  uint64_t *ends;   /* of all lanes */
  GroupWord *words;
  int64_t *room;
  Range *ranges;
  Lane *lanes;
  uint32_t range_count, lane_count;
  _Atomic uint32_t next;
} Sides;

static void count_lane(const Sides *s, const Lane *lane) {
  for (size_t c = lane->first; c < lane->end; c++) {
    const QuantileChunk *chunk = &s->groups->quantiles.chunks[c];
    for (uint32_t i = 0; chunk->column == s->column && i < chunk->count; i++) lane->ends[chunk->groups[i]]++;
  }
}

static void put_lane(const Sides *s, const Lane *lane) {
  for (size_t c = lane->first; c < lane->end; c++) {
    const QuantileChunk *chunk = &s->groups->quantiles.chunks[c];
    for (uint32_t i = 0; chunk->column == s->column && i < chunk->count; i++)
      s->words[lane->ends[chunk->groups[i]]++] = chunk->words[i];
  }
}

static uint32_t next_of(Sides *s) { return atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed); }

static void count_lanes(void *context, uint32_t member) {
  Sides *s = context;
  (void)member;
  for (uint32_t at; (at = next_of(s)) < s->lane_count;) count_lane(s, &s->lanes[at]);
}

static void put_lanes(void *context, uint32_t member) {
  Sides *s = context;
  (void)member;
  for (uint32_t at; (at = next_of(s)) < s->lane_count;) put_lane(s, &s->lanes[at]);
}

static void copy_images(ColumnType type, const GroupWord *words, uint64_t count, int64_t *out) {
  for (uint64_t at = 0, more; at < count && type_is_float(type); at += more) {
    more = count - at < BLOCK_ROWS ? count - at : BLOCK_ROWS;
    group_images(TYPE_F64, &words[at].f, (uint32_t)more, out + at);
  }
  if (!type_is_float(type)) memcpy(out, words, count * sizeof *out);
}

static void find_of_group(const Sides *s, const Range *range, uint32_t number) {
  Groups *g = s->groups;
  ColumnType type = g->columns[s->column].type;
  const GroupWord *words = s->words + s->starts[number];
  uint64_t count = s->starts[number + 1] - s->starts[number];
  for (size_t i = 0; count && i < g->request_count; i++) {
    if (!wants_quantile(g, i, s->column)) continue;
    GroupWord bits = { .u = 0 };
    copy_images(type, words, count, range->room);
    Place place = find_place(range->room, count, place_wanted(g, i, count)), left = place;
    bool has_bits = has_more_bits(type, place.image) && find_word(words, count, &left, &bits);
    Status status = keep(g, i, number, &place, has_bits ? &bits : NULL);
    (void)status; /* a number is kept without memory */
  }
}

static void find_ranges(void *context, uint32_t member) {
  Sides *s = context;
  (void)member;
  for (uint32_t at; (at = next_of(s)) < s->range_count;)
    for (uint32_t n = s->ranges[at].first; n < s->ranges[at].end; n++) find_of_group(s, &s->ranges[at], n);
}

static Status run_sides(Sides *s, uint32_t threads, TeamWork *work) {
  atomic_store_explicit(&s->next, 0, memory_order_relaxed);
  return run_team(s->groups, threads, work, s);
}

/* Chunks to lanes: as many as there are threads, unless counts of so many groups would be more than the values. */
static Status make_lanes(Sides *s, uint64_t count, uint32_t threads) {
  const GroupQuantiles *q = &s->groups->quantiles;
  uint64_t groups = s->groups->state_count, most = count / (LANE_VALUES * groups) + 1;
  s->lane_count = threads < most ? threads : (uint32_t)most;
  s->lanes = memory_allocate_zeroed(memory_array_size(s->lane_count, sizeof *s->lanes));
  s->ends = memory_allocate_zeroed(memory_array_size(groups * s->lane_count, sizeof *s->ends));
  if (!s->lanes || !s->ends) return status_nomem();
  uint64_t values = 0;
  size_t at = 0;
  for (uint32_t i = 0; i < s->lane_count; i++) {
    Lane *lane = &s->lanes[i];
    uint64_t end = count / s->lane_count * (i + 1);
    lane->ends = s->ends + groups * i;
    for (lane->first = at; at < q->count && (i + 1 == s->lane_count || values < end); at++)
      values += q->chunks[at].column == s->column ? q->chunks[at].count : 0;
    lane->end = at;
  }
  return KVSTORE_OK;
}

/* How many words each lane has of each group: of one lane that has all, as many as the group has. */
static Status count_words(Sides *s) {
  const Groups *g = s->groups;
  if (s->lane_count > 1 || g->quantiles.is_part) return run_sides(s, s->lane_count, count_lanes);
  for (uint32_t n = 0; n < g->state_count; n++)
    s->ends[n] = group_column_count(&g->columns[s->column], group_state(g, n));
  return KVSTORE_OK;
}

/* From counts of each lane and group to where their words go. */
static void place_words(Sides *s) {
  uint64_t at = 0;
  for (uint32_t n = 0; n < s->groups->state_count; n++) {
    s->starts[n] = at;
    for (uint32_t i = 0; i < s->lane_count; i++) {
      uint64_t count = s->lanes[i].ends[n];
      s->lanes[i].ends[n] = at;
      at += count;
    }
  }
  s->starts[s->groups->state_count] = at;
}

/* Ranges of about as many values each, a thread one. */
static Status make_ranges(Sides *s, uint32_t threads) {
  uint32_t groups = s->groups->state_count, at = 0;
  uint64_t total = s->starts[groups], room = 0;
  for (uint32_t t = 0; t < threads; t++) {
    uint64_t most = 0, end = total / threads * (t + 1);
    Range *range = &s->ranges[s->range_count++];
    for (range->first = at; at < groups && (t + 1 == threads || s->starts[at] < end); at++) {
      uint64_t count = s->starts[at + 1] - s->starts[at];
      most = count > most ? count : most;
    }
    range->end = at;
    range->most = most;
    room += most;
  }
  s->room = memory_allocate(memory_array_size(room, sizeof *s->room));
  if (!s->room) return status_nomem();
  room = 0;
  for (uint32_t t = 0; t < threads; room += s->ranges[t++].most) s->ranges[t].room = s->room + room;
  return KVSTORE_OK;
}

static Status find_sides(Sides *s, uint64_t count, uint32_t threads) {
  TRY(make_lanes(s, count, threads));
  s->starts = memory_allocate(memory_array_size((size_t)s->groups->state_count + 1, sizeof *s->starts));
  s->words = memory_allocate(memory_array_size(count, sizeof *s->words));
  s->ranges = memory_allocate_zeroed(memory_array_size(threads, sizeof *s->ranges));
  if (!s->starts || !s->words || !s->ranges) return status_nomem();
  TRY(count_words(s));
  place_words(s);
  TRY(run_sides(s, s->lane_count, put_lanes));
  TRY(make_ranges(s, threads));
  return run_sides(s, threads, find_ranges);
}

static Status find_of_groups(Groups *g, size_t column, uint64_t count, uint32_t threads) {
  Sides s = { .groups = g, .column = column };
  Status status = find_sides(&s, count, threads);
  memory_release(s.lanes);
  memory_release(s.starts);
  memory_release(s.ends);
  memory_release(s.ranges);
  memory_release(s.words);
  memory_release(s.room);
  return status;
}

/* ---- all columns ---- */

static uint64_t values_of(const Groups *g, size_t column) {
  uint64_t count = 0;
  for (size_t i = 0; i < g->quantiles.count; i++) {
    if (g->quantiles.chunks[i].column == column) count += g->quantiles.chunks[i].count;
  }
  return count;
}

static uint32_t threads_for(uint32_t threads, uint64_t values) {
  if (!threads) threads = values > HELP_VALUES ? os_processors() : 1;
  return threads < TEAM_MEMBERS_MAX ? threads : TEAM_MEMBERS_MAX;
}

Status group_quantiles_find(Groups *g, uint32_t threads) {
  for (size_t i = 0; i < g->column_count && g->quantiles.count; i++) {
    uint64_t count = values_of(g, i);
    if (!count) continue;
    if (g->key_count)
      TRY(find_of_groups(g, i, count, threads_for(threads, count)));
    else
      TRY(find_of_all(g, i, count, threads_for(threads, count)));
    COUNT(quantiles_selected);
  }
  group_quantiles_mark(g);
  release_chunks(&g->quantiles);
  return KVSTORE_OK;
}

/* ---- what had left ---- */

/* Values of one group, which are more than there is room for, read again and again: counted by intervals of what is
 * left, until those of one interval have room. */
typedef struct Outside {
  Groups *groups;
  ColumnType type;
  uint32_t number;
  RowParts *parts;
  int64_t least, greatest; /* of what is left */
  uint64_t counts[1 << INTERVAL_BITS];
  int64_t *kept;
  uint64_t kept_count;
} Outside;

typedef void OutsideWork(Outside *o, const int64_t *images, uint32_t count);

static Status read_outside(Outside *o, OutsideWork *work) {
  int64_t room[BLOCK_ROWS];
  row_parts_rewind(o->parts);
  for (;;) {
    QueryBatch batch;
    TRY(query_tick(o->groups->space, o->groups->space->rows_total));
    TRY(row_parts_next(o->parts, &batch));
    if (!batch.row_count) return KVSTORE_OK;
    work(o, images_of(o->type, batch.columns[1].values, batch.row_count, room), batch.row_count);
  }
}

static void measure_outside(Outside *o, const int64_t *images, uint32_t count) {
  ends_of(images, count, &o->least, &o->greatest);
}

static void count_outside(Outside *o, const int64_t *images, uint32_t count) {
  unsigned shift = interval_shift(o->least, o->greatest, INTERVAL_BITS);
  for (uint32_t i = 0; i < count; i++) {
    if (images[i] >= o->least && images[i] <= o->greatest) o->counts[interval_of(images[i], o->least, shift)]++;
  }
}

static void keep_outside(Outside *o, const int64_t *images, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (images[i] >= o->least && images[i] <= o->greatest) o->kept[o->kept_count++] = images[i];
  }
}

/* Leaves the interval that has the value at *at; how many values that has. */
static Status narrow(Outside *o, uint64_t *at, uint64_t *left) {
  unsigned shift = interval_shift(o->least, o->greatest, INTERVAL_BITS);
  memset(o->counts, 0, sizeof o->counts);
  TRY(read_outside(o, count_outside));
  uint32_t wanted = interval_at(o->counts, at);
  *left = o->counts[wanted];
  uint64_t first = (uint64_t)o->least + ((uint64_t)wanted << shift), last = first + ((UINT64_C(1) << shift) - 1);
  o->least = (int64_t)first;
  if (last - first < (uint64_t)o->greatest - first) o->greatest = (int64_t)last;
  return KVSTORE_OK;
}

/* The word that place->among others with its image stand before. */
static Status find_outside(Outside *o, Place *place, GroupWord *bits) {
  row_parts_rewind(o->parts);
  for (;;) {
    QueryBatch batch;
    TRY(row_parts_next(o->parts, &batch));
    if (!batch.row_count || find_word(batch.columns[1].values, batch.row_count, place, bits)) return KVSTORE_OK;
  }
}

static Status find_request(Outside *o, size_t request, uint64_t count) {
  Groups *g = o->groups;
  uint64_t at = place_wanted(g, request, count), left = count;
  Place place;
  o->least = INT64_MAX;
  o->greatest = INT64_MIN;
  TRY(read_outside(o, measure_outside));
  while (left > count_with_room(g) && o->least < o->greatest) TRY(narrow(o, &at, &left));
  place = (Place){ o->least, at };
  if (o->least < o->greatest) {
    o->kept = memory_allocate(memory_array_size(left, sizeof *o->kept));
    if (!o->kept) return status_nomem();
    o->kept_count = 0;
    Status status = read_outside(o, keep_outside);
    if (status == KVSTORE_OK) place = find_place(o->kept, left, at);
    memory_release(o->kept);
    TRY(status);
  }
  GroupWord bits = { .u = 0 };
  Place among = place;
  bool has_bits = has_more_bits(o->type, place.image);
  if (has_bits) TRY(find_outside(o, &among, &bits));
  return keep(g, request, o->number, &place, has_bits ? &bits : NULL);
}

/* Of a part that is one group's. */
static Status find_of_one(Groups *g, size_t column, uint32_t number, RowParts *parts) {
  Outside *o = memory_allocate_zeroed(sizeof *o);
  if (!o) return status_nomem();
  *o = (Outside){ .groups = g, .type = g->columns[column].type, .number = number, .parts = parts };
  uint64_t count = group_column_count(&g->columns[column], group_state(g, number));
  Status status = KVSTORE_OK;
  for (size_t i = 0; i < g->request_count && status == KVSTORE_OK; i++) {
    if (wants_quantile(g, i, column)) status = find_request(o, i, count);
  }
  memory_release(o);
  COUNT(quantiles_outside);
  return status;
}

/* Words of a batch into chunks, or, once there is no room, all that there are on to further parts. */
static Status keep_batch(Groups *g, size_t column, const QueryBatch *batch, bool may_leave, bool *fits) {
  ColumnType type = type_is_float(g->columns[column].type) ? TYPE_F64 : TYPE_I64;
  const uint32_t *numbers = batch->columns[0].values;
  const GroupWord *words = batch->columns[1].values;
  if (!*fits) return group_divide_words(g, column, numbers, words, batch->row_count);
  TRY(keep_values(g, column, numbers, type, words, batch->row_count));
  *fits = has_room(g) || !may_leave;
  return *fits ? KVSTORE_OK : leave(g);
}

/* Those of one group cannot be divided: when they are not too many they stay, though the last chunk may be larger. */
Status group_quantiles_find_part(Groups *g, size_t column, RowParts *parts, uint32_t threads) {
  bool is_one = row_parts_is_one(parts), fits = true;
  for (;;) {
    QueryBatch batch;
    TRY(row_parts_next(parts, &batch));
    if (batch.row_count == 0) break;
    uint32_t number = *(const uint32_t *)batch.columns[0].values;
    bool is_large = is_one && group_column_count(&g->columns[column], group_state(g, number)) > count_with_room(g);
    if (is_large) return find_of_one(g, column, number, parts);
    TRY(keep_batch(g, column, &batch, !is_one, &fits));
  }
  g->quantiles.is_part = true;
  return group_quantiles_find(g, threads);
}
