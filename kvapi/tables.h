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
  KVColumnDefinition *definitions; /* of the visible ones */
  Query *counting;                 /* count(*) of everything */
};

void table_release(KVTable *table); /* NULL is allowed */
/* Begins a call on a table, as handle_enter; then every way out is handle_leave(table->kv, ...). */
Status table_enter(KVTable *table) MUST_CHECK;
/* A call that never got in. */
int table_refuse(KVTable *table, Status status);

#endif
