/* Joins: every kind, by one column and by several, of types that differ, within any memory, against nested loops. */
#include <stdlib.h>

#include "tests/api/api_support.h"

enum { LEFT_ROWS = 3000, RIGHT_ROWS = 2500, NONE = INT64_MIN };

/* Columns of both tables: a number, maybe null; a text; a number of few values. */
typedef struct Row {
  int64_t number;
  int text;
  int few;
} Row;
static Row lefts[LEFT_ROWS], rights[RIGHT_ROWS];
static const char *const texts[] = { "", "a", "ab", "b", "Oslo", "\xc3\xa9" };

static void fill(Row *rows, size_t count, uint64_t spread, uint64_t *seed) {
  for (size_t i = 0; i < count; i++)
    rows[i] = (Row){ test_random_below(seed, 12) ? (int64_t)test_random_below(seed, spread) - 20 : NONE,
                     (int)test_random_below(seed, 6), (int)test_random_below(seed, 40) };
}

static KVTable *create(KVStore *kv, const char *name, int number_type, int text_type, const Row *rows, size_t count) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "number", number_type, KVTABLE_NULLABLE,
                                           number_type == KVTABLE_TYPE_DECIMAL ? 3 : 0 },
                                         { "text", text_type, 0, 0 },
                                         { "few", KVTABLE_TYPE_U8, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, name, columns, 4, key, 1, &table));
  CHECK_OK(kvstore_begin(kv, 1));
  for (size_t i = 0; i < count; i++) {
    KVValue values[] = { kvvalue_i64((int64_t)i), kvvalue_i64(rows[i].number), kvvalue_string(texts[rows[i].text]),
                         kvvalue_i64(rows[i].few) };
    if (rows[i].number == NONE) values[1] = kvvalue_null();
    if (number_type == KVTABLE_TYPE_F64 && rows[i].number != NONE) values[1] = kvvalue_f64((double)rows[i].number);
    values[2].type = text_type;
    CHECK_OK(kvtable_upsert(table, values, 4, 0));
  }
  CHECK_OK(kvstore_commit(kv));
  return table;
}

/* Two tables of random rows, the left one's numbers of a type, the right one's integers. */
static void create_sides(KVStore *kv, int left_type, uint64_t *seed, KVTable **left, KVTable **right) {
  fill(lefts, LEFT_ROWS, 3000, seed);
  fill(rights, RIGHT_ROWS, 3000, seed);
  *left = create(kv, "l", left_type, KVTABLE_TYPE_STRING, lefts, LEFT_ROWS);
  *right = create(kv, "r", KVTABLE_TYPE_I64, KVTABLE_TYPE_STRING, rights, RIGHT_ROWS);
}

/* ---- what is asked ---- */

typedef struct Case {
  int kind;
  size_t count;
  const char *left[3], *right[3];
  int by_number, by_text, by_few;
  int filtered; /* 1: of the other table alone, 2: of own columns, 3: of both */
} Case;

static int joins(const Case *c, const Row *l, const Row *r) {
  if (c->by_number && (l->number == NONE || l->number != r->number)) return 0;
  if (c->by_text && l->text != r->text) return 0;
  if (c->by_few && l->few != r->few) return 0;
  return c->filtered != 1 || r->few < 20;
}

/* The sum of (left id, right id) that tells answers apart, and how many rows. */
typedef struct Answer {
  uint64_t rows, sum;
} Answer;

static void count_pair(const Case *c, size_t left, size_t right, Answer *a) {
  if (c->filtered == 2 && lefts[left].few >= 25) return;
  if (c->filtered == 3 && (right == SIZE_MAX || (lefts[left].few > 5 && rights[right].few > 5))) return;
  a->rows++;
  a->sum += (left + 1) * 1000003 + (right == SIZE_MAX ? 0 : (right + 1) * 7919 * (left % 13 + 1));
}

