/* counters.h - proof that a path was reached: kernels, spills, skipped blocks, crash points.
 *
 * A counter is a name in COUNTER_LIST; counting is one relaxed add. Tests read them: what was never reached was never
 * tested. A crash point is a counter that a test may arm: at its n-th hit the hook given to counter_hook_set is called
 * (the crash harness kills the process there). */
#ifndef COLONNADE_BASE_COUNTERS_H
#define COLONNADE_BASE_COUNTERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* X(name, what it counts). Append only where you like; the order has no meaning. */
#define COUNTER_LIST(X)                                                                 \
  X(crash_commit_before_write, "crash point: a record is built, not yet written")       \
  X(crash_commit_after_write, "crash point: a record is written, not yet published")    \
  X(crash_commit_after_publish, "crash point: a record is published, not yet synced")   \
  X(crash_commit_after_sync, "crash point: a record is synced, the call returns")       \
  X(crash_ring_before_names, "crash point: a log inside the file is made")              \
  X(crash_log_wrap, "crash point: the log goes back to its beginning")                  \
  X(crash_boundary_after_write, "crash point: a boundary is written")                   \
  X(crash_flush_before_sync, "crash point: a flush has written its runs")               \
  X(crash_manifest_before_sync, "crash point: a manifest is written")                   \
  X(crash_superblock_before_write, "crash point: before a superblock is written")       \
  X(crash_superblock_before_sync, "crash point: a superblock is written, not synced")   \
  X(crash_generation_before_oldest, "crash point: superblock synced, log header old")   \
  X(crash_generation_after_oldest, "crash point: log header raised, page start old")    \
  X(crash_compaction_before_publish, "crash point: compaction output is synced")        \
  X(crash_compaction_between_slices, "crash point: part of a merge is published")       \
  X(crash_adopt_before_record, "crash point: adopted runs are synced, no record yet")   \
  X(crash_create_before_sync, "crash point: the first superblocks are written")         \
  X(crash_rewrite_before_sync, "crash point: the copy of a store is written")           \
  X(crash_rewrite_before_rename, "crash point: the copy of a store is synced")          \
  X(crash_rewrite_after_rename, "crash point: the copy of a store has its name")        \
  X(crash_superblocks_between, "crash point: one superblock of two is written")         \
  X(crash_close_before_unlink, "crash point: a last close before its files go")         \
  X(crash_truncate_before_names, "crash point: the page has let go of a settled log")   \
  X(crash_truncate_before_cut, "crash point: the superblocks name no log any more")     \
  X(crash_vacuum_before_publish, "crash point: a vacuum has copied extents down")       \
  X(crash_vacuum_before_cut, "crash point: a vacuum is about to cut the file")          \
  X(crash_backup_before_sync, "crash point: a backup is copied, not yet synced")        \
  X(crash_backup_before_rename, "crash point: a backup is synced beside its target")    \
  X(crash_backup_after_rename, "crash point: a backup has its name")                    \
  X(crash_truncate_after_cut, "crash point: the log's file is empty")                   \
  X(crash_columns_before_commit, "crash point: a slice of columns, not yet in the log") \
  X(columns_rows_built, "rows of columns that were made of pairs, many at once")        \
  X(columns_built, "times that columns over pairs had become whole")                    \
  X(pairs_read_by_columns, "questions to pairs that their columns answer")              \
  X(pairs_walked, "questions to pairs that walk over them")                             \
  X(order_keys_whole, "keys of a delta that a flush compared whole to order them")      \
  X(blocks_skipped, "blocks answered by their zone map without being read")             \
  X(blocks_certain, "blocks whose zone map says that every row matches")                \
  X(segments_skipped, "segments answered by the directory of their run")                \
  X(snapshot_units_made, "times that the segments of a table were listed for scans")    \
  X(columns_encoded_by_helpers, "columns of a segment that another thread encoded")     \
  X(runs_excluded, "column runs of which a scan was told at once that no row matches")  \
  X(blocks_scanned, "blocks whose bytes a kernel read")                                 \
  X(blocks_visible_whole, "blocks of deltas whose rows were not asked one by one")      \
  X(blocks_by_position, "blocks with few rows left, looked at one by one")              \
  X(blocks_gathered, "blocks of which some rows were read, for what is computed")       \
  X(blocks_at_hand, "blocks of columns that a computation had decoded before")          \
  X(computed_sparse, "times that few rows of many blocks were computed side by side")   \
  X(computed_reused, "blocks of computed columns that another one is made of")          \
  X(joins_direct, "joined tables whose keys have a bit each")                           \
  X(joins_hashed, "joined tables whose rows lie in slots by hash")                      \
  X(joins_left_out, "rows left out for want of a partner before they were looked up")   \
  X(joins_left_out_side_by_side, "blocks whose rows were, by the bits of the keys")     \
  X(joins_blocks_left_out, "blocks whose zone said that none has a partner, or all")    \
  X(joins_bloom_left_out, "rows that a filter of the hashes said to have no partner")   \
  X(joins_decided, "joins that asked nothing of a row but whether it has a partner")    \
  X(joins_spilled, "joined tables that went by partitions for lack of memory")          \
  X(joins_passes, "times that a join read its left rows again for lack of memory")      \
  X(joins_shared, "joined tables that several threads read before they were hashed")    \
  X(joins_unique, "hashed tables of which no two rows have the same hash")              \
  X(join_flows, "ways through a join's tables: one a thread")                           \
  X(groups_dense_units, "units whose groups were added up in arrays")                   \
  X(groups_offset_blocks, "blocks whose sums by codes were made of packed numbers")     \
  X(groups_short_blocks, "blocks of long columns whose sums took one word")             \
  X(groups_ascending_units, "units whose groups lay in slots as their keys ascended")   \
  X(groups_window_units, "units whose groups lay in slots by their key")                \
  X(groups_ids_units, "units whose groups lay in slots by their numbers")               \
  X(groups_digits_units, "units whose groups lay in slots by the ids of their keys")    \
  X(groups_ends_told, "segments of which two rows alone were read")                     \
  X(groups_codes_told, "units whose different values a dictionary told alone")          \
  X(groups_not_needed, "aggregates of all rows as those of a group, without one")       \
  X(group_slots_left, "times that groups in slots were given states")                   \
  X(groups_hashed_units, "units whose rows were given to groups one by one")            \
  X(bytes_spilled, "bytes of sorts, groups and joins that went out of memory")          \
  X(spilled_runs, "sorted runs that went out of memory")                                \
  X(spills_merged, "times that such runs were merged because they were many")           \
  X(groups_spilled, "rows of groups that no memory was left for")                       \
  X(row_parts_read, "parts of rows that had left memory, and came back together")       \
  X(quantiles_selected, "columns whose quantiles were found among values in memory")    \
  X(quantiles_spilled, "times that such values had to leave memory")                    \
  X(quantiles_outside, "groups whose quantiles were found among values in a file")      \
  X(values_spilled, "values to be counted once that no memory was left for")            \
  X(scratch_pieces, "pieces written to a file without a name")                          \
  X(sorts_cut, "times that a sort let go of rows beyond its limit")                     \
  X(row_rounds, "times that several threads have found the next rows of a cursor")      \
  X(sorters_merged, "sorters of one thread whose rows another has taken over")          \
  X(units_verified, "units whose checksum was compared")                                \
  X(hashes_plain, "inputs above 240 bytes hashed without vectors of AVX")               \
  X(hashes_avx2, "such inputs hashed by the code for AVX2")                             \
  X(hashes_avx512, "such inputs hashed by the code for AVX-512")                        \
  X(cache_hits, "blocks found in the block cache")                                      \
  X(cache_misses, "blocks read or decoded")                                             \
  X(cache_evictions, "blocks that had to leave the block cache")                        \
  X(row_seams, "rows of two units that a walk copied out of them")                      \
  X(cache_seams, "bytes of two units that were copied out of them")                     \
  X(cache_bypasses, "blocks that found no room in the block cache")                     \
  X(kernel_scalar, "kernel calls through the scalar table")                             \
  X(kernel_avx2, "kernel calls through the AVX2 table")                                 \
  X(kernel_avx512, "kernel calls through the AVX-512 table")                            \
  X(fingerprint_misses, "point reads that ended at a bucket without touching a row")    \
  X(frames_inflated_on_stack, "frames of zstd for which no kept context was free")      \
  X(frames_decoded, "frames of packed runs that were decoded")                          \
  X(runs_packed, "row runs written in frames")                                          \
  X(runs_not_worth_packing, "row runs left plain: frames save too little")              \
  X(team_helpers, "threads asked to help a query")                                      \
  X(group_parts_full, "groups of one thread that have used up their memory")            \
  X(group_parts_merged, "groups of one thread merged with those of others")             \
  X(group_pipelines, "times that several threads have added to the same groups")        \
  X(group_windows_added, "parts whose slots were added one after the other")            \
  X(group_slots_copied, "times that slots of parts were copied by several threads")     \
  X(team_threads, "threads started for that")                                           \
  X(log_syncs, "fdatasync calls on the log")                                            \
  X(file_syncs, "syncs of the store's file for what it holds")                          \
  X(log_syncs_shared, "syncs asked for that another's had made")                        \
  X(background_syncs, "syncs of what SYNC_BACKGROUND left")                             \
  X(captured_changes, "changes noted for who follows a family")                         \
  X(capture_trims, "times that old ones were taken away")                               \
  X(writers_waited, "sleeps until another transaction ends")                            \
  X(writers_gave_way, "writers that slept for those whom they had woken")               \
  X(log_self_checkpoints, "boundaries asked for by a full log or slab")                 \
  X(flushes_into_level, "kv flushes of keys that no run had, as runs of the level")     \
  X(flushes, "deltas written as runs")                                                  \
  X(compactions, "merges of runs published")                                            \
  X(vacuums, "vacuums that ended well")                                                 \
  X(extents_moved, "extents that a vacuum moved down")                                  \
  X(files_shortened, "files that maintenance cut because they held too little")         \
  X(merges_stopped_early, "slices of a merge that ended before their last key")         \
  X(backups, "backups that ended well")                                                 \
  X(adopted_runs, "runs that a record adopted")                                         \
  X(adoptions_behind, "adopted runs that wait until a newer generation is known")       \
  X(key_groups_read, "segments and slabs of which rows of many keys were read at once") \
  X(deletes_adopted, "times that deletes of many keys became a run")                    \
  X(bulk_keys_encoded, "keys of large batches that had to be encoded")                  \
  X(symbols_learnt, "string columns of segments for which symbols were learnt")         \
  X(load_chunks, "sorted chunks that a bulk load wrote into runs")                      \
  X(load_merges, "bulk loads whose runs were merged before they were adopted")          \
  X(resolved_keys, "delta rows whose locator was looked up")                            \
  X(keys_resolved_by_readers, "of these, by who was about to read a table")             \
  X(dead_states_begun, "deleted sets of tables begun with those of a manifest")         \
  X(deleted_segments_made, "deleted rows of a segment that were made anew")             \
  X(holds_by_slot, "iterators and snapshots that kept the slot of their call")          \
  X(maintenance_waits, "times that maintenance waited for who is done in a moment")     \
  X(large_pages_asked, "blocks of memory for which large pages were asked")             \
  X(large_blocks_reused, "large blocks of memory that were used again")                 \
  X(arrow_rooms, "Arrow batches whose numbers share a large block of memory")           \
  X(groups_filled, "times that several threads wrote results of groups")                \
  X(evictions, "expired rows deleted by a reader")                                      \
  X(counts_walked, "counts of a kv family that walked its rows")                        \
  X(reader_attaches, "readers without rights that found the page of who writes")        \
  X(reader_retries, "readers without rights that were overtaken and began again")       \
  X(recoveries, "opens that replayed a log")                                            \
  X(recovery_breaks, "random breaks appended after a torn or ended log")                \
  X(stores_rewritten, "stores copied sealed or plain over themselves")                  \
  X(passwords_stretched, "runs of Argon2id")                                            \
  X(units_sealed, "units encrypted")                                                    \
  X(units_unsealed, "units decrypted, and found to be theirs")                          \
  X(records_sealed, "log records encrypted")

