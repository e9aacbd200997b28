#include "tests/model/model_keys.h"

#include "tests/support/test.h"

enum { ASKED = 120, KEY_PARTS_MAX = 2 };

/* Arrays of the keys with these numbers, from the arena. */
static void make_keys(ModelShape shape, const uint32_t *numbers, uint32_t count, Arena *arena,
                      ColumnArray keys[KEY_PARTS_MAX]) {
  Value parts[KEY_PARTS_MAX];
  void *values[KEY_PARTS_MAX] = { NULL };
  for (uint32_t i = 0; i < count; i++) {
    size_t part_count = shape_key_values(shape, numbers[i], arena, parts);
    for (size_t p = 0; p < part_count; p++) {
      if (!values[p]) values[p] = arena_allocate_zeroed(arena, count * type_array_width(parts[p].type));
      value_to_array(&parts[p], values[p], i);
    }
  }
  for (size_t p = 0; p < KEY_PARTS_MAX; p++) keys[p] = (ColumnArray){ values[p], NULL };
}

/* Row `row` of the answer is the version's, or none. */
static void check_row(const TableLookup *found, uint32_t row, ModelShape shape, uint32_t key, const ModelVersion *v,
                      Arena *arena) {
  Value expected[MODEL_COLUMNS_MAX];
  CHECK_INT(found->found[row], v != NULL);
  CHECK_INT(found->expiries ? found->expiries[row] : EXPIRY_NEVER, v ? v->expiry : EXPIRY_NEVER);
  if (v) (void)shape_row(shape, key, v, arena, expected);
  for (uint32_t c = 0; c < found->column_count; c++) {
    const ColumnArray *array = &found->arrays[c];
    bool is_null = array->nulls && array->nulls[row];
    CHECK_INT(is_null, !v || expected[found->columns[c]].is_null);
    if (is_null) continue;
    const Value *value = &expected[found->columns[c]];
    Value actual = value_from_array(value->type, array->values, row);
    CHECK_INT(value_compare(&actual, value), 0);
  }
}

void check_keys(const ModelCheck *c, Session *s, uint32_t slot, uint64_t step, int64_t now) {
  const ModelFamily *f = &c->model->families[slot];
  Schema schema = shape_schema(f->shape);
  uint32_t numbers[ASKED], columns[MODEL_COLUMNS_MAX], live = 0;
  ColumnArray keys[KEY_PARTS_MAX];
  Arena arena = { 0 };
  for (uint32_t i = 0; i < ASKED; i++) numbers[i] = (uint32_t)((step + i * UINT64_C(7919)) % (f->key_count + 20));
  numbers[ASKED - 1] = numbers[0];
  for (uint32_t i = 0; i < schema.column_count; i++) columns[i] = schema.column_count - 1 - i;
  make_keys(f->shape, numbers, ASKED, &arena, keys);
  TableLookup lookup = { ASKED, keys, columns, schema.column_count, NULL, 0, NULL, NULL };
  CHECK_OK(table_get_many(s, f->id, &lookup, &arena));
  for (uint32_t i = 0; i < ASKED; i++) {
    bool is_known = numbers[i] >= f->low && numbers[i] < f->key_count;
    const ModelVersion *v = is_known ? check_live(c, slot, numbers[i], step, now) : NULL;
    check_row(&lookup, i, f->shape, numbers[i], v, &arena);
    live += v != NULL;
  }
  CHECK_INT(lookup.found_count, live);
  arena_release(&arena);
}

void delete_keys(const ModelCheck *c, Model *m, Session *s, uint32_t slot, uint32_t count, uint64_t *random) {
  const ModelFamily *f = &m->families[slot];
  ColumnArray keys[KEY_PARTS_MAX];
  Arena arena = { 0 };
  int64_t now = session_now_ms(s);
  uint32_t *numbers = arena_allocate(&arena, count * sizeof *numbers);
  uint64_t deleted = UINT64_MAX, live = 0;
  for (uint32_t i = 0; i < count; i++) numbers[i] = (uint32_t)test_random_below(random, f->key_count + 20);
  make_keys(f->shape, numbers, count, &arena, keys);
  CHECK_OK(table_delete_many(s, f->id, keys, count, &deleted));
  for (uint32_t i = 0; i < count; i++) {
    bool is_known = numbers[i] >= f->low && numbers[i] < f->key_count;
    if (!is_known || !check_live(c, slot, numbers[i], m->step, now)) continue;
    model_delete(m, slot, numbers[i]);
    live++;
  }
  CHECK_INT(deleted, live);
  arena_release(&arena);
}