static Answer expected(const Case *c) {
  Answer a = { 0, 0 };
  for (size_t l = 0; l < LEFT_ROWS; l++) {
    size_t matches = 0;
    for (size_t r = 0; r < RIGHT_ROWS; r++) {
      if (!joins(c, &lefts[l], &rights[r])) continue;
      if (c->kind == KVQUERY_JOIN_INNER || c->kind == KVQUERY_JOIN_LEFT) count_pair(c, l, r, &a);
      matches++;
    }
    if (c->kind == KVQUERY_JOIN_SEMI ? matches > 0 : c->kind != KVQUERY_JOIN_INNER && !matches)
      count_pair(c, l, SIZE_MAX, &a);
  }
  return a;
}

static Answer answer(KVQuery *query, const Case *c) {
  Answer a = { 0, 0 };
  KVCursor *cursor = NULL;
  int has_right = c->kind <= KVQUERY_JOIN_LEFT;
  const char *columns[] = { "id", "r_id" };
  CHECK_OK(kvquery_select(query, columns, has_right ? 2 : 1));
  CHECK_OK(kvquery_open(query, &cursor));
  while (kvcursor_next(cursor) == KVSTORE_OK) {
    KVValue left, right = kvvalue_null();
    CHECK_OK(kvcursor_value(cursor, 0, &left));
    if (has_right) CHECK_OK(kvcursor_value(cursor, 1, &right));
    uint64_t l = (uint64_t)left.as.i64;
    a.rows++;
    a.sum += (l + 1) * 1000003 + (right.is_null ? 0 : ((uint64_t)right.as.i64 + 1) * 7919 * (l % 13 + 1));
  }
  kvcursor_close(cursor);
  return a;
}

/* An inner join by one column of the same name, which must stay where it is. */
static KVJoin join_by(KVTable *right, const char *const *column, const char *prefix) {
  KVJoin join = KVJOIN_INIT;
  join.table = right;
  join.left = join.right = column;
  join.count = 1;
  join.prefix = prefix;
  return join;
}

/* Joins by the other's key that leave every row as it is, but take their shares of the memory. */
static void join_more(KVQuery *query, KVTable *right, int count) {
  static const char *const on[] = { "id" };
  KVJoin join = join_by(right, on, NULL);
  char prefix[8];
  join.kind = KVQUERY_JOIN_LEFT;
  for (int i = 0; i < count; i++) {
    (void)snprintf(prefix, sizeof prefix, "x%d_", i);
    join.prefix = prefix;
    CHECK_OK(kvquery_join(query, &join));
  }
}

static void check_case(KVTable *left, KVTable *right, const Case *c, uint64_t memory) {
  KVQuery *query = NULL;
  KVJoin join = KVJOIN_INIT;
  uint64_t count = 0;
  Answer wanted = expected(c);
  join.table = right;
  join.kind = c->kind;
  join.left = c->left;
  join.right = c->right;
  join.count = c->count;
  join.prefix = "r_";
  if (c->filtered == 1) join.where = "few < 20";
  CHECK_OK(kvquery_create(left, &query));
  CHECK_OK(kvquery_memory_limit(query, memory));
  if (memory) join_more(query, right, 5);
  CHECK_OK(kvquery_join(query, &join));
  if (c->filtered == 2) CHECK_OK(kvquery_where(query, "few < 25", NULL, 0));
  if (c->filtered == 3) CHECK_OK(kvquery_where(query, "r_id is not null and (few <= 5 or r_few <= 5)", NULL, 0));
  Answer got = answer(query, c);
  CHECK_INT(got.rows, wanted.rows);
  CHECK_INT(got.sum, wanted.sum);
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, wanted.rows);
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK_INT(counters.blocks, counters.blocks_skipped + counters.blocks_certain + counters.blocks_scanned);
  CHECK_INT(counters.rows_selected, wanted.rows);
  CHECK(!memory == !counters.bytes_spilled);
  kvquery_close(query);
}

