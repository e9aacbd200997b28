/* family_traits.c - what a family is called and how it behaves: changed in transactions, seen by snapshot, kept in the
 * manifest. A change is O(1): a version with one more entry in the family's list of traits. */
#include <string.h>

#include "base/memory.h"
#include "engine/engine_internal.h"

FamilyTraits *family_traits_create(const char *name, size_t name_length, const FamilyOptions *options, uint64_t since) {
  FamilyTraits *t = memory_allocate(sizeof *t + name_length + 1);
  if (!t) return NULL;
  atomic_init(&t->references, 1);
  t->since = since;
  t->options = *options;
  memcpy(t->name, name, name_length);
  t->name[name_length] = 0;
  return t;
}

FamilyTraits *family_traits_retain(FamilyTraits *t) {
  atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
  return t;
}

void family_traits_release(FamilyTraits *t) {
  if (t && atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) == 1) memory_release(t);
}

int64_t family_expiry(Store *store, const FamilyState *state, uint64_t sequence, int64_t expiry) {
  if (LIKELY(expiry != EXPIRY_DEFAULT)) return expiry;
  int64_t ttl = family_state_traits(state, sequence)->options.default_ttl_ms;
  return LIKELY(!ttl) ? EXPIRY_NEVER : store_clock(store) + ttl;
}

uint32_t family_packing(const Store *store, const FamilyState *state) {
  uint32_t own = family_state_traits(state, UINT64_MAX)->options.compression;
  int compression = own ? (int)own - 1 : store->compression;
  if (compression >= COMPRESSION_ZSTD) return ROW_PACKING_ALWAYS;
  return compression == COMPRESSION_AUTO ? ROW_PACKING_WORTHWHILE : ROW_PACKING_NONE;
}

/* ---- as an operation ---- */

/* The family as it is, with one entry more. */
static Status state_with_traits(const FamilyState *from, FamilyTraits *traits, FamilyState **out) {
  FamilyTraits **all = memory_allocate((from->traits_count + 1) * sizeof(FamilyTraits *));
  if (!all) return status_nomem();
  memcpy(all, from->traits, from->traits_count * sizeof(FamilyTraits *));
  all[from->traits_count] = traits;
  FamilyState *s = family_state_create(from->family, from->era_count, all, from->traits_count + 1);
  memory_release(all);
  if (!s) return status_nomem();
  for (uint32_t i = 0; i < from->era_count; i++) {
    Status status = era_copy(&from->eras[i], &s->eras[i]);
    if (status == KVSTORE_OK) continue;
    family_state_release(s);
    return status;
  }
  *out = s;
  return KVSTORE_OK;
}

Status apply_family_change(Store *store, uint32_t id, Bytes payload, uint64_t sequence) {
  const FamilyState *from = version_family(atomic_load_explicit(&store->current, memory_order_relaxed), id);
  if (!from || from->eras[from->era_count - 1].dropped)
    return status_fail(KVSTORE_CORRUPT, "the log changes family %u, which is not there", id);
  Family *described = NULL;
  FamilyTraits *traits = NULL;
  FamilyState *to = NULL;
  TRY(family_payload_read(id, sequence, payload, &described, &traits));
  bool same_kind = described->kind == from->family->kind;
  Status status = same_kind ? state_with_traits(from, traits, &to)
                            : status_fail(KVSTORE_CORRUPT, "the log makes family %u another kind", id);
  family_release(described);
  family_traits_release(traits);
  return status == KVSTORE_OK ? publish_with(store, to) : status;
}

/* ---- statements ---- */

Status family_check_options(const FamilyOptions *options) {
  FamilyOptions settled = *options;
  settled.changes_family = options->changes_ms != 0; /* found out when they are set */
  return family_options_are_valid(&settled) ? KVSTORE_OK : status_fail(KVSTORE_ERROR, "the family's options cannot be");
}

Status family_change_statement(Session *session, const FamilyState *state, const char *name,
                               const FamilyOptions *options) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  Buffer payload = { 0 };
  uint32_t id = state->family->id;
  family_payload_write(state->family, name, options, &payload);
  Status status = buffer_status(&payload);
  mutex_lock(&store->apply_lock);
  if (status == KVSTORE_OK) {
    t->shape_changed = true;
    status = apply_family_change(store, id, (Bytes){ payload.data, payload.length }, t->next_sequence);
  }
  mutex_unlock(&store->apply_lock);
  if (status == KVSTORE_OK) {
    t->next_sequence++;
    record_append_payload(&t->record, OPERATION_FAMILY_CHANGE, id, (Bytes){ 0 },
                          (Bytes){ payload.data, payload.length });
  }
  buffer_release(&payload);
  return status;
}

static FamilyState *family_there(const ReadPin *pin, uint32_t id) {
  FamilyState *state = version_family(pin->version, id);
  return state && family_state_era(state, pin->sequence) ? state : NULL;
}

static Status rename_statement(Session *session, uint32_t id, const char *name) {
  ReadPin pin;
  TRY(write_pin(session, &pin));
  FamilyState *state = family_there(&pin, id), *holder = family_named(&pin, name);
  Status status = KVSTORE_OK;
  if (!state)
    status = status_fail(KVSTORE_NOTFOUND, "the family has been dropped");
  else if (holder && holder != state)
    status = status_fail(KVSTORE_CONSTRAINT, "a family or table named %s is there already", name);
  else if (!holder)
    status = family_change_statement(session, state, name, &family_state_traits(state, pin.sequence)->options);
  read_unpin(session, &pin);
  return status;
}

Status family_rename(Session *session, uint32_t id, const char *name) {
  TRY(family_check_name(name));
  if (id == FAMILY_DEFAULT_ID) return status_fail(KVSTORE_ERROR, "the default family keeps its name");
  TRY(write_begin(session));
  return write_end(session, rename_statement(session, id, name));
}

static Status options_statement(Session *session, uint32_t id, const FamilyOptions *options) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  TRY(write_pin(session, &pin));
  Status status = session_family(session, &pin, id, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    const FamilyTraits *traits = family_state_traits(state, pin.sequence);
    FamilyOptions settled = *options;
    settled.columns_family = traits->options.columns_family;
    settled.columns_built = traits->options.columns_built;
    status = capture_settle(session, &traits->options, &settled);
    if (status == KVSTORE_OK) status = family_change_statement(session, state, traits->name, &settled);
  }
  read_unpin(session, &pin);
  return status;
}

Status family_set_options(Session *session, uint32_t id, const FamilyOptions *options) {
  TRY(family_check_options(options));
  TRY(write_begin_with_room(session));
  return write_end(session, options_statement(session, id, options));
}

Status family_get_options(Session *session, uint32_t id, FamilyOptions *out) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, id, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) *out = family_state_traits(state, pin.sequence)->options;
  read_unpin(session, &pin);
  return status;
}
