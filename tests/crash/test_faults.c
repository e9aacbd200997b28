/* Every call to the system and every allocation of a scripted life fails once: what was asked for has been done or has
 * not, the caller is told, and the store goes on, closes, opens again and is whole.
 *
 * The script runs on files in memory, with the n-th call failed, for every n until a run ends without reaching it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/crash/oracle.h"
#include "tests/support/failing_memory.h"
#include "tests/support/fault_os.h"
#include "tests/support/test.h"

/* ---- the script ---- */

typedef enum StepKind {
  STEP_BEGIN,
  STEP_OP,
  STEP_COMMIT,
  STEP_ROLLBACK,
  STEP_CHECKPOINT,
  STEP_MAINTAIN,
  STEP_SYNC,
  STEP_READ,
  STEP_REOPEN
} StepKind;

typedef struct Step {
  StepKind kind;
  OracleOp op;
} Step;

#define OP(what, where, first, many, mark)                                                                         \
  {                                                                                                                \
    STEP_OP, {                                                                                                     \
      .kind = (what), .target = (where), .item = (first), .count = (many), .stamp = (mark), .expiry = EXPIRY_NEVER \
    }                                                                                                              \
  }

static const Step script[] = {
  OP(ORACLE_CREATE, ORACLE_TABLE, 0, 0, 0),
  OP(ORACLE_PUT, 0, 1, 1, 11),
  OP(ORACLE_UPSERT, ORACLE_TABLE, 0, 20, 12),
  { STEP_CHECKPOINT, { 0 } },
  { STEP_BEGIN, { 0 } },
  OP(ORACLE_CREATE, 1, 0, 0, 0),
  OP(ORACLE_PUT, 1, 5, 1, 13),
  OP(ORACLE_PUT, 0, 1, 1, 14),
  OP(ORACLE_UPSERT, ORACLE_TABLE, 10, 20, 15),
  OP(ORACLE_DELETE, ORACLE_TABLE, 3, 1, 16),
  { STEP_COMMIT, { 0 } },
  OP(ORACLE_CREATE, ORACLE_HEAP, 0, 0, 0),
  OP(ORACLE_INSERT, ORACLE_HEAP, 0, 9, 17),
  { STEP_READ, { 0 } },
  { STEP_CHECKPOINT, { 0 } },
  { STEP_BEGIN, { 0 } },
  OP(ORACLE_PUT, 0, 2, 1, 18),
  OP(ORACLE_DELETE, 0, 1, 1, 19),
  OP(ORACLE_CLEAR, 1, 0, 0, 0),
  OP(ORACLE_UPDATE, ORACLE_TABLE, 12, 1, 20),
  { STEP_ROLLBACK, { 0 } },
  OP(ORACLE_INSERT, ORACLE_TABLE, 40, 5, 21),
  { STEP_REOPEN, { 0 } },
  OP(ORACLE_PUT, 0, 3, 1, 22),
  { STEP_CHECKPOINT, { 0 } },
  OP(ORACLE_UPDATE, ORACLE_TABLE, 12, 1, 23),
  { STEP_CHECKPOINT, { 0 } },
  OP(ORACLE_PUT, 0, 4, 1, 24),
  OP(ORACLE_UPSERT, ORACLE_TABLE, 30, 8, 25),
  { STEP_CHECKPOINT, { 0 } },
  { STEP_MAINTAIN, { 0 } },
  OP(ORACLE_BULK, ORACLE_TABLE, 0, 0, 26),
  OP(ORACLE_UPSERT, ORACLE_TABLE, 8, 4, 27),
  OP(ORACLE_DELETE_MANY, ORACLE_TABLE, 6, 4, 4), /* all four are there */
  { STEP_READ, { 0 } },
  { STEP_SYNC, { 0 } },
  { STEP_CHECKPOINT, { 0 } },
  OP(ORACLE_DROP, 1, 0, 0, 0),
  OP(ORACLE_PUT, 0, 6, 1, 28),
  { STEP_REOPEN, { 0 } },
  { STEP_READ, { 0 } },
};
enum { STEPS = sizeof script / sizeof script[0] };

/* ---- what fails ---- */

typedef struct Fault {
  bool memory; /* an allocation; else a call to the system */
  FaultHow how;
  uint64_t n;
  FaultOs *os;
} Fault;

static bool fault_hit(const Fault *f) {
  return f->memory ? failing_memory_failures() > 0 : fault_os_failures(f->os) > 0;
}

static void fault_arm(const Fault *f) {
  if (f->memory)
    failing_memory_install(f->n, false);
  else
    fault_os_arm(f->os, FAULT_ANY, f->n, f->how, false);
}

static void fault_disarm(const Fault *f) {
  if (f->memory)
    failing_memory_remove();
  else
    fault_os_disarm(f->os);
}

/* ---- a run ---- */

typedef struct Run {
  Fault fault;
  int journal_mode;
  Session *session;
  Oracle committed; /* what is acknowledged */
  Oracle inside;    /* what the open transaction sees */
  bool open;        /* a transaction is */
  size_t step;
} Run;

