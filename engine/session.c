/* session.c - sessions and families: what a handle asks of the store besides rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "encodings/codec.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"
#include "engine/kv_load.h"
#include "os/team.h"

/* ---- sessions ---- */

enum { LOG_BYTES_MIN = 64 << 10 };
static const uint64_t grace_default_ms = 24u * 60 * 60 * 1000;

static StoreOptions with_defaults(const StoreOptions *given) {
  StoreOptions o = given ? *given : (StoreOptions){ .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL };
  if (!o.value_bytes_max) o.value_bytes_max = VALUE_BYTES_MAX;
  if (o.value_bytes_max > VALUE_BYTES_CEILING) o.value_bytes_max = VALUE_BYTES_CEILING;
  if (!o.log_bytes) o.log_bytes = o.journal_mode == JOURNAL_DELETE ? LOG_BYTES_INSIDE : LOG_BYTES_DEFAULT;
  if (o.log_bytes < LOG_BYTES_MIN) o.log_bytes = LOG_BYTES_MIN;
  o.log_bytes = round_up(o.log_bytes, PAGE_BYTES);
  if (!o.grace_ms) o.grace_ms = grace_default_ms;
  if (!o.sync_interval_ms) o.sync_interval_ms = SYNC_INTERVAL_DEFAULT_MS;
  return o;
}

static Session *session_create(Store *store, const StoreOptions *options) {
  Session *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return NULL;
  s->store = store;
  s->options = *options;
  mutex_init(&s->lock);
  return s;
}

Status session_open(const char *path, const StoreOptions *given, Session **session) {
  *session = NULL;
  StoreOptions options = with_defaults(given);
  Store *store = NULL;
  if (options.password.data && !options.password.length) return status_fail(KVSTORE_ERROR, "the password is empty");
  TRY(key_cost_check(options.key_cost));
  TRY(store_open(path, &options, &store));
  options.password = (Bytes){ 0 };
  *session = session_create(store, &options);
  if (*session) {
    if (!options.read_only && columns_are_wanted(store)) maintenance_ask(store);
    return KVSTORE_OK;
  }
  Status ignored = store_leave(store);
  (void)ignored;
  return status_nomem();
}

Status session_clone(Session *session, Session **other) {
  *other = session_create(session->store, &session->options);
  if (!*other) return status_nomem();
  store_share(session->store);
  return KVSTORE_OK;
}

void session_load_threads(Session *session, uint32_t threads) {
  atomic_store_explicit(&session->load_threads, threads ? threads : os_processors(), memory_order_relaxed);
}

/* What a forked child inherited: its memory goes, and nothing else happens. */
static Status abandon(Session *session) {
  fate_release(session->fate);
  memory_release(session);
  return KVSTORE_OK;
}

Status session_close(Session *session) {
  if (store_is_inherited(session->store)) return abandon(session);
  kv_loaders_end(session);
  Status rolled_back = session_rollback(session);
  Status left = store_leave(session->store);
  mutex_destroy(&session->lock);
  memory_release(session);
  return left == KVSTORE_OK ? rolled_back : left;
}

Status session_freeze(Session *session, Session **frozen) {
  Store *store = session->store;
  Session *s = session_create(store, &session->options);
  if (!s) return status_nomem();
  s->options.read_only = true;
  s->frozen = true;
  ReadPin pin;
  Status status = read_pin_kept(session, &pin, &s->fate);
  if (status == KVSTORE_OK) {
    status = version_hold(store, &pin, &s->snapshot);
    s->snapshot_sequence = pin.sequence;
    read_unpin(session, &pin);
  }
  if (status != KVSTORE_OK) {
    fate_release(s->fate);
    mutex_destroy(&s->lock);
    memory_release(s);
    return status;
  }
  atomic_store_explicit(&s->transaction, 1, memory_order_release);
  store_retain(store);
  *frozen = s;
  return KVSTORE_OK;
}

void session_thaw(Session *s) {
  Store *store = s->store;
  version_unhold(store, &s->snapshot);
  fate_release(s->fate);
  mutex_destroy(&s->lock);
  memory_release(s);
  store_release(store);
}

bool session_is_inherited(const Session *session) { return store_is_inherited(session->store); }
/* ---- sealing ---- */

bool session_is_sealed(const Session *session) { return session->store->key != NULL; }

