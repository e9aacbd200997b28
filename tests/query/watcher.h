/* watcher.h - who watches a query under test: the context of its QuerySpace is a Watch, called on one thread alone,
 * with numbers that never go back; it may cancel. */
#ifndef COLONNADE_TESTS_QUERY_WATCHER_H
#define COLONNADE_TESTS_QUERY_WATCHER_H

#include "os/thread.h"
#include "query/query.h"
#include "tests/support/test.h"

typedef struct Watch {
  uint32_t calls, cancel_at; /* the call that cancels; 0: none */
  uint32_t thread;
  uint64_t rows, rows_total;
} Watch;

static inline Watch watch_from(uint32_t cancel_at) {
  return (Watch){ .cancel_at = cancel_at, .thread = thread_number() };
}

static inline Status watch_tick(void *context, uint64_t rows, uint64_t rows_total) {
  Watch *w = context;
  CHECK(rows <= rows_total && rows >= w->rows);
  CHECK_INT(w->thread, thread_number());
  w->rows = rows;
  w->rows_total = rows_total;
  return ++w->calls == w->cancel_at ? status_set(KVSTORE_CANCELLED, "enough") : KVSTORE_OK;
}

static inline QuerySpace watched_space(Watch *w) {
  return (QuerySpace){ .memory_limit = UINT64_C(1) << 30, .context = w, .tick = watch_tick };
}

#endif
