/* aggregate.c - the state of count, sum, minimum and maximum, and how arrays are added to it. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

void aggregate_init(AggregateState *state, ColumnType type, uint32_t wanted) {
  *state = (AggregateState){ .type = type, .wanted = wanted, .minimum = INT64_MAX, .maximum = INT64_MIN };
}

void aggregate_image(AggregateState *s, int64_t minimum, int64_t maximum) {
  if (minimum < s->minimum) s->minimum = minimum;
  if (maximum > s->maximum) s->maximum = maximum;
}

/* A pointer that is NULL means none yet; so an empty string must have one. */
void aggregate_bytes(AggregateState *s, Bytes value) {
  static const uint8_t nothing[1] = { 0 };
  if (!value.data) value.data = nothing;
  Bytes *low = &s->minimum_bytes, *high = &s->maximum_bytes;
  if (!low->data || bytes_compare(value.data, value.length, low->data, low->length) < 0) *low = value;
  if (!high->data || bytes_compare(value.data, value.length, high->data, high->length) > 0) *high = value;
}

/* ---- arrays of numbers, whole blocks ---- */

/* Signed numbers as unsigned ones are 2^width too large each when they are negative. */
static void add_integers(ColumnType type, const void *values, const uint64_t *mask, AggregateState *s) {
  const SimdKernels *k = simd_kernels();
  unsigned bits = 8u << type_width_index(type);
  uint64_t sum[2] = { 0, 0 }, negative[BLOCK_WORDS];
  k->sum[bits](values, mask, sum);
  __int128 total = (__int128)((unsigned __int128)sum[1] << 64 | sum[0]);
  if (type_is_signed(type)) {
    if (mask)
      memcpy(negative, mask, sizeof negative);
    else
      memset(negative, 0xff, sizeof negative);
    k->above[bits](values, simd_width_mask(bits - 1), 0, negative);
    total -= ((__int128)1 << bits) * (__int128)k->mask_count(negative, BLOCK_WORDS);
  }
  int128_add(&s->sum, total);
}

static void add_ends(ColumnType type, const void *values, const uint64_t *mask, AggregateState *s) {
  const SimdKernels *k = simd_kernels();
  uint64_t low, high;
  if (type_is_float(type)) {
    int64_t images[BLOCK_ROWS];
    if (type == TYPE_F32)
      k->image_f32(values, images);
    else
      k->image_f64(values, images);
    k->extremes[3](images, UINT64_C(1) << 63, mask, &low, &high);
    aggregate_image(s, (int64_t)(low ^ UINT64_C(1) << 63), (int64_t)(high ^ UINT64_C(1) << 63));
    return;
  }
  unsigned index = type_width_index(type), bits = 8u << index;
  uint64_t sign = UINT64_C(1) << (bits - 1);
  k->extremes[index](values, type_is_signed(type) ? sign : 0, mask, &low, &high);
  if (type_is_signed(type))
    aggregate_image(s, (int64_t)(low - sign), (int64_t)(high - sign));
  else
    aggregate_image(s, (int64_t)(low + type_image_bias(type)), (int64_t)(high + type_image_bias(type)));
}

void aggregate_array_block(ColumnType type, const void *values, uint32_t row_count, const uint64_t *mask, bool full,
                           AggregateState *s) {
  const uint64_t *rows = full && row_count == BLOCK_ROWS ? NULL : mask; /* what lies past the end is not ours */
  const SimdKernels *k = simd_kernels();
  if (s->wanted & AGGREGATE_SUM) {
    if (type == TYPE_F32)
      k->sum_f32(values, rows, s->lanes);
    else if (type == TYPE_F64)
      k->sum_f64(values, rows, s->lanes);
    else
      add_integers(type, values, rows, s);
  }
  if (s->wanted & (AGGREGATE_MIN | AGGREGATE_MAX)) add_ends(type, values, rows, s);
}

/* ---- single values, merging, results ---- */

void aggregate_value(AggregateState *s, uint32_t row, const Value *v) {
  if (v->is_null) return;
  s->count++;
  if (type_is_string(s->type)) {
    aggregate_bytes(s, v->s);
  } else if (type_is_float(s->type)) {
    s->lanes[row % 8] += v->f;
    aggregate_image(s, float_image(v->f), float_image(v->f));
  } else {
    int64_t image = (int64_t)(v->u + type_image_bias(s->type));
    int128_add(&s->sum, type_image_bias(s->type) ? (__int128)v->u : (__int128)v->i);
    aggregate_image(s, image, image);
  }
}

void aggregate_merge(AggregateState *s, const AggregateState *other) {
  if (other->count == 0) return;
  s->count += other->count;
  int128_add(&s->sum, (__int128)((unsigned __int128)other->sum.high << 64 | other->sum.low));
  for (unsigned i = 0; i < 8; i++) s->lanes[i] += other->lanes[i];
  aggregate_image(s, other->minimum, other->maximum);
  if (other->minimum_bytes.data) aggregate_bytes(s, other->minimum_bytes);
  if (other->maximum_bytes.data) aggregate_bytes(s, other->maximum_bytes);
}

double aggregate_float_sum(const AggregateState *s) {
  const double *l = s->lanes;
  double sum = ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
  return sum == sum ? sum : float_from_image(INT64_MAX);
}

double float_from_image(int64_t image) {
  uint64_t bits = image == INT64_MAX ? UINT64_C(0x7ff8000000000000)
                  : image >= 0       ? (uint64_t)image
                                     : UINT64_C(0x8000000000000000) - (uint64_t)image;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static Value end_value(const AggregateState *s, int64_t image, Bytes bytes) {
  Value v = { .type = s->type, .is_null = s->count == 0 };
  if (v.is_null) return v;
  if (type_is_string(s->type))
    v.s = bytes;
  else if (type_is_float(s->type))
    v.f = float_from_image(image);
  else
    value_from_image(s->type, image, &v);
  return v;
}
Value aggregate_minimum(const AggregateState *s) { return end_value(s, s->minimum, s->minimum_bytes); }
Value aggregate_maximum(const AggregateState *s) { return end_value(s, s->maximum, s->maximum_bytes); }