static Status check_sealed(Session *session) {
  if (!session->store->key) return status_fail(KVSTORE_ERROR, "the store is not encrypted");
  if (session_is_read_only(session)) return status_fail(KVSTORE_READONLY, "the store was opened for reading only");
  return KVSTORE_OK;
}

static Status change_sealing(Store *store, const uint8_t sealing[SEALING_BYTES]) {
  if (shared_load(&store->page->failed))
    return status_fail(KVSTORE_IO, "a write failed: nothing more is written until every process has closed the store");
  Status status = superblocks_change_sealing(store, sealing);
  if (status != KVSTORE_OK) shared_store(&store->page->failed, 1); /* a sync that failed is not tried again */
  return status;
}

Status session_reencrypt(Session *session, Bytes password) {
  Store *store = session->store;
  uint8_t sealing[SEALING_BYTES];
  TRY(check_sealed(session));
  TRY(sealing_rewrap(store->key, password, session->options.key_cost, sealing));
  TRY(maintenance_take(store, true));
  Status status = change_sealing(store, sealing);
  maintenance_give(store);
  return status;
}

Status session_remove_encryption(Session *session) {
  TRY(check_sealed(session));
  if (session_transaction(session))
    return status_fail(KVSTORE_BUSY, "a transaction is open: the store is decrypted outside of one");
  if (kv_loaders_open(session)) return status_fail(KVSTORE_BUSY, "a bulk load has not ended");
  Store *plain = NULL;
  TRY(store_unseal(session->store, &session->options, &plain));
  session->store = plain;
  return KVSTORE_OK;
}

Store *session_store(Session *session) { return session->store; }
bool session_is_read_only(const Session *session) { return session->options.read_only || session->store->reader_only; }

/* A clock that is set right by a little revives nothing: the latest reading stands until it is reached. One that was
 * further ahead than this was wrong, and what is put with an hour to live would be gone for as long as it was. */
enum { CLOCK_STEP_BACK_MS = 60 * 60 * 1000 };

int64_t store_clock(Store *store) {
  SharedLine *clock = &store->page->clock;
  uint64_t now = (uint64_t)os_now_ms(store->os), latest = shared_load(clock);
  if (UNLIKELY(latest > now && latest - now > CLOCK_STEP_BACK_MS))
    atomic_compare_exchange_strong_explicit(&clock->word, &latest, now, memory_order_acq_rel, memory_order_relaxed);
  else
    shared_raise(clock, now);
  return (int64_t)shared_load(clock);
}

int64_t session_now_ms(Session *session) { return store_clock(session->store); }

/* ---- finding families ---- */

/* Its name is known as long as the version has its last rows. */
static Status fail_dropped(const FamilyState *state, uint64_t sequence, int kind) {
  const char *name = state && !(state->family->flags & FAMILY_HIDDEN) ? family_state_traits(state, sequence)->name : "";
  return status_fail(KVSTORE_NOTFOUND, "the %s%s%s has been dropped, or is not there yet",
                     kind == FAMILY_TABLE ? "table" : "family", *name ? " " : "", name);
}

Status session_family(Session *session, const ReadPin *pin, uint32_t id, int kind, FamilyState **state, Era **era) {
  (void)session;
  *state = version_family(pin->version, id);
  *era = *state ? family_state_era(*state, pin->sequence) : NULL;
  if (UNLIKELY(!*era)) return fail_dropped(*state, pin->sequence, kind);
  if (UNLIKELY((int)(*state)->family->kind != kind))
    return status_fail(KVSTORE_SCHEMA, "%s is a %s", family_state_traits(*state, pin->sequence)->name,
                       kind == FAMILY_KV ? "table" : "key-value family");
  return KVSTORE_OK;
}

FamilyState *family_named(const ReadPin *pin, const char *name) {
  for (uint32_t i = 0; i < pin->version->family_count; i++) {
    FamilyState *state = pin->version->families[i];
    if (strcmp(family_state_traits(state, pin->sequence)->name, name) == 0 && family_state_era(state, pin->sequence))
      return state;
  }
  return NULL;
}

static void fill_info(const FamilyState *state, uint64_t sequence, FamilyInfo *out) {
  const Family *family = state->family;
  const char *name = family_state_traits(state, sequence)->name;
  out->id = family->id;
  out->kind = (int)family->kind;
  out->hidden = family->flags & FAMILY_HIDDEN;
  memcpy(out->name, name, strlen(name) + 1);
}

