/* oracle.h - what a store must hold, kept without the store: a few families and tables small enough to be compared
 * whole after every crash, the operations that change them, and the same operations done on a session.
 *
 *   kv[0]      the default family; kv[1..] families that are made, cleared and dropped
 *   table      keyed by `id`; ids below ORACLE_IDS one by one, those up to ORACLE_BULK_ROWS as one number, since only
 * bulk appends write them heap       a table without a key: how many rows, and the sum of a hash of them
 *
 * Every value and row is made from its stamp, a number that no two operations share, so that whatever is read back
 * names the operation that wrote it. */
#ifndef COLONNADE_TESTS_CRASH_ORACLE_H
#define COLONNADE_TESTS_CRASH_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

enum {
  ORACLE_FAMILIES = 4,
  ORACLE_COLUMNS = 1, /* the family that has columns over its pairs */
  ORACLE_KEYS = 40,
  ORACLE_IDS = 64,
  ORACLE_BULK_ROWS = 66000,       /* above what is appended row by row */
  ORACLE_TABLE = ORACLE_FAMILIES, /* targets of an operation, behind the families */
  ORACLE_HEAP,
  ORACLE_TARGETS,
};

/* As wide as it is, it has no hole: states are compared as bytes. */
typedef struct OracleKey {
  uint64_t stamp; /* 0: absent */
  int64_t expiry;
} OracleKey;

typedef struct OracleRow {
  uint32_t name, amount; /* stamps; name 0: absent */
  int64_t expiry;
} OracleRow;

typedef struct Oracle {
  bool there[ORACLE_TARGETS];
  OracleKey kv[ORACLE_FAMILIES][ORACLE_KEYS];
  OracleRow table[ORACLE_IDS];
  uint32_t bulk; /* the stamp of rows ORACLE_IDS to ORACLE_BULK_ROWS - 1 of the table; 0: none */
  uint64_t heap_rows, heap_sum;
} Oracle;

typedef enum OracleOpKind {
  ORACLE_CREATE,
  ORACLE_DROP,
  ORACLE_CLEAR,
  ORACLE_PUT,
  ORACLE_PUT_IF_ABSENT,
  ORACLE_DELETE, /* of a key or a row */
  ORACLE_LOAD,   /* keys item to item + count - 1 of a family, the last first */
  ORACLE_INSERT, /* rows item to item + count - 1 */
  ORACLE_UPSERT,
  ORACLE_UPDATE,       /* the amount of one row */
  ORACLE_BULK,         /* ORACLE_BULK_ROWS rows from id 0 */
  ORACLE_DELETE_RANGE, /* of keys item to item + count - 1 */
  ORACLE_DELETE_MANY,  /* of rows item to item + count - 1 of the table, in one statement */
} OracleOpKind;

typedef struct OracleOp {
  OracleOpKind kind;
  uint32_t target; /* a family, ORACLE_TABLE or ORACLE_HEAP */
  uint32_t item, count;
  uint32_t stamp; /* of DELETE_MANY: how many of the rows are there, which is what the store must say */
  int64_t expiry;
} OracleOp;

void oracle_init(Oracle *o); /* a new store: the default family alone */
/* Does the operation on the oracle: what the store must answer. After a failure the oracle is as it was. */
Status oracle_apply(Oracle *o, const OracleOp *op, int64_t now_ms);
/* Rows item to item + count - 1 of the table that are there. */
uint32_t oracle_live_rows(const Oracle *o, const OracleOp *op, int64_t now_ms);
/* Does it on a store. */
Status oracle_run(Session *session, const OracleOp *op) MUST_CHECK;
/* Reads a whole store: by iteration and by key, which must agree. KVSTORE_CORRUPT also for what no operation wrote. */
Status oracle_read(Session *session, Oracle *out) MUST_CHECK;
/* Are the two the same at this time (expired is absent)? `why` (may be NULL) gets the first difference. */
bool oracle_equal(const Oracle *a, const Oracle *b, int64_t now_ms, char *why, size_t why_size);
/* One line about an operation, for traces. */
void oracle_describe(const OracleOp *op, char *text, size_t size);

#endif
