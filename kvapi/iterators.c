/* iterators.c - walks over families. An iterator lives on the engine's snapshot, so it may outlive its handle; what it
 * keeps of the handle is for messages alone. */
#include "base/memory.h"
#include "kvapi/handle.h"

struct KVIterator {
  uint32_t magic;
  bool reverse;
  KVStore *kv;
  KvIterator *rows;
};

/* ---- making ---- */

static Status make(KVStore *kv, uint32_t family, Bytes prefix, bool reverse, KVIterator **out) {
  if (!out) return bad_argument("the place for the iterator is NULL");
  KVIterator *it = memory_allocate_zeroed(sizeof *it);
  if (!it) return status_nomem();
  Status status = kv_iterator_create(kv->session, family, prefix, reverse, &it->rows);
  if (status == KVSTORE_OK && prefix.length) status = kv_iterator_first(it->rows);
  if (status != KVSTORE_OK) {
    kv_iterator_destroy(it->rows);
    memory_release(it);
    return status;
  }
  it->magic = MAGIC_ITERATOR;
  it->reverse = reverse;
  it->kv = kv;
  handle_retain(kv);
  handle_tally(kv, TALLY_ITERATIONS, 1);
  *out = it;
  return KVSTORE_OK;
}

static Status prefix_argument(const void *data, int length, Bytes *prefix) {
  TRY(bytes_argument(data, length, "prefix", prefix));
  if (!prefix->length) return bad_argument("the prefix is empty: a plain iterator walks over all keys");
  if (prefix->length > KEY_BYTES_MAX)
    return status_fail(KVSTORE_ERROR, "a prefix of %zu bytes: keys have at most %u", prefix->length, KEY_BYTES_MAX);
  return KVSTORE_OK;
}

static int create(KVStore *kv, bool reverse, KVIterator **out) {
  if (out) *out = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, make(kv, FAMILY_DEFAULT_ID, (Bytes){ 0 }, reverse, out));
}

static int create_prefix(KVStore *kv, const void *data, int length, bool reverse, KVIterator **out) {
  Bytes prefix;
  if (out) *out = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  status = prefix_argument(data, length, &prefix);
  if (status == KVSTORE_OK) status = make(kv, FAMILY_DEFAULT_ID, prefix, reverse, out);
  return handle_leave(kv, status);
}

static Status enter_family(KVColumnFamily *cf) {
  if (!cf || cf->magic != MAGIC_FAMILY) return bad_argument(cf ? "this is no open family" : "the family is NULL");
  return handle_enter(cf->kv);
}

static int refuse_family(KVColumnFamily *cf, Status status) {
  return handle_refuse(cf && cf->magic == MAGIC_FAMILY ? cf->kv : NULL, status);
}

static int cf_create(KVColumnFamily *cf, bool reverse, KVIterator **out) {
  if (out) *out = NULL;
  Status status = enter_family(cf);
  if (status != KVSTORE_OK) return refuse_family(cf, status);
  status = birth_check(cf->birth);
  if (status == KVSTORE_OK) status = make(cf->kv, cf->family, (Bytes){ 0 }, reverse, out);
  return handle_leave(cf->kv, status);
}

static int cf_create_prefix(KVColumnFamily *cf, const void *data, int length, bool reverse, KVIterator **out) {
  Bytes prefix;
  if (out) *out = NULL;
  Status status = enter_family(cf);
  if (status != KVSTORE_OK) return refuse_family(cf, status);
  status = birth_check(cf->birth);
  if (status == KVSTORE_OK) status = prefix_argument(data, length, &prefix);
  if (status == KVSTORE_OK) status = make(cf->kv, cf->family, prefix, reverse, out);
  return handle_leave(cf->kv, status);
}

int kvstore_iterator_create(KVStore *pKV, KVIterator **ppIter) { return create(pKV, false, ppIter); }
int kvstore_reverse_iterator_create(KVStore *pKV, KVIterator **ppIter) { return create(pKV, true, ppIter); }
int kvstore_prefix_iterator_create(KVStore *pKV, const void *pPrefix, int nPrefix, KVIterator **ppIter) {
  return create_prefix(pKV, pPrefix, nPrefix, false, ppIter);
}
int kvstore_reverse_prefix_iterator_create(KVStore *pKV, const void *pPrefix, int nPrefix, KVIterator **ppIter) {
  return create_prefix(pKV, pPrefix, nPrefix, true, ppIter);
}
int kvstore_cf_iterator_create(KVColumnFamily *pCF, KVIterator **ppIter) { return cf_create(pCF, false, ppIter); }
int kvstore_cf_reverse_iterator_create(KVColumnFamily *pCF, KVIterator **ppIter) {
  return cf_create(pCF, true, ppIter);
}
int kvstore_cf_prefix_iterator_create(KVColumnFamily *pCF, const void *pPrefix, int nPrefix, KVIterator **ppIter) {
  return cf_create_prefix(pCF, pPrefix, nPrefix, false, ppIter);
}
int kvstore_cf_reverse_prefix_iterator_create(KVColumnFamily *pCF, const void *pPrefix, int nPrefix,
                                              KVIterator **ppIter) {
  return cf_create_prefix(pCF, pPrefix, nPrefix, true, ppIter);
}

