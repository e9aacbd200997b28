/* Literals: what is read, what is refused, and that what is printed reads back. */
#include <float.h>
#include <locale.h>
#include <math.h>

#include "base/literal.h"
#include "tests/support/test.h"

static Value number(const char *text) {
  Value v;
  CHECK_OK(literal_number(text, strlen(text), &v));
  return v;
}

static void check_print(Value v, const char *expected) {
  Buffer out = { 0 };
  literal_print(&v, &out);
  buffer_u8(&out, '\0');
  CHECK_OK(buffer_status(&out));
  CHECK_STR((const char *)out.data, expected);
  buffer_release(&out);
}

TEST(literal, integers_of_any_size) {
  CHECK_INT(number("0").type, TYPE_I64);
  CHECK_INT(number("-9223372036854775808").i, INT64_MIN);
  CHECK_INT(number("9223372036854775807").i, INT64_MAX);
  CHECK_INT(number("+00000000000000000000000000000000042").i, 42);
  CHECK_INT(number("9223372036854775808").type, TYPE_U64);
  CHECK(number("18446744073709551615").u == UINT64_MAX);
  CHECK_INT(number("18446744073709551616").type, TYPE_F64);
  CHECK(number("18446744073709551616").f == 0x1p64);
  CHECK(number("-9223372036854775809").f < -0x1p63); /* never rounded into the range of i64 */
  char long_text[500];
  memset(long_text, '7', sizeof long_text);
  Value v;
  CHECK_OK(literal_number(long_text, sizeof long_text, &v));
  CHECK(v.f == INFINITY);
}

TEST(literal, decimals_are_the_nearest_double_in_every_locale) {
  static const char *const locales[] = { "C", "de_DE.UTF-8", "fr_FR.UTF-8" };
  for (size_t i = 0; i < 3; i++) {
    setlocale(LC_NUMERIC, locales[i]); /* where it is not installed, the one before stays */
    CHECK(number("0.1").f == 0.1);
    CHECK(number("-2.5e3").f == -2500.0);
    CHECK(number(".5").f == 0.5);
    CHECK(number("5.").f == 5.0);
    CHECK(number("123456789.123456789").f == 123456789.123456789);
    CHECK(number("1e-400").f == 0);
    CHECK(number("1e400").f == INFINITY);
    CHECK(number("1e99999999999999999999").f == INFINITY);
    CHECK(number("4.9406564584124654e-324").f == 0x1p-1074);
    check_print((Value){ .type = TYPE_F64, .f = 2.5 }, "2.5");
  }
}

TEST(literal, doubles_print_shortest_and_read_back) {
  check_print((Value){ .type = TYPE_F64, .f = 0.1 }, "0.1");
  check_print((Value){ .type = TYPE_F64, .f = -0.0000125 }, "-0.0000125");
  check_print((Value){ .type = TYPE_F64, .f = 0.00000125 }, "1.25e-6");
  check_print((Value){ .type = TYPE_F64, .f = 100 }, "100.0");
  check_print((Value){ .type = TYPE_F64, .f = -0.0 }, "-0.0");
  check_print((Value){ .type = TYPE_F64, .f = 1e300 }, "1e300");
  check_print((Value){ .type = TYPE_F64, .f = NAN }, "nan");
  check_print((Value){ .type = TYPE_F64, .f = -INFINITY }, "-infinity");
  uint64_t random = 1;
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = test_random(&random);
    Value v = { .type = TYPE_F64 }, again;
    memcpy(&v.f, &bits, sizeof bits);
    if (i % 2) v.f = (double)(int64_t)(bits >> 40) / 100;
    if (v.f != v.f || v.f > DBL_MAX || v.f < -DBL_MAX) continue;
    Buffer out = { 0 };
    literal_print(&v, &out);
    CHECK_OK(literal_number((const char *)out.data, out.length, &again));
    CHECK_INT(again.type, TYPE_F64);
    CHECK_BYTES(&again.f, &v.f, sizeof v.f);
    buffer_release(&out);
  }
}

TEST(literal, days_count_as_the_calendar_does) {
  static const uint8_t lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
  int64_t day_number = -719528; /* 0000-01-01 */
  for (int year = 0; year <= 3000; year++) {
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    for (int month = 1; month <= 12; month++) {
      int days = lengths[month - 1] + (month == 2 && leap);
      for (int day = 1; day <= days; day++, day_number++) {
        if (day != 1 && day != days) continue;
        char text[11] = { (char)('0' + year / 1000),
                          (char)('0' + year / 100 % 10),
                          (char)('0' + year / 10 % 10),
                          (char)('0' + year % 10),
                          '-',
                          (char)('0' + month / 10),
                          (char)('0' + month % 10),
                          '-',
                          (char)('0' + day / 10),
                          (char)('0' + day % 10),
                          0 };
        Value v;
        CHECK(literal_date(text, 10, &v));
        CHECK_INT(v.i, day_number);
        if (day == days && days < 31) {
          text[9]++;
          CHECK(!literal_date(text, 10, &v));
        }
      }
    }
  }
}

