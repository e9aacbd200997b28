/* Values to be computed: what each function gives, what fails and how it is told; and the same values whether a row is
 * computed with its block, among few others, or alone. */
#include <math.h>
#include <stdio.h>

#include "base/counters.h"
#include "base/literal.h"
#include "base/memory.h"
#include "query/program.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- constants ---- */

static Status constant(const char *text, Arena *arena, Value *out) {
  const Expression *e;
  bool is_constant;
  TRY(expression_parse_value(arena, text, strlen(text), &e, NULL));
  TRY(program_constant(e, NULL, 0, arena, &is_constant, out));
  CHECK(is_constant);
  return KVSTORE_OK;
}

static void check_value(const char *text, ColumnType type, const char *expected) {
  Arena arena = { 0 };
  Value v;
  Buffer shown = { 0 };
  CHECK_OK(constant(text, &arena, &v));
  literal_print(&v, &shown);
  buffer_u8(&shown, '\0');
  if (strcmp((const char *)shown.data, expected) != 0 || v.type != type) fprintf(stderr, "of %s\n", text);
  CHECK_STR((const char *)shown.data, expected);
  CHECK_INT(v.type, type);
  buffer_release(&shown);
  arena_release(&arena);
}

static void check_failure(const char *text, Status code, const char *part) {
  Arena arena = { 0 };
  Value v;
  Status status = constant(text, &arena, &v);
  if (status != code) fprintf(stderr, "of %s\n", text);
  CHECK_STATUS(status, code);
  if (!strstr(status_last()->text, part)) CHECK_STR(status_last()->text, part);
  arena_release(&arena);
}

TEST(program, arithmetic) {
  check_value("1 + 2 * 3", TYPE_I64, "7");
  check_value("(1 + 2) * 3 - -4", TYPE_I64, "13");
  check_value("7 / 2", TYPE_I64, "3");
  check_value("-7 / 2", TYPE_I64, "-3");
  check_value("-7 % 2", TYPE_I64, "-1");
  check_value("7.0 / 2", TYPE_F64, "3.5");
  check_value("7 % 2.5", TYPE_F64, "2.0");
  check_value("9223372036854775807 + 1.0", TYPE_F64, "9.223372036854776e18");
  check_value("9223372036854775806 + 1", TYPE_I64, "9223372036854775807");
  check_value("18446744073709551614 + 1", TYPE_U64, "18446744073709551615");
  check_value("18446744073709551615 - 1", TYPE_U64, "18446744073709551614");
  check_value("1 + null", TYPE_I64, "null");
  check_value("null * 1.5", TYPE_F64, "null");
  check_value("5 & 6", TYPE_I64, "4");
  check_value("-(3)", TYPE_I64, "-3");
  check_value("-9223372036854775809 < -9223372036854775808", TYPE_BOOL, "true");
  check_value("-9223372036854775809", TYPE_F64, "-9.223372036854778e18");
  check_value("date '2001-01-31' + 1", TYPE_DATE, "date '2001-02-01'");
  check_value("date '2001-01-31' - date '2000-01-31'", TYPE_I64, "366");
  check_failure("9223372036854775807 + 1", KVSTORE_TYPE, "9223372036854775807 + 1 does not fit i64");
  check_failure("3037000500 * 3037000500", KVSTORE_TYPE, "does not fit i64");
  check_failure("-9223372036854775808 - 1", KVSTORE_TYPE, "does not fit i64");
  check_failure("-9223372036854775808 / -1", KVSTORE_TYPE, "does not fit i64");
  check_failure("18446744073709551615 * 18446744073709551615", KVSTORE_TYPE, "does not fit u64");
  check_value("try_multiply(18446744073709551615, 18446744073709551615)", TYPE_U64, "null");
  check_failure("18446744073709551615 + 1", KVSTORE_TYPE, "does not fit u64");
  check_failure("- -9223372036854775808", KVSTORE_TYPE, "does not fit i64");
  check_failure("abs(-9223372036854775808)", KVSTORE_TYPE, "does not fit i64");
  check_failure("1 / 0", KVSTORE_TYPE, "1 / 0 divides by zero");
  check_failure("1 % 0", KVSTORE_TYPE, "divides by zero");
  check_failure("1.5 / 0", KVSTORE_TYPE, "1.5 / 0.0 divides by zero");
  check_value("try_divide(1, 0)", TYPE_I64, "null");
  check_value("try_divide(1.0, 0.0)", TYPE_F64, "null");
  check_value("try_modulo(1, 0)", TYPE_I64, "null");
  check_value("try_add(9223372036854775807, 1)", TYPE_I64, "null");
  check_value("try_subtract(-9223372036854775808, 1)", TYPE_I64, "null");
  check_value("try_multiply(3037000500, 3037000500)", TYPE_I64, "null");
  check_value("try_multiply(3, 4)", TYPE_I64, "12");
  check_failure("'a' + 1", KVSTORE_TYPE, "+ is not for string 'a' and i64");
  check_failure("true * 2", KVSTORE_TYPE, "* is not for bool and i64");
  check_failure("1.5 & 1", KVSTORE_TYPE, "& is not for f64 and i64");
  check_failure("date '2001-01-01' * 2", KVSTORE_TYPE, "* is not for date and i64");
}

