/* workload.h - random transactions, made from an oracle alone: the same seed over the same oracle gives the same
 * operations, whatever the store does with them. So who knows where a killed process began can say where it may have
 * ended. */
#ifndef COLONNADE_TESTS_CRASH_WORKLOAD_H
#define COLONNADE_TESTS_CRASH_WORKLOAD_H

#include "tests/crash/oracle.h"

enum { WORK_OPS_MAX = 48 };

typedef struct Workload {
  uint64_t random;
  uint32_t next_stamp;   /* rises from operation to operation */
  int64_t now_ms;        /* the store's clock */
  bool short_lives;      /* expiries of seconds: the clock must be the test's own */
  uint32_t bulk_one_in;  /* one operation in so many is a bulk append; 0: none */
  bool loads;            /* bulk loads of keys too: these may write into the file before the log */
  uint32_t large_one_in; /* one transaction in so many is too large for a log of 64 KiB; 0: none */
} Workload;

typedef struct WorkTransaction {
  OracleOp ops[WORK_OPS_MAX];
  uint32_t count;
  bool autocommit; /* one operation, without begin and commit */
  bool rollback;   /* at the end, instead of a commit */
} WorkTransaction;

/* Makes the next transaction, and in *after what the store holds when it is committed (or rolled back, when it says
 * so). */
void workload_next(Workload *w, const Oracle *before, WorkTransaction *out, Oracle *after);

typedef enum WorkOutcome {
  WORK_DONE,     /* acknowledged: the store is at `after` */
  WORK_REFUSED,  /* a statement failed that should not have: rolled back, the store is at `before` */
  WORK_IN_DOUBT, /* the commit failed: one of the two */
  WORK_WRONG,    /* an answer was wrong: a statement succeeded that must not, or the other way round */
} WorkOutcome;

/* Does it on a session. *status is of the call that failed; `before` and the workload's clock say what each statement
 * must answer. */
WorkOutcome workload_run(Session *session, const WorkTransaction *t, const Oracle *before, int64_t now_ms,
                         Status *status);

#endif
