#include "cli/cli_json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/cli_text.h"

static void write_text(FILE *file, const unsigned char *bytes, size_t length) {
  fputc('"', file);
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = bytes[i];
    if (byte == '"' || byte == '\\') {
      fputc('\\', file);
      fputc(byte, file);
    } else if (byte == '\n') {
      fputs("\\n", file);
    } else if (byte < 0x20 || byte == 0x7f) {
      fprintf(file, "\\u%04x", byte);
    } else {
      fputc(byte, file);
    }
  }
  fputc('"', file);
}

/* Members of the outermost level take a line each. */
static void begin_element(Json *json, const char *name) {
  if (json->depth) {
    int *filled = &json->filled[json->depth - 1];
    if (*filled) fputc(',', json->file);
    if (!json->compact && json->depth <= 2) {
      fputc('\n', json->file);
      for (int i = 0; i < json->depth; i++) fputs("  ", json->file);
    } else if (!json->compact && *filled) {
      fputc(' ', json->file);
    }
    *filled = 1;
  }
  if (name) {
    write_text(json->file, (const unsigned char *)name, strlen(name));
    fputs(json->compact ? ":" : ": ", json->file);
  }
}

static void open_level(Json *json, const char *name, char opening, char closing) {
  begin_element(json, name);
  assert(json->depth < JSON_DEPTH_MAX);
  fputc(opening, json->file);
  json->filled[json->depth] = 0;
  json->closing[json->depth++] = closing;
}

void json_open_object(Json *json, const char *name) { open_level(json, name, '{', '}'); }
void json_open_array(Json *json, const char *name) { open_level(json, name, '[', ']'); }

void json_close(Json *json) {
  json->depth--;
  if (json->filled[json->depth] && json->depth < 2 && !json->compact) {
    fputc('\n', json->file);
    for (int i = 0; i < json->depth; i++) fputs("  ", json->file);
  }
  fputc(json->closing[json->depth], json->file);
  if (!json->depth) fputc('\n', json->file);
}

void json_bytes(Json *json, const char *name, const void *data, size_t length) {
  begin_element(json, name);
  if (text_is_utf8(data, length)) {
    write_text(json->file, data, length);
    return;
  }
  Text hex = TEXT_EMPTY;
  text_add_hex(&hex, data, length);
  write_text(json->file, (const unsigned char *)hex.data, hex.length);
  text_free(&hex);
}

void json_string(Json *json, const char *name, const char *string) { json_bytes(json, name, string, strlen(string)); }

void json_u64(Json *json, const char *name, uint64_t number) {
  begin_element(json, name);
  fprintf(json->file, "%" PRIu64, number);
}

void json_i64(Json *json, const char *name, int64_t number) {
  begin_element(json, name);
  fprintf(json->file, "%" PRId64, number);
}

void json_decimal(Json *json, const char *name, double number) {
  begin_element(json, name);
  fprintf(json->file, "%.3f", number);
}

void json_bool(Json *json, const char *name, int truth) {
  begin_element(json, name);
  fputs(truth ? "true" : "false", json->file);
}

void json_null(Json *json, const char *name) {
  begin_element(json, name);
  fputs("null", json->file);
}

void json_written(Json *json, const char *name, const char *document) {
  begin_element(json, name);
  fputs(document, json->file);
}

static void write_printed(Json *json, const KVValue *value, int quoted) {
  char buffer[64];
  size_t length = kvvalue_print(value, buffer, sizeof buffer);
  if (length >= sizeof buffer) length = sizeof buffer - 1;
  if (quoted) {
    write_text(json->file, (const unsigned char *)buffer, length);
  } else {
    fwrite(buffer, 1, length, json->file);
  }
}

void json_value(Json *json, const char *name, const KVValue *value) {
  if (value->is_null) {
    json_null(json, name);
    return;
  }
  switch (value->type) {
  case KVTABLE_TYPE_STRING:
  case KVTABLE_TYPE_BYTES:
  case KVTABLE_TYPE_FIXED_BYTES: json_bytes(json, name, value->as.bytes.data, value->as.bytes.length); return;
  case KVTABLE_TYPE_BOOL: json_bool(json, name, value->as.i64 != 0); return;
  case KVTABLE_TYPE_F32:
  case KVTABLE_TYPE_F64:
    begin_element(json, name);
    if (isfinite(value->as.f64)) {
      write_printed(json, value, 0);
    } else {
      fputs(isnan(value->as.f64) ? "\"nan\"" : value->as.f64 > 0 ? "\"inf\"" : "\"-inf\"", json->file);
    }
    return;
  case KVTABLE_TYPE_DATE:
  case KVTABLE_TYPE_TIME:
  case KVTABLE_TYPE_TIMESTAMP:
  case KVTABLE_TYPE_DURATION:
  case KVTABLE_TYPE_UUID:
    begin_element(json, name);
    write_printed(json, value, 1);
    return;
  default:
    begin_element(json, name);
    write_printed(json, value, 0);
    return;
  }
}
