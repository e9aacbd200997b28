/* kvtable.h - the table side of Colonnade: typed columns, rows by key, bulk appends, filters and aggregates.
 *
 * A table lives in the same store as the families of kvstore.h, behind the same handle, in the same transactions: a
 * put, an upsert and a bulk append between kvstore_begin and kvstore_commit happen together or not at all.
 *
 *   KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "city", KVTABLE_TYPE_STRING, 0, 0 } };
 *   const char *key[] = { "id" };
 *   KVTable *table = NULL;
 *   kvtable_create(kv, "people", columns, 2, key, 1, &table);
 *   KVValue row[] = { kvvalue_i64(1), kvvalue_string("Oslo") };
 *   kvtable_upsert(table, row, 2, 0);
 *   KVQuery *query = NULL;
 *   uint64_t count = 0;
 *   kvquery_create(table, &query);
 *   kvquery_where(query, "city = 'Oslo' and id < 10", NULL, 0);
 *   kvquery_count(query, &count);
 *   kvquery_close(query);
 *   kvtable_close(table);
 *
 * Codes, messages, outputs, ownership and threads are as kvstore.h says. Besides, in any function:
 *   KVSTORE_SCHEMA      no such column or table; the table is not what the handle was opened for; a schema that
 *                       cannot be
 *   KVSTORE_TYPE        a value that does not fit its column (kvstore_error names row, column and value)
 *   KVSTORE_CONSTRAINT  a key that is there already (kvstore_error names row, column and value; of a key of several
 *                       columns all of them, a comma between), a null where none may be
 *   KVSTORE_NOTFOUND    no row with this key; a table that was dropped
 *   KVSTORE_LIMIT       a limit of the format
 *   KVSTORE_ERROR       a key of more than KVSTORE_KEY_BYTES_MAX bytes (of several columns: as it is encoded)
 * A refused row or batch has changed nothing. What a value means: docs/semantics.md. */
#ifndef COLONNADE_KVTABLE_H
#define COLONNADE_KVTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "kvstore.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct KVTable KVTable;   /* one table of an open store */
typedef struct KVRow KVRow;       /* holds the strings of a row that was read */
typedef struct KVQuery KVQuery;   /* a prepared question */
typedef struct KVCursor KVCursor; /* rows on their way out */

/* ---- types ---- */
#define KVTABLE_TYPE_NONE        0 /* an untyped null */
#define KVTABLE_TYPE_BOOL        1 /* uint8_t in arrays: 0 or 1 */
#define KVTABLE_TYPE_I8          2
#define KVTABLE_TYPE_I16         3
#define KVTABLE_TYPE_I32         4
#define KVTABLE_TYPE_I64         5
#define KVTABLE_TYPE_U8          6
#define KVTABLE_TYPE_U16         7
#define KVTABLE_TYPE_U32         8
#define KVTABLE_TYPE_U64         9
#define KVTABLE_TYPE_F32         10
#define KVTABLE_TYPE_F64         11
#define KVTABLE_TYPE_DATE        12 /* days since 1970-01-01; int32_t in arrays */
#define KVTABLE_TYPE_DECIMAL     13 /* decimal(18, s), the scale s being the width: times 10^s; int64_t in arrays */
#define KVTABLE_TYPE_TIME        14 /* of a day: microseconds from 0 to 86,399,999,999; int64_t in arrays */
#define KVTABLE_TYPE_DURATION    15 /* microseconds, of either sign; int64_t in arrays */
#define KVTABLE_TYPE_UUID        16 /* 16 bytes in the order in which they are written; KVBytes in arrays */
#define KVTABLE_TYPE_TIMESTAMP   18 /* microseconds since 1970-01-01 00:00:00; int64_t in arrays */
#define KVTABLE_TYPE_STRING      19 /* UTF-8, checked; KVBytes in arrays */
#define KVTABLE_TYPE_BYTES       20 /* any bytes; KVBytes in arrays */
#define KVTABLE_TYPE_FIXED_BYTES 21 /* exactly `width` bytes; KVBytes in arrays */
#define KVTABLE_TYPE_DECIMAL128  22 /* decimal128(38, s), of results alone: sums; KVDecimal in arrays */

#define KVTABLE_DECIMAL_SCALE_MAX 18 /* and the digits of a decimal: its units are below 10^18 */
#define KVTABLE_UUID_BYTES        16

/* Flags of a column */
#define KVTABLE_NULLABLE 1 /* may be null */
#define KVTABLE_UTC      2 /* a timestamp is in UTC; without it, naive */
/* Single rows of it are asked for more often than many: no encoding that reads a whole block for one. Key columns are
 * so anyway. */
#define KVTABLE_READ_BY_KEY 8
/* Lies in the file as one plain array for each run of rows (4 million, or 64 MiB), so that kvtable_view gives it out
 * without a copy: of every type but string and bytes; KVSTORE_SCHEMA for those, and together with the encodings below.
 * It takes as many bytes as its values have. */
#define KVTABLE_ARRAY 16

/* Encodings of a column in the file. Each piece of up to 65,536 rows chooses its own, by its values: the smallest,
 * unless one that is faster is nearly as small. To choose for it, OR one of these into the column's flags:
 *
 *   KVTABLE_USE_ENCODING(e)  this one, wherever the values allow it (a stride only where they are one); else the best
 *   KVTABLE_NO_ENCODING(e)   never this one; may be given for several. Plain is used all the same where nothing else is
 *                            left
 *
 * KVSTORE_SCHEMA: one is wished that the column's type never has (below), or wished and forbidden. Rows that lie in the
 * file already keep theirs. */
/* Decimals, times and durations are encoded as integers, as dates and timestamps are; uuids as fixed bytes. */
#define KVTABLE_ENCODING_CONSTANT   1  /* every type: one value */
#define KVTABLE_ENCODING_STRIDE     2  /* integers, dates, timestamps: equal steps, no nulls */
#define KVTABLE_ENCODING_PLAIN      3  /* every type: natural width; strings: offsets and bytes */
#define KVTABLE_ENCODING_BITS       4  /* bool */
#define KVTABLE_ENCODING_PACKED     5  /* integers, bool, dates, timestamps: differences to a base in as few bits */
#define KVTABLE_ENCODING_DICTIONARY 6  /* every type: distinct values, and a number for each row */
#define KVTABLE_ENCODING_RUN_LENGTH 7  /* every type but string, bytes and fixed bytes */
#define KVTABLE_ENCODING_DELTA      8  /* integers, dates, timestamps: differences of neighbours */
#define KVTABLE_ENCODING_ALP        9  /* f32, f64 that were decimals */
#define KVTABLE_ENCODING_ALP_RD     10 /* f32, f64 */
#define KVTABLE_ENCODING_FSST       11 /* string, bytes: codes of a table of symbols */
/* string, bytes, up to 16,384: frames of 16 KiB, of which a row reads one. Where more than sixteen threads read such at
 * once, the others take 224 KiB of their stacks; so they do for packed pairs (kvstore.h, compression). */
