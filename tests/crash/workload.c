#include "tests/crash/workload.h"

#include "tests/support/test.h"

/* ---- making ---- */

static int64_t random_expiry(Workload *w) {
  if (test_random_below(&w->random, 4)) return EXPIRY_NEVER;
  if (!w->short_lives) return INT64_C(4102444800000) + (int64_t)test_random_below(&w->random, 1000000); /* in 2100 */
  return w->now_ms + 500 + (int64_t)test_random_below(&w->random, 20000);
}

static OracleOpKind random_kind(Workload *w, const Oracle *o, uint32_t target) {
  if (!o->there[target]) return ORACLE_CREATE;
  uint64_t r = test_random_below(&w->random, 100);
  if (target && r < 2) return ORACLE_DROP;
  if (r < 4) return ORACLE_CLEAR;
  if (target == ORACLE_HEAP) return ORACLE_INSERT;
  if (target < ORACLE_FAMILIES && r >= 96) return ORACLE_DELETE_RANGE;
  if (target < ORACLE_FAMILIES)
    return r < 50 ? ORACLE_PUT : r < 60 ? ORACLE_PUT_IF_ABSENT : r < 66 && w->loads ? ORACLE_LOAD : ORACLE_DELETE;
  if (r >= 94) return ORACLE_DELETE_MANY;
  return r < 50 ? ORACLE_UPSERT : r < 65 ? ORACLE_INSERT : r < 82 ? ORACLE_UPDATE : ORACLE_DELETE;
}

/* A few rows, or all that there are. */
static void choose_rows(Workload *w, const Oracle *o, OracleOp *op) {
  op->count = 1 + (uint32_t)test_random_below(&w->random, 12);
  op->item = (uint32_t)test_random_below(&w->random, ORACLE_IDS - op->count + 1);
  if (o->bulk && test_random_below(&w->random, 2)) {
    op->item = 0;
    op->count = ORACLE_BULK_ROWS;
  }
  op->stamp = oracle_live_rows(o, op, w->now_ms);
}

static void random_op(Workload *w, const Oracle *o, OracleOp *op) {
  *op = (OracleOp){ .target = (uint32_t)test_random_below(&w->random, ORACLE_TARGETS), .count = 1 };
  op->kind = random_kind(w, o, op->target);
  op->stamp = w->next_stamp++;
  op->expiry = op->target == ORACLE_HEAP ? EXPIRY_NEVER : random_expiry(w);
  if (op->target < ORACLE_FAMILIES) {
    if (op->kind == ORACLE_DELETE_RANGE) op->count = 1 + (uint32_t)test_random_below(&w->random, 12);
    op->item = (uint32_t)test_random_below(&w->random, ORACLE_KEYS - op->count + 1);
    if (op->kind == ORACLE_LOAD) op->count = 1 + (uint32_t)test_random_below(&w->random, ORACLE_KEYS - op->item);
    return;
  }
  if (op->kind == ORACLE_DELETE_MANY) {
    choose_rows(w, o, op);
    return;
  }
  bool many = op->kind == ORACLE_INSERT || op->kind == ORACLE_UPSERT;
  if (many) op->count = 1 + (uint32_t)test_random_below(&w->random, 12);
  op->item = (uint32_t)test_random_below(&w->random, ORACLE_IDS - op->count + 1);
  if (many && w->bulk_one_in && test_random_below(&w->random, w->bulk_one_in) == 0) {
    op->kind = ORACLE_BULK;
    op->item = 0;
    op->expiry = EXPIRY_NEVER; /* the oracle keeps one stamp for most of it */
  }
}

/* Whole tables and long values, over and over: more than a record holds. */
static void large_op(Workload *w, const Oracle *o, OracleOp *op) {
  random_op(w, o, op);
  if (op->kind == ORACLE_UPSERT || op->kind == ORACLE_UPDATE) {
    op->kind = ORACLE_UPSERT;
    op->item = 0;
    op->count = ORACLE_IDS;
  }
  if (op->target == ORACLE_HEAP && op->kind == ORACLE_INSERT) op->count = 400;
}

void workload_next(Workload *w, const Oracle *before, WorkTransaction *out, Oracle *after) {
  *out = (WorkTransaction){ 0 };
  *after = *before;
  bool large = w->large_one_in && test_random_below(&w->random, w->large_one_in) == 0;
  out->autocommit = !large && test_random_below(&w->random, 2);
  out->rollback = !out->autocommit && test_random_below(&w->random, 6) == 0;
  out->count = out->autocommit ? 1 : large ? WORK_OPS_MAX : 1 + (uint32_t)test_random_below(&w->random, 8);
  for (uint32_t i = 0; i < out->count; i++) {
    if (large)
      large_op(w, after, &out->ops[i]);
    else
      random_op(w, after, &out->ops[i]);
    (void)oracle_apply(after, &out->ops[i], w->now_ms);
  }
  if (out->rollback) *after = *before;
}

/* ---- doing ---- */

static WorkOutcome run_statement(Session *session, const OracleOp *op, Oracle *state, int64_t now_ms, Status *status) {
  Status expected = oracle_apply(state, op, now_ms);
  *status = oracle_run(session, op);
  if (*status == expected) return WORK_DONE;
  bool answer = *status == KVSTORE_OK || *status == KVSTORE_CONSTRAINT || *status == KVSTORE_NOTFOUND;
  return answer ? WORK_WRONG : WORK_REFUSED;
}

WorkOutcome workload_run(Session *session, const WorkTransaction *t, const Oracle *before, int64_t now_ms,
                         Status *status) {
  Oracle state = *before;
  if (t->autocommit) {
    WorkOutcome outcome = run_statement(session, &t->ops[0], &state, now_ms, status);
    return outcome == WORK_REFUSED ? WORK_IN_DOUBT : outcome;
  }
  *status = session_begin(session, true);
  if (*status != KVSTORE_OK) return WORK_REFUSED;
  for (uint32_t i = 0; i < t->count; i++) {
    WorkOutcome outcome = run_statement(session, &t->ops[i], &state, now_ms, status);
    if (outcome == WORK_DONE) continue;
    Status undone = session_rollback(session);
    (void)undone;
    return outcome;
  }
  if (t->rollback) {
    *status = session_rollback(session);
    return *status == KVSTORE_OK ? WORK_DONE : WORK_REFUSED;
  }
  *status = session_commit(session);
  return *status == KVSTORE_OK ? WORK_DONE : WORK_IN_DOUBT;
}
