/* Filters and values as text, without a table: their canonical form, names and literals. */
#include "tests/api/api_support.h"

static void check_canonical(const char *text, const KVValue *parameters, size_t count, const char *expected) {
  char *once = NULL, *twice = NULL;
  CHECK_OK(kvexpr_canonical(text, parameters, count, &once));
  CHECK_STR(once, expected);
  CHECK_OK(kvexpr_canonical(once, NULL, 0, &twice));
  CHECK_STR(twice, expected);
  kvstore_free(once);
  kvstore_free(twice);
}

TEST(kvquery, expressions_have_a_canonical_text) {
  const KVValue two[] = { kvvalue_string("O'Hare"), kvvalue_i64(-5) };
  char *text = (char *)two;
  check_canonical("delay>60 AND((carrier)='UA')", NULL, 0, "delay > 60 and carrier = 'UA'");
  check_canonical("price*( 1-discount )", NULL, 0, "price * (1 - discount)");
  check_canonical("carrier=? or delay>?", NULL, 0, "carrier = ? or delay > ?");
  check_canonical("carrier=? or delay>?", two, 2, "carrier = 'O''Hare' or delay > -5");
  const KVValue tenth = kvvalue_f64(0.1); /* as a number alone it would be a decimal beside decimals */
  check_canonical("d = ?", &tenth, 1, "d = cast(0.1 as f64)");
  /* values stand where they would if they had been written */
  const KVValue truth = kvvalue_bool(1), numbers[] = { kvvalue_i64(6), kvvalue_u64(2) };
  check_canonical("not ? and late", &truth, 1, "not true and late");
  check_canonical("? < a + ?", numbers, 2, "a + cast(2 as u64) > 6");
  check_canonical("? >= ?", numbers, 2, "cast(2 as u64) <= 6");
  const KVValue negative[] = { kvvalue_i64(-6), kvvalue_decimal(1234, 2) }; /* a minus before them is their sign */
  check_canonical("a < -? and b in (-?, 1)", negative, 2, "a < 6 and b in (decimal '-12.34', 1)");
  check_canonical("-? < a", negative, 1, "a > 6");
  check_canonical("-(-?) = a", negative, 1, "a = -6");
  check_canonical("? < -?", negative, 2, "-6 < decimal '-12.34'");
  check_canonical("-? < a", numbers + 1, 1, "-cast(2 as u64) < a");
  const KVValue least = kvvalue_i64(INT64_MIN); /* has no opposite */
  check_canonical("a = -?", &least, 1, "a = --9223372036854775808");
  check_canonical("0.5 = 0.1234567890123456789", NULL, 0, "cast(0.12345678901234568 as f64) = 0.5");
  CHECK_STATUS(kvexpr_canonical("carrier = ?", two, 2, &text), KVSTORE_ERROR);
  CHECK(text == NULL);
  CHECK(strstr(kvstore_errmsg(NULL), "2 values") != NULL);
  CHECK_STATUS(kvexpr_canonical("delay >", NULL, 0, &text), KVSTORE_ERROR);
  CHECK(text == NULL);
  CHECK(strstr(kvstore_errmsg(NULL), "at position 8") != NULL);
  CHECK_STATUS(kvexpr_canonical(NULL, NULL, 0, &text), KVSTORE_ERROR);
  CHECK_STATUS(kvexpr_canonical("delay > ?", NULL, 1, &text), KVSTORE_ERROR);
  CHECK_STATUS(kvexpr_canonical("delay > 1", NULL, 0, NULL), KVSTORE_ERROR);
}

static void check_name(const char *name, const char *expected) {
  char *text = NULL;
  CHECK_OK(kvexpr_name(name, &text));
  CHECK_STR(text, expected);
  kvstore_free(text);
}

static void check_literal(KVValue value, const char *expected) {
  char *text = NULL;
  CHECK_OK(kvexpr_literal(&value, &text));
  CHECK_STR(text, expected);
  kvstore_free(text);
}

