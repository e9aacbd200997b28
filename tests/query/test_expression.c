/* The filter language: grammar, canonical text, binding, and every message. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "query/expression.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

static Column columns[] = {
  { 1, TYPE_I32, COLUMN_NULLABLE, 0, "dep_delay" },
  { 2, TYPE_STRING, COLUMN_NULLABLE, 0, "carrier" },
  { 3, TYPE_F64, COLUMN_NULLABLE, 0, "distance" },
  { 4, TYPE_DATE, 0, 0, "day" },
  { 5, TYPE_TIMESTAMP, 0, 0, "time_hour" },
  { 6, TYPE_BOOL, COLUMN_NULLABLE, 0, "late" },
  { 7, TYPE_BYTES, 0, 0, "tail" },
  { 8, TYPE_U64, COLUMN_NULLABLE, 0, "and" },
  { 9, TYPE_U64, COLUMN_HIDDEN, 0, "row_id" },
  { 10, TYPE_I64, 0, 0, "date" },
};
static const Schema schema = { .version = 1, .column_count = 10, .columns = columns };
enum { DEP_DELAY, CARRIER, DISTANCE, DAY, TIME_HOUR, LATE, TAIL, AND, ROW_ID, DATE };

static Status parse(Arena *arena, const char *text, const Expression **e) {
  return expression_parse(arena, text, strlen(text), e, NULL);
}

/* The canonical form of a text; then that of the canonical form, which must be the same. */
static void check_canonical(const char *text, const char *expected) {
  Arena arena = { 0 };
  const Expression *e;
  Buffer out = { 0 }, again = { 0 };
  CHECK_OK(parse(&arena, text, &e));
  expression_print(e, NULL, 0, &out);
  buffer_u8(&out, '\0');
  CHECK_STR((const char *)out.data, expected);
  CHECK_OK(parse(&arena, expected, &e));
  expression_print(e, NULL, 0, &again);
  buffer_u8(&again, '\0');
  CHECK_STR((const char *)again.data, expected);
  buffer_release(&out);
  buffer_release(&again);
  arena_release(&arena);
}

