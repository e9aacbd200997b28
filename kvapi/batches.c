/* batches.c - changes that are written together. A batch is one buffer: of each change its kind, family and expiry, key
 * and value. */
#include "base/memory.h"
#include "kvapi/handle.h"

struct KVBatch {
  uint32_t magic;
  KVStore *kv;
  Buffer changes;
  size_t count;
  uint64_t puts, put_bytes; /* for the statistics */
  Birth **births;           /* of families that a transaction of the handle created; each once */
  size_t birth_count, birth_capacity;
};

/* ---- life ---- */

static bool is_batch(const KVBatch *batch) { return batch && batch->magic == MAGIC_BATCH; }

static Status create(KVStore *kv, KVBatch **out) {
  if (!out) return bad_argument("the place for the batch is NULL");
  KVBatch *batch = memory_allocate_zeroed(sizeof *batch);
  if (!batch) return status_nomem();
  batch->magic = MAGIC_BATCH;
  batch->kv = kv;
  handle_retain(kv);
  *out = batch;
  return KVSTORE_OK;
}

int kvstore_batch_create(KVStore *kv, KVBatch **batch) {
  if (batch) *batch = NULL;
  Place place = place_default(kv);
  return place_leave(&place, place.status == KVSTORE_OK ? create(kv, batch) : place.status);
}

static void forget(KVBatch *batch) {
  for (size_t i = 0; i < batch->birth_count; i++) birth_release(batch->births[i]);
  batch->birth_count = 0;
  batch->count = 0;
  batch->puts = batch->put_bytes = 0;
  buffer_clear(&batch->changes);
}

void kvstore_batch_close(KVBatch *batch) {
  if (!is_batch(batch)) return;
  batch->magic = MAGIC_DEAD;
  forget(batch);
  memory_release((void *)batch->births);
  buffer_release(&batch->changes);
  handle_release(batch->kv);
  memory_release(batch);
}

/* Inside the batch's handle; its family is that of a call. */
static Place enter(const KVBatch *batch) {
  if (is_batch(batch)) return place_default(batch->kv);
  return (Place){ NULL, NULL, 0, false, bad_argument(batch ? "this is no open batch" : "the batch is NULL") };
}

int kvstore_batch_clear(KVBatch *batch) {
  if (!is_batch(batch)) return handle_refuse(NULL, enter(batch).status);
  forget(batch);
  return KVSTORE_OK;
}

size_t kvstore_batch_count(const KVBatch *batch) { return is_batch(batch) ? batch->count : 0; }

/* ---- adding ---- */

static Status note_birth(KVBatch *batch, Birth *birth) {
  for (size_t i = 0; i < batch->birth_count; i++)
    if (batch->births[i] == birth) return KVSTORE_OK;
  TRY(memory_grow((void *)&batch->births, &batch->birth_capacity, batch->birth_count + 1, sizeof(Birth *)));
  batch->births[batch->birth_count++] = birth_retain(birth);
  return KVSTORE_OK;
}

static Status find_family(KVBatch *batch, const KVColumnFamily *cf, uint32_t *family) {
  *family = FAMILY_DEFAULT_ID;
  if (!cf) return KVSTORE_OK;
  if (cf->magic != MAGIC_FAMILY) return bad_argument("this is no open family");
  if (cf->kv != batch->kv) return bad_argument("the family is another handle's");
  TRY(birth_check(cf->birth));
  if (cf->birth) TRY(note_birth(batch, cf->birth));
  *family = cf->family;
  return KVSTORE_OK;
}

static Status append(KVBatch *batch, const KvChange *change) {
  Buffer *to = &batch->changes;
  size_t before = to->length;
  buffer_u8(to, (uint8_t)change->kind);
  buffer_u32(to, change->family);
  buffer_u64(to, (uint64_t)change->expiry);
  buffer_bytes(to, change->key.data, change->key.length);
  buffer_bytes(to, change->value.data, change->value.length);
  Status status = buffer_status(to);
  if (status == KVSTORE_OK) {
    batch->count++;
  } else {
    to->length = before;
    to->failed = false;
  }
  return status;
}

