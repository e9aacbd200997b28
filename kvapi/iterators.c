/* iterators.c - walks over families. An iterator lives on the engine's snapshot, so it may outlive its handle; what it
 * keeps of the handle is for messages, and for evicting what it found expired while the handle is open. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/snapshots.h"

struct KVIterator {
  uint32_t magic;
  bool reverse;
  KVStore *kv;
  KvIterator *rows;
  size_t prefix_length; /* of a prefix iterator of the contract, whose seeks end outside the prefix; else 0 */
  uint8_t prefix[];
};

/* ---- making ---- */

/* Expired keys that it passed go, if the handle is still open. */
static void evict_passed(KVIterator *it) {
  bool inside = handle_enter(it->kv) == KVSTORE_OK;
  kv_iterator_evict(inside ? it->kv->session : NULL, it->rows);
  if (inside) (void)handle_leave(it->kv, KVSTORE_OK);
}

static inline void moved(KVIterator *it) {
  if (UNLIKELY(kv_iterator_has_passed(it->rows, false))) evict_passed(it);
}

/* `stand`: on its first key at once; `exact`: seeks end outside the prefix. */
static Status make(Place place, const KvRange *range, bool reverse, bool stand, bool exact, KVIterator **out) {
  TRY(place.status);
  if (!out) return bad_argument("the place for the iterator is NULL");
  size_t kept = exact ? range->prefix.length : 0;
  KVIterator *it = memory_allocate_zeroed(sizeof *it + kept);
  if (!it) return status_nomem();
  it->prefix_length = kept;
  if (kept) memcpy(it->prefix, range->prefix.data, kept);
  Status status = kv_iterator_open(place.session, place.family, range, reverse, &it->rows);
  if (status == KVSTORE_OK && stand) status = kv_iterator_first(it->rows);
  if (status != KVSTORE_OK) {
    kv_iterator_destroy(it->rows);
    memory_release(it);
    return status;
  }
  it->magic = MAGIC_ITERATOR;
  it->reverse = reverse;
  it->kv = place.kv;
  handle_retain(place.kv);
  handle_tally(place.kv, TALLY_ITERATIONS, 1);
  moved(it);
  *out = it;
  return KVSTORE_OK;
}

static int create(Place place, bool reverse, KVIterator **out) {
  if (out) *out = NULL;
  return place_leave(&place, make(place, &(KvRange){ 0 }, reverse, false, false, out));
}

static int create_prefix(Place place, const void *data, int length, bool reverse, KVIterator **out) {
  KvRange range = { 0 };
  if (out) *out = NULL;
  Status status = place.status;
  if (status == KVSTORE_OK) status = prefix_argument(data, length, &range.prefix);
  if (status == KVSTORE_OK) status = make(place, &range, reverse, true, true, out);
  return place_leave(&place, status);
}

static Status read_options(const KVIteratorOptions *given, KvRange *range, bool *reverse) {
  KVIteratorOptions o = KVSTORE_ITERATOR_OPTIONS_INIT;
  TRY(struct_argument(given, &o, sizeof o));
  if (o.prefix_length) TRY(prefix_argument(o.prefix, o.prefix_length, &range->prefix));
  *reverse = o.reverse != 0;
  return bounds_argument(o.lower, o.lower_length, o.upper, o.upper_length, range);
}

static int create_with(Place place, const KVIteratorOptions *options, KVIterator **out) {
  KvRange range = { 0 };
  bool reverse = false;
  if (out) *out = NULL;
  Status status = place.status;
  if (status == KVSTORE_OK) status = read_options(options, &range, &reverse);
  if (status == KVSTORE_OK) status = make(place, &range, reverse, true, false, out);
  return place_leave(&place, status);
}

int kvstore_iterator_create_with(KVStore *kv, const KVIteratorOptions *options, KVIterator **iterator) {
  return create_with(place_default(kv), options, iterator);
}
int kvstore_cf_iterator_create_with(KVColumnFamily *family, const KVIteratorOptions *options, KVIterator **iterator) {
  return create_with(place_family(family), options, iterator);
}
int kvstore_snapshot_iterator_create(KVSnapshot *snapshot, KVColumnFamily *family, const KVIteratorOptions *options,
                                     KVIterator **iterator) {
  return create_with(place_snapshot(snapshot, family), options, iterator);
}

