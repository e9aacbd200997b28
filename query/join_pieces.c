/* join_pieces.c - joined rows as arrays: columns of the input by the rows of its unit, those of the table by its rows.
 */
#include "base/literal.h"
#include "query/join_run.h"

enum {
  FEW_TEXTS = 24, /* of a block, which are read one by one */
  FEW_ROWS = 64,
};

/* A loop for each width of an array's entries. */
#define BY_WIDTH(width, LOOP)   \
  switch (width) {              \
  case 1: LOOP(uint8_t) break;  \
  case 2: LOOP(uint16_t) break; \
  case 4: LOOP(uint32_t) break; \
  case 8: LOOP(uint64_t) break; \
  default: LOOP(Bytes)          \
  }

/* ---- of the input ---- */

/* Words of integers in their own width. */
static void take_words(const JoinStage *s, size_t width, uint8_t *values, uint8_t *nulls) {
#define TAKE(T) \
  for (uint32_t i = 0; i < s->count; i++) ((T *)(void *)values)[i] = (T)s->out_words[i];
  switch (width) {
  case 1: TAKE(uint8_t) break;
  case 2: TAKE(uint16_t) break;
  case 4: TAKE(uint32_t) break;
  default: TAKE(uint64_t)
  }
#undef TAKE
  memset(nulls, 0, s->count);
}

/* Few rows, each of them once. */
static Status take_few(JoinStage *s, uint32_t column, uint32_t first, uint32_t end, size_t width, uint8_t *values,
                       uint8_t *nulls, bool *taken) {
  uint16_t rows[FEW_ROWS];
  uint32_t count = 0;
  *taken = false;
  if (end - first > FEW_ROWS) return KVSTORE_OK;
  for (uint32_t i = first; i < end; i++) {
    if (count && s->out_rows[i] == rows[count - 1]) return KVSTORE_OK;
    rows[count++] = (uint16_t)s->out_rows[i];
  }
  *taken = true;
  return scan_gather(s->input, column, rows, count, values + first * width, nulls + first);
}

static Status take_texts(JoinStage *s, uint32_t column, uint32_t first, uint32_t end, uint8_t *values, uint8_t *nulls) {
  for (uint32_t i = first; i < end; i++) {
    Value value;
    TRY(scan_read_value(s->input, column, s->out_rows[i], &value));
    nulls[i] = value.is_null;
    if (value.is_null) value.s = (Bytes){ 0 };
    ((Bytes *)(void *)values)[i] = value.s;
  }
  return KVSTORE_OK;
}

/* Output rows from `first` on that lie in one block of the input. */
static Status take_block(JoinStage *s, uint32_t column, uint32_t first, uint32_t end, size_t width, uint8_t *values,
                         uint8_t *nulls) {
  JoinFlow *flow = s->flow;
  bool is_string = type_is_string(flow->run->plan->schema.columns[column].type), taken = false;
  ColumnArray block;
  if (is_string && end - first <= FEW_TEXTS) return take_texts(s, column, first, end, values, nulls);
  if (!is_string) TRY(take_few(s, column, first, end, width, values, nulls, &taken));
  if (taken) return KVSTORE_OK;
  TRY(scan_block_view(s->input, column, s->out_rows[first] / BLOCK_ROWS, NULL, flow->values, flow->nulls, &block));
#define TAKE(T)                          \
  for (uint32_t i = first; i < end; i++) \
    ((T *)(void *)values)[i] = ((const T *)block.values)[s->out_rows[i] % BLOCK_ROWS];
  BY_WIDTH(width, TAKE)
#undef TAKE
  if (!block.nulls) memset(nulls + first, 0, end - first);
  for (uint32_t i = first; i < end && block.nulls; i++) nulls[i] = block.nulls[s->out_rows[i] % BLOCK_ROWS];
  return KVSTORE_OK;
}

static Status take_input(JoinStage *s, uint32_t column, size_t width, uint8_t *values, uint8_t *nulls) {
  for (uint32_t first = 0, end; first < s->count; first = end) {
    uint32_t block = s->out_rows[first] / BLOCK_ROWS;
    for (end = first + 1; end < s->count && s->out_rows[end] / BLOCK_ROWS == block;) end++;
    TRY(take_block(s, column, first, end, width, values, nulls));
  }
  return KVSTORE_OK;
}

/* ---- of the table ---- */

static void take_partners(const JoinStage *s, const JoinPayload *p, uint8_t *values, uint8_t *nulls) {
#define TAKE(T)                           \
  for (uint32_t i = 0; i < s->count; i++) \
    ((T *)(void *)values)[i] = ((const T *)(const void *)p->values)[s->out_matches[i]];
  BY_WIDTH(p->width, TAKE)
#undef TAKE
  if (!p->has_nulls) memset(nulls, 0, s->count);
  for (uint32_t i = 0; i < s->count && p->has_nulls; i++) nulls[i] = p->nulls[s->out_matches[i]];
}

/* Rows without a partner have nulls. */
static void take_partners_or_nulls(const JoinStage *s, const JoinPayload *p, uint8_t *values, uint8_t *nulls) {
#define TAKE(T)                                                                            \
  for (uint32_t i = 0; i < s->count; i++) {                                                \
    size_t row = s->out_matches[i];                                                        \
    bool has = row != JOIN_NO_ROW;                                                         \
    ((T *)(void *)values)[i] = has ? ((const T *)(const void *)p->values)[row] : (T){ 0 }; \
    nulls[i] = !has || p->nulls[row];                                                      \
  }
  BY_WIDTH(p->width, TAKE)
#undef TAKE
}

Status join_stage_fill(JoinStage *s, ScanUnit *piece) {
  const Schema *schema = &s->flow->run->plan->schema;
  const JoinStep *step = s->build->step;
  size_t next = 0;
  for (uint32_t c = 0; c < schema->column_count; c++) {
    if (!s->needed[c]) continue;
    uint8_t *values = (uint8_t *)(uintptr_t)s->arrays[c].values, *nulls = s->null_room[c];
    size_t width = type_array_width(schema->columns[c].type);
    if (c >= step->first && c < step->end && step->kind == JOIN_INNER)
      take_partners(s, &s->build->table.payload[next++], values, nulls);
    else if (c >= step->first && c < step->end)
      take_partners_or_nulls(s, &s->build->table.payload[next++], values, nulls);
    else if (s->out_words && c == step->left[0])
      take_words(s, width, values, nulls);
    else
      TRY(take_input(s, c, width, values, nulls));
    s->arrays[c].nulls = s->count && memchr(nulls, 1, s->count) ? nulls : NULL;
  }
  *piece = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = s->count, .columns = s->arrays };
  s->count = 0;
  return KVSTORE_OK;
}