#define KVTABLE_ENCODING_ZSTD 12
#define KVTABLE_ENCODING_FRONT_CODED \
  13 /* string, bytes, up to 4,096: what each shares with the one before, and the rest */
#define KVTABLE_USE_ENCODING(e) ((e) << 8)
#define KVTABLE_NO_ENCODING(e)  (1 << (16 + (e)))
/* "packed", "run_length": the macros' names in small letters, as explain and table information say them; "?" for a
 * number that is none. Never freed. And back: 0 when there is no such name. */
KVSTORE_API const char *kvtable_encoding_name(int encoding);
KVSTORE_API int kvtable_encoding_by_name(const char *name);

#define KVTABLE_COLUMNS_MAX     1023
#define KVTABLE_KEY_COLUMNS_MAX 16

typedef struct KVColumnDefinition {
  const char *name; /* UTF-8, 1 to 255 bytes, unique in its table */
  int type;         /* KVTABLE_TYPE_* */
  int flags;        /* KVTABLE_NULLABLE, KVTABLE_UTC, KVTABLE_READ_BY_KEY, KVTABLE_ARRAY, encodings */
  uint32_t width;   /* of fixed bytes: 1 to 4,096. Of decimals: the scale, 0 to 18. Of uuids 16, or 0. Else 0 */
} KVColumnDefinition;

/* "i64", "timestamp", "decimal", "fixed_bytes"; "?" for a number that is no type. Never freed. And back:
 * KVTABLE_TYPE_NONE when there is no such name. */
KVSTORE_API const char *kvtable_type_name(int type);
KVSTORE_API int kvtable_type_by_name(const char *name);

/* ---- values ---- */
typedef struct KVBytes { /* borrowed */
  const void *data;
  size_t length;
} KVBytes;

typedef struct KVDecimal { /* of a decimal128: two's complement, 128 bits */
  uint64_t low;
  int64_t high;
} KVDecimal;

typedef struct KVValue {
  int type;        /* KVTABLE_TYPE_* */
  uint8_t is_null; /* not 0: null; `as` is not read */
  uint8_t scale;   /* of decimals: digits behind the point; else 0 */
  uint16_t zero;   /* kept for later */
  union {
    int64_t i64;   /* bool, i8 to i64, date, time, timestamp, duration; a decimal(18, s) times 10^s */
    uint64_t u64;  /* u8 to u64 */
    double f64;    /* f32 (widened; else it is the nearest one), f64 */
    KVBytes bytes; /* string, bytes, fixed bytes, uuid */
    struct {
      uint64_t low;
      int64_t high;
    } decimal; /* decimal128: two's complement, 128 bits, times 10^s. A decimal that is read has its sign here, too */
  } as;
} KVValue;

/* A number goes into a column of another number type that holds it exactly (an i64 of 5 into i16, u8, f64 or a decimal;
 * 2.0 into an i32; 12.30 of scale 2 into a decimal of scale 1; not 0.1 into an f32), a string type into another (text
 * is checked), 16 bytes into a uuid. Everything else goes into its own type only. What does not fit is KVSTORE_TYPE:
 * nothing is rounded or cut. */
static inline KVValue kvvalue_of(int type) {
  KVValue v;
  v.type = type;
  v.is_null = 0;
  v.scale = 0;
  v.zero = 0;
  v.as.decimal.low = 0;
  v.as.decimal.high = 0;
  return v;
}
static inline KVValue kvvalue_null(void) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_NONE);
  v.is_null = 1;
  return v;
}
static inline KVValue kvvalue_bool(int truth) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_BOOL);
  v.as.i64 = truth != 0;
  return v;
}
static inline KVValue kvvalue_i64(int64_t number) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_I64);
  v.as.i64 = number;
  return v;
}
static inline KVValue kvvalue_u64(uint64_t number) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_U64);
  v.as.u64 = number;
  return v;
}
static inline KVValue kvvalue_f64(double number) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_F64);
  v.as.f64 = number;
  return v;
}
static inline KVValue kvvalue_date(int32_t days) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_DATE);
  v.as.i64 = days;
  return v;
}
static inline KVValue kvvalue_timestamp(int64_t microseconds) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_TIMESTAMP);
  v.as.i64 = microseconds;
  return v;
}
static inline KVValue kvvalue_time(int64_t microseconds) { /* since midnight */
  KVValue v = kvvalue_of(KVTABLE_TYPE_TIME);
  v.as.i64 = microseconds;
  return v;
}
static inline KVValue kvvalue_duration(int64_t microseconds) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_DURATION);
  v.as.i64 = microseconds;
  return v;
}
static inline KVValue kvvalue_decimal(int64_t unscaled, unsigned scale) { /* 12.30: 1230, 2 */
  KVValue v = kvvalue_of(KVTABLE_TYPE_DECIMAL);
  v.as.i64 = unscaled;
  v.scale = (uint8_t)scale;
  return v;
}
static inline KVValue kvvalue_uuid(const void *bytes) { /* 16 of them, borrowed as long as the value is used */
  KVValue v = kvvalue_of(KVTABLE_TYPE_UUID);
  v.as.bytes.data = bytes;
  v.as.bytes.length = KVTABLE_UUID_BYTES;
  return v;
}
/* The characters are borrowed as long as the value is used. */
static inline KVValue kvvalue_text(const char *data, size_t length) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_STRING);
  v.as.bytes.data = data;
  v.as.bytes.length = length;
  return v;
}
static inline KVValue kvvalue_string(const char *text) { /* up to its NUL; NULL is a null */
  size_t length = 0;
  if (!text) return kvvalue_null();
  while (text[length]) length++;
  return kvvalue_text(text, length);
}
static inline KVValue kvvalue_bytes(const void *data, size_t length) {
  KVValue v = kvvalue_of(KVTABLE_TYPE_BYTES);
  v.as.bytes.data = data;
  v.as.bytes.length = length;
  return v;
}

