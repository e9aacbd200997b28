/* families.c - families by name, transactions, and the care of a store. */
#include <limits.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "kvapi/handle.h"
#include "kvapi/names.h"

/* ---- transactions ---- */

int kvstore_begin(KVStore *pKV, int wrflag) {
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  return handle_leave(pKV, session_begin(pKV->session, wrflag != 0));
}

static int end(KVStore *kv, bool commit) {
  uint64_t writing;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  status = session_end(kv->session, commit, &writing);
  if (writing) births_settle(kv, writing, !commit || status != KVSTORE_OK);
  if (writing && commit && status == KVSTORE_OK) handle_committed(kv);
  return handle_leave(kv, status);
}

int kvstore_commit(KVStore *pKV) { return end(pKV, true); }
int kvstore_rollback(KVStore *pKV) { return end(pKV, false); }

/* ---- names ---- */

Status name_argument(const char *name) {
  if (!name) return bad_argument("the name is NULL");
  size_t length = strlen(name);
  if (length == 0 || length > FAMILY_NAME_MAX)
    return status_fail(KVSTORE_ERROR, "a name of %zu bytes: names have 1 to %u", length, FAMILY_NAME_MAX);
  if (length >= 2 && name[0] == '_' && name[1] == '_')
    return status_fail(KVSTORE_ERROR, "%s: names that begin with __ are reserved", name);
  return KVSTORE_OK;
}

Status name_find(Session *session, const char *name, int kind, uint32_t *family) {
  FamilyInfo info;
  TRY(name_argument(name));
  TRY(family_find(session, name, &info));
  if (info.kind != kind)
    return status_fail(KVSTORE_SCHEMA, "%s is a %s", name, info.kind == FAMILY_TABLE ? "table" : "key-value family");
  *family = info.id;
  return KVSTORE_OK;
}

Status name_list(KVStore *kv, int kind, char ***names, size_t *count) {
  FamilyInfo *families = NULL;
  size_t family_count = 0, n = 0;
  TRY(family_list(kv->session, &families, &family_count));
  char **list = memory_allocate_zeroed(memory_array_size(family_count, sizeof *list));
  Status status = list ? KVSTORE_OK : status_nomem();
  for (size_t i = 0; i < family_count && status == KVSTORE_OK; i++) {
    if (families[i].hidden || families[i].kind != kind || families[i].id == FAMILY_DEFAULT_ID) continue;
    list[n] = memory_copy_string(families[i].name);
    if (!list[n++]) status = status_nomem();
  }
  memory_release(families);
  if (status == KVSTORE_OK && n) {
    *names = list;
    *count = n;
    return KVSTORE_OK;
  }
  for (size_t i = 0; i < n; i++) memory_release(list[i]);
  memory_release(list);
  return status;
}

/* ---- families ---- */

Status family_handle(KVStore *kv, uint32_t family, Birth *birth, KVColumnFamily **out) {
  KVColumnFamily *cf = memory_allocate_zeroed(sizeof *cf);
  if (!cf) {
    birth_release(birth);
    return status_nomem();
  }
  cf->magic = MAGIC_FAMILY;
  cf->family = family;
  cf->kv = kv;
  cf->birth = birth;
  handle_retain(kv);
  *out = cf;
  return KVSTORE_OK;
}

static Status read_family_options(const KVFamilyOptions *given, FamilyOptions *out) {
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  TRY(struct_argument(given, &options, sizeof options));
  if (options.default_ttl_ms < 0 || options.default_ttl_ms > FAMILY_TTL_MAX_MS)
    return status_fail(KVSTORE_ERROR, "a default TTL of %lld ms", (long long)options.default_ttl_ms);
  if (options.changes_ms < 0 || options.changes_ms > FAMILY_TTL_MAX_MS)
    return status_fail(KVSTORE_ERROR, "changes kept for %lld ms", (long long)options.changes_ms);
  if (options.compression < KVSTORE_COMPRESSION_INHERITED || options.compression > KVSTORE_COMPRESSION_ZSTD)
    return status_fail(KVSTORE_ERROR, "no such compression: %d", options.compression);
  *out = (FamilyOptions){ .default_ttl_ms = options.default_ttl_ms,
                          .compression = (uint32_t)(options.compression + 1),
                          .changes_ms = options.changes_ms };
  return KVSTORE_OK;
}

static Status create_family(KVStore *kv, const char *name, const KVFamilyOptions *given, KVColumnFamily **out) {
  uint32_t family = 0;
  Birth *birth = NULL;
  FamilyOptions options;
  if (!out) return bad_argument("the place for the family is NULL");
  TRY(name_argument(name));
  TRY(read_family_options(given, &options));
  Status status = family_create_with(kv->session, name, FAMILY_KV, NULL, &options, &family);
  if (status == KVSTORE_CONSTRAINT)
    return status_context(KVSTORE_ERROR, "cannot create the family"); /* as the contract */
  TRY(status);
  handle_wrote(kv);
  TRY(birth_note(kv, family, &birth));
  return family_handle(kv, family, birth, out);
}

