#include "cli/cli_infer.h"

#include <colonnade/kvtable.h>

#include "cli/cli_value.h"

enum {
  KIND_BOOL = 1,
  KIND_I64 = 2,
  KIND_U64 = 4,
  KIND_F64 = 8,
  KIND_DATE = 16,
  KIND_TIMESTAMP = 32,
  KIND_ALL = 63,
};

static const uint64_t F64_EXACT_MAX = UINT64_C(1) << 53; /* every whole number up to here is a double */

static unsigned kinds_of_integer(const char *text, size_t length) {
  int negative;
  uint64_t magnitude;
  size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
  if (length - sign > 1 && text[sign] == '0') return 0;
  if (scan_integer(text, length, &negative, &magnitude) == SCANNED_INTEGER_TOO_LONG) return 0;
  unsigned kinds = 0;
  if (magnitude <= (uint64_t)INT64_MAX + (negative ? 1 : 0)) kinds |= KIND_I64;
  if (!negative) kinds |= KIND_U64;
  if (magnitude <= F64_EXACT_MAX) kinds |= KIND_F64;
  return kinds;
}

static unsigned kinds_of(Inference *inference, const char *text, size_t length) {
  int truth, negative, utc;
  int32_t days;
  int64_t microseconds;
  uint64_t magnitude;
  if (scan_integer(text, length, &negative, &magnitude) != SCANNED_NO_INTEGER) {
    inference->finite = 1;
    return kinds_of_integer(text, length);
  }
  ScannedFloat scanned = scan_float(text, length);
  if (scanned != SCANNED_NO_FLOAT) {
    inference->finite |= scanned == SCANNED_FLOAT;
    return KIND_F64;
  }
  int has_sign = text[0] == '-' || text[0] == '+'; /* a year's may be a telephone number's; --types takes it */
  if (!has_sign && scan_date(text, length, &days)) {
    inference->naive = 1;
    return KIND_DATE | KIND_TIMESTAMP;
  }
  if (!has_sign && scan_timestamp(text, length, &microseconds, &utc)) {
    if (utc) inference->utc = 1;
    if (!utc) inference->naive = 1;
    return KIND_TIMESTAMP;
  }
  return scan_bool(text, length, &truth) ? KIND_BOOL : 0;
}

void infer_value(Inference *inference, const char *text, size_t length) {
  inference->seen = 1;
  if (inference->excluded == KIND_ALL) return;
  inference->excluded |= KIND_ALL & ~kinds_of(inference, text, length);
}

void infer_text(Inference *inference, const char *text, size_t length) {
  int number = scan_float(text, length) == SCANNED_FLOAT, truth;
  inference->seen = 1;
  if (number || scan_bool(text, length, &truth))
    inference->excluded = KIND_ALL;
  else
    infer_value(inference, text, length);
}

int infer_type(const Inference *inference, int *flags) {
  unsigned left = KIND_ALL & ~inference->excluded;
  *flags = 0;
  if (!inference->seen) return KVTABLE_TYPE_STRING;
  if (left & KIND_BOOL) return KVTABLE_TYPE_BOOL;
  if (left & KIND_I64) return KVTABLE_TYPE_I64;
  if (left & KIND_U64) return KVTABLE_TYPE_U64;
  if ((left & KIND_F64) && inference->finite) return KVTABLE_TYPE_F64;
  if (left & KIND_DATE) return KVTABLE_TYPE_DATE;
  if ((left & KIND_TIMESTAMP) && !(inference->utc && inference->naive)) {
    *flags = inference->utc ? KVTABLE_UTC : 0;
    return KVTABLE_TYPE_TIMESTAMP;
  }
  return KVTABLE_TYPE_STRING;
}