int kvstore_iterator_create(KVStore *pKV, KVIterator **ppIter) { return create(place_default(pKV), false, ppIter); }
int kvstore_reverse_iterator_create(KVStore *pKV, KVIterator **ppIter) {
  return create(place_default(pKV), true, ppIter);
}
int kvstore_prefix_iterator_create(KVStore *pKV, const void *pPrefix, int nPrefix, KVIterator **ppIter) {
  return create_prefix(place_default(pKV), pPrefix, nPrefix, false, ppIter);
}
int kvstore_reverse_prefix_iterator_create(KVStore *pKV, const void *pPrefix, int nPrefix, KVIterator **ppIter) {
  return create_prefix(place_default(pKV), pPrefix, nPrefix, true, ppIter);
}
int kvstore_cf_iterator_create(KVColumnFamily *pCF, KVIterator **ppIter) {
  return create(place_family(pCF), false, ppIter);
}
int kvstore_cf_reverse_iterator_create(KVColumnFamily *pCF, KVIterator **ppIter) {
  return create(place_family(pCF), true, ppIter);
}
int kvstore_cf_prefix_iterator_create(KVColumnFamily *pCF, const void *pPrefix, int nPrefix, KVIterator **ppIter) {
  return create_prefix(place_family(pCF), pPrefix, nPrefix, false, ppIter);
}
int kvstore_cf_reverse_prefix_iterator_create(KVColumnFamily *pCF, const void *pPrefix, int nPrefix,
                                              KVIterator **ppIter) {
  return create_prefix(place_family(pCF), pPrefix, nPrefix, true, ppIter);
}

void kvstore_iterator_close(KVIterator *pIter) {
  if (!pIter || pIter->magic != MAGIC_ITERATOR) return;
  pIter->magic = MAGIC_DEAD;
  if (kv_iterator_has_passed(pIter->rows, true)) evict_passed(pIter);
  kv_iterator_destroy(pIter->rows);
  handle_release(pIter->kv);
  memory_release(pIter);
}

/* ---- moving ---- */

static bool is_iterator(const KVIterator *it) { return it && it->magic == MAGIC_ITERATOR; }

static Status iterator_argument(const KVIterator *it) {
  if (!is_iterator(it)) return bad_argument(it ? "this is no open iterator" : "the iterator is NULL");
  return handle_is_inherited(it->kv) ? handle_refuse_inherited() : KVSTORE_OK;
}

/* Iterators call no session, so they need not enter; a failure is the handle's all the same. */
static int fail(KVIterator *it, Status status) {
  if (!is_iterator(it)) return handle_refuse(NULL, status);
  handle_tally(it->kv, TALLY_ERRORS, 1);
  return handle_refuse(it->kv, status);
}

static Status direction_argument(const KVIterator *it, bool reverse) {
  TRY(iterator_argument(it));
  if (it->reverse == reverse) return KVSTORE_OK;
  return bad_argument(it->reverse ? "a reverse iterator moves by last and prev"
                                  : "a forward iterator moves by first and next");
}

static int start(KVIterator *it, bool reverse) {
  Status status = direction_argument(it, reverse);
  if (status == KVSTORE_OK) status = kv_iterator_first(it->rows);
  if (status != KVSTORE_OK) return fail(it, status);
  moved(it);
  return KVSTORE_OK;
}

static int step(KVIterator *it, bool reverse) {
  if (UNLIKELY(!is_iterator(it) || it->reverse != reverse || handle_is_inherited(it->kv)))
    return fail(it, direction_argument(it, reverse));
  if (UNLIKELY(kv_iterator_eof(it->rows))) return KVSTORE_OK;
  Status status = kv_iterator_next(it->rows);
  if (UNLIKELY(status != KVSTORE_OK)) return fail(it, status);
  moved(it);
  return KVSTORE_OK;
}

int kvstore_iterator_first(KVIterator *pIter) { return start(pIter, false); }
int kvstore_iterator_next(KVIterator *pIter) { return step(pIter, false); }
int kvstore_iterator_last(KVIterator *pIter) { return start(pIter, true); }
int kvstore_iterator_prev(KVIterator *pIter) { return step(pIter, true); }

/* Without bytes of its prefix a seek may land outside it. */
static Status seek(KVIterator *it, Bytes key) {
  if (key.length < it->prefix_length || memcmp(key.data, it->prefix, it->prefix_length) != 0)
    return kv_iterator_seek_exactly(it->rows, key, (Bytes){ it->prefix, it->prefix_length });
  return kv_iterator_seek(it->rows, key);
}

int kvstore_iterator_seek(KVIterator *pIter, const void *pKey, int nKey) {
  Bytes key;
  Status status = iterator_argument(pIter);
  if (status == KVSTORE_OK) status = bytes_argument(pKey, nKey, "key", &key);
  if (status == KVSTORE_OK && !key.length) status = bad_argument("the key is empty");
  if (status == KVSTORE_OK) status = seek(pIter, key);
  if (status != KVSTORE_OK) return fail(pIter, status);
  moved(pIter);
  return KVSTORE_OK;
}

int kvstore_iterator_eof(KVIterator *pIter) {
  return !is_iterator(pIter) || handle_is_inherited(pIter->kv) || kv_iterator_eof(pIter->rows);
}

/* ---- reading ---- */

/* Asked twice for every row: what is right costs one branch. */
static inline bool stands_on_row(const KVIterator *it, void **data, const int *length) {
  return LIKELY(is_iterator(it) && !handle_is_inherited(it->kv) && data && length && !kv_iterator_eof(it->rows));
}

static Status row_fault(const KVIterator *it, void **data, int *length) {
  if (data) *data = NULL;
  if (length) *length = 0;
  TRY(iterator_argument(it));
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
