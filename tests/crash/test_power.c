/* Power cuts on the simulated disk: whatever the disk loses, the store comes back as some prefix of its committed
 * transactions, with every one that was promised to be durable.
 *
 * One seed is one disk and a few lives on it. A life opens the store, checks it against the oracle, and works until the
 * power goes at a call that the seed chose, be it in a commit, a flush, a compaction, a close, or the recovery from the
 * cut before. COLONNADE_CRASH_SEED=n runs one seed alone and tells what it does. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "tests/crash/workload.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

enum { STATES_MAX = 128, WRITERS = 2, WHY_BYTES = 1024 };

typedef struct Run {
  uint64_t seed, random;
  SimDisk *disk;
  Session *writers[WRITERS], *reader;
  int sync_levels[WRITERS];
  Workload work;
  Oracle *states;        /* what each commit since the last known durable one left; the last is the newest */
  size_t count, durable; /* states[durable] and later ones may be found after a cut */
  size_t snapshot;       /* what the reader's snapshot shows; SIZE_MAX: it has none */
  int password;          /* index into passwords[]: what opens the store */
  int next_password;     /* what a change on its way would have made of it; the same when none was */
  bool trace;
  char why[WHY_BYTES];
} Run;

/* A store is plain, or sealed by one of two passwords. */
static const char *const passwords[] = { NULL, "one", "two" };
enum { PASSWORDS = 3 };

static const char *const path = "/disk/store";

/* ---- verdicts: false means that the store was wrong, and why[] says how ---- */