/* Writes the value as text into `buffer` (`size` bytes, NUL included; cut when too small; may be NULL when `size` is 0)
 * and returns how many bytes the whole text has without the NUL. Numbers and decimals in digits (12.30 with its scale),
 * f64 so that it reads back the same, dates as 2013-01-31, times as 12:34:56.5, timestamps as 2013-01-31 12:34:56,
 * durations as hours, minutes and seconds, -36:00:00.5, uuids as 00112233-4455-6677-8899-aabbccddeeff, strings as they
 * are, bytes as hexadecimal digits, bool as true and false, nulls as "null". The same in every locale. */
KVSTORE_API size_t kvvalue_print(const KVValue *value, char *buffer, size_t size);
/* Reads text as the value of a decimal (of the scale `width`), date, time, timestamp, duration or uuid, as the literals
 * of filters are (docs/semantics.md), blanks around it left out. A uuid is put into `room`, KVTABLE_UUID_BYTES, which
 * is not read else and may be NULL. KVSTORE_TYPE: the text is none. KVSTORE_UNSUPPORTED: another type. KVSTORE_ERROR: a
 * NULL. */
KVSTORE_API int kvvalue_read(int type, uint32_t width, const char *text, size_t length, void *room, KVValue *value);
/* A number, decimal, bool, date, time, timestamp or duration as the nearest double; 0 for anything else. */
KVSTORE_API double kvvalue_to_f64(const KVValue *value);

/* ---- tables ----
 * Names are shared with families: 1 to 255 bytes, not beginning with "__". Creating and dropping belongs to the open
 * transaction, if there is one. */
/* Creates a table. `key_columns` names the columns of its primary key, in order (not null, at most
 * KVTABLE_KEY_COLUMNS_MAX); with none (NULL, 0) rows are addressed by a row id: dense in commit order, from 0, never
 * used again. Everything is copied. KVSTORE_CONSTRAINT: the name is taken. KVSTORE_SCHEMA: columns or key that cannot
 * be. KVSTORE_ERROR: a bad name. */
KVSTORE_API int kvtable_create(KVStore *kv, const char *name, const KVColumnDefinition *columns, size_t column_count,
                               const char *const *key_columns, size_t key_count, KVTable **table);
/* KVSTORE_NOTFOUND: nothing of this name. KVSTORE_SCHEMA: it is a family (kvstore_cf_open). */
KVSTORE_API int kvtable_open(KVStore *kv, const char *name, KVTable **table);
/* Releases the handle, not the data. NULL is allowed; also after kvstore_close. */
KVSTORE_API void kvtable_close(KVTable *table);
/* Drops a table and all its rows. KVSTORE_NOTFOUND; KVSTORE_SCHEMA: it is a family. */
KVSTORE_API int kvtable_drop(KVStore *kv, const char *name);
/* The names in ascending order; give each and the array back with kvstore_free. Of no table: KVSTORE_OK, NULL and 0. */
KVSTORE_API int kvtable_list(KVStore *kv, char ***names, size_t *count);

typedef struct KVTableSchema {
  size_t struct_size;                /* set by KVTABLE_SCHEMA_INIT */
  const char *name;                  /* of the table */
  const KVColumnDefinition *columns; /* in order */
  size_t column_count;
  const uint32_t *key_columns; /* positions in `columns`, in the key's order */
  size_t key_count;            /* 0: rows have row ids */
} KVTableSchema;
#define KVTABLE_SCHEMA_INIT \
  { sizeof(KVTableSchema), NULL, NULL, 0, NULL, 0 }
/* What pointers point to is the table handle's, until it is closed. */
KVSTORE_API int kvtable_schema(KVTable *table, KVTableSchema *schema);

/* ---- pairs as tables ----
 * Every family of keys and values reads as a table, whose rows are its pairs:
 *
 *   key           bytes; the table's key
 *   value         bytes
 *   value_length  u64
 *   expires_at    timestamp in UTC; null: never
 *
 * and then columns of the caller's, made of each pair by a source:
 *
 *   part(N)            the N-th part of the key, from 0, between the separators in it: '/', or part(N, ':'), of one or
 *                      several bytes
 *   at(OFFSET)         the bytes of the value from OFFSET on: a number, little-endian, or with at(OFFSET, big)
 *                      big-endian; bytes and strings up to the value's end
 *   json(a.b[2]."x y") of a value that is JSON, what lies there; json($): all of it. A path may begin with $, too. Of
 *                      several members of one name the first counts
 *
 * A part becomes a string, bytes, a number, or what is written like a literal of its type (decimal, date, time,
 * timestamp, duration, uuid); JSON a number, bool or string, a string of it such a literal; bytes any type (a uuid is
 * its 16 bytes, a time, duration or decimal the 8 of an array). What does not fit is null: a part, place or member that
 * is not there, text that is no number or literal of the column's type or no UTF-8, a value that is no JSON. (A JSON
 * number or bool is a string as it is written there; f32 and f64 are the nearest number.) */
typedef struct KVPairColumn {
  const char *name;   /* NULL: its source, as explain prints it */
  const char *source; /* see above */
  int type;           /* KVTABLE_TYPE_*; KVTABLE_TYPE_NONE: as it is declared; else a part is a string, JSON an f64 */
  uint32_t width;     /* of fixed bytes; of decimals the scale; else 0 */
} KVPairColumn;
/* Columns of a family that are kept beside its pairs, in the place of those that were: NULL, 0 and no flags: none. From
 * now on every write of a pair writes them, in the same transaction, and a query that reads no other columns but these,
 * key, value_length and expires_at reads them as those of a table, in place of the pairs. Where there are many pairs
 * already, their columns are made in the background (or by kvstore_maintain); until then queries walk the pairs, with
 * the same answers. kvtable_open_family has the declared columns behind the four of every family. A name NULL is the
 * source. Belongs to the open transaction, if there is one.
 *
 * Such a family takes keys of 65,534 bytes at most, in which a zero byte counts twice (KVSTORE_LIMIT, of later puts,
 * too; a longer one that is there keeps the columns from being made until it is deleted). KVSTORE_ERROR, KVSTORE_TYPE,
 * KVSTORE_SCHEMA as kvtable_open_family. */
