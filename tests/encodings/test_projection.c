/* Columns over pairs: sources as text, parts of keys, numbers at offsets, values in JSON texts. */
#include "encodings/projection.h"

#include <math.h>
#include <stdio.h>

#include "tests/support/test.h"

static Arena arena;

static Projection source(const char *text, ColumnType type) {
  Projection p;
  CHECK_OK(projection_parse(text, strlen(text), &arena, &p));
  CHECK_OK(projection_set_type(&p, type, type == TYPE_FIXED_BYTES ? 3 : type == TYPE_UUID ? UUID_BYTES : 0, "c"));
  return p;
}

static Bytes text_of(const char *text) { return (Bytes){ (const uint8_t *)text, strlen(text) }; }

static Value read_source(const char *text, ColumnType type, Bytes key, Bytes value) {
  Projection p = source(text, type);
  SourcePair pair = { key, value, EXPIRY_NEVER };
  Value out;
  CHECK_OK(projection_read(&p, &pair, &arena, &out));
  CHECK_INT(out.type, type);
  return out;
}

static Value part(const char *text, ColumnType type, const char *key) {
  return read_source(text, type, text_of(key), (Bytes){ 0 });
}

static Value json(const char *path, ColumnType type, const char *value) {
  char text[200];
  (void)snprintf(text, sizeof text, "json(%s)", path);
  return read_source(text, type, text_of("k"), text_of(value));
}

static void check_string(Value v, const char *expected) {
  CHECK(!v.is_null);
  CHECK_INT(v.s.length, strlen(expected));
  CHECK_BYTES(v.s.data, expected, v.s.length);
}

static void check_i64(Value v, int64_t expected) {
  CHECK(!v.is_null);
  CHECK_INT(v.i, expected);
}

static void check_f64(Value v, double expected) {
  CHECK(!v.is_null);
  CHECK(v.f == expected);
}

/* ---- sources ---- */

TEST(projection, a_source_prints_as_one_form_that_reads_back) {
  static const char *const forms[][2] = { { "part(1)", "part(1)" },
                                          { " part ( 1 , ':' ) ", "part(1, ':')" },
                                          { "part(0, '/')", "part(0)" },
                                          { "part(2, '''')", "part(2, '''')" },
                                          { "at(8)", "at(8)" },
                                          { "at(8, little)", "at(8)" },
                                          { "at( 8,big )", "at(8, big)" },
                                          { "json(a)", "json(a)" },
                                          { "json($.a.b[2].c)", "json(a.b[2].c)" },
                                          { "json($)", "json($)" },
                                          { "json($[0][17])", "json($[0][17])" },
                                          { "json(\"odd \"\"name\"\"\".\"x\")", "json(\"odd \"\"name\"\"\".x)" },
                                          { "json(\"\")", "json(\"\")" },
                                          { "json(\"$\")", "json(\"$\")" } };
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
    for (int again = 0; again < 2; again++) {
      Projection p;
      Buffer printed = { 0 };
      CHECK_OK(projection_parse(forms[i][again], strlen(forms[i][again]), &arena, &p));
      projection_print(&p, &printed);
      buffer_u8(&printed, 0);
      CHECK_STR((const char *)printed.data, forms[i][1]);
      buffer_release(&printed);
    }
  arena_release(&arena);
}

