#include "tests/support/test.h"

#include <fnmatch.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sanitizers.h"

enum { EXIT_SKIPPED = 77, MESSAGE_MAX = 4096, BYTES_SHOWN = 24 };

static pid_t test_process;
static pthread_t test_thread;
static char directory[PATH_MAX];

uint64_t test_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

uint64_t test_random_below(uint64_t *state, uint64_t bound) { return test_random(state) % bound; }

double test_scale(void) {
  const char *asked = getenv("COLONNADE_TEST_SCALE");
  double scale = asked ? strtod(asked, NULL) : 0;
  if (scale > 0) return scale;
#if defined(SANITIZES_ADDRESSES) || defined(SANITIZES_THREADS)
  return 0.1;
#else
  return 1.0;
#endif
}

bool test_threads_are_watched(void) {
#ifdef SANITIZES_THREADS
  return true;
#else
  return false;
#endif
}

uint64_t test_scaled(uint64_t count) {
  double scaled = (double)count * test_scale();
  return scaled < 1 ? 1 : (uint64_t)scaled;
}

const char *test_directory(void) {
  if (directory[0]) return directory;
  const char *parent = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/colonnade-test-XXXXXX", parent && parent[0] ? parent : "/tmp");
  if (!mkdtemp(directory)) {
    char wanted[PATH_MAX];
    memcpy(wanted, directory, sizeof wanted);
    directory[0] = 0;
    test_fail_(__FILE__, __LINE__, "mkdtemp", "cannot make the directory %s", wanted);
  }
  return directory;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk) {
  (void)st, (void)kind, (void)walk;
  remove(path);
  return 0;
}

void test_begin_(void) {
  test_process = getpid();
  test_thread = pthread_self();
}

void test_end_(void) {
  if (directory[0] && getpid() == test_process) nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  directory[0] = 0;
}

/* ---- how a test ends early ---- */

#ifdef COLONNADE_PLAIN_TESTS

static bool in_process; /* --no-fork */
static jmp_buf test_exit;

_Noreturn static void leave(int code, const char *message) {
  (void)message;
  fflush(NULL);
  if (in_process && pthread_equal(pthread_self(), test_thread)) longjmp(test_exit, code);
  if (in_process) abort();
  test_end_();
  _exit(code);
}

#else

_Noreturn static void leave(int code, const char *message) {
  if (!pthread_equal(pthread_self(), test_thread)) abort();
  if (code == EXIT_SKIPPED) cr_skip_test("%s", message);
  cr_assert_fail("%s", message);
  abort();
}

#endif

_Noreturn void test_fail_(const char *file, int line, const char *expression, const char *format, ...) {
  char message[MESSAGE_MAX];
  int at = snprintf(message, sizeof message, "%s:%d: %s: ", file, line, expression);
  if (at >= 0 && at < MESSAGE_MAX) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message + at, sizeof message - (size_t)at, format, arguments);
    va_end(arguments);
  }
  fprintf(stderr, "%s\n", message);
  if (getpid() != test_process) _exit(1);
  leave(EXIT_FAILURE, message);
}

_Noreturn void test_skip_(const char *reason) {
  fprintf(stderr, "skipped: %s\n", reason);
  leave(EXIT_SKIPPED, reason);
}

/* ---- checks ---- */

void test_check_int_(const char *file, int line, const char *expression, long long actual, const char *expected_text,
                     long long expected) {
  if (actual == expected) return;
  test_fail_(file, line, expression, "is %lld (0x%llx), not %s = %lld (0x%llx)", actual, (unsigned long long)actual,
             expected_text, expected, (unsigned long long)expected);
}

void test_check_str_(const char *file, int line, const char *expression, const char *actual, const char *expected_text,
                     const char *expected) {
  if (actual == expected || (actual && expected && strcmp(actual, expected) == 0)) return;
  test_fail_(file, line, expression, "is \"%s\", not %s = \"%s\"", actual ? actual : "(NULL)", expected_text,
             expected ? expected : "(NULL)");
}

static void show_bytes(const uint8_t *bytes, size_t length, char *out) {
  for (size_t i = 0; i < length && i < BYTES_SHOWN; i++, out += 3) snprintf(out, 4, "%02x ", bytes[i]);
  *out = 0;
}

