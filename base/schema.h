/* schema.h - types, columns, schemas, and how values of a type lie in memory.
 *
 * In memory a column is an array of its natural width (the table below); strings, bytes and fixed bytes are arrays of
 * Bytes. Nulls take a byte each (1 = null); the value beneath a null is zero (an empty Bytes).
 *
 *   type         in memory          meaning                                        image (i64, orders as the type does)
 *   bool         uint8_t 0/1                                                       0, 1
 *   i8 .. i64    intN_t                                                            the value
 *   u8 .. u32    uintN_t                                                           the value
 *   u64          uint64_t                                                          value ^ 2^63
 *   f32          float              IEEE 754                                       that of the same number as f64
 *   f64          double             IEEE 754                                       float_image (below)
 *   date         int32_t            days since 1970-01-01                          the value
 *   time         int64_t            microseconds of a day, below 86,400,000,000    the value
 *   timestamp    int64_t            microseconds since 1970-01-01 (UTC or naive)   the value
 *   duration     int64_t            microseconds, of either sign                   the value
 *   decimal      int64_t            the value times 10^s, below 10^18              the value in the array
 *   string       Bytes              UTF-8                                          first 8 bytes, big-endian, ^ 2^63
 *   bytes        Bytes              any bytes                                      the same
 *   fixed bytes  Bytes              exactly `width` bytes                          the same
 *   uuid         Bytes              16 bytes, as they are written                  the same
 *
 * The image is what zone maps hold. For strings it is a prefix: equal images do not mean equal values. */
#ifndef COLONNADE_BASE_SCHEMA_H
#define COLONNADE_BASE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"

/* On disk, and but for decimals the same numbers as the public header's: never renumbered. 17 is kept for vectors. A
 * decimal's scale is in the number of its type, so that wherever there is a type there is its scale too; the public
 * header calls all of them 13, and has the scale beside. */
typedef enum ColumnType {
  TYPE_NONE = 0,
  TYPE_BOOL = 1,
  TYPE_I8 = 2,
  TYPE_I16 = 3,
  TYPE_I32 = 4,
  TYPE_I64 = 5,
  TYPE_U8 = 6,
  TYPE_U16 = 7,
  TYPE_U32 = 8,
  TYPE_U64 = 9,
  TYPE_F32 = 10,
  TYPE_F64 = 11,
  TYPE_DATE = 12,
  TYPE_TIME = 14,
  TYPE_DURATION = 15,
  TYPE_UUID = 16,
  TYPE_TIMESTAMP = 18,
  TYPE_STRING = 19,
  TYPE_BYTES = 20,
  TYPE_FIXED_BYTES = 21,
  TYPE_DECIMAL = 32,                                    /* decimal(18, 0), and on to */
  TYPE_DECIMAL_LAST = TYPE_DECIMAL + DECIMAL_SCALE_MAX, /* decimal(18, 18) */
} ColumnType;

enum {
  COLUMN_NULLABLE = 1,
  COLUMN_UTC = 2,    /* a timestamp in UTC; without it, naive */
  COLUMN_HIDDEN = 4, /* the row id of a table without a primary key */
  COLUMN_READ_BY_KEY = 8,
  COLUMN_ARRAY = 16,     /* lies plain and contiguous through a run: fixed widths only */
  COLUMN_COMPUTED = 128, /* of no table: a query computes it from other columns */
  /* Wishes how it is encoded: bits 8 to 15 are an EncodingId (0: any), bit 16 + n is set: never encoding n. */
  COLUMN_ENCODING_SHIFT = 8,
  COLUMN_FORBIDDEN_SHIFT = 16,
};

typedef struct Column {
  uint32_t id; /* never reused within its family */
  ColumnType type;
  uint32_t flags; /* COLUMN_*: and wishes, column_encoding and column_forbidden */
  uint32_t width; /* bytes of a fixed-bytes value, 16 of a uuid; 0 for every other type */
  char *name;     /* UTF-8, 1 to 255 bytes */
} Column;