TEST(literal, times_are_read_and_nonsense_is_not) {
  static const struct {
    const char *text;
    int64_t expected;
  } good[] = {
    { "1970-01-01 00:00:00", 0 },
    { "1970-01-01", 0 },
    { "1970-01-02T00:00", INT64_C(86400000000) },
    { "1969-12-31 23:59:59.999999", -1 },
    { "2001-02-03 04:05:06.7", INT64_C(981173106700000) },
    { "1970-01-01 00:00:00.000001", 1 },
    { "1970-01-01 00:00:00Z", 0 },
    { "1970-01-01T00:00:00.5z", 500000 },
    { "1970-01-01T00:00+00:00", 0 },
    { "1970-01-01 02:00:00+02", 0 },
    { "1970-01-01 05:45:00.25+0545", 250000 },
    { "1969-12-31 23:00:00-01:00", 0 },
    { "1970-01-01 00:00-23:59", INT64_C(86340000000) },
    { "-290308-12-21 19:59:05.224192", INT64_MIN },
    { "-290308-12-21 20:59:05.224192+01:00", INT64_MIN },
  };
  static const char *const bad[] = { "",
                                     "1970",
                                     "1970-1-01",
                                     "1970-01-01 ",
                                     "1970-01-01 24:00",
                                     "1970-01-01 00:60",
                                     "1970-01-01 00:00:60",
                                     "1970-01-01 00:00:00.",
                                     "1970-01-01 00:00:00.1234567",
                                     "1970-01-01 00:00:00ZZ",
                                     "1970-01-01Z",
                                     "1970-01-01 00:00:00 Z",
                                     "1970-01-01 00:00:00+1",
                                     "1970-01-01 00:00:00+24:00",
                                     "1970-01-01 00:00:00+00:60",
                                     "1970-01-01 00:00:00+00:",
                                     "1970-01-01 00:00:00+00:0",
                                     "1970-01-01 00:00:00+00:000",
                                     "-290308-12-21 19:59:05.224192+00:01",
                                     "70-01-01",
                                     "12345-01-01",
                                     "1970-13-01",
                                     "1970-00-10",
                                     "1970-01-00",
                                     "2001-02-29",
                                     "+300000-01-01" };
  Value v;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    CHECK(literal_timestamp(good[i].text, strlen(good[i].text), &v));
    CHECK_INT(v.i, good[i].expected);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!literal_timestamp(bad[i], strlen(bad[i]), &v));
}

TEST(literal, every_date_and_time_reads_back) {
  uint64_t random = 2;
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = test_random(&random);
    Value date = { .type = TYPE_DATE, .i = i == 0 ? INT32_MIN : i == 1 ? INT32_MAX : (int32_t)(bits >> (i % 32 + 32)) };
    Value time = { .type = TYPE_TIMESTAMP, .i = i == 0 ? INT64_MIN : i == 1 ? INT64_MAX : (int64_t)(bits >> (i % 50)) };
    Buffer out = { 0 };
    Value again;
    literal_print(&date, &out);
    CHECK(literal_date((const char *)out.data + 6, out.length - 7, &again));
    CHECK_INT(again.i, date.i);
    buffer_clear(&out);
    literal_print(&time, &out);
    CHECK(literal_timestamp((const char *)out.data + 11, out.length - 12, &again));
    CHECK_INT(again.i, time.i);
    buffer_release(&out);
  }
}

TEST(literal, strings_and_bytes) {
  uint8_t bytes[4];
  CHECK(literal_hex("00fFA0", 6, bytes));
  CHECK_BYTES(bytes, "\x00\xff\xa0", 3);
  CHECK(!literal_hex("0", 1, bytes));
  CHECK(!literal_hex("0g", 2, bytes));
  check_print((Value){ .type = TYPE_STRING, .s = { (const uint8_t *)"it's", 4 } }, "'it''s'");
  check_print((Value){ .type = TYPE_STRING, .s = { (const uint8_t *)"\xff", 1 } }, "x'ff'");
  check_print((Value){ .type = TYPE_STRING, .s = { (const uint8_t *)"a\0b", 3 } }, "x'610062'");
  check_print((Value){ .type = TYPE_STRING, .s = { NULL, 0 } }, "''");
  check_print((Value){ .type = TYPE_BYTES, .s = { (const uint8_t *)"", 0 } }, "x''");
  check_print((Value){ .type = TYPE_BOOL, .i = 1 }, "true");
  check_print((Value){ .type = TYPE_U64, .u = UINT64_MAX }, "18446744073709551615");
  check_print((Value){ .is_null = true }, "null");
}

/* ---- decimals, times of day, durations, uuids ---- */

static void check_exact(const char *text, int64_t unscaled, unsigned scale) {
  Value v = number(text);
  CHECK_INT(v.type, TYPE_F64);
  CHECK_INT(v.exactly, type_decimal(scale));
  CHECK_INT(v.written.unscaled, unscaled);
}