TEST(projection, what_is_no_source_is_refused) {
  static const char *const texts[] = { "",
                                       "part",
                                       "part(",
                                       "part()",
                                       "part(-1)",
                                       "part(4294967296)",
                                       "part(1",
                                       "part(1)x",
                                       "part(1, )",
                                       "part(1, '')",
                                       "part(1, 'x)",
                                       "at(x)",
                                       "at(1, huge)",
                                       "json()",
                                       "json(.a)",
                                       "json(a.)",
                                       "json(a[])",
                                       "json(a[x])",
                                       "json(a[99999999999])",
                                       "json(\"a)",
                                       "json(a b)",
                                       "sum(x)" };
  Projection p;
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    CHECK_STATUS(projection_parse(texts[i], strlen(texts[i]), &arena, &p), KVSTORE_ERROR);
    CHECK(status_last()->text[0] != 0);
  }
  char deep[2 * JSON_STEPS_MAX + 20] = "json(a";
  size_t length = strlen(deep);
  for (int i = 0; i < JSON_STEPS_MAX; i++, length += 2) memcpy(deep + length, ".a", 2);
  memcpy(deep + length, ")", 2);
  CHECK_STATUS(projection_parse(deep, strlen(deep), &arena, &p), KVSTORE_ERROR);
  CHECK_OK(projection_parse("json(a)", 7, &arena, &p));
  CHECK_STATUS(projection_set_type(&p, TYPE_BYTES, 0, "c"), KVSTORE_TYPE);
  CHECK_STATUS(projection_set_type(&p, TYPE_FIXED_BYTES, 3, "c"), KVSTORE_TYPE);
  CHECK_OK(projection_parse("part(0)", 7, &arena, &p));
  CHECK_STATUS(projection_set_type(&p, TYPE_BOOL, 0, "c"), KVSTORE_TYPE);
  arena_release(&arena);
}

/* ---- keys ---- */

TEST(projection, parts_of_keys_lie_between_separators) {
  check_string(part("part(0)", TYPE_STRING, "sensor/42/temp"), "sensor");
  check_string(part("part(1)", TYPE_STRING, "sensor/42/temp"), "42");
  check_string(part("part(2)", TYPE_STRING, "sensor/42/temp"), "temp");
  CHECK(part("part(3)", TYPE_STRING, "sensor/42/temp").is_null);
  check_string(part("part(1)", TYPE_STRING, "a//b"), "");
  check_string(part("part(1)", TYPE_STRING, "a/"), "");
  check_string(part("part(0)", TYPE_STRING, "/a"), "");
  check_string(part("part(1, '::')", TYPE_STRING, "a:b::c"), "c");
  CHECK(part("part(1, ':')", TYPE_STRING, "a/b").is_null);
  check_i64(part("part(1)", TYPE_I64, "sensor/042/temp"), 42);
  check_i64(part("part(1)", TYPE_I8, "s/-128"), -128);
  CHECK(part("part(1)", TYPE_I8, "s/-129").is_null);
  CHECK(part("part(1)", TYPE_U16, "s/-1").is_null);
  CHECK(part("part(1)", TYPE_I64, "s/4x").is_null);
  CHECK(part("part(1)", TYPE_I64, "s/").is_null);
  check_f64(part("part(1)", TYPE_F64, "s/-2.5e1"), -25);
  check_string(part("part(1)", TYPE_FIXED_BYTES, "s/abc"), "abc");
  CHECK(part("part(1)", TYPE_FIXED_BYTES, "s/ab").is_null);
  CHECK(part("part(1)", TYPE_STRING, "s/\xff").is_null);
  check_string(part("part(1)", TYPE_BYTES, "s/\xff"), "\xff");
  arena_release(&arena);
}

/* ---- offsets ---- */