/* The encoding that a column shall have where it can, 0 when any; and those it shall not have, bit n for encoding n. */
static inline uint32_t column_encoding(const Column *c) { return c->flags >> COLUMN_ENCODING_SHIFT & 0xff; }
static inline uint32_t column_forbidden(const Column *c) { return c->flags >> COLUMN_FORBIDDEN_SHIFT; }

/* A table's columns in order, and which of them make its key. A table without a primary key has one more column at the
 * end: hidden, u64, not null, its row id, which is its key. Owned by its creator; schema_release gives it back. */
typedef struct Schema {
  uint32_t version;
  uint32_t column_count;
  Column *columns;
  uint32_t key_count;
  uint32_t key_columns[KEY_COLUMNS_MAX]; /* positions in `columns` */
  bool has_row_id;
  /* Of a hidden table of columns over pairs: what each is made of, as text (encodings/projection.h); entries may be
   * NULL. NULL: no column has a source. */
  char **sources;
} Schema;

/* Its values are Bytes, all of the column's width. */
static inline bool type_is_fixed(ColumnType t) { return t == TYPE_FIXED_BYTES || t == TYPE_UUID; }
/* Values of any length: everything else has a fixed width. */
static inline bool type_has_offsets(ColumnType t) { return t == TYPE_STRING || t == TYPE_BYTES; }
/* Its values are Bytes. */
static inline bool type_is_string(ColumnType t) { return t == TYPE_STRING || t == TYPE_BYTES || type_is_fixed(t); }
static inline bool type_is_float(ColumnType t) { return t == TYPE_F32 || t == TYPE_F64; }
static inline bool type_is_integer(ColumnType t) { return t >= TYPE_I8 && t <= TYPE_U64; }
static inline bool type_is_decimal(ColumnType t) { return t >= TYPE_DECIMAL && t <= TYPE_DECIMAL_LAST; }
static inline ColumnType type_decimal(unsigned scale) { return (ColumnType)(TYPE_DECIMAL + scale); }
/* Digits behind the point of a decimal; 0 for every other type. */
static inline unsigned type_scale(ColumnType t) { return type_is_decimal(t) ? (unsigned)t - TYPE_DECIMAL : 0; }
/* Points in time: days or microseconds since 1970. */
static inline bool type_is_date(ColumnType t) { return t == TYPE_DATE || t == TYPE_TIMESTAMP; }
/* The type whose arrays look the same: an integer, float, bool or string type. */
static inline ColumnType type_storage(ColumnType t) {
  if (t == TYPE_DATE) return TYPE_I32;
  if (t == TYPE_UUID) return TYPE_FIXED_BYTES;
  return t == TYPE_TIMESTAMP || t == TYPE_TIME || t == TYPE_DURATION || type_is_decimal(t) ? TYPE_I64 : t;
}
static inline bool type_is_signed(ColumnType t) { return type_storage(t) >= TYPE_I8 && type_storage(t) <= TYPE_I64; }
/* Arithmetic and mathematical order go with every other such type. */
static inline bool type_is_number(ColumnType t) { return type_is_integer(t) || type_is_float(t) || type_is_decimal(t); }
/* 10^scale, of 0 to 18. */
int64_t decimal_unit(unsigned scale);
/* The least and greatest image of a type; strings: of every image. */
void type_image_bounds(ColumnType type, int64_t *low, int64_t *high);
/* Whether some number that fits the array is no value of the type: bool, time, decimals. */
static inline bool type_has_gaps(ColumnType t) { return t == TYPE_BOOL || t == TYPE_TIME || type_is_decimal(t); }
/* Bytes of one value in a column array: 1, 2, 4, 8 or sizeof(Bytes). 0 for a number that is no type. */
extern const uint8_t type_widths[TYPE_DECIMAL_LAST + 1];
static inline bool type_is_valid(uint32_t type) { return type <= TYPE_DECIMAL_LAST && type_widths[type]; }
static inline size_t type_array_width(ColumnType type) { return type_is_valid((uint32_t)type) ? type_widths[type] : 0; }
/* "i32", "timestamp", "fixed_bytes", "decimal(18,2)" ...; "?" for a number that is no type. */
const char *type_name(ColumnType type);
/* Whether a column of the type may have this width: the bytes of fixed bytes, UUID_BYTES of a uuid, else 0. */
bool type_takes_width(ColumnType type, uint32_t width);
/* The type of a name, TYPE_NONE when there is none. decimal(p,s) and decimal(p) of up to 18 digits p, too. */
ColumnType type_by_name(const char *name, size_t length);

