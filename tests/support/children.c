#include "tests/support/children.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TURNS_IN = 198, TURNS_OUT = 199, NOBODY = 65534, MEMBER = 65533 };

extern char **environ;
static Role *roles;

void role_register_(Role *role) {
  role->next = roles;
  roles = role;
}

/* ---- in a child ---- */

bool next_turn(void) {
  char c;
  return read(TURNS_IN, &c, 1) == 1;
}

void turn_done(void) { CHECK_INT(write(TURNS_OUT, "d", 1), 1); }

int64_t role_number(void) {
  const char *number = getenv("COLONNADE_TEST_NUMBER");
  return number ? strtoll(number, NULL, 10) : 0;
}

/* After the constructors that register roles, which have a priority. */
__attribute__((constructor)) static void play_role(void) {
  const char *name = getenv("COLONNADE_TEST_ROLE"), *path = getenv("COLONNADE_TEST_PATH");
  if (!name || !path) return;
  for (const Role *r = roles; r; r = r->next) {
    if (strcmp(name, r->name) != 0) continue;
    unsetenv("COLONNADE_TEST_ROLE");
    r->play(path);
    fflush(NULL);
    _exit(0);
  }
  _exit(98);
}

/* ---- in the parent ---- */

static bool live_as(uid_t user, gid_t group, size_t group_count, const gid_t *groups) {
  return setgroups(group_count, groups) == 0 && setresgid(group, group, group) == 0 && setresuid(user, user, user) == 0;
}

static bool change_user(int flags) {
  static const gid_t strangers[] = { STRANGERS_GROUP };
  if (flags & CHILD_MEMBER) return live_as(MEMBER, MEMBER, 1, strangers);
  return !(flags & CHILD_STRANGER) || geteuid() != 0 || live_as(NOBODY, STRANGERS_GROUP, 0, NULL);
}

static void become(const char *role, const char *path, int flags, int64_t number, int in, int out) {
  char text[32];
  snprintf(text, sizeof text, "%" PRId64, number);
  dup2(in, TURNS_IN);
  dup2(out, TURNS_OUT);
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* before the rights go */
  for (int fd = 3; fd < TURNS_IN; fd++)
    if (fd != self) close(fd);
  if (!change_user(flags)) _exit(97);
  setenv("COLONNADE_TEST_ROLE", role, 1);
  setenv("COLONNADE_TEST_PATH", path, 1);
  setenv("COLONNADE_TEST_NUMBER", text, 1);
  char *arguments[] = { (char *)"child", NULL };
  fexecve(self, arguments, environ);
  _exit(99);
}

Child child_start_with(const char *role, const char *path, int flags, int64_t number) {
  int in[2], out[2];
  (void)signal(SIGPIPE, SIG_IGN); /* of a child that is gone give_turn tells */
  CHECK_INT(pipe2(in, O_CLOEXEC), 0);
  CHECK_INT(pipe2(out, O_CLOEXEC), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) become(role, path, flags, number, in[0], out[1]);
  close(in[0]);
  close(out[1]);
  return (Child){ child, in[1], out[0] };
}

Child child_start(const char *role, const char *path) { return child_start_with(role, path, 0, 0); }

/* A child that is gone where it should take or owe a turn: says how it ended. */
static void child_is_gone(const Child *c) {
  process_ended_well(c->process);
  CHECK(c->process == 0); /* it ended well, and too early */
}

void give_turn(Child *c) {
  if (write(c->to, "t", 1) != 1) child_is_gone(c);
}

void wait_for_turn(Child *c) {
  char done;
  if (read(c->from, &done, 1) != 1) child_is_gone(c);
}

void turn(Child *c) {
  give_turn(c);
  wait_for_turn(c);
}

void process_ended_well(pid_t process) {
  int how;
  CHECK_INT(waitpid(process, &how, 0), process);
  if (WIFSIGNALED(how)) CHECK_INT(WTERMSIG(how), 0);
  CHECK(WIFEXITED(how));
  CHECK_INT(WEXITSTATUS(how), 0);
}

void child_finish(Child *c) {
  close(c->to);
  process_ended_well(c->process);
  close(c->from);
}

void child_was_killed(Child *c) {
  int how;
  CHECK_INT(waitpid(c->process, &how, 0), c->process);
  CHECK(WIFSIGNALED(how));
  CHECK_INT(WTERMSIG(how), SIGKILL);
  close(c->to);
  close(c->from);
}

void child_kill(Child *c) {
  CHECK_INT(kill(c->process, SIGKILL), 0);
  child_was_killed(c);
}

void turn_together(Child *children, int count) {
  for (int i = 0; i < count; i++) give_turn(&children[i]);
  for (int i = 0; i < count; i++) wait_for_turn(&children[i]);
}

void children_finish(Child *children, int count) {
  for (int i = 0; i < count; i++) child_finish(&children[i]);
}

uint64_t test_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