TEST(projection, numbers_lie_at_offsets_in_either_order_of_bytes) {
  const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 0x88, 9 };
  Bytes value = { bytes, sizeof bytes }, key = text_of("k");
  CHECK(read_source("at(0)", TYPE_U64, key, value).u == UINT64_C(0x8807060504030201));
  CHECK_INT(read_source("at(0, big)", TYPE_U64, key, value).u, UINT64_C(0x0102030405060788));
  check_i64(read_source("at(7)", TYPE_I8, key, value), -120);
  check_i64(read_source("at(6, big)", TYPE_I16, key, value), 0x0788);
  check_i64(read_source("at(1, big)", TYPE_I32, key, value), 0x02030405);
  CHECK(read_source("at(2)", TYPE_U64, key, value).is_null);
  CHECK(read_source("at(4000000000)", TYPE_U8, key, value).is_null);
  check_i64(read_source("at(0)", TYPE_BOOL, key, value), 1);
  CHECK(read_source("at(1)", TYPE_BOOL, key, value).is_null);
  CHECK_INT(read_source("at(8)", TYPE_BYTES, key, value).s.length, 1);
  CHECK_INT(read_source("at(9)", TYPE_BYTES, key, value).s.length, 0);
  CHECK(!read_source("at(9)", TYPE_BYTES, key, value).is_null);
  CHECK(read_source("at(10)", TYPE_BYTES, key, value).is_null);
  CHECK_INT(read_source("at(1)", TYPE_FIXED_BYTES, key, value).s.length, 3);
  CHECK(read_source("at(7)", TYPE_FIXED_BYTES, key, value).is_null);
  CHECK(read_source("at(0)", TYPE_U8, key, (Bytes){ 0 }).is_null);
  double number = -1234.5;
  check_f64(read_source("at(0)", TYPE_F64, key, (Bytes){ (const uint8_t *)&number, 8 }), number);
  arena_release(&arena);
}

/* ---- JSON ---- */

TEST(projection, json_values_are_found_by_their_path) {
  const char *text =
    " { \"a\" : 1 , \"b\":{\"c\":[10,{\"d\":\"x\"},-2.5e2], \"e\":null},\"a\":2, \"t\\u0065mp\": true } ";
  check_i64(json("a", TYPE_I64, text), 1); /* the first of two */
  check_i64(json("b.c[0]", TYPE_I32, text), 10);
  check_string(json("b.c[1].d", TYPE_STRING, text), "x");
  check_f64(json("b.c[2]", TYPE_F64, text), -250);
  check_i64(json("b.c[2]", TYPE_I16, text), -250);
  check_i64(json("temp", TYPE_BOOL, text), 1);
  check_string(json("temp", TYPE_STRING, text), "true");
  check_string(json("b.c[2]", TYPE_STRING, text), "-2.5e2");
  CHECK(json("b.e", TYPE_STRING, text).is_null);
  CHECK(json("b", TYPE_STRING, text).is_null);
  CHECK(json("b.c[3]", TYPE_I64, text).is_null);
  CHECK(json("b.c.d", TYPE_I64, text).is_null);
  CHECK(json("a.b", TYPE_I64, text).is_null);
  CHECK(json("z", TYPE_I64, text).is_null);
  CHECK(json("b.c[1].d", TYPE_I64, text).is_null);
  check_i64(json("$", TYPE_I64, "7"), 7);
  check_i64(json("$[1]", TYPE_I64, "[1,2]"), 2);
  check_i64(json("\"\"", TYPE_I64, "{\"\":3}"), 3);
  check_i64(json("a.b", TYPE_I64, "{\"a\":{\"b\":1},\"a\":{\"b\":2}}"), 1);
  CHECK(json("a.b", TYPE_I64, "{\"a\":{},\"a\":{\"b\":2}}").is_null); /* the first member counts, whatever is in it */
  arena_release(&arena);
}

TEST(projection, json_strings_lose_their_escapes) {
  check_string(json("$", TYPE_STRING, "\"a\\n\\t\\\"\\\\\\/\\u00e9\\u20ac\\ud83d\\ude00\""),
               "a\n\t\"\\/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(json("$", TYPE_STRING, "\"\\ud83d\"").is_null);
  CHECK(json("$", TYPE_STRING, "\"\\ude00\"").is_null);
  CHECK(json("$", TYPE_STRING, "\"\\ud83dx\"").is_null);
  CHECK(json("$", TYPE_STRING, "\"\xff\"").is_null);
  check_string(json("$", TYPE_STRING, "\"\""), "");
  arena_release(&arena);
}

