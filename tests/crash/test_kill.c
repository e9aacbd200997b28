/* SIGKILL: a child process works on a store in a real directory and tells each acknowledged transaction through a pipe;
 * it is killed at a random moment, or at a named crash point. The next child, which knows nothing but the file, must
 * find what was acknowledged, at every sync level, and at most the one transaction that was on its way.
 *
 * The parent never opens a store. It follows by making the same random transactions (workload.h) for as many as were
 * acknowledged. A child is forked and not executed anew: it has no store, no thread and no lock of a former life. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/counters.h"
#include "tests/crash/workload.h"
#include "tests/support/test.h"

enum { LIVES_OF_A_STORE = 40, STEPS_MAX = 60, POINTS_MAX = 64, CANDIDATES = 2, NO_POINT = -1 };

/* ---- what a child says ---- */

typedef enum SaidKind { SAID_VERIFIED = 1, SAID_DONE, SAID_POINT, SAID_WRONG } SaidKind;

typedef struct Said { /* below PIPE_BUF: written whole or not at all */
  SaidKind kind;
  uint32_t number; /* VERIFIED: which candidate; DONE: transactions acknowledged so far */
  char text[248];  /* WRONG: how */
} Said;

static int said_to;

static void say(SaidKind kind, uint32_t number, const char *text) {
  Said said = { .kind = kind, .number = number };
  snprintf(said.text, sizeof said.text, "%s", text);
  if (write(said_to, &said, sizeof said) != (ssize_t)sizeof said) _exit(3);
}

static _Noreturn void say_wrong(const char *what, Status status) {
  char text[240];
  snprintf(text, sizeof text, "%s: %s: %.180s", what, status_name(status), status_last()->text);
  say(SAID_WRONG, 0, text);
  _exit(2);
}

/* ---- crash points ---- */

static int armed_point;
static uint64_t armed_hit;

static void die_at_point(Counter which, uint64_t hits) {
  if ((int)which != armed_point || hits != armed_hit) return;
  say(SAID_POINT, (uint32_t)which, "");
  kill(getpid(), SIGKILL);
}

static int crash_points(Counter points[POINTS_MAX]) {
  int count = 0;
  for (int i = 0; i < COUNTER_COUNT; i++)
    if (strncmp(counter_name((Counter)i), "crash_", 6) == 0) points[count++] = (Counter)i;
  return count;
}

/* ---- the life of a child ---- */

typedef struct Life {
  uint64_t seed;
  const char *path;
  const Oracle *candidates; /* CANDIDATES of them: the store is at one */
} Life;

static Workload workload_of(uint64_t seed, uint32_t first_stamp) {
  return (Workload){ .random = seed, .next_stamp = first_stamp, .bulk_one_in = 400, .loads = true, .large_one_in = 25 };
}

/* A store is plain, or sealed by one of two passwords: whichever a change of the life before left. */
static const char *const passwords[] = { NULL, "one", "two" };
enum { PASSWORDS = 3 };

static Bytes password_bytes(const char *password) {
  return (Bytes){ (const uint8_t *)password, password ? strlen(password) : 0 };
}

static Status open_by_any_password(const char *path, StoreOptions *options, Session **session) {
  Status status = KVSTORE_AUTH_FAILED;
  options->key_cost = (KeyCost){ 1, KEY_MEMORY_MIN };
  for (int i = 0; i < PASSWORDS && status == KVSTORE_AUTH_FAILED; i++) { /* plain first: a password would seal it */
    options->password = password_bytes(passwords[i]);
    status = session_open(path, options, session);
  }
  return status;
}

