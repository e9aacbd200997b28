#include "base/bytes.h"

#include <stdlib.h>

#include "base/memory.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

TEST(bytes, integers_lie_little_endian) {
  uint8_t at[8];
  store_u64(at, UINT64_C(0x0807060504030201));
  CHECK_BYTES(at, "\1\2\3\4\5\6\7\10", 8);
  CHECK(load_u64(at) == UINT64_C(0x0807060504030201));
  CHECK(load_u64_big_endian(at) == UINT64_C(0x0102030405060708));
  CHECK_INT(load_u32(at), 0x04030201);
  CHECK_INT(load_u16(at), 0x0201);
}

static int sign(int v) { return (v > 0) - (v < 0); }

TEST(bytes, prefix_and_compare_order_as_memcmp_does) {
  uint64_t random = 3;
  for (int round = 0; round < 20000; round++) {
    uint8_t a[12], b[12];
    size_t a_length = test_random_below(&random, 12), b_length = test_random_below(&random, 12);
    for (int i = 0; i < 12; i++)
      a[i] = (uint8_t)test_random_below(&random, 3), b[i] = (uint8_t)test_random_below(&random, 3);
    size_t common = a_length < b_length ? a_length : b_length;
    int expected = sign(memcmp(a, b, common));
    if (expected == 0) expected = a_length < b_length ? -1 : a_length > b_length;
    CHECK_INT(sign(bytes_compare(a, a_length, b, b_length)), expected);
    uint64_t pa = bytes_prefix64(a, a_length), pb = bytes_prefix64(b, b_length);
    if (pa < pb) CHECK_INT(expected, -1);
    if (pa > pb) CHECK_INT(expected, 1);
  }
}

TEST(reader, gives_back_what_was_written_and_fails_on_every_truncation) {
  Buffer b = { 0 };
  buffer_u8(&b, 0xFE);
  buffer_u16(&b, 0xFEDC);
  buffer_u32(&b, 0xFEDCBA98);
  buffer_u64(&b, UINT64_C(0xFEDCBA9876543210));
  buffer_varint(&b, 300);
  buffer_bytes(&b, "colonnade", 9);
  buffer_varint(&b, UINT64_MAX);
  CHECK_OK(buffer_status(&b));
  for (size_t length = 0; length <= b.length; length++) {
    uint8_t *exact = malloc(length ? length : 1); /* so that a sanitizer sees a byte too far */
    memcpy(exact, b.data, length);
    Reader r = reader_over(exact, length);
    uint8_t v8 = reader_u8(&r);
    uint16_t v16 = reader_u16(&r);
    uint32_t v32 = reader_u32(&r);
    uint64_t v64 = reader_u64(&r), varint = reader_varint(&r);
    Bytes text = reader_bytes(&r);
    uint64_t largest = reader_varint(&r);
    CHECK_INT(r.failed, length < b.length);
    CHECK_INT(v8, length >= 1 ? 0xFE : 0);
    CHECK_INT(v16, length >= 3 ? 0xFEDC : 0);
    CHECK_INT(v32, length >= 7 ? 0xFEDCBA98 : 0);
    CHECK(v64 == (length >= 15 ? UINT64_C(0xFEDCBA9876543210) : 0));
    CHECK_INT(varint, length >= 17 ? 300 : 0);
    CHECK_INT(text.length, length >= 27 ? 9 : 0);
    if (length >= 27) CHECK_BYTES(text.data, "colonnade", 9);
    CHECK(largest == (length == b.length ? UINT64_MAX : 0));
    CHECK_INT(reader_left(&r), 0);
    free(exact);
  }
  buffer_release(&b);
}

TEST(reader, varints_round_trip_at_every_width) {
  for (unsigned bits = 0; bits < 64; bits++) {
    uint64_t power = UINT64_C(1) << bits, values[] = { power - 1, power, power | (power >> 1), UINT64_MAX >> bits };
    for (size_t i = 0; i < 4; i++) {
      Buffer b = { 0 };
      buffer_varint(&b, values[i]);
      size_t expected = 1;
      for (uint64_t v = values[i]; v >= 128; v >>= 7) expected++;
      CHECK_INT(b.length, expected);
      Reader r = reader_over(b.data, b.length);
      CHECK(reader_varint(&r) == values[i] && !r.failed && reader_left(&r) == 0);
      buffer_release(&b);
    }
  }
}

TEST(reader, a_varint_that_is_too_long_fails) {
  static const uint8_t eleven[11] = { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0 };
  static const uint8_t overflow[10] = { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2 };
  static const uint8_t largest[10] = { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1 };
  Reader r = reader_over(eleven, sizeof eleven);
  CHECK(reader_varint(&r) == 0 && r.failed);
  r = reader_over(overflow, sizeof overflow);
  CHECK(reader_varint(&r) == 0 && r.failed);
  r = reader_over(largest, sizeof largest);
  CHECK(reader_varint(&r) == UINT64_MAX && !r.failed);
}

