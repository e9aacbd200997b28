/* Numbers by their words, against insertion into a sorted list. */
#include "base/word_sort.h"

#include "tests/support/test.h"

enum { MOST = 3000 };

/* Words of a kind: few different ones, many, high digits alone, ascending already. */
static uint64_t word_of(int kind, uint64_t i, uint64_t *random) {
  uint64_t n = test_random(random);
  if (kind == 0) return n % 5;
  if (kind == 1) return n;
  if (kind == 2) return n << 50;
  return i / 3;
}

static void check_sorted(int kind, size_t count, uint64_t *random) {
  static NumberedWord given[MOST], words[MOST], room[MOST], expected[MOST];
  for (size_t i = 0; i < count; i++) words[i] = given[i] = (NumberedWord){ word_of(kind, i, random), (uint32_t)i };
  for (size_t i = 0; i < count; i++) { /* behind all that are not greater */
    size_t at = i;
    for (; at && expected[at - 1].word > given[i].word; at--) expected[at] = expected[at - 1];
    expected[at] = given[i];
  }
  const NumberedWord *sorted = words_sort(words, room, count);
  CHECK(sorted == words || sorted == room);
  for (size_t i = 0; i < count; i++)
    if (sorted[i].word != expected[i].word || sorted[i].number != expected[i].number) CHECK_INT(i, -1);
}

TEST(word_sort, words_ascend_and_equal_ones_stay_as_they_came) {
  uint64_t random = 5;
  static const size_t counts[] = { 0, 1, 2, 48, 49, 700, MOST };
  for (int kind = 0; kind < 4; kind++)
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) check_sorted(kind, counts[c], &random);
}
