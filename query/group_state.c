/* group_state.c - layout, merging and results of the states of groups. */
#include "query/group_state.h"

#include <math.h>

#include "base/bitmap.h"
#include "encodings/codec.h"
#include "simd/simd.h"

/* ---- layout ---- */

uint32_t group_column_place(GroupColumn *c, uint32_t at) {
  if (c->nullable) c->count = at++;
  if (c->wants & GROUP_SUM) c->sum = at, at += 2;
  uint32_t end_words = type_is_string(c->type) ? 2 : 1;
  if (c->wants & GROUP_LEAST) c->least = at, at += end_words;
  if (c->wants & GROUP_GREATEST) c->greatest = at, at += end_words;
  if (c->wants & GROUP_SPREAD) c->spread = at, at += 6;
  if (c->wants & GROUP_FIRST) c->first = at, at += END_WORDS;
  if (c->wants & GROUP_LAST) c->last = at, at += END_WORDS;
  if (c->wants & GROUP_DISTINCT) c->distinct = at++;
  if (c->wants & GROUP_SKETCH) c->sketch = at, at += 2;
  return at;
}

/* All words are zero already. */
void group_column_clear(const GroupColumn *c, GroupWord *state) {
  if (type_is_string(c->type)) return;
  if (c->wants & GROUP_LEAST) state[c->least].i = INT64_MAX;
  if (c->wants & GROUP_GREATEST) state[c->greatest].i = INT64_MIN;
}

/* ---- numbers ---- */