TEST(expression, canonical_text) {
  check_canonical("a=1", "a = 1");
  check_canonical("  a == 1 ", "a = 1");
  check_canonical("a != 1", "a <> 1");
  check_canonical("5 < a", "a > 5");
  check_canonical("5 >= a", "a <= 5");
  check_canonical("'x' = a", "a = 'x'");
  check_canonical("A BETWEEN -1 AND +2", "A between -1 and 2");
  check_canonical("a not between 1 and 2 and b = 3", "a not between 1 and 2 and b = 3");
  check_canonical("a in(1,2 ,3)", "a in (1, 2, 3)");
  check_canonical("a not in ()", "a not in ()");
  check_canonical("a like 'x%' or a not like 'it''s'", "a like 'x%' or a not like 'it''s'");
  check_canonical("a Is Null and b IS NOT NULL", "a is null and b is not null");
  check_canonical("a is nan or a is not nan or a = nan or a < -infinity",
                  "a is nan or a is not nan or a = nan or a < -infinity");
  check_canonical("late", "late");
  check_canonical("not late and true = late", "not (late) and late = true");
  check_canonical("\"and\" = 1 and \"a\"\"b\" = 2 and \"plain\" = 3", "\"and\" = 1 and \"a\"\"b\" = 2 and plain = 3");
  check_canonical("d = date '2001-02-03' and date = 5", "d = date '2001-02-03' and date = 5");
  check_canonical("date > date '2001-02-03' or date '2001-02-03' < date",
                  "date > date '2001-02-03' or date > date '2001-02-03'");
  check_canonical("t < TIMESTAMP '2001-02-03T04:05'", "t < timestamp '2001-02-03 04:05:00'");
  check_canonical("b = x'00FF'", "b = x'00ff'");
  check_canonical("a > ? and b in (?, ?)", "a > ? and b in (?, ?)");
  check_canonical("true or false or null", "true or false or null");
  check_canonical("a<b and b >= \"and\"", "a < b and b >= \"and\"");
  check_canonical("a = date and date <> date", "a = date and date <> date");
  check_canonical("not a = b", "not (a = b)");
  check_canonical("a & 6 = 6 or (a & 6) <> ?", "(a & 6) = 6 or (a & 6) <> ?");
  check_canonical("((\"a b\" & 1) == 0)", "(\"a b\" & 1) = 0");
  check_canonical("a+b*c-d/e%f>1", "a + b * c - d / e % f > 1");
  check_canonical("(a+b)*c = (a-(b-c))", "(a + b) * c = a - (b - c)");
  check_canonical("a-1 = - 1 and a -1 < -b", "a - 1 = -1 and a - 1 < -b");
  check_canonical("- - a > 0 and -(a+b) < 1 and a - -1 = +2", "--a > 0 and -(a + b) < 1 and a - -1 = 2");
  check_canonical("5 < a + 1", "a + 1 > 5");
  check_canonical("? < a + ?", "? < a + ?");
  check_canonical("5 = 5", "5 = 5");
  check_canonical("(a & b) & 3 > 1", "((a & b) & 3) > 1");
  check_canonical("a & 6 > 1", "(a & 6) > 1");
  check_canonical("CASE WHEN a > 1 THEN 'x' when b then 'y' ELSE c END = 'z'",
                  "case when a > 1 then 'x' when b then 'y' else c end = 'z'");
  check_canonical("case a when 1 then 2 when 3 then 4 end is null",
                  "case when a = 1 then 2 when a = 3 then 4 end is null");
  check_canonical("case = 1 and \"case\" in (case, end)", "\"case\" = 1 and \"case\" in (\"case\", end)");
  check_canonical("cast(\"case\" as f64) = case when case \"case\" when 1 then 2 end = 2 then \"CASE\" else \"case\" "
                  "end",
                  "cast(\"case\" as f64) = case when case when \"case\" = 1 then 2 end = 2 then \"CASE\" else \"case\" "
                  "end");
  check_canonical("\"when\" = case when when then then else else end", "when = case when when then then else else end");
  check_canonical("sum(distinct - a) > count(distinct) - count(distinct - a)",
                  "\"sum(\"\"distinct\"\" - a)\" > \"count(distinct)\" - \"count(distinct -a)\"");
  check_canonical("count(\"distinct\" - a) = count(distinct distinct) - count(distinct not in (a)) - "
                  "count(distinct not a)",
                  "\"count(\"\"distinct\"\" - a)\" = \"count(distinct distinct)\" - "
                  "\"count(\"\"distinct\"\" not in (a))\" - \"count(distinct not (a))\"");
  check_canonical("Cast(a AS BigInt) = TRY_CAST(b as varchar)", "cast(a as i64) = try_cast(b as string)");
  check_canonical("COALESCE(a,b , 0) > abs(-3) and year(d)=2001", "coalesce(a, b, 0) > abs(-3) and year(d) = 2001");
  check_canonical("coalesce(late, a > 1)", "coalesce(late, a > 1)");
  check_canonical("not coalesce(late, false) and (a > 1) = late", "not (coalesce(late, false)) and (a > 1) = late");
  check_canonical("SUM( a * (1-b) ) > 5 and count(*) < 3", "\"sum(a * (1 - b))\" > 5 and \"count(*)\" < 3");
  check_canonical("Quantile( a , .50 ) > 5 and quantile(a-b, 0.950) < 3",
                  "\"median(a)\" > 5 and \"quantile(a - b, 0.95)\" < 3");
  check_canonical("quantile(a, 1.0) > 5 and quantile(a, 0) > 5", "\"quantile(a, 1)\" > 5 and \"quantile(a, 0)\" > 5");
  check_canonical("quantile(a, 1.50) > 5 and sum(a, 0.50) > 5", "\"quantile(a, 1.50)\" > 5 and \"sum(a, 0.50)\" > 5");
  check_canonical("date_trunc('month', d) = date '2001-01-01'", "date_trunc('month', d) = date '2001-01-01'");
  check_canonical("a between b and c+1 and d not in (a, 1+2)", "a between b and c + 1 and d not in (a, 1 + 2)");
  check_canonical("a = null", "a = null");
  check_canonical("a = 1.50e2", "a = 150.0");
  /* the nearest f64 of more digits than a decimal has: its own digits would be read as a decimal */
  check_canonical("a = 0.1234567890123456789", "a = cast(0.12345678901234568 as f64)");
  check_canonical("a * -3.14159265358979323846 > 1", "a * cast(-3.141592653589793 as f64) > 1");
  check_canonical("a in (123456789012345678.9, 1.25)", "a in (cast(123456789012345680.0 as f64), 1.25)");
  check_canonical("a < 1e300 and a > 1e-300", "a < 1e300 and a > 1e-300");
  check_canonical("\xC3\xA9t\xC3\xA9 = 1", "\xC3\xA9t\xC3\xA9 = 1");
}

