/* One writer, readers and the store's own thread at once. What a reader sees at any moment is what one commit left: a
 * bank whose total never changes, tables whose counts and sums follow from the number of the last commit. The log is
 * small, so that flushes and compactions never cease. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "os/thread.h"
#include "query/query.h"
#include "tests/support/test.h"

enum { ACCOUNTS = 100, BALANCE = 1000, READERS = 3, IDS = 400, ROUND_ROWS = 40, BULK_ROWS = 66000 };

typedef struct Bank {
  char path[512];
  Session *session;
  uint32_t table, log_table;
  uint64_t rounds;
  _Atomic uint64_t reads;
  _Atomic bool done;
  bool bulk;
} Bank;

static StoreOptions options(void) {
  return (StoreOptions){
    .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .busy_timeout_ms = 60000, .log_bytes = 64 << 10
  };
}

static Bytes account(uint32_t number, char room[16]) {
  return (Bytes){ (const uint8_t *)room, (size_t)snprintf(room, 16, "account%03u", number) };
}

static int64_t balance_of(Bytes value) {
  int64_t balance = 0;
  CHECK_INT(value.length, sizeof balance);
  memcpy(&balance, value.data, sizeof balance);
  return balance;
}

static int64_t get_balance(Session *s, uint32_t number) {
  char room[16];
  KvValue value;
  CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, account(number, room), &value));
  int64_t balance = balance_of((Bytes){ value.data, value.length });
  memory_release(value.data);
  return balance;
}

static void put_balance(Session *s, uint32_t number, int64_t balance) {
  char room[16];
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, account(number, room), (Bytes){ (const uint8_t *)&balance, sizeof balance },
                  EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

/* `count` rows from key `first` on, all with one round. Ids go around. */
static void write_rows(Session *s, uint32_t table, uint64_t first, uint32_t count, uint32_t modulo, int64_t round) {
  int64_t *ids = memory_allocate(count * sizeof *ids), *rounds = memory_allocate(count * sizeof *rounds);
  for (uint32_t i = 0; i < count; i++) {
    ids[i] = (int64_t)((first + i) % modulo);
    rounds[i] = round;
  }
  ColumnArray columns[] = { { ids, NULL }, { rounds, NULL } };
  ColumnBatch batch = { count, 2, columns, NULL };
  CHECK_OK(table_write(s, table, &batch, TABLE_UPSERT, NULL));
  memory_release(ids);
  memory_release(rounds);
}

static uint32_t make_table(Session *s, const char *name) {
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I64, 0, 0, (char *)"round" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, name, FAMILY_TABLE, &schema, &id));
  return id;
}

/* ---- the writer: round r sets every row of the table to r, moves money, and adds ROUND_ROWS rows to a second table
 * ---- */

static void write_round(Bank *b, Session *s, uint64_t *random, uint64_t round) {
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < 10; i++) {
    uint32_t from = (uint32_t)test_random_below(random, ACCOUNTS), to = (uint32_t)test_random_below(random, ACCOUNTS);
    int64_t amount = (int64_t)test_random_below(random, 50);
    if (from == to) continue;
    put_balance(s, from, get_balance(s, from) - amount);
    put_balance(s, to, get_balance(s, to) + amount);
  }
  write_rows(s, b->table, round * 7, IDS, IDS, (int64_t)round);
  if (b->bulk && round % 16 == 0)
    write_rows(s, b->log_table, 0, BULK_ROWS, BULK_ROWS, (int64_t)round);
  else
    write_rows(s, b->log_table, round * ROUND_ROWS, ROUND_ROWS, BULK_ROWS, (int64_t)round);
  if (round % 5 == 0)
    CHECK_OK(session_rollback(s));
  else
    CHECK_OK(session_commit(s));
}

static void write_all(void *context) {
  Bank *b = context;
  Session *s;
  uint64_t random = 1;
  CHECK_OK(session_clone(b->session, &s));
  for (uint64_t round = 1; round <= b->rounds; round++) write_round(b, s, &random, round);
  CHECK_OK(session_close(s));
  atomic_store(&b->done, true);
}

/* ---- the readers ---- */

