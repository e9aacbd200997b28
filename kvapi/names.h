/* names.h - families and tables by their names. */
#ifndef COLONNADE_KVAPI_NAMES_H
#define COLONNADE_KVAPI_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "kvapi/handle.h"

/* KVSTORE_ERROR: NULL, no or too many bytes, reserved. */
Status name_argument(const char *name) MUST_CHECK;
/* The id of a family of this kind (FAMILY_*). KVSTORE_NOTFOUND; KVSTORE_SCHEMA: it is of the other kind. */
Status name_find(Session *session, const char *name, int kind, uint32_t *family) MUST_CHECK;
/* A handle to a family; takes the birth over, on a failure too. */
Status family_handle(KVStore *kv, uint32_t family, Birth *birth, KVColumnFamily **out) MUST_CHECK;
/* The names of this kind, ascending, without the default family: each and the array for memory_release. Of none: NULL,
 * 0. */
Status name_list(KVStore *kv, int kind, char ***names, size_t *count) MUST_CHECK;

#endif
