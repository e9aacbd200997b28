/* join_bloom.c - the size of a filter. */
#include "query/join_bloom.h"

#include "base/memory.h"

enum { HASHES_A_WORD = 4 /* at most */ };

static unsigned bits_for(uint64_t hashes) {
  unsigned bits = 1;
  while ((UINT64_C(1) << bits) * HASHES_A_WORD < hashes) bits++;
  return bits;
}

uint64_t join_bloom_bytes(uint64_t hashes) { return sizeof(uint64_t) << bits_for(hashes); }

Status join_bloom_create(JoinBloom *bloom, uint64_t hashes) {
  bloom->bits = bits_for(hashes);
  bloom->words = memory_allocate_zeroed((size_t)join_bloom_bytes(hashes));
  return bloom->words ? KVSTORE_OK : status_nomem();
}

void join_bloom_release(JoinBloom *bloom) {
  memory_release(bloom->words);
  *bloom = (JoinBloom){ 0 };
}