TEST(kvquery, names_and_values_are_quoted_where_they_must_be) {
  char *text = (char *)&text;
  check_name("delay", "delay");
  check_name("two words", "\"two words\"");
  check_name("a \"b\"", "\"a \"\"b\"\"\"");
  check_name("and", "\"and\"");
  check_literal(kvvalue_string("O'Hare"), "'O''Hare'");
  check_literal(kvvalue_i64(INT64_MIN), "-9223372036854775808");
  check_literal(kvvalue_f64(0.1), "0.1");
  check_literal(kvvalue_bool(1), "true");
  check_literal(kvvalue_null(), "null");
  check_literal(kvvalue_date(20787), "date '2026-11-30'");
  KVValue odd = kvvalue_null();
  odd.is_null = 0;
  odd.type = 99;
  CHECK_STATUS(kvexpr_literal(&odd, &text), KVSTORE_TYPE);
  CHECK(text == NULL);
  CHECK_STATUS(kvexpr_literal(NULL, &text), KVSTORE_ERROR);
  CHECK_STATUS(kvexpr_name(NULL, &text), KVSTORE_ERROR);
  CHECK_STATUS(kvexpr_name("x", NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvexpr_name("\xff", &text), KVSTORE_ERROR);
  CHECK(text == NULL);
}

/* A query over a table of two columns, whose first one is its key. */
typedef struct Asked {
  KVStore *kv;
  KVTable *table;
  KVQuery *query;
} Asked;

static Asked ask_two_columns(const KVColumnDefinition columns[2]) {
  Asked a = { .kv = open_store() };
  const char *key[] = { columns[0].name };
  CHECK_OK(kvtable_create(a.kv, "t", columns, 2, key, 1, &a.table));
  CHECK_OK(kvquery_create(a.table, &a.query));
  return a;
}

static void end_asking(Asked *a) {
  kvquery_close(a->query);
  kvtable_close(a->table);
  CHECK_OK(kvstore_close(a->kv));
}

/* Behind a zero byte a text would end, and with it the quotes. */
TEST(kvquery, texts_with_a_zero_byte_stand_whole_in_what_is_printed) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "s", KVTABLE_TYPE_STRING, KVTABLE_NULLABLE, 0 } };
  KVValue row[] = { kvvalue_i64(1), kvvalue_null() }, pair[4];
  for (int i = 0; i < 4; i++) {
    pair[i] = kvvalue_string("");
    pair[i].as.bytes.data = i < 2 ? "a\0b" : "a\0c";
    pair[i].as.bytes.length = 3;
  }
  check_literal(pair[0], "x'610062'");
  check_canonical("s = ?", pair, 1, "s = x'610062'");
  Asked a = ask_two_columns(columns);
  uint64_t count = 0;
  CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  CHECK_OK(kvquery_where(a.query, "coalesce(s, ?) = ? and coalesce(s, ?) = ?", pair, 4));
  CHECK_OK(kvquery_count(a.query, &count));
  CHECK_INT(count, 1); /* two values to be computed, whose texts differ behind the zero alone */
  end_asking(&a);
}

/* A u32 is computed with as a column of its type is: only a u64 makes a u64, which is below no other number. */
TEST(kvquery, small_unsigned_parameters_are_no_u64) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_U32, 0, 0 }, { "day", KVTABLE_TYPE_DATE, 0, 0 } };
  const KVValue row[] = { kvvalue_i64(3), kvvalue_date(100) };
  KVValue narrow[2] = { kvvalue_of(KVTABLE_TYPE_U32), kvvalue_of(KVTABLE_TYPE_U8) }, wide = kvvalue_u64(10);
  narrow[0].as.u64 = 10;
  narrow[1].as.u64 = 7;
  Asked a = ask_two_columns(columns);
  uint64_t count = 0;
  CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  CHECK_OK(kvquery_where(a.query, "id - ? = -7 and day + ? = date '1970-04-18'", narrow, 2));
  CHECK_OK(kvquery_count(a.query, &count));
  CHECK_INT(count, 1);
  CHECK_OK(kvquery_where(a.query, "id - ? <> 5", &wide, 1));
  CHECK_STATUS(kvquery_count(a.query, &count), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(a.kv), "3 - 10 does not fit u64") != NULL);
  end_asking(&a);
}