static void check_run(const Run *r, bool right, const char *what) {
  if (right) return;
  fprintf(stderr, "journal mode %d: %s %" PRIu64 " (how %d), step %zu: %s; last: %s: %s\n", r->journal_mode,
          r->fault.memory ? "allocation" : "call", r->fault.n, (int)r->fault.how, r->step, what,
          status_name(status_last()->code), status_last()->text);
  CHECK(right);
}

static Status open_store(Run *r) {
  StoreOptions options = { .os = fault_os(r->fault.os),
                           .journal_mode = r->journal_mode,
                           .sync_level = SYNC_FULL,
                           .no_background = true,
                           .log_bytes = 64 << 10 };
  return session_open("/memory/store", &options, &r->session);
}

static Status close_store(Run *r) {
  Session *s = r->session;
  r->session = NULL;
  return s ? session_close(s) : KVSTORE_OK;
}

static Status do_step(Run *r, const Step *step) {
  Oracle found;
  switch (step->kind) {
  case STEP_BEGIN: return session_begin(r->session, true);
  case STEP_OP: return oracle_run(r->session, &step->op);
  case STEP_COMMIT: return session_commit(r->session);
  case STEP_ROLLBACK: return session_rollback(r->session);
  case STEP_CHECKPOINT: return session_checkpoint(r->session, CHECKPOINT_FULL, NULL, NULL);
  case STEP_MAINTAIN: return session_maintain(r->session);
  case STEP_SYNC: return session_sync(r->session);
  case STEP_READ: return oracle_read(r->session, &found);
  case STEP_REOPEN: break;
  }
  Status status = close_store(r);
  return status == KVSTORE_OK ? open_store(r) : status;
}

/* What the step does to the oracle when it succeeds. */
static void follow_step(Run *r, const Step *step) {
  if (step->kind == STEP_BEGIN) r->open = true;
  if (step->kind == STEP_OP) CHECK_INT(oracle_apply(&r->inside, &step->op, 0), KVSTORE_OK);
  if (step->kind == STEP_ROLLBACK) r->inside = r->committed;
  if (step->kind == STEP_COMMIT || step->kind == STEP_ROLLBACK) r->open = false;
  if (!r->open) r->committed = r->inside;
}

/* The store is at one of the two states; *which says at which. */
static void check_state(Run *r, const Oracle *before, const Oracle *after, const char *when) {
  static Oracle found;
  char why[200], text[300];
  check_run(r, oracle_read(r->session, &found) == KVSTORE_OK, when);
  if (oracle_equal(&found, after, 0, NULL, 0) || oracle_equal(&found, before, 0, why, sizeof why)) return;
  snprintf(text, sizeof text, "%s: neither before nor after: %s", when, why);
  check_run(r, false, text);
}

/* After the failure: the open transaction ends, if there is one, and says what became of it. */
static void end_transaction(Run *r, const Oracle *before_statement, Status status) {
  if (!session_transaction(r->session)) return;
  if (status != KVSTORE_OK) r->inside = *before_statement;
  if (session_commit(r->session) == KVSTORE_OK) r->committed = r->inside;
}

/* The same life goes on: nothing that the failure has left behind comes to light with further changes. These are rolled
 * back, so that what is acknowledged stays what it was. A failure in the middle of a publication ends all writing. */
static void check_going_on(Run *r) {
  static const OracleOp more[] = {
    { .kind = ORACLE_PUT, .target = 0, .item = 8, .count = 1, .stamp = 97, .expiry = EXPIRY_NEVER },
    { .kind = ORACLE_UPSERT, .target = ORACLE_TABLE, .item = 44, .count = 12, .stamp = 98, .expiry = EXPIRY_NEVER },
    { .kind = ORACLE_PUT, .target = 1, .item = 8, .count = 1, .stamp = 99, .expiry = EXPIRY_NEVER },
  };
  static Oracle before, inside, found;
  char why[200] = "";
  check_run(r, oracle_read(r->session, &before) == KVSTORE_OK, "reading before going on");
  Status status = session_begin(r->session, true);
  if (status == KVSTORE_IO) return;
  check_run(r, status == KVSTORE_OK, "begin, going on");
  inside = before;
  for (size_t i = 0; i < sizeof more / sizeof *more; i++)
    check_run(r, oracle_run(r->session, &more[i]) == oracle_apply(&inside, &more[i], 0), "going on");
  check_run(r, oracle_read(r->session, &found) == KVSTORE_OK, "reading inside");
  check_run(r, oracle_equal(&found, &inside, 0, why, sizeof why), why);
  check_run(r, session_rollback(r->session) == KVSTORE_OK, "rollback, going on");
  check_run(r, oracle_read(r->session, &found) == KVSTORE_OK, "reading behind");
  check_run(r, oracle_equal(&found, &before, 0, why, sizeof why), why);
}

