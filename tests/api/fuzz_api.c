/* fuzz_api.c - a sequence of calls of the key-value API on a store in memory, each answer compared with a model: a
 * small array. Two handles, two families, transactions, expiries, snapshots, iterators, ranges, swaps, bulk loads,
 * checkpoints, vacuum, background work; and a copy of one family that is kept by its changes alone.
 *
 * Input: a byte an operation, its arguments in the bytes behind it. What the input does not say is zero. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "colonnade/kvtable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEYS = 24, FAMILIES = 2, HANDLES = 2, OPERATIONS_MAX = 400, KEY_LONG = 300 };

/* A broken promise ends the program and says which. */
#define must(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))
static _Noreturn void broken(int line, const char *promise) {
  fprintf(stderr, "line %d: %s; the last message: %s\n", line, promise, kvstore_errmsg(NULL));
  abort();
}

/* ---- the model ---- */

typedef enum Presence { ABSENT, PRESENT, EXPIRED } Presence; /* EXPIRED: there, or evicted by now */

typedef struct Row {
  Presence presence;
  uint8_t tag;
  uint32_t length;
} Row;

typedef struct State {
  Row rows[FAMILIES][KEYS];
} State;

typedef struct Handle {
  KVStore *kv;
  KVColumnFamily *families[FAMILIES]; /* the default one and another */
  int transaction;                    /* 0 none, 1 reading, 2 writing */
  State frozen;                       /* what it sees while it reads */
  KVIterator *iterator;
  State walked; /* what the iterator walks over */
  int family, at, reverse, writing;
} Handle;

typedef struct Fuzz {
  const uint8_t *at, *end;
  KVChanges *changes; /* of the second family, whose rows of `copy` they make */
  State copy;
  State committed, working; /* working: that of the open write transaction */
  Handle handles[HANDLES];
  int writer; /* which handle writes; -1: none */
} Fuzz;

static unsigned next(Fuzz *f) { return f->at < f->end ? *f->at++ : 0; }

/* Keys in the order of their numbers, some of them long and with bytes of every kind. */
static int make_key(int number, unsigned char *key) {
  memset(key, number * 7, KEY_LONG);
  key[0] = (unsigned char)(number / 8 * 100 + 1);
  key[1] = (unsigned char)(number % 8);
  return number % 5 == 0 ? KEY_LONG : 2 + number % 4;
}

static uint32_t value_length(unsigned byte) { return byte < 200 ? byte % 50 : byte < 250 ? byte * 20 : byte * 300; }

static State *seen_by(Fuzz *f, Handle *h) {
  if (h->transaction == 1) return &h->frozen;
  return h->transaction == 2 ? &f->working : &f->committed;
}

/* Where the writes of a handle go; NULL: they must be refused. */
static State *written_by(Fuzz *f, int number) {
  Handle *h = &f->handles[number];
  if (h->transaction == 1) return NULL;
  if (f->writer >= 0 && f->writer != number) return NULL;
  return h->transaction == 2 ? &f->working : &f->committed;
}

static int same_value(const Row *row, const void *value, int length) {
  const unsigned char *bytes = value;
  if ((uint32_t)length != row->length || (length == 0) != (value == NULL)) return 0;
  for (int i = 0; i < length; i++)
    if (bytes[i] != row->tag) return 0;
  return 1;
}

/* ---- operations ---- */

static void do_put(Fuzz *f, int number) {
  static unsigned char value[255 * 300];
  unsigned char key[KEY_LONG];
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES, k = (int)next(f) % KEYS, kind = (int)next(f) % 6;
  Row row = { PRESENT, (uint8_t)next(f), value_length(next(f)) };
  int key_length = make_key(k, key);
  int64_t expiry = kind == 1 ? 1 : kind == 2 ? INT64_C(1) << 50 : 0;
  memset(value, row.tag, row.length);
  State *state = written_by(f, number);
  Row *old = state ? &state->rows[family][k] : NULL;
  int status, inserted = -1;
  if (kind == 3) {
    status = kvstore_cf_put_if_absent(h->families[family], key, key_length, value, (int)row.length, 0, &inserted);
    if (state) must(inserted == (old->presence != PRESENT));
    if (!inserted && old) row = *old;
  } else if (expiry) {
    status = kvstore_cf_put_ttl(h->families[family], key, key_length, value, (int)row.length, expiry);
  } else {
    status = kvstore_cf_put(h->families[family], key, key_length, value, (int)row.length);
  }
  must(state ? status == KVSTORE_OK : status == KVSTORE_BUSY || status == KVSTORE_ERROR);
  if (kind == 1) row.presence = EXPIRED;
  if (old) *old = row;
}