void group_images(ColumnType type, const void *values, uint32_t count, int64_t *images) {
#define WIDEN(T)                                              \
  simd_kernels()->widen_i64[SIMD_##T](values, count, images); \
  break
  switch (type_storage(type)) {
  case TYPE_BOOL:
  case TYPE_U8: WIDEN(U8);
  case TYPE_I8: WIDEN(I8);
  case TYPE_I16: WIDEN(I16);
  case TYPE_U16: WIDEN(U16);
  case TYPE_I32: WIDEN(I32);
  case TYPE_U32: WIDEN(U32);
  case TYPE_F32:
    if (count == BLOCK_ROWS) simd_kernels()->image_f32(values, images);
    for (uint32_t i = 0; count < BLOCK_ROWS && i < count; i++)
      images[i] = float_image((double)((const float *)values)[i]);
    break;
  case TYPE_F64:
    if (count == BLOCK_ROWS) simd_kernels()->image_f64(values, images);
    for (uint32_t i = 0; count < BLOCK_ROWS && i < count; i++) images[i] = float_image(((const double *)values)[i]);
    break;
  case TYPE_U64:
    for (uint32_t i = 0; i < count; i++) images[i] = (int64_t)(((const uint64_t *)values)[i] ^ UINT64_C(1) << 63);
    break;
  default: WIDEN(I64);
  }
#undef WIDEN
}

void group_doubles(ColumnType type, const void *values, const int64_t *images, uint32_t count, double *doubles) {
  if (type == TYPE_F64) {
    memcpy(doubles, values, count * sizeof *doubles);
  } else if (type == TYPE_F32) {
    for (uint32_t i = 0; i < count; i++) doubles[i] = (double)((const float *)values)[i];
  } else if (type == TYPE_U64) {
    for (uint32_t i = 0; i < count; i++) doubles[i] = (double)((const uint64_t *)values)[i];
  } else {
    double unit = (double)decimal_unit(type_scale(type));
    for (uint32_t i = 0; i < count; i++) doubles[i] = (double)images[i];
    for (uint32_t i = 0; unit > 1 && i < count; i++) doubles[i] /= unit;
  }
}

Value group_image_value(ColumnType type, int64_t image) {
  AggregateState one;
  aggregate_init(&one, type, AGGREGATE_MIN);
  one.count = 1;
  one.minimum = image;
  return aggregate_minimum(&one);
}

/* ---- units ---- */

void spread_merge(Spread *s, const Spread *more) {
  double before = s->count, count = before + more->count;
  if (more->count == 0) return;
  if (before == 0) {
    *s = *more;
    return;
  }
  double difference = more->mean - s->mean;
  s->count = count;
  s->mean += difference * (more->count / count);
  s->squares += more->squares + difference * difference * (before * (more->count / count));
}

static double lanes_total(const double l[8]) {
  return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

void spread_add_block(Spread *s, const double *values, uint32_t count) {
  const SimdKernels *k = simd_kernels();
  uint64_t first[BLOCK_WORDS], *mask = count == BLOCK_ROWS ? NULL : first;
  double lanes[8] = { 0 }, squares[8] = { 0 };
  if (!count) return;
  simd_count(k, 1);
  bitmap_fill_first(first, BLOCK_WORDS, count);
  k->sum_f64(values, mask, lanes);
  Spread block = { count, lanes_total(lanes) / count, 0 };
  if (isfinite(block.mean)) {
    k->squares_f64(values, mask, block.mean, squares);
    block.squares = lanes_total(squares);
  } else {
    block = (Spread){ 0 };
    for (uint32_t i = 0; i < count; i++) spread_add(&block, values[i]);
  }
  spread_merge(s, &block);
}

void group_merge_spread(GroupWord *words, const Spread *unit) {
  Spread all = { words[0].f, words[1].f, words[2].f };
  spread_merge(&all, unit);
  words[0].f = all.count;
  words[1].f = all.mean;
  words[2].f = all.squares;
}

void group_spread_block(GroupWord *words, const double *values, uint32_t count) {
  Spread block = { 0 };
  spread_add_block(&block, values, count);
  group_merge_spread(words, &block);
}

void group_column_end_unit(const GroupColumn *c, GroupWord *state) {
  if (c->wants & GROUP_SUM && type_is_float(c->type)) {
    state[c->sum].f += state[c->sum + 1].f;
    state[c->sum + 1].f = 0;
  }
  if (c->wants & GROUP_SPREAD) {
    GroupWord *words = state + c->spread;
    Spread unit = { words[3].f, words[4].f, words[5].f };
    group_merge_spread(words, &unit);
    words[3].f = words[4].f = words[5].f = 0;
  }
}

/* ---- strings and ends ---- */

Status group_keep_bytes(GroupWord *keep, Bytes bytes, Arena *arena) {
  uint64_t room = keep[1].u >> 32;
  if (bytes.length > UINT32_MAX / 2) return status_fail(KVSTORE_LIMIT, "a string of %zu bytes", bytes.length);
  if (!keep[0].data || bytes.length > room) {
    room = bytes.length + bytes.length / 2 + 8;
    keep[0].data = arena_allocate(arena, (size_t)room);
    keep[1].u = 0;
    if (!keep[0].data) return status_nomem();
  }
  if (bytes.length) memcpy((uint8_t *)(uintptr_t)keep[0].data, bytes.data, bytes.length);
  keep[1].u = room << 32 | bytes.length;
  return KVSTORE_OK;
}

static int compare_kept(Bytes a, const GroupWord *keep) {
  Bytes b = group_kept(keep);
  return bytes_compare(a.data, a.length, b.data, b.length);
}

Status group_add_bytes(const GroupColumn *c, GroupWord *state, Bytes bytes, Arena *arena) {
  GroupWord *least = state + c->least, *greatest = state + c->greatest;
  if (c->wants & GROUP_LEAST && (!least->data || compare_kept(bytes, least) < 0))
    TRY(group_keep_bytes(least, bytes, arena));
  if (c->wants & GROUP_GREATEST && (!greatest->data || compare_kept(bytes, greatest) > 0))
    TRY(group_keep_bytes(greatest, bytes, arena));
  return KVSTORE_OK;
}

/* Rows of one key are joined ones, which are offered in the order in which they come. */
bool group_end_is_better(const GroupWord *end, Bytes key, bool last) {
  if (!end[END_FLAGS].u) return true;
  int order = compare_kept(key, end + END_KEY);
  return last ? order >= 0 : order < 0;
}

Status group_keep_end(GroupWord *end, Bytes key, const Value *value, Arena *arena) {
  TRY(group_keep_bytes(end + END_KEY, key, arena));
  end[END_FLAGS].u = value->is_null ? 3 : 1;
  if (value->is_null) return KVSTORE_OK;
  if (type_is_string(value->type)) return group_keep_bytes(end + END_VALUE, value->s, arena);
  end[END_VALUE].u = value->u;
  return KVSTORE_OK;
}

/* ---- sketches ---- */

Status group_sketch_add(GroupWord *keep, uint64_t hash, Arena *arena) {
  if (!keep->data) {
    keep->data = arena_allocate_zeroed(arena, SKETCH_BYTES);
    if (!keep->data) return status_nomem();
  }
  uint8_t *at = (uint8_t *)(uintptr_t)keep->data + (hash >> (64 - SKETCH_BITS));
  uint8_t rank = (uint8_t)(1 + __builtin_ctzll(hash | UINT64_C(1) << (64 - SKETCH_BITS)));
  if (rank > *at) *at = rank;
  return KVSTORE_OK;
}

/* Of a group of few values most places are 0: eight at once are passed over. */
uint64_t group_sketch_count(const GroupWord *keep) {
  const double m = SKETCH_BYTES;
  uint32_t places[UINT8_MAX + 1] = { 0 }; /* how many have each rank */
  uint32_t zeros = SKETCH_BYTES;
  double sum = 0;
  if (!keep->data) return 0;
  for (uint32_t i = 0; i < SKETCH_BYTES; i += sizeof(uint64_t)) {
    uint64_t eight;
    memcpy(&eight, keep->data + i, sizeof eight);
    for (; eight; eight >>= 8) places[eight & UINT8_MAX]++;
  }
  for (int rank = UINT8_MAX; rank > 0; rank--) {
    sum += ldexp(places[rank], -rank);
    zeros -= places[rank];
  }
  sum += zeros;
  double count = 0.7213 / (1 + 1.079 / m) * m * m / sum;
  if (count <= 2.5 * m && zeros) count = m * log(m / zeros);
  return (uint64_t)llround(count);
}

static Status merge_sketches(GroupWord *to, const GroupWord *from, Arena *arena) {
  if (!from->data) return KVSTORE_OK;
  if (!to->data) to->data = arena_allocate_zeroed(arena, SKETCH_BYTES);
  if (!to->data) return status_nomem();
  uint8_t *at = (uint8_t *)(uintptr_t)to->data;
  for (uint32_t i = 0; i < SKETCH_BYTES; i++) {
    if (from->data[i] > at[i]) at[i] = from->data[i];
  }
  return KVSTORE_OK;
}

/* ---- two states of one group ---- */

static Status merge_ends(ColumnType type, GroupWord *to, const GroupWord *from, bool last, Arena *arena) {
  if (!from[END_FLAGS].u || !group_end_is_better(to, group_kept(from + END_KEY), last)) return KVSTORE_OK;
  Value v = { .type = type, .is_null = from[END_FLAGS].u != 1 };
  if (type_is_string(type))
    v.s = group_kept(from + END_VALUE);
  else
    v.u = from[END_VALUE].u;
  return group_keep_end(to, group_kept(from + END_KEY), &v, arena);
}

static Status merge_strings(const GroupColumn *c, GroupWord *to, const GroupWord *from, Arena *arena) {
  const GroupWord *least = from + c->least, *greatest = from + c->greatest;
  if (c->wants & GROUP_LEAST && least->data) TRY(group_add_bytes(c, to, group_kept(least), arena));
  if (c->wants & GROUP_GREATEST && greatest->data) TRY(group_add_bytes(c, to, group_kept(greatest), arena));
  return KVSTORE_OK;
}

Status group_column_merge(const GroupColumn *c, GroupWord *to, const GroupWord *from, Arena *arena) {
  if (c->nullable) to[c->count].u += from[c->count].u;
  if (c->wants & GROUP_SUM && !type_is_float(c->type)) group_add_wide(to + c->sum, from[c->sum].u, from[c->sum + 1].u);
  if (type_is_string(c->type)) {
    TRY(merge_strings(c, to, from, arena));
  } else {
    if (c->wants & GROUP_LEAST && from[c->least].i < to[c->least].i) to[c->least].i = from[c->least].i;
    if (c->wants & GROUP_GREATEST && from[c->greatest].i > to[c->greatest].i) to[c->greatest].i = from[c->greatest].i;
  }
  if (c->wants & GROUP_FIRST) TRY(merge_ends(c->type, to + c->first, from + c->first, false, arena));
  if (c->wants & GROUP_LAST) TRY(merge_ends(c->type, to + c->last, from + c->last, true, arena));
  return c->wants & GROUP_SKETCH ? merge_sketches(to + c->sketch, from + c->sketch, arena) : KVSTORE_OK;
}

/* ---- quantiles ---- */

uint64_t group_quantile_place(uint64_t count, uint32_t millionths) {
  uint64_t rest = count % QUANTILE_WHOLE * millionths + QUANTILE_WHOLE - 1;
  uint64_t place = count / QUANTILE_WHOLE * millionths + rest / QUANTILE_WHOLE;
  return place ? place : 1;
}

Status group_keep_quantile(GroupWord *words, const Value *value, Arena *arena) {
  words[0].u = 1;
  if (type_is_string(value->type)) return group_keep_bytes(words + 1, value->s, arena);
  words[1].u = value->u;
  return KVSTORE_OK;
}

/* ---- results ---- */

static AggregateResult nothing(void) { return (AggregateResult){ .is_null = true, .value = { .is_null = true } }; }
static AggregateResult result_count(uint64_t count) {
  return (AggregateResult){ .value = { .type = TYPE_U64, .u = count } };
}
static AggregateResult result_double(double x) {
  if (x != x) x = group_image_value(TYPE_F64, INT64_MAX).f;
  return (AggregateResult){ .value = { .type = TYPE_F64, .f = x } };
}

/* Images of u64 are 2^63 too small each. */
static Int128 integer_sum(const GroupColumn *c, const GroupWord *state) {
  GroupWord sum[2] = { state[c->sum], state[c->sum + 1] };
  uint64_t count = group_column_count(c, state);
  if (c->type == TYPE_U64) group_add_wide(sum, count << 63, count >> 1);
  return (Int128){ sum[0].u, sum[1].i };
}

static AggregateResult result_sum(const GroupColumn *c, const GroupWord *state) {
  if (type_is_float(c->type)) return result_double(state[c->sum].f);
  return (AggregateResult){ .is_integer = true, .integer = integer_sum(c, state), .value = { .type = c->type } };
}

static AggregateResult result_mean(const GroupColumn *c, const GroupWord *state) {
  double sum = type_is_float(c->type) ? state[c->sum].f : int128_to_double(integer_sum(c, state));
  sum /= (double)decimal_unit(type_scale(c->type));
  return result_double(sum / (double)group_column_count(c, state));
}

static AggregateResult result_spread(const GroupColumn *c, AggregateKind kind, const GroupWord *state) {
  const GroupWord *words = state + c->spread;
  bool sample = kind == AGGREGATE_VARIANCE || kind == AGGREGATE_DEVIATION;
  double count = words[0].f - (sample ? 1 : 0);
  if (count == 0) return nothing();
  double variance = words[2].f / count;
  bool is_root = kind == AGGREGATE_DEVIATION || kind == AGGREGATE_DEVIATION_POPULATION;
  return result_double(is_root ? sqrt(variance) : variance);
}

static AggregateResult result_extreme(const GroupColumn *c, const GroupWord *word) {
  if (!type_is_string(c->type)) return (AggregateResult){ .value = group_image_value(c->type, word->i) };
  return (AggregateResult){ .value = { .type = c->type, .s = group_kept(word) } };
}

static AggregateResult result_end(const GroupColumn *c, const GroupWord *end) {
  if (end[END_FLAGS].u != 1) return nothing();
  AggregateResult result = { .value = { .type = c->type } };
  if (type_is_string(c->type))
    result.value.s = group_kept(end + END_VALUE);
  else
    result.value.u = end[END_VALUE].u;
  return result;
}

AggregateResult group_quantile(ColumnType type, const GroupWord *words) {
  if (!words[0].u) return nothing();
  AggregateResult result = { .value = { .type = type } };
  if (type_is_string(type))
    result.value.s = group_kept(words + 1);
  else
    result.value.u = words[1].u;
  return result;
}

AggregateResult group_result(const GroupColumn *c, AggregateKind kind, const GroupWord *state) {
  if (kind == AGGREGATE_ROWS) return result_count(state[GROUP_ROWS].u);
  if (kind == AGGREGATE_VALUES) return result_count(group_column_count(c, state));
  if (kind == AGGREGATE_DISTINCT) return result_count(state[c->distinct].u);
  if (kind == AGGREGATE_SKETCH) return result_count(group_sketch_count(state + c->sketch));
  if (kind == AGGREGATE_FIRST) return result_end(c, state + c->first);
  if (kind == AGGREGATE_LAST) return result_end(c, state + c->last);
  if (group_column_count(c, state) == 0) return nothing();
  switch (kind) {
  case AGGREGATE_TOTAL: return result_sum(c, state);
  case AGGREGATE_MEAN: return result_mean(c, state);
  case AGGREGATE_LEAST: return result_extreme(c, state + c->least);
  case AGGREGATE_GREATEST: return result_extreme(c, state + c->greatest);
  default: return result_spread(c, kind, state);
  }
}
