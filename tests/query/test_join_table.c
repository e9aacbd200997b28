/* Hashed tables of joins: the rows of a key in their order, whether or not several have it. */
#include "query/join_table.h"

#include "base/counters.h"
#include "base/memory.h"
#include "tests/support/test.h"

enum { ROWS_MAX = 5 };

/* Rows with these keys, times `step`: not far apart they have a bit each, else they are hashed. */
static void table_of(JoinTable *t, JoinKeys *keys, Arena *arena, const uint64_t *words, uint32_t count, uint64_t step) {
  *keys = (JoinKeys){ .count = 1, .domains = { JOIN_SIGNED }, .types = { TYPE_I64 } };
  CHECK_OK(join_keys_create(keys, arena));
  *t = (JoinTable){ .keys = keys, .row_count = count };
  t->words[0] = memory_allocate(count * sizeof *t->words[0]);
  CHECK(t->words[0] != NULL);
  for (uint32_t i = 0; i < count; i++) t->words[0][i] = words[i] * step;
  CHECK_OK(join_table_index(t));
}

/* The rows of a key, one behind the other. */
static uint32_t rows_of(const JoinTable *t, JoinKeys *keys, uint64_t word, uint32_t rows[ROWS_MAX]) {
  uint32_t count = 0;
  keys->words[0][0] = word;
  keys->valid[0] = 1;
  join_table_find(t, keys, 1);
  for (uint32_t row = join_table_match(t, keys, 0, keys->first[0]); row != JOIN_NO_ROW && count < ROWS_MAX;
       row = join_table_next(t, keys, 0, row))
    rows[count++] = row;
  return count;
}