TEST(expression, precedence_and_parentheses) {
  check_canonical("a = 1 or b = 2 and c = 3", "a = 1 or b = 2 and c = 3");
  check_canonical("a = 1 or (b = 2 and c = 3)", "a = 1 or b = 2 and c = 3");
  check_canonical("(a = 1 or b = 2) and c = 3", "(a = 1 or b = 2) and c = 3");
  check_canonical("not a = 1 and b = 2", "not (a = 1) and b = 2");
  check_canonical("not (a = 1 and b = 2)", "not (a = 1 and b = 2)");
  check_canonical("not not a = 1", "not (not (a = 1))");
  check_canonical("((((a = 1))))", "a = 1");
  Arena arena = { 0 };
  const Expression *e;
  CHECK_OK(parse(&arena, "a = 1 or b = 2 and c = 3 or not d = 4", &e));
  CHECK_INT(e->kind, EXPRESSION_OR);
  CHECK_INT(e->count, 3);
  CHECK_INT(e->children[1]->kind, EXPRESSION_AND);
  CHECK_INT(e->children[2]->kind, EXPRESSION_NOT);
  arena_release(&arena);
}

/* ---- errors ---- */

static void check_error(const char *text, Status code, const char *part) {
  Arena arena = { 0 };
  const Expression *e;
  CHECK_STATUS(parse(&arena, text, &e), code);
  if (!strstr(status_last()->text, part)) CHECK_STR(status_last()->text, part);
  arena_release(&arena);
}

TEST(expression, syntax_errors_say_where_and_what) {
  check_error("", KVSTORE_ERROR, "position 1: expected a column, a value, not or (, found the end of the text");
  check_error("a >", KVSTORE_ERROR, "position 4: expected a value or a column, found the end of the text");
  check_error("a > and", KVSTORE_ERROR, "position 5: expected a value or a column, found and");
  check_error("a = 1 b", KVSTORE_ERROR, "position 7: expected and, or, or the end, found the name b");
  check_error("(a = 1", KVSTORE_ERROR, "position 7: expected and, or or ), found the end");
  check_error("a = 1)", KVSTORE_ERROR, "position 6: expected and, or, or the end, found )");
  check_error("a between 1 or 2", KVSTORE_ERROR, "position 13: expected and, for the upper end of between, found or");
  check_error("a in 1", KVSTORE_ERROR, "position 6: expected (, found the number 1");
  check_error("a in (1", KVSTORE_ERROR, "expected a comma or )");
  check_error("a in (1,)", KVSTORE_ERROR, "position 9: expected a column, a value, not or (, found )");
  check_error("a not 5", KVSTORE_ERROR, "expected between, in or like");
  check_error("a is 5", KVSTORE_ERROR, "expected null, nan or not");
  check_error("a is not 5", KVSTORE_ERROR, "expected null or nan");
  check_error("5", KVSTORE_ERROR, "expected a comparison");
  check_error("a = 'x", KVSTORE_ERROR, "position 5: the quote ' has no end");
  check_error("\"a = 1", KVSTORE_ERROR, "position 1: the quote \" has no end");
  check_error("a = 1x", KVSTORE_ERROR, "position 5: a number runs into other characters");
  check_error("a = 1.2.3", KVSTORE_ERROR, "a number runs into");
  check_error("a + ", KVSTORE_ERROR, "position 5: expected a value or a column, found the end");
  check_error("case when a = 1 then 2", KVSTORE_ERROR, "expected when, else or end");
  check_error("case a else 1 end = 1", KVSTORE_ERROR, "expected when");
  check_error("cast(a i32) = 1", KVSTORE_ERROR, "expected as and a type");
  check_error("cast(a as thing) = 1", KVSTORE_ERROR, "expected a type");
  check_error("abs() = 1", KVSTORE_ERROR, "abs does not take 0 values");
  check_error("b > 1 and concat(a, b) = 1", KVSTORE_ERROR, "the filter at position 11: there is no function concat");
  check_error("quantile(a, b) = 1", KVSTORE_ERROR, "position 13: expected a number, found the name b");
  check_error("substr(a) = 1", KVSTORE_ERROR, "substr does not take 1 values");
  check_error("a = 1 = 2", KVSTORE_ERROR, "expected and, or, or the end, found =");
  check_error("a # 1", KVSTORE_ERROR, "position 3: # means nothing here");
  check_error("a ! 1", KVSTORE_ERROR, "position 3: ! means nothing here");
  check_error("a = -nan", KVSTORE_ERROR, "expected a number");
  check_error("a = \x01", KVSTORE_ERROR, "a control character");
  check_error("a = x'0'", KVSTORE_ERROR, "even number of hexadecimal digits");
  check_error("a = date '2001-02-30'", KVSTORE_ERROR, "position 10: expected a day");
  check_error("a = timestamp '2001'", KVSTORE_ERROR, "expected a time");
  check_error("a = \xff", KVSTORE_ERROR, "UTF-8");
  check_error("(a & 6 = 6", KVSTORE_ERROR, "expected and, or or ), found the end");
  check_error("and = 1", KVSTORE_ERROR, "found and");
}