TEST(program, decimals) {
  const ColumnType d0 = TYPE_DECIMAL, d2 = TYPE_DECIMAL + 2, d3 = TYPE_DECIMAL + 3, d4 = TYPE_DECIMAL + 4;
  check_value("decimal '12.30' + decimal '0.005'", d3, "decimal '12.305'");
  check_value("decimal '12.30' - 13", d2, "decimal '-0.70'");
  check_value("decimal '1.10' * decimal '-2.20'", d4, "decimal '-2.4200'");
  check_value("decimal '1.10' * 3", d2, "decimal '3.30'");
  check_value("decimal '1.10' * 1.5", d3, "decimal '1.650'");
  check_value("decimal '7.50' / 2", TYPE_F64, "3.75");
  check_value("decimal '7.50' % 2", d2, "decimal '1.50'");
  check_value("-decimal '7.50'", d2, "decimal '-7.50'");
  check_value("abs(decimal '-7.50')", d2, "decimal '7.50'");
  check_value("round(decimal '2.345', 2)", d3, "decimal '2.350'");
  check_value("round(decimal '-2.5')", TYPE_DECIMAL + 1, "decimal '-3.0'");
  check_value("floor(decimal '-2.10')", d2, "decimal '-3.00'");
  check_value("ceil(decimal '-2.90')", d2, "decimal '-2.00'");
  check_value("decimal '1.50' + null", d2, "null");
  check_value("decimal '0.1234567890' * null", type_decimal(10), "null"); /* has no digits of its own */
  check_value("null * decimal '0.1234567890'", type_decimal(10), "null");
  check_value("null % decimal '1.50'", d2, "null");
  check_value("decimal '0.1' = 0.1", TYPE_BOOL, "true");
  check_value("0.1 = decimal '0.1'", TYPE_BOOL, "true");
  check_value("0.1 in (decimal '0.2', decimal '0.1')", TYPE_BOOL, "true");
  check_value("cast(1.005 as decimal(18,2))", type_decimal(2),
              "decimal '1.01'"); /* the decimal, not the f64 below it */
  check_value("'2001-01-02' > date '2001-01-01'", TYPE_BOOL, "true");
  check_value("decimal '0.10' = decimal '0.1'", TYPE_BOOL, "true");
  check_value("decimal '0.3' > cast(0.3 as f64) + 0", TYPE_BOOL, "true"); /* the double is below */
  check_value("decimal '2.5' between 2 and '2.50'", TYPE_BOOL, "true");
  check_value("coalesce(null, decimal '1.5', 2)", TYPE_DECIMAL + 1, "decimal '1.5'");
  check_value("case when false then 1.25 else decimal '2' end", d2, "decimal '2.00'");
  check_failure("decimal '999999999999999999' + 1", KVSTORE_TYPE,
                "decimal '999999999999999999' + 1 does not fit decimal(18,0)");
  check_failure("decimal '0.1' + 1000000000000000000", KVSTORE_TYPE, "does not fit decimal(18,1)");
  check_failure("decimal '1000000000.0' * decimal '1000000000'", KVSTORE_TYPE, "does not fit decimal(18,1)");
  check_failure("decimal '0.1234567890' * decimal '0.123456789'", KVSTORE_TYPE,
                "would have 19 digits behind the point; 18 are the most");
  check_value("try_add(decimal '999999999999999999', 1)", d0, "null");
  check_failure("decimal '1.5' / 0", KVSTORE_TYPE, "divides by zero");
  check_failure("decimal '1.5' % 0", KVSTORE_TYPE, "decimal '1.5' % 0 divides by zero");
  check_failure("decimal '1.5' & 1", KVSTORE_TYPE, "& is not for decimal(18,1) and i64");
  check_failure("decimal '1.5' + 'a'", KVSTORE_TYPE, "+ is not for decimal(18,1) and string 'a'");
}

TEST(program, times_and_durations) {
  check_value("timestamp '2000-01-02 00:00:00' - timestamp '2000-01-01 12:00:00'", TYPE_DURATION,
              "duration '12:00:00'");
  check_value("timestamp '2000-01-02 00:00:01' - date '2000-01-01'", TYPE_DURATION, "duration '24:00:01'");
  check_value("date '2000-01-01' - timestamp '2000-01-01 00:00:01'", TYPE_DURATION, "duration '-00:00:01'");
  check_value("timestamp '2000-01-01 23:59:59' + interval '2 seconds'", TYPE_TIMESTAMP,
              "timestamp '2000-01-02 00:00:01'");
  check_value("interval 90 minutes + timestamp '2000-01-01'", TYPE_TIMESTAMP, "timestamp '2000-01-01 01:30:00'");
  check_value("date '2000-01-01' + interval '36:00'", TYPE_TIMESTAMP, "timestamp '2000-01-02 12:00:00'");
  check_value("date '2000-01-01' + time '12:34:56.5'", TYPE_TIMESTAMP, "timestamp '2000-01-01 12:34:56.5'");
  check_value("time '12:00' - time '13:30'", TYPE_DURATION, "duration '-01:30:00'");
  check_value("time '12:00' + duration '1 hour'", TYPE_TIME, "time '13:00:00'");
  check_failure("time '23:30' + duration '1 hour'", KVSTORE_TYPE, "does not fit time");
  check_value("duration '1 hour' * 3 - duration '1 minute'", TYPE_DURATION, "duration '02:59:00'");
  check_value("duration '1 hour' / 7", TYPE_DURATION, "duration '00:08:34.285714'");
  check_value("-duration '1 hour'", TYPE_DURATION, "duration '-01:00:00'");
  check_value("abs(-duration '1 hour')", TYPE_DURATION, "duration '01:00:00'");
  check_value("hour(time '12:34:56') * 100 + minute(time '12:34:56')", TYPE_I64, "1234");
  check_value("timestamp '2000-01-01' + null", TYPE_TIMESTAMP, "null");
  check_value("null - timestamp '2000-01-01'", TYPE_DURATION, "null");
  check_value("null - date '2000-01-01'", TYPE_I64, "null");
  check_value("date '2000-01-01' - null", TYPE_DATE, "null");
  check_value("null - time '12:00'", TYPE_DURATION, "null");
  check_value("time '12:00' - null", TYPE_TIME, "null");
  check_value("duration '1 hour' * null", TYPE_DURATION, "null");
  check_value("null * duration '1 hour'", TYPE_DURATION, "null");
  check_value("duration '1 hour' / null", TYPE_DURATION, "null");
  check_value("try_modulo(duration '1 hour', null)", TYPE_DURATION, "null");
  check_value("null - duration '1 hour'", TYPE_DURATION, "null");
  check_failure("null / duration '1 hour'", KVSTORE_TYPE, "/ is not for i64 and duration"); /* nothing is */
  check_value("time '12:00' < '12:00:01'", TYPE_BOOL, "true");
  check_value("duration '1 hour' in ('60 minutes', '2 days')", TYPE_BOOL, "true");
  check_failure("duration '2562047788:00:54' + duration '1 hour'", KVSTORE_TYPE, "does not fit duration");
  check_failure("duration '1 hour' / 0", KVSTORE_TYPE, "divides by zero");
  check_failure("time '12:00' + time '12:00'", KVSTORE_TYPE, "+ is not for time and time");
  check_failure("duration '1 hour' * 1.5", KVSTORE_TYPE, "* is not for duration and f64");
  check_failure("year(time '12:00')", KVSTORE_TYPE, "year is not for time");
  check_failure("time '12:00' < duration '1 hour'", KVSTORE_TYPE, "");
  check_failure("time '25:00'", KVSTORE_ERROR, "a time as 'HH:MM:SS.ffffff'");
  check_failure("interval '1 month'", KVSTORE_ERROR, "duration as");
}