static void do_get(Fuzz *f, int number) {
  unsigned char key[KEY_LONG];
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES, k = (int)next(f) % KEYS, length = -1, there = -1;
  int key_length = make_key(k, key);
  const Row *row = &seen_by(f, h)->rows[family][k];
  void *value = &length;
  int status = kvstore_cf_get(h->families[family], key, key_length, &value, &length);
  must(status == (row->presence == PRESENT ? KVSTORE_OK : KVSTORE_NOTFOUND));
  if (status == KVSTORE_OK) must(same_value(row, value, length));
  if (status != KVSTORE_OK) must(value == NULL && length == 0);
  kvstore_free(value);
  must(kvstore_cf_exists(h->families[family], key, key_length, &there) == KVSTORE_OK);
  must(there == (row->presence == PRESENT));
}

static void do_delete(Fuzz *f, int number) {
  unsigned char key[KEY_LONG];
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES, k = (int)next(f) % KEYS;
  State *state = written_by(f, number);
  int status = kvstore_cf_delete(h->families[family], key, make_key(k, key));
  if (!state) {
    must(status == KVSTORE_BUSY || status == KVSTORE_ERROR);
    return;
  }
  must(status == (state->rows[family][k].presence == PRESENT ? KVSTORE_OK : KVSTORE_NOTFOUND));
  state->rows[family][k].presence = ABSENT;
}

static void do_delete_range(Fuzz *f, int number) {
  unsigned char lower[KEY_LONG], upper[KEY_LONG];
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES, from = (int)next(f) % KEYS, to = (int)next(f) % KEYS;
  int64_t deleted = -1;
  int least = 0, most = 0;
  State *state = written_by(f, number);
  int status =
    kvstore_cf_delete_range(h->families[family], lower, make_key(from, lower), upper, make_key(to, upper), &deleted);
  if (!state || from > to) {
    must(status == KVSTORE_BUSY || status == KVSTORE_ERROR);
    return;
  }
  must(status == KVSTORE_OK);
  for (int k = from; k < to; k++) {
    Row *row = &state->rows[family][k];
    least += row->presence == PRESENT;
    most += row->presence != ABSENT;
    row->presence = ABSENT;
  }
  must(deleted >= least && deleted <= most);
}

/* Expects what is there, or something else. */
static void do_swap(Fuzz *f, int number) {
  static unsigned char expected[255 * 300], value[255 * 300];
  unsigned char key[KEY_LONG];
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES, k = (int)next(f) % KEYS, right = (int)next(f) % 3, swapped = -1;
  Row row = { PRESENT, (uint8_t)next(f), value_length(next(f)) };
  State *state = written_by(f, number);
  const Row *old = state ? &state->rows[family][k] : &row;
  int there = old->presence == PRESENT;
  memset(expected, old->tag, old->length);
  memset(value, row.tag, row.length);
  int expected_length = !there ? KVSTORE_ABSENT : (int)old->length;
  if (!right) expected_length = there ? KVSTORE_ABSENT : 3;
  int status = kvstore_cf_compare_and_swap(h->families[family], key, make_key(k, key), expected, expected_length, value,
                                           (int)row.length, 0, &swapped);
  if (!state) {
    must(status == KVSTORE_BUSY || status == KVSTORE_ERROR);
    return;
  }
  must(status == KVSTORE_OK && swapped == (right != 0));
  if (swapped) state->rows[family][k] = row;
}

