/* children.h - real processes for tests: this program again, executed with a role in its environment. A child shares
 * nothing with the parent but files, and a pipe each way for turns.
 *
 *   ROLE(reader) { while (next_turn()) { look(path); turn_done(); } }
 *
 *   TEST(...) { Child child = child_start("reader", path); turn(&child); child_finish(&child); }
 *
 * A role runs before main, so that a child never becomes a test program; it ends with code 0 when its function returns
 * and with 1 at a failed CHECK. */
#ifndef COLONNADE_TESTS_SUPPORT_CHILDREN_H
#define COLONNADE_TESTS_SUPPORT_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/support/test.h"

typedef struct Role {
  const char *name;
  void (*play)(const char *path);
  struct Role *next;
} Role;
void role_register_(Role *role);

#define ROLE(name)                                                      \
  static void play_##name(const char *path);                            \
  __attribute__((constructor(1000))) static void role_of_##name(void) { \
    static Role role = { #name, play_##name, NULL };                    \
    role_register_(&role);                                              \
  }                                                                     \
  static void play_##name(const char *path)

/* ---- in a child ---- */
bool next_turn(void); /* waits for a turn; false when there are no more */
void turn_done(void);
/* A number that the parent gave with child_start_with. */
int64_t role_number(void);

/* ---- in the parent ---- */
typedef struct Child {
  pid_t process;
  int to, from; /* a byte to it is a turn; a byte from it says that the turn is done */
} Child;

enum { STRANGERS_GROUP = 65534 };
enum {
  CHILD_STRANGER = 1, /* as another user, when this one is the superuser; else the caller has taken the rights away */
  CHILD_MEMBER = 2,   /* as a third user, who is in the stranger's group too; needs the superuser */
};
Child child_start(const char *role, const char *path);
Child child_start_with(const char *role, const char *path, int flags, int64_t number);
void give_turn(Child *c);
void wait_for_turn(Child *c);
void turn(Child *c);
void child_finish(Child *c); /* no more turns; it must end with code 0 */
void child_kill(Child *c);
void child_was_killed(Child *c); /* by itself: waits until it is dead */
/* All of them at once. */
void turn_together(Child *children, int count);
void children_finish(Child *children, int count);
void process_ended_well(pid_t process); /* waits for it; code 0 */

/* Monotonic, for bounds. */
uint64_t test_now_ms(void);

#endif