static int add_put(KVBatch *batch, KVColumnFamily *family, const void *key, int key_length, const void *value,
                   int value_length, int64_t expire_ms) {
  KvChange change = { .kind = KV_CHANGE_PUT };
  Place place = enter(batch);
  Status status = place.status;
  if (status == KVSTORE_OK) status = bytes_argument(key, key_length, "key", &change.key);
  if (status == KVSTORE_OK) status = bytes_argument(value, value_length, "value", &change.value);
  if (status == KVSTORE_OK) status = expiry_argument(expire_ms, &change.expiry);
  if (status == KVSTORE_OK) status = kv_check_pair(place.kv->session, change.key, change.value);
  if (status == KVSTORE_OK) status = find_family(batch, family, &change.family);
  if (status == KVSTORE_OK) status = append(batch, &change);
  if (status == KVSTORE_OK) {
    batch->puts++;
    batch->put_bytes += change.key.length + change.value.length;
  }
  return place_leave(&place, status);
}

int kvstore_batch_put(KVBatch *batch, KVColumnFamily *family, const void *key, int key_length, const void *value,
                      int value_length) {
  return add_put(batch, family, key, key_length, value, value_length, 0);
}

int kvstore_batch_put_ttl(KVBatch *batch, KVColumnFamily *family, const void *key, int key_length, const void *value,
                          int value_length, int64_t expire_ms) {
  return add_put(batch, family, key, key_length, value, value_length, expire_ms);
}

int kvstore_batch_delete(KVBatch *batch, KVColumnFamily *family, const void *key, int key_length) {
  KvChange change = { .kind = KV_CHANGE_DELETE };
  Place place = enter(batch);
  Status status = place.status;
  if (status == KVSTORE_OK) status = key_argument(key, key_length, &change.key);
  if (status == KVSTORE_OK) status = find_family(batch, family, &change.family);
  if (status == KVSTORE_OK) status = append(batch, &change);
  return place_leave(&place, status);
}

int kvstore_batch_delete_range(KVBatch *batch, KVColumnFamily *family, const void *lower, int lower_length,
                               const void *upper, int upper_length) {
  KvChange change = { .kind = KV_CHANGE_DELETE_RANGE };
  KvRange range = { 0 };
  Place place = enter(batch);
  Status status = place.status;
  if (status == KVSTORE_OK) status = bounds_argument(lower, lower_length, upper, upper_length, &range);
  if (status == KVSTORE_OK) status = find_family(batch, family, &change.family);
  change.key = range.lower;
  change.value = range.upper;
  if (status == KVSTORE_OK) status = append(batch, &change);
  return place_leave(&place, status);
}

/* ---- writing ---- */

static Status next_change(void *context, KvChange *change, bool *more) {
  Reader *in = context;
  *more = reader_left(in) > 0;
  if (!*more) return KVSTORE_OK;
  change->kind = reader_u8(in);
  change->family = reader_u32(in);
  change->expiry = (int64_t)reader_u64(in);
  change->key = reader_bytes(in);
  change->value = reader_bytes(in);
  if (change->kind != KV_CHANGE_DELETE_RANGE) return KVSTORE_OK;
  if (!change->key.length) change->key.data = NULL; /* no bound */
  if (!change->value.length) change->value.data = NULL;
  return KVSTORE_OK;
}

static Status write_changes(KVBatch *batch, int64_t *deleted) {
  for (size_t i = 0; i < batch->birth_count; i++) TRY(birth_check(batch->births[i]));
  if (!batch->count) return KVSTORE_OK;
  uint64_t found = 0;
  Reader in = reader_over(batch->changes.data, batch->changes.length);
  TRY(kv_write_changes(batch->kv->session, next_change, &in, &found));
  if (deleted) *deleted = (int64_t)found;
  handle_tally(batch->kv, TALLY_PUTS, batch->puts);
  handle_tally(batch->kv, TALLY_BYTES_WRITTEN, batch->put_bytes);
  handle_tally(batch->kv, TALLY_DELETES, found);
  if (batch->puts || found) handle_wrote(batch->kv);
  return KVSTORE_OK;
}

int kvstore_batch_write(KVBatch *batch, int64_t *deleted) {
  if (deleted) *deleted = 0;
  Place place = enter(batch);
  return place_leave(&place, place.status == KVSTORE_OK ? write_changes(batch, deleted) : place.status);
}