TEST(program, casts_of_decimals_times_and_uuids) {
  check_value("cast(decimal '2.5' as i64)", TYPE_I64, "3");
  check_value("cast(decimal '-2.5' as i64)", TYPE_I64, "-3");
  check_value("cast(decimal '12.345' as decimal(18, 2))", TYPE_DECIMAL + 2, "decimal '12.35'");
  check_value("cast(7 as decimal(10,3))", TYPE_DECIMAL + 3, "decimal '7.000'");
  check_value("cast(7 as decimal)", TYPE_DECIMAL + 3, "decimal '7.000'");
  check_value("cast(cast(0.125 as f64) as decimal(18,2))", TYPE_DECIMAL + 2, "decimal '0.13'");
  check_value("cast(-0.125 as decimal(18,2))", TYPE_DECIMAL + 2, "decimal '-0.13'");
  check_value("cast(' 12.30 ' as decimal(18,2))", TYPE_DECIMAL + 2, "decimal '12.30'");
  check_failure("cast('12.345' as decimal(18,2))", KVSTORE_TYPE, "is no decimal(18,2)");
  check_failure("cast(1e18 as decimal(18,0))", KVSTORE_TYPE, "is no decimal(18,0)");
  check_failure("cast(nan as decimal(18,0))", KVSTORE_TYPE, "is no decimal(18,0)");
  check_failure("cast(10 as decimal(18,18))", KVSTORE_TYPE, "is no decimal(18,18)");
  check_value("try_cast(10 as decimal(18,18))", TYPE_DECIMAL_LAST, "null");
  check_value("cast(decimal '12.30' as string)", TYPE_STRING, "'12.30'");
  check_value("cast(decimal '12.30' as f64)", TYPE_F64, "12.3");
  check_value("cast(decimal '999999999999999.999' as f64)", TYPE_F64, "1000000000000000.0");
  check_value("cast(decimal '0.00' as bool)", TYPE_BOOL, "false");
  check_value("cast(true as decimal(18,1))", TYPE_DECIMAL + 1, "decimal '1.0'");
  check_value("cast(time '00:00:01' as i64)", TYPE_I64, "1000000");
  check_value("cast(1500000 as duration)", TYPE_DURATION, "duration '00:00:01.5'");
  check_value("cast(duration '1.5 s' as f64)", TYPE_F64, "1500000.0");
  check_failure("cast(-1 as time)", KVSTORE_TYPE, "-1 is no time");
  check_value("cast(timestamp '1969-12-31 23:00:00' as time)", TYPE_TIME, "time '23:00:00'");
  check_value("cast('12:00' as time)", TYPE_TIME, "time '12:00:00'");
  check_value("cast('2 hours' as interval)", TYPE_DURATION, "duration '02:00:00'");
  check_value("cast('00112233445566778899aabbccddeeff' as uuid)", TYPE_UUID,
              "uuid '00112233-4455-6677-8899-aabbccddeeff'");
  check_value("cast(uuid '00112233445566778899aabbccddeeff' as string)", TYPE_STRING,
              "'00112233-4455-6677-8899-aabbccddeeff'");
  check_value("cast(x'00112233445566778899aabbccddeeff' as uuid)", TYPE_UUID,
              "uuid '00112233-4455-6677-8899-aabbccddeeff'");
  check_failure("cast(x'00' as uuid)", KVSTORE_TYPE, "is no uuid");
  check_failure("cast('00' as uuid)", KVSTORE_TYPE, "is no uuid");
  check_value("try_cast('00' as uuid)", TYPE_UUID, "null");
  check_failure("cast(date '2000-01-01' as time)", KVSTORE_TYPE, "there is no cast of date to time");
  check_failure("cast(1 as uuid)", KVSTORE_TYPE, "there is no cast of i64 to uuid");
  check_failure("lower(uuid '00112233445566778899aabbccddeeff')", KVSTORE_TYPE, "lower is not for uuid");
  check_failure("uuid '00112233445566778899aabbccddeeff' = 'x'", KVSTORE_TYPE, "");
  check_failure("cast(1 as decimal(19,0))", KVSTORE_ERROR, "1 to 18 digits");
  check_failure("cast(1 as decimal(3,4))", KVSTORE_ERROR, "the scale of a decimal");
}