TEST(expression, text_and_depth_are_limited) {
  Arena arena = { 0 };
  const Expression *e;
  enum { LONG = 4 << 20 };
  char *text = malloc(LONG);
  memset(text, ' ', LONG);
  memcpy(text, "a = 1", 5);
  CHECK_OK(expression_parse(&arena, text, LONG, &e, NULL));
  CHECK_STATUS(expression_parse(&arena, text, (size_t)EXPRESSION_TEXT_MAX + 1, &e, NULL), KVSTORE_LIMIT);
  memset(text, '(', 100000);
  CHECK_STATUS(expression_parse(&arena, text, 100000, &e, NULL), KVSTORE_LIMIT);
  for (int levels = 98; levels <= 101; levels++) { /* the test itself is a level */
    size_t at = 0;
    for (int i = 0; i < levels; i++, at += 4) memcpy(text + at, "not ", 4);
    memcpy(text + at, "a = 1", 5);
    Status status = expression_parse(&arena, text, at + 5, &e, NULL);
    CHECK_STATUS(status, levels < EXPRESSION_DEPTH_MAX ? KVSTORE_OK : KVSTORE_LIMIT);
    if (status != KVSTORE_OK) continue;
    Buffer out = { 0 };
    Predicate predicate;
    Column column = { 1, TYPE_I32, 0, 0, "a" };
    Schema one = { .column_count = 1, .columns = &column };
    expression_print(e, NULL, 0, &out);
    CHECK_OK(expression_parse(&arena, (const char *)out.data, out.length, &e, NULL));
    CHECK_OK(expression_bind(e, &one, NULL, 0, &arena, &predicate));
    buffer_release(&out);
  }
  size_t length = 7;
  memcpy(text, "a in (1", 7);
  while (length < LONG / 4) {
    memcpy(text + length, ",1", 2);
    length += 2;
  }
  text[length++] = ')';
  CHECK_OK(expression_parse(&arena, text, length, &e, NULL));
  CHECK(e->count > 500000);
  free(text);
  arena_release(&arena);
}

/* Each level says the one within it twice: 2^levels of them is what a canonical text would have. */
static Status parse_levels(int levels, const char *before, const char *behind) {
  Arena arena = { 0 };
  Buffer text = { 0 };
  const Expression *e;
  for (int i = 0; i < levels; i++) buffer_append(&text, before, strlen(before));
  buffer_u8(&text, 'x');
  for (int i = 0; i < levels; i++) buffer_append(&text, behind, strlen(behind));
  CHECK_OK(buffer_status(&text));
  Status status = expression_parse_value(&arena, (const char *)text.data, text.length, &e, NULL);
  buffer_release(&text);
  arena_release(&arena);
  return status;
}

