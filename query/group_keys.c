/* group_keys.c - values of key columns to ids: once for each code of a unit, or for each row. */
#include "base/memory.h"
#include "query/groups_internal.h"
#include "query/query_internal.h"

enum { WINDOW_MAX = 1 << 24 }; /* words of a window: 64 MiB, of which only what is used gets touched */

void key_column_release(KeyColumn *key) {
  id_map_release(&key->numbers);
  bytes_map_release(&key->strings);
  memory_release(key->map);
  key->map = NULL;
  key->map_capacity = key->code_count = 0;
  key->is_begun = true; /* what comes back of a spill is given room as it comes */
}

uint64_t key_column_bytes(const KeyColumn *key) {
  return id_map_bytes(&key->numbers) + bytes_map_bytes(&key->strings) + key->map_capacity * sizeof *key->map;
}

Status key_column_begin_unit(KeyColumn *key, Scan *scan) {
  TRY(scan_codes(scan, key->column, &key->code_count));
  TRY(memory_grow(&key->map, &key->map_capacity, key->code_count, sizeof *key->map));
  for (uint32_t i = 0; i < key->code_count; i++) key->map[i] = ID_UNKNOWN;
  return KVSTORE_OK;
}

static int64_t image_of(const Value *v) {
  if (type_is_float(v->type)) return float_image(v->f);
  return v->type == TYPE_U64 ? (int64_t)(v->u ^ UINT64_C(1) << 63) : v->i;
}

static Status id_of_value(KeyColumn *key, const Value *v, uint32_t *id) {
  *id = 0;
  if (v->is_null) return KVSTORE_OK;
  if (type_is_string(key->type)) {
    TRY(bytes_map_add(&key->strings, v->s, key->is_frozen, id));
  } else {
    uint64_t word = (uint64_t)image_of(v);
    TRY(id_map_add(&key->numbers, &word, 1, key->is_frozen, id));
  }
  *id += *id != ID_NONE;
  return KVSTORE_OK;
}

Status key_column_code(KeyColumn *key, Scan *scan, uint32_t code, uint32_t *id) {
  if (key->map[code] == ID_UNKNOWN) {
    Value v;
    TRY(scan_code_value(scan, key->column, code, &v));
    v.type = key->type;
    TRY(id_of_value(key, &v, &key->map[code]));
  }
  *id = key->map[code];
  return KVSTORE_OK;
}

/* ---- rows by codes ---- */

static Status ids_of_codes(Groups *g, KeyColumn *key, Scan *scan, uint32_t block, uint32_t count, uint32_t *ids) {
  GroupScratch *s = g->scratch;
  TRY(scan_read_codes(scan, key->column, block, s->codes));
  for (uint32_t i = 0; i < count; i++) {
    uint16_t code = s->codes[group_row(s, i)];
    ids[i] = key->map[code];
    if (UNLIKELY(ids[i] == ID_UNKNOWN)) TRY(key_column_code(key, scan, code, &ids[i]));
  }
  return KVSTORE_OK;
}

/* ---- rows by values ---- */

bool groups_zone(const Groups *g, uint32_t column, int64_t *low, int64_t *high) {
  const TableSnapshot *snapshot = g->snapshot;
  *low = INT64_MAX;
  *high = INT64_MIN;
  if (snapshot->schema->columns[column].flags & COLUMN_COMPUTED) return false;
  for (uint32_t i = 0; i < snapshot->unit_count; i++) {
    const ScanUnit *unit = &snapshot->units[i];
    if (unit->kind != SCAN_UNIT_SEGMENT) continue;
    ColumnZone zone = segment_zone(column_run_segment(unit->run, unit->segment), column);
    if (zone.minimum < *low) *low = zone.minimum;
    if (zone.maximum > *high) *high = zone.maximum;
  }
  return *low <= *high;
}