Status family_find(Session *session, const char *name, FamilyInfo *out) {
  ReadPin pin;
  TRY(read_pin(session, &pin));
  FamilyState *state = family_named(&pin, name);
  if (state) fill_info(state, pin.sequence, out);
  read_unpin(session, &pin);
  return state ? KVSTORE_OK : status_fail(KVSTORE_NOTFOUND, "no family or table is named %s", name);
}

Status family_info(Session *session, uint32_t id, FamilyInfo *out) {
  ReadPin pin;
  TRY(read_pin(session, &pin));
  FamilyState *state = version_family(pin.version, id);
  bool there = state && family_state_era(state, pin.sequence);
  if (there) fill_info(state, pin.sequence, out);
  read_unpin(session, &pin);
  return there ? KVSTORE_OK : status_fail(KVSTORE_NOTFOUND, "the family has been dropped");
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const FamilyInfo *)a)->name, ((const FamilyInfo *)b)->name);
}

Status family_list(Session *session, FamilyInfo **out, size_t *count) {
  ReadPin pin;
  TRY(read_pin(session, &pin));
  FamilyInfo *list = memory_allocate_zeroed(memory_array_size(pin.version->family_count + 1, sizeof *list));
  size_t n = 0;
  for (uint32_t i = 0; list && i < pin.version->family_count; i++) {
    FamilyState *state = pin.version->families[i];
    if (state->family->flags & FAMILY_HIDDEN || !family_state_era(state, pin.sequence)) continue;
    fill_info(state, pin.sequence, &list[n++]);
  }
  read_unpin(session, &pin);
  if (!list) return status_nomem();
  qsort(list, n, sizeof *list, by_name);
  *out = list;
  *count = n;
  return KVSTORE_OK;
}

Status family_schema(Session *session, uint32_t id, Schema *out) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, id, FAMILY_TABLE, &state, &era);
  if (status == KVSTORE_OK) status = schema_copy(&state->family->schema, out);
  read_unpin(session, &pin);
  return status;
}

/* ---- making and ending families ---- */

Status family_check_name(const char *name) {
  size_t length = strlen(name);
  if (length == 0 || length > FAMILY_NAME_MAX)
    return status_fail(KVSTORE_ERROR, "a name has 1 to %u bytes", FAMILY_NAME_MAX);
  if (!bytes_are_utf8((const uint8_t *)name, length)) return status_fail(KVSTORE_ERROR, "the name is not UTF-8");
  if (length >= 2 && name[0] == '_' && name[1] == '_')
    return status_fail(KVSTORE_ERROR, "names that begin with __ are reserved");
  return KVSTORE_OK;
}

/* The caller's columns with ids, and a hidden row id where there is no key. */
static Status complete_schema(const Schema *given, Schema *out, uint32_t *next_column_id) {
  if (!given->column_count) return status_fail(KVSTORE_SCHEMA, "a table has at least one column");
  if (given->column_count >= COLUMNS_MAX)
    return status_fail(KVSTORE_SCHEMA, "a table has at most %u columns", COLUMNS_MAX - 1);
  TRY(schema_copy(given, out));
  out->version = 1;
  if (!out->key_count) {
    size_t capacity = out->column_count;
    TRY(memory_grow(&out->columns, &capacity, out->column_count + 1, sizeof *out->columns));
    Column row_id = { 0, TYPE_U64, COLUMN_HIDDEN, 0, memory_copy_string("__row_id") };
    if (!row_id.name) return status_nomem();
    out->columns[out->column_count] = row_id;
    out->key_columns[0] = out->column_count++;
    out->key_count = 1;
    out->has_row_id = true;
  }
  for (uint32_t c = 0; c < out->column_count; c++) out->columns[c].id = c + 1;
  *next_column_id = out->column_count + 1;
  return schema_check(out);
}

static uint32_t count_dropped(const Version *version) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < version->family_count; i++) {
    const FamilyState *state = version->families[i];
    if (state) count += state->eras[state->era_count - 1].dropped;
  }
  return count;
}

enum { ROOM_TRIES = 2 };

