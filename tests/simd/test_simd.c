/* Every table against plain loops over the values that were packed, and so against the scalar one; every width 0 to 64.
 */
#include "simd/simd.h"

#include <math.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "base/schema.h"
#include "tests/simd/every_table.h"
#include "tests/support/test.h"

enum { PACKED_MAX = 128 * 64 };

typedef union Lanes {
  uint8_t of8[SIMD_ROWS];
  uint16_t of16[SIMD_ROWS];
  uint32_t of32[SIMD_ROWS];
  uint64_t of64[SIMD_ROWS];
} Lanes;

static uint64_t lane_get(const Lanes *l, unsigned index, unsigned i) {
  return index == 0 ? l->of8[i] : index == 1 ? l->of16[i] : index == 2 ? l->of32[i] : l->of64[i];
}
static void lane_set(Lanes *l, unsigned index, unsigned i, uint64_t value) {
  if (index == 0)
    l->of8[i] = (uint8_t)value;
  else if (index == 1)
    l->of16[i] = (uint16_t)value;
  else if (index == 2)
    l->of32[i] = (uint32_t)value;
  else
    l->of64[i] = value;
}

/* Values of `width` bits: random, few, at the ends. */
static void draw(uint64_t *rng, unsigned width, uint64_t values[SIMD_ROWS]) {
  uint64_t mask = simd_width_mask(width), kind = test_random_below(rng, 4);
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    uint64_t r = test_random(rng);
    values[i] = kind == 0   ? r & mask
                : kind == 1 ? (r % 3) & mask
                : kind == 2 ? (r & 1 ? mask : 0)
                            : (r >> (r % 60)) & mask;
  }
}

/* The specification of the layout, written once more: bits one by one into lanes. */
static void pack_bit_by_bit(const uint64_t values[SIMD_ROWS], unsigned width, uint8_t *out) {
  memset(out, 0, (size_t)128 * width);
  unsigned lane = simd_lane(width), lanes = SIMD_ROWS / lane;
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    for (unsigned b = 0; b < width; b++) {
      if (!(values[i] >> b & 1)) continue;
      unsigned at = i / lanes * width + b; /* bit of the lane's string */
      unsigned word = at / lane * lanes + i % lanes, bit = word * lane + at % lane;
      out[bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
  }
}

static void random_mask(uint64_t *rng, uint64_t mask[SIMD_WORDS]) {
  uint64_t kind = test_random_below(rng, 4);
  for (unsigned i = 0; i < SIMD_WORDS; i++) {
    mask[i] = kind == 0   ? UINT64_MAX
              : kind == 1 ? test_random(rng)
              : kind == 2 ? test_random(rng) & test_random(rng) & test_random(rng)
                          : 0;
  }
  if (kind == 3) bit_set(mask, test_random_below(rng, SIMD_ROWS));
}

/* ---- packed blocks ---- */

static void check_pack_and_unpack(const SimdKernels *k, uint64_t *rng) {
  for (unsigned width = 0; width <= 64; width++) {
    uint64_t values[SIMD_ROWS];
    uint8_t expected[PACKED_MAX + 8], packed[PACKED_MAX + 8];
    Lanes lanes, back;
    unsigned index = simd_lane_index(width);
    draw(rng, width, values);
    pack_bit_by_bit(values, width, expected);
    for (unsigned i = 0; i < SIMD_ROWS; i++) lane_set(&lanes, index, i, values[i]);
    if (width) {
      k->pack[index](&lanes, width, packed);
      CHECK_BYTES(packed, expected, 128 * width);
    }
    memset(&back, 0xab, sizeof back);
    k->unpack[width](expected, &back);
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      CHECK_INT(lane_get(&back, index, i), values[i]);
      CHECK_INT(simd_packed_value(expected, width, i), values[i]);
    }
  }
}
TEST(simd, packs_and_unpacks_every_width) { on_every_table(check_pack_and_unpack); }

static void check_verdicts(uint64_t before[SIMD_WORDS], uint64_t after[SIMD_WORDS], const bool verdicts[SIMD_ROWS],
                           bool flip) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) CHECK_INT(bit_get(after, i), bit_get(before, i) && verdicts[i] != flip);
}

static void check_compare(const SimdKernels *k, uint64_t *rng) {
  for (unsigned width = 0; width <= 64; width++) {
    for (uint64_t round = 0; round < test_scaled(40); round++) {
      uint64_t values[SIMD_ROWS], before[SIMD_WORDS], after[SIMD_WORDS], most = simd_width_mask(width);
      uint8_t packed[PACKED_MAX + 8];
      bool verdicts[SIMD_ROWS], flip = test_random(rng) & 1;
      draw(rng, width, values);
      pack_bit_by_bit(values, width, packed);
      uint64_t a = round % 3 ? values[test_random_below(rng, SIMD_ROWS)] : test_random(rng) & most;
      uint64_t b = round % 5 ? values[test_random_below(rng, SIMD_ROWS)] : most;
      if (round % 7 == 0) a = 0;
      uint64_t low = a < b ? a : b, high = a < b ? b : a;
      if (round % 4 == 0) high = low;

      random_mask(rng, before);
      memcpy(after, before, sizeof after);
      for (unsigned i = 0; i < SIMD_ROWS; i++) verdicts[i] = values[i] > a;
      k->above[width](packed, a, flip ? UINT64_MAX : 0, after);
      check_verdicts(before, after, verdicts, flip);

      memcpy(after, before, sizeof after);
      for (unsigned i = 0; i < SIMD_ROWS; i++) verdicts[i] = values[i] >= low && values[i] <= high;
      k->range[width](packed, low, high - low, flip ? UINT64_MAX : 0, after);
      check_verdicts(before, after, verdicts, flip);
    }
  }
}
TEST(simd, compares_packed_values_of_every_width) { on_every_table(check_compare); }

