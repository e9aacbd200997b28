#include "tests/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/test.h"

enum { SLAB_VERSIONS = 4096 };

void model_create(Model *m) {
  memset(m, 0, sizeof *m);
  m->step = m->needed = 1;
}

void model_destroy(Model *m) {
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++) {
    free(m->families[i].keys);
    free(m->families[i].order);
  }
  for (size_t i = 0; i < m->slab_count; i++) free(m->slabs[i]);
  free(m->slabs);
  free(m->journal);
}

/* ---- versions ---- */

static ModelVersion *take_version(Model *m) {
  if (!m->free) {
    ModelVersion *slab = calloc(SLAB_VERSIONS, sizeof *slab);
    CHECK(slab);
    if (m->slab_count == m->slab_capacity) {
      m->slab_capacity = m->slab_capacity ? 2 * m->slab_capacity : 16;
      m->slabs = realloc(m->slabs, m->slab_capacity * sizeof *m->slabs);
      CHECK(m->slabs);
    }
    m->slabs[m->slab_count++] = slab;
    for (int i = 0; i < SLAB_VERSIONS; i++) {
      slab[i].older = m->free;
      m->free = &slab[i];
    }
  }
  ModelVersion *v = m->free;
  m->free = v->older;
  return v;
}

static void give_version(Model *m, ModelVersion *v) {
  v->older = m->free;
  m->free = v;
}

/* Versions that no snapshot can see go. */
static void trim(Model *m, ModelVersion *v) {
  while (v && v->step > m->needed) v = v->older;
  if (!v) return;
  ModelVersion *gone = v->older;
  v->older = NULL;
  while (gone) {
    ModelVersion *next = gone->older;
    give_version(m, gone);
    gone = next;
  }
}

static void grow(ModelFamily *f, uint32_t key) {
  if (key < f->key_count) return;
  while (key >= f->capacity) {
    uint32_t capacity = f->capacity ? 2 * f->capacity : 4096;
    f->keys = realloc(f->keys, capacity * sizeof *f->keys);
    CHECK(f->keys);
    memset(f->keys + f->capacity, 0, (capacity - f->capacity) * sizeof *f->keys);
    f->capacity = capacity;
  }
  f->key_count = key + 1;
}

void model_write(Model *m, uint32_t slot, uint32_t key, ModelVersion version) {
  ModelFamily *f = &m->families[slot];
  grow(f, key);
  if (f->keys[key]) trim(m, f->keys[key]);
  ModelVersion *v = take_version(m);
  *v = version;
  v->step = ++m->step;
  v->older = f->keys[key];
  f->keys[key] = v;
  if (!m->in_transaction) return;
  if (m->journal_count == m->journal_capacity) {
    m->journal_capacity = m->journal_capacity ? 2 * m->journal_capacity : 1024;
    m->journal = realloc(m->journal, m->journal_capacity * sizeof *m->journal);
    CHECK(m->journal);
  }
  m->journal[m->journal_count++] = (ModelChange){ slot, key };
}

void model_delete(Model *m, uint32_t slot, uint32_t key) {
  model_write(m, slot, key, (ModelVersion){ .dead = true, .expiry = EXPIRY_NEVER });
}

const ModelVersion *model_row(const Model *m, uint32_t slot, uint32_t key, uint64_t step) {
  const ModelFamily *f = &m->families[slot];
  if (key >= f->key_count) return NULL;
  const ModelVersion *v = f->keys[key];
  while (v && v->step > step) v = v->older;
  return v && !v->dead ? v : NULL;
}

/* ---- families ---- */

static ModelShape sort_shape;
static int by_shape(const void *a, const void *b) {
  return shape_compare(sort_shape, *(const uint32_t *)a, *(const uint32_t *)b);
}