TEST(program, conditions) {
  check_value("1 < 2", TYPE_BOOL, "true");
  check_value("1 > 2 or null", TYPE_BOOL, "null");
  check_value("1 < 2 or null", TYPE_BOOL, "true");
  check_value("1 > 2 and null", TYPE_BOOL, "false");
  check_value("not null", TYPE_BOOL, "null");
  check_value("null is null", TYPE_BOOL, "true");
  check_value("(1 + null) is not null", TYPE_BOOL, "false");
  check_value("2 between 1 and 3", TYPE_BOOL, "true");
  check_value("4 between null and 3", TYPE_BOOL, "false");
  check_value("4 not between null and 3", TYPE_BOOL, "true");
  check_value("2 between null and 3", TYPE_BOOL, "null");
  check_value("1 in (1, null)", TYPE_BOOL, "true");
  check_value("2 in (1, null)", TYPE_BOOL, "null");
  check_value("2 in ()", TYPE_BOOL, "false");
  check_value("2 not in (1, 3)", TYPE_BOOL, "true");
  check_value("2 not in (1, null)", TYPE_BOOL, "null");
  check_value("1 not in (1, null)", TYPE_BOOL, "false");
  check_value("2 in (1 + 1, null)", TYPE_BOOL, "true");
  check_value("3 in (1 + 1, null)", TYPE_BOOL, "null");
  check_value("2 not in (1 + 1, null)", TYPE_BOOL, "false");
  check_value("3 not in (null, 1 + 1)", TYPE_BOOL, "null");
  check_value("2 in (cast(null as i64), 2)", TYPE_BOOL, "true");
  check_value("1 in (null)", TYPE_BOOL, "null");
  check_value("'abc' like 'ab%'", TYPE_BOOL, "true");
  check_value("'abc' not like 'b%'", TYPE_BOOL, "true");
  check_value("9007199254740993 = 9007199254740992.0", TYPE_BOOL, "false");
  check_value("18446744073709551615 > -1", TYPE_BOOL, "true");
  check_value("1 = 1.5", TYPE_BOOL, "false");
  check_value("nan > infinity", TYPE_BOOL, "true");
  check_value("(0.0 + nan) is nan", TYPE_BOOL, "true");
  check_value("date '2001-01-01' < timestamp '2001-01-01 00:00:01'", TYPE_BOOL, "true");
  check_value("date '2001-01-01' = '2001-01-01'", TYPE_BOOL, "true");
  check_failure("1 < 'a'", KVSTORE_TYPE, "does not compare");
}

TEST(program, choices_compute_what_they_take) {
  check_value("case when 1 > 2 then 1 / 0 else 5 end", TYPE_I64, "5");
  check_value("case when null then 1 end", TYPE_I64, "null");
  check_value("case 2 when 1 then 'a' when 2 then 'b' end", TYPE_STRING, "'b'");
  check_value("case when true then 1 else 2.5 end", TYPE_F64, "1.0");
  check_value("coalesce(null, 3, 1 / 1)", TYPE_I64, "3");
  check_value("coalesce(null, null)", TYPE_I64, "null");
  check_value("coalesce(null, date '2001-01-01', timestamp '2001-01-01 00:00:00')", TYPE_TIMESTAMP,
              "timestamp '2001-01-01 00:00:00'");
  check_failure("coalesce(1, 'a')", KVSTORE_TYPE, "coalesce is not for i64 and string 'a'");
  check_failure("coalesce(time '12:00', '25:00')", KVSTORE_TYPE, "coalesce is not for time and string '25:00'");
  check_failure("case when true then '1 month' else duration '1 h' end", KVSTORE_TYPE,
                "case is not for string '1 month' and duration");
  check_failure("case when true then 1 else 'a' end", KVSTORE_TYPE, "case is not for");
}

TEST(program, functions) {
  check_value("abs(-5)", TYPE_I64, "5");
  check_value("abs(-5.5)", TYPE_F64, "5.5");
  check_value("round(2.5)", TYPE_F64, "3.0");
  check_value("round(-2.5)", TYPE_F64, "-3.0");
  check_value("round(2.345, 2)", TYPE_F64, "2.35");
  check_value("round(1234.5, -2)", TYPE_F64, "1200.0");
  check_value("round(1250, -2)", TYPE_I64, "1300");
  check_value("round(-1250, -2)", TYPE_I64, "-1300");
  check_value("round(7)", TYPE_I64, "7");
  check_value("floor(-2.5)", TYPE_F64, "-3.0");
  check_value("ceil(2.1)", TYPE_F64, "3.0");
  check_value("length('h\xC3\xA9llo')", TYPE_I64, "5");
  check_value("length(x'c3a9')", TYPE_I64, "2");
  check_value("lower('ABC\xC3\x89')", TYPE_STRING, "'abc\xC3\x89'");
  check_value("upper('abc')", TYPE_STRING, "'ABC'");
  check_value("substr('h\xC3\xA9llo', 2)", TYPE_STRING, "'\xC3\xA9llo'");
  check_value("substr('hello', 2, 3)", TYPE_STRING, "'ell'");
  check_value("substr('hello', -3)", TYPE_STRING, "'llo'");
  check_value("substr('hello', -3, 2)", TYPE_STRING, "'ll'");
  check_value("substr('hello', 0, 2)", TYPE_STRING, "'h'");
  check_value("substr('hello', 9)", TYPE_STRING, "''");
  check_value("substr('hello', 2, -1)", TYPE_STRING, "''");
  check_value("substr('hello', -9, 5)", TYPE_STRING, "'h'"); /* from four before the first on */
  check_value("substr('hello', -9)", TYPE_STRING, "'hello'");
  check_value("substr('hello', -9223372036854775807)", TYPE_STRING, "'hello'");
  check_value("substr('hello', -9223372036854775807, 3)", TYPE_STRING, "''");
  check_value("substr('hello', 2, 9223372036854775807)", TYPE_STRING, "'ello'");
  check_failure("lower(5)", KVSTORE_TYPE, "lower is not for i64");
  check_failure("round(1.5, 19)", KVSTORE_TYPE, "from -18 to 18");
}