#define KVTABLE_COUNTED 1 /* keeps key, value_length and expires_at, also without columns: for counts of ranges */
KVSTORE_API int kvtable_declare(KVColumnFamily *family, const KVPairColumn *columns, size_t column_count, int flags);
typedef struct KVDeclaredColumn {
  const char *name, *source;
  int type;
  uint32_t width;
  uint64_t nulls; /* pairs that have nothing for it, or nothing that fits */
} KVDeclaredColumn;
typedef struct KVDeclaredColumns {
  size_t struct_size;
  int is_declared; /* there are columns, or KVTABLE_COUNTED */
  int is_built;    /* queries read them */
  uint64_t pairs;  /* of the family */
  size_t column_count;
  const KVDeclaredColumn *columns;
} KVDeclaredColumns;
/* What is declared, and how much of it is null now. One block of memory with all that it points to: give it back with
 * kvstore_free. */
KVSTORE_API int kvtable_declared(KVColumnFamily *family, KVDeclaredColumns **columns);
/* A family as a table, for kvquery_create, kvtable_get, kvtable_count and kvtable_schema; what writes rows is
 * KVSTORE_READONLY. `columns` (NULL, 0: none) come behind the four of every family and the declared ones; one that is
 * declared, with the same source and type, stands there under the name given here. Everything is copied. Each query
 * reads the pairs of a snapshot as kvstore_cf_get would see them: its handle's own transaction's, too, and none that
 * has expired. KVSTORE_ERROR: a source that is none; KVSTORE_TYPE: not of this type; KVSTORE_SCHEMA: a name twice. */
KVSTORE_API int kvtable_open_family(KVColumnFamily *family, const KVPairColumn *columns, size_t column_count,
                                    KVTable **table);

/* ---- rows ----
 * `values` has one value for every column, in order. `key` has one value for every key column, in the key's order; for
 * a table without a primary key, one number: the row id. `expire_ms` is milliseconds since 1970-01-01 UTC from which on
 * the row is gone; 0: never. */
/* KVSTORE_CONSTRAINT: the key is there, and has not expired. *row_id (may be NULL) is 0 for a table with a primary key.
 */
KVSTORE_API int kvtable_insert(KVTable *table, const KVValue *values, size_t value_count, int64_t expire_ms,
                               uint64_t *row_id);
/* Inserts, or replaces the row with this key. In a table without a primary key: inserts. */
KVSTORE_API int kvtable_upsert(KVTable *table, const KVValue *values, size_t value_count, int64_t expire_ms);
/* Sets the columns named in `columns` (NULL: the first `count` of the table) of the row with this key; key columns
 * cannot be set, nor one twice (KVSTORE_SCHEMA). `expire_ms` NULL keeps the row's expiry. KVSTORE_NOTFOUND. */
KVSTORE_API int kvtable_update(KVTable *table, const KVValue *key, size_t key_count, const char *const *columns,
                               const KVValue *values, size_t count, const int64_t *expire_ms);
/* KVSTORE_NOTFOUND. */
KVSTORE_API int kvtable_delete(KVTable *table, const KVValue *key, size_t key_count);
/* Reads the row with this key into the caller's `values`, one for every column. Their strings belong to *row, which is
 * given back by kvtable_row_free. *expire_ms (may be NULL): 0 when it never expires. KVSTORE_NOTFOUND: absent or
 * expired; then the values are nulls and *row is NULL. */
KVSTORE_API int kvtable_get(KVTable *table, const KVValue *key, size_t key_count, KVValue *values, size_t value_count,
                            int64_t *expire_ms, KVRow **row);
/* NULL is allowed; also after the table and the store are closed. */
KVSTORE_API void kvtable_row_free(KVRow *row);
/* Rows that are there and have not expired. */
KVSTORE_API int kvtable_count(KVTable *table, uint64_t *count);
/* Deletes every row, in time that does not depend on their number. Row ids go on. */
KVSTORE_API int kvtable_clear(KVTable *table);

/* ---- many rows at once, as columns ---- */
#define KVTABLE_INSERT 0 /* KVSTORE_CONSTRAINT when a key is there, or twice among the rows */
#define KVTABLE_UPSERT 1 /* replaces; of equal keys among the rows the last wins */

#define KVTABLE_FORM_ARRAY    0 /* `values` is an array of the type in memory (above) */
#define KVTABLE_FORM_OFFSETS  1 /* strings: `values` is bytes, row i is from offsets[i] to offsets[i + 1] */
#define KVTABLE_FORM_POINTERS 2 /* strings: `values` is an array of const char *, `lengths` their lengths */

typedef struct KVColumnData {
  int type;                /* KVTABLE_TYPE_* of the column */
  int form;                /* KVTABLE_FORM_* */
  const void *values;      /* may be NULL when every row is null */
  const uint8_t *nulls;    /* a byte a row: not 0 is null; NULL: no row is */
  const uint64_t *offsets; /* FORM_OFFSETS: row_count + 1, not descending */
  const size_t *lengths;   /* FORM_POINTERS: row_count; NULL: up to each NUL */
} KVColumnData;

/* Writes `row_count` rows: one KVColumnData for every column of the table, in order, of exactly its type. All rows or
 * none (KVSTORE_TYPE, KVSTORE_CONSTRAINT: kvstore_error names the first row with a value that cannot be; where there is
 * none, the first with a key that is there). `mode`: KVTABLE_INSERT, KVTABLE_UPSERT. `expire_ms`: one a row, 0 for
 * never; NULL: never, all of them. *first_row_id (may be NULL): of a table without a primary key; the others follow it.
 * Everything is borrowed for the call. More than 4,294,967,295 rows: KVSTORE_LIMIT. */
KVSTORE_API int kvtable_append(KVTable *table, const KVColumnData *columns, size_t column_count, uint64_t row_count,
                               const int64_t *expire_ms, int mode, uint64_t *first_row_id);

/* How many threads may encode the columns of what this handle appends in batches of 65,536 rows and more, the calling
 * one among them: 1, as it is at first; 0: one a processor; more than 64 are 64. Helpers are the process's, as
 * kvquery_threads says; what is written is the same. A clone begins with 1. */
KVSTORE_API int kvtable_load_threads(KVStore *kv, uint32_t threads);

/* ---- many rows by their keys ---- */

/* What is asked for, an entry a key, in the order of the keys. */
typedef struct KVRows {
  size_t struct_size;
  uint64_t row_count;       /* as many as keys were given */
  uint64_t found_count;     /* of them, with a row that has not expired */
  const uint8_t *found;     /* a byte a key: 1 or 0 */
  const int64_t *expire_ms; /* 0: never; NULL: none of the rows ever expires */
  size_t column_count;
  const KVColumnData *columns; /* KVTABLE_FORM_ARRAY; null where there is no row */
} KVRows;