void test_check_bytes_(const char *file, int line, const char *expression, const void *actual,
                       const char *expected_text, const void *expected, size_t length) {
  if (length == 0 || (actual && expected && memcmp(actual, expected, length) == 0)) return;
  if (!actual || !expected) test_fail_(file, line, expression, "%s is NULL", actual ? expected_text : "it");
  const uint8_t *a = actual, *e = expected;
  size_t at = 0;
  while (a[at] == e[at]) at++;
  char a_text[BYTES_SHOWN * 3 + 1], e_text[BYTES_SHOWN * 3 + 1];
  show_bytes(a + at, length - at, a_text);
  show_bytes(e + at, length - at, e_text);
  test_fail_(file, line, expression, "differs from %s at byte %zu of %zu:\n   is %s\n  not %s", expected_text, at,
             length, a_text, e_text);
}

void test_check_status_(const char *file, int line, const char *expression, Status actual, Status expected) {
  if (actual == expected) return;
  test_fail_(file, line, expression, "returned %s (%d), not %s (%d); the last sentence: %s", status_name(actual),
             actual, status_name(expected), expected, status_last()->text);
}

/* ---- the plain runner ---- */

#ifdef COLONNADE_PLAIN_TESTS

static TestCase *first_test, **last_test = &first_test;

void test_register_(TestCase *test) {
  *last_test = test;
  last_test = &test->next;
}

static int run_in_process(const TestCase *test) {
  test_begin_();
  int code = setjmp(test_exit);
  if (code == 0) test->run();
  test_end_();
  return code;
}

static int run_in_child(const TestCase *test) {
  fflush(NULL);
  pid_t child = fork();
  if (child < 0) return EXIT_FAILURE;
  if (child == 0) {
    test_begin_();
    test->run();
    test_end_();
    exit(0); /* not _exit: the leak checker runs at exit */
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  fprintf(stderr, "%s/%s: ended by signal %d\n", test->suite, test->name, WTERMSIG(status));
  return EXIT_FAILURE;
}

static bool wanted(const TestCase *test, char **globs, int glob_count) {
  char name[512];
  snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
  for (int i = 0; i < glob_count; i++) {
    if (fnmatch(globs[i], name, 0) == 0) return true;
  }
  return glob_count == 0;
}

int main(int argc, char **argv) {
  bool list = false;
  int at = 1;
  for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
    if (strcmp(argv[at], "--no-fork") == 0)
      in_process = true;
    else if (strcmp(argv[at], "--list") == 0)
      list = true;
    else {
      fprintf(stderr, "usage: %s [--no-fork] [--list] [suite/name-glob ...]\n", argv[0]);
      return 2;
    }
  }
  int passed = 0, failed = 0, skipped = 0;
  for (const TestCase *test = first_test; test; test = test->next) {
    if (!wanted(test, argv + at, argc - at)) continue;
    if (list) {
      printf("%s/%s\n", test->suite, test->name);
      continue;
    }
    int code = in_process ? run_in_process(test) : run_in_child(test);
    printf("%s %s/%s\n", code == 0 ? "pass" : code == EXIT_SKIPPED ? "skip" : "FAIL", test->suite, test->name);
    if (code == 0)
      passed++;
    else if (code == EXIT_SKIPPED)
      skipped++;
    else
      failed++;
  }
  if (list) return 0;
  if (skipped) printf("%d skipped, ", skipped);
  printf("%d passed, %d failed\n", passed, failed);
  if (passed + failed + skipped == 0) {
    fprintf(stderr, "no test of that name\n");
    return EXIT_FAILURE;
  }
  return failed ? EXIT_FAILURE : skipped && !passed ? EXIT_SKIPPED : 0;
}

#else

/* Criterion starts libgit2 in the process of each case, which reads the certificates of the system: 10 of 24 ms. It is
 * there for the differences that Criterion's own assertions print, and the CHECKs do without: it is not started. */
int git_libgit2_init(void);
int git_libgit2_shutdown(void);
__attribute__((visibility("default"))) int git_libgit2_init(void) { return 1; }
__attribute__((visibility("default"))) int git_libgit2_shutdown(void) { return 0; }

#endif