TEST(program, parts_of_dates) {
  check_value("year(date '2001-02-03')", TYPE_I64, "2001");
  check_value("quarter(date '2001-04-03')", TYPE_I64, "2");
  check_value("month(timestamp '2001-12-03 10:11:12')", TYPE_I64, "12");
  check_value("day(date '2000-02-29')", TYPE_I64, "29");
  check_value("dow(date '2001-02-04')", TYPE_I64, "0"); /* a Sunday */
  check_value("dow(date '1969-12-31')", TYPE_I64, "3");
  check_value("doy(date '2000-12-31')", TYPE_I64, "366");
  check_value("hour(timestamp '1969-12-31 23:59:58.5')", TYPE_I64, "23");
  check_value("minute(timestamp '1969-12-31 23:59:58.5')", TYPE_I64, "59");
  check_value("second(timestamp '1969-12-31 23:59:58.5')", TYPE_I64, "58");
  check_value("hour(date '2001-01-01')", TYPE_I64, "0");
  check_value("date_trunc('month', date '2001-02-03')", TYPE_DATE, "date '2001-02-01'");
  check_value("date_trunc('week', date '2001-02-04')", TYPE_DATE, "date '2001-01-29'");
  check_value("date_trunc('quarter', timestamp '2001-06-30 12:00:00')", TYPE_TIMESTAMP,
              "timestamp '2001-04-01 00:00:00'");
  check_value("date_trunc('hour', timestamp '1969-12-31 23:59:58.5')", TYPE_TIMESTAMP,
              "timestamp '1969-12-31 23:00:00'");
  check_value("date_trunc('day', timestamp '-290308-12-22 00:00:00')", TYPE_TIMESTAMP,
              "timestamp '-290308-12-22 00:00:00'");
  check_failure("date_trunc('second', timestamp '-290308-12-21 19:59:05.224192')", KVSTORE_TYPE,
                "does not fit timestamp");
  check_failure("date_trunc('year', timestamp '-290308-12-22 00:00:00')", KVSTORE_TYPE, "does not fit timestamp");
  check_failure("date_trunc('year', date '-5877641-06-23')", KVSTORE_TYPE, "its beginning does not fit date");
  check_value("year(null)", TYPE_I64, "null");
  check_failure("year(5)", KVSTORE_TYPE, "year is not for i64");
  check_failure("date_trunc('eon', date '2001-01-01')", KVSTORE_TYPE, "'second'");
}

TEST(program, casts) {
  check_value("cast(300 as i16)", TYPE_I16, "300");
  check_failure("cast(300 as i8)", KVSTORE_TYPE, "300 is no i8");
  check_failure("cast(-1 as u64)", KVSTORE_TYPE, "-1 is no u64");
  check_failure("cast(18446744073709551615 as i64)", KVSTORE_TYPE, "is no i64");
  check_value("try_cast(300 as i8)", TYPE_I8, "null");
  check_value("cast(2.5 as i32)", TYPE_I32, "2"); /* halves to the even one */
  check_value("cast(3.5 as i32)", TYPE_I32, "4");
  check_failure("cast(nan as i32)", KVSTORE_TYPE, "nan is no i32");
  check_failure("cast(1e300 as i64)", KVSTORE_TYPE, "is no i64");
  check_failure("cast(1e300 as f32)", KVSTORE_TYPE, "is no f32");
  check_value("cast(9223372036854775807 as f64)", TYPE_F64, "9.223372036854776e18");
  check_value("cast('  12 ' as i32)", TYPE_I32, "12");
  check_value("cast('1e3' as i32)", TYPE_I32, "1000");
  check_failure("cast('1.5' as i32)", KVSTORE_TYPE, "'1.5' is no i32");
  check_failure("cast('abc' as f64)", KVSTORE_TYPE, "'abc' is no f64");
  check_value("cast('-inf' as f64)", TYPE_F64, "-infinity");
  check_value("try_cast('2001-02-30' as date)", TYPE_DATE, "null");
  check_value("cast('2001-02-03' as date)", TYPE_DATE, "date '2001-02-03'");
  check_value("cast(timestamp '1969-12-31 23:00:00' as date)", TYPE_DATE, "date '1969-12-31'");
  check_value("cast(date '2001-01-01' as timestamp)", TYPE_TIMESTAMP, "timestamp '2001-01-01 00:00:00'");
  check_value("cast(1.5 as string)", TYPE_STRING, "'1.5'");
  check_value("cast(date '2001-01-01' as varchar)", TYPE_STRING, "'2001-01-01'");
  check_value("cast(true as i32)", TYPE_I32, "1");
  check_value("cast(2 as bool)", TYPE_BOOL, "true");
  check_value("cast('true' as bool)", TYPE_BOOL, "true");
  check_failure("cast(x'ff' as string)", KVSTORE_TYPE, "is no string");
  check_failure("cast(date '2001-01-01' as i32)", KVSTORE_TYPE, "no cast of date to i32");
}

/* 2^60 + 2^36 lies in the middle of two floats, and so does the double next to a number that lies a little beside it:
 * of two equally near ones the even one is taken, of others the nearer one. So are 1 + 2^-24 and decimals beside it. */
