/* inflate.h - frames of zstd, decoded. */
#ifndef COLONNADE_BASE_INFLATE_H
#define COLONNADE_BASE_INFLATE_H

#include <stdbool.h>
#include <stddef.h>

struct ZSTD_DDict_s; /* ZSTD_DDict */

/* Whether `stored` is frames that hold exactly `length` bytes, which are in `out` then; what `out` holds after a
 * failure is nobody's. `dictionary` may be NULL. From any thread. Nothing is allocated, and nothing kept of what is
 * given. */
bool frame_inflate(const void *stored, size_t stored_length, const struct ZSTD_DDict_s *dictionary, void *out,
                   size_t length);

#endif
