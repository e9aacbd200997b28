/* limits.h - every limit of the format and of the library, each with its reason. */
#ifndef COLONNADE_BASE_LIMITS_H
#define COLONNADE_BASE_LIMITS_H

#define KEY_BYTES_MAX       65536u      /* the contract's; stored less one in 16 bits */
#define VALUE_BYTES_MAX     (10u << 20) /* the contract's default limit of a value */
#define VALUE_BYTES_CEILING (1u << 30)  /* what the option may raise it to: lengths are u32 and a window is 1 GiB */
#define FAMILY_NAME_MAX     255u        /* the contract's */
#define FAMILY_TTL_MAX_MS   (INT64_C(1) << 60) /* a default TTL: a time of day added to it stays in 63 bits */
#define FAMILIES_MAX        4096u              /* hidden ones included; the contract asks for at least 64 */
#define COLUMNS_MAX         1024u              /* a row's null bits stay under 128 bytes */
#define COLUMN_NAME_MAX     255u
#define KEY_COLUMNS_MAX     16u   /* an encoded key is 65,536 bytes at most anyway */
#define FIXED_BYTES_MAX     4096u /* the width of a fixed-bytes column: a slab of them stays under 256 MiB */
#define DECIMAL_SCALE_MAX   18    /* and digits of a decimal: what an i64 surely holds */
#define UUID_BYTES          16u
#define VALUE_INLINE_MAX    65536u /* longer values lie in value extents, so that a row fits a piece */

#define BLOCK_ROWS          1024u /* 16 words of selection mask */
#define BLOCK_WORDS         16u
#define SEGMENT_BLOCKS      64u    /* one word of block mask */
#define SEGMENT_ROWS        65536u /* one Roaring container of deleted rows */
#define SEGMENT_BYTES_MAX   (64u << 20)
#define RUN_ARRAY_BYTES_MAX (64u << 20) /* a run ends with the segment that takes an array there */
#define RUN_SEGMENTS_MAX    64u
#define CHUNK_ALIGNMENT     64u        /* a cache line, and the width of the widest vector register */
#define CHUNK_PADDING       64u        /* kernels may read this far past the end of a chunk */
#define ROW_PIECE_BYTES     (4u << 20) /* a piece of a row run: one extent */
#define SPARSE_INTERVAL     16u        /* rows between two entries of a row run's sparse index */

#define PAGE_BYTES     4096u      /* extents begin at multiples of it */
#define UNIT_BYTES     16384u     /* what is checksummed, sealed and cached */
#define UNIT_TAG_BYTES 40u        /* checksum, or nonce and tag, of a unit */
#define WINDOW_BYTES   (1u << 30) /* how the file is mapped */

#define DELTA_SLAB_ROWS   65536u      /* rows of a table's delta slab */
#define DELTA_SLAB_BYTES  (64u << 20) /* a kv delta slab */
#define LOG_BYTES_DEFAULT (64u << 20) /* the ring beside the file */
#define LOG_BYTES_INSIDE  (1u << 20)  /* the ring inside the file (journal mode DELETE) */
#define UNRESOLVED_MAX    1024u       /* delta keys that may wait for their locator behind a commit */

#endif