Status write_begin_with_room(Session *session) {
  for (int tries = 0;; tries++) {
    ReadPin pin;
    TRY(write_begin(session));
    if (!session->store->transaction.autocommit || tries == ROOM_TRIES) return KVSTORE_OK;
    bool wanted = false;
    Status status = write_pin(session, &pin);
    if (status == KVSTORE_OK) {
      wanted = pin.version->family_count >= FAMILIES_MAX && count_dropped(pin.version) > 0;
      read_unpin(session, &pin);
    }
    if (status == KVSTORE_OK && !wanted) return KVSTORE_OK;
    TRY(write_end(session, status));
    TRY(session_checkpoint(session, CHECKPOINT_FULL, NULL, NULL));
  }
}

Status family_create_statement(Session *session, const Family *family, const char *name, const FamilyOptions *options,
                               uint32_t *id) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  ReadPin pin;
  TRY(write_pin(session, &pin));
  bool taken = family_named(&pin, name) != NULL;
  bool full = pin.version->family_count >= FAMILIES_MAX;
  uint32_t dropped = full ? count_dropped(pin.version) : 0;
  read_unpin(session, &pin);
  if (taken) return status_fail(KVSTORE_CONSTRAINT, "a family or table named %s is there already", name);
  if (full && dropped)
    return status_fail(KVSTORE_LIMIT,
                       "a store has at most %u families: %u of them were dropped, and go with a checkpoint behind the "
                       "open transaction",
                       FAMILIES_MAX, dropped);
  if (full) return status_fail(KVSTORE_LIMIT, "a store has at most %u families", FAMILIES_MAX);
  Buffer payload = { 0 };
  family_payload_write(family, name, options, &payload);
  Status status = buffer_status(&payload);
  mutex_lock(&store->apply_lock);
  uint32_t number = store->next_family_id;
  if (status == KVSTORE_OK) {
    t->shape_changed = true;
    status = apply_family_create(store, number, (Bytes){ payload.data, payload.length }, t->next_sequence);
  }
  mutex_unlock(&store->apply_lock);
  if (status == KVSTORE_OK) {
    t->next_sequence++;
    record_append_payload(&t->record, OPERATION_FAMILY_CREATE, number, (Bytes){ 0 },
                          (Bytes){ payload.data, payload.length });
    *id = number;
  }
  buffer_release(&payload);
  return status;
}

static Status create_captured(Session *session, const Family *family, const char *name, const FamilyOptions *options,
                              uint32_t *id) {
  FamilyOptions settled = *options;
  TRY(capture_settle(session, &(FamilyOptions){ 0 }, &settled));
  return family_create_statement(session, family, name, &settled, id);
}

Status family_create(Session *session, const char *name, int kind, const Schema *schema, uint32_t *id) {
  return family_create_with(session, name, kind, schema, &(FamilyOptions){ 0 }, id);
}

Status family_create_with(Session *session, const char *name, int kind, const Schema *schema,
                          const FamilyOptions *options, uint32_t *id) {
  TRY(family_check_name(name));
  TRY(family_check_options(options));
  Family family = { .kind = (uint32_t)kind };
  Status status = KVSTORE_OK;
  if (kind == FAMILY_TABLE) status = complete_schema(schema, &family.schema, &family.next_column_id);
  if (status == KVSTORE_OK) status = write_begin_with_room(session);
  if (status == KVSTORE_OK) status = write_end(session, create_captured(session, &family, name, options, id));
  schema_release(&family.schema);
  return status;
}

Status family_end_statement(Session *session, uint32_t id, bool drop) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  ReadPin pin;
  TRY(write_pin(session, &pin));
  FamilyState *state = version_family(pin.version, id);
  bool there = state && family_state_era(state, pin.sequence);
  FamilyOptions options = there ? family_state_traits(state, pin.sequence)->options : (FamilyOptions){ 0 };
  read_unpin(session, &pin);
  if (!there) return status_fail(KVSTORE_NOTFOUND, "the family has been dropped");
  TRY(capture_family_end(session, &options, drop));
  TRY(columns_family_end(session, &options, drop));
  mutex_lock(&store->apply_lock);
  t->shape_changed = true;
  Status status = apply_family_end(store, id, drop, t->next_sequence);
  mutex_unlock(&store->apply_lock);
  TRY(status);
  t->next_sequence++;
  record_append_payload(&t->record, drop ? OPERATION_FAMILY_DROP : OPERATION_FAMILY_CLEAR, id, (Bytes){ 0 },
                        (Bytes){ 0 });
  return KVSTORE_OK;
}