TEST(expression, what_the_canonical_text_repeats_is_limited) {
  const char *twice = " when 1 then 2 when 3 then 4 end", *once = " when 1 then 2 end";
  CHECK_OK(parse_levels(8, "case ", twice));
  CHECK_OK(parse_levels(EXPRESSION_DEPTH_MAX / 2, "case ", once));
  CHECK_STATUS(parse_levels(EXPRESSION_DEPTH_MAX / 2, "case ", twice), KVSTORE_LIMIT);
  CHECK_OK(parse_levels(8, "total(1 + ", ")"));
  CHECK_STATUS(parse_levels(EXPRESSION_DEPTH_MAX, "total(1 + ", ")"), KVSTORE_LIMIT);
}

/* ---- binding ---- */

static Status bind(Arena *arena, const char *text, const Value *parameters, size_t count, Predicate *out) {
  const Expression *e;
  CHECK_OK(parse(arena, text, &e));
  return expression_bind(e, &schema, parameters, count, arena, out);
}

static void check_bind_error(const char *text, Status code, const char *column, const char *value, const char *part) {
  Arena arena = { 0 };
  Predicate predicate;
  CHECK_STATUS(bind(&arena, text, NULL, 0, &predicate), code);
  CHECK_STR(status_last()->column, column);
  CHECK_STR(status_last()->value, value);
  if (!strstr(status_last()->text, part)) CHECK_STR(status_last()->text, part);
  arena_release(&arena);
}

TEST(expression, wrong_columns_and_literals_are_named) {
  check_bind_error("dep_delay < 0 and dep_delay < 1 / 0", KVSTORE_TYPE, "1 / 0", "1", "1 / 0: 1 / 0 divides by zero");
  check_bind_error("dep_dely > 1", KVSTORE_SCHEMA, "dep_dely", "", "the nearest is dep_delay");
  check_bind_error("DEP_DELAY > 1", KVSTORE_SCHEMA, "DEP_DELAY", "", "the nearest is dep_delay");
  check_bind_error("qqqqqqqq > 1", KVSTORE_SCHEMA, "qqqqqqqq", "", "there is no column qqqqqqqq");
  check_bind_error("row_id > 1", KVSTORE_SCHEMA, "row_id", "", "there is no column row_id");
  check_bind_error("dep_delay > 'abc'", KVSTORE_TYPE, "dep_delay", "'abc'", "column dep_delay is i32");
  check_bind_error("dep_delay in (1, true)", KVSTORE_TYPE, "dep_delay", "true", "does not compare");
  check_bind_error("carrier = 5", KVSTORE_TYPE, "carrier", "5", "column carrier is string");
  check_bind_error("late = 1", KVSTORE_TYPE, "late", "1", "column late is bool");
  check_bind_error("day = 5", KVSTORE_TYPE, "day", "5", "column day is date");
  check_bind_error("day = 'abc'", KVSTORE_TYPE, "day", "'abc'", "YYYY-MM-DD");
  check_bind_error("time_hour < '2001-02-30'", KVSTORE_TYPE, "time_hour", "'2001-02-30'", "YYYY-MM-DD");
  check_bind_error("dep_delay", KVSTORE_TYPE, "dep_delay", "", "neither true nor false");
  check_bind_error("dep_delay is nan", KVSTORE_TYPE, "dep_delay", "", "never nan");
  check_bind_error("dep_delay like 'a%'", KVSTORE_TYPE, "dep_delay", "'a%'", "is for strings");
  check_bind_error("day like '2001%'", KVSTORE_TYPE, "day", "'2001%'", "is for strings");
  check_bind_error("carrier like '%a'", KVSTORE_UNSUPPORTED, "carrier", "'%a'", "prefix");
  check_bind_error("carrier like 'a%b%'", KVSTORE_UNSUPPORTED, "carrier", "'a%b%'", "prefix");
  check_bind_error("carrier like 'a_%'", KVSTORE_UNSUPPORTED, "carrier", "'a_%'", "prefix");
  check_bind_error("carrier like 5", KVSTORE_TYPE, "carrier", "5", "does not compare");
  check_bind_error("dep_delay < carrier", KVSTORE_TYPE, "dep_delay", "carrier", "does not compare with carrier");
  check_bind_error("dep_delay < carier", KVSTORE_SCHEMA, "carier", "", "the nearest is carrier");
  check_bind_error("day = date", KVSTORE_TYPE, "day", "date", "does not compare with date");
  check_bind_error("late < distance", KVSTORE_TYPE, "late", "distance", "does not compare");
  check_bind_error("(distance & 1) = 1", KVSTORE_TYPE, "distance", "1", "has no bits");
  check_bind_error("(dep_delay & 1.5) = 1", KVSTORE_TYPE, "dep_delay", "1.5", "both must be integers");
  check_bind_error("(dep_delay & 1) = 'x'", KVSTORE_TYPE, "dep_delay", "'x'", "both must be integers");
  check_bind_error("dep_delay > ?", KVSTORE_ERROR, "", "", "parameter 1 has no value");
}

