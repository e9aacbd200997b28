/* tables.h - what a KVTable is, for the files that ask it questions. */
#ifndef COLONNADE_KVAPI_TABLES_H
#define COLONNADE_KVAPI_TABLES_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/schema.h"
#include "colonnade/kvtable.h"
#include "kvapi/handle.h"
#include "query/query.h"

/* Constant once it is open, so that threads share it without a lock. Queries hold references. */
struct KVTable {
  uint32_t magic;
  _Atomic uint32_t references;
  KVStore *kv;
  uint32_t family;
  Birth *birth;
  Schema schema;
  uint32_t visible; /* columns without the row id */
  char *name;
  KVColumnDefinition *definitions;  /* of the visible ones */
  Projection *projections;          /* of a table over a family's pairs, by column; NULL: a table of its own */
  Arena pairs;                      /* what they consist of */
  uint32_t pairs_table, pairs_kept; /* PairColumns */
  Query *counting;                  /* count(*) of everything */
};

void table_release(KVTable *table); /* NULL is allowed */
/* Begins a call on a table, as handle_enter; then every way out is handle_leave(table->kv, ...). */
Status table_enter(KVTable *table) MUST_CHECK;
/* The same for a call that changes rows: KVSTORE_READONLY for a table over pairs. */
Status table_enter_writing(KVTable *table) MUST_CHECK;
/* A handle with this schema, which is copied; takes `birth` over. */
Status table_handle_over(KVStore *kv, uint32_t family, const char *name, Birth *birth, const Schema *schema,
                         KVTable **out) MUST_CHECK;
/* What a query on it reads of a session: the columns that are `wanted`, the rows of a range of keys. */
Status table_take_snapshot(const KVTable *table, Session *session, const bool *wanted, const KvRange *range,
                           TableSnapshot *out) MUST_CHECK;
/* A call that never got in. */
int table_refuse(KVTable *table, Status status);

#endif