/* Reads the rows of many keys at once, all as of one moment: now, inside a transaction of the handle what that sees, or
 * at a snapshot (NULL: none). `keys`: one KVColumnData for every column of the key, in the key's order, of exactly its
 * type, with `row_count` entries; for a table without a primary key one column of u64, the row ids. A key may come more
 * than once. `columns`: the names of those that are wanted, in this order, of which one may come twice; NULL, 0: all;
 * not NULL, 0: none, for who asks only which keys are there.
 *
 * Keys are looked up in the order in which their rows lie, and each piece of a column is read once for all of them:
 * 10,000 keys take about a third of the time that as many kvtable_get take. Memory: what is given out,
 * and for the call up to 8 MiB, the bytes of 32,768 keys, and 16 for a string key that is no FORM_ARRAY. Everything
 * given is borrowed for the call; *rows, with all that it points to, is the caller's until kvtable_rows_free, and may
 * be read by any thread. A key that is not there is no failure. KVSTORE_SCHEMA: not as many columns as the key has, or
 * no such column. KVSTORE_TYPE: a key of another type, or one that its column cannot hold (kvstore_error names row and
 * column). KVSTORE_LIMIT: more than 4,294,967,295 keys. KVSTORE_NOTFOUND: the table was not there at the snapshot. */
KVSTORE_API int kvtable_get_many(KVTable *table, const KVColumnData *keys, size_t key_count, uint64_t row_count,
                                 const char *const *columns, size_t column_count, KVSnapshot *snapshot, KVRows **rows);
/* NULL is allowed; also after the table and the store are closed. */
KVSTORE_API void kvtable_rows_free(KVRows *rows);
/* Deletes the rows of many keys, given as above: all of them, or on a failure none. *deleted (may be NULL): how many
 * were there, each once. Keys that are not there are no failure. Memory, while the call lasts: as above; of more than
 * 32,768 keys besides some 100 bytes, and twice its key, for each row. KVSTORE_SCHEMA, KVSTORE_TYPE and KVSTORE_LIMIT
 * as above. */
KVSTORE_API int kvtable_delete_many(KVTable *table, const KVColumnData *keys, size_t key_count, uint64_t row_count,
                                    uint64_t *deleted);

/* ---- questions ----
 * A query asks for aggregates of all rows that match (kvquery_count and its neighbours, at once), or, through a cursor,
 * for these rows (kvquery_select), or for groups of them (kvquery_group_by). It is prepared once and run any number of
 * times; every run sees the latest commit, or, inside a transaction of the handle, what that sees. One thread at a
 * time; its cursors too. It may be closed before its cursors. */
KVSTORE_API int kvquery_create(KVTable *table, KVQuery **query);
/* NULL is allowed; also after the table and the store are closed. */
KVSTORE_API void kvquery_close(KVQuery *query);

/* From here on the query asks a snapshot (NULL: the store again), which it keeps alive until it is closed or asks
 * something else. KVSTORE_ERROR: a snapshot of another store. KVSTORE_NOTFOUND, when it runs: the table was not there
 * then. */
KVSTORE_API int kvquery_at(KVQuery *query, KVSnapshot *snapshot);

/* The filter: "dep_delay > 60 and carrier = ?", "arr_delay > dep_delay", "(flags & 6) = 6", in the grammar of
 * docs/semantics.md, with one value for every ?. Text and values are copied. NULL or "": every row. Replaces the filter
 * before; on failure that one stays.
 *   KVSTORE_ERROR        not the grammar (the message says where), too few or too many values
 *   KVSTORE_SCHEMA       an unknown column
 *   KVSTORE_TYPE         a constant that does not compare with its column
 *   KVSTORE_UNSUPPORTED  a pattern that is not a prefix */
KVSTORE_API int kvquery_where(KVQuery *query, const char *text, const KVValue *parameters, size_t parameter_count);
/* The canonical text of a filter, or of a value to be computed, which explain prints and which has itself for its
 * canonical text: spaces, parentheses and quotes only where they belong, values in the place of every ? (parameters
 * NULL, 0: they stay). No table is asked: whether there are such columns is not known. KVSTORE_ERROR: not the grammar
 * (kvstore_errmsg(NULL) says where), or not as many values as there are places. */
KVSTORE_API int kvexpr_canonical(const char *text, const KVValue *parameters, size_t parameter_count,
                                 char **canonical_text);
/* A column's name, and a value, as they stand in such texts, quoted where they must be: "delay", "\"two words\"",
 * "'O''Hare'", "date '2026-11-30'". For who makes texts of them; values are given as parameters more easily. Give all
 * three texts back with kvstore_free. KVSTORE_ERROR: a name that is not UTF-8. */
KVSTORE_API int kvexpr_name(const char *name, char **text);
KVSTORE_API int kvexpr_literal(const KVValue *value, char **text);

/* Only rows whose key begins with these values, of the first columns of the table's key, in its order (of a table
 * without a primary key: one number, the row id). NULL, 0: every key. Goes before, and in the place of,
 * kvquery_key_range. Runs in the file are searched for where the range begins and ends: nothing outside is read, and
 * inside only what is asked for. So it is, too, where a filter compares the first columns of the key with constants and
 * joins that to the rest by `and`. KVSTORE_SCHEMA: more values than key columns. KVSTORE_TYPE: a null, or a value that
 * does not fit its column. Of a table over pairs: keys that begin with these bytes (one value of type bytes or string).
 */
KVSTORE_API int kvquery_key_prefix(KVQuery *query, const KVValue *values, size_t count);
/* The same from a key on and before another; NULL, 0: from the first, to the last. Of a bound with fewer values than
 * the key has columns, all keys that begin with it are in, or out. */
#define KVQUERY_FROM_EXCLUDED 1 /* from behind the first bound */
#define KVQUERY_TO_INCLUDED   2 /* with the second one */
KVSTORE_API int kvquery_key_range(KVQuery *query, const KVValue *from, size_t from_count, const KVValue *to,
                                  size_t to_count, int flags);