TEST(program, casts_to_f32_round_once) {
  check_value("cast(1152921573326323712 as f32) = 1152921504606846976", TYPE_BOOL, "true");
  check_value("cast(1152921573326323713 as f32) = 1152921642045800448", TYPE_BOOL, "true");
  check_value("cast(1152921573326323711 as f32) = 1152921504606846976", TYPE_BOOL, "true");
  check_value("cast(-1152921573326323713 as f32) = -1152921642045800448", TYPE_BOOL, "true");
  check_value("cast(1152921710765277185 as f32) = 1152921779484753920", TYPE_BOOL, "true");
  check_value("cast(1152921710765277183 as f32) = 1152921642045800448", TYPE_BOOL, "true");
  check_value("cast(18446742424442109953 as f32) = 18446742974197923840", TYPE_BOOL, "true");
  check_value("cast(decimal '1.00000005960464478' as f32) = 1.00000011920928955078125", TYPE_BOOL, "true");
  check_value("cast(decimal '1.00000005960464477' as f32) = 1", TYPE_BOOL, "true");
}

/* What was cast is no decimal any more, however it was written. */
TEST(program, a_cast_to_f64_is_a_float_beside_decimals) {
  check_value("decimal '1.50' * cast(0.5 as f64)", TYPE_F64, "0.75");
  check_value("decimal '1.50' * 0.5", TYPE_DECIMAL + 3, "decimal '0.750'");
  check_value("decimal '0.1' < cast(0.1 as f64)", TYPE_BOOL, "true"); /* which is a little more */
  check_value("decimal '0.1' = 0.1", TYPE_BOOL, "true");
}

/* ---- rows ---- */

/* Numbers that stay small, so that nothing fails, of columns of every type; NULL ends them. */
static const char *const values[] = {
  "later_i32 + 1",
  "later_i32 * later_i32 - later_i32",
  "try_multiply(%, %)",
  "try_add(%, 1)",
  "coalesce(%, cast(% as f64))", /* not of a u64 and a signed one, which i64 may not hold */
  "case when % < % then % else cast(% as f64) end",
  "case when % is null then null when % > 0 then % end",
  "try_divide(%, %)",
  "length(later_string)",
  "substr(later_string, 2, 2)",
  "upper(later_string)",
  "% < %",
  "% between % and %",
  "not (% = %) or % is null",
  "try_cast(% as i8)",
  "cast(% as string)",
  "later_f64 * 2.5 + %",
  "try_add(\"c20_decimal(18,2)\", \"c21_decimal(18,9)\")",
  "try_subtract(\"c21_decimal(18,9)\", 1)",
  "try_multiply(\"c20_decimal(18,2)\", 3)",
  "\"c20_decimal(18,2)\" < \"c21_decimal(18,9)\"",
  "\"c20_decimal(18,2)\" >= later_f64",
  "cast(\"c20_decimal(18,2)\" as f64) * 2 + \"c21_decimal(18,9)\"",
  "round(\"c21_decimal(18,9)\" / 2, 3)",
  "coalesce(\"c20_decimal(18,2)\", 0)",
  "try_add(c18_duration, c18_duration)",
  "try_subtract(c17_time, c18_duration)",
  "hour(c17_time) * 60 + minute(c17_time)",
  "cast(c19_uuid as string)",
  NULL,
};

/* A column of a number type. */
static const char *number_column(const SampleUnits *u, uint64_t *random) {
  for (;;) {
    const Column *c = &u->columns[test_random_below(random, u->schema.column_count)];
    if (type_is_integer(c->type) || type_is_float(c->type)) return c->name;
  }
}

static void make_text(const SampleUnits *u, const char *pattern, uint64_t *random, Buffer *out) {
  buffer_clear(out);
  for (; *pattern; pattern++) {
    if (*pattern == '%')
      buffer_text(out, number_column(u, random));
    else
      buffer_u8(out, (uint8_t)*pattern);
  }
  buffer_u8(out, '\0');
}

static bool same(const Value *a, const Value *b) {
  if (a->is_null || b->is_null) return a->is_null == b->is_null;
  if (type_is_float(a->type)) return a->f == b->f || (a->f != a->f && b->f != b->f);
  if (type_is_string(a->type))
    return a->s.length == b->s.length && (!a->s.length || !memcmp(a->s.data, b->s.data, a->s.length));
  return a->i == b->i;
}

static void check_scan(const SampleUnits *u, const Program *p, const Predicate *where, uint32_t position) {
  ScanComputer computer = program_computer(p);
  Scan *scan, *single;
  ColumnType type = p->schema->columns[position].type;
  CHECK_OK(scan_create_within(p->schema, where, NULL, &computer, u->now_ms, &scan));
  CHECK_OK(scan_create_within(p->schema, NULL, NULL, &computer, u->now_ms, &single));
  for (uint32_t unit = 0; unit < u->unit_count; unit++) {
    CHECK_OK(scan_unit(scan, &u->units[unit]));
    CHECK_OK(scan_unit(single, &u->units[unit]));
    scan_fill_masks(scan);
    const ScanSelection *s = scan_selection(scan);
    for (uint32_t block = 0; block < s->block_count; block++) {
      static Bytes block_values[BLOCK_ROWS];
      static uint8_t nulls[BLOCK_ROWS];
      if (!(s->blocks >> block & 1)) continue;
      CHECK_OK(scan_read_block(scan, position, block, block_values, nulls));
      for (uint32_t i = 0; i < scan_block_rows(s->unit, block); i++) {
        if (!(s->masks[block][i / 64] >> (i % 64) & 1)) continue;
        Value together = value_from_array(type, block_values, i), alone;
        together.is_null = nulls[i];
        CHECK_OK(scan_read_value(single, position, block * BLOCK_ROWS + i, &alone));
        if (!same(&together, &alone)) CHECK_STR(p->schema->columns[position].name, "the same alone");
        if (together.is_null && !type_is_string(type)) CHECK_INT(together.i, 0);
      }
    }
  }
  scan_destroy(scan);
  scan_destroy(single);
}

