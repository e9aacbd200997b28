/* kv_count.c - how many keys a kv family has (VIS-8), without walking it again and again.
 *
 * A family remembers the count of one era at one sequence. What other sequences count differs from it by the rows of
 * the deltas between the two: each key among them is looked up once at either end. A flush does not change a count, so
 * it takes it along, as of its boundary, into the manifest (for families whose count was asked for lately); a
 * compaction that leaves expired rows behind does change it, and takes it away. Where nothing is known, the rows are
 * walked once. */
#include "base/counters.h"
#include "base/hash.h"
#include "engine/kv_rows.h"

enum { WANTED_FLUSHES = 16 }; /* a count that nobody asked for during so many flushes is not carried on */

static uint64_t boundary_of(const Manifest *m) { return m->replay.sequence - 1; }

/* ---- what is remembered ---- */

/* Who stays on an older generation counts for itself from here on: the family may have been cleared between the two,
 * and the first era of every generation begins at 0. A process that has slept through generations knows nothing of what
 * they left behind: only the manifest's own count holds. */
void family_count_adopt(Family *family, const Manifest *m, const Era *era, uint64_t keys) {
  FamilyCount *c = &family->count;
  mutex_lock(&c->lock);
  bool skipped = m->generation > c->generation + 1;
  c->generation = m->generation;
  if (keys == KEYS_UNKNOWN) {
    c->known = false;
  } else if (!c->known || skipped || c->sequence < boundary_of(m)) {
    c->known = true;
    c->era = era->since;
    c->sequence = boundary_of(m);
    c->keys = keys;
  }
  mutex_unlock(&c->lock);
}

void family_count_adopted_run(Family *family, uint64_t sequence) {
  mutex_lock(&family->count.lock);
  if (sequence > family->count.adopted) family->count.adopted = sequence;
  mutex_unlock(&family->count.lock);
}

/* What is known that a reader of this version and era may go on from: a count at `*sequence`. A new era, or one that no
 * generation has seen yet, began with nothing. */
static bool recall(Family *family, const Version *v, const Era *era, uint64_t *sequence, uint64_t *keys) {
  FamilyCount *c = &family->count;
  mutex_lock(&c->lock);
  bool known = c->known && v->manifest->generation >= c->generation && c->era == era->since;
  if (known) {
    *sequence = c->sequence;
    *keys = c->keys;
  }
  mutex_unlock(&c->lock);
  if (known) return true;
  *sequence = era->since;
  *keys = 0;
  return era->since >= boundary_of(v->manifest);
}

static void remember(Family *family, const Version *v, const Era *era, uint64_t sequence, uint64_t keys) {
  FamilyCount *c = &family->count;
  mutex_lock(&c->lock);
  if (v->manifest->generation >= c->generation && (!c->known || sequence > c->sequence)) {
    c->known = true;
    c->era = era->since;
    c->sequence = sequence;
    c->keys = keys;
  }
  mutex_unlock(&c->lock);
}

/* ---- the difference between two sequences ---- */

/* May the two be compared by the rows of this era's deltas? Those of runs are not told apart by sequence: neither the
 * manifest's nor those adopted since, which an older version does not even know of. A delta that was frozen knows
 * nothing of what came after. */
static bool comparable(Family *family, const Version *v, const Era *era, uint64_t low, uint64_t high) {
  if (low < boundary_of(v->manifest) || low < era->since) return false;
  if (high > atomic_load_explicit(&era->deltas[0].delta->boundary, memory_order_acquire)) return false;
  mutex_lock(&family->count.lock);
  uint64_t adopted = family->count.adopted;
  mutex_unlock(&family->count.lock);
  return adopted <= low;
}

/* Is this row what decides about its key at `high`? */
static bool decides(const Era *era, uint32_t layer, uint32_t row, Bytes key, uint64_t hash, uint64_t high) {
  KvRow found;
  for (uint32_t i = 0; i < layer; i++)
    if (kv_delta_find(era->deltas[i].delta->kv, hash, key.data, key.length, high, &found) != DELTA_ABSENT) return false;
  return kv_delta_find(era->deltas[layer].delta->kv, hash, key.data, key.length, high, &found) != DELTA_ABSENT &&
         found.row == row;
}