/* ---- joins ----
 * The rows of a query may be those of several tables: each row of its own table with the rows of another that have the
 * same values in some columns. Values are the same as `=` says, whatever their types; a null is the same as nothing.
 * Joins are made one after the other, each with what was joined before; names that come later (kvquery_where,
 * kvquery_select, ...) are of all tables. All are read as of one moment. Parts of the filter that concern one table are
 * asked there; of tables that are joined, not only looked into, what others leave over is hashed within the query's
 * limit of memory: where that is not enough, the rows before it are read again for a few parts of it, or both go to a
 * file and come back by the hash of their keys. Rows come in no particular order, but the same for the same tables and
 * limit. Float sums are added in that order. */
#define KVQUERY_JOIN_INNER 0 /* pairs alone */
#define KVQUERY_JOIN_LEFT  1 /* rows without a partner too, with nulls for the other's columns */
#define KVQUERY_JOIN_SEMI  2 /* rows that have a partner, once, without its columns */
#define KVQUERY_JOIN_ANTI  3 /* rows that have none */
typedef struct KVJoin {
  size_t struct_size;       /* set by KVJOIN_INIT */
  KVTable *table;           /* of the same handle; the query keeps it */
  int kind;                 /* KVQUERY_JOIN_* */
  const char *const *left;  /* columns of what is joined so far */
  const char *const *right; /* columns of the table: right[i] equals left[i] */
  size_t count;             /* of each: 1 to 16 */
  const char *prefix;       /* before the names of the table's columns in the result; NULL: none */
  const char *where;        /* only rows of the table for which this is true, before they are joined; NULL: all */
  const KVValue *parameters;
  size_t parameter_count;
} KVJoin;
#define KVJOIN_INIT \
  { sizeof(KVJoin), NULL, KVQUERY_JOIN_INNER, NULL, NULL, 0, NULL, NULL, NULL, 0 }
/* Joins one more table, at most 16; NULL: no table is joined any more. Everything is copied. A key range is that of the
 * query's own table; kvquery_order_by_key orders by its key, which must be a primary one (KVSTORE_UNSUPPORTED).
 * KVSTORE_SCHEMA: no such column, or a name that is there already. KVSTORE_TYPE: columns that do not compare.
 * KVSTORE_ERROR: a table of another handle, a filter as kvquery_where. After a failure the joins are as before. */
KVSTORE_API int kvquery_join(KVQuery *query, const KVJoin *join);

/* Aggregates over the rows that match; order, limit and selected columns do not concern them. */
/* How many rows. */
KVSTORE_API int kvquery_count(KVQuery *query, uint64_t *count);
/* One result of the rows where the column is not null; a null when there is none. The sum of integers and bools is a
 * decimal of 128 bits and never overflows; that of floats is an f64, and so is every average; minimum and maximum have
 * the column's type, and their strings are the query's until its next run or close. KVSTORE_SCHEMA, KVSTORE_TYPE (no
 * sum of strings). */
KVSTORE_API int kvquery_sum(KVQuery *query, const char *column, KVValue *result);
KVSTORE_API int kvquery_min(KVQuery *query, const char *column, KVValue *result);
KVSTORE_API int kvquery_max(KVQuery *query, const char *column, KVValue *result);
KVSTORE_API int kvquery_avg(KVQuery *query, const char *column, KVValue *result);

#define KVQUERY_ROWS                  0 /* count(*), a u64; `column` is not read */
#define KVQUERY_VALUES                1 /* count(column): rows where it is not null, a u64 */
#define KVQUERY_SUM                   2
#define KVQUERY_MIN                   3
#define KVQUERY_MAX                   4
#define KVQUERY_AVG                   5
#define KVQUERY_VARIANCE              6 /* of a sample: squares of distances from the average, by count - 1; an f64 */
#define KVQUERY_VARIANCE_POP          7 /* by the count */
#define KVQUERY_STDDEV                8 /* square roots of the two */
#define KVQUERY_STDDEV_POP            9
#define KVQUERY_COUNT_DISTINCT        10 /* how many different values, exactly; a u64 */
#define KVQUERY_FIRST                 11 /* the value, maybe null, in the row of the least key; the column's type */
#define KVQUERY_LAST                  12 /* in the row of the greatest key */
#define KVQUERY_APPROX_COUNT_DISTINCT 13 /* about as many: 1.6 % off on the average, in 4 KiB a group */
/* The least value so that this part of the values (0 to 1: 0.95, 0.9999; to six digits) is not above it; the column's
 * type. Of 0 it is the least, of 1 the greatest one. Numbers are kept for it, 8 to 12 bytes each; texts, and numbers
 * that take more than a third of the memory (kvquery_memory_limit), are sorted. */
#define KVQUERY_QUANTILE(part) (65536 + (int)((part)*1000000 + 0.5))
#define KVQUERY_MEDIAN         (65536 + 500000)
typedef struct KVAggregate {
  int kind; /* KVQUERY_* */
  const char *column;
} KVAggregate;
/* Several in one pass over the rows: results[i] belongs to aggregates[i]. At most 1,024. */
KVSTORE_API int kvquery_aggregate(KVQuery *query, const KVAggregate *aggregates, size_t count, KVValue *results);

/* ---- values to be computed ----
 * Wherever a column is named (filters, kvquery_select, aggregates, groups, orders, having) a value may be computed from
 * columns: "price * (1 - discount)", "year(day)", "case when delay > 15 then 'late' else 'in time' end". Operators
 * and functions, their types and failures: docs/semantics.md. A value that cannot be computed (an integer that does not
 * fit, a division by zero, a cast out of range) ends the run with KVSTORE_TYPE; kvstore_error has the expression as its
 * column, and the value; the message names the row's key. try_add, try_divide, try_cast and the like give null instead.
 * A column of a name goes before a value of the same text. */

/* The columns of the rows, in this order; NULL, 0: all. A column may come twice. "price * (1 - discount) as paid" gives
 * a value a name, by which kvquery_order_by knows it too; without one it is called by its canonical text. */
KVSTORE_API int kvquery_select(KVQuery *query, const char *const *columns, size_t count);
/* ---- groups ----
 * With columns to group by, or aggregates to compute, the rows of the query's cursor are groups: first the columns that
 * they are grouped by, in their order, then the aggregates, in theirs, named "count(*)", "count(x)", "sum(x)",
 * "min(x)", "max(x)", "avg(x)", "variance(x)", "variance_pop(x)", "stddev(x)", "stddev_pop(x)", "count(distinct x)",
 * "approx_count_distinct(x)", "first(x)", "last(x)", "median(x)" and "quantile(x, 0.95)". A null is a value to group
 * by; both zeros of a float are one, and so are all its NaN. Without an order they come in any, the same for the same
 * rows at the same place. What is asked for here is kept, names and all, until it is asked anew. */
