#include "kvapi/arrow_room.h"

#include <stdatomic.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/large_memory.h"

enum { WORTH_BYTES = LARGE_BLOCK_BYTES / 2 };

struct ArrowRoom {
  _Atomic size_t holds;
  LargeBlock block;
};

ArrowRoom *arrow_room_create(size_t bytes) {
  if (bytes < WORTH_BYTES) return NULL;
  ArrowRoom *room = memory_allocate(sizeof *room);
  if (!room) return NULL;
  room->block = large_block_take(bytes > LARGE_BLOCK_BYTES ? bytes : LARGE_BLOCK_BYTES);
  atomic_init(&room->holds, 1);
  if (room->block.bytes) {
    COUNT(arrow_rooms);
    return room;
  }
  memory_release(room);
  return NULL;
}

uint8_t *arrow_room_bytes(const ArrowRoom *room) { return room->block.bytes; }

void arrow_room_hold(ArrowRoom *room) { atomic_fetch_add_explicit(&room->holds, 1, memory_order_relaxed); }

void arrow_room_leave(ArrowRoom *room) {
  if (!room || atomic_fetch_sub_explicit(&room->holds, 1, memory_order_acq_rel) > 1) return;
  large_block_give(room->block);
  memory_release(room);
}
