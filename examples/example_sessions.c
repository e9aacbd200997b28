/* Keys and values with a time to live: sessions that expire by themselves.
 *
 *   example_sessions [FILE]        without a file: in memory */
#include <stdio.h>
#include <string.h>

#include "colonnade/kvstore.h"

int main(int argc, char **argv) {
  KVStore *kv = NULL;
  if (kvstore_open(argc > 1 ? argv[1] : NULL, &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) {
    fprintf(stderr, "cannot open: %s\n", kvstore_errmsg(NULL));
    return 1;
  }

  /* One session lasts for half an hour, one has ended already. */
  int64_t now = kvstore_now_ms();
  int failed = kvstore_put_ttl(kv, "session:ada", 11, "token-1", 7, now + 30 * 60 * 1000) ||
               kvstore_put_ttl(kv, "session:bob", 11, "token-2", 7, now - 1) ||
               kvstore_put(kv, "user:ada", 8, "Ada Lovelace", 12);

  void *value = NULL;
  int length = 0;
  int64_t left = 0;
  if (!failed && kvstore_get_ttl(kv, "session:ada", 11, &value, &length, &left) == KVSTORE_OK) {
    printf("ada: %.*s, %lld minutes left\n", length, (char *)value, (long long)((left + 59999) / 60000));
    kvstore_free(value);
  }
  if (kvstore_get(kv, "session:bob", 11, &value, &length) == KVSTORE_NOTFOUND) printf("bob: no session\n");

  /* Every live session, in the order of the keys. */
  KVIterator *it = NULL;
  int sessions = 0;
  failed = failed || kvstore_prefix_iterator_create(kv, "session:", 8, &it);
  while (!failed && !kvstore_iterator_eof(it)) {
    sessions++;
    failed = kvstore_iterator_next(it);
  }
  kvstore_iterator_close(it);
  printf("%d session\n", sessions);

  if (failed) fprintf(stderr, "failed: %s\n", kvstore_errmsg(kv));
  return kvstore_close(kv) || failed;
}