TEST(program, rows_are_the_same_together_among_few_and_alone) {
  SampleUnitsOptions options = { .runs = 2,
                                 .run_rows = 2500,
                                 .slabs = 1,
                                 .slab_rows = 1500,
                                 .dead_percent = 20,
                                 .expiring_percent = 20,
                                 .old_runs = true,
                                 .seed = 3 };
  SampleUnits u;
  Buffer text = { 0 };
  uint64_t random = 77, few = counter_get(COUNTER_blocks_gathered), again = counter_get(COUNTER_blocks_at_hand);
  sample_units_create(&u, &options);
  for (uint64_t round = 0; round < test_scaled(6); round++) {
    for (size_t i = 0; values[i]; i++) {
      Arena arena = { 0 };
      Schema schema;
      Program p;
      const Expression *e;
      Predicate where;
      uint32_t position;
      CHECK_OK(schema_copy(&u.schema, &schema));
      program_init(&p, &schema);
      make_text(&u, values[i], &random, &text);
      CHECK_OK(expression_parse_value(&arena, (const char *)text.data, text.length - 1, &e, NULL));
      Status status = program_add(&p, e, NULL, 0, (Bytes){ 0 }, &position);
      if (status == KVSTORE_OK) {
        const PredicateTerm *term = sample_filter(&arena, &u, 3, &random);
        CHECK_OK(predicate_bind(&schema, term, &arena, &where));
        check_scan(&u, &p, test_random_below(&random, 3) ? &where : NULL, position);
      } else {
        CHECK_STATUS(status, KVSTORE_TYPE); /* cast of one number type to itself and the like are fine; nothing else */
      }
      program_release(&p);
      schema_release(&schema);
      arena_release(&arena);
    }
  }
  CHECK(counter_get(COUNTER_blocks_gathered) > few);
  CHECK(counter_get(COUNTER_blocks_at_hand) > again);
  buffer_release(&text);
  sample_units_release(&u);
}

/* A column that is computed from a narrow one, is narrow itself, and is read by another before it was asked for. */
TEST(program, a_narrow_computed_column_is_read_by_another_among_few_rows) {
  SampleUnitsOptions options = { .runs = 1, .run_rows = 3000, .slabs = 1, .slab_rows = 1500, .seed = 5 };
  static const char *const texts[] = { "cast(later_i32 as f32)", "cast(later_i32 as f32) * 2.0" };
  SampleUnits u;
  uint64_t random = 9, few = counter_get(COUNTER_blocks_gathered);
  sample_units_create(&u, &options);
  for (uint64_t round = 0; round < 20; round++) {
    Arena arena = { 0 };
    Schema schema;
    Program p;
    Predicate where;
    uint32_t position = 0;
    CHECK_OK(schema_copy(&u.schema, &schema));
    program_init(&p, &schema);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
      const Expression *e;
      CHECK_OK(expression_parse_value(&arena, texts[i], strlen(texts[i]), &e, NULL));
      CHECK_OK(program_add(&p, e, NULL, 0, (Bytes){ 0 }, &position));
    }
    CHECK_OK(predicate_bind(&schema, sample_filter(&arena, &u, 3, &random), &arena, &where));
    check_scan(&u, &p, &where, position);
    program_release(&p);
    schema_release(&schema);
    arena_release(&arena);
  }
  CHECK(counter_get(COUNTER_blocks_gathered) > few);
  sample_units_release(&u);
}

/* The block's bounds are those of the rows asked for: each of them lies within. */
static void check_bounds(Scan *scan, uint32_t position, uint32_t block, const uint64_t *mask, const int64_t *numbers) {
  int64_t low, high;
  CHECK(scan_block_zone(scan, position, block, &low, &high));
  for (uint32_t i = 0; i < BLOCK_ROWS; i++)
    if (mask[i / 64] >> (i % 64) & 1) CHECK(numbers[i] >= low && numbers[i] <= high);
}

/* Of integers the bounds are read too: that nothing can overflow is known without asking. */
TEST(program, a_computed_integer_is_made_once_and_its_bounds_are_known) {
  SampleUnitsOptions options = { .runs = 1, .run_rows = 3000, .seed = 6 };
  static const char *const texts[] = { "later_i32 * (100 - later_i32)",
                                       "later_i32 * (100 - later_i32) - (3 + later_i32)" };
  SampleUnits u;
  uint64_t random = 11, reused = counter_get(COUNTER_computed_reused);
  sample_units_create(&u, &options);
  Arena arena = { 0 };
  Schema schema;
  Program p;
  uint32_t positions[2];
  CHECK_OK(schema_copy(&u.schema, &schema));
  program_init(&p, &schema);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    const Expression *e;
    CHECK_OK(expression_parse_value(&arena, texts[i], strlen(texts[i]), &e, NULL));
    CHECK_OK(program_add(&p, e, NULL, 0, (Bytes){ 0 }, &positions[i]));
  }
  for (uint64_t round = 0; round < 20; round++) {
    Predicate where;
    CHECK_OK(predicate_bind(&schema, sample_filter(&arena, &u, 3, &random), &arena, &where));
    check_scan(&u, &p, &where, positions[1]);
  }
  CHECK(counter_get(COUNTER_computed_reused) > reused);
  ScanComputer computer = program_computer(&p);
  Scan *scan;
  CHECK_OK(scan_create_within(p.schema, NULL, NULL, &computer, u.now_ms, &scan));
  CHECK_OK(scan_unit(scan, &u.units[0]));
  for (uint32_t block = 0; block < scan_selection(scan)->block_count; block++) {
    static int64_t numbers[BLOCK_ROWS];
    static uint8_t nulls[BLOCK_ROWS];
    uint64_t mask[BLOCK_WORDS];
    scan_selected_rows(scan, block, mask);
    for (size_t i = 0; i < 2; i++) {
      CHECK_OK(scan_read_block(scan, positions[i], block, numbers, nulls));
      check_bounds(scan, positions[i], block, mask, numbers);
    }
  }
  scan_destroy(scan);
  program_release(&p);
  schema_release(&schema);
  arena_release(&arena);
  sample_units_release(&u);
}