TEST(reader, a_length_beyond_the_end_fails) {
  Buffer b = { 0 };
  buffer_varint(&b, UINT64_MAX);
  buffer_append(&b, "abc", 3);
  Reader r = reader_over(b.data, b.length);
  Bytes text = reader_bytes(&r);
  CHECK(r.failed && text.data == NULL && text.length == 0);
  CHECK_INT(reader_u8(&r), 0);
  CHECK(reader_take(&r, 0) == NULL);
  buffer_release(&b);
}

TEST(buffer, aligns_with_zeros) {
  Buffer b = { 0 };
  for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    buffer_u8(&b, 0xFF);
    size_t before = b.length;
    buffer_align(&b, alignment);
    CHECK_INT(b.length % alignment, 0);
    CHECK(b.length - before < alignment);
    for (size_t i = before; i < b.length; i++) CHECK_INT(b.data[i], 0);
  }
  CHECK(buffer_extend(&b, 0) != NULL);
  buffer_release(&b);
  CHECK(buffer_extend(&b, 0) != NULL);
  buffer_release(&b);
}

TEST(buffer, out_of_memory_is_said_once_at_the_end) {
  Buffer b = { 0 };
  buffer_u8(&b, 1);
  failing_memory_install(1, true);
  uint8_t large[1000] = { 0 };
  buffer_append(&b, large, sizeof large);
  CHECK_STATUS(buffer_status(&b), KVSTORE_NOMEM);
  failing_memory_remove();
  buffer_u8(&b, 2);
  CHECK(!buffer_extend(&b, 1));
  CHECK_INT(b.length, 1);
  CHECK_STATUS(buffer_status(&b), KVSTORE_NOMEM);
  buffer_clear(&b);
  buffer_u8(&b, 3);
  CHECK_OK(buffer_status(&b));
  CHECK(!buffer_extend(&b, SIZE_MAX));
  CHECK_STATUS(buffer_status(&b), KVSTORE_NOMEM);
  buffer_release(&b);
}

/* Decodes a code point and encodes it again: well-formed is what comes back the same, within Unicode. */
static bool utf8_by_decoding(const uint8_t *p, size_t length) {
  for (size_t i = 0; i < length;) {
    size_t width = p[i] < 0x80 ? 1 : p[i] >> 5 == 6 ? 2 : p[i] >> 4 == 14 ? 3 : p[i] >> 3 == 30 ? 4 : 0;
    if (width == 0 || width > length - i) return false;
    static const uint8_t lead_bits[] = { 0, 0x7F, 0x1F, 0x0F, 0x07 };
    uint32_t point = p[i] & lead_bits[width];
    for (size_t k = 1; k < width; k++) {
      if (p[i + k] >> 6 != 2) return false;
      point = point << 6 | (p[i + k] & 0x3F);
    }
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (point < smallest[width] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return false;
    i += width;
  }
  return true;
}

TEST(utf8, agrees_with_decoding_on_all_short_and_many_random_texts) {
  for (uint32_t v = 0; v < 1 << 16; v++) {
    uint8_t two[2] = { (uint8_t)v, (uint8_t)(v >> 8) };
    CHECK_INT(bytes_are_utf8(two, 2), utf8_by_decoding(two, 2));
    CHECK_INT(bytes_are_utf8(two, 1), utf8_by_decoding(two, 1));
  }
  static const uint8_t likely[] = { 0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                                    0xE0, 0xE1, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF };
  uint64_t random = 5, well_formed = 0;
  for (int round = 0; round < 300000; round++) {
    uint8_t *text = NULL, bytes[24];
    size_t length = test_random_below(&random, 24);
    for (size_t i = 0; i < length; i++) {
      bytes[i] = test_random_below(&random, 3) ? 'a' : likely[test_random_below(&random, sizeof likely)];
    }
    text = bytes;
    well_formed += utf8_by_decoding(text, length);
    CHECK_INT(bytes_are_utf8(text, length), utf8_by_decoding(text, length));
  }
  CHECK(well_formed > 1000);
}

TEST(utf8, every_character_of_unicode_is_well_formed) {
  for (uint32_t point = 0; point <= 0x10FFFF; point++) {
    uint8_t p[4];
    size_t width = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (size_t i = 0; i < width; i++) p[i] = (uint8_t)(0x80 | (point >> 6 * (width - 1 - i) & 0x3F));
    p[0] = (uint8_t)(lead[width] | point >> 6 * (width - 1));
    CHECK_INT(bytes_are_utf8(p, width), point < 0xD800 || point > 0xDFFF);
  }
}
