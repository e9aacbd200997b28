/* assert.h - invariants. ASSERT stays on in release builds (cheap conditions only); ASSERT_SLOW exists in debug builds.
 *
 * Never for a byte that came from a disk or from a caller: those are statuses. `rule` is the number of the invariant in
 * a README or in the protocol, for example "COL-3". */
#ifndef COLONNADE_BASE_ASSERT_H
#define COLONNADE_BASE_ASSERT_H

/* What happens at a broken invariant; must not return. The default prints one line to standard error and aborts. An
 * embedding program may replace it before its first call. NULL restores the default. */
typedef void (*AssertHandler)(const char *condition, const char *rule, const char *file, int line);
void assert_handler_set(AssertHandler handler);
_Noreturn void assert_failed(const char *condition, const char *rule, const char *file, int line);

#define ASSERT(condition, rule) ((condition) ? (void)0 : assert_failed(#condition, rule, __FILE__, __LINE__))
#ifdef NDEBUG
#define ASSERT_SLOW(condition, rule) ((void)0)
#else
#define ASSERT_SLOW(condition, rule) ASSERT(condition, rule)
#endif

#endif