/* What a u64 column has of a mask's bits is a u64 in every comparison, on either side of `&` and where it is selected.
 */
TEST(kvquery, bits_of_a_u64_have_no_sign_in_any_comparison) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "u", KVTABLE_TYPE_U64, 0, 0 } };
  const KVValue row[] = { kvvalue_i64(1), kvvalue_u64((UINT64_C(1) << 63) + 1) }, mask = kvvalue_i64(-1);
  static const char *const true_of_it[] = {
    "(u & ?) = 9223372036854775809",
    "(u & ?) > 4",
    "not (u & ?) <= 4",
    "(? & u) = 9223372036854775809",
    "(? & u) <> -1",
    "(u & ?) between 5 and 1e19",
    "(u & ?) = u",
    "-1 < (u & ?)",
    "(u & cast(? as i64)) in (9223372036854775809)",
  };
  const char *selected[] = { "u & -1", "id & 18446744073709551615" };
  Asked a = ask_two_columns(columns);
  KVCursor *cursor = NULL;
  KVValue v;
  CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  for (size_t i = 0; i < sizeof true_of_it / sizeof *true_of_it; i++) {
    uint64_t count = 0;
    CHECK_OK(kvquery_where(a.query, true_of_it[i], &mask, 1));
    CHECK_OK(kvquery_count(a.query, &count));
    if (count != 1) CHECK_STR(true_of_it[i], "true of the row");
  }
  CHECK_OK(kvquery_where(a.query, NULL, NULL, 0));
  CHECK_OK(kvquery_select(a.query, selected, 2));
  CHECK_OK(kvquery_open(a.query, &cursor));
  CHECK_OK(kvcursor_next(cursor));
  CHECK_OK(kvcursor_value(cursor, 0, &v));
  CHECK_INT(v.type, KVTABLE_TYPE_U64);
  CHECK(v.as.u64 == row[1].as.u64);
  CHECK_OK(kvcursor_value(cursor, 1, &v));
  CHECK_INT(v.type, KVTABLE_TYPE_I64);
  CHECK_INT(v.as.i64, 1);
  kvcursor_close(cursor);
  end_asking(&a);
}

/* Of long values and keys a failure shows the beginning, in whole characters. */
TEST(kvquery, failures_end_no_text_within_a_character) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_STRING, 0, 0 }, { "s", KVTABLE_TYPE_STRING, 0, 0 } };
  Asked a = ask_two_columns(columns);
  KVValue sum;
  for (int before = 0; before < 2; before++) {
    char text[500] = "x";
    int at = before;
    for (; at < 400; at += 2) memcpy(text + at, "\xC3\xA9", 3);
    const KVValue row[] = { kvvalue_string(text), kvvalue_string(text) };
    CHECK_OK(kvtable_clear(a.table));
    CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
    CHECK_STATUS(kvquery_sum(a.query, "cast(s as i64)", &sum), KVSTORE_TYPE);
    const char *message = kvstore_errmsg(a.kv);
    CHECK(strstr(message, "\xC3\xA9... is no i64, in the row with key '") != NULL);
    CHECK_STR(message + strlen(message) - 5, "\xC3\xA9...");
    for (const char *c = message; *c; c++) CHECK(*c != '\xC3' || c[1] == '\xA9');
  }
  end_asking(&a);
}