static bool matches(const char *text, const Value *parameters, size_t count, const Value *row) {
  Arena arena = { 0 };
  Predicate predicate;
  CHECK_OK(bind(&arena, text, parameters, count, &predicate));
  bool result = predicate_row(&predicate, row);
  arena_release(&arena);
  return result;
}

static Value text_value(const char *s) {
  return (Value){ .type = TYPE_STRING, .s = { (const uint8_t *)s, strlen(s) } };
}

TEST(expression, filters_mean_what_they_say) {
  Value row[] = { { .type = TYPE_I32, .i = 65 },
                  text_value("UA"),
                  { .type = TYPE_F64, .f = NAN },
                  { .type = TYPE_DATE, .i = 365 },
                  { .type = TYPE_TIMESTAMP, .i = 1000000 },
                  { .type = TYPE_BOOL, .i = 1 },
                  { .type = TYPE_BYTES, .s = { (const uint8_t *)"\x00\xff", 2 } },
                  { .type = TYPE_U64, .u = UINT64_MAX },
                  { .type = TYPE_U64, .u = 1 },
                  { .type = TYPE_I64, .i = -5 } };
  static const char *const yes[] = {
    "dep_delay > 60 and carrier = 'UA'",
    "60 < dep_delay",
    "dep_delay > 64.5",
    "dep_delay between 65 and 65",
    "late",
    "not not late",
    "carrier like 'U%'",
    "carrier like '%'",
    "carrier like 'UA'",
    "carrier not like 'A%'",
    "carrier in ('AA', 'UA', null)",
    "distance is nan",
    "distance > 1e300",
    "distance = nan",
    "distance > infinity",
    "day = '1971-01-01'",
    "day > timestamp '1970-12-31 23:59:59'",
    "time_hour = '1970-01-01 00:00:01'",
    "time_hour > date '1970-01-01'",
    "time_hour > '1970-01-01'",
    "tail = x'00ff'",
    "\"and\" = 18446744073709551615",
    "\"and\" < 18446744073709551616",
    "dep_delay > -9223372036854775809",
    "date = -5",
    "dep_delay < 1e400",
    "not dep_delay is null",
    "dep_delay not in ()",
    "null or late",
    "not (null and not late)",
    "true",
    "dep_delay <> 65.5",
    "dep_delay > date",
    "date < \"and\"",
    "\"and\" > dep_delay",
    "distance > dep_delay", /* NaN is above every number */
    "day < time_hour or day > time_hour",
    "day > time_hour",
    "carrier <> tail",
    "carrier > tail",
    "dep_delay = dep_delay",
    "distance = distance",
    "not dep_delay < dep_delay",
    "not (dep_delay < date)",
    "(dep_delay & 64) = 64",
    "dep_delay & 65 = 65",
    "(dep_delay & 62) = 0",
    "(dep_delay & 3) <> 0",
    "(date & -4294967296) = -4294967296",
    "(\"and\" & 1) = 1",
  };
  static const char *const no[] = {
    "dep_delay > 65",
    "not late",
    "carrier in ()",
    "carrier not in ('AA', null)",
    "carrier not like '%'",
    "dep_delay = null",
    "dep_delay = 65.5",
    "null",
    "not null",
    "false",
    "distance is not nan",
    "distance < infinity",
    "\"and\" > 18446744073709551615.0",
    "carrier like 'ua%'",
    "dep_delay between 70 and 60",
    "late and null",
    "dep_delay > 18446744073709551616",
    "carrier = 'U'",
    "dep_delay < date",
    "distance < dep_delay",
    "carrier = tail",
    "dep_delay <> dep_delay",
    "late < late",
    "(dep_delay & 2) = 2",
    "(dep_delay & 1) = null",
    "not (dep_delay & null) = 1",
    "(\"and\" & -1) = -1",
  };
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
    if (!matches(yes[i], NULL, 0, row)) CHECK_STR(yes[i], "is true");
  }
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
    if (matches(no[i], NULL, 0, row)) CHECK_STR(no[i], "is not true");
  }
  Value none[sizeof row / sizeof *row];
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) none[i] = (Value){ .is_null = true };
  static const char *const unknown[] = {
    "carrier like '%'",  "carrier not like '%'", "dep_delay in ()", "dep_delay < 1e400", "late",
    "carrier like 'U%'", "dep_delay not in (1)", "distance is nan", "dep_delay = 65.5",  "dep_delay between 1 and 0",
    "\"and\" <> -1",     "carrier = 'U'",
  };
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) { /* nor is it false */
    char negated[80];
    snprintf(negated, sizeof negated, "not (%s)", unknown[i]);
    if (matches(unknown[i], NULL, 0, none) || matches(negated, NULL, 0, none))
      CHECK_STR(unknown[i], "is unknown of a null");
  }
  Value parameters[] = { { .type = TYPE_I64, .i = 60 }, text_value("UA") };
  CHECK(matches("dep_delay > ? and carrier = ?", parameters, 2, row));
  Value nothing[] = { { .is_null = true }, text_value("1970-01-01 00:00:01") };
  CHECK(!matches("dep_delay > ? and time_hour = ?", nothing, 2, row));
  CHECK(matches("dep_delay > ? or time_hour = ?", nothing, 2, row));
}

