#include "base/status.h"

#include <pthread.h>
#include <stdio.h>

#include "tests/support/test.h"

TEST(status, starts_empty) {
  status_clear();
  CHECK_INT(status_last()->code, KVSTORE_OK);
  CHECK_STR(status_last()->text, "");
  CHECK(status_last()->row == UINT64_MAX);
}

TEST(status, fail_records_and_returns) {
  CHECK_INT(status_fail(KVSTORE_CORRUPT, "page %d of %s", 7, "x.db"), KVSTORE_CORRUPT);
  CHECK_INT(status_last()->code, KVSTORE_CORRUPT);
  CHECK_STR(status_last()->text, "page 7 of x.db");
}

TEST(status, set_takes_a_sentence_as_it_stands_and_forgets_where_the_former_was) {
  CHECK_INT(status_fail_at(KVSTORE_TYPE, 7, "column", "value", "former"), KVSTORE_TYPE);
  CHECK_INT(status_set(KVSTORE_NOTFOUND, "100 %s"), KVSTORE_NOTFOUND);
  CHECK_INT(status_last()->code, KVSTORE_NOTFOUND);
  CHECK_STR(status_last()->text, "100 %s");
  CHECK_STR(status_last()->column, "");
  CHECK_STR(status_last()->value, "");
  CHECK(status_last()->row == UINT64_MAX);
  CHECK_INT(status_set(KVSTORE_BUSY, status_last()->text), KVSTORE_BUSY);
  CHECK_STR(status_last()->text, "100 %s");
}

TEST(status, a_later_failure_forgets_where_the_former_was) {
  CHECK_INT(status_fail_at(KVSTORE_TYPE, 12, "age", "old", "not a number"), KVSTORE_TYPE);
  CHECK_INT(status_last()->row, 12);
  CHECK_STR(status_last()->column, "age");
  CHECK_STR(status_last()->value, "old");
  status_fail(KVSTORE_IO, "read");
  CHECK(status_last()->row == UINT64_MAX);
  CHECK_STR(status_last()->column, "");
  CHECK_STR(status_last()->value, "");
}

TEST(status, context_goes_in_front) {
  status_fail_at(KVSTORE_TYPE, 3, "c", "v", "bad literal");
  CHECK_INT(status_context(KVSTORE_TYPE, "importing %s", "a.csv"), KVSTORE_TYPE);
  CHECK_STR(status_last()->text, "importing a.csv: bad literal");
  CHECK_INT(status_last()->row, 3);
  CHECK_STR(status_last()->column, "c");
}

TEST(status, an_argument_may_be_the_last_text_itself) {
  status_fail(KVSTORE_IO, "inner");
  status_fail_at(KVSTORE_ERROR, 1, status_last()->text, status_last()->text, "outer(%s)", status_last()->text);
  CHECK_STR(status_last()->text, "outer(inner)");
  CHECK_STR(status_last()->column, "inner");
  status_fail_at(KVSTORE_ERROR, 1, status_last()->column, status_last()->value, "again");
  CHECK_STR(status_last()->column, "inner");
  CHECK_STR(status_last()->value, "inner");
}

static bool ends_in_a_whole_character(const char *text) {
  while (*text) {
    unsigned char lead = (unsigned char)*text++;
    for (int left = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0; left > 0; left--) {
      if (((unsigned char)*text++ & 0xC0) != 0x80) return false;
    }
  }
  return true;
}

/* Texts of 1-, 2-, 3- and 4-byte characters, shifted by every offset, so that the cut falls everywhere inside one. */
TEST(status, long_texts_are_cut_at_a_whole_character) {
  static const char *characters[] = { "x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x8E\x89" };
  for (size_t kind = 0; kind < 4; kind++) {
    size_t width = strlen(characters[kind]);
    for (size_t shift = 0; shift < 4; shift++) {
      char text[1200] = "";
      for (size_t i = 0; i < shift; i++) text[i] = '.';
      for (size_t at = shift; at + width < sizeof text; at += width) memcpy(text + at, characters[kind], width + 1);
      size_t expected_text = shift + (STATUS_TEXT_MAX - 1 - shift) / width * width;
      size_t expected_name = shift + (STATUS_NAME_MAX - 1 - shift) / width * width;
      status_fail_at(KVSTORE_TYPE, 0, text, text, "%s", text);
      CHECK_INT(strlen(status_last()->text), expected_text);
      CHECK_INT(strlen(status_last()->column), expected_name);
      CHECK_INT(strlen(status_last()->value), expected_name);
      status_context(KVSTORE_TYPE, "in %s", "front");
      CHECK(ends_in_a_whole_character(status_last()->text));
      CHECK(strlen(status_last()->text) > STATUS_TEXT_MAX - 1 - width);
      status_context(KVSTORE_TYPE, "%s", text);
      CHECK(ends_in_a_whole_character(status_last()->text));
      CHECK(strlen(status_last()->text) > STATUS_TEXT_MAX - 1 - width);
    }
  }
}

static void *fail_elsewhere(void *unused) {
  (void)unused;
  status_fail(KVSTORE_FULL, "elsewhere");
  return NULL;
}

TEST(status, each_thread_has_its_own) {
  status_fail(KVSTORE_BUSY, "here");
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
  pthread_join(thread, NULL);
  CHECK_STR(status_last()->text, "here");
}

TEST(status, every_code_has_its_text_and_name) {
  CHECK_STR(status_text(KVSTORE_NOTFOUND), "not found");
  CHECK_STR(status_name(KVSTORE_NOTFOUND), "NOTFOUND");
  CHECK_STR(status_name(KVSTORE_OK), "OK");
  CHECK_STR(status_text(2), "unknown status");
  CHECK_STR(status_name(-1), "UNKNOWN");
}

TEST(status, out_of_memory_says_so) {
  CHECK_INT(status_nomem(), KVSTORE_NOMEM);
  CHECK_STR(status_last()->text, "out of memory");
}

TEST(status, a_failure_that_was_kept_is_put_back_with_all_that_it_names) {
  status_record_at(KVSTORE_CONSTRAINT, 7, "id", "12", "a row with this key is there already");
  Failure kept = *status_last();
  status_fail(KVSTORE_NOTFOUND, "nobody's business");
  status_restore(&kept);
  CHECK_INT(status_last()->code, KVSTORE_CONSTRAINT);
  CHECK_INT(status_last()->row, 7);
  CHECK_STR(status_last()->column, "id");
  CHECK_STR(status_last()->value, "12");
  CHECK_STR(status_last()->text, "a row with this key is there already");
}