TEST(projection, numbers_in_text_are_exact_or_the_nearest) {
  check_f64(json("$", TYPE_F64, "0.1"), 0.1);
  check_f64(json("$", TYPE_F64, "123456789012345678901234567890"), 123456789012345678901234567890.0);
  check_f64(json("$", TYPE_F64, "2.2250738585072011e-308"), 2.2250738585072011e-308);
  check_f64(json("$", TYPE_F64, "1e-400"), 0);
  CHECK(json("$", TYPE_F64, "1e400").is_null);
  CHECK(json("$", TYPE_F32, "1e39").is_null);
  check_f64(json("$", TYPE_F32, "0.1"), (double)0.1f);
  /* 2^-149 is the least float; 2^-150 lies between it and 0, which has the even bits */
  check_f64(json("$", TYPE_F32, "7.0064923216240853546186479164495807e-46"), (double)0x1p-149f);
  check_f64(json("$", TYPE_F32, "7.0064923216240853546186479164495806e-46"), 0);
  /* 1 + 2^-24 = 1.000000059604644775390625 lies between 1 and 1 + 2^-23, and is the double nearest to all of these */
  check_f64(json("$", TYPE_F32, "1.000000059604644775390625"), 1);
  check_f64(json("$", TYPE_F32, "1.0000000596046447753906251"), (double)0x1.000002p0f);
  check_f64(json("$", TYPE_F32, "1.0000000596046447753906249"), 1);
  check_f64(json("$", TYPE_F32, "16777217"), 16777216);
  check_f64(json("$", TYPE_F32, "-16777217.0000000000001"), -16777218);
  CHECK(signbit(json("$", TYPE_F64, "-0").f));
  check_i64(json("$", TYPE_I64, "-9223372036854775808"), INT64_MIN);
  CHECK(json("$", TYPE_I64, "9223372036854775808").is_null);
  CHECK(json("$", TYPE_U64, "18446744073709551615").u == UINT64_MAX);
  CHECK(json("$", TYPE_U64, "18446744073709551616").is_null);
  check_i64(json("$", TYPE_I64, "2.0"), 2);
  check_i64(json("$", TYPE_I64, "1e3"), 1000);
  CHECK(json("$", TYPE_I64, "2.5").is_null);
  CHECK(json("$", TYPE_U8, "256").is_null);
  CHECK(json("$", TYPE_I64, "\"2\"").is_null);
  CHECK(json("$", TYPE_BOOL, "1").is_null);
  arena_release(&arena);
}

/* 2^53 is 9007199254740992. The doubles nearest to 2^53 + 1 and to 2^53 - 1 + 0.9999 are it, but the texts are not. */
TEST(projection, an_integer_is_what_its_digits_say_or_nothing) {
  static const struct {
    const char *text;
    int64_t number;
  } whole[] = { { "9007199254740992.0", INT64_C(1) << 53 },
                { "-9007199254740992.00", -(INT64_C(1) << 53) },
                { "9.007199254740992e15", INT64_C(1) << 53 },
                { "1.5e1", 15 },
                { "1500e-2", 15 },
                { "0.001e3", 1 },
                { "1000000000000000000000e-20", 10 },
                { "0e99", 0 },
                { "-0.0", 0 },
                { "0.000e-99", 0 } };
  static const char *const others[] = { "9007199254740993.0",
                                        "-9007199254740993.0",
                                        "9.007199254740993e15",
                                        "9007199254740991.9999",
                                        "9007199254740992.0000000000000001",
                                        "1e16",
                                        "1e-400",
                                        "1.00000000000000000001",
                                        "15e-2",
                                        "1e400" };
  static const ColumnType types[] = { TYPE_I64, TYPE_U64 };
  for (size_t t = 0; t < 2; t++) {
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
      if (types[t] == TYPE_U64 && whole[i].number < 0)
        CHECK(json("$", TYPE_U64, whole[i].text).is_null);
      else
        check_i64(json("$", types[t], whole[i].text), whole[i].number);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) CHECK(json("$", types[t], others[i]).is_null);
  }
  arena_release(&arena);
}