static Status add_row(const Era *era, const LayerList *before, uint32_t layer, uint32_t row, bool tombstone,
                      uint64_t high, int64_t *change) {
  Bytes key = kv_delta_row_key(era->deltas[layer].delta->kv, row);
  uint64_t hash = hash_key(key.data, key.length);
  if (!decides(era, layer, row, key, hash, high)) return KVSTORE_OK;
  MergeRow old;
  DeltaState was;
  TRY(merge_get(before->layers, before->count, hash, key.data, key.length, INT64_MIN, &old, &was));
  if (was == DELTA_FOUND) merge_row_release(&old);
  *change += (int64_t)!tombstone - (was == DELTA_FOUND);
  return KVSTORE_OK;
}

/* The rows of one delta between the two, newest first. */
static Status add_delta(const Era *era, const LayerList *before, uint32_t layer, uint64_t low, uint64_t high,
                        int64_t *change) {
  const KvDelta *delta = era->deltas[layer].delta->kv;
  for (uint32_t row = kv_delta_last(delta); row; row = kv_delta_before(delta, row)) {
    KvRow at;
    kv_delta_row(delta, row, &at);
    if (kv_delta_dead_at(delta, row) == DEAD_ROLLED_BACK || at.sequence > high) continue;
    if (at.sequence <= low) break;
    TRY(add_row(era, before, layer, row, at.tombstone, high, change));
  }
  return KVSTORE_OK;
}

static Status change_between(const Era *era, uint64_t low, uint64_t high, int64_t *change) {
  LayerList before;
  *change = 0;
  TRY(kv_list_layers(era, low, &before));
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < era->delta_count && status == KVSTORE_OK; i++)
    status = add_delta(era, &before, i, low, high, change);
  kv_release_layers(&before);
  return status;
}

/* ---- counting ---- */

static Status walk(const Era *era, uint64_t sequence, uint64_t *keys) {
  LayerList list;
  TRY(kv_list_layers(era, sequence, &list));
  MergeOptions options = { 0 };
  options.now_ms = INT64_MIN;
  MergeCursor cursor;
  Status status = merge_cursor_open(&cursor, list.layers, list.count, &options);
  kv_release_layers(&list);
  TRY(status);
  uint64_t count = 0;
  for (status = merge_cursor_first(&cursor); status == KVSTORE_OK && cursor.valid; status = merge_cursor_next(&cursor))
    count++;
  merge_cursor_close(&cursor);
  if (status == KVSTORE_OK) *keys = count;
  COUNT(counts_walked);
  return status;
}

/* *computed is false when nothing is known that would do. */
static Status count_from_known(Family *family, const Version *v, const Era *era, uint64_t sequence, uint64_t *keys,
                               bool *computed) {
  uint64_t known_at, known;
  int64_t change;
  *computed = false;
  if (!recall(family, v, era, &known_at, &known)) return KVSTORE_OK;
  uint64_t low = known_at < sequence ? known_at : sequence, high = known_at < sequence ? sequence : known_at;
  if (!comparable(family, v, era, low, high)) return KVSTORE_OK;
  TRY(change_between(era, low, high, &change));
  *keys = known + (uint64_t)(known_at < sequence ? change : -change);
  *computed = true;
  return KVSTORE_OK;
}

Status kv_count(Session *session, uint32_t id, uint64_t *count) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  bool computed = false;
  uint64_t keys = 0;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, id, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    Family *family = state->family;
    atomic_store_explicit(&family->count.wanted, WANTED_FLUSHES, memory_order_relaxed);
    status = count_from_known(family, pin.version, era, pin.sequence, &keys, &computed);
    if (status == KVSTORE_OK && !computed) status = walk(era, pin.sequence, &keys);
    if (status == KVSTORE_OK && !pin.inside) remember(family, pin.version, era, pin.sequence, keys);
  }
  read_unpin(session, &pin);
  if (status == KVSTORE_OK) *count = keys;
  return status;
}

/* The current version, not the flush's own: what is known may have gone on since that was taken. */
Status family_count_at_boundary(Store *store, Family *family, uint64_t boundary, uint64_t *keys) {
  uint32_t wanted = atomic_load_explicit(&family->count.wanted, memory_order_relaxed);
  bool computed = false;
  *keys = KEYS_UNKNOWN;
  if (!wanted) return KVSTORE_OK;
  Version *v = version_keep(store);
  FamilyState *state = version_family(v, family->id);
  Era *era = state ? family_state_era(state, boundary) : NULL;
  Status status = KVSTORE_OK;
  if (era) status = count_from_known(family, v, era, boundary, keys, &computed);
  version_let_go(store, v);
  if (!computed) *keys = KEYS_UNKNOWN;
  atomic_store_explicit(&family->count.wanted, wanted - 1, memory_order_relaxed);
  return status;
}
