#include "base/assert.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/test.h"

static int seen_pipe;

static void tell(const char *condition, const char *rule, const char *file, int line) {
  char text[200];
  int length = snprintf(text, sizeof text, "%s|%s|%d|%d", condition, rule, line > 0, file != NULL);
  if (write(seen_pipe, text, (size_t)length) != length) _exit(2);
  _exit(9);
}

TEST(assert, a_broken_invariant_calls_the_handler_with_its_rule) {
  int ends[2], status;
  CHECK_INT(pipe(ends), 0);
  pid_t child = fork();
  if (child == 0) {
    seen_pipe = ends[1];
    assert_handler_set(tell);
    int value = 1;
    ASSERT(value == 1, "X-1");
    ASSERT(value == 2, "X-2");
    _exit(0);
  }
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
  char text[200] = "";
  CHECK(read(ends[0], text, sizeof text - 1) > 0);
  CHECK_STR(text, "value == 2|X-2|1|1");
}

static void returns(const char *condition, const char *rule, const char *file, int line) {
  (void)condition, (void)rule, (void)file, (void)line;
}

TEST(assert, aborts_without_a_handler_and_after_one_that_returns) {
  for (int round = 0; round < 2; round++) {
    int status;
    pid_t child = fork();
    if (child == 0) {
      signal(SIGABRT, SIG_DFL);
      if (!freopen("/dev/null", "w", stderr)) _exit(2);
      assert_handler_set(round ? returns : NULL);
      assert_failed("x", "X-3", "file.c", 1);
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  }
}
