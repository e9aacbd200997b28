/* inflate.c - zstd asks the processor what it can do whenever it makes a context. A virtual machine answers by its
 * host, within some 10 us: as long as a frame of 16 KiB takes to decode. So contexts are made once and kept.
 *
 * A thread takes the one it had last, or the next that is free; when all are in use, one on its stack, which is as
 * good, but for the question. A process forked beside a decoding thread has one fewer. */
#define ZSTD_STATIC_LINKING_ONLY /* contexts within memory of the caller */
#include "base/inflate.h"

#include <stdatomic.h>
#include <stdint.h>
#include <zstd.h>

#include "base/counters.h"

enum {
  KEPT = 16,
  WORKSPACE_BYTES = 192 << 10, /* 1.5 takes 94 KiB, 1.4 half as much again */
};

typedef struct Workspace {
  _Alignas(64) uint8_t bytes[WORKSPACE_BYTES];
} Workspace;

typedef struct Kept {
  _Alignas(64) atomic_bool taken;
  ZSTD_DCtx *context; /* NULL: not made yet; his who has taken it */
} Kept;

static Workspace workspaces[KEPT]; /* pages of zeros until they are used */
static Kept all[KEPT];
static _Thread_local unsigned nearest;

static bool inflate_with(ZSTD_DCtx *context, const void *stored, size_t stored_length, const ZSTD_DDict *dictionary,
                         void *out, size_t length) {
  if (!context) return false;
  return (dictionary ? ZSTD_decompress_usingDDict(context, out, length, stored, stored_length, dictionary)
                     : ZSTD_decompressDCtx(context, out, length, stored, stored_length)) == length;
}

static __attribute__((noinline)) bool inflate_on_stack(const void *stored, size_t stored_length,
                                                       const ZSTD_DDict *dictionary, void *out, size_t length) {
  Workspace workspace;
  COUNT(frames_inflated_on_stack);
  ZSTD_DCtx *context = ZSTD_initStaticDCtx(workspace.bytes, sizeof workspace.bytes);
  return inflate_with(context, stored, stored_length, dictionary, out, length);
}

static Kept *take(void) {
  for (unsigned tried = 0; tried < KEPT; tried++) {
    unsigned at = (nearest + tried) % KEPT;
    Kept *kept = &all[at];
    if (atomic_load_explicit(&kept->taken, memory_order_relaxed) ||
        atomic_exchange_explicit(&kept->taken, true, memory_order_acquire))
      continue;
    nearest = at;
    if (!kept->context) kept->context = ZSTD_initStaticDCtx(workspaces[at].bytes, sizeof workspaces[at].bytes);
    return kept;
  }
  return NULL;
}

bool frame_inflate(const void *stored, size_t stored_length, const ZSTD_DDict *dictionary, void *out, size_t length) {
  Kept *kept = take();
  if (!kept) return inflate_on_stack(stored, stored_length, dictionary, out, length);
  bool is_whole = inflate_with(kept->context, stored, stored_length, dictionary, out, length);
  atomic_store_explicit(&kept->taken, false, memory_order_release);
  return is_whole;
}