/* What names no column is named as it is written, and so is what is computed. */
TEST(kvquery, failures_of_constants_and_computed_values_name_them) {
  static const struct {
    const char *where, *text, *column, *value;
  } wrong[] = {
    { "'a' = 5", "'a' is string: 5 does not compare with it", "'a'", "5" },
    { "id in (1) or 1 in ('x')", "1 is i64: 'x' does not compare with it", "1", "'x'" },
    { "id = case when id * 2 = 'x' then 1 end", "id * 2 is i64: 'x' does not compare with it", "id * 2", "'x'" },
    { "id + 1 > 'x'", "id + 1 is i64: 'x' does not compare with it", "id + 1", "'x'" },
    { "id + 1", "id + 1 is i64: by itself it says neither true nor false", "id + 1", "" },
    { "id + 1 is nan", "id + 1 is i64 and never nan", "id + 1", "" },
    { "id < 1 / 0", "1 / 0: 1 / 0 divides by zero", "1 / 0", "1" },
    { "id in (1, cast(300 as i8))", "cast(300 as i8): 300 is no i8", "cast(300 as i8)", "300" },
    { "id = -'a'", "-'a': - is not for string 'a'", "-'a'", "" },
    { "id & 1 = 18446744073709551616",
      "column id is i64: 1.8446744073709552e19 has no bits with it: both must be integers of 64 bits at most", "id",
      "1.8446744073709552e19" },
  };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "x", KVTABLE_TYPE_F64, 0, 0 } };
  Asked a = ask_two_columns(columns);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    KVStoreError error = KVSTORE_ERROR_INIT;
    CHECK_STATUS(kvquery_where(a.query, wrong[i].where, NULL, 0), KVSTORE_TYPE);
    CHECK_OK(kvstore_error(a.kv, &error));
    CHECK_STR(error.text, wrong[i].text);
    CHECK_STR(error.column, wrong[i].column);
    CHECK_STR(error.value, wrong[i].value);
  }
  end_asking(&a);
}

TEST(kvquery, parameters_that_are_no_value_of_their_type_are_shown) {
  KVValue none[] = { kvvalue_of(KVTABLE_TYPE_DATE), kvvalue_time(-1),
                     kvvalue_decimal(INT64_C(1000000000000000000), 2) };
  static const char *const shown[] = { "1099511627776", "-1", "10000000000000000.00" };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "x", KVTABLE_TYPE_F64, 0, 0 } };
  none[0].as.i64 = INT64_C(1) << 40;
  Asked a = ask_two_columns(columns);
  for (size_t i = 0; i < 3; i++) {
    KVStoreError error = KVSTORE_ERROR_INIT;
    const KVValue two[] = { kvvalue_i64(1), none[i] };
    CHECK_STATUS(kvquery_where(a.query, "id = ? or x = ?", two, 2), KVSTORE_TYPE);
    CHECK_OK(kvstore_error(a.kv, &error));
    CHECK(strstr(error.text, "value 2 of the filter is no ") == error.text);
    CHECK_STR(error.value, shown[i]);
  }
  end_asking(&a);
}

/* What no column can have: more digits behind the point than there are, the type of sums, and what is no type. */
TEST(kvquery, parameters_of_no_type_that_compares_are_shown) {
  KVValue sum = kvvalue_of(KVTABLE_TYPE_DECIMAL128), none[] = { kvvalue_decimal(-5, 19), sum, kvvalue_of(99) };
  static const struct {
    const char *text, *value;
  } says[] = {
    { "value 1 of the filter has 19 digits behind the point, and 18 are the most: -0.0000000000000000005",
      "-0.0000000000000000005" },
    { "value 1 of the filter has no type that compares: decimal128 (22)", "7.5" },
    { "value 1 of the filter has no type that compares: ? (99)", "?" },
  };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "x", KVTABLE_TYPE_DECIMAL, 0, 2 } };
  const KVValue row[] = { kvvalue_i64(1), none[0] };
  KVStoreError error = KVSTORE_ERROR_INIT;
  Asked a = ask_two_columns(columns);
  none[1].as.decimal.low = 75;
  none[1].scale = 1;
  for (size_t i = 0; i < 3; i++) {
    CHECK_STATUS(kvquery_where(a.query, "x = ?", &none[i], 1), KVSTORE_TYPE);
    CHECK_OK(kvstore_error(a.kv, &error));
    CHECK_STR(error.text, says[i].text);
    CHECK_STR(error.value, says[i].value);
  }
  CHECK_STATUS(kvtable_insert(a.table, row, 2, 0, NULL), KVSTORE_TYPE);
  CHECK_OK(kvstore_error(a.kv, &error));
  CHECK_STR(error.column, "x");
  CHECK_STR(error.value, says[0].value);
  end_asking(&a);
}