/* In any order, some keys twice: the last one wins. */
static void do_load(Fuzz *f, int number) {
  static unsigned char value[255 * 300];
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES, count = (int)next(f) % 40, kind = (int)next(f) % 4;
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  KVBulkLoad *load = NULL;
  options.memory_bytes = 1;
  State *state = written_by(f, number), loaded = { 0 };
  must(kvstore_bulk_load_begin(h->kv, h->families[family], &options, &load) == KVSTORE_OK);
  if (state) loaded = *state;
  for (int i = 0; i < count; i++) {
    unsigned char key[KEY_LONG];
    int k = (int)next(f) % KEYS;
    Row row = { PRESENT, (uint8_t)next(f), value_length(next(f)) };
    memset(value, row.tag, row.length);
    must(kvstore_bulk_load_add(load, key, make_key(k, key), value, (int)row.length, 0) == KVSTORE_OK);
    loaded.rows[family][k] = row;
  }
  if (!kind) {
    kvstore_bulk_load_abort(load);
    return;
  }
  int status = kvstore_bulk_load_commit(load, NULL);
  if (!state) {
    must(status == KVSTORE_BUSY || status == KVSTORE_ERROR || (!count && status == KVSTORE_OK));
    return;
  }
  must(status == KVSTORE_OK);
  *state = loaded;
}

static void take_change(Fuzz *f, const KVChange *change) {
  unsigned char key[KEY_LONG];
  Row *rows = f->copy.rows[1];
  if (change->kind == KVSTORE_CHANGE_CLEAR) {
    memset(f->copy.rows[1], 0, sizeof f->copy.rows[1]);
    return;
  }
  int k = 0;
  while (k < KEYS &&
         (make_key(k, key) != change->key_length || memcmp(key, change->key, (size_t)change->key_length) != 0))
    k++;
  must(k < KEYS);
  rows[k].presence = change->kind == KVSTORE_CHANGE_DELETE ? ABSENT : change->expire_ms == 1 ? EXPIRED : PRESENT;
  rows[k].length = (uint32_t)change->value_length;
  rows[k].tag = change->value_length ? *(const uint8_t *)change->value : 0;
  must(change->kind == KVSTORE_CHANGE_DELETE || same_value(&rows[k], change->value, change->value_length));
}

/* The copy is what was committed; of what has expired, it need not know that it was purged. */
static void do_follow(Fuzz *f) {
  KVChange change = KVSTORE_CHANGE_INIT;
  int status;
  while ((status = kvstore_changes_next(f->changes, &change)) == KVSTORE_OK) take_change(f, &change);
  must(status == KVSTORE_NOTFOUND);
  for (int k = 0; k < KEYS; k++) {
    const Row *copy = &f->copy.rows[1][k], *row = &f->committed.rows[1][k];
    must((copy->presence == PRESENT) == (row->presence == PRESENT));
    if (row->presence != PRESENT) continue;
    must(copy->length == row->length && (!row->length || copy->tag == row->tag));
  }
}

static void do_begin(Fuzz *f, int number) {
  Handle *h = &f->handles[number];
  int write = (int)next(f) % 2;
  int status = kvstore_begin(h->kv, write);
  if (h->transaction) {
    must(status == KVSTORE_ERROR);
  } else if (write && f->writer >= 0) {
    must(status == KVSTORE_BUSY);
  } else {
    must(status == KVSTORE_OK);
    h->transaction = write ? 2 : 1;
    h->frozen = f->committed;
    if (write) f->working = f->committed;
    if (write) f->writer = number;
  }
}

static void close_iterator(Handle *h) {
  kvstore_iterator_close(h->iterator);
  h->iterator = NULL;
}

static void do_end(Fuzz *f, int number, int commit) {
  Handle *h = &f->handles[number];
  must((commit ? kvstore_commit(h->kv) : kvstore_rollback(h->kv)) == KVSTORE_OK);
  if (h->transaction == 2) {
    if (commit) f->committed = f->working;
    if (!commit && h->iterator && h->writing) close_iterator(h); /* it ends with its transaction */
    f->writer = -1;
    h->writing = 0;
  }
  h->transaction = 0;
}

static void do_clear_or_purge(Fuzz *f, int number) {
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES, purge = (int)next(f) % 2;
  State *state = written_by(f, number);
  int status = purge ? kvstore_cf_purge_expired(h->families[family], NULL) : kvstore_cf_clear(h->families[family]);
  if (!state) {
    must(status == KVSTORE_BUSY || status == KVSTORE_ERROR);
    return;
  }
  must(status == KVSTORE_OK);
  for (int k = 0; k < KEYS; k++)
    if (!purge || state->rows[family][k].presence == EXPIRED) state->rows[family][k].presence = ABSENT;
}