TEST(projection, what_is_no_json_anywhere_has_no_values) {
  static const char *const texts[] = { "",
                                       "{",
                                       "{\"a\":1",
                                       "{\"a\":1}x",
                                       "{\"a\":1,}",
                                       "{\"a\" 1}",
                                       "{a:1}",
                                       "{\"a\":01}",
                                       "{\"a\":1.}",
                                       "{\"a\":.5}",
                                       "{\"a\":1e}",
                                       "{\"a\":+1}",
                                       "{\"a\":1,\"b\":tru}",
                                       "{\"a\":1,\"b\":\"\n\"}",
                                       "{\"a\":1,\"b\":\"\\x\"}",
                                       "{\"a\":1,\"b\":\"\\u12g4\"}",
                                       "{\"a\":1,\"b\":[1,]}",
                                       "{\"a\":1,\"b\":[}",
                                       "{\"a\":1 \"b\":2}",
                                       "{\"a\":1,\"b\":\"" };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) CHECK(json("a", TYPE_I64, texts[i]).is_null);
  check_i64(json("a", TYPE_I64, "{\"a\":1,\"b\":[ ]}"), 1);
  char deep[3 * JSON_DEPTH_MAX] = { 0 };
  for (int levels = JSON_DEPTH_MAX; levels <= JSON_DEPTH_MAX + 1; levels++) {
    memset(deep, '[', (size_t)levels);
    memset(deep + levels, ']', (size_t)levels);
    deep[2 * levels] = 0;
    JsonValue found;
    JsonPath root = { 0 };
    CHECK_INT(json_find(&root, text_of(deep), &found), levels == JSON_DEPTH_MAX);
  }
  arena_release(&arena);
}

/* Every proper prefix of a text that ends with a bracket is none, and nothing is read behind it (ASan). */
TEST(projection, cut_texts_are_refused) {
  const char *text = "{\"a\":[1,2.5e-3,\"x\\u00e9\",true,false,null,{\"b\":{}}]}";
  size_t length = strlen(text);
  JsonPath root = { 0 };
  JsonValue found;
  for (size_t cut = 0; cut <= length; cut++) {
    uint8_t *copy = arena_copy(&arena, text, cut);
    CHECK(copy != NULL);
    CHECK_INT(json_find(&root, (Bytes){ copy, cut }, &found), cut == length);
  }
  arena_release(&arena);
}

TEST(projection, decimals_are_exact_or_null) {
  const ColumnType money = TYPE_DECIMAL + 2;
  check_i64(json("a", money, "{\"a\": 12.3}"), 1230);
  check_i64(json("a", money, "{\"a\": \"-0.050\"}"), -5);
  check_i64(json("a", money, "{\"a\": 1.5e3}"), 150000);
  check_i64(json("a", money, "{\"a\": 0e999}"), 0);
  check_i64(json("a", TYPE_DECIMAL_LAST, "{\"a\": 0.999999999999999999}"), INT64_C(999999999999999999));
  CHECK(json("a", money, "{\"a\": 12.345}").is_null);
  CHECK(json("a", money, "{\"a\": 1e17}").is_null);
  CHECK(json("a", money, "{\"a\": 10000000000000000}").is_null);
  CHECK(json("a", TYPE_DECIMAL, "{\"a\": 9223372036854775807}").is_null);
  CHECK(json("a", money, "{\"a\": true}").is_null);
  CHECK(json("a", money, "{\"a\": \"x\"}").is_null);
  check_i64(part("part(1)", money, "k/7.25"), 725);
  CHECK(part("part(1)", money, "k/7.255").is_null);
}

