/* Each procedure that rewrites a store by steps, interrupted by itself, at every step: another password, sealing in
 * place and back, vacuum, backup, drop, clear, compaction. Whatever the moment, the store is then as before it or as
 * after it, and as after it once it was told done; its check is clean, the same procedure ends well when it is asked
 * for again, and a vacuum gives back whatever was in use meanwhile.
 *
 *   a scene    a store made from a seed, prepared once: runs, dead rows, now and then packed or sealed
 *   a trial    a copy of it is opened and written to, a procedure begins, and is cut off: by the power on the simulated
 *              disk at one of its calls, or by SIGKILL in a process, at a call of its or at any moment
 *
 * COLONNADE_PROCEDURE=n runs one of them alone. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "tests/crash/workload.h"
#include "tests/support/fault_os.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

enum { WHY_BYTES = 512, PATH_BYTES = 640, TRANSACTIONS = 40, SETTLED_EVERY = 4 };
enum {
  GAPS_BYTES = 32 << 10,          /* that a vacuum lets be, beside a sixteenth */
  FEW_RUNS_BYTES = 8 * (16 << 10) /* runs of a row or so */
};

/* A store is plain, or sealed by one of two passwords. */
static const char *const passwords[] = { NULL, "one", "two" };
enum { PLAIN, ONE, TWO, PASSWORDS };

static Bytes password_bytes(int index) {
  const char *password = passwords[index];
  return (Bytes){ (const uint8_t *)password, password ? strlen(password) : 0 };
}

/* ---- scenes and trials ---- */

typedef struct Scene {
  uint64_t seed;
  char path[PATH_BYTES], copy[PATH_BYTES]; /* copy: the target of backups */
  int password;
  bool no_map, has_older_copy;
  int compression, journal_mode;
  uint32_t next_stamp;
  Oracle state, older; /* older: what a backup of earlier holds */
} Scene;

typedef enum Procedure { REENCRYPT, SEAL, UNSEAL, VACUUM, BACKUP, DROP, CLEAR, COMPACTION, PROCEDURES } Procedure;
static const char *const procedure_names[PROCEDURES] = {
  "reencrypt", "sealing in place", "removing the encryption", "vacuum", "backup", "drop", "clear", "compaction",
};

typedef struct Trial {
  const Scene *scene;
  Os *os;
  Procedure procedure;
  uint32_t target; /* of drop and clear */
  int password;    /* before; and after: */
  int next_password;
  Oracle before, after;
  uint64_t generation, found_generation; /* before, and behind the cut */
  Session *session;
  bool told_done;
  uint64_t work; /* what it did, by a counter */
  bool is_after; /* what was found */
  void (*when_done)(void);
  char why[WHY_BYTES];
} Trial;