/* All keys in one call, the family being a table. */
static void read_all(Fuzz *f, Handle *h, int family) {
  static unsigned char keys[KEYS][KEY_LONG];
  const State *state = seen_by(f, h);
  KVBytes names[KEYS];
  const char *columns[] = { "value" };
  const KVColumnData key = { .type = KVTABLE_TYPE_BYTES, .values = names };
  KVTable *table = NULL;
  KVRows *rows = NULL;
  for (int k = 0; k < KEYS; k++) names[k] = (KVBytes){ keys[k], (size_t)make_key(k, keys[k]) };
  must(kvtable_open_family(h->families[family], NULL, 0, &table) == KVSTORE_OK);
  must(kvtable_get_many(table, &key, 1, KEYS, columns, 1, NULL, &rows) == KVSTORE_OK);
  for (int k = 0; k < KEYS; k++) {
    const KVBytes *value = (const KVBytes *)rows->columns[0].values + k;
    const Row *row = &state->rows[family][k];
    must(rows->found[k] == (row->presence == PRESENT));
    if (rows->found[k]) must(same_value(row, value->length ? value->data : NULL, (int)value->length));
  }
  kvtable_rows_free(rows);
  kvtable_close(table);
}

static void do_count(Fuzz *f, int number) {
  Handle *h = &f->handles[number];
  int family = (int)next(f) % FAMILIES;
  int64_t count = -1;
  int least = 0, most = 0;
  must(kvstore_cf_count(h->families[family], &count) == KVSTORE_OK);
  for (int k = 0; k < KEYS; k++) {
    Presence presence = seen_by(f, h)->rows[family][k].presence;
    least += presence == PRESENT;
    most += presence != ABSENT;
  }
  must(count >= least && count <= most);
  read_all(f, h, family);
}

static void do_care(Fuzz *f, int number) {
  Handle *h = &f->handles[number];
  int what = (int)next(f) % 9, status;
  if (what < 4) {
    status = kvstore_checkpoint(h->kv, what, NULL, NULL);
    must(status == KVSTORE_OK || (status == KVSTORE_BUSY && f->writer >= 0) ||
         (status == KVSTORE_ERROR && h->transaction == 1)); /* "end it before you write" */
  } else if (what == 4) {
    must(kvstore_sync(h->kv) == KVSTORE_OK);
  } else if (what == 5) {
    status = kvstore_maintain(h->kv);
    must(status == KVSTORE_OK || (status == KVSTORE_BUSY && f->writer >= 0));
  } else if (what == 8) {
    status = kvstore_incremental_vacuum(h->kv, 0);
    must(status == KVSTORE_OK || (status == KVSTORE_BUSY && f->writer >= 0) ||
         (status == KVSTORE_ERROR && h->transaction == 1));
  } else if (what == 6) {
    must(kvstore_integrity_check(h->kv, NULL) == KVSTORE_OK);
  } else {
    KVStoreStats stats;
    must(kvstore_stats(h->kv, &stats) == KVSTORE_OK && kvstore_stats_reset(h->kv) == KVSTORE_OK);
  }
}

/* ---- iterators ---- */

/* To the next key that is there, from `at` on in the direction. */
static void settle(Handle *h) {
  int step = h->reverse ? -1 : 1;
  while (h->at >= 0 && h->at < KEYS && h->walked.rows[h->family][h->at].presence != PRESENT) h->at += step;
}

static void check_position(Handle *h) {
  unsigned char key[KEY_LONG];
  void *found, *value;
  int length, value_bytes;
  int at_end = h->at < 0 || h->at >= KEYS;
  must(kvstore_iterator_eof(h->iterator) == at_end);
  if (at_end) return;
  int key_length = make_key(h->at, key);
  must(kvstore_iterator_key(h->iterator, &found, &length) == KVSTORE_OK);
  must(length == key_length && memcmp(found, key, (size_t)length) == 0);
  must(kvstore_iterator_value(h->iterator, &value, &value_bytes) == KVSTORE_OK);
  must(same_value(&h->walked.rows[h->family][h->at], value, value_bytes));
}