static Status end_family(Session *session, uint32_t id, bool drop) {
  TRY(write_begin(session));
  return write_end(session, family_end_statement(session, id, drop));
}

Status family_drop(Session *session, uint32_t id) {
  if (id == FAMILY_DEFAULT_ID) return status_fail(KVSTORE_ERROR, "the default family cannot be dropped");
  return end_family(session, id, true);
}

Status family_clear(Session *session, uint32_t id) { return end_family(session, id, false); }

/* ---- telling about the store ---- */

Status session_info(Session *session, StoreInfo *out) {
  Store *store = session->store;
  ReadPin pin;
  OsStat stat;
  TRY(os_stat_file(store->file.file, &stat));
  TRY(read_pin(session, &pin));
  mutex_lock(&store->apply_lock);
  uint64_t log_bytes = store->wal ? wal_capacity(store->wal) : 0;
  mutex_unlock(&store->apply_lock);
  uint64_t start = shared_load(&store->page->start), end = shared_load(&store->page->end);
  *out = (StoreInfo){ .generation = pin.version->manifest->generation,
                      .sequence = pin.sequence,
                      .file_bytes = stat.size,
                      .log_bytes = log_bytes,
                      .log_bytes_used = end > start ? end - start : 0,
                      .format = FORMAT_NUMBER };
  const Manifest *m = pin.version->manifest;
  for (uint32_t f = 0; f < m->family_count; f++)
    for (uint32_t r = 0; r < m->families[f].run_count; r++) out->extent_bytes += m->families[f].runs[r].data_bytes;
  for (uint32_t i = 0; i < m->limbo_count; i++) out->limbo_bytes += m->limbo[i].bytes;
  for (uint32_t i = 0; i < pin.version->family_count; i++) {
    const FamilyState *state = pin.version->families[i];
    out->family_count += !(state->family->flags & FAMILY_HIDDEN) && family_state_era(state, pin.sequence);
  }
  read_unpin(session, &pin);
  return KVSTORE_OK;
}

/* Bytes of a value in a plain array; of strings their offset. */
static size_t plain_width(const Column *column) {
  if (type_is_fixed(column->type)) return column->width;
  return type_is_string(column->type) ? 4 : type_array_width(column->type);
}

/* Chunks by encoding and lane: "packed/16 x12, dictionary/8 x4"; the bytes of arrays, which lie outside, too. */
static void name_encodings(const Era *era, uint32_t column, size_t width, ColumnUsage *out) {
  struct {
    uint8_t encoding, lane;
    uint32_t count;
  } seen[8];
  uint32_t kinds = 0;
  for (uint32_t r = 0; r < era->run_count; r++) {
    const ColumnRun *run = era->runs[r].run->columns;
    for (uint32_t s = 0; s < run->segment_count; s++) {
      const Segment *segment = column_run_segment(run, s);
      const ChunkPlace *place = segment_place(segment, column);
      if (!place) continue;
      out->bytes += place->length;
      if (place->encoding == ENCODING_ARRAY) out->bytes += segment->row_count * width;
      uint32_t k = 0;
      while (k < kinds && (seen[k].encoding != place->encoding || seen[k].lane != place->lane)) k++;
      if (k == kinds && kinds < 8) {
        seen[k].encoding = place->encoding;
        seen[k].lane = place->lane;
        seen[kinds++].count = 0;
      }
      if (k < kinds) seen[k].count++;
    }
  }
  size_t at = 0;
  for (uint32_t k = 0; k < kinds && at < sizeof out->encodings; k++) {
    int length = seen[k].lane ? snprintf(out->encodings + at, sizeof out->encodings - at, "%s%s/%u x%u", k ? ", " : "",
                                         encoding_name(seen[k].encoding), seen[k].lane, seen[k].count)
                              : snprintf(out->encodings + at, sizeof out->encodings - at, "%s%s x%u", k ? ", " : "",
                                         encoding_name(seen[k].encoding), seen[k].count);
    at += length > 0 ? (size_t)length : sizeof out->encodings;
  }
}