static void check_bank(Session *s) {
  KvIterator *it;
  int64_t total = 0;
  uint32_t accounts = 0;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  for (CHECK_OK(kv_iterator_first(it)); !kv_iterator_eof(it); CHECK_OK(kv_iterator_next(it))) {
    Bytes value;
    CHECK_OK(kv_iterator_value(it, &value));
    total += balance_of(value);
    accounts++;
  }
  kv_iterator_destroy(it);
  CHECK_INT(accounts, ACCOUNTS);
  CHECK_INT(total, ACCOUNTS * BALANCE);
}

static int64_t check_table(Session *s, uint32_t table) {
  TableSnapshot snapshot;
  Query *query;
  AggregateResult results[3];
  Arena arena = { 0 };
  CHECK_OK(table_snapshot(s, table, &snapshot));
  CHECK_OK(query_create(snapshot.schema, &query));
  CHECK_OK(query_aggregate(query, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(query, AGGREGATE_LEAST, "round"));
  CHECK_OK(query_aggregate(query, AGGREGATE_GREATEST, "round"));
  CHECK_OK(query_run(query, &snapshot, &arena, results, NULL));
  CHECK_INT(results[0].value.u, IDS);
  CHECK_INT(results[1].value.i, results[2].value.i); /* every row of one round */
  int64_t round = results[1].value.i;
  query_destroy(query);
  table_snapshot_release(&snapshot);
  arena_release(&arena);
  return round;
}

/* The rows of the second table at a snapshot whose last round is known. */
static void check_log_table(Bank *b, Session *s, int64_t round) {
  uint64_t expected = 0;
  int64_t newest = 0;
  for (int64_t r = 0; r <= round; r++) {
    if (r && r % 5 == 0) continue;
    if (!b->bulk) expected += ROUND_ROWS;
    newest = r;
  }
  if (b->bulk) expected = BULK_ROWS;
  if (expected > BULK_ROWS) expected = BULK_ROWS;
  TableSnapshot snapshot;
  Query *query;
  AggregateResult results[2];
  Arena arena = { 0 };
  CHECK_OK(table_snapshot(s, b->log_table, &snapshot));
  CHECK_OK(query_create(snapshot.schema, &query));
  CHECK_OK(query_aggregate(query, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(query, AGGREGATE_GREATEST, "round"));
  CHECK_OK(query_run(query, &snapshot, &arena, results, NULL));
  CHECK_INT(results[0].value.u, expected);
  CHECK_INT(results[1].value.i, newest);
  query_destroy(query);
  table_snapshot_release(&snapshot);
  arena_release(&arena);
}

static void read_keys(Bank *b, Session *s, int64_t round) {
  for (int64_t id = 0; id < IDS; id += 37) {
    Arena arena = { 0 };
    Value key = { .type = TYPE_I64, .i = id }, row[2];
    CHECK_OK(table_get(s, b->table, &key, 1, &arena, row, 2, NULL));
    CHECK_INT(row[1].i, round);
    arena_release(&arena);
  }
}

static void read_all(void *context) {
  Bank *b = context;
  Session *s;
  int64_t last = 0;
  CHECK_OK(session_clone(b->session, &s));
  bool done;
  do {
    done = atomic_load(&b->done);
    check_bank(s);
    CHECK(get_balance(s, 5) > -1000000);
    CHECK_OK(session_begin(s, false));
    int64_t round = check_table(s, b->table);
    CHECK(round >= last); /* a session never goes back */
    last = round;
    check_bank(s);
    check_log_table(b, s, round);
    read_keys(b, s, round);
    CHECK_INT(check_table(s, b->table), round);
    CHECK_OK(session_commit(s));
    atomic_fetch_add(&b->reads, 1);
  } while (!done);
  CHECK_OK(session_close(s));
}

static void run(Bank *b) {
  snprintf(b->path, sizeof b->path, "%s/bank%d", test_directory(), b->bulk);
  StoreOptions with = options();
  CHECK_OK(session_open(b->path, &with, &b->session));
  for (uint32_t i = 0; i < ACCOUNTS; i++) put_balance(b->session, i, BALANCE);
  b->table = make_table(b->session, "table");
  b->log_table = make_table(b->session, "log");
  write_rows(b->session, b->table, 0, IDS, IDS, 0);
  write_rows(b->session, b->log_table, 0, b->bulk ? BULK_ROWS : ROUND_ROWS, BULK_ROWS, 0);
  Thread writer, readers[READERS];
  uint64_t flushes = counter_get(COUNTER_flushes), compactions = counter_get(COUNTER_compactions);
  CHECK_OK(thread_start(&writer, write_all, b));
  for (int i = 0; i < READERS; i++) CHECK_OK(thread_start(&readers[i], read_all, b));
  thread_join(&writer);
  for (int i = 0; i < READERS; i++) thread_join(&readers[i]);
  CHECK(counter_get(COUNTER_flushes) > flushes);
  CHECK(b->rounds < 100 || counter_get(COUNTER_compactions) > compactions);
  CHECK(atomic_load(&b->reads) >= READERS);
  char *why = NULL;
  CHECK_OK(session_check(b->session, &why));
  CHECK_OK(session_close(b->session));
  CHECK_OK(session_open(b->path, &with, &b->session));
  check_bank(b->session);
  int64_t round = check_table(b->session, b->table);
  CHECK_INT(round, b->rounds - (b->rounds % 5 == 0));
  check_log_table(b, b->session, round);
  CHECK_OK(session_close(b->session));
}

TEST(engine_threads, every_reader_sees_what_one_commit_left) {
  Bank bank = { .rounds = test_scaled(1500) };
  run(&bank);
}

TEST(engine_threads, runs_are_adopted_while_others_are_compacted) {
  Bank bank = { .rounds = test_scaled(300), .bulk = true };
  run(&bank);
}

/* ---- several writers ---- */

typedef struct Counting {
  Session *session;
  uint64_t rounds;
} Counting;

/* Half of the increments in a transaction that another thread could not have begun meanwhile. */
static void increment(void *context) {
  Counting *c = context;
  Session *s;
  CHECK_OK(session_clone(c->session, &s));
  for (uint64_t i = 0; i < c->rounds; i++) {
    CHECK_OK(session_begin(s, true));
    put_balance(s, 0, get_balance(s, 0) + 1);
    CHECK_OK(session_commit(s));
    put_balance(s, 1 + thread_number() % 50, (int64_t)i); /* an autocommit between transactions of others */
  }
  CHECK_OK(session_close(s));
}

TEST(engine_threads, writers_wait_for_each_other_and_lose_nothing) {
  enum { WRITERS = 4 };
  char path[512];
  StoreOptions with = options();
  Counting c = { .rounds = test_scaled(2000) };
  snprintf(path, sizeof path, "%s/counter", test_directory());
  CHECK_OK(session_open(path, &with, &c.session));
  put_balance(c.session, 0, 0);
  Thread threads[WRITERS];
  for (int i = 0; i < WRITERS; i++) CHECK_OK(thread_start(&threads[i], increment, &c));
  for (int i = 0; i < WRITERS; i++) thread_join(&threads[i]);
  CHECK_INT(get_balance(c.session, 0), WRITERS * c.rounds);
  CHECK_OK(session_close(c.session));
}

/* Sessions come and go on many threads, the last one now and then; the store is settled and opened again beneath them.
 */
static void open_and_close(void *context) {
  const char *path = context;
  StoreOptions with = options();
  uint64_t rounds = test_scaled(100);
  for (uint64_t i = 0; i < rounds; i++) {
    Session *s;
    CHECK_OK(session_open(path, &with, &s));
    put_balance(s, thread_number() % ACCOUNTS, (int64_t)i);
    CHECK_INT(get_balance(s, thread_number() % ACCOUNTS), i);
    CHECK_OK(session_close(s));
  }
}

TEST(engine_threads, sessions_open_and_close_on_many_threads) {
  char path[512];
  snprintf(path, sizeof path, "%s/doors", test_directory());
  Thread threads[3];
  for (int i = 0; i < 3; i++) CHECK_OK(thread_start(&threads[i], open_and_close, path));
  for (int i = 0; i < 3; i++) thread_join(&threads[i]);
}