void kvstore_iterator_close(KVIterator *pIter) {
  if (!pIter || pIter->magic != MAGIC_ITERATOR) return;
  pIter->magic = MAGIC_DEAD;
  kv_iterator_destroy(pIter->rows);
  handle_release(pIter->kv);
  memory_release(pIter);
}

/* ---- moving ---- */

static bool is_iterator(const KVIterator *it) { return it && it->magic == MAGIC_ITERATOR; }

/* Iterators call no session, so they need not enter; a failure is the handle's all the same. */
static int fail(KVIterator *it, Status status) {
  if (!is_iterator(it)) return handle_refuse(NULL, status);
  handle_tally(it->kv, TALLY_ERRORS, 1);
  return handle_refuse(it->kv, status);
}

static Status direction_argument(const KVIterator *it, bool reverse) {
  if (!is_iterator(it)) return bad_argument(it ? "this is no open iterator" : "the iterator is NULL");
  if (it->reverse == reverse) return KVSTORE_OK;
  return bad_argument(it->reverse ? "a reverse iterator moves by last and prev"
                                  : "a forward iterator moves by first and next");
}

static int start(KVIterator *it, bool reverse) {
  Status status = direction_argument(it, reverse);
  if (status == KVSTORE_OK) status = kv_iterator_first(it->rows);
  return status == KVSTORE_OK ? KVSTORE_OK : fail(it, status);
}

static int step(KVIterator *it, bool reverse) {
  if (UNLIKELY(!is_iterator(it) || it->reverse != reverse)) return fail(it, direction_argument(it, reverse));
  if (UNLIKELY(kv_iterator_eof(it->rows))) return KVSTORE_OK;
  Status status = kv_iterator_next(it->rows);
  return LIKELY(status == KVSTORE_OK) ? KVSTORE_OK : fail(it, status);
}

int kvstore_iterator_first(KVIterator *pIter) { return start(pIter, false); }
int kvstore_iterator_next(KVIterator *pIter) { return step(pIter, false); }
int kvstore_iterator_last(KVIterator *pIter) { return start(pIter, true); }
int kvstore_iterator_prev(KVIterator *pIter) { return step(pIter, true); }

int kvstore_iterator_seek(KVIterator *pIter, const void *pKey, int nKey) {
  Bytes key;
  if (!is_iterator(pIter))
    return fail(pIter, bad_argument(pIter ? "this is no open iterator" : "the iterator is NULL"));
  Status status = bytes_argument(pKey, nKey, "key", &key);
  if (status == KVSTORE_OK && !key.length) status = bad_argument("the key is empty");
  if (status == KVSTORE_OK) status = kv_iterator_seek(pIter->rows, key);
  return status == KVSTORE_OK ? KVSTORE_OK : fail(pIter, status);
}

int kvstore_iterator_eof(KVIterator *pIter) { return !is_iterator(pIter) || kv_iterator_eof(pIter->rows); }

/* ---- reading ---- */

/* Asked twice for every row: what is right costs one branch. */
static inline bool stands_on_row(const KVIterator *it, void **data, const int *length) {
  return LIKELY(is_iterator(it) && data && length && !kv_iterator_eof(it->rows));
}

static Status row_fault(const KVIterator *it, void **data, int *length) {
  if (data) *data = NULL;
  if (length) *length = 0;
  if (!is_iterator(it)) return bad_argument(it ? "this is no open iterator" : "the iterator is NULL");
  if (!data || !length) return bad_argument("the place for the bytes is NULL");
  return bad_argument("the iterator stands on no key");
}

int kvstore_iterator_key(KVIterator *pIter, void **ppKey, int *pnKey) {
  if (!stands_on_row(pIter, ppKey, pnKey)) return fail(pIter, row_fault(pIter, ppKey, pnKey));
  Bytes key = kv_iterator_key(pIter->rows);
  *ppKey = (void *)key.data; /* the contract's type; the bytes are not to be written */
  *pnKey = (int)key.length;
  return KVSTORE_OK;
}

int kvstore_iterator_value(KVIterator *pIter, void **ppValue, int *pnValue) {
  if (!stands_on_row(pIter, ppValue, pnValue)) return fail(pIter, row_fault(pIter, ppValue, pnValue));
  Bytes value = { NULL, 0 };
  *ppValue = NULL;
  *pnValue = 0;
  Status status = kv_iterator_value(pIter->rows, &value);
  if (UNLIKELY(status != KVSTORE_OK)) return fail(pIter, status);
  *ppValue = value.length ? (void *)value.data : NULL;
  *pnValue = (int)value.length;
  return KVSTORE_OK;
}