TEST(expression, parameters_are_counted_and_printed) {
  Arena arena = { 0 };
  const Expression *e;
  Predicate predicate;
  uint32_t count;
  Buffer out = { 0 };
  Value parameters[] = { { .type = TYPE_I64, .i = 7 }, { .type = TYPE_F64, .f = NAN }, text_value("it's") };
  const char *text = "dep_delay in (?, 5) and distance < ? and carrier = ?";
  CHECK_OK(expression_parse(&arena, text, strlen(text), &e, &count));
  CHECK_INT(count, 3);
  CHECK_STATUS(expression_bind(e, &schema, parameters, 2, &arena, &predicate), KVSTORE_ERROR);
  CHECK(strstr(status_last()->text, "parameter 3"));
  Value four[4] = { parameters[0], parameters[1], parameters[2], parameters[0] };
  CHECK_STATUS(expression_bind(e, &schema, four, 4, &arena, &predicate), KVSTORE_ERROR);
  CHECK(strstr(status_last()->text, "4 values"));
  CHECK_OK(expression_bind(e, &schema, parameters, 3, &arena, &predicate));
  expression_print(e, parameters, 3, &out);
  buffer_u8(&out, '\0');
  CHECK_STR((const char *)out.data, "dep_delay in (7, 5) and distance < nan and carrier = 'it''s'");
  buffer_release(&out);
  arena_release(&arena);
}