static Session *open_or_say(const Life *life, uint64_t *random) {
  StoreOptions options = { .log_bytes = 64 << 10 };
  options.journal_mode = test_random_below(random, 2) ? JOURNAL_WAL : JOURNAL_DELETE; /* another at every open */
  options.sync_level = (int)test_random_below(random, 3);
  options.no_background = test_random_below(random, 2);
  options.no_map = test_random_below(random, 4) == 0;
  Session *session = NULL;
  Status status = open_by_any_password(life->path, &options, &session);
  if (status != KVSTORE_OK) say_wrong("open", status);
  return session;
}

static Session *seal_or_say(const Life *life, Session *session, uint64_t *random) {
  StoreOptions options = { .journal_mode = test_random_below(random, 2) ? JOURNAL_WAL : JOURNAL_DELETE,
                           .log_bytes = 64 << 10,
                           .password = password_bytes(passwords[1 + test_random_below(random, 2)]),
                           .key_cost = { 1, KEY_MEMORY_MIN } };
  Status status = session_close(session);
  if (status != KVSTORE_OK) say_wrong("close", status);
  status = session_open(life->path, &options, &session);
  if (status != KVSTORE_OK) say_wrong("sealing in place", status);
  return session;
}

/* Between plain and sealed, or from one password to another. */
static Session *change_sealing(const Life *life, Session *session, uint64_t *random) {
  if (!session_is_sealed(session)) return seal_or_say(life, session, random);
  Status status = test_random_below(random, 2)
                    ? session_reencrypt(session, password_bytes(passwords[1 + test_random_below(random, 2)]))
                    : session_remove_encryption(session);
  if (status != KVSTORE_OK) say_wrong("a change of the sealing", status);
  return session;
}

static uint32_t verify_or_say(const Life *life, Session *session) {
  static Oracle found;
  char why[CANDIDATES][72];
  Status status = oracle_read(session, &found);
  if (status != KVSTORE_OK) say_wrong("reading", status);
  status = session_check(session, NULL);
  if (status != KVSTORE_OK) say_wrong("the integrity check", status);
  for (uint32_t i = 0; i < CANDIDATES; i++)
    if (oracle_equal(&found, &life->candidates[i], 0, why[i], sizeof why[i])) return i;
  char text[240];
  snprintf(text, sizeof text, "neither what was acknowledged (%s) nor one transaction more (%s)", why[0], why[1]);
  say(SAID_WRONG, 0, text);
  _exit(2);
}

/* A backup holds what its store held, and what lay there before is whole as well: the last one that was made. */
static Status back_up_or_say(const Life *life, Session *session) {
  char copy[640];
  static Oracle found, copied;
  char why[72];
  snprintf(copy, sizeof copy, "%s.copy", life->path);
  Session *other = NULL;
  StoreOptions options = { .journal_mode = JOURNAL_WAL, .no_background = true, .log_bytes = 64 << 10 };
  if (access(copy, F_OK) == 0) {
    Status status = open_by_any_password(copy, &options, &other);
    if (status == KVSTORE_OK) status = session_check(other, NULL);
    if (status == KVSTORE_OK) status = session_close(other);
    if (status != KVSTORE_OK) say_wrong("an older backup", status);
  }
  TRY(session_backup(session, copy, NULL, NULL));
  TRY(oracle_read(session, &found));
  TRY(open_by_any_password(copy, &options, &other));
  TRY(oracle_read(other, &copied));
  if (!oracle_equal(&found, &copied, 0, why, sizeof why)) say_wrong(why, KVSTORE_CORRUPT);
  return session_close(other);
}

/* Between two transactions: what else a store is asked for. */
static Session *disturb(const Life *life, Session *session, uint64_t *random) {
  uint64_t what = test_random_below(random, 100);
  Status status = KVSTORE_OK;
  if (what < 8)
    status = session_checkpoint(session, (int)test_random_below(random, 4), NULL, NULL);
  else if (what < 11)
    status = session_vacuum(session, test_random_below(random, 3));
  else if (what < 12)
    status = back_up_or_say(life, session);
  else if (what < 13)
    status = session_maintain(session);
  else if (what < 15)
    status = session_sync(session);
  else if (what < 17) {
    status = session_close(session);
    session = open_or_say(life, random);
  } else if (what < 18)
    session = change_sealing(life, session, random);
  if (status != KVSTORE_OK) say_wrong("between transactions", status);
  return session;
}