static void check_steps(const uint64_t *words, uint32_t count, bool is_unique) {
  static const uint64_t steps[] = { 1, 50, UINT64_C(1) << 40 };
  for (size_t s = 0; s < 3; s++) {
    JoinTable t;
    JoinKeys keys;
    Arena arena = { 0 };
    uint32_t rows[ROWS_MAX];
    uint64_t unique = counter_get(COUNTER_joins_unique), direct = counter_get(COUNTER_joins_direct);
    table_of(&t, &keys, &arena, words, count, steps[s]);
    CHECK_INT(counter_get(COUNTER_joins_unique) - unique, is_unique);
    CHECK_INT(counter_get(COUNTER_joins_direct) - direct, s < 2);

    for (uint32_t i = 0; i < count; i++) {
      uint32_t found = rows_of(&t, &keys, words[i] * steps[s], rows), at = 0;
      for (uint32_t row = 0; row < count; row++) {
        if (words[row] != words[i]) continue;
        CHECK(at < found && rows[at] == row);
        at++;
      }
      CHECK_INT(found, at);
    }
    CHECK_INT(rows_of(&t, &keys, 8 * steps[s], rows), 0);
    CHECK_INT(rows_of(&t, &keys, 4 * steps[s], rows), 0);
    CHECK_INT(rows_of(&t, &keys, 10 * steps[s], rows), 0);
    CHECK_INT(rows_of(&t, &keys, (uint64_t)-5, rows), 0);
    join_table_release(&t);
    arena_release(&arena);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(join_table, rows_of_one_key_follow_each_other_in_their_order) {
  const uint64_t words[] = { 5, 7, 5, 9, 5 };
  check_steps(words, 5, false);
}

TEST(join_table, a_key_that_one_row_has_is_followed_by_none) {
  const uint64_t words[] = { 9, 5, 7 };
  check_steps(words, 3, true);
}

/* Few rows far apart are hashed, unless there is room to spare for their bits: 100,000 numbers are 1,563 words of them.
 */
TEST(join_table, few_keys_far_apart_have_bits_where_there_is_room) {
  for (int has_room = 0; has_room < 2; has_room++) {
    JoinKeys keys = { .count = 1, .domains = { JOIN_SIGNED }, .types = { TYPE_I64 } };
    Arena arena = { 0 };
    uint32_t rows[ROWS_MAX];
    uint64_t direct = counter_get(COUNTER_joins_direct);
    CHECK_OK(join_keys_create(&keys, &arena));
    JoinTable t = { .keys = &keys, .row_count = 2, .spare = 1563 * 12 - 1 + (uint64_t)has_room };
    t.words[0] = memory_allocate(2 * sizeof *t.words[0]);
    CHECK(t.words[0] != NULL);
    t.words[0][0] = 99999;
    t.words[0][1] = 0;
    CHECK_OK(join_table_index(&t));
    CHECK_INT(counter_get(COUNTER_joins_direct) - direct, has_room);
    CHECK_INT(rows_of(&t, &keys, 99999, rows), 1);
    CHECK_INT(rows[0], 0);
    CHECK_INT(rows_of(&t, &keys, 50000, rows), 0);
    join_table_release(&t);
    arena_release(&arena);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(join_table, keys_that_ascend_need_no_places_of_their_rows) {
  const uint64_t words[] = { (uint64_t)-3, 0, 5, 64, 200 };
  JoinTable t;
  JoinKeys keys;
  Arena arena = { 0 };
  uint32_t rows[ROWS_MAX];
  table_of(&t, &keys, &arena, words, 5, 1);
  CHECK(t.first == NULL);
  for (uint32_t i = 0; i < 5; i++) {
    CHECK_INT(rows_of(&t, &keys, words[i], rows), 1);
    CHECK_INT(rows[0], i);
  }
  CHECK_INT(rows_of(&t, &keys, 1, rows), 0);
  join_table_release(&t);
  arena_release(&arena);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Bits at -3, 0, 5, 64 and 200: what lies between two numbers, and around all. */
TEST(join_table, between_two_numbers_there_is_a_key_or_none) {
  const uint64_t words[] = { 64, 0, (uint64_t)-3, 200, 5 };
  JoinTable t;
  JoinKeys keys;
  Arena arena = { 0 };
  table_of(&t, &keys, &arena, words, 5, 1);
  for (int64_t low = -80; low < 220; low++)
    for (int64_t high = low; high < 280; high++) {
      bool any = false;
      for (size_t i = 0; i < 5; i++) any |= (int64_t)words[i] >= low && (int64_t)words[i] <= high;
      CHECK_INT(join_table_has_between(&t, low, high), any);
    }
  CHECK(join_table_has_between(&t, INT64_MIN, INT64_MAX));
  CHECK(!join_table_has_between(&t, INT64_MIN, -4));
  CHECK(!join_table_has_between(&t, 201, INT64_MAX));
  join_table_release(&t);
  arena_release(&arena);
  CHECK_INT(memory_blocks_held(), 0);
}

enum { MANY_ROWS = 20000 };

static uint64_t far_apart(uint64_t i) { return i * i * UINT64_C(0x123456789) + i; }

/* How many keys from far_apart(first) on are found, each as its own row. */
static uint32_t found_from(const JoinTable *t, JoinKeys *keys, uint32_t first, uint32_t count) {
  uint32_t found = 0;
  for (uint32_t begin = 0, some; begin < count; begin += some) {
    some = count - begin < BLOCK_ROWS ? count - begin : BLOCK_ROWS;
    for (uint32_t i = 0; i < some; i++) {
      keys->words[0][i] = far_apart(first + begin + i);
      keys->valid[i] = i % 7 != 0;
    }
    join_table_find(t, keys, some);
    for (uint32_t i = 0; i < some; i++) {
      if (keys->first[i] == JOIN_NO_ROW) continue;
      CHECK(keys->valid[i]);
      CHECK_INT(keys->first[i], first + begin + i);
      found++;
    }
  }
  return found;
}

/* The filter of the hashes holds back nearly all that are not there and nobody else; where all are there it is not
 * asked any more. */
TEST(join_table, a_filter_of_hashes_holds_back_what_is_not_there) {
  static uint64_t words[MANY_ROWS];
  JoinTable t;
  JoinKeys keys;
  Arena arena = { 0 };
  for (uint32_t i = 0; i < MANY_ROWS; i++) words[i] = far_apart(i);
  table_of(&t, &keys, &arena, words, MANY_ROWS, 1);
  uint64_t before = counter_get(COUNTER_joins_bloom_left_out);
  CHECK_INT(found_from(&t, &keys, MANY_ROWS, MANY_ROWS), 0);
  uint64_t held_back = counter_get(COUNTER_joins_bloom_left_out) - before, invalid = 0;
  for (uint32_t i = 0; i < MANY_ROWS; i++) invalid += i % BLOCK_ROWS % 7 == 0;
  CHECK(held_back >= invalid + (MANY_ROWS - invalid) * 97 / 100);
  CHECK_INT(found_from(&t, &keys, 0, MANY_ROWS), MANY_ROWS - invalid);
  join_table_release(&t);
  arena_release(&arena);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(join_table, a_filter_of_hashes_that_holds_nothing_back_is_left_alone) {
  static uint64_t words[MANY_ROWS];
  JoinTable t;
  JoinKeys keys;
  Arena arena = { 0 };
  for (uint32_t i = 0; i < MANY_ROWS; i++) words[i] = far_apart(i);
  table_of(&t, &keys, &arena, words, MANY_ROWS, 1);
  for (uint32_t round = 0; round < 9; round++) {
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      keys.words[0][i] = far_apart(i);
      keys.valid[i] = 1;
    }
    join_table_find(&t, &keys, BLOCK_ROWS);
  }
  CHECK_INT(keys.bloom_asked, 8 * BLOCK_ROWS);
  CHECK_INT(found_from(&t, &keys, MANY_ROWS, BLOCK_ROWS), 0);
  CHECK_INT(keys.bloom_asked, 8 * BLOCK_ROWS);
  join_table_release(&t);
  arena_release(&arena);
  CHECK_INT(memory_blocks_held(), 0);
}
