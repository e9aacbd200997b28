/* locator.h - where a row lies: (run, segment, row), one 64-bit word. Never a division (DESIGN 1).
 *
 * The run is named by a number that the engine gives it (ColumnRun.number); numbers and so locators belong to a
 * generation (protocol VIS-5). */
#ifndef COLONNADE_COLUMNAR_LOCATOR_H
#define COLONNADE_COLUMNAR_LOCATOR_H

#include <stdint.h>

typedef struct Locator {
  uint32_t run;
  uint16_t segment;
  uint16_t row;
} Locator;

/* The packed word that is no row. Run numbers stay below UINT32_MAX, so every word from LOCATOR_RUN_END up is free for
 * such meanings. */
#define LOCATOR_NONE    UINT64_MAX
#define LOCATOR_RUN_END ((uint64_t)UINT32_MAX << 32)

static inline uint64_t locator_pack(Locator l) { return (uint64_t)l.run << 32 | (uint32_t)l.segment << 16 | l.row; }
static inline Locator locator_unpack(uint64_t word) {
  Locator l = { (uint32_t)(word >> 32), (uint16_t)(word >> 16), (uint16_t)word };
  return l;
}

/* A row within its run: segment and row in one word, ordered as the rows of the run are. */
static inline uint32_t position_pack(uint32_t segment, uint32_t row) { return segment << 16 | row; }
static inline uint32_t position_segment(uint32_t position) { return position >> 16; }
static inline uint32_t position_row(uint32_t position) { return position & 0xFFFF; }
static inline uint32_t locator_position(uint64_t word) { return (uint32_t)word; }

#endif