static void check_all(KVTable *left, KVTable *right, uint64_t memory) {
  static const Case shapes[] = {
    { 0, 1, { "number" }, { "number" }, 1, 0, 0, 0 },
    { 0, 2, { "text", "number" }, { "text", "number" }, 1, 1, 0, 0 },
    { 0, 2, { "text", "few" }, { "text", "few" }, 0, 1, 1, 0 },
    { 0, 3, { "number", "few", "text" }, { "number", "few", "text" }, 1, 1, 1, 0 },
  };
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int kind = KVQUERY_JOIN_INNER; kind <= KVQUERY_JOIN_ANTI; kind++)
      for (int filtered = 0; filtered < (kind <= KVQUERY_JOIN_LEFT ? 4 : 3); filtered++) {
        Case c = shapes[s];
        c.kind = kind;
        c.filtered = filtered;
        check_case(left, right, &c, memory);
      }
}

TEST(kvquery_joins, every_kind_gives_the_rows_of_nested_loops) {
  static const int types[][2] = { { KVTABLE_TYPE_I32, KVTABLE_TYPE_I64 },
                                  { KVTABLE_TYPE_I16, KVTABLE_TYPE_F64 },
                                  { KVTABLE_TYPE_F64, KVTABLE_TYPE_F64 },
                                  { KVTABLE_TYPE_DECIMAL, KVTABLE_TYPE_I32 } };
  uint64_t seed = 3;
  for (size_t t = 0; t < test_scaled(4); t++) {
    KVStore *kv = NULL;
    CHECK_OK(kvstore_open(NULL, &kv, KVSTORE_JOURNAL_WAL));
    fill(lefts, LEFT_ROWS, t == 1 ? 30000 : 3000, &seed);
    fill(rights, RIGHT_ROWS, t == 1 ? 30000 : 3000, &seed);
    KVTable *left = create(kv, "l", types[t][0], KVTABLE_TYPE_STRING, lefts, LEFT_ROWS);
    KVTable *right = create(kv, "r", types[t][1], t ? KVTABLE_TYPE_BYTES : KVTABLE_TYPE_STRING, rights, RIGHT_ROWS);
    check_all(left, right, 0);
    if (t == 0) {
      CHECK_OK(kvstore_maintain(kv));
      check_all(left, right, 0);
    }
    kvtable_close(right);
    kvtable_close(left);
    CHECK_OK(kvstore_close(kv));
  }
}

/* The first number behind a name in what the last run is explained as, behind the first join of a kind. */
static long told(KVQuery *query, const char *kind, const char *name) {
  char *text = NULL;
  CHECK_OK(kvquery_explain_json(query, &text));
  const char *at = strstr(text, kind);
  CHECK(at != NULL);
  at = strstr(at, name);
  CHECK(at != NULL);
  long number = strtol(at + strlen(name), NULL, 10);
  kvstore_free(text);
  return number;
}

/* Six tables share half a MiB. */
static KVTable *create_days(KVStore *kv, const char *name, int type, const KVValue *days, size_t count) {
  const KVColumnDefinition column = { "day", type, 0, 0 };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, name, &column, 1, NULL, 0, &table));
  for (size_t i = 0; i < count; i++) CHECK_OK(kvtable_insert(table, &days[i], 1, 0, NULL));
  return table;
}

static uint64_t joined_days(KVTable *left, KVTable *right) {
  static const char *const on[] = { "day" };
  KVQuery *query = NULL;
  KVJoin join = { sizeof join, right, KVQUERY_JOIN_INNER, on, on, 1, "r_", NULL, NULL, 0 };
  uint64_t count = 0;
  CHECK_OK(kvquery_create(left, &query));
  CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_count(query, &count));
  kvquery_close(query);
  return count;
}