/* The order-preserving image of a double: every NaN one value above infinity, -0.0 as 0.0. */
static inline int64_t float_image(double value) {
  if (value != value) return INT64_MAX;
  if (value == 0) return 0;
  int64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits < 0 ? (int64_t)(UINT64_C(0x8000000000000000) - (uint64_t)bits) : bits;
}
static inline int64_t bytes_image(Bytes b) {
  return (int64_t)(bytes_prefix64(b.data, b.length) ^ UINT64_C(0x8000000000000000));
}
/* The image of entry `row` of a column array. */
int64_t type_image(ColumnType type, const void *values, size_t row);

/* ---- one value, typed at run time ---- */
typedef struct Value {
  ColumnType type; /* TYPE_NONE with is_null: an untyped null */
  bool is_null;
  /* Of an f64 that was written with a point or an exponent: the decimal that is exactly the number, where there is one;
   * else 0. What is compared or computed with decimals takes that. */
  uint8_t exactly;
  union {
    int64_t i;  /* bool, i8 .. i64, date, time, timestamp, duration; decimals times 10^scale */
    uint64_t u; /* u8 .. u64 */
    double f;   /* f32 (widened), f64 */
    Bytes s;    /* string, bytes, fixed bytes, uuid: borrowed */
    struct {
      double nearest;   /* f */
      int64_t unscaled; /* with `exactly`: the number is this, a decimal of that type */
    } written;
  };
} Value;

/* An f32 as a double, and a double as the nearest f32. What was widened comes back with all of its bits: a conversion
 * by the processor would make quiet NaNs of signalling ones. */
double f32_widened(float narrow);
float f32_nearest(double wide);

/* Entry `row` of a column array as a Value. f32 is widened. */
Value value_from_array(ColumnType type, const void *values, size_t row);
/* Writes a value of exactly this type into a column array. The caller has checked it. */
void value_to_array(const Value *value, void *values, size_t row);
/* Total order of two values of one type, as docs/semantics.md; nulls first. Negative, 0, positive. */
int value_compare(const Value *a, const Value *b);

/* ---- a batch of rows as columns: what a flush, a bulk append and a merge hand on ---- */
typedef struct ColumnArray {
  const void *values;
  const uint8_t *nulls; /* NULL: no nulls */
} ColumnArray;

typedef struct ColumnBatch {
  uint32_t row_count;
  uint32_t column_count;
  const ColumnArray *columns; /* in the order of the schema */
  const int64_t *expiry;      /* EXPIRY_NEVER or milliseconds since the epoch, a row each; NULL: never, all of them */
} ColumnBatch;

#define EXPIRY_NEVER INT64_MAX
static inline bool expiry_passed(int64_t expiry, int64_t now_ms) { return expiry <= now_ms; }

/* ---- schemas ---- */
/* The position of a column, or -1. */
int schema_find(const Schema *schema, const char *name, size_t length);
bool schema_is_key(const Schema *schema, uint32_t position);
Status schema_copy(const Schema *from, Schema *to) MUST_CHECK;
void schema_release(Schema *schema); /* leaves it zeroed */
/* Gives a column, which has none, a source; copied. */
Status schema_set_source(Schema *schema, uint32_t column, const char *source) MUST_CHECK;
/* Names (UTF-8, unique, 1 to 255 bytes), types, widths, key (present, unique, not null), counts. KVSTORE_SCHEMA says
 * what. */
Status schema_check(const Schema *schema) MUST_CHECK;
/* The bytes of a schema in the log and the manifest (docs/format.md), and back, checked. */
void schema_write(const Schema *schema, Buffer *out);
Status schema_read(Reader *in, Schema *out) MUST_CHECK;

#endif