typedef enum Counter {
#define COUNTER_ENUM(name, text) COUNTER_##name,
  COUNTER_LIST(COUNTER_ENUM)
#undef COUNTER_ENUM
    COUNTER_COUNT
} Counter;

extern _Atomic uint64_t counter_values[COUNTER_COUNT];
typedef void (*CounterHook)(Counter which, uint64_t hits);
extern _Atomic(CounterHook) counter_hook;

/* Called with the number of hits so far, this one included, at every crash point. NULL takes it away. */
void counter_hook_set(CounterHook hook);
const char *counter_name(Counter which);
const char *counter_description(Counter which);

static inline uint64_t counter_get(Counter which) {
  return atomic_load_explicit(&counter_values[which], memory_order_relaxed);
}
static inline void counter_add(Counter which, uint64_t n) {
  atomic_fetch_add_explicit(&counter_values[which], n, memory_order_relaxed);
}
/* For what is counted once a block: without a locked instruction, which waits until all that was written before it has
 * reached the cache. Of what threads count at the same moment some may be missed. */
static inline void counter_add_often(Counter which, uint64_t n) {
  atomic_store_explicit(&counter_values[which], counter_get(which) + n, memory_order_relaxed);
}
static inline void counter_reset(Counter which) {
  atomic_store_explicit(&counter_values[which], 0, memory_order_relaxed);
}

#define COUNT(name)         counter_add(COUNTER_##name, 1)
#define COUNT_MANY(name, n) counter_add(COUNTER_##name, (n))
#define COUNT_OFTEN(name)   counter_add_often(COUNTER_##name, 1)
/* A named point where a crash is worth a test. `name` goes without its crash_ prefix. */
#define CRASH_POINT(name) counter_crash_point(COUNTER_crash_##name)
static inline void counter_crash_point(Counter which) {
  uint64_t hits = atomic_fetch_add_explicit(&counter_values[which], 1, memory_order_relaxed) + 1;
  CounterHook hook = atomic_load_explicit(&counter_hook, memory_order_relaxed);
  if (__builtin_expect(hook != NULL, 0)) hook(which, hits);
}

#endif
