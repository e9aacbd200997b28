/* pair_tables.h - tables over the pairs of a kv family: what rows.c and tables.c need of them. */
#ifndef COLONNADE_KVAPI_PAIR_TABLES_H
#define COLONNADE_KVAPI_PAIR_TABLES_H

#include "kvapi/tables.h"

/* The row of a pair; strings go into `arena`. KVSTORE_NOTFOUND. */
Status pair_get(const KVTable *table, Bytes key, Arena *arena, Value *values, int64_t *expiry) MUST_CHECK;

#endif