static void check_signed_ranges(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 50; round++) {
    int8_t of8[SIMD_ROWS];
    int64_t of64[SIMD_ROWS];
    uint64_t before[SIMD_WORDS], after[SIMD_WORDS];
    bool verdicts[SIMD_ROWS];
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      of8[i] = (int8_t)test_random(rng);
      of64[i] = (int64_t)test_random(rng) >> (test_random(rng) % 64);
    }
    random_mask(rng, before);
    int8_t low = of8[0] < of8[1] ? of8[0] : of8[1], high = of8[0] < of8[1] ? of8[1] : of8[0];
    for (unsigned i = 0; i < SIMD_ROWS; i++) verdicts[i] = of8[i] >= low && of8[i] <= high;
    memcpy(after, before, sizeof after);
    k->range[8](of8, (uint8_t)low, (uint8_t)(high - low), 0, after);
    check_verdicts(before, after, verdicts, false);
    int64_t first = of64[0] < of64[1] ? of64[0] : of64[1], last = of64[0] < of64[1] ? of64[1] : of64[0];
    if (round == 0) first = INT64_MIN, last = INT64_MAX;
    for (unsigned i = 0; i < SIMD_ROWS; i++) verdicts[i] = of64[i] >= first && of64[i] <= last;
    memcpy(after, before, sizeof after);
    k->range[64](of64, (uint64_t)first, (uint64_t)last - (uint64_t)first, 0, after);
    check_verdicts(before, after, verdicts, false);
  }
}
TEST(simd, ranges_of_signed_arrays_wrap) { on_every_table(check_signed_ranges); }

static void check_sum(const SimdKernels *k, uint64_t *rng) {
  for (unsigned width = 0; width <= 64; width++) {
    for (uint64_t round = 0; round < 8; round++) {
      uint64_t values[SIMD_ROWS], mask[SIMD_WORDS], sum[2] = { UINT64_MAX - 5, 3 };
      uint8_t packed[PACKED_MAX + 8];
      draw(rng, width, values);
      if (round == 1) memset(values, 0xff, sizeof values);
      for (unsigned i = 0; i < SIMD_ROWS; i++) values[i] &= simd_width_mask(width);
      pack_bit_by_bit(values, width, packed);
      random_mask(rng, mask);
      const uint64_t *given = round < 2 ? NULL : mask;
      unsigned __int128 expected = (unsigned __int128)3 << 64 | (UINT64_MAX - 5);
      for (unsigned i = 0; i < SIMD_ROWS; i++) expected += !given || bit_get(mask, i) ? values[i] : 0;
      k->sum[width](packed, given, sum);
      CHECK(sum[0] == (uint64_t)expected && sum[1] == (uint64_t)(expected >> 64));
    }
  }
}
TEST(simd, sums_packed_values_in_128_bits) { on_every_table(check_sum); }

static void check_extremes(const SimdKernels *k, uint64_t *rng) {
  for (unsigned index = 0; index < 4; index++) {
    for (unsigned round = 0; round < 30; round++) {
      uint64_t mask[SIMD_WORDS], low = UINT64_MAX, high = 0, flip = round % 2 ? UINT64_C(1) << ((8u << index) - 1) : 0;
      Lanes lanes;
      uint64_t values[SIMD_ROWS];
      draw(rng, 8u << index, values);
      random_mask(rng, mask);
      if (!bitmap_count(mask, SIMD_WORDS)) bit_set(mask, 5);
      const uint64_t *given = round % 5 ? mask : NULL;
      for (unsigned i = 0; i < SIMD_ROWS; i++) {
        lane_set(&lanes, index, i, values[i]);
        if (given && !bit_get(mask, i)) continue;
        if ((values[i] ^ flip) < low) low = values[i] ^ flip;
        if ((values[i] ^ flip) > high) high = values[i] ^ flip;
      }
      uint64_t found_low, found_high;
      k->extremes[index](&lanes, flip, given, &found_low, &found_high);
      CHECK(found_low == low);
      CHECK(found_high == high);
    }
  }
}
TEST(simd, finds_extremes_under_a_mask) { on_every_table(check_extremes); }

static void check_scale(const SimdKernels *k, uint64_t *rng) {
  for (unsigned in = 0; in < 4; in++) {
    for (unsigned out = 0; out < 4; out++) {
      for (unsigned round = 0; round < 4; round++) {
        Lanes from, to;
        uint64_t base = test_random(rng), step = round ? test_random(rng) >> (round * 16) : 1;
        for (unsigned i = 0; i < SIMD_ROWS; i++) lane_set(&from, in, i, test_random(rng));
        k->scale[in][out](&from, base, step, &to);
        uint64_t wrap = simd_width_mask(8u << out);
        for (unsigned i = 0; i < SIMD_ROWS; i++) {
          CHECK(lane_get(&to, out, i) == ((base + step * lane_get(&from, in, i)) & wrap));
        }
      }
    }
  }
}
TEST(simd, scales_between_all_widths) { on_every_table(check_scale); }