/* What cannot be computed fails too where no value of its type could match: 3 - 5 is not silently above 0. */
TEST(kvquery, a_test_that_nothing_can_pass_still_computes) {
  static const char *const none_can[] = { "id - u < 0",          "id - u = -2",          "not (id - u >= 0)",
                                          "cast(u as i8) > 127", "id - u in (-2, -3)",   "id - u in ()",
                                          "id - u in (null)",    "id - u not in (null)", "id - u < id - u" };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_U64, 0, 0 }, { "u", KVTABLE_TYPE_U64, 0, 0 } };
  Asked a = ask_two_columns(columns);
  for (uint64_t id = 3; id < 6; id++) {
    const KVValue row[] = { kvvalue_u64(id), kvvalue_u64(id == 3 ? 500 : 1) };
    CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  }
  for (size_t i = 0; i < sizeof none_can / sizeof *none_can; i++) {
    char others[100];
    uint64_t count = 1;
    CHECK_OK(kvquery_where(a.query, none_can[i], NULL, 0));
    CHECK_STATUS(kvquery_count(a.query, &count), KVSTORE_TYPE);
    CHECK(strstr(kvstore_errmsg(a.kv), "in the row with key 3") != NULL);
    (void)snprintf(others, sizeof others, "%s and id > 3", none_can[i]); /* excluded rows are not computed */
    CHECK_OK(kvquery_where(a.query, others, NULL, 0));
    CHECK_OK(kvquery_count(a.query, &count));
    CHECK_INT(count, 0);
  }
  const KVValue null = kvvalue_null();
  uint64_t count = 1;
  CHECK_OK(kvquery_where(a.query, "id - u < ?", &null, 1)); /* unknown, whatever the value is */
  CHECK_OK(kvquery_count(a.query, &count));
  CHECK_INT(count, 0);
  end_asking(&a);
}

/* Wherever conditions are joined those that test columns go first: what they decide is not computed. */
TEST(kvquery, columns_are_tested_before_values_are_computed) {
  static const struct {
    const char *value;
    int of[3]; /* where u is 0, 1, 2 */
  } joined[] = {
    { "4 / u = 4 and u <> 0", { 0, 1, 0 } },
    { "4 / u = 4 or u = 0", { 1, 1, 0 } },
    { "not (4 / u = 4 and 4 % u = 0 and (u > 0 and id < 9))", { 1, 0, 1 } },
    { "case when 4 / u = 4 and u <> 0 then true else false end", { 0, 1, 0 } },
    { "coalesce(4 / u = 4 and u in (1, 2), true)", { 0, 1, 0 } },
    { "4 / u = 4 and 4 / u < 9 and false", { 0, 0, 0 } },
  };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "u", KVTABLE_TYPE_I64, 0, 0 } };
  const KVOrder order = { "id", 0 };
  Asked a = ask_two_columns(columns);
  for (int64_t id = 0; id < 3; id++) {
    const KVValue row[] = { kvvalue_i64(id), kvvalue_i64(id) };
    CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  }
  CHECK_OK(kvquery_order_by(a.query, &order, 1));
  for (size_t i = 0; i < sizeof joined / sizeof *joined; i++) {
    KVCursor *cursor = NULL;
    KVValue truth;
    uint64_t passed = 0;
    CHECK_OK(kvquery_where(a.query, NULL, NULL, 0));
    CHECK_OK(kvquery_select(a.query, &joined[i].value, 1));
    CHECK_OK(kvquery_open(a.query, &cursor));
    for (int row = 0; row < 3; row++) {
      CHECK_OK(kvcursor_next(cursor));
      CHECK_OK(kvcursor_value(cursor, 0, &truth));
      CHECK_INT(truth.as.i64, joined[i].of[row]);
    }
    kvcursor_close(cursor);
    CHECK_OK(kvquery_where(a.query, joined[i].value, NULL, 0)); /* as where it is a filter */
    CHECK_OK(kvquery_count(a.query, &passed));
    CHECK_INT(passed, joined[i].of[0] + joined[i].of[1] + joined[i].of[2]);
  }
  const char *in_order = "4 / u = 4 and 4 / (u + 1) < 9"; /* of two that compute the first is asked of all */
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_where(a.query, NULL, NULL, 0));
  CHECK_OK(kvquery_select(a.query, &in_order, 1));
  CHECK_OK(kvquery_open(a.query, &cursor));
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(a.kv), "4 / 0 divides by zero, in the row with key 0") != NULL);
  kvcursor_close(cursor);
  end_asking(&a);
}