int kvstore_cf_create(KVStore *pKV, const char *zName, KVColumnFamily **ppCF) {
  if (ppCF) *ppCF = NULL;
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  return handle_leave(pKV, create_family(pKV, zName, NULL, ppCF));
}

int kvstore_cf_create_with(KVStore *kv, const char *name, const KVFamilyOptions *options, KVColumnFamily **family) {
  if (family) *family = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, create_family(kv, name, options, family));
}

/* ---- names and options that change ---- */

static Status rename_family(KVStore *kv, const char *name, const char *new_name) {
  uint32_t family = 0;
  TRY(name_argument(name));
  TRY(name_argument(new_name));
  TRY(name_find(kv->session, name, FAMILY_KV, &family));
  Status status = family_rename(kv->session, family, new_name);
  if (status == KVSTORE_CONSTRAINT) return status_context(KVSTORE_ERROR, "cannot rename the family"); /* as create */
  if (status == KVSTORE_OK) handle_wrote(kv);
  return status;
}

int kvstore_cf_rename(KVStore *kv, const char *name, const char *new_name) {
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, rename_family(kv, name, new_name));
}

static Status set_options(const Place *place, const KVFamilyOptions *given) {
  FamilyOptions options;
  if (!given) return bad_argument("the options are NULL");
  TRY(read_family_options(given, &options));
  TRY(family_set_options(place->session, place->family, &options));
  handle_wrote(place->kv);
  return KVSTORE_OK;
}

int kvstore_cf_set_options(KVColumnFamily *family, const KVFamilyOptions *options) {
  Place place = place_family(family);
  return place_leave(&place, place.status == KVSTORE_OK ? set_options(&place, options) : place.status);
}

static Status get_options(const Place *place, KVFamilyOptions *out) {
  FamilyOptions options;
  KVFamilyOptions full = KVSTORE_FAMILY_OPTIONS_INIT;
  if (!out) return bad_argument("the place for the options is NULL");
  TRY(family_get_options(place->session, place->family, &options));
  full.default_ttl_ms = options.default_ttl_ms;
  full.compression = (int)options.compression - 1;
  full.changes_ms = options.changes_ms;
  return struct_answer(out, &full, sizeof full, "KVSTORE_FAMILY_OPTIONS_INIT");
}

int kvstore_cf_get_options(KVColumnFamily *family, KVFamilyOptions *options) {
  Place place = place_family(family);
  return place_leave(&place, place.status == KVSTORE_OK ? get_options(&place, options) : place.status);
}

static Status open_family(KVStore *kv, const char *name, KVColumnFamily **out) {
  uint32_t family = 0;
  if (!out) return bad_argument("the place for the family is NULL");
  TRY(name_find(kv->session, name, FAMILY_KV, &family));
  return family_handle(kv, family, birth_find(kv, family), out);
}

int kvstore_cf_open(KVStore *pKV, const char *zName, KVColumnFamily **ppCF) {
  if (ppCF) *ppCF = NULL;
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  return handle_leave(pKV, open_family(pKV, zName, ppCF));
}

int kvstore_cf_get_default(KVStore *pKV, KVColumnFamily **ppCF) {
  if (ppCF) *ppCF = NULL;
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  if (!ppCF) return handle_leave(pKV, bad_argument("the place for the family is NULL"));
  return handle_leave(pKV, family_handle(pKV, FAMILY_DEFAULT_ID, NULL, ppCF));
}

int kvstore_cf_drop(KVStore *pKV, const char *zName) {
  Status status = handle_enter(pKV);
  uint32_t family = 0;
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  status = name_find(pKV->session, zName, FAMILY_KV, &family);
  if (status == KVSTORE_OK) status = family_drop(pKV->session, family);
  if (status == KVSTORE_OK) handle_wrote(pKV);
  return handle_leave(pKV, status);
}

int kvstore_cf_list(KVStore *pKV, char ***pazNames, int *pnCount) {
  if (pazNames) *pazNames = NULL;
  if (pnCount) *pnCount = 0;
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  if (!pazNames || !pnCount) return handle_leave(pKV, bad_argument("the place for the names is NULL"));
  size_t count = 0;
  status = name_list(pKV, FAMILY_KV, pazNames, &count);
  *pnCount = (int)count; /* at most FAMILIES_MAX */
  return handle_leave(pKV, status);
}

void kvstore_cf_close(KVColumnFamily *pCF) {
  if (!pCF || pCF->magic != MAGIC_FAMILY) return;
  pCF->magic = MAGIC_DEAD;
  birth_release(pCF->birth);
  handle_release(pCF->kv);
  memory_release(pCF);
}