/* Integers within a range that the segments' zones know, not much longer than there are rows, go by a window. */
static void begin_numbers(const Groups *g, KeyColumn *key) {
  int64_t low, high;
  key->is_begun = true;
  if (key->numbers.count || type_is_float(key->type) || !groups_zone(g, key->column, &low, &high)) return;
  uint64_t rows = query_snapshot_rows(g->snapshot);
  uint64_t range = (uint64_t)high - (uint64_t)low;
  if (g->space && range > g->space->memory_limit / 32) return; /* half of it would be the window's */
  if (range < WINDOW_MAX && range < 8 * rows) id_map_window(&key->numbers, (uint64_t)low, range + 1);
}

Status key_column_add_images(Groups *g, KeyColumn *key, const int64_t *images, uint32_t count, uint32_t *ids) {
  if (!key->is_begun) begin_numbers(g, key);
  TRY(id_map_add(&key->numbers, (const uint64_t *)images, count, key->is_frozen, ids));
  for (uint32_t i = 0; i < count; i++) ids[i] += ids[i] != ID_NONE;
  return KVSTORE_OK;
}

static Status ids_of_numbers(Groups *g, KeyColumn *key, const void *values, uint32_t count, uint32_t *ids) {
  group_images(key->type, values, count, g->scratch->images);
  return key_column_add_images(g, key, g->scratch->images, count, ids);
}

static Status ids_of_strings(KeyColumn *key, const Bytes *strings, uint32_t count, uint32_t *ids) {
  TRY(bytes_map_add_many(&key->strings, strings, count, key->is_frozen, ids));
  for (uint32_t i = 0; i < count; i++) ids[i] += ids[i] != ID_NONE;
  return KVSTORE_OK;
}

/* The same where some are null: the others move together, down if they lie there already. */
static Status ids_of_some_strings(Groups *g, KeyColumn *key, const Bytes *strings, const uint8_t *nulls, uint32_t count,
                                  uint32_t *ids) {
  Bytes *some = (void *)g->scratch->compact;
  uint32_t *some_ids = g->scratch->some, kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    some[kept] = strings[i];
    kept += !nulls[i];
  }
  TRY(ids_of_strings(key, some, kept, some_ids));
  for (uint32_t i = 0, at = 0; i < count; i++) {
    ids[i] = nulls[i] ? 0 : some_ids[at];
    at += !nulls[i];
  }
  return KVSTORE_OK;
}

/* Rows that are not null go through the map alone. */
static Status ids_of_some(Groups *g, KeyColumn *key, const void *values, const uint8_t *nulls, uint32_t count,
                          uint32_t *ids) {
  for (uint32_t i = 0; i < count; i++) {
    ids[i] = 0;
    if (nulls[i]) continue;
    Value v = value_from_array(key->type, values, i);
    if (!key->is_begun) begin_numbers(g, key);
    TRY(id_of_value(key, &v, &ids[i]));
  }
  return KVSTORE_OK;
}

Status key_column_ids(Groups *g, KeyColumn *key, Scan *scan, uint32_t block, uint32_t count, uint32_t *ids) {
  const void *values;
  const uint8_t *nulls;
  if (key->code_count) return ids_of_codes(g, key, scan, block, count, ids);
  TRY(groups_read(g, scan, key->column, block, count, &values, &nulls));
  if (nulls && type_is_string(key->type)) return ids_of_some_strings(g, key, values, nulls, count, ids);
  if (nulls) return ids_of_some(g, key, values, nulls, count, ids);
  if (type_is_string(key->type)) return ids_of_strings(key, values, count, ids);
  return ids_of_numbers(g, key, values, count, ids);
}

Value key_column_value(const KeyColumn *key, uint32_t id) {
  if (id == 0) return (Value){ .type = key->type, .is_null = true };
  if (type_is_string(key->type)) return (Value){ .type = key->type, .s = key->strings.strings[id - 1] };
  return group_image_value(key->type, (int64_t)key->numbers.words[id - 1]);
}