static _Noreturn void live(const Life *life) {
  uint64_t random = life->seed ^ UINT64_C(0x5bf03635);
  counter_hook_set(die_at_point);
  Session *session = open_or_say(life, &random);
  uint32_t at = verify_or_say(life, session);
  say(SAID_VERIFIED, at, "");
  static Oracle state, after;
  state = life->candidates[at];
  Workload work = workload_of(life->seed, (uint32_t)(life->seed % 100000) * 5000 + 1);
  uint32_t steps = 1 + (uint32_t)test_random_below(&random, STEPS_MAX);
  for (uint32_t i = 0; i < steps; i++) {
    WorkTransaction t;
    Status status;
    workload_next(&work, &state, &t, &after);
    if (workload_run(session, &t, &state, 0, &status) != WORK_DONE) say_wrong("a transaction", status);
    say(SAID_DONE, i + 1, "");
    state = after;
    session = disturb(life, session, &random);
  }
  Status status = session_close(session);
  if (status != KVSTORE_OK) say_wrong("close", status);
  _exit(0);
}

/* ---- the parent ---- */

typedef struct Campaign {
  uint64_t random;
  char path[600];
  Oracle candidates[CANDIDATES];
  uint64_t kills, lives, verified, deletes_of_many;
  uint64_t point_kills[COUNTER_COUNT];
} Campaign;

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void remove_store(const Campaign *c) {
  static const char *const ends[] = { "",      "-wal",      "-shm",      "-journal",    "-rewrite",
                                      ".copy", ".copy-wal", ".copy-shm", ".copy-backup" };
  char name[620];
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    snprintf(name, sizeof name, "%s%s", c->path, ends[i]);
    unlink(name);
  }
}

/* Half of the lives end at a point: mostly at the one that was hit least. */
static void choose_point(Campaign *c) {
  Counter points[POINTS_MAX];
  int count = crash_points(points), least = 0;
  armed_point = NO_POINT;
  if (test_random_below(&c->random, 2)) return;
  for (int i = 1; i < count; i++)
    if (c->point_kills[points[i]] < c->point_kills[points[least]]) least = i;
  armed_point =
    (int)points[test_random_below(&c->random, 2) ? (uint64_t)least : test_random_below(&c->random, (uint64_t)count)];
  armed_hit = test_random_below(&c->random, 2) ? 1 : 1 + test_random_below(&c->random, 8);
}

typedef struct Ending { /* what was heard of a life */
  bool verified, at_point;
  uint32_t candidate, done, point;
} Ending;

