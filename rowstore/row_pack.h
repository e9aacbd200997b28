/* row_pack.h - packed row runs: frames of zstd in place of plain pieces (private to the folder).
 *
 * A packed piece has the same rows at the same positions as a plain one, but in the file it is cut into frames: whole
 * groups of rows, FRAME_BYTES of them or one longer row, compressed each by itself with the run's dictionary. What does
 * not shrink stands as it is. Expiries are taken out of the rows (zeros stand there) into a column of the run, so that
 * what has expired is counted without a frame; decoding puts them back.
 *
 *   expiry column, an extent of the run, there when a row expires: an entry a frame, in the order of the frames, then
 *   the codes
 *     entry    lowest expiry i64 | highest expiry i64 | where its codes begin u64 | rows that expire u16 |
 *              bytes of a code u8 (0, 1, 2, 4 or 8) | zeros, to 32 bytes
 *     code     of each row of the frame: 0 when it never expires, else its expiry - lowest + 1 */
#ifndef COLONNADE_ROWSTORE_ROW_PACK_H
#define COLONNADE_ROWSTORE_ROW_PACK_H

#include "base/limits.h"
#include "rowstore/row_run.h"

enum {
  FRAME_BYTES = UNIT_BYTES, /* of rows; one long row is a frame of its own */
  PACK_SAMPLE_BYTES = 1 << 20,
  DICTIONARY_BYTES_MAX = 16 << 10,
  FRAME_ENTRY_BYTES = 10, /* in the directory: length u32, stored length u32, rows u16 */
  EXPIRY_ENTRY_BYTES = 32,
};

/* ---- writing (row_pack.c) ---- */
typedef struct RowPacker RowPacker;

/* Learns from `sample`, whole rows one after the other. *worthwhile: frames of such rows would save a fifth at least.
 * KVSTORE_NOMEM leaves nothing behind. */
Status row_packer_create(Bytes sample, RowPacker **packer, bool *worthwhile) MUST_CHECK;
void row_packer_destroy(RowPacker *packer); /* NULL is allowed */
/* Compresses the frame that `rows` are and appends it to `out`; the rows lose their expiries to the column. */
Status row_packer_frame(RowPacker *packer, uint8_t *rows, size_t length, uint32_t row_count, Buffer *out) MUST_CHECK;
uint32_t row_packer_frame_count(const RowPacker *packer);
/* All frames so far, as the directory lists them. */
Bytes row_packer_frames(const RowPacker *packer);
Bytes row_packer_dictionary(const RowPacker *packer);
/* Appends the expiry column. */
void row_packer_expiries(const RowPacker *packer, Buffer *out);

/* ---- reading (row_frame.c) ---- */

/* The decoded frame of `piece` that byte `offset` of it lies in: its bytes and where it begins and ends.
 * KVSTORE_CORRUPT when it cannot be decoded to what the directory says. */
Status row_frame_load(const RowRun *run, uint32_t piece, uint32_t offset, const uint8_t **bytes, uint32_t *start,
                      uint32_t *end, RowPin *pin) MUST_CHECK;
/* Gives back what decoding has made of the dictionary. */
void row_frames_close(RowRun *run);
uint64_t row_frames_memory(const RowRun *run);

/* What the expiry column says of a frame. */
typedef struct FrameExpiry {
  int64_t lowest, highest;
  uint32_t expiring, code_bytes;
  uint64_t codes_at;
} FrameExpiry;
Status row_frame_expiry(const RowRun *run, uint32_t frame, FrameExpiry *out) MUST_CHECK;

static inline uint64_t frame_code(const uint8_t *codes, uint32_t code_bytes, uint32_t row) {
  switch (code_bytes) {
  case 1: return codes[row];
  case 2: return load_u16(codes + (size_t)row * 2);
  case 4: return load_u32(codes + (size_t)row * 4);
  case 8: return load_u64(codes + (size_t)row * 8);
  default: return 0;
  }
}

#endif