TEST(expression, functions_make_what_text_makes) {
  Arena arena = { 0 };
  ExpressionOperand five = { .value = { .type = TYPE_U8, .u = 5 } }, ends[] = { five, five };
  Bytes a = { (const uint8_t *)"dep delay", 9 };
  const Expression *less, *between, *joined, *children[2], *e;
  CHECK_OK(expression_test(&arena, a, TEST_LESS, &five, 1, &less));
  CHECK_OK(expression_test(&arena, a, TEST_NOT_BETWEEN, ends, 2, &between));
  children[0] = less;
  children[1] = between;
  CHECK_OK(expression_join(&arena, EXPRESSION_OR, children, 2, &joined));
  CHECK_OK(expression_join(&arena, EXPRESSION_NOT, &joined, 1, &joined));
  Buffer out = { 0 };
  expression_print(joined, NULL, 0, &out);
  buffer_u8(&out, '\0');
  CHECK_STR((const char *)out.data, "not (\"dep delay\" < 5 or \"dep delay\" not between 5 and 5)");
  CHECK_OK(expression_join(&arena, EXPRESSION_AND, children, 1, &e));
  CHECK(e == less);
  CHECK_OK(expression_join(&arena, EXPRESSION_AND, NULL, 0, &e));
  CHECK_INT(e->kind, EXPRESSION_TRUE);
  CHECK_OK(expression_join(&arena, EXPRESSION_OR, NULL, 0, &e));
  CHECK_INT(e->kind, EXPRESSION_FALSE);
  CHECK_STATUS(expression_join(&arena, EXPRESSION_NOT, children, 2, &e), KVSTORE_ERROR);
  CHECK_STATUS(expression_test(&arena, a, TEST_BETWEEN, ends, 1, &e), KVSTORE_ERROR);
  CHECK_STATUS(expression_constant(&arena, EXPRESSION_AND, &e), KVSTORE_ERROR);
  buffer_release(&out);
  arena_release(&arena);
}

/* ---- random texts ---- */

static size_t random_text(uint64_t *random, char *out) {
  static const char *const tokens[] = {
    "a",    "carrier", "dep_delay", "\"x y\"", "and",      "or",           "not",       "between",
    "in",   "like",    "is",        "null",    "true",     "false",        "nan",       "infinity",
    "(",    ")",       ",",         "?",       "=",        "<>",           "<",         "<=",
    ">",    ">=",      "==",        "!=",      "1",        "-2",           "3.5e7",     "'text'",
    "'a%'", "''",      "x'00'",     "x'0'",    "date",     "'2001-02-03'", "timestamp", "-",
    "!",    "'",       "\"",        ".",       "\xC3\xA9", "\xff",
  };
  size_t length = 0, count = test_random_below(random, 16);
  for (size_t i = 0; i < count; i++) {
    const char *token = tokens[test_random_below(random, sizeof tokens / sizeof *tokens)];
    length += (size_t)snprintf(out + length, 512 - length, "%s%s", token, test_random_below(random, 8) ? " " : "");
  }
  return length;
}

TEST(expression, random_tokens_are_filters_or_errors_and_filters_print_back) {
  uint64_t random = 77, filters = 0;
  char text[512];
  for (uint64_t i = 0; i < 10000; i++) {
    Arena arena = { 0 };
    const Expression *e, *again;
    size_t length = random_text(&random, text);
    status_clear();
    if (expression_parse(&arena, text, length, &e, NULL) == KVSTORE_OK) {
      Buffer first = { 0 }, second = { 0 };
      filters++;
      expression_print(e, NULL, 0, &first);
      CHECK_OK(expression_parse(&arena, (const char *)first.data, first.length, &again, NULL));
      expression_print(again, NULL, 0, &second);
      CHECK_INT(first.length, second.length);
      CHECK_BYTES(first.data, second.data, first.length);
      buffer_release(&first);
      buffer_release(&second);
    } else {
      CHECK(status_last()->text[0]);
    }
    arena_release(&arena);
  }
  CHECK(filters > 50);
}

TEST(expression, survives_every_failed_allocation) {
  const char *text = "dep_delay in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10) and (carrier = 'UA' or carrier like 'A%') and not "
                     "late or \"and\" = 7";
  for (uint64_t n = 1;; n++) {
    Arena arena = { 0 };
    Predicate predicate;
    const Expression *e;
    failing_memory_install(n, false);
    Status status = parse(&arena, text, &e);
    if (status == KVSTORE_OK) status = expression_bind(e, &schema, NULL, 0, &arena, &predicate);
    bool reached = failing_memory_failures() > 0;
    failing_memory_remove();
    arena_release(&arena);
    CHECK(status == KVSTORE_OK || (reached && status == KVSTORE_NOMEM));
    if (!reached) break;
  }
}
