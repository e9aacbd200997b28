/* arrow_room.h - the values of a large Arrow batch in one block of memory (os/large_memory.h), which its columns share:
 * an answer of many rows is then written where an earlier one lay, and the system has no pages to clear for it. */
#ifndef COLONNADE_KVAPI_ARROW_ROOM_H
#define COLONNADE_KVAPI_ARROW_ROOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct ArrowRoom ArrowRoom;

/* Held once; NULL: too small to be worth it, or no memory. */
ArrowRoom *arrow_room_create(size_t bytes);
/* Aligned to 4096, with anything in it. */
uint8_t *arrow_room_bytes(const ArrowRoom *room);
/* From any thread. The last leave gives the block back; NULL is allowed. */
void arrow_room_hold(ArrowRoom *room);
void arrow_room_leave(ArrowRoom *room);

#endif