TEST(projection, values_of_the_other_types_lie_at_offsets) {
  const int64_t numbers[] = { 1230, INT64_C(1000000000000000000), INT64_C(86400000000), -1 };
  Bytes value = { (const uint8_t *)numbers, sizeof numbers };
  Bytes key = text_of("k");
  check_i64(read_source("at(0)", TYPE_DECIMAL + 2, key, value), 1230);
  CHECK(read_source("at(8)", TYPE_DECIMAL + 2, key, value).is_null);
  check_i64(read_source("at(8)", TYPE_DURATION, key, value), numbers[1]);
  check_i64(read_source("at(0)", TYPE_TIME, key, value), 1230);
  CHECK(read_source("at(16)", TYPE_TIME, key, value).is_null);
  CHECK(read_source("at(24)", TYPE_TIME, key, value).is_null);
  Value id = read_source("at(16)", TYPE_UUID, key, value);
  CHECK(!id.is_null && id.s.length == UUID_BYTES);
  CHECK_BYTES(id.s.data, (const uint8_t *)numbers + 16, UUID_BYTES);
  CHECK(read_source("at(17)", TYPE_UUID, key, value).is_null);
}

enum { SECONDS_US = 1000000, HOURS_US_FACTOR = 3600 };

TEST(projection, dates_times_and_uuids_are_read_from_text) {
  const int64_t hour = (int64_t)HOURS_US_FACTOR * SECONDS_US, day = 24 * hour;
  static const uint8_t id[UUID_BYTES] = { 0,    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                          0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
  check_i64(part("part(1)", TYPE_DATE, "log/1970-02-01/x"), 31);
  check_i64(part("part(1)", TYPE_TIMESTAMP, "log/1970-01-02T01:00/x"), day + hour);
  check_i64(part("part(1)", TYPE_TIMESTAMP, "log/1970-01-02/x"), day);
  check_i64(part("part(1)", TYPE_TIME, "log/01:00:00.5/x"), hour + SECONDS_US / 2);
  check_i64(part("part(1)", TYPE_DURATION, "log/-36:00/x"), -36 * hour);
  Value uuid = part("part(1)", TYPE_UUID, "u/00112233-4455-6677-8899-AABBCCDDEEFF");
  CHECK(!uuid.is_null && uuid.s.length == UUID_BYTES);
  CHECK_BYTES(uuid.s.data, id, UUID_BYTES);
  CHECK(part("part(1)", TYPE_DATE, "log/1970-02-30").is_null);
  CHECK(part("part(1)", TYPE_DATE, "log/1970-02-01T00:00").is_null);
  CHECK(part("part(1)", TYPE_DATE, "log/").is_null);
  CHECK(part("part(1)", TYPE_TIME, "log/24:00").is_null);
  CHECK(part("part(1)", TYPE_UUID, "u/00112233").is_null);

  check_i64(json("at", TYPE_TIMESTAMP, "{\"at\": \"1970-01-02T01:00:00Z\"}"), day + hour);
  check_i64(json("at", TYPE_TIMESTAMP, "{\"at\": \"1970-01-02T01:00:00+01:00\"}"), day);
  check_i64(json("at", TYPE_DATE, "{\"at\": \"1970\\u002d01-02\"}"), 1);
  check_i64(json("at", TYPE_TIME, "{\"at\": \"01:00\"}"), hour);
  check_i64(json("at", TYPE_DURATION, "{\"at\": \"1 day 2 hours\"}"), day + 2 * hour);
  uuid = json("id", TYPE_UUID, "{\"id\": \"00112233445566778899aabbccddeeff\"}");
  CHECK(!uuid.is_null && uuid.s.length == UUID_BYTES);
  CHECK_BYTES(uuid.s.data, id, UUID_BYTES);
  CHECK(json("at", TYPE_DATE, "{\"at\": 1}").is_null);
  CHECK(json("at", TYPE_TIMESTAMP, "{\"at\": true}").is_null);
  CHECK(json("at", TYPE_TIMESTAMP, "{\"at\": \"\"}").is_null);
  CHECK(json("at", TYPE_UUID, "{\"at\": \"\\ud800\"}").is_null);
  arena_release(&arena);
}