static void do_iterate(Fuzz *f, int number) {
  Handle *h = &f->handles[number];
  close_iterator(h);
  h->family = (int)next(f) % FAMILIES;
  h->reverse = (int)next(f) % 2;
  h->walked = *seen_by(f, h);
  h->writing = h->transaction == 2;
  KVColumnFamily *family = h->families[h->family];
  if (h->reverse) {
    must(kvstore_cf_reverse_iterator_create(family, &h->iterator) == KVSTORE_OK);
    must(kvstore_iterator_last(h->iterator) == KVSTORE_OK);
  } else {
    must(kvstore_cf_iterator_create(family, &h->iterator) == KVSTORE_OK);
    must(kvstore_iterator_first(h->iterator) == KVSTORE_OK);
  }
  h->at = h->reverse ? KEYS - 1 : 0;
  settle(h);
  check_position(h);
}

static void do_step(Fuzz *f, int number) {
  unsigned char key[KEY_LONG];
  Handle *h = &f->handles[number];
  int where = (int)next(f) % 32;
  if (!h->iterator) return;
  if (where < KEYS) {
    must(kvstore_iterator_seek(h->iterator, key, make_key(where, key)) == KVSTORE_OK);
    h->at = where;
  } else {
    must((h->reverse ? kvstore_iterator_prev(h->iterator) : kvstore_iterator_next(h->iterator)) == KVSTORE_OK);
    if (h->at >= 0 && h->at < KEYS) h->at += h->reverse ? -1 : 1;
  }
  settle(h);
  check_position(h);
}

/* ---- the sequence ---- */

static void open_all(Fuzz *f) {
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.background_off = 1;
  options.log_bytes = 64 << 10;
  must(kvstore_open_with(NULL, &f->handles[0].kv, &options) == KVSTORE_OK);
  must(kvstore_clone(f->handles[0].kv, &f->handles[1].kv) == KVSTORE_OK);
  KVFamilyOptions captured = KVSTORE_FAMILY_OPTIONS_INIT;
  captured.changes_ms = INT64_C(1) << 40;
  must(kvstore_cf_create_with(f->handles[0].kv, "other", &captured, &f->handles[0].families[1]) == KVSTORE_OK);
  must(kvstore_changes_open(f->handles[0].kv, f->handles[0].families[1], KVSTORE_CHANGES_OLDEST, &f->changes) ==
       KVSTORE_OK);
  must(kvstore_cf_open(f->handles[1].kv, "other", &f->handles[1].families[1]) == KVSTORE_OK);
  for (int i = 0; i < HANDLES; i++)
    must(kvstore_cf_get_default(f->handles[i].kv, &f->handles[i].families[0]) == KVSTORE_OK);
  f->writer = -1;
}

static void close_all(Fuzz *f) {
  do_follow(f);
  for (int i = 0; i < HANDLES; i++) {
    Handle *h = &f->handles[i];
    for (int j = 0; j < FAMILIES; j++) kvstore_cf_close(h->families[j]);
    must(kvstore_close(h->kv) == KVSTORE_OK);
    close_iterator(h); /* after its store */
  }
  kvstore_changes_close(f->changes);
}

static void run_one(Fuzz *f) {
  unsigned operation = next(f);
  int number = (int)(operation >> 7);
  switch (operation % 128 % 21) {
  case 0:
  case 1:
  case 2:
  case 3: do_put(f, number); break;
  case 4:
  case 5: do_get(f, number); break;
  case 6: do_delete(f, number); break;
  case 7: do_begin(f, number); break;
  case 8: do_end(f, number, 1); break;
  case 9: do_end(f, number, 0); break;
  case 10: do_clear_or_purge(f, number); break;
  case 11: do_count(f, number); break;
  case 12: do_care(f, number); break;
  case 13: do_iterate(f, number); break;
  case 14:
  case 15: do_step(f, number); break;
  case 16: do_delete_range(f, number); break;
  case 17: do_swap(f, number); break;
  case 18: do_load(f, number); break;
  case 19: do_follow(f); break;
  default: do_put(f, number); break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static Fuzz f; /* large, and one at a time */
  memset(&f, 0, sizeof f);
  f.at = data;
  f.end = data + size;
  open_all(&f);
  for (int i = 0; i < OPERATIONS_MAX && f.at < f.end; i++) run_one(&f);
  close_all(&f);
  return 0;
}