/* No timestamp is as far away as the first and the last date. */
TEST(kvquery_joins, dates_join_dates_however_far_away_and_timestamps_their_midnight) {
  const KVValue dates[] = { kvvalue_date(INT32_MIN), kvvalue_date(-1), kvvalue_date(0), kvvalue_date(INT32_MAX) };
  const KVValue times[] = { kvvalue_timestamp(INT64_MIN), kvvalue_timestamp(-86400000000), kvvalue_timestamp(0),
                            kvvalue_timestamp(1), kvvalue_timestamp(INT64_MAX) };
  KVStore *kv = open_store();
  KVTable *day = create_days(kv, "day", KVTABLE_TYPE_DATE, dates, 4);
  KVTable *time = create_days(kv, "time", KVTABLE_TYPE_TIMESTAMP, times, 5);
  KVTable *other = create_days(kv, "other", KVTABLE_TYPE_DATE, dates, 4);
  CHECK_INT(joined_days(day, other), 4);
  CHECK_INT(joined_days(day, time), 2);
  CHECK_INT(joined_days(time, day), 2);
  CHECK_INT(joined_days(time, time), 5);
  kvtable_close(day);
  kvtable_close(time);
  kvtable_close(other);
  CHECK_OK(kvstore_close(kv));
}

/* Of all rows and of a group: joined rows of one key come in the order of the other table's, which is that of its ids,
 * in memory and in runs. */
TEST(kvquery_joins, first_and_last_of_one_key_go_by_the_order_of_its_joined_rows) {
  static const char *const on[] = { "few" }, *const group[] = { "text" };
  static const Row two[] = { { 1, 0, 1 }, { 2, 0, 2 } };
  static const Row six[] = { { 10, 0, 1 }, { 40, 0, 2 }, { 20, 0, 1 }, { 50, 0, 2 }, { 30, 0, 1 }, { 60, 0, 2 } };
  const KVAggregate ends[] = { { KVQUERY_FIRST, "r_number" }, { KVQUERY_LAST, "r_number" } };
  KVStore *kv = open_store();
  KVTable *left = create(kv, "left", KVTABLE_TYPE_I64, KVTABLE_TYPE_STRING, two, 2);
  KVTable *right = create(kv, "right", KVTABLE_TYPE_I64, KVTABLE_TYPE_STRING, six, 6);
  for (int in_runs = 0; in_runs < 2; in_runs++) {
    KVQuery *query = NULL;
    KVCursor *cursor = NULL;
    KVJoin join = join_by(right, on, "r_");
    KVValue found[3];
    CHECK_OK(kvquery_create(left, &query));
    CHECK_OK(kvquery_join(query, &join));
    CHECK_OK(kvquery_aggregate(query, ends, 2, found));
    CHECK_INT(found[0].as.i64, 10);
    CHECK_INT(found[1].as.i64, 60);
    CHECK_OK(kvquery_group_by(query, group, 1));
    CHECK_OK(kvquery_compute(query, ends, 2));
    CHECK_OK(kvquery_open(query, &cursor));
    CHECK_OK(kvcursor_next(cursor));
    for (size_t i = 0; i < 3; i++) CHECK_OK(kvcursor_value(cursor, i, &found[i]));
    CHECK_INT(found[1].as.i64, 10);
    CHECK_INT(found[2].as.i64, 60);
    kvcursor_close(cursor);
    kvquery_close(query);
    CHECK_OK(kvstore_checkpoint(kv, 1, NULL, NULL));
    CHECK_OK(kvstore_maintain(kv));
  }
  kvtable_close(left);
  kvtable_close(right);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_joins, little_memory_gives_the_same_rows) {
  KVStore *kv = NULL;
  uint64_t seed = 9;
  char *text = NULL;
  CHECK_OK(kvstore_open(NULL, &kv, KVSTORE_JOURNAL_WAL));
  KVTable *left, *right;
  create_sides(kv, KVTABLE_TYPE_I64, &seed, &left, &right);
  KVQuery *query = NULL;
  uint64_t count;
  check_all(left, right, 1 << 20);
  CHECK_OK(kvquery_create(left, &query));
  CHECK_OK(kvquery_memory_limit(query, 1 << 20));
  join_more(query, right, 6);
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, LEFT_ROWS);
  CHECK(told(query, "left", "\"partitions\":") > 1);
  CHECK(told(query, "left", "\"bytes_spilled\":") > 10000);
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, " parts of 8 partitions, ") != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_join(query, NULL));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, LEFT_ROWS);
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "join") == NULL);
  kvstore_free(text);
  kvquery_close(query);
  kvtable_close(right);
  kvtable_close(left);
  CHECK_OK(kvstore_close(kv));
}