/* Groups by these columns; NULL, 0: by none (with aggregates: one group of all rows; without: rows again).
 * KVSTORE_SCHEMA: no such column, or one twice. */
KVSTORE_API int kvquery_group_by(KVQuery *query, const char *const *columns, size_t count);
/* The aggregates of each group; NULL, 0: none. KVSTORE_SCHEMA, KVSTORE_TYPE, KVSTORE_LIMIT as kvquery_aggregate. */
KVSTORE_API int kvquery_compute(KVQuery *query, const KVAggregate *aggregates, size_t count);
/* Only groups for which this filter is true, as kvquery_where, over the columns of the groups: "count(*) > 10 and
 * avg(delay) < 5". NULL or "": all. What it names is looked up by kvquery_open. */
KVSTORE_API int kvquery_having(KVQuery *query, const char *text, const KVValue *parameters, size_t parameter_count);
/* Not 0: of several equal rows one (where a query groups, no two are equal). */
KVSTORE_API int kvquery_distinct(KVQuery *query, int distinct);

/* ---- order ---- */
#define KVQUERY_DESCENDING 1
#define KVQUERY_NULLS_LAST 2 /* else first, whatever the direction */
typedef struct KVOrder {
  const char *column; /* of the table, selected or not; of groups: one of theirs */
  int flags;          /* KVQUERY_DESCENDING, KVQUERY_NULLS_LAST */
} KVOrder;
/* The order of rows or groups: by the first column, equals by the next; what is still equal stays as it lies. With a
 * limit no more is kept than that asks for. NULL, 0: no order. Goes before kvquery_order_by_key. What it names is
 * looked up by kvquery_open: KVSTORE_SCHEMA. */
KVSTORE_API int kvquery_order_by(KVQuery *query, const KVOrder *order, size_t count);
/* How many threads may work on a run: 1, as it is at first, the caller's own alone; 0: that one, and where what is
 * left to read takes longer than threads take to wake, others, one a processor; else at most so many, 64 at the most.
 * They share out aggregates and groups (those without quantiles of texts; groups that are few among the rows, or of
 * which only counts, sums, averages, deviations, least and greatest numbers are asked), rows in an order (with a
 * limit: those that nothing is computed for), all rows as they lie, the rows of tables that are joined, and of joined
 * rows all of these, once the other tables are hashed as a whole.
 * The limit of memory is shared out, too: a thread that sorts has at least 1 MiB, or it is not asked. Helpers are the
 * process's: started by the first run that wants them, asleep between runs and between the steps of a cursor, joined
 * when the last store is closed; a forked child has none of them. The results are the same to the bit and in the same
 * order, whatever is chosen. A helper that comes when all is given out is not waited for. */
KVSTORE_API int kvquery_threads(KVQuery *query, uint32_t threads);
/* Leaves out the first `offset` rows or groups and gives at most `limit` (UINT64_MAX: all). */
KVSTORE_API int kvquery_limit(KVQuery *query, uint64_t offset, uint64_t limit);
/* Not 0: rows in the order of the table's key; 0: as they lie. */
KVSTORE_API int kvquery_order_by_key(KVQuery *query, int ordered);

/* How much memory a run may hold for groups, values to be counted once, joined tables, and rows to be sorted: about so
 * many bytes, at least 1 MiB (KVSTORE_LIMIT), and half as much again while its tables grow; 0: 1 GiB, as without this
 * call. What is more goes to a file beside the store, which has no name, goes with the cursor, and is sealed when the
 * store is; the answers stay the same. Of a store in memory it is memory. The first group, and a state of one group
 * (its least and greatest strings), are kept however large. A process that may not make files beside the store then
 * gets KVSTORE_READONLY, but for joins, which read their rows again. What reading takes is not counted: some MiB, and
 * of long texts up to 64 MiB for a thread, as often as they are read (by the filter, as a group, on their way to the
 * file). */
KVSTORE_API int kvquery_memory_limit(KVQuery *query, uint64_t bytes);

/* The rows that match, or their groups, as they are now: the cursor keeps its snapshot until it is closed, whatever is
 * written meanwhile, and may outlive the store's handle. Made inside a writing transaction it shows what that saw;
 * after a rollback each step is KVSTORE_ERROR. */
KVSTORE_API int kvquery_open(KVQuery *query, KVCursor **cursor);
/* On to the next row, at first to the first. KVSTORE_NOTFOUND after the last: no failure, and no message. After any
 * other code only the close may follow. */
KVSTORE_API int kvcursor_next(KVCursor *cursor);
/* A value of the current row; its string is the cursor's until the next step or close. KVSTORE_ERROR: no current row,
 * or no such column. */
KVSTORE_API int kvcursor_value(KVCursor *cursor, size_t column, KVValue *value);
KVSTORE_API size_t kvcursor_column_count(KVCursor *cursor);
/* The definition of a column of the rows; its name is the cursor's. */
KVSTORE_API int kvcursor_column(KVCursor *cursor, size_t column, KVColumnDefinition *definition);
/* On to the next up to 1,024 rows at once: *row_count, and one KVColumnData (FORM_ARRAY) for every column at *columns,
 * both the cursor's until the next step or close. KVSTORE_NOTFOUND after the last. Rows that kvcursor_next has not yet
 * shown of the batch it was in come first. */
KVSTORE_API int kvcursor_next_batch(KVCursor *cursor, uint64_t *row_count, const KVColumnData **columns);
/* NULL is allowed; also after everything else is closed. */
KVSTORE_API void kvcursor_close(KVCursor *cursor);

/* What the last run of a query did. blocks == blocks_skipped + blocks_certain + blocks_scanned. */
typedef struct KVQueryCounters {
  size_t struct_size;        /* set by KVQUERY_COUNTERS_INIT */
  uint64_t units;            /* segments of runs, and slabs of newest rows */
  uint64_t segments_skipped; /* of them, excluded without touching anything of them */
  uint64_t rows;             /* in all units, dead ones included */
  uint64_t rows_selected;
  uint64_t blocks;         /* of 1,024 rows */
  uint64_t blocks_skipped; /* excluded by their zone map, dead rows or expiry */
  uint64_t blocks_certain; /* every row matches, known without reading a column of the filter */
  uint64_t blocks_scanned; /* a column of the filter was read */
  uint64_t bytes_spilled;  /* of groups, sorts and joins, written to a file for lack of memory */
} KVQueryCounters;
#define KVQUERY_COUNTERS_INIT \
  { sizeof(KVQueryCounters), 0, 0, 0, 0, 0, 0, 0, 0, 0 }