static void check_running_sum(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 8; round++) {
    uint64_t values[SIMD_ROWS], expected[SIMD_ROWS], total = test_random(rng), before = total;
    draw(rng, round ? 64 - round * 8 : 64, values);
    for (unsigned i = 0; i < SIMD_ROWS; i++) expected[i] = total += values[i];
    k->running_sum(values, before);
    CHECK_BYTES(values, expected, sizeof values);
  }
}
TEST(simd, running_sums_wrap_and_carry_on) { on_every_table(check_running_sum); }

/* ---- floats ---- */

static double odd_double(uint64_t *rng) {
  static const double edges[] = { 0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 5e-324, -5e-324, 2.5 };
  uint64_t r = test_random(rng), bits = test_random(rng);
  double value;
  if (r % 8 == 0) return NAN;
  if (r % 8 == 1) return r & 8 ? INFINITY : -INFINITY;
  if (r % 8 < 5) return edges[r / 8 % (sizeof edges / sizeof *edges)];
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void check_float_ranges(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 60; round++) {
    double wide[SIMD_ROWS];
    float narrow[SIMD_ROWS];
    bool in_wide[SIMD_ROWS], in_narrow[SIMD_ROWS], nan = round & 1, flip = round & 2;
    uint64_t before[SIMD_WORDS], after[SIMD_WORDS];
    double low = odd_double(rng), high = odd_double(rng);
    if (low != low) low = -3;
    if (high != high) high = 4;
    float flow = (float)low, fhigh = (float)high;
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      wide[i] = odd_double(rng);
      narrow[i] = (float)odd_double(rng);
      in_wide[i] = isnan(wide[i]) ? nan : low <= wide[i] && wide[i] <= high;
      in_narrow[i] = isnan(narrow[i]) ? nan : flow <= narrow[i] && narrow[i] <= fhigh;
    }
    random_mask(rng, before);
    memcpy(after, before, sizeof after);
    k->range_f64(wide, low, high, nan, flip ? UINT64_MAX : 0, after);
    check_verdicts(before, after, in_wide, flip);
    memcpy(after, before, sizeof after);
    k->range_f32(narrow, flow, fhigh, nan, flip ? UINT64_MAX : 0, after);
    check_verdicts(before, after, in_narrow, flip);
  }
}
TEST(simd, float_ranges_take_nan_only_when_asked) { on_every_table(check_float_ranges); }

static void check_float_sums(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 20; round++) {
    double wide[SIMD_ROWS], lanes[8] = { 0 }, expected[8] = { 0 };
    float narrow[SIMD_ROWS];
    uint64_t mask[SIMD_WORDS];
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      wide[i] = (double)(int64_t)test_random(rng) * 1e-7;
      if (round == 3) wide[i] = -0.0;
      narrow[i] = (float)wide[i];
    }
    random_mask(rng, mask);
    const uint64_t *given = round % 4 ? mask : NULL;
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      if (!given || bit_get(mask, i)) expected[i % 8] += wide[i];
    }
    k->sum_f64(wide, given, lanes);
    CHECK_BYTES(lanes, expected, sizeof lanes);
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      if (!given || bit_get(mask, i)) expected[i % 8] += (double)narrow[i];
    }
    k->sum_f32(narrow, given, lanes);
    CHECK_BYTES(lanes, expected, sizeof lanes);
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      double distance = wide[i] - wide[7];
      if (!given || bit_get(mask, i)) expected[i % 8] += distance * distance;
    }
    k->squares_f64(wide, given, wide[7], lanes);
    CHECK_BYTES(lanes, expected, sizeof lanes);
  }
}
TEST(simd, float_sums_have_the_same_bits_everywhere) { on_every_table(check_float_sums); }

static void check_float_images(const SimdKernels *k, uint64_t *rng) {
  double wide[SIMD_ROWS];
  float narrow[SIMD_ROWS];
  int64_t images[SIMD_ROWS];
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    wide[i] = odd_double(rng);
    narrow[i] = (float)odd_double(rng);
  }
  k->image_f64(wide, images);
  for (unsigned i = 0; i < SIMD_ROWS; i++) CHECK_INT(images[i], float_image(wide[i]));
  k->image_f32(narrow, images);
  for (unsigned i = 0; i < SIMD_ROWS; i++) CHECK_INT(images[i], float_image((double)narrow[i]));
}
TEST(simd, float_images_are_those_of_base) { on_every_table(check_float_images); }

