/* without_memory.h - a query under test whose every allocation fails once: it answers, or says NOMEM in a sentence. */
#ifndef COLONNADE_TESTS_QUERY_WITHOUT_MEMORY_H
#define COLONNADE_TESTS_QUERY_WITHOUT_MEMORY_H

#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* By three threads. Allocation 1 fails, then ever later ones: a `part`-th of the number is passed over each time. */
static inline void check_without_memory(Query *q, const SampleUnits *u, uint64_t part) {
  for (uint64_t n = 1;; n += 1 + n / part) {
    Buffer out = { 0 };
    failing_memory_install(n, false);
    Status status = answer_bytes(q, sample_units_snapshot(u), NULL, 3, &out, NULL);
    bool reached = failing_memory_failures() > 0;
    failing_memory_remove();
    buffer_release(&out);
    if (!reached) break;
    CHECK(status == KVSTORE_OK || (status == KVSTORE_NOMEM && status_last()->text[0]));
  }
}

#endif
