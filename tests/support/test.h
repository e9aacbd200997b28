/* test.h - how a test of this project is written, over Criterion or (COLONNADE_PLAIN_TESTS) over nothing at all.
 *
 *   TEST(row_run, get_finds_every_key) {
 *     CHECK_OK(row_run_open(...));
 *     CHECK_INT(found, expected);
 *   }
 *
 * Every CHECK stops its test when it fails and says file, line, expression and values. Each test runs in a process of
 * its own. In a child that the test itself forked, a failed CHECK prints and ends the child with code 1; in a thread
 * that the test started, it ends the whole test.
 *
 * The plain form is an ordinary program: `test_x [--no-fork] [--list] [suite/name-glob ...]`; it prints a line a test
 * and `N passed, N failed` at the end. It exists because Criterion does not start under ThreadSanitizer, and passes a
 * test whose leaks AddressSanitizer has found. */
#ifndef COLONNADE_TESTS_SUPPORT_TEST_H
#define COLONNADE_TESTS_SUPPORT_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

/* The next number of a sequence (splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
 * 2014). Any seed will do. */
uint64_t test_random(uint64_t *state);
/* One in [0, bound); bound above 0. (By modulo: the bias does not matter to a test.) */
uint64_t test_random_below(uint64_t *state, uint64_t bound);
/* How much of a random campaign to run: 1.0, 0.1 under a sanitizer, or what COLONNADE_TEST_SCALE says. */
double test_scale(void);
/* Whether the program is built with the thread sanitizer. */
bool test_threads_are_watched(void);
/* `count` at this scale, at least 1. */
uint64_t test_scaled(uint64_t count);
/* A fresh, empty directory of this test, removed with all that is in it when the test ends. The same at every call. */
const char *test_directory(void);

#define CHECK(condition) ((condition) ? (void)0 : test_fail_(__FILE__, __LINE__, #condition, "is false"))
#define CHECK_INT(actual, expected) \
  test_check_int_(__FILE__, __LINE__, #actual, (long long)(actual), #expected, (long long)(expected))
#define CHECK_STR(actual, expected) test_check_str_(__FILE__, __LINE__, #actual, (actual), #expected, (expected))
#define CHECK_BYTES(actual, expected, length) \
  test_check_bytes_(__FILE__, __LINE__, #actual, (actual), #expected, (expected), (length))
#define CHECK_OK(call)               test_check_status_(__FILE__, __LINE__, #call, (call), KVSTORE_OK)
#define CHECK_STATUS(call, expected) test_check_status_(__FILE__, __LINE__, #call, (call), (expected))
/* Ends the test as skipped: `reason` says what this machine lacks. */
#define SKIP(reason) test_skip_(reason)

/* ---- what the macros use ---- */
_Noreturn void test_fail_(const char *file, int line, const char *expression, const char *format, ...)
  PRINTF_LIKE(4, 5);
_Noreturn void test_skip_(const char *reason);
void test_check_int_(const char *file, int line, const char *expression, long long actual, const char *expected_text,
                     long long expected);
void test_check_str_(const char *file, int line, const char *expression, const char *actual, const char *expected_text,
                     const char *expected);
void test_check_bytes_(const char *file, int line, const char *expression, const void *actual,
                       const char *expected_text, const void *expected, size_t length);
void test_check_status_(const char *file, int line, const char *expression, Status actual, Status expected);
void test_begin_(void);
void test_end_(void);

#ifdef COLONNADE_PLAIN_TESTS

typedef struct TestCase {
  const char *suite, *name;
  void (*run)(void);
  struct TestCase *next;
} TestCase;
void test_register_(TestCase *test);

#define TEST(suite, name)                                                          \
  static void test_##suite##__##name(void);                                        \
  __attribute__((constructor)) static void test_register_##suite##__##name(void) { \
    static TestCase test_case = { #suite, #name, test_##suite##__##name, NULL };   \
    test_register_(&test_case);                                                    \
  }                                                                                \
  static void test_##suite##__##name(void)

#else

#include <criterion/criterion.h>

#define TEST(suite, name) Test(suite, name, .init = test_begin_, .fini = test_end_)

#endif
#endif
