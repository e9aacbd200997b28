#include "base/encoding.h"

#include <string.h>

static const char *const names[] = {
  [ENCODING_CONSTANT] = "constant",
  [ENCODING_STRIDE] = "stride",
  [ENCODING_PLAIN] = "plain",
  [ENCODING_BITS] = "bits",
  [ENCODING_PACKED] = "packed",
  [ENCODING_DICTIONARY] = "dictionary",
  [ENCODING_RUN_LENGTH] = "run_length",
  [ENCODING_DELTA] = "delta",
  [ENCODING_ALP] = "alp",
  [ENCODING_ALP_RD] = "alp_rd",
  [ENCODING_FSST] = "fsst",
  [ENCODING_ZSTD] = "zstd",
  [ENCODING_FRONT_CODED] = "front_coded",
  [ENCODING_ARRAY] = "array",
};

const char *encoding_name(uint32_t encoding) { return encoding && encoding <= ENCODING_ARRAY ? names[encoding] : "?"; }

EncodingId encoding_by_name(const char *name) {
  for (EncodingId e = ENCODING_CONSTANT; e <= ENCODING_ARRAY; e++)
    if (strcmp(names[e], name) == 0) return e;
  return ENCODING_NONE;
}

bool encoding_takes(uint32_t encoding, ColumnType type) {
  bool is_integer = type_is_integer(type_storage(type));
  switch (encoding) {
  case ENCODING_CONSTANT:
  case ENCODING_PLAIN:
  case ENCODING_DICTIONARY: return true;
  case ENCODING_STRIDE:
  case ENCODING_DELTA: return is_integer;
  case ENCODING_BITS: return type == TYPE_BOOL;
  case ENCODING_PACKED: return is_integer || type == TYPE_BOOL;
  case ENCODING_RUN_LENGTH: return !type_is_string(type);
  case ENCODING_ALP:
  case ENCODING_ALP_RD: return type_is_float(type);
  case ENCODING_FSST:
  case ENCODING_ZSTD:
  case ENCODING_FRONT_CODED: return type == TYPE_STRING || type == TYPE_BYTES;
  default: return false;
  }
}