static void check_decimals(const SimdKernels *k, uint64_t *rng) {
  static const double tens[] = { 1e0, 1e3, 1e11 }, tenths[] = { 1e-0, 1e-2, 1e-14 };
  for (unsigned index = 0; index < 4; index++) {
    for (unsigned round = 0; round < 9; round++) {
      Lanes lanes;
      double wide[SIMD_ROWS];
      float narrow[SIMD_ROWS];
      int64_t base = round % 3 ? (int64_t)test_random_below(rng, UINT64_C(1) << 50) : 0;
      if (round % 2) base = -base;
      for (unsigned i = 0; i < SIMD_ROWS; i++) lane_set(&lanes, index, i, test_random(rng) >> 14);
      k->decimal_f64[index](&lanes, base, tens[round % 3], tenths[round / 3], wide);
      k->decimal_f32[index](&lanes, base, tens[round % 3], tenths[round / 3], narrow);
      for (unsigned i = 0; i < SIMD_ROWS; i++) {
        double expected = (double)(base + (int64_t)lane_get(&lanes, index, i)) * tens[round % 3] * tenths[round / 3];
        float rounded = (float)expected;
        CHECK_BYTES(&wide[i], &expected, sizeof expected);
        CHECK_BYTES(&narrow[i], &rounded, sizeof rounded);
      }
    }
  }
}
TEST(simd, decimals_have_the_bits_of_two_multiplications) { on_every_table(check_decimals); }

static void check_glue(const SimdKernels *k, uint64_t *rng) {
  uint64_t of64[SIMD_ROWS], out64[SIMD_ROWS], lefts[8], narrow_lefts[8];
  uint32_t of32[SIMD_ROWS], out32[SIMD_ROWS];
  uint8_t codes[SIMD_ROWS];
  for (unsigned i = 0; i < 8; i++) {
    lefts[i] = test_random(rng) << 50;
    narrow_lefts[i] = lefts[i] >> 32;
  }
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    of64[i] = test_random(rng) >> 14;
    of32[i] = (uint32_t)(test_random(rng) >> 46);
    codes[i] = (uint8_t)test_random_below(rng, 8);
  }
  k->glue64(of64, codes, lefts, out64);
  k->glue32(of32, codes, narrow_lefts, out32);
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    CHECK(out64[i] == (of64[i] | lefts[codes[i]]));
    CHECK_INT(out32[i], of32[i] | (uint32_t)narrow_lefts[codes[i]]);
  }
}
TEST(simd, left_and_right_parts_are_glued) { on_every_table(check_glue); }

/* ---- codes, rows, masks ---- */

static void check_members(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 20; round++) {
    uint8_t of8[SIMD_ROWS];
    uint16_t of16[SIMD_ROWS];
    uint64_t set8[4], set16[1024], before[SIMD_WORDS], after[SIMD_WORDS];
    bool in8[SIMD_ROWS], in16[SIMD_ROWS], flip = round & 1;
    for (unsigned i = 0; i < 4; i++) set8[i] = test_random(rng);
    for (unsigned i = 0; i < 1024; i++) set16[i] = test_random(rng) & test_random(rng);
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      of8[i] = (uint8_t)(round == 0 ? i : test_random(rng));
      of16[i] = (uint16_t)(round == 0 ? 65535 - i : test_random(rng));
      in8[i] = bit_get(set8, of8[i]);
      in16[i] = bit_get(set16, of16[i]);
    }
    random_mask(rng, before);
    memcpy(after, before, sizeof after);
    k->member8(of8, set8, flip ? UINT64_MAX : 0, after);
    check_verdicts(before, after, in8, flip);
    memcpy(after, before, sizeof after);
    k->member16(of16, set16, flip ? UINT64_MAX : 0, after);
    check_verdicts(before, after, in16, flip);
  }
}
TEST(simd, looks_codes_up_in_a_set) { on_every_table(check_members); }

/* Sets that end within a word and with one, around zero and the least signed number; values on both sides of them. */
static void check_sets(const SimdKernels *k, uint64_t *rng) {
  enum { MOST = 40000 };
  static const uint64_t ranges[] = { 0, 1, 62, 63, 64, 100, 127, 128, 1000, MOST };
  static uint32_t less[MOST + 1]; /* members before each number */
  for (unsigned round = 0; round < 40; round++) {
    uint64_t words[MOST / 64 + 1], values[SIMD_ROWS], before[SIMD_WORDS], after[SIMD_WORDS];
    uint32_t befores[MOST / 64 + 1], wanted[SIMD_ROWS], places[SIMD_ROWS];
    bool verdicts[SIMD_ROWS], flip = round & 1;
    SimdSet set = { (uint64_t)-17, ranges[round % 10], words, befores };
    if (round >= 20) set.least = (UINT64_C(1) << 63) - test_random_below(rng, 50);
    for (unsigned w = 0; w <= set.range / 64; w++) words[w] = test_random(rng) & test_random(rng);
    words[set.range / 64] &= UINT64_MAX >> (63 - set.range % 64);
    less[0] = 0;
    for (unsigned i = 0; i < set.range; i++) less[i + 1] = less[i] + bit_get(words, i);
    for (unsigned w = 0; w <= set.range / 64; w++) befores[w] = less[(size_t)w * 64];
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      uint64_t at = test_random_below(rng, 2 * set.range + 8) - 4; /* some lie before the least one */
      if (i % 50 == 0) at = test_random(rng) | UINT64_C(1) << 40;
      if (i == 1) at = set.range;
      values[i] = set.least + at;
      verdicts[i] = at <= set.range && bit_get(words, at);
      wanted[i] = verdicts[i] ? less[at] : SIMD_NO_PLACE;
    }
    random_mask(rng, before);
    memcpy(after, before, sizeof after);
    k->member64(values, &set, flip ? UINT64_MAX : 0, after);
    check_verdicts(before, after, verdicts, flip);
    uint32_t count = round % 3 ? SIMD_ROWS : (uint32_t)test_random_below(rng, SIMD_ROWS);
    k->place64(values, &set, count, places);
    for (unsigned i = 0; i < count; i++) CHECK_INT(places[i], wanted[i]);
  }
}
TEST(simd, looks_numbers_up_in_a_set_and_counts_those_before) { on_every_table(check_sets); }

