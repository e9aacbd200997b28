/* Strings to ids: many at once as one by one. */
#include "query/id_map.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/test.h"

enum { STRINGS = 5000, LONGEST = 24 };

static char texts[STRINGS][LONGEST];
static Bytes strings[STRINGS];

/* About a third of them different, some of them twice in a row, one of them empty. */
static void make_strings(void) {
  uint32_t number = 1;
  for (uint32_t i = 0; i < STRINGS; i++) {
    if (i % 7) number = number * 1664525 + 1013904223;
    int length = snprintf(texts[i], LONGEST, "name %u", (number >> 8) % 2000);
    strings[i] = (Bytes){ (const uint8_t *)texts[i], i == 77 ? 0 : (size_t)length };
  }
}

TEST(id_map, many_strings_have_the_ids_that_each_of_them_would_have) {
  BytesMap one = { 0 }, many = { 0 };
  static uint32_t ids[STRINGS];
  uint32_t id;
  make_strings();
  for (uint32_t at = 0, count = 1; at < STRINGS; at += count, count = count * 2 + 1) { /* 1, 3, 7 and so on */
    if (count > STRINGS - at) count = STRINGS - at;
    CHECK_OK(bytes_map_add_many(&many, strings + at, count, false, ids + at));
  }
  for (uint32_t i = 0; i < STRINGS; i++) {
    CHECK_OK(bytes_map_add(&one, strings[i], false, &id));
    CHECK_INT(ids[i], id);
  }
  CHECK_INT(many.count, one.count);
  CHECK(many.count > 1000 && many.count < 2001);
  for (uint32_t i = 0; i < many.count; i++)
    CHECK(many.strings[i].length == one.strings[i].length &&
          memcmp(many.strings[i].data, one.strings[i].data, one.strings[i].length) == 0);
  bytes_map_release(&one);
  bytes_map_release(&many);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(id_map, a_frozen_map_knows_what_it_has) {
  BytesMap map = { 0 };
  static uint32_t ids[STRINGS];
  make_strings();
  CHECK_OK(bytes_map_add_many(&map, strings, 50, false, ids));
  uint32_t count = map.count, first = ids[0], fortieth = ids[40];
  const Bytes asked[] = { strings[0], { (const uint8_t *)"nobody", 6 }, strings[40] };
  CHECK_OK(bytes_map_add_many(&map, asked, 3, true, ids));
  CHECK_INT(ids[0], first);
  CHECK_INT(ids[1], ID_NONE);
  CHECK_INT(ids[2], fortieth);
  CHECK_INT(map.count, count);
  bytes_map_release(&map);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Texts of one length that differ in a single byte, wherever that is, and those of their lengths that begin or end
 * alike. */
TEST(id_map, strings_are_told_apart_by_every_byte_and_their_length) {
  enum { LENGTHS = 41, ALL = LENGTHS * (LENGTHS + 1) / 2 };
  static uint8_t bytes[ALL][LENGTHS];
  Bytes all[ALL];
  static uint32_t ids[ALL];
  BytesMap map = { 0 };
  uint32_t count = 0;
  for (uint32_t length = 0; length < LENGTHS; length++) {
    for (uint32_t other = 0; other <= length; other++) { /* the byte at `other` is one; behind the last: none is */
      if (other < length) bytes[count][other] = 1;
      all[count] = (Bytes){ bytes[count], length };
      count++;
    }
  }
  CHECK_OK(bytes_map_add_many(&map, all, count, false, ids));
  CHECK_INT(map.count, count);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t id;
    CHECK_INT(ids[i], i);
    CHECK_OK(bytes_map_add(&map, all[i], true, &id));
    CHECK_INT(id, i);
  }
  CHECK_INT(map.count, count);
  bytes_map_release(&map);
  CHECK_INT(memory_blocks_held(), 0);
}

/* 0 is what free slots have, too. */
TEST(id_map, words_of_all_kinds_have_the_ids_in_which_they_come) {
  enum { WORDS = 30000 };
  static uint64_t words[WORDS];
  static uint32_t ids[WORDS];
  IdMap map = { 0 };
  uint32_t id;
  for (uint32_t i = 0; i < WORDS; i++) words[i] = i % 3 == 0 ? i : i % 3 == 1 ? (uint64_t)i << 32 : UINT64_MAX - i;
  const uint64_t zero = 0;
  CHECK_OK(id_map_add(&map, &zero, 1, true, &id));
  CHECK_INT(id, ID_NONE);
  for (uint32_t at = 0; at < WORDS; at += 1000) CHECK_OK(id_map_add(&map, words + at, 1000, false, ids + at));
  CHECK_INT(map.count, WORDS);
  for (uint32_t i = 0; i < WORDS; i++) CHECK(ids[i] == i && map.words[i] == words[i]);
  CHECK_OK(id_map_add(&map, words, WORDS, true, ids));
  for (uint32_t i = 0; i < WORDS; i++) CHECK_INT(ids[i], i);
  CHECK_OK(id_map_add(&map, &(uint64_t){ 1 }, 1, true, &id));
  CHECK_INT(id, ID_NONE);
  id_map_release(&map);
  CHECK_INT(memory_blocks_held(), 0);
}
