/* numbers.h - a store of numbers, for tests of several processes: whoever looks can say what it must find.
 *
 *   keys       of the default family, each with a number of 8 bytes
 *   amounts    the table `t`: id i64 (its key), amount i64; tests write the same amount into many rows at once, so that
 *              rows and total name the commit */
#ifndef COLONNADE_TESTS_MODEL_NUMBERS_H
#define COLONNADE_TESTS_MODEL_NUMBERS_H

#include "engine/engine.h"
#include "tests/support/test.h"

/* The store of this test, in its directory. */
const char *store_path(void);
/* A log so small that it is gone round often; NORMAL, and a busy timeout that is long for any machine. The journal mode
 * is WAL, unless another was chosen. */
StoreOptions small_log_options(void);
/* Of the options above, in this process and in the children that it starts from now on. */
void use_journal_mode(int mode);
/* Two tests of one body: the second has the log inside the store's file. */
#define TEST_IN_BOTH_JOURNAL_MODES(suite, name)            \
  static void suite##_##name##_in_either_mode(void);       \
  TEST(suite, name) { suite##_##name##_in_either_mode(); } \
  TEST(suite, name##_with_the_log_inside) {                \
    use_journal_mode(JOURNAL_DELETE);                      \
    suite##_##name##_in_either_mode();                     \
  }                                                        \
  static void suite##_##name##_in_either_mode(void)
Session *opened_with(const char *path, StoreOptions options);

Status try_put_number(Session *s, const char *key, int64_t number) MUST_CHECK;
void put_number(Session *s, const char *key, int64_t number);
int64_t get_number(Session *s, const char *key); /* -1: not there */

uint32_t amounts_table(Session *s); /* made when it is missing */
/* The rows first to first + count - 1. Enough of them outgrow a record, and become a run that the record adopts. */
void upsert_amounts(Session *s, int64_t first, uint32_t count, int64_t amount);
void total_amounts(Session *s, uint64_t *rows, int64_t *sum);

#endif