static void check_rows(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 20; round++) {
    uint64_t sequence[SIMD_ROWS], dead_at[SIMD_ROWS], before[SIMD_WORDS], after[SIMD_WORDS];
    int64_t expiry[SIMD_ROWS], now = round ? (int64_t)test_random_below(rng, 100) - 50 : INT64_MIN;
    uint64_t snapshot = round ? test_random_below(rng, 100) : UINT64_MAX - 1;
    bool seen[SIMD_ROWS], lives[SIMD_ROWS];
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      sequence[i] = test_random_below(rng, 100);
      dead_at[i] = test_random(rng) & 1 ? UINT64_MAX : test_random_below(rng, 100);
      expiry[i] = test_random(rng) & 1 ? INT64_MAX : (int64_t)test_random_below(rng, 100) - 50;
      seen[i] = sequence[i] <= snapshot && snapshot < dead_at[i];
      lives[i] = expiry[i] > now;
    }
    random_mask(rng, before);
    memcpy(after, before, sizeof after);
    k->visible(sequence, dead_at, snapshot, after);
    check_verdicts(before, after, seen, false);
    memcpy(after, before, sizeof after);
    k->unexpired(expiry, now, after);
    check_verdicts(before, after, lives, false);
  }
}
TEST(simd, visibility_and_expiry_of_rows) { on_every_table(check_rows); }

/* Numbers that are equal now and then, of every type, at their ends too. */
#define CHECK_PAIR(T, INDEX, LESS, EQUAL)                              \
  do {                                                                 \
    T a[SIMD_ROWS], b[SIMD_ROWS];                                      \
    uint8_t less[SIMD_ROWS], equal[SIMD_ROWS];                         \
    for (unsigned i = 0; i < SIMD_ROWS; i++) {                         \
      uint64_t r = test_random(rng), s = r & 1 ? r : test_random(rng); \
      if (r % 5 == 0) r &= 3, s &= 3;                                  \
      memcpy(&a[i], &r, sizeof a[i]);                                  \
      memcpy(&b[i], &s, sizeof b[i]);                                  \
    }                                                                  \
    k->less[INDEX](a, b, less);                                        \
    k->equal[INDEX](a, b, equal);                                      \
    for (unsigned i = 0; i < SIMD_ROWS; i++) {                         \
      const T x = a[i], y = b[i];                                      \
      CHECK_INT(less[i], LESS);                                        \
      CHECK_INT(equal[i], EQUAL);                                      \
    }                                                                  \
  } while (0)

static void check_pairs(const SimdKernels *k, uint64_t *rng) {
  CHECK_PAIR(int8_t, SIMD_I8, x < y, x == y);
  CHECK_PAIR(int16_t, SIMD_I16, x < y, x == y);
  CHECK_PAIR(int32_t, SIMD_I32, x < y, x == y);
  CHECK_PAIR(int64_t, SIMD_I64, x < y, x == y);
  CHECK_PAIR(uint8_t, SIMD_U8, x < y, x == y);
  CHECK_PAIR(uint16_t, SIMD_U16, x < y, x == y);
  CHECK_PAIR(uint32_t, SIMD_U32, x < y, x == y);
  CHECK_PAIR(uint64_t, SIMD_U64, x < y, x == y);
  for (unsigned round = 0; round < 20; round++) { /* random bits are NaN now and then */
    CHECK_PAIR(float, SIMD_F32, float_image((double)x) < float_image((double)y),
               float_image((double)x) == float_image((double)y));
    CHECK_PAIR(double, SIMD_F64, float_image(x) < float_image(y), float_image(x) == float_image(y));
  }
  double a[SIMD_ROWS], b[SIMD_ROWS];
  uint8_t less[SIMD_ROWS], equal[SIMD_ROWS];
  static const double ends[] = { 0.0, -0.0, NAN, -NAN, INFINITY, -INFINITY, 1 };
  for (unsigned i = 0; i < SIMD_ROWS; i++) a[i] = ends[i % 7], b[i] = ends[i / 7 % 7];
  k->less[SIMD_F64](a, b, less);
  k->equal[SIMD_F64](a, b, equal);
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    CHECK_INT(less[i], float_image(a[i]) < float_image(b[i]));
    CHECK_INT(equal[i], float_image(a[i]) == float_image(b[i]));
  }
}
TEST(simd, compares_two_arrays_of_every_type) { on_every_table(check_pairs); }

