/* Queries on several threads that are stopped: from another thread, or by who follows them; and the same again. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/api/api_support.h"

enum { PARTS = 4, PART_ROWS = 3000, ROWS = PARTS * PART_ROWS, DAYS = 31 };

/* ---- a table of several units ---- */

static KVTable *create(KVStore *kv, const char *name) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "day", KVTABLE_TYPE_I32, 0, 0 },
                                         { "name", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "weight", KVTABLE_TYPE_F64, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, name, columns, 4, key, 1, &table));
  return table;
}

static void put(KVStore *kv, KVTable *table, int first, int count) {
  char name[24];
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = first; i < first + count; i++) {
    (void)snprintf(name, sizeof name, "name %d", i * 7919 % ROWS);
    const KVValue row[] = { kvvalue_i64(i), kvvalue_i64(i % DAYS), kvvalue_string(name), kvvalue_f64(i * 0.5) };
    CHECK_OK(kvtable_upsert(table, row, 4, 0));
  }
  CHECK_OK(kvstore_commit(kv));
}

typedef struct Store {
  KVStore *kv;
  KVTable *table, *other;
} Store;

static Store open_tables(void) {
  Store s = { .kv = open_store() };
  s.table = create(s.kv, "flights");
  s.other = create(s.kv, "days");
  put(s.kv, s.other, 0, DAYS);
  for (int part = 0; part < PARTS; part++) {
    if (part) CHECK_OK(kvstore_checkpoint(s.kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    put(s.kv, s.table, part * PART_ROWS, PART_ROWS);
  }
  return s;
}

static void close_tables(Store *s) {
  kvtable_close(s->table);
  kvtable_close(s->other);
  CHECK_OK(kvstore_close(s->kv));
}

/* ---- questions: each gives a number, which is known ---- */

enum { ASK_COUNT, ASK_GROUPS, ASK_ORDER, ASK_FIRST, ASK_MEDIAN, ASK_MEDIANS, ASK_JOIN, ASK_JOINED_GROUPS, ASKS };

static KVQuery *make_query(const Store *s, int what) {
  static const char *const day[] = { "day" }, *const id[] = { "id" };
  static const KVOrder order[] = { { "name", KVQUERY_DESCENDING } };
  static const KVAggregate sum[] = { { KVQUERY_SUM, "weight" } }, median[] = { { KVQUERY_MEDIAN, "weight" } };
  KVQuery *query = NULL;
  KVJoin join = KVJOIN_INIT;
  join.table = s->other;
  join.kind = KVQUERY_JOIN_INNER;
  join.left = day;
  join.right = id;
  join.count = 1;
  join.prefix = "d_";
  CHECK_OK(kvquery_create(s->table, &query));
  if (what >= ASK_JOIN) CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_where(query, "weight >= 0 and id % 2 = 0", NULL, 0));
  if (what == ASK_GROUPS || what == ASK_JOINED_GROUPS) {
    CHECK_OK(kvquery_group_by(query, day, 1));
    CHECK_OK(kvquery_compute(query, sum, 1));
  } else if (what == ASK_MEDIAN || what == ASK_MEDIANS) {
    if (what == ASK_MEDIANS) CHECK_OK(kvquery_group_by(query, day, 1));
    CHECK_OK(kvquery_compute(query, median, 1));
  } else if (what != ASK_COUNT) {
    CHECK_OK(kvquery_order_by(query, order, 1));
  }
  if (what == ASK_FIRST) CHECK_OK(kvquery_limit(query, 0, 20));
  CHECK_OK(kvquery_threads(query, 3));
  return query;
}

static const uint64_t answers[ASKS] = { ROWS / 2, DAYS, ROWS / 2, 20, 1, DAYS, ROWS / 2, DAYS };

static int ask(KVQuery *query, int what, uint64_t *rows) {
  KVCursor *cursor = NULL;
  const KVColumnData *columns;
  uint64_t more = 0;
  if (what == ASK_COUNT) return kvquery_count(query, rows);
  *rows = 0;
  int code = kvquery_open(query, &cursor);
  while (code == KVSTORE_OK) {
    code = kvcursor_next_batch(cursor, &more, &columns);
    *rows += more;
  }
  kvcursor_close(cursor);
  return code == KVSTORE_NOTFOUND ? KVSTORE_OK : code;
}

/* ---- stopped ---- */

typedef struct Canceller {
  KVQuery *query;
  _Atomic int calls, is_cancelled;
  int at; /* the call that waits, from 1 */
} Canceller;

static void *cancel_when_running(void *context) {
  Canceller *c = context;
  while (atomic_load(&c->calls) < c->at) sched_yield();
  CHECK_OK(kvquery_cancel(c->query));
  atomic_store(&c->is_cancelled, 1);
  return NULL;
}

/* The caller's thread does not go on before it is cancelled; its helpers do. */
static int wait_for_cancel(void *context, uint64_t rows, uint64_t rows_total) {
  Canceller *c = context;
  CHECK(rows <= rows_total);
  if (atomic_fetch_add(&c->calls, 1) + 1 < c->at) return 0;
  while (!atomic_load(&c->is_cancelled)) sched_yield();
  return 0;
}

TEST(kvquery_threads, a_team_can_be_cancelled_by_another_thread) {
  Store s = open_tables();
  for (int what = 0; what < ASKS; what++) {
    for (int at = 1; at <= 2;
         at++) { /* each has a second call: groups look at a unit first, joins at the other table */
      Canceller c = { .query = make_query(&s, what), .at = at };
      pthread_t thread;
      uint64_t rows = 0;
      if (at == 2 && what < ASK_JOIN && what != ASK_GROUPS) c.at = 1;
      CHECK_OK(kvquery_progress(c.query, wait_for_cancel, &c));
      CHECK_INT(pthread_create(&thread, NULL, cancel_when_running, &c), 0);
      CHECK_STATUS(ask(c.query, what, &rows), KVSTORE_CANCELLED);
      CHECK(strstr(kvstore_errmsg(s.kv), "cancelled") != NULL);
      CHECK_INT(pthread_join(thread, NULL), 0);
      CHECK_OK(ask(c.query, what, &rows)); /* the next run is its own */
      CHECK_INT(rows, answers[what]);
      kvquery_close(c.query);
    }
  }
  put(s.kv, s.table, ROWS, 10); /* the store takes writes as before */
  CHECK_OK(kvstore_checkpoint(s.kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  close_tables(&s);
}

/* Whatever it has in memory by then. */
TEST(kvquery_threads, an_open_cursor_of_a_cancelled_query_goes_no_further) {
  Store s = open_tables();
  for (int what = ASK_GROUPS; what < ASKS; what++) {
    KVQuery *query = make_query(&s, what);
    KVCursor *cursor = NULL, *fresh = NULL;
    CHECK_OK(kvquery_open(query, &cursor));
    if (what != ASK_MEDIAN) CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvquery_cancel(query));
    CHECK_STATUS(kvcursor_next(cursor), KVSTORE_CANCELLED);
    CHECK(strstr(kvstore_errmsg(s.kv), "cancelled") != NULL);
    CHECK_OK(kvquery_open(query, &fresh));
    CHECK_OK(kvcursor_next(fresh));
    kvcursor_close(fresh);
    kvcursor_close(cursor);
    kvquery_close(query);
  }
  close_tables(&s);
}

typedef struct Stopper {
  int calls, at;
  pthread_t thread;
} Stopper;

static int stop_at(void *context, uint64_t rows, uint64_t rows_total) {
  Stopper *stopper = context;
  CHECK(rows <= rows_total);
  CHECK(pthread_equal(stopper->thread, pthread_self()));
  return ++stopper->calls == stopper->at;
}

TEST(kvquery_threads, a_team_can_be_stopped_by_who_follows_it) {
  Store s = open_tables();
  for (int what = 0; what < ASKS; what++) {
    KVQuery *query = make_query(&s, what);
    for (int at = 1; at <= 4; at++) {
      Stopper stopper = { .at = at, .thread = pthread_self() };
      uint64_t rows = 0;
      CHECK_OK(kvquery_progress(query, stop_at, &stopper));
      int code = ask(query, what, &rows);
      CHECK_INT(code,
                stopper.calls >= at ? KVSTORE_CANCELLED : KVSTORE_OK); /* helpers may have left it no more units */
      CHECK(at > 1 || code == KVSTORE_CANCELLED);
      if (code == KVSTORE_OK) CHECK_INT(rows, answers[what]);
    }
    uint64_t rows = 0;
    CHECK_OK(kvquery_progress(query, NULL, NULL));
    CHECK_OK(ask(query, what, &rows));
    CHECK_INT(rows, answers[what]);
    kvquery_close(query);
  }
  close_tables(&s);
}

/* ---- in a transaction that ends meanwhile ---- */

enum { MANY = 280000, KEYS = 100003, BATCH = 20000 };

static void append_many(KVTable *table) {
  static int64_t ids[BATCH];
  static int32_t days[BATCH];
  static double weights[BATCH];
  static KVBytes names[BATCH];
  const KVColumnData columns[] = { { .type = KVTABLE_TYPE_I64, .values = ids },
                                   { .type = KVTABLE_TYPE_I32, .values = days },
                                   { .type = KVTABLE_TYPE_STRING, .values = names },
                                   { .type = KVTABLE_TYPE_F64, .values = weights } };
  for (int first = 0; first < MANY; first += BATCH) {
    for (int i = 0; i < BATCH; i++) {
      ids[i] = first + i;
      days[i] = (int32_t)(ids[i] * 7919 % KEYS);
      weights[i] = (double)ids[i] * 0.5;
    }
    CHECK_OK(kvtable_append(table, columns, 4, BATCH, NULL, KVTABLE_INSERT, NULL));
  }
}

/* Two of three rows. */
static void delete_many(KVTable *table) {
  static int64_t ids[MANY];
  uint64_t count = 0, deleted;
  for (int64_t id = 0; id < MANY; id++) {
    ids[count] = id;
    count += id % 3 != 0;
  }
  const KVColumnData keys = { .type = KVTABLE_TYPE_I64, .values = ids };
  CHECK_OK(kvtable_delete_many(table, &keys, 1, count, &deleted));
  CHECK_INT(deleted, count);
}

typedef struct RollBack {
  KVStore *kv;
  int calls, at;
} RollBack;

static int roll_back_at(void *context, uint64_t rows, uint64_t rows_total) {
  RollBack *r = context;
  CHECK(rows <= rows_total);
  if (++r->calls == r->at) CHECK_OK(kvstore_rollback(r->kv));
  return 0;
}

/* Rows that its rollback brings back were not there when their groups were looked for; those are many. */
TEST(kvquery_threads, a_rollback_beside_a_team_is_an_error) {
  static const char *const day[] = { "day" };
  static const KVAggregate sum[] = { { KVQUERY_SUM, "weight" } };
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.background_off = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  KVTable *table = create(kv, "flights");
  append_many(table);
  for (int at = 1; at <= 12; at += test_threads_are_watched() ? 6 : 1) { /* 5 s each there */
    KVQuery *query = NULL;
    RollBack context = { .kv = kv, .at = at };
    uint64_t rows;
    CHECK_OK(kvstore_begin(kv, 1));
    delete_many(table);
    CHECK_OK(kvquery_create(table, &query));
    CHECK_OK(kvquery_group_by(query, day, 1));
    CHECK_OK(kvquery_compute(query, sum, 1));
    CHECK_OK(kvquery_threads(query, 2));
    CHECK_OK(kvquery_progress(query, roll_back_at, &context));
    int code = ask(query, ASK_GROUPS, &rows);
    CHECK_INT(code, context.calls >= at ? KVSTORE_ERROR : KVSTORE_OK);
    if (code) CHECK(strstr(kvstore_errmsg(kv), "rolled back") != NULL);
    kvquery_close(query);
    CHECK_OK(kvstore_rollback(kv));
  }
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- followed ---- */

typedef struct Follower {
  uint64_t rows, rows_total, calls;
} Follower;

static int follow(void *context, uint64_t rows, uint64_t rows_total) {
  Follower *f = context;
  CHECK(rows >= f->rows && rows <= rows_total);
  *f = (Follower){ rows, rows_total, f->calls + 1 };
  return 0;
}

static void check_that_it_ends_with_all(KVQuery *query, int what, uint64_t answer) {
  Follower follower = { 0 };
  uint64_t rows = 0;
  CHECK_OK(kvquery_progress(query, follow, &follower));
  CHECK_OK(ask(query, what, &rows));
  CHECK_INT(rows, answer);
  CHECK(follower.calls > 1);
  CHECK_INT(follower.rows, follower.rows_total);
  CHECK(follower.rows_total >= ROWS);
}

TEST(kvquery_threads, who_follows_a_run_sees_that_all_rows_were_scanned) {
  Store s = open_tables();
  for (uint32_t threads = 1; threads <= 3; threads++) {
    KVQuery *query = NULL;
    for (int what = 0; what < ASKS; what++) {
      query = make_query(&s, what);
      CHECK_OK(kvquery_threads(query, threads));
      check_that_it_ends_with_all(query, what, answers[what]);
      kvquery_close(query);
    }
    CHECK_OK(kvquery_create(s.table, &query));
    CHECK_OK(kvquery_threads(query, threads));
    check_that_it_ends_with_all(query, ASK_COUNT, ROWS); /* known without a scan */
    check_that_it_ends_with_all(query, ASKS, ROWS);      /* as they lie */
    CHECK_OK(kvquery_order_by_key(query, 1));
    check_that_it_ends_with_all(query, ASKS, ROWS);
    CHECK_OK(kvquery_where(query, "id >= 0 and day > 1000", NULL, 0)); /* no segment has any */
    check_that_it_ends_with_all(query, ASK_COUNT, 0);
    check_that_it_ends_with_all(query, ASKS, 0);
    kvquery_close(query);
  }
  close_tables(&s);
}

/* ---- beside the rollback of their transaction ---- */

enum { CURSORS = 2000, FEW = 1000 };

typedef struct Steps {
  KVCursor *cursors[CURSORS];
  int codes[CURSORS];
  uint64_t counts[CURSORS];
  _Atomic int done;
} Steps;

static uint64_t count_at(KVCursor *cursor) {
  KVValue count;
  CHECK_OK(kvcursor_value(cursor, 0, &count));
  return count.as.u64;
}

static void *step_all(void *context) {
  Steps *s = context;
  for (int i = 0; i < CURSORS; i++) {
    s->codes[i] = kvcursor_next(s->cursors[i]);
    if (s->codes[i] == KVSTORE_OK) s->counts[i] = count_at(s->cursors[i]);
    atomic_fetch_add(&s->done, 1);
  }
  return NULL;
}

/* The many rows of another table take their time to be taken back. */
TEST(kvquery_threads, who_reads_beside_a_rollback_has_all_rows_or_an_error) {
  static const KVAggregate rows[] = { { KVQUERY_ROWS, NULL } };
  static Steps steps;
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  KVQuery *query = NULL;
  pthread_t thread;
  options.background_off = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  KVTable *few = create(kv, "few"), *many = create(kv, "many");
  CHECK_OK(kvstore_begin(kv, 1));
  for (int id = 0; id < FEW; id++) {
    const KVValue row[] = { kvvalue_i64(id), kvvalue_i64(1), kvvalue_string(""), kvvalue_f64(1) };
    CHECK_OK(kvtable_upsert(few, row, 4, 0));
  }
  append_many(many);
  CHECK_OK(kvquery_create(few, &query));
  CHECK_OK(kvquery_compute(query, rows, 1));
  for (int i = 0; i < CURSORS; i++) CHECK_OK(kvquery_open(query, &steps.cursors[i]));
  CHECK_INT(pthread_create(&thread, NULL, step_all, &steps), 0);
  while (atomic_load(&steps.done) < 1) sched_yield();
  CHECK_OK(kvstore_rollback(kv));
  CHECK_INT(pthread_join(thread, NULL), 0);
  for (int i = 0; i < CURSORS; i++) {
    if (steps.codes[i] == KVSTORE_OK)
      CHECK_INT(steps.counts[i], FEW);
    else
      CHECK_INT(steps.codes[i], KVSTORE_ERROR);
    kvcursor_close(steps.cursors[i]);
  }
  kvquery_close(query);
  kvtable_close(few);
  kvtable_close(many);
  CHECK_OK(kvstore_close(kv));
}