/* An author's name is not a text: here it stands for something else. */
TEST(program, a_name_that_looks_like_an_expression_is_not_taken_for_it) {
  SampleUnitsOptions options = { .runs = 1, .run_rows = 100, .seed = 6 };
  SampleUnits u;
  Arena arena = { 0 };
  Schema schema;
  Program p;
  const Expression *e;
  uint32_t named, whole;
  sample_units_create(&u, &options);
  CHECK_OK(schema_copy(&u.schema, &schema));
  program_init(&p, &schema);
  CHECK_OK(expression_parse_value(&arena, "later_f64 - 1", 13, &e, NULL));
  CHECK_OK(program_add(&p, e, NULL, 0, (Bytes){ (const uint8_t *)"later_f64 + 1", 13 }, &named));
  CHECK_OK(expression_parse_value(&arena, "(later_f64 + 1) * 2", 19, &e, NULL));
  CHECK_OK(program_add(&p, e, NULL, 0, (Bytes){ 0 }, &whole));
  bool used[64] = { false };
  CHECK(schema.column_count <= 64);
  program_columns(&p, whole, used);
  CHECK(!used[named]);
  program_release(&p);
  schema_release(&schema);
  arena_release(&arena);
  sample_units_release(&u);
}

/* ---- failures ---- */

typedef struct Small {
  SampleUnits u;
  Query *query;
  TableSnapshot snapshot;
} Small;

static void small_open(Small *s) {
  SampleUnitsOptions options = {
    .runs = 1, .run_rows = 900, .old_runs = true, .slabs = 1, .slab_rows = 1200, .dead_percent = 30, .seed = 9
  };
  sample_units_create(&s->u, &options);
  s->snapshot = sample_units_snapshot(&s->u);
  CHECK_OK(query_create(&s->u.schema, &s->query));
}
static void small_close(Small *s) {
  query_destroy(s->query);
  sample_units_release(&s->u);
}

static Status count(Small *s, const char *where, uint64_t *rows) {
  AggregateResult result;
  Arena strings = { 0 };
  TRY(query_where(s->query, where, strlen(where), NULL, 0));
  Status status = query_run(s->query, &s->snapshot, &strings, &result, NULL);
  *rows = result.value.u;
  arena_release(&strings);
  return status;
}

TEST(program, a_failing_row_is_named_and_what_excludes_it_goes_first) {
  Small s;
  uint64_t rows = 0, others = 0;
  small_open(&s);
  CHECK_OK(query_aggregate(s.query, AGGREGATE_ROWS, NULL));
  CHECK_STATUS(count(&s, "1000 / (later_i32 - 7) > 0", &rows), KVSTORE_TYPE);
  CHECK(strstr(status_last()->text, "1000 / 0 divides by zero, in the row with key "));
  CHECK_STR(status_last()->column, "1000 / (later_i32 - 7)");
  CHECK_STR(status_last()->value, "1000");
  CHECK_OK(count(&s, "1000 / (later_i32 - 7) > 0 and later_i32 <> 7", &rows));
  CHECK_OK(count(&s, "later_i32 = 7 or 1000 / (later_i32 - 7) > 0", &others));
  CHECK(others >= rows);
  CHECK_OK(count(&s, "case when later_i32 = 7 then false else 1000 / (later_i32 - 7) > 0 end", &others));
  CHECK_INT(rows, others);
  CHECK_OK(count(&s, "try_divide(1000, later_i32 - 7) > 0", &others));
  CHECK_INT(rows, others);
  CHECK_STATUS(count(&s, "later_i32 + 'x' > 0", &rows), KVSTORE_TYPE);
  CHECK_STATUS(count(&s, "no_such + 1 > 0", &rows), KVSTORE_SCHEMA);
  CHECK_STATUS(count(&s, "later_i32 + 1", &rows), KVSTORE_TYPE);
  small_close(&s);
}

/* ---- memory ---- */

static Status sum_of(Small *s, double *sum) {
  AggregateResult result;
  Arena strings = { 0 };
  Query *q = NULL;
  Status status = query_create(&s->u.schema, &q);
  if (status == KVSTORE_OK)
    status = query_aggregate(q, AGGREGATE_TOTAL,
                             "case when later_i32 > 3 then later_i32 * 2.5 else coalesce(later_f64, 1) * 0.0 end");
  if (status == KVSTORE_OK)
    status = query_where(q, "length(later_string) + 1 > 2 and later_i32 in (1, 7, 1 + 1)",
                         strlen("length(later_string) + 1 > 2 and later_i32 in (1, 7, 1 + 1)"), NULL, 0);
  if (status == KVSTORE_OK) status = query_run(q, &s->snapshot, &strings, &result, NULL);
  *sum = status == KVSTORE_OK ? result.value.f : 0;
  arena_release(&strings);
  query_destroy(q);
  return status;
}

TEST(program, survives_every_failed_allocation) {
  Small s;
  double expected, sum;
  small_open(&s);
  CHECK_OK(sum_of(&s, &expected));
  uint64_t failures = 0;
  for (uint64_t at = 1;; at++) {
    failing_memory_install(at, false);
    Status status = sum_of(&s, &sum);
    bool failed = failing_memory_failures() > 0;
    failing_memory_remove();
    if (!failed) {
      CHECK_OK(status);
      break;
    }
    if (status == KVSTORE_OK) continue; /* an array that grows asks for less then */
    CHECK_STATUS(status, KVSTORE_NOMEM);
    failures++;
  }
  CHECK(failures > 20);
  CHECK(sum == expected || (sum != sum && expected != expected));
  small_close(&s);
}