static void check_bits(const SimdKernels *k, uint64_t *rng) {
  for (unsigned index = 0; index < 4; index++) {
    for (unsigned round = 0; round < 20; round++) {
      uint64_t all = simd_width_mask(8u << index), mask = test_random(rng) & test_random(rng) & test_random(rng) & all;
      Lanes in;
      uint8_t flags[SIMD_ROWS];
      for (unsigned i = 0; i < SIMD_ROWS; i++) lane_set(&in, index, i, test_random(rng));
      uint64_t wanted = lane_get(&in, index, test_random_below(rng, SIMD_ROWS)) & mask;
      k->bits[index](&in, mask, wanted, flags);
      for (unsigned i = 0; i < SIMD_ROWS; i++) CHECK_INT(flags[i], (lane_get(&in, index, i) & mask) == wanted);
    }
  }
}
TEST(simd, tests_bits_of_every_width) { on_every_table(check_bits); }

/* Sums wrap, and say so; products do, and do not. */
static void check_arithmetic(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 60; round++) {
    int64_t a[SIMD_ROWS], b[SIMD_ROWS], out[SIMD_ROWS], narrow[SIMD_ROWS];
    double x[SIMD_ROWS], y[SIMD_ROWS], z[SIMD_ROWS];
    uint32_t count = 1 + (uint32_t)test_random_below(rng, SIMD_ROWS);
    unsigned shift = round % 3 ? 2 : 0;
    uint64_t wrapped = 0;
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      a[i] = (int64_t)test_random(rng) >> shift;
      b[i] = (int64_t)test_random(rng) >> shift;
      narrow[i] = (int32_t)a[i];
      x[i] = (double)a[i] / 3;
      y[i] = (double)(b[i] | 1);
    }
    int64_t sum;
    for (unsigned i = 0; i < count; i++) wrapped |= __builtin_add_overflow(a[i], b[i], &sum);
    CHECK_INT(k->add_i64(a, b, count, out) != 0, wrapped);
    for (unsigned i = 0; i < count; i++) CHECK_INT(out[i], (int64_t)((uint64_t)a[i] + (uint64_t)b[i]));
    wrapped = 0;
    for (unsigned i = 0; i < count; i++) wrapped |= __builtin_sub_overflow(a[i], b[i], &sum);
    CHECK_INT(k->subtract_i64(a, b, count, out) != 0, wrapped);
    for (unsigned i = 0; i < count; i++) CHECK_INT(out[i], (int64_t)((uint64_t)a[i] - (uint64_t)b[i]));
    k->multiply_i64(a, b, count, out);
    for (unsigned i = 0; i < count; i++) CHECK_INT(out[i], (int64_t)((uint64_t)a[i] * (uint64_t)b[i]));
    k->multiply_i32(narrow, narrow, count, out);
    for (unsigned i = 0; i < count; i++) CHECK_INT(out[i], narrow[i] * narrow[i]);
    k->add_f64(x, y, count, z);
    for (unsigned i = 0; i < count; i++) CHECK(z[i] == x[i] + y[i]);
    k->subtract_f64(x, y, count, z);
    for (unsigned i = 0; i < count; i++) CHECK(z[i] == x[i] - y[i]);
    k->multiply_f64(x, y, count, z);
    for (unsigned i = 0; i < count; i++) CHECK(z[i] == x[i] * y[i]);
    k->divide_f64(x, y, count, z);
    for (unsigned i = 0; i < count; i++) CHECK(z[i] == x[i] / y[i]);
  }
}
TEST(simd, arithmetic_says_what_overflows) { on_every_table(check_arithmetic); }

#define CHECK_WIDEN(T, INDEX)                                             \
  do {                                                                    \
    T in[SIMD_ROWS];                                                      \
    int64_t out[SIMD_ROWS];                                               \
    double floats[SIMD_ROWS];                                             \
    for (unsigned i = 0; i < SIMD_ROWS; i++) in[i] = (T)test_random(rng); \
    k->widen_i64[INDEX](in, 777, out);                                    \
    k->widen_f64[INDEX](in, 777, floats);                                 \
    for (unsigned i = 0; i < 777; i++) CHECK_INT(out[i], (int64_t)in[i]); \
    for (unsigned i = 0; i < 777; i++) CHECK(floats[i] == (double)in[i]); \
  } while (0)

static void check_widening(const SimdKernels *k, uint64_t *rng) {
  CHECK_WIDEN(int8_t, SIMD_I8);
  CHECK_WIDEN(int16_t, SIMD_I16);
  CHECK_WIDEN(int32_t, SIMD_I32);
  CHECK_WIDEN(int64_t, SIMD_I64);
  CHECK_WIDEN(uint8_t, SIMD_U8);
  CHECK_WIDEN(uint16_t, SIMD_U16);
  CHECK_WIDEN(uint32_t, SIMD_U32);
  CHECK_WIDEN(uint64_t, SIMD_U64);
  float in[SIMD_ROWS];
  double out[SIMD_ROWS];
  for (unsigned i = 0; i < SIMD_ROWS; i++) in[i] = (float)test_random(rng);
  k->widen_f64[SIMD_F32](in, SIMD_ROWS, out);
  for (unsigned i = 0; i < SIMD_ROWS; i++) CHECK(out[i] == (double)in[i]);
}
TEST(simd, widens_every_type) { on_every_table(check_widening); }

