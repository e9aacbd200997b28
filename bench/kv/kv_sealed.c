/* kv_sealed.c - Colonnade once more, with a password: what encryption costs. */
#define KV_NAME     "sealed"
#define KV_PASSWORD "a password of the benchmark"
/* NOLINTNEXTLINE(bugprone-suspicious-include): the same engine, compiled with other names */
#include "bench/kv/kv_colonnade.c"