static bool fault(Run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fault(Run *r, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(r->why, sizeof r->why, format, arguments);
  va_end(arguments);
  return false;
}

static void tell(const Run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(const Run *r, const char *format, ...) {
  if (!r->trace) return;
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%8" PRIu64 "  ", simdisk_calls(r->disk));
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

static bool power_is_off(const Run *r) { return simdisk_power_is_off(r->disk); }
static uint64_t below(Run *r, uint64_t bound) { return test_random_below(&r->random, bound); }
static Oracle *newest(Run *r) { return &r->states[r->count - 1]; }

/* A call failed: no wonder without power. */
static bool failed(Run *r, const char *what, Status status) {
  if (power_is_off(r)) return true;
  return fault(r, "%s: %s: %s", what, status_name(status), status_last()->text);
}

/* ---- what is known ---- */

static void forget_former_states(Run *r, size_t found) {
  r->states[0] = r->states[found];
  r->count = 1;
  r->durable = 0;
}

static void push_state(Run *r, const Oracle *state) {
  if (r->count == STATES_MAX) { /* the oldest that may be found stays; lives are made short enough */
    fprintf(stderr, "seed %" PRIu64 ": a life has too many transactions\n", r->seed);
    abort();
  }
  r->states[r->count++] = *state;
}

static void all_is_durable(Run *r) { r->durable = r->count - 1; }

/* ---- comparing ---- */

static bool same_as_newest(Run *r, Session *session, size_t state, const char *when) {
  Oracle found;
  char why[200];
  Status status = oracle_read(session, &found);
  if (status != KVSTORE_OK) return failed(r, when, status);
  if (oracle_equal(&found, &r->states[state], r->work.now_ms, why, sizeof why)) return true;
  return fault(r, "%s: %s", when, why);
}

static bool check_integrity(Run *r, Session *session) {
  char *why = NULL;
  Status status = session_check(session, &why);
  return status == KVSTORE_OK || failed(r, "the integrity check", status);
}

/* After a cut: which of the states that may be there is it? */
static bool find_state(Run *r) {
  Oracle found;
  char why[200] = "";
  Status status = oracle_read(r->writers[0], &found);
  if (status != KVSTORE_OK) return failed(r, "reading after a cut", status);
  for (size_t i = r->count; i-- > r->durable;) {
    if (!oracle_equal(&found, &r->states[i], r->work.now_ms, i + 1 == r->count ? why : NULL, sizeof why)) continue;
    tell(r, "recovered state %zu of %zu to %zu", i, r->durable, r->count - 1);
    forget_former_states(r, i);
    return true;
  }
  for (size_t i = r->durable; i-- > 0;)
    if (oracle_equal(&found, &r->states[i], r->work.now_ms, NULL, 0))
      return fault(r, "%zu durable transactions are lost (of %zu)", r->durable - i, r->count);
  return fault(r, "after a cut the store is at no commit; beside the newest one: %s", why);
}

/* ---- opening and closing ---- */

static StoreOptions random_options(Run *r) {
  StoreOptions o = {
    .os = simdisk_os(r->disk),
    .no_background = true,
    .log_bytes = 64 << 10,
    .key_cost = { 1, KEY_MEMORY_MIN },
  };
  o.journal_mode = below(r, 2) ? JOURNAL_WAL : JOURNAL_DELETE; /* another at every open */
  o.sync_level = (int)below(r, 3);
  o.no_map = below(r, 4) == 0;
  o.grace_ms = below(r, 2) ? 1 : 0;
  return o;
}

static Bytes password_bytes(int index) {
  const char *password = passwords[index];
  return (Bytes){ (const uint8_t *)password, password ? strlen(password) : 0 };
}

/* Which password opens the store now: what was told last, or what a change that was cut off would have made of it. */
static bool find_password(Run *r, StoreOptions *options) {
  for (int i = 0; i < PASSWORDS; i++) { /* plain first: a password would seal a plain store */
    Session *session = NULL;
    options->password = password_bytes(i);
    Status status = session_open(path, options, &session);
    if (status == KVSTORE_AUTH_FAILED && !power_is_off(r)) continue;
    if (status != KVSTORE_OK) return failed(r, "open", status);
    r->writers[0] = session;
    if (power_is_off(r)) return true;
    if (i != r->password && i != r->next_password)
      return fault(r, "the store opens by password %d, not %d or %d", i, r->password, r->next_password);
    r->password = r->next_password = i;
    return true;
  }
  return fault(r, "no password opens the store");
}

static bool open_all(Run *r) {
  StoreOptions options = random_options(r);
  r->snapshot = SIZE_MAX;
  options.sync_level = r->sync_levels[0] = (int)below(r, 3);
  if (!find_password(r, &options)) return false;
  if (power_is_off(r)) return true;
  for (int i = 1; i < WRITERS; i++) {
    options.sync_level = r->sync_levels[i] = (int)below(r, 3);
    Status status = session_open(path, &options, &r->writers[i]);
    if (status != KVSTORE_OK) return failed(r, "open", status);
  }
  Status status = session_clone(r->writers[0], &r->reader);
  return status == KVSTORE_OK || failed(r, "clone", status);
}

static bool close_one(Run *r, Session **session) {
  Session *s = *session;
  *session = NULL;
  if (!s) return true;
  Status status = session_close(s);
  return status == KVSTORE_OK || failed(r, "close", status);
}

static bool close_all(Run *r) {
  bool reader = close_one(r, &r->reader), first = close_one(r, &r->writers[0]), second = close_one(r, &r->writers[1]);
  if (!(reader && first && second)) return false;
  if (!power_is_off(r)) all_is_durable(r);
  return true;
}

static bool reencrypt(Run *r) {
  if (!r->password) return true;
  r->next_password = 1 + (int)below(r, 2);
  tell(r, "from password %d to %d", r->password, r->next_password);
  Status status = session_reencrypt(r->writers[below(r, WRITERS)], password_bytes(r->next_password));
  if (status != KVSTORE_OK) return failed(r, "another password", status);
  r->password = r->next_password;
  return true;
}

/* Nobody has the store open: it is sealed, or made plain. */
static bool change_in_place(Run *r) {
  Session *session = NULL;
  StoreOptions options = random_options(r);
  r->next_password = r->password ? 0 : 1 + (int)below(r, 2);
  tell(r, "in place from password %d to %d", r->password, r->next_password);
  options.password = password_bytes(r->password ? r->password : r->next_password);
  Status status = session_open(path, &options, &session);
  if (status != KVSTORE_OK) return failed(r, "open for a change in place", status);
  if (r->password) status = session_remove_encryption(session);
  bool changed = status == KVSTORE_OK || failed(r, "removing the encryption", status);
  if (status == KVSTORE_OK) r->password = r->next_password;
  return close_one(r, &session) && changed;
}

static bool reopen(Run *r) {
  tell(r, "close and reopen");
  if (!close_all(r)) return false;
  if (power_is_off(r)) return true;
  if (below(r, 2) && !change_in_place(r)) return false;
  if (power_is_off(r)) return true;
  if (!open_all(r)) return false;
  if (power_is_off(r)) return true;
  return same_as_newest(r, r->writers[0], r->count - 1, "after a close");
}

/* ---- one step of a life ---- */

static bool transact(Run *r) {
  WorkTransaction t;
  Oracle after;
  Status status;
  int writer = (int)below(r, WRITERS);
  workload_next(&r->work, newest(r), &t, &after);
  for (uint32_t i = 0; r->trace && i < t.count; i++) {
    char text[128];
    oracle_describe(&t.ops[i], text, sizeof text);
    tell(r, "%s %s", t.autocommit ? "autocommit" : t.rollback ? "to be rolled back" : "in transaction", text);
  }
  WorkOutcome outcome = workload_run(r->writers[writer], &t, newest(r), r->work.now_ms, &status);
  if (outcome == WORK_WRONG) return fault(r, "a statement answered %s: %s", status_name(status), status_last()->text);
  if (outcome == WORK_REFUSED) return failed(r, "a statement", status);
  bool changes = memcmp(newest(r), &after, sizeof after) != 0; /* a transaction without changes promises nothing */
  if (changes) push_state(r, &after);
  if (outcome == WORK_IN_DOUBT) return failed(r, "a commit", status);
  if (changes && r->sync_levels[writer] == SYNC_FULL) all_is_durable(r);
  tell(r, "state %zu, durable %zu", r->count - 1, r->durable);
  return true;
}

static bool checkpoint(Run *r) {
  tell(r, "checkpoint");
  Status status = session_checkpoint(r->writers[0], (int)below(r, 4), NULL, NULL);
  if (status != KVSTORE_OK) return failed(r, "a checkpoint", status);
  all_is_durable(r);
  return true;
}

static bool maintain(Run *r) {
  tell(r, "maintain");
  Status status = session_maintain(r->writers[1]);
  return status == KVSTORE_OK || failed(r, "maintenance", status);
}

static bool vacuum(Run *r) {
  tell(r, "vacuum");
  Status status = session_vacuum(r->writers[1], below(r, 4) * below(r, 20));
  return status == KVSTORE_OK || failed(r, "a vacuum", status);
}

static const char copy_path[] = "copy";

/* What lies under a backup's name is whole, whenever it is looked at. */
static bool check_copy(Run *r) {
  StoreOptions options = { .os = simdisk_os(r->disk), .journal_mode = JOURNAL_WAL, .no_background = true };
  Session *copy = NULL;
  Oracle found;
  OsStat stat;
  if (os_stat(options.os, copy_path, &stat) != KVSTORE_OK) return true; /* none has been made */
  Status status = KVSTORE_AUTH_FAILED;
  for (int i = 0; i < PASSWORDS && status == KVSTORE_AUTH_FAILED; i++) { /* by what the store had when it was made */
    options.password = password_bytes(i);
    status = session_open(copy_path, &options, &copy);
  }
  if (status == KVSTORE_OK) status = oracle_read(copy, &found);
  if (status == KVSTORE_OK) status = session_check(copy, NULL);
  Status closed = copy ? session_close(copy) : KVSTORE_OK;
  if (status == KVSTORE_OK) status = closed;
  return status == KVSTORE_OK || failed(r, "what a backup left", status);
}

static bool back_up(Run *r) {
  tell(r, "backup");
  if (!check_copy(r)) return false;
  if (power_is_off(r)) return true;
  Status status = session_backup(r->writers[below(r, WRITERS)], copy_path, NULL, NULL);
  return status == KVSTORE_OK || failed(r, "a backup", status);
}

static bool synchronise(Run *r) {
  tell(r, "sync");
  Status status = session_sync(r->writers[below(r, WRITERS)]);
  if (status != KVSTORE_OK) return failed(r, "a sync", status);
  all_is_durable(r);
  return true;
}

static bool use_snapshot(Run *r) {
  Status status;
  if (r->snapshot == SIZE_MAX) {
    status = session_begin(r->reader, false);
    if (status != KVSTORE_OK) return failed(r, "a snapshot", status);
    r->snapshot = r->count - 1;
    tell(r, "a snapshot is taken");
    return true;
  }
  if (!same_as_newest(r, r->reader, r->snapshot, "an old snapshot")) return false;
  r->snapshot = SIZE_MAX;
  status = session_commit(r->reader);
  return status == KVSTORE_OK || failed(r, "the end of a snapshot", status);
}

/* A snapshot is compared at one clock: it goes before the clock does. */
static bool advance_clock(Run *r) {
  if (r->snapshot != SIZE_MAX && !use_snapshot(r)) return false;
  int64_t ms = 1 + (int64_t)below(r, 4000);
  simdisk_advance(r->disk, ms);
  r->work.now_ms += ms;
  return true;
}

static bool step(Run *r) {
  uint64_t what = below(r, 100);
  if (what < 72) return transact(r);
  if (what < 78) return checkpoint(r);
  if (what < 80) return maintain(r);
  if (what < 82) return vacuum(r);
  if (what < 83) return back_up(r);
  if (what < 84) return synchronise(r);
  if (what < 85) return reencrypt(r);
  if (what < 86) return reopen(r);
  if (what < 89) return same_as_newest(r, r->writers[below(r, WRITERS)], r->count - 1, "reading");
  if (what < 95) return use_snapshot(r);
  if (what < 99) return advance_clock(r);
  return check_integrity(r, r->reader);
}

/* ---- lives ---- */

static bool live(Run *r) {
  uint64_t calls = simdisk_calls(r->disk), cut_in_recovery = below(r, 4) == 0;
  if (cut_in_recovery) simdisk_crash_at(r->disk, calls + 1 + below(r, 12));
  if (!open_all(r)) return false;
  if (!power_is_off(r) && !find_state(r)) return false;
  if (!power_is_off(r) && !check_integrity(r, r->writers[0])) return false;
  if (power_is_off(r)) return true;
  uint64_t room = below(r, 5) == 0 ? 400 : 60;
  simdisk_crash_at(r->disk, simdisk_calls(r->disk) + 1 + below(r, room));
  for (size_t steps = 10 + below(r, STATES_MAX - 20); steps && !power_is_off(r); steps--)
    if (!step(r)) return false;
  if (!power_is_off(r) && below(r, 2) == 0) return close_all(r);
  return true;
}

static bool cut(Run *r) {
  tell(r, "the power is cut");
  bool off = power_is_off(r);
  if (!off) simdisk_crash_at(r->disk, simdisk_calls(r->disk) + 1);
  /* The program that had the store open is gone; here it still has to give its memory back. */
  Session *sessions[] = { r->reader, r->writers[0], r->writers[1] };
  r->reader = r->writers[0] = r->writers[1] = NULL;
  for (int i = 0; i < 3; i++) {
    if (!sessions[i]) continue;
    Status ignored = session_close(sessions[i]);
    (void)ignored;
  }
  Status status = simdisk_crash(r->disk, test_random(&r->random));
  simdisk_crash_at(r->disk, 0);
  return status == KVSTORE_OK || fault(r, "the disk: %s", status_last()->text);
}

static bool run_lives(Run *r) {
  for (uint64_t lives = 2 + below(r, 4); lives; lives--) {
    if (!live(r)) return false;
    if (!cut(r)) return false;
  }
  simdisk_crash_at(r->disk, 0);
  if (!open_all(r) || !find_state(r) || !check_integrity(r, r->writers[1]) || !close_all(r)) return false;
  if (!open_all(r) || !same_as_newest(r, r->writers[0], 0, "at the end")) return false;
  return close_all(r);
}

/* A third of the stores are sealed from their birth on. */
static bool begin_sealed(Run *r) {
  Session *session = NULL;
  if (below(r, 3)) return true;
  StoreOptions options = random_options(r);
  r->next_password = r->password = 1 + (int)below(r, 2);
  options.password = password_bytes(r->password);
  Status status = session_open(path, &options, &session);
  if (status != KVSTORE_OK) return failed(r, "making a sealed store", status);
  return close_one(r, &session);
}

typedef void (*Plant)(SimDisk *disk);

static Run *run_create(uint64_t seed, Plant plant, bool trace) {
  Run *r = calloc(1, sizeof *r);
  CHECK(r != NULL);
  r->seed = r->random = seed;
  r->trace = trace;
  r->states = calloc(STATES_MAX, sizeof *r->states);
  CHECK(r->states != NULL);
  CHECK_OK(simdisk_create(seed, &r->disk));
  if (trace) simdisk_trace(r->disk, stderr);
  if (plant) plant(r->disk);
  oracle_init(&r->states[0]);
  r->count = 1;
  r->snapshot = SIZE_MAX;
  r->work = (Workload){ .random = seed ^ UINT64_C(0x9e3779b97f4a7c15),
                        .next_stamp = 1,
                        .now_ms = os_now_ms(simdisk_os(r->disk)),
                        .short_lives = true,
                        .loads = true,
                        .bulk_one_in = below(r, 16) == 0 ? 10 : 0,
                        .large_one_in = below(r, 2) ? 20 : 0 };
  return r;
}

static void run_destroy(Run *r, bool right) {
  if (!right) cut(r);
  simdisk_destroy(r->disk);
  free(r->states);
  free(r);
}

static bool run_seed(uint64_t seed, Plant plant, bool trace, char why[WHY_BYTES]) {
  Run *r = run_create(seed, plant, trace);
  bool right = begin_sealed(r) && run_lives(r);
  memcpy(why, r->why, sizeof r->why);
  run_destroy(r, right);
  return right;
}

TEST(power, every_cut_leaves_a_prefix_of_the_commits_with_all_durable_ones) {
  const char *one = getenv("COLONNADE_CRASH_SEED");
  char why[WHY_BYTES];
  uint64_t first = one ? strtoull(one, NULL, 10) : 1, count = one ? 1 : test_scaled(1500), wrong = 0;
  for (uint64_t seed = first; seed < first + count && wrong < 10; seed++) {
    if (run_seed(seed, NULL, one != NULL, why)) continue;
    fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, why);
    wrong++;
  }
  CHECK_INT(wrong, 0);
  CHECK(one || (counter_get(COUNTER_stores_rewritten) > 0 && counter_get(COUNTER_records_sealed) > 0));
  CHECK(one || counter_get(COUNTER_crash_ring_before_names) > 0);
  CHECK(one || counter_get(COUNTER_deletes_adopted) > 0);
}

/* ---- a kill, and a cut soon after ---- */

/* What a killed process wrote is there for who comes next, and a cut may still take it: nothing of a former generation
 * or log may be overwritten before it is durable. The kill is a copy of the disk, pending writes included. */
static Run *to_be_killed;
static SimDisk *left_by_kill;
static uint64_t points_left;
static size_t told_before_kill;

static void kill_at_point(Counter which, uint64_t hits) {
  (void)which;
  (void)hits;
  if (left_by_kill || --points_left) return;
  left_by_kill = simdisk_clone(to_be_killed->disk);
  told_before_kill = to_be_killed->count;
  simdisk_crash_at(to_be_killed->disk, simdisk_calls(to_be_killed->disk) + 1);
}

static bool work_until_off(Run *r) {
  for (int steps = 60; steps && !power_is_off(r); steps--) {
    uint64_t what = below(r, 100);
    if (!(what < 70 ? transact(r) : what < 92 ? checkpoint(r) : what < 96 ? maintain(r) : vacuum(r))) return false;
  }
  return true;
}

static bool run_killed(Run *r) {
  bool right = begin_sealed(r) && open_all(r);
  to_be_killed = r;
  points_left = 1 + below(r, 120);
  counter_hook_set(kill_at_point);
  right = right && work_until_off(r);
  counter_hook_set(NULL);
  if (!right || !left_by_kill) return right && close_all(r);
  if (!cut(r)) return false;
  simdisk_destroy(r->disk);
  r->disk = left_by_kill;
  if (r->trace) simdisk_trace(r->disk, stderr);
  tell(r, "killed");
  r->durable = told_before_kill - 1;
  if (!open_all(r) || !find_state(r)) return false;
  simdisk_crash_at(r->disk, simdisk_calls(r->disk) + 1 + below(r, 60));
  if (!work_until_off(r) || !cut(r)) return false;
  return open_all(r) && find_state(r) && check_integrity(r, r->writers[0]) && close_all(r);
}

static bool run_killed_seed(uint64_t seed, bool trace, char why[WHY_BYTES]) {
  Run *r = run_create(seed, NULL, trace);
  left_by_kill = NULL;
  bool right = run_killed(r);
  memcpy(why, r->why, sizeof r->why);
  run_destroy(r, right);
  return right;
}

TEST(power, a_cut_soon_after_a_kill_leaves_what_the_killed_process_was_told) {
  const char *one = getenv("COLONNADE_CRASH_SEED");
  char why[WHY_BYTES];
  uint64_t first = one ? strtoull(one, NULL, 10) : 1, count = one ? 1 : test_scaled(450), wrong = 0, kills = 0;
  for (uint64_t seed = first; seed < first + count && wrong < 10; seed++) {
    bool right = run_killed_seed(seed, one != NULL, why);
    kills += left_by_kill != NULL;
    if (right) continue;
    fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, why);
    wrong++;
  }
  CHECK_INT(wrong, 0);
  CHECK(one || kills > count / 2);
}

/* ---- a harness that cannot fail proves nothing ---- */

static void lie_about_the_log(SimDisk *disk) { simdisk_ignore_syncs_of(disk, "-wal"); }
static void lie_about_the_file(SimDisk *disk) { simdisk_ignore_syncs_of(disk, "/store"); }
static void lie_about_the_directory(SimDisk *disk) { simdisk_ignore_directory_syncs(disk, true); }

static void check_that_it_is_found(Plant plant) {
  char why[WHY_BYTES] = "";
  uint64_t seed = 1;
  while (seed <= 300 && run_seed(seed, plant, false, why)) seed++;
  if (seed <= 300) fprintf(stderr, "found by seed %" PRIu64 ": %s\n", seed, why);
  CHECK(seed <= 300);
}

TEST(power, a_sync_of_the_log_left_out_is_found) { check_that_it_is_found(lie_about_the_log); }
TEST(power, a_sync_of_the_file_left_out_is_found) { check_that_it_is_found(lie_about_the_file); }
TEST(power, a_sync_of_the_directory_left_out_is_found) { check_that_it_is_found(lie_about_the_directory); }
