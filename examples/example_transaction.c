/* Keys and a table in one transaction: an order takes from the stock and is written down, or nothing happens.
 *
 *   example_transaction [FILE]        without a file: in memory */
#include <stdio.h>
#include <string.h>

#include "colonnade/kvtable.h"

static int stock_of(KVStore *kv, int *pieces) {
  void *value = NULL;
  int length = 0;
  int status = kvstore_get(kv, "stock:lamp", 10, &value, &length);
  if (status == KVSTORE_OK) memcpy(pieces, value, sizeof *pieces);
  kvstore_free(value);
  return status;
}

/* Returns a code; 0 also when there was too little in stock, and then nothing has changed. */
static int order(KVStore *kv, KVTable *orders, int pieces) {
  int stock = 0;
  KVValue row[] = { kvvalue_string("lamp"), kvvalue_i64(pieces) };
  uint64_t number = 0;
  int status = kvstore_begin(kv, 1);
  if (status) return status;
  status = kvtable_insert(orders, row, 2, 0, &number);
  if (!status) status = stock_of(kv, &stock);
  if (!status && stock < pieces) {
    printf("%d lamps: only %d are left\n", pieces, stock);
    return kvstore_rollback(kv); /* the row of the order goes too */
  }
  stock -= pieces;
  if (!status) status = kvstore_put(kv, "stock:lamp", 10, &stock, sizeof stock);
  if (!status) status = kvstore_commit(kv);
  if (status) return kvstore_rollback(kv), status;
  printf("%d lamps: order %d\n", pieces, (int)number);
  return KVSTORE_OK;
}

int main(int argc, char **argv) {
  static const KVColumnDefinition columns[] = { { "article", KVTABLE_TYPE_STRING, 0, 0 },
                                                { "pieces", KVTABLE_TYPE_I32, 0, 0 } };
  KVStore *kv = NULL;
  KVTable *orders = NULL;
  uint64_t count = 0;
  int stock = 10;
  if (kvstore_open(argc > 1 ? argv[1] : NULL, &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) {
    fprintf(stderr, "cannot open: %s\n", kvstore_errmsg(NULL));
    return 1;
  }
  int status = kvtable_create(kv, "orders", columns, 2, NULL, 0, &orders);
  if (!status) status = kvstore_put(kv, "stock:lamp", 10, &stock, sizeof stock);
  if (!status) status = order(kv, orders, 7);
  if (!status) status = order(kv, orders, 5);
  if (!status) status = order(kv, orders, 3);
  if (!status) status = stock_of(kv, &stock);
  if (!status) status = kvtable_count(orders, &count);
  if (!status) printf("%d orders, %d lamps left\n", (int)count, stock);
  if (status) fprintf(stderr, "failed: %s\n", kvstore_errmsg(kv));
  kvtable_close(orders);
  return kvstore_close(kv) || status;
}