/* True while there may be more to hear. A wrong store ends the test. */
static bool hear(const Life *life, int from, Ending *e) {
  Said said;
  size_t got = 0;
  while (got < sizeof said) {
    ssize_t n = read(from, (char *)&said + got, sizeof said - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    got += (size_t)n;
  }
  if (said.kind == SAID_WRONG) fprintf(stderr, "life %" PRIu64 ": %s\n", life->seed, said.text);
  CHECK(said.kind != SAID_WRONG);
  if (said.kind == SAID_VERIFIED) e->verified = true, e->candidate = said.number;
  if (said.kind == SAID_DONE) e->done = said.number;
  if (said.kind == SAID_POINT) e->at_point = true, e->point = said.number;
  return true;
}

/* Listens until the moment of the kill, kills, and hears the rest. */
static void listen_and_kill(Campaign *c, const Life *life, pid_t child, int from, Ending *e) {
  bool early = test_random_below(&c->random, 4) == 0, more = true;
  uint64_t delay_us = early ? test_random_below(&c->random, 4000) : test_random_below(&c->random, 20000);
  if (armed_point == NO_POINT) {
    for (uint64_t deadline = now_us() + delay_us; more && now_us() < deadline;) {
      struct pollfd fd = { .fd = from, .events = POLLIN };
      if (poll(&fd, 1, (int)((deadline - now_us()) / 1000)) > 0) more = hear(life, from, e);
    }
    kill(child, SIGKILL);
  }
  while (more) more = hear(life, from, e);
}

/* Where the store may be now: as many transactions as were heard of, or one more. */
static void follow(Campaign *c, uint64_t seed, const Ending *e) {
  if (!e->verified) return;
  c->candidates[0] = c->candidates[e->candidate];
  Workload work = workload_of(seed, (uint32_t)(seed % 100000) * 5000 + 1);
  WorkTransaction t;
  Oracle *acknowledged = &c->candidates[0], *next = &c->candidates[1];
  for (uint32_t i = 0; i < e->done; i++) {
    workload_next(&work, acknowledged, &t, next);
    *acknowledged = *next;
    for (uint32_t op = 0; op < t.count; op++) c->deletes_of_many += t.ops[op].kind == ORACLE_DELETE_MANY;
  }
  workload_next(&work, acknowledged, &t, next);
}

static void one_life(Campaign *c) {
  Life life = { ++c->lives, c->path, c->candidates };
  Ending e = { 0 };
  int ends[2], how;
  choose_point(c);
  CHECK_INT(pipe(ends), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    close(ends[0]);
    said_to = ends[1];
    live(&life);
  }
  close(ends[1]);
  listen_and_kill(c, &life, child, ends[0], &e);
  close(ends[0]);
  CHECK_INT(waitpid(child, &how, 0), child);
  bool killed = WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL;
  if (!killed && !(WIFEXITED(how) && WEXITSTATUS(how) == 0))
    fprintf(stderr, "life %" PRIu64 " ended with %x\n", life.seed, how);
  CHECK(killed || (WIFEXITED(how) && WEXITSTATUS(how) == 0));
  c->kills += killed;
  c->verified += e.verified;
  if (killed && e.at_point) c->point_kills[e.point]++;
  follow(c, life.seed, &e);
}

/* What a process leaves to the system outlives it on any file system; one in memory makes room for more lives a second.
 */
static const char *directory_in_memory(void) {
  if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
  return test_directory();
}

TEST(kill, nothing_acknowledged_is_lost_by_a_process_killed_at_any_moment) {
  Campaign *c = calloc(1, sizeof *c);
  CHECK(c != NULL);
  c->random = 1;
  const char *directory = directory_in_memory();
  uint64_t wanted = test_scaled(800), stores = 0;
  Counter points[POINTS_MAX];
  int count = crash_points(points);
  bool all_hit = false, needs_all = test_scale() >= 1; /* a part of the campaign, as sanitizers run it, may miss some */
  while (c->kills < wanted || (needs_all && !all_hit && c->kills < wanted + 2000)) {
    snprintf(c->path, sizeof c->path, "%s/store-%" PRIu64, directory, stores++);
    oracle_init(&c->candidates[0]);
    oracle_init(&c->candidates[1]);
    for (int i = 0; i < LIVES_OF_A_STORE; i++) one_life(c);
    remove_store(c);
    all_hit = true;
    for (int i = 0; i < count; i++) all_hit = all_hit && c->point_kills[points[i]];
  }
  fprintf(stderr, "%" PRIu64 " kills in %" PRIu64 " lives, %" PRIu64 " of them verified what they found\n", c->kills,
          c->lives, c->verified);
  CHECK(c->deletes_of_many > 0);
  for (int i = 0; i < count; i++) {
    fprintf(stderr, "  %5" PRIu64 " at %s\n", c->point_kills[points[i]], counter_name(points[i]));
    CHECK(c->point_kills[points[i]] > 0 || !needs_all);
  }
  free(c);
}