/* Of the last aggregate (of one that failed, up to there), or the cursor that stepped last (so far). Zeros before any.
 */
KVSTORE_API int kvquery_counters(KVQuery *query, KVQueryCounters *counters);
/* The question as text, and what its last run did, unless something else is asked since then; a few lines for a person.
 * Give *text back with kvstore_free. */
KVSTORE_API int kvquery_explain(KVQuery *query, char **text);
/* The same as one object of JSON: "filter", "joins" (where there are some), and "aggregates", or "columns",
 * "group_by", "having", "order", "offset", "limit"; "keys" and "searched_by", which columns of the key the filter
 * limits; and "run" with the counters, once it has run. Of a run that is "ns", the time within the calls that ran it
 * (of a cursor those so far), and "steps", where it went: "join" (the tables read and hashed), or "pairs" (pairs read,
 * and columns made of them), "filter" with "rows_in", "rows_out" and its "terms" (what `and` joins at its top:
 * "columns", "ns", "blocks" that were read for it, "rows_in", "rows_out", "encodings"; a row that the term before left
 * out does not go in), "aggregates" or "groups" (columns read and computed, rows added), "merge" (what several threads
 * have made), "back again" (groups and values that had left memory), "order" and, with the rest, "output". Times of
 * steps are added up over threads: of one thread they come to "ns", of several to more. Where units or batches are
 * quick, a few stand for the others; a unit that is excluded as a whole takes no time of a step. "encodings": of the
 * columns that were touched. "kernels": which compared and added them, "avx512", "avx2" or "scalar", the best that the
 * processor has; COLONNADE_KERNELS in the environment asks for lower ones. "helped": whether other threads were asked
 * to help. */
KVSTORE_API int kvquery_explain_json(KVQuery *query, char **text);

/* From any thread, while the query is not closed: what it is doing (an aggregate, a step of a cursor) ends with
 * KVSTORE_CANCELLED, within 65,536 rows or so, or within the sort of what its memory holds. The cursors and streams it
 * has open go no further either: their next step is KVSTORE_CANCELLED. What begins later is not concerned. */
KVSTORE_API int kvquery_cancel(KVQuery *query);
/* Called by the thread that runs the query, at least once in 65,536 rows that it takes itself: how many of all rows
 * (dead ones included) have been scanned, by its helpers too. In the end rows is rows_total, unless a limit, or a table
 * without rows to join, has ended the run before; of pairs only those within the range of keys are scanned. Not 0: the
 * run ends with KVSTORE_CANCELLED. It may call nothing on this query and its cursors but kvquery_cancel, and must not
 * close the handle: that waits for the run. */
typedef int (*KVQueryProgress)(void *context, uint64_t rows, uint64_t rows_total);
/* NULL: nobody. From the next run or step on. */
KVSTORE_API int kvquery_progress(KVQuery *query, KVQueryProgress progress, void *context);

/* ---- columns as arrays ----
 * Columns of a fixed width (of every type but string and bytes), whole, as plain arrays: for programs that compute on
 * them. The rows of a KVTABLE_ARRAY column that lie in the file are given where they are, without a copy, in a store
 * that is mapped and not encrypted; all others are copied once, when the view is made. */

/* A column of a piece. Fixed bytes and uuids stand one after the other. Beneath nulls are zeros. */
typedef struct KVTableArray {
  const void *values;    /* row_count of the piece's; each of widths[column] bytes */
  const uint64_t *valid; /* bit i % 64 of word i / 64: row i is not null. NULL: no row is */
  int in_file;           /* not 0: `values` lies in the mapping of the file, nothing was copied */
} KVTableArray;

/* Rows that lie together: of a run of the file in the order of their keys, else in no order. */
typedef struct KVTablePiece {
  uint64_t row_count;
  const uint64_t *live;       /* bit i % 64 of word i / 64: row i is a row of the table. NULL: every row is. The others
                                 were deleted, replaced or have expired, and their values are what they were */
  const KVTableArray *arrays; /* one a column, in the order in which they were asked for */
} KVTablePiece;

typedef struct KVTableView {
  size_t struct_size;
  uint64_t row_count; /* rows of the table: live ones, of all pieces */
  size_t column_count;
  const uint32_t *widths; /* bytes of an entry of each column */
  size_t piece_count;
  const KVTablePiece *pieces;
} KVTableView;

/* The columns as the table is now, or at a snapshot (NULL: now). The view stays as it is, whatever is written; it keeps
 * what it shows alive until kvtable_view_close, also after the table, the snapshot and the store are closed. Any thread
 * may read it. Making it reads every block of the columns once. KVSTORE_SCHEMA: no such column; KVSTORE_TYPE: a string
 * or bytes column; KVSTORE_LIMIT: more than KVTABLE_COLUMNS_MAX. */
KVSTORE_API int kvtable_view(KVTable *table, const char *const *columns, size_t column_count, KVSnapshot *snapshot,
                             KVTableView **view);
/* NULL is allowed. */
KVSTORE_API void kvtable_view_close(KVTableView *view);

/* ---- what a table takes ---- */
typedef struct KVColumnUsage {
  const char *name;
  int type;
  uint32_t width;        /* of fixed bytes and uuids; of decimals the scale */
  uint64_t bytes;        /* in the runs of the file */
  uint64_t plain_bytes;  /* what the same rows would take as plain arrays */
  const char *encodings; /* "packed/16 x12, dictionary/8 x4": chunks of each */
} KVColumnUsage;
typedef struct KVTableUsage {
  size_t struct_size;
  uint64_t run_count;  /* sorted runs in the file */
  uint64_t run_rows;   /* their rows, dead ones included */
  uint64_t run_bytes;  /* their bytes */
  uint64_t dead_rows;  /* of run_rows */
  uint64_t delta_rows; /* newest rows, not yet in a run */
  size_t column_count;
  const KVColumnUsage *columns;
} KVTableUsage;
/* Of pairs: the columns that are kept beside them (kvtable_declare), in which every value is a null; none: no columns.
 * One block of memory with all that it points to: give it back with kvstore_free. */
KVSTORE_API int kvtable_usage(KVTable *table, KVTableUsage **usage);

#ifdef __cplusplus
}
#endif
#endif