static void check_after_failure(Run *r, const Step *step, Status status) {
  Oracle before = r->inside, outside = r->committed, after;
  bool transaction = r->open;
  if (status != KVSTORE_OK) {
    check_run(r, status == status_last()->code && status_last()->text[0], "a failure without a sentence");
    check_run(r, status == KVSTORE_IO || status == KVSTORE_FULL || status == KVSTORE_NOMEM, "a code that does not fit");
  }
  follow_step(r, step);
  after = r->committed;
  if (r->session && transaction) {
    end_transaction(r, &before, status);
    check_state(r, &outside, &r->committed, "after the end of the transaction");
    if (step->kind != STEP_COMMIT) after = r->committed;
  } else if (r->session) {
    check_state(r, status == KVSTORE_OK ? &after : &before, &after, "after the failure");
  }
  if (r->session && r->fault.memory) check_going_on(r);
  Status closed = close_store(r);
  check_run(r, closed == KVSTORE_OK || (closed == status_last()->code && status_last()->text[0]), "close");
  check_run(r, open_store(r) == KVSTORE_OK, "opening again");
  const Oracle *least = transaction ? &outside : &before;
  check_state(r, status == KVSTORE_OK && !transaction ? &after : least, &after, "after opening again");
  check_run(r, session_check(r->session, NULL) == KVSTORE_OK, "the integrity check");
  OracleOp more = { .kind = ORACLE_PUT, .target = 0, .item = 9, .count = 1, .stamp = 99, .expiry = EXPIRY_NEVER };
  check_run(r, oracle_run(r->session, &more) == KVSTORE_OK, "a put afterwards");
  check_run(r, session_checkpoint(r->session, CHECKPOINT_FULL, NULL, NULL) == KVSTORE_OK, "a checkpoint afterwards");
}

/* True when the fault was reached. */
static bool run_script(Run *r) {
  oracle_init(&r->committed);
  r->inside = r->committed;
  fault_arm(&r->fault);
  Status status = open_store(r);
  bool hit = fault_hit(&r->fault);
  static const Step opening = { STEP_READ, { 0 } };
  const Step *failed = &opening;
  for (r->step = 0; !hit && r->step < STEPS; r->step++) {
    check_run(r, status == KVSTORE_OK, "a failure without a fault");
    status = do_step(r, &script[r->step]);
    hit = fault_hit(&r->fault);
    failed = &script[r->step];
    if (hit) break;
    follow_step(r, failed);
  }
  fault_disarm(&r->fault);
  if (!hit)
    check_run(r, status == KVSTORE_OK, "a failure without a fault");
  else
    check_after_failure(r, failed, status);
  check_run(r, close_store(r) == KVSTORE_OK, "the last close");
  return hit;
}

static bool run_once(int journal_mode, bool memory, FaultHow how, uint64_t n) {
  static Run run;
  Os *files = NULL;
  uint64_t held = memory_blocks_held();
  memset(&run, 0, sizeof run);
  run.fault = (Fault){ memory, how, n, NULL };
  run.journal_mode = journal_mode;
  CHECK_OK(os_memory_create(&files));
  CHECK_OK(fault_os_create(files, &run.fault.os));
  bool hit = run_script(&run);
  fault_os_destroy(run.fault.os);
  os_memory_destroy(files);
  check_run(&run, memory_blocks_held() == held, "memory is still held");
  return hit;
}

/* Every call in the long form, one in three in CI's. COLONNADE_FAULT=n fails the n-th alone. */
static void fail_each_in(int journal_mode, bool memory, FaultHow how, uint64_t runs) {
  uint64_t calls = 0, step = 1, random = (uint64_t)how + (memory ? 10 : 0);
  const char *one = getenv("COLONNADE_FAULT");
  if (one) {
    run_once(journal_mode, memory, how, strtoull(one, NULL, 10));
    return;
  }
  for (uint64_t n = 1; run_once(journal_mode, memory, how, n); n *= 2) calls = n; /* how many there are, roughly */
  step += 2 * calls / test_scaled(runs);
  uint64_t done = 0;
  for (uint64_t n = 1 + test_random_below(&random, step); run_once(journal_mode, memory, how, n); n += step) done++;
  fprintf(stderr, "journal mode %d: %" PRIu64 " failures, one in %" PRIu64 "\n", journal_mode, done, step);
}

static void fail_each(bool memory, FaultHow how) {
  fail_each_in(JOURNAL_WAL, memory, how, 200);
  fail_each_in(JOURNAL_DELETE, memory, how, 200);
}

TEST(faults, a_call_that_fails_leaves_the_store_before_or_after) { fail_each(false, FAULT_ERROR); }
TEST(faults, a_short_write_leaves_the_store_before_or_after) { fail_each(false, FAULT_SHORT); }
TEST(faults, a_full_disk_leaves_the_store_before_or_after) { fail_each(false, FAULT_NO_SPACE); }
TEST(faults, an_allocation_that_fails_leaves_the_store_before_or_after) { fail_each(true, FAULT_ERROR); }
