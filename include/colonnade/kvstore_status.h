/* kvstore_status.h - every return code of Colonnade, in one list.
 *
 * The codes up to 15 are those of the key-value contract (kvstore.h); those from 64 on are our own. Bindings build
 * their exceptions from KVSTORE_STATUS_LIST, so that names, values and texts cannot drift apart.
 *
 * Valid C11 and C++; needs nothing but the language. */
#ifndef COLONNADE_KVSTORE_STATUS_H
#define COLONNADE_KVSTORE_STATUS_H

/* X(name, value, text) */
#define KVSTORE_STATUS_LIST(X)                                            \
  X(OK, 0, "done")                                                        \
  X(ERROR, 1, "error")                                                    \
  X(BUSY, 5, "the store is locked by another connection")                 \
  X(LOCKED, 6, "the store is locked within this connection")              \
  X(NOMEM, 7, "out of memory")                                            \
  X(READONLY, 8, "the store is read-only")                                \
  X(CORRUPT, 11, "the file is damaged")                                   \
  X(NOTFOUND, 12, "not found")                                            \
  X(AUTH_FAILED, 13, "wrong password, or an encrypted store without one") \
  X(PROTOCOL, 15, "locking protocol error")                               \
  X(CONSTRAINT, 64, "a constraint was violated")                          \
  X(TYPE, 65, "a value does not have the type of its column")             \
  X(SCHEMA, 66, "no such column, table or schema version")                \
  X(CANCELLED, 67, "cancelled")                                           \
  X(LIMIT, 68, "a limit was exceeded")                                    \
  X(GONE, 69, "no longer retained")                                       \
  X(UNSUPPORTED, 70, "not supported by this version of the library")      \
  X(FULL, 71, "no space left on the device")                              \
  X(IO, 72, "the operating system reported an input or output error")

enum {
#define KVSTORE_STATUS_ENUM(name, value, text) KVSTORE_##name = (value),
  KVSTORE_STATUS_LIST(KVSTORE_STATUS_ENUM)
#undef KVSTORE_STATUS_ENUM
};

#endif