/* ---- several tables, groups, and what is told ---- */

static int64_t group_sum(KVQuery *query, const char *column, const char *of, uint64_t *groups) {
  const char *by[] = { column };
  const KVAggregate ask = { KVQUERY_SUM, of };
  KVCursor *cursor = NULL;
  KVValue value;
  int64_t total = 0;
  CHECK_OK(kvquery_group_by(query, by, 1));
  CHECK_OK(kvquery_compute(query, &ask, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  for (*groups = 0; kvcursor_next(cursor) == KVSTORE_OK; ++*groups) {
    CHECK_OK(kvcursor_value(cursor, 1, &value));
    total += value.is_null ? 0 : (int64_t)value.as.decimal.low;
  }
  kvcursor_close(cursor);
  return total;
}

/* Of rows on the left between the least and the greatest number on the right, those whose number nobody has there, of
 * rows whose `few` is less; how many these are, and of them those that have a number. */
static long left_without(int few, long *rows, long *numbers) {
  static char has[4096];
  int64_t least = INT64_MAX, most = INT64_MIN;
  long count = 0;
  memset(has, 0, sizeof has);
  for (size_t r = 0; r < RIGHT_ROWS; r++) {
    if (rights[r].few >= few) continue;
    ++*rows;
    if (rights[r].number == NONE) continue;
    ++*numbers;
    has[rights[r].number + 20] = 1;
    least = rights[r].number < least ? rights[r].number : least;
    most = rights[r].number > most ? rights[r].number : most;
  }
  for (size_t l = 0; l < LEFT_ROWS; l++)
    count += lefts[l].number >= least && lefts[l].number <= most && !has[lefts[l].number + 20];
  return count;
}

TEST(kvquery_joins, a_later_join_leaves_rows_out_of_an_earlier_table) {
  KVStore *kv = open_store();
  uint64_t seed = 21, groups, texts_seen = 0, rows = 0;
  int64_t sum = 0;
  char seen[6] = { 0 }, *text = NULL;
  KVTable *left, *right;
  create_sides(kv, KVTABLE_TYPE_I32, &seed, &left, &right);
  for (size_t l = 0; l < LEFT_ROWS; l++)
    for (size_t r = 0; r < RIGHT_ROWS; r++) {
      if (lefts[l].number == NONE || lefts[l].number != rights[r].number || rights[r].few >= 7) continue;
      rows++;
      sum += lefts[l].few;
      texts_seen += !seen[rights[r].text];
      seen[rights[r].text] = 1;
    }
  long rights_of_few = 0, right_rows = 0, left_out = left_without(7, &rights_of_few, &right_rows);
  KVQuery *query = NULL;
  const char *number[] = { "number" }, *r_id[] = { "r_id" }, *id[] = { "id" };
  uint64_t count;
  CHECK_OK(kvquery_create(left, &query));
  KVJoin join = join_by(right, number, "r_");
  CHECK_OK(kvquery_join(query, &join));
  join.left = r_id; /* rows of the same table that a filter leaves */
  join.right = id;
  join.kind = KVQUERY_JOIN_SEMI;
  join.where = "few < ?";
  KVValue seven = kvvalue_i64(7);
  join.parameters = &seven;
  join.parameter_count = 1;
  CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, rows);
  /* The semi join was asked when the table was hashed; rows between its ends without a partner went before the join. */
  CHECK_INT(told(query, "inner", "\"hashed_rows\":"), right_rows);
  CHECK_INT(told(query, "semi", "\"left_out\":"), RIGHT_ROWS - rights_of_few);
  CHECK_INT(told(query, "inner", "\"left_out\":"), left_out);
  CHECK_OK(kvquery_explain(query, &text));
  char line[80];
  (void)snprintf(line, sizeof line, "; %ld rows left out before they were joined\n", left_out);
  CHECK(strstr(text, line) != NULL);
  kvstore_free(text);
  CHECK_INT(group_sum(query, "r_text", "few", &groups), sum);
  CHECK_INT(groups, texts_seen);
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "inner join: r on number = number\n") != NULL);
  CHECK(strstr(text, "semi join: r on r_id = id\n") != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_explain_json(query, &text));
  CHECK(strstr(text, "\"joins\":[{\"kind\":\"inner\",\"table\":\"r\",\"on\":[[\"number\",\"number\"]]") != NULL);
  kvstore_free(text);
  kvquery_close(query);
  kvtable_close(right);
  kvtable_close(left);
  CHECK_OK(kvstore_close(kv));
}

