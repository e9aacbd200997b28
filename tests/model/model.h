/* model.h - what a store should hold: every family as an array of keys, every key as a chain of versions.
 *
 * A key is a small number; what it looks like in the store, and which values belong to a version, follows from the
 * family's shape and from two seeds that the version carries, so that the model keeps 40 bytes a version and shares no
 * code with what it checks. Time is counted in steps: each change takes the next one, a snapshot is a step. */
#ifndef COLONNADE_TESTS_MODEL_MODEL_H
#define COLONNADE_TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/schema.h"
#include "engine/engine.h"

enum { MODEL_FAMILIES = 24, MODEL_KEYS = 2500 };
#define MODEL_STEP_MAX  UINT64_MAX
#define MODEL_NO_FAMILY UINT32_MAX

typedef enum ModelShape {
  SHAPE_KV_TEXT,      /* decimal keys of one length */
  SHAPE_KV_MIXED,     /* keys of 1 to 40 bytes, some the beginning of others, zeros and 255 among them */
  SHAPE_TABLE_NUMBER, /* key: i64 */
  SHAPE_TABLE_TEXT,   /* key: string */
  SHAPE_TABLE_PAIR,   /* key: i32, string */
  SHAPE_TABLE_NO_KEY, /* rows by their hidden id */
  SHAPES,
} ModelShape;
static inline bool shape_is_table(ModelShape s) { return s >= SHAPE_TABLE_NUMBER; }

typedef struct ModelVersion {
  struct ModelVersion *older;
  uint64_t step;
  int64_t expiry;
  uint32_t number, text; /* seeds of the values */
  bool dead;
} ModelVersion;

typedef struct ModelFamily {
  bool used;
  uint32_t id;
  ModelShape shape;
  char name[32];
  uint64_t created, dropped; /* steps */
  uint32_t key_count;        /* keys that may have versions; of tables without a key it grows */
  uint32_t capacity, low;    /* below low nothing has versions */
  uint32_t rows_at_begin;    /* key_count when the transaction began */
  ModelVersion **keys;       /* by key number: newest version */
  uint32_t *order;           /* key numbers in the order of their keys; NULL: ascending */
} ModelFamily;

typedef struct ModelChange {
  uint32_t family, key;
} ModelChange;

typedef struct Model {
  ModelFamily families[MODEL_FAMILIES];
  uint64_t step;
  uint64_t needed; /* the oldest step that a snapshot may ask for */
  bool in_transaction;
  uint64_t begin_step;
  ModelChange *journal;
  size_t journal_count, journal_capacity;
  ModelVersion *free;
  void **slabs;
  size_t slab_count, slab_capacity;
  uint64_t names;
} Model;

/* ---- model.c ---- */
void model_create(Model *m);
void model_destroy(Model *m);
/* A family that exists from the next step on; its slot. */
uint32_t model_add_family(Model *m, ModelShape shape, uint32_t id, const char *name);
void model_drop_family(Model *m, uint32_t slot);
void model_clear_family(Model *m, uint32_t slot);
bool model_has_family(const Model *m, uint32_t slot, uint64_t step);
/* A random family that exists now, of kind FAMILY_KV or FAMILY_TABLE (0: any); MODEL_NO_FAMILY when there is none. */
uint32_t model_pick(const Model *m, uint64_t *random, int kind);
uint32_t model_count(const Model *m);
/* The family of a name at a step, or MODEL_NO_FAMILY. */
uint32_t model_named(const Model *m, const char *name, uint64_t step);
void model_write(Model *m, uint32_t slot, uint32_t key, ModelVersion version);
void model_delete(Model *m, uint32_t slot, uint32_t key);
/* The version of a key at a step, or NULL when there is none or it is dead. Expiry is the caller's. */
const ModelVersion *model_row(const Model *m, uint32_t slot, uint32_t key, uint64_t step);
void model_begin(Model *m);
void model_commit(Model *m);
void model_rollback(Model *m);
/* Families dropped before `needed` go. */
void model_forget(Model *m, uint64_t needed);

/* ---- model_shapes.c ---- */
enum { MODEL_VALUE_MAX = 40000, MODEL_COLUMNS_MAX = 8 };
/* The bytes of a kv key; valid until the eighth call after it. */
Bytes shape_kv_key(ModelShape shape, uint32_t key);
/* The value of a kv version; valid until the next call. */
Bytes shape_kv_value(uint32_t seed);
/* Key values of a table's row; strings from the arena. Returns how many. */
size_t shape_key_values(ModelShape shape, uint32_t key, Arena *arena, Value *out);
/* Columns of a table's row in schema order; strings from the arena. Returns how many. */
size_t shape_row(ModelShape shape, uint32_t key, const ModelVersion *version, Arena *arena, Value *out);
/* The positions of the columns `number` and `text`, which updates change. */
uint32_t shape_number_column(ModelShape shape);
uint32_t shape_text_column(ModelShape shape);
/* The schema of a shape; nothing to release. */
Schema shape_schema(ModelShape shape);
/* Negative, 0, positive as the order of two keys. */
int shape_compare(ModelShape shape, uint32_t a, uint32_t b);

#endif
