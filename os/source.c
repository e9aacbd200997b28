#include "os/source.h"

/* The fast path of source_block answers every range inside the extent; what comes here is empty or leaves it. */
static Status memory_block(Source *source, uint64_t offset, size_t length, const uint8_t **bytes, SourcePin *pin) {
  pin->cached = NULL;
  if (offset > source->length || length > source->length - offset) {
    *bytes = NULL;
    return status_fail(KVSTORE_CORRUPT, "%zu bytes at %llu leave an extent of %llu bytes", length,
                       (unsigned long long)offset, (unsigned long long)source->length);
  }
  *bytes = source->base ? source->base + offset : NULL;
  return KVSTORE_OK;
}

static void memory_source_release(Source *source, SourcePin *pin) {
  (void)source;
  pin->cached = NULL;
}

static const SourceMethods memory_methods = { memory_block, memory_source_release };

Source source_over_memory(const void *bytes, uint64_t length) {
  Source source = { .methods = &memory_methods, .base = bytes, .length = length };
  return source;
}