/* Who reads it finds the columns that it is made of, whatever the author calls it. */
TEST(kvquery, failures_of_named_values_say_what_they_are_made_of) {
  const char *divided = "1000 / (u - 1) as \"per unit\"", *dated = "year(u) as y";
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "u", KVTABLE_TYPE_I64, 0, 0 } };
  const KVValue row[] = { kvvalue_i64(7), kvvalue_i64(1) };
  Asked a = ask_two_columns(columns);
  KVCursor *cursor = NULL;
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  CHECK_OK(kvquery_select(a.query, &divided, 1));
  CHECK_OK(kvquery_open(a.query, &cursor));
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_TYPE);
  CHECK_OK(kvstore_error(a.kv, &error));
  CHECK_STR(error.text, "1000 / (u - 1) as \"per unit\": 1000 / 0 divides by zero, in the row with key 7");
  CHECK_STR(error.column, "per unit");
  CHECK_STR(error.value, "1000");
  kvcursor_close(cursor);
  CHECK_STATUS(kvquery_select(a.query, &dated, 1), KVSTORE_TYPE);
  CHECK_OK(kvstore_error(a.kv, &error));
  CHECK_STR(error.text, "year(u) as y: year is not for i64");
  CHECK_STR(error.column, "y");
  end_asking(&a);
}

/* Its name stands for a value in the rest of its list, in the order and in `having`: not in filters and other lists. */
TEST(kvquery, names_of_values_stand_where_their_list_is_known) {
  const char *by[] = { "u % 3 as m", "m + 1" }, *selected[] = { "u + 1 as more", "more * 2" };
  const KVAggregate sums[] = { { KVQUERY_SUM, "u + 1 as more" }, { KVQUERY_MAX, "more" } }, of_m = { KVQUERY_SUM, "m" };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "u", KVTABLE_TYPE_I64, 0, 0 } };
  const KVOrder order = { "m", KVQUERY_DESCENDING };
  const int64_t groups[][4] = { { 2, 3, 3, 3 }, { 1, 2, 2 + 5, 5 } }; /* of 0 to 4: that of 0 and 3 does not pass */
  Asked a = ask_two_columns(columns);
  KVCursor *cursor = NULL;
  KVValue value;
  for (int64_t id = 0; id < 5; id++) {
    const KVValue row[] = { kvvalue_i64(id), kvvalue_i64(id) };
    CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  }
  CHECK_OK(kvquery_select(a.query, selected, 2));
  CHECK_OK(kvquery_where(a.query, "u = 4", NULL, 0));
  CHECK_OK(kvquery_open(a.query, &cursor));
  CHECK_OK(kvcursor_next(cursor));
  CHECK_OK(kvcursor_value(cursor, 1, &value));
  CHECK_INT(value.as.i64, 10);
  kvcursor_close(cursor);
  CHECK_OK(kvquery_where(a.query, NULL, NULL, 0));
  CHECK_OK(kvquery_group_by(a.query, by, 2));
  CHECK_OK(kvquery_compute(a.query, sums, 2));
  CHECK_OK(kvquery_having(a.query, "m > 0", NULL, 0));
  CHECK_OK(kvquery_order_by(a.query, &order, 1));
  CHECK_OK(kvquery_open(a.query, &cursor));
  for (int group = 0; group < 2; group++) {
    CHECK_OK(kvcursor_next(cursor));
    for (size_t column = 0; column < 4; column++) {
      CHECK_OK(kvcursor_value(cursor, column, &value));
      CHECK_INT(value.as.i64, groups[group][column]);
    }
  }
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  CHECK_STATUS(kvquery_where(a.query, "m > 0", NULL, 0), KVSTORE_SCHEMA);
  CHECK_STATUS(kvquery_compute(a.query, &of_m, 1), KVSTORE_SCHEMA);
  CHECK_STR(kvstore_errmsg(a.kv), "there is no column m");
  end_asking(&a);
}