TEST(literal, a_number_with_a_point_knows_the_decimal_that_it_is) {
  check_exact("12.34", 1234, 2);
  check_exact("-12.340", -1234, 2);
  check_exact("0.0", 0, 0);
  check_exact("00100.5", 1005, 1);
  check_exact("1e3", 1000, 0);
  check_exact("1.5e-17", 15, 18);
  check_exact("123456789012345.678", INT64_C(123456789012345678), 3);
  check_exact("0.000000000000000001", 1, 18);
  check_exact("1e17", INT64_C(100000000000000000), 0);
  static const char *const none[] = { "1.5e-18", "1e18", "1234567890123456.789", "1e-400", "1e400", "nan" };
  for (size_t i = 0; i < 5; i++) CHECK_INT(number(none[i]).exactly, 0);
  CHECK_INT(number("12").exactly, 0); /* an i64 is exact */
  check_print(number("12.340"), "12.34");
  check_print(number("123456789012345.678"), "123456789012345.678");
  check_print(number("100000000000000001e0"), "100000000000000001.0");
}

static void check_read(ColumnType type, const char *text, const char *expected) {
  uint8_t room[UUID_BYTES];
  Value v;
  bool ok = literal_read(type, (Bytes){ (const uint8_t *)text, strlen(text) }, room, &v);
  if (ok != (expected != NULL)) test_fail_(__FILE__, __LINE__, "literal_read", "%s: %d", text, ok);
  if (ok) check_print(v, expected);
}

TEST(literal, decimals_keep_the_digits_that_were_written) {
  check_read(TYPE_DECIMAL, "12.30", "decimal '12.30'");
  check_read(TYPE_DECIMAL, "-0.05", "decimal '-0.05'");
  check_read(TYPE_DECIMAL, "7", "decimal '7'");
  check_read(TYPE_DECIMAL, "1.20e-3", "decimal '0.0012'");
  check_read(TYPE_DECIMAL, "999999999999999999", "decimal '999999999999999999'");
  check_read(TYPE_DECIMAL, "1000000000000000000", NULL);
  check_read(TYPE_DECIMAL, "0.0000000000000000001", NULL);
  check_read(TYPE_DECIMAL, "1.2.3", NULL);
  check_read(TYPE_DECIMAL, "", NULL);
  check_read(TYPE_DECIMAL, "1 ", NULL);
  Value v;
  CHECK(literal_decimal_of("12.3", 4, 3, &v) && v.i == 12300);
  CHECK(!literal_decimal_of("12.345", 6, 2, &v));
  CHECK(literal_decimal_of("12.3400", 7, 2, &v) && v.i == 1234);
}

TEST(literal, times_and_durations) {
  check_read(TYPE_TIME, "12:34", "time '12:34:00'");
  check_read(TYPE_TIME, "23:59:59.999999", "time '23:59:59.999999'");
  check_read(TYPE_TIME, "12:34:56.5", "time '12:34:56.5'");
  check_read(TYPE_TIME, "24:00:00", NULL);
  check_read(TYPE_TIME, "2000-01-01 12:34", NULL);
  check_read(TYPE_DURATION, "90 seconds", "duration '00:01:30'");
  check_read(TYPE_DURATION, "1 day 2.5 hours", "duration '26:30:00'");
  check_read(TYPE_DURATION, "-1 day 00:30", "duration '-23:30:00'");
  check_read(TYPE_DURATION, "-36:00:00.25", "duration '-36:00:00.25'");
  check_read(TYPE_DURATION, "1 Week", "duration '168:00:00'");
  check_read(TYPE_DURATION, "1ms 1 us", "duration '00:00:00.001001'");
  check_read(TYPE_DURATION, "-9223372036854775808 us", "duration '-2562047788:00:54.775808'");
  check_read(TYPE_DURATION, "9223372036854775807us", "duration '2562047788:00:54.775807'");
  check_read(TYPE_DURATION, "9223372036854775808us", NULL);
  check_read(TYPE_DURATION, "- us", NULL);
  check_read(TYPE_DURATION, "0.5 microseconds", NULL);
  check_read(TYPE_DURATION, "1 month", NULL);
  check_read(TYPE_DURATION, "1", NULL);
  check_read(TYPE_DURATION, "", NULL);
  check_read(TYPE_DURATION, "106751992 days", NULL); /* beyond 64 bits of microseconds */
  check_read(TYPE_DURATION, "-2562047788:00:54.775808", "duration '-2562047788:00:54.775808'"); /* -2^63 */
  check_read(TYPE_DURATION, "2562047788:00:54.775808", NULL);
}

TEST(literal, uuids) {
  check_read(TYPE_UUID, "00112233-4455-6677-8899-AAbbccddeeff", "uuid '00112233-4455-6677-8899-aabbccddeeff'");
  check_read(TYPE_UUID, "00112233445566778899aabbccddeeff", "uuid '00112233-4455-6677-8899-aabbccddeeff'");
  check_read(TYPE_UUID, "0011223-34455-6677-8899-aabbccddeeff", NULL);
  check_read(TYPE_UUID, "00112233-4455-6677-8899-aabbccddeef", NULL);
  check_read(TYPE_UUID, "00112233-4455-6677-8899-aabbccddeefg", NULL);
}
