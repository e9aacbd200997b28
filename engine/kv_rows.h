/* kv_rows.h - what the files about kv families share: the layers of an era, one row by its key, a walk over a range. */
#ifndef COLONNADE_ENGINE_KV_ROWS_H
#define COLONNADE_ENGINE_KV_ROWS_H

#include "engine/engine_internal.h"

enum { LAYERS_INLINE = 24 };

/* The layers of an era on the stack, or in memory when there are many. */
typedef struct LayerList {
  MergeLayer inline_layers[LAYERS_INLINE];
  MergeLayer *layers;
  uint32_t count;
} LayerList;
Status kv_list_layers(const Era *era, uint64_t sequence, LayerList *list) MUST_CHECK;
void kv_release_layers(LayerList *list);

typedef enum RowState { ROW_ABSENT, ROW_LIVE, ROW_EXPIRED } RowState;
/* The row of a key; its bytes are readable until merge_row_release. */
Status kv_find_row(Store *store, const Era *era, uint64_t sequence, Bytes key, MergeRow *row,
                   RowState *state) MUST_CHECK;
/* A cursor over the rows of a range, with the clock read now; it stands nowhere yet. */
Status kv_open_cursor(Store *store, const Era *era, uint64_t sequence, const KvRange *range,
                      MergeCursor *cursor) MUST_CHECK;

/* Deletes a key that a reader found expired, if that needs no waiting and it is still so. */
void kv_evict(Session *session, uint32_t family, Bytes key);
Status kv_check_key(Bytes key) MUST_CHECK;
Status kv_absent(void); /* KVSTORE_NOTFOUND */

#endif