static Status table_usage(const FamilyState *state, const Era *era, FamilyUsage *out) {
  const Schema *schema = &state->family->schema;
  size_t columns = schema->column_count - schema->has_row_id;
  out->columns = memory_allocate_zeroed(memory_array_size(columns, sizeof *out->columns));
  if (!out->columns) return status_nomem();
  out->column_count = columns;
  for (uint32_t c = 0; c < columns; c++) {
    ColumnUsage *usage = &out->columns[c];
    memcpy(usage->name, schema->columns[c].name, strlen(schema->columns[c].name) + 1);
    usage->type = schema->columns[c].type;
    usage->width = schema->columns[c].width;
    size_t width = plain_width(&schema->columns[c]);
    usage->plain_bytes = out->run_rows * width;
    name_encodings(era, c, width, usage);
  }
  return KVSTORE_OK;
}

Status family_usage(Session *session, uint32_t family, FamilyUsage *out) {
  ReadPin pin;
  TRY(read_pin(session, &pin));
  FamilyState *state = version_family(pin.version, family);
  Era *era = state ? family_state_era(state, pin.sequence) : NULL;
  Status status = era ? KVSTORE_OK : status_fail(KVSTORE_NOTFOUND, "the family has been dropped");
  FamilyUsage usage = { 0 };
  for (uint32_t r = 0; era && r < era->run_count; r++) {
    const RunEntry *entry = &era->runs[r].run->entry;
    usage.run_count++;
    usage.run_rows += entry->row_count;
    usage.run_bytes += entry->data_bytes;
    usage.dead_rows += deleted_set_count(era->runs[r].deleted);
  }
  for (uint32_t d = 0; era && d < era->delta_count; d++) {
    const DeltaHandle *delta = era->deltas[d].delta;
    usage.delta_rows += delta->kv ? kv_delta_counts(delta->kv).rows : table_delta_counts(delta->table).rows;
  }
  if (era && state->family->kind == FAMILY_TABLE) status = table_usage(state, era, &usage);
  read_unpin(session, &pin);
  if (status == KVSTORE_OK) *out = usage;
  return status;
}

/* ---- verifying ---- */

static Status check_run(const RunLayer *layer) {
  TRY(extent_sources_check(&layer->run->open->sources));
  if (layer->run->columns) return column_run_check(layer->run->columns);
  const char *why = NULL;
  Status status = row_run_check(layer->run->rows, &why);
  return status == KVSTORE_CORRUPT && why ? status_fail(status, "run %u: %s", layer->run->entry.number, why) : status;
}

static Status check_family(Store *store, const FamilyState *state) {
  for (uint32_t e = 0; e < state->era_count; e++) {
    const Era *era = &state->eras[e];
    for (uint32_t r = 0; r < era->run_count; r++) {
      Status status = check_run(&era->runs[r]);
      if (status != KVSTORE_OK)
        return status_context(status, "family %s", family_state_traits(state, UINT64_MAX)->name);
      const RunEntry *entry = &era->runs[r].run->entry;
      for (uint32_t d = 0; d < entry->deletes_count; d++) {
        uint8_t *bytes = NULL;
        TRY(extent_read(&store->file, &entry->deletes[d].extent, &bytes));
        memory_release(bytes);
      }
    }
  }
  return KVSTORE_OK;
}

/* The version is held for itself: a snapshot of a table takes the pin's hold of it, and gives it up at its end. */
static Status check_columns_of_pairs(Session *session) {
  ReadPin pin;
  VersionHold hold;
  TRY(read_pin(session, &pin));
  Status status = version_hold(session->store, &pin, &hold);
  if (status == KVSTORE_OK) {
    status = columns_check(session, &pin);
    version_unhold(session->store, &hold);
  }
  read_unpin(session, &pin);
  return status;
}

Status session_check(Session *session, char **why) {
  Store *store = session->store;
  ReadPin pin;
  VersionHold hold;
  TRY(read_pin(session, &pin));
  Status status = version_hold(store, &pin, &hold);
  Version *v = pin.version;
  read_unpin(session, &pin);
  TRY(status);
  for (uint32_t i = 0; i < v->family_count && status == KVSTORE_OK; i++) status = check_family(store, v->families[i]);
  if (status == KVSTORE_OK) status = check_columns_of_pairs(session);
  if (status == KVSTORE_OK && v->manifest->self.offset) {
    uint8_t *bytes = NULL;
    status = extent_read(&store->file, &v->manifest->self, &bytes);
    memory_release(bytes);
  }
  version_unhold(store, &hold);
  if (status == KVSTORE_CORRUPT && why) *why = memory_copy_string(status_last()->text);
  return status;
}