static bool fault(Trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fault(Trial *t, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length =
    snprintf(t->why, sizeof t->why, "%s of scene %" PRIu64 ": ", procedure_names[t->procedure], t->scene->seed);
  vsnprintf(t->why + length, sizeof t->why - (size_t)length, format, arguments);
  va_end(arguments);
  return false;
}

static bool failed(Trial *t, const char *what, Status status) {
  return fault(t, "%s: %s: %s", what, status_name(status), status_last()->text);
}

static StoreOptions options_of(const Scene *scene, Os *os, int password) {
  return (StoreOptions){ .os = os,
                         .journal_mode = scene->journal_mode,
                         .sync_level = SYNC_FULL,
                         .no_background = true,
                         .no_map = scene->no_map,
                         .compression = scene->compression,
                         .log_bytes = 64 << 10,
                         .password = password_bytes(password),
                         .key_cost = { 1, KEY_MEMORY_MIN } };
}

static Status open_by(const Scene *scene, Os *os, const char *path, int password, Session **session) {
  StoreOptions options = options_of(scene, os, password);
  return session_open(path, &options, session);
}

/* ---- preparing ---- */

static void operate(Session *session, Oracle *state, OracleOp op) {
  CHECK_STATUS(oracle_run(session, &op), oracle_apply(state, &op, 0));
}

/* Rows of its own for every family and table, also for those that the random transactions dropped. */
static void fill(Session *session, Oracle *state, uint32_t *stamp) {
  for (uint32_t target = 0; target < ORACLE_TARGETS; target++) {
    OracleOp op = { .kind = ORACLE_CREATE, .target = target, .count = 1, .expiry = EXPIRY_NEVER };
    if (!state->there[target]) operate(session, state, op);
    op.kind = target < ORACLE_FAMILIES ? ORACLE_PUT : target == ORACLE_TABLE ? ORACLE_UPSERT : ORACLE_INSERT;
    op.count = target < ORACLE_FAMILIES ? 1 : 20;
    for (op.item = 0; op.item < 12; op.item++) {
      op.stamp = (*stamp)++;
      operate(session, state, op);
    }
  }
}

static void work(Scene *scene, Session *session) {
  static Oracle after;
  Workload w = { .random = scene->seed, .next_stamp = 1, .loads = true, .large_one_in = 30 };
  for (int i = 0; i < TRANSACTIONS; i++) {
    WorkTransaction t;
    Status status;
    workload_next(&w, &scene->state, &t, &after);
    CHECK_INT(workload_run(session, &t, &scene->state, 0, &status), WORK_DONE);
    scene->state = after;
    if (i % SETTLED_EVERY == 0) CHECK_OK(session_checkpoint(session, CHECKPOINT_FULL, NULL, NULL));
  }
  scene->next_stamp = w.next_stamp;
}

/* Makes its store, and closes it. Nothing is merged: that is left to the trials. */
static void scene_make(Scene *scene, uint64_t seed, Os *os, const char *directory) {
  uint64_t random = seed;
  *scene = (Scene){ .seed = seed };
  snprintf(scene->path, sizeof scene->path, "%s/store", directory);
  snprintf(scene->copy, sizeof scene->copy, "%s/copy", directory);
  scene->password = test_random_below(&random, 2) ? ONE : PLAIN;
  scene->no_map = test_random_below(&random, 4) == 0;
  scene->has_older_copy = test_random_below(&random, 2);
  scene->compression = test_random_below(&random, 3) == 0 ? COMPRESSION_EVERY_RUN : COMPRESSION_AUTO;
  scene->journal_mode = test_random_below(&random, 2) ? JOURNAL_WAL : JOURNAL_DELETE;
  oracle_init(&scene->state);
  Session *session = NULL;
  CHECK_OK(open_by(scene, os, scene->path, scene->password, &session));
  work(scene, session);
  scene->older = scene->state;
  if (scene->has_older_copy) CHECK_OK(session_backup(session, scene->copy, NULL, NULL));
  fill(session, &scene->state, &scene->next_stamp);
  CHECK_OK(session_close(session));
}

/* ---- the procedures ---- */

static void tell_done(Trial *t) {
  t->told_done = true;
  if (t->when_done) t->when_done();
}

/* Sealing and back need the scene's store to be the other way round. */
static bool fits(const Scene *scene, Procedure procedure) {
  if (procedure == SEAL) return scene->password == PLAIN;
  if (procedure == REENCRYPT || procedure == UNSEAL) return scene->password != PLAIN;
  return true;
}

static void trial_init(Trial *t, const Scene *scene, Os *os, Procedure procedure, uint64_t *random) {
  *t = (Trial){ .scene = scene, .os = os, .procedure = procedure, .before = scene->state };
  t->target = 1 + (uint32_t)test_random_below(random, ORACLE_TARGETS - 1);
  t->password = t->next_password = scene->password;
  if (procedure == REENCRYPT) t->next_password = TWO;
  if (procedure == SEAL) t->next_password = ONE;
  if (procedure == UNSEAL) t->next_password = PLAIN;
}

/* Opens the store and writes a little, so that the log holds something when the procedure begins. */
static Status trial_open(Trial *t) {
  uint32_t stamp = t->scene->next_stamp;
  StoreInfo info;
  TRY(open_by(t->scene, t->os, t->scene->path, t->password, &t->session));
  fill(t->session, &t->before, &stamp);
  TRY(session_info(t->session, &info));
  t->generation = info.generation;
  t->after = t->before;
  OracleOp end = { .kind = t->procedure == DROP ? ORACLE_DROP : ORACLE_CLEAR, .target = t->target, .stamp = stamp };
  if (t->procedure == DROP || t->procedure == CLEAR) (void)oracle_apply(&t->after, &end, 0);
  return KVSTORE_OK;
}

static Status seal(Trial *t) {
  Status status = session_close(t->session);
  t->session = NULL;
  TRY(status);
  return open_by(t->scene, t->os, t->scene->path, t->next_password, &t->session);
}

/* It is done when the statement returns; what follows makes its space free. */
static Status end_target(Trial *t) {
  OracleOp op = { .kind = t->procedure == DROP ? ORACLE_DROP : ORACLE_CLEAR, .target = t->target };
  TRY(oracle_run(t->session, &op));
  tell_done(t);
  TRY(session_checkpoint(t->session, CHECKPOINT_FULL, NULL, NULL));
  return session_maintain(t->session);
}

static Status proceed(Trial *t) {
  Status status = KVSTORE_OK;
  switch (t->procedure) {
  case REENCRYPT: status = session_reencrypt(t->session, password_bytes(t->next_password)); break;
  case SEAL: status = seal(t); break;
  case UNSEAL: status = session_remove_encryption(t->session); break;
  case VACUUM: status = session_vacuum(t->session, 0); break;
  case BACKUP: status = session_backup(t->session, t->scene->copy, NULL, NULL); break;
  case DROP:
  case CLEAR: return end_target(t);
  case COMPACTION:
    TRY(session_checkpoint(t->session, CHECKPOINT_FULL, NULL, NULL));
    status = session_maintain(t->session);
    break;
  case PROCEDURES: break;
  }
  if (status == KVSTORE_OK) tell_done(t);
  return status;
}

static void let_go(Trial *t) {
  if (!t->session) return;
  Status ignored = session_close(t->session);
  (void)ignored;
  t->session = NULL;
}

/* ---- verdicts: false means that the store was wrong, and why[] says how ---- */

static bool closed(Trial *t, const char *when) {
  Status status = session_close(t->session);
  t->session = NULL;
  return status == KVSTORE_OK || failed(t, when, status);
}

/* One password opens it, and no other: the one before, or the one after. Plain comes first, since a password would seal
 * a plain store. */
static bool find_password(Trial *t, int *found) {
  int opens = 0;
  for (int i = 0; i < PASSWORDS; i++) {
    if (opens && *found == PLAIN) break;
    Status status = open_by(t->scene, t->os, t->scene->path, i, &t->session);
    if (status == KVSTORE_AUTH_FAILED) continue;
    if (status != KVSTORE_OK) return failed(t, "opening", status);
    StoreInfo info;
    if (session_info(t->session, &info) != KVSTORE_OK) return fault(t, "no information");
    if (!opens) t->found_generation = info.generation; /* a close settles the log */
    opens++;
    *found = i;
    if (!closed(t, "a close")) return false;
  }
  if (opens != 1 || (*found != t->password && *found != t->next_password))
    return fault(t, "%d passwords open the store, number %d last", opens, *found);
  return true;
}

static bool compare(Trial *t, Session *session, const Oracle *expected, const char *when) {
  static Oracle found;
  char why[200];
  Status status = oracle_read(session, &found);
  if (status == KVSTORE_OK) status = session_check(session, NULL);
  if (status != KVSTORE_OK) return failed(t, when, status);
  return oracle_equal(&found, expected, 0, why, sizeof why) || fault(t, "%s: %s", when, why);
}

static bool same(const Oracle *a, const Oracle *b) { return oracle_equal(a, b, 0, NULL, 0); }

/* What lies under the name of a backup: nothing, the older one, or this one. *is_new says which. */
static bool check_copy(Trial *t, bool *is_new) {
  const Scene *scene = t->scene;
  static Oracle found;
  OsStat stat;
  Session *copy = NULL;
  *is_new = false;
  if (os_stat(t->os, scene->copy, &stat) != KVSTORE_OK)
    return !scene->has_older_copy || fault(t, "the older backup is gone");
  Status status = open_by(scene, t->os, scene->copy, t->password, &copy);
  if (status == KVSTORE_OK) status = oracle_read(copy, &found);
  if (status == KVSTORE_OK) status = session_check(copy, NULL);
  Status end = copy ? session_close(copy) : KVSTORE_OK;
  if (status != KVSTORE_OK || end != KVSTORE_OK) return failed(t, "a backup", status ? status : end);
  *is_new = same(&found, &t->before);
  return *is_new || (scene->has_older_copy && same(&found, &scene->older)) ||
         fault(t, "the backup is neither the older nor the newer one");
}

static bool find_state(Trial *t) {
  static Oracle found;
  char why[200];
  Status status = oracle_read(t->session, &found);
  if (status == KVSTORE_OK) status = session_check(t->session, NULL);
  if (status != KVSTORE_OK) return failed(t, "reading", status);
  bool before = oracle_equal(&found, &t->before, 0, why, sizeof why), after = same(&found, &t->after);
  if (!before && !after) return fault(t, "neither as before nor as after: %s", why);
  t->is_after = !before;
  return true;
}

/* Vacuum and compaction change no content: they are after it when a generation of theirs is there. */
static bool find_side(Trial *t, int password) {
  if (!find_state(t)) return false;
  if (t->password != t->next_password) t->is_after = password == t->next_password;
  if (t->procedure == BACKUP) return check_copy(t, &t->is_after);
  if (t->procedure == VACUUM || t->procedure == COMPACTION) t->is_after = t->found_generation > t->generation;
  return true;
}

/* The same procedure, asked for again, ends well from wherever the last one was cut off. */
static bool proceed_again(Trial *t, int password) {
  bool done = t->password != t->next_password && password == t->next_password;
  bool gone = t->procedure == DROP && t->is_after;
  bool is_new = true;
  t->password = password;
  if (!done && !gone) {
    Status status = proceed(t);
    if (status != KVSTORE_OK) return failed(t, "the same again", status);
  }
  if (!compare(t, t->session, &t->after, "after the same again")) return false;
  if (t->procedure != BACKUP) return true;
  return check_copy(t, &is_new) && (is_new || fault(t, "the second backup is not there"));
}

static bool nothing_is_left(Trial *t, const char *file, const char *ending) {
  char name[PATH_BYTES + 16];
  OsStat stat;
  snprintf(name, sizeof name, "%s%s", file, ending);
  return os_stat(t->os, name, &stat) == KVSTORE_NOTFOUND || fault(t, "%s is left behind", name);
}

/* A vacuum gives back everything that the store does not consist of. *bytes: what is left of the file. */
static bool vacuum_to_the_end(Trial *t, uint64_t *bytes) {
  OsStat stat;
  StoreInfo info;
  Status status = open_by(t->scene, t->os, t->scene->path, t->next_password, &t->session);
  if (status == KVSTORE_OK) status = session_vacuum(t->session, 0);
  if (status == KVSTORE_OK) status = session_info(t->session, &info);
  if (status != KVSTORE_OK) return failed(t, "a vacuum at the end", status);
  if (!compare(t, t->session, &t->after, "after a vacuum at the end") || !closed(t, "the last close")) return false;
  status = os_stat(t->os, t->scene->path, &stat);
  *bytes = stat.size;
  if (status != KVSTORE_OK) return failed(t, "the file's size", status);
  if (stat.size > info.extent_bytes + info.extent_bytes / 16 + GAPS_BYTES)
    return fault(t, "the file has %" PRIu64 " bytes after a vacuum, and %" PRIu64 " of them are in use",
                 (uint64_t)stat.size, info.extent_bytes);
  return nothing_is_left(t, t->scene->path, "-wal") && nothing_is_left(t, t->scene->path, "-shm") &&
         nothing_is_left(t, t->scene->path, "-rewrite") && nothing_is_left(t, t->scene->path, "-journal") &&
         (t->procedure != BACKUP || nothing_is_left(t, t->scene->copy, "-backup"));
}

/* Everything, behind the cut; *bytes as above. */
static bool verify(Trial *t, uint64_t *bytes) {
  int password = PLAIN;
  if (!find_password(t, &password)) return false;
  Status status = open_by(t->scene, t->os, t->scene->path, password, &t->session);
  if (status != KVSTORE_OK) return failed(t, "opening again", status);
  if (!find_side(t, password)) return false;
  if (t->told_done && !t->is_after) return fault(t, "it was told done, and is not");
  return proceed_again(t, password) && closed(t, "a close after the same again") && vacuum_to_the_end(t, bytes);
}

/* No more than what an uninterrupted one leaves, but for gaps, and for runs of some pages that were merged there and
 * are too few here. */
static bool check_bytes(Trial *t, uint64_t bytes, uint64_t usual) {
  return bytes <= usual + usual / 16 + GAPS_BYTES + FEW_RUNS_BYTES ||
         fault(t, "the file has %" PRIu64 " bytes after a vacuum, and usually %" PRIu64, bytes, usual);
}

/* ---- what was reached ---- */

typedef struct Tally {
  uint64_t cuts, inside, before, after;
  uint64_t work; /* of uninterrupted ones, by the counter of what they are about */
} Tally;

static void count_trial(Tally *tally, const Trial *t, bool inside) {
  tally->cuts++;
  tally->inside += inside;
  tally->before += !t->is_after;
  tally->after += t->is_after;
}

/* What shows that a procedure had something to do. */
static uint64_t work_done(Procedure procedure) {
  static const Counter counters[PROCEDURES] = {
    [REENCRYPT] = COUNTER_passwords_stretched,
    [SEAL] = COUNTER_stores_rewritten,
    [UNSEAL] = COUNTER_stores_rewritten,
    [VACUUM] = COUNTER_extents_moved,
    [BACKUP] = COUNTER_backups,
    [DROP] = COUNTER_flushes,
    [CLEAR] = COUNTER_flushes,
    [COMPACTION] = COUNTER_compactions,
  };
  return counter_get(counters[procedure]);
}

/* Few trials (a sanitizer's share) may miss something by chance. */
static void check_tallies(const Tally *tallies, const char *how) {
  for (int p = 0; p < PROCEDURES; p++) {
    const Tally *tally = &tallies[p];
    fprintf(stderr, "%-24s %5" PRIu64 " %s, %5" PRIu64 " inside, %5" PRIu64 " found before, %5" PRIu64 " after\n",
            procedure_names[p], tally->cuts, how, tally->inside, tally->before, tally->after);
    CHECK(tally->cuts > 0);
    if (tally->cuts < 20) continue;
    CHECK(tally->inside * 2 > tally->cuts);
    CHECK(tally->before > 0);
    CHECK(tally->after > 0);
  }
}

/* On one scene. Changes of the sealing fit half of the scenes, and get twice as many. */
static uint64_t trials_of(Procedure procedure) {
  uint64_t trials = test_scale() < 1 ? 2 : 8;
  return procedure <= UNSEAL ? 2 * trials : trials;
}

static int only_procedure(void) {
  const char *text = getenv("COLONNADE_PROCEDURE");
  return text ? (int)strtol(text, NULL, 10) : -1;
}

/* Among so many: anywhere, at the first, where a drop is decided, or at the last, where a copy takes its place. */
static uint64_t random_call(uint64_t *random, uint64_t calls) {
  enum { FIRST = 4, LAST = 8 };
  uint64_t which = test_random_below(random, 3);
  if (which == 0 || calls <= LAST) return 1 + test_random_below(random, calls);
  return which == 1 ? 1 + test_random_below(random, FIRST) : calls - test_random_below(random, LAST);
}

/* One in so many is not cut off: it is done, and not settled by a close. */
enum { DONE_ONE_IN = 8 };

/* ---- power cuts ---- */

typedef void (*Plant)(SimDisk *disk);

typedef struct Cut {
  uint64_t call; /* of the procedure's, from 1; one more than it makes: when it is done; 0: none */
  uint64_t seed; /* of what the disk keeps */
  Plant plant;
} Cut;

/* On a copy of the scene's disk. *calls: how many changing ones the procedure made. */
static bool trial_on_disk(Trial *t, SimDisk *prepared, const Cut *cut, uint64_t *calls, bool *inside, uint64_t *bytes) {
  SimDisk *disk = simdisk_clone(prepared);
  t->os = simdisk_os(disk);
  Status opened = trial_open(t);
  bool right = opened == KVSTORE_OK || failed(t, "the beginning", opened);
  uint64_t begun = simdisk_calls(disk);
  if (cut->plant) cut->plant(disk);
  if (cut->call) simdisk_crash_at(disk, begun + cut->call);
  uint64_t work_before = work_done(t->procedure);
  Status status = right ? proceed(t) : KVSTORE_ERROR;
  t->work = work_done(t->procedure) - work_before;
  bool off = simdisk_power_is_off(disk);
  *calls = simdisk_calls(disk) - begun;
  *inside = off && status != KVSTORE_OK;
  if (right && status != KVSTORE_OK && !off) right = failed(t, "the procedure", status);
  if (right && cut->call) {
    if (!off) simdisk_crash_at(disk, simdisk_calls(disk) + 1); /* nothing is settled by a close */
    let_go(t);
    CHECK_OK(simdisk_crash(disk, cut->seed));
    simdisk_crash_at(disk, 0);
  }
  if (right) let_go(t);
  right = right && verify(t, bytes);
  let_go(t);
  simdisk_destroy(disk);
  return right;
}

/* One procedure on one scene: whole first, to know its calls; then cut off so many times. */
static bool cut_off(const Scene *scene, SimDisk *prepared, Procedure procedure, uint64_t trials, Plant plant,
                    Tally *tally, char why[WHY_BYTES]) {
  static Trial t;
  uint64_t random = scene->seed * PROCEDURES + procedure, calls = 0, usual = 0, bytes = 0, ignored;
  bool inside;
  uint64_t choice = random;
  trial_init(&t, scene, NULL, procedure, &random);
  bool right = trial_on_disk(&t, prepared, &(Cut){ 0 }, &calls, &inside, &usual);
  tally->work += t.work;
  for (uint64_t i = 0; i < trials && right && calls; i++) {
    bool done = test_random_below(&random, DONE_ONE_IN) == 0;
    Cut cut = { done ? calls + 1 : random_call(&random, calls), test_random(&random), plant };
    uint64_t again = choice;
    trial_init(&t, scene, NULL, procedure, &again);
    right = trial_on_disk(&t, prepared, &cut, &ignored, &inside, &bytes) && check_bytes(&t, bytes, usual);
    if (right) count_trial(tally, &t, inside);
    if (!right) fprintf(stderr, "call %" PRIu64 " of %" PRIu64 ", disk seed %" PRIu64 "\n", cut.call, calls, cut.seed);
  }
  memcpy(why, t.why, WHY_BYTES);
  return right;
}

static void disk_make(uint64_t seed, SimDisk **disk, Scene *scene) {
  CHECK_OK(simdisk_create(seed, disk));
  scene_make(scene, seed, simdisk_os(*disk), "/disk");
}

TEST(procedures, a_power_cut_leaves_each_of_them_before_or_after) {
  static Scene scene;
  static Tally tallies[PROCEDURES];
  char why[WHY_BYTES] = "";
  uint64_t wanted = test_scaled(700), cuts = 0;
  bool right = true;
  for (uint64_t seed = 1; right && (cuts < wanted || seed <= 2); seed++) { /* two: a plain one and a sealed one */
    SimDisk *disk;
    disk_make(seed, &disk, &scene);
    for (int p = 0; p < PROCEDURES && right; p++) {
      if (!fits(&scene, p) || (only_procedure() >= 0 && p != only_procedure())) continue;
      uint64_t trials = trials_of(p);
      right = cut_off(&scene, disk, p, trials, NULL, &tallies[p], why);
      cuts += trials;
    }
    simdisk_destroy(disk);
  }
  if (!right) fprintf(stderr, "%s\n", why);
  CHECK(right);
  if (only_procedure() >= 0) return;
  check_tallies(tallies, "cuts");
  for (int p = 0; p < PROCEDURES; p++) CHECK(tallies[p].work > 0);
}

/* ---- a harness that cannot fail proves nothing ---- */

static void lie_about_the_store(SimDisk *disk) { simdisk_ignore_syncs_of(disk, "/store"); }
static void lie_about_the_rewrite(SimDisk *disk) { simdisk_ignore_syncs_of(disk, "-rewrite"); }
static void lie_about_the_backup(SimDisk *disk) { simdisk_ignore_syncs_of(disk, "-backup"); }
static void lie_about_the_log(SimDisk *disk) { simdisk_ignore_syncs_of(disk, "-wal"); }
static void lie_about_the_directory(SimDisk *disk) { simdisk_ignore_directory_syncs(disk, true); }

/* The syncs that each of them stands on. */
static const struct {
  Procedure procedure;
  const char *of;
  Plant plant;
} plants[] = {
  { REENCRYPT, "the store", lie_about_the_store },
  { SEAL, "the copy", lie_about_the_rewrite },
  { SEAL, "the directory", lie_about_the_directory },
  { UNSEAL, "the copy", lie_about_the_rewrite },
  { VACUUM, "the store", lie_about_the_store },
  { BACKUP, "the copy", lie_about_the_backup },
  { BACKUP, "the directory", lie_about_the_directory },
  { DROP, "the log", lie_about_the_log },
  { CLEAR, "the log", lie_about_the_log },
  { COMPACTION, "the store", lie_about_the_store },
};

static bool finds(Procedure procedure, Plant plant, char why[WHY_BYTES]) {
  static Scene scene;
  static Tally ignored;
  bool right = true;
  for (uint64_t seed = 1; right && seed <= 12; seed++) {
    SimDisk *disk;
    disk_make(seed, &disk, &scene);
    if (fits(&scene, procedure)) right = cut_off(&scene, disk, procedure, 25, plant, &ignored, why);
    simdisk_destroy(disk);
  }
  return !right;
}

TEST(procedures, a_sync_left_out_of_any_of_them_is_found) {
  if (test_scale() < 1) SKIP("what the harness finds is the same under a sanitizer");
  char why[WHY_BYTES] = "";
  for (size_t i = 0; i < sizeof plants / sizeof *plants; i++) {
    bool found = finds(plants[i].procedure, plants[i].plant, why);
    fprintf(stderr, "%s without syncs of %s: %s\n", procedure_names[plants[i].procedure], plants[i].of,
            found ? why : "not found");
    CHECK(found);
  }
}

/* ---- kills ---- */

/* What a child says of its procedure. */
enum { SAID_BEGUN = 'b', SAID_DONE = 'd', SAID_ENDED = 'e' };

typedef struct Kill {
  uint64_t call;     /* of the procedure's calls of the system, from 1; 0: none */
  uint64_t delay_ns; /* or so long after it began; 0: none */
} Kill;

typedef struct Heard {
  bool begun, done, ended;
  uint64_t calls, took_ns; /* of one that ended */
} Heard;

static int said_to;

static void say(char what, uint64_t number) {
  char said[9] = { what };
  memcpy(said + 1, &number, sizeof number);
  if (write(said_to, said, sizeof said) != (ssize_t)sizeof said) _exit(3);
}

static void say_done(void) { say(SAID_DONE, 0); }

static _Noreturn void live(Trial *t, const Kill *how) {
  FaultOs *fault;
  CHECK_OK(fault_os_create(os_posix(), &fault));
  t->os = fault_os(fault);
  t->when_done = say_done;
  CHECK_OK(trial_open(t));
  say(SAID_BEGUN, 0);
  fault_os_arm(fault, FAULT_ANY, how->call ? how->call : UINT64_MAX, FAULT_KILL, false);
  CHECK_OK(proceed(t));
  say(SAID_ENDED, fault_os_calls(fault, FAULT_ANY));
  kill(getpid(), SIGKILL); /* no close */
  _exit(4);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool hear(int from, Heard *heard, uint64_t *begun_ns) {
  char said[9];
  ssize_t n;
  do n = read(from, said, sizeof said);
  while (n < 0 && errno == EINTR);
  if (n != (ssize_t)sizeof said) return false;
  if (said[0] == SAID_BEGUN) heard->begun = true, *begun_ns = now_ns();
  if (said[0] == SAID_DONE) heard->done = true;
  if (said[0] != SAID_ENDED) return true;
  heard->ended = true;
  heard->took_ns = now_ns() - *begun_ns;
  memcpy(&heard->calls, said + 1, sizeof heard->calls);
  return true;
}

static Heard run_and_kill(Trial *t, const Kill *how) {
  Heard heard = { 0 };
  uint64_t begun_ns = 0;
  int ends[2], ended;
  CHECK_INT(pipe(ends), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    close(ends[0]);
    said_to = ends[1];
    live(t, how);
  }
  close(ends[1]);
  bool more = hear(ends[0], &heard, &begun_ns);
  if (how->delay_ns) {
    while (now_ns() < begun_ns + how->delay_ns) {}
    kill(child, SIGKILL);
  }
  while (more) more = hear(ends[0], &heard, &begun_ns);
  close(ends[0]);
  CHECK_INT(waitpid(child, &ended, 0), child);
  CHECK(heard.begun);
  CHECK(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);
  return heard;
}

static void copy_file(const char *from, const char *to) {
  static char bytes[1 << 16];
  FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
  CHECK(in && out);
  for (size_t n; (n = fread(bytes, 1, sizeof bytes, in)) > 0;) CHECK_INT(fwrite(bytes, 1, n, out), n);
  CHECK(!ferror(in) && fclose(in) == 0 && fclose(out) == 0);
}

static void remove_files(const Scene *scene) {
  static const char *const ends[] = { "", "-wal", "-shm", "-journal", "-rewrite", "-backup" };
  char name[PATH_BYTES + 16];
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    snprintf(name, sizeof name, "%s%s", scene->path, ends[i]);
    unlink(name);
    snprintf(name, sizeof name, "%s%s", scene->copy, ends[i]);
    unlink(name);
  }
}

/* The files as the scene left them. */
static void lay_out(const Scene *scene) {
  char name[PATH_BYTES + 16];
  remove_files(scene);
  snprintf(name, sizeof name, "%s.scene", scene->path);
  copy_file(name, scene->path);
  snprintf(name, sizeof name, "%s.scene", scene->copy);
  if (scene->has_older_copy) copy_file(name, scene->copy);
}

static void keep(const char *path) {
  char name[PATH_BYTES + 16];
  snprintf(name, sizeof name, "%s.scene", path);
  CHECK_INT(rename(path, name), 0);
}

/* The states that the child came to, without its store. */
static void follow_child(Trial *t) {
  static Oracle state;
  CHECK_OK(trial_open(t));
  state = t->after;
  let_go(t);
  t->after = state;
}

static bool trial_by_kill(const Scene *scene, Procedure procedure, const Kill *how, Heard *heard, Trial *t,
                          uint64_t *bytes) {
  uint64_t random = scene->seed * PROCEDURES + procedure;
  lay_out(scene);
  trial_init(t, scene, os_posix(), procedure, &random);
  follow_child(t);
  lay_out(scene);
  *heard = run_and_kill(t, how);
  t->told_done = heard->done;
  bool right = verify(t, bytes);
  let_go(t);
  return right;
}

/* At a call of the system, at any moment, or when it is done. */
static Kill random_kill(uint64_t *random, const Heard *whole) {
  if (test_random_below(random, DONE_ONE_IN) == 0) return (Kill){ 0 };
  if (test_random_below(random, 4) == 0) return (Kill){ .delay_ns = 1 + test_random_below(random, whole->took_ns) };
  return (Kill){ .call = random_call(random, whole->calls) };
}

static bool kill_off(const Scene *scene, Procedure procedure, uint64_t trials, uint64_t *random, Tally *tally,
                     char why[WHY_BYTES]) {
  static Trial t;
  Heard whole, heard;
  uint64_t usual = 0, bytes = 0;
  bool right = trial_by_kill(scene, procedure, &(Kill){ 0 }, &whole, &t, &usual);
  CHECK(!right || whole.ended);
  for (uint64_t i = 0; i < trials && right; i++) {
    Kill how = random_kill(random, &whole);
    right = trial_by_kill(scene, procedure, &how, &heard, &t, &bytes) && check_bytes(&t, bytes, usual);
    if (right) count_trial(tally, &t, heard.begun && !heard.ended);
    if (!right)
      fprintf(stderr, "call %" PRIu64 " of %" PRIu64 ", delay %" PRIu64 "\n", how.call, whole.calls, how.delay_ns);
  }
  memcpy(why, t.why, WHY_BYTES);
  return right;
}

/* What a process leaves to the system outlives it on any file system; one in memory makes room for more lives a second.
 */
static const char *directory_in_memory(void) {
  if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
  return test_directory();
}

TEST(procedures, a_kill_leaves_each_of_them_before_or_after) {
  static Scene scene;
  static Tally tallies[PROCEDURES];
  char why[WHY_BYTES] = "";
  const char *directory = directory_in_memory();
  uint64_t wanted = test_scaled(300), kills = 0, random = 1;
  bool right = true;
  for (uint64_t seed = 1; right && (kills < wanted || seed <= 2); seed++) {
    remove_files(&scene);
    scene_make(&scene, seed, os_posix(), directory);
    keep(scene.path);
    if (scene.has_older_copy) keep(scene.copy);
    for (int p = 0; p < PROCEDURES && right; p++) {
      if (!fits(&scene, p) || (only_procedure() >= 0 && p != only_procedure())) continue;
      uint64_t trials = trials_of(p);
      right = kill_off(&scene, p, trials, &random, &tallies[p], why);
      kills += trials;
    }
  }
  if (!right) fprintf(stderr, "%s\n", why);
  CHECK(right);
  if (only_procedure() < 0) check_tallies(tallies, "kills");
}