/* The filter of joined rows is told as what it was asked: not the rows of the tables, of which there may be fewer. */
TEST(kvquery_joins, the_filter_is_told_the_joined_rows) {
  KVStore *kv = open_store();
  uint64_t seed = 33, joined = 0, left_over = 0, count;
  KVTable *left, *right;
  create_sides(kv, KVTABLE_TYPE_I32, &seed, &left, &right);
  for (size_t l = 0; l < LEFT_ROWS; l++)
    for (size_t r = 0; r < RIGHT_ROWS; r++) {
      if (lefts[l].few != rights[r].few) continue;
      joined++;
      left_over += strcmp(texts[lefts[l].text], texts[rights[r].text]) < 0;
    }
  CHECK(joined > LEFT_ROWS + RIGHT_ROWS && left_over > 0);
  KVQuery *query = NULL;
  const char *few[] = { "few" };
  char step[80], *text = NULL;
  CHECK_OK(kvquery_create(left, &query));
  KVJoin join = join_by(right, few, "r_");
  CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_where(query, "text < r_text", NULL, 0));
  for (uint32_t threads = 1; threads <= 2; threads++) {
    CHECK_OK(kvquery_threads(query, threads));
    CHECK_OK(kvquery_count(query, &count));
    CHECK_INT(count, left_over);
    CHECK_OK(kvquery_explain_json(query, &text));
    const char *filter = strstr(text, "{\"step\":\"filter\"");
    (void)snprintf(step, sizeof step, ",\"rows_in\":%d,\"rows_out\":%d,", (int)joined, (int)left_over);
    CHECK(filter && strstr(filter, step));
    CHECK(filter && strstr(filter, step) < strstr(filter, "\"terms\""));
    kvstore_free(text);
  }
  kvquery_close(query);
  kvtable_close(right);
  kvtable_close(left);
  CHECK_OK(kvstore_close(kv));
}

typedef struct Seen {
  uint64_t rows, total;
} Seen;

static int see(void *context, uint64_t rows, uint64_t total) {
  Seen *seen = context;
  CHECK(rows >= seen->rows && rows <= total);
  *seen = (Seen){ rows, total };
  return 0;
}

