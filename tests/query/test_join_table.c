/* Hashed tables of joins: the rows of a key in their order, whether or not several have it. */
#include "query/join_table.h"

#include "base/counters.h"
#include "base/memory.h"
#include "tests/support/test.h"

enum { ROWS_MAX = 5 };

/* Rows with these keys, times `step`: next to each other they have a number each, far apart they are hashed. */
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
  static const uint64_t steps[] = { 1, UINT64_C(1) << 40 };
  for (size_t s = 0; s < 2; s++) {
    JoinTable t;
    JoinKeys keys;
    Arena arena = { 0 };
    uint32_t rows[ROWS_MAX];
    uint64_t unique = counter_get(COUNTER_joins_unique), direct = counter_get(COUNTER_joins_direct);
    table_of(&t, &keys, &arena, words, count, steps[s]);
    CHECK_INT(counter_get(COUNTER_joins_unique) - unique, is_unique);
    CHECK_INT(counter_get(COUNTER_joins_direct) - direct, s == 0);
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