static void check_masks(const SimdKernels *k, uint64_t *rng) {
  uint64_t words[1030] = { 0 }, other[1030] = { 0 };
  for (unsigned n = 0; n <= 1030; n += n < 40 ? 1 : 110) {
    uint64_t count = 0, both = 0;
    for (unsigned i = 0; i < n; i++) {
      words[i] = test_random(rng);
      other[i] = test_random(rng);
    }
    for (unsigned i = 0; i < 64 * n; i++) {
      count += bit_get(words, i);
      both += bit_get(words, i) && bit_get(other, i);
    }
    CHECK_INT(k->mask_count(words, n), count);
    k->mask_and(words, other, n);
    CHECK_INT(k->mask_count(words, n), both);
    uint16_t of_blocks[1030 / SIMD_WORDS];
    k->mask_counts(words, n / SIMD_WORDS, of_blocks);
    for (unsigned b = 0; b < n / SIMD_WORDS; b++) {
      uint64_t of_block = 0;
      for (unsigned i = 0; i < SIMD_ROWS; i++) of_block += bit_get(words + b * SIMD_WORDS, i);
      CHECK_INT(of_blocks[b], of_block);
    }
  }
}
TEST(simd, counts_and_ands_masks_of_any_length) { on_every_table(check_masks); }

/* ---- dispatch ---- */

TEST(simd, dispatch_takes_the_best_table_and_obeys_the_environment) {
  setenv("COLONNADE_KERNELS", "scalar", 1);
  simd_force(NULL);
  CHECK_INT(simd_kernels()->level, SIMD_SCALAR);
  CHECK_STR(simd_kernels()->name, "scalar");
  setenv("COLONNADE_KERNELS", "avx2", 1);
  simd_force(NULL);
  CHECK(simd_kernels()->level == (simd_table(SIMD_AVX2) ? SIMD_AVX2 : SIMD_SCALAR));
  unsetenv("COLONNADE_KERNELS");
  simd_force(NULL);
  for (int level = SIMD_SCALAR; level < SIMD_LEVELS; level++) {
    if (simd_table((SimdLevel)level)) CHECK((int)simd_kernels()->level >= level);
  }
}

TEST(simd, each_table_counts_its_calls) {
  static const Counter counters[] = { COUNTER_kernel_scalar, COUNTER_kernel_avx2, COUNTER_kernel_avx512 };
  for (int level = SIMD_SCALAR; level < SIMD_LEVELS; level++) {
    const SimdKernels *k = simd_table((SimdLevel)level);
    if (!k) continue;
    uint64_t before = counter_get(counters[level]);
    simd_count(k, 64);
    CHECK_INT(counter_get(counters[level]), before + 64);
  }
}

static void check_steps(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 40; round++) {
    uint64_t values[SIMD_ROWS];
    uint32_t count = round ? 2 + (uint32_t)test_random_below(rng, SIMD_ROWS - 1) : SIMD_ROWS, changes = 0;
    int64_t least = INT64_MAX, most = INT64_MIN, range[2];
    draw(rng, 1 + round * 63 / 39, values);
    for (uint32_t i = 1; i < count; i++) {
      int64_t step = (int64_t)(values[i] - values[i - 1]);
      if (step != 0) changes++;
      if (step < least) least = step;
      if (step > most) most = step;
    }
    CHECK_INT(k->steps(values, count, range), changes);
    CHECK_INT(range[0], least);
    CHECK_INT(range[1], most);
  }
}
TEST(simd, steps_between_neighbours) { on_every_table(check_steps); }

/* ---- decimals back to whole numbers ---- */

/* Cents, odd numbers, ends, and what has no whole number: 0.1 + 0.2, -0.0, NaN, infinities, 2^51. */
static double odd_decimal(uint64_t *rng) {
  static const double odd[] = {
    0.30000000000000004, -0.0, NAN,    -NAN,   INFINITY,         -INFINITY, 22517998136852.48, 1e300,
    -22517998136852.48,  0.0,  5e-324, -0.004, 22517998136852.47
  };
  if (test_random_below(rng, 4) == 0) return odd[test_random_below(rng, sizeof odd / sizeof *odd)];
  double cents = (double)(int64_t)(test_random(rng) >> (test_random_below(rng, 50) + 13));
  return (test_random_below(rng, 2) ? cents : -cents) / 100;
}

/* Two digits behind the point: times 10^2, and back times 10^-2; other powers are 10^0. By the library of C. */
static bool whole_of(double value, double back, int64_t *out) {
  double near = nearbyint(value * 100);
  *out = SIMD_NO_DECIMAL;
  if (!(fabs(value * 100) < 0x1p51) || !(fabs(near) < 0x1p51)) return false;
  if (memcmp(&back, &value, sizeof back) != 0) return false;
  *out = (int64_t)near;
  return true;
}