uint32_t model_add_family(Model *m, ModelShape shape, uint32_t id, const char *name) {
  uint32_t slot = 0;
  while (slot < MODEL_FAMILIES && m->families[slot].used) slot++;
  CHECK(slot < MODEL_FAMILIES);
  ModelFamily *f = &m->families[slot];
  *f = (ModelFamily){ .used = true, .id = id, .shape = shape, .created = ++m->step, .dropped = MODEL_STEP_MAX };
  strncpy(f->name, name, sizeof f->name - 1);
  if (shape == SHAPE_TABLE_NO_KEY) return slot;
  grow(f, MODEL_KEYS - 1);
  f->order = malloc(MODEL_KEYS * sizeof *f->order);
  CHECK(f->order);
  for (uint32_t i = 0; i < MODEL_KEYS; i++) f->order[i] = i;
  sort_shape = shape;
  qsort(f->order, MODEL_KEYS, sizeof *f->order, by_shape);
  for (uint32_t i = 1; i < MODEL_KEYS; i++) CHECK(shape_compare(shape, f->order[i - 1], f->order[i]) < 0);
  return slot;
}

void model_drop_family(Model *m, uint32_t slot) { m->families[slot].dropped = ++m->step; }

void model_clear_family(Model *m, uint32_t slot) {
  const ModelFamily *f = &m->families[slot];
  for (uint32_t key = f->low; key < f->key_count; key++)
    if (model_row(m, slot, key, m->step)) model_delete(m, slot, key);
}

bool model_has_family(const Model *m, uint32_t slot, uint64_t step) {
  const ModelFamily *f = &m->families[slot];
  return f->used && f->created <= step && step < f->dropped;
}

uint32_t model_pick(const Model *m, uint64_t *random, int kind) {
  uint32_t found = MODEL_NO_FAMILY;
  uint64_t seen = 0;
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++) {
    if (!model_has_family(m, i, m->step)) continue;
    if (kind && (kind == FAMILY_TABLE) != shape_is_table(m->families[i].shape)) continue;
    if (test_random_below(random, ++seen) == 0) found = i;
  }
  return found;
}

uint32_t model_count(const Model *m) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++) count += m->families[i].used;
  return count;
}

uint32_t model_named(const Model *m, const char *name, uint64_t step) {
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++)
    if (model_has_family(m, i, step) && strcmp(m->families[i].name, name) == 0) return i;
  return MODEL_NO_FAMILY;
}

static void free_family(Model *m, ModelFamily *f) {
  for (uint32_t key = 0; key < f->key_count; key++) {
    while (f->keys[key]) {
      ModelVersion *v = f->keys[key];
      f->keys[key] = v->older;
      give_version(m, v);
    }
  }
  free(f->keys);
  free(f->order);
  *f = (ModelFamily){ 0 };
}

void model_forget(Model *m, uint64_t needed) {
  m->needed = needed;
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++) {
    ModelFamily *f = &m->families[i];
    if (!f->used) continue;
    if (f->dropped <= needed && !m->in_transaction) {
      free_family(m, f);
      continue;
    }
    if (f->shape != SHAPE_TABLE_NO_KEY || m->in_transaction) continue;
    for (; f->low < f->key_count; f->low++) {
      ModelVersion *v = f->keys[f->low];
      if (v) trim(m, v);
      if (v && !(v->dead && !v->older && v->step <= needed)) break;
      if (v) give_version(m, v);
      f->keys[f->low] = NULL;
    }
  }
}

/* ---- transactions ---- */

void model_begin(Model *m) {
  m->in_transaction = true;
  m->begin_step = m->step;
  m->journal_count = 0;
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++) m->families[i].rows_at_begin = m->families[i].key_count;
}

void model_commit(Model *m) { m->in_transaction = false; }

void model_rollback(Model *m) {
  while (m->journal_count) {
    ModelChange c = m->journal[--m->journal_count];
    ModelFamily *f = &m->families[c.family];
    ModelVersion *v = f->keys[c.key];
    f->keys[c.key] = v->older;
    give_version(m, v);
  }
  for (uint32_t i = 0; i < MODEL_FAMILIES; i++) {
    ModelFamily *f = &m->families[i];
    if (!f->used) continue;
    if (f->created > m->begin_step) {
      free_family(m, f);
      continue;
    }
    if (f->dropped != MODEL_STEP_MAX && f->dropped > m->begin_step) f->dropped = MODEL_STEP_MAX;
    if (f->shape == SHAPE_TABLE_NO_KEY) f->key_count = f->rows_at_begin;
  }
  m->in_transaction = false;
}