/* Who follows a query is told of pairs, too, that are hashed: they come in pieces, which know how many they are. */
TEST(kvquery_joins, pairs_that_are_hashed_are_rows_that_were_scanned) {
  enum { PAIRS = 2000 };
  KVStore *kv = open_store();
  KVColumnFamily *family = NULL;
  KVTable *table = NULL, *pairs = NULL;
  KVQuery *query = NULL;
  const KVPairColumn part = { "few", "part(1)", KVTABLE_TYPE_I64, 0 };
  const char *few[] = { "few" };
  Seen seen = { 0, 0 };
  uint64_t seed = 34, count;
  fill(lefts, LEFT_ROWS, 3000, &seed);
  table = create(kv, "l", KVTABLE_TYPE_I64, KVTABLE_TYPE_STRING, lefts, LEFT_ROWS);
  CHECK_OK(kvstore_cf_create(kv, "pairs", &family));
  for (int i = 0; i < PAIRS; i++) {
    char key[32];
    int length = snprintf(key, sizeof key, "%d/%d", i, i % 5);
    CHECK_OK(kvstore_cf_put(family, key, length, "", 0));
  }
  CHECK_OK(kvtable_open_family(family, &part, 1, &pairs));
  CHECK_OK(kvquery_create(table, &query));
  KVJoin join = join_by(pairs, few, "p_");
  CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_progress(query, see, &seen));
  CHECK_OK(kvquery_count(query, &count));
  CHECK(count > 0);
  CHECK_INT(seen.total, LEFT_ROWS + PAIRS);
  CHECK_INT(seen.rows, LEFT_ROWS + PAIRS);
  kvquery_close(query);
  kvtable_close(pairs);
  kvtable_close(table);
  kvstore_cf_close(family);
  CHECK_OK(kvstore_close(kv));
}

static int stop(void *context, uint64_t rows, uint64_t total) {
  (void)total;
  return ++*(int *)context > 1 && rows > 0;
}

TEST(kvquery_joins, what_is_no_join_is_refused_and_those_before_stay) {
  KVStore *kv = open_store();
  uint64_t seed = 4, count;
  fill(lefts, LEFT_ROWS, 300, &seed);
  fill(rights, RIGHT_ROWS, 300, &seed);
  KVTable *left = create(kv, "l", KVTABLE_TYPE_I32, KVTABLE_TYPE_STRING, lefts, 300);
  KVTable *right = create(kv, "r", KVTABLE_TYPE_I64, KVTABLE_TYPE_STRING, rights, 300);
  KVQuery *query = NULL;
  const char *number[] = { "number" }, *text[] = { "text" }, *nowhere[] = { "nowhere" };
  CHECK_OK(kvquery_create(left, &query));
  KVJoin join = KVJOIN_INIT;
  join.table = right;
  join.left = join.right = number;
  join.count = 1;
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_SCHEMA); /* its columns are there already */
  CHECK(strstr(kvstore_errmsg(kv), "prefix") != NULL);
  join.prefix = "r_";
  join.right = text;
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_TYPE);
  join.right = nowhere;
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_SCHEMA);
  join.right = number;
  join.where = "r_few < 3"; /* its own names have no prefix */
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_SCHEMA);
  join.where = "few <";
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_ERROR);
  join.where = NULL;
  join.kind = 4;
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_ERROR);
  join.kind = 0;
  join.count = 0;
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_LIMIT);
  join.count = 1;
  const KVValue number_one = kvvalue_i64(1);
  join.where = "few < ?";
  join.parameters = &number_one;
  join.parameter_count = SIZE_MAX; /* nothing is read of so many */
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_LIMIT);
  join.where = NULL;
  join.parameters = NULL;
  join.parameter_count = 0;
  join.struct_size = 8;
  CHECK_STATUS(kvquery_join(query, &join), KVSTORE_ERROR);
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 300);
  struct { /* of a later version */
    KVJoin known;
    uint64_t later;
  } longer = { join, 0 };
  longer.known.struct_size = sizeof longer;
  longer.later = 1;
  CHECK_STATUS(kvquery_join(query, &longer.known), KVSTORE_UNSUPPORTED);
  longer.later = 0;
  CHECK_OK(kvquery_join(query, &longer.known));
  int calls = 0;
  CHECK_OK(kvquery_progress(query, stop, &calls));
  CHECK_STATUS(kvquery_count(query, &count), KVSTORE_CANCELLED);
  CHECK_OK(kvquery_progress(query, NULL, NULL));
  CHECK_OK(kvquery_count(query, &count));
  CHECK(count > 0);
  kvquery_close(query);
  kvtable_close(right);
  kvtable_close(left);
  CHECK_OK(kvstore_close(kv));
}