static void check_integers(const SimdKernels *k, uint64_t *rng) {
  static const double cents[4] = { 1e2, 1, 1, 1e-2 };
  double in[SIMD_ROWS];
  float narrow[SIMD_ROWS];
  int64_t out[SIMD_ROWS], expected;
  for (unsigned round = 0; round < 20; round++) {
    uint32_t count = round ? (uint32_t)test_random_below(rng, SIMD_ROWS + 1) : SIMD_ROWS, exceptions = 0;
    for (uint32_t i = 0; i < count; i++) in[i] = odd_decimal(rng);
    for (uint32_t i = 0; i < count; i++) narrow[i] = (float)in[i];
    CHECK(k->integers_f64(in, count, cents, out) <= count);
    for (uint32_t i = 0; i < count; i++) {
      if (!whole_of(in[i], (nearbyint(in[i] * 100) + 0.0) * 1 * 1e-2, &expected)) exceptions++;
      CHECK_INT(out[i], expected);
    }
    CHECK_INT(k->integers_f64(in, count, cents, out), exceptions);
    exceptions = 0;
    uint32_t found = k->integers_f32(narrow, count, cents, out);
    for (uint32_t i = 0; i < count; i++) {
      double wide = (double)narrow[i], back = (double)(float)((nearbyint(wide * 100) + 0.0) * 1 * 1e-2);
      if (!whole_of(wide, back, &expected)) exceptions++;
      CHECK_INT(out[i], expected);
    }
    CHECK_INT(found, exceptions);
  }
}
TEST(simd, whole_numbers_of_decimals_or_none) { on_every_table(check_integers); }

/* ---- symbols ---- */

enum { TEXTS = 700, TEXT_MOST = 6000 };

/* Numbered as the contract says: `symbols` are sorted so. */
static void make_symbols(SimdSymbols *s, const char *const *symbols, unsigned count) {
  memset(s->single, SIMD_NO_SYMBOL, sizeof s->single);
  s->lengths[SIMD_NO_SYMBOL] = 1;
  for (unsigned code = 0; code < count; code++) {
    size_t length = strlen(symbols[code]);
    uint16_t pair;
    memcpy(&s->words[code], symbols[code], length);
    memset(&s->masks[code], 0xff, length);
    s->lengths[code] = (uint8_t)length;
    if (length == 1) {
      s->single[(uint8_t)*symbols[code]] = (uint8_t)code;
      continue;
    }
    memcpy(&pair, symbols[code], sizeof pair);
    unsigned first = s->pairs[pair] ? s->pairs[pair] & 0xff : code;
    s->pairs[pair] = (uint16_t)(first | (code + 1) << 8);
  }
}

/* The longest symbol by looking at all of them. */
static size_t encode_slowly(const char *const *symbols, unsigned count, const uint8_t *text, size_t length,
                            uint8_t *out) {
  size_t written = 0;
  for (size_t at = 0; at < length;) {
    size_t longest = 0;
    unsigned found = SIMD_NO_SYMBOL;
    for (unsigned code = 0; code < count; code++) {
      size_t n = strlen(symbols[code]);
      if (n <= longest || n > length - at || memcmp(symbols[code], text + at, n) != 0) continue;
      longest = n;
      found = code;
    }
    out[written++] = (uint8_t)found;
    if (found == SIMD_NO_SYMBOL) out[written++] = text[at];
    at += longest ? longest : 1;
  }
  return written;
}

/* Twelve symbols begin with "ab": more than are compared at once. */
static void check_symbols(const SimdKernels *k, uint64_t *rng) {
  static const char *const symbols[] = { "aa",  "abcdefgh", "abcdefg", "abcdef", "abcde", "abcd", "abcc", "abca", "abc",
                                         "abd", "aba",      "abb",     "ab",     "bcab",  "bca",  "cc",   "c",    "a" };
  enum { SYMBOLS = sizeof symbols / sizeof *symbols };
  static uint16_t pairs[65536];
  static uint8_t text[TEXT_MOST + 8], out[2 * TEXT_MOST], expected[2 * TEXT_MOST];
  SimdSymbols s = { .pairs = pairs };
  memset(pairs, 0, sizeof pairs);
  make_symbols(&s, symbols, SYMBOLS);
  for (unsigned round = 0; round < 30; round++) {
    uint32_t ends[TEXTS], lengths[TEXTS], at = 0, count = 1 + (uint32_t)test_random_below(rng, TEXTS), made = 0;
    for (uint32_t i = 0; i < TEXT_MOST + 8; i++) text[i] = (uint8_t)("abcdefghaabbccx"[test_random_below(rng, 15)]);
    for (uint32_t i = 0; i < TEXT_MOST - 8; i += 9)
      if (test_random_below(rng, 3) == 0) memcpy(text + i, "abcdefgh", 8);
    for (uint32_t i = 0; i < count; i++) {
      uint32_t most = test_random_below(rng, 40) ? 12 : 200;
      at += (uint32_t)test_random_below(rng, most);
      if (at > TEXT_MOST) at = TEXT_MOST;
      ends[i] = at;
    }
    uint64_t total = k->encode_symbols(&s, text, ends, count, out, lengths);
    for (uint32_t i = 0; i < count; i++) {
      uint32_t begin = i ? ends[i - 1] : 0;
      size_t length = encode_slowly(symbols, SYMBOLS, text + begin, ends[i] - begin, expected + made);
      CHECK_INT(lengths[i], length);
      made += (uint32_t)length;
    }
    CHECK_INT(total, made);
    CHECK_BYTES(out, expected, made);
  }
}
TEST(simd, strings_become_the_longest_symbols) { on_every_table(check_symbols); }
