/* status.h - how a function says that it could not do its work.
 *
 * A function that can fail returns a Status: one of the codes of colonnade/kvstore_status.h. The sentence for the
 * caller goes into a slot of the calling thread (status_fail), where the door (kvapi) picks it up. Bad bytes and a
 * caller's mistakes are statuses; broken invariants are asserts (base/assert.h). */
#ifndef COLONNADE_BASE_STATUS_H
#define COLONNADE_BASE_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "colonnade/kvstore_status.h"

typedef int Status;

#if defined(__GNUC__)
#define MUST_CHECK                             __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#define LIKELY(condition)                      __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition)                    __builtin_expect(!!(condition), 0)
#else
#define MUST_CHECK
#define PRINTF_LIKE(format_index, first_index)
#define LIKELY(condition)   (condition)
#define UNLIKELY(condition) (condition)
#endif

/* Returns from the calling function with the status of `call` unless it is KVSTORE_OK. The only macro that returns. */
#define TRY(call)                                                \
  do {                                                           \
    Status try_status_ = (call);                                 \
    if (UNLIKELY(try_status_ != KVSTORE_OK)) return try_status_; \
  } while (0)

enum { STATUS_TEXT_MAX = 512, STATUS_NAME_MAX = 256 };

/* The last failure of a thread. `row` is UINT64_MAX when the failure names no row; `column` and `value` are "" when it
 * names none. Long texts are cut at the last whole UTF-8 character. */
typedef struct Failure {
  Status code;
  uint64_t row;
  char text[STATUS_TEXT_MAX];
  char column[STATUS_NAME_MAX];
  char value[STATUS_NAME_MAX];
} Failure;

/* Records a sentence for the calling thread. Forgets row, column and value of the failure before. */
void status_record(Status code, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same with a sentence as it stands: for answers that are asked for often, such as "no such key". */
void status_record_text(Status code, const char *text);
/* The same, naming where in the caller's data: `row` (UINT64_MAX: none), `column` and `value` (NULL: none). */
void status_record_at(Status code, uint64_t row, const char *column, const char *value, const char *format, ...)
  PRINTF_LIKE(5, 6);
/* Puts "prefix: " before the recorded sentence, as context on the way up. */
void status_record_context(Status code, const char *format, ...) PRINTF_LIKE(2, 3);

/* They record and are `code`, which is evaluated twice. Macros, so that compilers and analyzers know that what comes
 * back is not KVSTORE_OK. */
static inline Status status_is(Status code) { return code; }
#define status_fail(code, ...) (status_record((code), __VA_ARGS__), status_is(code))
#define status_set(code, text) (status_record_text((code), (text)), status_is(code))
#define status_fail_at(code, row, column, value, ...) \
  (status_record_at((code), (row), (column), (value), __VA_ARGS__), status_is(code))
#define status_context(code, ...) (status_record_context((code), __VA_ARGS__), status_is(code))
/* Out of memory. */
#define status_nomem() status_set(KVSTORE_NOMEM, "out of memory")

/* The calling thread's last failure; owned by the thread, overwritten by its next one. Never NULL. */
const Failure *status_last(void);
/* Forgets it: code KVSTORE_OK, empty text. */
void status_clear(void);
/* Puts back a copy of what status_last gave, after calls whose failures are nobody's business. */
void status_restore(const Failure *failure);
/* The fixed text and the name ("CORRUPT") of a code; "unknown status" and "UNKNOWN" for any other number. */
const char *status_text(Status code);
const char *status_name(Status code);

#endif