/* Their texts are the names of conditions, too. */
TEST(kvquery, conditions_that_are_grouped_by_are_quoted_over_groups) {
  static const char *const of_two[] = { "not \"u > 2\"", "not big", "\"id % 2\" = 0 and count(*) = 3", "id % 2 < 1" };
  const char *by[] = { "u > 2", "u > 2 as big", "id % 2", "id % 2" };
  const KVAggregate rows = { KVQUERY_ROWS, NULL };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "u", KVTABLE_TYPE_I64, 0, 0 } };
  Asked a = ask_two_columns(columns);
  for (int64_t id = 0; id < 5; id++) { /* 0, 1, 2 and 0, 2, 4 are three of five */
    const KVValue row[] = { kvvalue_i64(id), kvvalue_i64(id) };
    CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  }
  CHECK_OK(kvquery_compute(a.query, &rows, 1));
  for (int i = 0; i < 4; i++) {
    KVCursor *cursor = NULL;
    KVValue value;
    CHECK_OK(kvquery_group_by(a.query, &by[i], 1));
    CHECK_OK(kvquery_having(a.query, of_two[i], NULL, 0));
    CHECK_OK(kvquery_open(a.query, &cursor));
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 1, &value));
    CHECK_INT(value.as.u64, 3);
    CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
    kvcursor_close(cursor);
  }
  end_asking(&a);
}

/* Its double stands for the nearest f32 wherever it is given; one beyond all of them is no infinity. */
TEST(kvquery, what_is_said_to_be_an_f32_is_found_as_it_was_put) {
  const KVColumnDefinition columns[] = { { "f", KVTABLE_TYPE_F32, 0, 0 }, { "x", KVTABLE_TYPE_F64, 0, 0 } };
  Asked a = ask_two_columns(columns);
  KVValue row[] = { kvvalue_of(KVTABLE_TYPE_F32), kvvalue_of(KVTABLE_TYPE_F32) }, wide = kvvalue_f64((double)0.1F);
  KVStoreError error = KVSTORE_ERROR_INIT;
  uint64_t count = 0;
  row[0].as.f64 = row[1].as.f64 = 0.1;
  CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  CHECK_OK(kvquery_where(a.query, "f = ? and x = ?", row, 2));
  CHECK_OK(kvquery_count(a.query, &count));
  CHECK_INT(count, 1);
  CHECK_OK(kvquery_where(a.query, "f = ? and x = f", &wide, 1));
  CHECK_OK(kvquery_count(a.query, &count));
  CHECK_INT(count, 1);
  row[0].as.f64 = 1e300;
  CHECK_STATUS(kvtable_insert(a.table, row, 2, 0, NULL), KVSTORE_TYPE);
  CHECK_OK(kvstore_error(a.kv, &error));
  CHECK_STR(error.column, "f");
  CHECK_STR(error.value, "1e300");
  CHECK_OK(kvquery_where(a.query, "f = infinity or f < ?", row, 1));
  CHECK_OK(kvquery_count(a.query, &count));
  CHECK_INT(count, 1); /* below 1e300 is the one row, and none is infinite */
  row[0].as.f64 = 1e308 * 10;
  CHECK_OK(kvtable_insert(a.table, row, 2, 0, NULL));
  end_asking(&a);
}
